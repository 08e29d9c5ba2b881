"""Which latency class a machine can reach, by stated limits on what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from profiles.host.measured import Measured, time_text

UNKNOWN_CLASS = "?"


@dataclass(frozen=True, slots=True)
class ClassLimits:
    """A latency class: the worst a machine of it may show.

    Attributes:
        name: A to C; what misses even C is D.
        wake_ns_p99: a doorbell rung on one core until the sleeper on the other runs.
        delay_ns_p99, delay_ns_p99_9: what a message due at a random moment waits for its core.
        use: what it is good for.
    """

    name: str
    wake_ns_p99: int
    delay_ns_p99: int
    delay_ns_p99_9: int
    use: str


CLASSES = (
    ClassLimits("A", 10_000, 10_000, 100_000, "scalping and market making where the queue counts"),
    ClassLimits("B", 15_000, 50_000, 2_000_000, "market making and arbitrage"),
    ClassLimits("C", 60_000, 1_000_000, 20_000_000, "slower strategies; the tail belongs to the host"),
)
LAST_USE = "tests, replay and paper trading"


@dataclass(frozen=True, slots=True)
class LatencyClass:
    """The class reached, and what keeps the machine from the next better one.

    Attributes:
        name: A to D, or `?` when it was not measured.
        promise: the figures that hold in it.
        use: what it is good for.
        limited_by: each figure that misses the next better class.
        without_pm_qos: the class when PM QoS is not held, empty when that was not measured.
    """

    name: str
    promise: str
    use: str
    limited_by: tuple[str, ...] = ()
    without_pm_qos: str = ""


def grade(measured: Measured, pinned: Sequence[int]) -> LatencyClass:
    """The class that workers on these cores can reach.

    Args:
        measured: figures of the machine; the class is unknown without hiccups and a wake-up.
        pinned: cores of the workers.
    """
    rows = [h for h in measured.hiccups if h.core in pinned]
    if not rows or measured.wake() is None:
        return LatencyClass(UNKNOWN_CLASS, "not measured", "")
    name, misses = _class_of(measured, pinned, held=None)
    limits = next((c for c in CLASSES if c.name == name), None)
    free = measured.wake(held=False)
    without = _class_of(measured, pinned, held=False)[0] if free is not None else ""
    if limits is None:
        return LatencyClass(name, "no bound that a strategy could count on", LAST_USE, misses, without)
    promise = (
        f"99 % of doorbells wake within {time_text(limits.wake_ns_p99)} and find their core within "
        f"{time_text(limits.delay_ns_p99)}, 99.9 % within {time_text(limits.delay_ns_p99_9)}"
    )
    return LatencyClass(name, promise, limits.use, misses, without)


def _class_of(measured: Measured, pinned: Sequence[int], *, held: bool | None) -> tuple[str, tuple[str, ...]]:
    """Name of the best class whose limits hold, and what misses the one above it."""
    rows = [h for h in measured.hiccups if h.core in pinned]
    wake = measured.wake(held=held)
    assert wake is not None
    misses: tuple[str, ...] = ()
    for limits in CLASSES:
        found = []
        if wake.ns_p99 > limits.wake_ns_p99:
            found.append(
                f"wake-up p99 {time_text(wake.ns_p99)} ({limits.name} ≤ {time_text(limits.wake_ns_p99)})"
            )
        for h in rows:
            for label, value, most in (
                ("p99", h.delay_ns_p99, limits.delay_ns_p99),
                ("p99.9", h.delay_ns_p99_9, limits.delay_ns_p99_9),
            ):
                if value > most:
                    found.append(
                        f"core {h.core} away {label} {time_text(value)} ({limits.name} ≤ {time_text(most)})"
                    )
        if not found:
            return limits.name, misses
        misses = tuple(found)
    return "D", misses
