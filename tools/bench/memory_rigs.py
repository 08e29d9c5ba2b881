"""What the memory benchmarks run on: rings and books on private memory, filled alike for every contender."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from shm.book import BookSlab, Certificate, TradeTotals
from shm.control import Control
from shm.doorbell import BellSet
from shm.layout import STRUCTS
from shm.ring import BroadcastRing, Publisher, Subscriber
from shm.spsc import Consumer, Producer, SpscRing
from tools.bench import memory_loops as loops
from tools.bench.steps import ROUNDS, per_round

RECORD_BYTES = STRUCTS["shm_market_record"].size_bytes
CAPACITY = 4096
BATCH = 64
DRAIN = 256
DEPTH = 32
INSTRUMENT = 1
COPY = "floor: copy in C"
CALL = "floor: one Python call"


class Rings:
    """A broadcast ring, an SPSC ring and their ends on private memory; one worker subscribed, not parked."""

    def __init__(self) -> None:
        control = bytearray(Control.bytes_needed())
        Control.create(control, 1, os.getpid())
        self.control = control
        self.bells = BellSet(control)
        buffer = bytearray(BroadcastRing.bytes_needed(CAPACITY, RECORD_BYTES))
        self.ring = BroadcastRing.create(buffer, CAPACITY, RECORD_BYTES)
        self.ring.subscribe_slot(1)
        self.publisher = Publisher(self.ring, self.bells)
        self.subscriber = Subscriber(self.ring)
        spsc = SpscRing.create(
            bytearray(SpscRing.bytes_needed(CAPACITY, RECORD_BYTES)), CAPACITY, RECORD_BYTES
        )
        spsc.subscribe_slot(1)
        self.producer = Producer(spsc, self.bells)
        self.consumer = Consumer(spsc, self.bells)
        self.record = bytes(range(RECORD_BYTES))
        self.records = self.record * DRAIN
        self.slots = bytearray(CAPACITY * RECORD_BYTES)
        self.out = bytearray(DRAIN * RECORD_BYTES)

    def copies(self) -> Callable[[], float]:
        """The floor of publishing: one record after the other into as many slots."""
        return per_round(lambda: loops.floor_copy(self.slots, self.record, ROUNDS), ROUNDS)

    def copies_out(self) -> Callable[[], float]:
        """The floor of a drain, per record."""
        part = DRAIN * RECORD_BYTES
        return per_round(
            lambda: loops.floor_drain(self.slots, self.out, part, ROUNDS // DRAIN), ROUNDS // DRAIN * DRAIN
        )

    def drained(self, take: Callable[[], int]) -> Callable[[], float]:
        """A contender: ns per record of `take`; a batch is published before each, which is not timed."""

        def measure() -> float:
            spent = taken = 0
            clock = time.perf_counter_ns
            while self.subscriber.poll_into(self.out, DRAIN):
                pass
            for _ in range(ROUNDS // DRAIN):
                self.publisher.publish_batch(self.records, DRAIN)
                begin = clock()
                taken += take()
                spent += clock() - begin
            if taken != ROUNDS // DRAIN * DRAIN:
                raise RuntimeError(f"a drain lost records: {taken} came")
            return spent / taken

        return measure


def make_levels() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Bids and asks of a full book, best first."""
    rows = range(DEPTH)
    bids = np.array([(6_180_000 - 10 * k, 1_000 + k) for k in rows], dtype=np.int64)
    asks = np.array([(6_180_010 + 10 * k, 2_000 + k) for k in rows], dtype=np.int64)
    return bids, asks


def make_slab() -> BookSlab:
    """A slab on private memory whose entry `INSTRUMENT` holds a full book."""
    slab = BookSlab.create(bytearray(BookSlab.bytes_needed(DEPTH, 4, 1)), DEPTH, 4, 1, 0)
    bids, asks = (levels.tolist() for levels in make_levels())
    slab.store(INSTRUMENT, Certificate(), TradeTotals(), bids, asks)
    return slab
