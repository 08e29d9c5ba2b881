"""Requests that wait for the venue's answer, with a time limit each; late answers are still understood."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from exec.order import Order
from exec.order_protocol import Request

#: An answer is understood for so many time limits after it was due.
LATE_FACTOR = 16


@dataclass(slots=True)
class Sent:
    """A request on its way.

    Args:
        request: as sent.
        sent_ns: when.
        due_ns: until when its answer is waited for.
        waiting: its orders without an answer yet, by root client order id.
        is_overdue: nobody waits any more, its answer is late.
    """

    request: Request
    sent_ns: int
    due_ns: int
    waiting: dict[int, Order] = field(default_factory=dict)
    is_overdue: bool = False


class RequestBook:
    """All requests on their way."""

    def __init__(self) -> None:
        self._sent: dict[int, Sent] = {}
        self._due: list[tuple[int, int]] = []
        #: Root ids of orders with a command under way by REST: another socket would overtake it.
        self.slow: dict[int, int] = {}

    def add(self, sent: Sent) -> None:
        """Enter a request that was just sent."""
        number = sent.request.request_id
        self._sent[number] = sent
        heapq.heappush(self._due, (sent.due_ns, number))

    def find(self, request_id: int) -> Sent | None:
        """The request of an answer, overdue ones included."""
        return self._sent.get(request_id)

    def settle(self, request_id: int) -> None:
        """It is answered in full."""
        sent = self._sent.pop(request_id, None)
        if sent is not None:
            self._forget_slow(sent)

    def _forget_slow(self, sent: Sent) -> None:
        for root in sent.request.order_ids:
            if self.slow.get(root) == sent.request.request_id:
                del self.slow[root]

    def overdue(self, now_ns: int) -> list[Sent]:
        """Requests whose time has run out since the last call; each is told once."""
        found = []
        while self._due and self._due[0][0] <= now_ns:
            _, number = heapq.heappop(self._due)
            sent = self._sent.get(number)
            if sent is None:
                continue
            if sent.is_overdue:
                del self._sent[number]
                continue
            sent.is_overdue = True
            self._forget_slow(sent)
            limit_ns = sent.due_ns - sent.sent_ns
            heapq.heappush(self._due, (now_ns + LATE_FACTOR * limit_ns, number))
            found.append(sent)
        return found

    def next_due_ns(self) -> int | None:
        """When the next one's time runs out."""
        while self._due and self._due[0][1] not in self._sent:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def pending(self) -> list[Sent]:
        """Those that are still waited for."""
        return [sent for sent in self._sent.values() if not sent.is_overdue]

    def abandon(self) -> None:
        """The connection is gone: nobody waits any more, but an answer by REST is still understood."""
        for sent in self._sent.values():
            sent.is_overdue = True
        self.slow.clear()
