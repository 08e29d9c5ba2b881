"""The supervisor's steady look at its children: heartbeats, processor time, watchdog."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence

from engine.config import EngineConfig
from engine.liveness import LivenessWatch
from engine.processes import Child
from engine.reporting import SUPERVISOR_SLOT
from engine.run_segments import RunSegments
from engine.sdnotify import Notifier
from profiles.process import ProcessSampler
from shm.clock import now_ns
from shm.enums import WorkerState

SAMPLE_NS = 5_000_000_000
WATCHED = frozenset({WorkerState.RUNNING, WorkerState.STALLED})


class Watcher:
    """Looks at heartbeats when one may be too old; tells stalls, kills what stays stalled, samples processes.

    Args:
        config: heartbeat and stall limits.
        sampler: gets the process readings.
        notifier: gets the watchdog's word while this loop runs.
        on_event: called with one line per thing worth telling.
    """

    def __init__(
        self,
        config: EngineConfig,
        sampler: ProcessSampler,
        notifier: Notifier,
        on_event: Callable[[str], None],
    ) -> None:
        self._liveness = LivenessWatch(config.heartbeat_ms * 1_000_000)
        self._stall_limit_ns = int(config.stall_restart_s * 1e9)
        self._sampler = sampler
        self._notifier = notifier
        self._on_event = on_event

    def forget(self, slot: int) -> None:
        """A worker's process is about to be replaced: its old heartbeat says nothing."""
        self._liveness.forget(slot)

    async def run(self, children: Sequence[Child], segments: RunSegments) -> None:
        """Watch until canceled."""
        sample_due = watchdog_due = 0
        while True:
            now = now_ns()
            segments.control.supervisor_heartbeat_ns = now
            due = self.look(children, segments, now)
            if now >= sample_due:
                sample_due = now + SAMPLE_NS
                self.sample(children)
            if self._notifier.watchdog_ns and now >= watchdog_due:
                watchdog_due = now + self._notifier.watchdog_ns // 3
                self._notifier.watchdog()
            await asyncio.sleep(max(due - now_ns(), 0) / 1e9)

    def look(self, children: Sequence[Child], segments: RunSegments, now: int) -> int:
        """One look at the heartbeats; returns when the next one is due."""
        watched = {c.slot: c for c in children if c.slot > 0 and c.lifecycle.state in WATCHED}
        beats = {slot: segments.heartbeat_ns(slot) for slot in watched}
        for change in self._liveness.look(beats, now):
            child = watched[change.slot]
            child.lifecycle.to(WorkerState.STALLED if change.stalled else WorkerState.RUNNING)
            word = "stalled: no heartbeat for" if change.stalled else "beats again; last seen stalled, now"
            self._on_event(f"{child.name} (pid {child.pid}) {word} {change.age_ns / 1e6:.0f} ms")
        for slot, child in watched.items():
            stalled_ns = self._liveness.stalled_ns(slot, now)
            if self._stall_limit_ns and stalled_ns > self._stall_limit_ns:
                self._on_event(f"{child.name} (pid {child.pid}) stalled for {stalled_ns / 1e9:.1f} s: killed")
                self._liveness.forget(slot)
                child.kill()
        return self._liveness.next_look_ns(beats, now)

    def sample(self, children: Sequence[Child], *, shares: bool = False) -> None:
        """Read processor time and memory of every process of the run."""
        self._sampler.look(SUPERVISOR_SLOT, os.getpid(), shares=shares)
        for child in children:
            # A process that is ending has given its memory back already: keep the last reading.
            if child.is_running and child.lifecycle.state is not WorkerState.DRAINING:
                self._sampler.look(child.slot, child.pid, shares=shares)
