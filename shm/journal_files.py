"""The files of a journal directory: their names, room on the disk, and the lock of the one writer."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import re
from pathlib import Path
from typing import NamedTuple

from shm.errors import JournalError, JournalFull

FILE_NAME = re.compile(r"journal-([0-9]{6,})-([0-9]{6,})\.rlj")
LOCK_NAME = "journal.lock"
# <linux/falloc.h>
_KEEP_SIZE = 1
_PUNCH_HOLE = 2
FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


class JournalEntry(NamedTuple):
    """One record as read back, with the place where it stands."""

    sequence: int
    epoch: int
    kind: int
    append_ns: int
    payload: bytes
    file: Path
    offset: int


class JournalPosition(NamedTuple):
    """A place behind a record: where reading goes on. The default is the beginning of everything.

    `sequence` is that of the last record before it and `chain` what the next one's checksum builds on;
    `offset` 0 means the beginning of the file.
    """

    epoch: int = 0
    file_index: int = 0
    offset: int = 0
    sequence: int = 0
    chain: int = 0


def entry_end(entry: JournalEntry) -> int:
    """Byte behind an entry in its file: a head of 32 bytes, the payload, rounded up to 16."""
    return entry.offset + (32 + len(entry.payload) + 15) // 16 * 16


def file_name(epoch: int, index: int) -> str:
    """Name of a journal file."""
    return f"journal-{epoch:06d}-{index:06d}.rlj"


def journal_files(directory: Path) -> list[tuple[int, int, Path]]:
    """All journal files of a directory as (epoch, index, path), in the order they were written."""
    found = []
    for path in Path(directory).iterdir():
        match = FILE_NAME.fullmatch(path.name)
        if match:
            found.append((int(match.group(1)), int(match.group(2)), path))
    return sorted(found)


def map_to_read(path: Path) -> mmap.mmap | bytes:
    """Map a file read-only; an empty one gives empty bytes, as it can not be mapped."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        return mmap.mmap(fd, size, prot=mmap.PROT_READ) if size else b""
    finally:
        os.close(fd)


def map_to_write(path: Path, size_bytes: int) -> mmap.mmap:
    """Open or make a file, have the disk promise its bytes, and map it.

    Raises:
        JournalFull: the disk has no room; a file that was made here is gone again.
        JournalError: the file system refuses for another reason.
    """
    made = not path.exists()
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, size_bytes)
        return mmap.mmap(fd, size_bytes)
    except OSError as error:
        if made:
            path.unlink(missing_ok=True)
        if error.errno in FULL:
            disk = os.statvfs(path.parent)
            free = disk.f_bavail * disk.f_frsize
            raise JournalFull(f"no room: {size_bytes} bytes needed, {free} free", path, 0) from error
        raise JournalError(str(error.strerror), path, 0) from error
    finally:
        os.close(fd)


def release_tail(path: Path, used_bytes: int) -> None:
    """Give the disk back what a finished file does not use; its length and content stay as they are.

    A file system that can not punch holes keeps the room. Source: fallocate(2), FALLOC_FL_PUNCH_HOLE.
    """
    page = mmap.PAGESIZE
    begin = -(-used_bytes // page) * page
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # the whole folder was removed meanwhile
    try:
        length = os.fstat(fd).st_size - begin
        if length > 0:
            libc = ctypes.CDLL(None, use_errno=True)
            libc.fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, ctypes.c_longlong(begin), ctypes.c_longlong(length))
    finally:
        os.close(fd)


def write_durably(path: Path, data: bytes) -> None:
    """Replace a file whole or not at all, on the disk when this returns: write aside, fsync, rename, fsync.

    Raises:
        JournalFull: the disk has no room; the old file stays.
        JournalError: the file system refuses for another reason.
    """
    aside = path.with_name(path.name + ".new")
    try:
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(aside, path)
        sync_directory(path.parent)
    except OSError as error:
        if error.errno in FULL:
            aside.unlink(missing_ok=True)
            raise JournalFull(f"no room for {len(data)} bytes", path) from error
        raise JournalError(f"can not be written: {error.strerror}", path) from error


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def take_lock(directory: Path) -> int:
    """Lock a journal directory for one writer; the descriptor holds the lock and dies with the process.

    Raises:
        JournalError: another writer has it.
    """
    fd = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise JournalError("the journal is open in another writer", directory) from error
    return fd
