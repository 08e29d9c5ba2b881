"""Steps of a benchmark: contenders that return one value per call, measured in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tools.bench.common import Measurement, paired_runs

ROUNDS = 100_000


@dataclass(frozen=True, slots=True)
class Step:
    """One thing measured: contenders that return one value per call.

    Args:
        metric: its name in the result.
        contenders: by name; ours is "ringlane".
        unit: of the values.
    """

    metric: str
    contenders: dict[str, Callable[[], float]]
    unit: str = "ns"


def per_round(work: Callable[[], object], rounds: int) -> Callable[[], float]:
    """A contender: the duration of one call of `work` in ns, divided by the rounds it makes."""

    def measure() -> float:
        begin = time.perf_counter_ns()
        work()
        return (time.perf_counter_ns() - begin) / rounds

    return measure


def repeated(call: Callable[[], object], rounds: int = ROUNDS) -> Callable[[], float]:
    """A contender: one call from Python, `rounds` times."""

    def work() -> None:
        for _ in range(rounds):
            call()

    return per_round(work, rounds)


def repeated_with(
    call: Callable[[Any], object], argument: object, rounds: int = ROUNDS
) -> Callable[[], float]:
    """A contender: one call with one argument from Python, `rounds` times."""

    def work() -> None:
        for _ in range(rounds):
            call(argument)

    return per_round(work, rounds)


def nothing(_argument: object) -> None:
    """The plain Python call that steps from Python are measured against."""


def measured(steps: Sequence[Step], runs: int) -> list[Measurement]:
    """Run each step's contenders in turn."""
    return [
        Measurement(name, step.metric, step.unit, values)
        for step in steps
        for name, values in paired_runs(step.contenders, runs).items()
    ]
