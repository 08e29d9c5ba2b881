"""Strategies that share the services beside as many that each have their own: `ringlane bench services`.

The lines of a table that promises what sharing brings: the cache (Redis or Valkey), the database, the sum of
both, and connections; a hundred callers ask in one turn of the loop, each for its own symbol.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import uvloop

from actors.persistence.asking import QueryCache, TradeReader, markets_json
from actors.persistence.mirror import Mirror, Snapshot
from actors.persistence.postgres import PostgresStore
from actors.persistence.queries import RECENT_TRADES, TRADES_BY_MARKET
from actors.persistence.tables import FILLS
from engine.pm_qos import PmQos
from profiles.machine import machine_facts
from tools.bench.common import OURS, BenchResult, Goal, Measurement
from tools.bench.postgres import PostgresServer
from tools.bench.valkey import ValkeyProcess

STRATEGIES = 100
ROUNDS = 5
PEER = "per strategy"
CACHED = "ringlane, asked again within 30 s"
FIRST = "ringlane, the first tick of a process"
FLOOR = "floor: the one statement or command"
SINCE_S = 3_000
_DAY = datetime(2026, 1, 1, tzinfo=UTC)
_FILLED = 20_000
# What sharing shall reach, and what it shall come from: (text, metric, limit shared, span per strategy).
TARGETS = (
    ("redis, ms (per strategy 2 to 5, shared 0.1 to 0.5)", "redis_us_p50", 500.0),
    ("database, ms (per strategy 10 to 50, shared 1 to 5)", "database_us_p50", 5_000.0),
)
CONNECTIONS_MAX = 40.0
NOTES = (
    f"{STRATEGIES} callers in one turn of one loop, each for its own symbol; the median wait of a caller",
    f"{PEER}: each on a warm connection of its own; ringlane: one statement or command for all of a turn",
    f"database: trades of the last {SINCE_S:,} s of one's symbol among {_FILLED:,}; redis: one's book's top",
    f"{FIRST}: after `TradeReader.warm`, nothing else asked before; measured once a run",
    "all callers, both clients and their decoding run on one core, the servers on the others",
)
ABSENT = {
    "moving average, coefficient": "this version has no shared calculation of them, so nothing to time",
}
Waits = dict[tuple[str, str], float]


async def one_tick(calls: list[Callable[[], Awaitable[object]]]) -> list[int]:
    """All ask at once; the wait of each, in ns."""

    async def one(call: Callable[[], Awaitable[object]]) -> int:
        begin = time.perf_counter_ns()
        await call()
        return time.perf_counter_ns() - begin

    return await asyncio.gather(*(one(call) for call in calls))


async def timed(calls: list[Callable[[], Awaitable[object]]], rounds: int = ROUNDS) -> float:
    """All ask at once, several times; the median wait of one, in µs."""
    await one_tick(calls)
    waits: list[int] = []
    for _ in range(rounds):
        waits += await one_tick(calls)
    return float(np.median(waits)) / 1e3


async def fill(store: PostgresStore) -> None:
    """Fills of a hundred symbols."""
    names = FILLS.names
    zero = {"text": "", "decimal": 0, "time": _DAY}
    rows = []
    for number in range(_FILLED):
        row: dict[str, Any] = {name: zero.get(kind, 0) for name, kind in FILLS.columns}
        row |= {"instance": "bench", "sequence": number, "symbol": f"S{number % STRATEGIES}", "venue": "v"}
        row["at"] = _DAY + timedelta(seconds=number)
        rows.append(tuple(row[name] for name in names))
    await store.open()
    for start in range(0, _FILLED, 5_000):
        await store.put(FILLS, rows[start : start + 5_000])
    async with store.session() as connection:
        await connection.execute("ANALYZE ringlane.fills")


async def database(server: PostgresServer) -> tuple[Waits, dict[str, int]]:
    """Waits for recent trades of one's own symbol, and connections at the server."""
    since = _DAY + timedelta(seconds=_FILLED - SINCE_S)
    stores = [PostgresStore(server.url) for _ in range(STRATEGIES)]
    await fill(stores[0])
    counts: dict[str, int] = {}
    symbols = [f"S{number}" for number in range(STRATEGIES)]

    async def connections() -> int:
        sql = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        return int((await stores[0].select(sql))[0][0])

    def own(number: int) -> Callable[[], Awaitable[object]]:
        return lambda: RECENT_TRADES.run(
            stores[number], symbols=[symbols[number]], venues=["v"], since=since, limit=100
        )

    shared = PostgresStore(server.url, pairs=STRATEGIES)
    cache = QueryCache(shared)

    def together(reader: TradeReader, number: int) -> Callable[[], Awaitable[object]]:
        return lambda: reader.get_recent_trades_optimized([symbols[number]], ["v"], since, 100)

    metric = "database_us_p50"
    waits = {(metric, PEER): await timed([own(number) for number in range(STRATEGIES)])}
    counts[PEER] = await connections()
    for store in stores[1:]:
        await store.close()
    first = TradeReader(shared)
    await first.warm()
    tick = await one_tick([together(first, number) for number in range(STRATEGIES)])
    waits[metric, FIRST] = float(np.median(tick)) / 1e3
    for name, reader in ((OURS, first), (CACHED, TradeReader(shared, cache))):
        waits[metric, name] = await timed([together(reader, number) for number in range(STRATEGIES)])
    markets = markets_json({("v", symbol): (since, 100) for symbol in symbols})
    sql, arguments = TRADES_BY_MARKET.bind(shared, markets=markets)
    async with shared.session() as connection:
        waits[metric, FLOOR] = await timed([lambda: connection.fetch(sql, *arguments)])
    counts[OURS] = await connections() - 1  # the one that asks
    await shared.close()
    await stores[0].select("TRUNCATE ringlane.fills")
    await stores[0].close()
    return waits, counts


async def cache(scratch: str) -> tuple[Waits, dict[str, int]]:
    """Waits for the newest top of one's own book, and connections at the server."""
    url = f"unix://{scratch}/valkey.sock"
    mirrors = [Mirror(url, "bench", timeout_s=5.0) for _ in range(STRATEGIES)]
    shared = Mirror(url, "bench", pairs=STRATEGIES, expiry_s=600, timeout_s=5.0)
    keys = [f"book:v:S{number}" for number in range(STRATEGIES)]
    await shared.write([Snapshot(key, {"bid": "1", "ask": "2"}, 1) for key in keys], 0)

    def asking(mirror: Mirror, key: str) -> Callable[[], Awaitable[object]]:
        return lambda: mirror.read(key)

    metric = "redis_us_p50"
    waits = {(metric, OURS): await timed([asking(shared, key) for key in keys])}
    waits[metric, FLOOR] = await timed([lambda: shared.client.mget([shared.prefix + key for key in keys])])
    counts = {OURS: len(await shared.client.client_list())}
    own = [asking(mirror, key) for mirror, key in zip(mirrors, keys, strict=True)]
    waits[metric, PEER] = await timed(own)
    counts[PEER] = len(await shared.client.client_list()) - counts[OURS]
    for mirror in (*mirrors, shared):
        await mirror.close()
    return waits, counts


def bench_services(runs: int, *, hold_pm_qos: bool = True) -> BenchResult:
    """Measure both modes, `runs` times each.

    Args:
        runs: how often each is measured.
        hold_pm_qos: keep the cores out of deep idle states meanwhile, if permitted.

    Raises:
        RuntimeError: a driver or a server is not installed.
    """
    values: dict[tuple[str, str], list[float]] = {}
    qos = PmQos()
    if hold_pm_qos:
        qos.hold()
    cores = os.sched_getaffinity(0)
    own = {max(cores)}
    # Else the scheduler puts the server's process where its waker is, on this core, in every second run.
    os.sched_setaffinity(0, cores - own or cores)
    server = PostgresServer(connections=STRATEGIES + 20)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            valkey = ValkeyProcess(scratch)
            try:
                os.sched_setaffinity(0, own)
                for _ in range(runs):
                    connections: dict[str, float] = {}
                    for waits, counts in (uvloop.run(database(server)), uvloop.run(cache(scratch))):
                        for key, wait in waits.items():
                            values.setdefault(key, []).append(wait)
                        for name, count in counts.items():
                            connections[name] = connections.get(name, 0.0) + count
                    for name, total in connections.items():
                        values.setdefault(("connections", name), []).append(total)
            finally:
                valkey.stop()
    finally:
        os.sched_setaffinity(0, cores)
        server.close()
        pm_qos = qos.describe()
        qos.release()
    results = [
        Measurement(name, metric, "µs" if metric.endswith("p50") else "", found)
        for (metric, name), found in sorted(values.items())
    ]
    return BenchResult("services", machine_facts(pm_qos=pm_qos), results, NOTES, ABSENT, goals(values))


def goals(values: dict[tuple[str, str], list[float]]) -> list[Goal]:
    """The table's lines: what was measured shared, and its upper bound."""
    found, total = [], 0.0
    for text, metric, limit in TARGETS:
        ours = statistics.median(values[metric, OURS])
        floor = statistics.median(values[metric, FLOOR])
        total += ours
        found.append(Goal(text, ours / 1e3, limit / 1e3, at_least=False, floor=floor / 1e3))
    limit = sum(limit for _, _, limit in TARGETS)
    again = statistics.median(values["database_us_p50", CACHED])
    first = statistics.median(values["database_us_p50", FIRST])
    connections = statistics.median(values["connections", OURS])
    return [
        *found,
        Goal("database, the first tick of a process, ms", first / 1e3, TARGETS[1][2] / 1e3, at_least=False),
        Goal("sum of both lines, ms", total / 1e3, limit / 1e3, at_least=False),
        Goal("database, asked again within 30 s, ms", again / 1e3, 1.0, at_least=False),
        Goal("connections (per strategy 200 and more)", connections, CONNECTIONS_MAX, at_least=False),
    ]
