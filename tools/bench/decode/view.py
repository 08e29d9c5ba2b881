"""The table of the decode bench: a row per way, a column per kind of messages."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from tools.bench.common import OURS, BenchResult
from tools.bench.decode.goals import BOOK, COST
from tools.terminal import make_console


class DecodeResult(BenchResult):
    """A bench result that is shown with one row per way."""

    __slots__ = ()

    def show(self, console: Console | None = None) -> None:
        """Prints the table, then what must be reached, who is absent, and notes."""
        console = console or make_console()
        console.print(self.table())
        self.show_rest(console)

    def table(self) -> Table:
        """µs per message, and that over ours; the last row is the memory of the largest private book."""
        costs = [r for r in self.results if r.metric.startswith(f"{COST} ")]
        names = list(dict.fromkeys(r.metric.removeprefix(f"{COST} ") for r in costs))
        medians = {(r.name, r.metric): r for r in self.results}
        table = Table(
            title="bench decode: µs per depth message, median of the runs (× ours)",
            caption=f"{self.machine.get('cpu')}; PM QoS {self.machine.get('pm_qos')}",
            box=SIMPLE,
            padding=(0, 1, 0, 0),
        )
        table.add_column("way")
        for name in names:
            table.add_column(name.replace(" ", "\n"), justify="right")
        for way in dict.fromkeys(r.name for r in costs):
            table.add_row(way, *(self._cell(medians.get((way, f"{COST} {n}")), n) for n in names))
        sizes = [medians.get((OURS, f"{BOOK} {name}")) for name in names]
        table.add_row("private book, kB", *("-" if s is None else f"{s.median / 1000:,.0f}" for s in sizes))
        return table

    def _cell(self, its: object, name: str) -> str:
        ours = next((r for r in self.results if r.name == OURS and r.metric == f"{COST} {name}"), None)
        median = getattr(its, "median", None)
        if median is None:
            return "-"
        text = f"{median / 1000:,.2f}"
        return (
            text
            if ours is None or its is ours
            else f"{text} ({median / ours.median:.{0 if median > 9.5 * ours.median else 2}f})"
        )
