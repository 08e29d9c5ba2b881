"""The line to the supervisor: one JSON object a line, both ways, over an inherited socket."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Any

import orjson

PENDING_MAX = 1 << 20


class Link:
    """JSON lines over a descriptor; without one (-1) sending does nothing.

    Args:
        loop: serves the descriptor.
        fd: a stream socket, inherited; -1 = none.
        on_message: called with each object received; a line that is not an object is skipped.
        on_closed: called once when the other end is gone.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        on_message: Callable[[Mapping[str, Any]], None],
        on_closed: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._fd = fd
        self._on_message = on_message
        self._on_closed = on_closed
        self._received = b""
        self._pending = b""
        self._is_writing = False
        if fd >= 0:
            os.set_blocking(fd, False)
            loop.add_reader(fd, self._on_readable)

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one object; never blocks. Beyond 1 MiB unsent, messages are dropped: nobody reads any more."""
        if self._fd < 0 or len(self._pending) > PENDING_MAX:
            return
        self._pending += orjson.dumps(message) + b"\n"
        self._flush()

    def close(self) -> None:
        """Stop serving the descriptor (it stays open: its owner closes it); harmless if done already."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            if self._is_writing:
                self._loop.remove_writer(self._fd)
            self._fd = -1

    def _flush(self) -> None:
        try:
            while self._pending:
                self._pending = self._pending[os.write(self._fd, self._pending) :]
        except BlockingIOError:
            if not self._is_writing:
                self._is_writing = True
                self._loop.add_writer(self._fd, self._flush)
            return
        except OSError:
            self._pending = b""  # the other end is gone; its pidfd says so
        if self._is_writing:
            self._is_writing = False
            self._loop.remove_writer(self._fd)

    def _on_readable(self) -> None:
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            self._on_closed()
            return
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            try:
                message = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if isinstance(message, dict):
                self._on_message(message)
