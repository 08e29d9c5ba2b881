"""What an arriving order takes when orders of ours rest on the other side.

Price-time priority: a better price first; at one price the displayed quantity that stands in front of a
resting order (`ahead`), then the order, then what is displayed behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from exec.simulator.depth import Depth, Level
from exec.simulator.queue_position import RestingOrder
from shm.enums import Side

_BUY, _SELL = int(Side.BUY), int(Side.SELL)


class SelfTrade(IntEnum):
    """What happens when an arriving order would meet a resting one of its own account."""

    REJECT = 0  # the arriving one is refused before anything happens
    ALLOW = 1  # they trade
    EXPIRE_TAKER = 2  # the arriving one ends there, with what it took before
    EXPIRE_MAKER = 3  # the resting one ends, the arriving one goes on
    EXPIRE_BOTH = 4


@dataclass(slots=True)
class Step:
    """One thing an arriving order does: take displayed quantity, or meet a resting order (or end it)."""

    price: int
    units: int
    maker: RestingOrder | None = None
    ends_maker: bool = False


@dataclass(slots=True)
class Meeting:
    """What an arriving order would do, in order; `units` is what it would take."""

    steps: list[Step] = field(default_factory=list)
    units: int = 0
    is_refused: bool = False
    ends_taker: bool = False


def plan_meeting(
    depth: Depth, resting: Sequence[RestingOrder], order: RestingOrder, limit: int, units: int
) -> Meeting:
    """Plan what an order takes of displayed levels and of our resting orders on the other side.

    Args:
        depth: displayed levels, without our orders.
        resting: our orders on the other side, best first.
        order: the arriving one; its account and self-trade mode count.
        limit: its price; 0 = any price.
        units: its quantity.
    """
    found = Meeting()
    reached = [one for one in resting if not limit or _reaches(order.side, limit, one.price)]
    if order.self_trade == SelfTrade.REJECT and any(one.account == order.account for one in reached):
        found.is_refused = True
        return found
    levels = depth.walk(order.side, limit, _everything(depth, order.side))
    for price, displayed in _merged(order.side, levels, reached):
        left = displayed
        for maker in reached:
            if maker.price != price or found.ends_taker or found.units == units:
                continue
            ahead = displayed if maker.ahead is None else maker.ahead
            part = min(left, max(0, ahead - (displayed - left)), units - found.units)
            left -= part
            _add(found, price, part)
            if found.units < units:
                _meet(found, order, maker, units)
        if found.ends_taker or found.units == units:
            break
        _add(found, price, min(left, units - found.units))
        if found.units == units:
            break
    return found


def _reaches(side: int, limit: int, price: int) -> bool:
    return price <= limit if side == _BUY else price >= limit


def _everything(depth: Depth, side: int) -> int:
    return sum(quantity for _, quantity in depth.side(_SELL if side == _BUY else _BUY))


def _merged(side: int, levels: Sequence[Level], reached: Sequence[RestingOrder]) -> list[Level]:
    by_price = dict(levels)
    for one in reached:
        by_price.setdefault(one.price, 0)
    return sorted(by_price.items(), reverse=side != _BUY)


def _add(found: Meeting, price: int, units: int) -> None:
    if units > 0:
        found.steps.append(Step(price, units))
        found.units += units


def _meet(found: Meeting, order: RestingOrder, maker: RestingOrder, units: int) -> None:
    mode = order.self_trade if maker.account == order.account else int(SelfTrade.ALLOW)
    if mode in (SelfTrade.ALLOW, SelfTrade.REJECT):
        part = min(maker.leaves, units - found.units)
        found.steps.append(Step(maker.price, part, maker))
        found.units += part
        return
    if mode in (SelfTrade.EXPIRE_MAKER, SelfTrade.EXPIRE_BOTH):
        found.steps.append(Step(maker.price, 0, maker, ends_maker=True))
    found.ends_taker = mode in (SelfTrade.EXPIRE_TAKER, SelfTrade.EXPIRE_BOTH)
