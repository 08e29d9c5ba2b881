"""Book slab: whole copies or BUSY, never a mixture; a dead writer's entry is repaired by the next store."""

from __future__ import annotations

import mmap
import os
import signal
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.book import BookReader, BookSlab, BookSnapshot, Certificate, TradeTotals
from shm.enums import BookReason, BookState
from shm.errors import LayoutError, RecordError

INT64 = st.integers(-(2**63), 2**63 - 1)
LEVELS = st.lists(st.tuples(INT64, INT64), max_size=4)
# By hand, so that the tests do not lean on the code they check: slab header, one pair of lines of streams.
ENTRIES_AT = 128 + 128
WHOLE = Certificate(
    instrument_id=2,
    state=BookState.LIVE,
    epoch=3,
    live_id=4,
    last_sequence=5,
    data_ns=6,
    venue_utc_ns=7,
    publish_ns=8,
    audit_ns=9,
    stream=1,
    reason=BookReason.PROVEN,
    gaps=10,
    resyncs=11,
)
TOTALS = TradeTotals(1, 2, 3, 4, 2**100 + 5, 2**64 - 1, 7, 8)


def fresh(depth: int = 4, capacity: int = 3, streams: int = 2) -> tuple[bytearray, BookSlab]:
    payload = bytearray(BookSlab.bytes_needed(depth, capacity, streams))
    return payload, BookSlab.create(payload, depth, capacity, streams, 6)


def test_a_book_survives_store_and_load() -> None:
    payload, writer = fresh()
    bids, asks = [(100, 1), (99, 2)], [(101, 3)]
    writer.store(2, WHOLE, TOTALS, bids, asks)
    reader = BookSlab.attach(memoryview(payload).toreadonly())
    assert reader.load(2) == BookSnapshot(WHOLE, TOTALS, tuple(bids), tuple(asks))
    assert reader.certificate(2) == WHOLE
    assert reader.totals(2) == TOTALS
    assert (reader.depth, reader.capacity, reader.streams, reader.owner_slot) == (4, 3, 2, 6)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 2), LEVELS, LEVELS, INT64), max_size=8))
def test_the_slab_is_a_dictionary_of_the_last_stores(stores: list[tuple[int, list, list, int]]) -> None:  # type: ignore[type-arg]
    _, slab = fresh()
    naive: dict[int, BookSnapshot] = {}
    for instrument_id, bids, asks, sequence in stores:
        certificate = Certificate(instrument_id=instrument_id, last_sequence=sequence)
        slab.store(instrument_id, certificate, TradeTotals(), bids, asks)
        naive[instrument_id] = BookSnapshot(certificate, TradeTotals(), tuple(bids), tuple(asks))
    for instrument_id, snapshot in naive.items():
        assert slab.load(instrument_id) == snapshot


def test_an_entry_never_stored_has_state_none_and_no_levels() -> None:
    _, slab = fresh()
    assert slab.load(1) == BookSnapshot(Certificate(), TradeTotals(), (), ())


def test_levels_are_loaded_into_arrays_of_the_caller() -> None:
    _, slab = fresh()
    slab.store(0, WHOLE, TOTALS, [(10, 1), (9, 2), (8, 3)], [(11, 4)])
    bids, asks = np.full((4, 2), -1, np.int64), np.full((2, 2), -1, np.int64)
    assert slab.load_into(0, bids, asks) == 3 << 16 | 1
    assert bids.tolist() == [[10, 1], [9, 2], [8, 3], [-1, -1]]
    assert asks.tolist() == [[11, 4], [-1, -1]]


def test_a_smaller_array_gets_the_best_levels_only() -> None:
    _, slab = fresh()
    slab.store(0, WHOLE, TOTALS, [(10, 1), (9, 2), (8, 3)], [(11, 4), (12, 5)])
    bids, asks = np.zeros((2, 2), np.int64), np.zeros((1, 2), np.int64)
    assert slab.load_into(0, bids, asks) == 2 << 16 | 1
    assert (bids.tolist(), asks.tolist()) == ([[10, 1], [9, 2]], [[11, 4]])


def test_arrays_of_another_shape_are_refused() -> None:
    _, slab = fresh()
    good = np.zeros((4, 2), np.int64)
    for bad in (np.zeros((4, 3), np.int64), np.zeros((0, 2), np.int64)):
        with pytest.raises(RecordError, match="shape"):
            slab.load_into(0, good, bad)
    for bad in (np.zeros((4, 2), np.int32), np.zeros((4, 4), np.int64)[:, ::2]):  # type: ignore[assignment]
        with pytest.raises(ValueError):
            slab.load_into(0, good, bad)


def test_a_reader_gives_levels_and_what_stands_beside_them() -> None:
    _, slab = fresh()
    slab.store(2, WHOLE, TOTALS, [(10, 1), (9, 2), (8, 3)], [(11, 4)])
    slab.store(0, Certificate(state=BookState.STALE), TradeTotals(), [(7, 7)], [])
    bids, asks = np.full((4, 2), -1, np.int64), np.full((2, 2), -1, np.int64)
    reader = BookReader(slab, bids, asks)
    assert reader.load(2) == 3 << 16 | 1
    assert (reader.state, reader.last_sequence) == (BookState.LIVE, 5)
    assert (reader.certificate(), reader.totals()) == (WHOLE, TOTALS)
    assert (bids.tolist(), asks.tolist()) == ([[10, 1], [9, 2], [8, 3], [-1, -1]], [[11, 4], [-1, -1]])
    assert (reader.load(0), reader.state) == (1 << 16, BookState.STALE)
    assert bids.tolist() == [[7, 7], [9, 2], [8, 3], [-1, -1]]
    assert (reader.bids is bids, reader.asks is asks, reader.slab is slab) == (True, True, True)


@settings(max_examples=40)
@given(LEVELS, LEVELS, st.integers(1, 5), st.integers(1, 5))
def test_a_reader_loads_what_load_into_does(bids: list, asks: list, bid_rows: int, ask_rows: int) -> None:  # type: ignore[type-arg]
    _, slab = fresh()
    slab.store(1, WHOLE, TOTALS, bids, asks)
    first = (np.zeros((bid_rows, 2), np.int64), np.zeros((ask_rows, 2), np.int64))
    second = (np.zeros((bid_rows, 2), np.int64), np.zeros((ask_rows, 2), np.int64))
    assert slab.load_into(1, *first) == BookReader(slab, *second).load(1)
    assert [a.tolist() for a in first] == [a.tolist() for a in second]
    assert first[0][: len(bids)].tolist() == [list(level) for level in bids[:bid_rows]]


def test_a_reader_holds_its_arrays_and_says_busy() -> None:
    payload, slab = fresh()
    bids, asks = np.zeros((4, 2), np.int64), np.zeros((4, 2), np.int64)
    reader = BookReader(slab, bids, asks)
    with pytest.raises(ValueError):
        bids.resize((8, 2))
    struct.pack_into("<Q", payload, ENTRIES_AT, 1)
    assert reader.load(0) == -1
    for number in (-1, 3, 2**31, 2**63, 2**70):
        with pytest.raises(RecordError, match="outside a slab"):
            reader.load(number)
        with pytest.raises(RecordError, match="outside a slab"):
            slab.load_into(number, bids, asks)


def test_a_reader_refuses_arrays_it_can_not_fill() -> None:
    _, slab = fresh()
    good, frozen = np.zeros((4, 2), np.int64), np.zeros((4, 2), np.int64)
    frozen.flags.writeable = False
    for bad in (np.zeros((4, 3), np.int64), np.zeros((0, 2), np.int64), np.zeros(8, np.int64)):
        for pair in ((good, bad), (bad, good)):
            with pytest.raises(RecordError, match="shape"):
                BookReader(slab, *pair)
    others: tuple[Any, ...] = (
        np.zeros((4, 2), np.int32), np.zeros((4, 2)), np.zeros((4, 2), ">i8"), frozen, good[:, ::-1],
    )  # fmt: skip
    for other in others:
        for pair in ((good, other), (other, good)):
            with pytest.raises(ValueError):
                BookReader(slab, *pair)
    with pytest.raises(ValueError):
        slab.load_into(0, good, np.zeros((4, 2), np.float64))
    good.resize((2, 2), refcheck=False)  # nothing holds it after the refusals


def test_an_odd_count_is_busy_until_the_next_store_repairs_it() -> None:
    payload, slab = fresh()
    slab.store(0, WHOLE, TOTALS, [(10, 1)], [])
    # A writer killed in the middle leaves the count odd.
    (count,) = struct.unpack_from("<Q", payload, ENTRIES_AT)
    assert count % 2 == 0
    struct.pack_into("<Q", payload, ENTRIES_AT, count + 1)
    array = np.zeros((4, 2), np.int64)
    assert [slab.load(0), slab.certificate(0), slab.totals(0)] == [None] * 3
    assert slab.load_into(0, array, array.copy()) == -1
    slab.store(0, WHOLE, TOTALS, [(11, 2)], [])
    repaired = slab.load(0)
    assert repaired is not None
    assert repaired.bids == ((11, 2),)
    assert struct.unpack_from("<Q", payload, ENTRIES_AT) == (count + 2,)


def test_counts_beyond_the_depth_in_memory_lead_nowhere() -> None:
    payload, slab = fresh(capacity=1)
    slab.store(0, WHOLE, TOTALS, [(10, 1)], [(11, 1)])
    struct.pack_into("<II", payload, ENTRIES_AT + 8 + 160, 2**32 - 1, 2**31)
    snapshot = slab.load(0)
    assert snapshot is not None
    assert (len(snapshot.bids), len(snapshot.asks)) == (4, 4)


def test_streams_have_a_stamp_each() -> None:
    _, slab = fresh()
    assert slab.stream_alive_ns(0) == slab.stream_alive_ns(1) == 0
    slab.touch_stream(1, 12345)
    assert (slab.stream_alive_ns(0), slab.stream_alive_ns(1), slab.stream_alive_ns(2)) == (0, 12345, 0)
    with pytest.raises(RecordError, match="stream 2"):
        slab.touch_stream(2, 1)


@pytest.mark.parametrize("instrument_id", [-1, 3])
def test_an_instrument_outside_the_slab_is_refused(instrument_id: int) -> None:
    _, slab = fresh()
    for call in (slab.load, slab.certificate, slab.totals):
        with pytest.raises(RecordError, match="outside"):
            call(instrument_id)


def test_a_store_that_does_not_fit_stores_nothing() -> None:
    payload, slab = fresh()
    before = bytes(payload)
    with pytest.raises(RecordError, match="depth 4"):
        slab.store(0, WHOLE, TOTALS, [(1, 1)] * 5, [])
    with pytest.raises(OverflowError):
        slab.store(0, WHOLE._replace(last_sequence=2**63), TOTALS, [], [])
    assert payload == before


def test_a_read_only_attachment_can_not_store() -> None:
    payload, _ = fresh()
    reader = BookSlab.attach(bytes(payload))
    with pytest.raises(RecordError, match="read-only"):
        reader.store(0, WHOLE, TOTALS, [], [])
    with pytest.raises(RecordError):
        reader.touch_stream(0, 1)


def test_a_payload_that_is_no_slab_is_refused() -> None:
    payload, _ = fresh()
    for bad in (b"", bytes(64), bytes(4096), bytes(payload[:-1])):
        with pytest.raises(LayoutError):
            BookSlab.attach(bad)
    for shape in ((0, 1, 1), (5000, 1, 1), (1, 0, 1), (1, 1, 0)):
        with pytest.raises(LayoutError):
            BookSlab.bytes_needed(*shape)
    with pytest.raises(LayoutError, match="aligned"):
        BookSlab.create(memoryview(bytearray(len(payload) + 8))[1:], 4, 3, 2, 0)
    with pytest.raises(TypeError):
        BookSlab()


def write_forever(memory: mmap.mmap) -> None:
    """Child: every level, total and stamp of one store holds the same number."""
    slab = BookSlab.attach(memory)
    number = 0
    while True:
        number += 1
        certificate = Certificate(instrument_id=1, last_sequence=number, data_ns=number, publish_ns=number)
        totals = TradeTotals(last_trade_id=number, buy_notional=number)
        levels = [(number, number)] * (number % 5)
        slab.store(1, certificate, totals, levels, levels[:2])


def coherent(snapshot: BookSnapshot) -> bool:
    number = snapshot.certificate.last_sequence
    levels = ((number, number),) * (number % 5)
    return (
        snapshot.certificate.publish_ns
        == snapshot.totals.last_trade_id
        == snapshot.totals.buy_notional
        == number
        and snapshot.bids == levels
        and snapshot.asks == levels[:2]
    )


def test_a_reader_beside_a_writer_that_is_killed_never_sees_a_torn_book() -> None:
    memory = mmap.mmap(-1, BookSlab.bytes_needed(4, 3, 2))
    slab = BookSlab.create(memory, 4, 3, 2, 0)
    newest = 0
    for round_number in range(3):
        child = os.fork()
        if child == 0:
            try:
                write_forever(memory)
            finally:
                os._exit(1)
        seen = 0
        while seen < 2000:
            snapshot = slab.load(1)
            if snapshot is None:
                continue
            assert coherent(snapshot)
            seen += snapshot.certificate.last_sequence > 0
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        # Dead in the middle of a store or not: the next full store makes it whole.
        slab.store(1, Certificate(instrument_id=1), TradeTotals(), [], [])
        final = slab.load(1)
        assert final is not None
        assert coherent(final)
        newest = round_number
    assert newest == 2
