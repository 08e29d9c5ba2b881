"""The listening half of a venue session: the venue's words become reports for the OMS, doubts, or facts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from exec.command_sender import CommandSender
from exec.discrepancy import Discrepancy
from exec.errors import DecodeError
from exec.lifecycle import Event
from exec.order import Order
from exec.order_protocol import (
    Action,
    Answer,
    BalanceWord,
    Channel,
    ControlWord,
    OpenOrderWord,
    PositionWord,
    Request,
    RequestKind,
    Word,
)
from exec.session import OrderSession, VenueReport
from exec.venue_commands import SECOND_NS
from exec.venue_doubts import Doubt, Verdict
from exec.venue_mass import MassCancels
from exec.venue_requests import Sent
from exec.venue_rotation import Rotation
from exec.venue_states import SessionState
from exec.venue_waits import RateWaits
from shm.enums import OrderStatus, Reason

_NEW, _CANCEL, _REPLACE = RequestKind.NEW, RequestKind.CANCEL, RequestKind.REPLACE
_COMMANDS = frozenset((_NEW, _CANCEL, _REPLACE))
_QUESTIONS = frozenset((RequestKind.QUERY, RequestKind.FILLS))
_LISTS = frozenset((RequestKind.OPEN_ORDERS, RequestKind.POSITIONS, RequestKind.FILLS))
_UNKNOWN = int(OrderStatus.UNKNOWN)
_FILLS = frozenset((int(Event.FILL_PART), int(Event.FILL_ALL)))
_ENDS = frozenset((int(Event.CANCELED), int(Event.EXPIRED)))
_REFUSAL = {_NEW: Event.REJECTED, _CANCEL: Event.CANCEL_REJECTED, _REPLACE: Event.REPLACE_REJECTED}
#: A cancel that met a lapsed login or clock is tried again after so long.
CANCEL_AGAIN_NS = 200_000_000
#: The first and the longest wait behind a cancel of an order that the venue does not know.
CANCEL_MISSED_NS = SECOND_NS
CANCEL_MISSED_MAX_NS = 8 * SECOND_NS
_QUESTION = "questions about orders"
VENUE_IDS_MAX = 65_536


class WordTaker(CommandSender, OrderSession):
    """The half of `exec.venue_session.VenueSession` that listens; see there."""

    #: Replaces the private stream's socket in time.
    rotation: Rotation
    #: Mass cancels until they are granted.
    mass: MassCancels
    #: What recovery waits for, in words.
    waits: RateWaits
    #: Root ids of acknowledged commands that the private stream must tell of, and until when.
    _stream_due: dict[int, int]
    #: When the private stream last told of an order; it may tell before the answer comes.
    _told_ns: dict[int, int]
    #: The venue's order id → root client order id; a list of fills may name only the former.
    _roots: dict[int, int]

    #: How many cancels met an order that the venue did not know, by its root id, while it is asked about.
    _missed: dict[int, int]

    # ---- cancels that met nothing ---------------------------------------------------------------

    def cancel(self, order: Order, now_ns: int) -> None:
        """See `CommandSender`; after one that met nothing the next waits, and longer each time.

        A cancel goes before a question: sent again and again it would starve the answer that ends the doubt.
        It does go in the end: the order may reach the venue late, and the answer not come.
        """
        root = order.root_client_order_id
        times = self._missed.get(root, 0)
        if times and self.doubts.find(root) is not None:
            wait_ns = min(CANCEL_MISSED_NS << (times - 1), CANCEL_MISSED_MAX_NS)
            self.requeue_cancel(order, now_ns + wait_ns, now_ns)
        else:
            super().cancel(order, now_ns)

    def _answered(self, order: Order, now_ns: int) -> None:
        if self._missed.pop(order.root_client_order_id, 0):
            self.hasten_cancel(order, now_ns)

    # ---- what arrives ---------------------------------------------------------------------------

    def on_frame(self, frame: bytes, channel: Channel, now_ns: int) -> None:
        """Take a frame of a socket; one that makes no sense is counted and told, and changes nothing."""
        if self.rotation.is_copy(frame, channel):
            return
        meaning = channel.meaning
        try:
            words = self.protocol.decode(frame, meaning)
        except DecodeError as error:
            self._undecodable(error)
            if meaning is Channel.PRIVATE_STREAM:
                self.on_gap(now_ns)
            return
        self._take(words, channel, now_ns)

    def on_rest(
        self, request: Request, status: int, headers: dict[str, str], body: bytes, now_ns: int
    ) -> None:
        """Take the answer to a REST request; `status` 0 = none came. Header names are in lower case."""
        try:
            words: Sequence[Word] = self.protocol.decode_rest(request, status, headers, body)
        except DecodeError as error:
            self._undecodable(error)
            words = [Answer(request.request_id, False, action=Action.ASK, text=str(error))]
        self._take(words, Channel.REST, now_ns)

    def _undecodable(self, error: DecodeError) -> None:
        self.counts.decode_errors += 1
        self.on_event("decode", str(error))

    @abstractmethod
    def on_foreign_fee(self, found: Discrepancy, now_ns: int) -> None:
        """A fee was paid in a token that nobody here knows the worth of (`exec.venue_session`)."""

    @abstractmethod
    def on_gap(self, now_ns: int) -> None:
        """What the stream said could not be read: nothing of it was taken (`exec.venue_session`)."""

    def _take(self, words: Sequence[Word], channel: Channel, now_ns: int) -> None:
        request_id = next(
            (w.request_id for w in words if isinstance(w, Answer | ControlWord) and w.request_id), 0
        )
        sent = self.requests.find(request_id)
        sent_ns = now_ns if sent is None else sent.sent_ns
        for word in words:
            if isinstance(word, VenueReport):
                self._on_stream(word, now_ns)
            elif isinstance(word, Answer):
                self._on_answer(word, now_ns)
            elif isinstance(word, ControlWord):
                self.on_control(word, channel, sent_ns, now_ns)
            else:
                self.on_row(word, request_id, now_ns)
        for found in self.protocol.foreign_fees.take_news():
            self.on_foreign_fee(found, now_ns)

    @abstractmethod
    def on_control(self, word: ControlWord, channel: Channel, sent_ns: int, now_ns: int) -> None:
        """What is said about connection and account (`exec.venue_session`)."""

    @abstractmethod
    def on_row(self, word: OpenOrderWord | PositionWord | BalanceWord, request_id: int, now_ns: int) -> None:
        """A row of a snapshot, or of the stream (`exec.venue_session`)."""

    @abstractmethod
    def on_snapshot_failed(self, kind: RequestKind, request_id: int, now_ns: int) -> None:
        """What was asked for will not come (`exec.venue_session`)."""

    @abstractmethod
    def on_action(self, answer: Answer, kind: RequestKind, now_ns: int) -> None:
        """What a refusal obliges the session to do (`exec.venue_session`)."""

    # ---- reports --------------------------------------------------------------------------------

    def deliver(self, report: VenueReport, now_ns: int, *, is_answer: bool = False) -> None:
        """Give a report to the OMS, unless it says again what is known or what nobody can know yet.

        Args:
            report: the venue's word about one order.
            now_ns: now.
            is_answer: it answers a question, so it tells the state as it is.
        """
        order = self.order_of(report)
        event = report.event
        if order is not None and event not in _FILLS:
            if event == Event.REPLACED and not order.is_pending_replace:
                self.counts.duplicates += 1
                if (report.price_units, report.order_units) != (order.price_units, order.order_units):
                    self._amended_elsewhere(order, now_ns)
                return
            # It tells what was, and nothing of a cancel or replace behind it.
            is_old = event == Event.ACCEPTED and not is_answer and order.status == _UNKNOWN
            if is_old and (order.is_pending_cancel or order.is_pending_replace):
                self.counts.duplicates += 1
                return
        if order is None and event in _FILLS and not report.client_order_id:
            booked = self.oms.statistics.stranger_fills
            self.on_report(report, now_ns)
            self.counts.external_fills += self.oms.statistics.stranger_fills - booked
            return
        self.on_report(report, now_ns)
        if order is not None and order.is_terminal:
            self._new_sent_ns.pop(order.root_client_order_id, None)
            self._told_ns.pop(order.root_client_order_id, None)

    def order_of(self, report: VenueReport) -> Order | None:
        """The order a report is about; one that names only the venue's id gets ours."""
        if not report.client_order_id and report.venue_order_id:
            report.client_order_id = self._roots.get(report.venue_order_id, 0)
        order = self.oms.order(report.client_order_id)
        if order is not None and report.venue_order_id and not order.venue_order_id:
            order.venue_order_id = report.venue_order_id
            if len(self._roots) >= VENUE_IDS_MAX:
                del self._roots[next(iter(self._roots))]
            self._roots[report.venue_order_id] = order.root_client_order_id
        return order

    def _amended_elsewhere(self, order: Order, now_ns: int) -> None:
        if not order.is_terminal:
            self.on_event("amended", f"{order!r} was amended by somebody else")
            self.oms.lose(order, now_ns)
            self.doubt(order, now_ns)

    def _on_stream(self, report: VenueReport, now_ns: int) -> None:
        order = self.order_of(report)
        if order is not None:
            root = order.root_client_order_id
            self._stream_due.pop(root, None)
            self._told_ns[root] = now_ns
        self.deliver(report, now_ns)

    # ---- answers --------------------------------------------------------------------------------

    def _on_answer(self, answer: Answer, now_ns: int) -> None:
        sent = self.requests.find(answer.request_id)
        if sent is None:
            # Of a request nobody remembers: facts are facts all the same.
            self.counts.late_answers += 1
            for report in answer.reports:
                self.deliver(report, now_ns)
            if not answer.is_ok and answer.action is not Action.REFUSED:
                self.on_action(
                    answer, RequestKind.LOGIN if not answer.request_id else RequestKind.QUERY, now_ns
                )
            return
        self.counts.late_answers += sent.is_overdue
        kind = sent.request.kind
        if kind in _COMMANDS and (sent.waiting or sent.request.order_ids):
            self._command_answered(answer, sent, now_ns)
        elif kind in _QUESTIONS and self.doubts.of_request(answer.request_id) is not None:
            self._question_answered(answer, now_ns)
        elif kind is RequestKind.QUERY or kind in _COMMANDS or kind is RequestKind.MASS_CANCEL:
            for report in answer.reports:
                self.deliver(report, now_ns)
            self.mass.on_answer(answer, now_ns)
        elif not answer.is_ok:
            self.on_snapshot_failed(kind, answer.request_id, now_ns)
        else:
            for report in answer.reports:
                self.on_listed_fill(report, answer.request_id, now_ns)
            self.on_done(answer.request_id, now_ns)
        if not answer.is_ok and kind not in _COMMANDS:
            self._obey(answer, sent.request, now_ns)
        # A granted list is settled at the end of its page, which is a word of its own.
        if answer.is_last and not (answer.is_ok and kind in _LISTS):
            self.requests.settle(answer.request_id)

    @abstractmethod
    def on_listed_fill(self, report: VenueReport, request_id: int, now_ns: int) -> None:
        """A fill of a list of fills (`exec.venue_session`)."""

    @abstractmethod
    def on_done(self, request_id: int, now_ns: int) -> None:
        """A request that is neither command nor question was granted (`exec.venue_session`)."""

    def _command_answered(self, answer: Answer, sent: Sent, now_ns: int) -> None:
        if answer.order_id:
            named = sent.waiting.pop(answer.order_id, None)
            orders = [] if named is None else [named]
        else:
            orders = list(sent.waiting.values())
            sent.waiting.clear()
        if answer.is_ok:
            for order in orders:
                root = order.root_client_order_id
                # One that has ended was told of; only then is the answer slower than the stream.
                if not order.is_terminal and self._told_ns.get(root, -1) < sent.sent_ns:
                    self._stream_due.setdefault(root, now_ns + self.times.stream_ns)
            for report in answer.reports:
                self._acknowledged(report, answer.filled_units, now_ns)
        else:
            self.counts.refused += 1
            self._obey(answer, sent.request, now_ns)
            for order in orders:
                self._command_refused(answer, sent.request.kind, order, now_ns)

    def _acknowledged(self, report: VenueReport, filled_units: int, now_ns: int) -> None:
        """An answer that names the order's state: an end waits for the fills that belong before it."""
        order = self.order_of(report)
        if order is not None and report.event in _ENDS and filled_units > order.filled_units:
            self.doubt(order, now_ns, self.times.doubt_ns, must_ask=True)
            return
        if order is not None and (order.is_terminal or report.event in _ENDS):
            self._stream_due.pop(order.root_client_order_id, None)
        self.deliver(report, now_ns)

    def _command_refused(self, answer: Answer, kind: RequestKind, order: Order, now_ns: int) -> None:
        action, reason = answer.action, answer.reason
        if action is Action.ASK:
            self.oms.timed_out(order, now_ns)
            self.doubt(order, now_ns, self.times.doubt_ns)
            return
        if action is Action.DONE:
            self._done_already(kind, order, now_ns)
            return
        if kind is _CANCEL and action in (Action.WAIT, Action.RELOGIN, Action.RESYNC_TIME):
            if not order.is_terminal:
                self.requeue_cancel(order, now_ns + max(answer.wait_ns, CANCEL_AGAIN_NS), now_ns)
            return
        if order.is_terminal and kind is not _NEW:
            return  # the stream was faster: it is filled or canceled, and the table has settled the request
        self.deliver(self.report_of(_REFUSAL[kind], order, reason or Reason.VENUE_REJECTED), now_ns)
        if reason == Reason.VENUE_UNKNOWN_ORDER and not order.is_terminal:
            # It ended and the stream has not said so yet, or it is not there yet: in both cases ask.
            if kind is _CANCEL:
                root = order.root_client_order_id
                self._missed[root] = self._missed.get(root, 0) + 1
            self.doubt(order, now_ns, self.times.doubt_ns)

    def _done_already(self, kind: RequestKind, order: Order, now_ns: int) -> None:
        if kind is _REPLACE and order.is_pending_replace:
            report = self.report_of(Event.REPLACED, order, 0)
            report.price_units, report.order_units = order.new_price_units, order.new_units
            self.deliver(report, now_ns)
        elif not order.is_terminal:
            self.doubt(order, now_ns, self.times.doubt_ns)

    def _obey(self, answer: Answer, request: Request, now_ns: int) -> None:
        if answer.action is Action.WAIT:
            self.rates.on_refused(
                answer.code, request.rates, request.instrument_id, now_ns + max(answer.wait_ns, 1)
            )
        if answer.action is not Action.REFUSED:
            self.on_action(answer, request.kind, now_ns)

    # ---- questions ------------------------------------------------------------------------------

    def doubt(self, order: Order, now_ns: int, delay_ns: int = 0, *, must_ask: bool = False) -> None:
        """See `CommandSender`; a replace under way is not refused before it can not arrive any more."""
        super().doubt(order, now_ns, delay_ns, must_ask=must_ask)
        found = self.doubts.find(order.root_client_order_id)
        if found is not None and order.is_pending_replace:
            times = self.times
            life_ns = round(self.protocol.request_life_s * SECOND_NS) + times.life_margin_ns
            # It may have waited to be paid for before it left.
            found.terms_ns = min(order.request_ns, now_ns) + times.new_wait_ns + life_ns

    def ask(self, now_ns: int) -> None:
        """Ask the venue about every order whose time has come."""
        for doubt in self.doubts.due(now_ns):
            if doubt.order.is_terminal and not doubt.must_ask:
                self.doubts.drop(doubt)
                self._missed.pop(doubt.order.root_client_order_id, 0)
                continue
            utc_ns, number = self.utc_ns, self._next_id
            make = self.protocol.fills_of if doubt.wants_fills else self.protocol.query
            self._ask_with(doubt, make(doubt.order, number, utc_ns), now_ns)

    def _ask_with(self, doubt: Doubt, requests: Sequence[Request], now_ns: int) -> None:
        # Paid for as a whole, and what is answered stays: asking anew each time that only a part can be paid
        # for would use up every unit as it comes, for ever.
        if not requests:  # the venue has no such question about this order any more
            self.doubts.again(doubt, now_ns)
            return
        rest = requests[doubt.sent :]
        if not rest:
            doubt.sent = 0
            self._judge(doubt, now_ns)
            return
        wait_ns = self.pay(rest, now_ns)
        if wait_ns >= 0:
            self.waits.note(_QUESTION, rest, wait_ns, now_ns)
        if wait_ns > 0:
            doubt.due_ns = now_ns + wait_ns
            return
        is_paid = wait_ns == 0  # else it is more than the lane ever has at once: one after the other
        for request in rest:
            wait_ns = self.send(request, now_ns, is_paid=is_paid)
            if not is_paid:
                self.waits.note(_QUESTION, [request], wait_ns, now_ns)
            if wait_ns > 0 and not is_paid:
                doubt.due_ns = now_ns + wait_ns
                return
            if wait_ns:
                # What was asked of it is asked again: a round is whole or not at all.
                self.doubts.again(doubt, now_ns)
                doubt.due_ns = max(doubt.due_ns, now_ns + wait_ns)
                return
            self.counts.questions += 1
            self.doubts.asked(doubt, request.request_id, now_ns)
            doubt.sent += not is_paid
        doubt.sent, doubt.wants_fills = 0, False

    def _question_answered(self, answer: Answer, now_ns: int) -> None:
        doubt = self.doubts.of_request(answer.request_id)
        if doubt is None:
            return
        if not answer.is_ok:
            self.doubts.answered(doubt, answer.request_id)
            self.doubts.again(doubt, now_ns)
            return
        root = doubt.order.root_client_order_id
        for report in answer.reports:
            report.client_order_id = report.client_order_id or root
            self.order_of(report)
            doubt.reports.append(report)
        doubt.filled_units = max(doubt.filled_units, answer.filled_units)
        if answer.is_last and self.doubts.answered(doubt, answer.request_id) and not doubt.sent:
            self._judge(doubt, now_ns)

    def _judge(self, doubt: Doubt, now_ns: int) -> None:
        for report in doubt.fills():
            self.deliver(report, now_ns, is_answer=True)
        doubt.reports = [report for report in doubt.reports if report.event not in _FILLS]
        verdict = doubt.judge()
        if verdict is Verdict.ASK_FILLS:
            doubt.fills_asked += 1
            requests = self.protocol.fills_of(doubt.order, self._next_id, self.utc_ns)
            if requests:
                doubt.wants_fills = True
                self._ask_with(doubt, requests, now_ns)
            else:
                self.doubts.again(doubt, now_ns)
            return
        state = doubt.state()
        if verdict is Verdict.ASK_AGAIN or state is None:
            self.doubts.again(doubt, now_ns, is_untold=state is None)
            return
        order = doubt.order
        was_unknown = order.status == _UNKNOWN
        self.deliver(state, now_ns, is_answer=True)
        if state.event == Event.NOT_FOUND and not order.is_terminal:
            # Denied once after it was acknowledged: UNKNOWN now, and asked once more.
            self.doubts.again(doubt, now_ns)
            return
        self._stream_due.pop(order.root_client_order_id, None)
        self.doubts.drop(doubt)
        self._answered(order, now_ns)
        self.counts.resolved += was_unknown

    # ---- time -----------------------------------------------------------------------------------

    def expire(self, now_ns: int) -> None:
        """Requests without an answer: their orders are UNKNOWN and asked about; snapshots are asked anew."""
        for sent in self.requests.overdue(now_ns):
            self.counts.timeouts += 1
            kind = sent.request.kind
            doubt = self.doubts.of_request(sent.request.request_id)
            if doubt is not None:
                self.doubts.answered(doubt, sent.request.request_id)
                self.doubts.again(doubt, now_ns)
            for order in sent.waiting.values():
                self.oms.timed_out(order, now_ns)
                if not order.is_terminal:
                    self.doubt(order, now_ns)
            self.mass.on_silence(sent.request.request_id, now_ns)
            if doubt is None and kind not in _COMMANDS:
                self.on_snapshot_failed(kind, sent.request.request_id, now_ns)

    def take_untold(self, now_ns: int) -> list[str]:
        """Orders of which the venue acknowledged something that the private stream has not told in time."""
        late = [root for root, due_ns in self._stream_due.items() if due_ns <= now_ns]
        if not late or self.state is not SessionState.UP:
            return []
        for root in late:
            del self._stream_due[root]
        return [repr(self.oms.order(root) or root) for root in late]
