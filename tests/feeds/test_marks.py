"""Mark prices, index prices and funding rates: exact in their records, however fine a venue writes them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.core import FrameResult
from shm.enums import RecordKind
from shm.records import MarketRecord
from tests.feeds.test_stream_snapshots import SWAP, StreamRig
from tests.kit.feed_kit import FeedBench, instrument, snapshot_body
from tests.kit.stream_frames import okx


def told(record: MarketRecord) -> tuple[Decimal, Decimal, Decimal]:
    """Mark, index and rate of a record."""
    price, rate = -record.mark_exponent, -record.funding_rate_exponent
    return (
        Decimal(record.price_units).scaleb(price),
        Decimal(record.index_price_units).scaleb(price),
        Decimal(record.funding_rate_units).scaleb(rate),
    )


def marks(rig: StreamRig) -> list[MarketRecord]:
    return [r for r in rig.records() if r.kind == RecordKind.MARK]


def mark(price: str) -> bytes:
    return okx("mark-price", [{"instId": SWAP, "markPx": price, "ts": "5"}], instId=SWAP)


def index(price: str) -> bytes:
    return okx("index-tickers", [{"instId": "BTC-USDT", "idxPx": price, "ts": "6"}], instId="BTC-USDT")


def rate(value: str) -> bytes:
    row = {"fundingRate": value, "fundingTime": "1700726400000", "instId": SWAP, "ts": "7"}
    return okx("funding-rate", [row], instId=SWAP)


TEXT = st.builds(
    lambda whole, digits, zeros: f"{whole}.{digits}{'0' * zeros}" if digits or zeros else str(whole),
    st.integers(0, 9),
    st.from_regex(r"[0-9]{0,17}", fullmatch=True),
    st.integers(0, 3),
)
STEP = st.one_of(
    st.tuples(st.just(0), TEXT),
    st.tuples(st.just(1), TEXT),
    st.tuples(st.just(2), st.builds(lambda minus, text: "-" * minus + text, st.booleans(), TEXT)),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(STEP, min_size=1, max_size=8))
def test_the_newest_values_are_exact_whatever_came_before(steps: list[tuple[int, str]]) -> None:
    rig = StreamRig("okx", (SWAP,))
    rig.records()
    known = [Decimal(0), Decimal(0), Decimal(0)]
    for which, text in steps:
        frame = (mark, index, rate)[which](text)
        assert rig.frame(frame) == FrameResult.PUBLISHED, (text, rig.core.error)
        known[which] = Decimal(text)
        (record,) = marks(rig)
        assert told(record) == tuple(known)


def test_a_price_is_in_units_of_ten_to_the_minus_eight_until_a_finer_one_comes() -> None:
    rig = StreamRig("okx", (SWAP,))
    for frame in (mark("42310.6"), mark("0.0000000087650"), mark("1")):
        rig.frame(frame)
    assert [(r.price_units, r.mark_exponent) for r in marks(rig)] == [
        (4_231_060_000_000, 8),
        (8_765, 12),
        (10**12, 12),
    ]


def test_the_documented_funding_rate_of_sixteen_decimals_is_taken() -> None:
    rig = StreamRig("okx", (SWAP,))
    assert rig.frame(rate("0.0001875391284828")) == FrameResult.PUBLISHED
    (record,) = marks(rig)
    assert (record.funding_rate_units, record.funding_rate_exponent) == (1_875_391_284_828, 16)


@pytest.mark.parametrize("text", ["0.0000000000000000001", "99999999999.1"])
def test_a_price_that_no_record_holds_exactly_is_refused_and_changes_nothing(text: str) -> None:
    rig = StreamRig("okx", (SWAP,))
    rig.frame(mark("5"))
    rig.records()
    assert rig.frame(mark(text)) == FrameResult.REJECTED
    assert "does not fit" in rig.core.error
    assert rig.frame(index("6")) == FrameResult.PUBLISHED
    (record,) = marks(rig)
    assert told(record)[:2] == (Decimal(5), Decimal(6))


def test_a_fine_price_that_leaves_no_room_for_the_other_is_refused() -> None:
    rig = StreamRig("okx", (SWAP,))
    rig.frame(index("9999999999"))
    rig.records()
    assert rig.frame(mark("0.0000000001")) == FrameResult.REJECTED
    assert rig.frame(mark("0.5")) == FrameResult.PUBLISHED
    assert told(marks(rig)[0])[:2] == (Decimal("0.5"), Decimal(9_999_999_999))


def test_all_three_of_one_message_are_exact() -> None:
    bench = FeedBench(instrument())
    bench.go_live(snapshot_body(10, [], []))
    bench.poll()
    frame = (
        b'{"e":"markPriceUpdate","E":5,"s":"BTCUSDT","p":"0.000000012345","i":"0.00000001230",'
        b'"r":"-0.00038167123","T":9}'
    )
    assert bench.core.on_frame(frame, 5) == FrameResult.PUBLISHED
    (record,) = bench.poll()
    assert told(record) == (Decimal("0.000000012345"), Decimal("0.0000000123"), Decimal("-0.00038167123"))
