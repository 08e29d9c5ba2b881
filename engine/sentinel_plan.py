"""The sentinel's place in a run: its slot, its settings, and the same without an engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from actors.runtime.spec import ActorSpec, WorkerSpec
from engine.config import Config
from engine.errors import TopologyError
from engine.placement import HOUSEKEEPING_NICE
from engine.sentinel_config import SentinelConfig
from exec.venues import protocol_class

NAME = "sentinel"
ROLE = "sentinel"
SLOTS = 64


def sentinel_settings(
    config: SentinelConfig, rows: Sequence[dict[str, Any]], rest_urls: dict[str, str], simulated: set[str]
) -> dict[str, Any]:
    """Settings of `engine.sentinel.SentinelSettings`.

    Args:
        config: the section.
        rows: the gateway's accounts.
        rest_urls: REST address by account.
        simulated: accounts whose venue is a child of the engine and ends with it.
    """
    accounts = [
        {
            "account": row,
            "rest_url": rest_urls.get(row["name"], ""),
            "is_simulated": row["name"] in simulated,
        }
        for row in rows
    ]
    return {
        "accounts": accounts,
        "stall_ns": config.stall_ms * 1_000_000,
        "restart_ns": int(config.restart_s * 1e9),
        "supervisor_ns": int(config.supervisor_s * 1e9),
        "dead_man_s": config.dead_man_s,
        "flatten": config.flatten,
        "outlive_s": config.outlive_s,
    }


def add_sentinel(config: Config, workers: list[WorkerSpec]) -> list[WorkerSpec]:
    """The workers of a run with its sentinel: last slot, started first, so that it ends last.

    A run that sends no orders to venues, or whose sentinel is off, has none.

    Raises:
        TopologyError: there is no slot left for it.
    """
    if config.orders.mode != "venue" or not config.sentinel.enabled:
        return workers
    slot = len(workers) + 1
    if slot + config.engine.spare_slots >= SLOTS:
        raise TopologyError(
            f"no slot is left for the sentinel: {slot} workers, {config.engine.spare_slots} spares"
        )
    rows = _settings(workers, "order_gateway").get("accounts", [])
    sending = _settings(workers, "account").get("accounts", [])
    urls = {row["name"]: row["rest_url"] for row in sending}
    simulated = {name for name, venue in config.venues.items() if venue.simulated is not None}
    settings = sentinel_settings(config.sentinel, rows, urls, simulated)
    workers = [
        replace(
            worker, sentinel_slot=slot, actors=[_without_dead_man(config, actor) for actor in worker.actors]
        )
        for worker in workers
    ]
    own = replace(
        workers[-1], slot=slot, name=NAME, role=ROLE, core=None, nice=HOUSEKEEPING_NICE, actors=[],
        sentinel=settings,
    )  # fmt: skip
    return [own, *workers]


def _without_dead_man(config: Config, actor: ActorSpec) -> ActorSpec:
    """A venue whose dead man is a connection must miss the sentinel's, not the gateway's."""
    if actor.role != "order_gateway" or not config.sentinel.dead_man_s:
        return actor
    rows = [dict(row) for row in actor.settings.get("accounts", [])]
    for row in rows:
        option = protocol_class(row["protocol"]).dead_man_option
        if option:
            row["options"] = {**row["options"], option: False}
    return replace(actor, settings=actor.settings | {"accounts": rows})


def _settings(workers: Sequence[WorkerSpec], role: str) -> dict[str, Any]:
    found: list[ActorSpec] = [a for w in workers for a in w.actors if a.role == role]
    return dict(found[0].settings) if found else {}
