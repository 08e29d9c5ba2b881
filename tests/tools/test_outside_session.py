"""A looker-on over the life of runs: read-only mappings, broken segments, the end and the next run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.run_file import RunNote, remove_note, start_ticks, write_note
from shm.book import BookSlab, Certificate, TradeTotals
from shm.control import Control
from shm.errors import RecordError, RingError, SegmentError, ShmError
from shm.instruments import InstrumentTable
from shm.metrics import Metrics
from shm.ring import BroadcastRing, Publisher, Subscriber
from shm.segment import SHM_DIRECTORY, RunName, Segment, clear_dead_runs
from shm.spsc import Consumer, Producer, SpscRing
from tests.tools.outside_kit import FEED, SMALL, TRADE, FakeRun, NamedMaker, instrument, make_segments
from tools.outside.actors import ActorName, ActorReader, ActorRow
from tools.outside.books import BookReader
from tools.outside.follow import RunFollower
from tools.outside.rings import RingReader
from tools.outside.session import RunLook, Session
from tools.outside.view import ReadOnlySegments, RunView
from tools.outside.workers import Machine
from tools.verbs.actors import actor_json, actor_lines

INSTANCE = f"outside-{os.getpid()}"
ACTORS = {TRADE: [ActorName(3, "gateway", "order_gateway"), ActorName(4, "maker", "market_maker")]}


class Runs:
    """Named runs of one instance, with the note that says which is on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.makers: list[NamedMaker] = []
        self.segments: dict[str, Segment] = {}

    def start(self, epoch: int) -> RunNote:
        maker = NamedMaker(RunName(INSTANCE, epoch))
        self.makers.append(maker)
        self.segments = make_segments(maker, epoch)
        note = RunNote(
            INSTANCE, epoch, os.getpid(), start_ticks(os.getpid()), 1, str(self.folder), 100_000_000
        )
        write_note(note)
        return note

    def end(self) -> None:
        remove_note(self.folder)
        self.makers[-1].remove()

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in SHM_DIRECTORY.glob(f"ringlane.{INSTANCE}.*")}


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    made = Runs(tmp_path)
    yield made
    for maker in made.makers:
        maker.remove()


def mapped() -> list[str]:
    """Lines of our own memory map that are of this instance and were not made by the fixture's owner."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line for line in lines if f"ringlane.{INSTANCE}." in line]


def view_of(note: RunNote) -> RunView:
    return RunView.of_run(RunName(note.instance, note.epoch))


def test_a_whole_session_of_all_three_looks_changes_no_byte(runs: Runs) -> None:
    note = runs.start(1)
    table = InstrumentTable.attach(runs.segments["instruments"].payload)
    table.add(instrument("BTCUSDT"))
    slab = BookSlab.attach(runs.segments[f"books.{FEED}"].payload)
    slab.store(0, Certificate(state=2), TradeTotals(), [(1, 1)], [(2, 1)])
    market = BroadcastRing.attach(runs.segments["md.2.1"].payload)
    market.subscribe_slot(TRADE)
    Subscriber(market, worker_slot=TRADE)
    Publisher(market).publish(bytes(128))
    before = runs.files()
    machine = Machine()
    sessions: list[Session[Any]] = [
        Session(RunFollower(note), lambda v, r, _n: RingReader(v, r, machine).look),
        Session(RunFollower(note), lambda v, r, _n: lambda _w: BookReader(v, r, machine, [], 5).look()),
        Session(RunFollower(note), lambda v, r, _n: ActorReader(v, r, machine, ACTORS).look),
    ]
    for _ in range(3):
        assert all(session.look().rows for session in sessions)
    assert all(not session.look().problems for session in sessions)
    for session in sessions:
        session.close()
    assert runs.files() == before


def test_the_mappings_are_read_only_for_the_kernel_and_for_every_face(runs: Runs) -> None:
    runs.start(1)
    own = len(mapped())
    segments = ReadOnlySegments(RunName(INSTANCE, 1))
    for short in segments.names():
        segment = segments.open(short, runs.segments[short].kind)
        with pytest.raises(TypeError):
            segment.payload[0] = 1
    ours = mapped()
    assert len(ours) - own == len(runs.segments)
    assert sum(line.split()[1] == "r--s" for line in ours) == len(runs.segments)
    assert sum(line.split()[1] == "rw-s" for line in ours) == own
    view = RunView(segments, segments.names)
    control: Control = view.control
    with pytest.raises(ShmError):
        control.set_halt(2, 1)
    with pytest.raises(ShmError):
        control.slot(TRADE).heartbeat_ns = 1
    market = BroadcastRing.attach(segments.open("md.2.1", runs.segments["md.2.1"].kind).payload)
    with pytest.raises(RingError):
        market.subscribe_slot(TRADE)
    with pytest.raises(RingError):
        Publisher(market)
    intents = SpscRing.attach(segments.open("intents.3.3", runs.segments["intents.3.3"].kind).payload)
    for end in (Producer, Consumer):
        with pytest.raises(RingError):
            end(intents)
    slab = BookSlab.attach(segments.open("books.2", runs.segments["books.2"].kind).payload)
    with pytest.raises(RecordError):
        slab.store(0, Certificate(), TradeTotals(), [], [])
    with pytest.raises(ValueError, match="read-only"):
        segments.open("control", runs.segments["control"].kind, writable=True)
    del segment, control, market, intents, slab
    view.close()
    assert len(mapped()) == own


def test_a_looker_on_does_not_keep_a_dead_runs_segments_from_being_cleared(runs: Runs) -> None:
    note = runs.start(1)
    session = Session(RunFollower(note), lambda v, r, _n: RingReader(v, r, Machine()).look)
    session.look()
    for segment in runs.makers[0].made:
        segment.close()  # as the kernel closes a killed supervisor's
    assert len(clear_dead_runs(INSTANCE, 2)) == len(runs.segments)
    session.close()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "segment ringlane.{run}.md.2.1 is not ready: its creator has not finished it"),
        (b"x" * 4096, "segment ringlane.{run}.md.2.1 is not a Ringlane segment (magic 0x7878787878787878)"),
        ("cut", "segment ringlane.{run}.md.2.1 "),
        ("other kind", "segment ringlane.{run}.md.2.1 holds CONTROL"),
    ],
)
def test_a_broken_segment_is_one_precise_sentence_and_the_rest_is_shown(
    runs: Runs, content: bytes | str, text: str
) -> None:
    note = runs.start(1)
    path = SHM_DIRECTORY / f"ringlane.{INSTANCE}.1.md.2.1"
    whole = path.read_bytes()
    if content == "cut":
        content = whole[:8192]
    elif content == "other kind":
        content = (SHM_DIRECTORY / f"ringlane.{INSTANCE}.1.control").read_bytes()
    assert isinstance(content, bytes)
    # Another file under that name: shortening the one that is mapped here would be a SIGBUS.
    path.unlink()
    path.write_bytes(content)
    session = Session(RunFollower(note), lambda v, r, _n: RingReader(v, r, Machine()).look)
    look = session.look()
    assert [row.ring for row in look.rows] == ["intents.3.3", "reports.3.3", "requests.2.1", "blobs.1.2"]
    (problem,) = look.problems
    assert problem.startswith(text.format(run=f"{INSTANCE}.1"))
    path.write_bytes(whole)
    look = session.look()
    assert (len(look.rows), list(look.problems)) == (5, [])
    session.close()


def test_without_a_control_segment_there_is_nothing_to_attach_to(runs: Runs) -> None:
    note = runs.start(1)
    runs.segments["control"].unlink()
    with pytest.raises(SegmentError, match="does not exist"):
        view_of(note)


def test_the_end_keeps_the_last_rows_lets_go_of_memory_and_the_next_run_is_found(runs: Runs) -> None:
    note = runs.start(1)
    Publisher(BroadcastRing.attach(runs.segments["md.2.1"].payload)).publish_batch(bytes(256), 2)
    session = Session(RunFollower(note), lambda v, r, _n: RingReader(v, r, Machine()).look)
    session.look()
    runs.end()
    look = session.look()
    assert look.ended == f"the engine {INSTANCE} (epoch 1) has ended"
    assert look.rows[0].cursor == 2
    assert mapped() == []
    assert session.look().ended == look.ended
    runs.start(2)
    again = session.look()
    assert (again.ended, again.facts.epoch, again.rows[0].cursor) == ("", 2, 0)
    assert again.rows[0].rate_per_s is None, "a new run's counters are not compared with the old one's"
    session.close()


def test_a_stopping_engine_that_has_removed_the_names_is_shown_to_its_last_breath(runs: Runs) -> None:
    note = runs.start(1)
    session = Session(RunFollower(note), lambda v, r, _n: RingReader(v, r, Machine()).look)
    assert len(session.look().rows) == 5
    for segment in runs.segments.values():
        segment.unlink()
    assert len(session.look().rows) == 5
    remove_note(runs.folder)
    look = session.look()
    assert look.ended
    assert len(look.rows) == 5
    session.close()


def test_a_run_that_is_only_just_starting_is_waited_for(runs: Runs) -> None:
    note = runs.start(1)
    follower = RunFollower(note)
    runs.end()
    assert follower.look() is None
    runs.start(2)
    control = SHM_DIRECTORY / f"ringlane.{INSTANCE}.2.control"
    hidden = control.rename(control.with_name(f"ringlane.{INSTANCE}.2.hidden"))
    assert follower.look() is None
    hidden.rename(control)
    view = follower.look()
    assert view is not None
    assert (follower.note.epoch, follower.attached) == (2, 2)
    follower.close()


# ---- actors -------------------------------------------------------------------------------------


def look_at_actors(run: FakeRun, reader: ActorReader) -> list[ActorRow]:
    return reader.look(run.workers())


def test_an_actor_bears_its_own_faults_and_its_workers_figures() -> None:
    run = FakeRun()
    metrics = Metrics.attach(run.payload(f"metrics.{TRADE}"))
    drained, lag = metrics.counter("drain.records"), metrics.histogram("loop_lag_ns")
    metrics.histogram("cycle_ns").record(5_000)
    lag.record(9_000_000)
    reader = ActorReader(run.view, run.rates, run.machine, ACTORS)
    look_at_actors(run, reader)
    metrics.fault(1004, "maker.on_book: ValueError: no", 10)
    metrics.fault(1004, "maker.on_book: ValueError: no", 20)
    metrics.fault(1004, "maker.on_trade: KeyError: x", 30)
    metrics.fault(1, "loop: something", 40)
    drained.set(500)
    lag.record(1_000)
    run.now_ns += 2_000_000_000
    rows = {row.name or row.worker.name: row for row in look_at_actors(run, reader)}
    assert (rows["maker"].errors, rows["maker"].last_fault) == (3, "maker.on_trade: KeyError: x")
    assert rows["gateway"].errors == 0
    figures = rows["gateway"].figures
    assert figures == rows["maker"].figures
    assert figures.drained_per_s == 250.0
    assert figures.cycle_ns_p99 is None, "no cycle in this interval"
    assert figures.loop_lag_ns_max is not None
    assert figures.loop_lag_ns_max < 1_100, "the lag of before the interval is not told again"


def test_workers_whose_actors_are_not_known_are_one_line_each() -> None:
    run = FakeRun()
    rows = look_at_actors(run, ActorReader(run.view, run.rates, run.machine, ACTORS))
    assert [(row.actor_id, row.worker.name) for row in rows] == [
        (None, "housekeeping"), (None, "feed"), (3, "trade"), (4, "trade"),
    ]  # fmt: skip
    lines = actor_lines(rows)
    assert [line[4].text for line in lines] == ["housekeeping", "feed", "trade", "trade"]
    assert [bool(line[5].text) for line in lines] == [True, True, True, False]


def test_the_keys_that_scripts_know_come_first_and_stay() -> None:
    run = FakeRun()
    row = look_at_actors(run, ActorReader(run.view, run.rates, run.machine, ACTORS))[-1]
    assert list(actor_json(row))[:9] == [
        "actor_id", "name", "role", "worker", "pid", "core", "state", "generation", "heartbeat_age_ms",
    ]  # fmt: skip


def test_a_metrics_segment_that_can_not_be_read_costs_only_its_figures() -> None:
    run = FakeRun()
    run.payload(f"metrics.{TRADE}")[:16] = bytes(16)
    rows = look_at_actors(run, ActorReader(run.view, run.rates, run.machine, ACTORS))
    assert rows[-1].figures.drained_per_s is None
    assert list(run.view.problems) == [f"metrics.{TRADE}"]


def test_the_capacity_of_the_kit_is_small_enough_to_lap() -> None:
    assert SMALL.market_ring < 256


def test_a_first_look_after_the_end_has_no_rows(runs: Runs) -> None:
    note = runs.start(1)
    session: Session[object] = Session(RunFollower(note), lambda _v, _r, _n: lambda _w: [])
    runs.end()
    look: RunLook[object] = session.look()
    assert look.ended
    assert list(look.rows) == []
