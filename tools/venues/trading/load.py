"""How many orders a second a simulated venue takes: a raw client with so many requests under way.

`python -P -m tools.venues.trading.load [SECONDS [WINDOW]]` starts a venue and prints one JSON object. The
client shares the machine with the venue: the figure is that of both, `venue_cpu` says who was busy.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import orjson
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

START_S = 30.0


@dataclass(slots=True)
class OrderLoad:
    """What a load found: orders placed and canceled, refused, and the round trip of each request in ns."""

    seconds: float = 0.0
    orders: int = 0
    refused: int = 0
    round_trips_ns: list[int] = field(default_factory=list)
    venue_cpu: float = 0.0

    def figures(self) -> dict[str, float]:
        """Return orders a second (each placed and canceled: two requests) and round trips."""
        trips = sorted(self.round_trips_ns) or [0]
        return {
            "seconds": round(self.seconds, 3),
            "orders_per_s": round(self.orders / self.seconds, 1) if self.seconds else 0.0,
            "requests_per_s": round(len(self.round_trips_ns) / self.seconds, 1) if self.seconds else 0.0,
            "refused": self.refused,
            "round_trip_ns_p50": trips[len(trips) // 2],
            "round_trip_ns_p99": trips[len(trips) * 99 // 100],
            "venue_cpu": round(self.venue_cpu, 3),
        }


class LoadClient(WSListener):
    """Places orders far from the market of Binance USD-M and cancels them, `window` requests under way.

    Args:
        key: API key and secret of the ready line.
        symbol, price, quantity: of the orders.
        window: requests that wait for their answers.
    """

    def __init__(self, key: dict[str, str], symbol: str, price: str, quantity: str, window: int) -> None:
        self._key = key
        self._terms = {
            "apiKey": key["api_key"], "price": price, "quantity": quantity, "recvWindow": 60_000,
            "side": "BUY", "symbol": symbol, "timeInForce": "GTX", "type": "LIMIT",
        }  # fmt: skip
        self._window = window
        self._sent: dict[str, int] = {}
        self._count = 0
        self._transport: WSTransport | None = None
        self._until_ns = 0
        self.load = OrderLoad()
        self.done = asyncio.Event()

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def begin(self, seconds: float) -> None:
        """Send the first requests; `done` is set when the time is over and all were answered."""
        self._until_ns = time.monotonic_ns() + int(seconds * 1e9)
        for _ in range(self._window):
            self._place()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take an answer; a placed order is canceled, a canceled one replaced by the next."""
        if frame.msg_type == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        if frame.msg_type != WSMsgType.TEXT:
            return
        now_ns = time.monotonic_ns()
        answer: dict[str, Any] = orjson.loads(frame.get_payload_as_bytes())
        number = str(answer["id"])
        self.load.round_trips_ns.append(now_ns - self._sent.pop(number))
        is_refused = answer["status"] != 200
        self.load.refused += is_refused
        if number[0] == "p" and not is_refused:
            name = number[1:]
            terms = {"apiKey": self._key["api_key"], "origClientOrderId": name, "recvWindow": 60_000}
            self._send("c" + name, "order.cancel", {**terms, "symbol": self._terms["symbol"]})
            return
        self.load.orders += not is_refused
        if now_ns < self._until_ns:
            self._place()
        elif not self._sent:
            self.done.set()

    def _place(self) -> None:
        self._count += 1
        name = f"load{self._count:018d}"
        self._send("p" + name, "order.place", {**self._terms, "newClientOrderId": name})

    def _send(self, number: str, method: str, params: dict[str, Any]) -> None:
        params["timestamp"] = time.time_ns() // 1_000_000
        payload = "&".join(f"{name}={value}" for name, value in sorted(params.items()))
        params["signature"] = hmac.digest(self._key["secret"].encode(), payload.encode(), "sha256").hex()
        assert self._transport is not None
        self._sent[number] = time.monotonic_ns()
        self._transport.send(WSMsgType.TEXT, orjson.dumps({"id": number, "method": method, "params": params}))


async def measure_orders(ready: dict[str, Any], seconds: float, window: int, pid: int = 0) -> OrderLoad:
    """Load a running venue and return what it took.

    Args:
        ready: its ready line.
        seconds: how long.
        window: requests under way.
        pid: of the venue, to say how busy it was; 0 = it is not asked.
    """
    trading = ready["trading"]
    key = next(one for one in trading["keys"] if one["kind"] == "hmac")

    def make() -> LoadClient:
        return LoadClient(key, "BTCUSDT", "50000.00", "0.010", window)

    transport, client = await ws_connect(make, trading["order"])
    assert isinstance(client, LoadClient), type(client)
    cpu, started_ns = _cpu_s(pid), time.monotonic_ns()
    client.begin(seconds)
    await client.done.wait()
    client.load.seconds = (time.monotonic_ns() - started_ns) / 1e9
    client.load.venue_cpu = (_cpu_s(pid) - cpu) / client.load.seconds if pid else 0.0
    transport.disconnect()
    return client.load


def _cpu_s(pid: int) -> float:
    if not pid:
        return 0.0
    with open(f"/proc/{pid}/stat", encoding="ascii") as stream:
        fields = stream.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_load(seconds: float = 5.0, window: int = 64, rate: float = 1000.0) -> dict[str, float]:
    """Start a venue, load it, end it; return the figures."""
    import uvloop

    argv = [sys.executable, "-P", "-m", "tools.venues", "binance_usdm", "--limits", "0", "--rate", str(rate),
            "--start", "immediately", "--parent-pid", str(os.getpid())]  # fmt: skip
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as venue:
        try:
            assert venue.stdout is not None
            ready = orjson.loads(venue.stdout.readline())
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                load = runner.run(
                    asyncio.wait_for(measure_orders(ready, seconds, window, venue.pid), seconds + START_S)
                )
        finally:
            venue.terminate()
    return load.figures()


if __name__ == "__main__":
    print(
        orjson.dumps(
            run_load(
                float(sys.argv[1]) if len(sys.argv) > 1 else 5.0,
                int(sys.argv[2]) if len(sys.argv) > 2 else 64,
            )
        ).decode()
    )
