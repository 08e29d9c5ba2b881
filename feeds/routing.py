"""Whose a line of a capture is: the venue and the connection of each recorded frame.

A capture may hold several connections, of several venues of one family (`feeds.venues.FAMILIES`). Its
`connect` lines name the address of each; a connection without one is taken for the first venue's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from feeds.adapter import VenueAdapter
    from feeds.capture import CaptureLine


class Route(NamedTuple):
    """Where a line belongs."""

    venue: int  # index of its adapter
    connection: int  # number of its connection among those of that venue, in order of appearance


class CaptureRouter:
    """Tells the venue and connection of each line; lines must be shown in their order.

    Args:
        adapters: the venues the captures may be of.
    """

    def __init__(self, adapters: Sequence[VenueAdapter]) -> None:
        self.adapters = list(adapters)
        self._routes: dict[tuple[str, str], Route | None] = {}
        self._counts = [0] * len(self.adapters)

    def route(self, line: CaptureLine) -> Route | None:
        """Return where a line belongs, or None when it is of no venue here."""
        if line.kind == "http":
            return self._request(line)
        key = (line.file, line.channel)
        if line.kind == "connect":
            url = line.payload.decode("utf-8", "replace")
            owner = next((i for i, a in enumerate(self.adapters) if a.owns_connection(url)), None)
            known = self._routes.get(key)
            if known is None or known.venue != owner:  # one that is made again keeps its number
                self._routes[key] = None if owner is None else self._new(owner)
        elif key not in self._routes:
            self._routes[key] = self._new(0)
        return self._routes[key]

    def _new(self, venue: int) -> Route:
        number = self._counts[venue]
        self._counts[venue] += 1
        return Route(venue, number)

    def _request(self, line: CaptureLine) -> Route | None:
        for index, adapter in enumerate(self.adapters):
            if adapter.is_instruments(line.path) or adapter.symbol_of_request(line.path):
                return Route(index, 0)
        return None
