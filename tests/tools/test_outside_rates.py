"""The rate ledger of a run as it is seen from outside."""

from __future__ import annotations

from shm.enums import RateLane, RateScope, RateStop, RateUnit, SegmentKind
from shm.rate_ledger import RateLedger
from shm.rate_rules import RateRule
from tests.tools.outside_kit import SECOND_NS, FakeRun
from tools.outside.budgets import BudgetReader, BudgetRow
from tools.verbs.rates import COLUMNS, budget_json, budget_lines

RULES = (
    RateRule("v.weight", 1, RateScope.ADDRESS, RateUnit.WEIGHT, 240, 60 * SECOND_NS, burst=120),
    RateRule("v.order", 1, RateScope.INSTRUMENT, RateUnit.REQUESTS, 60, 2 * SECOND_NS, count=3),
)


class Looker:
    """A fake run whose rates segment holds these rules."""

    def __init__(self) -> None:
        self.run = FakeRun()
        del self.run.anonymous._segments["rates"]
        segment = self.run.anonymous.create("rates", SegmentKind.RATES, RateLedger.bytes_needed(RULES))
        self.ledger = RateLedger.create(segment.payload, RULES)
        self.reader = BudgetReader(self.run.view, self.run.rates, self.run.machine)

    def look(self) -> list[BudgetRow]:
        return self.reader.look(self.run.workers())


def test_a_limit_is_shown_with_use_and_free_units_of_each_lane() -> None:
    looker = Looker()
    assert [row.rule for row in looker.look()] == ["v.weight"], "instruments nobody asked for are left out"
    looker.ledger.take(0, RateLane.NEW, 30, looker.run.now_ns)
    looker.run.now_ns += 1
    row = looker.look()[0]
    assert (row.limit, row.window_ns, row.burst, row.used, row.scope, row.unit) == (
        240, 60 * SECOND_NS, 120, 30, "address", "weight",
    )  # fmt: skip
    assert [lane.free for lane in row.lanes] == [90, 75, 60, 30]
    assert [lane.granted for lane in row.lanes] == [0, 0, 0, 30]
    assert row.lanes[3].granted_per_s == 30 * SECOND_NS


def test_a_bucket_of_one_instrument_appears_once_it_was_asked_and_a_stop_tells_how_long() -> None:
    looker = Looker()
    bucket = looker.ledger.bucket("v.order", 2)
    looker.ledger.penalize(bucket, looker.run.now_ns + 5, RateStop.NEW)
    looker.ledger.take(bucket, RateLane.NEW, 1, looker.run.now_ns)
    row = looker.look()[1]
    assert (row.rule, row.instrument_id) == ("v.order", 2)
    assert [lane.stopped_ns for lane in row.lanes] == [0, 0, 0, 5]
    assert [lane.refused for lane in row.lanes] == [0, 0, 0, 1]
    assert budget_json(row)["stopped_ns"] == 5
    looker.run.now_ns += 5
    assert looker.look()[1].stopped_ns == 0


def test_a_limit_is_a_line_per_lane_and_its_own_figures_stand_once() -> None:
    lines = budget_lines(Looker().look()[0])
    assert [len(line) for line in lines] == [len(COLUMNS)] * len(RateLane)
    assert [line[0].text for line in lines] == ["v.weight", "", "", ""]
    assert [line[7].text for line in lines] == ["cancel", "reconcile", "resync", "new"]


def test_a_run_without_limits_shows_none() -> None:
    run = FakeRun()
    assert BudgetReader(run.view, run.rates, run.machine).look(run.workers()) == []
