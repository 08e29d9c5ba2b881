"""Seqlocked values, book slab and histogram: one suite run against the naive twin and the real thing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shm.book import BookSlab, BookSnapshot, Certificate, TradeTotals
from shm.histogram import Histogram
from shm.metrics import HISTOGRAM_BYTES
from shm.snapshot import SeqlockArray
from tests.kit.naive_histogram import NaiveHistogram
from tests.kit.naive_values import Levels, NaiveSlab, NaiveValues

COUNT, VALUE_BYTES = 3, 40
DEPTH, CAPACITY = 4, 3
# By hand, so that the tests do not lean on the code they check.
VALUE_STRIDE = 64
ENTRIES_AT, ENTRY_BYTES = 128 + 128, 384


class RealValues:
    """The real array behind the naive one's face."""

    def __init__(self, count: int, value_bytes: int) -> None:
        self.buffer = bytearray(SeqlockArray.bytes_needed(count, value_bytes))
        self.writer = SeqlockArray.create(self.buffer, count, value_bytes)
        self.reader = SeqlockArray.attach(memoryview(self.buffer).toreadonly(), count, value_bytes)

    def store(self, i: int, value: bytes) -> None:
        self.writer.store(i, value)

    def load(self, i: int) -> bytes | None:
        return self.reader.load(i)

    def die_storing(self, i: int) -> None:
        self.buffer[i * VALUE_STRIDE] |= 1
        self.buffer[i * VALUE_STRIDE + 8] ^= 0xFF
        self.writer = SeqlockArray.attach(self.buffer, COUNT, VALUE_BYTES)


class RealSlab:
    def __init__(self, depth: int, capacity: int) -> None:
        self.buffer = bytearray(BookSlab.bytes_needed(depth, capacity, 1))
        self.writer = BookSlab.create(self.buffer, depth, capacity, 1, 6)
        self.reader = BookSlab.attach(memoryview(self.buffer).toreadonly())

    def store(
        self, instrument_id: int, certificate: Certificate, totals: TradeTotals, bids: Levels, asks: Levels
    ) -> None:
        self.writer.store(instrument_id, certificate, totals, bids, asks)

    def load(self, instrument_id: int) -> BookSnapshot | None:
        return self.reader.load(instrument_id)

    def best(self, instrument_id: int, bid_rows: int, ask_rows: int) -> tuple[Levels, Levels] | None:
        bids, asks = np.zeros((bid_rows, 2), np.int64), np.zeros((ask_rows, 2), np.int64)
        counts = self.reader.load_into(instrument_id, bids, asks)
        if counts < 0:
            return None
        return [(p, q) for p, q in bids[: counts >> 16].tolist()], [
            (p, q) for p, q in asks[: counts & 0xFFFF].tolist()
        ]

    def die_storing(self, instrument_id: int) -> None:
        at = ENTRIES_AT + instrument_id * ENTRY_BYTES
        self.buffer[at] |= 1
        self.buffer[at + 8] ^= 0xFF
        self.writer = BookSlab.attach(self.buffer)


@pytest.fixture(params=[NaiveValues, RealValues])
def array(request: pytest.FixtureRequest) -> Any:
    return request.param(COUNT, VALUE_BYTES)


@pytest.fixture(params=[NaiveSlab, RealSlab])
def slab(request: pytest.FixtureRequest) -> Any:
    return request.param(DEPTH, CAPACITY)


def certificate(version: int) -> Certificate:
    return Certificate(state=2, last_sequence=version, resyncs=version)


def totals(version: int) -> TradeTotals:
    return TradeTotals(buy_count=version, sell_notional=version << 70, last_price_units=-version)


# ---- conformance: values -----------------------------------------------------------------------


def test_a_value_never_stored_is_zero(array: Any) -> None:
    assert [array.load(i) for i in range(COUNT)] == [bytes(VALUE_BYTES)] * COUNT


def test_a_short_value_is_zero_filled_over_a_longer_one(array: Any) -> None:
    array.store(1, b"\xff" * VALUE_BYTES)
    array.store(1, b"short")
    assert array.load(1) == b"short".ljust(VALUE_BYTES, b"\0")


def test_a_dead_writer_keeps_one_value_busy_until_it_is_stored_again(array: Any) -> None:
    array.store(0, b"a")
    array.store(1, b"b")
    array.die_storing(1)
    assert (array.load(0), array.load(1)) == (b"a".ljust(VALUE_BYTES, b"\0"), None)
    array.store(1, b"c")
    assert array.load(1) == b"c".ljust(VALUE_BYTES, b"\0")


# ---- conformance: books ------------------------------------------------------------------------


def test_a_book_never_stored_is_empty(slab: Any) -> None:
    assert slab.load(2) == BookSnapshot(Certificate(), TradeTotals(), (), ())
    assert slab.best(2, 1, 1) == ([], [])


def test_a_shallower_book_leaves_nothing_of_the_deeper_one(slab: Any) -> None:
    slab.store(1, certificate(1), totals(1), [(9, 1), (8, 1), (7, 1)], [(10, 1), (11, 1)])
    slab.store(1, certificate(2), totals(2), [(9, 5)], [])
    assert slab.load(1) == BookSnapshot(certificate(2)._replace(instrument_id=1), totals(2), ((9, 5),), ())
    assert slab.best(1, 4, 4) == ([(9, 5)], [])


def test_a_reader_with_less_room_gets_the_best_levels(slab: Any) -> None:
    slab.store(0, certificate(1), totals(1), [(9, 1), (8, 2), (7, 3), (6, 4)], [(10, 1), (11, 2)])
    assert slab.best(0, 2, 1) == ([(9, 1), (8, 2)], [(10, 1)])


def test_a_dead_writer_keeps_one_book_busy_until_it_is_stored_again(slab: Any) -> None:
    slab.store(0, certificate(1), totals(1), [(9, 1)], [])
    slab.store(1, certificate(2), totals(2), [(8, 1)], [])
    slab.die_storing(0)
    assert (slab.load(0), slab.best(0, 1, 1), slab.best(1, 1, 1)) == (None, None, ([(8, 1)], []))
    slab.store(0, certificate(3), totals(3), [(7, 1)], [])
    assert slab.best(0, 1, 1) == ([(7, 1)], [])


# ---- naive and real side by side ---------------------------------------------------------------

VALUE_OPS = st.lists(
    st.one_of(
        st.tuples(st.just("store"), st.integers(0, COUNT - 1), st.binary(min_size=1, max_size=VALUE_BYTES)),
        st.tuples(st.just("die"), st.integers(0, COUNT - 1), st.just(b"")),
    ),
    max_size=40,
)


@given(VALUE_OPS)
def test_values_agree_with_their_naive_twin(ops: list[tuple[str, int, bytes]]) -> None:
    naive, real = NaiveValues(COUNT, VALUE_BYTES), RealValues(COUNT, VALUE_BYTES)
    for op, i, value in ops:
        for values in (naive, real):
            if op == "store":
                values.store(i, value)
            else:
                values.die_storing(i)
        assert [naive.load(i) for i in range(COUNT)] == [real.load(i) for i in range(COUNT)]


LEVEL = st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**63 - 1))
LEVELS = st.lists(LEVEL, max_size=DEPTH)
BOOK_OPS = st.lists(
    st.tuples(st.booleans(), st.integers(0, CAPACITY - 1), LEVELS, LEVELS, st.integers(1, 5)), max_size=30
)


@given(BOOK_OPS)
def test_the_slab_agrees_with_its_naive_twin(
    ops: list[tuple[bool, int, Levels, Levels, int]],
) -> None:
    naive, real = NaiveSlab(DEPTH, CAPACITY), RealSlab(DEPTH, CAPACITY)
    for version, (is_death, i, bids, asks, rows) in enumerate(ops, 1):
        for books in (naive, real):
            if is_death:
                books.die_storing(i)
            else:
                books.store(i, certificate(version), totals(version), list(bids), list(asks))
        for at in range(CAPACITY):
            assert naive.load(at) == real.load(at)
            assert naive.best(at, rows, 6 - rows) == real.best(at, rows, 6 - rows)


@given(st.lists(st.integers(-3, 2**39), max_size=60), st.sampled_from([0, 1, 50, 90, 99, 99.9, 100]))
def test_the_histogram_agrees_with_its_naive_twin(values: list[int], q: float) -> None:
    naive, real = NaiveHistogram(), Histogram(bytearray(HISTOGRAM_BYTES), 0)
    for recorded, value in enumerate(values, 1):
        naive.record(value)
        real.record(value)
        assert real.count == recorded
    exact = naive.percentile(q)
    assert exact <= real.snapshot().percentile(q) <= exact + exact // 64
