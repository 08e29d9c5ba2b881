"""Finding orders: by any of their ids, by instrument, actor, worker; terminal ones for a bounded while."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from exec.errors import OrderError
from exec.order import Order
from shm.enums import OrderFlags, RequestStatus
from shm.records import IntentRecord

ALL_INSTRUMENTS = 0xFFFFFFFF
FORCED = int(OrderFlags.FROM_HALT | OrderFlags.FROM_SENTINEL | OrderFlags.FROM_EMERGENCY)
ALIASES_MAX = 8
SENT = int(RequestStatus.SENT)


class OrderIndex:
    """All orders kept, and the ways to find them; iteration is in order of arrival, so repeatable.

    Args:
        terminal_capacity: how many terminal orders stay findable.

    Raises:
        OrderError: the capacity is not positive.
    """

    def __init__(self, terminal_capacity: int) -> None:
        if terminal_capacity < 1:
            raise OrderError(f"terminal_capacity must be at least 1, got {terminal_capacity}")
        self.terminal_capacity = terminal_capacity
        self._by_id: dict[int, Order] = {}
        self._open: dict[int, Order] = {}
        self._by_instrument: dict[int, dict[int, Order]] = {}
        self._by_actor: dict[int, dict[int, Order]] = {}
        self._by_slot: dict[int, dict[int, Order]] = {}
        self._ended: deque[Order] = deque()

    def order(self, client_order_id: int) -> Order | None:
        """The order with this id (placed under, replaced to, or being replaced to), None if not kept."""
        return self._by_id.get(client_order_id)

    def knows(self, client_order_id: int) -> bool:
        """Whether the id is in use or was, as far as orders are kept (the gate's duplicate check)."""
        return client_order_id in self._by_id

    @property
    def open_count(self) -> int:
        """How many orders are not terminal."""
        return len(self._open)

    def open_orders(self) -> list[Order]:
        """All orders that are not terminal, oldest first."""
        return list(self._open.values())

    def open_by_instrument(self, instrument_id: int) -> list[Order]:
        """Open orders of one instrument, oldest first."""
        return list(self._by_instrument.get(instrument_id, {}).values())

    def open_by_actor(self, actor_id: int, instrument_id: int = ALL_INSTRUMENTS) -> list[Order]:
        """Open orders of one actor (at one instrument), oldest first."""
        orders = self._by_actor.get(actor_id, {}).values()
        return [o for o in orders if instrument_id in (ALL_INSTRUMENTS, o.instrument_id)]

    def open_by_worker(self, worker_slot: int, incarnation: int | None = None) -> list[Order]:
        """Open orders of a worker slot, of all its incarnations or of one."""
        orders = self._by_slot.get(worker_slot, {}).values()
        return [o for o in orders if incarnation is None or o.incarnation == incarnation]

    def orphans(self, worker_slot: int, live_incarnation: int) -> list[Order]:
        """Open orders of a slot's gone processes: all incarnations but the living one (0 = none)."""
        orders = self._by_slot.get(worker_slot, {}).values()
        return [o for o in orders if o.incarnation != live_incarnation]

    def mass_cancel_targets(self, intent: IntentRecord) -> list[Order]:
        """Open orders a MASS_CANCEL means: the actor's own; everyone's for halt, sentinel or emergency."""
        if not intent.flags & FORCED:
            return self.open_by_actor(intent.actor_id, intent.instrument_id)
        if intent.instrument_id == ALL_INSTRUMENTS:
            return self.open_orders()
        return self.open_by_instrument(intent.instrument_id)

    def overdue(self, now_ns: int, timeout_ns: int) -> list[Order]:
        """Open orders whose last command has had no answer for longer than `timeout_ns`."""
        return [
            o for o in self._open.values() if o.request_status == SENT and now_ns - o.request_ns > timeout_ns
        ]

    def __iter__(self) -> Iterator[Order]:
        """All orders kept, terminal ones first."""
        yield from self._ended
        yield from self._open.values()

    def index(self, order: Order) -> None:
        """Enter a new open order."""
        for alias in order.aliases:
            self._by_id[alias] = order
        key = order.root_client_order_id
        self._open[key] = order
        self._by_instrument.setdefault(order.instrument_id, {})[key] = order
        self._by_actor.setdefault(order.actor_id, {})[key] = order
        self._by_slot.setdefault(order.worker_slot, {})[key] = order

    def retire(self, order: Order) -> None:
        """Move an order that became terminal to the bounded ring; the oldest there is forgotten."""
        key = order.root_client_order_id
        del self._open[key]
        del self._by_instrument[order.instrument_id][key]
        del self._by_actor[order.actor_id][key]
        del self._by_slot[order.worker_slot][key]
        self._ended.append(order)
        if len(self._ended) > self.terminal_capacity:
            for alias in self._ended.popleft().aliases:
                self._by_id.pop(alias, None)

    def add_alias(self, order: Order, client_order_id: int) -> None:
        """Let one more id lead to the order; of many the oldest replaced one is forgotten."""
        order.aliases.append(client_order_id)
        self._by_id[client_order_id] = order
        if len(order.aliases) > ALIASES_MAX:
            # The id it was placed under (what the venue says) stays; the oldest replaced one goes.
            self._by_id.pop(order.aliases.pop(1), None)
