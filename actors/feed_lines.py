"""The connections of one market data actor: lines of each group of streams, and how they are replaced."""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from actors.feed_groups import Change, FeedGroups, Group
from feeds.merging import RotationClock
from feeds.transport.reconnect import ConnectGate, ReconnectPolicy
from feeds.transport.websocket import FeedConnection
from shm.enums import RateLane

if TYPE_CHECKING:
    from actors.runtime.context import Context
    from feeds.adapter import VenueAdapter
    from feeds.session import FeedSession

MARGIN_SHARE = 24  # a line is replaced this part of its life before the venue ends it
PROOF_NS = 60_000_000_000  # a new line that is not proven by then is given up, and tried again as much later
# A line that stood for a second comes back at once: the gate keeps the venue's limit of attempts.
POLICY = ReconnectPolicy(stable_ns=1_000_000_000)
SPARE_LINES = 1  # of each group, while one is being replaced


@dataclass(slots=True)
class Place:
    """One line of a group: the connection that is it now, and the one that shall be."""

    group: Group
    index: int  # among all places
    current: FeedConnection
    connects: int = 0
    opened_ns: int = 0
    due_ns: int | None = None
    successor: FeedConnection | None = None
    begun_ns: int = 0


class FeedLines:
    """Opens, replaces and closes the connections of one session.

    A line is replaced by opening another one beside it; the old one is closed once the new one is proven in
    sequence. One is replaced at a time.

    Args:
        context: of the actor.
        session: takes the frames.
        adapter: the venue.
        groups: who carries what.
        numbers: of the connections that there may be, from that of the first group's stream on.
        url: base address.
        lines: connections of each group.
        life_ns: how long a connection may live, 0 = for ever.
        per_second: connection attempts at the address that the venue allows.
        rates: names of the run's shared rate limits, by purpose ("connects").
        ssl_context: for wss.
        on_broken: called with an exception that ended a connection's task.
    """

    def __init__(
        self,
        context: Context,
        session: FeedSession,
        adapter: VenueAdapter,
        groups: FeedGroups,
        numbers: range,
        *,
        url: str,
        lines: int,
        life_ns: int,
        per_second: float,
        rates: Mapping[str, str],
        ssl_context: ssl.SSLContext | None,
        on_broken: Callable[[Exception], None],
    ) -> None:
        self._context, self.session, self._adapter = context, session, adapter
        self.groups = groups
        self._url, self._lines, self._tls, self._on_broken = url.rstrip("/"), lines, ssl_context, on_broken
        gates: dict[str, ConnectGate] = context.host.share("connect_gates", dict)
        burst = max(adapter.connect_burst, int(per_second))
        # Within a worker one breaker for an address; over all of them one budget, which a tripped one stops.
        shared = context.rate_budget(rates, "connects", RateLane.RESYNC)
        gate = ConnectGate(
            per_second, burst, budget=shared, on_tripped=None if shared is None else shared.on_refused
        )
        self._gate = gates.setdefault(urlsplit(url).netloc, gate)
        self._clock = RotationClock(life_ns, life_ns // MARGIN_SHARE, len(groups.groups) * lines)
        #: Numbers of connections beyond the first line of each group, whose number is that of its stream.
        self._free = list(reversed(numbers))
        self.places: list[Place] = []
        self.connections: dict[int, FeedConnection] = {}
        self.rotations = 0
        self.rotations_failed = 0
        #: What waits for its turn: a connection may send so many requests a second.
        self._outbox: deque[tuple[FeedConnection, bytes]] = deque()
        self._pace_ns = round(1e9 / adapter.subscribe_per_second)
        self._sent_ns: dict[int, int] = {}
        self._won = self._late = 0  # of connections that are gone

    def open(self) -> None:
        """Open every line of every group."""
        groups = list(self.groups)
        for line in range(self._lines):
            for offset, group in enumerate(groups):
                self.places.append(Place(group, line * len(groups) + offset, self._connect(group)))

    def _connect(self, group: Group) -> FeedConnection:
        # Numbers are taken from the end, which is the lowest: the first lines get those of their streams.
        number = self._free.pop()
        self.session.add_line(number, group.stream)
        connection = FeedConnection(
            self._url + group.plan.url_path,
            self.session,
            number,
            subscribe=group.plan.subscribe,
            random=self._context.random.random,
            ssl_context=self._tls,
            subscribe_per_second=self._adapter.subscribe_per_second,
            gate=self._gate,
            policy=POLICY,
        )
        self.connections[number] = connection
        spawn = self._context.host.scheduler.spawn
        spawn(connection.run(), lambda: self._ended(number), self._on_broken)
        return connection

    def _ended(self, number: int) -> None:
        """A connection was closed for good: its number is free."""
        self.connections.pop(number, None)
        _, won, late = self.session.pump.arrivals(number)
        self._won, self._late = self._won + won, self._late + late
        self.session.drop_line(number)
        self._free.append(number)
        self._free.sort(reverse=True)

    def close(self) -> None:
        """Close all connections."""
        for connection in list(self.connections.values()):
            connection.close()

    def reset(self, number: int, reason: str) -> None:
        """Drop one socket, so that a new one is made."""
        connection = self.connections.get(number)
        if connection is not None:
            connection.reset(reason)

    def resubscribe(self, stream: int, messages: Sequence[bytes]) -> None:
        """Send messages on every line of a stream that stands, no faster than the venue allows."""
        for connection in self._lines_of(stream):
            self._outbox.extend((connection, message) for message in messages)
        self._send_waiting(self._context.now_ns())

    def _lines_of(self, stream: int) -> list[FeedConnection]:
        places = [place for place in self.places if place.group.stream == stream]
        found = [*(place.current for place in places), *(place.successor for place in places)]
        return [connection for connection in found if connection is not None]

    # ---- symbols that come and go -----------------------------------------------------------------

    def add_symbol(self, symbol: str, stream: int | None = None) -> int:
        """Subscribe to a symbol's streams from now on; returns the stream of its book (`FeedGroups.add`).

        Raises:
            ActorError: there is no room for it.
        """
        chosen, changes = self.groups.add(symbol, stream)
        self._do(changes)
        return chosen

    def remove_symbol(self, symbol: str) -> None:
        """Subscribe to a symbol's streams no more."""
        self._do(self.groups.remove(symbol))

    def _do(self, changes: Sequence[Change]) -> None:
        for change in changes:
            stream = change.group.stream
            if change.is_new:
                for _ in range(self._lines):
                    index = len(self.places) % max(self._clock.places, 1)
                    self.places.append(Place(change.group, index, self._connect(change.group)))
            if change.is_over:
                for connection in self._lines_of(stream):
                    connection.close()
                self.places = [place for place in self.places if place.group.stream != stream]
            for connection in self._lines_of(stream):
                connection.subscribe = change.group.plan.subscribe  # for its next socket; this one is told
                self._outbox.extend((connection, message) for message in change.messages)

    def _send_waiting(self, now_ns: int) -> None:
        """Send what waits, to each connection no faster than the venue allows."""
        for _ in range(len(self._outbox)):
            connection, message = self._outbox.popleft()
            number = connection.connection_id
            if now_ns - self._sent_ns.get(number, -self._pace_ns) < self._pace_ns:
                self._outbox.append((connection, message))
            elif connection.is_connected and connection.send(message):
                self._sent_ns[number] = now_ns
            # else its next socket subscribes to what the group carries by then

    # ---- time -----------------------------------------------------------------------------------

    def on_timer(self, now_ns: int) -> None:
        """Ping where the venue wants it, send what waits, and go on with what is being replaced."""
        if self._outbox:
            self._send_waiting(now_ns)
        for connection in self.connections.values():
            connection.ping(self._adapter.ping, self._adapter.ping_after_ns)
        for place in self.places:
            if place.current.connects != place.connects:
                place.connects, place.opened_ns = place.current.connects, now_ns
                place.due_ns = self._clock.due_ns(now_ns, place.index)
        under_way = next((place for place in self.places if place.successor is not None), None)
        if under_way is not None:
            self._go_on(under_way, now_ns)
            return
        due = [
            p for p in self.places if p.due_ns is not None and p.due_ns <= now_ns and p.current.is_connected
        ]
        if due:
            self._begin(min(due, key=lambda place: place.due_ns or 0), now_ns)

    def rotate(self, now_ns: int) -> None:
        """Make every line due now, one after the other."""
        for place in self.places:
            place.due_ns = now_ns

    def _begin(self, place: Place, now_ns: int) -> None:
        place.successor = self._connect(place.group)
        place.begun_ns = now_ns

    def _go_on(self, place: Place, now_ns: int) -> None:
        successor = place.successor
        if successor is None:
            return
        if successor.is_connected and self.session.is_line_proven(successor.connection_id):
            place.current.close()
            place.current, place.successor = successor, None
            place.connects = 0  # its time begins at the next look
            self.rotations += 1
        elif now_ns - place.begun_ns > PROOF_NS:
            successor.close()
            place.successor = None
            place.due_ns = now_ns + PROOF_NS
            self.rotations_failed += 1

    def counts(self) -> dict[str, int]:
        """How many frames were first and how many were behind another line, and lines replaced."""
        arrivals = [self.session.pump.arrivals(number) for number in self.connections]
        return {
            "won": self._won + sum(won for _, won, _ in arrivals),
            "late": self._late + sum(late for _, _, late in arrivals),
            "rotations": self.rotations,
            "rotations_failed": self.rotations_failed,
        }


def connections_needed(plans: int, lines: int) -> int:
    """How many connection numbers a session of so many groups needs."""
    return plans * (lines + SPARE_LINES)
