"""A real engine killed, stopped, halted, reloaded and starved in mid-run; the journal is the witness."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import orjson
import pytest

from engine.errors import ControlError
from shm.enums import IntentKind, Reason, ReportKind
from tests.kit.account import Account, assert_report_true, assert_whole, journal_folder, read_account
from tests.kit.engine_run import COMMAND, PATIENCE_S, ROOT, EngineRun, engine, synthetic, until
from tools.attach import ask, find_run

pytestmark = pytest.mark.timeout(400)

STRATEGY = """
[[strategies]]
name = "{name}"
kind = "tests.kit.strategies:{kind}"
venue = "sim"
instruments = {instruments}
[strategies.settings]
{settings}
"""


@pytest.fixture(autouse=True)
def _test_strategies_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def strategy(name: str, kind: str, settings: str = "", instruments: str = '"all"') -> str:
    return STRATEGY.format(name=name, kind=kind, settings=settings, instruments=instruments)


def replace_strategies(text: str, *new: str) -> str:
    """The synthetic configuration with other strategies than the maker."""
    head, rest = text.split("[[strategies]]")
    return head + "".join(new) + "[risk]" + rest.split("[risk]")[1]


def ready(run: EngineRun, name: str, incarnation: int) -> None:
    def is_up() -> bool:
        row = run.worker(name)
        return bool(row) and row["state"] == "RUNNING" and row["incarnation"] >= incarnation

    until(is_up, f"{name} runs as incarnation {incarnation}")
    run.remember()


def state_of(run: EngineRun, name: str) -> str:
    return str(run.worker(name).get("state", ""))


def trades_on(run: EngineRun) -> None:
    before = run.fills()
    until(lambda: run.live() == 4, "all books are LIVE")
    until(lambda: run.fills() > before + 2, "it trades")


def stop(run: EngineRun) -> Account:
    """An ordered stop; its report is true and its journal whole."""
    run.signal(signal.SIGTERM)
    assert run.wait_ended() == 0, run.text()
    account = read_account(run)
    assert_whole(account)
    assert_report_true(run.report(), account)
    run.assert_nothing_left()
    return account


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that does not run for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def test_two_workers_killed_at_once_and_one_again_while_it_comes_back(tmp_path: Path) -> None:
    with engine(tmp_path, placement="spread") as run:
        run.wait_running()
        trades_on(run)
        for victims in (("strategy", "gateway"), ("feed", "gateway")):
            before = [run.worker(name) for name in victims]
            for row in before:
                os.kill(row["pid"], signal.SIGKILL)
            for row in before:
                ready(run, row["name"], row["incarnation"] + 1)
            trades_on(run)
        first = run.worker("strategy")
        os.kill(first["pid"], signal.SIGKILL)
        second = until(
            lambda: (row := run.worker("strategy")).get("pid") not in (0, None, first["pid"]) and row,
            "a new process",
        )
        os.kill(second["pid"], signal.SIGKILL)
        ready(run, "strategy", first["incarnation"] + 2)
        trades_on(run)
        stop(run)


def test_killing_the_supervisor_cancels_what_rests_even_while_a_worker_restarts(tmp_path: Path) -> None:
    with engine(tmp_path, placement="spread") as run:
        run.wait_running()
        trades_on(run)
        os.kill(run.worker("strategy")["pid"], signal.SIGKILL)
        run.remember()
        run.signal(signal.SIGKILL)
        run.wait_ended()
        until(lambda: not run.living(), "children gone after the supervisor was killed")
        account = read_account(run, 1)
        assert_whole(account)
        # Where orders end in time for it, some are filled while the others are canceled.
        last = next(one for one in reversed(account.reports) if one.kind != ReportKind.FILL)
        assert (last.kind, last.epoch) == (ReportKind.CANCELED, 1)
        again = EngineRun(tmp_path, run.config.read_text(), "--duration", "1", name=run.name)
        try:
            assert again.wait_ended() == 0, again.text()
            assert any("cleared segment" in line for line in again.report()["events"])
            assert read_account(again, 1).open_orders == []
        finally:
            again.close()


def test_stopped_processes_are_stalled_lose_their_orders_and_heal(tmp_path: Path) -> None:
    with engine(tmp_path, placement="spread") as run:
        run.wait_running()
        trades_on(run)
        with stopped(run.worker("strategy")["pid"]):
            until(lambda: state_of(run, "strategy") == "STALLED", "the strategy is STALLED")
            until(lambda: not read_account(run).open_orders, "its orders are canceled")
        until(lambda: state_of(run, "strategy") == "RUNNING", "the strategy heals")
        trades_on(run)
        with stopped(run.worker("feed")["pid"]):
            until(lambda: state_of(run, "feed") == "STALLED", "the feed is STALLED")
            until(lambda: not read_account(run).open_orders, "nothing rests on books that nobody publishes")
            sent = len(read_account(run).sent_new)
            until(lambda: run.worker("strategy")["heartbeat_age_ms"] < 100, "the strategy beats")
            assert len(read_account(run).sent_new) == sent
        trades_on(run)
        with stopped(run.worker("gateway")["pid"]):
            until(lambda: state_of(run, "gateway") == "STALLED", "the gateway is STALLED")
        trades_on(run)
        stalled = [line for line in run.events().splitlines() if "stalled: no heartbeat" in line]
        for name in ("strategy", "feed", "gateway"):
            assert any(f" {name} (pid " in line for line in stalled), stalled
        stop(run)


@pytest.mark.prove
def test_a_gateway_that_hangs_at_the_stop_is_replaced_and_its_orders_canceled(tmp_path: Path) -> None:
    config, _ = synthetic(tmp_path, placement="spread")
    config = config.replace("shutdown_s = 60.0", "shutdown_s = 4.0")
    with engine(tmp_path, config=config) as run:
        run.wait_running()
        until(lambda: len(read_account(run).open_orders) > 2, "orders rest")
        with stopped(run.worker("gateway")["pid"]):
            run.signal(signal.SIGTERM)
            assert run.wait_ended() == 0, run.text()
        assert any("gateway is replaced" in line for line in run.report()["events"])
        assert_whole(read_account(run))


def test_a_halt_cancels_at_once_and_outlives_restarts(tmp_path: Path) -> None:
    with engine(tmp_path, placement="spread") as run:
        run.wait_running()
        until(lambda: read_account(run).open_orders, "orders rest")
        assert "HALTED" in run.verb("halt").stdout
        until(lambda: not read_account(run).open_orders, "nothing rests")
        sent = len(read_account(run).sent_new)
        assert "HALTED" in run.verb("halt").stdout
        for number, victim in enumerate(("strategy", "gateway"), 1):
            os.kill(run.worker(victim)["pid"], signal.SIGKILL)
            ready(run, victim, 2)
            denied = read_account(run).denied["HALTED"]
            until(lambda: read_account(run).denied["HALTED"] > denied, f"denials after restart {number}")
        assert run.status()["trading_state"] == "HALTED"
        account = stop(run)
        assert len(account.sent_new) == sent
        assert run.report()["orders"]["denied_by_reason"]["HALTED"] > 0


def test_a_full_disk_denies_new_orders_lets_cancels_pass_and_heals(tmp_path: Path) -> None:
    config, _ = synthetic(tmp_path, rate=3000.0)
    # Many small decisions fill the smallest file in a second or two.
    config = config.replace("[risk]", strategy("filling", "Flooding") + "[risk]")
    config += "[journal]\nfile_mib = 1\n"
    with engine(tmp_path, config=config) as run:
        run.wait_running()
        pid = run.worker("trade")["pid"]
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (65_536, hard))
        until(lambda: "new orders are denied (JOURNAL)" in run.events(), "the journal is full")
        until(lambda: "journal: no room: 1048576 bytes needed" in run.events(), "it is told why")
        sent = len(read_account(run).sent_new)
        until(lambda: run.counters()["denied.JOURNAL"], "denials with that reason")
        assert len(read_account(run).sent_new) == sent
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        until(lambda: "has room again" in run.events(), "it heals")
        until(lambda: len(read_account(run).sent_new) > sent, "it trades again")
        run.signal(signal.SIGTERM)
        assert run.wait_ended() == 0, run.text()
        assert_whole(read_account(run))
        assert run.report()["orders"]["denied_by_reason"]["JOURNAL"] > 0
        assert any("journal" in fault["text"] for fault in run.report()["faults"])


def refused(folder: Path, config: str, state: Path, *, file_limit: int | None = None) -> str:
    """Start an engine that must refuse: exit code 1, one line, nothing left; returns the line."""
    path = folder / "refused.toml"
    path.write_text(config)
    argv = [*COMMAND, "run", str(path), "--state", str(state)]
    if file_limit is not None:
        limit = f"resource.setrlimit(resource.RLIMIT_FSIZE, ({file_limit}, {file_limit}))"
        start = f"import os, resource, sys; {limit}; os.execv(sys.argv[1], sys.argv[1:])"
        argv = [sys.executable, "-c", start, *argv]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    errors = [line for line in done.stderr.splitlines() if line.startswith("ringlane: error: ")]
    assert len(errors) == 1, done.stderr
    name = config.split('name = "')[1].split('"')[0]
    assert list(Path("/dev/shm").glob(f"ringlane.{name}.*")) == []
    return done.stderr


def test_a_state_directory_or_memory_that_can_not_be_used_is_one_precise_error(tmp_path: Path) -> None:
    config, name = synthetic(tmp_path)
    state = tmp_path / "state"
    home = state / name
    home.mkdir(parents=True)
    (home / "epoch").write_text("se7en\n")
    assert "holds 'se7en', not a number" in refused(tmp_path, config, state)
    (home / "epoch").write_text("")
    assert "holds '', not a number" in refused(tmp_path, config, state)
    (home / "epoch").unlink()
    (home / "log").write_text("in the way")
    assert str(home) in refused(tmp_path, config, state)
    (home / "log").unlink()
    assert "state directory" in refused(tmp_path, config, tmp_path / "refused.toml")
    error = refused(tmp_path, config, state, file_limit=1 << 20)
    assert f"segment ringlane.{name}." in error
    assert "/dev/shm has" in error


@pytest.mark.prove
def test_a_lost_epoch_file_does_not_bring_back_another_runs_orders(tmp_path: Path) -> None:
    with engine(tmp_path) as run:
        run.wait_running()
        until(lambda: run.counters()["orders.new"], "something stands in the journal")
        run.signal(signal.SIGTERM)
        assert run.wait_ended() == 0, run.text()
        config = run.config.read_text()
        broken = journal_folder(run) / "journal-000009-000000.rlj"
        broken.write_bytes(b"half a head")  # of another epoch: nobody's business
        (run.state / run.name / "epoch").unlink()
        assert "entries of epoch 1, which only begins" in refused(tmp_path, config, run.state)
        again = EngineRun(tmp_path, config, "--duration", "1", name=run.name)
        try:
            assert again.wait_ended() == 0, again.text()
            assert again.report()["run"]["epoch"] == 2
        finally:
            again.close()


def test_misbehaving_strategies_hurt_only_themselves(tmp_path: Path) -> None:
    config, _ = synthetic(tmp_path, placement="spread")
    bad = (
        strategy("raising", "Raising"),
        strategy("flooding", "Flooding", "", '["BTCUSDT"]'),
        strategy("blocking", "Blocking", f'mark = "{tmp_path}/mark"'),
    )
    config = config.replace("[risk]", "".join(bad) + "[risk]")
    with engine(tmp_path, config=config) as run:
        run.wait_running()
        until(lambda: "raised on purpose" in run.events(), "the fault is an event")
        until(lambda: "stalled: no heartbeat" in run.events(), "the blocked worker is stalled")
        until(lambda: "beats again" in run.events(), "it heals")
        trades_on(run)
        until(lambda: run.counters()["orders.replaced"], "the maker goes with the market")
        until(lambda: run.counters()["denied.OPEN_ORDERS"], "the flood is denied")
        account = stop(run)
        report = run.report()
        assert report["orders"]["actor_errors"] >= 1
        assert any("raising.on_book: RuntimeError: raised on purpose" in f["text"] for f in report["faults"])
        assert report["orders"]["denied_by_reason"]["OPEN_ORDERS"] > 0
        makers = {i.actor_id for i, _ in account.intents if i.kind == IntentKind.REPLACE}
        assert makers, "the maker was crowded out"
        assert sum(w["restarts"] for w in report["workers"]) == 0


def test_state_positions_and_orders_are_handed_over_after_a_kill(tmp_path: Path) -> None:
    config, name = synthetic(tmp_path, placement="spread")
    told = tmp_path / "told.jsonl"
    config = replace_strategies(config, strategy("telling", "Telling", f'path = "{told}"'))
    config = config.replace('mode = "paper"', 'mode = "paper"\nkeep_orphans = true')
    with engine(tmp_path, config=config) as run:
        run.wait_running()

        def is_settled() -> bool:
            account = read_account(run)
            sent, held = len(account.sent_new), sum(1 for one in account.holdings.values() if one.quantity)
            return (sent, held, len(account.open_orders)) == (8, 4, 4)

        until(is_settled, "four orders are filled and four rest")
        state = "0,1,2,3"
        segment = Path(f"/dev/shm/ringlane.{name}.1.state.{run.worker('strategy')['slot']}")
        until(lambda: state.encode() in segment.read_bytes(), "the state is saved")
        before = read_account(run)
        os.kill(run.worker("strategy")["pid"], signal.SIGKILL)
        ready(run, "strategy", 2)
        until(lambda: len(told.read_bytes().splitlines()) == 2, "it has told what it was given")
        first, second = (orjson.loads(line) for line in told.read_bytes().splitlines())
        assert (first["reason"], first["state"], first["working"]) == ("start", None, {})
        assert (second["reason"], second["state"], second["loaded"]) == ("restart", state, f"1:{state}")
        resting = {str(order): before.leaves[order] for order in before.open_orders}
        assert second["working"] == resting
        rows = {row.canonical: row for row in before.instruments.values()}
        held = {
            rows[name].instrument_id: holding.quantity * 10 ** rows[name].quantity_exponent
            for name, holding in before.holdings.items()
        }
        assert {int(i): u for i, u in second["positions"].items() if u} == held
        account = stop(run)
        assert len(account.sent_new) == len(before.sent_new), "adopted orders were placed again"


def newest_generation(run: EngineRun) -> int:
    intents = read_account(run).intents
    return intents[-1][0].generation if intents else 0


def test_fifty_reloads_under_load_give_each_decision_one_generation(tmp_path: Path) -> None:
    config, _ = synthetic(tmp_path)
    base = replace_strategies(config, strategy("stamping", "Stamping", "lots = LOTS"))
    config = base.replace("LOTS", "1")
    with engine(tmp_path, config=config) as run:
        run.wait_running()
        note = find_run(run.name, run.state)
        for generation in range(2, 52):
            run.config.write_text(base.replace("LOTS", str(generation)))
            assert ask(note, "reload", PATIENCE_S)["generation"] == generation
            if generation % 10 == 0:
                until(lambda: newest_generation(run) == generation, "a decision of that generation")
                run.config.write_text(base.replace("lots = LOTS", "lots = "))
                with pytest.raises(ControlError, match="TOML"):
                    ask(note, "reload", PATIENCE_S)
        until(lambda: newest_generation(run) == 51, "decisions of the last generation")
        account = stop(run)
        decided = [i for i, _ in account.intents if i.kind == IntentKind.NEW]
        lot = {row.instrument_id: row.lot_size for row in account.instruments.values()}
        mixed = [i for i in decided if i.quantity_units != i.generation * lot[i.instrument_id]]
        assert not mixed
        assert len({i.generation for i in decided}) > 5
        assert Reason.GENERATION not in {verdict for _, verdict in account.intents}


class Manager:
    """Listens as systemd does: at once, so that nothing told is lost however late a test looks."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._heard: Queue[dict[str, str]] = Queue()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while words := self._socket.recv(4096):
            self._heard.put(dict(line.split("=", 1) for line in words.decode().splitlines()))

    def hear(self, key: str) -> dict[str, str]:
        """The next that is told with this key."""
        while True:
            heard = self._heard.get(timeout=PATIENCE_S)
            if key in heard:
                return heard

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RD)
        self._thread.join()
        self._socket.close()


def test_systemd_hears_the_whole_life_and_actors_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = Manager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "600000")
    hear = manager.hear
    config, _ = synthetic(tmp_path)
    symbols = ["BTCUSDT", "ETHUSDT", "SYM000USDT", "SYM001USDT"]  # the synthetic market's first four
    many = [
        strategy(f"s{n}", "Stamping", "lots = 1", str(symbols[n : n + 2]).replace("'", '"')) for n in range(3)
    ]
    config = config.replace("[risk]", "".join(many) + "[risk]")
    with engine(tmp_path, config=config) as run:
        assert hear("READY")["STATUS"].startswith("running default")
        assert hear("WATCHDOG") == {"WATCHDOG": "1"}

        def listed() -> list[dict[str, Any]] | None:
            rows: list[dict[str, Any]] = orjson.loads(run.verb("actors", "--json").stdout)
            # One that had to wait for a processor is STALLED for a moment.
            return rows if all(row["state"] == "RUNNING" for row in rows) else None

        rows = until(listed, "all actors run")
        assert [r["name"] for r in rows if r["worker"] == "trade"] == ["gateway", "maker", "s0", "s1", "s2"]
        assert len({r["actor_id"] for r in rows}) == len(rows) == 9
        for row in rows:
            assert row["pid"] > 0
            assert row["heartbeat_age_ms"] is not None
        ids = {r["name"]: r["actor_id"] for r in rows}

        def traded() -> dict[int, set[str]]:
            account = read_account(run)
            by_actor: dict[int, set[str]] = {}
            for intent, _ in account.intents:
                if intent.kind == IntentKind.NEW:
                    symbol = account.instruments[intent.instrument_id].symbol
                    by_actor.setdefault(intent.actor_id, set()).add(symbol)
            return by_actor

        wanted = {ids[f"s{n}"]: set(symbols[n : n + 2]) for n in range(3)}
        until(lambda: all(traded().get(a) == s for a, s in wanted.items()), "each trades its own")
        run.signal(signal.SIGHUP)
        assert int(hear("RELOADING")["MONOTONIC_USEC"]) > 0
        assert hear("READY")["STATUS"] == "generation 2"
        run.signal(signal.SIGTERM)
        assert hear("STOPPING")["STATUS"] == "SIGTERM"
        assert run.wait_ended() == 0
    manager.close()
