"""`async def` handlers: one outstanding task per (actor, handler), newer books conflated meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

QUEUE_LIMIT = 1024

Step = Callable[[], None]
ErrorHandler = Callable[[Exception], None]


class Copyable(Protocol):
    """A borrowed record that can be copied."""

    def copy(self) -> Any:
        """An independent copy."""


class Cancelable(Protocol):
    """A running coroutine that can be ended."""

    def cancel(self) -> object:
        """End it at the place where it waits."""


class Spawner(Protocol):
    """Starts a coroutine and reports its end; raised exceptions go to `on_error`."""

    def spawn(self, coroutine: Coroutine[Any, Any, Any], on_done: Step, on_error: ErrorHandler) -> Cancelable:
        """Start the coroutine at once."""


class AsyncHandler:
    """Adapts an `async def` handler to the drain, which calls plain functions.

    The record given to the drain is borrowed, a coroutine lives longer: it gets a copy. While one call is
    outstanding, newer records wait: only the newest if `conflate`, else a bounded queue in order.

    Args:
        handler: the coroutine function.
        spawner: where it runs.
        on_error: called with an exception the handler raised (the actor is then suspended by its host).
        conflate: keep only the newest waiting record of each instrument.
        on_conflated: called once per record dropped in favor of a newer one, or lost to a full queue.
    """

    __slots__ = (
        "_busy",
        "_conflate",
        "_handler",
        "_is_canceled",
        "_on_conflated",
        "_on_error",
        "_spawner",
        "_task",
        "_waiting",
    )

    def __init__(
        self,
        handler: Callable[[Any], Coroutine[Any, Any, Any]],
        spawner: Spawner,
        on_error: ErrorHandler,
        *,
        conflate: bool,
        on_conflated: Callable[[], None],
    ) -> None:
        self._handler = handler
        self._spawner = spawner
        self._on_error = on_error
        self._conflate = conflate
        self._on_conflated = on_conflated
        self._waiting: deque[Any] = deque()
        self._busy = False
        self._is_canceled = False
        self._task: Cancelable | None = None

    def __call__(self, record: Copyable) -> None:
        """Run the handler on a copy of the record, now or after the call that is outstanding."""
        if self._is_canceled:
            return
        own = record.copy()
        if self._busy:
            self._wait(own)
            return
        self._start(own)

    def _wait(self, own: Any) -> None:
        if self._conflate:
            for index, waiting in enumerate(self._waiting):
                if waiting.instrument_id == own.instrument_id:
                    self._waiting[index] = own
                    self._on_conflated()
                    return
        elif len(self._waiting) >= QUEUE_LIMIT:
            self._waiting.popleft()
            self._on_conflated()
        self._waiting.append(own)

    def _start(self, own: Any) -> None:
        self._busy = True
        self._task = None
        task = self._spawner.spawn(self._handler(own), self._done, self._failed)
        # It may have ended, and the next begun, before we learn which task it was.
        if self._busy and self._task is None:
            self._task = task

    def cancel(self) -> None:
        """End the outstanding call and take no more records; nothing is reported."""
        self._is_canceled = True
        self._waiting.clear()
        task, self._task = self._task, None
        if task is not None and self._busy:
            task.cancel()

    def _done(self) -> None:
        self._busy = False
        if self._waiting:
            self._start(self._waiting.popleft())

    def _failed(self, error: Exception) -> None:
        self._busy = False
        self._waiting.clear()
        if not self._is_canceled:
            self._on_error(error)

    @property
    def is_busy(self) -> bool:
        """Whether a call is outstanding."""
        return self._busy

    @property
    def waiting(self) -> int:
        """Records that wait for the outstanding call."""
        return len(self._waiting)
