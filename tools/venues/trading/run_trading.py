"""Order entry of a running venue: its desk joined to the loop, the hub and the market."""

from __future__ import annotations

import asyncio
import time
from asyncio import TimerHandle
from collections.abc import Awaitable

from tools.venues.capture_source import CaptureSource
from tools.venues.protocol import CONTROL_PATH, TRADING, HttpReply, HttpRequest, MarketSource
from tools.venues.server import Hub
from tools.venues.synthetic_source import SyntheticSource
from tools.venues.trading.control import Control
from tools.venues.trading.market_ports import SyntheticPort
from tools.venues.trading.settings import Built

TIMER_S = 0.5


class Trading:
    """Runs a desk with a venue's servers.

    Args:
        built: the desk, its port and keys.
        hub: whose clients see what our orders do to the market.
        control: of the venue's own books.
        source: of the market.
    """

    def __init__(self, built: Built, hub: Hub, control: Control, source: MarketSource) -> None:
        self.desk = built.desk
        self.control = control
        self._built = built
        self._hub = hub
        self._source = source
        self._timer: TimerHandle | None = None
        self._is_send_due = False
        self.desk.on_done = self._send_soon
        if isinstance(source, SyntheticSource | CaptureSource):
            source.on_batch = self._on_batch

    def start(self, ws: str, rest: str) -> dict[str, object]:
        """Begin to keep time; return what the ready line says of trading."""
        self._on_timer()
        keys = self._built.keys
        if self._built.are_given:
            rows = [{"account": key.account, "api_key": key.api_key, "kind": key.kind} for key in keys]
        else:
            rows = [key.printed() for key in keys]
        return {"trading": {**self.desk.trading.addresses(ws, rest), "keys": rows}}

    def stop(self) -> None:
        """Keep time no more."""
        if self._timer is not None:
            self._timer.cancel()

    def run(self) -> None:
        """Do what is due now."""
        self.desk.run(time.monotonic_ns())
        self._send_soon()

    def on_http(self, request: HttpRequest) -> HttpReply | Awaitable[HttpReply] | None:
        """Answer a request to the venue's own books or of its order entry; None: it is neither."""
        if request.path.startswith(CONTROL_PATH):
            reply: HttpReply | Awaitable[HttpReply] | None = self.control.on_http(request)
        else:
            reply = self.desk.trading.on_http(request)
        self._send_soon()
        return reply

    def _on_timer(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TIMER_S, self._on_timer)
        self.desk.trading.on_timer(self.desk.clock_ms())
        listings = self.desk.exchange.listings
        for item in self._source.instruments():
            listings[item.key].is_trading = self._source.state_of(item) == TRADING

    def _on_batch(self) -> bool:
        self.desk.on_market()
        return self._take_dirt()

    def _take_dirt(self) -> bool:
        port = self._built.port
        is_dirty = isinstance(port, SyntheticPort) and port.is_dirty
        if is_dirty and isinstance(port, SyntheticPort):
            port.is_dirty = False
        return is_dirty

    def _send_soon(self) -> None:
        """Let clients of market data see what orders did to the book before the market's next batch."""
        if not self._is_send_due and self._take_dirt():
            self._is_send_due = True
            asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        self._is_send_due = False
        self._hub.send()
