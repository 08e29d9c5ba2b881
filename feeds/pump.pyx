# cython: language_level=3, freethreading_compatible=False
"""What happens to every received frame, before any Python runs: core, liveness, plausibility prefilter.

The websocket listener and a replay both come through here, so they do exactly the same. Accepted frames of LIVE books
make no Python call but one in `SAMPLE_EVERY` (or 50 ms); everything that needs a decision goes to the session.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free

from feeds.core cimport FeedCore, feed_instrument
from feeds.errors import FeedError
from shm.enums import BookReason

cdef enum:
    APPLIED = 0
    PUBLISHED = 1
    DEPTH_PENDING = 2
    REASON_TIMESTAMP = 15
    REASON_SPREAD = 16
    # Between samples the offset moves little; every frame is still judged.
    SAMPLE_EVERY = 64
    SAMPLE_AFTER_NS = 50_000_000

assert REASON_TIMESTAMP == BookReason.TIMESTAMP and REASON_SPREAD == BookReason.SPREAD


cdef class FramePump:
    """Takes frames of a session's connections.

    `session` needs `on_result(code, frame, frame_ns, connection)`, called with a copy of each frame the core did not
    fully deal with, `on_sample(connection, receive_ns, venue_utc_ns)` and `on_suspect(reason, frame_ns, instrument_id)`.
    What they raise is raised by `feed`, after the frame was counted; a websocket listener counts it as a fault.
    """

    def __init__(self, FeedCore core not None, session, uint32_t connections, int64_t deviation_ns, double spread_bps):
        if self._connections != NULL:
            raise FeedError("a pump is made once")
        self._core = core
        self._session = session
        self._count = connections
        self.deviation_ns = deviation_ns
        self.spread_bps = spread_bps
        self._connections = <pump_connection *>calloc(connections, sizeof(pump_connection))
        if self._connections == NULL:
            raise MemoryError("connections")

    def __dealloc__(self):
        free(self._connections)

    cdef pump_connection *_get(self, int64_t connection) except NULL:
        if connection < 0 or connection >= self._count:
            raise FeedError(f"connection {connection} is beyond the session's {self._count}")
        return &self._connections[connection]

    cdef int on_text(self, const char *p, Py_ssize_t n, int64_t frame_ns, int64_t connection) except -1:
        cdef pump_connection *c = self._get(connection)
        cdef FeedCore core = self._core
        cdef int64_t number, venue_utc_ns, deviation
        cdef int result
        c.alive_ns = frame_ns
        c.frames += 1
        if connection < core._slab.streams:
            core._slab.touch_stream_ptr(<uint32_t>connection, frame_ns)
        result = core.on_frame_ptr(p, n, frame_ns)
        number = core.instrument_id
        venue_utc_ns = core.venue_utc_ns
        if result > PUBLISHED:
            self._session.on_result(result, PyBytes_FromStringAndSize(p, n), frame_ns, connection)
            if result > DEPTH_PENDING:
                return result
        elif result == APPLIED and self.spread_bps > 0 and self._is_wide(number):
            self._session.on_suspect(REASON_SPREAD, frame_ns, number)
        if venue_utc_ns == 0 or self.deviation_ns <= 0:
            return result
        deviation = frame_ns - venue_utc_ns - c.offset_ns
        if c.is_ready and (deviation > self.deviation_ns or deviation < -self.deviation_ns):
            self._session.on_suspect(REASON_TIMESTAMP, frame_ns, number)
        if not c.is_ready or c.frames % SAMPLE_EVERY == 0 or frame_ns - c.sampled_ns > SAMPLE_AFTER_NS:
            c.sampled_ns = frame_ns
            self._session.on_sample(connection, frame_ns, venue_utc_ns)
        return result

    cdef bint _is_wide(self, int64_t number) noexcept nogil:
        cdef feed_instrument *e = self._core._instruments[number]
        cdef double bid, ask
        if e.head.bid_count == 0 or e.head.ask_count == 0:
            return False
        bid = <double>e.book.side[0].top[0].price_units
        ask = <double>e.book.side[1].top[0].price_units
        return bid > 0 and (ask - bid) * 20000.0 > self.spread_bps * (ask + bid)

    def feed(self, frame, int64_t frame_ns, int64_t connection=0):
        """Takes one frame as received at `frame_ns` on a connection; returns the core's FrameResult number.

        Raises FeedError for a connection beyond the session's, and what the session raises.
        """
        cdef Py_buffer view
        cdef int result
        PyObject_GetBuffer(frame, &view, PyBUF_SIMPLE)
        try:
            result = self.on_text(<const char *>view.buf, view.len, frame_ns, connection)
        finally:
            PyBuffer_Release(&view)
        return result

    def set_offset(self, int64_t connection, int64_t offset_ns, bint is_ready):
        """Sets the measured receive-minus-event offset of a connection; judged only while `is_ready`."""
        cdef pump_connection *c = self._get(connection)
        c.offset_ns = offset_ns
        c.is_ready = is_ready

    def alive_ns(self, int64_t connection):
        """Time of the last frame of any kind on a connection, 0 = none yet."""
        return self._get(connection).alive_ns

    def touch(self, int64_t connection, int64_t now_ns):
        """Sets a connection's liveness without a frame: it has just been opened."""
        self._get(connection).alive_ns = now_ns

    def frames(self, int64_t connection):
        """Frames received on a connection."""
        return self._get(connection).frames
