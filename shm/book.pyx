# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""Book slab: the top levels of every book of one feed worker, with the certificate beside them.

One writer (the feed worker), any readers. Each entry stands under a seqlock; a reader copies it whole or is
told BUSY after a bounded number of tries, so a writer that died in the middle never hangs anybody.
"""

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset, strlen

from shm.layout cimport (
    shm_book_head, shm_certificate, shm_level, shm_slab_header, shm_stream, shm_trade_totals,
)

import numpy as np

from typing import NamedTuple

from shm.errors import LayoutError, RecordError

cdef extern from "shm/native/shm_book.h" nogil:
    uint64_t shm_slab_entry_bytes(uint32_t depth)
    uint64_t shm_slab_entries_at(uint32_t streams)
    uint64_t shm_slab_bytes(uint32_t depth, uint32_t capacity, uint32_t streams)
    void shm_book_store(void *entry, uint32_t depth, const shm_book_head *head, const shm_level *bids,
                        const shm_level *asks)
    int shm_book_store_head(void *entry, const shm_book_head *head)
    int shm_book_load_front(const void *entry, void *out, size_t size_bytes)
    int shm_book_load(const void *entry, uint32_t depth, shm_book_head *head, shm_level *bids,
                      uint32_t bid_limit, shm_level *asks, uint32_t ask_limit)
    int64_t shm_stream_alive_ns(const shm_stream *stream)

cdef enum:
    NO_INSTRUMENT = 2
    DEPTH_LIMIT = 4096

DEPTH_MAX = DEPTH_LIMIT


class Certificate(NamedTuple):
    """What a reader must know before it may use a book (`design`: the certificate)."""

    instrument_id: int = 0
    state: int = 0
    epoch: int = 0
    live_id: int = 0
    last_sequence: int = 0
    data_ns: int = 0
    venue_utc_ns: int = 0
    publish_ns: int = 0
    audit_ns: int = 0
    stream: int = 0
    reason: int = 0
    gaps: int = 0
    resyncs: int = 0


class TradeTotals(NamedTuple):
    """Running totals of public trades per aggressor side, so that a lapped reader gets exact differences.

    `notional_*` is the exact sum of price_units × quantity_units.
    """

    buy_count: int = 0
    sell_count: int = 0
    buy_quantity_units: int = 0
    sell_quantity_units: int = 0
    buy_notional: int = 0
    sell_notional: int = 0
    last_trade_id: int = 0
    last_price_units: int = 0


class BookSnapshot(NamedTuple):
    """A coherent copy of one book: certificate, trade totals and levels as (price_units, quantity_units)."""

    certificate: Certificate
    totals: TradeTotals
    bids: tuple
    asks: tuple


cdef object certificate_of(const shm_certificate *c):
    # What Certificate._make does, without its call: the class's own __new__ is Python and takes 200 ns more.
    return tuple.__new__(Certificate, (
        c.instrument_id, c.state, c.epoch, c.live_id, c.last_sequence, c.data_ns, c.venue_utc_ns,
        c.publish_ns, c.audit_ns, c.stream, c.reason, c.gaps, c.resyncs,
    ))


cdef object totals_of(const shm_trade_totals *t):
    return TradeTotals(
        t.count[0], t.count[1], t.quantity_units[0], t.quantity_units[1],
        (<object> t.notional_high[0] << 64) | <object> t.notional_low[0],
        (<object> t.notional_high[1] << 64) | <object> t.notional_low[1],
        t.last_trade_id, t.last_price_units,
    )


cdef tuple levels_of(const shm_level *levels, uint32_t count):
    cdef uint32_t i
    return tuple([(levels[i].price_units, levels[i].quantity_units) for i in range(count)])


cdef int fill_head(shm_book_head *head, object certificate, object totals) except -1:
    memset(head, 0, sizeof(shm_book_head))
    cdef shm_certificate *c = &head.certificate
    c.instrument_id = certificate.instrument_id
    c.state = certificate.state
    c.epoch = certificate.epoch
    c.live_id = certificate.live_id
    c.last_sequence = certificate.last_sequence
    c.data_ns = certificate.data_ns
    c.venue_utc_ns = certificate.venue_utc_ns
    c.publish_ns = certificate.publish_ns
    c.audit_ns = certificate.audit_ns
    c.stream = certificate.stream
    c.reason = certificate.reason
    c.gaps = certificate.gaps
    c.resyncs = certificate.resyncs
    cdef shm_trade_totals *t = &head.totals
    t.count[0] = totals.buy_count
    t.count[1] = totals.sell_count
    t.quantity_units[0] = totals.buy_quantity_units
    t.quantity_units[1] = totals.sell_quantity_units
    t.notional_high[0] = totals.buy_notional >> 64
    t.notional_low[0] = totals.buy_notional & 0xFFFFFFFFFFFFFFFF
    t.notional_high[1] = totals.sell_notional >> 64
    t.notional_low[1] = totals.sell_notional & 0xFFFFFFFFFFFFFFFF
    t.last_trade_id = totals.last_trade_id
    t.last_price_units = totals.last_price_units
    return 0


cdef class BookSlab:
    """The books of one feed worker in a segment payload, indexed by instrument id."""

    def __init__(self):
        raise TypeError("use BookSlab.create or BookSlab.attach")

    @staticmethod
    def bytes_needed(depth: int, capacity: int, streams: int) -> int:
        """Say how many payload bytes a slab of that shape takes."""
        check_shape(depth, capacity, streams)
        return shm_slab_bytes(depth, capacity, streams)

    @staticmethod
    def create(buffer, depth: int, capacity: int, streams: int, owner_slot: int) -> BookSlab:
        """Format a zeroed payload as an empty slab and attach to it.

        Args:
            buffer: writable bytes, at least `bytes_needed(...)`, aligned to 8.
            depth: levels kept per side.
            capacity: number of instrument ids.
            streams: number of websocket stream groups with a liveness stamp of their own.
            owner_slot: worker slot of the one writer.

        Raises:
            LayoutError: the buffer is too small or misaligned, or a number is out of range.
        """
        check_shape(depth, capacity, streams)
        cdef uint8_t[::1] view = buffer
        cdef uint64_t needed = shm_slab_bytes(depth, capacity, streams)
        check_buffer(view, needed)
        memset(&view[0], 0, needed)
        cdef shm_slab_header *header = <shm_slab_header *> &view[0]
        header.capacity = capacity
        header.entry_bytes = shm_slab_entry_bytes(depth)
        header.streams = streams
        header.owner_slot = owner_slot
        header.depth = depth
        return BookSlab.attach(buffer)

    @staticmethod
    def attach(buffer) -> BookSlab:
        """Attach to a formatted slab; a read-only payload makes an attachment that can only load.

        Raises:
            LayoutError: the payload is no slab, or its sizes contradict each other.
        """
        cdef const uint8_t[::1] view = buffer
        check_buffer(view, sizeof(shm_slab_header))
        cdef char *start = <char *> &view[0]
        cdef shm_slab_header *header = <shm_slab_header *> start
        check_shape(header.depth, header.capacity, header.streams)
        if header.entry_bytes != shm_slab_entry_bytes(header.depth):
            raise LayoutError(f"a slab of depth {header.depth} states entries of {header.entry_bytes} bytes")
        check_buffer(view, shm_slab_bytes(header.depth, header.capacity, header.streams))
        cdef BookSlab slab = BookSlab.__new__(BookSlab)
        slab.view = view
        slab.header = header
        slab.depth = header.depth
        slab.capacity = header.capacity
        slab.streams = header.streams
        slab.entry_bytes = header.entry_bytes
        slab.stream_table = <shm_stream *> (start + sizeof(shm_slab_header))
        slab.entries = start + shm_slab_entries_at(header.streams)
        # A store through a read-only mapping would be a SIGSEGV: no entry and no stream is writable there.
        cdef bint writable = not memoryview(buffer).readonly
        slab.writable_entries = slab.capacity if writable else 0
        slab.writable_streams = slab.streams if writable else 0
        return slab

    @property
    def owner_slot(self) -> int:
        """Worker slot of the one writer."""
        return self.header.owner_slot

    cdef void store_ptr(
        self, uint32_t instrument_id, const shm_book_head *head, const shm_level *bids, const shm_level *asks
    ) noexcept nogil:
        if instrument_id < self.writable_entries:
            shm_book_store(self.entries + instrument_id * self.entry_bytes, self.depth, head, bids, asks)

    cdef int store_head_ptr(self, uint32_t instrument_id, const shm_book_head *head) noexcept nogil:
        if instrument_id >= self.writable_entries:
            return NO_INSTRUMENT
        return shm_book_store_head(self.entries + instrument_id * self.entry_bytes, head)

    cdef int load_certificate_ptr(self, uint32_t instrument_id, shm_certificate *out) noexcept nogil:
        if instrument_id >= self.capacity:
            return NO_INSTRUMENT
        return shm_book_load_front(
            self.entries + instrument_id * self.entry_bytes, out, sizeof(shm_certificate)
        )

    cdef int load_head_ptr(self, uint32_t instrument_id, shm_book_head *out) noexcept nogil:
        if instrument_id >= self.capacity:
            return NO_INSTRUMENT
        return shm_book_load_front(self.entries + instrument_id * self.entry_bytes, out,
        sizeof(shm_book_head))

    cdef int load_ptr(
        self, uint32_t instrument_id, shm_book_head *head, shm_level *bids, uint32_t bid_limit, shm_level
        *asks, uint32_t ask_limit
    ) noexcept nogil:
        if instrument_id >= self.capacity:
            return NO_INSTRUMENT
        return shm_book_load(
            self.entries + instrument_id * self.entry_bytes, self.depth, head, bids, bid_limit, asks,
            ask_limit
        )

    cdef void touch_stream_ptr(self, uint32_t stream, int64_t now_ns) noexcept nogil:
        touch_stream(self, stream, now_ns)

    cdef int64_t stream_alive_ptr(self, uint32_t stream) noexcept nogil:
        return shm_stream_alive_ns(self.stream_table + stream) if stream < self.streams else 0

    def store(self, instrument_id: int, certificate, totals, bids, asks) -> None:
        """Store one book whole; for tests and simulators, the feed's core does it without Python.

        Args:
            instrument_id: index of the entry; the certificate's own id is replaced by it.
            certificate: a Certificate.
            totals: a TradeTotals.
            bids, asks: (price_units, quantity_units) pairs, best first, at most `depth` of each.

        Raises:
            RecordError: no such entry, or too many levels; nothing is stored.
        """
        self.check_id(instrument_id)
        if not self.writable_entries:
            raise RecordError("this attachment is read-only")
        if len(bids) > self.depth or len(asks) > self.depth:
            raise RecordError(f"{len(bids)} bids, {len(asks)} asks do not fit a slab of depth {self.depth}")
        cdef shm_book_head head
        fill_head(&head, certificate._replace(instrument_id=instrument_id), totals)
        head.bid_count = len(bids)
        head.ask_count = len(asks)
        cdef int64_t[:, ::1] bid_array = np.array(list(bids) or [(0, 0)], dtype=np.int64).reshape(-1, 2)
        cdef int64_t[:, ::1] ask_array = np.array(list(asks) or [(0, 0)], dtype=np.int64).reshape(-1, 2)
        self.store_ptr(instrument_id, &head, <shm_level *> &bid_array[0, 0], <shm_level *> &ask_array[0, 0])

    def load(self, instrument_id: int):
        """Load a coherent copy of one book, or None when it is BUSY.

        Returns:
            A BookSnapshot; of an entry that was never stored, one with state NONE and no levels.

        Raises:
            RecordError: no such entry.
        """
        self.check_id(instrument_id)
        cdef shm_book_head head
        # Not kept between calls: making tuples may start the garbage collector, and that may load again.
        cdef shm_level *bids = <shm_level *> malloc(2 * self.depth * sizeof(shm_level))
        if bids == NULL:
            raise MemoryError
        cdef shm_level *asks = bids + self.depth
        try:
            if self.load_ptr(instrument_id, &head, bids, self.depth, asks, self.depth) != 0:
                return None
            return BookSnapshot(
                certificate_of(&head.certificate), totals_of(&head.totals), levels_of(bids, head.bid_count),
                levels_of(asks, head.ask_count),
            )
        finally:
            free(bids)

    def load_into(self, instrument_id: int, bids, asks) -> int:
        """Load the levels of one book into arrays of the caller; a kept `BookReader` is much faster.

        Args:
            instrument_id: index of the entry.
            bids, asks: int64 arrays of shape (levels, 2); as many levels as fit are written, best first,
                price_units in column 0, quantity_units in column 1. Rows behind them keep their values.

        Returns:
            bid_count × 65536 + ask_count of the rows written, or -1 when BUSY (the rows are then undefined).

        Raises:
            RecordError: no such entry, or arrays of another shape.
            ValueError: arrays of another type, read-only or not contiguous.
        """
        self.check_id(instrument_id)
        cdef Py_buffer bid_view, ask_view
        cdef shm_book_head head
        open_levels(bids, &bid_view)
        try:
            open_levels(asks, &ask_view)
        except (RecordError, ValueError, TypeError, BufferError):
            PyBuffer_Release(&bid_view)
            raise
        cdef int busy = self.load_ptr(
            instrument_id, &head, <shm_level *> bid_view.buf, <uint32_t> min(bid_view.shape[0], DEPTH_LIMIT),
            <shm_level *> ask_view.buf, <uint32_t> min(ask_view.shape[0], DEPTH_LIMIT)
        )
        PyBuffer_Release(&bid_view)
        PyBuffer_Release(&ask_view)
        return -1 if busy else (head.bid_count << 16) | head.ask_count

    def certificate(self, instrument_id: int):
        """Load the certificate of one book alone, or None when it is BUSY.

        Raises:
            RecordError: no such entry.
        """
        self.check_id(instrument_id)
        cdef shm_certificate c
        if self.load_certificate_ptr(instrument_id, &c) != 0:
            return None
        return certificate_of(&c)

    def totals(self, instrument_id: int):
        """Load the trade totals of one instrument, or None when its entry is BUSY.

        Raises:
            RecordError: no such entry.
        """
        self.check_id(instrument_id)
        cdef shm_book_head head
        if self.load_head_ptr(instrument_id, &head) != 0:
            return None
        return totals_of(&head.totals)

    def stream_alive_ns(self, stream: int) -> int:
        """Monotonic time of the last frame of any kind on a stream group; 0 = none yet or no such stream."""
        if not 0 <= stream < self.streams:
            return 0
        return self.stream_alive_ptr(stream)

    def touch_stream(self, stream: int, now_ns: int) -> None:
        """Note a frame on a stream group; only the owner may.

        Raises:
            RecordError: no such stream.
        """
        if not 0 <= stream < self.writable_streams:
            raise RecordError(f"stream {stream} is not one of {self.writable_streams} writable ones")
        self.touch_stream_ptr(stream, now_ns)

    cdef int check_id(self, object instrument_id) except -1:
        cdef Py_ssize_t number
        try:
            number = instrument_id
        except OverflowError:
            number = -1
        if number < 0 or number >= self.capacity:
            raise RecordError(f"instrument {instrument_id} is outside a slab of {self.capacity}")
        return 0


cdef int open_levels(object array, Py_buffer *view) except -1:
    """Open an array of levels for writing, for as long as the view is kept."""
    PyObject_GetBuffer(array, view, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
    cdef char code = view.format[strlen(view.format) - 1] if view.format != NULL and view.format[0] else c"B"
    cdef bint is_int64 = view.itemsize == 8 and (code == c"l" or code == c"q") and view.format[0] != c">"
    cdef bint is_levels = view.ndim == 2 and view.shape[1] == 2 and view.shape[0] >= 1
    if is_int64 and is_levels:
        return 0
    PyBuffer_Release(view)
    if is_int64:
        raise RecordError("levels are loaded into int64 arrays of shape (levels, 2)")
    raise ValueError("levels are loaded into int64 arrays, not into items of another type")


cdef class BookReader:
    """Loads books of one slab into two arrays that were opened once: no allocation and no setup per load.

    The levels stand in `bids` and `asks`, what stands beside them in the properties: all of it is of the one
    version that the last successful `load` saw. Used by one thread.
    """

    def __cinit__(self, BookSlab slab not None, bids, asks):
        """Open the arrays; they can not be resized while this reader lives.

        Args:
            slab: the books.
            bids, asks: writable C-contiguous int64 arrays of shape (levels, 2); best level first,
                price_units in column 0, quantity_units in column 1. As many levels as fit are loaded.

        Raises:
            RecordError: arrays of another shape.
            ValueError: arrays of another type, read-only or not contiguous.
        """
        open_levels(bids, &self.bid_view)
        self.has_bids = True
        open_levels(asks, &self.ask_view)
        self.has_asks = True
        self.slab, self.bids, self.asks = slab, bids, asks
        self.bid_limit = <uint32_t> min(self.bid_view.shape[0], DEPTH_LIMIT)
        self.ask_limit = <uint32_t> min(self.ask_view.shape[0], DEPTH_LIMIT)
        memset(&self.head, 0, sizeof(self.head))

    def __dealloc__(self):
        if self.has_bids:
            PyBuffer_Release(&self.bid_view)
        if self.has_asks:
            PyBuffer_Release(&self.ask_view)

    cdef int load_c(self, uint32_t instrument_id) noexcept nogil:
        return self.slab.load_ptr(
            instrument_id, &self.head, <shm_level *> self.bid_view.buf, self.bid_limit,
            <shm_level *> self.ask_view.buf, self.ask_limit
        )

    def load(self, instrument_id) -> int:
        """Load one book into the arrays; rows behind its levels keep their values.

        Args:
            instrument_id: index of the entry.

        Returns:
            bid_count × 65536 + ask_count of the rows written, or -1 when BUSY (rows and properties are then
            undefined).

        Raises:
            RecordError: no such entry.
        """
        self.slab.check_id(instrument_id)
        if self.load_c(instrument_id) != 0:
            return -1
        return (self.head.bid_count << 16) | self.head.ask_count

    @property
    def state(self) -> int:
        """The book's state, an enums.BookState."""
        return self.head.certificate.state

    @property
    def last_sequence(self) -> int:
        """The last proven sequence of the venue."""
        return self.head.certificate.last_sequence

    def certificate(self):
        """Return the Certificate of the levels in the arrays."""
        return certificate_of(&self.head.certificate)

    def totals(self):
        """Return the TradeTotals of that moment."""
        return totals_of(&self.head.totals)


cdef int check_shape(object depth, object capacity, object streams) except -1:
    if not 1 <= depth <= DEPTH_MAX:
        raise LayoutError(f"book slab depth {depth} is outside 1 to {DEPTH_MAX}")
    if not 1 <= capacity <= 1 << 20:
        raise LayoutError(f"book slab capacity {capacity} is outside 1 to {1 << 20}")
    if not 1 <= streams <= 1 << 16:
        raise LayoutError(f"book slab with {streams} streams: 1 to {1 << 16} are possible")
    return 0


cdef int check_buffer(const uint8_t[::1] view, uint64_t needed) except -1:
    if <uint64_t> view.shape[0] < needed:
        raise LayoutError(f"book slab needs {needed} bytes, the payload holds {view.shape[0]}")
    if <uintptr_t> &view[0] & 7:
        raise LayoutError("book slab payload is not aligned to 8 bytes")
    return 0
