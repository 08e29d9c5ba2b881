"""What the engine asks of the machine, what it got, and why not: memory, real-time priority, huge pages.

The supervisor decides before the first spawn, each worker does it to itself before its imports and says how
it went. Nothing here needs root where the limits allow it; every refusal names the limit and how to raise it.

Sources: mlockall(2), mallopt(3), sched(7), capabilities(7).
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

HELD = "held"
NOT_ASKED = "not held (not asked for)"
MIB = 1024 * 1024

# Numbers of <sys/mman.h>, <malloc.h>, <linux/capability.h>.
MCL_CURRENT_AND_FUTURE = 3
M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_MAX = -4
CAP_IPC_LOCK = 14
CAP_SYS_NICE = 23

RT_RUNTIME = Path("/proc/sys/kernel/sched_rt_runtime_us")


def held(detail: str = "") -> str:
    """A fact that is in force."""
    return f"{HELD} ({detail})" if detail else HELD


def not_held(reason: str) -> str:
    """A fact that is not in force, and why."""
    return f"not held ({reason})"


def is_held(fact: str) -> bool:
    """Whether a fact's text says that it is in force."""
    return fact.startswith(HELD)


def has_capability(number: int, status: str | None = None) -> bool:
    """Whether this process has a capability in force.

    Args:
        number: of <linux/capability.h>.
        status: text of /proc/self/status, None = read it.
    """
    text = Path("/proc/self/status").read_text() if status is None else status
    for line in text.splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


@dataclass(frozen=True, slots=True)
class Limits:
    """What this process may do.

    Attributes:
        memlock_bytes: most memory it may lock, None = any amount.
        rtprio: highest real-time priority it may take.
        rt_runtime_us: share of each second real-time tasks may have, in µs per s; -1 = all, 0 = none.
    """

    memlock_bytes: int | None
    rtprio: int
    rt_runtime_us: int

    @classmethod
    def read(cls) -> Limits:
        """The limits of this process, which its children inherit."""
        memlock = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
        free = memlock == resource.RLIM_INFINITY or has_capability(CAP_IPC_LOCK)
        rtprio = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
        any_priority = rtprio == resource.RLIM_INFINITY or has_capability(CAP_SYS_NICE)
        try:
            runtime = int(RT_RUNTIME.read_text())
        except (OSError, ValueError):
            runtime = -1
        return cls(None if free else memlock, 99 if any_priority else rtprio, runtime)


def memory_refusal(limits: Limits) -> str:
    """Why memory should not be locked, "" = it may.

    A finite limit is not tried: what is mapped beyond it later would fail in the middle of trading.
    """
    if limits.memlock_bytes is None:
        return ""
    return (
        f"RLIMIT_MEMLOCK is {limits.memlock_bytes // 1024} KiB and CAP_IPC_LOCK is missing: set "
        "LimitMEMLOCK=infinity in the service, or `USER - memlock unlimited` in /etc/security/limits.d"
    )


def realtime_refusal(
    priority: int, cores: Iterable[int | None], allowed: Collection[int], limits: Limits
) -> str:
    """Why workers should not run under SCHED_FIFO, "" = they may.

    Args:
        priority: asked for, 1 .. 99.
        cores: of the workers that would, None = not pinned.
        allowed: cores the engine may use.
        limits: of this process.
    """
    if limits.rtprio < priority:
        return (
            f"RLIMIT_RTPRIO is {limits.rtprio}, {priority} is asked for and CAP_SYS_NICE is missing: set "
            f"LimitRTPRIO={priority} in the service, or `USER - rtprio {priority}` in /etc/security/limits.d"
        )
    pinned = {core for core in cores if core is not None}
    if len(allowed) < 2 or not pinned:
        return "the workers share the only core with housekeeping, which a busy one would starve"
    if limits.rt_runtime_us == 0:
        return f"{RT_RUNTIME} is 0: real-time tasks get no time at all"
    if limits.rt_runtime_us < 0 and pinned >= set(allowed):
        return (
            f"{RT_RUNTIME} is -1 and every allowed core has a real-time worker: nothing would be left to "
            "supervisor and housekeeping (950000 leaves them 5 %, or allow one core more)"
        )
    return ""


def lock_memory(limits: Limits, heap_mib: int) -> str:
    """Lock all memory of this process, now and later, with some heap in advance; returns the fact.

    Args:
        limits: of this process.
        heap_mib: MiB of heap that are touched at once and never given back to the kernel.
    """
    refusal = memory_refusal(limits)
    if refusal:
        return not_held(refusal)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(MCL_CURRENT_AND_FUTURE) != 0:
        return not_held(f"mlockall: {os.strerror(ctypes.get_errno())}")
    if heap_mib and _grow_heap(libc, heap_mib * MIB):
        return held(f"{heap_mib} MiB of heap touched in advance")
    return held()


def _grow_heap(libc: ctypes.CDLL, size: int) -> bool:
    """Take heap from the kernel now, so that no later allocation must; False where malloc is not glibc's."""
    try:
        mallopt = libc.mallopt
    except AttributeError:
        return False
    # From the heap, not from a mapping of its own, and kept when freed.
    if not (mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1) and mallopt(M_TOP_PAD, MIB)):
        return False
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    block = libc.malloc(size)
    if not block:
        return False
    ctypes.memset(block, 1, size)
    libc.free(block)
    return True


def take_realtime(priority: int) -> str:
    """Run this process, not what it starts, under SCHED_FIFO; returns the fact."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
    except OSError as error:
        return not_held(f"sched_setscheduler: {error.strerror}")
    return held(f"SCHED_FIFO {priority}")


def merge_facts(by_worker: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """One line per fact from what each worker said.

    Args:
        by_worker: by worker name its facts.

    Returns:
        By fact the text all agree on, or who has what.
    """
    names = dict.fromkeys(fact for facts in by_worker.values() for fact in facts)
    merged = {}
    for name in names:
        texts: dict[str, list[str]] = {}
        for worker, facts in by_worker.items():
            if name in facts:
                texts.setdefault(facts[name], []).append(worker)
        if len(texts) == 1:
            merged[name] = next(iter(texts))
        else:
            told = "; ".join(f"{', '.join(workers)}: {text}" for text, workers in texts.items())
            merged[name] = f"{HELD} in part: {told}" if any(map(is_held, texts)) else f"not held: {told}"
    return merged


def huge_fact(policy: str, big: Mapping[str, int], in_huge: Mapping[str, int], advice: str) -> str:
    """The fact of huge pages.

    Args:
        policy: "auto", "off" or "require".
        big: size in bytes of each segment that fills a huge page, by name.
        in_huge: how much of it is in huge pages.
        advice: what to do where there are none.
    """
    if policy == "off":
        return not_held("off")
    if not big:
        return held("no segment fills a huge page")
    got = sum(in_huge.values())
    without = [name for name in big if not in_huge.get(name)]
    amount = f"{got / MIB:.0f} of {sum(big.values()) / MIB:.1f} MiB"
    if not without:
        return held(amount)
    text = f"{amount}; none for {', '.join(without)}: {advice}"
    return f"{HELD} in part ({text})" if got else not_held(text)
