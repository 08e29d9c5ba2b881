"""The sending half of a venue session: commands gathered per duty cycle, batched, paid for, sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from exec.errors import OrderError
from exec.lifecycle import Event
from exec.oms import Oms
from exec.order import Order
from exec.order_protocol import OrderProtocol, Request, RequestKind, Way
from exec.session import OrderSession, VenueReport
from exec.venue_doubts import DoubtBook
from exec.venue_requests import RequestBook, Sent
from exec.venue_states import REACHES_VENUE, SessionState
from shm.enums import IntentKind, Reason

MS_NS = 1_000_000
SECOND_NS = 1_000_000_000
_NEW, _CANCEL, _REPLACE = RequestKind.NEW, RequestKind.CANCEL, RequestKind.REPLACE
#: A socket or ring that takes nothing now is tried again after so long.
RETRY_NS = 1 * MS_NS


class VenueLink(Protocol):
    """What does a session's I/O: two sockets, opened again when lost, and the way to REST."""

    def connect_orders(self, url: str) -> None:
        """Have the order socket at this address."""

    def connect_private(self, url: str) -> None:
        """Have the private stream at this address; another address than before replaces the socket."""

    def drop_orders(self, reason: str) -> None:
        """Drop the order socket; it is opened again, or not if the session ended."""

    def drop_private(self, reason: str) -> None:
        """Drop the private stream."""

    def send_order(self, frame: bytes) -> bool:
        """Send on the order socket; False = it does not stand, nothing was sent."""

    def send_private(self, frame: bytes) -> bool:
        """Send on the private stream."""

    def open_spare(self, url: str) -> None:
        """Open a second socket of the private stream beside the first; its channel is SPARE_STREAM."""

    def send_spare(self, frame: bytes) -> bool:
        """Send on the spare socket."""

    def swap_private(self) -> None:
        """From now on the spare socket is the private stream's, and that one's the spare."""

    def drop_spare(self) -> None:
        """Close the spare socket for good, if there is one."""

    def send_rest(self, request: Request) -> bool:
        """Send by REST; False = not taken now. The answer comes to `VenueSession.on_rest`."""


class Rates(Protocol):
    """One account's lanes of the rate ledger (`exec.rate_limits.AccountRates`)."""

    def take(self, rates: tuple[tuple[str, int], ...], lane: int, instrument_id: int, now_ns: int) -> int:
        """0 = paid; above 0 = ask again after so many ns; -1 = more than the lane ever has."""

    def on_refused(
        self, code: str, rates: tuple[tuple[str, int], ...], instrument_id: int, until_ns: int
    ) -> bool:
        """The venue refused for too much: all processes wait."""

    def on_used(self, purpose: str, used: int, sent_ns: int, now_ns: int) -> None:
        """The venue says what it has counted."""


class NoRates:
    """No limits: tests, and venues that count nothing."""

    def take(self, rates: tuple[tuple[str, int], ...], lane: int, instrument_id: int, now_ns: int) -> int:
        """Always paid."""
        del rates, lane, instrument_id, now_ns
        return 0

    def on_refused(
        self, code: str, rates: tuple[tuple[str, int], ...], instrument_id: int, until_ns: int
    ) -> bool:
        """Nothing to stop."""
        del code, rates, instrument_id, until_ns
        return False

    def on_used(self, purpose: str, used: int, sent_ns: int, now_ns: int) -> None:
        """Nothing to correct."""


@dataclass(frozen=True, slots=True)
class SessionTimes:
    """Time limits of a venue session, in ns.

    Args:
        socket_answer_ns: of a request on the order socket.
        rest_answer_ns: of a REST request.
        new_wait_ns: a new order or replace that can not be paid for by then is refused; cancels wait on.
        stream_ns: after an acknowledgment the private stream must have told of the order by then.
        doubt_ns: from doubt to the first question, and between the first two.
        doubt_max_ns: at most between two questions about an order.
        life_margin_ns: added to the venue's own limit on late requests before a NOT_FOUND is believed.
        clock_ns: between two measurements of the venue's clock.
        compare_ns: between two comparisons of orders and positions; 0 = only after a (re)connection.
        open_retry_ns: between two attempts at what must be had before the sockets.
        login_ns: logins and subscriptions that are not answered by then are begun anew, on new sockets.
        sync_retry_ns: between two attempts at a snapshot that failed.
        rotate_ns: after that the private stream's socket is replaced; venues end it after a day. 0 = never.
    """

    socket_answer_ns: int = 2 * SECOND_NS
    rest_answer_ns: int = 5 * SECOND_NS
    new_wait_ns: int = 100 * MS_NS
    stream_ns: int = 3 * SECOND_NS
    doubt_ns: int = 250 * MS_NS
    doubt_max_ns: int = 5 * SECOND_NS
    life_margin_ns: int = 500 * MS_NS
    clock_ns: int = 60 * SECOND_NS
    compare_ns: int = 60 * SECOND_NS
    open_retry_ns: int = 1 * SECOND_NS
    login_ns: int = 5 * SECOND_NS
    sync_retry_ns: int = 1 * SECOND_NS
    rotate_ns: int = 12 * 3_600 * SECOND_NS


@dataclass(slots=True)
class SessionCounts:
    """What a session has done, for counters."""

    requests: int = 0
    batches: int = 0
    batched: int = 0
    timeouts: int = 0
    refused: int = 0
    rate_waits: int = 0
    rate_refused: int = 0
    late_answers: int = 0
    duplicates: int = 0
    questions: int = 0
    resolved: int = 0
    reconnects: int = 0
    stale_streams: int = 0
    discrepancies: int = 0
    ghosts_canceled: int = 0
    foreign_orders: int = 0
    decode_errors: int = 0
    clock_resyncs: int = 0
    rotations: int = 0


@dataclass(slots=True)
class Command:
    """A command that is not on the wire yet."""

    kind: RequestKind
    order: Order
    since_ns: int
    not_before_ns: int = 0


class CommandSender(OrderSession):
    """The half of `exec.venue_session.VenueSession` that sends; see there."""

    def __init__(
        self,
        protocol: OrderProtocol,
        oms: Oms,
        link: VenueLink,
        *,
        utc_ns: Callable[[], int],
        rates: Rates,
        times: SessionTimes,
        on_event: Callable[[str, str], None],
    ) -> None:
        super().__init__(oms.apply_report)
        self.protocol = protocol
        self.oms = oms
        self.link = link
        self.rates = rates
        self.times = times
        self.counts = SessionCounts()
        self.state = SessionState.DOWN
        self.is_connected = False
        self.offset_ns = 0
        self.on_event = on_event
        #: Told each new order or replace when its bytes left: its frame_ns (0 = none), since when it waited.
        self.on_wire: Callable[[int, int], None] = lambda _frame_ns, _since_ns: None
        self.requests = RequestBook()
        self.doubts = DoubtBook(times.doubt_ns, times.doubt_max_ns)
        self._utc_ns = utc_ns
        self._next_id = 1
        self._queue: dict[RequestKind, list[Command]] = {_CANCEL: [], _REPLACE: [], _NEW: []}
        self._is_eager = protocol.batch_from > 2
        self._retry_ns: int | None = None
        self._new_sent_ns: dict[int, int] = {}

    # ---- commands -------------------------------------------------------------------------------

    def accepts(self, kind: int, instrument_id: int) -> bool:
        """New orders and replaces pass when UP; cancels always, but when the venue has shut us out."""
        del instrument_id
        if kind == IntentKind.CANCEL:
            return self.state not in (SessionState.STOPPED, SessionState.DOWN)
        if kind == IntentKind.REPLACE and not self.protocol.has_replace:
            return False
        return self.state is SessionState.UP

    def new(self, order: Order, now_ns: int) -> None:
        """Take a new order; it leaves now or with the next `flush`."""
        self._take_command(Command(_NEW, order, now_ns))

    def cancel(self, order: Order, now_ns: int) -> None:
        """Take a cancel; while the venue can not be reached it waits, and goes first when it can."""
        self._take_command(Command(_CANCEL, order, now_ns))

    def replace(self, order: Order, now_ns: int) -> None:
        """Take a replace."""
        self._take_command(Command(_REPLACE, order, now_ns))

    def _take_command(self, command: Command) -> None:
        """Send at once where gathering would only cost time, because batches go a slower way there."""
        queue = self._queue[command.kind]
        if command.kind is _CANCEL and any(held.order is command.order for held in queue):
            return  # one is enough, and each costs what the account may send
        is_free = self._is_eager and self.state in REACHES_VENUE and not self.queued
        if not is_free or command.order.root_client_order_id in self.requests.slow:
            queue.append(command)
            return
        try:
            wait_ns = self.send(
                self._encode(command.kind, [command.order]), command.since_ns, [command.order]
            )
        except OrderError:
            wait_ns = RETRY_NS  # said with the next flush: never from inside a command
        if wait_ns:
            queue.append(command)
        else:
            self._left(command.kind, [command])

    @property
    def utc_ns(self) -> int:
        """The venue's clock, as far as it was measured."""
        return self._utc_ns() + self.offset_ns

    @property
    def in_doubt(self) -> int:
        """See `OrderSession`."""
        return self.doubts.unanswered()

    @property
    def queued(self) -> int:
        """Commands that are not on the wire."""
        return sum(len(commands) for commands in self._queue.values())

    def flush(self, now_ns: int) -> None:
        """Put on the wire what was gathered: cancels first, in as few requests as the venue makes worth it.

        A cancel never overtakes the order it is for, nor a replace that is still on its way by REST.
        """
        self._retry_ns = None
        if self.state not in REACHES_VENUE:
            return
        self._send_queue(_CANCEL, now_ns)
        if self._queue[_REPLACE]:
            self._send_queue(_REPLACE, now_ns)
        if self._queue[_NEW]:
            self._send_queue(_NEW, now_ns)
        if self._queue[_CANCEL]:
            self._send_queue(_CANCEL, now_ns)

    def _send_queue(self, kind: RequestKind, now_ns: int) -> None:
        commands = self._queue[kind]
        if not commands:
            return
        ready: list[Command] = []
        later: list[Command] = []
        ahead = self._roots_ahead(kind)
        for command in commands:
            root = command.order.root_client_order_id
            if kind is _CANCEL and command.order.is_terminal:
                continue
            is_held = root in self.requests.slow or root in ahead or command.not_before_ns > now_ns
            (later if is_held else ready).append(command)
            if command.not_before_ns > now_ns:
                self._retry_at(command.not_before_ns)
        self._queue[kind] = later
        for group in self._groups(kind, ready):
            wait_ns = self._send_group(kind, group, now_ns)
            if wait_ns:
                self._hold(kind, group, wait_ns, now_ns)

    def _roots_ahead(self, kind: RequestKind) -> set[int]:
        """Orders with another command in the queue that must go first."""
        kinds = {_CANCEL: (_NEW, _REPLACE), _REPLACE: (_NEW,)}.get(kind, ())
        return {command.order.root_client_order_id for k in kinds for command in self._queue[k]}

    def _groups(self, kind: RequestKind, commands: Sequence[Command]) -> list[list[Command]]:
        protocol = self.protocol
        if len(commands) < protocol.batch_from:
            return [[command] for command in commands]
        most = {
            _NEW: protocol.max_new_batch,
            _REPLACE: protocol.max_replace_batch,
            _CANCEL: protocol.max_cancel_batch,
        }[kind]
        by_key: dict[int, list[Command]] = {}
        for command in commands:
            by_key.setdefault(protocol.batch_key(kind, command.order), []).append(command)
        groups: list[list[Command]] = []
        for rows in by_key.values():
            if len(rows) < protocol.batch_from:
                groups += [[command] for command in rows]
            else:
                groups += [rows[at : at + most] for at in range(0, len(rows), most)]
        return groups

    def _send_group(self, kind: RequestKind, group: Sequence[Command], now_ns: int) -> int:
        """Send one request; 0 = done (or refused for good), else how long to wait."""
        orders = [command.order for command in group]
        try:
            request = self._encode(kind, orders)
        except OrderError as error:
            if len(group) > 1:
                return max(self._send_group(kind, [command], now_ns) for command in group)
            self._refuse_unsent(group[0], Reason.VENUE_REJECTED, now_ns)
            self.on_event("encode", str(error))
            return 0
        wait_ns = self.send(request, now_ns, orders)
        if wait_ns >= 0:
            if not wait_ns:
                self._left(kind, group)
            return wait_ns
        if len(group) > 1:
            return max(self._send_group(kind, [command], now_ns) for command in group)
        self._refuse_unsent(group[0], Reason.VENUE_LIMIT, now_ns)
        return 0

    def _encode(self, kind: RequestKind, orders: Sequence[Order]) -> Request:
        number, utc_ns = self._next_id, self.utc_ns
        if kind is _NEW:
            return self.protocol.new(orders, number, utc_ns)
        if kind is _CANCEL:
            return self.protocol.cancel(orders, number, utc_ns)
        return self.protocol.replace(orders, number, utc_ns)

    def _left(self, kind: RequestKind, group: Sequence[Command]) -> None:
        if len(group) > 1:
            self.counts.batches += 1
            self.counts.batched += len(group)
        for command in group if kind is not _CANCEL else ():
            self.on_wire(command.order.frame_ns if kind is _NEW else 0, command.since_ns)

    def pay(self, requests: Sequence[Request], now_ns: int) -> int:
        """Pay for requests of one lane and instrument, all or none of them; returns as `send`."""
        costs: dict[str, int] = {}
        for request in requests:
            for purpose, weight in request.rates:
                costs[purpose] = costs.get(purpose, 0) + weight
        first = requests[0]
        wait_ns = self.rates.take(tuple(costs.items()), int(first.lane), first.instrument_id, now_ns)
        self.counts.rate_waits += wait_ns > 0
        return wait_ns

    def send(
        self, request: Request, now_ns: int, orders: Sequence[Order] = (), *, is_paid: bool = False
    ) -> int:
        """Pay for a request, unless that is done, and send it.

        Returns:
            0 = sent; above 0 = try again after so many ns; -1 = it can never be paid for.
        """
        lane = int(request.lane)
        wait_ns = 0 if is_paid else self.rates.take(request.rates, lane, request.instrument_id, now_ns)
        if wait_ns:
            self.counts.rate_waits += wait_ns > 0
            return wait_ns
        by_rest = request.way is Way.REST
        if not (self.link.send_rest(request) if by_rest else self.link.send_order(request.frame)):
            return RETRY_NS
        self._next_id = max(self._next_id, request.request_id + 1)
        self.counts.requests += 1
        limit_ns = self.times.rest_answer_ns if by_rest else self.times.socket_answer_ns
        waiting = {order.root_client_order_id: order for order in orders}
        self.requests.add(Sent(request, now_ns, now_ns + limit_ns, waiting))
        for root, order in waiting.items():
            if by_rest:
                self.requests.slow[root] = request.request_id
            if request.kind is _NEW:
                order.send_ns = self._new_sent_ns[root] = now_ns
        return 0

    def _hold(self, kind: RequestKind, group: Sequence[Command], wait_ns: int, now_ns: int) -> None:
        """Keep what can not be paid for now; what waited too long is refused, cancels never are."""
        for command in group:
            if kind is not _CANCEL and now_ns - command.since_ns >= self.times.new_wait_ns:
                self.counts.rate_refused += 1
                self._refuse_unsent(command, Reason.VENUE_LIMIT, now_ns)
                continue
            command.not_before_ns = now_ns + wait_ns
            if kind is not _CANCEL:
                command.not_before_ns = min(command.not_before_ns, command.since_ns + self.times.new_wait_ns)
            self._queue[kind].append(command)
            self._retry_at(command.not_before_ns)

    def _retry_at(self, due_ns: int) -> None:
        self._retry_ns = due_ns if self._retry_ns is None else min(self._retry_ns, due_ns)

    def _refuse_unsent(self, command: Command, reason: int, now_ns: int) -> None:
        """It never left this process, and never will: that much we know ourselves."""
        order = command.order
        if command.kind is _CANCEL:
            if order.is_pending_cancel:
                self.oms.cancel_not_sent(order, reason, now_ns)
        elif command.kind is _REPLACE:
            if order.is_pending_replace:
                self.oms.replace_not_sent(order, reason, now_ns)
        else:
            self.oms.apply_report(self.report_of(Event.REJECTED, order, reason), now_ns)

    def refuse_queue(self, now_ns: int, *, cancels: bool) -> None:
        """Refuse what is queued: new orders and replaces, and cancels too if nothing can be sent any more."""
        for kind in (_REPLACE, _NEW, *((_CANCEL,) if cancels else ())):
            commands, self._queue[kind] = self._queue[kind], []
            for command in commands:
                self._refuse_unsent(command, Reason.NOT_RECEIVED, now_ns)

    def requeue_cancel(self, order: Order, not_before_ns: int, now_ns: int) -> None:
        """A cancel of which the venue did nothing is sent again."""
        self._queue[_CANCEL].append(Command(_CANCEL, order, now_ns, not_before_ns))
        self._retry_at(not_before_ns)

    @staticmethod
    def report_of(event: Event, order: Order, reason: int) -> VenueReport:
        """A report about one of our orders that the venue did not put into words."""
        return VenueReport(
            int(event), order.root_client_order_id, order.instrument_id, order.side, reason=int(reason)
        )

    def take_id(self) -> int:
        """The number of the next request."""
        number = self._next_id
        self._next_id += 1
        return number

    def not_found_ns(self, order: Order, now_ns: int) -> int:
        """From when on a question that finds nothing proves that the venue will never have the order."""
        life_ns = round(self.protocol.request_life_s * SECOND_NS) + self.times.life_margin_ns
        # Of one that the process before this one sent: no later than the first time it was in doubt here.
        sent_ns = self._new_sent_ns.setdefault(order.root_client_order_id, order.send_ns or now_ns)
        return min(sent_ns, now_ns) + life_ns

    def doubt(self, order: Order, now_ns: int, delay_ns: int = 0, *, must_ask: bool = False) -> None:
        """Have the venue asked about an order."""
        self.doubts.add(order, now_ns + delay_ns, self.not_found_ns(order, now_ns), must_ask=must_ask)
