"""The simulated Bybit trades: our session over our protocol, against its trade socket and private stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from exec.keys import Keys
from shm.enums import InstrumentKind, OrderStatus, Reason, TimeInForce
from tests.tools.trading.pair_kit import BUY, MS, ORDERS, POST_ONLY, PRIVATE, REDUCE_ONLY, SECOND, SELL, Pair
from tools.venues.bybit_instruments import make_instruments
from tools.venues.protocol import HttpReply, HttpRequest
from tools.venues.trading.bybit import BybitTrading
from tools.venues.trading.bybit_words import exec_uuid, order_number, order_uuid
from tools.venues.trading.order_faults import Acts
from tools.venues.trading.terms import Listing, Why

ITEMS = [item for item, _, _ in make_instruments(("linear", "spot"), 2, 1)]
LINEAR, SPOT = 0, 1
BID, ASK = 6_180_000, 6_180_010  # 61,800.00 / 61,800.10
SPOT_BID, SPOT_ASK = 618_000, 618_001
VENUES = {"linear": 3, "spot": 4}


def make(factor: float = 0.0, **options: Any) -> Pair:
    """A pair at Bybit with books of linear and spot."""
    listings = [Listing(number, item, 20_000, 55_000, 0) for number, item in enumerate(ITEMS)]
    rows = [
        replace(
            one.instrument,
            venue_id=VENUES[one.category],
            base=one.item.base,
            quote=one.item.quote,
            settle=one.settle,
            kind=InstrumentKind.SPOT if one.is_spot else InstrumentKind.PERPETUAL,
        )
        for one in listings
    ]

    def market(asked: HttpRequest) -> HttpReply | None:
        if asked.path != "/v5/market/time":
            return None
        result = {"timeNano": str(1_700_000_000 * SECOND + made.now_ns)}
        return HttpReply(200, json.dumps({"retCode": 0, "retMsg": "OK", "result": result}).encode())

    trading = BybitTrading(factor)
    made = Pair("bybit", trading, listings, rows, market_http=market, **options)
    levels = [(BID - 10 * i, 1000) for i in range(20)], [(ASK + 10 * i, 1000) for i in range(20)]
    made.port.set_book("linear/BTCUSDT", *levels)
    made.book("spot/BTCUSDT", SPOT_BID, SPOT_ASK, 10**9)
    return made


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = make().up()
    yield made
    made.run(5 * SECOND)
    made.agree()


def test_an_order_rests_is_amended_and_canceled(pair: Pair) -> None:
    order = pair.placed(BUY, 150, BID - 100)
    assert order.status == OrderStatus.NEW
    pair.replace(order, BID - 50, 200)
    pair.run()
    assert (order.status, order.price_units, order.order_units) == (OrderStatus.NEW, BID - 50, 200)
    pair.agree()
    pair.cancel(order)
    pair.run()
    assert (order.status, order.reason) == (OrderStatus.CANCELED, Reason.USER_CANCEL)


def test_a_partly_filled_order_is_amended_and_filled_to_its_new_end(pair: Pair) -> None:
    order = pair.placed(SELL, 100, ASK, flags=POST_ONLY)
    pair.port.trade("linear/BTCUSDT", ASK, 1040, True)
    pair.desk.on_market()
    pair.run()
    assert (order.status, order.filled_units) == (OrderStatus.PARTIALLY_FILLED, 40)
    pair.replace(order, ASK, 60)
    pair.run()
    assert (order.order_units, order.leaves_units) == (60, 20)
    pair.port.trade("linear/BTCUSDT", ASK, 3000, True)
    pair.desk.on_market()
    pair.run()
    assert (order.status, order.filled_units) == (OrderStatus.FILLED, 60)


def test_what_is_taken_is_filled_level_by_level_and_paid_for(pair: Pair) -> None:
    order = pair.placed(BUY, 1500, ASK + 50)
    assert (order.status, order.filled_units) == (OrderStatus.FILLED, 1500)
    fees = sum(report.fee_units for report in pair.reports if report.last_units)
    assert fees == sum(fill.fee_e8 for fill in pair.exchange.accounts["main"].fills) > 0
    assert pair.ledger.position_units(LINEAR) == 1500


def test_linear_and_spot_trade_over_one_session_and_share_no_request(pair: Pair) -> None:
    before = pair.desk.jobs
    orders = [pair.order(BUY, 100, BID - 10 * i) for i in range(3)]
    orders += [pair.order(BUY, 10_000, SPOT_BID - i, instrument_id=SPOT) for i in range(3)]
    pair.run()
    assert pair.desk.jobs == before + 2
    assert {order.status for order in orders} == {OrderStatus.NEW}
    market = pair.placed(BUY, 500_000, instrument_id=SPOT)
    assert market.status == OrderStatus.FILLED
    fill = pair.exchange.accounts["main"].fills[-1]
    report = next(r for r in reversed(pair.reports) if r.last_units)
    assert fill.fee_asset == "BTC"
    assert report.fee_units == -(-fill.fee_e8 * fill.price_units // 10)


@pytest.mark.parametrize(
    ("options", "status", "reason"),
    [
        ({"price": ASK, "flags": POST_ONLY}, OrderStatus.CANCELED, Reason.POST_ONLY_WOULD_CROSS),
        (
            {"price": ASK, "units": 30_000, "tif": TimeInForce.FOK},
            OrderStatus.EXPIRED,
            Reason.FOK_NOT_FILLABLE,
        ),
        ({"price": BID, "tif": TimeInForce.IOC}, OrderStatus.EXPIRED, Reason.IOC_REMAINDER),
        ({"price": BID, "flags": REDUCE_ONLY}, OrderStatus.REJECTED, Reason.VENUE_REDUCE_ONLY),
        ({"price": BID, "units": 2 * 10**8}, OrderStatus.REJECTED, Reason.VENUE_MARGIN),
    ],
)
def test_the_venue_ends_or_refuses_what_can_not_be(
    pair: Pair, options: dict[str, Any], status: OrderStatus, reason: Reason
) -> None:
    order = pair.placed(BUY, options.pop("units", 100), options.pop("price"), **options)
    assert (order.status, order.reason) == (status, reason)


def test_a_mass_cancel_takes_what_others_placed_as_well(pair: Pair) -> None:
    order = pair.placed(BUY, 100, BID)
    pair.session.mass_cancel(pair.now_ns)
    pair.run()
    assert order.status == OrderStatus.CANCELED


def test_a_connection_cut_between_order_and_answer_leaves_no_doubt_behind(pair: Pair) -> None:
    order = pair.order(BUY, 100, BID)
    pair.session.flush(pair.now_ns)
    pair.run(1 * MS)
    pair.cut(ORDERS)
    pair.cut(PRIVATE)
    pair.run(1 * MS)
    assert order.status == OrderStatus.UNKNOWN
    pair.run(3 * SECOND)
    assert order.status == OrderStatus.NEW


def test_fills_while_the_private_stream_was_gone_are_fetched(pair: Pair) -> None:
    order = pair.placed(SELL, 100, ASK)
    pair.may_connect = False
    pair.cut(PRIVATE)
    pair.run(10 * MS)
    pair.port.trade("linear/BTCUSDT", ASK, 2000, True)
    pair.desk.on_market()
    pair.may_connect = True
    pair.run(5 * SECOND)
    assert (order.status, order.filled_units) == (OrderStatus.FILLED, 100)
    assert any("/v5/execution/list" in path for path in pair.paths)


def test_a_lost_request_is_rejected_only_after_history_denied_it_too(pair: Pair) -> None:
    acts = iter([Acts(is_lost=True)])
    pair.desk.faults.meet = lambda *_: next(acts, None)  # type: ignore[method-assign]
    order = pair.placed(BUY, 100, BID)
    assert order.status == OrderStatus.PENDING_NEW
    pair.run(20 * SECOND)
    assert (order.status, order.reason) == (OrderStatus.REJECTED, Reason.NOT_RECEIVED)
    assert any("/v5/order/history" in path for path in pair.paths)


def test_what_the_venue_is_not_sure_of_is_asked(pair: Pair) -> None:
    acts = iter([Acts(refuses=Why.STORM)])
    pair.desk.faults.meet = lambda *_: next(acts, None)  # type: ignore[method-assign]
    order = pair.placed(BUY, 100, BID)
    assert order.status == OrderStatus.UNKNOWN
    pair.run(20 * SECOND)
    assert order.status == OrderStatus.REJECTED


def test_a_lost_private_stream_cancels_after_the_window_and_a_new_one_stops_it(pair: Pair) -> None:
    for request in pair.protocol.dead_man(3, pair.session.take_id(), 1_700_000_000 * SECOND + pair.now_ns):
        pair.send_rest(request)
    order = pair.placed(BUY, 100, BID)
    pair.cut(PRIVATE)
    pair.run(5 * SECOND)
    assert order.status == OrderStatus.NEW
    pair.may_connect = False
    pair.cut(PRIVATE)
    pair.run(2900 * MS)
    assert pair.exchange.accounts["main"].open_orders
    pair.run(200 * MS)
    assert not pair.exchange.accounts["main"].open_orders
    pair.may_connect = True
    pair.run(5 * SECOND)
    assert (order.status, order.reason) == (OrderStatus.CANCELED, Reason.MASS_CANCEL)


def test_a_login_that_ended_in_silence_is_renewed(pair: Pair) -> None:
    assert pair.trading.expire(is_told=False) == 2
    order = pair.placed(BUY, 100, BID)
    pair.run(10 * SECOND)
    assert pair.session.is_connected
    assert order.status in (OrderStatus.REJECTED, OrderStatus.NEW)
    assert pair.trading.expire(is_told=True) == 2
    pair.run(5 * SECOND)
    assert pair.placed(BUY, 100, BID - 10).status == OrderStatus.NEW


def test_a_wrong_secret_stops_the_session() -> None:
    pair = make(keys=Keys("key-of-main", "another-secret"))
    pair.session.start(pair.now_ns)
    pair.run(3 * SECOND)
    assert not pair.session.is_connected
    assert any("10004" in text for _, text in pair.events)


def test_limits_hold_per_category_and_say_what_is_left() -> None:
    pair = make(factor=0.3).up()  # 3 orders a second of linear
    orders = [pair.placed(BUY, 100, BID - 10 * i) for i in range(4)]
    assert [order.status for order in orders].count(OrderStatus.NEW) == 3
    assert orders[3].reason == Reason.VENUE_LIMIT
    answers = [json.loads(frame) for channel, frame in pair.heard if b"order.create" in frame]
    assert [answer["header"].get("X-Bapi-Limit-Status") for answer in answers[:3]] == ["2", "1", "0"]
    assert pair.trading.statistics()["answered_429"] == 1
    pair.run(SECOND)
    assert pair.placed(BUY, 100, BID - 90).status == OrderStatus.NEW
    pair.agree()


def test_a_request_id_is_good_once_and_only_in_its_time(pair: Pair) -> None:
    said: list[bytes] = []
    pair.wires[ORDERS].say = said.append  # type: ignore[assignment, method-assign]
    stamp = str((1_700_000_000 * SECOND + pair.now_ns) // MS)
    request: dict[str, object] = {"reqId": "x", "op": "order.cancel", "header": {"X-BAPI-TIMESTAMP": stamp}}
    request["args"] = [{"category": "linear", "symbol": "BTCUSDT", "orderLinkId": "nobody"}]
    for changes in ({}, {}, {"reqId": "y", "header": {"X-BAPI-TIMESTAMP": "1"}}):
        pair.trading.on_text(pair.wires[ORDERS], json.dumps(request | changes).encode())
    assert [json.loads(frame)["retCode"] for frame in said] == [110001, 20006, 10002]
    del pair.wires[ORDERS].say


def test_ids_are_uuids_that_lead_back_to_their_number() -> None:
    for number in (1, 1_764_403_686_123, 2**62):
        assert order_number(order_uuid(number)) == number
        assert order_number(exec_uuid(number)) == -1
    assert order_number("1405980802291926784") == -1
