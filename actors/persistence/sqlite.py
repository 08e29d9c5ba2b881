"""SQLite from the standard library: the embedded default, one file, nothing to install.

All statements run in one thread of their own, so a slow disk blocks no event loop. Times are text of fixed
width (ISO 8601, UTC, microseconds), decimals exact text.
"""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

from actors.persistence.migrations import SQLITE, SQLITE_SCHEMA, check_versions
from actors.persistence.rows import Batch, instrument_of
from actors.persistence.store import SchemaError, Store, StoreError, changed_text
from actors.persistence.tables import BY_NAME, DECIMAL, INSTRUMENTS, TIME, Row, Table
from shm.instruments import Instrument
from shm.journal import JournalPosition

_T = TypeVar("_T")
_EXACT = Context(prec=80)
SCAN_ROWS = 5_000
_ARGUMENT = re.compile(r"\$(\d+)")
_POSITION = (
    "SELECT epoch, file_index, byte_offset, sequence, chain FROM cursors WHERE instance = ? AND gateway = ?"
)


def stored_value(value: object) -> object:
    """A value as SQLite keeps it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(sep=" ", timespec="microseconds")
    return format(value, "f") if isinstance(value, Decimal) else value


def loaded_row(table: Table, row: Row) -> Row:
    """A stored row with times and decimals as `RowMaker` made them."""
    made = []
    for (_, kind), value in zip(table.columns, row, strict=True):
        if kind == TIME:
            value = datetime.fromisoformat(value)
        elif kind == DECIMAL:
            value = Decimal(value)
        made.append(value)
    return tuple(made)


class ExactSum:
    """An aggregate over decimals that are stored as text; the built-in sum would round them."""

    def __init__(self) -> None:
        self._sum = Decimal(0)

    def step(self, value: str | None) -> None:
        """Take one value."""
        if value is not None:
            self._sum = _EXACT.add(self._sum, Decimal(value))

    def finalize(self) -> str:
        """The sum as text."""
        return format(self._sum, "f")


class SqliteStore(Store):
    """Rows in one file.

    Args:
        path: of the database; its directory must exist.
    """

    name = "sqlite"
    words: ClassVar[Mapping[str, str]] = {"sum": "exact_sum", "day": "date(at)", "text": ""}

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._thread = ThreadPoolExecutor(1, "store")
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open the file and bring the schema up to date."""
        await self._run(self._open)

    async def close(self) -> None:
        """Close the file."""
        await self._run(self._close)

    async def position(self, instance: str, gateway: int) -> JournalPosition:
        """How far a journal is stored."""
        return await self._run(lambda: self._position(instance, gateway))

    async def instruments(self, instance: str, gateway: int) -> dict[tuple[int, int], Instrument]:
        """Instrument rows stored of a journal."""
        sql = f"SELECT {', '.join(INSTRUMENTS.names)} FROM instruments WHERE instance = $1 AND gateway = $2"
        return dict(instrument_of(row) for row in await self.select(sql, (instance, gateway)))

    async def write(self, batch: Batch) -> None:
        """Insert the rows and move the cursor, in one transaction."""
        await self._run(lambda: self._write(batch))

    async def count(self, table: Table) -> int:
        """Rows in a table."""
        return int(str((await self.select(f"SELECT count(*) FROM {table.name}"))[0][0]))

    async def select(self, sql: str, arguments: Sequence[object] = ()) -> list[Row]:
        """Rows of a query."""
        sql = _ARGUMENT.sub(r"?\1", sql)
        values = [stored_value(value) for value in arguments]
        return await self._run(lambda: self._opened().execute(sql, values).fetchall())

    async def delete_before(self, table: Table, limit: datetime) -> int:
        """Delete older rows."""

        def delete() -> int:
            connection = self._opened()
            with connection:
                return connection.execute(
                    f"DELETE FROM {table.name} WHERE at < ?", (stored_value(limit),)
                ).rowcount

        return await self._run(delete)

    def shown(self, at: datetime) -> Any:
        """A time as text."""
        return stored_value(at)

    async def scan(
        self, tables: Sequence[Table], since: datetime | None = None, until: datetime | None = None
    ) -> AsyncIterator[tuple[Table, list[Row]]]:
        """Rows of whole tables in key order; they all stood there at one moment."""
        reader = await self._run(self._begin_scan)
        try:
            for table in tables:
                where, values = "", []
                if since is not None and until is not None:
                    where = " WHERE at >= ? AND at < ?"
                    values = [stored_value(since), stored_value(until)]
                sql = f"SELECT {', '.join(table.names)} FROM {table.name}{where}"
                sql += f" ORDER BY {', '.join(table.key)}"
                found = await self._run(partial(reader.execute, sql, values))
                while rows := await self._run(partial(found.fetchmany, SCAN_ROWS)):
                    yield table, [loaded_row(table, row) for row in rows]
        finally:
            await self._run(reader.close)

    async def days(self, table: Table) -> list[datetime]:
        """Days of which there are rows."""
        rows = await self.select(f"SELECT DISTINCT substr(at, 1, 10) FROM {table.name} ORDER BY 1")
        return [datetime.fromisoformat(str(row[0])).replace(tzinfo=UTC) for row in rows]

    async def remove_day(self, table: Table, day: datetime, rows: int) -> None:
        """Delete the rows of one day, if they are exactly that many."""
        span = [stored_value(day), stored_value(day + timedelta(days=1))]

        def remove() -> None:
            connection = self._opened()
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                done = connection.execute(f"DELETE FROM {table.name} WHERE at >= ? AND at < ?", span).rowcount
                if done != rows:
                    raise StoreError(changed_text(self.name, table, day, done, rows))

        await self._run(remove)

    async def put(self, table: Table, rows: Sequence[Row]) -> int:
        """Insert rows that are not there."""

        def insert() -> int:
            connection = self._opened()
            marks = ", ".join("?" * len(table.names))
            values = ([stored_value(value) for value in row] for row in rows)
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                return connection.executemany(
                    f"INSERT OR IGNORE INTO {table.name} VALUES ({marks})", values
                ).rowcount

        return await self._run(insert)

    async def copy_to(self, path: Path) -> None:
        """Copy the whole database as of one moment by SQLite's own backup, while others write.

        Args:
            path: of the copy; it has its name only once it is whole, and replaces what stood there.
        """
        temporary = path.with_name(f"{path.name}.new")

        def copy() -> None:
            temporary.unlink(missing_ok=True)
            target = sqlite3.connect(temporary)
            try:
                self._opened().backup(target)
            finally:
                target.close()
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            os.replace(temporary, path)

        await self._run(copy)

    # ---- in the thread --------------------------------------------------------------------------

    async def _run(self, call: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, call)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{self.name}: {self.path}: {error}") from None

    def _begin_scan(self) -> sqlite3.Connection:
        """A connection of its own: what one transaction sees, while the other goes on writing."""
        self._opened()
        reader = sqlite3.connect(self.path, timeout=10.0, isolation_level=None)
        reader.execute("BEGIN")
        return reader

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._open()
        assert self._connection is not None
        return self._connection

    def _open(self) -> None:
        if self._connection is not None:
            return
        connection = sqlite3.connect(self.path, timeout=10.0)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.create_aggregate("exact_sum", 1, cast(Any, ExactSum))
            # A committed batch lets the journal's files go: it has to be on the disk by then.
            connection.execute("PRAGMA synchronous = FULL")
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(SQLITE_SCHEMA)
                stored = connection.execute(
                    "SELECT version, checksum FROM migrations ORDER BY version"
                ).fetchall()
                for migration in check_versions(stored, SQLITE):
                    for statement in migration.statements:
                        connection.execute(statement)
                    connection.execute(
                        "INSERT INTO migrations VALUES (?, ?, datetime('now'))",
                        (migration.version, migration.checksum),
                    )
        except (sqlite3.Error, StoreError):
            connection.close()
            raise
        self._connection = connection

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _position(self, instance: str, gateway: int) -> JournalPosition:
        row = self._opened().execute(_POSITION, (instance, gateway)).fetchone()
        return JournalPosition(*row) if row is not None else JournalPosition()

    def _write(self, batch: Batch) -> None:
        connection = self._opened()
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            stored = self._position(batch.instance, batch.gateway)
            if stored != batch.before:
                raise SchemaError(
                    f"{self.path}: the journal of {batch.instance} is stored up to {tuple(stored)}, "
                    f"this batch goes on from {tuple(batch.before)}: another writer"
                )
            for name, rows in batch.rows.items():
                marks = ", ".join("?" * len(BY_NAME[name].names))
                values = ([stored_value(value) for value in row] for row in rows)
                connection.executemany(f"INSERT INTO {name} VALUES ({marks})", values)
            connection.execute(
                "INSERT OR REPLACE INTO cursors VALUES (?, ?, ?, ?, ?, ?, ?)",
                (batch.instance, batch.gateway, *batch.position),
            )
