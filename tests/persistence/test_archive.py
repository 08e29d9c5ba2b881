"""Old rows leave only after they were read back; what is restored is, row by row, what was there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvloop

from actors.persistence.archive import Archive, ArchiveError, Part, RowHash, archive_old, hash_of
from actors.persistence.backup import MANIFEST, BackupFolder, drill
from actors.persistence.postgres import PostgresStore
from actors.persistence.sqlite import SqliteStore
from actors.persistence.store import Store, StoreError
from actors.persistence.tables import BY_NAME, CURSORS, FILLS, ROW_TABLES, Row, Table
from tests.kit.servers import PostgresServer
from tests.persistence.conftest import MakeStore
from tests.persistence.test_stores import store_all, writer
from tests.persistence.trading import Shop

NOW = datetime(2026, 6, 30, 15, tzinfo=UTC)
KEEP = {"fills": 2, "reports": 3}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A journal."""
    path = tmp_path / "journal-3"
    shop = Shop(path)
    shop.trade(40)
    shop.close()
    yield path


async def aged(store: Store, folder: Path) -> None:
    """A store whose rows are those of five days: each day's a copy, older by a day."""
    scratch = SqliteStore(folder.parent / "scratch.sqlite")
    await store_all(writer(scratch, folder))
    async for table, rows in scratch.scan(ROW_TABLES):
        if not table.is_partitioned:
            await store.put(table, rows)
            continue
        for age in range(5):
            await store.put(table, [moved(table, row, age) for row in rows])
    await scratch.close()


def moved(table: Table, row: Row, age: int) -> Row:
    """A row as if it were of noon, so many days before now, and of another epoch."""
    made = list(row)
    made[table.names.index("epoch")] = 100 + age
    at = table.names.index("at")
    made[at] = NOW.replace(hour=12, microsecond=made[at].microsecond) - timedelta(days=age)
    return tuple(made)


async def digests(store: Store) -> dict[str, tuple[int, str]]:
    """Rows and hash of each table."""
    hashes = {table.name: await hash_of(store, table) for table in ROW_TABLES}
    return {name: (found.rows, found.digest) for name, found in hashes.items()}


async def archived(store: Store, archive: Archive) -> list[Part]:
    """A whole pass of the policy."""
    return [part async for part in archive_old(store, archive, KEEP, NOW)]


def test_only_rows_past_the_policy_go_and_a_restore_brings_the_same_rows(
    make_store: MakeStore, folder: Path, tmp_path: Path
) -> None:
    async def run() -> None:
        store = make_store()
        await aged(store, folder)
        before = await digests(store)
        archive = Archive(str(tmp_path / "archive"))
        parts = await archived(store, archive)
        days = [(part.table, (NOW.date() - part.day.date()).days) for part in parts]
        assert days == [("fills", 4), ("fills", 3), ("reports", 4)]
        after = await digests(store)
        assert after["intents"] == before["intents"] and after["instruments"] == before["instruments"]
        assert after["fills"][0] == before["fills"][0] * 3 // 5
        assert after["reports"][0] == before["reports"][0] * 4 // 5
        assert await archived(store, archive) == []  # nothing more is due
        assert sorted(archive.parts(), key=str) == sorted(parts, key=str)
        assert await archive.restore(store, archive.parts()) == sum(part.rows for part in parts)
        assert await digests(store) == before
        assert await archive.restore(store, archive.parts()) == 0  # again: nothing twice
        assert await digests(store) == before
        await store.close()

    uvloop.run(run())


def test_a_row_has_one_hash_in_every_database(
    empty_postgres: PostgresServer, folder: Path, tmp_path: Path
) -> None:
    async def run() -> None:
        one, other = SqliteStore(tmp_path / "a.sqlite"), PostgresStore(empty_postgres.url)
        for store in (one, other):
            await store_all(writer(store, folder))
        assert await digests(one) == await digests(other)
        await asyncio.gather(one.close(), other.close())

    uvloop.run(run())


def test_a_changed_value_or_order_is_another_hash() -> None:
    def digest(*rows: Row) -> str:
        found = RowHash()
        found.add(rows)
        return found.digest

    assert len({digest((1, "a"), (2, "b")), digest((2, "b"), (1, "a")), digest((1, "a"), (2, "c"))}) == 3


class Crash(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("step", ["write", "finish", "verify", "delete"])
def test_a_crash_at_any_step_loses_nothing_and_the_next_pass_completes(
    make_store: MakeStore, folder: Path, tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        store = make_store()
        await aged(store, folder)
        before = await digests(store)
        archive = Archive(str(tmp_path / "archive"))

        def crash(*_: object, **__: object) -> None:
            raise Crash

        with monkeypatch.context() as patch:
            if step == "write":
                patch.setattr("actors.persistence.archive.PartWriter.add", crash)
            elif step == "finish":
                patch.setattr(type(archive.folder.files), "mv", crash)
            elif step == "verify":
                made = archive.folder.write

                async def then_crash(*arguments: object) -> None:
                    await made(*arguments)  # type: ignore[arg-type]
                    raise Crash

                patch.setattr(archive.folder, "write", then_crash)
            else:
                patch.setattr(store, "remove_day", crash)
            with pytest.raises(Crash):
                await archived(store, archive)
        assert await digests(store) == before
        parts = await archived(store, archive)
        assert len(parts) == 3 and len(archive.parts()) == 3
        await archive.restore(store, archive.parts())
        assert await digests(store) == before
        await store.close()

    uvloop.run(run())


def test_nothing_is_deleted_while_the_archive_does_not_read_back(
    make_store: MakeStore, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        store = make_store()
        await aged(store, folder)
        before = await digests(store)
        archive = Archive(str(tmp_path / "archive"))
        finish = archive.folder.write

        async def spoiled(table: Table, batches: object, path: str) -> RowHash:
            found = await finish(table, batches, path)  # type: ignore[arg-type]
            data = bytearray(Path(path).read_bytes())
            data[len(data) // 2] ^= 0xFF
            Path(path).write_bytes(data)
            return found

        monkeypatch.setattr(archive.folder, "write", spoiled)
        with pytest.raises(ArchiveError, match="nothing was deleted"):
            await archived(store, archive)
        assert await digests(store) == before
        await store.close()

    uvloop.run(run())


def test_a_row_that_comes_while_its_day_is_archived_is_not_deleted(
    make_store: MakeStore, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        store = make_store()
        await aged(store, folder)
        archive = Archive(str(tmp_path / "archive"))
        day = NOW.replace(hour=0) - timedelta(days=4)
        late = [row async for _, rows in store.scan([FILLS]) for row in rows][-1]
        late = moved(FILLS, (*late[:3], late[3] + 100_000, *late[4:]), 4)
        write = archive.folder.write

        async def and_a_row_comes(*arguments: object) -> RowHash:
            found = await write(*arguments)  # type: ignore[arg-type]
            await store.put(FILLS, [late])
            return found

        monkeypatch.setattr(archive.folder, "write", and_a_row_comes)
        count = await store.count(FILLS)
        with pytest.raises(StoreError, match="rows came meanwhile"):
            await archive.archive_day(store, FILLS, day)
        assert await store.count(FILLS) == count + 1
        part = await archive.archive_day(store, FILLS, day)
        assert part.rows == (count // 5) + 1 and len(archive.parts(FILLS)) == 2
        await archive.restore(store, archive.parts())
        assert await store.count(FILLS) == count + 1  # two parts with common rows: each row once
        await store.close()

    uvloop.run(run())


def test_an_archived_part_that_was_changed_is_named(folder: Path, tmp_path: Path) -> None:
    async def run() -> None:
        store = SqliteStore(tmp_path / "store.sqlite")
        await aged(store, folder)
        archive = Archive(str(tmp_path / "archive"))
        parts = await archived(store, archive)
        other = next(part for part in parts if part.table == "fills")
        Path(other.path).write_bytes(Path(parts[1].path).read_bytes())
        with pytest.raises(ArchiveError, match="of hash"):
            await archive.restore(store, [other])
        Path(other.path).write_bytes(b"no parquet")
        with pytest.raises(ArchiveError, match=other.path):
            await archive.restore(store, [other])
        await store.close()

    uvloop.run(run())


def test_an_object_store_is_as_good_as_a_directory(folder: Path, tmp_path: Path) -> None:
    async def run() -> None:
        store = SqliteStore(tmp_path / "store.sqlite")
        await aged(store, folder)
        before = await digests(store)
        archive = Archive("memory://bucket/ringlane")
        assert len(await archived(store, archive)) == 3
        assert await digests(store) != before
        await archive.restore(store, archive.parts())
        assert await digests(store) == before
        await store.close()

    uvloop.run(run())


# ---- backups ---------------------------------------------------------------------------------------


def test_a_backup_restores_to_the_same_rows_and_is_written_on(
    make_store: MakeStore, folder: Path, tmp_path: Path
) -> None:
    async def run() -> None:
        store = make_store()
        made = writer(store, folder)
        await made.step(1, 60)  # in the middle of the journal
        backups = BackupFolder(str(tmp_path / "backups"))
        backup = await backups.make(store, NOW)
        assert backups.find() == backup == backups.find(backup.name)
        assert await drill(backups, backup) == backup.tables
        assert backup.tables["fills"] == (await digests(store))["fills"]
        await store_all(made)
        whole = await digests(store)
        other = SqliteStore(tmp_path / "other.sqlite")
        await backups.restore(other, backup)
        assert await other.count(CURSORS) == 1
        await store_all(writer(other, folder))  # it goes on where the backup's cursor is
        assert await digests(other) == whole
        with pytest.raises(StoreError, match="in use"):
            await backups.restore(other, backup)
        await asyncio.gather(store.close(), other.close())

    uvloop.run(run())


def test_a_restore_that_broke_off_is_begun_again(folder: Path, tmp_path: Path) -> None:
    async def run() -> None:
        store = SqliteStore(tmp_path / "store.sqlite")
        await store_all(writer(store, folder))
        backups = BackupFolder(str(tmp_path / "backups"))
        backup = await backups.make(store, NOW)
        other = SqliteStore(tmp_path / "other.sqlite")
        put, calls = other.put, 0

        async def breaks(table: Table, rows: list[Row]) -> int:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise StoreError("gone")
            return await put(table, rows)

        other.put = breaks  # type: ignore[assignment,method-assign]
        with pytest.raises(StoreError, match="gone"):
            await backups.restore(other, backup)
        assert await other.count(CURSORS) == 0  # so that nobody writes on in it
        await backups.restore(other, backup)
        assert await digests(other) == await digests(store)
        await asyncio.gather(store.close(), other.close())

    uvloop.run(run())


def test_a_backup_without_its_manifest_is_none_and_a_damaged_one_is_named(
    folder: Path, tmp_path: Path
) -> None:
    async def run() -> None:
        store = SqliteStore(tmp_path / "store.sqlite")
        await store_all(writer(store, folder))
        root = tmp_path / "backups"
        backups = BackupFolder(str(root))
        backup = await backups.make(store, NOW)
        part = root / backup.name / "fills.parquet"
        data = part.read_bytes()
        part.write_bytes(data[: len(data) // 2])
        with pytest.raises(ArchiveError, match="fills"):
            await drill(backups, backup)
        (root / backup.name / MANIFEST).unlink()
        with pytest.raises(ArchiveError, match="no whole backup"):
            backups.find()
        await store.close()

    uvloop.run(run())


def test_a_sqlite_store_is_copied_as_of_one_moment_while_it_is_written(folder: Path, tmp_path: Path) -> None:
    async def run() -> None:
        store = SqliteStore(tmp_path / "store.sqlite")
        made = writer(store, folder)
        await made.step(1, 60)
        _, before = await asyncio.gather(store.copy_to(tmp_path / "copy.sqlite"), digests(store))
        await store_all(made)
        other = SqliteStore(tmp_path / "copy.sqlite")
        assert await digests(other) == before != await digests(store)
        await store_all(writer(other, folder))  # the copy's cursor is of the same moment
        assert await digests(other) == await digests(store)
        await asyncio.gather(store.close(), other.close())

    uvloop.run(run())


def test_names_of_tables_are_those_that_a_configuration_may_keep() -> None:
    from engine.store_config import KEPT_TABLES

    assert set(KEPT_TABLES) == {table.name for table in BY_NAME.values() if table.is_partitioned}
