"""Streams of the best levels: the same for the same seed, and always what the book has."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools.test_venue_synthetic import frames_of
from tools.venues.bybit import Bybit
from tools.venues.fanout import Outbox
from tools.venues.okx import Okx
from tools.venues.protocol import VenueProtocol
from tools.venues.synthetic_source import SyntheticSettings, SyntheticSource

START_MS = 1_700_000_000_000


def make_source(venue: str, seed: int = 7, count: int = 4, every_change: bool = True) -> SyntheticSource:
    protocol: VenueProtocol = Okx() if venue == "okx" else Bybit(venue)
    protocol.every_change = every_change
    source = SyntheticSource(SyntheticSettings(count, 1000.0, seed, start_ms=START_MS), protocol)
    protocol.source = source
    return source


def digest(source: SyntheticSource, index: int, events: int) -> str:
    box = Outbox(False)
    key = source.symbols[index]
    for name, stream in source.streams.items():
        if name.endswith((f":{key}", f".{key.partition('/')[2]}")) and stream.kind != "tickers":
            stream.add(box)
            welcome = source.welcome(name)
            if welcome:
                box.append(welcome)
    source.market.generate(index, events)
    return hashlib.sha256(box.take()).hexdigest()


@pytest.mark.parametrize("venue", ["okx", "bybit_linear", "bybit_spot"])
def test_the_same_seed_gives_the_same_bytes_and_another_one_others(venue: str) -> None:
    first, again, other = (digest(make_source(venue, seed), 1, 3000) for seed in (7, 7, 8))
    assert first == again != other


@pytest.mark.parametrize("venue", ["okx", "bybit_linear", "bybit_spot"])
def test_bytes_of_an_instrument_do_not_depend_on_what_others_do(venue: str) -> None:
    busy = make_source(venue)
    busy.market.generate(0, 5000)
    assert digest(busy, 2, 2000) == digest(make_source(venue), 2, 2000)


def texts(levels: list[tuple[int, int]], decimals: int) -> list[Decimal]:
    return [Decimal(price).scaleb(-decimals) for price, _ in levels]


def follow(book: dict[str, dict[Decimal, Decimal]], message: dict[str, Any]) -> None:
    data = message["data"]
    whole = message.get("type") == "snapshot"
    for side in ("b", "a"):
        if whole:
            book[side].clear()
        for price, quantity in data[side]:
            if Decimal(quantity):
                book[side][Decimal(price)] = Decimal(quantity)
            else:
                del book[side][Decimal(price)]


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    steps=st.lists(st.tuples(st.integers(1, 300), st.sampled_from(["flush", "leave", "wait"])), max_size=12),
)
def test_any_pace_of_flushes_ends_in_the_best_levels_of_the_book(
    seed: int, steps: list[tuple[int, str]]
) -> None:
    source = make_source("bybit_linear", seed, 1, every_change=False)
    market, name = source.market_views(), "linear/orderbook.50.BTCUSDT"
    stream, box = source.streams[name], Outbox(False)
    book: dict[str, dict[Decimal, Decimal]] = {"b": {}, "a": {}}
    last = 0

    def take() -> None:
        nonlocal last
        for frame in frames_of(box.take()):
            message = orjson.loads(frame)
            number = message["data"]["u"]
            assert message["type"] == "snapshot" or number == last + 1
            last = number
            follow(book, message)

    stream.add(box)
    box.append(source.welcome(name) or b"")
    for events, then in steps:
        market.generate(0, events)
        if then == "flush":
            market.flush()
        elif then == "leave":
            take()
            stream.discard(box)
            market.advance(market.clock + 1_000_000)
            stream.add(box)
            box.append(source.welcome(name) or b"")
        take()
    market.flush()
    take()
    _, _, bids, asks = market.view_state(0, 1)
    assert sorted(book["b"], reverse=True) == texts(bids, 2)
    assert sorted(book["a"]) == texts(asks, 2)
    rest = orjson.loads(source.snapshot("linear/BTCUSDT", 50) or b"")["result"]
    assert [Decimal(price) for price, _ in rest["b"]] == texts(bids, 2)


def test_impossible_views_are_refused() -> None:
    market = make_source("okx").market_views()
    with pytest.raises(ValueError, match="set already"):
        market.set_views([(1, True, 10, 0)], 0)
    with pytest.raises(IndexError, match="no view 9"):
        market.welcome(0, 9)
    with pytest.raises(IndexError, match="no instrument"):
        market.welcome_kind(99, 11)
