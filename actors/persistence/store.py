"""What the journal writer needs of a database, whatever the database."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from actors.persistence.rows import Batch
from actors.persistence.tables import Row, Table
from shm.instruments import Instrument
from shm.journal import JournalPosition


class StoreError(Exception):
    """The database can not do what was asked now, maybe later; the text never holds a password."""


class SchemaError(StoreError):
    """The database is not as this version needs it, and trying again will not help."""


def changed_text(name: str, table: Table, day: datetime, found: int, expected: int) -> str:
    """What is said when a day has other rows than were counted."""
    return (
        f"{name}: {table.name} of {day:%Y-%m-%d} has {found} rows, {expected} were archived: "
        "rows came meanwhile; nothing was deleted, run it again"
    )


class Store(ABC):
    """A database of rows and cursors. Every method may raise StoreError; then nothing was changed."""

    name: str
    prefix = ""  # of table names in SQL
    where = ""  # which database, as messages say it: behind a word
    words: ClassVar[Mapping[str, str]]  # what queries call differently here

    @abstractmethod
    async def open(self) -> None:
        """Connect and bring the schema up to date (`migrations`); again after a lost connection."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of all connections; harmless when there are none."""

    @abstractmethod
    async def position(self, instance: str, gateway: int) -> JournalPosition:
        """How far a journal is stored; the beginning for one never seen."""

    @abstractmethod
    async def instruments(self, instance: str, gateway: int) -> dict[tuple[int, int], Instrument]:
        """Instrument rows stored of a journal, by (epoch, instrument id)."""

    @abstractmethod
    async def write(self, batch: Batch) -> None:
        """Store the rows and the position behind them in one transaction.

        A batch whose position is not behind the stored one is a mistake of the caller or a second writer:
        SchemaError, nothing stored.
        """

    @abstractmethod
    async def count(self, table: Table) -> int:
        """Rows in a table."""

    @abstractmethod
    async def select(self, sql: str, arguments: Sequence[object] = ()) -> list[Row]:
        """Rows of a query, tuples or what reads like them; `$1` … stand for the arguments."""

    def describe(self) -> dict[str, Any]:
        """What there is to say without asking the database."""
        return {"database": self.name}

    async def health(self) -> dict[str, Any]:
        """What `describe` says, and how long it takes to answer."""
        begin = time.monotonic_ns()
        await self.select("SELECT 1")
        return {**self.describe(), "answers_ms": round((time.monotonic_ns() - begin) / 1e6, 3)}

    def shown(self, at: datetime) -> Any:
        """A time as `select` returns times of this database."""
        return at

    @abstractmethod
    def scan(
        self, tables: Sequence[Table], since: datetime | None = None, until: datetime | None = None
    ) -> AsyncIterator[tuple[Table, list[Row]]]:
        """Rows of whole tables in key order, a few thousand at a time, as they stood at one moment.

        Args:
            tables: which; one after the other.
            since: only rows from then on, of tables with a time; None = all.
            until: only rows before that.
        """

    @abstractmethod
    async def days(self, table: Table) -> list[datetime]:
        """Days (their beginnings in UTC) of which a time-keyed table has rows, oldest first."""

    @abstractmethod
    async def remove_day(self, table: Table, day: datetime, rows: int) -> None:
        """Delete the rows of one day, if they are exactly that many: then no row has come since they were
        counted, because rows only come.

        Raises:
            StoreError: they are more or fewer; nothing is deleted.
        """

    @abstractmethod
    async def put(self, table: Table, rows: Sequence[Row]) -> int:
        """Insert rows that came from `scan`, leaving out those whose key is there; returns how many came."""

    @abstractmethod
    async def delete_before(self, table: Table, limit: datetime) -> int:
        """Delete rows of a time-keyed table older than `limit`; returns how many."""
