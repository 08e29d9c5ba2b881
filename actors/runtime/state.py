"""Saved states of a worker's actors: two checksummed slots each in the segment `state.<slot>`.

Layout of the payload: for each actor index two slots of SLOT_BYTES. A slot is a 32-byte head (count,
actor id, version, length, CRC-32) and the bytes. The writer always overwrites the older slot, so a kill in
the middle of a save leaves the previous one whole; the reader takes the newest slot whose checksum holds.
"""

from __future__ import annotations

import struct
import zlib

from actors.errors import StateError
from actors.runtime.actor import STATE_BYTES_MAX

_HEAD = struct.Struct("<QIIII8x")
SLOT_BYTES = _HEAD.size + STATE_BYTES_MAX


class StateStore:
    """The two-slot store over one worker's state segment.

    Args:
        payload: writable memoryview of the segment; `bytes_needed(actors)` bytes at least.
    """

    def __init__(self, payload: memoryview) -> None:
        self._payload = payload.cast("B")
        self._actors = len(self._payload) // (2 * SLOT_BYTES)

    @staticmethod
    def bytes_needed(actors: int) -> int:
        """Payload bytes for that many actors."""
        return max(actors, 1) * 2 * SLOT_BYTES

    def save(self, index: int, actor_id: int, version: int, state: bytes) -> None:
        """Write one actor's state into the older of its two slots.

        Raises:
            StateError: longer than 64 KiB, or the segment has no place for this actor index.
        """
        if len(state) > STATE_BYTES_MAX:
            raise StateError(f"actor {actor_id}: state of {len(state)} bytes exceeds {STATE_BYTES_MAX}")
        counts = [self._head(index, slot)[0] for slot in (0, 1)]
        target = 0 if counts[0] <= counts[1] else 1
        count = max(counts) + 1
        start = self._start(index, target)
        body = start + _HEAD.size
        self._payload[body : body + len(state)] = state
        crc = self._crc(count, actor_id, version, state)
        _HEAD.pack_into(self._payload, start, count, actor_id, version, len(state), crc)

    def load(self, index: int, actor_id: int) -> tuple[int, bytes] | None:
        """The newest whole state of that actor as (version, bytes), or None."""
        best: tuple[int, int, bytes] | None = None
        for slot in (0, 1):
            count, owner, version, length, crc = self._head(index, slot)
            if not count or owner != actor_id or length > STATE_BYTES_MAX:
                continue
            body = self._start(index, slot) + _HEAD.size
            state = bytes(self._payload[body : body + length])
            if self._crc(count, owner, version, state) == crc and (best is None or count > best[0]):
                best = (count, version, state)
        return None if best is None else (best[1], best[2])

    def _start(self, index: int, slot: int) -> int:
        if not 0 <= index < self._actors:
            raise StateError(f"actor index {index} is outside the state segment ({self._actors} actors)")
        return (2 * index + slot) * SLOT_BYTES

    def _head(self, index: int, slot: int) -> tuple[int, int, int, int, int]:
        count, owner, version, length, crc = _HEAD.unpack_from(self._payload, self._start(index, slot))
        return count, owner, version, length, crc

    @staticmethod
    def _crc(count: int, actor_id: int, version: int, state: bytes) -> int:
        return zlib.crc32(struct.pack("<QII", count, actor_id, version) + state)
