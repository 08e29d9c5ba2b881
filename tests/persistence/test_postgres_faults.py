"""PostgreSQL killed, stopped and restarted under a live journal: every row exactly once, and nobody waits."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import pytest
import uvloop

from actors.persistence.postgres import PostgresStore
from actors.persistence.store import StoreError
from actors.persistence.tables import FILLS, REPORTS, ROW_TABLES
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


def test_one_who_is_cancelled_while_the_server_dies_leaves_no_exception_behind(
    server: PostgresServer,
) -> None:
    """Giving a connection back costs no round trip, which the pool would see through behind our back."""
    told: list[str] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, found: told.append(f"{found['message']}: {found}"))
        store = PostgresStore(server.url, timeout_s=5.0)

        async def use() -> None:
            async with store.session() as connection:
                await connection.fetch("SELECT 1")
                server.pause()

        await store.open()
        using = asyncio.create_task(use())
        for _ in range(50):
            await asyncio.sleep(0.002)
        using.cancel()
        await asyncio.gather(using, return_exceptions=True)
        server.kill()
        with pytest.raises(StoreError):
            await store.select("SELECT 1")
        await store.close()
        del using
        gc.collect()
        await asyncio.sleep(0)

    uvloop.run(run())
    assert not told


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


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("postgresql://me:topsecret@127.0.0.1:top/x", "the address is no postgresql:// address"),
        ("postgresql://me:topsecret@[::1/x", "the address is no postgresql:// address"),
        ("me:topsecret", "invalid DSN"),
        ("postgresql://me:1/topsecret@127.0.0.1/x", "can not open the database: "),
        ("postgresql://me:topsecret@/rows?host=/nowhere", "can not open the database rows at /nowhere: "),
        ("postgresql://me:topsecret@127.0.0.1:1/rows", "the database rows at 127.0.0.1:1: "),
    ],
)
def test_an_address_that_leads_nowhere_is_said_without_its_password(url: str, named: str) -> None:
    async def run() -> None:
        with pytest.raises(StoreError) as caught:
            await PostgresStore(url, timeout_s=1.0).open()
        assert named in str(caught.value) and "topsecret" not in str(caught.value)

    uvloop.run(run())


def test_a_new_day_is_stored_while_somebody_reads_the_whole_table(
    empty_postgres: PostgresServer, tmp_path: Path
) -> None:
    """A backup over midnight: its transaction holds the table, and nobody waits for its end."""
    folder = tmp_path / "journal-3"
    shop = Shop(folder)
    shop.trade(10)
    shop.close()

    async def run() -> None:
        store = PostgresStore(empty_postgres.url, timeout_s=1.0)
        made = JournalWriter(store, folder, INSTANCE, 3)
        async with store.session() as reader, reader.transaction(isolation="repeatable_read", readonly=True):
            for table in ROW_TABLES:
                await reader.fetch(f"SELECT FROM ringlane.{table.name}")
            while await made.step(time.monotonic_ns()):
                pass
        await check_equal(store, folder)
        ((day, *rest),) = {tuple(await store.days(table)) for table in (FILLS, REPORTS)}
        rows = [row async for _, part in store.scan([FILLS], day, day + timedelta(days=1)) for row in part]
        assert not rest and len(rows) == await store.count(FILLS)
        await store.close()

    uvloop.run(run())


FULL = """
CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
CREATE {kind} TRIGGER full_disk AFTER INSERT ON ringlane.fills {when} FOR EACH ROW EXECUTE FUNCTION no_room();
"""


@pytest.mark.parametrize(("kind", "when"), [("", ""), ("CONSTRAINT", "DEFERRABLE INITIALLY DEFERRED")])
def test_a_server_whose_disk_is_full_keeps_nothing_of_a_batch_and_goes_on_when_there_is_room(
    empty_postgres: PostgresServer, tmp_path: Path, kind: str, when: str
) -> None:
    """SQLSTATE 53100 in the middle of a COPY, or only at the commit."""
    folder = tmp_path / "journal-3"
    shop = Shop(folder)
    shop.trade(60)

    async def run() -> None:
        store = PostgresStore(empty_postgres.url)
        made = JournalWriter(store, folder, INSTANCE, 3)
        await made.step(time.monotonic_ns(), 50)
        stored = await store.position(INSTANCE, 3)
        async with store.session() as connection:
            await connection.execute(FULL.format(kind=kind, when=when))
        for _ in range(2):
            with pytest.raises(StoreError, match="No space left on device"):
                await made.step(time.monotonic_ns(), 10_000)
            assert await store.position(INSTANCE, 3) == stored
        shop.trade(5)  # the gateway does not care
        async with store.session() as connection:
            await connection.execute("DROP FUNCTION no_room() CASCADE")
        while await made.step(time.monotonic_ns()):
            pass
        await check_equal(store, folder)
        await store.close()

    uvloop.run(run())
    shop.close()


# Stands for the extension where it is not installed: its entry in the catalog, and the two functions that are
# called. It shows that the decision is taken and what follows from it, not that the extension does its part.
TIMESCALE = """
SET allow_system_table_mods = on;
INSERT INTO pg_extension VALUES (99999, 'timescaledb', 10, 2200, true, '2.0', NULL, NULL);
CREATE TABLE hypertables (name text, partitioned_by text, step interval);
CREATE FUNCTION create_hypertable(relation regclass, time_column name, chunk_time_interval interval)
    RETURNS void LANGUAGE sql AS 'INSERT INTO hypertables VALUES ($1::text, $2, $3)';
CREATE FUNCTION drop_chunks(relation regclass, older_than timestamptz) RETURNS SETOF text LANGUAGE plpgsql AS
    $$ BEGIN EXECUTE format('DELETE FROM %s WHERE at < %L', relation, older_than); END $$;
"""


def test_where_timescaledb_is_installed_tables_become_hypertables(
    empty_postgres: PostgresServer, tmp_path: Path
) -> None:
    folder = tmp_path / "journal-3"
    shop = Shop(folder)
    shop.trade(30)
    shop.close()

    async def run() -> None:
        store = PostgresStore(empty_postgres.url)
        connection = await asyncpg.connect(empty_postgres.url)
        try:
            await connection.execute(TIMESCALE)
            made = JournalWriter(store, folder, INSTANCE, 3)
            while await made.step(time.monotonic_ns(), 100):
                pass
            assert (await store.health())["partitions"] == "timescaledb"
            rows = await connection.fetch("SELECT name, partitioned_by, step FROM hypertables")
            wanted = {f"ringlane.{table.name}" for table in ROW_TABLES if table.is_partitioned}
            assert {row[0] for row in rows} == wanted and {row[1] for row in rows} == {"at"}
            assert all(row[2] == timedelta(days=1) for row in rows)
            natives = (
                "SELECT 1 FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE c.relkind = 'r'"
            )
            assert not await connection.fetch(natives)
            await check_equal(store, folder)
            (day, *_) = await store.days(FILLS)
            fills = await store.count(FILLS)
            with pytest.raises(StoreError, match="rows came meanwhile"):
                await store.remove_day(FILLS, day, fills + 1)
            removed = sum(
                [await store.delete_before(table, day + timedelta(days=2)) for table in (FILLS, REPORTS)]
            )
            assert removed > fills and await store.count(FILLS) == 0
            await store.close()
            # The decision stands in the schema: it is not taken again once the extension is gone.
            await connection.execute("DELETE FROM pg_extension WHERE extname = 'timescaledb'")
            again = PostgresStore(empty_postgres.url)
            await again.open()
            assert (await again.health())["partitions"] == "timescaledb"
            await again.close()
        finally:
            await connection.execute("DELETE FROM pg_extension WHERE extname = 'timescaledb'")
            await connection.execute("DROP FUNCTION IF EXISTS create_hypertable, drop_chunks")
            await connection.execute("DROP TABLE IF EXISTS hypertables")
            await connection.close()

    uvloop.run(run())


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of its own, which a test may fill; needs the right to mount."""
    folder = Path(tempfile.mkdtemp(prefix="rl-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=320m,mode=755", "none", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        folder.rmdir()
        pytest.skip("no mount here")
    if done.returncode:
        folder.rmdir()
        pytest.skip(f"mount: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
    folder.rmdir()


@pytest.mark.prove
def test_a_server_on_a_disk_that_is_really_full_loses_nothing(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "journal-3"
    shop = Shop(folder)
    shop.trade(600)
    with monkeypatch.context() as there:
        there.setattr(tempfile, "tempdir", str(small_disk))
        server = PostgresServer()
    ballast = small_disk / "ballast"

    async def run() -> None:
        store = PostgresStore(server.url, timeout_s=5.0)
        made = JournalWriter(store, folder, INSTANCE, 3)
        await made.step(time.monotonic_ns(), 20)
        fill_up(ballast)
        with pytest.raises(StoreError, match="No space left on device"):
            while await made.step(time.monotonic_ns()):
                pass
        shop.trade(5)  # the gateway does not care
        ballast.unlink()
        done = asyncio.Event()
        done.set()
        await keep_storing(made, done)
        await check_equal(store, folder)
        await store.close()

    try:
        uvloop.run(run())
    finally:
        server.close()
        shop.close()


def fill_up(path: Path) -> None:
    """Leave no room in a file system."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass
