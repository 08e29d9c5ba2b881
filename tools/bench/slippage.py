"""What the passive/aggressive switch saves on recorded markets: `ringlane bench slippage`.

The same orders at the same moments of the same tapes, three times: always taking, always resting first, and
as the switch says. Everything runs on the virtual clock through feed, gate, OMS and the paper venue with its
queues, so a figure is the same every time; runs differ by when the orders come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from profiles.machine import machine_facts
from tools.bench.common import OURS, BenchResult, Goal, Measurement
from tools.bench.slippage_orders import STYLES
from tools.replay import Replay, ReplaySettings

#: Tapes with trades, which queues need: (name, pattern in the folder of recordings).
TAPES = (("btc", "*/usdm_btcusdt_*.gz"), ("eth", "*/usdm_ethusdt_*.gz"))
#: Basis points of maker and taker.
FEES: Mapping[str, tuple[float, float]] = {"fees_2_5": (2.0, 5.0), "no_fees": (0.0, 0.0)}
INTERVAL_NS = 1_000_000_000
UNIT = "e-8"
NAMES = {"switch": OURS, "aggressive": "always aggressive", "passive": "always passive"}
NOTES = (
    "mean cost of an order against the mid it was decided at, with fees and what stayed unfilled",
    "10,000 e-8 = 1 basis point of the order's notional",
    "one order a second, buys and sells in turn; passive ones rest 0.7 s at the touch, then take",
    f"{OURS} is the switch (D-UCB by spread and queue); it learns from its own orders only, from nothing on",
    "paper venue: risk-averse queues, no latency; our orders move nobody else's",
    "fees_2_5: maker 2, taker 5 basis points; no_fees: what the market alone makes of it",
)


def replay_orders(files: tuple[Path, ...], style: str, fees: tuple[float, float], offset_ns: int) -> Any:
    """One replay; what its execution told (`actors.execution.Execution.describe`)."""
    settings = {"style": style, "interval_ns": INTERVAL_NS, "offset_ns": offset_ns}
    gateway = {"maker_fee_bps": fees[0], "taker_fee_bps": fees[1]}
    role = "tools.bench.slippage_orders:ParentOrders"
    job = Replay(ReplaySettings("", files, strategy=role, settings=settings, gateway=gateway))
    return job.run().notes["slippage"]


def bench_slippage(
    folder: Path | None, runs: int, *, progress: Callable[[str], object] = lambda _: None
) -> BenchResult:
    """Measure slippage by style.

    Args:
        folder: of recorded frames; None = there are none, and nothing is measured.
        runs: how often, each with other moments to order at.
        progress: told before each replay.
    """
    results: list[Measurement] = []
    goals: list[Goal] = []
    absent: dict[str, str] = {}
    notes = list(NOTES)
    for tape, pattern in TAPES:
        files = tuple(sorted(folder.glob(pattern))[:1]) if folder is not None else ()
        if not files:
            absent[tape] = f"no recording {pattern}"
            continue
        for title, fees in FEES.items():
            metric = f"slippage_{tape}_{title}"
            means: dict[str, list[float]] = {style: [] for style in STYLES}
            orders = 0
            for run in range(runs):
                for style in STYLES:
                    progress(f"{metric}: {style}, run {run + 1} of {runs}")
                    told = replay_orders(files, style, fees, run * INTERVAL_NS // runs)
                    total = told["styles"]["all"]
                    means[style].append(round(total["total_bps"] * 1e4))
                    orders += total["orders"]
            results += [Measurement(NAMES[style], metric, UNIT, values) for style, values in means.items()]
            goals.append(_goal(metric, means))
            notes.append(f"{metric}: {orders // (runs * len(STYLES))} orders a replay")
    return BenchResult("slippage", machine_facts(pm_qos="not held"), results, notes, absent, goals)


def _goal(metric: str, means: Mapping[str, list[float]]) -> Goal:
    switch, aggressive, passive = (sum(means[s]) / len(means[s]) for s in STYLES)
    if aggressive < passive:
        # Taking is right on such a tape: what the switch pays is what it tries out.
        text = f"{metric}: nearer to the better style than to the other"
        return Goal(text, switch, (aggressive + passive) / 2, at_least=False)
    return Goal(
        f"{metric}: the switch costs no more than always aggressive", switch, aggressive, at_least=False
    )
