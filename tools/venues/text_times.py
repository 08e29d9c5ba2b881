"""Times inside recorded JSON whose members have names of several letters, or whose numbers are texts."""

from __future__ import annotations

import re


class TextTimes:
    """Finds and moves millisecond times under named members, wherever they stand, without changing a length.

    first: members that say when the venue sent a frame; moved: all members that are moved.
    """

    def __init__(self, first: str, moved: tuple[str, ...]) -> None:
        self._first = re.compile(rb'"%s":"?(\d{13})\b' % first.encode())
        self._moved = re.compile(rb'("(?:%s)":"?)(\d{13})\b' % "|".join(moved).encode())

    def event_ms(self, payload: bytes) -> int:
        """Return the first such time; -1 when there is none."""
        found = self._first.search(payload)
        return -1 if found is None else int(found[1])

    def shift(self, payload: bytes, delta_ms: int) -> bytes | None:
        """Return the frame with its times moved; None when that would change its length."""
        moved = self._moved.sub(lambda found: found[1] + b"%d" % (int(found[2]) + delta_ms), payload)
        return moved if len(moved) == len(payload) else None
