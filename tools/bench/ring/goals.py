"""What the ring must reach beside its floor and its peers, as ratios of medians of one run."""

from __future__ import annotations

from collections.abc import Sequence

from tools.bench.common import OURS, Goal, Measurement

FLOOR = "floor-uvloop-eventfd"
FLOOR_RATIO = 1.15
LATENCY_BELOW = (
    ("pyzmq", 2.5),
    ("pyzmq (blocking)", 2.5),
    ("redis-pubsub", 5.0),
    ("multiprocessing.Queue", 4.0),
)
THROUGHPUT_ABOVE = (("pyzmq", 5.0), ("pyzmq (blocking)", 5.0), ("iceoryx2", 15.0))
THROUGHPUT_MILLION_PER_S = 10
LATENCIES = ("latency_ns_p50", "latency_ns_p99")


def ring_goals(results: Sequence[Measurement], *, pm_qos_held: bool) -> list[Goal]:
    """Hold the measurements against the goals.

    Latency counts only while PM QoS was held. The floor beside a goal is what the minimal eventfd → uvloop
    callback reached against the same peer.
    """
    medians = {(r.name, r.metric): r.median for r in results}

    def ratio(metric: str, above: str, below: str) -> float | None:
        over, under = medians.get((above, metric)), medians.get((below, metric))
        return over / under if over and under else None

    goals = [
        Goal(f"{metric}: {OURS} / {FLOOR}", ratio(metric, OURS, FLOOR), FLOOR_RATIO, False, pm_qos_held)
        for metric in LATENCIES
    ]
    goals += [
        Goal(
            f"{metric}: {name} / {OURS}",
            ratio(metric, name, OURS),
            factor,
            True,
            pm_qos_held,
            ratio(metric, name, FLOOR),
        )
        for name, factor in LATENCY_BELOW
        for metric in LATENCIES
    ]
    own = medians.get((OURS, "throughput_per_s"))
    goals.append(
        Goal(f"million/s: {OURS}", None if own is None else own / 1e6, THROUGHPUT_MILLION_PER_S, True)
    )
    goals += [
        Goal(f"throughput_per_s: {OURS} / {name}", ratio("throughput_per_s", OURS, name), factor, True)
        for name, factor in THROUGHPUT_ABOVE
    ]
    return goals
