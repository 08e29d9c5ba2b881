"""Runs one simulated venue: servers, source, ready line, signals, final statistics."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TextIO

import orjson
import uvloop

from tools.venues.binance_usdm import BinanceUsdm
from tools.venues.bybit import Bybit
from tools.venues.capture_source import CaptureSettings, CaptureSource
from tools.venues.errors import SettingsError
from tools.venues.faults import read_faults, refuse_order_faults
from tools.venues.faults_desk import FAULTS_PATH, FaultDesk
from tools.venues.okx import Okx
from tools.venues.protocol import HttpReply, HttpRequest, MarketSource, VenueProtocol
from tools.venues.rest import RestServer
from tools.venues.server import Hub
from tools.venues.synthetic_source import SyntheticSettings, SyntheticSource
from tools.venues.tls import TlsFiles
from tools.venues.trading.control import Control
from tools.venues.trading.run_trading import Trading
from tools.venues.trading.settings import TradingSettings, build_trading, waker

PROTOCOLS: dict[str, Callable[[], VenueProtocol]] = {
    BinanceUsdm.name: BinanceUsdm,
    Okx.name: Okx,
    "bybit": lambda: Bybit("bybit"),
    "bybit_linear": lambda: Bybit("bybit_linear"),
    "bybit_spot": lambda: Bybit("bybit_spot"),
}
PORT_MAX = 65_535
SECONDS_MAX = 10**6
DEFAULT_VENUE = BinanceUsdm.name


@dataclass(frozen=True, slots=True)
class VenueSettings:
    """Everything a simulated venue can be told.

    strict: refuse unknown and misplaced streams with a reason (the real venue agrees and stays silent);
    every_change: streams of levels send each change at once instead of in the venue's intervals;
    with_checksum: OKX books carry checksums;
    start: `subscribed` waits until `clients_wanted` connections have subscribed, `immediately` does not;
    faults: a fault script or the name of its file; parent_pid: end with that process; trading: how it trades,
    None = market data only;
    0 turns any of the `_s` and `parent_pid` fields off.
    """

    name: str = DEFAULT_VENUE
    market: CaptureSettings | SyntheticSettings = field(default_factory=SyntheticSettings)
    host: str = "127.0.0.1"
    ws_port: int = 0
    rest_port: int = 0
    tls: bool = False
    strict: bool = True
    every_change: bool = False
    with_checksum: bool = False
    start: str = "subscribed"
    clients_wanted: int = 1
    buffer_bytes_max: int = 16 * 1024 * 1024
    ping_interval_s: float = 0.0
    connection_s: float = 0.0
    ready_fd: int = -1
    statistics: str = "none"
    parent_pid: int = 0
    faults: str = ""
    trading: TradingSettings | None = field(default_factory=TradingSettings)


def make_protocol(settings: VenueSettings) -> VenueProtocol:
    """Return the protocol of the named venue with the settings' limits; SettingsError when there is none."""
    factory = PROTOCOLS.get(settings.name)
    if factory is None:
        raise SettingsError(
            f"there is no simulated venue {settings.name!r}; known: {', '.join(sorted(PROTOCOLS))}"
        )
    protocol = factory()
    protocol.every_change = settings.every_change
    protocol.with_checksum = settings.with_checksum
    limits = protocol.limits
    protocol.limits = replace(
        limits,
        ping_interval_s=settings.ping_interval_s or limits.ping_interval_s,
        connection_s=settings.connection_s or limits.connection_s,
    )
    return protocol


def make_source(settings: VenueSettings, protocol: VenueProtocol) -> MarketSource:
    """Return the market the settings ask for."""
    if isinstance(settings.market, CaptureSettings):
        return CaptureSource(settings.market, protocol)
    return SyntheticSource(settings.market, protocol)


def _check(settings: VenueSettings) -> None:
    if settings.start not in ("subscribed", "immediately"):
        raise SettingsError(f"a venue starts subscribed or immediately, not {settings.start!r}")
    if settings.clients_wanted < 1:
        raise SettingsError("at least one client must be waited for")
    if settings.buffer_bytes_max < 1:
        raise SettingsError("the send buffer of a client can not be empty")
    for what, port in (("websocket", settings.ws_port), ("REST", settings.rest_port)):
        if not 0 <= port <= PORT_MAX:
            raise SettingsError(f"the {what} port must be 0 to {PORT_MAX}, not {port}")
    for what, seconds in (
        ("time between pings", settings.ping_interval_s),
        ("lifetime of a connection", settings.connection_s),
    ):
        if not 0 <= seconds <= SECONDS_MAX:
            raise SettingsError(f"the {what} must be 0 (as the venue) to {SECONDS_MAX} s, not {seconds:g}")


class VenueRun:
    """One venue from its ready line to its end."""

    def __init__(self, settings: VenueSettings) -> None:
        _check(settings)
        self.settings = settings
        self.protocol = make_protocol(settings)
        self.source = make_source(settings, self.protocol)
        self.protocol.source = self.source
        self.hub = Hub(
            self.protocol,
            buffer_bytes_max=settings.buffer_bytes_max,
            strict=settings.strict,
            clients_wanted=settings.clients_wanted,
        )
        self.rest = RestServer(self._on_http)
        seed = settings.market.seed if isinstance(settings.market, SyntheticSettings) else 0
        self.faults = FaultDesk(self.hub, seed, self._arm)
        self.trading = self._build_trading(seed)
        self._script = read_faults(settings.faults, settings.name) if settings.faults else []
        if self.trading is None:
            refuse_order_faults(self._script)
        self.ready: dict[str, object] = {}
        self._stop = asyncio.Event()
        self._play: asyncio.Task[None] | None = None

    def _build_trading(self, seed: int) -> Trading | None:
        if self.settings.trading is None:
            return None
        built = build_trading(
            self.settings.trading, self.protocol, self.source, seed, waker(self._on_trading_due)
        )
        if built is None:
            return None
        self.hub.trading = built.desk.trading
        self.faults.bind_trading(built.desk)
        return Trading(built, self.hub, Control(built.desk, self.faults.on_http), self.source)

    def _on_trading_due(self) -> None:
        if self.trading is not None:
            self.trading.run()

    def _on_http(self, request: HttpRequest) -> HttpReply | Awaitable[HttpReply]:
        if request.path == FAULTS_PATH:
            return self.faults.on_http(request)
        if self.trading is not None:
            reply = self.trading.on_http(request)
            if reply is not None:
                return reply
        return self.protocol.on_http(request)

    def _arm(self) -> None:
        self.hub.faults = self.faults
        self.rest.spoil = self.faults.answer

    def request_stop(self) -> None:
        """End the run soon; safe to call from a signal handler of the loop."""
        self._stop.set()

    async def start(self, stack: ExitStack) -> None:
        """Listen and begin to wait for clients; fills `ready`."""
        context = None
        ca: str | None = None
        if self.settings.tls:
            files = stack.enter_context(TlsFiles(self.settings.host))
            context = files.server_context()
            ca = str(files.ca_path)
        await self.hub.start(self.settings.host, self.settings.ws_port, context)
        await self.rest.start(self.settings.host, self.settings.rest_port, context)
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        secure = "s" if context is not None else ""
        self.ready = {
            "ready": True,
            "venue": self.protocol.name,
            "ws": f"ws{secure}://{host}:{self.hub.port}",
            "rest": f"http{secure}://{host}:{self.rest.port}",
            "ca": ca,
            "symbols": [item.symbol for item in self.source.instruments()],
            "keys": list(self.source.symbols),
        }
        if self.trading is not None:
            self.ready.update(self.trading.start(str(self.ready["ws"]), str(self.ready["rest"])))
        self._play = asyncio.ensure_future(self._play_when_ready())
        self._play.add_done_callback(self._on_played)

    async def _play_when_ready(self) -> None:
        if self.settings.start == "subscribed":
            await self.hub.subscribed.wait()
        self.faults.add(self._script)
        await self.source.play(self.hub)

    def _on_played(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        market = self.settings.market
        if task.exception() is not None or (isinstance(market, CaptureSettings) and market.at_end == "exit"):
            self.request_stop()

    async def wait(self) -> None:
        """Wait until the run shall end, then close everything; raises what ended the source."""
        await self._stop.wait()
        await self.stop()
        if self._play is not None and self._play.done() and not self._play.cancelled():
            error = self._play.exception()
            if error is not None:
                raise error

    async def source_done(self) -> None:
        """Wait until the source has played to its end."""
        if self._play is not None:
            await asyncio.wait([self._play])

    async def stop(self) -> None:
        """Stop playing and close every connection."""
        self.faults.stop()
        if self.trading is not None:
            self.trading.stop()
        if self._play is not None and not self._play.done():
            self._play.cancel()
            await asyncio.wait([self._play])
        await self.hub.stop()
        await self.rest.stop()

    def statistics(self) -> dict[str, object]:
        """Return what was sent and asked, per stream kind and REST path."""
        frames: dict[str, int] = {}
        for stream in {id(one): one for one in self.source.streams.values()}.values():
            frames[stream.kind] = frames.get(stream.kind, 0) + stream.frames
        hub = self.hub.statistics
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "venue": self.protocol.name,
            "frames": dict(sorted(frames.items())),
            "bytes_sent": hub.bytes_sent,
            "clients": hub.clients,
            "clients_peak": hub.clients_peak,
            "refused_upgrades": hub.refused_upgrades,
            "requests": hub.requests,
            "refused_requests": hub.refused_requests,
            "slow_disconnects": hub.slow_disconnects,
            "protocol_errors": hub.protocol_errors,
            "over_limit_disconnects": hub.over_limit_disconnects,
            "disconnects": hub.disconnects,
            "rest": dict(sorted(self.rest.requests.items())),
            "rest_malformed": self.rest.malformed,
            "rest_statuses": {str(status): count for status, count in sorted(self.rest.statuses.items())},
            "faults": self.faults.statistics(),
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
            **({"trading": self.trading.control.statistics()} if self.trading is not None else {}),
            **self.source.statistics(),
        }


def _watch_parent(run: VenueRun, pid: int) -> int:
    loop = asyncio.get_running_loop()
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        run.request_stop()
        return -1

    def on_end() -> None:
        # a pidfd stays readable: the reader must go
        loop.remove_reader(descriptor)
        run.request_stop()

    loop.add_reader(descriptor, on_end)
    return descriptor


def _announce(settings: VenueSettings, ready: dict[str, object]) -> None:
    line = orjson.dumps(ready) + b"\n"
    if settings.ready_fd >= 0:
        try:
            os.write(settings.ready_fd, line)
            os.close(settings.ready_fd)
        except OSError as error:
            raise SettingsError(
                f"can not write the ready line to descriptor {settings.ready_fd}: {error.strerror}"
            ) from None
    else:
        sys.stdout.buffer.write(line)
        sys.stdout.flush()


async def _main(run: VenueRun) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, run.request_stop)
    with ExitStack() as stack:
        await run.start(stack)
        if run.settings.parent_pid:
            _watch_parent(run, run.settings.parent_pid)
        _announce(run.settings, run.ready)
        await run.wait()


def _print_statistics(run: VenueRun, seconds: float, out: TextIO) -> None:
    numbers = run.statistics()
    numbers["wall_s"] = round(seconds, 3)
    if run.settings.statistics == "json":
        print(orjson.dumps(numbers).decode(), file=out)
    elif run.settings.statistics == "text":
        for name, value in numbers.items():
            print(f"{name:24} {value}", file=out)


def run_venue(settings: VenueSettings) -> int:
    """Run a simulated venue until SIGTERM, SIGINT, the end of its parent or capture; return the exit status.

    0 after a clean end; VenueSimulatorError for a user's mistake, with everything closed again.
    """
    if settings.statistics not in ("none", "text", "json"):
        raise SettingsError(f"statistics can be none, text or json, not {settings.statistics!r}")
    # what clients do wrong is counted and told to them, not logged as an error of ours
    logging.getLogger("picows").setLevel(logging.CRITICAL)
    started = time.monotonic()
    run = VenueRun(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(run))
    _print_statistics(run, time.monotonic() - started, sys.stdout)
    return 0
