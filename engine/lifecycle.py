"""Life of one child as a table: NEW, STARTING, RUNNING, DRAINING, STOPPED or FAILED.

STALLED is RUNNING with a heartbeat that is too old; it heals by itself or ends in FAILED.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from engine.errors import LifecycleError
from shm.enums import WorkerState

_S = WorkerState

TRANSITIONS: Mapping[WorkerState, frozenset[WorkerState]] = {
    _S.NONE: frozenset({_S.NEW}),
    _S.NEW: frozenset({_S.STARTING, _S.STOPPED}),
    _S.STARTING: frozenset({_S.RUNNING, _S.DRAINING, _S.FAILED}),
    _S.RUNNING: frozenset({_S.STALLED, _S.DRAINING, _S.STOPPED, _S.FAILED}),
    _S.STALLED: frozenset({_S.RUNNING, _S.DRAINING, _S.STOPPED, _S.FAILED}),
    _S.DRAINING: frozenset({_S.STOPPED, _S.FAILED}),
    _S.STOPPED: frozenset({_S.NEW}),
    _S.FAILED: frozenset({_S.NEW}),
}

ALIVE = frozenset({_S.STARTING, _S.RUNNING, _S.STALLED, _S.DRAINING})


class Lifecycle:
    """The state of one child.

    Args:
        name: child's name, for errors.
        on_change: called with the new state after each change; what it raises reaches the caller of `to`,
            and the state has already changed.
    """

    def __init__(self, name: str, on_change: Callable[[WorkerState], None] | None = None) -> None:
        self._name = name
        self._state = WorkerState.NONE
        self._on_change = on_change

    @property
    def state(self) -> WorkerState:
        """The present state."""
        return self._state

    @property
    def is_alive(self) -> bool:
        """Whether a process stands behind this state."""
        return self._state in ALIVE

    def to(self, state: WorkerState) -> None:
        """Change the state.

        Raises:
            LifecycleError: the table has no such transition; nothing changed.
        """
        if state not in TRANSITIONS[self._state]:
            raise LifecycleError(f"{self._name}: {self._state.name} can not become {state.name}")
        self._state = state
        if self._on_change is not None:
            self._on_change(state)
