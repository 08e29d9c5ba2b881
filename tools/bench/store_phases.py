"""The hot path with and without a store beside it, once: the phases of `ringlane bench store`."""

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

from actors.persistence.mirror import Mirror, Snapshot
from actors.persistence.pace import Pace
from actors.persistence.queries import TRADE_IDS
from actors.persistence.sqlite import SqliteStore
from actors.persistence.store import Store, StoreError
from actors.persistence.tables import BY_NAME
from actors.persistence.writer import BATCH_ENTRIES, JournalWriter
from engine.placement import HOUSEKEEPING_NICE
from exec.entries import EntryWriter
from shm.enums import JournalKind, OrderStatus, ReportKind, RequestStatus, Side
from shm.instruments import Instrument
from shm.journal import Journal
from shm.journal_reader import JournalFollower
from shm.records import IntentRecord, ReportRecord
from tools.bench.postgres import PostgresServer
from tools.bench.valkey import ValkeyProcess

FILLS_PER_S = 1_000
PHASE_S = 2.0
WINDOW_S = 0.5
KILL_EVERY_S = 1.0
IDLE_S = 0.2
MIRRORED, MIRROR_EVERY_S, MIRROR_EXPIRY_S = 100, 0.1, 600
SLOT = 3
INSTANCE = "bench"


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

    def fill_only(self) -> None:
        """A fill without its order: one entry."""
        self._number += 1
        now = time.monotonic_ns()
        report = ReportRecord(
            kind=ReportKind.FILL, order_status=OrderStatus.FILLED, request_status=RequestStatus.ACCEPTED,
            side=Side.BUY, client_order_id=self._number, price_units=6_000_000, order_units=5, last_units=5,
            filled_units=5, last_price_units=6_000_000, trade_id=self._number, actor_id=1, frame_ns=now,
            decide_ns=now, gate_ns=now, send_ns=now, ack_ns=now,
        )  # fmt: skip
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


class Servers:
    """PostgreSQL and Valkey, which are killed and started again together.

    Args:
        postgres: the one.
        folder: of the other one, which is started.
    """

    def __init__(self, postgres: PostgresServer, folder: str) -> None:
        self.postgres = postgres
        self.folder = folder
        self.valkey = ValkeyProcess(folder)

    @property
    def mirror_url(self) -> str:
        """Address of Valkey."""
        return f"unix://{self.valkey.socket_path}"

    def kill(self) -> None:
        """Kill both as a power cut would."""
        self.valkey.process.kill()
        self.valkey.process.wait()
        self.postgres.kill()

    def start(self) -> None:
        """Start both again; what Valkey had is gone."""
        self.valkey = ValkeyProcess(self.folder)
        self.postgres.start()


def snapshots(version: int) -> list[Snapshot]:
    """Tops of as many books as are mirrored; version 0 is the last of all."""
    return [Snapshot(f"book:{number}", {"version": version}, version) for number in range(MIRRORED)]


async def keep_mirroring(url: str, done: Path) -> None:
    """What the actor `mirror` does; at the end every value is the last one."""
    mirror, version = Mirror(url, INSTANCE, pairs=MIRRORED, expiry_s=MIRROR_EXPIRY_S), 0
    while True:
        is_last, version = done.exists(), version + 1
        try:
            await mirror.write(snapshots(0 if is_last else version), time.monotonic_ns())
            if is_last:
                break
        except StoreError:
            pass
        await asyncio.sleep(MIRROR_EVERY_S)
    await mirror.close()


async def missing_values(url: str) -> int:
    """How many mirrored values are not the last ones."""
    mirror = Mirror(url, INSTANCE)
    found = await asyncio.gather(*(mirror.read(snapshot.key) for snapshot in snapshots(0)))
    await mirror.close()
    return sum(value != {"version": 0} for value in found)


def keep_storing(
    make: Callable[[], Store], folder: Path, cores: set[int], done: Path, out: Path, mirror_url: str = ""
) -> None:
    """What the actors do on the housekeeping worker; the lag of each batch goes to a file, in ns."""
    os.sched_setaffinity(0, cores)
    os.nice(HOUSEKEEPING_NICE)

    async def run() -> list[int]:
        store, lags = make(), []
        mirroring = asyncio.ensure_future(keep_mirroring(mirror_url, done)) if mirror_url else None
        writer, pace = JournalWriter(store, folder, INSTANCE, SLOT), Pace(IDLE_S, BATCH_ENTRIES)
        while True:
            is_last, begin = done.exists(), time.monotonic_ns()
            try:
                await store.open()
                stored = await writer.step(begin)
            except StoreError:
                await asyncio.sleep(0.05)
                continue
            if stored:
                lags.append(time.monotonic_ns() - writer.newest_ns)
            elif is_last:
                break
            await asyncio.sleep(pace.rest_s(stored, (time.monotonic_ns() - begin) / 1e9))
        await store.close()
        if mirroring is not None:
            await mirroring
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
        servers: killed every second while it runs, None = nobody is killed.
        is_busy: without a store, something else works beside the hot path: the floor.
    """

    def __init__(
        self,
        make: Callable[[], Store] | None,
        servers: Servers | None = None,
        *,
        is_busy: bool = False,
    ) -> None:
        self.make = make
        self.servers = servers
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
                    make, servers = self.make, self.servers
                    url = "" if servers is None else servers.mirror_url
                    with forked(lambda: keep_storing(make, folder, cold, done, lags, url)) as wait_store:
                        if servers is not None:
                            self._kill(servers)
                        wait_hot()
                        done.touch()
                        wait_store()
                    found = np.load(lags)
                    self.lags.append((float(np.percentile(found, 99)), float(found.max())))
                    self.missing += uvloop.run(missing_rows(make(), folder))
                    self.missing += uvloop.run(missing_values(url)) if url else 0
            self.hops.append(hop_p99(np.load(hops)))

    @staticmethod
    def _kill(servers: Servers) -> None:
        for _ in range(int(PHASE_S / KILL_EVERY_S)):
            time.sleep(KILL_EVERY_S / 2)
            servers.kill()
            time.sleep(KILL_EVERY_S / 4)
            servers.start()


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


def hop_p99(took: np.ndarray[Any, Any]) -> float:
    """The median over half seconds of their p99: one in which the host took the core away decides nothing."""
    size = int(WINDOW_S * FILLS_PER_S)
    windows = [took[start : start + size] for start in range(0, len(took), size)]
    return float(statistics.median(float(np.percentile(window, 99)) for window in windows))
