"""A small client for simulated venues: websocket frames into a list, REST by plain sockets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import orjson
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from tools.venues.capture_source import CaptureSettings
from tools.venues.protocol import VenueProtocol
from tools.venues.run import VenueRun, VenueSettings
from tools.venues.synthetic_source import SyntheticSettings


class Listener(WSListener):
    """Keeps every text frame and lets tests wait for a condition on them."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.answers_pings = True
        self.pings: list[bytes] = []
        self.closed: tuple[int, str] | None = None
        self.transport: WSTransport | None = None
        self._changed = asyncio.Event()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            self.frames.append(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.PING:
            self.pings.append(frame.get_payload_as_bytes())
            if self.answers_pings:
                transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            self.closed = (int(frame.get_close_code().value), frame.get_close_message().decode())
            transport.disconnect()
        self._changed.set()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if self.closed is None:
            self.closed = (1006, "")
        self._changed.set()

    async def until(self, condition: Callable[[Listener], bool]) -> None:
        """Wait until the condition holds; pytest-timeout is the watchdog."""
        while not condition(self):
            self._changed.clear()
            await self._changed.wait()

    def send(self, text: bytes) -> None:
        """Send a text frame."""
        assert self.transport is not None
        self.transport.send(WSMsgType.TEXT, text)

    async def drain(self, ping: bytes) -> None:
        """Wait until everything the venue sent so far is here: the answer to a text ping comes behind it."""
        seen = len(self.frames)
        self.send(ping)
        await self.until(lambda one: any(b"pong" in frame[:60] for frame in one.frames[seen:]))

    async def ask(self, request: object) -> Any:
        """Send a request and return the reply with its id (or the next error without one)."""
        assert self.transport is not None
        seen = len(self.frames)
        text = request if isinstance(request, bytes) else orjson.dumps(request)
        self.transport.send(WSMsgType.TEXT, text)

        def reply(listener: Listener) -> bool:
            return any(b'"e":' not in frame for frame in listener.frames[seen:])

        await self.until(reply)
        return orjson.loads(next(f for f in self.frames[seen:] if b'"e":' not in f))


async def connect(run: VenueRun, path: str, ssl_context: ssl.SSLContext | None = None) -> Listener:
    _, listener = await ws_connect(
        Listener, f"{run.ready['ws']}{path}", ssl_context=ssl_context, enable_auto_pong=False
    )
    assert isinstance(listener, Listener), type(listener)
    return listener


async def get(run: VenueRun, target: str, raw: bytes | None = None) -> tuple[int, dict[str, str], bytes]:
    """One REST request on a fresh connection: status, headers, body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", run.rest.port)
    writer.write(raw or f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    data = await reader.read()
    writer.close()
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status.split(" ")[1]), headers, body


def serve_by(run: VenueRun, protocol: VenueProtocol) -> None:
    """Let another protocol answer REST, such as one whose clock stands: its windows of limits never turn."""
    protocol.source = run.source
    run.protocol = protocol


def with_venue(
    market: CaptureSettings | SyntheticSettings, test: Callable[[VenueRun], Awaitable[None]], **options: Any
) -> VenueRun:
    """Run `test` against a venue on free ports, in one uvloop."""

    unlimited = options.pop("unlimited_connects", False)

    async def main() -> VenueRun:
        run = VenueRun(VenueSettings(market=market, **options))
        if unlimited:
            run.protocol.limits = replace(run.protocol.limits, connects=(0, 0.0))
        with ExitStack() as stack:
            await run.start(stack)
            try:
                await test(run)
            finally:
                await run.stop()
        return run

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


class NaiveBook:
    """A dict per side: the simplest thing that follows the venue's rules."""

    def __init__(self) -> None:
        self.bids: dict[str, str] = {}
        self.asks: dict[str, str] = {}
        self.last = 0

    def load(self, snapshot: dict[str, Any]) -> None:
        self.bids = dict(snapshot["bids"])
        self.asks = dict(snapshot["asks"])
        self.last = snapshot["lastUpdateId"]

    def apply(self, diff: dict[str, Any]) -> None:
        for side, levels in ((self.bids, diff["b"]), (self.asks, diff["a"])):
            for price, quantity in levels:
                if float(quantity) == 0:
                    side.pop(price, None)
                else:
                    side[price] = quantity
        self.last = diff["u"]

    def top(self, limit: int) -> tuple[list[list[str]], list[list[str]]]:
        bids = sorted(self.bids.items(), key=lambda level: -float(level[0]))[:limit]
        asks = sorted(self.asks.items(), key=lambda level: float(level[0]))[:limit]
        return [list(level) for level in bids], [list(level) for level in asks]

    def follow(self, snapshot: dict[str, Any], diffs: list[dict[str, Any]]) -> int:
        """Load the snapshot, apply what may follow it; the number of diffs applied. Asserts the chain."""
        self.load(snapshot)
        applied = 0
        for diff in diffs:
            if diff["u"] < snapshot["lastUpdateId"]:
                continue
            if not applied:
                starts = diff["U"] <= self.last <= diff["u"] or diff["pu"] == self.last
                assert starts, (diff["U"], diff["pu"], self.last)
            else:
                assert diff["pu"] == self.last
            self.apply(diff)
            applied += 1
        return applied
