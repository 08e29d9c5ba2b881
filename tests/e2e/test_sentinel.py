"""The sentinel beside a real engine, at a simulated venue that outlives both: nothing is left resting."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

from actors.runtime.spec import metrics_name
from shm.audit import AUDIT_NAME, read
from shm.enums import SegmentKind
from shm.metrics import Metrics
from shm.segment import RunName, Segment
from tests.e2e.test_venue_orders import trading
from tests.kit.engine_run import COMMAND, PATIENCE_S, ROOT, EngineRun, until
from tests.kit.trading_venue import TradingVenue, trading_venue
from tools.attach import find_run
from tools.cli import main

pytestmark = pytest.mark.timeout(400)
VENUE = ("--instruments", "2", "--rate", "300", "--seed", "7", "--limits", "100")
SENTINEL = "rl:sentinel"
#: After how long a gateway is taken for lost; the next where one was that only waited for a processor.
STALLS_MS = (2_000, 10_000, 50_000)


@contextmanager
def scene(
    folder: Path, monkeypatch: pytest.MonkeyPatch, more: str = "", adapter: str = "binance_usdm"
) -> Iterator[tuple[TradingVenue, EngineRun]]:
    """An engine that trades at a venue that outlives it."""
    for stall_ms in STALLS_MS:
        place = folder / f"stall{stall_ms}"
        place.mkdir()
        monkeypatch.setattr("tests.e2e.test_venue_orders.CONFIG", config_with(stall_ms, more))
        with ExitStack() as stack:
            at = stack.enter_context(trading_venue(adapter, *VENUE))
            run = stack.enter_context(trading(place, monkeypatch, at, f"se{os.getpid()}"))
            told = until(partial(begun, at, run), "the engine has orders")
            if told is True:
                run.remember()
                yield at, run
                return
            print(f"at {stall_ms} ms: {told}")  # noqa: T201
    raise AssertionError("an engine that nobody stopped was taken for lost, however long it was waited for")


def begun(at: TradingVenue, run: EngineRun) -> list[dict[str, Any]] | bool:
    """Whether it has orders; or what the sentinel did, for which there was no reason yet."""
    return audit(run) or len(open_orders(at)) >= 2


def config_with(stall_ms: int, more: str) -> str:
    from tests.e2e.test_venue_orders import CONFIG

    limits = f"stall_ms = {stall_ms}\nrestart_s = 60.0\nsupervisor_s = 60.0\n"
    return f"{CONFIG.partition('[sentinel]')[0]}[sentinel]\n{limits}{more}"


def open_orders(at: TradingVenue) -> list[dict[str, Any]]:
    return list(at.ask("/sim/orders?open=1"))


def place_by_hand(at: TradingVenue) -> int:
    """A resting order far from the market, as somebody in a browser would place it."""
    own = until(
        lambda: next((row for row in open_orders(at) if row["side"] == "buy"), None), "an order to buy rests"
    )
    price = Decimal(own["price"])
    step = Decimal(1).scaleb(int(price.as_tuple().exponent) + 2)  # a multiple of every tick there is
    below = price * 98 // 100 // step * step
    order = {"symbol": own["symbol"], "side": "buy", "price": f"{below:f}", "quantity": own["quantity"]}
    return int(at.ask("/sim/order", order)["order_id"])


def positions(at: TradingVenue) -> list[dict[str, Any]]:
    """What flattening is about: not what of a spot instrument was bought or sold."""
    held = [row for row in at.ask("/sim/positions") if row["position_units"]]
    return [row for row in held if "-" not in row["symbol"] or row["symbol"].endswith("-SWAP")]


def timers_set(run: EngineRun) -> int:
    """How many of the venues' timers the sentinel has set."""
    row = run.worker("sentinel")
    note = find_run(run.name or None, run.state)
    name = RunName(note.instance, note.epoch)
    segment = Segment.attach(name, metrics_name(row["slot"]), SegmentKind.METRICS, writable=False)
    return Metrics.attach(segment.payload).counters().get("sentinel.timers_set", 0)


def processes(run: EngineRun) -> tuple[psutil.Process, list[psutil.Process]]:
    """The sentinel, and all the others of the engine."""
    alive = [p for p in run.family.values() if p.is_running()]
    sentinel = next(p for p in alive if p.name() == SENTINEL)
    return sentinel, [p for p in alive if p != sentinel]


def audit(run: EngineRun) -> list[dict[str, Any]]:
    paths = list(run.state.rglob(AUDIT_NAME))
    return [dict(entry.facts) for path in paths for entry in read(path)]


def verb(run: EngineRun, *arguments: str) -> int:
    """A verb of the command, in this process: an engine's workers need the processor."""
    return main([*arguments, "--name", run.name, "--state", str(run.state)])


def send(some: list[psutil.Process], number: int) -> None:
    for process in some:
        process.send_signal(number)


def test_of_an_engine_that_hangs_nothing_rests_and_it_wakes_up_halted_until_cleared_in_two_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with scene(tmp_path, monkeypatch) as (at, run):
        by_hand = place_by_hand(at)
        _, others = processes(run)
        send(others, signal.SIGSTOP)
        try:
            until(lambda: not open_orders(at), "nothing rests")
            assert verb(run, "halt", "--json") == 0
        finally:
            send(others, signal.SIGCONT)
        halted = capsys.readouterr().out
        assert '"by":"the sentinel"' in halted
        assert '"supervisor_answers":false' in halted
        row = next(row for row in at.ask("/sim/orders") if row["order_id"] == by_hand)
        assert not row["is_open"]
        done = [entry for entry in audit(run) if entry["event"] == "withdrawn"]
        assert done[0]["accounts"][0]["nothing_rests"]
        assert done[0]["accounts"][0]["foreign"] >= 1
        assert "hangs" in done[0]["why"]
        until(lambda: run.status().get("trading_state") == "HALTED", "the engine answers again")
        own = next(row for row in at.ask("/sim/orders") if row["order_id"] == by_hand)
        placed = at.ask("/sim/order", {key: own[key] for key in ("symbol", "side", "price", "quantity")})
        assert [row["order_id"] for row in open_orders(at)] == [placed["order_id"]]
        assert verb(run, "halt", "--json") == 0  # the same state again takes what was placed since
        assert orjson.loads(capsys.readouterr().out)["acted"][0]["foreign"] == 1
        assert open_orders(at) == []
        assert verb(run, "resume", "--clear") == 1
        assert verb(run, "resume", "--arm") == 0
        assert open_orders(at) == []
        assert verb(run, "resume", "--clear", "--why", "the test says so") == 0
        until(lambda: open_orders(at), "it trades again")
        run.signal(signal.SIGTERM)
        assert run.wait_ended() == 0, run.text()
        assert open_orders(at) == []
        steps = [(e["event"], e["by"]) for e in audit(run)]
        assert steps[0] == ("halt", "sentinel")
        # The halt by hand may come while the sentinel still makes sure that nothing rests.
        assert ("withdrawn", "sentinel") in steps[1:3]
        assert steps[-2:] == [("arm", "operator"), ("clear", "operator")]


@pytest.mark.prove
def test_an_ordered_stop_lets_the_sentinel_go_and_leaves_manual_orders_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scene(tmp_path, monkeypatch, "dead_man_s = 4.0\n") as (at, run):
        by_hand = place_by_hand(at)
        run.signal(signal.SIGTERM)
        assert run.wait_ended() == 0, run.text()
        assert [row["order_id"] for row in open_orders(at)] == [by_hand]
        assert audit(run) == []
        # The timer that the sentinel kept setting would fire within four seconds from here.
        done_ms = max(row["updated_ms"] for row in at.ask("/sim/orders"))
        until(lambda: at.ask("/fapi/v1/time")["serverTime"] > done_ms + 4_500, "the timer's time is over")
        assert [row["order_id"] for row in open_orders(at)] == [by_hand]


@pytest.mark.prove
@pytest.mark.parametrize("adapter", ["binance_usdm", "okx", "bybit_linear"])
def test_killed_but_for_the_sentinel_an_engine_leaves_nothing_at_the_venue_and_the_sentinel_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adapter: str
) -> None:
    with scene(tmp_path, monkeypatch, "flatten = true\n", adapter) as (at, run):
        place_by_hand(at)
        until(lambda: positions(at), "a position")
        sentinel, others = processes(run)
        send(others, signal.SIGKILL)
        until(lambda: not open_orders(at), "nothing rests")
        until(lambda: not positions(at), "all is flat")
        gone, _ = psutil.wait_procs([sentinel], timeout=PATIENCE_S)
        assert gone == [sentinel]
        done = [entry for entry in audit(run) if entry["event"] == "withdrawn"]
        assert done[-1]["why"] == "the supervisor is gone"
        assert done[-1]["accounts"][0]["is_flat"]
        assert open_orders(at) == []


@pytest.mark.prove
def test_without_a_sentinel_the_venues_timer_cancels_and_the_engine_opens_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scene(tmp_path, monkeypatch, "dead_man_s = 2.0\n") as (at, run):
        sentinel, _ = processes(run)
        until(lambda: timers_set(run) >= 3, "its timers are set")
        fired = at.ask("/sim/statistics")["dead_men_fired"]
        # Stopped, not killed: the supervisor would bring a dead one back at once.
        sentinel.send_signal(signal.SIGSTOP)
        try:
            until(lambda: at.ask("/sim/statistics")["dead_men_fired"] > fired, "the venue's timer")
            until(lambda: not open_orders(at), "nothing rests")
        finally:
            sentinel.send_signal(signal.SIGCONT)
        until(lambda: open_orders(at), "with a sentinel it trades again")
        before = sentinel.pid
        sentinel.kill()
        until(lambda: run.worker("sentinel").get("pid") not in (None, 0, before), "it is brought back")
        until(lambda: open_orders(at), "and trades")
        run.signal(signal.SIGTERM)
        assert run.wait_ended() == 0, run.text()
        assert run.report()["orders"]["denied_by_reason"]["SENTINEL"] > 0


@pytest.mark.prove
def test_halt_cancels_by_itself_when_engine_and_sentinel_are_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scene(tmp_path, monkeypatch) as (at, run):
        place_by_hand(at)
        sentinel, others = processes(run)
        send([sentinel, *others], signal.SIGSTOP)
        send([sentinel, *others], signal.SIGKILL)
        psutil.wait_procs([sentinel, *others], timeout=PATIENCE_S)
        assert open_orders(at)
        monkeypatch.delenv("RL_TEST_API_KEY")
        refused = run.verb("halt", ok=False)
        assert refused.returncode == 1
        assert "RL_TEST_API_KEY is not set" in refused.stderr
        assert open_orders(at)
        monkeypatch.setenv("RL_TEST_API_KEY", at.keys["api_key"])
        done = run.verb("halt", "--flatten", "--json").stdout
        assert '"by":"this command"' in done
        assert open_orders(at) == []
        assert not [p for p in at.ask("/sim/positions") if p["position_units"]]


def run_stop_post(run: EngineRun, **result: str) -> subprocess.CompletedProcess[str]:
    """Run what the shipped unit runs behind a service's end, with the environment systemd gives it."""
    unit = (ROOT / "tools" / "systemd" / "ringlane.service").read_text()
    (line,) = [one.partition("=")[2] for one in unit.splitlines() if one.startswith("ExecStopPost=")]
    program, *arguments = shlex.split(line.removeprefix("-"))
    assert Path(program).name == "ringlane" and "%" not in line
    folder = next(one for one in unit.splitlines() if one.startswith("StateDirectory=")).partition("=")[2]
    at = arguments.index("--state") + 1
    assert arguments[at] == f"/var/lib/{folder}", "where the unit's engine keeps its state"
    arguments[at] = str(run.state)
    keys = {name: value for name, value in os.environ.items() if name.startswith("RL_TEST_")}
    return subprocess.run(
        [*COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S,
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"} | keys | result,
    )  # fmt: skip


@pytest.mark.prove
@pytest.mark.parametrize("result", ["signal", "watchdog"])
def test_what_the_unit_runs_behind_a_killed_control_group_leaves_nothing_resting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: str
) -> None:
    with scene(tmp_path, monkeypatch) as (at, run):
        place_by_hand(at)
        sentinel, others = processes(run)
        send([sentinel, *others], signal.SIGSTOP)
        send([sentinel, *others], signal.SIGKILL)
        psutil.wait_procs([sentinel, *others], timeout=PATIENCE_S)
        assert open_orders(at), "at least what was placed by hand; what the maker had may have filled"
        done = run_stop_post(run, SERVICE_RESULT=result, EXIT_CODE="killed", EXIT_STATUS="KILL")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "nothing rests" in done.stdout
        assert open_orders(at) == []
        assert audit(run)[-1]["why"] == "systemd: the engine ended"


@pytest.mark.prove
def test_what_the_unit_runs_behind_an_ordered_stop_leaves_manual_orders_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scene(tmp_path, monkeypatch) as (at, run):
        by_hand = place_by_hand(at)
        run.signal(signal.SIGTERM)
        assert run.wait_ended() == 0, run.text()
        done = run_stop_post(run, SERVICE_RESULT="success", EXIT_CODE="exited", EXIT_STATUS="0")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert [row["order_id"] for row in open_orders(at)] == [by_hand]
        assert audit(run) == []
