"""Records: every field survives the bytes, and no byte of a buffer is touched by mistake."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.enums import BookState, IntentKind, OrderFlags, RecordKind, ReportKind, Side
from shm.errors import RecordError
from shm.record_fields import FIELD_NAMES
from shm.records import (
    CERTIFICATES_MAX,
    INTENT_RECORD_BYTES,
    MARKET_RECORD_BYTES,
    REPORT_RECORD_BYTES,
    CertificateRef,
    IntentRecord,
    MarketRecord,
    Record,
    ReportRecord,
)

CLASSES = (MarketRecord, IntentRecord, ReportRecord)


def numbered(cls: type[Record]) -> Record:
    """A record whose every field has a value of its own."""
    record = cls()
    for number, name in enumerate(FIELD_NAMES[cls.__name__], start=1):
        setattr(record, name, number)
    return record


def test_sizes_are_those_of_the_layout() -> None:
    assert (MARKET_RECORD_BYTES, INTENT_RECORD_BYTES, REPORT_RECORD_BYTES) == (128, 256, 256)
    assert [cls().size_bytes for cls in CLASSES] == [128, 256, 256]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_field_survives_bytes_pickle_and_copy(cls: type[Record]) -> None:
    record = numbered(cls)
    for twin in (cls.from_bytes(record.to_bytes()), pickle.loads(pickle.dumps(record)), record.copy()):
        assert twin == record
        assert [getattr(twin, name) for name in FIELD_NAMES[cls.__name__]] == list(
            range(1, len(FIELD_NAMES[cls.__name__]) + 1)
        )


@pytest.mark.parametrize("cls", CLASSES)
def test_a_fresh_record_is_all_zero_and_reset_makes_it_so_again(cls: type[Record]) -> None:
    record = numbered(cls)
    assert cls().to_bytes() == bytes(record.size_bytes)
    record.reset()
    assert record == cls()


@pytest.mark.parametrize("cls", CLASSES)
def test_a_difference_in_any_field_makes_records_unequal(cls: type[Record]) -> None:
    for name in FIELD_NAMES[cls.__name__]:
        other = numbered(cls)
        setattr(other, name, 0)
        assert other != numbered(cls), name


def test_records_of_different_kinds_are_never_equal() -> None:
    assert IntentRecord() != ReportRecord()
    assert MarketRecord() != 5


@pytest.mark.parametrize("cls", CLASSES)
def test_a_mutable_record_has_no_hash(cls: type[Record]) -> None:
    with pytest.raises(TypeError):
        hash(cls())


@pytest.mark.parametrize("cls", CLASSES)
def test_load_and_store_work_at_an_offset_and_touch_nothing_else(cls: type[Record]) -> None:
    record = numbered(cls)
    size = record.size_bytes
    buffer = bytearray(b"\xee" * (size + 7))
    record.store_into(buffer, 3)
    assert buffer[:3] == b"\xee" * 3
    assert buffer[3 + size :] == b"\xee" * 4
    other = cls()
    other.load(buffer, 3)
    assert other == record


@pytest.mark.parametrize("cls", CLASSES)
def test_a_short_buffer_is_refused_and_changes_nothing(cls: type[Record]) -> None:
    record = numbered(cls)
    before = record.to_bytes()
    for offset in (1, -1, 10**9):
        with pytest.raises(RecordError):
            record.load(bytes(record.size_bytes), offset)
        short = bytearray(record.size_bytes)
        with pytest.raises(RecordError):
            record.store_into(short, offset)
        assert short == bytes(record.size_bytes)
    assert record.to_bytes() == before
    with pytest.raises((BufferError, TypeError)):
        record.store_into(bytes(record.size_bytes))


def test_numbers_outside_a_field_are_refused() -> None:
    record = MarketRecord()
    with pytest.raises(OverflowError):
        record.side = 256
    with pytest.raises(OverflowError):
        record.instrument_id = -1
    with pytest.raises(OverflowError):
        record.value0 = 2**63
    assert record == MarketRecord()


@settings(max_examples=50)
@given(st.binary(min_size=128, max_size=128))
def test_any_bytes_load_without_harm(data: bytes) -> None:
    MarketRecord.from_bytes(data)
    intent = IntentRecord.from_bytes(data + data)
    assert len(intent.certificates) == intent.certificate_count <= CERTIFICATES_MAX
    repr(intent)
    repr(ReportRecord.from_bytes(data + data))


def test_the_four_values_have_names_by_kind() -> None:
    book = MarketRecord(kind=RecordKind.BOOK, value0=1, value1=2, value2=3, value3=4)
    assert (book.bid_price_units, book.bid_quantity_units, book.ask_price_units, book.ask_quantity_units) == (
        1,
        2,
        3,
        4,
    )
    trade = MarketRecord(kind=RecordKind.TRADE, value0=5, value1=6, value2=7)
    assert (trade.price_units, trade.quantity_units, trade.trade_id) == (5, 6, 7)
    mark = MarketRecord(kind=RecordKind.MARK, value0=1, value1=2, value2=-3, value3=4)
    assert (mark.price_units, mark.index_price_units, mark.funding_rate_units, mark.next_funding_utc_ns) == (
        1,
        2,
        -3,
        4,
    )


def test_an_intent_cites_up_to_four_certificates() -> None:
    intent = IntentRecord(kind=IntentKind.NEW)
    for number in range(CERTIFICATES_MAX):
        intent.add_certificate(number, 2, 3, -number)
    with pytest.raises(RecordError, match="at most 4"):
        intent.add_certificate(9, 9, 9, 9)
    assert intent.certificates == [CertificateRef(n, 2, 3, -n) for n in range(4)]
    assert IntentRecord.from_bytes(intent.to_bytes()).certificate(3) == (3, 2, 3, -3)
    with pytest.raises(IndexError):
        intent.certificate(4)
    with pytest.raises(IndexError):
        intent.certificate(-1)
    intent.clear_certificates()
    assert intent == IntentRecord(kind=IntentKind.NEW)


def test_the_text_of_a_record_has_enumeration_names() -> None:
    assert repr(MarketRecord(kind=RecordKind.TRADE, side=Side.SELL, book_state=BookState.LIVE, value0=7)) == (
        "MarketRecord(kind=TRADE, book_state=LIVE, side=SELL, value0=7)"
    )
    flags = OrderFlags.POST_ONLY | OrderFlags.REDUCE_ONLY
    assert "flags=POST_ONLY|REDUCE_ONLY" in repr(IntentRecord(flags=flags))
    assert repr(ReportRecord(kind=ReportKind.FILL, side=77)) == "ReportRecord(kind=FILL, side=77)"


def test_an_unknown_keyword_is_refused() -> None:
    with pytest.raises(TypeError, match="no field 'pric'"):
        MarketRecord(pric=1)  # type: ignore[call-arg]
