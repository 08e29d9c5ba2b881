"""The meter: wealth is an e-process, what lies within the tolerance raises nothing, alarms stay."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exec.errors import SimulatorError
from exec.shadow_meter import BLOCK, BettingTest, DivergenceMeter, Outcome


@pytest.mark.parametrize("tolerance", [0.0, 0.03, 0.3])
def test_the_expected_wealth_never_exceeds_one_while_the_claim_holds(tolerance: float) -> None:
    up = (1.0 + tolerance) / 2.0  # the largest mean that the claim allows, of outcomes that are 1 or -1
    expected = 0.0
    for signs in product((1.0, -1.0), repeat=8):
        test = BettingTest(tolerance, 1e-9)
        for sign in signs:
            test.take(sign)
        weight = 1.0
        for sign in signs:
            weight *= up if sign > 0 else 1.0 - up
        expected += weight * test.wealth
    assert expected == pytest.approx(1.0, abs=1e-9) if tolerance == 0.0 else expected < 1.0


@given(values=st.lists(st.floats(-3, 3), max_size=120), tolerance=st.floats(0.0, 0.9))
def test_wealth_is_positive_and_the_mean_is_of_what_was_cut_to_the_range(
    values: list[float], tolerance: float
) -> None:
    test = BettingTest(tolerance, 0.05)
    for value in values:
        test.take(value)
    cut = [min(1.0, max(-1.0, value)) for value in values]
    assert test.wealth > 0.0 and test.count == len(values)
    assert test.mean == pytest.approx(sum(cut) / max(len(cut), 1))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_claim_that_breaks_late_is_found_nearly_as_soon_as_one_that_never_held(sign: float) -> None:
    early, late = BettingTest(0.03, 0.05), BettingTest(0.03, 0.05)
    for i in range(200 * BLOCK):
        assert not late.take(1.0 if i % 2 else -1.0)
    for test in (early, late):
        while not test.alarm_at:
            test.take(sign)
    assert late.alarm_at - late.count + 1 == 1, "it counts outcomes"
    assert early.count < 15
    assert late.count - 200 * BLOCK < early.count + 30


def test_an_alarm_stays_and_is_raised_once() -> None:
    test = BettingTest(0.1, 0.05)
    raised = [test.take(1.0) for _ in range(60)]
    assert sum(raised) == 1 and raised.index(True) + 1 == test.alarm_at
    assert not any(test.take(-0.5) for _ in range(60)) and test.alarm_at


@pytest.mark.parametrize(("tolerance", "alpha"), [(-0.1, 0.05), (1.0, 0.05), (0.1, 0.0), (0.1, 1.0)])
def test_a_test_that_means_nothing_can_not_be_made(tolerance: float, alpha: float) -> None:
    with pytest.raises(SimulatorError, match="a test needs"):
        BettingTest(tolerance, alpha)


def test_the_meter_says_what_diverged_and_keeps_the_rest_believable() -> None:
    meter = DivergenceMeter()
    for number in range(200):
        meter.take(Outcome(number, 0, float(number % 2), float(number % 2), 900_000_000, 1_000_000))
    told = meter.describe()
    assert list(meter.alarms) == ["latency"] and not meter.is_believable
    assert told["fill"]["error_points"] == 0.0 and told["fill"]["live"] == 0.5
    assert told["latency"]["live_ms"] == 900.0 and told["latency"]["relative_error"] > 0.9


def test_a_quote_that_nobody_filled_says_nothing_about_pnl_and_one_without_an_ack_nothing_about_latency() -> (
    None
):
    meter = DivergenceMeter()
    meter.take(Outcome(1, 0, 0.0, 0.0))
    assert meter.tests["fill"].count == 1
    assert meter.tests["pnl"].count == meter.tests["latency"].count == 0
    meter.take(Outcome(2, 0, 1.0, 0.0, live_bps=-50.0, ahead_share=0.25))
    assert meter.tests["pnl"].mean == -1.0, "one bad print counts up to the scale"
    assert meter.describe()["queue"] == {"known": 1, "still_ahead": 0.25}
