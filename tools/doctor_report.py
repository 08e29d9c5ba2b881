"""Examine a machine for a configuration: watch, measure, judge, propose; one object with all of it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from engine.checking import expected_urls
from engine.config import Config
from engine.placement import HOUSEKEEPING_ROLE
from engine.pm_qos import PmQos
from engine.run_file import running
from engine.sentinel_plan import ROLE as SENTINEL_ROLE
from engine.topology import RunIdentity, build_topology
from profiles.host.activity import Activity, between, descendants, look
from profiles.host.checks import run_checks, verdict_of
from profiles.host.checks_memory import may_lock
from profiles.host.findings import Finding, Needs, State, Subject
from profiles.host.grade import LatencyClass, grade
from profiles.host.measure import (
    measure_costs,
    measure_fsync,
    measure_hiccups,
    measure_pair,
    measure_timer,
    measure_wake,
    pinnable,
)
from profiles.host.measured import Measured, Timing
from profiles.host.reader import CPU, MIB, Host, parse_list
from profiles.machine import machine_facts
from shm.instance import default_state_root
from shm.layout import SEGMENT_HEADER_BYTES
from tools.doctor_plan import Proposal, core_facts, propose

SCHEMA = 1
VERDICTS = {State.OK: ("fit", 0), State.ADVICE: ("usable", 1), State.UNFIT: ("unfit", 2)}
PROCESS_BYTES = 128 * MIB
DISK_SPARE_BYTES = 64 * MIB
DESCRIPTORS = 512
IRQS_SHOWN = 24
PAIRS_MAX = 6


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """What `ringlane doctor --json` prints.

    Attributes:
        schema: version of this object; it rises when a field changes its meaning or goes.
        verdict, exit_code: fit 0, usable 1 (with advice), unfit 2.
        machine: facts of the machine.
        configuration: the file, or "embedded default".
        engines: instances that run now; with one the cores were watched, not spun on.
        cores: cores that may be used.
        needs: what the configuration asks for.
        findings: every check, worst first.
        activity: what else happened while the machine was watched, None with --quick.
        measured: figures of the measuring loops.
        latency_class: the class that workers on the proposed cores reach.
        proposal: the core map.
    """

    schema: int
    verdict: str
    exit_code: int
    machine: dict[str, Any]
    configuration: str
    engines: tuple[str, ...]
    cores: tuple[int, ...]
    needs: Needs
    findings: tuple[Finding, ...]
    activity: Activity | None
    measured: Measured
    latency_class: LatencyClass
    proposal: Proposal

    def to_json(self) -> str:
        """The one object."""
        return orjson.dumps(self, option=orjson.OPT_INDENT_2).decode()


def needs_of(config: Config, state: Path | None, cores: Sequence[int]) -> Needs:
    """What a configuration asks of the machine.

    Raises:
        TopologyError: it can not run at all.
    """
    urls = {name: expected_urls(venue) for name, venue in config.venues.items()}
    # A simulated venue names its symbols only once it runs.
    loose = config.model_copy(
        update={"strategies": [s.model_copy(update={"instruments": "all"}) for s in config.strategies]}
    )
    identity = RunIdentity(config.name or "doctor", 1, "", os.getpid())
    topology = build_topology(loose, urls, identity, list(cores))
    shm_bytes = sum(plan.payload_bytes + SEGMENT_HEADER_BYTES for plan in topology.segments)
    processes = len(topology.workers) + 1 + sum(v.simulated is not None for v in config.venues.values())
    machine = config.machine
    return Needs(
        pinned=sum(w.role not in (HOUSEKEEPING_ROLE, SENTINEL_ROLE) for w in topology.workers),
        shm_bytes=shm_bytes,
        memory_bytes=shm_bytes + processes * PROCESS_BYTES,
        disk_bytes=2 * (config.journal.file_mib << 20) + DISK_SPARE_BYTES,
        descriptors=DESCRIPTORS,
        state_dir=str(state or default_state_root()),
        lock_memory=machine.lock_memory,
        huge_required=machine.huge_pages == "require",
        realtime=machine.realtime if machine.realtime_required else 0,
    )


def examine(
    config: Config,
    file: str,
    *,
    seconds: float,
    state: Path | None = None,
    host: Host | None = None,
) -> DoctorReport:
    """Look at the machine; changes nothing, needs no rights.

    Args:
        config: what is to run.
        file: its path, empty for the embedded one.
        seconds: how long to watch and to measure hiccups, 0 = only read what is written.
        state: state root, None = the user's.
        host: the machine's reader, None = this machine.
    """
    host = host or Host()
    allowed = host.cores()
    isolated = parse_list(host.get(f"{CPU}/isolated"))
    cores = tuple(sorted({*allowed, *pinnable([c for c in isolated if c not in allowed])}))
    needs = needs_of(config, state, cores)
    notes = running(state or default_state_root())
    measured, activity = Measured(), None
    if seconds > 0:
        own = frozenset({os.getpid()}).union(*(descendants(host, note.pid) for note in notes))
        measured, activity = watch(host, cores, seconds, own, spin=not notes)
        measured = replace(measured, fsync_ns_max=measure_fsync(needs.state_dir))
    facts = core_facts(host, cores, measured, activity)
    proposal = propose(config, facts, file, may_lock=may_lock(host))
    qos = "not held (not measured)"
    if measured.hiccups:
        measured, qos = measure_between(measured, proposal.pinned or cores)
    subject = Subject(host, cores, proposal.pinned or cores, needs, activity, measured)
    findings = run_checks(subject)
    verdict, code = VERDICTS[verdict_of(findings)]
    if activity is not None:
        activity = replace(activity, irqs=activity.irqs[:IRQS_SHOWN])
    return DoctorReport(
        SCHEMA,
        verdict,
        code,
        machine_facts(pm_qos=qos),
        file or "embedded default",
        tuple(note.instance for note in notes),
        cores,
        needs,
        findings,
        activity,
        measured,
        grade(measured, subject.pinned),
        proposal,
    )


def watch(
    host: Host, cores: Sequence[int], seconds: float, own: frozenset[int], *, spin: bool
) -> tuple[Measured, Activity]:
    """Watch the machine for a while, spinning on every core meanwhile unless an engine trades on them.

    Args:
        host: the reader.
        cores: which to spin on.
        seconds: how long.
        own: processes that do not count as others.
        spin: whether to measure hiccups.
    """
    measured = Measured()
    before = look(host)
    if spin:
        measured = Measured(hiccups=measure_hiccups(cores, seconds))
    else:
        time.sleep(seconds)
    return measured, between(before, look(host), own)


def measure_between(measured: Measured, pinned: Sequence[int]) -> tuple[Measured, str]:
    """Wake-ups, timers, cache lines and costs on the proposed cores; PM QoS is held meanwhile and given back.

    Returns:
        The figures completed, and whether PM QoS could be held.
    """
    clock_ns, syscall_ns = measure_costs(pinned[-1])
    others = pinned[1 : 1 + PAIRS_MAX]
    pairs = tuple(measure_pair(pinned[0], other) for other in others)
    timings: list[Timing] = []
    timings += [measure_timer(pinned[-1], tight=tight, held=False) for tight in (False, True)]
    qos = PmQos()
    try:
        for held in (False, True):
            if held and not qos.hold():
                break
            if len(pinned) > 1:
                timings += _wakes(pinned, held=held)
        state = qos.describe()
    finally:
        qos.release()
    return (
        replace(measured, timings=tuple(timings), pairs=pairs, clock_ns=clock_ns, syscall_ns=syscall_ns),
        state,
    )


def _wakes(pinned: Sequence[int], *, held: bool) -> list[Timing]:
    first, last = pinned[0], pinned[-1]
    qos = "PM QoS held" if held else "PM QoS not held"
    return [
        measure_wake((first, last), f"core {first} → {last}, {qos}", held=held),
        measure_wake((None, None), f"where the scheduler likes, {qos}", held=held, what="wake unpinned"),
    ]
