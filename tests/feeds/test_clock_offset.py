"""The clock offset: the true one lies within what is claimed, and the claim is narrow."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.clock_offset import ClockEstimate, ClockOffset

MS, SECOND = 1_000_000, 1_000_000_000


def test_an_exchange_bounds_the_offset_by_its_round_trip_and_the_resolution() -> None:
    clock = ClockOffset(drift_ppb=0)
    assert clock.estimate(0) is None
    clock.on_exchange(1000 * MS, 1010 * MS, 2005 * MS, resolution_ns=MS)
    assert clock.estimate(5000 * MS) == ClockEstimate(1000 * MS + MS // 2, 5 * MS + MS // 2)


def test_the_shortest_round_trip_wins() -> None:
    clock = ClockOffset(drift_ppb=0)
    for round_trip in (80 * MS, 4 * MS, 200 * MS):
        sent = 1000 * SECOND
        clock.on_exchange(sent, sent + round_trip, sent + round_trip // 2, resolution_ns=0)
    assert clock.estimate(0) == ClockEstimate(0, 2 * MS)


def test_messages_narrow_the_bound_from_below() -> None:
    clock = ClockOffset(drift_ppb=0)
    clock.on_message(SECOND, 9 * SECOND)
    assert clock.estimate(0) is None, "a message alone says nothing"
    clock.on_exchange(1000 * MS, 1040 * MS, 2020 * MS, resolution_ns=0)
    clock.on_message(3000 * MS, 3999 * MS)  # received 1 ms after it was stamped by a clock 1 s ahead
    assert clock.estimate(0) == ClockEstimate(round((999 + 1020) / 2 * MS), round(21 / 2 * MS))


def test_the_claim_widens_with_age() -> None:
    clock = ClockOffset(drift_ppb=10_000)
    clock.on_exchange(0, 2 * MS, MS, resolution_ns=0)
    estimate = clock.estimate(2 * MS + 100 * SECOND)
    assert estimate == ClockEstimate(0, 2 * MS)


def test_a_clock_that_was_set_is_followed_at_once() -> None:
    clock = ClockOffset()
    clock.on_exchange(0, 2 * MS, MS)
    clock.on_exchange(SECOND, SECOND + 2 * MS, 4 * SECOND)
    estimate = clock.estimate(SECOND)
    assert estimate is not None
    assert abs(estimate.offset_ns - 3 * SECOND) <= estimate.error_ns < 3 * MS
    assert clock.steps == 1


def test_stamps_from_the_future_are_counted_and_change_nothing() -> None:
    clock = ClockOffset(drift_ppb=0)
    clock.on_exchange(0, 2 * MS, MS, resolution_ns=0)
    clock.on_message(SECOND, 3 * SECOND)
    assert clock.estimate(0) == ClockEstimate(0, MS)
    assert (clock.messages, clock.against, clock.steps) == (1, 1, 0)


def test_an_old_message_says_as_little_as_its_age_allows() -> None:
    clock = ClockOffset(drift_ppb=10_000)
    clock.on_exchange(100 * SECOND, 100 * SECOND + 2 * MS, 100 * SECOND + MS, resolution_ns=0)
    clock.on_message(2 * MS, 2 * MS)  # 100 s ago the offset was 0 or more: now it may be 1 ms less
    assert clock.estimate(100 * SECOND + 2 * MS) == ClockEstimate(0, MS)


@settings(max_examples=60)
@given(st.integers(0, 10**9), st.integers(-(10**10), 10**10), st.integers(-15_000, 15_000))
def test_the_true_offset_always_lies_within_the_claim(seed: int, offset_ns: int, drift_ppb: int) -> None:
    rng = random.Random(seed)
    clock = ClockOffset(drift_ppb=20_000)

    def venue(now_ns: int) -> int:
        return now_ns + offset_ns + now_ns * drift_ppb // 10**9

    now, steps = 1000 * SECOND, 0
    for _ in range(60):
        now += rng.randrange(3 * SECOND)
        out, back = (int(rng.expovariate(1 / (5 * MS))) for _ in range(2))
        if rng.random() < 0.3:
            stamped = venue(now + out) // MS * MS
            clock.on_exchange(now, now + out + back, stamped, MS)
            now += out + back
        else:
            clock.on_message(now + out, venue(now) // MS * MS)
            now += out
        estimate = clock.estimate(now)
        if estimate is not None:
            assert abs(venue(now) - now - estimate.offset_ns) <= estimate.error_ns + 2
        steps = clock.steps
    assert steps == 0


def test_impossible_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="before its request"):
        ClockOffset().on_exchange(5, 4, 0)
    with pytest.raises(ValueError, match="negative"):
        ClockOffset(drift_ppb=-1)
