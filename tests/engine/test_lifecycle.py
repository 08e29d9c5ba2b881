"""The lifecycle table: legal walks, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import LifecycleError
from engine.lifecycle import TRANSITIONS, Lifecycle
from shm.enums import WorkerState


def test_usual_life() -> None:
    seen: list[WorkerState] = []
    life = Lifecycle("a", seen.append)
    walk = [
        WorkerState.NEW,
        WorkerState.STARTING,
        WorkerState.RUNNING,
        WorkerState.DRAINING,
        WorkerState.STOPPED,
    ]
    for state in walk:
        life.to(state)
    assert seen == walk


def test_illegal_change_raises_and_changes_nothing() -> None:
    seen: list[WorkerState] = []
    life = Lifecycle("feed", seen.append)
    with pytest.raises(LifecycleError, match="feed: NONE can not become RUNNING"):
        life.to(WorkerState.RUNNING)
    assert life.state is WorkerState.NONE
    assert seen == []


@settings(max_examples=150)
@given(st.lists(st.sampled_from(list(WorkerState)), max_size=30))
def test_any_walk_stays_inside_the_table(walk: list[WorkerState]) -> None:
    life = Lifecycle("a")
    for state in walk:
        before = life.state
        if state in TRANSITIONS[before]:
            life.to(state)
            assert life.state is state
        else:
            with pytest.raises(LifecycleError):
                life.to(state)
            assert life.state is before


def test_every_state_is_reachable_and_can_be_left() -> None:
    assert set(TRANSITIONS) == set(WorkerState)
    reached = {WorkerState.NONE}
    for _ in WorkerState:
        reached |= {b for a in reached for b in TRANSITIONS[a]}
    assert reached == set(WorkerState)
    assert all(TRANSITIONS.values())


def test_only_a_running_worker_can_stall() -> None:
    assert [a for a, b in TRANSITIONS.items() if WorkerState.STALLED in b] == [WorkerState.RUNNING]
