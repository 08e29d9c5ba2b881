"""A small strict HTTP/1.1 server for the REST side of a simulated venue.

It takes what a REST client sends and no more: one request at a time, keep-alive, no chunked bodies. What RFC
9112 leaves to the server is refused with a status rather than guessed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from tools.venues.errors import ListenError, bind_reason
from tools.venues.protocol import Handler, HttpReply, HttpRequest, settled

HEAD_BYTES_MAX = 16 * 1024
BODY_BYTES_MAX = 64 * 1024
IDLE_S = 75.0

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class _Refused(Exception):
    """The request is not HTTP as this server takes it; `status` is answered and the connection closed."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def parse_head(head: bytes) -> HttpRequest:
    """Parse a request line and headers (up to the empty line); `_Refused` when they are malformed."""
    try:
        text = head.decode("ascii")
    except UnicodeDecodeError:
        raise _Refused(400, "request head is not ASCII") from None
    line, *rest = text.split("\r\n")
    parts = line.split(" ")
    if len(parts) != 3:
        raise _Refused(400, "malformed request line")
    method, target, version = parts
    if not method or not set(method) <= _TOKEN:
        raise _Refused(400, "malformed method")
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise _Refused(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    if not target.startswith("/"):
        raise _Refused(400, "the request target must be a path")
    headers: dict[str, str] = {}
    for item in rest:
        name, colon, value = item.partition(":")
        if not colon or not name or not set(name) <= _TOKEN:
            raise _Refused(400, "malformed header line")
        key = name.lower()
        if key in headers and key in ("host", "content-length", "transfer-encoding"):
            raise _Refused(400, f"repeated header {key}")
        headers[key] = value.strip(" \t")
    if version == "HTTP/1.1" and "host" not in headers:
        raise _Refused(400, "missing header host")
    if version == "HTTP/1.0":
        headers.setdefault("connection", "close")
    url = urlsplit(target)
    return HttpRequest(
        method, url.path, tuple(parse_qsl(url.query, keep_blank_values=True)), headers, target=target
    )


def _body_bytes(request: HttpRequest) -> int:
    if "transfer-encoding" in request.headers:
        raise _Refused(501, "chunked bodies are not taken here")
    text = request.headers.get("content-length", "0")
    if not text.isdigit():
        raise _Refused(400, "malformed content-length")
    if int(text) > BODY_BYTES_MAX:
        raise _Refused(413, f"bodies over {BODY_BYTES_MAX} bytes are not taken here")
    return int(text)


def encode_reply(reply: HttpReply, keep_alive: bool, head_only: bool = False) -> bytes:
    """Return the bytes of one reply."""
    lines = [
        f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}",
        f"Content-Type: {reply.content_type}",
        f"Content-Length: {len(reply.body)}",
        f"Connection: {'keep-alive' if keep_alive else 'close'}",
        *(f"{name}: {value}" for name, value in reply.headers),
    ]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
    return head if head_only else head + reply.body


class RestServer:
    """Listens on one port and answers every request with `handler`, which may answer later but not block.

    `spoil` is asked instead of the handler, and given it, once faults of the venue are wanted.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[object]] = set()
        self.requests: dict[str, int] = {}
        self.statuses: dict[int, int] = {}
        self.spoil: Callable[[HttpRequest, Handler], Awaitable[HttpReply]] | None = None
        self.malformed = 0
        self.port = 0

    async def start(self, host: str, port: int, ssl_context: ssl.SSLContext | None) -> None:
        """Listen; ListenError when the port is taken or the host unknown."""
        try:
            self._server = await asyncio.start_server(
                self._serve, host, port, ssl=ssl_context, limit=HEAD_BYTES_MAX, reuse_address=True
            )
        except OSError as error:
            raise ListenError(f"can not listen for REST on {host}:{port}: {bind_reason(error)}") from None
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and close every connection; what is not answered yet never is."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving)
        if self._server is not None:
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._writers.add(writer)
        self._serving.add(task)
        try:
            while await self._answer_one(reader, writer):
                pass
        # A task that ends as canceled is an error to the streams of the standard library, with a traceback.
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError, asyncio.CancelledError):
            pass
        finally:
            self._serving.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            async with asyncio.timeout(IDLE_S):
                head = await self._read_head(reader)
                request = parse_head(head)
                size = _body_bytes(request)
                if size:
                    body = await reader.readexactly(size)
                    request = replace(request, body=body)
        except _Refused as refused:
            self.malformed += 1
            reply = HttpReply(refused.status, refused.reason.encode() + b"\n", content_type="text/plain")
            writer.write(encode_reply(reply, keep_alive=False))
            await writer.drain()
            return False
        self.requests[request.path] = self.requests.get(request.path, 0) + 1
        keep = request.headers.get("connection", "").lower() != "close"
        answered = self._handler(request) if self.spoil is None else self.spoil(request, self._handler)
        reply = await settled(answered)
        if not reply.status:
            writer.transport.abort()
            return False
        self.statuses[reply.status] = self.statuses.get(reply.status, 0) + 1
        writer.write(encode_reply(reply, keep, request.method == "HEAD"))
        await writer.drain()
        return keep

    @staticmethod
    async def _read_head(reader: asyncio.StreamReader) -> bytes:
        try:
            return (await reader.readuntil(b"\r\n\r\n"))[:-4]
        except asyncio.LimitOverrunError:
            raise _Refused(431, f"request heads over {HEAD_BYTES_MAX} bytes are not taken here") from None
