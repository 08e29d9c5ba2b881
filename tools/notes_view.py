"""What actors told (slippage, routes, correlation, shadow) as tables of report and `ringlane risk`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from exec.venue_states import SessionState

SHOWN = 8
Notes = Mapping[str, Mapping[str, Mapping[str, Any]]]


def _table(title: str, *columns: str) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False
    )
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    return table


def _bps(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def slippage_table(notes: Mapping[str, Mapping[str, Any]]) -> Table:
    """Means by actor and style."""
    table = _table(
        "Slippage, bps", "actor, style", "orders", "not all filled", "price", "fee", "total", "ms to fill"
    )
    for actor, told in notes.items():
        for style, row in told["styles"].items():
            table.add_row(
                f"{actor}, {style}",
                f"{row['orders']:,}",
                f"{row['not_all_filled']:,}",
                *(_bps(row[key]) for key in ("price_bps", "fee_bps", "total_bps")),
                f"{row['fill_ms']:,.1f}",
            )
    return table


def routing_table(notes: Mapping[str, Mapping[str, Any]]) -> Table:
    """The newest routes: legs, gap, what the split saved and what it came to."""
    table = _table(
        "Routes", "what", "legs", "gap µs", "saved bps", "worse than expected bps", "capped", "denied"
    )
    for actor, told in notes.items():
        for row in list(told["decisions"])[-SHOWN:]:
            table.add_row(
                f"{actor}, {row['side']} {row['instrument']}",
                " ".join(leg["at"] for leg in row["legs"]),
                f"{row['gap_us']:,.1f}",
                _bps(row["saved_bps"]),
                _bps(row["realized_bps"]),
                str(len(row["capped"])),
                str(row["denied"]),
            )
    return table


def trips_text(notes: Mapping[str, Mapping[str, Any]]) -> Text:
    """Measured round trips by venue id."""
    parts = [
        f"{actor}: venue {venue} {row['round_trip_ms']:.3f} ms ({row['count']:,})"
        for actor, told in notes.items()
        for venue, row in told["round_trips"].items()
    ]
    return Text(f"Round trips: {', '.join(parts) or 'none measured'}")


def correlation_table(notes: Mapping[str, Mapping[str, Any]]) -> Table:
    """Groups that count as one position, and the strongest pairs."""
    table = _table("Correlation", "what", "instruments")
    table.columns[1].justify = "left"
    for told in notes.values():
        for group in told["groups"]:
            table.add_row(f"one position (from {told['threshold']:g})", " ".join(group))
        for pair in told["strongest"]:
            table.add_row(f"ρ {pair['rho']:+.3f}", " ".join(pair["pair"]))
        if not told["groups"]:
            table.add_row(f"{told['samples']:,} samples, warm from {told['warm_up']}", "no group")
    return table


def shadow_table(notes: Mapping[str, Mapping[str, Any]]) -> Table:
    """How far the simulation is from what happened, and whether it may be believed."""
    table = _table(
        "Shadow", "what", "real", "shadow", "error", "tolerated", "evidence", "alarm from", "verdict"
    )
    for told in notes.values():
        alarms = told["alarms"]

        def row(name: str, *cells: str, alarms: Mapping[str, int] = alarms, told: Any = told) -> None:
            part = told[name]
            verdict = f"ALARM at quote {alarms[name]:,}" if name in alarms else "believable"
            table.add_row(name, *cells, f"{part['evidence']:,.2f}", f"{part['alarm_from']:g}", verdict)

        fill, latency, pnl, queue = (told[name] for name in ("fill", "latency", "pnl", "queue"))
        table.add_row(f"{told['model']}: {told['quotes']:,} quotes, {told['excluded']:,} not counted")
        row("fill", f"{fill['live']:.1%}", f"{fill['shadow']:.1%}", f"{fill['error_points']:+.2f} points",
            f"{100 * fill['tolerance']:g} points")  # fmt: skip
        row("latency", f"{latency['live_ms']:.3f} ms", f"{latency['shadow_ms']:.3f} ms",
            f"{latency['relative_error']:+.2f}", f"{latency['tolerance']:g}")  # fmt: skip
        row("pnl", "", "", f"{pnl['error_bps']:+.3f} bps", f"{pnl['tolerance_bps']:g} bps")
        if queue["known"]:
            table.add_row(
                "queue", "", f"{queue['still_ahead']:.1%} still ahead at {queue['known']:,} real fills"
            )
    return table


def store_parts(notes: Notes) -> list[RenderableType]:
    """How database, mirror and the cache of queries are doing; nothing where there is none."""
    parts: list[RenderableType] = [
        Text(f"Queries of {actor}: {told['hits'] + told['misses']:,}, {told['hit_rate']:.1%} from the cache")
        for actor, told in notes.get("queries", {}).items()
    ]
    if not (stores := notes.get("store", {})) and not notes.get("mirror"):
        return parts
    table = _table("Storing", "where", "rows, keys", "lag", "connections", "failures", "now")
    table.columns[-1].justify = "left"
    for told in stores.values():
        pool = f"{told['connections']} of {told['connections_max']}" if "connections" in told else "–"
        lag = f"{told['lag_ms'] / 1e3:,.1f} s"
        table.add_row(
            told["database"], f"{told['rows']:,}", lag, pool, f"{told['failures']:,}", told["error"] or "good"
        )
    for told in notes.get("mirror", {}).values():
        cells = (f"{told['keys_written']:,}", "–", f"≤ {told['connections_max']}", f"{told['failures']:,}")
        table.add_row("mirror", *cells, told["error"] or "good")
    return [table, *parts]


def account_parts(notes: Notes) -> list[RenderableType]:
    """Accounts that can not send new orders now, and which of the venue's limits they wait for."""
    return [
        Text(
            f"Account {name}: {state}" + (f"; {wait}" if (wait := told["waits"].get(name)) else ""), "yellow"
        )
        for told in notes.get("accounts", {}).values()
        for name, state in told["states"].items()
        if state != SessionState.UP.name
    ]


def note_parts(notes: Notes) -> list[RenderableType]:
    """A table for everything that was told."""
    parts: list[RenderableType] = []
    if told := notes.get("slippage"):
        parts.append(slippage_table(told))
    if told := notes.get("routing"):
        parts += [routing_table(told), trips_text(told)]
    if told := notes.get("correlation"):
        parts.append(correlation_table(told))
    if told := notes.get("shadow"):
        parts.append(shadow_table(told))
    return parts
