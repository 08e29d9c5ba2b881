"""Recording a venue's raw market data: own connections, own process, so that no engine pays for it.

The loop receives and stamps; a thread compresses and writes (zlib gives up the interpreter's lock), so a
block that is packed does not delay the stamp of the next frame. What the thread is behind by is bounded:
beyond that frames are dropped and counted, never silently.
"""

from __future__ import annotations

import asyncio
import queue
import random
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from picows import WSTransport

from actors.feed_lines import POLICY
from feeds.adapter import ConnectionPlan, HttpRequest, StreamSettings, VenueAdapter, join_answers
from feeds.capture import symbols_of
from feeds.capture_writer import CaptureWriter, WriterSettings
from feeds.core import LINES_MAX
from feeds.errors import CaptureError, TransportError, VenueError
from feeds.names import choose_traded
from feeds.transport.reconnect import ConnectGate
from feeds.transport.rest import RestClient
from feeds.transport.throttle import WindowBudget
from feeds.transport.tls import client_context
from feeds.transport.websocket import CallbackListener, FeedConnection
from feeds.venues import get_adapter
from feeds.venues.rows import OddRow
from shm.clock import now_ns
from shm.instruments import Instrument
from tools.recorder_lines import Handover, Place, RecordedLine, RecorderLines

FLUSH_S = 0.02
LOOK_S = 1.0
BACKLOG_BYTES_MAX = 64 << 20

Line = tuple[int, str, str, bytes, int]


@dataclass(frozen=True, slots=True)
class RecorderSettings:
    """What to record.

    Args:
        venue: adapter name.
        symbols: by the venue's names or canonical ones, or patterns, which mean what trades now.
        folder: where the files go; it must exist.
        websocket_url, rest_url: base addresses, "" = the venue's.
        ca_file: PEM file of a private authority.
        streams: which streams are subscribed.
        snapshot_every_s: how often each symbol's REST snapshot is recorded again, so that a replay of a later
            part can prove its books; 0 = only when a connection comes up or a file begins. Venues that send
            snapshots in the stream need none: where a file begins, the streams of books are begun anew.
        silence_s: a connection of books that brings no data for so long is made anew.
        lines: connections of each group of streams; with 2, what one loses the other has.
        rotate_s: a connection is replaced after at most so long; 0 = as the venue's limit asks.
        writer: sizes and times of the files.
    """

    venue: str
    symbols: tuple[str, ...]
    folder: Path
    websocket_url: str = ""
    rest_url: str = ""
    ca_file: str | None = None
    streams: StreamSettings = field(default_factory=StreamSettings)
    snapshot_every_s: float = 300.0
    silence_s: float = 120.0
    lines: int = 1
    rotate_s: float = 0.0
    writer: WriterSettings = field(default_factory=WriterSettings)

    def __post_init__(self) -> None:
        if not 1 <= self.lines < LINES_MAX:
            raise VenueError(f"{self.venue}: {self.lines} lines; 1 to {LINES_MAX - 1} can be recorded")


class AddressLimits:
    """What recorders of one process share: a venue's limits are those of an address, whoever asks there."""

    def __init__(self) -> None:
        self._gates: dict[str, ConnectGate] = {}
        self._budgets: dict[str, WindowBudget] = {}

    def gate(self, url: str, adapter: VenueAdapter) -> ConnectGate:
        """The gate of connections to an address."""
        gate = ConnectGate(adapter.connects_per_second, adapter.connect_burst)
        return self._gates.setdefault(urlsplit(url).netloc, gate)

    def budget(self, url: str, adapter: VenueAdapter) -> WindowBudget:
        """The budget of requests to an address."""
        return self._budgets.setdefault(urlsplit(url).netloc, adapter.rest_budget())


class WriterThread:
    """A capture writer in a thread of its own, fed in batches.

    Args:
        writer: used by the thread alone once it runs.
        backlog_bytes: how far the thread may be behind before lines are dropped.
    """

    def __init__(self, writer: CaptureWriter, backlog_bytes: int = BACKLOG_BYTES_MAX) -> None:
        self.writer = writer
        self._limit = backlog_bytes
        self._queue: queue.SimpleQueue[tuple[list[Line], int] | None] = queue.SimpleQueue()
        self._batch: list[Line] = []
        self._batch_bytes = 0
        self._given = self._taken = 0
        self.overflowed = 0
        self.error: CaptureError | OSError | None = None
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    def put(self, line: Line) -> None:
        """Hand over a line (with the next flush); counted in `overflowed` if the thread is too far behind."""
        size = len(line[3]) + 64
        if self._given + self._batch_bytes + size - self._taken > self._limit:
            self.overflowed += 1
            return
        self._batch.append(line)
        self._batch_bytes += size

    def flush(self) -> None:
        """Give what was put to the thread, and let it do what is due."""
        self._given += self._batch_bytes
        self._queue.put((self._batch, self._batch_bytes))
        self._batch, self._batch_bytes = [], 0

    def close(self) -> None:
        """End the files and the thread.

        Raises:
            CaptureError: the last block could not be written.
        """
        self.flush()
        self._queue.put(None)
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            while (item := self._queue.get()) is not None:
                lines, size = item
                for line in lines:
                    self.writer.write(*line)
                self._taken += size
                self.writer.on_timer(now_ns())
            self.writer.close()
        except (CaptureError, OSError) as error:  # raised in the main thread by close()
            self.error = error


class _Listener(CallbackListener):
    """Also says when its socket is lost."""

    def __init__(self, recorder: Recorder, line: list[RecordedLine]) -> None:
        super().__init__(
            lambda frame, frame_ns: recorder.on_frame(line[0], frame, frame_ns),
            on_open=lambda: recorder.on_open(line[0]),
        )
        self._lost: Callable[[], None] = lambda: recorder.on_lost(line[0])

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002
        self._lost()


class Recorder:
    """Records one venue until `stop`.

    Args:
        settings: what to record.
        limits: shared with other recorders.

    Raises:
        VenueError: an unknown venue.
        TransportError: a CA file that can not be used.
    """

    def __init__(self, settings: RecorderSettings, limits: AddressLimits | None = None) -> None:
        self.settings = settings
        limits = limits or AddressLimits()
        self.adapter: VenueAdapter = get_adapter(settings.venue)
        websocket = settings.websocket_url or self.adapter.websocket_url
        rest = settings.rest_url or self.adapter.rest_url
        tls = client_context(settings.ca_file) if f"{websocket}{rest}".count("s://") else None
        self._websocket, self._tls = websocket.rstrip("/"), tls
        self._rest = RestClient(
            rest,
            now_ns=now_ns,
            ssl_context=tls if rest.startswith("https") else None,
            budget=limits.budget(rest, self.adapter),
            used_weight_header=self.adapter.used_weight_header,
        )
        self._gate = limits.gate(websocket, self.adapter)
        self.lines: RecorderLines
        self.symbols: list[str] = []
        self.rows: list[Instrument] | None = None
        self.odd: list[OddRow] = []  # rows that patterns may mean and that are not as documented
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_ending = False
        self._connects = 0
        self.frames = 0
        self.snapshots = 0
        self.snapshot_failures = 0
        self.last_error = ""
        self.end_error = ""  # why the end of the last file is missing
        self.thread: WriterThread
        self._utc_offset_ns = time.time_ns() - now_ns()
        self._refresh = asyncio.Event()
        self._file_begun = asyncio.Event()
        self._stopping = asyncio.Event()

    # ---- life ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Record until `stop`; the files are ended when it returns.

        Raises:
            TransportError, VenueError: the venue's instrument data could not be had, or lacks a symbol.
            CaptureError: a file can not be made. A last block that finds no room is told by `end_error`.
        """
        try:
            rows = self.rows if self.rows is not None else await self.load()
            s, self.symbols = self.settings, symbols_of(rows)
            self.thread = WriterThread(
                CaptureWriter(s.folder, s.venue, self.symbols, rows, settings=s.writer)
            )
            await self._record()
        finally:
            await self.close()

    async def load(self) -> list[Instrument]:
        """Ask the venue what the symbols mean; `run` does it where it was not done before.

        Raises:
            TransportError, VenueError: as `run`.
        """
        self.rows = await self._instruments()
        return self.rows

    async def close(self) -> None:
        """Give the address back; `run` does it."""
        await self._rest.close()

    @property
    def has_begun(self) -> bool:
        """Whether there is a file."""
        return hasattr(self, "lines")

    @property
    def connections(self) -> list[FeedConnection]:
        """Those that there are now."""
        return [line.connection for line in self.lines]

    def stop(self) -> None:
        """End the recording in order."""
        self._stopping.set()

    async def _instruments(self) -> list[Instrument]:
        bodies = []
        for first in self.adapter.instruments_requests():
            request: HttpRequest | None = first
            while request is not None:
                reply = await self._rest.send(request.method, request.path, request.weight)
                if not reply.is_ok:
                    raise TransportError(f"{self.settings.venue}: {request.path}: status {reply.status}")
                bodies.append(reply.body)
                request = self.adapter.next_page(request, reply.body)
        self.odd.clear()
        return choose_traded(self.adapter, join_answers(bodies), self.settings.symbols, self.odd.append)

    async def _record(self) -> None:
        adapter, settings = self.adapter, self.settings
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lines = RecorderLines(
            adapter.connections(self.symbols, settings.streams),
            lines=settings.lines,
            life_ns=round(settings.rotate_s * 1e9) or adapter.connection_life_ns,
            connect=self._connect,
            make_handover=self._handover,
        )
        ended = asyncio.create_task(self._stopping.wait())
        try:
            self.lines.open()
            for forever in (
                self._begin_books_forever(),
                self._flush_forever(),
                self._look_forever(),
                self._snapshots_forever(),
            ):
                self._spawn(forever)
            either: set[asyncio.Future[Any]] = {self._broken, ended}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._broken.done():
                self._broken.result()
        finally:
            self._is_ending = True
            ended.cancel()
            for line in self.lines:
                line.connection.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            try:
                await asyncio.to_thread(self.thread.close)
            except CaptureError as error:  # what was written before is whole, and is told as ever
                self.last_error = self.end_error = str(error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            error = None if task.cancelled() else task.exception()
            if error is not None and not self._is_ending and not self._broken.done():
                self._broken.set_exception(error)

        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(ended)

    # ---- frames -------------------------------------------------------------------------------

    def _connect(self, place: Place, channel: str) -> RecordedLine:
        url = self._websocket + place.plan.url_path
        made: list[RecordedLine] = []  # the line, once there is one: before any frame
        connection = FeedConnection(
            url,
            None,
            place.group,
            subscribe=place.plan.subscribe,
            random=random.random,
            ssl_context=self._tls if url.startswith("wss") else None,
            subscribe_per_second=self.adapter.subscribe_per_second,
            gate=self._gate,
            policy=POLICY,
            make_listener=lambda: _Listener(self, made),
        )
        made.append(RecordedLine(place, channel, connection, now_ns()))
        self._spawn(connection.run())
        return made[0]

    def _handover(self, plan: ConnectionPlan) -> Handover:
        decoder = self.adapter.configure(self.adapter.make_decoder(), self.settings.streams)
        return Handover(decoder, self.adapter.rule, len(plan.subscribe))

    def on_frame(self, line: RecordedLine, frame: bytes, frame_ns: int) -> None:
        """Record a frame."""
        self.frames += 1
        # An answer to a ping proves nothing.
        if line.place.plan.carries_depth and self.adapter.symbol_of_frame(frame):
            line.heard_ns = frame_ns
        self.lines.on_frame(line, frame)
        self.thread.put((frame_ns + self._utc_offset_ns, line.channel, "recv", frame, frame_ns))

    def on_open(self, line: RecordedLine) -> None:
        """Record that a line stands and what it sends; books that no other line carries need a snapshot."""
        self._connects += 1
        line.heard_ns = now_ns()
        self.lines.on_open(line)
        self._put(line.channel, "connect", line.connection.url.encode())
        for message in line.connection.subscribe:
            self._put(line.channel, "send", message)
        if line.place.plan.carries_depth and not self.lines.others(line):
            self._refresh.set()

    def on_lost(self, line: RecordedLine) -> None:
        """Record that nothing more comes over a line, unless the recording ends with it."""
        if not self._is_ending:
            self._put(line.channel, "connect", b"")

    def _put(self, channel: str, kind: str, payload: bytes) -> None:
        now = now_ns()
        self.thread.put((now + self._utc_offset_ns, channel, kind, payload, now))

    async def _flush_forever(self) -> None:
        file = self.thread.writer.path
        while True:
            if self.thread.writer.path != file:
                file = self.thread.writer.path
                self._file_begun.set()
            await asyncio.sleep(FLUSH_S)
            self._utc_offset_ns = time.time_ns() - now_ns()
            self.lines.on_timer(now_ns())
            self.thread.flush()
            if self.thread.error is not None:
                raise self.thread.error

    async def _look_forever(self) -> None:
        """Say the venue's own ping where we were quiet, and make anew what has fallen silent."""
        message, after_ns = self.adapter.ping, self.adapter.ping_after_ns
        silence_ns = round(self.settings.silence_s * 1e9)
        look_s = min(after_ns / 4e9, LOOK_S) if message else LOOK_S
        while True:
            await asyncio.sleep(look_s)
            oldest_ns = now_ns() - silence_ns
            for connection in self.connections:
                connection.ping(message, after_ns)
            for line in self.lines:
                is_silent = line.place.plan.carries_depth and line.heard_ns < oldest_ns
                if is_silent and line.connection.is_connected:
                    line.connection.reset(f"no data for {self.settings.silence_s:g} s")

    async def _begin_books_forever(self) -> None:
        """Let each file begin with whole books, so that it can be replayed without those before it."""
        interval_s = 1.0 / self.adapter.subscribe_per_second
        while True:
            await self._file_begun.wait()
            self._file_begun.clear()
            if self.adapter.needs_snapshot_requests:
                self._refresh.set()
                continue
            for line in self._bookkeepers():
                for message in line.place.plan.subscribe:
                    for one in (self.adapter.ending(message), message):
                        if line.connection.send(one):
                            self._put(line.channel, "send", one)
                        await asyncio.sleep(interval_s)

    def _bookkeepers(self) -> list[RecordedLine]:
        """One line of each group of books that stands: the others go on meanwhile."""
        found: dict[int, RecordedLine] = {}
        for line in self.lines:
            if line.place.plan.carries_depth and line.connection.is_connected:
                found.setdefault(line.place.group, line)
        return list(found.values())

    # ---- snapshots ----------------------------------------------------------------------------

    async def _snapshots_forever(self) -> None:
        if not self.adapter.needs_snapshot_requests:
            await asyncio.Event().wait()
        every_s = self.settings.snapshot_every_s
        while True:
            try:
                await asyncio.wait_for(self._refresh.wait(), every_s or None)
            except TimeoutError:
                pass
            self._refresh.clear()
            await asyncio.sleep(FLUSH_S)  # the first updates come before the snapshot that they join
            for symbol in self.symbols:
                await self._snapshot(symbol)

    async def _snapshot(self, symbol: str) -> None:
        depth = self.adapter.choose_depth(len(self.symbols))
        request = self.adapter.snapshot_request(symbol, depth.levels)
        try:
            reply = await self._rest.send(request.method, request.path, request.weight)
        except TransportError as error:
            self.snapshot_failures += 1
            self.last_error = str(error)
            return
        if not reply.is_ok:
            self.snapshot_failures += 1
            self.last_error = f"{request.path}: status {reply.status}"
            return
        self.snapshots += 1
        self._put(f"http:{request.path}", "http", reply.body)

    # ---- figures ------------------------------------------------------------------------------

    def statistics(self) -> dict[str, int | str]:
        """Counts so far."""
        writer = self.thread.writer
        return {
            "frames": self.frames,
            "snapshots": self.snapshots,
            "snapshot_failures": self.snapshot_failures,
            "lines": writer.lines,
            "dropped": writer.dropped + self.thread.overflowed,
            "connects": self._connects,
            "rotations": self.lines.rotations,
            "rotations_failed": self.lines.rotations_failed,
            "left_out": len(self.odd),
            "end_error": self.end_error,
            "last_error": self.last_error
            or writer.last_error
            or next((c.last_error for c in self.connections if c.last_error), ""),
            "raw_bytes": writer.raw_bytes,
            "packed_bytes": writer.packed_bytes,
            "file": str(writer.path),
        }
