"""Heartbeats: who is alive by pid but has stopped working.

A worker stores the time in its slot once per heartbeat and is stalled when that time is more than 2.5
heartbeats old. The supervisor looks when the oldest heartbeat it saw would become so, and no earlier: it
wakes about once in two heartbeats, and sees a stall within three.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LivenessChange:
    """A worker that stalled or came back.

    Attributes:
        slot: worker slot.
        stalled: True when it just stalled, False when it came back.
        age_ns: age of its heartbeat at the look.
    """

    slot: int
    stalled: bool
    age_ns: int


class LivenessWatch:
    """Turns heartbeat times into stalls and recoveries.

    Args:
        heartbeat_ns: interval at which workers store their heartbeat.
    """

    def __init__(self, heartbeat_ns: int) -> None:
        self.heartbeat_ns = heartbeat_ns
        self._stalled_since: dict[int, int] = {}

    @property
    def limit_ns(self) -> int:
        """Age of a heartbeat from which a worker counts as stalled."""
        return self.heartbeat_ns * 5 // 2

    def next_look_ns(self, heartbeats: Mapping[int, int], now_ns: int) -> int:
        """When to look again: when the oldest heartbeat gets too old, within half a beat to two and a half.

        While a worker is stalled it is half a beat, so that its return is seen soon.

        Args:
            heartbeats: as given to `look`.
            now_ns: monotonic time of that look.
        """
        half = self.heartbeat_ns // 2
        if self._stalled_since:
            return now_ns + half
        oldest = min(min(heartbeats.values(), default=now_ns), now_ns)
        return max(oldest + self.limit_ns + 1, now_ns + half)

    def look(self, heartbeats: Mapping[int, int], now_ns: int) -> list[LivenessChange]:
        """Compare heartbeats with the time.

        Args:
            heartbeats: by worker slot, the stored monotonic time in ns; only workers that should beat.
            now_ns: monotonic time of the look.

        Returns:
            The changes since the last look; a worker that stays stalled is reported once.
        """
        changes = []
        for slot, beat_ns in heartbeats.items():
            age_ns = now_ns - beat_ns
            stalled = age_ns > self.limit_ns
            if stalled != (slot in self._stalled_since):
                changes.append(LivenessChange(slot, stalled, age_ns))
                if stalled:
                    self._stalled_since[slot] = beat_ns
                else:
                    del self._stalled_since[slot]
        for slot in self._stalled_since.keys() - heartbeats.keys():
            del self._stalled_since[slot]
        return changes

    def forget(self, slot: int) -> None:
        """Drop what is known of a worker, because its process was replaced."""
        self._stalled_since.pop(slot, None)

    def stalled_ns(self, slot: int, now_ns: int) -> int:
        """How long a worker has not stored a heartbeat, 0 while it is not stalled."""
        since = self._stalled_since.get(slot)
        return 0 if since is None else now_ns - since
