"""The base class of every actor: private state, handlers, start, stop and saved state."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from actors.runtime.context import Context, WorkingOrder
    from shm.instruments import Instrument
    from shm.positions import Position
    from shm.records import MarketRecord, ReportRecord

STATE_BYTES_MAX = 64 * 1024

HANDLERS = ("on_book", "on_bbo", "on_trade", "on_status", "on_mark", "on_liquidation")


class Actor:
    """One unit of state, supervision and measurement; many live in one worker.

    Every `on_*` handler may be `def` (called straight from the drain, the hot path) or `async def` (run as a
    task on a copy of the record; at most one outstanding per handler). A handler that raises suspends this
    actor only: its orders are canceled, it is restarted by policy, the others go on. A record given to a
    `def` handler is borrowed: it is overwritten once the handler returns.

    Args:
        context: the actor's only way to time, timers, randomness, books and orders.
        settings: the JSON object of its spec.
    """

    role: ClassVar[str] = ""
    state_version: ClassVar[int] = 1
    #: A fault in a critical actor ends its worker (and the supervisor restarts that).
    is_critical: ClassVar[bool] = False
    #: Whether on_cycle is called after each duty cycle.
    wants_cycle: ClassVar[bool] = False

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        self.context = context
        self.settings = dict(settings)

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Say what is wrong with settings of this role, without making the actor.

        Raises:
            SettingsError: names the setting and what is wrong with it.
        """

    def on_attach(self) -> None:
        """Open segments and register sources; called once, before the first on_start of any actor."""

    def subscriptions(self) -> Sequence[int]:
        """Instrument ids whose records this actor wants; asked after on_attach and before on_start."""
        return ()

    def follows(self, instrument: Instrument) -> bool:  # noqa: ARG002
        """Say whether this actor wants the records of an instrument that came into the table while it runs.

        Asked once for each new row, whether it trades already or not; the default wants none.
        """
        return False

    def on_listed(self, instrument: Instrument) -> None:
        """An instrument that this actor follows is there; its records come after this returns."""

    def on_start(
        self,
        reason: str,
        state: bytes | None,
        positions: Mapping[int, Position],
        working_orders: Mapping[int, WorkingOrder],
    ) -> Awaitable[None] | None:
        """Begin. No record is delivered and no order may be sent before this returns.

        Args:
            reason: "start" for the first process of a run, "restart" after a crash or a fault.
            state: what load_state was given, None if there is none.
            positions: by instrument id, from the gateway's table.
            working_orders: by client order id, as the gateway knows them.
        """

    def on_book(self, record: MarketRecord) -> Awaitable[None] | None:
        """The newest top of book of one instrument (older ones of the same drain are conflated)."""

    def on_bbo(self, record: MarketRecord) -> Awaitable[None] | None:
        """The newest BBO message of one instrument."""

    def on_trade(self, record: MarketRecord) -> Awaitable[None] | None:
        """A public trade; every one, in order."""

    def on_status(self, record: MarketRecord) -> Awaitable[None] | None:
        """The book's state changed (`record.book_state`, `record.reason`)."""

    def on_mark(self, record: MarketRecord) -> Awaitable[None] | None:
        """Mark price, index price and funding."""

    def on_liquidation(self, record: MarketRecord) -> Awaitable[None] | None:
        """A position the venue liquidated: side, price and quantity as in a trade, which it is not."""

    def on_report(self, report: ReportRecord) -> Awaitable[None] | None:
        """An execution report about an order of this actor; `context.working` already reflects it."""

    def on_lapped(self, lost: int) -> None:
        """Records of a subscribed ring were overwritten before they were read.

        STATUS and BOOK records from the slab follow for every subscribed instrument of that ring.
        """

    def on_cycle(self, now_ns: int) -> None:
        """Called after each duty cycle, if `wants_cycle` is set (infrastructure roles)."""

    def on_heartbeat(self, now_ns: int) -> None:
        """Called with each heartbeat of the worker, its only periodic timer (watching, slow clean-up)."""

    def on_config(self, settings: Mapping[str, Any], generation: int) -> None:
        """Take over new settings (checked by check_settings before) between two duty cycles."""
        del generation  # the base needs only the settings
        self.settings = dict(settings)

    def on_halt(self) -> None:
        """The trading state changed (`context.host.control.halt_state()`)."""

    def on_quiesce(self, deadline_ns: int) -> Awaitable[None] | None:
        """Bring outstanding work to an end before the stop (the gateway: no order rests any more)."""

    def on_stop(self) -> Awaitable[None] | None:
        """Stop: no further handler is called after this returns."""

    def save_state(self) -> bytes | None:
        """State worth keeping over a restart, at most 64 KiB; None = nothing (the default).

        Orders and positions never belong in it: they come from the gateway.
        """

    def load_state(self, version: int, state: bytes) -> None:
        """Take back what save_state returned, before on_start."""


#: Handlers of the base class do nothing: an actor that did not override one is not called for it.
def overridden(actor: Actor, name: str) -> bool:
    """Whether the actor's class defines this handler itself."""
    return getattr(type(actor), name) is not getattr(Actor, name)
