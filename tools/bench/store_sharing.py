"""A hundred strategies that each have their own connections, beside a hundred that share the pools."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import uvloop

from actors.persistence.asking import TradeReader
from actors.persistence.mirror import Mirror, Snapshot
from actors.persistence.postgres import PostgresStore
from actors.persistence.queries import RECENT_TRADES
from actors.persistence.tables import FILLS
from tools.bench.common import OURS, Measurement
from tools.bench.postgres import PostgresServer
from tools.bench.valkey import ValkeyProcess

STRATEGIES = 100
ROUNDS = 5
PEER = "a connection per strategy"
_DAY = datetime(2026, 1, 1, tzinfo=UTC)
_FILLED = 20_000


async def timed(calls: list[Callable[[], Awaitable[object]]]) -> float:
    """All ask at once, several times; the median wait of one, in ms."""

    async def one(call: Callable[[], Awaitable[object]]) -> int:
        begin = time.perf_counter_ns()
        await call()
        return time.perf_counter_ns() - begin

    waits: list[int] = []
    for round_ in range(ROUNDS + 1):
        took = await asyncio.gather(*(one(call) for call in calls))
        if round_:
            waits += took
    return float(np.median(waits)) / 1e6


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


async def database(server: PostgresServer) -> tuple[dict[str, float], dict[str, int]]:
    """Median wait for recent trades of one's own symbol, and connections at the server."""
    since = _DAY + timedelta(seconds=_FILLED - 3_000)
    stores = [PostgresStore(server.url) for _ in range(STRATEGIES)]
    await fill(stores[0])
    counts: dict[str, int] = {}

    async def connections() -> int:
        sql = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        return int((await stores[0].select(sql))[0][0])

    def own(number: int) -> Callable[[], Awaitable[object]]:
        return lambda: RECENT_TRADES.run(
            stores[number], symbols=[f"S{number}"], venues=["v"], since=since, limit=100
        )

    shared = PostgresStore(server.url, pairs=STRATEGIES)
    reader = TradeReader(shared)

    def together(number: int) -> Callable[[], Awaitable[object]]:
        return lambda: reader.get_recent_trades_optimized([f"S{number}"], ["v"], since, 100)

    waits = {PEER: await timed([own(number) for number in range(STRATEGIES)])}
    counts[PEER] = await connections()
    for store in stores[1:]:
        await store.close()
    waits[OURS] = await timed([together(number) for number in range(STRATEGIES)])
    counts[OURS] = await connections() - 1  # the one that asks
    await shared.close()
    await stores[0].select("TRUNCATE ringlane.fills")
    await stores[0].close()
    return waits, counts


async def cache(scratch: str) -> tuple[dict[str, float], dict[str, int]]:
    """Median wait for the newest top of one's own book, and connections at the server."""
    url = f"unix://{scratch}/valkey.sock"
    mirrors = [Mirror(url, "bench", timeout_s=5.0) for _ in range(STRATEGIES)]
    shared = Mirror(url, "bench", pairs=STRATEGIES, expiry_s=600, timeout_s=5.0)
    await shared.write([Snapshot(f"book:v:S{n}", {"bid": "1", "ask": "2"}, 1) for n in range(STRATEGIES)], 0)

    def asking(mirror: Mirror, number: int) -> Callable[[], Awaitable[object]]:
        return lambda: mirror.read(f"book:v:S{number}")

    waits = {OURS: await timed([asking(shared, number) for number in range(STRATEGIES)])}
    counts = {OURS: len(await shared.client.client_list())}
    waits[PEER] = await timed([asking(mirror, number) for number, mirror in enumerate(mirrors)])
    counts[PEER] = len(await shared.client.client_list()) - counts[OURS]
    for mirror in (*mirrors, shared):
        await mirror.close()
    return waits, counts


def sharing_results(runs: int, server: PostgresServer, scratch: str) -> list[Measurement]:
    """Waits and connections, shared and per strategy.

    Args:
        runs: how often each is measured.
        server: with room for a connection of each strategy.
        scratch: folder for the cache's socket.
    """
    values: dict[tuple[str, str], list[float]] = {}
    valkey = ValkeyProcess(scratch)
    try:
        for _ in range(runs):
            for metric, (waits, counts) in (
                ("database", uvloop.run(database(server))),
                ("redis", uvloop.run(cache(scratch))),
            ):
                for name in (OURS, PEER):
                    values.setdefault((f"{metric}_ms_p50", name), []).append(waits[name])
                    values.setdefault((f"{metric}_connections", name), []).append(float(counts[name]))
    finally:
        valkey.stop()
    return [
        Measurement(name, metric, "ms" if metric.endswith("p50") else "", found)
        for (metric, name), found in values.items()
    ]
