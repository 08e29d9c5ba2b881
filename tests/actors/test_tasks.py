"""Async handlers: one outstanding call, newest book waits, trades queue in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from actors.runtime.tasks import QUEUE_LIMIT, AsyncHandler


@dataclass
class Rec:
    instrument_id: int
    value: int

    def copy(self) -> Rec:
        return Rec(self.instrument_id, self.value)


class Hand:
    """A spawner whose coroutines run until they wait for `gate`."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    def spawn(
        self,
        coroutine: Coroutine[Any, Any, Any],
        on_done: Callable[[], None],
        on_error: Callable[[Exception], None],
    ) -> asyncio.Task[Any]:
        task = self.loop.create_task(coroutine)

        def ended(finished: asyncio.Task[Any]) -> None:
            error = finished.exception()
            if error is None:
                on_done()
            elif isinstance(error, Exception):
                on_error(error)

        task.add_done_callback(ended)
        return task

    def turn(self) -> None:
        for _ in range(6):
            self.loop.run_until_complete(asyncio.sleep(0))


def run(conflate: bool, records: list[Rec]) -> tuple[list[tuple[int, int]], int, list[Exception]]:
    hand = Hand()
    seen: list[tuple[int, int]] = []
    errors: list[Exception] = []
    dropped = 0
    gate = asyncio.Event()

    async def handler(record: Rec) -> None:
        if record.value < 0:
            raise ValueError("bad")
        seen.append((record.instrument_id, record.value))
        await gate.wait()

    def count() -> None:
        nonlocal dropped
        dropped += 1

    wrapped = AsyncHandler(handler, hand, errors.append, conflate=conflate, on_conflated=count)
    borrowed = Rec(0, 0)
    for record in records:
        borrowed.instrument_id, borrowed.value = record.instrument_id, record.value
        wrapped(borrowed)
        hand.turn()
    assert len(seen) <= 1
    gate.set()
    for _ in range(len(records)):
        hand.turn()
    assert not wrapped.is_busy
    assert wrapped.waiting == 0
    hand.loop.close()
    return seen, dropped, errors


def test_waiting_books_are_conflated_per_instrument() -> None:
    seen, dropped, _ = run(True, [Rec(1, 1), Rec(1, 2), Rec(2, 3), Rec(1, 4), Rec(2, 5)])
    assert seen == [(1, 1), (1, 4), (2, 5)]
    assert dropped == 2


def test_waiting_trades_keep_their_order() -> None:
    seen, dropped, _ = run(False, [Rec(1, n) for n in range(5)])
    assert seen == [(1, n) for n in range(5)]
    assert dropped == 0


def test_a_full_queue_loses_the_oldest_and_says_so() -> None:
    seen, dropped, _ = run(False, [Rec(1, n) for n in range(QUEUE_LIMIT + 3)])
    assert dropped == 2
    assert seen[1] == (1, 3)


def test_an_exception_is_handed_on_and_what_waits_is_dropped() -> None:
    seen, _, errors = run(False, [Rec(1, -1)])
    assert seen == []
    assert [str(e) for e in errors] == ["bad"]
