# cython: language_level=3, freethreading_compatible=False
"""HMAC-SHA256 of many texts by one secret: what is hashed before a text is hashed once (RFC 2104)."""

from cpython.bytes cimport PyBytes_GET_SIZE

from hashlib import sha256

cdef int BLOCK_BYTES = 64
cdef int INNER_PAD = 0x36
cdef int OUTER_PAD = 0x5C


cdef class HmacSha256:
    """One secret's signatures; about a third of `hmac.digest` for the length of an order.

    Args:
        secret: of any length.
    """

    def __init__(self, bytes secret not None):
        if PyBytes_GET_SIZE(secret) > BLOCK_BYTES:
            secret = sha256(secret).digest()
        secret = secret.ljust(BLOCK_BYTES, b"\0")
        self._inner = sha256(bytes([byte ^ INNER_PAD for byte in secret]))
        self._outer = sha256(bytes([byte ^ OUTER_PAD for byte in secret]))

    cdef object _hashed(self, bytes text):
        inner = self._inner.copy()
        inner.update(text)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer

    cpdef bytes digest(self, bytes text):
        """The signature, 32 bytes."""
        return self._hashed(text).digest()

    cpdef bytes hex(self, bytes text):
        """The signature as 64 lower-case hexadecimal digits."""
        return (<str> self._hashed(text).hexdigest()).encode("ascii")
