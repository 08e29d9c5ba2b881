"""The private stream gets a new socket before the venue ends the old one; orders are traded throughout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from exec.venue_commands import SessionTimes
from shm.enums import OrderStatus
from tests.tools.trading import test_bybit_trading, test_okx_trading
from tests.tools.trading.pair_kit import BUY, MS, POST_ONLY, SECOND, SELL, SPARE, Pair

MAKERS: dict[str, tuple[Callable[..., Pair], str]] = {
    "okx": (test_okx_trading.make, "BTC-USDT-SWAP"),
    "bybit": (test_bybit_trading.make, "linear/BTCUSDT"),
}
LIFE_NS = 5 * SECOND


def trade(pair: Pair, key: str, bid: int, ask: int, rounds: int) -> None:
    """Rest on both sides, be filled in two parts, amend and cancel; 100 ms a round."""
    for number in range(rounds):
        pair.book(key, bid, ask, 1000)
        seller, buyer = (
            pair.order(SELL, 100, ask, flags=POST_ONLY),
            pair.order(BUY, 200, bid, flags=POST_ONLY),
        )
        pair.run(30 * MS)
        for units in (1040, 60):
            pair.port.trade(key, ask, units, True)
            pair.desk.on_market()
            pair.run(7 * MS + number * MS // 8)
        pair.replace(buyer, bid - 10, 150)
        pair.run(20 * MS)
        pair.cancel(buyer)
        pair.run(40 * MS)
        assert (seller.status, buyer.status) == (OrderStatus.FILLED, OrderStatus.CANCELED)


@pytest.mark.parametrize("name", list(MAKERS))
def test_a_stream_that_is_replaced_in_time_costs_no_fill_and_no_doubt(name: str) -> None:
    make, key = MAKERS[name]
    module: Any = test_okx_trading if name == "okx" else test_bybit_trading
    pair = make(times=SessionTimes(rotate_ns=3 * SECOND, stream_ns=500 * MS))
    pair.life_ns = LIFE_NS
    pair.up()
    trade(pair, key, module.BID, module.ASK, 200)
    pair.run(2 * SECOND)
    counts = pair.session.counts
    assert counts.rotations >= 4
    assert (counts.reconnects, counts.stale_streams, counts.discrepancies) == (0, 0, 0), pair.events
    assert not [one for one in pair.reports if one.order_status == OrderStatus.UNKNOWN]
    fills = pair.exchange.accounts["main"].fills
    assert sum(1 for one in pair.reports if one.last_units) == len(fills) >= 200
    pair.agree()


def test_without_a_new_socket_the_same_venue_makes_doubts() -> None:
    make, _ = MAKERS["okx"]
    pair = make(times=SessionTimes(rotate_ns=0))
    pair.life_ns = LIFE_NS
    pair.up()
    pair.placed(BUY, 100, test_okx_trading.BID - 50)
    pair.run(6 * SECOND)
    assert pair.session.counts.reconnects == 1
    assert [one for one in pair.reports if one.order_status == OrderStatus.UNKNOWN]
    pair.agree()


def test_a_spare_socket_that_never_stands_leaves_the_first_one_in_force() -> None:
    make, _ = MAKERS["okx"]
    pair = make(times=SessionTimes(rotate_ns=3 * SECOND)).up()
    pair.may_connect = False
    pair.run(10 * SECOND)
    assert pair.session.is_connected
    order = pair.placed(BUY, 100, test_okx_trading.BID - 50)
    assert order.status == OrderStatus.NEW
    pair.may_connect = True
    pair.run(30 * SECOND)
    assert pair.session.counts.rotations >= 1
    assert pair.session.counts.reconnects == 0


def test_a_spare_socket_that_is_cut_while_it_logs_in_is_tried_again() -> None:
    make, _ = MAKERS["okx"]
    pair = make(times=SessionTimes(rotate_ns=3 * SECOND)).up()
    for _ in range(3_000):
        if SPARE in pair.wires:
            break
        pair.run(1 * MS)
    pair.cut(SPARE)
    pair.run(1 * SECOND)
    assert SPARE not in pair.wires
    assert pair.session.counts.rotations == 0
    pair.run(4 * SECOND)
    assert pair.session.counts.rotations == 1
    assert pair.session.is_connected and pair.session.counts.reconnects == 0
