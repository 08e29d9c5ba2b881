"""Each check names the one fact that was spoiled on an otherwise good machine, and what to do."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from profiles.host.activity import Activity, Busy, IrqRate
from profiles.host.checks import CHECKS, run_checks, verdict_of
from profiles.host.findings import Finding, Needs, State, Subject
from profiles.host.measured import CorePair, Hiccups, Measured, Timing
from profiles.host.reader import CPU, MIB, ClockState, format_list, parse_list
from tests.profiles.host_tree import LIMITS, STATUS, SYNCHRONIZED, host_at, plant

CLOCK = "sys/devices/system/clocksource/clocksource0/current_clocksource"
THP = "sys/kernel/mm/transparent_hugepage"
GROUP = "sys/fs/cgroup/trading/engine"
CALM = Activity(3.0, steal=((2, 0.0), (3, 0.0)), throttled=0)
QUIET = tuple(Hiccups(core, 3.0, 20, 20, 9_000, 15_000, 2, 0, 0, 0.00001) for core in (2, 3))
FIGURES = Measured(
    QUIET, clock_ns=22.0, syscall_ns=90.0, pairs=(CorePair((2, 3), 200, 10, 0),), fsync_ns_max=10**6
)


def subject(
    root: Path,
    *,
    clock: ClockState = SYNCHRONIZED,
    free: int = 8 << 30,
    needs: Needs | None = None,
    activity: Activity | None = CALM,
    measured: Measured = FIGURES,
) -> Subject:
    host = host_at(root, clock, free)
    cores = host.cores()
    pinned = cores if len(cores) <= 2 else cores[-2:]
    return Subject(host, cores, pinned, needs or Needs(state_dir="/var/lib/ringlane"), activity, measured)


def finding(of: Subject, name: str) -> Finding:
    return next(f for f in run_checks(of) if f.id == name)


def test_a_good_machine_is_fit_and_every_check_answers(tmp_path: Path) -> None:
    plant(tmp_path)
    found = run_checks(subject(tmp_path))
    # The interpreter and its packages are those of this test, not planted.
    wrong = [f for f in found if f.state is not State.OK and f.group != "python"]
    assert not wrong, wrong
    assert verdict_of(tuple(f for f in found if f.group != "python")) is State.OK


def test_names_are_unique_and_everything_is_explained(tmp_path: Path) -> None:
    assert len({c.id for c in CHECKS}) == len(CHECKS) >= 35
    plant(tmp_path)
    assert all(f.why.endswith(".") and f.value and f.title for f in run_checks(subject(tmp_path)))


Changes = dict[str, str | None]
LIMITS_FILE = "proc/self/limits"
TWO_CORES = STATUS.format(caps=0, cores="0-1")
LOW = {"core": 0, "files": 65536, "memlock": 8 << 20, "rtprio": 0}


@pytest.mark.parametrize(
    ("name", "changes", "state", "words"),
    [
        ("core.isolation", {f"{CPU}/isolated": ""}, "advice", "isolcpus=managed_irq,domain,2-3"),
        ("core.isolation", {f"{CPU}/isolated": "3"}, "advice", "isolated: 3"),
        ("core.nohz_full", {f"{CPU}/nohz_full": "(null)"}, "advice", "nohz_full=2-3"),
        ("core.rcu", {"proc/cmdline": "quiet", f"{CPU}/nohz_full": None}, "advice", "rcu_nocbs=2-3"),
        (
            "core.governor",
            {f"{CPU}/cpu3/cpufreq/scaling_governor": "powersave"},
            "advice",
            "powersave on core 3",
        ),
        ("core.governor", {f"{CPU}/cpu2/cpufreq/scaling_max_freq": "1000"}, "advice", "capped on core 2"),
        ("core.pm_qos", {"dev/cpu_dma_latency": None}, "advice", "idle=poll"),
        ("core.idle", {"dev/cpu_dma_latency": None}, "advice", "C6 133 µs"),
        ("core.idle", {"dev/cpu_dma_latency": None, "proc/cmdline": "idle=poll"}, "ok", "idle=poll"),
        ("core.siblings", {f"{CPU}/cpu3/topology/thread_siblings_list": "1,3"}, "advice", "for c in 1;"),
        ("core.siblings", {f"{CPU}/cpu3/topology/thread_siblings_list": "2-3"}, "advice", "nosmt"),
        ("clock.source", {CLOCK: "hpet"}, "unfit", "echo tsc"),
        ("clock.source", {CLOCK: "kvm-clock"}, "advice", "echo tsc"),
        ("clock.source", {CLOCK: None}, "unknown", "No such file"),
        ("clock.timers", {"proc/self/timerslack_ns": "50000"}, "ok", "50 µs; workers take 1 ns"),
        ("memory.thp", {f"{THP}/enabled": "[always] madvise never"}, "advice", "echo madvise"),
        ("memory.huge", {f"{THP}/shmem_enabled": "always advise [deny]"}, "advice", "deny"),
        (
            "memory.huge",
            {"proc/sys/kernel/osrelease": "5.15.0", "proc/self/mounts": "t /dev/shm tmpfs rw 0 0"},
            "advice",
            "remount,huge=advise",
        ),
        ("memory.swap", {"proc/swaps": "Filename\n/swapfile file 1 0 -2"}, "advice", "swapoff"),
        (
            "memory.limit",
            {f"{GROUP}/memory.max": str(64 * MIB), f"{GROUP}/memory.current": "0"},
            "unfit",
            "MemoryMax",
        ),
        ("memory.numa_balancing", {"proc/sys/kernel/numa_balancing": "1"}, "ok", "one node"),
        ("limits.quota", {f"{GROUP}/cpu.max": "100000 100000"}, "unfit", "1 cores per 100 ms"),
        ("limits.quota", {f"{GROUP}/cpu.max": "400000 100000"}, "advice", "CPUQuota"),
        ("limits.quota", {"sys/fs/cgroup/trading/cpu.max": "150000 100000"}, "unfit", "1.5 cores"),
        (
            "limits.quota",
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/box\n0::/\n",
                "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us": "50000",
                "sys/fs/cgroup/cpu/box/cpu.cfs_period_us": "100000",
            },
            "unfit",
            "0.5 cores",
        ),
        (
            "limits.cores",
            {"proc/self/status": STATUS.format(caps=0, cores="1")},
            "unfit",
            "nothing can be pinned",
        ),
        ("limits.cores", {"proc/self/status": TWO_CORES}, "advice", "none is left"),
        ("limits.files", {LIMITS_FILE: LIMITS.format_map(LOW | {"files": 64})}, "unfit", "256"),
        ("limits.files", {LIMITS_FILE: LIMITS.format_map(LOW | {"files": 1024})}, "advice", "65536"),
        ("limits.core_dumps", {LIMITS_FILE: LIMITS.format_map(LOW | {"core": 9})}, "advice", "LimitCORE=0"),
        ("limits.realtime", {LIMITS_FILE: LIMITS.format_map(LOW)}, "advice", "LimitRTPRIO"),
        ("memory.lock", {LIMITS_FILE: LIMITS.format_map(LOW)}, "advice", "8,192 KiB"),
        (
            "memory.lock",
            {
                LIMITS_FILE: LIMITS.format_map(LOW),
                "proc/self/status": STATUS.format(caps=1 << 14, cores="0-3"),
            },
            "ok",
            "unlimited",
        ),
        ("limits.ptrace", {"proc/sys/kernel/yama/ptrace_scope": "1"}, "advice", "ptrace_scope=0"),
        ("limits.perf", {"proc/sys/kernel/perf_event_paranoid": "4"}, "advice", "perf_event_paranoid 4"),
        ("limits.perf", {"proc/sys/kernel/perf_event_paranoid": None}, "unknown", "No such file"),
        (
            "network.buffers",
            {"proc/sys/net/ipv4/tcp_rmem": "4096 87380 262144"},
            "advice",
            "4096 87380 8388608",
        ),
        ("network.idle", {"proc/sys/net/ipv4/tcp_slow_start_after_idle": "1"}, "advice", "after_idle=0"),
        ("disk.state", {"proc/self/mounts": "x / ext4 rw 0 0\nx /var/lib nfs4 rw 0 0"}, "advice", "nfs4"),
        ("disk.state", {"proc/self/mounts": "x / tmpfs rw 0 0"}, "advice", "empty after a reboot"),
        ("neighbors.irqbalance", {"proc/9/comm": "irqbalance"}, "advice", "IRQBALANCE_BANNED_CPULIST=2-3"),
        (
            "core.machine",
            {"proc/cpuinfo": "flags : tsc hypervisor x", ".dockerenv": ""},
            "ok",
            "in a container",
        ),
    ],
)
def test_a_spoiled_fact_is_named(tmp_path: Path, name: str, changes: Changes, state: str, words: str) -> None:
    plant(tmp_path, changes)
    found = finding(subject(tmp_path), name)
    assert found.state == state, found
    assert words in f"{found.value} → {found.fix}"
    assert bool(found.fix) == (state in ("advice", "unfit"))


def test_two_cores_are_not_asked_to_isolate_one(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {f"{CPU}/isolated": "", f"{CPU}/nohz_full": None, "proc/self/status": TWO_CORES, "proc/cmdline": ""},
    )
    of = subject(tmp_path)
    assert {finding(of, f"core.{n}").state for n in ("isolation", "nohz_full", "rcu")} == {State.OK}


def test_workers_on_two_nodes_are_told_the_distance(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            "sys/devices/system/node/node0/cpulist": "0-2",
            "sys/devices/system/node/node1/cpulist": "3",
            "sys/devices/system/node/node0/distance": "10 21",
            "sys/devices/system/node/node1/distance": "21 10",
            "proc/sys/kernel/numa_balancing": "1",
        },
    )
    of = subject(tmp_path)
    assert "distance 21" in finding(of, "core.numa").value
    assert finding(of, "memory.numa_balancing").state is State.ADVICE


@pytest.mark.parametrize(
    ("clock", "state", "words"),
    [
        (ClockState(True, 100_000_000, 10**6), "advice", "off by +100.0 ms"),
        (ClockState(True, -2_500_000_000, 10**6), "unfit", "off by -2,500.0 ms"),
        (ClockState(False, 0, 16 * 10**9), "advice", "not synchronized"),
        (SYNCHRONIZED, "ok", "by chronyd, error below 2.0 ms"),
    ],
)
def test_a_skewed_wall_clock_is_named(tmp_path: Path, clock: ClockState, state: str, words: str) -> None:
    plant(tmp_path)
    found = finding(subject(tmp_path, clock=clock), "clock.sync")
    assert (found.state, words in found.value) == (state, True), found


def test_too_little_room_is_unfit(tmp_path: Path) -> None:
    plant(tmp_path)
    needs = Needs(shm_bytes=100 * MIB, disk_bytes=100 * MIB, state_dir="/x")
    for free, state in ((99 * MIB, "unfit"), (150 * MIB, "advice"), (300 * MIB, "ok")):
        assert finding(subject(tmp_path, free=free, needs=needs), "memory.shm").state == state
    assert finding(subject(tmp_path, free=99 * MIB, needs=needs), "disk.state").state is State.UNFIT


def test_what_the_configuration_insists_on_and_can_not_have_is_unfit(tmp_path: Path) -> None:
    limits = LIMITS.format(core=0, files=65536, memlock=65536, rtprio=10)
    plant(
        tmp_path,
        {"proc/swaps": "Filename\n/dev/sda2 p 1 0 -2", LIMITS_FILE: limits, f"{THP}/shmem_enabled": "[deny]"},
    )
    asked = Needs(lock_memory=True, realtime=50, huge_required=True)
    of = subject(tmp_path, needs=asked)
    assert {finding(of, n).state for n in ("memory.swap", "limits.realtime", "memory.huge")} == {State.UNFIT}
    assert "will not be held" in finding(of, "memory.lock").value


def test_what_happened_meanwhile_is_named_with_pid_core_and_device(tmp_path: Path) -> None:
    plant(tmp_path)
    activity = Activity(
        3.0,
        busy=(Busy(4242, "miner", 3, 0.97), Busy(17, "harmless", 0, 0.9)),
        irqs=(IrqRate("36", "eth0-rx-0", 2, 54_321.0), IrqRate("36", "eth0-rx-0", 0, 90_000.0)),
        steal=((2, 0.0), (3, 0.031)),
        throttled=0,
        wall_step_ns=-100_000_000,
    )
    of = subject(tmp_path, activity=activity)
    busy = finding(of, "neighbors.processes")
    assert "pid 4242 miner on core 3 (97 % of a core)" in busy.value
    assert "harmless" not in busy.value
    assert busy.fix == "taskset -acp 0-1 4242"
    storm = finding(of, "neighbors.interrupts")
    assert "a storm: irq 36 (eth0-rx-0) 54,321/s on core 2" in storm.value
    assert storm.fix == "echo 0-1 > /proc/irq/36/smp_affinity_list"
    assert "3.10 % on core 3" in finding(of, "core.steal").value
    assert "moved by -100.0 ms" in finding(of, "clock.step").value


def test_a_quota_that_was_used_up_is_counted(tmp_path: Path) -> None:
    plant(tmp_path, {f"{GROUP}/cpu.max": "300000 100000"})
    found = finding(subject(tmp_path, activity=dataclasses.replace(CALM, throttled=7)), "limits.quota")
    assert "used up 7 times" in found.value


def away(core: int, waited: float) -> Hiccups:
    return Hiccups(core, 3.0, 20, 2_000_000, 9_000_000, 12_000_000, 90, 80, 70, 0.4, waited, 80)


@pytest.mark.parametrize(
    ("waited", "busy", "steal", "words"),
    [
        (0.39, (Busy(77, "backup", 3, 0.4),), 0.0, "pid 77 backup (40 % of a core)"),
        (0.39, (), 0.0, "each for a short time"),
        (0.0, (), 0.35, "the hypervisor took it"),
        (0.0, (Busy(78, "elsewhere", 0, 0.4),), 0.0, "interrupts or the host below"),
    ],
)
def test_the_cause_of_hiccups_is_told_apart(
    tmp_path: Path, waited: float, busy: tuple[Busy, ...], steal: float, words: str
) -> None:
    plant(tmp_path)
    activity = Activity(3.0, busy=busy, steal=((2, 0.0), (3, steal)))
    measured = Measured(hiccups=(QUIET[0], away(3, waited)))
    found = finding(subject(tmp_path, activity=activity, measured=measured), "core.hiccups")
    assert (found.state, words in found.fix) == (State.ADVICE, True), found
    assert found.value.startswith("core 3: ")


def test_clocks_that_disagree_make_a_machine_unfit(tmp_path: Path) -> None:
    plant(tmp_path)
    measured = Measured(pairs=(CorePair((2, 3), 300, -40_000, 12),))
    found = finding(subject(tmp_path, measured=measured), "clock.cores")
    assert found.state is State.UNFIT
    assert "backward 12 times between cores 2 and 3" in found.value


def test_pm_qos_says_what_it_gains(tmp_path: Path) -> None:
    plant(tmp_path)
    timings = tuple(
        Timing("wake", "", held, 9, p50, p50, p50, p50) for held, p50 in ((True, 4_000), (False, 40_000))
    )
    assert (
        "40 µs → 4 µs" in finding(subject(tmp_path, measured=Measured(timings=timings)), "core.pm_qos").value
    )


def test_a_fast_idle_state_that_wakes_late_is_not_believed(tmp_path: Path) -> None:
    plant(tmp_path, {"dev/cpu_dma_latency": None, f"{CPU}/cpu2/cpuidle/state1/latency": "1"})
    for p50, state in ((25_000, "advice"), (3_000, "ok")):
        measured = Measured(timings=(Timing("wake", "", False, 9, p50, p50, p50, p50),))
        assert finding(subject(tmp_path, measured=measured), "core.idle").state == state


def test_without_watching_what_needs_it_is_unknown(tmp_path: Path) -> None:
    plant(tmp_path)
    found = run_checks(subject(tmp_path, activity=None, measured=Measured()))
    unknown = {f.id for f in found if f.state is State.UNKNOWN}
    assert unknown == {
        "core.hiccups",
        "core.steal",
        "clock.cores",
        "clock.step",
        "neighbors.processes",
        "neighbors.interrupts",
    }


def test_an_empty_machine_never_raises(tmp_path: Path) -> None:
    host = host_at(tmp_path)
    found = run_checks(Subject(host, (0,), (0,)))
    assert len(found) == len(CHECKS)
    assert any(f.state is State.UNKNOWN and "proc/cmdline" in f.value for f in found)


def test_lists_of_cores_read_back() -> None:
    for text in ("", "0", "0-3", "1,3-5,9"):
        assert format_list(parse_list(text)) == text
