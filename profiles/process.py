"""CPU time and memory of the engine's processes, read from outside by pid.

A restarted worker is several processes in one slot: what an earlier incarnation used is kept, so the
report accounts for the whole run.
"""

from __future__ import annotations

from dataclasses import dataclass

import psutil


@dataclass(slots=True)
class ProcessUse:
    """What the processes of one slot have used so far.

    Attributes:
        cpu_s: user and system time, in seconds, all incarnations.
        rss_bytes: resident memory at the last look.
        rss_bytes_max: largest resident memory seen.
        pss_bytes: proportional share (shared pages divided by their users) at the last look, 0 unknown.
        voluntary: voluntary context switches (a sleep each).
        involuntary: involuntary context switches (the core was taken away).
    """

    cpu_s: float = 0.0
    rss_bytes: int = 0
    rss_bytes_max: int = 0
    pss_bytes: int = 0
    voluntary: int = 0
    involuntary: int = 0


class ProcessSampler:
    """Keeps the use of each slot over the incarnations of its process."""

    def __init__(self) -> None:
        self._past: dict[int, ProcessUse] = {}
        self._now: dict[int, tuple[int, ProcessUse]] = {}

    def look(self, slot: int, pid: int, *, shares: bool = False) -> None:
        """Read the counters of one process; a process that is gone keeps its last reading.

        Args:
            slot: worker slot, or any stable key of the process.
            pid: process id; a new pid in the same slot is a new incarnation.
            shares: also read the proportional memory share, which costs about a millisecond.
        """
        known = self._now.get(slot)
        if known is not None and known[0] != pid:
            self._retire(slot)
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                times = process.cpu_times()
                memory = process.memory_info()
                switches = process.num_ctx_switches()
            pss = int(process.memory_full_info().pss) if shares else 0
        except psutil.Error:
            return
        if memory.rss == 0:  # a zombie: it has given everything back already
            return
        before = self._now[slot][1] if slot in self._now else ProcessUse()
        self._now[slot] = (
            pid,
            ProcessUse(
                cpu_s=times.user + times.system,
                rss_bytes=memory.rss,
                rss_bytes_max=max(memory.rss, before.rss_bytes_max),
                pss_bytes=pss or before.pss_bytes,
                voluntary=switches.voluntary,
                involuntary=switches.involuntary,
            ),
        )

    def _retire(self, slot: int) -> None:
        _, use = self._now.pop(slot)
        past = self._past.setdefault(slot, ProcessUse())
        past.cpu_s += use.cpu_s
        past.voluntary += use.voluntary
        past.involuntary += use.involuntary
        past.rss_bytes_max = max(past.rss_bytes_max, use.rss_bytes_max)

    def use(self, slot: int) -> ProcessUse:
        """What the slot has used over all its incarnations."""
        past = self._past.get(slot, ProcessUse())
        now = self._now[slot][1] if slot in self._now else ProcessUse()
        return ProcessUse(
            cpu_s=past.cpu_s + now.cpu_s,
            rss_bytes=now.rss_bytes,
            rss_bytes_max=max(past.rss_bytes_max, now.rss_bytes_max),
            pss_bytes=now.pss_bytes,
            voluntary=past.voluntary + now.voluntary,
            involuntary=past.involuntary + now.involuntary,
        )
