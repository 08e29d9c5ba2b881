"""Checks of what else uses the machine: processes, interrupts; and of network, disk and interpreter."""

from __future__ import annotations

import sys
import sysconfig
from collections import defaultdict
from importlib import metadata

from profiles.host.checks_memory import mib, mount_of
from profiles.host.findings import NOT_WATCHED, Outcome, Subject, advice, check, ok, unfit, unknown
from profiles.host.measured import time_text
from profiles.host.reader import MIB, format_list

BUSY_SHARE = 0.05
SHOWN = 3
# Each takes the core for 1 to 5 µs: at a thousand a second that is 0.5 %.
IRQ_ADVICE_PER_S = 1_000
IRQ_STORM_PER_S = 20_000
# Timer ticks come at most 1000 times a second; calls from other cores are a sign of what runs there.
TICK = "LOC"
RMEM_BYTES = 4 * MIB
FSYNC_SLOW_NS = 50_000_000
REMOTE = ("nfs", "nfs4", "cifs", "fuse", "9p", "ceph")
PACKAGES = ("uvloop", "picows", "orjson", "numpy", "pydantic")


@check(
    "neighbors.processes",
    "busy processes",
    "Whatever else runs on a worker's core makes that worker wait.",
    1,
)
def processes(subject: Subject) -> Outcome:
    """Processes that used a core which workers would use."""
    if subject.activity is None:
        return unknown(NOT_WATCHED)
    rivals = [b for b in subject.activity.busy if b.core in subject.pinned and b.share >= BUSY_SHARE]
    if not rivals:
        return ok("none")
    value = ", ".join(
        f"pid {b.pid} {b.name} on core {b.core} ({b.share * 100:.0f} % of a core)" for b in rivals[:SHOWN]
    )
    if len(rivals) > SHOWN:
        value += f" and {len(rivals) - SHOWN} more"
    free = [c for c in subject.cores if c not in subject.pinned]
    mine = [b for b in rivals if not b.kernel][:SHOWN]
    if not mine:
        return advice(value, "kernel threads: isolate the cores, or find the driver that keeps them busy")
    if free:
        return advice(value, "; ".join(f"taskset -acp {format_list(free)} {b.pid}" for b in mine))
    return advice(value, "; ".join(f"stop it, or renice -n 19 -p {b.pid}" for b in mine[:1]))


@check(
    "neighbors.interrupts", "interrupts", "Each interrupt takes its core for some µs, whatever runs there.", 1
)
def interrupts(subject: Subject) -> Outcome:
    """Interrupts per second that came to the cores of the workers."""
    if subject.activity is None:
        return unknown(NOT_WATCHED)
    mine = [i for i in subject.activity.irqs if i.core in subject.pinned]
    total: dict[int, float] = defaultdict(float)
    for rate in mine:
        total[rate.core] += rate.per_s
    rates = ", ".join(f"core {core} {per_s:,.0f}/s" for core, per_s in sorted(total.items())) or "none"
    loud = [i for i in mine if i.irq != TICK and i.per_s >= IRQ_ADVICE_PER_S]
    if not loud:
        return ok(rates)
    worst = loud[0]
    label = (
        f"irq {worst.irq} ({worst.name})" if worst.of_device else f"{worst.irq} ({worst.name or 'kernel'})"
    )
    storm = "a storm: " if worst.per_s >= IRQ_STORM_PER_S else ""
    value = f"{storm}{label} {worst.per_s:,.0f}/s on core {worst.core}; {rates}"
    if not worst.of_device:
        return advice(value, "sent by work on other cores: stop it or isolate the cores")
    free = [c for c in subject.cores if c not in subject.pinned] or [
        c for c in subject.cores if c != worst.core
    ]
    return advice(value, f"echo {format_list(free)} > /proc/irq/{worst.irq}/smp_affinity_list")


@check(
    "neighbors.irqbalance",
    "irqbalance",
    "It moves interrupts onto any core that is not banned, at any time.",
    3,
)
def irqbalance(subject: Subject) -> Outcome:
    """Whether the daemon runs."""
    pid = subject.host.process_names().get("irqbalance")
    if pid is None:
        return ok("not running")
    if len(subject.cores) <= subject.needs.pinned:
        return ok(f"running (pid {pid}); there is no core to keep it from")
    return advice(
        f"running (pid {pid})",
        f"IRQBALANCE_BANNED_CPULIST={format_list(subject.pinned)} in /etc/default/irqbalance",
    )


@check(
    "network.buffers",
    "socket buffers",
    "A burst that does not fit the receive buffer closes the window: the feed lags by a round trip.",
)
def socket_buffers(subject: Subject) -> Outcome:
    """How far receive buffers may grow by themselves."""
    words = subject.host.text("proc/sys/net/ipv4/tcp_rmem").split()
    largest = int(words[2])
    auto = subject.host.get("proc/sys/net/ipv4/tcp_moderate_rcvbuf", "1") != "0"
    cap = subject.host.get("proc/sys/net/core/rmem_max", "unknown")
    value = f"grow to {mib(largest)}{'' if auto else ', but autotuning is off'}, rmem_max {cap}"
    if not auto:
        return advice(value, "sysctl -w net.ipv4.tcp_moderate_rcvbuf=1")
    if largest < RMEM_BYTES:
        return advice(value, f'sysctl -w net.ipv4.tcp_rmem="{words[0]} {words[1]} {2 * RMEM_BYTES}"')
    return ok(value)


@check(
    "network.idle",
    "connections after a pause",
    "With slow start after idle the first burst of orders waits for a round trip.",
    3,
)
def slow_start(subject: Subject) -> Outcome:
    """Whether an idle connection forgets its window."""
    if subject.host.number("proc/sys/net/ipv4/tcp_slow_start_after_idle") == 0:
        return ok("keep their window")
    return advice("start slowly again", "sysctl -w net.ipv4.tcp_slow_start_after_idle=0")


@check(
    "disk.state",
    "state directory",
    "Journals are mapped files there; they are the memory of what was sent.",
    1,
)
def state_directory(subject: Subject) -> Outcome:
    """File system, room and sync time of the state directory."""
    folder, need = subject.needs.state_dir, subject.needs.disk_bytes
    space = subject.host.space(folder)
    _, kind, _ = mount_of(subject.host, folder)
    fsync = subject.measured.fsync_ns_max
    value = f"{folder}: {kind or 'unknown'}, {mib(space.free)} free"
    if fsync is not None:
        value += f", slowest fsync of ten {time_text(fsync)}"
    if space.free < need:
        return unfit(f"{value}, {mib(need)} needed", f"--state on a file system with {mib(2 * need)} free")
    if kind.partition(".")[0] in REMOTE:
        return advice(value, "--state on a local disk: a mapped journal stalls with the network")
    if kind in ("tmpfs", "ramfs"):
        return advice(value, "--state on a disk: this one is empty after a reboot")
    if fsync is not None and fsync > FSYNC_SLOW_NS:
        return advice(value, "--state on a local NVMe disk: starting and closing a journal waits for it")
    return ok(value)


@check(
    "python.build",
    "Python",
    "An interpreter built for debugging or without profile guidance is 10 % to 300 % slower.",
)
def python_build(_subject: Subject) -> Outcome:
    """How this interpreter was built and started."""
    version = ".".join(map(str, sys.version_info[:3]))
    arguments = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    faults = []
    if sysconfig.get_config_var("Py_DEBUG"):
        faults.append("a debug build")
    if sys.flags.dev_mode:
        faults.append("started with -X dev")
    if sys.gettrace() is not None:
        faults.append("traced")
    if not faults and arguments and "--enable-optimizations" not in arguments:
        return advice(
            f"{version}, built without --enable-optimizations",
            "a distribution's Python, or configure with it (pyenv: PYTHON_CONFIGURE_OPTS)",
        )
    if faults:
        return advice(f"{version}, {', '.join(faults)}", "a release build, started plainly")
    return ok(version)


@check("python.packages", "packages", "Figures belong to versions.", 3)
def packages(_subject: Subject) -> Outcome:
    """Versions of what stands in the hot path."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            return advice(f"{name} is missing", f"pip install {name}")
    return ok(", ".join(found))


CHECKS = (
    processes, interrupts, irqbalance, socket_buffers, slow_start, state_directory, python_build, packages,
)  # fmt: skip
