"""The audit of the trading state: an append-only file of JSON lines, each with the digest of the one before.

Any process may append: a `flock` makes them queue, and a line is on the disk before `append` returns. A line
that was changed, removed or put in between breaks the chain at that line. A cut tail shows against a digest
noted elsewhere (`head`).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shm.errors import AuditError

AUDIT_NAME = "halt.audit"
FIRST = "0" * 64
_READ_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line.

    Args:
        number: from 1, without gaps.
        utc_ns: wall clock.
        facts: what happened; JSON values.
        digest: SHA-256 of the digest before and this line's text, hexadecimal.
    """

    number: int
    utc_ns: int
    facts: Mapping[str, Any]
    digest: str


def _text(number: int, utc_ns: int, facts: Mapping[str, Any]) -> str:
    return json.dumps({"n": number, "utc_ns": utc_ns, **facts}, sort_keys=True, separators=(",", ":"))


def _digest(before: str, text: str) -> str:
    return hashlib.sha256(f"{before}\n{text}".encode()).hexdigest()


def _parse(line: bytes, where: str) -> tuple[str, dict[str, Any], str]:
    text, tab, digest = line.decode("utf-8", "replace").partition("\t")
    try:
        facts = json.loads(text)
    except ValueError:
        facts = None
    if not tab or not isinstance(facts, dict) or not isinstance(facts.get("n"), int):
        raise AuditError(f"{where} is no audit entry")
    return text, facts, digest


def append(path: Path, facts: Mapping[str, Any]) -> AuditEntry:
    """Append one entry and wait until it is on the disk.

    Args:
        path: the file; made with mode 0600 if it is not there.
        facts: JSON values; the keys "n" and "utc_ns" are taken.

    Raises:
        OSError: it can not be written.
        AuditError: the last line is no entry: somebody else has written to the file, which stays as it is.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        number, before = _last(fd, path)
        utc_ns = time.time_ns()
        text = _text(number + 1, utc_ns, facts)
        digest = _digest(before, text)
        data = f"{text}\t{digest}\n".encode()
        while data:
            data = data[os.write(fd, data) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    return AuditEntry(number + 1, utc_ns, dict(facts), digest)


def _last(fd: int, path: Path) -> tuple[int, str]:
    """Number and digest of the last entry; a line without its end was never acknowledged and goes."""
    size = os.fstat(fd).st_size
    start = max(0, size - _READ_BYTES)
    whole, newline, torn = os.pread(fd, _READ_BYTES, start).rpartition(b"\n")
    if torn:
        os.ftruncate(fd, size - len(torn))
    if not newline:
        if start:
            raise AuditError(f"{path}: the last line is no audit entry")
        return 0, FIRST
    _, facts, digest = _parse(whole.rpartition(b"\n")[2], f"{path}: the last line")
    return int(facts["n"]), digest


def read(path: Path) -> Iterator[AuditEntry]:
    """Read and check all entries, oldest first; a last line without its end was never acknowledged.

    Raises:
        AuditError: the chain is broken; names the line.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    number, before = 0, FIRST
    for at, line in enumerate(data.split(b"\n")[:-1], 1):
        text, facts, digest = _parse(line, f"{path}:{at}")
        if facts.pop("n") != number + 1:
            raise AuditError(f"{path}:{at}: entry {number + 1} was expected here")
        if digest != _digest(before, text):
            raise AuditError(f"{path}:{at}: entry {number + 1} is not what was written")
        number, before = number + 1, digest
        yield AuditEntry(number, int(facts.pop("utc_ns", 0)), facts, digest)
