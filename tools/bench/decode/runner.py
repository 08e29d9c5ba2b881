"""All ways over all messages, in one run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from profiles.machine import machine_facts
from tools.bench.common import OURS, Goal, Measurement
from tools.bench.decode.frames import workloads
from tools.bench.decode.goals import BOOK, COST, decode_goals
from tools.bench.decode.rig import DEPTH, Workload
from tools.bench.decode.view import DecodeResult
from tools.bench.decode.ways import PLAIN_PEERS, WAYS, Ours, Unable, Way

#: A pass that took so long is warm by itself, and is made twice at most.
LONG_S = 0.5
LONG_RUNS = 2
Progress = Callable[[str], object]


def peers() -> tuple[type[Way], ...]:
    """The ways of other projects, installed or not."""
    from tools.venues.bench_peers import VENUE_PEERS

    return (*PLAIN_PEERS, *VENUE_PEERS)


def bench_decode(
    data_dir: Path | None,
    runs: int,
    *,
    with_peers: bool = False,
    venues: Sequence[str] = (),
    frames: int = 0,
    progress: Progress = lambda _: None,
) -> DecodeResult:
    """Measure the cost of one depth message: the whole path, and beside it parsers, floor and peers.

    Args:
        data_dir: folder that holds the venues' recordings; where one is missing, synthetic messages are
            used and the notes say so.
        runs: passes of each way over all messages; two at most where one takes long.
        with_peers: measure the peers that are installed too.
        venues: adapters or families; empty = all.
        frames: at most so many messages of each kind; 0 = all.
        progress: told what is measured.

    Raises:
        VenueError: an unknown venue.
    """
    kinds = (*WAYS, *peers()) if with_peers else WAYS
    absent = {k.name: f"not installed: pip install {k.package}" for k in kinds if k.missing()}
    kinds = tuple(k for k in kinds if not k.missing())
    results: list[Measurement] = []
    notes: list[str] = []
    names: list[str] = []
    synthetic: list[str] = []
    for whole in workloads(data_dir, venues):
        load = whole.first(frames) if frames else whole
        names.append(load.name)
        if "SYNTHETIC" in load.source:
            synthetic.append(load.name)
        size = sum(map(len, load.frames)) / len(load.frames)
        notes.append(f"{load.name}: {load.source}; {size:,.0f} bytes a message")
        results += measure(load, kinds, runs, absent, progress)
    notes += [f"{kind.name}: {kind.how}" for kind in kinds]
    notes.append(
        f"{OURS}: the slab holds the best {DEPTH} levels; the ring has no subscriber; all was in memory"
    )
    goals: list[Goal] = decode_goals(results, names, synthetic=synthetic)
    return DecodeResult("decode", machine_facts(), results, notes, absent, goals)


def measure(
    load: Workload, kinds: Iterable[type[Way]], runs: int, absent: dict[str, str], progress: Progress
) -> list[Measurement]:
    """Measure every way over one kind of messages, in turn; those that can not go to `absent`."""
    ways: list[Way] = []
    for kind in kinds:
        try:
            ways.append(kind(load))
        except Unable as error:
            absent[f"{kind.name}, {load.name}"] = str(error)
    values: dict[str, list[float]] = {way.name: [] for way in ways}
    long: set[str] = set()
    for run in range(runs + 1):
        for way in ways:
            taken = values[way.name]
            if way.name in long and len(taken) >= min(runs, LONG_RUNS):
                continue
            progress(f"{load.name}: {way.name}")
            value = way.measure()
            if value * len(load.frames) > LONG_S * 1e9:
                long.add(way.name)
            if run or way.name in long:
                taken.append(value)
    compare(load, ways, absent)
    results = [
        Measurement(name, f"{COST} {load.name}", "ns", taken) for name, taken in values.items() if taken
    ]
    ours = next((way for way in ways if isinstance(way, Ours)), None)
    if ours is not None:
        results.append(Measurement(OURS, f"{BOOK} {load.name}", "bytes", [float(ours.rig.book_bytes())]))
    return results


def compare(load: Workload, ways: Sequence[Way], absent: dict[str, str]) -> None:
    """A way whose books do not end where ours do has not done the same work, and that is told."""
    ours = next((way for way in ways if isinstance(way, Ours)), None)
    if ours is None:
        return
    for index, row in enumerate(load.rows):
        wanted = ours.best(index)
        for way in ways:
            found = way.best(index)
            if found is None or wanted is None:
                continue
            if not all(math.isclose(a, b, rel_tol=1e-9) for a, b in zip(found, wanted, strict=True)):
                absent[f"{way.name}, {load.name}"] = (
                    f"its book of {row.symbol} ends at {found}, ours at {wanted}"
                )
