"""What the gateway journals: payloads of its entries; those of every order are written without allocating.

- INTENT: the 256 bytes of the intent, then 16: sequence in its ring (u64), worker slot it came from (u32),
  verdict of the gate (u16, `Reason`), 0 (u16). Appended before anything is done with the intent.
- SENT: 48 bytes: command (u16, `IntentKind`), 0 (u16), instrument (u32), the order's id (u64), price units
  (i64), quantity units (i64), the replace's own id (u64), time (i64). Appended before the command is given
  to the session, so an order without it was certainly never sent.
- HELD, RELEASED: as SENT, of a new order or a replace that the session could not pay for (or that waits for
  another command of its order): HELD once it waits, RELEASED before it leaves. One that is HELD where the
  journal ends has certainly not left.
- REPORT: the 256 bytes of the report, as it goes to the actor.
- AGREED: 16 bytes: the account, by the lowest of its venue ids (u32), 0 (u32), the venue's time (i64) up to
  which orders, fills and positions of both sides are the same. Appended behind each round that found so.
- DISCREPANCY: 120 bytes: kind, repair, side, the venue's word (u16 each), instrument (u32), liquidity (u32),
  the order's id, the venue's, the trade's (u64 each), ours, theirs, price units, units, fee in 10^-8, the
  venue's time (i64 each), asset (16 bytes ASCII, zero filled) and 16 zero bytes. Appended before the repair
  is made.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, Protocol

from typing_extensions import Buffer

from exec.discrepancy import Discrepancy
from exec.entry_writer import OrderEntries
from shm.enums import JournalKind
from shm.records import INTENT_RECORD_BYTES, IntentRecord

TRAILER = struct.Struct("<QIHH")
SENT = struct.Struct("<HHIQqqQq")
DISCREPANCY = struct.Struct("<HHHHIIQQQqqqqqq16s16x")
INTENT_ENTRY_BYTES = INTENT_RECORD_BYTES + TRAILER.size
AGREED = struct.Struct("<IIq")
_DISCREPANCY, _AGREED = int(JournalKind.DISCREPANCY), int(JournalKind.AGREED)


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


class EntryWriter(OrderEntries):
    """Writes the gateway's entries to a journal; raises what the journal raises, having changed nothing."""

    __slots__ = ()

    def __init__(self, journal: JournalLike) -> None:
        super().__init__(journal)

    def discrepancy(self, found: Discrepancy, now_ns: int) -> int:
        """Journal a discrepancy before its repair is made."""
        payload = DISCREPANCY.pack(
            found.kind, found.repair, found.side, found.word, found.instrument_id, found.liquidity,
            found.client_order_id, found.venue_order_id, found.trade_id, found.ours, found.theirs,
            found.price_units, found.units, found.fee_e8, found.venue_utc_ns,
            found.asset.encode("ascii")[:16],
        )  # fmt: skip
        return self.journal.append(_DISCREPANCY, payload, now_ns)

    def agreed(self, account: int, venue_utc_ns: int, now_ns: int) -> int:
        """Journal that an account and its venue agreed about all that had happened up to a time."""
        return self.journal.append(_AGREED, AGREED.pack(account, 0, venue_utc_ns), now_ns)


def read_intent(payload: bytes) -> tuple[IntentRecord, int, int, int]:
    """Read an INTENT payload back: (intent, ring sequence, from slot, verdict)."""
    intent = IntentRecord.from_bytes(payload[:INTENT_RECORD_BYTES])
    sequence, slot, reason, _ = TRAILER.unpack_from(payload, INTENT_RECORD_BYTES)
    return intent, sequence, slot, reason


def read_sent(payload: bytes) -> SentCommand:
    """Read a SENT, HELD or RELEASED payload back."""
    kind, _, instrument_id, client_id, price, units, new_id, sent_ns = SENT.unpack(payload)
    return SentCommand(kind, instrument_id, client_id, price, units, new_id, sent_ns)


def read_agreed(payload: bytes) -> tuple[int, int]:
    """Read an AGREED payload back: (account, the venue's time)."""
    account, _, venue_utc_ns = AGREED.unpack(payload)
    return account, venue_utc_ns


def read_discrepancy(payload: bytes) -> Discrepancy:
    """Read a DISCREPANCY payload back."""
    kind, repair, side, word, instrument_id, liquidity, *ids_and_values, asset = DISCREPANCY.unpack(payload)
    client_id, venue_id, trade_id, ours, theirs, price, units, fee, venue_utc_ns = ids_and_values
    return Discrepancy(
        kind, repair, instrument_id, client_id, venue_id, side, word, ours, theirs, price, units, trade_id,
        liquidity, fee, venue_utc_ns, asset.rstrip(b"\0").decode("ascii"),
    )  # fmt: skip
