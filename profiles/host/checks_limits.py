"""Checks of what this process is allowed: CPU quota, descriptors, priorities, profilers."""

from __future__ import annotations

from profiles.host.cgroup import read_cpu_quota
from profiles.host.checks_memory import limit_of
from profiles.host.findings import Outcome, Subject, advice, check, ok, unfit
from profiles.host.reader import format_list, parse_list

CAP_SYS_NICE = 23
CAP_SYS_PTRACE = 19
CAP_PERFMON = 38
NOFILE_COMFORT = 4_096
PARANOID_USER = 2


@check(
    "limits.quota",
    "CPU quota",
    "A group that used up its quota stands still for the rest of the period, often 100 ms.",
    1,
)
def cpu_quota(subject: Subject) -> Outcome:
    """The control group's quota against the cores that spin and the housekeeping."""
    quota = read_cpu_quota(subject.host)
    throttled = subject.activity.throttled if subject.activity is not None else None
    if quota is None:
        return ok("none")
    value = f"{quota.cores:g} cores per {quota.period_ms:g} ms"
    if throttled:
        value += f", used up {throttled} times while watched"
    fix = "remove CPUQuota= from the unit (docker: no --cpus; use --cpuset-cpus)"
    if quota.cores < subject.needs.pinned:
        return unfit(f"{value}, {subject.needs.pinned} workers want a core each", fix)
    return advice(value, fix)


@check("limits.cores", "cores allowed", "Each worker on the hot path wants a core of its own.", 1)
def allowed(subject: Subject) -> Outcome:
    """Number of cores against the workers of the configuration."""
    online = parse_list(subject.host.get("sys/devices/system/cpu/online"))
    value = f"{format_list(subject.cores)} of {format_list(online) or 'unknown'}"
    if len(subject.cores) > subject.needs.pinned:
        return ok(value)
    fix = "AllowedCPUs= and CPUAffinity= in the unit (docker: --cpuset-cpus), or a larger machine"
    if len(subject.cores) < 2:
        return unfit(f"{value}: nothing can be pinned", fix)
    if len(subject.cores) < subject.needs.pinned:
        return advice(f"{value} for {subject.needs.pinned} workers: some share a core", fix)
    return advice(f"{value}: none is left for the rest of the machine", fix)


@check("limits.files", "open files", "Sockets, segments and doorbells are descriptors.")
def nofile(subject: Subject) -> Outcome:
    """The limit on descriptors."""
    limit = limit_of(subject.host, "Max open files")
    value = f"{limit:,.0f}"
    fix = "LimitNOFILE=65536 in the unit (shell: ulimit -n 65536)"
    if limit < subject.needs.descriptors:
        return unfit(f"{value}, {subject.needs.descriptors} needed", fix)
    return advice(value, fix) if limit < NOFILE_COMFORT else ok(value)


@check(
    "limits.realtime",
    "realtime priority",
    "SCHED_FIFO keeps ordinary processes off a core that is not isolated.",
    3,
)
def rtprio(subject: Subject) -> Outcome:
    """Whether SCHED_FIFO may be used, and how much of each second it gets."""
    limit = limit_of(subject.host, "Max realtime priority")
    may = limit > 0 or subject.host.capability(CAP_SYS_NICE)
    runtime_us = int(subject.host.get("proc/sys/kernel/sched_rt_runtime_us", "-1") or -1)
    share = "all of each period" if runtime_us < 0 else f"{runtime_us / 1000:g} ms of each period"
    asked = subject.needs.realtime
    if asked and not (subject.host.capability(CAP_SYS_NICE) or limit >= asked):
        return unfit(
            f"priority {limit:g} at most, machine.realtime = {asked}", f"LimitRTPRIO={asked} in the unit"
        )
    if not may:
        return advice("not permitted", "LimitRTPRIO=50 in the unit, only where SCHED_FIFO is asked for")
    return ok(f"permitted, runs {share}")


@check(
    "limits.core_dumps",
    "core dumps",
    "A dump holds API keys and keeps the successor waiting while it is written.",
    3,
)
def core_dumps(subject: Subject) -> Outcome:
    """Whether a crash writes the memory of a process to disk."""
    limit = limit_of(subject.host, "Max core file size")
    return ok("off") if limit == 0 else advice("on", "LimitCORE=0 in the unit (shell: ulimit -c 0)")


@check(
    "limits.ptrace", "attaching profilers", "py-spy reads a running worker only when the kernel lets it.", 3
)
def ptrace(subject: Subject) -> Outcome:
    """The scope of ptrace."""
    path = "proc/sys/kernel/yama/ptrace_scope"
    scope = subject.host.number(path) if subject.host.exists(path) else 0
    if scope == 0 or subject.host.capability(CAP_SYS_PTRACE):
        return ok(f"permitted (ptrace_scope {scope})")
    return advice(
        f"children only (ptrace_scope {scope})", "sudo for py-spy, or sysctl -w kernel.yama.ptrace_scope=0"
    )


@check("limits.perf", "performance counters", "perf shows cache misses and who took the core.", 3)
def perf(subject: Subject) -> Outcome:
    """Who may use performance counters."""
    level = subject.host.number("proc/sys/kernel/perf_event_paranoid")
    if level <= PARANOID_USER or subject.host.capability(CAP_PERFMON):
        return ok(f"permitted (perf_event_paranoid {level})")
    return advice(f"not permitted (perf_event_paranoid {level})", "sysctl -w kernel.perf_event_paranoid=1")


CHECKS = (cpu_quota, allowed, nofile, rtprio, core_dumps, ptrace, perf)
