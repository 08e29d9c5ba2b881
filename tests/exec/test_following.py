"""A ledger followed beside its writer: whoever takes over from it knows and says what a full replay would."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from exec.checkpoint import LedgerFollower, snapshot
from exec.recovery import Recovered, Replay, recover
from risk.exposure import ExposureBook
from shm.enums import JournalKind
from shm.journal import Journal
from shm.journal_reader import read_journal
from tests.exec.scene import EPOCH, Scene, linear
from tests.exec.test_checkpoint import FILE_BYTES, make_checkpoints, replay_of, trade
from tests.exec.test_recovery import random_run


def follow(directory: Path) -> LedgerFollower:
    return LedgerFollower(directory, EPOCH, lambda _rows: ExposureBook(linear))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 1))
def test_what_a_follower_says_when_it_takes_over_is_what_a_replay_of_everything_says(
    seed: int, first: float
) -> None:
    scene, _, _ = random_run(seed, steps=20)
    entries = scene.journal.entries
    cut = int(first * len(entries))
    plain, taken = Scene(), Scene()
    replay = Replay(taken.oms, Recovered())
    speak, taken.oms.on_report = taken.oms.on_report, lambda _report: None
    for entry in entries[:cut]:
        replay.apply(entry)
    taken.oms.on_report = speak
    one = recover(entries, plain.oms, now_ns=9_000)
    two = recover(entries[cut:], taken.oms, now_ns=9_000, replay=replay)
    assert two is replay.recovered
    assert [r.to_bytes() for r in plain.reports] == [r.to_bytes() for r in taken.reports]
    assert (one.consumed, one.counts, one.tail, one.entries) == (
        two.consumed,
        two.counts,
        two.tail,
        two.entries,
    )
    assert [o.client_order_id for o in one.cancels] == [o.client_order_id for o in two.cancels]
    assert plain.oms.ledger.total_e8 == taken.oms.ledger.total_e8  # type: ignore[attr-defined]


def test_a_follower_keeps_up_with_a_live_writer_and_hands_over_only_what_it_has_not_taken(
    tmp_path: Path,
) -> None:
    follower = follow(tmp_path)
    assert follower.step() == 0, "the journal is still empty"
    journal = Journal.open(tmp_path, "test", EPOCH, file_bytes=FILE_BYTES)
    journal.append(JournalKind.INSTRUMENT, linear(0).to_bytes(), 1)
    scene = Scene(journal=journal)  # type: ignore[arg-type]
    for number in range(60):
        scene.book([(1000, 50)], [(1010, 50 + number % 2)])
        scene.new(1, 1010 if number % 3 else 1000, 1 + number % 4)
        while number % 2 == 0 and follower.step(3):
            pass
    before = follower.replay.recovered.entries
    rest = list(follower.rest())
    assert before and rest and before + len(rest) == journal.sequence
    for entry in rest:
        follower.take(entry)
    everything = list(read_journal(tmp_path, EPOCH))
    assert snapshot(follower.replay) == snapshot(replay_of(everything))  # type: ignore[arg-type]
    journal.close()


def test_a_follower_that_comes_late_begins_at_the_newest_checkpoint(tmp_path: Path) -> None:
    scene = trade(tmp_path, 60)
    make_checkpoints(tmp_path)
    follower, steps = follow(tmp_path), 0
    while follower.step(1):
        steps += 1
    everything = list(read_journal(tmp_path, EPOCH))
    assert 0 < steps < len(everything)
    assert snapshot(follower.replay) == snapshot(replay_of(everything))  # type: ignore[arg-type]
    scene.journal.close()  # type: ignore[attr-defined]
