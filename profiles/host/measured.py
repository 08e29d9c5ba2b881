"""The figures of the measuring loops, and the arithmetic that makes them of histograms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shm.histogram import BUCKETS, HistogramSnapshot, bucket_lower, bucket_upper

QUANTILES = (0.5, 0.99, 0.999)
GAP_LIMITS_NS = (10_000, 100_000, 1_000_000)


@dataclass(frozen=True, slots=True)
class Hiccups:
    """How one core behaved under a thread that never sleeps.

    Attributes:
        core: which.
        measured_s: for how long.
        delay_ns_p50, delay_ns_p99, delay_ns_p99_9: what a message due at a random moment would have waited.
        gap_ns_max: the longest absence.
        over_10us, over_100us, over_1ms: number of absences longer than that.
        lost: share of the time spent in absences above 10 µs.
        waited: share of the time in which the thread was ready but the kernel ran something else.
        switches: how often it was taken off the core.
    """

    core: int
    measured_s: float
    delay_ns_p50: int
    delay_ns_p99: int
    delay_ns_p99_9: int
    gap_ns_max: int
    over_10us: int
    over_100us: int
    over_1ms: int
    lost: float
    waited: float = 0.0
    switches: int = 0


@dataclass(frozen=True, slots=True)
class Timing:
    """One latency distribution.

    Attributes:
        what: wake or timer.
        setting: how it was measured: cores, PM QoS, timer slack.
        held: whether deep idle states were kept out by PM QoS.
        count: values.
    """

    what: str
    setting: str
    held: bool
    count: int
    ns_p50: int
    ns_p99: int
    ns_p99_9: int
    ns_max: int


@dataclass(frozen=True, slots=True)
class CorePair:
    """What lies between two cores.

    Attributes:
        cores: the two.
        round_trip_ns: mean time for a cache line to go there and back.
        clock_offset_ns: the second's monotonic clock minus the first's; the error is half a round trip.
        violations: how often a later event bore an earlier time.
    """

    cores: tuple[int, int]
    round_trip_ns: int
    clock_offset_ns: int
    violations: int


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that was measured; parts that were not are empty or None.

    Attributes:
        hiccups: by core.
        timings: wake-ups and timers.
        pairs: between cores.
        clock_ns, syscall_ns: mean cost of a clock read and of the cheapest system call.
        fsync_ns_max: the slowest of a few writes made durable in the state directory.
    """

    hiccups: tuple[Hiccups, ...] = ()
    timings: tuple[Timing, ...] = ()
    pairs: tuple[CorePair, ...] = ()
    clock_ns: float | None = None
    syscall_ns: float | None = None
    fsync_ns_max: int | None = None

    def wake(self, *, held: bool | None = None) -> Timing | None:
        """The pinned wake-up with PM QoS held or not, or with `None` the better of both."""
        found = [t for t in self.timings if t.what == "wake" and held in (None, t.held)]
        return min(found, key=lambda t: t.ns_p99, default=None)

    def of_core(self, core: int) -> Hiccups | None:
        """Hiccups of one core, None when it was not measured."""
        return next((h for h in self.hiccups if h.core == core), None)


_lower = np.array([bucket_lower(i) for i in range(BUCKETS)], dtype=np.float64)
_middle = (_lower + np.array([bucket_upper(i) for i in range(BUCKETS)], dtype=np.float64)) / 2


def time_text(ns: float) -> str:
    """A time for people, in three digits and the unit that fits."""
    for unit, scale in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= scale:
            return f"{ns / scale:.3g} {unit}" if ns < 1000 * scale else f"{ns / scale:,.0f} {unit}"
    return f"{ns:.0f} ns"


def delay_percentile(gaps: HistogramSnapshot, share: float) -> int:
    """The delay that a message due at a random moment exceeds with probability 1 − `share`.

    A moment in a gap of length g has, uniformly, 0 to g still to wait, so P(delay > x) =
    Σ max(0, g − x) / Σ g over all gaps. A percentile over the gaps themselves would count a stall of
    10 ms as one value among a billion.

    Args:
        gaps: all gaps between consecutive reads, in ns.
        share: 0 to 1.

    Returns:
        ns, exact to the bucket (1.6 %); 0 when nothing was measured.
    """
    counts = gaps.counts.astype(np.float64)
    lengths = np.minimum(_middle, gaps.max)
    total = float((counts * lengths).sum())
    if total <= 0:
        return 0
    beyond = (1.0 - share) * total
    # Of the gaps longer than x: their count and their sum, so that Σ (g − x) = sum − x · count.
    number = np.cumsum(counts[::-1])[::-1]
    length = np.cumsum((counts * lengths)[::-1])[::-1]
    # From the longest bucket down: the first lower edge at which more than `beyond` lies above.
    above = length - _lower * number
    index = int(np.flatnonzero(above >= beyond).max(initial=0))
    if not number[index]:
        return 0
    return max(int((length[index] - beyond) / number[index]), 0)


def hiccups_of(
    core: int, gaps: HistogramSnapshot, elapsed_ns: int, waited_ns: int = 0, switches: int = 0
) -> Hiccups:
    """Sum up the gaps of one core.

    Args:
        core: which.
        gaps: between consecutive clock reads, in ns.
        elapsed_ns: how long was measured.
        waited_ns: of that, how long the thread stood in the kernel's run queue.
        switches: how often it was taken off the core.
    """
    p50, p99, p99_9 = (delay_percentile(gaps, q) for q in QUANTILES)
    over = [int(gaps.counts[_lower >= limit].sum()) for limit in GAP_LIMITS_NS]
    long = _lower >= GAP_LIMITS_NS[0]
    lost_ns = float((gaps.counts[long] * np.minimum(_middle[long], gaps.max)).sum())
    return Hiccups(
        core,
        elapsed_ns / 1e9,
        p50,
        p99,
        p99_9,
        gaps.max,
        over[0],
        over[1],
        over[2],
        lost_ns / max(elapsed_ns, 1),
        waited_ns / max(elapsed_ns, 1),
        switches,
    )


def timing_of(what: str, setting: str, values: HistogramSnapshot, *, held: bool) -> Timing:
    """Sum up one latency distribution."""
    return Timing(
        what,
        setting,
        held,
        values.count,
        values.percentile(50),
        values.percentile(99),
        values.percentile(99.9),
        values.max,
    )
