"""Reading capture files that were written block by block, torn ends and flipped bytes included.

The counterpart of `feeds.capture_writer`: each gzip member is one block, delivered only once its checksum is
right; the block that was under way when the writer died is taken from `<file>.tail`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import orjson

from feeds.capture_writer import FORMAT_VERSION, GZIP, OWN_CHANNEL, TAIL_SUFFIX
from feeds.errors import CaptureError, ForeignCaptureError
from feeds.venues import ADAPTERS

GZIP_MAGIC = b"\x1f\x8b\x08"
READ_BYTES = 1 << 20
BLOCK_BYTES_MAX = 1 << 30
HEAD_BYTES = 64

#: Receives a damaged block where damage shall not end the reading.
OnDamage = Callable[[CaptureError], None]


def is_block_file(path: Path) -> bool:
    """Say whether a file was begun by a capture writer; OSError if it can not be read."""
    with path.open("rb") as stream:
        start = stream.read(4096)
    if not start:  # the writer died before its first block was done
        return Path(str(path) + TAIL_SUFFIX).is_file()
    if not start.startswith(GZIP_MAGIC):
        return False
    try:
        head = zlib.decompressobj(GZIP).decompress(start, HEAD_BYTES)
    except zlib.error:
        return path.name.endswith(".rlc.gz")
    return b" " + OWN_CHANNEL + b" capture " in head


def read_head(payload: bytes, path: str | Path, line: int) -> str:
    """Read a recorder's first line of a file: whose frames it holds.

    Raises:
        ForeignCaptureError: it is of a newer version, or of a venue that is not known here.
        CaptureError: it is not what a recorder writes.
    """
    try:
        head = orjson.loads(payload)
        version, venue = int(head["version"]), str(head["venue"])
    except (LookupError, TypeError, ValueError) as error:
        raise CaptureError(path, line, f"not a recorder's first line: {payload[:80]!r}") from error
    if version > FORMAT_VERSION:
        raise ForeignCaptureError(
            path,
            line,
            f"recorded in version {version} of the format; up to {FORMAT_VERSION} can be read here",
        )
    if venue not in ADAPTERS:
        known = ", ".join(sorted(ADAPTERS))
        raise ForeignCaptureError(path, line, f"recorded at {venue!r}; known venues: {known}")
    return venue


def recording_of(payload: bytes) -> str:
    """Return the recording that a recorder's first line says its file is a part of, "" = it says none."""
    try:
        return str(orjson.loads(payload)["recording"])
    except (LookupError, TypeError, ValueError):
        return ""


def read_blocks(path: Path, on_damage: OnDamage | None = None) -> Iterator[bytes]:
    """Yield the blocks of a capture file: whole lines, checksum verified.

    Args:
        path: the capture file.
        on_damage: called for a damaged block, which is left out, and for an end torn off whose lines the tail
            does not have. None = such damage is raised after everything before it was yielded.

    Raises:
        CaptureError: damage, without `on_damage`.
        OSError: a file can not be read.
    """
    tell = on_damage or _raise
    end = 0  # of the last whole block
    is_damaged = False  # since there
    with path.open("rb") as stream:
        members = _Members(stream)
        while (start := members.seek_next()) is not None:
            try:
                block = members.take()
            except (EOFError, zlib.error):
                # Three bytes of packed data may look like a start: say nothing before a whole block is found.
                is_damaged = True
                members.skip()
                continue
            if start > end:
                tell(CaptureError(path, 0, f"no whole block stands in the bytes {end} to {start}: damaged"))
            end, is_damaged = members.at, False
            yield block
        is_damaged = is_damaged or members.at > end
    rest = _tail(path, end)
    if rest is not None:
        yield rest
    elif is_damaged:
        tell(CaptureError(path, 0, f"the file ends inside a block, from byte {end} on"))


def _raise(error: CaptureError) -> None:
    raise error


def _tail(path: Path, end: int) -> bytes | None:
    """The lines of the block under way when the writer died; None = no tail, or its block is in the file."""
    try:
        text = Path(str(path) + TAIL_SUFFIX).read_bytes()
    except FileNotFoundError:
        return None
    head, newline, lines = text.partition(b"\n")
    if not newline or not head.isdigit() or int(head) != end:
        return None
    return lines


class _Members:
    """Finds and unpacks gzip members one after the other."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._buffer = b""
        self.at = 0  # file offset of the buffer's first byte

    def _more(self) -> bool:
        data = self._stream.read(READ_BYTES)
        self._buffer += data
        return bool(data)

    def _drop(self, count: int) -> None:
        self._buffer = self._buffer[count:]
        self.at += count

    def seek_next(self) -> int | None:
        """Go to the next member start; its offset, None = there is none (`at` is then the file's end)."""
        while True:
            found = self._buffer.find(GZIP_MAGIC)
            if found >= 0:
                self._drop(found)
                return self.at
            keep = min(len(self._buffer), len(GZIP_MAGIC) - 1)
            if not self._more():
                self._drop(len(self._buffer))
                return None
            if len(self._buffer) > READ_BYTES + keep:
                self._drop(len(self._buffer) - READ_BYTES - keep)

    def take(self) -> bytes:
        """Unpack the member that begins here and stand behind it; EOFError = it is cut short."""
        unpacker = zlib.decompressobj(GZIP)
        parts: list[bytes] = []
        used = 0
        while not unpacker.eof:
            if used == len(self._buffer) and not self._more():
                raise EOFError
            parts.append(unpacker.decompress(self._buffer[used:]))
            used = len(self._buffer)
            if sum(map(len, parts)) > BLOCK_BYTES_MAX:
                raise zlib.error("the block is larger than any writer makes")
        self._drop(used - len(unpacker.unused_data))
        return b"".join(parts)

    def skip(self) -> None:
        """Step over the first byte of a member that is no good, so that the next one is looked for."""
        self._drop(1)
