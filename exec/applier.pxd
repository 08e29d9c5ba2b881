# cython: language_level=3
from libc.stdint cimport int64_t, uint64_t

from exec.order cimport Order
from exec.order_index cimport OrderIndex
from exec.report cimport OmsStatistics
from exec.venue_report cimport VenueReport
from shm.records cimport ReportRecord


cdef struct Cell:
    # One cell of the lifecycle table; an outcome of 0 = there is no such status or event.
    int outcome
    int status


cdef Cell decided(int status, int event) except *


cdef class ReportApplier(OrderIndex):
    cdef readonly uint64_t epoch
    cdef readonly object ledger
    cdef public object on_report
    cdef readonly OmsStatistics statistics
    cdef readonly ReportRecord record
    cdef public dict _strangers
    cpdef apply_report(self, VenueReport report, int64_t now_ns)
    cpdef word(self, Order order, int event, int64_t now_ns, int reason, VenueReport report)
    cpdef cancel_rejected(self, Order order, int reason, int64_t now_ns)
    cpdef replace_rejected(self, Order order, int reason, int64_t now_ns)
    cpdef settle(self, Order order, int status)
    cpdef reserve(self, Order order)
    cpdef report(self, Order order, int kind, int reason, int64_t now_ns)
    cpdef send(self, ReportRecord record)
    cdef _fill(self, Order order, VenueReport report, int64_t now_ns)
    cdef _end(self, Order order, int event, int reason, int64_t now_ns)
    cdef _accepted(self, Order order, VenueReport report, int64_t now_ns)
    cdef bint _settle_requests(self, Order order, VenueReport report, int64_t now_ns) except -1
    cdef _replaced(self, Order order, VenueReport report, int64_t now_ns)
    cdef _stranger_fill(self, VenueReport report, int64_t now_ns)
