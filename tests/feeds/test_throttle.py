"""The token bucket grants what its rate allows, whatever the pattern of asking."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.transport.throttle import SECOND_NS, TokenBucket


def test_a_full_bucket_grants_its_capacity_at_once_and_no_more() -> None:
    bucket = TokenBucket(3, 1.0)
    assert [bucket.take(0) for _ in range(4)] == [True, True, True, False]
    assert (bucket.granted, bucket.refused) == (3, 1)


def test_tokens_come_back_at_the_rate() -> None:
    bucket = TokenBucket(2, 0.5)
    assert bucket.take(0, 2)
    assert bucket.next_ns(0) == 2 * SECOND_NS
    assert not bucket.take(2 * SECOND_NS - 1)
    assert bucket.take(2 * SECOND_NS)


def test_refill_is_exact_however_often_it_is_looked_at() -> None:
    often, seldom = TokenBucket(5, 0.25), TokenBucket(5, 0.25)
    assert often.take(0, 5)
    assert seldom.take(0, 5)
    for now in range(0, 4 * SECOND_NS, SECOND_NS // 997):
        often.available(now)
    assert often.take(4 * SECOND_NS)
    assert seldom.take(4 * SECOND_NS)


def test_time_running_backwards_refills_nothing() -> None:
    bucket = TokenBucket(1, 1.0)
    assert bucket.take(10 * SECOND_NS)
    assert not bucket.take(5 * SECOND_NS)
    assert not bucket.take(10 * SECOND_NS + SECOND_NS // 2)
    assert bucket.take(11 * SECOND_NS)


def test_the_venues_own_count_only_lowers_the_level() -> None:
    bucket = TokenBucket(100, 1.0)
    bucket.observe_used(0, 90)
    assert bucket.available(0) == 10
    bucket.observe_used(0, 10)
    assert bucket.available(0) == 10
    bucket.observe_used(0, 130)
    assert bucket.available(0) == 0
    assert bucket.next_ns(0) == 31 * SECOND_NS


def test_what_can_never_be_granted_says_so() -> None:
    assert TokenBucket(5, 1.0).next_ns(0, 6) == -1
    bucket = TokenBucket(1, 0.0)
    assert bucket.take(0)
    assert bucket.next_ns(0) == -1


def test_tokens_given_back_do_not_overfill() -> None:
    bucket = TokenBucket(2, 0.0)
    bucket.give_back(5)
    assert bucket.available(0) == 2


@pytest.mark.parametrize(("capacity", "rate"), [(0, 1.0), (1, -1.0)])
def test_unusable_settings_are_refused(capacity: int, rate: float) -> None:
    with pytest.raises(ValueError, match="capacity"):
        TokenBucket(capacity, rate)


@settings(max_examples=100)
@given(
    st.integers(1, 10),
    st.integers(0, 8),
    st.lists(st.tuples(st.integers(0, SECOND_NS), st.integers(1, 3)), max_size=60),
)
def test_never_more_than_capacity_plus_refill(capacity: int, rate: int, asks: list[tuple[int, int]]) -> None:
    bucket, now, granted = TokenBucket(capacity, rate), 0, 0
    for wait, count in asks:
        now += wait
        due = bucket.next_ns(now, count)
        if bucket.take(now, count):
            granted += count
            assert due == now
        else:
            assert due == -1 or due > now
    assert granted <= capacity + rate * now / SECOND_NS
