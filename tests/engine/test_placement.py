"""Which worker gets which core, and which cores are for what has none of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.placement import allowed_cores, be_nice, on_cores, place, shared_cores

T = TypeVar("T")

DEFAULT = [("housekeeping", "housekeeping"), ("feed", "feed"), ("trade", "trade")]
SPREAD = [
    ("housekeeping", "housekeeping"),
    ("feed", "feed"),
    ("gateway", "gateway"),
    ("strategy", "strategy"),
]


def test_two_cores_default() -> None:
    assert place(DEFAULT, [0, 1]) == {"housekeeping": None, "feed": 0, "trade": 1}


def test_two_cores_spread_keeps_the_feed_alone() -> None:
    assert place(SPREAD, [4, 9]) == {"housekeeping": None, "feed": 4, "gateway": 9, "strategy": 9}


def test_one_core_pins_nothing() -> None:
    assert set(place(SPREAD, [3]).values()) == {None}


def test_more_cores_leave_the_lowest_to_the_machine() -> None:
    assert place(SPREAD, range(4)) == {"housekeeping": None, "feed": 1, "gateway": 2, "strategy": 3}


def test_allowed_cores_are_those_of_this_process() -> None:
    assert set(allowed_cores()) == os.sched_getaffinity(0)


TWO_FEEDS = [("housekeeping", "housekeeping"), ("feed-a", "feed"), ("feed-b", "feed"), ("gateway", "gateway")]


@pytest.mark.parametrize(
    ("workers", "allowed", "expected"),
    [
        (DEFAULT, [3], [3]),
        (SPREAD, [3], [3]),
        (DEFAULT, [0, 1], [0]),
        (DEFAULT, [4, 9], [4]),
        (SPREAD, [0, 1], [0]),
        (TWO_FEEDS, [0, 1], [0]),
        (DEFAULT, [0, 1, 2], [0]),
        (DEFAULT, range(4), [0, 3]),
        (SPREAD, range(4), [0]),
        (SPREAD, [2, 3, 5, 7, 11], [2, 11]),
        ([("gateway", "gateway"), ("strategy", "strategy")], [0, 1], [0, 1]),
        ([("housekeeping", "housekeeping")], [0, 1], [0, 1]),
    ],
)
def test_what_is_not_pinned_has_the_cores_of_no_worker_or_else_those_of_the_feeds(
    workers: list[tuple[str, str]], allowed: Sequence[int], expected: list[int]
) -> None:
    assert shared_cores(workers, place(workers, allowed), allowed) == expected


def in_a_thread(work: Callable[[], T]) -> T:
    """In one of its own: what it does to itself ends with it."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def test_threads_and_processes_made_on_some_cores_stay_there_and_the_caller_returns() -> None:
    def work() -> None:
        before = os.sched_getaffinity(0)
        one = max(before)
        with pytest.raises(ZeroDivisionError), on_cores([one]) as refused:
            assert refused == "" and os.sched_getaffinity(0) == {one} and allowed_cores() == [one]
            assert in_a_thread(lambda: os.sched_getaffinity(0)) == {one}
            with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as child:
                assert os.sched_getaffinity(child.pid) == {one}
                os.sched_setaffinity(child.pid, before)  # a worker takes its own, inherited or not
                assert os.sched_getaffinity(child.pid) == before
            _ = 1 // 0
        assert os.sched_getaffinity(0) == before

    in_a_thread(work)


def test_cores_that_are_not_there_are_told_and_borne() -> None:
    before = os.sched_getaffinity(0)
    with on_cores([1_023]) as refused:
        assert refused == "Invalid argument"
        assert os.sched_getaffinity(0) == before


def test_a_priority_is_lowered_only() -> None:
    def work() -> list[int]:
        seen = []
        for nice in (7, 3, 0, 9):
            be_nice(nice)
            seen.append(os.getpriority(os.PRIO_PROCESS, 0))
        return seen

    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert in_a_thread(work) == [max(ours, nice) for nice in (7, 7, 7, 9)]
    assert os.getpriority(os.PRIO_PROCESS, 0) == ours


@settings(max_examples=100)
@given(
    roles=st.lists(st.sampled_from(["feed", "gateway", "strategy", "housekeeping"]), max_size=12),
    allowed=st.sets(st.integers(0, 63), min_size=1, max_size=12),
)
def test_never_outside_the_allowed_set_and_feeds_stay_apart(roles: list[str], allowed: set[int]) -> None:
    workers = [(f"{role}{i}", role) for i, role in enumerate(roles)]
    cores = place(workers, allowed)
    assert set(cores) == {name for name, _ in workers}
    assert {c for c in cores.values() if c is not None} <= allowed
    feeds = {cores[n] for n, r in workers if r == "feed"} - {None}
    others = {cores[n] for n, r in workers if r in ("gateway", "strategy")} - {None}
    assert not feeds & others
    assert all(cores[n] is None for n, r in workers if r == "housekeeping")
    if len(allowed) > 1:
        assert all(cores[n] is not None for n, r in workers if r != "housekeeping")
    shared = set(shared_cores(workers, cores, allowed))
    assert shared and shared <= allowed
    if len(allowed) > 2:
        assert not shared & (feeds | others)
    elif feeds:
        assert not shared & others
