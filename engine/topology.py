"""From a configuration to processes, segments and rings; refuses a graph that can not run.

Slot 0 is the supervisor and has no bell; workers have slots from 1 in start order: first the housekeeping
worker with the reference actor (everybody needs its instrument table), then feeds, then gateway and
strategies.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from actors.runtime.segments import SegmentPlan, Sizes, plan_segments
from actors.runtime.spec import ActorSpec, DrainSpec, FeedRef, MachineSpec, WorkerSpec
from engine.accounts import OrderUrls, account_rows
from engine.config import (
    Config,
    DrainConfig,
    MachineConfig,
    RiskConfig,
    StrategyConfig,
    money_e8,
)
from engine.errors import TopologyError
from engine.placement import FEED_ROLE, HOUSEKEEPING_NICE, HOUSEKEEPING_ROLE, place, shared_cores
from engine.rates import RatePlan, plan_rates
from engine.sentinel_plan import add_sentinel
from engine.shadow_config import shadow_settings
from engine.store_config import mirror_settings, store_settings
from engine.venue_config import VenueConfig
from feeds.names import is_pattern, names_beside, names_meant
from profiles.host.reader import format_list

#: Roles that are no strategies.
PARTS = frozenset(
    ("market_data", "reference", "order_gateway", "account", "journal_keeper", "store", "mirror", "shadow")
)
MARKET_CAPACITY = 65_536
ORDER_CAPACITY = 4_096
WORKER_SLOTS = 64
INSTRUMENTS_MIN = 16
#: How canonical names look: BASE-QUOTE, BASE-QUOTE-PERP, BASE-QUOTE-YYMMDD.
CANONICAL = re.compile(r"[A-Z0-9]+-[A-Z0-9]+(-PERP|-\d{6})?")
# A simulated venue on loopback bears any number of snapshot requests: all books may resync at once.
LOOPBACK_SESSION: Mapping[str, int] = {"resync_tokens": 1_000, "resync_per_second": 1_000}
# Connections of each group of streams: each costs the decoding of its frames, and only a real network cuts.
VENUE_LINES = 2
LOOPBACK_LINES = 1


@dataclass(frozen=True, slots=True)
class VenueUrls:
    """Where a venue is reached; of a simulated one it is known only when that runs.

    Attributes:
        websocket_url, rest_url: base addresses.
        ca_file: PEM file of the authority that signed its certificate, None = the system's.
        symbols: what it trades, used when the configuration names no symbols.
        orders: where a simulated venue takes orders.
    """

    websocket_url: str
    rest_url: str
    ca_file: str | None = None
    symbols: tuple[str, ...] = ()
    orders: OrderUrls | None = None


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """One worker before it has a slot: its name, role and actors."""

    name: str
    role: str
    actors: tuple[ActorSpec, ...]


@dataclass(frozen=True, slots=True)
class Topology:
    """Everything the supervisor must create and start.

    Attributes:
        workers: specs in start order; slots are 1, 2, …; descriptors and incarnation are filled in at each
            spawn.
        segments: what to create before the first spawn.
        placement: one line for header and report, for example
            `default: housekeeping@- feed@0 trade@1, others on 0`.
        spare_slots: bells made beyond the workers.
    """

    workers: tuple[WorkerSpec, ...]
    segments: tuple[SegmentPlan, ...]
    placement: str
    spare_slots: int = 0


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """What the supervisor knows and every spec repeats."""

    instance: str
    epoch: int
    state_dir: str
    supervisor_pid: int


def risk_limits(risk: RiskConfig) -> dict[str, int]:
    """The fields of `risk.limits.Limits` that the configuration sets."""
    return {
        "max_order_units": risk.max_order_units,
        "max_order_notional_e8": money_e8(risk.max_order_notional),
        "max_position_notional_e8": money_e8(risk.max_position_notional),
        "max_exposure_e8": money_e8(risk.max_exposure),
        "orders_per_s": risk.orders_per_s,
        "burst": risk.burst,
        "max_open_orders": risk.max_open_orders,
        "max_silence_ns": risk.max_silence_ms * 1_000_000,
        "max_data_age_ns": risk.max_data_age_ms * 1_000_000,
        "max_intent_age_ns": risk.max_intent_age_ms * 1_000_000,
        "price_band_bps": risk.price_band_bps,
        "max_correlated_notional_e8": money_e8(risk.max_correlated_notional),
    }


def _symbols(venue: VenueConfig, urls: VenueUrls) -> list[str]:
    return list(venue.symbols or urls.symbols)


def _feed_actor(name: str, venue: VenueConfig, urls: VenueUrls) -> ActorSpec:
    settings: dict[str, Any] = {
        "venue": name,
        "adapter": venue.adapter,
        "websocket_url": urls.websocket_url,
        "symbols": _symbols(venue, urls),
        "priority": venue.priority,
        "depth_stream": venue.depth_stream,
        "trade_stream": venue.trade_stream,
        "connections": venue.connections or (LOOPBACK_LINES if venue.simulated is not None else VENUE_LINES),
        "rotate_s": venue.rotate_s,
        "connects_per_second": venue.connects_per_s,
        "with_liquidations": venue.liquidations,
        "with_status": venue.status,
        "validation": venue.validation.model_dump(exclude_none=True),
        "audit": venue.audit.model_dump(exclude_none=True),
        "instruments_max": venue.instruments_max if venue.follows_listings else 0,
        "quiet": venue.quiet.model_dump(exclude_none=True),
        "ca_file": venue.ca_file or urls.ca_file,
        "session": dict(LOOPBACK_SESSION) if venue.simulated is not None else {},
    }
    return ActorSpec(0, "market_data", f"md-{name}", settings)


def _reference_actor(config: Config, urls: Mapping[str, VenueUrls]) -> ActorSpec:
    rows = [
        {
            "venue": name,
            "adapter": venue.adapter,
            "rest_url": urls[name].rest_url,
            "symbols": _symbols(venue, urls[name]),
            "priority": venue.priority,
            "ca_file": venue.ca_file or urls[name].ca_file,
            "listing_s": venue.listing_s,
            "instruments_max": venue.instruments_max,
            "clock_s": venue.clock_s,
        }
        for name, venue in config.venues.items()
    ]
    return ActorSpec(0, "reference", "reference", {"venues": rows})


def gateway_settings(config: Config) -> dict[str, Any]:
    """Settings of the order gateway actor."""
    orders = config.orders
    return {
        "mode": orders.mode,
        "maker_fee_bps": orders.maker_fee_bps,
        "taker_fee_bps": orders.taker_fee_bps,
        "queue_model": orders.queue_model,
        "entry_latency": orders.entry_latency,
        "response_latency": orders.response_latency,
        "feed_latency": orders.feed_latency,
        "keep_orphans": orders.keep_orphans,
        "spin_ns": orders.spin_us * 1_000,
        "rehearse_ns": orders.rehearse_us * 1_000,
        "orphan_ns": config.engine.orphan_ms * 1_000_000,
        "journal_file_bytes": config.journal.file_mib << 20,
        "limits": risk_limits(config.risk),
        "correlation_threshold": config.risk.correlation_threshold,
        "correlation_step_ns": config.risk.correlation_step_ms * 1_000_000,
        "correlation_half_life": config.risk.correlation_half_life,
    }


def _keeper_settings(config: Config) -> dict[str, Any]:
    return {"keep_days": config.journal.keep_days, "keep_bytes": config.journal.keep_mib << 20}


def strategy_settings(config: Config, strategy: StrategyConfig) -> dict[str, Any]:
    """Settings of one strategy actor: the configuration's own table, plus where and what it trades."""
    venue = config.venues[strategy.venue]
    return {"venue": venue.adapter, "instruments": strategy.instruments, **strategy.settings}


def _store_actors(config: Config, pairs: int) -> list[ActorSpec]:
    """What keeps databases behind the run; their gateways' slots are filled in later."""
    actors = []
    if config.store.kind != "off":
        actors.append(ActorSpec(0, "store", "store", store_settings(config.store, pairs)))
    if config.store.mirror is not None:
        actors.append(ActorSpec(0, "mirror", "mirror", mirror_settings(config.store, pairs)))
    if config.shadow is not None:
        actors.append(ActorSpec(0, "shadow", "shadow", shadow_settings(config.shadow)))
    return actors


def worker_roles(config: Config) -> list[tuple[str, str]]:
    """Name and role of each worker in start order, known before any venue is; not the sentinel."""
    cold = ("housekeeping", HOUSEKEEPING_ROLE)
    if config.engine.placement == "default":
        return [cold, ("feed", FEED_ROLE), ("trade", "trade")]
    feeds = ["feed"] if len(config.venues) == 1 else [f"feed-{venue}" for venue in config.venues]
    last = [("strategy", "strategy")] if config.strategies else []
    return [cold, *((name, FEED_ROLE) for name in feeds), ("gateway", "gateway"), *last]


def plan_cores(config: Config, allowed: Sequence[int]) -> tuple[dict[str, int | None], list[int]]:
    """By worker name its core (None = not pinned), and the cores of all that is not pinned."""
    workers = worker_roles(config)
    cores = place(workers, allowed)
    return cores, shared_cores(workers, cores, allowed)


def plan_workers(config: Config, urls: Mapping[str, VenueUrls]) -> list[WorkerPlan]:
    """Group the actors of a configuration into workers, in start order."""
    feeds = [_feed_actor(name, venue, urls[name]) for name, venue in config.venues.items()]
    signing, sending = account_rows(
        config,
        {n: u.orders for n, u in urls.items()},
        {n: _symbols(v, urls[n]) for n, v in config.venues.items()},
    )
    for row in (*signing, *sending):
        row["ca_file"] = row["ca_file"] or urls[row["name"]].ca_file
    accounts = {"accounts": signing} if signing else {}
    gateway = ActorSpec(0, "order_gateway", "gateway", gateway_settings(config) | accounts)
    strategies = [ActorSpec(0, s.kind, s.name, strategy_settings(config, s)) for s in config.strategies]
    cold = [_reference_actor(config, urls)]
    if sending:
        cold.append(ActorSpec(0, "account", "account", {"accounts": sending}))
    cold.append(ActorSpec(0, "journal_keeper", "journal", _keeper_settings(config)))
    cold += _store_actors(config, sum(len(_symbols(v, urls[n])) for n, v in config.venues.items()))
    hosted = [cold, feeds, [gateway, *strategies]]
    if config.engine.placement == "spread":
        hosted = [cold, *([feed] for feed in feeds), [gateway], *([strategies] if strategies else [])]
    names = worker_roles(config)
    return [WorkerPlan(name, role, tuple(one)) for (name, role), one in zip(names, hosted, strict=True)]


def _slots_with(plans: Sequence[WorkerPlan], wanted: Callable[[ActorSpec], bool]) -> list[int]:
    return [slot for slot, plan in enumerate(plans, 1) if any(wanted(a) for a in plan.actors)]


def _is_strategy(actor: ActorSpec) -> bool:
    return actor.role not in PARTS


def _check(config: Config, plans: Sequence[WorkerPlan], urls: Mapping[str, VenueUrls]) -> None:
    slots = 1 + len(plans) + config.engine.spare_slots
    if slots > WORKER_SLOTS:
        raise TopologyError(
            f"{slots} worker slots are needed (with supervisor and spares), there are {WORKER_SLOTS}"
        )
    adapters: dict[str, str] = {}
    for name, venue in config.venues.items():
        if venue.adapter in adapters:
            raise TopologyError(
                f"venues.{name} and venues.{adapters[venue.adapter]} both use adapter {venue.adapter}: "
                "one venue per symbol namespace"
            )
        adapters[venue.adapter] = name
        symbols = _symbols(venue, urls[name])
        if not symbols:
            raise TopologyError(f"venues.{name} has no symbols: none configured and the venue offers none")
        # A name of ours is for the reference actor to judge: it has the instrument data.
        given = {s for s in symbols if not CANONICAL.fullmatch(s) and not is_pattern(s)}
        unknown = sorted(given - set(urls[name].symbols)) if urls[name].symbols else []
        if unknown:
            raise TopologyError(
                f"venues.{name} does not trade {', '.join(unknown)}; it has {len(urls[name].symbols)} others"
                f"{_likes(unknown[0], urls[name].symbols)}"
            )
    for strategy in config.strategies:
        known = _symbols(config.venues[strategy.venue], urls[strategy.venue])
        adapter = config.venues[strategy.venue].adapter
        unknown = (
            names_beside(adapter, strategy.instruments, known)
            if isinstance(strategy.instruments, list) and not config.venues[strategy.venue].follows_listings
            else []
        )
        if unknown:
            hint = _likes(unknown[0], names_meant(adapter, known))
            raise TopologyError(
                f"strategy {strategy.name}: venues.{strategy.venue} has no {', '.join(unknown)}{hint}"
            )
        if strategy.kind in PARTS:
            raise TopologyError(f'strategy {strategy.name}: "{strategy.kind}" is not a kind of strategy')


def _likes(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, n=3)
    return f"; close matches: {', '.join(close)}" if close else ""


def build_topology(
    config: Config,
    urls: Mapping[str, VenueUrls],
    identity: RunIdentity,
    allowed: Sequence[int],
    generation: int = 1,
) -> Topology:
    """Make the topology of a run.

    Args:
        config: a validated configuration.
        urls: for every venue of it, where it is reached.
        identity: instance, epoch and supervisor of the run.
        allowed: cores that may be used.
        generation: config generation the settings belong to.

    Raises:
        TopologyError: the graph can not run; says which part and why.
    """
    plans = plan_workers(config, urls)
    _check(config, plans, urls)
    cores, others = plan_cores(config, allowed)
    count = sum(
        len(_symbols(v, urls[n])) + (v.instruments_max if v.follows_listings else 0)
        for n, v in config.venues.items()
    )
    feeds = [
        FeedRef(slot, sorted({int(a.settings["priority"]) for a in plan.actors}))
        for slot, plan in enumerate(plans, 1)
        if plan.role == FEED_ROLE
    ]
    shared = WorkerSpec(
        slot=0,
        name="",
        role="",
        instance=identity.instance,
        epoch=identity.epoch,
        state_dir=identity.state_dir,
        supervisor_pid=identity.supervisor_pid,
        generation=generation,
        seed=config.run.seed,
        heartbeat_ns=config.engine.heartbeat_ms * 1_000_000,
        feeds=feeds,
        gateways=_slots_with(plans, lambda a: a.role == "order_gateway"),
        strategies=_slots_with(plans, _is_strategy),
        reference_slot=_slots_with(plans, lambda a: a.role == "reference")[0],
        account_slot=next(iter(_slots_with(plans, lambda a: a.role == "account")), -1),
        instrument_capacity=max(INSTRUMENTS_MIN, 2 * count),
        bell_age_ns=config.engine.bell_age_us * 1_000,
        drain=_drain_spec(config.engine.drain),
    )
    rates = plan_rates(
        config.venues,
        {n: (u.rest_url, u.websocket_url) for n, u in urls.items()},
        shared.instrument_capacity if config.orders.mode == "venue" else 0,
    )
    workers = []
    actor_id = 0
    for slot, plan in enumerate(plans, 1):
        actors = []
        for actor in plan.actors:
            actor_id += 1
            actors.append(replace(actor, actor_id=actor_id, settings=_with_slots(actor, plans, rates)))
        nice = HOUSEKEEPING_NICE if plan.role == HOUSEKEEPING_ROLE else 0
        workers.append(
            replace(
                shared,
                slot=slot,
                name=plan.name,
                role=plan.role,
                core=cores[plan.name],
                nice=nice,
                actors=actors,
                machine=_machine_spec(config.machine),
            )
        )
    workers = add_sentinel(config, workers)
    text = _placement_text(config, workers, others)
    spares = config.engine.spare_slots
    sizes = Sizes(
        instruments=shared.instrument_capacity, market_ring=MARKET_CAPACITY, order_ring=ORDER_CAPACITY
    )
    segments = plan_segments(
        workers, sizes, epoch=identity.epoch, supervisor_pid=identity.supervisor_pid, rates=rates.rules
    )
    return Topology(tuple(workers), tuple(segments), text, spares)


def _placement_text(config: Config, workers: Sequence[WorkerSpec], others: list[int]) -> str:
    text = " ".join(f"{w.name}@{'-' if w.core is None else w.core}" for w in workers)
    if any(w.core is not None for w in workers):
        text += f", others on {format_list(others)}"
    return f"{config.engine.placement}: {text}"


def _drain_spec(drain: DrainConfig) -> DrainSpec:
    return DrainSpec(
        batch_min=drain.batch_min,
        batch_max=drain.batch_max,
        young_ns=drain.young_us * 1_000,
        old_ns=drain.old_us * 1_000,
        cycle_records=drain.cycle_records,
    )


def _machine_spec(machine: MachineConfig) -> MachineSpec:
    # Real-time priority is given by `engine.machine` once it is known that it may be.
    return MachineSpec(machine.lock_memory, machine.heap_mib, 0, machine.huge_pages != "off")


def _with_slots(actor: ActorSpec, plans: Sequence[WorkerPlan], rates: RatePlan) -> dict[str, Any]:
    """Settings of an actor that depend on which worker got which slot, and on what the run counts."""
    if actor.role == "market_data":
        return actor.settings | {"rates": dict(rates.names[actor.settings["venue"]])}
    if actor.role == "order_gateway" and "accounts" in actor.settings:
        rows = [row | rates.account_settings(row["protocol"]) for row in actor.settings["accounts"]]
        return actor.settings | {"accounts": rows}
    if actor.role == "journal_keeper":
        return actor.settings | {"slots": _slots_with(plans, lambda a: a.role == "order_gateway")}
    if actor.role in ("store", "shadow"):
        return actor.settings | {"gateways": _slots_with(plans, lambda a: a.role == "order_gateway")}
    if actor.role != "reference":
        return dict(actor.settings)
    slots = {
        a.settings["venue"]: slot
        for slot, p in enumerate(plans, 1)
        for a in p.actors
        if a.role == "market_data"
    }
    return {
        "venues": [
            row | {"feed_slot": slots[row["venue"]], "rates": dict(rates.names[row["venue"]])}
            for row in actor.settings["venues"]
        ]
    }


def generation_settings(
    config: Config, workers: Sequence[WorkerSpec]
) -> dict[int, dict[str, dict[str, Any]]]:
    """New settings of every actor that a reload can change.

    Args:
        config: the new configuration, already accepted by `engine.generation.check_reload`.
        workers: the running workers.

    Returns:
        By worker slot: actor id (as text, JSON keys are) → settings.
    """
    strategies = {s.name: strategy_settings(config, s) for s in config.strategies}
    result: dict[int, dict[str, dict[str, Any]]] = {}
    for worker in workers:
        mine = result.setdefault(worker.slot, {})
        for actor in worker.actors:
            if actor.role == "order_gateway":
                kept = {k: v for k, v in actor.settings.items() if k == "accounts"}
                mine[str(actor.actor_id)] = gateway_settings(config) | kept
            elif actor.name in strategies and _is_strategy(actor):
                mine[str(actor.actor_id)] = strategies[actor.name]
            else:
                mine[str(actor.actor_id)] = actor.settings
    return result
