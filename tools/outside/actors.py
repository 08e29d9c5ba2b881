"""The actors of a run, each with its own faults and the figures of the worker that hosts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from actors.runtime.faults import FAULT_ACTOR
from shm.faultlog import Fault
from shm.histogram import HistogramSnapshot
from shm.metrics import Metrics
from tools.outside.rates import Rates
from tools.outside.view import RunView
from tools.outside.workers import Machine, WorkerRow, open_metrics

#: Fault codes from FAULT_ACTOR up to here are of the actor with that number.
FAULT_ACTOR_END = 2 * FAULT_ACTOR


@dataclass(frozen=True, slots=True)
class ActorName:
    """Who an actor is: the one thing that does not stand in shared memory."""

    actor_id: int
    name: str
    role: str


@dataclass(frozen=True, slots=True)
class WorkerFigures:
    """What a worker's metrics tell of the interval; None = the worker does not measure it, or the first look.

    Attributes:
        drained_per_s: records taken from all rings; conflated_per_s of these replaced by newer ones.
        cycle_ns_p99: of the duty cycles in the interval.
        drain_age_ns_p99: time the oldest record of a drained batch had waited, in the interval.
        loop_lag_ns_max: latest timer in the interval; gc_ns_max: longest garbage collection.
        errors, suspended, actor_restarts: of all its actors since the run began.
    """

    drained_per_s: float | None = None
    conflated_per_s: float | None = None
    lapped: int = 0
    cycle_ns_p99: int | None = None
    drain_age_ns_p99: int | None = None
    loop_lag_ns_max: int | None = None
    gc_ns_max: int | None = None
    errors: int = 0
    suspended: int = 0
    actor_restarts: int = 0


@dataclass(frozen=True, slots=True)
class ActorRow:
    """One actor.

    Attributes:
        actor_id: None when the names could not be learned; the row then stands for the whole worker.
        errors: exceptions its handlers raised in this run, as the fault log holds them.
        last_fault: the newest of these.
        worker, figures: of the worker that hosts it.
    """

    actor_id: int | None
    name: str
    role: str
    errors: int
    last_fault: str
    worker: WorkerRow
    figures: WorkerFigures


def faults_of(actor_id: int, faults: Sequence[Fault]) -> list[Fault]:
    """Faults of one actor, oldest first."""
    mine = [fault for fault in faults if fault.code == FAULT_ACTOR + actor_id < FAULT_ACTOR_END]
    return sorted(mine, key=lambda fault: fault.last_utc_ns)


class ActorReader:
    """Looks at the actors of one run again and again.

    Args:
        view: the run.
        rates: keeps the counters between looks.
        machine: clock.
        names: actors by worker slot.
    """

    def __init__(
        self, view: RunView, rates: Rates, machine: Machine, names: Mapping[int, Sequence[ActorName]]
    ) -> None:
        self._view = view
        self._rates = rates
        self._machine = machine
        self._names = names
        self._before: dict[tuple[int, str], HistogramSnapshot] = {}

    def look(self, workers: Mapping[int, WorkerRow]) -> list[ActorRow]:
        """Rows of every worker's actors, by worker slot and actor id."""
        rows = []
        for slot, worker in workers.items():
            metrics = open_metrics(self._view, slot)
            figures = WorkerFigures() if metrics is None else self._figures(slot, metrics)
            faults = [] if metrics is None else metrics.faults()
            for actor in self._names.get(slot, ()):
                mine = faults_of(actor.actor_id, faults)
                rows.append(
                    ActorRow(
                        actor.actor_id,
                        actor.name,
                        actor.role,
                        sum(fault.count for fault in mine),
                        mine[-1].text if mine else "",
                        worker,
                        figures,
                    )
                )
            if not self._names.get(slot):
                rows.append(ActorRow(None, "", "", figures.errors, "", worker, figures))
        return rows

    def _figures(self, slot: int, metrics: Metrics) -> WorkerFigures:
        counters = metrics.counters()
        now = self._machine.now_ns()
        interval = self._intervals(slot, metrics.histograms())
        lag = interval.get("loop_lag_ns")
        pauses = [snapshot.max for name, snapshot in interval.items() if name.startswith("gc")]

        def p99(name: str) -> int | None:
            return interval[name].percentile(99) if name in interval else None

        def rate(name: str) -> float | None:
            return self._rates.per_s((slot, name), counters[name], now) if name in counters else None

        return WorkerFigures(
            drained_per_s=rate("drain.records"),
            conflated_per_s=rate("drain.conflated"),
            lapped=counters.get("ring.lapped", 0),
            cycle_ns_p99=p99("cycle_ns"),
            drain_age_ns_p99=p99("drain.age_ns"),
            loop_lag_ns_max=None if lag is None else lag.max,
            gc_ns_max=max(pauses) if pauses else None,
            errors=counters.get("actor.errors", 0),
            suspended=counters.get("actor.suspended", 0),
            actor_restarts=counters.get("actor.restarts", 0),
        )

    def _intervals(
        self, slot: int, histograms: Mapping[str, HistogramSnapshot]
    ) -> dict[str, HistogramSnapshot]:
        """What each histogram recorded since the last look; one that recorded nothing is left out."""
        made = {}
        for name, now in histograms.items():
            before = self._before.get((slot, name))
            self._before[slot, name] = now
            if before is not None:
                interval = now.minus(before)
                if interval.count:
                    made[name] = interval
        return made
