"""`ringlane capacity`: what this box carries, measured in a quarter of a minute, and how large its pools."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.table import Table

from actors.errors import ActorError
from actors.persistence.places import read_address
from actors.persistence.pools import connections_for, mirror_connections_for, queue_size_for
from engine.config import load_config
from profiles.machine import machine_facts
from tools.terminal import make_console

if TYPE_CHECKING:
    from tools.bench.capacity import Column, Measured, Row

#: More than that of every pair is more than a simulated venue sends.
UPDATES_MAX = 10_000.0


def capacity(
    config: Annotated[
        Path | None, typer.Argument(help="configuration whose database and mirror are asked, too")
    ] = None,
    updates: Annotated[
        float,
        typer.Option(min=0.1, max=UPDATES_MAX, help="updates a second that each pair is taken to send"),
    ] = 100.0,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> int:
    """Measure this box and say which size of installation it carries, what limits it, and the pool sizes.

    Exit codes: 0; 1 = not even the smallest column, or something could not be measured.
    """
    from tools.bench import capacity as bench

    console = make_console(stderr=True)
    with console.status("starting") as status:
        found = bench.measure(addresses_of(config), updates, status.update)
    rows = bench.rows_of(found, updates)
    column, limits = bench.classify(rows)
    document = describe(found, rows, column, limits, updates)
    if json:
        typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
    else:
        show(document, rows)
    return 0 if column is not None else 1


def addresses_of(config: Path | None) -> dict[str, str]:
    """Addresses of the servers a configuration names.

    Raises:
        BadParameter: an address is not where the configuration says.
    """
    if config is None:
        return {}
    store = load_config(config).store
    found = {}
    for name, place in (("database", store.url), ("redis", store.mirror)):
        if place is not None:
            try:
                found[name] = read_address("store", place.env or "", str(place.file or ""))
            except ActorError as error:
                raise typer.BadParameter(str(error)) from None
    return found


def describe(
    found: Measured, rows: list[Row], column: Column | None, limits: list[str], updates: float
) -> dict[str, Any]:
    """Everything as one JSON-ready object."""
    carried = next((int(row.value) for row in rows if row.name == "pairs" and row.value is not None), 0)
    pairs = min(carried, column.pairs[1]) if column is not None else carried
    return {
        "machine": machine_facts() | {"load_average": os.getloadavg()[0]},
        "measured": asdict(found),
        "updates_per_pair": updates,
        "rows": [asdict(row) for row in rows],
        "column": column.name if column is not None else None,
        "limited_by": limits,
        "pools": {
            "pairs": pairs,
            "database_connections": connections_for(pairs),
            "redis_connections": mirror_connections_for(pairs),
            "queue_size": queue_size_for(pairs),
        },
    }


def show(document: dict[str, Any], rows: list[Row]) -> None:
    """Print the tables."""
    from tools.bench.capacity import COLUMNS

    console = make_console()
    measured = Table(title="measured", box=None, title_justify="left", show_header=False)
    for name, text in measured_lines(document["measured"]):
        measured.add_row(name, text)
    console.print(measured)
    table = Table(title="capacity", title_justify="left")
    for head in ("", *(c.name for c in COLUMNS), "this box", "enough for", "what limits it"):
        table.add_column(head, overflow="fold")
    wanted = wanted_texts()
    for row in rows:
        value = (
            "–" if row.value is None else f"{row.value:,.2f} {row.unit}" if row.unit else f"{row.value:,.0f}"
        )
        table.add_row(row.name, *wanted[row.name], value, row.column, row.limit)
    console.print(table)
    column, limits = document["column"], document["limited_by"]
    unknown = [row.name for row in rows if row.value is None]
    verdict = f"this box: {column}" if column else "this box: below conservative"
    if unknown:
        verdict = f"this box: not judged; could not be measured: {', '.join(unknown)}"
    elif limits:
        verdict += f"; {', '.join(limits)} keep it out of more"
    console.print(verdict, style="bold")
    pools = document["pools"]
    console.print(
        f"pools for {pools['pairs']} pairs: {pools['database_connections']} database connections, "
        f"{pools['redis_connections']} Redis connections, queues of {pools['queue_size']:,}",
        highlight=False,
    )
    for name, reason in document["measured"]["absent"].items():
        console.print(f"{name}: not measured: {reason}", highlight=False, markup=False)


def wanted_texts() -> dict[str, list[str]]:
    """What each column asks for, by row."""
    from tools.bench.capacity import COLUMNS

    return {
        "pairs": [f"{c.pairs[0]}–{c.pairs[1]}" for c in COLUMNS],
        "strategies": [f"{c.strategies[0]}–{c.strategies[1]}" for c in COLUMNS],
        "Redis connections": [f"{c.redis[0]}–{c.redis[1]}" for c in COLUMNS],
        "DB connections": [f"{c.database[0]}–{c.database[1]}" for c in COLUMNS],
        "latency p99": [f"< {c.latency_ms:g} ms" for c in COLUMNS],
    }


def measured_lines(measured: dict[str, Any]) -> list[tuple[str, str]]:
    """The figures behind the verdict, in words."""

    def text(name: str, scale: float, form: str) -> str:
        value = measured[name]
        return "–" if value is None else form.format(value / scale)

    lines = [
        ("cores", str(measured["cores"])),
        ("memory", text("memory_bytes", 1e9, "{:.1f} GB, ") + text("available_bytes", 1e9, "{:.1f} GB free")),
        ("memory copied by one core", text("copy_bytes_per_s", 1e9, "{:.1f} GB/s")),
        ("ring hop between processes", text("ring_ns_p50", 1e3, "p50 {:.1f} µs, ")
         + text("ring_ns_p99", 1e3, "p99 {:.1f} µs")),
        ("feed worker, messages from memory", text("ticks_per_s", 1, "{:,.0f}/s on one core")),
        ("one gateway, paper session", text("orders_per_s", 1, "{:,.0f} orders/s")),
        ("an update in the engine", text("feed_ns", 1e3, "{:.1f} µs feed")
         + ", " + text("trade_ns", 1e3, "{:.1f} µs trading")),
        ("memory of that engine", text("engine_bytes", 1e6, "{:,.0f} MB")),
    ]  # fmt: skip
    for name, value in measured["round_trips_ms"].items():
        lines.append((f"{name} round trip", f"{value:.3f} ms"))
    return lines
