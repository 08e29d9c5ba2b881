"""From what was measured to a core map: the cores to give the engine, and the settings that use them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.config import Config, EngineConfig, MachineConfig
from engine.placement import FEED_ROLE, HOUSEKEEPING_ROLE
from engine.topology import plan_cores, worker_roles
from profiles.host.activity import Activity
from profiles.host.measured import Measured, time_text
from profiles.host.reader import CPU, Host, format_list, parse_list

NEVER_MEASURED_NS = 0


@dataclass(frozen=True, slots=True)
class CoreFacts:
    """What decides whether a core is good for a worker.

    Attributes:
        core: its number.
        node: NUMA node.
        siblings: threads of the same physical core, itself included.
        isolated: whether the scheduler leaves it alone.
        delay_ns: p99.9 of the wait for it, 0 when not measured.
        busy: share of it that others used.
        irqs_per_s: interrupts that came to it.
    """

    core: int
    node: int = 0
    siblings: tuple[int, ...] = ()
    isolated: bool = False
    delay_ns: int = NEVER_MEASURED_NS
    busy: float = 0.0
    irqs_per_s: float = 0.0

    @property
    def cost(self) -> tuple[bool, int, float, float]:
        """Better cores sort first."""
        return (not self.isolated, self.delay_ns, self.busy, self.irqs_per_s)


@dataclass(frozen=True, slots=True)
class Proposal:
    """Where the workers should run and how to get there.

    Attributes:
        cores: by worker the core, None = not pinned.
        allowed: cores to give the engine.
        toml: the table to put into the configuration; `ringlane check` accepts it.
        command: how to start so that the map holds.
        unit: the same for a service unit.
        reasons: why these.
    """

    cores: Mapping[str, int | None]
    allowed: tuple[int, ...]
    toml: str
    command: str
    unit: str
    reasons: tuple[str, ...]

    @property
    def pinned(self) -> tuple[int, ...]:
        """Cores of workers, ascending."""
        return tuple(sorted({c for c in self.cores.values() if c is not None}))


def core_facts(
    host: Host, cores: Sequence[int], measured: Measured, activity: Activity | None
) -> list[CoreFacts]:
    """Bring together what is known of each core; what can not be read counts as ordinary."""
    isolated = parse_list(host.get(f"{CPU}/isolated"))
    nodes: dict[int, int] = {}
    for name in host.names("sys/devices/system/node"):
        if name.startswith("node") and name[4:].isdigit():
            nodes |= dict.fromkeys(
                parse_list(host.get(f"sys/devices/system/node/{name}/cpulist")), int(name[4:])
            )
    facts = []
    for core in cores:
        hiccup = measured.of_core(core)
        irqs = [i.per_s for i in activity.irqs if i.core == core] if activity is not None else []
        rivals = [b.share for b in activity.on_core(core)] if activity is not None else []
        facts.append(
            CoreFacts(
                core,
                nodes.get(core, 0),
                parse_list(host.get(f"{CPU}/cpu{core}/topology/thread_siblings_list")) or (core,),
                core in isolated,
                hiccup.delay_ns_p99_9 if hiccup is not None else NEVER_MEASURED_NS,
                sum(rivals),
                sum(irqs),
            )
        )
    return facts


def choose(facts: Sequence[CoreFacts], wanted: int) -> tuple[int, ...]:
    """The cores to give the engine: `wanted` quiet ones for workers and a lower one for everything else.

    `engine.placement.place` leaves the lowest of three or more cores to the rest of the machine, so the one
    for the rest is chosen below all others. Workers get cores of one node and one thread per physical core
    as long as there are enough.

    Args:
        facts: of all cores that may be used.
        wanted: workers that want a core of their own, at least 1.
    """
    ordered = sorted(facts, key=lambda f: f.core)
    if len(ordered) <= max(wanted, 2):
        return tuple(f.core for f in ordered)
    candidates = ordered[1:]
    best: list[CoreFacts] = []
    for node in sorted({f.node for f in candidates}):
        picked = _pick([f for f in candidates if f.node == node], wanted)
        if len(picked) == wanted and (not best or _worst(picked) < _worst(best)):
            best = picked
    best = best or _pick(candidates, wanted)
    lowest = min(f.core for f in best)
    below = [f for f in ordered if f.core < lowest]
    # The rest of the machine gets the worst of the cores below; a sibling of a worker only if it must.
    taken = {s for f in best for s in f.siblings}
    rest = max(below, key=lambda f: (f.core not in taken, f.cost))
    return tuple(sorted([rest.core, *(f.core for f in best)]))


def _worst(picked: Sequence[CoreFacts]) -> tuple[bool, int, float, float]:
    return max(f.cost for f in picked)


def _pick(candidates: Sequence[CoreFacts], wanted: int) -> list[CoreFacts]:
    picked: list[CoreFacts] = []
    shared: list[CoreFacts] = []
    for fact in sorted(candidates, key=lambda f: f.cost):
        crowded = any(fact.core in other.siblings for other in picked)
        (shared if crowded else picked).append(fact)
    return (picked + shared)[:wanted]


def propose(config: Config, facts: Sequence[CoreFacts], file: str, *, may_lock: bool) -> Proposal:
    """A core map for a configuration.

    Args:
        config: what is to run.
        facts: of all cores that may be used.
        file: the configuration's path for the command, empty for the embedded one.
        may_lock: whether memory may be locked.
    """
    workers = worker_roles(config)
    wanted = max(1, sum(role != HOUSEKEEPING_ROLE for _, role in workers))
    allowed = choose(facts, wanted)
    cores, others = plan_cores(config, allowed)
    command = f"taskset -c {format_list(allowed)} ringlane run {file}".rstrip()
    unit = f"CPUAffinity={' '.join(map(str, allowed))}"
    if len(allowed) == len(facts):
        command, unit = f"ringlane run {file}".rstrip(), ""
    toml = _toml(config.engine.placement, lock_memory=may_lock)
    return Proposal(cores, allowed, toml, command, unit, _reasons(facts, cores, dict(workers), others))


def _toml(placement: str, *, lock_memory: bool) -> str:
    """The settings that differ between machines; the others stay as they are."""
    lines = [
        "[engine]",
        f'placement = "{placement}"',
        "",
        "[machine]",
        "pm_qos = true",
        f"lock_memory = {str(lock_memory).lower()}",
    ]
    text = "\n".join(lines) + "\n"
    data = tomllib.loads(text)
    EngineConfig.model_validate(data["engine"])
    MachineConfig.model_validate(data["machine"])
    return text


def _reasons(
    facts: Sequence[CoreFacts], cores: Mapping[str, int | None], roles: Mapping[str, str], others: list[int]
) -> tuple[str, ...]:
    by_core = {f.core: f for f in facts}
    reasons = []
    for name, core in cores.items():
        if core is None:
            reasons.append(f"{name}, all that is not pinned: on {format_list(others)}, nice +5")
            continue
        fact = by_core[core]
        parts = ["isolated"] if fact.isolated else []
        if fact.delay_ns:
            parts.append(f"away p99.9 {time_text(fact.delay_ns)}")
        if fact.busy:
            parts.append(f"{fact.busy * 100:.0f} % used by others")
        if fact.irqs_per_s:
            parts.append(f"{fact.irqs_per_s:,.0f} interrupts/s")
        role = " (frames, decoding, books)" if roles[name] == FEED_ROLE else ""
        reasons.append(f"{name}{role}: core {core}{', ' if parts else ''}{', '.join(parts)}")
    return tuple(reasons)
