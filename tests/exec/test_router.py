"""The router against every possible split, on small books of all shapes."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import pytest

from exec.errors import OrderError
from exec.router import E8, Outlet, Route, find_route
from shm.enums import Side
from shm.instruments import Instrument

BUY, SELL = int(Side.BUY), int(Side.SELL)


def row(symbol: str = "X", **fields: int | str) -> Instrument:
    """A linear instrument with small numbers."""
    values: dict[str, int | str] = {
        "venue_id": 1,
        "price_exponent": 1,
        "quantity_exponent": 2,
        "base": "BTC",
        "quote": "USDT",
        **fields,
    }
    return Instrument(symbol=symbol, **values)  # type: ignore[arg-type]


def base_of(outlet: Outlet, units: int) -> Fraction:
    """A quantity in the base currency."""
    instrument = outlet.instrument
    exponent = instrument.quantity_exponent + instrument.multiplier_exponent
    return Fraction(units * instrument.multiplier, 10**exponent)


def naive_cost(outlet: Outlet, units: int, buys: bool) -> Fraction:
    """What a quantity costs (selling: minus what it brings), with fee and drift."""
    fee = outlet.instrument.taker_fee_e8 if outlet.taker_fee_e8 is None else outlet.taker_fee_e8
    burden = Fraction(fee + outlet.drift_e8_per_s * outlet.latency_ns // 10**9, E8)
    total = Fraction(0)
    for price, quantity in outlet.levels:
        part = min(units, quantity)
        value = Fraction(price, 10**outlet.instrument.price_exponent) * base_of(outlet, part)
        total += value * (1 + burden) if buys else -value * (1 - burden)
        units -= part
    assert units == 0
    return total


def possible_units(outlet: Outlet) -> list[int]:
    """Every quantity that the venue would take, 0 included."""
    instrument = outlet.instrument
    depth = sum(quantity for _, quantity in outlet.levels)
    most = min(x for x in (depth, instrument.max_quantity_units, outlet.max_units) if x or x == depth)
    found = [0]
    if not outlet.levels:
        return found
    worst = Fraction(min(price for price, _ in outlet.levels), 10**instrument.price_exponent)
    for units in range(instrument.lot_size, most + 1, instrument.lot_size):
        enough = base_of(outlet, units) * worst * E8 >= instrument.min_notional_units
        if units >= instrument.min_quantity_units and enough:
            found.append(units)
    return found


def best_split(outlets: list[Outlet], buys: bool, quantity_e8: int) -> tuple[Fraction, Fraction]:
    """(most that can be filled, least cost of doing so), by trying every split."""
    wanted = Fraction(quantity_e8, E8)
    best: tuple[Fraction, Fraction] = (Fraction(0), Fraction(0))
    for split in itertools.product(*(possible_units(outlet) for outlet in outlets)):
        filled = sum((base_of(o, units) for o, units in zip(outlets, split, strict=True)), Fraction(0))
        if filled <= wanted and filled >= best[0]:
            cost = sum((naive_cost(o, u, buys) for o, u in zip(outlets, split, strict=True)), Fraction(0))
            if filled > best[0] or cost < best[1]:
                best = (filled, cost)
    return best


def random_outlet(chance: random.Random, buys: bool, index: int) -> Outlet:
    """A book of up to three levels at a venue with its own exponents, lots, minimums and fees."""
    multiplier, multiplier_exponent = chance.choice([(1, 0), (1, 1), (5, 1)])
    instrument = row(
        f"V{index}",
        venue_id=index + 1,
        price_exponent=chance.choice([0, 1]),
        quantity_exponent=chance.choice([0, 1]),
        multiplier=multiplier,
        multiplier_exponent=multiplier_exponent,
        lot_size=chance.choice([1, 1, 2, 3, 5]),
        min_quantity_units=chance.choice([0, 0, 2, 4]),
        max_quantity_units=chance.choice([0, 0, 6]),
        min_notional_units=chance.choice([0, 0, 150 * E8]),
        taker_fee_e8=chance.choice([0, 20_000, 60_000, -5_000]),
    )
    price = 100 * 10**instrument.price_exponent + chance.randint(-3, 3)
    levels = []
    for _ in range(chance.randint(0, 3)):
        levels.append((price, chance.randint(1, 6)))
        price += chance.randint(1, 4) * (1 if buys else -1)
    return Outlet(
        instrument,
        levels,
        latency_ns=chance.choice([0, 1_000_000, 40_000_000]),
        drift_e8_per_s=chance.choice([0, 500_000]),
        max_units=chance.choice([0, 0, 5]),
    )


def check(outlets: list[Outlet], side: int, quantity_e8: int) -> Route:
    """Compare one route with the best of all splits."""
    buys = side == BUY
    route = find_route(outlets, side, quantity_e8)
    filled = sum((base_of(outlets[leg.outlet], leg.quantity_units) for leg in route.legs), Fraction(0))
    cost = sum((naive_cost(outlets[leg.outlet], leg.quantity_units, buys) for leg in route.legs), Fraction(0))
    assert (filled, cost) == best_split(outlets, buys, quantity_e8)
    for leg in route.legs:
        assert leg.quantity_units in possible_units(outlets[leg.outlet])
    assert route.filled_base_e8 == filled * E8 // 1
    assert route.cost_e8 == (-(-cost * E8 // 1) if buys else -cost * E8 // 1)
    return route


def split_random_books(seed: int, count: int) -> int:
    """Split so many random books as trying everything would; the number of legs."""
    chance = random.Random(seed)
    legs = 0
    for _ in range(count):
        side = chance.choice([BUY, SELL])
        outlets = [random_outlet(chance, side == BUY, i) for i in range(chance.choice([1, 2, 2, 3, 3]))]
        legs += len(check(outlets, side, chance.randint(1, 140) * E8 // 10).legs)
    return legs


def test_random_books_are_split_as_trying_everything_would() -> None:
    assert split_random_books(20, 2_000) > 1_000


@pytest.mark.prove
def test_ten_thousand_random_books_are_split_as_trying_everything_would() -> None:
    assert split_random_books(21, 10_000) > 5_000


def outlet(prices: list[tuple[int, int]], symbol: str = "X", **fields: int | str) -> Outlet:
    """An outlet of one instrument without fees."""
    return Outlet(row(symbol, **fields), prices)


def test_a_cheaper_price_behind_a_higher_fee_loses() -> None:
    cheap = Outlet(row("A"), [(1000, 500)], taker_fee_e8=100_000)
    dear = Outlet(row("B"), [(1000, 500)], taker_fee_e8=50_000)
    route = find_route([cheap, dear], BUY, 2 * E8)
    assert [(leg.outlet, leg.quantity_units, leg.limit_price_units) for leg in route.legs] == [(1, 200, 1000)]
    assert route.cost_e8 == 200 * E8 + 200 * 50_000


def test_the_way_to_a_far_venue_costs_what_the_market_is_expected_to_move() -> None:
    far = Outlet(row("A"), [(1000, 500)], latency_ns=50_000_000, drift_e8_per_s=400_000)
    near = Outlet(row("B"), [(1000, 500)], latency_ns=1_000_000, drift_e8_per_s=400_000)
    assert [leg.outlet for leg in find_route([far, near], SELL, E8).legs] == [1]


def test_the_slowest_venue_comes_first() -> None:
    near = Outlet(row("A"), [(1000, 100)], latency_ns=1_000_000)
    far = Outlet(row("B"), [(1000, 100)], latency_ns=9_000_000)
    assert [leg.outlet for leg in find_route([near, far], BUY, 2 * E8).legs] == [1, 0]


def test_what_the_books_do_not_hold_is_left_and_said() -> None:
    route = find_route([outlet([(1000, 30)])], BUY, E8)
    assert not route.is_complete
    assert route.filled_base_e8 == 30 * E8 // 100
    assert find_route([outlet([])], BUY, E8).legs == ()


def test_less_than_the_finest_lot_may_be_left_of_a_complete_route() -> None:
    route = find_route([outlet([(1000, 30)], lot_size=10)], BUY, E8 * 25 // 100)
    assert route.is_complete
    assert [leg.quantity_units for leg in route.legs] == [20]


def test_contracts_compare_with_coins() -> None:
    contracts = outlet([(1000, 50)], quantity_exponent=0, multiplier=1, multiplier_exponent=2)
    coins = outlet([(1001, 5_000)], quantity_exponent=4)
    route = find_route([contracts, coins], BUY, E8)
    assert sorted((leg.outlet, leg.quantity_units) for leg in route.legs) == [(0, 50), (1, 5_000)]


def test_big_books_of_eight_venues_are_split_at_once() -> None:
    chance = random.Random(1)
    outlets = []
    for index in range(8):
        price, levels = 600_000 + chance.randint(0, 5), []
        for _ in range(32):
            levels.append((price, chance.randint(1, 9_000_000)))
            price += chance.randint(1, 3)
        lot = chance.choice([1_000, 10_000, 100_000])
        outlets.append(
            Outlet(row(f"V{index}", quantity_exponent=6, lot_size=lot, taker_fee_e8=40_000 + index), levels)
        )
    route = find_route(outlets, BUY, 700 * E8)
    assert route.is_complete
    assert sum(leg.quantity_units for leg in route.legs) == 700 * 10**6


@pytest.mark.parametrize(
    ("outlets", "quantity_e8", "named"),
    [
        ([], E8, "1 to 8 outlets"),
        ([outlet([(1, 1)])] * 9, E8, "1 to 8 outlets"),
        ([outlet([(1, 1)])], 0, "positive quantity"),
        ([outlet([(1, 1)]), outlet([(1, 1)], symbol="E", base="ETH")], E8, "E trades ETH-USDT"),
        ([Outlet(row("I", is_inverse=True), [(1, 1)])], E8, "I is an inverse contract"),
        ([outlet([(10, 1), (9, 1)], symbol="W")], E8, "W: level 9 stands behind 10"),
        ([outlet([(10, 0)], symbol="W")], E8, "W: level 10 × 0"),
    ],
)
def test_what_can_not_be_routed_is_named(outlets: list[Outlet], quantity_e8: int, named: str) -> None:
    with pytest.raises(OrderError, match=named):
        find_route(outlets, BUY, quantity_e8)


def test_a_contract_of_a_thousand_coins_compares_with_coins() -> None:
    names = {"canonical": "BTC-USDT-PERP"}
    thousands = outlet([(1_000_000, 3)], symbol="K", base="1000BTC", quantity_exponent=0, **names)
    coins = outlet([(1_001, 500_000)], **names)
    route = find_route([thousands, coins], BUY, 4_000 * E8)
    assert sorted((leg.outlet, leg.quantity_units) for leg in route.legs) == [(0, 3), (1, 100_000)]
    assert route.cost_e8 == (3 * 100_000 + 1_000 * 10_010 // 100) * E8
