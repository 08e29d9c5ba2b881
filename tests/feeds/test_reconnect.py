"""Back-off grows, is bounded, is scattered, and starts again after a stable connection."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.transport.reconnect import ReconnectPolicy, ReconnectState

MS = 1_000_000


def test_delays_double_up_to_the_maximum() -> None:
    policy = ReconnectPolicy(initial_ns=100 * MS, maximum_ns=1000 * MS, jitter=0.0)
    assert [policy.delay_ns(n, 0.5) // MS for n in range(1, 7)] == [100, 200, 400, 800, 1000, 1000]


@settings(max_examples=100)
@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_jitter_stays_inside_its_part(failures: int, value: float) -> None:
    policy = ReconnectPolicy(jitter=0.5)
    whole = ReconnectPolicy(jitter=0.0).delay_ns(failures, value)
    assert whole // 2 <= policy.delay_ns(failures, value) <= whole <= policy.maximum_ns


def test_a_stable_connection_makes_the_next_attempt_a_first_one() -> None:
    policy = ReconnectPolicy(initial_ns=100 * MS, jitter=0.0, stable_ns=1000 * MS)
    state = ReconnectState(policy)
    assert [state.on_lost(0, 0.0) // MS for _ in range(3)] == [100, 200, 400]
    state.on_connected(5000 * MS)
    assert state.on_lost(5500 * MS, 0.0) // MS == 800  # it did not stand long enough
    state.on_connected(6000 * MS)
    assert state.on_lost(7000 * MS, 0.0) // MS == 100


def test_an_unusable_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="policy"):
        ReconnectPolicy(initial_ns=0)
