"""Back-off grows, is bounded and scattered; the breaker opens and closes; attempts keep to their budget."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.transport.rates import LedgerBudget
from feeds.transport.reconnect import (
    BREAKER_TABLE,
    BreakerEvent,
    BreakerPolicy,
    BreakerState,
    CircuitBreaker,
    ConnectGate,
    ReconnectPolicy,
    ReconnectState,
)
from shm.enums import RateLane, RateScope, RateUnit
from shm.rate_ledger import RateLedger
from shm.rate_rules import SECOND_NS, RateRule

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


BREAKER = BreakerPolicy(failures=3, window_ns=1000 * MS, pause_ns=500 * MS)


def test_the_breaker_table_decides_every_case() -> None:
    assert set(BREAKER_TABLE) == {(state, event) for state in BreakerState for event in BreakerEvent}
    for (_, event), state in BREAKER_TABLE.items():
        if event is BreakerEvent.SUCCEEDED:
            assert state is BreakerState.CLOSED
        if event is BreakerEvent.TRIPPED:
            assert state is BreakerState.OPEN


def test_failures_within_the_window_stop_all_attempts_for_a_while_and_then_let_one_pass() -> None:
    breaker = CircuitBreaker(BREAKER)
    for now in (0, 100, 200):
        assert breaker.delay_ns(now * MS) == 0
        breaker.on_failure(now * MS)
    assert breaker.delay_ns(200 * MS) == 500 * MS
    assert breaker.delay_ns(699 * MS) == 1 * MS
    assert breaker.delay_ns(700 * MS) == 0
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.delay_ns(701 * MS) > 0, "one at a time"
    breaker.on_failure(710 * MS)
    assert breaker.delay_ns(710 * MS) == 500 * MS
    assert breaker.trips == 2
    assert breaker.delay_ns(1210 * MS) == 0
    breaker.on_success(1220 * MS)
    assert breaker.delay_ns(1220 * MS) == breaker.delay_ns(1221 * MS) == 0


def test_failures_further_apart_than_the_window_open_nothing() -> None:
    breaker = CircuitBreaker(BREAKER)
    for turn in range(20):
        breaker.on_failure(turn * 501 * MS)
        assert breaker.delay_ns(turn * 501 * MS) == 0


@settings(max_examples=50)
@given(st.floats(0.5, 5), st.integers(1, 10), st.lists(st.integers(0, 400), min_size=1, max_size=60))
def test_a_gate_never_lets_more_pass_than_the_venue_allows(
    per_second: float, burst: int, waits: list[int]
) -> None:
    gate, now_ns, passed = ConnectGate(per_second, burst), 0, 0
    for wait in waits:
        now_ns += wait * MS
        delay_ns = gate.delay_ns(now_ns)
        assert delay_ns >= 0
        passed += delay_ns == 0
        assert passed <= burst + now_ns / 1e9 * per_second + 1e-6


def test_a_gate_says_when_the_next_attempt_may_be_made() -> None:
    gate = ConnectGate(2.0, 1)
    assert gate.delay_ns(0) == 0
    delay_ns = gate.delay_ns(0)
    assert delay_ns == 500 * MS
    assert gate.delay_ns(delay_ns) == 0


# ---- several processes at one address ------------------------------------------------------------


def gates(count: int, limit: int) -> list[ConnectGate]:
    """Gates of so many processes, each with its own breaker, over one ledger."""
    rule = RateRule("venue.connects", 3, RateScope.ADDRESS, RateUnit.CONNECTS, limit, SECOND_NS)
    memory = bytearray(RateLedger.bytes_needed((rule,)))
    RateLedger.create(memory, (rule,))
    made = []
    for _ in range(count):
        ledger = RateLedger.attach(memory)
        budget = LedgerBudget(ledger, ledger.bucket(rule.name), RateLane.RESYNC)
        made.append(ConnectGate(1.0, 1, BREAKER, budget=budget, on_tripped=budget.on_refused))
    return made


def test_attempts_of_all_processes_together_keep_to_the_limit_of_the_address() -> None:
    processes, begin = gates(4, 20), 5 * SECOND_NS
    granted = [
        now
        for now in range(begin, begin + 3 * SECOND_NS, MS)
        for gate in processes
        if gate.delay_ns(now) == 0
    ]
    for first in granted:
        assert sum(first <= now < first + SECOND_NS for now in granted) <= 20
    assert len(granted) > 20, "and they use it"


def test_a_breaker_that_opens_in_one_process_stops_the_others() -> None:
    one, other = gates(2, 1000)
    now = 5 * SECOND_NS
    for _ in range(3):
        one.on_failure(now)
        now += MS
    assert one.delay_ns(now) > 0
    assert 0 < other.delay_ns(now) <= BREAKER.pause_ns
    assert other.delay_ns(now + BREAKER.pause_ns) == 0
