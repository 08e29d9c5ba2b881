"""The workers of a run as their slots, their processes and their metrics show them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from actors.runtime.spec import metrics_name
from engine.run_file import start_ticks
from shm.control import Control
from shm.enums import SegmentKind, WorkerState
from shm.layout import WORKER_SLOTS
from shm.metrics import Metrics
from tools.outside.rates import Rates
from tools.outside.view import RunView

#: A heartbeat older than this many intervals is late (the supervisor's own rule, `engine.liveness`).
LATE_BEATS = 3
ENDED_STATES = frozenset({WorkerState.STOPPED, WorkerState.FAILED})


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """One worker slot.

    Attributes:
        state: WorkerState by name as the supervisor wrote it, DEAD when its process is gone nevertheless,
            LATE when its heartbeat is overdue and the supervisor has not said so.
        heartbeat_age_ns: None before the first heartbeat.
        cpu_percent: of one core over the interval; None at the first look.
        drained_per_s: records drained from all its rings.
    """

    slot: int
    name: str
    pid: int
    core: int | None
    state: str
    incarnation: int
    restarts: int
    generation: int
    heartbeat_age_ns: int | None
    is_parked: bool
    cycles: int
    cycle_ns_max: int
    wakes: int
    cycles_per_s: float | None
    wakes_per_s: float | None
    cpu_percent: float | None

    @property
    def is_alive(self) -> bool:
        """Whether it drains its rings, as far as can be told from outside."""
        return self.state in ("RUNNING", "STARTING", "DRAINING", "NEW")


def cpu_ns(pid: int) -> int | None:
    """Processor time a process has used, None if there is no such process.

    The clock id of another process is made as glibc's `clock_getcpuclockid` makes it: it costs the process
    nothing and counts in nanoseconds, while /proc counts in hundredths of a second.
    """
    try:
        return time.clock_gettime_ns(~pid << 3 | 2)
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class Machine:
    """What a look needs beside shared memory; tests put their own in.

    Attributes:
        now_ns: monotonic clock.
        cpu_ns: processor time of a process.
        exists: whether a process of that pid exists.
    """

    now_ns: Callable[[], int] = time.monotonic_ns
    cpu_ns: Callable[[int], int | None] = cpu_ns
    exists: Callable[[int], bool] = lambda pid: start_ticks(pid) != 0


def state_of(state: int, pid: int, age_ns: int | None, heartbeat_ns: int, machine: Machine) -> str:
    """The state of a worker in one word; see WorkerRow."""
    name = WorkerState(state).name if state in WorkerState.__members__.values() else f"STATE-{state}"
    if state in ENDED_STATES or not pid:
        return name
    if not machine.exists(pid):
        return "DEAD"
    if state == WorkerState.RUNNING and age_ns is not None and age_ns > LATE_BEATS * heartbeat_ns:
        return "LATE"
    return name


def read_workers(control: Control, heartbeat_ns: int, rates: Rates, machine: Machine) -> dict[int, WorkerRow]:
    """All workers of the run by slot.

    Args:
        control: the control segment.
        heartbeat_ns: interval of the workers' heartbeat.
        rates: keeps the counters between looks.
        machine: clock and processes.
    """
    rows = {}
    for number in range(1, WORKER_SLOTS):
        slot = control.slot(number)
        state = slot.state
        if state == WorkerState.NONE:
            continue
        now = machine.now_ns()
        pid, beat, wakes, cycles = slot.pid, slot.heartbeat_ns, slot.wakes, slot.cycles
        age = max(now - beat, 0) if beat else None
        used = machine.cpu_ns(pid) if pid else None
        # Cycles are shown once per heartbeat: between two of them they stand still.
        beats = rates.rise(("cycles", number, pid), cycles, beat) if beat else None
        share = None if used is None else rates.per_s(("cpu", number, pid), used, now)
        rows[number] = WorkerRow(
            slot=number,
            name=slot.role or f"slot-{number}",
            pid=pid,
            core=slot.core if slot.core >= 0 else None,
            state=state_of(state, pid, age, heartbeat_ns, machine),
            incarnation=slot.incarnation,
            restarts=slot.restarts,
            generation=slot.generation,
            heartbeat_age_ns=age,
            is_parked=slot.is_parked,
            cycles=cycles,
            cycle_ns_max=slot.cycle_ns_max,
            wakes=wakes,
            cycles_per_s=None if beats is None else beats[0] * 1e9 / beats[1],
            wakes_per_s=rates.per_s(("wakes", number), wakes, now),
            cpu_percent=None if share is None else share / 1e7,
        )
    return rows


def open_metrics(view: RunView, slot: int) -> Metrics | None:
    """The metrics segment of a worker, None if it can not be read."""
    return view.face(metrics_name(slot), SegmentKind.METRICS, Metrics.attach)
