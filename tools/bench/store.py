"""The store beside its floor, and the hot path beside the store: `ringlane bench store`.

A process that journals as a gateway does (an intent, an acknowledgment and a fill, 1,000 times a second, on a
core of its own) is measured while nothing stores its journal, while SQLite or PostgreSQL do, and while
PostgreSQL is killed and started again; afterwards every fill must be there once. The floor of storing is COPY
of ready rows.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from actors.persistence.queries import TRADE_IDS
from actors.persistence.rows import Batch, RowMaker
from actors.persistence.sqlite import SqliteStore
from actors.persistence.store import Store, StoreError
from actors.persistence.tables import BY_NAME
from actors.persistence.writer import BATCH_ENTRIES, JournalWriter
from engine.placement import HOUSEKEEPING_NICE
from engine.pm_qos import PmQos
from exec.entries import EntryWriter
from profiles.machine import machine_facts
from shm.enums import JournalKind, OrderStatus, ReportKind, RequestStatus, Side
from shm.instruments import Instrument
from shm.journal import Journal
from shm.journal_reader import JournalFollower
from shm.records import IntentRecord, ReportRecord
from tools.bench.common import OURS, BenchResult, Goal, Measurement
from tools.bench.postgres import PostgresServer

FILLS_PER_S = 1_000
PHASE_S = 3.0
KILL_EVERY_S = 1.0
STORED_FILLS = 5_000
SLOT = 3
INSTANCE = "bench"
FLOOR = "floor: COPY of ready rows"
OFF, BUSY = "store off", "floor: off, other cores busy"
P99_MAY_GROW = 1.1
NOTES = (
    f"hot path: three journal entries of an order that fills, {FILLS_PER_S:,} orders/s, on a core of its own",
    "the store and its server run on the other cores, as housekeeping; only the journal is common",
    "hop: the time to write those entries; its floor: no store, but SHA-256 of memory on the other cores",
    f"rows/s: {STORED_FILLS:,} fills (three rows each and one more), {BATCH_ENTRIES} entries a transaction",
    "lag: from the append of the newest stored entry to its commit",
    f"killed: PostgreSQL by SIGKILL every {KILL_EVERY_S:g} s and started again; then every row is there once",
    "database, redis: 100 strategies ask at once; per strategy each on a warm connection of its own",
)


class Orders:
    """Orders that are accepted and filled, into a journal."""

    def __init__(self, folder: Path, epoch: int = 1) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.journal = Journal.open(folder, INSTANCE, epoch, file_bytes=64 << 20)
        self._entries = EntryWriter(self.journal)
        self._number = 0
        row = Instrument(
            instrument_id=0, venue_id=1, symbol="BENCH", canonical="BENCH-USDT-PERP", settle="USDT",
            price_exponent=2, quantity_exponent=3,
        )  # fmt: skip
        self.journal.append(JournalKind.INSTRUMENT, row.to_bytes(), time.monotonic_ns())

    def fill(self) -> None:
        """One order and what became of it: three entries."""
        self._number += 1
        now = time.monotonic_ns()
        common = {"side": Side.BUY, "client_order_id": self._number, "price_units": 6_000_000}
        stamps = {"frame_ns": now, "decide_ns": now}
        intent = IntentRecord(kind=1, quantity_units=5, instrument_id=0, actor_id=1, **common, **stamps)
        self._entries.intent(intent, self._number, 2, 0, now)
        report = ReportRecord(
            kind=ReportKind.NEW, order_status=OrderStatus.NEW, request_status=RequestStatus.ACCEPTED,
            order_units=5, leaves_units=5, gate_ns=now, send_ns=now, ack_ns=now, actor_id=1,
            **common, **stamps,
        )  # fmt: skip
        self._entries.report(report, now)
        report.kind, report.order_status = ReportKind.FILL, OrderStatus.FILLED
        report.last_units = report.filled_units = 5
        report.last_price_units, report.trade_id, report.leaves_units = 6_000_000, self._number, 0
        self._entries.report(report, now)


def trade(folder: Path, seconds: float, cores: set[int], out: Path) -> None:
    """The hot path: orders at a fixed rate; what writing each one's entries took goes to a file, in ns."""
    os.sched_setaffinity(0, cores)
    orders = Orders(folder)
    count = int(seconds * FILLS_PER_S)
    took = np.zeros(count, dtype=np.int64)
    orders.journal.prepare(32 << 20)
    start = time.monotonic_ns()
    step = 1_000_000_000 // FILLS_PER_S
    for number in range(count):
        due = start + number * step
        while time.monotonic_ns() < due:
            pass
        begin = time.perf_counter_ns()
        orders.fill()
        took[number] = time.perf_counter_ns() - begin
    orders.journal.close()
    np.save(out, took)


@contextmanager
def forked(work: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Run `work` in a forked process; yields what waits for its end."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    ended: list[int] = []

    def wait() -> None:
        if not ended:
            ended.append(os.waitpid(pid, 0)[1])
            if ended[0]:
                raise RuntimeError("a process of the bench failed")

    try:
        yield wait
    finally:
        if not ended:
            os.kill(pid, 9)
            os.waitpid(pid, 0)


def keep_storing(make: Callable[[], Store], folder: Path, cores: set[int], done: Path, out: Path) -> None:
    """What the actor does on the housekeeping worker; the lag of each batch goes to a file, in ns."""
    os.sched_setaffinity(0, cores)
    os.nice(HOUSEKEEPING_NICE)

    async def run() -> list[int]:
        store, lags = make(), []
        writer = JournalWriter(store, folder, INSTANCE, SLOT)
        while True:
            is_last = done.exists()
            try:
                await store.open()
                stored = await writer.step(time.monotonic_ns())
            except StoreError:
                await asyncio.sleep(0.05)
                continue
            if stored:
                lags.append(time.monotonic_ns() - writer.newest_ns)
            elif is_last:
                break
            else:
                await asyncio.sleep(0.02)
        await store.close()
        return lags

    np.save(out, np.array(uvloop.run(run()), dtype=np.int64))


def work_hard(cores: set[int]) -> None:
    """Keep the other cores as busy as a store could, without touching what the hot path touches."""
    os.sched_setaffinity(0, cores)
    os.nice(HOUSEKEEPING_NICE)
    data = bytes(1 << 20)
    while True:
        hashlib.sha256(data).digest()


class Phase:
    """The hot path with or without a store, once.

    Args:
        make: the store, None = nobody stores.
        server: killed every second while it runs, None = nobody is killed.
        is_busy: without a store, something else works beside the hot path: the floor.
    """

    def __init__(
        self,
        make: Callable[[], Store] | None,
        server: PostgresServer | None = None,
        *,
        is_busy: bool = False,
    ) -> None:
        self.make = make
        self.server = server
        self.is_busy = is_busy
        self.hops: list[float] = []
        self.lags: list[tuple[float, float]] = []  # p99 and largest of each run
        self.missing = 0

    def run(self, hot: set[int], cold: set[int]) -> None:
        """Measure once, and check that every fill arrived once."""
        with tempfile.TemporaryDirectory() as scratch:
            folder, done = Path(scratch) / f"journal-{SLOT}", Path(scratch) / "done"
            hops, lags = Path(scratch) / "hops.npy", Path(scratch) / "lags.npy"
            with forked(lambda: trade(folder, PHASE_S, hot, hops)) as wait_hot:
                if self.is_busy:
                    with forked(lambda: work_hard(cold)):
                        wait_hot()
                elif self.make is None:
                    wait_hot()
                else:
                    make = self.make
                    with forked(lambda: keep_storing(make, folder, cold, done, lags)) as wait_store:
                        if self.server is not None:
                            self._kill(self.server)
                        wait_hot()
                        done.touch()
                        wait_store()
                    found = np.load(lags)
                    self.lags.append((float(np.percentile(found, 99)), float(found.max())))
                    self.missing += uvloop.run(missing_rows(make(), folder))
            self.hops.append(float(np.percentile(np.load(hops), 99)))

    @staticmethod
    def _kill(server: PostgresServer) -> None:
        for _ in range(int(PHASE_S / KILL_EVERY_S)):
            time.sleep(KILL_EVERY_S / 2)
            server.kill()
            time.sleep(KILL_EVERY_S / 4)
            server.start()


async def missing_rows(store: Store, folder: Path) -> int:
    """How many fills are missing or there twice; the tables are emptied afterwards."""
    wanted = list(range(1, sum(1 for _ in JournalFollower(folder)) // 3 + 1))
    await store.open()
    found = [int(row[0]) for row in await TRADE_IDS.run(store)]
    await empty(store)
    await store.close()
    return abs(len(found) - len(wanted)) + len(set(wanted) ^ set(found))


async def empty(store: Store) -> None:
    """Delete all rows."""
    if isinstance(store, SqliteStore):
        await store.close()
        for path in store.path.parent.glob(f"{store.path.name}*"):
            path.unlink()
        return
    names = ", ".join(f"{store.prefix}{name}" for name in BY_NAME)
    await store.select(f"TRUNCATE {names}")


# ---- rows a second -------------------------------------------------------------------------------


async def rows_per_s(store: Store, folder: Path) -> float:
    """A whole journal into an empty database."""
    await store.open()
    writer = JournalWriter(store, folder, INSTANCE, SLOT)
    begin = time.perf_counter()
    while await writer.step(time.monotonic_ns()):
        pass
    took = time.perf_counter() - begin
    await empty(store)
    await store.close()
    return writer.rows / took


async def floor_rows_per_s(store: Any, folder: Path) -> float:
    """The same rows, made before, by COPY in one transaction each table; the partitions are there."""
    await store.open()
    follower = JournalFollower(folder)
    before = follower.position
    batch: Batch = RowMaker(INSTANCE, SLOT).make(list(follower), before, follower.position)
    async with store.session() as connection:
        begin = time.perf_counter()
        for name, rows in batch.rows.items():
            await connection.copy_records_to_table(
                name, records=rows, columns=BY_NAME[name].names, schema_name="ringlane"
            )
        took = time.perf_counter() - begin
    await empty(store)
    await store.close()
    return batch.count / took


def storing_results(
    runs: int, sqlite: Callable[[], Store], postgres: Callable[[], Store]
) -> list[Measurement]:
    """Rows a second into both databases, and by plain COPY."""
    values: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / f"journal-{SLOT}"
        orders = Orders(folder)
        for _ in range(STORED_FILLS):
            orders.fill()
        orders.journal.close()
        for run in range(runs + 1):
            for name, value in (
                (OURS, uvloop.run(rows_per_s(postgres(), folder))),
                ("ringlane, SQLite", uvloop.run(rows_per_s(sqlite(), folder))),
                (FLOOR, uvloop.run(floor_rows_per_s(postgres(), folder))),
            ):
                if run:
                    values.setdefault(name, []).append(value)
    return [Measurement(name, "rows_per_s", "1/s", found) for name, found in values.items()]


def bench_store(runs: int, *, hold_pm_qos: bool = True) -> BenchResult:
    """Measure storing, what it does to the hot path, and sharing of connections.

    Args:
        runs: how often each is measured.
        hold_pm_qos: keep the cores out of deep idle states meanwhile, if permitted.

    Raises:
        RuntimeError: a driver or a server is not installed.
    """
    from actors.persistence.postgres import PostgresStore
    from tools.bench.store_sharing import sharing_results

    cores = os.sched_getaffinity(0)
    hot = {max(cores)}
    cold = cores - hot or cores
    qos = PmQos()
    if hold_pm_qos:
        qos.hold()
    os.sched_setaffinity(0, cold)
    server = PostgresServer(connections=120)
    try:
        with tempfile.TemporaryDirectory() as scratch:

            def sqlite() -> Store:
                return SqliteStore(Path(scratch) / "store.sqlite")

            def postgres() -> Store:
                return PostgresStore(server.url, timeout_s=5.0)

            results = storing_results(runs, sqlite, postgres)
            phases = {
                OFF: Phase(None),
                BUSY: Phase(None, is_busy=True),
                "SQLite": Phase(sqlite),
                "PostgreSQL": Phase(postgres),
                "PostgreSQL killed": Phase(postgres, server),
            }
            for _ in range(runs):
                for phase in phases.values():
                    phase.run(hot, cold)
            results += sharing_results(runs, server, scratch)
    finally:
        server.close()
        os.sched_setaffinity(0, cores)
        pm_qos = qos.describe()
        qos.release()
    for name, phase in phases.items():
        results.append(Measurement(name, "hop_ns_p99", "ns", phase.hops))
        if phase.lags:
            results.append(Measurement(name, "lag_ms_p99", "ms", [p99 / 1e6 for p99, _ in phase.lags]))
            results.append(Measurement(name, "lag_ms_max", "ms", [most / 1e6 for _, most in phase.lags]))
    return BenchResult("store", machine_facts(pm_qos=pm_qos), results, NOTES, goals=goals(phases))


def goals(phases: dict[str, Phase]) -> list[Goal]:
    """Every row once; the hot path as without a store."""
    off = statistics.median(phases[OFF].hops)
    busy = statistics.median(phases[BUSY].hops) / off
    found = [
        Goal("fills missing or doubled", float(sum(p.missing for p in phases.values())), 0.0, at_least=False)
    ]
    for name, phase in phases.items():
        if phase.make is not None:
            grown = statistics.median(phase.hops) / off
            text = f"hop p99 with {name} / without a store"
            found.append(Goal(text, grown, P99_MAY_GROW, at_least=False, floor=busy))
    return found
