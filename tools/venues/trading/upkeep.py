"""What a venue does to its accounts by itself: funding payments, and liquidation at the maintenance margin.

Documents: Binance "Introduction to Funding Rates" and "Liquidation Protocols"; OKX "Funding fee mechanism"
and "Liquidation"; Bybit "Introduction to Funding Rate" and "Liquidation Process (UTA)". Margin is cross: an
account is liquidated as a whole, by settlement currency. Here in one step, by market orders against the book;
real venues go down in brackets first and take over what the book does not take. What is below zero becomes 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from tools.venues.trading.accounts import Account, maintenance_e8
from tools.venues.trading.exchange import Exchange
from tools.venues.trading.terms import (
    BUY,
    E8,
    IOC,
    LIQUIDATION,
    MARKET,
    Listing,
    MoneyEvent,
    Refusal,
    Terms,
    Why,
)

LOOK_NS = 100_000_000
SELL = 2


@dataclass(slots=True)
class UpkeepCounts:
    """What happened so far."""

    fundings: int = 0
    funding_payments: int = 0
    liquidations: int = 0


class Upkeep:
    """Funding and liquidation of one venue's accounts.

    Args:
        exchange: the core.
        funding_ns: between two fundings, 0 = only when asked for.
        rate_e8: of the position's value, in 10^-8; longs pay it to shorts, and get it where it is negative.
    """

    def __init__(self, exchange: Exchange, funding_ns: int = 0, rate_e8: int = 0) -> None:
        self.counts = UpkeepCounts()
        self._exchange = exchange
        self._funding_ns = funding_ns
        self._rate_e8 = rate_e8
        self._funding_due_ns: int | None = None
        self._look_due_ns = 0

    def look(self, now_ns: int) -> None:
        """Do what is due; cheap between two looks."""
        if now_ns < self._look_due_ns:
            return
        self._look_due_ns = now_ns + LOOK_NS
        if self._funding_ns:
            if self._funding_due_ns is None:
                self._funding_due_ns = now_ns + self._funding_ns
            elif now_ns >= self._funding_due_ns:
                self._funding_due_ns += self._funding_ns
                self.fund(self._rate_e8, now_ns)
        for account in self._exchange.accounts.values():
            for asset in {self._exchange.listings[key].settle for key in account.holdings}:
                if self._is_under(account, asset, now_ns):
                    self._liquidate(account, asset, now_ns)

    # ---- funding -------------------------------------------------------------------------------

    def fund(self, rate_e8: int, now_ns: int, key: str = "") -> list[MoneyEvent]:
        """Exchange funding at a rate now; returns the payments (negative = paid by the account)."""
        exchange, found = self._exchange, []
        self.counts.fundings += 1
        for account in exchange.accounts.values():
            for name, holding in account.holdings.items():
                listing = exchange.listings[name]
                if not holding.units or listing.is_spot or key not in ("", name):
                    continue
                exchange.refresh(listing, now_ns)
                value = listing.value_e8(listing.mark_units, abs(holding.units))
                product = value * rate_e8 if holding.units > 0 else -value * rate_e8
                paid = -(-product // E8)  # who pays pays the rest of a division, who gets goes without it
                account.credit(listing.settle, -paid)
                event = MoneyEvent(
                    account.name, name, listing.settle, -paid, rate_e8, holding.units, exchange.clock_ms()
                )
                found.append(event)
                exchange.on_money(event)
        self.counts.funding_payments += len(found)
        return found

    # ---- liquidation ---------------------------------------------------------------------------

    def _positions(self, account: Account, asset: str) -> list[Listing]:
        listings = self._exchange.listings
        return [
            listings[key]
            for key, holding in account.holdings.items()
            if holding.units and not listings[key].is_spot and listings[key].settle == asset
        ]

    def _is_under(self, account: Account, asset: str, now_ns: int) -> bool:
        """Whether equity no longer covers what the positions need."""
        held = self._positions(account, asset)
        for listing in held:
            self._exchange.refresh(listing, now_ns)
        if not held or any(not listing.mark_units for listing in held):
            return False
        equity = account.balances.get(asset, 0) + sum(account.holding(x.key).unrealized_e8(x) for x in held)
        return equity < sum(maintenance_e8(listing, account.holding(listing.key)) for listing in held)

    def _liquidate(self, account: Account, asset: str, now_ns: int) -> None:
        """Cancel what rests, then close all positions in that currency."""
        exchange = self._exchange
        self.counts.liquidations += 1
        for key, listing in exchange.listings.items():
            if listing.settle == asset and not listing.is_spot:
                exchange.cancel_all(account.name, key, now_ns, Why.LIQUIDATION)
        for listing in self._positions(account, asset):
            units = account.holding(listing.key).units
            terms = Terms(
                listing.key, SELL if units > 0 else BUY, min(abs(units), listing.max_units), 0, MARKET, IOC,
                is_reduce_only=True, client_id=f"autoclose-{exchange.next_order_id}", source=LIQUIDATION,
            )  # fmt: skip
            if isinstance(exchange.place(account.name, terms, now_ns), Refusal):
                continue  # nobody on the other side: at the next look
        if not self._positions(account, asset) and account.balances.get(asset, 0) < 0:
            account.balances[asset] = 0
