"""Streams that say the best few levels of a book as a whole, again and again, made from REST books."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tools.venues.fanout import Stream
from tools.venues.protocol import VenueInstrument, VenueProtocol
from tools.venues.synthetic import Market

# Every interval of a venue's streams is a multiple of it.
TICK_MS = 50


@dataclass(slots=True)
class _Partial:
    stream: Stream
    index: int  # of the instrument in the market
    item: VenueInstrument
    levels: int
    interval_ms: int
    next_ms: int = 0
    update: int = 0  # of the book that was said last


class PartialBooks:
    """The streams of one market; one without clients, or whose book stands still, costs a look every 50 ms.

    Args:
        protocol: writes the messages.
        market: whose books.
        make_stream: makes a stream by its name.
        items: the market's instruments, in its order.
    """

    def __init__(
        self,
        protocol: VenueProtocol,
        market: Market,
        make_stream: Callable[[str], Stream],
        items: Sequence[VenueInstrument],
    ) -> None:
        self._protocol = protocol
        self._market = market
        self._next_ms = 0
        self._partials = [
            _Partial(make_stream(name), index, item, levels, interval_ms)
            for index, item in enumerate(items)
            for name, levels, interval_ms in protocol.partial_streams(item)
        ]

    def names(self) -> list[tuple[str, str]]:
        """Return (stream name, key of its instrument)."""
        return [(partial.stream.name, partial.item.key) for partial in self._partials]

    def send(self, is_closed: Callable[[str], bool]) -> bool:
        """Send what is due; whether anything was.

        Args:
            is_closed: whether an instrument, by its key, trades no more.
        """
        now_ms = self._market.now_ms
        if now_ms < self._next_ms or not self._partials:
            return False
        self._next_ms = now_ms - now_ms % TICK_MS + TICK_MS
        has_sent = False
        for partial in self._partials:
            if now_ms < partial.next_ms or not partial.stream.subscribers or is_closed(partial.item.key):
                continue
            partial.next_ms = now_ms - now_ms % partial.interval_ms + partial.interval_ms
            update = self._market.update_id(partial.index)
            if update == partial.update:
                continue
            book = self._market.snapshot(partial.index, partial.levels)
            partial.stream.publish(self._protocol.partial_message(partial.item, book, partial.update))
            partial.update = update
            has_sent = True
        return has_sent
