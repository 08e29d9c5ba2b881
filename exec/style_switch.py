"""Passive or aggressive: a switch that learns from what its choices cost.

One discounted upper-confidence-bound learner for each situation (Garivier & Moulines 2008, "On
upper-confidence bound policies for non-stationary bandit problems", algorithm D-UCB): every past outcome
counts γ^age, so what held an hour ago does not decide now, and the arm that was not tried lately becomes
uncertain again. Situations are buckets of what is known to tell the two styles apart: the spread in ticks,
and whether the queue on our side is the longer one. Nothing is random: equal outcomes give equal choices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from exec.errors import OrderError
from exec.slippage import Style

#: No single outcome counts for more (1 %): one bad print must not decide for hours.
OUTLIER_E8 = 1_000_000
#: Spreads up to so many ticks are one bucket each; the last one is open.
SPREAD_TICKS = (1, 3)
#: Share of our side's quantity in both touches, in percent: below the first the other side is the longer one.
OWN_PERCENT = (30, 70)
SPREAD_NAMES = ("1 tick", "2-3 ticks", "more ticks")
QUEUE_NAMES = ("short queue", "even queues", "long queue")


class Situation(NamedTuple):
    """A bucket: index of the spread, index of the share of our own side's queue."""

    spread: int
    queue: int

    def describe(self) -> str:
        """In words."""
        return f"{SPREAD_NAMES[self.spread]}, {QUEUE_NAMES[self.queue]}"


def situation_of(spread_units: int, tick_size: int, own_units: int, other_units: int) -> Situation:
    """Find the bucket.

    Args:
        spread_units: best ask minus best bid.
        tick_size: in the same units.
        own_units: quantity at the touch that a passive order would join.
        other_units: quantity at the touch that an aggressive one would take.
    """
    ticks = -(-spread_units // tick_size)
    percent = 100 * own_units // max(own_units + other_units, 1)
    return Situation(_bucket(ticks, SPREAD_TICKS), _bucket(percent, OWN_PERCENT))


def _bucket(value: int, bounds: Sequence[int]) -> int:
    return sum(value > bound for bound in bounds)


class Choice(NamedTuple):
    """What was chosen, and why: expected costs are discounted means, 10^-8 of the notional."""

    style: Style
    situation: Situation
    expected_e8: tuple[float | None, float | None]
    is_trial: bool


@dataclass(slots=True)
class _Learner:
    """Two arms of one situation, index = Style."""

    weights: list[float] = field(default_factory=lambda: [0.0, 0.0])
    costs: list[float] = field(default_factory=lambda: [0.0, 0.0])
    pending: list[int] = field(default_factory=lambda: [0, 0])


class StyleSwitch:
    """The learner.

    Args:
        discount: γ, what an outcome counts after one more in its situation; 0 < γ <= 1.
        bound_e8: B, how far apart outcomes are taken to be at most: larger tries more.
        exploration: ξ of the algorithm.
        fixed: always this style; outcomes are learned all the same.

    Raises:
        OrderError: a parameter is out of range.
    """

    def __init__(
        self,
        *,
        discount: float = 0.995,
        bound_e8: int = 5_000,
        exploration: float = 0.5,
        fixed: Style | None = None,
    ) -> None:
        if not 0.0 < discount <= 1.0 or bound_e8 <= 0 or exploration <= 0.0:
            raise OrderError(
                f"the switch needs 0 < discount <= 1, bound and exploration > 0: {discount}, {bound_e8}, "
                f"{exploration}"
            )
        self._discount = discount
        self._bound = float(bound_e8)
        self._exploration = exploration
        self._fixed = fixed
        self._learners: dict[Situation, _Learner] = {}

    def choose(self, situation: Situation, style: Style | None = None) -> Choice:
        """Choose a style: the one whose cost, less its uncertainty, is least; an untried one first.

        An arm whose outcome is still awaited counts as tried, so a burst of orders does not all try the same.

        Args:
            situation: the bucket.
            style: chosen elsewhere; its outcome is learned from like any other.
        """
        learner = self._learners.setdefault(situation, _Learner())
        means = self._means(learner)
        greedy = self._least(means)
        given = self._fixed if style is None else style
        chosen = self._least(self._scores(learner, means)) if given is None else given
        learner.pending[chosen] += 1
        return Choice(chosen, situation, (means[0], means[1]), given is None and chosen != greedy)

    def learn(self, choice: Choice, cost_e8: int) -> None:
        """Take the outcome of a choice, 10^-8 of the notional, cost positive; `OUTLIER_E8` at most."""
        learner = self._learners[choice.situation]
        for arm in Style:
            learner.weights[arm] *= self._discount
            learner.costs[arm] *= self._discount
        learner.weights[choice.style] += 1.0
        learner.costs[choice.style] += float(min(max(cost_e8, -OUTLIER_E8), OUTLIER_E8))
        learner.pending[choice.style] = max(0, learner.pending[choice.style] - 1)

    def forget(self, choice: Choice) -> None:
        """A choice has no outcome: its order never reached the market."""
        learner = self._learners[choice.situation]
        learner.pending[choice.style] = max(0, learner.pending[choice.style] - 1)

    @staticmethod
    def _means(learner: _Learner) -> list[float | None]:
        return [learner.costs[a] / learner.weights[a] if learner.weights[a] > 0.0 else None for a in Style]

    def _scores(self, learner: _Learner, means: Sequence[float | None]) -> list[float | None]:
        weights = [learner.weights[arm] + learner.pending[arm] for arm in Style]
        spread = max(math.log(max(sum(weights), 1.0)), 0.0) * self._exploration
        scores: list[float | None] = []
        for arm in Style:
            mean = means[arm]
            if mean is None:
                # Untried: first of all, but not twice before the first answer is there.
                scores.append(math.inf if learner.pending[arm] else -math.inf)
                continue
            scores.append(mean - 2.0 * self._bound * math.sqrt(spread / weights[arm]))
        return scores

    @staticmethod
    def _least(values: Sequence[float | None]) -> Style:
        """Least cost; equal or unknown ones fall to AGGRESSIVE, which fills."""
        first, second = (math.inf if v is None else v for v in values)
        return Style.PASSIVE if second < first else Style.AGGRESSIVE

    def rows(self) -> list[dict[str, Any]]:
        """What was learned, JSON-ready: per situation each style's discounted count and mean cost (bps)."""
        rows = []
        for situation, learner in sorted(self._learners.items()):
            row: dict[str, Any] = {"situation": situation.describe()}
            for style, mean in zip(Style, self._means(learner), strict=True):
                row[style.name.lower()] = {
                    "weight": round(learner.weights[style], 2),
                    "cost_bps": None if mean is None else round(mean / 1e4, 4),
                }
            rows.append(row)
        return rows
