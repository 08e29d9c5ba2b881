"""The simulated OKX trades: our session over our protocol, against its order entry and private channels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from exec.keys import Keys
from shm.enums import InstrumentKind, OrderStatus, Reason, TimeInForce
from tests.tools.trading.pair_kit import BUY, MS, ORDERS, POST_ONLY, PRIVATE, REDUCE_ONLY, SECOND, SELL, Pair
from tools.venues.okx import rest_answer
from tools.venues.okx_instruments import instrument_row, make_instruments
from tools.venues.protocol import HttpReply, HttpRequest
from tools.venues.trading.okx import OkxTrading
from tools.venues.trading.order_faults import Acts
from tools.venues.trading.terms import Listing, Why

ITEMS = [item for item, _, _ in make_instruments(2, 1)]  # BTC-USDT-SWAP, BTC-USDT
SWAP, SPOT = 0, 1
BID, ASK = 618_000, 618_001


def make(factor: float = 0.0, **options: Any) -> Pair:
    """A pair at OKX with a book at 61,800.0 / 61,800.1."""
    listings = [Listing(number, item, 20_000, 50_000, 0) for number, item in enumerate(ITEMS)]
    rows = [
        replace(
            one.instrument,
            venue_id=2,
            base=one.item.base,
            quote=one.item.quote,
            settle=one.settle,
            kind=InstrumentKind.SPOT if one.is_spot else InstrumentKind.PERPETUAL,
        )
        for one in listings
    ]
    codes = [instrument_row(item, "live", 0) for item in ITEMS]

    def market(asked: HttpRequest) -> HttpReply | None:
        if asked.path == "/api/v5/public/instruments":
            kind = dict(asked.query)["instType"]
            return rest_answer([row for row in codes if row["instType"] == kind])
        if asked.path == "/api/v5/public/time":
            return rest_answer([{"ts": str((1_700_000_000 * SECOND + made.now_ns) // MS)}])
        return None

    made = Pair("okx", OkxTrading(factor), listings, rows, market_http=market, **options)
    made.book("BTC-USDT-SWAP", BID, ASK, 1000)
    made.book("BTC-USDT", BID, ASK, 10**9)
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
    assert order.status == OrderStatus.CANCELED


def test_what_is_taken_is_filled_level_by_level_and_paid_for(pair: Pair) -> None:
    order = pair.placed(BUY, 1500, ASK + 5)
    assert (order.status, order.filled_units) == (OrderStatus.FILLED, 1500)
    assert order.fill_product == 1000 * ASK + 500 * (ASK + 1)
    fees = sum(report.fee_units for report in pair.reports if report.last_units)
    assert fees == sum(fill.fee_e8 for fill in pair.exchange.accounts["main"].fills) > 0
    assert pair.ledger.position_units(SWAP) == 1500


def test_a_resting_order_is_filled_in_parts_as_a_maker(pair: Pair) -> None:
    order = pair.placed(SELL, 100, ASK, flags=POST_ONLY)
    pair.port.trade("BTC-USDT-SWAP", ASK, 1040, True)
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


def test_a_post_only_order_amended_across_the_book_keeps_its_terms(pair: Pair) -> None:
    order = pair.placed(BUY, 100, BID, flags=POST_ONLY)
    pair.replace(order, ASK, 100)
    pair.run()
    assert (order.status, order.price_units) == (OrderStatus.NEW, BID)


def test_orders_of_one_moment_leave_in_one_request_and_each_has_its_answer(pair: Pair) -> None:
    before = pair.desk.jobs
    orders = [pair.order(BUY, 100, BID - i) for i in range(20)]
    orders.append(pair.order(BUY, 100, BID, instrument_id=SPOT, flags=REDUCE_ONLY))
    pair.run()
    assert pair.desk.jobs == before + 1
    assert {order.status for order in orders[:20]} == {OrderStatus.NEW}
    assert orders[20].status == OrderStatus.REJECTED
    for order in orders[:20]:
        pair.cancel(order)
    pair.run()
    assert {order.status for order in orders[:20]} == {OrderStatus.CANCELED}


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
    pair.port.trade("BTC-USDT-SWAP", ASK, 2000, True)
    pair.desk.on_market()
    pair.may_connect = True
    pair.run(5 * SECOND)
    assert (order.status, order.filled_units) == (OrderStatus.FILLED, 100)
    assert any("/api/v5/trade/fills" in path for path in pair.paths)


def test_a_lost_request_is_rejected_only_after_the_venue_denied_it(pair: Pair) -> None:
    acts = iter([Acts(is_lost=True)])
    pair.desk.faults.meet = lambda *_: next(acts, None)  # type: ignore[method-assign]
    order = pair.placed(BUY, 100, BID)
    assert order.status == OrderStatus.PENDING_NEW
    pair.run(15 * SECOND)
    assert (order.status, order.reason) == (OrderStatus.REJECTED, Reason.NOT_RECEIVED)


def test_refusals_by_a_storm_and_by_limits_are_refusals(pair: Pair) -> None:
    acts = iter([Acts(refuses=Why.STORM), Acts(refuses=Why.RATE)])
    pair.desk.faults.meet = lambda *_: next(acts, None)  # type: ignore[method-assign]
    for reason in (Reason.VENUE_BUSY, Reason.VENUE_LIMIT):
        order = pair.placed(BUY, 100, BID)
        pair.run(SECOND)
        assert (order.status, order.reason) == (OrderStatus.REJECTED, reason)


def test_a_login_that_ended_in_silence_is_renewed(pair: Pair) -> None:
    assert pair.trading.expire(is_told=False) == 2
    order = pair.placed(BUY, 100, BID)
    pair.run(10 * SECOND)
    assert pair.session.is_connected
    assert order.status in (OrderStatus.REJECTED, OrderStatus.NEW)
    assert pair.trading.expire(is_told=True) == 2
    pair.run(5 * SECOND)
    assert pair.placed(BUY, 100, BID - 1).status == OrderStatus.NEW


def test_the_dead_man_timer_cancels_what_rests(pair: Pair) -> None:
    order = pair.placed(BUY, 100, BID)
    for request in pair.protocol.dead_man(10, pair.session.take_id(), 1_700_000_000 * SECOND + pair.now_ns):
        pair.send_rest(request)
    pair.run(9 * SECOND)
    assert order.status == OrderStatus.NEW
    pair.run(2 * SECOND)
    assert (order.status, order.reason) == (OrderStatus.CANCELED, Reason.MASS_CANCEL)


def test_a_wrong_secret_stops_the_session() -> None:
    pair = make(keys=Keys("key-of-main", "another-secret", "phrase of main"))
    pair.session.start(pair.now_ns)
    pair.run(3 * SECOND)
    assert not pair.session.is_connected
    assert any("50113" in text or "60007" in text for _, text in pair.events)


def test_limits_hold_per_instrument_and_batches_have_their_own() -> None:
    pair = make(factor=0.05).up()  # 3 requests, 15 orders in batches, 50 of the account, in 2 s
    orders = []
    for i in range(4):
        orders.append(pair.placed(BUY, 100, BID - i))
    assert [order.status for order in orders].count(OrderStatus.NEW) == 3
    assert orders[3].reason == Reason.VENUE_LIMIT
    assert pair.trading.statistics()["answered_429"] == 1
    pair.run(3 * SECOND)
    assert pair.placed(BUY, 100, BID - 9).status == OrderStatus.NEW
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
    return {item.symbol: instrument_row(item, "live", 0)["instIdCode"] for item in ITEMS}


def test_instrument_codes_are_different() -> None:
    rows = [instrument_row(item, "live", 0) for item, _, _ in make_instruments(600, 1)]
    assert len({row["instIdCode"] for row in rows}) == 600
