"""A market source that plays a seeded synthetic market at a set update rate."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from tools.venues.errors import SettingsError
from tools.venues.fanout import Stream
from tools.venues.pacing import LatenessMeter, Throttle
from tools.venues.protocol import Flush, MarketSource, VenueInstrument, VenueProtocol
from tools.venues.synthetic import Market

INSTRUMENTS_MAX = 1000
RATE_MAX = 1_000_000.0


@dataclass(frozen=True, slots=True)
class SyntheticSettings:
    """What market to make.

    instruments: how many; rate_per_s: payloads a second in total on the real-time depth, ticker and
    aggregate trade streams (0: silent); batch_s: timer period; update_limit: end after that many payloads
    (0: never); start_ms: venue time of the first moment (0: now).
    """

    instruments: int = 5
    rate_per_s: float = 1000.0
    seed: int = 1
    batch_s: float = 0.001
    update_limit: int = 0
    start_ms: int = 0


class SyntheticSource(MarketSource):
    """Drives a Market by a timer: small batches, no burst above twice the pace after a stall."""

    def __init__(self, settings: SyntheticSettings, protocol: VenueProtocol) -> None:
        _check(settings)
        self._settings = settings
        rows = protocol.synthetic_instruments(settings.instruments, settings.seed)
        self._instruments = [item for item, _, _ in rows]
        self.symbols = tuple(item.symbol for item in self._instruments)
        self._index = {symbol: index for index, symbol in enumerate(self.symbols)}
        self.market = Market(
            [_market_row(item, start, mean) for item, start, mean in rows],
            settings.seed,
            protocol.encoder(),
            settings.rate_per_s,
            settings.start_ms or time.time_ns() // 1_000_000,
        )
        self.streams = {}
        self._bind(protocol)
        self.lateness = LatenessMeter()
        self._started_ns = 0
        self._stopped_ns = 0

    def _bind(self, protocol: VenueProtocol) -> None:
        for index, symbol in enumerate(self.symbols):
            bound: dict[int, Stream] = {}
            for kind, name in protocol.synthetic_streams(symbol):
                stream = bound.get(kind) or protocol.make_stream(name)
                if stream is None:
                    raise SettingsError(f"the venue has no stream {name}")
                bound[kind] = stream
                self.streams[name] = stream
            for kind, stream in bound.items():
                self.market.bind(index, kind, stream)

    def resolve(self, name: str) -> Stream | None:
        """Return the stream of that name."""
        return self.streams.get(name)

    def snapshot(self, symbol: str, limit: int) -> bytes | None:
        """Return the book after the last event sent."""
        return self.market.snapshot(self._index[symbol], limit)

    def exchange_info(self) -> bytes | None:
        """Return None: reference data is built from `instruments`."""
        return None

    def instruments(self) -> list[VenueInstrument]:
        """Return the instruments of this market."""
        return self._instruments

    def now_ms(self) -> int:
        """Return market time, which begins with the play unless a start time was set."""
        if not self._started_ns and not self._settings.start_ms:
            return time.time_ns() // 1_000_000
        return self.market.now_ms

    async def play(self, flush: Flush) -> None:
        """Play until the update limit, or for ever."""
        market, limit, batch_s = self.market, self._settings.update_limit, self._settings.batch_s
        self._started_ns = self._stopped_ns = time.monotonic_ns()
        if not self._settings.start_ms:
            # the wait for clients is not market time: times are current from the first update
            market.set_start(time.time_ns() // 1_000_000)
        throttle = Throttle(self._started_ns)
        while not limit or market.updates < limit:
            await asyncio.sleep(batch_s)
            now_ns = time.monotonic_ns()
            # the oldest update of the batch was due when market time stopped last
            late_ns = throttle.behind_ns(now_ns)
            made = market.advance(throttle.advance(now_ns), limit)
            if made:
                flush.send()
                self.lateness.record(late_ns, made)
            self._stopped_ns = now_ns
        market.flush()
        flush.send()

    def statistics(self) -> dict[str, object]:
        """Return updates, events, achieved rate and lateness."""
        seconds = (self._stopped_ns - self._started_ns) / 1e9
        return {
            "source": "synthetic",
            "instruments": len(self.symbols),
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


def _market_row(item: VenueInstrument, start: int, mean: float) -> tuple[str, int, int, int, int, int, float]:
    return (
        item.symbol,
        item.price_decimals,
        item.quantity_decimals,
        _units(item.tick_text, item.price_decimals),
        _units(item.lot_text, item.quantity_decimals),
        start,
        mean,
    )


def _units(text: str, decimals: int) -> int:
    whole, _, fraction = text.partition(".")
    return int(whole + fraction.ljust(decimals, "0"))
