"""Exceptions of the engine package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class EngineError(Exception):
    """Base of what the engine raises; its text is one precise sentence fit for a user."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a configuration.

    Attributes:
        key: dotted key, for example `venues.sim.priority`; empty for the file as a whole.
        text: what was expected and what was found.
        line: line in the file, 0 when it can not be told.
    """

    key: str
    text: str
    line: int = 0

    def render(self, file: str) -> str:
        """The problem as `FILE:LINE: key: text`."""
        where = f"{file}:{self.line}" if self.line else file
        return f"{where}: {self.key}: {self.text}" if self.key else f"{where}: {self.text}"


class ConfigError(EngineError):
    """A configuration that can not be used; holds every problem found, not only the first.

    Args:
        file: path of the file, as the user gave it.
        problems: at least one.
    """

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        self.file = file
        self.problems = tuple(problems)
        super().__init__("\n".join(problem.render(file) for problem in self.problems))


class TopologyError(EngineError):
    """A configuration that is well formed but describes a graph that can not run."""


class LifecycleError(EngineError):
    """A state change that the lifecycle table does not allow."""


class StartError(EngineError):
    """A child that did not come up; says which one, why, and the last lines of its log."""


class SpawnError(StartError):
    """The operating system made no process: no memory, no descriptors, no room for its log."""


class ReloadError(EngineError):
    """A new configuration that was refused; the running one is unchanged."""


class ControlError(EngineError):
    """A running engine could not be reached or refused an operator's command."""
