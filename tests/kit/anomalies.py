"""Streams of tops of book and trades, recorded or made up, and anomalies put into them at known places."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from feeds.capture import CaptureLine, capture_instruments, read_capture
from feeds.routing import CaptureRouter
from feeds.venues import get_adapters
from shm.dtypes import record_dtype
from shm.enums import RecordKind
from tests.kit.feed_rig import SLOT, Rig

MS, SECOND = 1_000_000, 1_000_000_000
GRACE_NS = 2 * SECOND  # behind an anomaly: what returns to the usual is part of it
ORDINARY = -1
POLL_EVERY = 200
KINDS = ("price", "size", "spread", "lag", "freeze")


class Tick(NamedTuple):
    """A top of book (bid, bid_quantity, ask, ask_quantity) or, with `is_trade`, a trade (price, quantity)."""

    ns: int
    is_trade: bool
    bid: int
    bid_quantity: int
    ask: int = 0
    ask_quantity: int = 0


@dataclass
class Stream:
    """Ticks of one instrument."""

    name: str
    tick_size: int
    ticks: list[Tick] = field(default_factory=list)


def recorded_streams(path: Path, venue: str, limit: int = 1 << 30) -> list[Stream]:
    """Tops of book and trades of each instrument of a capture, as a feed publishes them."""
    adapters = get_adapters(venue)
    router = CaptureRouter(adapters)
    rigs = [
        Rig(rows, venue=adapter.name) if (rows := capture_instruments([path], adapter)) else None
        for adapter in adapters
    ]
    streams: dict[tuple[int, int], Stream] = {}
    first = None
    for number, line in enumerate(read_capture([path])):
        route = router.route(line)
        rig = None if route is None else rigs[route.venue]
        if number >= limit:
            break
        if route is None or rig is None:
            continue
        first = line.recv_ns if first is None else first
        rig.now_ns = 1000 * SECOND + line.recv_ns - first
        symbol = snapshot_symbol(rig, line)
        if symbol:
            rig.snapshot(symbol, line.payload)
        elif line.kind == "ws":
            rig.frame(line.payload, route.connection, after_ns=0)
        if number % POLL_EVERY == 0:
            take(rigs, streams)
    take(rigs, streams)
    return [s for s in streams.values() if len(s.ticks) > 1000]


def snapshot_symbol(rig: Rig, line: CaptureLine) -> str:
    if line.kind == "http":
        return rig.adapter.symbol_of_request(line.path)
    return ""


def take(rigs: list[Rig | None], streams: dict[tuple[int, int], Stream]) -> None:
    buffer = bytearray(SLOT * 1024)
    for venue, rig in enumerate(rigs):
        count = 0 if rig is None else rig.subscriber.poll_into(buffer, 1024)
        if rig is None or not count:
            continue
        assert count < 1024, "polled too seldom"
        records = np.frombuffer(buffer, record_dtype("shm_market_record"), count)
        names = ("instrument_id", "kind", "frame_ns", "bid_count", "ask_count", "value")
        for instrument_id, kind, ns, bids, asks, value in zip(
            *(records[n].tolist() for n in names), strict=True
        ):
            row = rig.rows[instrument_id]
            stream = streams.setdefault((venue, instrument_id), Stream(row.symbol, row.tick_size))
            if kind == RecordKind.TRADE:
                stream.ticks.append(Tick(ns, True, value[0], value[1]))
            elif kind == RecordKind.BOOK and bids and asks:
                stream.ticks.append(Tick(ns, False, *value))


def made_stream(seed: int, count: int = 40_000) -> Stream:
    """A made-up market: heavy-tailed moves whose size clusters, sizes over decades, bursts and pauses."""
    rng = random.Random(seed)
    tick = rng.choice([1, 5, 10])
    mid, ns, volatility = rng.randrange(10**5, 10**7), 1000 * SECOND, 1.0
    spread = rng.choice([1, 1, 2, 4])
    stream = Stream(f"made {seed}", tick)
    burst = 0
    for _ in range(count):
        volatility = min(max(volatility * math.exp(rng.gauss(0, 0.05)), 0.2), 5.0)
        burst = burst - 1 if burst else rng.randrange(200) * (rng.random() < 0.01)
        ns += int(rng.expovariate(1 / (20_000 if burst else 20 * MS))) + 1
        if rng.random() < 0.3:
            stream.ticks.append(trade_of(rng, stream, mid, spread, ns))
            continue
        if rng.random() < 0.15:
            mid += round(rng.gauss(0, 1) * volatility / math.sqrt(max(rng.random(), 0.05)))
        wide = spread + (rng.random() < 0.1) * rng.randrange(1, 4)
        bid = (mid - (wide + 1) // 2) * tick
        sizes = [int(math.exp(rng.gauss(8, 1.5))) + 1 for _ in range(2)]
        stream.ticks.append(Tick(ns, False, bid, sizes[0], bid + wide * tick, sizes[1]))
    return stream


def trade_of(rng: random.Random, stream: Stream, mid: int, spread: int, ns: int) -> Tick:
    side = rng.choice([-1, 1])
    depth = int(rng.expovariate(1.0)) if rng.random() < 0.2 else 0
    price = (mid + side * ((spread + 1) // 2 + depth)) * stream.tick_size
    return Tick(ns, True, price, int(math.exp(rng.gauss(6, 1.8))) + 1)


class Seeding:
    """Puts an anomaly of a kind drawn by lot after about each `every` ticks, the first after `warm_up`.

    price: the book and trades stand 30 to 200 bps off for 1 to 20 ticks. size: a trade, or the quantity at
    the top of the book, of 20 to 500 times the largest so far. spread: one side of the book is 30 to 200 bps
    away for 1 to 20 ticks. lag: the book stands still while trades go 30 to 200 bps away. freeze: nothing for
    2 to 10 times the longest silence so far (at least 2 s), then 100 ticks that were held back at once.
    """

    def __init__(self, stream: Stream, seed: int, every: int, warm_up: int) -> None:
        self.ticks: list[Tick] = []
        self.labels: list[int] = []  # the number of the anomaly a tick is of, or ORDINARY
        self.kinds: list[str] = []
        self._rng = random.Random(seed)
        self._unit = stream.tick_size
        self._shift = 0
        self._largest = {True: 1, False: 1}
        self._longest = 0
        self._last_ns = stream.ticks[0].ns  # of a top of book
        source = iter(stream.ticks)
        until = warm_up + every
        while (tick := next(source, None)) is not None:
            tick = self._shifted(tick)
            if len(self.ticks) < until or tick.is_trade:
                self._largest[tick.is_trade] = max(
                    self._largest[tick.is_trade], tick.bid_quantity, tick.ask_quantity
                )
                if not tick.is_trade:
                    self._longest = max(self._longest, tick.ns - self._last_ns)
                self._put([tick], ORDINARY)
                continue
            kind = self._rng.choice(KINDS)
            self.kinds.append(kind)
            self._put(getattr(self, f"_{kind}")(tick, source), len(self.kinds) - 1)
            until = len(self.ticks) + self._rng.randrange(every // 2, every * 3 // 2)

    def _shifted(self, tick: Tick) -> Tick:
        return tick._replace(ns=tick.ns + self._shift)

    def _put(self, ticks: list[Tick], label: int) -> None:
        self.ticks += ticks
        self.labels += [label] * len(ticks)
        self._last_ns = max([self._last_ns, *(t.ns for t in ticks if not t.is_trade)])

    def _more(self, first: Tick, source: Iterator[Tick]) -> list[Tick]:
        return [first, *map(self._shifted, islice(source, self._rng.randrange(20)))]

    def _off(self) -> float:
        return 1 + self._rng.choice([-1, 1]) * self._rng.uniform(30, 200) / 10_000

    def _at(self, price: int, factor: float) -> int:
        return int(price * factor) // self._unit * self._unit

    def _price(self, tick: Tick, source: Iterator[Tick]) -> list[Tick]:
        by = self._at(tick.bid, self._off()) - tick.bid
        return [
            t._replace(bid=t.bid + by, ask=0 if t.is_trade else t.ask + by) for t in self._more(tick, source)
        ]

    def _spread(self, tick: Tick, source: Iterator[Tick]) -> list[Tick]:
        factor = self._off()

        def wide(t: Tick) -> Tick:
            if t.is_trade:
                return t
            return (
                t._replace(bid=self._at(t.bid, factor))
                if factor < 1
                else t._replace(ask=self._at(t.ask, factor))
            )

        return [wide(t) for t in self._more(tick, source)]

    def _size(self, tick: Tick, _source: Iterator[Tick]) -> list[Tick]:
        is_trade = self._rng.random() < 0.5
        size = int(self._rng.uniform(20, 500) * self._largest[is_trade])
        if is_trade:
            return [tick, Tick(tick.ns, True, self._rng.choice([tick.bid, tick.ask]), size)]
        return [tick._replace(bid_quantity=size)]

    def _lag(self, tick: Tick, _source: Iterator[Tick]) -> list[Tick]:
        price, size = self._at(tick.bid, self._off()), 1 + self._largest[True] // 100
        count = self._rng.randrange(1, 21)
        return [tick, *(Tick(tick.ns + 1000 * i, True, price, size) for i in range(count))]

    def _freeze(self, tick: Tick, source: Iterator[Tick]) -> list[Tick]:
        silence = int(max(2 * SECOND, self._longest * self._rng.uniform(2, 10)))
        first = tick._replace(ns=self._last_ns + silence)
        held = list(islice(source, 100))
        if held:
            self._shift = first.ns + 1000 * len(held) - held[-1].ns
        return [first, *(t._replace(ns=first.ns + 1000 * (i + 1)) for i, t in enumerate(held))]


class Outcome(NamedTuple):
    """What a detector made of a seeded stream."""

    ordinary: int  # ticks
    false: int  # of them, those called anomalies
    seeded: Counter[str]
    found: Counter[str]

    def __add__(self, other: object) -> Outcome:
        assert isinstance(other, Outcome)
        return Outcome(
            self.ordinary + other.ordinary,
            self.false + other.false,
            self.seeded + other.seeded,
            self.found + other.found,
        )

    @property
    def recall(self) -> float:
        return self.found.total() / self.seeded.total()

    @property
    def false_per_10000(self) -> float:
        return 10_000 * self.false / self.ordinary


def judge(seeding: Seeding, flags: Sequence[bool], warm_up: int) -> Outcome:
    """Count what a detector flagged: an anomaly is found when any tick of it is flagged.

    Ticks within GRACE_NS behind an anomaly are neither right nor wrong: what returns to the usual is part of
    it.
    """
    found: set[int] = set()
    ordinary = false = end_ns = 0
    for number, (tick, label, flag) in enumerate(zip(seeding.ticks, seeding.labels, flags, strict=True)):
        if label != ORDINARY:
            end_ns = tick.ns + GRACE_NS
            if flag:
                found.add(label)
        elif number >= warm_up and tick.ns > end_ns:
            ordinary += 1
            false += flag
    return Outcome(ordinary, false, Counter(seeding.kinds), Counter(seeding.kinds[label] for label in found))
