"""An order that nobody sent, on the way of real ones: what is seldom run is not in the caches, and slow.

It runs through the same code as a real one, with orders, journal and link of its own that lead nowhere; the
venue's encoder and signature are the real ones, for making a request changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from typing_extensions import Buffer

from exec.command_sender import CommandSender
from exec.entries import EntryWriter
from exec.flow import process_intent
from exec.ledger import Ledger
from exec.lifecycle import Event
from exec.oms import Oms
from exec.order import Order
from exec.order_protocol import OrderProtocol
from exec.session import VenueReport
from exec.venue_commands import NoRates, SessionTimes
from exec.venue_states import SessionState
from shm.records import IntentRecord

_CANCELED = int(Event.CANCELED)
_KEPT = 16


class Nowhere:
    """Link, session and journal of a rehearsal: whatever is asked, nothing happens."""

    is_connected = True

    def append(self, kind: int, payload: Buffer, now_ns: int) -> int:
        """Take a journal entry."""
        del kind, payload, now_ns
        return 0

    def send_order(self, frame: bytes) -> bool:
        """Take a frame."""
        del frame
        return True

    send_rest = send_order

    def accepts(self, kind: int, instrument_id: int) -> bool:
        """Any command passes."""
        del kind, instrument_id
        return True

    def new(self, order: Order, now_ns: int) -> None:
        """Take an order."""


class Rehearsal:
    """Rehearses new orders at one venue.

    Args:
        epoch: of the run.
        ledger: of no consequence; one of its own.
        protocol: of the venue; None = paper: the way ends where a session would begin.
        clock: monotonic.
        utc_ns: wall clock.
    """

    def __init__(
        self,
        epoch: int,
        ledger: Ledger,
        protocol: OrderProtocol | None,
        clock: Callable[[], int],
        utc_ns: Callable[[], int],
    ) -> None:
        self._clock = clock
        nowhere: Any = Nowhere()
        self._oms = Oms(epoch, ledger, lambda _report: None, terminal_capacity=_KEPT)
        self._entries = EntryWriter(nowhere)
        self._session: Any = nowhere
        self._sender: CommandSender | None = None
        if protocol is not None:
            self._sender = self._session = CommandSender(
                protocol,
                self._oms,
                nowhere,
                utc_ns=utc_ns,
                rates=NoRates(),
                times=SessionTimes(),
                on_event=lambda _name, _text: None,
            )
            self._sender.state = SessionState.UP

    def run(self, intent: IntentRecord, now_ns: int) -> None:
        """Rehearse an intent of kind NEW; one whose id was rehearsed lately does nothing."""
        if self._oms.knows(intent.client_order_id):
            return
        process_intent(
            intent,
            0,
            ring_sequence=0,
            from_slot=0,
            oms=self._oms,
            session=self._session,
            entries=self._entries,
            clock=self._clock,
            now_ns=now_ns,
        )
        if self._sender is not None:
            self._sender.flush(now_ns)
            self._sender.forget()
        report = VenueReport(_CANCELED, intent.client_order_id, intent.instrument_id, intent.side)
        self._oms.apply_report(report, now_ns)
