"""Is a venue open, by its own word? No I/O, no clock."""

from __future__ import annotations

from feeds.adapter import Notice, NoticePhase


class Maintenance:
    """What a venue said last of a maintenance of itself.

    It begins with the venue's word, and ends with it: that it is over, or the time that it named for that.
    """

    def __init__(self) -> None:
        self.is_closed = False
        self.text = ""
        self.closures = 0
        self._end_utc_ns = 0

    def take(self, notice: Notice) -> bool:
        """Take a notice; True = the venue closed or opened with it."""
        if notice.topic != "status" or notice.phase in (None, NoticePhase.SCHEDULED):
            return False
        was_closed, self.is_closed = self.is_closed, notice.phase is NoticePhase.STARTED
        self.text, self._end_utc_ns = notice.text, notice.end_utc_ns
        self.closures += self.is_closed and not was_closed
        return self.is_closed is not was_closed

    def on_time(self, utc_ns: int) -> bool:
        """Take the time; True = what the venue named as the end is over, and it said nothing else since."""
        if not self.is_closed or not 0 < self._end_utc_ns < utc_ns:
            return False
        self.is_closed = False
        return True
