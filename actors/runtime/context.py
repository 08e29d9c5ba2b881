"""What an actor may touch: time, timers, randomness, instruments, books, positions and its own orders."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from actors.errors import ActorError
from actors.runtime.routing import PlannedRoute, Routing, SentRoute
from actors.runtime.schedule import Timer
from actors.runtime.spec import rates_name
from feeds.transport.rates import LedgerBudget
from shm.enums import (
    IntentKind,
    OrderStatus,
    OrderType,
    RateLane,
    ReportKind,
    SegmentKind,
    Side,
    TimeInForce,
)
from shm.rate_ledger import RateLedger

if TYPE_CHECKING:
    from actors.runtime.host import Host
    from actors.runtime.intents import IntentPort
    from actors.runtime.spec import ActorSpec
    from shm.book import BookSnapshot
    from shm.counters import Counter
    from shm.histogram import Histogram
    from shm.instruments import Instrument, InstrumentTable
    from shm.positions import Position
    from shm.records import ReportRecord

TERMINAL = frozenset(
    {
        int(OrderStatus.FILLED),
        int(OrderStatus.CANCELED),
        int(OrderStatus.REJECTED),
        int(OrderStatus.EXPIRED),
        int(OrderStatus.DENIED),
    }
)
_REPLACED = int(ReportKind.REPLACED)
_REPLACE_REJECTED = int(ReportKind.REPLACE_REJECTED)
_CANCEL_REJECTED = int(ReportKind.CANCEL_REJECTED)
_STATUS = int(ReportKind.STATUS)
_PENDING_NEW = int(OrderStatus.PENDING_NEW)


@dataclass(slots=True)
class WorkingOrder:
    """One order of this actor that is not terminal, as far as reports have told.

    Args:
        status: enums.OrderStatus of the last report, PENDING_NEW before any.
        sent_ns: when the intent was offered.
        is_cancel_requested: a cancel of it is under way.
        replaces: the order this one replaces while the replace is not confirmed, else 0.
    """

    client_order_id: int
    instrument_id: int
    side: int
    price_units: int
    order_units: int
    leaves_units: int
    status: int = _PENDING_NEW
    sent_ns: int = 0
    is_cancel_requested: bool = False
    replaces: int = 0


class Context:
    """The world of one actor. Made by the host; actors never build one.

    Args:
        host: the worker (live or virtual) that hosts the actor.
        spec: its actor spec.
        port: its way into the gateway's intent ring; None for actors that send no orders.
    """

    def __init__(self, host: Host, spec: ActorSpec, port: IntentPort | None) -> None:
        self.host = host
        self.spec = spec
        self.actor_id = spec.actor_id
        self.name = spec.name
        self.random = random.Random(f"{host.spec.seed}/{spec.actor_id}")
        self.working: dict[int, WorkingOrder] = {}
        self.is_quoting = False
        self._port = port
        self._routing: Routing | None = None
        self._timers: set[Timer] = set()
        self._clock = host.clock

    # ---- time -----------------------------------------------------------------------------------

    def now_ns(self) -> int:
        """Monotonic time in ns (virtual in a replay)."""
        return self._clock.now_ns()

    def utc_ns(self) -> int:
        """Wall clock in ns (virtual in a replay)."""
        return self.host.utc_ns()

    @property
    def is_virtual(self) -> bool:
        """Whether this actor runs on a virtual clock: no sockets, no wall clock."""
        return self.host.scheduler.is_virtual

    def call_at(self, due_ns: int, call: Callable[[], None]) -> Timer:
        """Call once at a monotonic time; an exception in the call suspends this actor like a handler's."""
        timer = self.host.scheduler.call_at(due_ns, partial(self.host.guard, self.actor_id, "timer", call))
        timer.owner = self._timers
        self._timers.add(timer)
        return timer

    def call_later(self, delay_ns: int, call: Callable[[], None]) -> Timer:
        """Call once after a delay."""
        return self.call_at(self.now_ns() + delay_ns, call)

    def call_every(self, interval_ns: int, call: Callable[[], None]) -> Callable[[], None]:
        """Call at each multiple of an interval from now, without drift; returns the function that ends it."""
        stopped = False
        due = self.now_ns() + interval_ns

        def run() -> None:
            nonlocal due
            if stopped:
                return
            missed = max(0, (self.now_ns() - due) // interval_ns)
            due += (missed + 1) * interval_ns
            self.call_at(due, run)
            call()

        def stop() -> None:
            nonlocal stopped
            stopped = True

        self.call_at(due, run)
        return stop

    def sleep(self, delay_ns: int) -> Awaitable[None]:
        """Wait inside an `async def` handler; works live and on the virtual clock."""
        return self.host.scheduler.sleep(delay_ns)

    def cancel_timers(self) -> None:
        """Cancel every timer of this actor (done by the host when the actor is suspended or stopped)."""
        for timer in list(self._timers):
            timer.cancel()

    # ---- rate limits ----------------------------------------------------------------------------

    @property
    def rates(self) -> RateLedger:
        """The rate ledger of the run, which every process takes from."""
        host = self.host
        made = host.share(
            "rates", lambda: RateLedger.attach(host.open(rates_name(), SegmentKind.RATES).payload)
        )
        return cast(RateLedger, made)

    def rate_budget(
        self, rates: Mapping[str, str], purpose: str, lane: RateLane, *, is_aligned: bool = False
    ) -> LedgerBudget | None:
        """The share of one lane in a rate limit; None if the run does not count that purpose.

        Args:
            rates: of the actor's settings: purpose → name of the rule.
            purpose: "weight" of REST requests or "connects", for example.
            lane: whose share.
            is_aligned: whether the venue's windows begin at whole multiples of their length on its clock.
        """
        name = rates.get(purpose, "")
        if not self.rates.has(name):
            return None
        return LedgerBudget(
            self.rates, self.rates.bucket(name), lane, utc_ns=self.utc_ns if is_aligned else None
        )

    # ---- market ---------------------------------------------------------------------------------

    @property
    def instruments(self) -> InstrumentTable:
        """All instruments of the run."""
        return self.host.instruments

    def instrument(self, name: str) -> Instrument:
        """An instrument by canonical name, venue symbol, or "venue_id:symbol".

        Raises:
            ActorError: no such instrument, or a symbol that several venues use.
        """
        return self.host.find_instrument(name)

    def book(self, instrument_id: int) -> BookSnapshot | None:
        """The newest top levels with their certificate; None while the writer keeps it busy."""
        return self.host.slab_of(instrument_id).load(instrument_id)

    def certificate(self, instrument_id: int) -> tuple[int, int, int]:
        """The newest certificate drained: (epoch, live_id, last_sequence); what an order would cite."""
        return self.host.moment.certificate(instrument_id)

    def position(self, instrument_id: int) -> Position | None:
        """The account's position as its gateway last stored it; None before the first one."""
        return self.host.position_of(self.spec, instrument_id)

    # ---- orders ---------------------------------------------------------------------------------

    def new_order(
        self,
        instrument_id: int,
        side: Side | int,
        price_units: int,
        quantity_units: int,
        *,
        order_type: int = OrderType.LIMIT,
        time_in_force: int = TimeInForce.GTC,
        flags: int = 0,
        certificates: Iterable[int] | None = None,
    ) -> int | None:
        """Offer a new order to the gateway.

        Args:
            instrument_id: what to trade.
            side: BUY or SELL.
            price_units: limit price in the instrument's units; 0 for a market order.
            quantity_units: order quantity in the instrument's units.
            order_type: enums.OrderType.
            time_in_force: enums.TimeInForce.
            flags: enums.OrderFlags (POST_ONLY, REDUCE_ONLY).
            certificates: instruments whose books the decision used; default: this instrument's, and that of
                the record being handled.

        Returns:
            The client order id, or None if the ring is back-pressured (counted) or the actor is stopping.

        Raises:
            ActorError: called before on_start returned.
        """
        if not self._may_send():
            return None
        port = self._need_port()
        client_order_id = port.new_order(
            instrument_id, side, price_units, quantity_units, order_type, time_in_force, flags, certificates
        )
        if client_order_id is not None:
            self.working[client_order_id] = WorkingOrder(
                client_order_id,
                instrument_id,
                int(side),
                price_units,
                quantity_units,
                quantity_units,
                _PENDING_NEW,
                self._clock.now_ns(),
            )
        return client_order_id

    def cancel(self, client_order_id: int) -> int | None:
        """Offer a cancel; returns the request's id, None if back-pressured or there is no such order."""
        order = self.working.get(client_order_id)
        if order is None:
            return None
        request = self._need_port().command(IntentKind.CANCEL, order.instrument_id, client_order_id)
        if request is not None:
            order.is_cancel_requested = True
        return request

    def replace(
        self,
        client_order_id: int,
        price_units: int,
        quantity_units: int,
        *,
        flags: int = 0,
        certificates: Iterable[int] | None = None,
    ) -> int | None:
        """Offer a replace of price and quantity; the replacing order has the returned id."""
        order = self.working.get(client_order_id)
        if order is None or not self._may_send():
            return None
        new_id = self._need_port().replace(
            client_order_id, order.instrument_id, order.side, price_units, quantity_units, flags, certificates
        )
        if new_id is not None:
            order.is_cancel_requested = True
            self.working[new_id] = WorkingOrder(
                new_id,
                order.instrument_id,
                order.side,
                price_units,
                quantity_units,
                quantity_units,
                _PENDING_NEW,
                self._clock.now_ns(),
                replaces=client_order_id,
            )
        return new_id

    def mass_cancel(self, instrument_id: int | None = None) -> int | None:
        """Offer a cancel of all orders of this actor, or only those of one instrument."""
        if self._port is None:
            return None
        scope = 0xFFFFFFFF if instrument_id is None else instrument_id
        request = self._port.command(IntentKind.MASS_CANCEL, scope)
        if request is not None:
            for order in self.working.values():
                if instrument_id is None or order.instrument_id == instrument_id:
                    order.is_cancel_requested = True
        return request

    def request_status(self) -> int | None:
        """Ask the gateway for a STATUS report of each working order; the last one has the returned id."""
        return None if self._port is None else self._port.command(IntentKind.MASS_STATUS, 0xFFFFFFFF)

    # ---- routing --------------------------------------------------------------------------------

    @property
    def routing(self) -> Routing:
        """Round trips, market pace and decisions of this actor's routes; made when first asked for."""
        if self._routing is None:
            self._routing = Routing(self)
        return self._routing

    def route(
        self,
        canonical: str,
        side: Side | int,
        quantity_e8: int,
        *,
        max_units: Mapping[int, int] | None = None,
        position_limits: Mapping[int, int] | None = None,
    ) -> PlannedRoute:
        """Find the cheapest split of a marketable quantity over all venues that list an instrument.

        Args:
            canonical: name of the instrument; only venues this actor is subscribed to are outlets.
            side: BUY or SELL.
            quantity_e8: 10^-8 of the base currency.
            max_units: by instrument id, the most that may go there (a balance), in its own unit.
            position_limits: by instrument id, the largest position, open orders counted, in its own unit.

        Returns:
            The plan; without legs if no book can be cited or nothing fits.

        Raises:
            OrderError: a quantity that is not positive, or rows that do not trade the same thing.
        """
        return self.routing.plan(
            canonical, side, quantity_e8, max_units=max_units, position_limits=position_limits
        )

    def send_route(self, plan: PlannedRoute) -> SentRoute:
        """Send a plan's legs at once (IOC), the slowest venue first, each citing up to four of its books."""
        return self.routing.send(plan)

    @property
    def can_send(self) -> bool:
        """Whether this actor has a way to a gateway."""
        return self._port is not None

    def set_generation(self, generation: int) -> None:
        """Stamp this config generation on every further intent (the host does this)."""
        if self._port is not None:
            self._port.generation = generation

    def apply_report(self, report: ReportRecord) -> None:
        """Bring `working` up to date with a report; done by the host before on_report."""
        working = self.working
        kind = report.kind
        order = working.get(report.client_order_id)
        if self._routing is not None:
            self._routing.on_report(report, report.order_status in TERMINAL)
        if kind == _STATUS:
            self._apply_status(report)
        elif kind == _REPLACED:
            working.pop(report.orig_client_order_id, None)
            if order is not None:
                order.replaces = 0
                order.order_units = report.order_units
                order.price_units = report.price_units
        elif kind == _REPLACE_REJECTED:
            working.pop(report.client_order_id, None)
            original = working.get(report.orig_client_order_id)
            if original is not None:
                original.is_cancel_requested = False
            return
        elif kind == _CANCEL_REJECTED and order is not None:
            order.is_cancel_requested = False
        if order is None:
            return
        order.status = report.order_status
        if report.order_status in TERMINAL:
            working.pop(report.client_order_id, None)
        elif kind != _CANCEL_REJECTED:
            order.leaves_units = report.leaves_units

    def _apply_status(self, report: ReportRecord) -> None:
        if not report.order_units or report.order_status in TERMINAL:
            return
        self.working[report.client_order_id] = WorkingOrder(
            report.client_order_id,
            report.instrument_id,
            report.side,
            report.price_units,
            report.order_units,
            report.leaves_units,
            report.order_status,
            self._clock.now_ns(),
        )

    def _may_send(self) -> bool:
        if self.is_quoting:
            return True
        if self.host.is_stopping:
            return False
        raise ActorError(f"actor {self.name}: no order before on_start returned")

    def _need_port(self) -> IntentPort:
        if self._port is None:
            raise ActorError(f"actor {self.name}: its worker has no gateway")
        return self._port

    # ---- telling --------------------------------------------------------------------------------

    def note(self, name: str, data: Mapping[str, Any]) -> None:
        """Tell the supervisor something about this actor for status and report; the newest of a name stands.

        Args:
            name: what it is about.
            data: JSON-ready and small; not for every record.
        """
        self.host.notify({"op": "note", "actor": self.name, "name": name, "data": data})

    # ---- measurement ----------------------------------------------------------------------------

    def counter(self, name: str, unit: str = "count") -> Counter:
        """A counter of this worker by name."""
        return self.host.metrics.counter(name, unit)

    def histogram(self, name: str) -> Histogram:
        """A latency histogram of this worker by name."""
        return self.host.metrics.histogram(name)
