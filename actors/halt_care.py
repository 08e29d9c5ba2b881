"""What the trading state and the sentinel mean for a gateway: what may not rest, what may not leave."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import NamedTuple

from actors.runtime.publishers import PUBLISHES
from exec.order import Order
from risk.exposure import ExposureBook
from shm.control import Control
from shm.enums import OrderFlags, Reason, Side, TradingState

#: Payload of a HALT entry of the journal: state, reason, how often the state changed in this run.
HALT = struct.Struct("<HHI")
_BUY = int(Side.BUY)
_REDUCE_ONLY = int(OrderFlags.REDUCE_ONLY)
_ACTIVE = int(TradingState.ACTIVE)


class HaltEntry(NamedTuple):
    """A HALT entry read back."""

    state: int
    reason: int
    changes: int


def read_halt(payload: bytes) -> HaltEntry:
    """Read a HALT entry; raises struct.error if it is none."""
    return HaltEntry(*HALT.unpack(payload))


def opening_orders(orders: Iterable[Order], exposures: ExposureBook) -> list[Order]:
    """The orders whose fill could open or enlarge a position.

    Of those that only take from one, oldest first, as many stay as the position has lots for.
    """
    left: dict[int, int] = {}
    found = []
    for order in orders:
        instrument_id = order.instrument_id
        held = exposures.position_units(instrument_id)
        room = left.setdefault(instrument_id, abs(held))
        takes = held and (order.side == _BUY) == (held < 0)
        if takes and order.leaves_units <= room:
            left[instrument_id] = room - order.leaves_units
        elif not order.flags & _REDUCE_ONLY:
            found.append(order)
    return found


class HaltCare:
    """A gateway's eye on the trading state and on the sentinel.

    Args:
        control: of the run.
        sentinel_slot: worker slot of the sentinel; negative = the run has none.
        sentinel_ns: a sentinel without heartbeat for that long is gone.
        on_change: told the payload of a HALT entry at each change of the trading state.
    """

    def __init__(
        self,
        control: Control,
        sentinel_slot: int,
        sentinel_ns: int,
        on_change: Callable[[bytes], None],
    ) -> None:
        self._control = control
        self._sentinel = control.slot(sentinel_slot) if sentinel_slot >= 0 else None
        self._sentinel_ns = sentinel_ns
        self._on_change = on_change
        self._count = 0
        self.state = TradingState.ACTIVE

    def look(self) -> TradingState:
        """The trading state now; a change since the last look is told."""
        count = self._control.halt_count
        if count != self._count:
            self._count = count
            self.state, reason = self._control.halt_state()
            self._on_change(HALT.pack(self.state, reason & 0xFFFF, count & 0xFFFFFFFF))
        return self.state

    def withdrawn(self, orders: Iterable[Order], exposures: ExposureBook) -> list[Order]:
        """The orders that may not rest in the present trading state."""
        if self.state == _ACTIVE:
            return []
        return list(orders) if self.state == TradingState.HALTED else opening_orders(orders, exposures)

    def reason(self, flags: int, now_ns: int) -> Reason:
        """Why a new order or replace may not leave: nobody would cancel it if this process hung."""
        sentinel = self._sentinel
        if sentinel is None or flags & _REDUCE_ONLY:
            return Reason.NONE
        if sentinel.state in PUBLISHES and now_ns - sentinel.heartbeat_ns <= self._sentinel_ns:
            return Reason.NONE
        return Reason.SENTINEL
