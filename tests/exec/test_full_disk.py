"""A disk that is really full: no new order passes, cancels do, nothing is torn, and it heals.

The file system is a tmpfs of 256 KiB in a user namespace of the child's own, which needs no root; where the
kernel does not allow that, a limit on the file size stands in for it.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from exec.errors import RecoveryError
from exec.recovery import recover
from shm.enums import JournalKind, OrderStatus, ReportKind
from shm.errors import JournalError, JournalFull
from shm.journal import Journal
from shm.journal_checkpoint import Checkpoint, newest_checkpoint, write_checkpoint
from shm.journal_cursor import JournalCursor
from shm.journal_files import JournalPosition, journal_files
from shm.journal_keeper import KeepPolicy, keep
from shm.journal_reader import read_journal
from shm.journal_seals import read_seals
from shm.journal_verify import verify
from tests.exec.scene import BUY, EPOCH, Scene
from tests.exec.test_checkpoint import make_checkpoints

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount", "--"]
FILE_BYTES = 32_768


def scene_on(directory: Path) -> Scene:
    journal = Journal.open(directory, "test", EPOCH, file_bytes=FILE_BYTES)
    return Scene(journal=journal)  # type: ignore[arg-type]


def fill_up(scene: Scene) -> int:
    """Trade until the journal has no room for a new order; returns how many there were."""
    scene.book([(1000, 50)], [(1010, 50)])
    for number in range(2_000):
        intent = scene.intent(side=BUY, price_units=1000, quantity_units=1)
        order = scene.process(intent)
        if order is None:
            return number
        scene.settle()
    raise AssertionError("the disk never filled up")


def trade_on_a_full_disk(disk: Path, make_room: object) -> None:
    """The child's part: what must hold when the disk fills up in the middle of trading."""
    directory = disk / "journal"
    scene = scene_on(directory)
    reports: list[tuple[int, int]] = []

    def keep_room(record: object) -> None:
        try:
            scene.entries.report(record, scene.now_ns)  # type: ignore[arg-type]
        except JournalError:
            pass  # the gateway cancels everything then; here only what passes is looked at
        reports.append((record.kind, record.client_order_id))  # type: ignore[attr-defined]

    scene.oms.on_report = keep_room
    count = fill_up(scene)
    assert count > 50
    working = scene.oms.open_orders()
    assert working
    with pytest.raises(JournalFull, match="no room"):
        scene.journal.prepare(1 << 20)  # type: ignore[attr-defined]
    denied = scene.process(scene.intent(side=BUY, price_units=1000, quantity_units=1))
    assert denied is None and reports[-1][0] in (ReportKind.DENIED, ReportKind.REJECTED)
    for order in working:
        scene.cancel(order)
        assert order.status == OrderStatus.CANCELED, "cancels pass on a full disk"
    assert scene.oms.open_count == 0
    # Everybody else beside the journal finds no room either, and breaks nothing.
    with pytest.raises(JournalFull):
        write_checkpoint(directory, large_checkpoint())
    assert newest_checkpoint(directory, EPOCH) is None
    report = verify(directory)
    assert report.is_good, report.findings
    written = len(list(read_journal(directory)))
    make_room()  # type: ignore[operator]
    assert scene.process(scene.intent(side=BUY, price_units=1000, quantity_units=1)) is not None
    scene.settle()
    scene.journal.close()  # type: ignore[attr-defined]
    assert len(list(read_journal(directory))) > written
    assert verify(directory).is_good
    again = Scene()
    assert recover(read_journal(directory), again.oms, now_ns=5_000).disagreements == []


def large_checkpoint() -> Checkpoint:
    return Checkpoint(JournalPosition(EPOCH, 0, 4096, 1, 1), b"x" * 300_000)


def keep_on_a_full_disk(disk: Path) -> None:
    """Cursors and seals: the old state stays whole, and old files still go, which is what makes room."""
    directory = disk / "journal"
    for epoch in (1, 2, 3):
        with Journal.open(directory, "test", epoch, file_bytes=FILE_BYTES) as journal:
            journal.append(JournalKind.NOTE, bytes(1000), 1)
    keep(directory, KeepPolicy(keep_days=0), 1)
    cursor = JournalCursor.open(directory, "store")
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        with pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(4096))
    before = cursor.position
    with pytest.raises(JournalFull):
        cursor.save(JournalPosition(2, 0, 4096 + 1040, 1, 7))
    assert JournalCursor.open(directory, "store").position == before
    ballast.unlink()
    cursor.save(JournalPosition(2, 0, 4096 + 1040, 1, 7))
    assert keep(directory, KeepPolicy(keep_days=0, keep_bytes=1), 2).removed
    assert verify(directory).is_good and read_seals(directory).removed == (1, 0)


def main(disk: Path) -> None:
    """In the namespace: mount the small file system and run both parts."""
    for number, part in enumerate((None, keep_on_a_full_disk)):
        folder = disk / str(number)
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)], check=True)
        if part is None:
            trade_on_a_full_disk(
                folder,
                lambda folder=folder: subprocess.run(
                    ["mount", "-o", "remount,size=1m", str(folder)], check=True
                ),
            )
        else:
            part(folder)


def may_mount(folder: Path) -> bool:
    if shutil.which("unshare") is None or shutil.which("mount") is None:
        return False
    done = subprocess.run(
        [*NAMESPACE, "mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], capture_output=True
    )
    return done.returncode == 0


def test_a_file_system_without_room_denies_new_orders_and_lets_cancels_pass(tmp_path: Path) -> None:
    if not may_mount(tmp_path):
        pytest.skip("user namespaces may not mount here; the size limit test stands in")
    code = (
        f"from tests.exec.test_full_disk import main; from pathlib import Path; main(Path({str(tmp_path)!r}))"
    )
    done = subprocess.run(
        [*NAMESPACE, sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_limit_on_the_file_size_is_a_full_disk_too(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    scene = scene_on(tmp_path)
    scene.oms.on_report = lambda record: None
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES - 1, hard))
        fill_up(scene)
        assert len(journal_files(tmp_path)) == 1 and verify(tmp_path).is_good
        for order in scene.oms.open_orders():
            scene.cancel(order)
        assert scene.oms.open_count == 0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert scene.process(scene.intent(side=BUY, price_units=1000, quantity_units=1)) is not None
    scene.journal.close()  # type: ignore[attr-defined]
    with pytest.raises(RecoveryError, match="no row of instrument 0"):
        make_checkpoints(tmp_path)  # the scene journals none
