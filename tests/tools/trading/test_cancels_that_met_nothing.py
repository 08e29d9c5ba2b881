"""Cancels of orders that the venue does not know any more: they do not starve the question that ends it."""

from __future__ import annotations

import pytest

from shm.enums import OrderStatus
from tests.tools.trading.pair_kit import BUY, MS, ORDERS, PRIVATE, SECOND
from tests.tools.trading.scenes import ALL_SCENES
from tests.tools.trading.test_scarce_rates import LONG, rates_of


@pytest.mark.parametrize("share", [0.05, 1.0])
def test_who_cancels_again_and_again_what_the_venue_does_not_know_does_not_hold_up_the_answer(
    share: float,
) -> None:
    scene = ALL_SCENES["binance_usdm"]
    pair = scene.make()
    pair.session.rates = rates = rates_of(pair, share)
    pair.session.start(pair.now_ns)
    pair.run(LONG)
    orders = [pair.order(BUY, 100, scene.bid - 5 - i) for i in range(3)]
    pair.run(LONG)
    assert [order.status for order in orders] == [OrderStatus.NEW] * 3
    pair.may_connect = False
    for channel in (ORDERS, PRIVATE):
        pair.cut(channel)
    pair.run(10 * MS)
    for theirs in list(pair.exchange.accounts["main"].open_orders.values()):
        pair.exchange.cancel(theirs, pair.now_ns)
    pair.may_connect = True
    while not rates.take((("weight_1m", 1),), 0, 0, pair.now_ns):
        pass
    for _ in range(120 * 20):
        for order in orders:
            if not order.is_terminal and not order.is_pending_cancel:
                pair.cancel(order)
        pair.run(SECOND // 20)
        if pair.session.is_connected:
            break
    assert pair.session.is_connected
    assert [order.status for order in orders] == [OrderStatus.CANCELED] * 3
    pair.agree()
