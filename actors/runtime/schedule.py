"""Time for actors: the scheduler protocol, and the live one over uvloop with a timerfd.

uvloop's own timers have a resolution of one millisecond; a timerfd armed with an absolute monotonic time
fires with the kernel's, costs nothing while no timer is due, and does not drift.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from actors.runtime.tasks import Cancelable
from actors.runtime.timerfd import TimerFd

Step = Callable[[], None]
ErrorHandler = Callable[[Exception], None]


class Timer:
    """A call due at a time; `cancel()` makes it do nothing.

    Behind its end it refers to nothing: rings of references would be left to the garbage collector, whose
    pass takes a millisecond of a trading worker, a timer a millisecond nine times a second.

    Attributes:
        owner: a set that it leaves when it runs or is canceled.
    """

    __slots__ = ("_call", "due_ns", "is_canceled", "order", "owner")

    def __init__(self, due_ns: int, order: tuple[int, int], call: Step) -> None:
        self.due_ns = due_ns
        self.order = order
        self.is_canceled = False
        self.owner: set[Timer] | None = None
        self._call = call

    def run(self) -> None:
        """Do what was due, once."""
        call = self._call
        self._end()
        call()

    def cancel(self) -> None:
        """Never run the call; harmless if it ran already."""
        self.is_canceled = True
        self._end()

    def _end(self) -> None:
        self._call = _nothing
        if self.owner is not None:
            self.owner.discard(self)
            self.owner = None

    def __lt__(self, other: Timer) -> bool:
        return (self.due_ns, self.order) < (other.due_ns, other.order)


def _nothing() -> None:
    """What a timer has to do that ran or was canceled."""


class Scheduler(Protocol):
    """What a context needs of its host: timers and coroutines."""

    def call_at(self, due_ns: int, call: Step, priority: int = 0) -> Timer:
        """Run `call` once at that monotonic time (at once if it is past)."""

    def spawn(self, coroutine: Coroutine[Any, Any, Any], on_done: Step, on_error: ErrorHandler) -> Cancelable:
        """Run a coroutine; exactly one of the two callbacks follows, unless it is canceled."""

    def sleep(self, delay_ns: int) -> Awaitable[None]:
        """Wait inside a coroutine."""

    @property
    def is_virtual(self) -> bool:
        """Whether time is virtual: no sockets, no wall clock."""


class LiveScheduler:
    """Timers and tasks on the running event loop.

    Args:
        loop: the worker's loop.
        now_ns: monotonic clock.
    """

    is_virtual = False

    def __init__(self, loop: asyncio.AbstractEventLoop, now_ns: Callable[[], int]) -> None:
        self._loop = loop
        self._now_ns = now_ns
        self._heap: list[Timer] = []
        self._sequence = 0
        self._fd = TimerFd()
        self._armed_ns = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        loop.add_reader(self._fd.fileno(), self._on_due)

    def call_at(self, due_ns: int, call: Step, priority: int = 0) -> Timer:
        """Run `call` once at that monotonic time (at the next loop pass if it is past)."""
        self._sequence += 1
        timer = Timer(due_ns, (priority, self._sequence), call)
        heapq.heappush(self._heap, timer)
        self._arm()
        return timer

    def spawn(self, coroutine: Coroutine[Any, Any, Any], on_done: Step, on_error: ErrorHandler) -> Cancelable:
        """Run a coroutine as a task of this loop."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)

        def ended(finished: asyncio.Task[Any]) -> None:
            self._tasks.discard(finished)
            if finished.cancelled():
                return
            error = finished.exception()
            if error is None:
                on_done()
            elif isinstance(error, Exception):
                on_error(error)

        task.add_done_callback(ended)
        return task

    async def sleep(self, delay_ns: int) -> None:
        """Wait for that long."""
        future: asyncio.Future[None] = self._loop.create_future()

        def wake() -> None:
            if not future.done():
                future.set_result(None)

        timer = self.call_at(self._now_ns() + delay_ns, wake)
        try:
            await future
        finally:
            timer.cancel()

    def close(self) -> None:
        """Cancel what is outstanding and give the descriptor back."""
        for task in list(self._tasks):
            task.cancel()
        self._heap.clear()
        self._loop.remove_reader(self._fd.fileno())
        self._fd.close()

    def _arm(self) -> None:
        while self._heap and self._heap[0].is_canceled:
            heapq.heappop(self._heap)
        due = self._heap[0].due_ns if self._heap else 0
        if due != self._armed_ns:
            self._armed_ns = due
            self._fd.arm(due)

    def _on_due(self) -> None:
        self._fd.clear()
        self._armed_ns = 0
        now = self._now_ns()
        while self._heap and (self._heap[0].is_canceled or self._heap[0].due_ns <= now):
            timer = heapq.heappop(self._heap)
            if not timer.is_canceled:
                timer.run()
        self._arm()
