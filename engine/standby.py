"""Standbys: a second process beside each worker that trades, which takes its place within milliseconds.

A worker that dies costs a start of Python, its imports and the reading of its journal before anything else
can happen. A standby has all that behind it (`actors.runtime.standby`): told its spec, it becomes the worker.
Nobody is promoted before the kernel has told the end of the process before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any

from actors.runtime.spec import WorkerSpec
from engine.link import Message
from engine.processes import Child, Exit
from engine.restart import Restart

#: A worker that has just taken over gets the machine for itself for so long before the next standby starts.
SETTLE_S = 1.0
#: Between two attempts, when standbys end by themselves: twice as long each time, up to the second.
RETRY_S, RETRY_MAX_S = 2.0, 60.0

Spawn = Callable[[Child, WorkerSpec], Awaitable[None]]


@dataclass(slots=True)
class Place:
    """One worker's standby and what is known of it."""

    worker: Child
    standby: Child | None = None
    is_following: bool = False
    entries: int = 0
    promotions: int = 0


class Standbys:
    """The standbys of one run.

    Args:
        spawn: starts a standby's process; raises OSError when it can not.
        spec_of: what a standby of a worker is told, by its name.
        event: keeps one line of what happened.
    """

    def __init__(
        self, spawn: Spawn, spec_of: Callable[[str], WorkerSpec], event: Callable[[str], None]
    ) -> None:
        self._spawn = spawn
        self._spec_of = spec_of
        self._event = event
        self._places: dict[str, Place] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self, workers: Collection[Child]) -> None:
        """Keep a standby for each of these."""
        for worker in workers:
            place = self._places[worker.name] = Place(worker)
            self._tasks.append(asyncio.ensure_future(self._keep(place)))

    async def _keep(self, place: Place) -> None:
        """Have one stand by, and the next one after it has gone."""
        wait_s, retry_s = 0.0, RETRY_S
        while True:
            await asyncio.sleep(wait_s)
            standby = await self._start(place)
            if standby is not None:
                await standby.exited.wait()  # its end, or that it is no standby any more
            was_of_use = place.is_following or place.standby is None
            wait_s, retry_s = (SETTLE_S, RETRY_S) if was_of_use else (retry_s, min(2 * retry_s, RETRY_MAX_S))
            place.standby, place.is_following = None, False

    async def _start(self, place: Place) -> Child | None:
        worker = place.worker
        place.entries, place.is_following = 0, False
        standby = Child(
            worker.name, worker.role, worker.slot, Restart.TEMPORARY, worker.log_path, self._on_exit,
            lambda _child, message: self._on_message(place, message),
        )  # fmt: skip
        standby.incarnation = worker.incarnation + 1  # its log goes on where the worker's is
        standby.environment = worker.environment
        place.standby = standby
        try:
            await self._spawn(standby, self._spec_of(worker.name))
        except OSError as error:
            self._event(f"{worker.name}: no standby: {error}")
            return None
        return standby

    def _on_message(self, place: Place, message: Message) -> None:
        op = message.pop("op", "")
        if op == "standby":
            place.is_following, place.entries = True, int(message.get("entries", 0))
        else:
            text = message.get("error") or message.get("text") or message
            self._event(f"{place.worker.name}: {op}: {text}")

    def _on_exit(self, standby: Child, ended: Exit) -> None:
        place = self._places[standby.name]
        if place.standby is standby and self._tasks:
            self._event(f"the standby of {standby.name} (pid {standby.pid}) ended: {ended.describe()}")

    def promote(self, worker: Child, spec: WorkerSpec) -> bool:
        """Make a worker's standby the worker, if it has one that is ready.

        Args:
            worker: its process has ended.
            spec: of the incarnation that begins.

        Returns:
            Whether it has: then its `ready` will come as from any process.
        """
        place = self._places.get(worker.name)
        if place is None or place.standby is None or not place.is_following or worker.is_running:
            return False
        standby, place.standby = place.standby, None
        if not worker.take_over(standby, spec):
            return False
        place.promotions += 1
        return True

    def rows(self) -> list[dict[str, Any]]:
        """For status: worker, pid and state of each."""
        return [
            {
                "worker": name,
                "pid": place.standby.pid if place.standby is not None else 0,
                "state": "following"
                if place.is_following
                else "starting"
                if place.standby is not None
                else "none",
                "promotions": place.promotions,
            }
            for name, place in self._places.items()
        ]

    async def end(self) -> None:
        """End all of them; they hold nothing that would have to be put in order."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for place in self._places.values():
            standby, place.standby = place.standby, None
            if standby is not None:
                standby.kill()
                await standby.exited.wait()
