"""Changes of a venue's list of instruments, and the cached market list."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from feeds.listing import CachedListing, ListingChanges, compare_listing
from shm.enums import InstrumentStatus
from shm.instruments import Instrument, InstrumentTable

SECOND = 1_000_000_000


def row(symbol: str, **more: Any) -> Instrument:
    return Instrument(venue_id=1, price_exponent=2, quantity_exponent=3, symbol=symbol, **more)


IN_USE = [replace(row(s), instrument_id=i, slab=7, priority=1) for i, s in enumerate(("A", "B", "C"))]
LISTED = [row("A"), row("B"), row("C")]


def test_an_unchanged_list_changes_nothing() -> None:
    assert compare_listing(IN_USE, LISTED).is_empty


def test_fees_are_an_accounts_and_no_change_of_terms() -> None:
    assert compare_listing(IN_USE, [replace(r, maker_fee_e8=5) for r in LISTED]).is_empty


def test_a_new_listing_is_added() -> None:
    assert compare_listing(IN_USE, [*LISTED, row("D")]) == ListingChanges((row("D"),), (), ())


@pytest.mark.parametrize(
    "term", ["tick_size", "lot_size", "multiplier", "price_exponent", "min_notional_units"]
)
def test_changed_terms_make_a_new_row_that_keeps_its_place(term: str) -> None:
    changed = replace(row("B"), **{term: 9})  # type: ignore[arg-type]
    changes = compare_listing(IN_USE, [LISTED[0], changed, LISTED[2]])
    assert changes.replaced == ((IN_USE[1], replace(changed, slab=7, priority=1)),)
    assert not (changes.added or changes.status)


def test_what_is_listed_no_more_is_delisted_once_and_may_come_back() -> None:
    changes = compare_listing(IN_USE, LISTED[:2])
    assert changes.status == ((IN_USE[2], InstrumentStatus.DELISTED),)
    gone = [*IN_USE[:2], replace(IN_USE[2], status=InstrumentStatus.DELISTED)]
    assert compare_listing(gone, LISTED[:2]).is_empty
    assert compare_listing(gone, LISTED).status == ((gone[2], InstrumentStatus.TRADING),)


def test_a_halt_changes_the_status_only() -> None:
    halted = replace(LISTED[0], status=InstrumentStatus.HALTED)
    assert compare_listing(IN_USE, [halted, *LISTED[1:]]).status == ((IN_USE[0], InstrumentStatus.HALTED),)


def test_retired_rows_do_not_count() -> None:
    old = replace(IN_USE[0], tick_size=4, status=InstrumentStatus.RETIRED)
    assert compare_listing([old, *IN_USE], LISTED).is_empty


def test_the_changes_can_be_made_in_the_table() -> None:
    table = InstrumentTable.create(bytearray(InstrumentTable.bytes_needed(8)), 8)
    for one in LISTED:
        table.add(one)
    listed = [replace(LISTED[0], tick_size=5), LISTED[1], row("D")]
    changes = compare_listing(table, listed)
    for old, new in changes.replaced:
        table.retire(old.instrument_id)
        table.add(new)
    for old, status in changes.status:
        table.set_status(old.instrument_id, status)
    for new in changes.added:
        table.add(new)
    assert compare_listing(table, listed).is_empty
    assert [(r.symbol, InstrumentStatus(r.status).name) for r in table] == [
        ("A", "RETIRED"), ("B", "TRADING"), ("C", "DELISTED"), ("A", "TRADING"), ("D", "TRADING"),
    ]  # fmt: skip


class Venue:
    """Counts what it is asked."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.asked = 0
        self.fails = False

    async def fetch(self) -> int:
        self.asked += 1
        await asyncio.sleep(0)
        if self.fails:
            raise OSError("no answer")
        return self.asked

    def list(self) -> CachedListing[int]:
        return CachedListing(self.fetch, lambda: self.now_ns)


def test_a_scan_a_second_asks_the_venue_half_as_often() -> None:
    async def scan() -> tuple[int, int]:
        venue, plain = Venue(), Venue()
        cached = venue.list()
        for _ in range(100):
            await cached.get()
            await plain.fetch()
            venue.now_ns += SECOND
        assert (cached.requests, cached.hits) == (venue.asked, 100 - venue.asked)
        return plain.asked, venue.asked

    assert asyncio.run(scan()) == (100, 50)


def test_consumers_at_once_share_one_request() -> None:
    async def scan() -> list[int]:
        cached = Venue().list()
        return list(await asyncio.gather(*(cached.get() for _ in range(20))))

    assert asyncio.run(scan()) == [1] * 20


def test_a_failure_is_told_and_not_kept() -> None:
    async def scan() -> int:
        venue = Venue()
        cached = venue.list()
        venue.fails = True
        with pytest.raises(OSError, match="no answer"):
            await cached.get()
        venue.fails = False
        return await cached.get()

    assert asyncio.run(scan()) == 2
