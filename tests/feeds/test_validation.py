"""Timestamp and spread rules: fixtures with their reason codes."""

from __future__ import annotations

import random
from statistics import median_high

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.validation import Severity, TimestampRule, ValidationSettings, Validator, judge_spread
from shm.enums import BookReason

MS = 1_000_000


@pytest.mark.parametrize("offset_ms", [-1270, 0, 35, 3_600_000])
def test_a_constant_offset_of_any_size_is_normal(offset_ms: int) -> None:
    rule = TimestampRule(100 * MS, window=51, warm_up=10)
    noise = random.Random(1)
    for i in range(200):
        venue = i * 10 * MS
        receive = venue + offset_ms * MS + noise.randrange(20 * MS)
        assert rule.judge(receive, venue) is BookReason.NONE
        rule.sample(receive, venue)
    assert abs(rule.offset_ns - offset_ms * MS) < 20 * MS


@pytest.mark.parametrize("error_ms", [-150, 150])
def test_a_deviation_from_the_measured_offset_is_found_late_or_early(error_ms: int) -> None:
    rule = TimestampRule(100 * MS, window=51, warm_up=10)
    for i in range(60):
        rule.sample(i * MS - 1270 * MS, i * MS)
    assert rule.judge((-1270 + error_ms) * MS, 0) is BookReason.TIMESTAMP
    assert rule.judge((-1270 + error_ms // 2) * MS, 0) is BookReason.NONE


def test_nothing_is_judged_during_warm_up() -> None:
    rule = TimestampRule(MS, window=5, warm_up=3)
    rule.sample(0, 0)
    rule.sample(0, 0)
    assert rule.judge(10**12, 0) is BookReason.NONE
    rule.sample(0, 0)
    assert rule.judge(10**12, 0) is BookReason.TIMESTAMP
    rule.reset()
    assert rule.judge(10**12, 0) is BookReason.NONE
    assert rule.offset_ns == 0


def test_a_lasting_change_becomes_the_new_normal() -> None:
    rule = TimestampRule(100 * MS, window=21, warm_up=5)
    for _ in range(21):
        rule.sample(0, 0)
    verdicts = []
    for _ in range(21):
        verdicts.append(rule.judge(500 * MS, 0))
        rule.sample(500 * MS, 0)
    assert verdicts[0] is BookReason.TIMESTAMP
    assert verdicts[-1] is BookReason.NONE


@settings(max_examples=60)
@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=60), st.integers(1, 15))
def test_the_offset_is_the_median_of_the_window(values: list[int], window: int) -> None:
    rule = TimestampRule(1, window=window, warm_up=1)
    for value in values:
        rule.sample(value, 0)
    assert rule.offset_ns == median_high(values[-window:])


@pytest.mark.parametrize(
    ("bid", "ask", "expected"),
    [
        (10_000, 10_001, BookReason.NONE),
        (10_000, 10_500, BookReason.NONE),
        (10_000, 10_600, BookReason.SPREAD),
        (10_000, 10_000, BookReason.CROSSED),
        (10_001, 10_000, BookReason.CROSSED),
        (0, 10_000, BookReason.NONE),
        (10_000, 0, BookReason.NONE),
    ],
)
def test_spread_fixtures(bid: int, ask: int, expected: BookReason) -> None:
    assert judge_spread(bid, ask, 500.0) is expected


def test_findings_are_counted_by_reason_and_instrument() -> None:
    validator = Validator(ValidationSettings(warm_up=1, spread_severity=Severity.OFF))
    validator.count(3, BookReason.SPREAD)
    validator.count(3, BookReason.SPREAD)
    validator.count(4, BookReason.TIMESTAMP)
    assert validator.totals == {BookReason.SPREAD: 2, BookReason.TIMESTAMP: 1}
    assert validator.counts[3, BookReason.SPREAD] == 2
    assert validator.spread(10, 1) is BookReason.NONE, "a rule that is off judges nothing"
    assert validator.timestamp(0, 5, 0) is BookReason.NONE, "a message without a venue time is not judged"


def test_unusable_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="usable"):
        TimestampRule(1, window=5, warm_up=6)
