"""A strategy that does everything an account can do to its orders, at random and all the time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actors.runtime.context import Context, WorkingOrder
from actors.strategies.base import Strategy
from shm.enums import BookState, OrderFlags, Side, TimeInForce
from shm.records import MarketRecord

_LIVE = int(BookState.LIVE)
LOOKS_NS = 50_000_000


class Brawling(Strategy):
    """New, cancel, replace, IOC, post-only, partial fills, several at once; keeps its inventory small.

    Settings: `pace_ms` between two acts at one instrument, `hold` a file that stops it while it exists,
    `orders` it rests at most per instrument, `lots` the largest order in smallest quantities, `bound` its
    inventory.
    """

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        self.hold = Path(str(settings.get("hold", "")))
        self.pace_ns = int(settings.get("pace_ms", 100)) * 1_000_000
        self.orders_max = int(settings.get("orders", 6))
        self.lots = int(settings.get("lots", 12))
        self.bound = int(settings.get("bound", 40))
        self.next_ns: dict[int, int] = {}
        self.is_held = True
        self.looked_ns = 0

    def lot(self, record: MarketRecord) -> int:
        """The smallest order worth 20 of the quote currency, on the lot grid."""
        row = self.instruments[record.instrument_id]
        scale = int(10 ** (row.price_exponent + row.quantity_exponent + row.multiplier_exponent))
        lots = -(-20 * scale // (record.value0 * row.multiplier * row.lot_size))
        return max(lots * row.lot_size, row.min_quantity_units)

    def on_book(self, record: MarketRecord) -> None:
        now = self.context.now_ns()
        if now - self.looked_ns >= LOOKS_NS:
            self.looked_ns, self.is_held = now, self.hold.exists()
        bid, ask = record.value0, record.value2
        if self.is_held or record.book_state != _LIVE or not 0 < bid < ask:
            return
        if now < self.next_ns.get(record.instrument_id, 0):
            return
        chance = self.context.random
        self.next_ns[record.instrument_id] = now + round(self.pace_ns * chance.uniform(0.2, 1.8))
        mine = [o for o in self.context.working.values() if o.instrument_id == record.instrument_id]
        free = [o for o in mine if not o.is_cancel_requested and not o.replaces]
        draw = chance.random()
        if free and (draw < 0.3 or len(mine) >= self.orders_max):
            if draw < 0.15:
                self.context.cancel(chance.choice(free).client_order_id)
            else:
                self.move(chance.choice(free), record)
        elif len(mine) < self.orders_max:
            for _ in range(3 if draw > 0.9 else 1):
                self.place(record)

    def move(self, order: WorkingOrder, record: MarketRecord) -> None:
        """Another price, and now and then another quantity."""
        chance = self.context.random
        units = order.order_units
        if chance.random() < 0.5:
            units = max(units - order.leaves_units, 0) + self.lot(record) * chance.randint(1, self.lots)
        price = self.price(order.side, record, chance.randint(-1, 4))
        self.context.replace(order.client_order_id, price, units)

    def place(self, record: MarketRecord) -> None:
        chance = self.context.random
        position = self.context.position(record.instrument_id)
        held = 0 if position is None else position.quantity_units
        lot = self.lot(record)
        side, flags = chance.choice((Side.BUY, Side.SELL)), 0
        if abs(held) > self.bound * lot:
            side = Side.SELL if held > 0 else Side.BUY
            flags = int(OrderFlags.REDUCE_ONLY)
        draw, units = chance.random(), lot * chance.randint(1, self.lots)
        if draw < 0.3:
            price, tif = self.price(side, record, -1), TimeInForce.IOC
        elif draw < 0.5:
            price, tif = self.price(side, record, 0 if chance.random() < 0.5 else -1), TimeInForce.GTC
        else:
            price, tif = self.price(side, record, chance.randint(0, 5)), TimeInForce.GTC
            flags |= 0 if flags else int(OrderFlags.POST_ONLY)
        self.context.new_order(record.instrument_id, side, price, units, time_in_force=int(tif), flags=flags)

    def price(self, side: int, record: MarketRecord, behind: int) -> int:
        """So many ticks behind the best price of its own side; -1 = the best of the other side."""
        tick = self.instruments[record.instrument_id].tick_size
        bid, ask = record.value0, record.value2
        if side == Side.BUY:
            return ask if behind < 0 else max(bid - behind * tick, tick)
        return bid if behind < 0 else ask + behind * tick
