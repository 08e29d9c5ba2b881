"""The REST client: replies are values, silence and damage are errors, and the budget is obeyed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from feeds.errors import TransportError
from feeds.transport.rest import HttpReply, RestClient
from feeds.transport.throttle import SECOND_NS, TokenBucket
from feeds.transport.tls import client_context


class Clock:
    """Virtual time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.sleeps: list[float] = []

    def read(self) -> int:
        return self.now_ns

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now_ns += round(seconds * SECOND_NS)


def answer(status: str = "200 OK", body: bytes = b"{}", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body


async def with_server(reply: bytes | None, use: Callable[[str], object]) -> list[bytes]:
    """Run `use(url)` against a server that sends `reply` to each request; None = never answers."""
    requests: list[bytes] = []
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while True:
            try:
                requests.append(await reader.readuntil(b"\r\n\r\n"))
            except asyncio.IncompleteReadError:
                break
            if reply is None:
                continue
            writer.write(reply)
            await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        await use(f"http://127.0.0.1:{port}")  # type: ignore[misc]
    finally:
        server.close()
        for writer in writers:
            writer.close()
    return requests


def test_a_reply_carries_status_body_and_headers() -> None:
    async def use(url: str) -> None:
        client = RestClient(url, now_ns=lambda: 0)
        reply = await client.send("GET", "/fapi/v1/depth?symbol=BTCUSDT&limit=1000", 20)
        assert reply.is_ok
        assert (reply.body, reply.headers["x-mbx-used-weight-1m"]) == (b'{"a":1}', "37")
        await client.close()

    requests = asyncio.run(with_server(answer(body=b'{"a":1}', headers="X-MBX-USED-WEIGHT-1M: 37\r\n"), use))
    assert requests[0].startswith(b"GET /fapi/v1/depth?symbol=BTCUSDT&limit=1000 HTTP/1.1")


def test_the_venues_used_weight_corrects_the_budget() -> None:
    budget = TokenBucket(2400, 40.0)

    async def use(url: str) -> None:
        client = RestClient(url, now_ns=lambda: 0, budget=budget, used_weight_header="x-mbx-used-weight-1m")
        await client.send("GET", "/", 20)
        await client.close()

    asyncio.run(with_server(answer(headers="X-MBX-USED-WEIGHT-1M: 2000\r\n"), use))
    assert budget.available(0) == 400


def test_a_spent_budget_is_waited_for() -> None:
    clock, budget = Clock(), TokenBucket(20, 10.0)

    async def use(url: str) -> None:
        client = RestClient(url, now_ns=clock.read, budget=budget, sleep=clock.sleep)
        for _ in range(2):
            await client.send("GET", "/", 20)
        with pytest.raises(TransportError, match="weight 21 is beyond"):
            await client.send("GET", "/", 21)
        await client.close()

    assert len(asyncio.run(with_server(answer(), use))) == 2
    assert clock.sleeps == [2.0]


@pytest.mark.parametrize(
    ("status", "headers", "wait"), [("429 Slow", "Retry-After: 7\r\n", 7.0), ("418 Ban", "", 60.0)]
)
def test_a_refusal_is_a_reply_and_keeps_us_away(status: str, headers: str, wait: float) -> None:
    clock = Clock()

    async def use(url: str) -> None:
        client = RestClient(url, now_ns=clock.read, sleep=clock.sleep)
        reply = await client.send("GET", "/")
        assert not reply.is_ok
        assert (await client.send("GET", "/")).status == reply.status
        assert client.refusals == 2
        await client.close()

    assert len(asyncio.run(with_server(answer(status, headers=headers), use))) == 2
    assert clock.sleeps == [wait]


def test_no_answer_is_an_error_that_names_the_address() -> None:
    async def use(url: str) -> None:
        client = RestClient(url, now_ns=lambda: 0, timeout_s=0.05)
        with pytest.raises(TransportError, match=r"GET http://127.0.0.1:\d+/x: "):
            await client.send("GET", "/x")
        assert client.failures == 1
        await client.close()

    asyncio.run(with_server(None, use))


def test_a_refused_connection_is_an_error_that_names_the_address() -> None:
    async def run() -> None:
        with socket.socket() as bound:  # nobody listens, and nobody else can
            bound.bind(("127.0.0.1", 0))
            port = bound.getsockname()[1]
            client = RestClient(f"http://127.0.0.1:{port}", now_ns=lambda: 0)
            with pytest.raises(TransportError, match=f"127.0.0.1:{port}/x"):
                await client.send("GET", "/x")
            await client.close()

    asyncio.run(run())


def test_a_broken_transfer_is_an_error() -> None:
    async def use(url: str) -> None:
        client = RestClient(url, now_ns=lambda: 0)
        with pytest.raises(TransportError):
            await client.send("GET", "/")
        await client.close()

    asyncio.run(with_server(b"nonsense\r\n\r\n", use))


def test_a_body_over_the_limit_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feeds.transport.rest.BODY_BYTES_MAX", 10)

    async def use(url: str) -> None:
        client = RestClient(url, now_ns=lambda: 0)
        with pytest.raises(TransportError, match="body over 10 bytes"):
            await client.send("GET", "/")
        await client.close()

    asyncio.run(with_server(answer(body=b"x" * 11), use))


def test_retry_after_that_is_no_number_is_ignored() -> None:
    assert HttpReply(429, b"", {"retry-after": "soon"}).retry_after_ns == 0


def test_a_ca_file_that_can_not_be_used_is_named(tmp_path: object) -> None:
    with pytest.raises(TransportError, match="nothere"):
        client_context(f"{tmp_path}/nothere.pem")
    assert client_context() is not None
