"""Does a book equal what the venue says over another way? The comparison of an audit; no I/O, reads no clock.

A snapshot of a REST interface is of some moment between its request and its answer, the stream runs on
meanwhile, and numbers of the two need not join. So nothing is rolled forward: from just before the request on
it is noted which prices the stream touches. A price that was not touched has had one quantity all the time,
whatever moment the snapshot is of, as long as that moment lies within the time watched (`AuditWindow`). A
level that is wrong stays wrong until it is touched, and being touched sets it right: quantities are absolute.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from feeds.known_range import WHOLE, KnownRange

Levels = Sequence[tuple[int, int]]


class Verdict(Enum):
    """What an audit says of a book."""

    EQUAL = auto()
    DIFFERENT = auto()  # at least one level is not what the venue says
    NOT_COMPARABLE = auto()  # nothing is said: to be tried again


class VenueBook(NamedTuple):
    """A snapshot by a request, best levels first, in the instrument's units.

    `sequence` is 0 where its numbers are not those of the stream; then `venue_utc_ns` places it (0 = it tells
    no time).
    """

    sequence: int
    venue_utc_ns: int
    bids: Levels
    asks: Levels


class LevelDifference(NamedTuple):
    """One level, as we hold it and as the venue says; quantity 0 = there is none."""

    side: int  # 0 bid, 1 ask
    price_units: int
    ours: int
    theirs: int


class AuditResult(NamedTuple):
    """Outcome of one comparison."""

    verdict: Verdict
    compared: int = 0  # levels
    differences: tuple[LevelDifference, ...] = ()
    reason: str = ""  # why it is not comparable


def compare_side(
    side: int, ours: Levels, theirs: Levels, touched: Collection[int], known: int | None = None
) -> tuple[int, list[LevelDifference]]:
    """Compare one side where both know it: not beyond the worst price of either, unless a side is empty.

    A snapshot is shallower or deeper than our book, and a stream may carry only so many levels.

    Args:
        side: 0 bid, 1 ask.
        ours: levels, best first.
        theirs: the venue's.
        touched: prices that are not compared.
        known: worst price that our own snapshot knew, None = all are known.

    Returns:
        How many prices were compared, and the differences, best first.
    """
    sign = 1 if side else -1
    ends = [max(sign * price for price, _ in levels) for levels in (ours, theirs) if levels]
    if known is not None:
        ends.append(sign * known)
    end = min(ends, default=0)
    mine, other = dict(ours), dict(theirs)
    prices = [p for p in mine.keys() | other.keys() if sign * p <= end and p not in touched]
    wrong = [p for p in prices if mine.get(p, 0) != other.get(p, 0)]
    wrong.sort(key=lambda price: sign * price)
    return len(prices), [LevelDifference(side, p, mine.get(p, 0), other.get(p, 0)) for p in wrong]


def compare(
    bids: Levels,
    asks: Levels,
    theirs: VenueBook,
    touched: Collection[int] = (),
    known: KnownRange = WHOLE,
) -> AuditResult:
    """Compare a book with a snapshot; NOT_COMPARABLE when no price could be compared."""
    bid_count, bid_wrong = compare_side(0, bids, theirs.bids, touched, known.bid)
    ask_count, ask_wrong = compare_side(1, asks, theirs.asks, touched, known.ask)
    compared = bid_count + ask_count
    if not compared:
        return AuditResult(Verdict.NOT_COMPARABLE, reason="no price in common that was not touched")
    wrong = (*bid_wrong, *ask_wrong)
    return AuditResult(Verdict.DIFFERENT if wrong else Verdict.EQUAL, compared, wrong)


@dataclass(slots=True)
class AuditWindow:
    """The time watched around one request: what the stream touched, and whether the snapshot lies within it.

    Args:
        sequence: last proven sequence of the book when it began.
        venue_utc_ns: the venue's time of that update, 0 = unknown.
        begin_ns: when it began, before the request was sent.
        settle_ns: a stream that brought nothing for so long after the answer has nothing more to say.
        timeout_ns: after so long it is given up.
        known: prices of our book that can be compared.
    """

    sequence: int
    venue_utc_ns: int
    begin_ns: int
    settle_ns: int = 2_000_000_000
    timeout_ns: int = 15_000_000_000
    known: KnownRange = WHOLE
    touched: set[int] = field(default_factory=set)
    touched_ns: int = 0
    book: VenueBook | None = None
    answered_ns: int = 0

    def touch(self, prices: Iterable[int], now_ns: int) -> None:
        """Note prices that an update named, in the instrument's units."""
        self.touched.update(prices)
        self.touched_ns = now_ns

    def answer(self, book: VenueBook, now_ns: int) -> None:
        """Take the snapshot."""
        self.book = book
        self.answered_ns = now_ns

    def judge(
        self, bids: Levels, asks: Levels, sequence: int, venue_utc_ns: int, now_ns: int
    ) -> AuditResult | None:
        """Compare, once the stream has reached the snapshot; None = it has not yet.

        Args:
            bids: the book as it stands now, best first.
            asks: the same.
            sequence: its last proven sequence.
            venue_utc_ns: the venue's time of that update.
            now_ns: now.
        """
        book = self.book
        if book is None:
            is_late = now_ns - self.begin_ns > self.timeout_ns
            return AuditResult(Verdict.NOT_COMPARABLE, reason="no answer in time") if is_late else None
        if book.sequence and sequence:
            at, begin, end = book.sequence, self.sequence, sequence
        elif book.venue_utc_ns and venue_utc_ns and self.venue_utc_ns:
            at, begin, end = book.venue_utc_ns, self.venue_utc_ns, venue_utc_ns
        else:
            return AuditResult(Verdict.NOT_COMPARABLE, reason="the snapshot has neither sequence nor time")
        if at < begin:
            return AuditResult(
                Verdict.NOT_COMPARABLE, reason=f"the snapshot ({at}) is older than the request ({begin})"
            )
        if at > end and now_ns - max(self.answered_ns, self.touched_ns) < self.settle_ns:
            if now_ns - self.answered_ns <= self.timeout_ns:
                return None
            return AuditResult(
                Verdict.NOT_COMPARABLE, reason=f"the stream ({end}) does not reach the snapshot ({at})"
            )
        return compare(bids, asks, book, self.touched, self.known)

    @property
    def is_by_sequence(self) -> bool:
        """Whether the snapshot's place in the stream is proven by a number, not only by a time."""
        return self.book is not None and self.book.sequence > 0 and self.sequence > 0


def confirmed(
    first: Iterable[LevelDifference], second: Iterable[LevelDifference]
) -> tuple[LevelDifference, ...]:
    """Differences that two audits in a row found alike: without a sequence, one alone is no proof."""
    before = set(first)
    return tuple(difference for difference in second if difference in before)


def audit_period_ns(books: int, weight: int, weight_per_minute: int, share: float, least_ns: int) -> int:
    """Say how long a round over all books takes, so that requests cost at most `share` of the venue's budget.

    Args:
        books: how many there are.
        weight: of one snapshot request.
        weight_per_minute: what the venue grants one address.
        share: of it, above 0 and at most 1.
        least_ns: no round is shorter.

    Raises:
        ValueError: a number is out of range.
    """
    if books < 0 or weight < 1 or weight_per_minute < 1 or not 0 < share <= 1:
        raise ValueError(
            f"{books} books, weight {weight} of {weight_per_minute} a minute, share {share}: not usable"
        )
    needed_ns = int(books * weight * 60_000_000_000 / (weight_per_minute * share))
    return max(needed_ns, least_ns)
