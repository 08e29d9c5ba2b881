"""What an order costs: the gate, the whole way in one process, a real gateway, loopback venues, a peer.

`ringlane bench orders [--peers]`. A real gateway is a run of the engine whose strategy is
`tools.bench.order_flood`: the processes, rings, journal and recovery are those of every run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from engine.pm_qos import PmQos
from profiles.machine import machine_facts
from tools.bench import order_path as paths
from tools.bench.common import OURS, BenchResult, Goal, Measurement
from tools.bench.order_wire import GATHERED, measure_wires
from tools.venues.run import DEFAULT_VENUE

Progress = Callable[[str], object]
PEER = "nautilus_trader"
CALL = "floor: one Python call"
WIRE = "floor: ring, ready frame, socket"
WOKEN = "floor: wake-up, ready frame, socket"
GATE_COUNT, SUBMIT_COUNT, HALT_COUNT = 50_000, 5_000, 200
OPEN_RATE, OPEN_COUNT = 1_000, 4_000
FLOOD_COUNT, FLOOD_WINDOW = 40_000, 32
VENUE_COUNT, VENUE_WINDOW, VENUE_RATE, VENUE_OPEN_COUNT = 4_000, 32, 200, 1_000
SPIN_US = 10_000
ORDERS_PER_S, GATE_NS, WIRE_NS, ACK_NS, PEER_TIMES = 20_000, 10_000, 100_000, 5_000_000, 10
CLI = "import sys; from tools.cli import main; sys.exit(main())"
CONFIG = """[engine]
placement = "spread"
[venues.sim]
adapter = "{adapter}"
[venues.sim.simulated]
instruments = 1
rate = 20.0
rate_factor = 1000.0
[[strategies]]
name = "flood"
kind = "tools.bench.order_flood:OrderFlood"
venue = "sim"
instruments = "all"
[strategies.settings]
path = "{path}"
rate = {rate}
count = {count}
window = {window}
core = {core}
[machine]
realtime = 10
realtime_required = false
[store]
kind = "off"
[orders]
mode = "{mode}"
spin_us = {spin_us}
"""
NOTES = (
    "gate: one full check of an order that passes, in a loop; paper_gate: a running gateway's own histogram",
    "submit, one process: from the strategy's call until the session has it: ring, gate, OMS, journal",
    f"wire_*: from verdict to request: warm, cold (caches swept before each), {GATHERED} of a cycle gathered",
    f"{WOKEN}: a sleeping real-time reader writes ready frames to a socket whose reader sleeps",
    "venue: its floor is taken between its runs",
    f"spinning_*: as venue, with orders.spin_us = {SPIN_US:,}: the gateway does not sleep",
    "gateway runs: placement spread, machine.realtime = 10 where the system allows it, no store",
    "an order of a flood is placed, acknowledged and canceled: two intents and two reports",
    f"paper, open loop: {OPEN_RATE} orders/s, each counted from when it was due until its report was read",
    "processor: share of one core during the flood (the venue: in its life); who is near 100 % is the limit",
    "venue: sent_to_acknowledged is the loopback and the simulated venue's own time, decided_to_sent is ours",
    f"{PEER}: order factory and submit_order of its backtest engine, risk engine on, until its venue has it",
)


class RunFailed(RuntimeError):
    """An engine run or a peer gave no figures."""


def percentiles(name: str, metric: str, runs: Sequence[paths.Times]) -> list[Measurement]:
    """p50 and p99 of each run."""
    return [
        Measurement(
            name, f"{metric}_p{percent}", "ns", [float(np.percentile(times, percent)) for times in runs]
        )
        for percent in (50, 99)
    ]


# ---- in one process ------------------------------------------------------------------------------


def in_process(runs: int, count: int, cores: tuple[int, int]) -> list[Measurement]:
    """The gate, the submit path, the way to each venue's request, the halt word and the floors."""
    gates, calls, submits, wires = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for run in range(runs):
            path = paths.OrderPath(Path(folder) / str(run))
            try:
                gates.append(paths.gate_times(path, count * 10))
                calls.append(paths.call_times(count * 10, lambda _intent, _now: None))
                submits.append(paths.submit_times(path, count))
            finally:
                path.close()
            wires.append(paths.wire_floor(count, 2_000, cores))
        sends = measure_wires(Path(folder), runs, count)
        halts = [paths.halt_times(Path(folder) / f"halt-{run}", HALT_COUNT, cores[1]) for run in range(runs)]
    return [
        *percentiles(OURS, "gate_ns", gates),
        *percentiles(CALL, "gate_ns", calls),
        *percentiles(OURS, "submit_ns", submits),
        *percentiles(WIRE, "decided_to_sent_ns", wires),
        *sends,
        *percentiles(OURS, "halt_to_refusal_ns", halts),
    ]


# ---- in an engine --------------------------------------------------------------------------------


def engine_run(folder: Path, limit_s: float = 60.0, **values: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run an engine whose strategy floods its gateway; returns the flood's figures and the run's report.

    Args:
        folder: for configuration, state and report.
        limit_s: how long to wait for the flood's figures.
        values: of CONFIG, but `path`.

    Raises:
        RunFailed: it ended without figures.
    """
    target, config = folder / "flood.json", folder / "orders.toml"
    target.unlink(missing_ok=True)
    config.write_text(CONFIG.format(path=target, **({"spin_us": 0} | values)))
    arguments = [
        sys.executable, "-P", "-c", CLI, "run", str(config), "--duration", str(limit_s),
        "--state", str(folder), "--json",
    ]  # fmt: skip
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            while process.poll() is None and not target.exists():
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.2)
            process.terminate()
            out, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    if not target.exists() or process.returncode:
        raise RunFailed(errors.decode(errors="replace").strip().rpartition("\n")[2] or "no figures in time")
    flood, report = orjson.loads(target.read_bytes()), orjson.loads(out)
    venues = [row["cpu_percent"] for row in report["workers"] if row["role"] == "venue"]
    flood["processors"]["venue"] = sum(venues) / 100  # over its whole life: it does not tell more
    return flood, report


def engine_rows(prefix: str, floods: Sequence[dict[str, Any]], hops: Sequence[str]) -> list[Measurement]:
    """What the floods of one kind say of the hops asked for."""
    return [
        Measurement(
            OURS, f"{prefix}_{hop}_ns_{percent}", "ns", [flood["times"][hop][percent] for flood in floods]
        )
        for hop in hops
        for percent in ("p50", "p99")
    ]


def rates(prefix: str, floods: Sequence[dict[str, Any]]) -> list[Measurement]:
    """Orders a second and who was how busy meanwhile."""
    found = [Measurement(OURS, f"{prefix}_orders_per_s", "1/s", [f["orders"] / f["seconds"] for f in floods])]
    for who in ("gateway", "strategy", "venue"):
        shares = [100 * flood["processors"].get(who, 0.0) for flood in floods]
        found.append(Measurement(OURS, f"{prefix}_processor_{who}", "%", shares))
    refused = [float(sum(flood["refused"].values())) for flood in floods]
    return [*found, Measurement(OURS, f"{prefix}_refused", "", refused)]


HOPS = ("decided_to_gated", "gated_to_sent", "decided_to_sent", "sent_to_acknowledged", "reported_to_read")


def with_paper(
    runs: int, core: int, folder: Path, progress: Progress, counts: tuple[int, int]
) -> list[Measurement]:
    """A real gateway with the paper session: as many as it takes, and so many a second."""
    flood, timed, gates = [], [], []
    for run in range(runs):
        progress(f"gateway with paper session, run {run + 1}")
        common: dict[str, Any] = {"adapter": DEFAULT_VENUE, "core": core, "mode": "paper"}
        flood.append(engine_run(folder, rate=0, count=counts[0], window=FLOOD_WINDOW, **common)[0])
        figures, report = engine_run(folder, rate=OPEN_RATE, count=counts[1], window=0, **common)
        timed.append(figures)
        gates.append(report["latency"]["hop.gate_ns"])
    return [
        *rates("paper", flood),
        *engine_rows("paper", timed, ("due_to_report", *HOPS)),
        *(
            Measurement(
                OURS, f"paper_gate_ns_{percent}", "ns", [gate[f"latency_ns_{percent}"] for gate in gates]
            )
            for percent in ("p50", "p99")
        ),
    ]


def with_venue(
    runs: int, core: int, folder: Path, progress: Progress, counts: tuple[int, int]
) -> list[Measurement]:
    """The same with orders sent to a simulated venue on loopback, and the floor of that in between."""
    flood, timed, spinning, woken = [], [], [], []
    for run in range(runs):
        progress(f"gateway with a loopback venue, run {run + 1}")
        common: dict[str, Any] = {"adapter": DEFAULT_VENUE, "core": core, "mode": "venue"}
        flood.append(engine_run(folder, rate=0, count=counts[0], window=VENUE_WINDOW, **common)[0])
        common |= {"rate": VENUE_RATE, "count": counts[1], "window": 0}
        timed.append(engine_run(folder, **common)[0])
        woken.append(floor_beside(core, counts[1]))
        spinning.append(engine_run(folder, spin_us=SPIN_US, **common)[0])
    return [
        *rates("venue", flood),
        *engine_rows("venue", timed, (*HOPS, "decided_to_acknowledged")),
        *engine_rows("spinning", spinning, ("decided_to_gated", "gated_to_sent", "decided_to_sent")),
        *percentiles(WOKEN, "venue_decided_to_sent_ns", woken),
    ]


def floor_beside(core: int, count: int) -> paths.Times:
    """`order_path.woken_floor`, on the cores that the runs before and behind it have."""
    cores = os.sched_getaffinity(0)
    try:
        return paths.woken_floor(count, VENUE_RATE, (core, max(cores)))
    finally:
        os.sched_setaffinity(0, cores)


# ---- the peer ------------------------------------------------------------------------------------


def peer_times(count: int) -> paths.Times:
    """What each order of the peer took, in a process of its own.

    Raises:
        RunFailed: it is not installed or failed.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tools.bench.order_peer", str(count)],
        capture_output=True, timeout=300, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RunFailed(done.stderr.decode(errors="replace").strip().rpartition("\n")[2])
    return np.array(orjson.loads(done.stdout.strip().rpartition(b"\n")[2]), dtype=np.int64)


def goals_of(results: Sequence[Measurement]) -> list[Goal]:
    """What must be reached."""
    ours = {r.metric: r.median for r in results if r.name == OURS}
    theirs = {r.metric: r.median for r in results if r.name == PEER}
    floor = {r.metric: r.median for r in results if r.name in (WIRE, WOKEN)}
    ratio = theirs["submit_ns_p50"] / ours["submit_ns_p50"] if theirs else None
    wire = floor.get("decided_to_sent_ns_p99")
    return [
        Goal("full gate p99 in a loop, ns", ours["gate_ns_p99"], GATE_NS, at_least=False),
        Goal("full gate p99 in a run, ns", ours.get("paper_gate_ns_p99"), GATE_NS, at_least=False),
        Goal("orders/s of one gateway, paper", ours.get("paper_orders_per_s"), ORDERS_PER_S, at_least=True),
        Goal(
            "intent → handed to the paper session p99, ns",
            ours.get("paper_decided_to_sent_ns_p99"), WIRE_NS, at_least=False, floor=wire,
        ),
        Goal(
            "intent → bytes written to the venue's socket p99, ns",
            ours.get("venue_decided_to_sent_ns_p99"), WIRE_NS, at_least=False,
            floor=floor.get("venue_decided_to_sent_ns_p99"),
        ),
        Goal(
            "the same while the gateway spins p99, ns",
            ours.get("spinning_decided_to_sent_ns_p99"), WIRE_NS, at_least=False, floor=wire,
        ),
        Goal(
            "intent → ack of the loopback venue p99, ns",
            ours.get("venue_decided_to_acknowledged_ns_p99"), ACK_NS, at_least=False,
        ),
        Goal(f"submit path, times faster than {PEER} (p50)", ratio, PEER_TIMES, at_least=True),
    ]  # fmt: skip


def bench_orders(
    runs: int,
    *,
    peers: bool = False,
    hold_pm_qos: bool = True,
    scale: float = 1.0,
    progress: Progress = print,
) -> BenchResult:
    """Measure what an order costs.

    Args:
        runs: how often each is measured.
        peers: measure the peer that is installed too.
        hold_pm_qos: keep the cores out of deep idle states meanwhile, if permitted.
        scale: share of the usual numbers of orders.
        progress: told what is under way.
    """
    cores = os.sched_getaffinity(0)
    first, last = min(cores), max(cores)
    absent: dict[str, str] = {}
    results: list[Measurement] = []
    qos = PmQos()
    if hold_pm_qos:
        qos.hold()

    def scaled(*counts: int) -> tuple[int, ...]:
        return tuple(max(int(count * scale), 50) for count in counts)

    try:
        os.sched_setaffinity(0, {first})
        progress("in one process")
        results += in_process(runs, scaled(SUBMIT_COUNT)[0], (first, last))
        if peers:
            progress(PEER)
            try:
                results += percentiles(
                    PEER, "submit_ns", [peer_times(scaled(SUBMIT_COUNT)[0]) for _ in range(runs)]
                )
            except RunFailed as error:
                absent[PEER] = str(error)
        os.sched_setaffinity(0, cores)
        with tempfile.TemporaryDirectory(prefix="ringlane-bench-") as folder:
            for name, kind, counts in (
                ("paper", with_paper, scaled(FLOOD_COUNT, OPEN_COUNT)),
                ("venue", with_venue, scaled(VENUE_COUNT, VENUE_OPEN_COUNT)),
            ):
                try:
                    results += kind(runs, first, Path(folder), progress, (counts[0], counts[1]))
                except RunFailed as error:
                    absent[f"gateway, {name}"] = str(error)
    finally:
        os.sched_setaffinity(0, cores)
        pm_qos = qos.describe()
        qos.release()
    return BenchResult("orders", machine_facts(pm_qos=pm_qos), results, NOTES, absent, goals_of(results))
