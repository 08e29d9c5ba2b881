"""A real engine looked at from outside: what is shown is so, and the engine does not feel it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from shm.control import Control
from shm.enums import SegmentKind
from shm.metrics import Metrics
from shm.ring import BroadcastRing
from shm.segment import RunName
from shm.spsc import SpscRing
from tests.kit.engine_run import COMMAND, PATIENCE_S, ROOT, EngineRun, engine, until
from tools.attach import find_run
from tools.outside.actors import ActorReader, ActorRow
from tools.outside.follow import RunFollower
from tools.outside.rings import RingReader, RingRow
from tools.outside.session import Session
from tools.outside.view import ReadOnlySegments
from tools.outside.workers import Machine
from tools.verbs import actors as verb_actors

pytestmark = pytest.mark.timeout(400)

LEAVE_OTHER_SCREEN = b"\x1b[?1049l"
SHOW_CURSOR = b"\x1b[?25h"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineRun]:
    with engine(tmp_path_factory.mktemp("outside")) as made:
        made.wait_running()
        until(lambda: made.live() == 4, "all books are LIVE")
        yield made


def viewer(run: EngineRun, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    argv = [*COMMAND, *arguments, "--name", run.name, "--state", str(run.state)]
    return subprocess.Popen(argv, cwd=ROOT, **options)


def ring_session(run: EngineRun) -> Session[RingRow]:
    machine = Machine()
    note = find_run(run.name, run.state)
    return Session(RunFollower(note), lambda view, rates, _note: RingReader(view, rates, machine).look)


def footprint(run: EngineRun) -> dict[str, Any]:
    """What a looker-on could have changed: who subscribes and writes, who was restarted, who failed."""
    segments = ReadOnlySegments(RunName(run.name, run.status()["epoch"]))
    control = Control.attach(segments.open("control", SegmentKind.CONTROL).payload)
    rings: dict[str, tuple[int, int]] = {}
    for short in segments.names():
        kind = {"md": SegmentKind.MARKET_RING, "intents": SegmentKind.INTENT_RING}.get(short.split(".")[0])
        if kind is not None:
            face = BroadcastRing if kind is SegmentKind.MARKET_RING else SpscRing
            ring = face.attach(segments.open(short, kind).payload)
            rings[short] = ring.subscriber_mask, ring.writer_epoch
    workers = [control.slot(slot) for slot in (1, 2, 3)]
    metrics = [Metrics.attach(segments.open(f"metrics.{s}", SegmentKind.METRICS).payload) for s in (1, 2, 3)]
    return {
        "names": segments.names(),
        "rings": rings,
        "restarts": [worker.restarts for worker in workers],
        "incarnations": [worker.incarnation for worker in workers],
        "halts": control.halt_count,
        "generation": control.generation,
        "errors": [m.counters().get("actor.errors", 0) for m in metrics],
    }


def market_cursor(run: EngineRun) -> int:
    segments = ReadOnlySegments(RunName(run.name, run.status()["epoch"]))
    return BroadcastRing.attach(segments.open("md.2.1", SegmentKind.MARKET_RING).payload).cursor


def trades_on(run: EngineRun) -> None:
    before = market_cursor(run)
    until(lambda: market_cursor(run) > before + 100, "updates are published")


def test_scripts_get_what_is_so(run: EngineRun) -> None:
    before = run.status()

    def looked(verb: str, *arguments: str) -> Any:
        return orjson.loads(run.verb(verb, "--json", "--interval", "0.1", *arguments).stdout)

    # A busy machine may bring nothing in a tenth of a second: rates are looked at until something came.
    rings = until(
        lambda: (seen := looked("rings"))["rings"][0]["rate_per_s"] > 0 and seen, "the rings have a rate"
    )
    assert (rings["instance"], rings["epoch"], rings["problems"]) == (run.name, before["epoch"], [])
    by_name = {row["ring"]: row for row in rings["rings"]}
    assert set(by_name) == {"md.2.1", "intents.3.3", "reports.3.3", "requests.2.1", "blobs.1.2"}
    market = by_name["md.2.1"]
    assert (market["kind"], market["writer"], market["priority"]) == ("market", "feed", 1)
    assert [reader["worker"] for reader in market["readers"]] == ["trade"]
    assert market["readers"][0]["is_alive"]
    books = until(
        lambda: (seen := looked("books", "BTC", "--depth", "3"))["books"][0]["updates_per_s"] and seen,
        "the book has a rate",
    )
    (book,) = books["books"]
    assert (book["instrument"], book["state"], len(book["bids"])) == ("BTC-USDT-PERP", "LIVE", 3)
    assert float(book["bid"]) < float(book["ask"])
    actors = looked("actors")
    assert [row["name"] for row in actors] == ["reference", "journal", "store", "md-sim", "gateway", "maker"]
    feed = next(row for row in actors if row["worker"] == "feed")
    assert feed["pid"] == next(w["pid"] for w in before["workers"] if w["name"] == "feed")
    assert feed["cpu_percent"] is not None


def test_a_book_that_does_not_exist_is_a_usage_error_that_names_those_that_do(run: EngineRun) -> None:
    done = run.verb("books", "NOPE", ok=False)
    assert done.returncode == 2
    assert 'no book fits "NOPE"; there are: BTC-USDT-PERP' in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_viewer_killed_while_it_looks_and_one_attached_all_the_time_change_nothing(run: EngineRun) -> None:
    before = footprint(run)
    session = ring_session(run)
    session.look()
    arguments = ("--json", "--count", "0", "--interval", "0.05")
    victims = [viewer(run, verb, *arguments, stdout=subprocess.PIPE) for verb in ("rings", "books", "actors")]
    try:
        for victim in victims:
            assert victim.stdout is not None
            for _ in range(2):
                assert orjson.loads(victim.stdout.readline())
    finally:
        for victim in victims:
            victim.kill()
    for victim in victims:
        assert victim.wait(PATIENCE_S) == -signal.SIGKILL
        if victim.stdout is not None:
            victim.stdout.close()
    trades_on(run)
    look = session.look()
    assert (look.ended, list(look.problems)) == ("", [])
    session.close()
    assert footprint(run) == before


def test_everything_is_seen_while_the_supervisor_hangs(
    run: EngineRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb_actors, "ANSWER_S", 0.1)
    session = ring_session(run)
    session.look()
    machine = Machine()
    os.kill(run.process.pid, signal.SIGSTOP)
    try:

        def shown_to_hang() -> bool:
            age = session.look().facts.supervisor_age_ns
            return age is not None and age > 300_000_000

        until(shown_to_hang, "the supervisor's heartbeat gets old")
        cursor = session.look().rows[0].cursor
        until(lambda: session.look().rows[0].cursor > cursor + 100, "rings are seen to move")
        names = verb_actors.learn_names(find_run(run.name, run.state))
        assert names == {}
        by_worker: Session[ActorRow] = Session(
            RunFollower(find_run(run.name, run.state)),
            lambda view, rates, _note: ActorReader(view, rates, machine, names).look,
        )
        rows = by_worker.look().rows
        assert [(row.worker.name, row.actor_id) for row in rows] == [
            ("housekeeping", None), ("feed", None), ("trade", None),
        ]  # fmt: skip
        by_worker.close()
    finally:
        os.kill(run.process.pid, signal.SIGCONT)
    session.close()
    trades_on(run)


class Terminal:
    """A viewer on a terminal of its own."""

    def __init__(self, run: EngineRun, verb: str, lines: int = 12) -> None:
        self.end, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", lines, 100, 0, 0))
        self.before = termios.tcgetattr(self.end)
        # The terminal says how large it is, not the environment that a test runner sets.
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        environment["TERM"] = "xterm-256color"
        self.process = viewer(
            run, verb, "--interval", "0.1", stdin=inner, stdout=inner, stderr=inner, env=environment,
            # Its own session with this terminal as the controlling one: else ctrl-C would signal nobody.
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(inner)
        self.seen = b""

    def read(self) -> bytes:
        while select.select([self.end], [], [], 0)[0]:
            try:
                data = os.read(self.end, 65536)
            except OSError:
                break  # nobody holds the other end any more
            if not data:
                break
            self.seen += data
        return self.seen

    def wait_for(self, text: bytes) -> None:
        until(lambda: text in self.read(), f"{text!r} on the screen")

    def wait_ended(self) -> int:
        until(lambda: (self.read(), self.process.poll())[1] is not None, "the viewer ends")
        self.read()
        return self.process.returncode


@pytest.fixture
def terminals(run: EngineRun) -> Iterator[list[Terminal]]:
    made = [Terminal(run, verb) for verb in ("rings", "books", "actors")]
    yield made
    for terminal in made:
        terminal.process.kill()
        terminal.process.wait(PATIENCE_S)
        os.close(terminal.end)


def test_the_screen_refreshes_and_gives_the_terminal_back_however_it_ends(
    run: EngineRun, terminals: list[Terminal]
) -> None:
    expected = (b"md.2.1", b"BTC-USDT-PERP", b"gateway")
    for terminal, text in zip(terminals, expected, strict=True):
        terminal.wait_for(text)
        shown = terminal.read().count(text)
        until(lambda t=terminal, x=text, n=shown: t.read().count(x) > n, "another picture")  # type: ignore[misc]
        assert termios.tcgetattr(terminal.end) != terminal.before, "keys are read one by one"
    by_key, by_interrupt, by_signal = terminals
    os.write(by_key.end, b"q")
    os.write(by_interrupt.end, b"\x03")
    by_signal.process.terminate()
    for terminal in terminals:
        assert terminal.wait_ended() == 0
        last = terminal.seen.rindex(LEAVE_OTHER_SCREEN)
        assert terminal.seen.rindex(SHOW_CURSOR) > terminal.seen.rindex(b"\x1b[?25l")
        assert b"md.2.1" not in terminal.seen[last:]
        assert b"Traceback" not in terminal.seen
        assert termios.tcgetattr(terminal.end) == terminal.before


def test_a_long_table_scrolls(run: EngineRun) -> None:
    terminal = Terminal(run, "books", lines=5)
    try:
        terminal.wait_for(b"rows 1 to 2 of 4")
        os.write(terminal.end, b"j")
        terminal.wait_for(b"rows 2 to 3 of 4")
        os.write(terminal.end, b" ")
        terminal.wait_for(b"rows 3 to 4 of 4")
        os.write(terminal.end, b"q")
        assert terminal.wait_ended() == 0
    finally:
        terminal.process.kill()
        terminal.process.wait(PATIENCE_S)
        os.close(terminal.end)


# The last of the module: it ends the engine.
def test_a_script_is_told_that_the_engine_has_ended(run: EngineRun, tmp_path: Path) -> None:
    errors = tmp_path / "errors"
    with errors.open("wb") as stderr:
        watching = viewer(
            run, "rings", "--json", "--count", "0", "--interval", "0.1", stdout=subprocess.PIPE, stderr=stderr
        )
    assert watching.stdout is not None
    with watching.stdout as lines:
        assert orjson.loads(lines.readline())["rings"]
        session = ring_session(run)
        session.look()
        run.signal(signal.SIGTERM)
        assert run.wait_ended() == 0, run.text()
        assert all(orjson.loads(line)["rings"] for line in lines)
    assert watching.wait(PATIENCE_S) == 1
    assert errors.read_text() == f"ringlane: the engine {run.name} (epoch 1) has ended\n"
    look = session.look()
    assert look.ended
    assert look.rows[0].ring == "md.2.1"
    session.close()
    run.assert_nothing_left()
    done = run.verb("books", ok=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"ringlane: error: no engine of name {run.name} runs under")
