"""An exchange core without a market of its own, and the naive twin of its accounting."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from typing import Any

from tools.venues.protocol import VenueInstrument
from tools.venues.trading.accounts import Account
from tools.venues.trading.exchange import Exchange, VenueRules
from tools.venues.trading.port import QuietPort
from tools.venues.trading.terms import BUY, E8, AccountEvent, Fill, Listing, Refusal, Terms, VenueOrder, Why

BTC = VenueInstrument("BTCUSDT", "BTC", "USDT", 2, 3, "0.10", "0.001")
ETH = VenueInstrument("ETHUSDT", "ETH", "USDT", 2, 3, "0.01", "0.001")
SWAP = VenueInstrument(
    "BTC-USD-SWAP", "BTC", "USD", 1, 0, "0.1", "1", category="SWAP", settle="BTC",
    contract_value="100", value_currency="USD",
)  # fmt: skip
SPOT = VenueInstrument("BTCUSDT", "BTC", "USDT", 2, 6, "0.01", "0.000001", category="spot", is_keyed=True)
BID, ASK = 6_180_000, 6_180_010


class Core:
    """An exchange with two accounts and books that tests set."""

    def __init__(
        self,
        *items: VenueInstrument,
        rules: VenueRules | None = None,
        ended_capacity: int = 1000,
        balance: int = 1_000_000,
        **options: Any,
    ) -> None:
        self.events: list[AccountEvent] = []
        self.port = QuietPort()
        self.now_ms = 1_700_000_000_000
        listings = [
            Listing(number, item, 20_000, 50_000, 5 * E8) for number, item in enumerate(items or (BTC,))
        ]
        accounts = [
            Account(name, number, {"USDT": balance * E8, "BTC": 100 * E8}, options.pop("leverage", 20))
            for number, name in enumerate(("main", "other"))
        ]
        self.exchange = Exchange(
            listings, accounts, self.port, rules or VenueRules(), lambda: self.now_ms,
            on_event=self.events.append, ended_capacity=ended_capacity,
        )  # fmt: skip
        for listing in listings:
            self.book(key=listing.key)

    def book(
        self,
        bids: list[tuple[int, int]] | None = None,
        asks: list[tuple[int, int]] | None = None,
        key: str = "BTCUSDT",
    ) -> None:
        self.port.set_book(
            key,
            [(BID - 10 * i, 1000) for i in range(20)] if bids is None else bids,
            [(ASK + 10 * i, 1000) for i in range(20)] if asks is None else asks,
        )

    def place(
        self, side: int, units: int, price: int = 0, *, account: str = "main", now_ns: int = 0, **terms: Any
    ) -> Any:
        order_type = 1 if price else 2
        wanted = Terms(terms.pop("key", "BTCUSDT"), side, units, price, order_type=order_type, **terms)
        return self.exchange.place(account, wanted, now_ns)

    def order(self, *args: Any, **options: Any) -> VenueOrder:
        found = self.place(*args, **options)
        assert isinstance(found, VenueOrder), found
        return found

    def why(self, *args: Any, **options: Any) -> Why:
        found = self.place(*args, **options)
        assert isinstance(found, Refusal), found
        return found.why

    @property
    def account(self) -> Account:
        return self.exchange.accounts["main"]


class NaiveBooks:
    """Balances and positions of one account from its fills alone, in exact fractions."""

    def __init__(self, fills: list[Fill], listing: Listing) -> None:
        self.position = 0
        self.cash = Fraction(0)
        self.fees: dict[str, int] = defaultdict(int)
        self.open: list[tuple[int, int]] = []  # (signed units, price), average cost
        self.entry = Fraction(0)
        self.realized = Fraction(0)
        scale = Fraction(E8, 10 ** (listing.price_decimals + listing.quantity_decimals))
        for fill in fills:
            sign = 1 if fill.side == BUY else -1
            self.fees[fill.fee_asset] += fill.fee_e8
            value = Fraction(fill.price_units * fill.units) * scale
            self.cash -= sign * value
            left = sign * fill.units
            if self.position * left < 0:
                closing = min(abs(left), abs(self.position))
                average = self.entry / abs(self.position)
                gain = (Fraction(fill.price_units) * scale - average) * closing
                self.realized += gain if self.position > 0 else -gain
                self.entry -= average * closing
                self.position += closing * sign
                left -= closing * sign
            self.position += left
            self.entry += abs(left) * fill.price_units * scale
