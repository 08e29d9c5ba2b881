"""Backups of a whole store, and the drill that shows that one can be restored to the same rows.

A backup is a folder `<root>/<name>` with one Parquet file for each table, all from one transaction, and a
manifest that is written last: a folder without it is no backup. A restore puts the cursors in last, so that a
database that was not restored whole is not written on.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from actors.persistence.archive import ArchiveError, ParquetFolder, RowHash, hash_of
from actors.persistence.sqlite import SqliteStore
from actors.persistence.store import Store, StoreError
from actors.persistence.tables import CURSORS, ROW_TABLES, SLIPPAGE, Table

MANIFEST = "manifest.json"
# In this order into a backup and out of it: the cursors last.
_ORDER = (*ROW_TABLES, CURSORS)
# Tables that backups of earlier versions do not have.
_YOUNGER = frozenset((SLIPPAGE.name,))


@dataclass(frozen=True, slots=True)
class Backup:
    """One whole backup: its name, when it was made, and rows and hash of each table."""

    name: str
    made_at: str
    tables: dict[str, tuple[int, str]]

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(rows for rows, _ in self.tables.values())

    @property
    def order(self) -> list[Table]:
        """Its tables, the cursors last."""
        return [table for table in _ORDER if table.name in self.tables or table.name not in _YOUNGER]


class BackupFolder:
    """Backups under one root.

    Args:
        url: as for `ParquetFolder`.
    """

    def __init__(self, url: str) -> None:
        self.folder = ParquetFolder(url)

    async def make(self, store: Store, now: datetime) -> Backup:
        """Write a backup as of one moment, and read it back.

        Raises:
            ArchiveError: it can not be written, or reads back otherwise; there is no such backup then.
            StoreError: the database could not.
        """
        name = f"backup-{now.astimezone(UTC):%Y%m%dT%H%M%S%fZ}"
        tables: dict[str, tuple[int, str]] = {}
        writers = iter([self.folder.writer(table, self._path(name, table)) for table in _ORDER])
        writer = next(writers)
        async for table, rows in store.scan(_ORDER):
            while writer.table is not table:
                tables[writer.table.name] = _fact(writer.finish())
                writer = next(writers)
            writer.add(rows)
        for last in (writer, *writers):
            tables[last.table.name] = _fact(last.finish())
        backup = Backup(name, now.astimezone(UTC).isoformat(), tables)
        self.check(backup)
        text = orjson.dumps(asdict(backup), option=orjson.OPT_INDENT_2)
        self.folder.write_bytes(self.folder.path(name, MANIFEST), text)
        return backup

    def check(self, backup: Backup) -> None:
        """Read a backup whole.

        Raises:
            ArchiveError: a file is missing, damaged, or has other rows than the manifest says.
        """
        for table in backup.order:
            path = self._path(backup.name, table)
            found = _fact(self.folder.hash_of(table, path))
            if found != backup.tables.get(table.name):
                raise ArchiveError(f"backup: {path} reads back as other rows than were written")

    def all(self) -> list[Backup]:
        """Whole backups, oldest first.

        Raises:
            ArchiveError: the root can not be listed, or a manifest is damaged.
        """
        try:
            paths = sorted(self.folder.files.glob(self.folder.path("backup-*", MANIFEST)))
        except self.folder.lost as error:
            raise ArchiveError(f"backup: {self.folder.root}: {error}") from None
        return [self._read(path) for path in paths]

    def find(self, name: str = "") -> Backup:
        """The backup of that name, or the newest.

        Raises:
            ArchiveError: there is none.
        """
        found = [backup for backup in self.all() if name in ("", backup.name)]
        if not found:
            raise ArchiveError(f"backup: no {name or 'whole backup'} under {self.folder.root}")
        return found[-1]

    def _read(self, path: str) -> Backup:
        try:
            data = orjson.loads(self.folder.read_bytes(path))
            tables = {name: (int(rows), str(digest)) for name, (rows, digest) in data["tables"].items()}
            return Backup(str(data["name"]), str(data["made_at"]), tables)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArchiveError(f"backup: {path} is damaged: {error}") from None

    async def restore(self, store: Store, backup: Backup) -> dict[str, tuple[int, str]]:
        """Fill an empty database; one that a restore left half filled is filled up.

        Returns:
            Rows and hash of each table afterwards, read from the database; equal to the backup's.

        Raises:
            ArchiveError: the backup is damaged, or the database has other rows in the end.
            StoreError: the database could not, or is in use: it has a cursor.
        """
        if await store.count(CURSORS):
            raise StoreError(
                f"{store.name}: a database that is in use is not restored into; give an empty one"
            )
        rows_of = backup.order[:-1]
        for table in rows_of:
            for rows in self.folder.read(table, self._path(backup.name, table)):
                await store.put(table, rows)
        found = {table.name: _fact(await hash_of(store, table)) for table in rows_of}
        for name, fact in found.items():
            if fact != backup.tables[name]:
                raise ArchiveError(
                    f"backup: restored {name} has {fact[0]} rows of hash {fact[1]}, "
                    f"the backup {backup.tables[name][0]} of {backup.tables[name][1]}"
                )
        for rows in self.folder.read(CURSORS, self._path(backup.name, CURSORS)):
            await store.put(CURSORS, rows)
        return found | {CURSORS.name: _fact(await hash_of(store, CURSORS))}

    def _path(self, name: str, table: Table) -> str:
        return self.folder.path(name, f"{table.name}.parquet")


async def drill(
    backups: BackupFolder, backup: Backup, store: Store | None = None
) -> dict[str, tuple[int, str]]:
    """Restore a backup into a database that is thrown away, and compare every row.

    Args:
        backups: where it is.
        backup: which.
        store: an empty database to use; None = a temporary SQLite file.

    Raises:
        ArchiveError: the rows are not the same.
        StoreError: the database could not.
    """
    with tempfile.TemporaryDirectory(prefix="ringlane-drill-") as folder:
        made = store or SqliteStore(Path(folder) / "drill.sqlite")
        await made.open()
        try:
            found = await backups.restore(made, backup)
        finally:
            await made.close()
    if found != backup.tables:
        raise ArchiveError("backup: the drill ended with other rows than the backup has")
    return found


def _fact(found: RowHash) -> tuple[int, str]:
    return found.rows, found.digest
