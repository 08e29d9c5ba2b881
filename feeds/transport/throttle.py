"""Budgets in integers: how many requests of some weight may be sent now. No clock, no I/O."""

from __future__ import annotations

from collections import deque
from typing import Protocol

SECOND_NS = 1_000_000_000
TOKEN = SECOND_NS**2  # one token in the level's unit


class Budget(Protocol):
    """What a sender of requests asks before each of them."""

    def take(self, now_ns: int, count: int = 1) -> bool:
        """Take `count`, all or none; False = refused for now."""

    def next_ns(self, now_ns: int, count: int = 1) -> int:
        """Time from which `count` can be taken; `now_ns` if already, -1 if never."""

    def observe_used(self, now_ns: int, used: int, sent_ns: int | None = None) -> None:
        """Correct by what the venue says was used: others share the address.

        Args:
            now_ns: now.
            used: by the venue's word.
            sent_ns: when the request was sent whose answer says so; None = just now.
        """


class WindowBudget:
    """At most `limit` within any `window_ns`, as a venue counts an address, over all that is sent there.

    A token bucket that allows a whole minute's weight at once and refills meanwhile allows nearly twice as
    much in the venue's minute; this never does, whenever that minute begins.

    Args:
        limit: weight within a window.
        window_ns: how long a window is.
        margin_ns: what was sent counts for so much longer: requests may reach the venue closer together than
            they were sent.
    """

    def __init__(self, limit: int, window_ns: int, margin_ns: int = SECOND_NS // 4) -> None:
        if limit < 1 or window_ns < 1 or margin_ns < 0:
            raise ValueError(
                f"limit {limit} and window {window_ns} must be at least 1, margin {margin_ns} not negative"
            )
        self.limit, self._window_ns = limit, window_ns + margin_ns
        self._sent: deque[tuple[int, int]] = deque()
        self.used = 0
        self.granted = 0
        self.refused = 0

    def _forget(self, now_ns: int) -> None:
        while self._sent and now_ns - self._sent[0][0] >= self._window_ns:
            self.used -= self._sent.popleft()[1]

    def available(self, now_ns: int) -> int:
        """What could be taken now."""
        self._forget(now_ns)
        return max(self.limit - self.used, 0)

    def take(self, now_ns: int, count: int = 1) -> bool:
        """Take `count`, all or none; False = refused for now."""
        if self.available(now_ns) < count:
            self.refused += 1
            return False
        self._note(now_ns, count)
        self.granted += count
        return True

    def _note(self, now_ns: int, count: int) -> None:
        self._sent.append((now_ns, count))
        self.used += count

    def next_ns(self, now_ns: int, count: int = 1) -> int:
        """Time from which `count` can be taken; `now_ns` if already, -1 if never."""
        missing = count - self.available(now_ns)
        if missing <= 0:
            return now_ns
        if count > self.limit:
            return -1
        for sent_ns, weight in self._sent:
            missing -= weight
            if missing <= 0:
                return sent_ns + self._window_ns
        return -1

    def observe_used(self, now_ns: int, used: int, sent_ns: int | None = None) -> None:  # noqa: ARG002
        """Correct by what the venue says was used within its window: others share the address."""
        self._forget(now_ns)
        if used > self.used:
            self._note(now_ns, used - self.used)


class TokenBucket:
    """Budget of `capacity` tokens that refills at `per_second` tokens a second.

    Time is given with each call, never read, so that it runs as well on a virtual clock; a time earlier than
    the last one refills nothing. The level is kept in tokens × 10^18, in which every refill is a whole
    number.

    Args:
        capacity: most tokens held at once; the bucket starts full.
        per_second: refill, may be a fraction.
    """

    def __init__(self, capacity: int, per_second: float) -> None:
        if capacity < 1 or per_second < 0:
            raise ValueError(
                f"capacity {capacity} must be at least 1 and per_second {per_second} not negative"
            )
        self.capacity = capacity
        self._refill_e9 = round(per_second * SECOND_NS)
        self._level = capacity * TOKEN
        self._seen_ns: int | None = None
        self.granted = 0
        self.refused = 0

    def _refill(self, now_ns: int) -> None:
        if self._seen_ns is None:
            self._seen_ns = now_ns
        elif now_ns > self._seen_ns:
            self._level = min(self._level + (now_ns - self._seen_ns) * self._refill_e9, self.capacity * TOKEN)
            self._seen_ns = now_ns

    def available(self, now_ns: int) -> int:
        """Whole tokens that could be taken now."""
        self._refill(now_ns)
        return max(self._level, 0) // TOKEN

    def take(self, now_ns: int, count: int = 1) -> bool:
        """Take `count` tokens, all or none; False = refused for now."""
        self._refill(now_ns)
        if self._level < count * TOKEN:
            self.refused += 1
            return False
        self._level -= count * TOKEN
        self.granted += 1
        return True

    def give_back(self, count: int = 1) -> None:
        """Put tokens back that were taken but not used."""
        self._level = min(self._level + count * TOKEN, self.capacity * TOKEN)

    def next_ns(self, now_ns: int, count: int = 1) -> int:
        """Time from which `count` tokens can be taken; `now_ns` if already, -1 if never."""
        self._refill(now_ns)
        missing = count * TOKEN - self._level
        if missing <= 0:
            return now_ns
        if count > self.capacity or not self._refill_e9:
            return -1
        return now_ns - (-missing // self._refill_e9)

    def observe_used(self, now_ns: int, used: int, sent_ns: int | None = None) -> None:  # noqa: ARG002
        """Correct the level by what the venue says was used of the capacity: others share the address.

        Only ever lowers the level; the venue's window and our refill bring it back.
        """
        self._refill(now_ns)
        self._level = min(self._level, (self.capacity - used) * TOKEN)
