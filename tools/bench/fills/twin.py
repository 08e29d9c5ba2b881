"""One order's life written out, with rules that can be ours or the peer's: what names a difference.

With no rule of theirs the twin must say what our simulator said, with all of them what hftbacktest said;
between the two each rule is turned alone, in front of the recorded market. Slow and obvious, floating point
where theirs is. Source of their rules: docs/order_fill.rst (PartialFillExchange) and
hftbacktest/src/backtest/{proc/partialfillexchange,proc/local,models/queue,depth/hashmapmarketdepth}.rs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from exec.simulator.queue_model import parse_queue_model
from exec.simulator.queue_position import RestingOrder
from tools.bench.fills.market import BUY, SELL, Market
from tools.bench.fills.ours import Outcome, Terms
from tools.bench.fills.script import Scripted

#: Rule of theirs → what it is, beside ours.
RULES = {
    "trade through fills whole": "a trade through the price fills all of it; ours up to what was traded",
    "crossing book fills whole": "a book that reaches the price fills all of it; ours what is displayed",
    "whole depth known": "the queue at any price is known; ours not beyond the levels that a slab shows",
    "levels one by one": "a level repeated unchanged counts as an update; ours only what changed",
    "queue below zero": "a decrease may take it below zero: the next trade fills more than it is",
    "floating point queue": "the queue is not rounded; ours is rounded against us, to whole units",
    "same moment": "of a command and data of one nanosecond the data come first; ours the command",
}
NAMES = tuple(RULES)
UNEXPLAINED = "unexplained"
SEVERAL = "several together"


@dataclass(slots=True)
class Life:
    """The twin's state of one order."""

    left: int
    ahead: float | None = None
    shown: int | None = None
    traded: float = 0
    fills: list[tuple[int, int, int]] = field(default_factory=list)
    is_over: bool = False

    def fill(self, at_ns: int, price: int, units: int) -> None:
        """Note a fill."""
        if units > 0:
            self.left -= units
            self.fills.append((at_ns, price, units))
            self.is_over = self.is_over or not self.left


class Twin:
    """Lives of orders under rules.

    Args:
        market: recorded.
        terms: latencies and queue model.
    """

    def __init__(self, market: Market, terms: Terms) -> None:
        self._market = market
        self._terms = terms
        self._shape = _shape(terms.model)
        self._model = parse_queue_model(terms.model)
        self._one = 10**market.instrument.quantity_exponent

    def live(self, order: Scripted, rules: frozenset[str]) -> Outcome:
        """What becomes of an order under these rules of theirs, all others ours."""
        events, entry_ns = self._market.events, self._terms.entry_ns
        late = "same moment" in rules
        arrive_ns = order.send_ns + entry_ns
        leave_ns = arrive_ns + order.life_ns
        index = self._market.index_at(arrive_ns if late else arrive_ns - 1)
        life = Life(order.units)
        self._enter(order, life, index, arrive_ns, rules)
        while not life.is_over:
            index += 1
            if index >= len(events) or events[index].at_ns > (leave_ns if late else leave_ns - 1):
                break
            self._meet(order, life, index, rules)
        notional = sum(price * units for _, price, units in life.fills)
        last_ns = life.fills[-1][0] if life.fills else 0
        return Outcome(order.units - life.left, notional, last_ns)

    def _enter(self, order: Scripted, life: Life, index: int, at_ns: int, rules: frozenset[str]) -> None:
        other = SELL if order.side == BUY else BUY
        for price, quantity in self._market.levels_to(index, other, order.price):
            life.fill(at_ns, price, min(quantity, life.left))
            if not life.left:
                return
        if order.is_ioc:
            life.is_over = True
            return
        life.shown = self._displayed(order, index, rules)
        life.ahead = None if life.shown is None else self._quantity(life.shown, rules)

    def _quantity(self, units: int, rules: frozenset[str]) -> float:
        """Whole coins or contracts in floating point, as theirs are, or units."""
        return units / self._one if "floating point queue" in rules else units

    def _displayed(self, order: Scripted, index: int, rules: frozenset[str]) -> int | None:
        """What we see at the price after an event."""
        history = self._market.histories[order.side]
        last = history.last_visible[index]
        is_hidden = last and (order.price < last if order.side == BUY else order.price > last)
        if is_hidden and "whole depth known" not in rules:
            return None
        return history.quantity(index, order.price)

    def _meet(self, order: Scripted, life: Life, index: int, rules: frozenset[str]) -> None:
        event = self._market.events[index]
        if event.aggressor:
            if event.aggressor != order.side:
                self._trade(order, life, index, rules)
            return
        other = SELL if order.side == BUY else BUY
        crossing = list(self._market.levels_to(index, other, order.price))
        if crossing:
            whole = "crossing book fills whole" in rules
            units = life.left if whole else min(life.left, sum(q for _, q in crossing))
            life.fill(event.at_ns, order.price, units)
            life.ahead = 0
            return
        self._show(order, life, index, rules)

    def _trade(self, order: Scripted, life: Life, index: int, rules: frozenset[str]) -> None:
        event = self._market.events[index]
        if event.price != order.price:
            if (order.price > event.price) if order.side == BUY else (order.price < event.price):
                whole = "trade through fills whole" in rules
                units = life.left if whole else min(life.left, event.quantity)
                life.fill(event.at_ns, order.price, units)
            return
        traded, lot = self._quantity(event.quantity, rules), self._quantity(1, rules)
        life.traded += traded
        if life.ahead is None:
            return
        life.ahead -= traded
        units = math.floor(-life.ahead / lot) if round(life.ahead / lot) < 0 else 0
        if "queue below zero" not in rules:
            units = min(units, event.quantity)
        if units:
            life.ahead = 0
        life.fill(event.at_ns, order.price, min(units, life.left))

    def _show(self, order: Scripted, life: Life, index: int, rules: frozenset[str]) -> None:
        shown = self._displayed(order, index, rules)
        if rules & {"floating point queue", "levels one by one", "queue below zero"}:
            self._show_theirs(order, life, index, shown, rules)
            return
        resting = RestingOrder(1, 0, order.side, order.price, life.left)
        resting.ahead = None if life.ahead is None else int(life.ahead)
        resting.shown, resting.traded, resting.whole_units = life.shown, int(life.traded), self._one
        self._model.show(resting, shown)
        life.ahead, life.shown, life.traded = resting.ahead, resting.shown, resting.traded

    def _show_theirs(
        self, order: Scripted, life: Life, index: int, shown: int | None, rules: frozenset[str]
    ) -> None:
        """The formula as it is published, for each time the message names the price."""
        names = sum(
            side == order.side and price == order.price
            for side, price, _ in self._market.events[index].changes
        )
        is_named = names > 0 if "levels one by one" in rules else shown != life.shown
        old, life.shown = life.shown, shown
        if shown is None:
            return
        now = self._quantity(shown, rules)
        if life.ahead is None or old is None:
            life.ahead = now if life.ahead is None else min(life.ahead, now)
            life.traded = 0
            return
        if not is_named:
            return
        before = self._quantity(old, rules)
        change, life.traded = before - now - life.traded, 0
        if self._shape is not None and change >= 0:
            front, back = life.ahead, before - life.ahead
            one = self._quantity(self._one, rules)
            p = _probability(self._shape, front / one, back / one)
            moved = front - (1 - p) * change + min(back - p * change, 0.0)
            # The lesser of no number and a number is the number there.
            life.ahead = now if math.isnan(p) else min(moved, now)
        else:
            life.ahead = min(life.ahead, now)
        if "queue below zero" not in rules:
            life.ahead = max(0, life.ahead)
        if "floating point queue" not in rules:
            life.ahead = math.ceil(life.ahead - 1e-9)


def _shape(model: str) -> tuple[str, int] | None:
    if not model.startswith("probability"):
        return None
    name, _, number = (model.partition(":")[2] or "power:1").partition(":")
    return name, int(number or 0)


def _probability(shape: tuple[str, int], front: float, back: float) -> float:
    """Of a decrease behind the order; the infinite counts as 1 and no number stays one, as in theirs."""
    name, n = shape
    if name == "power":
        return _over(back**n, back**n + front**n)
    if name == "power2":
        return _over(back**n, (back + front) ** n)
    if name == "power3":
        return 1 - _over(front, front + back) ** n
    if name == "log":
        return _over(_ln(back), _ln(back) + _ln(front))
    return _over(_ln(back), _ln(back + front))


def _over(part: float, whole: float) -> float:
    if whole:
        return part / whole
    return 1.0 if part else math.nan


def _ln(x: float) -> float:
    return math.log(1 + x) if x > -1 else math.nan


def same(one: Outcome, two: Outcome, units: int) -> bool:
    """Whether both filled the same quantity and, where that is all of it, at the same time."""
    if one.filled != two.filled:
        return False
    return one.filled < units or one.last_fill_ns == two.last_fill_ns


def explain(twin: Twin, order: Scripted, ours: Outcome, theirs: Outcome) -> str:
    """Name the rule that makes the difference of an order; `UNEXPLAINED` if the twin does not reach both."""
    if not same(twin.live(order, frozenset()), ours, order.units):
        return f"{UNEXPLAINED}: our twin disagrees with us"
    for count in (1, 2, 3):
        for rules in _sets(NAMES, count):
            if same(twin.live(order, rules), theirs, order.units):
                return " + ".join(name for name in NAMES if name in rules)
    if same(twin.live(order, frozenset(NAMES)), theirs, order.units):
        return SEVERAL
    return UNEXPLAINED


def _sets(names: Sequence[str], count: int) -> Iterable[frozenset[str]]:
    return map(frozenset, combinations(names, count))
