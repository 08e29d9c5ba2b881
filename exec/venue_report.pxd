# cython: language_level=3
cimport cython


@cython.freelist(64)
@cython.no_gc
cdef class VenueReport:
    # Numbers of a venue's making: kept as they were read, judged by the OMS.
    cdef public object event
    cdef public object client_order_id
    cdef public object instrument_id
    cdef public object side
    cdef public object venue_order_id
    cdef public object reason
    cdef public object price_units
    cdef public object order_units
    cdef public object trade_id
    cdef public object last_units
    cdef public object last_price_units
    cdef public object liquidity
    cdef public object fee_units
    cdef public object venue_utc_ns
