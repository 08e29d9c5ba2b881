"""Care of a journal directory off the hot path: closed files are sealed and trimmed, old ones removed.

A file is *closed* once a newer file of its epoch, or any of a newer epoch, exists: its writer has left it for
good. The last file of the newest epoch is never touched. Each step is idempotent and a kill at any
instruction is finished by the next pass:

- seal: the log line is fsynced first (`shm.journal_seals`), the file is trimmed after it, by copy and rename,
  so that a reader that has the old one mapped is never cut short;
- remove: the log line first, then the files; readers pass over what the log says is removed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from shm.errors import JournalError, JournalLayoutError
from shm.journal import FileView
from shm.journal_checkpoint import checkpoint_files, newest_checkpoint
from shm.journal_cursor import all_cursors
from shm.journal_files import journal_files, map_to_read, sync_directory
from shm.journal_seals import Seal, SealLog, SealWriter

DAY_NS = 86_400_000_000_000
TRIM_BYTES = 1 << 16
_SLICE = 1 << 20
Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class KeepPolicy:
    """How long closed files stay.

    Args:
        keep_days: a file sealed longer ago is removed; 0 = never for its age.
        keep_bytes: the oldest are removed while all files together are larger; 0 = no limit.
    """

    keep_days: float = 90.0
    keep_bytes: int = 0


@dataclass(slots=True)
class KeepReport:
    """What one pass did.

    Args:
        sealed, removed: names of files.
        trimmed_bytes: given back by trimming.
        removed_bytes: given back by removal.
        damage: what sealing found wrong, one line each.
        foreign: files of other builds, one line each: they are kept and removed like others, not read.
        held_by: why the oldest file that is due stays: "recovery", or the name of a cursor; "" = nothing is
            due.
    """

    sealed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    trimmed_bytes: int = 0
    removed_bytes: int = 0
    damage: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    held_by: str = ""


def closed_files(directory: Path) -> list[tuple[int, int, Path]]:
    """Files that no writer will touch again, oldest first."""
    return journal_files(directory)[:-1]


def keep(directory: Path, policy: KeepPolicy, utc_ns: int) -> KeepReport:
    """One whole pass: seal, trim, remove.

    Raises:
        JournalError: another keeper is at work, the seal log is damaged, or the file system refuses
            (JournalFull: no room for a line; nothing was removed then).
    """
    report = KeepReport()
    for _ in keep_steps(directory, policy, utc_ns, report):
        pass
    return report


def keep_steps(
    directory: Path, policy: KeepPolicy, utc_ns: int, report: KeepReport, *, is_recovered: bool = True
) -> Iterator[None]:
    """The same pass in small steps (at most a few ten milliseconds each), for a loop that has other work.

    Args:
        directory: of the journal.
        policy: how long files stay.
        utc_ns: wall clock.
        report: filled in on the way.
        is_recovered: whether a start recovers from this journal; its newest files then stay.
    """
    if not directory.is_dir():
        return
    with SealWriter(directory) as writer:
        for left in directory.glob("*.rlj.trim"):
            left.unlink()
        closed = closed_files(directory)
        for epoch, index, path in closed:
            if (epoch, index) in writer.log.seals or writer.log.is_removed((epoch, index)):
                continue
            yield from _seal(path, epoch, index, utc_ns, writer, report)
            yield
        for epoch, index, path in closed:
            seal = writer.log.seals.get((epoch, index))
            if seal is not None and path.stat().st_size > seal.size_bytes:
                report.trimmed_bytes += _trim(path, seal.size_bytes)
                yield
        _remove(directory, policy, utc_ns, writer, report, is_recovered=is_recovered)


def _seal(
    path: Path, epoch: int, index: int, utc_ns: int, writer: SealWriter, report: KeepReport
) -> Iterator[None]:
    mapping = map_to_read(path)
    size = len(mapping)
    first, records, used, chain, damage = 0, 0, size, 0, ""
    try:
        view = FileView(path, mapping, epoch, index)
        first = view.first_sequence
        records = view.skip()
        used, chain = view.offset, view.chain
        yield
        error = view.damage()
        if error is not None and not (size == used and size < view.stated_bytes):
            raise error
    except JournalLayoutError as error:
        damage = str(error)
        report.foreign.append(damage)
    except JournalError as error:
        damage = str(error)
        report.damage.append(damage)
    size = used if not damage and size - used >= TRIM_BYTES else size
    digest = hashlib.sha256()
    for begin in range(0, size, _SLICE):
        digest.update(memoryview(mapping)[begin : min(begin + _SLICE, size)])
        yield
    writer.seal(Seal(epoch, index, first, records, used, size, chain, digest.hexdigest(), damage, utc_ns))
    report.sealed.append(path.name)


def _trim(path: Path, size_bytes: int) -> int:
    """Replace a file by its first bytes; returns how many bytes the disk has back."""
    aside = path.with_name(path.name + ".trim")
    before = path.stat().st_blocks * 512
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        target = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            done = 0
            while done < size_bytes:
                done += os.write(target, os.pread(source, min(_SLICE, size_bytes - done), done))
            os.fsync(target)
        finally:
            os.close(target)
        os.replace(aside, path)
        sync_directory(path.parent)
    except OSError:
        aside.unlink(missing_ok=True)  # no room for the copy: it stays as long as it is
        return 0
    finally:
        os.close(source)
    return max(0, before - path.stat().st_blocks * 512)


def needed_by_recovery(directory: Path) -> dict[int, int]:
    """For each of the two newest epochs the first file index that recovery may read; no older ones.

    Should the newest checkpoint be damaged when it is needed, the one before it still has all files behind
    it.
    """
    epochs = sorted({epoch for epoch, _, _ in journal_files(directory)})
    found = {}
    for epoch in epochs[-2:]:
        newest = newest_checkpoint(directory, epoch)
        older = newest and newest_checkpoint(directory, epoch, below=newest.position.file_index)
        found[epoch] = 0 if older is None else older.position.file_index + 1
    return found


def holder(key: Key, directory: Path, log: SealLog, needed: dict[int, int]) -> str:
    """Who still needs a file: "recovery", a cursor's name, "not sealed"; "" = nobody."""
    seal = log.seals.get(key)
    if seal is None:
        return "not sealed"
    epoch, index = key
    if epoch in needed and index >= needed[epoch]:
        return "recovery"
    for name, position in all_cursors(directory).items():
        if isinstance(position, JournalError):
            return f"cursor {name} (damaged)"
        if (position.epoch, position.sequence) < (epoch, seal.last_sequence) or position.epoch < epoch:
            return f"cursor {name}"
    return ""


def _remove(
    directory: Path,
    policy: KeepPolicy,
    utc_ns: int,
    writer: SealWriter,
    report: KeepReport,
    *,
    is_recovered: bool,
) -> None:
    log = writer.log
    files = journal_files(directory)
    sizes = {path: path.stat().st_blocks * 512 for _, _, path in files}
    total = sum(size for (_, _, path), size in zip(files, sizes.values(), strict=True))
    needed = needed_by_recovery(directory) if is_recovered else {}
    gone: list[Path] = []
    last: Key | None = None
    for epoch, index, path in files[:-1]:
        key = (epoch, index)
        if log.is_removed(key):
            gone.append(path)  # a pass before this one was killed
            continue
        seal = log.seals.get(key)
        is_old = bool(policy.keep_days) and (
            seal is not None and utc_ns - seal.sealed_utc_ns > policy.keep_days * DAY_NS
        )
        is_over = bool(policy.keep_bytes) and total > policy.keep_bytes
        if not is_old and not is_over:
            break
        report.held_by = holder(key, directory, log, needed)
        if report.held_by:
            break
        total -= sizes[path]
        gone.append(path)
        last = key
    if last is not None:
        writer.removed(last, utc_ns)
    for path in gone:
        report.removed.append(path.name)
        report.removed_bytes += sizes[path]
        path.unlink(missing_ok=True)
    for epoch, index, path in checkpoint_files(directory):
        if log.is_removed((epoch, index)) and index + 1 < needed.get(epoch, 1 << 62):
            path.unlink(missing_ok=True)
    if gone:
        sync_directory(directory)
