# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""Merged view: the books of one instrument at several venues as one, each level with the mask of its venues.

Read from book slabs alone, so a strategy, a router or an outside tool makes one wherever it stands. A book takes
part while it is LIVE and its stream is not silent; when it leaves LIVE its levels and its bit are gone with the
next merge. What the venues show together may be locked or crossed: that is a fact about venues, no error.
"""

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc

from shm.book cimport BookSlab
from shm.layout cimport shm_book_head, shm_level, shm_seqlock

import numpy as np

from enum import IntEnum
from typing import NamedTuple

from shm.book import Certificate
from shm.comparable import shared_units
from shm.enums import BookState
from shm.errors import InstrumentError, LayoutError

cdef extern from "shm/native/shm_seqlock.h" nogil:
    uint64_t shm_seqlock_load_begin(const shm_seqlock *lock)

cdef extern from "shm/native/shm_merged.h" nogil:
    ctypedef struct shm_merged_run:
        const shm_level *at
        const shm_level *end
        int64_t bit
        int is_cut

    int shm_merged_scale(shm_level *levels, uint32_t count, int64_t price_scale, int64_t quantity_scale,
                         int64_t quantity_max)
    uint32_t shm_merged_side(shm_merged_run *runs, uint32_t legs, int sign, shm_merged_level *out, uint32_t limit,
                             uint32_t *whole)

cdef enum:
    STATE_LIVE = 2
    IS_IN = 0
    IS_NOT_LIVE = 1
    IS_BUSY = 2
    IS_SILENT = 3
    IS_OLD = 4
    IS_UNFIT = 5
    # Rows of `bids` and `asks`.
    PARTS = 3
    DEPTH_LIMIT = 4096

LEGS_MAX = SHM_MERGED_LEGS


class Standing(IntEnum):
    """Whether a book takes part in the merged view, or why not."""

    IN = IS_IN
    NOT_LIVE = IS_NOT_LIVE
    BUSY = IS_BUSY  # its writer is at it all the time, or died in the middle
    SILENT = IS_SILENT  # nothing came on its stream for longer than it may
    OLD = IS_OLD  # its last update is older than it may be
    UNFIT = IS_UNFIT  # a level does not fit 64 bits in the shared units


assert BookState.LIVE == STATE_LIVE


class MergedLeg(NamedTuple):
    """One venue's part of the last merge: whether it took part, how old it is, and its own best in shared units.

    Quantity 0 = that side is empty, or the leg took no part. A price or quantity in shared units divided by its
    scale is one in the venue's own units.
    """

    instrument_id: int
    venue_id: int
    standing: Standing
    certificate: Certificate
    alive_ns: int
    bid_price_units: int
    bid_quantity_units: int
    ask_price_units: int
    ask_quantity_units: int
    price_scale: int
    quantity_scale: int


cdef class MergedBook:
    """Merges the top levels of several books into two arrays that were made once; used by one thread.

    `bids` and `asks` are int64 arrays of shape (depth, 3), best level first: price_units, quantity_units, and the mask of
    the venues with a bit 1 << venue_id each. The first `bid_count` and `ask_count` rows are those of the last merge; of
    them the first `bid_whole` and `ask_whole` are all that the venues have there (behind them a slab was too short).
    Rows behind keep their values.
    """

    def __cinit__(self, slabs, rows, depth=32, *, max_silence_ns=2_000_000_000, max_data_age_ns=0):
        """Find the units that all books share.

        Args:
            slabs: by book: the slab that holds it.
            rows: by book: its instrument, all of one canonical name.
            depth: levels per side of the view; no book is read deeper.
            max_silence_ns: a book on whose stream nothing came for longer takes no part; 0 = not looked at.
            max_data_age_ns: a book whose last update is older takes no part; 0 = not looked at.

        Raises:
            InstrumentError: no rows, too many, not all of one instrument, or they share no unit of 64 bits.
            LayoutError: a depth out of range, or a book that its slab does not hold.
        """
        cdef merged_leg *leg
        cdef uint32_t index
        self.rows, self._slabs = tuple(rows), list(slabs)
        if not 1 <= depth <= DEPTH_LIMIT:
            raise LayoutError(f"a merged view of depth {depth}: 1 to {DEPTH_LIMIT} levels are possible")
        if len(self.rows) > SHM_MERGED_LEGS:
            raise InstrumentError(f"{len(self.rows)} books are more than the {SHM_MERGED_LEGS} that can be merged")
        if len(self._slabs) != len(self.rows):
            raise LayoutError(f"{len(self._slabs)} slabs for {len(self.rows)} instruments")
        units = shared_units(self.rows)
        self.price_exponent, self.quantity_exponent = units.price_exponent, units.quantity_exponent
        self.depth, self._count = depth, len(self.rows)
        self.max_silence_ns, self.max_data_age_ns = max_silence_ns, max_data_age_ns
        self._quantity_max = INT64_MAX // self._count  # so the sum over all legs fits
        self._legs = <merged_leg *> calloc(self._count, sizeof(merged_leg))
        self._room = <shm_level *> malloc(<size_t> self._count * 2 * self.depth * sizeof(shm_level))
        if self._legs == NULL or self._room == NULL:
            raise MemoryError("merged view")
        for index, (row, slab) in enumerate(zip(self.rows, self._slabs)):
            if not isinstance(slab, BookSlab) or not 0 <= row.instrument_id < slab.capacity:
                raise LayoutError(f"{row.symbol}: its book slab does not hold instrument {row.instrument_id}")
            leg = &self._legs[index]
            leg.instrument_id = row.instrument_id
            leg.bit = (<int64_t> 1) << <int> row.venue_id
            leg.price_scale, leg.quantity_scale = units.price_scales[index], units.quantity_scales[index]
            leg.levels = self._room + <size_t> index * 2 * self.depth
            leg.standing = IS_NOT_LIVE
        self.bids = np.zeros((depth, PARTS), dtype=np.int64)
        self.asks = np.zeros((depth, PARTS), dtype=np.int64)
        PyObject_GetBuffer(self.bids, &self._bid_view, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
        self._has_bids = True
        PyObject_GetBuffer(self.asks, &self._ask_view, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
        self._has_asks = True

    def __dealloc__(self):
        if self._has_bids:
            PyBuffer_Release(&self._bid_view)
        if self._has_asks:
            PyBuffer_Release(&self._ask_view)
        free(self._legs)
        free(self._room)

    cdef void copy(self, BookSlab slab, merged_leg *leg) noexcept:
        # A count that stands still is a book that nobody stored since: what was copied of it is still whole.
        cdef const shm_seqlock *lock = <const shm_seqlock *> (
            slab.entries + leg.instrument_id * slab.entry_bytes
        )
        cdef uint64_t before = shm_seqlock_load_begin(lock)
        cdef shm_level *asks = leg.levels + self.depth
        if slab.load_ptr(leg.instrument_id, &leg.head, leg.levels, self.depth, asks, self.depth) != 0:
            leg.has_copy = False
            return
        leg.has_copy = True
        # Odd = stored again meanwhile: copied anew the next time.
        leg.seen = before if shm_seqlock_load_begin(lock) == before else 1
        leg.fits = leg.head.certificate.state != STATE_LIVE or (
            shm_merged_scale(leg.levels, leg.head.bid_count, leg.price_scale, leg.quantity_scale, self._quantity_max)
            and shm_merged_scale(asks, leg.head.ask_count, leg.price_scale, leg.quantity_scale, self._quantity_max)
        )

    cdef bint look(self, uint32_t index, int64_t now_ns) noexcept:
        """Bring one leg up to date; True = the view is another one."""
        cdef merged_leg *leg = &self._legs[index]
        cdef BookSlab slab = <BookSlab> self._slabs[index]
        cdef const shm_seqlock *lock = <const shm_seqlock *> (
            slab.entries + leg.instrument_id * slab.entry_bytes
        )
        cdef uint32_t was = leg.standing
        cdef bint is_new = not (leg.has_copy and not leg.seen & 1 and shm_seqlock_load_begin(lock) == leg.seen)
        if is_new:
            self.copy(slab, leg)
        leg.alive_ns = slab.stream_alive_ptr(leg.head.certificate.stream) if leg.has_copy else 0
        if not leg.has_copy:
            leg.standing = IS_BUSY
        elif leg.head.certificate.state != STATE_LIVE:
            leg.standing = IS_NOT_LIVE
        elif self.max_silence_ns and now_ns - leg.alive_ns > self.max_silence_ns:
            leg.standing = IS_SILENT
        elif self.max_data_age_ns and now_ns - leg.head.certificate.data_ns > self.max_data_age_ns:
            leg.standing = IS_OLD
        elif not leg.fits:
            leg.standing = IS_UNFIT
        else:
            leg.standing = IS_IN
        # A leg that is and was out changes nothing, whatever was stored in it.
        return leg.standing != was or (is_new and leg.standing == IS_IN)

    cdef uint32_t merge_side(self, bint is_ask, shm_merged_level *out, uint32_t *whole) noexcept:
        cdef shm_merged_run runs[SHM_MERGED_LEGS]
        cdef uint32_t index, count, legs = 0
        cdef merged_leg *leg
        cdef BookSlab slab
        for index in range(self._count):
            leg = &self._legs[index]
            count = leg.head.ask_count if is_ask else leg.head.bid_count
            if leg.standing != IS_IN or count == 0:
                continue
            slab = <BookSlab> self._slabs[index]
            runs[legs].at = leg.levels + (self.depth if is_ask else 0)
            runs[legs].end = runs[legs].at + count
            runs[legs].bit = leg.bit
            runs[legs].is_cut = count == min(slab.depth, self.depth)
            legs += 1
        return shm_merged_side(runs, legs, 1 if is_ask else -1, out, self.depth, whole)

    cdef uint32_t merge_c(self, int64_t now_ns) noexcept:
        cdef uint32_t index
        cdef uint64_t mask = 0
        cdef bint is_new = self.merged_ns == 0
        for index in range(self._count):
            if self.look(index, now_ns):
                is_new = True
            if self._legs[index].standing == IS_IN:
                mask |= <uint64_t> self._legs[index].bit
        self.merged_ns = now_ns
        self.mask = <uint32_t> mask
        if is_new:
            self.bid_count = self.merge_side(False, <shm_merged_level *> self._bid_view.buf, &self.bid_whole)
            self.ask_count = self.merge_side(True, <shm_merged_level *> self._ask_view.buf, &self.ask_whole)
        return self.mask

    def merge(self, int64_t now_ns) -> int:
        """Merge what the books are now; a book that was not stored since the last time is not copied again.

        Args:
            now_ns: monotonic time that silence and age are judged at.

        Returns:
            The mask of the venues that take part, a bit 1 << venue_id each; 0 = there is no book.
        """
        return self.merge_c(now_ns)

    cdef inline bint has_both(self) noexcept:
        return self.bid_count > 0 and self.ask_count > 0

    cdef inline int64_t best_bid(self) noexcept:
        return (<shm_merged_level *> self._bid_view.buf).price_units

    cdef inline int64_t best_ask(self) noexcept:
        return (<shm_merged_level *> self._ask_view.buf).price_units

    @property
    def is_crossed(self) -> bool:
        """Whether one venue bids more than another one asks."""
        return self.has_both() and self.best_bid() > self.best_ask()

    @property
    def is_locked(self) -> bool:
        """Whether one venue bids what another one asks."""
        return self.has_both() and self.best_bid() == self.best_ask()

    def leg(self, index: int) -> MergedLeg:
        """Return one book's part of the last merge.

        Raises:
            IndexError: there is no such book.
        """
        if not 0 <= index < self._count:
            raise IndexError(f"leg {index} of {self._count}")
        cdef merged_leg *leg = &self._legs[<uint32_t> index]
        cdef bint is_in = leg.standing == IS_IN
        cdef shm_level empty = shm_level(0, 0)
        cdef shm_level bid = leg.levels[0] if is_in and leg.head.bid_count else empty
        cdef shm_level ask = leg.levels[self.depth] if is_in and leg.head.ask_count else empty
        return MergedLeg(
            leg.instrument_id, self.rows[index].venue_id, Standing(leg.standing), certificate_of_leg(leg), leg.alive_ns,
            bid.price_units, bid.quantity_units, ask.price_units, ask.quantity_units, leg.price_scale,
            leg.quantity_scale,
        )

    def certificates(self) -> list:
        """Return the certificates of the books that took part: what an order decided on this view cites."""
        return [
            certificate_of_leg(&self._legs[index])
            for index in range(self._count) if self._legs[index].standing == IS_IN
        ]


cdef object certificate_of_leg(merged_leg *leg):
    if not leg.has_copy:
        return Certificate(instrument_id=leg.instrument_id)
    c = leg.head.certificate
    return Certificate(
        c.instrument_id, c.state, c.epoch, c.live_id, c.last_sequence, c.data_ns, c.venue_utc_ns, c.publish_ns,
        c.audit_ns, c.stream, c.reason, c.gaps, c.resyncs,
    )
