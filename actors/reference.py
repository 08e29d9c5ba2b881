"""The reference actor: all public HTTP of a run, on the housekeeping core.

It loads the venues' instrument data into the instrument table (its worker is started first and is ready only
once the rows are there), keeps them as the venues list them, and serves snapshot requests: a 64-byte record
from a feed worker becomes an HTTP request, the raw body goes back through a blob ring. It also measures how
far the venues' clocks stand from ours. It looks into no body but that of instrument data and times.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from actors.errors import ActorError, SettingsError
from actors.feed_ports import LISTING_REQUEST, REQUEST, blob_key, raise_error
from actors.runtime import spec as names
from actors.runtime.actor import Actor
from actors.runtime.context import Context
from actors.runtime.host import ORDER_COLD
from actors.runtime.mailboxes import CallSource
from actors.runtime.settings import read_settings
from actors.venue_care import ListingOutcome, VenueClock, VenueListing
from feeds.adapter import HttpRequest, VenueAdapter
from feeds.errors import TransportError, VenueError
from feeds.transport.rest import HttpReply, RestClient
from feeds.transport.tls import client_context
from feeds.venues import get_adapter
from shm.blobs import BlobProducer
from shm.enums import RateLane, SegmentKind
from shm.instruments import Instrument
from shm.spsc import Consumer

STATUS_NO_ANSWER = 0
OFFER_RETRY_NS = 2_000_000
OFFER_RETRIES = 1000
REST_RETRY_NS = (100_000_000, 300_000_000, 1_000_000_000)
STAMPS_EVERY_NS = 5_000_000_000
FAULT_LISTING = 3100
ODD_TOLD = 10  # by name; the fault log is small and shared


@dataclass(frozen=True, slots=True)
class ReferenceVenue:
    """One venue the reference actor serves.

    Args:
        venue: its name in the configuration.
        adapter: adapter name.
        rest_url: base address.
        symbols: whose instrument rows are loaded, by symbol, canonical name or pattern; empty = all the venue
            has.
        priority: of the instruments' ring, 1 critical .. 4 experimental.
        feed_slot: worker slot of the feed that writes their books.
        ca_file: PEM file of a private authority.
        snapshot_levels: depth of snapshots, 0 = by the number of instruments (`VenueAdapter.choose_depth`).
        concurrency: requests under way at once.
        timeout_s: of one request.
        listing_s: how often its list of instruments is looked at again; 0 = never.
        clock_s: how often it is asked for its time; 0 = never.
        instruments_max: how many instruments patterns may bring; 0 = as many as there are.
        rates: names of the shared rate limits that count its requests, by purpose ("weight").
    """

    venue: str
    adapter: str
    rest_url: str
    symbols: list[str]
    feed_slot: int
    priority: int = 2
    ca_file: str | None = None
    snapshot_levels: int = 0
    concurrency: int = 2
    timeout_s: float = 10.0
    listing_s: float = 300.0
    clock_s: float = 60.0
    instruments_max: int = 0
    rates: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= self.priority <= 4:
            raise SettingsError(f"reference: priority {self.priority} of {self.venue} is outside 1..4")
        if self.concurrency < 1:
            raise SettingsError(f"reference: concurrency of {self.venue} must be 1 or more")
        if min(self.listing_s, self.clock_s) < 0:
            raise SettingsError(f"reference: a time of {self.venue} is negative")


@dataclass(frozen=True, slots=True)
class ReferenceSettings:
    """Settings of the role `reference`: one `ReferenceVenue` object per venue."""

    venues: list[dict[str, Any]] = field(default_factory=list)


class _Served:
    """One venue at run time: its adapter, its client, and how many requests may be under way."""

    def __init__(self, settings: ReferenceVenue, context: Context) -> None:
        self.settings = settings
        self.adapter: VenueAdapter = get_adapter(settings.adapter)
        tls = client_context(settings.ca_file) if settings.rest_url.startswith("https") else None
        # Windows of the venue's clock: true where a header tells what was used in one.
        is_aligned = bool(self.adapter.used_weight_header)
        budget = context.rate_budget(settings.rates, "weight", RateLane.RESYNC, is_aligned=is_aligned)
        self.client = RestClient(
            settings.rest_url,
            now_ns=context.now_ns,
            ssl_context=tls,
            budget=budget or self.adapter.rest_budget(),
            on_refused=None if budget is None else budget.on_refused,
            used_weight_header=self.adapter.used_weight_header,
            timeout_s=settings.timeout_s,
        )
        self.slots = asyncio.Semaphore(settings.concurrency)
        self.levels = settings.snapshot_levels
        self.awaited: dict[tuple[int, int], int] = {}  # (feed, instrument) → number of its newest request
        self.listing = VenueListing(
            self.adapter, context.instruments, self.get, list(settings.symbols), self._placed, context.now_ns,
            settings.instruments_max,
        )  # fmt: skip
        self.clock = VenueClock(self.adapter, self.get, context.utc_ns)
        self.stamps: dict[int, int] = {}  # instrument → receive time of the newest message taken
        self.is_listing = False
        self.told: set[str] = set()  # rows that are not as documented are told once

    def _placed(self, row: Instrument) -> Instrument:
        return replace(row, slab=self.settings.feed_slot, priority=self.settings.priority)

    async def get(self, request: HttpRequest) -> HttpReply:
        """Send one request within the concurrency limit and the weight budget."""
        async with self.slots:
            return await self.client.send(request.method, request.path, request.weight)


class Reference(Actor):
    """The actor; see the module. Live only: a replay takes snapshots from its capture."""

    role: ClassVar[str] = "reference"
    is_critical: ClassVar[bool] = True

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        rows = read_settings(ReferenceSettings, settings, self.role).venues
        self._venues = [read_settings(ReferenceVenue, row, self.role) for row in rows]
        self._served: dict[int, _Served] = {}
        self._blobs: dict[int, BlobProducer] = {}
        self._requests = context.counter("reference.requests")
        self._failures = context.counter("reference.failures")
        self._merged = context.counter("reference.merged")
        self._lost = context.counter("reference.lost")
        self._listings = {
            key: context.counter(f"reference.listing_{key}")
            for key in ("requests", "unchanged", "added", "replaced", "status", "refused", "odd")
        }

    def on_attach(self) -> None:
        """Open the request ring of every feed worker and the blob ring back."""
        host, slot = self.context.host, self.context.host.spec.slot
        for feed in host.spec.feeds:
            consumer = host.consumer(
                host.inbound(names.requests_name(feed.slot, slot), SegmentKind.BLOB_RING)
            )
            blobs = host.spsc(names.blobs_name(slot, feed.slot), SegmentKind.BLOB_RING)
            self._blobs[feed.slot] = BlobProducer(blobs, host.bells, slot)
            host.add_source(CallSource(ORDER_COLD, self._poll_of(feed.slot, consumer), consumer.pending))

    async def on_start(self, reason: str, *_: Any) -> None:
        """Load the instruments of every venue; ready once the rows stand in the table."""
        for settings in self._venues:
            served = _Served(settings, self.context)
            self._served[served.adapter.venue_id] = served
            if reason != "restart" or not served.listing.covers():
                await self._load(served)
            count = sum(row.venue_id == served.adapter.venue_id for row in self.context.instruments)
            served.levels = served.adapter.choose_depth(count, settings.snapshot_levels).levels
            self._keep_up(served)

    def _keep_up(self, served: _Served) -> None:
        context, settings = self.context, served.settings
        if settings.listing_s:
            context.call_every(int(settings.listing_s * 1e9), lambda: self._look_at_listing(served))
        if settings.clock_s:
            self._spawn(self._ask_time(served), "time")
            context.call_every(
                int(settings.clock_s * 1e9), lambda: self._spawn(self._ask_time(served), "time")
            )
            context.call_every(STAMPS_EVERY_NS, lambda: self._read_stamps(served))

    def _spawn(self, work: Coroutine[Any, Any, None], what: str) -> None:
        def broken(error: Exception) -> None:
            self.context.host.guard(self.context.actor_id, what, raise_error, error)

        self.context.host.scheduler.spawn(work, lambda: None, broken)

    async def on_stop(self) -> None:
        """Close the HTTP clients."""
        for served in self._served.values():
            await served.client.close()

    # ---- instruments ----------------------------------------------------------------------------

    async def _load(self, served: _Served) -> None:
        said = ""
        for delay_ns in (*REST_RETRY_NS, -1):
            try:
                self._tell(served, await served.listing.load())
                return
            except TransportError as error:
                said = str(error)
            self._failures.inc(1)
            if delay_ns >= 0:
                await self.context.sleep(delay_ns)
        raise ActorError(f"no instrument data of {served.settings.venue}: {said}")

    def _look_at_listing(self, served: _Served) -> None:
        if not served.is_listing:  # asked often it costs little: the list is cached (`VenueListing.market`)
            served.is_listing = True
            self._spawn(self._renew(served), "listing")

    async def _renew(self, served: _Served) -> None:
        try:
            self._tell(served, await served.listing.load())
        except (TransportError, VenueError) as error:  # the rows stay as they are; it is asked again
            self._failures.inc(1)
            self._fault(f"{served.settings.venue}: list of instruments: {error}")
        finally:
            served.is_listing = False

    def _tell(self, served: _Served, outcome: ListingOutcome) -> None:
        counts = self._listings
        counts["requests"].inc(1)
        counts["unchanged"].inc(outcome.is_unchanged)
        for key in ("added", "replaced", "status"):
            counts[key].inc(getattr(outcome, key))
        counts["refused"].inc(len(outcome.refused))
        for text in outcome.refused:
            self._fault(f"{served.settings.venue}: {text}")
        new = [text for text in outcome.odd if text not in served.told]
        counts["odd"].inc(len(new))
        served.told.update(new)
        for text in new[:ODD_TOLD]:
            self._fault(f"{served.settings.venue}: list of instruments: {text}")
        if len(new) > ODD_TOLD:
            more = len(new) - ODD_TOLD
            self._fault(
                f"{served.settings.venue}: list of instruments: {more} more rows are not as documented"
            )

    def _fault(self, text: str) -> None:
        self.context.host.metrics.fault(FAULT_LISTING, text, self.context.utc_ns())

    # ---- clocks ---------------------------------------------------------------------------------

    async def _ask_time(self, served: _Served) -> None:
        try:
            await served.clock.ask()
        except (TransportError, VenueError):
            self._failures.inc(1)
            return
        self._show_clock(served)

    def _read_stamps(self, served: _Served) -> None:
        """Take the newest message of each book as its certificate has it: venue's stamp, our receive time."""
        context = self.context
        to_utc_ns = context.utc_ns() - context.now_ns()
        for row in context.instruments:
            if row.venue_id != served.adapter.venue_id:
                continue
            certificate = context.host.slab_of(row.instrument_id).certificate(row.instrument_id)
            if certificate is None or not certificate.venue_utc_ns or not certificate.data_ns:
                continue
            if served.stamps.get(row.instrument_id) != certificate.data_ns:
                served.stamps[row.instrument_id] = certificate.data_ns
                served.clock.on_stamp(certificate.data_ns + to_utc_ns, certificate.venue_utc_ns)
        self._show_clock(served)

    def _show_clock(self, served: _Served) -> None:
        estimate = served.clock.estimate()
        if estimate is not None:
            venue = served.settings.venue
            self.context.counter(f"venue.clock_offset_ns.{venue}", "ns").set(estimate.offset_ns)
            self.context.counter(f"venue.clock_error_ns.{venue}", "ns").set(estimate.error_ns)

    # ---- snapshots ------------------------------------------------------------------------------

    def _poll_of(self, feed_slot: int, consumer: Consumer) -> Any:
        buffer = bytearray(16 * REQUEST.size)

        def poll(limit: int) -> int:
            count: int = consumer.poll_into(buffer, min(limit, 16))
            for index in range(count):
                instrument_id, venue_id, request, levels = REQUEST.unpack_from(buffer, index * REQUEST.size)
                if instrument_id == LISTING_REQUEST:
                    if venue_id in self._served:
                        self._look_at_listing(self._served[venue_id])
                else:
                    self._serve(feed_slot, instrument_id, venue_id, request, levels)
            consumer.commit(count)
            return count

        return poll

    def _serve(self, feed_slot: int, instrument_id: int, venue_id: int, request: int, levels: int) -> None:
        self._requests.inc(1)
        served = self._served.get(venue_id)
        key = (feed_slot, instrument_id)
        if served is not None:
            is_awaited = key in served.awaited
            served.awaited[key] = request
            if is_awaited:  # a feed that lost patience asks again: one answer serves both, and costs once
                self._merged.inc(1)
                return
        self._spawn(self._answer_request(served, feed_slot, instrument_id, request, levels), "snapshot")

    async def _answer_request(
        self, served: _Served | None, feed_slot: int, instrument_id: int, request: int, levels: int
    ) -> None:
        status, body = STATUS_NO_ANSWER, b"its venue is not served here"
        if served is not None:
            try:
                status, body = await self._snapshot(served, instrument_id, levels)
            finally:
                request = served.awaited.pop((feed_slot, instrument_id))
        if not 200 <= status < 300:
            self._failures.inc(1)
        await self._answer(feed_slot, blob_key(instrument_id, request), status, body)

    async def _snapshot(self, served: _Served, instrument_id: int, levels: int) -> tuple[int, bytes]:
        symbol = self.context.instruments.get(instrument_id).symbol
        try:
            reply = await served.get(served.adapter.snapshot_request(symbol, levels or served.levels))
        except TransportError as error:
            return STATUS_NO_ANSWER, str(error).encode()
        return reply.status, reply.body

    async def _answer(self, feed_slot: int, key: int, status: int, body: bytes) -> None:
        for _ in range(OFFER_RETRIES):
            if self._blobs[feed_slot].offer(key, status, body):
                return
            await self.context.sleep(
                OFFER_RETRY_NS
            )  # the feed is behind; it asks again if this takes too long
        self._lost.inc(1)
