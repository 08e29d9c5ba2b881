"""Many who ask, few statements: answers kept for 30 seconds, and questions of one tick asked as one."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from operator import itemgetter
from typing import Any, TypeVar

import orjson

from actors.persistence.queries import TRADES_BY_MARKET, Query
from actors.persistence.sqlite import stored_value
from actors.persistence.store import Store, StoreError
from actors.persistence.tables import Row

TTL_NS = 30_000_000_000
ENTRIES_MAX = 1_000
TRADES_MAX = 10_000
# PostgreSQL plans the first five runs of a prepared statement anew.
WARM_RUNS = 6
Answer = list[Row]
Market = tuple[str, str]  # venue, symbol
Trades = dict[Market, Answer]
_T = TypeVar("_T")


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
        self._kept: OrderedDict[Hashable, tuple[int, Any]] = OrderedDict()
        self._under_way: dict[Hashable, asyncio.Task[Any]] = {}

    @property
    def hit_rate(self) -> float:
        """Share of questions that needed no round trip, 0 before the first."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0

    def describe(self) -> dict[str, Any]:
        """Hits, misses and their rate, as an actor notes them for status and report: `note("queries", …)`."""
        return {
            "hits": self.hits, "misses": self.misses, "hit_rate": round(self.hit_rate, 4),
            "answers_kept": len(self._kept),
        }  # fmt: skip

    async def ask(self, query: Query, **given: object) -> Answer:
        """The answer, from the database at most every 30 seconds; do not change it.

        Raises:
            StoreError: the database could not answer; nothing is kept of that.
            ValueError: as `Query.bind`.
        """
        sql, arguments = query.bind(self.store, **given)
        return await self.get((sql, *arguments), lambda: self.store.select(sql, arguments))

    async def get(self, key: Hashable, load: Callable[[], Awaitable[_T]]) -> _T:
        """What is kept under a key, or what `load` gives; its exceptions reach everybody who waits."""
        kept = self._kept.get(key)
        if kept is not None and self._now_ns() - kept[0] < self._ttl_ns:
            self._kept.move_to_end(key)
            self.hits += 1
            found: _T = kept[1]
            return found
        task = self._under_way.get(key)
        if task is None:
            self.misses += 1
            task = asyncio.ensure_future(self._load(key, load))
            self._under_way[key] = task
        else:
            self.hits += 1
        # Shielded: one who gives up must not take the answer from the others.
        answer: _T = await asyncio.shield(task)
        return answer

    async def _load(self, key: Hashable, load: Callable[[], Awaitable[_T]]) -> _T:
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
    answer: asyncio.Future[Trades]


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

    async def warm(self) -> None:
        """Connect and let the server settle its plan, so that the first tick pays for neither.

        Raises:
            StoreError: the database is not there; the first tick then tries again.
        """
        nobody = markets_json({("", ""): (datetime.now(UTC), 1)})  # a market that is looked up, in vain
        for _ in range(WARM_RUNS):
            await TRADES_BY_MARKET.run(self.store, markets=nobody)

    async def get_recent_trades_optimized(
        self, symbols: Iterable[str], exchanges: Iterable[str], start_time: datetime, limit: int = TRADES_MAX
    ) -> Trades:
        """Our trades in these symbols at these venues since a time, newest first; do not change the answer.

        Args:
            symbols: the venues' own.
            exchanges: names of venues.
            start_time: from then on.
            limit: of each market at most so many.

        Returns:
            By (venue, symbol) rows of `TRADES_BY_MARKET.columns`, of which the first says nothing to you.

        Raises:
            StoreError: the database could not answer.
            ValueError: the time has no zone.
        """
        if start_time.tzinfo is None:
            raise ValueError(f"{start_time} is a time without a zone")
        wanted = _Asked(
            frozenset(symbols),
            frozenset(exchanges),
            start_time,
            limit,
            asyncio.get_running_loop().create_future(),
        )
        if not wanted.symbols or not wanted.venues:
            return {}
        if self.cache is None:
            return await self._ask(wanted)
        key = (TRADES_BY_MARKET.name, wanted.symbols, wanted.venues, start_time, limit)
        return await self.cache.get(key, lambda: self._ask(wanted))

    async def _ask(self, wanted: _Asked) -> Trades:
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
        markets = markets_of(asked)
        try:
            rows = await TRADES_BY_MARKET.run(self.store, markets=markets_json(markets))
            trades = by_market(rows, list(markets))
            for one in asked:
                if not one.answer.done():
                    one.answer.set_result(part_of(trades, one, self.store.shown(one.since)))
        except StoreError as error:
            for one in asked:
                if not one.answer.done():
                    one.answer.set_exception(error)
        finally:
            for one in asked:
                one.answer.cancel()  # whatever happened, nobody waits for ever; done ones stay as they are


_MARKET, _AT = (TRADES_BY_MARKET.columns.index(name) for name in ("market", "at"))
_at_of = itemgetter(_AT)
Markets = dict[Market, tuple[datetime, int]]


def markets_of(asked: Iterable[_Asked]) -> Markets:
    """What a tick asks: the oldest time and the largest limit of each market."""
    wanted: Markets = {}
    for one in asked:
        for market in product(one.venues, one.symbols):
            since, limit = wanted.get(market, (one.since, one.limit))
            wanted[market] = min(since, one.since), max(limit, one.limit)
    return wanted


def markets_json(wanted: Markets) -> str:
    """Markets as `TRADES_BY_MARKET` takes them, each with its place as its number."""
    texts = {since: stored_value(since) for since in {since for since, _ in wanted.values()}}
    return orjson.dumps(
        [
            {"market": number, "venue": venue, "symbol": symbol, "since": texts[since], "most": limit}
            for number, ((venue, symbol), (since, limit)) in enumerate(wanted.items())
        ]
    ).decode()


def by_market(rows: Answer, markets: Sequence[Market]) -> Trades:
    """Rows of each market, the newest first."""
    found: list[Answer] = [[] for _ in markets]
    for row in rows:
        found[row[_MARKET]].append(row)
    for group in found:
        group.sort(key=_at_of, reverse=True)  # as they come; but no database owes it to an outer SELECT
    return dict(zip(markets, found, strict=True))


def part_of(trades: Trades, one: _Asked, since: Any) -> Trades:
    """What one of many asked for, without a look at the rows of the others.

    Args:
        trades: of all.
        one: its question.
        since: the time it asked from, as rows show times.
    """
    found: Trades = {}
    for market in product(one.venues, one.symbols):
        rows = trades[market]
        end = len(rows)
        if rows and rows[-1][_AT] < since:  # somebody else asked for older ones
            end = bisect_left(rows, True, key=lambda row: bool(row[_AT] < since))
        found[market] = rows[: min(end, one.limit)]
    return found
