# cython: language_level=3
from libc.stdint cimport int64_t, uint64_t

from exec.entry_writer cimport OrderEntries
from exec.order cimport Order
from exec.request cimport Request


cdef class Command:
    cdef readonly object kind
    cdef readonly Order order
    cdef readonly int64_t since_ns
    cdef readonly uint64_t new_id
    cdef public int64_t not_before_ns
    cdef public bint is_held


cdef class CommandSender:
    cdef public object on_report
    cdef public bint is_connected
    cdef public OrderEntries entries
    cdef public object protocol
    cdef public object oms
    cdef public object link
    cdef public object rates
    cdef public object times
    cdef public object counts
    cdef public object state
    cdef public int64_t offset_ns
    cdef public object on_event
    cdef public object on_wire
    cdef public object requests
    cdef public object doubts
    cdef public object _utc_ns
    cdef public int64_t _next_id
    cdef public object _retry_ns
    cdef public dict _new_sent_ns
    cdef public set traded
    cdef list _news
    cdef list _replaces
    cdef list _cancels
    cdef bint _is_eager
    cdef list _queue_of(self, object kind)
    cdef int _set_queue(self, object kind, list commands) except -1
    cdef int _take_command(self, object kind, Order order, int64_t now_ns) except -1
    cdef int _send_queue(self, object kind, int64_t now_ns) except -1
    cdef set _roots_ahead(self, object kind)
    cdef list _groups(self, object kind, list commands)
    cdef int64_t _send_group(self, object kind, list group, int64_t now_ns) except? -2
    cdef Request _encode(self, object kind, list orders)
    cdef int _left(self, object kind, list group) except -1
    cpdef int64_t send(self, Request request, int64_t now_ns, orders=*, bint is_paid=*) except? -2
    cdef int _hold(self, object kind, list group, int64_t wait_ns, int64_t now_ns) except -1
    cdef int _keep_back(self, Command command, int64_t now_ns) except -1
    cdef int _release(self, object kind, list group, int64_t now_ns) except -1
    cdef int _retry_at(self, int64_t due_ns) except -1
    cdef int _refuse_unsent(self, Command command, int reason, int64_t now_ns) except -1
