"""The audit: what is compared, what is not, and that a wrong level is found whatever else happens."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.audit import (
    AuditWindow,
    LevelDifference,
    VenueBook,
    Verdict,
    audit_period_ns,
    compare,
    compare_side,
    confirmed,
)
from feeds.known_range import KnownRange

SECOND = 1_000_000_000
BIDS = [(100, 5), (99, 6), (98, 7)]
ASKS = [(101, 1), (102, 2), (104, 4)]


def book(
    bids: list[tuple[int, int]] = BIDS, asks: list[tuple[int, int]] = ASKS, sequence: int = 50, utc: int = 0
) -> VenueBook:
    return VenueBook(sequence, utc, bids, asks)


def test_prices_beyond_our_own_snapshot_are_not_compared() -> None:
    deeper = book([*BIDS, (97, 3), (95, 2)], [*ASKS, (105, 9)])
    ours = ([*BIDS, (90, 1)], [*ASKS, (120, 1)])  # far levels that changed since; those between did not
    assert compare(*ours, deeper).verdict is Verdict.DIFFERENT
    known = KnownRange.of(BIDS, ASKS)
    assert compare(*ours, deeper, (), known).verdict is Verdict.EQUAL
    assert compare(*ours, book([(100, 4), *BIDS[1:], (97, 3)]), (), known).differences == (
        LevelDifference(0, 100, 5, 4),
    )


def test_equal_books_are_equal() -> None:
    result = compare(BIDS, ASKS, book())
    assert (result.verdict, result.compared, result.differences) == (Verdict.EQUAL, 6, ())


@pytest.mark.parametrize(
    ("bids", "difference"),
    [
        ([(100, 5), (99, 9), (98, 7)], LevelDifference(0, 99, 6, 9)),
        ([(100, 5), (98, 7)], LevelDifference(0, 99, 6, 0)),
        ([(100, 5), (99, 6), (98, 7), (97, 1)], None),  # deeper than ours: not ours to know
        ([(100, 5), (99, 6)], None),  # shallower
        ([(103, 1), *BIDS], LevelDifference(0, 103, 0, 1)),
    ],
)
def test_levels_are_compared_where_both_know_them(
    bids: list[tuple[int, int]], difference: LevelDifference | None
) -> None:
    result = compare(BIDS, ASKS, book(bids))
    assert result.differences == (() if difference is None else (difference,))
    assert result.verdict is (Verdict.EQUAL if difference is None else Verdict.DIFFERENT)


def test_an_empty_side_is_a_statement_too() -> None:
    assert compare(BIDS, ASKS, book(asks=[])).differences == tuple(
        LevelDifference(1, p, q, 0) for p, q in ASKS
    )
    assert compare([], ASKS, book()).differences == tuple(LevelDifference(0, p, 0, q) for p, q in BIDS)
    assert compare([], [], book([], [])).verdict is Verdict.NOT_COMPARABLE


def test_touched_prices_are_not_compared() -> None:
    wrong = [(100, 5), (99, 9), (98, 7)]
    assert compare(BIDS, ASKS, book(wrong), {99}).verdict is Verdict.EQUAL
    assert compare(BIDS, [], book(BIDS, []), {98, 99, 100}).verdict is Verdict.NOT_COMPARABLE


def window(**more: Any) -> AuditWindow:
    return AuditWindow(sequence=40, venue_utc_ns=4_000, begin_ns=SECOND, **more)


def test_nothing_is_said_before_the_answer_and_then_not_without_one() -> None:
    audit = window(timeout_ns=5 * SECOND)
    assert audit.judge(BIDS, ASKS, 60, 6_000, 2 * SECOND) is None
    late = audit.judge(BIDS, ASKS, 60, 6_000, 7 * SECOND)
    assert late is not None
    assert late.verdict is Verdict.NOT_COMPARABLE


@pytest.mark.parametrize(
    ("sequence", "utc", "verdict"),
    [
        (50, 0, Verdict.EQUAL),
        (40, 0, Verdict.EQUAL),
        (60, 0, Verdict.EQUAL),
        (39, 0, Verdict.NOT_COMPARABLE),
        (61, 0, None),
        (0, 5_000, Verdict.EQUAL),
        (0, 3_999, Verdict.NOT_COMPARABLE),
        (0, 6_001, None),
        (0, 0, Verdict.NOT_COMPARABLE),
    ],
)
def test_the_snapshot_must_lie_within_the_time_watched(
    sequence: int, utc: int, verdict: Verdict | None
) -> None:
    audit = window()
    audit.answer(book(sequence=sequence, utc=utc), 2 * SECOND)
    result = audit.judge(BIDS, ASKS, 60, 6_000, 2 * SECOND)
    assert (None if result is None else result.verdict) is verdict


def test_a_stream_that_is_quiet_has_nothing_more_to_say() -> None:
    audit = window(settle_ns=2 * SECOND)
    audit.answer(book(sequence=70), 2 * SECOND)
    assert audit.judge(BIDS, ASKS, 60, 6_000, 3 * SECOND) is None
    audit.touch([7], 3 * SECOND)
    assert audit.judge(BIDS, ASKS, 61, 6_000, 4 * SECOND) is None
    result = audit.judge(BIDS, ASKS, 61, 6_000, 6 * SECOND)
    assert result is not None
    assert result.verdict is Verdict.EQUAL


def test_a_stream_that_goes_on_without_reaching_the_snapshot_is_not_waited_for_for_ever() -> None:
    audit = window(timeout_ns=10 * SECOND)
    audit.answer(book(sequence=10**9), 2 * SECOND)
    for second in range(3, 12):
        audit.touch([7], second * SECOND)
        assert audit.judge(BIDS, ASKS, 60, 6_000, second * SECOND) is None
    audit.touch([7], 13 * SECOND)
    result = audit.judge(BIDS, ASKS, 60, 6_000, 13 * SECOND)
    assert result is not None
    assert result.verdict is Verdict.NOT_COMPARABLE


def test_only_what_two_audits_found_alike_is_confirmed() -> None:
    one, two, other = (LevelDifference(0, 99, 6, q) for q in (1, 2, 3))
    assert confirmed([one, two], [two, other]) == (two,)
    assert confirmed([], [one]) == ()


def test_a_round_takes_as_long_as_its_share_of_the_budget_allows() -> None:
    minute = 60 * SECOND
    assert audit_period_ns(1, 5, 2400, 0.1, minute) == minute
    assert audit_period_ns(480, 5, 2400, 0.1, minute) == 10 * minute
    unusable = [(-1, 5, 2400, 0.1), (1, 0, 2400, 0.1), (1, 5, 0, 0.1), (1, 5, 2400, 0.0), (1, 5, 2400, 1.1)]
    for books, weight, granted, share in unusable:
        with pytest.raises(ValueError, match="usable"):
            audit_period_ns(books, weight, granted, share, minute)


def naive_side(
    ours: dict[int, int], theirs: dict[int, int], touched: set[int], sign: int
) -> list[tuple[int, int, int]]:
    """Price by price over the whole range of prices, by the definition."""
    low, high = min([*ours, *theirs], default=0), max([*ours, *theirs], default=-1)
    found = []
    for price in range(low, high + 1):
        beyond_ours = ours and all(sign * price > sign * p for p in ours)
        beyond_theirs = theirs and all(sign * price > sign * p for p in theirs)
        if price in touched or beyond_ours or beyond_theirs:
            continue
        if ours.get(price, 0) != theirs.get(price, 0):
            found.append((price, ours.get(price, 0), theirs.get(price, 0)))
    return found[::sign]


LEVELS = st.dictionaries(st.integers(1, 30), st.integers(1, 4), max_size=12)


@settings(max_examples=200)
@given(LEVELS, LEVELS, st.sets(st.integers(1, 30)), st.sampled_from([0, 1]))
def test_the_comparison_equals_the_naive_one(
    ours: dict[int, int], theirs: dict[int, int], touched: set[int], side: int
) -> None:
    sign = 1 if side else -1
    mine, other = (sorted(levels.items(), key=lambda level: sign * level[0]) for levels in (ours, theirs))
    _, found = compare_side(side, mine, other, touched)
    assert [tuple(d)[1:] for d in found] == naive_side(ours, theirs, touched, sign)


@settings(max_examples=60)
@given(st.integers(0, 10**9))
def test_a_true_book_is_never_called_different_and_a_lasting_error_is_found(seed: int) -> None:
    """A venue's book goes on while the snapshot, of any moment, is under way; then the same with an error."""
    rng = random.Random(seed)
    venue = {p: rng.randrange(1, 9) for p in range(1, 40)}
    before = dict(venue)
    moments = [dict(venue)]
    touched: set[int] = set()
    for _ in range(rng.randrange(20)):
        price = rng.randrange(1, 30)
        venue[price] = rng.randrange(9)
        touched.add(price)
        moments.append({p: q for p, q in venue.items() if q})
    ours = moments[-1]
    at = rng.randrange(len(moments))
    depth = rng.randrange(5, 40)
    snapshot = sorted(moments[at].items(), reverse=True)[:depth]
    audit = AuditWindow(sequence=100, venue_utc_ns=0, begin_ns=0)
    audit.touch(touched, 1)
    audit.answer(VenueBook(100 + at, 0, snapshot, []), 2)
    levels = sorted(ours.items(), reverse=True)
    result = audit.judge(levels, [], 100 + len(moments) - 1, 0, 2)
    assert result is not None
    assert result.verdict is not Verdict.DIFFERENT
    # The best prices are not touched and stand in every snapshot.
    price = rng.randrange(36, 40)
    wrong = sorted({**ours, price: before[price] + 1}.items(), reverse=True)
    result = audit.judge(wrong, [], 100 + len(moments) - 1, 0, 2)
    assert result is not None
    assert result.differences == (LevelDifference(0, price, before[price] + 1, before[price]),)
