"""What the gateway needs of a venue's order entry, whatever the venue: commands in, venue reports out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from exec.order import Order
from exec.venue_report import VenueReport as VenueReport

OnVenueReport = Callable[[VenueReport, int], None]


class OrderSession(ABC):
    """Order entry of one venue account.

    Commands return nothing: every answer, refusals included, comes later through `on_report(report,
    now_ns)`, never from inside the command. If `on_report` raises, the session's call that delivered it
    (`on_timer` and the like) raises the same; reports behind it stay queued.
    """

    def __init__(self, on_report: OnVenueReport) -> None:
        self.on_report = on_report
        self.is_connected = True

    @property
    def in_doubt(self) -> int:
        """How many orders the venue is asked about, ended ones whose fills may be missing among them."""
        return 0

    def accepts(self, kind: int, instrument_id: int) -> bool:
        """Whether a command (`enums.IntentKind`) for an instrument can be taken now."""
        del kind, instrument_id
        return self.is_connected

    @abstractmethod
    def new(self, order: Order, now_ns: int) -> None:
        """Send a new order. Raises SessionError when not connected (nothing was sent then)."""

    @abstractmethod
    def cancel(self, order: Order, now_ns: int) -> None:
        """Send a cancel. Raises SessionError when not connected."""

    @abstractmethod
    def replace(self, order: Order, now_ns: int) -> None:
        """Send a replace to `order.new_price_units` and `order.new_units` (the new total quantity)."""

    @abstractmethod
    def mass_cancel(self, now_ns: int, instrument_id: int | None = None) -> None:
        """Cancel everything this account has resting (at one instrument); each order reports CANCELED."""

    @abstractmethod
    def query(self, order: Order, now_ns: int) -> None:
        """Ask the venue what became of an order: its fills come again, then its state or NOT_FOUND."""

    @abstractmethod
    def on_timer(self, now_ns: int) -> None:
        """Do what is due."""

    @abstractmethod
    def next_due_ns(self) -> int | None:
        """When `on_timer` should be called next; None = nothing is under way."""
