# cython: language_level=3
"""C face of decoders: subclasses override both methods."""

from libc.stdint cimport uint32_t

from feeds.message cimport feed_message, feed_scratch, feed_shape, feed_values


cdef str describe(const feed_message *m, str symbol)


cdef class Decoder:
    cdef feed_scratch scratch
    cdef feed_shape shape  # of the updates that the books are made of
    cdef feed_values values
    cdef readonly bint has_checksum  # its venue may send checksums of the book
    cdef public bint with_ticker_bbo  # best bid and offer of tickers are published
    cdef char depth_name[32]  # the venue's name of the stream the books are made of
    cdef uint32_t depth_bytes  # 0 = every depth stream
    cdef bint is_other_depth(self, const char *name, uint32_t count) noexcept nogil
    # Both fill `out` and return 0, or an error code with out.error set. `out` points into the
    # decoder's scratch memory, valid until its next call.
    cdef int decode(self, const char *p, Py_ssize_t n, feed_message *out) noexcept nogil
    cdef int decode_snapshot(self, const char *p, Py_ssize_t n, feed_message *out) noexcept nogil
