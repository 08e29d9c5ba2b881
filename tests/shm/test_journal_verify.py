"""`verify`: one flipped byte anywhere is named, as is a record or file that is missing, moved or replaced."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import struct
from pathlib import Path

import pytest

from shm.enums import JournalKind
from shm.errors import JournalError, JournalLayoutError
from shm.journal import HEADER_BYTES, Journal, crc32c
from shm.journal_files import file_name, journal_files
from shm.journal_keeper import KeepPolicy, keep
from shm.journal_reader import JournalFollower, read_journal
from shm.journal_seals import SEALS_NAME, line_digest, read_seals
from shm.journal_verify import REACH_BYTES, Finding, VerifyReport, verify

FILE_BYTES = 16384
FOREVER = KeepPolicy(keep_days=0)


def write(directory: Path, count: int, epoch: int = 1, size: int = 272, start: int = 0) -> None:
    with Journal.open(directory, "test", epoch, file_bytes=FILE_BYTES) as journal:
        for number in range(start, start + count):
            body = struct.pack("<QQ", epoch, number) * (size // 16)
            journal.append(JournalKind.REPORT, body, number)


def two_runs(directory: Path) -> None:
    """Three files of a first run and two of a second; all but the last are sealed."""
    write(directory, 100, epoch=1)
    write(directory, 60, epoch=2)
    keep(directory, FOREVER, 1)


def flip(path: Path, offset: int, mask: int = 0x10) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ mask]))


def damage_of(report: VerifyReport) -> list[Finding]:
    return [finding for finding in report.findings if finding.severity == "damage"]


def test_a_whole_journal_of_several_runs_is_good(tmp_path: Path) -> None:
    two_runs(tmp_path)
    report = verify(tmp_path)
    assert report.findings == []
    assert (report.files, report.records, report.sealed, report.epochs) == (5, 160, 4, (1, 2))
    assert report.is_good and report.is_open is False
    assert len(list(read_journal(tmp_path))) == 160, "a trimmed file reads like any other"


def test_one_flipped_byte_anywhere_in_the_directory_is_named(tmp_path: Path) -> None:
    two_runs(tmp_path)
    chance = random.Random(11)
    for _, _, path in journal_files(tmp_path):
        size = path.stat().st_size
        places = {0, HEADER_BYTES - 1, HEADER_BYTES, size - 1} | {chance.randrange(size) for _ in range(60)}
        for offset in sorted(places):
            flip(path, offset)
            found = [f for f in verify(tmp_path).findings if f.file == path]
            assert found, f"{path.name} byte {offset}"
            first = found[0]
            # Named by the record that it is in, or by the header, or by itself behind the records.
            assert first.offset <= offset or first.record == 0
            assert offset - first.offset < max(HEADER_BYTES, 32 + 272 + 16)
            flip(path, offset)
    assert verify(tmp_path).findings == []


def test_every_byte_of_a_record_counts_also_of_the_last_one_of_an_open_file(tmp_path: Path) -> None:
    write(tmp_path, 3)
    path = tmp_path / file_name(1, 0)
    record = 32 + 272
    for number in (2, 3):
        begin = HEADER_BYTES + (number - 1) * record
        for offset in range(begin, begin + record):
            flip(path, offset, 0x01)
            report = verify(tmp_path)
            assert [(f.record, f.offset) for f in report.findings] == [(number, begin)], offset
            assert not report.is_good
            flip(path, offset, 0x01)


def test_several_damaged_records_are_each_named(tmp_path: Path) -> None:
    write(tmp_path, 30)
    path = tmp_path / file_name(1, 0)
    record = 32 + 272
    for number in (3, 9, 20):
        flip(path, HEADER_BYTES + (number - 1) * record + 100)
    report = verify(tmp_path)
    assert [f.record for f in damage_of(report)] == [3, 9, 20]
    assert report.records == 27


def test_a_torn_end_is_no_damage_but_a_bad_last_record_is(tmp_path: Path) -> None:
    write(tmp_path, 2)
    path = tmp_path / file_name(1, 0)
    end = HEADER_BYTES + 2 * (32 + 272)
    with path.open("r+b") as file:
        file.seek(end + 32)
        file.write(b"half of a body")
    report = verify(tmp_path)
    assert report.is_good
    assert [(f.severity, f.record, f.offset) for f in report.findings] == [("torn", 3, end + 32)]
    flip(path, end - 1)
    (bad,) = damage_of(verify(tmp_path))
    assert (bad.record, bad.offset) == (2, end - 32 - 272)


def test_a_byte_far_behind_the_last_record_is_damage(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "test", 1, file_bytes=1 << 20) as journal:
        journal.append(JournalKind.NOTE, b"x", 1)
    flip(tmp_path / file_name(1, 0), HEADER_BYTES + 48 + REACH_BYTES)
    (bad,) = damage_of(verify(tmp_path))
    assert bad.offset == HEADER_BYTES + 48 + REACH_BYTES


@pytest.mark.parametrize("which", [(1, 0), (1, 1), (1, 2), (2, 0)])
def test_a_missing_file_is_named(tmp_path: Path, which: tuple[int, int]) -> None:
    two_runs(tmp_path)
    (tmp_path / file_name(*which)).unlink()
    report = verify(tmp_path)
    assert [f.file for f in damage_of(report)][:1] == [tmp_path / file_name(*which)]
    assert "is missing" in str(report.findings[0])


def test_a_missing_file_is_named_without_seals_too(tmp_path: Path) -> None:
    write(tmp_path, 100)
    (tmp_path / file_name(1, 1)).unlink()
    assert [f.file for f in damage_of(verify(tmp_path))] == [tmp_path / file_name(1, 1)]


def test_swapped_files_are_found(tmp_path: Path) -> None:
    two_runs(tmp_path)
    one, two = tmp_path / file_name(1, 0), tmp_path / file_name(1, 1)
    aside = tmp_path / "aside"
    one.rename(aside)
    two.rename(one)
    aside.rename(two)
    assert {f.file for f in damage_of(verify(tmp_path))} >= {one, two}


def rebuilt(directory: Path, drop: int | None = None, swap: int | None = None) -> list[bytes]:
    """Payloads of the first file, one left out or two exchanged, as someone who edits a journal would."""
    payloads = [e.payload for e in read_journal(directory) if e.file.name == file_name(1, 0)]
    if drop is not None:
        del payloads[drop]
    if swap is not None:
        payloads[swap], payloads[swap + 1] = payloads[swap + 1], payloads[swap]
    return payloads


@pytest.mark.parametrize("how", ["removed", "reordered", "replaced"])
def test_a_file_rewritten_with_good_checksums_is_found_by_its_successor_and_by_its_seal(
    tmp_path: Path, how: str
) -> None:
    whole, forged = tmp_path / "whole", tmp_path / "forged"
    two_runs(whole)
    payloads = rebuilt(whole, drop=5 if how == "removed" else None, swap=5 if how == "reordered" else None)
    if how == "replaced":
        payloads[5] = bytes(272)
    with Journal.open(forged, "test", 1, file_bytes=FILE_BYTES) as journal:
        for number, payload in enumerate(payloads):
            journal.append(JournalKind.REPORT, payload, number)
    shutil.copy(forged / file_name(1, 0), whole / file_name(1, 0))
    found = damage_of(verify(whole))
    assert found[0].file == whole / file_name(1, 0)
    assert "SHA-256" in found[0].text or "cut" in found[0].text
    (whole / SEALS_NAME).unlink()
    found = damage_of(verify(whole))
    assert [f.file for f in found] == [whole / file_name(1, 1)]
    assert "does not continue" in found[0].text


def test_records_moved_within_a_file_are_named(tmp_path: Path) -> None:
    write(tmp_path, 6)
    path = tmp_path / file_name(1, 0)
    record = 32 + 272
    data = bytearray(path.read_bytes())
    a, b = HEADER_BYTES + record, HEADER_BYTES + 2 * record
    data[a : a + record], data[b : b + record] = data[b : b + record], data[a : a + record]
    path.write_bytes(data)
    assert damage_of(verify(tmp_path))[0].record == 2
    del data[a : a + record]  # back in order, but the third is gone
    path.write_bytes(bytes(data) + bytes(record))
    assert (damage_of(verify(tmp_path))[0].record, damage_of(verify(tmp_path))[0].offset) == (3, b)


def test_the_chain_of_a_file_starts_from_its_own_header(tmp_path: Path) -> None:
    # The records of one file behind the (valid) header of another.
    write(tmp_path / "a", 3)
    write(tmp_path / "b", 3)
    a, b = tmp_path / "a" / file_name(1, 0), tmp_path / "b" / file_name(1, 0)
    data = bytearray(b.read_bytes())
    data[:HEADER_BYTES] = a.read_bytes()[:HEADER_BYTES]
    b.write_bytes(data)
    assert damage_of(verify(tmp_path / "b"))[0].record == 1


def test_a_changed_seal_breaks_the_chain_of_seals(tmp_path: Path) -> None:
    two_runs(tmp_path)
    path = tmp_path / SEALS_NAME
    lines = path.read_bytes().splitlines(keepends=True)
    for text in (
        b"".join(lines[1:]),
        b"".join([lines[0], *lines[2:]]),
        b"".join([lines[1], lines[0], *lines[2:]]),
        b"".join(lines).replace(b'"records": 40', b'"records": 41', 1),
    ):
        if text == b"".join(lines):
            continue
        path.write_bytes(text)
        assert [f.file for f in damage_of(verify(tmp_path))][:1] == [path]
    path.write_bytes(b"".join(lines) + b'{"half')
    report = verify(tmp_path)
    assert report.is_good and [f.severity for f in report.findings] == ["torn"]


def test_a_noted_digest_proves_what_a_recomputed_chain_would_hide(tmp_path: Path) -> None:
    two_runs(tmp_path)
    noted = verify(tmp_path).digest
    lines = [json.loads(line) for line in (tmp_path / SEALS_NAME).read_text().splitlines()]
    digest = "0" * 64
    for line in lines:
        line.pop("digest")
        line["sealed_utc_ns"] += 1
        digest = line["digest"] = line_digest(digest, {k: v for k, v in line.items() if k != "digest"})
    (tmp_path / SEALS_NAME).write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = verify(tmp_path)
    assert report.is_good, "somebody who recomputes all of it is not found by the chain alone"
    assert noted not in report.anchors


def test_a_file_cut_in_the_middle_is_named_where_it_ends(tmp_path: Path) -> None:
    two_runs(tmp_path)
    path = tmp_path / file_name(1, 1)
    os.truncate(path, 9000)
    assert {(f.file, f.offset) for f in damage_of(verify(tmp_path))} >= {(path, 9000)}


def test_a_live_writer_is_no_damage(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "test", 1, file_bytes=FILE_BYTES) as journal:
        for number in range(70):
            journal.append(JournalKind.NOTE, b"x" * 300, number)
            report = verify(tmp_path)
            assert report.findings == [] and report.records == number + 1
            assert report.is_open
    assert verify(tmp_path).is_open is False


def test_what_a_killed_writer_leaves_is_never_damage(tmp_path: Path) -> None:
    for kill in range(4):
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                journal = Journal.open(tmp_path, "test", 1, file_bytes=FILE_BYTES)
                number = journal.sequence
                while True:
                    number += 1
                    journal.append(JournalKind.NOTE, struct.pack("<Q", number) * (1 + number % 60), number)
                    if number % 500 == 0:
                        os.write(write_end, b"1")
            finally:
                os._exit(1)
        assert os.read(read_end, 1) == b"1"
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(read_end)
        os.close(write_end)
        assert damage_of(verify(tmp_path)) == [], kill
        keep(tmp_path, FOREVER, kill)
    assert verify(tmp_path).is_good


def test_one_file_alone_can_be_checked(tmp_path: Path) -> None:
    two_runs(tmp_path)
    assert verify(tmp_path, only=(1, 1)).findings == []
    flip(tmp_path / file_name(1, 1), HEADER_BYTES + 40)
    assert [f.record for f in damage_of(verify(tmp_path, only=(1, 1)))]
    assert verify(tmp_path, only=(1, 0)).findings == []
    with pytest.raises(JournalError, match="is not there"):
        verify(tmp_path, only=(1, 77))
    with pytest.raises(JournalError, match="no such directory"):
        verify(tmp_path / "nowhere")


def test_a_damaged_file_is_sealed_as_damaged_and_stays_so(tmp_path: Path) -> None:
    write(tmp_path, 100)
    flip(tmp_path / file_name(1, 0), HEADER_BYTES + 40)
    report = keep(tmp_path, FOREVER, 1)
    assert len(report.damage) == 1
    assert read_seals(tmp_path).seals[1, 0].damage
    assert not verify(tmp_path).is_good


# ---- another build's files ---------------------------------------------------------------------------


def of_another_build(path: Path) -> None:
    """Let a file state an older layout, its header's checksum in order: nothing is damaged."""
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, 8, 1)
    struct.pack_into("<I", data, HEADER_BYTES - 4, crc32c(data[: HEADER_BYTES - 4]))
    path.write_bytes(data)


def test_a_file_of_another_build_is_called_that_and_not_damaged(tmp_path: Path) -> None:
    two_runs(tmp_path)
    of_another_build(tmp_path / file_name(1, 0))
    with pytest.raises(
        JournalLayoutError, match=r"another build's: layout version 1, this build reads .*; let that"
    ):
        JournalFollower(tmp_path).read()
    report = verify(tmp_path)
    notes = [f.text for f in report.findings if f.severity == "note"]
    assert any("another build's" in text and "not checked" in text for text in notes)
    (tmp_path / SEALS_NAME).unlink()
    kept = keep(tmp_path, FOREVER, 1)
    assert kept.damage == [] and len(kept.foreign) == 1 and file_name(1, 0) in kept.foreign[0]


def test_reading_goes_on_behind_another_builds_run_that_was_read_to_its_end(tmp_path: Path) -> None:
    write(tmp_path, 10)
    reader = JournalFollower(tmp_path)
    some = reader.read(5)
    middle = reader.position
    assert len(some) + len(reader.read()) == 10
    end = reader.position
    of_another_build(tmp_path / file_name(1, 0))
    assert JournalFollower(tmp_path, end).read() == []  # its next run has not begun
    write(tmp_path, 3, epoch=2)
    assert [(e.epoch, e.sequence) for e in JournalFollower(tmp_path, end)] == [(2, 1), (2, 2), (2, 3)]
    with pytest.raises(JournalLayoutError, match="stand behind record 5"):
        JournalFollower(tmp_path, middle).read()
