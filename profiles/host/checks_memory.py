"""Checks of memory: shared memory, pages, swap, what may be locked, what the control group allows."""

from __future__ import annotations

import re

from profiles.host.cgroup import read_memory_limit
from profiles.host.findings import Outcome, Subject, advice, check, ok, unfit, unknown
from profiles.host.reader import MIB, Host, Unreadable
from shm.mapping import huge_advice

# Where POSIX shared memory stands on Linux.
SHM = "/dev/shm"  # noqa: S108
THP = "sys/kernel/mm/transparent_hugepage"
SWAPPY = 10
CAP_IPC_LOCK = 14
# From here on the engine turns pages into huge ones by itself (MADV_COLLAPSE).
COLLAPSE_KERNEL = (6, 1)


def mib(count: int) -> str:
    """Bytes for people."""
    return f"{count / MIB:,.0f} MiB" if count < 10 << 30 else f"{count / (1 << 30):,.0f} GiB"


def chosen(text: str) -> str:
    """The word in brackets of a kernel choice such as `always [madvise] never`."""
    match = re.search(r"\[(\w+)\]", text)
    return match[1] if match else text.strip()


def memory_info(host: Host, name: str) -> int:
    """A line of /proc/meminfo, in its own unit (kB or a count).

    Raises:
        Unreadable: there is none of that name.
    """
    for line in host.text("proc/meminfo").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise Unreadable("proc/meminfo", f"has no {name}")


def mount_of(host: Host, path: str) -> tuple[str, str, str]:
    """Mount point, file system and options of the mount that holds a path; empty when it is not known."""
    best = ("", "", "")
    for line in host.get("proc/self/mounts").splitlines():
        words = line.split()
        inside = len(words) > 3 and (path == words[1] or path.startswith(words[1].rstrip("/") + "/"))
        # Of two mounts at one place the later one counts.
        if inside and len(words[1]) >= len(best[0]):
            best = (words[1], words[2], words[3])
    return best


@check("memory.shm", SHM, "All segments of a run must fit; they are reserved before anything starts.", 1)
def shm_space(subject: Subject) -> Outcome:
    """Room for the segments of the configuration, twice over."""
    space = subject.host.space(SHM)
    need = subject.needs.shm_bytes
    value = f"{mib(space.free)} free of {mib(space.total)}, this configuration needs {mib(need)}"
    fix = f"mount -o remount,size={max(1, -(-4 * need // MIB))}M {SHM} (docker: --shm-size)"
    if space.free < need:
        return unfit(value, fix)
    return advice(value, fix) if space.free < 2 * need else ok(value)


@check(
    "memory.limit",
    "memory limit of the group",
    "Beyond the limit the kernel kills a process of the group.",
    1,
)
def memory_limit(subject: Subject) -> Outcome:
    """Room for segments and processes under the control group's limit."""
    found = read_memory_limit(subject.host)
    if found is None:
        return ok("none")
    limit, used = found
    need = subject.needs.memory_bytes
    value = f"{mib(limit)}, {mib(used)} used, this configuration needs about {mib(need)}"
    fix = f"MemoryMax={max(1, 2 * need // MIB)}M in the unit (docker: --memory)"
    if limit - used < need:
        # The page cache counts as used but is given back under pressure.
        return unfit(value, fix) if limit < need else advice(value, fix)
    return ok(value)


@check("memory.swap", "swap", "A page that was swapped out costs milliseconds when it is touched.")
def swap(subject: Subject) -> Outcome:
    """No swap, or hardly any use of it."""
    devices = [line.split()[0] for line in subject.host.text("proc/swaps").splitlines()[1:] if line.strip()]
    if not devices:
        return ok("none")
    swappiness = subject.host.number("proc/sys/vm/swappiness")
    value = f"on ({', '.join(devices)}), swappiness {swappiness}"
    if subject.needs.lock_memory:
        if may_lock(subject.host):
            return ok(f"{value}; locked memory stays")
        return unfit(
            f"{value}; machine.lock_memory is asked for and not permitted",
            "LimitMEMLOCK=infinity in the unit, or swapoff -a",
        )
    if swappiness <= SWAPPY:
        return ok(value)
    return advice(value, "swapoff -a (or sysctl -w vm.swappiness=1, or lock_memory = true under [machine])")


def may_lock(host: Host) -> bool:
    """Whether all memory may be locked; a finite limit does not do, for what is mapped later would fail."""
    return host.capability(CAP_IPC_LOCK) or limit_of(host, "Max locked memory") == float("inf")


def limit_of(host: Host, name: str) -> float:
    """A soft limit of this process; infinite when there is none.

    Raises:
        Unreadable: the kernel does not list it.
    """
    for line in host.text("proc/self/limits").splitlines():
        if line.startswith(name):
            soft = line.removeprefix(name).split()[0]
            return float("inf") if soft == "unlimited" else float(soft)
    raise Unreadable("proc/self/limits", f"has no {name!r}")


@check(
    "memory.lock",
    "memory that may be locked",
    "Locked memory is never moved out; under a finite limit what is mapped later would fail.",
)
def memlock(subject: Subject) -> Outcome:
    """The memlock limit against the segments of the configuration."""
    if may_lock(subject.host):
        return ok("unlimited")
    limit = limit_of(subject.host, "Max locked memory")
    asked = "; machine.lock_memory will not be held" if subject.needs.lock_memory else ""
    return advice(
        f"{limit / 1024:,.0f} KiB{asked}", "LimitMEMLOCK=infinity in the unit (shell: ulimit -l unlimited)"
    )


@check(
    "memory.thp",
    "transparent huge pages",
    "With `always` the kernel compacts memory inside a page fault: stalls of ms.",
)
def thp(subject: Subject) -> Outcome:
    """Huge pages only where they are asked for."""
    setting = chosen(subject.host.text(f"{THP}/enabled"))
    defrag = chosen(subject.host.get(f"{THP}/defrag"))
    value = f"enabled={setting}, defrag={defrag or 'unknown'}"
    if setting == "always":
        return advice(value, f"echo madvise > /{THP}/enabled (kernel parameter transparent_hugepage=madvise)")
    if defrag == "always":
        return advice(value, f"echo madvise > /{THP}/defrag")
    return ok(value)


@check(
    "memory.huge",
    "huge pages for segments",
    "Large segments in 4 KiB pages miss the translation cache at every book.",
    3,
)
def huge_pages(subject: Subject) -> Outcome:
    """Whether /dev/shm gives huge pages, when the segments are large enough to gain by it."""
    host = subject.host
    options = mount_of(host, SHM)[2]
    huge = next((o.partition("=")[2] for o in options.split(",") if o.startswith("huge=")), "never")
    shmem = chosen(host.get(f"{THP}/shmem_enabled", "unknown"))
    reserved = f"{memory_info(host, 'HugePages_Free')} of {memory_info(host, 'HugePages_Total')}"
    value = f"{SHM} huge={huge}, shmem_enabled={shmem}, reserved pages free: {reserved}"
    major, minor = (int(n) for n in host.text("proc/sys/kernel/osrelease").split("-")[0].split(".")[:2])
    fix = huge_advice(host.get("proc/self/mounts"), host.get(f"{THP}/shmem_enabled"))
    if shmem != "deny" and ((major, minor) >= COLLAPSE_KERNEL or huge != "never" or shmem == "force"):
        return ok(value)
    if subject.needs.huge_required:
        return unfit(f'{value}; machine.huge_pages = "require"', fix)
    return advice(value, fix)


@check(
    "memory.khugepaged",
    "khugepaged",
    "The daemon that makes huge pages locks the address space it works on.",
    3,
)
def khugepaged(subject: Subject) -> Outcome:
    """How eagerly memory is joined in the background."""
    folder = f"{THP}/khugepaged"
    if not subject.host.exists(folder):
        return unknown(f"no /{folder}")
    pages = subject.host.number(f"{folder}/pages_to_scan")
    sleep_ms = subject.host.number(f"{folder}/scan_sleep_millisecs")
    value = f"{pages} pages every {sleep_ms} ms"
    if chosen(subject.host.get(f"{THP}/enabled")) == "always" and sleep_ms < 1000:
        return advice(value, f"echo 60000 > /{folder}/scan_sleep_millisecs")
    return ok(value)


@check(
    "memory.numa_balancing",
    "NUMA balancing",
    "The kernel unmaps pages to see who uses them: each is a fault in the hot path.",
)
def numa_balancing(subject: Subject) -> Outcome:
    """Automatic balancing, which matters with more than one node."""
    nodes = [n for n in subject.host.names("sys/devices/system/node") if n[4:].isdigit()]
    if not subject.host.exists("proc/sys/kernel/numa_balancing"):
        return ok("not in this kernel")
    on = subject.host.number("proc/sys/kernel/numa_balancing") != 0
    if on and len(nodes) > 1:
        return advice("on", "sysctl -w kernel.numa_balancing=0")
    return ok("on, but there is one node" if on else "off")


CHECKS = (
    shm_space, memory_limit, swap, memlock, thp, huge_pages, khugepaged, numa_balancing,
)  # fmt: skip
