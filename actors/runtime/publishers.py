"""Feeds that died or stall while their books still say LIVE: nobody is left to change the certificate.

The gate refuses such books by itself; this tells the actors, so that what rests on them can be withdrawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from actors.runtime.intents import Moment
from shm.control import Control, WorkerSlot
from shm.enums import BookReason, BookState, RecordKind, WorkerState
from shm.records import MarketRecord

#: A publisher that is starting again has not touched its predecessor's books yet.
PUBLISHES = frozenset({int(WorkerState.RUNNING), int(WorkerState.DRAINING)})

Rings = Mapping[tuple[int, int], Iterable[int]]


class PublisherWatch:
    """Compares the states of the feed workers with those at the last look.

    Args:
        control: worker states.
        moment: the newest certificates drained.
        deliver: takes a record that came from no ring.
        resync: brings instruments up to date from the slab.
    """

    def __init__(
        self,
        control: Control,
        moment: Moment,
        deliver: Callable[[MarketRecord], None],
        resync: Callable[[Sequence[int]], None],
    ) -> None:
        self._control = control
        self._moment = moment
        self._deliver = deliver
        self._resync = resync
        self._gone: set[int] = set()
        self._slots: dict[int, WorkerSlot] = {}
        self._rings = 0

    def look(self, rings: Rings) -> None:
        """Deliver STALE for each instrument of a feed that is gone, and what the slab says once it is back.

        Args:
            rings: instrument ids by (feed slot, priority), of all rings this worker reads.
        """
        if len(rings) != self._rings:  # rings are added and never taken away
            self._rings = len(rings)
            self._slots = {feed: self._control.slot(feed) for feed, _ in rings}
        for feed, slot in self._slots.items():
            if slot.state in PUBLISHES:
                if feed in self._gone:
                    self._gone.discard(feed)
                    self._resync(_ids_of(feed, rings))
            elif feed not in self._gone:
                self._gone.add(feed)
                for instrument_id in _ids_of(feed, rings):
                    self._deliver(self._stale(instrument_id))

    def _stale(self, instrument_id: int) -> MarketRecord:
        epoch, live_id, last_sequence = self._moment.certificate(instrument_id)
        return MarketRecord(
            kind=RecordKind.STATUS,
            instrument_id=instrument_id,
            epoch=epoch,
            live_id=live_id,
            last_sequence=last_sequence,
            book_state=BookState.STALE,
            reason=BookReason.PUBLISHER_RESTART,
        )


def _ids_of(feed: int, rings: Rings) -> list[int]:
    return sorted({i for ring, ids in rings.items() if ring[0] == feed for i in ids})
