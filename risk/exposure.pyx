# cython: language_level=3
"""Open orders and positions of one gateway: the position including open orders, and exposure in money.

Private to the gateway, in one process: updated from OMS events before the next intent is gated, never read
back from shared memory. The class has the shape of `exec.oms.Ledger` without importing it.

Worst case per side: every open buy fills and no open sell does (long side), or the other way round
(short side). An order is valued at its own price, the position at the mark; an order without a price at the
price its sender gave (`Order.value_price_units`). All sums are exact products, converted at the end.
"""

from libc.stdint cimport int64_t

from risk.pnl cimport Valuation

from risk.errors import ExposureError
from risk.positions import FillPosition
from shm.enums import Side

cdef int _BUY = int(Side.BUY)


cdef class InstrumentExposure:
    """Open orders, position and mark of one instrument."""

    def __init__(self, Valuation valuation):
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
    def reference_price_units(self):
        """Mark, or before the first mark the average entry price (0 when there is neither)."""
        return self.reference()

    cdef object reference(self):
        return self.mark_price_units or self.position.average_price_units

    cpdef object side_e8(self, bint buys, object more_units=0, object more_product=0):
        """Worst-case notional of the long (`buys`) or short side, with that much more open, 10^-8 rounded up.

        A side that can not be reached (open sells never make a long position short) is 0.
        """
        cdef object quantity = self.position.quantity_units
        cdef object units, product
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
            product += quantity * self.reference()
        if product <= 0 and not self.valuation.is_inverse:
            return 0
        return self.valuation.exposure_e8(product, units)

    cpdef object worst_e8(self):
        """Worst-case notional over both sides."""
        return max(self.side_e8(True), self.side_e8(False))


cdef class ExposureBook:
    """Every instrument's open orders and position, and the sum of their worst-case notionals.

    Args:
        instrument_of: gives the instrument row of an id; called once for each instrument.
    """

    def __init__(self, instrument_of):
        self._instrument_of = instrument_of
        self._rows = {}
        self.total_e8 = 0

    cpdef InstrumentExposure row(self, object instrument_id):
        """The instrument's entry, made on first use."""
        cdef InstrumentExposure row = self._rows.get(instrument_id)
        if row is None:
            row = InstrumentExposure(Valuation(self._instrument_of(instrument_id)))
            self._rows[instrument_id] = row
        return row

    def __iter__(self):
        return iter(self._rows.items())

    cpdef adjust(self, object instrument_id, int side, object units, object product, int64_t orders):
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
        cdef InstrumentExposure row = self.row(instrument_id)
        if side == _BUY:
            row.open_buy_units += units
            row.open_buy_product += product
        else:
            row.open_sell_units += units
            row.open_sell_product += product
        row.open_orders += orders
        if row.open_buy_units < 0 or row.open_sell_units < 0 or row.open_orders < 0:
            raise ExposureError(
                f"instrument {instrument_id}: open buys {row.open_buy_units}, sells {row.open_sell_units}, "
                f"orders {row.open_orders} after a change of {units} units and {orders} orders"
            )
        self._revalue(row)

    cpdef object apply_fill(
        self, object instrument_id, int side, object price_units, object units, object fee_e8
    ):
        """Book a fill and return the signed position after it; what was open is changed by `adjust`."""
        cdef InstrumentExposure row = self.row(instrument_id)
        cdef object position = row.position.apply_fill(side, price_units, units, fee_e8)
        self._revalue(row)
        return position

    cpdef mark(self, object instrument_id, object price_units):
        """Take a new mark price; costs next to nothing while flat."""
        cdef InstrumentExposure row = self.row(instrument_id)
        if price_units == row.mark_price_units:
            return
        row.mark_price_units = price_units
        if row.position.quantity_units:
            self._revalue(row)

    cpdef object position_units(self, object instrument_id):
        """Signed net position."""
        cdef InstrumentExposure row = self._rows.get(instrument_id)
        return row.position.quantity_units if row is not None else 0

    cpdef object reference_price_units(self, object instrument_id):
        """Price for valuing an order that has none: mark, else average entry price, else 0."""
        return self.row(instrument_id).reference()

    cdef _revalue(self, InstrumentExposure row):
        cdef object worst = row.worst_e8()
        self.total_e8 += worst - row.exposure_e8
        row.exposure_e8 = worst
