"""What it costs to see the books of several venues as one: `ringlane bench merged`.

A merge is one call from Python, as a strategy makes it after a record; what was stored before it is not
timed. Beside it stand its floor, loading the same books and merging nothing, and the merge as Python programs
write it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from shm.book import BookReader, BookSlab, Certificate, TradeTotals
from shm.clock import now_ns
from shm.enums import BookState
from shm.instruments import Instrument
from shm.merged import MergedBook
from tools.bench import memory_loops as loops
from tools.bench.common import OURS, BenchResult
from tools.bench.quiet_core import quiet_core
from tools.bench.steps import Step, measured

VENUES = 3
DEPTH = 32
TOP = 5
ROUNDS = 20_000
PYTHON_ROUNDS = 500
FLOOR = "floor: loads alone"
PYTHON = "dict per side in Python"
NOTES = (
    f"{VENUES} books of {DEPTH}+{DEPTH} levels at prices in common, quantities in different units",
    "changed: so many books were stored since the last merge; the store is not timed",
    f"{FLOOR}: one BookReader.load of each book that changed, by as many calls from Python",
    f"{PYTHON}: the same books as tuples, scaled, summed by price, sorted, the best levels kept",
    "every figure includes one look at the clock (some 40 ns)",
)
#: Exponents of price, quantity and multiplier: coins, coins in finer units, contracts of a hundredth.
TERMS = ((1, 3, 0), (2, 4, 0), (1, 2, 2))


class Books:
    """Books of one instrument at several venues, each in a slab of its own, LIVE."""

    def __init__(self) -> None:
        self.rows: list[Instrument] = []
        self.slabs: list[BookSlab] = []
        self.levels: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
        self.sequence = 1
        for index, (price, quantity, multiplier) in enumerate(TERMS):
            row = Instrument(
                venue_id=index + 1, symbol=f"V{index}", canonical="BASE-QUOTE-PERP", base="BASE",
                price_exponent=price, quantity_exponent=quantity, multiplier_exponent=multiplier,
            )  # fmt: skip
            step = 10 ** (price - 1)
            bids = [((618_000 + index - level) * step, 1_000 + level) for level in range(DEPTH)]
            asks = [((618_010 + index + level) * step, 2_000 + level) for level in range(DEPTH)]
            slab = BookSlab.create(bytearray(BookSlab.bytes_needed(DEPTH, 1, 1)), DEPTH, 1, 1, 0)
            certificate = Certificate(state=BookState.LIVE, data_ns=now_ns())
            slab.store(0, certificate, TradeTotals(), bids, asks)
            slab.touch_stream(0, now_ns() + 3_600_000_000_000)  # no bench takes an hour
            self.rows.append(row)
            self.slabs.append(slab)
            self.levels.append((np.array(bids, dtype=np.int64), np.array(asks, dtype=np.int64)))

    def store(self, count: int) -> None:
        """Store the first `count` books again."""
        self.sequence += 1
        for slab, (bids, asks) in zip(self.slabs[:count], self.levels, strict=False):
            loops.store_books(slab, 0, bids, asks, 1, self.sequence)

    def readers(self) -> list[BookReader]:
        """One reader for each book."""
        return [
            BookReader(slab, np.zeros((DEPTH, 2), dtype=np.int64), np.zeros((DEPTH, 2), dtype=np.int64))
            for slab in self.slabs
        ]


def in_python(books: Books, view: MergedBook, depth: int) -> Callable[[], list[Any]]:
    """The merge as one would write it: tuples in, sorted lists out."""
    sources = [
        (slab, leg.price_scale, leg.quantity_scale, 1 << leg.venue_id)
        for slab, leg in zip(books.slabs, map(view.leg, range(VENUES)), strict=True)
    ]

    def merge() -> list[Any]:
        sides: tuple[dict[int, tuple[int, int]], dict[int, tuple[int, int]]] = ({}, {})
        for slab, price_scale, quantity_scale, bit in sources:
            snapshot = slab.load(0)
            if snapshot is None or snapshot.certificate.state != BookState.LIVE:
                continue
            for side, levels in zip(sides, (snapshot.bids, snapshot.asks), strict=True):
                for price, quantity in levels:
                    sum_before, mask = side.get(price * price_scale, (0, 0))
                    side[price * price_scale] = (sum_before + quantity * quantity_scale, mask | bit)
        bids, asks = sides
        return [
            [(price, *bids[price]) for price in sorted(bids, reverse=True)[:depth]],
            [(price, *asks[price]) for price in sorted(asks)[:depth]],
        ]

    return merge


def timed(prepare: Callable[[], object], work: Callable[[], object], rounds: int) -> Callable[[], float]:
    """A contender: mean ns of `work`, each after a `prepare` that is not timed."""

    def measure() -> float:
        spent = 0
        clock = time.perf_counter_ns
        for _ in range(rounds):
            prepare()
            begin = clock()
            work()
            spent += clock() - begin
        return spent / rounds

    return measure


def merged_steps(books: Books) -> list[Step]:
    """A merge after none, one or all of the books changed, to the whole depth and to a few levels."""
    at_ns = now_ns()
    steps = []
    for depth in (DEPTH, TOP):
        for changed in (0, 1, VENUES):
            view = MergedBook(books.slabs, books.rows, depth)
            readers = books.readers()[:changed]

            def prepare(count: int = changed) -> None:
                books.store(count)

            def ours(view: MergedBook = view) -> None:
                view.merge(at_ns)

            def loads(readers: Sequence[BookReader] = readers) -> None:
                for reader in readers:
                    reader.load(0)

            contenders = {OURS: timed(prepare, ours, ROUNDS), FLOOR: timed(prepare, loads, ROUNDS)}
            if changed:
                contenders[PYTHON] = timed(prepare, in_python(books, view, depth), PYTHON_ROUNDS)
            steps.append(Step(f"merge_top_{depth}_{changed}_changed_ns", contenders))
    return steps


def bench_merged(runs: int, *, hold_pm_qos: bool = True) -> BenchResult:
    """Measure the merged view.

    Args:
        runs: how often each contender of a step is measured.
        hold_pm_qos: keep the cores out of deep idle states meanwhile, if permitted.
    """
    with quiet_core(hold_pm_qos=hold_pm_qos) as core:
        results = measured(merged_steps(Books()), runs)
    return BenchResult("merged", core.facts, results, NOTES)
