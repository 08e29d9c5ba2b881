"""Orders in the synthetic market: queues, published books, determinism; no sockets, virtual time."""

from __future__ import annotations

import asyncio
import itertools
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.tools.test_venue_capture import recorded, write
from tests.tools.venue_kit import NaiveBook
from tools.venues.binance_usdm import BinanceUsdm
from tools.venues.bybit import Bybit
from tools.venues.capture_source import CaptureSource
from tools.venues.fanout import Outbox
from tools.venues.faults_frames import split_frames
from tools.venues.okx import Okx
from tools.venues.protocol import Flush, VenueProtocol
from tools.venues.synthetic_source import SyntheticSettings, SyntheticSource
from tools.venues.trading.accounts import Account
from tools.venues.trading.exchange import Exchange, VenueRules
from tools.venues.trading.latency import DelayQueue, Line, parse_latency
from tools.venues.trading.market_ports import RecordedPort, SyntheticPort
from tools.venues.trading.terms import BUY, E8, SELL, Listing, Terms, VenueOrder

START_MS = 1_700_000_000_000


class Place:
    """A synthetic venue and its exchange, advanced by hand."""

    def __init__(self, seed: int, protocol: VenueProtocol | None = None) -> None:
        protocol = protocol or BinanceUsdm()
        settings = SyntheticSettings(instruments=1, rate_per_s=20_000.0, seed=seed, start_ms=START_MS)
        self.source = protocol.source = SyntheticSource(settings, protocol)
        self.port = SyntheticPort(self.source)
        listings = [Listing(0, self.source.all_instruments()[0], 20_000, 50_000, 0)]
        accounts = [Account(name, number, {"USDT": 10**9 * E8}, 20) for number, name in enumerate(("a", "b"))]
        self.exchange = Exchange(listings, accounts, self.port, VenueRules(), self.source.clock_ms)
        self.listing = listings[0]
        self.now_ns = 0

    def advance(self, ns: int) -> None:
        self.now_ns += ns
        self.source.market.advance(self.now_ns)
        self.exchange.on_market(self.now_ns)

    def best(self) -> tuple[int, int]:
        _, _, bid, ask, _ = self.source.market.state(0)
        return bid, ask

    def act(self, chance: random.Random) -> None:
        """One random command of one of the accounts."""
        bid, ask = self.best()
        account = chance.choice(["a", "b"])
        alive = list(self.exchange.accounts[account].open_orders.values())
        side = chance.choice([BUY, SELL])
        ticks = chance.choice([-3, -1, 0, 0, 0, 1])
        price = (
            bid + ticks * self.listing.tick_units if side == BUY else ask - ticks * self.listing.tick_units
        )
        units = chance.randrange(1, 200) * self.listing.lot_units
        what = chance.random()
        if what < 0.25 and alive:
            self.exchange.cancel(chance.choice(alive), self.now_ns)
        elif what < 0.35 and alive:
            self.exchange.amend(chance.choice(alive), price, units, self.now_ns)
        else:
            terms = Terms(self.listing.key, side, units, price, self_trade=chance.randrange(1, 5))
            self.exchange.place(account, terms, self.now_ns)

    def levels_of_all(self) -> dict[tuple[bool, int], int]:
        """What the market shows beyond the synthetic flow."""
        snapshot = orjson.loads(self.source.market.snapshot(0, 2048))
        foreign = self.source.market.levels(0, 2048)
        found: dict[tuple[bool, int], int] = {}
        for is_bid, name, levels in ((True, "bids", foreign[0]), (False, "asks", foreign[1])):
            alone = dict(levels)
            for price_text, quantity_text, *_ in snapshot[name]:
                price = int(Decimal(price_text).scaleb(self.listing.price_decimals))
                units = int(Decimal(quantity_text).scaleb(self.listing.quantity_decimals)) - alone.get(
                    price, 0
                )
                if units:
                    found[is_bid, price] = units
        return found


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_book_shows_exactly_what_rests_and_followers_of_the_stream_see_it(seed: int) -> None:
    place, chance = Place(seed), random.Random(seed)
    stream = place.source.streams["btcusdt@depth@0ms"]
    outbox = Outbox(False)
    stream.add(outbox)
    before = orjson.loads(place.source.market.snapshot(0, 2048))
    for _ in range(600):
        place.act(chance)
        place.advance(chance.randrange(0, 3_000_000))
    wanted: dict[tuple[bool, int], int] = {}
    orders = [one for one in place.exchange.orders.values() if one.is_open]
    for one in orders:
        at = (one.terms.side == BUY, one.price_units)
        wanted[at] = wanted.get(at, 0) + one.leaves
    assert place.levels_of_all() == wanted
    assert orders
    fills = [fill for account in place.exchange.accounts.values() for fill in account.fills]
    assert {fill.is_maker for fill in fills} == {True, False}
    book, after = NaiveBook(), orjson.loads(place.source.market.snapshot(0, 2048))
    book.follow(before, [orjson.loads(frame) for frame in split_frames(outbox.take())])
    assert book.top(2048) == (after["bids"], after["asks"])
    bid, ask = place.best()
    assert bid < ask


def test_numbers_of_depth_frames_go_forward_whatever_our_orders_do() -> None:
    place, chance = Place(4), random.Random(4)
    outbox = Outbox(False)
    place.source.streams["btcusdt@depth@0ms"].add(outbox)
    index, key = 0, place.listing.key
    for _ in range(400):
        bid, ask = place.best()
        # all that the best queues hold for a moment is ours, and cancels of the flow find nothing there
        foreign = place.source.market.levels(index, 1)
        side = chance.choice([BUY, SELL])
        price, there = foreign[1][0] if side == BUY else foreign[0][0]
        place.exchange.place("a", Terms(key, side, there, price), place.now_ns)
        joins = Terms(key, side, 50 * place.listing.lot_units, bid if side == BUY else ask)
        place.exchange.place("b", joins, place.now_ns)
        # a trade with a queue that is gone, as between two batches
        place.port.take(key, True, bid, place.listing.lot_units)
        place.advance(1_000_000)
    frames = [orjson.loads(frame) for frame in split_frames(outbox.take())]
    assert len(frames) > 1000
    assert all(frame["pu"] < frame["U"] <= frame["u"] and (frame["b"] or frame["a"]) for frame in frames)
    assert all(one["u"] == two["pu"] for one, two in itertools.pairwise(frames))


@pytest.mark.parametrize("name", ["books:BTC-USDT-SWAP", "linear/orderbook.50.BTCUSDT"])
def test_numbers_of_the_best_levels_go_forward_whatever_our_orders_do(name: str) -> None:
    is_okx = name.startswith("books")
    place, chance = Place(4, Okx() if is_okx else Bybit("bybit_linear")), random.Random(4)
    outbox = Outbox(False)
    place.source.streams[name].add(outbox)
    place.source.welcome(name)
    for _ in range(600):
        place.act(chance)
        place.port.take(place.listing.key, True, place.best()[0], place.listing.lot_units)
        place.advance(chance.randrange(0, 30_000_000))
    rows = [orjson.loads(frame) for frame in split_frames(outbox.take())]
    assert len(rows) > 50
    if is_okx:
        data = [row["data"][0] for row in rows]
        assert all(one["prevSeqId"] < one["seqId"] for one in data)
        assert all(one["seqId"] == two["prevSeqId"] for one, two in itertools.pairwise(data))
    else:
        data = [row["data"] for row in rows]
        assert all(
            two["u"] == one["u"] + 1 and two["seq"] > one["seq"] for one, two in itertools.pairwise(data)
        )


def test_a_maker_is_filled_only_by_what_traded_at_its_price_or_through_it() -> None:
    place = Place(9)
    stream = place.source.streams["btcusdt@aggTrade"]
    outbox = Outbox(False)
    stream.add(outbox)
    bid, ask = place.best()
    orders = []
    for side, price in ((BUY, bid), (SELL, ask)):
        order = place.exchange.place("a", Terms(place.listing.key, side, 500, price), 0)
        assert isinstance(order, VenueOrder)
        orders.append(order)
    for _ in range(400):
        place.advance(1_000_000)
    trades = [orjson.loads(frame) for frame in split_frames(outbox.take())]
    assert any(order.filled for order in orders)
    for order in orders:
        reached = sum(
            round(float(one["q"]) * 1000)
            for one in trades
            if one["m"] == (order.terms.side == BUY)
            and (
                round(float(one["p"]) * 100) <= order.price_units
                if order.terms.side == BUY
                else round(float(one["p"]) * 100) >= order.price_units
            )
        )
        assert order.filled <= reached


def test_without_orders_the_market_is_the_same_whether_watched_or_not() -> None:
    plain, watched = Place(5), Place(5)
    watched.port.watch(watched.listing.key, True)
    for place in (plain, watched):
        place.advance(200_000_000)
    assert plain.source.market.snapshot(0, 2048) == watched.source.market.snapshot(0, 2048)
    assert plain.port.trades() == []


@pytest.mark.parametrize("protocol", [BinanceUsdm, Okx])
def test_the_same_seed_latencies_and_commands_make_the_same_fills(protocol: type[Any]) -> None:
    def play() -> list[tuple[int, ...]]:
        place, chance = Place(7, protocol()), random.Random(7)
        entry, line, queue = parse_latency("lognormal:2ms:0.8", "7"), Line(), DelayQueue()
        for _ in range(300):
            queue.send(line, entry, place.now_ns, lambda _due: place.act(chance))
            place.advance(1_000_000)
            queue.run(place.now_ns)
        return [
            (fill.trade_id, fill.side, fill.price_units, fill.units, fill.fee_e8, fill.utc_ms)
            for account in place.exchange.accounts.values()
            for fill in account.fills
        ]

    first = play()
    assert len(first) > 20
    assert first == play()


class Nobody(Flush):
    """No clients."""

    def send(self) -> None:
        pass

    async def wait_writable(self) -> None:
        pass

    async def restart(self, reason: str) -> None:
        raise AssertionError(reason)


def test_recorded_trades_fill_what_rests_and_recorded_books_are_what_takers_find(tmp_path: Path) -> None:
    protocol = BinanceUsdm()
    source = protocol.source = CaptureSource(write(tmp_path / "capture.txt", recorded(400)), protocol)
    port = RecordedPort(source, protocol)
    listing = Listing(0, source.instruments()[0], 0, 0, 0)
    exchange = Exchange(
        [listing], [Account("a", 0, {"USDT": 10**6 * E8}, 20)], port, VenueRules(), source.clock_ms
    )
    orders: list[VenueOrder] = []
    filled: list[int] = []

    def on_batch() -> bool:
        exchange.on_market(len(filled))
        if not orders:
            assert port.levels(listing.key, 1).asks[0] == (20_005, 300)
            for side, price, units in ((BUY, 15_000, 10_000), (BUY, 20_005, 500)):
                order = exchange.place("a", Terms(listing.key, side, units, price), 0)
                assert isinstance(order, VenueOrder)
                orders.append(order)
        filled.append(orders[0].filled)
        return False

    source.on_batch = on_batch
    asyncio.run(source.play(Nobody()))
    resting, taker = orders
    # the first proven book offers 3 at 2.0005 and nothing below
    assert [(fill.price_units, fill.units) for fill in taker.fills[:1]] == [(20_005, 300)]
    assert filled == sorted(filled)
    assert 0 < resting.filled <= 400 * 100
    assert resting.filled % 100 == 0
    assert all(fill.is_maker and fill.price_units == 15_000 for fill in resting.fills)
