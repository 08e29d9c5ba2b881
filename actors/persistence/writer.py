"""From the journal to the store: `JournalWriter` for one journal, `StoreActor` for those of a run."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from actors.errors import ActorError, SettingsError
from actors.feed_ports import raise_error
from actors.measures import measure_folders
from actors.persistence.archiving import Archiver
from actors.persistence.pace import Pace
from actors.persistence.places import read_address
from actors.persistence.rows import RowMaker
from actors.persistence.store import SchemaError, Store, StoreError
from actors.persistence.tables import BY_NAME, ENTRY
from actors.runtime.actor import Actor
from actors.runtime.context import Context
from actors.runtime.settings import read_settings
from shm.errors import JournalError, JournalLayoutError
from shm.journal import FileView
from shm.journal_cursor import JournalCursor, order_of
from shm.journal_files import JournalPosition, journal_files, map_to_read
from shm.journal_reader import START, File, JournalFollower

# Entries of one transaction: making their rows holds the housekeeping loop for about 10 ms.
BATCH_ENTRIES = 500
CURSOR_EVERY_NS = 1_000_000_000
LOOK_EVERY_NS = 1_000_000_000
RETRY_FIRST_S, RETRY_MAX_S = 0.1, 5.0
STOP_S = 1.0
SILENT_S = 3.0  # a pass that takes longer at the end of a run is told as a database that does not answer
# Of one statement of a verb or an archiving process: counting a large table takes its time.
PATIENT_S = 600.0
# A journal's first entries, among which one has a row with a time: instruments come first.
OWNER_ENTRIES, OWNER_STEP = 10_000, 200
FAULT_STORE = 3300
FAULT_ARCHIVE = 3302


class JournalWriter:
    """Stores one journal directory, from where the database says it is.

    Args:
        store: where to.
        directory: of the journal.
        instance: name of the instance.
        gateway: worker slot of the gateway.
        cursor: tells the journal's retention what may go; None = nobody asks (a journal at rest).
    """

    def __init__(
        self, store: Store, directory: Path, instance: str, gateway: int, cursor: JournalCursor | None = None
    ) -> None:
        self.store = store
        self.directory = directory
        self.instance = instance
        self.gateway = gateway
        self.cursor = cursor
        self.entries = 0
        self.rows = 0
        self.newest_ns = 0
        self._follower: JournalFollower | None = None
        self._maker: RowMaker | None = None
        self._stored: JournalPosition | None = None  # what the database is known to have committed
        self._cursor_due_ns = 0
        self._is_proven = False

    async def _check_owner(self, stored: JournalPosition) -> None:
        """Refuse a journal whose place in the database belongs to another one of the same name.

        An instance that began anew with an empty state directory begins at epoch 1 again; without this its
        rows would be waited for where the other one ended.

        Raises:
            SchemaError: so it is: this journal never came so far, or its rows were written at another time.
        """
        if stored == START or not (files := journal_files(self.directory)):
            return
        if stored.epoch > files[-1][0]:
            raise SchemaError(self._owner_text(stored))
        sample = first_row([file for file in files if file[0] == stored.epoch], stored.sequence)
        if sample is None:
            return  # nothing to compare yet, or gone to retention
        table, sequence, at = sample
        rows = await self.store.select(
            f"SELECT at FROM {self.store.prefix}{table}"
            " WHERE instance = $1 AND gateway = $2 AND epoch = $3 AND sequence = $4",
            (self.instance, self.gateway, stored.epoch, sequence),
        )
        if rows and rows[0][0] != self.store.shown(at):
            raise SchemaError(self._owner_text(stored))
        self._is_proven = True  # or archived meanwhile

    def _owner_text(self, stored: JournalPosition) -> str:
        return (
            f"{self.store.name}: another journal is stored as instance {self.instance}, number "
            f"{self.gateway}, up to record {stored.sequence} of epoch {stored.epoch}, and {self.directory} "
            "does not continue it: give this instance another name, or another database"
        )

    async def step(self, now_ns: int, limit: int = BATCH_ENTRIES) -> int:
        """Store the next entries; returns how many, 0 = caught up.

        Raises:
            StoreError: the database could not; the next step asks first whether it did after all.
            JournalError: the journal is damaged; what stands before the damage is stored.
        """
        if self._follower is None or self._maker is None:
            position = self._stored = await self.store.position(self.instance, self.gateway)
            self._maker = RowMaker(
                self.instance, self.gateway, await self.store.instruments(self.instance, self.gateway)
            )
            if not self._is_proven:
                await self._check_owner(position)
            self._follower = JournalFollower(self.directory, position)
        # Not where the follower stands: one that found a new file without a record is past what is stored.
        follower, before = self._follower, self._stored or START
        entries = follower.read(limit)
        if not entries:
            if not self._is_proven:
                await self._check_owner(before)
            self._save_cursor(now_ns)
            return 0
        batch = self._maker.make(entries, before, follower.position)
        # Whatever ends this early, a cancellation among it: the database then is asked where it is.
        self._follower = None
        await self.store.write(batch)
        self._follower = follower
        self._stored = batch.position
        self.entries += batch.entries
        self.rows += batch.count
        self.newest_ns = entries[-1].append_ns
        if now_ns >= self._cursor_due_ns:
            self._save_cursor(now_ns)
        return batch.entries

    def _save_cursor(self, now_ns: int) -> None:
        """Let retention know what is committed; only once a second, because it is an fsync.

        It never goes back, although a database may: one that was restored from a backup reads again what is
        still there.
        """
        if self.cursor is not None and self._stored is not None:
            if order_of(self._stored) > order_of(self.cursor.position):
                self.cursor.save(self._stored)
            self._cursor_due_ns = now_ns + CURSOR_EVERY_NS

    def close(self) -> None:
        """Save the cursor for good."""
        self._save_cursor(0)


def first_row(files: Sequence[File], sequence: int) -> tuple[str, int, datetime] | None:
    """Table, sequence and time of an epoch's first row with a time, that is, of what still is there of it.

    Args:
        files: of that epoch, in order.
        sequence: how far to look.
    """
    if not files:
        return None
    epoch, index, path = files[0]
    try:
        view = FileView(path, map_to_read(path), epoch, index)
    except (JournalLayoutError, FileNotFoundError):
        return None  # another build's, or removed by retention just now
    maker = RowMaker("", 0)
    for _ in range(OWNER_ENTRIES // OWNER_STEP):
        entries = [entry for entry in view.read(OWNER_STEP) if entry.sequence <= sequence]
        if not entries:
            break
        for table, rows in maker.make(entries, START, START).rows.items():
            if BY_NAME[table].is_partitioned:
                *_, number, at = rows[0][: len(ENTRY)]
                return table, number, at
    return None


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Settings of the role `store`.

    Args:
        kind: "sqlite" or "postgres".
        gateways: worker slots whose journals are stored.
        path: of the SQLite file; empty = store.sqlite in the state directory.
        url_env: environment variable with the address of the PostgreSQL server.
        url_file: file with that address, instead.
        pairs: traded pairs; they size the pool.
        interval_s: rest between two looks at a journal that had nothing new.
        archive: where old days go as Parquet: a directory or an fsspec address.
        keep_days: per table, how many days stay; a table that is not named keeps all.
        archive_every_s: rest between two passes of archiving; 0 = nothing is archived by itself.
    """

    kind: str = "sqlite"
    gateways: list[int] = field(default_factory=list)
    path: str = ""
    url_env: str = ""
    url_file: str = ""
    pairs: int = 1
    interval_s: float = 0.2
    archive: str = ""
    keep_days: dict[str, int] = field(default_factory=dict)
    archive_every_s: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("sqlite", "postgres"):
            raise SettingsError(f"store: kind {self.kind!r} is not known (known: sqlite, postgres)")
        if self.kind == "postgres" and bool(self.url_env) == bool(self.url_file):
            raise SettingsError("store: postgres needs either url_env or url_file")
        if self.interval_s <= 0:
            raise SettingsError("store: interval_s must be positive")
        if self.archive_every_s and not (self.archive and self.keep_days):
            raise SettingsError("store: archive_every_s needs archive and keep_days")


class StoreActor(Actor):
    """Keeps the database behind the journals; lives on the housekeeping worker, away from the hot path.

    A database that is gone, slow or full costs nothing but lag: the journal keeps what is not stored.
    Rows are stored exactly once, because the position moves in their transaction.
    """

    role: ClassVar[str] = "store"

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        self.config = read_settings(StoreSettings, settings, self.role)
        self._is_stopping = False
        self._stopping = asyncio.Event()
        self._is_running = False
        self._told = ""
        self._store: Store | None = None
        self._writers: list[JournalWriter] = []
        self._look_ns = self._tell_ns = 0
        self._start_ns = self._begin_ns = 0  # of the actor, of the pass under way
        self._rows = context.counter("store.rows")
        self._entries = context.counter("store.entries")
        self._failures = context.counter("store.failures")
        self._lag_ns = context.counter("store.lag_ns", "ns")
        self._write_ns = context.histogram("store.write_ns")
        self._archiver: Archiver | None = None
        self._archived_rows = context.counter("store.archived_rows")
        self._archive_failures = context.counter("store.archive_failures")

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Raise SettingsError for what StoreSettings does not allow."""
        read_settings(StoreSettings, settings, cls.role)

    def on_start(self, *_: Any) -> None:
        """Begin storing; a database that is not there yet delays nobody.

        Raises:
            ActorError: the run has no state directory (a replay), or the driver or the address is missing.
        """
        spec = self.context.host.spec
        if not spec.state_dir:
            raise ActorError("store: no state directory, so no journal to store")
        self._store = make_store(self.config, Path(spec.state_dir))
        for gateway in self.config.gateways:
            directory = Path(spec.state_dir) / f"journal-{gateway}"
            directory.mkdir(parents=True, exist_ok=True)
            cursor = JournalCursor.open(directory, "store")
            self._writers.append(JournalWriter(self._store, directory, spec.instance, gateway, cursor))
        self._is_running = True
        self._start_ns = self.context.now_ns()
        self.context.host.scheduler.spawn(self._run(), self._ended, self._broken)
        if self.config.archive_every_s:
            self._archiver = Archiver(
                asdict(self.config), spec.state_dir, self.config.archive_every_s, self._archived, self._stays
            )
            self.context.host.scheduler.spawn(self._archiver.run(self._rest), lambda: None, self._broken)

    def _archived(self, part: Mapping[str, Any]) -> None:
        self._archived_rows.inc(part["rows"])
        self.context.note("archive", part)

    def _stays(self, text: str) -> None:
        self._archive_failures.inc(1)
        self.context.host.metrics.fault(FAULT_ARCHIVE, text, self.context.utc_ns())

    def _ended(self) -> None:
        self._is_running = False

    def _broken(self, error: Exception) -> None:
        self._is_running = False
        self.context.host.guard(self.context.actor_id, "store", raise_error, error)

    async def _run(self) -> None:
        retry_s, pace = RETRY_FIRST_S, Pace(self.config.interval_s, BATCH_ENTRIES)
        jitter = random.Random(self.context.actor_id)  # noqa: S311  # spreads retries, decides nothing
        while not self._is_stopping:
            try:
                self._begin_ns = self.context.now_ns()
                stored = await self._pass()
                retry_s, self._told = RETRY_FIRST_S, ""
                pause_s = pace.rest_s(stored, (self.context.now_ns() - self._begin_ns) / 1e9)
            except (StoreError, JournalError) as error:
                self._failed(error)
                pause_s = RETRY_MAX_S if isinstance(error, SchemaError | JournalError) else retry_s
                pause_s *= 0.5 + jitter.random()
                retry_s = min(RETRY_MAX_S, retry_s * 2)
            self._tell()
            await self._rest(pause_s)

    async def _rest(self, pause_s: float) -> bool:
        """Rest; whether the actor stops."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), pause_s)
        return self._is_stopping

    def _find_measures(self) -> None:
        """Strategy workers begin their journals of measurements when they have something to tell."""
        assert self._store is not None
        spec = self.context.host.spec
        known = {writer.directory for writer in self._writers}
        for path, number in measure_folders(Path(spec.state_dir)):
            if path in known:
                continue
            try:
                cursor = JournalCursor.open(path, "store")
            except JournalError as error:
                self._failed(error)  # the gateways' journals do not wait for it
            else:
                self._writers.append(JournalWriter(self._store, path, spec.instance, number, cursor))

    def _tell(self) -> None:
        """Say for status and report how storing goes, once a second at most."""
        if self._store is None or self.context.now_ns() < self._tell_ns:
            return
        self._tell_ns = self.context.now_ns() + LOOK_EVERY_NS
        self.context.note(
            "store",
            self._store.describe()
            | {
                "rows": self._rows.value,
                "entries": self._entries.value,
                "lag_ms": self._lag_ns.value / 1e6,
                "failures": self._failures.value,
                "error": self._told,
            },
        )

    async def _pass(self) -> int:
        """One step of each journal; the most entries that one of them had."""
        assert self._store is not None
        await self._store.open()
        if self.context.now_ns() >= self._look_ns:
            self._look_ns = self.context.now_ns() + LOOK_EVERY_NS
            self._find_measures()
        stored = lag_ns = 0
        for writer in self._writers:
            before_rows = writer.rows
            start = self.context.now_ns()
            count = await writer.step(start)
            now = self.context.now_ns()
            if count:
                self._write_ns.record(now - start)
                self._entries.inc(count)
                self._rows.inc(writer.rows - before_rows)
                lag_ns = max(lag_ns, now - writer.newest_ns)
            stored = max(stored, count)
        self._lag_ns.set(lag_ns)
        return stored

    def _failed(self, error: Exception) -> None:
        """Count it, and tell it once: a server that is away for an hour is one fault, not a thousand."""
        self._failures.inc(1)
        newest_ns = max((writer.newest_ns for writer in self._writers), default=0)
        self._lag_ns.set(self.context.now_ns() - (newest_ns or self._start_ns))
        if str(error) != self._told:
            self._told = str(error)
            self.context.host.metrics.fault(FAULT_STORE, self._told, self.context.utc_ns())

    async def on_stop(self) -> None:
        """Store what the gateway said last; a database that does not answer gets it at the next start."""
        self._is_stopping = True
        self._stopping.set()
        if self._archiver is not None:
            self._archiver.kill()
        deadline = self.context.now_ns() + int(STOP_S * 1e9)
        while self._is_running and self.context.now_ns() < deadline:
            await self.context.sleep(1_000_000)
        if self._store is None:
            return
        self._look_ns = 0
        if not self._is_running:  # else the server does not answer, and a second step must not be begun
            try:
                async with asyncio.timeout(STOP_S):
                    while await self._pass():
                        pass
                self._told = ""  # whatever was wrong is mended
            except (StoreError, JournalError) as error:
                self._failed(error)
            except TimeoutError:
                pass
        elif (silent_s := (self.context.now_ns() - self._begin_ns) / 1e9) > SILENT_S:
            self._failed(StoreError(silent_text(self._store, silent_s)))
        for writer in self._writers:
            writer.close()
        self._tell_ns = 0
        self._tell()
        await self._store.close()


def silent_text(store: Store, silent_s: float) -> str:
    """What is said of a database that did not answer until the run was over."""
    return (
        f"{store.name}: no answer of the database{store.where} for {silent_s:.0f} s; "
        "what is not stored stays in the journal, and is stored at the next start"
    )


def make_store(settings: StoreSettings, state_dir: Path, statement_s: float | None = None) -> Store:
    """The store of a configuration.

    Args:
        settings: which database.
        state_dir: where the embedded one is by default.
        statement_s: how long a statement may take; None = as long as a journal may wait.

    Raises:
        ActorError: the driver is not installed, or the address can not be read (it is not shown).
    """
    if settings.kind == "sqlite":
        from actors.persistence.sqlite import SqliteStore

        return SqliteStore(Path(settings.path) if settings.path else state_dir / "store.sqlite")
    try:
        from actors.persistence.postgres import PostgresStore
    except ImportError as error:
        raise ActorError(f"store: {error.name} is not installed: pip install 'ringlane[store]'") from None
    url = read_address("store", settings.url_env, settings.url_file)
    return PostgresStore(url, pairs=settings.pairs, statement_s=statement_s)
