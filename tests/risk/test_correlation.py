"""Streaming correlations against numpy's own, and what counts as one position."""

from __future__ import annotations

import math

import numpy as np
import pytest

from risk.correlation import CorrelationMonitor, Member
from risk.errors import LimitsError


def walk(seed: int, steps: int, rho: float) -> list[dict[int, int]]:
    """Marks of three instruments: 10 and 11 correlated by rho, 12 on its own."""
    chance = np.random.default_rng(seed)
    logs = np.log(np.array([50_000.0, 3_000.0, 150.0]) * 1e6)
    marks = []
    for _ in range(steps):
        a, b, c = chance.standard_normal(3)
        logs = logs + 1e-3 * np.array([a, rho * a + math.sqrt(1 - rho * rho) * b, c])
        marks.append({10 + i: int(math.exp(x)) for i, x in enumerate(logs)})
    return marks


@pytest.mark.parametrize("rho", [0.95, -0.95])
def test_two_symbols_at_95_percent_are_one_and_the_third_stands_alone(rho: float) -> None:
    monitor = CorrelationMonitor([10, 11, 12], half_life=300, warm_up=50)
    for marks in walk(5, 1500, rho):
        monitor.sample(marks)
    assert monitor.matrix()[0, 1] == pytest.approx(rho, abs=0.03)
    assert monitor.groups(0.9) == [(Member(10, 1), Member(11, 1 if rho > 0 else -1))]
    assert monitor.groups(0.99) == []


def test_the_stream_equals_the_weighted_sum_over_all_returns() -> None:
    monitor = CorrelationMonitor([10, 11, 12], half_life=20, warm_up=2, block_rows=2)
    marks = walk(7, 80, 0.5)
    for sample in marks:
        monitor.sample(sample)
        assert monitor.is_busy
    logs = np.log(np.array([[sample[10 + i] for i in range(3)] for sample in marks], dtype=float))
    returns = np.diff(logs, axis=0)
    weights = 0.5 ** (np.arange(len(returns))[::-1] / 20)
    covariance = (returns * weights[:, None]).T @ returns
    scale = np.sqrt(np.diag(covariance))
    assert monitor.matrix() == pytest.approx(covariance / scale[:, None] / scale[None, :])


def test_nothing_is_correlated_before_it_is_warm_or_without_marks() -> None:
    monitor = CorrelationMonitor([10, 11, 12], half_life=300, warm_up=50)
    for marks in walk(5, 50, 0.99):
        monitor.sample(marks | {12: 0})
    assert monitor.groups(0.5) == []
    monitor.sample(walk(5, 51, 0.99)[-1])
    assert monitor.groups(0.5) == [(Member(10, 1), Member(11, 1))]
    assert monitor.matrix()[2].tolist() == [0.0, 0.0, 1.0]


def test_what_is_linked_through_a_third_is_one_group() -> None:
    monitor = CorrelationMonitor([1, 2, 3], half_life=1000, warm_up=10)
    chance = np.random.default_rng(1)
    logs = np.full(3, 20.0)
    for _ in range(1000):
        a, b = chance.standard_normal(2) * 1e-3
        logs = logs + np.array([a, (a + b) / math.sqrt(2), b])
        monitor.sample({i + 1: int(math.exp(x)) for i, x in enumerate(logs)})
    assert abs(monitor.matrix()[0, 2]) < 0.3
    assert [m.instrument_id for m in monitor.groups(0.6)[0]] == [1, 2, 3]


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1.5])
def test_a_threshold_that_makes_no_sense_is_refused(threshold: float) -> None:
    with pytest.raises(LimitsError, match="threshold"):
        CorrelationMonitor([1], half_life=1, warm_up=2).groups(threshold)


@pytest.mark.parametrize("fields", [{"half_life": 0}, {"warm_up": 1}, {"block_rows": 0}])
def test_parameters_that_make_no_sense_are_refused(fields: dict[str, int]) -> None:
    with pytest.raises(LimitsError, match="correlation needs"):
        CorrelationMonitor([1], **{"half_life": 10, "warm_up": 5, "block_rows": 4, **fields})
