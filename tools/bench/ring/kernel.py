"""Ways that come with kernel and standard library: a Unix datagram, multiprocessing's Queue and Pipe."""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.queues import Queue
from typing import Any

from tools.bench.ring.contender import MESSAGE_BYTES, Contender, Sink, run_loop


class _DatagramProtocol(asyncio.DatagramProtocol):
    def __init__(self, take: Any) -> None:
        self._take = take

    def datagram_received(self, data: bytes, _addr: object) -> None:
        self._take(data)


class UnixDatagram(Contender):
    """A Unix datagram through the same event loop."""

    name = "unix-datagram"
    bulk_count = 300_000
    how = "SOCK_DGRAM; uvloop's create_datagram_endpoint calls the handler"

    def open(self) -> Any:
        """The sending socket, and the receiver's path."""
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        return f"{self.place.folder}/datagram"

    def listen(self, handle: Any, sink: Sink) -> None:
        """Bind and let uvloop receive."""
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        receiver.bind(handle)
        take = sink.on_one if self.bulk else sink.on_message

        async def start(loop: asyncio.AbstractEventLoop) -> None:
            await loop.create_datagram_endpoint(lambda: _DatagramProtocol(take), sock=receiver)

        run_loop(sink, start)

    def connect(self) -> None:
        """Connect: a send waits in the kernel when the receiver is behind."""
        self.socket.connect(f"{self.place.folder}/datagram")

    def sender(self) -> Callable[[bytes], object]:
        """Send one datagram."""
        return self.socket.send

    def close(self) -> None:
        """Close the sending socket."""
        self.socket.close()


class MultiprocessingQueue(Contender):
    """multiprocessing.Queue: a pipe behind a feeder thread and pickle."""

    name = "multiprocessing.Queue"
    bulk_count = 150_000
    how = "put(bytes), blocking get() in the consumer's main thread"

    def open(self) -> Any:
        """Make the queue."""
        self.queue: Queue[bytes] = multiprocessing.get_context("spawn").Queue()
        return self.queue

    def listen(self, handle: Any, sink: Sink) -> None:
        """Get until done."""
        take = sink.on_one if self.bulk else sink.on_message
        get = handle.get
        sink.ready()
        while not sink.is_done:
            take(get())

    def sender(self) -> Callable[[bytes], object]:
        """Put one message."""
        return self.queue.put

    def close(self) -> None:
        """End the feeder thread."""
        self.queue.close()
        self.queue.cancel_join_thread()


class MultiprocessingPipe(Contender):
    """multiprocessing.Pipe: a Unix stream with lengths."""

    name = "multiprocessing.Pipe"
    bulk_count = 300_000
    how = "one-way Pipe, send_bytes, blocking recv_bytes in the consumer's main thread"

    def open(self) -> Any:
        """Make both ends."""
        self.reader: Connection
        self.writer: Connection
        self.reader, self.writer = multiprocessing.get_context("spawn").Pipe(duplex=False)
        return self.reader

    def listen(self, handle: Any, sink: Sink) -> None:
        """Receive until done."""
        take = sink.on_one if self.bulk else sink.on_message
        receive = handle.recv_bytes
        sink.ready()
        while not sink.is_done:
            take(receive(MESSAGE_BYTES))

    def sender(self) -> Callable[[bytes], object]:
        """Send one message."""
        return self.writer.send_bytes

    def close(self) -> None:
        """Close both ends."""
        self.reader.close()
        self.writer.close()
