"""Cost of the journal, beside its floor in the same run: `ringlane bench journal`.

The floor of an append is memcpy of the same bytes to the same places of a mapped file, in C; that of
verification is SHA-256 of the same file, which no proof against replaced files can do without.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from exec.entries import INTENT_ENTRY_BYTES
from shm.enums import JournalKind
from shm.journal import Journal
from shm.journal_files import file_name, map_to_read, map_to_write
from shm.journal_keeper import KeepPolicy, keep
from shm.journal_reader import JournalFollower
from shm.journal_verify import verify
from tools.bench import memory_loops as loops
from tools.bench.common import OURS, BenchResult, Goal, Measurement, paired_runs
from tools.bench.quiet_core import quiet_core
from tools.bench.steps import Step, measured, nothing, repeated_with

Costs = npt.NDArray[np.int64]
APPENDS = 100_000
FILE_BYTES = 64 << 20
HEAD_BYTES = 32
COPY = "floor: memcpy in C"
CALL = "floor: one Python call"
SHA = "floor: SHA-256"
VERIFY_S = 2.0
NOTES = (
    f"append: {INTENT_ENTRY_BYTES} bytes (an intent), {APPENDS} into touched pages, with one clock read each",
    "append_python: `Journal.append` from Python, loop included",
    f"verify, read: a full sealed file of {FILE_BYTES >> 20} MiB (every checksum, the chain and SHA-256)",
)


def appended(journal_file: Callable[[], Journal], payload: bytes, costs: Costs) -> Callable[[], Costs]:
    """A contender: what each append of a fresh file took."""

    def measure() -> Costs:
        with journal_file() as journal:
            journal.prepare(FILE_BYTES)
            done = loops.append_each(journal, payload, costs)
            return costs[:done].copy()

    return measure


def copied(directory: Path, payload: bytes, costs: Costs) -> Callable[[], Costs]:
    """A contender: what each plain copy took."""

    def measure() -> Costs:
        path = directory / "floor"
        mapping = map_to_write(path, FILE_BYTES)
        mapping.madvise(23)  # MADV_POPULATE_WRITE, as Journal.prepare
        done = loops.floor_append(mapping, payload, HEAD_BYTES, costs)
        path.unlink()
        return costs[:done].copy()

    return measure


def append_results(directory: Path, runs: int) -> list[Measurement]:
    """p50 and p99 of an append, ours and the floor in turn."""
    payload, costs = bytes(range(256)) + bytes(INTENT_ENTRY_BYTES - 256), np.zeros(APPENDS, dtype=np.int64)
    epoch = iter(range(1, 1_000_000))

    def fresh() -> Journal:
        for path in directory.glob("journal-*.rlj"):
            path.unlink()
        return Journal.open(directory, "bench", next(epoch), file_bytes=FILE_BYTES)

    contenders = {OURS: appended(fresh, payload, costs), COPY: copied(directory, payload, costs)}
    values: dict[tuple[str, str], list[float]] = {}
    for run in range(runs + 1):
        for name, measure in contenders.items():
            took = measure()
            for metric, percent in (("append_ns_p50", 50), ("append_ns_p99", 99), ("append_ns_mean", 0)):
                figure = float(np.percentile(took, percent)) if percent else float(took.mean())
                if run:
                    values.setdefault((metric, name), []).append(figure)
    found = [Measurement(name, metric, "ns", got) for (metric, name), got in values.items()]
    with fresh() as journal:
        journal.prepare(FILE_BYTES)
        append, kind = journal.append, int(JournalKind.NOTE)
        rounds = 20_000
        step = Step(
            "append_python_ns",
            {
                OURS: repeated_with(lambda data: append(kind, data, 1), payload, rounds),
                CALL: repeated_with(lambda data: nothing(data), payload, rounds),
            },
        )
        return [*found, *measured([step], min(runs, 8))]


def full_file(directory: Path) -> int:
    """A sealed file filled to its end, and a second one begun; returns how many records there are."""
    payload = bytes(range(256)) + bytes(INTENT_ENTRY_BYTES - 256)
    with Journal.open(directory, "bench", 1, file_bytes=FILE_BYTES) as journal:
        while journal.file_index == 0:
            journal.append(JournalKind.NOTE, payload, 1)
        count = journal.sequence
    keep(directory, KeepPolicy(keep_days=0), 1)
    return count


def file_results(directory: Path, runs: int) -> list[Measurement]:
    """Verifying and reading a full file."""
    count = full_file(directory)
    path = directory / file_name(1, 0)

    def seconds(work: Callable[[], object]) -> Callable[[], float]:
        def measure() -> float:
            begin = time.perf_counter()
            work()
            return time.perf_counter() - begin

        return measure

    def read_all() -> None:
        follower = JournalFollower(directory)
        found = 0
        while batch := follower.read():
            found += len(batch)
        assert found == count

    def verified() -> None:
        assert verify(directory).is_good

    values = paired_runs(
        {
            "verify": seconds(verified),
            "sha": seconds(lambda: hashlib.sha256(map_to_read(path)).hexdigest()),
            "read": seconds(read_all),
        },
        runs,
    )
    return [
        Measurement(OURS, "verify_ms_per_file", "ms", [value * 1e3 for value in values["verify"]]),
        Measurement(SHA, "verify_ms_per_file", "ms", [value * 1e3 for value in values["sha"]]),
        Measurement(OURS, "read_ns_per_record", "ns", [value * 1e9 / count for value in values["read"]]),
    ]


def bench_journal(runs: int, *, hold_pm_qos: bool = True) -> BenchResult:
    """Measure appending, verifying and reading.

    Args:
        runs: how often each contender is measured.
        hold_pm_qos: keep the cores out of deep idle states meanwhile, if permitted.
    """
    with quiet_core(hold_pm_qos=hold_pm_qos) as core:
        with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
            results = [*append_results(Path(first), runs), *file_results(Path(second), runs)]
    took = next(r.median for r in results if r.metric == "verify_ms_per_file")
    goal = Goal(
        f"verify a full file of {FILE_BYTES >> 20} MiB, seconds", took / 1e3, VERIFY_S, at_least=False
    )
    return BenchResult("journal", core.facts, results, NOTES, goals=[goal])
