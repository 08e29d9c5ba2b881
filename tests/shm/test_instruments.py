"""Instrument table: immutable rows, found by id, symbol and canonical name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shm.enums import InstrumentKind, InstrumentStatus
from shm.errors import InstrumentError, LayoutError
from shm.instruments import ROW, Instrument, InstrumentTable


def row(symbol: str = "BTCUSDT", **changes: object) -> Instrument:
    fields: dict[str, object] = {
        "venue_id": 1,
        "symbol": symbol,
        "canonical": "BTC-USDT-PERP",
        "base": "BTC",
        "quote": "USDT",
        "settle": "USDT",
        "price_exponent": 1,
        "quantity_exponent": 3,
        "tick_size": 1,
        "lot_size": 1,
        "min_quantity_units": 1,
        "max_quantity_units": 10**9,
        "min_notional_units": 5 * 10**8,
        "maker_fee_e8": -10000,
        "taker_fee_e8": 50000,
        "slab": 3,
        "priority": 1,
    }
    return Instrument(**{**fields, **changes})  # type: ignore[arg-type]


def table(capacity: int = 4) -> tuple[bytearray, InstrumentTable]:
    payload = bytearray(InstrumentTable.bytes_needed(capacity))
    return payload, InstrumentTable.create(payload, capacity)


def test_a_row_is_256_bytes_and_survives_the_trip() -> None:
    assert ROW.size == 256
    whole = row(
        instrument_id=7, is_inverse=True, multiplier=10, multiplier_exponent=2, kind=InstrumentKind.FUTURE
    )
    assert Instrument.from_bytes(whole.to_bytes()) == whole


def test_a_reader_sees_what_the_writer_adds() -> None:
    payload, writer = table()
    reader = InstrumentTable.attach(memoryview(payload).toreadonly())
    assert len(reader) == 0
    assert writer.add(row()) == 0
    assert writer.add(row("ETHUSDT", canonical="ETH-USDT-PERP")) == 1
    assert [i.symbol for i in reader] == ["BTCUSDT", "ETHUSDT"]
    assert reader.get(1) == row("ETHUSDT", canonical="ETH-USDT-PERP", instrument_id=1)
    assert reader.get(1) is reader.get(1)
    assert reader.by_symbol(1, "ETHUSDT") is reader.get(1)
    assert reader.by_symbol(2, "ETHUSDT") is None
    assert reader.by_canonical("ETH-USDT-PERP") is reader.get(1)
    assert reader.by_canonical("ETH-USDT-PERP", venue_id=2) is None


def test_adding_the_same_row_again_gives_its_id() -> None:
    _, writer = table()
    assert writer.add(row()) == writer.add(row()) == 0
    assert len(writer) == 1


def test_other_terms_need_a_retired_predecessor() -> None:
    payload, writer = table()
    reader = InstrumentTable.attach(payload)
    writer.add(row())
    with pytest.raises(InstrumentError, match="retire it first"):
        writer.add(row(tick_size=5))
    writer.retire(0)
    assert writer.add(row(tick_size=5)) == 1
    assert reader.get(0) == row(status=InstrumentStatus.RETIRED)
    found = reader.by_symbol(1, "BTCUSDT")
    assert found is not None
    assert (found.instrument_id, found.tick_size) == (1, 5)
    assert reader.by_canonical("BTC-USDT-PERP") == found


def test_a_status_change_reaches_a_reader_that_has_the_row_already() -> None:
    payload, writer = table()
    reader = InstrumentTable.attach(payload)
    writer.add(row())
    assert reader.get(0).status == InstrumentStatus.TRADING
    writer.set_status(0, InstrumentStatus.HALTED)
    assert reader.get(0).status == InstrumentStatus.HALTED
    assert reader.by_symbol(1, "BTCUSDT") == row(status=InstrumentStatus.HALTED)
    assert writer.add(row()) == 0


def test_a_status_is_seen_in_place_and_only_read() -> None:
    payload, writer = table()
    writer.add(row("ETHUSDT"))
    writer.add(row())
    seen = InstrumentTable.attach(payload).status_view(1)
    assert seen.tolist() == [InstrumentStatus.TRADING]
    writer.set_status(0, InstrumentStatus.RETIRED)
    assert seen.tolist() == [InstrumentStatus.TRADING]
    writer.set_status(1, InstrumentStatus.HALTED)
    assert seen.tolist() == [InstrumentStatus.HALTED]
    with pytest.raises(TypeError):
        seen[0] = InstrumentStatus.TRADING
    with pytest.raises(InstrumentError):
        writer.status_view(2)


def test_a_canonical_name_of_two_venues_is_told_apart() -> None:
    _, writer = table()
    writer.add(row())
    writer.add(row("BTC-SWAP", venue_id=2))
    assert [i.venue_id for i in (writer.by_canonical("BTC-USDT-PERP", v) for v in (1, 2)) if i] == [1, 2]
    writer.retire(0)
    only = writer.by_canonical("BTC-USDT-PERP")
    assert only is not None
    assert only.venue_id == 2


def test_a_full_table_says_so_and_keeps_what_it_has() -> None:
    _, writer = table(1)
    writer.add(row())
    with pytest.raises(InstrumentError, match="full"):
        writer.add(row("ETHUSDT"))
    assert len(writer) == 1


@pytest.mark.parametrize("instrument_id", [-1, 1, 1000])
def test_an_unknown_id_is_refused(instrument_id: int) -> None:
    _, writer = table()
    writer.add(row())
    with pytest.raises(InstrumentError, match="unknown"):
        writer.get(instrument_id)
    with pytest.raises(InstrumentError, match="unknown"):
        writer.retire(instrument_id)


@pytest.mark.parametrize(
    "change",
    [
        {"symbol": ""},
        {"symbol": "X" * 32},
        {"symbol": "BTC€"},
        {"base": "X" * 16},
        {"canonical": "A\0B"},
        {"venue_id": 32},
        {"price_exponent": 256},
        {"priority": 0},
        {"tick_size": 0},
        {"lot_size": -1},
        {"multiplier": 0},
        {"max_quantity_units": 2**63},
    ],
)
def test_a_field_that_does_not_fit_is_named(change: dict[str, object]) -> None:
    _, writer = table()
    with pytest.raises(InstrumentError):
        writer.add(replace(row(), **change))  # type: ignore[arg-type]
    assert len(writer) == 0


def test_a_payload_that_is_no_table_is_refused() -> None:
    for payload in (b"", bytes(64), bytes(4096)):
        with pytest.raises(LayoutError):
            InstrumentTable.attach(payload)
    with pytest.raises(LayoutError):
        InstrumentTable.create(bytearray(300), 4)
    with pytest.raises(LayoutError):
        InstrumentTable.create(bytearray(300), 0)
    whole, _ = table()
    with pytest.raises(LayoutError, match="too small"):
        InstrumentTable.attach(memoryview(whole)[:-1])


def test_bytes_that_are_no_row_are_refused() -> None:
    with pytest.raises(InstrumentError):
        Instrument.from_bytes(b"123")
    broken = bytearray(row().to_bytes())
    broken[90] = 0xFF
    with pytest.raises(InstrumentError):
        Instrument.from_bytes(broken)
