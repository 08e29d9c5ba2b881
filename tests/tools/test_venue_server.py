"""The simulated venue over real sockets: requests, replies, limits, misbehaving clients."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from picows import WSError, WSMsgType

from tests.tools.venue_kit import NaiveBook, connect, get, serve_by, with_venue
from tools.venues.binance_usdm import BinanceUsdm
from tools.venues.errors import ListenError
from tools.venues.protocol import HttpReply, HttpRequest
from tools.venues.rest import RestServer
from tools.venues.run import VenueRun, VenueSettings
from tools.venues.synthetic_source import SyntheticSettings

SILENT = SyntheticSettings(instruments=3, rate_per_s=0.0)
BUSY = SyntheticSettings(instruments=3, rate_per_s=20_000.0, update_limit=6000, seed=3)


def error_of(reply: Any) -> tuple[int, str]:
    return reply["error"]["code"], reply["error"]["msg"]


def test_subscriptions_are_made_listed_and_dropped() -> None:
    async def check(run: VenueRun) -> None:
        client = await connect(run, "/public/ws")
        names = ["btcusdt@depth@100ms", "ethusdt@bookTicker"]
        assert await client.ask({"method": "SUBSCRIBE", "params": names, "id": 1}) == {
            "result": None,
            "id": 1,
        }
        assert await client.ask({"method": "LIST_SUBSCRIPTIONS", "id": 2}) == {"result": names, "id": 2}
        reply = await client.ask({"method": "UNSUBSCRIBE", "params": names[:1], "id": 3})
        assert reply == {"result": None, "id": 3}
        assert (await client.ask({"method": "LIST_SUBSCRIPTIONS", "id": 4}))["result"] == names[1:]

    with_venue(SILENT, check)


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (b'{"method": ', 3, "Invalid JSON"),
        (b"[1]", 2, "expected an object"),
        ({"method": "SUBSCRIBE", "params": ["btcusdt@depth"]}, 2, "request ID must be an unsigned integer"),
        ({"method": "SUBSCRIBE", "params": ["btcusdt@depth"], "id": -1}, 2, "request ID"),
        ({"id": 1}, 2, "missing field `method`"),
        ({"method": "JOIN", "id": 1}, 2, "unknown variant `JOIN`"),
        ({"method": "SUBSCRIBE", "params": ["btcusdt@depth"], "id": 1, "x": 1}, 2, "unknown field `x`"),
        ({"method": "SUBSCRIBE", "params": [], "id": 1}, 2, "params must be a list"),
        ({"method": "SUBSCRIBE", "params": ["nopeusdt@depth"], "id": 1}, 2, "unknown stream nopeusdt@depth"),
        ({"method": "SUBSCRIBE", "params": ["BTCUSDT@depth"], "id": 1}, 2, "unknown stream BTCUSDT@depth"),
        ({"method": "SUBSCRIBE", "params": ["btcusdt@candles"], "id": 1}, 2, "unknown stream"),
        (
            {"method": "SUBSCRIBE", "params": ["btcusdt@aggTrade"], "id": 1},
            2,
            "is served under /market, not /public",
        ),
        ({"method": "SET_PROPERTY", "params": ["depth", True], "id": 1}, 0, "Unknown property"),
        ({"method": "SET_PROPERTY", "params": ["combined", 1], "id": 1}, 1, "expected Boolean"),
    ],
)
def test_wrong_requests_get_a_precise_error(request_: object, code: int, words: str) -> None:
    async def check(run: VenueRun) -> None:
        client = await connect(run, "/public/ws")
        reply = await client.ask(request_)
        assert error_of(reply)[0] == code
        assert words in error_of(reply)[1]
        # the connection is still good, and nothing was half done
        assert (await client.ask({"method": "LIST_SUBSCRIPTIONS", "id": 9}))["result"] == []

    with_venue(SILENT, check)


def test_silent_misuse_is_acknowledged_and_never_served() -> None:
    async def check(run: VenueRun) -> None:
        client = await connect(run, "/public/ws")
        names = ["btcusdt@aggTrade", "nopeusdt@depth"]
        assert await client.ask({"method": "SUBSCRIBE", "params": names, "id": 1}) == {
            "result": None,
            "id": 1,
        }
        assert run.source.streams["btcusdt@aggTrade"].subscribers == 0

    with_venue(SILENT, check, strict=False)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 404),
        ("/public", 404),
        ("/public/stream/x", 404),
        ("/private/nope", 404),
        ("/private/ws/nolistenkey", 400),
        ("/public/ws/btcusdt@aggTrade", 400),
        ("/market/stream?streams=btcusdt@depth", 400),
        ("/public/ws/nopeusdt@depth", 400),
    ],
)
def test_a_wrong_path_is_refused_at_the_upgrade(path: str, status: int) -> None:
    async def check(run: VenueRun) -> None:
        with pytest.raises(WSError, match=str(status)):
            await connect(run, path)
        assert run.hub.statistics.refused_upgrades == 1

    with_venue(SILENT, check)


def test_combined_streams_are_wrapped_and_raw_ones_are_not() -> None:
    async def check(run: VenueRun) -> None:
        wrapped = await connect(run, "/public/stream?streams=btcusdt@depth@0ms/ethusdt@bookTicker")
        raw = await connect(run, "/public/ws/btcusdt@depth@0ms/ethusdt@bookTicker")
        trades = await connect(run, "/market/stream?streams=btcusdt@aggTrade/btcusdt@trade")
        await asyncio.gather(*(c.until(lambda c: len(c.frames) > 100) for c in (wrapped, raw, trades)))
        first = [orjson.loads(frame) for frame in wrapped.frames]
        assert {one["stream"] for one in first} == {"btcusdt@depth@0ms", "ethusdt@bookTicker"}
        bare = [orjson.loads(frame) for frame in raw.frames]
        n = min(len(first), len(bare))
        assert [one["data"] for one in first[:n]] == bare[:n]
        assert {orjson.loads(f)["data"]["e"] for f in trades.frames} == {"aggTrade", "trade"}

    with_venue(SyntheticSettings(3, 20_000.0, 3), check, clients_wanted=3)


def test_a_subscriber_rebuilds_the_book_that_rest_gives() -> None:
    async def check(run: VenueRun) -> None:
        client = await connect(run, "/ws")
        await client.ask(
            {"method": "SUBSCRIBE", "params": ["btcusdt@depth@0ms", "btcusdt@bookTicker"], "id": 1}
        )
        await client.until(lambda c: len(c.frames) > 200)
        status, _, body = await get(run, "/fapi/v1/depth?symbol=BTCUSDT&limit=1000")
        assert status == 200
        assert run._play is not None
        await run._play
        _, _, final_body = await get(run, "/fapi/v1/depth?symbol=BTCUSDT&limit=500")
        final = orjson.loads(final_body)
        await client.until(lambda c: b'"u":%d,' % final["lastUpdateId"] in c.frames[-1])
        messages = [orjson.loads(frame) for frame in client.frames[1:]]
        book = NaiveBook()
        assert book.follow(orjson.loads(body), [m for m in messages if m["e"] == "depthUpdate"]) > 100
        assert (final["bids"], final["asks"]) == book.top(500)
        assert final["lastUpdateId"] == book.last

    run = with_venue(BUSY, check)
    assert run.statistics()["frames"]["depth"] > 1000  # type: ignore[index]


def test_rest_answers_and_counts_weight() -> None:
    async def check(run: VenueRun) -> None:
        serve_by(run, BinanceUsdm(now_s=lambda: 0.0))
        assert (await get(run, "/fapi/v1/ping"))[::2] == (200, b"{}")
        status, headers, body = await get(run, "/fapi/v1/time")
        assert (status, headers["x-mbx-used-weight-1m"]) == (200, "2")
        assert orjson.loads(body)["serverTime"] > 1_600_000_000_000
        info = orjson.loads((await get(run, "/fapi/v1/exchangeInfo"))[2])
        assert [row["symbol"] for row in info["symbols"]] == list(run.source.symbols)
        assert info["symbols"][0]["filters"][0]["tickSize"] == "0.10"
        depth = orjson.loads((await get(run, "/fapi/v1/depth?symbol=ETHUSDT&limit=5"))[2])
        assert len(depth["bids"]) == len(depth["asks"]) == 5
        status, headers, _ = await get(run, "/fapi/v1/depth?symbol=ETHUSDT&limit=1000")
        assert headers["x-mbx-used-weight-1m"] == str(3 + 2 + 20)

    with_venue(SILENT, check)


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("/fapi/v1/depth", 400, -1102),
        ("/fapi/v1/depth?symbol=NOPE", 400, -1121),
        ("/fapi/v1/depth?symbol=BTCUSDT&limit=7", 400, -4021),
        ("/fapi/v1/depth?symbol=BTCUSDT&limit=x", 400, -4021),
        ("/fapi/v2/nothing", 404, -5000),
    ],
)
def test_wrong_rest_requests_get_the_venues_error(target: str, status: int, code: int) -> None:
    async def check(run: VenueRun) -> None:
        got, _, body = await get(run, target)
        assert (got, orjson.loads(body)["code"]) == (status, code)

    with_venue(SILENT, check)


def test_weight_beyond_the_limit_is_refused() -> None:
    async def check(run: VenueRun) -> None:
        serve_by(run, BinanceUsdm(now_s=lambda: 0.0))  # no minute turns over in between
        answers = [await get(run, "/fapi/v1/depth?symbol=BTCUSDT&limit=1000") for _ in range(122)]
        assert [status for status, _, _ in answers] == [200] * 120 + [429] * 2
        _, headers, body = answers[-1]
        assert orjson.loads(body)["code"] == -1003
        assert int(headers["retry-after"]) >= 1

    with_venue(SILENT, check)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET /fapi/v1/ping HTTP/1.1\r\n\r\n", 400),
        (b"GET /fapi/v1/ping\r\n\r\n", 400),
        (b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"\xff\xfe / HTTP/1.1\r\n\r\n", 400),
        (b"DELETE /fapi/v1/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
    ],
)
def test_rest_is_strict(raw: bytes, status: int) -> None:
    async def check(run: VenueRun) -> None:
        assert (await get(run, "", raw))[0] == status

    with_venue(SILENT, check)


def test_rest_keeps_a_connection_for_several_requests() -> None:
    async def check(run: VenueRun) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", run.rest.port)
        writer.write(b"GET /fapi/v1/ping HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        for _ in range(3):
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"200 OK" in head
            assert await reader.readexactly(2) == b"{}"
        writer.close()

    with_venue(SILENT, check)


def test_an_oversized_request_closes_the_connection() -> None:
    async def check(run: VenueRun) -> None:
        client = await connect(run, "/ws")
        assert client.transport is not None
        client.transport.send(WSMsgType.TEXT, b" " * 100_000)
        await client.until(lambda c: c.closed is not None)
        assert client.closed is not None
        assert client.closed[0] == 1009

    assert with_venue(SILENT, check).hub.statistics.protocol_errors == 1


def test_a_stop_ends_idle_and_unanswered_connections_without_an_error() -> None:
    errors: list[dict[str, Any]] = []

    async def story() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: errors.append(context))
        asked = asyncio.Event()

        async def never(_request: HttpRequest) -> HttpReply:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError

        server = RestServer(never)
        await server.start("127.0.0.1", 0, None)
        idle = await asyncio.open_connection("127.0.0.1", server.port)
        busy = await asyncio.open_connection("127.0.0.1", server.port)
        busy[1].write(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
        await asked.wait()
        await server.stop()
        for reader, writer in (idle, busy):
            with suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()

    asyncio.run(story())
    assert errors == []


def test_fragments_are_joined_and_bounded() -> None:
    async def check(run: VenueRun) -> None:
        client = await connect(run, "/ws")
        assert client.transport is not None
        text = orjson.dumps({"method": "LIST_SUBSCRIPTIONS", "id": 5})
        client.transport.send(WSMsgType.TEXT, text[:10], fin=False)
        client.transport.send(WSMsgType.CONTINUATION, text[10:])
        await client.until(lambda c: bool(c.frames))
        assert orjson.loads(client.frames[0]) == {"result": [], "id": 5}
        client.transport.send(WSMsgType.TEXT, b" " * 60_000, fin=False)
        client.transport.send(WSMsgType.CONTINUATION, b" " * 60_000)
        await client.until(lambda c: c.closed is not None)
        assert client.closed is not None
        assert client.closed[0] == 1009

    with_venue(SILENT, check)


def test_too_many_requests_a_second_end_the_connection() -> None:
    async def check(run: VenueRun) -> None:
        client = await connect(run, "/ws")
        assert client.transport is not None
        for number in range(30):
            client.transport.send(
                WSMsgType.TEXT, orjson.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number})
            )
        await client.until(lambda c: c.closed is not None)
        assert client.closed is not None
        assert client.closed[0] == 1008

    assert with_venue(SILENT, check).hub.statistics.over_limit_disconnects == 1


def test_a_binary_frame_is_not_taken() -> None:
    async def check(run: VenueRun) -> None:
        client = await connect(run, "/ws")
        assert client.transport is not None
        client.transport.send(WSMsgType.BINARY, b"{}")
        await client.until(lambda c: c.closed is not None)
        assert client.closed is not None
        assert client.closed[0] == 1003

    with_venue(SILENT, check)


def test_a_client_that_does_not_read_is_cut_and_others_go_on() -> None:
    async def check(run: VenueRun) -> None:
        good = await connect(run, "/public/ws/btcusdt@depth@0ms")
        lazy = socket.create_connection(("127.0.0.1", run.hub.port))
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.sendall(
            b"GET /public/ws/btcusdt@depth@0ms/btcusdt@bookTicker HTTP/1.1\r\nHost: x\r\n"
            b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        statistics = run.hub.statistics
        await good.until(lambda _: statistics.slow_disconnects == 1)
        assert good.closed is None
        seen = len(good.frames)
        await good.until(lambda c: len(c.frames) > seen + 10)
        lazy.close()

    market = SyntheticSettings(instruments=1, rate_per_s=400_000.0)
    # Behind a stall a batch is 10 ms of this market: far less than that is no proof that somebody is slow.
    run = with_venue(market, check, buffer_bytes_max=4_000_000, clients_wanted=2)
    assert run.hub.statistics.disconnects["POLICY_VIOLATION"] == 1


def test_a_half_closed_socket_is_let_go() -> None:
    async def check(run: VenueRun) -> None:
        other = await connect(run, "/public/ws/btcusdt@bookTicker")
        client = await connect(run, "/public/ws/btcusdt@bookTicker")
        assert client.transport is not None
        raw = client.transport.underlying_transport.get_extra_info("socket")
        socket.socket(fileno=os.dup(raw.fileno())).shutdown(socket.SHUT_WR)
        await other.until(lambda _: len(run.hub.clients) == 1)
        await other.until(lambda c: len(c.frames) > 5)

    with_venue(SyntheticSettings(1, 2000.0), check)


def test_pings_are_sent_and_pongs_awaited() -> None:
    async def check(run: VenueRun) -> None:
        client = await connect(run, "/ws")
        await client.until(lambda c: len(c.pings) >= 2)

    with_venue(SILENT, check, ping_interval_s=0.05)


def test_a_client_without_pongs_is_closed() -> None:
    async def check(run: VenueRun) -> None:
        run.protocol.limits = replace(run.protocol.limits, pong_timeout_s=0.01)
        client = await connect(run, "/ws")
        client.answers_pings = False
        await client.until(lambda c: c.closed is not None)
        assert client.closed == (1008, "no pong in time")

    with_venue(SILENT, check, ping_interval_s=0.05)


def test_a_connection_ends_after_its_lifetime() -> None:
    async def check(run: VenueRun) -> None:
        client = await connect(run, "/ws")
        await client.until(lambda c: c.closed is not None)
        assert client.closed == (1001, "connection lifetime is over")

    with_venue(SILENT, check, connection_s=0.05)


def test_tls_is_verified_against_the_ca_of_the_ready_line() -> None:
    pytest.importorskip("cryptography")
    seen: list[Path] = []

    async def check(run: VenueRun) -> None:
        ca = run.ready["ca"]
        assert isinstance(ca, str)
        seen.append(Path(ca))
        assert str(run.ready["ws"]).startswith("wss://")
        trusted = ssl.create_default_context(cafile=ca)
        client = await connect(run, "/public/ws/btcusdt@bookTicker", trusted)
        await client.until(lambda c: len(c.frames) > 20)
        with pytest.raises(ssl.SSLError):
            await connect(run, "/ws", ssl.create_default_context())
        reader, writer = await asyncio.open_connection("127.0.0.1", run.rest.port, ssl=trusted)
        writer.write(b"GET /fapi/v1/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"{}")
        writer.close()

    with_venue(SyntheticSettings(1, 2000.0), check, tls=True)
    assert not seen[0].exists()


def test_a_port_in_use_is_named() -> None:
    async def check(run: VenueRun) -> None:
        other = VenueRun(VenueSettings(market=SILENT, ws_port=run.hub.port))
        with pytest.raises(ListenError, match=f"127.0.0.1:{run.hub.port}"):
            await other.hub.start("127.0.0.1", run.hub.port, None)

    with_venue(SILENT, check)


def test_liquidations_and_listings_have_their_streams() -> None:
    async def test(run: VenueRun) -> None:
        client = await connect(run, "/market/stream?streams=!forceOrder@arr/!contractInfo/btcusdt@forceOrder")
        await run.source_done()
        await client.until(lambda one: sum(b"contractInfo" in frame for frame in one.frames) == 4)
        found: dict[str, list[dict[str, Any]]] = {}
        for frame in client.frames:
            message = orjson.loads(frame)
            found.setdefault(message["stream"], []).append(message["data"])
        everyone = [event["o"] for event in found["!forceOrder@arr"]]
        own = [event["o"] for event in found["btcusdt@forceOrder"]]
        assert own
        assert own == [order for order in everyone if order["s"] == "BTCUSDT"]
        assert {order["S"] for order in everyone} <= {"BUY", "SELL"}
        states = [(event["s"], event["cs"]) for event in found["!contractInfo"]]
        new, old = run.source.instruments()[-1].symbol, "SYM000USDT"
        assert states == [(new, "PENDING_TRADING"), (old, "SETTLING"), (new, "TRADING"), (old, "CLOSE")]
        rows = orjson.loads((await get(run, "/fapi/v1/exchangeInfo"))[2])["symbols"]
        assert {row["symbol"]: row["status"] for row in rows}[old] == "CLOSE"

    market = SyntheticSettings(3, 200_000.0, 3, update_limit=80_000, list_after_s=0.1, delist_after_s=0.12)
    with_venue(market, test)
