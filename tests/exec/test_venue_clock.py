"""The venue's clock: the quickest answer counts, until a clock is set."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exec.venue_clock import CLOCK_SAMPLES, VenueClock

MS, SECOND = 1_000_000, 1_000_000_000
UTC = 1_700_000_000 * SECOND


def measure(clock: VenueClock, offset_ns: int, trip_ns: int, there_ns: int, now_ns: int = 0) -> int:
    """An answer said `there_ns` behind the question; returns what the clock makes of it."""
    return clock.measured(UTC + offset_ns + there_ns, UTC + trip_ns, trip_ns, now_ns)


@given(
    offset_ns=st.integers(-10 * SECOND, 10 * SECOND),
    trips=st.lists(
        st.tuples(st.integers(0, SECOND), st.floats(0, 1)), min_size=1, max_size=2 * CLOCK_SAMPLES
    ),
)
def test_the_error_is_at_most_half_of_the_quickest_of_the_last_round_trips(
    offset_ns: int, trips: list[tuple[int, float]]
) -> None:
    clock = VenueClock(60 * SECOND)
    for trip_ns, share in trips:
        found = measure(clock, offset_ns, trip_ns, round(trip_ns * share))
    quickest = min(trip_ns for trip_ns, _ in trips[-CLOCK_SAMPLES:])
    assert abs(found - offset_ns) <= quickest // 2 + 1


@given(step_ns=st.integers(301 * MS, 10 * SECOND).flatmap(lambda ns: st.sampled_from((ns, -ns))))
def test_a_clock_that_was_set_is_believed_with_the_first_answer_behind_it(step_ns: int) -> None:
    """Or requests would bear wrong deadlines for as long as a quicker answer of before is remembered."""
    clock = VenueClock(60 * SECOND)
    for _ in range(CLOCK_SAMPLES):
        measure(clock, 0, 2 * MS, 1 * MS)
    assert measure(clock, step_ns, 100 * MS, 50 * MS) == step_ns
