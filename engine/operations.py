"""What an operator may ask of a running engine, by control socket or signal."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from engine.control_socket import Reply
from engine.errors import EngineError, ReloadError
from shm.enums import Reason, TradingState

if TYPE_CHECKING:
    from engine.supervisor import Supervisor


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

    async def on_request(self, request: dict[str, Any]) -> Reply:
        """Answer one request of the control socket.

        Raises:
            EngineError: refused; the text is the reason.
        """
        op = request["op"]
        if op == "status":
            return self._engine.status()
        if op == "halt":
            return {"trading_state": self.halt()}
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
        raise EngineError(f'unknown command "{op}"; there are: halt, reload, report, status, stop')

    def halt(self) -> str:
        """Latch the halt word: from now on only cancels pass."""
        engine = self._engine
        if engine.segments is None:
            raise EngineError("the engine is not up yet: nothing can trade")
        engine.segments.control.set_halt(TradingState.HALTED, Reason.HALTED)
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
