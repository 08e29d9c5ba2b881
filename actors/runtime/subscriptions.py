"""Which records reach which actors of a worker: routes by instrument, and the market rings they come by.

Instruments that come into the table while an actor runs reach it too, if it follows them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from actors.runtime import spec as names
from actors.runtime.actor import HANDLERS, overridden
from actors.runtime.faults import Binding
from actors.runtime.mailboxes import MarketSource, Route
from actors.runtime.resync import records_of
from actors.runtime.tasks import AsyncHandler
from shm.enums import RecordKind, SegmentKind
from shm.instruments import Instrument
from shm.ring import BroadcastRing, Subscriber

if TYPE_CHECKING:
    from actors.runtime.host import Host

ORDER_MARKET = 10  # times priority; see actors.runtime.host

_KINDS = {
    "on_book": RecordKind.BOOK,
    "on_bbo": RecordKind.BBO,
    "on_trade": RecordKind.TRADE,
    "on_status": RecordKind.STATUS,
    "on_mark": RecordKind.MARK,
    "on_liquidation": RecordKind.LIQUIDATION,
}


class Subscriptions:
    """The routes and market rings of one worker.

    Args:
        host: of the worker.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._bound: dict[tuple[int, int], list[Binding]] = {}
        self._ids: dict[tuple[int, int], set[int]] = {}
        self._of: dict[int, set[int]] = {}  # by index of the binding
        self._seen: dict[int, int] = {}  # rows of the table an actor knows, by index of its binding
        self._rows = 0
        self._lapped = host.metrics.counter("ring.lapped")
        self._conflated = host.metrics.counter("drain.conflated")

    @property
    def rings(self) -> Mapping[tuple[int, int], Iterable[int]]:
        """Instrument ids by (feed slot, priority) of all rings this worker reads."""
        return self._ids

    def wanted(self, binding: Binding) -> list[int]:
        """Ask an actor what it subscribes to; what comes into the table from now on is new to it."""
        self._seen[binding.index] = len(self._host.instruments)
        return list(binding.actor.subscriptions())

    def bind(self, binding: Binding, instrument_ids: Sequence[int]) -> None:
        """Make an actor's routes and let these instruments' records take them, once it is active."""
        actor = binding.actor
        for name in HANDLERS:
            if overridden(actor, name):
                handler = self.handler(binding, name, conflate=name not in ("on_trade", "on_liquidation"))
                # Strategies first: a gateway in the same worker books and matches after the decision.
                binding.routes.append(Route(handler, binding, name, 1 if actor.is_critical else 0))
        self._of[binding.index] = set()
        self._add(binding, instrument_ids)
        self._rows = min(self._rows, self._seen[binding.index])  # what came while it began is yet to be told

    def _add(self, binding: Binding, instrument_ids: Sequence[int]) -> None:
        host = self._host
        for instrument_id in instrument_ids:
            row = host.instruments.get(instrument_id)
            ring = (row.slab, row.priority)
            self._subscribe(ring)
            if binding not in self._bound[ring]:
                self._bound[ring].append(binding)
            self._ids[ring].add(instrument_id)
            self._of[binding.index].add(instrument_id)
            for route in binding.routes:
                host.mailbox.add_route(_KINDS[route.name], instrument_id, route)

    def handler(self, binding: Binding, name: str, *, conflate: bool) -> Callable[[Any], object]:
        """An actor's handler as the drain calls it: itself, or what makes a task of each record."""
        handler = getattr(binding.actor, name)
        if not inspect.iscoroutinefunction(handler):
            return handler  # type: ignore[no-any-return]
        host = self._host
        made = AsyncHandler(
            handler,
            host.scheduler,
            lambda error: host.faults.fail(binding, name, error),
            conflate=conflate,
            on_conflated=lambda: self._conflated.inc(1),
        )
        binding.tasks.append(made)
        return made

    def _subscribe(self, ring: tuple[int, int]) -> None:
        if ring in self._bound:
            return
        host, slot = self._host, self._host.spec.slot
        self._bound[ring] = []
        self._ids[ring] = set()
        feed_slot, priority = ring
        broadcast = BroadcastRing.attach(
            host.open(names.market_name(feed_slot, priority), SegmentKind.MARKET_RING).payload
        )
        if host.bells is not None:
            broadcast.subscribe_slot(slot)
        source = MarketSource(
            host.mailbox,
            Subscriber(broadcast, worker_slot=-1 if host.bells is None else slot),
            ORDER_MARKET * priority,
            lambda lost: self._on_lapped(ring, lost),
        )
        host.mailbox.add_source(source)

    def _on_lapped(self, ring: tuple[int, int], lost: int) -> None:
        self._lapped.inc(lost)
        for binding in list(self._bound[ring]):
            if binding.is_active:
                self._host.faults.call(binding, "on_lapped", binding.actor.on_lapped, lost)
        self.resync(sorted(self._ids[ring]))

    def resync(self, instrument_ids: Sequence[int]) -> None:
        """Dispatch STATUS and BOOK from the slab: after a lap, and to a subscriber that just started."""
        for instrument_id in instrument_ids:
            snapshot = self._host.slab_of(instrument_id).load(instrument_id)
            if snapshot is None or snapshot.certificate.state == 0:
                continue
            for record in records_of(snapshot):
                self._host.mailbox.deliver(record)

    def unbind(self, binding: Binding) -> None:
        """Take an actor's handlers out of the dispatch."""
        self._host.mailbox.remove_routes(binding)
        binding.routes.clear()
        binding.end_tasks()
        for bound in self._bound.values():
            if binding in bound:
                bound.remove(binding)

    # ---- listings -------------------------------------------------------------------------------

    def look(self, bindings: Iterable[Binding]) -> None:
        """Give actors the instruments that came into the table, if they follow them."""
        rows = len(self._host.instruments)
        if rows == self._rows:
            return
        self._rows = rows
        added: set[int] = set()
        for binding in bindings:
            if not binding.is_active or binding.is_stopped:
                continue  # one that begins again asks for what there is
            first, self._seen[binding.index] = self._seen[binding.index], rows
            for instrument_id in range(first, rows):
                row = self._host.instruments.get(instrument_id)
                if binding.is_active:
                    self._host.faults.call(binding, "on_listed", self._take_up, binding, row, added)
        self.resync(sorted(added))

    def _take_up(self, binding: Binding, row: Instrument, added: set[int]) -> None:
        instrument_id = row.instrument_id
        if instrument_id in self._of[binding.index] or not binding.actor.follows(row):
            return
        binding.actor.on_listed(row)
        self._add(binding, [instrument_id])
        added.add(instrument_id)
