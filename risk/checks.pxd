# cython: language_level=3
"""C face of the checks: called by the gate without boxing."""

from libc.stdint cimport int64_t, uint64_t

cpdef int check_shape(
    int side, int order_type, int time_in_force, int flags, int64_t price_units, int64_t quantity_units
) noexcept
cpdef int check_generation(uint64_t generation, uint64_t in_force, uint64_t newest) noexcept
cpdef int check_status(int status) noexcept
cpdef int check_tick(int64_t price_units, int64_t tick_size) noexcept
cpdef int check_quantity(int64_t quantity_units, int64_t lot_size, int64_t minimum, int64_t maximum) noexcept
cpdef int check_order_size(
    int64_t quantity_units, object notional_e8, int64_t limit_units, object limit_e8
) except -1
cpdef int check_notional_min(object notional_e8, int64_t minimum_e8) except -1
cpdef int check_intent_age(int64_t now_ns, int64_t decide_ns, int64_t limit_ns) noexcept
cpdef int check_superseded(int64_t now_ns, int64_t publish_ns, int64_t limit_ns) noexcept
cpdef int check_open_orders(int64_t open_orders, int64_t limit) noexcept
cpdef bint is_reducing(
    int side, object quantity_units, object position_units, object open_same_side_units
) except -1
cpdef int check_position(object side_e8, object limit_e8) except -1
cpdef int check_exposure(object total_e8, object before_e8, object after_e8, object limit_e8) except -1
cpdef int check_certificate(
    int64_t cited_epoch, int64_t cited_live_id, int64_t epoch, int64_t live_id, int state
) noexcept
cpdef int check_freshness(
    int64_t now_ns, int64_t alive_ns, int64_t data_ns, int64_t max_silence_ns, int64_t max_data_age_ns
) noexcept
cpdef int check_band(
    int side, int64_t price_units, int64_t best_bid, int64_t best_ask, int64_t band_bps
) noexcept
