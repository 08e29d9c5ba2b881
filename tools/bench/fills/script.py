"""The orders of the comparison: seeded, decided on the market as it was, the same for every simulator."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tools.bench.fills.market import BUY, SELL, Market

#: Orders of one class at a time; no two of a lane are out at once.
LANES = 4
SECOND_NS = 1_000_000_000
#: Class → ticks behind the touch (negative = through the opposite touch, IOC).
CLASSES = {"at touch": 0, "1 tick behind": 1, "2 ticks behind": 2, "crossing IOC": -2}
QUIET_NS = 200_000_000


@dataclass(slots=True, frozen=True)
class Scripted:
    """One order, canceled after its lifetime if anything of it is left.

    Args:
        number: from 1, of its class.
        lane: those of one lane follow each other.
        send_ns: when we decide.
        life_ns: until the cancel leaves us; 0 = IOC.
    """

    number: int
    lane: int
    side: int
    price: int
    units: int
    send_ns: int
    life_ns: int

    @property
    def is_ioc(self) -> bool:
        """Whether it never rests."""
        return not self.life_ns


def write_script(market: Market, ticks: int, seed: str, round_trip_ns: int) -> list[Scripted]:
    """Orders of one class over the whole recording.

    Args:
        market: prices come from its book at the moment of sending.
        ticks: behind the touch; below 0 an IOC that may walk so many ticks less one beyond the other touch.
        seed: of sides, quantities, lifetimes and pauses.
        round_trip_ns: longest time from a command to its report.
    """
    chance = random.Random(seed)
    tick, lot = market.instrument.tick_size, market.instrument.lot_size
    found: list[Scripted] = []
    begin_ns, end_ns = market.events[0].at_ns, market.events[-1].at_ns
    for lane in range(LANES):
        now_ns = begin_ns + chance.randrange(SECOND_NS, 3 * SECOND_NS)
        while True:
            life_ns = 0 if ticks < 0 else chance.choice((500, 1_500, 4_000, 8_000)) * 1_000_000
            after_ns = now_ns + life_ns + 2 * round_trip_ns + chance.randrange(QUIET_NS, SECOND_NS)
            if after_ns > end_ns:
                break
            index = market.index_at(now_ns)
            side = chance.choice((BUY, SELL))
            near = market.histories[side].best[index]
            far = market.histories[SELL if side == BUY else BUY].best[index]
            away = -tick if side == BUY else tick
            price = far - away * (-ticks - 1) if ticks < 0 else near + away * ticks
            shown = market.histories[SELL if side == BUY else BUY].quantity(index, far)
            most = max(1, 2 * shown // lot) if ticks < 0 else 1_000
            units = lot * chance.choice((1, chance.randrange(1, 101), chance.randrange(1, most + 1)))
            found.append(Scripted(0, lane, side, price, units, now_ns, life_ns))
            now_ns = after_ns
    found.sort(key=lambda order: order.send_ns)
    return [
        Scripted(i, o.lane, o.side, o.price, o.units, o.send_ns, o.life_ns) for i, o in enumerate(found, 1)
    ]
