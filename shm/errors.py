"""The exceptions of `shm`: edges only; expected outcomes (refused, lapped, BUSY) are values."""

from __future__ import annotations

from pathlib import Path


class ShmError(Exception):
    """Anything that goes wrong with shared memory or a file mapped like it."""


class SegmentError(ShmError):
    """A segment can not be created, attached or sized."""


class LayoutError(ShmError):
    """A mapping does not hold the layout that its reader expects."""


class InstanceError(ShmError):
    """An instance name is not valid, or the instance is already running."""


class RingError(ShmError):
    """A ring is used with a wrong capacity, slot size, record size or role."""


class JournalError(ShmError):
    """A journal file is broken or can not be written.

    Args:
        message: What is wrong.
        path: The journal file, if one is to blame.
        offset: Byte offset in that file, if one is to blame.
    """

    def __init__(self, message: str, path: Path | None = None, offset: int | None = None) -> None:
        where = "" if path is None else f" ({path}" + ("" if offset is None else f" at byte {offset}") + ")"
        super().__init__(message + where)
        self.what = message
        self.path = path
        self.offset = offset


class UnitsError(ShmError):
    """A decimal text does not fit the exponent or the integer range."""


class InstrumentError(ShmError):
    """An instrument row is unknown, malformed, or the table is full."""


class RecordError(ShmError):
    """Bytes can not be a record of the wanted kind."""


class JournalFull(JournalError):
    """The disk has no room for the next record; nothing was written and the journal stays usable."""


class JournalLayoutError(JournalError):
    """A journal file is whole, but another build's: its layout is not the one that this build reads."""


class MetricsError(ShmError):
    """A counter or histogram can not be made: its label is too long or the segment is full."""


class AuditError(ShmError):
    """The audit of the trading state is not what was written."""
