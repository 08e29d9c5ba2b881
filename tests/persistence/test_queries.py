"""Shipped queries: right answers in both databases, from an index, few statements for many who ask."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import uvloop

from actors.persistence.asking import QueryCache, TradeReader, Trades, markets_json
from actors.persistence.postgres import PostgresStore
from actors.persistence.queries import (
    DAILY,
    LATENCY,
    ORDER_FILLS,
    ORDER_HISTORY,
    QUERIES,
    RECENT_TRADES,
    TRADES_BY_MARKET,
)
from actors.persistence.sqlite import SqliteStore
from actors.persistence.store import Store, StoreError
from actors.persistence.tables import BY_NAME, Row
from tests.kit.servers import PostgresServer
from tests.persistence.conftest import MakeStore
from tests.persistence.test_rows import all_rows
from tests.persistence.test_stores import store_all, writer
from tests.persistence.trading import INSTANCE, Shop
from tools.notes_view import store_parts

SHIPPED = {**QUERIES, TRADES_BY_MARKET.name: TRADES_BY_MARKET}
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
NEVER = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[dict[str, list[Row]]]:
    """What a journal of this test says."""
    folder = tmp_path / "journal-3"
    shop = Shop(folder)
    shop.trade(120)
    shop.close()
    yield all_rows(folder, [10_000])


def dicts(table: str, rows: list[Row]) -> list[dict[str, object]]:
    """Rows by column name."""
    return [dict(zip(BY_NAME[table].names, row, strict=True)) for row in rows]


def test_answers_are_what_the_rows_say(
    make_store: MakeStore, rows: dict[str, list[Row]], tmp_path: Path
) -> None:
    fills = dicts("fills", rows["fills"])
    order = fills[0]["client_order_id"]

    async def run() -> None:
        store = make_store()
        await store_all(writer(store, tmp_path / "journal-3"))
        newest = await RECENT_TRADES.run(
            store, symbols=["S0", "none"], venues=["binance_usdm"], since=LONG_AGO, limit=5
        )
        wanted = [fill for fill in reversed(fills) if fill["symbol"] == "S0"][:5]
        assert [row[11] for row in newest] == [fill["trade_id"] for fill in wanted]
        found = await ORDER_FILLS.run(store, order=order)
        assert len(found) == sum(fill["client_order_id"] == order for fill in fills) > 0
        history = await ORDER_HISTORY.run(store, order=order)
        reports = dicts("reports", rows["reports"])
        assert len(history) == sum(report["client_order_id"] == order for report in reports) > 1
        daily = await DAILY.run(store, instance=INSTANCE, since=LONG_AGO, until=NEVER)
        for at, total in (
            (6, "notional"),
            (7, "cash"),
            (8, "fee"),
        ):  # exactly, though SQLite knows no decimals
            assert sum(Decimal(row[at]) for row in daily) == sum(Decimal(str(fill[total])) for fill in fills)
        assert sum(row[5] for row in daily) == len(fills)
        latency = await LATENCY.run(store, instance=INSTANCE, since=LONG_AGO, until=NEVER)
        hops = {row[1]: row for row in latency}
        ns = sorted(
            report["gate_ns"] - report["decide_ns"]  # type: ignore[operator]
            for report in reports
            if report["kind"] == 1 and report["gate_ns"] and report["decide_ns"]
        )
        assert hops["decide-gate"][2:] == (
            len(ns), ns[(len(ns) * 50 + 99) // 100 - 1], ns[(len(ns) * 99 + 99) // 100 - 1], ns[-1],
        )  # fmt: skip
        for query in SHIPPED.values():  # each one is understood by both databases
            await query.run(store, **arguments(query.parameters))
        await store.close()

    uvloop.run(run())


def arguments(parameters: tuple[str, ...], **given: object) -> dict[str, object]:
    """Arguments for a query of these parameters."""
    known = {
        "symbols": ["S1"], "venues": ["okx"], "since": LONG_AGO, "until": NEVER, "limit": 10, "order": 5,
        "instance": INSTANCE, "markets": markets_json({("okx", "S1"): (LONG_AGO, 10)}),
    } | given  # fmt: skip
    return {name: known[name] for name in parameters}


def test_a_query_says_which_arguments_it_takes(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "x")
    with pytest.raises(ValueError, match="since is a time without a zone"):
        DAILY.bind(store, instance="i", since=datetime(2026, 1, 1), until=NEVER)  # noqa: DTZ001
    with pytest.raises(ValueError, match="takes order; got since"):
        ORDER_FILLS.bind(store, since=1)
    with pytest.raises(ValueError, match="symbols is empty"):
        RECENT_TRADES.bind(store, **(arguments(RECENT_TRADES.parameters) | {"symbols": []}))


# ---- indexes ---------------------------------------------------------------------------------------

DAYS, PER_DAY = 3, 4_000
_FILL = """
INSERT INTO ringlane.{name} ({columns})
SELECT {values} FROM generate_series(1, {per_day}) AS n, generate_series(0, {days} - 1) AS d
"""


def _values(table: str) -> str:
    """SQL values of a column each: ten instances, fifty symbols, times spread over each day."""
    given = {
        "instance": "'i' || n % 10", "gateway": "1", "epoch": "1", "sequence": "d * 1000000 + n",
        "at": "timestamptz '2026-01-01Z' + d * interval '1 day' + n * interval '20 seconds'",
        "symbol": "'S' || n % 50", "venue": "'v' || n % 3", "client_order_id": "n / 3", "kind": "1 + n % 9",
        "decide_ns": "n", "gate_ns": "n + 5", "send_ns": "n + 9", "ack_ns": "n + 99", "frame_ns": "n - 9",
        "actor_id": "n % 7",
    }  # fmt: skip
    zero = {"text": "''", "decimal": "1.5"}
    return ", ".join(given.get(name, zero.get(kind, "0")) for name, kind in BY_NAME[table].columns)


@pytest.fixture(scope="module")
def large(postgres: PostgresServer) -> PostgresServer:
    """The server with so many rows that the planner would not read them all without being asked."""

    async def fill() -> None:
        store = PostgresStore(postgres.url)
        async with store.session() as connection:
            await connection.execute("DROP SCHEMA IF EXISTS ringlane CASCADE")
        await store.close()
        store = PostgresStore(postgres.url)
        async with store.session() as connection:
            for name in ("intents", "reports", "fills", "discrepancies", "slippage"):
                for day in range(DAYS):
                    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)
                    await store._make_partition(connection, BY_NAME[name], at)
                columns = ", ".join(BY_NAME[name].names)
                sql = _FILL.format(
                    name=name, columns=columns, values=_values(name), per_day=PER_DAY, days=DAYS
                )
                await connection.execute(sql)
                await connection.execute(f"ANALYZE ringlane.{name}")
        await store.close()

    uvloop.run(fill())
    return postgres


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_postgres_answers_every_shipped_query_from_an_index(large: PostgresServer, name: str) -> None:
    query = SHIPPED[name]
    noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    given = arguments(
        query.parameters, since=noon, until=noon + timedelta(hours=1), order=77, instance="i3",
        symbols=["S3", "S4"], venues=["v1"],
        markets=markets_json({("v1", "S3"): (noon, 100), ("v1", "S4"): (noon - timedelta(days=1), 5)}),
    )  # fmt: skip

    async def run() -> tuple[str, int]:
        store = PostgresStore(large.url)
        sql, values = query.bind(store, **given)
        plan = "\n".join(str(row[0]) for row in await store.select(f"EXPLAIN {sql}", values))
        found = len(await store.select(sql, values))
        await store.close()
        return plan, found

    plan, found = uvloop.run(run())
    assert "Index" in plan and "Seq Scan" not in plan, plan
    assert found > 0


def test_sqlite_answers_every_shipped_query_from_an_index(tmp_path: Path) -> None:
    async def run() -> None:
        store = SqliteStore(tmp_path / "store.sqlite")
        for query in SHIPPED.values():
            sql, values = query.bind(store, **arguments(query.parameters))
            plan = [str(row[3]) for row in await store.select(f"EXPLAIN QUERY PLAN {sql}", values)]
            reads = [line for line in plan if any(f" {name}" in line for name in (*BY_NAME, "t ", "f "))]
            assert reads and all(
                line.startswith("SEARCH") and ("INDEX" in line or "PRIMARY KEY" in line) for line in reads
            ), plan
        await store.close()

    uvloop.run(run())


# ---- many who ask ----------------------------------------------------------------------------------


class Counting(SqliteStore):
    """Counts round trips."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.selects = 0
        self.is_gone = False

    async def select(self, sql: str, arguments: Sequence[object] = ()) -> list[Row]:
        self.selects += 1
        if self.is_gone:
            raise StoreError("gone")
        return await super().select(sql, arguments)


async def filled(tmp_path: Path) -> Counting:
    """A store with a journal's rows."""
    store = Counting(tmp_path / "store.sqlite")
    await store_all(writer(store, tmp_path / "journal-3"))
    store.selects = 0
    return store


def test_a_hundred_who_ask_in_one_tick_cost_one_statement(rows: dict[str, list[Row]], tmp_path: Path) -> None:
    fills = dicts("fills", rows["fills"])
    chance = random.Random(5)
    questions = [
        (chance.choice([["S0"], ["S1"], ["S0", "S1"]]), chance.choice(fills)["at"], chance.choice([3, 1000]))
        for _ in range(100)
    ]

    async def run() -> None:
        store = await filled(tmp_path)
        reader = TradeReader(store)
        answers = await asyncio.gather(
            *(
                reader.get_recent_trades_optimized(symbols, ["binance_usdm", "okx"], since, limit)  # type: ignore[arg-type]
                for symbols, since, limit in questions
            )
        )
        assert store.selects == reader.statements == 1
        place = TRADES_BY_MARKET.columns.index("trade_id")
        for (symbols, since, limit), answer in zip(questions, answers, strict=True):
            assert set(answer) == {(v, s) for v in ("binance_usdm", "okx") for s in symbols}
            for (venue, symbol), trades in answer.items():
                wanted = [f for f in reversed(fills) if (f["venue"], f["symbol"]) == (venue, symbol)]
                ids = [f["trade_id"] for f in wanted if f["at"] >= since][:limit]  # type: ignore[operator]
                assert [row[place] for row in trades] == ids
        assert await reader.get_recent_trades_optimized([], ["okx"], LONG_AGO) == {}
        with pytest.raises(ValueError, match="without a zone"):
            await reader.get_recent_trades_optimized(["S0"], ["okx"], datetime(2026, 1, 1))  # noqa: DTZ001
        store.is_gone = True
        failed = await asyncio.gather(
            *(reader.get_recent_trades_optimized(["S0"], ["okx"], LONG_AGO) for _ in range(3)),
            return_exceptions=True,
        )
        assert [type(error) for error in failed] == [StoreError] * 3
        await store.close()

    uvloop.run(run())


def test_an_answer_is_kept_for_thirty_seconds(rows: dict[str, list[Row]], tmp_path: Path) -> None:
    order = dicts("fills", rows["fills"])[0]["client_order_id"]
    now_s = 100

    async def run() -> None:
        nonlocal now_s
        store = await filled(tmp_path)
        cache = QueryCache(store, now_ns=lambda: now_s * 1_000_000_000)
        first = await asyncio.gather(*(cache.ask(ORDER_FILLS, order=order) for _ in range(10)))
        assert store.selects == 1 and first[0] and all(answer == first[0] for answer in first)
        for more_s in (29, 1):  # thirty seconds after the question was asked it is too old
            assert await cache.ask(ORDER_FILLS, order=order) == first[0]
            assert store.selects == 1
            now_s += more_s
        assert await cache.ask(ORDER_FILLS, order=order) == first[0]
        assert store.selects == 2
        assert (cache.hits, cache.misses, cache.hit_rate) == (11, 2, 11 / 13)
        (part,) = store_parts({"queries": {"maker": cache.describe()}})
        assert str(part) == "Queries of maker: 13, 84.6% from the cache"
        store.is_gone = True
        with pytest.raises(StoreError):
            await cache.ask(ORDER_FILLS, order=-1)
        store.is_gone = False
        assert await cache.ask(ORDER_FILLS, order=-1) == []  # a failure is not kept
        await store.close()

    uvloop.run(run())


def test_recent_trades_asked_again_within_thirty_seconds_cost_no_statement(
    rows: dict[str, list[Row]], tmp_path: Path
) -> None:
    now_s = 100

    async def run() -> None:
        nonlocal now_s
        store = await filled(tmp_path)
        reader = TradeReader(store, QueryCache(store, now_ns=lambda: now_s * 1_000_000_000))

        async def ask() -> list[Trades]:
            return await asyncio.gather(
                *(
                    reader.get_recent_trades_optimized([f"S{i % 2}"], ["binance_usdm"], LONG_AGO, 5)
                    for i in range(100)
                )
            )

        first = await ask()
        assert first[0]["binance_usdm", "S0"] and first[0] != first[1] and first[::2] == [first[0]] * 50
        assert store.selects == reader.statements == 1
        now_s += 29
        assert await ask() == first and store.selects == 1
        now_s += 2
        assert await ask() == first and store.selects == 2
        await store.close()

    uvloop.run(run())


def test_the_cache_forgets_what_was_asked_longest_ago(tmp_path: Path) -> None:
    async def run() -> None:
        store = Counting(tmp_path / "store.sqlite")
        cache = QueryCache(store, entries_max=2, now_ns=lambda: 0)
        for order in (1, 2, 1, 3, 1):
            await cache.ask(ORDER_HISTORY, order=order)
        assert store.selects == 3
        await cache.ask(ORDER_HISTORY, order=2)
        assert store.selects == 4
        await store.close()

    uvloop.run(run())


def test_one_who_gives_up_does_not_take_the_answer_from_the_others(tmp_path: Path) -> None:
    async def run() -> None:
        store: Store = Counting(tmp_path / "store.sqlite")
        cache = QueryCache(store, now_ns=lambda: 0)
        leaving = asyncio.ensure_future(cache.ask(ORDER_HISTORY, order=1))
        staying = asyncio.ensure_future(cache.ask(ORDER_HISTORY, order=1))
        await asyncio.sleep(0)
        leaving.cancel()
        assert await staying == []
        await store.close()

    uvloop.run(run())
