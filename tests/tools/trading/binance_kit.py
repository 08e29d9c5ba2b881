"""A raw client of Binance USD-M's order entry: signs with the keys of the ready line, knows nothing else."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ssl
import time
from typing import Any
from urllib.parse import urlencode

import orjson

from tests.tools.venue_kit import Listener, connect
from tools.venues.run import VenueRun


class RawClient:
    """One API key: an order socket, a private stream, signed REST."""

    def __init__(self, run: VenueRun, number: int = 0, context: ssl.SSLContext | None = None) -> None:
        self.run = run
        trading: Any = run.ready["trading"]
        self.key: dict[str, str] = trading["keys"][number]
        self.context = context
        self.orders: Listener
        self.private: Listener
        self._next = 0

    async def open(self, private_path: str = "/private/ws/") -> RawClient:
        self.orders = await connect(self.run, "/ws-fapi/v1", self.context)
        started = await self.ask("userDataStream.start", {}, is_signed=False)
        self.listen_key = started["result"]["listenKey"]
        self.private = await connect(self.run, private_path + self.listen_key, self.context)
        return self

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def sign(self, payload: str) -> str:
        if self.key["kind"] == "hmac":
            return hmac.new(self.key["secret"].encode(), payload.encode(), hashlib.sha256).hexdigest()
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        key: Any = load_pem_private_key(self.key["private_key"].encode(), None)
        return base64.b64encode(key.sign(payload.encode())).decode()

    def signed(self, params: dict[str, Any]) -> dict[str, Any]:
        full = {"apiKey": self.key["api_key"], "timestamp": self.now_ms(), **params}
        payload = "&".join(f"{name}={value}" for name, value in sorted(full.items()))
        return {**full, "signature": self.sign(payload)}

    def send(self, method: str, params: dict[str, Any]) -> str:
        self._next += 1
        number = str(self._next)
        self.orders.send(orjson.dumps({"id": number, "method": method, "params": self.signed(params)}))
        return number

    async def ask(self, method: str, params: dict[str, Any], *, is_signed: bool = True) -> Any:
        self._next += 1
        full = self.signed(params) if is_signed else {"apiKey": self.key["api_key"], **params}
        return await self.call({"id": str(self._next), "method": method, "params": full})

    async def call(self, request: dict[str, Any]) -> Any:
        self.orders.send(orjson.dumps(request))
        return await self.answer(str(request["id"]))

    async def answer(self, number: str) -> Any:
        def found(listener: Listener) -> list[Any]:
            return [one for one in map(orjson.loads, listener.frames) if one.get("id") == number]

        await self.orders.until(lambda one: bool(found(one)))
        return found(self.orders)[-1]

    async def place(self, **params: Any) -> Any:
        wanted = {
            "symbol": "BTCUSDT",
            "side": "BUY",
            "type": "LIMIT",
            "timeInForce": "GTC",
            "quantity": "0.010",
        }
        return await self.ask("order.place", {**wanted, **params})

    async def events(self, kind: str, count: int) -> list[Any]:
        def found(listener: Listener) -> list[Any]:
            return [one for one in map(orjson.loads, listener.frames) if one.get("e") == kind]

        await self.private.until(lambda one: len(found(one)) >= count)
        return found(self.private)

    async def rest(
        self, method: str, path: str, params: dict[str, Any] | None = None, *, is_signed: bool = True,
        in_body: bool = False, signature: str = "",
    ) -> tuple[int, dict[str, str], Any]:  # fmt: skip
        query = urlencode({**(params or {}), **({"timestamp": self.now_ms()} if is_signed else {})})
        if is_signed:
            query += f"&signature={signature or self.sign(query)}"
        target = path if in_body or not query else f"{path}?{query}"
        return await http(
            self.run,
            method,
            target,
            query if in_body else "",
            {"X-MBX-APIKEY": self.key["api_key"]},
            self.context,
        )


async def http(
    run: VenueRun, method: str, target: str, body: str = "", headers: dict[str, str] | None = None,
    context: ssl.SSLContext | None = None,
) -> tuple[int, dict[str, str], Any]:  # fmt: skip
    reader, writer = await asyncio.open_connection("127.0.0.1", run.rest.port, ssl=context)
    lines = [f"{method} {target} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    writer.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
    data = b""
    try:
        data = await reader.read()
    except ConnectionResetError:
        pass
    writer.close()
    if not data:
        return 0, {}, None
    head, _, payload = data.partition(b"\r\n\r\n")
    status, *rows = head.decode().split("\r\n")
    found = {name.lower(): value for name, _, value in (row.partition(": ") for row in rows)}
    return int(status.split(" ")[1]), found, orjson.loads(payload)


async def truth(run: VenueRun, name: str) -> Any:
    """The venue's own books."""
    return (await http(run, "GET", f"/sim/{name}"))[2]


def best(run: VenueRun, index: int = 0) -> tuple[float, float]:
    """Best bid and ask of a synthetic market."""
    source: Any = run.source
    _, _, bid, ask, _ = source.market.state(index)
    return bid / 100, ask / 100
