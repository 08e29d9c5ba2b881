"""Whose a line of a capture is: the venue and the connection of each recorded frame.

A capture may hold several connections, of several venues of one family (`feeds.venues.FAMILIES`). Its
`connect` lines name the address of each; a connection without one is taken for the first venue's. The files
of one recorder go on with the same connections, and say where one is over (`feeds.capture_writer`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from feeds.capture_blocks import recording_of
from feeds.core import LINES_MAX

if TYPE_CHECKING:
    from feeds.adapter import VenueAdapter
    from feeds.capture import CaptureLine

OWN_KINDS = ("capture", "instruments", "lost")

#: A connection: its recording or file, and its name there.
Key = tuple[str, str]


class Route(NamedTuple):
    """Where a line belongs."""

    venue: int  # index of its adapter
    connection: int  # number of its connection among those of that venue, in order of appearance
    is_over: bool = False  # the line says that nothing more comes under this number


class CaptureRouter:
    """Tells the venue and connection of each line; lines must be shown in their order.

    Connections of a recorder get the lowest number that none of those that stand has: they are lines of the
    same streams, and a line that is over makes room for another one.

    Args:
        adapters: the venues the captures may be of.
    """

    def __init__(self, adapters: Sequence[VenueAdapter]) -> None:
        self.adapters = list(adapters)
        self._routes: dict[Key, Route | None] = {}
        self._counts = [0] * len(self.adapters)
        self._recordings: dict[str, str] = {}  # file → the recording it is a part of

    def route(self, line: CaptureLine) -> Route | None:
        """Return where a line belongs, or None when it is of no venue here."""
        if line.kind == "http":
            return self._request(line)
        if line.kind in OWN_KINDS:
            if line.kind == "capture" and (recording := recording_of(line.payload)):
                self._recordings[line.file] = recording
            return None
        recording = self._recordings.get(line.file, "")
        key = (recording or line.file, line.channel)
        if line.kind == "connect":
            url = line.payload.decode("utf-8", "replace")
            if not url:
                return self._end(key)
            owner = next((i for i, a in enumerate(self.adapters) if a.owns_connection(url)), None)
            known = self._routes.get(key)
            if known is None or known.venue != owner:  # one that is made again keeps its number
                self._routes[key] = None if owner is None else self._new(owner, key if recording else None)
        elif key not in self._routes:
            self._routes[key] = self._new(0, key if recording else None)
        return self._routes[key]

    def _new(self, venue: int, key: Key | None) -> Route:
        if key is not None:
            return Route(venue, self._free_number(venue, key))
        number = self._counts[venue]
        self._counts[venue] += 1
        return Route(venue, number)

    def _free_number(self, venue: int, key: Key) -> int:
        """The lowest number that is free, else the lowest that none of its own group has."""
        taken = {
            other: r.connection for other, r in self._routes.items() if r is not None and r.venue == venue
        }
        group = _group(key)
        own = [number for other, number in taken.items() if _group(other) == group]
        for used in (set(taken.values()), set(own)):
            for number in range(LINES_MAX):
                if number not in used:
                    return number
        return 0

    def _end(self, key: Key) -> Route | None:
        route = self._routes.pop(key, None)
        if route is None:
            return None
        return route._replace(is_over=all(other != route for other in self._routes.values()))

    def _request(self, line: CaptureLine) -> Route | None:
        for index, adapter in enumerate(self.adapters):
            if adapter.is_instruments(line.path) or adapter.symbol_of_request(line.path):
                return Route(index, 0)
        return None


def _group(key: Key) -> Key:
    return key[0], key[1].partition(".")[0]
