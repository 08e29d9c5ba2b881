"""What the gateway needs of a venue's order entry, whatever the venue: commands in, venue reports out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from exec.order import Order


class VenueReport:
    """One thing a venue said about one of our orders, in our units; decoded, not yet applied.

    Args:
        event: `exec.lifecycle.Event`: ACCEPTED, REJECTED, FILL_PART (for any fill; the OMS finds out whether
            it was the last), CANCELED, CANCEL_REJECTED, REPLACED, REPLACE_REJECTED, EXPIRED or NOT_FOUND.
        client_order_id: any id of the order; the one it was placed under suffices.
        price_units, order_units: terms in force at the venue (ACCEPTED, REPLACED), else 0.
        last_units, last_price_units, trade_id, liquidity, fee_units: of a fill; fee in 10^-8 of settlement.
    """

    __slots__ = (
        "client_order_id",
        "event",
        "fee_units",
        "instrument_id",
        "last_price_units",
        "last_units",
        "liquidity",
        "order_units",
        "price_units",
        "reason",
        "side",
        "trade_id",
        "venue_order_id",
        "venue_utc_ns",
    )

    def __init__(
        self,
        event: int,
        client_order_id: int,
        instrument_id: int,
        side: int,
        *,
        venue_order_id: int = 0,
        reason: int = 0,
        price_units: int = 0,
        order_units: int = 0,
        trade_id: int = 0,
        last_units: int = 0,
        last_price_units: int = 0,
        liquidity: int = 0,
        fee_units: int = 0,
        venue_utc_ns: int = 0,
    ) -> None:
        self.event = event
        self.client_order_id = client_order_id
        self.instrument_id = instrument_id
        self.side = side
        self.venue_order_id = venue_order_id
        self.reason = reason
        self.price_units = price_units
        self.order_units = order_units
        self.trade_id = trade_id
        self.last_units = last_units
        self.last_price_units = last_price_units
        self.liquidity = liquidity
        self.fee_units = fee_units
        self.venue_utc_ns = venue_utc_ns

    def __repr__(self) -> str:
        return f"VenueReport({', '.join(f'{name}={getattr(self, name)}' for name in self.__slots__)})"


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
