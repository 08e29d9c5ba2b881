# cython: language_level=3
cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef enum:
    # enums.OrderStatus: FILLED, CANCELED, REJECTED, EXPIRED, DENIED.
    TERMINAL_MASK = 1 << 4 | 1 << 6 | 1 << 8 | 1 << 9 | 1 << 10


cdef inline bint is_ended(int status) noexcept nogil:
    return 0 <= status < 31 and TERMINAL_MASK >> status & 1


@cython.no_gc
cdef class Order:
    cdef public uint64_t client_order_id
    cdef public uint64_t root_client_order_id
    cdef public uint64_t new_client_order_id
    cdef public uint64_t venue_order_id
    cdef public uint32_t instrument_id
    cdef public int side
    cdef public int order_type
    cdef public int time_in_force
    cdef public int flags
    cdef public int status
    cdef public int request_status
    cdef public int reason
    cdef public bint sent
    cdef public bint acknowledged
    cdef public bint is_pending_cancel
    cdef public bint is_pending_replace
    cdef public uint32_t actor_id
    cdef public uint32_t worker_slot
    cdef public uint32_t incarnation
    cdef public uint64_t generation
    cdef public uint64_t epoch
    cdef public int64_t price_units
    cdef public int64_t value_price_units
    cdef public int64_t order_units
    cdef public int64_t filled_units
    cdef public int64_t leaves_units
    cdef public int64_t new_price_units
    cdef public int64_t new_units
    cdef public int64_t frame_ns
    cdef public int64_t decide_ns
    cdef public int64_t gate_ns
    cdef public int64_t send_ns
    cdef public int64_t ack_ns
    cdef public int64_t request_ns
    cdef public int64_t reserved_units
    # A price times a quantity can be larger than 64 bits.
    cdef public object reserved_product
    cdef public object fill_product
    # None = only the id it was placed under: orders by the hundred thousand are no work for the collector.
    cdef list _aliases
    cdef public object trade_ids
    cdef int begin(
        self, uint64_t client_order_id, uint32_t instrument_id, int side, int64_t price_units, int64_t order_units
    ) except -1
    cpdef int working_status(self)
    cpdef bint has_new_terms(self, int64_t price_units, int64_t units)
    cpdef take_terms(self, int64_t price_units, int64_t units)
