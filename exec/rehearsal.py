"""An order that nobody sent, on the way of real ones: what is seldom run is not in the caches, and slow.

It is taken up, judged and carried out by the code that real ones run through, with orders, journal and link
of its own that lead nowhere; the venue's encoder and signature are the real ones, for making a request
changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from typing_extensions import Buffer

from exec.command_sender import CommandSender
from exec.entries import EntryWriter
from exec.ledger import Ledger
from exec.lifecycle import Event
from exec.oms import Oms
from exec.order import Order
from exec.order_protocol import OrderProtocol, Request
from exec.session import VenueReport
from exec.venue_commands import NoRates, SessionTimes
from exec.venue_sessions import VenueSessions
from exec.venue_states import SessionState
from shm.records import IntentRecord

_CANCELED = int(Event.CANCELED)
#: Ended orders that are remembered; their ids come round no sooner.
KEPT = 16


class Nowhere:
    """Link, session and journal of a rehearsal: whatever is asked, nothing happens.

    Args:
        say: gets each frame that would have left.
    """

    is_connected = True

    def __init__(self, say: Callable[[bytes], object]) -> None:
        self._say = say

    def append(self, kind: int, payload: Buffer, now_ns: int) -> int:
        """Take a journal entry."""
        del kind, payload, now_ns
        return 0

    def send_order(self, frame: bytes) -> bool:
        """Take a frame."""
        self._say(frame)
        return True

    def send_rest(self, request: Request) -> bool:
        """Take a request."""
        del request
        return True

    def accepts(self, kind: int, instrument_id: int) -> bool:
        """Any command passes."""
        del kind, instrument_id
        return True

    def new(self, order: Order, now_ns: int) -> None:
        """Take an order."""


class RehearsedSender(CommandSender):
    """The sending half of a venue's session, as one of a gateway's."""

    def owns(self, instrument_id: int) -> bool:
        """Every instrument is its own."""
        del instrument_id
        return True


class Rehearsal:
    """What rehearsed new orders at one venue meet instead of the real orders, session and journal.

    Args:
        epoch: of the run.
        ledger: of no consequence; one of its own.
        protocol: of the venue; None = paper: the way ends where a session would begin.
        utc_ns: wall clock.
        say: gets the bytes that would have left.

    Attributes:
        oms, session, entries: for `exec.flow.process_intent`.
    """

    def __init__(
        self,
        epoch: int,
        ledger: Ledger,
        protocol: OrderProtocol | None,
        utc_ns: Callable[[], int],
        say: Callable[[bytes], object],
    ) -> None:
        nowhere: Any = Nowhere(say)
        self.oms = Oms(epoch, ledger, lambda _report: None, terminal_capacity=KEPT)
        self.entries = EntryWriter(nowhere)
        self.session: Any = nowhere
        self._sender: RehearsedSender | None = None
        if protocol is not None:
            self._sender = sender = RehearsedSender(
                protocol,
                self.oms,
                nowhere,
                utc_ns=utc_ns,
                rates=NoRates(),
                times=SessionTimes(),
                on_event=lambda _name, _text: None,
            )
            sender.state = SessionState.UP
            senders: list[Any] = [sender]
            self.session = VenueSessions(self.oms, senders)

    def end(self, intent: IntentRecord, now_ns: int) -> None:
        """Send what was gathered, and forget the order of a rehearsed intent."""
        if self._sender is not None:
            self.session.flush(now_ns)
            self._sender.forget()
        if self.oms.knows(intent.client_order_id):
            report = VenueReport(_CANCELED, intent.client_order_id, intent.instrument_id, intent.side)
            self.oms.apply_report(report, now_ns)
