"""Old rows to a directory or an object store as Parquet, and back; deleted only after they were read back.

Layout: `<root>/<table>/<day>/<hash>.parquet`. A part bears the hash of its rows as its name, so that doing
again what a crash interrupted finds the same part or replaces a torn one, and rows of a day that arrive late
become a second part beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from actors.persistence.sqlite import loaded_row, stored_value
from actors.persistence.store import Store, StoreError
from actors.persistence.tables import BIG, BY_NAME, INT, ROW_TABLES, SMALL, Row, Table

HASH_DIGITS = 32
DAYS_MAX = 36_500  # who keeps more keeps all
NEEDS = "pip install 'ringlane[archive]'"
_INTEGERS = (SMALL, INT, BIG)


class ArchiveError(Exception):
    """An archive or backup that can not be written or read, or is not what was written."""


class RowHash:
    """A hash of rows in key order that does not depend on the database they come from.

    Attributes:
        rows: taken so far.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._hash = hashlib.sha256()

    def add(self, rows: Iterable[Row]) -> None:
        """Take more rows, in key order."""
        for row in rows:
            self._hash.update(orjson.dumps([stored_value(value) for value in row]))
            self._hash.update(b"\n")
            self.rows += 1

    @property
    def digest(self) -> str:
        """SHA-256 of all so far, shortened to 32 hexadecimal digits."""
        return self._hash.hexdigest()[:HASH_DIGITS]


async def hash_of(
    store: Store, table: Table, since: datetime | None = None, until: datetime | None = None
) -> RowHash:
    """Hash of a table's rows, or of those of [since, until)."""
    found = RowHash()
    async for _, rows in store.scan([table], since, until):
        found.add(rows)
    return found


@dataclass(frozen=True, slots=True)
class Part:
    """One archived file: which rows are in it."""

    table: str
    day: datetime
    digest: str
    rows: int
    path: str


class ParquetFolder:
    """Files of rows in a directory or under an fsspec address (`s3://bucket/path`, `memory://x`, …).

    Args:
        url: of the root; a plain path is a directory.

    Raises:
        ArchiveError: pyarrow or fsspec, or what this address needs, is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            import fsspec  # type: ignore[import-untyped]
            import pyarrow  # type: ignore[import-untyped]
            import pyarrow.parquet  # type: ignore[import-untyped]
        except ImportError as error:
            raise ArchiveError(f"archive: {error.name} is not installed: {NEEDS}") from None
        try:
            self.files, self.root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ArchiveError(f"archive: {url}: {error}") from None
        self._arrow: Any = pyarrow
        self._parquet: Any = pyarrow.parquet
        self.lost: tuple[type[BaseException], ...] = (OSError, pyarrow.ArrowException)

    def path(self, *parts: str) -> str:
        """A path under the root."""
        return "/".join((self.root.rstrip("/"), *parts))

    def schema(self, table: Table) -> Any:
        """Columns: integers as they are, all else as exact text."""
        return self._arrow.schema(
            [
                (name, self._arrow.int64() if kind in _INTEGERS else self._arrow.string())
                for name, kind in table.columns
            ]
        )

    def parquet_writer(self, out: Any, schema: Any) -> Any:
        """A writer of Parquet into an open file."""
        return self._parquet.ParquetWriter(out, schema, compression="zstd")

    def writer(self, table: Table, path: str) -> PartWriter:
        """Begin a file.

        Raises:
            ArchiveError: no right, no such place.
        """
        return PartWriter(self, table, path)

    async def write(
        self, table: Table, batches: AsyncIterator[tuple[Table, list[Row]]], path: str
    ) -> RowHash:
        """Write rows to a file, whole or not at all, and say what was written.

        Raises:
            ArchiveError: no room, no right, no such place.
        """
        writer = self.writer(table, path)
        async for _, rows in batches:
            writer.add(rows)
        return writer.finish()

    def write_bytes(self, path: str, data: bytes) -> None:
        """Write a small file whole.

        Raises:
            ArchiveError: no room, no right, no such place.
        """
        try:
            with self.files.open(f"{path}.new", "wb") as out:
                out.write(data)
            self.files.mv(f"{path}.new", path)
        except self.lost as error:
            raise ArchiveError(f"archive: {path}: {error}") from None

    def read_bytes(self, path: str) -> bytes:
        """A small file.

        Raises:
            ArchiveError: it is not there or can not be read.
        """
        try:
            with self.files.open(path, "rb") as source:
                return bytes(source.read())
        except self.lost as error:
            raise ArchiveError(f"archive: {path}: {error}") from None

    def arrow_table(self, table: Table, rows: Sequence[Row], schema: Any) -> Any:
        """Rows as Arrow columns."""
        columns = []
        for place, (_, kind) in enumerate(table.columns):
            values = [row[place] for row in rows]
            if kind not in _INTEGERS:
                values = [stored_value(value) for value in values]
            columns.append(values)
        arrays = [
            self._arrow.array(values, field.type) for values, field in zip(columns, schema, strict=True)
        ]
        return self._arrow.Table.from_arrays(arrays, schema=schema)

    def read(self, table: Table, path: str) -> Iterable[list[Row]]:
        """Rows of a file, some thousands at a time, as they were written.

        Raises:
            ArchiveError: it is not there, damaged, or has other columns.
        """
        try:
            with self.files.open(path, "rb") as source:
                file = self._parquet.ParquetFile(source)
                if tuple(file.schema_arrow.names) != table.names:
                    raise ArchiveError(f"archive: {path} has other columns than {table.name} of this version")
                for batch in file.iter_batches():
                    columns = [column.to_pylist() for column in batch.columns]
                    yield [loaded_row(table, row) for row in zip(*columns, strict=True)]
        except self.lost as error:
            raise ArchiveError(f"archive: {path}: {error}") from None

    def hash_of(self, table: Table, path: str) -> RowHash:
        """Hash of a file's rows, read back from where they are.

        Raises:
            ArchiveError: as `read`.
        """
        found = RowHash()
        for rows in self.read(table, path):
            found.add(rows)
        return found


class PartWriter:
    """A file of rows on its way: it has its name only once it is whole.

    Args:
        folder: where.
        table: whose rows.
        path: of the file.

    Raises:
        ArchiveError: no right, no such place.
    """

    def __init__(self, folder: ParquetFolder, table: Table, path: str) -> None:
        self.table = table
        self.path = path
        self.found = RowHash()
        self._folder = folder
        self._schema = folder.schema(table)
        try:
            folder.files.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._out = folder.files.open(f"{path}.new", "wb")
        except folder.lost as error:
            raise ArchiveError(f"archive: {path}: {error}") from None
        self._writer = folder.parquet_writer(self._out, self._schema)

    def add(self, rows: list[Row]) -> None:
        """Write rows, in key order.

        Raises:
            ArchiveError: no room.
        """
        self.found.add(rows)
        try:
            self._writer.write_table(self._folder.arrow_table(self.table, rows, self._schema))
        except self._folder.lost as error:
            raise ArchiveError(f"archive: {self.path}: {error}") from None

    def finish(self) -> RowHash:
        """Close the file and give it its name; returns what was written.

        Raises:
            ArchiveError: no room.
        """
        try:
            self._writer.close()
            self._out.close()
            self._folder.files.mv(f"{self.path}.new", self.path)
        except self._folder.lost as error:
            raise ArchiveError(f"archive: {self.path}: {error}") from None
        return self.found


class Archive:
    """Archived days under one root.

    Args:
        url: as for `ParquetFolder`.
    """

    def __init__(self, url: str) -> None:
        self.folder = ParquetFolder(url)

    def parts(self, table: Table | None = None) -> list[Part]:
        """What is archived, in order of table and day.

        Raises:
            ArchiveError: the root can not be listed.
        """
        found = []
        for name in [table.name] if table else [t.name for t in ROW_TABLES if t.is_partitioned]:
            root = self.folder.path(name)
            try:
                if not self.folder.files.exists(root):
                    continue
                paths = sorted(self.folder.files.glob(f"{root}/*/*.parquet"))
            except self.folder.lost as error:
                raise ArchiveError(f"archive: {root}: {error}") from None
            for path in paths:
                day, file = path.rsplit("/", 2)[-2:]
                rows, _, digest = file.removesuffix(".parquet").partition("-")
                at = datetime.fromisoformat(day).replace(tzinfo=UTC)
                found.append(Part(name, at, digest, int(rows), path))
        return found

    async def archive_day(self, store: Store, table: Table, day: datetime) -> Part:
        """Write a day's rows, read them back, and only then delete them; again after a crash is the same.

        Raises:
            ArchiveError: it could not be written, or reads back otherwise; nothing was deleted.
            StoreError: the database could not, or rows came meanwhile; nothing was deleted.
        """
        until = day + timedelta(days=1)
        counted = await hash_of(store, table, day, until)
        path = self.folder.path(table.name, f"{day:%Y-%m-%d}", f"{counted.rows}-{counted.digest}.parquet")
        if not self._is_good(table, path, counted):
            await self.folder.write(table, store.scan([table], day, until), path)
            if not self._is_good(table, path, counted):
                raise ArchiveError(f"archive: {path} reads back as other rows; nothing was deleted")
        await store.remove_day(table, day, counted.rows)
        return Part(table.name, day, counted.digest, counted.rows, path)

    def _is_good(self, table: Table, path: str, wanted: RowHash) -> bool:
        try:
            return self.folder.hash_of(table, path).digest == wanted.digest
        except ArchiveError:
            return False  # not there, or torn: it is written again

    async def restore(self, store: Store, parts: Iterable[Part]) -> int:
        """Put archived rows back where they are not; returns how many came.

        Raises:
            ArchiveError: a part is missing or not what was archived; parts before it are restored.
            StoreError: the database could not.
        """
        came = 0
        for part in parts:
            table = BY_NAME[part.table]
            found = self.folder.hash_of(table, part.path)
            if (found.digest, found.rows) != (part.digest, part.rows):
                raise ArchiveError(f"archive: {part.path} has {found.rows} rows of hash {found.digest}")
            for rows in self.folder.read(table, part.path):
                came += await store.put(table, rows)
        return came


async def archive_old(
    store: Store, archive: Archive, keep_days: Mapping[str, int], now: datetime
) -> AsyncIterator[Part]:
    """Archive and delete every whole day that is older than the policy keeps.

    Args:
        store: where the rows are.
        archive: where they go.
        keep_days: per table; a table that is not named keeps all.
        now: the day of `now` and as many before it stay.
    """
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for name, days in keep_days.items():
        if days < 1:
            raise StoreError(f"store: {name} would keep {days} days; at least 1 must stay")
        table = BY_NAME[name]
        for day in await store.days(table):
            if day <= today - timedelta(days=min(days, DAYS_MAX) + 1):
                yield await archive.archive_day(store, table, day)
