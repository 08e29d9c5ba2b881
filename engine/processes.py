"""One child of the supervisor: its process, how it is started, watched, killed and reaped.

Children are started by `subprocess` with `pass_fds`, so every process of a run knows the bells under the
same numbers. A pidfd tells the end of a child; its reader is removed in the callback, because an ended
pidfd stays readable.
"""

from __future__ import annotations

import asyncio
import os
import signal
import site
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import orjson

from actors.runtime.spec import WorkerSpec
from engine.lifecycle import Lifecycle
from engine.link import Link, Message
from engine.restart import Restart
from shm.enums import WorkerState

ROOT = Path(__file__).resolve().parent.parent
LOG_TAIL_BYTES = 4_096
LOG_TAIL_LINES = 8
# Thread pools of numeric libraries would put busy threads beside a pinned loop.
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def child_environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment of every child: the same code as ours, no word to systemd, no numeric thread pools."""
    env = dict(os.environ if base is None else base)
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        env.pop(name, None)
    for name in ONE_THREAD:
        env.setdefault(name, "1")
    env["PYTHONUNBUFFERED"] = "1"
    # A child runs with -P, so a source tree that is not installed must be named. An installed one must not
    # be: PYTHONPATH goes before the standard library.
    if str(ROOT) not in {*site.getsitepackages(), site.getusersitepackages()}:
        env["PYTHONPATH"] = os.pathsep.join(p for p in (str(ROOT), env.get("PYTHONPATH", "")) if p)
    return env


@dataclass(frozen=True, slots=True)
class Exit:
    """How a child ended.

    Attributes:
        code: exit code, negative = minus the signal that killed it.
        cpu_s: user and system time of the process.
        rss_bytes_max: its largest resident memory.
    """

    code: int
    cpu_s: float
    rss_bytes_max: int

    def describe(self) -> str:
        """For a person: `exit code 3` or `killed by SIGKILL`."""
        if self.code >= 0:
            return f"exit code {self.code}"
        try:
            return f"killed by {signal.Signals(-self.code).name}"
        except ValueError:
            return f"killed by signal {-self.code}"


class Child:
    """A supervised process and what is known of it over all its incarnations.

    Args:
        name: unique in the run.
        role: what it is for.
        slot: worker slot; negative for a command.
        restart: when it is started again.
        log_path: file that gets its standard error (and output).
        on_exit: called once per incarnation, after the process was reaped.
        on_message: called with what the child sends on its link.
        on_state: called with each new lifecycle state.
    """

    def __init__(
        self,
        name: str,
        role: str,
        slot: int,
        restart: Restart,
        log_path: Path,
        on_exit: Callable[[Child, Exit], None],
        on_message: Callable[[Child, Message], None],
        on_state: Callable[[Child], None] | None = None,
    ) -> None:
        self.name, self.role, self.slot, self.restart = name, role, slot, restart
        self.log_path = log_path
        self.core: int | None = None
        self.venue = ""
        #: What its process alone finds in its environment (keys); shown nowhere.
        self.environment: dict[str, str] = {}
        self.incarnation = 1
        self.restarts = 0
        self.last_exit: Exit | None = None
        self.lifecycle = Lifecycle(name, (lambda _state: on_state(self)) if on_state else None)
        self.ready = asyncio.Event()
        self.exited = asyncio.Event()
        self.exited.set()
        self.link: Link | None = None
        self._on_exit = on_exit
        self._on_message = on_message
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        #: Whether its process stood by before it became this child's.
        self.stood_by = False

    @property
    def pid(self) -> int:
        """Process id of the newest incarnation, 0 before the first."""
        return 0 if self._process is None else self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether its process exists."""
        return self._pidfd >= 0

    async def spawn(
        self, argv: Sequence[str], pass_fds: Sequence[int], spawner: Executor, *, own_group: bool = False
    ) -> None:
        """Start the process of a new incarnation; the caller sets lifecycle and incarnation.

        Args:
            argv: program and arguments.
            pass_fds: descriptors it inherits under the same numbers.
            spawner: thread that makes processes (at normal priority, see the supervisor).
            own_group: a process group of its own, so that Ctrl-C on the terminal does not reach it.

        Raises:
            OSError: the program can not be started.
        """
        self.ready.clear()
        loop = asyncio.get_running_loop()

        def start() -> subprocess.Popen[bytes]:
            mode = "ab" if self.incarnation > 1 else "wb"
            with self.log_path.open(mode) as log:
                return subprocess.Popen(
                    list(argv),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=tuple(pass_fds),
                    env=child_environment() | self.environment,
                    start_new_session=False,
                    process_group=0 if own_group else None,
                )

        starting = loop.run_in_executor(spawner, start)
        try:
            self._adopt(await asyncio.shield(starting))
        except asyncio.CancelledError:
            # A stop came while the thread was making the process: know it, so that it can be killed.
            self._adopt(await starting)
            raise

    def take_over(self, standby: Child, spec: WorkerSpec) -> bool:
        """Make a standby's process the one of this child's new incarnation, by telling it the spec.

        The standby is as if it had ended. Our own process must have.

        Returns:
            False = it has just died (its end is told as ours if the word reached it), or was none.
        """
        link, process = standby.link, standby._process
        if not standby.is_running or link is None or process is None:
            return False
        if not link.send({"op": "promote", "spec": orjson.Fragment(spec.to_json())}):
            return False
        asyncio.get_running_loop().remove_reader(standby._pidfd)
        os.close(standby._pidfd)
        standby._pidfd, standby._process, standby.link = -1, None, None
        standby.exited.set()
        self.ready.clear()
        self._adopt(process)
        link.hand_over(lambda message: self._on_message(self, message))
        self.link, self.core, self.stood_by = link, spec.core, True
        return True

    def _adopt(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._pidfd = os.pidfd_open(process.pid)
        self.stood_by = False
        self.exited.clear()
        asyncio.get_running_loop().add_reader(self._pidfd, self._ended)

    async def spawn_worker(
        self, spec: WorkerSpec, fds: Sequence[int], spawner: Executor, options: Sequence[str]
    ) -> None:
        """Start a worker: spec over a memory file, link over a socket pair.

        Args:
            spec: what it is told; `link_fd` is filled in here.
            fds: further descriptors it inherits (bells, the supervisor's pidfd).
            spawner: as in `spawn`.
            options: further options of `engine.child`.
        """
        ours, theirs = Link.pair()
        spec.link_fd = theirs.fileno()
        memory = os.memfd_create("ringlane-spec", os.MFD_CLOEXEC)
        try:
            os.write(memory, spec.to_json())
            os.lseek(memory, 0, os.SEEK_SET)
            argv = [sys.executable, "-P", "-m", "engine.child", "--spec-fd", str(memory), *options]
            await self.spawn(argv, (memory, theirs.fileno(), *fds), spawner)
        except OSError:
            ours.close()
            raise
        finally:
            os.close(memory)
            theirs.close()
        self.core = spec.core
        self.link = Link(ours, lambda message: self._on_message(self, message))

    def _ended(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        assert self._process is not None
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        if self.link is not None:
            self.link.close()
            self.link = None
        self.last_exit = Exit(
            self._process.returncode, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
        )
        self.exited.set()
        self._on_exit(self, self.last_exit)

    def send_signal(self, number: int) -> None:
        """Send a signal, if the process still exists; the pidfd makes a reused pid impossible."""
        if self._pidfd >= 0:
            try:
                signal.pidfd_send_signal(self._pidfd, number)
            except ProcessLookupError:
                return

    def kill(self) -> None:
        """Unconditional end."""
        self.send_signal(signal.SIGKILL)

    async def wait_exit(self, timeout_s: float) -> bool:
        """Wait for the end of the process; returns False on timeout."""
        try:
            await asyncio.wait_for(self.exited.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def log_tail(self) -> str:
        """The last lines of its log, indented, or a note that there are none."""
        try:
            with self.log_path.open("rb") as log:
                log.seek(0, os.SEEK_END)
                log.seek(max(0, log.tell() - LOG_TAIL_BYTES))
                lines = log.read().decode("utf-8", "replace").splitlines()[-LOG_TAIL_LINES:]
        except OSError:
            lines = []
        return "\n".join(f"    {line}" for line in lines) or "    (its log is empty)"

    def begin(self) -> None:
        """A new process is about to be started."""
        self.lifecycle.to(WorkerState.NEW)
        self.lifecycle.to(WorkerState.STARTING)

    def settle(self, state: WorkerState) -> None:
        """The process is gone: STOPPED or FAILED, from whatever living state it was in."""
        if self.lifecycle.is_alive:
            self.lifecycle.to(state)

    def advance(self) -> None:
        """Count a death: the next process in this slot is another incarnation."""
        self.incarnation += 1
        self.restarts += 1

    async def wait_ready(self, timeout_s: float) -> bool:
        """Wait until the child says that it is ready; returns False if it ended or time ran out."""
        waits = [asyncio.ensure_future(self.ready.wait()), asyncio.ensure_future(self.exited.wait())]
        try:
            await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
        return self.ready.is_set() and not self.exited.is_set()
