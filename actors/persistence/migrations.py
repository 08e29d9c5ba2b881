"""How the schema came to be, step by step; a step that was released is never changed.

Each database remembers which steps it has taken and what they said: a database that is newer than this
program, or whose history differs, is refused instead of guessed about.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from actors.persistence import tables
from actors.persistence.store import SchemaError
from actors.persistence.tables import Table

_POSTGRES_TYPES = {
    tables.TEXT: "text NOT NULL",
    tables.SMALL: "smallint NOT NULL",
    tables.INT: "integer NOT NULL",
    tables.BIG: "bigint NOT NULL",
    tables.DECIMAL: "numeric NOT NULL",
    tables.TIME: "timestamptz NOT NULL",
}
_SQLITE_TYPES = {
    tables.TEXT: "TEXT NOT NULL",
    tables.SMALL: "INTEGER NOT NULL",
    tables.INT: "INTEGER NOT NULL",
    tables.BIG: "INTEGER NOT NULL",
    tables.DECIMAL: "TEXT NOT NULL",
    tables.TIME: "TEXT NOT NULL",
}

SCHEMA = """
CREATE SCHEMA IF NOT EXISTS ringlane;
CREATE TABLE IF NOT EXISTS ringlane.migrations
    (version integer PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL);
CREATE TABLE IF NOT EXISTS ringlane.facts (name text PRIMARY KEY, value text NOT NULL);
"""
SQLITE_SCHEMA = """
CREATE TABLE IF NOT EXISTS migrations
    (version INTEGER PRIMARY KEY, checksum TEXT NOT NULL, applied_at TEXT NOT NULL);
"""
NATIVE_PARTITIONS = " PARTITION BY RANGE (at)"


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: its number, the statements that make it, and the tables they make."""

    version: int
    statements: tuple[str, ...]
    tables: tuple[Table, ...] = ()

    @property
    def checksum(self) -> str:
        """What tells this step from any other."""
        return hashlib.sha256("\n".join(self.statements).encode()).hexdigest()[:16]


def _create(table: Table, types: dict[str, str], prefix: str, partition: str) -> list[str]:
    columns = ", ".join(f"{name} {types[kind]}" for name, kind in table.columns)
    made = [f"CREATE TABLE {prefix}{table.name} ({columns}, PRIMARY KEY ({', '.join(table.key)})){partition}"]
    for index in table.indexes:
        name = f"{table.name}_" + "_".join(column.split()[0] for column in index)
        made.append(f"CREATE INDEX {name} ON {prefix}{table.name} ({', '.join(index)})")
    return made


def _postgres(made_of: Sequence[Table]) -> tuple[str, ...]:
    made: list[str] = []
    for table in made_of:
        partition = NATIVE_PARTITIONS if table.is_partitioned else ""
        made += _create(table, _POSTGRES_TYPES, "ringlane.", partition)
    return tuple(made)


def _sqlite(made_of: Sequence[Table]) -> tuple[str, ...]:
    made: list[str] = []
    for table in made_of:
        made += _create(table, _SQLITE_TYPES, "", "")
    return tuple(made)


# Which tables each step made, in this order: a checksum is over their definitions.
_STEPS = (
    (
        tables.INSTRUMENTS, tables.INTENTS, tables.REPORTS, tables.FILLS, tables.DISCREPANCIES,
        tables.CURSORS,
    ),
    (tables.SLIPPAGE,),
)  # fmt: skip
POSTGRES = tuple(Migration(number, _postgres(step), step) for number, step in enumerate(_STEPS, 1))
SQLITE = tuple(Migration(number, _sqlite(step), step) for number, step in enumerate(_STEPS, 1))


def check_versions(stored: Sequence[tuple[int, str]], known: Sequence[Migration]) -> Sequence[Migration]:
    """The steps a database still has to take.

    Args:
        stored: (version, checksum) of the steps it has taken, in order.
        known: the steps this program knows.

    Raises:
        SchemaError: it took steps that this program does not know, or others of the same number.
    """
    for (version, checksum), migration in zip(stored, known, strict=False):
        if version != migration.version or checksum != migration.checksum:
            raise SchemaError(
                f"the database took another step {version} ({checksum}) than this version's "
                f"{migration.version} ({migration.checksum}): it was made by something else"
            )
    if len(stored) > len(known):
        raise SchemaError(
            f"the database is at step {stored[-1][0]}, this version knows {len(known)}: use a newer version"
        )
    return known[len(stored) :]
