"""A top-of-book market maker with inventory skew.

One bid and one ask per instrument. Both stand around the mid by a half spread (the larger of ticks and
basis points, widened by volatility), are shifted against the inventory, never improve on the best price by
more than `improve_ticks` and never reach the other side. A quote moves when its target is at least
`requote_ticks` away and it has lived `min_quote_life_ns`; it is pulled when the book is not LIVE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson

from actors.errors import SettingsError
from actors.runtime.context import Context, WorkingOrder
from actors.runtime.settings import read_settings
from actors.strategies.base import Strategy, quantity_of
from actors.strategies.quotes import QuoteRecord, Terms, quote_targets
from shm.enums import BookState, OrderFlags, ReportKind, Side
from shm.instruments import Instrument
from shm.positions import Position
from shm.records import MarketRecord, ReportRecord

_LIVE = int(BookState.LIVE)
_BUY, _SELL = int(Side.BUY), int(Side.SELL)
_POST_ONLY = int(OrderFlags.POST_ONLY)
_FILL = int(ReportKind.FILL)
_REFUSALS = frozenset(
    {
        int(ReportKind.REJECTED),
        int(ReportKind.DENIED),
        int(ReportKind.REPLACE_REJECTED),
        int(ReportKind.CANCEL_REJECTED),
    }
)
PULL_AGAIN_NS = 5_000_000
_PAUSE_SHIFT_MAX = 6
_VOLATILITY_SHIFT = 5
_VOLATILITY_SCALE = 1024
#: What `Terms` holds, until an order was sent by them: most books send none.
_Terms = tuple[int, int, int, int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class MarketMakerSettings:
    """Settings of the role `market_maker`.

    Args:
        venue, instruments: what to quote: "all", or names.
        quantity: decimal order quantity in the venue's unit; "" = as much as `order_notional` buys.
        order_notional: decimal amount of the quote currency.
        half_spread_ticks, edge_bps: distance of a quote from the mid; the larger one counts.
        volatility_weight: adds that multiple of the mean absolute change of the mid per book.
        skew_ticks: shift of both quotes per order quantity of inventory, against it.
        max_inventory: in order quantities; beyond it only the reducing side is quoted.
        improve_ticks: how far a quote may improve on the best price of its side.
        requote_ticks: a quote moves when its target is at least that far away.
        min_quote_life_ns: a quote is not moved earlier than that after it was sent (it is pulled at once).
        post_only: quotes never take.
        requote: "replace" moves a quote by one command, "cancel" cancels and places anew once canceled.
        refusal_pause_ns: after a refusal that side pauses, doubling with each further one (at most 64 times).
    """

    venue: str | None = None
    instruments: str | list[str] = "all"
    gateway: int | None = None
    quantity: str = ""
    order_notional: str = "100"
    half_spread_ticks: int = 0
    edge_bps: float = 0.0
    volatility_weight: float = 0.0
    skew_ticks: float = 1.0
    max_inventory: int = 5
    improve_ticks: int = 0
    requote_ticks: int = 1
    min_quote_life_ns: int = 50_000_000
    post_only: bool = True
    requote: str = "replace"
    refusal_pause_ns: int = 20_000_000

    def __post_init__(self) -> None:
        for name in (
            "half_spread_ticks",
            "edge_bps",
            "volatility_weight",
            "skew_ticks",
            "improve_ticks",
            "min_quote_life_ns",
            "refusal_pause_ns",
        ):
            if getattr(self, name) < 0:
                raise SettingsError(f"market_maker: setting {name!r} must be 0 or more")
        for name in ("max_inventory", "requote_ticks"):
            if getattr(self, name) < 1:
                raise SettingsError(f"market_maker: setting {name!r} must be 1 or more")
        if self.requote not in ("replace", "cancel"):
            raise SettingsError('market_maker: setting \'requote\' must be "replace" or "cancel"')


class Quote:
    """One side's quote: the order that carries it, and since when it may act again."""

    __slots__ = ("order_id", "pause_until_ns", "refusals", "side")

    def __init__(self, side: int) -> None:
        self.side = side
        self.order_id = 0
        self.pause_until_ns = 0
        self.refusals = 0


class Maker:
    """The state of one instrument."""

    __slots__ = (
        "ask",
        "bid",
        "books",
        "instrument",
        "inventory_units",
        "is_live",
        "is_pulling",
        "last_twice_mid",
        "quantity_units",
        "volatility",
    )

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.bid = Quote(_BUY)
        self.ask = Quote(_SELL)
        self.inventory_units = 0
        self.quantity_units = 0
        self.is_live = False
        self.is_pulling = False
        self.books = 0
        self.last_twice_mid = 0
        self.volatility = 0  # mean absolute change of twice the mid, times _VOLATILITY_SCALE

    def observe(self, twice_mid: int) -> None:
        """Follow the mid."""
        if self.last_twice_mid:
            change = abs(twice_mid - self.last_twice_mid) * _VOLATILITY_SCALE
            self.volatility += (change - self.volatility) >> _VOLATILITY_SHIFT
        self.last_twice_mid = twice_mid
        self.books += 1


class MarketMaker(Strategy):
    """The actor; see the module."""

    role: ClassVar[str] = "market_maker"
    state_version: ClassVar[int] = 1

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        self.config = read_settings(MarketMakerSettings, settings, self.role)
        self.makers: dict[int, Maker] = {}
        self._volatility: dict[str, int] = {}
        self._refusals = context.counter("maker.refusals")
        self._pulls = context.counter("maker.pulls")
        self._record = QuoteRecord(context)

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Raise SettingsError for what MarketMakerSettings does not allow."""
        read_settings(MarketMakerSettings, settings, cls.role)

    def subscriptions(self) -> Sequence[int]:
        """Ids of the instruments to quote."""
        ids = super().subscriptions()
        self.makers = {i: Maker(self.instruments[i]) for i in ids}
        return ids

    def on_start(
        self,
        reason: str,
        state: bytes | None,
        positions: Mapping[int, Position],
        working_orders: Mapping[int, WorkingOrder],
    ) -> None:
        """Take over inventory and what still rests; load_state has taken the rest."""
        del reason, state
        for instrument_id, position in positions.items():
            if instrument_id in self.makers:
                self.makers[instrument_id].inventory_units = position.quantity_units
        for order in working_orders.values():
            maker = self.makers.get(order.instrument_id)
            if maker is None:  # it was replaced by one with other terms, or is quoted no more
                self.context.cancel(order.client_order_id)
                continue
            quote = maker.bid if order.side == _BUY else maker.ask
            if quote.order_id:
                self.context.cancel(order.client_order_id)
            else:
                quote.order_id = order.client_order_id
        for maker in self.makers.values():
            maker.volatility = self._volatility.get(maker.instrument.symbol, 0)

    def on_listed(self, instrument: Instrument) -> None:
        """Quote it as soon as its book is LIVE."""
        super().on_listed(instrument)
        maker = self.makers[instrument.instrument_id] = Maker(instrument)
        maker.volatility = self._volatility.get(instrument.symbol, 0)
        position = self.context.position(instrument.instrument_id)
        if position is not None:
            maker.inventory_units = position.quantity_units

    def on_config(self, settings: Mapping[str, Any], generation: int) -> None:
        """Quote by new settings from the next book on."""
        config = read_settings(MarketMakerSettings, settings, self.role)
        super().on_config(settings, generation)
        self.config = config
        for maker in self.makers.values():
            maker.quantity_units = 0

    # ---- market ---------------------------------------------------------------------------------

    def on_status(self, record: MarketRecord) -> None:
        """Pull both quotes when the book is not LIVE."""
        maker = self.makers[record.instrument_id]
        maker.is_live = record.book_state == _LIVE
        if not maker.is_live:
            self._pull(maker)

    def on_book(self, record: MarketRecord) -> None:
        """Move the quotes to where the new top of book wants them."""
        maker = self.makers[record.instrument_id]
        if record.book_state != _LIVE:
            maker.is_live = False
            self._pull(maker)
            return
        maker.is_live = True
        bid, ask = record.value0, record.value2
        if bid <= 0 or ask <= bid:
            self._pull(maker)
            return
        maker.observe(bid + ask)
        self._quote(maker, bid, ask)

    def _quote(self, maker: Maker, bid: int, ask: int) -> None:
        config = self.config
        tick = maker.instrument.tick_size
        if not maker.quantity_units:
            maker.quantity_units = quantity_of(maker.instrument, config.quantity, config.order_notional, bid)
        fixed = max(config.half_spread_ticks * tick, int(config.edge_bps * (bid + ask) / 20_000))
        half = fixed + int(config.volatility_weight * maker.volatility / (2 * _VOLATILITY_SCALE))
        inventory = maker.inventory_units
        skew = int(config.skew_ticks * tick * inventory / maker.quantity_units)
        improve = config.improve_ticks * tick
        low, high = quote_targets(bid, ask, tick, half, skew, improve)
        is_moved = self._record.is_on and (skew != 0 or half != fixed)
        terms = (bid, ask, tick, fixed, half, skew, improve, inventory) if is_moved else None
        limit = config.max_inventory * maker.quantity_units
        now = self.context.now_ns()
        self._place(maker, maker.bid, low, inventory + maker.quantity_units <= limit, now, terms)
        self._place(maker, maker.ask, high, inventory - maker.quantity_units >= -limit, now, terms)

    def _place(
        self, maker: Maker, quote: Quote, price: int, is_wanted: bool, now: int, terms: _Terms | None
    ) -> None:
        context, config = self.context, self.config
        order = context.working.get(quote.order_id) if quote.order_id else None
        flags = _POST_ONLY if config.post_only else 0
        if order is None:
            quote.order_id = 0
            if is_wanted and now >= quote.pause_until_ns:
                instrument_id = maker.instrument.instrument_id
                new_id = context.new_order(
                    instrument_id, quote.side, price, maker.quantity_units, flags=flags
                )
                self._sent(maker, quote, new_id, price, terms)
            return
        if order.is_cancel_requested or order.replaces:
            return
        if not is_wanted:
            if context.cancel(order.client_order_id) is not None:
                self._record.withdrawn(
                    order.client_order_id, maker.instrument, quote.side, maker.inventory_units
                )
            return
        distance = abs(order.price_units - price)
        if distance < config.requote_ticks * maker.instrument.tick_size:
            return
        if now - order.sent_ns < config.min_quote_life_ns or now < quote.pause_until_ns:
            return
        if config.requote == "cancel":
            context.cancel(order.client_order_id)
            return
        filled = order.order_units - order.leaves_units
        new_id = context.replace(order.client_order_id, price, filled + maker.quantity_units, flags=flags)
        self._sent(maker, quote, new_id, price, terms)

    def _sent(
        self, maker: Maker, quote: Quote, order_id: int | None, price: int, terms: _Terms | None
    ) -> None:
        if order_id is not None:
            quote.order_id = order_id
            if terms is not None:
                self._record.sent(order_id, maker.instrument, quote.side, price, Terms(*terms))

    def _pull(self, maker: Maker) -> None:
        for quote in (maker.bid, maker.ask):
            for order_id in self._orders_of(quote):
                order = self.context.working[order_id]
                if order.is_cancel_requested:
                    continue
                if self.context.cancel(order_id) is not None:
                    self._pulls.inc(1)
                elif not maker.is_pulling:
                    # The ring is full, and a book that is not LIVE may send nothing that reminds us.
                    maker.is_pulling = True
                    self.context.call_later(PULL_AGAIN_NS, lambda: self._pull_again(maker))

    def _pull_again(self, maker: Maker) -> None:
        maker.is_pulling = False
        if not maker.is_live:
            self._pull(maker)

    def _orders_of(self, quote: Quote) -> list[int]:
        order = self.context.working.get(quote.order_id)
        return [] if order is None else [quote.order_id]

    # ---- reports --------------------------------------------------------------------------------

    def on_report(self, report: ReportRecord) -> None:
        """Follow inventory, and slow down on a side that is being refused."""
        maker = self.makers.get(report.instrument_id)
        if maker is None:
            return
        quote = maker.bid if report.side == _BUY else maker.ask
        if report.kind == _FILL:
            maker.inventory_units = report.position_units
            quote.refusals = 0
            return
        if report.kind in _REFUSALS:
            self._refusals.inc(1)
            pause = self.config.refusal_pause_ns << min(quote.refusals, _PAUSE_SHIFT_MAX)
            quote.pause_until_ns = self.context.now_ns() + pause
            quote.refusals += 1
            if report.kind == ReportKind.REPLACE_REJECTED and quote.order_id == report.client_order_id:
                quote.order_id = report.orig_client_order_id
        elif report.kind == ReportKind.NEW or report.kind == ReportKind.REPLACED:
            quote.refusals = 0
        if not maker.is_live:
            self._pull(maker)

    def on_stop(self) -> None:
        """Write what the record of orders still lacks."""
        self._record.tell()

    # ---- state ----------------------------------------------------------------------------------

    def save_state(self) -> bytes:
        """Volatility by symbol: what takes a while to learn again."""
        state = {maker.instrument.symbol: maker.volatility for maker in self.makers.values()}
        encoded = orjson.dumps(state)
        return encoded if len(encoded) <= 60_000 else b"{}"

    def load_state(self, version: int, state: bytes) -> None:
        """Take the volatilities back; a state of another version is ignored."""
        if version == self.state_version:
            data: dict[str, int] = orjson.loads(state)
            self._volatility = {str(key): int(value) for key, value in data.items()}
