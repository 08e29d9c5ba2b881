"""The simulated Bybit trades: our session over our protocol, against its trade socket and private stream."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from shm.enums import OrderStatus, Reason
from tests.tools.trading.pair_kit import BUY, MS, ORDERS, POST_ONLY, PRIVATE, SECOND, SELL, Pair
from tests.tools.trading.scenes import BYBIT_ASK, BYBIT_BID, BYBIT_SPOT_BID, SPOT, make_bybit
from tools.venues.trading.bybit_words import exec_uuid, order_number, order_uuid
from tools.venues.trading.order_faults import Acts
from tools.venues.trading.terms import Why


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = make_bybit().up()
    yield made
    made.run(5 * SECOND)
    made.agree()


def test_a_partly_filled_order_is_amended_and_filled_to_its_new_end(pair: Pair) -> None:
    order = pair.placed(SELL, 100, BYBIT_ASK, flags=POST_ONLY)
    pair.port.trade("linear/BTCUSDT", BYBIT_ASK, 1040, True)
    pair.desk.on_market()
    pair.run()
    assert (order.status, order.filled_units) == (OrderStatus.PARTIALLY_FILLED, 40)
    pair.replace(order, BYBIT_ASK, 60)
    pair.run()
    assert (order.order_units, order.leaves_units) == (60, 20)
    pair.port.trade("linear/BTCUSDT", BYBIT_ASK, 3000, True)
    pair.desk.on_market()
    pair.run()
    assert (order.status, order.filled_units) == (OrderStatus.FILLED, 60)


def test_linear_and_spot_trade_over_one_session_and_share_no_request(pair: Pair) -> None:
    before = pair.desk.jobs
    orders = [pair.order(BUY, 100, BYBIT_BID - 10 * i) for i in range(3)]
    orders += [pair.order(BUY, 10_000, BYBIT_SPOT_BID - i, instrument_id=SPOT) for i in range(3)]
    pair.run()
    assert pair.desk.jobs == before + 2
    assert {order.status for order in orders} == {OrderStatus.NEW}
    market = pair.placed(BUY, 500_000, instrument_id=SPOT)
    assert market.status == OrderStatus.FILLED
    fill = pair.exchange.accounts["main"].fills[-1]
    report = next(r for r in reversed(pair.reports) if r.last_units)
    assert fill.fee_asset == "BTC"
    assert report.fee_units == -(-fill.fee_e8 * fill.price_units // 10)


def test_a_mass_cancel_takes_what_others_placed_as_well(pair: Pair) -> None:
    order = pair.placed(BUY, 100, BYBIT_BID)
    pair.session.mass_cancel(pair.now_ns)
    pair.run()
    assert order.status == OrderStatus.CANCELED


def test_what_the_venue_is_not_sure_of_is_asked(pair: Pair) -> None:
    acts = iter([Acts(refuses=Why.STORM)])
    pair.desk.faults.meet = lambda *_: next(acts, None)  # type: ignore[method-assign]
    order = pair.placed(BUY, 100, BYBIT_BID)
    assert order.status == OrderStatus.UNKNOWN
    pair.run(20 * SECOND)
    assert order.status == OrderStatus.REJECTED


def test_a_lost_private_stream_cancels_after_the_window_and_a_new_one_stops_it(pair: Pair) -> None:
    for request in pair.protocol.dead_man(3, pair.session.take_id(), 1_700_000_000 * SECOND + pair.now_ns):
        pair.send_rest(request)
    order = pair.placed(BUY, 100, BYBIT_BID)
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


def test_limits_hold_per_category_and_say_what_is_left() -> None:
    pair = make_bybit(factor=0.3).up()  # 3 orders a second of linear
    orders = [pair.placed(BUY, 100, BYBIT_BID - 10 * i) for i in range(4)]
    assert [order.status for order in orders].count(OrderStatus.NEW) == 3
    assert orders[3].reason == Reason.VENUE_LIMIT
    answers = [json.loads(frame) for channel, frame in pair.heard if b"order.create" in frame]
    assert [answer["header"].get("X-Bapi-Limit-Status") for answer in answers[:3]] == ["2", "1", "0"]
    assert pair.trading.statistics()["answered_429"] == 1
    pair.run(SECOND)
    assert pair.placed(BUY, 100, BYBIT_BID - 90).status == OrderStatus.NEW
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
