# cython: language_level=3, freethreading_compatible=False
"""One order: its identity, its terms, its facts.

Identity: `client_order_id` = epoch 18 bits | worker slot 6 | incarnation 8 | counter 32, so that after a
SIGKILL the set "sent but unknown" of an epoch is exact and an order names the process that wanted it.
Epoch and incarnation wrap in their bits; within the venue's memory of an id that is unique enough
(262,144 starts, 256 restarts of one worker within a run).
"""

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from typing import NamedTuple

from exec.errors import OrderError
from shm.enums import OrderStatus, RequestStatus

EPOCH_BITS, SLOT_BITS, INCARNATION_BITS, COUNTER_BITS = 18, 6, 8, 32
_EPOCH_MASK = (1 << EPOCH_BITS) - 1
_INCARNATION_MASK = (1 << INCARNATION_BITS) - 1

TERMINAL = frozenset(
    (
        int(OrderStatus.FILLED),
        int(OrderStatus.CANCELED),
        int(OrderStatus.REJECTED),
        int(OrderStatus.EXPIRED),
        int(OrderStatus.DENIED),
    )
)


class ClientOrderId(NamedTuple):
    """The parts of a client order id; epoch and incarnation modulo their bits."""

    epoch: int
    worker_slot: int
    incarnation: int
    counter: int


def make_client_order_id(epoch: int, worker_slot: int, incarnation: int, counter: int) -> int:
    """Pack an identity into 64 bits; epoch and incarnation are taken modulo their bits.

    Args:
        epoch: of the run, from 1.
        worker_slot: 0 to 63.
        incarnation: of the worker, from 1.
        counter: 0 to 2^32 - 1; 0 gives the base that a worker adds its own counter to.

    Raises:
        OrderError: slot or counter out of range, or a negative part.
    """
    if not 0 <= worker_slot < 1 << SLOT_BITS:
        raise OrderError(f"worker slot {worker_slot} does not fit {SLOT_BITS} bits")
    if not 0 <= counter < 1 << COUNTER_BITS:
        raise OrderError(f"order counter {counter} does not fit {COUNTER_BITS} bits")
    if epoch < 0 or incarnation < 0:
        raise OrderError(f"epoch {epoch} or incarnation {incarnation} is negative")
    high = (epoch & _EPOCH_MASK) << SLOT_BITS | worker_slot
    return (high << INCARNATION_BITS | incarnation & _INCARNATION_MASK) << COUNTER_BITS | counter


def split_client_order_id(client_order_id: int) -> ClientOrderId:
    """Unpack what `make_client_order_id` packed."""
    counter = client_order_id & ((1 << COUNTER_BITS) - 1)
    rest = client_order_id >> COUNTER_BITS
    incarnation = rest & _INCARNATION_MASK
    rest >>= INCARNATION_BITS
    return ClientOrderId(rest >> SLOT_BITS, rest & ((1 << SLOT_BITS) - 1), incarnation, counter)


cdef int _PENDING_NEW = int(OrderStatus.PENDING_NEW)
cdef int _NEW = int(OrderStatus.NEW)
cdef int _PARTIALLY_FILLED = int(OrderStatus.PARTIALLY_FILLED)
cdef int _FILLED = int(OrderStatus.FILLED)
cdef int _PENDING_CANCEL = int(OrderStatus.PENDING_CANCEL)
cdef int _PENDING_REPLACE = int(OrderStatus.PENDING_REPLACE)
cdef int _NO_REQUEST = int(RequestStatus.NONE)


@cython.no_gc  # it refers to numbers only, so never to itself
cdef class Order:
    """An order the gate has passed; owned and changed by the OMS alone.

    `client_order_id` is the id in force (a replace moves it on), `root_client_order_id` the one it was
    placed under and the venue knows; `aliases` are all ids that still lead to it. While a replace is
    outstanding `new_*` hold its terms. `value_price_units` values the order for risk: its price, or for a
    market order the reference price at acceptance. `reserved_*` is what the ledger holds open for it.
    """

    def __init__(self, client_order_id, instrument_id, int side, int64_t price_units, int64_t order_units):
        self.begin(client_order_id, instrument_id, side, price_units, order_units)

    cdef int begin(
        self, uint64_t client_order_id, uint32_t instrument_id, int side, int64_t price_units, int64_t order_units
    ) except -1:
        # Everything else begins at zero.
        self.client_order_id = self.root_client_order_id = client_order_id
        self.instrument_id = instrument_id
        self.side = side
        self.price_units = self.value_price_units = price_units
        self.order_units = self.leaves_units = order_units
        self.order_type = self.time_in_force = 1
        self.status = _PENDING_NEW
        self.request_status = _NO_REQUEST
        self.reserved_product = self.fill_product = 0
        return 0

    @property
    def aliases(self):
        """All ids that lead to it, the one it was placed under first."""
        return [self.root_client_order_id] if self._aliases is None else self._aliases

    @aliases.setter
    def aliases(self, list aliases not None):
        self._aliases = None if aliases == [self.root_client_order_id] else aliases

    @property
    def is_terminal(self):
        """Whether nothing of it can rest anywhere."""
        return is_ended(self.status)

    @property
    def avg_price_units(self):
        """Average fill price, rounded down; `fill_product / filled_units` is the exact one."""
        return self.fill_product // self.filled_units if self.filled_units else 0

    cpdef int working_status(self):
        """The status that the facts give while the order is not terminal (`lifecycle.working_status`)."""
        if self.leaves_units <= 0 and not self.is_pending_replace:
            return _FILLED
        if self.is_pending_cancel:
            return _PENDING_CANCEL
        if self.is_pending_replace:
            return _PENDING_REPLACE
        if self.filled_units > 0:
            return _PARTIALLY_FILLED
        return _NEW if self.acknowledged else _PENDING_NEW

    cpdef bint has_new_terms(self, int64_t price_units, int64_t units):
        """Whether these terms are those of the outstanding replace."""
        return units == self.new_units and price_units == self.new_price_units

    cpdef take_terms(self, int64_t price_units, int64_t units):
        """Take the terms in force at the venue (0 = price unchanged); never less than what is filled."""
        if price_units:
            self.price_units = self.value_price_units = price_units
        self.order_units = units if units > self.filled_units else self.filled_units
        self.leaves_units = self.order_units - self.filled_units

    def __repr__(self):
        return (
            f"Order({self.client_order_id:#x}, instrument {self.instrument_id}, side {self.side}, "
            f"{self.order_units} at {self.price_units}, filled {self.filled_units}, "
            f"leaves {self.leaves_units}, {OrderStatus(self.status).name})"
        )
