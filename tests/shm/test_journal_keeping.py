"""Reading on, cursors, sealing and retention of a journal; each killed at every system call."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.enums import JournalKind
from shm.errors import JournalError
from shm.journal import HEADER_BYTES, Journal
from shm.journal_checkpoint import (
    Checkpoint,
    checkpoint_files,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from shm.journal_cursor import JournalCursor, all_cursors
from shm.journal_files import JournalPosition, entry_end, file_name, journal_files, map_to_read
from shm.journal_keeper import DAY_NS, KeepPolicy, keep
from shm.journal_reader import START, JournalFollower, read_journal
from shm.journal_seals import SEALS_NAME, SealWriter, read_seals
from shm.journal_verify import verify
from tests.kit.kill_points import every_kill

FILE_BYTES = 16384
FOREVER = KeepPolicy(keep_days=0)
NOTHING = KeepPolicy(keep_days=0, keep_bytes=1)


def body(epoch: int, number: int) -> bytes:
    return struct.pack("<QQ", epoch, number) * 17


def write(directory: Path, count: int, epoch: int = 1, file_bytes: int = FILE_BYTES) -> None:
    with Journal.open(directory, "test", epoch, file_bytes=file_bytes) as journal:
        for number in range(journal.sequence + 1, journal.sequence + count + 1):
            journal.append(JournalKind.REPORT, body(epoch, number), number)


def numbers(follower: JournalFollower, limit: int = 1000) -> list[tuple[int, int]]:
    found = []
    for entry in follower.read(limit):
        assert entry.payload == body(entry.epoch, entry.sequence)
        found.append((entry.epoch, entry.sequence))
    return found


def checkpoint_at(directory: Path, epoch: int, index: int) -> Checkpoint:
    """A checkpoint of nothing behind a file, as far as the journal is concerned."""
    last = [e for e in read_journal(directory, epoch) if e.file.name == file_name(epoch, index)][-1]
    from shm.journal import FileView

    path = directory / file_name(epoch, index + 1)
    view = FileView(path, map_to_read(path), epoch, index + 1)
    position = JournalPosition(epoch, index, entry_end(last), last.sequence, view.previous_chain)
    return Checkpoint(position, b"state %d" % index)


# ---- reading on ------------------------------------------------------------------------------------


def test_a_follower_reads_each_entry_once_across_files_restarts_and_runs(tmp_path: Path) -> None:
    follower = JournalFollower(tmp_path / "later")
    assert follower.read() == [], "a journal that is not there yet is empty"
    due: list[tuple[int, int]] = []
    for epoch in (1, 2, 5):
        for _ in range(3):
            write(tmp_path / "later", 30, epoch)
            last = due[-1][1] if due and due[-1][0] == epoch else 0
            more = [(epoch, last + n) for n in range(1, 31)]
            due += more
            assert numbers(follower) == more
            assert follower.read() == []
    assert follower.torn == []


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(0, 4))
def test_reading_from_any_stored_position_goes_on_exactly_there(
    tmp_path_factory: pytest.TempPathFactory, limits: list[int], kept: int
) -> None:
    directory = tmp_path_factory.mktemp("journal")
    for epoch in (1, 2):
        write(directory, 100, epoch)
    position, found = START, []
    for number, limit in enumerate([*limits, 1000]):
        follower = JournalFollower(directory, position)  # a new process each time
        found += numbers(follower, limit)
        position = JournalPosition(*follower.position)
        if number == kept:
            keep(directory, FOREVER, 1)  # sealed and trimmed in between
    assert found == [(epoch, n) for epoch in (1, 2) for n in range(1, 101)]


def test_a_follower_beside_a_live_writer_misses_nothing_at_a_rotation(tmp_path: Path) -> None:
    follower = JournalFollower(tmp_path)
    found = []
    with Journal.open(tmp_path, "test", 1, file_bytes=FILE_BYTES) as journal:
        for number in range(1, 200):
            journal.append(JournalKind.REPORT, body(1, number), number)
            if number % 3 == 0:
                found += numbers(follower, 2)
    while more := numbers(follower, 5):
        found += more
    assert found == [(1, n) for n in range(1, 200)]


def test_records_appended_between_the_last_look_and_a_rotation_are_read(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, "test", 1, file_bytes=FILE_BYTES)
    journal.append(JournalKind.REPORT, body(1, 1), 1)
    follower = JournalFollower(tmp_path)
    assert numbers(follower) == [(1, 1)]
    files = follower._files

    def late() -> object:
        if len(journal_files(tmp_path)) == 1:
            for number in range(journal.sequence + 1, 60):  # the follower has just seen the end
                journal.append(JournalKind.REPORT, body(1, number), number)
        return files()

    follower._files = late  # type: ignore[method-assign,assignment]
    assert numbers(follower) == [(1, n) for n in range(2, 60)]
    journal.close()


def test_a_damaged_record_stops_a_follower_in_front_of_it(tmp_path: Path) -> None:
    write(tmp_path, 60)
    path = tmp_path / file_name(1, 0)
    data = bytearray(path.read_bytes())
    data[HEADER_BYTES + 2 * 304 + 100] ^= 1
    path.write_bytes(data)
    follower = JournalFollower(tmp_path)
    assert numbers(follower) == [(1, 1), (1, 2)]
    for _ in range(2):
        with pytest.raises(JournalError, match="record 3"):
            follower.read()
    assert follower.position.sequence == 2


def test_what_retention_removed_before_it_was_read_is_said(tmp_path: Path) -> None:
    write(tmp_path, 100)
    follower = JournalFollower(tmp_path)
    numbers(follower, 10)
    write(tmp_path, 100, epoch=2)
    write(tmp_path, 100, epoch=3)
    keep(tmp_path, NOTHING, 1)
    with pytest.raises(JournalError, match=r"records 11 to 40 .* were removed by retention"):
        JournalFollower(tmp_path, follower.position).read()
    assert numbers(JournalFollower(tmp_path))[0] == (2, 1)


def test_a_position_at_the_end_of_a_removed_file_still_goes_on(tmp_path: Path) -> None:
    write(tmp_path, 100, epoch=1)
    follower = JournalFollower(tmp_path)
    assert len(numbers(follower)) == 100
    for epoch in (2, 3):
        write(tmp_path, 100, epoch)
    keep(tmp_path, NOTHING, 1)
    assert not (tmp_path / file_name(1, 2)).exists()
    assert numbers(JournalFollower(tmp_path, follower.position))[0] == (2, 1)
    assert numbers(follower)[0] == (2, 1), "one that still has it open too"


# ---- cursors ---------------------------------------------------------------------------------------


def test_a_cursor_is_registered_at_the_beginning_and_only_goes_on(tmp_path: Path) -> None:
    cursor = JournalCursor.open(tmp_path / "new", "database")
    assert cursor.position == START and list(all_cursors(tmp_path / "new")) == ["database"]
    cursor.save(JournalPosition(2, 1, 5000, 77, 9))
    assert JournalCursor.open(tmp_path / "new", "database").position == JournalPosition(2, 1, 5000, 77, 9)
    with pytest.raises(JournalError, match="would go back"):
        cursor.save(JournalPosition(2, 1, 4900, 76, 9))
    cursor.remove()
    assert all_cursors(tmp_path / "new") == {}
    for name in ("", "Data Base", "x" * 41, "../up"):
        with pytest.raises(JournalError, match="not valid"):
            JournalCursor.open(tmp_path, name)


def test_a_cursor_killed_at_any_call_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    old, new = JournalPosition(1, 0, 5000, 3, 4), JournalPosition(1, 2, 6000, 40, 5)

    def prepare(_: int) -> None:
        shutil.rmtree(tmp_path / "j", ignore_errors=True)
        JournalCursor.open(tmp_path / "j", "store").save(old)

    def judge(_: int) -> None:
        assert JournalCursor.open(tmp_path / "j", "store").position in (old, new)

    assert every_kill(lambda: JournalCursor.open(tmp_path / "j", "store").save(new), judge, prepare) >= 3


def test_a_damaged_cursor_is_named_and_holds_retention(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        write(tmp_path, 100, epoch)
    cursor = JournalCursor.open(tmp_path, "store")
    cursor.path.write_bytes(cursor.path.read_bytes().replace(b'"sequence": 0', b'"sequence": 9'))
    with pytest.raises(JournalError, match="cursor is damaged"):
        JournalCursor.open(tmp_path, "store")
    report = keep(tmp_path, NOTHING, 1)
    assert report.removed == [] and report.held_by == "cursor store (damaged)"


# ---- seals -----------------------------------------------------------------------------------------


def test_closed_files_are_sealed_and_trimmed_and_the_newest_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path, 10, epoch=1, file_bytes=4 << 20)
    write(tmp_path, 10, epoch=2, file_bytes=4 << 20)
    old, newest = tmp_path / file_name(1, 0), tmp_path / file_name(2, 0)
    with old.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, 4 << 20)  # as a killed gateway leaves it
    inode = old.stat().st_ino
    reader = JournalFollower(tmp_path)  # has the long file mapped while it is trimmed
    first = numbers(reader, 3)
    report = keep(tmp_path, FOREVER, 7)
    assert report.sealed == [old.name] and report.trimmed_bytes > 3 << 20
    assert old.stat().st_ino != inode, "in place it would be cut off under a reader's mapping"
    assert old.stat().st_size == HEADER_BYTES + 10 * 304 and newest.stat().st_size == 4 << 20
    assert first + numbers(reader) == [(e, n) for e in (1, 2) for n in range(1, 11)]
    assert keep(tmp_path, FOREVER, 8).sealed == []
    assert verify(tmp_path).findings == []
    seal = read_seals(tmp_path).seals[1, 0]
    assert (seal.records, seal.last_sequence, seal.damage, seal.sealed_utc_ns) == (10, 10, "", 7)


def test_two_keepers_exclude_each_other(tmp_path: Path) -> None:
    write(tmp_path, 100)
    with SealWriter(tmp_path), pytest.raises(JournalError, match="another process"):
        keep(tmp_path, FOREVER, 1)


def test_nothing_is_appended_to_a_broken_chain_of_seals(tmp_path: Path) -> None:
    write(tmp_path, 100)
    keep(tmp_path, FOREVER, 1)
    path = tmp_path / SEALS_NAME
    path.write_bytes(path.read_bytes().replace(b'"index": 0', b'"index": 7'))
    before = path.read_bytes()
    write(tmp_path, 1, epoch=2)
    with pytest.raises(JournalError, match="line 1 does not continue"):
        keep(tmp_path, FOREVER, 2)
    assert path.read_bytes() == before


# ---- retention -------------------------------------------------------------------------------------


def test_files_go_by_age_oldest_first(tmp_path: Path) -> None:
    for epoch in (1, 2, 3, 4):
        write(tmp_path, 10, epoch)
        keep(tmp_path, KeepPolicy(keep_days=10), epoch * DAY_NS)
    policy = KeepPolicy(keep_days=10)
    assert keep(tmp_path, policy, int(12.1 * DAY_NS)).removed == [file_name(1, 0)]
    report = keep(tmp_path, policy, 100 * DAY_NS)
    assert report.removed == [file_name(2, 0)], "the last two runs are recovery's"
    assert report.held_by == "recovery"
    assert verify(tmp_path).findings == []


def test_files_go_by_size_but_not_before_every_consumer_has_stored_them(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        write(tmp_path, 100, epoch)
    one, two = JournalCursor.open(tmp_path, "one"), JournalCursor.open(tmp_path, "two")
    follower = JournalFollower(tmp_path)
    numbers(follower, 1000)
    one.save(follower.position)
    assert keep(tmp_path, NOTHING, 1).held_by == "cursor two"
    assert len(journal_files(tmp_path)) == 9
    slow = JournalFollower(tmp_path)
    numbers(slow, 40)  # exactly the first file
    two.save(slow.position)
    assert keep(tmp_path, NOTHING, 2).removed == [file_name(1, 0)]
    numbers(slow, 39)
    two.save(slow.position)
    assert keep(tmp_path, NOTHING, 3).removed == []
    two.remove()
    assert keep(tmp_path, NOTHING, 4).removed == [file_name(1, 1), file_name(1, 2)]
    assert numbers(JournalFollower(tmp_path))[0] == (2, 1)
    assert verify(tmp_path).findings == []


def test_a_long_run_loses_its_head_only_behind_two_checkpoints(tmp_path: Path) -> None:
    write(tmp_path, 400)
    assert keep(tmp_path, NOTHING, 1).removed == []
    write_checkpoint(tmp_path, checkpoint_at(tmp_path, 1, 3))
    assert keep(tmp_path, NOTHING, 2).removed == []
    write_checkpoint(tmp_path, checkpoint_at(tmp_path, 1, 6))
    assert keep(tmp_path, NOTHING, 3).removed == [file_name(1, n) for n in range(4)]
    assert next(read_journal(tmp_path, 1)).sequence == 161
    found = newest_checkpoint(tmp_path, 1)
    assert found is not None and found.content == b"state 6"
    with Journal.open(tmp_path, "test", 1, file_bytes=FILE_BYTES) as journal:
        assert journal.sequence == 400, "its writer goes on"
    assert verify(tmp_path).findings == []


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, 400)
    for index in (2, 5):
        write_checkpoint(tmp_path, checkpoint_at(tmp_path, 1, index))
    path = checkpoint_files(tmp_path)[-1][2]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(JournalError, match="SHA-256"):
        read_checkpoint(path)
    found = newest_checkpoint(tmp_path, 1)
    assert found is not None and found.position.file_index == 2


# ---- killed at every call --------------------------------------------------------------------------


def committed(directory: Path) -> list[int]:
    return [e.sequence for e in read_journal(directory, 1)]


def test_a_writer_killed_at_any_call_of_a_rotation_loses_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "j"

    def work() -> None:
        with Journal.open(directory, "test", 1, file_bytes=FILE_BYTES) as journal:
            for number in range(journal.sequence + 1, 130):
                if number % 20 == 0:
                    journal.prepare(8192)
                journal.append(JournalKind.REPORT, body(1, number), number)
            journal.close()

    def judge(_: int) -> None:
        before = committed(directory) if directory.is_dir() else []
        assert before == list(range(1, len(before) + 1))
        write(directory, 3)  # the next writer goes on behind the last one
        assert committed(directory) == list(range(1, len(before) + 4))
        assert verify(directory).is_good
        assert not list(directory.glob("*.tmp"))

    def prepare(_: int) -> None:
        shutil.rmtree(directory, ignore_errors=True)

    assert every_kill(work, judge, prepare) >= 8


def test_a_keeper_killed_at_any_call_of_sealing_trimming_and_removal_is_finished_by_the_next(
    tmp_path: Path,
) -> None:
    source, directory = tmp_path / "source", tmp_path / "j"
    write(source, 100, epoch=1)
    write(source, 30, epoch=2, file_bytes=1 << 20)  # to be trimmed
    write(source, 100, epoch=3)
    write(source, 20, epoch=4)
    with Journal.open(source, "test", 4, file_bytes=FILE_BYTES) as journal:
        journal.append(JournalKind.NOTE, b"the newest", 1)
    policy = KeepPolicy(keep_days=1)
    late = 100 * DAY_NS

    def work() -> None:
        keep(directory, FOREVER, DAY_NS)
        keep(directory, policy, late)

    def prepare(_: int) -> None:
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(source, directory)

    prepare(0)
    work()
    due = sorted(path.name for path in directory.iterdir())
    entries = [(e.epoch, e.sequence) for e in read_journal(directory)]
    assert entries[0] == (3, 1)

    def judge(step: int) -> None:
        report = verify(directory)
        assert report.is_good, (step, report.findings)
        rest = [(e.epoch, e.sequence) for e in read_journal(directory)]
        assert rest[-len(entries) :] == entries, "a reader at this moment"
        work()
        assert [(e.epoch, e.sequence) for e in read_journal(directory)] == entries
        assert sorted(path.name for path in directory.iterdir()) == due
        assert verify(directory).findings == []

    assert every_kill(work, judge, prepare) >= 15


def test_a_checkpoint_killed_at_any_call_is_there_or_not(tmp_path: Path) -> None:
    source, directory = tmp_path / "source", tmp_path / "j"
    write(source, 400)
    for index in (1, 3):
        write_checkpoint(source, checkpoint_at(source, 1, index))
    upcoming = checkpoint_at(source, 1, 5)

    def prepare(_: int) -> None:
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(source, directory)

    def judge(_: int) -> None:
        found = newest_checkpoint(directory, 1)
        assert found is not None and found.content in (b"state 3", b"state 5")
        write_checkpoint(directory, upcoming)
        found = newest_checkpoint(directory, 1)
        assert found is not None and found.content == b"state 5"
        assert len(checkpoint_files(directory)) == 2

    assert every_kill(lambda: write_checkpoint(directory, upcoming), judge, prepare) >= 4
