# cython: language_level=3
"""C face of the records: fields without boxing, load and store by pointer."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from shm.layout cimport (
    SHM_CERTIFICATES, shm_certificate_ref, shm_intent_record, shm_market_record, shm_report_record,
)


cdef class Record:
    cdef readonly Py_ssize_t size_bytes
    cdef void read(self, const void *source) noexcept
    cdef void write(self, void *target) noexcept
    cpdef void load(self, object buffer, Py_ssize_t offset=*) except *
    cpdef void store_into(self, object buffer, Py_ssize_t offset=*) except *
    cpdef bytes to_bytes(self)
    cpdef void reset(self) except *


@cython.final
cdef class MarketRecord(Record):
    cdef public uint16_t kind
    cdef public uint8_t book_state
    cdef public uint8_t side
    cdef public uint32_t instrument_id
    cdef public uint32_t epoch
    cdef public uint32_t live_id
    cdef public int64_t last_sequence
    cdef public int64_t value0
    cdef public int64_t value1
    cdef public int64_t value2
    cdef public int64_t value3
    cdef public int64_t frame_ns
    cdef public int64_t publish_ns
    cdef public int64_t venue_utc_ns
    cdef public uint32_t reason
    cdef public uint32_t bid_count
    cdef public uint32_t ask_count
    cdef public uint32_t flags
    cdef void from_ptr(self, const shm_market_record *source) noexcept
    cdef void to_ptr(self, shm_market_record *target) noexcept


@cython.final
cdef class IntentRecord(Record):
    cdef public uint16_t kind
    cdef public uint8_t side
    cdef public uint8_t order_type
    cdef public uint8_t time_in_force
    cdef readonly uint8_t certificate_count
    cdef public uint16_t flags
    cdef public uint32_t actor_id
    cdef public uint32_t instrument_id
    cdef public uint32_t worker_slot
    cdef public uint32_t incarnation
    cdef public uint64_t epoch
    cdef public uint64_t generation
    cdef public uint64_t client_order_id
    cdef public uint64_t orig_client_order_id
    cdef public int64_t price_units
    cdef public int64_t quantity_units
    cdef public int64_t frame_ns
    cdef public int64_t publish_ns
    cdef public int64_t drain_ns
    cdef public int64_t decide_ns
    cdef shm_certificate_ref refs[SHM_CERTIFICATES]
    cdef void from_ptr(self, const shm_intent_record *source) noexcept
    cdef void to_ptr(self, shm_intent_record *target) noexcept
    cpdef void add_certificate(
        self, uint32_t instrument_id, uint32_t epoch, uint32_t live_id, int64_t last_sequence
    ) except *
    cpdef void clear_certificates(self) except *


@cython.final
cdef class ReportRecord(Record):
    cdef public uint16_t kind
    cdef public uint8_t side
    cdef public uint8_t order_status
    cdef public uint8_t request_status
    cdef public uint8_t liquidity
    cdef public uint16_t reason
    cdef public uint32_t actor_id
    cdef public uint32_t instrument_id
    cdef public uint64_t client_order_id
    cdef public uint64_t orig_client_order_id
    cdef public uint64_t venue_order_id
    cdef public uint64_t trade_id
    cdef public int64_t price_units
    cdef public int64_t order_units
    cdef public int64_t filled_units
    cdef public int64_t leaves_units
    cdef public int64_t last_units
    cdef public int64_t last_price_units
    cdef public int64_t fee_units
    cdef public int64_t position_units
    cdef public int64_t frame_ns
    cdef public int64_t decide_ns
    cdef public int64_t gate_ns
    cdef public int64_t send_ns
    cdef public int64_t ack_ns
    cdef public int64_t report_ns
    cdef public int64_t venue_utc_ns
    cdef public uint64_t generation
    cdef public uint64_t epoch
    cdef void from_ptr(self, const shm_report_record *source) noexcept
    cdef void to_ptr(self, shm_report_record *target) noexcept
