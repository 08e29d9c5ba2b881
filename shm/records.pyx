# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""Records that travel in rings and journals, as Python objects.

One class per struct of `native/shm_layout.h`, field names as there. The objects are mutable on purpose: a
worker keeps one and loads each record into it, so nothing is allocated per update.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
cimport cython
from libc.string cimport memcmp, memcpy, memset
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize

from shm.layout cimport (
    SHM_CERTIFICATES, shm_certificate_ref, shm_intent_record, shm_market_record, shm_report_record,
)

from typing import NamedTuple

from shm.errors import RecordError
from shm.record_fields import FIELD_NAMES, text_of

MARKET_RECORD_BYTES = sizeof(shm_market_record)
INTENT_RECORD_BYTES = sizeof(shm_intent_record)
REPORT_RECORD_BYTES = sizeof(shm_report_record)
CERTIFICATES_MAX = SHM_CERTIFICATES

cdef enum:
    RECORD_WORDS_MAX = 32


class CertificateRef(NamedTuple):
    """The part of a book's certificate that an order cites."""

    instrument_id: int
    epoch: int
    live_id: int
    last_sequence: int


cdef int open_at(object buffer, Py_ssize_t offset, Py_ssize_t size, int flags, Py_buffer *view) except -1:
    """Open a buffer and prove that `size` bytes stand at `offset`."""
    PyObject_GetBuffer(buffer, view, flags)
    if offset < 0 or view.len - offset < size:
        length = view.len
        PyBuffer_Release(view)
        raise RecordError(f"a record needs {size} bytes at offset {offset}, the buffer holds {length}")
    return 0


cdef int set_fields(object record, dict fields) except -1:
    for name, value in fields.items():
        if name not in FIELD_NAMES[type(record).__name__]:
            raise TypeError(f"{type(record).__name__} has no field {name!r}")
        setattr(record, name, value)
    return 0


cdef class Record:
    """What all records have in common: bytes in, bytes out, comparison."""

    cdef void read(self, const void *source) noexcept:
        pass

    cdef void write(self, void *target) noexcept:
        pass

    def __init__(self, **fields):
        if fields:
            set_fields(self, fields)

    cpdef void load(self, object buffer, Py_ssize_t offset=0) except *:
        """Take all fields from the record at byte `offset` of a buffer.

        Raises:
            RecordError: the buffer is too short; this record keeps its fields.
        """
        cdef Py_buffer view
        cdef uint64_t copy[RECORD_WORDS_MAX]
        open_at(buffer, offset, self.size_bytes, PyBUF_SIMPLE, &view)
        # The slot of a ring may be unaligned for a foreign buffer: never cast it to a struct.
        memcpy(copy, <const char *> view.buf + offset, self.size_bytes)
        PyBuffer_Release(&view)
        self.read(copy)

    cpdef void store_into(self, object buffer, Py_ssize_t offset=0) except *:
        """Write the bytes of this record at byte `offset` of a writable buffer.

        Raises:
            RecordError: the buffer is too short; it is not touched.
        """
        cdef Py_buffer view
        cdef uint64_t copy[RECORD_WORDS_MAX]
        open_at(buffer, offset, self.size_bytes, PyBUF_WRITABLE, &view)
        self.write(copy)
        memcpy(<char *> view.buf + offset, copy, self.size_bytes)
        PyBuffer_Release(&view)

    cpdef bytes to_bytes(self):
        """The bytes of this record as they stand in a ring."""
        cdef uint64_t copy[RECORD_WORDS_MAX]
        self.write(copy)
        return PyBytes_FromStringAndSize(<char *> copy, self.size_bytes)

    @classmethod
    def from_bytes(cls, data):
        """A new record from its bytes; RecordError if there are too few."""
        record = cls()
        record.load(data)
        return record

    cpdef void reset(self) except *:
        """Set every field to zero."""
        cdef uint64_t empty[RECORD_WORDS_MAX]
        memset(empty, 0, sizeof(empty))
        self.read(empty)

    def copy(self):
        """An independent record with the same fields."""
        cdef uint64_t whole[RECORD_WORDS_MAX]
        cdef Record twin = type(self)()
        self.write(whole)
        twin.read(whole)
        return twin

    def __eq__(self, other):
        if type(other) is not type(self):
            return NotImplemented
        cdef uint64_t mine[RECORD_WORDS_MAX]
        cdef uint64_t theirs[RECORD_WORDS_MAX]
        self.write(mine)
        (<Record> other).write(theirs)
        return memcmp(mine, theirs, self.size_bytes) == 0

    __hash__ = None

    def __reduce__(self):
        return type(self).from_bytes, (self.to_bytes(),)

    def __repr__(self):
        return f"{type(self).__name__}({text_of(self)})"


@cython.final
cdef class MarketRecord(Record):
    """One market-data record of a broadcast ring.

    The four values read by `kind`: BOOK and BBO hold bid price, bid quantity, ask price, ask quantity; TRADE
    holds price, quantity, trade id; MARK holds mark price and index price in counts of 10^-mark_exponent,
    funding rate in counts of 10^-funding_rate_exponent, next funding time (venue_utc_ns). Other prices and quantities are `_units` of the instrument. Keyword arguments set fields.
    """

    def __cinit__(self):
        self.size_bytes = sizeof(shm_market_record)

    cdef void read(self, const void *source) noexcept:
        self.from_ptr(<const shm_market_record *> source)

    cdef void write(self, void *target) noexcept:
        self.to_ptr(<shm_market_record *> target)

    cdef void from_ptr(self, const shm_market_record *source) noexcept:
        self.kind = source.kind
        self.book_state = source.book_state
        self.side = source.side
        self.instrument_id = source.instrument_id
        self.epoch = source.epoch
        self.live_id = source.live_id
        self.last_sequence = source.last_sequence
        self.value0 = source.value[0]
        self.value1 = source.value[1]
        self.value2 = source.value[2]
        self.value3 = source.value[3]
        self.frame_ns = source.frame_ns
        self.publish_ns = source.publish_ns
        self.venue_utc_ns = source.venue_utc_ns
        self.reason = source.reason
        self.bid_count = source.bid_count
        self.ask_count = source.ask_count
        self.flags = source.flags

    cdef void to_ptr(self, shm_market_record *target) noexcept:
        memset(target, 0, sizeof(shm_market_record))
        target.kind = self.kind
        target.book_state = self.book_state
        target.side = self.side
        target.instrument_id = self.instrument_id
        target.epoch = self.epoch
        target.live_id = self.live_id
        target.last_sequence = self.last_sequence
        target.value[0] = self.value0
        target.value[1] = self.value1
        target.value[2] = self.value2
        target.value[3] = self.value3
        target.frame_ns = self.frame_ns
        target.publish_ns = self.publish_ns
        target.venue_utc_ns = self.venue_utc_ns
        target.reason = self.reason
        target.bid_count = self.bid_count
        target.ask_count = self.ask_count
        target.flags = self.flags

    @property
    def bid_price_units(self) -> int:
        """Best bid price of a BOOK or BBO record."""
        return self.value0

    @property
    def bid_quantity_units(self) -> int:
        """Quantity at the best bid of a BOOK or BBO record."""
        return self.value1

    @property
    def ask_price_units(self) -> int:
        """Best ask price of a BOOK or BBO record."""
        return self.value2

    @property
    def ask_quantity_units(self) -> int:
        """Quantity at the best ask of a BOOK or BBO record."""
        return self.value3

    @property
    def price_units(self) -> int:
        """Price of a TRADE record, mark price of a MARK record (in counts of 10^-mark_exponent)."""
        return self.value0

    @property
    def quantity_units(self) -> int:
        """Quantity of a TRADE record."""
        return self.value1

    @property
    def trade_id(self) -> int:
        """The venue's trade id of a TRADE record."""
        return self.value2

    @property
    def index_price_units(self) -> int:
        """Index price of a MARK record, in counts of 10^-mark_exponent."""
        return self.value1

    @property
    def funding_rate_units(self) -> int:
        """Funding rate of a MARK record, in counts of 10^-funding_rate_exponent."""
        return self.value2

    @property
    def mark_exponent(self) -> int:
        """Exponent of both prices of a MARK record: at least 8, more where the venue's values need it."""
        return self.bid_count

    @property
    def funding_rate_exponent(self) -> int:
        """Exponent of the funding rate of a MARK record: at least 8, more where the venue's values need it."""
        return self.ask_count

    @property
    def next_funding_utc_ns(self) -> int:
        """Time of the next funding of a MARK record, venue_utc_ns."""
        return self.value3


@cython.final
cdef class IntentRecord(Record):
    """What an actor wants done: one record of an intent ring.

    Prices and quantities are `_units` of the instrument. Up to four book certificates are cited with
    `add_certificate`. Keyword arguments set fields.
    """

    def __cinit__(self):
        self.size_bytes = sizeof(shm_intent_record)

    cdef void read(self, const void *source) noexcept:
        self.from_ptr(<const shm_intent_record *> source)

    cdef void write(self, void *target) noexcept:
        self.to_ptr(<shm_intent_record *> target)

    cdef void from_ptr(self, const shm_intent_record *source) noexcept:
        self.kind = source.kind
        self.side = source.side
        self.order_type = source.order_type
        self.time_in_force = source.time_in_force
        self.certificate_count = source.certificate_count
        self.flags = source.flags
        self.actor_id = source.actor_id
        self.instrument_id = source.instrument_id
        self.worker_slot = source.worker_slot
        self.incarnation = source.incarnation
        self.epoch = source.epoch
        self.generation = source.generation
        self.client_order_id = source.client_order_id
        self.orig_client_order_id = source.orig_client_order_id
        self.price_units = source.price_units
        self.quantity_units = source.quantity_units
        self.frame_ns = source.frame_ns
        self.publish_ns = source.publish_ns
        self.drain_ns = source.drain_ns
        self.decide_ns = source.decide_ns
        # A count from foreign memory must not lead past the array.
        if self.certificate_count > SHM_CERTIFICATES:
            self.certificate_count = SHM_CERTIFICATES
        cdef uint32_t i
        for i in range(<uint32_t> SHM_CERTIFICATES):
            self.refs[i] = source.certificates[i]

    cdef void to_ptr(self, shm_intent_record *target) noexcept:
        memset(target, 0, sizeof(shm_intent_record))
        target.kind = self.kind
        target.side = self.side
        target.order_type = self.order_type
        target.time_in_force = self.time_in_force
        target.certificate_count = self.certificate_count
        target.flags = self.flags
        target.actor_id = self.actor_id
        target.instrument_id = self.instrument_id
        target.worker_slot = self.worker_slot
        target.incarnation = self.incarnation
        target.epoch = self.epoch
        target.generation = self.generation
        target.client_order_id = self.client_order_id
        target.orig_client_order_id = self.orig_client_order_id
        target.price_units = self.price_units
        target.quantity_units = self.quantity_units
        target.frame_ns = self.frame_ns
        target.publish_ns = self.publish_ns
        target.drain_ns = self.drain_ns
        target.decide_ns = self.decide_ns
        cdef uint32_t i
        for i in range(self.certificate_count):
            target.certificates[i] = self.refs[i]

    cpdef void add_certificate(
        self, uint32_t instrument_id, uint32_t epoch, uint32_t live_id, int64_t last_sequence
    ) except *:
        """Cite the certificate of one more book.

        Raises:
            RecordError: four are cited already; nothing changed.
        """
        if self.certificate_count >= SHM_CERTIFICATES:
            raise RecordError(f"an intent cites at most {SHM_CERTIFICATES} certificates")
        cdef shm_certificate_ref *ref = &self.refs[self.certificate_count]
        memset(ref, 0, sizeof(shm_certificate_ref))
        ref.instrument_id = instrument_id
        ref.epoch = epoch
        ref.live_id = live_id
        ref.last_sequence = last_sequence
        self.certificate_count += 1

    cpdef void clear_certificates(self) except *:
        """Forget all cited certificates."""
        self.certificate_count = 0

    def certificate(self, index: int) -> CertificateRef:
        """The cited certificate at `index`; IndexError if there are fewer."""
        if not 0 <= index < self.certificate_count:
            raise IndexError(f"certificate {index} of {self.certificate_count}")
        cdef shm_certificate_ref ref = self.refs[<int> index]
        return CertificateRef(ref.instrument_id, ref.epoch, ref.live_id, ref.last_sequence)

    @property
    def certificates(self) -> list[CertificateRef]:
        """All cited certificates in the order of citing."""
        return [self.certificate(i) for i in range(self.certificate_count)]

    def __repr__(self) -> str:
        cited = f", certificates={[tuple(c) for c in self.certificates]}" if self.certificate_count else ""
        return f"IntentRecord({text_of(self)}{cited})"


@cython.final
cdef class ReportRecord(Record):
    """What became of an order: one record of a report ring.

    Prices and quantities are `_units` of the instrument, fees 10^-8 of the settlement currency. Keyword
    arguments set fields.
    """

    def __cinit__(self):
        self.size_bytes = sizeof(shm_report_record)

    cdef void read(self, const void *source) noexcept:
        self.from_ptr(<const shm_report_record *> source)

    cdef void write(self, void *target) noexcept:
        self.to_ptr(<shm_report_record *> target)

    cdef void from_ptr(self, const shm_report_record *source) noexcept:
        self.kind = source.kind
        self.side = source.side
        self.order_status = source.order_status
        self.request_status = source.request_status
        self.liquidity = source.liquidity
        self.reason = source.reason
        self.actor_id = source.actor_id
        self.instrument_id = source.instrument_id
        self.client_order_id = source.client_order_id
        self.orig_client_order_id = source.orig_client_order_id
        self.venue_order_id = source.venue_order_id
        self.trade_id = source.trade_id
        self.price_units = source.price_units
        self.order_units = source.order_units
        self.filled_units = source.filled_units
        self.leaves_units = source.leaves_units
        self.last_units = source.last_units
        self.last_price_units = source.last_price_units
        self.fee_units = source.fee_units
        self.position_units = source.position_units
        self.frame_ns = source.frame_ns
        self.decide_ns = source.decide_ns
        self.gate_ns = source.gate_ns
        self.send_ns = source.send_ns
        self.ack_ns = source.ack_ns
        self.report_ns = source.report_ns
        self.venue_utc_ns = source.venue_utc_ns
        self.generation = source.generation
        self.epoch = source.epoch

    cdef void to_ptr(self, shm_report_record *target) noexcept:
        memset(target, 0, sizeof(shm_report_record))
        target.kind = self.kind
        target.side = self.side
        target.order_status = self.order_status
        target.request_status = self.request_status
        target.liquidity = self.liquidity
        target.reason = self.reason
        target.actor_id = self.actor_id
        target.instrument_id = self.instrument_id
        target.client_order_id = self.client_order_id
        target.orig_client_order_id = self.orig_client_order_id
        target.venue_order_id = self.venue_order_id
        target.trade_id = self.trade_id
        target.price_units = self.price_units
        target.order_units = self.order_units
        target.filled_units = self.filled_units
        target.leaves_units = self.leaves_units
        target.last_units = self.last_units
        target.last_price_units = self.last_price_units
        target.fee_units = self.fee_units
        target.position_units = self.position_units
        target.frame_ns = self.frame_ns
        target.decide_ns = self.decide_ns
        target.gate_ns = self.gate_ns
        target.send_ns = self.send_ns
        target.ack_ns = self.ack_ns
        target.report_ns = self.report_ns
        target.venue_utc_ns = self.venue_utc_ns
        target.generation = self.generation
        target.epoch = self.epoch
