# cython: language_level=3
"""C face of the websocket listeners: subclass `FrameListener` and override `on_text`."""

from libc.stdint cimport int64_t, uint64_t
from picows.picows cimport WSFrame, WSListener, WSTransport

from feeds.pump cimport FramePump


cdef class FrameListener(WSListener):
    cdef readonly int64_t alive_ns
    cdef readonly uint64_t frames
    cdef readonly uint64_t faults
    cdef readonly uint64_t oversized
    cdef readonly str last_fault
    cdef public str close_text
    cdef readonly bint is_open  # the handshake was done
    cdef Py_ssize_t _frame_bytes_max
    cdef bytearray _parts

    # What is raised is counted and logged; the connection stays.
    cdef int on_text(self, const char *p, Py_ssize_t n, int64_t frame_ns) except -1
    # The frames of one socket read have all been taken; also when the last of them raised.
    cdef void on_batch_end(self) noexcept
    cdef int _take(self, WSTransport transport, WSFrame frame, int64_t frame_ns) except -1
    cdef int _deliver(self, const char *p, Py_ssize_t n, int64_t frame_ns) except -1
    cdef int _on_part(self, WSTransport transport, WSFrame frame, int64_t frame_ns) except -1


cdef class CallbackListener(FrameListener):
    cdef object _handler
    cdef object _on_open


cdef class FeedListener(FrameListener):
    cdef FramePump _pump
    cdef object _session
    cdef readonly int64_t connection
