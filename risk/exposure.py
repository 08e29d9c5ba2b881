"""Open orders and positions of one gateway: the position including open orders, and exposure in money.

Private to the gateway, in one process: updated from OMS events before the next intent is gated, never read
back from shared memory. The class has the shape of `exec.oms.Ledger` without importing it.

Worst case per side: every open buy fills and no open sell does (long side), or the other way round
(short side). An order is valued at its own price, the position at the mark; an order without a price at the
price its sender gave (`Order.value_price_units`). All sums are exact products, converted at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from risk.errors import ExposureError
from risk.pnl import Valuation
from risk.positions import FillPosition
from shm.enums import Side
from shm.instruments import Instrument

_BUY = int(Side.BUY)


class InstrumentExposure:
    """Open orders, position and mark of one instrument."""

    __slots__ = (
        "exposure_e8",
        "mark_price_units",
        "open_buy_product",
        "open_buy_units",
        "open_orders",
        "open_sell_product",
        "open_sell_units",
        "position",
        "valuation",
    )

    def __init__(self, valuation: Valuation) -> None:
        self.valuation = valuation
        self.position = FillPosition(valuation)
        self.open_buy_units = 0
        self.open_sell_units = 0
        self.open_buy_product = 0
        self.open_sell_product = 0
        self.open_orders = 0
        self.mark_price_units = 0
        self.exposure_e8 = 0

    @property
    def reference_price_units(self) -> int:
        """Mark, or before the first mark the average entry price (0 when there is neither)."""
        return self.mark_price_units or self.position.average_price_units

    def side_e8(self, buys: bool, more_units: int = 0, more_product: int = 0) -> int:
        """Worst-case notional of the long (`buys`) or short side, with that much more open, 10^-8 rounded up.

        A side that can not be reached (open sells never make a long position short) is 0.
        """
        quantity = self.position.quantity_units
        if buys:
            units = quantity + self.open_buy_units + more_units
            product = self.open_buy_product + more_product
        else:
            quantity = -quantity
            units = quantity + self.open_sell_units + more_units
            product = self.open_sell_product + more_product
        if units <= 0:
            return 0
        if quantity:
            product += quantity * self.reference_price_units
        if product <= 0 and not self.valuation.is_inverse:
            return 0
        return self.valuation.exposure_e8(product, units)

    def worst_e8(self) -> int:
        """Worst-case notional over both sides."""
        return max(self.side_e8(True), self.side_e8(False))


class ExposureBook:
    """Every instrument's open orders and position, and the sum of their worst-case notionals.

    Args:
        instrument_of: gives the instrument row of an id; called once for each instrument.
    """

    __slots__ = ("_instrument_of", "_rows", "total_e8")

    def __init__(self, instrument_of: Callable[[int], Instrument]) -> None:
        self._instrument_of = instrument_of
        self._rows: dict[int, InstrumentExposure] = {}
        self.total_e8 = 0

    def row(self, instrument_id: int) -> InstrumentExposure:
        """The instrument's entry, made on first use."""
        row = self._rows.get(instrument_id)
        if row is None:
            row = InstrumentExposure(Valuation(self._instrument_of(instrument_id)))
            self._rows[instrument_id] = row
        return row

    def __iter__(self) -> Iterator[tuple[int, InstrumentExposure]]:
        return iter(self._rows.items())

    def adjust(self, instrument_id: int, side: int, units: int, product: int, orders: int) -> None:
        """Change what is open on one side by signed differences.

        Args:
            instrument_id: whose.
            side: `Side.BUY` or `Side.SELL`.
            units: change of open quantity.
            product: change of the sum of price_units * leaves_units.
            orders: change of the count of open orders.

        Raises:
            ExposureError: the result would be negative: an order was released twice.
        """
        row = self.row(instrument_id)
        if side == _BUY:
            row.open_buy_units += units
            row.open_buy_product += product
        else:
            row.open_sell_units += units
            row.open_sell_product += product
        row.open_orders += orders
        if (row.open_buy_units | row.open_sell_units | row.open_orders) < 0:
            raise ExposureError(
                f"instrument {instrument_id}: open buys {row.open_buy_units}, sells {row.open_sell_units}, "
                f"orders {row.open_orders} after a change of {units} units and {orders} orders"
            )
        self._revalue(row)

    def apply_fill(self, instrument_id: int, side: int, price_units: int, units: int, fee_e8: int) -> int:
        """Book a fill and return the signed position after it; what was open is changed by `adjust`."""
        row = self.row(instrument_id)
        position = row.position.apply_fill(side, price_units, units, fee_e8)
        self._revalue(row)
        return position

    def mark(self, instrument_id: int, price_units: int) -> None:
        """Take a new mark price; costs next to nothing while flat."""
        row = self.row(instrument_id)
        if price_units == row.mark_price_units:
            return
        row.mark_price_units = price_units
        if row.position.quantity_units:
            self._revalue(row)

    def position_units(self, instrument_id: int) -> int:
        """Signed net position."""
        row = self._rows.get(instrument_id)
        return row.position.quantity_units if row is not None else 0

    def reference_price_units(self, instrument_id: int) -> int:
        """Price for valuing an order that has none: mark, else average entry price, else 0."""
        return self.row(instrument_id).reference_price_units

    def _revalue(self, row: InstrumentExposure) -> None:
        worst = row.worst_e8()
        self.total_e8 += worst - row.exposure_e8
        row.exposure_e8 = worst
