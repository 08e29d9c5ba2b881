"""One perpetual at three venues on the virtual clock: their own frames, rings, gate and paper orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from actors.market_data import MarketData
from actors.order_gateway import OrderGateway
from actors.roles import make_actor
from actors.runtime.actor import Actor
from actors.runtime.context import Context
from actors.runtime.segments import Sizes
from actors.runtime.spec import ActorSpec, FeedRef, WorkerSpec
from actors.runtime.virtual import VirtualWorld
from actors.strategies.base import Strategy
from feeds.venues import get_adapter
from shm.instruments import Instrument
from shm.records import MarketRecord, ReportRecord
from tests.kit.feed_kit import depth_frame, snapshot_body
from tests.kit.stream_frames import bybit_book, okx_book

START_NS = 1_700_000_000_000_000_000
FEED, TRADE = 1, 2
CANONICAL = "BTC-USDT-PERP"
BINANCE, OKX, BYBIT = 0, 1, 2
VENUES = ("binance_usdm", "okx", "bybit_linear")
SYMBOLS = ("BTCUSDT", "BTC-USDT-SWAP", "BTCUSDT")
Levels = Sequence[tuple[int, int]]


def rows(**changes: Any) -> list[Instrument]:
    """Instruments 0, 1, 2: coins of a thousandth, contracts of a hundredth, coins of a thousandth."""
    terms: list[dict[str, Any]] = [
        {"price_exponent": 2, "quantity_exponent": 3, "tick_size": 10},
        {"price_exponent": 1, "quantity_exponent": 0, "multiplier": 1, "multiplier_exponent": 2},
        {"price_exponent": 1, "quantity_exponent": 3},
    ]
    return [
        Instrument(
            venue_id=get_adapter(venue).venue_id, symbol=symbol, canonical=CANONICAL, base="BTC",
            quote="USDT", settle="USDT", slab=FEED, priority=1, maker_fee_e8=20_000, taker_fee_e8=50_000,
            **(own | changes),
        )
        for venue, symbol, own in zip(VENUES, SYMBOLS, terms, strict=True)
    ]  # fmt: skip


class Listening(Strategy):
    """Subscribed to everything; keeps its reports."""

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        self.reports: list[ReportRecord] = []

    def on_book(self, record: MarketRecord) -> None:
        """Nothing is decided here: tests decide."""

    def on_report(self, report: ReportRecord) -> None:
        self.reports.append(report.copy())


class ThreeBooks:
    """Feed worker with three venues, trade worker with gateway and one strategy."""

    def __init__(
        self,
        strategy: type[Actor] = Listening,
        *,
        gateway: Mapping[str, Any] | None = None,
        instruments: Sequence[Instrument] | None = None,
    ) -> None:
        self.messages: list[dict[str, Any]] = []
        self._strategy = strategy
        self._sequences = [1_000, 1_000, 1_000]
        self._levels: list[tuple[dict[int, int], dict[int, int]]] = [({}, {}), ({}, {}), ({}, {})]
        self.rows = list(instruments or rows())
        common: dict[str, Any] = {
            "instance": "test", "epoch": 7, "seed": 1, "feeds": [FeedRef(FEED, [1])], "gateways": [TRADE],
            "strategies": [TRADE], "instrument_capacity": 16,
        }  # fmt: skip
        feeds = [
            ActorSpec(
                n, "market_data", f"feed-{v}", {"venue": v, "adapter": v, "symbols": [s], "priority": 1}
            )
            for n, (v, s) in enumerate(zip(VENUES, SYMBOLS, strict=True), 1)
        ]
        trade = [
            ActorSpec(4, "order_gateway", "gateway", dict(gateway or {})),
            ActorSpec(5, "test", "test", {}),
        ]
        specs = [
            WorkerSpec(FEED, "feed", "feed", actors=feeds, **common),
            WorkerSpec(TRADE, "trade", "trade", actors=trade, **common),
        ]
        sizes = Sizes(instruments=16)
        self.world = VirtualWorld(
            specs, self._make, start_ns=START_NS, sizes=sizes, notify=self.messages.append
        )
        for row in self.rows:
            self.world.hosts[0].instruments.add(row)
        self.world.start()

    def _make(self, role: str, context: Context, settings: Mapping[str, Any]) -> Actor:
        return self._strategy(context, settings) if role == "test" else make_actor(role, context, settings)

    @property
    def actor(self) -> Any:
        return self.world.host(TRADE).bindings[1].actor

    @property
    def context(self) -> Context:
        return self.world.host(TRADE).bindings[1].context

    @property
    def gateway(self) -> OrderGateway:
        actor = self.world.host(TRADE).bindings[0].actor
        assert isinstance(actor, OrderGateway)
        return actor

    def notes(self, name: str) -> list[dict[str, Any]]:
        """What was told under a name, oldest first."""
        return [m["data"] for m in self.messages if m["op"] == "note" and m["name"] == name]

    def show(self, venue: int, bids: Levels, asks: Levels) -> None:
        """Make that the book of a venue, in its own units, by the venue's own frames."""
        feed = self.world.host(FEED).bindings[venue].actor
        assert isinstance(feed, MarketData)
        now, row = self.world.clock.virtual_ns, self.rows[venue]
        self._sequences[venue] += 3
        last = self._sequences[venue]
        is_first = not self._levels[venue][0]
        old, self._levels[venue] = self._levels[venue], (dict(bids), dict(asks))
        new_bids, new_asks = (
            list((dict.fromkeys(before, 0) | dict(levels)).items())
            for before, levels in zip(old, (bids, asks), strict=True)
        )
        if venue == BINANCE:
            feed.inject(depth_frame(last - 2, last, last - 3, new_bids, new_asks, symbol=row.symbol), now)
            if is_first:
                feed.inject_snapshot(row.symbol, snapshot_body(last, list(bids), list(asks)))
        else:
            sides = [[_texts(row, p, q) for p, q in side] for side in (new_bids, new_asks)]
            if venue == OKX:
                previous, action = (-1, "snapshot") if is_first else (last - 3, "update")
                feed.inject(okx_book(row.symbol, last, previous, *sides, action=action), now)
            else:
                update = 1 + (last - 1_003) // 3
                kind = "snapshot" if is_first else "delta"
                feed.inject(bybit_book(row.symbol, update, *sides, kind=kind), now)
        self.world.settle()

    def advance(self, delay_ns: int) -> None:
        """Let virtual time pass."""
        self.world.advance(self.world.clock.virtual_ns + delay_ns)
        self.world.settle()


def _texts(row: Instrument, price: int, quantity: int) -> tuple[str, str]:
    return _text(price, row.price_exponent), _text(quantity, row.quantity_exponent)


def _text(units: int, exponent: int) -> str:
    whole, fraction = divmod(units, 10**exponent)
    return f"{whole}.{fraction:0{exponent}d}" if exponent else str(whole)
