"""What the whole scales to: ticks a second with each further core, and a day's trades a hundredfold.

`ringlane bench scale`: feed processes side by side (does the second core bring as much as the first?), and an
engine that trades at three simulated venues at a hundred times the rate of 100,000 trades a day, once with
the delays of the embedded default and once without, so that what is simulated stands apart.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from exec.simulator.latency import parse_latency
from feeds.venues import ADAPTERS, FAMILIES
from profiles.machine import machine_facts
from tools.bench.common import OURS, BenchResult, Goal, Measurement
from tools.bench.feed import StepFailed
from tools.bench.orders import CLI
from tools.venues.run import DEFAULT_VENUE

Progress = Callable[[str], object]
TRADES_A_DAY = 100_000
TIMES = 100
RATE = TRADES_A_DAY * TIMES / 86_400  # 115.7 orders a second
TRADE_S, BARE_S, CORE_S = 30.0, 10.0, 3.0
INSTRUMENTS, UPDATES = 5, 2_000.0  # of the embedded default, over all its venues
DELAY = "lognormal:250us:0.5"
LINEARITY, ACK_NS, END_NS, MEMORY_MB, ORDER_MB = 0.9, 5_000_000, 10_000_000, 5_000, 128
BAR = 40
HOPS = ("decided_to_sent", "sent_to_acknowledged", "decided_to_acknowledged")
COUNTS = ("sent", "acknowledged", "filled", "other_end", "refused", "not_taken", "lost")
VENUE = """[venues.{name}]
adapter = "{name}"
[venues.{name}.simulated]
instruments = {instruments}
rate = {rate:.1f}
seed = 1
rate_factor = 20.0
balances = "USDT=1000000"
leverage = 20
{delays}
[[strategies]]
name = "trader-{number}"
kind = "tools.bench.order_trades:SteadyTrader"
venue = "{name}"
instruments = "all"
[strategies.settings]
path = "{path}"
rate = {orders}
seconds = {seconds}
"""
REST = """[risk]
max_order_notional = 50_000
max_position_notional = 250_000
max_exposure = 1_000_000
orders_per_s = 500
burst = 200
[orders]
mode = "venue"
[sentinel]
stall_ms = 2_000
"""
NOTES = (
    "ticks: messages of a synthetic market from memory through pump, decode, continuity, book, slab and ring",
    "linearity: ticks a second of n processes on n cores over n times those of one process alone",
    f"trades: {TRADES_A_DAY:,} a day are {TRADES_A_DAY / 86_400:.2f}/s; here it is {TIMES} times that",
    "orders are immediate-or-cancel, at three simulated venues, through the venues' own order protocols",
    f"delayed: each way of an order takes {DELAY}, as in the embedded default; bare: no simulated delay",
    "simulated_delay: the same distribution drawn 100,000 times, both ways added",
    "tick_to_trade: from the frame whose update sent an order until its bytes were written",
    "sent - filled - other_end - refused = lost; other_end: expired without a full fill",
)


# ---- ticks per core -----------------------------------------------------------------------------


def side_by_side(venue: str, cores: Sequence[int], seconds: float) -> list[dict[str, Any]]:
    """Run one feed process on each core at the same time; what each says.

    Raises:
        StepFailed: one ended without a figure.
    """
    found = []
    with ExitStack() as stack:
        children = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-P", "-m", "tools.bench.scale_worker", venue, str(core), str(seconds)],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                )
            )
            for core in cores
        ]  # fmt: skip
        for child in children:
            assert child.stdout is not None
            child.stdout.readline()
        for child in children:
            assert child.stdin is not None
            with suppress(BrokenPipeError):  # it is gone: its code says so below
                child.stdin.write(b"\n")
                child.stdin.flush()
        for child in children:
            out, _ = child.communicate(timeout=60 + 10 * seconds)
            if child.returncode:
                raise StepFailed(f"a feed process ended with code {child.returncode}")
            found.append(orjson.loads(out))
    return found


def core_rows(runs: int, venue: str, cores: Sequence[int], seconds: float) -> list[Measurement]:
    """Ticks a second with one core, two, and so on; in turns, so that a slow minute hits all.

    Raises:
        StepFailed: as `side_by_side`.
    """
    counts = sorted({1, 2, *(1 << n for n in range(1, 8)), len(cores)} & set(range(1, len(cores) + 1)))
    rates: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(runs):
        for count in counts:
            found = side_by_side(venue, cores[:count], seconds)
            rates[count].append(sum(one["messages"] / one["seconds"] for one in found))
    rows = [Measurement(OURS, f"ticks_per_s_cores_{count}", "1/s", rates[count]) for count in counts]
    alone = rates[1]
    rows += [
        Measurement(
            OURS, f"linearity_cores_{count}", "%",
            [100 * rate / (count * one) for rate, one in zip(rates[count], alone, strict=True)],
        )
        for count in counts[1:]
    ]  # fmt: skip
    return rows


def plot(rows: Sequence[Measurement]) -> list[str]:
    """Ticks a second over cores as bars; the mark is where as much for each core would end."""
    points = {
        int(r.metric.rpartition("_")[2]): r.median for r in rows if r.metric.startswith("ticks_per_s_cores_")
    }
    if not points:
        return []
    most = max(max(points.values()), max(points) * points[1])
    lines = []
    for count, rate in points.items():
        length, mark = round(BAR * rate / most), round(BAR * count * points[1] / most)
        bar = "█" * length + " " * (mark - length) + "│"
        lines.append(f"{count:3} cores {bar} {rate:,.0f}/s, {rate / count / points[1]:.2f} of linear")
    return lines


# ---- trades -------------------------------------------------------------------------------------


def operators() -> list[str]:
    """One venue of each operator."""
    further = {name for names in FAMILIES.values() for name in names[1:]}
    return [name for name in ADAPTERS if name not in further]


def trade_run(
    folder: Path, seconds: float, delay: str, venues: Sequence[str] = ()
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Let an engine trade at the venues for so long; what each trader says, and the run's report.

    Raises:
        StepFailed: the engine failed, or a trader told nothing.
    """
    venues = venues or operators()
    delays = f'entry_latency = "{delay}"\nresponse_latency = "{delay}"' if delay else ""
    targets = [folder / f"{name}.json" for name in venues]
    parts = [
        VENUE.format(
            name=name, number=number, path=target, delays=delays, seconds=seconds, orders=RATE / len(venues),
            instruments=INSTRUMENTS, rate=UPDATES / len(venues),
        )
        for number, (name, target) in enumerate(zip(venues, targets, strict=True), 1)
    ]  # fmt: skip
    config = folder / "trades.toml"
    config.write_text("".join(parts) + REST)
    arguments = [
        sys.executable, "-P", "-c", CLI, "run", str(config), "--duration", str(seconds + 60.0),
        "--state", str(folder), "--json",
    ]  # fmt: skip
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            while process.poll() is None and not all(target.exists() for target in targets):
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.2)
            process.terminate()
            out, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    if process.returncode or not all(target.exists() for target in targets):
        raise StepFailed(errors.decode(errors="replace").strip().rpartition("\n")[2] or "no figures in time")
    return [orjson.loads(target.read_bytes()) for target in targets], orjson.loads(out)


def simulated_delay(draws: int = 100_000) -> dict[str, float]:
    """Percentiles of what the simulated venues of the delayed run add to an acknowledgment, in ns."""
    there, back = parse_latency(DELAY, "there"), parse_latency(DELAY, "back")
    sums = [there.draw_ns() + back.draw_ns() for _ in range(draws)]
    return {f"p{percent}": float(np.percentile(sums, percent)) for percent in (50, 99)}


def trade_rows(
    prefix: str, traders: Sequence[Mapping[str, Any]], report: Mapping[str, Any]
) -> list[Measurement]:
    """What a run says: orders by what became of them, hops, memory."""
    seconds = max(one["seconds"] for one in traders)
    counts = {name: float(sum(one[name] for one in traders)) for name in COUNTS}
    rows = [Measurement(OURS, f"{prefix}_orders_per_s", "1/s", [counts["sent"] / seconds])]
    rows += [Measurement(OURS, f"{prefix}_{name}", "", [count]) for name, count in counts.items()]
    for hop in HOPS:
        times = [value for one in traders for value in one[hop]]
        rows += [
            Measurement(OURS, f"{prefix}_{hop}_ns_p{percent}", "ns", [float(np.percentile(times, percent))])
            for percent in (50, 99)
            if times
        ]
    hop = report["latency"].get("tick_to_trade_ns", {})
    rows += [
        Measurement(OURS, f"{prefix}_tick_to_trade_ns_{name}", "ns", [hop[f"latency_ns_{name}"]])
        for name in ("p50", "p99")
        if f"latency_ns_{name}" in hop
    ]
    workers = [row for row in report["workers"] if row["role"] != "venue"]
    orders = [row["rss_bytes_max"] for row in workers if row["role"] in ("trade", "gateway")]
    return [
        *rows,
        Measurement(
            OURS, f"{prefix}_engine_pss_bytes", "bytes", [float(sum(r["pss_bytes"] for r in workers))]
        ),
        Measurement(OURS, f"{prefix}_order_process_rss_bytes", "bytes", [float(max(orders, default=0))]),
    ]


def scale_goals(results: Sequence[Measurement]) -> list[Goal]:
    """What must be reached."""
    found = {r.metric: r.median for r in results if r.name == OURS}
    linear = [
        Goal(r.metric, r.median, 100 * LINEARITY, at_least=True) for r in results if "linearity" in r.metric
    ]

    def megabytes(metric: str) -> float | None:
        return found[metric] / 1e6 if metric in found else None

    return [
        *linear,
        Goal(f"orders/s for {seconds_text(TRADE_S)}, {TIMES} times {TRADES_A_DAY:,} a day",
             found.get("delayed_orders_per_s"), 0.99 * RATE, at_least=True),
        Goal("orders lost", _sum_of(found, "lost"), 0, at_least=False),
        Goal("orders refused", _sum_of(found, "refused"), 0, at_least=False),
        Goal("intent → ack p99 without simulated delay, ns",
             found.get("bare_decided_to_acknowledged_ns_p99"), ACK_NS, at_least=False),
        Goal("intent → ack p99, simulated delay included, ns",
             found.get("delayed_decided_to_acknowledged_ns_p99"), END_NS, at_least=False),
        Goal("tick → bytes on the wire p99, ns",
             found.get("delayed_tick_to_trade_ns_p99"), END_NS, at_least=False),
        Goal("MB of all processes of the engine", megabytes("delayed_engine_pss_bytes"), MEMORY_MB,
             at_least=False),
        Goal("MB of the process that sends orders", megabytes("delayed_order_process_rss_bytes"), ORDER_MB,
             at_least=False),
    ]  # fmt: skip


def seconds_text(seconds: float) -> str:
    """So many seconds, in words."""
    return f"{seconds:g} s"


def _sum_of(found: Mapping[str, float], name: str) -> float | None:
    values = [found[f"{prefix}_{name}"] for prefix in ("delayed", "bare") if f"{prefix}_{name}" in found]
    return sum(values) if values else None


def bench_scale(
    runs: int,
    *,
    hold_pm_qos: bool = True,  # noqa: ARG001 (the engine holds it while it trades; the feeds never sleep)
    share: float = 1.0,
    progress: Progress = lambda _: None,
) -> BenchResult:
    """Measure what the whole scales to.

    Args:
        runs: of the ticks, at most three; the trades run once each.
        hold_pm_qos: not used here.
        share: of the usual durations.
        progress: told what is under way.
    """
    cores = sorted(os.sched_getaffinity(0))
    absent: dict[str, str] = {}
    results: list[Measurement] = []
    progress("ticks per core")
    try:
        results += core_rows(min(runs, 3), DEFAULT_VENUE, cores, CORE_S * share)
    except StepFailed as error:
        absent["ticks per core"] = str(error)
    lines = plot(results)
    for prefix, seconds, delay in (("delayed", TRADE_S, DELAY), ("bare", BARE_S, "")):
        progress(f"trades, {prefix}")
        with tempfile.TemporaryDirectory(prefix="ringlane-bench-") as folder:
            try:
                results += trade_rows(prefix, *trade_run(Path(folder), seconds * share, delay))
            except StepFailed as error:
                absent[f"trades, {prefix}"] = str(error)
    results += [
        Measurement(OURS, f"simulated_delay_ns_{name}", "ns", [value])
        for name, value in simulated_delay().items()
    ]
    return BenchResult("scale", machine_facts(), results, [*lines, *NOTES], absent, scale_goals(results))
