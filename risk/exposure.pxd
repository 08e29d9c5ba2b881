# cython: language_level=3
"""C face of the exposure book: what gate and OMS read without attribute look-ups."""

from libc.stdint cimport int64_t

from risk.pnl cimport Valuation


cdef class InstrumentExposure:
    cdef public object exposure_e8
    cdef public object mark_price_units
    cdef public object open_buy_product
    cdef public object open_buy_units
    cdef public int64_t open_orders
    cdef public object open_sell_product
    cdef public object open_sell_units
    cdef public object position
    cdef public Valuation valuation
    cdef object reference(self)
    cpdef object side_e8(self, bint buys, object more_units=*, object more_product=*)
    cpdef object worst_e8(self)


cdef class ExposureBook:
    cdef object _instrument_of
    cdef dict _rows
    cdef public object total_e8
    cpdef InstrumentExposure row(self, object instrument_id)
    cpdef adjust(self, object instrument_id, int side, object units, object product, int64_t orders)
    cpdef object apply_fill(
        self, object instrument_id, int side, object price_units, object units, object fee_e8
    )
    cpdef mark(self, object instrument_id, object price_units)
    cpdef object position_units(self, object instrument_id)
    cpdef object reference_price_units(self, object instrument_id)
    cdef _revalue(self, InstrumentExposure row)
