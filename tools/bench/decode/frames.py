"""Where the messages of a benchmark come from: recordings, or a simulated venue where there are none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from feeds.adapter import VenueAdapter
from feeds.capture import capture_instruments, read_capture
from feeds.core import FrameResult
from feeds.errors import FeedError
from feeds.routing import CaptureRouter
from feeds.venues import ADAPTERS, get_adapter, get_adapters
from shm.instruments import Instrument
from tools.bench.decode.rig import CoreRig, Start, Workload
from tools.venues.bench_shapes import SHAPES, Recording
from tools.venues.fanout import Outbox
from tools.venues.run import VenueSettings, make_protocol
from tools.venues.synthetic_source import SyntheticSettings, SyntheticSource

SYNTHETIC_FRAMES = 4000
SYNTHETIC_INSTRUMENTS = 4
SNAPSHOT_LEVELS = 1000
PRIORITY = 2
STEP_NS = 1_000_000
RATE_PER_S = 500_000.0  # as fast as it will be read, so that times fit
TRANSIT_NS = 1_000_000
START_MS = 1_700_000_000_000


def workloads(data_dir: Path | None, venues: Sequence[str] = ()) -> Iterator[Workload]:
    """The messages of each venue, recorded where `data_dir` has a recording and else synthetic.

    Args:
        data_dir: folder that holds the venues' recordings in folders of their own; None = there is none.
        venues: names of adapters or families; empty = all.

    Raises:
        VenueError: a name is unknown.
    """
    names = [a.name for venue in venues for a in get_adapters(venue)] or list(ADAPTERS)
    for name in names:
        adapter = get_adapter(name)
        found = [
            (recording, path)
            for recording in SHAPES[name].recordings
            for path in (sorted(data_dir.glob(recording.pattern))[:1] if data_dir else ())
        ]
        for recording, path in found:
            yield recorded(adapter, path, recording)
        if not found:
            yield synthetic(adapter)


def numbered(rows: Iterable[Instrument]) -> list[Instrument]:
    """The rows with the numbers 0, 1, … and one priority."""
    return [replace(row, instrument_id=i, priority=PRIORITY) for i, row in enumerate(rows)]


def recorded(adapter: VenueAdapter, path: Path, recording: Recording) -> Workload:
    """The depth messages of one recording."""
    rows = numbered(capture_instruments(path, adapter))
    router = CaptureRouter([adapter])
    rewrite = recording.rewrite() if recording.rewrite else bytes
    bodies: dict[str, bytes] = {}
    frames = []
    for line in read_capture(path, adapter):
        route = router.route(line)
        if route is None or (recording.one_line and route.connection):
            continue
        if line.kind == "ws":
            frames.append(rewrite(line.payload))
        elif line.kind == "http" and (symbol := adapter.symbol_of_request(line.path)):
            bodies.setdefault(symbol, line.payload)
    name = f"{adapter.name} {recording.label}"
    source = f"recorded messages of {path.name}" + (f" ({recording.told})" if recording.told else "")
    return select(name, adapter, rows, frames, bodies, source)


def select(
    name: str,
    adapter: VenueAdapter,
    rows: Sequence[Instrument],
    frames: Iterable[bytes],
    bodies: dict[str, bytes],
    source: str,
) -> Workload:
    """What of these frames proven books apply, found by one pass.

    Instruments without a whole book or without an update behind it are left out.

    Raises:
        FeedError: nothing is left.
    """
    core = CoreRig(adapter, rows).core
    starts: dict[int, Start] = {}
    updates = []
    for frame in frames:
        if core.on_frame(frame, 1) != FrameResult.DEPTH_PENDING:
            continue
        number = core.instrument_id
        if adapter.needs_snapshot_requests:
            body = bodies.get(rows[number].symbol, b"")
            if number in starts:
                updates.append((number, frame))
            elif body and core.last_sequence >= core.load_snapshot(number, body, 1):
                starts[number] = Start(body, frame)
        elif not core.is_snapshot and number in starts:
            updates.append((number, frame))
        elif core.is_snapshot:
            starts.setdefault(number, Start(frame))
    kept = sorted({number for number, _ in updates})
    if not kept:
        raise FeedError(f"{source}: no depth messages of {adapter.name} with a book to begin from")
    renumbered = {number: i for i, number in enumerate(kept)}
    rig = CoreRig(adapter, numbered(rows[number] for number in kept))
    begin = [starts[number] for number in kept]
    rig.prove(begin)
    applied = [
        (renumbered[number], frame, rig.core.venue_utc_ns + TRANSIT_NS)
        for number, frame in updates
        if rig.core.on_frame(frame, 1) == FrameResult.APPLIED
    ]
    left_out = len(updates) - len(applied)
    told = f"{len(applied)} {source}, {len(kept)} instruments" + (
        f"; {left_out} not applied" if left_out else ""
    )
    return Workload(
        name,
        adapter,
        numbered(rows[number] for number in kept),
        begin,
        [frame for _, frame, _ in applied],
        [index for index, _, _ in applied],
        [stamp for _, _, stamp in applied],
        told,
    )


def synthetic(
    adapter: VenueAdapter, count: int = SYNTHETIC_FRAMES, instruments: int = SYNTHETIC_INSTRUMENTS
) -> Workload:
    """Messages as the simulated venue encodes them, from a seeded market."""
    shape = SHAPES[adapter.name]
    protocol = make_protocol(VenueSettings(name=adapter.name, every_change=True))
    source = SyntheticSource(SyntheticSettings(instruments, RATE_PER_S, 1, start_ms=START_MS), protocol)
    protocol.source = source
    # A venue that wraps messages with their stream's name is read wrapped.
    box = Outbox(any(stream.prefix for stream in source.streams.values()))
    rows, bodies = [], {}
    frames: list[bytes] = []
    for item in source.instruments():
        name = shape.stream(item.symbol)
        welcome = source.welcome(name)
        if welcome is not None:
            frames.append(bytes(welcome))
        bodies[item.symbol] = source.snapshot(item.key, SNAPSHOT_LEVELS) or b""
        stream = source.resolve(name)
        if stream is None:
            raise FeedError(f"the simulated venue {adapter.name} has no stream {name}")
        stream.add(box)
        units = [int(text.replace(".", "")) for text in (item.tick_text, item.lot_text)]
        rows.append(
            adapter.plain_instrument(item.symbol, item.price_decimals, item.quantity_decimals, *units)
        )
    until_ns = 0
    while box.frames < count:
        until_ns += STEP_NS
        source.market.advance(until_ns)
    frames += frames_of(box.take())
    return select(
        f"{adapter.name} synthetic",
        adapter,
        numbered(rows),
        frames,
        bodies,
        "SYNTHETIC messages of the simulated venue",
    )


def frames_of(data: bytes) -> list[bytes]:
    """Split finished websocket frames of a server (unmasked, whole messages) into their payloads."""
    found, at = [], 0
    while at < len(data):
        size, at = data[at + 1], at + 2
        if size == 126:
            size, at = int.from_bytes(data[at : at + 2], "big"), at + 2
        elif size == 127:
            size, at = int.from_bytes(data[at : at + 8], "big"), at + 8
        found.append(data[at : at + size])
        at += size
    return found
