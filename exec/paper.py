"""Paper trading: a session whose venue is the simulator, fed with live market data.

Three latencies, none of them by default, each constant, drawn or recorded (`simulator.latency`), as in
hftbacktest (docs/latency_models.rst):

- entry: a command arrives at the venue so much after it was sent;
- response: a report arrives here so much after the venue made it;
- feed: market data that come now left the venue so much earlier. A command therefore meets the market of the
  data that come so much after it arrived, and what these decide can not be reported before they are here.

Commands overtake no commands and reports no reports. Both wait in queues that `on_timer` serves, in order of
due time; a session without latencies still answers only from `on_timer`, `on_book` and `on_trade`, never
from inside a command. Times are whatever clock the caller passes, real or virtual.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from exec.errors import SessionError
from exec.order import Order
from exec.session import OnVenueReport, OrderSession, VenueReport
from exec.simulator.depth import Level
from exec.simulator.latency import Latency
from exec.simulator.matcher import Simulator
from exec.simulator.queue_model import QueueModel
from exec.simulator.queue_position import RestingOrder

Command = tuple[int, Callable[..., None], tuple[Any, ...]]


class PaperSession(OrderSession):
    """Order entry at the simulated venue.

    Args:
        on_report: called with each venue report when it arrives here.
        entry: latency from us to the venue; None = none.
        response: from the venue to us, of reports; None = none.
        feed: from the venue to us, of market data; None = none.
        queue: how resting orders advance; None = risk-averse.
        first_trade_id: number of the first fill (after a recovery: behind the last one journaled).
        first_venue_order_id: the same for venue order ids.

    Times passed to one session must never go back.
    """

    def __init__(
        self,
        on_report: OnVenueReport,
        *,
        entry: Latency | None = None,
        response: Latency | None = None,
        feed: Latency | None = None,
        queue: QueueModel | None = None,
        first_trade_id: int = 1,
        first_venue_order_id: int = 1,
    ) -> None:
        super().__init__(on_report)
        self._entry = entry or Latency()
        self._response = response or Latency()
        self._feed = feed or Latency()
        # How old market data are that come now, and the venue's time up to which they tell: never going back.
        self._age_ns = self._feed.constant_ns
        self._venue_ns = 0
        self._last_command_ns = self._last_report_ns = 0
        self.lost_reports = 0
        self.simulator = Simulator(
            self._queue_report,
            first_trade_id=first_trade_id,
            first_venue_order_id=first_venue_order_id,
            queue=queue,
        )
        self._commands: deque[Command] = deque()
        self._reports: deque[tuple[int, VenueReport]] = deque()

    # ---- commands --------------------------------------------------------------------------------

    def new(self, order: Order, now_ns: int) -> None:
        """Send a new order; its terms are taken now."""
        terms = (
            order.root_client_order_id,
            order.instrument_id,
            order.side,
            order.price_units,
            order.order_units,
            order.order_type,
            order.time_in_force,
            order.flags,
        )
        self._queue_command(now_ns, self._order_arrives, terms)

    def cancel(self, order: Order, now_ns: int) -> None:
        """Send a cancel."""
        key = order.root_client_order_id
        self._queue_command(now_ns, self.simulator.cancel, (key, order.instrument_id, order.side))

    def replace(self, order: Order, now_ns: int) -> None:
        """Send a replace; the venue keeps the id the order was placed under."""
        terms = (
            order.root_client_order_id,
            order.instrument_id,
            order.side,
            order.new_price_units,
            order.new_units,
        )
        self._queue_command(now_ns, self.simulator.replace, terms)

    def mass_cancel(self, now_ns: int, instrument_id: int | None = None) -> None:
        """Send one cancel for everything (of an instrument)."""
        self._queue_command(now_ns, self._mass_cancel_arrives, (instrument_id,))

    def query(self, order: Order, now_ns: int) -> None:
        """Ask what became of an order."""
        key = order.root_client_order_id
        self._queue_command(now_ns, self.simulator.query, (key, order.instrument_id, order.side))

    # ---- market data -----------------------------------------------------------------------------

    def on_book(
        self,
        instrument_id: int,
        bids: Sequence[Level],
        asks: Sequence[Level],
        now_ns: int,
        venue_utc_ns: int = 0,
    ) -> None:
        """Feed a book update, behind every command that arrived before it, and deliver what is due.

        Args:
            instrument_id: of an added instrument.
            bids: displayed levels, best first.
            asks: the same.
            now_ns: when it came.
            venue_utc_ns: when the venue says it left, 0 = unknown; read by a feed latency from stamps.
        """
        venue_ns = self._see(now_ns, venue_utc_ns)
        if self._commands:
            self._arrive(venue_ns)
        self.simulator.on_book(instrument_id, bids, asks, venue_ns)
        if self._reports:
            self._deliver(now_ns)

    def on_trade(
        self,
        instrument_id: int,
        price: int,
        quantity: int,
        aggressor: int,
        now_ns: int,
        venue_utc_ns: int = 0,
    ) -> None:
        """Feed a public trade, behind every command that arrived before it, and deliver what is due.

        Args:
            instrument_id: of an added instrument.
            price: in price units.
            quantity: in quantity units.
            aggressor: `Side` of the taker.
            now_ns: when it came.
            venue_utc_ns: as for `on_book`.
        """
        venue_ns = self._see(now_ns, venue_utc_ns)
        if self._commands:
            self._arrive(venue_ns)
        self.simulator.on_trade(instrument_id, price, quantity, aggressor, venue_ns)
        if self._reports:
            self._deliver(now_ns)

    # ---- time ------------------------------------------------------------------------------------

    def on_timer(self, now_ns: int) -> None:
        """Let due commands arrive and deliver due reports."""
        self._venue_ns = max(self._venue_ns, now_ns - self._age_ns)
        while True:
            self._arrive(self._venue_ns)
            if not self._reports or self._reports[0][0] > now_ns:
                return
            # A handler may send a command with zero latency: it arrives before the next round.
            self._deliver(now_ns)

    def next_due_ns(self) -> int | None:
        """When the next command arrives or report is delivered; None when nothing is under way."""
        due = self._commands[0][0] + self._age_ns if self._commands else None
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

    def _order_arrives(
        self,
        client_order_id: int,
        instrument_id: int,
        side: int,
        price: int,
        units: int,
        order_type: int,
        time_in_force: int,
        flags: int,
        now_ns: int,
    ) -> None:
        arriving = RestingOrder(client_order_id, instrument_id, side, price, units)
        arriving.order_type = order_type
        arriving.time_in_force = time_in_force
        arriving.flags = flags
        self.simulator.new(arriving, now_ns)

    def _mass_cancel_arrives(self, instrument_id: int | None, now_ns: int) -> None:
        self.simulator.mass_cancel(now_ns, instrument_id)

    def _queue_command(self, now_ns: int, call: Callable[..., None], args: tuple[Any, ...]) -> None:
        if not self.is_connected:
            raise SessionError("the paper session is not connected")
        due = now_ns + self._entry.draw_ns()
        if due > self._last_command_ns:
            self._last_command_ns = due
        self._commands.append((self._last_command_ns, call, args))

    def _queue_report(self, report: VenueReport, venue_ns: int) -> None:
        if self.is_connected:
            self._last_report_ns = max(venue_ns + self._response.draw_ns(), self._last_report_ns)
            self._reports.append((self._last_report_ns, report))
        else:
            self.lost_reports += 1

    def _see(self, now_ns: int, venue_utc_ns: int) -> int:
        """Learn how old the data are that come now; returns the venue's time they are of."""
        self._age_ns = self._feed.age_ns(now_ns, venue_utc_ns)
        self._venue_ns = max(self._venue_ns, now_ns - self._age_ns)
        return self._venue_ns

    def _arrive(self, venue_ns: int) -> None:
        commands = self._commands
        while commands and commands[0][0] <= venue_ns:
            due, call, args = commands.popleft()
            call(*args, due)

    def _deliver(self, now_ns: int) -> None:
        reports = self._reports
        while reports and reports[0][0] <= now_ns:
            self.on_report(reports.popleft()[1], now_ns)
