"""Intents of a strategy, handed to a venue session as the gateway hands them: journaled, then sent."""

from __future__ import annotations

from exec.entries import EntryWriter
from exec.flow import process_intent
from exec.oms import Oms
from exec.order import Order, make_client_order_id
from exec.venue_session import VenueSession
from shm.enums import IntentKind, OrderType, TimeInForce
from shm.records import IntentRecord
from tests.exec.scene import EPOCH

SLOT, INCARNATION, ACTOR_ID = 3, 1, 11


class IntentDesk:
    """Base of test rigs around a session: what a strategy does, without a ring and a gate."""

    oms: Oms
    session: VenueSession
    entries: EntryWriter
    now_ns: int
    counter = 0

    def intent(self, kind: IntentKind, instrument_id: int) -> IntentRecord:
        """The next intent: a limit order, good till canceled, until told otherwise."""
        self.counter += 1
        intent = IntentRecord()
        intent.kind = int(kind)
        intent.client_order_id = make_client_order_id(EPOCH, SLOT, INCARNATION, self.counter)
        intent.instrument_id, intent.actor_id = instrument_id, ACTOR_ID
        intent.worker_slot, intent.incarnation, intent.epoch = SLOT, INCARNATION, EPOCH
        intent.order_type, intent.time_in_force = int(OrderType.LIMIT), int(TimeInForce.GTC)
        return intent

    def process(self, intent: IntentRecord) -> None:
        """Take it from journal to wire; no time passes."""
        process_intent(
            intent,
            0,
            ring_sequence=self.counter,
            from_slot=SLOT,
            oms=self.oms,
            session=self.session,
            entries=self.entries,
            clock=lambda: self.now_ns,
            now_ns=self.now_ns,
        )

    def place(self, intent: IntentRecord, side: int, units: int, price: int) -> Order:
        """Process a NEW with these terms; returns its order."""
        intent.side, intent.price_units, intent.quantity_units = int(side), price, units
        self.process(intent)
        order = self.oms.order(intent.client_order_id)
        assert order is not None
        return order

    def cancel(self, order: Order) -> None:
        """Cancel an order."""
        intent = self.intent(IntentKind.CANCEL, order.instrument_id)
        intent.orig_client_order_id = order.client_order_id
        self.process(intent)

    def replace_with(self, order: Order, price: int, units: int) -> None:
        """Replace an order's price and total quantity."""
        intent = self.intent(IntentKind.REPLACE, order.instrument_id)
        intent.orig_client_order_id = order.client_order_id
        intent.side, intent.price_units, intent.quantity_units = order.side, price, units
        self.process(intent)
