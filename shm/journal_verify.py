"""Is a journal what was written? Each record, header, file and seal is checked; what is wrong is named.

What is found: a changed byte in a header, a record or behind the records; a record or file that is missing,
moved, doubled or replaced by another; a file that was cut. What is not: records cut off at the very end of
the newest file together with their traces, sealed files removed together with the end of the seal log, and a
journal that somebody computed anew as a whole. Against the last two helps a head digest noted elsewhere
(`VerifyReport.anchors`).

An end that a SIGKILL can leave is *torn*, not damaged: a record exists only once its length is stored, so
what a killed append wrote before that is no record. A committed record that does not fit its checksum is
always damage.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from shm.errors import JournalError, JournalLayoutError
from shm.journal import HEADER_BYTES, FileView
from shm.journal_files import LOCK_NAME, file_name, journal_files, map_to_read
from shm.journal_seals import SEALS_NAME, Seal, SealLog, read_seals

# Behind the last record a killed append may have left at most one record's worth of bytes.
REACH_BYTES = 1 << 16
Severity = Literal["damage", "torn", "note"]
Key = tuple[int, int]
_MANY = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found.

    Args:
        severity: "damage"; "torn" = an end as a kill leaves it; "note" = worth knowing, nothing is wrong.
        text: in words.
        file: which, None = the directory.
        offset: byte in that file, -1 = none.
        record: sequence, 0 = none.
    """

    severity: Severity
    text: str
    file: Path | None = None
    offset: int = -1
    record: int = 0

    def __str__(self) -> str:
        where = "" if self.file is None else f"{self.file.name}: "
        at = f" (byte {self.offset})" if self.offset >= 0 else ""
        record = f"record {self.record}: " if self.record else ""
        return f"{where}{record}{self.text}{at}"


@dataclass(slots=True)
class VerifyReport:
    """The outcome for one directory.

    Args:
        files, records, size_bytes: what was looked at; `records` are the good ones.
        sealed: how many of the files are sealed.
        epochs: first and last epoch, (0, 0) when there is no file.
        removed: last file that retention removed, None = none.
        digest: head of the chain of seals; noted elsewhere it proves everything up to it.
        anchors: every digest of the chain.
        is_open: a writer has the journal open, None = unknown.
        findings: in the order they were found.
    """

    directory: Path
    files: int = 0
    records: int = 0
    size_bytes: int = 0
    sealed: int = 0
    epochs: tuple[int, int] = (0, 0)
    removed: Key | None = None
    digest: str = ""
    anchors: frozenset[str] = frozenset()
    is_open: bool | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing is damaged."""
        return not any(finding.severity == "damage" for finding in self.findings)

    def add(
        self, severity: Severity, text: str, file: Path | None = None, at: int = -1, record: int = 0
    ) -> None:
        """Add a finding; of very many damaged places the first thousand are named."""
        if len(self.findings) < _MANY:
            self.findings.append(Finding(severity, text, file, at, record))


@dataclass(slots=True)
class _End:
    """Where the file before ended; `is_known` False = unknown, so the next one is taken at its word."""

    key: Key = (0, -1)
    sequence: int = 0
    chain: int = 0
    is_known: bool = True


def verify(directory: Path, *, epoch: int | None = None, only: Key | None = None) -> VerifyReport:
    """Check a journal directory; never writes.

    Args:
        directory: where the files are.
        epoch: only this epoch's files.
        only: only this file (epoch, index), against its own header, chain and seal.

    Raises:
        JournalError: there is no such directory, or no such file.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise JournalError("no such directory", directory)
    report = VerifyReport(directory, is_open=is_open(directory))
    seals = read_seals(directory)
    for text in seals.problems:
        report.add("damage", text, directory / SEALS_NAME)
    if seals.torn:
        report.add("torn", "the last line was never finished", directory / SEALS_NAME, seals.size_bytes)
    report.digest, report.removed = seals.digest if seals.lines else "", seals.removed
    report.anchors = frozenset(seals.digests)
    files = journal_files(directory)
    left = [file for file in files if seals.is_removed(file[:2])]
    if left:
        report.add(
            "note", f"{len(left)} files that retention removed are still there: the next pass unlinks them"
        )
    files = [file for file in files if not seals.is_removed(file[:2])]
    if only is None:
        _check_sealed_are_there(files, seals, epoch, report)
    newest = files[-1][:2] if files else (0, 0)
    files = [f for f in files if epoch in (None, f[0]) and only in (None, f[:2])]
    if only is not None and not files:
        raise JournalError(f"{file_name(*only)} is not there", directory)
    if files:
        report.epochs = (files[0][0], files[-1][0])
    end = _End(is_known=False)
    for number, (file_epoch, index, path) in enumerate(files):
        following = files[number + 1] if number + 1 < len(files) else None
        is_last = following is None or following[0] != file_epoch
        end = _check_order(end, (file_epoch, index), path, seals, report, alone=only is not None)
        end = _check_file(end, (file_epoch, index), path, seals, report, is_last, newest)
    return report


def is_open(directory: Path) -> bool | None:
    """Whether a writer holds the journal's lock, without touching it (/proc/locks); None = unknown."""
    try:
        found = os.stat(directory / LOCK_NAME)
        lines = Path("/proc/locks").read_text().splitlines()
    except FileNotFoundError:
        return False
    except OSError:
        return None
    return any(
        " FLOCK " in line and line.split()[5].rpartition(":")[2] == str(found.st_ino)
        for line in lines
        if "->" not in line
    )


def _check_sealed_are_there(
    files: list[tuple[int, int, Path]], seals: SealLog, epoch: int | None, report: VerifyReport
) -> None:
    there = {file[:2] for file in files}
    for key in sorted(seals.seals):
        if key not in there and not seals.is_removed(key) and epoch in (None, key[0]):
            path = report.directory / file_name(*key)
            report.add("damage", "is missing; it was sealed, and not removed by retention", path)


def _check_order(
    end: _End, key: Key, path: Path, seals: SealLog, report: VerifyReport, *, alone: bool
) -> _End:
    """What the file at hand has to continue."""
    epoch, index = key
    if alone:
        return _End(key, is_known=False)
    if end.key == (epoch, index - 1):
        return end
    if index == 0:
        return _End(key)
    before = seals.seals.get((epoch, index - 1))
    if before is not None and seals.is_removed(before.key):
        return _End(before.key, before.last_sequence, before.chain)
    first = end.key[1] + 1 if end.key[0] == epoch else 0
    for missing in range(first, min(index, first + _MANY)):
        if (epoch, missing) not in seals.seals:
            report.add("damage", "is missing", path.with_name(file_name(epoch, missing)))
    return _End(key, is_known=False)


def _check_file(
    end: _End, key: Key, path: Path, seals: SealLog, report: VerifyReport, is_last: bool, newest: Key
) -> _End:
    report.files += 1
    mapping = map_to_read(path)
    report.size_bytes += len(mapping)
    seal = seals.seals.get(key)
    report.sealed += seal is not None
    before = len(report.findings)
    try:
        view = FileView(path, mapping, *key)
    except JournalError as error:
        text = str(error).split(" (/")[0]
        # A flipped version would not fit the header's checksum, so that is no damage.
        is_other = isinstance(error, JournalLayoutError)
        report.add("note" if is_other else "damage", f"{text}: not checked" if is_other else text, path, 0)
        return _End(key, is_known=False)
    if end.is_known and (view.first_sequence, view.previous_chain) != (end.sequence + 1, end.chain):
        report.add(
            "damage",
            f"does not continue the file before it: it begins at record {view.first_sequence}, "
            f"due is record {end.sequence + 1}, or the chain differs: something is missing or replaced",
            path, 0, view.first_sequence,
        )  # fmt: skip
    if view.is_early:
        report.add("note", "was written by an early build, whose chain does not cover the header", path)
    is_whole = _walk(view, report)
    if is_whole:
        _check_end(view, seal, report, is_last=is_last, may_grow=key == newest)
    if seal is not None:
        _check_seal(view, mapping, seal, report, already=len(report.findings) > before)
    return _End(key, view.sequence - 1, view.chain, is_whole)


def _walk(view: FileView, report: VerifyReport) -> bool:
    """Check all records; False = reading could not go on to the end."""
    while True:
        report.records += view.skip()
        at, record = view.offset, view.sequence
        try:
            damage = view.damage()
        except JournalError as error:
            text = str(error).split(" (/")[0]
            if not view.skip_damage():
                report.add("damage", text, view.path, at, record)
                return False
            report.add("damage", "is damaged; the record behind it is whole", view.path, at, record)
            continue
        if view.is_good():
            continue  # a live writer appended meanwhile
        if damage is not None and view.stated_length():
            rest = view.size - at
            text = f"does not fit its checksum, and nothing whole follows in the {rest} bytes behind it"
            report.add("damage", text, view.path, at, record)
            return False
        return True


def _check_end(
    view: FileView, seal: Seal | None, report: VerifyReport, *, is_last: bool, may_grow: bool
) -> None:
    """What stands behind the last record."""
    at, record = view.offset, view.sequence
    is_trimmed = seal is not None and view.size == seal.size_bytes
    if view.size < view.stated_bytes and not is_trimmed and (at != view.size or is_last):
        text = f"the file is cut off at byte {view.size} of {view.stated_bytes}"
        report.add("damage", text, view.path, view.size, record)
    first, size = view.rest()
    if first == size or view.is_good():
        return
    if first - at < REACH_BYTES:
        if may_grow and report.is_open:
            return  # an append may be under way this very moment
        text = "an append that was never committed stands here, as a killed writer leaves it"
        report.add("torn", text, view.path, first, record)
    else:
        report.add("damage", "a byte behind the last record is not zero", view.path, first)


def _check_seal(view: FileView, mapping: object, seal: Seal, report: VerifyReport, *, already: bool) -> None:
    data = memoryview(mapping)  # type: ignore[arg-type]
    if seal.damage:
        report.add("note", f"was damaged already when it was sealed: {seal.damage}", view.path)
    if len(data) < seal.size_bytes:
        report.add("damage", f"has {len(data)} bytes, sealed were {seal.size_bytes}", view.path, len(data))
        return
    digest = hashlib.sha256(data[: seal.size_bytes]).hexdigest()
    if digest != seal.sha256:
        if not already:
            text = "is not the file that was sealed: every checksum fits, its SHA-256 does not"
            report.add("damage", text, view.path, HEADER_BYTES)
        return
    if (view.first_sequence, view.sequence - 1) != (
        seal.first_sequence,
        seal.last_sequence,
    ) and not seal.damage:
        report.add(
            "damage", f"holds records to {view.sequence - 1}, sealed were {seal.last_sequence}", view.path
        )
    if len(data) > seal.size_bytes:
        report.add("note", f"is sealed but not trimmed to {seal.size_bytes} bytes yet", view.path)
