# cython: language_level=3, freethreading_compatible=False
"""What happens to every received frame, before any Python runs: core, liveness, plausibility prefilter.

The websocket listener and a replay both come through here, so they do exactly the same. Accepted frames of LIVE books
make no Python call but one in `SAMPLE_EVERY` (or 50 ms); everything that needs a decision goes to the session.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free

from feeds.anomaly cimport FEED_FOUND_ANOMALY, FEED_FOUND_JUMP, FEED_FOUND_VOLUME, Watches
from feeds.core cimport FeedCore
from feeds.message cimport FEED_LINES_MAX, FEED_TRADE, feed_book_refresh
from feeds.publishing cimport C_FRAMES, feed_instrument
from shm.book cimport touch_stream
from shm.layout cimport shm_level
from feeds.errors import FeedError
from shm.enums import BookReason, BookState

cdef enum:
    APPLIED = 0
    PUBLISHED = 1
    DEPTH_PENDING = 2
    CONTROL = 6
    DUPLICATE = 7
    LATE = 10
    REASON_TIMESTAMP = 15
    REASON_SPREAD = 16
    REASON_PRICE_JUMP = 17
    REASON_VOLUME_SPIKE = 18
    REASON_ANOMALY = 19
    STATE_STALE = 3
    # Between samples the offset moves little; every frame is still judged.
    SAMPLE_EVERY = 64
    SAMPLE_AFTER_NS = 50_000_000

assert REASON_TIMESTAMP == BookReason.TIMESTAMP and REASON_SPREAD == BookReason.SPREAD
assert (REASON_PRICE_JUMP, REASON_VOLUME_SPIKE) == (BookReason.PRICE_JUMP, BookReason.VOLUME_SPIKE)
assert REASON_ANOMALY == BookReason.ANOMALY and STATE_STALE == BookState.STALE


cdef class FramePump:
    """Takes frames of a session's connections.

    `session` needs `on_result(code, frame, frame_ns, connection)`, called with a copy of each frame the core did not
    fully deal with, `on_advanced(instrument_id, frame_ns)`, called after an update of a book behind which others are parked,
    `on_sample(connection, receive_ns, venue_utc_ns)` and `on_suspect(reason, frame_ns, instrument_id)`.
    What they raise is raised by `feed`, after the frame was counted; a websocket listener counts it as a fault.

    Frames of one socket read are a batch: its first record rings the bell at once, the others when the batch ends, when
    the oldest has waited `core.bells.age_ns_max`, or before the session is called.
    """

    def __init__(self, FeedCore core not None, session, uint32_t connections, int64_t deviation_ns, double spread_bps,
                 watch=None):
        if self._connections != NULL:
            raise FeedError("a pump is made once")
        self._core = core
        self._session = session
        self._count = connections
        self.deviation_ns = deviation_ns
        self.spread_bps = spread_bps
        self._connections = <pump_connection *>calloc(connections, sizeof(pump_connection))
        self._kept = <uint8_t *>calloc(core._capacity, 1)
        if self._connections == NULL or self._kept == NULL:
            raise MemoryError("connections")
        for number in range(connections):
            self._connections[number].stream = number
        if watch is not None:
            self._watches = Watches(watch, core._capacity)

    def __dealloc__(self):
        free(self._connections)
        free(self._kept)

    cdef pump_connection *_get(self, int64_t connection) except NULL:
        if connection < 0 or connection >= self._count:
            raise FeedError(f"connection {connection} is beyond the session's {self._count}")
        return &self._connections[connection]

    cdef int on_text(self, const char *p, Py_ssize_t n, int64_t frame_ns, int64_t connection) except -1:
        cdef pump_connection *c = self._get(connection)
        cdef FeedCore core = self._core
        cdef int64_t number, venue_utc_ns, deviation
        cdef uint32_t found = 0
        cdef int result
        c.frames += 1
        core.line = c.line
        if core.bells.owed:
            core.signal_rings(core.bells.c_due(frame_ns))
        core.is_batching = True
        result = core.on_frame_ptr(p, n, frame_ns)
        core.is_batching = False
        if result != CONTROL:  # an answer to a ping says nothing of the streams
            c.alive_ns = frame_ns
            touch_stream(core._slab, c.stream, frame_ns)
        number = core.instrument_id
        venue_utc_ns = core.venue_utc_ns
        if result <= PUBLISHED:
            c.won += 1
        elif result == LATE or result == DUPLICATE:
            c.late += 1
            if result == LATE:
                return result
        if result > PUBLISHED:
            self._signal_owed()
            self._session.on_result(result, PyBytes_FromStringAndSize(p, n), frame_ns, connection)
            if result > DEPTH_PENDING:
                return result
            # A book that is kept STALE is looked at all the same: so it is known when it has calmed down.
            if self._watches is not None and core._instruments[number].head.certificate.state == STATE_STALE:
                feed_book_refresh(core._instruments[number].book)
                found = self._look(core._instruments[number], frame_ns)
        elif result == APPLIED:
            if self._kept[number] and self.keeper is not None:
                self._signal_owed()
                self.keeper(number, PyBytes_FromStringAndSize(p, n), frame_ns)
            if self.spread_bps > 0 and self._is_wide(number):
                self._suspect(REASON_SPREAD, frame_ns, number)
            if self._watches is not None:
                found = self._look(core._instruments[number], frame_ns)
            if core._instruments[number].merge != NULL and core._instruments[number].merge.parked:
                self._signal_owed()
                self._session.on_advanced(number, frame_ns)
        elif core.message_kind == FEED_TRADE and self._watches is not None:
            found = self._watches.c_totals(number, &core._instruments[number].head.totals, frame_ns)
        if found:
            self._found(found, frame_ns, number)
        if venue_utc_ns == 0 or self.deviation_ns <= 0:
            return result
        deviation = frame_ns - venue_utc_ns - c.offset_ns
        if c.is_ready and (deviation > self.deviation_ns or deviation < -self.deviation_ns):
            self._suspect(REASON_TIMESTAMP, frame_ns, number)
        if not c.is_ready or c.frames % SAMPLE_EVERY == 0 or frame_ns - c.sampled_ns > SAMPLE_AFTER_NS:
            c.sampled_ns = frame_ns
            self._signal_owed()
            self._session.on_sample(connection, frame_ns, venue_utc_ns)
        return result

    cdef void _signal_owed(self) noexcept nogil:
        # The session is Python: nobody waits for it.
        if self._core.bells.owed:
            self._core.signal_rings(self._core.bells.c_take())

    cdef void end_batch(self) noexcept nogil:
        self._core.signal_rings(self._core.bells.c_end())

    cdef int _suspect(self, int reason, int64_t frame_ns, int64_t number) except -1:
        self._signal_owed()
        self._session.on_suspect(reason, frame_ns, number)
        return 0

    cdef int _found(self, uint32_t found, int64_t frame_ns, int64_t number) except -1:
        if found & FEED_FOUND_JUMP:
            self._suspect(REASON_PRICE_JUMP, frame_ns, number)
        if found & FEED_FOUND_VOLUME:
            self._suspect(REASON_VOLUME_SPIKE, frame_ns, number)
        if found & FEED_FOUND_ANOMALY:
            self._suspect(REASON_ANOMALY, frame_ns, number)
        return 0

    cdef uint32_t _look(self, feed_instrument *e, int64_t frame_ns) noexcept nogil:
        cdef shm_level *bid = e.book.side[0].top
        cdef shm_level *ask = e.book.side[1].top
        if e.book.side[0].top_count == 0 or e.book.side[1].top_count == 0:
            return 0
        return self._watches.c_book(
            e.head.certificate.instrument_id, e.head.certificate.live_id, bid.price_units, bid.quantity_units,
            ask.price_units, ask.quantity_units, frame_ns,
        )

    cdef bint _is_wide(self, int64_t number) noexcept nogil:
        cdef feed_instrument *e = self._core._instruments[number]
        cdef double bid, ask
        if e.head.bid_count == 0 or e.head.ask_count == 0:
            return False
        bid = <double>e.book.side[0].top[0].price_units
        ask = <double>e.book.side[1].top[0].price_units
        return bid > 0 and (ask - bid) * 20000.0 > self.spread_bps * (ask + bid)

    def feed(self, frame, int64_t frame_ns, int64_t connection=0):
        """Takes one frame as received at `frame_ns` on a connection, a batch of its own; returns the core's FrameResult number.

        Raises FeedError for a connection beyond the session's, and what the session raises.
        """
        cdef Py_buffer view
        cdef int result
        PyObject_GetBuffer(frame, &view, PyBUF_SIMPLE)
        try:
            result = self.on_text(<const char *>view.buf, view.len, frame_ns, connection)
        finally:
            self.end_batch()
            PyBuffer_Release(&view)
        return result

    def watch(self, int64_t instrument_id, int64_t tick_size):
        """Begins to watch an instrument for jumps, spikes and anomalies; without watch settings it does nothing."""
        if self._watches is not None:
            self._watches.add(instrument_id, tick_size)

    def keep(self, int64_t instrument_id, bint is_kept):
        """Says whether `keeper(instrument_id, frame, frame_ns)` gets each update applied to a LIVE book.

        What it raises is raised by `feed`. Raises FeedError for an instrument beyond the slab.
        """
        if not 0 <= instrument_id < self._core._capacity:
            raise FeedError(f"instrument {instrument_id} is beyond the slab's {self._core._capacity}")
        self._kept[instrument_id] = is_kept

    def take_up(self, bytes frame, int64_t frame_ns):
        """Takes a parked depth frame again, now that the hole before it may be filled; returns the core's FrameResult number."""
        cdef FeedCore core = self._core
        cdef int result
        core.line = -1
        core._counts[C_FRAMES] -= 1  # it was counted when it came
        result = core.on_frame_ptr(PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame), frame_ns)
        if result == APPLIED and self._kept[core.instrument_id] and self.keeper is not None:
            self.keeper(core.instrument_id, frame, frame_ns)
        return result

    def set_offset(self, int64_t connection, int64_t offset_ns, bint is_ready):
        """Sets the measured receive-minus-event offset of a connection; judged only while `is_ready`."""
        cdef pump_connection *c = self._get(connection)
        c.offset_ns = offset_ns
        c.is_ready = is_ready

    def set_line(self, int64_t connection, uint32_t stream, uint32_t line):
        """Says which stream a connection carries and as which of its lines; its counts begin anew. At first: its own number, line 0.

        Raises FeedError for more lines than a stream may have.
        """
        cdef pump_connection *c = self._get(connection)
        if line >= FEED_LINES_MAX:
            raise FeedError(f"line {line} is beyond a stream's {FEED_LINES_MAX}")
        c.stream = stream
        c.line = line
        c.frames = c.won = c.late = 0

    def arrivals(self, int64_t connection):
        """(frames, won, late) of a connection: how many came, were first, were behind another line."""
        cdef pump_connection *c = self._get(connection)
        return c.frames, c.won, c.late

    def alive_ns(self, int64_t connection):
        """Time of the last frame on a connection that was no answer or notice, 0 = none yet."""
        return self._get(connection).alive_ns

    def touch(self, int64_t connection, int64_t now_ns):
        """Sets a connection's liveness without a frame: it has just been opened."""
        self._get(connection).alive_ns = now_ns

    def frames(self, int64_t connection):
        """Frames received on a connection."""
        return self._get(connection).frames
