"""The shadow beside a market whose queues are known: the same rule agrees, another one raises the alarm."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from exec.shadow import Shadow, Terms
from exec.shadow_meter import DivergenceMeter, Outcome
from exec.simulator.latency import Latency
from exec.simulator.queue_model import parse_queue_model
from shm.enums import Liquidity, OrderStatus, ReportKind
from tests.exec.scene import BUY, SELL, linear
from tests.kit.fifo_market import MS, FifoMarket, Rule, anywhere, at_the_end, in_front

BOOK = ([(1000, 50), (990, 70)], [(1010, 40), (1020, 60)])
GRACE = 50 * MS
#: So many quotes behind a change of the rule the alarm has come.
N = 250
FEED = 3 * MS


def metered(
    seed: int, rule: Rule = at_the_end, model: str = "risk_averse"
) -> tuple[DivergenceMeter, FifoMarket]:
    """A meter behind a shadow beside a market that shows its book each 2 ms, 3 ms late.

    With `at_the_end` nobody in front ever leaves but by a trade: exactly what `risk_averse` says.
    """
    meter = DivergenceMeter()
    late = Latency(FEED)
    shadow = Shadow(meter.take, feed=late, response=late, queue=parse_queue_model(model), grace_ns=20 * MS)
    return meter, FifoMarket(shadow, seed, rule, delay_ns=FEED, book_every=2)


# ---- against the truth --------------------------------------------------------------------------


def test_the_shadow_of_a_known_rule_fills_as_often_as_the_market_does() -> None:
    meter, market = metered(1)
    market.run(300)
    told = meter.describe()
    assert meter.quotes > 290 and meter.is_believable
    assert abs(meter.fill_error_points) < 3.0
    assert 0.1 < told["fill"]["live"] < 0.9, "something is decided by the queue"
    assert told["latency"]["shadow_ms"] == pytest.approx(told["latency"]["live_ms"], rel=0.5)


@pytest.mark.parametrize("rule", [anywhere, in_front])
def test_another_rule_from_some_moment_on_raises_the_alarm(rule: Rule) -> None:
    meter, market = metered(2)
    market.run(200)
    assert meter.is_believable
    market.rule = rule
    market.run(N, until=lambda: not meter.is_believable)
    assert list(meter.alarms) == ["fill"]


@pytest.mark.parametrize(
    ("rule", "model", "sign"), [(at_the_end, "no_queue", -1), (anywhere, "risk_averse", 1)]
)
def test_a_model_that_is_no_rule_of_this_market_is_found_out(rule: Rule, model: str, sign: int) -> None:
    meter, market = metered(3, rule, model)
    market.run(N, until=lambda: not meter.is_believable)
    assert "fill" in meter.alarms and meter.fill_error_points * sign > 3.0


@pytest.mark.prove
def test_twenty_runs_of_a_stationary_market_raise_no_alarm() -> None:
    for seed in range(100, 120):
        meter, market = metered(seed)
        market.run(400)
        assert meter.is_believable, f"seed {seed}: {meter.describe()}"
        assert abs(meter.fill_error_points) < 3.0, f"seed {seed}"


@pytest.mark.prove
@pytest.mark.parametrize("rule", [anywhere, in_front])
def test_a_change_of_the_rule_is_found_within_so_many_quotes(rule: Rule) -> None:
    for seed in range(200, 210):
        meter, market = metered(seed)
        market.run(300)
        assert meter.is_believable
        market.rule = rule
        market.run(N, until=lambda: not meter.is_believable)
        assert "fill" in meter.alarms, f"seed {seed}: {meter.describe()}"


# ---- one quote ----------------------------------------------------------------------------------


class Desk:
    """A shadow with one instrument, told of real orders by hand."""

    def __init__(self, **model: Any) -> None:
        self.outcomes: list[Outcome] = []
        self.shadow = Shadow(self.outcomes.append, grace_ns=GRACE, **model)
        self.shadow.add_instrument(linear(), 32)
        self.shadow.on_book(0, *BOOK, 1)

    def report(self, order_id: int, kind: ReportKind, status: OrderStatus, at: int, **more: int) -> None:
        """A report about a real order."""
        fields = {
            "kind": int(kind), "order_status": int(status), "client_order_id": order_id,
            "orig_client_order_id": 0, "instrument_id": 0, "liquidity": 0, "leaves_units": 0, "last_units": 0,
            "last_price_units": 0, "fee_units": 0, "send_ns": 0, "ack_ns": 0,
        }  # fmt: skip
        self.shadow.on_report(SimpleNamespace(**fields | more), at)

    def fill(self, order_id: int, units: int, leaves: int, at: int) -> None:
        """A real fill at rest, at the bid."""
        status = OrderStatus.PARTIALLY_FILLED if leaves else OrderStatus.FILLED
        self.report(
            order_id, ReportKind.FILL, status, at, last_units=units, leaves_units=leaves,
            last_price_units=1000, liquidity=int(Liquidity.MAKER),
        )  # fmt: skip


def shares(outcomes: Sequence[Outcome]) -> list[tuple[float, float]]:
    """What both filled."""
    return [(one.live_share, one.shadow_share) for one in outcomes]


def test_both_canceled_without_a_fill_is_an_outcome_of_zeros() -> None:
    desk = Desk(entry=Latency(5 * MS))
    desk.shadow.on_new(Terms(7, 0, BUY, 1000, 10), 1 * MS)
    desk.report(7, ReportKind.NEW, OrderStatus.NEW, 3 * MS, send_ns=1 * MS, ack_ns=3 * MS)
    desk.shadow.on_cancel(7, 20 * MS)
    desk.report(7, ReportKind.CANCELED, OrderStatus.CANCELED, 22 * MS)
    assert not desk.outcomes, "the twin's cancel is on its way"
    desk.shadow.advance(25 * MS)
    assert shares(desk.outcomes) == [(0.0, 0.0)]
    assert (desk.outcomes[0].live_ack_ns, desk.outcomes[0].shadow_ack_ns) == (2 * MS, 5 * MS)
    assert desk.shadow.open_count == 0


def test_a_real_fill_waits_for_its_twin_and_tells_what_still_was_ahead_of_it() -> None:
    desk = Desk()
    desk.shadow.on_new(Terms(7, 0, BUY, 1000, 10), 1 * MS)
    desk.shadow.on_trade(0, 1000, 30, SELL, 5 * MS)
    desk.fill(7, 10, 0, 6 * MS)
    desk.shadow.on_trade(0, 1000, 35, SELL, 40 * MS)
    assert shares(desk.outcomes) == [(1.0, 1.0)], "20 were ahead, 35 came within the grace"
    assert desk.outcomes[0].ahead_share == pytest.approx(20 / 50)


@pytest.mark.parametrize("late", [False, True])
def test_what_comes_behind_the_grace_counts_for_neither(late: bool) -> None:
    desk = Desk()
    desk.shadow.on_new(Terms(7, 0, BUY, 1000, 10), 1 * MS)
    at = 6 * MS
    if late:
        desk.fill(7, 10, 0, at)
        desk.shadow.on_trade(0, 1000, 100, SELL, at + GRACE + 1)
        assert shares(desk.outcomes) == [(1.0, 0.0)]
    else:
        desk.shadow.on_trade(0, 1000, 100, SELL, at)
        desk.shadow.advance(at + GRACE)
        desk.fill(7, 10, 0, at + GRACE + 1)
        assert shares(desk.outcomes) == [(0.0, 1.0)]


def test_a_replace_to_another_price_begins_a_new_quote_with_what_is_left() -> None:
    desk = Desk()
    desk.shadow.on_new(Terms(7, 0, BUY, 1000, 10), 1 * MS)
    desk.fill(7, 4, 6, 2 * MS)
    desk.shadow.on_replace(7, 8, 990, 10, 30 * MS)
    desk.report(8, ReportKind.REPLACED, OrderStatus.NEW, 31 * MS, orig_client_order_id=7, leaves_units=6)
    assert shares(desk.outcomes) == [(0.4, 0.0)] and desk.shadow.open_count == 1
    desk.shadow.on_trade(0, 990, 200, SELL, 32 * MS)
    desk.fill(8, 6, 0, 33 * MS)
    desk.shadow.advance(60 * MS)
    assert shares(desk.outcomes)[1:] == [(1.0, 1.0)]


def test_a_replace_that_keeps_its_price_ends_the_quote_and_begins_none() -> None:
    desk = Desk()
    desk.shadow.on_new(Terms(7, 0, BUY, 1000, 10), 1 * MS)
    desk.shadow.on_replace(7, 8, 1000, 5, 30 * MS)
    desk.report(8, ReportKind.REPLACED, OrderStatus.NEW, 31 * MS, orig_client_order_id=7)
    desk.shadow.advance(32 * MS)
    assert shares(desk.outcomes) == [(0.0, 0.0)] and desk.shadow.open_count == 0


def test_twins_do_not_meet_each_other_and_do_not_share_a_trade() -> None:
    desk = Desk()
    for order_id in (7, 8):
        desk.shadow.on_new(Terms(order_id, 0, BUY, 1000, 10), 1 * MS)
    desk.shadow.on_new(Terms(9, 0, SELL, 1000, 10), 2 * MS)  # would meet both, and takes what is displayed
    desk.shadow.on_trade(0, 1000, 60, SELL, 5 * MS)
    for order_id in (7, 8, 9):
        desk.fill(order_id, 10, 0, 6 * MS)
    desk.shadow.advance(60 * MS)
    assert shares(desk.outcomes) == [(1.0, 1.0)] * 3


def test_refusals_holes_and_instruments_that_are_not_followed_are_not_counted() -> None:
    desk = Desk()
    desk.shadow.on_new(Terms(1, 5, BUY, 1000, 10), 1 * MS)
    desk.shadow.on_new(Terms(2, 0, BUY, 1000, 10), 1 * MS)
    desk.report(2, ReportKind.REJECTED, OrderStatus.REJECTED, 2 * MS)
    desk.shadow.on_new(Terms(3, 0, BUY, 1000, 10), 3 * MS)
    desk.shadow.on_hole(0)
    desk.shadow.on_cancel(3, 4 * MS)
    desk.report(3, ReportKind.CANCELED, OrderStatus.CANCELED, 5 * MS)
    desk.shadow.on_new(Terms(4, 0, BUY, 1000, 10), 6 * MS)
    desk.shadow.on_replace(4, 5, 990, 10, 7 * MS)
    desk.report(5, ReportKind.REPLACE_REJECTED, OrderStatus.REJECTED, 8 * MS, orig_client_order_id=4)
    desk.shadow.advance(100 * MS)
    assert not desk.outcomes and desk.shadow.open_count == 0
    assert desk.shadow.excluded == 5


def test_what_the_venue_itself_takes_back_ends_the_twin_too() -> None:
    desk = Desk()
    desk.shadow.on_new(Terms(7, 0, BUY, 1000, 10), 1 * MS)
    desk.report(7, ReportKind.CANCELED, OrderStatus.CANCELED, 9 * MS)
    assert shares(desk.outcomes) == [(0.0, 0.0)]


def test_pnl_is_marked_to_the_mid_with_fees_and_differs_by_who_filled() -> None:
    desk = Desk()
    desk.shadow.on_new(Terms(7, 0, BUY, 1000, 10), 1 * MS)
    desk.fill(7, 10, 0, 2 * MS)
    desk.shadow.advance(2 * MS + GRACE + 1)
    (outcome,) = desk.outcomes
    assert outcome.live_bps == pytest.approx(1e4 * 5 / 1005, rel=1e-3) and outcome.shadow_bps == 0.0
