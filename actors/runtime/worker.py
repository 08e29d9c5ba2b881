"""The live host: one process, one uvloop loop, woken by its bell and by nothing else.

A duty cycle drains every ring once with bounded work. If something is left the loop gets a turn first, so
sockets are served between two cycles; if not, the worker parks: arm, look once more, return to the loop.
The heartbeat is the only periodic timer; it runs a duty cycle too, because a writer killed at the wrong
instruction takes a wake-up with it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from actors.errors import ActorError
from actors.runtime.host import Host, MakeActor
from actors.runtime.intents import Clock
from actors.runtime.link import Link
from actors.runtime.schedule import LiveScheduler
from actors.runtime.spec import OPERATOR_COMMANDS, WorkerSpec, control_name
from actors.runtime.standby import FOLLOWED
from shm.clock import utc_ns
from shm.doorbell import Parker
from shm.enums import SegmentKind
from shm.segment import SegmentSource

if TYPE_CHECKING:
    from exec.checkpoint import LedgerFollower

EXIT_OK = 0
EXIT_FAULT = 1
EXIT_SUPERVISOR_GONE = 3

STOP_QUOTING = "quoting"
STOP_ORDERS = "orders"
STOP_EXIT = "exit"

CANCEL_LIMIT_S = 1.5
# So long a spinning worker looks at its rings between two looks at its sockets; one of real-time priority
# sleeps for a breath behind each stretch.
SPIN_TURN_NS = 20_000
STRETCH_NS, BREATH_NS = 1_000_000, 120_000


class LiveWorker:
    """One worker process from its spec to its exit code.

    Args:
        spec: what to host; its descriptors are inherited.
        segments: opens the run's segments.
        make_actor: the role registry.
        followed: what this process followed of its gateway's journal while it stood by.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        segments: SegmentSource,
        make_actor: MakeActor,
        followed: LedgerFollower | None = None,
    ) -> None:
        self._followed = followed
        self._spec = spec
        self._segments = segments
        self._make_actor = make_actor
        self._limit = spec.drain.cycle_records
        self._is_scheduled = False
        self._is_leaving = False
        self._exit_code: asyncio.Future[int]
        self._due_ns = 0
        self._awake_ns = 0  # until then it looks for records instead of parking
        self._breath_ns = self._stretch_ns = 0  # until then it sleeps for a moment, and spins again
        self._is_throttled = False

    async def run(self) -> int:
        """Start, work until told to stop, and return the exit code."""
        self._loop = asyncio.get_running_loop()
        self._exit_code = self._loop.create_future()
        self._clock = Clock()
        self._scheduler = LiveScheduler(self._loop, self._clock.now_ns)
        self._link = Link(self._loop, self._spec.link_fd, self._on_message, self._on_supervisor_gone)
        self._host = Host(
            self._spec,
            self._segments,
            self._clock,
            self._scheduler,
            utc_ns,
            self._make_actor,
            notify=self._link.send,
        )
        followed, self._followed = self._followed, None
        if followed is not None:
            self._host.share(FOLLOWED, lambda: followed)
        control = self._host.open(control_name(), SegmentKind.CONTROL)
        self._parker = Parker(control.payload, self._spec.slot)
        self._lag_ns = self._host.metrics.histogram("loop_lag_ns")
        self._loop.set_exception_handler(self._on_loop_error)
        self._loop.add_reader(self._parker.fd, self._on_bell)
        if self._spec.supervisor_pidfd >= 0:
            self._loop.add_reader(self._spec.supervisor_pidfd, self._on_supervisor_gone)
        self._host.slot.generation = self._spec.generation
        self._due_ns = self._clock.now_ns()
        self._on_heartbeat()
        # The end may come while an actor's start still waits for something, its gateway for one.
        starting = asyncio.ensure_future(self._start())
        try:
            return await self._exit_code
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            self._close()

    async def _start(self) -> None:
        try:
            await self._host.start()
        except Exception as error:  # noqa: BLE001 (a worker that can not start says why and ends)
            self._fatal(error)
            return
        self._is_throttled = is_throttled()
        # What came before the actors had attached their rings rang no bell.
        if not self._is_scheduled:
            self._cycle()
        gc.collect()
        gc.freeze()
        # A long recovery held the loop: the first look at a worker that is up must not find it stalled.
        self._host.slot.heartbeat_ns = self._clock.now_ns()
        self._link.send(
            {
                "op": "ready",
                "slot": self._spec.slot,
                "incarnation": self._spec.incarnation,
                "generation": self._spec.generation,
                "machine": self._spec.machine.facts,
            }
        )

    # ---- duty cycle -----------------------------------------------------------------------------

    def _on_bell(self) -> None:
        # The bell is read behind the drain: one system call less before the first record is handled.
        if not self._is_scheduled:
            self._cycle()
        else:
            self._parker.clear()

    def _again(self) -> None:
        self._is_scheduled = False
        self._cycle()

    def _cycle(self) -> None:
        if self._exit_code.done():
            return
        try:
            handled = self._host.drain(self._limit)
        except Exception as error:  # noqa: BLE001 (an infrastructure actor failed: the supervisor restarts the worker)
            self._fatal(error)
            return
        if self._host.mailbox.has_pending():
            self._parker.clear()
            self._schedule()
            return
        if self._host.mailbox.spin_ns and self._stays_awake(handled):
            return
        self._parker.park()
        if self._host.mailbox.has_pending():
            self._parker.disarm()
            self._schedule()

    def _stays_awake(self, handled: int) -> bool:
        """Look for records behind the last one instead of parking; nobody rings while a worker is awake."""
        now = self._clock.now_ns()
        if handled:
            self._awake_ns = now + self._host.mailbox.spin_ns
        if now >= self._awake_ns:
            return False
        if self._is_throttled and now >= self._stretch_ns:
            # A real-time process that leaves less than a twentieth to others is stopped for 50 ms at once.
            self._breath_ns = now + BREATH_NS
            self._stretch_ns = self._breath_ns + STRETCH_NS
            self._scheduler.call_at(self._breath_ns, self._breathed)
        if now < self._breath_ns:
            return False
        self._parker.disarm()  # a timer or a socket may have ended the sleep: nobody need ring
        self._parker.clear()
        self._is_scheduled = True
        self._loop.call_soon(self._spin)
        return True

    def _breathed(self) -> None:
        if not self._is_scheduled:
            self._cycle()

    def _spin(self) -> None:
        # In short turns: sockets and timers have theirs between two of them.
        now = self._clock.now_ns()
        until_ns = min(self._awake_ns, now + SPIN_TURN_NS)
        is_over = until_ns == self._awake_ns or (self._is_throttled and now >= self._stretch_ns)
        if self._host.mailbox.spin(until_ns) or is_over:
            self._again()
        else:
            self._loop.call_soon(self._spin)

    def _schedule(self) -> None:
        self._is_scheduled = True
        self._loop.call_soon(self._again)

    def _on_heartbeat(self) -> None:
        if self._exit_code.done():
            return
        now = self._clock.now_ns()
        self._lag_ns.record(max(now - self._due_ns, 0))
        interval = self._spec.heartbeat_ns
        # At multiples of the interval, so that the workers of a machine that idles wake it together.
        self._due_ns = (now // interval + 1) * interval
        self._scheduler.call_at(self._due_ns, self._on_heartbeat)
        try:
            self._host.heartbeat()
        except Exception as error:  # noqa: BLE001 (as in a duty cycle)
            self._fatal(error)
            return
        # A writer killed between taking our parked word and the bell has left us deaf: look ourselves.
        if not self._is_scheduled:
            self._cycle()

    # ---- the supervisor -------------------------------------------------------------------------

    def _on_message(self, message: Mapping[str, Any]) -> None:
        op = message.get("op")
        if op == "generation":
            self._take_generation(message)
        elif op == "stop":
            self._scheduler.spawn(self._stop(message), lambda: None, self._fatal)
        elif op == "halt":
            self._host.on_halt()
        elif op == "operator":
            self._link.send(self._operate(message))

    def _operate(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Do an operator's command by the first actor of this worker that knows what is meant."""
        answer = {"op": "operator", "number": message.get("number", 0)}
        for command in self._host.share(OPERATOR_COMMANDS, list):
            result = command(message)
            if result is not None:
                return {**answer, "result": result}
        return {**answer, "error": f"{self._spec.name} has nothing that it could mean"}

    def _take_generation(self, message: Mapping[str, Any]) -> None:
        settings = {int(key): value for key, value in message.get("actors", {}).items()}
        answer: dict[str, Any] = {"op": "generation", "number": message["number"]}
        try:
            self._host.apply_generation(int(message["number"]), settings)
        except ActorError as error:
            answer["error"] = str(error)
        self._link.send(answer)

    async def _stop(self, message: Mapping[str, Any]) -> None:
        phase = str(message.get("phase", STOP_EXIT))
        if phase == STOP_QUOTING:
            await self._host.stop_quoting()
        elif phase == STOP_ORDERS:
            await self._host.stop_quoting()
            await self._host.quiesce(int(float(message.get("limit_s", CANCEL_LIMIT_S)) * 1e9))
        else:
            await self._host.stop()
        self._link.send({"op": "stopped", "phase": phase})
        if phase not in (STOP_QUOTING, STOP_ORDERS):
            self._end(EXIT_OK)

    def _on_supervisor_gone(self) -> None:
        """Fate sharing: cancel what rests, then end. Everybody is gone within two seconds."""
        if self._spec.supervisor_pidfd >= 0:
            self._loop.remove_reader(self._spec.supervisor_pidfd)  # a pidfd stays readable
        self._link.close()
        if self._is_leaving:
            return
        self._is_leaving = True

        async def leave() -> None:
            await self._host.stop_quoting()
            await self._host.quiesce(int(CANCEL_LIMIT_S * 1e9))
            await self._host.stop()
            self._end(EXIT_SUPERVISOR_GONE)

        self._scheduler.spawn(leave(), lambda: None, self._fatal)

    # ---- the end --------------------------------------------------------------------------------

    def _on_loop_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self._fatal(error if isinstance(error, Exception) else ActorError(str(context.get("message"))))

    def _fatal(self, error: Exception) -> None:
        if self._exit_code.done():
            return
        text = f"{type(error).__name__}: {error}"
        self._host.metrics.fault(1, text, utc_ns())
        sys.stderr.write(f"{self._spec.name}: {text}\n")  # which is the worker's log
        self._link.send({"op": "error", "slot": self._spec.slot, "error": text})
        self._end(EXIT_FAULT)

    def _end(self, code: int) -> None:
        if not self._exit_code.done():
            self._exit_code.set_result(code)

    def _close(self) -> None:
        self._loop.remove_reader(self._parker.fd)
        if self._spec.supervisor_pidfd >= 0:
            self._loop.remove_reader(self._spec.supervisor_pidfd)
        self._scheduler.close()
        self._link.close()
        self._host.release()


def is_throttled() -> bool:
    """Whether this process has real-time priority, and the kernel takes its core away once it uses it up."""
    if os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK not in (os.SCHED_FIFO, os.SCHED_RR):
        return False
    with suppress(OSError, ValueError):
        return int(Path("/proc/sys/kernel/sched_rt_runtime_us").read_text()) >= 0
    return True


def run_worker(
    spec: WorkerSpec,
    segments: SegmentSource,
    make_actor: MakeActor | None = None,
    followed: LedgerFollower | None = None,
) -> int:
    """Run one worker until it is told to stop or its supervisor is gone.

    Args:
        spec: what to host; the process already is where it shall run (core, nice, signals: `engine.child`).
        segments: opens the run's segments.
        make_actor: the role registry, `actors.roles.make_actor` if not given.
        followed: see `LiveWorker`.

    Returns:
        Exit code: 0 stopped, 1 fault (said on the link and in the fault log), 3 the supervisor is gone.
    """
    if make_actor is None:
        from actors.roles import make_actor as registry

        make_actor = registry
    worker = LiveWorker(spec, segments, make_actor, followed)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(worker.run())
