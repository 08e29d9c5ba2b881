"""The websocket side of any simulated venue: connections, subscriptions, back-pressure."""

from __future__ import annotations

import asyncio
import ssl
import time
from asyncio import TimerHandle
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from picows import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from tools.venues.errors import ListenError, bind_reason
from tools.venues.fanout import Outbox, Stream
from tools.venues.protocol import Flush, HttpReply, Limits, Route, Subscriber, VenueProtocol

if TYPE_CHECKING:
    from tools.venues.faults_desk import FaultDesk
    from tools.venues.trading.desk import VenueTrading

HIGH_WATER_BYTES = 256 * 1024
CLOSE_GRACE_S = 0.5


@dataclass(slots=True)
class ServerStatistics:
    """Counts of one server's life."""

    clients: int = 0
    clients_peak: int = 0
    refused_upgrades: int = 0
    requests: int = 0
    refused_requests: int = 0
    slow_disconnects: int = 0
    protocol_errors: int = 0
    over_limit_disconnects: int = 0
    bytes_sent: int = 0
    disconnects: dict[str, int] = field(default_factory=dict)


class Client(WSListener, Subscriber):
    """One websocket connection."""

    def __init__(self, hub: Hub, route: Route) -> None:
        self.hub = hub
        self.route = route
        self.outbox = Outbox(route.combined)
        self.subscriptions: dict[str, Stream | None] = {}
        self.transport: WSTransport | None = None
        self.writable = asyncio.Event()
        self.writable.set()
        self.closing = False
        self.is_deaf = False
        self._fragments: list[bytes] = []
        self._window_s = 0.0
        self._window_requests = 0
        self._cut: TimerHandle | None = None
        self._ping: TimerHandle | None = None
        self._pong_s = 0.0
        self._idle: TimerHandle | None = None
        self._heard_s = 0.0
        self._spoke_s = 0.0
        self._welcomes: list[bytes] = []
        self.number = 0
        self.notes: dict[str, object] = {}
        self.limits = hub.limits_of(route)
        self._is_flush_due = False

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Join the hub and subscribe to what the URL names."""
        self.transport = transport
        transport.underlying_transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self._cut = asyncio.get_running_loop().call_later(
            self.limits.connection_s,
            self.close,
            WSCloseCode.GOING_AWAY,
            "connection lifetime is over",
        )
        self._pong_s = self._heard_s = self._spoke_s = asyncio.get_running_loop().time()
        self._arm_ping()
        if self.limits.idle_s:
            self._check_idle()
        self.hub.join(self)
        if self.route.streams:
            self.subscribe(list(self.route.streams))
            self._answer([])

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take one frame of the client: requests are answered, pings too, a close is confirmed."""
        kind = frame.msg_type
        if self.is_deaf:
            return
        self._heard_s = asyncio.get_running_loop().time()
        if kind == WSMsgType.CLOSE:
            if not transport.is_close_frame_sent:
                transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif kind == WSMsgType.PING:
            if self._within_rate():
                transport.send_pong(frame.get_payload_as_bytes())
        elif kind == WSMsgType.PONG:
            self._pong_s = asyncio.get_running_loop().time()
        elif kind == WSMsgType.BINARY:
            self.hub.statistics.protocol_errors += 1
            self.close(WSCloseCode.UNSUPPORTED_DATA, "requests are text frames")
        elif kind in (WSMsgType.TEXT, WSMsgType.CONTINUATION):
            self._on_text(frame)

    def _arm_ping(self) -> None:
        interval_s = self.limits.ping_interval_s
        if interval_s:
            self._ping = asyncio.get_running_loop().call_later(interval_s, self._send_ping)

    def _send_ping(self) -> None:
        # picows' own pings do not allow an answer that takes longer than the interval, as the venue does
        now = asyncio.get_running_loop().time()
        if now - self._pong_s > self.limits.pong_timeout_s:
            self.close(WSCloseCode.POLICY_VIOLATION, "no pong in time")
        elif self.is_deaf:
            self._arm_ping()
        elif self.transport is not None and not self.closing:
            self.transport.send_ping(str(time.time_ns() // 1_000_000).encode())
            self._arm_ping()

    def _check_idle(self) -> None:
        limits, loop = self.limits, asyncio.get_running_loop()
        last_s = max(self._heard_s, self._spoke_s) if limits.idle_counts_sent else self._heard_s
        left_s = last_s + limits.idle_s - loop.time()
        if left_s > 0:
            self._idle = loop.call_later(left_s, self._check_idle)
        else:
            self.close(limits.idle_code, limits.idle_reason)

    def _on_text(self, frame: WSFrame) -> None:
        self._fragments.append(frame.get_payload_as_bytes())
        limit = self.limits.request_bytes
        if sum(map(len, self._fragments)) > limit:
            self.hub.statistics.protocol_errors += 1
            self._fragments.clear()
            self.close(WSCloseCode.MESSAGE_TOO_BIG, f"requests are limited to {limit} bytes")
            return
        if not frame.fin:
            return
        text = b"".join(self._fragments)
        self._fragments.clear()
        if self.closing or not self._within_rate():
            return
        self.hub.statistics.requests += 1
        if self.route.is_trading and self.hub.trading is not None:
            self.hub.trading.on_text(self, text)
        else:
            self._answer(self.hub.protocol.on_text(self, text))

    def say(self, frame: bytes) -> None:
        """Send a text frame soon, together with others of this moment."""
        self.outbox.append(frame)
        if not self._is_flush_due:
            self._is_flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flush_due = False
        self.write()

    def _answer(self, replies: list[bytes]) -> None:
        # answers first, then what new streams begin with; nothing of those streams can have come between
        for frame in (*replies, *self._welcomes):
            self.outbox.append(frame)
        self._welcomes.clear()
        self.write()

    def _within_rate(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._window_s >= 1.0:
            self._window_s = now
            self._window_requests = 0
        self._window_requests += 1
        limit = self.limits.requests_per_s
        if not limit or self._window_requests <= limit:
            return True
        if not self.closing:
            self.hub.statistics.over_limit_disconnects += 1
            self.close(WSCloseCode.POLICY_VIOLATION, f"more than {limit} incoming messages per second")
        return False

    def subscribe(self, names: list[str]) -> str | None:
        """Subscribe to all names or to none; the reason in the second case."""
        found: dict[str, Stream | None] = {}
        for name in names:
            stream, reason = self.hub.find(name, self.route)
            if reason is not None:
                self.hub.statistics.refused_requests += 1
                return reason
            found[name] = stream
        limit = self.limits.streams
        if limit and len(self.subscriptions.keys() | found.keys()) > limit:
            self.hub.statistics.refused_requests += 1
            return f"a connection listens to at most {limit} streams"
        self.subscriptions.update(found)
        for name, stream in found.items():
            if stream is not None:
                stream.add(self.outbox)
                welcome = self.hub.protocol.source.welcome(name)
                if self.hub.faults is not None:
                    self.hub.faults.on_subscribe(self, name)
                    welcome = welcome or self.hub.faults.notices.get(name)
                if welcome:
                    self._welcomes.append(welcome)
        if found:
            self.hub.on_subscribed()
        return None

    def unsubscribe(self, names: list[str]) -> None:
        """Drop the named subscriptions; unknown names are ignored."""
        for name in names:
            stream = self.subscriptions.pop(name, None)
            # two names may lead to one recorded stream
            if stream is not None and stream not in self.subscriptions.values():
                stream.discard(self.outbox)

    def write(self) -> None:
        """Write what is queued; a client that leaves too much unread is disconnected with the reason."""
        transport = self.transport
        if transport is None or not self.outbox.pending_bytes:
            return
        data = self.outbox.take()
        if self.hub.faults is not None:
            data = self.hub.faults.outgoing(self, data)
        self.write_raw(data)

    def write_raw(self, data: bytes) -> None:
        """Write whole frames; what a client leaves unread is judged as in `write`."""
        transport = self.transport
        if self.closing or self.is_deaf or transport is None or transport.is_disconnected or not data:
            return
        under = transport.underlying_transport
        under.write(data)
        self._spoke_s = asyncio.get_running_loop().time()
        self.hub.statistics.bytes_sent += len(data)
        unread = under.get_write_buffer_size()
        if unread > self.hub.buffer_bytes_max:
            self.hub.statistics.slow_disconnects += 1
            self.close(WSCloseCode.POLICY_VIOLATION, f"too slow: {unread} bytes unread")

    def close(self, code: WSCloseCode | int, reason: str) -> None:
        """Send a close frame with the reason, then end the connection, by force after a grace time."""
        transport = self.transport
        if self.closing or transport is None or transport.is_disconnected:
            return
        self.closing = True
        self.drop_subscriptions()
        transport.send_close(cast(WSCloseCode, code), reason)
        disconnects = self.hub.statistics.disconnects
        name = code.name if isinstance(code, WSCloseCode) else str(code)
        disconnects[name] = disconnects.get(name, 0) + 1
        asyncio.get_running_loop().call_later(CLOSE_GRACE_S, transport.disconnect, False)

    def abort(self) -> None:
        """End the connection without a word."""
        if not self.closing and self.transport is not None:
            self.closing = True
            self.drop_subscriptions()
            disconnects = self.hub.statistics.disconnects
            disconnects["ABORT"] = disconnects.get("ABORT", 0) + 1
            self.transport.disconnect(False)

    def set_deaf(self, is_deaf: bool) -> None:
        """Say nothing and read nothing any more, or begin to again; the socket stays."""
        self.is_deaf = is_deaf
        if self.transport is not None and not self.closing:
            under = self.transport.underlying_transport
            if is_deaf:
                under.pause_reading()
            else:
                under.resume_reading()

    def drop_subscriptions(self) -> None:
        """Leave every stream."""
        for stream in self.subscriptions.values():
            if stream is not None:
                stream.discard(self.outbox)
        self.subscriptions.clear()
        self.writable.set()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Leave the hub."""
        sent = transport.close_handshake.sent if transport.close_handshake is not None else None
        if (
            sent is not None
            and not self.closing
            and sent.code
            in (
                WSCloseCode.MESSAGE_TOO_BIG,
                WSCloseCode.PROTOCOL_ERROR,
                WSCloseCode.INVALID_TEXT,
            )
        ):
            self.hub.statistics.protocol_errors += 1
        for timer in (self._cut, self._ping, self._idle):
            if timer is not None:
                timer.cancel()
        self.drop_subscriptions()
        self.hub.leave(self)

    def pause_writing(self) -> None:
        """The socket takes no more: sources at full speed wait."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """The socket takes data again."""
        self.writable.set()


class Hub(Flush):
    """All clients of a venue and the way from streams to their sockets."""

    def __init__(
        self, protocol: VenueProtocol, *, buffer_bytes_max: int, strict: bool, clients_wanted: int
    ) -> None:
        self.protocol = protocol
        self.buffer_bytes_max = buffer_bytes_max
        self.strict = strict
        self.clients: set[Client] = set()
        self.statistics = ServerStatistics()
        self.subscribed = asyncio.Event()
        self._clients_wanted = clients_wanted
        self._server: asyncio.Server | None = None
        self._connects: deque[float] = deque()
        self.port = 0
        #: Order entry and private streams; None where the venue has market data only.
        self.trading: VenueTrading | None = None
        #: What passes frames on with faults; None as long as nobody asked for one.
        self.faults: FaultDesk | None = None

    async def start(self, host: str, port: int, ssl_context: ssl.SSLContext | None) -> None:
        """Listen for websocket clients; ListenError when the port is taken or the host unknown."""
        limits = self.protocol.limits
        options: dict[str, Any] = {"ssl": ssl_context} if ssl_context is not None else {}
        try:
            self._server = await ws_create_server(
                self._on_upgrade,
                host,
                port,
                max_frame_size=limits.request_bytes,
                enable_auto_pong=False,
                **options,
            )
        except OSError as error:
            raise ListenError(
                f"can not listen for websockets on {host}:{port}: {bind_reason(error)}"
            ) from None
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Say goodbye to every client and stop listening."""
        if self._server is not None:
            self._server.close()
        await self._close_all(WSCloseCode.GOING_AWAY, "the venue stops")

    async def _close_all(self, code: WSCloseCode, reason: str) -> None:
        clients = [client for client in self.clients if client.transport is not None]
        for client in clients:
            client.write()
            client.close(code, reason)
        waits = [c.transport.wait_disconnected() for c in clients if c.transport is not None]
        if waits:
            await asyncio.wait([asyncio.ensure_future(wait) for wait in waits], timeout=CLOSE_GRACE_S + 1.0)

    def _on_upgrade(self, request: WSUpgradeRequest) -> Client | WSUpgradeResponseWithListener:
        target = request.path.decode("ascii", "replace")
        route = self.trading.route(target) if self.trading is not None else None
        if route is None:
            route = self.protocol.route(target)
        if isinstance(route, Route) and not self._may_connect():
            route = self.protocol.refuse_connect()
        if isinstance(route, Route) and self.faults is not None and self.faults.is_closed:
            route = HttpReply(503, b"under maintenance", content_type="text/plain")
        if isinstance(route, Route):
            for name in route.streams:
                reason = self.find(name, route)[1]
                if reason is not None:
                    route = HttpReply(400, reason.encode() + b"\n", content_type="text/plain")
                    break
        if isinstance(route, HttpReply):
            self.statistics.refused_upgrades += 1
            reply = WSUpgradeResponse.create_error_response(
                route.status, route.body, {"Content-Type": route.content_type}
            )
            return WSUpgradeResponseWithListener(reply, None)
        return Client(self, route)

    def _may_connect(self) -> bool:
        count, period_s = self.protocol.limits.connects
        if not count:
            return True
        now = asyncio.get_running_loop().time()
        while self._connects and now - self._connects[0] >= period_s:
            self._connects.popleft()
        if len(self._connects) >= count:
            return False
        self._connects.append(now)
        return True

    def find(self, name: str, route: Route) -> tuple[Stream | None, str | None]:
        """Return (stream, None), or (None, reason) for a name that is wrong here.

        When the server is not strict it does as the venue does: it agrees, and never sends anything.
        """
        stream = self.protocol.source.resolve(name)
        if stream is None:
            return None, f"unknown stream {name}" if self.strict else None
        categories = self.protocol.categories(name)
        if route.category and route.category not in categories:
            where = " or ".join(f"/{part}" for part in categories)
            return (
                None,
                f"stream {name} is served under {where}, not /{route.category}" if self.strict else None,
            )
        return stream, None

    def join(self, client: Client) -> None:
        """Count a new client."""
        self.clients.add(client)
        self.statistics.clients += 1
        client.number = self.statistics.clients
        self.statistics.clients_peak = max(self.statistics.clients_peak, len(self.clients))
        if self.trading is not None and client.route.is_trading:
            self.trading.on_join(client)

    def leave(self, client: Client) -> None:
        """Forget a client."""
        self.clients.discard(client)
        if self.trading is not None and client.route.is_trading:
            self.trading.on_leave(client)

    def limits_of(self, route: Route) -> Limits:
        """Return the limits of a connection."""
        limits = self.protocol.limits
        return self.trading.limits_of(route, limits) if self.trading and route.is_trading else limits

    def on_subscribed(self) -> None:
        """Let a waiting source start once enough clients have subscribed."""
        if sum(1 for one in self.clients if one.subscriptions) >= self._clients_wanted:
            self.subscribed.set()

    def send(self) -> None:
        """Write what the streams queued to the clients' sockets."""
        for client in list(self.clients):
            if client.outbox.pending_bytes:
                client.write()

    async def wait_writable(self) -> None:
        """Wait until no client with subscriptions is behind in reading."""
        for client in list(self.clients):
            if client.subscriptions and not client.writable.is_set():
                await client.writable.wait()

    async def restart(self, reason: str) -> None:
        """Close all connections as a maintenance restart does and wait until clients subscribed again."""
        self.subscribed.clear()
        await self._close_all(WSCloseCode.SERVICE_RESTART, reason)
        await self.subscribed.wait()
