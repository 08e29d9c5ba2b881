"""The venues' own cancel-all timers, kept from running out for one account."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import ceil
from typing import Final

from engine.venue_client import Socket, VenueClient
from exec.order_protocol import Channel

#: How often it is looked which instruments have orders that no timer guards yet.
LOOK_NS: Final = 100_000_000
#: A timer is set anew when so much of it has passed.
SHARE: Final = 1 / 3
#: No more than this part of what the venue grants for good goes into that: else many timers, or a small
#: `rate_share`, would leave nothing for the questions behind a restart. The timers then run for longer.
RATE_PART: Final = 1 / 2
AGAIN_S: Final = 1.0
IDLE_S: Final = 10.0


class DeadMan:
    """One account's timers: armed at the first order of an instrument, set anew while `keep` is called.

    A symbol that has no orders any more is disarmed at the next time, so that its timer takes nobody's manual
    orders while the engine is well.

    Args:
        client: of the account.
        timeout_s: of the timers.
        tell: told what fails.
        on_set: told how many timers were set.
    """

    def __init__(
        self,
        client: VenueClient,
        timeout_s: float,
        tell: Callable[[str], None],
        on_set: Callable[[int], None],
    ) -> None:
        self.client = client
        self._timeout_s = timeout_s
        self._tell = tell
        self._on_set = on_set
        self._wanted_s = timeout_s
        self._armed: set[str] = set()
        self._seen: set[str] = set()
        self._look_due = self._due = 0
        self._task: asyncio.Task[None] | None = None
        self._fails = False
        self._line: asyncio.Task[None] | None = None

    def hold(self) -> None:
        """Hold the connection that some venues have in the place of a timer; open it again if it was lost."""
        if not self.client.protocol.dead_man_option:
            return
        if self._line is None or self._line.done():
            self._line = asyncio.ensure_future(self._hold())

    def let_go(self) -> None:
        """Drop that connection: the venue cancels after its window."""
        if self._line is not None:
            self._line.cancel()
            self._line = None

    async def _hold(self) -> None:
        async with Socket(self.client, Channel.PRIVATE_STREAM) as socket:
            client = self.client
            frames = client.protocol.subscribes(client.take_id(8), client.utc_ns())
            if not socket.is_up or not all(socket.send(frame) for frame in frames):
                self._tell(f"{client.name}: {client.error or 'the private stream can not be subscribed'}")
                await asyncio.sleep(AGAIN_S)
                return
            self._on_set(1)
            ping_s = client.protocol.ping_s or IDLE_S
            while socket.is_connected:
                ping = client.protocol.ping(client.utc_ns())
                if ping:
                    socket.send(ping)
                await asyncio.sleep(ping_s)

    def is_due(self, now_ns: int) -> bool:
        """Whether `keep` may have something to do."""
        return now_ns >= self._look_due

    def keep(self, now_ns: int, resting: set[str]) -> None:
        """Set the timers anew if it is time, and arm those of symbols that just got orders.

        Args:
            now_ns: monotonic time.
            resting: the venue's symbols that have orders.
        """
        self._look_due = now_ns + LOOK_NS
        self._seen |= resting
        if self._task is not None and not self._task.done():
            return
        fresh = resting - self._armed
        if now_ns >= self._due:
            self._pace()
            self._due = now_ns + int(self._timeout_s * SHARE * 1e9)
            dropped, wanted = self._armed - self._seen, set(self._seen)
            self._seen = set(resting)
            self._task = asyncio.ensure_future(self._set(dropped, wanted))
        elif fresh:
            self._task = asyncio.ensure_future(self._set(set(), fresh))

    def _pace(self) -> None:
        """Let the timers run for so long that setting them takes its part of the limits and no more."""
        timeout_s = self._wanted_s
        if self._seen:
            lasting_s = float(ceil(self.client.dead_man_s(self._seen) / RATE_PART / SHARE))
            timeout_s = max(timeout_s, min(lasting_s, self.client.protocol.dead_man_max_s))
        if timeout_s != self._timeout_s:
            self._timeout_s = timeout_s
            self._tell(
                f"{self.client.name}: the venue's timers run for {timeout_s:g} s, as its limits allow for "
                f"{len(self._seen)} of them"
            )

    async def _set(self, dropped: set[str], wanted: set[str]) -> None:
        if dropped and await self.client.dead_man(0, dropped):
            self._armed -= dropped
        if not wanted:
            return
        if await self.client.dead_man(self._timeout_s, wanted):
            self._armed |= wanted
            self._on_set(len(wanted))
            self._fails = False
        elif not self._fails:
            self._fails = True
            self._tell(f"{self.client.name}: the venue's timer is not set: {self.client.error}")

    async def disarm(self) -> None:
        """Switch all timers off."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        if self._armed and await self.client.dead_man(0, self._armed):
            self._armed.clear()

    async def close(self) -> None:
        """Let the timers run."""
        tasks = [task for task in (self._task, self._line) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
