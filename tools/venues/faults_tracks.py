"""What a fault desk remembers: of each fault of the script, and of each client."""

from __future__ import annotations

import random
from asyncio import TimerHandle
from dataclasses import dataclass, field

from tools.venues.faults import Fault
from tools.venues.faults_frames import Seen


@dataclass(slots=True)
class Track:
    """A fault of the script and what became of it."""

    fault: Fault
    chance: random.Random
    matched: int = 0
    due: int = 0
    left: int = 0
    done: int = 0
    first_s: float = -1.0
    symbol: str = ""
    client: int = 0
    timer: TimerHandle | None = None

    def statistics(self) -> dict[str, object]:
        """Return how often it happened, when first, and to whom then."""
        return {
            "fault": self.fault.what,
            "line": self.fault.line,
            "text": self.fault.text,
            "count": self.done,
            "first_s": round(self.first_s, 3) if self.done else None,
            "symbol": self.symbol,
            "connection": self.client,
        }


@dataclass(slots=True)
class Line:
    """What the desk knows of one client: frames that wait, numbers that were shifted, silences."""

    shifts: dict[str, int] = field(default_factory=dict)
    #: id of a track → frames held back, and behind how many others (reorder) or until when (delay)
    late: dict[int, tuple[bytes, Seen, int]] = field(default_factory=dict)
    held: dict[int, list[bytes]] = field(default_factory=dict)
    quiet_until: dict[int, float] = field(default_factory=dict)
    behind: list[bytes] = field(default_factory=list)
    #: tracks of silences that are over for this client
    healed: set[int] = field(default_factory=set)


def fault_ends(fault: Fault) -> bool:
    """Whether a fault is over for all clients once it met one of them; a symbol is mute for every one."""
    return fault.what != "mute"
