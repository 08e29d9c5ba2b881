"""The link between supervisor and worker: JSON objects, one a line, over a socket pair.

It carries start, stop, generations and little else; nothing on it is ever on the data path.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Any

import orjson

Message = dict[str, Any]


class Link:
    """The supervisor's end.

    Args:
        ours: its socket; owned and closed by the link.
        on_message: called with each object. A line that is not an object is handed over as `{"op":
            "garbage"}` with its text, so that it is recorded and not lost.
    """

    def __init__(self, ours: socket.socket, on_message: Callable[[Message], None]) -> None:
        ours.setblocking(False)
        self._socket = ours
        self._on_message = on_message
        self._received = b""
        self._unsent = b""
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._loop.add_reader(ours.fileno(), self._readable)

    @staticmethod
    def pair() -> tuple[socket.socket, socket.socket]:
        """Both ends: ours and the child's."""
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._on_message(self._parse(line))

    @staticmethod
    def _parse(line: bytes) -> Message:
        try:
            message = orjson.loads(line)
        except orjson.JSONDecodeError:
            message = None
        if isinstance(message, dict):
            return message
        return {"op": "garbage", "text": line[:200].decode("utf-8", "replace")}

    def send(self, message: Mapping[str, Any]) -> bool:
        """Queue one object; returns False when the worker's end is closed."""
        if not self._open:
            return False
        self._unsent += orjson.dumps(message) + b"\n"
        self._flush()
        return self._open

    def _flush(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        self._unsent = self._unsent[sent:]
        if self._unsent:
            self._loop.add_writer(self._socket.fileno(), self._flush)
        else:
            self._loop.remove_writer(self._socket.fileno())

    def hand_over(self, on_message: Callable[[Message], None]) -> None:
        """From here on another takes what arrives."""
        self._on_message = on_message

    def close(self) -> None:
        """Stop reading and close the socket; safe to call twice."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()
