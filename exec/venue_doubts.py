"""Orders whose fate only the venue knows: when each is asked, and what its answers come to.

An order comes here when a command had no answer, when the session was lost, when an answer contradicts what
we hold, or when the stream keeps silent about what was acknowledged. It leaves by the venue's word alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from exec.lifecycle import Event
from exec.order import Order
from exec.session import VenueReport

_FILLS = frozenset((int(Event.FILL_PART), int(Event.FILL_ALL)))
FILLS_ASKED_MAX = 3


class Verdict(IntEnum):
    """What follows from the answers of one round."""

    RESOLVED = 1
    ASK_FILLS = 2  # the venue has filled more than it listed
    ASK_AGAIN = 3


@dataclass(slots=True)
class Doubt:
    """One order in doubt.

    Args:
        order: of the OMS.
        due_ns: when it is asked next.
        not_found_ns: a NOT_FOUND to a question asked before that is no answer: the order may be under way.
        terms_ns: old terms in an answer to a question asked before that say nothing: a replace may be under
            way.
        must_ask: also once it is terminal, because fills may have been missed.
        asked_ns: when the first question of this round was sent, 0 = none was.
        open_requests: numbers of its questions under way.
        tries: questions so far.
        fills_asked: how often its fills were asked apart.
        wants_fills: the state is answered, the question for its fills could not be paid for yet.
        sent: of a round that could not be paid for as a whole, how many of its questions were sent; 0 = all.
        reports: answers so far, of this round.
        filled_units: what the venue says is filled in all, -1 = it did not say.
    """

    order: Order
    due_ns: int
    not_found_ns: int
    must_ask: bool = False
    terms_ns: int = 0
    asked_ns: int = 0
    open_requests: set[int] = field(default_factory=set)
    tries: int = 0
    fills_asked: int = 0
    wants_fills: bool = False
    sent: int = 0
    reports: list[VenueReport] = field(default_factory=list)
    filled_units: int = -1

    def fills(self) -> list[VenueReport]:
        """Fills among the answers."""
        return [report for report in self.reports if report.event in _FILLS]

    def state(self) -> VenueReport | None:
        """The last answer that names the order's state."""
        states = [report for report in self.reports if report.event not in _FILLS]
        return states[-1] if states else None

    def judge(self) -> Verdict:
        """Judge a round whose questions are all answered, its fills already booked."""
        state = self.state()
        if state is None:
            return Verdict.ASK_AGAIN
        if state.event == Event.NOT_FOUND and self.asked_ns < self.not_found_ns:
            return Verdict.ASK_AGAIN
        if state.event == Event.ACCEPTED and self.asked_ns < self.terms_ns and self._has_old_terms(state):
            return Verdict.ASK_AGAIN
        if self.filled_units > self.order.filled_units:
            return Verdict.ASK_FILLS if self.fills_asked < FILLS_ASKED_MAX else Verdict.ASK_AGAIN
        return Verdict.RESOLVED

    def _has_old_terms(self, state: VenueReport) -> bool:
        order = self.order
        return order.is_pending_replace and not order.has_new_terms(state.price_units, state.order_units)

    def next_round(self, due_ns: int) -> None:
        """Forget the answers and ask again later."""
        self.due_ns = due_ns
        self.asked_ns = 0
        self.open_requests.clear()
        self.reports.clear()
        self.filled_units = -1
        self.fills_asked = 0
        self.wants_fills = False
        self.sent = 0


class DoubtBook:
    """All orders in doubt, oldest first.

    Args:
        first_ns: from doubt to question, and between the first two questions.
        longest_ns: at most that long between two questions.

    Attributes:
        waits_for_list: nothing is asked yet: the venue's list of open orders may answer most of it.
    """

    def __init__(self, first_ns: int, longest_ns: int) -> None:
        self.first_ns = first_ns
        self.longest_ns = longest_ns
        self.waits_for_list = False
        self._by_root: dict[int, Doubt] = {}
        self._by_request: dict[int, Doubt] = {}

    def __len__(self) -> int:
        return len(self._by_root)

    def unanswered(self) -> int:
        """How many of them matter: an ended order does only where fills may have been missed."""
        return sum(doubt.must_ask or not doubt.order.is_terminal for doubt in self._by_root.values())

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is to be asked now."""
        return self.waits_for_list or not self._by_root

    def any_order(self) -> Order | None:
        """One of those in doubt, None if there is none."""
        return next((doubt.order for doubt in self._by_root.values()), None)

    def find(self, root: int) -> Doubt | None:
        """The doubt about an order."""
        return self._by_root.get(root)

    def of_request(self, request_id: int) -> Doubt | None:
        """The doubt whose question this was."""
        return self._by_request.get(request_id)

    def add(self, order: Order, due_ns: int, not_found_ns: int, *, must_ask: bool = False) -> Doubt:
        """Enter an order; one that is here is asked no later than either says."""
        root = order.root_client_order_id
        doubt = self._by_root.get(root)
        if doubt is None:
            doubt = self._by_root[root] = Doubt(order, due_ns, not_found_ns, must_ask)
            return doubt
        doubt.due_ns = min(doubt.due_ns, due_ns)
        doubt.not_found_ns = max(doubt.not_found_ns, not_found_ns)
        doubt.must_ask = doubt.must_ask or must_ask
        return doubt

    def asked(self, doubt: Doubt, request_id: int, now_ns: int) -> None:
        """A question about it was sent."""
        doubt.asked_ns = doubt.asked_ns or now_ns  # of the round's first one: the oldest answer counts
        doubt.open_requests.add(request_id)
        self._by_request[request_id] = doubt

    def answered(self, doubt: Doubt, request_id: int) -> bool:
        """A question was answered in full; True = none of it is under way."""
        doubt.open_requests.discard(request_id)
        self._by_request.pop(request_id, None)
        return not doubt.open_requests

    def again(self, doubt: Doubt, now_ns: int, *, is_untold: bool = False) -> None:
        """Ask again after a while that doubles, or once what was said is an answer, if that is sooner.

        Args:
            doubt: to be asked again.
            now_ns: now.
            is_untold: the venue named no state: it wants to be asked in another way, the first time at once.
        """
        for request_id in doubt.open_requests:
            self._by_request.pop(request_id, None)
        due_ns = now_ns
        if doubt.tries or not is_untold:
            due_ns += min(self.first_ns << min(doubt.tries + 1, 20), self.longest_ns)
        doubt.tries += 1
        answers = [at_ns for at_ns in (doubt.not_found_ns, doubt.terms_ns) if at_ns > now_ns]
        doubt.next_round(min([due_ns, *answers]))

    def drop(self, doubt: Doubt) -> None:
        """The venue's word is taken."""
        for request_id in doubt.open_requests:
            self._by_request.pop(request_id, None)
        self._by_root.pop(doubt.order.root_client_order_id, None)

    def forget_questions(self, now_ns: int) -> None:
        """The connection is gone: every question is to be asked anew."""
        self._by_request.clear()
        self.waits_for_list = False
        for doubt in self._by_root.values():
            doubt.next_round(now_ns)

    def due(self, now_ns: int) -> list[Doubt]:
        """Those to be asked now."""
        if self.waits_for_list:
            return []
        return [d for d in self._by_root.values() if not d.open_requests and d.due_ns <= now_ns]

    def next_due_ns(self) -> int | None:
        """When the next one is to be asked."""
        if self.waits_for_list:
            return None
        times = [d.due_ns for d in self._by_root.values() if not d.open_requests]
        return min(times) if times else None
