"""What the trading state and the sentinel mean for a gateway."""

from __future__ import annotations

from actors.halt_care import HaltCare, opening_orders, read_halt
from exec.order import Order
from risk.exposure import ExposureBook
from shm.control import Control
from shm.enums import OrderFlags, Reason, Side, TradingState, WorkerState
from shm.instruments import Instrument, InstrumentTable

BUY, SELL = int(Side.BUY), int(Side.SELL)
MS = 1_000_000
SENTINEL = 5


def exposures(position: int = 0) -> ExposureBook:
    table = InstrumentTable.create(bytearray(InstrumentTable.bytes_needed(2)), 2)
    table.add(
        Instrument(venue_id=1, symbol="A", price_exponent=2, quantity_exponent=3, tick_size=1, lot_size=1)
    )
    book = ExposureBook(table.get)
    if position:
        book.apply_fill(0, BUY if position > 0 else SELL, 1_000, abs(position), 0)
    return book


def order(number: int, side: int, units: int, flags: int = 0) -> Order:
    made = Order(number, 0, side, 1_000, units)
    made.flags = flags
    return made


def control() -> Control:
    return Control.create(bytearray(Control.bytes_needed() + 8), 1, 1)


def ids(orders: list[Order]) -> list[int]:
    return [one.client_order_id for one in orders]


def test_flat_every_order_opens_but_a_reduce_only_one() -> None:
    some = [order(1, BUY, 5), order(2, SELL, 5), order(3, SELL, 5, int(OrderFlags.REDUCE_ONLY))]
    assert ids(opening_orders(some, exposures())) == [1, 2]


def test_what_takes_from_a_position_stays_as_long_as_there_are_lots_for_it() -> None:
    some = [order(1, SELL, 6), order(2, SELL, 6), order(3, BUY, 1), order(4, SELL, 4)]
    assert ids(opening_orders(some, exposures(10))) == [2, 3]
    assert ids(opening_orders(some, exposures(-1))) == [1, 2, 4]


def test_each_state_lets_rest_what_it_may_and_each_change_is_told_once() -> None:
    word, told = control(), []
    care = HaltCare(word, -1, 0, lambda payload: told.append(read_halt(payload)))
    some = [order(1, BUY, 5), order(2, SELL, 5)]
    assert care.look() is TradingState.ACTIVE
    assert care.withdrawn(some, exposures(5)) == []
    word.set_halt(TradingState.REDUCING, Reason.REDUCING)
    assert care.look() is care.look() is TradingState.REDUCING
    assert ids(care.withdrawn(some, exposures(5))) == [1]
    word.set_halt(TradingState.HALTED, Reason.SENTINEL)
    care.look()
    assert ids(care.withdrawn(some, exposures(5))) == [1, 2]
    word.clear_halt()
    care.look()
    assert care.withdrawn(some, exposures(5)) == []
    assert told == [(1, Reason.REDUCING, 1), (2, Reason.SENTINEL, 2), (0, 0, 3)]


def test_without_a_sentinel_nothing_opens_and_what_reduces_passes() -> None:
    word = control()
    care = HaltCare(word, SENTINEL, 500 * MS, lambda _payload: None)
    slot = word.slot(SENTINEL)
    assert care.reason(0, 1_000 * MS) is Reason.SENTINEL
    slot.state, slot.heartbeat_ns = int(WorkerState.RUNNING), 1_000 * MS
    assert care.reason(0, 1_500 * MS) is Reason.NONE
    assert care.reason(0, 1_501 * MS) is Reason.SENTINEL
    assert care.reason(int(OrderFlags.REDUCE_ONLY), 1_501 * MS) is Reason.NONE
    slot.heartbeat_ns, slot.state = 1_501 * MS, int(WorkerState.FAILED)
    assert care.reason(0, 1_501 * MS) is Reason.SENTINEL


def test_a_run_that_has_no_sentinel_needs_none() -> None:
    assert HaltCare(control(), -1, 0, lambda _payload: None).reason(0, 1) is Reason.NONE
