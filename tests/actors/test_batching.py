"""How much a drain takes at once: by age, priority 1 looked at in between, every record accounted for."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.runtime.intents import Clock, Moment
from actors.runtime.mailboxes import BatchPolicy, Mailbox, MarketSource, Route
from shm.enums import RecordKind
from shm.metrics import Metrics
from shm.records import MarketRecord
from shm.ring import BroadcastRing, Publisher, Subscriber

INSTRUMENTS = 8
YOUNG, OLD = 50, 1_000


def naive_limit(smallest: int, largest: int, young: int, old: int, age: int) -> int:
    """A straight line from (young, smallest) to (old, largest), flat outside."""
    if age <= young:
        return smallest
    if age >= old:
        return largest
    return smallest + (largest - smallest) * (age - young) // (old - young)


@given(
    st.integers(1, 50),
    st.integers(0, 4_000),
    st.integers(0, 1_000),
    st.integers(1, 10_000),
    st.integers(-5, 20_000),
)
def test_the_policy_is_a_straight_line_between_two_ages(
    smallest: int, more: int, young: int, span: int, age: int
) -> None:
    policy = BatchPolicy(smallest, smallest + more, young, young + span)
    assert policy.limit(age) == naive_limit(smallest, smallest + more, young, young + span, age)


@pytest.mark.parametrize(
    "bounds",
    [(0, 4, 1, 2), (5, 4, 1, 2), (1, 4, 2, 2), (1, 4, 3, 2)],
    ids=["none", "crossed", "one age", "ages"],
)
def test_bounds_that_are_no_bounds_are_refused(bounds: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"batch_min|young_ns"):
        BatchPolicy(*bounds)


class Desk:
    """A mailbox with rings by priority on a clock that the test turns; notes what is dispatched, in order."""

    def __init__(self, policy: BatchPolicy, *, capacity: int = 4_096) -> None:
        self.clock = Clock(1_000_000)
        self.metrics = Metrics.create(bytearray(Metrics.bytes_needed()), 3)
        self.mailbox = Mailbox(Moment(self.clock, INSTRUMENTS), self.metrics, policy)
        self.capacity = capacity
        self.publishers: dict[int, Publisher] = {}
        self.subscribers: dict[int, Subscriber] = {}
        self.seen: list[tuple[int, int]] = []  # priority, value
        self.published = dict.fromkeys(range(1, 5), 0)
        self.lost = dict.fromkeys(range(1, 5), 0)
        for kind in RecordKind:
            for instrument_id in range(INSTRUMENTS):
                route = Route(self.on_record, "a", kind.name)
                route.active = True
                self.mailbox.add_route(kind, instrument_id, route)

    def ring(self, priority: int) -> None:
        memory = bytearray(BroadcastRing.bytes_needed(self.capacity, 128))
        ring = BroadcastRing.create(memory, self.capacity, 128)
        self.publishers[priority] = Publisher(ring)
        self.subscribers[priority] = Subscriber(ring)

        def lapped(lost: int) -> None:
            self.lost[priority] += lost

        self.mailbox.add_source(MarketSource(self.mailbox, self.subscribers[priority], 10 * priority, lapped))

    def on_record(self, record: MarketRecord) -> None:
        self.seen.append((record.side, record.value0))

    def publish(
        self, priority: int, value: int, kind: RecordKind = RecordKind.TRADE, instrument: int = 0
    ) -> None:
        record = MarketRecord(
            kind=kind, instrument_id=instrument, value0=value, side=priority, publish_ns=self.clock.now_ns()
        )
        self.publishers[priority].publish(record.to_bytes())
        self.published[priority] += 1

    def wait(self, passed_ns: int) -> None:
        self.clock.virtual_ns += passed_ns

    def batches(self) -> int:
        return int(self.metrics.histograms()["drain.batch"].count)


def test_old_records_are_taken_many_at_once_and_conflate_young_ones_do_not() -> None:
    dispatched = {}
    for age in (0, OLD):
        desk = Desk(BatchPolicy(4, 64, YOUNG, OLD))
        desk.ring(1)
        for value in range(32):
            desk.publish(1, value, RecordKind.BOOK)
        desk.wait(age)
        assert desk.mailbox.drain(256) == 32
        dispatched[age] = [value for _, value in desk.seen]
    assert dispatched[0] == [3, 7, 11, 15, 19, 23, 27, 31]  # the newest of each batch of four
    assert dispatched[OLD] == [31]


def test_a_cycle_ends_after_its_share_and_the_next_goes_on() -> None:
    desk = Desk(BatchPolicy(4, 64, YOUNG, OLD))
    desk.ring(1)
    for value in range(20):
        desk.publish(1, value)
    assert desk.mailbox.drain(8) == 8
    assert desk.mailbox.has_pending()
    assert desk.mailbox.drain(8) == 8
    assert desk.mailbox.drain(8) == 4
    assert [value for _, value in desk.seen] == list(range(20))


def test_priority_one_is_looked_at_between_the_batches_of_the_others() -> None:
    desk = Desk(BatchPolicy(4, 64, YOUNG, OLD))
    for priority in (1, 3, 4):
        desk.ring(priority)
    for value in range(4):
        desk.publish(3, value)
        desk.publish(4, value)

    def react(record: MarketRecord) -> None:
        desk.seen.append((record.side, record.value0))
        if record.side == 3 and record.value0 == 3:
            desk.publish(1, 100)  # comes while priority 3 has its turn

    route = Route(react, "b", "trade")
    route.active = True
    desk.mailbox.remove_routes("a")
    desk.mailbox.add_route(RecordKind.TRADE, 0, route)
    desk.mailbox.drain(256)
    assert desk.seen.index((1, 100)) < desk.seen.index((4, 0))


def test_priority_one_is_looked_at_in_the_middle_of_a_large_batch_too() -> None:
    desk = Desk(BatchPolicy(4, 64, YOUNG, OLD))
    for priority in (1, 4):
        desk.ring(priority)
    for value in range(60):
        desk.publish(4, value)
    desk.wait(OLD)

    def react(record: MarketRecord) -> None:
        desk.seen.append((record.side, record.value0))
        if record.side == 4 and record.value0 == 2:
            desk.publish(1, 100)

    route = Route(react, "b", "trade")
    route.active = True
    desk.mailbox.remove_routes("a")
    desk.mailbox.add_route(RecordKind.TRADE, 0, route)
    assert desk.mailbox.drain(256) == 61
    assert desk.seen.index((1, 100)) <= 16
    assert [v for side, v in desk.seen if side == 4] == list(range(60))


def test_age_and_batch_are_recorded_once_per_batch() -> None:
    desk = Desk(BatchPolicy(4, 64, YOUNG, OLD))
    desk.ring(1)
    for value in range(6):
        desk.publish(1, value)
    desk.wait(30)
    desk.mailbox.drain(256)
    ages = desk.metrics.histograms()["drain.age_ns"]
    assert ages.count == 2
    assert ages.max == 30
    assert desk.metrics.histograms()["drain.batch"].max == 4


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(1, 4), st.integers(1, 40)),
        st.tuples(st.just("drain"), st.integers(1, 40), st.just(0)),
        st.tuples(st.just("wait"), st.integers(0, 2 * OLD), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(ACTIONS, st.integers(0, 1 << 30))
def test_every_record_is_dispatched_conflated_or_lapped(
    actions: list[tuple[str, int, int]], seed: int
) -> None:
    draw = random.Random(seed)
    desk = Desk(BatchPolicy(3, 12, YOUNG, OLD), capacity=32)  # small rings: they do lap
    for priority in range(1, 5):
        desk.ring(priority)
    for what, number, count in actions:
        if what == "publish":
            for _ in range(count):
                kind = draw.choice(list(RecordKind))
                desk.publish(number, sum(desk.published.values()), kind, draw.randrange(INSTRUMENTS))
        elif what == "drain":
            desk.mailbox.drain(number)
        else:
            desk.wait(number)
    while desk.mailbox.has_pending():
        desk.mailbox.drain(16)
    counters = desk.metrics.counters()
    assert len(desk.seen) + counters["drain.conflated"] + sum(desk.lost.values()) == sum(
        desk.published.values()
    )
    assert counters["drain.records"] == len(desk.seen) + counters["drain.conflated"]
    assert len(desk.seen) == desk.mailbox.dispatched
    for priority in range(1, 5):  # and each ring's survivors keep its order
        values = [value for side, value in desk.seen if side == priority]
        assert values == sorted(values)
