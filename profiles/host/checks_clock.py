"""Checks of time: the clock source, its agreement between cores, timers, the wall clock."""

from __future__ import annotations

from profiles.host.findings import (
    NOT_MEASURED,
    NOT_WATCHED,
    Outcome,
    Subject,
    advice,
    check,
    ok,
    unfit,
    unknown,
)

SOURCE = "sys/devices/system/clocksource/clocksource0"
FAST = ("tsc", "arch_sys_counter")
# Read without a system call, but by a page that the hypervisor keeps.
PARAVIRTUAL = ("kvm-clock", "hyperv_clocksource_tsc_page", "xen")
SLOW_READ_NS = 100.0
OFFSET_ADVICE_NS = 1_000_000
# Venues refuse a request whose stamp is a second ahead of theirs.
OFFSET_UNFIT_NS = 1_000_000_000
STEP_NS = 1_000_000
SLACK_NS = 1_000
KEEPERS = ("chronyd", "ntpd", "ntpsec", "systemd-timesyn", "openntpd", "ptp4l", "phc2sys")


@check(
    "clock.source",
    "clock source",
    "Every stamp is a clock read: 20 ns with tsc, a µs and a lock with hpet.",
    1,
)
def clock_source(subject: Subject) -> Outcome:
    """The kernel's current clock source and what a read costs."""
    name = subject.host.text(f"{SOURCE}/current_clocksource")
    available = subject.host.get(f"{SOURCE}/available_clocksource")
    cost = subject.measured.clock_ns
    value = name + (f", a read costs {cost:.0f} ns" if cost is not None else "")
    fix = f"echo tsc > /{SOURCE}/current_clocksource (kernel parameter clocksource=tsc tsc=reliable)"
    if name in FAST and (cost is None or cost <= SLOW_READ_NS):
        return ok(value)
    if name in FAST:
        return advice(
            value, "reads are not answered in user space here: no seccomp or time namespace around the engine"
        )
    if name in PARAVIRTUAL:
        return advice(value, fix) if "tsc" in available.split() else ok(f"{value}; tsc is not offered")
    return unfit(value, fix)


@check(
    "clock.cores",
    "clocks of the cores",
    "Hops between workers are differences of stamps taken on two cores.",
    1,
)
def core_clocks(subject: Subject) -> Outcome:
    """Whether the monotonic clock of one core ever runs behind another's."""
    if not subject.measured.pairs:
        return unknown(NOT_MEASURED)
    worst = max(subject.measured.pairs, key=lambda p: (p.violations, abs(p.clock_offset_ns)))
    where = f"{worst.cores[0]} and {worst.cores[1]}"
    if worst.violations:
        return unfit(
            f"time ran backward {worst.violations} times between cores {where}",
            "kernel parameter clocksource=hpet until the firmware is repaired; do not trade on this machine",
        )
    return ok(f"agree (cores {where}: {worst.clock_offset_ns:+d} ns, within half a round trip)")


@check("clock.timers", "timer slack", "A sleep may end that much later, so that wake-ups can be joined.", 3)
def timer_slack(subject: Subject) -> Outcome:
    """The slack this process was given."""
    slack = subject.host.number("proc/self/timerslack_ns")
    late = {"1 ns" in t.setting: t for t in subject.measured.timings if t.what == "timer" and not t.held}
    value = f"{slack / 1000:.0f} µs"
    if late.get(True) and late.get(False):
        value += (
            f": a sleep ends {late[False].ns_p50 / 1000:.0f} µs late, {late[True].ns_p50 / 1000:.0f} at 1 ns"
        )
    # Workers set their own to 1 ns; what is started beside them does not.
    return ok(f"{value}; workers take 1 ns" if slack > SLACK_NS else value)


@check(
    "clock.sync",
    "wall clock",
    "Venues refuse orders whose stamp is off, and report ages against their clock.",
    1,
)
def wall_clock(subject: Subject) -> Outcome:
    """Whether the wall clock is disciplined, and how far off it is."""
    state = subject.host.clock()
    offset_ms = state.offset_ns / 1e6
    keepers = [name for name in subject.host.process_names() if name in KEEPERS]
    by = f" by {keepers[0]}" if keepers else ""
    fix = "systemctl enable --now chronyd (timedatectl set-ntp true)"
    if abs(state.offset_ns) >= OFFSET_UNFIT_NS:
        return unfit(f"off by {offset_ms:+,.1f} ms", fix)
    if abs(state.offset_ns) >= OFFSET_ADVICE_NS:
        return advice(
            f"off by {offset_ms:+,.1f} ms, being corrected{by}", f"wait until it is corrected; {fix}"
        )
    if not state.synchronized:
        return advice(f"not synchronized, error unknown{f' ({keepers[0]} runs)' if keepers else ''}", fix)
    return ok(f"synchronized{by}, error below {state.max_error_ns / 1e6:,.1f} ms")


@check(
    "clock.step",
    "steps of the wall clock",
    "A step makes ages and time-outs against the venue's clock wrong.",
)
def wall_step(subject: Subject) -> Outcome:
    """Whether the wall clock was set while the machine was watched."""
    if subject.activity is None:
        return unknown(NOT_WATCHED)
    step = subject.activity.wall_step_ns
    if abs(step) < STEP_NS:
        return ok(f"none in {subject.activity.elapsed_s:.0f} s")
    return advice(
        f"moved by {step / 1e6:+,.1f} ms in {subject.activity.elapsed_s:.0f} s",
        "let chrony slew instead of step (makestep 1 3), and run one time service only",
    )


CHECKS = (clock_source, core_clocks, wall_clock, wall_step, timer_slack)
