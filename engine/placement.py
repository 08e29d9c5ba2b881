"""Which worker runs on which core, and where everything runs that has no core of its own.

On two cores the feed has one and the worker with strategies and gateway has the other; on more, the lowest
allowed core is left to the supervisor, housekeeping and the rest of the machine, and each role has one of
its own as far as they go. Never a core outside the allowed set; with one allowed core nothing is pinned.

A core is a worker's own only if the scheduler wakes nobody else on it. So what is not pinned is kept off
the workers' cores, or where these are all there are, off those that decide and send.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

FEED_ROLE = "feed"
HOUSEKEEPING_ROLE = "housekeeping"
HOUSEKEEPING_NICE = 5
#: A simulated venue shares the feed's core on a small machine. A real venue would take no time of it, so
#: the feed goes first: it reads a frame when it comes, not when the simulation has done all it has to do.
VENUE_NICE = 5


def allowed_cores() -> list[int]:
    """Cores this thread may run on, ascending; inside `on_cores` those it was given."""
    return sorted(os.sched_getaffinity(0))


def be_nice(nice: int) -> None:
    """Make this thread at least so nice; one that is nicer stays so, since the way back needs a privilege."""
    os.setpriority(os.PRIO_PROCESS, 0, max(nice, os.getpriority(os.PRIO_PROCESS, 0)))


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


def shared_cores(
    workers: Sequence[tuple[str, str]], cores: Mapping[str, int | None], allowed: Collection[int]
) -> list[int]:
    """Where everything runs that is not pinned: supervisor, housekeeping, sentinel, standbys, local venues.

    Args:
        workers: as given to `place`.
        cores: what `place` returned for them.
        allowed: as given to `place`.

    Returns:
        Ascending and never empty: the cores of no worker; if there are none, those of the feeds, which do
        not decide and send; if there are none either, all that are allowed.
    """
    pinned = {core for core in cores.values() if core is not None}
    trading = {core for name, role in workers if role != FEED_ROLE and (core := cores[name]) is not None}
    for taken in (pinned, trading):
        if free := sorted(set(allowed) - taken):
            return free
    return sorted(allowed)


@contextmanager
def on_cores(cores: Collection[int]) -> Iterator[str]:
    """Keep this thread, and every thread and process it makes meanwhile, on some cores; then as it was.

    Yields:
        Why not, if the machine refuses; empty otherwise. Being elsewhere costs latency and breaks nothing.
    """
    before, refused = os.sched_getaffinity(0), ""
    try:
        os.sched_setaffinity(0, cores)
    except OSError as error:
        refused = str(error.strerror)
    try:
        yield refused
    finally:
        with suppress(OSError):  # the machine has taken some of them away meanwhile and moved us itself
            os.sched_setaffinity(0, before)
