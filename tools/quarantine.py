"""`ringlane books quarantine` and `release`: an operator keeps instruments out of trading."""

from __future__ import annotations

from pathlib import Path

import orjson
import typer

from engine.control_socket import request
from tools.attach import find_run

ACTS = ("quarantine", "release")


def change(
    act: str, instruments: list[str], reason: str, name: str | None, state: Path | None, json: bool
) -> int:
    """Put instruments into quarantine, or let them go, in a running engine.

    Args:
        act: one of ACTS.
        instruments: canonical names or symbols, `VENUE:…` where several venues have one.
        reason: for the run's log.
        name: instance, None = the newest running one.
        state: state root of the engine, None = the user's.
        json: print one JSON object.

    Returns:
        The exit code.

    Raises:
        ControlError: no engine runs, it does not answer, or it refuses one (those before it are done).
        typer.BadParameter: no instrument was named.
    """
    if not instruments:
        raise typer.BadParameter(f"books {act} needs an instrument")
    note = find_run(name, state)
    done = []
    for instrument in instruments:
        answer = request(Path(note.state_dir), {"op": act, "instrument": instrument, "reason": reason})
        done.append(answer)
        if not json:
            what = (
                "is in quarantine" if answer["is_held"] else "is released: its next good update makes it LIVE"
            )
            again = "" if answer["is_held"] is not answer["was_held"] else " (as it was before)"
            typer.echo(f"{answer['venue']}:{answer['symbol']} {what}{again}; its book is {answer['state']}")
    if json:
        typer.echo(orjson.dumps({"instance": note.instance, "act": act, "instruments": done}).decode())
    return 0
