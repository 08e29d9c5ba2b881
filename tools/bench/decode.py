"""Cost of one depth update from bytes to ring record, beside parsing the same JSON alone."""

from __future__ import annotations

import gzip
import random
import time
from collections.abc import Callable
from pathlib import Path

import orjson

from feeds.adapter import VenueAdapter
from feeds.continuity import ContinuityRule
from feeds.core import FeedCore, FrameResult
from feeds.decoder import MessageKind
from feeds.errors import DecodeError, FeedError
from feeds.venues import ADAPTERS, get_adapter
from profiles.machine import machine_facts
from shm.book import BookSlab
from shm.enums import BookReason, BookState
from shm.instruments import Instrument
from shm.ring import BroadcastRing, Publisher
from tools.bench.common import OURS, BenchResult, Measurement, paired_runs

METRIC = "cost_ns_per_frame"
RECORDING = "usdm_btcusdt_20240808.gz"
SYMBOL = "BTCUSDT"
CAPACITY = 4096
RECORD_BYTES = 128
DEPTH = 32


def recorded_frames(path: Path) -> tuple[bytes, list[bytes]]:
    """The snapshot of a recording and the depth frames that follow it."""
    snapshot, depth = b"", []
    with gzip.open(path) as lines:
        for line in lines:
            frame = line.split(b" ", 1)[1].rstrip()
            if frame.startswith(b'{"lastUpdateId"'):
                snapshot = snapshot or frame
            elif b'"depthUpdate"' in frame:
                depth.append(frame)
    sequence = orjson.loads(snapshot)["lastUpdateId"]
    return snapshot, [f for f in depth if orjson.loads(f)["data"]["u"] >= sequence]


def synthetic_frames(count: int = 4000, changes: int = 40, seed: int = 1) -> tuple[bytes, list[bytes]]:
    """A made-up snapshot and depth frames of `changes` level changes each, in the venue's shape."""
    rng = random.Random(seed)
    middle = 618_000

    def level(side: int) -> list[str]:
        price = middle + (1 if side else -1) * (1 + int(rng.expovariate(1 / 300)))
        return [f"{price / 10:.2f}", f"{rng.choice((0, rng.randrange(1, 5000))) / 1000:.3f}"]

    bids = [[f"{(middle - k) / 10:.2f}", "1.000"] for k in range(1, 1000)]
    asks = [[f"{(middle + k) / 10:.2f}", "1.000"] for k in range(1, 1000)]
    frames = []
    for i in range(count):
        data = {
            "e": "depthUpdate",
            "E": 1700000000000 + i,
            "T": 1700000000000 + i,
            "s": SYMBOL,
            "U": i + 1,
            "u": i + 1,
            "pu": i,
            "b": sorted(level(0) for _ in range(changes // 2)),
            "a": sorted(level(1) for _ in range(changes // 2)),
        }
        frames.append(orjson.dumps({"stream": "btcusdt@depth@0ms", "data": data}))
    return orjson.dumps({"lastUpdateId": 0, "bids": bids, "asks": asks}), frames


def adapter_of(frame: bytes) -> VenueAdapter:
    """The adapter whose decoder reads this frame as a depth update."""
    for name in ADAPTERS:
        adapter = get_adapter(name)
        try:
            if adapter.make_decoder().decode_message(frame).kind == MessageKind.DEPTH:
                return adapter
        except DecodeError:
            continue
    raise FeedError(f"no venue's decoder reads {frame[:60]!r}")


def make_core(frame: bytes) -> FeedCore:
    """A core with one instrument on private memory, for frames like this one; its ring has no subscriber."""
    slab = BookSlab.create(bytearray(BookSlab.bytes_needed(DEPTH, 2, 1)), DEPTH, 2, 1, 0)
    ring = BroadcastRing.create(
        bytearray(BroadcastRing.bytes_needed(CAPACITY, RECORD_BYTES)), CAPACITY, RECORD_BYTES
    )
    adapter = adapter_of(frame)
    core = FeedCore(adapter.make_decoder(), ContinuityRule.PREVIOUS, slab, {2: Publisher(ring, None)}, 1)
    core.add_instrument(
        Instrument(
            instrument_id=1,
            venue_id=adapter.venue_id,
            price_exponent=2,
            quantity_exponent=3,
            tick_size=10,
            symbol=SYMBOL,
        ),
        0,
    )
    return core


def bench_decode(data_dir: Path | None, runs: int) -> BenchResult:
    """Measures the cost of one depth frame: whole path, parsing alone, and the core's own floor.

    `data_dir` is the folder that holds the venues' recordings; without it, or without the recording,
    synthetic frames are used and the notes say so.
    """
    path = next(iter(sorted(data_dir.glob(f"*/{RECORDING}"))), None) if data_dir else None
    if path is not None:
        snapshot, frames = recorded_frames(path)
        source = f"{len(frames)} recorded depth frames of {path.name}, held in memory"
    else:
        snapshot, frames = synthetic_frames()
        source = f"SYNTHETIC frames ({len(frames)} of 40 level changes): the recording is not at hand"
    core, floor = make_core(frames[0]), make_core(frames[0])
    values = paired_runs(
        {
            OURS: lambda: run_core(core, snapshot, frames),
            "orjson.loads": lambda: run_each(orjson.loads, frames),
            "floor": lambda: run_floor(floor, snapshot, frames),
        },
        runs,
    )
    notes = (
        source,
        f"{OURS}: one call from Python per frame: decode, continuity, book, top {DEPTH} to slab, ring record",
        "orjson.loads: parsing alone, no book",
        "floor: our own decode and full book in one C loop; no continuity, slab, ring or call from Python",
    )
    return BenchResult(
        "decode", machine_facts(), [Measurement(n, METRIC, "ns", v) for n, v in values.items()], notes
    )


def run_core(core: FeedCore, snapshot: bytes, frames: list[bytes]) -> float:
    """One pass over all frames through the whole path; ns per frame. Each frame must be applied."""
    core.set_state(1, BookState.SYNCING, BookReason.START, 1)
    core.load_snapshot(1, snapshot, 1)
    core.apply_depth(1, frames[0], 1)
    core.set_state(1, BookState.LIVE, BookReason.PROVEN, 1)
    on_frame, rest = core.on_frame, frames[1:]
    before = core.statistics()["books"]
    begin = time.perf_counter_ns()
    for frame in rest:
        on_frame(frame, begin)
    spent = time.perf_counter_ns() - begin
    applied = core.statistics()["books"] - before
    if applied != len(rest):
        raise RuntimeError(
            f"{len(rest) - applied} of {len(rest)} frames were not {FrameResult.APPLIED.name}: {core.error}"
        )
    return spent / len(rest)


def run_floor(core: FeedCore, snapshot: bytes, frames: list[bytes]) -> float:
    """One pass of decode and book alone; ns per frame."""
    core.load_snapshot(1, snapshot, 1)
    begin = time.perf_counter_ns()
    count = core.decode_only(1, frames)
    return (time.perf_counter_ns() - begin) / count


def run_each(parse: Callable[[bytes], object], frames: list[bytes]) -> float:
    """One pass of a parser; ns per frame."""
    begin = time.perf_counter_ns()
    for frame in frames:
        parse(frame)
    return (time.perf_counter_ns() - begin) / len(frames)
