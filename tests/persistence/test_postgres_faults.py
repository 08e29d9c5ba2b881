"""PostgreSQL killed, stopped and restarted under a live journal: every row exactly once, and nobody waits."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import asyncpg  # type: ignore[import-untyped]
import pytest
import uvloop

from actors.persistence.postgres import PostgresStore
from actors.persistence.store import StoreError
from actors.persistence.tables import FILLS, REPORTS, ROW_TABLES
from actors.persistence.writer import JournalWriter, StoreActor
from actors.runtime.context import Context
from tests.kit.servers import PostgresServer
from tests.persistence.test_stores import check_equal
from tests.persistence.trading import INSTANCE, Shop


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server of this test's own, because it is killed."""
    made = PostgresServer()
    yield made
    made.close()


async def stored(made: JournalWriter, limit: int) -> None:
    """One step, again where the server got no core within the store's short patience."""
    while True:
        with contextlib.suppress(StoreError):
            await made.step(time.monotonic_ns(), limit)
            return


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
        store, patient = PostgresStore(server.url, timeout_s=2.0), PostgresStore(server.url, timeout_s=60.0)
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
        await check_equal(patient, folder)
        await asyncio.gather(store.close(), patient.close())
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
        store, patient = PostgresStore(server.url, timeout_s=0.3), PostgresStore(server.url, timeout_s=60.0)
        made = JournalWriter(store, folder, INSTANCE, 3)
        await stored(made, 20)
        server.pause()
        with pytest.raises(StoreError, match="postgres: can not use"):
            await made.step(time.monotonic_ns(), 20)
        shop.trade(5)
        server.resume()
        done = asyncio.Event()
        done.set()
        await keep_storing(made, done)
        await check_equal(patient, folder)
        await asyncio.gather(store.close(), patient.close())

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
        store, is_paused = PostgresStore(server.url, timeout_s=60.0), asyncio.Event()

        async def use() -> None:
            async with store.session() as connection:
                await connection.fetch("SELECT 1")
                server.pause()
                is_paused.set()

        await store.open()
        using = asyncio.create_task(use())
        await is_paused.wait()
        for _ in range(50):  # turns of the loop in which a round trip would be under way
            await asyncio.sleep(0)
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
        ("postgresql://me:topsecret@127.0.0.1:top/x", "the address is no postgresql://"),
        ("postgresql://me:topsecret@[::1/x", "the address is no postgresql://"),
        ("topsecret:me@127.0.0.1/x", "the address is no postgresql://"),
        ("postgresql://me:1/topsecret@127.0.0.1/x", "the address is no postgresql://"),
        ("postgresql://me:1#topsecret@127.0.0.1/x", "in a password, / ? # @ : are written %2F"),
        ("postgresql://me:topsecret@127.0.0.1:99999/x", "the address's port is above 65535"),
        ("postgresql://me:topsecret@127.0.0.1:1,127.0.0.1:1/x", "can not open the database: "),
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


@pytest.mark.parametrize(
    ("who", "named"),
    [
        ("rl_me:wrong@/rl_rows", 'password authentication failed for user "rl_me"'),
        ("rl_poor:topsecret@/rl_rows", "permission denied for database rl_rows"),
        ("rl_me:topsecret@/rl_nowhere", 'database "rl_nowhere" does not exist'),
        ("rl_me:topsecret@/rl_rows", ""),
    ],
)
def test_a_server_that_asks_for_passwords_says_what_is_wrong(
    postgres: PostgresServer, guarded: None, who: str, named: str
) -> None:
    async def run() -> None:
        store = PostgresStore(f"postgresql://{who}?host={postgres.folder}", timeout_s=5.0)
        if not named:
            await store.open()
            assert await store.count(REPORTS) == 0
        else:
            with pytest.raises(StoreError) as caught:
                await store.open()
            text = str(caught.value)
            assert text.endswith(f" at {postgres.folder}: {named}") and "\n" not in text
            assert "topsecret" not in text and ":wrong" not in text
        await store.close()

    uvloop.run(run())


@pytest.fixture(scope="module")
def guarded(postgres: PostgresServer) -> None:
    """Two roles with passwords, one of which may do nothing, and a database of the other."""
    hba = postgres.data / "pg_hba.conf"
    hba.write_text(f"local all rl_me,rl_poor scram-sha-256\n{hba.read_text()}")

    async def make() -> None:
        connection = await asyncpg.connect(postgres.url)
        for statement in (
            "SELECT pg_reload_conf()",
            "CREATE ROLE rl_me LOGIN PASSWORD 'topsecret'",
            "CREATE ROLE rl_poor LOGIN PASSWORD 'topsecret'",
            "CREATE DATABASE rl_rows OWNER rl_me",
        ):
            await connection.execute(statement)
        await connection.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            while True:  # until the server has read its rules again
                wrong = f"postgresql://rl_me:wrong@/rl_rows?host={postgres.folder}"
                await (await asyncpg.connect(wrong)).close()

    uvloop.run(make())


class Stage:
    """As much of a worker as a StoreActor needs, with a clock that its sleeps move."""

    def __init__(self, state_dir: Path) -> None:
        self.ns = 0
        self.notes: dict[str, Any] = {}
        self.faults: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.actor_id = 1
        self.host = SimpleNamespace(
            spec=SimpleNamespace(state_dir=str(state_dir), instance=INSTANCE),
            scheduler=SimpleNamespace(spawn=self.spawn),
            metrics=SimpleNamespace(fault=lambda _code, text, _at: self.faults.append(text)),
        )

    def spawn(self, job: Coroutine[Any, Any, None], done: Callable[[], None], _: object) -> None:
        """Run a job."""
        task = asyncio.ensure_future(job)
        task.add_done_callback(lambda _: done())
        self.tasks.append(task)

    def counter(self, *_: str) -> Any:
        """A gauge that stands still."""
        return SimpleNamespace(value=0, inc=lambda _: None, set=lambda _: None)

    histogram = counter

    def now_ns(self) -> int:
        """The clock."""
        return self.ns

    utc_ns = now_ns

    async def sleep(self, ns: int) -> None:
        """Move it."""
        self.ns += ns
        await asyncio.sleep(0)

    def note(self, name: str, found: dict[str, Any]) -> None:
        """What status and report would show."""
        self.notes[name] = found


def test_a_server_that_accepts_and_never_answers_is_told_at_the_end_of_a_short_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> Stage:
        mute = socket.create_server(("127.0.0.1", 0))
        port = mute.getsockname()[1]
        monkeypatch.setenv("RL_TEST_MUTE", f"postgresql://me:topsecret@127.0.0.1:{port}/rows")
        stage = Stage(tmp_path)
        actor = StoreActor(cast(Context, stage), {"kind": "postgres", "url_env": "RL_TEST_MUTE"})
        actor.on_start()
        await asyncio.sleep(0)
        stage.ns += 5_000_000_000
        await actor.on_stop()
        assert f"the database rows at 127.0.0.1:{port} for 6 s" in stage.faults[0]
        for task in stage.tasks:
            task.cancel()
        await asyncio.gather(*stage.tasks, return_exceptions=True)
        mute.close()
        return stage

    stage = uvloop.run(run())
    (fault,) = stage.faults
    assert fault == stage.notes["store"]["error"] and "topsecret" not in fault


def test_what_was_mended_before_the_end_of_a_run_is_good_at_its_end(tmp_path: Path) -> None:
    async def run() -> Stage:
        stage = Stage(tmp_path)
        path = tmp_path / "later" / "rows.sqlite"
        actor = StoreActor(cast(Context, stage), {"path": str(path)})
        actor.on_start()
        while not stage.faults:
            await asyncio.sleep(0.001)
        path.parent.mkdir()
        await actor.on_stop()
        assert path.exists()
        return stage

    stage = uvloop.run(run())
    assert "unable to open database file" in stage.faults[0]
    assert stage.notes["store"]["error"] == ""


def test_a_new_day_is_stored_while_somebody_reads_the_whole_table(
    empty_postgres: PostgresServer, tmp_path: Path
) -> None:
    """A backup over midnight: its transaction holds the table, and nobody waits for its end."""
    folder = tmp_path / "journal-3"
    shop = Shop(folder)
    shop.trade(10)
    shop.close()

    async def run() -> None:
        store = PostgresStore(empty_postgres.url, timeout_s=20.0)
        made = JournalWriter(store, folder, INSTANCE, 3)
        async with store.session() as reader, reader.transaction(isolation="repeatable_read", readonly=True):
            for table in ROW_TABLES:
                await reader.fetch(f"SELECT FROM ringlane.{table.name}")
            while await made.step(time.monotonic_ns()):
                pass
        await check_equal(store, folder)
        days = await store.days(FILLS)
        assert set(days) <= set(await store.days(REPORTS)) and 1 <= len(days) <= 2, "2: traded over midnight"
        rows = 0
        for day in days:
            found = [part async for _, part in store.scan([FILLS], day, day + timedelta(days=1))]
            assert found, day
            rows += sum(map(len, found))
        assert rows == await store.count(FILLS)
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
