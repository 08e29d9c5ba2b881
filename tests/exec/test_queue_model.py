"""Queue models: between their bounds, as the formula says, in order of arrival; through sessions too."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exec.errors import SimulatorError
from exec.simulator.latency import Latency
from exec.simulator.queue_model import POWER_MAX, QueueModel, parse_queue_model
from exec.simulator.queue_position import RestingOrder
from shm.enums import OrderStatus
from tests.exec.scene import BUY, SELL, Scene

SHAPES = ("power:1", "power:2", "power:3", "power2:2", "power3:3", "log", "log2")
MODELS = ("no_queue", "risk_averse", *(f"probability:{shape}" for shape in SHAPES))
WHOLE = 1_000
BOOK = ([(1000, 50), (990, 70)], [(1010, 40), (1020, 60)])

Steps = Sequence[tuple[str, int]]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("show"), st.integers(0, 5_000)),
        st.tuples(st.just("trade"), st.integers(1, 800)),
        st.tuples(st.just("hide"), st.just(0)),
    ),
    max_size=30,
)


def joined(model: QueueModel, displayed: int | None, leaves: int = 10**9) -> RestingOrder:
    """An order that has just come to rest."""
    order = RestingOrder(1, 0, BUY, 1000, leaves)
    model.join(order, displayed, WHOLE)
    return order


def step(model: QueueModel, orders: Sequence[RestingOrder], what: str, number: int) -> list[int]:
    """One thing that happens at the price; returns fills."""
    if what == "trade":
        return model.trade(orders, number)
    for order in orders:
        model.show(order, None if what == "hide" else number)
    model.keep_turns(orders)
    return [0] * len(orders)


def float_probability(shape: str, front: float, back: float) -> float:
    """The published formula for a decrease behind us, as it is written."""
    name, _, n = shape.partition(":")
    if name == "power":
        return back ** int(n) / (back ** int(n) + front ** int(n))
    if name == "power2":
        return back ** int(n) / (back + front) ** int(n)
    if name == "power3":
        return 1 - (front / (front + back)) ** int(n)
    f = [math.log(1 + x / WHOLE) for x in (front, back, front + back)]
    return f[1] / (f[1] + f[0]) if name == "log" else f[1] / f[2]


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=60, deadline=None)
@given(displayed=st.integers(0, 5_000), steps=STEPS)
def test_probability_stays_between_no_queue_and_risk_averse_and_never_moves_back(
    shape: str, displayed: int, steps: Steps
) -> None:
    models = [parse_queue_model(name) for name in ("no_queue", f"probability:{shape}", "risk_averse")]
    orders = [joined(model, displayed) for model in models]
    filled, before = [0, 0, 0], displayed
    for what, number in steps:
        for i, (model, order) in enumerate(zip(models, orders, strict=True)):
            filled[i] += step(model, [order], what, number)[0]
        least, middle, most = (order.ahead for order in orders)
        assert least is not None and middle is not None and most is not None
        assert 0 == least <= middle <= most
        assert middle <= before
        assert filled[0] >= filled[1] >= filled[2]
        before = middle


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=80, deadline=None)
@given(
    front=st.integers(1, 10**7), back=st.integers(0, 10**7), traded=st.integers(0, 1000), left=st.floats(0, 1)
)
def test_a_decrease_moves_the_order_as_the_formula_says_within_a_unit(
    shape: str, front: int, back: int, traded: int, left: float
) -> None:
    model = parse_queue_model(f"probability:{shape}")
    order = joined(model, front)
    model.show(order, front + back)
    if traded:
        model.trade([order], traded)
    ahead = order.ahead
    assert ahead == max(0, front - traded)
    displayed = int(left * (front + back))
    model.show(order, displayed)
    change = front + back - displayed - traded
    expected = float(min(ahead, displayed))
    if change > 0 and ahead and displayed != front + back:
        behind = front + back - ahead
        p = float_probability(shape, ahead, behind)
        expected = ahead - (1 - p) * change + min(behind - p * change, 0.0)
        expected = max(0.0, min(expected, displayed))
    assert order.ahead is not None
    assert -1e-3 <= order.ahead - expected <= 1 + 1e-3


@pytest.mark.parametrize("shape", SHAPES)
def test_a_decrease_explained_by_trades_advances_once(shape: str) -> None:
    model = parse_queue_model(f"probability:{shape}")
    order = joined(model, 100)
    model.trade([order], 40)
    assert order.ahead == 60
    model.show(order, 60)
    assert order.ahead == 60


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=40, deadline=None)
@given(displayed=st.integers(0, 3_000), steps=STEPS, second=st.integers(0, 10), leaves=st.integers(1, 500))
def test_a_later_order_of_ours_never_overtakes_and_no_trade_fills_more_than_it_is(
    name: str, displayed: int, steps: Steps, second: int, leaves: int
) -> None:
    model = parse_queue_model(name)
    orders, shown = [joined(model, displayed, leaves)], displayed
    for number, (what, units) in enumerate(steps):
        shown = units if what == "show" else shown
        live = [order for order in orders if order.leaves]
        fills = step(model, live, what, units)
        assert sum(fills) <= (units if what == "trade" else 0)
        for order, part in zip(live, fills, strict=True):
            order.leaves -= part
        if number == second:
            orders.append(joined(model, shown, leaves))
        if len(orders) == 2 and all(order.leaves for order in orders):
            assert orders[0].ahead is not None and orders[1].ahead is not None
            assert orders[0].ahead <= orders[1].ahead


def test_what_changed_out_of_sight_advances_nobody_but_bounds_the_queue() -> None:
    model = parse_queue_model("probability:power:1")
    order = joined(model, 100)
    for displayed in (None, 400, 90):
        model.show(order, displayed)
    assert order.ahead == 100 - 100 * 310 // 400
    model.show(order, None)
    model.show(order, 15)
    assert order.ahead == 15


@pytest.mark.parametrize(
    "text",
    ["fifo", "probability:power", "probability:power:0", f"probability:power:{POWER_MAX + 1}",
     "probability:power:1.5", "probability:cubic", "risk_averse:2"],
)  # fmt: skip
def test_a_model_that_is_none_is_refused_with_what_there_is(text: str) -> None:
    with pytest.raises(SimulatorError, match="no_queue, risk_averse, probability"):
        parse_queue_model(text)


def filled_after(queue_model: str) -> int:
    """Units an order of 30 has after cancels in front or behind of it, and a trade."""
    scene = Scene(queue_model=queue_model)
    scene.book(*BOOK)
    order = scene.new(BUY, 1000, 30)
    scene.book([(1000, 110), (990, 70)], BOOK[1])
    scene.book([(1000, 60), (990, 70)], BOOK[1])
    scene.trade(1000, 40, SELL)
    return order.filled_units


def test_the_models_differ_at_the_venue_in_the_order_of_their_hopes() -> None:
    fills = [filled_after(name) for name in ("no_queue", "probability:power:1", "risk_averse")]
    assert fills == [30, 40 - (50 - 50 * 50 // 110), 0]


def test_a_feed_latency_lets_a_command_meet_the_market_as_it_will_be_seen_later() -> None:
    scene = Scene(entry_latency_ns=100, response_latency_ns=30, feed_latency_ns=50)
    scene.book(*BOOK)
    order = scene.new(BUY, 1010, 5)
    assert scene.session.next_due_ns() == scene.now_ns + 150
    scene.now_ns += 149
    scene.book([(1000, 50)], [(1030, 5)])
    assert order.status == OrderStatus.PENDING_NEW
    scene.now_ns += 1
    scene.settle()
    # The venue has moved away meanwhile; its word could be here 130 after, but it was known only at 150.
    assert order.status == OrderStatus.NEW and order.filled_units == 0


def test_without_a_feed_latency_the_same_order_meets_the_market_as_it_is_seen() -> None:
    scene = Scene(entry_latency_ns=100, response_latency_ns=30)
    scene.book(*BOOK)
    order = scene.new(BUY, 1010, 5)
    scene.now_ns += 149
    scene.book([(1000, 50)], [(1030, 5)])
    scene.settle()
    assert order.status == OrderStatus.FILLED


def test_messages_of_one_direction_do_not_overtake_each_other() -> None:
    class Falling(Latency):
        """1000, 900, 800, …"""

        left = 1_100

        def draw_ns(self) -> int:
            self.left -= 100
            return self.left

    scene = Scene()
    scene.session._entry = Falling()
    scene.book(*BOOK)
    orders = [scene.new(BUY, 990, 5) for _ in range(5)]
    scene.now_ns += 999
    scene.settle()
    assert all(order.status == OrderStatus.PENDING_NEW for order in orders)
    scene.now_ns += 1
    scene.settle()
    assert [order.venue_order_id for order in orders] == [1, 2, 3, 4, 5]
