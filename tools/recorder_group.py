"""Recording several venues at once: a recorder for each, in one process, each into files of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from feeds.errors import FeedError, VenueError
from feeds.venues import FAMILIES, get_adapters
from tools.recorder import AddressLimits, Recorder, RecorderSettings

SUMMED = ("frames", "snapshots", "snapshot_failures", "lines", "dropped", "connects", "rotations",
          "rotations_failed", "left_out", "raw_bytes", "packed_bytes")  # fmt: skip
TOLD = ("end_error", "last_error", "file")
# As the engine has it: each line costs its bytes again, and only a real network cuts.
VENUE_LINES = 2
LOOPBACK_LINES = 1


class RecorderGroup:
    """Records venues until `stop`; what ends one of them ends all.

    Args:
        settings: of each venue.

    Raises:
        VenueError, TransportError: as `Recorder`.
    """

    def __init__(self, settings: Sequence[RecorderSettings]) -> None:
        limits = AddressLimits()
        self.recorders = [Recorder(one, limits) for one in settings]

    async def run(self) -> None:
        """Record until `stop`; nothing is written before every venue has said what its symbols mean.

        Raises:
            TransportError, VenueError, CaptureError: as `Recorder.run`, of the first venue that fails.
        """
        try:
            await _all(recorder.load() for recorder in self.recorders)
        except FeedError:
            for recorder in self.recorders:
                await recorder.close()
            raise
        tasks = [asyncio.create_task(recorder.run()) for recorder in self.recorders]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        self.stop()
        await _all(tasks)

    def stop(self) -> None:
        """End the recordings in order."""
        for recorder in self.recorders:
            recorder.stop()

    def statistics(self) -> dict[str, Any]:
        """Counts so far: of all, and of each venue; {} before the first file has begun."""
        venues = {one.settings.venue: one.statistics() for one in self.recorders if one.has_begun}
        if not venues:
            return {}
        found: dict[str, Any] = {key: sum(int(counts[key]) for counts in venues.values()) for key in SUMMED}
        found |= {key: "; ".join(str(c[key]) for c in venues.values() if c[key]) for key in TOLD}
        return {**found, "venues": venues}

    def odd(self) -> list[str]:
        """Rows of the venues' instrument data that are left out because they are not as documented."""
        return [row.text for recorder in self.recorders for row in recorder.odd]


async def _all(work: Any) -> None:
    """Wait for all; then raise the first error there was, if any."""
    for outcome in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


def split_by_venue(names: Sequence[str], venues: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Say which symbols are recorded at which adapter; a bare one at all, `venue:symbol` at that venue.

    Args:
        names: symbols, canonical names or patterns, with or without a venue in front.
        venues: the venues or families that are recorded.

    Raises:
        VenueError: an unknown venue, one that is not recorded, or one without any symbol.
    """
    adapters = list(dict.fromkeys(adapter.name for venue in venues for adapter in get_adapters(venue)))
    found: dict[str, dict[str, None]] = {name: {} for name in adapters}
    for name in names:
        venue, colon, symbol = name.rpartition(":")
        own = [adapter.name for adapter in get_adapters(venue)] if colon else adapters
        for one in own:
            if one not in found:
                raise VenueError(f"{name!r}: {one} is not recorded (--venue {one})")
            found[one][symbol] = None
    for adapter, symbols in found.items():
        if not symbols:
            raise VenueError("no symbol given" if len(found) == 1 else f"no symbol given for {adapter}")
    return {adapter: tuple(symbols) for adapter, symbols in found.items()}


def addresses(given: Sequence[str], venues: Sequence[str], option: str) -> Mapping[str, str]:
    """Say which address each adapter is recorded from, where it is not the venue's own.

    Args:
        given: `URL`, where one venue or family is recorded, or `VENUE=URL`.
        venues: the venues or families that are recorded.
        option: the option's name, for errors.

    Raises:
        VenueError: a venue that is not recorded, or several and an address without a name.
    """
    found: dict[str, str] = {}
    for text in given:
        name, equals, url = text.partition("=")
        if not equals or "/" in name:
            name, url = "", text
        known = {*venues, *(one for venue in venues for one in FAMILIES.get(venue, ()))}
        if name and name not in known:
            raise VenueError(f"{option} {text}: {name} is not recorded; there are {', '.join(venues)}")
        if not name and len(venues) > 1:
            raise VenueError(f"{option} {text}: which venue's? ({option} {venues[0]}={text})")
        for adapter in get_adapters(name or venues[0]):
            found[adapter.name] = url
    return found


def default_lines(url: str) -> int:
    """Lines of each group of streams by default: 2 where a network is between, 1 on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        is_loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    return LOOPBACK_LINES if is_loopback else VENUE_LINES
