# cython: language_level=3, freethreading_compatible=False
"""One thing a venue said about one of our orders."""

cimport cython


@cython.freelist(64)
@cython.no_gc
cdef class VenueReport:
    """One thing a venue said about one of our orders, in our units; decoded, not yet applied.

    Args:
        event: `exec.lifecycle.Event`: ACCEPTED, REJECTED, FILL_PART (for any fill; the OMS finds out whether
            it was the last), CANCELED, CANCEL_REJECTED, REPLACED, REPLACE_REJECTED, EXPIRED or NOT_FOUND.
        client_order_id: any id of the order; the one it was placed under suffices.
        price_units, order_units: terms in force at the venue (ACCEPTED, REPLACED), else 0.
        last_units, last_price_units, trade_id, liquidity, fee_units: of a fill; fee in 10^-8 of settlement.
    """

    __slots__ = (
        "client_order_id",
        "event",
        "fee_units",
        "instrument_id",
        "last_price_units",
        "last_units",
        "liquidity",
        "order_units",
        "price_units",
        "reason",
        "side",
        "trade_id",
        "venue_order_id",
        "venue_utc_ns",
    )

    def __init__(self, event, client_order_id, instrument_id, side, *, venue_order_id=0, reason=0,
                 price_units=0, order_units=0, trade_id=0, last_units=0, last_price_units=0, liquidity=0,
                 fee_units=0, venue_utc_ns=0):
        self.event = event
        self.client_order_id = client_order_id
        self.instrument_id = instrument_id
        self.side = side
        self.venue_order_id = venue_order_id
        self.reason = reason
        self.price_units = price_units
        self.order_units = order_units
        self.trade_id = trade_id
        self.last_units = last_units
        self.last_price_units = last_price_units
        self.liquidity = liquidity
        self.fee_units = fee_units
        self.venue_utc_ns = venue_utc_ns

    def __repr__(self):
        return f"VenueReport({', '.join(f'{name}={getattr(self, name)}' for name in self.__slots__)})"
