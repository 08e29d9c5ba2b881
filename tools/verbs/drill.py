"""`ringlane drill`: rehearse what must work when nothing else does, with an engine and venues of its own."""

from __future__ import annotations

from typing import Annotated

import orjson
import typer

from engine.errors import EngineError
from tools.sentinel_drill import SCENES, one_venue_each, run_drill

DRILLS = ("sentinel",)


def drill(
    name: Annotated[str, typer.Argument(help="sentinel")],
    venues: Annotated[
        list[str] | None, typer.Option("--venue", help="adapters of the simulated venues; may be repeated")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="how often each scene is played")] = 3,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Rehearse: an engine trades at simulated venues, parts of it are stopped or killed, their books watched.

    Printed: from the signal until the last venue had no order left, manual orders included, and beside it
    what one request takes at that venue.
    """
    if name not in DRILLS:
        raise typer.BadParameter(f"no drill {name!r}; there is: {', '.join(DRILLS)}")
    result = run_drill(tuple(venues or one_venue_each()), rounds)
    if json:
        typer.echo(orjson.dumps(result).decode())
    else:
        for row in result["results"]:
            times = ", ".join(f"{ms:.0f}" for ms in row["gone_ms"])
            typer.echo(
                f"{SCENES[row['scene']]}: all orders gone after {times} ms (worst {row['worst_ms']:.0f})"
            )
            for venue, ms in row["venues_ms"].items():
                echo = result["round_trip_ms"][venue]
                typer.echo(
                    f"    {venue}: worst {ms:.0f} ms = {ms / echo:.0f} × its round trip of {echo:.1f} ms"
                )
    if not result["is_passed"]:
        raise EngineError("orders were left, see above")
