"""Histogram: bounded error against a twin that keeps every value."""

from __future__ import annotations

import mmap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.errors import LayoutError
from shm.histogram import (
    BUCKETS,
    VALUE_MAX,
    Histogram,
    HistogramSnapshot,
    bucket_lower,
    bucket_of,
    bucket_upper,
)
from shm.metrics import HISTOGRAM_BYTES
from tests.kit.naive_histogram import NaiveHistogram

PERCENTILES = (0, 1, 25, 50, 90, 99, 99.9, 99.99, 100)
values = st.one_of(st.integers(0, 200), st.integers(0, 10**6), st.integers(0, VALUE_MAX))


def fresh() -> Histogram:
    return Histogram(bytearray(HISTOGRAM_BYTES), 0)


def filled(numbers: list[int]) -> HistogramSnapshot:
    histogram = fresh()
    for number in numbers:
        histogram.record(number)
    return histogram.snapshot()


def test_buckets_cover_all_values_without_a_hole() -> None:
    assert bucket_lower(0) == 0
    assert bucket_upper(BUCKETS - 1) == VALUE_MAX
    for index in range(BUCKETS - 1):
        assert bucket_upper(index) + 1 == bucket_lower(index + 1)
        assert bucket_of(bucket_lower(index)) == bucket_of(bucket_upper(index)) == index


def test_a_bucket_is_never_wider_than_a_sixty_fourth_of_its_values() -> None:
    for index in range(64, BUCKETS):
        assert (bucket_upper(index) - bucket_lower(index) + 1) * 64 <= bucket_lower(index)


@settings(max_examples=60)
@given(st.lists(values, min_size=1, max_size=200))
def test_percentiles_are_those_of_the_twin_within_the_error(numbers: list[int]) -> None:
    twin = NaiveHistogram()
    for number in numbers:
        twin.record(number)
    snapshot = filled(numbers)
    assert (snapshot.count, snapshot.sum) == (len(numbers), sum(numbers))
    assert (snapshot.min, snapshot.max) == (min(numbers), max(numbers))
    for q in PERCENTILES:
        exact = twin.percentile(q)
        assert exact <= snapshot.percentile(q) <= exact + exact // 64
    assert snapshot.percentile(100) == max(numbers)


@settings(max_examples=60)
@given(st.lists(values, max_size=60), st.lists(values, max_size=60))
def test_an_interval_is_what_was_recorded_in_between(before: list[int], after: list[int]) -> None:
    histogram = fresh()
    for number in before:
        histogram.record(number)
    earlier = histogram.snapshot()
    for number in after:
        histogram.record(number)
    interval = histogram.snapshot().minus(earlier)
    alone = filled(after)
    assert np.array_equal(interval.counts, alone.counts)
    assert (interval.count, interval.sum) == (alone.count, alone.sum)
    if after:
        assert bucket_of(interval.min) == bucket_of(alone.min)
        assert bucket_of(interval.max) == bucket_of(alone.max)


@settings(max_examples=60)
@given(st.lists(values, max_size=60), st.lists(values, max_size=60))
def test_merging_equals_recording_into_one(one: list[int], other: list[int]) -> None:
    merged, together = filled(one).merge(filled(other)), filled(one + other)
    assert np.array_equal(merged.counts, together.counts)
    assert (merged.sum, merged.min, merged.max) == (together.sum, together.min, together.max)


def test_an_empty_histogram_answers_zero() -> None:
    empty = HistogramSnapshot.empty()
    assert (empty.count, empty.percentile(50), empty.max, empty.mean) == (0, 0, 0, 0.0)
    assert fresh().snapshot().minus(empty).count == 0


def test_zero_is_a_value_and_not_an_absence() -> None:
    snapshot = filled([0, 0])
    assert (snapshot.count, snapshot.min, snapshot.max, snapshot.percentile(99)) == (2, 0, 0, 0)


def test_a_negative_value_counts_as_zero() -> None:
    assert filled([-5]).counts[0] == 1


def test_values_beyond_the_range_are_counted_and_the_maximum_kept() -> None:
    snapshot = filled([VALUE_MAX, VALUE_MAX + 1, 2**62])
    assert (snapshot.count, snapshot.overflow, snapshot.max) == (3, 2, 2**62)
    assert snapshot.counts[BUCKETS - 1] == 3
    assert snapshot.percentile(100) == 2**62


@pytest.mark.parametrize("q", [-0.1, 100.1])
def test_a_percentile_outside_0_to_100_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        filled([1]).percentile(q)


def test_a_later_snapshot_can_not_be_subtracted() -> None:
    histogram = fresh()
    earlier = histogram.snapshot()
    histogram.record(1)
    with pytest.raises(ValueError, match="earlier"):
        earlier.minus(histogram.snapshot())


def test_an_offset_outside_the_payload_is_refused() -> None:
    with pytest.raises(LayoutError):
        Histogram(bytearray(HISTOGRAM_BYTES), 8)
    with pytest.raises(LayoutError):
        Histogram(mmap.mmap(-1, 2 * HISTOGRAM_BYTES), 4)
