# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, freethreading_compatible=False
"""Order requests filled into ready forms: all that stays the same for an instrument and its terms is bytes already.

A form is a text with slots, one character below the space each. What a venue has no form for is decided where forms
are made, by the venue's own module, which raises for such an order each time.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

from exec.order cimport Order

from exec.errors import OrderError

#: The slots: number of the request; the order's root id in hexadecimal, as it is or 16 digits wide; its quantity and price,
#: those of its replace; our time in ms, that and `later_ms`; the signature.
REQUEST, ORDER_HEX, ORDER_ID, UNITS, PRICE, NEW_UNITS, NEW_PRICE, TIME_MS, LATER_MS, SIGNATURE = (
    "\x01", "\x02", "\x03", "\x04", "\x05", "\x06", "\x07", "\x08", "\x0e", "\x0f",
)

cdef enum:
    SLOT_REQUEST = 1
    SLOT_ORDER_HEX = 2
    SLOT_ORDER_ID = 3
    SLOT_UNITS = 4
    SLOT_PRICE = 5
    SLOT_NEW_UNITS = 6
    SLOT_NEW_PRICE = 7
    SLOT_TIME_MS = 8
    SLOT_LATER_MS = 14
    SLOT_SIGNATURE = 15
    SLOTS_END = 32

    ID_DIGITS = 16
    NIBBLE = 15

cdef const char* _HEX = "0123456789abcdef"


cdef class Text:
    """Bytes that grow at their end and are used again."""

    def __dealloc__(self):
        PyMem_Free(self.data)

    cdef int need(self, Py_ssize_t count) except -1:
        cdef Py_ssize_t room
        cdef char* data
        if self.size + count > self.room:
            room = 2 * (self.size + count) + 1_024
            data = <char*> PyMem_Realloc(self.data, room)
            if data is NULL:
                raise MemoryError()
            self.data, self.room = data, room
        return 0

    cdef int put(self, const char* text, Py_ssize_t count) except -1:
        self.need(count)
        memcpy(self.data + self.size, text, count)
        self.size += count
        return 0

    cdef int put_number(self, uint64_t value) except -1:
        cdef char digits[20]
        cdef int at = 20
        while True:
            at -= 1
            digits[at] = <char> (c'0' + value % 10)
            value //= 10
            if not value:
                break
        return self.put(&digits[at], 20 - at)

    cdef int put_hex(self, uint64_t value, int digits) except -1:
        cdef int i
        if not digits:
            digits = 1
            while digits < ID_DIGITS and value >> (4 * digits):
                digits += 1
        self.need(digits)
        for i in range(digits):
            self.data[self.size + i] = _HEX[value >> (4 * (digits - 1 - i)) & NIBBLE]
        self.size += digits
        return 0

    cdef int put_decimal(self, int64_t units, int exponent) except -1:
        """As `decimal_text.decimal_text`."""
        cdef char digits[64]
        cdef int at = 64, decimals = 0
        cdef uint64_t value = <uint64_t> units
        if units < 0:
            value = 0 - value
        while True:
            at -= 1
            digits[at] = <char> (c'0' + value % 10)
            value //= 10
            decimals += 1
            if decimals == exponent:
                at -= 1
                digits[at] = c'.'
            if not value and decimals > exponent:
                break
        if units < 0:
            at -= 1
            digits[at] = c'-'
        return self.put(&digits[at], 64 - at)

    cdef bytes take(self):
        cdef bytes taken = PyBytes_FromStringAndSize(self.data, self.size)
        self.size = 0
        return taken


cdef class Form:
    """A text with slots, ready to be filled.

    Args:
        text: the slots are single characters, see the module.
        price_exponent, units_exponent: decimals of prices and quantities, 0 to 40.
        later_ms: what LATER_MS adds to the time.

    Raises:
        ValueError: too many slots, a control character that is none, or an exponent that is out of range.
    """

    def __init__(self, str text, int price_exponent=0, int units_exponent=0, int64_t later_ms=0):
        cdef int i, slot, begin = 0
        cdef bytes raw = text.encode()
        if not (0 <= price_exponent <= 40 and 0 <= units_exponent <= 40):
            raise ValueError(f"exponents {price_exponent} and {units_exponent} are not within 0 .. 40")
        self.text = raw
        self.price_exponent = price_exponent
        self.units_exponent = units_exponent
        self.later_ms = later_ms
        for i in range(len(raw) + 1):
            slot = (<unsigned char*> PyBytes_AS_STRING(raw))[i]  # the zero behind the end is no slot
            if i < len(raw) and slot >= SLOTS_END:
                continue
            if i < len(raw) and not (1 <= slot <= SLOT_TIME_MS or slot == SLOT_LATER_MS or slot == SLOT_SIGNATURE):
                raise ValueError(f"character {slot} at {i} is no slot")
            if self.count == PARTS_MAX:
                raise ValueError(f"more than {PARTS_MAX - 1} slots")
            self.starts[self.count] = begin
            self.sizes[self.count] = i - begin
            self.slots[self.count] = <unsigned char> (slot if i < len(raw) else 0)
            self.count += 1
            begin = i + 1

    cdef int fill(
        self, Text out, Order order, uint64_t request_id, int64_t utc_ms, bytes signature
    ) except -1:
        cdef int i, slot
        cdef const char* text = PyBytes_AS_STRING(self.text)
        for i in range(self.count):
            out.put(text + self.starts[i], self.sizes[i])
            slot = self.slots[i]
            if slot == 0:
                break
            if slot == SLOT_REQUEST:
                out.put_number(request_id)
            elif slot == SLOT_TIME_MS:
                out.put_number(<uint64_t> utc_ms)
            elif slot == SLOT_LATER_MS:
                out.put_number(<uint64_t> (utc_ms + self.later_ms))
            elif slot == SLOT_SIGNATURE:
                out.put(PyBytes_AS_STRING(signature), PyBytes_GET_SIZE(signature))
            elif slot == SLOT_ORDER_ID:
                out.put_hex(order.root_client_order_id, ID_DIGITS)
            elif slot == SLOT_ORDER_HEX:
                out.put_hex(order.root_client_order_id, 0)
            elif slot == SLOT_UNITS:
                out.put_decimal(order.order_units, self.units_exponent)
            elif slot == SLOT_PRICE:
                out.put_decimal(order.price_units, self.price_exponent)
            elif slot == SLOT_NEW_UNITS:
                out.put_decimal(order.new_units, self.units_exponent)
            else:
                out.put_decimal(order.new_price_units, self.price_exponent)
        return 0


cdef class FormBook:
    """The forms of all instruments and terms that were asked for, made by the venue's module on first use.

    Args:
        make: called with the kind of request and an order; returns what is kept for all orders of the same instrument,
            side, type, time in force and flags. What it raises passes to who asked, and nothing is kept.
    """

    def __init__(self, make):
        self._make = make
        self._forms = {}

    cdef object find(self, int kind, Order order):
        cdef uint64_t key
        if not order.root_client_order_id:
            raise OrderError(f"{order!r}: client order id 0 is outside 1 to 2^64 - 1")
        if (
            0 <= order.side <= NIBBLE and 0 <= order.order_type <= NIBBLE and 0 <= order.time_in_force <= NIBBLE
            and 0 <= order.flags <= 0xFFFF and 0 <= kind <= NIBBLE
        ):
            key = (
                <uint64_t> order.instrument_id << 32 | <uint64_t> order.flags << 16
                | order.side << 12 | order.order_type << 8 | order.time_in_force << 4 | kind
            )
            found = self._forms.get(key)
            if found is None:
                found = self._forms[key] = self._make(kind, order)
            return found
        return self._make(kind, order)

    def clear(self):
        """Forget them: what they were made of has changed."""
        self._forms.clear()


cdef class Composer:
    """Frames of one or several orders: a head, the orders' forms with `},{` between them, a tail.

    Args:
        make: see `FormBook`; returns a Form.
    """

    def __init__(self, make):
        self.book = FormBook(make)
        self._text = Text()

    cpdef bytes frame(self, int kind, list orders, Form head, Form tail, uint64_t request_id, int64_t utc_ms):
        """The bytes of a request; raises what `make` raises, and OrderError for an order without an id."""
        cdef Text text = self._text
        cdef Order order = orders[0]
        cdef bint is_first = True
        text.size = 0
        head.fill(text, order, request_id, utc_ms, b"")
        for order in orders:
            if not is_first:
                text.put(b"},{", 3)
            is_first = False
            (<Form?> self.book.find(kind, order)).fill(text, order, request_id, utc_ms, b"")
        tail.fill(text, order, request_id, utc_ms, b"")
        return text.take()


cdef class SigningComposer:
    """Frames of single orders whose signature stands in them.

    Args:
        make: see `FormBook`; returns two Forms: the text that is signed (None = nothing is), and the frame.
        sign: makes a signature, as ASCII bytes, of a text.
    """

    def __init__(self, make, sign):
        self.book = FormBook(make)
        self._text = Text()
        self._sign = sign

    cpdef bytes frame(self, int kind, Order order, uint64_t request_id, int64_t utc_ms):
        """The bytes of a request; raises what `make` raises, and OrderError for an order without an id."""
        cdef Text text = self._text
        cdef bytes signature = b""
        cdef tuple forms = self.book.find(kind, order)
        text.size = 0
        if forms[0] is not None:
            (<Form?> forms[0]).fill(text, order, request_id, utc_ms, b"")
            signature = self._sign(text.take())
        (<Form?> forms[1]).fill(text, order, request_id, utc_ms, signature)
        return text.take()
