"""`ringlane actors`: the actors of the running engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.table import Table

from tools.attach import ask, find_run
from tools.terminal import make_console


def actor_rows(data: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per actor, with the facts of the worker that hosts it."""
    return [
        {
            "actor_id": actor["actor_id"],
            "name": actor["name"],
            "role": actor["role"],
            "worker": worker["name"],
            "pid": worker["pid"],
            "core": worker["core"],
            "state": worker["state"],
            "generation": worker["generation"],
            "heartbeat_age_ms": worker["heartbeat_age_ms"],
        }
        for worker in data["workers"]
        for actor in worker["actors"]
    ]


def actors(
    name: Annotated[str | None, typer.Option(help="instance (default: the newest running one)")] = None,
    state: Annotated[Path | None, typer.Option(help="state root the engine was started with")] = None,
    json: Annotated[bool, typer.Option("--json", help="print one JSON array")] = False,
) -> None:
    """List the actors of the running engine, each with its worker's pid, core and heartbeat age."""
    rows = actor_rows(dict(ask(find_run(name, state), "status")))
    if json:
        typer.echo(orjson.dumps(rows).decode())
        return
    columns = ("id", "name", "role", "worker", "pid", "core", "state", "generation", "heartbeat")
    table = Table(*columns, box=None, header_style="dim", pad_edge=False)
    for row in rows:
        age = row["heartbeat_age_ms"]
        table.add_row(
            str(row["actor_id"]),
            row["name"],
            row["role"],
            row["worker"],
            str(row["pid"]),
            "–" if row["core"] is None else str(row["core"]),
            row["state"],
            str(row["generation"]),
            "–" if age is None else f"{age:.0f} ms",
        )
    make_console().print(table)
