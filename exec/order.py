"""One order: its identity, its terms, its facts.

Identity: `client_order_id` = epoch 18 bits | worker slot 6 | incarnation 8 | counter 32, so that after a
SIGKILL the set "sent but unknown" of an epoch is exact and an order names the process that wanted it.
Epoch and incarnation wrap in their bits; within the venue's memory of an id that is unique enough
(262,144 starts, 256 restarts of one worker within a run).
"""

from __future__ import annotations

from typing import NamedTuple

from exec.errors import OrderError
from exec.lifecycle import working_status
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


class Order:
    """An order the gate has passed; owned and changed by the OMS alone.

    `client_order_id` is the id in force (a replace moves it on), `root_client_order_id` the one it was
    placed under and the venue knows; `aliases` are all ids that still lead to it. While a replace is
    outstanding `new_*` hold its terms. `value_price_units` values the order for risk: its price, or for a
    market order the reference price at acceptance. `reserved_*` is what the ledger holds open for it.
    """

    __slots__ = (
        "ack_ns",
        "acknowledged",
        "actor_id",
        "aliases",
        "client_order_id",
        "decide_ns",
        "epoch",
        "fill_product",
        "filled_units",
        "flags",
        "frame_ns",
        "gate_ns",
        "generation",
        "incarnation",
        "instrument_id",
        "is_pending_cancel",
        "is_pending_replace",
        "leaves_units",
        "new_client_order_id",
        "new_price_units",
        "new_units",
        "order_type",
        "order_units",
        "price_units",
        "reason",
        "request_ns",
        "request_status",
        "reserved_product",
        "reserved_units",
        "root_client_order_id",
        "send_ns",
        "sent",
        "side",
        "status",
        "time_in_force",
        "trade_ids",
        "value_price_units",
        "venue_order_id",
        "worker_slot",
    )

    def __init__(
        self, client_order_id: int, instrument_id: int, side: int, price_units: int, order_units: int
    ) -> None:
        self.client_order_id = self.root_client_order_id = client_order_id
        self.instrument_id = instrument_id
        self.side = side
        self.price_units = self.value_price_units = price_units
        self.order_units = self.leaves_units = order_units
        self.filled_units = self.fill_product = 0
        self.order_type = self.time_in_force = 1
        self.flags = 0
        self.actor_id = self.worker_slot = self.incarnation = 0
        self.generation = self.epoch = 0
        self.frame_ns = self.decide_ns = self.gate_ns = self.send_ns = self.ack_ns = self.request_ns = 0
        self.status = int(OrderStatus.PENDING_NEW)
        self.request_status = int(RequestStatus.NONE)
        self.reason = 0
        self.sent = self.acknowledged = False
        self.is_pending_cancel = self.is_pending_replace = False
        self.new_client_order_id = self.new_price_units = self.new_units = 0
        self.venue_order_id = 0
        self.reserved_units = self.reserved_product = 0
        self.aliases = [client_order_id]
        self.trade_ids: set[int] | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether nothing of it can rest anywhere."""
        return self.status in TERMINAL

    @property
    def avg_price_units(self) -> int:
        """Average fill price, rounded down; `fill_product / filled_units` is the exact one."""
        return self.fill_product // self.filled_units if self.filled_units else 0

    def working_status(self) -> int:
        """The status that the facts give while the order is not terminal."""
        return working_status(
            acknowledged=self.acknowledged,
            filled_units=self.filled_units,
            leaves_units=self.leaves_units,
            is_pending_cancel=self.is_pending_cancel,
            is_pending_replace=self.is_pending_replace,
        )

    def has_new_terms(self, price_units: int, units: int) -> bool:
        """Whether these terms are those of the outstanding replace."""
        return units == self.new_units and price_units == self.new_price_units

    def take_terms(self, price_units: int, units: int) -> None:
        """Take the terms in force at the venue (0 = price unchanged); never less than what is filled."""
        if price_units:
            self.price_units = self.value_price_units = price_units
        self.order_units = max(units, self.filled_units)
        self.leaves_units = self.order_units - self.filled_units

    def __repr__(self) -> str:
        return (
            f"Order({self.client_order_id:#x}, instrument {self.instrument_id}, side {self.side}, "
            f"{self.order_units} at {self.price_units}, filled {self.filled_units}, "
            f"leaves {self.leaves_units}, {OrderStatus(self.status).name})"
        )
