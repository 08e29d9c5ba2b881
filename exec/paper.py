"""Paper trading: a session whose venue is the simulator, fed with live market data.

Two constant latencies: a command arrives at the simulated venue `entry_latency_ns` after it was sent, a
report arrives here `response_latency_ns` after the venue made it. Both wait in queues that `on_timer` serves,
in order of due time; a session with zero latencies still answers only from `on_timer`, `on_book` and
`on_trade`, never from inside a command. Times are whatever clock the caller passes, real or virtual.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from exec.errors import SessionError
from exec.order import Order
from exec.session import OnVenueReport, OrderSession, VenueReport
from exec.simulator.depth import Level
from exec.simulator.matcher import Simulator
from exec.simulator.queue_position import RestingOrder

Command = tuple[int, Callable[..., None], tuple[object, ...]]


class PaperSession(OrderSession):
    """Order entry at the simulated venue.

    Args:
        on_report: called with each venue report when it arrives here.
        entry_latency_ns: us to venue, 0 or more.
        response_latency_ns: venue to us, 0 or more.
        first_trade_id: number of the first fill (after a recovery: behind the last one journaled).
        first_venue_order_id: the same for venue order ids.

    Raises:
        SessionError: a latency is negative.

    Times passed to one session must never go back.
    """

    def __init__(
        self,
        on_report: OnVenueReport,
        *,
        entry_latency_ns: int = 0,
        response_latency_ns: int = 0,
        first_trade_id: int = 1,
        first_venue_order_id: int = 1,
    ) -> None:
        super().__init__(on_report)
        if entry_latency_ns < 0 or response_latency_ns < 0:
            raise SessionError(f"latencies must be >= 0: {entry_latency_ns}, {response_latency_ns}")
        self.entry_latency_ns = entry_latency_ns
        self.response_latency_ns = response_latency_ns
        self.lost_reports = 0
        self.simulator = Simulator(
            self._queue_report, first_trade_id=first_trade_id, first_venue_order_id=first_venue_order_id
        )
        self._commands: deque[Command] = deque()
        self._reports: deque[tuple[int, VenueReport]] = deque()

    # ---- commands --------------------------------------------------------------------------------

    def new(self, order: Order, now_ns: int) -> None:
        """Send a new order; its terms are taken now."""
        arriving = RestingOrder(
            order.root_client_order_id, order.instrument_id, order.side, order.price_units, order.order_units
        )
        arriving.order_type = order.order_type
        arriving.time_in_force = order.time_in_force
        arriving.flags = order.flags
        self._queue_command(now_ns, self.simulator.new, arriving)

    def cancel(self, order: Order, now_ns: int) -> None:
        """Send a cancel."""
        key = order.root_client_order_id
        self._queue_command(now_ns, self.simulator.cancel, key, order.instrument_id, order.side)

    def replace(self, order: Order, now_ns: int) -> None:
        """Send a replace; the venue keeps the id the order was placed under."""
        key = order.root_client_order_id
        terms = (order.new_price_units, order.new_units)
        self._queue_command(now_ns, self.simulator.replace, key, order.instrument_id, order.side, *terms)

    def mass_cancel(self, now_ns: int, instrument_id: int | None = None) -> None:
        """Send one cancel for everything (of an instrument)."""
        self._queue_command(now_ns, self._mass_cancel_arrives, instrument_id)

    def query(self, order: Order, now_ns: int) -> None:
        """Ask what became of an order."""
        key = order.root_client_order_id
        self._queue_command(now_ns, self.simulator.query, key, order.instrument_id, order.side)

    # ---- market data -----------------------------------------------------------------------------

    def on_book(self, instrument_id: int, bids: Sequence[Level], asks: Sequence[Level], now_ns: int) -> None:
        """Feed a book update, behind every command that arrived before it, and deliver what is due."""
        if self._commands:
            self._arrive(now_ns)
        self.simulator.on_book(instrument_id, bids, asks, now_ns)
        if self._reports:
            self._deliver(now_ns)

    def on_trade(self, instrument_id: int, price: int, quantity: int, aggressor: int, now_ns: int) -> None:
        """Feed a public trade, behind every command that arrived before it, and deliver what is due."""
        if self._commands:
            self._arrive(now_ns)
        self.simulator.on_trade(instrument_id, price, quantity, aggressor, now_ns)
        if self._reports:
            self._deliver(now_ns)

    # ---- time ------------------------------------------------------------------------------------

    def on_timer(self, now_ns: int) -> None:
        """Let due commands arrive and deliver due reports."""
        while True:
            self._arrive(now_ns)
            if not self._reports or self._reports[0][0] > now_ns:
                return
            # A handler may send a command with zero latency: it arrives before the next round.
            self._deliver(now_ns)

    def next_due_ns(self) -> int | None:
        """When the next command arrives or report is delivered; None when nothing is under way."""
        due = self._commands[0][0] if self._commands else None
        if self._reports and (due is None or self._reports[0][0] < due):
            due = self._reports[0][0]
        return due

    # ---- connection ------------------------------------------------------------------------------

    def disconnect(self, *, lose_commands: bool = False) -> None:
        """Lose the connection: reports under way are lost, commands too if asked; resting orders rest on.

        The caller tells its OMS (`Oms.disconnected`); after `reconnect` each order is settled by `query`.
        """
        self.is_connected = False
        self.lost_reports += len(self._reports)
        self._reports.clear()
        if lose_commands:
            self._commands.clear()

    def reconnect(self) -> None:
        """Have a connection again."""
        self.is_connected = True

    def restore(self, order: Order) -> None:
        """Rest an acknowledged working order again after a restart, its queue credit void."""
        resting = RestingOrder(
            order.root_client_order_id, order.instrument_id, order.side, order.price_units, order.order_units
        )
        resting.leaves = order.leaves_units
        resting.order_type = order.order_type
        resting.time_in_force = order.time_in_force
        resting.flags = order.flags
        resting.venue_order_id = order.venue_order_id
        self.simulator.restore(resting)

    # ---- inside ----------------------------------------------------------------------------------

    def _mass_cancel_arrives(self, instrument_id: int | None, now_ns: int) -> None:
        self.simulator.mass_cancel(now_ns, instrument_id)

    def _queue_command(self, now_ns: int, call: Callable[..., None], *args: object) -> None:
        if not self.is_connected:
            raise SessionError("the paper session is not connected")
        self._commands.append((now_ns + self.entry_latency_ns, call, args))

    def _queue_report(self, report: VenueReport, now_ns: int) -> None:
        if self.is_connected:
            self._reports.append((now_ns + self.response_latency_ns, report))
        else:
            self.lost_reports += 1

    def _arrive(self, now_ns: int) -> None:
        commands = self._commands
        while commands and commands[0][0] <= now_ns:
            due, call, args = commands.popleft()
            call(*args, due)

    def _deliver(self, now_ns: int) -> None:
        reports = self._reports
        while reports and reports[0][0] <= now_ns:
            self.on_report(reports.popleft()[1], now_ns)
