"""What an account holds: balances, one-way positions, margin. Exact integers; money in 10^-8 of its asset."""

from __future__ import annotations

from dataclasses import dataclass, field

from tools.venues.trading.terms import BUY, E8, Fill, Listing, VenueOrder

#: Margin and unrealized PnL of symbols that nothing happened to are computed anew after so long.
MARKS_AGE_NS = 100_000_000
MAINTENANCE_E8 = 400_000


@dataclass(slots=True)
class Holding:
    """What an account has at one listing: the position, and the value of its open orders by side.

    units: signed; entry_raw: raw value of the position at its entry prices (`Listing.raw`).
    """

    units: int = 0
    entry_raw: int = 0
    realized_e8: int = 0
    fees_e8: int = 0
    buy_units: int = 0
    sell_units: int = 0
    buy_raw: int = 0
    sell_raw: int = 0
    updated_ms: int = 0

    def fill(self, listing: Listing, side: int, price_units: int, units: int) -> int:
        """Add a fill to the position; return what it realized in 10^-8 of the settlement currency."""
        signed = units if side == BUY else -units
        raw = listing.raw(price_units, units)
        if not self.units or (self.units > 0) == (signed > 0):
            self.units += signed
            self.entry_raw += raw
            return 0
        held = abs(self.units)
        closing = min(units, held)
        closing_raw = raw * closing // units
        entry_part = self.entry_raw * closing // held
        gain = closing_raw - entry_part
        if (self.units < 0) != listing.is_inverse:
            gain = -gain
        self.entry_raw -= entry_part
        self.units += closing if signed > 0 else -closing
        if units > closing:
            self.units = (units - closing) * (1 if signed > 0 else -1)
            self.entry_raw = raw - closing_raw
        realized = listing.e8(gain)
        self.realized_e8 += realized
        return realized

    def unrealized_e8(self, listing: Listing) -> int:
        """What closing at the mark price would realize."""
        if not self.units or not listing.mark_units:
            return 0
        gain = listing.raw(listing.mark_units, abs(self.units)) - self.entry_raw
        return listing.e8(-gain if (self.units < 0) != listing.is_inverse else gain)

    def margin_e8(self, listing: Listing, leverage: int, side: int = 0, raw: int = 0) -> int:
        """Initial margin of position and orders: the worse of all buys filled and all sells filled.

        side, raw: of one more order.
        """
        buy_raw = self.buy_raw + (raw if side == BUY else 0)
        sell_raw = self.sell_raw + (raw if side and side != BUY else 0)
        held = listing.raw(listing.mark_units, abs(self.units)) if self.units and listing.mark_units else 0
        signed = held if self.units > 0 else -held
        worst = max(abs(signed + buy_raw), abs(signed - sell_raw))
        return listing.e8(worst) // leverage


@dataclass(slots=True)
class Account:
    """One account of the venue.

    Args:
        name: as keys name it; number: in the simulator.
        balances: asset → wallet balance in 10^-8.
        leverage: of listings it was not set for.
    """

    name: str
    number: int
    balances: dict[str, int]
    leverage: int
    leverages: dict[str, int] = field(default_factory=dict)
    holdings: dict[str, Holding] = field(default_factory=dict)
    locked: dict[str, int] = field(default_factory=dict)
    open_orders: dict[int, VenueOrder] = field(default_factory=dict)
    by_client: dict[str, VenueOrder] = field(default_factory=dict)
    #: Client ids under which a second order was accepted, and how often.
    reused_ids: dict[str, int] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)
    updated_ms: int = 0
    _margins: dict[str, tuple[int, int]] = field(default_factory=dict)
    _marked_ns: int = -MARKS_AGE_NS

    def holding(self, key: str) -> Holding:
        """What it has at a listing."""
        found = self.holdings.get(key)
        if found is None:
            found = self.holdings[key] = Holding()
        return found

    def leverage_of(self, key: str) -> int:
        """Leverage at a listing."""
        return self.leverages.get(key, self.leverage)

    def note_open(self, listing: Listing, order: VenueOrder, sign: int) -> None:
        """Add (1) or take away (-1) what an open order binds, by its present leaves."""
        units, price = order.units - order.filled, order.price_units
        if not price or order.terms.is_reduce_only:
            return
        raw = listing.raw(price, units)
        holding = self.holding(listing.key)
        if listing.is_spot:
            asset, value = self.bound(listing, order.terms.side, raw, units)
            self.locked[asset] = self.locked.get(asset, 0) + sign * value
        if order.terms.side == BUY:
            holding.buy_units += sign * units
            holding.buy_raw += sign * raw
        else:
            holding.sell_units += sign * units
            holding.sell_raw += sign * raw

    @staticmethod
    def bound(listing: Listing, side: int, raw: int, units: int) -> tuple[str, int]:
        """What a spot order binds: (asset, amount in 10^-8)."""
        if side == BUY:
            return listing.item.quote, listing.e8(raw)
        return listing.item.base, listing.base_e8(units)

    def available_e8(self, asset: str, listings: dict[str, Listing], now_ns: int) -> int:
        """What of an asset is free for new orders."""
        if now_ns - self._marked_ns >= MARKS_AGE_NS:
            self._marked_ns = now_ns
            for key in self.holdings:
                self.mark(listings[key])
        free = self.balances.get(asset, 0) - self.locked.get(asset, 0)
        for key, (margin, unrealized) in self._margins.items():
            if listings[key].settle == asset and not listings[key].is_spot:
                free += unrealized - margin
        return free

    def affords(
        self,
        listing: Listing,
        side: int,
        price_units: int,
        units: int,
        listings: dict[str, Listing],
        now_ns: int,
    ) -> bool:
        """Whether what is free covers what one more order would bind; less than now is always affordable."""
        raw = listing.raw(price_units, units)
        if listing.is_spot:
            asset, value = self.bound(listing, side, raw, units)
            return value <= self.available_e8(asset, listings, now_ns)
        holding, leverage = self.holding(listing.key), self.leverage_of(listing.key)
        more = holding.margin_e8(listing, leverage, side, raw) - holding.margin_e8(listing, leverage)
        return more <= 0 or more <= self.available_e8(listing.settle, listings, now_ns)

    def mark(self, listing: Listing) -> None:
        """Compute margin and unrealized PnL of a listing anew."""
        holding = self.holdings.get(listing.key)
        if holding is None or listing.is_spot:
            return
        if not (holding.units or holding.buy_raw or holding.sell_raw):
            self._margins.pop(listing.key, None)
            return
        margin = holding.margin_e8(listing, self.leverage_of(listing.key))
        self._margins[listing.key] = (margin, holding.unrealized_e8(listing))

    def unrealized_e8(self, asset: str, listings: dict[str, Listing]) -> int:
        """Unrealized PnL in an asset at the present mark prices."""
        return sum(
            holding.unrealized_e8(listings[key])
            for key, holding in self.holdings.items()
            if listings[key].settle == asset and not listings[key].is_spot
        )

    def settle(self, listing: Listing, fill: Fill) -> None:
        """Book a fill: position or assets, realized PnL, fee."""
        holding = self.holding(listing.key)
        if listing.is_spot:
            value, base = listing.value_e8(fill.price_units, fill.units), listing.base_e8(fill.units)
            sign = 1 if fill.side == BUY else -1
            self.credit(listing.item.base, sign * base)
            self.credit(listing.item.quote, -sign * value)
            holding.units += sign * fill.units
        else:
            fill.realized_e8 = holding.fill(listing, fill.side, fill.price_units, fill.units)
            self.credit(listing.settle, fill.realized_e8)
        self.credit(fill.fee_asset, -fill.fee_e8)
        holding.fees_e8 += fill.fee_e8
        holding.updated_ms = self.updated_ms = fill.utc_ms
        self.fills.append(fill)

    def credit(self, asset: str, amount_e8: int) -> None:
        """Add to a balance (or take from it)."""
        self.balances[asset] = self.balances.get(asset, 0) + amount_e8


def maintenance_e8(listing: Listing, holding: Holding) -> int:
    """Maintenance margin: 0.4% of the position at its mark price (the venues' first bracket)."""
    return listing.value_e8(listing.mark_units, abs(holding.units)) * MAINTENANCE_E8 // E8
