"""The simulated matching: queue, crossing, takers, self-trade prevention, fees, latency."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exec.errors import SessionError, SimulatorError
from exec.fees import FeeSchedule
from exec.simulator.latency import Latency
from exec.simulator.queue_position import RestingOrder, advance, join, shrink
from shm.enums import IntentKind, Liquidity, OrderFlags, OrderStatus, OrderType, Reason, TimeInForce
from tests.exec.scene import BUY, SELL, Scene, check_ledger, check_order, inverse, linear
from tests.kit.naive_queue import NaiveQueue

BIDS = [(1000, 50), (990, 70), (980, 10)]
ASKS = [(1010, 40), (1020, 60), (1030, 10)]


def scene_with_book(**options: Any) -> Scene:
    """A scene that shows 1000/1010."""
    scene = Scene(**options)
    scene.book(BIDS, ASKS)
    return scene


def ahead(scene: Scene) -> list[int | None]:
    """Queue ahead of every resting order."""
    return [o.ahead for o in scene.session.simulator.resting(0)]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.integers(1, 30)),
        st.tuples(st.just("show"), st.integers(0, 60)),
        st.tuples(st.just("trade"), st.integers(1, 60)),
    ),
    max_size=25,
)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 50), STEPS)
def test_queue_positions_equal_the_naive_twin(displayed: int, steps: list[tuple[str, int]]) -> None:
    naive = NaiveQueue(displayed)
    orders: dict[str, RestingOrder] = {}
    for what, number in steps:
        if what == "join":
            name = f"o{len(orders)}"
            order = RestingOrder(len(orders), 0, BUY, 1000, number)
            order.ahead = join(naive.displayed())
            orders[name] = order
            naive.join(name, number)
        elif what == "show":
            naive.show(number)
            for order in orders.values():
                order.ahead = shrink(order.ahead, number)
        else:
            live = {n: o for n, o in orders.items() if o.leaves}
            expected = naive.trade(number)
            fills = advance(list(live.values()), number)
            for (name, order), part in zip(live.items(), fills, strict=True):
                assert part == expected.get(name, 0)
                order.leaves -= part
        for name, order in orders.items():
            if order.leaves:
                assert order.ahead == naive.ahead(name)


def test_a_resting_order_waits_behind_the_displayed_quantity() -> None:
    scene = scene_with_book()
    order = scene.new(BUY, 1000, 20)
    scene.trade(1000, 50, SELL)
    assert order.filled_units == 0 and ahead(scene) == [0]
    scene.trade(1000, 15, SELL)
    assert order.filled_units == 15 and order.status == OrderStatus.PARTIALLY_FILLED
    scene.trade(1000, 15, SELL)
    assert order.status == OrderStatus.FILLED and scene.reports[-1].liquidity == Liquidity.MAKER
    assert [r.last_units for r in scene.reports if r.last_units] == [15, 5]


def test_a_trade_that_empties_the_queue_fills_us_with_the_remainder() -> None:
    scene = scene_with_book()
    order = scene.new(BUY, 1000, 20)
    scene.trade(1000, 57, SELL)
    assert order.filled_units == 7


def test_cancels_behind_us_do_not_advance_us_but_shrinking_bounds_the_queue() -> None:
    scene = scene_with_book()
    scene.new(BUY, 1000, 20)
    scene.book([(1000, 90)], ASKS)
    assert ahead(scene) == [50]
    scene.book([(1000, 60)], ASKS)
    assert ahead(scene) == [50]
    scene.book([(1000, 30)], ASKS)
    assert ahead(scene) == [30]
    scene.book([(990, 30)], ASKS)
    assert ahead(scene) == [0]


def test_trades_of_the_other_aggressor_or_none_fill_nothing() -> None:
    scene = scene_with_book()
    order = scene.new(BUY, 1000, 20)
    scene.trade(1000, 500, BUY)
    scene.trade(1000, 500, 0)
    scene.trade(990, 500, BUY)
    scene.trade(1000, 0, SELL)
    assert order.filled_units == 0 and ahead(scene) == [50]


def test_a_trade_through_our_price_fills_us_at_our_price_up_to_its_quantity() -> None:
    scene = scene_with_book()
    order = scene.new(BUY, 1000, 20)
    scene.trade(990, 8, SELL)
    assert order.filled_units == 8
    scene.trade(990, 100, SELL)
    assert order.status == OrderStatus.FILLED and order.fill_product == 20 * 1000


def test_a_trade_through_is_shared_in_price_time_order() -> None:
    scene = scene_with_book()
    late = scene.new(SELL, 1020, 10)
    first = scene.new(SELL, 1010, 10)
    second = scene.new(SELL, 1010, 10)
    scene.trade(1030, 25, BUY)
    assert (first.filled_units, second.filled_units, late.filled_units) == (10, 10, 5)


def test_what_goes_through_one_price_reaches_the_next_only_with_the_rest() -> None:
    scene = scene_with_book()
    through = scene.new(BUY, 1000, 10)
    at_price = scene.new(BUY, 990, 10)
    scene.trade(990, 75, SELL)
    assert (through.filled_units, at_price.filled_units) == (10, 0)
    assert ahead(scene) == [5]


def test_a_book_that_crosses_fills_at_our_price_up_to_the_displayed_size_per_update() -> None:
    scene = scene_with_book()
    order = scene.new(BUY, 1000, 20)
    scene.book([(980, 5)], [(990, 8), (1000, 3), (1010, 100)])
    assert order.filled_units == 11 and order.fill_product == 11_000
    scene.book([(980, 5)], [(1000, 3)])
    assert order.filled_units == 14


def test_crossing_size_is_shared_by_our_orders_in_priority() -> None:
    scene = scene_with_book()
    low = scene.new(BUY, 990, 10)
    high = scene.new(BUY, 1000, 10)
    scene.book([(980, 5)], [(990, 12)])
    assert (high.filled_units, low.filled_units) == (10, 2)


def test_beyond_visible_depth_the_queue_is_unknown_until_the_price_appears() -> None:
    scene = scene_with_book(depth=3)
    order = scene.new(BUY, 900, 10)
    assert ahead(scene) == [None]
    scene.trade(900, 1000, SELL)
    assert order.filled_units == 0
    scene.book([(910, 1), (905, 2), (900, 30)], ASKS)
    assert ahead(scene) == [30]
    scene.book(BIDS, ASKS)
    assert ahead(scene) == [30]


def test_a_side_that_shows_everything_has_nothing_at_a_missing_price() -> None:
    scene = scene_with_book(depth=5)
    scene.new(BUY, 900, 10)
    assert ahead(scene) == [0]


def test_without_a_book_nothing_is_known() -> None:
    scene = Scene()
    resting = scene.new(BUY, 1000, 10)
    taker = scene.new(SELL, 900, 10, time_in_force=TimeInForce.IOC, client_order_id=77, instrument_id=0)
    assert ahead(scene) == [None] and resting.status == OrderStatus.NEW
    assert taker.status == OrderStatus.REJECTED and taker.reason == Reason.SELF_TRADE


def test_a_lap_voids_queue_credit_and_is_counted() -> None:
    scene = scene_with_book()
    scene.new(BUY, 1000, 20)
    scene.trade(1000, 40, SELL)
    assert ahead(scene) == [10]
    assert scene.session.simulator.void_queue(0) == 1 and ahead(scene) == [None]
    scene.book([(1000, 80)], ASKS)
    assert ahead(scene) == [80] and scene.session.simulator.voided == 1


def test_takers_walk_the_levels_and_consume_each_once_between_updates() -> None:
    scene = scene_with_book()
    first = scene.new(BUY, 1020, 70, time_in_force=TimeInForce.IOC)
    assert first.fill_product == 40 * 1010 + 30 * 1020 and first.status == OrderStatus.FILLED
    second = scene.new(BUY, 1020, 70, time_in_force=TimeInForce.IOC)
    assert second.filled_units == 30 and second.status == OrderStatus.EXPIRED
    assert second.reason == Reason.IOC_REMAINDER
    scene.book([(1000, 51)], ASKS)
    third = scene.new(BUY, 1010, 40, time_in_force=TimeInForce.FOK)
    assert third.status == OrderStatus.FILLED


def test_the_same_book_shown_twice_is_no_update() -> None:
    scene = scene_with_book()
    scene.new(BUY, 1010, 40, time_in_force=TimeInForce.IOC)
    scene.book(list(BIDS), list(ASKS))
    again = scene.new(BUY, 1010, 40, time_in_force=TimeInForce.IOC)
    assert again.filled_units == 0
    resting = scene.new(BUY, 1000, 50)
    crossing = [(1000, 20)]
    scene.book([(990, 1)], crossing)
    scene.book([(990, 1)], list(crossing))
    assert resting.filled_units == 20
    scene.book([(990, 2)], crossing)
    assert resting.filled_units == 40


def test_a_crossing_limit_takes_and_rests_the_remainder() -> None:
    scene = scene_with_book()
    order = scene.new(BUY, 1010, 100)
    assert order.filled_units == 40 and order.status == OrderStatus.PARTIALLY_FILLED
    assert scene.reports[-1].liquidity == Liquidity.TAKER and ahead(scene) == [0]


def test_fok_fills_whole_or_expires() -> None:
    scene = scene_with_book()
    order = scene.new(BUY, 1010, 41, time_in_force=TimeInForce.FOK)
    assert (order.status, order.filled_units, order.reason) == (
        OrderStatus.EXPIRED,
        0,
        Reason.FOK_NOT_FILLABLE,
    )


def test_post_only_that_would_cross_is_rejected() -> None:
    scene = scene_with_book()
    order = scene.new(BUY, 1010, 5, flags=OrderFlags.POST_ONLY)
    assert (order.status, order.reason) == (OrderStatus.REJECTED, Reason.POST_ONLY_WOULD_CROSS)
    assert scene.new(BUY, 1000, 5, flags=OrderFlags.POST_ONLY).status == OrderStatus.NEW


def test_a_market_order_walks_any_price_and_never_rests() -> None:
    scene = scene_with_book()
    scene.ledger.mark(0, 1000)
    order = scene.new(SELL, 0, 200, order_type=OrderType.MARKET, time_in_force=TimeInForce.IOC)
    assert order.filled_units == 130 and order.status == OrderStatus.EXPIRED
    assert scene.session.simulator.resting(0) == []


def test_the_newer_of_two_own_orders_that_would_meet_is_rejected() -> None:
    scene = scene_with_book()
    old = scene.new(SELL, 1010, 5)
    newer = scene.new(BUY, 1010, 60)
    assert (newer.status, newer.reason) == (OrderStatus.REJECTED, Reason.SELF_TRADE)
    assert old.status == OrderStatus.NEW
    far = scene.new(SELL, 1030, 5)
    scene.cancel(old)
    fits = scene.new(BUY, 1040, 100)
    assert fits.status == OrderStatus.FILLED and far.status == OrderStatus.NEW
    reaches = scene.new(BUY, 1040, 100)
    assert (reaches.status, reaches.reason) == (OrderStatus.REJECTED, Reason.SELF_TRADE)


def test_replace_keeps_the_queue_only_for_less_at_the_same_price() -> None:
    scene = scene_with_book()
    order = scene.new(BUY, 1000, 20)
    scene.trade(1000, 30, SELL)
    scene.replace(order, 1000, 15)
    assert ahead(scene) == [20] and order.order_units == 15
    scene.replace(order, 1000, 25)
    assert ahead(scene) == [50]
    scene.replace(order, 990, 25)
    assert ahead(scene) == [70] and order.price_units == 990


def test_replace_may_take_and_post_only_may_not() -> None:
    scene = scene_with_book()
    taker = scene.new(BUY, 1000, 20)
    scene.replace(taker, 1010, 20)
    assert taker.status == OrderStatus.FILLED
    maker = scene.new(BUY, 990, 20, flags=OrderFlags.POST_ONLY)
    scene.replace(maker, 1010, 20)
    assert maker.status == OrderStatus.NEW and maker.price_units == 990
    assert scene.reports[-1].reason == Reason.POST_ONLY_WOULD_CROSS


def test_replace_to_what_is_already_filled_cancels() -> None:
    scene = scene_with_book()
    order = scene.new(BUY, 1000, 20)
    scene.trade(990, 8, SELL)
    scene.replace(order, 1000, 8)
    assert order.status == OrderStatus.CANCELED and order.filled_units == 8


def test_reduce_only_is_clipped_to_the_position() -> None:
    scene = scene_with_book()
    scene.new(BUY, 1010, 10)
    order = scene.new(SELL, 1000, 30, flags=OrderFlags.REDUCE_ONLY, time_in_force=TimeInForce.IOC)
    assert order.filled_units == 10 and scene.ledger.position_units(0) == 0
    idle = scene.new(SELL, 1020, 30, flags=OrderFlags.REDUCE_ONLY)
    scene.trade(1030, 500, BUY)
    assert idle.status == OrderStatus.CANCELED and idle.reason == Reason.REDUCE_ONLY


def test_off_grid_unknown_instrument_and_duplicate_ids_are_rejected_by_the_venue() -> None:
    scene = scene_with_book()
    assert scene.new(BUY, 1005, 10).status == OrderStatus.REJECTED
    scene.rows[9] = linear(9)
    assert scene.new(BUY, 1000, 10, instrument_id=9).status == OrderStatus.REJECTED


def test_mass_cancel_cancels_the_actors_orders_and_forced_everyones() -> None:
    scene = scene_with_book(instruments=2)
    scene.book(BIDS, ASKS, 1)
    mine = [scene.new(BUY, 990, 5), scene.new(BUY, 990, 5, instrument_id=1)]
    other = scene.new(BUY, 990, 5, actor_id=2)
    scene.process(scene.intent(IntentKind.MASS_CANCEL, instrument_id=1))
    scene.settle()
    assert [o.status for o in mine] == [OrderStatus.NEW, OrderStatus.CANCELED]
    scene.process(scene.intent(IntentKind.MASS_CANCEL, instrument_id=0xFFFFFFFF))
    scene.settle()
    assert mine[0].status == OrderStatus.CANCELED and other.status == OrderStatus.NEW
    scene.process(scene.intent(IntentKind.MASS_CANCEL, instrument_id=0xFFFFFFFF, flags=OrderFlags.FROM_HALT))
    scene.settle()
    assert other.status == OrderStatus.CANCELED and scene.oms.open_count == 0


def test_fees_are_exact_and_rounded_against_us() -> None:
    schedule = FeeSchedule(linear(maker_fee_e8=-1, taker_fee_e8=50_000))
    assert schedule.fee_e8(1000, 10, Liquidity.TAKER) == 1000 * 10 * 50_000 // 10**5
    assert schedule.fee_e8(1000, 10, Liquidity.MAKER) == 0
    assert schedule.fee_e8(100_000, 1001, Liquidity.MAKER) == -1001
    assert FeeSchedule(linear(), 7, 9).fee_e8(99_999, 1, Liquidity.TAKER) == 9


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 10**10), st.integers(1, 10**10), st.integers(-(10**6), 10**6), st.booleans())
def test_fees_agree_with_fractions(price: int, units: int, rate: int, is_inverse: bool) -> None:
    row = inverse() if is_inverse else linear()
    schedule = FeeSchedule(row, rate, rate)
    notional = Fraction(units * 100 * 10, price) if is_inverse else Fraction(price * units, 10**5)
    exact = notional * Fraction(rate, 10**8) * 10**8
    assert 0 <= schedule.fee_e8(price, units, Liquidity.TAKER) - exact < 1


def test_latencies_are_kept_to_the_nanosecond() -> None:
    scene = scene_with_book(entry_latency_ns=100, response_latency_ns=40)
    order = scene.new(BUY, 1000, 20)
    assert scene.session.next_due_ns() == 1_100
    scene.now_ns = 1_099
    scene.settle()
    assert scene.session.simulator.resting(0) == []
    scene.now_ns = 1_139
    scene.settle()
    assert order.status == OrderStatus.PENDING_NEW and scene.session.next_due_ns() == 1_140
    scene.now_ns = 1_140
    scene.settle()
    assert order.status == OrderStatus.NEW and scene.session.next_due_ns() is None


def test_a_command_arrives_before_market_data_of_a_later_time() -> None:
    scene = scene_with_book(entry_latency_ns=100)
    order = scene.new(BUY, 1000, 20)
    scene.now_ns = 1_100
    scene.trade(990, 50, SELL)
    scene.settle()
    assert order.status == OrderStatus.FILLED


def test_reports_never_come_from_inside_a_command() -> None:
    scene = scene_with_book()
    order = scene.process(scene.intent(side=BUY, price_units=1010, quantity_units=5))
    assert order is not None and order.status == OrderStatus.PENDING_NEW and scene.reports == []
    scene.settle()
    assert scene.kinds == ["NEW", "FILL"]


def test_after_a_disconnect_orders_are_unknown_until_queried() -> None:
    scene = scene_with_book(response_latency_ns=10)
    filled, resting = scene.new(BUY, 1000, 5), scene.new(BUY, 990, 5)
    scene.now_ns += 10
    scene.settle()
    scene.trade(990, 5, SELL)
    lost = scene.process(scene.intent(side=BUY, price_units=980, quantity_units=5))
    scene.session.disconnect(lose_commands=True)
    scene.oms.disconnected(scene.now_ns)
    assert lost is not None
    assert [o.status for o in (filled, resting, lost)] == [OrderStatus.UNKNOWN] * 3
    denied = scene.process(scene.intent(side=BUY, price_units=980, quantity_units=5))
    assert denied is None and scene.reports[-1].reason == Reason.NOT_RECEIVED
    with pytest.raises(SessionError):
        scene.session.cancel(resting, scene.now_ns)
    scene.session.reconnect()
    for order in (filled, resting, lost):
        scene.session.query(order, scene.now_ns)
    scene.now_ns += 100
    scene.settle()
    scene.now_ns += 100
    scene.settle()
    assert [o.status for o in (filled, resting, lost)] == [
        OrderStatus.FILLED,
        OrderStatus.NEW,
        OrderStatus.REJECTED,
    ]
    assert scene.ledger.position_units(0) == 5


def test_negative_latency_is_refused() -> None:
    with pytest.raises(SimulatorError):
        Latency(-1)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["new", "new", "cancel", "replace", "book", "trade", "trade", "time", "void"]),
        st.integers(0, 1),
        st.integers(95, 105),
        st.integers(1, 40),
        st.integers(0, 7),
    ),
    max_size=60,
)


def play(actions: list[tuple[str, int, int, int, int]]) -> Scene:
    """Run random commands and market data."""
    scene = Scene(entry_latency_ns=3, response_latency_ns=2, depth=3)
    orders = []
    for what, coin, price, units, pick in actions:
        side = (BUY, SELL)[coin]
        if what == "new":
            flags = OrderFlags.POST_ONLY if pick == 1 else OrderFlags.REDUCE_ONLY if pick == 2 else 0
            tif = (1, 1, 1, 2, 3, 1, 1, 1)[pick]
            orders.append(scene.new(side, price * 10, units, flags=flags, time_in_force=tif))
        elif what == "cancel" and orders:
            scene.cancel(orders[pick % len(orders)])
        elif what == "replace" and orders:
            scene.replace(orders[pick % len(orders)], price * 10, units)
        elif what == "book":
            scene.book(
                [(price * 10 - 10 * i, units + i) for i in range(1, pick % 4 + 1)],
                [(price * 10 + 10 * i, units + i) for i in range(pick % 3 + 1)],
            )
        elif what == "trade":
            scene.trade(price * 10, units, side)
        elif what == "void":
            scene.session.simulator.void_queue()
        scene.now_ns += pick
        scene.settle()
        for order in orders:
            check_order(order)
        check_ledger(scene.oms, scene.ledger)
    scene.now_ns += 100
    scene.settle()
    return scene


@settings(max_examples=120, deadline=None)
@given(ACTIONS)
def test_venue_and_oms_agree_and_runs_repeat(actions: list[tuple[str, int, int, int, int]]) -> None:
    scene = play(actions)
    resting = {o.client_order_id: o for o in scene.session.simulator.resting()}
    assert set(resting) == {o.root_client_order_id for o in scene.oms.open_orders()}
    for order in scene.oms.open_orders():
        at_venue = resting[order.root_client_order_id]
        assert (order.price_units, order.leaves_units) == (at_venue.price, at_venue.leaves)
    position = scene.session.simulator._markets[0].positions.get(0, 0)
    assert position == scene.ledger.position_units(0)
    statistics = scene.oms.statistics
    assert statistics.breaches == statistics.overfills == statistics.stranger_fills == 0
    again = play(actions)
    assert [r.to_bytes() for r in scene.reports] == [r.to_bytes() for r in again.reports]
