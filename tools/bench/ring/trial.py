"""One trial: the producer's process, which starts the consumer's, measures, and prints one JSON line.

Run as a module (`python -P -m tools.bench.ring.trial SPEC`) by `runner`, in a session of its own, so that
whatever a peer leaves behind ends with it.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import orjson

from shm.clock import now_ns
from tools.bench.ring.contender import Place, Sink
from tools.bench.ring.contenders import find_contender

LEAD_NS = 100_000_000
PARTS = ("paced", "bulk")


@dataclass(frozen=True, slots=True)
class Load:
    """What one trial sends.

    Args:
        messages: messages of the latency part, 0 = leave it out.
        warm_up: so many of them are not counted.
        rate_per_s: latency messages per second.
        bulk: share of the contender's own number of bulk messages, 0 = leave throughput out.
        limit_s: the trial ends itself after this time.
    """

    messages: int
    warm_up: int
    rate_per_s: int
    bulk: float
    limit_s: int


@dataclass(frozen=True, slots=True)
class TrialSpec:
    """A contender, its place and the load."""

    contender: str
    place: Place
    load: Load

    def to_json(self) -> bytes:
        """The argument of the trial's process."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> TrialSpec:
        """The inverse."""
        raw = orjson.loads(text)
        place = Place(**(raw["place"] | {"cores": tuple(raw["place"]["cores"])}))
        return cls(raw["contender"], place, Load(**raw["load"]))


def consume(name: str, place: Place, bulk: bool, handle: Any, expected: int, pipe: Connection) -> None:
    """Entry of the consumer's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.sched_setaffinity(0, {place.consumer_core})
    gc.disable()
    sink = Sink(expected, lambda: pipe.send(preemptions()))
    find_contender(name)(place, bulk=bulk).listen(handle, sink)
    pipe.send((sink.count, sink.end_ns or now_ns(), preemptions(), sink.ages_ns.tobytes(), sink.extras))


def preemptions() -> int:
    """How often this process lost its core to another one while it could have gone on."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def run_part(spec: TrialSpec, *, bulk: bool) -> dict[str, float]:
    """Measure latency, or with `bulk` throughput.

    Raises:
        RuntimeError: the consumer ended early or counted another number than was sent.
    """
    place, load = part_of(spec.place, PARTS[bulk]), spec.load
    kind = find_contender(spec.contender)
    sent = max(int(kind.bulk_count * load.bulk) // 256, 1) * 256 if bulk else load.messages
    expected = sent * kind.fan_out
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    cores = os.sched_getaffinity(0)
    contender = kind(place, bulk=bulk)
    try:
        os.sched_setaffinity(0, {place.producer_core})
        handle = contender.open()
        child = context.Process(
            target=consume, args=(spec.contender, place, bulk, handle, expected, there), daemon=True
        )
        child.start()
        there.close()
        preempted = receive_from(here)
        contender.connect()
        start = now_ns() + LEAD_NS
        if bulk:
            start = now_ns()
            contender.send_bulk(sent)
        else:
            contender.send_paced(start, 1_000_000_000 // load.rate_per_s, sent)
        count, end, preempted_then, ages, extras = receive_from(here)
        child.join()
        extras.update(contender.extras())
    finally:
        os.sched_setaffinity(0, cores)
        contender.close()
    if count != expected:
        raise RuntimeError(f"{count} of {expected} messages were handled")
    if bulk:
        return {"throughput_per_s": expected * 1e9 / (end - start)}
    measured = percentiles(np.frombuffer(ages, dtype=np.int64)[load.warm_up * kind.fan_out :])
    measured["preemptions"] = preempted_then - preempted
    measured.update(extras)
    return measured


def part_of(place: Place, part: str) -> Place:
    """A place of its own for one part of a trial."""
    folder = f"{place.folder}/{part}"
    os.mkdir(folder, 0o700)
    return replace(place, folder=folder, instance=f"{place.instance}-{part}")


def receive_from(pipe: Connection) -> Any:
    """The consumer's next word; RuntimeError if it ended first."""
    try:
        return pipe.recv()
    except EOFError:
        raise RuntimeError("the consumer ended before it was done") from None


def percentiles(ages_ns: Iterable[int]) -> dict[str, float]:
    """The metrics of one latency run."""
    ages = np.sort(np.asarray(ages_ns))
    names = {"latency_ns_p50": 0.50, "latency_ns_p99": 0.99, "latency_ns_p999": 0.999}
    return {metric: float(ages[min(int(len(ages) * q), len(ages) - 1)]) for metric, q in names.items()}


def main(text: str) -> None:
    """Run the parts that the load names and print what they measured."""
    spec = TrialSpec.from_json(text)
    signal.alarm(spec.load.limit_s)  # default action: a peer that hangs ends with its trial
    gc.disable()
    measured: dict[str, float] = {}
    if spec.load.messages:
        measured |= run_part(spec, bulk=False)
    if spec.load.bulk and find_contender(spec.contender).bulk_count:
        measured |= run_part(spec, bulk=True)
    sys.stdout.write(orjson.dumps(measured).decode() + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
