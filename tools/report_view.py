"""The run report as terminal tables.

The report itself is the JSON object of `profiles.report.collect`; this only draws it, so the tables
and `report.json` can never disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from tools.notes_view import note_parts, store_parts


def ns(value: int) -> str:
    """A duration in the unit that keeps three or four digits."""
    for limit, divisor, unit, digits in (
        (10_000, 1_000, "µs", 2),
        (1_000_000, 1_000, "µs", 1),
        (1_000_000_000, 1_000_000, "ms", 2),
    ):
        if value < limit:
            return f"{value / divisor:,.{digits}f} {unit}"
    return f"{value / 1_000_000_000:,.2f} s"


def mib(size_bytes: int) -> str:
    """A size in MiB."""
    return f"{size_bytes / (1 << 20):,.0f} MiB" if size_bytes else "–"


def _table(title: str, *columns: str) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False
    )
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
    return table


def _workers(report: Mapping[str, Any]) -> Table:
    table = _table(
        "Workers", "name", "role", "core", "pid", "restarts", "state", "CPU", "RSS", "RSS max", "PSS"
    )
    for w in report["workers"]:
        table.add_row(
            w["name"],
            w["role"],
            "–" if w["core"] is None else str(w["core"]),
            str(w["pid"]),
            str(w["restarts"]),
            w["state"],
            f"{w['cpu_percent']:.1f} %",
            mib(w["rss_bytes"]),
            mib(w["rss_bytes_max"]),
            mib(w["pss_bytes"]),
        )
    return table


def _latency(report: Mapping[str, Any]) -> Table:
    qos = str(report["machine"].get("pm_qos", "not held"))
    table = _table(f"Latency (PM QoS {qos})", "hop", "count", "p50", "p90", "p99", "p99.9", "max")
    for row in report["latency"].values():
        table.add_row(
            str(row["title"]),
            f"{row['count']:,}",
            *(ns(int(row[f"latency_ns_{q}"])) for q in ("p50", "p90", "p99", "p99_9", "max")),
        )
    return table


def _facts(title: str, section: Mapping[str, Any]) -> Table:
    table = _table(title, "", "")
    for key, value in section.items():
        if isinstance(value, Mapping):
            text = (
                ", ".join(f"{k} {v:,}" if isinstance(v, int) else f"{k} {v}" for k, v in value.items()) or "–"
            )
        else:
            text = f"{value:,}" if isinstance(value, int | float) else str(value)
        table.add_row(key.replace("_", " "), text)
    return table


def _positions(report: Mapping[str, Any], most: int = 12) -> RenderableType:
    rows = report["positions"]
    if not rows:
        return Text("No position was opened.", style="dim")
    table = _table("Positions", "instrument", "quantity", "fills", "mark", "realized", "unrealized", "fees")
    for p in sorted(rows, key=lambda p: -int(p["fills"]))[:most]:
        table.add_row(
            p["instrument"],
            p["quantity"],
            f"{p['fills']:,}",
            p["mark_price"],
            *(short(p[k]) for k in ("realized", "unrealized", "fees")),
        )
    if len(rows) > most:
        table.caption = f"and {len(rows) - most} more in report.json"
    return table


def short(amount: str) -> str:
    """A money amount to four decimals; report.json keeps all eight."""
    whole, _, fraction = amount.partition(".")
    text = f"{whole}.{(fraction + '0000')[:4]}"
    return text.removeprefix("-") if not text.strip("-0.") else text


def _pnl(report: Mapping[str, Any]) -> RenderableType:
    table = _table("PnL", "currency", "realized", "unrealized", "fees", "net")
    for settle, row in report["pnl"].items():
        table.add_row(settle, *(short(row[k]) for k in ("realized", "unrealized", "fees", "net")))
    return table


def _faults(report: Mapping[str, Any], most: int = 10) -> RenderableType:
    rows = report["faults"]
    if not rows:
        return Text("No fault was recorded.", style="dim")
    table = _table("Faults", "worker", "count", "what")
    table.columns[2].justify = "left"
    table.columns[2].no_wrap = False
    for row in rows[:most]:
        table.add_row(row["worker"], f"{row['count']:,}", row["text"])
    return table


def render(report: Mapping[str, Any]) -> RenderableType:
    """Draw a run report.

    Args:
        report: the object made by `profiles.report.collect`.
    """
    run = report["run"]
    head = Text.assemble(
        (f"Run report  {run['instance']}", "bold"),
        f"  epoch {run['epoch']}, generation {run['generation']}, placement {run['placement']}, ",
        f"{run['duration_s']:.1f} s, ended: {run['ended']}, trading state {run['trading_state']}",
    )
    parts: list[RenderableType] = [head, Text(), _workers(report), Text(), _latency(report), Text()]
    side = Table.grid(padding=(0, 4))
    side.add_row(_facts("Market data", report["market"]), _facts("Orders", report["orders"]))
    parts += [side, Text(), _positions(report), Text(), _pnl(report), Text(), _faults(report)]
    notes = report.get("notes", {})
    for told in (*note_parts(notes), *store_parts(notes)):
        parts += [Text(), told]
    if report["events"]:
        events = _table("Events", "what happened")
        for line in report["events"]:
            events.add_row(line)
        parts += [Text(), events]
    return Group(*parts)


def show(report: Mapping[str, Any], console: Console | None = None) -> None:
    """Print a run report on the terminal."""
    (console or Console()).print(render(report))
