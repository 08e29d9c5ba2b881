"""Errors of the feeds package; what is expected in normal running is a returned value, never one of these."""

from __future__ import annotations

from pathlib import Path


class FeedError(Exception):
    """Root of this package's errors."""


class DecodeError(FeedError):
    """A message that can not be decoded or applied; the text names field, reason and byte offset."""


class ChecksumError(DecodeError):
    """A book that is not what the venue's checksum says it is."""


class VenueError(FeedError):
    """An unknown venue or symbol, or an answer of a venue that is not what its document says."""


class TransportError(FeedError):
    """An HTTP request or a connection that failed; the text names the address and the cause."""


class CaptureError(FeedError):
    """A damaged capture or instruments file.

    Args:
        path: the file.
        line: its line, from 1; 0 when no line is meant.
        text: what is wrong there.
    """

    def __init__(self, path: str | Path, line: int, text: str) -> None:
        super().__init__(f"{path}:{line}: {text}" if line else f"{path}: {text}")
        self.path = str(path)
        self.line = line
        self.text = text


class ForeignCaptureError(CaptureError):
    """A capture that this program can not judge: of a newer version, or of a venue it does not know."""


class EmptyCaptureError(CaptureError):
    """A capture without market data."""
