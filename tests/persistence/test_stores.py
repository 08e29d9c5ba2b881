"""Both databases alike: every row exactly once, whatever is killed; a schema is never guessed about."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import uvloop

from actors.persistence.rows import Batch
from actors.persistence.sqlite import SqliteStore
from actors.persistence.store import SchemaError, Store, StoreError
from actors.persistence.tables import FILLS, INSTRUMENTS, INTENTS, REPORTS, ROW_TABLES
from actors.persistence.writer import JournalWriter
from shm.enums import JournalKind
from shm.journal import Journal
from shm.journal_cursor import JournalCursor
from shm.journal_reader import START
from tests.exec.scene import EPOCH
from tests.persistence.conftest import MakeStore
from tests.persistence.test_rows import all_rows
from tests.persistence.trading import INSTANCE, Shop


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A journal of twenty orders, which nobody has closed yet."""
    shop = Shop(tmp_path / "journal-3")
    shop.trade(20)
    yield tmp_path / "journal-3"
    shop.close()


def writer(store: Store, folder: Path, cursor: JournalCursor | None = None) -> JournalWriter:
    """A writer as the actor makes it."""
    return JournalWriter(store, folder, INSTANCE, 3, cursor)


async def store_all(made: JournalWriter, limit: int = 100) -> int:
    """Step until caught up."""
    steps = 0
    while await made.step(time.monotonic_ns(), limit):
        steps += 1
    return steps


async def check_equal(store: Store, folder: Path) -> None:
    """The tables hold what the journal says, each row once."""
    rows = all_rows(folder, [10_000])
    for table in ROW_TABLES:
        assert await store.count(table) == len(rows.get(table.name, [])), table.name
    prefix = "ringlane." if store.name == "postgres" else ""
    found = await store.select(
        f"SELECT sequence, trade_id, price_units, fee_e8 FROM {prefix}fills ORDER BY sequence"
    )
    names = FILLS.names
    picked = [names.index(name) for name in ("sequence", "trade_id", "price_units", "fee_e8")]
    assert [tuple(row) for row in found] == [tuple(row[i] for i in picked) for row in rows["fills"]]


def test_rows_arrive_once_while_the_journal_grows_and_writers_come_and_go(
    make_store: MakeStore, tmp_path: Path
) -> None:
    folder = tmp_path / "journal-3"
    shop = Shop(folder, file_bytes=1 << 17)
    chance = random.Random(4)

    async def run() -> None:
        store = make_store()
        await store.open()
        made = writer(store, folder)
        for _ in range(12):
            shop.trade(12)
            if chance.random() < 0.4:  # as after a kill: nothing is kept but the database
                await store.close()
                store = make_store()
                made = writer(store, folder)
            await made.step(time.monotonic_ns(), chance.randint(1, 90))
        await store_all(made)
        await check_equal(store, folder)
        assert await store.position(INSTANCE, 3) != START
        await store.close()

    uvloop.run(run())
    shop.close()


def test_a_new_run_whose_file_has_no_record_yet_is_gone_on_with(
    make_store: MakeStore, tmp_path: Path
) -> None:
    folder = tmp_path / "journal-3"
    shop = Shop(folder)
    shop.trade(5)
    shop.close()

    async def run() -> None:
        store = make_store()
        made = writer(store, folder)
        await store_all(made)
        with Journal.open(folder, INSTANCE, EPOCH + 1) as journal:
            assert await made.step(time.monotonic_ns()) == 0  # and the reader stands in the new file now
            journal.append(JournalKind.NOTE, b"first", time.monotonic_ns())
            assert await made.step(time.monotonic_ns()) == 1
        assert (await store.position(INSTANCE, 3)).epoch == EPOCH + 1
        await store.close()

    uvloop.run(run())


def test_a_batch_that_fails_leaves_nothing_and_is_stored_at_the_next_try(
    make_store: MakeStore, folder: Path
) -> None:
    async def run() -> None:
        store = make_store()
        await store.open()
        made = writer(store, folder)
        batches: list[Batch] = []
        write = store.write

        async def spoiled(batch: Batch) -> None:
            if not batches:
                batches.append(batch)
                batch.rows["fills"].append(batch.rows["fills"][0])  # a primary key twice, behind good rows
            await write(batch)

        store.write = spoiled  # type: ignore[method-assign]
        with pytest.raises(StoreError):
            await made.step(time.monotonic_ns(), 10_000)
        for table in ROW_TABLES:
            assert await store.count(table) == 0
        await store_all(made)
        await check_equal(store, folder)
        await store.close()

    uvloop.run(run())


def test_a_second_writer_of_the_same_journal_is_refused(make_store: MakeStore, folder: Path) -> None:
    async def run() -> None:
        store = make_store()
        first, second = writer(store, folder), writer(store, folder)
        await first.step(time.monotonic_ns(), 10)
        await second.step(time.monotonic_ns(), 10)
        with pytest.raises(SchemaError, match="another writer"):
            await first.step(time.monotonic_ns(), 10)
        await store_all(first)  # it asks the database again, and goes on from there
        await check_equal(store, folder)
        await store.close()

    uvloop.run(run())


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_journal_that_began_anew_under_the_same_name_is_refused_and_not_waited_for(
    make_store: MakeStore, tmp_path: Path, epochs: int
) -> None:
    """As after the state directory was removed: epoch 1 again, or a higher one already."""
    old, new = tmp_path / "old" / "journal-3", tmp_path / "new" / "journal-3"
    for folder, orders in ((old, 30), (new, 60)):
        for epoch in range(EPOCH, EPOCH + (epochs if folder is new else 1)):
            shop = Shop(folder, epoch=epoch)
            shop.trade(orders)
            shop.close()

    async def run() -> None:
        store = make_store()
        await store_all(writer(store, old))
        with pytest.raises(SchemaError, match="another journal is stored as instance shop, number 3, up to"):
            await store_all(writer(store, new))
        await check_equal(store, old)
        await store_all(writer(store, old))  # the one whose rows they are goes on
        await store.close()

    uvloop.run(run())


def test_a_journal_behind_the_epoch_that_is_stored_is_refused(make_store: MakeStore, tmp_path: Path) -> None:
    old, new = tmp_path / "old" / "journal-3", tmp_path / "new" / "journal-3"
    for folder, epoch in ((old, EPOCH + 4), (new, EPOCH)):
        shop = Shop(folder, epoch=epoch)
        shop.trade(10)
        shop.close()

    async def run() -> None:
        store = make_store()
        await store_all(writer(store, old))
        with pytest.raises(SchemaError, match="give this instance another name"):
            await store_all(writer(store, new))
        await store.close()

    uvloop.run(run())


def test_a_younger_journal_of_the_same_name_is_refused_once_it_has_a_row_to_tell_it_by(
    make_store: MakeStore, tmp_path: Path
) -> None:
    old, new = tmp_path / "old" / "journal-3", tmp_path / "new" / "journal-3"
    shop = Shop(old)
    shop.trade(20)
    shop.close()
    shop = Shop(new)  # instruments only, so far

    async def run() -> None:
        store = make_store()
        await store_all(writer(store, old))
        made = writer(store, new)
        assert await made.step(time.monotonic_ns()) == 0
        shop.trade(1)
        with pytest.raises(SchemaError, match="does not continue it"):
            await made.step(time.monotonic_ns())
        await store.close()

    uvloop.run(run())
    shop.close()


def test_the_cursor_follows_what_is_committed(make_store: MakeStore, folder: Path) -> None:
    async def run() -> None:
        store = make_store()
        cursor = JournalCursor.open(folder, "store")
        made = writer(store, folder, cursor)
        await made.step(10**12, 10)
        assert cursor.position == await store.position(INSTANCE, 3) != START
        await made.step(10**12 + 1, 10)
        assert cursor.position != await store.position(INSTANCE, 3)
        made.close()
        assert JournalCursor.open(folder, "store").position == await store.position(INSTANCE, 3)
        await store.close()

    uvloop.run(run())


def test_a_step_that_is_broken_off_moves_no_cursor_and_the_next_stores_its_rows(
    make_store: MakeStore, folder: Path
) -> None:
    async def run() -> None:
        store = make_store()
        cursor = JournalCursor.open(folder, "store")
        made = writer(store, folder, cursor)
        await made.step(10**12, 10)
        stored = cursor.position
        write = store.write

        async def hangs(batch: Batch) -> None:
            await asyncio.Event().wait()

        store.write = hangs  # type: ignore[method-assign]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(made.step(10**13, 10), 0.01)
        made.close()
        assert cursor.position == stored == await store.position(INSTANCE, 3)
        store.write = write  # type: ignore[method-assign]
        await store_all(made)
        await check_equal(store, folder)
        await store.close()

    uvloop.run(run())


def test_a_database_that_went_back_gets_again_what_it_lost(tmp_path: Path) -> None:
    folder = tmp_path / "journal-3"
    shop = Shop(folder)
    shop.trade(20)

    async def run() -> None:
        store, older = SqliteStore(tmp_path / "a.sqlite"), SqliteStore(tmp_path / "b.sqlite")
        made = writer(store, folder, JournalCursor.open(folder, "store"))
        await made.step(10**12, 10)
        await store.copy_to(tmp_path / "b.sqlite")
        await store_all(made)
        made.close()
        cursor = JournalCursor.open(folder, "store")
        newest = cursor.position
        again = writer(older, folder, cursor)
        await store_all(again)
        again.close()
        assert cursor.position == newest
        await check_equal(older, folder)
        await asyncio.gather(store.close(), older.close())

    uvloop.run(run())
    shop.close()


def test_old_rows_go_and_young_ones_stay(make_store: MakeStore, tmp_path: Path) -> None:
    folder = tmp_path / "journal-3"
    shop = Shop(folder)
    shop.trade(30)

    async def run() -> None:
        store = make_store()
        await store_all(writer(store, folder))
        newest = max(row[4] for row in all_rows(folder, [10_000])["reports"])
        reports = await store.count(REPORTS)
        assert await store.delete_before(REPORTS, newest - timedelta(days=2)) == 0
        assert await store.delete_before(REPORTS, newest) + 1 >= reports - 1
        assert 1 <= await store.count(REPORTS) < reports
        assert await store.delete_before(FILLS, newest + timedelta(days=2)) > 0
        assert await store.count(FILLS) == 0
        assert await store.count(INTENTS) > 0 and await store.count(INSTRUMENTS) == 2
        await store.close()

    uvloop.run(run())
    shop.close()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("INSERT INTO {}migrations VALUES (99, 'x', '2030-01-01')", "use a newer version"),
        ("UPDATE {}migrations SET checksum = 'x'", "made by something else"),
    ],
)
def test_a_database_with_another_history_is_refused(make_store: MakeStore, change: str, named: str) -> None:
    async def run() -> None:
        store = make_store()
        await store.open()
        await store.close()
        await store.open()  # the same history: nothing is done twice
        if store.name == "postgres":
            async with store.session() as connection:  # type: ignore[attr-defined]
                await connection.execute(change.format("ringlane."))
        else:
            import sqlite3

            with sqlite3.connect(store.path) as connection:  # type: ignore[attr-defined]
                connection.execute(change.format(""))
        await store.close()
        with pytest.raises(SchemaError, match=named):
            await make_store().open()

    uvloop.run(run())


def test_a_full_disk_costs_lag_and_no_row(tmp_path: Path) -> None:
    folder = tmp_path / "journal-3"
    shop = Shop(folder)
    shop.trade(120)
    shop.close()

    async def run() -> None:
        store = SqliteStore(tmp_path / "store.sqlite")
        await store.open()
        (pages,) = (await store.select("PRAGMA page_count"))[0]
        await store.select(f"PRAGMA max_page_count = {pages + 20}")
        made = writer(store, folder)
        with pytest.raises(StoreError, match="full"):
            await store_all(made)
        stored = await store.position(INSTANCE, 3)
        with pytest.raises(StoreError, match="full"):  # still full; nothing of the batch stays
            await store_all(made)
        assert await store.position(INSTANCE, 3) == stored
        await store.select("PRAGMA max_page_count = 100000")
        await store_all(made)
        await check_equal(store, folder)
        await store.close()

    uvloop.run(run())
