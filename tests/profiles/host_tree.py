"""A planted machine: the files of a well set-up box of four cores, to be spoiled one fact at a time."""

from __future__ import annotations

from pathlib import Path

from profiles.host.reader import CPU, ClockState, Host, Space

GIB = 1 << 30
SYNCHRONIZED = ClockState(synchronized=True, offset_ns=0, max_error_ns=2_000_000)

STATUS = "Name:\tx\nCapEff:\t{caps:016x}\nCpus_allowed_list:\t{cores}\n"
LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max core file size        {core}                    unlimited            bytes
Max open files            {files}                65536                files
Max locked memory         {memlock}             unlimited            bytes
Max realtime priority     {rtprio}                   50
"""
INTERRUPTS = """            CPU0       CPU1       CPU2       CPU3
 24:          1          0          0          0   IO-APIC   5-edge      ACPI:Ged
 36:          0     310167          0        {nic}   PCI-MSIX-0000:00:02.0   1-edge      eth0-rx-0
LOC:    2227404    2295905          7          7   Local timer interrupts
ERR:          0
"""


def good_box() -> dict[str, str]:
    """Path → content."""
    files = {
        "proc/cmdline": "quiet isolcpus=managed_irq,domain,2-3 nohz_full=2-3 rcu_nocbs=2-3",
        "proc/cpuinfo": "flags\t: fpu tsc constant_tsc",
        "proc/interrupts": INTERRUPTS.format(nic=5),
        "proc/meminfo": "MemTotal: 16384 kB\nHugePages_Total: 64\nHugePages_Free: 64\n",
        "proc/self/cgroup": "0::/trading/engine\n",
        "proc/self/limits": LIMITS.format(core=0, files=65536, memlock="unlimited", rtprio=50),
        "proc/self/mounts": "ext4 / ext4 rw 0 0\ntmpfs /dev/shm tmpfs rw,huge=advise 0 0\n",
        "proc/self/status": STATUS.format(caps=0, cores="0-3"),
        "proc/self/timerslack_ns": "1",
        "proc/stat": stat_text([0, 0, 0, 0]),
        "proc/swaps": "Filename Type Size Used Priority",
        "proc/sys/kernel/numa_balancing": "0",
        "proc/sys/kernel/osrelease": "6.8.0-generic",
        "proc/sys/kernel/perf_event_paranoid": "1",
        "proc/sys/kernel/sched_rt_runtime_us": "950000",
        "proc/sys/kernel/yama/ptrace_scope": "0",
        "proc/sys/net/core/rmem_max": "16777216",
        "proc/sys/net/ipv4/tcp_moderate_rcvbuf": "1",
        "proc/sys/net/ipv4/tcp_rmem": "4096\t131072\t33554432",
        "proc/sys/net/ipv4/tcp_slow_start_after_idle": "0",
        "proc/sys/vm/swappiness": "60",
        "sys/devices/system/clocksource/clocksource0/available_clocksource": "tsc hpet acpi_pm",
        "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc",
        f"{CPU}/isolated": "2-3",
        f"{CPU}/nohz_full": "2-3",
        f"{CPU}/online": "0-3",
        "sys/devices/system/node/node0/cpulist": "0-3",
        "sys/devices/system/node/node0/distance": "10",
        "sys/fs/cgroup/trading/engine/cpu.max": "max 100000",
        "sys/fs/cgroup/trading/engine/cpu.stat": "usage_usec 1\nnr_throttled 0",
        "sys/fs/cgroup/trading/engine/memory.max": "max",
        "sys/kernel/mm/transparent_hugepage/defrag": "always defer [madvise] never",
        "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never",
        "sys/kernel/mm/transparent_hugepage/khugepaged/pages_to_scan": "4096",
        "sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs": "10000",
        "sys/kernel/mm/transparent_hugepage/shmem_enabled": "always [advise] never deny force",
        "dev/cpu_dma_latency": "",
        "proc/700/comm": "chronyd",
        "proc/700/task/700/stat": stat_line(700, "chronyd", 0, core=0),
    }
    for core in range(4):
        folder = f"{CPU}/cpu{core}"
        files |= {
            f"{folder}/cpufreq/scaling_governor": "performance",
            f"{folder}/cpufreq/scaling_max_freq": "3000000",
            f"{folder}/cpufreq/cpuinfo_max_freq": "3000000",
            f"{folder}/topology/thread_siblings_list": str(core),
            f"{folder}/cpuidle/state0/name": "POLL",
            f"{folder}/cpuidle/state0/latency": "0",
            f"{folder}/cpuidle/state1/name": "C6",
            f"{folder}/cpuidle/state1/latency": "133",
            f"{folder}/cpuidle/state1/disable": "0",
        }
    return files


def stat_line(tid: int, name: str, ticks: int, *, core: int, parent: int = 1) -> str:
    """A line of /proc/PID/stat with its user time and processor."""
    fields = ["0"] * 50
    fields[0], fields[1], fields[11], fields[36] = "R", str(parent), str(ticks), str(core)
    return f"{tid} ({name}) {' '.join(fields)}"


def stat_text(steal: list[int]) -> str:
    """The per-core lines of /proc/stat with steal ticks."""
    rows = [f"cpu{core} 1 0 1 1 0 0 0 {ticks} 0 0" for core, ticks in enumerate(steal)]
    return "\n".join(["cpu  1 0 1 1 0 0 0 0 0 0", *rows])


def plant(root: Path, changes: dict[str, str | None] | None = None) -> None:
    """Write the good box with changes; None leaves a file out."""
    for path, content in (good_box() | (changes or {})).items():
        if content is None:
            (root / path).unlink(missing_ok=True)
            continue
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)


def host_at(root: Path, clock: ClockState = SYNCHRONIZED, free: int = 8 * GIB) -> Host:
    """A reader of the planted machine."""
    return Host(root, clock=lambda: clock, space=lambda _path: Space(2 * free, free))
