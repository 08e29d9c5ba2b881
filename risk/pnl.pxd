# cython: language_level=3
"""C face of the valuation: called by exposures and the gate."""


cpdef object round_half_even(object numerator, object denominator)
cpdef object unrealized_product(
    Valuation valuation, object quantity_units, object cost_product, object mark_price_units
)


cdef class Valuation:
    cdef readonly bint is_inverse
    cdef readonly object settle_denominator
    cdef readonly object settle_numerator
    cdef readonly object value_denominator
    cdef readonly object value_numerator
    cpdef object product(self, object price_units, object quantity_units)
    cpdef object settle_e8(self, object product)
    cpdef object exposure_e8(self, object product, object quantity_units)
