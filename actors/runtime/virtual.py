"""Many workers in one process on a virtual clock: the same actors, rings and gate, and no wall clock.

Everything that happens is an entry of one run queue ordered by (due, priority, sequence). After each entry
every worker with something pending is drained, workers by slot, their rings by (priority, ring), records by
sequence, until all rings are empty: so one capture and one seed give one history.
"""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from typing import Any

from actors.errors import VirtualClockError
from actors.runtime import spec as names
from actors.runtime.host import Host, MakeActor, Notify
from actors.runtime.intents import Clock
from actors.runtime.schedule import ErrorHandler, Step, Timer
from actors.runtime.segments import Sizes, create_segments, plan_segments
from actors.runtime.tasks import Cancelable
from shm.segment import AnonymousSegments


class _Sleep:
    """The one thing a coroutine may await on the virtual clock."""

    __slots__ = ("delay_ns",)

    def __init__(self, delay_ns: int) -> None:
        self.delay_ns = delay_ns

    def __await__(self) -> Generator[_Sleep, None, None]:
        yield self


class _VirtualTask:
    """A coroutine on the virtual clock."""

    __slots__ = ("_coroutine", "is_canceled")

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self.is_canceled = False

    def cancel(self) -> None:
        """End it where it waits."""
        self.is_canceled = True
        self._coroutine.close()


class VirtualScheduler:
    """Timers and coroutines on a virtual clock.

    Args:
        clock: its `virtual_ns` is moved forward as entries fall due.
    """

    is_virtual = True

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queue: list[Timer] = []
        self._sequence = 0

    def call_at(self, due_ns: int, call: Step, priority: int = 0) -> Timer:
        """Run `call` once at that virtual time (now if it is past)."""
        self._sequence += 1
        timer = Timer(max(due_ns, self._clock.virtual_ns), (priority, self._sequence), call)
        heapq.heappush(self._queue, timer)
        return timer

    def spawn(self, coroutine: Coroutine[Any, Any, Any], on_done: Step, on_error: ErrorHandler) -> Cancelable:
        """Run a coroutine; it may await nothing but `sleep` (context.sleep)."""
        task = _VirtualTask(coroutine)

        def step() -> None:
            if task.is_canceled:
                return
            try:
                awaited = coroutine.send(None)
                while not isinstance(awaited, _Sleep):
                    awaited = coroutine.throw(
                        VirtualClockError(
                            f"awaited {type(awaited).__name__}: the virtual clock has only context.sleep"
                        )
                    )
            except StopIteration:
                on_done()
            except Exception as error:  # noqa: BLE001 (handed to the owner, who isolates the actor)
                on_error(error)
            else:
                self.call_at(self._clock.virtual_ns + awaited.delay_ns, step)

        step()
        return task

    def sleep(self, delay_ns: int) -> Awaitable[None]:
        """Wait inside a coroutine."""
        return _Sleep(delay_ns)

    @property
    def next_due_ns(self) -> int | None:
        """When the next entry is due; None if there is none."""
        while self._queue and self._queue[0].is_canceled:
            heapq.heappop(self._queue)
        return self._queue[0].due_ns if self._queue else None

    def pop(self) -> Timer:
        """Take the next entry and move the clock to it."""
        timer = heapq.heappop(self._queue)
        self._clock.virtual_ns = max(self._clock.virtual_ns, timer.due_ns)
        return timer


class VirtualWorld:
    """A whole run in one process.

    Args:
        specs: the workers.
        make_actor: the role registry.
        start_ns: virtual time at the beginning; not 0.
        sizes: capacities of the private segments.
        notify: receives what live workers would tell the supervisor.
    """

    def __init__(
        self,
        specs: Iterable[names.WorkerSpec],
        make_actor: MakeActor,
        *,
        start_ns: int,
        sizes: Sizes | None = None,
        notify: Notify | None = None,
    ) -> None:
        specs = sorted(specs, key=lambda spec: spec.slot)
        self.clock = Clock(start_ns)
        self.scheduler = VirtualScheduler(self.clock)
        self.segments = AnonymousSegments()
        self.sizes = sizes or Sizes()
        epoch = specs[0].epoch if specs else 1
        self.made = create_segments(self.segments, plan_segments(specs, self.sizes, epoch=epoch))
        self.hosts = [
            Host(
                spec,
                self.segments,
                self.clock,
                self.scheduler,
                self.clock.now_ns,
                make_actor,
                has_bells=False,
                notify=notify,
            )
            for spec in specs
        ]
        self.is_started = False
        self._heartbeat_ns = min((spec.heartbeat_ns for spec in specs), default=0)

    def host(self, slot: int) -> Host:
        """The host of a worker slot.

        Raises:
            KeyError: no such worker.
        """
        for host in self.hosts:
            if host.spec.slot == slot:
                return host
        raise KeyError(slot)

    def start(self) -> None:
        """Start every worker's actors in the order of their slots; raises what a start raised."""
        for host in self.hosts:
            self.run_coroutine(host.start())
            host.slot.pid = 1
            host.slot.incarnation = host.spec.incarnation
            host.slot.state = 3
        self.is_started = True
        self._beat()
        self.settle()

    def run_coroutine(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run one coroutine to its end, letting virtual time pass as it sleeps."""
        ended: list[Exception | None] = []
        self.scheduler.spawn(coroutine, lambda: ended.append(None), ended.append)
        while not ended:
            self.settle()
            if not ended and not self.step():
                raise VirtualClockError("a coroutine waits for something that never happens")
        if ended[0] is not None:
            raise ended[0]

    def call_at(self, due_ns: int, call: Callable[[], None], priority: int = 0) -> Timer:
        """Add an entry to the run queue."""
        return self.scheduler.call_at(due_ns, call, priority)

    def advance(self, now_ns: int) -> None:
        """Run everything due up to `now_ns` and stand there."""
        due = self.scheduler.next_due_ns
        while due is not None and due <= now_ns:
            self.step()
            due = self.scheduler.next_due_ns
        self.clock.virtual_ns = max(self.clock.virtual_ns, now_ns)

    def step(self) -> bool:
        """Run the next entry of the queue and what follows from it; False if the queue is empty."""
        if self.scheduler.next_due_ns is None:
            return False
        self.scheduler.pop().run()
        self.settle()
        return True

    def settle(self) -> None:
        """Drain all workers until nothing is pending."""
        busy = True
        while busy:
            busy = False
            for host in self.hosts:
                if host.mailbox.has_pending():
                    host.drain()
                    busy = True

    def stop(self) -> None:
        """Stop every worker's actors, strategies everywhere first."""
        for host in self.hosts:
            self.run_coroutine(host.stop_quoting())
        for host in self.hosts:
            self.run_coroutine(host.stop())
        self.settle()

    def close(self) -> None:
        """Let go of the segments."""
        for host in self.hosts:
            host.release()
        self.hosts.clear()
        self.made.clear()

    def _beat(self) -> None:
        for host in self.hosts:
            host.heartbeat()
        if self._heartbeat_ns > 0:
            self.call_at(self.clock.virtual_ns + self._heartbeat_ns, self._beat, 1000)
