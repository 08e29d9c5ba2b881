"""What the market data actors of one worker share: rings, stream numbers, the line to the reference actor."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from actors.errors import ActorError
from actors.runtime import spec as names
from actors.runtime.mailboxes import CallSource
from shm.blobs import BlobConsumer
from shm.enums import SegmentKind
from shm.ring import BroadcastRing, Publisher

if TYPE_CHECKING:
    from actors.runtime.host import Host

#: A snapshot request as it stands in its ring: instrument id, venue id, request number, levels a side (0 = as
#: the reference actor finds right). Instrument LISTING_REQUEST asks for a look at the venue's list instead.
REQUEST = struct.Struct("<IIQI44x")
LISTING_REQUEST = 0xFFFFFFFF
ORDER_BLOBS = 90


class SnapshotAnswer(NamedTuple):
    """What came back for a snapshot request: an HTTP status (0 = no answer) and the raw body."""

    instrument_id: int
    request: int
    status: int
    body: bytes


def blob_key(instrument_id: int, request: int) -> int:
    """The key under which the answer to a snapshot request travels."""
    return (request & 0xFFFFFFFF) << 32 | instrument_id


def split_blob_key(key: int) -> tuple[int, int]:
    """(instrument id, request number) of a key."""
    return key & 0xFFFFFFFF, key >> 32


def raise_error(error: Exception) -> None:
    """Raise what a task of an actor ended with, where the host can isolate it."""
    raise error


class FeedPorts:
    """Rings and slab of one feed worker.

    Args:
        host: of the worker; its slot must be one of the run's feeds.

    Raises:
        ActorError: the worker is no feed in this run.
    """

    def __init__(self, host: Host) -> None:
        spec = host.spec
        mine = [feed for feed in spec.feeds if feed.slot == spec.slot]
        if not mine:
            raise ActorError(f"worker {spec.name}: slot {spec.slot} is not among the feeds of this run")
        self.publishers: dict[int, Publisher] = {}
        for priority in mine[0].priorities:
            payload = host.open(names.market_name(spec.slot, priority), SegmentKind.MARKET_RING).payload
            self.publishers[priority] = Publisher(BroadcastRing.attach(payload), host.bells)
        self._host = host
        self._streams = 0
        self._requests = 0
        self._handlers: dict[int, Callable[[SnapshotAnswer], None]] = {}
        self._buffer = bytearray(REQUEST.size)
        self._producer = None
        reference = spec.reference_slot
        if reference >= 0:
            ring = host.spsc(names.requests_name(spec.slot, reference), SegmentKind.BLOB_RING)
            self._producer = host.producer(ring)
            blobs = host.inbound(names.blobs_name(reference, spec.slot), SegmentKind.BLOB_RING)
            self._blobs = BlobConsumer(blobs, host.bells)
            host.add_source(CallSource(ORDER_BLOBS, self._poll, self._blobs.pending))

    def take_streams(self, count: int) -> int:
        """Reserve that many stream numbers; returns the first."""
        first = self._streams
        self._streams += count
        return first

    def on_blob(self, venue_id: int, handler: Callable[[SnapshotAnswer], None]) -> None:
        """Hand answers for instruments of a venue to a handler."""
        self._handlers[venue_id] = handler

    def request(self, instrument_id: int, venue_id: int, levels: int = 0) -> bool:
        """Ask the reference actor for a snapshot; False = back-pressured, or there is no reference actor."""
        if self._producer is None:
            return False
        self._requests += 1
        REQUEST.pack_into(self._buffer, 0, instrument_id, venue_id, self._requests, levels)
        accepted: bool = self._producer.offer(self._buffer)
        return accepted

    def request_listing(self, venue_id: int) -> bool:
        """Ask the reference actor to look at a venue's list of instruments; False as `request`."""
        return self.request(LISTING_REQUEST, venue_id)

    def _poll(self, limit: int) -> int:
        del limit  # bodies are few and whole
        answers = self._blobs.poll()
        for blob in answers:
            instrument_id, request = split_blob_key(blob.key)
            handler = self._handlers.get(self._host.instruments.get(instrument_id).venue_id)
            if handler is not None:
                handler(SnapshotAnswer(instrument_id, request, blob.status, blob.body))
        return len(answers)
