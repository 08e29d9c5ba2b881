"""Bybit's order entry: what goes out is exactly what was meant, what comes in is exact or refused."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exec.errors import DecodeError, OrderError
from exec.lifecycle import Event
from exec.order import Order
from exec.order_protocol import (
    Action,
    Answer,
    BalanceWord,
    Channel,
    ControlWord,
    Lane,
    OpenOrderWord,
    PositionWord,
    Request,
    RequestKind,
    Sign,
    Way,
    Word,
)
from exec.session import VenueReport
from exec.venues.bybit import facts
from exec.venues.bybit.errors import ENDED, MEANINGS, meaning
from exec.venues.bybit.limits import STOPS
from exec.venues.bybit.protocol import Bybit
from exec.venues.digests import digest63, number63
from shm.enums import Liquidity, OrderFlags, OrderType, RateStop, Reason, Side, TimeInForce
from shm.units import parse_units
from tests.exec.venues import account_scene as scene
from tests.exec.venues.account_scene import assert_exact, one

PUSH = Channel.PRIVATE_STREAM
LINEAR, ETH, SPOT = 4, 5, 6
TIMES = {"GTC": TimeInForce.GTC, "IOC": TimeInForce.IOC, "FOK": TimeInForce.FOK}
UUID = "ab99c212-48ce-4cd1-baf6-591fdd559ea5"


def make(**options: Any) -> Bybit:
    return Bybit(scene.keys(), scene.TAG, scene.Rows(), **options)


def row(**changes: Any) -> dict[str, Any]:
    """A row of the topic `order`: a new order."""
    return {
        "category": "linear", "symbol": "BTCUSDT", "orderId": UUID, "orderLinkId": scene.wire(),
        "side": "Buy", "orderType": "Limit", "price": "61900.00", "qty": "0.150", "timeInForce": "GTC",
        "orderStatus": "New",
        "cancelType": "UNKNOWN", "rejectReason": "EC_NoError", "leavesQty": "0.150", "cumExecQty": "0",
        "positionIdx": 0, "reduceOnly": False, "createdTime": "1764403686700", "updatedTime": "1764403686746",
    } | changes  # fmt: skip


def execution(**changes: Any) -> dict[str, Any]:
    """A row of the topic `execution`."""
    return {
        "category": "linear", "symbol": "BTCUSDT", "orderId": UUID, "orderLinkId": scene.wire(),
        "side": "Buy", "execId": "a3333bcf-4d02-55f1-a9d2-08a5149064f4", "execPrice": "61899.90",
        "execQty": "0.025",
        "execType": "Trade", "execFee": "0.0171406200001", "isMaker": False, "execTime": "1764403686745",
        "leavesQty": "0.125", "orderQty": "0.150",
    } | changes  # fmt: skip


def pushed(topic: str, *rows: dict[str, Any]) -> bytes:
    return json.dumps({"topic": topic, "id": "1", "creationTime": 1, "data": list(rows)}).encode()


def answered(op: str, code: int = 0, **more: Any) -> bytes:
    frame = {"reqId": "12l", "retCode": code, "retMsg": "m", "op": op, "data": {}, "retExtInfo": {}}
    return json.dumps(frame | more).encode()


def rest(bybit: Bybit, request: Request, data: list[Any], cursor: str = "", code: int = 0) -> list[Word]:
    result = {"list": data, "nextPageCursor": cursor, "category": "linear"}
    body = json.dumps({"retCode": code, "retMsg": "m", "result": result, "time": 1}).encode()
    return bybit.decode_rest(request, 200, {}, body)


# ---- out -------------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(orders=st.lists(scene.orders((LINEAR, ETH)), min_size=1, max_size=20) | st.lists(scene.orders((SPOT,)), min_size=1, max_size=10))  # fmt: skip # noqa: E501
def test_every_order_we_can_hold_is_on_the_wire_as_it_is_or_refused_with_its_name(
    orders: list[Order],
) -> None:
    bybit = make()
    try:
        request = bybit.new(orders, 77, scene.UTC_NS)
    except OrderError as error:
        assert any(repr(each) in str(error) for each in orders)
        assert any(scene.is_formless(each, (SPOT,)) for each in orders)
        return
    assert not any(scene.is_formless(each, (SPOT,)) for each in orders)
    assert (request.kind, request.lane, request.way) == (RequestKind.NEW, Lane.NEW, Way.ORDER_SOCKET)
    assert request.order_ids == tuple(each.root_client_order_id for each in orders)
    message = json.loads(request.frame)
    category = "spot" if orders[0].instrument_id == SPOT else "linear"
    assert message["reqId"] == f"77{category[0]}"
    assert message["header"] == {"X-BAPI-TIMESTAMP": "1764403686123", "X-BAPI-RECV-WINDOW": "1000"}
    assert len(message["args"]) == 1
    args = message["args"][0]
    assert args["category"] == category
    assert message["op"] == ("order.create" if len(orders) == 1 else "order.create-batch")
    for arg, each in zip([args] if len(orders) == 1 else args["request"], orders, strict=True):
        assert_same(arg, each)


def assert_same(arg: dict[str, Any], order: Order) -> None:
    instrument = scene.Rows().row(order.instrument_id)
    is_spot = order.instrument_id == SPOT
    assert (arg["symbol"], arg["orderLinkId"]) == (instrument.symbol, scene.wire(order.root_client_order_id))
    assert arg["side"] == ("Buy" if order.side == Side.BUY else "Sell")
    assert parse_units(arg["qty"], instrument.quantity_exponent) == order.order_units
    assert arg.get("positionIdx") == (None if is_spot else 0)
    if order.order_type == OrderType.MARKET:
        assert (arg["orderType"], arg["timeInForce"]) == ("Market", "IOC") and "price" not in arg
        assert arg.get("marketUnit") == ("baseCoin" if is_spot else None)
    else:
        assert arg["orderType"] == "Limit"
        assert parse_units(arg["price"], instrument.price_exponent) == order.price_units
        if order.flags & OrderFlags.POST_ONLY:
            assert arg["timeInForce"] == "PostOnly"
        else:
            assert TIMES[arg["timeInForce"]] == order.time_in_force
    assert arg.get("reduceOnly", False) == (bool(order.flags & OrderFlags.REDUCE_ONLY) and not is_spot)


@settings(max_examples=60)
@given(orders=st.lists(scene.orders((LINEAR, ETH)), min_size=1, max_size=20))
def test_a_replace_carries_the_new_price_and_the_whole_new_quantity(orders: list[Order]) -> None:
    for each in orders:
        each.order_type = int(OrderType.LIMIT)
    message = json.loads(make().replace(orders, 5, scene.UTC_NS).frame)
    assert message["op"] == ("order.amend" if len(orders) == 1 else "order.amend-batch")
    args = message["args"][0]
    for arg, each in zip([args] if len(orders) == 1 else args["request"], orders, strict=True):
        instrument = scene.Rows().row(each.instrument_id)
        assert parse_units(arg["price"], instrument.price_exponent) == each.new_price_units
        assert parse_units(arg["qty"], instrument.quantity_exponent) == each.new_units
        assert arg["orderLinkId"] == scene.wire(each.root_client_order_id)


@pytest.mark.parametrize(("instrument_id", "most"), [(LINEAR, 20), (SPOT, 10)])
def test_each_category_has_its_own_batch_and_none_share_one(instrument_id: int, most: int) -> None:
    bybit = make()
    order = scene.order(instrument_id)
    assert bybit.max_new_batch <= most
    bybit.cancel([order] * most, 1, scene.UTC_NS)
    with pytest.raises(OrderError, match=f"{most + 1} orders in a request of .*: it takes 1 to {most}"):
        bybit.cancel([order] * (most + 1), 1, scene.UTC_NS)
    with pytest.raises(OrderError, match="of 2 categories in a request: it takes one"):
        bybit.cancel([scene.order(LINEAR), scene.order(SPOT)], 1, scene.UTC_NS)
    keys = {bybit.batch_key(RequestKind.NEW, scene.order(number)) for number in (LINEAR, ETH, SPOT)}
    assert len(keys) == 2
    with pytest.raises(OrderError, match="not of this account"):
        bybit.cancel([scene.order(0)], 1, scene.UTC_NS)


def test_rest_requests_and_logins_are_signed_over_what_is_sent() -> None:
    bybit = make()
    request = bybit.snapshot(RequestKind.FILLS, 3, scene.UTC_NS)[0]
    headers = dict(request.headers)
    query = "category=linear&limit=100"
    assert request.path == f"/v5/execution/list?{query}"
    assert headers["X-BAPI-SIGN"] == sign(f"1764403686123a-key2000{query}")
    posts = bybit.dead_man(1, 4, scene.UTC_NS)
    assert [json.loads(post.body) for post in posts] == [
        {"product": "DERIVATIVES", "timeWindow": 3},
        {"product": "SPOT", "timeWindow": 3},
    ]
    assert dict(posts[0].headers)["X-BAPI-SIGN"] == sign(f"1764403686123a-key2000{posts[0].body.decode()}")
    for channel, key in ((Channel.ORDER_SOCKET, "reqId"), (PUSH, "req_id")):
        login = json.loads(bybit.logins(channel, 9, scene.UTC_NS)[0])
        assert login == {
            key: "9",
            "op": "auth",
            "args": ["a-key", 1764403696123, sign("GET/realtime1764403696123")],
        }


def sign(text: str) -> str:
    return hmac.new(b"a-secret", text.encode(), hashlib.sha256).hexdigest()


def test_everything_is_canceled_by_settlement_coin_and_category_or_by_instrument() -> None:
    bybit = make(settle_coins=("USDT",))
    posts = bybit.mass_cancel((), 1, scene.UTC_NS)
    assert [json.loads(post.body) for post in posts] == [
        {"category": "linear", "settleCoin": "USDT"},
        {"category": "spot"},
    ]
    assert [post.rates[0][0] for post in posts] == ["mass_cancel.linear", "mass_cancel.spot"]
    posts = bybit.mass_cancel((SPOT, ETH), 1, scene.UTC_NS)
    assert [json.loads(post.body) for post in posts] == [
        {"category": "spot", "symbol": "BTCUSDT"},
        {"category": "linear", "symbol": "ETHUSDT"},
    ]
    words = rest(bybit, posts[0], [])
    assert words == [Answer(1, True)]


def test_the_cancel_on_disconnect_can_not_be_switched_off_and_is_not_asked_for_without_its_topics() -> None:
    assert make().dead_man(0, 1, scene.UTC_NS) == ()
    assert make(with_dcp=False).dead_man(30, 1, scene.UTC_NS) == ()
    frames = [json.loads(frame) for frame in make().subscribes(5, scene.UTC_NS)]
    assert [frame["args"] for frame in frames] == [list(facts.TOPICS), list(facts.DCP_TOPICS)]
    assert len(make(with_dcp=False).subscribes(5, scene.UTC_NS)) == 1
    refused = json.dumps(
        {"success": False, "ret_msg": "no", "op": "subscribe", "req_id": frames[1]["req_id"]}
    )
    words = make().decode(refused.encode(), PUSH)
    assert words[-1] == ControlWord(Sign.DEAD_MAN, text="refused: no")


# ---- sockets in ------------------------------------------------------------------------------------------


def test_an_answer_says_how_much_of_its_limit_is_used() -> None:
    header = {
        "X-Bapi-Limit": "10",
        "X-Bapi-Limit-Status": "9",
        "X-Bapi-Limit-Reset-Timestamp": "5",
        "Timenow": "5",
    }
    data = {"orderId": UUID, "orderLinkId": scene.wire()}
    frame = answered("order.create", reqId="12s", data=data, header=header)
    used, answer = make().decode(frame, Channel.ORDER_SOCKET)
    assert used == ControlWord(Sign.USED, 12, values={"order.spot": 1}, limits={"order.spot": 10})
    assert answer == Answer(12, True, order_id=0x1234)
    frame = answered("order.amend-batch", reqId="12l", code=10429, header=header)
    assert make().decode(frame, Channel.ORDER_SOCKET)[0] == ControlWord(
        Sign.USED, 12, values={"batch_amend.linear": 1}, limits={"batch_amend.linear": 10}
    )


def test_an_answer_of_a_batch_names_each_order_and_ends_with_the_last() -> None:
    items = [{"orderLinkId": scene.wire(1), "orderId": UUID}, {"orderLinkId": scene.wire(2), "orderId": ""}]
    codes = {"list": [{"code": 0, "msg": "OK"}, {"code": 110007, "msg": "balance"}]}
    frame = answered("order.create-batch", data={"list": items}, retExtInfo=codes)
    first, second = make().decode(frame, Channel.ORDER_SOCKET)
    assert first == Answer(12, True, order_id=1, is_last=False)
    assert second == Answer(12, False, Reason.VENUE_MARGIN, Action.REFUSED, "110007", "balance", order_id=2)
    frame = answered("order.create-batch", data={"list": items}, retExtInfo={"list": [{"code": 0}]})
    with pytest.raises(DecodeError, match="1 codes for 2 orders"):
        make().decode(frame, Channel.ORDER_SOCKET)


@pytest.mark.parametrize("code", sorted(ENDED))
def test_what_a_cancel_wanted_holds_where_the_order_is_over(code: str) -> None:
    for op, action in (("order.cancel", Action.DONE), ("order.amend", Action.REFUSED)):
        answer = one(make().decode(answered(op, int(code)), Channel.ORDER_SOCKET))
        assert (answer.request_id, answer.is_ok, answer.action) == (12, False, action)


@pytest.mark.parametrize("code", sorted(MEANINGS))
def test_every_code_in_the_table_is_reached_by_an_answer_that_bears_it(code: str) -> None:
    answer = one(make().decode(answered("order.create", int(code)), Channel.ORDER_SOCKET))
    found = MEANINGS[code]
    assert (answer.reason, answer.action, answer.code) == (found.reason, found.action, code)
    assert (found.wait_ns > 0) == (found.action == Action.WAIT)


def test_an_address_that_asks_too_often_waits_as_a_whole_by_rest_and_by_socket() -> None:
    for code in ("10018", "10403"):  # REST; "Websocket Trade Guideline"
        assert (meaning(code).reason, meaning(code).action) == (Reason.VENUE_LIMIT, Action.WAIT)
        assert STOPS[code] == ("weight", RateStop.ADDRESS)


def test_a_code_nobody_knows_is_a_refusal_in_the_trade_classes_only() -> None:
    assert meaning("110998").action == Action.REFUSED
    assert meaning("170998").action == Action.REFUSED
    for code in ("10998", "", "7", "1109980"):
        assert meaning(code).action == Action.ASK


def test_a_rate_limit_lasts_until_the_venue_says() -> None:
    header = {"X-Bapi-Limit-Reset-Timestamp": "1764403686937", "Timenow": "1764403686900"}
    answer = one(make().decode(answered("order.create", 10006, header=header), Channel.ORDER_SOCKET))
    assert (answer.action, answer.wait_ns) == (Action.WAIT, 37_000_000)
    answer = one(make().decode(answered("order.create", 10006), Channel.ORDER_SOCKET))
    assert answer.wait_ns == facts.RATE_WAIT_NS


def test_logins_of_both_sockets_are_understood() -> None:
    bybit = make()
    for frame in (
        b'{"retCode":0,"retMsg":"OK","op":"auth","connId":"x","reqId":"4"}',
        b'{"success":true,"ret_msg":"","conn_id":"x","req_id":"4","op":"auth"}',
        b'{"retCode":20001,"retMsg":"repeat","op":"auth","reqId":"4"}',
    ):
        assert bybit.decode(frame, PUSH) == [ControlWord(Sign.LOGGED_IN, 4)]
    answer, control = bybit.decode(b'{"retCode":10004,"retMsg":"sign","op":"auth","connId":"x"}', PUSH)
    assert isinstance(answer, Answer) and answer.action == Action.STOP
    assert control == ControlWord(Sign.LOGIN_REFUSED, 0, "10004 sign")
    answer, control = bybit.decode(b'{"success":false,"ret_msg":"no","op":"auth","conn_id":"x"}', PUSH)
    assert isinstance(answer, Answer) and answer.action == Action.RELOGIN
    frame = b'{"success":true,"ret_msg":"","op":"subscribe","conn_id":"x","req_id":"5"}'
    assert bybit.decode(frame, PUSH) == [ControlWord(Sign.SUBSCRIBED, 5)]
    for frame in (b'{"retCode":0,"op":"pong","data":["1"]}', b'{"req_id":"","op":"pong","args":["1"]}',
                  b'{"success":true,"ret_msg":"pong","op":"ping"}'):  # fmt: skip
        assert one(bybit.decode(frame, PUSH)).sign == Sign.PONG
    assert bybit.decode(b'{"topic":"greeks","data":[]}', PUSH) == []
    assert bybit.decode(b'{"hello":1}', PUSH) == []


# ---- orders and executions -------------------------------------------------------------------------------


def test_a_new_order_is_accepted_with_the_terms_in_force() -> None:
    report = one(make().decode(pushed("order", row()), PUSH))
    assert (report.event, report.client_order_id, report.instrument_id) == (Event.ACCEPTED, 0x1234, LINEAR)
    assert (report.price_units, report.order_units) == (6_190_000, 150)
    assert report.venue_order_id == digest63(UUID)
    spot = one(make().decode(pushed("order", row(category="spot")), PUSH))
    assert (spot.instrument_id, spot.order_units) == (SPOT, 150_000)


def test_an_order_seen_with_the_terms_that_were_asked_for_has_been_replaced_once() -> None:
    bybit, order = make(), scene.order(LINEAR)
    order.new_price_units, order.new_units = 6_190_150, 200
    bybit.replace([order], 1, scene.UTC_NS)
    old, new = (
        pushed("order", row()),
        pushed("order", row(price="61901.50", qty="0.200", orderStatus="PartiallyFilled")),
    )
    with pytest.raises(DecodeError):
        bybit.decode(pushed("order", row(price="61901.50", qty="0.200"), row(side="x")), PUSH)
    events = [one(bybit.decode(frame, PUSH)).event for frame in (old, new, new)]
    assert events == [Event.ACCEPTED, Event.REPLACED, Event.ACCEPTED]
    bybit.replace([order], 2, scene.UTC_NS)
    bybit.decode(pushed("order", row(orderStatus="Cancelled")), PUSH)
    assert one(bybit.decode(new, PUSH)).event == Event.ACCEPTED


@pytest.mark.parametrize(
    ("changes", "event", "reason"),
    [
        ({"orderStatus": "Cancelled", "cancelType": "CancelByUser"}, Event.CANCELED, Reason.USER_CANCEL),
        ({"orderStatus": "Cancelled", "cancelType": "CancelByDCP"}, Event.CANCELED, Reason.MASS_CANCEL),
        ({"orderStatus": "Cancelled", "cancelType": "CancelBySmp"}, Event.EXPIRED, Reason.SELF_TRADE),
        ({"orderStatus": "Cancelled", "rejectReason": "EC_CancelForNoFullFill"}, Event.EXPIRED,
         Reason.IOC_REMAINDER),
        ({"orderStatus": "Rejected", "rejectReason": "EC_NoEnoughQtyToFill"}, Event.REJECTED,
         Reason.FOK_NOT_FILLABLE),
        ({"orderStatus": "Rejected", "cumExecQty": "0.05"}, Event.CANCELED, Reason.USER_CANCEL),
        ({"orderStatus": "PartiallyFilledCanceled", "rejectReason": "EC_PerCancelRequest"}, Event.CANCELED,
         Reason.USER_CANCEL),
        ({"orderStatus": "Cancelled", "rejectReason": "EC_PostOnlyWillTakeLiquidity"}, Event.CANCELED,
         Reason.POST_ONLY_WOULD_CROSS),
        ({"orderStatus": "Deactivated", "cancelType": "CancelByWhoKnows"}, Event.CANCELED,
         Reason.VENUE_REJECTED),
    ],
)  # fmt: skip
def test_an_end_says_why(changes: dict[str, Any], event: Event, reason: Reason) -> None:
    report = one(make().decode(pushed("order", row(**changes)), PUSH))
    assert (report.event, report.reason) == (event, reason)


def test_a_filled_order_ends_by_its_executions() -> None:
    bybit = make()
    assert bybit.decode(pushed("order", row(orderStatus="Filled", cumExecQty="0.150")), PUSH) == []
    assert bybit.decode(pushed("order", row(orderLinkId="")), PUSH) == []
    report = one(bybit.decode(pushed("execution", execution()), PUSH))
    assert (report.event, report.last_units, report.last_price_units) == (Event.FILL_PART, 25, 6_189_990)
    assert report.trade_id == digest63("a3333bcf-4d02-55f1-a9d2-08a5149064f4")
    assert (report.liquidity, report.fee_units) == (Liquidity.TAKER, 1_714_063)
    assert report.venue_order_id == digest63(UUID)


@pytest.mark.parametrize(
    ("side", "fee", "currency", "expected"),
    [
        ("Buy", "0.00005", "", 309_499_500),  # what is received pays: base
        ("Sell", "0.05", "", 5_000_000),
        ("Sell", "-0.00005", "", -309_499_500),  # a rebate: base
        ("Buy", "0.05", "USDT", 5_000_000),
    ],
)
def test_a_spot_fee_is_in_the_currency_that_pays_it(
    side: str, fee: str, currency: str, expected: int
) -> None:
    changes = {"category": "spot", "side": side, "execFee": fee, "feeCurrency": currency}
    assert one(make().decode(pushed("execution", execution(**changes)), PUSH)).fee_units == expected


@pytest.mark.parametrize("kind", sorted(facts.FORCED))
def test_what_the_venue_does_to_the_account_is_a_fill_and_said(kind: str) -> None:
    words = make().decode(pushed("execution", execution(execType=kind, orderLinkId="")), PUSH)
    assert words[0] == ControlWord(Sign.FORCED, text=f"{kind} BTCUSDT")
    assert isinstance(words[1], VenueReport) and words[1].client_order_id == 0


@pytest.mark.parametrize("kind", sorted(facts.SPLITS))
def test_a_split_is_said_and_left_to_the_comparison_of_positions(kind: str) -> None:
    words = make().decode(pushed("execution", execution(execType=kind, orderLinkId="")), PUSH)
    assert words == [ControlWord(Sign.FORCED, text=f"{kind} BTCUSDT")]


def test_funding_is_no_fill_and_an_unknown_kind_is_no_guess() -> None:
    bybit = make()
    for kind in ("Funding", "Dividend", "SessionSettlePnL"):
        assert bybit.decode(pushed("execution", execution(execType=kind, orderLinkId="")), PUSH) == []
    stranger = execution(execType="Gift", symbol="X", orderLinkId="")
    assert bybit.decode(pushed("execution", stranger), PUSH) == []
    assert bybit.decode(pushed("execution", execution(category="option", orderLinkId="")), PUSH) == []
    with pytest.raises(DecodeError, match="execType is none we know: 'Gift'"):
        bybit.decode(pushed("execution", execution(execType="Gift")), PUSH)
    with pytest.raises(DecodeError, match="our order in an instrument of no run: linear 'X'"):
        bybit.decode(pushed("execution", execution(symbol="X")), PUSH)


def test_positions_and_wallets() -> None:
    position = {"category": "linear", "symbol": "ETHUSDT", "side": "Sell", "size": "0.01",
                "entryPrice": "3641.075", "positionIdx": 0, "updatedTime": "1762199125472"}  # fmt: skip
    word = one(make().decode(pushed("position", position), PUSH))
    assert word == PositionWord(ETH, "ETHUSDT", -1, 364_107, 1762199125472 * 10**6)
    flat = position | {"side": "", "size": "0", "entryPrice": "0"}
    assert one(make().decode(pushed("position", flat), PUSH)).position_units == 0
    hedged = [position | {"side": "Buy", "size": "0.05"}, position]
    assert one(make().decode(pushed("position", *hedged), PUSH)).position_units == 4
    coin = {
        "coin": "USDT",
        "walletBalance": "100.123456789",
        "locked": "1",
        "totalOrderIM": "2",
        "totalPositionIM": "",
    }
    word = one(make().decode(pushed("wallet", {"accountType": "UNIFIED", "coin": [coin]}), PUSH))
    assert word == BalanceWord("USDT", 10_012_345_678, 9_712_345_678)


# ---- questions -------------------------------------------------------------------------------------------


def test_an_order_that_is_nowhere_is_not_found_only_when_the_history_says_so() -> None:
    bybit, order = make(), scene.order(LINEAR)
    query = f"category=linear&symbol=BTCUSDT&orderLinkId={scene.wire()}"
    asked = bybit.query(order, 21, scene.UTC_NS)
    assert [each.path for each in asked] == [f"/v5/order/realtime?{query}"]
    for answer in (rest(bybit, asked[0], []), rest(bybit, asked[0], [], code=110001)):
        assert (one(answer).is_ok, one(answer).reports) == (True, [])
    asked = bybit.query(order, 22, scene.UTC_NS)
    assert [each.path for each in asked] == [f"/v5/order/{name}?{query}" for name in ("realtime", "history")]
    answer = one(rest(bybit, asked[1], []))
    assert [report.event for report in answer.reports] == [Event.NOT_FOUND]
    ended = row(orderStatus="Cancelled", cumExecQty="0.025", cancelType="CancelByUser")
    answer = one(rest(bybit, asked[1], [ended]))
    assert (answer.filled_units, answer.reports[0].event) == (25, Event.CANCELED)
    filled = one(rest(bybit, asked[0], [row(orderStatus="Filled", cumExecQty="0.150")]))
    assert (filled.filled_units, filled.reports[0].event) == (150, Event.ACCEPTED)
    with pytest.raises(DecodeError, match="did not ask for"):
        rest(bybit, asked[1], [row(orderLinkId=scene.wire(8))])


def test_an_order_that_rests_is_in_no_history_and_found_all_the_same() -> None:
    bybit, order = make(), scene.order(LINEAR)
    rest(bybit, bybit.query(order, 1, scene.UTC_NS)[0], [])
    recent, history = bybit.query(order, 2, scene.UTC_NS)
    assert one(rest(bybit, recent, [row()])).reports[0].event == Event.ACCEPTED
    assert one(rest(bybit, history, [])).reports == []


def test_fills_of_an_order_go_on_page_by_page() -> None:
    bybit, order = make(), scene.order(LINEAR)
    request = bybit.fills_of(order, 1, scene.UTC_NS)[0]
    rows = [execution(execId=f"e{i}") for i in range(100)]
    answer, end = rest(bybit, request, rows, "a%3Db")
    assert isinstance(answer, Answer) and len(answer.reports) == 100
    assert answer.reports[-1].trade_id == digest63("e0")
    assert end == ControlWord(Sign.SNAPSHOT_END, 1)
    after = bybit.fills_of(order, 2, scene.UTC_NS)[0]
    assert after.path == f"{request.path}&cursor=a%3Db"
    assert rest(bybit, after, rows[:3], "c")[-1] == ControlWord(Sign.SNAPSHOT_END, 2)
    assert bybit.fills_of(order, 3, scene.UTC_NS)[0].path == request.path


def test_lists_of_the_account_are_asked_by_category_and_coin_and_go_on_by_their_cursor() -> None:
    bybit = make()
    asked = bybit.snapshot(RequestKind.OPEN_ORDERS, 4, scene.UTC_NS)
    assert [each.path for each in asked] == [
        "/v5/order/realtime?category=linear&settleCoin=USDT&limit=50",
        "/v5/order/realtime?category=linear&settleCoin=USDC&limit=50",
        "/v5/order/realtime?category=spot&limit=50",
    ]
    rows = [row(orderId=f"o{i}", orderLinkId="") for i in range(50)]
    words = rest(bybit, asked[0], rows, "x%26y")
    assert isinstance(words[0], OpenOrderWord)
    assert (words[0].symbol, words[0].instrument_id, words[0].order_units) == ("linear:BTCUSDT", LINEAR, 150)
    more = words[-1]
    assert isinstance(more, ControlWord) and more.sign == Sign.MORE
    after = one(list(bybit.snapshot(RequestKind.OPEN_ORDERS, 9, scene.UTC_NS, cursor=more.text)))  # type: ignore[arg-type]
    assert after.path == f"{asked[0].path}&cursor=x%26y"
    again = rest(bybit, after, rows, "z")[-1]
    assert isinstance(again, ControlWord) and again.text.endswith("&cursor=z") and "x%26y" not in again.text
    assert rest(bybit, asked[2], [row(symbol="XUSDT", orderLinkId="", price="1", qty="2")], "c")[
        -1
    ] == ControlWord(Sign.SNAPSHOT_END, 6)
    requests = bybit.cancel_foreign([words[0], *[words[0]] * 20], 1, scene.UTC_NS)
    assert [json.loads(each.frame)["op"] for each in requests] == ["order.cancel-batch", "order.cancel"]
    assert json.loads(requests[1].frame)["args"] == [
        {"category": "linear", "symbol": "BTCUSDT", "orderId": "o0"}
    ]
    positions = bybit.snapshot(RequestKind.POSITIONS, 4, scene.UTC_NS)
    assert positions[0].path == "/v5/position/list?category=linear&settleCoin=USDT&limit=200"
    words = rest(
        bybit, positions[0], [{"symbol": "BTCUSDT", "side": "Buy", "size": "0.5", "avgPrice": "2.5"}]
    )
    assert words[0] == PositionWord(LINEAR, "BTCUSDT", 500, 250)


def test_fills_since_a_time_reach_back_seven_days_at_most() -> None:
    bybit = make()
    since = scene.UTC_NS - 30 * 24 * 3600 * 10**9
    asked = bybit.snapshot(RequestKind.FILLS, 4, scene.UTC_NS, since_utc_ns=since)
    start = (scene.UTC_NS - facts.FILLS_SPAN_NS) // 10**6
    assert [each.path for each in asked] == [
        f"/v5/execution/list?category={name}&limit=100&startTime={start}" for name in ("linear", "spot")
    ]


def test_no_answer_and_unreadable_answers_leave_the_question_open() -> None:
    bybit = make()
    request = bybit.query(scene.order(LINEAR), 1, scene.UTC_NS)[0]
    for status in (0, 500, 502):
        assert one(bybit.decode_rest(request, status, {}, b"<html>")).action == Action.ASK
    assert one(bybit.decode_rest(request, 403, {}, b"")).wait_ns == facts.FORBIDDEN_WAIT_NS
    body = b'{"retCode":10006,"retMsg":"Too many visits!","result":{}}'
    assert one(bybit.decode_rest(request, 403, {}, body)).wait_ns == facts.FORBIDDEN_WAIT_NS
    assert one(bybit.decode_rest(request, 200, {}, body)).wait_ns == facts.RATE_WAIT_NS
    with pytest.raises(DecodeError, match="not JSON"):
        bybit.decode_rest(request, 200, {}, b"")
    body = (
        b'{"retCode":0,"retMsg":"OK","result":{"timeSecond":"1","timeNano":"1688639403423213947"},"time":1}'
    )
    clock, answer = bybit.decode_rest(bybit.server_time(1), 200, {}, body)
    assert clock == ControlWord(Sign.SERVER_TIME, 1, venue_utc_ns=1688639403423213947)
    assert answer == Answer(1, True)


def test_digests_are_the_same_in_every_process_and_within_63_bits() -> None:
    assert digest63(UUID) == 7_498_082_412_138_404_754
    assert digest63("") == 0
    assert number63("641972610108518410") == 641972610108518410
    for text in ("9" * 19, "9" * 40, "0", "x", "-1"):
        assert 0 < number63(text) < 2**63


FRAMES: tuple[dict[str, Any], ...] = (
    {"topic": "order", "data": [row(), row(orderStatus="Cancelled"), row(category="spot")]},
    {"topic": "execution", "data": [execution(), execution(category="spot", execType="AdlTrade")]},
    {"topic": "position", "data": [{"category": "linear", "symbol": "ETHUSDT", "side": "Buy", "size": "1"}]},
    {"topic": "wallet", "data": [{"coin": [{"coin": "A", "walletBalance": "1", "locked": "1"}]}]},
    {"reqId": "1l", "retCode": 0, "op": "order.create-batch",
     "data": {"list": [{"orderLinkId": scene.wire()}]},
     "retExtInfo": {"list": [{"code": 110007}]}, "header": {"X-Bapi-Limit": "10", "Timenow": "1"}},
    {"reqId": "1s", "retCode": 10006, "op": "order.amend", "data": {}, "header": {"Timenow": "5"}},
    {"success": False, "op": "auth", "ret_msg": "x", "req_id": "1"},
)  # fmt: skip
BODIES = tuple(
    {"retCode": 0, "result": {"list": frame["data"], "nextPageCursor": "c", "timeNano": "1"}}
    for frame in FRAMES
    if "topic" in frame
)
ASKED = (
    RequestKind.QUERY,
    RequestKind.FILLS,
    RequestKind.OPEN_ORDERS,
    RequestKind.POSITIONS,
    RequestKind.BALANCES,
    RequestKind.SERVER_TIME,
    RequestKind.MASS_CANCEL,
)


@settings(max_examples=600)
@given(frame=scene.mutated(FRAMES), channel=st.sampled_from(Channel))
def test_a_mutated_frame_is_read_exactly_or_refused(frame: bytes, channel: Channel) -> None:
    try:
        words = make().decode(frame, channel)
    except DecodeError as error:
        assert str(error)
        return
    assert_exact(words)


@settings(max_examples=300)
@given(body=scene.mutated(BODIES), kind=st.sampled_from(ASKED), path=st.sampled_from(("realtime", "history")))
def test_a_mutated_answer_is_read_exactly_or_refused(body: bytes, kind: RequestKind, path: str) -> None:
    where = f"/v5/order/{path}?category=linear"
    rates = (("mass_cancel.linear", 1),)
    request = Request(1, kind, Lane.RECONCILE, Way.REST, (0x1234,), LINEAR, path=where, rates=rates)
    try:
        words = make().decode_rest(request, 200, {"X-Bapi-Limit": "5"}, body)
    except DecodeError as error:
        assert str(error)
        return
    assert_exact(words)
