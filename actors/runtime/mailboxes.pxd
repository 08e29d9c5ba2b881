# cython: language_level=3
from libc.stdint cimport int64_t, uint32_t, uint64_t

from actors.runtime.intents cimport Moment
from shm.counters cimport Counter
from shm.histogram cimport Histogram
from shm.layout cimport (
    shm_certificate_ref, shm_intent_record, shm_market_record, shm_report_record,
)
from shm.records cimport IntentRecord, MarketRecord, ReportRecord
from shm.ring cimport Subscriber
from shm.spsc cimport Consumer


cdef class Route:
    cdef public object handler
    cdef public object binding
    cdef public str name
    cdef public bint active
    cdef public int rank


cdef class Source:
    cdef public int order
    cdef public int index
    cdef int poll(self, int limit) except -1
    cdef bint has_pending(self) noexcept


cdef class MarketSource(Source):
    cdef Subscriber subscriber
    cdef Mailbox mailbox
    cdef public object on_lapped
    cdef uint64_t lost
    cdef uint64_t* newest
    cdef uint64_t batch
    cdef shm_market_record* scratch
    cdef int scratch_count
    cdef object _memory
    cdef int _conflate(self, int count) noexcept


cdef class ReportSource(Source):
    cdef Consumer consumer
    cdef Mailbox mailbox
    cdef shm_report_record* scratch
    cdef int scratch_count
    cdef object _memory
    cdef public ReportRecord record
    cdef public object deliver


cdef class IntentSource(Source):
    cdef Consumer consumer
    cdef shm_intent_record* scratch
    cdef int scratch_count
    cdef object _memory
    cdef readonly IntentRecord record
    cdef public object handler
    cdef public object argument


cdef class CallSource(Source):
    cdef object call
    cdef object check


cdef class Mailbox:
    cdef readonly Moment moment
    cdef readonly MarketRecord record
    cdef readonly list sources
    cdef list routes
    cdef bint* wanted
    cdef object _memory
    cdef public object on_error
    cdef Histogram ring_ns
    cdef Histogram decode_ns
    cdef Histogram cycle_ns
    cdef Counter records
    cdef Counter conflated
    cdef readonly uint64_t cycles
    cdef readonly int64_t last_cycle_ns
    cdef readonly int64_t cycle_ns_max
    cdef int dispatch(self, const shm_market_record* record, int64_t drain_ns) except -1
