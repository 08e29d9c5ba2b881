# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""The floor that `bench decode` is held against: find the levels, parse digits, set them in the same book, look at its best.

Nothing is checked: not that the bytes are JSON, not the sequence, not whose message it is (the caller knows), not
whether a number fits. There is no top of book to keep, no slab, no ring. Whoever reads depth updates into this book
at all has to do this much. Where messages carry a checksum of the book, and nothing else proves that it is right, the
floor verifies it as well, by the code that our path has for it. Digits are taken one by one: eight at a time, as the
decoders do it, is no faster here, where no byte is checked and a processor runs ahead on the usual lengths.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.stdlib cimport calloc, free, malloc

from shm.layout cimport shm_level


cdef extern from "string.h" nogil:
    void *memmem(const void *text, size_t size, const void *what, size_t what_size)

cdef extern from "feeds/native/book.h" nogil:
    ctypedef struct feed_over:
        pass
    ctypedef struct feed_side:
        feed_over over
    ctypedef struct feed_book:
        feed_side side[2]

    const int64_t *feed_pow10
    feed_book *feed_book_create(int64_t tick, uint32_t depth)
    void feed_book_free(feed_book *b)
    int feed_over_reserve(feed_over *o, uint32_t more)
    void feed_book_set(feed_book *b, feed_side *d, int64_t key, int64_t quantity)
    void feed_book_settle(feed_book *b)
    void feed_side_clear(feed_side *d)
    int feed_side_best(const feed_book *b, const feed_side *d, int64_t *key)
    uint32_t feed_side_count(const feed_side *d)
    uint32_t feed_side_read(const feed_book *b, const feed_side *d, int s, shm_level *out, uint32_t limit)

cdef extern from "feeds/native/checksum.h" nogil:
    ctypedef struct feed_check:
        uint32_t active

    void feed_crc_init()
    feed_check *feed_check_create()
    void feed_check_free(feed_check *c)
    void feed_check_reset(feed_check *c)
    void feed_check_touch(feed_check *c, int s, int64_t key)
    int feed_check_holds(const feed_book *b, feed_check *c, uint32_t price_exponent, uint32_t quantity_exponent,
                         int32_t expected)

feed_crc_init()

cdef enum:
    LEVEL_BYTES_MIN = 10  # ["1","0"], and a comma


cdef struct floor_book:
    feed_book *book
    feed_check *check  # NULL where the messages have no checksum
    uint32_t price_exponent
    uint32_t quantity_exponent


cdef inline const char *read_decimal(const char *p, uint32_t exponent, int64_t *out) noexcept nogil:
    """`p` behind the opening quote; returns the position behind the closing one."""
    cdef int64_t v = 0
    cdef uint32_t decimals = 0
    while p[0] >= 48:  # a digit; "." and the quote are below
        v = v * 10 + (p[0] - 48)
        p += 1
    if p[0] == 46:
        p += 1
        while p[0] >= 48:
            v = v * 10 + (p[0] - 48)
            decimals += 1
            p += 1
    out[0] = v if decimals == exponent else v * feed_pow10[exponent - decimals]
    return p + 1


cdef inline int32_t read_integer(const char *p) noexcept nogil:
    cdef int64_t v = 0
    cdef bint minus = p[0] == 45
    p += minus
    while p[0] >= 48 and p[0] <= 57:
        v = v * 10 + (p[0] - 48)
        p += 1
    return <int32_t>(-v if minus else v)


cdef inline const char *read_levels(const char *p, floor_book *f, int side) noexcept nogil:
    """`p` behind the opening bracket of a side's levels."""
    cdef int64_t price, quantity
    cdef feed_side *d = &f.book.side[side]
    while p[0] == 91:  # [
        p = read_decimal(p + 2, f.price_exponent, &price)
        p = read_decimal(p + 2, f.quantity_exponent, &quantity)
        feed_book_set(f.book, d, price if side else -price, quantity)
        while p[0] != 93:  # ]
            p += 1
        p += 1
        if p[0] == 44:
            p += 1
    return p


cdef inline const char *read_checked_levels(const char *p, floor_book *f, int side) noexcept nogil:
    """The same where messages carry a checksum; a loop of its own, for the other one must not look each time."""
    cdef int64_t price, quantity
    cdef feed_side *d = &f.book.side[side]
    while p[0] == 91:  # [
        p = read_decimal(p + 2, f.price_exponent, &price)
        p = read_decimal(p + 2, f.quantity_exponent, &quantity)
        feed_book_set(f.book, d, price if side else -price, quantity)
        feed_check_touch(f.check, side, price if side else -price)
        while p[0] != 93:  # ]
            p += 1
        p += 1
        if p[0] == 44:
            p += 1
    return p


cdef class FloorBooks:
    """The books of one run, by index.

    Args:
        first_key, second_key: what stands right before the levels of the side that comes first, and of the other.
        first_side: 0 = bids come first.
        instruments: (price_exponent, quantity_exponent, tick_size) of each.
        checksum_key: what stands right before the checksum of a message, behind its levels; b"" = there is none.
    """

    cdef floor_book *_books
    cdef uint32_t _count
    cdef bytes _first, _second, _checksum
    cdef int _first_side

    def __init__(self, bytes first_key not None, bytes second_key not None, int first_side, instruments,
                 bytes checksum_key not None=b""):
        self._checksum = checksum_key
        self._first, self._second, self._first_side = first_key, second_key, first_side
        self._books = <floor_book *>calloc(len(instruments) + 1, sizeof(floor_book))
        if self._books == NULL:
            raise MemoryError("books")
        for i, (price_exponent, quantity_exponent, tick) in enumerate(instruments):
            self._books[i].price_exponent = price_exponent
            self._books[i].quantity_exponent = quantity_exponent
            self._books[i].book = feed_book_create(tick, 1)
            self._books[i].check = feed_check_create() if checksum_key else NULL
            self._count += 1
            if self._books[i].book == NULL or (checksum_key and self._books[i].check == NULL):
                raise MemoryError("book")

    def __dealloc__(self):
        cdef uint32_t i
        if self._books != NULL:
            for i in range(self._count):
                feed_book_free(self._books[i].book)
                feed_check_free(self._books[i].check)
            free(self._books)

    cdef floor_book *_get(self, int64_t index) except NULL:
        if not 0 <= index < self._count:
            raise IndexError(f"book {index} of {self._count}")
        return &self._books[index]

    def load(self, int64_t index, bytes frame not None, bytes first_key not None, bytes second_key not None, int first_side):
        """Make a book what a whole one says; its keys may be others than those of the updates."""
        cdef floor_book *f = self._get(index)
        feed_side_clear(&f.book.side[0])
        feed_side_clear(&f.book.side[1])
        if f.check != NULL:
            feed_check_reset(f.check)
            f.check.active = 1
        if take(f, PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame), first_key, len(first_key), second_key,
                len(second_key), first_side, self._checksum, len(self._checksum)) < 0:
            raise ValueError("no levels, no room for them, or another checksum")

    def run(self, list frames not None, list indexes not None):
        """Apply updates in one C loop; returns the sum of all best keys seen, so that they must be looked at.

        Raises:
            ValueError: a frame has no levels, or another checksum than the book.
            IndexError: an index is not that of a book, or there are not as many as frames.
        """
        cdef bytes frame, first = self._first, second = self._second, checksum = self._checksum
        cdef const char *first_text = first
        cdef const char *second_text = second
        cdef const char *checksum_text = checksum
        cdef size_t first_bytes = len(first), second_bytes = len(second), checksum_bytes = len(checksum)
        cdef int64_t total = 0, best
        cdef Py_ssize_t i
        if len(indexes) != len(frames):
            raise IndexError(f"{len(indexes)} indexes of {len(frames)} frames")
        for i in range(len(frames)):
            frame = frames[i]
            best = take(self._get(indexes[i]), PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame), first_text, first_bytes,
                        second_text, second_bytes, self._first_side, checksum_text, checksum_bytes)
            if best < 0:
                raise ValueError(f"no levels in, or another checksum of the book than, {frame[:80]!r}")
            total += best
        return total

    def book(self, int64_t index):
        """Whole book (bids, asks), best first, as (price_units, quantity_units) pairs."""
        cdef floor_book *f = self._get(index)
        cdef uint32_t count
        cdef shm_level *levels
        sides = []
        for side in range(2):
            count = feed_side_count(&f.book.side[side])
            levels = <shm_level *>malloc((count + 1) * sizeof(shm_level))
            if levels == NULL:
                raise MemoryError("book")
            count = feed_side_read(f.book, &f.book.side[side], side, levels, count)
            sides.append([(levels[i].price_units, levels[i].quantity_units) for i in range(count)])
            free(levels)
        return sides[0], sides[1]


cdef int64_t take(
    floor_book *f, const char *p, size_t n, const char *first, size_t first_bytes, const char *second, size_t second_bytes,
    int first_side, const char *checksum, size_t checksum_bytes
) noexcept nogil:
    """Apply one message; the spread of the book then, or -1."""
    cdef const char *end = p + n
    cdef int64_t bid = 0, ask = 0
    cdef uint32_t most = <uint32_t>(n / LEVEL_BYTES_MIN)
    if not feed_over_reserve(&f.book.side[0].over, most) or not feed_over_reserve(&f.book.side[1].over, most):
        return -1
    p = <const char *>memmem(p, n, first, first_bytes)
    if p == NULL:
        return -1
    p += first_bytes
    p = read_checked_levels(p, f, first_side) if checksum_bytes else read_levels(p, f, first_side)
    p = <const char *>memmem(p, end - p, second, second_bytes)
    if p == NULL:
        return -1
    p += second_bytes
    p = read_checked_levels(p, f, 1 - first_side) if checksum_bytes else read_levels(p, f, 1 - first_side)
    feed_book_settle(f.book)
    if checksum_bytes:
        p = <const char *>memmem(p, end - p, checksum, checksum_bytes)
        if p == NULL or not feed_check_holds(f.book, f.check, f.price_exponent, f.quantity_exponent,
                                             read_integer(p + checksum_bytes)):
            return -1
    if feed_side_best(f.book, &f.book.side[0], &bid) and feed_side_best(f.book, &f.book.side[1], &ask):
        return ask + bid if ask + bid > 0 else 0
    return 0
