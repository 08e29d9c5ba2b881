"""Writing captures: raw frames with receive stamps, compressed, checksummed, rotating, with a safe tail.

A capture file is a row of gzip members, each one *block* of whole lines with its own CRC-32 and length (RFC
1952), so `zcat` reads it and damage stays within a block. The block under way stands uncompressed in
`<file>.tail`: what was handed to the kernel there is not lost with the process. The tail's first line is the
size the capture file had when the block was begun; a tail whose block is already in the file is recognized by
it. A line is `<receive time, ns> <connection> <kind> <raw text>` as in `feeds.capture`; each file begins with

- `<ns> ringlane capture {"version", "venue", "recording", "part", "symbols"}`; files of one recorder have its
  `recording` in common, and the same connections;
- `<ns> ringlane instruments [rows]`: the instrument rows its frames need.

A connection is named `<group>` or `<group>.<number>`: those of one group carry the same streams. A `connect`
without an address says that it is over.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from feeds.errors import CaptureError

if TYPE_CHECKING:
    from shm.instruments import Instrument

FORMAT_VERSION = 1
SUFFIX = ".rlc.gz"
TAIL_SUFFIX = ".tail"
OWN_CHANNEL = b"ringlane"
GZIP = 31  # zlib's wbits for a gzip wrapper
RETRY_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class WriterSettings:
    """Sizes and times of a capture.

    Args:
        block_bytes: uncompressed bytes after which a block is compressed and appended.
        block_ns: age after which it is, however small.
        tail_ns: how long a line may wait in memory before it is written to the tail: what a SIGKILL can cost.
        file_bytes: compressed bytes after which the next file is begun.
        file_ns: age after which it is.
        level: of zlib, 1 fast .. 9 small.
    """

    block_bytes: int = 1 << 20
    block_ns: int = 10_000_000_000
    tail_ns: int = 50_000_000
    file_bytes: int = 256 << 20
    file_ns: int = 3_600_000_000_000
    level: int = 6

    def __post_init__(self) -> None:
        if min(self.block_bytes, self.block_ns, self.tail_ns, self.file_bytes, self.file_ns) <= 0:
            raise ValueError(f"sizes and times of a capture must be positive: {self}")
        if not 1 <= self.level <= 9:
            raise ValueError(f"compression level {self.level} is outside 1..9")


class CaptureWriter:
    """Writes the captures of one venue into a folder.

    When the disk is full nothing written before is harmed: lines are dropped and counted (`dropped`), the
    disk is tried again once a second, and the first line behind the hole is `ringlane lost` with the count.

    Args:
        folder: where the files go; it must exist.
        venue: adapter name; it begins the file names.
        symbols: what is captured.
        instruments: rows the frames need.
        utc_ns: wall clock, for the stamps of its own lines and the file names.
        settings: sizes and times.

    Raises:
        CaptureError: the first file can not be made.
    """

    def __init__(
        self,
        folder: Path,
        venue: str,
        symbols: Sequence[str],
        instruments: Sequence[Instrument],
        *,
        utc_ns: Callable[[], int] = time.time_ns,
        settings: WriterSettings | None = None,
    ) -> None:
        self._folder, self._venue, self._symbols = folder, venue, list(symbols)
        self._rows = [asdict(row) for row in instruments]
        self._utc_ns = utc_ns
        self._settings = settings or WriterSettings()
        self._part = 0
        self._recording = f"{venue}-{utc_ns()}-{os.getpid()}"
        self._fd = self._tail_fd = -1
        self._block = bytearray()
        self._tailed = 0  # bytes of the block that stand in the tail
        self._begun_ns = self._waiting_ns = self._file_ns = 0
        self._failed_ns = 0
        self._lost = 0
        self.path = Path()
        self.lines = 0
        self.dropped = 0
        self.last_error = ""
        self.written_bytes = 0  # of the file under way
        self.raw_bytes = self.packed_bytes = 0  # of all blocks so far
        try:
            self._open()
        except OSError as error:
            raise CaptureError(folder, 0, f"a capture can not be made here: {error.strerror}") from error

    # ---- lines --------------------------------------------------------------------------------

    def write(self, recv_ns: int, channel: str, kind: str, payload: bytes, now_ns: int) -> bool:
        """Add one line; False = dropped, the disk is full.

        Args:
            recv_ns: receive stamp, wall clock.
            channel: connection, or `http:<path>`.
            kind: connect, send, recv or http.
            payload: raw text. A line feed in it, which no JSON needs, becomes a blank.
            now_ns: monotonic time.
        """
        if self._failed_ns and not self._retry(now_ns):
            self._lost += 1
            self.dropped += 1
            return False
        if b"\n" in payload:
            payload = payload.replace(b"\r\n", b" ").replace(b"\n", b" ")
        self._file_ns = self._file_ns or now_ns
        if not self._block:
            self._begun_ns = now_ns
        if self._tailed == len(self._block):
            self._waiting_ns = now_ns
        self._block += b"%d %s %s %s\n" % (recv_ns, channel.encode(), kind.encode(), payload)
        self.lines += 1
        self.on_timer(now_ns)
        return True

    def on_timer(self, now_ns: int) -> None:
        """Write to the tail, end the block, begin the next file: whatever is due. Call it now and then."""
        s = self._settings
        if self._failed_ns or not self._block:
            return
        # A file ends with a block: one that shall be shorter than a block's time ends its blocks sooner.
        is_old = now_ns - self._begun_ns >= min(s.block_ns, s.file_ns)
        if is_old or len(self._block) >= s.block_bytes:
            self._guard(self._end_block, now_ns)
        elif self._tailed < len(self._block) and now_ns - self._waiting_ns >= s.tail_ns:
            self._guard(self._write_tail, now_ns)

    def close(self) -> None:
        """End the last block and the file.

        Raises:
            CaptureError: the last block could not be written; it stands in the tail as far as that went.
        """
        if self._fd < 0:
            return
        try:
            if self._block:
                self._end_block(0, rotate=False)
        except OSError as error:
            raise CaptureError(self.path, 0, f"can not be ended: {error.strerror}") from error
        finally:
            is_done = not self._block
            self._close_files(remove_tail=is_done)

    # ---- files --------------------------------------------------------------------------------

    def _open(self, _now_ns: int = 0) -> None:
        utc_ns = self._utc_ns()
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(utc_ns // 1_000_000_000))
        while True:
            path = self._folder / f"{self._venue}-{stamp}-{self._part:04d}{SUFFIX}"
            try:
                self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
                break
            except FileExistsError:
                self._part += 1
        self.path = path
        try:
            tail = str(path) + TAIL_SUFFIX
            self._tail_fd = os.open(tail, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        except OSError:
            os.close(self._fd)
            self._fd = -1
            raise
        self._file_ns = 0
        self.written_bytes = 0
        head = {
            "version": FORMAT_VERSION,
            "venue": self._venue,
            "recording": self._recording,
            "part": self._part,
            "symbols": self._symbols,
        }
        self._block = bytearray(self._own_line(utc_ns, b"capture", head))
        self._block += self._own_line(utc_ns, b"instruments", self._rows)
        self._tailed = 0

    def _own_line(self, utc_ns: int, kind: bytes, content: object) -> bytes:
        return b"%d %s %s %s\n" % (utc_ns, OWN_CHANNEL, kind, orjson.dumps(content))

    def _guard(self, step: Callable[[int], None], now_ns: int) -> None:
        try:
            step(now_ns)
        except OSError as error:
            self._failed_ns = now_ns
            self.last_error = f"{self.path}: {error.strerror}"

    def _retry(self, now_ns: int) -> bool:
        """After a failure: once a second try to end the block that is waiting; True = writing goes on."""
        if now_ns - self._failed_ns < RETRY_NS:
            return False
        self._failed_ns = 0
        self._guard(self._end_block if self._fd >= 0 else self._open, now_ns)
        if self._failed_ns:
            return False
        self._block += self._own_line(self._utc_ns(), b"lost", {"lines": self._lost, "why": self.last_error})
        self._lost = 0
        return True

    def _write_tail(self, _now_ns: int) -> None:
        if not self._tailed:
            # The size first: it tells a reader whether this block is in the file already.
            head = b"%d\n" % self.written_bytes
            os.ftruncate(self._tail_fd, 0)
            _write_all(self._tail_fd, head, 0)
            self._tail_at = len(head)
        _write_all(self._tail_fd, memoryview(self._block)[self._tailed :], self._tail_at + self._tailed)
        self._tailed = len(self._block)

    def _end_block(self, now_ns: int, rotate: bool = True) -> None:
        packer = zlib.compressobj(self._settings.level, zlib.DEFLATED, GZIP)
        packed = packer.compress(self._block) + packer.flush()
        try:
            _write_all(self._fd, packed, self.written_bytes)
        except OSError:
            os.ftruncate(self._fd, self.written_bytes)  # a half-written member would hide what follows
            raise
        raw = len(self._block)
        self.written_bytes += len(packed)
        self._block.clear()
        self._tailed = 0
        os.ftruncate(self._tail_fd, 0)
        self.raw_bytes += raw
        self.packed_bytes += len(packed)
        is_old = now_ns - self._file_ns >= self._settings.file_ns
        if rotate and (is_old or self.written_bytes >= self._settings.file_bytes):
            self._rotate()

    def _rotate(self) -> None:
        self._close_files(remove_tail=True)
        self._part += 1
        self._open()

    def _close_files(self, *, remove_tail: bool) -> None:
        if self._fd < 0:
            return
        os.fsync(self._fd)
        os.close(self._fd)
        os.close(self._tail_fd)
        self._fd = self._tail_fd = -1
        if remove_tail:
            os.unlink(str(self.path) + TAIL_SUFFIX)


def _write_all(fd: int, data: bytes | memoryview, at: int) -> None:
    view = memoryview(data)
    while len(view):
        written = os.pwrite(fd, view, at)
        view = view[written:]
        at += written
