"""Children as real processes: start, link, end, fate sharing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest
import uvloop

from actors.runtime.spec import WorkerSpec
from engine.commands import CommandSpec, answer_delays, parse_ready, spawn_command, venue_command
from engine.config import parse_config
from engine.errors import StartError
from engine.link import Link, Message
from engine.processes import ROOT, Child, Exit, child_environment
from engine.restart import Restart
from engine.topology import VenueUrls
from shm.enums import WorkerState

PYTHON = [sys.executable, "-P", "-c"]


def on_loop(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await work()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


class Stage:
    """A child with its spawner and what it told."""

    def __init__(self, folder: Path) -> None:
        self.spawner = ThreadPoolExecutor(1)
        self.exits: list[Exit] = []
        self.messages: list[Message] = []
        self.heard = asyncio.Event()
        self.child = Child(
            "one", "test", 1, Restart.PERMANENT, folder / "one.log", self._on_exit, self._on_message
        )
        self.child.begin()

    def _on_exit(self, child: Child, ended: Exit) -> None:
        self.exits.append(ended)

    def _on_message(self, child: Child, message: Message) -> None:
        self.messages.append(message)
        self.heard.set()


@contextlib.asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    one = Stage(folder)
    try:
        yield one
    finally:
        one.child.kill()
        await one.child.exited.wait()
        one.spawner.shutdown()


def test_exit_code_and_log_are_kept(tmp_path: Path) -> None:
    async def work() -> None:
        async with stage(tmp_path) as s:
            code = "import sys; print('last words', file=sys.stderr); sys.exit(3)"
            await s.child.spawn([*PYTHON, code], (), s.spawner)
            await s.child.exited.wait()
            assert [e.describe() for e in s.exits] == ["exit code 3"]
            assert s.exits[0].rss_bytes_max > 0
            assert s.child.log_tail() == "    last words"
            assert not s.child.is_running

    on_loop(work)


def test_kill_is_told_by_its_signal(tmp_path: Path) -> None:
    async def work() -> None:
        async with stage(tmp_path) as s:
            await s.child.spawn([*PYTHON, "import signal; signal.pause()"], (), s.spawner)
            os.kill(s.child.pid, signal.SIGKILL)
            await s.child.exited.wait()
            assert s.exits[0].describe() == "killed by SIGKILL"
            s.child.kill()

    on_loop(work)


def test_worker_gets_spec_link_and_the_same_descriptor_numbers(tmp_path: Path) -> None:
    async def work() -> None:
        async with stage(tmp_path) as s:
            bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            spec = WorkerSpec(slot=1, name="one", role="test", instance="t", seed=bell)
            await s.child.spawn_worker(spec, (bell,), s.spawner, ["--entry", "tests.engine.entries:echo"])
            await s.heard.wait()
            assert s.messages[0] == {"op": "echo", "name": "one", "ignored": True, "is_lean": True}
            # The child rang the bell under the number we know it by.
            assert os.eventfd_read(bell) == 7
            assert s.child.link is not None
            s.child.link.send({"op": "stop"})
            await s.child.exited.wait()
            assert s.exits[0].code == 5
            os.close(bell)

    on_loop(work)


def test_garbage_on_the_link_is_handed_over_not_lost(tmp_path: Path) -> None:
    async def work() -> None:
        ours, theirs = Link.pair()
        heard: list[Message] = []
        link = Link(ours, heard.append)
        theirs.sendall(b'nonsense\n[1]\n{"op":"rea')
        theirs.sendall(b'dy"}\n')
        while len(heard) < 3:
            await asyncio.sleep(0)
        assert [m["op"] for m in heard] == ["garbage", "garbage", "ready"]
        theirs.close()
        while link.send({"op": "x"}):
            await asyncio.sleep(0)
        link.close()

    on_loop(work)


def test_link_keeps_order_when_the_worker_reads_late(tmp_path: Path) -> None:
    async def work() -> None:
        ours, theirs = Link.pair()
        link = Link(ours, lambda _m: None)
        text = "x" * 10_000
        for i in range(100):
            assert link.send({"i": i, "text": text})
        theirs.setblocking(False)
        received = b""
        while received.count(b"\n") < 100:
            try:
                received += theirs.recv(1 << 16)
            except BlockingIOError:
                await asyncio.sleep(0)
        assert received.splitlines()[99].startswith(b'{"i":99,')
        link.close()
        theirs.close()

    on_loop(work)


def test_command_is_ready_when_it_says_so(tmp_path: Path) -> None:
    async def work() -> None:
        async with stage(tmp_path) as s:
            code = "import os, sys, signal; os.write(int(sys.argv[1]), b'hello\\n'); signal.pause()"
            spec = CommandSpec("one", (*PYTHON, code, "{ready_fd}"))
            assert await spawn_command(s.child, spec, s.spawner, 100) == b"hello"
            # A group of its own: Ctrl-C on our terminal does not reach it.
            assert os.getpgid(s.child.pid) == s.child.pid

    on_loop(work)


def test_command_that_fails_is_told_with_its_log(tmp_path: Path) -> None:
    async def work() -> None:
        async with stage(tmp_path) as s:
            spec = CommandSpec("one", (*PYTHON, "raise SystemExit('port 1 is taken')"))
            with pytest.raises(StartError, match=r"(?s)one did not come up \(exit code 1\).*port 1 is taken"):
                await spawn_command(s.child, spec, s.spawner, 100)

    on_loop(work)


def test_silent_command_is_given_up(tmp_path: Path) -> None:
    async def work() -> None:
        async with stage(tmp_path) as s:
            spec = CommandSpec("one", (*PYTHON, "import signal; signal.pause()"))
            with pytest.raises(StartError, match=r"one said nothing in 0\.05 s"):
                await spawn_command(s.child, spec, s.spawner, 0.05)

    on_loop(work)


def test_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    async def work() -> None:
        async with stage(tmp_path) as s:
            with pytest.raises(StartError, match=r"(?s)exit code 127.*/no/such: No such file"):
                await spawn_command(s.child, CommandSpec("one", ("/no/such",)), s.spawner, 100)

    on_loop(work)


def test_command_dies_with_its_parent(tmp_path: Path) -> None:
    """Also when the parent is killed: the kernel sends the signal."""
    read_end, write_end = os.pipe()
    child = "import os, sys, signal; os.write(int(sys.argv[1]), b'%d' % os.getpid()); signal.pause()"
    parent = (
        "import os, subprocess, sys, signal\n"
        f"subprocess.Popen([sys.executable, '-P', '-m', 'engine.child', '--exec', str(os.getpid()), '--',"
        f" sys.executable, '-c', {child!r}, '{write_end}'], pass_fds=({write_end},))\n"
        "signal.pause()\n"
    )
    process = subprocess.Popen([*PYTHON, parent], pass_fds=(write_end,), env=child_environment())
    os.close(write_end)
    pid = int(os.read(read_end, 16))
    pidfd = os.pidfd_open(pid)
    process.kill()
    process.wait()
    # The write end is open in the grandchild alone: end of file is the proof of its end.
    assert os.read(read_end, 1) == b""
    os.close(pidfd)
    os.close(read_end)


def test_environment_of_children() -> None:
    env = child_environment({"NOTIFY_SOCKET": "/x", "PATH": "/bin"})
    assert "NOTIFY_SOCKET" not in env
    assert env["OMP_NUM_THREADS"] == "1"
    assert str(ROOT) in env["PYTHONPATH"].split(os.pathsep)


def test_venue_command_pins_the_ports_of_an_earlier_incarnation() -> None:
    text = (
        '[venues.v]\nadapter = "loop"\n'
        "[venues.v.simulated]\ninstruments = 3\nrate = 10.0\ntls = true\nclients = 2\n"
    )
    venue = parse_config(text, "x").venues["v"]
    first = venue_command("v", venue, seed=9)
    assert first.name == "venue-v"
    assert first.argv[4:] == (
        "loop", "--ready-fd", "{ready_fd}", "--port", "0", "--rest-port", "0", "--seed", "9",
        "--stats", "json", "--instruments", "3", "--rate", "10.0", "--clients", "2", "--tls",
    )  # fmt: skip
    again = venue_command("v", venue, 9, VenueUrls("wss://127.0.0.1:5", "https://127.0.0.1:6"))
    assert again.argv[7:11] == ("--port", "5", "--rest-port", "6")


def test_venue_command_tells_how_the_venue_trades() -> None:
    text = (
        '[venues.v]\nadapter = "loop"\n[venues.v.simulated]\ninstruments = 1\nrate_factor = 2.0\n'
        'balances = "USDT=5"\nmaker_fee = -0.0001\nentry_latency = "1ms"\nfaults = "now: lost_ack"\n'
    )
    command = venue_command("v", parse_config(text, "x").venues["v"], seed=9)
    assert command.argv[17:] == (
        "--limits", "2.0", "--balances=USDT=5", "--maker-fee=-0.0001", "--entry-latency=1ms",
        "--faults=now: lost_ack",
    )  # fmt: skip
    text = '[venues.v]\nadapter = "loop"\n[venues.v.simulated]\ninstruments = 1\ntrade = false\n'
    assert venue_command("v", parse_config(text, "x").venues["v"], seed=9).argv[17:] == ("--no-trade",)


def test_ready_line_is_read_and_a_wrong_one_refused() -> None:
    line = b'{"ready":true,"venue":"v","ws":"ws://h:1","rest":"http://h:2","ca":null,"symbols":["A"]}'
    assert parse_ready(line, "v") == VenueUrls("ws://h:1", "http://h:2", None, ("A",))
    for wrong in (b"nonsense", b"[]", b'{"ws":"x"}'):
        with pytest.raises(StartError, match="ready line"):
            parse_ready(wrong, "v")


def test_death_is_counted_and_states_follow(tmp_path: Path) -> None:
    async def work() -> None:
        child = Stage(tmp_path).child
        child.lifecycle.to(WorkerState.RUNNING)
        child.settle(WorkerState.FAILED)
        child.settle(WorkerState.STOPPED)
        assert child.lifecycle.state is WorkerState.FAILED
        child.advance()
        child.begin()
        assert (child.incarnation, child.restarts) == (2, 1)

    on_loop(work)


def test_what_a_venue_took_itself_is_read_from_its_last_words(tmp_path: Path) -> None:
    child = Stage(tmp_path).child
    row = {"count": 3, "latency_ns_p50": 10, "latency_ns_max": 20}
    child.log_path.write_bytes(b"a warning\n" + orjson.dumps({"trading": {"answer_delay": row}}) + b"\n")
    (found,) = answer_delays([child]).values()
    assert found | row == found and child.name in found["title"]
    nothing = orjson.dumps({"trading": {"answer_delay": row | {"count": 0}}})
    for words in (b"", b"killed half-w", b'{"trading": {}}', b"[]", nothing):
        child.log_path.write_bytes(words)
        assert answer_delays([child]) == {}
    child.log_path.unlink()
    assert answer_delays([child]) == {}
