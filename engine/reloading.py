"""Config generations in a running engine: read, check, hand to every worker, wait until each has it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from actors.runtime.spec import WorkerSpec
from engine.config import Config, load_config
from engine.errors import ReloadError
from engine.generation import check_reload
from engine.processes import Child
from engine.run_segments import RunSegments
from engine.topology import generation_settings
from shm.clock import now_ns

TIMEOUT_S = 5.0
LOOK_S = 0.01


class Generations:
    """The configuration in force and its number.

    Args:
        config: the first one, generation 1.
        path: where the next is read from; None = the embedded default, which can not change.
        check: raises `ConfigError` for settings that a role would refuse.
    """

    def __init__(
        self, config: Config, path: Path | None, check: Callable[[Config, str], None] | None = None
    ) -> None:
        self.config = config
        self.number = 1
        self._path = path
        self._check = check
        self._refused: dict[str, str] = {}
        self._lock = asyncio.Lock()

    def on_refused(self, worker: str, error: str) -> None:
        """A worker says that it can not apply a generation."""
        self._refused[worker] = error

    def read(self) -> tuple[Config, list[str]]:
        """The new configuration and the keys that change.

        Raises:
            ConfigError, ReloadError: it is refused.
        """
        if self._path is None:
            raise ReloadError("the embedded default can not change: start with a configuration file")
        config = load_config(self._path)
        changed = check_reload(self.config, config)
        if self._check is not None:
            self._check(config, str(self._path))
        return config, changed

    async def apply(
        self, specs: dict[str, WorkerSpec], workers: Mapping[str, Child], segments: RunSegments
    ) -> list[str]:
        """Bring every worker to the next generation.

        Args:
            specs: by worker name what the next incarnation is told; brought to the new settings.
            workers: by name.
            segments: of the run.

        Returns:
            The dotted keys that changed.

        Raises:
            ConfigError, ReloadError: the file is refused and nothing changed; or a worker refused or is
                late, which the text says (a late one takes it when it answers, a new incarnation starts
                with it).
        """
        async with self._lock:
            config, changed = self.read()
            settings = generation_settings(config, list(specs.values()))
            self.config, self.number = config, self.number + 1
            segments.control.generation = self.number
            self._refused.clear()
            for name, spec in specs.items():
                actors = [replace(a, settings=settings[spec.slot][str(a.actor_id)]) for a in spec.actors]
                specs[name] = replace(spec, actors=actors, generation=self.number)
                link = workers[name].link
                if link is not None:
                    link.send({"op": "generation", "number": self.number, "actors": settings[spec.slot]})
            await self._wait(workers, segments)
            return changed

    def catch_up(self, child: Child, started_with: int, spec: WorkerSpec) -> None:
        """Hand a worker that was being spawned during `apply` what its spec did not say yet.

        Args:
            child: just spawned.
            started_with: generation its process was told.
            spec: what its next incarnation would be told.
        """
        if started_with < self.number and child.link is not None:
            settings = {str(actor.actor_id): actor.settings for actor in spec.actors}
            child.link.send({"op": "generation", "number": self.number, "actors": settings})

    async def _wait(self, workers: Mapping[str, Child], segments: RunSegments) -> None:
        deadline = now_ns() + int(TIMEOUT_S * 1e9)
        while True:
            if self._refused:
                worker, error = next(iter(self._refused.items()))
                raise ReloadError(f"generation {self.number}: {worker} refused it: {error}")
            behind = [c.name for c in workers.values() if segments.generation(c.slot) < self.number]
            if not behind:
                return
            if now_ns() > deadline:
                late = ", ".join(behind)
                raise ReloadError(f"generation {self.number} is in force, but not yet in {late}")
            await asyncio.sleep(LOOK_S)
