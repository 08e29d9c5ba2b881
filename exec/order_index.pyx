# cython: language_level=3, freethreading_compatible=False
"""Finding orders: by any of their ids, by instrument, actor, worker; terminal ones for a bounded while."""

from libc.stdint cimport int64_t, uint32_t

from exec.order cimport Order
from shm.records cimport IntentRecord

from collections import deque

from exec.errors import OrderError
from shm.enums import OrderFlags, RequestStatus

ALL_INSTRUMENTS = 0xFFFFFFFF
FORCED = int(OrderFlags.FROM_HALT | OrderFlags.FROM_SENTINEL | OrderFlags.FROM_EMERGENCY)
ALIASES_MAX = 8
SENT = int(RequestStatus.SENT)
cdef int _FORCED = FORCED
cdef int _SENT = SENT
cdef uint32_t _ALL = ALL_INSTRUMENTS


cdef int _enter(dict groups, object name, object key, Order order) except -1:
    cdef object group = groups.get(name)
    if group is None:
        group = groups[name] = {}
    (<dict> group)[key] = order
    return 0


cdef class OrderIndex:
    """All orders kept, and the ways to find them; iteration is in order of arrival, so repeatable.

    Args:
        terminal_capacity: how many terminal orders stay findable.

    Raises:
        OrderError: the capacity is not positive.
    """

    def __init__(self, terminal_capacity):
        if terminal_capacity < 1:
            raise OrderError(f"terminal_capacity must be at least 1, got {terminal_capacity}")
        self.terminal_capacity = terminal_capacity
        self._by_id = {}
        self._open = {}
        self._by_instrument = {}
        self._by_actor = {}
        self._by_slot = {}
        self._ended = deque()

    cpdef object order(self, object client_order_id):
        """The order with this id (placed under, replaced to, or being replaced to), None if not kept."""
        return self._by_id.get(client_order_id)

    def knows(self, client_order_id):
        """Whether the id is in use or was, as far as orders are kept (the gate's duplicate check)."""
        return client_order_id in self._by_id

    @property
    def open_count(self):
        """How many orders are not terminal."""
        return len(self._open)

    def open_orders(self):
        """All orders that are not terminal, oldest first."""
        return list(self._open.values())

    def open_by_instrument(self, instrument_id):
        """Open orders of one instrument, oldest first."""
        return list(self._by_instrument.get(instrument_id, {}).values())

    def open_by_actor(self, actor_id, uint32_t instrument_id=ALL_INSTRUMENTS):
        """Open orders of one actor (at one instrument), oldest first."""
        cdef Order order
        found = []
        for order in self._by_actor.get(actor_id, {}).values():
            if instrument_id == _ALL or instrument_id == order.instrument_id:
                found.append(order)
        return found

    def open_by_worker(self, worker_slot, incarnation=None):
        """Open orders of a worker slot, of all its incarnations or of one."""
        orders = self._by_slot.get(worker_slot, {}).values()
        return [o for o in orders if incarnation is None or o.incarnation == incarnation]

    def orphans(self, worker_slot, live_incarnation):
        """Open orders of a slot's gone processes: all incarnations but the living one (0 = none)."""
        orders = self._by_slot.get(worker_slot, {}).values()
        return [o for o in orders if o.incarnation != live_incarnation]

    def mass_cancel_targets(self, IntentRecord intent):
        """Open orders a MASS_CANCEL means: the actor's own; everyone's for halt, sentinel or emergency."""
        if not intent.flags & _FORCED:
            return self.open_by_actor(intent.actor_id, intent.instrument_id)
        if intent.instrument_id == _ALL:
            return self.open_orders()
        return self.open_by_instrument(intent.instrument_id)

    def overdue(self, int64_t now_ns, int64_t timeout_ns):
        """Open orders whose last command has had no answer for longer than `timeout_ns`."""
        cdef Order order
        found = []
        for order in self._open.values():
            if order.request_status == _SENT and now_ns - order.request_ns > timeout_ns:
                found.append(order)
        return found

    def __iter__(self):
        """All orders kept, terminal ones first."""
        yield from self._ended
        yield from self._open.values()

    cpdef index(self, Order order):
        """Enter a new open order."""
        cdef object key = order.root_client_order_id
        if order._aliases is None:
            self._by_id[key] = order
        else:
            for alias in order._aliases:
                self._by_id[alias] = order
        self._open[key] = order
        _enter(self._by_instrument, order.instrument_id, key, order)
        _enter(self._by_actor, order.actor_id, key, order)
        _enter(self._by_slot, order.worker_slot, key, order)

    cpdef retire(self, Order order):
        """Move an order that became terminal to the bounded ring; the oldest there is forgotten."""
        cdef object key = order.root_client_order_id
        cdef Order oldest
        del self._open[key]
        del (<dict> self._by_instrument[order.instrument_id])[key]
        del (<dict> self._by_actor[order.actor_id])[key]
        del (<dict> self._by_slot[order.worker_slot])[key]
        self._ended.append(order)
        if len(self._ended) > self.terminal_capacity:
            oldest = self._ended.popleft()
            if oldest._aliases is None:
                self._by_id.pop(oldest.root_client_order_id, None)
            else:
                for alias in oldest._aliases:
                    self._by_id.pop(alias, None)

    cpdef add_alias(self, Order order, object client_order_id):
        """Let one more id lead to the order; of many the oldest replaced one is forgotten."""
        if order._aliases is None:
            order._aliases = [order.root_client_order_id]
        order._aliases.append(client_order_id)
        self._by_id[client_order_id] = order
        if len(order._aliases) > ALIASES_MAX:
            # The id it was placed under (what the venue says) stays; the oldest replaced one goes.
            self._by_id.pop(order._aliases.pop(1), None)
