"""The compiled order and its journal entries: what Python sees of them."""

from __future__ import annotations

import gc

import pytest

from exec.entries import INTENT_ENTRY_BYTES, SENT, EntryWriter, read_intent, read_sent
from exec.lifecycle import Event, Outcome, decide, working_status
from exec.oms import Oms
from exec.order import TERMINAL, Order
from exec.order_index import ALIASES_MAX, OrderIndex
from risk.exposure import ExposureBook
from shm.enums import IntentKind, OrderStatus
from shm.records import IntentRecord
from tests.exec.scene import MemoryJournal, linear


def test_an_order_is_terminal_in_exactly_the_terminal_statuses() -> None:
    order = Order(1, 0, 1, 100, 10)
    for status in OrderStatus:
        order.status = int(status)
        assert order.is_terminal == (status in TERMINAL), status


@pytest.mark.parametrize("facts", range(32))
def test_an_order_says_the_working_status_that_the_lifecycle_says(facts: int) -> None:
    order = Order(1, 0, 1, 100, 10)
    order.acknowledged = bool(facts & 1)
    order.is_pending_cancel = bool(facts & 2)
    order.is_pending_replace = bool(facts & 4)
    order.filled_units = 5 if facts & 8 else 0
    order.leaves_units = 0 if facts & 16 else 5
    assert order.working_status() == working_status(
        acknowledged=order.acknowledged,
        filled_units=order.filled_units,
        leaves_units=order.leaves_units,
        is_pending_cancel=order.is_pending_cancel,
        is_pending_replace=order.is_pending_replace,
    )


def test_the_compiled_table_is_the_lifecycle_table() -> None:
    """Where the table forbids a cancel the OMS asks for none, and it takes the ids of no other numbers."""
    oms = Oms(1, ExposureBook(lambda _: linear()), lambda _: None)
    for status in OrderStatus:
        order = Order(10 + status, 0, 1, 100, 10)
        order.status = int(status)
        oms.index(order)
        goes = decide(status, Event.CANCEL_SENT).outcome in (Outcome.WORKING, Outcome.SAME)
        assert oms.request_cancel(order, 1) == goes, status
    order.status = 15
    with pytest.raises(KeyError):
        oms.request_cancel(order, 1)


def test_orders_and_their_first_id_are_no_work_for_the_garbage_collector() -> None:
    order = Order(5, 0, 1, 100, 10)
    assert not gc.is_tracked(order)
    assert order.aliases == [5]
    index = OrderIndex(10)
    index.index(order)
    for number in range(6, 6 + 2 * ALIASES_MAX):
        index.add_alias(order, number)
    assert order.aliases[0] == 5 and len(order.aliases) == ALIASES_MAX
    assert all(index.order(number) is order for number in order.aliases)
    assert index.order(6) is None


def test_products_beyond_64_bits_stay_exact() -> None:
    order = Order(1, 0, 1, 2**62, 2**62)
    order.fill_product = 2**62 * 2**62
    order.filled_units = 3
    assert order.avg_price_units == 2**124 // 3


def test_journal_entries_have_the_bytes_that_their_readers_expect() -> None:
    journal = MemoryJournal()
    entries = EntryWriter(journal)
    intent = IntentRecord(kind=1, side=2, client_order_id=2**63 + 5, price_units=-7, quantity_units=9)
    assert entries.intent(intent, 2**40, 63, 17, 5) == 1
    assert read_intent(journal.entries[0].payload) == (intent, 2**40, 63, 17)
    assert len(journal.entries[0].payload) == INTENT_ENTRY_BYTES
    order = Order(2**63 + 5, 4_000_000_000, 1, -100, 10)
    order.new_client_order_id, order.new_price_units, order.new_units = 77, 101, 11
    entries.sent(IntentKind.NEW, order, 123)
    entries.sent(IntentKind.REPLACE, order, 124)
    first, second = (entry.payload for entry in journal.entries[1:])
    assert len(first) == SENT.size
    assert read_sent(first) == (1, 4_000_000_000, 2**63 + 5, -100, 10, 0, 123)
    assert read_sent(second) == (int(IntentKind.REPLACE), 4_000_000_000, 2**63 + 5, 101, 11, 77, 124)
