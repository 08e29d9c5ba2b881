"""Two lines against each one of them: `ringlane bench lines`.

A worker of its own holds two connections to a simulated venue through a relay that delays each of them at
random and on its own. The real session merges them by sequence. For every message three times are counted
from when the venue sent it: until line A brought it, until line B did, and until it was in the book.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import orjson
import uvloop
from picows import WSFrame, WSTransport

from feeds.core import MessageKind
from feeds.transport.websocket import FeedListener
from feeds.venues import adapter_names, get_adapter
from profiles.machine import machine_facts
from shm.clock import now_ns
from tools.bench import feed_relay as relay
from tools.bench.common import OURS, BenchResult, Goal, Measurement
from tools.bench.feed import Load as VenueLoad
from tools.bench.feed import Progress, StepFailed, Venue, two_cores
from tools.bench.feed_worker import TIMER_S, FeedWorker

LINE_A, LINE_B = "line A alone", "line B alone"
P50, P99 = "latency_ns_p50", "latency_ns_p99"
#: Below both single lines: of the better one at most so much.
SHARE = 0.99
#: So many of the messages of one line must be found on the other and at the relay.
JOINED = 0.98


@dataclass(frozen=True, slots=True)
class Load:
    """How much is measured.

    Args:
        instruments: of the simulated venue.
        rate: updates a second in all.
        seconds: of each run.
    """

    instruments: int = 4
    rate: float = 1_000.0
    seconds: float = 10.0


def bench_lines(
    runs: int,
    *,
    venues: Sequence[str] = (),
    load: Load | None = None,
    progress: Progress = lambda _: None,
) -> BenchResult:
    """Measure two merged lines beside each of them alone.

    Args:
        runs: at most three are made; each has other delays.
        venues: adapters or families; empty = all.
        load: how much.
        progress: told what is measured.

    Raises:
        VenueError: an unknown venue.
    """
    load = load or Load()
    names = adapter_names(venues)
    results: list[Measurement] = []
    absent: dict[str, str] = {}
    for name in names:
        found = []
        try:
            for run in range(min(runs, 3)):
                progress(f"{name}: two lines, run {run + 1}")
                found.append(measure_lines(name, load, seed=run))
        except StepFailed as error:
            absent[name] = str(error)
            continue
        for contender in (OURS, LINE_A, LINE_B):
            for metric, percent in ((P50, 50), (P99, 99)):
                values = [float(np.percentile(one[contender], percent)) for one in found]
                results.append(Measurement(contender, f"{metric} {name}", "ns", values))
    return BenchResult("lines", machine_facts(), results, notes_of(load), absent, goals_of(results, names))


def notes_of(load: Load) -> list[str]:
    """What a reader must know."""
    delays = (
        f"{relay.BASE_NS / 1e6:g} ms, an exponential part of {relay.JITTER_NS / 1e6:g} ms mean,"
        f" {relay.STALLS_PER_S:g} stalls a second of {relay.STALL_NS / 1e6:g} ms mean"
    )
    return [
        f"{OURS}: two connections merged by sequence, until the message is in the book of a feed worker",
        f"{LINE_A}, {LINE_B}: the same messages in the same run, until that connection brought them",
        "counted from when the first of the two connections got the message from the venue, at the relay",
        f"delays of each connection, drawn on its own: {delays}",
        f"{load.instruments} synthetic instruments, {load.rate:,.0f} updates/s, {load.seconds:g} s a run",
    ]


def goals_of(results: Sequence[Measurement], names: Sequence[str]) -> list[Goal]:
    """The merged p99 is below both single ones."""
    found = {(r.name, r.metric): r.median for r in results}
    goals = []
    for name in names:
        alone = [found.get((line, f"{P99} {name}")) for line in (LINE_A, LINE_B)]
        ours = found.get((OURS, f"{P99} {name}"))
        ratio = None if ours is None or None in alone else ours / min(v for v in alone if v is not None)
        goals.append(Goal(f"{name}: p99 merged / p99 of the better line", ratio, SHARE, at_least=False))
    return goals


# ---- one run -----------------------------------------------------------------------------------


def measure_lines(name: str, load: Load, seed: int) -> dict[str, list[int]]:
    """Latencies of every message, by contender.

    Raises:
        StepFailed: a process ended without a figure, or messages were lost.
    """
    here, there = two_cores()
    venue = Venue(name, there, VenueLoad(instruments=load.instruments, rate=load.rate))
    try:
        parts = urlsplit(venue.ready["ws"])
        middle = subprocess.Popen(
            [sys.executable, "-P", "-m", "tools.bench.feed_relay", str(parts.port), str(1_000 * seed)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        with middle:
            os.sched_setaffinity(middle.pid, {there})
            assert middle.stdout is not None
            port = middle.stdout.readline().decode().strip()
            url = urlunsplit(parts._replace(netloc=f"127.0.0.1:{port}"))
            arguments = [
                sys.executable, "-P", "-m", "tools.bench.feed_lines", name, url, venue.ready["rest"],
                str(here), str(load.seconds),
            ]  # fmt: skip
            worker = subprocess.run(arguments, capture_output=True, timeout=60 + load.seconds, check=False)
            told, _ = middle.communicate(timeout=30)
    finally:
        venue.close()
    if worker.returncode:
        raise StepFailed(worker.stderr.decode(errors="replace").strip().rpartition("\n")[2])
    return join(orjson.loads(told), orjson.loads(worker.stdout))


def join(seen: Sequence[Sequence[tuple[str, int]]], worker: Mapping[str, Any]) -> dict[str, list[int]]:
    """Bring together what relay and worker noted.

    Args:
        seen: by connection of the relay: (name of a frame, when it came from the venue).
        worker: what `Taps.result` has noted.

    Raises:
        StepFailed: messages were lost, or of too many the three times are not known.
    """
    if worker["lost"]:
        raise StepFailed(f"{worker['lost']} gaps, rejections or disconnections")
    sent: dict[str, int] = {}
    for connection in seen:
        for name, at_ns in connection:
            sent[name] = min(at_ns, sent.get(name, at_ns))
    proven: dict[int, tuple[list[int], list[int]]] = {}
    for instrument_id, sequence, at_ns in worker["proofs"]:
        sequences, times = proven.setdefault(instrument_id, ([], []))
        sequences.append(sequence)
        times.append(at_ns)
    lines: tuple[dict[tuple[int, int], tuple[str, int]], ...] = ({}, {})
    for line, instrument_id, sequence, name, at_ns in worker["arrivals"]:
        lines[line].setdefault((instrument_id, sequence), (name, at_ns))
    found: dict[str, list[int]] = {OURS: [], LINE_A: [], LINE_B: []}
    for key in lines[0].keys() & lines[1].keys():
        name, first_ns = lines[0][key]
        sequences, times = proven.get(key[0], ([], []))
        place = bisect_left(sequences, key[1])
        if name not in sent or place == len(sequences):
            continue
        for contender, at_ns in ((OURS, times[place]), (LINE_A, first_ns), (LINE_B, lines[1][key][1])):
            found[contender].append(at_ns - sent[name])
    least = min(len(line) for line in lines)
    if not found[OURS] or len(found[OURS]) < JOINED * least:
        raise StepFailed(f"only {len(found[OURS])} of {least} messages were seen by all")
    return found


# ---- the worker's process ----------------------------------------------------------------------


class Taps:
    """What the worker notes of each message; `is_on` says whether it does."""

    def __init__(self) -> None:
        self.is_on = False
        #: (line, instrument_id, sequence, payload, when it was received)
        self.arrivals: list[tuple[int, int, int, bytes, int]] = []
        #: (instrument_id, proven sequence, when the book had it)
        self.proofs: list[tuple[int, int, int]] = []
        self.proven: dict[int, int] = {}

    def result(self, lost: int) -> dict[str, object]:
        """What is printed."""
        arrivals = [(*head, relay.digest(payload), at) for *head, payload, at in self.arrivals]
        return {"arrivals": arrivals, "proofs": self.proofs, "lost": lost}


class TappedListener(FeedListener):
    """A feed's listener that notes when each message came and when the book had it."""

    def tap(self, taps: Taps, worker: FeedWorker, line: int) -> TappedListener:
        """Begin to note; returns itself."""
        self.taps, self.worker, self.line = taps, worker, line
        return self

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Note the frame's time, and after it was dealt with what is proven by then."""
        taps, core = self.taps, self.worker.core
        received_ns, payload = now_ns(), frame.get_payload_as_bytes()
        super().on_ws_frame(transport, frame)
        if not taps.is_on or core.message_kind != MessageKind.DEPTH:
            return
        number = core.instrument_id
        taps.arrivals.append((self.line, number, core.last_sequence, payload, received_ns))
        sequence = core.proven_sequence(number)
        if sequence > taps.proven.get(number, 0):
            taps.proven[number] = sequence
            taps.proofs.append((number, sequence, now_ns()))


class LinesWorker(FeedWorker):
    """A feed worker with two lines of each stream, and taps on them."""

    def __init__(self, name: str, websocket_url: str, rest_url: str) -> None:
        super().__init__(get_adapter(name), websocket_url, rest_url, lines=2)
        self.taps = Taps()

    def make_listener(self, number: int) -> FeedListener:
        """A tapped one."""
        return TappedListener(self.session, number).tap(self.taps, self, self.session.lines.get(number).line)

    async def until_both_bring(self) -> None:
        """Wait until every book is LIVE and each line brings all of its books."""
        await self.until_live()
        while not all(self.session.is_line_proven(number) for number in range(len(self.connections))):
            await asyncio.sleep(TIMER_S)


async def run_worker(name: str, websocket_url: str, rest_url: str, seconds: float) -> dict[str, object]:
    """What two lines brought in `seconds`."""
    worker = LinesWorker(name, websocket_url, rest_url)
    await worker.start()
    try:
        async with asyncio.timeout(60.0):
            await worker.until_both_bring()
        before = lost_of(worker)
        worker.taps.is_on = True
        await asyncio.sleep(seconds)
        worker.taps.is_on = False
        lost = lost_of(worker) - before
    finally:
        worker.close()
    return worker.taps.result(lost)


def lost_of(worker: FeedWorker) -> int:
    """Counts of what must not happen."""
    core, session = worker.core.statistics(), worker.session.statistics()
    return session["gaps"] + session["disconnects"] + core["rejected"] + core["crossed"]


def main(arguments: list[str]) -> None:
    """Entry of the worker's process: VENUE WS_URL REST_URL CORE SECONDS."""
    name, websocket_url, rest_url, core, seconds = arguments
    os.sched_setaffinity(0, {int(core)})
    make_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=make_loop) as runner:
        found = runner.run(run_worker(name, websocket_url, rest_url, float(seconds)))
    relay.print_whole(found)


if __name__ == "__main__":
    main(sys.argv[1:])
