"""Who carries what: groups of streams, and the place of a symbol that comes or goes while the feed runs.

A group is what one connection subscribes to; each of its lines is one connection. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from actors.errors import ActorError

if TYPE_CHECKING:
    from feeds.adapter import ConnectionPlan, StreamSettings, VenueAdapter


@dataclass(slots=True)
class Group:
    """Streams that share their connections; `plan` is what a new socket subscribes to."""

    plan: ConnectionPlan
    stream: int


class Change(NamedTuple):
    """What is to be sent on each line of a group; `is_new`: its lines are to be opened, `is_over`: closed."""

    group: Group
    messages: tuple[bytes, ...]
    is_new: bool = False
    is_over: bool = False


class FeedGroups:
    """The groups of one session.

    Args:
        adapter: the venue.
        settings: which streams are subscribed.
        plans: of the start, in order; their streams are numbered from `first_stream`.
        first_stream: see there.
        spare: how many groups there may be beyond those of the start.
    """

    def __init__(
        self,
        adapter: VenueAdapter,
        settings: StreamSettings,
        plans: Sequence[ConnectionPlan],
        first_stream: int,
        spare: int = 0,
    ) -> None:
        self._adapter, self._settings = adapter, settings
        self.groups = [Group(plan, first_stream + number) for number, plan in enumerate(plans)]
        self._free = list(range(first_stream + len(plans), first_stream + len(plans) + spare))

    def __iter__(self) -> Iterator[Group]:
        return iter(self.groups)

    def add(self, symbol: str, stream: int | None = None) -> tuple[int, list[Change]]:
        """Give a symbol its place; returns the stream of its book, and what is to be sent where.

        Args:
            symbol: the venue's own.
            stream: number that its book must have, because it had it before; None = where there is room.

        Raises:
            ActorError: there is no room, and no further group may be made.
        """
        before = [(group, group.plan) for group in self.groups], list(self._free)
        try:
            return self._add(symbol, stream)
        except ActorError:  # in part it would be worse than not at all
            self.groups, self._free = [group for group, _ in before[0]], before[1]
            for group, plan in before[0]:
                group.plan = plan
            raise

    def _add(self, symbol: str, stream: int | None) -> tuple[int, list[Change]]:
        changes: list[Change] = []
        chosen = -1
        for plan in self._adapter.connections([symbol], self._settings):
            if self._is_carried(plan):
                continue  # what concerns the venue or all of a kind: subscribed already
            group, is_new = self._place_for(plan, stream if plan.carries_depth else None)
            if plan.carries_depth:
                chosen = group.stream
            if not is_new:
                symbols = tuple(dict.fromkeys((*group.plan.symbols, symbol)))
                group.plan = self._planned(group, symbols, (*group.plan.streams, *plan.streams))
            changes.append(Change(group, () if is_new else plan.subscribe, is_new))
        return chosen, changes

    def _is_carried(self, plan: ConnectionPlan) -> bool:
        carried = {stream for group in self.groups for stream in group.plan.streams}
        return carried.issuperset(plan.streams)

    def _place_for(self, plan: ConnectionPlan, stream: int | None) -> tuple[Group, bool]:
        most = self._settings.streams_per_connection
        for group in self.groups:
            if (group.plan.url_path, group.plan.carries_depth) != (plan.url_path, plan.carries_depth):
                continue
            if group.stream == stream:
                return group, False  # one or two over our own limit, which is far below the venue's
            if stream is None and len({*group.plan.streams, *plan.streams}) <= most:
                return group, False
        if stream is None:
            if not self._free:
                raise ActorError(f"{plan.symbols[0]}: no connection has room, and no further one may be made")
            stream = self._free.pop(0)
        elif stream in self._free:
            self._free.remove(stream)
        group = Group(plan, stream)
        self.groups.append(group)
        return group, True

    def remove(self, symbol: str) -> list[Change]:
        """Take a symbol out; returns what is to be sent where."""
        changes = []
        plans = self._adapter.connections([symbol], self._settings)
        for group in list(self.groups):
            if symbol not in group.plan.symbols:
                continue
            left = tuple(one for one in group.plan.symbols if one != symbol)
            own = [plan for plan in plans if set(plan.streams) <= set(group.plan.streams)]
            if not left:
                self.groups.remove(group)
                self._free.insert(0, group.stream)
                changes.append(Change(group, (), is_over=True))
                continue
            needed = set(self._streams_of(left))
            gone = [plan for plan in own if not needed.intersection(plan.streams)]
            over = {stream for plan in gone for stream in plan.streams}
            group.plan = self._planned(group, left, [s for s in group.plan.streams if s not in over])
            changes.append(Change(group, tuple(self._adapter.ending(m) for p in gone for m in p.subscribe)))
        return changes

    def _streams_of(self, symbols: Iterable[str]) -> Iterator[str]:
        for plan in self._adapter.connections(list(symbols), self._settings):
            yield from plan.streams

    def _planned(self, group: Group, symbols: Sequence[str], streams: Iterable[str]) -> ConnectionPlan:
        """The plan of a group with other symbols: the same requests as if it had begun with them."""
        wanted = tuple(dict.fromkeys(streams))
        same = [
            plan
            for plan in self._adapter.connections(list(symbols), self._settings)
            if (plan.url_path, plan.carries_depth) == (group.plan.url_path, group.plan.carries_depth)
            and set(plan.streams) <= set(wanted)
        ]
        messages = tuple(message for plan in same for message in plan.subscribe)
        return group.plan._replace(subscribe=messages, symbols=tuple(symbols), streams=wanted)
