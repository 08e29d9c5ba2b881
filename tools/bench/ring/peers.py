"""Message libraries that carry bytes between processes of one machine, each as its documentation advises."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
from collections.abc import Callable
from typing import Any

from tools.bench.ring.contender import MESSAGE_BYTES, Contender, Place, Sink, peer, run_loop

FIFO_BYTES = 4 << 20
FIFO_BATCH = 64
ICEORYX_BATCH = 64
ICEORYX_BUFFER = 1024


class _Zmq(Contender):
    """pyzmq over ipc: PUB/SUB for latency, PUSH/PULL for throughput."""

    modules = ("zmq",)
    bulk_count = 400_000

    def open(self) -> Any:
        """Bind the sending socket; XPUB is PUB that also tells when the subscriber is there."""
        zmq = peer("zmq")
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.PUSH if self.bulk else zmq.XPUB)
        self.socket.setsockopt(zmq.SNDHWM, 100_000 if self.bulk else 0)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(f"ipc://{self.place.folder}/zmq")
        return f"ipc://{self.place.folder}/zmq"

    def receiver(self, address: str) -> tuple[Any, Any]:
        """Consumer: the connected socket and its context."""
        zmq = peer("zmq")
        context = zmq.Context()
        if not self.bulk:  # with both I/O threads beside the producer only one wake-up crosses the cores
            context.set(zmq.THREAD_AFFINITY_CPU_ADD, self.place.producer_core)
        socket = context.socket(zmq.PULL if self.bulk else zmq.SUB)
        socket.setsockopt(zmq.RCVHWM, 100_000 if self.bulk else 0)
        if not self.bulk:
            socket.setsockopt(zmq.SUBSCRIBE, b"")
        socket.connect(address)
        return socket, context

    def connect(self) -> None:
        """Wait until the subscription has arrived."""
        if not self.bulk:
            self.socket.recv()

    def sender(self) -> Callable[[bytes], object]:
        """Send one message."""
        send: Callable[[bytes], object] = self.socket.send
        return send

    def close(self) -> None:
        """Close the socket and end the context's thread."""
        self.socket.close(0)
        self.context.term()


class ZmqLoop(_Zmq):
    """pyzmq delivering into uvloop by its descriptor, faster than zmq.asyncio."""

    name = "pyzmq"
    how = (
        "latency: ipc PUB/SUB, add_reader on the socket's FD, recv(NOBLOCK) until empty, I/O threads on the "
        "producer's core; throughput: ipc PUSH/PULL"
    )

    def listen(self, handle: Any, sink: Sink) -> None:
        """Receive all there is whenever the descriptor says so."""
        zmq = peer("zmq")
        socket, context = self.receiver(handle)
        again, dont_wait = zmq.Again, zmq.NOBLOCK
        receive = socket.recv
        take = sink.on_one if self.bulk else sink.on_message

        def on_readable() -> None:
            # The descriptor is edge triggered: everything must be taken before it can fire again.
            try:
                while True:
                    take(receive(dont_wait))
            except again:
                return

        def start(loop: asyncio.AbstractEventLoop) -> None:
            loop.add_reader(socket.getsockopt(zmq.FD), on_readable)
            loop.call_soon(on_readable)

        run_loop(sink, start)
        socket.close(0)
        context.term()


class ZmqBlocking(_Zmq):
    """pyzmq without an event loop."""

    name = "pyzmq (blocking)"
    how = "the same sockets, blocking recv() in the consumer's main thread, no event loop"

    def listen(self, handle: Any, sink: Sink) -> None:
        """Receive until done."""
        socket, context = self.receiver(handle)
        take = sink.on_one if self.bulk else sink.on_message
        receive = socket.recv
        sink.ready()
        while not sink.is_done:
            take(receive())
        socket.close(0)
        context.term()


def _as_bytes(message: Any) -> bytes:
    return bytes(message)


class FasterFifo(Contender):
    """faster-fifo: a circular buffer under process-shared POSIX mutexes."""

    name = "faster-fifo"
    modules = ("faster_fifo", "faster_fifo_reduction")
    bulk_count = 400_000
    how = (
        f"dumps and loads are bytes, no pickle; latency: put, get_many; throughput: put_many of {FIFO_BATCH}"
    )

    def open(self) -> Any:
        """Make the queue."""
        peer("faster_fifo_reduction")  # its pickling of arrays to other processes
        multiprocessing.set_start_method("spawn", force=True)
        self.queue = peer("faster_fifo").Queue(FIFO_BYTES, loads=_as_bytes, dumps=_as_bytes)
        return self.queue

    def listen(self, handle: Any, sink: Sink) -> None:
        """Get whatever is there until done."""
        sink.ready()
        get_many = handle.get_many
        while not sink.is_done:
            messages = get_many(timeout=60.0)
            if self.bulk:
                sink.on_batch(messages)
            else:
                for message in messages:
                    sink.on_message(message)

    def sender(self) -> Callable[[bytes], object]:
        """Put one message."""
        put: Callable[[bytes], object] = self.queue.put
        return put

    def send_bulk(self, count: int) -> None:
        """Put in batches; blocks while the buffer is full."""
        batch = [bytes(MESSAGE_BYTES)] * FIFO_BATCH
        for _ in range(count // FIFO_BATCH):
            self.queue.put_many(batch, timeout=60.0)

    def close(self) -> None:
        """Close the queue."""
        self.queue.close()


class _Payload(ctypes.Structure):
    _fields_ = (("words", ctypes.c_uint64 * (MESSAGE_BYTES // 8)),)

    @staticmethod
    def type_name() -> str:
        """The name both sides check."""
        return "Words8"


class Iceoryx2(Contender):
    """iceoryx2's Python API: publish-subscribe for the data, an event for the wake-up."""

    name = "iceoryx2"
    modules = ("iceoryx2",)
    bulk_count = 150_000
    how = (
        "publish-subscribe with loaned samples and an event service, listener.blocking_wait; "
        f"throughput: notified every {ICEORYX_BATCH} samples, publisher waits for room"
    )

    def __init__(self, place: Place, *, bulk: bool) -> None:
        super().__init__(place, bulk=bulk)
        self.kept: list[Any] = []

    def services(self) -> tuple[Any, Any]:
        """Either side: both services, under a root and a prefix of this trial alone."""
        iox = peer("iceoryx2")
        iox.set_log_level(iox.LogLevel.Error)
        config = iox.config.default()
        config.global_cfg.root_path = iox.Path.new(f"{self.place.folder}/iox")
        config.global_cfg.prefix = iox.FileName.new(f"{self.place.instance}_")
        node = iox.NodeBuilder.new().config(config).create(iox.ServiceType.Ipc)
        data = (
            node.service_builder(iox.ServiceName.new("bench/data"))
            .publish_subscribe(_Payload)
            .subscriber_max_buffer_size(ICEORYX_BUFFER)
            .enable_safe_overflow(not self.bulk)
            .open_or_create()
        )
        event = node.service_builder(iox.ServiceName.new("bench/event")).event().open_or_create()
        self.kept += [node, data, event]
        return data, event

    def open(self) -> Any:
        """Make publisher and notifier."""
        iox = peer("iceoryx2")
        data, event = self.services()
        builder = data.publisher_builder()
        if self.bulk:
            builder = builder.backpressure_strategy(iox.BackpressureStrategy.RetryUntilDelivered)
        self.publisher = builder.create()
        self.notifier = event.notifier_builder().create()
        return None

    def listen(self, _handle: Any, sink: Sink) -> None:
        """Wait for the event, then receive until nothing is left."""
        data, event = self.services()
        subscriber = data.subscriber_builder().buffer_size(ICEORYX_BUFFER).create()
        listener = event.listener_builder().create()
        receive, wait = subscriber.receive, listener.blocking_wait
        take = sink.on_one if self.bulk else sink.on_message
        read, size = ctypes.string_at, MESSAGE_BYTES
        sink.ready()
        while not sink.is_done:
            sample = receive()
            if sample is None:
                wait()
                continue
            take(read(sample.payload_ptr, size))
            sample.delete()
        for port in (subscriber, listener):
            port.delete()

    def connect(self) -> None:
        """Connect to the subscriber before the first message."""
        self.publisher.update_connections()

    def put(self, message: bytes) -> None:
        """Loan a sample, fill it, send it."""
        sample = self.publisher.loan_uninit()
        ctypes.memmove(sample.payload_ptr, message, MESSAGE_BYTES)
        sample.assume_init().send()

    def sender(self) -> Callable[[bytes], object]:
        """Send one sample and notify."""
        put, notify = self.put, self.notifier.notify

        def send(message: bytes) -> object:
            put(message)
            return notify()

        return send

    def send_bulk(self, count: int) -> None:
        """Send samples, notify once per batch."""
        message = bytes(MESSAGE_BYTES)
        for i in range(1, count + 1):
            self.put(message)
            if i % ICEORYX_BATCH == 0 or i == count:
                self.notifier.notify()

    def close(self) -> None:
        """Delete the ports; the runner unlinks what a killed side left under this trial's prefix."""
        self.publisher.delete()
        self.notifier.delete()
        self.kept.clear()
