"""The ordered stop: who is asked what, how long it may take, who is replaced because it can not answer."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from engine.processes import Child
from engine.shutdown import ORDERS, PHASE_SHARE, QUOTING, Shutdown
from shm.enums import WorkerState


class Asked:
    """A worker's end of the link: notes what it is told, confirms the phases it can."""

    def __init__(self, name: str, shutdown: Shutdown, confirms: tuple[str, ...] = (QUOTING, ORDERS)) -> None:
        self.name, self.role, self.confirms = name, "gateway", confirms
        self.shutdown = shutdown
        self.told: list[dict[str, Any]] = []
        self.lifecycle = SimpleNamespace(state=WorkerState.RUNNING)
        self.exited = asyncio.Event()
        self.link = SimpleNamespace(send=self._send)

    def _send(self, message: dict[str, Any]) -> bool:
        self.told.append(message)
        if message["phase"] in self.confirms:
            self.shutdown.on_stopped(self.name, message["phase"])
        return True


def child(asked: Asked) -> Child:
    return cast(Child, asked)


def test_a_worker_is_told_how_long_it_has_less_than_it_is_waited_for() -> None:
    async def story() -> None:
        shutdown = Shutdown(20.0, lambda _text: None)
        worker = Asked("gateway", shutdown)
        assert await shutdown.phase([child(worker)], ORDERS) == []
        assert worker.told == [{"op": "stop", "phase": ORDERS, "limit_s": 20.0 * PHASE_SHARE}]
        assert worker.told[0]["limit_s"] < 20.0

    asyncio.run(story())


def test_a_gateway_that_does_not_confirm_that_nothing_rests_is_replaced_by_one_that_can() -> None:
    async def story() -> None:
        events: list[str] = []
        shutdown = Shutdown(0.05, events.append)
        hung = Asked("gateway", shutdown, confirms=(QUOTING,))
        revived: list[Asked] = []

        async def revive(one: Child) -> None:
            revived.append(cast(Asked, one))
            cast(Asked, one).confirms = (QUOTING, ORDERS)

        await shutdown.run([], [], [child(hung)], [child(hung)], revive)
        assert revived == [hung]
        assert [told["phase"] for told in hung.told] == [QUOTING, ORDERS, ORDERS]
        assert events == ["stop: gateway did not confirm phase orders"]
        assert shutdown.lacking([child(hung)], ORDERS) == []

    asyncio.run(story())


def test_whoever_asks_twice_waits_for_nobody_and_nobody_is_replaced() -> None:
    async def story() -> None:
        shutdown = Shutdown(60.0, lambda _text: None)
        hung = Asked("gateway", shutdown, confirms=())

        async def revive(_one: Child) -> None:
            raise AssertionError("no time for that")

        stopping = asyncio.ensure_future(shutdown.run([], [], [child(hung)], [child(hung)], revive))
        while not hung.told:
            await asyncio.sleep(0)
        shutdown.hurry()
        await stopping

    asyncio.run(story())
