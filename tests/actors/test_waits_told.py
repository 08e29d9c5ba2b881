"""What an account that may not quote yet waits for is in its note: also its sockets' turn to connect."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from actors.runtime.context import Context
from actors.venue_orders import VenueOrders
from exec.order_protocol import Channel
from exec.venue_waits import RateWaits
from shm.enums import RateLane
from shm.rate_rules import SECOND_NS
from tests.actors.test_order_link import NOW_NS, Host, link


def test_sockets_that_wait_for_their_turn_are_told_of_and_forgotten_once_they_stand() -> None:
    host, told = Host(), list[str]()
    made = link(host, connects="v.connects")
    for channel in (Channel.ORDER_SOCKET, Channel.PRIVATE_STREAM):
        made._gate(channel)
        connection = SimpleNamespace(is_connected=False)
        made._lines[channel] = cast(Any, SimpleNamespace(connection=connection))
    made.session = cast(Any, SimpleNamespace(waits=RateWaits(told.append), is_connected=False))
    orders = VenueOrders.__new__(VenueOrders)
    now_ns = [NOW_NS]
    orders._context = cast(Context, SimpleNamespace(now_ns=lambda: now_ns[0]))
    orders._links = [made]
    assert orders._waiting() == {}
    bucket = host.ledger.bucket("v.connects")
    for _ in range(100):  # what others still open within this time
        while not host.ledger.take(bucket, RateLane.CANCEL, 1, now_ns[0]):
            pass
        now_ns[0] += SECOND_NS // 10
        orders._waiting()
    text = orders._waiting()["main"]
    assert "s for rate: the sockets (2 of connects); " in text
    assert 1 <= len(told) <= 2
    for line in made._lines.values():
        line.connection.is_connected = True  # type: ignore[misc]
    assert orders._waiting() == {}
