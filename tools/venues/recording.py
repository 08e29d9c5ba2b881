"""Recorded frames: reading capture files line by line, and what a venue's codec must know about a frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from feeds.capture import CaptureLine, read_capture
from feeds.errors import CaptureError
from tools.venues.errors import CaptureFormatError


class Frame(NamedTuple):
    """Where things are in a recorded frame: stream name, and the bounds of the payload inside the wrapper."""

    stream: str
    start: int
    end: int


class Diff(NamedTuple):
    """A book change as recorded; levels are (price, quantity) texts, an all-zero quantity removes."""

    first: int
    last: int
    previous: int
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A recorded order book snapshot."""

    update_id: int
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]


class CaptureCodec(ABC):
    """What a venue knows about its recorded frames."""

    time_keys: bytes

    @abstractmethod
    def frame(self, payload: bytes) -> Frame | None:
        """Return where the stream name and payload are, or None when the frame carries no stream."""

    @abstractmethod
    def is_diff(self, stream: str) -> bool:
        """Return whether frames of this stream change a book."""

    @abstractmethod
    def diff(self, payload: bytes) -> Diff:
        """Decode a frame of a book stream; ValueError when it is not one."""

    @abstractmethod
    def http(self, path: str) -> str:
        """Return what the answer to a request is: `snapshot`, `instruments` or an empty string."""

    @abstractmethod
    def snapshot_symbol(self, path: str) -> str:
        """Return the symbol in the path of a snapshot request; empty when the path has none."""

    @abstractmethod
    def snapshot(self, payload: bytes) -> Snapshot:
        """Decode a snapshot body; ValueError when it is not one."""

    @abstractmethod
    def encode_snapshot(self, snapshot: Snapshot, time_ms: int) -> bytes:
        """Encode a snapshot body as the venue does."""

    @abstractmethod
    def prices(self, payload: bytes) -> Iterator[tuple[str, str]]:
        """Yield (price text, quantity text) of everything in a frame that has a price."""

    @abstractmethod
    def base_and_quote(self, symbol: str) -> tuple[str, str]:
        """Split a symbol into base and quote."""

    @abstractmethod
    def substitutes(self, stream: str) -> Iterator[str]:
        """Yield names of streams that carry the same information, best first."""


def read_lines(paths: Sequence[Path], venue: str) -> Iterator[CaptureLine]:
    """Yield the lines of all files in order of receive time; CaptureFormatError names file and line."""
    try:
        yield from read_capture(paths, venue)
    except CaptureError as error:
        raise CaptureFormatError(str(error)) from None
