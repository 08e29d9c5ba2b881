"""Several lines of one stream as they would arrive: each delays, loses and is cut on its own."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

MILLISECOND = 1_000_000


@dataclass(frozen=True)
class Update:
    """One depth update of the venue: what it follows, and the level it sets."""

    previous: int
    last: int
    price: int
    quantity: int


@dataclass(frozen=True)
class Arrival:
    """One update on one line, or (update None) the line lost (False) or back (True)."""

    at_ns: int
    line: int
    update: Update | None = None
    is_up: bool = True


def make_updates(random: Random, count: int, start: int = 100) -> list[Update]:
    """A chain of updates with gaps in the numbers, as a venue with one counter for all its symbols makes."""
    updates, last = [], start
    for _ in range(count):
        step = random.randint(1, 5)
        updates.append(Update(last, last + step, random.randint(90, 99), random.randint(0, 9)))
        last += step
    return updates


def arrivals(
    random: Random, updates: list[Update], lines: int, *, loss: float, skew_ms: int, cuts: int
) -> list[Arrival]:
    """What each line delivers, in order of arrival; a line keeps the order of its updates."""
    events: list[Arrival] = []
    for line in range(lines):
        at_ns, behind = 0, random.randint(0, skew_ms) * MILLISECOND
        down: list[tuple[int, int]] = []
        for _ in range(cuts):
            begin = random.randint(1, len(updates))
            down.append((begin, begin + random.randint(1, 4)))
        for index, update in enumerate(updates, 1):
            sent_ns = index * 10 * MILLISECOND
            at_ns = max(at_ns + 1, sent_ns + behind + random.randint(0, 3) * MILLISECOND)
            if any(begin == index for begin, _ in down):
                events.append(Arrival(at_ns - 1, line, is_up=False))
            if any(begin <= index < end for begin, end in down) or random.random() < loss:
                continue
            events.append(Arrival(at_ns, line, update))
    return sorted(events, key=lambda event: (event.at_ns, event.line))


class NaiveMerger:
    """Keeps every update it was given and applies what follows, waiting `wait_ns` for what is missing."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.given: dict[int, Update] = {}

    def take(self, update: Update) -> None:
        self.given[update.last] = update

    def chain(self) -> list[int]:
        """The unbroken chain from the start."""
        by_previous = {update.previous: update for update in self.given.values()}
        last, found = self.start, []
        while last in by_previous:
            last = by_previous[last].last
            found.append(last)
        return found

    def levels(self, chain: list[int]) -> dict[int, int]:
        """The level quantities behind that chain."""
        book: dict[int, int] = {}
        for last in chain:
            update = self.given[last]
            if update.quantity:
                book[update.price] = update.quantity
            else:
                book.pop(update.price, None)
        return book
