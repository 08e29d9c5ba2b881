# cython: language_level=3, freethreading_compatible=False
"""The journal entries of every order, written without allocating; `exec.entries` says how they look."""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

from exec.order cimport Order
from shm.journal cimport Journal
from shm.layout cimport shm_intent_record, shm_report_record
from shm.records cimport IntentRecord, ReportRecord

from shm.enums import IntentKind, JournalKind

cdef uint16_t _INTENT = int(JournalKind.INTENT)
cdef uint16_t _SENT = int(JournalKind.SENT)
cdef uint16_t _REPORT = int(JournalKind.REPORT)
cdef uint16_t _HELD = int(JournalKind.HELD)
cdef uint16_t _RELEASED = int(JournalKind.RELEASED)
cdef int _REPLACE = int(IntentKind.REPLACE)


cdef struct IntentEntry:
    shm_intent_record intent
    uint64_t ring_sequence
    uint32_t from_slot
    uint16_t verdict
    uint16_t zero


cdef struct SentEntry:
    uint16_t command
    uint16_t zero
    uint32_t instrument_id
    uint64_t client_order_id
    int64_t price_units
    int64_t quantity_units
    uint64_t new_client_order_id
    int64_t sent_ns


cdef class OrderEntries:
    """Writes INTENT, SENT, HELD, RELEASED and REPORT entries; raises what the journal raises, with no change.

    Args:
        journal: where they go; a `shm.journal.Journal` takes them straight from here.
    """

    def __init__(self, journal):
        self.journal = journal

    @property
    def journal(self):
        """Where entries go."""
        return self._journal

    @journal.setter
    def journal(self, journal):
        self._journal = journal
        self._own = journal if type(journal) is Journal else None

    cdef object _append(self, uint16_t kind, const void* payload, uint32_t size, int64_t now_ns):
        cdef uint64_t sequence
        if self._own is not None:
            sequence = self._own.append_ptr(kind, payload, size, now_ns)
            if sequence:
                return sequence
        # Full, closed or not ours: its own words.
        return self._journal.append(kind, (<const char*> payload)[:size], now_ns)

    cpdef object intent(
        self, IntentRecord intent, uint64_t ring_sequence, uint32_t from_slot, uint16_t reason, int64_t now_ns
    ):
        """Journal an intent with the gate's verdict."""
        cdef IntentEntry entry
        intent.to_ptr(&entry.intent)
        entry.ring_sequence = ring_sequence
        entry.from_slot = from_slot
        entry.verdict = reason
        entry.zero = 0
        return self._append(_INTENT, &entry, sizeof(entry), now_ns)

    cpdef object sent(self, int kind, Order order, int64_t now_ns):
        """Journal that a command for an order is about to be given to the session."""
        return self._command(_SENT, kind, order, now_ns)

    cpdef object held(self, int kind, Order order, int64_t now_ns):
        """Journal that a command waits in the session: it has not left, and will not before `released`."""
        return self._command(_HELD, kind, order, now_ns)

    cpdef object released(self, int kind, Order order, int64_t now_ns):
        """Journal that a command that waited is about to leave."""
        return self._command(_RELEASED, kind, order, now_ns)

    cdef object _command(self, uint16_t what, int kind, Order order, int64_t now_ns):
        cdef SentEntry entry
        entry.command = kind
        entry.zero = 0
        entry.instrument_id = order.instrument_id
        entry.client_order_id = order.client_order_id
        entry.price_units = order.price_units
        entry.quantity_units = order.order_units
        entry.new_client_order_id = 0
        entry.sent_ns = now_ns
        if kind == _REPLACE:
            entry.price_units = order.new_price_units
            entry.quantity_units = order.new_units
            entry.new_client_order_id = order.new_client_order_id
        return self._append(what, &entry, sizeof(entry), now_ns)

    def report(self, ReportRecord report not None, int64_t now_ns):
        """Journal a report before it goes to the actor."""
        cdef shm_report_record record
        report.to_ptr(&record)
        return self._append(_REPORT, &record, sizeof(record), now_ns)
