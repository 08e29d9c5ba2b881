"""What a session has to report: counts, gaps, rejections, errors and notices; the newest are kept."""

from __future__ import annotations

from collections import deque

from feeds.adapter import ControlEvent, Notice
from feeds.settings import COUNTS, Gap, Rejection, SessionSettings

KEPT_FRAME_BYTES = 512
UNKNOWN_SYMBOLS_MAX = 1000


class Findings:
    """Lists and counts of one session."""

    def __init__(self, settings: SessionSettings) -> None:
        self.gaps: deque[Gap] = deque(maxlen=settings.gaps_kept)
        self.rejections: deque[Rejection] = deque(maxlen=settings.rejections_kept)
        self.control_errors: deque[str] = deque(maxlen=settings.rejections_kept)
        self.notices: deque[Notice] = deque(maxlen=settings.rejections_kept)
        self.unknown_symbols: dict[str, int] = {}
        # Newest notice about something, and the connection that brought it first.
        self._told: dict[tuple[str, str], tuple[str, int]] = {}
        self.counts: dict[str, int] = dict.fromkeys(COUNTS, 0)

    def reject(self, error: str, frame: bytes, frame_ns: int, connection: int) -> None:
        """Keep a frame that was refused, cut to its first bytes."""
        self.counts["rejected"] += 1
        self.rejections.append(Rejection(frame_ns, connection, error, frame[:KEPT_FRAME_BYTES]))

    def unknown(self, error: str) -> None:
        """Count a frame of a symbol that is not ours, by its name."""
        self.counts["unknown_symbols"] += 1
        name = error.partition("'")[2].rstrip("'") or error
        if name in self.unknown_symbols or len(self.unknown_symbols) < UNKNOWN_SYMBOLS_MAX:
            self.unknown_symbols[name] = self.unknown_symbols.get(name, 0) + 1

    def control(self, event: ControlEvent, connection: int = 0) -> list[Notice]:
        """Note the answer to a request and what the venue says of itself: once, over however many lines.

        Returns:
            The notices that are new.
        """
        new = []
        self.counts["control"] += 1
        if event.is_error:
            self.counts["control_errors"] += 1
            self.control_errors.append(f"request {event.request_id}: code {event.code}: {event.text}")
        for notice in event.notices:
            about = (notice.topic, notice.symbol)
            text, first = self._told.get(about, ("", connection))
            if text == notice.text and first != connection:
                continue
            self._told[about] = (notice.text, connection)
            self.counts["notices"] += 1
            self.notices.append(notice)
            new.append(notice)
        return new

    def gap(self, gap: Gap) -> None:
        """Note a break in a depth stream."""
        self.counts["gaps"] += 1
        self.gaps.append(gap)
