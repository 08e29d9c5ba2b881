"""What a session asks a simulated venue after a cut, and what orders came to by that venue's own books."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from exec.client_ids import encode
from exec.order import Order
from shm.enums import OrderStatus, Reason
from tests.tools.trading.pair_kit import BUY, MS, ORDERS, PRIVATE, SECOND, SELL, TAG, Pair
from tests.tools.trading.scenes import ALL_SCENES, DERIVATIVE, Scene
from tools.venues.protocol import HttpReply, HttpRequest
from tools.venues.trading.order_faults import Acts

#: Beginnings of the paths by which open orders are listed, and by which one order is asked about.
LISTS = {"okx": "GET /api/v5/trade/orders-pending", "bybit": "GET /v5/order/realtime?category=linear&settle"}
QUESTIONS = {
    "okx": ("GET /api/v5/trade/order?",),
    "bybit": ("GET /v5/order/realtime?category=linear&symbol", "GET /v5/order/history"),
}


def questions(pair: Pair) -> list[str]:
    return [path for path in pair.paths if path.startswith(QUESTIONS[pair.protocol.name])]


def resting(pair: Pair, scene: Scene, count: int) -> list[Order]:
    return [pair.placed(BUY, 100, scene.bid - (5 + i) * scene.step) for i in range(count)]


def once(acts: Acts, at_least: int = 1) -> Callable[[str, str, int], Acts | None]:
    """That happens to the next request for so many new orders."""
    left = iter([acts])
    return lambda command, _, count: next(left, None) if command == "new" and count >= at_least else None


def test_orders_that_the_venue_lists_are_not_asked_about_one_by_one(pair: Pair, scene: Scene) -> None:
    orders = resting(pair, scene, 8)
    pair.paths.clear()
    pair.cut(ORDERS)
    pair.run(SECOND)
    assert pair.session.is_connected
    assert [order.status for order in orders] == [OrderStatus.NEW] * 8
    assert questions(pair) == []
    assert any(path.startswith(LISTS[pair.protocol.name]) for path in pair.paths)


def test_a_single_order_is_asked_about_where_the_list_would_cost_as_much(scene: Scene, pair: Pair) -> None:
    (order,) = resting(pair, scene, 1)
    pair.paths.clear()
    pair.cut(ORDERS)
    pair.run(SECOND)
    assert order.status == OrderStatus.NEW
    assert len(questions(pair)) == 1


def test_what_became_of_orders_while_nobody_listened_is_asked_about(pair: Pair, scene: Scene) -> None:
    """One filled in part, one filled whole, one canceled by hand, one that never arrived; four rest on."""
    part, whole = pair.placed(SELL, 100, scene.ask), pair.placed(BUY, 100, scene.bid)
    gone, *rest = resting(pair, scene, 5)
    pair.may_connect = False
    pair.desk.faults.meet = once(Acts(is_lost=True))  # type: ignore[assignment, method-assign]
    lost = pair.order(BUY, 100, scene.bid - 20 * scene.step)
    pair.run(1 * MS)
    for channel in (ORDERS, PRIVATE):
        pair.cut(channel)
    pair.run(10 * MS)
    pair.port.trade(scene.key, scene.ask, 1040, True)
    pair.port.trade(scene.key, scene.bid, 2000, False)
    pair.desk.on_market()
    theirs = pair.exchange.accounts["main"].open_orders.values()
    by_hand = next(one for one in theirs if one.terms.client_id == encode(gone.root_client_order_id, TAG))
    pair.exchange.cancel(by_hand, pair.now_ns)
    pair.paths.clear()
    pair.may_connect = True
    pair.run(3 * SECOND)
    assert pair.session.is_connected
    assert (part.status, part.filled_units) == (OrderStatus.PARTIALLY_FILLED, 40)
    assert (whole.status, gone.status) == (OrderStatus.FILLED, OrderStatus.CANCELED)
    assert (lost.status, lost.reason) == (OrderStatus.REJECTED, Reason.NOT_RECEIVED)
    assert [order.status for order in rest] == [OrderStatus.NEW] * 4
    assert pair.ledger.position_units(DERIVATIVE) == 100 - 40
    asked = [
        order
        for order in (part, whole, gone, lost, *rest)
        if any(encode(order.root_client_order_id, TAG) in path for path in questions(pair))
    ]
    assert asked == [whole, gone, lost], "what the venue lists is not asked about"


def test_a_list_that_is_refused_leaves_the_questions(pair: Pair, scene: Scene) -> None:
    orders = resting(pair, scene, 4)
    left, serve = [LISTS[pair.protocol.name].removeprefix("GET ").partition("?")[0]], pair._answer

    def refusing(asked: HttpRequest) -> HttpReply:
        if asked.path in left:
            left.remove(asked.path)
            return HttpReply(500, b"")
        return serve(asked)

    pair._answer = refusing  # type: ignore[method-assign]
    pair.paths.clear()
    pair.cut(ORDERS)
    pair.run(3 * SECOND)
    assert not left and pair.session.is_connected
    assert len(questions(pair)) == 4
    assert [order.status for order in orders] == [OrderStatus.NEW] * 4


@pytest.mark.parametrize("name", ALL_SCENES)
@pytest.mark.parametrize("done", [1, 3])
def test_of_a_batch_that_is_cut_in_its_midst_what_the_venue_took_rests_and_the_rest_is_not_received(
    name: str, done: int
) -> None:
    scene = ALL_SCENES[name]
    pair = scene.make().up()
    # Where single frames are faster, only what had to wait is batched.
    count = max(pair.protocol.batch_from, 4)
    pair.desk.faults.meet = once(Acts(cut_after=done), 2)  # type: ignore[assignment, method-assign]
    waits = iter([1 * MS] if pair.protocol.batch_from > 2 else [])
    pair.session.rates.take = lambda *_: next(waits, 0)  # type: ignore[method-assign]
    orders = [pair.order(BUY, 100, scene.bid - (5 + i) * scene.step) for i in range(count)]
    pair.run(SECOND)
    batch = min(count, pair.protocol.max_new_batch)
    assert pair.session.counts.batches == 1
    pair.run(4 * SECOND)
    assert pair.session.is_connected
    taken = [order.status == OrderStatus.NEW for order in orders]
    assert taken == [i < done or i >= batch for i in range(count)]
    assert {order.reason for order in orders[done:batch]} == {Reason.NOT_RECEIVED}
    pair.agree()
