"""One worker's actors, rings and dispatch: what the live worker and the virtual host have in common."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from actors.runtime import spec as names
from actors.runtime.actor import Actor, overridden
from actors.runtime.context import Context
from actors.runtime.faults import Binding, FaultPolicy
from actors.runtime.intents import Clock, IntentPort, Moment, OrderIds
from actors.runtime.mailboxes import (
    BatchPolicy,
    Mailbox,
    ReportSource,
    Route,
    Source,
)
from actors.runtime.publishers import PublisherWatch
from actors.runtime.resync import find_instrument, learn_working_orders
from actors.runtime.schedule import Scheduler
from actors.runtime.settings import check_role_settings
from actors.runtime.state import StateStore
from actors.runtime.subscriptions import Subscriptions
from exec.order import make_client_order_id
from shm.book import BookSlab
from shm.control import Control
from shm.doorbell import BellSet
from shm.enums import ReportKind, SegmentKind
from shm.instruments import Instrument, InstrumentTable
from shm.metrics import Metrics
from shm.positions import Position, PositionTable
from shm.records import ReportRecord
from shm.segment import Segment, SegmentSource
from shm.spsc import Consumer, Producer, SpscRing

#: Order of the sources of a mailbox: reports first (they change what may be quoted), then the market rings
#: by priority, then intents, so that what a strategy decides in a pass leaves in the same pass.
ORDER_REPORTS = 5
# ORDER_MARKET (actors.runtime.subscriptions) = 10 times priority
ORDER_INTENTS = 60
ORDER_COLD = 80

#: States are saved with every that-many-th heartbeat.
SAVE_BEATS = 10

MakeActor = Callable[[str, Context, Mapping[str, Any]], Actor]
Notify = Callable[[dict[str, Any]], None]


class Host:
    """Hosts the actors of one worker spec.

    Args:
        spec: which actors, which rings.
        segments: opens segments by short name; the host only attaches.
        clock, scheduler, utc_ns: time.
        make_actor: the role registry.
        has_bells: whether publishing signals parked workers (False on the virtual clock).
        notify: receives messages for the supervisor (actor suspended, restarted).
    """

    def __init__(
        self,
        spec: names.WorkerSpec,
        segments: SegmentSource,
        clock: Clock,
        scheduler: Scheduler,
        utc_ns: Callable[[], int],
        make_actor: MakeActor,
        *,
        has_bells: bool = True,
        notify: Notify | None = None,
    ) -> None:
        self.spec = spec
        self.clock = clock
        self.scheduler = scheduler
        self.utc_ns = utc_ns
        self.notify: Notify = notify or (lambda _message: None)
        self.is_stopping = False
        self._segments = segments
        self._open: dict[str, Segment] = {}
        self._make_actor = make_actor
        control = self.open(names.control_name(), SegmentKind.CONTROL).payload
        self.control = Control.attach(control)
        self.slot = self.control.slot(spec.slot)
        self.bells = BellSet(control) if has_bells else None
        self.metrics = Metrics.attach(self.open(names.metrics_name(spec.slot), SegmentKind.METRICS).payload)
        self.instruments = InstrumentTable.attach(
            self.open(names.instruments_name(), SegmentKind.INSTRUMENTS).payload
        )
        self.states = StateStore(self.open(names.state_name(spec.slot), SegmentKind.STATE).payload)
        self.moment = Moment(clock, spec.instrument_capacity)
        drain = spec.drain
        policy = BatchPolicy(drain.batch_min, drain.batch_max, drain.young_ns, drain.old_ns)
        self.mailbox = Mailbox(self.moment, self.metrics, policy)
        self.mailbox.on_error = self._on_route_error
        self._publishers = PublisherWatch(self.control, self.moment, self.mailbox.deliver, self.resync)
        self.bindings: list[Binding] = []
        self.faults = FaultPolicy(self)
        self._subscriptions = Subscriptions(self)
        self._by_id: dict[int, Binding] = {}
        self._shared: dict[str, Any] = {}
        self._slabs: dict[int, BookSlab] = {}
        self._positions: dict[int, PositionTable] = {}
        self._producers: dict[int, Producer] = {}
        self._cyclers: list[Binding] = []
        self._beaters: list[Binding] = []
        self._savers: list[Binding] = []
        self._beats = 0
        self._acts = 0  # calls into actors that no drain made
        self._activity = (-1, -1, -1)
        base = make_client_order_id(spec.epoch, spec.slot, spec.incarnation, 0)
        self._ids = OrderIds(base)

    # ---- segments -------------------------------------------------------------------------------

    def open(self, short: str, kind: SegmentKind, *, writable: bool = True) -> Segment:
        """Attach a segment once and keep it until close()."""
        segment = self._open.get(short)
        if segment is None:
            segment = self._segments.open(short, kind, writable=writable)
            self._open[short] = segment
        return segment

    def slab(self, feed_slot: int) -> BookSlab:
        """The book slab of a feed worker."""
        slab = self._slabs.get(feed_slot)
        if slab is None:
            segment = self.open(names.books_name(feed_slot), SegmentKind.BOOKS)
            slab = self._slabs[feed_slot] = BookSlab.attach(segment.payload)
        return slab

    def slab_of(self, instrument_id: int) -> BookSlab:
        """The slab that holds an instrument's book."""
        return self.slab(self.instruments.get(instrument_id).slab)

    def positions(self, gateway_slot: int) -> PositionTable:
        """The position table of a gateway."""
        table = self._positions.get(gateway_slot)
        if table is None:
            segment = self.open(names.positions_name(gateway_slot), SegmentKind.POSITIONS)
            table = self._positions[gateway_slot] = PositionTable.attach(
                segment.payload, self.spec.instrument_capacity
            )
        return table

    def spsc(self, short: str, kind: SegmentKind) -> SpscRing:
        """Attach a lossless ring."""
        return SpscRing.attach(self.open(short, kind).payload)

    def inbound(self, short: str, kind: SegmentKind) -> SpscRing:
        """Attach a lossless ring this worker consumes: its producer signals this worker's bell."""
        ring = self.spsc(short, kind)
        if self.bells is not None:
            ring.subscribe_slot(self.spec.slot)
        return ring

    def producer(self, ring: SpscRing) -> Producer:
        """This worker's writing end of a lossless ring."""
        return Producer(ring, self.bells, self.spec.slot)

    def consumer(self, ring: SpscRing) -> Consumer:
        """This worker's reading end of a lossless ring."""
        return Consumer(ring, self.bells)

    def release(self) -> None:
        """Let go of every actor and segment; the host is of no use afterwards."""
        self.bindings.clear()
        self._by_id.clear()
        self._shared.clear()
        self._open.clear()

    # ---- look-ups -------------------------------------------------------------------------------

    def find_instrument(self, name: str) -> Instrument:
        """An instrument by canonical name, symbol or "venue_id:symbol".

        Raises:
            ActorError: none or several fit.
        """
        return find_instrument(self.instruments, name)

    def gateway_of(self, spec: names.ActorSpec) -> int | None:
        """Slot of the gateway an actor trades through: its setting `gateway`, else the first one."""
        gateways = self.spec.gateways
        return int(spec.settings.get("gateway", gateways[0])) if gateways else None

    def position_of(self, spec: names.ActorSpec, instrument_id: int) -> Position | None:
        """The position the actor's gateway stored for an instrument."""
        gateway = self.gateway_of(spec)
        return None if gateway is None else self.positions(gateway).load(instrument_id)

    def binding(self, actor_id: int) -> Binding | None:
        """The binding of an actor hosted here."""
        return self._by_id.get(actor_id)

    # ---- start ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Make every actor, attach it, start it, and only then let records reach it.

        A worker that comes up while the engine stops hosts nobody who quotes: it is there to cancel.
        """
        self.is_stopping = bool(self.control.stopping)
        for index, actor_spec in enumerate(self.spec.actors):
            port = self._make_port(actor_spec) if self.spec.slot in self.spec.strategies else None
            context = Context(self, actor_spec, port)
            actor = self._make_actor(actor_spec.role, context, actor_spec.settings)
            binding = Binding(index, actor_spec, context, actor)
            self.bindings.append(binding)
            self._by_id[actor_spec.actor_id] = binding
        self._beaters = [b for b in self.bindings if overridden(b.actor, "on_heartbeat")]
        self._savers = [b for b in self.bindings if overridden(b.actor, "save_state")]
        if self._producers:
            for gateway in self.spec.gateways:
                ring = self.inbound(names.reports_name(gateway, self.spec.slot), SegmentKind.REPORT_RING)
                source = ReportSource(self.mailbox, self.consumer(ring), ORDER_REPORTS, self._on_report)
                self.mailbox.add_source(source)
        for binding in self.bindings:
            binding.actor.on_attach()
        for binding in self.bindings:
            await self.faults.call_start(binding, self.spec.start_reason)

    def _make_port(self, actor_spec: names.ActorSpec) -> IntentPort | None:
        gateway = self.gateway_of(actor_spec)
        if gateway is None:
            return None
        producer = self._producers.get(gateway)
        if producer is None:
            ring = self.spsc(names.intents_name(self.spec.slot, gateway), SegmentKind.INTENT_RING)
            producer = self._producers[gateway] = self.producer(ring)
        return IntentPort(
            producer,
            self.moment,
            self._ids,
            self.metrics,
            actor_id=actor_spec.actor_id,
            worker_slot=self.spec.slot,
            incarnation=self.spec.incarnation,
            epoch=self.spec.epoch,
            generation=self.spec.generation,
        )

    async def begin(self, binding: Binding, reason: str) -> None:
        """Start one actor: state, positions and working orders first, records last."""
        actor, context = binding.actor, binding.context
        subscriptions = self._subscriptions.wanted(binding)
        if reason == "restart" and context.can_send and not actor.is_critical:
            await learn_working_orders(self, binding)
        saved = self.states.load(binding.index, binding.spec.actor_id)
        if saved is not None:
            actor.load_state(*saved)
        positions: dict[int, Position] = {}
        for instrument_id in subscriptions if self.spec.gateways else ():
            position = self.position_of(binding.spec, instrument_id)
            if position is not None:
                positions[instrument_id] = position
        state = None if saved is None else saved[1]
        answer = actor.on_start(reason, state, positions, dict(context.working))
        if inspect.isawaitable(answer):
            await answer
        context.is_quoting = not self.is_stopping
        self._bind(binding, subscriptions)
        self.resync(subscriptions)

    def _bind(self, binding: Binding, instrument_ids: Sequence[int]) -> None:
        self._subscriptions.bind(binding, instrument_ids)
        binding.on_report = self._subscriptions.handler(binding, "on_report", conflate=False)
        if binding.actor.wants_cycle:
            self._cyclers.append(binding)
        # Nothing runs in such an actor but what is counted as activity of the worker.
        binding.is_driven = not binding.tasks and binding not in self._beaters
        self._acts += 1
        binding.activate()

    def share(self, key: str, make: Callable[[], Any]) -> Any:
        """One object per worker and key, made on first use: what several actors of a role have in common."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    def add_source(self, source: Source) -> None:
        """Add an input of an infrastructure role (intents, requests, blobs)."""
        self.mailbox.add_source(source)

    # ---- running --------------------------------------------------------------------------------

    def drain(self, limit: int = 256) -> int:
        """One duty cycle: drain all rings, then the roles that work after each cycle."""
        total = self.mailbox.drain(limit)
        if self._cyclers:
            now = self.clock.now_ns()
            for binding in self._cyclers:
                if binding.is_active:
                    self.faults.call(binding, "on_cycle", binding.actor.on_cycle, now)
        return total

    def guard(self, actor_id: int, name: str, call: Callable[..., object], *args: Any) -> None:
        """Call something on behalf of an actor; what it raises suspends that actor only."""
        binding = self._by_id[actor_id]
        self._acts += 1
        self.faults.call(binding, name, call, *args)

    def resync(self, instrument_ids: Sequence[int]) -> None:
        """Dispatch STATUS and BOOK of these instruments from the slab."""
        self._subscriptions.resync(instrument_ids)

    def _on_report(self, report: ReportRecord) -> None:
        binding = self._by_id.get(report.actor_id)
        if binding is None:
            return
        binding.context.apply_report(report)
        if (
            binding.awaits_status
            and report.kind == ReportKind.STATUS
            and report.client_order_id == binding.awaits_status
        ):
            binding.awaits_status = 0
        elif binding.is_active and binding.on_report is not None:
            self.faults.call(binding, "on_report", binding.on_report, report)

    def _on_route_error(self, route: Route, error: Exception) -> None:
        self.faults.fail(route.binding, route.name, error)

    # ---- generations, state, stop ---------------------------------------------------------------

    def remake(self, binding: Binding) -> None:
        """Replace a suspended actor by a fresh one of the same spec."""
        self.unbind(binding)
        binding.actor = self._make_actor(binding.spec.role, binding.context, binding.spec.settings)
        binding.actor.on_attach()

    def unbind(self, binding: Binding) -> None:
        """Take an actor's handlers out of the dispatch."""
        self._subscriptions.unbind(binding)
        if binding in self._cyclers:
            self._cyclers.remove(binding)

    def apply_generation(self, number: int, settings: Mapping[int, Mapping[str, Any]]) -> None:
        """Swap to a config generation; called between two duty cycles, so each decision has exactly one.

        Raises:
            SettingsError: an actor's new settings are wrong; nothing changed in this worker.
        """
        for binding in self.bindings:
            new = settings.get(binding.spec.actor_id)
            if new is not None:
                check_role_settings(type(binding.actor), new)
        for binding in self.bindings:
            new = settings.get(binding.spec.actor_id)
            if new is not None:
                binding.spec.settings = dict(new)
                self.faults.call(binding, "on_config", binding.actor.on_config, new, number)
                self._acts += 1
            binding.context.set_generation(number)
        self.spec.generation = number
        self.slot.generation = number

    def heartbeat(self) -> None:
        """Tell the world this worker lives, and give roles their slow periodic call."""
        now = self.clock.now_ns()
        self.slot.heartbeat_ns = now
        self.slot.cycles = self.mailbox.cycles
        self.slot.cycle_ns_max = self.mailbox.cycle_ns_max
        self._publishers.look(self._subscriptions.rings)
        self._subscriptions.look(self.bindings)
        for binding in self._beaters:
            if binding.is_active:
                self.faults.call(binding, "on_heartbeat", binding.actor.on_heartbeat, now)
        self._beats += 1
        if self._beats % SAVE_BEATS == 0:
            self.save_states()

    def save_states(self) -> None:
        """Store the state of every actor that has one and may have changed it; called at a message boundary.

        An idle worker of 500 actors would spend most of its time asking for what can not have changed.
        """
        activity = (self.mailbox.cycles, self.mailbox.dispatched, self._acts)
        is_quiet, self._activity = activity == self._activity, activity
        for binding in self._savers:
            if binding.is_active and not (is_quiet and binding.is_driven):
                self.faults.call(binding, "save_state", self._save_state, binding)

    def _save_state(self, binding: Binding) -> None:
        state = binding.actor.save_state()
        if state is not None and state != binding.saved:
            version = type(binding.actor).state_version
            self.states.save(binding.index, binding.spec.actor_id, version, state)
            binding.saved = state

    async def stop_quoting(self) -> None:
        """No new order from here on: strategies stop and their orders are canceled."""
        self.is_stopping = True
        for binding in self.bindings:
            if not binding.actor.is_critical:
                await self._stop_actor(binding)

    async def quiesce(self, limit_ns: int) -> None:
        """Bring outstanding work to an end: the gateways cancel all orders and wait until none rests."""
        for binding in self.bindings:
            if not binding.is_stopped:
                answer = binding.actor.on_quiesce(self.clock.now_ns() + limit_ns)
                if inspect.isawaitable(answer):
                    await answer

    def on_halt(self) -> None:
        """The halt word changed: tell every actor now instead of at its next intent."""
        self._acts += 1
        for binding in self.bindings:
            if binding.is_active:
                self.faults.call(binding, "on_halt", binding.actor.on_halt)

    async def stop(self) -> None:
        """Stop all actors, infrastructure last."""
        await self.stop_quoting()
        for binding in reversed(self.bindings):
            await self._stop_actor(binding)

    async def _stop_actor(self, binding: Binding) -> None:
        if binding.is_stopped:
            return
        binding.is_stopped = True
        binding.context.is_quoting = False
        if binding.is_active:
            self.faults.call(binding, "save_state", self._save_state, binding)
        binding.context.cancel_timers()
        await self.faults.call_stop(binding)
        if binding.context.working:
            binding.context.mass_cancel()
        binding.deactivate(keep_reports=True)
