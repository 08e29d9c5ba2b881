"""Cost of each step in shared memory, beside its floor in the same run: `ringlane bench memory`.

A floor moves the same bytes with memcpy in a C loop, or is one plain Python call where the step is one call
from Python. All contenders of a step run in turn on one pinned core, so that a busy moment hits each alike.
What needs other processes stands in `memory_fanout`, what compares ways of use in `memory_pairs`.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from shm.book import BookReader
from shm.control import Control
from shm.counters import Counter
from shm.doorbell import Parker
from shm.dtypes import record_dtype
from shm.histogram import Histogram
from shm.layout import STRUCTS
from shm.views import RecordBatch, SubscriberBorrow
from tools.bench import memory_loops as loops
from tools.bench.common import OURS, BenchResult
from tools.bench.memory_fanout import fan_out
from tools.bench.memory_pairs import PAIR_NOTES, pair_steps
from tools.bench.memory_rigs import (
    BATCH,
    CALL,
    CAPACITY,
    COPY,
    DEPTH,
    DRAIN,
    INSTRUMENT,
    RECORD_BYTES,
    Rings,
    make_levels,
    make_slab,
)
from tools.bench.quiet_core import quiet_core
from tools.bench.steps import ROUNDS, Step, measured, nothing, per_round, repeated, repeated_with

PARKED_WORKERS = 8
CALLS = "floor: three Python calls"
NOTES = (
    f"records of {RECORD_BYTES} bytes, rings of {CAPACITY}, books of {DEPTH}+{DEPTH} levels; one pinned core",
    "publish: one worker subscribed, not parked, so the fence and the look at it are paid",
    "floor: copy in C = memcpy of the same bytes in a C loop, no atomics, no protocol, nothing handed over",
    "floor: one Python call = calling a Python function of one argument that returns None, loop included",
    f"drain: batches of {DRAIN} already published; RecordBatch copies them to an array made once",
    "loads and stores name the whole book; a certificate alone is the first 80 bytes of its entry",
)


def publish_steps(rings: Rings) -> list[Step]:
    """Publishing, from Cython and from Python."""
    publisher, record, records = rings.publisher, rings.record, rings.records
    batches = ROUNDS // BATCH

    def in_batches() -> None:
        publish_batch = publisher.publish_batch
        for _ in range(batches):
            publish_batch(records, BATCH)

    return [
        Step(
            "publish_cython_ns_per_record",
            {
                OURS: per_round(lambda: loops.publish_each(publisher, record, ROUNDS), ROUNDS),
                COPY: rings.copies(),
            },
        ),
        Step(
            f"publish_cython_batch_{BATCH}_ns_per_record",
            {
                OURS: per_round(
                    lambda: loops.publish_batches(publisher, records, BATCH, batches), batches * BATCH
                ),
                COPY: rings.copies(),
            },
        ),
        Step(
            "publish_python_ns_per_record",
            {OURS: repeated_with(publisher.publish, record), CALL: repeated_with(nothing, record)},
        ),
        Step(
            f"publish_python_batch_{BATCH}_ns_per_record",
            {OURS: per_round(in_batches, batches * BATCH), COPY: rings.copies()},
        ),
    ]


def drain_steps(rings: Rings) -> list[Step]:
    """A drain in batches, copied or borrowed, per record; one Python call is the bar."""
    market = record_dtype("shm_market_record")
    batch = RecordBatch(rings.subscriber, market, DRAIN)
    borrow = SubscriberBorrow(rings.subscriber, market)

    def borrowed() -> int:
        taken = 0
        while taken < DRAIN:  # a second time where the batch wraps
            count = len(borrow.borrow(DRAIN - taken))
            if not count or not borrow.release():
                break
            taken += count
        return taken

    return [
        Step(
            "drain_ns_per_record",
            {
                OURS: rings.drained(batch.poll),
                "ringlane, borrowed": rings.drained(borrowed),
                COPY: rings.copies_out(),
                CALL: repeated_with(nothing, 1),
            },
        )
    ]


def hand_over_steps(rings: Rings) -> list[Step]:
    """The lossless ring: offer, poll and commit."""
    producer, consumer, record, out = rings.producer, rings.consumer, rings.record, rings.out

    def from_python() -> None:
        offer, poll_into, commit = producer.offer, consumer.poll_into, consumer.commit
        for _ in range(ROUNDS):
            offer(record)
            poll_into(out, 1)
            commit(1)

    def three_calls() -> None:
        for _ in range(ROUNDS):
            nothing(record)
            nothing(out)
            nothing(1)

    def copied_twice() -> None:
        loops.floor_copy(rings.slots, record, ROUNDS)
        loops.floor_drain(rings.slots, out, RECORD_BYTES, ROUNDS)

    def compiled(batch: int) -> Callable[[], float]:
        rounds = ROUNDS // batch
        return per_round(
            lambda: loops.hand_over(producer, consumer, rings.records, out, batch, rounds), rounds * batch
        )

    floor = per_round(copied_twice, ROUNDS)
    return [
        Step("offer_poll_commit_cython_ns_per_record", {OURS: compiled(1), COPY: floor}),
        Step(f"offer_poll_commit_cython_batch_{BATCH}_ns_per_record", {OURS: compiled(BATCH), COPY: floor}),
        Step(
            "offer_poll_commit_python_ns_per_record",
            {OURS: per_round(from_python, ROUNDS), CALLS: per_round(three_calls, ROUNDS)},
        ),
    ]


def book_steps() -> list[Step]:
    """Storing and loading a book, and its certificate alone."""
    slab = make_slab()
    bids, asks = make_levels()
    room = np.zeros((DEPTH, 2), dtype=np.int64), np.zeros((DEPTH, 2), dtype=np.int64)
    reader = BookReader(slab, *room)
    book_bytes = (STRUCTS["shm_book_head"].size_bytes + 2 * DEPTH * STRUCTS["shm_level"].size_bytes) & ~7
    memory, private = bytearray(book_bytes), bytearray(book_bytes)
    head = bytearray(STRUCTS["shm_certificate"].size_bytes)

    def copy(target: bytearray) -> Callable[[], float]:
        return per_round(lambda: loops.floor_drain(memory, target, len(target), ROUNDS), ROUNDS)

    return [
        Step(
            "book_store_ns",
            {
                OURS: per_round(lambda: loops.store_books(slab, INSTRUMENT, bids, asks, ROUNDS, 1), ROUNDS),
                COPY: copy(private),
            },
        ),
        Step(
            "book_load_cython_ns",
            {
                OURS: per_round(lambda: loops.load_books(slab, INSTRUMENT, *room, ROUNDS), ROUNDS),
                COPY: copy(private),
            },
        ),
        Step(
            "book_load_python_ns",
            {
                OURS: repeated_with(reader.load, INSTRUMENT),
                COPY: copy(private),
                CALL: repeated_with(nothing, INSTRUMENT),
            },
        ),
        Step(
            "certificate_load_cython_ns",
            {
                OURS: per_round(lambda: loops.load_certificates(slab, INSTRUMENT, ROUNDS), ROUNDS),
                COPY: copy(head),
            },
        ),
        Step(
            "certificate_load_python_ns",
            {OURS: repeated_with(slab.certificate, INSTRUMENT), CALL: repeated_with(nothing, INSTRUMENT)},
        ),
    ]


def meter_steps() -> list[Step]:
    """Recording into a histogram and incrementing a counter."""
    histogram = Histogram(bytearray(STRUCTS["shm_histogram"].size_bytes), 0)
    counter = Counter(bytearray(STRUCTS["shm_counter"].size_bytes), 0)
    values = np.random.default_rng(1).integers(100, 100_000, 1024)
    cells, one_place = np.zeros(4096, dtype=np.int64), np.zeros(1, dtype=np.int64)
    add = "floor: add to memory in C"

    def added(places: npt.NDArray[np.int64]) -> Callable[[], float]:
        return per_round(lambda: loops.floor_increment(cells, places, ROUNDS), ROUNDS)

    return [
        Step(
            "histogram_record_cython_ns",
            {
                OURS: per_round(lambda: loops.record_values(histogram, values, ROUNDS), ROUNDS),
                add: added(values & 4095),
            },
        ),
        Step(
            "histogram_record_python_ns",
            {OURS: repeated_with(histogram.record, 12_345), CALL: repeated_with(nothing, 12_345)},
        ),
        Step(
            "counter_inc_cython_ns",
            {OURS: per_round(lambda: loops.increment(counter, ROUNDS), ROUNDS), add: added(one_place)},
        ),
        Step(
            "counter_inc_python_ns",
            {OURS: repeated(counter.inc), CALL: repeated_with(nothing, 1)},
        ),
    ]


def parked_step() -> Step:
    """System calls per worker and batch when eight workers sleep: the ring's own count of doorbells."""
    rings = Rings()
    bell = os.eventfd(0, os.EFD_NONBLOCK)
    control = Control.attach(rings.control)
    parkers = []
    for slot in range(PARKED_WORKERS):
        control.slot(slot).bell_fd = bell
        rings.ring.subscribe_slot(slot)
        parkers.append(Parker(rings.control, slot))

    def measure() -> float:
        before, batches = rings.ring.doorbells, 100
        for _ in range(batches):
            for parker in parkers:
                parker.arm()
            for _ in range(4):  # the last three batches find nobody parked
                rings.publisher.publish_batch(rings.records, BATCH)
        os.eventfd_read(bell)
        return (rings.ring.doorbells - before) / (batches * PARKED_WORKERS)

    return Step("doorbells_per_parked_worker_and_wake", {OURS: measure}, "calls")


def bench_memory(runs: int, *, hold_pm_qos: bool = True) -> BenchResult:
    """Measure every step of the shared memory core.

    Args:
        runs: how often each contender of a step is measured.
        hold_pm_qos: keep the cores out of deep idle states meanwhile, if permitted.
    """
    with quiet_core(hold_pm_qos=hold_pm_qos) as core:
        rings = Rings()
        steps = [*publish_steps(rings), *drain_steps(rings), *hand_over_steps(rings), *book_steps()]
        results = measured([*steps, *meter_steps(), parked_step(), *pair_steps()], runs)
        others, notes = fan_out(runs, core.other)
    return BenchResult("memory", core.facts, [*results, *others], (*NOTES, *notes, *PAIR_NOTES))
