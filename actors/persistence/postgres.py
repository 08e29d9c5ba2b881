"""PostgreSQL by asyncpg: COPY in one transaction with the position, tables partitioned by day.

Partitions are the server's own (`PARTITION BY RANGE`), or TimescaleDB's chunks where that extension is
installed in the database; which of both was decided when the schema was made and stands in `ringlane.facts`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import asyncpg  # type: ignore[import-untyped]

from actors.persistence.migrations import NATIVE_PARTITIONS, POSTGRES, SCHEMA, Migration, check_versions
from actors.persistence.pools import connections_for
from actors.persistence.rows import Batch, instrument_of
from actors.persistence.store import SchemaError, Store, StoreError, changed_text
from actors.persistence.tables import BY_NAME, INSTRUMENTS, Row, Table
from shm.instruments import Instrument
from shm.journal import JournalPosition

# Locks of ours in the server, whoever asks for them: migrations and partitions are made by one at a time.
LOCK_SCHEMA = 0x52494E47
SCAN_ROWS = 5_000
NO_ADDRESS = (
    "postgres: the address is no postgresql://user:password@host:port/database "
    "(in a password, / ? # @ : are written %2F %3F %23 %40 %3A)"
)
_POSITION = "SELECT epoch, file_index, byte_offset, sequence, chain FROM ringlane.cursors"


class Connection(asyncpg.Connection):  # type: ignore[misc]
    """A connection that goes back to its pool without a round trip.

    What is done here leaves nothing behind that would need one: no setting is changed, no cursor outlives its
    transaction, temporary tables and locks end with theirs. An open transaction is rolled back by the pool.
    """

    def get_reset_query(self) -> str:
        """None."""
        return ""


class PostgresStore(Store):
    """Rows in a PostgreSQL database, schema `ringlane`.

    Args:
        url: postgresql:// address; never shown.
        pairs: traded pairs, which size the pool.
        timeout_s: of connecting, and of one statement; a slower one is as good as gone.
        statement_s: of one statement, where somebody waits for a long one.
    """

    name = "postgres"
    prefix = "ringlane."
    words: ClassVar[Mapping[str, str]] = {
        "sum": "sum",
        "day": "(at AT TIME ZONE 'UTC')::date::text",
        "text": "::text",
    }

    def __init__(
        self, url: str, *, pairs: int = 1, timeout_s: float = 10.0, statement_s: float | None = None
    ) -> None:
        self._url = url
        self.where = place_of(url)
        self.connections = connections_for(pairs)
        self._timeout_s = timeout_s
        self._statement_s = statement_s or timeout_s
        self._pool: asyncpg.Pool[Any] | None = None
        self._has_timescale = False
        self._partitions: set[tuple[str, datetime]] = set()

    async def open(self) -> None:
        """Connect and bring the schema up to date; a pool replaces its lost connections by itself.

        Raises:
            SchemaError: the address is none.
            StoreError: the server is not there, does not answer, or does not let us in.
        """
        if self._pool is not None:
            return
        check_address(self._url)
        pool: asyncpg.Pool[Any] | None = None
        try:
            pool = await asyncpg.create_pool(
                self._url,
                # None is kept for its own sake: the pool would try to restore it behind our back, and log.
                min_size=0,
                max_size=self.connections,
                timeout=self._timeout_s,
                command_timeout=self._statement_s,
                connection_class=Connection,
            )
            assert pool is not None
            async with pool.acquire() as connection:
                await self._migrate(connection)
        except _LOST as error:
            if pool is not None:
                pool.terminate()
            raise self._error("open", error) from None
        except StoreError:
            if pool is not None:
                pool.terminate()
            raise
        except ValueError:  # its text may be a piece of the password
            raise SchemaError(NO_ADDRESS) from None
        self._pool = pool

    async def close(self) -> None:
        """Give the server two seconds for what is under way, then cut."""
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                await asyncio.wait_for(pool.close(), 2.0)
            except _LOST:
                pool.terminate()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Any]:
        """One connection of the pool, for the length of a `with` block.

        Raises:
            StoreError: the server is gone, too slow, or refuses; a broken connection is replaced.
        """
        if self._pool is None:
            await self.open()
        assert self._pool is not None
        try:
            async with self._pool.acquire(timeout=self._timeout_s) as connection:
                yield connection
        except _LOST as error:
            raise self._error("use", error) from None

    def describe(self) -> dict[str, Any]:
        """How its days are kept, and how many connections of the pool are made, idle, and allowed."""
        pool = self._pool
        made, idle = (pool.get_size(), pool.get_idle_size()) if pool is not None else (0, 0)
        partitions = "timescaledb" if self._has_timescale else "native"
        return {
            "database": self.name, "partitions": partitions, "connections": made, "idle": idle,
            "connections_max": self.connections,
        }  # fmt: skip

    async def position(self, instance: str, gateway: int) -> JournalPosition:
        """How far a journal is stored."""
        async with self.session() as connection:
            row = await connection.fetchrow(
                f"{_POSITION} WHERE instance = $1 AND gateway = $2", instance, gateway
            )
        return JournalPosition(*row) if row is not None else JournalPosition()

    async def instruments(self, instance: str, gateway: int) -> dict[tuple[int, int], Instrument]:
        """Instrument rows stored of a journal."""
        names = ", ".join(INSTRUMENTS.names)
        sql = f"SELECT {names} FROM ringlane.instruments WHERE instance = $1 AND gateway = $2"
        return dict(instrument_of(row) for row in await self.select(sql, (instance, gateway)))

    async def write(self, batch: Batch) -> None:
        """COPY the rows and move the cursor, in one transaction."""
        try:
            await self._write(batch)
        except StoreError:
            self._partitions.clear()  # one of them may be gone: another process archived that day
            raise

    async def _write(self, batch: Batch) -> None:
        made: set[tuple[str, datetime]] = set()
        async with self.session() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO ringlane.cursors VALUES ($1, $2, 0, 0, 0, 0, 0) ON CONFLICT DO NOTHING",
                batch.instance,
                batch.gateway,
            )
            where = "WHERE instance = $1 AND gateway = $2 FOR UPDATE"
            stored = await connection.fetchrow(f"{_POSITION} {where}", batch.instance, batch.gateway)
            if JournalPosition(*stored) != batch.before:
                raise SchemaError(
                    f"{self.name}: the journal of {batch.instance} is stored up to {tuple(stored)}, "
                    f"this batch goes on from {tuple(batch.before)}: another writer"
                )
            for name, rows in batch.rows.items():
                await self._copy(connection, BY_NAME[name], rows, made)
            await connection.execute(
                "UPDATE ringlane.cursors SET epoch = $3, file_index = $4, byte_offset = $5, sequence = $6,"
                " chain = $7 WHERE instance = $1 AND gateway = $2",
                batch.instance,
                batch.gateway,
                *batch.position,
            )
        # Only now: a transaction that failed has taken its partitions along.
        self._partitions |= made

    async def count(self, table: Table) -> int:
        """Rows in a table."""
        return int((await self.select(f"SELECT count(*) FROM ringlane.{table.name}"))[0][0])

    async def select(self, sql: str, arguments: Sequence[object] = ()) -> list[Row]:
        """Rows of a query, as the driver's records: they index, unpack and compare as tuples."""
        async with self.session() as connection:
            rows: list[Row] = await connection.fetch(sql, *arguments)
            return rows

    async def scan(
        self, tables: Sequence[Table], since: datetime | None = None, until: datetime | None = None
    ) -> AsyncIterator[tuple[Table, list[Row]]]:
        """Rows of whole tables in key order; one transaction sees them all."""
        async with self.session() as connection:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                for table in tables:
                    where, values = "", []
                    if since is not None and until is not None:
                        where, values = " WHERE at >= $1 AND at < $2", [since, until]
                    cursor = await connection.cursor(
                        f"SELECT {', '.join(table.names)} FROM ringlane.{table.name}{where}"
                        f" ORDER BY {', '.join(table.key)}",
                        *values,
                    )
                    while rows := await cursor.fetch(SCAN_ROWS):
                        yield table, [tuple(row) for row in rows]

    async def days(self, table: Table) -> list[datetime]:
        """Days of which there are rows; with native partitions no row but one of each is looked at."""
        if self._has_timescale:
            day = "date_trunc('day', at AT TIME ZONE 'UTC')"
            rows = await self.select(f"SELECT DISTINCT {day} FROM ringlane.{table.name} ORDER BY 1")
            return [row[0].replace(tzinfo=UTC) for row in rows]
        async with self.session() as connection:
            return [
                day
                for name, day in await self._days(connection, table)
                if await connection.fetchval(f'SELECT EXISTS (SELECT FROM ringlane."{name}")')
            ]

    async def remove_day(self, table: Table, day: datetime, rows: int) -> None:
        """Delete the rows of one day, if they are exactly that many; a partition is dropped as a whole."""
        end = day + timedelta(days=1)
        async with self.session() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK_SCHEMA)
            name = f"{table.name}_{day:%Y%m%d}"
            is_partition = name in [found for found, _ in await self._days(connection, table)]
            if is_partition and not self._has_timescale:
                await connection.execute(f'LOCK TABLE ringlane."{name}" IN ACCESS EXCLUSIVE MODE')
                found = await connection.fetchval(f'SELECT count(*) FROM ringlane."{name}"')
                if found == rows:
                    await connection.execute(f'DROP TABLE ringlane."{name}"')
            else:
                status = await connection.execute(
                    f"DELETE FROM ringlane.{table.name} WHERE at >= $1 AND at < $2", day, end
                )
                found = int(status.split()[-1])
            if found != rows:
                raise StoreError(changed_text(self.name, table, day, found, rows))
        self._partitions.discard((table.name, day))

    async def put(self, table: Table, rows: Sequence[Row]) -> int:
        """Insert rows that are not there."""
        made: set[tuple[str, datetime]] = set()
        async with self.session() as connection, connection.transaction():
            await self._need_partitions(connection, table, rows, made)
            await connection.execute(
                f"CREATE TEMP TABLE incoming (LIKE ringlane.{table.name}) ON COMMIT DROP"
            )
            await connection.copy_records_to_table("incoming", records=rows, columns=table.names)
            status = await connection.execute(
                f"INSERT INTO ringlane.{table.name} SELECT * FROM incoming ON CONFLICT DO NOTHING"
            )
        self._partitions |= made
        return int(status.split()[-1])

    async def delete_before(self, table: Table, limit: datetime) -> int:
        """Delete older rows; whole days are dropped as partitions, which costs no vacuum."""
        if self._has_timescale:
            before = await self.count(table)
            await self.select(
                "SELECT drop_chunks($1::regclass, $2::timestamptz)", (f"ringlane.{table.name}", limit)
            )
            async with self.session() as connection:
                await connection.execute(f"DELETE FROM ringlane.{table.name} WHERE at < $1", limit)
            return before - await self.count(table)
        deleted = 0
        async with self.session() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK_SCHEMA)
            for name, day in await self._days(connection, table):
                if day + timedelta(days=1) <= limit:
                    deleted += await connection.fetchval(f'SELECT count(*) FROM ringlane."{name}"')
                    await connection.execute(f'DROP TABLE ringlane."{name}"')
                    self._partitions.discard((table.name, day))
            status = await connection.execute(f"DELETE FROM ringlane.{table.name} WHERE at < $1", limit)
        return deleted + int(status.split()[-1])

    # ---- inside ---------------------------------------------------------------------------------

    async def _migrate(self, connection: Any) -> None:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK_SCHEMA)
            await connection.execute(SCHEMA)
            stored = await connection.fetch(
                "SELECT version, checksum FROM ringlane.migrations ORDER BY version"
            )
            todo = check_versions([tuple(row) for row in stored], POSTGRES)
            facts = dict(await connection.fetch("SELECT name, value FROM ringlane.facts"))
            if "partitioning" not in facts:
                found = await connection.fetchval("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'")
                facts["partitioning"] = "timescaledb" if found else "native"
                await connection.execute(
                    "INSERT INTO ringlane.facts VALUES ('partitioning', $1)", facts["partitioning"]
                )
            self._has_timescale = facts["partitioning"] == "timescaledb"
            for migration in todo:
                for statement in steps_of(migration, has_timescale=self._has_timescale):
                    await connection.execute(statement)
                await connection.execute(
                    "INSERT INTO ringlane.migrations VALUES ($1, $2, now())",
                    migration.version,
                    migration.checksum,
                )

    async def _copy(
        self, connection: Any, table: Table, rows: Sequence[Row], made: set[tuple[str, datetime]]
    ) -> None:
        await self._need_partitions(connection, table, rows, made)
        await connection.copy_records_to_table(
            table.name, records=rows, columns=table.names, schema_name="ringlane"
        )

    async def _need_partitions(
        self, connection: Any, table: Table, rows: Sequence[Row], made: set[tuple[str, datetime]]
    ) -> None:
        if not table.is_partitioned or self._has_timescale:
            return
        at = table.names.index("at")
        for day in sorted({row[at].replace(hour=0, minute=0, second=0, microsecond=0) for row in rows}):
            if (table.name, day) not in self._partitions:
                await self._make_partition(connection, table, day)
                made.add((table.name, day))

    @staticmethod
    async def _make_partition(connection: Any, table: Table, day: datetime) -> None:
        """Make a day's partition beside the table and attach it: who reads the table, a long backup among
        them, holds nobody up, as one that is created in its place would be.
        """
        name = f"{table.name}_{day:%Y%m%d}"
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK_SCHEMA)
        if await connection.fetchval("SELECT to_regclass($1)", f'ringlane."{name}"') is not None:
            return
        await connection.execute(
            f'CREATE TABLE ringlane."{name}" (LIKE ringlane.{table.name} INCLUDING ALL);'
            f'ALTER TABLE ringlane.{table.name} ATTACH PARTITION ringlane."{name}" '
            f"FOR VALUES FROM ('{day.isoformat()}') TO ('{(day + timedelta(days=1)).isoformat()}')"
        )

    @staticmethod
    async def _days(connection: Any, table: Table) -> list[tuple[str, datetime]]:
        rows = await connection.fetch(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = $1::regclass",
            f"ringlane.{table.name}",
        )
        names = sorted(row[0] for row in rows)
        return [
            (name, datetime.strptime(name.rpartition("_")[2], "%Y%m%d").replace(tzinfo=UTC)) for name in names
        ]

    def _error(self, verb: str, error: BaseException) -> StoreError:
        text = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        return StoreError(f"{self.name}: can not {verb} the database{self.where}: {text}")


def check_address(url: str) -> None:
    """Refuse what the driver would misread, before it tells a piece of a password as a host or a port.

    Raises:
        SchemaError: it is no postgresql:// address, or its port is no port.
    """
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("postgresql", "postgres") and "@" not in parts.path + parts.fragment
        hosts = parts.netloc.rpartition("@")[2]
        port = parts.port if "," not in hosts else None  # of several hosts each has its own
    except ValueError as error:
        is_port = "out of range" in str(error)
        raise SchemaError("postgres: the address's port is above 65535" if is_port else NO_ADDRESS) from None
    if not is_address or port == 0:
        raise SchemaError(NO_ADDRESS)


def place_of(url: str) -> str:
    """Name and host of a database as a message says them; nothing where a password may have spoiled them."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("postgresql", "postgres") or parts.netloc.count("@") != url.count("@"):
            return ""
        host = parse_qs(parts.query).get("host", [parts.hostname or ""])[0]
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    name = parts.path.strip("/")
    return f"{' ' * bool(name)}{name}{' at ' * bool(host)}{host}{port}"


def steps_of(migration: Migration, *, has_timescale: bool) -> list[str]:
    """The statements of a step: as they stand with native partitions, else with a hypertable for each."""
    if not has_timescale:
        return list(migration.statements)
    found = [statement.replace(NATIVE_PARTITIONS, "") for statement in migration.statements]
    return found + [
        f"SELECT create_hypertable('ringlane.{table.name}', 'at', chunk_time_interval => interval '1 day')"
        for table in migration.tables
        if table.is_partitioned
    ]


# What asyncpg says of a connection that broke at that moment; an internal error among it, because its pool
# may free the place of a broken connection before the user of that connection has given it back.
_LOST = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
    asyncio.TimeoutError,
)
