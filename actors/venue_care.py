"""What the reference actor keeps up to date for a venue while a run goes on: its list of instruments and its
clock.

Instrument data is asked for again and again; an answer like the last one costs nothing but the request. What
changed goes into the instrument table: rows are immutable, so new terms make a new row and retire the old
one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from feeds.adapter import HttpRequest, VenueAdapter, join_answers
from feeds.clock_offset import ClockEstimate, ClockOffset
from feeds.errors import TransportError, VenueError
from feeds.listing import CachedListing, ListingChanges, compare_listing
from feeds.names import GONE, choose_instruments, fits, is_pattern, odd_like, resolve
from feeds.transport.rest import HttpReply
from shm.errors import InstrumentError

if TYPE_CHECKING:
    from shm.instruments import Instrument, InstrumentTable

PAGES_MAX = 50
# When an answer was made is no part of what it says: the fields in which the venues tell it.
ANSWER_TIME = re.compile(rb'"(?:serverTime|time)"\s*:\s*\d+')

Get = Callable[[HttpRequest], Awaitable[HttpReply]]


async def fetch_instruments(adapter: VenueAdapter, get: Get) -> bytes:
    """Ask for all of a venue's instrument data, page by page; the answers as one body for
    `parse_instruments`.

    Raises:
        TransportError: no answer, or one of another status than 2xx.
        VenueError: an answer is not as documented, or there is no end of pages.
    """
    bodies: list[bytes] = []
    for first in adapter.instruments_requests():
        request: HttpRequest | None = first
        while request is not None:
            if len(bodies) >= PAGES_MAX:
                raise VenueError(f"{adapter.name}: more than {PAGES_MAX} pages of instrument data")
            reply = await get(request)
            if not reply.is_ok:
                raise TransportError(f"{request.method} {request.path}: status {reply.status}")
            bodies.append(reply.body)
            request = adapter.next_page(request, reply.body)
    return join_answers(bodies)


class ListingOutcome(NamedTuple):
    """What one look at a venue's list did to the table."""

    is_unchanged: bool  # the answer was that of the last time
    added: int = 0
    replaced: int = 0
    status: int = 0
    refused: tuple[str, ...] = ()  # rows that do not fit the table, and why
    odd: tuple[str, ...] = ()  # rows that patterns may mean and that are not as documented, and why


class VenueListing:
    """The rows of one venue in the instrument table, kept as the venue lists them.

    Args:
        adapter: the venue.
        table: the instrument table; this is its writer.
        get: sends a request.
        names: what is wanted, by symbol, canonical name or pattern; empty = all the venue has.
        place: puts slab and priority into a new row.
        now_ns: clock of the cached list.
        most: rows that patterns may bring at a time, 0 = any number; further ones are refused by name.
    """

    def __init__(
        self,
        adapter: VenueAdapter,
        table: InstrumentTable,
        get: Get,
        names: list[str],
        place: Callable[[Instrument], Instrument],
        now_ns: Callable[[], int],
        most: int = 0,
    ) -> None:
        self.adapter, self.table, self.names = adapter, table, names
        self._patterns = [name for name in names if is_pattern(name)]
        self._exact = [name for name in names if not is_pattern(name)]
        self._most = most
        self._place = place
        self._symbols: list[str] | None = None  # of the names, once resolved
        self._digest = b""
        #: For scans of the market; never for quoting.
        self.market = CachedListing(lambda: fetch_instruments(adapter, get), now_ns)

    async def load(self) -> ListingOutcome:
        """Ask for the list and bring the table up to date.

        Raises:
            TransportError: the venue did not answer.
            VenueError: the answer is not as documented, or a name is unknown at the first look.
        """
        return self.take(await self.market.get())

    def take(self, body: bytes) -> ListingOutcome:
        """Bring the table up to date with instrument data.

        Raises:
            VenueError: as `load`.
        """
        digest = hashlib.blake2b(ANSWER_TIME.sub(b"", body), digest_size=16).digest()
        if digest == self._digest:
            return ListingOutcome(True)
        is_open = bool(self._patterns) or not self.names
        known = self.adapter.read_list(body) if is_open else None
        refused: list[str] = []
        rows = [] if known is None or self.names else list(known.rows)
        if self._exact:
            rows = self._named(body)
        if known is not None and self._patterns:
            rows += self._like(known.rows, {row.symbol for row in rows}, refused)
        odd = [] if known is None else odd_like(self.adapter.name, known.odd, self._patterns)
        # What can not be read now is not gone: its row stays as it was.
        kept = {one.symbol for one in ([] if known is None else known.odd) if one.is_left_out}
        mine = [r for r in self.table if r.venue_id == self.adapter.venue_id and r.symbol not in kept]
        outcome = self._apply(compare_listing(mine, rows), refused)
        self._digest = digest
        return outcome._replace(odd=tuple(one.text for one in odd))

    def _named(self, body: bytes) -> list[Instrument]:
        if self._symbols is None:
            rows = choose_instruments(self.adapter, body, self._exact)
            self._symbols = [row.symbol for row in rows]
            return rows
        listed = self.adapter.listed_symbols(body)
        return self.adapter.parse_instruments(body, [s for s in self._symbols if s in listed])

    def _like(self, listed: list[Instrument], named: set[str], refused: list[str]) -> list[Instrument]:
        """Rows that patterns mean, as many as may be; those in use before new ones, then by symbol."""
        known = {r.symbol for r in self.table if r.venue_id == self.adapter.venue_id and r.status not in GONE}
        rows = [
            row
            for row in listed
            if row.symbol not in named and row.status not in GONE and fits(row, self._patterns)
        ]
        rows.sort(key=lambda row: (row.symbol not in known, row.symbol))
        most = self._most or len(rows)
        refused += [f"{row.symbol} is one instrument more than {most}" for row in rows[most:]]
        return rows[:most]

    def _apply(self, changes: ListingChanges, refused: list[str]) -> ListingOutcome:
        added = replaced = 0
        for new in changes.added:
            added += self._add(self._place(new), refused)
        for old, new in changes.replaced:
            # Retired first: a symbol has one row in use. If the table is full, the old terms may not be used
            # either.
            self.table.retire(old.instrument_id)
            replaced += self._add(replace(new, slab=old.slab, priority=old.priority), refused)
        for row, status in changes.status:
            self.table.set_status(row.instrument_id, status)
        return ListingOutcome(False, added, replaced, len(changes.status), tuple(refused))

    def _add(self, row: Instrument, refused: list[str]) -> bool:
        try:
            self.table.add(row)
        except InstrumentError as error:
            refused.append(str(error))
            return False
        return True

    def covers(self) -> bool:
        """Whether the table has a row in use for every name: then a restarted writer need not ask at once."""
        mine = [r for r in self.table if r.venue_id == self.adapter.venue_id and r.status not in GONE]
        try:
            self._symbols = [resolve(name, mine, self.adapter.name).symbol for name in self._exact] or None
        except VenueError:
            return False
        return bool(mine)


class VenueClock:
    """How far a venue's clock stands from ours: by asking for its time, and by the stamps of its messages.

    Args:
        adapter: the venue.
        get: sends a request.
        utc_ns: our wall clock.
    """

    def __init__(self, adapter: VenueAdapter, get: Get, utc_ns: Callable[[], int]) -> None:
        self.adapter = adapter
        self._get, self._utc_ns = get, utc_ns
        self.offset = ClockOffset()

    async def ask(self) -> None:
        """Ask for the venue's time once.

        Raises:
            TransportError: the venue did not answer, or with another status than 2xx.
            VenueError: the answer is not its time.
        """
        request = self.adapter.time_request()
        sent_ns = self._utc_ns()
        reply = await self._get(request)
        received_ns = self._utc_ns()
        if not reply.is_ok:
            raise TransportError(f"{request.method} {request.path}: status {reply.status}")
        time = self.adapter.read_time(reply.body)
        if received_ns >= sent_ns:  # our own clock may have been set meanwhile
            self.offset.on_exchange(sent_ns, received_ns, time.venue_utc_ns, time.resolution_ns)

    def on_stamp(self, received_utc_ns: int, venue_utc_ns: int) -> None:
        """Take the stamps of a message."""
        self.offset.on_message(received_utc_ns, venue_utc_ns)

    def estimate(self) -> ClockEstimate | None:
        """What is known now, None before the first answer."""
        return self.offset.estimate(self._utc_ns())
