"""Exact money: positions, PnL, exposure, rate, limits, halt table."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from risk.errors import ExposureError, LimitsError
from risk.exposure import ExposureBook
from risk.halt import TABLE, HaltEvent, step
from risk.limits import Limits
from risk.pnl import Valuation, round_half_even
from risk.positions import FillPosition
from risk.rate import OrderRate
from shm.enums import Side, TradingState
from shm.instruments import Instrument
from shm.units import notional_e8
from tests.exec.scene import inverse, linear

BUY, SELL = int(Side.BUY), int(Side.SELL)
FILLS = st.lists(
    st.tuples(st.sampled_from([BUY, SELL]), st.integers(1, 10**9), st.integers(1, 10**7)),
    min_size=1,
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(FILLS, st.integers(1, 10**9))
def test_linear_pnl_is_the_cash_flow_to_the_last_unit(fills: list[tuple[int, int, int]], mark: int) -> None:
    position = FillPosition(Valuation(linear()))
    cash = held = 0
    for side, price, units in fills:
        position.apply_fill(side, price, units, 0)
        sign = 1 if side == BUY else -1
        cash -= sign * price * units
        held += sign * units
        assert position.quantity_units == held
        if not held:
            assert position.cost_product == 0 and position.realized_product == cash
    total = position.realized_product + (mark * held - position.cost_product)
    assert total == cash + mark * held


@settings(max_examples=80, deadline=None)
@given(FILLS, st.integers(1, 10**9))
def test_inverse_pnl_agrees_with_fractions(fills: list[tuple[int, int, int]], mark: int) -> None:
    row = inverse()
    position = FillPosition(Valuation(row))
    coins = Fraction(0)
    held = 0
    for side, price, units in fills:
        position.apply_fill(side, price, units, 0)
        sign = 1 if side == BUY else -1
        coins += Fraction(sign * units * 100 * 10, price)
        held += sign * units
    coins -= Fraction(held * 100 * 10, mark)
    assert abs(Fraction(position.realized_e8 + position.unrealized_e8(mark), 10**8) - coins) <= Fraction(
        2, 10**8
    )


def test_average_cost_of_a_reduced_and_a_flipped_position() -> None:
    position = FillPosition(Valuation(linear()))
    position.apply_fill(BUY, 1000, 10, 5)
    position.apply_fill(BUY, 1100, 10, 5)
    assert position.average_price_units == 1050
    position.apply_fill(SELL, 1150, 5, -2)
    assert position.realized_product == 500 and position.average_price_units == 1050
    position.apply_fill(SELL, 1000, 25, 0)
    assert position.quantity_units == -10 and position.average_price_units == 1000
    assert position.realized_product == 500 - 15 * 50 and position.fees_e8 == 8
    assert position.unrealized_e8(900) == 1000 * 1000 and position.realized_e8 == -250 * 1000


@settings(max_examples=100, deadline=None)
@given(
    st.integers(-(2**70), 2**70) | st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 0, -1]),
    st.sampled_from([1, 3, 10**10, 10**11, 2**62]),
    st.integers(0, 12),
)
def test_exposure_is_the_same_in_registers_and_beyond_them(base: int, multiplier: int, decimals: int) -> None:
    row = Instrument(
        venue_id=1, symbol="A", price_exponent=decimals, quantity_exponent=decimals,
        tick_size=1, lot_size=1, multiplier=multiplier,
    )  # fmt: skip
    exact = Fraction(abs(base) * multiplier * 10**8, 10 ** (2 * decimals))
    assert Valuation(row).exposure_e8(base, 1) == -(-exact.numerator // exact.denominator)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 10**12), st.integers(1, 10**12), st.booleans())
def test_exposure_is_the_shared_notional(price: int, units: int, is_inverse: bool) -> None:
    row = inverse() if is_inverse else linear()
    assert Valuation(row).exposure_e8(price * units, units) == notional_e8(price, units, row)


@given(st.integers(-(10**20), 10**20), st.integers(1, 10**10))
def test_round_half_even_is_pythons(numerator: int, denominator: int) -> None:
    assert round_half_even(numerator, denominator) == round(Fraction(numerator, denominator))


def test_worst_case_is_per_side() -> None:
    book = ExposureBook({0: linear()}.__getitem__)
    book.mark(0, 1000)
    book.apply_fill(0, BUY, 900, 10, 0)
    book.adjust(0, BUY, 5, 5 * 990, 1)
    book.adjust(0, SELL, 30, 30 * 1010, 2)
    row = book.row(0)
    assert row.side_e8(True) == (10 * 1000 + 5 * 990) * 1000
    assert row.side_e8(False) == (30 * 1010 - 10 * 1000) * 1000
    assert book.total_e8 == row.exposure_e8 == row.side_e8(False)
    book.adjust(0, SELL, -30, -30 * 1010, -2)
    assert row.side_e8(False) == 0 and book.total_e8 == row.side_e8(True)
    book.mark(0, 2000)
    assert book.total_e8 == (10 * 2000 + 5 * 990) * 1000


def test_releasing_an_order_twice_is_an_error() -> None:
    book = ExposureBook({0: linear()}.__getitem__)
    book.adjust(0, BUY, 5, 5000, 1)
    book.adjust(0, BUY, -5, -5000, -1)
    with pytest.raises(ExposureError, match="instrument 0"):
        book.adjust(0, BUY, -5, -5000, -1)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 1000), st.integers(1, 50), st.lists(st.integers(0, 50_000_000), max_size=200))
def test_rate_never_passes_more_than_burst_plus_rate(per_s: int, burst: int, gaps: list[int]) -> None:
    rate = OrderRate(per_s, burst)
    now, passed = 0, []
    for gap in gaps:
        now += gap
        if rate.conforms(now):
            rate.spend(now)
            passed.append(now)
    for i, start in enumerate(passed):
        for j in range(i, len(passed)):
            assert j - i + 1 <= burst + (passed[j] - start) * per_s / 1e9 + 1e-6


def test_rate_zero_is_no_limit() -> None:
    rate = OrderRate(0, 1)
    for _ in range(100):
        assert rate.conforms(5)
        rate.spend(5)


@pytest.mark.parametrize(
    "bad",
    [
        {"max_order_units": -1},
        {"max_silence_ns": 0},
        {"burst": 0},
        {"price_band_bps": 10_000},
        {"max_exposure_e8": 1.5},
        {"max_open_orders": True},
    ],
)
def test_bad_limits_name_themselves(bad: dict[str, int]) -> None:
    with pytest.raises(LimitsError, match=next(iter(bad))):
        Limits(**bad)


def test_halt_table_is_complete_and_only_armed_clear_lowers() -> None:
    assert set(TABLE) == {(s, a, e) for s in TradingState for a in (False, True) for e in HaltEvent}
    for (state, armed, event), answer in TABLE.items():
        if answer.state < state:
            assert armed and event == HaltEvent.CLEAR
        if not answer.obeyed:
            assert answer.state == state
    assert step(TradingState.ACTIVE, False, HaltEvent.HALT).state == TradingState.HALTED
    assert step(TradingState.HALTED, True, HaltEvent.HALT).armed is False
