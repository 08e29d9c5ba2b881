"""Damaged frames of the other venues: never a crash, never a meaning an independent decoder does not see."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import orjson
import pytest

from feeds.core import FrameResult
from feeds.decoder import DecodedMessage, Decoder
from feeds.errors import DecodeError
from feeds.venues import get_adapter
from tests.feeds.test_stream_snapshots import StreamRig
from tests.fuzz.test_decode_fuzz import mutate
from tests.kit import naive_streams
from tests.kit.naive_decode import Refused, same_decimal
from tests.kit.naive_streams import Meaning
from tests.kit.stream_frames import Levels, bybit, bybit_book, okx, okx_book, okx_checksum

SWAP, BTC = "BTC-USDT-SWAP", "BTCUSDT"
BIDS: Levels = [(f"{6180.2 - k / 10:.1f}", f"{0.7 * k + 0.5:.1f}") for k in range(30)]
ASKS: Levels = [(f"{6180.3 + k / 10:.1f}", f"{11 * k + 1}") for k in range(28)]
CHECKED = okx_book(SWAP, 10, -1, BIDS, ASKS, action="snapshot", checksum=okx_checksum(BIDS, ASKS))
SPACED_OKX = (
    b' { "data" : [ { "bids" : [ [ "1.50" , "2" , "0" , "1" ] ] , "asks" : [ ] , "seqId" : 9 , "prevSeqId":7,'
    b' "ts":"1" } ],"action":"update","arg":{"instId":"BTC-USDT-SWAP","channel":"books","x":[1,2.5e3]}}\n'
)
SPACED_BYBIT = (
    b' { "data" : { "b" : [ [ "1.50" , "2" ] ] , "a" : [ ] , "u" : 501 , "s":"BTCUSDT","seq":1} , "ts":1,'
    b'"type":"delta","topic":"orderbook.50.BTCUSDT","more":{"k":[1,2.5e3,{"n":null}]}}\n'
)
OKX_SEEDS = (
    okx_book(SWAP, 15, 10, BIDS[:12], ASKS[:9]),
    okx_book(SWAP, 16, 15, [], [("6180.3", "0")]),
    okx_book(SWAP, 15, 15),
    okx_book(SWAP, None, None, BIDS[:2], checksum=-59769065, channel="books-l2-tbt"),
    okx_book(SWAP, 10, -1, BIDS[:3], ASKS[:3], action="snapshot"),
    okx_book(SWAP, 17, None, BIDS[:1], ASKS[:1], action="", checksum=None, channel="bbo-tbt"),
    okx(
        "trades",
        [
            {
                "instId": SWAP,
                "tradeId": "29",
                "px": "6180.2",
                "sz": "0.7",
                "side": "sell",
                "ts": "17904395962",
                "count": "1",
                "source": "0",
                "seqId": 8,
            }
        ]
        * 2,
        instId=SWAP,
    ),
    okx(
        "tickers",
        [{"instId": SWAP, "bidPx": "1.5", "bidSz": "3", "askPx": "", "askSz": "", "ts": "5"}],
        instId=SWAP,
    ),
    okx(
        "funding-rate", [{"instId": SWAP, "fundingRate": "-0.1", "fundingTime": "17", "ts": "5"}], instId=SWAP
    ),
    okx("index-tickers", [{"instId": "BTC-USDT", "idxPx": "42300.1", "ts": "6"}], instId="BTC-USDT"),
    okx(
        "liquidation-orders",
        [{"instId": SWAP, "details": [{"bkPx": "5", "side": "buy", "sz": "1", "ts": "3"}]}],
    ),
    SPACED_OKX,
    b"pong",
    b'{"event":"error","code":"60012","msg":"Invalid \xc3\xa9"}',
)
BYBIT_SEEDS = (
    bybit_book(BTC, 501, BIDS[:12], ASKS[:9]),
    bybit_book(BTC, 500, BIDS[:3], ASKS[:3], kind="snapshot"),
    bybit_book(BTC, 1, BIDS[:3], ASKS[:3]),
    bybit_book(BTC, 502, BIDS[:1], ASKS[:1], kind="snapshot", levels=1),
    bybit_book(BTC, 503, BIDS[:2], [], levels=1),
    bybit(
        f"publicTrade.{BTC}",
        [
            {
                "T": 17,
                "s": BTC,
                "S": "Sell",
                "v": "0.004",
                "p": "6511.2",
                "L": "MinusTick",
                "i": "a9188a0a-82bc-50de-be60-03eedbe3cdd7",
                "BT": False,
                "seq": 7,
            }
        ]
        * 2,
    ),
    bybit(
        f"tickers.{BTC}",
        {
            "symbol": BTC,
            "markPrice": "6511.44",
            "fundingRate": "-0.0001",
            "nextFundingTime": "178",
            "bid1Price": "6511.2",
            "bid1Size": "",
            "ask1Price": "6511.3",
            "ask1Size": "10.4",
        },
    ),
    bybit(f"allLiquidation.{BTC}", [{"T": 17, "s": BTC, "S": "Buy", "v": "2", "p": "0.4"}]),
    bybit(
        f"liquidation.{BTC}", {"updatedTime": 1, "symbol": BTC, "side": "Buy", "size": "0.3", "price": "16.5"}
    ),
    bybit("kline.1.BTCUSDT", [{"start": 1}]),
    b'{"success":true,"ret_msg":"","conn_id":"d8","req_id":"","op":"subscribe"}',
    SPACED_BYBIT,
)


class Subject(NamedTuple):
    venue: str
    symbol: str
    seeds: tuple[bytes, ...]
    whole: bytes
    decode: Callable[[bytes], Meaning]


SUBJECTS = (
    Subject("okx", SWAP, OKX_SEEDS, CHECKED, naive_streams.okx),
    Subject(
        "bybit_linear",
        BTC,
        BYBIT_SEEDS,
        bybit_book(BTC, 500, BIDS, ASKS, kind="snapshot"),
        naive_streams.bybit,
    ),
)


def assert_same(found: DecodedMessage, expected: Meaning, frame: bytes) -> None:
    assert found.kind == expected.kind, frame
    if found.kind == naive_streams.CONTROL:
        return
    assert found.symbol == expected.symbol, frame
    assert (found.first_sequence, found.last_sequence, found.previous_sequence) == expected.sequences, frame
    assert found.venue_utc_ns == expected.utc_ns, frame
    assert found.traits & ~naive_streams.PADDED == expected.traits, frame
    if expected.traits & naive_streams.CHECKSUM:
        assert found.checksum == expected.checksum, frame
    assert found.next_funding_utc_ns == expected.funding_ns, frame
    assert [v for _, v in expected.values] == [] or len(found.values) == len(expected.values), frame
    assert all(same_decimal(a, b) for a, (_, b) in zip(found.values, expected.values, strict=True)), frame
    for mine, theirs in ((found.bids, expected.bids), (found.asks, expected.asks)):
        assert len(mine) == len(theirs), frame
        for a, b in zip(mine, theirs, strict=True):
            assert same_decimal(a[:2], b[:2]) and same_decimal(a[2:], b[2:]), frame
    assert len(found.items) == len(expected.items), frame
    for item, other in zip(found.items, expected.items, strict=True):
        assert (item.symbol, item.side, item.flags) == (other.symbol, other.side, other.flags), frame
        assert item.venue_utc_ns == other.utc_ns, frame
        assert same_decimal(item.price, other.price) and same_decimal(item.quantity, other.quantity), frame


def agree(decoder: Decoder, decode: Callable[[bytes], Meaning], frame: bytes) -> bool:
    """Whether the frame was accepted; raises where the two decoders see different things."""
    try:
        found = decoder.decode_message(frame)
    except DecodeError as error:
        assert str(error)
        return False
    try:
        expected = decode(frame)
    except Refused as error:
        raise AssertionError(f"accepted, but {error}: {frame!r}") from error
    assert_same(found, expected, frame)
    return True


CASES = [(subject, seed) for subject in SUBJECTS for seed in subject.seeds]


@pytest.mark.parametrize(
    ("subject", "frame"), CASES, ids=[f"{s.venue}-{i}" for i, (s, _) in enumerate(CASES)]
)
def test_undamaged_frames_are_accepted(subject: Subject, frame: bytes) -> None:
    assert agree(get_adapter(subject.venue).make_decoder(), subject.decode, frame)


def fuzz(subject: Subject, count: int, seed: int) -> None:
    rng = random.Random(seed)
    decoder = get_adapter(subject.venue).make_decoder()
    rig = StreamRig(subject.venue, (subject.symbol,))
    rig.session.on_frame(subject.whole, rig.now_ns)
    core = rig.core
    book = core.book(0)
    accepted = 0
    for _ in range(count):
        frame = mutate(rng, rng.choice(subject.seeds))
        is_good = agree(decoder, subject.decode, frame)
        accepted += is_good
        result = core.on_frame(frame, rig.now_ns)
        if not is_good:
            assert result == FrameResult.REJECTED, frame
            assert core.error
        if result in (FrameResult.APPLIED, FrameResult.CROSSED, FrameResult.CHECKSUM):
            core.apply_depth(0, subject.whole, rig.now_ns)  # the same book, at the same sequence
            assert core.book(0) == book
        else:
            assert core.book(0) == book, frame
    assert count // 50 < accepted < count


@pytest.mark.parametrize("subject", SUBJECTS, ids=[s.venue for s in SUBJECTS])
def test_damaged_frames_are_refused_or_mean_the_same(subject: Subject) -> None:
    fuzz(subject, 3_000, 1)


@pytest.mark.parametrize("subject", SUBJECTS, ids=[s.venue for s in SUBJECTS])
def test_every_truncation_is_refused(subject: Subject) -> None:
    decoder = get_adapter(subject.venue).make_decoder()
    for frame in subject.seeds:
        stripped = frame.rstrip()
        for stop in range(len(stripped)):
            with pytest.raises(DecodeError):
                decoder.decode_message(stripped[:stop])


def test_a_flipped_digit_of_a_level_breaks_the_checksum() -> None:
    rng = random.Random(5)
    for _ in range(50):
        rig = StreamRig("okx", (SWAP,))
        message = orjson.loads(CHECKED)
        side = message["data"][0][rng.choice(("bids", "asks"))]
        level = side[rng.randrange(25)]
        level[1] = f"{float(level[1]) + 1:g}"
        rig.frame(orjson.dumps(message))
        assert rig.state(SWAP) != "LIVE"
