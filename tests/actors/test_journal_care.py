"""Care of a journal beside its writer: checkpoints at each file, seals, removal; faults are told once."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.errors import SettingsError
from actors.journal_care import JournalCare, JournalCareSettings, JournalKeeper
from exec.checkpoint import starting_point
from exec.recovery import recover
from shm.journal import HEADER_BYTES
from shm.journal_cursor import JournalCursor
from shm.journal_files import journal_files
from shm.journal_keeper import DAY_NS
from shm.journal_reader import JournalFollower, read_journal
from shm.journal_verify import verify
from tests.exec.scene import EPOCH, Scene
from tests.exec.test_checkpoint import trade
from tests.shm.test_journal_verify import of_another_build

SECOND = 1_000_000_000


def cared(directory: Path, **changes: float) -> tuple[JournalCare, list[str]]:
    told: list[str] = []
    values = {"keep_days": 0.0, "keep_bytes": 1} | changes
    settings = JournalCareSettings([1], **values)  # type: ignore[arg-type]
    return JournalCare(directory, EPOCH, settings, told.append), told


def settle(care: JournalCare, begin_ns: int = 0, steps: int = 400) -> None:
    for number in range(steps):
        care.step(begin_ns + number * SECOND, DAY_NS)


def test_a_long_run_keeps_two_checkpoints_and_the_files_behind_them(tmp_path: Path) -> None:
    directory = tmp_path / "journal-1"
    care, told = cared(directory)
    care.step(0, DAY_NS)  # the gateway is not there yet
    scene = trade(directory, 60)
    full = Scene()
    whole = recover(list(read_journal(directory, EPOCH)), full.oms, now_ns=9_000)
    files = len(journal_files(directory))
    settle(care)
    assert care.checkpoints == files - 1 and care.sealed == files - 1 and told == []
    assert care.removed == files - 2, "all but the newest file, and the one between the two checkpoints"
    again = Scene()
    start, entries = starting_point(directory, EPOCH)
    recovered = recover(entries, again.oms, now_ns=9_000, start=start)
    assert recovered.entries == whole.entries and recovered.counts == whole.counts
    assert [r.to_bytes() for r in again.reports] == [r.to_bytes() for r in full.reports]
    assert verify(directory).findings == []
    scene.journal.close()  # type: ignore[attr-defined]


def test_a_consumer_that_is_behind_is_named_once(tmp_path: Path) -> None:
    scene = trade(tmp_path, 60)
    JournalCursor.open(tmp_path, "database")
    care, told = cared(tmp_path)
    settle(care)
    assert care.removed == 0
    assert told == ["old files stay: cursor database has not stored them"]
    scene.journal.close()  # type: ignore[attr-defined]


def test_a_damaged_journal_is_told_and_stops_no_sealing(tmp_path: Path) -> None:
    scene = trade(tmp_path, 60)
    path = journal_files(tmp_path)[1][2]
    data = bytearray(path.read_bytes())
    data[HEADER_BYTES + 3000] ^= 1
    path.write_bytes(data)
    care, told = cared(tmp_path)
    settle(care, steps=200)
    assert care.checkpoints == 1 and care.removed == 0
    assert any("no more checkpoints" in text for text in told)
    assert any("damaged" in text and path.name in text for text in told)
    assert care.sealed == len(journal_files(tmp_path)) - 1
    scene.journal.close()  # type: ignore[attr-defined]


def test_a_journal_nobody_recovers_from_gets_no_checkpoints_and_keeps_only_its_newest_file(
    tmp_path: Path,
) -> None:
    scene = trade(tmp_path, 60)
    files = len(journal_files(tmp_path))
    told: list[str] = []
    settings = JournalCareSettings([1], keep_days=0.0, keep_bytes=1)
    care = JournalCare(tmp_path, EPOCH, settings, told.append, is_recovered=False)
    cursor = JournalCursor.open(tmp_path, "store")
    settle(care)
    assert care.removed == 0 and told == ["old files stay: cursor store has not stored them"]
    reader = JournalFollower(tmp_path)
    assert sum(1 for _ in reader) > 0
    cursor.save(reader.position)
    settle(care, 10**12)
    assert (care.removed, care.checkpoints) == (files - 1, 0) and len(journal_files(tmp_path)) == 1
    assert verify(tmp_path).is_good
    scene.journal.close()  # type: ignore[attr-defined]


def test_another_builds_files_are_told_as_that_and_not_as_damage(tmp_path: Path) -> None:
    scene = trade(tmp_path, 60)
    of_another_build(journal_files(tmp_path)[0][2])
    told: list[str] = []
    care = JournalCare(tmp_path, EPOCH, JournalCareSettings([1]), told.append, is_recovered=False)
    settle(care)
    assert len(told) == 1 and told[0].startswith("kept, not read: another build's: layout version 1")
    scene.journal.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("changes", [{"keep_days": -1}, {"keep_bytes": -1}, {"step_ms": 0}, {"pass_s": 0.0}])
def test_settings_that_make_no_sense_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=next(iter(changes))):
        JournalKeeper.check_settings({"slots": [1], **changes})
    JournalKeeper.check_settings({"slots": [1]})
