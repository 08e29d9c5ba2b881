"""Slippage against an exact recomputation, and the switch that learns from it."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exec.errors import OrderError
from exec.slippage import E8, SlippageLedger, SlippageMeter, Style
from exec.style_switch import Situation, StyleSwitch, situation_of
from shm.enums import Side
from tests.exec.scene import inverse, linear

BUY, SELL = int(Side.BUY), int(Side.SELL)
CALM = Situation(0, 0)


def meter(side: int = BUY, units: int = 100, style: Style = Style.AGGRESSIVE) -> SlippageMeter:
    """An order decided at 1000.00 / 1000.20, so at a mid of 1000.10."""
    return SlippageMeter(linear(), side, style, units, 100_000, 100_020, 5)


@given(
    side=st.sampled_from([BUY, SELL]),
    fills=st.lists(
        st.tuples(st.integers(90_000, 110_000), st.integers(1, 50), st.integers(-(10**6), 10**8)), max_size=4
    ),
    units=st.integers(200, 400),
    mid=st.integers(90_000, 110_000),
)
@settings(max_examples=150, deadline=None)
def test_the_shortfall_is_what_exact_arithmetic_says(
    side: int, fills: list[tuple[int, int, int]], units: int, mid: int
) -> None:
    measured = SlippageMeter(linear(), side, Style.PASSIVE, units, 100_000, 100_020, 5)
    for price, quantity, fee in fills:
        measured.fill(price, quantity, fee, 9)
    found = measured.end(mid - 10, mid + 10, 12)
    sign = 1 if side == BUY else -1
    decided = Fraction(100_010)
    filled = sum(quantity for _, quantity, _ in fills)
    paid = sum((Fraction(p) * q for p, q, _ in fills), Fraction(0))
    distance: Fraction = sign * (paid - decided * filled) / (decided * filled) if filled else Fraction(0)
    # A unit of the quantity at a unit of the price is 10^-5 of the quote.
    value = decided * filled / 10**5
    fees = Fraction(sum(f for *_, f in fills), E8)
    charged: Fraction = fees / value if filled else Fraction(0)
    missed = sign * (mid - decided) / decided if filled < units else Fraction(0)
    total = ((distance + charged) * filled + missed * (units - filled)) / units
    for got, expected in (
        (found.price_e8, distance),
        (found.fee_e8, charged),
        (found.missed_e8, missed),
        (found.total_e8, total),
    ):
        assert 0 <= got - expected * E8 <= 3
    assert found.filled_units == filled
    assert found.fill_ns == (4 if filled else 0)


def test_a_sale_below_the_mid_costs_and_above_it_earns() -> None:
    for price, expected in ((100_000, 10_000), (100_020, -9_999)):
        measured = meter(SELL)
        measured.fill(price, 100, 0, 9)
        assert measured.end(0, 0, 12).total_e8 == pytest.approx(expected, abs=2)


def test_the_fee_of_an_inverse_contract_counts_in_its_coin() -> None:
    # 10 contracts of 100 at 50,000.0 are 0.02 coins; a fee of 0.00001 coins is 5 basis points.
    measured = SlippageMeter(inverse(), BUY, Style.AGGRESSIVE, 10, 500_000, 500_000, 0)
    measured.fill(500_000, 10, 1_000, 1)
    assert measured.end(500_000, 500_000, 2).fee_e8 == pytest.approx(50_000, abs=1)


def test_the_ledger_keeps_means_by_style_and_the_newest_orders() -> None:
    ledger = SlippageLedger(kept=2)
    for style, price in ((Style.AGGRESSIVE, 100_020), (Style.PASSIVE, 100_000), (Style.PASSIVE, 100_010)):
        for _ in range(2):
            measured = meter(style=style)
            measured.fill(price, 100, 0, 9)
            ledger.add(measured.end(0, 0, 12))
    ledger.add(meter(style=Style.PASSIVE).end(100_000, 100_020, 12))
    rows = ledger.rows()
    assert rows["aggressive"]["total_bps"] == pytest.approx(0.9999, abs=2e-4)
    assert rows["passive"] | {"total_bps": 0} == {
        "orders": 5, "not_all_filled": 1, "price_bps": pytest.approx(-0.5, abs=1e-3), "fee_bps": 0.0,
        "total_bps": 0, "fill_ms": 0.0,
    }  # fmt: skip
    assert rows["all"]["orders"] == 7
    assert 2 <= len(ledger.orders) <= 4


@pytest.mark.parametrize(("units", "bid", "ask"), [(0, 1, 2), (1, 0, 2), (1, 3, 2)])
def test_an_order_without_a_quantity_or_a_book_is_refused(units: int, bid: int, ask: int) -> None:
    with pytest.raises(OrderError, match="means nothing"):
        SlippageMeter(linear(), BUY, Style.PASSIVE, units, bid, ask, 0)


# ---- the switch -----------------------------------------------------------------------------------


def spent(switch: StyleSwitch, chance: random.Random, costs: tuple[float, float], orders: int) -> list[Style]:
    """Orders in a market where the styles cost that much in the mean; what was chosen."""
    chosen = []
    for _ in range(orders):
        choice = switch.choose(CALM)
        switch.learn(choice, round(chance.gauss(costs[choice.style], 3_000)))
        chosen.append(choice.style)
    return chosen


@pytest.mark.parametrize(("costs", "best"), [((50_000, 35_000), 1), ((200, 4_500), 0)])
def test_the_switch_finds_the_cheaper_style(costs: tuple[float, float], best: int) -> None:
    chosen = spent(StyleSwitch(), random.Random(3), costs, 300)
    assert sum(style == best for style in chosen[100:]) > 160


def test_the_switch_follows_a_market_that_turns() -> None:
    switch, chance = StyleSwitch(discount=0.97), random.Random(4)
    before = spent(switch, chance, (20_000, 5_000), 300)
    after = spent(switch, chance, (5_000, 20_000), 300)
    assert before[-100:].count(Style.PASSIVE) > 80
    assert after[-100:].count(Style.AGGRESSIVE) > 80


def test_equal_outcomes_give_equal_choices_and_situations_are_learned_apart() -> None:
    one, other = StyleSwitch(), StyleSwitch()
    assert spent(one, random.Random(1), (1, 2), 50) == spent(other, random.Random(1), (1, 2), 50)
    assert one.choose(Situation(2, 1)).expected_e8 == (None, None)
    assert [row["situation"] for row in one.rows()] == ["1 tick, short queue", "more ticks, even queues"]


def test_a_burst_does_not_try_one_style_only_and_what_never_left_is_forgotten() -> None:
    switch = StyleSwitch()
    assert {switch.choose(CALM).style for _ in range(1)} == {Style.AGGRESSIVE}
    choice = switch.choose(CALM)
    assert choice.style is Style.PASSIVE
    switch.forget(choice)
    assert switch.choose(CALM).style is Style.PASSIVE


def test_a_fixed_switch_does_as_it_was_told_and_a_given_style_is_learned_from() -> None:
    assert set(spent(StyleSwitch(fixed=Style.PASSIVE), random.Random(1), (0, 9_999), 20)) == {Style.PASSIVE}
    switch = StyleSwitch()
    switch.learn(switch.choose(CALM, Style.PASSIVE), 700)
    assert switch.rows()[0]["passive"] == {"weight": 1.0, "cost_bps": 0.07}


@pytest.mark.parametrize(
    ("spread", "own", "other", "expected"), [(10, 1, 9, (0, 0)), (30, 5, 5, (1, 1)), (31, 9, 1, (2, 2))]
)
def test_situations_are_spread_in_ticks_and_share_of_the_queue(
    spread: int, own: int, other: int, expected: tuple[int, int]
) -> None:
    assert situation_of(spread, 10, own, other) == expected


@pytest.mark.parametrize(
    "fields", [{"discount": 0.0}, {"discount": 1.1}, {"bound_e8": 0}, {"exploration": 0.0}]
)
def test_a_switch_that_makes_no_sense_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(OrderError, match="the switch needs"):
        StyleSwitch(**fields)  # type: ignore[arg-type]
