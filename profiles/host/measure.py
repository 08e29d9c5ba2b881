"""Run the measuring loops: which thread on which core, for how long."""

from __future__ import annotations

import os
import resource
import tempfile
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from profiles.host.hiccup import (
    LinePair,
    WakePair,
    clock_cost_ns,
    new_histogram,
    set_timer_slack,
    spin,
    syscall_cost_ns,
    timer_lateness,
)
from profiles.host.measured import CorePair, Hiccups, Timing, hiccups_of, timing_of
from shm.clock import now_ns

WAKES = 3_000
WAKE_GAP_NS = 100_000
TIMERS = 2_000
TIMER_INTERVAL_NS = 100_000
TIGHT_SLACK_NS = 1
TURNS = 20_000
FSYNCS = 10
FSYNC_BYTES = 4096


class _Part(threading.Thread):
    """One pinned thread that keeps what its function returned or raised."""

    def __init__(
        self, core: int | None, work: Callable[[], Any], start: threading.Barrier, name: str
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._core = core
        self._work = work
        self._start_together = start
        self.result: Any = None
        self.error: OSError | None = None

    def run(self) -> None:
        """Pin, wait for the others, work."""
        try:
            if self._core is not None:
                os.sched_setaffinity(0, {self._core})
        except OSError as error:
            self.error = error
        self._start_together.wait()
        if self.error is None:
            self.result = self._work()


def together(parts: Sequence[tuple[int | None, Callable[[], Any]]]) -> list[Any]:
    """Run each function in a thread of its own, pinned to its core (None = not pinned), all at once.

    Returns:
        What they returned, in the order given.

    Raises:
        OSError: a thread may not run on its core.
    """
    barrier = threading.Barrier(len(parts))
    threads = [_Part(core, work, barrier, f"doctor-{core}") for core, work in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for thread in threads:
        if thread.error is not None:
            raise thread.error
    return [thread.result for thread in threads]


def pinnable(cores: Sequence[int]) -> tuple[int, ...]:
    """Those of the cores that a thread of this process may be pinned to."""
    found = []
    for core in cores:
        try:
            together([(core, lambda: None)])
        except OSError:
            continue
        found.append(core)
    return tuple(found)


def measure_hiccups(cores: Sequence[int], seconds: float) -> tuple[Hiccups, ...]:
    """Spin on all cores at once and sum up each one's gaps."""
    duration_ns = int(seconds * 1e9)
    return tuple(together([(core, partial(_spin_one, core, duration_ns)) for core in cores]))


def _spin_one(core: int, duration_ns: int) -> Hiccups:
    gaps = new_histogram()
    waited, switches = _scheduled()
    elapsed_ns = spin(gaps, duration_ns)
    waited_after, switches_after = _scheduled()
    return hiccups_of(core, gaps.snapshot(), elapsed_ns, waited_after - waited, switches_after - switches)


def _scheduled() -> tuple[int, int]:
    """How long the calling thread has waited for a core, in ns, and how often it was taken off one."""
    try:
        # Run time, time in the run queue, time slices. Source: Linux Documentation/scheduler/sched-stats.rst.
        waited = int(Path("/proc/thread-self/schedstat").read_text().split()[1])
    except (OSError, IndexError):
        waited = 0
    return waited, resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw


def measure_wake(
    cores: tuple[int | None, int | None], label: str, *, held: bool, what: str = "wake"
) -> Timing:
    """Wake a thread that sleeps on the second core from the first, 10,000 times a second.

    Args:
        cores: of the writer and of the sleeper; None = wherever the scheduler puts them.
        label: what the row is called.
        held: whether the caller holds PM QoS.
        what: kind of the row; only `wake` counts for the latency class.
    """
    pair = WakePair()
    ages = new_histogram()
    together([(cores[0], lambda: pair.send(WAKES, WAKE_GAP_NS)), (cores[1], lambda: pair.receive(ages))])
    return timing_of(what, label, ages.snapshot(), held=held)


def measure_timer(core: int, *, tight: bool, held: bool) -> Timing:
    """How late sleeps of 100 µs end, at the default timer slack or at 1 ns."""
    late = new_histogram()

    def work() -> int:
        slack = set_timer_slack(TIGHT_SLACK_NS) if tight else 0
        timer_lateness(late, TIMER_INTERVAL_NS, TIMERS)
        if tight:
            set_timer_slack(slack)
        return slack

    together([(core, work)])
    setting = f"core {core}, slack {'1 ns' if tight else 'as given'}"
    return timing_of("timer", setting, late.snapshot(), held=held)


def measure_pair(first: int, second: int) -> CorePair:
    """Cache line and clocks between two cores."""
    plain, stamped = LinePair(stamped=False), LinePair(stamped=True)
    for pair in (plain, stamped):
        together([(first, partial(pair.ask, TURNS)), (second, partial(pair.answer, TURNS))])
    return CorePair((first, second), plain.round_trip_ns, stamped.offset_ns, stamped.violations)


def measure_costs(core: int) -> tuple[float, float]:
    """Mean cost of a clock read and of the cheapest system call on one core, in ns; the best of three."""

    def work() -> tuple[float, float]:
        return min(clock_cost_ns() for _ in range(3)), min(syscall_cost_ns() for _ in range(3))

    costs: tuple[float, float] = together([(core, work)])[0]
    return costs


def measure_fsync(folder: str) -> int | None:
    """The slowest of ten durable writes of 4 KiB in ns, into a file without a name: nothing stays behind.

    Returns:
        None when the folder (or its nearest parent that exists) does not take such a file.
    """
    place = Path(folder)
    while not place.exists() and place != place.parent:
        place = place.parent
    slowest = 0
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            for _ in range(FSYNCS):
                start = now_ns()
                file.write(bytes(FSYNC_BYTES))
                file.flush()
                os.fsync(file.fileno())
                slowest = max(slowest, now_ns() - start)
    except OSError:
        return None
    return slowest
