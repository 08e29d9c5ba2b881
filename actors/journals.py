"""Where a gateway journals on the virtual clock without a state directory: nowhere, but with a digest."""

from __future__ import annotations

import hashlib
import struct

from typing_extensions import Buffer

from shm.enums import JournalKind, ReportKind

_INTENT, _REPORT = int(JournalKind.INTENT), int(JournalKind.REPORT)
_FILL = int(ReportKind.FILL)
_KIND = struct.Struct("<H")


class DigestJournal:
    """Counts entries and hashes every intent and every fill, in order, with their (virtual) stamps.

    Two runs that decide and trade the same have the same digest.
    """

    def __init__(self) -> None:
        self.sequence = 0
        self.intents = 0
        self.fills = 0
        self._hash = hashlib.sha256()

    def append(self, kind: int, payload: Buffer, now_ns: int) -> int:
        """Take one entry; returns its sequence."""
        del now_ns  # the payloads hold their own stamps
        self.sequence += 1
        if kind == _INTENT:
            self.intents += 1
            self._hash.update(payload)
        elif kind == _REPORT and _KIND.unpack_from(payload)[0] == _FILL:
            self.fills += 1
            self._hash.update(payload)
        return self.sequence

    def prepare(self, ahead_bytes: int) -> None:
        """Nothing to prepare."""

    def close(self) -> None:
        """Nothing to close."""

    @property
    def digest(self) -> str:
        """SHA-256 over everything so far, hexadecimal."""
        return self._hash.hexdigest()
