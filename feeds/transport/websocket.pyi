import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from picows import WSFrame, WSListener, WSTransport

from feeds.session import FeedSession
from feeds.transport.reconnect import ConnectGate, ReconnectPolicy

CLOSE_TOO_BIG: int
TEXT: int

class FrameListener(WSListener):
    close_text: str
    def __init__(self, frame_bytes_max: int = ...) -> None: ...
    @property
    def alive_ns(self) -> int: ...
    @property
    def frames(self) -> int: ...
    @property
    def faults(self) -> int: ...
    @property
    def oversized(self) -> int: ...
    @property
    def last_fault(self) -> str: ...
    @property
    def is_open(self) -> bool: ...
    def on_ws_connected(self, transport: WSTransport) -> None: ...
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None: ...

class CallbackListener(FrameListener):
    def __init__(
        self,
        handler: Callable[[bytes, int], object],
        frame_bytes_max: int = ...,
        *,
        on_open: Callable[[], object] | None = None,
    ) -> None: ...

class FeedListener(FrameListener):
    def __init__(self, session: FeedSession, connection: int, frame_bytes_max: int = ...) -> None: ...
    @property
    def connection(self) -> int: ...
    def on_ws_disconnected(self, transport: WSTransport) -> None: ...

class FeedConnection:
    url: str
    session: FeedSession | None
    connection_id: int
    listener: FrameListener | None
    connects: int
    connect_errors: int
    last_error: str
    def __init__(
        self,
        url: str,
        session: FeedSession | None,
        connection_id: int,
        *,
        subscribe: Sequence[bytes] = ...,
        random: Callable[[], float],
        ssl_context: ssl.SSLContext | None = None,
        policy: ReconnectPolicy | None = None,
        subscribe_per_second: float = 5.0,
        handshake_timeout_s: float = 10.0,
        ping_idle_s: float = 10.0,
        frame_bytes_max: int = ...,
        receive_buffer_bytes: int = 0,
        sleep: Callable[[float], Awaitable[Any]] = ...,
        make_listener: Callable[[], FrameListener] | None = None,
        gate: ConnectGate | None = None,
    ) -> None: ...
    @property
    def subscribe(self) -> tuple[bytes, ...]: ...
    @subscribe.setter
    def subscribe(self, messages: Sequence[bytes]) -> None: ...
    def send(self, message: bytes) -> bool: ...
    def ping(self, message: bytes, after_ns: int) -> None: ...
    @property
    def is_connected(self) -> bool: ...
    async def run(self) -> None: ...
    def reset(self, reason: str) -> None: ...
    def close(self) -> None: ...
    def statistics(self) -> dict[str, int]: ...
