"""When to try again: back-off with jitter, a circuit breaker and a budget of attempts, all pure.

No clock, no randomness of its own, no I/O.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from feeds.transport.throttle import Budget, TokenBucket

RETRY_NS = 1_000_000


@dataclass(frozen=True, slots=True)
class ReconnectPolicy:
    """Delays between connection attempts.

    The n-th attempt in a row waits `initial_ns` × `factor`^(n-1), at most `maximum_ns`, of which the last
    `jitter` part
    is scattered evenly: many clients cut at once do not come back at once. A connection that stood for
    `stable_ns` makes the next attempt a first one again.
    """

    initial_ns: int = 250_000_000
    maximum_ns: int = 30_000_000_000
    factor: float = 2.0
    jitter: float = 0.5
    stable_ns: int = 10_000_000_000

    def __post_init__(self) -> None:
        if not 0 < self.initial_ns <= self.maximum_ns or self.factor < 1 or not 0 <= self.jitter <= 1:
            raise ValueError(f"not a usable reconnect policy: {self}")

    def delay_ns(self, failures: int, random_value: float) -> int:
        """Wait before the next attempt.

        Args:
            failures: failed attempts or short connections in a row, at least 1.
            random_value: in [0, 1), from the caller's generator.
        """
        # Beyond 64 doublings any maximum is reached; the cap keeps the float finite.
        base = min(self.initial_ns * self.factor ** min(failures - 1, 64), float(self.maximum_ns))
        return round(base * (1 - self.jitter * random_value))


class ReconnectState:
    """Counts failures of one connection and says how long to wait."""

    def __init__(self, policy: ReconnectPolicy) -> None:
        self.policy = policy
        self.failures = 0
        self._connected_ns: int | None = None

    def on_connected(self, now_ns: int) -> None:
        """Note that the connection stands."""
        self._connected_ns = now_ns

    def on_lost(self, now_ns: int, random_value: float) -> int:
        """Note that the connection ended or an attempt failed; returns the wait before the next, in ns."""
        if self._connected_ns is not None and now_ns - self._connected_ns >= self.policy.stable_ns:
            self.failures = 0
        self._connected_ns = None
        self.failures += 1
        return self.policy.delay_ns(self.failures, random_value)


class BreakerState(Enum):
    """Whether attempts are made at an address."""

    CLOSED = auto()  # they are
    OPEN = auto()  # not for a while: too many failed
    HALF_OPEN = auto()  # one, to see


class BreakerEvent(Enum):
    """What a circuit breaker is told."""

    FAILED = auto()  # an attempt failed
    TRIPPED = auto()  # ... and so many did within the window
    SUCCEEDED = auto()
    WAITED = auto()  # the pause is over


_CLOSED, _OPEN, _HALF_OPEN = BreakerState
BREAKER_TABLE: dict[tuple[BreakerState, BreakerEvent], BreakerState] = {
    (_CLOSED, BreakerEvent.FAILED): _CLOSED,
    (_CLOSED, BreakerEvent.TRIPPED): _OPEN,
    (_CLOSED, BreakerEvent.SUCCEEDED): _CLOSED,
    (_CLOSED, BreakerEvent.WAITED): _CLOSED,
    (_OPEN, BreakerEvent.FAILED): _OPEN,
    (_OPEN, BreakerEvent.TRIPPED): _OPEN,
    (_OPEN, BreakerEvent.SUCCEEDED): _CLOSED,  # of an attempt that was under way
    (_OPEN, BreakerEvent.WAITED): _HALF_OPEN,
    (_HALF_OPEN, BreakerEvent.FAILED): _OPEN,
    (_HALF_OPEN, BreakerEvent.TRIPPED): _OPEN,
    (_HALF_OPEN, BreakerEvent.SUCCEEDED): _CLOSED,
    (_HALF_OPEN, BreakerEvent.WAITED): _HALF_OPEN,
}


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """How many failed attempts within `window_ns` stop all attempts at an address for `pause_ns`."""

    failures: int = 10
    window_ns: int = 10_000_000_000
    pause_ns: int = 5_000_000_000

    def __post_init__(self) -> None:
        if self.failures < 1 or self.window_ns < 1 or self.pause_ns < 1:
            raise ValueError(f"not a usable breaker policy: {self}")


class CircuitBreaker:
    """Stops attempts at an address that refuses them, for all connections there together."""

    def __init__(self, policy: BreakerPolicy | None = None) -> None:
        self.policy = policy or BreakerPolicy()
        self.state = BreakerState.CLOSED
        self.trips = 0
        self._failed_ns: deque[int] = deque(maxlen=self.policy.failures)
        self._until_ns = 0

    def _step(self, event: BreakerEvent, now_ns: int) -> None:
        state = BREAKER_TABLE[self.state, event]
        if state is BreakerState.OPEN and self.state is not BreakerState.OPEN:
            self.trips += 1
            self._until_ns = now_ns + self.policy.pause_ns
        self.state = state

    def delay_ns(self, now_ns: int) -> int:
        """Say how long an attempt must wait, 0 = make it now; in HALF_OPEN there is one for a while."""
        if self.state is BreakerState.CLOSED:
            return 0
        if now_ns < self._until_ns:
            return self._until_ns - now_ns
        self._step(BreakerEvent.WAITED, now_ns)
        self._until_ns = now_ns + self.policy.pause_ns
        return 0

    def on_success(self, now_ns: int) -> None:
        """Note that an attempt succeeded."""
        self._failed_ns.clear()
        self._step(BreakerEvent.SUCCEEDED, now_ns)

    def on_failure(self, now_ns: int) -> None:
        """Note that an attempt failed."""
        self._failed_ns.append(now_ns)
        is_full = len(self._failed_ns) == self.policy.failures
        is_trip = is_full and now_ns - self._failed_ns[0] <= self.policy.window_ns
        self._step(BreakerEvent.TRIPPED if is_trip else BreakerEvent.FAILED, now_ns)


class ConnectGate:
    """Lets connection attempts at one address pass, within the venue's limit and while it answers at all.

    Args:
        per_second: attempts the venue allows, lasting.
        burst: at once.
        policy: of the circuit breaker.
        budget: what every process of a run takes its attempts from, in the place of `per_second` and `burst`.
        on_tripped: told until when attempts stop, for the other processes.
    """

    def __init__(
        self,
        per_second: float,
        burst: int,
        policy: BreakerPolicy | None = None,
        *,
        budget: Budget | None = None,
        on_tripped: Callable[[int], None] | None = None,
    ) -> None:
        self.budget: Budget = TokenBucket(burst, per_second) if budget is None else budget
        self.breaker = CircuitBreaker(policy)
        self._on_tripped = on_tripped

    def delay_ns(self, now_ns: int) -> int:
        """Say how long an attempt must wait; 0 = make it now, its token is taken."""
        due_ns = self.budget.next_ns(now_ns)
        if due_ns != now_ns:
            return max(due_ns - now_ns, RETRY_NS)
        if delay_ns := self.breaker.delay_ns(now_ns):
            return delay_ns
        return 0 if self.budget.take(now_ns) else RETRY_NS  # another process was faster

    def on_success(self, now_ns: int) -> None:
        """Note that an attempt succeeded."""
        self.breaker.on_success(now_ns)

    def on_failure(self, now_ns: int) -> None:
        """Note that an attempt failed; if that is one too many, nobody makes another for a while."""
        trips = self.breaker.trips
        self.breaker.on_failure(now_ns)
        if self.breaker.trips > trips and self._on_tripped is not None:
            self._on_tripped(now_ns + self.breaker.policy.pause_ns)
