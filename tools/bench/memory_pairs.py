"""Before and after: ways of using records and books that save the work of the obvious way.

Vectorised against one by one, batched against single, prebound against fresh, and integers against
`decimal.Decimal`. All contenders of a step give the same answer; that is checked before anything is measured.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from shm.book import BookReader, BookSlab
from shm.dtypes import record_dtype
from shm.records import MarketRecord
from shm.views import SubscriberBorrow
from tools.bench import memory_loops as loops
from tools.bench.common import OURS
from tools.bench.memory_rigs import DEPTH, DRAIN, INSTRUMENT, RECORD_BYTES, Rings, make_levels, make_slab
from tools.bench.steps import ROUNDS, Step, repeated, repeated_with

PRICE_EXPONENT = 2
QUANTITY_EXPONENT = 3
SWEPT_UNITS = 30_000
FEW = ROUNDS // 10
BOOKS = 50
PAIR_NOTES = (
    f"sum_of_mids: over {DRAIN} records; {OURS} = numpy over a borrowed batch, else one object for all",
    "book_read: levels and state of one book for a Python reader: prebound arrays against fresh objects",
    f"sweep: taking {SWEPT_UNITS} units from {DEPTH} levels, exact; {OURS} = a call into compiled code",
    f"book_memory: {DEPTH}+{DEPTH} levels; {OURS} = an entry of the slab with all beside the levels",
    "book_memory: decimal.Decimal = a dict of price to quantity per side, as traced by tracemalloc",
)


def fill(rings: Rings) -> None:
    """Make the batch that is published hold market records with different prices."""
    batch = np.zeros(DRAIN, dtype=record_dtype("shm_market_record"))
    batch["value"][:, 0] = 6_180_000 + np.arange(DRAIN)
    batch["value"][:, 2] = 6_180_010 + np.arange(DRAIN)
    rings.records = batch.tobytes()


def record_steps() -> list[Step]:
    """Twice the sum of the mids of a batch; and taking a batch at once or by single polls."""
    rings = Rings()
    fill(rings)
    borrow = SubscriberBorrow(rings.subscriber, record_dtype("shm_market_record"))
    subscriber, record, out = rings.subscriber, MarketRecord(), rings.out
    sums: list[int] = []

    def vectorised() -> int:
        total = taken = 0
        while taken < DRAIN:  # a second time where the batch wraps
            batch = borrow.borrow(DRAIN - taken)
            values = batch["value"]
            part = int(values[:, 0].sum() + values[:, 2].sum())
            if not len(batch) or not borrow.release():
                break
            total += part
            taken += len(batch)
        sums.append(total)
        return taken

    def one_by_one() -> int:
        taken = subscriber.poll_into(out, DRAIN)
        total = 0
        for i in range(taken):
            record.load(out, i * RECORD_BYTES)
            total += record.value0 + record.value2
        sums.append(total)
        return taken

    def singles() -> int:
        taken = 0
        while subscriber.poll_into(out, 1):
            taken += 1
        return taken

    def at_once() -> int:
        return subscriber.poll_into(out, DRAIN)

    rings.publisher.publish_batch(rings.records, DRAIN)
    vectorised()
    rings.publisher.publish_batch(rings.records, DRAIN)
    one_by_one()
    if len(sums) != 2 or sums[0] != sums[1]:
        raise RuntimeError(f"the two ways differ: {sums}")
    return [
        Step(
            "sum_of_mids_ns_per_record",
            {OURS: rings.drained(vectorised), "per record in Python": rings.drained(one_by_one)},
        ),
        Step(
            "poll_python_ns_per_record",
            {OURS: rings.drained(at_once), "one by one": rings.drained(singles)},
        ),
    ]


def read_steps() -> list[Step]:
    """Reading a book: prebound, into arrays given each time, and as fresh objects."""
    slab = make_slab()
    bids, asks = np.zeros((DEPTH, 2), dtype=np.int64), np.zeros((DEPTH, 2), dtype=np.int64)
    reader = BookReader(slab, bids, asks)
    return [
        Step(
            "book_read_python_ns",
            {
                OURS: repeated_with(reader.load, INSTRUMENT),
                "arrays opened each time": repeated(lambda: slab.load_into(INSTRUMENT, bids, asks)),
                "fresh objects": repeated_with(slab.load, INSTRUMENT, FEW),
            },
        )
    ]


def decimal_levels(levels: npt.NDArray[np.int64]) -> dict[Decimal, Decimal]:
    """A side of a book as the usual Python engine keeps it: from the venue's text, price to quantity."""
    return {
        Decimal(f"{price / 10**PRICE_EXPONENT:.{PRICE_EXPONENT}f}"): Decimal(
            f"{quantity / 10**QUANTITY_EXPONENT:.{QUANTITY_EXPONENT}f}"
        )
        for price, quantity in levels.tolist()
    }


def sweep_decimal(levels: dict[Decimal, Decimal], quantity: Decimal) -> Decimal:
    """Take a quantity from the levels, best first; returns the cost."""
    cost, left = Decimal(0), quantity
    for price, available in levels.items():
        take = min(left, available)
        cost += take * price
        left -= take
        if not left:
            break
    return cost


def sweep_int(levels: list[tuple[int, int]], quantity_units: int) -> int:
    """The same with Python integers."""
    cost, left = 0, quantity_units
    for price, available in levels:
        take = min(left, available)
        cost += take * price
        left -= take
        if not left:
            break
    return cost


def memory_of(make: Callable[[], object]) -> float:
    """Bytes that one of what `make` returns takes, over several."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = [make() for _ in range(BOOKS)]
        return (tracemalloc.get_traced_memory()[0] - before) / len(kept)
    finally:
        tracemalloc.stop()


def integer_steps() -> list[Step]:
    """Integer books against Decimal books: arithmetic and memory."""
    bids, asks = make_levels()
    as_decimal, as_int = decimal_levels(asks), [(p, q) for p, q in asks.tolist()]
    quantity = Decimal(SWEPT_UNITS).scaleb(-QUANTITY_EXPONENT)
    high, low, left = loops.sweep_units(asks, SWEPT_UNITS)
    exact = (high << 64) + low
    costs = exact, sweep_int(as_int, SWEPT_UNITS), sweep_decimal(as_decimal, quantity)
    if left or costs[0] != costs[1] or Decimal(exact).scaleb(-PRICE_EXPONENT - QUANTITY_EXPONENT) != costs[2]:
        raise RuntimeError(f"the ways of sweeping differ: {costs}, {left} left")
    entry_bytes = (BookSlab.bytes_needed(DEPTH, 101, 1) - BookSlab.bytes_needed(DEPTH, 1, 1)) / 100
    return [
        Step(
            "sweep_ns",
            {
                OURS: repeated(lambda: loops.sweep_units(asks, SWEPT_UNITS)),
                "Python int": repeated(lambda: sweep_int(as_int, SWEPT_UNITS), FEW),
                "decimal.Decimal": repeated(lambda: sweep_decimal(as_decimal, quantity), FEW),
            },
        ),
        Step(
            "book_memory_bytes",
            {
                OURS: lambda: entry_bytes,
                "decimal.Decimal": lambda: memory_of(lambda: (decimal_levels(bids), decimal_levels(asks))),
            },
            "B",
        ),
    ]


def pair_steps() -> list[Step]:
    """All of them."""
    return [*record_steps(), *read_steps(), *integer_steps()]
