"""Rate limits as venues count them: in fixed windows of the clock, what was used so far."""

from __future__ import annotations


class FixedWindow:
    """At most `limit` in each window of `seconds` of the venue's clock; 0 = no limit, it only counts."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self.used = 0
        self.refused = 0
        self.used_max = 0
        self._window = -1

    def turn(self, now_s: float) -> None:
        """Begin a new window if it is time."""
        window = int(now_s // self.seconds)
        if window != self._window:
            self._window = window
            self.used = 0

    def take(self, weight: int, now_s: float) -> bool:
        """Count `weight`, also when it is too much; False in that case."""
        self.turn(now_s)
        self.used += weight
        self.used_max = max(self.used_max, self.used)
        if not self.limit or self.used <= self.limit:
            return True
        self.refused += 1
        return False

    def left_s(self, now_s: float) -> float:
        """Seconds until the next window."""
        return self.seconds - now_s % self.seconds
