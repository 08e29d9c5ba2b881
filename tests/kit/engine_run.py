"""Start a real engine as a user would, look at it from outside, and account for what it leaves."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import psutil

from engine.errors import ControlError
from profiles.report import merge_counters
from shm.enums import SegmentKind
from shm.errors import ShmError
from shm.metrics import Metrics
from shm.segment import RunName
from tools.attach import ask, find_run
from tools.outside.view import ReadOnlySegments

COMMAND = [sys.executable, "-P", "-c", "import sys; from tools.cli import main; sys.exit(main())"]
ROOT = Path(__file__).resolve().parents[2]
_numbers = itertools.count(1)
#: How long to wait for what must come; a watchdog for machines of any speed, not an expectation.
PATIENCE_S = 120.0

#: Of [engine]: on a machine where everything takes long, nobody is given up or replaced because of that.
PATIENT = """
start_timeout_s = 120.0
shutdown_s = 60.0
stall_restart_s = 0.0
restart_intensity = 1_000
"""
#: The same of [sentinel]: a worker that waits for a processor is not taken for lost.
PATIENT_SENTINEL = """
[sentinel]
stall_ms = 20_000
restart_s = 60.0
supervisor_s = 60.0
"""

#: Limits that an engine at simulated prices trades within.
RISK = """
[risk]
max_order_notional = 50_000
max_position_notional = 250_000
max_exposure = 2_000_000
orders_per_s = 2_000
burst = 500
max_open_orders = 8
max_intent_age_ms = 5_000
"""

SYNTHETIC = (
    """
name = "{name}"
[engine]
placement = "{placement}"
"""
    + PATIENT
    + """
[run]
seed = 7
[venues.sim]
adapter = "binance_usdm"
priority = 1
[venues.sim.simulated]
instruments = {instruments}
rate = {rate}
seed = 7
[[strategies]]
name = "maker"
kind = "market_maker"
venue = "sim"
instruments = "all"
"""
    + RISK
    + """[orders]
mode = "paper"
maker_fee_bps = 2.0
taker_fee_bps = 5.0
"""
)


def until(condition: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
    """Wait for a condition; a watchdog, not an assertion of speed.

    It looks often at first and seldom later: each look costs the machine what the engine needs.
    """
    give_up, pause_s = time.monotonic() + timeout_s, 0.005
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > give_up:
            raise AssertionError(f"never happened in {timeout_s:g} s: {what}")
        time.sleep(pause_s)
        pause_s = min(1.2 * pause_s, 0.05)


class EngineRun:
    """One `ringlane run` in its own state root.

    Args:
        folder: temporary folder for config, state and report.
        config: text of the configuration, None = the embedded default.
        arguments: further arguments of `ringlane run`.
    """

    def __init__(self, folder: Path, config: str | None, *arguments: str, name: str | None = None) -> None:
        self.folder = folder
        self.name = name or ""
        self.config = folder / "engine.toml"
        self.state = folder / "state"
        self.output = folder / "output.txt"
        argv = [*COMMAND, "run"]
        if config is not None:
            self.config.write_text(config)
            argv.append(str(self.config))
        argv += ["--state", str(self.state), "--report", str(folder / "report"), *arguments]
        with self.output.open("ab") as out:
            self.process = subprocess.Popen(
                argv,
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.family: dict[int, psutil.Process] = {}

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def verb(self, *arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """Run another verb of the command against this engine."""
        named = ["--name", self.name] if self.name else []
        done = subprocess.run(
            [*COMMAND, *arguments, *named, "--state", str(self.state)],
            cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S,
        )  # fmt: skip
        if ok:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def status(self) -> dict[str, Any]:
        """What the control socket answers, {} while there is nothing to ask."""
        try:
            return dict(ask(find_run(self.name or None, self.state), "status", PATIENCE_S))
        except (ControlError, OSError):
            return {}

    def counters(self) -> Counter[str]:
        """What all workers have counted up to now, added up as the report does; a look from outside."""
        try:
            note = find_run(self.name or None, self.state)
            segments = ReadOnlySegments(RunName(note.instance, note.epoch))
            try:
                faces = [
                    Metrics.attach(segments.open(short, SegmentKind.METRICS).payload)
                    for short in segments.names()
                    if short.startswith("metrics.")
                ]
                found = Counter(merge_counters(faces))
                del faces
            finally:
                segments.close()
        except (ControlError, ShmError):
            return Counter()
        return found

    def live(self) -> int:
        """How many books are LIVE."""
        return int(self.status().get("progress", {}).get("books", {}).get("LIVE", 0))

    def fills(self) -> int:
        """How many fills are booked."""
        return int(self.status().get("progress", {}).get("fills", 0))

    def events(self) -> str:
        """What has happened, a line each."""
        return "\n".join(self.status().get("events", ()))

    def wait_running(self) -> dict[str, Any]:
        """Wait until every worker is up; returns the status."""

        def up() -> dict[str, Any] | None:
            assert self.process.poll() is None, (
                f"the engine ended with {self.process.returncode}:\n{self.text()}"
            )
            now = self.status()
            return now if now.get("phase") == "running" else None

        status: dict[str, Any] = until(up, "the engine is running")
        self.remember()
        return status

    def remember(self) -> None:
        """Note the processes alive now, so that leftovers can be found later."""
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.process.pid)
            for process in [parent, *parent.children(recursive=True)]:
                self.family[process.pid] = process

    def worker(self, name: str) -> dict[str, Any]:
        rows = [*(status := self.status()).get("workers", []), *status.get("commands", [])]
        found = [row for row in rows if row["name"] == name]
        return found[0] if found else {}

    def wait_ended(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait for the engine's end; returns its exit code."""
        return self.process.wait(timeout=timeout_s)

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def report(self) -> dict[str, Any]:
        data: dict[str, Any] = orjson.loads((self.folder / "report" / "report.json").read_bytes())
        return data

    def living(self) -> list[int]:
        return [p.pid for p in self.family.values() if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]

    def segments(self) -> list[str]:
        return sorted(p.name for p in Path("/dev/shm").glob(f"ringlane.{self.name}.*"))

    def sockets(self) -> list[str]:
        return [str(p) for p in self.state.rglob("*.sock")]

    def assert_nothing_left(self) -> None:
        """No process, segment or socket of this run exists any more."""
        until(lambda: not self.living(), "every process of the run is gone")
        assert self.segments() == []
        assert self.sockets() == []

    def close(self) -> None:
        """End what this test started, by id; for tests that failed half-way."""
        self.remember()
        for process in self.family.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(timeout=PATIENCE_S)


def synthetic(
    folder: Path, *, placement: str = "default", instruments: int = 4, rate: float = 1500.0
) -> tuple[str, str]:
    """A config text for a synthetic market and the instance name it uses."""
    name = f"t{os.getpid()}-{next(_numbers)}"
    return SYNTHETIC.format(name=name, placement=placement, instruments=instruments, rate=rate), name


@contextlib.contextmanager
def engine(folder: Path, *arguments: str, config: str | None = None, **market: Any) -> Iterator[EngineRun]:
    """A running engine that is ended whatever happens."""
    if config is None:
        config, name = synthetic(folder, **market)
    else:
        name = config.split('name = "')[1].split('"')[0]
    run = EngineRun(folder, config, *arguments, name=name)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            run.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.wait_ended(15)
        run.close()
        for leftover in Path("/dev/shm").glob(f"ringlane.{name}.*"):
            leftover.unlink()
