"""What the machine gives and refuses: each refusal names its limit, and nothing is claimed that is not so."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from actors.runtime.spec import WorkerSpec
from engine.config import MachineConfig, parse_config
from engine.errors import StartError
from engine.machine import (
    CAP_IPC_LOCK,
    CAP_SYS_NICE,
    NOT_ASKED,
    Limits,
    has_capability,
    huge_fact,
    lock_memory,
    memory_refusal,
    merge_facts,
    realtime_refusal,
    take_realtime,
)
from engine.machine_hold import MachineHold
from engine.numa import NumaPlacement, NumaTopology, parse_list
from engine.processes import child_environment
from engine.topology import RunIdentity, Topology, VenueUrls, build_topology
from shm.mapping import huge_advice, huge_bytes

FREE = Limits(None, 99, 950_000)
MIB = 1024 * 1024


# ---- limits --------------------------------------------------------------------------------------


def test_capabilities_are_read_from_the_effective_set() -> None:
    status = "Name:\tx\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000804000\nCapBnd:\t0\n"
    assert has_capability(CAP_IPC_LOCK, status)
    assert has_capability(CAP_SYS_NICE, status)
    assert not has_capability(0, status)
    assert not has_capability(CAP_IPC_LOCK, "Name:\tx\n")


def test_limits_of_this_process_are_those_of_the_kernel() -> None:
    limits = Limits.read()
    soft = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    free = soft == resource.RLIM_INFINITY or has_capability(CAP_IPC_LOCK)
    assert limits.memlock_bytes == (None if free else soft)


def test_a_finite_memory_limit_is_named_and_not_tried() -> None:
    limits = Limits(8 * MIB, 0, 950_000)
    assert "RLIMIT_MEMLOCK is 8192 KiB" in memory_refusal(limits)
    assert "LimitMEMLOCK=infinity" in memory_refusal(limits)
    assert lock_memory(limits, 1) == f"not held ({memory_refusal(limits)})"
    assert memory_refusal(FREE) == ""


@pytest.mark.parametrize(
    ("limits", "cores", "allowed", "found"),
    [
        (FREE, [0, 1], [0, 1], ""),
        (FREE, [0, None], [0, 1], ""),
        (Limits(None, 10, 950_000), [0, 1], [0, 1], "RLIMIT_RTPRIO is 10, 40 is asked for"),
        (Limits(None, 40, 950_000), [0, 1], [0, 1], ""),
        (FREE, [None, None], [0], "share the only core with housekeeping"),
        (FREE, [0], [0], "share the only core with housekeeping"),
        (Limits(None, 99, 0), [0, 1], [0, 1], "is 0: real-time tasks get no time"),
        (Limits(None, 99, -1), [0, 1], [0, 1], "is -1 and every allowed core has a real-time worker"),
        (Limits(None, 99, -1), [1, 2], [0, 1, 2], ""),
    ],
)
def test_realtime_is_refused_where_it_would_starve_or_is_forbidden(
    limits: Limits, cores: list[int | None], allowed: list[int], found: str
) -> None:
    refusal = realtime_refusal(40, cores, allowed, limits)
    assert found in refusal
    assert bool(refusal) == bool(found)


IN_A_CHILD = """
from engine.machine import Limits, lock_memory, take_realtime
import os, sys
limits = Limits.read()
print(lock_memory(limits, 4))
print(take_realtime(1))
print(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, os.SCHED_FIFO)
print([l.split()[1] for l in open("/proc/self/status") if l.startswith("VmLck")][0])
"""


def test_a_process_that_may_lock_memory_and_take_priority_has_them_and_one_that_may_not_says_so() -> None:
    # In a process of its own: neither can be taken back.
    done = subprocess.run(
        [sys.executable, "-P", "-c", IN_A_CHILD], env=child_environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    locked, realtime, policy, kib = done.stdout.splitlines()
    if locked.startswith("held"):
        assert locked == "held (4 MiB of heap touched in advance)"
        assert int(kib) > 4 * 1024
    else:
        assert "RLIMIT_MEMLOCK" in locked or "mlockall" in locked
    now, fifo = policy.split()
    assert (now == fifo) == (realtime == "held (SCHED_FIFO 1)")


def test_an_impossible_priority_is_told_not_raised() -> None:
    assert take_realtime(1_000).startswith("not held (sched_setscheduler: ")


def test_facts_of_workers_are_one_line_where_they_agree() -> None:
    assert merge_facts({"a": {"x": "held"}, "b": {"x": "held"}}) == {"x": "held"}
    split = merge_facts({"a": {"x": "held"}, "b": {"x": "not held (no)"}, "c": {}})
    assert split == {"x": "held in part: a: held; b: not held (no)"}
    none = merge_facts({"a": {"x": "not held (1)"}, "b": {"x": "not held (2)"}})
    assert none == {"x": "not held: a: not held (1); b: not held (2)"}


# ---- huge pages ----------------------------------------------------------------------------------

SMAPS = """\
7f0000000000-7f0000a00000 rw-s 00000000 00:19 42     /dev/shm/ringlane.x.1.md.2.1
Size:              10240 kB
ShmemPmdMapped:     8192 kB
FilePmdMapped:         0 kB
7f1000000000-7f1000a00000 rw-s 00000000 00:19 43     /dev/shm/ringlane.x.1.books.2 (deleted)
ShmemPmdMapped:        0 kB
FilePmdMapped:      2048 kB
7f2000000000-7f2000a00000 rw-p 00000000 00:00 0
ShmemPmdMapped:     4096 kB
"""


def test_huge_pages_are_read_per_mapping() -> None:
    names = ["ringlane.x.1.md.2.1", "ringlane.x.1.books.2", "ringlane.x.1.state.3"]
    assert huge_bytes(names, SMAPS) == dict(zip(names, [8192 * 1024, 2048 * 1024, 0], strict=True))


@pytest.mark.parametrize(
    ("mounts", "setting", "found"),
    [
        ("tmpfs /dev/shm tmpfs rw,relatime 0 0\n", "always [never] deny", "remount,huge=advise /dev/shm"),
        ("tmpfs /dev/shm tmpfs rw,huge=never 0 0\n", "always [never]", "remount,huge=advise /dev/shm"),
        ("tmpfs /dev/shm tmpfs rw,huge=advise 0 0\n", "[never]", "compact_memory"),
        ("tmpfs /dev/shm tmpfs rw,huge=advise 0 0\n", "always never [deny]", "write advise to it"),
        ("", "", "built without transparent huge pages"),
    ],
)
def test_the_advice_says_what_is_missing(mounts: str, setting: str, found: str) -> None:
    assert found in huge_advice(mounts, setting)


def test_the_fact_names_the_segments_without_huge_pages() -> None:
    big = {"md": 8 * MIB, "books": 4 * MIB}
    assert huge_fact("off", big, big, "") == "not held (off)"
    assert huge_fact("auto", {}, {}, "") == "held (no segment fills a huge page)"
    assert huge_fact("auto", big, big, "") == "held (12 of 12.0 MiB)"
    part = huge_fact("auto", big, {"md": 8 * MIB, "books": 0}, "do this")
    assert part == "held in part (8 of 12.0 MiB; none for books: do this)"
    none = huge_fact("auto", big, {"md": 0, "books": 0}, "do this")
    assert none == "not held (0 of 12.0 MiB; none for md, books: do this)"


# ---- NUMA ----------------------------------------------------------------------------------------


def nodes(root: Path, **lists: str) -> NumaTopology:
    for name, cores in lists.items():
        (root / name).mkdir()
        (root / name / "cpulist").write_text(cores + "\n")
    (root / "online").write_text("0\n")
    return NumaTopology.read(root)


class Kernel:
    """Notes the memory policy; `refuses` is what it answers."""

    def __init__(self, refuses: str = "") -> None:
        self.refuses = refuses
        self.policies: list[int | None] = []

    def set_policy(self, node: int | None) -> str:
        self.policies.append(node)
        return self.refuses


def test_kernel_lists_are_read() -> None:
    assert parse_list("0-2,5,8-8\n") == {0, 1, 2, 5, 8}
    assert parse_list("\n") == set()


def test_each_segment_comes_from_the_node_of_its_writers_core(tmp_path: Path) -> None:
    kernel = Kernel()
    topology = nodes(tmp_path, node0="0-1", node1="2-3")
    placement = NumaPlacement(topology, {1: 0, 2: 3, 3: None}, set_policy=kernel.set_policy)
    for slot in (2, 1, 3, -1, 2):
        with placement.near(slot):
            pass
    assert kernel.policies == [1, None, 0, None, 1, None]
    assert placement.describe() == "held (1 segments on node 0, 2 segments on node 1)"


def test_the_policy_is_taken_back_when_a_segment_can_not_be_made(tmp_path: Path) -> None:
    kernel = Kernel()
    placement = NumaPlacement(nodes(tmp_path, node0="0", node1="1"), {1: 1}, set_policy=kernel.set_policy)
    with pytest.raises(OSError, match="full"), placement.near(1):
        raise OSError("full")
    assert kernel.policies == [1, None]


def test_one_node_off_and_a_refusing_kernel_are_told_apart(tmp_path: Path) -> None:
    kernel = Kernel("set_mempolicy: Operation not permitted")
    two = nodes(tmp_path, node0="0", node1="1")
    refused = NumaPlacement(two, {1: 1}, set_policy=kernel.set_policy)
    with refused.near(1):
        pass
    assert refused.describe() == "not held (set_mempolicy: Operation not permitted)"
    assert NumaPlacement(two, {1: 1}, enabled=False).describe() == "not held (off)"
    one = NumaPlacement(NumaTopology({0: frozenset({0, 1})}), {1: 1}, set_policy=kernel.set_policy)
    with one.near(1):
        pass
    assert one.describe() == "held (one node: nothing to place)"
    assert kernel.policies == [1]


# ---- the hold of a run ---------------------------------------------------------------------------

TEXT = """
[venues.sim]
adapter = "loop"
websocket_url = "ws://127.0.0.1:1"
rest_url = "http://127.0.0.1:1"
symbols = ["A"]
[[strategies]]
name = "one"
kind = "k"
venue = "sim"
"""


def topology(more: str = "", allowed: tuple[int, ...] = (0, 1)) -> Topology:
    config = parse_config(TEXT + more, "x")
    urls = {"sim": VenueUrls("ws://127.0.0.1:1", "http://127.0.0.1:1")}
    return build_topology(config, urls, RunIdentity("x", 1, "", os.getpid()), allowed)


def realtime_of(made: Topology) -> dict[str, int]:
    return {w.name: w.machine.realtime for w in made.workers}


def test_only_pinned_traders_get_realtime_priority() -> None:
    hold = MachineHold(MachineConfig(realtime=30), limits=FREE)
    assert realtime_of(hold.plan(topology(), [0, 1])) == {"housekeeping": 0, "feed": 30, "trade": 30}


def test_a_refused_priority_ends_the_start_unless_it_may_be_missing() -> None:
    limits = Limits(None, 0, 950_000)
    with pytest.raises(StartError, match=r"machine\.realtime = 30: RLIMIT_RTPRIO is 0.*LimitRTPRIO=30"):
        MachineHold(MachineConfig(realtime=30), limits=limits).plan(topology(), [0, 1])
    hold = MachineHold(MachineConfig(realtime=30, realtime_required=False), limits=limits)
    assert set(realtime_of(hold.plan(topology(), [0, 1])).values()) == {0}
    assert hold.facts()["realtime"].startswith("not held (RLIMIT_RTPRIO is 0")


def test_what_workers_say_becomes_the_facts_of_the_run() -> None:
    hold = MachineHold(MachineConfig())
    assert hold.facts()["realtime"] == NOT_ASKED
    hold.on_ready("feed", {"memory_locked": "held", "core": "not held (core 1: gone)"})
    hold.on_ready("trade", {"memory_locked": "not held (mlockall: no)"})
    hold.on_ready("old", None)
    facts = hold.facts()
    assert facts["memory_locked"] == "held in part: feed: held; trade: not held (mlockall: no)"
    assert hold.refusals("feed") == ["core: not held (core 1: gone)"]
    assert hold.refusals("old") == []


def test_a_required_priority_that_a_worker_did_not_get_ends_the_start() -> None:
    refused = {"realtime": "not held (sched_setscheduler: Operation not permitted)"}
    strict, lax = (MachineHold(MachineConfig(realtime=9, realtime_required=r)) for r in (True, False))
    for hold in (strict, lax):
        hold.on_ready("feed", refused)
        hold.on_ready("trade", {"realtime": "held (SCHED_FIFO 9)"})
        hold.require("trade")
    lax.require("feed")
    with pytest.raises(StartError, match=r"worker feed: not held .*RestrictRealtime="):
        strict.require("feed")


def test_settings_reach_the_workers_and_their_specs_travel() -> None:
    text = """
[machine]
lock_memory = true
heap_mib = 3
[engine]
bell_age_us = 7
[engine.drain]
batch_min = 2
old_us = 500
"""
    worker = topology(text).workers[1]
    assert worker.machine.lock_memory
    assert worker.machine.heap_mib == 3
    assert worker.machine.huge_pages
    assert worker.bell_age_ns == 7_000
    assert (worker.drain.batch_min, worker.drain.old_ns) == (2, 500_000)
    assert WorkerSpec.from_json(worker.to_json()) == worker


def test_every_segment_that_a_worker_writes_names_its_writer() -> None:
    made = topology()
    slots = {w.name: w.slot for w in made.workers}
    writers = {plan.short: plan.writer for plan in made.segments}
    feed, trade, house = slots["feed"], slots["trade"], slots["housekeeping"]
    assert writers[f"md.{feed}.1"] == writers[f"books.{feed}"] == feed
    assert writers[f"intents.{trade}.{trade}"] == writers[f"positions.{trade}"] == trade
    assert writers[f"blobs.{house}.{feed}"] == house
    assert writers[f"requests.{feed}.{house}"] == writers[f"metrics.{feed}"] == feed
    assert writers["control"] == -1
