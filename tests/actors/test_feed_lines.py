"""What a venue is told over its connections goes out no faster than it allows."""

from __future__ import annotations

import random
from collections.abc import Coroutine
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

from actors.feed_groups import FeedGroups
from actors.feed_lines import FeedLines
from feeds.adapter import StreamSettings
from feeds.venues import get_adapter
from tests.kit.feed_rig import Rig, plain

MS = 1_000_000


class Socket:
    """Takes what is sent, with its time."""

    is_disconnected = False

    def __init__(self, context: Context) -> None:
        self._context = context
        self.sent: list[tuple[int, bytes]] = []

    def send(self, _kind: object, message: bytes) -> None:
        self.sent.append((self._context.time_ns, message))


class Context:
    """As much of an actor's context as lines ask for; connections are made and never run."""

    def __init__(self) -> None:
        self.time_ns = 0
        self.random = random.Random(1)
        scheduler = SimpleNamespace(spawn=self._never_run)
        self.host = SimpleNamespace(share=lambda _name, make: make(), scheduler=scheduler)

    def now_ns(self) -> int:
        return self.time_ns

    def rate_budget(self, *_: object) -> None:
        return None

    @staticmethod
    def _never_run(work: Coroutine[Any, Any, None], *_: object) -> None:
        work.close()


def test_streams_that_are_begun_anew_keep_to_what_a_connection_may_send() -> None:
    context, adapter, settings = Context(), get_adapter("okx"), StreamSettings(with_mark=False)
    symbols = [f"A{i}-USDT-SWAP" for i in range(12)]
    rig = Rig([plain(symbol, venue="okx") for symbol in symbols], venue="okx")
    groups = FeedGroups(adapter, settings, adapter.connections(symbols, settings)[:1], 0, 0)
    lines = FeedLines(
        cast("Any", context), rig.session, adapter, groups, range(4), url="ws://h", lines=2, life_ns=0,
        per_second=3.0, rates={}, ssl_context=None, on_broken=lambda _: None,
    )  # fmt: skip
    lines.open()
    sockets = [Socket(context) for _ in lines.connections]
    for connection, socket in zip(lines.connections.values(), sockets, strict=True):
        cast("Any", connection)._transport = socket
    for symbol in symbols:
        lines.resubscribe(0, adapter.resubscribe(symbol, settings))
    for _ in range(1200):
        context.time_ns += 10 * MS
        lines.on_timer(context.time_ns)
    wanted = [message for symbol in symbols for message in adapter.resubscribe(symbol, settings)]
    for socket in sockets:
        assert [message for _, message in socket.sent if message != b"ping"] == wanted
        times = [at_ns for at_ns, message in socket.sent if message != b"ping"]
        least_ns = 1e9 / adapter.subscribe_per_second
        assert all(after - before >= least_ns for before, after in pairwise(times))
        assert times[-1] < 9000 * MS, "the last one is answered before the session's patience ends"
