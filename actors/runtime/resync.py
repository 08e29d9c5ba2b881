"""Looking things up: instruments by name, books of the slab as the records a subscriber would have seen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from actors.errors import ActorError
from shm.book import BookSnapshot
from shm.enums import InstrumentStatus, RecordKind
from shm.instruments import Instrument
from shm.records import MarketRecord

if TYPE_CHECKING:
    from actors.runtime.faults import Binding
    from actors.runtime.host import Host

ANSWER_NS = 10_000_000_000
LOOK_NS = 1_000_000


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


def find_instrument(instruments: Iterable[Instrument], name: str) -> Instrument:
    """An instrument by canonical name, symbol or "venue_id:symbol".

    Raises:
        ActorError: none or several fit.
    """
    venue, _, symbol = name.rpartition(":")
    found = [
        row
        for row in instruments
        if (not venue or str(row.venue_id) == venue)
        and symbol in (row.canonical, row.symbol)
        and row.status != InstrumentStatus.RETIRED
    ]
    if len(found) != 1:
        what = "unknown instrument" if not found else "several venues have instrument"
        raise ActorError(f"{what} {name!r}")
    return found[0]


async def learn_working_orders(host: Host, binding: Binding) -> None:
    """Ask the gateway, which may itself be coming back; nobody quotes without knowing what rests.

    Raises:
        ActorError: it does not answer in time; the start counts as failed and is tried again.
    """
    deadline = host.clock.now_ns() + ANSWER_NS

    async def pause() -> None:
        if host.clock.now_ns() >= deadline:
            raise ActorError(f"the gateway does not say within {ANSWER_NS / 1e9:g} s what rests")
        await host.scheduler.sleep(LOOK_NS)

    while (request := binding.context.request_status()) is None:
        await pause()  # the ring to it is full
    binding.awaits_status = request
    while binding.awaits_status:
        await pause()
