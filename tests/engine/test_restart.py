"""The restart table against OTP's rules."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.restart import Decision, Restart, RestartPolicy, RestartStrategy, RestartTable

SECOND = 1_000_000_000
P, X, M = Restart.PERMANENT, Restart.TRANSIENT, Restart.TEMPORARY


def table(strategy: RestartStrategy, *kinds: Restart, intensity: int = 10) -> RestartTable:
    policy = RestartPolicy(strategy, intensity, 5 * SECOND)
    return RestartTable(policy, [(chr(97 + i), kind) for i, kind in enumerate(kinds)])


def test_one_for_one_restarts_it_alone() -> None:
    assert table(RestartStrategy.ONE_FOR_ONE, P, P, P).on_exit("b", normal=False, now_ns=0) == Decision(
        (), ("b",)
    )


def test_one_for_all_stops_backwards_and_starts_forwards() -> None:
    decision = table(RestartStrategy.ONE_FOR_ALL, P, P, P).on_exit("b", normal=False, now_ns=0)
    assert decision == Decision(("c", "a"), ("a", "b", "c"))


def test_rest_for_one_takes_those_started_after() -> None:
    decision = table(RestartStrategy.REST_FOR_ONE, P, P, P).on_exit("b", normal=False, now_ns=0)
    assert decision == Decision(("c",), ("b", "c"))


def test_permanent_restarts_after_a_normal_end_too() -> None:
    assert table(RestartStrategy.ONE_FOR_ONE, P).on_exit("a", normal=True, now_ns=0).start == ("a",)


def test_transient_restarts_only_after_an_abnormal_end() -> None:
    assert table(RestartStrategy.ONE_FOR_ONE, X).on_exit("a", normal=True, now_ns=0) == Decision()
    assert table(RestartStrategy.ONE_FOR_ONE, X).on_exit("a", normal=False, now_ns=0).start == ("a",)


def test_temporary_is_never_restarted_not_even_with_others() -> None:
    one = table(RestartStrategy.ONE_FOR_ALL, P, M)
    assert one.on_exit("b", normal=False, now_ns=0) == Decision()
    assert one.on_exit("a", normal=False, now_ns=0) == Decision(("b",), ("a",))


def test_more_than_intensity_in_the_period_escalates() -> None:
    one = table(RestartStrategy.ONE_FOR_ONE, P, intensity=2)
    assert not one.on_exit("a", normal=False, now_ns=0).escalate
    assert not one.on_exit("a", normal=False, now_ns=1).escalate
    assert one.on_exit("a", normal=False, now_ns=5 * SECOND) == Decision(escalate=True)


def test_restarts_older_than_the_period_are_forgotten() -> None:
    one = table(RestartStrategy.ONE_FOR_ONE, P, intensity=1)
    assert not one.on_exit("a", normal=False, now_ns=0).escalate
    assert not one.on_exit("a", normal=False, now_ns=5 * SECOND + 1).escalate


@settings(max_examples=100)
@given(gaps=st.lists(st.integers(0, 4 * SECOND), max_size=30), intensity=st.integers(0, 5))
def test_escalates_exactly_when_a_naive_count_says_so(gaps: list[int], intensity: int) -> None:
    one = table(RestartStrategy.ONE_FOR_ONE, P, intensity=intensity)
    now, times = 0, []
    for gap in gaps:
        now += gap
        times.append(now)
        within = [t for t in times if now - t <= 5 * SECOND]
        escalates = one.on_exit("a", normal=False, now_ns=now).escalate
        assert escalates == (len(within) > intensity)
        if escalates:
            return
