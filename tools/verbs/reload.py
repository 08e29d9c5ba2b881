"""`ringlane reload`: bring the running engine to a new config generation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer

from tools.attach import ask, find_run


def reload(
    name: Annotated[str | None, typer.Option(help="instance (default: the newest running one)")] = None,
    state: Annotated[Path | None, typer.Option(help="state root the engine was started with")] = None,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Read the configuration again and apply it at a message boundary; an invalid file changes nothing."""
    note = find_run(name, state)
    reply = ask(note, "reload")
    if json:
        typer.echo(orjson.dumps({"instance": note.instance, "generation": reply["generation"]}).decode())
    else:
        typer.echo(f"{note.instance}: generation {reply['generation']} is in force in every worker")
