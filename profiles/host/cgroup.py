"""The limits of the control group this process is in, of both versions of the interface.

Source: Linux `Documentation/admin-guide/cgroup-v2.rst` and `Documentation/scheduler/sched-bwc.rst`. A limit
of any ancestor binds, so each is looked for from the own group up to the root.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from profiles.host.reader import Host, Unreadable

MOUNT = "sys/fs/cgroup"
# Version 1 says "no limit" by a number near the largest.
NO_LIMIT = 1 << 60


@dataclass(frozen=True, slots=True)
class CpuQuota:
    """CPU time per period.

    Attributes:
        cores: quota over period.
        period_ms: after how long a used-up quota is renewed.
    """

    cores: float
    period_ms: float


def _folders(host: Host, controller: str) -> Iterator[str]:
    """Folders of the own group and its ancestors that may hold the files of a controller."""
    for line in host.get("proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if number == "0":
            mounts = [MOUNT, f"{MOUNT}/unified"]
        elif controller in names.split(","):
            mounts = [f"{MOUNT}/{names}", f"{MOUNT}/{controller}"]
        else:
            continue
        # In a namespace of its own a group above the root is written with dots.
        parts = [p for p in path.split("/") if p and p != ".."]
        for mount in mounts:
            for i in range(len(parts), -1, -1):
                yield "/".join([mount, *parts[:i]])


def read_cpu_quota(host: Host) -> CpuQuota | None:
    """The tightest CPU quota in force, None when there is none."""
    found: list[CpuQuota] = []
    for folder in _folders(host, "cpu"):
        words = host.get(f"{folder}/cpu.max").split()
        if len(words) != 2:
            words = [
                host.get(f"{folder}/cpu.cfs_quota_us", "-1"),
                host.get(f"{folder}/cpu.cfs_period_us", "0"),
            ]
        if words[0].isdigit() and words[1].isdigit() and int(words[1]):
            found.append(CpuQuota(int(words[0]) / int(words[1]), int(words[1]) / 1000))
    return min(found, key=lambda q: q.cores, default=None)


def read_throttled(host: Host) -> int | None:
    """How often the group's quota was used up so far, None when no group counts it."""
    counts = []
    for folder in _folders(host, "cpu"):
        for line in host.get(f"{folder}/cpu.stat").splitlines():
            name, _, value = line.partition(" ")
            if name == "nr_throttled" and value.isdigit():
                counts.append(int(value))
    return sum(counts) if counts else None


def read_memory_limit(host: Host) -> tuple[int, int] | None:
    """The tightest memory limit and what is used of it, in bytes; None when there is none."""
    found: list[tuple[int, int]] = []
    for folder in _folders(host, "memory"):
        for limit_file, used_file in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            try:
                limit = host.number(f"{folder}/{limit_file}")
            except Unreadable:
                continue
            used = host.get(f"{folder}/{used_file}", "0")
            if limit < NO_LIMIT:
                found.append((limit, int(used) if used.isdigit() else 0))
    return min(found, key=lambda f: f[0] - f[1], default=None)
