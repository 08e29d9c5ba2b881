"""Load on a simulated venue: `python -P -m tests.tools.venue_load okx --instruments 400 --rate 150000`.

Starts the venue, subscribes every instrument's depth, best bid and offer and trades over a few connections,
reads everything for so long and prints one JSON line: what the venue sent, how late, and what came.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import subprocess
import sys
import time

import orjson
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

DEPTHS = {
    "okx": ("books-l2-tbt", "bbo-tbt", "trades"),
    "bybit_linear": ("orderbook.50", "orderbook.1", "publicTrade"),
    "bybit_spot": ("orderbook.50", "orderbook.1", "publicTrade"),
    "binance_usdm": ("depth@0ms", "bookTicker", "aggTrade"),
}
PATHS = {
    "okx": "/ws/v5/public",
    "bybit_linear": "/v5/public/linear",
    "bybit_spot": "/v5/public/spot",
    "binance_usdm": "/ws",
}


class Counter(WSListener):
    """Counts frames and bytes; the text is not looked at."""

    def __init__(self) -> None:
        self.frames = 0
        self.bytes = 0
        self.transport: WSTransport | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.frames += 1
        self.bytes += frame.payload_size


def requests(venue: str, symbols: list[str]) -> list[bytes]:
    streams = DEPTHS[venue]
    if venue == "okx":
        args = [{"channel": channel, "instId": symbol} for symbol in symbols for channel in streams]
        return [
            orjson.dumps({"op": "subscribe", "args": args[i : i + 100]}) for i in range(0, len(args), 100)
        ]
    if venue == "binance_usdm":
        names = [f"{symbol.lower()}@{stream}" for symbol in symbols for stream in streams]
        return [orjson.dumps({"method": "SUBSCRIBE", "params": names, "id": 1})]
    topics = [f"{stream}.{symbol}" for symbol in symbols for stream in streams]
    return [orjson.dumps({"op": "subscribe", "args": topics[i : i + 10]}) for i in range(0, len(topics), 10)]


async def read(
    venue: str, address: str, symbols: list[str], connections: int, seconds: float
) -> list[Counter]:
    counters: list[Counter] = []
    for number in range(connections):
        _, listener = await ws_connect(Counter, address + PATHS[venue])
        assert isinstance(listener, Counter), type(listener)
        assert listener.transport is not None
        for message in requests(venue, symbols[number::connections]):
            listener.transport.send(WSMsgType.TEXT, message)
        counters.append(listener)
    await asyncio.sleep(seconds)
    return counters


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("venue", choices=sorted(DEPTHS))
    parser.add_argument("--instruments", type=int, default=400)
    parser.add_argument("--rate", type=int, default=150_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=3)
    parser.add_argument("--pace", choices=("every-change", "venue"), default="every-change")
    chosen = parser.parse_args()
    argv = [sys.executable, "-P", "-m", "tools.venues", chosen.venue,
            "--instruments", str(chosen.instruments),
            "--rate", str(chosen.rate), "--clients", str(chosen.connections), "--stats", "json"]  # fmt: skip
    if chosen.pace == "every-change" and chosen.venue != "binance_usdm":
        argv.append("--every-change")
    started = time.monotonic()
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        ready = orjson.loads(process.stdout.readline())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            counters = runner.run(
                read(chosen.venue, ready["ws"], ready["symbols"], chosen.connections, chosen.seconds)
            )
        process.send_signal(signal.SIGTERM)
        statistics = orjson.loads(process.stdout.readline())
    frames = sum(one.frames for one in counters)
    sent_s = statistics["seconds"]
    report = {
        "argv": argv[4:],
        "received_per_s": round(frames / sent_s),
        "received_bytes_per_s": round(sum(one.bytes for one in counters) / sent_s),
        "updates_per_s": statistics["updates_per_s"],
        "venue_cpu_share": round(statistics["cpu_s"] / (time.monotonic() - started), 3),
        **{
            name: value
            for name, value in statistics.items()
            if name.startswith(("lateness", "frames", "slow"))
        },
    }
    print(orjson.dumps(report).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
