"""Where a market maker's quotes stand, and the record of what moved them."""

from __future__ import annotations

from typing import Final, NamedTuple

from actors.measures import measures_of
from actors.runtime.context import Context
from shm.enums import Side
from shm.instruments import Instrument

#: Notes are put in words and written so much later, between two books and not with one; a few at a time, for
#: one takes four microseconds.
TELL_NS: Final = 100_000_000
TELL_AGAIN_NS: Final = 1_000_000
TELL_MAX: Final = 8
#: Beyond so many waiting ones the oldest are lost: a strategy never pays for its record with memory.
WAITING_MAX: Final = 4_096
_BUY: Final = int(Side.BUY)


def quote_targets(
    bid: int, ask: int, tick: int, half_spread: int, skew: int, improve: int
) -> tuple[int, int]:
    """Prices of both quotes.

    Args:
        bid: best bid, price_units.
        ask: best ask, above the bid.
        tick: tick_size.
        half_spread: distance from the mid.
        skew: shift of both against the inventory (positive when long: both move down).
        improve: how far a quote may improve on the best price of its side.

    Returns:
        (bid target, ask target) on the tick grid: bid target < ask, ask target > bid, and apart.
    """
    twice_mid = bid + ask
    low = (twice_mid - 2 * half_spread - 2 * skew) // 2
    high = -((-(twice_mid + 2 * half_spread - 2 * skew)) // 2)
    low = min(low, bid + improve, ask - tick)
    high = max(high, ask - improve, bid + tick)
    low -= low % tick
    high += -high % tick
    if low >= high:  # only after improving from both sides into a narrow spread
        low = bid - bid % tick
        high = ask + -ask % tick
    return max(low, tick), high


class Terms(NamedTuple):
    """What both quotes were made from, all in price_units but the inventory."""

    bid: int
    ask: int
    tick: int
    fixed_half_spread: int  # as configured
    half_spread: int  # widened by volatility
    skew: int
    improve: int
    inventory_units: int


#: Order id, instrument, side, price, terms (None: it was withdrawn), inventory.
_Waiting = tuple[int, Instrument, int, int, Terms | None, int]


class QuoteRecord:
    """Writes a QUOTE decision into the record of each order that volatility, inventory or its limit changed.

    How much a part changed is the difference between the quote with and without it, after all rounding and
    limits: what the order would have been is computed again, later. It goes to the worker's own journal
    (`actors.measures`); a kill loses what the last `TELL_NS` brought.

    Args:
        context: of the actor.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._measures = measures_of(context)
        self._waiting: list[_Waiting] = []
        self._is_due = False
        self.is_on = self._measures.is_on

    def sent(self, order_id: int, instrument: Instrument, side: int, price_units: int, terms: Terms) -> None:
        """An order went out at the price that these terms gave."""
        self._keep((order_id, instrument, side, price_units, terms, terms.inventory_units))

    def withdrawn(self, order_id: int, instrument: Instrument, side: int, inventory_units: int) -> None:
        """A cancel went out because more inventory of that side is not wanted."""
        if self.is_on:
            self._keep((order_id, instrument, side, 0, None, inventory_units))

    def _keep(self, found: _Waiting) -> None:
        if len(self._waiting) >= WAITING_MAX:
            del self._waiting[0]
        self._waiting.append(found)
        if not self._is_due:
            self._is_due = True
            self._context.call_later(TELL_NS, self._tell_some)

    def _tell_some(self) -> None:
        some, self._waiting = self._waiting[:TELL_MAX], self._waiting[TELL_MAX:]
        self._write(some)
        self._is_due = bool(self._waiting)
        if self._is_due:
            self._context.call_later(TELL_AGAIN_NS, self._tell_some)

    def tell(self) -> None:
        """Write all that waits; an actor calls it when it stops."""
        waiting, self._waiting = self._waiting, []
        self._write(waiting)

    def _write(self, waiting: list[_Waiting]) -> None:
        for order_id, instrument, side, price_units, terms, inventory_units in waiting:
            found: dict[str, str | int] = {
                "instrument": instrument.symbol,
                "side": Side(side).name,
                "inventory_units": inventory_units,
            }
            if terms is None:
                found["withdrawn_by"] = "max_inventory"
            else:
                plain, volatility_ticks, skew_ticks = moved_by(side, price_units, terms)
                if not volatility_ticks and not skew_ticks:
                    continue
                found |= {
                    "price_units": price_units,
                    "unmoved_price_units": plain,
                    "volatility_ticks": volatility_ticks,
                    "skew_ticks": skew_ticks,
                }
            self._measures.decision(self._context, "QUOTE", order_id, found)
        if waiting:
            self._measures.prepare()


def moved_by(side: int, price_units: int, terms: Terms) -> tuple[int, int, int]:
    """What moved a quote: (price without volatility and skew, ticks by volatility, ticks by skew).

    Args:
        side: of the quote.
        price_units: where it stands.
        terms: what it was made from.
    """
    bid, ask, tick, fixed, half_spread, _, improve, _ = terms
    index = 0 if side == _BUY else 1
    plain = quote_targets(bid, ask, tick, fixed, 0, improve)[index]
    widened = quote_targets(bid, ask, tick, half_spread, 0, improve)[index]
    return plain, (widened - plain) // tick, (price_units - widened) // tick
