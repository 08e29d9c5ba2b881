"""`ringlane report`: show the report that a run wrote, at its end or at SIGUSR1."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer

from tools.report_view import show


def report(
    file: Annotated[Path, typer.Argument(help="report.json, or the folder that holds it")] = Path("report"),
    json: Annotated[bool, typer.Option("--json", help="print the JSON object itself")] = False,
) -> None:
    """Show the report that a run wrote."""
    path = file / "report.json" if file.is_dir() else file
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"no report at {path}: {error.strerror}") from error
    try:
        data = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise typer.BadParameter(f"{path} is not a report: {error}") from error
    if not isinstance(data, dict) or data.get("report") != "run":
        raise typer.BadParameter(f"{path} is not a run report")
    if json:
        typer.echo(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode())
    else:
        show(data)
