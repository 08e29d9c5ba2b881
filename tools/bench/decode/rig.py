"""The compiled core of a feed over private memory, brought to where one pass of a benchmark begins."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from feeds.adapter import VenueAdapter
from feeds.core import FeedCore, FrameResult
from shm.book import BookSlab
from shm.enums import BookReason, BookState
from shm.instruments import Instrument
from shm.ring import BroadcastRing, Publisher

CAPACITY = 4096
RECORD_BYTES = 128
DEPTH = 32


@dataclass(frozen=True, slots=True)
class Start:
    """What one instrument's book begins with.

    Args:
        body: the whole book: the answer to a snapshot request, or the stream's own first message.
        first: the update that joins `body`; b"" where the stream's snapshot proves itself.
    """

    body: bytes
    first: bytes = b""


@dataclass(frozen=True, slots=True)
class Workload:
    """Depth messages of one venue, each of which a proven book applies.

    Args:
        name: in tables and metrics, the venue's name first.
        adapter: the venue.
        rows: the instruments, numbered from 0.
        starts: of each instrument.
        frames: the messages, in their order.
        indexes: whose each is.
        stamps: when each could have been received: a little after its venue time, ns.
        source: where they come from, in words.
    """

    name: str
    adapter: VenueAdapter
    rows: Sequence[Instrument]
    starts: Sequence[Start]
    frames: list[bytes]
    indexes: list[int]
    stamps: list[int]
    source: str

    def first(self, count: int) -> Workload:
        """The same with the first messages only."""
        return replace(
            self, frames=self.frames[:count], indexes=self.indexes[:count], stamps=self.stamps[:count]
        )


class PassFailed(RuntimeError):
    """Messages that had to be applied were not."""


class CoreRig:
    """Core, slab and a ring without subscribers, for the instruments of a venue."""

    def __init__(self, adapter: VenueAdapter, rows: Sequence[Instrument]) -> None:
        count, priorities = len(rows), {row.priority for row in rows}
        slab = BookSlab.create(bytearray(BookSlab.bytes_needed(DEPTH, count, 1)), DEPTH, count, 1, 0)
        ring = BroadcastRing.create(
            bytearray(BroadcastRing.bytes_needed(CAPACITY, RECORD_BYTES)), CAPACITY, RECORD_BYTES
        )
        publishers = dict.fromkeys(priorities, Publisher(ring, None))
        self.instruments = count
        self.core = FeedCore(adapter.make_decoder(), int(adapter.rule), slab, publishers, 1)
        for row in rows:
            self.core.add_instrument(row, 0)

    def prove(self, starts: Sequence[Start]) -> None:
        """Make every book what its start says, and LIVE."""
        core = self.core
        for number, start in enumerate(starts):
            core.set_state(number, BookState.SYNCING, BookReason.START, 1)
            if start.first:
                core.load_snapshot(number, start.body, 1)
            core.apply_depth(number, start.first or start.body, 1)
            if core.set_state(number, BookState.LIVE, BookReason.PROVEN, 1) != BookState.LIVE:
                raise PassFailed(f"the book of instrument {number} does not become LIVE")

    def run(self, workload: Workload) -> float:
        """One pass over all messages, one call from Python each; ns per message.

        Raises:
            PassFailed: not every one was applied.
        """
        core, frames = self.core, workload.frames
        self.prove(workload.starts)
        on_frame = core.on_frame
        before = core.statistics()["books"]
        begin = time.perf_counter_ns()
        for frame in frames:
            on_frame(frame, begin)
        spent = time.perf_counter_ns() - begin
        missed = len(frames) - (core.statistics()["books"] - before)
        if missed:
            raise PassFailed(f"{missed} of {len(frames)} were not {FrameResult.APPLIED.name}: {core.error}")
        return spent / len(frames)

    def run_whole_in_c(self, workload: Workload) -> float:
        """The same as `run` in one C loop, as a websocket's listener calls the core; ns per message.

        Raises:
            PassFailed: not every one was applied.
        """
        self.prove(workload.starts)
        begin = time.perf_counter_ns()
        count = self.core.on_frames(workload.frames, begin)
        spent = time.perf_counter_ns() - begin
        if count != len(workload.frames):
            missed = len(workload.frames) - count
            raise PassFailed(f"{missed} were not {FrameResult.APPLIED.name}: {self.core.error}")
        return spent / count

    def run_in_c(self, workload: Workload) -> float:
        """Decode and book alone in one C loop, one instrument after the other; ns per message."""
        per_instrument: list[list[bytes]] = [[] for _ in workload.rows]
        for frame, index in zip(workload.frames, workload.indexes, strict=True):
            per_instrument[index].append(frame)
        self.prove(workload.starts)
        begin = time.perf_counter_ns()
        count = sum(self.core.decode_only(i, frames) for i, frames in enumerate(per_instrument))
        return (time.perf_counter_ns() - begin) / count

    def book_bytes(self) -> int:
        """Memory of the largest private book."""
        return max(self.core.book_bytes(number) for number in range(self.instruments))
