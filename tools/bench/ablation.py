"""What each quick win is worth by itself, with it and without it in one run: `ringlane bench ablation`.

The native core, the cache, pooled connections, batched rows, batched questions and batched orders; each line
is one multiplier.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import uvloop

from actors.persistence.asking import QueryCache, TradeReader
from actors.persistence.mirror import Mirror, Snapshot
from actors.persistence.postgres import PostgresStore
from actors.persistence.queries import RECENT_TRADES
from actors.persistence.writer import BATCH_ENTRIES, JournalWriter
from exec.venues import PROTOCOLS, protocol_class
from profiles.machine import machine_facts
from tools.bench import services, store_phases
from tools.bench.common import OURS, BenchResult, Goal, Measurement
from tools.bench.decode.runner import bench_decode
from tools.bench.postgres import PostgresServer
from tools.bench.valkey import ValkeyProcess

CALLS = 200
ROWS_ONE_BY_ONE = 300
ROWS_BATCHED = 20_000
DECODED = 2_000
PYTHON_WAY = "orjson.loads"
WITHOUT = "without"
NOTES = (
    "pooling: one question each time, over a kept connection / over one that is made for it",
    "cache: the same question again, answered in the process / by the database",
    f"rows: a journal stored {BATCH_ENTRIES} entries a transaction / one entry a transaction",
    f"questions: {services.STRATEGIES} callers in one turn, one statement for all / one each, from one pool",
    f"native core: a depth message into the book, by the core / no more than parsed by {PYTHON_WAY}",
    "orders per request: what the venues' batch requests take, by the adapters' own limits, not a time",
)
_SINCE = services._DAY + timedelta(seconds=services._FILLED - services.SINCE_S)
Pair = tuple[float, float]  # without, with; µs


async def each_us(call: Callable[[], Awaitable[object]], calls: int = CALLS) -> float:
    """Mean time of a call, one after the other, in µs."""
    await call()
    begin = time.perf_counter_ns()
    for _ in range(calls):
        await call()
    return (time.perf_counter_ns() - begin) / calls / 1e3


async def questions(server: PostgresServer) -> dict[str, Pair]:
    """Pooling, the cache and batched questions at the database."""
    pooled = PostgresStore(server.url, pairs=services.STRATEGIES)
    await services.fill(pooled)
    given = {"symbols": ["S1"], "venues": ["v"], "since": _SINCE, "limit": 100}
    sql, arguments = RECENT_TRADES.bind(pooled, **given)

    async def on_its_own() -> None:
        connection = await asyncpg.connect(server.url)
        await connection.fetch(sql, *arguments)
        await connection.close()

    alone = await each_us(on_its_own, CALLS // 4)
    kept = await each_us(lambda: pooled.select(sql, arguments))
    cache = QueryCache(pooled)
    cached = await each_us(lambda: cache.ask(RECENT_TRADES, **given))
    reader = TradeReader(pooled)

    def one_each(number: int) -> Callable[[], Awaitable[object]]:
        symbol = {"symbols": [f"S{number}"]}
        return lambda: RECENT_TRADES.run(pooled, **(given | symbol))

    def together(number: int) -> Callable[[], Awaitable[object]]:
        return lambda: reader.get_recent_trades_optimized([f"S{number}"], ["v"], _SINCE, 100)

    apart = await services.timed([one_each(number) for number in range(services.STRATEGIES)])
    joined = await services.timed([together(number) for number in range(services.STRATEGIES)])
    await pooled.select("TRUNCATE ringlane.fills")
    await pooled.close()
    return {
        "pooling, database": (alone, kept),
        "cache, database": (kept, cached),
        "batched questions": (apart, joined),
    }


async def snapshots(scratch: str) -> dict[str, Pair]:
    """Pooling at Redis or Valkey."""
    url = f"unix://{scratch}/valkey.sock"
    shared = Mirror(url, "bench", expiry_s=600)
    await shared.write([Snapshot("status", {"bid": "1"}, 1)], 0)

    async def on_its_own() -> None:
        mirror = Mirror(url, "bench")
        await mirror.read("status")
        await mirror.close()

    alone = await each_us(on_its_own)
    kept = await each_us(lambda: shared.read("status"))
    await shared.close()
    return {"pooling, redis": (alone, kept)}


async def storing(server: PostgresServer, scratch: Path) -> dict[str, Pair]:
    """Rows batched into transactions, as time for a journal entry."""
    found = []
    for count, limit in ((ROWS_ONE_BY_ONE, 1), (ROWS_BATCHED, BATCH_ENTRIES)):
        folder = scratch / f"rows-{limit}"
        orders = store_phases.Orders(folder)
        for _ in range(count):
            orders.fill_only()
        orders.journal.close()
        target = PostgresStore(server.url)
        await target.open()
        writer = JournalWriter(target, folder, store_phases.INSTANCE, store_phases.SLOT)
        begin = time.perf_counter_ns()
        while await writer.step(time.monotonic_ns(), limit):
            pass
        found.append((time.perf_counter_ns() - begin) / writer.entries / 1e3)
        await store_phases.empty(target)
        await target.close()
    return {"batched rows": (found[0], found[1])}


def native_core() -> dict[str, Pair]:
    """A depth message of a simulated venue: all that the core does with it, and what parsing alone costs."""
    rows = bench_decode(None, 1, venues=(next(iter(PROTOCOLS)),), frames=DECODED).results
    costs = [row for row in rows if row.metric.startswith("cost_ns")]
    metric = costs[0].metric
    by_name = {row.name: row.median for row in costs if row.metric == metric}
    return {"native core": (by_name[PYTHON_WAY] / 1e3, by_name[OURS] / 1e3)}


def bench_ablation(runs: int, *, hold_pm_qos: bool = True) -> BenchResult:
    """Measure each win with and without, `runs` times.

    Args:
        runs: how often each is measured.
        hold_pm_qos: without effect here: nothing is timed in nanoseconds.

    Raises:
        RuntimeError: a driver or a server is not installed.
    """
    del hold_pm_qos
    pairs: dict[str, list[Pair]] = {}
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        server = PostgresServer(connections=60)
        stack.callback(server.close)
        valkey = ValkeyProcess(scratch)
        stack.callback(valkey.stop)
        for run in range(runs):
            folder = Path(scratch) / f"run-{run}"
            folder.mkdir()
            for found in (
                uvloop.run(questions(server)),
                uvloop.run(snapshots(scratch)),
                uvloop.run(storing(server, folder)),
                native_core(),
            ):
                for name, pair in found.items():
                    pairs.setdefault(name, []).append(pair)
    results, goals = [], []
    for name, found_pairs in pairs.items():
        metric = name.replace(", ", "_").replace(" ", "_") + "_ns"
        results.append(Measurement(WITHOUT, metric, "ns", [pair[0] * 1e3 for pair in found_pairs]))
        results.append(Measurement(OURS, metric, "ns", [pair[1] * 1e3 for pair in found_pairs]))
        times = statistics.median(pair[0] / pair[1] for pair in found_pairs)
        goals.append(Goal(f"{name}: times faster than without", times, 1.0, at_least=True))
    for name in sorted(PROTOCOLS):
        orders = float(protocol_class(name).max_new_batch)
        goals.append(Goal(f"batched orders, {name}: orders per request", orders, 2.0, at_least=True))
    return BenchResult("ablation", machine_facts(), results, NOTES, goals=goals)
