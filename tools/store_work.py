"""What `ringlane store` does with a database, each job saying its outcome as plain data."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from actors.measures import measure_folders
from actors.persistence.archive import Archive, ArchiveError, archive_old, hash_of
from actors.persistence.backup import BackupFolder
from actors.persistence.backup import drill as run_drill
from actors.persistence.queries import INSTANCES, QUERIES, STEPS, STORED
from actors.persistence.rows import signed64
from actors.persistence.sqlite import SqliteStore
from actors.persistence.store import Store
from actors.persistence.tables import BY_NAME, CURSORS, ROW_TABLES
from actors.persistence.writer import JournalWriter
from shm.journal import FileView
from shm.journal_files import journal_files, map_to_read
from tools.store_answers import answer_of, utc_text

Say = Callable[[dict[str, Any]], None]
Span = tuple[datetime | None, datetime | None]
LONG_AGO, NEVER = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
NEWEST = "newest"
SQLITE_MAGIC = b"SQLite format 3\x00"
DRAIN_ENTRIES = 5_000
# Parameters of queries whose options may be repeated.
OPTIONS = {"symbols": "--symbol", "venues": "--venue"}


async def status(store: Store, say: Say) -> None:
    """Rows and days of each table, and how far each journal is stored."""
    await store.open()
    try:
        say(await store.health())
        for table in ROW_TABLES:
            found: dict[str, Any] = {"table": table.name, "rows": await store.count(table)}
            days = await store.days(table) if table.is_partitioned and found["rows"] else []
            if days:
                found |= {"first_day": f"{days[0]:%Y-%m-%d}", "last_day": f"{days[-1]:%Y-%m-%d}"}
            say(found)
        for row in await STORED.run(store):
            say({"journal": row[0], "gateway": row[1], "epoch": row[2], "stored_up_to": row[3]})
    finally:
        await store.close()


async def migrate(store: Store, say: Say) -> None:
    """Bring the schema up to date."""
    await store.open()
    try:
        for version, checksum, at in await STEPS.run(store):
            say({"migration": version, "checksum": checksum, "applied": utc_text(at)})
    finally:
        await store.close()


async def drain(store: Store, what: str | None, state: Path | None, say: Say) -> None:
    """Store journals at rest; what is stored already is not stored again."""
    from tools.verbs.journal import find_journals

    if what is None:
        raise typer.BadParameter("store drain needs a journal folder, a state directory or an instance")
    targets = find_journals(what, state)
    await store.open()
    try:
        for folder, _ in targets:
            writer = JournalWriter(store, folder, *owner_of(folder))
            while await writer.step(time.monotonic_ns(), DRAIN_ENTRIES):
                pass
            say({"journal": str(folder), "entries": writer.entries, "rows": writer.rows})
    finally:
        await store.close()


def owner_of(folder: Path) -> tuple[str, int]:
    """Instance and number of a journal folder, from its first file and its name."""
    slot = folder.name.rpartition("-")[2]
    measures = dict(measure_folders(folder.parent))
    for epoch, index, path in journal_files(folder):
        view = FileView(path, map_to_read(path), epoch, index)
        return view.instance, measures.get(folder, int(slot) if slot.isdigit() else 0)
    raise typer.BadParameter(f"{folder} holds no journal file")


async def query(
    make: Callable[[], Store], name: str | None, given: Mapping[str, Any], say: Say, *, with_units: bool
) -> None:
    """Answer a shipped question, or list them."""
    if name is None:
        for known in QUERIES.values():
            options = ", ".join(OPTIONS.get(name, f"--{name}") for name in known.parameters)
            say({"query": known.name, "takes": options, "answers": known.help})
        return
    if name not in QUERIES:
        raise typer.BadParameter(f"no query {name!r}; there are: {', '.join(QUERIES)}")
    asked = QUERIES[name]
    arguments = {key: value for key, value in given.items() if key in asked.parameters}
    arguments["since"] = arguments.get("since") or LONG_AGO
    arguments["until"] = arguments.get("until") or NEVER
    if arguments.get("order") is not None:
        arguments["order"] = signed64(arguments["order"])
    store = make()
    await store.open()
    try:
        if "instance" in asked.parameters:
            arguments["instance"] = await _known_instance(store, arguments.get("instance"))
        for key in asked.parameters:
            if arguments.get(key) is None:
                raise typer.BadParameter(f"store query {name} needs {OPTIONS.get(key, f'--{key}')}")
        arguments = {key: arguments[key] for key in asked.parameters}
        for row in await asked.run(store, **arguments):
            say(answer_of(asked, row, with_units=with_units))
    finally:
        await store.close()


async def _known_instance(store: Store, wanted: str | None) -> str:
    """The instance that is meant: the one that is named, else the only one there is."""
    known = [str(row[0]) for row in await INSTANCES.run(store)]
    if wanted in known or (wanted is None and len(known) == 1):
        return wanted or known[0]
    names = ", ".join(known) or "none"
    if wanted is not None:
        raise typer.BadParameter(f"the database has no instance {wanted!r}; it has: {names}")
    raise typer.BadParameter(f"which instance? the database has: {names}; say --instance")


async def archive(root: str, keep_days: Mapping[str, int], store: Store, say: Say) -> None:
    """Archive and delete what is past the policy."""
    if not keep_days:
        raise typer.BadParameter("store archive needs --keep TABLE=DAYS, or keep_days in [store]")
    target = Archive(root)
    is_none = True
    await store.open()
    try:
        async for part in archive_old(store, target, keep_days, datetime.now(UTC)):
            is_none = False
            say(
                {
                    "archived": part.table,
                    "day": f"{part.day:%Y-%m-%d}",
                    "rows": part.rows,
                    "hash": part.digest,
                }
            )
        if is_none:
            say({"archived": "nothing", "why": "no day is older than the policy keeps", "keeps": keep_days})
    finally:
        await store.close()


async def restore(
    root: str, backup_name: str | None, table: str | None, span: Span, store: Store, say: Say
) -> None:
    """Put archived days back, or a whole backup into an empty database."""
    if table is not None and (table not in BY_NAME or not BY_NAME[table].is_partitioned):
        raise typer.BadParameter(f"no archived table {table!r}")
    await store.open()
    try:
        if backup_name is not None:
            folder = BackupFolder(root)
            found = await folder.restore(store, folder.find("" if backup_name == NEWEST else backup_name))
            for name, (rows, digest) in found.items():
                say({"restored": name, "rows": rows, "hash": digest})
            return
        source = Archive(root)
        since, until = span[0] or LONG_AGO, span[1] or NEVER
        parts = source.parts(BY_NAME[table] if table else None)
        wanted = [part for part in parts if since <= part.day < until]
        if not wanted:
            raise ArchiveError(
                f"archive: {root} has nothing of that" if parts else f"archive: {root} is empty"
            )
        for part in wanted:
            came = await source.restore(store, [part])
            say({"restored": part.table, "day": f"{part.day:%Y-%m-%d}", "rows": part.rows, "came": came})
    finally:
        await store.close()


async def backup(root: str, store: Store, say: Say) -> None:
    """Back everything up, as of one moment."""
    folder = BackupFolder(root)
    await store.open()
    try:
        made = await folder.make(store, datetime.now(UTC))
    finally:
        await store.close()
    say(
        {
            "backup": made.name,
            "rows": made.rows,
            "tables": {name: rows for name, (rows, _) in made.tables.items()},
        }
    )


async def copy(path: Path, store: Store, say: Say) -> None:
    """Copy a SQLite database to a file, and read every row of it."""
    if not isinstance(store, SqliteStore):
        raise typer.BadParameter("--file copies a SQLite database; back PostgreSQL up with --at")
    if path.exists() and not _is_older_copy(path, store):
        raise typer.BadParameter(f"--file {path} is there and is no older copy: it is not overwritten")
    other = SqliteStore(path)
    await store.open()
    try:
        await store.copy_to(path)
        await other.open()
        for table in (*ROW_TABLES, CURSORS):
            found = await hash_of(other, table)
            say({"copied": table.name, "rows": found.rows, "hash": found.digest})
    finally:
        await other.close()
        await store.close()


def _is_older_copy(path: Path, store: SqliteStore) -> bool:
    """Whether what stands there may be replaced: a SQLite file, and not the one that is copied."""
    if not path.is_file() or path.samefile(store.path):
        return False
    with path.open("rb") as file:
        return file.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC


async def drill(root: str, backup_name: str | None, say: Say) -> None:
    """Show that a backup can be restored."""
    folder = BackupFolder(root)
    found = folder.find("" if backup_name in (None, NEWEST) else str(backup_name))
    tables = await run_drill(folder, found)
    for name, (rows, digest) in tables.items():
        say({"table": name, "rows": rows, "hash": digest, "equal": True})
