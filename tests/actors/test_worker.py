"""The live worker in one process: woken by its bell, told by its link, gone with its supervisor."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import weakref
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

import orjson
import pytest
import uvloop

from actors.runtime.actor import Actor
from actors.runtime.context import Context
from actors.runtime.segments import Sizes, create_segments, plan_segments
from actors.runtime.spec import ActorSpec, FeedRef, WorkerSpec, market_name
from actors.runtime.worker import (
    CANCEL_LIMIT_S,
    EXIT_FAULT,
    EXIT_OK,
    EXIT_SUPERVISOR_GONE,
    LiveWorker,
)
from shm.control import Control
from shm.doorbell import BellSet
from shm.enums import RecordKind
from shm.instruments import Instrument, InstrumentTable
from shm.metrics import Metrics
from shm.records import MarketRecord
from shm.ring import BroadcastRing, Publisher
from shm.segment import AnonymousSegments

SLOT, FEED = 2, 1
#: A signal that strikes inside a task ends that task and nobody else: a thread ends a test that hangs.
pytestmark = pytest.mark.timeout(120, method="thread")


class Listener(Actor):
    """Sets an event for each trade; raises, if told, at a price."""

    made: ClassVar[list[Listener]] = []

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        self.prices: list[int] = []
        self.got = asyncio.Event()
        self.stopped = False
        self.config: list[tuple[dict[str, Any], int]] = []
        self.timer_ns = 0
        type(self).made.append(self)

    def subscriptions(self) -> list[int]:
        return [0]

    def on_start(self, *_: Any) -> None:
        begin = self.context.now_ns()

        def due() -> None:
            self.timer_ns = self.context.now_ns() - begin

        self.context.call_later(300_000, due)

    def on_trade(self, record: MarketRecord) -> None:
        self.prices.append(record.price_units)
        self.got.set()
        if record.price_units == self.settings.get("bad"):
            raise RuntimeError("bad price")

    def on_config(self, settings: Mapping[str, Any], generation: int) -> None:
        super().on_config(settings, generation)
        self.config.append((dict(settings), generation))

    def on_stop(self) -> None:
        self.stopped = True


class Critical(Listener):
    """The same, but its worker can not live without it."""

    is_critical = True


class Bench:
    """Segments, bells and a link around one worker."""

    def __init__(self, actor: type[Actor] = Listener, settings: Mapping[str, Any] | None = None) -> None:
        self.ours, theirs = socket.socketpair()
        self.theirs = theirs
        self.spec = WorkerSpec(
            SLOT,
            "w",
            "w",
            actors=[ActorSpec(1, "listener", "listener", dict(settings or {}))],
            feeds=[FeedRef(FEED, [1])],
            link_fd=theirs.fileno(),
            heartbeat_ns=20_000_000,
            instrument_capacity=16,
        )
        self.segments = AnonymousSegments()
        feed = WorkerSpec(FEED, "f", "f", feeds=self.spec.feeds)
        sizes = Sizes(instruments=16, market_ring=64)
        self.made = create_segments(self.segments, plan_segments([feed, self.spec], sizes, epoch=1))
        self.control = Control.attach(self.made["control"].payload)
        self.bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.slot = self.control.slot(SLOT)
        self.slot.bell_fd = self.bell
        table = InstrumentTable.attach(self.made["instruments"].payload)
        table.add(
            Instrument(venue_id=1, symbol="A", price_exponent=2, quantity_exponent=3, slab=FEED, priority=1)
        )
        ring = BroadcastRing.attach(self.made[market_name(FEED, 1)].payload)
        self.publisher = Publisher(ring, BellSet(self.made["control"].payload))
        self.worker = LiveWorker(self.spec, self.segments, lambda role, context, given: actor(context, given))
        self.metrics = Metrics.attach(self.made[f"metrics.{SLOT}"].payload)
        Listener.made.clear()

    @property
    def listener(self) -> Listener:
        return Listener.made[-1]

    def publish(self, price: int) -> None:
        record = MarketRecord(kind=RecordKind.TRADE, instrument_id=0, value0=price, publish_ns=1)
        self.publisher.publish(record.to_bytes())

    async def message(self) -> dict[str, Any]:
        """The next line from the worker."""
        line: dict[str, Any] = orjson.loads(await self.reader.readline())
        return line

    def tell(self, **message: Any) -> None:
        self.writer.write(orjson.dumps(message) + b"\n")

    async def parked(self) -> None:
        while not self.slot.is_parked:
            await asyncio.sleep(0)

    async def got(self, price: int) -> None:
        while price not in self.listener.prices:
            self.listener.got.clear()
            await self.listener.got.wait()

    def run(self, story: Callable[[Bench], Awaitable[None]]) -> int:
        async def main() -> int:
            self.reader, self.writer = await asyncio.open_connection(sock=self.ours)
            work = asyncio.ensure_future(self.worker.run())
            await story(self)
            code = await work
            self.writer.close()
            return code

        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(main())
        finally:
            os.close(self.bell)
            self.theirs.close()


def test_a_record_whose_bell_was_lost_is_found_by_the_next_heartbeat() -> None:
    bench = Bench()

    async def story(bench: Bench) -> None:
        assert (await bench.message())["op"] == "ready"
        # A writer that died after its record and before the bell: no signal at all.
        record = MarketRecord(kind=RecordKind.TRADE, instrument_id=0, value0=5, publish_ns=1)
        Publisher(bench.publisher.ring).publish(record.to_bytes())
        await bench.got(5)
        bench.tell(op="stop", phase="exit")

    assert bench.run(story) == EXIT_OK


def test_ready_tells_what_the_machine_gave() -> None:
    bench = Bench()
    bench.spec.machine.facts = {"memory_locked": "held"}

    async def story(bench: Bench) -> None:
        assert (await bench.message())["machine"] == {"memory_locked": "held"}
        bench.tell(op="stop", phase="exit")

    assert bench.run(story) == EXIT_OK


def test_a_parked_worker_is_woken_and_stops_when_told() -> None:
    async def story(bench: Bench) -> None:
        ready = await bench.message()
        assert (ready["op"], ready["slot"], ready["incarnation"]) == ("ready", SLOT, 1)
        assert bench.slot.heartbeat_ns > 0
        assert bench.slot.generation == 1
        for price in (1, 2, 3):
            await bench.parked()
            bench.publish(price)
            assert not bench.slot.is_parked
            await bench.got(price)
        bench.tell(op="generation", number=2, actors={"1": {"bad": 7}})
        assert await bench.message() == {"op": "generation", "number": 2}
        assert bench.listener.config == [({"bad": 7}, 2)]
        assert bench.slot.generation == 2
        bench.tell(op="stop", phase="quoting")
        assert await bench.message() == {"op": "stopped", "phase": "quoting"}
        assert bench.listener.stopped
        bench.tell(op="stop", phase="orders")
        assert (await bench.message())["phase"] == "orders"
        bench.tell(op="stop", phase="exit")
        assert (await bench.message())["phase"] == "exit"

    bench = Bench()
    assert bench.run(story) == EXIT_OK
    assert bench.metrics.histograms()["loop_lag_ns"].count > 0
    assert bench.metrics.counters()["drain.records"] == 3


def test_nothing_is_lost_under_load() -> None:
    async def story(bench: Bench) -> None:
        await bench.message()
        for price in range(1, 2001):
            bench.publish(price)
            if price % 40 == 0:
                await asyncio.sleep(0)
        await bench.got(2000)
        assert bench.listener.prices == list(range(1, 2001))
        bench.tell(op="stop", phase="exit")

    assert Bench().run(story) == EXIT_OK


def test_timers_come_due_with_the_precision_of_the_kernel() -> None:
    async def story(bench: Bench) -> None:
        await bench.message()
        while not bench.listener.timer_ns:
            await asyncio.sleep(0)
        assert bench.listener.timer_ns >= 300_000
        bench.tell(op="stop", phase="exit")

    assert Bench().run(story) == EXIT_OK


def test_a_timer_that_ran_or_was_canceled_leaves_nothing_to_the_garbage_collector() -> None:
    class Due:
        def __init__(self) -> None:
            self.ran = asyncio.Event()

        def __call__(self) -> None:
            self.ran.set()

    async def story(bench: Bench) -> None:
        await bench.message()
        context, due, never = bench.listener.context, Due(), Due()
        ran, left = due.ran, [weakref.ref(due), weakref.ref(never)]
        gc.disable()
        try:
            context.call_later(0, due)
            timer = context.call_later(10**12, never)
            del due, never
            await ran.wait()
            timer.cancel()
            assert [ref() for ref in left] == [None, None]
        finally:
            gc.enable()
        bench.tell(op="stop", phase="exit")

    assert Bench().run(story) == EXIT_OK


def test_the_worker_goes_with_its_supervisor() -> None:
    async def story(bench: Bench) -> None:
        await bench.message()
        bench.writer.close()

    bench = Bench()
    assert bench.run(story) == EXIT_SUPERVISOR_GONE
    assert bench.listener.stopped


def test_a_raising_actor_is_reported_and_the_worker_lives() -> None:
    async def story(bench: Bench) -> None:
        await bench.message()
        bench.publish(5)
        message = await bench.message()
        assert (message["op"], message["state"]) == ("actor", "suspended")
        assert "bad price" in message["error"]
        assert (await bench.message())["state"] == "running"
        bench.publish(6)
        await bench.got(6)
        bench.tell(op="stop", phase="exit")

    assert Bench(settings={"bad": 5}).run(story) == EXIT_OK


def test_a_raising_infrastructure_actor_ends_the_worker() -> None:
    async def story(bench: Bench) -> None:
        await bench.message()
        bench.publish(5)
        message = await bench.message()
        assert message["op"] == "error"
        assert "bad price" in message["error"]

    bench = Bench(Critical, {"bad": 5})
    assert bench.run(story) == EXIT_FAULT
    assert any("bad price" in fault.text for fault in bench.metrics.faults())


class Broken(Listener):
    """Can not start."""

    is_critical = True

    def on_start(self, *_: Any) -> None:
        raise RuntimeError("no instruments")


def test_a_worker_that_can_not_start_says_why() -> None:
    async def story(bench: Bench) -> None:
        message = await bench.message()
        assert message["op"] == "error"
        assert "no instruments" in message["error"]

    assert Bench(Broken).run(story) == EXIT_FAULT


class Settler(Critical):
    """Notes by when everything must be settled."""

    left_ns: ClassVar[list[int]] = []

    def on_quiesce(self, deadline_ns: int) -> None:
        type(self).left_ns.append(deadline_ns - self.context.now_ns())


def test_a_stop_says_how_long_orders_may_take_to_settle_and_the_actor_is_told() -> None:
    async def story(bench: Bench) -> None:
        await bench.message()
        for told in ({"limit_s": 90.5}, {}):
            bench.tell(op="stop", phase="orders", **told)
            assert (await bench.message())["phase"] == "orders"
        bench.tell(op="stop", phase="exit")
        assert (await bench.message())["phase"] == "exit"

    Settler.left_ns.clear()
    assert Bench(Settler).run(story) == EXIT_OK
    with_limit, without = Settler.left_ns
    assert 60 * 10**9 < with_limit <= 90.5 * 10**9
    assert 0 < without <= CANCEL_LIMIT_S * 10**9
