"""`ringlane drill`: rehearse what must work when nothing else does, with an engine and venues of its own."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Annotated

import orjson
import typer

from engine.errors import EngineError
from exec.venues import PROTOCOL_OF
from tools.failover_drill import WRONGS, run_failover
from tools.sentinel_drill import SCENES, one_venue_each, run_drill

DRILLS = ("sentinel", "failover")


def drill(
    name: Annotated[str, typer.Argument(help="sentinel or failover")],
    venues: Annotated[
        list[str] | None,
        typer.Option("--venue", help=f"of the simulated venues: {', '.join(PROTOCOL_OF)}; may be repeated"),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="how often each scene is played (3), or a worker killed (10)")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Rehearse: an engine trades at simulated venues, parts of it are stopped or killed, their books watched.

    sentinel: from the signal until the last venue had no order left, manual orders included, and beside it
    what one request takes at that venue. failover: from the SIGKILL of the worker that trades until its
    heir's first order at the venue, under 2,000 updates/s, without a standby and with one; then both books.
    """
    unknown = [venue for venue in venues or () if venue not in PROTOCOL_OF]
    if unknown:
        raise typer.BadParameter(f"no venue {unknown[0]!r}; there are: {', '.join(PROTOCOL_OF)}")
    if name == "sentinel":
        _sentinel(tuple(venues or one_venue_each()), rounds or 3, as_json=json)
    elif name == "failover":
        _failover(tuple(venues or one_venue_each()[:1]), rounds or 10, as_json=json)
    else:
        raise typer.BadParameter(f"no drill {name!r}; there are: {', '.join(DRILLS)}")


def _failover(venues: Sequence[str], kills: int, *, as_json: bool) -> None:
    for venue in venues:
        result = run_failover(venue, kills)
        if as_json:
            typer.echo(orjson.dumps(result).decode())
        else:
            typer.echo(
                f"{venue}, {result['rate_per_s']:g} updates/s, SIGKILL to the first order at the venue:"
            )
            for row in result["results"]:
                times = ", ".join(f"{ms:.0f}" for ms in row["quoting_ms"])
                what = f"with a standby ({row['promotions']} of {kills})" if row["standby"] else "without"
                typer.echo(f"    {what}: {times} ms (median {median(row['quoting_ms']):.0f})")
                typer.echo("        " + ", ".join(f"{row[one]} {one.replace('_', ' ')}" for one in WRONGS))
        if not result["is_whole"]:
            raise EngineError("the books differ, see above")
        if not result["is_quick"]:
            raise EngineError(f"the median with a standby is above {result['limit_ms']:.0f} ms")


def _sentinel(venues: Sequence[str], rounds: int, *, as_json: bool) -> None:
    result = run_drill(venues, rounds)
    if as_json:
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
