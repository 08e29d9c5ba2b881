"""How much one feed worker takes: from memory, from loopback websockets, and inside an engine."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from feeds.session import FeedSession
from feeds.settings import SessionSettings
from feeds.validation import Severity, ValidationSettings
from feeds.venues import adapter_names, get_adapters
from profiles.machine import machine_facts
from shm.enums import BookState
from tools.bench.common import OURS, BenchResult, Goal, Measurement
from tools.bench.decode.frames import synthetic, workloads
from tools.bench.decode.rig import CoreRig, PassFailed, Workload
from tools.venues.bench_shapes import SHAPES
from tools.venues.run import DEFAULT_VENUE

MEMORY = "memory_messages_per_s"
LOOPBACK = "loopback_messages_per_s"
PER_CORE = "loopback_messages_per_core_s"
CORES = "cores_for_1_million_per_s"
MANY = "one_venue_messages_per_s"
BOOK = "book_bytes"
ENGINE = "engine"
MILLION = 1_000_000
MEMORY_GOAL, LOOPBACK_GOAL, RSS_GOAL_MB = 300_000, 100_000, 300
MANY_GOAL, BOOK_GOAL_KB = 100_000, 350
OFFERED_PER_S = 50_000
#: The market is random: so much of what was asked for must have been seen.
SEEN = 0.98
Progress = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Load:
    """How much is measured.

    Args:
        messages: synthetic ones from memory.
        passes_messages: about how many messages a run takes from memory, in passes over the same ones.
        instruments: of the simulated venue.
        rate: updates a second it is asked for in all, more than one worker takes.
        seconds: of a loopback run.
        many_instruments, many_rate: of the run with many instruments, updates a second in all; 0 = none.
        engine_instruments, engine_rate, engine_s: of the engine's run; 0 s = none.
    """

    messages: int = 20_000
    passes_messages: int = 20_000
    instruments: int = 20
    rate: float = 600_000.0
    seconds: float = 3.0
    many_instruments: int = 300
    many_rate: float = 200_000.0
    engine_instruments: int = 500
    engine_rate: float = float(OFFERED_PER_S)
    engine_s: float = 10.0


class StepFailed(RuntimeError):
    """A process of the bench ended without a figure."""


def bench_feed(
    data_dir: Path | None,
    runs: int,
    *,
    venues: Sequence[str] = (),
    load: Load | None = None,
    progress: Progress = lambda _: None,
) -> BenchResult:
    """Measure what one feed worker takes.

    Args:
        data_dir: folder of recordings, for passes over recorded messages too; None = synthetic only.
        runs: of each measurement from memory; of those with processes at most three, of the engine one.
        venues: adapters or families; empty = all.
        load: how much.
        progress: told what is measured.

    Raises:
        VenueError: an unknown venue.
    """
    load = load or Load()
    names = adapter_names(venues)
    results: list[Measurement] = []
    absent: dict[str, str] = {}
    notes = [
        f"{MEMORY}: one call from Python each: pump, decode, continuity, validation, book, slab, ring record",
        f"{MEMORY}: recordings are read without the timestamp rule: their pace is not that of the pass",
        f"{LOOPBACK}: depth messages of {load.instruments} synthetic instruments, every change sent",
        f"{LOOPBACK}: the worker has its core for itself, the venue the other one; nobody reads the ring",
        f"{LOOPBACK}: it gets what the venue sends, at first what waited until the books were proven too",
        f"{PER_CORE}: the same by processor time of the worker's process",
    ]
    if load.many_instruments:
        notes.append(
            f"{MANY}: what one simulated venue sent of {load.many_instruments} instruments when asked for"
            f" {load.many_rate:,.0f}/s, all of it taken by one worker"
        )
    notes.append(f"{BOOK}: the largest private book of a worker, window and overflow")
    notes.append(f"{CORES}: whole cores, by {MEMORY} of the messages named, by {PER_CORE} of a venue alone")
    for name in names:
        (adapter,) = get_adapters(name)
        loads = [synthetic(adapter, load.messages, min(load.instruments, 4))]
        if data_dir is not None:
            loads += [w for w in workloads(data_dir, [name]) if "SYNTHETIC" not in w.source]
        for work in loads:
            progress(f"{work.name}: from memory")
            rates = from_memory(work, runs, load.passes_messages)
            results += [rates, cores_for(rates.values, work.name)]
        try:
            results += loopback(name, min(runs, 3), load, progress)
        except StepFailed as error:
            absent[f"{LOOPBACK} {name}"] = str(error)
        try:
            results += many(name, load, progress) if load.many_instruments else []
        except StepFailed as error:
            absent[f"{MANY} {name}"] = str(error)
    if load.engine_s:
        progress("engine")
        try:
            results += engine(load)
            notes.append(
                f"{ENGINE}: `ringlane run`, {load.engine_instruments} simulated instruments, no strategy"
            )
            notes.append(
                f"{ENGINE}: feed processes are the feed worker and housekeeping (REST), not the venue"
            )
        except StepFailed as error:
            absent[ENGINE] = str(error)
    return BenchResult("feed", machine_facts(), results, notes, absent, feed_goals(results, load))


# ---- goals -------------------------------------------------------------------------------------


def feed_goals(results: Sequence[Measurement], load: Load) -> list[Goal]:
    """Hold the measurements against the goals."""
    goals = []
    for r in results:
        if r.metric.startswith(f"{MEMORY} "):
            goals.append(Goal(r.metric, r.median, MEMORY_GOAL, at_least=True))
        elif r.metric.startswith(f"{LOOPBACK} "):
            goals.append(Goal(r.metric, r.median, LOOPBACK_GOAL, at_least=True))
        elif r.metric.startswith(f"{MANY} "):
            goals.append(Goal(r.metric, r.median, MANY_GOAL, at_least=True))
        elif r.metric.startswith(f"{BOOK} "):
            goals.append(Goal(f"{r.metric}, kB", r.median / 1e3, BOOK_GOAL_KB, at_least=False))
    found = {r.metric: r.median for r in results}
    goals.append(
        Goal(f"{ENGINE}: updates/s of {load.engine_rate:,.0f}", found.get(f"{ENGINE}_updates_per_s"),
             SEEN * load.engine_rate, at_least=True),
    )  # fmt: skip
    rss = found.get(f"{ENGINE}_feed_rss_bytes")
    goals.append(
        Goal(f"{ENGINE}: MB of all feed processes", rss / 1e6 if rss else None, RSS_GOAL_MB, at_least=False)
    )
    goals.append(
        Goal(f"{ENGINE}: gaps, laps, rejections, duplicates", found.get(f"{ENGINE}_lost"), 0, at_least=False)
    )
    return goals


# ---- from memory -------------------------------------------------------------------------------


class SessionRig(CoreRig):
    """A session over the core, as a feed worker has it; snapshots are given by hand."""

    def __init__(self, work: Workload) -> None:
        super().__init__(work.adapter, work.rows)
        is_real_pace = "SYNTHETIC" in work.source
        validation = (
            ValidationSettings() if is_real_pace else ValidationSettings(timestamp_severity=Severity.OFF)
        )
        self.work = work
        self.wanted: list[int] = []
        self.now_ns = 1
        self.session = FeedSession(
            work.adapter, self.core, work.rows, now_ns=lambda: self.now_ns,
            request_snapshot=self.wanted.append,
            settings=SessionSettings(resync_tokens=len(work.rows) + 1, connections=1, validation=validation),
        )  # fmt: skip
        self._prove()

    def _prove(self) -> None:
        session, starts = self.session, self.work.starts
        for number, start in enumerate(starts):
            session.on_frame(start.first or start.body, self.work.stamps[0])
            if start.first:
                session.on_snapshot(number, start.body, self.work.stamps[0])
        states = {state.name for state in session.states().values()}
        if states != {BookState.LIVE.name}:
            raise PassFailed(f"{self.work.name}: books are {states} after their snapshots")

    def take_all(self) -> float:
        """Give every message to the pump; seconds.

        Raises:
            PassFailed: not every one was applied.
        """
        feed, messages = self.session.pump.feed, list(zip(self.work.frames, self.work.stamps, strict=True))
        before = self.core.statistics()["books"]
        begin = time.perf_counter()
        for frame, stamp in messages:
            feed(frame, stamp)
        spent = time.perf_counter() - begin
        missed = len(messages) - (self.core.statistics()["books"] - before)
        if missed:
            raise PassFailed(f"{self.work.name}: {missed} of {len(messages)} messages were not applied")
        return spent


def from_memory(work: Workload, runs: int, messages: int) -> Measurement:
    """Messages a second of a session's pump; each pass has books of its own, the first one warms up."""
    passes = max(1, messages // len(work.frames))
    values = []
    for run in range(runs + 1):
        spent = sum(SessionRig(work).take_all() for _ in range(passes))
        if run:
            values.append(passes * len(work.frames) / spent)
    return Measurement(OURS, f"{MEMORY} {work.name}", "1/s", values)


def cores_for(rates: Sequence[float], name: str) -> Measurement:
    """How many cores a million messages a second would take at these rates."""
    return Measurement(OURS, f"{CORES} {name}", "cores", [math.ceil(MILLION / rate) for rate in rates])


# ---- from loopback websockets ------------------------------------------------------------------


def two_cores() -> tuple[int, int]:
    """The core of the worker and that of the venue; the same where only one is allowed."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[-1], cores[0]


class Venue:
    """A simulated venue in a process of its own."""

    def __init__(self, name: str, core: int, load: Load) -> None:
        arguments = [
            sys.executable, "-P", "-m", "tools.venues", name, "--instruments", str(load.instruments),
            "--rate", str(load.rate), "--every-change", "--buffer-bytes", str(1 << 30),
            "--parent-pid", str(os.getpid()),
        ]  # fmt: skip
        self._child = subprocess.Popen(arguments, stdout=subprocess.PIPE)
        os.sched_setaffinity(self._child.pid, {core})
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise StepFailed(f"the simulated venue {name} ended with code {self._child.wait()}")
        self.ready: dict[str, Any] = orjson.loads(line)

    def close(self) -> None:
        """End it."""
        with self._child as child:
            child.terminate()
            with suppress(subprocess.TimeoutExpired):
                child.wait(timeout=10)
                return
            child.kill()


def offered(name: str, load: Load) -> dict[str, Any]:
    """What one worker took of a simulated venue, as its process tells it.

    Raises:
        StepFailed: venue or worker ended without a figure.
    """
    here, there = two_cores()
    venue = Venue(name, there, load)
    try:
        arguments = [
            sys.executable, "-P", "-m", "tools.bench.feed_worker", name,
            venue.ready["ws"], venue.ready["rest"],
            str(here), str(load.seconds),
        ]  # fmt: skip
        worker = subprocess.run(arguments, capture_output=True, timeout=60 + load.seconds, check=False)
    finally:
        venue.close()
    if worker.returncode:
        raise StepFailed(worker.stderr.decode(errors="replace").strip().rpartition("\n")[2])
    found: dict[str, Any] = orjson.loads(worker.stdout)
    if found["lost"]:
        raise StepFailed(f"{found['lost']} gaps, rejections or disconnections")
    return found


def loopback(name: str, runs: int, load: Load, progress: Progress) -> list[Measurement]:
    """Messages a second of a worker that is offered more than it takes.

    Raises:
        StepFailed: venue or worker ended without a figure, or something was lost.
    """
    found = []
    for _ in range(runs):
        progress(f"{name}: from loopback websockets")
        found.append(offered(name, load))
    per_core = [one["messages"] / one["cpu_s"] for one in found]
    return [
        Measurement(OURS, f"{LOOPBACK} {name}", "1/s", [one["messages"] / one["seconds"] for one in found]),
        Measurement(OURS, f"{PER_CORE} {name}", "1/s", per_core),
        cores_for(per_core, name),
    ]


def many(name: str, load: Load, progress: Progress) -> list[Measurement]:
    """Messages a second of one venue with many instruments, and the largest of their books.

    Raises:
        StepFailed: as `loopback`.
    """
    progress(f"{name}: {load.many_instruments} instruments of one venue")
    found = offered(name, replace(load, instruments=load.many_instruments, rate=load.many_rate))
    return [
        Measurement(OURS, f"{MANY} {name}", "1/s", [found["messages"] / found["seconds"]]),
        Measurement(OURS, f"{BOOK} {name}", "bytes", [float(found["book_bytes_max"])]),
    ]


# ---- inside an engine --------------------------------------------------------------------------

CLI = "import sys; from tools.cli import main; sys.exit(main())"
CONFIG = """[venues.sim]
adapter = "{adapter}"
depth_stream = "{stream}"

[venues.sim.simulated]
instruments = {instruments}
rate = {rate:.1f}

[orders]
mode = "paper"
"""
FEED_ROLES = ("feed", "housekeeping")
# A book begun anew because its market left the prices that its snapshot knew has lost nothing.
LOST = ("gaps", "lapped", "rejected_frames", "duplicates", "unknown_symbols", "resyncs")


def engine(load: Load) -> list[Measurement]:
    """A whole engine over many instruments: updates a second, memory, what was lost.

    Raises:
        StepFailed: it did not run, or not all books were LIVE.
    """
    with tempfile.TemporaryDirectory(prefix="ringlane-bench-") as folder:
        config = Path(folder) / "feed.toml"
        values = {"adapter": DEFAULT_VENUE, "stream": SHAPES[DEFAULT_VENUE].fastest}
        config.write_text(CONFIG.format(instruments=load.engine_instruments, rate=load.engine_rate, **values))
        arguments = [
            sys.executable, "-P", "-c", CLI, "run", str(config),
            "--duration", str(load.engine_s), "--state", folder, "--json",
        ]  # fmt: skip
        run = subprocess.run(arguments, capture_output=True, timeout=120 + load.engine_s, check=False)
    if run.returncode:
        raise StepFailed(run.stderr.decode(errors="replace").strip().rpartition("\n")[2])
    return engine_rows(orjson.loads(run.stdout))


def engine_rows(report: dict[str, Any]) -> list[Measurement]:
    """What the report of a run says about its feed.

    Raises:
        StepFailed: not all books were LIVE at its end.
    """
    market, workers = report["market"], report["workers"]
    if market["books_by_state"] != {"LIVE": market["instruments"]}:
        raise StepFailed(f"books at the end: {market['books_by_state']}")
    feeds = [w for w in workers if w["role"] in FEED_ROLES]
    everyone = [w for w in workers if w["role"] != "venue"]
    rows = {
        "updates_per_s": ("1/s", market["throughput_per_s"]),
        "lost": ("", sum(market[name] for name in LOST) - market["range_left"]),
        "feed_rss_bytes": ("bytes", sum(w["rss_bytes_max"] for w in feeds)),
        "rss_bytes": ("bytes", sum(w["rss_bytes_max"] for w in everyone)),
        "pss_bytes": ("bytes", sum(w["pss_bytes"] for w in everyone)),
        "feed_cpu_percent": ("%", sum(w["cpu_percent"] for w in feeds)),
    }
    return [Measurement(OURS, f"{ENGINE}_{name}", unit, [value]) for name, (unit, value) in rows.items()]
