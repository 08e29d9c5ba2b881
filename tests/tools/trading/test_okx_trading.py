"""The simulated OKX trades: our session over our protocol, against its order entry and private channels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from shm.enums import OrderStatus, Reason
from tests.tools.trading.pair_kit import BUY, ORDERS, POST_ONLY, PRIVATE, REDUCE_ONLY, SECOND, SELL, Pair
from tests.tools.trading.scenes import OKX_ASK, OKX_BID, OKX_ITEMS, SPOT, make_okx
from tools.venues.okx_instruments import instrument_row, make_instruments
from tools.venues.trading.order_faults import Acts
from tools.venues.trading.terms import Why


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = make_okx().up()
    yield made
    made.run(5 * SECOND)
    made.agree()


def test_a_resting_order_is_filled_in_parts_as_a_maker(pair: Pair) -> None:
    order = pair.placed(SELL, 100, OKX_ASK, flags=POST_ONLY)
    pair.port.trade("BTC-USDT-SWAP", OKX_ASK, 1040, True)
    pair.desk.on_market()
    pair.run()
    assert (order.status, order.filled_units) == (OrderStatus.PARTIALLY_FILLED, 40)


def test_a_market_order_of_spot_is_in_base_currency_and_its_fee_is_valued_in_quote(pair: Pair) -> None:
    order = pair.placed(BUY, 50_000_000, instrument_id=SPOT)
    assert order.status == OrderStatus.FILLED
    fill = pair.exchange.accounts["main"].fills[-1]
    assert fill.fee_asset == "BTC"
    report = next(r for r in reversed(pair.reports) if r.last_units)
    assert report.fee_units == -(-fill.fee_e8 * fill.price_units // 10)
    sold = pair.placed(SELL, 20_000_000, instrument_id=SPOT, flags=REDUCE_ONLY)
    assert sold.status == OrderStatus.FILLED


def test_a_post_only_order_amended_across_the_book_keeps_its_terms(pair: Pair) -> None:
    order = pair.placed(BUY, 100, OKX_BID, flags=POST_ONLY)
    pair.replace(order, OKX_ASK, 100)
    pair.run()
    assert (order.status, order.price_units) == (OrderStatus.NEW, OKX_BID)


def test_orders_of_one_moment_leave_in_one_request_and_each_has_its_answer(pair: Pair) -> None:
    before = pair.desk.jobs
    orders = [pair.order(BUY, 100, OKX_BID - i) for i in range(20)]
    orders.append(pair.order(BUY, 100, OKX_BID, instrument_id=SPOT, flags=REDUCE_ONLY))
    pair.run()
    assert pair.desk.jobs == before + 1
    assert {order.status for order in orders[:20]} == {OrderStatus.NEW}
    assert orders[20].status == OrderStatus.REJECTED
    for order in orders[:20]:
        pair.cancel(order)
    pair.run()
    assert {order.status for order in orders[:20]} == {OrderStatus.CANCELED}


def test_refusals_by_a_storm_and_by_limits_are_refusals(pair: Pair) -> None:
    acts = iter([Acts(refuses=Why.STORM), Acts(refuses=Why.RATE)])
    pair.desk.faults.meet = lambda *_: next(acts, None)  # type: ignore[method-assign]
    for reason in (Reason.VENUE_BUSY, Reason.VENUE_LIMIT):
        order = pair.placed(BUY, 100, OKX_BID)
        pair.run(SECOND)
        assert (order.status, order.reason) == (OrderStatus.REJECTED, reason)


def test_the_dead_man_timer_cancels_what_rests(pair: Pair) -> None:
    order = pair.placed(BUY, 100, OKX_BID)
    for request in pair.protocol.dead_man(10, pair.session.take_id(), 1_700_000_000 * SECOND + pair.now_ns):
        pair.send_rest(request)
    pair.run(9 * SECOND)
    assert order.status == OrderStatus.NEW
    pair.run(2 * SECOND)
    assert (order.status, order.reason) == (OrderStatus.CANCELED, Reason.MASS_CANCEL)


def test_limits_hold_per_instrument_and_batches_have_their_own() -> None:
    pair = make_okx(factor=0.05).up()  # 3 requests, 15 orders in batches, 50 of the account, in 2 s
    orders = []
    for i in range(4):
        orders.append(pair.placed(BUY, 100, OKX_BID - i))
    assert [order.status for order in orders].count(OrderStatus.NEW) == 3
    assert orders[3].reason == Reason.VENUE_LIMIT
    assert pair.trading.statistics()["answered_429"] == 1
    pair.run(3 * SECOND)
    assert pair.placed(BUY, 100, OKX_BID - 9).status == OrderStatus.NEW
    pair.agree()


def test_who_is_not_logged_in_gets_nothing_and_a_late_order_is_not_placed(pair: Pair) -> None:
    pair.trading.on_leave(pair.wires[ORDERS])
    for text in (
        b'{"id":"1","op":"order","args":[{}]}',
        b'{"id":"2","op":"subscribe","args":[{"channel":"orders"}]}',
    ):
        said: list[bytes] = []
        pair.wires[ORDERS].say = said.append  # type: ignore[assignment, method-assign]
        pair.trading.on_text(pair.wires[ORDERS], text)
        assert json.loads(said[0])["code"] == "60011"
    del pair.wires[ORDERS].say
    said = []
    pair.wires[PRIVATE].say = said.append  # type: ignore[assignment, method-assign]
    arg = {
        "instIdCode": 1,
        "tdMode": "cross",
        "clOrdId": "a",
        "side": "buy",
        "ordType": "limit",
        "sz": "1",
        "px": "1",
    }
    frame = {
        "id": "3",
        "op": "order",
        "expTime": "1",
        "args": [arg | {"instIdCode": codes()["BTC-USDT-SWAP"]}],
    }
    pair.trading.on_text(pair.wires[PRIVATE], json.dumps(frame).encode())
    assert json.loads(said[0])["data"][0]["sCode"] == "50037"
    frame["args"] = [arg]
    pair.trading.on_text(pair.wires[PRIVATE], json.dumps(frame).encode())
    assert json.loads(said[1])["data"][0]["sCode"] == "51001"
    frame["args"] = [{name: value for name, value in arg.items() if name != "instIdCode"}]
    pair.trading.on_text(pair.wires[PRIVATE], json.dumps(frame).encode())
    assert json.loads(said[2])["data"][0] | {"ts": ""} == {
        "clOrdId": "a", "ordId": "", "ts": "", "tag": "", "sCode": "50014",
        "sMsg": "Parameter instIdCode can not be empty.",
    }  # fmt: skip
    del pair.wires[PRIVATE].say
    pair.cut(ORDERS)
    pair.run(3 * SECOND)


def codes() -> dict[str, Any]:
    return {item.symbol: instrument_row(item, "live", 0)["instIdCode"] for item in OKX_ITEMS}


def test_instrument_codes_are_different() -> None:
    rows = [instrument_row(item, "live", 0) for item, _, _ in make_instruments(600, 1)]
    assert len({row["instIdCode"] for row in rows}) == 600
