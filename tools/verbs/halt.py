"""`ringlane halt`: stop trading now, with or without the supervisor's help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer

from engine.errors import ControlError
from shm.enums import Reason, TradingState
from tools.attach import ask, find_run, open_control

ANSWER_S = 1.0


def halt(
    name: Annotated[str | None, typer.Option(help="instance (default: the newest running one)")] = None,
    state: Annotated[Path | None, typer.Option(help="state root the engine was started with")] = None,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Stop trading: from now on only cancels pass. It can only be cleared by a new run."""
    note = find_run(name, state)
    control, segment = open_control(note, writable=True)
    # The word in shared memory is what gates read: it works even if the supervisor hangs.
    control.set_halt(TradingState.HALTED, Reason.HALTED)
    trading = control.halt_state()[0].name
    try:
        ask(note, "halt", ANSWER_S)
        answered = True
    except ControlError:
        answered = False
    del control
    segment.close()
    if json:
        typer.echo(
            orjson.dumps(
                {"instance": note.instance, "trading_state": trading, "supervisor_answers": answered}
            ).decode()
        )
        return
    tail = "" if answered else " (written to shared memory; the supervisor does not answer)"
    typer.echo(f"{note.instance}: trading state {trading}{tail}")
