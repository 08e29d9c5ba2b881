"""Which segments a run needs, derived from its worker specs; and making all of them.

The supervisor makes them by name, the virtual host and tests make private ones: one list for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from actors.runtime import spec as names
from actors.runtime.state import StateStore
from shm.book import BookSlab
from shm.control import Control
from shm.enums import SegmentKind
from shm.instruments import InstrumentTable
from shm.metrics import Metrics
from shm.positions import PositionTable
from shm.rate_ledger import RateLedger
from shm.rate_rules import RateRule
from shm.ring import BroadcastRing
from shm.segment import Segment
from shm.spsc import SpscRing

MARKET_SLOT_BYTES = 128
ORDER_SLOT_BYTES = 256


@dataclass(frozen=True, slots=True)
class Sizes:
    """Capacities of a run's segments; ring capacities are powers of two.

    Args:
        instruments: rows of the instrument table, the slabs and the position tables.
        depth: levels per side in a slab.
        streams: entries of a slab's stream table.
        market_ring: records of each broadcast ring (at least 2 s of the measured peak).
        order_ring: records of each intent and report ring.
        request_ring, blob_ring, rest_ring: records of the cold rings (4096 slots = 16 MiB of bodies).
    """

    instruments: int = 256
    depth: int = 32
    streams: int = 64
    market_ring: int = 16384
    order_ring: int = 1024
    request_ring: int = 1024
    blob_ring: int = 4096
    rest_ring: int = 512


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """One segment to make: name, kind, payload size, how to format the zeroed payload, and who writes it.

    `writer` is the slot of the worker that writes it, or writes most of it; -1 = nobody in particular.
    """

    short: str
    kind: SegmentKind
    payload_bytes: int
    format: Callable[[memoryview], object]
    writer: int = -1


class SegmentMaker(Protocol):
    """Creates segments (a run's named ones, or anonymous ones)."""

    def create(self, short: str, kind: SegmentKind, payload_bytes: int) -> Segment:
        """Create one segment of that payload size, zeroed."""


def _spsc(short: str, kind: SegmentKind, capacity: int, slot_bytes: int, writer: int) -> SegmentPlan:
    return SegmentPlan(
        short,
        kind,
        SpscRing.bytes_needed(capacity, slot_bytes),
        lambda payload: SpscRing.create(payload, capacity, slot_bytes),
        writer,
    )


def _feed_segments(worker: names.WorkerSpec, feed: names.FeedRef, sizes: Sizes) -> Iterator[SegmentPlan]:
    yield SegmentPlan(
        names.books_name(feed.slot),
        SegmentKind.BOOKS,
        BookSlab.bytes_needed(sizes.depth, sizes.instruments, sizes.streams),
        lambda payload: BookSlab.create(payload, sizes.depth, sizes.instruments, sizes.streams, feed.slot),
        feed.slot,
    )
    for priority in feed.priorities:
        yield SegmentPlan(
            names.market_name(feed.slot, priority),
            SegmentKind.MARKET_RING,
            BroadcastRing.bytes_needed(sizes.market_ring, MARKET_SLOT_BYTES),
            lambda payload: BroadcastRing.create(payload, sizes.market_ring, MARKET_SLOT_BYTES),
            feed.slot,
        )
    if worker.reference_slot >= 0:
        reference = worker.reference_slot
        yield _spsc(
            names.requests_name(feed.slot, reference),
            SegmentKind.BLOB_RING,
            sizes.request_ring,
            names.REQUEST_BYTES,
            feed.slot,
        )
        yield _spsc(
            names.blobs_name(reference, feed.slot),
            SegmentKind.BLOB_RING,
            sizes.blob_ring,
            names.BLOB_SLOT_BYTES,
            reference,
        )


def _gateway_segments(worker: names.WorkerSpec, gateway: int, sizes: Sizes) -> Iterator[SegmentPlan]:
    yield SegmentPlan(
        names.positions_name(gateway),
        SegmentKind.POSITIONS,
        PositionTable.bytes_needed(sizes.instruments),
        lambda payload: PositionTable.create(payload, sizes.instruments),
        gateway,
    )
    account = worker.account_slot
    if account >= 0:
        pair = (
            (names.rest_requests_name(gateway, account), gateway),
            (names.rest_answers_name(account, gateway), account),
        )
        for short, writer in pair:
            yield _spsc(short, SegmentKind.BLOB_RING, sizes.rest_ring, names.BLOB_SLOT_BYTES, writer)
    for slot in worker.strategies:
        intents, reports = names.intents_name(slot, gateway), names.reports_name(gateway, slot)
        yield _spsc(intents, SegmentKind.INTENT_RING, sizes.order_ring, ORDER_SLOT_BYTES, slot)
        yield _spsc(reports, SegmentKind.REPORT_RING, sizes.order_ring, ORDER_SLOT_BYTES, gateway)


def plan_segments(
    workers: Iterable[names.WorkerSpec],
    sizes: Sizes,
    *,
    epoch: int,
    supervisor_pid: int = 0,
    rates: Sequence[RateRule] = (),
) -> list[SegmentPlan]:
    """Every segment of a run.

    Args:
        workers: all worker specs; each names all feeds, gateways and strategies of the run.
        sizes: capacities.
        epoch: of the run, written into the control segment.
        supervisor_pid: likewise.
        rates: rate limits of the venues, which all workers share.
    """
    specs = list(workers)
    plans = {
        names.control_name(): SegmentPlan(
            names.control_name(),
            SegmentKind.CONTROL,
            Control.bytes_needed(),
            lambda payload: Control.create(payload, epoch, supervisor_pid),
        ),
        names.instruments_name(): SegmentPlan(
            names.instruments_name(),
            SegmentKind.INSTRUMENTS,
            InstrumentTable.bytes_needed(sizes.instruments),
            lambda payload: InstrumentTable.create(payload, sizes.instruments),
        ),
        names.rates_name(): SegmentPlan(
            names.rates_name(),
            SegmentKind.RATES,
            RateLedger.bytes_needed(rates),
            lambda payload: RateLedger.create(payload, rates),
        ),
    }

    def add(plan: SegmentPlan) -> None:
        plans.setdefault(plan.short, plan)

    for worker in specs:
        add(_metrics_plan(worker.slot))
        add(
            SegmentPlan(
                names.state_name(worker.slot),
                SegmentKind.STATE,
                StateStore.bytes_needed(len(worker.actors)),
                StateStore,
                worker.slot,
            )
        )
        for feed in worker.feeds:
            for plan in _feed_segments(worker, feed, sizes):
                add(plan)
        for gateway in worker.gateways:
            for plan in _gateway_segments(worker, gateway, sizes):
                add(plan)
    return list(plans.values())


def _metrics_plan(slot: int) -> SegmentPlan:
    return SegmentPlan(
        names.metrics_name(slot),
        SegmentKind.METRICS,
        Metrics.bytes_needed(),
        lambda payload: Metrics.create(payload, slot),
        slot,
    )


def create_segments(
    maker: SegmentMaker,
    plans: Iterable[SegmentPlan],
    near: Callable[[int], AbstractContextManager[None]] = lambda _slot: nullcontext(),
) -> dict[str, Segment]:
    """Create and format every planned segment; by short name.

    Args:
        maker: creates them.
        plans: what to create.
        near: given the writer's slot, a context in which memory comes from where that is written.

    Raises:
        SegmentError: no space, or a segment of that name exists.
    """
    made: dict[str, Segment] = {}
    for plan in plans:
        with near(plan.writer):
            segment = maker.create(plan.short, plan.kind, plan.payload_bytes)
            plan.format(segment.payload)
        made[plan.short] = segment
    return made
