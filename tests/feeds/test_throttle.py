"""The token bucket grants what its rate allows, whatever the pattern of asking."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.transport.throttle import SECOND_NS, TokenBucket, WindowBudget


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


# ---- what a venue counts in a window ---------------------------------------------------------------


@given(
    st.integers(1, 50),
    st.lists(st.tuples(st.integers(0, 400_000_000), st.integers(1, 60)), max_size=80),
)
def test_no_window_ever_holds_more_than_the_limit(limit: int, requests: list[tuple[int, int]]) -> None:
    budget, now, sent = WindowBudget(limit, SECOND_NS), 0, []
    for wait_ns, weight in requests:
        now += wait_ns
        if budget.take(now, weight):
            sent.append((now, weight))
        else:
            due_ns = budget.next_ns(now, weight)
            assert due_ns == -1 if weight > limit else due_ns > now
    for begin, _ in sent:
        assert sum(weight for at, weight in sent if begin <= at < begin + SECOND_NS) <= limit


def test_all_of_a_window_may_be_used_at_once_and_its_end_is_told() -> None:
    budget = WindowBudget(40, 2 * SECOND_NS, margin_ns=0)
    assert budget.take(0, 30)
    assert budget.take(SECOND_NS, 10)
    assert not budget.take(SECOND_NS)
    assert budget.next_ns(SECOND_NS, 30) == 2 * SECOND_NS
    assert budget.next_ns(SECOND_NS, 31) == 3 * SECOND_NS
    assert budget.take(2 * SECOND_NS, 30)
    assert budget.available(3 * SECOND_NS) == 10


def test_what_the_venue_says_others_used_counts() -> None:
    budget = WindowBudget(100, SECOND_NS, margin_ns=0)
    assert budget.take(0, 20)
    budget.observe_used(1, 90)
    assert budget.available(1) == 10
    budget.observe_used(2, 30)
    assert budget.available(2) == 10, "an older answer does not give back"
    assert budget.available(SECOND_NS + 1) == 100


@pytest.mark.parametrize("bad", [(0, 1, 0), (1, 0, 0), (1, 1, -1)])
def test_an_unusable_window_is_refused(bad: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="limit"):
        WindowBudget(*bad)
