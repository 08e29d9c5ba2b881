"""Which worker gets which core."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.placement import allowed_cores, place

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
