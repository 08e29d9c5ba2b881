"""What holds at the simulated OKX and at the simulated Bybit alike: our session over our protocol of each."""

from __future__ import annotations

import pytest

from exec.keys import Keys
from shm.enums import OrderStatus, Reason, TimeInForce
from tests.tools.trading.pair_kit import BUY, MS, ORDERS, POST_ONLY, PRIVATE, REDUCE_ONLY, SECOND, SELL, Pair
from tests.tools.trading.scenes import DERIVATIVE, Scene
from tools.venues.trading.order_faults import Acts


def test_an_order_rests_is_amended_and_canceled(pair: Pair, scene: Scene) -> None:
    order = pair.placed(BUY, 150, scene.bid - 100)
    assert order.status == OrderStatus.NEW
    pair.replace(order, scene.bid - 50, 200)
    pair.run()
    assert (order.status, order.price_units, order.order_units) == (OrderStatus.NEW, scene.bid - 50, 200)
    pair.agree()
    pair.cancel(order)
    pair.run()
    assert (order.status, order.reason) == (OrderStatus.CANCELED, Reason.USER_CANCEL)


def test_what_is_taken_is_filled_level_by_level_and_paid_for(pair: Pair, scene: Scene) -> None:
    order = pair.placed(BUY, 1500, scene.ask + 5 * scene.step)
    assert (order.status, order.filled_units) == (OrderStatus.FILLED, 1500)
    assert order.fill_product == 1000 * scene.ask + 500 * (scene.ask + scene.step)
    fees = sum(report.fee_units for report in pair.reports if report.last_units)
    assert fees == sum(fill.fee_e8 for fill in pair.exchange.accounts["main"].fills) > 0
    assert pair.ledger.position_units(DERIVATIVE) == 1500


@pytest.mark.parametrize(
    ("crosses", "units", "tif", "flags", "status", "reason"),
    [
        (True, 100, TimeInForce.GTC, POST_ONLY, OrderStatus.CANCELED, Reason.POST_ONLY_WOULD_CROSS),
        (True, 30_000, TimeInForce.FOK, 0, OrderStatus.EXPIRED, Reason.FOK_NOT_FILLABLE),
        (False, 100, TimeInForce.IOC, 0, OrderStatus.EXPIRED, Reason.IOC_REMAINDER),
        (False, 100, TimeInForce.GTC, REDUCE_ONLY, OrderStatus.REJECTED, Reason.VENUE_REDUCE_ONLY),
        (False, 2 * 10**8, TimeInForce.GTC, 0, OrderStatus.REJECTED, Reason.VENUE_MARGIN),
    ],
)
def test_the_venue_ends_or_refuses_what_can_not_be(
    pair: Pair,
    scene: Scene,
    crosses: bool,
    units: int,
    tif: TimeInForce,
    flags: int,
    status: OrderStatus,
    reason: Reason,
) -> None:
    order = pair.placed(BUY, units, scene.ask if crosses else scene.bid, tif=tif, flags=flags)
    assert (order.status, order.reason) == (status, reason)


def test_a_connection_cut_between_order_and_answer_leaves_no_doubt_behind(pair: Pair, scene: Scene) -> None:
    order = pair.order(BUY, 100, scene.bid)
    pair.session.flush(pair.now_ns)
    pair.run(1 * MS)
    pair.cut(ORDERS)
    pair.cut(PRIVATE)
    pair.run(1 * MS)
    assert order.status == OrderStatus.UNKNOWN
    pair.run(3 * SECOND)
    assert order.status == OrderStatus.NEW


def test_fills_while_the_private_stream_was_gone_are_fetched(pair: Pair, scene: Scene) -> None:
    order = pair.placed(SELL, 100, scene.ask)
    pair.may_connect = False
    pair.cut(PRIVATE)
    pair.run(10 * MS)
    pair.port.trade(scene.key, scene.ask, 2000, True)
    pair.desk.on_market()
    pair.may_connect = True
    pair.run(5 * SECOND)
    assert (order.status, order.filled_units) == (OrderStatus.FILLED, 100)
    assert any(scene.fills_path in path for path in pair.paths)


def test_a_lost_request_is_rejected_only_after_the_venue_denied_it(pair: Pair, scene: Scene) -> None:
    acts = iter([Acts(is_lost=True)])
    pair.desk.faults.meet = lambda *_: next(acts, None)  # type: ignore[method-assign]
    order = pair.placed(BUY, 100, scene.bid)
    assert order.status == OrderStatus.PENDING_NEW
    pair.run(20 * SECOND)
    assert (order.status, order.reason) == (OrderStatus.REJECTED, Reason.NOT_RECEIVED)
    assert any(scene.question_path in path for path in pair.paths)


def test_a_login_that_ended_in_silence_is_renewed(pair: Pair, scene: Scene) -> None:
    assert pair.trading.expire(is_told=False) == 2
    order = pair.placed(BUY, 100, scene.bid)
    pair.run(10 * SECOND)
    assert pair.session.is_connected
    assert order.status in (OrderStatus.REJECTED, OrderStatus.NEW)
    assert pair.trading.expire(is_told=True) == 2
    pair.run(5 * SECOND)
    assert pair.placed(BUY, 100, scene.bid - scene.step).status == OrderStatus.NEW


def test_a_wrong_secret_stops_the_session(scene: Scene) -> None:
    pair = scene.make(keys=Keys("key-of-main", "another-secret", "phrase of main"))
    pair.session.start(pair.now_ns)
    pair.run(3 * SECOND)
    assert not pair.session.is_connected
    assert any(code in text for code in scene.access_codes for _, text in pair.events)
