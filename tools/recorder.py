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
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from feeds.adapter import HttpRequest, StreamSettings, VenueAdapter, join_answers
from feeds.capture import symbols_of
from feeds.capture_writer import CaptureWriter, WriterSettings
from feeds.errors import CaptureError, TransportError, VenueError
from feeds.names import choose_traded
from feeds.transport.reconnect import ConnectGate
from feeds.transport.rest import RestClient
from feeds.transport.tls import client_context
from feeds.transport.websocket import CallbackListener, FeedConnection
from feeds.venues import get_adapter
from shm.clock import now_ns
from shm.instruments import Instrument

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
    writer: WriterSettings = field(default_factory=WriterSettings)


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


class Recorder:
    """Records one venue until `stop`.

    Args:
        settings: what to record.

    Raises:
        VenueError: an unknown venue.
        TransportError: a CA file that can not be used.
    """

    def __init__(self, settings: RecorderSettings) -> None:
        self.settings = settings
        self.adapter: VenueAdapter = get_adapter(settings.venue)
        websocket = settings.websocket_url or self.adapter.websocket_url
        rest = settings.rest_url or self.adapter.rest_url
        tls = client_context(settings.ca_file) if f"{websocket}{rest}".count("s://") else None
        self._websocket, self._tls = websocket.rstrip("/"), tls
        self._rest = RestClient(
            rest,
            now_ns=now_ns,
            ssl_context=tls if rest.startswith("https") else None,
            budget=self.adapter.rest_budget(),
            used_weight_header=self.adapter.used_weight_header,
        )
        self._gate = ConnectGate(self.adapter.connects_per_second, self.adapter.connect_burst)
        self.connections: list[FeedConnection] = []
        self.symbols: list[str] = []
        #: What begins the book streams of a connection.
        self._books: list[tuple[FeedConnection, str, tuple[bytes, ...]]] = []
        #: When each of these connections last brought data.
        self._heard_ns: dict[str, int] = {}
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
            rows = await self._instruments()
            s, self.symbols = self.settings, symbols_of(rows)
            self.thread = WriterThread(
                CaptureWriter(s.folder, s.venue, self.symbols, rows, settings=s.writer)
            )
            await self._record()
        finally:
            await self._rest.close()

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
        return choose_traded(self.adapter, join_answers(bodies), self.settings.symbols)

    async def _record(self) -> None:
        tasks: set[asyncio.Task[None]] = set()
        try:
            for number, plan in enumerate(self.adapter.connections(self.symbols, self.settings.streams)):
                connection = self._connection(number, plan.url_path, plan.subscribe)
                if plan.carries_depth:
                    self._heard_ns[str(number)] = now_ns()
                    self._books.append((connection, str(number), plan.subscribe))
                tasks.add(asyncio.create_task(connection.run()))
            tasks.add(asyncio.create_task(self._begin_books_forever()))
            tasks.add(asyncio.create_task(self._flush_forever()))
            tasks.add(asyncio.create_task(self._look_forever()))
            tasks.add(asyncio.create_task(self._snapshots_forever()))
            ended = asyncio.create_task(self._stopping.wait())
            done, _ = await asyncio.wait({*tasks, ended}, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            for task in done - {ended}:
                task.result()  # none of them ends by itself but by an error
        finally:
            for connection in self.connections:
                connection.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            try:
                await asyncio.to_thread(self.thread.close)
            except CaptureError as error:  # what was written before is whole, and is told as ever
                self.last_error = self.end_error = str(error)

    # ---- frames -------------------------------------------------------------------------------

    def _connection(self, number: int, path: str, subscribe: Sequence[bytes]) -> FeedConnection:
        channel, url = str(number), self._websocket + path
        symbol_of = self.adapter.symbol_of_frame

        def on_frame(frame: bytes, frame_ns: int) -> None:
            self.frames += 1
            if channel in self._heard_ns and symbol_of(frame):  # an answer to a ping proves nothing
                self._heard_ns[channel] = frame_ns
            self.thread.put((frame_ns + self._utc_offset_ns, channel, "recv", frame, frame_ns))

        def on_open() -> None:
            if channel in self._heard_ns:
                self._heard_ns[channel] = now_ns()
            self._put(channel, "connect", url.encode())
            for message in subscribe:
                self._put(channel, "send", message)
            self._refresh.set()

        connection = FeedConnection(
            url,
            None,
            number,
            subscribe=subscribe,
            random=random.random,
            ssl_context=self._tls if url.startswith("wss") else None,
            subscribe_per_second=self.adapter.subscribe_per_second,
            gate=self._gate,
            make_listener=lambda: CallbackListener(on_frame, on_open=on_open),
        )
        self.connections.append(connection)
        return connection

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
            for connection, channel, _ in self._books:
                if connection.is_connected and self._heard_ns[channel] < oldest_ns:
                    connection.reset(f"no data for {self.settings.silence_s:g} s")

    async def _begin_books_forever(self) -> None:
        """Let each file begin with whole books, so that it can be replayed without those before it."""
        interval_s = 1.0 / self.adapter.subscribe_per_second
        while True:
            await self._file_begun.wait()
            self._file_begun.clear()
            if self.adapter.needs_snapshot_requests:
                self._refresh.set()
                continue
            for connection, channel, subscribe in self._books:
                for message in subscribe:
                    for one in (self.adapter.ending(message), message):
                        if connection.send(one):
                            self._put(channel, "send", one)
                        await asyncio.sleep(interval_s)

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
            "connects": sum(connection.connects for connection in self.connections),
            "end_error": self.end_error,
            "last_error": self.last_error
            or writer.last_error
            or next((c.last_error for c in self.connections if c.last_error), ""),
            "raw_bytes": writer.raw_bytes,
            "packed_bytes": writer.packed_bytes,
            "file": str(writer.path),
        }


def check_symbols(symbols: Sequence[str]) -> tuple[str, ...]:
    """Symbols as given, without repetition; VenueError if there is none."""
    unique = tuple(dict.fromkeys(symbols))
    if not unique:
        raise VenueError("no symbol given")
    return unique
