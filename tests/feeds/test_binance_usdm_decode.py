"""The venue's messages: every kind, any key order, and the reasons of refusal."""

from __future__ import annotations

import gzip
import itertools
import json
import random

import pytest

from feeds.decoder import TRAIT_SNAPSHOT, DecodedMessage, MessageKind
from feeds.errors import DecodeError
from feeds.venues.binance_usdm.decode import BinanceUsdmDecoder
from tests.kit import naive_decode
from tests.kit.feed_kit import depth_frame, recorded

DEPTH = {
    "e": "depthUpdate",
    "E": 1723161256299,
    "T": 1723161256298,
    "s": "BTCUSDT",
    "U": 5123107832006,
    "u": 5123107837557,
    "pu": 5123107831937,
    "b": [["58710.20", "0.014"], ["61496.50", "0.000"]],
    "a": [["61800.30", "3.330"]],
}
TRADE = {
    "e": "trade",
    "E": 5,
    "T": 4,
    "s": "BTCUSDT",
    "t": 77,
    "p": "61800.30",
    "q": "0.006",
    "X": "MARKET",
    "m": False,
}
AGGREGATE = {
    "e": "aggTrade",
    "E": 5,
    "a": 99,
    "s": "BTCUSDT",
    "p": "1.5",
    "q": "2",
    "f": 1,
    "l": 3,
    "T": 4,
    "m": True,
}
TICKER = {
    "e": "bookTicker",
    "u": 9,
    "s": "BTCUSDT",
    "b": "1.5",
    "B": "2",
    "a": "1.6",
    "A": "3",
    "T": 1,
    "E": 2,
}
MARK = {
    "e": "markPriceUpdate",
    "E": 5,
    "s": "BTCUSDT",
    "p": "11794.15000000",
    "i": "11784.62659091",
    "P": "11784.25641265",
    "r": "-0.00038167",
    "T": 1562306400000,
}


def encode(message: object) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def decode(message: object) -> DecodedMessage:
    return BinanceUsdmDecoder().decode_message(encode(message))


def refusal(message: object) -> str:
    with pytest.raises(DecodeError) as caught:
        decode(message)
    return str(caught.value)


def test_a_depth_update() -> None:
    found = decode(DEPTH)
    assert (found.kind, found.symbol) == (MessageKind.DEPTH, "BTCUSDT")
    assert (found.first_sequence, found.last_sequence, found.previous_sequence) == (
        5123107832006,
        5123107837557,
        5123107831937,
    )
    assert found.venue_utc_ns == 1723161256299000000
    assert found.bids == ((5871020, 2, 14, 3), (6149650, 2, 0, 3))
    assert found.asks == ((6180030, 2, 3330, 3),)


@pytest.mark.parametrize("message", [DEPTH, TRADE, AGGREGATE, TICKER, MARK], ids=lambda m: m["e"])
def test_wrapped_raw_and_any_key_order_mean_the_same(message: dict[str, object]) -> None:
    expected = decode(message)
    rng = random.Random(3)
    for _ in range(30):
        keys = list(message)
        rng.shuffle(keys)
        shuffled = {k: message[k] for k in keys}
        assert decode(shuffled) == expected
        assert decode({"stream": "x", "data": shuffled}) == expected
        assert decode({"data": shuffled, "later": [1], "stream": "x"}) == expected
        spaced = json.dumps({"stream": "x", "data": shuffled}, indent=1).encode()
        assert BinanceUsdmDecoder().decode_message(spaced) == expected


def test_the_buyer_as_maker_means_a_seller_crossed() -> None:
    assert (decode(TRADE).side, decode(TRADE | {"m": True}).side) == (1, 2)
    assert decode(TRADE).trade_id == 77
    assert decode(AGGREGATE).trade_id == 99


@pytest.mark.parametrize("execution", ["INSURANCE_FUND", "ADL", "NA"])
def test_trades_nobody_made_are_flagged_and_may_be_of_nothing(execution: str) -> None:
    assert decode(TRADE).flags == 0
    assert decode(TRADE | {"X": execution}).flags == 1
    assert decode(TRADE | {"X": execution, "p": "0", "q": "0"}).values == ((0, 0), (0, 0))


@pytest.mark.parametrize("field", ["p", "q"])
def test_a_market_trade_of_nothing_is_refused(field: str) -> None:
    assert refusal(TRADE | {field: "0"}).startswith(f"{field}: must be positive")
    assert refusal(AGGREGATE | {field: "0.00"}).startswith(f"{field}: must be positive")


def test_an_empty_side_of_the_ticker_is_price_and_quantity_zero() -> None:
    assert decode(TICKER | {"b": "0.00", "B": "0"}).values[0] == (0, 2)
    assert refusal(TICKER | {"b": "0.00"}).startswith("b: must be positive")


def test_mark_price_with_and_without_funding() -> None:
    found = decode(MARK)
    assert found.values == ((1179415000000, 8), (1178462659091, 8), (-38167, 8))
    assert found.next_funding_utc_ns == 1562306400000 * 10**6
    assert decode(MARK | {"r": "", "T": 0}).values[2] == (0, 0)


@pytest.mark.parametrize(
    "message",
    [
        {"result": None, "id": 1},
        {"error": {"code": 2, "msg": "x"}, "id": 1},
        {"code": -1003, "msg": "x"},
        {"e": "serverShutdown", "E": 1},
        {"stream": "x", "data": {"e": "kline", "k": {}}},
        {"e": "other", "b": [[1]], "a": 1},
    ],
)
def test_what_is_not_market_data_is_control(message: object) -> None:
    assert decode(message).kind == MessageKind.CONTROL


def test_a_missing_field_is_named() -> None:
    needed = {
        "depthUpdate": "EsUub",
        "trade": "Estpqm",
        "aggTrade": "Esapqm",
        "bookTicker": "sEubBaA",
        "markPriceUpdate": "EspirT",
    }
    for message in (DEPTH, TRADE, AGGREGATE, TICKER, MARK):
        for field in needed[str(message["e"])]:
            told = refusal({k: v for k, v in message.items() if k != field})
            assert told.startswith(f"{field}: missing"), told
    assert refusal({k: v for k, v in DEPTH.items() if k != "pu"}).startswith("pu: missing")


def test_a_wrong_type_is_named() -> None:
    wrong: list[object] = [None, True, 1.5, -1, {}, [], "x"]
    for message, field in itertools.chain(
        ((DEPTH, f) for f in ("E", "s", "U", "u", "pu", "b", "a")),
        ((TRADE, f) for f in ("t", "p", "q", "m", "X")),
    ):
        for value in wrong:
            if isinstance(value, type(message[field])) and value != -1 and value is not True:
                continue
            if field == "m" and value is True:
                continue
            assert refusal(message | {field: value}).startswith(field)


@pytest.mark.parametrize(
    ("level", "told"),
    [
        (["0", "1"], "b[1]: must be positive"),
        (["1"], "b[1]"),
        (["1", "2", "3"], "b[1]: wrong type"),
        ([1, "2"], "b[1]: wrong type"),
        (["1", 2], "b[1]: wrong type"),
        ("1", "b[1]: wrong type"),
        (["-1", "2"], "b[1]: not a plain decimal"),
        (["1", "-2"], "b[1]: not a plain decimal"),
    ],
)
def test_a_bad_level_is_named_by_side_and_index(level: object, told: str) -> None:
    assert refusal(DEPTH | {"b": [["1", "1"], level]}).startswith(told)


def test_sequences_that_contradict_each_other_are_refused() -> None:
    assert "first sequence above last" in refusal(DEPTH | {"U": DEPTH["u"], "u": DEPTH["U"]})


def test_two_messages_in_one_frame_are_refused() -> None:
    assert "no known message" in refusal({"stream": "x", "data": TRADE, "e": "trade"})
    assert refusal({"data": TRADE}).startswith("stream: missing")
    assert refusal({"stream": "x", "data": [TRADE]}).startswith("data: wrong type")


def test_a_snapshot_body() -> None:
    body = encode({"lastUpdateId": 12, "E": 3, "T": 2, "bids": [["1.5", "2"]], "asks": [["1.6", "0.5"]]})
    found = BinanceUsdmDecoder().decode_snapshot_message(body)
    assert (found.kind, found.last_sequence, found.venue_utc_ns) == (MessageKind.SNAPSHOT, 12, 3_000_000)
    assert (found.bids, found.asks) == (((15, 1, 2, 0),), ((16, 1, 5, 1),))


@pytest.mark.parametrize(
    "body", [b'{"code":-1003,"msg":"Too many requests"}', b"<html>", b"", b'{"lastUpdateId":1,"bids":[]}']
)
def test_an_answer_that_is_no_snapshot_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError):
        BinanceUsdmDecoder().decode_snapshot_message(body)


@pytest.mark.parametrize(
    "name", ["usdm_btcusdt_20240808.gz", "usdm_ethusdt_20240808.gz", "usdm_4_symbols_20210722.gz"]
)
def test_recorded_frames_mean_the_same_to_an_independent_decoder(name: str) -> None:
    path = recorded("binance/" + name)
    if path is None:
        pytest.skip("no recorded market data (set RINGLANE_DATA to the folder holding binance/)")
    decoder = BinanceUsdmDecoder()
    kinds = set()
    with gzip.open(path) as lines:
        for number, line in enumerate(lines):
            frame = line[line.index(b"{") :] if b"{" in line else b""
            if not frame or b'"serverTime"' in frame or (name[5] != "4" and number % 7):
                continue
            if frame.startswith(b'{"lastUpdateId"'):
                snapshot = decoder.decode_snapshot_message(frame)
                assert snapshot.bids == naive_decode.decode_snapshot(frame).bids
                continue
            found, expected = decoder.decode_message(frame), naive_decode.decode(frame)
            assert (
                found.kind,
                found.symbol,
                found.values,
                found.bids,
                found.asks,
                found.trade_id,
                found.side,
            ) == (
                expected.kind,
                expected.symbol,
                expected.values,
                expected.bids,
                expected.asks,
                expected.trade_id,
                expected.side,
            )
            kinds.add(found.kind)
    assert kinds >= {MessageKind.DEPTH, MessageKind.BBO, MessageKind.TRADE}


# ---- liquidations, partial books -----------------------------------------------------------------


def test_a_liquidation_order() -> None:
    frame = (
        b'{"e":"forceOrder","E":1568014460893,"o":{"s":"BTCUSDT","S":"SELL","o":"LIMIT","f":"IOC","q":"0.014",'
        b'"p":"9910","ap":"9910","X":"FILLED","l":"0.014","z":"0.014","T":1568014460894}}'
    )
    m = BinanceUsdmDecoder().decode_message(frame)
    (item,) = m.items
    assert (m.kind, m.venue_utc_ns) == (MessageKind.LIQUIDATION, 1568014460893 * 1_000_000)
    assert (item.symbol, item.side, item.price, item.quantity) == ("BTCUSDT", 2, (9910, 0), (14, 3))
    assert item.venue_utc_ns == 1568014460894 * 1_000_000
    for old, new in ((b'"SELL"', b'"SOLD"'), (b'"p":"9910"', b'"p":9910'), (b'"s":"BTCUSDT",', b"")):
        with pytest.raises(DecodeError):
            BinanceUsdmDecoder().decode_message(frame.replace(old, new))


@pytest.mark.parametrize(
    ("stream", "is_whole"),
    [
        ("depth5@100ms", True),
        ("depth20", True),
        ("depth10@500ms", True),
        ("depth@100ms", False),
        ("depth", False),
    ],
)
def test_a_partial_book_is_whole_each_time(stream: str, is_whole: bool) -> None:
    frame = depth_frame(11, 15, 10, [(618, 7)]).replace(b"@depth@0ms", b"@" + stream.encode())
    m = BinanceUsdmDecoder().decode_message(frame)
    assert (m.kind, bool(m.traits & TRAIT_SNAPSHOT)) == (MessageKind.DEPTH, is_whole)


def test_only_the_chosen_depth_stream_makes_books() -> None:
    decoder = BinanceUsdmDecoder()
    decoder.depth_stream = "depth@100ms"
    assert decoder.decode_message(depth_frame(11, 15, 10)).kind == MessageKind.CONTROL
    decoder.depth_stream = "depth@0ms"
    assert decoder.decode_message(depth_frame(11, 15, 10)).kind == MessageKind.DEPTH


@pytest.mark.parametrize("beside", ['"b":[["1","1"]]', '"a":[]', '"a":0'])
def test_levels_beside_a_wrapped_event_never_become_its_own(beside: str) -> None:
    event = json.dumps(DEPTH)
    for text in (f'{{"stream":"x","data":{event},{beside}}}', f'{{{beside},"stream":"x","data":{event}}}'):
        with pytest.raises(DecodeError):
            BinanceUsdmDecoder().decode_message(text.encode())
