"""Recorded frames: reading capture files line by line, and what a venue's codec must know about a frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from feeds.capture import CaptureLine, read_capture
from feeds.errors import CaptureError
from tools.venues.errors import CaptureFormatError
from tools.venues.retime import first_time, shift_times

if TYPE_CHECKING:
    from tools.venues.protocol import VenueInstrument


class Frame(NamedTuple):
    """Where things are in a recorded frame: stream name, and the bounds of the payload inside the wrapper."""

    stream: str
    start: int
    end: int


#: A price level as recorded: price and quantity texts, and what else the venue says of it.
Level = Sequence[str]


class Diff(NamedTuple):
    """A book change as recorded; an all-zero quantity removes.

    whole: the message says the book anew; extra: members an in-stream snapshot of the venue repeats.
    """

    first: int
    last: int
    previous: int
    bids: Sequence[Level]
    asks: Sequence[Level]
    whole: bool = False
    extra: Mapping[str, object] = {}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An order book, as recorded or as it became."""

    update_id: int
    bids: Sequence[Level]
    asks: Sequence[Level]
    extra: Mapping[str, object] = field(default_factory=dict)


class CaptureCodec(ABC):
    """What a venue knows about its recorded frames."""

    time_keys: bytes = b""
    has_whole_books = False

    def on_connect(self, where: tuple[str, str], url: str) -> None:  # noqa: B027
        """Learn which address a connection (file, name) of the capture has."""

    @abstractmethod
    def frame(self, payload: bytes, where: tuple[str, str] = ("", "")) -> Frame | None:
        """Return where the stream name and payload are, or None when the frame carries no stream."""

    @abstractmethod
    def symbol_of(self, stream: str) -> str:
        """Return the key of the stream's instrument; empty when it is of none."""

    @abstractmethod
    def book_streams(self, symbol: str) -> Iterator[str]:
        """Yield the names of streams of changes of an instrument's book, the one with most levels first."""

    def is_diff(self, stream: str) -> bool:
        """Return whether frames of this stream change a book."""
        return stream in self.book_streams(self.symbol_of(stream))

    @abstractmethod
    def diff(self, payload: bytes) -> Diff:
        """Decode a frame of a book stream; ValueError when it is not one."""

    @abstractmethod
    def http(self, path: str) -> str:
        """Return what the answer to a request is: `snapshot`, `instruments` or an empty string."""

    def category_of(self, path: str) -> str:  # noqa: ARG002
        """Return which of the venue's kinds an instruments request is about; empty when it has one kind."""
        return ""

    @abstractmethod
    def snapshot_symbol(self, path: str) -> str:
        """Return the key of the instrument in the path of a snapshot request; empty when it has none."""

    @abstractmethod
    def snapshot(self, payload: bytes) -> Snapshot:
        """Decode a snapshot body; ValueError when it is not one."""

    @abstractmethod
    def encode_snapshot(self, symbol: str, snapshot: Snapshot, time_ms: int) -> bytes:
        """Encode a snapshot body as the venue does."""

    def welcome(self, stream: str, snapshot: Snapshot, time_ms: int) -> bytes | None:  # noqa: ARG002
        """Encode the whole book with which a stream begins for a subscriber; None: otherwise."""
        return None

    def remember(self, stream: str, held: bytes | None, payload: bytes) -> bytes | None:  # noqa: ARG002
        """Return what a subscriber gets first after this frame, given what it was before."""
        return None

    @abstractmethod
    def prices(self, payload: bytes) -> Iterator[tuple[str, str]]:
        """Yield (price text, quantity text) of everything in a frame that has a price."""

    def trades(self, payload: bytes) -> Iterator[tuple[str, str, bool]]:  # noqa: ARG002
        """Yield (price text, quantity text, whether the buyer came) of the public trades in a frame."""
        yield from ()

    @abstractmethod
    def instrument(self, symbol: str, price_decimals: int, quantity_decimals: int) -> VenueInstrument:
        """Make an instrument from its key and the decimals seen; tick and lot are a unit of the last one."""

    def substitutes(self, stream: str) -> Iterator[str]:  # noqa: ARG002
        """Yield names of streams that carry the same information, best first."""
        yield from ()

    def event_ms(self, payload: bytes, start: int) -> int:
        """Return the venue's time in the payload that begins at `start`; -1 when there is none."""
        return first_time(payload, start, self.time_keys[:1])

    def shift(self, payload: bytes, start: int, delta_ms: int) -> bytes | None:
        """Return the frame with its times moved in place; None when that would change its length."""
        return shift_times(payload, start, self.time_keys, delta_ms)


def unit_text(decimals: int) -> str:
    """Return one unit of the last decimal as text."""
    return "1" if decimals == 0 else "0." + "0" * (decimals - 1) + "1"


def read_lines(paths: Sequence[Path], venue: str | None) -> Iterator[CaptureLine]:
    """Yield the lines of all files in order of receive time; CaptureFormatError names file and line."""
    try:
        yield from read_capture(paths, venue)
    except CaptureError as error:
        raise CaptureFormatError(str(error)) from None
