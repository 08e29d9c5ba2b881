"""Delays between client and venue on its lines; `exec.simulator.latency` says how long each message waits."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

from exec.errors import SimulatorError
from exec.simulator import latency as models
from exec.simulator.latency import Latency
from tools.venues.errors import SettingsError


def parse_latency(text: str, seed: str) -> Latency:
    """Return the latency a text describes, as `exec.simulator.latency.parse_latency`.

    Raises:
        SettingsError: it says what is wrong.
    """
    try:
        return models.parse_latency(text, seed)
    except SimulatorError as error:
        raise SettingsError(str(error)) from None


@dataclass(slots=True)
class Line:
    """One direction of one connection: what is sent later does not arrive earlier."""

    last_due_ns: int = 0


class DelayQueue:
    """What waits for its time; equal times in the order they were put in."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Callable[[int], None]]] = []
        self._count = 0

    def put(self, due_ns: int, call: Callable[[int], None]) -> None:
        """Let `call(due_ns)` happen at a time."""
        self._count += 1
        heapq.heappush(self._heap, (due_ns, self._count, call))

    def send(self, line: Line, latency: Latency, now_ns: int, call: Callable[[int], None]) -> None:
        """Let `call` happen when a message sent now arrives at the end of a line."""
        line.last_due_ns = max(now_ns + latency.draw_ns(), line.last_due_ns)
        self.put(line.last_due_ns, call)

    def run(self, now_ns: int) -> None:
        """Do all that is due, each at its own time."""
        while self._heap and self._heap[0][0] <= now_ns:
            due_ns, _, call = heapq.heappop(self._heap)
            call(due_ns)

    def next_due_ns(self) -> int | None:
        """When the next one is due; None when nothing waits."""
        return self._heap[0][0] if self._heap else None
