"""A long trading history and the memory of those who write it: `ringlane bench history`.

One process journals fills as a gateway does, another stores them in PostgreSQL, and retention removes journal
files that are stored. The resident memory of both is read at 250,000, 500,000, 1,000,000 and 1,500,000 stored
fills: history is in the database and not in a process, so none of the figures grows. Beside it stands what
programs do that keep their history in a list.
"""

from __future__ import annotations

import mmap
import os
import statistics
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import uvloop

from actors.persistence.postgres import PostgresStore
from actors.persistence.tables import REPORTS
from actors.persistence.writer import BATCH_ENTRIES, JournalWriter
from engine.pm_qos import PmQos
from profiles.machine import machine_facts
from shm.journal_cursor import JournalCursor
from shm.journal_files import journal_files
from shm.journal_keeper import KeepPolicy, KeepReport, keep_steps
from tools.bench.common import BenchResult, Goal, Measurement
from tools.bench.postgres import PostgresServer
from tools.bench.store_phases import INSTANCE, SLOT, Orders, forked

MARKS = (250_000, 500_000, 1_000_000, 1_500_000)
# How far the journal may be ahead of the database, in fills: on one machine both share, the writer would win.
AHEAD_MAX = 50_000
KEEP_BYTES = 256 << 20
KEEP_EVERY = 50_000
MAY_GROW = 1.1
GATEWAY, STORE, LIST = "gateway", "store", "list of dictionaries"
_COUNTS = struct.Struct("<QQ")  # fills journaled, fills stored
NOTES = (
    f"{MARKS[-1]:,} fills, one REPORT entry and two rows (reports, fills) each, into PostgreSQL",
    "memory: the process's own (anonymous); and all that is resident, with the pages of the journal file in",
    "use, of which there are the more the further it is written (64 MiB hold 233,000 of these fills)",
    f"journal files that are stored are removed while all are above {KEEP_BYTES >> 20} MiB",
    f"the journal goes at most {AHEAD_MAX:,} fills ahead of the database",
)


def memory_mib(pid: int) -> tuple[float, float]:
    """Own and whole resident memory of a process, MiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    kib = {
        line.split(":")[0]: int(line.split()[1]) for line in status if line.startswith(("RssAnon", "VmRSS"))
    }
    return kib["RssAnon"] / 1024, kib["VmRSS"] / 1024


class Progress:
    """How far both processes are, in memory that forks share."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)

    @property
    def journaled(self) -> int:
        """Fills in the journal."""
        return int(_COUNTS.unpack_from(self._memory)[0])

    @property
    def stored(self) -> int:
        """Fills in the database."""
        return int(_COUNTS.unpack_from(self._memory)[1])

    def journal(self, count: int) -> None:
        """Say how many are journaled; the journaling process only."""
        self._memory[0:8] = count.to_bytes(8, "little")

    def store(self, count: int) -> None:
        """Say how many are stored; the storing process only."""
        self._memory[8:16] = count.to_bytes(8, "little")


def journal_fills(folder: Path, count: int, progress: Progress, out: Path) -> None:
    """The gateway's part; what it used of memory at each mark goes to a file."""
    orders, found = Orders(folder), []
    for number in range(1, count + 1):
        orders.fill_only()
        if number % 1_000 == 0 or number == count:
            progress.journal(number)
            while number - progress.stored > AHEAD_MAX:
                time.sleep(0.005)
            orders.journal.prepare(1 << 20)
        if number in MARKS:
            found.append(memory_mib(os.getpid()))
    orders.journal.close()
    out.write_bytes(orjson.dumps(found))


def store_fills(url: str, folder: Path, count: int, progress: Progress, out: Path) -> None:
    """The store's part, with retention; memory at each mark, and the most room the journal took."""

    async def run() -> tuple[list[tuple[float, float]], int]:
        store, found, most, kept = PostgresStore(url), [], 0, 0
        writer = JournalWriter(store, folder, INSTANCE, SLOT, JournalCursor.open(folder, "store"))
        marks = iter(MARKS)
        mark = next(marks, None)
        await store.open()
        while writer.entries <= count:  # and the instrument's
            if not await writer.step(time.monotonic_ns(), BATCH_ENTRIES):
                time.sleep(0.002)
            progress.store(max(0, writer.entries - 1))
            while mark is not None and progress.stored >= mark:
                found.append(memory_mib(os.getpid()))
                mark = next(marks, None)
            if writer.entries - kept >= KEEP_EVERY:
                kept = writer.entries
                most = max(most, sum(path.stat().st_blocks * 512 for _, _, path in journal_files(folder)))
                policy, report = KeepPolicy(0, KEEP_BYTES), KeepReport()
                for _ in keep_steps(folder, policy, time.time_ns(), report, is_recovered=False):
                    pass
        writer.close()
        await store.close()
        return found, most

    out.write_bytes(orjson.dumps(uvloop.run(run())))


def keep_in_a_list(out: Path) -> None:
    """What a program uses that keeps its history in memory, at each mark."""
    history: list[dict[str, object]] = []
    found = []
    for number in range(1, MARKS[-1] + 1):
        history.append(
            {
                "at": time.time(),
                "symbol": "BENCH",
                "side": "buy",
                "price": 6e4 + number,
                "quantity": 0.005,
                "fee": 0.03,
                "order_id": number,
                "trade_id": number,
            }
        )
        if number in MARKS:
            found.append(memory_mib(os.getpid()))
    out.write_bytes(orjson.dumps(found))


def run_forked(work: Callable[[], None]) -> None:
    """Run `work` in a forked process to its end."""
    with forked(work) as wait:
        wait()


def bench_history(runs: int, *, hold_pm_qos: bool = True) -> BenchResult:
    """Write a long history and look at who grows.

    Args:
        runs: how often.
        hold_pm_qos: keep the cores out of deep idle states meanwhile, if permitted.

    Raises:
        RuntimeError: the server is not installed, or a process failed.
    """
    values: dict[tuple[str, str], list[float]] = {}
    missing: list[float] = []
    qos = PmQos()
    if hold_pm_qos:
        qos.hold()
    try:
        for _ in range(runs):
            with tempfile.TemporaryDirectory() as scratch:
                found, lost = one_run(Path(scratch))
            missing.append(lost)
            for key, value in found.items():
                values.setdefault(key, []).append(value)
    finally:
        pm_qos = qos.describe()
        qos.release()
    results = [Measurement(name, metric, "MiB", found) for (name, metric), found in values.items()]
    goals = [Goal("fills missing or doubled in PostgreSQL", sum(missing), 0.0, at_least=False)]
    first, last = f"own_mib_at_{MARKS[0]}", f"own_mib_at_{MARKS[-1]}"
    for name in (GATEWAY, STORE):
        grown = statistics.median(values[name, last]) / statistics.median(values[name, first])
        listed = statistics.median(values[LIST, last]) / statistics.median(values[LIST, first])
        text = f"{name}: own memory at {MARKS[-1]:,} fills / at {MARKS[0]:,} (a list: {listed:.1f})"
        goals.append(Goal(text, grown, MAY_GROW, at_least=False))
    return BenchResult("history", machine_facts(pm_qos=pm_qos), results, NOTES, goals=goals)


def one_run(scratch: Path) -> tuple[dict[tuple[str, str], float], float]:
    """One history from its first fill to its last: memory at the marks, and how many fills are not whole."""
    count, progress = MARKS[-1], Progress()
    folder = scratch / f"journal-{SLOT}"
    folder.mkdir()
    outs = {name: scratch / f"{number}.json" for number, name in enumerate((GATEWAY, STORE, LIST))}
    server = PostgresServer(is_durable=False)
    try:
        with forked(lambda: store_fills(server.url, folder, count, progress, outs[STORE])) as stored:
            with forked(lambda: journal_fills(folder, count, progress, outs[GATEWAY])) as journaled:
                journaled()
                stored()
        lost = uvloop.run(lost_fills(server.url, count))
    finally:
        server.close()
    run_forked(lambda: keep_in_a_list(outs[LIST]))
    store_memory, most = orjson.loads(outs[STORE].read_bytes())
    memory = {GATEWAY: orjson.loads(outs[GATEWAY].read_bytes()), STORE: store_memory}
    memory[LIST] = orjson.loads(outs[LIST].read_bytes())
    found = {
        (name, f"{kind}_mib_at_{mark}"): pair[place]
        for name, pairs in memory.items()
        for mark, pair in zip(MARKS, pairs, strict=True)
        for place, kind in enumerate(("own", "all"))
    }
    found["journal on the disk", "most_mib"] = most / (1 << 20)
    return found, lost


async def lost_fills(url: str, count: int) -> float:
    """How many fills are missing or there twice."""
    store = PostgresStore(url, timeout_s=120.0)
    ((rows, trades, first, last),) = await store.select(
        "SELECT count(*), count(DISTINCT trade_id), min(trade_id), max(trade_id) FROM ringlane.fills"
    )
    reports = await store.count(REPORTS)
    await store.close()
    is_whole = (rows, trades, first, last, reports) == (count, count, 1, count, count)
    return 0.0 if is_whole else float(abs(count - trades) + abs(rows - trades) + abs(reports - count) or 1)
