"""Rates of counters that only rise, from two looks at them."""

from __future__ import annotations

from collections.abc import Hashable


class Rates:
    """Remembers each counter's last value and when it was read.

    The clock is the caller's: every look passes its own time, so two counters of one screen may have been
    read at different times.
    """

    def __init__(self) -> None:
        self._last: dict[Hashable, tuple[int, int]] = {}

    def per_s(self, key: Hashable, value: int, now_ns: int) -> float | None:
        """Rise of a counter per second since the last look at it.

        Args:
            key: names the counter.
            value: what it shows now.
            now_ns: when it was read, monotonic.

        Returns:
            None at the first look, when no time has passed, or when the counter fell: it is another one then.
        """
        rise = self.rise(key, value, now_ns)
        return None if rise is None else rise[0] * 1e9 / rise[1]

    def rise(self, key: Hashable, value: int, now_ns: int) -> tuple[int, int] | None:
        """Rise of a counter and the nanoseconds it took; None as for `per_s`."""
        last = self._last.get(key)
        if last is not None and now_ns <= last[1]:
            return None
        self._last[key] = value, now_ns
        if last is None or value < last[0]:
            return None
        return value - last[0], now_ns - last[1]
