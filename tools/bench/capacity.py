"""What this box carries, in a quarter of a minute: pairs, strategies, connections, latency; and its limits.

Every figure comes from a bench that exists: a feed process from memory, the ring's own trial, the flood of a
gateway, and one engine under a known load whose processes are watched. What many pairs would take is computed
from that load in proportion, with half of each core kept free.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import psutil

from engine.config import OrdersConfig
from tools.bench.feed import StepFailed
from tools.bench.orders import CLI, RunFailed, engine_run
from tools.bench.ring.contenders import find_contender
from tools.bench.ring.runner import TrialFailed, run_trial
from tools.bench.ring.trial import Load
from tools.bench.scale import side_by_side
from tools.venues.run import DEFAULT_VENUE

Progress = Callable[[str], object]
#: Of each core, so much may be used: the rest is for bursts.
USE = 0.5
PAIRS, UPDATES_PER_PAIR = 50, 100.0
SETTLE_S, WATCH_S, START_S = 1.5, 5.0, 20.0
COPY_BYTES, COPIES = 64 << 20, 6
RING_LOAD = Load(messages=4_000, warm_up=1_000, rate_per_s=10_000, bulk=0.25, limit_s=15)
FLOOD_COUNT, FLOOD_WINDOW = 8_000, 32
RESERVED_FILES = 256  # descriptors that are no connections: segments, bells, sockets, journals
CONFIG = """[venues.sim]
adapter = "{adapter}"
[venues.sim.simulated]
instruments = {pairs}
rate = {rate:.1f}
[[strategies]]
name = "maker"
kind = "market_maker"
venue = "sim"
instruments = "all"
[risk]
max_order_notional = 50_000
max_position_notional = 250_000
max_exposure = 10_000_000
orders_per_s = 5_000
burst = 2_000
max_open_orders = 8
[store]
kind = "off"
[orders]
mode = "paper"
{calm}
"""
#: What the gateway does while it waits costs time and no capacity: off while time is measured.
CALM = ("spin_us", "rehearse_us")


@dataclass(frozen=True, slots=True)
class Column:
    """One size of installation: from and up to how many of each, and the latency it must stay below."""

    name: str
    pairs: tuple[int, int]
    strategies: tuple[int, int]
    redis: tuple[int, int]
    database: tuple[int, int]
    latency_ms: float


COLUMNS = (
    Column("conservative", (25, 50), (50, 100), (10, 20), (10, 20), 1.0),
    Column("aggressive", (50, 100), (100, 200), (20, 40), (20, 40), 2.0),
    Column("maximum", (100, 200), (200, 500), (40, 60), (40, 60), 5.0),
)


@dataclass(slots=True)
class Measured:
    """What was found; None = not measured, `absent` says why.

    Args:
        cores: that may be used.
        memory_bytes, available_bytes: of the machine.
        copy_bytes_per_s: memory copied by one core (each byte is read and written).
        ring_ns_p50, ring_ns_p99: one hop from process to process, wake-up included.
        ticks_per_s: messages a feed process takes from memory on one core.
        orders_per_s: of one gateway with the paper session, each placed, acknowledged and canceled.
        feed_ns, trade_ns: processor time of an update in the feed and in the trading worker.
        latency_ns_p99: tick to trade under that load.
        engine_bytes: proportional memory of all processes of the engine under that load.
        files: descriptors a process may have.
        round_trips_ms: of configured servers, by "database" and "redis".
        clients: connections those servers allow, 0 = they did not say.
    """

    cores: int = 1
    memory_bytes: int = 0
    available_bytes: int = 0
    files: int = 0
    copy_bytes_per_s: float | None = None
    ring_ns_p50: float | None = None
    ring_ns_p99: float | None = None
    ticks_per_s: float | None = None
    orders_per_s: float | None = None
    feed_ns: float | None = None
    trade_ns: float | None = None
    latency_ns_p99: float | None = None
    engine_bytes: int | None = None
    round_trips_ms: dict[str, float] = field(default_factory=dict)
    clients: dict[str, int] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the verdict: how many of what, the best column it is enough for, and what limits it."""

    name: str
    value: float | None
    unit: str
    column: str
    limit: str


# ---- measuring ----------------------------------------------------------------------------------


def copy_rate() -> float:
    """Bytes a second that one core copies."""
    source = np.ones(COPY_BYTES, dtype=np.uint8)
    target = np.empty_like(source)
    np.copyto(target, source)
    begin = time.perf_counter()
    for _ in range(COPIES):
        np.copyto(target, source)
    return COPIES * COPY_BYTES / (time.perf_counter() - begin)


def under_load(folder: Path, pairs: int, updates_per_pair: float) -> dict[str, Any]:
    """Run an engine with a market maker on so many pairs and watch its processes.

    Returns:
        Nanoseconds of processor time an update in `feed` and `trade`, the report under `report`.

    Raises:
        RunFailed: it ended without a report, or its books were not LIVE.
    """
    config = folder / "capacity.toml"
    calm = "\n".join(f"{name} = 0" for name in CALM if name in OrdersConfig.model_fields)
    values = {"adapter": DEFAULT_VENUE, "pairs": pairs, "rate": pairs * updates_per_pair}
    config.write_text(CONFIG.format(**values, calm=calm))
    arguments = [
        sys.executable, "-P", "-c", CLI, "run", str(config), "--duration", str(START_S + WATCH_S + 10),
        "--state", str(folder), "--json",
    ]  # fmt: skip
    first: dict[int, tuple[float, float]] = {}
    second = first
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            _await_start(process, folder)
            with suppress(psutil.NoSuchProcess):  # it has ended: its last words say why
                first = processor_times(process.pid)
                time.sleep(WATCH_S)
                second = processor_times(process.pid)
            process.terminate()
            out, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    if process.returncode or not out:
        raise RunFailed(errors.decode(errors="replace").strip().rpartition("\n")[2] or "no report")
    return per_update(orjson.loads(out), first, second, pairs)


def _await_start(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait until the run has its workers and their books had a moment."""
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline and not list(folder.glob("*/run.json")):
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
    with suppress(subprocess.TimeoutExpired):
        process.wait(SETTLE_S)


def processor_times(pid: int) -> dict[int, tuple[float, float]]:
    """Processor time of each child process, by pid: (when, seconds)."""
    found = {}
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error):
            times = child.cpu_times()
            found[child.pid] = (time.monotonic(), times.user + times.system)
    return found


def per_update(
    report: dict[str, Any],
    first: Mapping[int, tuple[float, float]],
    second: Mapping[int, tuple[float, float]],
    pairs: int,
) -> dict[str, Any]:
    """Processor time of an update by role, from two looks.

    Raises:
        RunFailed: the books were not LIVE, or a worker was not seen twice.
    """
    market = report["market"]
    if market["books_by_state"] != {"LIVE": pairs}:
        raise RunFailed(f"books at the end: {market['books_by_state']}")
    spent: dict[str, float] = {}
    for worker in report["workers"]:
        if worker["pid"] in first and worker["pid"] in second:
            (t0, s0), (t1, s1) = first[worker["pid"]], second[worker["pid"]]
            role = worker["role"]
            spent[role] = spent.get(role, 0.0) + (s1 - s0) / (t1 - t0)
    if not {"feed", "trade"} <= set(spent):
        raise RunFailed("the workers were not up in time")
    rate = max(market["throughput_per_s"], 1.0)
    return {role: 1e9 * spent[role] / rate for role in ("feed", "trade")} | {"report": report}


def measure(
    addresses: Mapping[str, str], updates_per_pair: float = UPDATES_PER_PAIR, progress: Progress = len
) -> Measured:
    """Measure the box.

    Args:
        addresses: of configured servers, by "database" (PostgreSQL) and "redis".
        updates_per_pair: what each pair is taken to send, a second.
        progress: told what is under way.
    """
    cores = sorted(os.sched_getaffinity(0))
    memory = psutil.virtual_memory()
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = Measured(len(cores), memory.total, memory.available, soft)
    progress("memory")
    found.copy_bytes_per_s = copy_rate()
    progress("ring")
    try:
        hop = run_trial(find_contender("ringlane"), RING_LOAD, 0)
        found.ring_ns_p50, found.ring_ns_p99 = hop["latency_ns_p50"], hop["latency_ns_p99"]
    except TrialFailed as error:
        found.absent["ring"] = str(error)
    progress("feed")
    try:
        (one,) = side_by_side(DEFAULT_VENUE, cores[-1:], 1.0)
        found.ticks_per_s = one["messages"] / one["seconds"]
    except StepFailed as error:
        found.absent["feed"] = str(error)
    with tempfile.TemporaryDirectory(prefix="ringlane-capacity-") as name:
        folder = Path(name)
        progress("gateway")
        try:
            flood, _ = engine_run(
                folder, 30.0, adapter=DEFAULT_VENUE, core=cores[0], mode="paper", rate=0,
                count=FLOOD_COUNT, window=FLOOD_WINDOW,
            )  # fmt: skip
            found.orders_per_s = flood["orders"] / flood["seconds"]
        except RunFailed as error:
            found.absent["gateway"] = str(error)
    with tempfile.TemporaryDirectory(prefix="ringlane-capacity-") as name:
        progress(f"an engine with {PAIRS} pairs")
        try:
            _take_load(found, under_load(Path(name), PAIRS, updates_per_pair))
        except RunFailed as error:
            found.absent["engine"] = str(error)
    for what, address in addresses.items():
        progress(what)
        try:
            found.round_trips_ms[what], found.clients[what] = SERVERS[what](address)
        except (OSError, RuntimeError, ImportError) as error:
            found.absent[what] = f"{type(error).__name__}: {error}"
    return found


def _take_load(found: Measured, load: dict[str, Any]) -> None:
    report = load["report"]
    found.feed_ns, found.trade_ns = load["feed"], load["trade"]
    found.latency_ns_p99 = report["latency"].get("tick_to_trade_ns", {}).get("latency_ns_p99")
    found.engine_bytes = sum(row["pss_bytes"] for row in report["workers"] if row["role"] != "venue")


# ---- servers ------------------------------------------------------------------------------------

TRIPS = 200


def database_trip(address: str) -> tuple[float, int]:
    """Median round trip to a PostgreSQL server in ms, and the connections it allows."""
    import asyncio

    import asyncpg  # type: ignore[import-untyped]

    async def ask() -> tuple[float, int]:
        try:
            connection = await asyncpg.connect(address, timeout=5)
        except asyncpg.PostgresError as error:
            raise RuntimeError(str(error)) from None
        try:
            allowed = int(await connection.fetchval("SHOW max_connections"))
            statement = await connection.prepare("SELECT 1")
            times = []
            for _ in range(TRIPS):
                begin = time.perf_counter()
                await statement.fetchval()
                times.append(time.perf_counter() - begin)
        finally:
            await connection.close()
        return float(np.median(times)) * 1e3, allowed

    return asyncio.run(ask())


def redis_trip(address: str) -> tuple[float, int]:
    """Median round trip to a Redis or Valkey server in ms, and the connections it allows."""
    import redis

    client: Any = redis.Redis.from_url(address, socket_timeout=5)
    try:
        client.ping()
        times = []
        for _ in range(TRIPS):
            begin = time.perf_counter()
            client.ping()
            times.append(time.perf_counter() - begin)
        allowed = int(client.info("clients").get("maxclients", 0))
    except redis.RedisError as error:
        raise RuntimeError(str(error)) from None
    finally:
        client.close()
    return float(np.median(times)) * 1e3, allowed


SERVERS: Mapping[str, Callable[[str], tuple[float, int]]] = {"database": database_trip, "redis": redis_trip}


# ---- judging ------------------------------------------------------------------------------------


def core_split(cores: int) -> tuple[int, int]:
    """Cores for feeds and for trading; of more than two, one is left to the machine, as placement does."""
    free = cores - 1 if cores > 2 else cores
    feeds = max(1, free // 2)
    return feeds, max(1, free - feeds)


def carried(ns_per_update: float | None, cores: int, updates_per_pair: float) -> int | None:
    """How many of what costs so much for each update so many cores carry; None = not measured."""
    if not ns_per_update:
        return None
    return int(USE * cores * 1e9 / (ns_per_update * updates_per_pair))


def best_column(value: float | None, least: Callable[[Column], float]) -> str:
    """Name of the largest column whose lower bound is there, "below" if there is none."""
    if value is None:
        return "not measured"
    return next((c.name for c in reversed(COLUMNS) if value >= least(c)), "below conservative")


def rows_of(found: Measured, updates_per_pair: float = UPDATES_PER_PAIR) -> list[Row]:
    """Each line of the table of limits: what this box has."""
    feeds, trades = core_split(found.cores)
    pairs = carried(found.feed_ns, feeds, updates_per_pair)
    pairs_limit = f"{_us(found.feed_ns)} of a feed core for an update, {feeds} core(s) at {USE:.0%}"
    if pairs is not None and found.engine_bytes:
        by_memory = int(USE * found.available_bytes / (found.engine_bytes / PAIRS))
        if by_memory < pairs:
            pairs, pairs_limit = by_memory, f"{found.engine_bytes / PAIRS / 1e6:.1f} MB for a pair"
    strategies = carried(found.trade_ns, trades, updates_per_pair)
    latency = found.latency_ns_p99
    rows = [
        Row("pairs", pairs, "", best_column(pairs, lambda c: c.pairs[0]), pairs_limit),
        Row(
            "strategies", strategies, "", best_column(strategies, lambda c: c.strategies[0]),
            f"{_us(found.trade_ns)} of a trading core for an update (decide, gate, journal, fill), "
            f"{trades} core(s) at {USE:.0%}",
        ),
    ]  # fmt: skip
    for name, title in (("redis", "Redis connections"), ("database", "DB connections")):
        allowed = found.clients.get(name, 0)
        room = found.files - RESERVED_FILES
        value = min(room, allowed) if allowed else room
        limit = "connections the server allows" if allowed and allowed < room else "descriptors of a process"
        if name in found.round_trips_ms:
            limit += f"; round trip {found.round_trips_ms[name]:.3f} ms"
        else:
            limit += f"; {found.absent.get(name, 'no server is configured')}"
        least = (lambda c: float(c.redis[0])) if name == "redis" else (lambda c: float(c.database[0]))
        rows.append(Row(title, value, "", best_column(value, least), limit))
    milliseconds = None if latency is None else latency / 1e6
    rows.append(
        Row(
            "latency p99", milliseconds, "ms", latency_column(milliseconds),
            f"tick to trade with {PAIRS} pairs at {updates_per_pair:g} updates/s each",
        )
    )  # fmt: skip
    return rows


def latency_column(milliseconds: float | None) -> str:
    """The columns whose latency is kept: the small one asks for the least."""
    if milliseconds is None:
        return "not measured"
    return ", ".join(c.name for c in COLUMNS if milliseconds < c.latency_ms) or "none"


def _us(nanoseconds: float | None) -> str:
    return "?" if nanoseconds is None else f"{nanoseconds / 1e3:.1f} µs"


def classify(rows: Sequence[Row]) -> tuple[Column | None, list[str]]:
    """The largest column that every row is enough for, and what keeps the box out of the next one."""
    limits: list[str] = []
    for column in reversed(COLUMNS):
        short = [row.name for row in rows if not _is_enough(row, column)]
        if not short:
            return column, limits
        limits = short
    return None, limits


def _is_enough(row: Row, column: Column) -> bool:
    if row.value is None:
        return False
    if row.name == "latency p99":
        return row.value < column.latency_ms
    least = {
        "pairs": column.pairs[0], "strategies": column.strategies[0],
        "Redis connections": column.redis[0], "DB connections": column.database[0],
    }  # fmt: skip
    return row.value >= least[row.name]
