"""The comparing half of a venue session: rounds of snapshots, what they differ in, the repairs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import suppress

from exec.discrepancy import GRACE_NS, Discrepancy, DiscrepancyKind, Repair
from exec.entries import EntryWriter
from exec.lifecycle import Event
from exec.order_protocol import (
    BalanceWord,
    ControlWord,
    OpenOrderWord,
    PositionWord,
    Request,
    RequestKind,
)
from exec.repairs import repair
from exec.session import VenueReport
from exec.venue_answers import WordTaker
from exec.venue_comparison import ROUNDS_TOLD, Comparison, Outcome
from exec.venue_states import SessionEvent
from exec.venues.digests import number63
from shm.errors import JournalError

_ROUND = "the lists of a comparison"
OPENING = frozenset((RequestKind.SERVER_TIME, RequestKind.LISTEN_KEY, RequestKind.ACCOUNT))


class Comparer(WordTaker):
    """The half of `exec.venue_session.VenueSession` that compares both views; see there."""

    comparison: Comparison
    balances: dict[str, BalanceWord]
    entries: EntryWriter | None
    #: The venues of this account.
    _venue_ids: frozenset[int]
    #: When the next round begins; None = never.
    _compare_due_ns: int | None
    #: When what the sockets need is asked for again.
    _open_again_ns: int | None
    #: When the listen key is kept alive next.
    _keep_due_ns: int | None
    #: What the sockets need and was asked for, by request.
    _opening: set[int]

    @abstractmethod
    def _step(self, event: SessionEvent) -> bool:
        """Go to the state that an event leads to; returns whether it is another one."""

    @property
    def account(self) -> int:
        """How the journal names this account: the lowest of its venue ids."""
        return min(self._venue_ids)

    def begin_behind(self, agreed_utc_ns: int) -> None:
        """Both views were the same at a time, by the venue's clock; 0 = nobody knows: they are from now on.

        Behind a restart the first round also asks which fills there were since: what was bought and sold
        again by hand leaves no other trace. Where that costs more than the rest of the round (a venue that
        lists fills by symbol, and many symbols), only if positions differ.
        """
        self.comparison.agreed_utc_ns = agreed_utc_ns or self.utc_ns
        if agreed_utc_ns:
            fills, *rest = (
                _cost(self.protocol.snapshot(kind, self._next_id, self.utc_ns, since_utc_ns=agreed_utc_ns))
                for kind in (RequestKind.FILLS, RequestKind.OPEN_ORDERS, RequestKind.POSITIONS)
            )
            self.comparison.wants_fills = fills <= sum(rest)

    def on_row(self, word: OpenOrderWord | PositionWord | BalanceWord, request_id: int, now_ns: int) -> None:
        """See `WordTaker`."""
        del now_ns
        if isinstance(word, BalanceWord):
            self.balances[word.asset] = word
        elif self.comparison.is_asked(request_id):
            self.comparison.add(word)

    def on_listed_fill(self, report: VenueReport, request_id: int, now_ns: int) -> None:
        """See `WordTaker`."""
        del now_ns
        if self.comparison.is_asked(request_id):
            self.order_of(report)
            self.comparison.add_fill(report)

    def on_snapshot_failed(self, kind: RequestKind, request_id: int, now_ns: int) -> None:
        """See `WordTaker`; what was asked for a round or a connection that is over means nothing any more."""
        if self.comparison.is_asked(request_id):
            self._fail_round(now_ns + self.times.sync_retry_ns)
        elif request_id in self._opening:
            self._open_again_ns = now_ns + self.times.open_retry_ns
        elif kind is RequestKind.LISTEN_KEY_KEEP:
            self._keep_due_ns = now_ns + self.times.open_retry_ns

    def _fail_round(self, again_ns: int) -> None:
        self.comparison.fail()
        self.doubts.waits_for_list = False
        self._compare_due_ns = again_ns

    def _tell_wait(self, text: str) -> None:
        if not self.is_connected:
            self.on_event("rate", f"{self.protocol.name}: {text}")

    def on_foreign_fee(self, found: Discrepancy, now_ns: int) -> None:
        """See `WordTaker`: a discrepancy by name, journaled; there is nothing to repair."""
        self.counts.discrepancies += 1
        text = f"a fee was paid in {found.asset}; the books hold the instrument's own rate instead"
        self.on_event("fee", f"{self.protocol.name}: {text}")
        repair(found, self.oms, self.entries, now_ns)

    def on_gap(self, now_ns: int) -> None:
        """See `WordTaker`: a comparison finds what was said there, once all that is out can be missed."""
        self.comparison.wants_fills = True
        due_ns = now_ns + GRACE_NS + self.times.doubt_ns
        if self._compare_due_ns is None or due_ns < self._compare_due_ns:
            self._compare_due_ns = due_ns

    # ---- the list before the questions ----------------------------------------------------------

    def _begin_to_compare(self, now_ns: int) -> None:
        """The session can reach the venue: ask for what is open, or about each order, whatever costs less.

        Everything that happens from here on the private stream tells, so a list is as good as an answer.
        """
        self._compare_due_ns = now_ns
        order = self.doubts.any_order()
        if order is None:
            return
        listing = self.protocol.snapshot(RequestKind.OPEN_ORDERS, self._next_id, self.utc_ns)
        question = self.protocol.query(order, self._next_id, self.utc_ns)
        self.doubts.waits_for_list = _cost(listing) < len(self.doubts) * _cost(question)

    def _take_list(self, now_ns: int) -> None:
        """Orders that the venue lists are answered; about all others it is asked."""
        self.doubts.waits_for_list = False
        self._compare_due_ns = now_ns
        for row in self.comparison.open_orders():
            order = self.oms.order(row.client_order_id)
            doubt = None if order is None else self.doubts.find(order.root_client_order_id)
            if order is None or doubt is None:
                continue
            report = VenueReport(
                Event.ACCEPTED,
                order.root_client_order_id,
                row.instrument_id,
                row.side,
                venue_order_id=number63(row.venue_order_id),
                price_units=row.price_units,
                order_units=row.order_units,
            )
            self.order_of(report)
            doubt.asked_ns = self.comparison.asked_ns
            doubt.reports.append(report)
            doubt.filled_units = row.filled_units
            self._judge(doubt, now_ns)

    # ---- rounds ---------------------------------------------------------------------------------

    def _compare(self, now_ns: int) -> None:
        """Begin a round, or go on with one whose requests could not be paid for all at once."""
        self._compare_due_ns = now_ns + self.times.sync_retry_ns
        comparison = self.comparison
        if comparison.unsent:
            self._send_parts(now_ns)
            return
        begun: list[Request] = []
        parts: list[tuple[RequestKind, int, str]] = []
        for kind in [RequestKind.OPEN_ORDERS] if self.doubts.waits_for_list else comparison.kinds():
            asked = self._lists(kind)
            self._next_id += len(asked)
            begun += asked
            parts += [(kind, index, "") for index in range(len(asked))]
        wait_ns = self.pay(begun, now_ns)
        if wait_ns:
            # One by one, and what was asked stays asked: the whole may be more than the lane ever has
            # at once, or than is ever left at once beside the lanes before it.
            comparison.begin_in_parts(parts, now_ns, self.utc_ns)
            self._send_parts(now_ns)
            return
        self.waits.note(_ROUND, begun, 0, now_ns)
        for request in begun:
            if self.send(request, now_ns, is_paid=True):
                self.doubts.waits_for_list = False
                return
        comparison.begin(((one.request_id, one.kind) for one in begun), now_ns, self.utc_ns)

    def _lists(self, kind: RequestKind, cursor: str = "") -> Sequence[Request]:
        since = self.comparison.agreed_utc_ns
        return self.protocol.snapshot(kind, self._next_id, self.utc_ns, since_utc_ns=since, cursor=cursor)

    def _send_parts(self, now_ns: int) -> None:
        """Send what can be paid for of a round; the rest goes on waiting for its turn."""
        comparison = self.comparison
        while comparison.unsent:
            kind, index, cursor = comparison.unsent[0]
            made = self._lists(kind, cursor)[index:]  # made now: it bears its time
            if not made:
                self._fail_round(now_ns + self.times.sync_retry_ns)
                return
            request = made[0]
            wait_ns = self.send(request, now_ns)
            self.waits.note(_ROUND, [request], wait_ns, now_ns, len(comparison.unsent) - 1)
            if wait_ns > 0:
                self._compare_due_ns = now_ns + wait_ns
                return
            if wait_ns:
                self._fail_round(now_ns + self.times.doubt_max_ns)
                return
            comparison.part_sent(request.request_id)

    def _next_page(self, word: ControlWord, now_ns: int) -> None:
        kind = self.comparison.kind_of(word.request_id)
        self.requests.settle(word.request_id)
        if kind is None:
            return
        # A page that can not be paid for yet waits: asking the pages before it again would cost as much.
        self.comparison.more(word.request_id, kind, word.text)
        self._send_parts(now_ns)

    def _snapshot_end(self, request_id: int, now_ns: int) -> None:
        self.requests.settle(request_id)
        if not self.comparison.end(request_id):
            return
        if self.doubts.waits_for_list:
            self._take_list(now_ns)
        else:
            self.comparison.name_fills(self._roots)
            self._repair(self.comparison.judge(), now_ns)

    def _repair(self, outcome: Outcome, now_ns: int) -> None:
        self.counts.foreign_orders = self.comparison.foreign
        for found in outcome.found:
            self.counts.discrepancies += 1
            self.counts.external_fills += found.kind == DiscrepancyKind.EXTERNAL_FILL
            name, what = DiscrepancyKind(found.kind).name, Repair(found.repair).name
            self.on_event("discrepancy", f"{self.protocol.name}: {name} → {what}: {found}")
            left = repair(found, self.oms, self.entries, now_ns)
            order = self.oms.order(found.client_order_id)
            if left in (Repair.ASK, Repair.ASK_FILLS) and order is not None:
                self.doubt(order, now_ns, must_ask=True)
        if outcome.ghosts:
            self.counts.ghosts_canceled += len(outcome.ghosts)
            for request in self.protocol.cancel_foreign(outcome.ghosts, self._next_id, self.utc_ns):
                self.send(request, now_ns)
        if outcome.is_agreed:
            self._compare_due_ns = now_ns + self.times.compare_ns if self.times.compare_ns else None
            self._journal_agreement(now_ns)
            self.waits.agreed()
            self._step(SessionEvent.SYNCED)
            return
        if self.comparison.rounds % ROUNDS_TOLD == 0:
            self.on_event(
                "unsettled", f"{self.protocol.name}: {self.comparison.rounds} rounds without agreement"
            )
        self._compare_due_ns = now_ns + self.times.doubt_ns

    def _journal_agreement(self, now_ns: int) -> None:
        if self.entries is None:
            return
        # Full: the next start then asks for fills from an earlier time on; what is booked stays booked once.
        with suppress(JournalError):
            self.entries.agreed(self.account, self.comparison.agreed_utc_ns, now_ns)


def _cost(requests: Iterable[Request]) -> int:
    """What requests take of the venue's limits, in units of whatever it counts."""
    return sum(weight for request in requests for _, weight in request.rates)
