"""How far a simulation is from what really happens, and when to stop believing it: statistics without I/O.

`BettingTest` judges one mean: it bets against "the mean lies within the tolerance" and its wealth is an
e-process, so the probability that it ever reaches 1/α while the claim holds is at most α, however often it is
looked at and whatever the outcomes depend on (Ville, "Étude critique de la notion de collectif", 1939). The
bets are those of Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86,
2024: each outcome x in [-1, 1] multiplies the wealth by 1 + λ(x - tolerance), and by 1 + λ(-x - tolerance) on
the other side. A claim that holds for a long time and then breaks would find that wealth gone, so a part
of it is kept back and a fresh bet begins every so many outcomes with its share 1/(j(j+1)) of the whole: the
shares add up to one, which is how α is spent over time (restarts as in Shin, Ramdas & Rinaldo, "E-detectors",
2024).

`DivergenceMeter` has such a test for fills, latency and PnL, which share α, and the means themselves.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from exec.errors import SimulatorError

#: Shares of the wealth that are bet: small ones find small differences, large ones find large ones fast.
STAKES = (0.05, 0.15, 0.4, 0.8)
BLOCK = 25
BETS_MAX = 40
#: The PnL of a quote counts up to so many basis points of its value: one bad print decides nothing.
PNL_SCALE_BPS = 10.0
#: Added to the sum of two latencies before they are compared: microseconds make no back-test wrong.
LATENCY_FLOOR_NS = 200_000
SHARES = {"fill": 0.5, "latency": 0.25, "pnl": 0.25}
NEWEST = 200


class _Bet:
    """A bet begun at one outcome: for each stake the growth on both sides."""

    __slots__ = ("high", "low", "share")

    def __init__(self, share: float) -> None:
        self.share = share
        self.high = [1.0] * len(STAKES)
        self.low = [1.0] * len(STAKES)

    @property
    def growth(self) -> float:
        return (sum(self.high) + sum(self.low)) / (2 * len(STAKES))


class BettingTest:
    """Whether a mean stays within a tolerance around zero; see the module.

    Args:
        tolerance: the mean may be so far from zero, 0 <= tolerance < 1.
        alpha: probability of a false alarm over all time, 0 < alpha < 1.

    Attributes:
        count, total: outcomes taken, and their sum.
        wealth: what the bets have come to, 1 at the beginning.
        alarm_at: number of the outcome that raised the alarm, 0 = none; it stays.

    Raises:
        SimulatorError: a parameter is out of range.
    """

    def __init__(self, tolerance: float, alpha: float) -> None:
        if not 0.0 <= tolerance < 1.0 or not 0.0 < alpha < 1.0:
            raise SimulatorError(f"a test needs 0 <= tolerance < 1 and 0 < alpha < 1: {tolerance}, {alpha}")
        self.tolerance = tolerance
        self.alpha = alpha
        self.count = 0
        self.total = 0.0
        self.wealth = 1.0
        self.alarm_at = 0
        self._kept = 1.0  # not bet yet
        self._begun = 0
        self._bets: list[_Bet] = []
        # A factor must not become negative: x - tolerance is -1 - tolerance at the least.
        self._stakes = tuple(stake / (1.0 + tolerance) for stake in STAKES)
        self.newest: deque[float] = deque(maxlen=NEWEST)

    def take(self, value: float) -> bool:
        """Take an outcome, cut to [-1, 1]; returns whether it raised the alarm."""
        value = min(1.0, max(-1.0, value))
        if self.count % BLOCK == 0 and not self.alarm_at:
            self._begin()
        self.count += 1
        self.total += value
        self.newest.append(value)
        if self.alarm_at:
            return False
        above, below = value - self.tolerance, -value - self.tolerance
        for bet in self._bets:
            for i, stake in enumerate(self._stakes):
                bet.high[i] *= 1.0 + stake * above
                bet.low[i] *= 1.0 + stake * below
        self.wealth = self._kept + sum(bet.share * bet.growth for bet in self._bets)
        if self.wealth >= 1.0 / self.alpha:
            self.alarm_at = self.count
            return True
        return False

    def _begin(self) -> None:
        self._begun += 1
        share = 1.0 / (self._begun * (self._begun + 1))
        self._kept -= share
        self._bets.append(_Bet(share))
        if len(self._bets) > BETS_MAX:
            # To give a bet up can only lower the wealth, so what is proven stays true.
            self._bets.remove(min(self._bets, key=lambda bet: bet.growth))

    @property
    def mean(self) -> float:
        """Of all outcomes; 0 before any."""
        return self.total / self.count if self.count else 0.0

    @property
    def mean_of_newest(self) -> float:
        """Of the newest outcomes."""
        return sum(self.newest) / len(self.newest) if self.newest else 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one quote came to, really and in the shadow.

    Args:
        order_id: client order id.
        instrument_id: what.
        live_share, shadow_share: filled, as a share of what was asked, 0 to 1.
        live_ack_ns, shadow_ack_ns: from sending to the acknowledgment; 0 = unknown.
        ahead_share: what the shadow still had in front of it when the real order filled, as a share of the
            queue it joined; None = the real one did not fill at rest, so nothing is known of its place.
        live_bps, shadow_bps: marked to the mid when both had ended, fees included, in basis points of the
            quote's value.
    """

    order_id: int
    instrument_id: int
    live_share: float
    shadow_share: float
    live_ack_ns: int = 0
    shadow_ack_ns: int = 0
    ahead_share: float | None = None
    live_bps: float = 0.0
    shadow_bps: float = 0.0


class DivergenceMeter:
    """Compares outcomes and says when the simulation is not believable any more.

    Args:
        alpha: probability of a false alarm over all time and all three tests.
        fill_tolerance: of the fill probability, 0.03 = three points.
        latency_tolerance: of the relative difference (real - shadow) / (real + shadow), both above
            `LATENCY_FLOOR_NS`; 0.25 = one is two thirds longer than the other.
        pnl_tolerance_bps: of a quote's PnL, `PNL_SCALE_BPS` at most.
    """

    def __init__(
        self,
        *,
        alpha: float = 0.05,
        fill_tolerance: float = 0.03,
        latency_tolerance: float = 0.25,
        pnl_tolerance_bps: float = 0.5,
    ) -> None:
        tolerances = {
            "fill": fill_tolerance,
            "latency": latency_tolerance,
            "pnl": pnl_tolerance_bps / PNL_SCALE_BPS,
        }
        self.tests = {name: BettingTest(value, alpha * SHARES[name]) for name, value in tolerances.items()}
        self.quotes = 0
        self._live = self._shadow = 0.0
        self._ahead = 0.0
        self._ahead_count = 0
        self._acks = [0, 0]
        self._ack_count = 0

    @property
    def alarms(self) -> dict[str, int]:
        """By what diverged: the number of the quote that raised the alarm."""
        return {name: test.alarm_at for name, test in self.tests.items() if test.alarm_at}

    @property
    def is_believable(self) -> bool:
        """Whether no alarm was raised."""
        return not self.alarms

    def take(self, outcome: Outcome) -> list[str]:
        """Take one quote; returns what it raised an alarm about."""
        self.quotes += 1
        self._live += outcome.live_share
        self._shadow += outcome.shadow_share
        raised = []
        if self.tests["fill"].take(outcome.live_share - outcome.shadow_share):
            raised.append("fill")
        live_ns, shadow_ns = outcome.live_ack_ns, outcome.shadow_ack_ns
        if live_ns > 0 and shadow_ns >= 0:
            self._acks[0] += live_ns
            self._acks[1] += shadow_ns
            self._ack_count += 1
            if self.tests["latency"].take((live_ns - shadow_ns) / (live_ns + shadow_ns + LATENCY_FLOOR_NS)):
                raised.append("latency")
        difference = (outcome.live_bps - outcome.shadow_bps) / PNL_SCALE_BPS
        if (outcome.live_share or outcome.shadow_share) and self.tests["pnl"].take(difference):
            raised.append("pnl")
        if outcome.ahead_share is not None:
            self._ahead += outcome.ahead_share
            self._ahead_count += 1
        return raised

    @property
    def fill_error_points(self) -> float:
        """Fill probability, real less shadow, in percentage points."""
        return 100.0 * self.tests["fill"].mean

    def describe(self) -> dict[str, Any]:
        """Everything, JSON-ready."""
        quotes, acks = max(self.quotes, 1), max(self._ack_count, 1)
        fill, latency, pnl = (self.tests[name] for name in ("fill", "latency", "pnl"))
        return {
            "quotes": self.quotes,
            "is_believable": self.is_believable,
            "alarms": self.alarms,
            "fill": {
                "live": round(self._live / quotes, 4),
                "shadow": round(self._shadow / quotes, 4),
                "error_points": round(self.fill_error_points, 3),
                "newest_error_points": round(100.0 * fill.mean_of_newest, 3),
                **_odds(fill),
            },
            "latency": {
                "live_ms": round(self._acks[0] / acks / 1e6, 4),
                "shadow_ms": round(self._acks[1] / acks / 1e6, 4),
                "relative_error": round(latency.mean, 4),
                **_odds(latency),
            },
            "pnl": {
                "error_bps": round(PNL_SCALE_BPS * pnl.mean, 4),
                "newest_error_bps": round(PNL_SCALE_BPS * pnl.mean_of_newest, 4),
                "tolerance_bps": round(PNL_SCALE_BPS * pnl.tolerance, 4),
                **_odds(pnl),
            },
            "queue": {
                "known": self._ahead_count,
                "still_ahead": round(self._ahead / self._ahead_count, 4) if self._ahead_count else None,
            },
        }


def _odds(test: BettingTest) -> dict[str, float]:
    """The evidence against a claim, and what is enough."""
    return {
        "tolerance": round(test.tolerance, 4),
        "evidence": round(test.wealth, 4),
        "alarm_from": round(1.0 / test.alpha, 1),
    }
