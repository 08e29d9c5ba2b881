"""A market whose queues are known order by order: what a venue knows and its market data do not tell.

One instrument, a touch that stands still, other people's orders that come, are withdrawn and are traded with
at random. Our orders stand among them; which of the others is withdrawn is the rule of the market.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from exec.shadow import Shadow, Terms
from shm.enums import Liquidity, OrderStatus, ReportKind, Side
from tests.exec.scene import linear

MS = 1_000_000
BID, ASK = 100_000, 100_010
BUY, SELL = int(Side.BUY), int(Side.SELL)
#: Large, because the simulator rounds each decrease in front of an order down to whole units.
LOT = 1_000
UNITS = 5 * LOT
DEPTH_MIN = 8

#: (orders in the queue of one price, ours among them, chance) → index of the one that is withdrawn.
Rule = Callable[[list["Resting"], random.Random], int]


@dataclass(slots=True)
class Resting:
    """One order at the touch; `ours` is its client order id, 0 = somebody else's."""

    units: int
    ours: int = 0


def anywhere(queue: list[Resting], chance: random.Random) -> int:
    """Each unit of the queue is as likely to be withdrawn: what `probability:power:1` takes the mean of."""
    at = chance.randrange(sum(one.units for one in queue if not one.ours))
    for index, one in enumerate(queue):
        if not one.ours:
            at -= one.units
            if at < 0:
                return index
    raise AssertionError("an empty queue")


def at_the_end(queue: list[Resting], chance: random.Random) -> int:  # noqa: ARG001
    """The newest goes first: nobody in front of us ever leaves."""
    return next(i for i in range(len(queue) - 1, -1, -1) if not queue[i].ours)


def in_front(queue: list[Resting], chance: random.Random) -> int:  # noqa: ARG001
    """The oldest goes first."""
    return next(i for i in range(len(queue)) if not queue[i].ours)


@dataclass
class FifoMarket:
    """The market, a trader who quotes both sides, and a shadow that sees what is published.

    Args:
        shadow: gets the market data and the trader's orders and reports.
        seed: of everything.
        rule: who is withdrawn; may be changed while it runs.
        delay_ns: of market data and reports, from the venue to us; commands take none.
        life_ms: about how long an order of ours may rest.
        book_every: the book is published each so many milliseconds, trades always.
    life_ms: about how long an order of ours may rest.
    book_every: the book is published each so many milliseconds, trades always.
    """

    shadow: Shadow
    seed: int
    rule: Rule
    delay_ns: int = 0
    life_ms: int = 120
    book_every: int = 1
    now_ns: int = 1_000_000_000
    queues: dict[int, list[Resting]] = field(default_factory=dict)
    sent: dict[int, int] = field(default_factory=dict)  # by side: the id of our order that rests
    ends: dict[int, int] = field(default_factory=dict)  # by side: when it is canceled
    orders: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.queues = {
            side: [Resting(self.chance.randint(1, 10) * LOT) for _ in range(DEPTH_MIN)]
            for side in (BUY, SELL)
        }
        self.shadow.add_instrument(linear(maker_fee_e8=0, taker_fee_e8=0), 32)
        self.publish_book()

    def run(self, orders: int, until: Callable[[], bool] = lambda: False) -> None:
        """Go on until so many orders more were sent, or until something is so."""
        wanted = self.orders + orders
        while self.orders < wanted and not until():
            self.step()

    def step(self) -> None:
        """A millisecond: something may happen at either side, then the trader acts."""
        self.now_ns += MS
        for side in (BUY, SELL):
            self._happen(side)
        if self.now_ns // MS % self.book_every == 0:
            self.publish_book()
        for side in (BUY, SELL):
            order_id = self.sent.get(side)
            if order_id is None:
                self._send(side)
            elif self.now_ns >= self.ends[side]:
                self._cancel(side, order_id)

    def _happen(self, side: int) -> None:
        queue, chance = self.queues[side], self.chance
        others = sum(not one.ours for one in queue)
        roll = chance.random()
        if roll < 0.40 or others < DEPTH_MIN:
            queue.append(Resting(chance.randint(1, 10) * LOT))
        elif roll < 0.72:
            queue.pop(self.rule(queue, chance))
        elif roll < 0.80:
            self._trade(side, chance.randint(1, 12) * LOT)

    def _trade(self, side: int, units: int) -> None:
        queue = self.queues[side]
        price = BID if side == BUY else ASK
        # Our own quantity is in front of nobody who could fill the shadow: it is printed all the same.
        left = units
        while left and queue:
            part = min(left, queue[0].units)
            left -= part
            queue[0].units -= part
            ours = queue[0].ours
            if not queue[0].units:
                queue.pop(0)
                if ours:
                    del self.sent[side]
            if ours:
                self._report(ours, ReportKind.FILL, self._leaves(ours), part, price)
        aggressor = SELL if side == BUY else BUY
        self.shadow.on_trade(0, price, units - left, aggressor, self.now_ns + self.delay_ns)

    def _leaves(self, order_id: int) -> int:
        return sum(one.units for queue in self.queues.values() for one in queue if one.ours == order_id)

    def _send(self, side: int) -> None:
        self.orders += 1
        order_id = self.orders
        self.queues[side].append(Resting(UNITS, order_id))
        self.sent[side] = order_id
        self.ends[side] = self.now_ns + self.chance.randint(self.life_ms // 2, self.life_ms * 2) * MS
        self.shadow.on_new(Terms(order_id, 0, side, BID if side == BUY else ASK, UNITS), self.now_ns)
        self._report(order_id, ReportKind.NEW, UNITS, 0, 0)

    def _cancel(self, side: int, order_id: int) -> None:
        self.queues[side] = [one for one in self.queues[side] if one.ours != order_id]
        del self.sent[side]
        self.shadow.on_cancel(order_id, self.now_ns)
        self._report(order_id, ReportKind.CANCELED, 0, 0, 0)

    def _report(self, order_id: int, kind: int, leaves: int, units: int, price: int) -> None:
        status = {
            int(ReportKind.NEW): OrderStatus.NEW,
            int(ReportKind.CANCELED): OrderStatus.CANCELED,
        }.get(int(kind), OrderStatus.PARTIALLY_FILLED if leaves else OrderStatus.FILLED)
        ack_ns = self.now_ns + max(self.delay_ns, 1)
        report: Any = SimpleNamespace(
            kind=int(kind), order_status=int(status), client_order_id=order_id, orig_client_order_id=0,
            instrument_id=0, liquidity=int(Liquidity.MAKER) if units else 0, leaves_units=leaves,
            last_units=units, last_price_units=price, fee_units=0, send_ns=self.now_ns, ack_ns=ack_ns,
        )  # fmt: skip
        self.shadow.on_report(report, self.now_ns + self.delay_ns)

    def publish_book(self) -> None:
        """Show what other people want at the touch, as a venue that hides our own orders would."""
        levels = {
            side: sum(one.units for one in queue if not one.ours) for side, queue in self.queues.items()
        }
        now_ns = self.now_ns + self.delay_ns
        self.shadow.on_book(0, [(BID, levels[BUY])], [(ASK, levels[SELL])], now_ns)
