"""What the exchange core speaks of: listings, orders, fills, refusals; prices and quantities in units."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from enum import Enum

from exec.simulator.meeting import SelfTrade
from shm.enums import InstrumentKind, OrderType, Side, TimeInForce
from shm.instruments import Instrument
from tools.venues.protocol import VenueInstrument

BUY, SELL = int(Side.BUY), int(Side.SELL)
LIMIT, MARKET = int(OrderType.LIMIT), int(OrderType.MARKET)
GTC, IOC, FOK = int(TimeInForce.GTC), int(TimeInForce.IOC), int(TimeInForce.FOK)
E8 = 10**8
INVERSE_SCALE = 10**18
#: Raw values of linear contracts are so much finer than a unit of price times one of quantity: parts of a
#: position's cost are rounded there, not in money.
LINEAR_SCALE = 10**6


class Status(Enum):
    """Where an order stands at the venue."""

    NEW = "new"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"


OPEN = (Status.NEW, Status.PARTIALLY_FILLED)


#: `Terms.source` of an order that the venue itself placed.
LIQUIDATION = "liquidation"


class Why(Enum):
    """Why a command was refused, or an order ended; each venue has its own codes for them."""

    NONE = "none"
    UNKNOWN_SYMBOL = "unknown symbol"
    NOT_TRADING = "not trading"
    PRICE = "price out of range"
    TICK = "price off the tick"
    LOT = "quantity off the lot"
    QUANTITY = "quantity not positive"
    MAX_QUANTITY = "quantity above the maximum"
    MIN_NOTIONAL = "notional below the minimum"
    DUPLICATE_ID = "client order id is taken"
    OPEN_ORDERS = "too many open orders"
    POST_ONLY = "post-only would cross"
    FOK = "not fillable at once"
    REDUCE_ONLY = "reduces nothing"
    MARGIN = "margin is insufficient"
    SELF_TRADE = "would meet an own order"
    UNKNOWN_ORDER = "no such order"
    FINISHED = "order is finished"
    UNCHANGED = "nothing to change"
    NO_LIQUIDITY = "nobody on the other side"
    STORM = "refused by the fault script"
    RATE = "too many requests"
    USER = "canceled by its owner"
    REMAINDER = "remainder of an order that does not rest"
    DEAD_MAN = "the dead-man timer fired"
    DISCONNECT = "its connection ended"
    LIQUIDATION = "the account is liquidated"


def to_units(text: str, decimals: int) -> int | None:
    """Return a decimal text as units of 10^-decimals; None when it is no number or finer than that."""
    whole, _, fraction = text.partition(".")
    if whole.isdigit() and (fraction.isdigit() or not fraction) and text.isascii():
        kept = fraction.rstrip("0")
        if len(kept) > decimals:
            return None
        return int(whole + kept.ljust(decimals, "0"))
    try:
        scaled = Decimal(text).scaleb(decimals)
    except InvalidOperation:
        return None
    return int(scaled) if scaled.is_finite() and scaled == scaled.to_integral_value() else None


def to_text(units: int, decimals: int) -> str:
    """Return units of 10^-decimals as decimal text with all its decimals."""
    if not decimals:
        return str(units)
    sign = "-" if units < 0 else ""
    digits = str(abs(units)).rjust(decimals + 1, "0")
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}"


def short_text(units: int, decimals: int) -> str:
    """Return units as decimal text without zeros at the end."""
    text = to_text(units, decimals)
    return text.rstrip("0").rstrip(".") if decimals else text


class Listing:
    """One instrument as the exchange trades it.

    Args:
        number: its id in the simulator.
        item: the venue's reference data of it.
        maker_fee_e8, taker_fee_e8: fees, fraction of notional * 10^8.
        min_notional_e8: least value of an order in 10^-8 of the quote currency; 0 = none, inverse
            contracts have none.
    """

    def __init__(
        self, number: int, item: VenueInstrument, maker_fee_e8: int, taker_fee_e8: int, min_notional_e8: int
    ) -> None:
        self.number = number
        self.item = item
        self.key = item.key
        self.symbol = item.symbol
        self.category = item.category
        self.price_decimals = item.price_decimals
        self.quantity_decimals = item.quantity_decimals
        self.is_spot = item.category.lower() == "spot"
        self.settle = item.settle or item.quote
        self.is_inverse = bool(item.value_currency) and item.settle == item.base and not self.is_spot
        tick, lot = (
            to_units(item.tick_text, item.price_decimals),
            to_units(item.lot_text, item.quantity_decimals),
        )
        assert tick, item
        assert lot, item
        self.tick_units, self.lot_units = tick, lot
        whole, _, fraction = (item.contract_value or "1").partition(".")
        self.min_notional_e8 = 0 if self.is_inverse else min_notional_e8
        self.max_units = 10_000_000 * 10**item.quantity_decimals
        self.maker_fee_e8, self.taker_fee_e8 = maker_fee_e8, taker_fee_e8
        self.is_trading = True
        self.mark_units = 0
        self.version = -1
        self.open_orders = 0
        self.instrument = Instrument(
            instrument_id=number,
            venue_id=1,
            kind=InstrumentKind.SPOT if self.is_spot else InstrumentKind.PERPETUAL,
            price_exponent=item.price_decimals,
            quantity_exponent=item.quantity_decimals,
            is_inverse=self.is_inverse,
            tick_size=tick,
            lot_size=lot,
            multiplier=int(whole + fraction),
            multiplier_exponent=len(fraction),
            maker_fee_e8=maker_fee_e8,
            taker_fee_e8=taker_fee_e8,
            symbol=item.symbol,
        )
        scale = item.quantity_decimals + len(fraction)
        self._quantity_scale: int = 10**item.quantity_decimals
        self._price_scale: int = 10**item.price_decimals
        self._numerator: int = int(whole + fraction) * E8
        self._denominator: int = 10**scale
        if self.is_inverse:
            self._numerator *= 10**item.price_decimals
            self._denominator *= INVERSE_SCALE
        else:
            self._denominator *= 10**item.price_decimals * LINEAR_SCALE

    def raw(self, price_units: int, units: int) -> int:
        """The value of a quantity at a price, additive over fills; `e8` makes money of it."""
        return units * INVERSE_SCALE // price_units if self.is_inverse else price_units * units * LINEAR_SCALE

    def e8(self, raw: int) -> int:
        """Raw value in 10^-8 of the settlement currency, rounded down."""
        return raw * self._numerator // self._denominator

    def value_e8(self, price_units: int, units: int) -> int:
        """Value of a quantity at a price in 10^-8 of the settlement currency."""
        return self.e8(self.raw(price_units, units))

    def base_e8(self, units: int) -> int:
        """A spot quantity in 10^-8 of the base currency."""
        return units * E8 // self._quantity_scale

    def price_of(self, raw: int, units: int) -> float:
        """Average price, as a number, of fills worth `raw` in all."""
        if not units or not raw:
            return 0.0
        if self.is_inverse:
            return units * INVERSE_SCALE / raw / self._price_scale
        return raw / units / LINEAR_SCALE / self._price_scale


@dataclass(slots=True)
class Fill:
    """One execution; fee and realized PnL in 10^-8 of `fee_asset` and of the settlement currency."""

    trade_id: int
    order_id: int
    key: str
    side: int
    price_units: int
    units: int
    is_maker: bool
    fee_e8: int
    fee_asset: str
    realized_e8: int
    utc_ms: int


@dataclass(slots=True)
class Terms:
    """What a client asks for; `price_units` 0 for a market order; `notes`: what its protocol keeps."""

    key: str
    side: int
    units: int
    price_units: int = 0
    order_type: int = LIMIT
    time_in_force: int = GTC
    is_post_only: bool = False
    is_reduce_only: bool = False
    self_trade: int = int(SelfTrade.EXPIRE_MAKER)
    client_id: str = ""
    source: str = "api"
    notes: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class VenueOrder:
    """An order as the venue knows it, from its arrival for ever."""

    order_id: int
    account: str
    terms: Terms
    price_units: int
    units: int
    created_ms: int
    updated_ms: int
    status: Status = Status.NEW
    why: Why = Why.NONE
    filled: int = 0
    filled_raw: int = 0
    realized_e8: int = 0
    amendments: int = 0
    fills: list[Fill] = field(default_factory=list)
    #: What of it stands in the public book.
    shown_units: int = 0

    @property
    def leaves(self) -> int:
        """What is not filled; 0 once the order is finished."""
        return self.units - self.filled if self.status in OPEN else 0

    @property
    def is_open(self) -> bool:
        """Whether it can still fill."""
        return self.status in OPEN


@dataclass(frozen=True, slots=True)
class Refusal:
    """A command was refused: why, and which order it was about if one was found."""

    why: Why
    order: VenueOrder | None = None
    text: str = ""


class What(Enum):
    """What happened to an account."""

    NEW = "new"
    TRADE = "trade"
    CANCELED = "canceled"
    EXPIRED = "expired"
    AMENDED = "amended"
    SETTINGS = "settings"


@dataclass(frozen=True, slots=True)
class AccountEvent:
    """One thing to be told on private streams; the order is as it stands after it."""

    what: What
    account: str
    order: VenueOrder
    fill: Fill | None
    utc_ms: int


@dataclass(frozen=True, slots=True)
class MoneyEvent:
    """A funding payment: 10^-8 of an asset that an account got (negative: paid), for so many units."""

    account: str
    key: str
    asset: str
    amount_e8: int
    rate_e8: int
    units: int
    utc_ms: int


def is_liquidated(order: VenueOrder) -> bool:
    """Whether the venue itself placed an order, to close a position."""
    return order.terms.source == LIQUIDATION
