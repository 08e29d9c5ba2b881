"""`ringlane capture`: record a venue's raw frames, or say what a capture holds."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import orjson
import typer
import uvloop
from rich.live import Live
from rich.text import Text

from feeds.adapter import StreamSettings
from feeds.capture_writer import WriterSettings
from feeds.errors import FeedError
from feeds.venues import get_adapter
from tools.capture_info import CaptureInfo, describe
from tools.folders import make_folder
from tools.recorder import RecorderSettings
from tools.recorder_group import RecorderGroup, addresses, default_lines, split_by_venue
from tools.terminal import make_console

LIVE_S = 0.5
SHOWN = 20
EXIT_DAMAGED = 1
EXIT_LOST = 1


def capture(
    symbols: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SYMBOL...]",
            help="The venue's names, canonical ones (BTC-USDT-PERP) or patterns; VENUE:SYMBOL for one venue.",
        ),
    ] = None,
    venue: Annotated[
        list[str] | None,
        typer.Option(help="Whose frames to record: a venue or a family; may be given several times."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the files; made if it is missing.")] = Path("captures"),
    duration: Annotated[float | None, typer.Option(min=0.001, help="Stop after that many seconds.")] = None,
    ws: Annotated[
        list[str] | None,
        typer.Option(help="Websocket base address, instead of the venue's own; VENUE=URL where several are."),
    ] = None,
    rest: Annotated[
        list[str] | None, typer.Option(help="REST base address, instead of the venue's own; as --ws.")
    ] = None,
    ca: Annotated[Path | None, typer.Option(help="PEM file of a private authority.")] = None,
    snapshot_every: Annotated[
        float,
        typer.Option(
            min=0, help="Seconds between recorded REST snapshots; 0: where a connection or a file begins."
        ),
    ] = 300.0,
    depth_stream: Annotated[
        str, typer.Option(help="Depth stream, by the venue's name; else its first.")
    ] = "",
    trade_stream: Annotated[str, typer.Option(help="Stream of trades, by the venue's name.")] = "",
    liquidations: Annotated[bool, typer.Option("--liquidations", help="Record liquidations too.")] = False,
    lines: Annotated[
        int,
        typer.Option(
            min=0,
            max=4,
            help="Connections of each stream: 2 lose nothing when one is cut. 0: 2, on loopback 1.",
        ),
    ] = 0,
    rotate: Annotated[
        float,
        typer.Option(
            min=0,
            help="Replace each connection, without a gap, after so many seconds; 0: before the venue does.",
        ),
    ] = 0.0,
    status: Annotated[
        bool, typer.Option("--status", help="Record what the venue says of itself and its instruments too.")
    ] = False,
    file_mb: Annotated[int, typer.Option(min=1, help="Compressed size after which a new file begins.")] = 256,
    file_minutes: Annotated[float, typer.Option(min=0.01, help="Age after which a new file begins.")] = 60.0,
    info: Annotated[
        list[Path] | None, typer.Option(help="Describe these captures instead; more files may follow.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Record raw frames with their receive times over connections of their own, until Ctrl-C or SIGTERM.

    Files are compressed in checksummed blocks; what a killed recorder had received is in the `.tail` beside
    the file. `ringlane replay` reads them.

    Exit code: 0 = recorded (or described) without loss; 1 = nothing came, lines were lost (disk full) or are
    damaged; 2 = a mistake in the arguments, or a venue or capture that can not be used.
    """
    try:
        if info:
            # The shell makes several words of captures/*.gz: those behind the first are files too.
            raise typer.Exit(_info([*info, *map(Path, symbols or [])], _only(venue), as_json=json))
        if not venue:
            raise typer.BadParameter("which venue? (--venue NAME)")
        wanted = split_by_venue(symbols or [], venue)
        sockets, requests = addresses(ws or [], venue, "--ws"), addresses(rest or [], venue, "--rest")
        _check_urls("--ws", sockets.values(), ("ws", "wss"))
        _check_urls("--rest", requests.values(), ("http", "https"))
        streams = StreamSettings(
            depth_stream, trade_stream, with_liquidations=liquidations, with_status=status
        )
        _check_streams(wanted, streams)
        group = RecorderGroup([
            RecorderSettings(
                name,
                chosen,
                out,
                websocket_url=sockets.get(name, ""),
                rest_url=requests.get(name, ""),
                ca_file=str(ca) if ca else None,
                streams=streams,
                snapshot_every_s=snapshot_every,
                lines=lines or default_lines(sockets.get(name) or get_adapter(name).websocket_url),
                rotate_s=rotate,
                writer=WriterSettings(file_bytes=file_mb << 20, file_ns=int(file_minutes * 60e9)),
            )
            for name, chosen in wanted.items()
        ])  # fmt: skip
        make_folder(out, "--out")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(_record(group, duration, as_json=json))
    except OSError as error:
        typer.echo(f"ringlane: error: {error.filename or ''}: {error.strerror}", err=True)
        raise typer.Exit(2) from None
    except FeedError as error:
        typer.echo(f"ringlane: error: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(orjson.dumps(found).decode() if json else _line(found))
    silent = {name: row for name, row in found["venues"].items() if not row["frames"]}
    for name, row in silent.items():
        why = row["last_error"] or "no frame came"
        typer.echo(f"ringlane: error: nothing was received of {name}: {why}", err=True)
    if found["end_error"]:
        typer.echo(f"ringlane: error: the last lines are lost: {found['end_error']}", err=True)
    raise typer.Exit(EXIT_LOST if found["dropped"] or found["end_error"] or silent else 0)


def _check_urls(option: str, urls: Iterable[str], schemes: tuple[str, str]) -> None:
    for url in urls:
        try:
            parts = urlsplit(url)
            is_address = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:  # no port, or no host, that there can be
            is_address = False
        if not is_address:
            raise typer.BadParameter(f"{option} {url}: expected {schemes[0]}://HOST or {schemes[1]}://HOST")


def _check_streams(venues: Iterable[str], streams: StreamSettings) -> None:
    for venue in venues:
        adapter = get_adapter(venue)
        for choose in (adapter.depth_stream_of, adapter.trade_stream_of):
            choose(streams)  # raises what the venue does not have, before it is asked for anything


def _only(venue: list[str] | None) -> str:
    if venue and len(venue) > 1:
        raise typer.BadParameter("--info takes one venue, or finds them by itself")
    return venue[0] if venue else ""


async def _record(recorder: RecorderGroup, duration: float | None, *, as_json: bool) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, recorder.stop)
    if duration is not None:
        loop.call_later(duration, recorder.stop)
    console = make_console(stderr=as_json)
    task = asyncio.create_task(recorder.run())
    if console.is_terminal:
        with Live(Text(""), console=console, transient=True, auto_refresh=False) as live:
            while not task.done():
                await asyncio.wait({task}, timeout=LIVE_S)
                live.update(Text(_line(recorder.statistics())), refresh=True)
    await task
    for text in recorder.odd():
        typer.echo(f"ringlane: warning: left out: {text}", err=True)
    return {**recorder.statistics(), "odd": recorder.odd()}


def _line(found: dict[str, Any]) -> str:
    """A line for each venue; its name stands in front where there are several."""
    venues = found.get("venues", {})
    rows = [(name if len(venues) > 1 else "", row) for name, row in venues.items()]
    return "\n".join(f"{name}: {_counts(row)}" if name else _counts(row) for name, row in rows)


def _counts(found: dict[str, Any]) -> str:
    lost = f", {found['dropped']} LOST" if found["dropped"] else ""
    error = f"; last error: {found['last_error']}" if found["last_error"] else ""
    packed = f"{found['packed_bytes'] / 1e6:.1f} MB packed"
    ratio = f"{found['raw_bytes'] / max(found['packed_bytes'], 1):.1f}×"
    return (
        f"{found['frames']} frames, {found['snapshots']} snapshots, {packed} ({ratio}){lost} "
        f"→ {found['file']}{error}"
    )


def _info(paths: list[Path], venue: str, *, as_json: bool) -> int:
    for path in paths:
        if path.is_dir():
            raise typer.BadParameter(f"--info {path}: is a folder; expected the files in it")
    found = describe(paths, venue)
    if as_json:
        typer.echo(orjson.dumps(found.as_dict()).decode())
    else:
        _show(found)
    return EXIT_DAMAGED if found.damage else 0


def _show(found: CaptureInfo) -> None:
    console = make_console()
    kinds = ", ".join(f"{count} {kind}" for kind, count in found.kinds.items())
    console.print(
        f"{found.lines} lines ({kinds}) on {found.connections} connections, "
        f"{found.bytes / 1e6:.1f} MB of text, {found.span_s:.1f} s",
        highlight=False,
    )
    for row in found.venues:
        console.print(
            f"{row.venue}: {row.frames} frames, {row.books} book updates, {row.trades} trades, "
            f"{row.rejected} rejected, {len(row.gaps)} gaps; "
            + ", ".join(f"{name} {state}" for name, state in sorted(row.symbols.items())),
            markup=False,
            highlight=False,
        )
        for gap in row.gaps[:SHOWN]:
            console.print(f"  gap: {gap}", markup=False, highlight=False)
    for text in found.damage[:SHOWN]:
        console.print(f"damaged: {text}", markup=False, highlight=False)
    if found.lost_lines:
        console.print(f"the recorder lost lines {found.lost_lines} times (full disk)")
