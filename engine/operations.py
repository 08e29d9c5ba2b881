"""What an operator may ask of a running engine, by control socket or signal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any

from engine.control_socket import Reply
from engine.errors import EngineError, ReloadError
from engine.halts import raise_state, restore
from engine.holds import Holds
from engine.notes import Notes
from shm.enums import Reason, TradingState
from shm.errors import AuditError

if TYPE_CHECKING:
    from engine.processes import Child
    from engine.supervisor import Supervisor


COMMANDS = ("halt", "quarantine", "release", "reload", "report", "status", "stop")


class Phase(Enum):
    """Where the supervisor itself is."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Operations:
    """The operator's commands on one supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._engine = supervisor
        self.holds = Holds(supervisor.event)
        self.notes = Notes()
        self._signals: tuple[int, ...] = ()

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take signals."""
        engine = self._engine
        actions: dict[int, Callable[[], object]] = {
            signal.SIGINT: lambda: engine.request_stop("SIGINT"),
            signal.SIGTERM: lambda: engine.request_stop("SIGTERM"),
            signal.SIGHUP: lambda: engine.spawn_task(self.reload_quietly()),
            signal.SIGUSR1: self.report_quietly,
            signal.SIGUSR2: lambda: engine.event("SIGUSR2: there is no sampler in this version"),
        }
        for number, action in actions.items():
            loop.add_signal_handler(number, action)
        self._signals = tuple(actions)

    def silence(self, loop: asyncio.AbstractEventLoop) -> None:
        """Leave signals to their defaults again."""
        for number in self._signals:
            loop.remove_signal_handler(number)
        self._signals = ()

    def on_message(self, child: Child, op: str, message: dict[str, Any]) -> None:
        """Take what a worker answers to an operator, or tells for status and report."""
        if op == "note":
            self.notes.take(child, message)
        else:
            self.holds.on_answer(message)

    async def on_request(self, request: dict[str, Any]) -> Reply:
        """Answer one request of the control socket.

        Raises:
            EngineError: refused; the text is the reason.
        """
        op = request["op"]
        if op == "status":
            return self._engine.status()
        if op == "halt":
            return {"trading_state": self.halt("control socket")}
        if op in ("quarantine", "release"):
            return await self._hold(request)
        if op == "reload":
            return {"generation": await self.reload()}
        if op == "report":
            try:
                return {"report": self._engine.make_report(), "where": self.write_report()}
            except OSError as error:
                raise EngineError(f"report not written: {error}") from error
        if op == "stop":
            self._engine.request_stop("control socket")
            return {}
        raise EngineError(f'unknown command "{op}"; there are: {", ".join(COMMANDS)}')

    async def _hold(self, request: dict[str, Any]) -> Reply:
        engine, name, reason = self._engine, request.get("instrument"), request.get("reason", "")
        if engine.segments is None:
            raise EngineError("the engine is not up yet: it has no instruments")
        if not isinstance(name, str) or not isinstance(reason, str):
            raise EngineError(f'"{request["op"]}" needs an "instrument" and may have a "reason"')
        table = engine.segments.instruments
        return await self.holds.change(request["op"], name, reason, table, engine.config, engine.workers)

    def restore_halt(self) -> None:
        """Begin in the trading state the last run of this instance ended in, if so configured."""
        engine = self._engine
        if engine.config.halt.persists and engine.segments is not None:
            done = restore(engine.segments.control, engine.instance.state_dir)
            if done:
                engine.event(done)

    def halt(self, why: str = "the engine can not go on") -> str:
        """Latch the halt word: from now on only cancels pass."""
        engine = self._engine
        if engine.segments is None:
            raise EngineError("the engine is not up yet: nothing can trade")
        control = engine.segments.control
        if control.halt_state()[0] is not TradingState.HALTED:
            try:
                state_dir = engine.instance.state_dir
                raise_state(control, state_dir, TradingState.HALTED, Reason.HALTED, "supervisor", why)
            except (OSError, AuditError) as error:
                engine.event(f"halted, but not audited: {error}")
        for child in engine.workers.values():
            if child.link is not None:
                child.link.send(
                    {"op": "halt", "state": int(TradingState.HALTED), "reason": int(Reason.HALTED)}
                )
        engine.event("trading halted")
        return TradingState.HALTED.name

    async def reload(self) -> int:
        """Read the configuration again and bring every worker to a new generation; returns its number.

        Raises:
            ConfigError, ReloadError: as `Generations.apply`.
        """
        engine = self._engine
        if engine.phase is not Phase.RUNNING or engine.segments is None:
            raise ReloadError(f"the engine is {engine.phase.value}")
        engine.notifier.reloading()
        try:
            changed = await engine.generations.apply(engine.specs, engine.workers, engine.segments)
        finally:
            engine.notifier.ready(f"generation {engine.generations.number}")
        engine.event(f"generation {engine.generations.number}: {', '.join(changed) or 'nothing differs'}")
        return engine.generations.number

    async def reload_quietly(self) -> None:
        """Reload by signal: a refusal is an event and a status line, nothing more."""
        try:
            await self.reload()
        except EngineError as error:
            self._engine.event(f"reload refused: {error}")
            self._engine.notifier.status(f"reload refused: {str(error).splitlines()[0]}")

    def write_report(self) -> str:
        """Store a report by the writer the engine was given; returns where, or an empty string."""
        engine = self._engine
        return engine.report_writer(engine.make_report()) if engine.report_writer is not None else ""

    def report_quietly(self) -> None:
        """Report by signal: a failure is an event."""
        try:
            where = self.write_report() or "nowhere: no writer"
            self._engine.event(f"SIGUSR1: report written to {where}")
        except OSError as error:
            self._engine.event(f"SIGUSR1: report not written: {error}")
