"""Binance USD-M order entry: what is sent, and what real messages mean.

Messages are shaped after the venue's documentation and after gateway logs other projects publish, shortened.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exec.client_ids import decode, encode, tag_of
from exec.decimal_text import decimal_text
from exec.discrepancy import DiscrepancyKind
from exec.errors import DecodeError, OrderError
from exec.keys import Keys
from exec.lifecycle import Event
from exec.order import Order
from exec.order_protocol import (
    Action,
    Answer,
    BalanceWord,
    Channel,
    ControlWord,
    OpenOrderWord,
    PositionWord,
    Request,
    RequestKind,
    Sign,
    Way,
)
from exec.session import VenueReport
from exec.signing import Signer, sorted_text
from exec.venues import PROTOCOL_OF, PROTOCOLS, make_protocol, protocol_class
from exec.venues.binance_usdm import limits
from exec.venues.binance_usdm.errors import BAN_NS, MEANINGS, meaning, wait_of
from exec.venues.binance_usdm.orders import read_wire_id, wire_id
from exec.venues.binance_usdm.protocol import BinanceUsdm
from feeds.venues import VENUE_ID
from shm.enums import Liquidity, OrderFlags, OrderType, Reason, Side, TimeInForce
from shm.instruments import Instrument
from shm.units import format_units, parse_units

TAG = tag_of("demo")
ORDER_ID = 0x0000_4201_0000_0007
TEXT = encode(ORDER_ID, TAG)
UTC = 1_700_000_000_123_456_789
KEYS = Keys("the-key", "the-secret")
ROWS = {
    0: Instrument(
        instrument_id=0,
        venue_id=1,
        price_exponent=2,
        quantity_exponent=3,
        symbol="BTCUSDT",
        settle="USDT",
        maker_fee_e8=20_000,
    ),
    1: Instrument(
        instrument_id=1, venue_id=1, price_exponent=5, quantity_exponent=0, symbol="XRPUSDT", settle="USDT"
    ),
}
SOCKET, STREAM = Channel.ORDER_SOCKET, Channel.PRIVATE_STREAM


class Rows:
    def row(self, instrument_id: int) -> Instrument:
        return ROWS[instrument_id]

    def find(self, venue_id: int, symbol: str) -> Instrument | None:
        return next((r for r in ROWS.values() if (r.venue_id, r.symbol) == (venue_id, symbol)), None)


def protocol(keys: Keys = KEYS, **options: Any) -> BinanceUsdm:
    return BinanceUsdm(keys, TAG, Rows(), symbols=["BTCUSDT", "XRPUSDT"], **options)


def order(
    price: int = 6_180_020, units: int = 5, *, side: int = int(Side.BUY), instrument_id: int = 0
) -> Order:
    return Order(ORDER_ID, instrument_id, side, price, units)


def sent(request: Request) -> dict[str, Any]:
    """Parameters of a request, signature checked as the venue does."""
    if request.way is Way.ORDER_SOCKET:
        params: dict[str, Any] = json.loads(request.frame)["params"]
        signature = params.pop("signature")
        text = sorted_text([(name, str(value)) for name, value in params.items()])
    else:
        query, _, signature = urlsplit(request.path).query.rpartition("&signature=")
        text, params = query, dict(parse_qsl(query))
        assert ("X-MBX-APIKEY", "the-key") in request.headers
    assert Signer(KEYS).hex(text.encode()) == signature
    return params


def one(words: list[Any], kind: type) -> Any:
    found = [word for word in words if isinstance(word, kind)]
    assert len(found) == 1, words
    return found[0]


# ---- what is sent -------------------------------------------------------------------------------------


def test_the_registry_knows_every_venue_and_its_numbers() -> None:
    assert set(PROTOCOL_OF) == set(VENUE_ID) and set(PROTOCOL_OF.values()) == set(PROTOCOLS)
    assert BinanceUsdm.venue_ids == (VENUE_ID["binance_usdm"],)
    made = make_protocol("binance_usdm", KEYS, TAG, Rows())
    assert isinstance(made, BinanceUsdm)
    with pytest.raises(OrderError, match="known: binance_usdm"):
        protocol_class("nowhere")


def test_addresses_are_the_venues_or_those_given() -> None:
    made = protocol()
    assert made.order_url() == "wss://ws-fapi.binance.com/ws-fapi/v1"
    with pytest.raises(OrderError, match="listen key"):
        made.private_url()
    key = one(
        made.decode_rest(made.opening_requests(1, UTC)[0], 200, {}, b'{"listenKey":"abc"}'), ControlWord
    )
    assert (key.sign, key.text) == (Sign.LISTEN_KEY, "abc")
    assert made.private_url() == "wss://fstream.binance.com/private/ws/abc"
    local = protocol(order_url="ws://h:1/ws-fapi/v1", private_url="ws://h:1/private/ws")
    local.decode_rest(local.opening_requests(1, UTC)[0], 200, {}, b'{"listenKey":"abc"}')
    assert (local.order_url(), local.private_url()) == ("ws://h:1/ws-fapi/v1", "ws://h:1/private/ws/abc")


@pytest.mark.parametrize(
    ("order_type", "tif", "flags", "expected"),
    [
        (OrderType.LIMIT, TimeInForce.GTC, 0, {"type": "LIMIT", "timeInForce": "GTC", "price": "61800.20"}),
        (OrderType.LIMIT, TimeInForce.IOC, 0, {"type": "LIMIT", "timeInForce": "IOC", "price": "61800.20"}),
        (OrderType.LIMIT, TimeInForce.FOK, 0, {"type": "LIMIT", "timeInForce": "FOK", "price": "61800.20"}),
        (
            OrderType.LIMIT,
            TimeInForce.GTC,
            OrderFlags.POST_ONLY,
            {"type": "LIMIT", "timeInForce": "GTX", "price": "61800.20"},
        ),
        (OrderType.MARKET, TimeInForce.GTC, 0, {"type": "MARKET"}),
        (OrderType.MARKET, TimeInForce.IOC, OrderFlags.REDUCE_ONLY, {"type": "MARKET", "reduceOnly": "true"}),
    ],
)
def test_every_documented_order_has_its_form(
    order_type: int, tif: int, flags: int, expected: dict[str, str]
) -> None:
    new = order()
    new.order_type, new.time_in_force, new.flags = int(order_type), int(tif), int(flags)
    params = sent(protocol().new([new], 9, UTC))
    fixed = {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "quantity": "0.005",
        "newClientOrderId": TEXT,
        "newOrderRespType": "ACK",
        "selfTradePreventionMode": "EXPIRE_TAKER",
        "recvWindow": 1000,
        "timestamp": UTC // 1_000_000,
        "apiKey": "the-key",
    }
    assert params == fixed | expected


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"time_in_force": int(TimeInForce.FOK), "flags": int(OrderFlags.POST_ONLY)}, "time_in_force"),
        ({"order_type": int(OrderType.MARKET), "flags": int(OrderFlags.POST_ONLY)}, "flags"),
        ({"side": 0}, "side"),
        ({"order_type": 9}, "order_type"),
        ({"time_in_force": 9}, "time_in_force"),
        ({"instrument_id": 7}, "instrument_id"),
    ],
)
def test_an_order_without_a_form_is_refused_before_anything_is_sent(
    change: dict[str, int], field: str
) -> None:
    new = order()
    for name, value in change.items():
        setattr(new, name, value)
    with pytest.raises(OrderError, match=field):
        protocol().new([new], 1, UTC)


@given(
    st.integers(1, 2**62),
    st.integers(1, 2**62),
    st.sampled_from(list(Side)[1:]),
    st.sampled_from(list(OrderType)),
    st.sampled_from(list(TimeInForce)),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0, 1]),
    st.integers(1, 2**64 - 1),
)
def test_whatever_order_is_sent_the_venue_reads_that_order(
    price: int,
    units: int,
    side: int,
    order_type: int,
    tif: int,
    is_post_only: bool,
    is_reduce_only: bool,
    instrument_id: int,
    client_order_id: int,
) -> None:
    new = Order(client_order_id, instrument_id, int(side), price, units)
    new.order_type, new.time_in_force = int(order_type), int(tif)
    new.flags = OrderFlags.POST_ONLY * is_post_only | OrderFlags.REDUCE_ONLY * is_reduce_only
    row = ROWS[instrument_id]
    try:
        requests = [protocol().new([new], 1, UTC), protocol().new([new, new], 1, UTC)]
    except OrderError:
        assert is_post_only and (order_type == OrderType.MARKET or tif != TimeInForce.GTC)
        return
    params = sent(requests[0])
    batch = json.loads(sent(requests[1])["batchOrders"])
    for read in (params, batch[0], batch[1]):
        assert read["symbol"] == row.symbol
        assert read["side"] == Side(side).name
        assert parse_units(read["quantity"], row.quantity_exponent) == units
        assert read["type"] == OrderType(order_type).name
        assert (read.get("reduceOnly") == "true") is is_reduce_only
        assert decode(read["newClientOrderId"], TAG) == client_order_id
        if order_type == OrderType.LIMIT:
            assert parse_units(read["price"], row.price_exponent) == price
            assert read["timeInForce"] == ("GTX" if is_post_only else TimeInForce(tif).name)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 20))
def test_decimal_text_is_exact(units: int, exponent: int) -> None:
    assert decimal_text(units, exponent) == format_units(units, exponent)
    assert parse_units(decimal_text(units, exponent), exponent) == units


def test_replace_and_cancel_name_the_order_by_the_id_it_was_placed_under() -> None:
    made, old = protocol(), order()
    old.client_order_id = 99
    old.new_price_units, old.new_units = 6_180_030, 7
    replace = sent(made.replace([old], 2, UTC))
    assert (replace["origClientOrderId"], replace["price"], replace["quantity"]) == (
        TEXT,
        "61800.30",
        "0.007",
    )
    assert sent(made.cancel([old], 3, UTC))["origClientOrderId"] == TEXT
    query = made.query(old, 4, UTC)[0]
    assert sent(query)["origClientOrderId"] == TEXT and query.order_ids == (ORDER_ID,)
    with pytest.raises(OrderError, match="only a limit order"):
        old.order_type = int(OrderType.MARKET)
        made.replace([old], 2, UTC)


def test_batches_keep_the_venues_limits() -> None:
    made = protocol()
    with pytest.raises(OrderError, match="6 new orders"):
        made.new([order()] * 6, 1, UTC)
    with pytest.raises(OrderError, match="11 cancels"):
        made.cancel([order()] * 11, 1, UTC)
    with pytest.raises(OrderError, match="one symbol"):
        made.cancel([order(), order(instrument_id=1)], 1, UTC)
    request = made.cancel([order()] * 10, 1, UTC)
    assert json.loads(sent(request)["origClientOrderIdList"]) == [TEXT] * 10
    assert request.path.startswith("/fapi/v1/batchOrders?") and request.method == "DELETE"


def test_every_request_is_paid_for_at_buckets_that_exist() -> None:
    made = protocol()
    known = {rule.name for rule in limits.RULES}
    orders = [order(), order()]
    orders[0].venue_order_id = 5
    foreign = OpenOrderWord(0, 0, "BTCUSDT", 1, 1, 1, 0, "77", "web_1")
    requests = [
        made.new(orders[:1], 1, UTC),
        made.new(orders, 1, UTC),
        made.cancel(orders[:1], 1, UTC),
        made.cancel(orders, 1, UTC),
        made.replace(orders, 1, UTC),
        *made.cancel_foreign([foreign] * 12, 1, UTC),
        *made.mass_cancel([0, 1], 1, UTC),
        *made.query(orders[0], 1, UTC),
        *made.fills_of(orders[0], 1, UTC),
        *made.dead_man(5.0, 1, UTC),
        *made.opening_requests(1, UTC),
        made.server_time(1),
        *(
            request
            for kind in (
                RequestKind.OPEN_ORDERS,
                RequestKind.POSITIONS,
                RequestKind.BALANCES,
                RequestKind.FILLS,
            )
            for request in made.snapshot(kind, 1, UTC, since_utc_ns=UTC)
        ),
    ]
    assert {name for request in requests for name, _ in request.rates} <= known
    assert all(request.rates for request in requests)
    assert len(made.cancel_foreign([foreign] * 12, 1, UTC)) == 2


def test_an_ed25519_key_logs_in_once_and_signs_no_more() -> None:
    pytest.importorskip("cryptography")
    from tests.exec.test_signing import LOGON_PEM

    made = protocol(Keys("the-key", LOGON_PEM, kind="ed25519"))
    login = json.loads(made.logins(SOCKET, 5, UTC)[0])
    assert login["method"] == "session.logon" and len(login["params"]["signature"]) == 88
    assert made.logins(STREAM, 5, UTC) == ()
    frame = json.loads(made.new([order()], 6, UTC).frame)
    assert "signature" not in frame["params"] and "apiKey" not in frame["params"]
    answer = {"id": login["id"], "status": 200, "result": {"apiKey": "x", "serverTime": 1_649_729_873_532}}
    word = one(made.decode(orjson.dumps(answer), SOCKET), ControlWord)
    assert (word.sign, word.venue_utc_ns) == (Sign.LOGGED_IN, 1_649_729_873_532_000_000)
    refused = {"id": login["id"], "status": 400, "error": {"code": -1022, "msg": "Signature is not valid."}}
    words = made.decode(orjson.dumps(refused), SOCKET)
    assert one(words, Answer).action is Action.STOP
    assert one(words, ControlWord).sign is Sign.LOGIN_REFUSED


@given(st.integers(0, 15), st.integers(0, 2**53), st.integers(0, 2**64 - 1))
def test_a_wire_id_survives(kind: int, request_id: int, client_order_id: int) -> None:
    text = wire_id(kind, request_id, client_order_id)
    assert len(text) <= 36 and text.isalnum()
    assert read_wire_id(text) == (kind, request_id, client_order_id)


@pytest.mark.parametrize("text", [None, 7, "", "1x2", "axbxc", "1x2xg", "1x2x3x4", "-1x2x3"])
def test_an_id_of_others_is_no_wire_id(text: object) -> None:
    assert read_wire_id(text) == (0, 0, 0)


# ---- what the order socket answers --------------------------------------------------------------------

STATE = {
    "orderId": 851545009715,
    "symbol": "BTCUSDT",
    "status": "NEW",
    "clientOrderId": TEXT,
    "price": "32000.00",
    "avgPrice": "0.00",
    "origQty": "1.000",
    "executedQty": "0.250",
    "timeInForce": "GTC",
    "type": "LIMIT",
    "side": "BUY",
    "positionSide": "BOTH",
    "updateTime": 1765337013071,
}
USED = [
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": -1, "count": -1},
    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300, "count": 3},
    {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200, "count": 4},
]


def answered(kind: RequestKind, **changes: Any) -> list[Any]:
    frame = {"id": wire_id(kind, 12, ORDER_ID), "status": 200, "result": STATE | changes, "rateLimits": USED}
    return protocol().decode(orjson.dumps(frame), SOCKET)


def refused(kind: RequestKind, code: int, text: str = "", status: int = 400, **data: Any) -> Answer:
    error = {"code": code, "msg": text} | ({"data": data} if data else {})
    frame = {"id": wire_id(kind, 12, ORDER_ID), "status": status, "error": error}
    found: Answer = one(protocol().decode(orjson.dumps(frame), SOCKET), Answer)
    return found


def test_an_acknowledgment_names_order_terms_and_what_is_filled() -> None:
    words = answered(RequestKind.NEW)
    assert one(words, ControlWord).values == {"orders_10s": 3, "orders_1m": 4}
    answer = one(words, Answer)
    assert (answer.request_id, answer.order_id, answer.is_ok) == (12, ORDER_ID, True)
    assert answer.filled_units == 250
    report = answer.reports[0]
    assert (report.event, report.price_units, report.order_units) == (Event.ACCEPTED, 3_200_000, 1_000)
    assert (report.venue_order_id, report.side) == (851545009715, Side.BUY)


@pytest.mark.parametrize(
    ("kind", "changes", "event", "reason"),
    [
        (RequestKind.REPLACE, {}, Event.REPLACED, 0),
        (RequestKind.REPLACE, {"status": "CANCELED"}, Event.CANCELED, 0),
        (RequestKind.CANCEL, {"status": "CANCELED"}, Event.CANCELED, 0),
        (RequestKind.QUERY, {"status": "FILLED"}, Event.ACCEPTED, 0),
        (RequestKind.QUERY, {"status": "PARTIALLY_FILLED"}, Event.ACCEPTED, 0),
        (RequestKind.QUERY, {"status": "REJECTED"}, Event.REJECTED, Reason.VENUE_REJECTED),
        (
            RequestKind.QUERY,
            {"status": "EXPIRED", "timeInForce": "GTX"},
            Event.EXPIRED,
            Reason.POST_ONLY_WOULD_CROSS,
        ),
        (RequestKind.QUERY, {"status": "EXPIRED", "timeInForce": "IOC"}, Event.EXPIRED, Reason.IOC_REMAINDER),
        (RequestKind.QUERY, {"status": "EXPIRED_IN_MATCH"}, Event.EXPIRED, Reason.SELF_TRADE),
    ],
)
def test_a_state_means_one_event(
    kind: RequestKind, changes: dict[str, str], event: Event, reason: int
) -> None:
    report = one(answered(kind, **changes), Answer).reports[0]
    assert (report.event, report.reason) == (event, reason)


def test_a_question_about_an_order_that_does_not_exist_finds_nothing() -> None:
    answer = refused(RequestKind.QUERY, -2013, "Order does not exist.")
    assert answer.is_ok and answer.reports[0].event == Event.NOT_FOUND
    assert answer.reports[0].client_order_id == ORDER_ID
    # To a command the same code is a refusal.
    answer = refused(RequestKind.REPLACE, -2013, "Order does not exist.")
    assert (answer.is_ok, answer.reason, answer.action) == (False, Reason.VENUE_UNKNOWN_ORDER, Action.REFUSED)


@pytest.mark.parametrize(
    ("code", "status", "reason", "action"),
    [
        (-1003, 429, Reason.VENUE_LIMIT, Action.WAIT),
        (-1007, 408, Reason.NONE, Action.ASK),
        (-1006, 500, Reason.NONE, Action.ASK),
        (-1008, 503, Reason.VENUE_BUSY, Action.WAIT),
        (-1013, 400, Reason.VENUE_FILTER, Action.REFUSED),
        (-1015, 429, Reason.VENUE_LIMIT, Action.WAIT),
        (-1021, 400, Reason.VENUE_CLOCK, Action.RESYNC_TIME),
        (-1022, 400, Reason.VENUE_ACCESS, Action.STOP),
        (-1125, 400, Reason.NONE, Action.RELOGIN),
        (-2010, 400, Reason.VENUE_REJECTED, Action.REFUSED),
        (-2011, 400, Reason.VENUE_UNKNOWN_ORDER, Action.REFUSED),
        (-2014, 401, Reason.VENUE_ACCESS, Action.STOP),
        (-2015, 401, Reason.VENUE_ACCESS, Action.STOP),
        (-2018, 400, Reason.VENUE_MARGIN, Action.REFUSED),
        (-2019, 400, Reason.VENUE_MARGIN, Action.REFUSED),
        (-2020, 400, Reason.VENUE_REJECTED, Action.REFUSED),
        (-2021, 400, Reason.VENUE_REJECTED, Action.REFUSED),
        (-2022, 400, Reason.VENUE_REDUCE_ONLY, Action.REFUSED),
        (-2025, 400, Reason.VENUE_LIMIT, Action.REFUSED),
        (-2027, 400, Reason.VENUE_MARGIN, Action.REFUSED),
        (-4014, 400, Reason.VENUE_FILTER, Action.REFUSED),
        (-4116, 400, Reason.NONE, Action.ASK),
        (-4164, 400, Reason.VENUE_FILTER, Action.REFUSED),
        (-5021, 400, Reason.FOK_NOT_FILLABLE, Action.REFUSED),
        (-5022, 400, Reason.POST_ONLY_WOULD_CROSS, Action.REFUSED),
        (-5027, 400, Reason.NONE, Action.DONE),
        (-5028, 400, Reason.VENUE_CLOCK, Action.RESYNC_TIME),
        (-9999, 400, Reason.VENUE_REJECTED, Action.REFUSED),
        (-9999, 502, Reason.NONE, Action.ASK),
    ],
)
def test_every_code_that_matters_has_a_reason_and_an_action(
    code: int, status: int, reason: Reason, action: Action
) -> None:
    answer = refused(RequestKind.NEW, code, "text", status)
    assert (answer.reason, answer.action) == (reason, action)
    assert (answer.code, answer.text, answer.order_id) == (str(code), "text", ORDER_ID)


def test_only_what_was_certainly_not_done_is_a_refusal() -> None:
    for code, means in MEANINGS.items():
        assert (means.action is Action.ASK) == (code in (-1000, -1001, -1006, -1007, -1010, -4116)), code
    assert meaning(0, "", 0).action is Action.ASK
    assert meaning(0, "Service Unavailable.", 503).action is Action.WAIT
    assert (
        meaning(0, "Unknown error, please check your request or try again later.", 503).action is Action.ASK
    )


def test_how_long_to_stay_away_is_the_venues_word() -> None:
    assert (
        refused(
            RequestKind.NEW, -1003, "", 429, retryAfter=1_700_000_009_000, serverTime=1_700_000_000_000
        ).wait_ns
        == 9_000_000_000
    )
    assert wait_of("IP banned until 1700000009000", 418, 0, 0, UTC) == 1_700_000_009_000_000_000 - UTC
    assert wait_of("", 429, 3_000_000_000, 0, 0) == 3_000_000_000
    assert wait_of("", 418, 0, 0, 0) == BAN_NS


# ---- what the user data stream says -------------------------------------------------------------------


def update(made: BinanceUsdm | None = None, **changes: Any) -> list[Any]:
    body = {
        "s": "BTCUSDT", "c": TEXT, "S": "BUY", "o": "LIMIT", "f": "GTC", "q": "0.005", "p": "61800.20",
        "x": "NEW", "X": "NEW", "i": 17761651527, "l": "0", "z": "0", "L": "0",
        "T": 1634553049579,
        "t": 0, "ap": "0", "b": "5.37050", "a": "0", "m": False, "R": False, "ps": "BOTH", "rp": "0",
        "V": "EXPIRE_TAKER", "gtd": 0,
    }  # fmt: skip
    frame = {"e": "ORDER_TRADE_UPDATE", "T": 1634553049579, "E": 1634553049581, "o": body | changes}
    return (made or protocol()).decode(orjson.dumps(frame), STREAM)


def test_a_new_order_is_told() -> None:
    report = one(update(), VenueReport)
    assert (report.event, report.client_order_id) == (Event.ACCEPTED, ORDER_ID)
    assert (report.price_units, report.order_units) == (6_180_020, 5)
    assert report.venue_utc_ns == 1634553049579_000_000


def test_a_fill_brings_price_quantity_side_of_the_market_and_fee() -> None:
    report = one(
        update(x="TRADE", X="FILLED", l="0.005", L="61800.10", t=673747843, m=True, n="0.00115829", N="USDT"),
        VenueReport,
    )
    assert (report.event, report.trade_id, report.last_units) == (Event.FILL_PART, 673747843, 5)
    assert (report.last_price_units, report.liquidity) == (6_180_010, Liquidity.MAKER)
    assert report.fee_units == 115_829


@pytest.mark.parametrize(
    ("text", "asset", "fee"),
    [("0.000000001", "USDT", 1), ("-0.00000005", "USDT", -5), ("0", "USDT", 0)],
)
def test_a_fee_is_never_understated(text: str, asset: str, fee: int) -> None:
    report = one(update(x="TRADE", X="FILLED", l="0.005", L="1", t=1, n=text, N=asset), VenueReport)
    assert report.fee_units == fee


def test_a_fill_that_names_no_commission_cost_nothing() -> None:
    report = one(update(x="TRADE", X="FILLED", l="0.005", L="61800.10", t=1, m=True), VenueReport)
    assert (report.event, report.fee_units) == (Event.FILL_PART, 0)


def test_a_fee_in_the_venues_token_is_booked_at_the_schedule_and_kept_once_by_asset() -> None:
    made = protocol()
    fill = {"x": "TRADE", "X": "FILLED", "l": "0.005", "L": "61800.10", "t": 7, "m": True}
    for _ in range(2):
        report = one(update(made, **fill, n="0.00001", N="BNB"), VenueReport)
        # 0.02 % of 309.0005
        assert report.fee_units == 6_180_010
    assert made.foreign_fees.paid_e8 == {"BNB": 1_000}
    (found,) = made.foreign_fees.take_news()
    assert (found.kind, found.asset, found.ours, found.theirs) == (
        DiscrepancyKind.FOREIGN_FEE,
        "BNB",
        6_180_010,
        1_000,
    )
    assert made.foreign_fees.take_news() == []


@pytest.mark.parametrize(
    ("changes", "event", "reason"),
    [
        ({"x": "CANCELED", "X": "CANCELED"}, Event.CANCELED, 0),
        ({"x": "EXPIRED", "X": "EXPIRED", "f": "IOC"}, Event.EXPIRED, Reason.IOC_REMAINDER),
        ({"x": "EXPIRED", "X": "EXPIRED", "f": "FOK"}, Event.EXPIRED, Reason.FOK_NOT_FILLABLE),
        ({"x": "EXPIRED", "X": "EXPIRED", "f": "GTX"}, Event.EXPIRED, Reason.POST_ONLY_WOULD_CROSS),
        ({"x": "EXPIRED", "X": "EXPIRED", "f": "GTC", "er": "4"}, Event.EXPIRED, Reason.VENUE_REDUCE_ONLY),
        ({"x": "EXPIRED", "X": "EXPIRED", "f": "GTC", "er": "5"}, Event.EXPIRED, Reason.VENUE_MARGIN),
        ({"x": "EXPIRED", "X": "EXPIRED", "f": "GTC", "er": "7"}, Event.EXPIRED, Reason.VENUE_INSTRUMENT),
        ({"x": "EXPIRED", "X": "EXPIRED", "f": "GTC", "er": "8"}, Event.EXPIRED, Reason.VENUE_REJECTED),
        ({"x": "EXPIRED", "X": "EXPIRED", "f": "GTC", "er": "9"}, Event.EXPIRED, Reason.IOC_REMAINDER),
        ({"x": "EXPIRED", "X": "EXPIRED", "f": "GTC", "o": "MARKET"}, Event.EXPIRED, Reason.IOC_REMAINDER),
        ({"x": "EXPIRED", "X": "EXPIRED_IN_MATCH"}, Event.EXPIRED, Reason.SELF_TRADE),
        ({"x": "TRADE_PREVENTION", "X": "EXPIRED_IN_MATCH"}, Event.EXPIRED, Reason.SELF_TRADE),
        ({"x": "EXPIRED", "X": "EXPIRED", "f": "IOC", "er": "3"}, Event.EXPIRED, Reason.SELF_TRADE),
        ({"x": "AMENDMENT", "q": "0.007", "p": "61800.30"}, Event.REPLACED, 0),
        ({"x": "REJECTED", "X": "REJECTED"}, Event.REJECTED, Reason.VENUE_REJECTED),
    ],
)
def test_every_execution_type_is_understood(changes: dict[str, Any], event: Event, reason: int) -> None:
    report = one(update(**changes), VenueReport)
    assert (report.event, report.reason) == (event, reason)
    if event == Event.REPLACED:
        assert (report.price_units, report.order_units) == (6_180_030, 7)


@pytest.mark.parametrize(
    ("text", "status", "what"),
    [
        ("autoclose-1234567890", "FILLED", "liquidation"),
        ("adl_autoclose", "NEW_ADL", "deleveraging"),
        ("autoclose-insurance-5678", "NEW_INSURANCE", "liquidation"),
        ("settlement_autoclose-9999", "FILLED", "settlement"),
    ],
)
def test_a_forced_trade_is_a_fill_and_is_named(text: str, status: str, what: str) -> None:
    words = update(
        c=text, x="CALCULATED", X=status, S="SELL", l="0.005", L="45000.00", t=12346003, n="0.45", N="USDT"
    )
    control = one(words, ControlWord)
    assert control.sign is Sign.FORCED and what in control.text
    report = one(words, VenueReport)
    assert (report.client_order_id, report.side, report.last_units) == (0, Side.SELL, 5)


def test_a_liquidation_that_only_begins_is_no_fill() -> None:
    words = update(c="autoclose-pending-0000", x="CALCULATED", X="NEW", S="SELL")
    assert one(words, ControlWord).sign is Sign.FORCED
    assert not [word for word in words if isinstance(word, VenueReport)]


def test_an_order_of_somebody_else_has_no_id_of_ours() -> None:
    assert one(update(c="web_abc"), VenueReport).client_order_id == 0
    assert one(update(c=encode(ORDER_ID, tag_of("other"))), VenueReport).client_order_id == 0
    assert update(s="DOGEUSDT") == []


def test_balances_and_positions_are_told() -> None:
    frame = (
        b'{"e":"ACCOUNT_UPDATE","T":1634811213699,"E":1634811213707,"a":{"B":[{"a":"USDT","wb":"21.12168460",'
        b'"cw":"21.12168460","bc":"0"}],"P":[{"s":"XRPUSDT","pa":"-5","ep":"1.1554019","cr":"0","up":"0.001",'
        b'"mt":"cross","iw":"0","ps":"BOTH","ma":"USDT"}],"m":"ORDER"}}'
    )
    words = protocol().decode(frame, STREAM)
    assert one(words, BalanceWord).total_e8 == 2_112_168_460
    position = one(words, PositionWord)
    assert (position.instrument_id, position.position_units, position.avg_price_units) == (1, -5, 115_540)


def test_events_of_the_stream_itself() -> None:
    made = protocol()
    made.decode_rest(made.opening_requests(1, UTC)[0], 200, {}, b'{"listenKey":"abc"}')
    assert made.decode(b'{"e":"listenKeyExpired","listenKey":"older"}', STREAM) == []
    expired = made.decode(b'{"e":"listenKeyExpired","listenKey":"abc"}', STREAM)
    assert one(expired, ControlWord).sign is Sign.LISTEN_KEY_EXPIRED
    with pytest.raises(OrderError):
        made.private_url()
    call = made.decode(b'{"e":"MARGIN_CALL","E":1,"cw":"3.1","p":[{"s":"ETHUSDT","ps":"LONG"}]}', STREAM)
    assert one(call, ControlWord).sign is Sign.MARGIN_CALL
    for quiet in ("TRADE_LITE", "ACCOUNT_CONFIG_UPDATE", "STRATEGY_UPDATE", "tomorrow's"):
        assert made.decode(orjson.dumps({"e": quiet}), STREAM) == []
    combined = {"stream": "abc", "data": {"e": "MARGIN_CALL", "p": []}}
    assert one(made.decode(orjson.dumps(combined), STREAM), ControlWord).sign is Sign.MARGIN_CALL


# ---- what REST answers --------------------------------------------------------------------------------


def rest(request: Request, data: Any, status: int = 200, headers: dict[str, str] | None = None) -> list[Any]:
    return protocol().decode_rest(request, status, headers or {}, orjson.dumps(data))


def test_a_batch_is_answered_order_by_order() -> None:
    second = order()
    second.root_client_order_id = 8
    request = protocol().new([order(), second], 5, UTC)
    words = rest(request, [STATE, {"code": -2019, "msg": "Margin is insufficient."}])
    first, last = words
    assert (first.order_id, first.is_ok, first.is_last) == (ORDER_ID, True, False)
    assert (last.order_id, last.is_ok, last.is_last, last.reason) == (8, False, True, Reason.VENUE_MARGIN)


@pytest.mark.parametrize(("ago_days", "asked_days"), [(1, 1), (6, 6), (8, 7), (400, 7)])
def test_fills_are_asked_for_seven_days_at_most_so_that_the_last_ones_are_among_them(
    ago_days: int, asked_days: int
) -> None:
    day_ns = 24 * 3600 * 10**9
    request = protocol().snapshot(RequestKind.FILLS, 5, UTC, since_utc_ns=UTC - ago_days * day_ns)[0]
    asked = dict(parse_qsl(urlsplit(request.path).query))
    assert int(asked["startTime"]) == (UTC - asked_days * day_ns) // 10**6


def test_open_orders_are_ours_others_and_of_instruments_we_do_not_trade() -> None:
    request = protocol().snapshot(RequestKind.OPEN_ORDERS, 5, UTC)[0]
    words = rest(request, [STATE, STATE | {"clientOrderId": "web_1"}, STATE | {"symbol": "DOGEUSDT"}])
    ours, manual, strange = (word for word in words if isinstance(word, OpenOrderWord))
    assert (ours.client_order_id, ours.order_units, ours.filled_units) == (ORDER_ID, 1_000, 250)
    assert (manual.client_order_id, manual.client_text) == (0, "web_1")
    assert (strange.instrument_id, strange.symbol) == (-1, "DOGEUSDT")
    assert words[-1] == ControlWord(Sign.SNAPSHOT_END, 5)


def test_positions_of_both_sides_are_summed() -> None:
    request = protocol().snapshot(RequestKind.POSITIONS, 5, UTC)[0]
    row = {"symbol": "BTCUSDT", "positionAmt": "0.005", "entryPrice": "61800.2199", "updateTime": 1}
    words = rest(request, [row, row | {"positionAmt": "-0.002", "positionSide": "SHORT"}])
    assert one(words, PositionWord).position_units == 3
    assert one(rest(request, [row]), PositionWord).avg_price_units == 6_180_021


def test_fills_of_an_order_go_on_from_a_full_page() -> None:
    """An order filled in more parts than a page holds would else be asked about for ever."""
    asked, venue = order(), protocol()
    asked.venue_order_id = 25851813
    trade = {
        "commission": "0.1", "commissionAsset": "USDT", "maker": False, "orderId": 25851813,
        "price": "7819.01", "qty": "0.002", "side": "SELL", "symbol": "BTCUSDT", "time": 1569514978020,
    }  # fmt: skip

    def asks() -> Request:
        return venue.fills_of(asked, 5, UTC)[0]

    def page(request: Request, first: int, count: int) -> None:
        body = json.dumps([trade | {"id": first + i} for i in range(count)]).encode()
        assert len(venue.decode_rest(request, 200, {}, body)) == 2

    def query(request: Request) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(request.path).query))

    assert "fromId" not in query(asks())
    page(asks(), 700, 1_000)
    assert query(asks())["fromId"] == "1700"
    page(asks(), 1_700, 3)
    assert "fromId" not in query(asks())


def test_fills_of_an_order_are_its_own() -> None:
    asked = order()
    asked.venue_order_id = 25851813
    request = protocol().fills_of(asked, 5, UTC)[0]
    assert dict(parse_qsl(urlsplit(request.path).query))["orderId"] == "25851813"
    trade = {
        "buyer": False, "commission": "0.07819010", "commissionAsset": "USDT", "id": 698759, "maker": False,
        "orderId": 25851813, "price": "7819.01", "qty": "0.002", "side": "SELL", "symbol": "BTCUSDT",
        "time": 1569514978020,
    }  # fmt: skip
    report = one(rest(request, [trade]), Answer).reports[0]
    assert (report.client_order_id, report.trade_id, report.last_units) == (ORDER_ID, 698759, 2)
    assert (report.fee_units, report.liquidity) == (7_819_010, Liquidity.TAKER)
    assert protocol().fills_of(order(), 5, UTC) == ()


def test_headers_say_what_was_used_and_how_long_to_stay_away() -> None:
    request = protocol().server_time(5)
    words = rest(
        request, {"serverTime": 1}, headers={"x-mbx-used-weight-1m": "17", "x-mbx-order-count-10s": "2"}
    )
    assert words[0].values == {"weight_1m": 17, "orders_10s": 2}
    answer = one(rest(request, {"code": -1003, "msg": "Too many"}, 429, {"retry-after": "7"}), Answer)
    assert (answer.action, answer.wait_ns) == (Action.WAIT, 7_000_000_000)
    assert one(protocol().decode_rest(request, 0, {}, b"ReadTimeout"), Answer).action is Action.ASK


# ---- nonsense -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channel", "frame", "what"),
    [
        (SOCKET, b"{", "not JSON"),
        (SOCKET, b"[1]", "an object"),
        (SOCKET, orjson.dumps({"id": wire_id(1, 2), "status": 200, "result": {"orderId": 1}}), "symbol"),
        (
            SOCKET,
            orjson.dumps({"id": "1x2x3", "status": 200, "result": STATE | {"status": "MAYBE"}}),
            "MAYBE",
        ),
        (STREAM, b'{"e":"ORDER_TRADE_UPDATE","o":{"s":"BTCUSDT"}}', "is missing"),
        (STREAM, b'{"e":"ACCOUNT_UPDATE","a":{"B":[{"a":"USDT","wb":"x","cw":"1"}]}}', "decimal"),
    ],
)
def test_what_is_wrong_with_a_frame_is_named(channel: Channel, frame: bytes, what: str) -> None:
    with pytest.raises(DecodeError, match=what):
        protocol().decode(frame, channel)


@settings(max_examples=60)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 2**40) | st.text(max_size=5),
        lambda x: (
            st.lists(x, max_size=3)
            | st.dictionaries(
                st.sampled_from(["e", "o", "a", "id", "status", "result", "error", "data", "s", "x", "code"]),
                x,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_no_frame_breaks_the_decoder(data: Any) -> None:
    made = protocol()
    for channel in (SOCKET, STREAM):
        try:
            made.decode(orjson.dumps(data), channel)
        except DecodeError:
            pass
    for kind in RequestKind:
        request = Request(1, kind, made.server_time(1).lane, Way.REST, (ORDER_ID,))
        for status in (200, 400, 503):
            try:
                made.decode_rest(request, status, {}, orjson.dumps(data))
            except DecodeError:
                pass
