"""Correlation as the gateway watches it: marks sampled at a step, groups for the gate, figures for status.

The work on a sample is done in steps that each end after some tens of microseconds, between which the loop
serves what came in: no intent waits for a matrix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from actors.gateway_settings import OrderGatewaySettings
from actors.runtime.context import Context
from risk.correlation import CorrelationMonitor, Grouping, Member
from risk.exposure import ExposureBook
from risk.gate import Gate

#: A step of work ends once it took that long, and the next one begins so much later.
STEP_NS = 50_000
PAUSE_NS = 200_000
#: Samples before anything is called correlated.
WARM_UP = 30
BLOCK_ROWS = 16
#: Groups and members that are told; more are counted.
TOLD = 20


class CorrelationWatch:
    """Samples marks, keeps the gate's groups and tells what it found.

    Args:
        context: of the gateway.
        gate: gets new groups as they change.
        exposures: has the marks.
        config: of the gateway.
    """

    def __init__(
        self, context: Context, gate: Gate, exposures: ExposureBook, config: OrderGatewaySettings
    ) -> None:
        self._context = context
        self._gate = gate
        self._exposures = exposures
        self._monitor: CorrelationMonitor
        self._job: Iterator[None] | None = None
        self._next_ns = 0
        self._samples = 0
        self._marks: dict[int, int] = {}
        self.grouping = Grouping([], [])
        self._config = config
        self._begin()

    def configure(self, config: OrderGatewaySettings) -> None:
        """Go on by new settings; another step or half-life begins anew, and so do the groups."""
        old, self._config = self._config, config
        if (old.correlation_step_ns, old.correlation_half_life) != (
            config.correlation_step_ns,
            config.correlation_half_life,
        ):
            self._begin()

    def _begin(self) -> None:
        self._monitor = CorrelationMonitor(
            (), half_life=self._config.correlation_half_life, warm_up=WARM_UP, block_rows=BLOCK_ROWS
        )
        self._job = None
        self._samples, self._marks = 0, {}
        if self.grouping.groups:
            self.grouping = Grouping([], [])
            self._gate.set_groups([])

    def on_heartbeat(self, now_ns: int) -> None:
        """Begin a sample when one is due and the one before is worked off."""
        step_ns = self._config.correlation_step_ns
        if not step_ns or now_ns < self._next_ns or self._job is not None:
            return
        self._next_ns = now_ns + step_ns
        self._job = self._run()
        self._step()

    def _step(self) -> None:
        job = self._job
        if job is None:  # a new configuration came in between
            return
        now_ns = self._context.now_ns
        begin = now_ns()
        while True:  # at least one piece, however late it is
            try:
                next(job)
            except StopIteration:
                self._job = None
                return
            if now_ns() - begin >= STEP_NS:
                break
        self._context.call_later(PAUSE_NS, self._step)

    def _run(self) -> Iterator[None]:
        """One sample from the marks to the groups, with a yield after each bounded piece of work."""
        monitor = self._monitor
        known = len(monitor.instrument_ids)
        table = self._context.instruments
        if len(table) > known:
            monitor.extend([table.get(index).instrument_id for index in range(known, len(table))])
        ids = monitor.instrument_ids
        if len(ids) < 2:
            return
        marks: dict[int, int] = {}
        for start in range(0, len(ids), BLOCK_ROWS):
            for instrument_id in ids[start : start + BLOCK_ROWS]:
                marks[instrument_id] = self._exposures.row(instrument_id).mark_price_units
            yield
        if marks == self._marks:
            return  # nothing moved at all: there is nothing to learn, and an idle engine rests
        self._marks = marks
        monitor.sample(marks)
        self._samples += 1
        yield
        for found in monitor.grouping(self._config.correlation_threshold):
            if found is not None:
                self._take(found)
            yield

    def _take(self, found: Grouping) -> None:
        if found.groups != self.grouping.groups:
            self._gate.set_groups(found.groups)
        self.grouping = found
        self._context.note("correlation", self.describe())

    def describe(self) -> dict[str, Any]:
        """What is known, JSON-ready: samples, groups by symbol ("-" before one that moves the other way)."""
        groups = self.grouping.groups
        return {
            "samples": self._samples,
            "warm_up": WARM_UP,
            "threshold": self._config.correlation_threshold,
            "limit_e8": self._gate.limits.max_correlated_notional_e8,
            "group_count": len(groups),
            "groups": [self._group(group) for group in groups[:TOLD]],
            "strongest": [
                {"pair": [self._name(p.first_id), self._name(p.second_id)], "rho": round(p.correlation, 4)}
                for p in self.grouping.strongest
            ],
        }

    def _group(self, group: Sequence[Member]) -> list[str]:
        names = [("-" if m.sign < 0 else "") + self._name(m.instrument_id) for m in group[:TOLD]]
        return [*names, f"and {len(group) - TOLD} more"] if len(group) > TOLD else names

    def _name(self, instrument_id: int) -> str:
        row = self._context.instruments.get(instrument_id)
        return f"{row.venue_id}:{row.symbol}"
