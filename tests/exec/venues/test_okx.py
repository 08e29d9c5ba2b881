"""OKX's order entry: what goes out is exactly what was meant, what comes in is exact or refused."""

from __future__ import annotations

import base64
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
from exec.venues.okx import facts
from exec.venues.okx.errors import ENDED, MEANINGS, meaning
from exec.venues.okx.protocol import Okx
from exec.venues.order_window import ORDER_WINDOW_MS
from shm.enums import Liquidity, OrderFlags, OrderType, Reason, Side, TimeInForce
from shm.units import parse_units
from tests.exec.venues import account_scene as scene
from tests.exec.venues.account_scene import assert_exact, one

PUSH = Channel.PRIVATE_STREAM
ORDER_TYPES = {"limit": TimeInForce.GTC, "ioc": TimeInForce.IOC, "fok": TimeInForce.FOK}


def instruments_answer() -> bytes:
    data = [{"instId": symbol, "instIdCode": code} for symbol, code in scene.OKX_CODES.items()]
    return json.dumps({"code": "0", "msg": "", "data": data}).encode()


def make(**options: Any) -> Okx:
    """A protocol that knows the instruments' codes."""
    okx = Okx(scene.keys(), scene.TAG, scene.Rows(), **options)
    request = okx.opening_requests(1, scene.UTC_NS)[0]
    assert okx.decode_rest(request, 200, {}, instruments_answer()) == [Answer(1, True)]
    return okx


def row(**changes: Any) -> dict[str, Any]:
    """A row of the orders channel, as the document has it: a live order."""
    return {
        "accFillSz": "0", "amendResult": "", "amendSource": "", "avgPx": "0", "cTime": "1764403686000",
        "cancelSource": "", "category": "normal", "clOrdId": scene.wire(), "code": "0", "execType": "",
        "fillFee": "0", "fillFeeCcy": "", "fillPx": "", "fillSz": "0", "fillTime": "",
        "instId": "BTC-USDT-SWAP",
        "instType": "SWAP", "msg": "", "ordId": "641972610108518410", "ordType": "limit", "posSide": "net",
        "px": "61900.0", "reduceOnly": "false", "reqId": "", "side": "buy", "state": "live", "sz": "1.50",
        "tdMode": "cross", "tradeId": "", "uTime": "1764403686746",
    } | changes  # fmt: skip


FILL = {
    "state": "partially_filled", "tradeId": "242589207", "fillSz": "0.25", "fillPx": "61899.9",
    "execType": "M",
    "fillFee": "-0.0309499500001", "fillFeeCcy": "USDT", "fillTime": "1764403686745", "accFillSz": "0.25",
}  # fmt: skip


def pushed(*rows: dict[str, Any], channel: str = "orders") -> bytes:
    return json.dumps({"arg": {"channel": channel, "instType": "ANY"}, "data": list(rows)}).encode()


def rest(okx: Okx, request: Request, data: list[Any], code: str = "0") -> list[Word]:
    return okx.decode_rest(request, 200, {}, json.dumps({"code": code, "msg": "m", "data": data}).encode())


# ---- out -------------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(
    orders=st.lists(scene.orders((0, 1, 2, 3)), min_size=1, max_size=20), request_id=st.integers(1, 10**15)
)
def test_every_order_we_can_hold_is_on_the_wire_as_it_is_or_refused_with_its_name(
    orders: list[Order], request_id: int
) -> None:
    okx = make(td_mode="isolated")
    try:
        request = okx.new(orders, request_id, scene.UTC_NS)
    except OrderError as error:
        assert any(repr(each) in str(error) for each in orders)
        assert any(scene.is_formless(each, (1, 2)) for each in orders)
        return
    assert not any(scene.is_formless(each, (1, 2)) for each in orders)
    assert request.order_ids == tuple(each.root_client_order_id for each in orders)
    assert (request.kind, request.lane, request.way) == (RequestKind.NEW, Lane.NEW, Way.ORDER_SOCKET)
    message = json.loads(request.frame)
    assert message["id"] == str(request_id)
    assert message["op"] == ("order" if len(orders) == 1 else "batch-orders")
    assert message["expTime"] == str(scene.UTC_NS // 10**6 + ORDER_WINDOW_MS)
    for arg, each in zip(message["args"], orders, strict=True):
        assert_same(arg, each)


def assert_same(arg: dict[str, Any], order: Order) -> None:
    instrument = scene.Rows().row(order.instrument_id)
    is_spot = order.instrument_id in (1, 2)
    assert arg["instIdCode"] == scene.OKX_CODES[instrument.symbol] and "instId" not in arg
    assert arg["clOrdId"] == scene.wire(order.root_client_order_id)
    assert arg["side"] == ("buy" if order.side == Side.BUY else "sell")
    assert arg["tdMode"] == ("cash" if is_spot else "isolated")
    assert arg["stpMode"] == "cancel_taker"
    assert parse_units(arg["sz"], instrument.quantity_exponent) == order.order_units
    if order.order_type == OrderType.MARKET:
        assert arg["ordType"] == "market" and "px" not in arg
        assert arg.get("tgtCcy") == ("base_ccy" if is_spot else None)
    else:
        assert parse_units(arg["px"], instrument.price_exponent) == order.price_units
        if order.flags & OrderFlags.POST_ONLY:
            assert arg["ordType"] == "post_only"
        else:
            assert ORDER_TYPES[arg["ordType"]] == order.time_in_force
    assert arg.get("reduceOnly", False) == (bool(order.flags & OrderFlags.REDUCE_ONLY) and not is_spot)


@settings(max_examples=60)
@given(orders=st.lists(scene.orders((0, 1, 2, 3)), min_size=1, max_size=20))
def test_a_replace_carries_the_new_price_and_the_whole_new_quantity(orders: list[Order]) -> None:
    okx = make()
    for each in orders:
        each.order_type = int(OrderType.LIMIT)
    request = okx.replace(orders, 5, scene.UTC_NS)
    message = json.loads(request.frame)
    assert message["op"] == ("amend-order" if len(orders) == 1 else "batch-amend-orders")
    for arg, each in zip(message["args"], orders, strict=True):
        instrument = scene.Rows().row(each.instrument_id)
        assert parse_units(arg["newPx"], instrument.price_exponent) == each.new_price_units
        assert parse_units(arg["newSz"], instrument.quantity_exponent) == each.new_units
        assert arg["clOrdId"] == scene.wire(each.root_client_order_id)


def test_more_than_twenty_orders_do_not_fit_one_request() -> None:
    with pytest.raises(OrderError, match="21 orders in a request: it takes 1 to 20"):
        make().new([scene.order() for _ in range(21)], 1, scene.UTC_NS)


def test_cancels_go_out_without_a_deadline_and_before_codes_are_known_by_rest() -> None:
    orders = [scene.order(), scene.order(1, client_order_id=9)]
    request = make().cancel(orders, 7, scene.UTC_NS)
    message = json.loads(request.frame)
    assert message == {
        "id": "7",
        "op": "batch-cancel-orders",
        "args": [
            {"instIdCode": 10459, "clOrdId": scene.wire()},
            {"instIdCode": 3, "clOrdId": scene.wire(9)},
        ],
    }
    blind = Okx(scene.keys(), scene.TAG, scene.Rows())
    with pytest.raises(OrderError, match="named no code for the instrument BTC-USDT-SWAP"):
        blind.new(orders, 1, scene.UTC_NS)
    request = blind.cancel(orders, 7, scene.UTC_NS)
    assert (request.way, request.path) == (Way.REST, facts.CANCEL_BATCH_PATH)
    assert json.loads(request.body)[1] == {"instId": "BTC-USDT", "clOrdId": scene.wire(9)}
    assert request.order_ids == (0x1234, 9)


def test_rest_requests_and_logins_are_signed_over_what_is_sent() -> None:
    okx = make(is_demo=True)
    request = okx.snapshot(RequestKind.FILLS, 3, scene.UTC_NS, since_utc_ns=5 * 10**15, cursor="a b")[0]
    headers = dict(request.headers)
    assert request.path == "/api/v5/trade/fills?limit=100&begin=5000000000&after=a%20b"
    assert headers["OK-ACCESS-TIMESTAMP"] == "2025-11-29T08:08:06.123Z"
    assert headers["OK-ACCESS-PASSPHRASE"] == "a phrase" and headers["x-simulated-trading"] == "1"
    text = f"2025-11-29T08:08:06.123ZGET{request.path}"
    assert headers["OK-ACCESS-SIGN"] == sign(text)
    login = json.loads(okx.logins(PUSH, 1, scene.UTC_NS)[0])
    assert login["args"][0]["timestamp"] == "1764403686"
    assert login["args"][0]["sign"] == sign("1764403686GET/users/self/verify")
    post = okx.dead_man(5, 4, scene.UTC_NS)[0]
    assert post.body == b'{"timeOut":"10"}'
    assert dict(post.headers)["OK-ACCESS-SIGN"] == sign(
        f"2025-11-29T08:08:06.123ZPOST{post.path}{post.body.decode()}"
    )


def sign(text: str) -> str:
    return base64.b64encode(hmac.new(b"a-secret", text.encode(), hashlib.sha256).digest()).decode()


@pytest.mark.parametrize(("asked", "sent"), [(0, 0), (1, 10), (59.6, 60), (1000, 120)])
def test_the_dead_man_timer_is_whole_seconds_within_the_venues_range(asked: float, sent: int) -> None:
    assert json.loads(make().dead_man(asked, 1, scene.UTC_NS)[0].body) == {"timeOut": str(sent)}


def test_addresses_keep_a_path_and_have_the_venues_otherwise() -> None:
    assert make().order_url() == "wss://ws.okx.com:8443/ws/v5/private"
    assert make(order_url="ws://127.0.0.1:5/").order_url() == "ws://127.0.0.1:5/ws/v5/private"
    assert make(private_url="ws://h/x").private_url() == "ws://h/x"


# ---- sockets in ------------------------------------------------------------------------------------------


def test_an_answer_of_a_batch_names_each_order_and_ends_with_the_last() -> None:
    frame = {
        "id": "12", "op": "batch-orders", "code": "2", "msg": "",
        "data": [
            {"clOrdId": scene.wire(1), "ordId": "7", "sCode": "0", "sMsg": ""},
            {"clOrdId": scene.wire(2), "ordId": "", "sCode": "51008_1001", "sMsg": "Insufficient margin"},
        ],
    }  # fmt: skip
    first, second = make().decode(json.dumps(frame).encode(), Channel.ORDER_SOCKET)
    assert first == Answer(12, True, order_id=1, is_last=False)
    assert second == Answer(
        12, False, Reason.VENUE_MARGIN, Action.REFUSED, "51008_1001", "Insufficient margin", order_id=2
    )


def test_an_answer_without_orders_is_about_all_of_the_request() -> None:
    frame = b'{"id":"3","op":"order","code":"50011","msg":"Too Many Requests","data":[]}'
    answer = one(make().decode(frame, Channel.ORDER_SOCKET))
    assert (answer.request_id, answer.order_id, answer.action) == (3, 0, Action.WAIT)
    assert answer.wait_ns == facts.RATE_WAIT_NS
    with pytest.raises(DecodeError, match="data is empty"):
        make().decode(b'{"id":"3","op":"order","code":"0","data":[]}', Channel.ORDER_SOCKET)


@pytest.mark.parametrize("code", sorted(ENDED))
def test_what_a_cancel_wanted_holds_where_the_order_is_over(code: str) -> None:
    data = [{"clOrdId": scene.wire(), "ordId": "", "sCode": code, "sMsg": "over"}]
    for op, action in (("cancel-order", Action.DONE), ("amend-order", Action.REFUSED)):
        frame = json.dumps({"id": "1", "op": op, "code": "1", "msg": "", "data": data}).encode()
        answer = one(make().decode(frame, Channel.ORDER_SOCKET))
        assert (answer.is_ok, answer.action, answer.order_id) == (False, action, 0x1234)


@pytest.mark.parametrize("code", sorted(MEANINGS))
def test_every_code_in_the_table_is_reached_by_an_answer_that_bears_it(code: str) -> None:
    frame = json.dumps({"id": "1", "op": "order", "code": code, "msg": "m", "data": []}).encode()
    answer = one(make().decode(frame, Channel.ORDER_SOCKET))
    found = MEANINGS[code]
    assert (answer.reason, answer.action, answer.code) == (found.reason, found.action, code)
    assert (found.wait_ns > 0) == (found.action == Action.WAIT)


def test_a_code_nobody_knows_is_a_refusal_in_the_trade_class_only() -> None:
    assert meaning("51999").action == Action.REFUSED
    assert meaning("54999_12").action == Action.REFUSED
    for code in ("50999", "", "7", "999999"):
        assert meaning(code).action == Action.ASK


def test_logins_subscriptions_notices_and_pongs_are_told_apart() -> None:
    okx = make()
    assert okx.decode(b"pong", PUSH) == [ControlWord(Sign.PONG)]
    assert okx.decode(b'{"event":"login","code":"0","msg":"","connId":"a"}', PUSH) == [
        ControlWord(Sign.LOGGED_IN)
    ]
    frame = b'{"id":"8","event":"subscribe","arg":{"channel":"account"},"connId":"a"}'
    assert okx.decode(frame, PUSH) == [ControlWord(Sign.SUBSCRIBED, 8, "account")]
    frame = b'{"event":"error","msg":"API key doesn\'t exist","code":"60032","connId":"a"}'
    answer, control = okx.decode(frame, PUSH)
    assert isinstance(answer, Answer) and answer.action == Action.STOP
    assert isinstance(control, ControlWord) and control.sign == Sign.LOGIN_REFUSED
    frame = b'{"event":"error","msg":"Wrong URL or channel","code":"60018"}'
    assert okx.decode(frame, PUSH)[1] == ControlWord(Sign.SUBSCRIBE_REFUSED, 0, "60018 Wrong URL or channel")
    frame = b'{"event":"notice","code":"64008","msg":"soon closed"}'
    assert one(okx.decode(frame, PUSH)).sign == Sign.CLOSING
    assert okx.decode(b'{"event":"channel-conn-count","channel":"orders","connCount":"2"}', PUSH) == []
    assert okx.decode(b'{"arg":{"channel":"liquidation-warning"},"data":[]}', PUSH) == []


# ---- orders channel --------------------------------------------------------------------------------------


def test_a_live_order_is_accepted_with_the_terms_in_force() -> None:
    report = one(make().decode(pushed(row()), PUSH))
    assert isinstance(report, VenueReport)
    assert (report.event, report.client_order_id, report.instrument_id) == (Event.ACCEPTED, 0x1234, 0)
    assert (report.price_units, report.order_units, report.side) == (619_000, 150, Side.BUY)
    assert report.venue_order_id == 641972610108518410
    assert report.venue_utc_ns == 1764403686746 * 10**6


def test_a_fill_is_exact_and_its_fee_never_understated() -> None:
    report = one(make().decode(pushed(row(**FILL)), PUSH))
    assert (report.event, report.trade_id) == (Event.FILL_PART, 242589207)
    assert (report.last_units, report.last_price_units) == (25, 618_999)
    assert report.liquidity == Liquidity.MAKER
    # 0.0309499500001 is paid: a cost, rounded up.
    assert report.fee_units == 3_094_996
    rebate = one(make().decode(pushed(row(**FILL | {"fillFee": "0.000000019"})), PUSH))
    assert rebate.fee_units == -1


def test_a_spot_fee_in_the_base_currency_is_valued_at_the_fills_price() -> None:
    spot = {
        "instId": "BTC-USDT",
        "fillSz": "0.5",
        "fillPx": "60000.1",
        "fillFee": "-0.0005",
        "fillFeeCcy": "BTC",
    }
    report = one(make().decode(pushed(row(**FILL | spot)), PUSH))
    assert (report.last_units, report.fee_units) == (50_000_000, 3_000_005_000)


def test_a_fee_in_a_currency_we_can_not_value_is_the_schedules() -> None:
    protocol = make()
    report = one(protocol.decode(pushed(row(**FILL | {"fillFeeCcy": "OKB"})), PUSH))
    assert list(protocol.foreign_fees.paid_e8) == ["OKB"]
    # 0.25 contracts of 0.01 BTC at 61,899.9, maker 0.02 %.
    assert report.fee_units == -(-25 * 618_999 * 20_000 // 10**5)
    inverse = {"instId": "BTC-USD-SWAP", "fillSz": "3", "fillPx": "60000", "fillFee": "-0.00000125"}
    report = one(make().decode(pushed(row(**FILL | inverse | {"fillFeeCcy": "BTC"})), PUSH))
    assert (report.last_units, report.fee_units) == (3, 125)


@pytest.mark.parametrize(
    ("source", "event", "reason"),
    [
        ("1", Event.CANCELED, Reason.USER_CANCEL),
        ("13", Event.EXPIRED, Reason.FOK_NOT_FILLABLE),
        ("14", Event.EXPIRED, Reason.IOC_REMAINDER),
        ("20", Event.CANCELED, Reason.MASS_CANCEL),
        ("31", Event.CANCELED, Reason.POST_ONLY_WOULD_CROSS),
        ("32", Event.EXPIRED, Reason.SELF_TRADE),
        ("99", Event.CANCELED, Reason.VENUE_REJECTED),
    ],
)
def test_an_end_says_why(source: str, event: Event, reason: Reason) -> None:
    report = one(make().decode(pushed(row(state="canceled", cancelSource=source)), PUSH))
    assert (report.event, report.reason) == (event, reason)


def test_a_fill_comes_before_the_end_it_came_with() -> None:
    words = make().decode(pushed(row(**FILL | {"state": "canceled", "cancelSource": "14"})), PUSH)
    assert [word.event for word in words if isinstance(word, VenueReport)] == [Event.FILL_PART, Event.EXPIRED]


def test_a_filled_order_ends_by_its_fills_and_a_cut_one_says_that_the_rest_is_nowhere() -> None:
    okx = make()
    assert one(okx.decode(pushed(row(**FILL | {"state": "filled"})), PUSH)).event == Event.FILL_PART
    assert okx.decode(pushed(row(state="filled", accFillSz="1.50")), PUSH) == []
    words = okx.decode(pushed(row(**FILL | {"state": "filled", "amendSource": "3", "sz": "0.25"})), PUSH)
    assert [word.event for word in words if isinstance(word, VenueReport)] == [
        Event.FILL_PART,
        Event.CANCELED,
    ]


@pytest.mark.parametrize(
    ("result", "state", "events"),
    [
        ("0", "live", [Event.REPLACED]),
        ("0", "partially_filled", [Event.REPLACED]),
        ("-1", "live", [Event.REPLACE_REJECTED]),
        ("1", "canceled", [Event.REPLACE_REJECTED, Event.CANCELED]),
        ("", "partially_filled", []),
    ],
)
def test_amendments_report_their_result(result: str, state: str, events: list[Event]) -> None:
    changes = {"amendResult": result, "state": state, "code": "51511", "px": "61901.5", "sz": "2.00"}
    words = make().decode(pushed(row(**changes)), PUSH)
    assert [word.event for word in words if isinstance(word, VenueReport)] == events
    if events == [Event.REPLACED]:
        assert (one(words).price_units, one(words).order_units) == (619_015, 200)
    if events[:1] == [Event.REPLACE_REJECTED]:
        assert isinstance(words[0], VenueReport)
        assert words[0].reason == Reason.POST_ONLY_WOULD_CROSS


def test_fills_of_orders_that_are_not_ours_are_told_and_their_states_are_not() -> None:
    okx = make()
    assert okx.decode(pushed(row(clOrdId="")), PUSH) == []
    foreign = one(okx.decode(pushed(row(**FILL | {"clOrdId": "rl0000" + "0" * 15 + "7"})), PUSH))
    assert (foreign.client_order_id, foreign.last_units) == (0, 25)
    forced = okx.decode(pushed(row(**FILL | {"clOrdId": "", "category": "adl"})), PUSH)
    assert forced[0] == ControlWord(Sign.FORCED, text="adl BTC-USDT-SWAP")
    assert okx.decode(pushed(row(instId="X-USDT", clOrdId="")), PUSH) == []
    with pytest.raises(DecodeError, match="an instrument of no run: 'X-USDT'"):
        okx.decode(pushed(row(instId="X-USDT")), PUSH)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"px": "61900.05"}, "px: '61900.05' does not fit exponent 1"),
        ({"side": "BUY"}, "side is no side: 'BUY'"),
        ({"state": "resting"}, "state is none we know: 'resting'"),
        ({"sz": "0"}, "sz is not positive: 0"),
        ({"uTime": "soon"}, "uTime is no time in milliseconds"),
        (FILL | {"fillPx": ""}, "fillPx is not positive"),
        (FILL | {"execType": "X"}, "execType is none we know"),
        (FILL | {"fillFee": "1e9999"}, "fee"),
        ({"amendResult": "3"}, "amendResult is none we know"),
        ({"clOrdId": 5}, "clOrdId is no text: 5"),
    ],
)
def test_a_field_that_is_not_as_documented_is_named(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(DecodeError, match=text):
        make().decode(pushed(row(), row(**changes)), PUSH)


# ---- positions, balances, questions ----------------------------------------------------------------------


def test_positions_are_signed_and_added_up_where_long_and_short_are_held_apart() -> None:
    okx = make()
    position = {"instId": "BTC-USDT-SWAP", "instType": "SWAP", "posSide": "net", "pos": "-1.5",
                "avgPx": "61900.07", "uTime": "1764403686746"}  # fmt: skip
    word = one(okx.decode(pushed(position, channel="positions"), PUSH))
    assert word == PositionWord(0, "BTC-USDT-SWAP", -150, 619_000, 1764403686746 * 10**6)
    both = [position | {"posSide": "long", "pos": "2"}, position | {"posSide": "short", "pos": "0.5"}]
    assert one(okx.decode(pushed(*both, channel="positions"), PUSH)).position_units == 150
    margin = position | {"instType": "MARGIN", "instId": "BTC-USDT", "pos": "3"}
    assert one(okx.decode(pushed(margin, channel="positions"), PUSH)).instrument_id == -1
    flat = position | {"pos": "0", "avgPx": ""}
    assert one(okx.decode(pushed(flat, channel="positions"), PUSH)).position_units == 0


def test_balances_are_never_overstated() -> None:
    detail = {
        "ccy": "USDT",
        "cashBal": "100.527685697978",
        "availBal": "",
        "availEq": "99.999999999",
        "uTime": "1",
    }
    frame = json.dumps({"arg": {"channel": "account"}, "data": [{"details": [detail]}]}).encode()
    assert one(make().decode(frame, PUSH)) == BalanceWord("USDT", 10_052_768_569, 9_999_999_999, 10**6)


def test_a_query_answers_state_and_what_is_filled_or_that_there_is_no_such_order() -> None:
    okx = make()
    order = scene.order()
    request = one(list(okx.query(order, 21, scene.UTC_NS)))  # type: ignore[arg-type]
    assert request.path == f"/api/v5/trade/order?instId=BTC-USDT-SWAP&clOrdId={scene.wire()}"
    answer = one(rest(okx, request, [row(accFillSz="0.25", state="partially_filled")]))
    assert (answer.filled_units, answer.order_id) == (25, 0x1234)
    assert [report.event for report in answer.reports] == [Event.ACCEPTED]
    answer = one(rest(okx, request, [row(accFillSz="0.25", state="canceled", cancelSource="20")]))
    assert [(r.event, r.reason) for r in answer.reports] == [(Event.CANCELED, Reason.MASS_CANCEL)]
    answer = one(rest(okx, request, [row(accFillSz="1.5", state="filled")]))
    assert ([report.event for report in answer.reports], answer.filled_units) == ([Event.ACCEPTED], 150)
    for answers in (rest(okx, request, [], "51603"), rest(okx, request, [])):
        assert [report.event for report in one(answers).reports] == [Event.NOT_FOUND]
        assert one(answers).order_id == 0x1234
    # A status that the venue does not know says nothing of the order: only "does not exist" ends it.
    assert one(rest(okx, request, [], "51600")).reports == []
    with pytest.raises(DecodeError, match="did not ask for"):
        rest(okx, request, [row(clOrdId=scene.wire(99))])


def test_fills_of_an_order_are_asked_by_the_id_the_venue_gave_it() -> None:
    okx, order = make(), scene.order()
    asked = okx.fills_of(order, 1, scene.UTC_NS)[0]
    assert asked.path == "/api/v5/trade/fills?instType=SWAP&instId=BTC-USDT-SWAP"
    rest(okx, okx.query(order, 2, scene.UTC_NS)[0], [row()])
    asked = okx.fills_of(order, 3, scene.UTC_NS)[0]
    assert asked.path.endswith("&ordId=641972610108518410")
    fill = {"instId": "BTC-USDT-SWAP", "tradeId": "5", "ordId": "6", "clOrdId": scene.wire(), "billId": "9",
            "fillPx": "61900", "fillSz": "1", "side": "buy", "execType": "T", "feeCcy": "USDT", "fee": "-0.3",
            "ts": "1764403686746"}  # fmt: skip
    answer, end = rest(okx, asked, [fill | {"tradeId": "8"}, fill, fill | {"clOrdId": ""}])
    assert isinstance(answer, Answer)
    assert [report.trade_id for report in answer.reports] == [5, 8]
    assert [report.fee_units for report in answer.reports] == [30_000_000] * 2
    assert end == ControlWord(Sign.SNAPSHOT_END, 3)


def test_fills_of_an_order_go_on_from_a_full_page() -> None:
    okx, order = make(), scene.order()
    asked = okx.fills_of(order, 1, scene.UTC_NS)[0]
    fill = {"instId": "BTC-USDT-SWAP", "ordId": "6", "clOrdId": scene.wire(), "fillPx": "61900",
            "fillSz": "1", "side": "buy", "execType": "T"}  # fmt: skip
    rest(okx, asked, [fill | {"tradeId": str(i), "billId": str(i)} for i in range(200, 100, -1)])
    after = okx.fills_of(order, 2, scene.UTC_NS)[0]
    assert after.path == f"{asked.path}&after=101"
    rest(okx, after, [fill | {"tradeId": "7", "billId": "7"}])
    assert okx.fills_of(order, 3, scene.UTC_NS)[0].path == asked.path


def test_long_lists_go_on_from_the_last_one_of_a_full_page() -> None:
    okx = make()
    request = okx.snapshot(RequestKind.OPEN_ORDERS, 4, scene.UTC_NS)[0]
    rows = [row(ordId=str(1000 - i), clOrdId="") for i in range(100)]
    words = rest(okx, request, rows)
    assert isinstance(words[0], OpenOrderWord)
    assert (words[0].client_order_id, words[0].venue_order_id, words[0].order_units) == (0, "1000", 150)
    assert words[-1] == ControlWord(Sign.MORE, 4, "901")
    after = okx.snapshot(RequestKind.OPEN_ORDERS, 5, scene.UTC_NS, cursor="901")[0]
    assert after.path == "/api/v5/trade/orders-pending?limit=100&after=901"
    stranger = rest(okx, after, [row(instId="X-Y", clOrdId="", px="0.5", sz="3")])
    assert isinstance(stranger[0], OpenOrderWord)
    assert (stranger[0].instrument_id, stranger[0].symbol) == (-1, "X-Y")
    assert stranger[-1] == ControlWord(Sign.SNAPSHOT_END, 5)
    asked = okx.cancel_foreign([stranger[0]] * 21, 6, scene.UTC_NS)
    assert [len(json.loads(each.body)) for each in asked] == [20, 1]
    assert json.loads(asked[1].body) == [{"instId": "X-Y", "ordId": "641972610108518410"}]


def test_an_account_that_holds_long_and_short_apart_is_refused() -> None:
    okx = make()
    request = okx.opening_requests(1, scene.UTC_NS)[-1]
    assert one(rest(okx, request, [{"posMode": "net_mode", "acctLv": "2"}])).is_ok
    answer = one(rest(okx, request, [{"posMode": "long_short_mode", "acctLv": "2"}]))
    assert (answer.is_ok, answer.action) == (False, Action.STOP)
    assert "long_short_mode" in answer.text


@pytest.mark.parametrize(("level", "mode"), [("1", "cash"), ("2", "cash"), ("3", "cross")])
def test_pairs_are_traded_as_the_accounts_mode_wants_it(level: str, mode: str) -> None:
    okx = make()
    assert _sent_mode(okx) == "cash"
    request = okx.opening_requests(1, scene.UTC_NS)[-1]
    assert one(rest(okx, request, [{"posMode": "net_mode", "acctLv": level}])).is_ok
    assert _sent_mode(okx) == mode


def _sent_mode(okx: Okx) -> str:
    pair = scene.order(instrument_id=1)
    (arg,) = json.loads(okx.new([pair], 9, scene.UTC_NS).frame)["args"]
    return str(arg["tdMode"])


def test_a_portfolio_margin_account_is_refused_for_it_has_no_reduce_only_orders() -> None:
    okx = make()
    request = okx.opening_requests(1, scene.UTC_NS)[-1]
    answer = one(rest(okx, request, [{"posMode": "net_mode", "acctLv": "4"}]))
    assert (answer.is_ok, answer.action) == (False, Action.STOP)
    assert "acctLv" in answer.text


def test_a_trade_id_without_a_quantity_is_no_fill() -> None:
    words = make().decode(pushed(row(tradeId="744876980", fillSz="0", fillPx="")), PUSH)
    assert [word.event for word in words if isinstance(word, VenueReport)] == [Event.ACCEPTED]


def test_the_clock_and_the_timer_answer() -> None:
    okx = make()
    clock, answer = rest(okx, okx.server_time(2), [{"ts": "1764403686746"}])
    assert clock == ControlWord(Sign.SERVER_TIME, 2, venue_utc_ns=1764403686746 * 10**6)
    assert answer == Answer(2, True)
    words = rest(okx, okx.dead_man(30, 3, scene.UTC_NS)[0], [{"triggerTime": "1587971460", "ts": "1"}])
    assert words == [Answer(3, True), ControlWord(Sign.DEAD_MAN, 3, "1587971460")]


def test_no_answer_and_unreadable_answers_leave_the_question_open() -> None:
    okx = make()
    request = okx.cancel_foreign([], 1, scene.UTC_NS) or okx.query(scene.order(), 1, scene.UTC_NS)
    for status, body in ((0, b""), (502, b"<html>"), (503, b"")):
        assert one(okx.decode_rest(request[0], status, {}, body)).action == Action.ASK
    assert one(okx.decode_rest(request[0], 429, {}, b"")).action == Action.WAIT
    assert one(okx.decode_rest(request[0], 401, {}, b"")).action == Action.STOP
    body = b'{"code":"50013","msg":"busy","data":[]}'
    assert one(okx.decode_rest(request[0], 429, {}, body)).reason == Reason.VENUE_BUSY
    with pytest.raises(DecodeError, match="not JSON"):
        okx.decode_rest(request[0], 200, {}, b"<html>")


FRAMES: tuple[dict[str, Any], ...] = (
    {"arg": {"channel": "orders", "instType": "ANY"}, "data": [row(), row(**FILL)]},
    {"arg": {"channel": "orders"}, "data": [row(state="canceled", cancelSource="1"), row(amendResult="0")]},
    {"arg": {"channel": "positions"}, "data": [{"instId": "BTC-USDT-SWAP", "pos": "1", "avgPx": "2"}]},
    {"arg": {"channel": "account"}, "data": [{"details": [{"ccy": "A", "cashBal": "1", "availBal": "1"}]}]},
    {"id": "1", "op": "batch-orders", "code": "2", "data": [{"clOrdId": scene.wire(), "sCode": "0"}]},
    {"event": "error", "code": "60009", "msg": "x"},
    {"event": "subscribe", "arg": {"channel": "orders"}},
)  # fmt: skip


@settings(max_examples=600)
@given(frame=scene.mutated(FRAMES), channel=st.sampled_from(Channel))
def test_a_mutated_frame_is_read_exactly_or_refused(frame: bytes, channel: Channel) -> None:
    try:
        words = make_once().decode(frame, channel)
    except DecodeError as error:
        assert str(error)
        return
    assert_exact(words)


BODIES = tuple({"code": "0", "data": frame["data"]} for frame in FRAMES if "data" in frame)
ASKED = (
    RequestKind.QUERY,
    RequestKind.FILLS,
    RequestKind.OPEN_ORDERS,
    RequestKind.POSITIONS,
    RequestKind.BALANCES,
    RequestKind.SERVER_TIME,
    RequestKind.CANCEL,
)


@settings(max_examples=300)
@given(body=scene.mutated(BODIES), kind=st.sampled_from(ASKED))
def test_a_mutated_answer_is_read_exactly_or_refused(body: bytes, kind: RequestKind) -> None:
    request = Request(1, kind, Lane.RECONCILE, Way.REST, (0x1234,), 0, path="/api/v5/x")
    try:
        words = make_once().decode_rest(request, 200, {}, body)
    except DecodeError as error:
        assert str(error)
        return
    assert_exact(words)


KNOWN: list[Okx] = []


def make_once() -> Okx:
    if not KNOWN:
        KNOWN.append(make())
    return KNOWN[0]


def test_orders_share_a_batch_by_instrument_because_the_venue_counts_them_so() -> None:
    okx, kinds = make(), (RequestKind.NEW, RequestKind.REPLACE, RequestKind.CANCEL)
    for kind in kinds:
        assert okx.batch_key(kind, scene.order(0)) == okx.batch_key(kind, scene.order(0, price=1))
        assert okx.batch_key(kind, scene.order(0)) != okx.batch_key(kind, scene.order(1))
