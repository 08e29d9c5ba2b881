"""What the gateway journals: payloads of INTENT, SENT and REPORT entries, written without allocating.

- INTENT: the 256 bytes of the intent, then 16: sequence in its ring (u64), worker slot it came from (u32),
  verdict of the gate (u16, `Reason`), 0 (u16). Appended before anything is done with the intent.
- SENT: 48 bytes: command (u16, `IntentKind`), 0 (u16), instrument (u32), the order's id (u64), price units
  (i64), quantity units (i64), the replace's own id (u64), time (i64). Appended before the command is given
  to the session, so an order without it was certainly never sent.
- REPORT: the 256 bytes of the report, as it goes to the actor.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, Protocol

from typing_extensions import Buffer

from exec.order import Order
from shm.enums import IntentKind, JournalKind
from shm.records import INTENT_RECORD_BYTES, REPORT_RECORD_BYTES, IntentRecord, ReportRecord

TRAILER = struct.Struct("<QIHH")
SENT = struct.Struct("<HHIQqqQq")
INTENT_ENTRY_BYTES = INTENT_RECORD_BYTES + TRAILER.size
_INTENT, _SENT, _REPORT = int(JournalKind.INTENT), int(JournalKind.SENT), int(JournalKind.REPORT)


class JournalLike(Protocol):
    """Where entries go (`shm.journal.Journal`)."""

    def append(self, kind: int, payload: Buffer, now_ns: int) -> int:
        """Append one entry and return its sequence; raises JournalError when it can not."""


class SentCommand(NamedTuple):
    """A SENT entry read back."""

    kind: int
    instrument_id: int
    client_order_id: int
    price_units: int
    quantity_units: int
    new_client_order_id: int
    sent_ns: int


class EntryWriter:
    """Writes the gateway's entries to a journal; raises what the journal raises, having changed nothing."""

    __slots__ = ("_intent", "_report", "_sent", "journal")

    def __init__(self, journal: JournalLike) -> None:
        self.journal = journal
        self._intent = bytearray(INTENT_ENTRY_BYTES)
        self._sent = bytearray(SENT.size)
        self._report = bytearray(REPORT_RECORD_BYTES)

    def intent(
        self, intent: IntentRecord, ring_sequence: int, from_slot: int, reason: int, now_ns: int
    ) -> int:
        """Journal an intent with the gate's verdict."""
        intent.store_into(self._intent)
        TRAILER.pack_into(self._intent, INTENT_RECORD_BYTES, ring_sequence, from_slot, reason, 0)
        return self.journal.append(_INTENT, self._intent, now_ns)

    def sent(self, kind: int, order: Order, now_ns: int) -> int:
        """Journal that a command for an order is about to be given to the session."""
        price, units, new_id = order.price_units, order.order_units, 0
        if kind == IntentKind.REPLACE:
            price, units, new_id = order.new_price_units, order.new_units, order.new_client_order_id
        SENT.pack_into(
            self._sent, 0, kind, 0, order.instrument_id, order.client_order_id, price, units, new_id, now_ns
        )
        return self.journal.append(_SENT, self._sent, now_ns)

    def report(self, report: ReportRecord, now_ns: int) -> int:
        """Journal a report before it goes to the actor."""
        report.store_into(self._report)
        return self.journal.append(_REPORT, self._report, now_ns)


def read_intent(payload: bytes) -> tuple[IntentRecord, int, int, int]:
    """Read an INTENT payload back: (intent, ring sequence, from slot, verdict)."""
    intent = IntentRecord.from_bytes(payload[:INTENT_RECORD_BYTES])
    sequence, slot, reason, _ = TRAILER.unpack_from(payload, INTENT_RECORD_BYTES)
    return intent, sequence, slot, reason


def read_sent(payload: bytes) -> SentCommand:
    """Read a SENT payload back."""
    kind, _, instrument_id, client_id, price, units, new_id, sent_ns = SENT.unpack(payload)
    return SentCommand(kind, instrument_id, client_id, price, units, new_id, sent_ns)
