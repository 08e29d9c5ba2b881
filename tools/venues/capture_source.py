"""A market source that plays recorded frames and keeps its own books: snapshots answer at any moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from feeds.capture import CaptureLine
from feeds.venues import ADAPTERS
from tools.venues.errors import CaptureFormatError, SettingsError
from tools.venues.fanout import Stream
from tools.venues.pacing import LatenessMeter
from tools.venues.protocol import Flush, MarketSource, VenueInstrument, VenueProtocol
from tools.venues.recording import CaptureCodec, Diff, Frame, Level, Snapshot, read_lines

BATCH_FRAMES = 256
LEVELS_MAX = 1_000_000
AT_END = ("stop", "loop", "exit")


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    """What to play: files, pace (0: as fast as the clients read), event times, and what to do at the end."""

    paths: tuple[Path, ...]
    speed: float = 1.0
    shift_times: bool = True
    at_end: str = "stop"


@dataclass(slots=True)
class _Decimals:
    price: int = 0
    quantity: int = 0

    def see(self, price: str, quantity: str) -> None:
        self.price = max(self.price, len(price.partition(".")[2]))
        self.quantity = max(self.quantity, len(quantity.partition(".")[2]))


@dataclass(slots=True)
class CaptureScan:
    """What a first pass over the files found."""

    streams: dict[str, int] = field(default_factory=dict)
    snapshots: dict[str, list[Snapshot]] = field(default_factory=dict)
    decimals: dict[str, _Decimals] = field(default_factory=dict)
    exchange_info: dict[str, bytes] = field(default_factory=dict)
    channels: dict[str, dict[str, int]] = field(default_factory=dict)
    first_recv_ns: int = 0
    first_event_ms: int = -1
    lines: int = 0
    malformed: int = 0


class RecordedBook:
    """The venue's own book of one stream, rebuilt from a recorded snapshot and the diffs.

    A whole book in the stream proves itself, and each later `previous` equals the last before. For others the
    rule is "How to manage a local order book correctly": drop `u < lastUpdateId`, begin with
    `U <= lastUpdateId <= u` (or `pu == lastUpdateId`), then each `pu` equals the previous `u`.
    """

    def __init__(self, snapshots: list[Snapshot]) -> None:
        self._waiting = list(snapshots)
        self._bids: dict[str, Level] = {}
        self._asks: dict[str, Level] = {}
        self._extra: Mapping[str, object] = {}
        self._last = 0
        self._seen = 0
        self._proven = False
        self.gaps = 0

    def on_diff(self, diff: Diff) -> None:
        """Apply one diff of the stream, in the order it is sent."""
        self._extra = diff.extra
        if diff.whole:
            self._bids = {level[0]: level for level in diff.bids}
            self._asks = {level[0]: level for level in diff.asks}
            self._last = self._seen = diff.last
            self._proven = True
            return
        if self._proven and diff.previous != self._last:
            self._proven = False
            self.gaps += 1
        self._seen = diff.last
        if not self._proven and not self._prove(diff):
            return
        self._last = diff.last
        for levels, side in ((diff.bids, self._bids), (diff.asks, self._asks)):
            for level in levels:
                if level[1].strip("0.") == "":
                    side.pop(level[0], None)
                else:
                    side[level[0]] = level

    def _prove(self, diff: Diff) -> bool:
        while self._waiting:
            update_id = self._waiting[0].update_id
            if diff.last < update_id:
                return False
            snapshot = self._waiting.pop(0)
            if diff.first <= update_id <= diff.last or diff.previous == update_id:
                self._bids = {level[0]: level for level in snapshot.bids}
                self._asks = {level[0]: level for level in snapshot.asks}
                self._proven = True
                return True
        return False

    @property
    def is_proven(self) -> bool:
        """Whether the state after the last diff is known."""
        return self._proven

    def snapshot(self, limit: int) -> Snapshot | None:
        """Return the state after the last diff sent.

        Before the stream reaches a recorded snapshot the answer is that snapshot, which lies a little in the
        future: a
        client buffers diffs until they reach it, as with the real venue. None when no recorded snapshot is
        left.
        """
        if self._proven:
            bids = sorted(self._bids.values(), key=lambda level: -Decimal(level[0]))
            asks = sorted(self._asks.values(), key=lambda level: Decimal(level[0]))
            return Snapshot(self._last, bids[:limit], asks[:limit], self._extra)
        for waiting in self._waiting:
            if waiting.update_id >= self._seen:
                return Snapshot(waiting.update_id, waiting.bids[:limit], waiting.asks[:limit])
        return None


def scan_capture(lines: Iterable[CaptureLine], codec: CaptureCodec) -> CaptureScan:
    """Read a capture once: symbols, streams, snapshots, decimals; CaptureFormatError for a senseless line."""
    scan = CaptureScan()
    for line in lines:
        scan.lines += 1
        scan.first_recv_ns = scan.first_recv_ns or line.recv_ns
        if line.kind == "http":
            _scan_http(scan, codec, line)
        elif line.kind == "connect":
            codec.on_connect((line.file, line.channel), line.payload.decode("utf-8", "replace"))
        elif line.kind == "ws":
            _scan_frame(scan, codec, line)
    if not scan.streams:
        raise CaptureFormatError("the capture holds no frame of this venue")
    return scan


def _scan_http(scan: CaptureScan, codec: CaptureCodec, line: CaptureLine) -> None:
    kind = codec.http(line.path)
    if kind == "snapshot":
        snapshots = scan.snapshots.setdefault(codec.snapshot_symbol(line.path), [])
        try:
            snapshots.append(codec.snapshot(line.payload))
        except ValueError as error:
            raise CaptureFormatError(f"{line.file}:{line.line}: {error}") from None
    elif kind == "instruments":
        scan.exchange_info[codec.category_of(line.path)] = line.payload


def _scan_frame(scan: CaptureScan, codec: CaptureCodec, line: CaptureLine) -> None:
    frame = codec.frame(line.payload, (line.file, line.channel))
    if frame is None:
        return
    scan.streams[frame.stream] = scan.streams.get(frame.stream, 0) + 1
    seen = scan.channels.setdefault(frame.stream, {})
    seen[line.channel] = seen.get(line.channel, 0) + 1
    symbol = codec.symbol_of(frame.stream)
    if not symbol:
        return
    if symbol not in scan.decimals:
        scan.decimals[symbol] = _Decimals()
    see = scan.decimals[symbol].see
    try:
        for price, quantity in codec.prices(line.payload):
            see(price, quantity)
    except (ValueError, TypeError, KeyError, AttributeError):
        # what the venue sent is sent again as it was; judging frames is the client's work
        scan.malformed += 1
    if scan.first_event_ms < 0:
        scan.first_event_ms = codec.event_ms(line.payload, frame.start)


class CaptureSource(MarketSource):
    """Plays the recorded bytes of subscribed streams at the recorded pace, N times it, or as clients read."""

    def __init__(self, settings: CaptureSettings, protocol: VenueProtocol) -> None:
        if not settings.paths:
            raise SettingsError("no capture file was named")
        if settings.at_end not in AT_END:
            raise SettingsError(f"at the end a capture can {', '.join(AT_END)}, not {settings.at_end!r}")
        self._settings = settings
        self._codec = protocol.capture_codec()
        self._protocol = protocol
        self.scan = scan_capture(self._lines(), self._codec)
        self.symbols = tuple(sorted(self.scan.decimals))
        self.streams = {}
        for name in self.scan.streams:
            stream = protocol.make_stream(name)
            if stream is not None:
                self.streams[name] = stream
        self._silent: dict[str, Stream] = {}
        # a capture may hold one stream of several connections: the one with most frames is played
        self._channels = {
            name: max(seen, key=lambda channel: seen[channel]) for name, seen in self.scan.channels.items()
        }
        self._books: dict[str, RecordedBook] = {}
        self._book_of: dict[str, str] = {}
        self._held: dict[str, bytes] = {}
        self._reset_books()
        self._delta_ms = self._shift()
        self._event_ms = self.scan.first_event_ms
        self.lateness = LatenessMeter()
        #: Called with (stream, recorded frame) of what is played, and behind each batch of it.
        self.on_frame: Callable[[str, bytes], None] | None = None
        self.on_batch: Callable[[], bool] | None = None
        self.rounds = 0
        self.ended = False
        self._counts = {
            "frames_played": 0,
            "frames_without_stream": 0,
            "frames_of_other_connections": 0,
            "times_not_shifted": 0,
            "book_gaps": 0,
        }

    def _shift(self) -> int:
        if not self._settings.shift_times or self.scan.first_event_ms < 0:
            return 0
        return time.time_ns() // 1_000_000 - self.scan.first_event_ms

    def _lines(self) -> Iterator[CaptureLine]:
        name = self._protocol.name
        return read_lines(self._settings.paths, name if name in ADAPTERS else None)

    def _reset_books(self) -> None:
        # a stream that begins with a whole book has a book of its own; else one depth stream per symbol feeds
        # the book: another speed of the same book has its own chain
        self._books = {}
        self._held = {}
        for symbol in self.symbols:
            names = [name for name in self._codec.book_streams(symbol) if name in self.streams]
            self._book_of[symbol] = names[0] if names else symbol
            for name in names if self._codec.has_whole_books else [self._book_of[symbol]]:
                self._books[name] = RecordedBook(self.scan.snapshots.get(symbol, []))
            self._books.setdefault(self._book_of[symbol], RecordedBook([]))

    def welcome(self, name: str) -> bytes | None:
        """Return the whole book, or whatever is whole, at this moment of a stream that begins so."""
        book = self._books.get(name)
        if book is not None:
            state = book.snapshot(LEVELS_MAX) if book.is_proven else None
            return None if state is None else self._codec.welcome(name, state, self.now_ms())
        held = self._held.get(name)
        return held and (self._codec.shift(held, 0, self._delta_ms) if self._delta_ms else held)

    def resolve(self, name: str) -> Stream | None:
        """Return the recorded stream; else one with the same information; else one that stays silent."""
        found = self.streams.get(name) or self._silent.get(name)
        if found is not None:
            return found
        stream = self._protocol.make_stream(name)
        if stream is None or self._protocol.symbol_of(name) not in self.symbols:
            return None
        for other in self._codec.substitutes(name):
            if other in self.streams:
                return self.streams[other]
        return self._silent.setdefault(name, stream)

    def snapshot(self, symbol: str, limit: int) -> bytes | None:
        """Return the book at this moment of the stream; before the first recorded snapshot, that snapshot."""
        state = self._books[self._book_of[symbol]].snapshot(limit)
        return None if state is None else self._codec.encode_snapshot(symbol, state, self.now_ms())

    def exchange_info(self, category: str = "") -> bytes | None:
        """Return the recorded reference data, if the capture has any."""
        return self.scan.exchange_info.get(category)

    def instruments(self) -> list[VenueInstrument]:
        """Return instruments whose tick and lot are one unit of the last decimal seen."""
        seen = self.scan.decimals
        return [self._codec.instrument(key, seen[key].price, seen[key].quantity) for key in self.symbols]

    def now_ms(self) -> int:
        """Return the time of the last event sent, as clients see it."""
        return self._event_ms + self._delta_ms

    def clock_ms(self) -> int:
        """Return our clock where events are moved to now, else the time of the last one sent."""
        is_now = self._settings.shift_times and self._settings.speed == 1
        return time.time_ns() // 1_000_000 if is_now else self.now_ms()

    async def play(self, flush: Flush) -> None:
        """Publish the capture until it ends; CaptureFormatError when a file was damaged meanwhile."""
        while True:
            self.rounds += 1
            self._delta_ms = self._shift()
            if self._settings.speed > 0:
                await self._play_paced(flush, self._settings.speed)
            else:
                await self._play_fast(flush)
            if self._settings.at_end != "loop":
                self.ended = True
                return
            # A snapshot asked for before the restart is over must not be one of the old numbers.
            self._reset_books()
            await flush.restart("maintenance: the recording starts again")

    async def _play_paced(self, flush: Flush, speed: float) -> None:
        start_ns = time.monotonic_ns()
        first_ns = self.scan.first_recv_ns
        pending = 0
        for line, frame in self._frames():
            due_ns = start_ns + int((line.recv_ns - first_ns) / speed)
            now_ns = time.monotonic_ns()
            if due_ns > now_ns:
                self._send(flush)
                pending = 0
                await asyncio.sleep((due_ns - now_ns) / 1e9)
                now_ns = time.monotonic_ns()
            elif pending >= BATCH_FRAMES:
                self._send(flush)
                pending = 0
                await asyncio.sleep(0)
            self.lateness.record(now_ns - due_ns)
            self._publish(line, frame)
            pending += 1
        self._send(flush)

    async def _play_fast(self, flush: Flush) -> None:
        pending = 0
        for line, frame in self._frames():
            self._publish(line, frame)
            pending += 1
            if pending >= BATCH_FRAMES:
                pending = 0
                self._send(flush)
                await asyncio.sleep(0)
                await flush.wait_writable()
        self._send(flush)

    def _send(self, flush: Flush) -> None:
        if self.on_batch is not None:
            self.on_batch()
        flush.send()

    def _frames(self) -> Iterator[tuple[CaptureLine, Frame]]:
        for line in self._lines():
            if line.kind != "ws":
                continue
            frame = self._codec.frame(line.payload, (line.file, line.channel))
            if frame is None or frame.stream not in self.streams:
                self._counts["frames_without_stream"] += 1
            elif line.channel != self._channels[frame.stream]:
                self._counts["frames_of_other_connections"] += 1
            else:
                yield line, frame

    def _publish(self, line: CaptureLine, frame: Frame) -> None:
        payload = line.payload
        self._counts["frames_played"] += 1
        event_ms = self._codec.event_ms(payload, frame.start)
        if event_ms >= 0:
            self._event_ms = event_ms
        stream = self.streams[frame.stream]
        if stream.subscribers:
            if self._delta_ms:
                shifted = self._codec.shift(payload, frame.start, self._delta_ms)
                if shifted is None:
                    self._counts["times_not_shifted"] += 1
                else:
                    payload = shifted
            stream.publish_recorded(payload, frame.start, frame.end)
        book = self._books.get(frame.stream)
        if book is None:
            try:
                held = self._codec.remember(frame.stream, self._held.get(frame.stream), line.payload)
            except (ValueError, KeyError, TypeError):
                # sent as it was recorded; what it would have changed stays as it is
                return
            if held is not None:
                self._held[frame.stream] = held
        else:
            try:
                change = self._codec.diff(line.payload)
            except ValueError:
                # the next whole diff will not chain: the book is unproven from there, as for every client
                return
            book.on_diff(change)
        if self.on_frame is not None:
            self.on_frame(frame.stream, line.payload)

    def book_of(self, symbol: str) -> tuple[str, Snapshot | None]:
        """Return the stream of an instrument's book, and that book now; None while it is not proven."""
        name = self._book_of[symbol]
        book = self._books[name]
        return name, book.snapshot(LEVELS_MAX) if book.is_proven else None

    def statistics(self) -> dict[str, object]:
        """Return frames played, rounds, gaps of the recording and lateness."""
        self._counts["book_gaps"] = sum(book.gaps for book in self._books.values())
        return {
            "source": "capture",
            **self._counts,
            "frames_malformed": self.scan.malformed,
            "rounds": self.rounds,
            "ended": self.ended,
            **self.lateness.statistics(),
        }
