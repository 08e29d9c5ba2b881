"""All accounts of one gateway as one session: each command goes to the account of its instrument's venue."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from exec.entries import EntryWriter
from exec.errors import SessionError
from exec.flow import cancel_orders
from exec.oms import Oms
from exec.order import Order
from exec.recovery import Recovered
from exec.session import OrderSession
from exec.venue_session import VenueSession
from shm.errors import InstrumentError
from shm.instruments import Instrument, InstrumentTable


class TableDirectory:
    """The instrument table as order protocols see it."""

    def __init__(self, table: InstrumentTable) -> None:
        self._table = table

    def row(self, instrument_id: int) -> Instrument:
        """The row; raises KeyError for an id that does not exist."""
        try:
            return self._table.get(instrument_id)
        except InstrumentError as error:
            raise KeyError(instrument_id) from error

    def find(self, venue_id: int, symbol: str) -> Instrument | None:
        """The current row of a venue's own symbol, or None."""
        return self._table.by_symbol(venue_id, symbol)


class VenueSessions(OrderSession):
    """The sessions of all accounts; see the module.

    A lost venue costs its own orders only: the others go on.

    Args:
        oms: orders of the gateway.
        sessions: one per account.
    """

    def __init__(self, oms: Oms, sessions: Sequence[VenueSession]) -> None:
        super().__init__(oms.apply_report)
        self.sessions = list(sessions)
        self._by_instrument: dict[int, VenueSession] = {}

    def session_of(self, instrument_id: int) -> VenueSession | None:
        """The session that trades an instrument, None if no account does."""
        found = self._by_instrument.get(instrument_id)
        if found is None:
            found = next((s for s in self.sessions if s.owns(instrument_id)), None)
            if found is not None:
                self._by_instrument[instrument_id] = found
        return found

    def _need(self, order: Order) -> VenueSession:
        session = self.session_of(order.instrument_id)
        if session is None:
            raise SessionError(f"no account trades the instrument of {order!r}")
        return session

    def accepts(self, kind: int, instrument_id: int) -> bool:
        """Whether the account of an instrument takes a command now."""
        session = self._by_instrument.get(instrument_id) or self.session_of(instrument_id)
        return session is not None and session.accepts(kind, instrument_id)

    def new(self, order: Order, now_ns: int) -> None:
        """See `OrderSession`."""
        (self._by_instrument.get(order.instrument_id) or self._need(order)).new(order, now_ns)

    def cancel(self, order: Order, now_ns: int) -> None:
        """See `OrderSession`."""
        self._need(order).cancel(order, now_ns)

    def replace(self, order: Order, now_ns: int) -> None:
        """See `OrderSession`."""
        self._need(order).replace(order, now_ns)

    def mass_cancel(self, now_ns: int, instrument_id: int | None = None) -> None:
        """Cancel all that rests at an instrument, or at all accounts."""
        for session in self.sessions:
            if instrument_id is None or session.owns(instrument_id):
                session.mass_cancel(now_ns, instrument_id)

    def query(self, order: Order, now_ns: int) -> None:
        """See `OrderSession`."""
        self._need(order).query(order, now_ns)

    def flush(self, now_ns: int) -> None:
        """Put on the wire what a duty cycle gathered."""
        for session in self.sessions:
            if session.queued:
                session.flush(now_ns)

    def on_timer(self, now_ns: int) -> None:
        """Do what is due in any account."""
        for session in self.sessions:
            due = session.next_due_ns()
            if due is not None and due <= now_ns:
                session.on_timer(now_ns)

    def next_due_ns(self) -> int | None:
        """When the first account wants `on_timer`."""
        due = [time for s in self.sessions if (time := s.next_due_ns()) is not None]
        return min(due) if due else None

    @property
    def in_doubt(self) -> int:
        """See `OrderSession`."""
        return sum(session.in_doubt for session in self.sessions)

    @property
    def is_up(self) -> bool:
        """Whether every account may send new orders."""
        return all(session.is_connected for session in self.sessions)

    def end(self, now_ns: int) -> None:
        """End every session for good."""
        for session in self.sessions:
            session.end(now_ns)


def resume_venues(
    sessions: VenueSessions,
    oms: Oms,
    recovered: Recovered,
    entries: EntryWriter,
    clock: Callable[[], int],
    now_ns: int,
) -> None:
    """Start the sessions of a gateway; cancels that were wanted before a restart are wanted again.

    They wait in their sessions and go out first of all once the venue can be reached; every recovered order
    is asked about before anything new is sent.
    """
    for session in sessions.sessions:
        session.start(now_ns, recovered.agreed.get(session.account, 0))
    wanted = [order for order in recovered.cancels if sessions.session_of(order.instrument_id) is not None]
    for order in wanted:
        # Its cancel may stand as under way from before; here it is sent for the first time.
        order.is_pending_cancel = False
    cancel_orders(wanted, oms, sessions, entries, clock, now_ns)
