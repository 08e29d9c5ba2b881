"""A market source that plays a seeded synthetic market at a set update rate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from tools.venues.errors import SettingsError
from tools.venues.fanout import Stream
from tools.venues.pacing import LatenessMeter, Throttle
from tools.venues.partial_books import PartialBooks
from tools.venues.protocol import (
    CLOSED,
    CLOSING,
    PRELAUNCH,
    TRADING,
    Flush,
    MarketRow,
    MarketSource,
    VenueInstrument,
    VenueProtocol,
)
from tools.venues.views import ViewMarket

INSTRUMENTS_MAX = 1000
RATE_MAX = 1_000_000.0
SKEW_MS_MAX = 86_400_000


@dataclass(frozen=True, slots=True)
class SyntheticSettings:
    """What market to make.

    instruments: how many; rate_per_s: payloads a second in total on the real-time depth, ticker and
    aggregate trade streams (0: silent); batch_s: timer period; update_limit: end after that many payloads
    (0: never); start_ms: venue time of the first moment (0: now); list_after_s, delist_after_s: one more
    instrument begins to trade, one ends, so long after the start, announced at half of that time (0: never);
    relist_after_s: the ended one trades again;
    skew_ms: how far the venue's clock is ahead of ours (behind: below 0).
    """

    instruments: int = 5
    rate_per_s: float = 1000.0
    seed: int = 1
    batch_s: float = 0.001
    update_limit: int = 0
    start_ms: int = 0
    list_after_s: float = 0.0
    delist_after_s: float = 0.0
    relist_after_s: float = 0.0
    skew_ms: int = 0

    def now_ms(self) -> int:
        """The venue's wall clock."""
        return time.time_ns() // 1_000_000 + self.skew_ms


class SyntheticSource(MarketSource):
    """Drives a Market by a timer: small batches, no burst above twice the pace after a stall."""

    def __init__(self, settings: SyntheticSettings, protocol: VenueProtocol) -> None:
        _check(settings)
        self._settings = settings
        self._protocol = protocol
        will_list = settings.list_after_s > 0
        rows = protocol.synthetic_instruments(settings.instruments + will_list, settings.seed)
        self._instruments = [item for item, _, _ in rows]
        self._index = {item.key: index for index, item in enumerate(self._instruments)}
        self.market = protocol.market(
            [_market_row(item, start, mean) for item, start, mean in rows],
            settings.seed,
            settings.rate_per_s,
            settings.start_ms or settings.now_ms(),
        )
        self.streams = {}
        # how each stream begins for a subscriber: (index, kind) of the market, or (index, view)
        self._kinds: dict[str, tuple[int, int]] = {}
        self._views: dict[str, tuple[int, int]] = {}
        self._owners: dict[str, str] = {}
        self._bind()
        self._partials = PartialBooks(protocol, self.market, self._stream, self._instruments)
        self._owners |= self._partials.names()
        self.calendar = _calendar(settings, self._instruments)
        self._states = {self._instruments[-1].key: ""} if will_list else {}
        self._is_ended = ""
        self.symbols = tuple(item.key for item in self.instruments())
        self.lateness = LatenessMeter()
        #: Called behind each batch of the market; True when it made frames.
        self.on_batch: Callable[[], bool] | None = None
        self._started_ns = 0
        self._stopped_ns = 0

    def _bind(self) -> None:
        protocol = self._protocol
        for index, item in enumerate(self._instruments):
            bound: dict[int, Stream] = {}
            for kind, name in protocol.synthetic_streams(item):
                is_shared = name in self.streams
                stream = bound.get(kind) or self._stream(name)
                bound[kind] = self.streams[name] = stream
                if not is_shared:
                    self._kinds[name] = (index, kind)
                    self._owners[name] = item.key
            for kind, stream in bound.items():
                self.market.bind(index, kind, stream)
            for number, name in protocol.view_streams(item):
                assert isinstance(self.market, ViewMarket), protocol.name
                self.market.bind_view(index, number, self._stream(name))
                self._views[name] = (index, number)
                self._owners[name] = item.key
        for name in protocol.common_streams():
            self._stream(name)
            self._owners.pop(name, None)

    def _stream(self, name: str) -> Stream:
        stream = self.streams.get(name) or self._protocol.make_stream(name)
        if stream is None:
            raise SettingsError(f"the venue has no stream {name}")
        self.streams[name] = stream
        return stream

    def resolve(self, name: str) -> Stream | None:
        """Return the stream of that name; none of an instrument that is not listed, or not any more."""
        owner = self._owners.get(name)
        if owner is not None and self._states.get(owner, TRADING) in ("", PRELAUNCH, CLOSED):
            return None
        return self.streams.get(name)

    def welcome(self, name: str) -> bytes | None:
        """Return what a stream of levels, statistics, prices or instruments begins with for a subscriber."""
        market = self.market
        if not isinstance(market, ViewMarket):
            return None
        if name in self._views:
            return market.welcome(*self._views[name])
        if name in self._kinds:
            return market.welcome_kind(*self._kinds[name])
        return self._protocol.first_message(name)

    def state_of(self, item: VenueInstrument) -> str:
        """Return what the instrument is going through."""
        return self._states.get(item.key, TRADING)

    def snapshot(self, symbol: str, limit: int) -> bytes | None:
        """Return the book after the last event sent."""
        return self.market.snapshot(self._index[symbol], limit)

    def exchange_info(self, category: str = "") -> bytes | None:  # noqa: ARG002
        """Return None: reference data is built from `instruments`."""
        return None

    def indexes(self) -> list[tuple[str, int]]:
        """Return (key, index in the market) of all instruments, announced or not."""
        return list(self._index.items())

    def all_instruments(self) -> list[VenueInstrument]:
        """Return all instruments, announced or not."""
        return list(self._instruments)

    def instruments(self) -> list[VenueInstrument]:
        """Return the instruments of this market that have been announced."""
        return [item for item in self._instruments if self._states.get(item.key) != ""]

    def now_ms(self) -> int:
        """Return market time, which begins with the play unless a start time was set."""
        if not self._started_ns and not self._settings.start_ms:
            return self._settings.now_ms()
        return self.market.now_ms

    def clock_ms(self) -> int:
        """Return our clock plus the skew, or market time if a start time was set.

        Market time is that of the last batch, and behind when this process was: who asks for the time would
        take that for a clock that stands wrong.
        """
        return self.market.now_ms if self._settings.start_ms else self._settings.now_ms()

    async def play(self, flush: Flush) -> None:
        """Play until the update limit, or for ever."""
        market, limit, batch_s = self.market, self._settings.update_limit, self._settings.batch_s
        self._started_ns = self._stopped_ns = time.monotonic_ns()
        if not self._settings.start_ms:
            # the wait for clients is not market time: times are current from the first update
            market.set_start(self._settings.now_ms())
        throttle = Throttle(self._started_ns)
        while not limit or market.updates < limit:
            await asyncio.sleep(batch_s)
            now_ns = time.monotonic_ns()
            # the oldest update of the batch was due when market time stopped last
            late_ns = throttle.behind_ns(now_ns)
            made = market.advance(throttle.advance(now_ns), limit)
            if self.calendar and now_ns - self._started_ns >= self.calendar[0][0]:
                self._turn()
                made = made or 1
            if self.on_batch is not None and self.on_batch():
                made = made or 1
            if self._partials.send(self._is_closed):
                made = made or 1
            if made:
                flush.send()
                self.lateness.record(late_ns, made)
            self._stopped_ns = now_ns
        market.flush()
        flush.send()

    def _turn(self) -> None:
        """Do what is due next: an instrument is announced, begins to trade, or ends."""
        _, item, state = self.calendar.pop(0)
        self._states[item.key] = state
        self.symbols = tuple(one.key for one in self.instruments())
        if state == CLOSED or self._is_ended == item.key:
            self._is_ended = item.key if state == CLOSED else ""
            index = self._index[item.key]
            for name, owner in self._owners.items():
                stream = None if state == CLOSED else self.streams[name]
                if owner == item.key and name in self._views:
                    self.market_views().bind_view(index, self._views[name][1], stream)
                elif owner == item.key and name in self._kinds:
                    self.market.bind(index, self._kinds[name][1], stream)
        for name, payload in self._protocol.announce(item, state):
            self.streams[name].publish(payload)

    def _is_closed(self, key: str) -> bool:
        return self._states.get(key) == CLOSED

    def market_views(self) -> ViewMarket:
        """Return the market of a venue that streams the best levels."""
        assert isinstance(self.market, ViewMarket), self._protocol.name
        return self.market

    def statistics(self) -> dict[str, object]:
        """Return updates, events, achieved rate and lateness."""
        seconds = (self._stopped_ns - self._started_ns) / 1e9
        return {
            "source": "synthetic",
            "instruments": len(self._instruments),
            "seed": self._settings.seed,
            "updates": self.market.updates,
            "events": self.market.events,
            "seconds": round(seconds, 3),
            "updates_per_s": round(self.market.updates / seconds, 1) if seconds > 0 else 0.0,
            **self.lateness.statistics(),
        }


def _check(settings: SyntheticSettings) -> None:
    if not 1 <= settings.instruments <= INSTRUMENTS_MAX:
        raise SettingsError(
            f"a synthetic market has 1 to {INSTRUMENTS_MAX} instruments, not {settings.instruments}"
        )
    if not 0 <= settings.rate_per_s <= RATE_MAX:
        raise SettingsError(
            f"the rate must be 0 to {RATE_MAX:.0f} updates a second, not {settings.rate_per_s:g}"
        )
    if not 0.001 <= settings.batch_s <= 0.1:
        raise SettingsError(f"the batch time must be 1 to 100 ms, not {settings.batch_s * 1000:g}")
    if settings.update_limit < 0:
        raise SettingsError("the update limit can not be negative")
    if settings.start_ms < 0:
        raise SettingsError("the start time can not be negative")
    if abs(settings.skew_ms) > SKEW_MS_MAX:
        raise SettingsError(f"the skew must be within {SKEW_MS_MAX} ms, not {settings.skew_ms}")
    if settings.relist_after_s and not 0 < settings.delist_after_s < settings.relist_after_s:
        raise SettingsError("an instrument is listed again after it was delisted")
    if settings.list_after_s < 0 or settings.delist_after_s < 0:
        raise SettingsError("listings and delistings come after the start")


def _calendar(
    settings: SyntheticSettings, items: list[VenueInstrument]
) -> list[tuple[int, VenueInstrument, str]]:
    """What happens to instruments, in order of time (ns after the start)."""
    found: list[tuple[int, VenueInstrument, str]] = []
    if settings.list_after_s > 0:
        due_ns = int(settings.list_after_s * 1e9)
        found += [(due_ns // 2, items[-1], PRELAUNCH), (due_ns, items[-1], TRADING)]
    if settings.delist_after_s > 0:
        due_ns = int(settings.delist_after_s * 1e9)
        item = items[settings.instruments - 1]
        found += [(due_ns // 2, item, CLOSING), (due_ns, item, CLOSED)]
        if settings.relist_after_s > 0:
            found.append((int(settings.relist_after_s * 1e9), item, TRADING))
    return sorted(found, key=lambda event: event[0])


def _market_row(item: VenueInstrument, start: int, mean: float) -> MarketRow:
    value = (
        float(item.contract_value)
        if item.contract_value
        else 10.0 ** -(item.price_decimals + item.quantity_decimals)
    )
    return (
        item.symbol,
        item.price_decimals,
        item.quantity_decimals,
        _units(item.tick_text, item.price_decimals),
        _units(item.lot_text, item.quantity_decimals),
        start,
        mean,
        item.number,
        value,
    )


def _units(text: str, decimals: int) -> int:
    whole, _, fraction = text.partition(".")
    return int(whole + fraction.ljust(decimals, "0"))
