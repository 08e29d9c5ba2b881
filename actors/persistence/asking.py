"""Many who ask, few statements: answers kept for 30 seconds, and questions of one tick asked as one."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from actors.persistence.queries import RECENT_TRADES, Query
from actors.persistence.store import Store, StoreError
from actors.persistence.tables import Row

TTL_NS = 30_000_000_000
ENTRIES_MAX = 1_000
TRADES_MAX = 10_000
Answer = list[Row]


class QueryCache:
    """Answers by question, each for 30 seconds; who asks while one is on its way waits for that one.

    Args:
        store: who answers.
        ttl_ns: how long an answer is good.
        entries_max: answers kept; the one that was asked for longest ago goes first.
        now_ns: monotonic clock.

    Attributes:
        hits, misses: questions answered without and with a round trip.
    """

    def __init__(
        self,
        store: Store,
        *,
        ttl_ns: int = TTL_NS,
        entries_max: int = ENTRIES_MAX,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.store = store
        self.hits = self.misses = 0
        self._ttl_ns = ttl_ns
        self._entries_max = entries_max
        self._now_ns = now_ns
        self._kept: OrderedDict[Hashable, tuple[int, Answer]] = OrderedDict()
        self._under_way: dict[Hashable, asyncio.Task[Answer]] = {}

    @property
    def hit_rate(self) -> float:
        """Share of questions that needed no round trip, 0 before the first."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0

    async def ask(self, query: Query, **given: object) -> Answer:
        """The answer, from the database at most every 30 seconds; do not change it.

        Raises:
            StoreError: the database could not answer; nothing is kept of that.
            ValueError: as `Query.bind`.
        """
        sql, arguments = query.bind(self.store, **given)
        return await self.get((sql, *arguments), lambda: self.store.select(sql, arguments))

    async def get(self, key: Hashable, load: Callable[[], Awaitable[Answer]]) -> Answer:
        """What is kept under a key, or what `load` gives; its exceptions reach everybody who waits."""
        kept = self._kept.get(key)
        if kept is not None and self._now_ns() - kept[0] < self._ttl_ns:
            self._kept.move_to_end(key)
            self.hits += 1
            return kept[1]
        task = self._under_way.get(key)
        if task is None:
            self.misses += 1
            task = asyncio.ensure_future(self._load(key, load))
            self._under_way[key] = task
        else:
            self.hits += 1
        # Shielded: one who gives up must not take the answer from the others.
        return await asyncio.shield(task)

    async def _load(self, key: Hashable, load: Callable[[], Awaitable[Answer]]) -> Answer:
        try:
            asked_ns = self._now_ns()
            answer = await load()
            self._kept[key] = (asked_ns, answer)
            self._kept.move_to_end(key)
            while len(self._kept) > self._entries_max:
                self._kept.popitem(last=False)
            return answer
        finally:
            self._under_way.pop(key, None)


@dataclass(slots=True)
class _Asked:
    symbols: frozenset[str]
    venues: frozenset[str]
    since: datetime
    limit: int
    answer: asyncio.Future[Answer]


class TradeReader:
    """Recent trades for many strategies: all who ask in one turn of the loop share one statement.

    Args:
        store: who answers.
        cache: asked first, None = none: then an answer may be up to 30 seconds old.

    Attributes:
        statements: sent so far.
    """

    def __init__(self, store: Store, cache: QueryCache | None = None) -> None:
        self.store = store
        self.cache = cache
        self.statements = 0
        self._asked: list[_Asked] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def get_recent_trades_optimized(
        self, symbols: Iterable[str], exchanges: Iterable[str], start_time: datetime, limit: int = TRADES_MAX
    ) -> Answer:
        """Our trades in these symbols at these venues since a time, newest first.

        Args:
            symbols: the venues' own.
            exchanges: names of venues.
            start_time: from then on.
            limit: at most so many.

        Returns:
            Rows of `RECENT_TRADES.columns`.

        Raises:
            StoreError: the database could not answer.
        """
        wanted = _Asked(
            frozenset(symbols),
            frozenset(exchanges),
            start_time,
            limit,
            asyncio.get_running_loop().create_future(),
        )
        if not wanted.symbols or not wanted.venues:
            return []
        if self.cache is None:
            return await self._ask(wanted)
        key = (RECENT_TRADES.name, wanted.symbols, wanted.venues, start_time, limit)
        return await self.cache.get(key, lambda: self._ask(wanted))

    async def _ask(self, wanted: _Asked) -> Answer:
        if not self._asked:
            asyncio.get_running_loop().call_soon(self._send)
        self._asked.append(wanted)
        return await wanted.answer

    def _send(self) -> None:
        asked, self._asked = self._asked, []
        task = asyncio.ensure_future(self._answer(asked))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, asked: list[_Asked]) -> None:
        """One statement for all, then each gets its part."""
        self.statements += 1
        # A common limit could cut off what only the oldest question wants: nothing is cut before the parts.
        common = max(a.limit for a in asked) if len({(a.symbols, a.venues) for a in asked}) == 1 else -1
        try:
            rows = await RECENT_TRADES.run(
                self.store,
                symbols=sorted(frozenset().union(*(a.symbols for a in asked))),
                venues=sorted(frozenset().union(*(a.venues for a in asked))),
                since=min(a.since for a in asked),
                limit=common if common >= 0 else 1 << 40,
            )
            groups = by_market(rows)
            for one in asked:
                if not one.answer.done():
                    one.answer.set_result(part_of(groups, one, self.store.shown(one.since)))
        except StoreError as error:
            for one in asked:
                if not one.answer.done():
                    one.answer.set_exception(error)
        finally:
            for one in asked:
                one.answer.cancel()  # whatever happened, nobody waits for ever; done ones stay as they are


_AT, _VENUE, _SYMBOL = (RECENT_TRADES.columns.index(name) for name in ("at", "venue", "symbol"))
Groups = dict[tuple[str, str], list[tuple[int, Row]]]


def by_market(rows: Answer) -> Groups:
    """Rows by venue and symbol, each with its place in the whole answer: newest first."""
    groups: Groups = {}
    for place, row in enumerate(rows):
        groups.setdefault((row[_VENUE], row[_SYMBOL]), []).append((place, row))
    return groups


def part_of(groups: Groups, one: _Asked, since: Any) -> Answer:
    """What one of many asked for, without a look at the rows of the others.

    Args:
        groups: of the common answer.
        one: its question.
        since: the time it asked from, as rows show times.
    """
    markets = [groups.get((venue, symbol), ()) for venue in one.venues for symbol in one.symbols]
    merged = markets[0] if len(markets) == 1 else heapq.merge(*markets)
    found: Answer = []
    for _, row in merged:
        if len(found) >= one.limit or row[_AT] < since:
            break
        found.append(row)
    return found
