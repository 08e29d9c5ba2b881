"""Ours: the broadcast ring for latency, the lossless ring for throughput, one bell for both."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from shm.control import Control
from shm.doorbell import BellSet, Parker
from shm.enums import SegmentKind
from shm.ring import BroadcastRing, Publisher, Subscriber
from shm.segment import RunName, Segment
from shm.spsc import Consumer, Producer, SpscRing
from tools.bench.ring.contender import MESSAGE_BYTES, Contender, InheritedFd, Place, Sink, run_loop

CAPACITY = 1 << 14
CONSUMER_SLOT = 1
POLL_LIMIT = 64
BULK_BATCH = 256
BULK_POLL_LIMIT = 4096


class Ringlane(Contender):
    """The engine's own way: shared ring, parked word, eventfd, uvloop."""

    name = "ringlane"
    bulk_count = 10_000_000
    how = (
        "latency: broadcast ring, polled into a preallocated buffer, one handler call per record; "
        f"throughput: lossless ring, offered in batches of {BULK_BATCH}, one handler call per batch"
    )

    def __init__(self, place: Place, *, bulk: bool) -> None:
        super().__init__(place, bulk=bulk)
        self.run = RunName(place.instance, 1)
        self.segments: list[Segment] = []
        self.bell = -1

    def open(self) -> Any:
        """Make the control segment, the ring and the bell."""
        self.bell = os.eventfd(0, os.EFD_NONBLOCK)
        control = Segment.create(self.run, "control", SegmentKind.CONTROL, Control.bytes_needed())
        self.segments.append(control)
        Control.create(control.payload, self.run.epoch, os.getpid()).slot(CONSUMER_SLOT).bell_fd = self.bell
        kind = SegmentKind.INTENT_RING if self.bulk else SegmentKind.MARKET_RING
        ring = SpscRing if self.bulk else BroadcastRing
        segment = Segment.create(self.run, "ring", kind, ring.bytes_needed(CAPACITY, MESSAGE_BYTES))
        self.segments.append(segment)
        ring.create(segment.payload, CAPACITY, MESSAGE_BYTES).subscribe_slot(CONSUMER_SLOT)
        bells = BellSet(control.payload)
        if self.bulk:
            self.producer = Producer(SpscRing.attach(segment.payload), bells, 0)
        else:
            self.publisher = Publisher(BroadcastRing.attach(segment.payload), bells)
        return InheritedFd(self.bell)  # spawn keeps its number, which the control segment names

    def listen(self, handle: Any, sink: Sink) -> None:
        """Attach, then drain on each bell; park only when nothing is left."""
        handle.detach()
        control = Segment.attach(self.run, "control", SegmentKind.CONTROL)
        parker = Parker(control.payload, CONSUMER_SLOT)
        start = self._listen_bulk if self.bulk else self._listen_each
        run_loop(sink, lambda loop: start(loop, parker, BellSet(control.payload), sink))

    def _listen_each(
        self, loop: asyncio.AbstractEventLoop, parker: Parker, _bells: BellSet, sink: Sink
    ) -> None:
        segment = Segment.attach(self.run, "ring", SegmentKind.MARKET_RING)
        subscriber = Subscriber(BroadcastRing.attach(segment.payload))
        buffer = bytearray(MESSAGE_BYTES * POLL_LIMIT)
        whole = memoryview(buffer)
        records = [whole[i * MESSAGE_BYTES : (i + 1) * MESSAGE_BYTES] for i in range(POLL_LIMIT)]
        poll_into, pending, on_message = subscriber.poll_into, subscriber.pending, sink.on_message
        clear, arm, disarm = parker.clear, parker.arm, parker.disarm

        def drain() -> None:
            while True:
                taken = poll_into(buffer, POLL_LIMIT)
                for i in range(taken):
                    on_message(records[i])
                if taken == POLL_LIMIT:
                    continue
                # The bell is read after the records: one system call less before the handler.
                clear()
                arm()
                if not pending():
                    return
                disarm()

        loop.add_reader(parker.fd, drain)
        drain()

    def _listen_bulk(
        self, loop: asyncio.AbstractEventLoop, parker: Parker, bells: BellSet, sink: Sink
    ) -> None:
        segment = Segment.attach(self.run, "ring", SegmentKind.INTENT_RING)
        consumer = Consumer(SpscRing.attach(segment.payload), bells)
        buffer = bytearray(MESSAGE_BYTES * BULK_POLL_LIMIT)
        records = np.frombuffer(buffer, dtype=np.int64).reshape(-1, MESSAGE_BYTES // 8)
        poll_into, commit, pending, on_batch = (
            consumer.poll_into,
            consumer.commit,
            consumer.pending,
            sink.on_batch,
        )
        clear, arm, disarm = parker.clear, parker.arm, parker.disarm

        def drain() -> None:
            while True:
                taken = poll_into(buffer, BULK_POLL_LIMIT)
                if taken:
                    on_batch(records[:taken])
                    commit(taken)
                    continue
                clear()
                arm()
                if not pending():
                    return
                disarm()

        loop.add_reader(parker.fd, drain)
        drain()

    def sender(self) -> Callable[[bytes], object]:
        """Publish one record."""
        return self.publisher.publish

    def send_bulk(self, count: int) -> None:
        """Offer in batches; a refused batch is offered again."""
        offer, batch, sent = self.producer.offer_many, bytes(MESSAGE_BYTES * BULK_BATCH), 0
        while sent < count:
            if offer(batch, BULK_BATCH):
                sent += BULK_BATCH

    def close(self) -> None:
        """Unlink the segments and close the bell."""
        for segment in self.segments:
            segment.unlink()
        if self.bell >= 0:
            os.close(self.bell)
