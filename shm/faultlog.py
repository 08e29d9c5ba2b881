"""Fault log: distinct errors with count, first and last time, in shared memory (Agrona's DistinctErrorLog).

A table of `shm_fault` cells inside a metrics segment, one writer. A cell exists once its count is stored.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shm.errors import LayoutError
from shm.words import load_acquire, load_relaxed, store_relaxed, store_release

if TYPE_CHECKING:
    from typing_extensions import Buffer

# struct shm_fault of native/shm_layout.h: count, first, last, code, text.
CELL = struct.Struct("<QQQQ200s24x")
CODE_AND_TEXT = struct.Struct("<Q200s")
TEXT_BYTES = 200
OTHER_TEXT = b"(faults beyond the capacity of this log)"


@dataclass(frozen=True, slots=True)
class Fault:
    """One distinct fault and how often it was seen."""

    code: int
    text: str
    count: int
    first_utc_ns: int
    last_utc_ns: int


class FaultLog:
    """The fault cells of one worker; distinct by code and text.

    The last cell collects every fault that found no free cell, so nothing goes uncounted.
    """

    def __init__(self, buffer: Buffer, offset: int, cells: int) -> None:
        """Attach to `cells` cells at a byte offset of a payload.

        Raises:
            LayoutError: the cells do not stand within the payload.
        """
        self._view = memoryview(buffer).cast("B")
        if offset < 0 or cells < 1 or offset + cells * CELL.size > len(self._view):
            raise LayoutError(f"no {cells} fault cells at byte {offset} of {len(self._view)}")
        self._offset = offset
        self._cells = cells

    def record(self, code: int, text: str, utc_ns: int) -> None:
        """Count one occurrence of a fault; the one writer only.

        Args:
            code: the caller's number for the kind of fault, 0 to 2^64 - 1.
            text: what happened; bytes beyond 200 of its UTF-8 form are cut off.
            utc_ns: wall clock now.
        """
        wanted = cut_text(text)
        last = self._offset + (self._cells - 1) * CELL.size
        for offset in range(self._offset, last, CELL.size):
            count = load_relaxed(self._view, offset)
            if not count:
                self._start(offset, code, wanted, utc_ns)
                return
            if self._holds(offset, code, wanted):
                self._again(offset, count, utc_ns)
                return
        count = load_relaxed(self._view, last)
        if count:
            self._again(last, count, utc_ns)
        else:
            self._start(last, 0, OTHER_TEXT, utc_ns)

    def faults(self) -> list[Fault]:
        """All faults in the order of their first occurrence."""
        found = []
        for index in range(self._cells):
            offset = self._offset + index * CELL.size
            if not load_acquire(self._view, offset):
                continue
            count, first, last, code, text = CELL.unpack_from(self._view, offset)
            found.append(Fault(code, text.rstrip(b"\0").decode("utf-8", "replace"), count, first, last))
        return found

    def _start(self, offset: int, code: int, text: bytes, utc_ns: int) -> None:
        CODE_AND_TEXT.pack_into(self._view, offset + 24, code, text)
        store_relaxed(self._view, offset + 8, utc_ns)
        store_relaxed(self._view, offset + 16, utc_ns)
        store_release(self._view, offset, 1)

    def _again(self, offset: int, count: int, utc_ns: int) -> None:
        store_relaxed(self._view, offset + 16, utc_ns)
        store_release(self._view, offset, count + 1)

    def _holds(self, offset: int, code: int, text: bytes) -> bool:
        held_code, held_text = CODE_AND_TEXT.unpack_from(self._view, offset + 24)
        return bool(held_code == code and held_text.rstrip(b"\0") == text)


def cut_text(text: str) -> bytes:
    """UTF-8 of a text, cut to the cell without splitting a character; zero bytes become spaces."""
    encoded = text.replace("\0", " ").encode("utf-8", "replace")
    if len(encoded) <= TEXT_BYTES:
        return encoded
    return encoded[:TEXT_BYTES].decode("utf-8", "ignore").encode()
