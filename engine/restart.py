"""Restart policy of a supervisor, as OTP states it: a pure table without clock or process.

Source: Erlang/OTP Design Principles, "Supervisor Behaviour" (restart strategy, maximum restart intensity,
child restart: permanent, transient, temporary). More than `intensity` restarts within `period_ns` escalate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Restart(Enum):
    """When a child that ended is started again."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


class RestartStrategy(Enum):
    """Who is restarted with the child that ended."""

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How much dying is borne.

    Attributes:
        strategy: who is restarted together.
        intensity: at most that many restarts ...
        period_ns: ... in that time, in ns.
    """

    strategy: RestartStrategy = RestartStrategy.ONE_FOR_ONE
    intensity: int = 5
    period_ns: int = 30_000_000_000


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do after a child ended.

    Attributes:
        stop: children to stop, in reverse start order (the one that ended is not among them).
        start: children to start, in start order.
        escalate: too many restarts: stop everything; `stop` and `start` are empty.
    """

    stop: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
    escalate: bool = False


class RestartTable:
    """Decides who is restarted; the caller stops and starts.

    Args:
        policy: strategy, intensity and period.
        children: (name, restart) in start order, names unique.
    """

    def __init__(self, policy: RestartPolicy, children: Iterable[tuple[str, Restart]]) -> None:
        self.policy = policy
        self._children = dict(children)
        self._times: deque[int] = deque()

    def on_exit(self, name: str, *, normal: bool, now_ns: int) -> Decision:
        """Decide after the exit of a child.

        Args:
            name: the child that ended.
            normal: it ended by itself with exit code 0.
            now_ns: monotonic time of the exit.

        Raises:
            KeyError: no such child.
        """
        restart = self._children[name]
        if restart is Restart.TEMPORARY or (restart is Restart.TRANSIENT and normal):
            return Decision()
        self._times.append(now_ns)
        while now_ns - self._times[0] > self.policy.period_ns:
            self._times.popleft()
        if len(self._times) > self.policy.intensity:
            return Decision(escalate=True)
        group = self._group(name)
        started = tuple(n for n in group if n == name or self._children[n] is not Restart.TEMPORARY)
        return Decision(stop=tuple(n for n in reversed(group) if n != name), start=started)

    def _group(self, name: str) -> list[str]:
        names = list(self._children)
        if self.policy.strategy is RestartStrategy.ONE_FOR_ONE:
            return [name]
        if self.policy.strategy is RestartStrategy.ONE_FOR_ALL:
            return names
        return names[names.index(name) :]
