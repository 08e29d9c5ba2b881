"""A small seeded market in the venue's frames, and a whole run around it on the virtual clock."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from actors.market_data import MarketData
from actors.order_gateway import OrderGateway
from actors.roles import ROLES, make_actor
from actors.runtime.actor import Actor
from actors.runtime.context import Context
from actors.runtime.segments import Sizes
from actors.runtime.spec import ActorSpec, FeedRef, WorkerSpec
from actors.runtime.virtual import VirtualWorld
from feeds.venues import get_adapter
from shm.instruments import Instrument
from tests.kit.feed_kit import depth_frame, snapshot_body

VENUE = "binance_usdm"
START_NS = 1_700_000_000_000_000_000
STEP_NS = 10_000_000
FEED, TRADE = 1, 2
LEVELS = 20
TICK = 10


class Market:
    """One symbol: a book around a walking mid; each step changes levels and maybe trades at the touch."""

    def __init__(self, symbol: str, seed: int, mid: int = 6_000_000) -> None:
        self.symbol = symbol
        self._random = random.Random(f"{seed}/{symbol}")
        self._mid = mid
        self._sequence = 1000
        self._trade_id = 0
        self._bids: dict[int, int] = {}
        self._asks: dict[int, int] = {}
        self._fill()

    def _fill(self) -> tuple[dict[int, int], dict[int, int]]:
        bids = {self._mid - TICK * (i + 1): self._random.randint(1, 40) for i in range(LEVELS)}
        asks = {self._mid + TICK * (i + 1): self._random.randint(1, 40) for i in range(LEVELS)}
        gone_bids = {price: 0 for price in self._bids if price not in bids}
        gone_asks = {price: 0 for price in self._asks if price not in asks}
        self._bids, self._asks = bids, asks
        return {**gone_bids, **bids}, {**gone_asks, **asks}

    def snapshot(self) -> bytes:
        return snapshot_body(
            self._sequence, sorted(self._bids.items(), reverse=True), sorted(self._asks.items())
        )

    def depth(self, *, skip: int = 0) -> bytes:
        """The next diff; `skip` sequences are left out before it (a gap)."""
        self._mid += TICK * self._random.choice((-2, -1, 0, 0, 0, 1, 2))
        bids, asks = self._fill()
        previous = self._sequence + skip
        self._sequence = previous + 3
        changes = (list(bids.items()), list(asks.items()))
        return depth_frame(previous + 1, self._sequence, previous, *changes, symbol=self.symbol)

    def trade(self) -> bytes:
        """A trade at the touch, sometimes through it."""
        is_sell = self._random.random() < 0.5
        side = -1 if is_sell else 1
        price = self._mid + side * TICK * self._random.choice((1, 1, 2))
        quantity = self._random.randint(1, 60)
        self._trade_id += 1
        text = f"{price // 100}.{price % 100:02d}"
        return (
            f'{{"stream":"{self.symbol.lower()}@trade","data":{{"e":"trade","E":1700000000000,"T":1700000000000,'
            f'"s":"{self.symbol}","t":{self._trade_id},"p":"{text}","q":"0.{quantity:03d}","X":"MARKET",'
            f'"m":{"true" if is_sell else "false"}}}}}'
        ).encode()


def rows(symbols: Iterable[str]) -> list[Instrument]:
    venue_id = get_adapter(VENUE).venue_id
    return [
        Instrument(venue_id=venue_id, price_exponent=2, quantity_exponent=3, tick_size=TICK, lot_size=1,
                   symbol=symbol, canonical=f"{symbol[:-4]}-USDT-PERP", slab=FEED, priority=1, settle="USDT")
        for symbol in symbols
    ]  # fmt: skip


MAKER: dict[str, Any] = {
    "quantity": "0.005",
    "half_spread_ticks": 1,
    "max_inventory": 4,
    "min_quote_life_ns": 20_000_000,
}


class Run:
    """Feed worker, trade worker and a market; strategies by class, without entries in the registry."""

    def __init__(
        self,
        strategies: Mapping[str, type[Actor] | Mapping[str, Any]],
        *,
        symbols: Iterable[str] = ("AAAUSDT", "BBBUSDT"),
        seed: int = 1,
        gateway: Mapping[str, Any] | None = None,
        state_dir: str = "",
        operator: Iterable[dict[str, Any]] = (),
    ) -> None:
        self.markets = {symbol: Market(symbol, seed) for symbol in symbols}
        self.messages: list[dict[str, Any]] = []
        self._classes = {name: s for name, s in strategies.items() if isinstance(s, type)}
        actors = [ActorSpec(2, "order_gateway", "gateway", dict(gateway or {}))]
        for number, (name, given) in enumerate(strategies.items(), 3):
            role = name if isinstance(given, type) else "market_maker"
            actors.append(ActorSpec(number, role, name, {} if isinstance(given, type) else dict(given)))
        self.common: dict[str, Any] = {
            "instance": "test", "epoch": 7, "seed": seed, "feeds": [FeedRef(FEED, [1])], "gateways": [TRADE],
            "strategies": [TRADE], "instrument_capacity": 16, "state_dir": state_dir,
        }  # fmt: skip
        feed = {"venue": VENUE, "adapter": VENUE, "symbols": list(self.markets), "priority": 1}
        specs = [
            WorkerSpec(
                FEED,
                "feed",
                "feed",
                actors=[ActorSpec(1, "market_data", "feed", feed)],
                operator=list(operator),
                **self.common,
            ),
            WorkerSpec(TRADE, "trade", "trade", actors=actors, **self.common),
        ]
        self.world = VirtualWorld(specs, self.make, start_ns=START_NS, sizes=Sizes(instruments=16),
                                  notify=self.messages.append)  # fmt: skip
        for row in rows(self.markets):
            self.world.hosts[0].instruments.add(row)
        self.world.start()
        for market in self.markets.values():
            self._inject(market.depth())
            self.feed.inject_snapshot(market.symbol, market.snapshot())
        self.world.settle()

    def make(self, role: str, context: Context, settings: Mapping[str, Any]) -> Actor:
        cls = self._classes.get(role)
        if cls is not None and role not in ROLES:
            return cls(context, settings)
        return make_actor(role, context, settings)

    @property
    def feed(self) -> MarketData:
        actor = self.world.host(FEED).bindings[0].actor
        assert isinstance(actor, MarketData)
        return actor

    @property
    def gateway(self) -> OrderGateway:
        actor = self.world.host(TRADE).bindings[0].actor
        assert isinstance(actor, OrderGateway)
        return actor

    def actor(self, name: str) -> Actor:
        return next(b.actor for b in self.world.host(TRADE).bindings if b.spec.name == name)

    def counters(self) -> dict[str, int]:
        return self.world.host(TRADE).metrics.counters()

    def step(self, count: int = 1, *, trades: bool = True) -> None:
        """That many steps of 10 ms: a diff and maybe a trade per symbol."""
        for _ in range(count):
            self.world.advance(self.world.clock.virtual_ns + STEP_NS)
            for market in self.markets.values():
                self._inject(market.depth())
                if trades:
                    self._inject(market.trade())
            self.world.settle()

    def gap(self, symbol: str) -> None:
        """The next diff of a symbol does not follow the one before."""
        self._inject(self.markets[symbol].depth(skip=5))
        self.world.settle()

    def list(self, symbol: str, *, is_fed: bool = True, **terms: Any) -> int:
        """The venue lists an instrument: a row, and its book if the feed takes it up; returns its id."""
        (row,) = rows([symbol])
        instrument_id = self.world.hosts[0].instruments.add(replace(row, **terms))
        if is_fed:
            session, now = self.feed.session, self.world.clock.virtual_ns
            session.add_instrument(self.world.hosts[0].instruments.get(instrument_id), 0, now)
            market = self.markets[symbol] = Market(symbol, 1)
            self._inject(market.depth())
            session.on_snapshot(instrument_id, market.snapshot(), now)
            self.world.settle()
        return instrument_id

    def _inject(self, frame: bytes) -> None:
        self.feed.inject(frame, self.world.clock.virtual_ns)
