"""Between a venue's order protocol and the exchange core: time, latency, faults, who is told what.

A protocol makes a `Job` of each request; the desk lets it arrive, runs it, and lets the answer go back.
Reports on private streams that a job causes leave behind its answer (unless a fault wants otherwise).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

from exec.simulator.latency import Latency
from tools.venues.pacing import LatenessMeter
from tools.venues.protocol import HttpReply, HttpRequest, Limits, Route, Subscriber
from tools.venues.trading.exchange import Exchange, VenueRules
from tools.venues.trading.keys import ApiKey
from tools.venues.trading.latency import DelayQueue, Line
from tools.venues.trading.order_faults import Acts, OrderFaults
from tools.venues.trading.terms import AccountEvent, MoneyEvent, Refusal, Why
from tools.venues.trading.upkeep import Upkeep

DELAY_BUCKET_NS = 10_000
NEW, AMEND, CANCEL, OTHER = "new", "amend", "cancel", "other"


@dataclass(slots=True)
class Job:
    """One request of a client, understood and allowed.

    Args:
        command: new, amend, cancel or other; what faults are meant for.
        key: listing concerned ("" = several or none).
        items: what to do, one per order of a batch; each takes the time and returns a VenueOrder, Refusal …
        answer: makes the frame or reply of what the items returned.
    """

    command: str
    key: str
    items: list[Callable[[int], object]]
    answer: Callable[[list[object]], object]


@dataclass(slots=True)
class Origin:
    """Where a request came from: its two lines, and how an answer gets there."""

    deliver: Callable[[object], None]
    cut: Callable[[], None]
    entry: Line = field(default_factory=Line)
    response: Line = field(default_factory=Line)


class VenueTrading(ABC):
    """One venue's order entry, private streams and signed REST, as a server.

    `desk` is set before anything is called. Requests are parsed and checked (signature, time, rates) when
    they come; what concerns orders goes through `desk.submit`.
    """

    name: str
    rules: VenueRules
    desk: TradingDesk

    @abstractmethod
    def route(self, target: str) -> Route | HttpReply | None:
        """Return where a websocket path leads (with `is_trading`), a refusal, or None: it is not ours."""

    @abstractmethod
    def limits_of(self, route: Route, limits: Limits) -> Limits:
        """Return the limits of a connection of ours; `limits` are those of market-data connections."""

    @abstractmethod
    def on_text(self, client: Subscriber, text: bytes) -> None:
        """Take a message of a client of ours; answers go by `client.say` or `desk.submit`."""

    @abstractmethod
    def on_http(self, request: HttpRequest) -> HttpReply | Awaitable[HttpReply] | None:
        """Answer a REST request, now or later; None: it is not ours."""

    @abstractmethod
    def on_event(self, event: AccountEvent) -> None:
        """Render something that happened to an account and hand it to `desk.tell` for each listener."""

    def on_money(self, event: MoneyEvent) -> None:  # noqa: B027
        """Render a funding payment likewise."""

    @abstractmethod
    def expire(self, is_told: bool) -> int:
        """Let listen keys or logins of private streams end at once; return how many."""

    @abstractmethod
    def addresses(self, ws: str, rest: str) -> dict[str, str]:
        """Return the `order`, `private` and `rest` addresses a client needs, given the servers' own."""

    def on_join(self, client: Subscriber) -> None:  # noqa: B027
        """A client of ours has connected."""

    def on_leave(self, client: Subscriber) -> None:  # noqa: B027
        """A client of ours has gone."""

    def on_timer(self, now_ms: int) -> None:  # noqa: B027
        """Do what is due; called about each second."""

    def statistics(self) -> dict[str, object]:
        """Return what was used of the venue's limits."""
        return {}


class TradingDesk:
    """Runs the jobs of one venue's clients against its exchange.

    Args:
        exchange: the core; its events are told by the desk.
        trading: the venue's protocol.
        keys: what may trade.
        entry, response: latencies from client to venue and back.
        now_ns, clock_ms: monotonic and wall clock.
        wake: asked to let `run` be called at a time; called whenever that may be earlier than before.
    """

    def __init__(
        self,
        exchange: Exchange,
        trading: VenueTrading,
        keys: list[ApiKey],
        entry: Latency,
        response: Latency,
        *,
        now_ns: Callable[[], int],
        clock_ms: Callable[[], int],
        wake: Callable[[int], None],
    ) -> None:
        self.exchange = exchange
        self.trading = trading
        self.keys = {one.api_key: one for one in keys}
        self.entry, self.response = entry, response
        self.now_ns, self.clock_ms = now_ns, clock_ms
        self.faults = OrderFaults()
        self.jobs = 0
        #: From a command that came to its answer that leaves: what the venue takes, set delays included.
        self.delay = LatenessMeter(DELAY_BUCKET_NS)
        self.upkeep = Upkeep(exchange)
        self._wake = wake
        self._queue = DelayQueue()
        self._told: list[tuple[Subscriber, bytes]] = []
        self._is_busy = False
        self._woken_ns = 0
        #: Called when a job may have changed the public market.
        self.on_done: Callable[[], None] = lambda: None
        trading.desk = self
        exchange.on_event = self._on_event
        exchange.on_money = self._on_money

    # ---- requests ------------------------------------------------------------------------------

    def origin_of(self, client: Subscriber) -> Origin:
        """The way back to a websocket client."""
        found = client.notes.get("origin")
        if not isinstance(found, Origin):
            found = Origin(lambda frame: client.say(cast(bytes, frame)), client.abort)
            client.notes["origin"] = found
        return found

    def submit(self, origin: Origin, job: Job) -> None:
        """Let a request arrive; its answer comes by `origin.deliver`, perhaps before this returns."""
        self.jobs += 1
        now_ns = self.now_ns()
        acts = self.faults.meet(job.command, job.key, len(job.items))
        if acts is not None and acts.is_lost:
            return
        slow_ns = acts.slow_ns if acts is not None else 0
        if self.entry.is_none and not slow_ns:
            self._run(origin, job, acts, now_ns, now_ns)
            return
        if not slow_ns:
            self._queue.send(
                origin.entry, self.entry, now_ns, lambda due: self._run(origin, job, acts, due, now_ns)
            )
        else:
            # the venue sits on it: what came later on this line is not held up
            due_ns = now_ns + self.entry.draw_ns() + slow_ns
            self._queue.put(due_ns, lambda due: self._run(origin, job, acts, due, now_ns))
        self._arm()

    def _run(self, origin: Origin, job: Job, acts: Acts | None, now_ns: int, came_ns: int) -> None:
        results: list[object] = []
        was_busy, self._is_busy = self._is_busy, True
        is_cut = False
        for item in job.items:
            if acts is not None and 0 < acts.cut_after <= len(results):
                is_cut = True
                break
            if acts is not None and acts.refuses is not Why.NONE:
                results.append(Refusal(acts.refuses))
            else:
                results.append(item(now_ns))
        self._is_busy = was_busy
        if acts is not None and (is_cut or acts.is_cut):
            self._flush_told(now_ns)
            origin.cut()
            self.on_done()
            self._arm()
            return
        answer = job.answer(results)
        since_ns = came_ns if job.command != OTHER else 0
        if acts is None or not (acts.is_unanswered or acts.late_ns):
            self._send(origin, answer, now_ns, since_ns)
        elif acts.late_ns:
            self._queue.put(now_ns + acts.late_ns, lambda due: self._send(origin, answer, due, since_ns))
        self._flush_told(now_ns)
        self.on_done()
        self._arm()

    def _send(self, origin: Origin, answer: object, now_ns: int, since_ns: int = 0) -> None:
        if self.response.is_none:
            self._deliver(origin, answer, since_ns)
        else:
            self._queue.send(
                origin.response, self.response, now_ns, lambda _due: self._deliver(origin, answer, since_ns)
            )
            self._arm()

    def _deliver(self, origin: Origin, answer: object, since_ns: int) -> None:
        origin.deliver(answer)
        if since_ns:
            self.delay.record(self.now_ns() - since_ns, 1)

    # ---- reports -------------------------------------------------------------------------------

    def _on_event(self, event: AccountEvent) -> None:
        self.trading.on_event(event)
        if not self._is_busy:
            self._flush_told(self.now_ns())

    def _on_money(self, event: MoneyEvent) -> None:
        self.trading.on_money(event)
        if not self._is_busy:
            self._flush_told(self.now_ns())

    def tell(self, client: Subscriber, frame: bytes, key: str | None = None) -> None:
        """Send a report to a client of a private stream; one about an order (`key`) maybe twice."""
        self._told.append((client, frame))
        if key is not None and self.faults.is_doubled(key):
            self._told.append((client, frame))

    def _flush_told(self, now_ns: int) -> None:
        told, self._told = self._told, []
        for client, frame in told:
            self._send(self.origin_of(client), frame, now_ns)

    # ---- time ----------------------------------------------------------------------------------

    def on_market(self) -> None:
        """Let the market of a moment meet what rests."""
        now_ns = self.now_ns()
        self._is_busy = True
        self.exchange.on_market(now_ns)
        self.upkeep.look(now_ns)
        self._is_busy = False
        self._flush_told(now_ns)

    def run(self, now_ns: int) -> None:
        """Do all that is due."""
        self._woken_ns = 0
        self._queue.run(now_ns)
        self.exchange.on_timer(now_ns)
        self._arm()

    def rearm(self) -> None:
        """Say when `run` is wanted next, after something was changed from outside."""
        self._arm()

    def _arm(self) -> None:
        due = self._queue.next_due_ns()
        timer = self.exchange.next_due_ns()
        if timer is not None and (due is None or timer < due):
            due = timer
        if due is not None and (not self._woken_ns or due < self._woken_ns):
            self._woken_ns = due
            self._wake(due)
