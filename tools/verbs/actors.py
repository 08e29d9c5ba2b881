"""`ringlane actors`: the actors of the running engine and what their workers do, refreshing like `top`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from engine.errors import ControlError
from engine.run_file import RunNote
from tools.attach import ask
from tools.live import Options, Show, Window
from tools.outside import draw
from tools.outside.actors import ActorName, ActorReader, ActorRow
from tools.outside.draw import BAD, DIM, GOOD, NONE, WARN, Cell, Column
from tools.outside.options import Count, Interval, Name, Once, State, begin, make_options
from tools.outside.screens import show_session
from tools.outside.session import RunLook
from tools.outside.workers import Machine, WorkerRow

ANSWER_S = 1.0

COLUMNS = (
    Column("id"),
    Column("name", right=False),
    Column("role", right=False, rank=4),
    Column("errors"),
    Column("worker", right=False),
    Column("state", right=False, least=7),
    Column("pid", rank=5),
    Column("core", rank=3),
    Column("gen", rank=6),
    Column("restarts", rank=2),
    Column("heartbeat", least=9, rank=1),
    Column("cpu", least=6),
    Column("wakes/s", least=7, rank=2),
    Column("drained/s", least=9),
    Column("cycle p99", least=9, rank=3),
    Column("max", least=6, rank=4),
    Column("age p99", least=7, rank=3),
    Column("lag max", least=7, rank=3),
)


def learn_names(note: RunNote) -> dict[int, list[ActorName]]:
    """Who the actors are, by worker slot; asked of the supervisor once per run, {} if it does not answer."""
    try:
        status = ask(note, "status", ANSWER_S)
    except ControlError:
        return {}
    workers: Any = status["workers"]
    return {
        worker["slot"]: [ActorName(a["actor_id"], a["name"], a["role"]) for a in worker["actors"]]
        for worker in workers
    }


def state_cell(worker: WorkerRow) -> Cell:
    """A worker's state."""
    return Cell(worker.state, GOOD if worker.state == "RUNNING" else WARN if worker.is_alive else BAD)


def worker_cells(row: ActorRow) -> list[Cell]:
    """What is the worker's: one line for all its actors."""
    worker, figures = row.worker, row.figures
    cpu = NONE if worker.cpu_percent is None else f"{worker.cpu_percent:.1f} %"
    lag = figures.loop_lag_ns_max
    return [
        Cell(worker.name),
        state_cell(worker),
        Cell(str(worker.pid)),
        Cell(NONE if worker.core is None else str(worker.core)),
        Cell(str(worker.generation)),
        Cell(draw.count(worker.restarts), WARN if worker.restarts else ""),
        Cell(draw.duration(worker.heartbeat_age_ns), "" if worker.is_alive else BAD),
        Cell(cpu),
        Cell(draw.rate(worker.wakes_per_s)),
        Cell(draw.rate(figures.drained_per_s)),
        Cell(draw.duration(figures.cycle_ns_p99)),
        Cell(draw.duration(worker.cycle_ns_max)),
        Cell(draw.duration(figures.drain_age_ns_p99)),
        Cell(draw.duration(lag), WARN if lag is not None and lag > 50_000_000 else ""),
    ]


def actor_lines(rows: list[ActorRow]) -> list[list[Cell]]:
    """Lines of the table; a worker's figures stand beside the first of its actors that is shown."""
    lines = []
    shown = -1
    for row in rows:
        own = [
            Cell(NONE if row.actor_id is None else str(row.actor_id)),
            Cell(row.name or "(names not known)", "" if row.name else DIM),
            Cell(row.role),
            Cell(draw.count(row.errors), BAD if row.errors else ""),
        ]
        cells = worker_cells(row)
        if row.worker.slot == shown:
            cells = [Cell(row.worker.name, DIM), *[Cell("")] * (len(cells) - 1)]
        shown = row.worker.slot
        lines.append([*own, *cells])
    return lines


def actor_json(row: ActorRow) -> dict[str, Any]:
    """One actor as a JSON object; the worker's figures are repeated in each of its actors."""
    worker = row.worker
    age = worker.heartbeat_age_ns
    return {
        "actor_id": row.actor_id,
        "name": row.name,
        "role": row.role,
        "worker": worker.name,
        "pid": worker.pid,
        "core": worker.core,
        "state": worker.state,
        "generation": worker.generation,
        "heartbeat_age_ms": None if age is None else round(age / 1e6, 1),
        "errors": row.errors,
        "last_fault": row.last_fault,
        "slot": worker.slot,
        "incarnation": worker.incarnation,
        "restarts": worker.restarts,
        "is_parked": worker.is_parked,
        "cpu_percent": worker.cpu_percent,
        "wakes": worker.wakes,
        "wakes_per_s": worker.wakes_per_s,
        "cycles": worker.cycles,
        "cycles_per_s": worker.cycles_per_s,
        "cycle_ns_max": worker.cycle_ns_max,
        "worker_figures": asdict(row.figures),
    }


def make_show(look: Callable[[], RunLook[ActorRow]], options: Options) -> Show[RunLook[ActorRow]]:
    """What the verb shows of a session's looks."""

    def picture(seen: RunLook[ActorRow], window: Window) -> RenderableType:
        lines = actor_lines(window.cut(list(seen.rows)))
        known = sum(row.actor_id is not None for row in seen.rows)
        title = draw.head(seen, f"{known} actors", options.interval_s)
        if not known and seen.rows:
            title.append("  the supervisor did not tell their names", style=WARN)
        return draw.page(seen, title, draw.make_table(COLUMNS, lines, window.width))

    return Show(
        look=look,
        draw=picture,
        head_lines=draw.page_lines,
        row_count=lambda seen: len(seen.rows),
        to_json=lambda seen: [actor_json(row) for row in seen.rows],
        ended=lambda seen: seen.ended,
    )


def actors(
    name: Name = None,
    state: State = None,
    once: Once = False,
    interval: Interval = 1.0,
    count: Count = None,
    json: Annotated[
        bool, typer.Option("--json", help="print one JSON array per look (default: one look)")
    ] = False,
) -> int:
    """Show the actors of the running engine: errors, and their worker's state, CPU, wakes and cycles.

    Looks only: its mappings are read-only. The names alone are asked of the supervisor, once; if it hangs
    there is one line per worker. On a terminal it refreshes until q; else it prints once. Exit codes: 0;
    1 no engine, or it ended; 2 a wrong option.
    """
    options = make_options(once, interval, json, count)
    machine = Machine()
    session = begin(
        name,
        state,
        lambda view, rates, note: ActorReader(view, rates, machine, learn_names(note)).look,
    )
    return show_session(session, lambda look: make_show(look, options), options)
