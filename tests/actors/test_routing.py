"""Routes over three venues' live books, sent through gate, OMS and paper venue on the virtual clock."""

from __future__ import annotations

import random

import pytest

from actors.runtime.market_pace import LOOK_NS, Pace, RoundTrips
from shm.book import BookSnapshot, Certificate, TradeTotals
from shm.enums import BookState, ReportKind, Side
from tests.kit.three_books import BINANCE, BYBIT, CANONICAL, OKX, ThreeBooks, rows

E8 = 10**8
BUY, SELL = Side.BUY, Side.SELL
SECOND_NS = 1_000_000_000
LATENCY = {"entry_latency": "500us", "response_latency": "300us"}


def three(**gateway: object) -> ThreeBooks:
    """One coin at each touch; asks 60000.10, 60000.1 and 60000.2, one more coin at 60001.00 at the first."""
    world = ThreeBooks(gateway=gateway)
    world.show(BINANCE, [(6_000_000, 1_000)], [(6_000_010, 1_000), (6_000_100, 5_000)])
    world.show(OKX, [(600_000, 100)], [(600_001, 100)])
    world.show(BYBIT, [(600_000, 1_000)], [(600_002, 2_000)])
    return world


def fills(world: ThreeBooks) -> dict[int, int]:
    """Quantity filled by instrument."""
    found: dict[int, int] = {}
    for report in world.actor.reports:
        if report.kind == ReportKind.FILL:
            found[report.instrument_id] = found.get(report.instrument_id, 0) + report.last_units
    return found


def test_a_route_over_three_venues_is_split_sent_filled_and_accounted_for() -> None:
    world = three(**LATENCY)
    plan = world.context.route(CANONICAL, BUY, 5 * E8)
    assert plan.route.is_complete
    assert not plan.left_out
    sent = world.context.send_route(plan)
    world.advance(SECOND_NS)
    assert fills(world) == {BINANCE: 2_000, OKX: 100, BYBIT: 2_000}
    assert sent.open == 0
    assert sent.filled_e8 == 5 * E8
    # 1 and 1 at 60000.10, 2 at 60000.20, 1 at 60001.00, and 5 basis points of it.
    assert sent.value_e8 == (2 * 6_000_010 + 2 * 6_000_020 + 6_000_100) * E8 // 100
    assert sent.value_e8 + sent.fees_e8 == plan.route.cost_e8
    world.context.routing.tell()
    told = world.notes("routing")[-1]
    assert told["round_trips"]["1"] == {"round_trip_ms": 0.8, "count": 1}
    decision = told["decisions"][0]
    assert decision["realized_bps"] == 0.0
    # The first venue alone fills all of it, four coins at the dear level: 3.6 - 0.9 - 0.2 of 300,000 more.
    assert decision["saved_bps"] == pytest.approx((3 * 0.9 - 2 * 0.1) / 300_000 * 1e4, abs=1e-3)
    assert world.world.host(2).metrics.counters()["route.legs"] == 3


def test_every_leg_cites_the_books_of_the_route_and_dies_with_any_of_them() -> None:
    world = three()
    plan = world.context.route(CANONICAL, BUY, 3 * E8)
    # A gap at one venue, not yet drained by the strategy when it sends: the gate looks at the slab.
    slab = world.context.host.slab_of(OKX)
    book = slab.load(OKX)
    assert book is not None
    slab.store(OKX, book.certificate._replace(state=BookState.DESYNC), book.totals, book.bids, book.asks)
    sent = world.context.send_route(plan)
    world.advance(SECOND_NS)
    assert len(sent.orders) == 3
    assert sent.denied == 3
    assert fills(world) == {}


def test_a_venue_whose_book_is_not_live_or_not_known_is_no_outlet() -> None:
    world = ThreeBooks()
    world.show(BYBIT, [(600_000, 1_000)], [(600_002, 2_000)])
    plan = world.context.route(CANONICAL, SELL, E8)
    assert [o.instrument.instrument_id for o in plan.outlets] == [BYBIT]
    assert set(plan.left_out.values()) == {"SYNCING"}
    silent = world.context.host.slab_of(BYBIT)
    assert silent.stream_alive_ns(2) >= 0
    world.world.clock.virtual_ns += 10 * SECOND_NS
    assert "silent" in world.context.route(CANONICAL, SELL, E8).left_out.values()


def test_no_book_at_all_is_a_plan_without_legs() -> None:
    plan = ThreeBooks().context.route(CANONICAL, BUY, E8)
    assert plan.route.legs == ()
    assert not plan.route.is_complete
    assert len(plan.left_out) == 3


def test_limits_of_balance_and_position_bound_a_leg() -> None:
    world = three()
    plan = world.context.route(
        CANONICAL, BUY, 4 * E8, max_units={BYBIT: 500}, position_limits={OKX: 40, BINANCE: 1_500}
    )
    units = {plan.outlets[leg.outlet].instrument.instrument_id: leg.quantity_units for leg in plan.route.legs}
    assert units == {BINANCE: 1_500, OKX: 40, BYBIT: 500}
    assert len(plan.capped) == 3
    assert not plan.route.is_complete
    world.context.send_route(plan)
    world.advance(SECOND_NS)
    again = world.context.route(CANONICAL, BUY, E8, position_limits={OKX: 40, BINANCE: 2_000})
    assert list(again.left_out.values()) == ["no room within our limits"]
    assert {o.instrument.instrument_id: o.max_units for o in again.outlets}[BINANCE] == 500
    back = world.context.route(CANONICAL, SELL, E8, position_limits={OKX: 40})
    assert {o.instrument.instrument_id: o.max_units for o in back.outlets}[OKX] == 80


def test_a_far_venue_loses_to_a_near_one_once_the_market_moves_and_goes_first_when_both_are_needed() -> None:
    world = three()
    routing = world.context.routing
    routing.trips.take(2, 80_000_000)
    for venue_id in (1, 3):
        routing.trips.take(venue_id, 1_000_000)
    assert world.context.route(CANONICAL, BUY, 3 * E8 // 2).route.legs[0].outlet == OKX
    chance, price = random.Random(2), 600_000
    for _ in range(200):
        price += chance.choice((-300, 300))
        world.show(OKX, [(price, 100)], [(price + 1, 100)])
        world.advance(LOOK_NS)
    world.show(BINANCE, [(6_000_000, 1_000)], [(6_000_020, 1_000)])
    world.show(OKX, [(600_000, 100)], [(600_001, 500)])
    world.show(BYBIT, [(600_000, 1_000)], [(600_002, 2_000)])
    moving = world.context.route(CANONICAL, BUY, 3 * E8)
    assert moving.left_out == {}
    assert {leg.outlet for leg in moving.route.legs} == {BINANCE, BYBIT}
    everywhere = world.context.route(CANONICAL, BUY, 6 * E8)
    assert everywhere.route.legs[0].outlet == OKX
    sent = world.context.send_route(everywhere)
    assert next(iter(sent.orders.values())) == "2:BTC-USDT-SWAP"


def test_a_passive_order_goes_where_queue_and_flow_let_it_fill() -> None:
    world = three()
    assert [spot.wait_ns for spot in world.context.routing.passive(CANONICAL, BUY, E8)] == [None] * 3
    pace = world.context.routing.pace(OKX)
    for step in range(100):
        totals = TradeTotals(sell_quantity_units=10 * step)
        book = BookSnapshot(Certificate(), totals, ((600_000, 100),), ((600_001, 100),))
        pace.look(book, step * LOOK_NS)
    first = world.context.routing.passive(CANONICAL, BUY, E8)[0]
    assert first.instrument.instrument_id == OKX
    # 100 contracts stand before ours of 100, and 100 a second are sold into them.
    assert first.wait_ns == pytest.approx(2 * SECOND_NS, rel=0.02)
    assert first.cost_e8 == 60_000 * (E8 + 20_000)


def test_contracts_of_a_thousand_route_with_coins() -> None:
    instruments = rows()
    instruments[BYBIT] = type(instruments[BYBIT])(
        **{**{f: getattr(instruments[BYBIT], f) for f in instruments[BYBIT].__slots__},
           "base": "1000BTC", "price_exponent": 0, "quantity_exponent": 0}
    )  # fmt: skip
    world = ThreeBooks(instruments=instruments)
    world.show(BINANCE, [(6_000_000, 1_000)], [(6_000_010, 1_000)])
    world.show(BYBIT, [(59_000_000, 4)], [(60_000_000, 4)])
    plan = world.context.route(CANONICAL, BUY, 2_000 * E8)
    assert [(leg.quantity_units, leg.limit_price_units) for leg in plan.route.legs] == [(2, 60_000_000)]
    assert plan.route.filled_base_e8 == 2_000 * E8


# ---- what is measured -----------------------------------------------------------------------------


def look(pace: Pace, mid: float, at: int) -> None:
    units = round(mid * 1e6)
    pace.look(BookSnapshot(Certificate(), TradeTotals(), ((units - 1, 1),), ((units + 1, 1),)), at * LOOK_NS)


def test_volatility_is_that_of_the_walk_and_the_adverse_move_its_half_normal_mean() -> None:
    chance, pace, mid = random.Random(5), Pace(), 100.0
    for step in range(3_000):
        mid *= 1.0 + chance.gauss(0.0, 1e-4)
        look(pace, mid, step)
    sigma = 1e-4 * 10**0.5  # ten looks a second
    assert pace.volatility == pytest.approx(sigma, rel=0.15)
    assert pace.adverse_e8(250_000_000) == pytest.approx(pace.volatility * 0.5 * 0.39894 * E8, rel=1e-3)
    assert Pace().adverse_e8(SECOND_NS) == 0


def test_an_unmeasured_venue_counts_as_the_farthest_and_a_new_trip_weighs_an_eighth() -> None:
    trips = RoundTrips()
    assert trips.round_trip_ns(1) == 0
    trips.take(1, 8_000)
    trips.take(2, 80_000)
    trips.take(1, 16_000)
    assert trips.round_trip_ns(1) == 9_000
    assert trips.round_trip_ns(7) == 80_000
