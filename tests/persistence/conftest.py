"""The databases the tests run against: real ones, each test in a fresh schema or file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import pytest
import uvloop

from actors.persistence.postgres import PostgresStore
from actors.persistence.sqlite import SqliteStore
from actors.persistence.store import Store
from tests.kit.servers import PostgresServer

MakeStore = Callable[[], Store]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL server for all tests."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture
def empty_postgres(postgres: PostgresServer) -> PostgresServer:
    """The server without any schema of ours."""

    async def drop() -> None:
        connection = await asyncpg.connect(postgres.url)
        await connection.execute("DROP SCHEMA IF EXISTS ringlane CASCADE")
        await connection.close()

    uvloop.run(drop())
    return postgres


@pytest.fixture(params=["sqlite", "postgres"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    """Makes stores of one and the same empty database."""
    if request.param == "sqlite":
        return lambda: SqliteStore(tmp_path / "store.sqlite")
    server: PostgresServer = request.getfixturevalue("empty_postgres")
    return lambda: PostgresStore(server.url, timeout_s=5.0)
