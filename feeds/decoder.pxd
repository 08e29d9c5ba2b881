# cython: language_level=3
"""C face of decoders: subclasses override both methods."""

from feeds.message cimport feed_message, feed_scratch


cdef str describe(const feed_message *m, str symbol)


cdef class Decoder:
    cdef feed_scratch scratch
    # Both fill `out` and return 0, or an error code with out.error set. `out` points into the
    # decoder's scratch memory, valid until its next call.
    cdef int decode(self, const char *p, Py_ssize_t n, feed_message *out) noexcept nogil
    cdef int decode_snapshot(self, const char *p, Py_ssize_t n, feed_message *out) noexcept nogil
