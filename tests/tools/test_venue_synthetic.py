"""The synthetic market: deterministic, consistent with itself, and shaped like a market."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from itertools import pairwise
from typing import Any

import orjson
import pytest

from tests.tools.venue_kit import NaiveBook
from tools.venues.binance_usdm import BinanceUsdm
from tools.venues.errors import SettingsError
from tools.venues.fanout import Outbox
from tools.venues.synthetic_source import SyntheticSettings, SyntheticSource


def frames_of(data: bytes) -> list[bytes]:
    """Split server websocket frames (unmasked, final) into their payloads."""
    found, at = [], 0
    while at < len(data):
        assert data[at] == 0x81
        size, at = data[at + 1], at + 2
        if size == 126:
            size, at = int.from_bytes(data[at : at + 2], "big"), at + 2
        elif size == 127:
            size, at = int.from_bytes(data[at : at + 8], "big"), at + 8
        found.append(data[at : at + size])
        at += size
    return found


def make_source(
    count: int = 3, seed: int = 7, rate: float = 1000.0, start_ms: int = 1_700_000_000_000
) -> SyntheticSource:
    return SyntheticSource(SyntheticSettings(count, rate, seed, start_ms=start_ms), BinanceUsdm())


def play(source: SyntheticSource, symbol: str, events: int, *suffixes: str) -> list[dict[str, Any]]:
    box = Outbox(False)
    for suffix in suffixes or ("depth@0ms", "bookTicker", "aggTrade", "trade"):
        source.streams[f"{symbol.lower()}@{suffix}"].add(box)
    source.market.generate(source.symbols.index(symbol), events)
    return [orjson.loads(frame) for frame in frames_of(box.take())]


def digest(source: SyntheticSource, symbol: str, events: int) -> str:
    box = Outbox(True)
    for suffix in ("depth@0ms", "bookTicker", "aggTrade"):
        source.streams[f"{symbol.lower()}@{suffix}"].add(box)
    source.market.generate(source.symbols.index(symbol), events)
    return hashlib.sha256(box.take()).hexdigest()


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert digest(make_source(), "SYM000USDT", 5000) == digest(make_source(), "SYM000USDT", 5000)


def test_another_seed_or_count_gives_other_bytes() -> None:
    first = digest(make_source(), "BTCUSDT", 2000)
    assert first != digest(make_source(seed=8), "BTCUSDT", 2000)
    assert first != digest(make_source(count=4), "BTCUSDT", 2000)


def test_bytes_of_a_symbol_do_not_depend_on_what_others_do() -> None:
    busy = make_source()
    busy.market.generate(1, 3000)
    assert digest(busy, "BTCUSDT", 2000) == digest(make_source(), "BTCUSDT", 2000)


def test_only_times_depend_on_the_start_time_and_the_rate() -> None:
    def without_times(source: SyntheticSource) -> list[dict[str, Any]]:
        box = Outbox(False)
        source.streams["btcusdt@depth@0ms"].add(box)
        while source.market.state(0)[0] < 500:
            source.market.advance(source.market.clock + 50_000_000)
        messages = [orjson.loads(frame) for frame in frames_of(box.take())][:500]
        return [{key: value for key, value in message.items() if key not in "ET"} for message in messages]

    assert without_times(make_source()) == without_times(make_source(rate=9000.0, start_ms=1_800_000_000_000))


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT", "SYM000USDT"])
def test_snapshot_and_diffs_rebuild_the_own_book(symbol: str) -> None:
    source = make_source()
    index = source.symbols.index(symbol)
    book = NaiveBook()
    snapshot = orjson.loads(source.market.snapshot(index, 1000))
    messages = play(source, symbol, 40_000, "depth@0ms")
    assert book.follow(snapshot, messages) == 40_000
    final = orjson.loads(source.market.snapshot(index, 500))
    assert (final["bids"], final["asks"]) == book.top(500)
    assert final["lastUpdateId"] == book.last


def test_a_slow_stream_chains_and_ends_in_the_same_book() -> None:
    source = make_source(count=2, rate=20_000.0)
    box = Outbox(False)
    source.streams["ethusdt@depth@100ms"].add(box)
    market = source.market
    for step in range(1, 200):
        market.advance(step * 10_000_000)
        if step == 21:
            snapshot = orjson.loads(market.snapshot(1, 1000))
    market.flush()
    diffs = [orjson.loads(frame) for frame in frames_of(box.take())]
    book = NaiveBook()
    applied = book.follow(snapshot, diffs)
    assert 15 <= applied <= 20
    final = orjson.loads(market.snapshot(1, 500))
    assert (final["bids"], final["asks"]) == book.top(500)
    assert max(len(diff["b"]) + len(diff["a"]) for diff in diffs) > 10


def test_partial_streams_say_the_best_levels_whole_at_their_interval() -> None:
    source = make_source(count=2, rate=2_000.0)
    boxes = {suffix: Outbox(False) for suffix in ("depth5@100ms", "depth10", "depth20@500ms")}
    for suffix, box in boxes.items():
        source.resolve(f"btcusdt@{suffix}").add(box)  # type: ignore[union-attr]
    partials = source._partials
    market = source.market
    for step in range(1, 200):
        market.advance(step * 10_000_000)
        if partials.send(lambda _: False):
            now = orjson.loads(market.snapshot(0, 5))
    said = {suffix: [orjson.loads(frame) for frame in frames_of(box.take())] for suffix, box in boxes.items()}
    assert {suffix: len(frames) for suffix, frames in said.items()} == {
        "depth5@100ms": 20, "depth10": 8, "depth20@500ms": 4,
    }  # fmt: skip
    for levels, frames in zip((5, 10, 20), said.values(), strict=True):
        assert all(len(frame["b"]) == len(frame["a"]) == levels for frame in frames)
        assert all(one["u"] == two["pu"] for one, two in pairwise(frames))
    last = said["depth5@100ms"][-1]
    assert (last["b"], last["a"], last["u"]) == (now["bids"], now["asks"], now["lastUpdateId"])
    market.advance(3_000_000_000)
    assert not partials.send(lambda key: key == "BTCUSDT")  # it trades no more


def test_book_ticker_is_the_rebuilt_best_at_the_same_update_id() -> None:
    source = make_source()
    book = NaiveBook()
    book.load(orjson.loads(source.market.snapshot(0, 1000)))
    tickers: dict[int, dict[str, Any]] = {}
    compared = 0
    for message in play(source, "BTCUSDT", 3000, "depth@0ms", "bookTicker"):
        if message["e"] == "bookTicker":
            tickers[message["u"]] = message
            continue
        book.apply(message)
        ticker = tickers.get(message["u"])
        if ticker is not None:
            bids, asks = book.top(1)
            assert [[ticker["b"], ticker["B"]], [ticker["a"], ticker["A"]]] == [bids[0], asks[0]]
            compared += 1
    assert compared == len(tickers) > 500


def test_the_market_is_shaped_like_one() -> None:
    source = make_source()
    messages = play(source, "BTCUSDT", 60_000, "bookTicker", "aggTrade", "trade")
    tickers = [m for m in messages if m["e"] == "bookTicker"]
    spreads = [round((float(m["a"]) - float(m["b"])) / 0.1) for m in tickers]
    assert min(spreads) == 1
    assert spreads.count(1) > 0.7 * len(spreads)
    assert len({m["b"] for m in tickers}) > 20
    aggregates = [m for m in messages if m["e"] == "aggTrade"]
    trades = [m for m in messages if m["e"] == "trade"]
    fills = {m["t"]: (m["p"], Decimal(m["q"])) for m in trades}
    assert len(fills) > len(aggregates)
    for one in aggregates:
        parts = [fills.pop(number) for number in range(one["f"], one["l"] + 1)]
        assert {price for price, _ in parts} == {one["p"]}
        assert sum(quantity for _, quantity in parts) == Decimal(one["q"])
    assert not fills
    ids = [m["a"] for m in aggregates]
    assert ids == sorted(set(ids))
    assert {m["m"] for m in aggregates} == {True, False}


def test_regimes_switch_between_calm_and_burst() -> None:
    source = make_source(count=1)
    seen = set()
    for _ in range(60):
        source.market.generate(0, 500)
        seen.add(source.market.state(0)[4])
    assert seen == {True, False}


def test_the_rate_is_met_by_market_time() -> None:
    source = make_source(count=100, rate=10_000.0)
    source.market.advance(5_000_000_000)
    assert 0.95 < source.market.updates / 50_000 < 1.05


def test_an_update_limit_ends_the_market() -> None:
    source = make_source(rate=10_000.0)
    source.market.advance(60_000_000_000, 1234)
    assert 1234 <= source.market.updates < 1244


def test_mark_prices_come_at_their_interval() -> None:
    source = make_source(count=1)
    box = Outbox(False)
    source.streams["btcusdt@markPrice@1s"].add(box)
    for step in range(1, 101):
        source.market.advance(step * 50_000_000)
    marks = [orjson.loads(frame) for frame in frames_of(box.take())]
    assert len(marks) == 4
    assert marks[0]["e"] == "markPriceUpdate"
    assert 60_000 < float(marks[0]["p"]) < 64_000


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        (SyntheticSettings(instruments=0), "instruments"),
        (SyntheticSettings(instruments=5000), "instruments"),
        (SyntheticSettings(rate_per_s=-1.0), "rate"),
        (SyntheticSettings(batch_s=0.0001), "batch"),
    ],
)
def test_impossible_settings_are_refused(settings: SyntheticSettings, word: str) -> None:
    with pytest.raises(SettingsError, match=word):
        SyntheticSource(settings, BinanceUsdm())
