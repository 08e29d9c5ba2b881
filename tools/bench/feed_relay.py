"""A relay before a venue that delays what it brings: `bench lines` lets its connections go through it.

Every connection has a delay of its own, drawn for each frame from its own generator: a base, an exponential
part, and now and then a stall during which nothing comes. Order is kept, as TCP keeps it; no byte is changed.

Run as a module it is such a process: `python -P -m tools.bench.feed_relay PORT SEED`. It prints the port it
listens on, and when its standard input ends one JSON object: by connection, when each frame came from the
venue.
"""

from __future__ import annotations

import hashlib
import queue
import random
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import orjson

BASE_NS = 500_000
JITTER_NS = 500_000  # mean of the exponential part
STALLS_PER_S = 2.0
STALL_NS = 20_000_000  # mean length
TEXT = 1
HEAD_END = b"\r\n\r\n"
END = (b"", 0)


def digest(payload: bytes) -> str:
    """A name for a frame's payload, the same on every line that brings it."""
    return hashlib.blake2b(payload, digest_size=8).hexdigest()


class Delays:
    """When each frame of one connection is due.

    Args:
        seed: of its own generator.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._due_ns = 0
        self._stall_ns: float = 0

    def due_ns(self, now_ns: int) -> int:
        """When a frame that comes now is handed on; never before the one before it."""
        draw = self._random.expovariate
        if not self._stall_ns:
            self._stall_ns = now_ns + draw(STALLS_PER_S) * 1e9
        due = now_ns + BASE_NS + draw(1 / JITTER_NS)
        if now_ns >= self._stall_ns:
            due += draw(1 / STALL_NS)
            self._stall_ns = now_ns + draw(STALLS_PER_S) * 1e9
        self._due_ns = max(self._due_ns, int(due))
        return self._due_ns


@dataclass(slots=True)
class FrameCutter:
    """Cuts the bytes of a server into its answer to the handshake and websocket frames (RFC 6455, 5.2)."""

    _buffer: bytearray = field(default_factory=bytearray)
    _is_open: bool = False

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes | None]]:
        """Yield (bytes to hand on, payload) for what is whole now; payload None = no text frame."""
        self._buffer += data
        if not self._is_open:
            end = self._buffer.find(HEAD_END)
            if end < 0:
                return
            self._is_open = True
            yield self._take(end + len(HEAD_END)), None
        while (head := self._head()) is not None:
            start, length = head
            if len(self._buffer) < start + length:
                return
            is_text = self._buffer[0] & 0x0F == TEXT
            whole = self._take(start + length)
            yield whole, whole[start:] if is_text else None

    def _head(self) -> tuple[int, int] | None:
        """Where the payload of the first frame begins, and its length; a server masks nothing."""
        if len(self._buffer) < 2:
            return None
        short = self._buffer[1] & 0x7F
        if short < 126:
            return 2, short
        size = 2 if short == 126 else 8
        if len(self._buffer) < 2 + size:
            return None
        return 2 + size, int.from_bytes(self._buffer[2 : 2 + size], "big")

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken


class Relay:
    """Hands on connections to a port of loopback, the way back delayed.

    Args:
        port: of the venue.
        seed: of the delays; each connection has its own.
    """

    def __init__(self, port: int, seed: int) -> None:
        self._to, self._seed = port, seed
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        #: By connection: (name of the frame, when it came from the venue).
        self.seen: list[list[tuple[str, int]]] = []
        self._sockets: list[socket.socket] = [self._server]
        self._spawn(self._accept)

    @staticmethod
    def _spawn(target: object, *arguments: object) -> None:
        threading.Thread(target=target, args=arguments, daemon=True).start()  # type: ignore[arg-type]

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._server.accept()
                venue = socket.create_connection(("127.0.0.1", self._to))
                seen: list[tuple[str, int]] = []
                waiting: queue.SimpleQueue[tuple[bytes, int]] = queue.SimpleQueue()
                for one in (client, venue):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._sockets.append(one)
                self.seen.append(seen)
                self._spawn(self._forth, client, venue)
                self._spawn(self._take, venue, waiting, seen, Delays(self._seed + len(self.seen)))
                self._spawn(self._back, client, waiting)

    @staticmethod
    def _forth(client: socket.socket, venue: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65_536):
                venue.sendall(data)
            venue.shutdown(socket.SHUT_WR)

    @staticmethod
    def _take(
        venue: socket.socket,
        waiting: queue.SimpleQueue[tuple[bytes, int]],
        seen: list[tuple[str, int]],
        delays: Delays,
    ) -> None:
        cutter = FrameCutter()
        with suppress(OSError):
            while data := venue.recv(65_536):
                now = time.monotonic_ns()
                for whole, payload in cutter.feed(data):
                    if payload is not None:
                        seen.append((digest(payload), now))
                    waiting.put((whole, delays.due_ns(now) if payload is not None else 0))
        waiting.put(END)

    @staticmethod
    def _back(client: socket.socket, waiting: queue.SimpleQueue[tuple[bytes, int]]) -> None:
        with suppress(OSError):
            while (item := waiting.get()) != END:
                data, due_ns = item
                left_ns = due_ns - time.monotonic_ns()
                if left_ns > 0:
                    time.sleep(left_ns / 1e9)
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End every connection."""
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def print_whole(document: object) -> None:
    """Print an object as one line of JSON, whole.

    What is unbuffered (PYTHONUNBUFFERED) gives up after a write that was interrupted, and says nothing.
    """
    with open(sys.stdout.fileno(), "wb", closefd=False) as out:
        out.write(orjson.dumps(document) + b"\n")


def main(arguments: list[str]) -> None:
    """Entry of the process."""
    port, seed = map(int, arguments)
    relay = Relay(port, seed)
    sys.stdout.write(f"{relay.port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    print_whole(relay.seen)
    relay.close()


if __name__ == "__main__":
    main(sys.argv[1:])
