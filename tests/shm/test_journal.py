"""Journal: nothing lost by SIGKILL, nothing damaged without a name, a full disk survived."""

from __future__ import annotations

import errno
import os
import signal
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.enums import JournalKind
from shm.errors import JournalError, JournalFull
from shm.journal import FILE_BYTES_MIN, HEADER_BYTES, Journal, JournalEntry, crc32c
from shm.journal_files import file_name, journal_files
from shm.journal_reader import read_journal

RECORD_BYTES = 32
SMALL = FILE_BYTES_MIN


def open_small(directory: Path, epoch: int = 1) -> Journal:
    return Journal.open(directory, "test", epoch, file_bytes=SMALL)


def write(directory: Path, payloads: list[bytes], epoch: int = 1) -> None:
    with open_small(directory, epoch) as journal:
        for payload in payloads:
            journal.append(JournalKind.NOTE, payload, 7)


def payloads_of(directory: Path) -> list[bytes]:
    return [entry.payload for entry in read_journal(directory)]


def flip(path: Path, offset: int, mask: int = 0xFF) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ mask]))


def test_crc32c_of_the_published_vectors() -> None:
    # RFC 3720, appendix B.4, and the check value of the CRC catalogue.
    vectors = {
        bytes(32): 0x8A9136AA,
        b"\xff" * 32: 0x62A8AB43,
        bytes(range(32)): 0x46DD794E,
        bytes(range(31, -1, -1)): 0x113FDB5C,
        b"123456789": 0xE3069283,
        b"": 0,
    }
    for data, value in vectors.items():
        assert crc32c(data) == crc32c(data, hardware=False) == value


@settings(max_examples=60)
@given(st.binary(max_size=100), st.integers(0, 100))
def test_crc32c_may_be_taken_in_parts_and_by_either_code(data: bytes, cut: int) -> None:
    for hardware in (True, False):
        assert crc32c(data[cut:], crc32c(data[:cut], 0, hardware), hardware) == crc32c(data)


def test_entries_come_back_as_they_were_appended(tmp_path: Path) -> None:
    with open_small(tmp_path) as journal:
        assert journal.append(JournalKind.INTENT, b"one", 10) == 1
        assert journal.append(JournalKind.SENT, bytearray(b"second"), -5) == 2
        assert journal.sequence == 2
    path = tmp_path / file_name(1, 0)
    reader = read_journal(tmp_path)
    assert list(reader) == [
        JournalEntry(1, 1, JournalKind.INTENT, 10, b"one", path, HEADER_BYTES),
        JournalEntry(2, 1, JournalKind.SENT, -5, b"second", path, HEADER_BYTES + 48),
    ]
    assert reader.torn == []


def test_a_reader_beside_the_writer_sees_what_is_committed(tmp_path: Path) -> None:
    with open_small(tmp_path) as journal:
        for number in range(3):
            journal.append(JournalKind.NOTE, b"%d" % number, 0)
            assert payloads_of(tmp_path) == [b"%d" % n for n in range(number + 1)]


@settings(max_examples=25, deadline=None)
@given(sessions=st.lists(st.lists(st.binary(min_size=1, max_size=1500), max_size=12), max_size=4))
def test_any_sessions_give_one_chain_across_files(
    tmp_path_factory: pytest.TempPathFactory, sessions: list[list[bytes]]
) -> None:
    directory = tmp_path_factory.mktemp("journal")
    for session in sessions:
        write(directory, session)
    entries = list(read_journal(directory)) if sessions else []
    assert [entry.payload for entry in entries] == [payload for session in sessions for payload in session]
    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))


def test_a_payload_may_fill_a_file_to_the_last_byte(tmp_path: Path) -> None:
    with open_small(tmp_path) as journal:
        largest = journal.payload_max
        assert largest == SMALL - HEADER_BYTES - RECORD_BYTES
        for _ in range(3):
            journal.append(JournalKind.NOTE, b"x" * largest, 0)
        assert journal.free_bytes == 0
        for wrong in (b"", b"x" * (largest + 1)):
            with pytest.raises(JournalError, match="does not fit"):
                journal.append(JournalKind.NOTE, wrong, 0)
        assert journal.append(JournalKind.NOTE, b"next", 0) == 4
    assert [len(payload) for payload in payloads_of(tmp_path)] == [largest] * 3 + [4]
    assert len(journal_files(tmp_path)) == 4


def test_each_epoch_has_files_and_numbers_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, [b"a", b"b"], epoch=1)
    write(tmp_path, [b"c"], epoch=2)
    assert [(e.epoch, e.sequence, e.payload) for e in read_journal(tmp_path)] == [
        (1, 1, b"a"),
        (1, 2, b"b"),
        (2, 1, b"c"),
    ]
    assert [e.payload for e in read_journal(tmp_path, epoch=2)] == [b"c"]


def append_forever(directory: Path, ready: int) -> None:
    """Child: numbered payloads of changing size; says once that the first is committed."""
    journal = open_small(directory)
    number = journal.sequence
    while True:
        number += 1
        body = struct.pack("<Q", number) * (1 + number % 40)
        if journal.append(JournalKind.REPORT, body, number) != number:
            os._exit(1)
        if ready >= 0:
            os.write(ready, b"1")
            ready = -1


def test_a_killed_writer_leaves_whole_records_and_the_next_goes_on(tmp_path: Path) -> None:
    before = 0
    for kill in range(6):
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                append_forever(tmp_path, write_end)
            finally:
                os._exit(1)
        os.close(write_end)
        assert os.read(read_end, 1) == b"1"
        os.close(read_end)
        # Let it get somewhere else each time; what counts is progress, not time.
        while len(journal_files(tmp_path)) < 2 * (kill + 1):
            assert os.waitpid(child, os.WNOHANG) == (0, 0)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        reader = read_journal(tmp_path)
        count = 0
        for count, entry in enumerate(reader, start=1):
            assert entry.sequence == count
            assert entry.payload == struct.pack("<Q", count) * (1 + count % 40)
        assert reader.torn == []
        assert count > before
        before = count
    with open_small(tmp_path) as journal:
        assert journal.sequence == before
    assert not list(tmp_path.glob("*.tmp"))


def test_a_record_that_was_not_committed_is_overwritten_cleanly(tmp_path: Path) -> None:
    write(tmp_path, [b"first"])
    path = tmp_path / file_name(1, 0)
    at = HEADER_BYTES + 48
    with path.open("r+b") as file:
        # All of an append but its commit, with a body that looks like records.
        file.seek(at)
        file.write(
            struct.pack("<IIQqHHI", 0, 123, 2, 7, 9, 0, 0) + struct.pack("<IIQqHHI", 9, 9, 3, 7, 9, 0, 0) * 20
        )
    assert payloads_of(tmp_path) == [b"first"]
    write(tmp_path, [b"second"])
    assert payloads_of(tmp_path) == [b"first", b"second"]


def test_one_flipped_byte_in_a_record_is_named(tmp_path: Path) -> None:
    write(tmp_path, [b"a" * 9, b"b" * 9, b"c" * 9, b"d" * 9])
    path = tmp_path / file_name(1, 0)
    damaged = HEADER_BYTES + 48
    for offset in range(damaged, damaged + 48):
        for mask in (0xFF, 0x01):
            flip(path, offset, mask)
            found: list[JournalEntry] = []
            with pytest.raises(JournalError, match=r"record 2.*journal-000001-000000.*4144") as caught:
                found.extend(read_journal(tmp_path))
            assert (caught.value.path, caught.value.offset) == (path, damaged)
            assert [entry.sequence for entry in found] == [1]
            with pytest.raises(JournalError, match="record 2"):
                open_small(tmp_path)
            flip(path, offset, mask)
    assert len(payloads_of(tmp_path)) == 4


def test_what_stands_before_the_damage_is_still_read(tmp_path: Path) -> None:
    write(tmp_path, [b"a", b"b", b"c"])
    flip(tmp_path / file_name(1, 0), HEADER_BYTES + 48 + RECORD_BYTES)
    reader = read_journal(tmp_path)
    assert next(reader).payload == b"a"
    with pytest.raises(JournalError):
        next(reader)


def test_a_length_flipped_to_zero_hides_nothing(tmp_path: Path) -> None:
    write(tmp_path, [b"a" * 64, b"b" * 64, b"c" * 64])
    flip(tmp_path / file_name(1, 0), HEADER_BYTES + 96, 64)
    with pytest.raises(JournalError, match="record 2"):
        list(read_journal(tmp_path))


@pytest.mark.parametrize("offset", [0, 8, 12, 16, 24, 32, 40, 48, 60, 2000, HEADER_BYTES - 1])
def test_one_flipped_byte_in_a_header_is_found(tmp_path: Path, offset: int) -> None:
    write(tmp_path, [b"a"])
    path = tmp_path / file_name(1, 0)
    flip(path, offset)
    with pytest.raises(JournalError) as caught:
        list(read_journal(tmp_path))
    assert caught.value.path == path
    with pytest.raises(JournalError):
        open_small(tmp_path)


def test_damage_at_the_very_end_is_told_apart_from_a_clean_end(tmp_path: Path) -> None:
    write(tmp_path, [b"a", b"b"])
    path = tmp_path / file_name(1, 0)
    flip(path, HEADER_BYTES + 48 + RECORD_BYTES)
    reader = read_journal(tmp_path)
    assert [entry.payload for entry in reader] == [b"a"]
    (torn,) = reader.torn
    assert (torn.path, torn.offset) == (path, HEADER_BYTES + 48)
    assert "record 2 is torn" in str(torn)
    write(tmp_path, [b"again"])
    assert payloads_of(tmp_path) == [b"a", b"again"]


def test_damage_at_the_end_of_a_file_that_has_a_successor_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, [b"x" * 4000, b"y" * 4000])
    flip(tmp_path / file_name(1, 0), HEADER_BYTES + RECORD_BYTES)
    with pytest.raises(JournalError, match="record 1"):
        list(read_journal(tmp_path))


@pytest.mark.parametrize("size", [HEADER_BYTES + 50, HEADER_BYTES + 100, SMALL - 1])
def test_a_file_cut_short_ends_there_and_says_so(tmp_path: Path, size: int) -> None:
    write(tmp_path, [b"a", b"b"])
    path = tmp_path / file_name(1, 0)
    os.truncate(path, size)
    expected = [b"a", b"b"] if size >= HEADER_BYTES + 96 else [b"a"]
    reader = read_journal(tmp_path)
    assert [entry.payload for entry in reader] == expected
    assert "cut off" in str(reader.torn[0])
    write(tmp_path, [b"on"])
    assert payloads_of(tmp_path) == [*expected, b"on"]


@pytest.mark.parametrize("size", [0, 100, HEADER_BYTES - 1])
def test_a_file_without_a_whole_header_is_refused(tmp_path: Path, size: int) -> None:
    write(tmp_path, [b"a"])
    os.truncate(tmp_path / file_name(1, 0), size)
    for attempt in (lambda: list(read_journal(tmp_path)), lambda: open_small(tmp_path)):
        with pytest.raises(JournalError, match="no journal header"):
            attempt()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, [b"x" * 4000] * 3)
    (tmp_path / file_name(1, 1)).unlink()
    with pytest.raises(JournalError, match=r"journal-000001-000001\.rlj is missing"):
        list(read_journal(tmp_path))


def test_a_file_cut_in_the_middle_of_the_chain_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, [b"x" * 2000, b"y" * 1900, b"z" * 4000])
    path = tmp_path / file_name(1, 0)
    os.truncate(path, HEADER_BYTES + 2048)
    with pytest.raises(JournalError, match="record 2: the file is cut off"):
        list(read_journal(tmp_path))


def test_a_full_disk_writes_nothing_and_leaves_the_journal_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with open_small(tmp_path) as journal:
        journal.append(JournalKind.NOTE, b"x" * 3000, 0)
        monkeypatch.setattr(os, "posix_fallocate", refuse)
        with pytest.raises(JournalFull, match="no room") as caught:
            journal.append(JournalKind.NOTE, b"y" * 3000, 0)
        assert isinstance(caught.value, JournalError)
        assert journal.sequence == 1
        assert journal.append(JournalKind.NOTE, b"still fits", 0) == 2
        with pytest.raises(JournalFull):
            journal.prepare(1 << 20)
        monkeypatch.undo()
        assert journal.append(JournalKind.NOTE, b"z" * 3000, 0) == 3
    assert [len(payload) for payload in payloads_of(tmp_path)] == [3000, 10, 3000]
    assert not list(tmp_path.glob("*.tmp"))


def test_no_room_for_the_first_file_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(JournalFull):
        open_small(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["journal.lock"]
    monkeypatch.undo()
    write(tmp_path, [b"a"])
    assert payloads_of(tmp_path) == [b"a"]


def test_the_next_file_may_be_made_ahead_of_time(tmp_path: Path) -> None:
    with open_small(tmp_path) as journal:
        journal.prepare()
        assert list(tmp_path.glob("*.tmp"))
        journal.append(JournalKind.NOTE, b"x" * 3000, 0)
        journal.append(JournalKind.NOTE, b"y" * 3000, 0)
        assert not list(tmp_path.glob("*.tmp"))
        journal.prepare()
        journal.sync()
    assert not list(tmp_path.glob("*.tmp"))
    assert [len(payload) for payload in payloads_of(tmp_path)] == [3000, 3000]


def test_there_is_one_writer(tmp_path: Path) -> None:
    with open_small(tmp_path), pytest.raises(JournalError, match="another writer"):
        open_small(tmp_path)
    open_small(tmp_path).close()


def test_a_closed_journal_refuses(tmp_path: Path) -> None:
    journal = open_small(tmp_path)
    journal.close()
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.append(JournalKind.NOTE, b"a", 0)


def test_the_journal_of_another_instance_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [b"a"])
    with pytest.raises(JournalError, match="belongs to instance 'test'"):
        Journal.open(tmp_path, "other", 1, file_bytes=SMALL)


@pytest.mark.parametrize(
    ("instance", "epoch", "file_bytes"),
    [("", 1, SMALL), ("x" * 64, 1, SMALL), ("x", 0, SMALL), ("x", 1, SMALL - 1)],
)
def test_arguments_out_of_range_are_refused(
    tmp_path: Path, instance: str, epoch: int, file_bytes: int
) -> None:
    with pytest.raises(JournalError):
        Journal.open(tmp_path, instance, epoch, file_bytes=file_bytes)
    with pytest.raises(TypeError):
        Journal()


def test_a_closed_journal_gives_its_unused_room_back_and_can_be_continued(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "room", 1, file_bytes=8 << 20) as journal:
        journal.append(1, b"first", 1)
        path = next(tmp_path.glob("*.rlj"))
        assert path.stat().st_blocks * 512 >= 8 << 20
    assert path.stat().st_size == 8 << 20
    assert path.stat().st_blocks * 512 < 1 << 20
    with Journal.open(tmp_path, "room", 1) as journal:
        assert path.stat().st_blocks * 512 >= 8 << 20, "the disk promises the room again"
        assert journal.append(1, b"second", 2) == 2
    reader = read_journal(tmp_path)
    assert [entry.payload for entry in reader] == [b"first", b"second"]
    assert reader.torn == []
