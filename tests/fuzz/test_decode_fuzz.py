"""Damaged frames: never a crash, never accepted with another meaning than an independent decoder sees."""

from __future__ import annotations

import random

import pytest

from feeds.core import FrameResult
from feeds.decoder import DecodedMessage
from feeds.errors import DecodeError
from feeds.venues.binance_usdm.decode import BinanceUsdmDecoder
from tests.kit import naive_decode
from tests.kit.feed_kit import FeedBench, depth_frame, instrument, snapshot_body, trade_frame
from tests.kit.naive_decode import Decoded, Refused, same_decimal

BIDS = [(6_180_020 - 10 * k, 7 * k) for k in range(12)]
ASKS = [(6_180_030 + 10 * k, 11 * k) for k in range(9)]
SPACED = (
    b' { "data" : { "b" : [ [ "1.50" , "2" ] ] , "a" : [ ] , "u" : 9 , "pu":7, "U":8, "s":"BTCUSDT","E":1,'
    b'"e":"depthUpdate"},"stream":"x","more":{"k":[1,2.5e3,{"n":null}]}}\n'
)
AGGREGATE = (
    b'{"e":"aggTrade","E":1626992741575,"a":16599292,"s":"CTKUSDT","p":"1.01100","q":"10","f":1,"l":2,"T":1,'
    b'"m":false}'
)
TICKER = (
    b'{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":5123107839020,"s":"BTCUSDT","b":"61800.20",'
    b'"B":"2.507","a":"61800.30","A":"2.510","T":1723161256313,"E":1723161256313}}'
)
MARK = (
    b'{"e":"markPriceUpdate","E":1562305380000,"s":"BTCUSDT","p":"61794.15000000","i":"61784.62659091",'
    b'"P":"61784.25641265","r":"-0.00038167","T":1562306400000}'
)
SEEDS = (
    depth_frame(11, 15, 10, BIDS, ASKS),
    depth_frame(16, 16, 15, [], ASKS[:1]),
    SPACED,
    trade_frame(5266583935, "61800.30", "0.006", False),
    trade_frame(5266583936, "0", "0", True, "NA"),
    AGGREGATE,
    TICKER,
    MARK,
    b'{"result":null,"id":1}',
    b'{"error":{"code":2,"msg":"Invalid request: \\u00e9 \xc3\xa9"},"id":7}',
    b'{"e":"serverShutdown","E":1770123456789}',
)
BODY = snapshot_body(5123107900000, BIDS[1:], ASKS[1:])
TOKENS = (
    b"1e5",
    b"-1",
    b'"-1"',
    b'""',
    b'"1."',
    b'".5"',
    b'"1e5"',
    b"null",
    b"true",
    b"false",
    b"[]",
    b"{}",
    b"[[]]",
    b"0",
    b"01",
    b"1.0",
    b"9" * 19,
    b'"' + b"9" * 30 + b'"',
    b'"0.' + b"0" * 30 + b'1"',
    b'"00012.500"',
    b'"1234567"',
    b'"12345678"',
    b'"123456.7"',
    b'"1234567.8"',
    b'"12345678.9"',
    b'"61800.20"',
    b'"0.12345678901"',
    b'"1234567.12345678"',
    b'"123456789012345"',
    b'"1234567890123456.5"',
    b'"\\u0031"',
    b"NaN",
    b"Infinity",
    b'"\xff"',
    b'"\xed\xa0\x80"',
    b"\x00",
    b" ",
    b"\t",
    b",",
    b":",
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b"\\",
    b'"e":"trade",',
    b'"s":"BTCUSDT",',
    b'"b":[["1","1"]],',
    b'"zz":1,"zz":2,',
    b"/**/",
    b"'",
    b"\xef\xbb\xbf",
)


def mutate(rng: random.Random, frame: bytes) -> bytes:
    """One to three random changes."""
    data = bytearray(frame)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(data) + 1)
        stop = min(len(data), at + rng.choice((1, 1, 2, 5, 20)))
        match rng.randrange(8):
            case 0:
                if at < len(data):
                    data[at] ^= 1 << rng.randrange(8)
            case 1:
                del data[at:stop]
            case 2:
                data[at:at] = rng.choice(TOKENS)
            case 3:
                data[at:stop] = rng.choice(TOKENS)
            case 4:
                data[at:at] = data[at:stop]
            case 5:
                del data[at:]
            case 6:
                other = rng.choice(SEEDS)
                data[at:stop] = other[rng.randrange(len(other)) :][: rng.randrange(40)]
            case _:
                # A whole value in place of another: the likeliest way to something valid.
                colons = [i for i, b in enumerate(data) if b == 0x3A]
                if colons:
                    begin = rng.choice(colons) + 1
                    end = begin
                    while end < len(data) and data[end] not in b",}":
                        end += 1
                    data[begin:end] = rng.choice(TOKENS)
    return bytes(data)


def assert_same(found: DecodedMessage, expected: Decoded, frame: bytes) -> None:
    assert found.kind == expected.kind, frame
    if found.kind == 5:
        return
    assert found.symbol == expected.symbol, frame
    assert (found.first_sequence, found.last_sequence, found.previous_sequence) == expected.sequences, frame
    assert found.venue_utc_ns == expected.venue_utc_ns, frame
    if found.kind == 2:
        assert (found.trade_id, found.side, found.flags) == (
            expected.trade_id,
            expected.side,
            expected.flags,
        ), frame
    if found.kind == 4:
        assert found.next_funding_utc_ns == expected.next_funding_utc_ns, frame
    assert len(found.values) == len(expected.values), frame
    assert all(map(same_decimal, found.values, expected.values)), frame
    for mine, theirs in ((found.bids, expected.bids), (found.asks, expected.asks)):
        assert len(mine) == len(theirs), frame
        for a, b in zip(mine, theirs, strict=True):
            assert same_decimal(a[:2], b[:2]) and same_decimal(a[2:], b[2:]), frame


def agree(decoder: BinanceUsdmDecoder, frame: bytes) -> bool:
    """Whether the frame was accepted; raises where the two decoders see different things."""
    try:
        found = decoder.decode_message(frame)
    except DecodeError as error:
        assert str(error)
        return False
    try:
        expected = naive_decode.decode(frame)
    except Refused as error:
        raise AssertionError(f"accepted, but {error}: {frame!r}") from error
    assert_same(found, expected, frame)
    return True


@pytest.mark.parametrize("frame", SEEDS, ids=range(len(SEEDS)))
def test_undamaged_frames_are_accepted(frame: bytes) -> None:
    assert agree(BinanceUsdmDecoder(), frame)


def fuzz(count: int, seed: int) -> None:
    rng = random.Random(seed)
    decoder = BinanceUsdmDecoder()
    bench = FeedBench(instrument())
    bench.go_live(snapshot_body(10, BIDS, ASKS))
    accepted = 0
    book = bench.core.book(1)
    for _ in range(count):
        frame = mutate(rng, rng.choice(SEEDS))
        is_good = agree(decoder, frame)
        accepted += is_good
        result = bench.core.on_frame(frame, 1)
        if not is_good:
            assert result == FrameResult.REJECTED, frame
            assert bench.core.error
        if result != FrameResult.APPLIED and result != FrameResult.CROSSED:
            assert bench.core.book(1) == book, frame
        else:
            bench.go_live(snapshot_body(10, BIDS, ASKS))
    assert count // 50 < accepted < count
    fuzz_snapshots(rng, decoder, bench, count // 5)


def fuzz_snapshots(rng: random.Random, decoder: BinanceUsdmDecoder, bench: FeedBench, count: int) -> None:
    book = bench.core.book(1)
    for _ in range(count):
        body = mutate(rng, BODY)
        try:
            found = decoder.decode_snapshot_message(body)
        except DecodeError:
            with pytest.raises(DecodeError):
                bench.core.load_snapshot(1, body, 1)
            assert bench.core.book(1) == book
            continue
        assert_same(found, naive_decode.decode_snapshot(body), body)


def test_damaged_frames_are_refused_or_mean_the_same() -> None:
    fuzz(5_000, 1)


def test_every_truncation_is_refused() -> None:
    decoder = BinanceUsdmDecoder()
    for frame in SEEDS:
        stripped = frame.rstrip()
        for stop in range(len(stripped)):
            with pytest.raises(DecodeError):
                decoder.decode_message(stripped[:stop])
