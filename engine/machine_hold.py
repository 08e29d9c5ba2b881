"""What a run holds of its machine, from before the first segment to after the last process."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from engine.config import MachineConfig
from engine.errors import StartError
from engine.machine import (
    HELD,
    NOT_ASKED,
    Limits,
    huge_fact,
    is_held,
    merge_facts,
    not_held,
    realtime_refusal,
)
from engine.numa import NumaPlacement, NumaTopology
from engine.placement import HOUSEKEEPING_ROLE
from engine.pm_qos import PmQos
from engine.run_segments import RunSegments
from engine.topology import Topology
from shm.mapping import huge_advice
from shm.segment import RunName


class MachineHold:
    """The machine facts of one run.

    Args:
        config: what is asked for.
        limits: of this process; None = read them.
        nodes: of this machine; None = read them.
    """

    def __init__(
        self, config: MachineConfig, *, limits: Limits | None = None, nodes: NumaTopology | None = None
    ) -> None:
        self.pm_qos = PmQos()
        self._config = config
        self._limits = limits
        self._nodes = nodes
        self._numa: NumaPlacement | None = None
        self._realtime = NOT_ASKED
        self._huge = NOT_ASKED
        self._workers: dict[str, Mapping[str, str]] = {}

    def begin(self) -> None:
        """Hold what needs no process: wake latency."""
        if self._config.pm_qos:
            self.pm_qos.hold()

    def plan(self, topology: Topology, allowed: Collection[int]) -> Topology:
        """The topology with real-time priorities, where they are asked for and may be.

        Raises:
            StartError: they may not be and are required; says which limit forbids it and how to raise it.
        """
        priority = self._config.realtime
        if not priority:
            return topology
        traders = [w for w in topology.workers if w.role != HOUSEKEEPING_ROLE and w.core is not None]
        limits = self._limits or Limits.read()
        refusal = realtime_refusal(priority, [w.core for w in traders], allowed, limits)
        if refusal:
            if self._config.realtime_required:
                raise StartError(
                    f"machine.realtime = {priority}: {refusal}; or realtime_required = false to run without"
                )
            self._realtime = not_held(refusal)
            return topology
        names = {w.name for w in traders}
        workers = tuple(
            replace(w, machine=replace(w.machine, realtime=priority)) if w.name in names else w
            for w in topology.workers
        )
        return replace(topology, workers=workers)

    def make_segments(self, run: RunName, topology: Topology) -> RunSegments:
        """Create the run's segments near their writers, in huge pages as far as there are any.

        Raises:
            SegmentError: as `RunSegments`.
            StartError: huge pages are required and a segment that fills one has none; says what to do.
        """
        policy = self._config.huge_pages
        cores = {w.slot: w.core for w in topology.workers}
        self._numa = NumaPlacement(
            self._nodes or NumaTopology.read(), cores, enabled=self._config.numa == "auto"
        )
        segments = RunSegments(run, topology, huge_pages=policy != "off", near=self._numa.near)
        big, in_huge = segments.huge_pages() if policy != "off" else ({}, {})
        self._huge = huge_fact(policy, big, in_huge, huge_advice())
        if policy == "require" and not all(in_huge.values()):
            segments.close()
            raise StartError(f'machine.huge_pages = "require": {self._huge}')
        return segments

    def on_ready(self, worker: str, facts: object) -> None:
        """A worker told what it got."""
        if isinstance(facts, Mapping):
            self._workers[worker] = {str(k): str(v) for k, v in facts.items()}

    def require(self, worker: str) -> None:
        """Check what must be held in a worker that is up; limits alone do not tell all (seccomp, cgroups).

        Raises:
            StartError: it may not run under SCHED_FIFO, and that is required.
        """
        fact = self._workers.get(worker, {}).get("realtime", HELD)
        if self._config.realtime_required and not is_held(fact):
            raise StartError(
                f"machine.realtime: worker {worker}: {fact}: is it forbidden by RestrictRealtime= of the "
                "service or by its cgroup? Or realtime_required = false to run without"
            )

    def refusals(self, worker: str) -> list[str]:
        """What a worker asked for and did not get, one line each."""
        facts = self._workers.get(worker, {})
        return [f"{k}: {v}" for k, v in facts.items() if not is_held(v) and v != NOT_ASKED]

    def facts(self) -> dict[str, str]:
        """Every fact by name: `held`, `held (detail)`, `held in part: …` or `not held (reason)`."""
        return {
            "pm_qos": self.pm_qos.describe(),
            "huge_pages": self._huge,
            "numa": NOT_ASKED if self._numa is None else self._numa.describe(),
            "realtime": self._realtime,
            **merge_facts(self._workers),
        }

    def release(self) -> None:
        """Give back what this process holds; safe to call twice."""
        self.pm_qos.release()
