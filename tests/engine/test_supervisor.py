"""A whole engine of real processes with fake workers: start, watch, restart, reload, stop, die."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.control_socket import request
from engine.errors import ControlError
from engine.placement import VENUE_NICE, place, shared_cores
from engine.processes import child_environment
from engine.run_file import RunNote, read_note, start_ticks
from profiles.host.reader import format_list
from shm.control import Control
from shm.enums import Reason, SegmentKind, TradingState
from shm.segment import RunName, Segment

pytestmark = pytest.mark.timeout(300)

CONFIG = """\
name = "{name}"
[engine]
placement = "spread"
heartbeat_ms = 500
shutdown_s = 60.0
start_timeout_s = 100.0
restart_intensity = 3
restart_period_s = 600.0
stall_restart_s = 0.0
[machine]
pm_qos = false
[venues.sim]
adapter = "loop"
[venues.sim.simulated]
instruments = 3
[[strategies]]
name = "one"
kind = "fake_kind"
venue = "sim"
[strategies.settings]
fake = ""
edge = 1
"""
WORKERS = ["housekeeping", "feed", "gateway", "strategy"]
#: For those who wait for a stall, or for a worker that dies after two heartbeats.
LIVELY = CONFIG.replace("heartbeat_ms = 500", "heartbeat_ms = 50")


def until(condition: Callable[[], Any]) -> Any:
    """Wait for a condition; the test's own timeout is the limit."""
    while not (value := condition()):
        time.sleep(0.005)
    return value


class Engine:
    """One engine process."""

    def __init__(self, folder: Path, text: str) -> None:
        # Names are machine-wide, so every test has its own.
        self.name = f"t{os.getpid()}-{folder.name.replace('_', '-')[:18].strip('-').lower()}"
        self.folder = folder
        self.config = folder / "engine.toml"
        self.config.write_text(text.format(name=self.name))
        self.state_dir = folder / self.name
        self.ended: dict[str, Any] = {}
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.engine.engine_process", str(self.config), str(folder)],
            stdout=subprocess.PIPE,
            env=child_environment(),
            text=True,
            process_group=0,
        )

    def wait_up(self) -> Engine:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line == f"up {self.name}", line + self.process.stdout.read()
        return self

    def wait_end(self) -> int:
        out, _ = self.process.communicate()
        self.lines = out.splitlines()
        for line in self.lines:
            if line.startswith("end "):
                self.ended = orjson.loads(line[4:])
        return self.process.returncode

    def ask(self, op: str) -> dict[str, Any]:
        return request(self.state_dir, {"op": op}, 110)

    def workers(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in self.ask("status")["workers"]}

    def events(self) -> str:
        return "\n".join(self.ask("status")["events"])

    def note(self) -> RunNote:
        note = read_note(self.state_dir)
        assert note is not None
        return note

    def left_over(self) -> list[str]:
        return [p.name for p in Path("/dev/shm").glob(f"ringlane.{self.name}.*")]

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.wait_end()


@contextlib.contextmanager
def engine(folder: Path, text: str = CONFIG) -> Iterator[Engine]:
    one = Engine(folder, text)
    try:
        yield one
    finally:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
        assert one.process.stdout is not None
        one.process.stdout.close()
        until(lambda: not processes_of(one))
        for name in one.left_over():
            Path("/dev/shm", name).unlink(missing_ok=True)


def processes_of(one: Engine) -> list[int]:
    """Live processes whose parent is the engine, or that it left behind (they inherit its process group)."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z" and (
                    int(fields[2]) == one.process.pid or int(fields[1]) == one.process.pid
                ):
                    found.append(int(entry.name))
    return [pid for pid in found if pid != one.process.pid]


def assert_placed(one: Engine, status: dict[str, Any]) -> None:
    """Each process of the run is on its core, or on those that are for all others."""
    allowed = sorted(os.sched_getaffinity(0))
    roles = [(w["name"], w["role"]) for w in status["workers"]]
    cores: dict[str, int | None] = {w["name"]: w["core"] for w in status["workers"]}
    assert cores == place(roles, allowed)
    others = set(shared_cores(roles, cores, allowed))
    assert len(allowed) == 1 or status["placement"].endswith(f", others on {format_list(list(others))}")
    for row in status["workers"]:
        assert os.sched_getaffinity(row["pid"]) == (others if row["core"] is None else {row["core"]})
    for pid in (status["pid"], *(row["pid"] for row in status["commands"])):
        assert os.sched_getaffinity(pid) == others


def test_start_in_order_status_and_ordered_stop(tmp_path: Path) -> None:
    with engine(tmp_path) as one:
        one.wait_up()
        status = one.ask("status")
        assert [w["name"] for w in status["workers"]] == WORKERS
        assert [w["slot"] for w in status["workers"]] == [1, 2, 3, 4]
        assert {w["state"] for w in status["workers"]} == {"RUNNING"}
        assert {w["incarnation"] for w in status["workers"]} == {1}
        assert status["commands"][0]["name"] == "venue-sim"
        assert status["trading_state"] == "ACTIVE"
        assert status["pm_qos"] == "not held (not asked for)"
        allowed = os.sched_getaffinity(0)
        cores = {w["name"]: w["core"] for w in status["workers"]}
        assert len(allowed) == 1 or cores["feed"] in allowed
        assert_placed(one, status)
        nice = {w["name"]: os.getpriority(os.PRIO_PROCESS, w["pid"]) for w in status["workers"]}
        ours = os.getpriority(os.PRIO_PROCESS, 0)
        assert nice["feed"] == ours
        assert os.getpriority(os.PRIO_PROCESS, status["commands"][0]["pid"]) == max(ours, VENUE_NICE)
        assert nice["housekeeping"] >= min(ours + 5, 5)
        assert os.getpriority(os.PRIO_PROCESS, one.process.pid) >= 5
        assert (one.state_dir / "log" / "venue-sim.log").read_text() == "venue log line\n"
        assert one.stop() == 0
        text = "\n".join(one.ended["events"])
        order = [text.index(f"{name}: event: phase {phase}") for name, phase in (
            ("gateway", "quoting"), ("gateway", "orders"), ("strategy", "exit"), ("gateway", "exit"),
            ("feed", "exit"), ("housekeeping", "exit"),
        )]  # fmt: skip
        assert order == sorted(order)
        assert one.ended["cores"] == sorted(allowed)
        assert "feed: event: phase orders" not in text
        assert one.ended["run"]["ended"] == "SIGTERM"
        assert {w["state"] for w in one.ended["workers"][1:]} == {"STOPPED"}
        assert one.left_over() == []
        assert sorted(p.name for p in one.state_dir.iterdir()) == ["epoch", "lock", "log"]


def test_killed_worker_comes_back_in_its_slot_with_its_bell(tmp_path: Path) -> None:
    with engine(tmp_path) as one:
        one.wait_up()
        before = one.workers()
        for name in ("feed", "gateway"):
            os.kill(before[name]["pid"], signal.SIGKILL)
        until(lambda: one.events().count("is back") == 2)
        after = one.workers()
        for name in ("feed", "gateway"):
            assert after[name]["pid"] != before[name]["pid"]
            assert after[name]["slot"] == before[name]["slot"]
            assert (after[name]["incarnation"], after[name]["restarts"]) == (2, 1)
            assert after[name]["state"] == "RUNNING"
        assert after["strategy"]["pid"] == before["strategy"]["pid"]
        assert_placed(one, one.ask("status"))
        events = one.events()
        assert "feed: event: restart of 2" in events
        assert "killed by SIGKILL: restarting feed" in events
        fds = [
            os.readlink(f"/proc/{after['feed']['pid']}/fd/{n}")
            for n in os.listdir(f"/proc/{after['feed']['pid']}/fd")
        ]
        assert sum("eventfd" in fd for fd in fds) >= len(WORKERS) + 4
        assert one.stop() == 0


def test_killed_venue_comes_back_on_its_ports(tmp_path: Path) -> None:
    with engine(tmp_path) as one:
        one.wait_up()
        venue = one.ask("status")["commands"][0]
        os.kill(venue["pid"], signal.SIGKILL)
        until(lambda: "venue-sim is back" in one.events())
        again = one.ask("status")["commands"][0]
        assert again["restarts"] == 1
        assert_placed(one, one.ask("status"))
        assert Path(f"/proc/{again['pid']}/cmdline").read_bytes().split(b"\0")[-3:-1] == [b"7001", b"7002"]
        assert one.stop() == 0


def test_stalled_worker_is_told_and_heals(tmp_path: Path) -> None:
    with engine(tmp_path, LIVELY) as one:
        one.wait_up()
        pid = one.workers()["strategy"]["pid"]
        os.kill(pid, signal.SIGSTOP)
        until(lambda: one.workers()["strategy"]["state"] == "STALLED")
        os.kill(pid, signal.SIGCONT)
        until(lambda: one.workers()["strategy"]["state"] == "RUNNING")
        assert f"strategy (pid {pid}) stalled: no heartbeat for" in one.events()
        assert one.stop() == 0


def test_worker_that_stays_stalled_is_replaced(tmp_path: Path) -> None:
    with engine(tmp_path, LIVELY.replace("stall_restart_s = 0.0", "stall_restart_s = 1.0")) as one:
        one.wait_up()
        pid = one.workers()["strategy"]["pid"]
        os.kill(pid, signal.SIGSTOP)
        until(lambda: "strategy is back" in one.events())
        assert one.workers()["strategy"]["pid"] != pid
        assert one.stop() == 0


def test_too_many_restarts_halt_and_stop_with_code_1(tmp_path: Path) -> None:
    with engine(tmp_path, LIVELY.replace('fake = ""', 'fake = "crash"')) as one:
        assert one.wait_end() == 1
        assert "escalation: more than 3 restarts in 600 s, the last of strategy" in one.ended["run"]["ended"]
        assert one.ended["run"]["trading_state"] == "HALTED"
        assert one.left_over() == []


def test_worker_that_can_not_start_is_named_with_its_log(tmp_path: Path) -> None:
    with engine(tmp_path, CONFIG.replace('fake = ""', 'fake = "die"')) as one:
        assert one.wait_end() == 1
        text = "\n".join(one.lines)
        assert "error worker strategy did not come up (exit code 1); its log ends:" in text
        assert "can not start on purpose" in text
        assert one.left_over() == []


def test_worker_that_never_gets_ready_is_given_up(tmp_path: Path) -> None:
    text = CONFIG.replace('fake = ""', 'fake = "mute"')
    # Where the others need longer than that, too, one of them is named: then with more time.
    for limit in ("1.5", "6", "24"):
        with engine(tmp_path, text.replace("start_timeout_s = 100.0", f"start_timeout_s = {limit}")) as one:
            assert one.wait_end() == 1
            told = "\n".join(one.lines)
            assert f"(not ready in {limit} s)" in told or f"said nothing in {limit} s" in told
            assert processes_of(one) == []
        if "worker strategy did not come up" in told:
            return
    raise AssertionError(told)


def test_deaf_worker_is_killed_and_a_second_interrupt_does_not_wait(tmp_path: Path) -> None:
    text = CONFIG.replace('fake = ""', 'fake = "deaf"').replace("shutdown_s = 60.0", "shutdown_s = 600.0")
    with engine(tmp_path, text) as one:
        one.wait_up()
        one.process.send_signal(signal.SIGINT)
        until(lambda: one.ask("status")["phase"] == "stopping")
        assert one.stop(signal.SIGINT) == 0
        assert any("strategy did not confirm phase quoting" in e for e in one.ended["events"])
        assert any("did not end by itself and was killed" in e for e in one.ended["events"])


def test_reload_reaches_every_worker_and_a_bad_file_changes_nothing(tmp_path: Path) -> None:
    with engine(tmp_path) as one:
        one.wait_up()
        good = one.config.read_text()
        one.config.write_text(good.replace("edge = 1", "edge = 2"))
        assert one.ask("reload")["generation"] == 2
        assert {w["generation"] for w in one.workers().values()} == {2}
        until(lambda: '"edge":2' in one.events())
        one.config.write_text(good.replace("edge = 1", "edge = 2\n[risk]\nmax_ordr_units = 1"))
        with pytest.raises(
            ControlError, match=r"risk\.max_ordr_units: unknown key; did you mean max_order_units"
        ):
            one.ask("reload")
        one.config.write_text(good.replace('"spread"', '"default"'))
        with pytest.raises(ControlError, match=r"needs a new run: engine\.placement"):
            one.ask("reload")
        assert one.ask("status")["generation"] == 2
        # By signal, and a worker that comes back has the newest settings.
        one.config.write_text(good.replace("edge = 1", "edge = 3"))
        one.process.send_signal(signal.SIGHUP)
        until(lambda: {w["generation"] for w in one.workers().values()} == {3})
        os.kill(one.workers()["strategy"]["pid"], signal.SIGKILL)
        until(lambda: "strategy is back" in one.events())
        assert one.workers()["strategy"]["generation"] == 3
        assert one.stop() == 0


def test_generation_refused_by_a_worker_is_told(tmp_path: Path) -> None:
    with engine(tmp_path, CONFIG.replace('fake = ""', 'fake = "refuse"')) as one:
        one.wait_up()
        one.config.write_text(one.config.read_text().replace("edge = 1", "edge = 2"))
        with pytest.raises(ControlError, match="strategy refused it: can not"):
            one.ask("reload")
        assert one.stop() == 0


def test_report_on_signal_and_halt(tmp_path: Path) -> None:
    with engine(tmp_path) as one:
        one.wait_up()
        one.process.send_signal(signal.SIGUSR1)
        until(lambda: "report written to there" in one.events())
        report = orjson.loads((tmp_path / "report.json").read_bytes())
        assert report["run"]["ended"] == "still running"
        assert [w["name"] for w in report["workers"]] == ["supervisor", "venue-sim", *WORKERS]
        assert one.ask("halt") == {"ok": True, "trading_state": "HALTED"}
        assert one.ask("status")["trading_state"] == "HALTED"
        with pytest.raises(ControlError, match='unknown command "dance"'):
            one.ask("dance")
        assert one.stop() == 0


def test_halt_word_works_while_the_supervisor_hangs(tmp_path: Path) -> None:
    with engine(tmp_path) as one:
        one.wait_up()
        one.process.send_signal(signal.SIGSTOP)
        note = one.note()
        segment = Segment.attach(RunName(note.instance, note.epoch), "control", SegmentKind.CONTROL)
        control = Control.attach(segment.payload)
        control.set_halt(TradingState.HALTED, Reason.HALTED)
        one.process.send_signal(signal.SIGCONT)
        assert one.ask("status")["trading_state"] == "HALTED"
        del control
        segment.close()
        assert one.stop() == 0


def test_killed_supervisor_takes_its_children_along_and_the_next_start_clears(tmp_path: Path) -> None:
    with engine(tmp_path) as one:
        one.wait_up()
        venue = one.ask("status")["commands"][0]["pid"]
        assert len(processes_of(one)) == 5
        one.process.kill()
        one.process.wait()
        until(lambda: not processes_of(one) and not start_ticks(venue))
        assert one.left_over() != []
        with engine(tmp_path) as again:
            again.wait_up()
            assert again.name == one.name
            assert "cleared segment" in again.events()
            status = again.ask("status")
            assert status["epoch"] == 2
            assert {name.split(".")[2] for name in again.left_over()} == {"2"}
            assert again.stop() == 0
        assert one.left_over() == []


def test_same_instance_twice_is_refused(tmp_path: Path) -> None:
    with engine(tmp_path) as one:
        one.wait_up()
        with engine(tmp_path) as again:
            assert again.wait_end() == 1
            assert f"instance '{one.name}' is already running (pid {one.process.pid})" in "\n".join(
                again.lines
            )
        assert one.stop() == 0


def test_stop_while_starting_leaves_nothing(tmp_path: Path) -> None:
    with engine(tmp_path, CONFIG.replace('fake = ""', 'fake = "mute"')) as one:
        until(lambda: (one.state_dir / "log" / "strategy.log").exists())
        assert one.stop() == 0
        assert processes_of(one) == []
        assert one.left_over() == []
