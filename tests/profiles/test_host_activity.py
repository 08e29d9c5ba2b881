"""Two looks at a machine tell who was busy where, which interrupts came, and whether the clock was set."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from profiles.host.activity import TICK_NS, Activity, Clocks, between, descendants, look
from profiles.host.reader import Host
from tests.profiles.host_tree import INTERRUPTS, host_at, plant, stat_line, stat_text

SECOND = 1_000_000_000
TICKS = SECOND // TICK_NS


def clocks(at_ns: int, utc_ns: int) -> Clocks:
    return Clocks(lambda: at_ns, lambda: utc_ns)


def difference(root: Path, changes: dict[str, str | None], *, wall_ns: int = SECOND) -> Activity:
    """What is seen when these files change within one second."""
    host = host_at(root)
    before = look(host, clocks(0, 5))
    for path, text in changes.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text or "")
    return between(before, look(host, clocks(SECOND, 5 + wall_ns)))


def test_a_noisy_process_is_named_with_its_core(tmp_path: Path) -> None:
    start: dict[str, str | None] = {
        "proc/41/task/41/stat": stat_line(41, "tricky) (name", 100, core=1),
        "proc/41/task/42/stat": stat_line(42, "helper", 0, core=3),
    }
    plant(tmp_path, start)
    seen = difference(
        tmp_path,
        {
            "proc/41/task/41/stat": stat_line(41, "tricky) (name", 100 + TICKS // 10, core=1),
            "proc/41/task/42/stat": stat_line(42, "helper", TICKS // 2, core=3),
            "proc/50/task/50/stat": stat_line(50, "kworker", TICKS // 4, core=2, parent=2),
            "proc/51/task/51/stat": stat_line(51, "idle", 1, core=2),
        },
    )
    rows = [(b.pid, b.name, b.core, round(b.share, 2), b.kernel) for b in seen.busy]
    assert rows == [(41, "tricky) (name", 3, 0.6, False), (50, "kworker", 2, 0.25, True)]
    assert [b.pid for b in seen.on_core(3)] == [41]


def test_our_own_processes_do_not_count(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            "proc/41/task/41/children": "42 43",
            "proc/42/task/42/children": "",
            "proc/43/task/43/children": "44",
        },
    )
    host = host_at(tmp_path)
    assert descendants(host, 41) == {41, 42, 43, 44}
    before = look(host, clocks(0, 0))
    (tmp_path / "proc/44/task/44").mkdir(parents=True)
    (tmp_path / "proc/44/task/44/stat").write_text(stat_line(44, "worker", TICKS, core=1))
    after = look(host, clocks(SECOND, SECOND))
    assert [b.pid for b in between(before, after).busy] == [44]
    assert between(before, after, descendants(host, 41)).busy == ()


def test_an_interrupt_storm_is_named_with_its_core(tmp_path: Path) -> None:
    plant(tmp_path)
    seen = difference(tmp_path, {"proc/interrupts": INTERRUPTS.format(nic=30_005)})
    assert [(i.irq, i.name, i.core, i.per_s) for i in seen.irqs] == [("36", "eth0-rx-0", 3, 30_000.0)]
    assert seen.irqs[0].of_device


def test_steal_and_throttling_are_differences(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {"sys/fs/cgroup/trading/engine/cpu.stat": "nr_throttled 5", "proc/stat": stat_text([7, 0, 0, 0])},
    )
    seen = difference(
        tmp_path,
        {
            "sys/fs/cgroup/trading/engine/cpu.stat": "nr_throttled 9",
            "proc/stat": stat_text([7, TICKS // 4, 0, 0]),
        },
    )
    assert seen.throttled == 4
    assert dict(seen.steal) == pytest.approx({0: 0.0, 1: 0.25, 2: 0.0, 3: 0.0})


@pytest.mark.parametrize("step_ns", [100_000_000, -100_000_000, 0])
def test_a_step_of_the_wall_clock_is_measured(tmp_path: Path, step_ns: int) -> None:
    plant(tmp_path)
    assert difference(tmp_path, {}, wall_ns=SECOND + step_ns).wall_step_ns == step_ns


def test_a_real_noisy_process_is_found() -> None:
    host = Host()
    core = host.cores()[-1]
    code = f"import os; os.sched_setaffinity(0, {{{core}}})\nprint(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as noisy:
        try:
            assert noisy.stdout is not None
            noisy.stdout.readline()
            before = look(host)
            seen = between(before, look(host))
            # It gets its share of the core sooner or later; the watchdog of the suite ends one that starves.
            while noisy.pid not in {b.pid for b in seen.busy}:
                seen = between(before, look(host))
        finally:
            noisy.kill()
    found = next(b for b in seen.busy if b.pid == noisy.pid)
    assert (found.core, found.kernel) == (core, False)
    assert found.name.startswith("python")
