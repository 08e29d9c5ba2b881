"""What venues share that log clients in on a websocket: sessions, channels, rolling limits."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from tools.venues.protocol import HttpReply, Subscriber
from tools.venues.trading.accounts import Account
from tools.venues.trading.desk import Job, Origin, VenueTrading
from tools.venues.trading.keys import ApiKey


class RollingLimit:
    """At most `limit` units in any `period_ms`; 0 = no limit, it only counts."""

    def __init__(self, limit: int, period_ms: int) -> None:
        self.limit = limit
        self.period_ms = period_ms
        self.used = 0
        self.used_max = 0
        self._taken: deque[tuple[int, int]] = deque()

    def turn(self, now_ms: int) -> None:
        """Forget what was taken longer ago than the period."""
        while self._taken and now_ms - self._taken[0][0] >= self.period_ms:
            self.used -= self._taken.popleft()[1]

    def take(self, units: int, now_ms: int) -> bool:
        """Take units, or refuse and take none."""
        self.turn(now_ms)
        if self.limit and self.used + units > self.limit:
            return False
        self.used += units
        self.used_max = max(self.used_max, self.used)
        self._taken.append((now_ms, units))
        return True

    def left_ms(self, now_ms: int) -> int:
        """How long until the oldest units are given back."""
        return max(0, self._taken[0][0] + self.period_ms - now_ms) if self._taken else 0


@dataclass(slots=True)
class Session:
    """A logged-in connection: whose it is and what it listens to."""

    key: ApiKey
    channels: set[str] = field(default_factory=set)


class SessionTrading(VenueTrading):
    """A venue whose order socket and private streams are logged in by a message."""

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.sessions: dict[Subscriber, Session] = {}
        self.answered_429 = 0
        self._limits: dict[tuple[str, ...], RollingLimit] = {}

    # ---- sessions ------------------------------------------------------------------------------

    def log_in(self, client: Subscriber, key: ApiKey) -> None:
        """Let a connection act for a key's account."""
        self.sessions[client] = Session(key)

    def on_leave(self, client: Subscriber) -> None:
        """Forget a connection."""
        self.sessions.pop(client, None)

    def listeners(self, account: str, channel: str) -> Iterable[Subscriber]:
        """The connections of an account that listen to a channel."""
        return [
            client
            for client, session in self.sessions.items()
            if session.key.account == account and channel in session.channels
        ]

    def expire(self, is_told: bool) -> int:
        """End all logins: told, the connections end with them; untold, they just count no more."""
        clients = list(self.sessions)
        self.sessions.clear()
        for client in clients if is_told else ():
            self.say_goodbye(client)
        return len(clients)

    @abstractmethod
    def say_goodbye(self, client: Subscriber) -> None:
        """End a connection whose login has ended, as the venue does."""

    def account_of(self, key: ApiKey) -> Account:
        """The account of a key."""
        return self.desk.exchange.accounts[key.account]

    # ---- limits --------------------------------------------------------------------------------

    def take(self, name: tuple[str, ...], limit: int, period_ms: int, units: int) -> RollingLimit | None:
        """Take units of a limit, made when first asked for; the limit when it is exceeded."""
        found = self._limits.get(name)
        if found is None:
            found = self._limits[name] = RollingLimit(round(limit * self.factor), period_ms)
        if not units or found.take(units, self.desk.clock_ms()):
            return None
        self.answered_429 += 1
        return found

    def limit(self, name: tuple[str, ...]) -> RollingLimit | None:
        """A limit that was taken from before."""
        return self._limits.get(name)

    def statistics(self) -> dict[str, object]:
        """Return what was used of the limits at most, and how often they were met."""
        used: dict[str, int] = {}
        for name, limit in self._limits.items():
            used[name[0]] = max(used.get(name[0], 0), limit.used_max)
        return {
            "answered_429": self.answered_429,
            "sessions": len(self.sessions),
            **{f"{name}_max": value for name, value in sorted(used.items())},
        }

    # ---- REST ----------------------------------------------------------------------------------

    def later(self, job: Job, reply: Callable[[object], HttpReply]) -> HttpReply | Awaitable[HttpReply]:
        """Submit a REST request's job; `reply` renders what its own answer makes."""
        future: asyncio.Future[HttpReply] = asyncio.get_running_loop().create_future()

        def deliver(answer: object) -> None:
            if not future.done() and isinstance(answer, HttpReply):
                future.set_result(answer)

        answer = job.answer
        job.answer = lambda results: reply(answer(results))
        self.desk.submit(Origin(deliver, lambda: deliver(HttpReply(0, b""))), job)
        return future.result() if future.done() else future
