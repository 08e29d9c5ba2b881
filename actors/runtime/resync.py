"""What the slab says about a book, as the records a subscriber would have seen."""

from __future__ import annotations

from shm.book import BookSnapshot
from shm.enums import RecordKind
from shm.records import MarketRecord


def records_of(snapshot: BookSnapshot) -> list[MarketRecord]:
    """The STATUS and, if the book is usable, the BOOK record that say what a slab entry says."""
    certificate = snapshot.certificate
    common = {
        "instrument_id": certificate.instrument_id,
        "epoch": certificate.epoch,
        "live_id": certificate.live_id,
        "last_sequence": certificate.last_sequence,
        "book_state": certificate.state,
        "reason": certificate.reason,
        "venue_utc_ns": certificate.venue_utc_ns,
        "bid_count": len(snapshot.bids),
        "ask_count": len(snapshot.asks),
    }
    records = [MarketRecord(kind=RecordKind.STATUS, **common)]
    if snapshot.bids and snapshot.asks:
        (bid, bid_units), (ask, ask_units) = snapshot.bids[0], snapshot.asks[0]
        records.append(
            MarketRecord(
                kind=RecordKind.BOOK, value0=bid, value1=bid_units, value2=ask, value3=ask_units, **common
            )
        )
    return records
