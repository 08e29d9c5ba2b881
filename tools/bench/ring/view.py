"""The ring's table: one row per contender."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from tools.bench.common import OURS, BenchResult, Measurement
from tools.terminal import make_console

LATENCIES = ("latency_ns_p50", "latency_ns_p99", "latency_ns_p999")


class RingResult(BenchResult):
    """A bench result that is shown with one row per contender."""

    __slots__ = ()

    def show(self, console: Console | None = None) -> None:
        """Prints the table, then what must be reached, who is absent, and notes."""
        console = console or make_console()
        console.print(self.table())
        self.show_rest(console)

    def table(self) -> Table:
        """Latencies in µs, million messages per second: median (min–max) of the runs, and ratios to ours."""
        found = {(r.name, r.metric): r for r in self.results}
        runs = max((len(r.values) for r in self.results), default=0)
        table = Table(
            title=f"bench ring: one way into a Python handler; median (min–max) of {runs} runs",
            caption=f"{self.machine.get('cpu')}; PM QoS {self.machine.get('pm_qos')}; producer on core "
            f"{self.machine.get('producer_core')}, consumer on core {self.machine.get('consumer_core')}"
            "\n× its latency over ours, ÷ our rate over its",
            box=SIMPLE,
            padding=(0, 1, 0, 0),
        )
        table.add_column("name", no_wrap=True)
        heads = ("p50 µs", "p99 µs", "p99.9 µs", "p50 ×", "p99 ×", "million/s", "rate ÷", "preempts")
        for head in heads:
            table.add_column(head, justify="right", no_wrap=True)
        for name in dict.fromkeys(r.name for r in self.results):
            cells = [
                figure(found.get((name, LATENCIES[0])), 1e-3, 1),
                figure(found.get((name, LATENCIES[1])), 1e-3, 0),
                figure(found.get((name, LATENCIES[2])), 1e-3, 0, spread=False),
            ]
            cells += [ratio(found, name, metric) for metric in LATENCIES[:2]]
            rate = found.get((name, "throughput_per_s"))
            cells += [figure(rate, 1e-6, 1), ratio(found, name, "throughput_per_s", inverse=True)]
            cells.append(figure(found.get((name, "preemptions")), 1, 0, spread=False))
            table.add_row(name, *cells)
        return table


def figure(measurement: Measurement | None, scale: float, digits: int, *, spread: bool = True) -> str:
    """A median with its spread, or a dash."""
    if measurement is None:
        return "-"
    low, middle, high = (
        f"{value * scale:,.{digits}f}"
        for value in (min(measurement.values), measurement.median, max(measurement.values))
    )
    return f"{middle} ({low}–{high})" if spread and len(measurement.values) > 1 else middle


def ratio(found: dict[tuple[str, str], Measurement], name: str, metric: str, *, inverse: bool = False) -> str:
    """Its median over ours (`inverse`: ours over its), or a dash."""
    its, ours = found.get((name, metric)), found.get((OURS, metric))
    if name == OURS or its is None or ours is None:
        return "-"
    above, below = (ours, its) if inverse else (its, ours)
    if not below.median:
        return "-"
    value = above.median / below.median
    return f"{value:.2f}" if value < 10 else f"{value:,.1f}"
