"""Many processes at one rate ledger: a venue that counts, a venue that refuses, takers that are killed."""

from __future__ import annotations

import os
import random
import selectors
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from shm.clock import now_ns
from shm.enums import RateLane, RateScope, RateUnit, SegmentKind
from shm.rate_ledger import RateLedger
from shm.rate_rules import SECOND_NS, RateRule
from shm.segment import SHM_DIRECTORY, RunName, Segment
from shm.words import load_acquire, store_release
from tests.kit.naive_rate import CountingVenue
from tests.stress.rate_children import create, kill, start

pytestmark = pytest.mark.stress

ROUNDS = int(os.environ.get("RINGLANE_KILL_ROUNDS", "4"))
PHASES = 16


@pytest.fixture
def run() -> Iterator[RunName]:
    name = RunName(f"rates-{os.getpid()}", 1)
    yield name
    for path in SHM_DIRECTORY.glob(f"ringlane.{name.instance}.*"):
        path.unlink()


@dataclass
class Venue:
    """A venue on loopback that counts in fixed windows of 16 alignments at once and refuses what is over any.

    Args:
        limit, window_ns: what it allows.
        refuse_at: number of the request that it refuses whatever it counted, and for how long.
    """

    limit: int
    window_ns: int
    refuse_at: tuple[int, int] = (0, 0)
    stamps: list[int] = field(default_factory=list)  # of the takes
    arrivals: CountingVenue = field(default_factory=CountingVenue)
    stops: list[tuple[int, int]] = field(default_factory=list)
    refused: int = 0
    spread_ns: int = 0

    def __post_init__(self) -> None:
        self._counts: dict[tuple[int, int], int] = {}
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._rest: dict[socket.socket, bytes] = {}
        self.port: int = self._listener.getsockname()[1]

    def serve(self, is_over: Callable[[], bool]) -> None:
        """Answer until that is so."""
        while not is_over():
            for key, _ in self._selector.select(0.1):
                if key.data is None:
                    peer, _ = self._listener.accept()
                    self._rest[peer] = b""
                    self._selector.register(peer, selectors.EVENT_READ, peer)
                else:
                    self._read(key.data)

    def _read(self, peer: socket.socket) -> None:
        data = peer.recv(4096)
        assert data, "a taker has ended"
        *whole, self._rest[peer] = (self._rest[peer] + data).split(b"\n")
        for line in whole:
            kind, *numbers = line.split()
            if kind == b"stop":
                self.stops.append((int(numbers[0]), int(numbers[1])))
            else:
                peer.sendall(self._answer(int(numbers[0]), now_ns()))

    def _answer(self, stamp_ns: int, arrival_ns: int) -> bytes:
        self.stamps.append(stamp_ns)
        self.arrivals.add(arrival_ns, 1)
        self.spread_ns = max(self.spread_ns, arrival_ns - stamp_ns)
        is_over = False
        for phase in range(PHASES):
            window = (arrival_ns + phase * self.window_ns // PHASES) // self.window_ns
            self._counts[phase, window] = self._counts.get((phase, window), 0) + 1
            is_over |= self._counts[phase, window] > self.limit
        self.refused += is_over
        if len(self.stamps) == self.refuse_at[0]:
            return b"429 %d\n" % self.refuse_at[1]
        return b"429 1000000\n" if is_over else b"200\n"

    def close(self) -> None:
        for peer in self._rest:
            peer.close()
        self._listener.close()
        self._selector.close()


def saturate(run: RunName, processes: int, rule: RateRule, requests: int) -> tuple[Venue, RateLedger]:
    """Let so many processes ask at three times the limit, in all lanes, until so many requests came."""
    venue = Venue(rule.limit, rule.window_ns)
    per_second = 3 * rule.limit / (rule.window_ns / SECOND_NS) / processes
    segment, ledger = create(run, rule)
    with segment:
        takers = [start("ask_venue", run.instance, venue.port, per_second, i % 4) for i in range(processes)]
        try:
            venue.serve(lambda: len(venue.stamps) >= requests)
        finally:
            for taker in takers:
                kill(taker)
            venue.close()
        view = ledger.view(0, now_ns())
        assert sum(view.refused) > sum(view.granted), "they must have asked for far more than there was"
    return venue, ledger


def assert_never_over(venue: Venue, rule: RateRule) -> None:
    takes = CountingVenue()
    for stamp in venue.stamps:
        takes.add(stamp, 1)
    assert takes.most_in_any(rule.window_ns + rule.slack) <= rule.limit
    # Only where the machine held a request up for longer than the slack may the venue see more.
    assert venue.refused == 0 or venue.spread_ns > rule.slack
    assert venue.arrivals.most_in_any(rule.window_ns) <= rule.limit or venue.spread_ns > rule.slack


def test_processes_at_three_times_the_limit_are_never_refused(run: RunName) -> None:
    rule = RateRule(
        "v", 1, RateScope.ADDRESS, RateUnit.REQUESTS, 60, SECOND_NS // 2, slack_ns=SECOND_NS // 4, burst=20
    )
    venue, _ = saturate(run, 3, rule, 100)
    assert_never_over(venue, rule)


@pytest.mark.prove
def test_twenty_processes_at_three_times_the_limit_are_never_refused(run: RunName) -> None:
    rule = RateRule("v", 1, RateScope.ADDRESS, RateUnit.REQUESTS, 300, 2 * SECOND_NS, slack_ns=SECOND_NS)
    venue, ledger = saturate(run, 20, rule, 500)
    assert_never_over(venue, rule)
    granted = ledger.view(0, now_ns()).granted
    assert granted[RateLane.CANCEL] > granted[RateLane.NEW] > 0


@pytest.mark.parametrize("processes", [3, pytest.param(20, marks=pytest.mark.prove)])
def test_a_refusal_told_to_one_is_obeyed_by_all_before_their_next_request(
    run: RunName, processes: int
) -> None:
    stop_ns = SECOND_NS // 3
    rule = RateRule("v", 1, RateScope.ADDRESS, RateUnit.REQUESTS, 1_000, SECOND_NS, burst=500)
    venue = Venue(rule.limit, rule.window_ns, refuse_at=(40, stop_ns))
    segment, ledger = create(run, rule)
    with segment:
        takers = [
            start("ask_venue", run.instance, venue.port, 300 / processes, RateLane.CANCEL)
            for _ in range(processes)
        ]
        try:
            venue.serve(lambda: len(venue.stamps) >= 80 and bool(venue.stops))
        finally:
            for taker in takers:
                kill(taker)
            venue.close()
        (said_ns, until_ns), *others = venue.stops
        assert not others
        assert not [stamp for stamp in venue.stamps if said_ns <= stamp < until_ns]
        assert any(stamp >= until_ns for stamp in venue.stamps), "afterwards they went on"
        assert sum(ledger.view(0, now_ns()).refused) > 0, "meanwhile they asked"


@pytest.mark.parametrize("takers", [3])
def test_takers_killed_at_any_instruction_take_nothing_with_them(run: RunName, takers: int) -> None:
    """The test is the clock: at each of its times exactly the burst is there, whoever dies in between."""
    burst, chance = 5_000, random.Random(7)
    rule = RateRule("v", 1, RateScope.ADDRESS, RateUnit.REQUESTS, 2 * burst, SECOND_NS, burst=burst)
    segment, ledger = create(run, rule)
    with segment, Segment.create(run, "notes", SegmentKind.STATE, 8 * (takers + 1)) as notes:
        step_ns = burst * ledger.view(0, 0).interval_ns
        children = [start("take_and_note", run.instance, slot) for slot in range(1, takers + 1)]
        kills = rounds = 0
        try:
            while rounds < 10 * ROUNDS:
                rounds += 1
                clock_ns = rounds * step_ns
                before = sum(ledger.view(0, 0).granted)
                store_release(notes.payload, 0, clock_ns)
                if rounds % 5 == 0:
                    while sum(ledger.view(0, 0).granted) < before + chance.randrange(burst):
                        os.sched_yield()
                    victim = chance.randrange(takers)
                    kill(children[victim])
                    kills += 1
                    children[victim] = start("take_and_note", run.instance, victim + 1)
                while ledger.wait_ns(0, RateLane.CANCEL, 1, clock_ns) == 0:
                    os.sched_yield()
                assert ledger.wait_ns(0, RateLane.CANCEL, 1, clock_ns + step_ns) == 0
                assert ledger.view(0, clock_ns).used == burst
        finally:
            for child in children:
                kill(child)
        noted = sum(load_acquire(notes.payload, 8 * slot) for slot in range(1, takers + 1))
        assert rounds * burst - kills - takers <= noted <= rounds * burst
