"""Listener and connection against a real loopback server: stamps, fragments, faults, reconnects, TLS."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop
from picows import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_connect,
    ws_create_server,
)

from feeds.session import SessionSettings
from feeds.transport.reconnect import ReconnectPolicy
from feeds.transport.tls import client_context
from feeds.transport.websocket import CallbackListener, FeedConnection
from shm.clock import now_ns
from tests.kit.feed_rig import Rig, depth, snapshot_body, trade

BTC = "BTCUSDT"
FAST = ReconnectPolicy(initial_ns=1, maximum_ns=1, jitter=0.0)
#: A signal that strikes inside a task ends that task and nobody else: a thread ends a test that hangs.
pytestmark = pytest.mark.timeout(120, method="thread")


class Peer(WSListener):
    """One accepted connection: what it received, and its transport."""

    def __init__(self, server: Server, path: str) -> None:
        self.server = server
        self.path = path
        self.received: list[bytes] = []
        self.pongs = 0

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        self.server.arrived.put_nowait(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            self.received.append(frame.get_payload_as_bytes())
            self.server.messages.put_nowait(self.received[-1])
        elif frame.msg_type == WSMsgType.PONG:
            self.server.messages.put_nowait(b"pong")
        elif frame.msg_type == WSMsgType.CLOSE:
            self.server.messages.put_nowait(b"close %d" % int(frame.get_close_code().value))
            transport.disconnect()

    def text(self, frame: bytes) -> None:
        self.transport.send(WSMsgType.TEXT, frame)


class Server:
    """A websocket server on a free loopback port."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[Peer] = asyncio.Queue()
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        def accept(request: WSUpgradeRequest) -> WSListener:
            return Peer(self, request.path.decode())

        self.server = await ws_create_server(accept, "127.0.0.1", 0, ssl=context)
        scheme = "wss" if context else "ws"
        self.url = f"{scheme}://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/public/stream"


def running(
    use: Callable[[Server], Coroutine[Any, Any, None]], context: ssl.SSLContext | None = None
) -> None:
    async def run() -> None:
        server = Server()
        await server.start(context)
        try:
            await use(server)
        finally:
            server.server.close()

    # The engine runs on uvloop; replays and outside tools may not.
    for factory in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(run())


class Event:
    """Lets a test wait for the session: every frame and disconnect wakes it."""

    def __init__(self, rig: Rig) -> None:
        self._changed = asyncio.Event()
        session: Any = rig.session
        for name in ("on_result", "on_connected", "on_disconnected"):
            setattr(session, name, self._wrap(getattr(session, name)))

    def _wrap(self, inner: Callable[..., object]) -> Callable[..., object]:
        def outer(*args: Any) -> object:
            try:
                return inner(*args)
            finally:
                self._changed.set()

        return outer

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()


def connection(rig: Rig, url: str, **more: Any) -> FeedConnection:
    return FeedConnection(url, rig.session, 0, random=lambda: 0.0, **{"policy": FAST, **more})


async def settled(condition: Callable[[], bool]) -> None:
    """Let the loop run until what is already under way has come to its end."""
    while not condition():
        await asyncio.sleep(0)


async def ended(line: FeedConnection, task: asyncio.Task[None]) -> None:
    line.close()
    await task


def test_frames_reach_the_book_stamped_on_arrival() -> None:
    async def use(server: Server) -> None:
        rig = Rig()
        rig.core.virtual_now_ns = 0
        events = Event(rig)
        line = connection(rig, server.url, subscribe=[b'{"method":"SUBSCRIBE"}'])
        task = asyncio.ensure_future(line.run())
        peer = await server.arrived.get()
        await settled(lambda: line.is_connected)
        assert peer.path == "/public/stream"
        assert await server.messages.get() == b'{"method":"SUBSCRIBE"}'
        before = now_ns()
        peer.text(depth(BTC, 95, 100, 90))
        await events.until(lambda: bool(rig.requests))
        rig.session.on_snapshot(0, snapshot_body(98), now_ns())
        assert rig.state() == "LIVE"
        certificate = rig.core.certificate(0)
        assert certificate is not None
        assert before <= certificate.data_ns <= now_ns()
        assert before <= rig.slab.stream_alive_ns(0) <= now_ns()
        peer.text(depth(BTC, 101, 105, 100))
        peer.text(b"garbage, to be told when the update before it is through")
        await events.until(lambda: len(rig.session.rejections) == 1)
        assert rig.core.proven_sequence(0) == 105
        assert line.statistics() == {
            "connects": 1,
            "connect_errors": 0,
            "frames": 3,
            "faults": 0,
            "oversized": 0,
        }
        await ended(line, task)
        assert rig.state() == "STALE"

    running(use)


def test_a_fragmented_message_is_put_together() -> None:
    async def use(server: Server) -> None:
        rig = Rig()
        events = Event(rig)
        line = connection(rig, server.url)
        task = asyncio.ensure_future(line.run())
        peer = await server.arrived.get()
        frame = depth(BTC, 95, 100, 90)
        peer.transport.send(WSMsgType.TEXT, frame[:50], fin=False)
        peer.transport.send(WSMsgType.CONTINUATION, frame[50:90], fin=False)
        peer.transport.send(WSMsgType.PING, b"between")
        peer.transport.send(WSMsgType.CONTINUATION, frame[90:], fin=True)
        await events.until(lambda: bool(rig.requests))
        assert await server.messages.get() == b"pong"
        assert line.statistics()["frames"] == 1, "pings are no sign of life of a stream"
        await ended(line, task)

    running(use)


def test_a_fragmented_message_over_the_bound_ends_the_connection() -> None:
    async def use(server: Server) -> None:
        rig = Rig()
        line = connection(rig, server.url, frame_bytes_max=1000)
        task = asyncio.ensure_future(line.run())
        peer = await server.arrived.get()
        peer.transport.send(WSMsgType.TEXT, b"x" * 600, fin=False)
        peer.transport.send(WSMsgType.CONTINUATION, b"x" * 600, fin=False)
        await server.arrived.get()
        assert line.statistics()["oversized"] == 1
        assert "over 1000 bytes" in line.last_error
        assert await server.messages.get() == b"close 1009"
        await ended(line, task)

    running(use)


def test_a_raising_handler_is_counted_and_the_connection_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def use(server: Server) -> None:
        def explode(number: int) -> None:
            raise ValueError(f"no way to ask for {number}")

        rig = Rig(request_snapshot=explode)
        events = Event(rig)
        line = connection(rig, server.url)
        task = asyncio.ensure_future(line.run())
        peer = await server.arrived.get()
        await settled(lambda: line.is_connected)
        peer.text(depth(BTC, 95, 100, 90))
        peer.text(b"garbage")
        await events.until(lambda: len(rig.session.rejections) == 1)
        assert line.statistics()["faults"] == 1
        assert line.listener is not None
        assert line.listener.last_fault == "ValueError('no way to ask for 0')"
        assert line.statistics()["connects"] == 1
        await ended(line, task)

    with caplog.at_level(logging.ERROR):
        running(use)
    assert "no way to ask for 0" in caplog.text, "a fault is never silent"


def test_closing_during_an_attempt_ends_it() -> None:
    async def use(server: Server) -> None:
        line = connection(Rig(), server.url)
        task = asyncio.ensure_future(line.run())
        await server.arrived.get()
        assert not line.is_connected, "the answer to the handshake is still on its way"
        await ended(line, task)
        assert not line.is_connected

    running(use)


def test_a_lost_connection_is_made_again_and_subscribed_again() -> None:
    async def use(server: Server) -> None:
        rig = Rig()
        events = Event(rig)
        line = connection(rig, server.url, subscribe=[b"one", b"two"], sleep=_no_wait)
        task = asyncio.ensure_future(line.run())
        for _ in range(3):
            peer = await server.arrived.get()
            assert [await server.messages.get() for _ in range(2)] == [b"one", b"two"]
            peer.text(depth(BTC, 95, 100, 90))
            peer.transport.disconnect(False)
        peer = await server.arrived.get()
        assert rig.session.statistics()["disconnects"] == 3
        await settled(lambda: line.connects == 4)
        peer.transport.send_close(WSCloseCode.GOING_AWAY, b"24 hours")
        await server.arrived.get()
        assert "code 1001 24 hours" in line.last_error
        await events.until(lambda: rig.session.statistics()["connects"] == 5)
        await ended(line, task)

    running(use)


async def _no_wait(_seconds: float) -> None:
    await asyncio.sleep(0)


def test_failed_attempts_are_counted_named_and_spaced() -> None:
    async def run() -> None:
        bound = socket.socket()  # nobody listens, and nobody else can
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        rig = Rig()
        waits: list[float] = []
        tried = asyncio.Event()

        async def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 4:
                tried.set()
            await asyncio.sleep(0)

        policy = ReconnectPolicy(initial_ns=100_000_000, maximum_ns=400_000_000, jitter=0.0)
        line = connection(rig, f"ws://127.0.0.1:{port}/x", policy=policy, sleep=sleep)
        task = asyncio.ensure_future(line.run())
        await tried.wait()
        await ended(line, task)
        bound.close()
        assert waits[:4] == [0.1, 0.2, 0.4, 0.4]
        assert line.connect_errors >= 4
        assert f"127.0.0.1:{port}" in line.last_error
        assert "ConnectionRefusedError" in line.last_error

    asyncio.run(run())


def test_a_server_that_is_no_websocket_is_a_counted_failure() -> None:
    async def run() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        tried = asyncio.Event()

        async def sleep(_seconds: float) -> None:
            tried.set()
            await asyncio.sleep(0)

        line = connection(Rig(), f"ws://127.0.0.1:{port}/x", sleep=sleep)
        task = asyncio.ensure_future(line.run())
        await tried.wait()
        await ended(line, task)
        assert line.connect_errors >= 1
        assert "WSInvalidStatusError" in line.last_error
        server.close()

    asyncio.run(run())


def test_closing_ends_a_wait_at_once_and_reset_makes_a_new_socket() -> None:
    async def use(server: Server) -> None:
        waiting = asyncio.Event()

        async def forever(_seconds: float) -> None:
            waiting.set()
            await asyncio.Event().wait()

        line = connection(Rig(), server.url, sleep=forever)
        task = asyncio.ensure_future(line.run())
        await server.arrived.get()
        await settled(lambda: line.is_connected)
        line.reset("silent for too long")
        await waiting.wait()
        assert line.last_error.endswith("silent for too long")
        assert not line.is_connected
        await ended(line, task)

    running(use)


def test_canceling_the_task_cancels_it() -> None:
    async def use(server: Server) -> None:
        line = connection(Rig(), server.url)
        task = asyncio.ensure_future(line.run())
        await server.arrived.get()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not line.is_connected

    running(use)


def test_silence_reconnects_through_the_session() -> None:
    async def use(server: Server) -> None:
        lines: list[FeedConnection] = []
        rig = Rig(
            settings=SessionSettings(clock_jump_ns=0),
            request_reconnect=lambda number: lines[number].reset("silent"),
        )
        events = Event(rig)
        lines.append(connection(rig, server.url))
        task = asyncio.ensure_future(lines[0].run())
        await server.arrived.get()
        await events.until(lambda: rig.session.statistics()["connects"] == 1)
        await settled(lambda: lines[0].is_connected)
        rig.session.on_timer(now_ns() + 60_000_000_000)
        await server.arrived.get()
        await ended(lines[0], task)

    running(use)


def test_a_callback_listener_hands_frames_on() -> None:
    async def use(server: Server) -> None:
        frames: asyncio.Queue[tuple[bytes, int]] = asyncio.Queue()
        transport, listener = await ws_connect(
            lambda: CallbackListener(lambda frame, at: frames.put_nowait((frame, at))), server.url
        )
        peer = await server.arrived.get()
        before = now_ns()
        peer.text(trade(BTC))
        frame, at = await frames.get()
        assert frame == trade(BTC)
        assert before <= at <= now_ns()
        assert isinstance(listener, CallbackListener)
        assert listener.alive_ns == at
        transport.disconnect(False)

    running(use)


def test_a_connection_with_its_own_listener_reconnects_like_any_other() -> None:
    async def use(server: Server) -> None:
        frames: asyncio.Queue[bytes] = asyncio.Queue()
        opened: list[int] = []
        line = FeedConnection(
            server.url,
            None,
            0,
            random=lambda: 0.0,
            policy=FAST,
            make_listener=lambda: CallbackListener(
                lambda frame, _at: frames.put_nowait(frame), on_open=lambda: opened.append(1)
            ),
        )
        task = asyncio.ensure_future(line.run())
        for number in (1, 2):
            peer = await server.arrived.get()
            peer.text(trade(BTC))
            assert await frames.get() == trade(BTC)
            assert len(opened) == number
            peer.transport.disconnect(False)
        await server.arrived.get()
        await ended(line, task)
        assert line.statistics()["frames"] == 2

    running(use)


def make_authority(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A self-signed certificate for 127.0.0.1: server context and the file a client must trust."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback test")])
    day = datetime.timedelta(days=1)
    today = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - day)
        .not_valid_after(today + day)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / "ca.pem", folder / "key.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, secret)
    return context, pem


def test_tls_with_a_private_authority(tmp_path: Path) -> None:
    context, ca = make_authority(tmp_path)

    async def use(server: Server) -> None:
        rig = Rig()
        events = Event(rig)
        line = connection(rig, server.url, ssl_context=client_context(ca))
        task = asyncio.ensure_future(line.run())
        peer = await server.arrived.get()
        peer.text(depth(BTC, 95, 100, 90))
        await events.until(lambda: bool(rig.requests))
        await ended(line, task)
        assert line.connect_errors == 0

    running(use, context)


def test_an_unknown_authority_is_a_counted_failure(tmp_path: Path) -> None:
    context, _ = make_authority(tmp_path)

    async def use(server: Server) -> None:
        tried = asyncio.Event()

        async def sleep(_seconds: float) -> None:
            tried.set()
            await asyncio.sleep(0)

        line = connection(Rig(), server.url, ssl_context=client_context(), sleep=sleep)
        task = asyncio.ensure_future(line.run())
        await tried.wait()
        await ended(line, task)
        assert "CERTIFICATE_VERIFY_FAILED" in line.last_error or "certificate" in line.last_error.lower()

    running(use, context)
