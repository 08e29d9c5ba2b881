"""The router: how to split a marketable quantity over venues so that the expected total cost is least.

Each venue is an `Outlet`: the levels that can be taken, its taker fee, and what the way there costs. A
split is judged by its all-in cost (or, selling, its net proceeds): price × quantity, fees, and the expected
move of the market during the measured way to the venue. Levels get worse with depth, so each outlet's cost
is convex in its quantity; what makes the problem more than a merge of books are lots of different size and
minimum orders. It is solved exactly: branch and bound over the outlets with coarser lots and over which
outlets are used, with the divisible problem (a merge of the books) as the bound and, for the finest lots,
as the start of the answer (the cheapest next lot, again and again, is optimal for separable convex costs
and equal steps: Fox 1966, "Discrete optimization via marginal analysis", Management Science 13). What can
not be filled costs more than anything else, so the most that can be filled is.

All numbers are integers: quantities in a common fraction of the base currency, prices in a common exponent,
so contracts, exponents and multipliers of different venues compare exactly.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from operator import itemgetter

from exec.errors import OrderError
from shm.comparable import factor_power
from shm.enums import Side
from shm.instruments import Instrument

E8 = 10**8
OUTLETS_MAX = 8
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Outlet:
    """One place where the same thing can be had.

    Args:
        instrument: the venue's row (linear or spot).
        levels: (price_units, quantity_units) that can be taken, best first: asks to buy, bids to sell.
        taker_fee_e8: fee as a fraction of notional × 10^8; None = the row's own.
        latency_ns: measured time from here until the venue matches.
        drift_e8_per_s: expected adverse move while under way, as a fraction of the price × 10^8 per second.
        max_units: most that may go there (a limit of risk or balance); 0 = no limit of ours.
    """

    instrument: Instrument
    levels: Sequence[tuple[int, int]]
    taker_fee_e8: int | None = None
    latency_ns: int = 0
    drift_e8_per_s: int = 0
    max_units: int = 0


@dataclass(frozen=True, slots=True)
class Leg:
    """What one outlet shall get.

    Args:
        outlet: index in the sequence that was passed.
        quantity_units: in the outlet's own unit.
        limit_price_units: the worst level it reaches: a limit (IOC) at it takes no worse.
        expected_price_e8: average price of its levels, 10^-8 of the quote, rounded to the worse side.
    """

    outlet: int
    quantity_units: int
    limit_price_units: int
    expected_price_e8: int


@dataclass(frozen=True, slots=True)
class Route:
    """A split, the slowest venue first, so that all legs arrive as close together as can be.

    Args:
        legs: what goes where.
        filled_base_e8: what the legs fill, 10^-8 of the base currency, rounded down.
        cost_e8: buying: paid with fees and expected drift; selling: received less both; 10^-8 of the quote,
            rounded to the worse side.
        is_complete: whether all that was asked can be filled (less than the finest lot may be left).
    """

    legs: tuple[Leg, ...]
    filled_base_e8: int
    cost_e8: int
    is_complete: bool


class _Curve:
    """One outlet in common units: steps of (marginal price, base units), and what the venue demands.

    `edges` are the quantities up to the end of each step, `costs` what they cost.
    """

    __slots__ = ("costs", "edges", "lot", "maximum", "minimum", "prices", "steps", "to_units")

    def __init__(
        self, outlet: Outlet, buys: bool, base_exponent: int, price_exponent: int, wanted: int
    ) -> None:
        row = outlet.instrument
        power = factor_power(row)  # a contract of 1000X is a thousand of the base that is asked for
        to_units: int = row.multiplier * 10 ** (
            base_exponent + power - row.quantity_exponent - row.multiplier_exponent
        )
        self.to_units = to_units
        self.lot = row.lot_size * to_units
        fee = row.taker_fee_e8 if outlet.taker_fee_e8 is None else outlet.taker_fee_e8
        burden = fee + outlet.drift_e8_per_s * outlet.latency_ns // _SECOND_NS
        # Selling is buying at negative prices: what comes in counts against the cost.
        factor = (E8 + burden if buys else burden - E8) * 10 ** (price_exponent - row.price_exponent - power)
        self.steps: list[tuple[int, int]] = []
        self.prices: list[int] = []
        self.edges: list[int] = []
        self.costs: list[int] = []
        depth = cost = last = 0
        for price, quantity in outlet.levels:
            if price <= 0 or quantity <= 0:
                raise OrderError(f"{row.symbol}: level {price} × {quantity} can not be taken")
            if last and (price < last if buys else price > last):
                raise OrderError(f"{row.symbol}: level {price} stands behind {last}: not best first")
            last = price
            if depth < wanted:  # what lies behind can not be reached
                base, marginal = quantity * to_units, price * factor
                depth += base
                cost += marginal * base
                self.steps.append((marginal, base))
                self.prices.append(price)
                self.edges.append(depth)
                self.costs.append(cost)
        most = depth
        for limit in (row.max_quantity_units, outlet.max_units):
            most = min(most, limit * to_units) if limit else most
        self.maximum = most // self.lot * self.lot
        least = max(row.min_quantity_units, 1)
        if row.min_notional_units and self.prices:
            # Judged at the worst price of the book, so that no leg is refused for a few cents.
            worst = min(self.prices[0], last)
            denominator = 10 ** (row.quantity_exponent + row.multiplier_exponent + row.price_exponent)
            least = max(least, -(-row.min_notional_units * denominator // (worst * row.multiplier * E8)))
        self.minimum = -(-least // row.lot_size) * self.lot

    def cost(self, base: int) -> int:
        """Cost of the first `base` units; `base` is at most the depth."""
        if not base:
            return 0
        at = bisect_left(self.edges, base)
        return self.costs[at] - self.steps[at][0] * (self.edges[at] - base)

    def worst_price(self, base: int) -> int:
        """Price of the level that holds the last of the first `base` units, in the outlet's own units."""
        return self.prices[bisect_left(self.edges, base)]


class _Search:
    """Branch and bound for one quantity over a set of curves."""

    def __init__(self, curves: Sequence[_Curve], wanted: int) -> None:
        self.curves = curves
        self.wanted = wanted
        self.steps = sorted(
            ((price, i, base) for i, curve in enumerate(curves) for price, base in curve.steps),
            key=itemgetter(0, 1),
        )
        # One unit left unfilled is worse than any way of filling it.
        highest = max((abs(step[0]) for step in (self.steps[:1] + self.steps[-1:])), default=0)
        self.penalty = 2 * highest * max(wanted, 1) + 1
        self.best_cost = self.penalty * wanted
        self.best: dict[int, int] = {}
        self.least = [0] * len(curves)

    def run(self) -> dict[int, int]:
        """The best split: curve index → base units."""
        curves, wanted = self.curves, self.wanted
        usable = [i for i, curve in enumerate(curves) if curve.minimum <= min(curve.maximum, wanted)]
        # Without minimums it is one problem; if what solves it respects them, nothing that does is cheaper.
        if usable:
            self._branch(usable, {})
        if all(not base or base >= curves[i].minimum for i, base in self.best.items()):
            return self.best
        self.best_cost, self.best = self.penalty * wanted, {}
        self.least = [curve.minimum for curve in curves]
        for mask in range((1 << len(usable)) - 1, 0, -1):
            chosen = [index for bit, index in enumerate(usable) if mask >> bit & 1]
            if sum(self.least[i] for i in chosen) <= wanted:
                self._branch(chosen, {})
        return self.best

    def _branch(self, free: list[int], fixed: dict[int, int]) -> None:
        """Fix the outlet with the coarsest lot at each quantity worth trying, from the bound outward."""
        curves = self.curves
        rest = self.wanted - sum(fixed.values())
        bound, relaxed = self._relax(free, rest)
        spent = sum(curves[i].cost(base) for i, base in fixed.items())
        if spent + bound >= self.best_cost:
            return
        if not any(base % curves[i].lot for i, base in relaxed.items()):
            # Levels lie on their lots as a rule, and then all but the last step does: nothing is left to do.
            self.best_cost, self.best = spent + bound, {**fixed, **relaxed}
            return
        finest = min((curves[i].lot for i in free), default=0)
        coarse = [i for i in free if curves[i].lot != finest]
        if not coarse:
            self._finish(free, fixed, rest, spent)
            return
        index = max(coarse, key=lambda i: curves[i].lot)
        curve = curves[index]
        others = [i for i in free if i != index]
        start = relaxed[index] // curve.lot * curve.lot
        for step in (-curve.lot, curve.lot):
            base = start if step < 0 else start + curve.lot
            while self.least[index] <= base <= min(curve.maximum, rest):
                below, _ = self._relax(others, rest - base)
                if spent + curve.cost(base) + below >= self.best_cost:
                    break  # the bound is convex: further out it only gets worse
                self._branch(others, {**fixed, index: base})
                base += step

    def _relax(self, free: Sequence[int], rest: int) -> tuple[int, dict[int, int]]:
        """Least cost of `rest` when lots do not matter: minimums first, then the cheapest steps."""
        curves = self.curves
        taken = {i: self.least[i] for i in free}
        left = rest - sum(taken.values())
        if left < 0:
            return self.penalty * self.wanted * 2 + 1, taken
        skip = dict(taken)
        cost = sum(curves[i].cost(base) for i, base in taken.items())
        for price, i, base in self.steps if left else ():
            if i not in taken:
                continue
            gone = min(skip[i], base)
            skip[i] -= gone
            part = min(base - gone, left, curves[i].maximum - taken[i])
            if part > 0:
                taken[i] += part
                cost += price * part
                left -= part
                if not left:
                    break
        return cost + self.penalty * left, taken

    def _finish(self, free: list[int], fixed: dict[int, int], rest: int, spent: int) -> None:
        """All that is free has the same lot: the cheapest next lot, again and again, is optimal."""
        taken: dict[int, int] = {}
        if free:
            lot = self.curves[free[0]].lot
            _, taken = self._relax(free, rest // lot * lot)
            taken = self._round(free, taken, rest // lot * lot)
        cost = spent + sum(self.curves[i].cost(base) for i, base in taken.items())
        filled = sum(taken.values()) + sum(fixed.values())
        cost += self.penalty * (self.wanted - filled)
        if cost < self.best_cost:
            self.best_cost = cost
            self.best = {**fixed, **taken}

    def _round(self, free: list[int], taken: dict[int, int], rest: int) -> dict[int, int]:
        """From the divisible answer to whole lots: a few lots down everywhere, then the cheapest lots up."""
        curves = self.curves
        slack = len(free) + 1
        for i in free:
            curve = curves[i]
            taken[i] = max(self.least[i], (taken[i] // curve.lot - slack) * curve.lot)
        left = rest - sum(taken.values())
        while left > 0:
            best: tuple[int, int] | None = None
            for i in free:
                curve, base = curves[i], taken[i]
                if base + curve.lot <= curve.maximum:
                    marginal = curve.cost(base + curve.lot) - curve.cost(base)
                    if best is None or marginal < best[0]:
                        best = (marginal, i)
            if best is None:
                break
            taken[best[1]] += curves[best[1]].lot
            left -= curves[best[1]].lot
        return taken


def _traded(row: Instrument) -> str:
    """What is traded for what, whatever multiple of it the venue's contract holds."""
    return f"{row.canonical.partition('-')[0] or row.base}-{row.quote}"


def find_route(outlets: Sequence[Outlet], side: Side | int, quantity_e8: int) -> Route:
    """Split a quantity over outlets at the least expected cost.

    Args:
        outlets: 1 to 8 places with the same base and quote currency; only books that are LIVE belong here.
        side: BUY takes asks, SELL takes bids.
        quantity_e8: what is wanted, 10^-8 of the base currency, positive.

    Returns:
        The route; no legs when nothing can be filled.

    Raises:
        OrderError: no outlets or too many, a quantity that is not positive, outlets that do not trade the
            same thing, an inverse contract, or levels that are not best first.
    """
    if not 1 <= len(outlets) <= OUTLETS_MAX:
        raise OrderError(f"a route takes 1 to {OUTLETS_MAX} outlets, got {len(outlets)}")
    if quantity_e8 <= 0:
        raise OrderError(f"a route needs a positive quantity, got {quantity_e8}")
    first = outlets[0].instrument
    for outlet in outlets:
        row = outlet.instrument
        if row.is_inverse:
            raise OrderError(f"{row.symbol} is an inverse contract: its cost is not linear in its price")
        if _traded(row) != _traded(first):
            raise OrderError(f"{row.symbol} trades {_traded(row)}, {first.symbol} {_traded(first)}")
    buys = int(side) == int(Side.BUY)
    base_exponent = max(
        8,
        *(
            o.instrument.quantity_exponent + o.instrument.multiplier_exponent - factor_power(o.instrument)
            for o in outlets
        ),
    )
    price_exponent = max(o.instrument.price_exponent + factor_power(o.instrument) for o in outlets)
    wanted = quantity_e8 * 10 ** (base_exponent - 8)
    curves = [_Curve(outlet, buys, base_exponent, price_exponent, wanted) for outlet in outlets]
    finest = gcd(*(curve.lot for curve in curves))
    split = _Search(curves, wanted // finest * finest).run()
    return _describe(outlets, curves, split, buys, (base_exponent, price_exponent), wanted)


def _describe(
    outlets: Sequence[Outlet],
    curves: Sequence[_Curve],
    split: dict[int, int],
    buys: bool,
    exponents: tuple[int, int],
    wanted: int,
) -> Route:
    base_exponent, price_exponent = exponents
    legs: list[Leg] = []
    for index, base in split.items():
        if not base:
            continue
        outlet, curve = outlets[index], curves[index]
        product, left = 0, base
        for (_, quantity), price in zip(curve.steps, curve.prices, strict=True):
            product += price * min(left, quantity)
            left -= min(left, quantity)
        denominator = base * 10**outlet.instrument.price_exponent
        average = -(-product * E8 // denominator) if buys else product * E8 // denominator
        legs.append(Leg(index, base // curve.to_units, curve.worst_price(base), average))
    legs.sort(key=lambda leg: (-outlets[leg.outlet].latency_ns, leg.outlet))
    filled = sum(split.values())
    cost = sum(curves[i].cost(base) for i, base in split.items())
    # `cost` counts 10^-(base + price + 8): rounded up when paying; received is its negative, rounded down.
    scale = 10 ** (base_exponent + price_exponent)
    cost_e8 = -(-cost // scale) if buys else -cost // scale
    finest = min(curve.lot for curve in curves)
    return Route(tuple(legs), filled // 10 ** (base_exponent - 8), cost_e8, wanted - filled < finest)
