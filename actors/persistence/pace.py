"""How fast a journal is stored: few transactions while it grows, no greed while there is much to catch up."""

from __future__ import annotations

# Rest between two transactions of a growing journal. Ten a second cost far less than the four hundred that
# there would be without, and each one's fsync sends the disk's interrupts to whatever core they go to.
GATHER_S = 0.1
IDLE_MAX_S = 2.0


class Pace:
    """The rest after each step of storing.

    Args:
        idle_s: after a step that found nothing new; doubled while that goes on, up to two seconds.
        full: entries of a whole batch: so many tell that more are waiting.
    """

    def __init__(self, idle_s: float, full: int) -> None:
        self._first_s = self._idle_s = idle_s
        self._full = full

    def rest_s(self, stored: int, took_s: float) -> float:
        """Seconds to rest.

        Args:
            stored: entries of the step before.
            took_s: how long it took. Who is behind rests as long as he worked, so that catching up after a
                server's absence takes half of a core at most.
        """
        if not stored:
            found = self._idle_s
            self._idle_s = min(max(IDLE_MAX_S, self._first_s), self._idle_s * 2)
            return found
        self._idle_s = self._first_s
        return min(took_s, GATHER_S) if stored >= self._full else GATHER_S
