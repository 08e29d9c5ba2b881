"""Which worker runs on which core.

On two cores the feed has one and the worker with strategies and gateway has the other; on more, the lowest
allowed core is left to the supervisor, housekeeping and the rest of the machine, and each role has one of
its own as far as they go. Never a core outside the allowed set; with one allowed core nothing is pinned.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

FEED_ROLE = "feed"
HOUSEKEEPING_ROLE = "housekeeping"
HOUSEKEEPING_NICE = 5


def allowed_cores() -> list[int]:
    """Cores this process may run on, ascending."""
    return sorted(os.sched_getaffinity(0))


def place(workers: Sequence[tuple[str, str]], allowed: Collection[int]) -> dict[str, int | None]:
    """Give each worker its core.

    Args:
        workers: (name, role) of every worker in start order.
        allowed: cores that may be used.

    Returns:
        By worker name the core, None = not pinned. Feeds share a core with nothing else while there are
        two or more.
    """
    cores: dict[str, int | None] = dict.fromkeys((name for name, _ in workers), None)
    usable = sorted(allowed)
    if len(usable) < 2:
        return cores
    if len(usable) > 2:
        usable = usable[1:]
    feeds = [name for name, role in workers if role == FEED_ROLE]
    others = [name for name, role in workers if role not in (FEED_ROLE, HOUSEKEEPING_ROLE)]
    # Feeds get their fair share of the cores, at least one; the others have the rest.
    total = len(feeds) + len(others)
    share = (
        min(len(usable) - 1, max(1, len(usable) * len(feeds) // total)) if feeds and others else len(usable)
    )
    share = min(share, len(feeds)) if feeds else 0
    for i, name in enumerate(feeds):
        cores[name] = usable[i % share]
    rest = usable[share:]
    for i, name in enumerate(others):
        cores[name] = rest[i % len(rest)]
    return cores
