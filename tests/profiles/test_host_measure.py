"""The measuring loops count what they did, and the arithmetic on their histograms equals a naive one."""

from __future__ import annotations

import os
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.host import measure
from profiles.host.grade import grade
from profiles.host.hiccup import (
    LinePair,
    WakePair,
    clock_state,
    new_histogram,
    set_timer_slack,
    spin,
    timer_lateness,
)
from profiles.host.measured import Hiccups, Measured, Timing, delay_percentile, hiccups_of, time_text

US = 1_000
MS = 1_000_000


def naive_delay(gaps: list[int], share: float) -> float:
    """P(delay > x) = Σ max(0, g − x) / Σ g, solved by bisection."""
    low, high = 0.0, float(max(gaps))
    for _ in range(80):
        middle = (low + high) / 2
        if sum(max(0.0, g - middle) for g in gaps) > (1 - share) * sum(gaps):
            low = middle
        else:
            high = middle
    return low


@settings(max_examples=60)
@given(
    gaps=st.lists(st.one_of(st.integers(20, 90), st.integers(1 * US, 30 * MS)), min_size=1, max_size=300),
    share=st.sampled_from([0.5, 0.99, 0.999]),
)
def test_delay_of_a_random_moment_equals_the_naive_sum(gaps: list[int], share: float) -> None:
    histogram = new_histogram()
    for gap in gaps:
        histogram.record(gap)
    # Buckets are 1.6 % wide, and a percentile near the end of the longest gap is its small difference.
    expected = pytest.approx(naive_delay(gaps, share), rel=0.05, abs=max(gaps) * 0.01 + 2)
    assert delay_percentile(histogram.snapshot(), share) == expected


def test_one_long_stall_is_not_hidden_among_a_million_reads() -> None:
    histogram = new_histogram()
    for _ in range(100_000):
        histogram.record(25)
    histogram.record(10 * MS)
    found = hiccups_of(3, histogram.snapshot(), 12_500_000, waited_ns=5_000_000, switches=1)
    # The stall fills 80 % of the time: half of all moments wait 3.75 ms; the median gap is 25 ns.
    assert found.delay_ns_p50 == pytest.approx(3.75 * MS, rel=0.03)
    assert (found.over_10us, found.over_100us, found.over_1ms) == (1, 1, 1)
    assert found.gap_ns_max == 10 * MS
    assert found.lost == pytest.approx(0.8, rel=0.02)
    assert (found.core, found.waited, found.switches) == (3, 0.4, 1)


def test_nothing_measured_is_zero() -> None:
    assert delay_percentile(new_histogram().snapshot(), 0.99) == 0


def test_spinning_covers_the_whole_time() -> None:
    gaps = new_histogram()
    elapsed = spin(gaps, 2 * MS)
    assert elapsed >= 2 * MS
    assert gaps.snapshot().sum == elapsed


def test_sleeps_are_counted_and_never_early() -> None:
    late = new_histogram()
    before = set_timer_slack(1)
    assert timer_lateness(late, 20 * US, 20) == 20
    assert set_timer_slack(before) == 1
    snapshot = late.snapshot()
    assert snapshot.count == 20
    assert snapshot.min > 0


def test_every_signal_wakes_the_sleeper() -> None:
    pair = WakePair()
    ages = new_histogram()
    got: list[int] = []
    sleeper = threading.Thread(target=lambda: got.append(pair.receive(ages)))
    sleeper.start()
    assert pair.send(200, 1 * US) == 200
    sleeper.join()
    assert got == [200]
    assert ages.count == 200


@pytest.mark.parametrize("stamped", [True, False])
def test_a_number_goes_there_and_back(stamped: bool) -> None:
    pair = LinePair(stamped)
    got: list[int] = []
    other = threading.Thread(target=lambda: got.append(pair.answer(50)))
    other.start()
    assert pair.ask(50) == 50
    other.join()
    assert got == [50]
    assert pair.round_trip_ns > 0
    assert abs(pair.offset_ns) <= pair.round_trip_ns


def test_the_state_of_the_clock_is_read_without_rights() -> None:
    state = clock_state()
    assert set(state) == {"state", "unsynchronized", "offset_ns", "max_error_ns"}
    assert 0 <= state["state"] <= 5


def test_threads_run_where_they_were_pinned() -> None:
    cores = sorted(os.sched_getaffinity(0))
    here = os.sched_getaffinity(0)
    assert measure.together([(core, lambda: os.sched_getaffinity(0)) for core in cores]) == [
        {c} for c in cores
    ]
    assert os.sched_getaffinity(0) == here
    with pytest.raises(OSError):
        measure.together([(1_000_000, lambda: None)])
    assert measure.pinnable([cores[0], 1_000_000]) == (cores[0],)


def test_hiccups_name_their_core() -> None:
    cores = sorted(os.sched_getaffinity(0))
    found = measure.measure_hiccups(cores, 0.01)
    assert [h.core for h in found] == cores
    assert all(h.measured_s >= 0.01 and h.gap_ns_max > 0 for h in found)


def quiet(core: int, p99: int, p99_9: int) -> Hiccups:
    return Hiccups(core, 3.0, 20, p99, p99_9, p99_9, 0, 0, 0, 0.0)


def wake(p99: int, *, held: bool) -> Timing:
    return Timing("wake", "", held, 9, p99, p99, p99, p99)


@pytest.mark.parametrize(
    ("p99", "delay_p99", "delay_p99_9", "name", "misses"),
    [
        (10 * US, 10 * US, 100 * US, "A", ()),
        (11 * US, 9 * US, 100 * US, "B", ("wake-up p99 11 µs (A ≤ 10 µs)",)),
        (9 * US, 9 * US, 101 * US, "B", ("core 1 away p99.9 101 µs (A ≤ 100 µs)",)),
        (59 * US, 9 * US, 9 * US, "C", ("wake-up p99 59 µs (B ≤ 15 µs)",)),
        (9 * US, 9 * US, 21 * MS, "D", ("core 1 away p99.9 21 ms (C ≤ 20 ms)",)),
    ],
)
def test_the_class_says_what_limits_it(
    p99: int, delay_p99: int, delay_p99_9: int, name: str, misses: tuple[str, ...]
) -> None:
    # Core 0 is bad, but no worker is on it; the wake-up without PM QoS is bad, but it can be held.
    measured = Measured(
        hiccups=(quiet(0, 500 * MS, 900 * MS), quiet(1, delay_p99, delay_p99_9)),
        timings=(wake(400 * US, held=False), wake(p99, held=True)),
    )
    reached = grade(measured, [1])
    assert (reached.name, reached.limited_by, reached.without_pm_qos) == (name, misses, "D")


def test_what_was_not_measured_has_no_class() -> None:
    assert grade(Measured(), [0, 1]).name == "?"


def test_times_have_the_unit_that_fits() -> None:
    assert [time_text(v) for v in (13, 4_063, 9_990_000, 264_183_700, 3_000_000_000)] == [
        "13 ns", "4.06 µs", "9.99 ms", "264 ms", "3 s",
    ]  # fmt: skip
