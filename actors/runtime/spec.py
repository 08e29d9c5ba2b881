"""What a worker process is told at its start: plain data, JSON in and out.

The supervisor writes one `WorkerSpec` per child, the child reads it once. A spec names segments only by
slot numbers; the short names below are the one place where both sides agree on them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import orjson

from actors.errors import SpecError

StartReason = Literal["start", "restart"]


def instruments_name() -> str:
    """Short name of the instrument table."""
    return "instruments"


def control_name() -> str:
    """Short name of the control segment."""
    return "control"


#: Where the actors of a worker leave what does an operator's commands (`Host.share`): callables that take the
#: message, and return what to answer or None where it does not concern them.
OPERATOR_COMMANDS = "operator_commands"


def rates_name() -> str:
    """Short name of the rate ledger."""
    return "rates"


def books_name(feed_slot: int) -> str:
    """Short name of the book slab that a feed worker writes."""
    return f"books.{feed_slot}"


def market_name(feed_slot: int, priority: int) -> str:
    """Short name of the broadcast ring of one feed worker and one priority (1 critical .. 4 experimental)."""
    return f"md.{feed_slot}.{priority}"


def intents_name(from_slot: int, gateway_slot: int) -> str:
    """Short name of the intent ring from a strategy worker to a gateway worker (may be the same worker)."""
    return f"intents.{from_slot}.{gateway_slot}"


def reports_name(gateway_slot: int, to_slot: int) -> str:
    """Short name of the report ring from a gateway worker back to a strategy worker."""
    return f"reports.{gateway_slot}.{to_slot}"


def requests_name(feed_slot: int, reference_slot: int) -> str:
    """Short name of the ring that carries snapshot requests from a feed worker to the reference worker."""
    return f"requests.{feed_slot}.{reference_slot}"


def blobs_name(reference_slot: int, feed_slot: int) -> str:
    """Short name of the ring that carries raw HTTP bodies back to a feed worker."""
    return f"blobs.{reference_slot}.{feed_slot}"


def rest_requests_name(gateway_slot: int, account_slot: int) -> str:
    """Short name of the ring that carries a gateway's signed REST requests to the account worker."""
    return f"rest.{gateway_slot}.{account_slot}"


def rest_answers_name(account_slot: int, gateway_slot: int) -> str:
    """Short name of the ring that carries their answers back."""
    return f"rest-answers.{account_slot}.{gateway_slot}"


def positions_name(gateway_slot: int) -> str:
    """Short name of the position table that a gateway worker writes."""
    return f"positions.{gateway_slot}"


def metrics_name(slot: int) -> str:
    """Short name of a worker's counters, histograms and faults."""
    return f"metrics.{slot}"


def state_name(slot: int) -> str:
    """Short name of the saved states of a worker's actors."""
    return f"state.{slot}"


REQUEST_BYTES = 64
BLOB_SLOT_BYTES = 4096


@dataclass(slots=True)
class ActorSpec:
    """One actor of a worker.

    Args:
        actor_id: unique in the run, from 1; stamped on every intent.
        role: key of the role registry (`actors.roles`).
        name: for reports and logs.
        settings: JSON object, checked by the role (see the settings classes of each role).
    """

    actor_id: int
    role: str
    name: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class FeedRef:
    """A feed worker and the priorities for which it has rings."""

    slot: int
    priorities: list[int]


@dataclass(slots=True)
class DrainSpec:
    """Bounds of a duty cycle.

    Args:
        batch_min, batch_max: records taken from a ring at once while its oldest record is young, and old.
        young_ns, old_ns: the ages between which the batch grows from the one to the other.
        cycle_records: a cycle that has handled so many ends, so that sockets are served.
    """

    batch_min: int = 16
    batch_max: int = 1024
    young_ns: int = 50_000
    old_ns: int = 1_000_000
    cycle_records: int = 256


@dataclass(slots=True)
class MachineSpec:
    """What a worker process asks of the machine for itself, and what became of it.

    Args:
        lock_memory: lock all memory, with `heap_mib` of heap touched in advance.
        realtime: priority under SCHED_FIFO, 0 = none.
        huge_pages: map segments so that huge pages serve.
        facts: by name `held` or `not held (reason)`; filled in by the child.
    """

    lock_memory: bool = False
    heap_mib: int = 0
    realtime: int = 0
    huge_pages: bool = False
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class WorkerSpec:
    """One worker process: which slot, which actors, whom it shares rings with.

    Args:
        slot: worker slot in the control segment, 0..63.
        incarnation: 1 for the first process in this slot, +1 for each restart.
        generation: config generation the settings belong to.
        supervisor_pidfd, link_fd: inherited descriptors; -1 = none (tests, replay).
        heartbeat_ns: interval of the heartbeat, the only periodic timer of a worker.
        feeds: every feed worker of the run; gateways, strategies: worker slots that host such actors.
        reference_slot: worker slot of the reference actor, -1 = none.
        account_slot: worker slot of the account actor, -1 = none (paper).
        sentinel_slot: worker slot of the sentinel, -1 = none (paper).
        sentinel: settings of the sentinel itself, in its own spec only (`engine.sentinel`).
        instrument_capacity: rows of the instrument table, the slabs and the position tables.
        is_standby: wait to become this worker instead of being it (`actors.runtime.standby`).
        operator: an operator's commands that are in force (`OPERATOR_COMMANDS`), done before anything else.
        bell_age_ns: how long a record may stay unsignaled while the frames of its socket read go on.
        drain, machine: how it drains; what it asks of the machine.
    """

    slot: int
    name: str
    role: str
    core: int | None = None
    nice: int = 0
    incarnation: int = 1
    instance: str = ""
    epoch: int = 1
    state_dir: str = ""
    generation: int = 1
    seed: int = 0
    supervisor_pid: int = 0
    supervisor_pidfd: int = -1
    link_fd: int = -1
    heartbeat_ns: int = 100_000_000
    actors: list[ActorSpec] = field(default_factory=list)
    feeds: list[FeedRef] = field(default_factory=list)
    gateways: list[int] = field(default_factory=list)
    strategies: list[int] = field(default_factory=list)
    reference_slot: int = -1
    account_slot: int = -1
    sentinel_slot: int = -1
    sentinel: dict[str, Any] = field(default_factory=dict)
    instrument_capacity: int = 256
    start_reason: StartReason = "start"
    is_standby: bool = False
    operator: list[dict[str, Any]] = field(default_factory=list)
    bell_age_ns: int = 20_000
    drain: DrainSpec = field(default_factory=DrainSpec)
    machine: MachineSpec = field(default_factory=MachineSpec)

    def to_json(self) -> bytes:
        """The spec as one JSON object."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: bytes | str) -> WorkerSpec:
        """Read a spec back.

        Raises:
            SpecError: not JSON, a missing or unknown key, or a part of the wrong shape.
        """
        try:
            data = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise SpecError(f"worker spec is not JSON: {error}") from error
        if not isinstance(data, dict):
            raise SpecError("worker spec is not a JSON object")
        try:
            data["actors"] = [ActorSpec(**row) for row in data.get("actors", [])]
            data["feeds"] = [FeedRef(**row) for row in data.get("feeds", [])]
            data["drain"] = DrainSpec(**data.get("drain", {}))
            data["machine"] = MachineSpec(**data.get("machine", {}))
            spec = cls(**data)
        except TypeError as error:
            raise SpecError(f"worker spec: {error}") from error
        if not 0 <= spec.slot < 64:
            raise SpecError(f"worker spec: slot {spec.slot} is outside 0..63")
        return spec

    def roles(self) -> set[str]:
        """Roles of the hosted actors."""
        return {actor.role for actor in self.actors}
