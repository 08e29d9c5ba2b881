"""When to try again: back-off with jitter as a pure policy. No clock, no randomness of its own, no I/O."""

from __future__ import annotations

from dataclasses import dataclass


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
