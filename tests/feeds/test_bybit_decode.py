"""Frames of Bybit's public topics become the message they mean, or a precise refusal."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from feeds.decoder import TRAIT_SNAPSHOT, DecodedMessage, MessageKind
from feeds.errors import DecodeError
from feeds.venues.bybit.decode import BybitDecoder
from tests.kit.stream_frames import TIME_MS, bybit, bybit_book

MS = 1_000_000
BTC = "BTCUSDT"
TRADE: dict[str, Any] = {
    "T": 1786310819680,
    "s": BTC,
    "S": "Sell",
    "v": "0.004",
    "p": "65114.20",
    "L": "MinusTick",
    "i": "a9188a0a-82bc-50de-be60-03eedbe3cdd7",
    "BT": False,
    "RPI": False,
    "seq": 753843954913,
}


@pytest.fixture
def decoder() -> BybitDecoder:
    return BybitDecoder()


def refusal(decoder: BybitDecoder, frame: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        decoder.decode_message(frame)
    return str(caught.value)


def ticks(m: DecodedMessage) -> dict[int, tuple[int, int]]:
    places = [place for place in range(7) if m.value_mask >> place & 1]
    return dict(zip(places, m.values, strict=True))


def test_a_whole_book_then_an_update(decoder: BybitDecoder) -> None:
    m = decoder.decode_message(
        bybit_book(BTC, 500, [("65140.4", "0.885797")], [("65140.5", "1")], kind="snapshot")
    )
    assert (m.kind, m.symbol, m.last_sequence, m.traits) == (MessageKind.DEPTH, BTC, 500, TRAIT_SNAPSHOT)
    assert m.bids == ((651404, 1, 885797, 6),)
    assert m.venue_utc_ns == TIME_MS * MS
    m = decoder.decode_message(bybit_book(BTC, 501, [("65140.4", "0")]))
    assert (m.first_sequence, m.last_sequence, m.traits) == (501, 501, 0)


@pytest.mark.parametrize("kind", ["snapshot", "delta"])
def test_update_one_is_a_whole_book_after_a_restart(decoder: BybitDecoder, kind: str) -> None:
    assert decoder.decode_message(bybit_book(BTC, 1, [("1", "1")], kind=kind)).traits == TRAIT_SNAPSHOT


def test_one_level_is_the_best_bid_and_offer_unless_books_are_made_of_it(decoder: BybitDecoder) -> None:
    frame = bybit_book(BTC, 9, [("5.5", "2")], [], kind="snapshot", levels=1)
    m = decoder.decode_message(frame)
    assert (m.kind, m.last_sequence, m.values) == (MessageKind.BBO, 9, ((55, 1), (2, 0), (0, 0), (0, 0)))
    decoder.depth_stream = "orderbook.1"
    assert decoder.decode_message(frame).kind == MessageKind.DEPTH
    assert decoder.decode_message(bybit_book(BTC, 9, levels=50)).kind == MessageKind.CONTROL
    decoder.depth_stream = "orderbook.50"
    assert decoder.decode_message(frame).kind == MessageKind.BBO
    assert decoder.decode_message(bybit_book(BTC, 9, levels=50)).kind == MessageKind.DEPTH


def test_an_update_of_one_level_tells_only_the_side_that_changed(decoder: BybitDecoder) -> None:
    frame = bybit_book(BTC, 10, [("5.5", "0"), ("5.4", "3")], [], levels=1)
    m = decoder.decode_message(frame)
    assert (m.kind, m.value_mask, ticks(m)) == (MessageKind.TICKER, 3, {0: (54, 1), 1: (3, 0)})


def test_a_trade_with_a_uuid_and_one_with_a_number(decoder: BybitDecoder) -> None:
    spot = {
        "i": "2280000001739247417",
        "T": 5,
        "p": "1923.28",
        "v": "0.04537",
        "S": "Buy",
        "s": BTC,
        "seq": 8,
    }
    m = decoder.decode_message(bybit(f"publicTrade.{BTC}", [TRADE, spot]))
    first, second = m.items
    assert (first.side, first.price, first.quantity) == (2, (6511420, 2), (4, 3))
    assert first.venue_utc_ns == 1786310819680 * MS
    assert 0 < first.trade_id < 2**63
    assert (second.side, second.trade_id) == (1, 2280000001739247417)
    again = decoder.decode_message(bybit(f"publicTrade.{BTC}", [TRADE])).items[0]
    other = decoder.decode_message(
        bybit(f"publicTrade.{BTC}", [{**TRADE, "i": TRADE["i"][:-1] + "8"}])
    ).items[0]
    assert again.trade_id == first.trade_id != other.trade_id


def test_a_block_trade_is_no_market_trade(decoder: BybitDecoder) -> None:
    m = decoder.decode_message(bybit(f"publicTrade.{BTC}", [{**TRADE, "BT": True}]))
    assert m.items[0].flags == 1


def test_a_linear_ticker_tells_only_what_changed(decoder: BybitDecoder) -> None:
    whole = {
        "symbol": BTC,
        "lastPrice": "1",
        "markPrice": "65117.44",
        "indexPrice": "65137.76",
        "fundingRate": "-0.0001",
        "nextFundingTime": "1786320000000",
        "bid1Price": "65114.20",
        "bid1Size": "5.954",
        "ask1Price": "65114.30",
        "ask1Size": "10.470",
    }
    m = decoder.decode_message(bybit(f"tickers.{BTC}", whole))
    assert (m.kind, m.symbol, m.value_mask) == (MessageKind.TICKER, BTC, 0xFF)
    assert ticks(m)[4] == (6511744, 2)
    assert ticks(m)[6] == (-1, 4)
    assert m.next_funding_utc_ns == 1786320000000 * MS
    m = decoder.decode_message(
        bybit(f"tickers.{BTC}", {"symbol": BTC, "markPrice": "65117.43"}, kind="delta")
    )
    assert ticks(m) == {4: (6511743, 2)}
    decoder.with_ticker_bbo = False
    assert decoder.decode_message(bybit(f"tickers.{BTC}", whole)).value_mask == 0xF0


def test_liquidations_say_the_position_and_mean_the_order(decoder: BybitDecoder) -> None:
    row = {"T": 1739502302929, "s": BTC, "S": "Sell", "v": "20000", "p": "0.04499"}
    m = decoder.decode_message(bybit(f"allLiquidation.{BTC}", [row]))
    assert (m.kind, m.items[0].side, m.items[0].symbol) == (MessageKind.LIQUIDATION, 1, BTC)
    old = {"updatedTime": 1673251091822, "symbol": BTC, "side": "Buy", "size": "0.003", "price": "16511.50"}
    m = decoder.decode_message(bybit(f"liquidation.{BTC}", old))
    assert (m.items[0].side, m.items[0].price) == (2, (1651150, 2))


@pytest.mark.parametrize(
    "frame",
    [
        b'{"success":true,"ret_msg":"subscribe","conn_id":"d9","op":"subscribe"}',
        b'{"success":true,"ret_msg":"pong","conn_id":"d9","req_id":"","op":"ping"}',
        bybit("kline.1.BTCUSDT", [{"start": 1}]),
        bybit("system.status", [{"id": "x"}]),
    ],
)
def test_what_is_no_price_is_control(decoder: BybitDecoder, frame: bytes) -> None:
    assert decoder.decode_message(frame).kind == MessageKind.CONTROL


def test_keys_in_any_order(decoder: BybitDecoder) -> None:
    frame = bybit_book(BTC, 501, [("1.5", "2")], [("1.6", "3")])
    message = orjson.loads(frame)
    backwards = {key: message[key] for key in reversed(list(message))}
    assert list(backwards)[-1] == "topic"
    assert decoder.decode_message(orjson.dumps(backwards)) == decoder.decode_message(frame)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b'"type":"delta"', b'"type":"patch"', "type: no known message"),
        (b'"type":"delta",', b"", "type: missing"),
        (b'"u":501', b'"u":-501', "u: wrong type"),
        (b'"u":501', b'"u":"501"', "u: wrong type"),
        (b'"u":501,', b"", "u: missing"),
        (b'"s":"BTCUSDT"', b'"s":"ETHUSDT"', "symbol: names another instrument"),
        (b'"1.5"', b'"1e5"', "b[0]: not a plain decimal"),
        (b'["1.5","2"]', b'["1.5","2","3"]', "b[0]: wrong type"),
        (b'["1.5","2"]', b'["0.0","2"]', "b[0]: must be positive"),
        (b'"ts":1790', b'"ts":"x","y":1790', "ts: wrong type"),
        (b'"seq":7', b'"seq":7,"seq":8', "seq: key given twice"),
        (b'"topic"', b'"tropic"', "message: no known message"),
    ],
)
def test_precise_refusals(decoder: BybitDecoder, old: bytes, new: bytes, expected: str) -> None:
    frame = bybit_book(BTC, 501, [("1.5", "2")])
    assert old in frame
    text = refusal(decoder, frame.replace(old, new))
    assert text.startswith(expected)
    assert "at byte" in text


def test_a_trade_of_nothing_is_refused(decoder: BybitDecoder) -> None:
    assert refusal(decoder, bybit(f"publicTrade.{BTC}", [{**TRADE, "v": "0"}])).startswith(
        "v: must be positive"
    )


def test_rest_order_book(decoder: BybitDecoder) -> None:
    result = {
        "s": BTC,
        "a": [["65557.7", "16.606"]],
        "b": [["65485.47", "47.081"]],
        "ts": 1716863719031,
        "u": 230704,
        "seq": 1432604333,
        "cts": 1716863718905,
    }
    m = decoder.decode_snapshot_message(
        orjson.dumps({"retCode": 0, "retMsg": "OK", "result": result, "time": 1})
    )
    assert (m.kind, m.symbol, m.last_sequence) == (MessageKind.SNAPSHOT, BTC, 230704)
    with pytest.raises(DecodeError, match="s: missing"):
        decoder.decode_snapshot_message(b'{"retCode":10001,"retMsg":"error","result":{},"time":1}')


@pytest.mark.parametrize("value", [b"{}", b"[]", b"null", b"5", b"true"])
def test_a_funding_time_that_is_no_text_is_refused(value: bytes) -> None:
    frame = (
        b'{"topic":"tickers.BTCUSDT","type":"delta","ts":1,"data":{"symbol":"BTCUSDT","nextFundingTime":%s}}'
    )
    with pytest.raises(DecodeError, match="nextFundingTime"):
        BybitDecoder().decode_message(frame % value)
    assert BybitDecoder().decode_message(frame % b'"5"').next_funding_utc_ns == 5_000_000
