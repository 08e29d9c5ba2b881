"""What other than us happened on the machine between two looks: processes, interrupts, steal, throttling."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from profiles.host.cgroup import read_throttled
from profiles.host.reader import Host, Unreadable
from shm.clock import now_ns, utc_ns

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
BUSY_SHARE = 0.02
# Fields of /proc/PID/task/TID/stat after the command name; source: proc_pid_stat(5).
_STAT_PPID, _STAT_UTIME, _STAT_STIME, _STAT_PROCESSOR = 1, 11, 12, 36
KTHREADD = 2


@dataclass(frozen=True, slots=True)
class Busy:
    """A process that used a noticeable part of a core.

    Attributes:
        pid, name: which.
        core: where it ran most.
        share: of one core; 2.0 is two whole cores.
        kernel: whether it is a kernel thread.
    """

    pid: int
    name: str
    core: int
    share: float
    kernel: bool = False


@dataclass(frozen=True, slots=True)
class IrqRate:
    """How often one interrupt came to one core.

    Attributes:
        irq: its number or, of those without a device, its abbreviation (LOC, RES, TLB, …).
        name: the device.
        core, per_s: where and how often.
    """

    irq: str
    name: str
    core: int
    per_s: float

    @property
    def of_device(self) -> bool:
        """Whether a device raises it, so that it can be sent to another core."""
        return self.irq.isdigit()


@dataclass(frozen=True, slots=True)
class Activity:
    """The difference of two looks.

    Attributes:
        elapsed_s: time between them.
        busy: processes other than this one, busiest first.
        irqs: rates above zero, highest first.
        steal: by core, the share of time that the hypervisor gave to others.
        throttled: periods in which the group's CPU quota was used up, None when the group has none.
        wall_step_ns: how far the wall clock was moved against the monotonic one.
    """

    elapsed_s: float
    busy: tuple[Busy, ...] = ()
    irqs: tuple[IrqRate, ...] = ()
    steal: tuple[tuple[int, float], ...] = ()
    throttled: int | None = None
    wall_step_ns: int = 0

    def on_core(self, core: int) -> list[Busy]:
        """Busy processes that ran mostly on that core."""
        return [b for b in self.busy if b.core == core]


@dataclass(frozen=True, slots=True)
class Clocks:
    """The two clocks the looks are timed with; a test gives its own."""

    monotonic: Callable[[], int] = now_ns
    wall: Callable[[], int] = utc_ns


@dataclass(frozen=True, slots=True)
class Look:
    """The counters of the machine at one moment."""

    at_ns: int
    at_utc_ns: int
    # Thread → (process, name, processor, ticks used, kernel thread).
    threads: dict[int, tuple[int, str, int, int, bool]]
    irqs: dict[tuple[str, int], int]
    irq_names: dict[str, str]
    steal: dict[int, int]
    throttled: int | None


def look(host: Host, clocks: Clocks | None = None) -> Look:
    """Read all counters now; what can not be read is missing in it."""
    clocks = clocks or Clocks()
    irqs, names = _interrupts(host)
    # The clocks last and next to each other: what is read before takes milliseconds.
    threads, steal, throttled = _threads(host), _steal(host), read_throttled(host)
    return Look(clocks.monotonic(), clocks.wall(), threads, irqs, names, steal, throttled)


def between(before: Look, after: Look, own: frozenset[int] = frozenset()) -> Activity:
    """What happened from one look to the other.

    Args:
        before: the earlier look.
        after: the later one.
        own: process ids that are ours and do not count.
    """
    elapsed_ns = max(after.at_ns - before.at_ns, 1)
    seconds = elapsed_ns / 1e9
    irqs = [
        IrqRate(irq, after.irq_names.get(irq, ""), core, (count - before.irqs.get((irq, core), 0)) / seconds)
        for (irq, core), count in after.irqs.items()
        if count > before.irqs.get((irq, core), 0)
    ]
    steal = tuple(
        (core, max(ticks - before.steal.get(core, ticks), 0) * TICK_NS / elapsed_ns)
        for core, ticks in sorted(after.steal.items())
    )
    throttled = (
        None if after.throttled is None or before.throttled is None else after.throttled - before.throttled
    )
    return Activity(
        seconds,
        _busy(before, after, own, elapsed_ns),
        tuple(sorted(irqs, key=lambda i: -i.per_s)),
        steal,
        throttled,
        (after.at_utc_ns - before.at_utc_ns) - elapsed_ns,
    )


def _busy(before: Look, after: Look, own: frozenset[int], elapsed_ns: int) -> tuple[Busy, ...]:
    used: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    who: dict[int, tuple[str, bool]] = {}
    for tid, (pid, name, core, ticks, kernel) in after.threads.items():
        earlier = before.threads.get(tid)
        # A thread that was born in between has used all its time in between.
        since = ticks - (earlier[3] if earlier is not None and earlier[0] == pid else 0)
        if since > 0 and pid not in own:
            used[pid][core] += since
            if pid == tid or pid not in who:
                who[pid] = (name, kernel)
    found = [
        Busy(pid, who[pid][0], max(cores, key=cores.__getitem__), total, who[pid][1])
        for pid, cores in used.items()
        if (total := sum(cores.values()) * TICK_NS / elapsed_ns) >= BUSY_SHARE
    ]
    return tuple(sorted(found, key=lambda b: -b.share))


def _threads(host: Host) -> dict[int, tuple[int, str, int, int, bool]]:
    threads = {}
    for pid in host.processes():
        for tid in host.names(f"proc/{pid}/task"):
            text = host.get(f"proc/{pid}/task/{tid}/stat")
            # The name stands in parentheses and may hold any character, parentheses too.
            head, closed, tail = text.rpartition(")")
            fields = tail.split()
            if not closed or len(fields) <= _STAT_PROCESSOR:
                continue
            threads[int(tid)] = (
                pid,
                head.partition("(")[2],
                int(fields[_STAT_PROCESSOR]),
                int(fields[_STAT_UTIME]) + int(fields[_STAT_STIME]),
                KTHREADD in (pid, int(fields[_STAT_PPID])),
            )
    return threads


def _interrupts(host: Host) -> tuple[dict[tuple[str, int], int], dict[str, str]]:
    lines = host.get("proc/interrupts").splitlines()
    if not lines:
        return {}, {}
    cores = [int(word.removeprefix("CPU")) for word in lines[0].split()]
    counts: dict[tuple[str, int], int] = {}
    names: dict[str, str] = {}
    for line in lines[1:]:
        irq, _, rest = line.strip().partition(":")
        words = rest.split(maxsplit=len(cores))
        # ERR and MIS have one count for the machine.
        if len(words) < len(cores) or not all(w.isdigit() for w in words[: len(cores)]):
            continue
        for core, word in zip(cores, words, strict=False):
            counts[irq, core] = int(word)
        tail = words[len(cores)].strip() if len(words) > len(cores) else ""
        # Of a device's line, `IO-APIC 5-edge ttyS0`, the last word is the device.
        names[irq] = tail.split()[-1] if irq.isdigit() and tail else tail
    return counts, names


def _steal(host: Host) -> dict[int, int]:
    found = {}
    for line in host.get("proc/stat").splitlines():
        words = line.split()
        if words and words[0].startswith("cpu") and words[0] != "cpu" and len(words) > 8:
            found[int(words[0].removeprefix("cpu"))] = int(words[8])
    return found


def descendants(host: Host, pid: int) -> frozenset[int]:
    """A process and all its children, from the `children` lists the kernel keeps."""
    found = {pid}
    todo = [pid]
    while todo:
        parent = todo.pop()
        for tid in host.names(f"proc/{parent}/task"):
            try:
                children = host.text(f"proc/{parent}/task/{tid}/children")
            except Unreadable:
                continue
            new = {int(child) for child in children.split()} - found
            found |= new
            todo += new
    return frozenset(found)
