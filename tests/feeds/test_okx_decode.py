"""Frames of OKX's public channels become the message they mean, or a precise refusal."""

from __future__ import annotations

import orjson
import pytest

from feeds.decoder import (
    TRAIT_CHECKSUM,
    TRAIT_SNAPSHOT,
    TRAIT_UNNUMBERED,
    DecodedMessage,
    MessageKind,
)
from feeds.errors import DecodeError
from feeds.venues.okx.decode import OkxDecoder
from tests.kit.stream_frames import TIME_MS, okx, okx_book

MS = 1_000_000
SWAP = "BTC-USDT-SWAP"
TRADE = {
    "instId": SWAP,
    "tradeId": "2953620213",
    "px": "84093.4",
    "sz": "0.7",
    "side": "sell",
    "ts": "1790439596276",
    "count": "1",
    "source": "0",
    "seqId": 342177338362,
}


@pytest.fixture
def decoder() -> OkxDecoder:
    return OkxDecoder()


def refusal(decoder: OkxDecoder, frame: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        decoder.decode_message(frame)
    return str(caught.value)


def test_a_whole_book(decoder: OkxDecoder) -> None:
    frame = okx_book(
        SWAP, 100, -1, [("84093.4", "0.5"), ("84093", "12")], [("84093.5", "3")], action="snapshot"
    )
    m = decoder.decode_message(frame)
    assert (m.kind, m.symbol, m.last_sequence, m.traits) == (MessageKind.DEPTH, SWAP, 100, TRAIT_SNAPSHOT)
    assert m.bids == ((840934, 1, 5, 1), (84093, 0, 12, 0))
    assert m.asks == ((840935, 1, 3, 0),)
    assert m.venue_utc_ns == TIME_MS * MS


def test_an_update_names_the_one_before(decoder: OkxDecoder) -> None:
    m = decoder.decode_message(okx_book(SWAP, 110, 100, [("1.5", "0")]))
    assert (m.last_sequence, m.previous_sequence, m.traits) == (110, 100, 0)


def test_a_heartbeat_has_no_levels_and_its_own_number_twice(decoder: OkxDecoder) -> None:
    m = decoder.decode_message(okx_book(SWAP, 110, 110))
    assert (m.last_sequence, m.previous_sequence, m.bids, m.asks) == (110, 110, (), ())


def test_a_sequence_reset_is_told_as_it_stands(decoder: OkxDecoder) -> None:
    m = decoder.decode_message(okx_book(SWAP, 3, 110, [("1", "1")]))
    assert (m.last_sequence, m.previous_sequence) == (3, 110)


def test_a_checksum_of_zero_is_none(decoder: OkxDecoder) -> None:
    assert decoder.decode_message(okx_book(SWAP, 2, 1, checksum=0)).traits == 0
    m = decoder.decode_message(okx_book(SWAP, 2, 1, checksum=-59769065))
    assert (m.traits, m.checksum) == (TRAIT_CHECKSUM, -59769065)


def test_a_recording_without_sequences_is_ordered_by_time_and_proven_by_checksum(decoder: OkxDecoder) -> None:
    m = decoder.decode_message(okx_book(SWAP, None, None, [("1", "1")], checksum=5))
    assert m.traits == TRAIT_CHECKSUM | TRAIT_UNNUMBERED
    assert m.last_sequence == TIME_MS


@pytest.mark.parametrize("checksum", [None, 0])
def test_a_book_with_neither_sequence_nor_checksum_is_refused(
    decoder: OkxDecoder, checksum: int | None
) -> None:
    assert "seqId: missing" in refusal(decoder, okx_book(SWAP, None, None, checksum=checksum))


def test_books5_is_whole_each_time(decoder: OkxDecoder) -> None:
    m = decoder.decode_message(
        okx_book(SWAP, 9, None, [("2", "1")], action="", checksum=None, channel="books5")
    )
    assert (m.kind, m.traits, m.last_sequence) == (MessageKind.DEPTH, TRAIT_SNAPSHOT, 9)


def test_only_the_chosen_depth_channel_makes_books(decoder: OkxDecoder) -> None:
    decoder.depth_stream = "books5"
    assert decoder.decode_message(okx_book(SWAP, 2, 1)).kind == MessageKind.CONTROL
    decoder.depth_stream = "books"
    assert decoder.decode_message(okx_book(SWAP, 2, 1)).kind == MessageKind.DEPTH


def test_bbo(decoder: OkxDecoder) -> None:
    frame = okx_book(SWAP, 7, None, [("84093.4", "1")], [("84093.5", "2.5")], action="", channel="bbo-tbt")
    m = decoder.decode_message(frame)
    assert (m.kind, m.last_sequence) == (MessageKind.BBO, 7)
    assert m.values == ((840934, 1), (1, 0), (840935, 1), (25, 1))


def test_bbo_of_an_empty_side_is_zero(decoder: OkxDecoder) -> None:
    m = decoder.decode_message(okx_book(SWAP, 7, None, [], [("5", "2")], action="", channel="bbo-tbt"))
    assert m.values == ((0, 0), (0, 0), (5, 0), (2, 0))


@pytest.mark.parametrize("channel", ["trades", "trades-all"])
def test_several_trades_in_one_frame(decoder: OkxDecoder, channel: str) -> None:
    other = {**TRADE, "tradeId": "2953620280", "side": "buy", "count": "59", "seqId": 342177339042}
    m = decoder.decode_message(okx(channel, [TRADE, other], instId=SWAP))
    assert (m.kind, m.last_sequence) == (MessageKind.TRADE, 342177339042)
    assert [(i.trade_id, i.side, i.price, i.quantity) for i in m.items] == [
        (2953620213, 2, (840934, 1), (7, 1)),
        (2953620280, 1, (840934, 1), (7, 1)),
    ]
    assert m.items[0].venue_utc_ns == 1790439596276 * MS


def test_tickers_tell_the_best_bid_and_offer_unless_another_channel_does(decoder: OkxDecoder) -> None:
    row = {
        "instType": "SPOT",
        "instId": "A-B",
        "bidPx": "1.5",
        "bidSz": "3",
        "askPx": "",
        "askSz": "",
        "ts": "5",
    }
    m = decoder.decode_message(okx("tickers", [row], instId="A-B"))
    assert (m.kind, m.value_mask, m.values) == (MessageKind.TICKER, 0xF, ((15, 1), (3, 0), (0, 0), (0, 0)))
    decoder.with_ticker_bbo = False
    assert decoder.decode_message(okx("tickers", [row], instId="A-B")).value_mask == 0


def ticks(m: DecodedMessage) -> dict[int, tuple[int, int]]:
    places = [place for place in range(7) if m.value_mask >> place & 1]
    return dict(zip(places, m.values, strict=True))


def test_mark_index_and_funding(decoder: OkxDecoder) -> None:
    mark = okx(
        "mark-price", [{"instId": SWAP, "instType": "SWAP", "markPx": "42310.6", "ts": "5"}], instId=SWAP
    )
    assert ticks(decoder.decode_message(mark)) == {4: (423106, 1)}
    index = okx("index-tickers", [{"instId": "BTC-USDT", "idxPx": "42300.1", "ts": "5"}], instId="BTC-USDT")
    m = decoder.decode_message(index)
    assert (m.symbol, ticks(m)) == ("BTC-USDT", {5: (423001, 1)})
    row = {
        "fundingRate": "-0.00018",
        "fundingTime": "1700726400000",
        "instId": SWAP,
        "instType": "SWAP",
        "ts": "5",
    }
    m = decoder.decode_message(okx("funding-rate", [row], instId=SWAP))
    assert ticks(m) == {6: (-18, 5)}
    assert m.next_funding_utc_ns == 1700726400000 * MS


def test_liquidations_of_several_instruments(decoder: OkxDecoder) -> None:
    def row(symbol: str, *details: dict[str, str]) -> dict[str, object]:
        return {"instId": symbol, "instType": "SWAP", "uly": "X", "details": list(details)}

    detail = {
        "bkLoss": "0",
        "bkPx": "0.007831",
        "ccy": "",
        "posSide": "short",
        "side": "buy",
        "sz": "13",
        "ts": "17",
    }
    frame = okx(
        "liquidation-orders",
        [row("A-USDT-SWAP", detail, {**detail, "side": "sell"}), row("B-USDT-SWAP", detail)],
        instType="SWAP",
    )
    m = decoder.decode_message(frame)
    assert m.kind == MessageKind.LIQUIDATION
    assert [(i.symbol, i.side, i.price, i.quantity) for i in m.items] == [
        ("A-USDT-SWAP", 1, (7831, 6), (13, 0)),
        ("A-USDT-SWAP", 2, (7831, 6), (13, 0)),
        ("B-USDT-SWAP", 1, (7831, 6), (13, 0)),
    ]


@pytest.mark.parametrize(
    "frame",
    [
        b"pong",
        b'{"event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"a4d3ae55"}',
        b'{"event":"error","code":"60012","msg":"Invalid request"}',
        b'{"arg":{"channel":"status"},"data":[{"title":"Upgrade"}]}',
        b'{"arg":{"channel":"candle1D","instId":"BTC-USDT"},"data":[["1","2"]]}',
    ],
)
def test_what_is_no_price_is_control(decoder: OkxDecoder, frame: bytes) -> None:
    assert decoder.decode_message(frame).kind == MessageKind.CONTROL


def test_keys_in_any_order(decoder: OkxDecoder) -> None:
    frame = okx_book(SWAP, 110, 100, [("1.5", "2")], [("1.6", "3")])
    message = orjson.loads(frame)
    backwards = {key: message[key] for key in reversed(list(message))}
    assert list(backwards)[-1] == "arg"
    assert decoder.decode_message(orjson.dumps(backwards)) == decoder.decode_message(frame)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda f: f.replace(b'"action":"update"', b'"action":"other"'), "action: no known message"),
        (lambda f: f.replace(b',"action":"update"', b""), "action: missing"),
        (lambda f: f.replace(b'"prevSeqId":100', b'"prevSeqId":-1'), "prevSeqId: sequences|prevSeqId: first"),
        (lambda f: f.replace(b',"prevSeqId":100', b""), "prevSeqId: missing"),
        (lambda f: f.replace(b'"ts":"1790', b'"ts":"17x0'), "ts: not a plain decimal"),
        (lambda f: f.replace(b'"1.5"', b'"-1.5"'), r"bids\[0\]: not a plain decimal"),
        (lambda f: f.replace(b'"1.5"', b"1.5"), r"bids\[0\]: wrong type"),
        (lambda f: f.replace(b'"checksum":0', b'"checksum":99999999999'), "checksum: number too large"),
        (lambda f: f.replace(b'"instId":"BTC', b'"instId":"\\u0042TC'), "instId: escaped text"),
        (lambda f: f.replace(b"}]", b"},{}]"), "data: too many items"),
        (lambda f: f.replace(b'"data":[{', b'"data":[],"x":[{'), "data: missing"),
        (lambda f: f.replace(b'"seqId":110', b'"seqId":110,"seqId":111'), "seqId: key given twice"),
        (lambda f: f + b"}", "message: bytes behind the message"),
    ],
)
def test_precise_refusals(decoder: OkxDecoder, change: object, expected: str) -> None:
    frame = okx_book(SWAP, 110, 100, [("1.5", "2")])
    changed = change(frame)  # type: ignore[operator]
    assert changed != frame
    text = refusal(decoder, changed)
    assert any(text.startswith(part) for part in expected.replace("\\", "").split("|")), text
    assert "at byte" in text


def test_a_message_that_names_two_instruments_is_refused(decoder: OkxDecoder) -> None:
    text = refusal(decoder, okx("trades", [{**TRADE, "instId": "ETH-USDT-SWAP"}], instId=SWAP))
    assert text.startswith("instId: names another instrument")


def test_rest_order_book(decoder: OkxDecoder) -> None:
    body = orjson.dumps(
        {
            "code": "0",
            "msg": "",
            "data": [
                {
                    "asks": [["41006.8", "0.6", "0", "1"]],
                    "bids": [["41006.3", "0.3", "0", "2"]],
                    "ts": "1629966436396",
                    "seqId": 3235851742,
                }
            ],
        }
    )
    m = decoder.decode_snapshot_message(body)
    assert (m.kind, m.last_sequence, m.bids) == (MessageKind.SNAPSHOT, 3235851742, ((410063, 1, 3, 1),))
    with pytest.raises(DecodeError, match="data: missing"):
        decoder.decode_snapshot_message(b'{"code":"51001","msg":"Instrument ID does not exist","data":[]}')


@pytest.mark.parametrize("value", [b"{}", b"[]", b"null", b"5", b"true"])
def test_an_instrument_name_that_is_no_text_is_refused(value: bytes) -> None:
    frame = (
        b'{"arg":{"channel":"mark-price","instId":""},"data":[{"instId":%s,"markPx":"5","ts":"1"}]}' % value
    )
    with pytest.raises(DecodeError, match="instId"):
        OkxDecoder().decode_message(frame)
