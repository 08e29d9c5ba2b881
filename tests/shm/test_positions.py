"""Positions: exact numbers of 128 bits through a seqlocked table."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.errors import LayoutError, RecordError
from shm.positions import VALUE, Position, PositionTable

INT64 = st.integers(-(2**63), 2**63 - 1)
POSITIONS = st.builds(
    Position,
    instrument_id=st.integers(0, 3),
    quantity_units=INT64,
    open_buy_units=INT64,
    open_sell_units=INT64,
    cost_units=st.integers(-(2**127), 2**127 - 1),
    realized_units=INT64,
    fees_units=INT64,
    mark_price_units=INT64,
    unrealized_units=INT64,
    fills=st.integers(0, 2**64 - 1),
    update_ns=INT64,
)


def fresh(capacity: int = 4) -> tuple[bytearray, PositionTable]:
    payload = bytearray(PositionTable.bytes_needed(capacity))
    return payload, PositionTable.create(payload, capacity)


def test_the_value_is_the_struct_of_the_layout() -> None:
    assert VALUE.size == 96


@settings(max_examples=100)
@given(POSITIONS)
def test_every_number_survives_the_bytes(position: Position) -> None:
    assert Position.from_bytes(position.to_bytes()) == position


@settings(max_examples=40)
@given(st.lists(POSITIONS, max_size=10))
def test_the_table_is_a_dictionary_of_the_last_stores(stores: list[Position]) -> None:
    payload, writer = fresh()
    reader = PositionTable.attach(payload)
    assert reader.capacity == 4
    naive = {}
    for position in stores:
        writer.store(position)
        naive[position.instrument_id] = position
    assert [reader.load(i) for i in range(4)] == [naive.get(i, Position(i)) for i in range(4)]
    assert reader.all() == [naive[i] for i in sorted(naive) if naive[i].to_bytes() != bytes(96)]


def test_a_position_never_stored_is_flat() -> None:
    _, table = fresh()
    assert table.load(2) == Position(2)
    assert table.all() == []


@pytest.mark.parametrize("instrument_id", [-1, 4])
def test_an_instrument_outside_the_table_is_refused(instrument_id: int) -> None:
    _, table = fresh()
    with pytest.raises(RecordError, match="outside"):
        table.load(instrument_id)
    with pytest.raises(RecordError, match="outside"):
        table.store(Position(instrument_id))


def test_a_number_that_does_not_fit_stores_nothing() -> None:
    payload, table = fresh()
    before = bytes(payload)
    for bad in (Position(1, quantity_units=2**63), Position(1, cost_units=2**127), Position(1, fills=-1)):
        with pytest.raises(RecordError, match="does not fit"):
            table.store(bad)
    assert payload == before


def test_a_payload_that_is_too_small_is_refused() -> None:
    payload, _ = fresh()
    with pytest.raises(LayoutError):
        PositionTable.attach(payload[:-8], 4)
    with pytest.raises(RecordError):
        Position.from_bytes(b"123")
