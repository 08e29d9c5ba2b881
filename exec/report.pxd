# cython: language_level=3
from libc.stdint cimport int64_t, uint64_t

from shm.records cimport IntentRecord, ReportRecord

from exec.order cimport Order
from exec.venue_report cimport VenueReport


cdef class OmsStatistics:
    cdef public int64_t reports
    cdef public int64_t fills
    cdef public int64_t duplicate_fills
    cdef public int64_t late_fills
    cdef public int64_t overfills
    cdef public int64_t stranger_fills
    cdef public int64_t unknown_reports
    cdef public int64_t ignored
    cdef public int64_t breaches
    cdef public int64_t denied
    cdef public int64_t cancels_refused
    cdef public int64_t unjournaled


cpdef tuple counters_of(ReportRecord report)
cpdef report_for(ReportRecord record, Order order, int kind, int reason, int64_t now_ns)
cpdef fill_report(ReportRecord record, Order order, VenueReport report, int64_t now_ns)
cpdef blank_report(ReportRecord record, IntentRecord intent, uint64_t epoch, int kind, int reason, int64_t now_ns)
