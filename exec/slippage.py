"""What an order cost against the price at which it was decided.

Implementation shortfall (Perold 1988, "The implementation shortfall: paper versus reality", Journal of
Portfolio Management 14): everything is compared with the mid of the book that the decision used, at the
moment it was made. What was filled costs the distance of its average price from that mid, and its fees;
what was not filled costs how far the mid had run away by the end. Positive is a cost. Exact integers; only
the figures in 10^-8 of the notional are rounded, away from us.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from exec.errors import OrderError
from shm.enums import Side
from shm.instruments import Instrument
from shm.units import notional_exact, to_e8

E8 = 10**8
_BUY = int(Side.BUY)


class Style(IntEnum):
    """How an order goes to the market."""

    AGGRESSIVE = 0  # takes what is displayed
    PASSIVE = 1  # rests at the touch for a while, and takes what is left then


@dataclass(frozen=True, slots=True)
class OrderSlippage:
    """One order from decision to end; one row of what persistence may keep.

    Args:
        order_id: client order id of its first order.
        instrument_id, side, style: what was done.
        decide_ns, end_ns: when it was decided, and when nothing of it was left open.
        order_units, filled_units: asked, done.
        twice_mid_units: bid + ask at the decision, price_units.
        price_e8: distance of the average fill from that mid × 10^8 of it, cost positive.
        fee_e8: fees × 10^8 of the filled value at that mid.
        missed_e8: opportunity cost of what was not filled × 10^8 of the mid (0 if all was filled).
        total_e8: of the whole order: filled and unfilled parts by their share.
        fill_ns: from the decision to the last fill, 0 if there was none.
    """

    order_id: int
    instrument_id: int
    side: int
    style: Style
    decide_ns: int
    end_ns: int
    order_units: int
    filled_units: int
    twice_mid_units: int
    price_e8: int
    fee_e8: int
    missed_e8: int
    total_e8: int
    fill_ns: int


class SlippageMeter:
    """Measures one order; made when it is decided.

    Args:
        instrument: what is traded (linear or spot; of an inverse contract only prices count).
        side: BUY or SELL.
        style: how it is worked.
        order_units: asked, positive.
        bid, ask: of the book that was cited, price_units.
        decide_ns: when.

    Raises:
        OrderError: no quantity, or no book to compare with.
    """

    __slots__ = (
        "_fees_e8", "_instrument", "_last_ns", "_product", "decide_ns", "filled_units", "order_id",
        "order_units", "side", "style", "twice_mid_units",
    )  # fmt: skip

    def __init__(
        self,
        instrument: Instrument,
        side: Side | int,
        style: Style,
        order_units: int,
        bid: int,
        ask: int,
        decide_ns: int,
    ) -> None:
        if order_units <= 0 or not 0 < bid <= ask:
            raise OrderError(
                f"{instrument.symbol}: slippage of {order_units} units against {bid} / {ask} means nothing"
            )
        self._instrument = instrument
        self.side = int(side)
        self.style = style
        self.order_units = order_units
        self.twice_mid_units = bid + ask
        self.decide_ns = decide_ns
        self.order_id = 0
        self.filled_units = 0
        self._product = 0
        self._fees_e8 = 0
        self._last_ns = 0

    def fill(self, price_units: int, units: int, fee_e8: int, now_ns: int) -> None:
        """Take one fill; the fee in 10^-8 of the settlement currency, negative = a rebate."""
        self._product += price_units * units
        self.filled_units += units
        self._fees_e8 += fee_e8
        self._last_ns = now_ns

    def end(self, bid: int, ask: int, end_ns: int) -> OrderSlippage:
        """What it came to.

        Args:
            bid: best price at the end; 0 = there is no book: what was not filled is taken to cost nothing.
            ask: likewise.
            end_ns: when.
        """
        sign = 1 if self.side == _BUY else -1
        twice_mid, filled = self.twice_mid_units, min(self.filled_units, self.order_units)
        price_e8 = fee_e8 = missed_e8 = 0
        if self.filled_units:
            base = twice_mid * self.filled_units
            price_e8 = _up(sign * (2 * self._product - base) * E8, base)
            value_e8 = self._value_e8()
            fee_e8 = _up(self._fees_e8 * E8, value_e8) if value_e8 else 0
        left = self.order_units - filled
        if left and bid > 0 and ask > 0:
            missed_e8 = _up(sign * (bid + ask - twice_mid) * E8, twice_mid)
        total = _up((price_e8 + fee_e8) * filled + missed_e8 * left, self.order_units)
        return OrderSlippage(
            self.order_id, self._instrument.instrument_id, self.side, self.style, self.decide_ns, end_ns,
            self.order_units, self.filled_units, twice_mid, price_e8, fee_e8, missed_e8, total,
            self._last_ns - self.decide_ns if self.filled_units else 0,
        )  # fmt: skip

    def _value_e8(self) -> int:
        """Value of what was filled at the mid, in the currency of its fees."""
        row = self._instrument
        if row.is_inverse:
            scale: int = 10 ** (row.quantity_exponent + row.multiplier_exponent)
            money: int = self.filled_units * row.multiplier * 2 * 10**row.price_exponent * E8
            return money // (scale * self.twice_mid_units)
        mantissa, exponent = notional_exact(self.twice_mid_units, self.filled_units, row)
        return to_e8(mantissa, exponent) // 2


def _up(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


@dataclass(slots=True)
class SlippageSum:
    """Orders of one kind added up; every mean is weighted by order, not by size."""

    orders: int = 0
    filled: int = 0
    unfilled: int = 0
    price_e8: int = 0
    fee_e8: int = 0
    total_e8: int = 0
    fill_ns: int = 0

    def add(self, order: OrderSlippage) -> None:
        """Add one order."""
        self.orders += 1
        self.total_e8 += order.total_e8
        self.unfilled += order.filled_units < order.order_units
        if order.filled_units:
            self.filled += 1
            self.price_e8 += order.price_e8
            self.fee_e8 += order.fee_e8
            self.fill_ns += order.fill_ns

    def row(self) -> dict[str, Any]:
        """Means, JSON-ready: basis points of the notional, milliseconds."""
        orders, filled = max(self.orders, 1), max(self.filled, 1)
        return {
            "orders": self.orders,
            "not_all_filled": self.unfilled,
            "price_bps": round(self.price_e8 / filled / 1e4, 4),
            "fee_bps": round(self.fee_e8 / filled / 1e4, 4),
            "total_bps": round(self.total_e8 / orders / 1e4, 4),
            "fill_ms": round(self.fill_ns / filled / 1e6, 3),
        }


class SlippageLedger:
    """Slippage of many orders: sums by style, and the newest orders themselves.

    Args:
        kept: how many orders.
    """

    def __init__(self, kept: int = 1_000) -> None:
        self._kept = kept
        self.orders: list[OrderSlippage] = []
        self.sums = {style: SlippageSum() for style in Style}

    def add(self, order: OrderSlippage) -> None:
        """Take an order that has ended."""
        self.sums[order.style].add(order)
        self.orders.append(order)
        if len(self.orders) > 2 * self._kept:
            del self.orders[: -self._kept]

    def rows(self) -> dict[str, dict[str, Any]]:
        """Means by style and of all, JSON-ready; styles without an order are left out."""
        found = {style.name.lower(): total.row() for style, total in self.sums.items() if total.orders}
        everything = _together(self.sums.values())
        return found | ({"all": everything.row()} if everything.orders else {})


def _together(sums: Iterable[SlippageSum]) -> SlippageSum:
    total = SlippageSum()
    for one in sums:
        for name in SlippageSum.__slots__:
            setattr(total, name, getattr(total, name) + getattr(one, name))
    return total
