"""The seal log of a journal directory: SHA-256 of each closed file, chained, and what retention removed.

One line of JSON for each closed file and for each removal, in the file `journal.seals`. The `digest` of a
line is SHA-256 over the digest of the line before it and the line's own fields, so the lines are a chain
across files and epochs: a file or line that was changed, replaced, moved or taken out of the middle is found.

What it can not prove: that its own last lines were not cut off together with the files they name, and that
nobody recomputed all of it. Against both, note the head digest (`ringlane journal verify` prints it) outside
the machine.

A line is appended and fsynced before anything is done that it states. A line without its newline is one that
a killed writer left: it counts as never written.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shm.errors import JournalError, JournalFull
from shm.journal_files import FULL, sync_directory

SEALS_NAME = "journal.seals"
NO_DIGEST = "0" * 64


@dataclass(frozen=True, slots=True)
class Seal:
    """What is known of a closed file.

    Args:
        epoch, index: which file.
        first_sequence, records: what it holds, up to the first damage.
        used_bytes: end of its last record.
        size_bytes: how many bytes the hash covers; the file ends there once it is trimmed.
        chain: checksum of its last record.
        sha256: of those bytes, hexadecimal.
        damage: what was wrong with it when it was sealed, "" = nothing.
        sealed_utc_ns: when; its age counts from here.
    """

    epoch: int
    index: int
    first_sequence: int
    records: int
    used_bytes: int
    size_bytes: int
    chain: int
    sha256: str
    damage: str = ""
    sealed_utc_ns: int = 0

    @property
    def key(self) -> tuple[int, int]:
        """Epoch and index."""
        return self.epoch, self.index

    @property
    def last_sequence(self) -> int:
        """Sequence of the last record; one below the first when there is none."""
        return self.first_sequence + self.records - 1


@dataclass(slots=True)
class SealLog:
    """The lines of a seal log as read.

    Args:
        seals: by (epoch, index), those of removed files too.
        removed: (epoch, index) of the last file that retention removed, with everything before it; None =
            none.
        digest: of the last good line.
        size_bytes: end of the last whole line.
        torn: a line without its newline stands at the end.
        problems: what is wrong, with line numbers; nothing behind the first is trusted.
    """

    seals: dict[tuple[int, int], Seal] = field(default_factory=dict)
    removed: tuple[int, int] | None = None
    digest: str = NO_DIGEST
    lines: int = 0
    size_bytes: int = 0
    torn: bool = False
    problems: list[str] = field(default_factory=list)
    digests: dict[str, tuple[int, int]] = field(default_factory=dict)

    def take(self, line: dict[str, Any], number: int) -> bool:
        """Take one line; False = it does not continue the chain or makes no sense."""
        digest = line.pop("digest", "")
        if digest != line_digest(self.digest, line):
            self.problems.append(f"line {number} does not continue the chain of digests")
            return False
        try:
            kind = line.pop("line")
            if kind == "seal":
                seal = Seal(**line)
                self.seals[seal.key] = seal
                self.digests[digest] = seal.key
            elif kind == "removed":
                self.removed = (int(line["epoch"]), int(line["index"]))
            else:
                raise ValueError(kind)
        except (KeyError, TypeError, ValueError) as error:
            self.problems.append(f"line {number} can not be read: {error!r}")
            return False
        self.digest = digest
        self.lines = number
        return True

    def is_removed(self, key: tuple[int, int]) -> bool:
        """Whether retention removed that file, or is about to."""
        return self.removed is not None and key <= self.removed


def line_digest(previous: str, line: dict[str, Any]) -> str:
    """Digest of a line: SHA-256 over the previous digest and the fields as sorted JSON."""
    text = json.dumps(line, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()


def read_seals(directory: Path) -> SealLog:
    """Read a directory's seal log; one that is not there is empty.

    Raises:
        JournalError: the file system refuses.
    """
    path = directory / SEALS_NAME
    log = SealLog()
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return log
    except OSError as error:
        raise JournalError(f"can not be read: {error.strerror}", path) from error
    for number, raw in enumerate(data.splitlines(keepends=True), start=1):
        if not raw.endswith(b"\n"):
            log.torn = True
            break
        try:
            line = json.loads(raw)
        except ValueError:
            line = None
        if not isinstance(line, dict):
            log.problems.append(f"line {number} is damaged")
            break
        if not log.take(line, number):
            break
        log.size_bytes += len(raw)
    return log


class SealWriter:
    """The one that appends to a seal log; a lock keeps others out while it lives.

    Raises:
        JournalError: another one has it open, or the log is damaged: nothing is appended to a broken chain.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / SEALS_NAME
        try:
            is_new = not self.path.exists()
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalError(f"can not be written: {error.strerror}", self.path) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_new:
                sync_directory(directory)
            self.log = read_seals(directory)
            if self.log.problems:
                raise JournalError(self.log.problems[0], self.path)
            if self.log.torn:
                os.ftruncate(self._fd, self.log.size_bytes)
        except BlockingIOError as error:
            self.close()
            raise JournalError("the seals are being written by another process", self.path) from error
        except JournalError:
            self.close()
            raise

    def seal(self, seal: Seal) -> None:
        """Append a seal; raises JournalFull, having changed nothing, when the disk has no room."""
        self._append({"line": "seal", **asdict(seal)})

    def removed(self, key: tuple[int, int], utc_ns: int) -> None:
        """Append that everything up to that file is removed; do so before unlinking."""
        self._append({"line": "removed", "epoch": key[0], "index": key[1], "utc_ns": utc_ns})

    def _append(self, line: dict[str, Any]) -> None:
        digest = line_digest(self.log.digest, line)
        data = json.dumps({**line, "digest": digest}, sort_keys=True).encode() + b"\n"
        try:
            written = os.pwrite(self._fd, data, self.log.size_bytes)
            if written != len(data):
                raise OSError(errno.ENOSPC, "written in part")
            os.fsync(self._fd)
        except OSError as error:
            os.ftruncate(self._fd, self.log.size_bytes)
            kind = JournalFull if error.errno in FULL else JournalError
            raise kind(f"the seal can not be written: {error.strerror}", self.path) from error
        self.log.take({**line, "digest": digest}, self.log.lines + 1)
        self.log.size_bytes += len(data)

    def close(self) -> None:
        """Let go; closing twice is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> SealWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
