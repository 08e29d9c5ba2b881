"""What a capture holds, found by replaying it: venues, symbols, frames, span, gaps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from feeds.capture import capture_venues, read_capture
from feeds.errors import CaptureError, EmptyCaptureError
from tools.replay import Replay, ReplaySettings


@dataclass(slots=True)
class VenueInfo:
    """One venue's part of a capture."""

    venue: str
    frames: int = 0
    books: int = 0
    trades: int = 0
    symbols: dict[str, str] = field(default_factory=dict)  # name → state of its book at the end
    rejected: int = 0
    gaps: list[str] = field(default_factory=list)


@dataclass(slots=True)
class CaptureInfo:
    """What `ringlane capture --info` tells."""

    files: list[str]
    lines: int = 0
    bytes: int = 0
    first_ns: int = 0
    last_ns: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    connections: int = 0
    lost_lines: int = 0  # as the recorder noted
    venues: list[VenueInfo] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)

    @property
    def span_s(self) -> float:
        """Seconds between the first and the last line."""
        return (self.last_ns - self.first_ns) / 1e9

    def as_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {**asdict(self), "span_s": self.span_s}


def describe(paths: Sequence[Path], venue: str = "") -> CaptureInfo:
    """Describe captures.

    Args:
        paths: the files.
        venue: whose frames these are, "" = found from the files.

    Raises:
        CaptureError: a file that can not be used, or no venue of ours in it.
        VenueError: an unknown venue.
    """
    info = CaptureInfo([str(path) for path in paths])
    kinds: Counter[str] = Counter()
    channels = set()

    def on_damage(error: CaptureError) -> None:
        info.damage.append(str(error))

    for line in read_capture(list(paths), venue or None, on_damage):
        info.lines += 1
        info.bytes += len(line.payload)
        info.first_ns = info.first_ns or line.recv_ns
        info.last_ns = max(info.last_ns, line.recv_ns)
        kinds[line.kind] += 1
        if line.kind == "ws":
            channels.add((line.file, line.channel))
        elif line.kind == "lost":
            info.lost_lines += 1
    info.kinds, info.connections = dict(kinds), len(channels)
    names = [venue] if venue else capture_venues(list(paths))
    if not names:
        raise CaptureError(", ".join(info.files), 0, "no market data of a known venue in it")
    info.venues = [_venue(name, paths) for name in names]
    return info


def _venue(name: str, paths: Sequence[Path]) -> VenueInfo:
    try:
        result = Replay(ReplaySettings(name, tuple(paths), strategy="")).run()
    except EmptyCaptureError:  # its recorder was ended before anything came
        return VenueInfo(name)
    return VenueInfo(
        name,
        frames=result.lines,
        books=result.feed.get("books", 0),
        trades=result.feed.get("trades", 0),
        symbols=dict(result.states),
        rejected=result.rejected,
        gaps=[str(gap) for gap in result.gaps],
    )
