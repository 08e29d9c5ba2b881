"""When a feed may judge by time: a timer that comes late knows less than what waits in the sockets.

A process that did not run for a while (a busy machine, a stopped process) finds its timer and its sockets due
at once. Had the timer the first word, every line would be silent and every book old that was only not read.
So a late timer judges nothing: until its next call each socket has its turn. What is silent then was silent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Look(NamedTuple):
    """What a look at the clock shows.

    Attributes:
        has_leaped: a clock leaped, or this process stood still for long: no book is fresh.
        stood_still: this process did, for a while; `doubt_since_ns` follows with the next look.
        is_early: what came meanwhile is not read yet; silence and time limits are not judged now.
        doubt_since_ns: lines that have brought nothing since then are no proof of anything; None = no doubt.
    """

    has_leaped: bool = False
    stood_still: bool = False
    is_early: bool = False
    doubt_since_ns: int | None = None


class ClockWatch:
    """Sees the clock, or this process, stand still or leap.

    Args:
        limit_ns: how late a timer may come, how far the wall clock may move against ours; 0 = not watched.
        utc_ns: wall clock; None = not watched.
        late_ns: from how late on a timer judges nothing; 0 = it always judges.
        long_ns: from how late on nothing is taken for unbroken any more, whatever comes; 0 = never.
    """

    def __init__(
        self, limit_ns: int, utc_ns: Callable[[], int] | None, *, late_ns: int = 0, long_ns: int = 0
    ) -> None:
        self.limit_ns, self.late_ns, self.long_ns = limit_ns, late_ns, long_ns
        self._utc_ns = utc_ns
        self._last_ns: int | None = None
        self._offset_ns: int | None = None
        self._is_early = False
        self._doubt_since_ns: int | None = None

    def look(self, now_ns: int) -> Look:
        """Say what happened since the last call, and whether this one may judge."""
        last, self._last_ns = self._last_ns, now_ns
        passed_ns = 0 if last is None else now_ns - last
        # Between two calls every socket had its turn, so the second in a row judges even if it is late too.
        self._is_early = 0 < self.late_ns < passed_ns and not self._is_early
        if self._has_leaped(now_ns, passed_ns):
            self._doubt_since_ns = None
            return Look(has_leaped=True, is_early=self._is_early)
        stood_still = 0 < self.limit_ns < passed_ns
        if stood_still:
            # What was read just before the timer counts, what came before the standstill does not.
            self._doubt_since_ns = now_ns - self.limit_ns // 2
        if self._is_early:
            return Look(stood_still=stood_still, is_early=True)
        doubt, self._doubt_since_ns = self._doubt_since_ns, None
        return Look(stood_still=stood_still, doubt_since_ns=doubt)

    def _has_leaped(self, now_ns: int, passed_ns: int) -> bool:
        has_leaped = passed_ns < 0 or 0 < self.long_ns < passed_ns
        if self._utc_ns is not None:
            offset = self._utc_ns() - now_ns
            was, self._offset_ns = self._offset_ns, offset
            has_leaped |= was is not None and abs(offset - was) > self.limit_ns
        return has_leaped and self.limit_ns > 0
