"""`ringlane bench fills`: what the simulator costs, and with --peers its fills beside hftbacktest's."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from feeds.venues import adapter_names
from profiles.machine import machine_facts
from tools.bench.common import OURS, BenchResult, Measurement
from tools.bench.fills.market import Market, read_market
from tools.bench.fills.ours import Outcome, Terms, events_per_s, orders_per_s, run_ours
from tools.bench.fills.peer import PEER, Peer, PeerRun
from tools.bench.fills.script import CLASSES, Scripted, write_script
from tools.bench.fills.twin import RULES, Twin, explain, same
from tools.venues.bench_shapes import SHAPES

MODELS = ("risk_averse", "probability:power:2", "probability:log")
ENTRY_NS, RESPONSE_NS = 2_000_000, 3_000_000
SEED = 1
STOPPED = "its backtest ends with error {code} (its issues 301 and 312)"
NOTES = (
    "both: entry latency 2 ms, response latency 3 ms, maker 2 bps, taker 5 bps",
    "both: data in order of receive time, no feed latency",
    "differ: not the same quantity, or all of it but not at the same moment",
    "cause: the fewest of their rules that, in a twin of our simulator, give what they gave",
    "fee booked: their state counts the last fill of an order only (their issues 299 and 316); fee: ours",
    "throughput: recorded messages a second, one order resting; not the same work:",
    "ours is handed the levels of a slab, theirs keeps the book itself, for the venue and for us",
)


@dataclass(frozen=True, slots=True)
class ClassResult:
    """One class of orders under one queue model, in both simulators.

    Args:
        model, orders_of: queue model and class.
        orders: how many.
        filled, filled_peer: how many filled whole.
        units, units_peer: quantity filled, in units.
        fill_ms, fill_ms_peer: mean time from sending to the last fill, of orders that filled whole in both.
        fee_e8, fee_booked_peer_e8: fees, in 10^-8 of the quote currency.
        differ: how many ended differently.
        causes: why, with counts.
    """

    model: str
    orders_of: str
    orders: int
    filled: int
    filled_peer: int
    units: int
    units_peer: int
    fill_ms: float
    fill_ms_peer: float
    fee_e8: int
    fee_booked_peer_e8: int
    differ: int
    causes: dict[str, int]

    def as_dict(self) -> dict[str, object]:
        """One row of the JSON object."""
        return {name: getattr(self, name) for name in ClassResult.__slots__}


@dataclass(frozen=True, slots=True)
class FillsResult(BenchResult):
    """The outcome, with the comparison."""

    fills: Sequence[ClassResult] = field(default_factory=tuple)

    def to_json(self) -> str:
        """The object every bench prints, and `fills`, a row per queue model and class, and `rules`."""
        document = orjson.loads(BenchResult.to_json(self))
        if self.fills:
            document["fills"] = [row.as_dict() for row in self.fills]
            document["rules"] = RULES
        return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()

    def show_rest(self, console: Console) -> None:
        """Prints the comparison, then what every bench has."""
        if self.fills:
            table = Table(title=f"fills, {OURS} / {PEER}")
            for head in (
                "queue model",
                "orders",
                "count",
                "filled whole",
                "quantity",
                "mean ms",
                "fee",
                "differ",
            ):
                table.add_column(head, justify="left" if head in ("queue model", "orders") else "right")
            for row in self.fills:
                table.add_row(
                    row.model, row.orders_of, str(row.orders), f"{row.filled} / {row.filled_peer}",
                    f"{row.units:,} / {row.units_peer:,}", f"{row.fill_ms:,.1f} / {row.fill_ms_peer:,.1f}",
                    f"{row.fee_e8 / 1e8:,.2f} / {row.fee_booked_peer_e8 / 1e8:,.2f}", str(row.differ),
                )  # fmt: skip
            console.print(table)
            for row in self.fills:
                for cause, count in row.causes.items():
                    console.print(f"  {row.model}, {row.orders_of}: {count} × {cause}", highlight=False)
            for name, text in RULES.items():
                console.print(f"  {name}: {text}", style="dim", highlight=False)
        BenchResult.show_rest(self, console)


def bench_fills(
    data_dir: Path | None,
    runs: int,
    *,
    with_peers: bool = False,
    venues: Sequence[str] = (),
    models: Sequence[str] = MODELS,
    progress: Callable[[str], None] = lambda _: None,
) -> FillsResult:
    """Measure the simulator on a recording; with peers, compare fills order by order.

    Args:
        data_dir: folder of recordings.
        runs: how often each rate is measured.
        with_peers: run hftbacktest too, where it is installed.
        venues: names of adapters or families: the first recording of one; empty = of any.
        models: queue models to compare with.
        progress: called with what is being done.

    Raises:
        ValueError: there is no recording with books and trades.
    """
    market = find_market(data_dir, venues, progress)
    terms = Terms(ENTRY_NS, RESPONSE_NS, MODELS[0])
    results = []
    for model in models:
        progress(f"rate, {model}")
        rates = [events_per_s(market, Terms(ENTRY_NS, RESPONSE_NS, model)) for _ in range(runs)]
        results.append(Measurement(OURS, _metric("throughput_per_s", model), "1/s", rates))
    results.append(
        Measurement(OURS, "orders_per_s", "1/s", [orders_per_s(market, terms) for _ in range(runs)])
    )
    rows: list[ClassResult] = []
    absent = {}
    if with_peers and importlib.util.find_spec(PEER) is None:
        absent[PEER] = "not installed (extra bench)"
    elif with_peers:
        peer = Peer(market)
        for model in models:
            progress(f"{PEER}, {model}")
            its = Terms(ENTRY_NS, RESPONSE_NS, model)
            rates = [peer.events_per_s(its) for _ in range(runs)]
            results.append(Measurement(PEER, _metric("throughput_per_s", model), "1/s", rates))
            rows += [compare(market, peer, its, name) for name in CLASSES]
    source = f"{market.source}: {len(market.events)} messages, {market.instrument.symbol}"
    return FillsResult(
        "fills", machine_facts(), results, (source, *NOTES[: None if rows else 1]), absent, (), rows
    )


def _metric(name: str, model: str) -> str:
    return name if model == MODELS[0] else f"{name} {model}"


def find_market(data_dir: Path | None, venues: Sequence[str], progress: Callable[[str], None]) -> Market:
    """The first recording with a proven book and trades.

    Raises:
        ValueError: there is none.
    """
    names = adapter_names(venues)
    for name in names:
        for recording in SHAPES[name].recordings:
            for path in sorted(data_dir.glob(recording.pattern))[:1] if data_dir else ():
                progress(f"reading {path.name}")
                return read_market(path, name)
    raise ValueError("bench fills needs a recording with a book and trades (--data, RINGLANE_DATA)")


def compare(market: Market, peer: Peer, terms: Terms, name: str) -> ClassResult:
    """One class of orders through both."""
    script = write_script(market, CLASSES[name], f"{SEED}/{name}", ENTRY_NS + RESPONSE_NS)
    ours, run = run_ours(market, script, terms), peer.run(script, terms)
    theirs = run.outcomes
    causes = _causes(Twin(market, terms), script, ours, run)
    whole = [o for o in script if ours[o.number].filled == theirs[o.number].filled == o.units]

    def mean_ms(found: dict[int, Outcome]) -> float:
        spent = sum(found[o.number].last_fill_ns - o.send_ns for o in whole)
        return round(spent / max(1, len(whole)) / 1e6, 3)

    return ClassResult(
        terms.model,
        name,
        len(script),
        sum(ours[o.number].filled == o.units for o in script),
        sum(theirs[o.number].filled == o.units for o in script),
        sum(ours[o.number].filled for o in script),
        sum(theirs[o.number].filled for o in script),
        mean_ms(ours),
        mean_ms(theirs),
        sum(ours[o.number].fee_e8 for o in script),
        round(run.fees_e8),
        sum(causes.values()),
        dict(causes.most_common()),
    )


def _causes(twin: Twin, script: Sequence[Scripted], ours: dict[int, Outcome], run: PeerRun) -> Counter[str]:
    found: Counter[str] = Counter()
    for order in script:
        one, two = ours[order.number], run.outcomes[order.number]
        if order.number in run.stops:
            found[STOPPED.format(code=run.stops[order.number])] += 1
        elif not same(one, two, order.units):
            found[explain(twin, order, one, two)] += 1
    return found
