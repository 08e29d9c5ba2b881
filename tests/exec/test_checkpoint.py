"""Checkpoints: recovery from one and the newer files equals the full replay, wherever it was cut."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exec.checkpoint import (
    ORDER_FIELDS,
    CheckpointMaker,
    is_of_this_build,
    restore,
    snapshot,
    starting_point,
)
from exec.discrepancy import Discrepancy, DiscrepancyKind, Repair
from exec.errors import RecoveryError
from exec.lifecycle import Event
from exec.order import Order
from exec.recovery import Recovered, Replay, mute, recover
from exec.session import VenueReport
from risk.exposure import ExposureBook
from shm.enums import JournalKind
from shm.journal import Journal
from shm.journal_checkpoint import checkpoint_files, newest_checkpoint
from shm.journal_files import journal_files
from shm.journal_keeper import KeepPolicy, keep
from shm.journal_reader import read_journal
from shm.journal_verify import verify
from tests.exec.scene import BUY, EPOCH, Entry, Scene, check_ledger, linear
from tests.exec.test_recovery import random_run

FILE_BYTES = 16384


def replay_of(entries: list[Entry], start: bytes | None = None) -> Replay:
    scene = Scene()
    scene.oms.on_report = mute
    replay = Replay(scene.oms, Recovered())
    if start is not None:
        restore(start, replay)
    for entry in entries:
        replay.apply(entry)
    return replay


def test_a_checkpoint_holds_every_fact_of_an_order() -> None:
    order = Order(1, 0, BUY, 1, 1)
    derived = {"is_terminal", "avg_price_units"}
    facts = {name for name in dir(order) if not name.startswith("_") and not callable(getattr(order, name))}
    assert set(ORDER_FIELDS) == facts - derived


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32))
def test_recovery_from_a_checkpoint_behind_any_record_equals_the_full_replay(seed: int) -> None:
    scene, _, _ = random_run(seed, steps=12)
    entries = scene.journal.entries
    going = replay_of([])
    whole = snapshot(replay_of(entries))
    for cut in range(len(entries) + 1):
        content = snapshot(going)
        assert snapshot(replay_of([], content)) == content
        resumed = replay_of(entries[cut:], content)
        assert snapshot(resumed) == whole
        if cut < len(entries):
            going.apply(entries[cut])
    full = replay_of(entries)
    check_ledger(resumed.oms, resumed.oms.ledger)  # type: ignore[arg-type]
    assert resumed.oms.ledger.total_e8 == full.oms.ledger.total_e8  # type: ignore[attr-defined]
    assert [o.client_order_id for o in resumed.oms] == [o.client_order_id for o in full.oms]
    for order in full.oms:
        for alias in order.aliases:
            found = resumed.oms.order(alias)
            assert found is not None and found.root_client_order_id == order.root_client_order_id


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 1))
def test_what_recovery_says_aloud_is_the_same_with_a_checkpoint(seed: int, first: float) -> None:
    scene, _, _ = random_run(seed, steps=20)
    entries = scene.journal.entries
    cut = int(first * len(entries))
    content = snapshot(replay_of(entries[:cut]))
    plain, resumed = Scene(), Scene()
    one = recover(entries, plain.oms, now_ns=9_000)
    two = recover(entries[cut:], resumed.oms, now_ns=9_000, start=lambda replay: restore(content, replay))
    assert [r.to_bytes() for r in plain.reports] == [r.to_bytes() for r in resumed.reports]
    assert (one.consumed, one.counts, one.tail, one.entries) == (
        two.consumed,
        two.counts,
        two.tail,
        two.entries,
    )
    assert [o.client_order_id for o in one.cancels] == [o.client_order_id for o in two.cancels]


def test_a_fill_is_booked_once_across_a_checkpoint() -> None:
    scene = Scene()
    scene.book([(1000, 5)], [(1010, 5)])
    scene.new(BUY, 1010, 3)
    fill = next(e for e in scene.journal.entries if e.kind == JournalKind.REPORT and e.payload[0] == 2)
    content = snapshot(replay_of(scene.journal.entries))
    resumed = replay_of([fill], content)
    assert resumed.oms.ledger.position_units(0) == 3
    assert resumed.oms.statistics.duplicate_fills == 1


def test_a_fill_of_an_order_nobody_keeps_is_booked_once_across_a_checkpoint() -> None:
    scene = Scene()
    strange = VenueReport(
        Event.FILL_PART, 4711, 0, BUY, last_units=3, last_price_units=1000, trade_id=8, fee_units=1
    )
    scene.oms.apply_report(strange, 5)
    content = snapshot(replay_of(scene.journal.entries))
    resumed = replay_of(scene.journal.entries, content)
    assert resumed.oms.ledger.position_units(0) == 3
    assert resumed.oms.statistics.duplicate_fills == 1


def test_a_booked_drift_survives_a_restart() -> None:
    scene = Scene()
    drift = Discrepancy(
        int(DiscrepancyKind.POSITION_DRIFT), int(Repair.BOOK_DRIFT), 0, side=BUY, price_units=1000, units=4
    )
    scene.entries.discrepancy(drift, 5)
    replay = replay_of(scene.journal.entries)
    assert replay.oms.ledger.position_units(0) == 4 and replay.recovered.discrepancies == 1
    assert replay_of([], snapshot(replay)).oms.ledger.position_units(0) == 4


def test_a_checkpoint_of_another_build_or_epoch_is_refused() -> None:
    content = snapshot(replay_of([]))
    assert is_of_this_build(content)
    state = json.loads(content)
    for name, value in (("format", 99), ("epoch", EPOCH + 1), ("fields", ["side"])):
        with pytest.raises(RecoveryError):
            restore(json.dumps(state | {name: value}).encode(), Replay(Scene().oms, Recovered()))
    with pytest.raises(RecoveryError):
        restore(b"no checkpoint", Replay(Scene().oms, Recovered()))
    assert not is_of_this_build(json.dumps(state | {"format": 2}).encode())


def trade(directory: Path, orders: int) -> Scene:
    """A scene whose journal is on the disk, left as a killed gateway leaves it."""
    journal = Journal.open(directory, "test", EPOCH, file_bytes=FILE_BYTES)
    if not journal.sequence:
        journal.append(JournalKind.INSTRUMENT, linear(0).to_bytes(), 1)
    scene = Scene(journal=journal)  # type: ignore[arg-type]
    scene.book([(1000, 50)], [(1010, 50)])
    for number in range(orders):
        order = scene.new(BUY, 1000 if number % 3 else 1010, 1 + number % 4)
        if number % 5 == 0:
            scene.cancel(order)
        scene.book([(1000, 50)], [(1010, 50 + number % 2)])
    return scene


def make_checkpoints(directory: Path) -> CheckpointMaker:
    maker = CheckpointMaker(directory, EPOCH, ExposureBook)
    while maker.step(7):
        pass
    return maker


def facts_after(directory: Path, *, use_checkpoint: bool) -> tuple[object, ...]:
    scene = Scene()
    start, entries = (
        starting_point(directory, EPOCH) if use_checkpoint else (None, read_journal(directory, EPOCH))
    )
    counted = 0

    def count() -> object:
        nonlocal counted
        for entry in entries:
            counted += 1
            yield entry

    recovered = recover(count(), scene.oms, now_ns=9_000, start=start)  # type: ignore[arg-type]
    said = [r.to_bytes() for r in scene.reports]
    rows = [(i, row.position.quantity_units, row.position.cost_product) for i, row in scene.ledger]
    return counted, said, rows, recovered.counts, recovered.entries, recovered.disagreements


def test_recovery_reads_the_checkpoint_and_the_newer_files_only(tmp_path: Path) -> None:
    scene = trade(tmp_path, 60)
    maker = make_checkpoints(tmp_path)
    files = journal_files(tmp_path)
    assert len(files) > 4 and len(maker.written) == len(files) - 1
    assert len(checkpoint_files(tmp_path)) == 2, "older ones are pruned"
    full, short = facts_after(tmp_path, use_checkpoint=False), facts_after(tmp_path, use_checkpoint=True)
    assert short[1:] == full[1:]
    assert 0 < short[0] < full[0]  # type: ignore[operator]
    scene.journal.close()  # type: ignore[attr-defined]


def test_retention_leaves_what_recovery_needs_and_recovery_works_without_the_rest(tmp_path: Path) -> None:
    scene = trade(tmp_path, 60)
    full = facts_after(tmp_path, use_checkpoint=False)
    keep(tmp_path, KeepPolicy(keep_days=0, keep_bytes=1), 1)
    assert len(journal_files(tmp_path)) > 4, "without a checkpoint nothing of the run is removed"
    make_checkpoints(tmp_path)
    report = keep(tmp_path, KeepPolicy(keep_days=0, keep_bytes=1), 2)
    assert report.removed and report.held_by == "recovery"
    assert verify(tmp_path).is_good
    assert facts_after(tmp_path, use_checkpoint=True)[1:] == full[1:]
    # The newest one damaged: the one before it, and the files behind that one, still do.
    newest = checkpoint_files(tmp_path)[-1][2]
    newest.write_bytes(newest.read_bytes()[:-1])
    assert facts_after(tmp_path, use_checkpoint=True)[1:] == full[1:]
    scene.journal.close()  # type: ignore[attr-defined]


def test_a_maker_that_restarts_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    scene = trade(tmp_path, 40)
    make_checkpoints(tmp_path)
    scene.journal.close()  # type: ignore[attr-defined]
    before = len(journal_files(tmp_path))
    # A restarted worker's journal goes on; so does a restarted maker.
    journal = Journal.open(tmp_path, "test", EPOCH, file_bytes=FILE_BYTES)
    while len(journal_files(tmp_path)) < before + 2:
        journal.append(JournalKind.NOTE, bytes(1000), 1)
    journal.close()
    again = make_checkpoints(tmp_path)
    assert len(again.written) == 2
    found = newest_checkpoint(tmp_path, EPOCH)
    assert found is not None and found.position.file_index == before
    assert snapshot(again.replay) == snapshot(replay_of(list(read_journal(tmp_path, EPOCH))))  # type: ignore[arg-type]


def test_a_checkpoint_that_the_journal_does_not_continue_is_passed_over(tmp_path: Path) -> None:
    scene = trade(tmp_path / "a", 40)
    scene.journal.close()  # type: ignore[attr-defined]
    other = trade(tmp_path / "b", 43)
    other.journal.close()  # type: ignore[attr-defined]
    make_checkpoints(tmp_path / "a")
    for _, _, path in checkpoint_files(tmp_path / "a"):
        (tmp_path / "b" / path.name).write_bytes(path.read_bytes())
    assert newest_checkpoint(tmp_path / "b", EPOCH) is None
