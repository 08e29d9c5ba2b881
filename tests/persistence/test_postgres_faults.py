"""PostgreSQL killed, stopped and restarted under a live journal: every row exactly once, and nobody waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from actors.persistence.postgres import PostgresStore
from actors.persistence.store import StoreError
from actors.persistence.writer import JournalWriter
from tests.kit.servers import PostgresServer
from tests.persistence.test_stores import check_equal
from tests.persistence.trading import INSTANCE, Shop


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server of this test's own, because it is killed."""
    made = PostgresServer()
    yield made
    made.close()


async def keep_storing(made: JournalWriter, done: asyncio.Event) -> int:
    """What the actor's loop does; returns how often the database could not."""
    failures = 0
    while True:
        is_last = done.is_set()
        try:
            stored = await made.step(time.monotonic_ns())
        except StoreError:
            failures += 1
            await asyncio.sleep(0.02)
            continue
        if not stored:
            if is_last:
                return failures
            await asyncio.sleep(0.005)


def trade_through(server: PostgresServer, folder: Path, kills: int, orders: int) -> int:
    """Trade while the server is killed and started again; returns how often storing failed."""
    shop = Shop(folder)

    async def run() -> int:
        store = PostgresStore(server.url, timeout_s=2.0)
        done = asyncio.Event()
        storing = asyncio.create_task(keep_storing(JournalWriter(store, folder, INSTANCE, 3), done))
        for _ in range(kills):
            for _ in range(orders):
                shop.trade(10)
                await asyncio.sleep(0)
            server.kill()
            for _ in range(orders):  # the gateway does not care
                shop.trade(10)
                await asyncio.sleep(0)
            await asyncio.to_thread(server.start)
        done.set()
        failures = await storing
        await check_equal(store, folder)
        await store.close()
        return failures

    failures = uvloop.run(run())
    shop.close()
    return failures


def test_a_server_killed_and_restarted_gets_every_row_once(server: PostgresServer, tmp_path: Path) -> None:
    assert trade_through(server, tmp_path / "journal-3", kills=2, orders=15) > 0


@pytest.mark.prove
def test_a_server_killed_twenty_times_gets_every_row_once(server: PostgresServer, tmp_path: Path) -> None:
    assert trade_through(server, tmp_path / "journal-3", kills=20, orders=20) > 0


def test_a_server_that_does_not_answer_is_gone_until_it_does(server: PostgresServer, tmp_path: Path) -> None:
    folder = tmp_path / "journal-3"
    shop = Shop(folder)
    shop.trade(20)

    async def run() -> None:
        store = PostgresStore(server.url, timeout_s=0.3)
        made = JournalWriter(store, folder, INSTANCE, 3)
        await made.step(time.monotonic_ns(), 20)
        server.pause()
        with pytest.raises(StoreError, match="postgres: can not use"):
            await made.step(time.monotonic_ns(), 20)
        shop.trade(5)
        server.resume()
        done = asyncio.Event()
        done.set()
        await keep_storing(made, done)
        await check_equal(store, folder)
        await store.close()

    uvloop.run(run())
    shop.close()


def test_a_killed_connection_is_replaced(server: PostgresServer) -> None:
    async def run() -> None:
        store = PostgresStore(server.url)
        assert await store.select("SELECT 1") == [(1,)]
        async with store.session() as connection:
            own = await connection.fetchval("SELECT pg_backend_pid()")
        with pytest.raises(StoreError):
            await store.select("SELECT pg_terminate_backend($1)", (own,))
        assert await store.select("SELECT 2") == [(2,)]
        health = await store.health()
        assert (health["connections"], health["idle"], health["connections_max"]) == (1, 1, 5)
        await store.close()

    uvloop.run(run())


def test_a_hundred_strategies_share_the_pool(server: PostgresServer) -> None:
    async def run() -> int:
        store = PostgresStore(server.url, pairs=500)
        await store.open()
        await asyncio.gather(*(store.select("SELECT pg_sleep(0.01)") for _ in range(100)))
        rows = await store.select(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        )
        await store.close()
        return int(rows[0][0])

    assert 2 <= uvloop.run(run()) <= 20


def test_an_address_is_not_shown(tmp_path: Path) -> None:
    del tmp_path

    async def run() -> None:
        store = PostgresStore("postgresql://me:topsecret@/x?host=/nowhere", timeout_s=1.0)
        with pytest.raises(StoreError) as caught:
            await store.open()
        assert "topsecret" not in str(caught.value)

    uvloop.run(run())
