"""`ringlane run` from start to its end, in each way it can end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.errors import ControlError
from engine.run_file import running as find_runs
from tests.kit.account import read_account
from tests.kit.engine_run import COMMAND, PATIENCE_S, ROOT, EngineRun, engine, synthetic, until
from tools.attach import ask

pytestmark = pytest.mark.timeout(400)


def updates(run: EngineRun) -> int:
    counted = run.counters()
    return sum(counted[f"feed.{kind}"] for kind in ("books", "trades", "bbos"))


def filled(run: EngineRun) -> set[str]:
    """Instruments that had a fill."""
    return set(read_account(run).holdings)


def test_a_run_trades_reports_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with engine(tmp_path) as run:
        run.wait_running()
        until(lambda: run.live() == 4, "all books are LIVE")
        until(lambda: updates(run) > 1000, "a thousand updates are published")
        until(lambda: len(filled(run)) == 4, "a fill on every instrument")
        run.signal(signal.SIGTERM)
        assert run.wait_ended() == 0, run.text()
        report = run.report()
        assert report["run"]["ended"] == "SIGTERM"
        assert report["market"]["updates"] > 1000
        assert report["market"]["lapped"] == 0
        assert report["market"]["gaps"] == 0
        assert sum(report["market"]["books_by_state"].values()) == 4
        assert report["orders"]["new"] > 0
        assert report["orders"]["fills"] > 0
        assert report["faults"] == []
        assert sum(w["restarts"] for w in report["workers"]) == 0
        for hop in ("hop.decode_ns", "hop.ring_ns", "hop.gate_ns", "tick_to_trade_ns"):
            row = report["latency"][hop]
            assert 0 < row["latency_ns_p50"] <= row["latency_ns_p99"] <= row["latency_ns_max"]
        assert len(report["positions"]) == 4
        for row in report["positions"]:
            assert row["fills"] > 0
        text = run.text()
        assert "Run report" in text
        assert "tick to trade" in text
        assert "Traceback" not in text
        run.assert_nothing_left()


def test_two_engines_run_side_by_side_on_one_state_root(tmp_path: Path) -> None:
    state = tmp_path / "state"
    runs = []
    for i in (1, 2):
        folder = tmp_path / str(i)
        folder.mkdir()
        argv = [*COMMAND, "run", "--state", str(state), "--report", str(folder)]
        runs.append(
            subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )

    def trading() -> set[str]:
        found = set()
        for note in find_runs(state):
            with suppress(ControlError):  # it only begins
                status: Any = ask(note, "status", PATIENCE_S)
                found |= {note.instance} if status["progress"]["orders"] else set()
        return found

    try:
        until(lambda: len(trading()) == 2, "both order at the same time")
    finally:
        for run in runs:
            run.terminate()
    texts = [run.communicate(timeout=PATIENCE_S)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], texts
    reports = [orjson.loads((tmp_path / str(i) / "report.json").read_bytes()) for i in (1, 2)]
    names = {r["run"]["instance"] for r in reports}
    assert len(names) == 2
    for report in reports:
        assert report["orders"]["new"] > 0
    for name in names:
        assert list(Path("/dev/shm").glob(f"ringlane.{name}.*")) == []


def test_killing_the_supervisor_ends_everything_and_the_next_start_clears_up(tmp_path: Path) -> None:
    with engine(tmp_path) as run:
        run.wait_running()
        run.signal(signal.SIGKILL)
        run.process.wait(timeout=PATIENCE_S)
        until(lambda: not run.living(), "children gone after the supervisor was killed")
        assert run.segments(), "SIGKILL leaves the segments; the next start must clear them"
        again = EngineRun(tmp_path, run.config.read_text(), "--duration", "1", name=run.name)
        try:
            assert again.wait_ended() == 0, again.text()
            report = again.report()
            assert report["run"]["epoch"] == 2
            assert report["run"]["ended"] == "duration of 1 s"
            assert any("cleared segment" in line for line in report["events"])
            again.assert_nothing_left()
        finally:
            again.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineRun]:
    """One engine for the tests that leave it as it is; the last of them ends it."""
    with engine(tmp_path_factory.mktemp("shared")) as run:
        run.wait_running()
        yield run


def test_a_second_engine_of_the_same_name_is_refused(shared: EngineRun) -> None:
    done = subprocess.run(
        [*COMMAND, "run", str(shared.config), "--state", str(shared.state)],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode in (1, 2)
    assert f"instance '{shared.name}' is already running (pid {shared.process.pid})" in done.stderr
    assert "Traceback" not in done.stderr
    assert shared.status()["phase"] == "running"


def test_reload_swaps_a_generation_and_a_bad_file_changes_nothing(shared: EngineRun) -> None:
    good = shared.config.read_text()
    first = int(shared.status()["generation"])
    shared.config.write_text(good.replace("burst = 500", "burst = 400"))
    assert f"{first + 1}" in shared.verb("reload").stdout
    assert {w["generation"] for w in shared.status()["workers"]} == {first + 1}
    shared.config.write_text(good.replace("burst = 500", "brust = 500"))
    refused = shared.verb("reload", ok=False)
    assert refused.returncode != 0
    assert "brust" in refused.stderr
    assert "burst" in refused.stderr
    assert shared.status()["generation"] == first + 1
    shared.config.write_text(good)
    shared.signal(signal.SIGHUP)
    until(lambda: shared.status().get("generation") == first + 2, "SIGHUP made one more generation")
    report = shared.folder / "report" / "report.json"
    report.unlink(missing_ok=True)
    shared.signal(signal.SIGUSR1)
    until(report.exists, "SIGUSR1 wrote a report")
    assert shared.report()["run"]["generation"] == first + 2


# The last of those that share: it ends the engine.
def test_ctrl_c_cancels_stops_and_still_reports(shared: EngineRun) -> None:
    assert orjson.loads(shared.verb("status", "--json").stdout)["instance"] == shared.name
    shared.signal(signal.SIGINT)
    assert shared.wait_ended() == 0, shared.text()
    assert shared.report()["run"]["ended"] == "SIGINT"
    assert "Traceback" not in shared.text()
    shared.assert_nothing_left()


def test_halt_stops_trading_even_when_the_supervisor_hangs(tmp_path: Path) -> None:
    with engine(tmp_path) as run:
        run.wait_running()
        os.kill(run.process.pid, signal.SIGSTOP)
        try:
            run.verb("halt")
            done = run.verb("status", "--json")
            status = orjson.loads(done.stdout)
            assert status["trading_state"] == "HALTED"
            assert status["answers"] is False
        finally:
            os.kill(run.process.pid, signal.SIGCONT)
        until(lambda: run.status().get("phase") == "running", "the supervisor answers again")
        run.signal(signal.SIGTERM)
        assert run.wait_ended() == 0
        report = run.report()
        assert report["run"]["trading_state"] == "HALTED"
        run.assert_nothing_left()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("placement", "placment"), ["placment", "placement"]),
        (("seed = 7\n[venues.sim]", 'seed = "x"\n[venues.sim]'), ["run.seed", "integer"]),
        (('adapter = "binance_usdm"', 'adapter = "nowhere"'), ["nowhere", "binance_usdm"]),
        (('venue = "sim"', 'venue = "other"'), ["other"]),
        (('kind = "market_maker"', 'kind = "money_printer"'), ["money_printer", "market_maker"]),
    ],
)
def test_a_wrong_config_is_one_precise_error(
    tmp_path: Path, change: tuple[str, str], words: list[str]
) -> None:
    text, _ = synthetic(tmp_path)
    assert change[0] in text
    path = tmp_path / "bad.toml"
    path.write_text(text.replace(change[0], change[1], 1))
    for verb in ("check", "run"):
        extra = ["--state", str(tmp_path / "state")] if verb == "run" else []
        done = subprocess.run(
            [*COMMAND, verb, str(path), *extra], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert done.returncode == 2, done.stdout + done.stderr
        for word in words:
            assert word in done.stderr
        assert "Traceback" not in done.stderr


def test_a_port_in_use_is_one_precise_error_and_leaves_nothing(tmp_path: Path) -> None:
    text, name = synthetic(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        path = tmp_path / "engine.toml"
        path.write_text(text.replace("instruments = 4", f"instruments = 4\nport = {port}"))
        done = subprocess.run(
            [*COMMAND, "run", str(path), "--state", str(tmp_path / "state")],
            cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S,
        )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{port}" in done.stderr
    assert "in use" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert list(Path("/dev/shm").glob(f"ringlane.{name}.*")) == []
