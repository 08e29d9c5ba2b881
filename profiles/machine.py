"""The facts of the machine that every figure must be read with."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def _cpu_model() -> str:
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def machine_facts(*, pm_qos: str = "not held") -> dict[str, object]:
    """Describe the machine a figure was measured on.

    Args:
        pm_qos: "held" while /dev/cpu_dma_latency is kept at 0, else "not held" with the reason.
    """
    return {
        "cpu": _cpu_model(),
        "cores_allowed": sorted(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "unknown",
        "clock_source": _read("/sys/devices/system/clocksource/clocksource0/current_clocksource")
        or "unknown",
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "pm_qos": pm_qos,
    }
