"""`ringlane replay`: recorded frames through the same code, deterministically."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from actors.errors import ActorError
from feeds.errors import FeedError
from shm.errors import ShmError
from shm.units import format_units
from tools.replay import E8, Replay, ReplayResult, ReplaySettings

SHOWN = 20
COUNTS = ("intents", "orders.new", "orders.replaced", "orders.canceled", "orders.rejected", "orders.denied",
          "fills", "orders.filled", "actor.errors", "ring.lapped")  # fmt: skip


def replay(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Captures, plain or gzip.")],
    venue: Annotated[str, typer.Option(help="Whose frames these are (an adapter's name).")],
    books: Annotated[
        Path | None, typer.Option(help="Write every symbol's final full book to this file.")
    ] = None,
    instruments: Annotated[
        Path | None, typer.Option(help="Instrument data; else from the capture, or by a first pass over it.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the actors' random numbers.")] = 1,
    strategy: Annotated[
        str, typer.Option(help='Strategy role, or "none" for the books alone.')
    ] = "market_maker",
    settings: Annotated[str, typer.Option(help="The strategy's settings as a JSON object.")] = "{}",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Feed captures through feed, rings, strategy, gate, OMS and paper session on a virtual clock.

    Prints what was found and a hash over all intents and fills: equal for equal captures and seeds.
    """
    began = time.monotonic()
    try:
        job = Replay(
            ReplaySettings(
                venue,
                tuple(files),
                instruments,
                seed,
                "" if strategy == "none" else strategy,
                _object(settings),
            )
        )
        result = job.run(with_books=books is not None)
        if books is not None:
            books.write_bytes(orjson.dumps(result.books, option=orjson.OPT_APPEND_NEWLINE))
    except (FeedError, ActorError, ShmError, OSError) as error:
        typer.echo(f"ringlane: error: {error}", err=True)
        raise typer.Exit(2) from None
    seconds = time.monotonic() - began
    if json:
        typer.echo(orjson.dumps(to_json(venue, seed, result, seconds)).decode())
    else:
        _show(result, seconds)


def _object(text: str) -> dict[str, Any]:
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise typer.BadParameter(f"--settings is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise typer.BadParameter("--settings is not a JSON object")
    return data


def to_json(venue: str, seed: int, result: ReplayResult, seconds: float) -> dict[str, Any]:
    """The result as one JSON object (books are in their own file)."""
    return {
        "venue": venue,
        "seed": seed,
        "frames": result.lines,
        "snapshots": result.snapshots,
        "span_s": (result.last_ns - result.first_ns) / 1e9,
        "feed": result.feed,
        "gaps": [gap._asdict() for gap in result.gaps],
        "rejections": [{"frame_ns": r.frame_ns, "error": r.error} for r in result.rejections],
        "unknown_symbols": result.unknown_symbols,
        "states": result.states,
        "orders": {name: result.counters.get(name, 0) for name in COUNTS},
        "positions": result.positions,
        "realized": format_units(result.realized_e8, E8),
        "unrealized": format_units(result.unrealized_e8, E8),
        "fees": format_units(result.fees_e8, E8),
        "pnl": format_units(result.pnl_e8, E8),
        "faults": result.faults,
        "hash": result.digest,
        "seconds": round(seconds, 3),
    }


def _show(result: ReplayResult, seconds: float) -> None:
    console = Console(soft_wrap=True)
    feed = result.feed
    span = (result.last_ns - result.first_ns) / 1e9
    console.print(
        f"{result.lines} frames over {span:.1f} s in {seconds:.1f} s; {feed.get('books', 0)} book updates, "
        f"{feed.get('trades', 0)} trades, {feed.get('bbos', 0)} best bids and offers, "
        f"{result.snapshots} snapshots"
    )
    console.print(
        "books: " + (", ".join(f"{symbol} {state}" for symbol, state in result.states.items()) or "none")
    )
    _list(console, "gaps", [str(gap) for gap in result.gaps])
    _list(console, "rejected", [rejection.error for rejection in result.rejections])
    _list(
        console,
        "unknown symbols",
        [f"{name}: {count} frames" for name, count in result.unknown_symbols.items()],
    )
    _list(console, "faults", result.faults)
    table = Table(box=None, pad_edge=False)
    for name in COUNTS:
        table.add_column(name, justify="right")
    table.add_row(*(str(result.counters.get(name, 0)) for name in COUNTS))
    console.print(table)
    for row in result.positions:
        console.print("  ".join(f"{key} {value}" for key, value in row.items()))
    console.print(
        f"PnL {format_units(result.pnl_e8, E8)} (realized {format_units(result.realized_e8, E8)}, unrealized "
        f"{format_units(result.unrealized_e8, E8)}, fees {format_units(result.fees_e8, E8)})"
    )
    console.print(f"hash {result.digest}")


def _list(console: Console, title: str, lines: list[str]) -> None:
    console.print(f"{title}: {len(lines)}")
    for line in lines[:SHOWN]:
        console.print(f"  {line}", markup=False, highlight=False)
    if len(lines) > SHOWN:
        console.print(f"  … and {len(lines) - SHOWN} more")
