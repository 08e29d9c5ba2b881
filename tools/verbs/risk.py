"""`ringlane risk`: what counts as one position in the running engine, slippage and routes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from shm.units import format_units
from tools.attach import ask, find_run
from tools.notes_view import note_parts
from tools.terminal import make_console

ANSWER_S = 2.0


def risk(
    name: Annotated[str | None, typer.Option(help="instance (default: the newest running one)")] = None,
    state: Annotated[Path | None, typer.Option(help="state root the engine was started with")] = None,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Show correlated groups with their limit, slippage by style, the newest routes, and the shadow."""
    data = ask(find_run(name, state), "status", ANSWER_S)
    notes: Any = data["notes"]
    if json:
        typer.echo(orjson.dumps({"trading_state": data["trading_state"], "notes": notes}).decode())
        return
    console = make_console()
    limits = {told["limit_e8"] for told in notes.get("correlation", {}).values()} or {0}
    shown = ", ".join(format_units(limit, 8) if limit else "none" for limit in sorted(limits))
    console.print(f"[bold]{data['instance']}[/]  trading state {data['trading_state']}")
    console.print(f"limit of a correlated group: {shown}")
    parts = note_parts(notes)
    for part in parts:
        console.print(part)
    if not parts:
        console.print("nothing was told yet", style="dim")
