"""`ringlane resume`: clear a halt in two steps, so that one stray command can not resume trading."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer

from engine.errors import EngineError
from engine.halts import arm, clear
from shm.errors import AuditError
from tools.attach import find_run, open_control


def resume(
    arm_: Annotated[bool, typer.Option("--arm", help="first step: say that it shall be cleared")] = False,
    clear_: Annotated[
        bool, typer.Option("--clear", help="second step: trade again, if nobody halted in between")
    ] = False,
    why: Annotated[str, typer.Option(help="for the audit")] = "",
    name: Annotated[str | None, typer.Option(help="instance (default: the newest running one)")] = None,
    state: Annotated[Path | None, typer.Option(help="state root the engine was started with")] = None,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Clear HALTED or REDUCING: first --arm, then --clear. A halt between the two undoes the first."""
    if arm_ == clear_:
        raise typer.BadParameter("give --arm first, then --clear")
    run = find_run(name, state)
    control, segment = open_control(run, writable=True)
    reason = why or "ringlane resume"
    try:
        before = (arm if arm_ else clear)(control, run.state_dir, reason)
        now = control.halt_state()[0]
    except (OSError, AuditError) as error:
        raise EngineError(f"not audited, so nothing was changed: {error}") from error
    finally:
        del control
        segment.close()
    answer = {"instance": run.instance, "before": before.name, "trading_state": now.name, "armed": arm_}
    if json:
        typer.echo(orjson.dumps(answer).decode())
    elif arm_:
        typer.echo(f"{run.instance}: trading state {now.name}, armed; `ringlane resume --clear` resumes")
    else:
        typer.echo(f"{run.instance}: trading state {now.name} (was {before.name})")
