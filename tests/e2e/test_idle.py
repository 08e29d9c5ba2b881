"""Nobody polls: under a silent venue an engine of 500 actors sleeps, woken by its heartbeats alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from engine.config import EngineConfig
from tests.kit.engine_run import PATIENT, RISK, EngineRun, engine, until

pytestmark = [pytest.mark.prove, pytest.mark.timeout(500)]

ACTORS = 500
HEARTBEATS_PER_S = 1_000 / EngineConfig().heartbeat_ms
#: The heartbeat is the only periodic timer; a keep-alive of a silent socket comes on top now and then.
WAKES_MAX = 2 * HEARTBEATS_PER_S
WINDOW_S = 4.0
SHARE_MAX = 0.005  # of one core, all processes of the engine together
RATIO_MAX = 8  # or so many times what as many wake-ups of a thread that does nothing cost here

HEAD = (
    """
name = "idle{pid}"
[engine]
{patient}
[venues.sim]
adapter = "binance_usdm"
[venues.sim.simulated]
instruments = {actors}
rate = 2_000.0
seed = 7
"""
    + RISK
    + """[orders]
mode = "paper"
maker_fee_bps = 2.0
taker_fee_bps = 5.0
"""
)

STRATEGY = """
[[strategies]]
name = "maker-{number}"
kind = "market_maker"
venue = "sim"
instruments = ["{symbol}"]
"""


def symbols(count: int) -> list[str]:
    """What the synthetic market trades."""
    return ["BTCUSDT", "ETHUSDT", *(f"SYM{i:03d}USDT" for i in range(count - 2))]


@dataclass
class Use:
    """What a process has used: processor time in s (the scheduler counts ns), and voluntary switches."""

    cpu_s: float
    switches: int


class Watched:
    """The processes of an engine without its simulated venue."""

    def __init__(self, run: EngineRun) -> None:
        status = run.wait_running()
        self.pids = {"supervisor": run.process.pid, **{w["name"]: w["pid"] for w in status["workers"]}}
        self.venues = [row["pid"] for row in status["commands"]]

    def use(self) -> dict[str, Use]:
        return {name: use_of(pid) for name, pid in self.pids.items()}


def use_of(pid: int) -> Use:
    threads = list(Path(f"/proc/{pid}/task").iterdir())
    ran_ns = sum(int((t / "schedstat").read_text().split()[0]) for t in threads)
    return Use(ran_ns / 1e9, psutil.Process(pid).num_ctx_switches().voluntary)


def measured(who: Watched, window_s: float) -> dict[str, tuple[float, float]]:
    """Share of a core and voluntary switches per second of each process over a window."""
    before, begin = who.use(), time.monotonic()
    time.sleep(window_s)
    passed, after = time.monotonic() - begin, who.use()
    return {
        name: (
            (after[name].cpu_s - used.cpu_s) / passed,
            (after[name].switches - used.switches) / passed,
        )
        for name, used in before.items()
    }


def rests(found: dict[str, tuple[float, float]]) -> bool:
    return all(switches < WAKES_MAX for _, switches in found.values())


def wake_s() -> float:
    """What one wake-up costs on this machine: processor time of a thread that only sleeps, per sleep."""
    begin = time.thread_time()
    for _ in range(20):
        time.sleep(1 / HEARTBEATS_PER_S)
    return (time.thread_time() - begin) / 20


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[Watched]:
    """An engine of 500 strategies whose books were all LIVE and whose venue then fell silent."""
    text = HEAD.format(pid=os.getpid(), patient=PATIENT, actors=ACTORS)
    text += "".join(STRATEGY.format(number=i, symbol=s) for i, s in enumerate(symbols(ACTORS)))
    begin = time.monotonic()
    with engine(tmp_path, config=text) as run:
        who = Watched(run)
        print(f"\nstart of {ACTORS} actors: {time.monotonic() - begin:.1f} s")  # noqa: T201
        until(lambda: run.live() == ACTORS, "every book is LIVE")
        for pid in who.venues:
            os.kill(pid, signal.SIGSTOP)
        until(lambda: run.live() == 0, "every book is STALE")
        try:
            yield who
        finally:
            for pid in who.venues:
                os.kill(pid, signal.SIGCONT)


def lacking(who: Watched) -> list[str]:
    """What an engine did over a window that an idle one does not do; tells the figures of the window."""
    found = measured(who, WINDOW_S)
    floor_s = wake_s()
    total = sum(share for share, _ in found.values())
    wakes = sum(switches for _, switches in found.values())
    for name, (share, switches) in found.items():
        print(f"{name:13} {share:7.3%} of a core {switches:6.1f} wake-ups/s")  # noqa: T201
    ratio = total / (wakes * floor_s)
    print(  # noqa: T201
        f"{'engine':13} {total:7.3%} of a core {wakes:6.1f} wake-ups/s; a thread that only sleeps uses "
        f"{floor_s * 1e6:.0f} us a wake-up here: floor {wakes * floor_s:.3%}, ratio {ratio:.1f}"
    )
    wrong = [
        f"{name}: {switches:.0f} wake-ups a second while idle"
        for name, (_, switches) in found.items()
        if switches >= WAKES_MAX
    ]
    if total >= max(SHARE_MAX, RATIO_MAX * wakes * floor_s):
        wrong.append(f"{total:.2%} of a core while idle")
    return wrong


def test_an_idle_engine_of_500_actors_is_woken_by_its_heartbeats_alone(silent: Watched) -> None:
    until(lambda: rests(measured(silent, 1.0)), "what start and silence left to do is done")
    # Others on the machine may disturb a window; who polls disturbs every one.
    until(lambda: not lacking(silent), "a window in which it idles; the figures above say what it did")
