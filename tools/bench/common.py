"""What every benchmark shares: the result object, its table and its JSON."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
        metric: latency_ns_p50, latency_ns_p99, throughput_per_s or cost_ns_per_frame.
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
class BenchResult:
    """The outcome of one benchmark.

    Args:
        bench: its name.
        machine: facts of the machine it ran on.
        results: all measurements.
        notes: what a reader must know to trust the figures: where the input came from, what was left out.
    """

    bench: str
    machine: dict[str, object]
    results: Sequence[Measurement]
    notes: Sequence[str] = ()

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
        return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()

    def show(self, console: Console | None = None) -> None:
        """Prints a table for people."""
        console = console or make_console()
        table = Table(
            title=f"bench {self.bench}",
            caption=f"{self.machine.get('cpu')}; PM QoS {self.machine.get('pm_qos')}",
        )
        for head in ("name", "metric", "runs", "median", "min", "max"):
            table.add_column(head, justify="left" if head in ("name", "metric") else "right")
        for r in self.results:
            figures = (f"{v:,.0f} {r.unit}" for v in (r.median, min(r.values), max(r.values)))
            table.add_row(r.name, r.metric, str(len(r.values)), *figures)
        console.print(table)
        for name, ratio in self.ratios().items():
            console.print(f"  {name}  {ratio:.3f}", highlight=False)
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
