"""Naive twins of the rate ledger: one bucket in exact fractions, and counting as venues count."""

from __future__ import annotations

from bisect import bisect_left
from fractions import Fraction

NEVER = -1


class NaiveBucket:
    """A leaking bucket: so many units stand in it, one flows off in each interval.

    Args:
        burst: units it holds.
        interval_ns: in which a unit flows off.
        kept: by lane, 256ths of the burst kept for the lanes before it.
    """

    def __init__(self, burst: int, interval_ns: int, kept: tuple[int, ...]) -> None:
        self.shares = [max(burst - -(-burst * k // 256), 1) for k in kept]
        self.interval_ns = interval_ns
        self.level = Fraction(0)
        self.seen_ns: int | None = None
        self.stop_ns = [0] * len(kept)

    def _flow(self, now_ns: int) -> Fraction:
        """Units in it at `now_ns`, which may lie before the last time seen."""
        if self.seen_ns is None:
            return Fraction(0)
        return max(self.level - Fraction(now_ns - self.seen_ns, self.interval_ns), Fraction(0))

    def wait_ns(self, lane: int, weight: int, now_ns: int) -> int:
        if weight > self.shares[lane]:
            return NEVER
        over = (self._flow(now_ns) + weight - self.shares[lane]) * self.interval_ns
        assert over.denominator == 1
        return max(int(over), self.stop_ns[lane] - now_ns, 0)

    def take(self, lane: int, weight: int, now_ns: int) -> int:
        wait = self.wait_ns(lane, weight, now_ns)
        if wait == 0:
            self.level, self.seen_ns = self._flow(now_ns) + weight, now_ns
        return wait

    def correct(self, used: int, since_ns: int, now_ns: int) -> None:
        """As if the venue's `used` had been taken here at the begin of its window."""
        level = used - Fraction(now_ns - since_ns, self.interval_ns)
        if level > self._flow(now_ns):
            self.level, self.seen_ns = level, now_ns


class CountingVenue:
    """Counts as venues do: within fixed windows of a phase of its own, or within any window (rolling)."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, int]] = []

    def add(self, at_ns: int, weight: int) -> None:
        self.taken.append((at_ns, weight))

    def most_in_any(self, window_ns: int) -> int:
        """The most units within a closed window of that length, wherever it begins."""
        self.taken.sort()
        times = [at for at, _ in self.taken]
        total = [0]
        for _, weight in self.taken:
            total.append(total[-1] + weight)
        return max(
            (total[i + 1] - total[bisect_left(times, times[i] - window_ns)] for i in range(len(times))),
            default=0,
        )

    def most_in_fixed(self, window_ns: int, phase_ns: int) -> int:
        """The most units within [phase + k * window, phase + (k + 1) * window)."""
        sums: dict[int, int] = {}
        for at, weight in self.taken:
            window = (at - phase_ns) // window_ns
            sums[window] = sums.get(window, 0) + weight
        return max(sums.values(), default=0)
