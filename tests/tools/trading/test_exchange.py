"""The exchange core: what is refused, how orders end, whose money moves; against a naive twin."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exec.simulator.meeting import SelfTrade
from tests.tools.trading.core_kit import ASK, BID, BTC, ETH, SPOT, SWAP, Core, NaiveBooks
from tools.venues.trading.exchange import VenueRules
from tools.venues.trading.terms import (
    BUY,
    E8,
    FOK,
    IOC,
    OPEN,
    SELL,
    Refusal,
    Status,
    VenueOrder,
    What,
    Why,
    short_text,
    to_text,
    to_units,
)


def test_a_taker_fills_at_the_displayed_prices_and_is_printed() -> None:
    core = Core()
    order = core.order(BUY, 1500, ASK + 10)
    assert order.status is Status.FILLED
    assert [(fill.price_units, fill.units, fill.is_maker) for fill in order.fills] == [
        (ASK, 1000, False), (ASK + 10, 500, False),
    ]  # fmt: skip
    assert core.port.taken == [("BTCUSDT", True, ASK, 1000), ("BTCUSDT", True, ASK + 10, 500)]
    assert [event.what for event in core.events] == [What.NEW, What.TRADE, What.TRADE]


def test_a_resting_order_stands_in_the_public_book_until_it_ends() -> None:
    core = Core()
    order = core.order(BUY, 5, BID - 100)
    assert core.port.shown == {("BTCUSDT", True, BID - 100): 5}
    core.exchange.amend(order, BID - 200, 8, 0)
    assert core.port.shown == {("BTCUSDT", True, BID - 100): 0, ("BTCUSDT", True, BID - 200): 8}
    core.exchange.cancel(order, 0)
    assert set(core.port.shown.values()) == {0}
    assert order.status is Status.CANCELED


def test_a_resting_order_waits_behind_what_stood_there_before() -> None:
    core = Core()
    order = core.order(BUY, 5, BID)
    core.port.trade("BTCUSDT", BID, 1000, is_buy=False, before=1000)
    core.exchange.on_market(1)
    assert not order.filled
    core.port.trade("BTCUSDT", BID, 3, is_buy=False, before=0)
    core.exchange.on_market(2)
    assert (order.filled, order.status, order.fills[0].is_maker) == (3, Status.PARTIALLY_FILLED, True)
    assert core.port.shown == {("BTCUSDT", True, BID): 2}


@pytest.mark.parametrize(
    ("why", "wanted"),
    [
        (Why.TICK, {"price": BID + 1}),
        (Why.PRICE, {"price": -10}),
        (Why.QUANTITY, {"units": 0}),
        (Why.MAX_QUANTITY, {"units": 10**11}),
        (Why.MIN_NOTIONAL, {"price": 10}),
        (Why.POST_ONLY, {"price": ASK, "is_post_only": True}),
        (Why.FOK, {"units": 3000, "price": ASK, "time_in_force": FOK}),
        (Why.REDUCE_ONLY, {"is_reduce_only": True}),
        (Why.MARGIN, {"units": 1_000_000}),
        (Why.UNKNOWN_SYMBOL, {"key": "NOPEUSDT"}),
        (Why.DUPLICATE_ID, {"client_id": "taken"}),
    ],
)
def test_what_can_not_be_is_refused_and_leaves_no_trace(why: Why, wanted: dict[str, object]) -> None:
    core = Core()
    core.order(BUY, 5, BID - 500, client_id="taken")
    before = (dict(core.account.balances), list(core.account.open_orders), len(core.events))
    terms: dict[str, object] = {"units": 5, "price": BID, **wanted}
    assert core.why(BUY, terms.pop("units"), terms.pop("price"), **terms) is why
    assert (dict(core.account.balances), list(core.account.open_orders), len(core.events)) == before


def test_an_order_off_the_lot_or_beyond_the_open_limit_is_refused() -> None:
    core = Core(ETH, rules=VenueRules(open_orders_max=2))
    core.exchange.listings["ETHUSDT"].lot_units = 10
    assert core.why(BUY, 15, BID, key="ETHUSDT") is Why.LOT
    for _ in range(2):
        core.order(BUY, 10, BID, key="ETHUSDT")
    assert core.why(BUY, 10, BID, key="ETHUSDT") is Why.OPEN_ORDERS


def test_where_the_venue_says_so_post_only_and_fok_are_accepted_and_then_ended() -> None:
    core = Core(rules=VenueRules(refuses_post_only=False, refuses_fok=False))
    crossing = core.order(BUY, 5, ASK, is_post_only=True)
    unfillable = core.order(BUY, 3000, ASK, time_in_force=FOK)
    assert (crossing.status, crossing.why) == (Status.CANCELED, Why.POST_ONLY)
    assert (unfillable.status, unfillable.why) == (Status.EXPIRED, Why.FOK)
    assert [event.what for event in core.events] == [What.NEW, What.CANCELED, What.NEW, What.EXPIRED]


def test_ioc_and_market_remainders_expire() -> None:
    core = Core()
    core.book(asks=[(ASK, 10)])
    order = core.order(BUY, 15, ASK, time_in_force=IOC)
    assert (order.filled, order.status, order.why) == (10, Status.EXPIRED, Why.REMAINDER)
    core.book(asks=[(ASK, 11)])
    market = core.order(BUY, 15)
    assert (market.filled, market.status) == (11, Status.EXPIRED)


@pytest.mark.parametrize(
    ("mode", "taker", "maker"),
    [
        (SelfTrade.EXPIRE_TAKER, Status.EXPIRED, Status.NEW),
        (SelfTrade.EXPIRE_MAKER, Status.NEW, Status.EXPIRED),
        (SelfTrade.EXPIRE_BOTH, Status.EXPIRED, Status.EXPIRED),
        (SelfTrade.ALLOW, Status.FILLED, Status.FILLED),
    ],
)
def test_self_trades_are_prevented_as_the_mode_says(mode: SelfTrade, taker: Status, maker: Status) -> None:
    core = Core()
    core.book(bids=[(BID, 10)], asks=[(ASK + 100, 10)])
    resting = core.order(SELL, 5, ASK)
    arriving = core.order(BUY, 5, ASK, self_trade=int(mode))
    assert (arriving.status, resting.status) == (taker, maker)
    assert core.account.holding("BTCUSDT").units == 0


def test_two_accounts_trade_with_each_other_in_price_time_priority() -> None:
    core = Core()
    core.book(bids=[(BID, 10)], asks=[(ASK, 7), (ASK + 10, 50)])
    first = core.order(SELL, 5, ASK, account="other")
    second = core.order(SELL, 5, ASK, account="other")
    taker = core.order(BUY, 14, ASK)
    # what stood there before both, then the first, then the second
    assert [(fill.units, fill.price_units) for fill in taker.fills] == [(7, ASK), (5, ASK), (2, ASK)]
    assert (first.status, second.filled) == (Status.FILLED, 2)
    assert core.account.holding("BTCUSDT").units == 14
    assert core.exchange.accounts["other"].holding("BTCUSDT").units == -7


def test_reduce_only_ends_at_zero() -> None:
    core = Core()
    core.order(BUY, 5, ASK)
    order = core.order(SELL, 20, BID, is_reduce_only=True)
    assert (order.filled, order.status, order.why) == (5, Status.CANCELED, Why.REDUCE_ONLY)
    assert core.account.holding("BTCUSDT").units == 0


def test_a_client_id_is_free_again_when_its_order_ended_and_that_is_counted() -> None:
    core = Core()
    first = core.order(BUY, 5, BID, client_id="x")
    core.exchange.cancel(first, 0)
    second = core.order(BUY, 5, BID, client_id="x")
    assert core.exchange.find("main", client_id="x") is second
    assert core.account.reused_ids == {"x": 2}
    strict = Core(rules=VenueRules(ids_are_unique_for_ever=True))
    strict.exchange.cancel(strict.order(BUY, 5, BID, client_id="x"), 0)
    assert strict.why(BUY, 5, BID, client_id="x") is Why.DUPLICATE_ID


def test_ended_orders_are_forgotten_in_the_end_and_open_ones_never() -> None:
    core = Core(ended_capacity=3)
    resting = core.order(BUY, 5, BID - 100, client_id="open")
    for number in range(10):
        core.exchange.cancel(core.order(BUY, 5, BID, client_id=str(number)), 0)
    assert [one.terms.client_id for one in core.exchange.orders.values()] == ["open", "7", "8", "9"]
    assert set(core.account.by_client) == {"open", "7", "8", "9"}
    assert core.exchange.find("main", client_id="open") is resting
    assert core.exchange.placed == 11


def test_an_account_finds_only_its_own_orders() -> None:
    core = Core()
    order = core.order(BUY, 5, BID, client_id="x")
    assert core.exchange.find("main", order_id=order.order_id) is order
    assert core.exchange.find("other", order_id=order.order_id) is None
    assert core.exchange.find("other", client_id="x") is None
    assert core.exchange.find("main", client_id="x", key="ETHUSDT") is None


def test_the_dead_man_cancels_one_listing_of_one_account_once() -> None:
    core = Core(BTC, ETH)
    core.book(key="ETHUSDT")
    orders = [
        core.order(BUY, 5, BID, key=key, account=name)
        for key in ("BTCUSDT", "ETHUSDT")
        for name in ("main", "other")
    ]
    core.exchange.set_dead_man("main", "BTCUSDT", 1000, now_ns=0)
    core.exchange.set_dead_man("main", "BTCUSDT", 1000, now_ns=500)
    core.exchange.on_timer(1499)
    assert all(order.is_open for order in orders)
    assert core.exchange.next_due_ns() == 1500
    core.exchange.on_timer(1500)
    assert [order.is_open for order in orders] == [False, True, True, True]
    assert orders[0].why is Why.DEAD_MAN
    core.exchange.set_dead_man("other", "", 10, now_ns=1500)
    core.exchange.set_dead_man("main", "", 10, now_ns=1500)
    core.exchange.set_dead_man("main", "", 0, now_ns=1501)
    core.exchange.on_timer(2000)
    assert [order.is_open for order in orders] == [False, False, True, False]


def test_margin_is_bound_by_the_worse_side_and_freed_again() -> None:
    core = Core(balance=1000, leverage=10)
    listing = core.exchange.listings["BTCUSDT"]

    def free() -> int:
        return core.account.available_e8("USDT", core.exchange.listings, 0)

    order = core.order(BUY, 100, BID)
    assert free() == 1000 * E8 - listing.value_e8(BID, 100) // 10
    other = core.order(SELL, 100, ASK)
    assert free() == 1000 * E8 - listing.value_e8(ASK, 100) // 10
    assert core.why(BUY, 100, BID) is Why.MARGIN
    for one in (order, other):
        core.exchange.cancel(one, 0)
    assert free() == 1000 * E8


def test_an_amendment_that_can_not_be_afforded_leaves_the_order_as_it_was() -> None:
    core = Core(balance=1000, leverage=10)
    order = core.order(BUY, 100, BID)
    result = core.exchange.amend(order, BID, 1000, 0)
    assert isinstance(result, Refusal)
    assert (result.why, order.units, order.status) == (Why.MARGIN, 100, Status.NEW)
    result = core.exchange.amend(order, BID, 100, 0)
    assert isinstance(result, Refusal)
    assert result.why is Why.UNCHANGED


def test_a_post_only_order_amended_across_the_book_is_canceled_where_the_venue_does_so() -> None:
    core = Core()
    order = core.order(BUY, 5, BID, is_post_only=True)
    core.exchange.amend(order, ASK, 5, 0)
    assert order.status is Status.CANCELED
    core = Core(rules=VenueRules(amend_cross_cancels=False))
    order = core.order(BUY, 5, BID, is_post_only=True)
    result = core.exchange.amend(order, ASK, 5, 0)
    assert isinstance(result, Refusal)
    assert (result.why, order.status, order.price_units) == (Why.POST_ONLY, Status.NEW, BID)


def test_spot_moves_both_assets_and_takes_the_fee_of_a_purchase_in_the_base() -> None:
    core = Core(SPOT, balance=100_000)
    key = SPOT.key
    resting = core.order(BUY, 100_000, BID - 500, key=key)
    assert core.account.locked["USDT"] == core.exchange.listings[key].value_e8(BID - 500, 100_000)
    core.exchange.cancel(resting, 0)
    assert core.account.locked["USDT"] == 0
    core.book([(BID, 10**6)], [(ASK, 10**6)], key=key)
    core.order(BUY, 100_000, ASK, key=key)
    assert core.account.balances["USDT"] == 100_000 * E8 - ASK * 100_000
    assert core.account.balances["BTC"] == 100 * E8 + E8 // 10 - E8 // 10 * 50_000 // E8
    core.book([(BID, 10**6)], [(ASK, 10**6)], key=key)
    assert core.why(SELL, 200_000_000, BID, key=key) is Why.MARGIN


def test_an_inverse_contract_settles_in_its_base() -> None:
    core = Core(SWAP)
    key = SWAP.key
    core.book([(500_000, 1000)], [(500_000 + 1, 1000)], key=key)
    core.order(BUY, 100, 500_001, key=key)
    core.book([(1_000_000, 1000)], [(1_000_001, 1000)], key=key)
    before = core.account.balances["BTC"]
    order = core.order(SELL, 100, 1_000_000, key=key)
    # 100 contracts of 100 USD: 10,000/50,000.1 - 10,000/100,000 BTC
    gain = order.fills[0].realized_e8
    assert abs(gain - round((10_000 / 50_000.1 - 0.1) * E8)) <= 1
    assert core.account.balances["BTC"] == before + gain - order.fills[0].fee_e8


@pytest.mark.parametrize(
    ("text", "decimals", "units"),
    [("1.50", 2, 150), ("1", 3, 1000), ("0.001", 2, None), ("1e-3", 3, 1), ("x", 2, None), ("-1.5", 1, -15),
     ("1.500", 1, 15), ("", 2, None), ("NaN", 2, None)],
)  # fmt: skip
def test_decimal_texts_become_units_exactly_or_not_at_all(
    text: str, decimals: int, units: int | None
) -> None:
    assert to_units(text, decimals) == units


@given(st.integers(-(10**15), 10**15), st.integers(0, 12))
def test_units_survive_their_text(units: int, decimals: int) -> None:
    assert to_units(to_text(units, decimals), decimals) == units
    assert to_units(short_text(units, decimals), decimals) == units


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["place", "place", "place", "cancel", "amend", "trade", "book"]),
        st.sampled_from([BUY, SELL]),
        st.integers(-6, 6),
        st.integers(1, 40),
        st.sampled_from(list(SelfTrade)),
        st.sampled_from(["main", "other"]),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(ACTIONS)
def test_balances_and_positions_are_those_of_the_fills(
    actions: list[tuple[str, int, int, int, SelfTrade, str]],
) -> None:
    core = Core()
    listing = core.exchange.listings["BTCUSDT"]
    orders: list[VenueOrder] = []
    for now_ns, (what, side, steps, units, mode, name) in enumerate(actions):
        price = (BID if side == BUY else ASK) + 10 * steps
        if what == "place":
            found = core.place(side, units, price, self_trade=int(mode), account=name, now_ns=now_ns)
            orders += [found] if isinstance(found, VenueOrder) else []
        elif what == "cancel" and orders:
            core.exchange.cancel(orders[units % len(orders)], now_ns)
        elif what == "amend" and orders:
            core.exchange.amend(orders[units % len(orders)], price, units, now_ns)
        elif what == "trade":
            core.port.trade("BTCUSDT", price, units, is_buy=side == BUY)
            core.exchange.on_market(now_ns)
        else:
            mid = BID + 10 * steps
            core.book([(mid - 10 * i, 30) for i in range(5)], [(mid + 10 + 10 * i, 30) for i in range(5)])
            core.exchange.on_market(now_ns)
    for account in core.exchange.accounts.values():
        twin = NaiveBooks(account.fills, listing)
        holding = account.holding("BTCUSDT")
        assert holding.units == twin.position
        assert holding.realized_e8 == pytest.approx(float(twin.realized), abs=len(account.fills) + 1)
        balance = 1_000_000 * E8 - twin.fees["USDT"] + holding.realized_e8
        assert account.balances["USDT"] == balance
        assert listing.e8(holding.entry_raw) == pytest.approx(float(twin.entry), abs=len(account.fills) + 1)
        alive = [one for one in orders if one.account == account.name and one.status in OPEN]
        assert set(account.open_orders) == {one.order_id for one in alive}
        assert holding.buy_raw == sum(
            listing.raw(one.price_units, one.leaves) for one in alive if one.terms.side == BUY
        )
        assert holding.sell_raw == sum(
            listing.raw(one.price_units, one.leaves) for one in alive if one.terms.side == SELL
        )
    for one in orders:
        assert one.filled == sum(fill.units for fill in one.fills)
        assert one.filled <= one.units
        assert one.shown_units == (one.leaves if one.is_open else 0)
    ids = [fill.trade_id for account in core.exchange.accounts.values() for fill in account.fills]
    assert len(ids) == len(set(ids))
    shown = {key: units for key, units in core.port.shown.items() if units}
    wanted: dict[tuple[str, bool, int], int] = {}
    for one in orders:
        if one.is_open:
            place = ("BTCUSDT", one.terms.side == BUY, one.price_units)
            wanted[place] = wanted.get(place, 0) + one.leaves
    assert shown == wanted
