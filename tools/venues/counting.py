"""Limits on how often something may be done: so many times in any window of so many seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class WindowLimit:
    """At most `count` times in any `period_s` seconds."""

    def __init__(self, count: int, period_s: float, now_s: Callable[[], float]) -> None:
        self.count = count
        self.period_s = period_s
        self._now_s = now_s
        self._times: deque[float] = deque()

    def take(self) -> bool:
        """Count one more and return True, or False when there were too many already."""
        now = self._now_s()
        while self._times and now - self._times[0] >= self.period_s:
            self._times.popleft()
        if len(self._times) >= self.count:
            return False
        self._times.append(now)
        return True

    @property
    def left(self) -> int:
        """How many more there may be now."""
        return self.count - len(self._times)
