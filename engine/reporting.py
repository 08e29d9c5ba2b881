"""What the supervisor knows, as figures: report, status and progress."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from actors.runtime.spec import WorkerSpec
from engine.commands import answer_delays
from engine.processes import Child
from engine.run_segments import RunSegments
from profiles.machine import machine_facts
from profiles.process import ProcessSampler
from profiles.report import RunFacts, WorkerFacts, collect, merge_counters
from shm.clock import now_ns
from shm.control import Control
from shm.enums import BookState, WorkerState
from shm.units import format_units

SUPERVISOR_SLOT = 0
ACK = "hop.ack_ns"
CLOSED_PREFIX = "venue.closed."


@dataclass(frozen=True, slots=True)
class Facts:
    """A look at the run; see `Supervisor` for the fields."""

    instance: str
    epoch: int
    generation: int
    placement: str
    pm_qos: str
    machine: Mapping[str, str]
    duration_s: float
    ended: str
    phase: str
    pid: int
    events: Sequence[str]
    children: Sequence[Child]
    sampler: ProcessSampler
    segments: RunSegments | None
    # Stopping makes every book STALE: the report tells how they were when the stop began.
    books_at_stop: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """The live figures of `ringlane run`.

    Attributes:
        elapsed_s: since everything was up.
        updates: books, trades and best quotes published since the start.
        orders, fills: new orders sent, fills booked.
        net: by settlement currency, realized + unrealized − fees as decimal text.
        trading_state: ACTIVE, REDUCING or HALTED.
        books: number of books by state name.
        restarts: of all children.
    """

    elapsed_s: float
    updates: int
    orders: int
    fills: int
    net: Mapping[str, str]
    trading_state: str
    books: Mapping[str, int]
    restarts: int


def books_by_state(segments: RunSegments) -> dict[str, int]:
    """How many books are in each state; BUSY counts what could not be read."""
    states: Counter[str] = Counter()
    for instrument in segments.instruments:
        slab = segments.books.get(instrument.slab)
        certificate = None if slab is None else slab.certificate(instrument.instrument_id)
        states["BUSY" if certificate is None else BookState(certificate.state).name] += 1
    return dict(states)


def build_report(facts: Facts) -> dict[str, Any]:
    """The run report as `profiles.report.collect` makes it."""
    segments = facts.segments
    use = facts.sampler.use
    rows = [
        WorkerFacts(
            slot=SUPERVISOR_SLOT,
            name="supervisor",
            role="supervisor",
            core=None,
            pid=facts.pid,
            incarnation=1,
            restarts=0,
            state=facts.phase,
            use=use(SUPERVISOR_SLOT),
        )
    ]
    for child in facts.children:
        metrics = segments.metrics.get(child.slot) if segments else None
        state = child.lifecycle.state.name
        row = WorkerFacts(
            slot=child.slot,
            name=child.name,
            role=child.role,
            core=child.core,
            pid=child.pid,
            incarnation=child.incarnation,
            restarts=child.restarts,
            state=state,
            use=use(child.slot),
            metrics=metrics,
        )
        rows.append(row)
    trading = segments.control.halt_state()[0].name if segments else "HALTED"
    run = RunFacts(
        facts.instance,
        facts.epoch,
        facts.generation,
        facts.placement,
        {**machine_facts(pm_qos=facts.pm_qos), "facts": dict(facts.machine)},
        facts.duration_s,
        trading,
        facts.ended,
        facts.events,
    )
    if segments is None:
        return collect(run, rows, (), {})
    positions = {slot: table.all() for slot, table in segments.positions.items()}
    books = books_by_state(segments) if facts.books_at_stop is None else facts.books_at_stop
    report = collect(run, rows, segments.instruments, positions, books)
    delays = answer_delays(child for child in facts.children if child.slot < 0)
    hops: dict[str, Any] = {}
    for name, row in report["latency"].items():
        hops[name] = row
        if name == ACK:
            hops |= delays  # what of it the venue took itself
    report["latency"] = hops
    return report


def read_progress(facts: Facts) -> Progress:
    """A few figures, cheap enough for every second."""
    segments = facts.segments
    restarts = sum(child.restarts for child in facts.children)
    if segments is None:
        return Progress(facts.duration_s, 0, 0, 0, {}, "HALTED", {}, restarts)
    counters = merge_counters(segments.metrics.values())
    updates = sum(counters.get(f"feed.{kind}", 0) for kind in ("books", "trades", "bbos"))
    fills = counters.get("fills", 0)
    return Progress(
        elapsed_s=facts.duration_s,
        updates=updates,
        orders=counters.get("orders.new", 0),
        fills=fills,
        net=segments.net.read((updates, fills), lambda: _net_of(segments)),
        trading_state=segments.control.halt_state()[0].name,
        books=books_by_state(segments),
        restarts=restarts,
    )


def _net_of(segments: RunSegments) -> dict[str, str]:
    net: Counter[str] = Counter()
    for table in segments.positions.values():
        for position in table.all():
            settle = segments.instruments.get(position.instrument_id).settle
            net[settle] += position.realized_units + position.unrealized_units - position.fees_units
    return {settle: format_units(value, 8) for settle, value in net.items()}


def control_rows(control: Control, slots: int) -> list[dict[str, Any]]:
    """The workers as the control segment tells them: readable by any process, even if the supervisor hangs.

    Args:
        control: the control segment, attached.
        slots: how many slots to look at; those never used are left out.
    """
    now = now_ns()
    rows = []
    for number in range(1, slots):
        slot = control.slot(number)
        if slot.state == WorkerState.NONE:
            continue
        rows.append(
            {
                "slot": number,
                "name": slot.role,
                "pid": slot.pid,
                "core": slot.core if slot.core >= 0 else None,
                "state": WorkerState(slot.state).name,
                "incarnation": slot.incarnation,
                "restarts": slot.restarts,
                "generation": slot.generation,
                "heartbeat_age_ms": round((now - slot.heartbeat_ns) / 1e6, 1) if slot.heartbeat_ns else None,
                "cycles": slot.cycles,
            }
        )
    return rows


def closed_venues(facts: Facts) -> list[str]:
    """Names of the venues that say of themselves that they are under maintenance."""
    metrics = facts.segments.metrics.values() if facts.segments else ()
    counters = merge_counters(metrics)
    return sorted(
        name.removeprefix(CLOSED_PREFIX)
        for name, value in counters.items()
        if name.startswith(CLOSED_PREFIX) and value
    )


def run_status(facts: Facts, specs: Mapping[str, WorkerSpec]) -> dict[str, Any]:
    """The run, its workers and their actors for `ringlane status`."""
    actors = {
        spec.slot: [{"actor_id": a.actor_id, "name": a.name, "role": a.role} for a in spec.actors]
        for spec in specs.values()
    }
    control = facts.segments.control if facts.segments else None
    rows = [] if control is None else control_rows(control, 1 + len(actors))
    roles = {child.slot: child.role for child in facts.children}
    for row in rows:
        row["role"] = roles.get(row["slot"], "")
        row["actors"] = list(actors.get(row["slot"], ()))
    commands = [
        {
            "name": child.name,
            "role": child.role,
            "pid": child.pid,
            "state": child.lifecycle.state.name,
            "incarnation": child.incarnation,
            "restarts": child.restarts,
        }
        for child in facts.children
        if child.slot < 0
    ]
    return {
        "progress": asdict(read_progress(facts)),
        "instance": facts.instance,
        "epoch": facts.epoch,
        "generation": facts.generation,
        "placement": facts.placement,
        "pm_qos": facts.pm_qos,
        "machine": dict(facts.machine),
        "elapsed_s": round(facts.duration_s, 3),
        "trading_state": control.halt_state()[0].name if control else "HALTED",
        "venues_closed": closed_venues(facts),
        "workers": rows,
        "commands": commands,
        "events": list(facts.events),
    }
