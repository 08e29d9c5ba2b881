"""What finding a route costs: `ringlane bench router`.

Beside it stands its floor: merging the same books and filling from the best level on, as a program does that
knows no lots, minimums and different contracts. A route is one call from Python, as a strategy makes it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from exec.router import E8, Outlet, find_route
from shm.enums import Side
from shm.instruments import Instrument
from tools.bench.common import OURS, BenchResult, Goal
from tools.bench.quiet_core import quiet_core
from tools.bench.steps import Step, measured

DEPTH = 32
ROUNDS = 200
FLOOR = "floor: merge, sort, fill"
TARGET_NS = 200_000
#: Quantities in coins: inside the best level, some levels, most of all books.
COINS = {"touch": 1, "levels": 60, "deep": 300}
NOTES = (
    f"3 books of {DEPTH} levels to buy from: coins, contracts of a hundredth, coins in lots of 0.01",
    f"{FLOOR}: all levels scaled by fee into one list, sorted, filled in order: no lots, no minimums",
)
#: Exponents of quantity and multiplier, lot, minimum.
TERMS = ((3, 0, 1, 1), (0, 2, 1, 1), (3, 0, 10, 50))


def make_outlets(count: int = 3, seed: int = 1) -> list[Outlet]:
    """Books of one instrument with prices in common."""
    chance = random.Random(seed)
    outlets = []
    for index in range(count):
        exponent, multiplier, lot, least = TERMS[index % len(TERMS)]
        row = Instrument(
            venue_id=index + 1, symbol=f"V{index}", canonical="BASE-QUOTE-PERP", base="BASE", quote="QUOTE",
            price_exponent=1, quantity_exponent=exponent, multiplier_exponent=multiplier, lot_size=lot,
            min_quantity_units=least, taker_fee_e8=40_000 + 5_000 * index,
        )  # fmt: skip
        price, levels = 600_000 + chance.randint(0, 3), []
        for _ in range(DEPTH):
            coins = chance.randint(1, 12)
            levels.append((price, coins * 10 ** (exponent + multiplier)))
            price += chance.randint(1, 3)
        outlets.append(Outlet(row, levels, None, 1_000_000 * (index + 1), 100_000))
    return outlets


def in_python(outlets: Sequence[Outlet], quantity_e8: int) -> int:
    """The merge as one would write it: the cost, 10^-8 of the quote and a little off."""
    levels: list[tuple[int, int]] = []
    for outlet in outlets:
        row = outlet.instrument
        scale = E8 * row.multiplier // 10 ** (row.quantity_exponent + row.multiplier_exponent)
        factor = E8 + row.taker_fee_e8
        levels += [(price * factor, quantity * scale) for price, quantity in outlet.levels]
    levels.sort()
    left, cost = quantity_e8, 0
    for price, quantity in levels:
        part = min(left, quantity)
        cost += price * part
        left -= part
        if not left:
            break
    return cost // (10 * E8)


def timed(work: Callable[[], object]) -> Callable[[], float]:
    """A contender: mean ns of a call."""

    def measure() -> float:
        begin = time.perf_counter_ns()
        for _ in range(ROUNDS):
            work()
        return (time.perf_counter_ns() - begin) / ROUNDS

    return measure


def router_steps() -> list[Step]:
    """A route for each of the quantities."""
    outlets = make_outlets()
    steps = []
    for name, coins in COINS.items():

        def ours(quantity: int = coins * E8) -> None:
            find_route(outlets, Side.BUY, quantity)

        def floor(quantity: int = coins * E8) -> None:
            in_python(outlets, quantity)

        steps.append(Step(f"route_{name}_ns", {OURS: timed(ours), FLOOR: timed(floor)}))
    return steps


def bench_router(runs: int, *, hold_pm_qos: bool = True) -> BenchResult:
    """Measure the router.

    Args:
        runs: how often each contender of a step is measured.
        hold_pm_qos: keep the cores out of deep idle states meanwhile, if permitted.
    """
    with quiet_core(hold_pm_qos=hold_pm_qos) as core:
        results = measured(router_steps(), runs)
    goals = [
        Goal(f"{r.metric}: a route within 200 µs", r.median, TARGET_NS, at_least=False)
        for r in results
        if r.name == OURS
    ]
    return BenchResult("router", core.facts, results, NOTES, goals=goals)
