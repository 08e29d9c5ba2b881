"""What every benchmark shares: the result object, its table and its JSON."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson
from rich.console import Console
from rich.table import Table

from tools.terminal import make_console

OURS = "ringlane"


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one contender reached for one metric.

    Args:
        name: the contender; ours is "ringlane".
        metric: latency_ns_p50, latency_ns_p99, throughput_per_s or cost_ns_per_frame, and what a bench adds.
        unit: unit of the values, "ns" or "1/s".
        values: one per run, at least one.
    """

    name: str
    metric: str
    unit: str
    values: Sequence[float]

    @property
    def median(self) -> float:
        """The figure that is compared."""
        return statistics.median(self.values)

    def as_dict(self) -> dict[str, object]:
        """One row of the JSON object."""
        return {
            "name": self.name,
            "metric": self.metric,
            "unit": self.unit,
            "runs": len(self.values),
            "median": round(self.median, 1),
            "min": round(min(self.values), 1),
            "max": round(max(self.values), 1),
        }


@dataclass(frozen=True, slots=True)
class Goal:
    """One thing that must be reached.

    Args:
        text: what is asked, in words.
        value: what was measured, None = not measured in this run.
        target: the limit.
        at_least: whether the value must not be below the target (else: not above).
        counts: False = the conditions under which it is asked did not hold; it is shown, but decides nothing.
        floor: the value that the floor of this machine has in the same run, None = there is none.
    """

    text: str
    value: float | None
    target: float
    at_least: bool
    counts: bool = True
    floor: float | None = None

    @property
    def reached(self) -> bool | None:
        """Whether it was reached; None = not measured."""
        return None if self.value is None else self.holds(self.value)

    def holds(self, value: float) -> bool:
        """Whether `value` would be enough."""
        return value >= self.target if self.at_least else value <= self.target

    @property
    def verdict(self) -> str:
        """In words."""
        if self.value is None:
            return "not measured"
        word = "reached" if self.reached else "NOT reached"
        if not self.reached and self.floor is not None and not self.holds(self.floor):
            word += ", nor by the floor"
        return word if self.counts else f"{word} (does not count)"

    def as_dict(self) -> dict[str, object]:
        """One goal of the JSON object."""
        return {
            "goal": self.text,
            "value": None if self.value is None else round(self.value, 4),
            "target": self.target,
            "reached": self.reached,
            "counts": self.counts,
            "floor": None if self.floor is None else round(self.floor, 4),
        }


@dataclass(frozen=True, slots=True)
class BenchResult:
    """The outcome of one benchmark.

    Args:
        bench: its name.
        machine: facts of the machine it ran on.
        results: all measurements.
        notes: what a reader must know to trust the figures: where the input came from, what was left out.
        absent: contenders without a figure (or with fewer runs), and why: not installed, or the error.
        goals: what must be reached, and whether it was.
    """

    bench: str
    machine: dict[str, object]
    results: Sequence[Measurement]
    notes: Sequence[str] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    goals: Sequence[Goal] = ()

    def ratios(self) -> dict[str, float]:
        """Our median over each other contender's, by "<metric>: ringlane / <name>"."""
        ours = {r.metric: r.median for r in self.results if r.name == OURS}
        return {
            f"{r.metric}: {OURS} / {r.name}": round(ours[r.metric] / r.median, 4)
            for r in self.results
            if r.name != OURS and r.metric in ours and r.median
        }

    def to_json(self) -> str:
        """The one object `--json` prints."""
        document = {
            "bench": self.bench,
            "machine": self.machine,
            "results": [r.as_dict() for r in self.results],
            "ratios": self.ratios(),
            "notes": list(self.notes),
        }
        if self.absent:
            document["absent"] = dict(self.absent)
        if self.goals:
            document["goals"] = [goal.as_dict() for goal in self.goals]
        return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()

    def show(self, console: Console | None = None) -> None:
        """Prints a table for people."""
        console = console or make_console()
        console.print(self.table())
        for name, ratio in self.ratios().items():
            console.print(f"  {name}  {ratio:.3f}", highlight=False)
        self.show_rest(console)

    def table(self) -> Table:
        """One row per measurement."""
        table = Table(
            title=f"bench {self.bench}",
            caption=f"{self.machine.get('cpu')}; PM QoS {self.machine.get('pm_qos')}",
        )
        for head in ("name", "metric", "runs", "median", "min", "max"):
            table.add_column(head, justify="left" if head in ("name", "metric") else "right")
        for r in self.results:
            figures = (f"{v:,.0f} {r.unit}" for v in (r.median, min(r.values), max(r.values)))
            table.add_row(r.name, r.metric, str(len(r.values)), *figures)
        return table

    def show_rest(self, console: Console) -> None:
        """Prints goals, absent contenders and notes."""
        if self.goals:
            goals = Table(title="must reach")
            for head in ("goal", "measured", "target", "floor", "verdict"):
                goals.add_column(head, justify="left" if head in ("goal", "verdict") else "right")
            for goal in self.goals:
                measured, floor = (
                    "-" if value is None else f"{value:,.2f}" for value in (goal.value, goal.floor)
                )
                target = f"{'≥' if goal.at_least else '≤'} {goal.target:,g}"
                goals.add_row(goal.text, measured, target, floor, goal.verdict)
            console.print(goals)
        for name, reason in self.absent.items():
            console.print(f"  {name}: {reason}", highlight=False)
        for note in self.notes:
            console.print(f"  {note}", style="dim", highlight=False)


def paired_runs(contenders: dict[str, Callable[[], float]], runs: int) -> dict[str, list[float]]:
    """Runs all contenders in turn, so that a busy moment hits each alike; the first turn is not measured."""
    values: dict[str, list[float]] = {name: [] for name in contenders}
    for run in range(runs + 1):
        for name, measure in contenders.items():
            value = measure()
            if run:
                values[name].append(value)
    return values
