"""What a simulated venue does to accounts by itself: funding, liquidation; and a session that meets it."""

from __future__ import annotations

from fractions import Fraction

import pytest

from shm.enums import OrderStatus
from tests.tools.trading.core_kit import ASK, BID, SPOT, Core
from tests.tools.trading.pair_kit import BUY, MS, SECOND, Pair
from tests.tools.trading.scenes import SCENES
from tools.venues.trading.accounts import MAINTENANCE_E8, maintenance_e8
from tools.venues.trading.bybit_asks import VenueError as BybitError
from tools.venues.trading.bybit_endpoints import position_mode as bybit_position_mode
from tools.venues.trading.okx_endpoints import position_mode as okx_position_mode
from tools.venues.trading.terms import E8, MoneyEvent, Status, Why
from tools.venues.trading.upkeep import LOOK_NS, Upkeep

RATE_E8 = 12_345  # 0.012345 %


@pytest.mark.parametrize("rate_e8", [RATE_E8, -RATE_E8])
def test_funding_goes_from_one_side_to_the_other_and_who_pays_pays_the_rest_of_a_division(
    rate_e8: int,
) -> None:
    core = Core()
    told: list[MoneyEvent] = []
    core.exchange.on_money = told.append
    upkeep = Upkeep(core.exchange)
    core.place(1, 7, ASK)
    core.place(2, 7, BID, account="other")
    before = {name: account.balances["USDT"] for name, account in core.exchange.accounts.items()}
    assert upkeep.fund(rate_e8, 0) == told and len(told) == 2
    exact = Fraction(core.exchange.listings["BTCUSDT"].value_e8((BID + ASK) // 2, 7) * rate_e8, E8)
    moved = {
        name: account.balances["USDT"] - before[name] for name, account in core.exchange.accounts.items()
    }
    assert moved == {one.account: one.amount_e8 for one in told}
    assert moved["main"] * rate_e8 < 0 < moved["other"] * rate_e8, "longs pay a positive rate"
    assert -1 < moved["main"] + exact <= 0 and -1 < moved["other"] - exact <= 0


def test_flat_accounts_and_spot_pay_no_funding() -> None:
    core = Core(SPOT)
    core.place(1, 1000, ASK, key=SPOT.key)
    assert Upkeep(core.exchange).fund(RATE_E8, 0) == []
    assert Upkeep(Core().exchange).fund(RATE_E8, 0) == []


def test_funding_comes_by_the_clock_where_it_is_asked_for() -> None:
    core = Core()
    upkeep = Upkeep(core.exchange, 10 * SECOND, RATE_E8)
    core.place(1, 7, ASK)
    for now in range(0, 35 * SECOND, LOOK_NS):
        upkeep.look(now)
    assert upkeep.counts.fundings == upkeep.counts.funding_payments == 3


def move(core: Core, mid: int) -> None:
    core.book(
        [(mid - 5 - 10 * i, 100_000) for i in range(20)], [(mid + 5 + 10 * i, 100_000) for i in range(20)]
    )
    core.exchange.on_market(0)


@pytest.mark.parametrize("side", [1, 2])
def test_an_account_is_liquidated_where_its_equity_no_longer_covers_its_maintenance_margin(side: int) -> None:
    core = Core(balance=1_000)
    core.book([(BID, 100_000)], [(ASK, 100_000)])
    core.place(side, 200, ASK if side == 1 else BID)  # 12,360 of notional at a twentieth
    resting = core.order(side, 1, BID // 2 if side == 1 else ASK + 3_000_000)
    account, listing, upkeep = core.account, core.exchange.listings["BTCUSDT"], Upkeep(core.exchange)
    holding = account.holding("BTCUSDT")
    mid, step, looks = (BID + ASK) // 2, -1000 if side == 1 else 1000, 0
    while not upkeep.counts.liquidations:
        equity = account.balances["USDT"] + holding.unrealized_e8(listing)
        needed = Fraction(listing.value_e8(listing.mark_units, 200) * MAINTENANCE_E8, E8)
        is_under = equity < int(needed)
        assert maintenance_e8(listing, holding) == int(needed)
        upkeep.look(looks * LOOK_NS)
        looks += 1
        assert bool(upkeep.counts.liquidations) == is_under, (equity, needed)
        mid += step
        if not is_under:
            move(core, mid)
    assert looks > 300 and abs(holding.units) == 0
    assert (resting.status, resting.why) == (Status.CANCELED, Why.LIQUIDATION)
    closing = [one for one in core.exchange.orders.values() if one.terms.source == "liquidation"]
    assert [one.terms.client_id[:10] for one in closing] == ["autoclose-"]
    assert 0 <= account.balances["USDT"] < 60 * E8, "what is left is about the maintenance margin, less fees"
    upkeep.look(10_000 * LOOK_NS)
    assert upkeep.counts.liquidations == 1


def test_a_gap_takes_everything_and_the_balance_ends_at_nothing() -> None:
    core = Core(balance=1_000)
    core.book([(BID, 100_000)], [(ASK, 100_000)])
    core.place(1, 200, ASK)
    move(core, BID * 8 // 10)
    Upkeep(core.exchange).look(0)
    assert core.account.holding("BTCUSDT").units == 0
    assert core.account.balances["USDT"] == 0


def test_without_the_other_side_a_liquidation_waits_for_one() -> None:
    core, upkeep = Core(balance=1_000), None
    core.book([(BID, 100_000)], [(ASK, 100_000)])
    core.place(1, 200, ASK)
    low = BID * 8 // 10
    core.book([(low, 50)], [(low + 10, 100_000)])
    core.exchange.on_market(0)
    upkeep = Upkeep(core.exchange)
    upkeep.look(0)
    assert core.account.holding("BTCUSDT").units == 150
    move(core, low)
    upkeep.look(LOOK_NS)
    assert core.account.holding("BTCUSDT").units == 0


# ---- a session of ours ---------------------------------------------------------------------------


@pytest.fixture(params=list(SCENES))
def pair(request: pytest.FixtureRequest) -> Pair:
    return SCENES[request.param].make().up()


def test_funding_is_no_fill_and_the_session_knows_the_new_balance(pair: Pair) -> None:
    scene = SCENES[pair.session.protocol.name]
    pair.placed(BUY, 100, scene.ask)
    fills = sum(1 for one in pair.reports if one.last_units)
    (paid,) = pair.desk.upkeep.fund(RATE_E8, pair.now_ns)
    pair.run(1 * SECOND)
    assert sum(1 for one in pair.reports if one.last_units) == fills
    wallet = pair.exchange.accounts["main"].balances["USDT"]
    assert paid.amount_e8 < 0
    assert pair.session.balances["USDT"].total_e8 == wallet
    assert pair.session.counts.discrepancies == pair.session.counts.decode_errors == 0
    pair.agree()


def test_a_liquidation_is_told_booked_and_leaves_both_views_equal(pair: Pair) -> None:
    scene = SCENES[pair.session.protocol.name]
    held = pair.placed(BUY, 500, scene.ask)
    resting = pair.placed(BUY, 10, scene.bid - 50 * scene.step)
    assert (held.status, resting.status) == (OrderStatus.FILLED, OrderStatus.NEW)
    pair.exchange.accounts["main"].balances["USDT"] = 1
    pair.book(scene.key, scene.bid - 10 * scene.step, scene.ask - 10 * scene.step, 1000)
    pair.run(200 * MS)
    pair.desk.on_market()
    pair.run(5 * SECOND)
    assert pair.desk.upkeep.counts.liquidations == 1
    assert pair.ledger.position_units(held.instrument_id) == 0
    assert resting.status == OrderStatus.CANCELED
    assert any("forced" in str(event) or "liquidation" in str(event) for event in pair.events), pair.events
    pair.agree()


def test_hedge_mode_is_refused_and_the_refusal_says_why() -> None:
    asked: list[tuple[object, object]] = [
        (bybit_position_mode, {"category": "linear", "mode": 3, "symbol": "BTCUSDT"}),
        (okx_position_mode, {"posMode": "long_short_mode"}),
    ]
    for call, body in asked:
        with pytest.raises(Exception, match=r"hedge mode.*is not simulated"):
            call(None, body, None)  # type: ignore[operator]
    assert okx_position_mode(None, {"posMode": "net_mode"}, None) == [{"posMode": "net_mode"}]  # type: ignore[arg-type]
    with pytest.raises(BybitError, match="not modified"):
        bybit_position_mode(None, {"category": "linear", "mode": 0}, None)  # type: ignore[arg-type]
