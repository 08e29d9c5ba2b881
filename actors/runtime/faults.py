"""What happens when a handler raises: the actor alone is suspended, cleaned up and restarted by policy."""

from __future__ import annotations

import inspect
import traceback
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from actors.errors import ActorError

if TYPE_CHECKING:
    from actors.runtime.actor import Actor
    from actors.runtime.context import Context
    from actors.runtime.host import Host
    from actors.runtime.mailboxes import Route
    from actors.runtime.spec import ActorSpec
    from actors.runtime.tasks import AsyncHandler

RESTARTS = 3
PERIOD_NS = 60_000_000_000
BACKOFF_NS = (100_000_000, 1_000_000_000, 5_000_000_000)
SETTLE_NS = 2_000_000_000
WITHDRAW_NS = 5_000_000
FAULT_ACTOR = 1000


class WorkerFault(ActorError):
    """An infrastructure actor failed: the worker ends and the supervisor restarts it."""


class Binding:
    """One actor's place in its worker: spec, context, routes and whether records reach it."""

    __slots__ = (
        "actor",
        "awaits_status",
        "context",
        "failures",
        "index",
        "is_active",
        "is_driven",
        "is_stopped",
        "on_report",
        "routes",
        "saved",
        "spec",
        "tasks",
    )

    def __init__(self, index: int, spec: ActorSpec, context: Context, actor: Actor) -> None:
        self.index = index
        self.spec = spec
        self.context = context
        self.actor = actor
        self.routes: list[Route] = []
        self.on_report: Callable[[Any], object] | None = None
        self.is_active = False
        self.is_stopped = False
        self.awaits_status = 0
        self.saved: bytes | None = None
        self.is_driven = False
        self.failures: deque[int] = deque()
        self.tasks: list[AsyncHandler] = []

    def activate(self) -> None:
        """Let records reach the actor."""
        self.is_active = True
        for route in self.routes:
            route.active = True

    def deactivate(self, *, keep_reports: bool = False) -> None:
        """Let nothing reach the actor (except reports, if asked)."""
        self.is_active = keep_reports
        for route in self.routes:
            route.active = False
        if not keep_reports:
            self.end_tasks()

    def end_tasks(self) -> None:
        """Cancel what `async` handlers have under way: a coroutine must not outlive its actor."""
        for handler in self.tasks:
            handler.cancel()
        self.tasks.clear()


class FaultPolicy:
    """Counts faults, suspends the actor, cancels its orders, restarts it with back-off.

    At most RESTARTS restarts within PERIOD_NS, then the actor stays suspended. A fault in an
    infrastructure actor (`is_critical`) is not survivable in place: WorkerFault ends the worker.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._errors = host.metrics.counter("actor.errors")
        self._suspended = host.metrics.counter("actor.suspended")
        self._restarts = host.metrics.counter("actor.restarts")

    def call(self, binding: Binding, name: str, call: Callable[..., object], *args: Any) -> None:
        """Call on behalf of an actor; an exception suspends it."""
        try:
            call(*args)
        except WorkerFault:
            raise
        except Exception as error:  # noqa: BLE001 (one actor's fault must not be another's)
            self.fail(binding, name, error)

    async def call_start(self, binding: Binding, reason: str) -> None:
        """Start an actor; one that can not start is suspended and tried again like after any fault.

        Raises:
            WorkerFault: the actor is critical to its worker.
        """
        try:
            await self._host.begin(binding, reason)
        except Exception as error:  # noqa: BLE001 (as above)
            self._failed_start(binding, error)

    async def call_stop(self, binding: Binding) -> None:
        """Call on_stop; what it raises is counted, because a stop must reach every actor."""
        try:
            answer = binding.actor.on_stop()
            if inspect.isawaitable(answer):
                await answer
        except Exception as error:  # noqa: BLE001 (as above)
            self.count(binding, "on_stop", error)

    def count(self, binding: Binding, name: str, error: Exception) -> str:
        """Count a fault and keep its text; returns the text."""
        where = traceback.extract_tb(error.__traceback__)
        place = f"{where[-1].filename.rsplit('/', 1)[-1]}:{where[-1].lineno}" if where else "?"
        text = f"{binding.spec.name}.{name}: {type(error).__name__}: {error} ({place})"
        self._errors.inc(1)
        self._host.metrics.fault(FAULT_ACTOR + binding.spec.actor_id, text, self._host.utc_ns())
        return text

    def fail(self, binding: Binding, name: str, error: Exception) -> None:
        """Suspend an actor whose handler raised, cancel its orders and plan its restart.

        Raises:
            WorkerFault: the actor is critical to its worker.
        """
        text = self.count(binding, name, error)
        if binding.actor.is_critical:
            raise WorkerFault(text) from error
        if binding.is_stopped or not (binding.is_active or binding.context.is_quoting):
            return
        host = self._host
        binding.deactivate()
        binding.context.is_quoting = False
        binding.context.cancel_timers()
        self._withdraw(binding)
        self._suspended.inc(1)
        now = host.clock.now_ns()
        while binding.failures and now - binding.failures[0] > PERIOD_NS:
            binding.failures.popleft()
        binding.failures.append(now)
        is_final = len(binding.failures) > RESTARTS
        host.notify(self._message(binding, "failed" if is_final else "suspended", text))
        if not is_final:
            delay = BACKOFF_NS[min(len(binding.failures), len(BACKOFF_NS)) - 1]
            host.scheduler.call_at(now + delay, lambda: self._restart(binding))

    def _withdraw(self, binding: Binding) -> None:
        """Cancel everything of a suspended actor; asked again until the ring to the gateway takes it."""
        host, context = self._host, binding.context
        if binding.is_active or binding.is_stopped or not context.can_send:
            return
        if context.mass_cancel() is None:
            host.scheduler.call_at(host.clock.now_ns() + WITHDRAW_NS, lambda: self._withdraw(binding))

    def _restart(self, binding: Binding) -> None:
        if binding.is_stopped or self._host.is_stopping:
            return
        self._host.scheduler.spawn(
            self._bring_back(binding), lambda: None, lambda error: self._failed_start(binding, error)
        )

    async def _bring_back(self, binding: Binding) -> None:
        host, context = self._host, binding.context
        deadline = host.clock.now_ns() + SETTLE_NS
        while context.working and host.clock.now_ns() < deadline:
            if not any(order.is_cancel_requested for order in context.working.values()):
                context.mass_cancel()
            await host.scheduler.sleep(5_000_000)
        host.remake(binding)
        await host.begin(binding, "restart")
        self._restarts.inc(1)
        if binding.is_active:  # else its first record was its next fault, and that has been said
            host.notify(self._message(binding, "running", ""))

    @staticmethod
    def _message(binding: Binding, state: str, error: str) -> dict[str, Any]:
        spec = binding.spec
        return {"op": "actor", "actor_id": spec.actor_id, "name": spec.name, "state": state, "error": error}

    def _failed_start(self, binding: Binding, error: Exception) -> None:
        binding.context.is_quoting = True  # it was on its way back: count this failure like any other
        self.fail(binding, "on_start", error)
