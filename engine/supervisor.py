"""The supervisor: creates everything, starts children in order, watches, restarts and stops them.

It is never on the data path. It owns every segment and every bell for the life of the run, so a worker may
die at any instruction and its successor finds rings, books and bells as they were.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from actors.runtime.spec import WorkerSpec
from engine import run_file
from engine.accounts import AccountKeys
from engine.commands import CommandSpec, parse_ready, spawn_command, split_commands, venue_command
from engine.config import Config
from engine.control_socket import ControlServer, Reply
from engine.errors import SpawnError, StartError
from engine.link import Message
from engine.machine_hold import MachineHold
from engine.operations import Operations, Phase
from engine.placement import HOUSEKEEPING_NICE, allowed_cores, be_nice, on_cores
from engine.processes import Child, Exit
from engine.reloading import Generations
from engine.reporting import Facts, Progress, books_by_state, build_report, read_progress, run_status
from engine.restart import Restart, RestartPolicy, RestartTable
from engine.run_segments import RunSegments
from engine.sdnotify import Notifier
from engine.shutdown import Shutdown
from engine.standby import Standbys
from engine.topology import RunIdentity, Topology, VenueUrls, build_topology, plan_cores
from engine.watching import Watcher
from profiles.process import ProcessSampler
from shm.clock import now_ns
from shm.enums import WorkerState
from shm.instance import Instance

EVENTS_MAX = 1_000
COMMAND_SLOT = -1

ReportWriter = Callable[[dict[str, Any]], str]


class Supervisor:
    """One run of the engine.

    Args:
        config: validated configuration.
        config_path: where `reload` reads it again; None = the embedded default, which can not change.
        state_root: folder of the state directories, None = the user's.
        report_writer: stores a report and returns where; called on SIGUSR1 and the control socket's
            `report`. An `OSError` it raises is told to the operator and changes nothing.
        options: further options of `engine.child` for every worker (tests give `--entry`).
        make_command: the command of a simulated venue (tests give their own).
        check: what a reloaded configuration must pass beyond its own validation (`engine.checking`).
    """

    def __init__(
        self,
        config: Config,
        config_path: Path | None = None,
        *,
        state_root: Path | None = None,
        report_writer: ReportWriter | None = None,
        options: tuple[str, ...] = (),
        make_command: Callable[..., CommandSpec] = venue_command,
        check: Callable[[Config, str], None] | None = None,
    ) -> None:
        self.config = config  # of the start; the one in force is in `generations`
        self.phase = Phase.STARTING
        self.ended = ""
        self.exit_code = 0
        self.report: dict[str, Any] | None = None
        self.machine = MachineHold(config.machine)
        self._keys = AccountKeys(config)
        self.events: deque[str] = deque(maxlen=EVENTS_MAX)
        self.topology: Topology | None = None
        self.instance: Instance
        self.started_ns = now_ns()
        self.stopped_ns = 0
        self.generations = Generations(config, config_path, check)
        self._state_root = state_root
        self.report_writer = report_writer
        self._options = options
        self._make_command = make_command
        self._stop = asyncio.Event()
        self.workers: dict[str, Child] = {}
        self._commands: dict[str, Child] = {}
        self.specs: dict[str, WorkerSpec] = {}
        self._urls: dict[str, VenueUrls] = {}
        self.segments: RunSegments | None = None
        self._pidfd = -1
        self._tasks: set[asyncio.Task[None]] = set()
        self._restarts = 0
        self._all_back = asyncio.Event()
        self._all_back.set()
        self._shutdown = Shutdown(config.engine.shutdown_s, self.event, config.sentinel.outlive_s)
        self.notifier = Notifier()
        self._sampler = ProcessSampler()
        self._books_at_stop: dict[str, int] | None = None
        self._watcher = Watcher(config.engine, self._sampler, self.notifier, self.event)
        self._operations = Operations(self)
        self.standbys = Standbys(self._spawn, self._standby_spec, self.event)
        self._table: RestartTable

    # ---- the run ---------------------------------------------------------------------------------

    async def run(self, on_running: Callable[[], None] | None = None) -> int:
        """Run the engine until it is told to stop; leaves no process, segment or socket.

        Args:
            on_running: called once everything is up; what it raises ends the run.

        Returns:
            Exit code: 0 after an ordered stop, 1 after an escalation.

        Raises:
            EngineError: it could not start; says what and why, and nothing is left behind.
            InstanceError: the instance is already running.
        """
        try:
            self.instance = Instance.open(self._state_root, self.config.name)
        except OSError as error:
            raise StartError(f"state directory of {self.config.name or 'this instance'}: {error}") from error
        # Read once: from here on we run on some of them, and so does every child until it is pinned.
        self._allowed = allowed_cores()
        _, others = plan_cores(self.config, self._allowed)
        # A pool of one thread, made while we are at normal priority: children inherit the priority of the
        # thread that makes them, and only the housekeeping ones shall be nice.
        with on_cores(others) as refused, ThreadPoolExecutor(1, "spawner") as self._spawner:
            if refused:
                self.event(f"supervisor: not kept on cores {others}: {refused}")
            await asyncio.get_running_loop().run_in_executor(self._spawner, lambda: None)
            be_nice(HOUSEKEEPING_NICE)
            server = ControlServer(self.instance.state_dir, self._operations.on_request)
            try:
                try:
                    self._begin()
                except OSError as error:
                    raise StartError(f"state directory {self.instance.state_dir}: {error}") from error
                await server.open()
                await self._start_or_stop()
                if self.phase is Phase.RUNNING:
                    if on_running is not None:
                        on_running()
                    await self._wait_for_end()
                await self._stop_all()
            finally:
                await self._clean_up(server)
        return self.exit_code

    def request_stop(self, why: str, *, exit_code: int = 0) -> None:
        """Begin an ordered stop; asked again, waits for nobody any more."""
        if self._stop.is_set():
            self._shutdown.hurry()
            return
        self.ended = why
        self.exit_code = exit_code
        self._stop.set()

    def event(self, text: str) -> None:
        """Keep one line of what happened, for report and status."""
        self.events.append(f"{(now_ns() - self.started_ns) / 1e9:8.3f} s  {text}")

    def _begin(self) -> None:
        self._state_dir = Path(self.instance.state_dir)
        (self._state_dir / "log").mkdir(exist_ok=True)
        for name in RunSegments.clear_dead(self.instance.name, self.instance.epoch):
            self.event(f"cleared segment {name} of a dead run")
        self.machine.begin()
        self._pidfd = os.pidfd_open(os.getpid())
        heartbeat_ns = self.config.engine.heartbeat_ms * 1_000_000
        run_file.write_note(run_file.own_note(self.instance, heartbeat_ns))
        self._operations.listen(asyncio.get_running_loop())

    async def _start_or_stop(self) -> None:
        """Start everything, unless a stop is asked for before it is up."""
        start = asyncio.ensure_future(self._start())
        stop = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait([start, stop], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not start.done():
            start.cancel()
            await asyncio.wait([start])
        if not start.cancelled():
            start.result()

    async def _start(self) -> None:
        simulated, self._urls = split_commands(list(self.config.venues.items()))
        for name in simulated:
            await self._start_venue(name)
        state_dir = str(self._state_dir)
        identity = RunIdentity(self.instance.name, self.instance.epoch, state_dir, os.getpid())
        topology = build_topology(self.config, self._urls, identity, self._allowed)
        self.topology = self.machine.plan(topology, self._allowed)
        self.segments = self.machine.make_segments(self.instance.run, self.topology)
        self._operations.restore_halt()
        for spec in self.topology.workers:
            self.specs[spec.name] = spec
            self.workers[spec.name] = self._make_child(spec.name, spec.role, spec.slot)
            self.workers[spec.name].environment = self._keys.of_worker(spec)
        config = self.config.engine
        period_ns = int(config.restart_period_s * 1e9)
        policy = RestartPolicy(intensity=config.restart_intensity, period_ns=period_ns)
        self._table = RestartTable(policy, [(c.name, c.restart) for c in self._children()])
        for child in self.workers.values():
            await self._start_worker(child)
            self.machine.require(child.name)
        self.phase = Phase.RUNNING
        self.started_ns = now_ns()
        self.segments.control.run_started_ns = self.started_ns
        self.spawn_task(self._watcher.run(self._children(), self.segments))
        self.standbys.begin(self._traders() if self.config.orders.standby else ())
        self.notifier.ready(f"running {self.topology.placement}")

    async def _wait_for_end(self) -> None:
        duration = self.config.run.duration_s
        try:
            await asyncio.wait_for(self._stop.wait(), duration)
        except TimeoutError:
            self.request_stop(f"duration of {duration:g} s")

    # ---- children --------------------------------------------------------------------------------

    def _children(self) -> list[Child]:
        return [*self._commands.values(), *self.workers.values()]

    def _traders(self) -> list[Child]:
        """Workers that host a gateway or strategies."""
        return [self.workers[s.name] for s in self.specs.values() if s.slot in {*s.gateways, *s.strategies}]

    def _find(self, name: str) -> Child:
        return self._commands.get(name) or self.workers[name]

    def _make_child(self, name: str, role: str, slot: int) -> Child:
        log = self._state_dir / "log" / f"{name}.log"
        restart = Restart.TRANSIENT if slot < 0 else Restart.PERMANENT
        return Child(name, role, slot, restart, log, self._on_exit, self._on_message, self._on_state)

    async def _start_venue(self, name: str) -> None:
        venue = self.config.venues[name]
        command = self._make_command(name, venue, self.config.run.seed, self._urls.get(name))
        child = self._commands.get(command.name)
        if child is None:
            child = self._make_child(command.name, "venue", COMMAND_SLOT - len(self._commands))
            self._commands[command.name] = child
            child.venue, child.environment = name, self._keys.of_venue(name)
        child.begin()
        line = await spawn_command(child, command, self._spawner, self.config.engine.start_timeout_s)
        self._urls[name] = parse_ready(line, child.name)
        child.lifecycle.to(WorkerState.RUNNING)

    def _standby_spec(self, worker: str) -> WorkerSpec:
        return replace(self.specs[worker], supervisor_pidfd=self._pidfd, is_standby=True)

    async def _spawn(self, child: Child, spec: WorkerSpec) -> None:
        assert self.segments is not None
        fds = (self._pidfd, *self.segments.bells)
        await child.spawn_worker(spec, fds, self._spawner, self._options)

    async def _start_worker(self, child: Child) -> None:
        """Start one worker and wait until it says that it is ready."""
        assert self.segments is not None
        child.begin()
        spec = replace(
            self.specs[child.name],
            incarnation=child.incarnation,
            generation=self.generations.number,
            supervisor_pidfd=self._pidfd,
            start_reason="start" if child.incarnation == 1 else "restart",
            operator=self._operations.holds.on_begin(child.slot),
        )
        self._watcher.forget(child.slot)
        try:
            if not self.standbys.promote(child, spec):
                await self._spawn(child, spec)
        except OSError as error:
            child.settle(WorkerState.FAILED)
            raise SpawnError(f"worker {child.name} can not be started: {error}") from error
        self.segments.set_process(child)
        self.generations.catch_up(child, spec.generation, self.specs[child.name])
        timeout_s = self.config.engine.start_timeout_s
        if await child.wait_ready(timeout_s) and child.incarnation == spec.incarnation:
            child.lifecycle.to(WorkerState.RUNNING)
            return
        if child.incarnation != spec.incarnation:
            raise StartError(f"incarnation {spec.incarnation} ended before it was ready")
        how = (
            child.last_exit.describe()
            if child.exited.is_set() and child.last_exit
            else f"not ready in {timeout_s:g} s"
        )
        if child.is_running:
            child.kill()
            await child.exited.wait()
        raise StartError(f"worker {child.name} did not come up ({how}); its log ends:\n{child.log_tail()}")

    def _on_state(self, child: Child) -> None:
        if self.segments is not None:
            self.segments.set_state(child)

    def _on_message(self, child: Child, message: Message) -> None:
        op = message.pop("op", "")
        if op == "ready":
            self.machine.on_ready(child.name, message.get("machine"))
            for refusal in self.machine.refusals(child.name):
                self.event(f"{child.name}: {refusal}")
            child.ready.set()
            self._operations.holds.on_ready(child)
        elif op in ("operator", "note"):
            self._operations.on_message(child, op, message)
        elif op == "stopped":
            self._shutdown.on_stopped(child.name, str(message.get("phase")))
        elif op == "generation":
            if "error" in message:
                self.generations.on_refused(child.name, str(message["error"]))
        else:
            self.event(f"{child.name}: {op}: {message.get('error') or message.get('text') or message}")

    def _on_exit(self, child: Child, ended: Exit) -> None:
        """Bookkeeping first, in shared memory and without help of anybody; then the policy decides."""
        was = child.lifecycle.state
        # A command that was asked by SIGTERM and took it did what it was told.
        normal = ended.code == 0 or (was is WorkerState.DRAINING and ended.code == -signal.SIGTERM)
        pid = child.pid
        child.settle(
            WorkerState.STOPPED if normal and was is not WorkerState.STARTING else WorkerState.FAILED
        )
        if self.segments is not None:
            self.segments.wake_workers()
        if was is WorkerState.DRAINING or self.phase is not Phase.RUNNING:
            if not normal:
                self.event(f"{child.name} (pid {pid}) ended while {self.phase.value}: {ended.describe()}")
            return
        decision = self._table.on_exit(child.name, normal=normal, now_ns=now_ns())
        if decision.escalate:
            policy = self._table.policy
            period_s = policy.period_ns / 1e9
            text = f"more than {policy.intensity} restarts in {period_s:g} s, the last of {child.name}"
            self.event(f"{child.name} (pid {pid}) {ended.describe()}: {text}: trading halted, stopping")
            self._operations.halt()
            self.request_stop(f"escalation: {text}", exit_code=1)
            return
        names = ", ".join(decision.start)
        what = f"restarting {names}" if names else "not restarted: it ended normally"
        self.event(f"{child.name} (pid {pid}, incarnation {child.incarnation}) {ended.describe()}: {what}")
        for name in decision.start:
            self._find(name).advance()
        if self.segments is not None:
            self.segments.set_process(child)
        if decision.start:
            self.spawn_task(self._restart(decision.stop, decision.start))

    async def _restart(self, stop: tuple[str, ...], start: tuple[str, ...]) -> None:
        """Restart after one exit; beside others, because a strategy that comes back waits for its gateway."""
        self._restarts += 1
        self._all_back.clear()
        try:
            for name in stop:
                child = self._find(name)
                await self._shutdown.end(child, by_signal=child.slot < 0)
            for name in start:
                child = self._find(name)
                if self._stop.is_set() or child.lifecycle.is_alive:
                    continue
                if not await self._bring_back(child):
                    return
        finally:
            self._restarts -= 1
            if not self._restarts:
                self._all_back.set()

    async def _bring_back(self, child: Child) -> bool:
        began = now_ns()
        try:
            await (self._start_worker(child) if child.slot > 0 else self._start_venue(child.venue))
        except (StartError, OSError) as error:
            # The exit of a process has been seen by `_on_exit`, which counted it and decided again.
            self.event(f"{child.name}: {str(error).splitlines()[0]}")
            if isinstance(error, SpawnError | OSError):
                self._operations.halt()
                self.request_stop(f"{child.name} can not be restarted: {error}", exit_code=1)
            return False
        took_ms = (now_ns() - began) / 1e6
        which = f"pid {child.pid}, incarnation {child.incarnation}{', by its standby' * child.stood_by}"
        self.event(f"{child.name} is back after {took_ms:.0f} ms as {which}")
        return True

    # ---- facts -----------------------------------------------------------------------------------

    def facts(self) -> Facts:
        """Everything a report or status needs to know."""
        return Facts(
            instance=self.instance.name,
            epoch=self.instance.epoch,
            generation=self.generations.number,
            placement=self.topology.placement if self.topology else "",
            pm_qos=self.machine.pm_qos.describe(),
            machine=self.machine.facts(),
            phase=self.phase.name,
            pid=os.getpid(),
            duration_s=((self.stopped_ns or now_ns()) - self.started_ns) / 1e9,
            ended=self.ended or "still running",
            events=tuple(self.events),
            children=tuple(self._children()),
            sampler=self._sampler,
            segments=self.segments,
            books_at_stop=self._books_at_stop,
        )

    def status(self) -> Reply:
        """The run and its workers, as `ringlane status` shows them."""
        head = {"pid": os.getpid(), "phase": self.phase.value, **self._operations.notes.section()}
        return head | run_status(self.facts(), self.specs) | {"standbys": self.standbys.rows()}

    def make_report(self) -> dict[str, Any]:
        """The run report up to now (up to the stop, once stopped)."""
        if self.phase is Phase.RUNNING:
            self._watcher.sample(self._children(), shares=True)
        return build_report(self.facts()) | self._operations.notes.section()

    def progress(self) -> Progress:
        """A few live figures for the progress line."""
        return read_progress(self.facts())

    # ---- the end ---------------------------------------------------------------------------------

    def spawn_task(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the rest; if it raises, the engine stops in order."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Our own mistake: stop in order rather than trade on without a supervisor.
            self.event(f"supervisor: {type(error).__name__}: {error}")
            self.request_stop(f"supervisor fault: {error}", exit_code=1)

    async def _stop_all(self) -> None:
        self.notifier.stopping(self.ended)
        if self.phase is Phase.RUNNING:
            self._watcher.sample(self._children(), shares=True)
        self.phase = Phase.STOPPING
        self.stopped_ns = now_ns()
        if self.segments is not None:
            self._books_at_stop = books_by_state(self.segments)
            self.segments.control.stopping = 1
        # A worker that is just coming back may hold orders: let it come up, so that it cancels them.
        try:
            await asyncio.wait_for(self._all_back.wait(), self.config.engine.shutdown_s)
        except TimeoutError:
            self.event("stop: a restart did not finish in time")
        gateways = [self.workers[s.name] for s in self.specs.values() if s.slot in s.gateways]
        workers, commands = list(self.workers.values()), list(self._commands.values())
        await self._shutdown.run(workers, commands, self._traders(), gateways, self._revive)
        self.phase = Phase.STOPPED
        if self.segments is not None:
            self.report = self.make_report()

    async def _revive(self, child: Child) -> None:
        """Replace a gateway that died or hangs while orders rest: its successor finds and cancels them."""
        child.kill()
        await child.exited.wait()
        child.settle(WorkerState.FAILED)
        child.advance()
        self.event(f"stop: {child.name} is replaced, so that its orders are canceled")
        try:
            await asyncio.wait_for(self._start_worker(child), self.config.engine.shutdown_s)
        except (StartError, TimeoutError) as error:
            self.event(f"stop: {child.name} did not come back, ORDERS MAY REST: {error}")

    async def _clean_up(self, server: ControlServer) -> None:
        self.phase = Phase.STOPPED
        await self.standbys.end()
        await self._shutdown.finish(self._children())
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await server.close()
        if self.segments is not None:
            self.segments.close()
        self.machine.release()
        self.notifier.close()
        self._operations.silence(asyncio.get_running_loop())
        if self._pidfd >= 0:
            os.close(self._pidfd)
        run_file.remove_note(self._state_dir)
        self.instance.close()
