"""One feed worker of `bench feed`, alone: websockets, session, core, slab and ring, without an engine.

Run as a module it is such a process: `python -P -m tools.bench.feed_worker VENUE WS_URL REST_URL CORE
SECONDS`. It prints one JSON object when it has measured for so long after every book was LIVE, or, where
nothing came in that time, until something did.
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import sys
import time
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import orjson
import uvloop

from feeds.adapter import ConnectionPlan, StreamSettings, VenueAdapter, join_answers
from feeds.core import FeedCore
from feeds.resync import snapshot_budget
from feeds.session import FeedSession
from feeds.settings import SessionSettings
from feeds.transport.rest import RestClient
from feeds.transport.websocket import FeedConnection, FeedListener
from feeds.venues import get_adapter
from shm.book import BookSlab
from shm.clock import now_ns
from shm.enums import BookState
from shm.instruments import Instrument
from shm.ring import BroadcastRing, Publisher
from tools.venues.bench_shapes import SHAPES

CAPACITY = 65536
RECORD_BYTES = 128
DEPTH = 32
TIMER_S = 0.05
PROOF_S = 30.0
PRIORITY = 2


class NotProven(RuntimeError):
    """The books did not become LIVE in time."""


class FeedWorker:
    """The depth streams of one venue's instruments.

    Args:
        adapter: the venue.
        websocket_url, rest_url: where it is.
        lines: connections that carry the same streams, merged.
    """

    def __init__(self, adapter: VenueAdapter, websocket_url: str, rest_url: str, lines: int = 1) -> None:
        self.adapter = adapter
        self.lines = lines
        self.websocket_url = websocket_url
        self.rest = RestClient(rest_url, now_ns=now_ns)
        self.core: FeedCore
        self.session: FeedSession
        self.connections: list[FeedConnection] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def read_instruments(self) -> list[Instrument]:
        """Ask the venue for all it trades."""
        bodies = []
        for first in self.adapter.instruments_requests():
            request = first
            while True:
                reply = await self.rest.send("GET", request.path)
                bodies.append(reply.body)
                following = self.adapter.next_page(request, reply.body)
                if following is None:
                    break
                request = following
        rows = self.adapter.parse_instruments(join_answers(bodies), None)
        return [replace(row, instrument_id=i, priority=PRIORITY) for i, row in enumerate(rows)]

    async def start(self) -> None:
        """Make core and session, and open the connections that carry depth."""
        adapter, rows = self.adapter, await self.read_instruments()
        settings = StreamSettings(SHAPES[adapter.name].fastest, with_bbo=False, with_mark=False)
        symbols = [row.symbol for row in rows]
        plans = [plan for plan in adapter.connections(symbols, settings) if plan.carries_depth]
        count = len(rows)
        slab = BookSlab.create(
            bytearray(BookSlab.bytes_needed(DEPTH, count, len(plans))), DEPTH, count, len(plans), 0
        )
        room = bytearray(BroadcastRing.bytes_needed(CAPACITY, RECORD_BYTES))
        ring = BroadcastRing.create(room, CAPACITY, RECORD_BYTES)
        decoder = adapter.configure(adapter.make_decoder(), settings)
        self.core = FeedCore(decoder, int(adapter.rule), slab, {PRIORITY: Publisher(ring, None)}, 1)
        stream_of = {symbol: number for number, plan in enumerate(plans) for symbol in plan.symbols}
        for row in rows:
            self.core.add_instrument(row, stream_of[row.symbol])
        weight = adapter.choose_depth(count).weight
        tokens, per_second = snapshot_budget(adapter.snapshot_weight_per_minute, weight)
        self.rows = rows
        self.session = FeedSession(
            adapter, self.core, rows, now_ns=now_ns, request_snapshot=self._request,
            settings=SessionSettings(
                resync_tokens=tokens, resync_per_second=per_second, connections=len(plans) * self.lines
            ),
        )  # fmt: skip
        for line in range(self.lines):
            for stream, plan in enumerate(plans):
                self._open(plan, stream, line * len(plans) + stream)
        self._spawn(self._run_timer())

    def _open(self, plan: ConnectionPlan, stream: int, number: int) -> None:
        """Open one connection of a stream."""
        if self.lines > 1:
            self.session.add_line(number, stream)
        connection = FeedConnection(
            self.websocket_url + plan.url_path, self.session, number, subscribe=plan.subscribe,
            random=random.Random(number).random, subscribe_per_second=self.adapter.subscribe_per_second,
            make_listener=lambda: self.make_listener(number),
        )  # fmt: skip
        self.connections.append(connection)
        self._spawn(connection.run())

    def make_listener(self, number: int) -> FeedListener:
        """The listener of each new socket of a connection."""
        return FeedListener(self.session, number)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _request(self, instrument_id: int) -> None:
        self._spawn(self._fetch(instrument_id))

    async def _fetch(self, instrument_id: int) -> None:
        levels = self.adapter.choose_depth(len(self.rows)).levels
        request = self.adapter.snapshot_request(self.rows[instrument_id].symbol, levels)
        reply = await self.rest.send("GET", request.path, request.weight)
        if reply.is_ok:
            self.session.on_snapshot(instrument_id, reply.body, now_ns())
        else:
            self.session.on_snapshot_failed(instrument_id, f"status {reply.status}", now_ns())

    async def _run_timer(self) -> None:
        while True:
            await asyncio.sleep(TIMER_S)
            self.session.on_timer(now_ns())

    async def until_live(self) -> None:
        """Wait until every book is LIVE.

        Raises:
            NotProven: that took too long; the text says what the session counted.
        """
        end = time.monotonic() + PROOF_S
        while not all(state is BookState.LIVE for state in self.session.states().values()):
            if time.monotonic() > end:
                states = [state.name for state in self.session.states().values()]
                counts = {name: states.count(name) for name in set(states)}
                raise NotProven(f"books {counts} after {PROOF_S:g} s; {self.session.statistics()}")
            await asyncio.sleep(TIMER_S)

    def close(self) -> None:
        """Close connections and stop the timer."""
        for connection in self.connections:
            connection.close()
        for task in self._tasks:
            task.cancel()


async def measure(venue: str, websocket_url: str, rest_url: str, seconds: float) -> dict[str, object]:
    """What one feed worker took in `seconds`, and what that cost."""
    worker = FeedWorker(get_adapter(venue), websocket_url, rest_url)
    await worker.start()
    try:
        await worker.until_live()
        before, cpu_s, wall_s = worker.core.statistics(), time.process_time(), time.perf_counter()
        await asyncio.sleep(seconds)
        while True:
            after, session = worker.core.statistics(), worker.session.statistics()
            if after["books"] > before["books"] or session["disconnects"]:
                break
            await asyncio.sleep(TIMER_S)
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    finally:
        worker.close()
    books = [worker.core.book_bytes(row.instrument_id) for row in worker.rows]
    return {
        "instruments": len(worker.rows),
        "connections": len(worker.connections),
        "messages": after["books"] - before["books"],
        "frames": after["frames"] - before["frames"],
        "seconds": wall_s,
        "cpu_s": cpu_s,
        "rss_bytes_max": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "book_bytes_max": max(books),
        "lost": session["gaps"] + after["rejected"] + after["crossed"] + session["disconnects"],
    }


def main(arguments: list[str]) -> None:
    """Entry of the process."""
    venue, websocket_url, rest_url, core, seconds = arguments
    os.sched_setaffinity(0, {int(core)})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(measure(venue, websocket_url, rest_url, float(seconds)))
    sys.stdout.write(orjson.dumps(found).decode() + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
