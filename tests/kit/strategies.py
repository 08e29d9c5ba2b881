"""Strategies that misbehave, or tell what they are given; configurations name them tests.kit.strategies:X."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from actors.runtime.context import Context, WorkingOrder
from actors.runtime.routing import SentRoute
from actors.strategies.base import Strategy
from shm.enums import OrderFlags, Side
from shm.positions import Position
from shm.records import MarketRecord

FAR = 100


class Base(Strategy):
    """Counts books; quantities are the smallest worth 20 of the quote currency."""

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        self.books = 0

    def units(self, record: MarketRecord) -> int:
        row = self.instruments[record.instrument_id]
        scale = 10 ** (row.price_exponent + row.quantity_exponent)
        lots = -(-20 * scale // (record.bid_price_units * row.lot_size))
        return int(max(lots * row.lot_size, row.min_quantity_units))

    def far(self, record: MarketRecord) -> int:
        row = self.instruments[record.instrument_id]
        return record.bid_price_units - record.bid_price_units % row.tick_size - FAR * row.tick_size

    def bid_far_away(self, record: MarketRecord) -> int | None:
        units = self.units(record)
        return self.context.new_order(
            record.instrument_id, Side.BUY, self.far(record), units, flags=OrderFlags.POST_ONLY
        )


class Raising(Base):
    """Leaves an order far away and raises at its 50th book."""

    def on_book(self, record: MarketRecord) -> None:
        self.books += 1
        if self.books == 1:
            self.bid_far_away(record)
        if self.books == 50:
            raise RuntimeError("raised on purpose")


class Flooding(Base):
    """Twenty orders for each book."""

    def on_book(self, record: MarketRecord) -> None:
        for _ in range(20):
            self.bid_far_away(record)


class Blocking(Base):
    """Holds its worker for two seconds, once in its life."""

    def on_book(self, record: MarketRecord) -> None:
        self.books += 1
        mark = Path(str(self.settings["mark"]))
        if self.books == 100 and not mark.exists():
            mark.write_text("")
            time.sleep(2.0)


class Stamping(Base):
    """Every quantity says by which settings it was decided: that many lots."""

    def on_book(self, record: MarketRecord) -> None:
        self.books += 1
        if self.books % 5 == 0:
            row = self.instruments[record.instrument_id]
            lots = int(self.settings["lots"])
            self.context.new_order(record.instrument_id, Side.BUY, self.far(record), lots * row.lot_size)


class Telling(Base):
    """Rests one order per instrument for ever; writes down what each start hands it."""

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        self.quoted: set[int] = set()
        self.loaded = ""

    def on_start(
        self,
        reason: str,
        state: bytes | None,
        positions: Mapping[int, Position],
        working_orders: Mapping[int, WorkingOrder],
    ) -> None:
        line = {
            "reason": reason,
            "state": None if state is None else state.decode(),
            "loaded": self.loaded,
            "positions": {str(i): p.quantity_units for i, p in positions.items()},
            "working": {str(i): o.leaves_units for i, o in working_orders.items()},
        }
        with Path(str(self.settings["path"])).open("ab") as out:
            out.write(orjson.dumps(line) + b"\n")
        self.quoted = {order.instrument_id for order in working_orders.values()}

    def on_book(self, record: MarketRecord) -> None:
        if record.instrument_id in self.quoted:
            return
        self.quoted.add(record.instrument_id)
        row = self.instruments[record.instrument_id]
        dear = record.ask_price_units + FAR * row.tick_size  # filled also if the market has gone on meanwhile
        units = self.units(record)
        self.context.new_order(
            record.instrument_id, Side.BUY, dear, units, time_in_force=2
        )  # so that something is held
        self.bid_far_away(record)

    def save_state(self) -> bytes:
        return ",".join(str(i) for i in sorted(self.quoted)).encode()

    def load_state(self, version: int, state: bytes) -> None:
        self.loaded = f"{version}:{state.decode()}"


class Routed(Base):
    """Buys and sells in turn over all venues that list the instrument, whenever its last route has ended."""

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        self.sent: SentRoute | None = None
        self.routes = 0

    def venue(self) -> str | None:
        return None  # all of them, whatever the table says

    def wanted(self) -> str:
        return "all"

    def on_book(self, record: MarketRecord) -> None:
        self.books += 1
        if self.books % 50 or (self.sent is not None and self.sent.open):
            return
        canonical = self.instruments[record.instrument_id].canonical
        side = Side.SELL if self.routes % 2 else Side.BUY
        plan = self.context.route(canonical, side, int(self.settings["quantity_e8"]))
        if plan.route.is_complete:
            self.routes += 1
            self.sent = self.context.send_route(plan)

    def on_stop(self) -> None:
        self.context.routing.tell()
