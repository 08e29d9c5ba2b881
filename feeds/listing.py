"""What has changed in a venue's list of instruments, and a list asked for once in its time to live."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from shm.enums import InstrumentStatus

if TYPE_CHECKING:
    from shm.instruments import Instrument

T = TypeVar("T")

LISTING_TTL_NS = 2_000_000_000


class ListingChanges(NamedTuple):
    """What is to be done to the rows of one venue."""

    added: tuple[Instrument, ...]  # new listings
    replaced: tuple[
        tuple[Instrument, Instrument], ...
    ]  # (row, its successor): tick, lot, multiplier or limits changed
    status: tuple[tuple[Instrument, InstrumentStatus], ...]  # (row, its new status)

    @property
    def is_empty(self) -> bool:
        """Whether nothing has changed."""
        return not (self.added or self.replaced or self.status)


def compare_listing(rows: Iterable[Instrument], listed: Sequence[Instrument]) -> ListingChanges:
    """Compare the rows in use with what the venue lists now.

    What depends on this run (id, slab, priority) and the fees are not compared: those are an account's. A row
    that is listed no more is DELISTED; one that is already, or was retired, stays so until its symbol is
    listed again.

    Args:
        rows: of one venue, as in the instrument table; of a symbol with several the last one counts.
        listed: the rows of its instrument data that are wanted, new ones included.
    """
    current = {row.symbol: row for row in rows if row.status != InstrumentStatus.RETIRED}
    seen = {row.symbol for row in listed}
    added, replaced, status = [], [], []
    for new in listed:
        old = current.get(new.symbol)
        if old is None:
            added.append(new)
        elif not has_same_terms(old, new):
            replaced.append((old, replace(new, slab=old.slab, priority=old.priority)))
        elif old.status != new.status:
            status.append((old, InstrumentStatus(new.status)))
    gone = (row for row in current.values() if row.symbol not in seen)
    status += [(row, InstrumentStatus.DELISTED) for row in gone if row.status != InstrumentStatus.DELISTED]
    return ListingChanges(tuple(added), tuple(replaced), tuple(status))


def has_same_terms(old: Instrument, new: Instrument) -> bool:
    """Whether two rows differ in nothing that an order or a price depends on, but perhaps in status."""
    return old == replace(
        new,
        instrument_id=old.instrument_id,
        status=old.status,
        slab=old.slab,
        priority=old.priority,
        maker_fee_e8=old.maker_fee_e8,
        taker_fee_e8=old.taker_fee_e8,
    )


class CachedListing(Generic[T]):
    """A market list for scans: asked for at most once in its time to live, by any number of consumers.

    For what chooses markets, never for what quotes them: a strategy reads books and their certificates, and
    this holds none.

    Args:
        fetch: asks the venue; what it raises reaches whoever asked, and nothing is kept then.
        now_ns: clock.
        ttl_ns: how long an answer serves; at that age it is asked for again.
    """

    def __init__(
        self, fetch: Callable[[], Awaitable[T]], now_ns: Callable[[], int], ttl_ns: int = LISTING_TTL_NS
    ) -> None:
        self._fetch, self._now_ns, self.ttl_ns = fetch, now_ns, ttl_ns
        self._value: tuple[int, T] | None = None
        self._lock = asyncio.Lock()
        self.requests = 0  # asked of the venue
        self.hits = 0  # answered from here

    async def get(self) -> T:
        """The list, not older than the time to live."""
        async with self._lock:  # who comes while it is asked for waits for the same answer
            if self._value is not None and self._now_ns() - self._value[0] < self.ttl_ns:
                self.hits += 1
                return self._value[1]
            self.requests += 1
            asked_ns = self._now_ns()
            value = await self._fetch()
            self._value = (asked_ns, value)
            return value
