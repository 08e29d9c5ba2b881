"""The rate limits of a run as its ledger stands: what is used, what each lane may take, who is stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from actors.runtime.spec import rates_name
from shm.enums import RateLane, SegmentKind
from shm.rate_ledger import RateLedger, RuleView
from tools.outside.rates import Rates
from tools.outside.view import RunView
from tools.outside.workers import Machine, WorkerRow


@dataclass(frozen=True, slots=True)
class LaneRow:
    """One lane of a bucket.

    Attributes:
        share: units to which it may fill the bucket.
        free: units it could take now, stops left aside.
        granted: units so far; granted_per_s over the last interval.
        refused: takes that got nothing.
        stopped_ns: how long the venue still wants to be left alone by it, 0 = it may ask.
    """

    lane: str
    share: int
    free: int
    granted: int
    granted_per_s: float | None
    refused: int
    stopped_ns: int


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """One bucket.

    Attributes:
        rule: name of its rule.
        instrument_id: where the venue counts instruments apart, else None.
        limit, window_ns: units that the venue allows in its window.
        burst: units at once.
        used: units that have not yet flowed off.
        use: these as a share of the burst, 0 to 1; above it when the venue counts what others sent.
    """

    rule: str
    instrument_id: int | None
    venue_id: int
    address: str
    scope: str
    unit: str
    limit: int
    window_ns: int
    burst: int
    used: int
    use: float
    lanes: tuple[LaneRow, ...]

    @property
    def stopped_ns(self) -> int:
        """How long the lane that waits longest still waits by the venue's word."""
        return max(lane.stopped_ns for lane in self.lanes)


class BudgetReader:
    """Looks at the rate ledger of one run again and again.

    Args:
        view: the run.
        rates: keeps the counters between looks.
        machine: clock.
    """

    def __init__(self, view: RunView, rates: Rates, machine: Machine) -> None:
        self._view = view
        self._rates = rates
        self._machine = machine

    def look(self, workers: Mapping[int, WorkerRow]) -> list[BudgetRow]:  # noqa: ARG002
        """Read every bucket; of those per instrument only the ones that anybody has asked."""
        ledger = self._view.face(rates_name(), SegmentKind.RATES, RateLedger.attach)
        if ledger is None:
            return []
        now_ns = self._machine.now_ns()
        rows = []
        for rule in ledger.rule_views():
            for number in range(rule.buckets):
                row = self._bucket(ledger, rule, number, now_ns)
                if rule.buckets == 1 or any(lane.granted or lane.refused for lane in row.lanes):
                    rows.append(row)
        return rows

    def _bucket(self, ledger: RateLedger, rule: RuleView, number: int, now_ns: int) -> BudgetRow:
        view = ledger.view(rule.first + number, now_ns)
        lanes = tuple(
            LaneRow(
                lane.name.lower(),
                view.shares[lane],
                view.free[lane],
                view.granted[lane],
                self._rates.per_s((rates_name(), view.bucket, lane), view.granted[lane], now_ns),
                view.refused[lane],
                max(view.stop_ns[lane] - now_ns, 0),
            )
            for lane in RateLane
        )
        return BudgetRow(
            rule.name,
            number if rule.buckets > 1 else None,
            rule.venue_id,
            rule.address,
            rule.scope.name.lower(),
            rule.unit.name.lower(),
            view.limit,
            rule.window_ns,
            view.burst,
            view.used,
            view.used / view.burst,
            lanes,
        )
