"""Is a book that nothing changes quiet, or has its stream fallen silent? Judged per book; no I/O, no clock.

A connection that stands and brings other books says nothing about one that it no longer brings. What can be
expected of a book is learned from itself: the longest silences between its changes, which fade with the
number of changes since. One that is quiet for some times as long may be mute. That is no proof, so first the
venue is asked (an audit against a snapshot by a request): a book that equals it is quiet, and what is usual
grows. One that is not vouched for within its limit is no longer fresh.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

FADE = 32  # of what is usual, this part goes with each change that came sooner
LEARNED = 8  # changes before something is expected of a book
ASK_SHARE = 2  # the venue is asked after this part of the limit


class Quiet(Enum):
    """What is to be thought of a book that nothing changes."""

    USUAL = auto()
    ASK = auto()  # longer than usual: ask the venue (said once for each time that this becomes true)
    MUTE = auto()  # beyond its limit, and nobody vouches for it


@dataclass(frozen=True, slots=True)
class QuietSettings:
    """How long a book may be quiet.

    Args:
        least_ns: no limit is shorter; 0 = books are not watched.
        most_ns: none is longer, and a book of which nothing is known yet has this one.
        scale: a limit is so many times the usual silence.
        repeat_ns: after so long the venue's stream repeats itself if nothing changes, 0 = it does not.
        look_ns: between two looks at every book.
        limits_ns: by symbol, in the place of what is learned; 0 = that book is not watched.
    """

    least_ns: int = 10_000_000_000
    most_ns: int = 120_000_000_000
    scale: float = 4.0
    repeat_ns: int = 0
    look_ns: int = 1_000_000_000
    limits_ns: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        least_ns = min((self.limits_ns or {}).values(), default=0)
        if self.least_ns < 0 or self.most_ns < self.least_ns or self.scale <= 1 or least_ns < 0:
            raise ValueError(f"not usable: {self}")


@dataclass(slots=True)
class _Book:
    fixed_ns: int | None
    data_ns: int = 0
    known_ns: int = 0  # when it last changed or was vouched for
    usual_ns: int = 0
    changes: int = 0
    is_asked: bool = False
    quiet_ns: int = 0  # of the silence under way, as far as it was seen


class QuietWatch:
    """Watches the books of one session.

    Args:
        settings: see there.
    """

    def __init__(self, settings: QuietSettings) -> None:
        self.settings = settings
        # A repeat may be late by half of its time: one more that does not come is what shows.
        repeat_ns = settings.repeat_ns + settings.repeat_ns // 2
        self._most_ns = min(settings.most_ns, repeat_ns) if repeat_ns else settings.most_ns
        self._books: dict[int, _Book] = {}

    @property
    def is_on(self) -> bool:
        """Whether books are watched at all."""
        return self.settings.least_ns > 0

    def add(self, instrument_id: int, symbol: str) -> None:
        """Watch a book from now on."""
        self._books[instrument_id] = _Book((self.settings.limits_ns or {}).get(symbol))

    def limit_ns(self, instrument_id: int) -> int:
        """How long a book may be quiet now, 0 = for ever."""
        book, s = self._books[instrument_id], self.settings
        if book.fixed_ns is not None:
            return book.fixed_ns
        if book.changes < LEARNED:
            return self._most_ns
        return round(min(max(book.usual_ns * s.scale, s.least_ns), self._most_ns))

    def look(self, instrument_id: int, data_ns: int, now_ns: int) -> Quiet:
        """Judge a book that should be LIVE.

        Args:
            instrument_id: the book.
            data_ns: when its last update was received.
            now_ns: now.
        """
        book = self._books[instrument_id]
        if data_ns != book.data_ns:
            self._learn(book, book.quiet_ns)
            book.data_ns = book.known_ns = data_ns
            book.is_asked = False
        book.quiet_ns = now_ns - data_ns
        limit_ns = self.limit_ns(instrument_id)
        unknown_ns = now_ns - book.known_ns
        if not limit_ns or unknown_ns <= limit_ns // ASK_SHARE:
            return Quiet.USUAL
        if unknown_ns > limit_ns:
            return Quiet.MUTE
        if book.is_asked:
            return Quiet.USUAL  # the answer is on its way
        book.is_asked = True
        return Quiet.ASK

    @staticmethod
    def _learn(book: _Book, quiet_ns: int) -> None:
        book.changes += 1
        faded_ns = book.usual_ns - book.usual_ns // FADE
        book.usual_ns = max(quiet_ns, faded_ns)

    def vouch(self, instrument_id: int, now_ns: int) -> None:
        """Note that the venue itself says what the book says: so long a silence is usual for it."""
        book = self._books[instrument_id]
        book.usual_ns = max(book.usual_ns, book.quiet_ns)
        book.known_ns, book.is_asked = now_ns, False

    def begin(self, instrument_id: int, now_ns: int) -> None:
        """Note that a book has just been proven: its silence begins anew."""
        book = self._books[instrument_id]
        book.known_ns, book.is_asked, book.quiet_ns = now_ns, False, 0
