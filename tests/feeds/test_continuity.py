"""The table decides every case, and the rules agree with the venue's document."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.continuity import (
    REASON,
    STATES,
    TABLE,
    Action,
    ContinuityRule,
    Event,
    Join,
    SnapshotRule,
    classify,
    describe,
    join,
)
from shm.enums import BookReason, BookState

LIVE, SYNCING, STALE, DESYNC = BookState.LIVE, BookState.SYNCING, BookState.STALE, BookState.DESYNC


def test_every_state_and_event_is_decided() -> None:
    assert set(TABLE) == {(state, event) for state in STATES for event in Event}


def test_only_proof_makes_a_book_live() -> None:
    entering = {(s, e) for (s, e), step in TABLE.items() if step.state is LIVE and s is not LIVE}
    # The venue's own word about a book that nothing has disproved is a proof too.
    assert entering == {
        (SYNCING, Event.PROVEN), (STALE, Event.DEPTH_IN_SEQUENCE), (STALE, Event.VOUCHED)
    }  # fmt: skip


def test_a_disproved_book_leaves_only_by_token_or_snapshot_towards_syncing() -> None:
    leaving = {e: step.state for (s, e), step in TABLE.items() if s is DESYNC and step.state is not DESYNC}
    assert leaving == {
        Event.TOKEN_GRANTED: SYNCING,
        Event.SNAPSHOT: SYNCING,
        Event.STREAM_SNAPSHOT: SYNCING,
    }


@pytest.mark.parametrize(
    "event", [Event.DEPTH_GAP, Event.BAD_LEVEL, Event.CROSSED, Event.CHECKSUM, Event.AUDIT_DIFFERENCE]
)
def test_what_disproves_a_live_book_asks_for_a_token(event: Event) -> None:
    step = TABLE[LIVE, event]
    assert step.state is DESYNC
    assert step.actions[-1] is Action.ASK_TOKEN


@pytest.mark.parametrize("event", [Event.SOCKET_LOST, Event.SILENCE, Event.CLOCK_JUMP, Event.IMPLAUSIBLE])
def test_what_only_makes_a_live_book_old_makes_it_stale(event: Event) -> None:
    assert TABLE[LIVE, event].state is STALE


def test_every_change_of_state_has_a_reason() -> None:
    for (state, event), step in TABLE.items():
        if step.state is not state:
            assert REASON.get(event, BookReason.NONE) is not BookReason.NONE, event


def test_a_book_is_never_live_again_without_a_proof_after_a_gap() -> None:
    """Every path of up to five events from the state behind a gap reaches LIVE only through PROVEN."""
    frontier = {TABLE[LIVE, Event.DEPTH_GAP].state}
    for _ in range(5):
        frontier |= {TABLE[s, e].state for s in frontier for e in Event if e is not Event.PROVEN}
    assert LIVE not in frontier


def test_the_readme_shows_the_table_as_it_is() -> None:
    readme = Path(__file__).resolve().parents[2] / "feeds" / "README.md"
    assert describe() in readme.read_text()


def test_previous_rule() -> None:
    rule = ContinuityRule.PREVIOUS
    assert classify(rule, 100, 105, 110, 100) is Event.DEPTH_IN_SEQUENCE
    assert classify(rule, 100, 105, 110, 101) is Event.DEPTH_GAP
    assert classify(rule, 100, 90, 95, 89) is Event.DEPTH_OLD
    assert classify(rule, 100, 90, 100, 89) is Event.DEPTH_OLD
    assert classify(rule, 100, 100, 100, 100) is Event.DEPTH_IN_SEQUENCE  # an empty heartbeat update


def test_a_sequence_reset_follows_and_what_follows_it_too() -> None:
    rule = ContinuityRule.PREVIOUS
    assert classify(rule, 100, 3, 3, 100) is Event.DEPTH_IN_SEQUENCE
    assert classify(rule, 3, 4, 4, 3) is Event.DEPTH_IN_SEQUENCE


def test_updates_without_numbers_are_ordered_by_time() -> None:
    rule = ContinuityRule.PREVIOUS
    assert classify(rule, 100, 0, 101, 0, is_unnumbered=True) is Event.DEPTH_IN_SEQUENCE
    assert classify(rule, 100, 0, 100, 0, is_unnumbered=True) is Event.DEPTH_IN_SEQUENCE
    assert classify(rule, 100, 0, 99, 0, is_unnumbered=True) is Event.DEPTH_OLD


def test_next_rule() -> None:
    rule = ContinuityRule.NEXT
    assert classify(rule, 100, 101, 110, 0) is Event.DEPTH_IN_SEQUENCE
    assert classify(rule, 100, 102, 110, 0) is Event.DEPTH_GAP
    assert classify(rule, 100, 95, 100, 0) is Event.DEPTH_OLD


@pytest.mark.parametrize(
    ("first", "last", "previous", "expected"),
    [
        (80, 99, 79, Join.BEFORE),
        (80, 100, 79, Join.JOINS),  # u == lastUpdateId, as in the recorded ETH run
        (100, 120, 99, Join.JOINS),
        (90, 120, 80, Join.JOINS),
        (105, 120, 100, Join.JOINS),  # numbers between belong to other instruments
        (105, 120, 95, Join.JOINS),
        (105, 120, 101, Join.AFTER),
        (105, 120, 0, Join.AFTER),
    ],
)
def test_inside_rule_of_snapshots(first: int, last: int, previous: int, expected: Join) -> None:
    assert join(SnapshotRule.INSIDE, 100, first, last, previous) is expected


def test_updates_before_a_snapshot_in_the_stream_are_in_it() -> None:
    assert join(SnapshotRule.IN_STREAM, 100, 101, 105, 100) is Join.BEFORE


def test_next_rule_of_snapshots() -> None:
    assert join(SnapshotRule.NEXT, 100, 90, 100, 0) is Join.BEFORE
    assert join(SnapshotRule.NEXT, 100, 101, 105, 0) is Join.JOINS
    assert join(SnapshotRule.NEXT, 100, 95, 105, 0) is Join.JOINS
    assert join(SnapshotRule.NEXT, 100, 102, 105, 0) is Join.AFTER


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=2, max_size=20),
    st.integers(0, 100),
    st.data(),
)
def test_an_unbroken_stream_joins_any_snapshot_inside_it(
    steps: list[tuple[int, int]], start: int, data: st.DataObject
) -> None:
    updates = []
    last = start + 1
    for skip, length in steps:
        updates.append((last + skip, last + skip + length, last))
        last = updates[-1][1]
    snapshot = data.draw(st.integers(updates[0][0], last))
    verdicts = [join(SnapshotRule.INSIDE, snapshot, *update) for update in updates]
    assert Join.AFTER not in verdicts[: verdicts.index(Join.JOINS) + 1]
    joined = updates[verdicts.index(Join.JOINS) :]
    for before, after in pairwise(joined):
        assert classify(ContinuityRule.PREVIOUS, before[1], *after) is Event.DEPTH_IN_SEQUENCE
