"""Rings and workers as they are seen from outside: rates, lag, laps, and the state of who reads."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.enums import SegmentKind, WorkerState
from shm.ring import BroadcastRing, Publisher, Subscriber
from shm.segment import AnonymousSegments
from shm.spsc import Consumer, Producer, SpscRing
from tests.tools.outside_kit import FEED, HEARTBEAT_NS, HOUSEKEEPING, SECOND_NS, SMALL, TRADE, FakeRun
from tools.outside.rates import Rates
from tools.outside.rings import RING_KINDS, RingReader, RingRow, lag_ns_of, place_of, sort_rings, stamp_of
from tools.outside.workers import cpu_ns
from tools.verbs.rings import COLUMNS, ring_json, ring_lines

CAPACITY = SMALL.market_ring
STAMPED = {"md.2.1": (128, "md"), "intents.3.3": (256, "intents"), "reports.3.3": (256, "reports")}


def record(short: str, stamp_ns: int) -> bytes:
    size, base = STAMPED[short]
    data = bytearray(size)
    at = RING_KINDS[base].stamp
    assert at is not None
    struct.pack_into("<q", data, at, stamp_ns)
    return bytes(data)


class Rings:
    """A fake run with a reader over its rings and both ends of each ring."""

    def __init__(self) -> None:
        self.run = FakeRun()
        self.reader = RingReader(self.run.view, self.run.rates, self.run.machine)
        self.market = BroadcastRing.attach(self.run.payload("md.2.1"))
        self.publisher = Publisher(self.market)

    def subscribe(self, slot: int = TRADE) -> Subscriber:
        self.market.subscribe_slot(slot)
        return Subscriber(self.market, worker_slot=slot)

    def publish(self, count: int = 1) -> None:
        for _ in range(count):
            self.publisher.publish(record("md.2.1", self.run.now_ns))

    def look(self) -> dict[str, RingRow]:
        return {row.ring: row for row in self.reader.look(self.run.workers())}


@pytest.fixture
def rings() -> Rings:
    return Rings()


def test_every_ring_of_the_run_is_there_with_who_writes_and_who_reads(rings: Rings) -> None:
    rings.subscribe()
    rows = rings.look()
    ends = {name: (row.kind, row.writer, [r.worker for r in row.readers]) for name, row in rows.items()}
    assert ends == {
        "md.2.1": ("market", "feed", ["trade"]),
        "intents.3.3": ("intents", "trade", ["trade"]),
        "reports.3.3": ("reports", "trade", ["trade"]),
        "requests.2.1": ("requests", "feed", ["housekeeping"]),
        "blobs.1.2": ("blobs", "housekeeping", ["feed"]),
    }
    assert (rows["md.2.1"].priority, rows["md.2.1"].capacity, rows["md.2.1"].slot_bytes) == (1, CAPACITY, 128)


def test_a_rate_is_the_rise_of_the_cursor_over_the_time_between_two_looks(rings: Rings) -> None:
    assert rings.look()["md.2.1"].rate_per_s is None
    rings.publish(6)
    rings.run.now_ns += 2 * SECOND_NS
    assert rings.look()["md.2.1"].rate_per_s == 3.0
    rings.run.now_ns += SECOND_NS
    assert rings.look()["md.2.1"].rate_per_s == 0.0


def test_lag_is_told_in_records_and_as_the_age_of_the_oldest_unread(rings: Rings) -> None:
    subscriber = rings.subscribe()
    rings.publish()
    rings.run.now_ns += 300
    rings.publish(2)
    rings.run.now_ns += 200
    reader = rings.look()["md.2.1"].readers[0]
    assert (reader.lag, reader.lag_ns, reader.is_behind) == (3, 500, False)
    out = bytearray(128)
    subscriber.poll_into(out, 1)
    reader = rings.look()["md.2.1"].readers[0]
    assert (reader.lag, reader.lag_ns) == (2, 200)
    subscriber.poll_into(bytearray(256), 2)
    reader = rings.look()["md.2.1"].readers[0]
    assert (reader.lag, reader.lag_ns) == (0, 0)


def test_a_reader_behind_half_the_capacity_is_behind_and_fills_the_ring(rings: Rings) -> None:
    rings.subscribe()
    rings.publish(CAPACITY // 2)
    row = rings.look()["md.2.1"]
    assert (row.use, row.readers[0].is_behind) == (0.5, False)
    rings.publish()
    row = rings.look()["md.2.1"]
    assert row.readers[0].is_behind
    assert any("bold red" in cell.style for cell in ring_lines(row)[0])


def test_an_overrun_reader_is_aged_by_the_oldest_record_that_still_stands(rings: Rings) -> None:
    subscriber = rings.subscribe()
    rings.look()
    for _ in range(CAPACITY + 3):
        rings.run.now_ns += 10
        rings.publish()
    row = rings.look()["md.2.1"]
    assert (row.use, row.readers[0].lag) == (1.0, CAPACITY + 3)
    assert row.readers[0].lag_ns == (CAPACITY - 1) * 10
    assert row.readers[0].lapped == 0  # it has not noticed yet
    subscriber.poll_into(bytearray(128), 1)
    noticed = rings.look()["md.2.1"].readers[0]
    assert (noticed.laps, noticed.lapped) == (1, subscriber.lapped)
    assert noticed.lapped_now == noticed.lapped > 0
    assert rings.look()["md.2.1"].readers[0].lapped_now == 0


def test_a_stamp_that_is_overwritten_is_not_believed(rings: Rings) -> None:
    rings.publish(CAPACITY)
    payload, stamp = rings.run.payload("md.2.1"), RING_KINDS["md"].stamp
    assert stamp is not None
    assert stamp_of(payload, rings.market, 1, stamp) == rings.run.now_ns
    rings.publish()
    assert stamp_of(payload, rings.market, 1, stamp) is None
    assert stamp_of(payload, rings.market, 2, stamp) == rings.run.now_ns


@pytest.mark.parametrize("short", ["intents.3.3", "reports.3.3"])
def test_a_lossless_ring_shows_its_stamp_its_refusals_and_who_waits(rings: Rings, short: str) -> None:
    kind = RING_KINDS[short.partition(".")[0]]
    ring = SpscRing.attach(rings.run.payload(short))
    producer, consumer = Producer(ring, own_slot=TRADE), Consumer(ring)
    for _ in range(SMALL.order_ring):
        assert producer.offer(record(short, rings.run.now_ns))
        rings.run.now_ns += 7
    assert not producer.offer(record(short, 0))
    row = rings.look()[short]
    assert (row.use, row.refused, row.waits, row.readers[0].lag) == (1.0, 1, True, SMALL.order_ring)
    assert row.readers[0].lag_ns == 7 * SMALL.order_ring
    consumer.poll_into(bytearray(256), 1)
    consumer.commit(1)
    assert stamp_of(rings.run.payload(short), ring, 1, kind.stamp or 0) is None
    row = rings.look()[short]
    assert (row.waits, row.readers[0].lag, row.readers[0].lag_ns) == (False, 3, 21)


def test_a_ring_whose_records_bear_no_stamp_tells_no_age_rather_than_a_wrong_one(rings: Rings) -> None:
    Producer(SpscRing.attach(rings.run.payload("requests.2.1"))).offer(b"12345678")
    row = rings.look()["requests.2.1"]
    assert (row.readers[0].lag, row.readers[0].lag_ns) == (1, None)
    rings.subscribe()
    rings.publisher.publish(bytes(128))  # a market record without a stamp
    assert rings.look()["md.2.1"].readers[0].lag_ns is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.integers(1, 6), st.integers(-6, -1)), max_size=25))
def test_lag_agrees_with_a_list_of_all_records(steps: list[int]) -> None:
    rings = Rings()
    subscriber = rings.subscribe()
    written: list[int] = []
    for step in steps:
        rings.run.now_ns += 11
        if step > 0:
            rings.publish(step)
            written += [rings.run.now_ns] * step
        else:
            subscriber.poll_into(bytearray(128 * -step), -step)
        reader = rings.look()["md.2.1"].readers[0]
        unread = written[subscriber.position :]
        assert reader.lag == len(unread)
        standing = unread[-CAPACITY:]
        assert reader.lag_ns == (rings.run.now_ns - standing[0] if standing else 0)
        assert (reader.lapped, reader.laps) == (subscriber.lapped, subscriber.laps)


def test_a_publisher_killed_in_a_batch_leaves_an_age_that_is_not_told(rings: Rings) -> None:
    rings.subscribe()
    rings.publish(2)
    # As the claim of a batch that fills the ring leaves it: intent raised, cursor not.
    struct.pack_into("<Q", rings.run.payload("md.2.1"), 128 + 8, 2 + CAPACITY)
    assert lag_ns_of(rings.run.payload("md.2.1"), rings.market, 0, 2, 56, rings.run.machine) is None
    assert rings.look()["md.2.1"].readers[0].lag == 2


def test_names_that_are_no_rings_are_left_alone() -> None:
    assert place_of("books", (2, 1)) is None
    assert place_of("md", (2,)) is None
    assert place_of("intents", (3, 64)) is None


def test_a_ring_nobody_reads_says_so(rings: Rings) -> None:
    row = rings.look()["md.2.1"]
    assert row.readers == ()
    assert "nobody" in [cell.text for cell in ring_lines(row)[0]]


def test_two_readers_are_two_lines_and_the_rings_own_figures_stand_once(rings: Rings) -> None:
    rings.subscribe(TRADE)
    rings.subscribe(HOUSEKEEPING)
    lines = ring_lines(rings.look()["md.2.1"])
    assert [len(line) for line in lines] == [len(COLUMNS)] * 2
    assert [line[0].text for line in lines] == ["md.2.1", ""]
    assert [line[3].text for line in lines] == ["housekeeping", "trade"]


def test_rings_are_sorted_by_lag_and_by_rate(rings: Rings) -> None:
    rings.subscribe()
    rings.look()
    rings.run.now_ns += SECOND_NS
    rings.publish(2)
    rows = list(rings.look().values())
    assert sort_rings(rows, "lag")[0].ring == sort_rings(rows, "rate")[0].ring == "md.2.1"
    assert sort_rings(rows, "name") == rows
    assert ring_json(sort_rings(rows, "lag")[0])["lag"] == 2


# ---- workers ------------------------------------------------------------------------------------


def test_a_worker_whose_process_is_gone_is_dead_whatever_its_slot_says(rings: Rings) -> None:
    rings.subscribe()
    rings.run.beat()
    assert rings.run.workers()[TRADE].state == "RUNNING"
    rings.run.dead.add(1000 + TRADE)
    row = rings.look()["md.2.1"]
    assert (row.readers[0].worker_state, row.readers[0].is_alive) == ("DEAD", False)
    assert "trade (DEAD)" in [cell.text for cell in ring_lines(row)[0]]


def test_a_worker_whose_heartbeat_is_overdue_is_late_before_the_supervisor_says_stalled(
    rings: Rings,
) -> None:
    run = rings.run
    run.now_ns = SECOND_NS + 3 * HEARTBEAT_NS
    assert run.workers()[FEED].state == "RUNNING"
    run.now_ns += 1
    late = run.workers()[FEED]
    assert (late.state, late.is_alive, late.heartbeat_age_ns) == ("LATE", False, 3 * HEARTBEAT_NS + 1)
    run.control.slot(FEED).state = WorkerState.STALLED
    assert run.workers()[FEED].state == "STALLED"


def test_cpu_and_cycles_are_rates_of_that_process_alone(rings: Rings) -> None:
    run = rings.run
    slot = run.control.slot(FEED)
    run.cpu[1000 + FEED] = 0
    slot.cycles = 10
    assert run.workers()[FEED].cpu_percent is None
    run.now_ns += SECOND_NS
    run.beat()
    run.cpu[1000 + FEED] = SECOND_NS // 4
    slot.cycles = 40
    row = run.workers()[FEED]
    assert (row.cpu_percent, row.cycles_per_s) == (25.0, 30.0)
    # A reborn worker is another process: nothing is compared with the old one.
    slot.pid = 7
    run.cpu[7] = 5
    run.now_ns += SECOND_NS
    assert run.workers()[FEED].cpu_percent is None


def test_unused_slots_are_no_workers_and_an_unknown_state_is_shown_as_its_number(rings: Rings) -> None:
    rings.run.control.slot(FEED).state = 99
    rows = rings.run.workers()
    assert set(rows) == {HOUSEKEEPING, FEED, TRADE}
    assert rows[FEED].state == "STATE-99"


def test_the_clock_of_another_process_is_read_and_that_of_none_is_none() -> None:
    own = cpu_ns(os.getpid())
    assert own is not None
    assert own > 0
    assert cpu_ns(2**22 + 1) is None  # beyond the largest pid


# ---- rates --------------------------------------------------------------------------------------


def test_a_counter_that_fell_is_a_new_one_and_no_time_is_no_rate() -> None:
    rates = Rates()
    assert rates.per_s("a", 5, 100) is None
    assert rates.per_s("a", 9, 100) is None
    assert rates.per_s("a", 9, 100 + SECOND_NS) == 4.0
    assert rates.per_s("a", 1, 100 + 2 * SECOND_NS) is None
    assert rates.per_s("a", 3, 100 + 3 * SECOND_NS) == 2.0


def test_a_segment_that_holds_no_ring_is_a_problem_and_not_an_end() -> None:
    segments = AnonymousSegments()
    run = FakeRun(segments)
    run.segments["md.2.2"] = segments.create("md.2.2", SegmentKind.MARKET_RING, 65536)
    rows = RingReader(run.view, run.rates, run.machine).look(run.workers())
    assert len(rows) == 5
    assert run.view.problems == {
        "md.2.2": "segment md.2.2: payload holds nothing (not formatted), not a broadcast ring"
    }
