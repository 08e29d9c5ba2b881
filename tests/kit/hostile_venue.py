"""A venue that speaks its protocol well until told to misbehave: websocket and REST on one raw TCP port.

Written on bare streams, so that it can send what no library would: half frames, wrong lengths, broken HTTP.
It keeps the true book by sequence, so that a test can say whether a LIVE book is right.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import random
import time
from collections.abc import Awaitable, Callable

import orjson

from shm.errors import UnitsError
from shm.units import parse_units

SYMBOL = "BTCUSDT"
TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
Sides = tuple[dict[int, int], dict[int, int]]
Answer = Callable[[], bytes | Awaitable[bytes]]


def ws_frame(payload: bytes, opcode: int = TEXT, *, fin: bool = True) -> bytes:
    """One unmasked frame, as a server sends it."""
    size = len(payload)
    if size < 126:
        length = bytes([size])
    elif size < 1 << 16:
        length = b"\x7e" + size.to_bytes(2, "big")
    else:
        length = b"\x7f" + size.to_bytes(8, "big")
    return bytes([opcode | (0x80 if fin else 0)]) + length + payload


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Content-Type: application/json", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class HostileVenue:
    """One symbol's depth stream and snapshots.

    Updates go out every `interval_s` while `is_sending`. `answer` makes the reply to a snapshot request;
    `greeting`, if set, is sent instead of the upgrade to the next websocket client.
    """

    def __init__(self, interval_s: float = 0.003) -> None:
        self.interval_s = interval_s
        self.is_sending = True
        self.answer: Answer = self.good_answer
        self.greeting = b""
        self.instruments = b"{}"
        self.event_shift_ms = 0
        self.subscriptions = 0
        self.snapshots = 0
        self.truth: Sides = ({9_900: 5}, {10_100: 5})
        self.sequence = 1_000_000
        self.history: dict[int, Sides] = {}
        self._remember()
        self._chance = random.Random(1)
        self._writers: list[asyncio.StreamWriter] = []  # of websocket clients
        self._all: set[asyncio.StreamWriter] = set()
        self._tasks: list[asyncio.Task[None]] = []

    # ---- the market ---------------------------------------------------------------------------

    def _remember(self) -> None:
        self.history[self.sequence] = (dict(self.truth[0]), dict(self.truth[1]))

    def rewind(self, sequence: int) -> None:
        """Restart the numbers, as a venue does that lost its state; the book stays."""
        self.sequence = sequence
        self._remember()

    def update(
        self, bids: list[list[str]] | None = None, asks: list[list[str]] | None = None, *, skip: int = 0
    ) -> bytes:
        """The next true update as JSON; given levels are sent (and become true) instead of random ones."""
        previous = self.sequence + skip
        self.sequence = previous + self._chance.randint(1, 4)
        made: list[list[list[str]]] = []
        for side, (low, high) in enumerate(((9_000, 9_999), (10_001, 11_000))):
            levels = []
            for _ in range(2):
                price, quantity = self._chance.randint(low, high), self._chance.choice([0, 1, 7, 1234])
                levels.append([f"{price / 100:.2f}", f"{quantity / 1000:.3f}"])
            made.append(levels)
        made = [made[0] if bids is None else bids, made[1] if asks is None else asks]
        for levels, truth in zip(made, self.truth, strict=True):
            for price_text, quantity_text in levels:
                with contextlib.suppress(UnitsError):
                    price, quantity = parse_units(price_text, 2), parse_units(quantity_text, 3)
                    truth.pop(price, None)
                    if quantity:
                        truth[price] = quantity
        self._remember()
        event_ms = time.monotonic_ns() // 1_000_000 + self.event_shift_ms
        data = {
            "e": "depthUpdate", "E": event_ms, "T": event_ms, "s": SYMBOL, "U": previous + 1,
            "u": self.sequence, "pu": previous, "b": made[0], "a": made[1],
        }  # fmt: skip
        return orjson.dumps({"stream": "btcusdt@depth@100ms", "data": data})

    def snapshot(self, sequence: int | None = None) -> bytes:
        """Body of a true snapshot; with `sequence` the true state under a false number."""
        sides = [
            [[f"{p / 100:.2f}", f"{q / 1000:.3f}"] for p, q in sorted(side.items(), reverse=not i)]
            for i, side in enumerate(self.truth)
        ]
        number = self.sequence if sequence is None else sequence
        return orjson.dumps({"lastUpdateId": number, "E": 1, "T": 1, "bids": sides[0], "asks": sides[1]})

    def good_answer(self) -> bytes:
        return http(self.snapshot())

    # ---- the wire -----------------------------------------------------------------------------

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._tasks.append(asyncio.ensure_future(self._play()))

    async def stop(self) -> None:
        self._server.close()
        self._tasks[0].cancel()
        for writer in self._all:
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def raw(self, data: bytes) -> None:
        """Send bytes to every websocket client as they are."""
        for writer in self._writers:
            writer.write(data)

    def text(self, payload: bytes) -> None:
        self.raw(ws_frame(payload))

    def cut(self) -> None:
        """Drop every websocket client without a word."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _play(self) -> None:
        while True:
            if self.is_sending and self._writers:
                self.text(self.update())
            await asyncio.sleep(self.interval_s)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.append(task)
        self._all.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, OSError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                if "upgrade: websocket" in head.lower():
                    await self._websocket(head, reader, writer)
                    return
                if "/exchangeInfo" in head.split("\r\n", 1)[0]:
                    writer.write(http(self.instruments))
                    continue
                self.snapshots += 1
                reply = self.answer()
                writer.write(reply if isinstance(reply, bytes) else await reply)
                if writer.is_closing():
                    return
                await writer.drain()

    async def _websocket(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.greeting:
            writer.write(self.greeting)
            self.greeting = b""
            writer.close()
            return
        key = next(line for line in head.splitlines() if line.lower().startswith("sec-websocket-key"))
        accept = base64.b64encode(hashlib.sha1(key.partition(":")[2].strip().encode() + MAGIC).digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        first = await reader.read(65_536)  # what is subscribed to is known: one symbol, one stream
        self.subscriptions += bool(first)
        writer.write(ws_frame(b'{"result":null,"id":1}'))
        if "/public" in head.split("\r\n", 1)[0]:  # trades and mark prices come on a path of their own
            self._writers.append(writer)
        try:
            while await reader.read(65_536):
                pass
        finally:
            if writer in self._writers:
                self._writers.remove(writer)
            writer.close()
