"""`ringlane replay`: recorded frames through the same code, deterministically."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from actors.errors import ActorError
from feeds.errors import FeedError
from feeds.settings import SECOND_NS
from shm.errors import ShmError
from shm.units import format_units
from tools.replay import E8, PAUSE_NS, Replay, ReplayResult, ReplaySettings, VenueResult

SHOWN = 20
EXIT_DAMAGED = 1
COUNTS = ("intents", "orders.new", "orders.replaced", "orders.canceled", "orders.rejected", "orders.denied",
          "fills", "orders.filled", "actor.errors", "ring.lapped")  # fmt: skip


def replay(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Captures, plain or gzip.")],
    venue: Annotated[
        list[str] | None,
        typer.Option(help="Whose frames these are; may be given several times. Else the captures say it."),
    ] = None,
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
    queue_model: Annotated[
        str, typer.Option(help="How resting orders advance: no_queue, risk_averse, probability:power:2, …")
    ] = "risk_averse",
    entry_latency: Annotated[
        str, typer.Option(help="Us to the venue: 250us, lognormal:MEDIAN:SIGMA, table:FILE.")
    ] = "0",
    response_latency: Annotated[str, typer.Option(help="Its reports to us, as --entry-latency.")] = "0",
    feed_latency: Annotated[
        str, typer.Option(help="Its market data to us; also stamps or stamps:LEAST, from the capture's own.")
    ] = "0",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Feed captures through feed, rings, strategy, gate, OMS and paper session on a virtual clock.

    Prints what was found and a hash over all intents and fills: equal for equal captures and seeds. Frames
    that are garbage, do not fit their instrument or name an unknown symbol are counted and listed, the rest
    is replayed.

    Exit code: 0 = every line was read; 1 = replayed, but some lines (named) are no capture lines, as when a
    capture ends in the middle of one; 2 = a mistake in the arguments, or a capture that can not be used.
    """
    began = time.monotonic()
    if books is not None and (books.is_dir() or not books.absolute().parent.is_dir()):
        what = "is a folder" if books.is_dir() else "can not be written: there is no such folder"
        typer.echo(f"ringlane: error: --books {books} {what}", err=True)
        raise typer.Exit(2)
    try:
        job = Replay(
            ReplaySettings(
                tuple(venue or ()),
                tuple(files),
                instruments,
                seed,
                "" if strategy == "none" else strategy,
                _object(settings),
                {
                    "queue_model": queue_model,
                    "entry_latency": entry_latency,
                    "response_latency": response_latency,
                    "feed_latency": feed_latency,
                },
            )
        )
        result = job.run(with_books=books is not None)
        if books is not None:
            books.write_bytes(orjson.dumps(result.books, option=orjson.OPT_APPEND_NEWLINE))
    except OSError as error:
        typer.echo(f"ringlane: error: {error.filename or ''}: {error.strerror}", err=True)
        raise typer.Exit(2) from None
    except (FeedError, ActorError, ShmError) as error:
        typer.echo(f"ringlane: error: {error}", err=True)
        raise typer.Exit(2) from None
    seconds = time.monotonic() - began
    if json:
        typer.echo(orjson.dumps(to_json(seed, result, seconds)).decode())
    else:
        _show(result, seconds)
    if result.damaged_lines:
        typer.echo(f"ringlane: error: {_damage(result)}", err=True)
        raise typer.Exit(EXIT_DAMAGED)


def _damage(result: ReplayResult) -> str:
    count = result.damaged_lines
    more = f" (and {count - 1} more)" if count > 1 else ""
    return f"damaged capture, the rest was replayed: {result.damage[0]}{more}"


def _object(text: str) -> dict[str, Any]:
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise typer.BadParameter(f"--settings is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise typer.BadParameter("--settings is not a JSON object")
    return data


def to_json(seed: int, result: ReplayResult, seconds: float) -> dict[str, Any]:
    """The result as one JSON object (books are in their own file).

    Symbols of several venues are named `venue:symbol` in `states`, and `venues` has what is of each.
    """
    return {
        "venue": " ".join(result.venues),
        "seed": seed,
        "frames": result.lines,
        "snapshots": result.snapshots,
        "span_s": (result.last_ns - result.first_ns) / 1e9,
        "feed": result.feed,
        "gaps": [gap._asdict() for gap in result.gaps],
        "rejected": result.rejected,
        "rejections": [rejection._asdict() for rejection in result.rejections],
        "unknown_symbols": result.unknown_symbols,
        "unknown_snapshots": result.unknown_snapshots,
        "damaged_lines": result.damaged_lines,
        "damage": result.damage,
        "other_lines": result.other_lines,
        "pauses": result.pauses,
        "states": result.states,
        "venues": {name: _venue_json(found) for name, found in result.venues.items()},
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


def _venue_json(found: VenueResult) -> dict[str, Any]:
    return {
        "frames": found.lines,
        "snapshots": found.snapshots,
        "feed": found.feed,
        "gaps": len(found.gaps),
        "states": found.states,
        "connections": found.connections,
    }


def _show(result: ReplayResult, seconds: float) -> None:
    console = Console(soft_wrap=True)
    feed = result.feed
    span = (result.last_ns - result.first_ns) / 1e9
    console.print(
        f"{result.lines} frames over {span:.1f} s in {seconds:.1f} s; {feed.get('books', 0)} book updates, "
        f"{feed.get('trades', 0)} trades, {feed.get('bbos', 0)} best bids and offers, "
        f"{result.snapshots} snapshots, {feed.get('control', 0)} frames of other kinds"
    )
    console.print(
        "books: " + (", ".join(f"{symbol} {state}" for symbol, state in result.states.items()) or "none")
    )
    for name, found in result.venues.items():
        if len(found.connections) > 1:
            counts = (f"{c['won']} first and {c['late']} late of {c['frames']}" for c in found.connections)
            console.print(f"connections of {name}: " + "; ".join(counts))
    _list(console, "gaps", [str(gap) for gap in result.gaps])
    _list(console, "rejected", [str(rejection) for rejection in result.rejections], result.rejected)
    _list(console, "unknown symbols", _unknown(result))
    if result.damaged_lines:
        _list(console, "damaged lines", result.damage, result.damaged_lines)
    if result.pauses:
        console.print(f"pauses of more than {PAUSE_NS // SECOND_NS} s leapt over: {result.pauses}")
    _list(console, "faults", result.faults)
    console.print(", ".join(f"{name} {result.counters.get(name, 0)}" for name in COUNTS))
    for row in result.positions:
        console.print("  ".join(f"{key} {value}" for key, value in row.items()))
    console.print(
        f"PnL {format_units(result.pnl_e8, E8)} (realized {format_units(result.realized_e8, E8)}, unrealized "
        f"{format_units(result.unrealized_e8, E8)}, fees {format_units(result.fees_e8, E8)})"
    )
    console.print(f"hash {result.digest}")


def _unknown(result: ReplayResult) -> list[str]:
    frames, snapshots = result.unknown_symbols, result.unknown_snapshots
    return [
        f"{name}: {frames.get(name, 0)} frames, {snapshots.get(name, 0)} snapshots"
        for name in sorted(frames.keys() | snapshots.keys())
    ]


def _list(console: Console, title: str, lines: list[str], total: int | None = None) -> None:
    count = len(lines) if total is None else total
    console.print(f"{title}: {count}")
    for line in lines[:SHOWN]:
        console.print(f"  {line}", markup=False, highlight=False)
    if count > SHOWN:
        console.print(f"  … and {count - min(len(lines), SHOWN)} more")
