"""Both sockets of an account are replaced before the venue ends them; orders are traded throughout."""

from __future__ import annotations

import pytest

from exec.order_protocol import Channel
from exec.venue_commands import SessionTimes
from shm.enums import OrderStatus
from tests.tools.trading.pair_kit import BUY, MS, ORDERS, POST_ONLY, SECOND, SELL, SPARE, Pair
from tests.tools.trading.scenes import SCENES

SPARE_ORDERS = Channel.SPARE_ORDERS
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


@pytest.mark.parametrize("name", list(SCENES))
def test_sockets_that_are_replaced_in_time_cost_no_fill_no_answer_and_no_doubt(name: str) -> None:
    scene = SCENES[name]
    pair = scene.make(times=SessionTimes(rotate_ns=3 * SECOND, stream_ns=500 * MS))
    pair.life_ns = LIFE_NS
    pair.up()
    trade(pair, scene.key, scene.bid, scene.ask, 200)
    pair.run(2 * SECOND)
    counts = pair.session.counts
    assert counts.rotations >= 4 and counts.order_rotations >= 4
    assert (counts.reconnects, counts.stale_streams, counts.discrepancies) == (0, 0, 0), pair.events
    assert (counts.timeouts, counts.late_answers) == (0, 0), pair.events
    assert not [one for one in pair.reports if one.order_status == OrderStatus.UNKNOWN]
    fills = pair.exchange.accounts["main"].fills
    assert sum(1 for one in pair.reports if one.last_units) == len(fills) >= 200
    pair.agree()


def test_without_a_new_socket_the_same_venue_makes_doubts() -> None:
    pair = SCENES["okx"].make(times=SessionTimes(rotate_ns=0))
    pair.life_ns = LIFE_NS
    pair.up()
    pair.placed(BUY, 100, SCENES["okx"].bid - 50)
    pair.run(6 * SECOND)
    assert pair.session.counts.reconnects == 1
    assert [one for one in pair.reports if one.order_status == OrderStatus.UNKNOWN]
    pair.agree()


def test_a_spare_socket_that_never_stands_leaves_the_first_one_in_force() -> None:
    pair = SCENES["okx"].make(times=SessionTimes(rotate_ns=3 * SECOND)).up()
    pair.may_connect = False
    pair.run(10 * SECOND)
    assert pair.session.is_connected
    order = pair.placed(BUY, 100, SCENES["okx"].bid - 50)
    assert order.status == OrderStatus.NEW
    pair.may_connect = True
    pair.run(30 * SECOND)
    assert pair.session.counts.rotations >= 1
    assert pair.session.counts.reconnects == 0


def test_a_spare_socket_that_is_cut_while_it_logs_in_is_tried_again() -> None:
    pair = SCENES["okx"].make(times=SessionTimes(rotate_ns=3 * SECOND)).up()
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


def test_an_answer_that_comes_by_the_old_order_socket_is_understood() -> None:
    scene = SCENES["okx"]
    pair = scene.make(times=SessionTimes(rotate_ns=3 * SECOND)).up()
    for _ in range(8_000):
        if SPARE_ORDERS in pair.wires:
            break
        pair.run(1 * MS)
    orders = []
    while pair.session.counts.order_rotations == 0:  # one on its way whenever the sockets change places
        orders.append(pair.order(BUY, 100, scene.bid - 50))
        pair.run(MS // 8)
    pair.run(1 * SECOND)
    assert {order.status for order in orders} == {OrderStatus.NEW}
    assert SPARE_ORDERS in pair.wires, "the old one stays as long as an answer may come"
    pair.run(2 * SECOND)
    assert SPARE_ORDERS not in pair.wires
    assert (pair.session.counts.timeouts, pair.session.counts.reconnects) == (0, 0)
    pair.agree()


def test_an_order_socket_that_dies_while_another_is_opened_costs_a_reconnection_as_ever() -> None:
    pair = SCENES["okx"].make(times=SessionTimes(rotate_ns=3 * SECOND)).up()
    for _ in range(8_000):
        if SPARE_ORDERS in pair.wires:
            break
        pair.run(1 * MS)
    pair.cut(ORDERS)
    pair.run(1 * SECOND)
    assert SPARE_ORDERS not in pair.wires
    assert pair.session.counts.reconnects == 1 and pair.session.is_connected
    assert pair.placed(BUY, 100, SCENES["okx"].bid - 50).status == OrderStatus.NEW
