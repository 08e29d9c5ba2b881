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


cdef class BatchPolicy:
    cdef readonly int batch_min
    cdef readonly int batch_max
    cdef readonly int64_t young_ns
    cdef readonly int64_t old_ns
    cdef int c_limit(self, int64_t age_ns) noexcept


cdef class Source:
    cdef public int order
    cdef public int index
    cdef bint is_urgent  # looked at again between the batches of the others
    cdef bint is_full  # the last poll took all it might: there may be more
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
    cdef int _conflate(self, shm_market_record* first, int count) noexcept
    cdef int _take(self, shm_market_record* first, int count, int64_t drain_ns) except -1
    cdef int _tell_lapped(self) except -1


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
    cdef readonly BatchPolicy policy
    cdef readonly list sources
    cdef list _urgent
    cdef bint _is_looking
    cdef int _urgent_total
    cdef list routes
    cdef bint* wanted
    cdef object _memory
    cdef public object on_error
    cdef Histogram ring_ns
    cdef Histogram decode_ns
    cdef Histogram cycle_ns
    cdef Histogram age_ns
    cdef Histogram batch
    cdef Counter records
    cdef Counter conflated
    cdef readonly uint64_t cycles
    cdef readonly uint64_t dispatched
    cdef readonly int64_t last_cycle_ns
    cdef readonly int64_t cycle_ns_max
    cdef public int64_t spin_ns
    # Take what waits on the urgent rings, in the middle of a batch of another.
    cdef int look_again(self) except -1
    cdef int dispatch(self, const shm_market_record* record, int64_t drain_ns) except -1
