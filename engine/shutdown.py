"""The ordered stop: cancel orders first, then workers in reverse start order, commands last.

Each step waits for an answer and no longer than its share; who does not answer is named and killed at the
end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from signal import SIGTERM

from engine.lifecycle import ALIVE
from engine.processes import Child
from shm.enums import WorkerState

QUOTING = "quoting"
ORDERS = "orders"
EXIT = "exit"
SENTINEL = "sentinel"
#: Requests already sent at its limit are waited for.
OUTLIVE_SPARE_S = 3.0
#: Of a phase's time a worker has to settle things; the rest is for its answer.
PHASE_SHARE = 0.9


class Shutdown:
    """One stop of a set of children.

    Args:
        timeout_s: for each step, and for each child's end.
        on_event: called with one line per thing worth telling.
        outlive_s: how long a sentinel may still be at it; it is never killed before.
    """

    def __init__(self, timeout_s: float, on_event: Callable[[str], None], outlive_s: float = 0.0) -> None:
        self._timeout_s = timeout_s
        self._outlive_s = outlive_s + OUTLIVE_SPARE_S
        self._on_event = on_event
        self._confirmed: dict[tuple[str, str], asyncio.Event] = {}
        self._hurry = asyncio.Event()

    def hurry(self) -> None:
        """Wait for nobody any more: the operator asked twice."""
        self._hurry.set()

    def on_stopped(self, name: str, phase: str) -> None:
        """A worker confirmed a phase."""
        event = self._confirmed.get((name, phase))
        if event is not None:
            event.set()

    async def _bounded(self, waits: Sequence[asyncio.Task[object]], timeout_s: float | None = None) -> None:
        """Wait for all, for the timeout, or for hurry; what is left is canceled."""
        if not waits:
            return
        hurry = asyncio.ensure_future(self._hurry.wait())
        everything = asyncio.ensure_future(asyncio.wait(waits))
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        await asyncio.wait([hurry, everything], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for task in (hurry, everything, *waits):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(hurry, everything, *waits, return_exceptions=True)

    async def phase(self, children: Sequence[Child], phase: str) -> list[str]:
        """Ask workers for a phase and wait until each confirmed it or ended.

        Returns:
            Names of those that did neither.
        """
        asked = []
        waits: list[asyncio.Task[object]] = []
        for child in children:
            if child.link is None or child.lifecycle.state not in ALIVE:
                continue
            event = self._confirmed[(child.name, phase)] = asyncio.Event()
            limit_s = self._timeout_s * PHASE_SHARE
            if child.link.send({"op": "stop", "phase": phase, "limit_s": limit_s}):
                asked.append((child, event))
                waits.append(asyncio.ensure_future(self._either(event, child.exited)))
        await self._bounded(waits)
        silent = [c.name for c, event in asked if not event.is_set() and not c.exited.is_set()]
        if silent:
            self._on_event(f"stop: {', '.join(silent)} did not confirm phase {phase}")
        return silent

    @staticmethod
    async def _either(first: asyncio.Event, second: asyncio.Event) -> object:
        tasks = [asyncio.ensure_future(first.wait()), asyncio.ensure_future(second.wait())]
        try:
            return await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def end(self, child: Child, *, by_signal: bool = False) -> None:
        """End one child: ask, wait, then kill.

        Args:
            child: it may already be gone.
            by_signal: ask by SIGTERM (a command); workers ignore signals and are asked on their link.
        """
        if not child.is_running:
            return
        if child.lifecycle.state in ALIVE and child.lifecycle.state is not WorkerState.DRAINING:
            child.lifecycle.to(WorkerState.DRAINING)
        if by_signal:
            child.send_signal(SIGTERM)
        elif child.link is not None:
            child.link.send({"op": "stop", "phase": EXIT})
        is_sentinel = child.role == SENTINEL
        limit_s = self._outlive_s if is_sentinel else None
        await self._bounded([asyncio.ensure_future(child.exited.wait())], limit_s)
        if child.is_running and is_sentinel and self._hurry.is_set():
            self._on_event(f"{child.name} (pid {child.pid}) stays until no order rests")
        elif child.is_running:
            self._on_event(f"stop: {child.name} (pid {child.pid}) did not end by itself and was killed")
            child.kill()
            await child.exited.wait()

    async def finish(self, children: Sequence[Child]) -> None:
        """Nobody may be left: kill them, but let a sentinel go only once nothing rests."""
        others = [child for child in children if child.role != SENTINEL]
        for child in others:
            child.kill()
        for child in others:
            await child.exited.wait()
        for child in children:
            if child.role == SENTINEL and not self._hurry.is_set():
                await self.end(child)

    def lacking(self, children: Sequence[Child], phase: str) -> list[Child]:
        """Those that did not confirm a phase, whether they could be asked or not."""
        return [c for c in children if (e := self._confirmed.get((c.name, phase))) is None or not e.is_set()]

    async def run(
        self,
        workers: Sequence[Child],
        commands: Sequence[Child],
        traders: Sequence[Child],
        gateways: Sequence[Child] = (),
        revive: Callable[[Child], Awaitable[None]] | None = None,
    ) -> None:
        """The whole stop.

        Args:
            workers: in start order.
            commands: in start order.
            traders: workers that host strategies or gateways: all stop quoting, then orders are canceled.
            gateways: those of them whose word that no order rests is needed.
            revive: replaces one of them that died or hangs by a process that can give it.
        """
        await self.phase(traders, QUOTING)
        await self.phase(traders, ORDERS)
        for child in self.lacking(gateways, ORDERS):
            if revive is not None and not self._hurry.is_set():
                await revive(child)
                await self.phase([child], ORDERS)
        for child in reversed(workers):
            await self.end(child)
        for child in reversed(commands):
            await self.end(child, by_signal=True)
