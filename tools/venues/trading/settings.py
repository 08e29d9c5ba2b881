"""How a simulated venue trades: accounts, fees, latencies, limits; and the desk made of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from tools.venues.binance_usdm import BinanceUsdm
from tools.venues.bybit import CATEGORIES
from tools.venues.capture_source import CaptureSource
from tools.venues.errors import SettingsError
from tools.venues.protocol import MarketSource, VenueProtocol
from tools.venues.synthetic_source import SyntheticSource
from tools.venues.trading.accounts import Account
from tools.venues.trading.binance_usdm import BinanceTrading
from tools.venues.trading.desk import TradingDesk, VenueTrading
from tools.venues.trading.exchange import Exchange
from tools.venues.trading.keys import ApiKey, make_keys, read_keys
from tools.venues.trading.latency import parse_latency
from tools.venues.trading.market_ports import RecordedPort, SyntheticPort
from tools.venues.trading.port import MarketPort
from tools.venues.trading.terms import E8, Listing
from tools.venues.trading.upkeep import Upkeep

BALANCES = "USDT=1000000,USDC=1000000,BTC=100,ETH=1000"
FACTOR_MAX = 1_000_000.0
LEVERAGE_MAX = 125
FUNDING_RATE_MAX = 0.03


@dataclass(frozen=True, slots=True)
class TradingSettings:
    """How a venue trades.

    accounts: names; balances: of each account, `ASSET=AMOUNT,…`; leverage: of each symbol at first;
    maker_fee, taker_fee: fractions of notional, None = the venue's own; entry_latency, response_latency: as
    `latency.parse_latency` takes them; limits: how many times the venue's rate limits hold (0: none does);
    keys: what is accepted, none = from the environment, else made at start; funding_s: between two fundings,
    0 = none by itself; funding_rate: fraction of the position's value that longs pay to shorts each time.
    """

    accounts: tuple[str, ...] = ("main",)
    balances: str = BALANCES
    leverage: int = 20
    maker_fee: float | None = None
    taker_fee: float | None = None
    entry_latency: str = "0"
    response_latency: str = "0"
    limits: float = 1.0
    keys: tuple[ApiKey, ...] = ()
    funding_s: float = 0.0
    funding_rate: float = 0.0001


@dataclass(frozen=True, slots=True)
class VenueTerms:
    """What a venue takes: fees in 10^-8 of notional, least value of an order in 10^-8 of the quote."""

    maker_fee_e8: int
    taker_fee_e8: int
    min_notional_e8: int
    make: Callable[[VenueProtocol, TradingSettings], VenueTrading]


def _binance(protocol: VenueProtocol, settings: TradingSettings) -> VenueTrading:
    assert isinstance(protocol, BinanceUsdm), protocol.name
    protocol.set_limits(settings.limits)
    return BinanceTrading(protocol.weight, settings.limits)


def _okx(protocol: VenueProtocol, settings: TradingSettings) -> VenueTrading:  # noqa: ARG001
    from tools.venues.trading.okx import OkxTrading  # a venue's file is read by that venue only

    return OkxTrading(settings.limits)


def _bybit(protocol: VenueProtocol, settings: TradingSettings) -> VenueTrading:  # noqa: ARG001
    from tools.venues.trading.bybit import BybitTrading

    return BybitTrading(settings.limits)


#: Venues that trade; another one adds a line here (README, "A venue's order protocol").
VENUES: dict[str, VenueTerms] = {
    BinanceUsdm.name: VenueTerms(20_000, 50_000, 5 * E8, _binance),
    "okx": VenueTerms(20_000, 50_000, 0, _okx),
    **dict.fromkeys(CATEGORIES, VenueTerms(20_000, 55_000, 5 * E8, _bybit)),
}


@dataclass(slots=True)
class Built:
    """A desk with its port, and the keys it accepts; `are_given`: from outside, so not printed."""

    desk: TradingDesk
    port: MarketPort
    keys: list[ApiKey]
    are_given: bool = field(default=False)


def build_trading(
    settings: TradingSettings,
    protocol: VenueProtocol,
    source: MarketSource,
    seed: int,
    wake: Callable[[int], None],
) -> Built | None:
    """Make the desk of a venue; None where the venue or its market has no trading.

    Raises:
        SettingsError: a setting is wrong.
    """
    terms = VENUES.get(protocol.name)
    port = _port(source, protocol)
    if terms is None or port is None:
        return None
    check(settings)
    items = source.all_instruments() if isinstance(source, SyntheticSource) else source.instruments()
    maker = terms.maker_fee_e8 if settings.maker_fee is None else round(settings.maker_fee * E8)
    taker = terms.taker_fee_e8 if settings.taker_fee is None else round(settings.taker_fee * E8)
    listings = [
        Listing(number, item, maker, taker, terms.min_notional_e8) for number, item in enumerate(items)
    ]
    keys = list(settings.keys) or read_keys()
    are_given = bool(keys)
    keys = keys or make_keys(settings.accounts, with_ed25519=True)
    names = dict.fromkeys([*settings.accounts, *(key.account for key in keys)])
    balances = parse_balances(settings.balances)
    accounts = [Account(name, number, dict(balances), settings.leverage) for number, name in enumerate(names)]
    trading = terms.make(protocol, settings)
    exchange = Exchange(
        listings, accounts, port, trading.rules, source.clock_ms, first_id=time.time_ns() // 1_000_000
    )
    desk = TradingDesk(
        exchange,
        trading,
        keys,
        parse_latency(settings.entry_latency, f"{seed}/entry"),
        parse_latency(settings.response_latency, f"{seed}/response"),
        now_ns=time.monotonic_ns,
        clock_ms=source.clock_ms,
        wake=wake,
    )
    desk.upkeep = Upkeep(exchange, round(settings.funding_s * 1e9), round(settings.funding_rate * E8))
    return Built(desk, port, keys, are_given)


def _port(source: MarketSource, protocol: VenueProtocol) -> MarketPort | None:
    if isinstance(source, SyntheticSource):
        return SyntheticPort(source)
    return RecordedPort(source, protocol) if isinstance(source, CaptureSource) else None


def check(settings: TradingSettings) -> None:
    """Raise SettingsError for what can not be."""
    if (
        not settings.accounts
        or not all(settings.accounts)
        or len(set(settings.accounts)) < len(settings.accounts)
    ):
        raise SettingsError("a venue that trades has at least one account, each with its own name")
    if not 1 <= settings.leverage <= LEVERAGE_MAX:
        raise SettingsError(f"the leverage is 1 to {LEVERAGE_MAX}, not {settings.leverage}")
    if not 0 <= settings.limits <= FACTOR_MAX:
        raise SettingsError(
            f"the factor of rate limits is 0 (none) to {FACTOR_MAX:g}, not {settings.limits:g}"
        )
    for fee in (settings.maker_fee, settings.taker_fee):
        if fee is not None and not -0.01 <= fee <= 0.1:
            raise SettingsError(f"a fee is -0.01 to 0.1 of the notional, not {fee:g}")
    if settings.funding_s < 0 or abs(settings.funding_rate) > FUNDING_RATE_MAX:
        raise SettingsError(
            f"funding is each 0 s or more, at a rate of at most {FUNDING_RATE_MAX:g} either way"
        )
    parse_balances(settings.balances)


def parse_balances(text: str) -> dict[str, int]:
    """Return asset → amount in 10^-8 of `USDT=1000,BTC=0.5`.

    Raises:
        SettingsError: it is of another form.
    """
    found: dict[str, int] = {}
    for item in text.split(","):
        asset, _, amount = item.strip().partition("=")
        try:
            value = Decimal(amount).scaleb(8)
            if not asset.isalnum() or not value.is_finite() or not 0 <= value < 1 << 62:
                raise InvalidOperation
        except InvalidOperation:
            raise SettingsError(f"balances are ASSET=AMOUNT,… as USDT=1000,BTC=0.5, not {item!r}") from None
        found[asset] = int(value)
    return found


def waker(run: Callable[[], None]) -> Callable[[int], None]:
    """Return what lets `run` be called by the running loop at a monotonic time in ns."""

    def wake(due_ns: int) -> None:
        delay_s = max(0, due_ns - time.monotonic_ns()) / 1e9
        asyncio.get_running_loop().call_later(delay_s, run)

    return wake
