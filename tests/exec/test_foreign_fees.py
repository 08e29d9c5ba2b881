"""A fee in a venue's token: at the token's mark where there is one, else at the schedule and by name."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exec.discrepancy import DiscrepancyKind
from exec.foreign_fees import ForeignFees, TokenMarks, prices
from exec.lifecycle import Event
from exec.session import VenueReport
from shm.enums import InstrumentKind, InstrumentStatus
from shm.instruments import Instrument
from tests.exec.scene import BUY, linear

SPOT = InstrumentKind.SPOT


def row(number: int, base: str, quote: str, **changes: object) -> Instrument:
    return replace(linear(number), base=base, quote=quote, settle=quote, **changes)  # type: ignore[arg-type]


class Rows:
    """An instrument table that grows."""

    def __init__(self, *rows: Instrument) -> None:
        self.rows = list(rows)

    def get(self, instrument_id: int) -> Instrument:
        return self.rows[instrument_id]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self.rows)


def fill(trade_id: int = 1) -> VenueReport:
    terms = {"last_units": 3, "last_price_units": 1000, "fee_units": 555}
    return VenueReport(int(Event.FILL_PART), 7, 0, BUY, trade_id=trade_id, **terms)


def test_without_a_mark_the_schedule_is_booked_and_each_trade_is_told_once_by_name() -> None:
    fees = ForeignFees()
    report = fill()
    for _ in range(2):
        fees.note(report, "OKB", 42)
    assert report.fee_units == 555 and fees.paid_e8 == {"OKB": 42} and fees.trades == 1
    (found,) = fees.take_news()
    assert (found.kind, found.asset, found.ours, found.theirs) == (
        DiscrepancyKind.FOREIGN_FEE,
        "OKB",
        555,
        42,
    )
    assert (found.client_order_id, found.trade_id, found.instrument_id) == (7, 1, 0)
    assert fees.take_news() == []


def test_with_a_mark_the_tokens_worth_is_booked_however_often_it_is_told() -> None:
    table = Rows(row(0, "BTC", "USDT"), row(1, "BNB", "USDT", price_exponent=2))
    marks = {1: 61_237}
    fees = ForeignFees()
    fees.value_e8 = TokenMarks(table, lambda i: marks.get(i, 0)).value_e8
    for _ in range(2):
        report = fill()
        fees.note(report, "BNB", 1_001)
        assert report.fee_units == -(-1_001 * 61_237 // 100)
    assert fees.paid_e8 == {"BNB": 1_001} and fees.take_news() == []
    marks.clear()
    report = fill(2)
    fees.note(report, "BNB", 1_001)
    assert report.fee_units == 555 and len(fees.take_news()) == 1


@settings(max_examples=50, deadline=None)
@given(st.integers(-(10**12), 10**12), st.integers(1, 10**12), st.integers(0, 12))
def test_the_worth_is_exact_but_for_a_division_that_is_rounded_against_us(
    amount: int, mark: int, exponent: int
) -> None:
    table = Rows(row(0, "BTC", "USDT"), row(1, "BNB", "USDT", price_exponent=exponent))
    worth = TokenMarks(table, {0: 5, 1: mark}.__getitem__).value_e8(0, "BNB", amount)
    assert worth is not None
    assert 0 <= worth - Fraction(amount * mark, 10**exponent) < 1


def test_spot_goes_first_and_a_row_that_comes_later_is_found() -> None:
    table = Rows(row(0, "BTC", "USDT"))
    marks = TokenMarks(table, {1: 300, 2: 200}.__getitem__)
    assert marks.value_e8(0, "BNB", 1) is None
    table.rows.append(row(1, "BNB", "USDT", price_exponent=0))
    assert marks.value_e8(0, "BNB", 1) == 300
    table.rows.append(row(2, "BNB", "USDT", price_exponent=0, kind=SPOT))
    assert marks.value_e8(0, "BNB", 1) == 200


@pytest.mark.parametrize(
    ("changes", "is_price"),
    [
        ({}, True),
        ({"kind": SPOT}, True),
        ({"multiplier": 1, "multiplier_exponent": 2}, True),
        ({"multiplier": 1000, "multiplier_exponent": 0}, False),
        ({"base": "SOL"}, False),
        ({"quote": "BTC", "settle": "BTC"}, False),
        ({"is_inverse": True}, False),
        ({"status": InstrumentStatus.RETIRED}, False),
    ],
)
def test_only_the_price_of_one_token_counts(changes: dict[str, object], is_price: bool) -> None:
    assert prices(replace(row(1, "BNB", "USDT"), **changes), "BNB", "USDT") is is_price  # type: ignore[arg-type]
