# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""What every venue's decoder is, and how its messages and errors look from Python."""

from collections import namedtuple
from enum import IntEnum

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t
from libc.string cimport memcmp, memcpy, memset

from feeds.message cimport (
    FEED_E_FIT, FEED_E_UNRECOGNIZED, FEED_TRAIT_CHECKSUM, FEED_TRAIT_SNAPSHOT, FEED_TRAIT_UNNUMBERED, feed_decimal, feed_item, feed_level, feed_message, feed_scratch_create, feed_scratch_free,
)

from feeds.errors import DecodeError


class MessageKind(IntEnum):
    """Kinds of decoded messages."""

    NONE = 0
    DEPTH = 1
    TRADE = 2
    BBO = 3
    MARK = 4
    CONTROL = 5
    SNAPSHOT = 6
    TICKER = 7
    LIQUIDATION = 8


DecodedMessage = namedtuple(
    "DecodedMessage",
    "kind symbol first_sequence last_sequence previous_sequence venue_utc_ns trade_id side flags "
    "next_funding_utc_ns values bids asks traits checksum value_mask items",
)

DecodedItem = namedtuple("DecodedItem", "symbol side flags price quantity trade_id venue_utc_ns")

TRAIT_SNAPSHOT, TRAIT_CHECKSUM, TRAIT_UNNUMBERED = FEED_TRAIT_SNAPSHOT, FEED_TRAIT_CHECKSUM, FEED_TRAIT_UNNUMBERED

cdef dict ERROR_TEXT = {
    1: "the frame ends inside a value", 2: "not valid JSON", 3: "wrong type", 4: "not a plain decimal",
    5: "number too large", 6: "missing", 7: "key given twice", 8: "nested too deeply", 9: "bytes behind the message",
    10: "frame too large", 11: "too many levels", 12: "not UTF-8", 13: "escaped text", 14: "no known message",
    15: "first sequence above last", 16: "must be positive", 17: "does not fit the instrument's exponent",
    18: "out of memory", 19: "best bid reaches best ask", 20: "too many unknown keys",
    21: "is not that of the book", 22: "names another instrument than the message", 23: "too many items",
}


cdef str describe(const feed_message *m, str symbol):
    """Error of a message as text: field, index, reason, what stands there, byte offset."""
    cdef bytes snippet = b""
    cdef Py_ssize_t stop
    name = m.error.field.decode() if m.error.field != NULL else "message"
    if m.error.index >= 0:
        name = f"{name}[{m.error.index}]"
    if m.text != NULL and m.error.offset < m.text_bytes:
        stop = min(<Py_ssize_t>m.text_bytes, <Py_ssize_t>m.error.offset + 32)
        snippet = m.text[m.error.offset:stop]
        if m.error.code == FEED_E_FIT and m.error.index < 0:
            snippet = snippet.split(b'"')[0]
    where = f"{symbol}: " if symbol else ""
    seen = f" {snippet.decode('utf-8', 'replace')!r}" if snippet else ""
    return f"{where}{name}: {ERROR_TEXT.get(m.error.code, 'rejected')}{seen} at byte {m.error.offset}"


cdef tuple level_tuples(const feed_level *levels, uint32_t count):
    return tuple([(levels[i].price, levels[i].price_decimals, levels[i].quantity, levels[i].quantity_decimals)
                  for i in range(count)])


cdef tuple pair(const feed_decimal *d):
    return d.mantissa, d.decimals


cdef object item_tuple(const feed_item *i):
    symbol = i.symbol[:i.symbol_bytes].decode() if i.symbol_bytes else ""
    return DecodedItem(symbol, i.side, i.flags, pair(&i.price), pair(&i.quantity), i.trade_id, i.venue_utc_ns)


cdef class Decoder:
    """Base of the venues' decoders: one frame in, one `feed_message` out, no Python object made."""

    def __cinit__(self):
        if not feed_scratch_create(&self.scratch):
            raise MemoryError("decoder scratch")
        self.with_ticker_bbo = True

    def __dealloc__(self):
        feed_scratch_free(&self.scratch)

    cdef int decode(self, const char *p, Py_ssize_t n, feed_message *out) noexcept nogil:
        memset(out, 0, sizeof(feed_message))
        out.error.code = FEED_E_UNRECOGNIZED
        return FEED_E_UNRECOGNIZED

    cdef int decode_snapshot(self, const char *p, Py_ssize_t n, feed_message *out) noexcept nogil:
        memset(out, 0, sizeof(feed_message))
        out.error.code = FEED_E_UNRECOGNIZED
        return FEED_E_UNRECOGNIZED

    @property
    def depth_stream(self):
        """The venue's name of the stream the books are made of; "" = every depth stream. Others are read over."""
        return self.depth_name[:self.depth_bytes].decode()

    @depth_stream.setter
    def depth_stream(self, str name):
        cdef bytes text = name.encode()
        if len(text) >= <Py_ssize_t>sizeof(self.depth_name):
            raise DecodeError(f"depth stream {name!r} is too long")
        memcpy(self.depth_name, PyBytes_AS_STRING(text), len(text))
        self.depth_bytes = <uint32_t>len(text)
        self.shape.count = 0  # it may be that of another stream

    @property
    def has_shape(self):
        """Whether it has learned how the venue writes its updates: those written so are read faster."""
        return self.shape.count != 0

    cdef bint is_other_depth(self, const char *name, uint32_t count) noexcept nogil:
        return self.depth_bytes != 0 and (count != self.depth_bytes or memcmp(name, self.depth_name, count) != 0)

    def decode_message(self, frame):
        """Decodes one frame into Python values, for tests and tools.

        Values are (mantissa, decimals) pairs, levels (price mantissa, decimals, quantity mantissa,
        decimals). Raises DecodeError naming field, reason and byte offset.
        """
        return self._python(frame, False)

    def decode_snapshot_message(self, body):
        """Decodes the body of a depth snapshot like `decode_message`."""
        return self._python(body, True)

    def _python(self, frame, bint snapshot):
        cdef feed_message m
        cdef bytes data = bytes(frame)
        memset(&m, 0, sizeof(m))
        if snapshot:
            code = self.decode_snapshot(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), &m)
        else:
            code = self.decode(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), &m)
        if code:
            raise DecodeError(describe(&m, ""))
        return DecodedMessage(
            MessageKind(m.kind), m.symbol[:m.symbol_bytes].decode() if m.symbol_bytes else "",
            m.first_sequence, m.last_sequence, m.previous_sequence, m.venue_utc_ns, m.trade_id, m.side,
            m.flags, m.next_funding_utc_ns,
            tuple([pair(&m.value[i]) for i in range(7) if i < m.value_count or m.value_mask >> i & 1]),
            level_tuples(m.levels[0], m.level_count[0]), level_tuples(m.levels[1], m.level_count[1]),
            m.traits, m.checksum, m.value_mask, tuple([item_tuple(&m.items[i]) for i in range(m.item_count)]),
        )
