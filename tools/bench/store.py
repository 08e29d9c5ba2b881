"""The store beside its floor, and the hot path beside the store: `ringlane bench store`.

A process that journals as a gateway does (an intent, an acknowledgment and a fill, 1,000 times a second, on a
core of its own) is measured while nothing stores its journal, while SQLite or PostgreSQL do, and while
PostgreSQL and Valkey are killed and started again; afterwards every fill must be there once, and every
mirrored value be the newest. The floor of storing is COPY of ready rows.

"Does not move" is judged against this machine's own noise: each phase stands between two without a store, and
is divided by their geometric mean; so are those without a store themselves, by their neighbors (A/A).
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import uvloop

from actors.persistence.rows import Batch, RowMaker
from actors.persistence.sqlite import SqliteStore
from actors.persistence.store import Store
from actors.persistence.tables import BY_NAME
from actors.persistence.writer import BATCH_ENTRIES, JournalWriter
from engine.pm_qos import PmQos
from profiles.machine import machine_facts
from shm.journal_reader import JournalFollower
from tools.bench.common import OURS, BenchResult, Goal, Measurement
from tools.bench.postgres import PostgresServer
from tools.bench.store_phases import (
    FILLS_PER_S,
    INSTANCE,
    KILL_EVERY_S,
    SLOT,
    WINDOW_S,
    Orders,
    Phase,
    Servers,
    empty,
)

# Turns of all phases in one run: short phases, so that what surrounds one is of the same minute.
TURNS = 2
STORED_FILLS = 5_000
FLOOR = "floor: COPY of ready rows"
OFF, BUSY, KILLED = "store off", "floor: off, other cores busy", "PostgreSQL and Valkey killed"
# What counts as the noise of A/A: so many of the medians of as many ratios are not above it.
NOISE_SHARE, NOISE_DRAWS = 0.95, 4_000
NOTES = (
    f"hot path: three journal entries of an order that fills, {FILLS_PER_S:,} orders/s, on a core of its own",
    "its core is the one that devices have interrupted least since the boot",
    "the store and its server run on the other cores, as housekeeping; only the journal is common",
    "hop: the time to write those entries; its floor: no store, but SHA-256 of memory on the other cores",
    f"hop p99 of a phase: the median of those of its windows of {WINDOW_S:g} s",
    f"rows/s: {STORED_FILLS:,} fills (three rows each and one more), {BATCH_ENTRIES} entries a transaction",
    "hop_ratio: a phase's p99 over the geometric mean of the p99s without a store right before and after it",
    "A/A (hop_ratio of store off): one without a store over those before and after it: this machine's noise",
    f"target of a hop ratio: what {NOISE_SHARE:.0%} of the medians of as many A/A ratios do not exceed",
    "lag: from the append of the newest stored entry to its commit",
    f"killed: both by SIGKILL every {KILL_EVERY_S:g} s and started again; then every row is there once",
)


# ---- against the noise ---------------------------------------------------------------------------


class Turns:
    """Phases in turn, each between two without a store."""

    def __init__(self, off: Phase, phases: dict[str, Phase]) -> None:
        self.off = off
        self.phases = phases
        self._order: list[str] = []

    def run(self, runs: int, hot: set[int], cold: set[int]) -> None:
        """Off, a phase, off, the next phase, … and off at the end."""
        self._order = [name for _ in range(runs) for name in self.phases]
        for name in self._order:
            self.off.run(hot, cold)
            self.phases[name].run(hot, cold)
        self.off.run(hot, cold)

    def ratios(self) -> dict[str, list[float]]:
        """By phase: its p99 over what surrounds it."""
        found: dict[str, list[float]] = {name: [] for name in self.phases}
        off = self.off.hops
        for place, name in enumerate(self._order):
            hop = self.phases[name].hops[len(found[name])]
            found[name].append(hop / math.sqrt(off[place] * off[place + 1]))
        return found

    def noise(self) -> list[float]:
        """The same of those without a store, over the ones before and after."""
        off = self.off.hops
        return [b / math.sqrt(a * c) for a, b, c in zip(off, off[1:], off[2:], strict=False)]


def noise_limit(noise: Sequence[float], runs: int) -> float:
    """What 95 % of the medians of `runs` A/A ratios do not exceed, drawing from those that were measured."""
    chance = random.Random(1)  # noqa: S311  # the same figures give the same limit
    medians = sorted(statistics.median(chance.choices(noise, k=runs)) for _ in range(NOISE_DRAWS))
    return max(1.0, medians[int(NOISE_SHARE * NOISE_DRAWS) - 1])


def quietest_core(cores: set[int]) -> int:
    """The core that devices have interrupted least; the last one where the kernel does not say."""
    try:
        head, *lines = Path("/proc/interrupts").read_text(encoding="ascii").splitlines()
    except OSError:
        return max(cores)
    listed = [int(name.removeprefix("CPU")) for name in head.split()]
    counts = dict.fromkeys(cores, 0)
    for line in lines:
        name, *rest = line.split()
        if name.rstrip(":").isdigit():
            for core, count in zip(listed, rest, strict=False):
                if core in counts and count.isdigit():
                    counts[core] += int(count)
    return min(cores, key=lambda core: (counts[core], -core))


# ---- rows a second -------------------------------------------------------------------------------


async def rows_per_s(store: Store, folder: Path) -> float:
    """A whole journal into an empty database."""
    await store.open()
    writer = JournalWriter(store, folder, INSTANCE, SLOT)
    begin = time.perf_counter()
    while await writer.step(time.monotonic_ns()):
        pass
    took = time.perf_counter() - begin
    await empty(store)
    await store.close()
    return writer.rows / took


async def floor_rows_per_s(store: Any, folder: Path) -> float:
    """The same rows, made before, by COPY in one transaction each table; the partitions are there."""
    await store.open()
    follower = JournalFollower(folder)
    before = follower.position
    batch: Batch = RowMaker(INSTANCE, SLOT).make(list(follower), before, follower.position)
    async with store.session() as connection:
        begin = time.perf_counter()
        for name, rows in batch.rows.items():
            await connection.copy_records_to_table(
                name, records=rows, columns=BY_NAME[name].names, schema_name="ringlane"
            )
        took = time.perf_counter() - begin
    await empty(store)
    await store.close()
    return batch.count / took


def storing_results(
    runs: int, sqlite: Callable[[], Store], postgres: Callable[[], Store]
) -> list[Measurement]:
    """Rows a second into both databases, and by plain COPY."""
    values: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / f"journal-{SLOT}"
        orders = Orders(folder)
        for _ in range(STORED_FILLS):
            orders.fill()
        orders.journal.close()
        for run in range(runs + 1):
            for name, value in (
                (OURS, uvloop.run(rows_per_s(postgres(), folder))),
                ("ringlane, SQLite", uvloop.run(rows_per_s(sqlite(), folder))),
                (FLOOR, uvloop.run(floor_rows_per_s(postgres(), folder))),
            ):
                if run:
                    values.setdefault(name, []).append(value)
    return [Measurement(name, "rows_per_s", "1/s", found) for name, found in values.items()]


def bench_store(runs: int, *, hold_pm_qos: bool = True) -> BenchResult:
    """Measure storing, and what it does to the hot path.

    Args:
        runs: how often each is measured.
        hold_pm_qos: keep the cores out of deep idle states meanwhile, if permitted.

    Raises:
        RuntimeError: a driver or a server is not installed.
    """
    from actors.persistence.postgres import PostgresStore

    cores = os.sched_getaffinity(0)
    hot = {quietest_core(cores)}
    cold = cores - hot or cores
    qos = PmQos()
    if hold_pm_qos:
        qos.hold()
    os.sched_setaffinity(0, cold)
    server = PostgresServer()
    try:
        with contextlib.ExitStack() as stack:
            scratch = stack.enter_context(tempfile.TemporaryDirectory())

            def sqlite() -> Store:
                return SqliteStore(Path(scratch) / "store.sqlite")

            def postgres() -> Store:
                return PostgresStore(server.url, timeout_s=5.0)

            servers = Servers(server, scratch)
            stack.callback(lambda: servers.valkey.stop())
            results = storing_results(runs, sqlite, postgres)
            turns = Turns(
                Phase(None),
                {
                    BUSY: Phase(None, is_busy=True),
                    "SQLite": Phase(sqlite),
                    "PostgreSQL": Phase(postgres),
                    KILLED: Phase(postgres, servers),
                },
            )
            turns.run(runs * TURNS, hot, cold)
    finally:
        server.close()
        os.sched_setaffinity(0, cores)
        pm_qos = qos.describe()
        qos.release()
    results += hop_results(turns)
    return BenchResult("store", machine_facts(pm_qos=pm_qos), results, NOTES, goals=goals(turns))


def hop_results(turns: Turns) -> list[Measurement]:
    """The hot path's figures, with and without a store, and the lag of storing."""
    found = [
        Measurement(OFF, "hop_ns_p99", "ns", turns.off.hops),
        Measurement(OFF, "hop_ratio_percent", "%", [100 * ratio for ratio in turns.noise()]),
    ]
    ratios = turns.ratios()
    for name, phase in turns.phases.items():
        found.append(Measurement(name, "hop_ns_p99", "ns", phase.hops))
        found.append(Measurement(name, "hop_ratio_percent", "%", [100 * ratio for ratio in ratios[name]]))
        if phase.lags:
            found.append(Measurement(name, "lag_ms_p99", "ms", [p99 / 1e6 for p99, _ in phase.lags]))
            found.append(Measurement(name, "lag_ms_max", "ms", [most / 1e6 for _, most in phase.lags]))
    return found


def goals(turns: Turns) -> list[Goal]:
    """Every row once; the hot path as without a store, as far as this machine can tell."""
    missing = float(sum(phase.missing for phase in turns.phases.values()))
    found = [Goal("fills missing or doubled, mirrored values not the newest", missing, 0.0, at_least=False)]
    ratios, noise = turns.ratios(), turns.noise()
    busy = statistics.median(ratios[BUSY])
    for name, phase in turns.phases.items():
        if phase.make is not None:
            text = f"hop p99 with {name} / without a store, within the A/A noise"
            limit = round(noise_limit(noise, len(ratios[name])), 3)
            found.append(Goal(text, statistics.median(ratios[name]), limit, at_least=False, floor=busy))
    return found
