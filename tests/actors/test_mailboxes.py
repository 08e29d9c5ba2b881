"""The drain: priority order, bounded work, conflation, isolation, certificates and the intent port."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.runtime.intents import Clock, IntentPort, Moment, OrderIds
from actors.runtime.mailboxes import (
    CallSource,
    IntentSource,
    Mailbox,
    MarketSource,
    ReportSource,
    Route,
)
from shm.enums import BookState, IntentKind, RecordKind, ReportKind, Side
from shm.metrics import Metrics
from shm.records import IntentRecord, MarketRecord, ReportRecord
from shm.ring import BroadcastRing, Publisher, Subscriber
from shm.spsc import Consumer, Producer, SpscRing

CAPACITY = 16


def broadcast(capacity: int = 1024) -> BroadcastRing:
    memory = bytearray(BroadcastRing.bytes_needed(capacity, 128))
    return BroadcastRing.create(memory, capacity, 128)


def spsc(capacity: int = 64) -> SpscRing:
    memory = bytearray(SpscRing.bytes_needed(capacity, 256))
    return SpscRing.create(memory, capacity, 256)


def market(kind: RecordKind, instrument_id: int, value: int, **more: int) -> bytes:
    common = {"epoch": 1, "live_id": 2, "last_sequence": value, "value0": value, "publish_ns": 1}
    return MarketRecord(kind=kind, instrument_id=instrument_id, **(common | more)).to_bytes()


@dataclass
class World:
    """A mailbox on a virtual clock that notes what it dispatches."""

    clock: Clock = field(default_factory=lambda: Clock(1000))
    seen: list[tuple[str, int, int]] = field(default_factory=list)
    errors: list[tuple[object, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.metrics = Metrics.create(bytearray(Metrics.bytes_needed()), 3)
        self.moment = Moment(self.clock, CAPACITY)
        self.mailbox = Mailbox(self.moment, self.metrics)
        self.mailbox.on_error = lambda route, error: self.errors.append((route.binding, str(error)))

    def listen(self, kind: RecordKind, instrument_id: int, name: str = "a", fails: bool = False) -> Route:
        def handler(record: MarketRecord) -> None:
            self.seen.append((name, record.instrument_id, record.value0))
            if fails:
                raise ValueError("broken")

        route = Route(handler, name, kind.name)
        route.active = True
        self.mailbox.add_route(kind, instrument_id, route)
        return route

    def source(self, ring: BroadcastRing, order: int = 10, **more: object) -> MarketSource:
        source = MarketSource(self.mailbox, Subscriber(ring), order, **more)  # type: ignore[arg-type]
        self.mailbox.add_source(source)
        return source


def test_rings_are_drained_in_priority_order() -> None:
    world = World()
    rings = {priority: broadcast() for priority in (3, 1, 2)}
    for priority, ring in rings.items():
        world.source(ring, 10 * priority)
        world.listen(RecordKind.TRADE, priority)
        Publisher(ring).publish(market(RecordKind.TRADE, priority, priority))
    assert world.mailbox.has_pending()
    assert world.mailbox.drain() == 3
    assert [i for _, i, _ in world.seen] == [1, 2, 3]
    assert not world.mailbox.has_pending()
    assert world.mailbox.cycles == 1


def test_work_per_ring_and_cycle_is_bounded() -> None:
    world = World()
    ring = broadcast()
    world.source(ring)
    world.listen(RecordKind.TRADE, 1)
    publisher = Publisher(ring)
    for value in range(10):
        publisher.publish(market(RecordKind.TRADE, 1, value))
    assert world.mailbox.drain(4) == 4
    assert len(world.seen) == 4
    assert world.mailbox.drain(256) == 6


KINDS = st.sampled_from(
    [RecordKind.BOOK, RecordKind.BBO, RecordKind.TRADE, RecordKind.STATUS, RecordKind.MARK]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(KINDS, st.integers(0, 2)), max_size=60), st.integers(1, 3))
def test_what_survives_conflation_keeps_the_order_of_the_ring(
    records: list[tuple[RecordKind, int]], cycle: int
) -> None:
    world = World()
    ring = broadcast()
    world.source(ring)
    for kind in (RecordKind.BOOK, RecordKind.BBO, RecordKind.TRADE, RecordKind.STATUS, RecordKind.MARK):
        for instrument_id in range(3):
            world.listen(kind, instrument_id)
    publisher = Publisher(ring)
    for value, (kind, instrument_id) in enumerate(records):
        publisher.publish(market(kind, instrument_id, value))
    expected = []
    batch_of = world.mailbox.policy.batch_min  # records without an age are young
    for start in range(0, len(records), batch_of):  # the naive twin, batch by batch
        batch = list(enumerate(records))[start : start + batch_of]
        for value, (kind, instrument_id) in batch:
            later = [r for v, r in batch if v > value]
            conflated = kind in (RecordKind.BOOK, RecordKind.BBO) and (kind, instrument_id) in later
            if not conflated:
                expected.append(("a", instrument_id, value))
    while world.mailbox.has_pending():
        world.mailbox.drain(cycle * batch_of)
    assert world.seen == expected
    counters = world.metrics.counters()
    assert counters["drain.records"] == len(records)
    assert counters["drain.conflated"] == len(records) - len(expected)


def test_a_raising_handler_does_not_stop_the_others() -> None:
    world = World()
    ring = broadcast()
    world.source(ring)
    world.listen(RecordKind.TRADE, 1, "bad", fails=True)
    world.listen(RecordKind.TRADE, 1, "good")
    Publisher(ring).publish(market(RecordKind.TRADE, 1, 7))
    world.mailbox.drain()
    assert world.seen == [("bad", 1, 7), ("good", 1, 7)]
    assert world.errors == [("bad", "broken")]


def test_an_inactive_or_removed_route_gets_nothing() -> None:
    world = World()
    ring = broadcast()
    world.source(ring)
    silent = world.listen(RecordKind.TRADE, 1, "silent")
    world.listen(RecordKind.TRADE, 1, "gone")
    world.listen(RecordKind.TRADE, 1, "here")
    silent.active = False
    world.mailbox.remove_routes("gone")
    Publisher(ring).publish(market(RecordKind.TRADE, 1, 7))
    world.mailbox.drain()
    assert world.seen == [("here", 1, 7)]


def test_records_outside_the_table_are_passed_over() -> None:
    world = World()
    ring = broadcast()
    world.source(ring)
    publisher = Publisher(ring)
    publisher.publish(market(RecordKind.BOOK, CAPACITY, 1))
    publisher.publish(market(RecordKind.BOOK, 0xFFFFFFFF, 1))
    publisher.publish(MarketRecord(kind=77, instrument_id=1).to_bytes())
    assert world.mailbox.drain() == 3
    with pytest.raises(ValueError, match="no place"):
        world.mailbox.add_route(1, CAPACITY, Route(print, None, "x"))


def test_a_lap_is_told_before_anything_newer_is_dispatched() -> None:
    world = World()
    ring = broadcast(16)
    world.source(ring, on_lapped=lambda lost: world.seen.append(("lapped", lost, 0)))
    world.listen(RecordKind.TRADE, 1)
    publisher = Publisher(ring)
    for value in range(1, 41):
        publisher.publish(market(RecordKind.TRADE, 1, value))
    while world.mailbox.has_pending():
        world.mailbox.drain()
    name, lost, _ = world.seen[0]
    assert name == "lapped"
    values = [v for n, _, v in world.seen if n == "a"]
    assert values == list(range(lost + 1, 41))


def test_ring_time_is_recorded_from_publish_to_drain() -> None:
    world = World()
    ring = broadcast()
    world.source(ring)
    world.listen(RecordKind.BOOK, 1)
    Publisher(ring).publish(market(RecordKind.BOOK, 1, 5, publish_ns=400, frame_ns=100))
    world.mailbox.drain()
    histograms = world.metrics.histograms()
    assert histograms["hop.ring_ns"].max == 600
    assert histograms["hop.decode_ns"].max == 300


def port(world: World, ring: SpscRing) -> IntentPort:
    return IntentPort(Producer(ring), world.moment, OrderIds(0xAB00000000), world.metrics, actor_id=5,
                      worker_slot=3, incarnation=2, epoch=9, generation=4)  # fmt: skip


def take(ring: SpscRing) -> list[IntentRecord]:
    consumer = Consumer(ring)
    buffer = bytearray(64 * 256)
    count = consumer.poll_into(buffer, 64)
    consumer.commit(count)
    return [IntentRecord.from_bytes(bytes(buffer[i * 256 : (i + 1) * 256])) for i in range(count)]


def test_an_intent_cites_the_record_that_caused_it() -> None:
    world = World()
    ring = broadcast()
    orders = spsc()
    world.source(ring)
    sender = port(world, orders)
    sent: list[int | None] = []

    def handler(record: MarketRecord) -> None:
        sent.append(sender.new_order(2, Side.BUY, 100, 7))
        sent.append(sender.new_order(1, Side.SELL, 101, 8, certificates=[1, 2]))

    route = Route(handler, "a", "on_book")
    route.active = True
    world.mailbox.add_route(RecordKind.BOOK, 1, route)
    publisher = Publisher(ring)
    publisher.publish(market(RecordKind.BOOK, 2, 50, live_id=3))
    publisher.publish(market(RecordKind.BOOK, 1, 60, frame_ns=11, publish_ns=12))
    world.mailbox.drain()
    first, second = take(orders)
    assert sent == [0xAB00000001, 0xAB00000002]
    assert (first.kind, first.side, first.price_units, first.quantity_units) == (
        IntentKind.NEW,
        Side.BUY,
        100,
        7,
    )
    assert (first.actor_id, first.worker_slot, first.incarnation, first.epoch) == (5, 3, 2, 9)
    assert (first.generation, first.client_order_id) == (4, 0xAB00000001)
    assert (first.frame_ns, first.publish_ns, first.drain_ns, first.decide_ns) == (11, 12, 1000, 1000)
    assert [tuple(c) for c in first.certificates] == [(2, 1, 3, 50), (1, 1, 2, 60)]
    assert [tuple(c) for c in second.certificates] == [(1, 1, 2, 60), (2, 1, 3, 50)]


def test_outside_of_a_handler_an_intent_has_no_cause_but_still_a_certificate() -> None:
    world = World()
    ring = broadcast()
    orders = spsc()
    world.source(ring)
    Publisher(ring).publish(market(RecordKind.STATUS, 4, 9, book_state=BookState.LIVE))
    world.mailbox.drain()
    sender = port(world, orders)
    assert sender.new_order(4, Side.BUY, 1, 1) is not None
    (intent,) = take(orders)
    assert (intent.frame_ns, intent.drain_ns, intent.decide_ns) == (0, 0, 1000)
    assert [tuple(c) for c in intent.certificates] == [(4, 1, 2, 9)]
    with pytest.raises(ValueError, match="at most 4"):
        sender.new_order(4, Side.BUY, 1, 1, certificates=[1, 2, 3, 4, 5])


def test_a_full_ring_refuses_and_counts() -> None:
    world = World()
    orders = spsc(4)
    sender = port(world, orders)
    answers = [sender.command(IntentKind.CANCEL, 1, 77) for _ in range(6)]
    assert [a is not None for a in answers] == [True] * 4 + [False] * 2
    counters = world.metrics.counters()
    assert (counters["intents"], counters["intents.refused"]) == (4, 2)
    intents = take(orders)
    assert {i.orig_client_order_id for i in intents} == {77}
    assert all(i.certificate_count == 0 for i in intents)


def test_an_intent_is_committed_only_after_its_handler_returned() -> None:
    world = World()
    orders = spsc()
    sender = port(world, orders)
    for _ in range(3):
        sender.command(IntentKind.MASS_CANCEL, 1)
    positions: list[tuple[int, int]] = []

    def handler(slot: object, sequence: int, intent: IntentRecord) -> None:
        positions.append((sequence, orders.position))
        if sequence == 3:
            raise RuntimeError("journal")

    world.mailbox.add_source(IntentSource(Consumer(orders), 60, handler, 3))
    with pytest.raises(RuntimeError, match="journal"):
        world.mailbox.drain()
    assert positions == [(1, 0), (2, 1), (3, 2)]
    assert orders.position == 2


def test_reports_are_delivered_and_then_committed() -> None:
    world = World()
    ring = spsc()
    got: list[int] = []
    world.mailbox.add_source(ReportSource(world.mailbox, Consumer(ring), 5, lambda r: got.append(r.trade_id)))
    producer = Producer(ring)
    for trade_id in (1, 2, 3):
        producer.offer(ReportRecord(kind=ReportKind.FILL, trade_id=trade_id).to_bytes())
    assert world.mailbox.drain() == 3
    assert got == [1, 2, 3]
    assert ring.position == 3


def test_a_call_source_is_polled_like_a_ring() -> None:
    world = World()
    todo = [1, 2, 3]

    def call(limit: int) -> int:
        done = min(limit, len(todo))
        del todo[:done]
        return done

    world.mailbox.add_source(CallSource(80, call, lambda: bool(todo)))
    assert world.mailbox.drain(2) == 2
    assert world.mailbox.has_pending()
    assert world.mailbox.drain(2) == 1
    assert not world.mailbox.has_pending()
