"""Operator commands: JSON lines over a Unix socket in the instance's state directory.

One request is one line `{"op": …}`, one reply is one line `{"ok": true, …}` or
`{"ok": false, "error": "…"}`. The socket is mode 0600, and the folder it stands in is the lock of the
instance. A Unix address holds 107 bytes; a longer path is reached through `/proc/self/fd/<folder>`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson

from engine.errors import ControlError, EngineError

SOCKET_NAME = "control.sock"
ADDRESS_MAX = 107
LINE_MAX = 1 << 20

Reply = dict[str, Any]
Handler = Callable[[dict[str, Any]], Awaitable[Reply]]


@contextmanager
def socket_address(folder: Path) -> Iterator[str]:
    """An address of the control socket in a folder, valid inside the block, however long the path is."""
    path = str(folder / SOCKET_NAME)
    if len(os.fsencode(path)) <= ADDRESS_MAX:
        yield path
        return
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{SOCKET_NAME}"
    finally:
        os.close(fd)


class ControlServer:
    """The supervisor's end.

    Args:
        folder: state directory of the instance, which the caller has locked.
        handler: called with each request; an `EngineError` it raises becomes the reply's error.
    """

    def __init__(self, folder: Path, handler: Handler) -> None:
        self._folder = folder
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        """Bind and listen; a socket left by a dead run of this instance is replaced.

        Raises:
            ControlError: the socket can not be made.
        """
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            with suppress(FileNotFoundError):
                (self._folder / SOCKET_NAME).unlink()
            # Narrow the mode at birth: between bind and chmod anybody could connect.
            before = os.umask(0o177)
            try:
                with socket_address(self._folder) as address:
                    listener.bind(address)
            finally:
                os.umask(before)
            listener.listen(8)
            listener.setblocking(False)
        except OSError as error:
            listener.close()
            raise ControlError(f"control socket in {self._folder}: {error.strerror}") from error
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=LINE_MAX)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while line := await reader.readline():
                writer.write(orjson.dumps(await self._answer(line)) + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            return  # the operator went away, or sent a line beyond the limit
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _answer(self, line: bytes) -> Reply:
        try:
            request = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            return {"ok": False, "error": f"the request is not JSON: {error}"}
        if not isinstance(request, dict) or not isinstance(request.get("op"), str):
            return {"ok": False, "error": 'the request is not an object with an "op"'}
        try:
            return {"ok": True, **await self._handler(request)}
        except EngineError as error:
            return {"ok": False, "error": str(error)}

    async def close(self) -> None:
        """Stop listening, drop the connections and remove the socket."""
        if self._server is None:
            return
        self._server.close()
        for writer in list(self._connections):
            writer.close()
        self._server = None
        with suppress(FileNotFoundError):
            (self._folder / SOCKET_NAME).unlink()


def request(folder: Path, message: dict[str, Any], timeout_s: float = 10.0) -> Reply:
    """Send one request to a running engine and return its reply.

    Args:
        folder: state directory of the instance.
        message: the request, with its `op`.
        timeout_s: for the whole exchange.

    Raises:
        ControlError: nobody listens, no answer in time, or the engine refused (its reason is the text).
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout_s)
        received = b""
        try:
            with socket_address(folder) as address:
                client.connect(address)
            client.sendall(orjson.dumps(message) + b"\n")
            while not received.endswith(b"\n"):
                data = client.recv(65_536)
                if not data:
                    raise ControlError("the engine closed the connection without an answer")
                received += data
        except TimeoutError as error:
            raise ControlError(f"the engine does not answer in {timeout_s:g} s") from error
        except OSError as error:
            raise ControlError(f"no engine listens in {folder}: {error.strerror}") from error
    reply = orjson.loads(received)
    if not reply.get("ok"):
        raise ControlError(str(reply.get("error", "refused without a reason")))
    return dict(reply)
