"""`ringlane status`: the running engine and its workers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.table import Table

from engine.errors import ControlError
from engine.reporting import control_rows
from engine.run_file import RunNote
from shm.layout import WORKER_SLOTS
from tools.attach import ask, find_run, open_control
from tools.notes_view import account_parts, store_parts
from tools.terminal import make_console

ANSWER_S = 2.0


def read_status(note: RunNote) -> dict[str, Any]:
    """Status by the control socket, or from shared memory alone when the supervisor does not answer.

    Raises:
        ControlError: neither works.
    """
    try:
        return {"answers": True, **ask(note, "status", ANSWER_S)}
    except ControlError:
        control, segment = open_control(note)
        try:
            rows = control_rows(control, WORKER_SLOTS)
            trading = control.halt_state()[0].name
            generation = int(control.generation)
        finally:
            del control
            segment.close()
    return {
        "answers": False,
        "instance": note.instance,
        "epoch": note.epoch,
        "pid": note.pid,
        "generation": generation,
        "trading_state": trading,
        "workers": rows,
        "commands": [],
    }


def status(
    name: Annotated[str | None, typer.Option(help="instance (default: the newest running one)")] = None,
    state: Annotated[Path | None, typer.Option(help="state root the engine was started with")] = None,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Show the running engine and its workers, also when the supervisor hangs."""
    data = read_status(find_run(name, state))
    if json:
        typer.echo(orjson.dumps(data).decode())
        return
    show(data)


def show(data: dict[str, Any]) -> None:
    """Print a status as a table."""
    console = make_console()
    tail = "" if data["answers"] else ", [red]the supervisor does not answer[/]"
    console.print(
        f"[bold]{data['instance']}[/]  epoch {data['epoch']}, generation {data['generation']}, "
        f"supervisor pid {data['pid']}, trading state {data['trading_state']}{tail}"
    )
    if data["answers"]:
        where = f"placement {data['placement']}, PM QoS {data['pm_qos']}"
        if data["venues_closed"]:
            closed = ", ".join(data["venues_closed"])
            console.print(f"[yellow]under maintenance, by their own word: {closed}[/]")
        console.print(f"{data['phase']} for {data['elapsed_s']:.1f} s, {where}", highlight=False)
    columns = ("name", "state", "pid", "core", "incarnation", "restarts", "generation", "heartbeat", "cycles")
    table = Table(*columns, box=None, header_style="dim", pad_edge=False)
    for row in data["workers"]:
        age = row["heartbeat_age_ms"]
        table.add_row(
            row["name"],
            row["state"],
            str(row["pid"]),
            "–" if row["core"] is None else str(row["core"]),
            str(row["incarnation"]),
            str(row["restarts"]),
            str(row["generation"]),
            "–" if age is None else f"{age:.0f} ms",
            f"{row['cycles']:,}",
        )
    for row in data["commands"]:
        table.add_row(
            row["name"], row["state"], str(row["pid"]), "–", str(row["incarnation"]), str(row["restarts"])
        )
    console.print(table)
    notes = data.get("notes", {})
    for part in (*account_parts(notes), *store_parts(notes)):
        console.print(part)
