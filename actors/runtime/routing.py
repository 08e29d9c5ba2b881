"""Routing for strategies: outlets from the live books of all venues, the cheapest split, legs sent together.

A route is judged by the books as they stand in shared memory, the rows' fees, and what the way costs: half
the measured round trip of each venue times what its market is expected to move against us meanwhile. Every
leg is immediate-or-cancel at the worst price the route counts on, and cites the books of the route.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from actors.runtime.market_pace import LOOK_NS, Pace, RoundTrips
from exec.errors import OrderError
from exec.router import E8, OUTLETS_MAX, Outlet, Route, find_route
from shm.comparable import rows_of
from shm.enums import BookState, InstrumentStatus, ReportKind, Side, TimeInForce
from shm.units import notional_exact, to_e8

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.runtime.context import Context
    from shm.book import BookSnapshot
    from shm.instruments import Instrument
    from shm.records import ReportRecord

#: As the gate's own default: a book whose stream is silent for longer would be refused there.
MAX_SILENCE_NS = 2_000_000_000
CERTIFICATES_MAX = 4
DECISIONS_KEPT = 20
NOTE_NS = 1_000_000_000
#: Of `describe_route`, what is journaled with each leg.
_JOURNALED = (
    "instrument", "side", "asked_e8", "routed_e8", "filled_e8", "saved_bps", "realized_bps", "left_out",
    "denied",
)  # fmt: skip
_SECOND_NS = 1_000_000_000
_BUY = int(Side.BUY)
_LIVE = int(BookState.LIVE)
_FILL = int(ReportKind.FILL)


@dataclass(frozen=True, slots=True)
class PlannedRoute:
    """A route and what it was made from.

    Args:
        canonical, side, quantity_e8: what was asked.
        outlets: in the order that `route.legs` index.
        route: the split.
        left_out: symbol → why it is no outlet.
        capped: symbols of outlets that a limit of ours bounds.
        decide_ns: when.
    """

    canonical: str
    side: int
    quantity_e8: int
    outlets: tuple[Outlet, ...]
    route: Route
    left_out: Mapping[str, str]
    capped: tuple[str, ...]
    decide_ns: int


@dataclass(frozen=True, slots=True)
class PassiveSpot:
    """Where an order could rest, and what that is expected to cost.

    Args:
        instrument: the venue's row.
        price_units: the touch of our side.
        queue_units: displayed there already.
        wait_ns: expected time until all of it and we are filled, by the flow of the last seconds; None =
            nobody trades against that side.
        cost_e8: buying: price with maker fee and expected adverse move for one of the base; selling: proceeds
            less both; 10^-8 of the quote.
    """

    instrument: Instrument
    price_units: int
    queue_units: int
    wait_ns: int | None
    cost_e8: int


@dataclass(slots=True)
class SentRoute:
    """A route under way: its orders, when each left, and what they filled.

    Args:
        orders: by client order id the symbol, in the order of dispatch; a leg that the gateway's ring refused
            is not in it.
        offered_ns, sent_ns: by client order id: when we offered it, when its bytes left (from reports).
    """

    plan: PlannedRoute
    orders: dict[int, str] = field(default_factory=dict)
    offered_ns: dict[int, int] = field(default_factory=dict)
    sent_ns: dict[int, int] = field(default_factory=dict)
    open: int = 0
    value_e8: int = 0
    fees_e8: int = 0
    filled_e8: int = 0
    denied: int = 0

    @property
    def gap_ns(self) -> int:
        """Time from the first leg to the last: on the wire where reports told it, else as offered."""
        times = self.sent_ns if len(self.sent_ns) == len(self.orders) else self.offered_ns
        return max(times.values()) - min(times.values()) if times else 0


class Routing:
    """The routing of one actor; `Context.route` makes it.

    Args:
        context: of the actor, which must be subscribed to every instrument that is to be an outlet.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._paces: dict[int, Pace] = {}
        self._watched: dict[str, Callable[[], None]] = {}
        self._by_order: dict[int, SentRoute] = {}
        self.decisions: deque[dict[str, Any]] = deque(maxlen=DECISIONS_KEPT)
        self.trips = cast(RoundTrips, context.host.share("round_trips", RoundTrips))
        self._routes = context.counter("route.sent")
        self._legs = context.counter("route.legs")
        self._incomplete = context.counter("route.incomplete")
        self._gap_ns = context.histogram("route.leg_gap_ns")
        self._told_ns = 0

    # ---- what is known --------------------------------------------------------------------------

    def watch(self, canonical: str) -> None:
        """Follow volatility and flow of an instrument's books from now on (again after a restart)."""
        stop = self._watched.pop(canonical, None)
        if stop is not None:
            stop()
        self._watched[canonical] = self._context.call_every(LOOK_NS, lambda: self._look(canonical))
        self._look(canonical)

    def _look(self, canonical: str) -> None:
        now = self._context.now_ns()
        for row in rows_of(self._context.instruments, canonical):
            book = self._context.book(row.instrument_id)
            if book is not None and book.certificate.state == _LIVE:
                self._paces.setdefault(row.instrument_id, Pace()).look(book, now)

    def pace(self, instrument_id: int) -> Pace:
        """Volatility and flow of a book as far as they are known."""
        return self._paces.setdefault(instrument_id, Pace())

    def _book(self, row: Instrument, now_ns: int) -> BookSnapshot | str:
        """The book of a row, or why it can not be cited."""
        context = self._context
        if row.status != InstrumentStatus.TRADING:
            return "not trading"
        slab = context.host.slab_of(row.instrument_id)
        book = slab.load(row.instrument_id)
        if book is None:
            return "busy"
        certificate = book.certificate
        if certificate.state != _LIVE:
            return BookState(certificate.state).name
        if now_ns - slab.stream_alive_ns(certificate.stream) > MAX_SILENCE_NS:
            return "silent"
        if context.certificate(row.instrument_id)[:2] != (certificate.epoch, certificate.live_id):
            return "not subscribed, or its record is still to come"
        return book

    # ---- planning -------------------------------------------------------------------------------

    def plan(
        self,
        canonical: str,
        side: Side | int,
        quantity_e8: int,
        *,
        max_units: Mapping[int, int] | None = None,
        position_limits: Mapping[int, int] | None = None,
    ) -> PlannedRoute:
        """Find the cheapest split; see `Context.route`."""
        if canonical not in self._watched:
            self.watch(canonical)
        now = self._context.now_ns()
        buys = int(side) == _BUY
        outlets: list[Outlet] = []
        left_out: dict[str, str] = {}
        capped = []
        for row in rows_of(self._context.instruments, canonical):
            name = f"{row.venue_id}:{row.symbol}"
            book = self._book(row, now)
            if isinstance(book, str):
                left_out[name] = book
                continue
            room = self._room(row.instrument_id, buys, max_units or {}, position_limits or {})
            if room is not None and room <= 0:
                left_out[name] = "no room within our limits"
                continue
            if row.is_inverse or len(outlets) == OUTLETS_MAX:
                left_out[name] = "inverse" if row.is_inverse else f"more than {OUTLETS_MAX} venues"
                continue
            levels = book.asks if buys else book.bids
            if room is not None and room < sum(quantity for _, quantity in levels):
                capped.append(name)
            # Half of the round trip is the way there; the drift is stated per second of it.
            latency_ns = self.trips.round_trip_ns(row.venue_id) // 2
            drift = self.pace(row.instrument_id).adverse_e8(latency_ns)
            per_s = drift * _SECOND_NS // latency_ns if latency_ns else 0
            outlets.append(Outlet(row, levels, None, latency_ns, per_s, room or 0))
        route = find_route(outlets, side, quantity_e8) if outlets else Route((), 0, 0, is_complete=False)
        return PlannedRoute(
            canonical, int(side), quantity_e8, tuple(outlets), route, left_out, tuple(capped), now
        )

    def _room(
        self, instrument_id: int, buys: bool, max_units: Mapping[int, int], limits: Mapping[int, int]
    ) -> int | None:
        """Most that may go to an outlet: what the caller says, and up to its position limit; None = any."""
        rooms = [max_units[instrument_id]] if instrument_id in max_units else []
        limit = limits.get(instrument_id)
        if limit is not None:
            position = self._context.position(instrument_id)
            held = 0
            if position is not None:
                held = position.quantity_units + (
                    position.open_buy_units if buys else -position.open_sell_units
                )
            rooms.append(limit - held if buys else limit + held)
        return min(rooms, default=None)

    def passive(self, canonical: str, side: Side | int, quantity_e8: int) -> list[PassiveSpot]:
        """Where an order of that size could rest, cheapest first: price, maker fee, queue and flow.

        Raises:
            OrderError: an inverse contract.
        """
        now, buys = self._context.now_ns(), int(side) == _BUY
        spots = []
        for row in rows_of(self._context.instruments, canonical):
            book = self._book(row, now)
            if isinstance(book, str) or not (book.bids if buys else book.asks):
                continue
            if row.is_inverse:
                raise OrderError(f"{row.symbol} is an inverse contract: its cost is not linear in its price")
            price, queue = (book.bids if buys else book.asks)[0]
            pace = self.pace(row.instrument_id)
            flow = pace.flow_units(not buys)
            scale = 10 ** (row.quantity_exponent + row.multiplier_exponent)
            own = -(-quantity_e8 * scale // (row.multiplier * E8))
            wait_ns = int((queue + own) / flow * _SECOND_NS) if flow > 0.0 else None
            burden = row.maker_fee_e8 + pace.adverse_e8(wait_ns or 0)
            factor = E8 + burden if buys else E8 - burden
            spots.append(PassiveSpot(row, price, queue, wait_ns, price * factor // 10**row.price_exponent))
        # Where nobody trades nothing fills, however good the price: such spots come last.
        return sorted(spots, key=lambda s: (s.wait_ns is None, s.cost_e8 if buys else -s.cost_e8))

    # ---- sending --------------------------------------------------------------------------------

    def send(self, plan: PlannedRoute) -> SentRoute:
        """Send the legs of a plan, the slowest venue first; see `Context.send_route`."""
        context = self._context
        sent = SentRoute(plan)
        ids = [plan.outlets[leg.outlet].instrument.instrument_id for leg in plan.route.legs]
        for leg, instrument_id in zip(plan.route.legs, ids, strict=True):
            # Its own book first; the gate refuses the leg if any book of the decision is gone.
            cited = [instrument_id, *(i for i in ids if i != instrument_id)][:CERTIFICATES_MAX]
            order_id = context.new_order(
                instrument_id,
                plan.side,
                leg.limit_price_units,
                leg.quantity_units,
                time_in_force=TimeInForce.IOC,
                certificates=cited,
            )
            if order_id is None:
                continue
            row = plan.outlets[leg.outlet].instrument
            sent.orders[order_id] = f"{row.venue_id}:{row.symbol}"
            sent.offered_ns[order_id] = context.now_ns()
            self._by_order[order_id] = sent
        sent.open = len(sent.orders)
        self._legs.inc(sent.open)
        if sent.open:
            self._routes.inc(1)
        if not plan.route.is_complete or sent.open < len(ids):
            self._incomplete.inc(1)
        return sent

    def on_report(self, report: ReportRecord, is_terminal: bool) -> None:
        """Take a report of the actor (the context does this): round trips, and what legs came to."""
        order_id = report.client_order_id
        if report.ack_ns > report.send_ns > 0 and report.kind == ReportKind.NEW:
            row = self._context.instruments.get(report.instrument_id)
            self.trips.take(row.venue_id, report.ack_ns - report.send_ns)
        sent = self._by_order.get(order_id)
        if sent is None:
            return
        if report.send_ns > 0:
            sent.sent_ns.setdefault(order_id, report.send_ns)
        if report.kind == _FILL:
            row = self._context.instruments.get(report.instrument_id)
            sent.value_e8 += to_e8(*notional_exact(report.last_price_units, report.last_units, row))
            sent.fees_e8 += report.fee_units
            exponent = row.quantity_exponent + row.multiplier_exponent
            sent.filled_e8 += report.last_units * row.multiplier * E8 // 10**exponent
        if report.kind == ReportKind.DENIED:
            sent.denied += 1
        if is_terminal:
            del self._by_order[order_id]
            sent.open -= 1
            if not sent.open:
                self._end(sent)

    def _end(self, sent: SentRoute) -> None:
        self._gap_ns.record(sent.gap_ns)
        self.decisions.append(found := describe_route(sent))
        self._journal(sent, found)
        now = self._context.now_ns()
        if now - self._told_ns >= NOTE_NS:
            self._told_ns = now
            self.tell()

    def _journal(self, sent: SentRoute, found: dict[str, Any]) -> None:
        """Write into the record of each leg what the route made of the order that was asked for."""
        from actors.measures import measures_of  # it needs the context, which is made with this module

        plan, measures = sent.plan, measures_of(self._context)
        legs = {leg.outlet: leg for leg in plan.route.legs}
        outlets = {
            f"{outlet.instrument.venue_id}:{outlet.instrument.symbol}": number
            for number, outlet in enumerate(plan.outlets)
        }
        common = {key: found[key] for key in _JOURNALED}
        for order_id, name in sent.orders.items():
            leg, outlet = legs[outlets[name]], plan.outlets[outlets[name]]
            own = {
                "at": name,
                "leg_units": leg.quantity_units,
                "leg_of": len(sent.orders),
                "expected_price_e8": leg.expected_price_e8,
                # Risk: most that our limits left room for there; 0 = they did not bind.
                "room_units": outlet.max_units if name in plan.capped else 0,
            }
            measures.decision(self._context, "ROUTE", order_id, common | own)

    def tell(self) -> None:
        """Tell the supervisor what was measured so far; an actor calls it when it stops."""
        self._context.note("routing", {"round_trips": self.trips.rows(), "decisions": list(self.decisions)})


def single_costs(plan: PlannedRoute) -> dict[str, int]:
    """What the same would have cost at each outlet alone that fills it all, 10^-8 of the quote."""
    costs = {}
    for outlet in plan.outlets:
        alone = find_route([outlet], plan.side, plan.quantity_e8)
        if alone.is_complete and alone.filled_base_e8 >= plan.route.filled_base_e8:
            costs[f"{outlet.instrument.venue_id}:{outlet.instrument.symbol}"] = alone.cost_e8
    return costs


def describe_route(sent: SentRoute) -> dict[str, Any]:
    """Which of routing and risk changed an order, and by how much; JSON-ready.

    `saved_bps` is what the split was expected to cost less than the best single venue (None if none could
    fill it), `realized_bps` what the fills cost more than was expected, drift included.
    """
    plan, route = sent.plan, sent.plan.route
    buys = plan.side == _BUY
    singles = single_costs(plan)
    saved = realized = None
    if singles and route.cost_e8:
        best = min(singles.values()) if buys else max(singles.values())
        saved = round((best - route.cost_e8 if buys else route.cost_e8 - best) / route.cost_e8 * 1e4, 4)
    if sent.filled_e8 and route.filled_base_e8 and route.cost_e8:
        money = sent.value_e8 + sent.fees_e8 if buys else sent.value_e8 - sent.fees_e8
        paid, expected = money / sent.filled_e8, route.cost_e8 / route.filled_base_e8
        realized = round((paid - expected if buys else expected - paid) / expected * 1e4, 4)
    return {
        "instrument": plan.canonical,
        "side": Side(plan.side).name,
        "asked_e8": plan.quantity_e8,
        "routed_e8": route.filled_base_e8,
        "filled_e8": sent.filled_e8,
        "legs": [
            {"order": order_id, "at": name, "after_us": round(_after(sent, order_id) / 1e3, 1)}
            for order_id, name in sent.orders.items()
        ],
        "gap_us": round(sent.gap_ns / 1e3, 1),
        "saved_bps": saved,
        "realized_bps": realized,
        "left_out": dict(plan.left_out),
        "capped": list(plan.capped),
        "denied": sent.denied,
    }


def _after(sent: SentRoute, order_id: int) -> int:
    """When a leg left, after the first one, in ns."""
    times = sent.sent_ns if len(sent.sent_ns) == len(sent.orders) else sent.offered_ns
    return times[order_id] - min(times.values())
