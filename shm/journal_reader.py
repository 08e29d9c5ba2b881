"""Reading a journal directory: all entries in order, from a position, beside a live writer or behind it.

`JournalFollower` is the tool of everybody who reads on: it goes from file to file and from epoch to epoch,
and its `position` can be stored (in the same transaction as what was made of the entries) and gone on from.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from shm.errors import JournalError, JournalLayoutError
from shm.journal import FileView
from shm.journal_files import JournalEntry, JournalPosition, file_name, journal_files, map_to_read
from shm.journal_seals import SealLog, read_seals

START = JournalPosition()
_BATCH = 1024
_TICK_NS = 1_000_000_000
# A record begins with its length in every layout, and 0 means that there is none (`shm/native/shm_layout.h`).
LENGTH_BYTES = 4
File = tuple[int, int, Path]


class JournalFollower:
    """Reads entries in the order they were appended, for as long as wanted.

    Never disturbs a writer. Not for two threads.

    Args:
        directory: where the journal files are; it may still be empty or missing.
        position: go on behind it; `START` = from the first entry that is kept.
        epoch: only this epoch.

    Attributes:
        position: behind the last entry that `read` returned.
        torn: for each epoch that was left behind without a clean end, a JournalError that says where. Such an
            end (power loss, a file cut short) is no exception: what stands before it is good.
    """

    def __init__(
        self, directory: Path, position: JournalPosition = START, *, epoch: int | None = None
    ) -> None:
        self.directory = Path(directory)
        self.position = position
        self.torn: list[JournalError] = []
        self._epoch = epoch
        self._view: FileView | None = None
        self._key = (0, -1)
        self._seals = SealLog()
        self._listed = 0  # the directory's time of change at the last look, 0 = look again
        self._seen: list[File] = []  # what that look found

    def read(self, limit: int = _BATCH) -> list[JournalEntry]:
        """The next entries, at most `limit`; none = nothing more is committed now, ask again later.

        Raises:
            JournalError: a file is missing (or was removed by retention before it was read here) or no
                journal, or the chain is broken in the middle; what was read before stays read, and `position`
                is behind it.
        """
        entries: list[JournalEntry] = []
        while len(entries) < limit:
            if self._view is None and not self._open_first():
                break
            assert self._view is not None
            more = self._view.read(limit - len(entries))
            if more:
                entries += more
                self.position = self._view.position
            else:
                try:
                    has_more = self._open_next(self._view)
                except JournalError:
                    if entries:
                        break  # said by the next call
                    raise
                if not has_more:
                    break
        return entries

    def __iter__(self) -> Iterator[JournalEntry]:
        while batch := self.read():
            yield from batch

    def _files(self) -> list[File]:
        """Files that retention has not removed, and this reader may read."""
        if not self.directory.is_dir():
            return []
        changed = self.directory.stat().st_mtime_ns
        # A change within the clock's last tick would not show: such a look does not count.
        self._listed = changed if time.time_ns() - changed > _TICK_NS else 0
        self._seals = read_seals(self.directory)
        self._seen = [
            file
            for file in journal_files(self.directory)
            if not self._seals.is_removed(file[:2]) and self._epoch in (None, file[0])
        ]
        return self._seen

    def _open_first(self) -> bool:
        files = self._files()
        if not files:
            return False
        position = self.position
        if position.offset:
            for file in files:
                if file[:2] == position[:2]:
                    try:
                        self._open(file).seek(position)
                    except JournalLayoutError:
                        # Another build wrote and read it: to its end, if no length stands behind here.
                        return self._open_behind_foreign(file, files)
                    return True
            return self._open_behind(position, [file for file in files if file[:2] > position[:2]])
        if position[:2] > (0, 0):
            files = [file for file in files if file[:2] >= position[:2]] or files
        self._begin(files[0], files[0][2].name)
        return True

    def _open_behind(self, position: JournalPosition, files: list[File]) -> bool:
        """Go on although the file is gone: retention may remove what was read to its end."""
        name = file_name(*position[:2])
        sealed = self._seals.seals.get(position[:2])
        if sealed is None or not self._seals.is_removed(sealed.key):
            raise JournalError(
                f"{name}, where reading goes on behind record {position.sequence}, is missing", self.directory
            )
        if position.sequence != sealed.last_sequence:
            raise JournalError(
                f"records {position.sequence + 1} to {sealed.last_sequence} of {name} were removed by "
                "retention before they were read here",
                self.directory,
            )
        if not files:
            return False
        if files[0][0] == sealed.epoch and files[0][1] == sealed.index + 1:
            self._check_start(self._open(files[0]), sealed.last_sequence, sealed.chain, name)
        else:
            self._begin(files[0], "an empty journal")
        return True

    def _open_behind_foreign(self, file: File, files: list[File]) -> bool:
        """Go on in the next epoch, if nothing is left to read of a file that this build can not read.

        Raises:
            JournalLayoutError: records stand behind the position; only the build that wrote them reads them.
        """
        epoch, _, path = file
        rest = bytes(map_to_read(path)[self.position.offset : self.position.offset + LENGTH_BYTES])
        following = [later for later in files if later[:2] > file[:2]]
        if any(rest) or (following and following[0][0] == epoch):
            raise JournalLayoutError(
                f"another build's records stand behind record {self.position.sequence}; "
                "let that build read them (`ringlane store drain`)",
                path,
                self.position.offset,
            )
        if not following:
            return False
        self._begin(following[0], "an empty journal")
        return True

    def _begin(self, file: File, before: str) -> None:
        """Open the first file of an epoch, or the first one that retention left of it."""
        epoch, index, _ = file
        sequence = chain = 0
        if index:
            sealed = self._seals.seals.get((epoch, index - 1))
            if sealed is None or not self._seals.is_removed(sealed.key):
                raise JournalError(f"{file_name(epoch, 0)} is missing", self.directory)
            sequence, chain = sealed.last_sequence, sealed.chain
        try:
            view = self._open(file)
        except JournalLayoutError as error:
            way_out = "let that build read it (`ringlane store drain`), or move it away"
            raise JournalLayoutError(f"{error.what}; {way_out}", file[2], 0) from None
        self._check_start(view, sequence, chain, before)

    def _open(self, file: File) -> FileView:
        epoch, index, path = file
        try:
            mapping = map_to_read(path)
        except FileNotFoundError:
            raise JournalError("the file was removed before it was read", path) from None
        self._view = FileView(path, mapping, epoch, index)
        self._key = (epoch, index)
        return self._view

    def _check_start(self, view: FileView, sequence: int, chain: int, end: str) -> None:
        if view.first_sequence == sequence + 1 and view.previous_chain == chain:
            self.position = view.position
            return
        self._view = None
        raise JournalError(
            f"the file begins at record {view.first_sequence} and does not continue {end}", view.path, 0
        )

    def _open_next(self, view: FileView) -> bool:
        """Go on in the next file, when the one at hand has ended; False = it has not, or there is none."""
        is_same = bool(self._listed) and self.directory.stat().st_mtime_ns == self._listed
        following = [file for file in (self._seen if is_same else self._files()) if file[:2] > self._key]
        if view.is_good():
            return True  # appended between the last look and this one
        if not following:
            view.damage()  # raises when it is in the middle
            return False
        epoch, index = self._key
        file = following[0]
        if file[0] == epoch:
            if file[1] != index + 1:
                raise JournalError(f"{file_name(epoch, index + 1)} is missing", self.directory)
            upcoming = FileView(file[2], map_to_read(file[2]), *file[:2])
            if not (upcoming.first_sequence == view.sequence and upcoming.previous_chain == view.chain):
                damage = view.damage()
                if damage is not None and not view.is_good():
                    raise damage
            end = f"record {view.sequence - 1} before byte {view.offset} of {view.path.name}"
            self._check_start(self._open(file), view.sequence - 1, view.chain, end)
            return True
        self._leave_epoch(view)
        if file[1]:
            raise JournalError(f"{file_name(file[0], 0)} is missing", self.directory)
        self._begin(file, "an empty journal")
        return True

    def _leave_epoch(self, view: FileView) -> None:
        damage = self.end_damage(view)
        if damage is not None:
            self.torn.append(damage)

    def end_damage(self, view: FileView) -> JournalError | None:
        """What is wrong with the end of an epoch's last file; None = it is clean.

        Raises:
            JournalError: the chain is broken in the middle.
        """
        damage = view.damage()
        seal = self._seals.seals.get(view.position[:2])
        if damage is not None and seal is not None and view.size == view.offset == seal.size_bytes:
            return None  # trimmed after it was sealed
        return None if view.is_good() else damage

    def close(self) -> JournalError | None:
        """Let go of the file at hand; what is wrong with its end, if it stands there.

        Raises:
            JournalError: the chain is broken in the middle.
        """
        view, self._view = self._view, None
        return None if view is None else self.end_damage(view)


class JournalReader:
    """Iterator over the entries of a journal directory; `read_journal` makes it.

    Attributes:
        torn: for each epoch whose last file does not end cleanly, a JournalError that says where. Such an end
            (power loss, a file cut short) is no exception: what stands before it is good.
    """

    def __init__(
        self, directory: Path, epoch: int | None = None, after: JournalPosition | None = None
    ) -> None:
        self._follower = JournalFollower(directory, after or START, epoch=epoch)
        self.torn = self._follower.torn
        self._entries = self._read()

    def __iter__(self) -> Iterator[JournalEntry]:
        return self

    def __next__(self) -> JournalEntry:
        return next(self._entries)

    @property
    def position(self) -> JournalPosition:
        """Where reading is: behind the batch that the last entry came from."""
        return self._follower.position

    def _read(self) -> Iterator[JournalEntry]:
        while batch := self._follower.read():
            yield from batch
        damage = self._follower.close()
        if damage is not None:
            self.torn.append(damage)


def read_journal(
    directory: Path, epoch: int | None = None, after: JournalPosition | None = None
) -> JournalReader:
    """Read all entries of a journal in the order they were appended, across files and epochs.

    Reading never disturbs a live writer; it ends with what is committed at that moment.

    Args:
        directory: where the journal files are.
        epoch: only this epoch.
        after: begin behind this position, without reading what stands before it.

    Returns:
        An iterator of JournalEntry; after it is exhausted, its `torn` tells of ends that are not clean.

    Raises:
        JournalError: while iterating: a file is missing or no journal, or the chain is broken in the middle;
            the message names file, byte offset and sequence.
    """
    return JournalReader(Path(directory), epoch, after)
