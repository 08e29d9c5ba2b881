"""`ringlane rates`: the venues' rate limits as the running engine shares them, refreshing like `top`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

import typer

from tools.live import Options, Show
from tools.outside import draw
from tools.outside.budgets import BudgetReader, BudgetRow
from tools.outside.draw import BAD, GOOD, NONE, WARN, Cell, Column
from tools.outside.options import Count, Interval, Name, Once, State, begin, make_options
from tools.outside.screens import show_session, table_show
from tools.outside.session import RunLook
from tools.outside.workers import Machine

COLUMNS = (
    Column("rule", right=False),
    Column("counts", right=False, rank=4),
    Column("limit"),
    Column("window", least=6),
    Column("burst", rank=3),
    Column("used", least=5),
    Column("use", least=4),
    Column("lane", right=False, least=9),
    Column("free", least=5),
    Column("granted", rank=2),
    Column("granted/s", least=9),
    Column("refused", rank=1),
    Column("stopped", least=7),
)
OWN = 7  # columns of the bucket itself


def budget_lines(row: BudgetRow) -> list[list[Cell]]:
    """Lines of one bucket: one per lane, the bucket's own figures on the first."""
    name = row.rule if row.instrument_id is None else f"{row.rule} #{row.instrument_id}"
    style = BAD if row.use > 1 else WARN if row.use > 0.5 else ""
    own = [
        Cell(name),
        Cell(f"{row.unit} by {row.scope}"),
        Cell(draw.count(row.limit)),
        Cell(draw.duration(row.window_ns)),
        Cell(draw.count(row.burst)),
        Cell(draw.count(row.used), style),
        Cell(draw.percent(min(row.use, 1.0)), style),
    ]
    lines: list[list[Cell]] = []
    for lane in row.lanes:
        stopped = Cell(draw.duration(lane.stopped_ns), BAD) if lane.stopped_ns else Cell(NONE)
        cells = [
            *(own if not lines else [Cell("")] * OWN),
            Cell(lane.lane),
            Cell(draw.count(lane.free), BAD if not lane.free else ""),
            Cell(draw.count(lane.granted)),
            Cell(draw.rate(lane.granted_per_s), GOOD if lane.granted_per_s else ""),
            Cell(draw.count(lane.refused), WARN if lane.refused else ""),
            stopped,
        ]
        lines.append(cells)
    return lines


def budget_json(row: BudgetRow) -> dict[str, Any]:
    """One bucket as a JSON object."""
    return {**asdict(row), "stopped_ns": row.stopped_ns}


def make_show(look: Callable[[], RunLook[BudgetRow]], options: Options) -> Show[RunLook[BudgetRow]]:
    """What the verb shows of a session's looks."""
    return table_show(
        look,
        options,
        COLUMNS,
        key="rates",
        noun="rate limits",
        ordered=list,
        lines_of=budget_lines,
        json_of=budget_json,
    )


def rates(
    name: Name = None,
    state: State = None,
    once: Once = False,
    interval: Interval = 1.0,
    count: Count = None,
    json: Annotated[
        bool, typer.Option("--json", help="print one JSON object per look (default: one look)")
    ] = False,
) -> int:
    """Show every rate limit of the running engine: used, free by lane, granted, refused, stopped.

    Looks only: its mappings are read-only and the engine is asked nothing. Buckets per instrument are shown
    once anybody has asked them. Exit codes: 0; 1 no engine, or it ended; 2 a wrong option.
    """
    options = make_options(once, interval, json, count)
    machine = Machine()
    session = begin(name, state, lambda view, rates, _note: BudgetReader(view, rates, machine).look)
    return show_session(session, lambda look: make_show(look, options), options)
