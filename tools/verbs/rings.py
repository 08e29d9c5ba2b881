"""`ringlane rings`: the rings of the running engine, refreshing like `top`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, Literal

import typer

from tools.live import Options, Show
from tools.outside import draw
from tools.outside.draw import BAD, DIM, GOOD, NONE, WARN, Cell, Column
from tools.outside.options import Count, Interval, Name, Once, State, begin, make_options
from tools.outside.rings import ReaderRow, RingReader, RingRow, sort_rings
from tools.outside.screens import show_session, table_show
from tools.outside.session import RunLook
from tools.outside.workers import Machine

Sort = Literal["name", "lag", "rate"]

COLUMNS = (
    Column("ring", right=False),
    Column("kind", right=False, least=8, rank=6),
    Column("writer", right=False),
    Column("reader", right=False),
    Column("capacity", rank=5),
    Column("use", least=4),
    Column("cursor", least=11, rank=4),
    Column("rate/s", least=7),
    Column("lag", least=6),
    Column("age", least=6),
    Column("laps", rank=2),
    Column("lapped"),
    Column("refused", rank=1),
    Column("bells/s", least=7, rank=3),
    Column("wakes/s", least=7, rank=3),
)


def worker_cell(name: str, state: str, is_alive: bool) -> Cell:
    """A worker's name; one that does not work says its state too."""
    return Cell(name) if is_alive else Cell(f"{name} ({state})", BAD)


def reader_cells(ring: RingRow, reader: ReaderRow) -> tuple[list[Cell], list[Cell]]:
    """Cells of one reader: its name; then lag, age, laps and lapped."""
    is_lossless = ring.refused is not None
    style = BAD if reader.is_behind else ""
    lost = BAD if reader.lapped_now else WARN if reader.lapped else ""
    return [worker_cell(reader.worker, reader.worker_state, reader.is_alive)], [
        Cell(draw.count(reader.lag), style),
        Cell(draw.duration(reader.lag_ns), style),
        Cell(NONE if is_lossless else draw.count(reader.laps), lost),
        Cell(NONE if is_lossless else draw.count(reader.lapped), lost),
    ]


def ring_lines(ring: RingRow) -> list[list[Cell]]:
    """Lines of one ring: one per reader, the ring's own figures on the first."""
    use = Cell(draw.percent(ring.use), BAD if ring.use > 0.5 else "")
    refused = Cell(
        draw.count(ring.refused), BAD if ring.waits or ring.refused_per_s else WARN if ring.refused else ""
    )
    lines: list[list[Cell]] = []
    for reader in ring.readers or (None,):
        is_first = not lines
        if reader is None:
            name, lag, wakes = [Cell("nobody", DIM)], [Cell(NONE)] * 4, None
        else:
            name, lag = reader_cells(ring, reader)
            wakes = reader.wakes_per_s
        cells = [
            Cell(ring.ring),
            Cell(ring.kind),
            worker_cell(ring.writer, ring.writer_state, ring.writer_is_alive),
            *name,
            Cell(draw.count(ring.capacity)),
            use,
            Cell(draw.count(ring.cursor)),
            Cell(draw.rate(ring.rate_per_s), GOOD if ring.rate_per_s else ""),
            *lag,
            refused,
            Cell(draw.rate(ring.doorbells_per_s)),
            Cell(draw.rate(wakes)),
        ]
        if not is_first:
            for index in (0, 1, 2, 4, 5, 6, 7, 12, 13):
                cells[index] = Cell("")
        lines.append(cells)
    return lines


def ring_json(row: RingRow) -> dict[str, Any]:
    """One ring as a JSON object; its lag is that of the slowest reader."""
    return {**asdict(row), "lag": row.lag}


def make_show(look: Callable[[], RunLook[RingRow]], options: Options, sort: str) -> Show[RunLook[RingRow]]:
    """What the verb shows of a session's looks."""
    return table_show(
        look,
        options,
        COLUMNS,
        key="rings",
        noun="rings",
        ordered=lambda rows: sort_rings(rows, sort),
        lines_of=ring_lines,
        json_of=ring_json,
    )


def rings(
    name: Name = None,
    state: State = None,
    once: Once = False,
    interval: Interval = 1.0,
    count: Count = None,
    sort: Annotated[
        Sort, typer.Option(help="order of the rings: name, or the largest lag or rate first")
    ] = "name",
    json: Annotated[
        bool, typer.Option("--json", help="print one JSON object per look (default: one look)")
    ] = False,
) -> int:
    """Show every ring of the running engine: rate, readers and their lag, laps, refusals, doorbells.

    Looks only: its mappings are read-only and the engine is asked nothing. On a terminal it refreshes until
    q; else it prints once. Exit codes: 0; 1 no engine, or it ended; 2 a wrong option.
    """
    options = make_options(once, interval, json, count)
    machine = Machine()
    session = begin(name, state, lambda view, rates, _note: RingReader(view, rates, machine).look)
    return show_session(session, lambda look: make_show(look, options, sort), options)
