"""`ringlane doctor`: is this machine fit for the engine, and what to change."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tools.doctor_report import examine
from tools.doctor_view import show
from tools.terminal import make_console
from tools.verbs.run import load


def doctor(
    config: Annotated[
        Path | None, typer.Argument(help="configuration file (default: the embedded one)")
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=600.0, help="how long to watch and to measure hiccups")
    ] = 3.0,
    quick: Annotated[bool, typer.Option("--quick", help="only read what is set; measure nothing")] = False,
    everything: Annotated[bool, typer.Option("--all", help="show the checks that are fine, too")] = False,
    state: Annotated[Path | None, typer.Option(help="state root (default: the XDG state home)")] = None,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Check and measure the machine: exit code 0 fit, 1 usable with advice, 2 unfit, 64 wrong usage.

    Changes nothing and needs no rights; what can not be read is *not known*. It spins on every core for
    --seconds, except while an engine runs: then it only watches.
    """
    resolved = load(config)
    file = str(config) if config is not None else ""
    report = examine(resolved, file, seconds=0.0 if quick else seconds, state=state)
    if json:
        typer.echo(report.to_json())
    else:
        show(report, make_console(), everything=everything)
    raise typer.Exit(report.exit_code)
