"""The hops between a frame and the order it causes, by the names their histograms bear.

Each hop is the difference of two stamps of the same update, so the hops of one order add up to its
tick-to-trade time:

    frame_ns → publish_ns → drain_ns → decide_ns → (gate) → send_ns
        decode      ring       decide      intent   gate  send
"""

from __future__ import annotations

from typing import NamedTuple


class Hop(NamedTuple):
    """One measured stage: histogram name, short title, and what lies between its two stamps."""

    histogram: str
    title: str
    meaning: str


HOPS: tuple[Hop, ...] = (
    Hop("hop.decode_ns", "decode", "frame read → book in shared memory and record published"),
    Hop("hop.ring_ns", "ring", "published → drained by the subscriber (wake-up included)"),
    Hop("hop.decide_ns", "decide", "drained → strategy decided"),
    Hop("hop.intent_ns", "intent", "decided → taken up by the gateway"),
    Hop("hop.gate_ns", "gate", "taken up → risk gate passed"),
    Hop("hop.send_ns", "send", "gate passed → journaled and handed to the order session"),
    Hop(
        "hop.ack_ns",
        "ack",
        "order sent → the venue's first word on it (of a simulated venue: its delay included)",
    ),
    Hop("tick_to_trade_ns", "tick to trade", "frame read → order handed to the order session"),
)

LOOP: tuple[Hop, ...] = (
    Hop("cycle_ns", "duty cycle", "one drain of all rings of a worker"),
    Hop("loop_lag_ns", "loop lag", "lateness of the worker's heartbeat timer"),
)

PERCENTILES: tuple[tuple[str, float], ...] = (
    ("latency_ns_p50", 50.0),
    ("latency_ns_p90", 90.0),
    ("latency_ns_p99", 99.0),
    ("latency_ns_p99_9", 99.9),
)
