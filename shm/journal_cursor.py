"""How far a consumer of a journal has come: a small file beside the journal that retention obeys.

The cursor says *stored up to here*: move it only after what was made of the entries is stored. A consumer
that stores its position in the same transaction as its rows is exactly-once; the cursor may lag behind and
only keeps files from being removed.
"""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

from shm.errors import JournalError
from shm.journal_files import JournalPosition, sync_directory, write_durably

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
CURSOR_FILE = re.compile(r"cursor-([a-z0-9][a-z0-9-]{0,39})\.json")


class JournalCursor:
    """The cursor of one consumer; make it with `open`.

    Attributes:
        directory, name: whose.
        position: behind the last entry that is stored.
    """

    def __init__(self, directory: Path, name: str, position: JournalPosition) -> None:
        self.directory = directory
        self.name = name
        self.position = position

    @property
    def path(self) -> Path:
        """The file."""
        return self.directory / f"cursor-{self.name}.json"

    @classmethod
    def open(cls, directory: Path, name: str) -> JournalCursor:
        """Read the cursor, or register a new one at the beginning: from now on nothing unread is removed.

        Args:
            directory: of the journal; made if it is not there.
            name: of the consumer: a-z, 0-9 and -, at most 40.

        Raises:
            JournalError: the name is not valid, or the file is damaged or can not be written.
        """
        if not NAME.fullmatch(name):
            raise JournalError(f"cursor name {name!r} is not valid: a-z, 0-9 and -, at most 40", directory)
        directory = Path(directory)
        cursor = cls(directory, name, JournalPosition())
        if cursor.path.exists():
            cursor.position = read_cursor(cursor.path)
        else:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            cursor.save(cursor.position)
        return cursor

    def save(self, position: JournalPosition) -> None:
        """Move the cursor, on the disk when this returns; a kill at any moment leaves the old or the new one.

        Raises:
            JournalError: it would go back, or can not be written (JournalFull: no room); the old one stays.
        """
        if order_of(position) < order_of(self.position):
            raise JournalError(
                f"cursor {self.name} would go back from {self.position} to {position}", self.path
            )
        text = json.dumps(position._asdict(), sort_keys=True)
        write_durably(self.path, f"{text} {zlib.crc32(text.encode()):08x}\n".encode())
        self.position = position

    def remove(self) -> None:
        """Forget this consumer: retention waits for it no more."""
        self.path.unlink(missing_ok=True)
        sync_directory(self.directory)


def order_of(position: JournalPosition) -> tuple[int, int, int]:
    """What positions are compared by."""
    return position.epoch, position.sequence, position.file_index


def read_cursor(path: Path) -> JournalPosition:
    """The position in a cursor file.

    Raises:
        JournalError: it is damaged or can not be read.
    """
    try:
        text, _, check = path.read_text(encoding="ascii").rstrip("\n").rpartition(" ")
        if check != f"{zlib.crc32(text.encode()):08x}":
            raise JournalError("the cursor is damaged: its checksum does not fit", path)
        return JournalPosition(**json.loads(text))
    except (OSError, ValueError, TypeError) as error:
        raise JournalError(f"the cursor can not be read: {error}", path) from error


def all_cursors(directory: Path) -> dict[str, JournalPosition | JournalError]:
    """Every registered cursor by name; one that can not be read is its error (retention then waits)."""
    found: dict[str, JournalPosition | JournalError] = {}
    if not directory.is_dir():
        return found
    for path in sorted(directory.iterdir()):
        match = CURSOR_FILE.fullmatch(path.name)
        if match:
            try:
                found[match[1]] = read_cursor(path)
            except JournalError as error:
                found[match[1]] = error
    return found
