"""A lane of a bucket in the run's shared rate ledger, as the budget of one sender (`throttle.Budget`)."""

from __future__ import annotations

from collections.abc import Callable

from shm.enums import RateLane, RateStop
from shm.rate_ledger import NEVER, RateLedger


class LedgerBudget:
    """One lane of one bucket, shared with every process of the run.

    Args:
        ledger: of the run.
        bucket: number of the bucket.
        lane: whose share may be used.
        stop: what a refusal of the venue to this caller stops; by default all requests from the address.
        utc_ns: wall clock, for a venue whose windows begin at whole multiples of their length on its clock;
            None = when its windows begin is not known.
    """

    def __init__(
        self,
        ledger: RateLedger,
        bucket: int,
        lane: RateLane,
        *,
        stop: RateStop = RateStop.ADDRESS,
        utc_ns: Callable[[], int] | None = None,
    ) -> None:
        self.ledger = ledger
        self.bucket = bucket
        self.lane = lane
        self._stop = stop
        self._utc_ns = utc_ns
        self._window_ns = next(
            rule.window_ns for rule in ledger.rule_views() if 0 <= bucket - rule.first < rule.buckets
        )

    def take(self, now_ns: int, count: int = 1) -> bool:
        """Take `count` units, all or none; False = refused for now."""
        return self.ledger.take(self.bucket, self.lane, count, now_ns) == 0

    def next_ns(self, now_ns: int, count: int = 1) -> int:
        """Time from which it is worth asking again; `now_ns` if already, -1 if more than the lane's share."""
        wait_ns = self.ledger.wait_ns(self.bucket, self.lane, count, now_ns)
        return -1 if wait_ns == NEVER else now_ns + wait_ns

    def observe_used(self, now_ns: int, used: int, sent_ns: int | None = None) -> None:
        """Learn how much the venue says was used in its window.

        Args:
            now_ns: now.
            used: by the venue's header.
            sent_ns: when the request was sent: its window is the one the venue speaks of, or an older one.
        """
        since_ns = None
        if self._utc_ns is not None:
            sent_ns = now_ns if sent_ns is None else sent_ns
            since_ns = sent_ns - (self._utc_ns() - (now_ns - sent_ns)) % self._window_ns
        self.ledger.correct(self.bucket, used, now_ns, since_ns)

    def on_refused(self, until_ns: int) -> None:
        """Obey a refusal of the venue: whoever it concerns, in any process, is granted nothing before."""
        self.ledger.penalize(self.bucket, until_ns, self._stop)
