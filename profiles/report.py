"""What a run did, as one object: collected from the segments, written as JSON, shown by `tools`.

Collecting only reads shared memory and /proc, so a report can be made while the engine trades, after
a worker died, or by another process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from profiles.process import ProcessUse
from profiles.stamps import HOPS, LOOP, PERCENTILES
from shm.histogram import HistogramSnapshot
from shm.instruments import Instrument
from shm.metrics import Metrics
from shm.positions import Position
from shm.units import format_units

E8 = 100_000_000
E8_DIGITS = 8


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """One worker (or command child) as the supervisor knows it.

    Attributes:
        slot: worker slot; negative for a command child such as a simulated venue.
        name: its name in the topology.
        role: what it is for.
        core: pinned core or None.
        pid: process id of the current incarnation.
        incarnation: 1 for the first process in the slot.
        restarts: how often it was restarted.
        state: its lifecycle state.
        use: CPU and memory over all incarnations.
        metrics: its metrics segment, None for a command child.
    """

    slot: int
    name: str
    role: str
    core: int | None
    pid: int
    incarnation: int
    restarts: int
    state: str
    use: ProcessUse
    metrics: Metrics | None = None


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What only the supervisor knows of a run."""

    instance: str
    epoch: int
    generation: int
    placement: str
    machine: Mapping[str, object]
    duration_s: float
    trading_state: str
    ended: str
    events: Sequence[str] = field(default_factory=tuple)


def collect(
    run: RunFacts,
    workers: Sequence[WorkerFacts],
    instruments: Iterable[Instrument],
    positions: Mapping[int, Iterable[Position]],
    books: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Build the report of a run.

    Args:
        run: facts of the run.
        workers: all processes, in start order.
        instruments: rows of the instrument table.
        positions: by gateway slot, the positions it holds.
        books: how many books are in each state, by state name.

    Returns:
        A JSON-ready object: `run`, `machine`, `workers`, `market`, `latency`, `orders`, `positions`,
        `pnl`, `faults`, `events`.
    """
    counters = merge_counters(w.metrics for w in workers if w.metrics is not None)
    rows = {i.instrument_id: i for i in instruments}
    held = [
        position_row(gateway, p, rows[p.instrument_id])
        for gateway, ps in positions.items()
        for p in ps
        if p.fills or p.quantity_units
    ]
    return {
        "report": "run",
        "run": {
            "instance": run.instance,
            "epoch": run.epoch,
            "generation": run.generation,
            "placement": run.placement,
            "duration_s": round(run.duration_s, 3),
            "trading_state": run.trading_state,
            "ended": run.ended,
        },
        "machine": dict(run.machine),
        "workers": [worker_row(w, run.duration_s) for w in workers],
        "market": market_section(counters, len(rows), run.duration_s, books or {}),
        "latency": latency_section(w.metrics for w in workers if w.metrics is not None),
        "orders": orders_section(counters),
        "positions": held,
        "pnl": pnl_section(held),
        "faults": fault_rows(workers),
        "events": list(run.events),
    }


def merge_counters(metrics: Iterable[Metrics]) -> dict[str, int]:
    """Sum the counters of several workers by name."""
    total: dict[str, int] = {}
    for one in metrics:
        for name, value in one.counters().items():
            total[name] = total.get(name, 0) + value
    return total


def latency_section(metrics: Iterable[Metrics]) -> dict[str, dict[str, int | str]]:
    """Percentiles of each hop, merged over the workers that measured it."""
    merged: dict[str, HistogramSnapshot] = {}
    for one in metrics:
        for name, snapshot in one.histograms().items():
            merged[name] = merged[name].merge(snapshot) if name in merged else snapshot
    section: dict[str, dict[str, int | str]] = {}
    for hop in (*HOPS, *LOOP):
        if hop.histogram in merged and merged[hop.histogram].count:
            row = latency_row(merged[hop.histogram])
            section[hop.histogram] = row | {"title": hop.title, "meaning": hop.meaning}
    return section


def latency_row(snapshot: HistogramSnapshot) -> dict[str, int | str]:
    """Count, percentiles and maximum of one histogram, in ns."""
    row: dict[str, int | str] = {"count": snapshot.count}
    for name, q in PERCENTILES:
        row[name] = snapshot.percentile(q)
    row["latency_ns_max"] = snapshot.max
    return row


def market_section(
    counters: Mapping[str, int], instruments: int, duration_s: float, books: Mapping[str, int]
) -> dict[str, Any]:
    """Market data taken in, and everything that went wrong with it."""
    updates = sum(counters.get(f"feed.{kind}", 0) for kind in ("books", "trades", "bbos"))
    return {
        "instruments": instruments,
        "frames": counters.get("feed.frames", 0),
        "updates": updates,
        "throughput_per_s": round(updates / duration_s, 1) if duration_s > 0 else 0.0,
        "books": counters.get("feed.books", 0),
        "trades": counters.get("feed.trades", 0),
        "bbos": counters.get("feed.bbos", 0),
        "gaps": counters.get("feed.gaps", 0),
        "resyncs": counters.get("feed.resyncs", 0),
        "range_left": counters.get("feed.range_left", 0),
        "rejected_frames": counters.get("feed.rejected", 0),
        "unknown_symbols": counters.get("feed.unknown_symbols", 0),
        "duplicates": counters.get("feed.duplicates", 0),
        "lapped": counters.get("ring.lapped", 0),
        "drained": counters.get("drain.records", 0),
        "conflated": counters.get("drain.conflated", 0),
        "books_by_state": dict(books),
    }


def orders_section(counters: Mapping[str, int]) -> dict[str, Any]:
    """What became of the intents."""
    names = {
        "intents": "intents",
        "intents_refused": "intents.refused",
        "new": "orders.new",
        "replaced": "orders.replaced",
        "denied": "orders.denied",
        "rejected": "orders.rejected",
        "canceled": "orders.canceled",
        "filled": "orders.filled",
        "fills": "fills",
        "mass_cancels": "gateway.mass_cancels",
        "orphans_canceled": "gateway.orphans_canceled",
        "recovered": "gateway.recovered_orders",
        "actor_errors": "actor.errors",
    }
    section: dict[str, Any] = {key: counters.get(name, 0) for key, name in names.items()}
    denied = {n.partition("denied.")[2]: v for n, v in counters.items() if n.startswith("denied.") and v}
    prefix = "orders.session_"
    session = {n.removeprefix(prefix): v for n, v in counters.items() if n.startswith(prefix) and v}
    paid = {n.removeprefix("fees_e8."): v for n, v in counters.items() if n.startswith("fees_e8.") and v}
    others = {asset: format_units(value, E8_DIGITS) for asset, value in paid.items()}
    return (
        section
        | ({"denied_by_reason": denied} if denied else {})
        | ({"venue_sessions": session} if session else {})
        | ({"fees_in_other_assets": others} if others else {})
    )


def position_row(gateway: int, position: Position, instrument: Instrument) -> dict[str, Any]:
    """One position in the venue's own units, money as decimal strings of the settlement currency."""
    return {
        "gateway": gateway,
        "instrument": instrument.canonical,
        "quantity": format_units(position.quantity_units, instrument.quantity_exponent),
        "fills": position.fills,
        "mark_price": format_units(position.mark_price_units, instrument.price_exponent),
        "realized": format_units(position.realized_units, 8),
        "unrealized": format_units(position.unrealized_units, 8),
        "fees": format_units(position.fees_units, 8),
        "settle": instrument.settle,
    }


def pnl_section(positions: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Realized and unrealized PnL, fees and net, per settlement currency."""
    sums: dict[str, list[int]] = {}
    for row in positions:
        total = sums.setdefault(row["settle"], [0, 0, 0])
        for i, key in enumerate(("realized", "unrealized", "fees")):
            total[i] += _e8(row[key])
    return {
        settle: {
            "realized": format_units(realized, 8),
            "unrealized": format_units(unrealized, 8),
            "fees": format_units(fees, 8),
            "net": format_units(realized + unrealized - fees, 8),
        }
        for settle, (realized, unrealized, fees) in sums.items()
    }


def _e8(text: str) -> int:
    negative, digits = text.startswith("-"), text.lstrip("-")
    whole, _, fraction = digits.partition(".")
    value = int(whole) * E8 + int((fraction + "00000000")[:8])
    return -value if negative else value


def worker_row(worker: WorkerFacts, duration_s: float) -> dict[str, Any]:
    """One line of the placement table."""
    return {
        "slot": worker.slot,
        "name": worker.name,
        "role": worker.role,
        "core": worker.core,
        "pid": worker.pid,
        "incarnation": worker.incarnation,
        "restarts": worker.restarts,
        "state": worker.state,
        "cpu_percent": round(100.0 * worker.use.cpu_s / duration_s, 1) if duration_s > 0 else 0.0,
        "cpu_s": round(worker.use.cpu_s, 3),
        "rss_bytes": worker.use.rss_bytes,
        "rss_bytes_max": worker.use.rss_bytes_max,
        "pss_bytes": worker.use.pss_bytes,
        "context_switches": {"voluntary": worker.use.voluntary, "involuntary": worker.use.involuntary},
    }


def fault_rows(workers: Iterable[WorkerFacts]) -> list[dict[str, Any]]:
    """Distinct faults of all workers, most frequent first."""
    rows = [
        {
            "worker": w.name,
            "code": fault.code,
            "text": fault.text,
            "count": fault.count,
            "first_utc_ns": fault.first_utc_ns,
            "last_utc_ns": fault.last_utc_ns,
        }
        for w in workers
        if w.metrics is not None
        for fault in w.metrics.faults()
    ]
    return sorted(rows, key=lambda row: -int(row["count"]))
