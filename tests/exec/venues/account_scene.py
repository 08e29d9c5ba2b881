"""Instruments, orders and mutated frames for the tests of OKX's and Bybit's order entry."""

from __future__ import annotations

import copy
import json
from collections.abc import Container, Iterator
from typing import Any

from hypothesis import strategies as st

from exec.client_ids import encode, tag_of
from exec.keys import Keys
from exec.lifecycle import Event
from exec.order import Order
from exec.order_protocol import Answer, Word
from exec.session import VenueReport
from shm.enums import InstrumentKind, OrderFlags, OrderType, Side, TimeInForce
from shm.instruments import Instrument

TAG = tag_of("test")
UTC_NS = 1_764_403_686_123_456_789
OKX, LINEAR, SPOT = 2, 3, 4


def row(number: int, venue_id: int, symbol: str, price: int, quantity: int, **more: Any) -> Instrument:
    """An instrument with these exponents."""
    base, quote = more.pop("base", "BTC"), more.pop("quote", "USDT")
    return Instrument(
        instrument_id=number,
        venue_id=venue_id,
        symbol=symbol,
        price_exponent=price,
        quantity_exponent=quantity,
        base=base,
        quote=quote,
        settle=more.pop("settle", quote),
        **{"maker_fee_e8": 20_000, "taker_fee_e8": 50_000, **more},
    )


ROWS = (
    row(0, OKX, "BTC-USDT-SWAP", 1, 2, multiplier=1, multiplier_exponent=2),
    row(1, OKX, "BTC-USDT", 1, 8, kind=InstrumentKind.SPOT),
    row(2, OKX, "ELON-USDT", 11, 0, kind=InstrumentKind.SPOT, base="ELON"),
    row(3, OKX, "BTC-USD-SWAP", 1, 0, is_inverse=True, quote="USD", settle="BTC", multiplier=100),
    row(4, LINEAR, "BTCUSDT", 2, 3),
    row(5, LINEAR, "ETHUSDT", 2, 2, base="ETH"),
    row(6, SPOT, "BTCUSDT", 2, 6, kind=InstrumentKind.SPOT),
)
OKX_CODES = {"BTC-USDT-SWAP": 10459, "BTC-USDT": 3, "ELON-USDT": 77, "BTC-USD-SWAP": 10458}


class Rows:
    """The directory of these instruments."""

    def row(self, instrument_id: int) -> Instrument:
        return {each.instrument_id: each for each in ROWS}[instrument_id]

    def find(self, venue_id: int, symbol: str) -> Instrument | None:
        found = [each for each in ROWS if (each.venue_id, each.symbol) == (venue_id, symbol)]
        return found[0] if found else None


def keys() -> Keys:
    """Keys that are worth nothing."""
    return Keys("a-key", "a-secret", "a phrase")


def order(
    instrument_id: int = 0, *, client_order_id: int = 0x1234, price: int = 619_000, units: int = 150
) -> Order:
    """A buy of 1.50 at 61,900.0."""
    return Order(client_order_id, instrument_id, Side.BUY, price, units)


def wire(client_order_id: int = 0x1234) -> str:
    """A client order id of this instance as the venue knows it."""
    return encode(client_order_id, TAG)


@st.composite
def orders(draw: st.DrawFn, instrument_ids: tuple[int, ...]) -> Order:
    """Any order we can hold: any kind, price, quantity, and terms of a replace."""
    number = st.integers(1, 2**62)
    made = Order(
        draw(st.integers(1, 2**64 - 1)),
        draw(st.sampled_from(instrument_ids)),
        draw(st.sampled_from((Side.BUY, Side.SELL))),
        draw(number),
        draw(number),
    )
    made.order_type = draw(st.sampled_from(OrderType))
    made.time_in_force = draw(st.sampled_from(TimeInForce))
    made.flags = draw(st.sampled_from((0, OrderFlags.POST_ONLY, OrderFlags.REDUCE_ONLY, 3)))
    made.new_price_units, made.new_units = draw(number), draw(number)
    return made


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value within a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield (*prefix, key)
        yield from paths(child, (*prefix, key))


STRANGE: tuple[Any, ...] = (
    None, "", "0", "-1", "abc", "1e400", "9" * 40, "0." + "1" * 60, "NaN", "-", "١٢", 0, -1, 2**70, 1.5,
    True, [], {},
    [None], [[]], [{}], {"list": None}, "\u0000", "buy", "live", "Trade",
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, frames: tuple[dict[str, Any], ...]) -> bytes:
    """A frame with values replaced or left out, or the bytes cut or changed."""
    value = copy.deepcopy(draw(st.sampled_from(frames)))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(tuple(paths(value)) or ((),)))
        if not path:
            break
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        if draw(st.booleans()):
            holder[path[-1]] = copy.deepcopy(draw(st.sampled_from(STRANGE)))
        else:
            del holder[path[-1]]
    data = bytearray(json.dumps(value, ensure_ascii=False).encode())
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data)


def is_formless(order: Order, spot_ids: Container[int]) -> bool:
    """Whether a venue that puts type, time in force and post-only into one word has no form for an order."""
    is_post = bool(order.flags & OrderFlags.POST_ONLY)
    if order.flags & OrderFlags.REDUCE_ONLY and order.side == Side.BUY and order.instrument_id in spot_ids:
        return True  # a spot buy reduces nothing
    if order.order_type == OrderType.MARKET:
        return is_post or order.time_in_force == TimeInForce.FOK
    return is_post and order.time_in_force != TimeInForce.GTC


def one(words: list[Word]) -> Any:
    """The only word."""
    assert len(words) == 1, words
    return words[0]


def assert_exact(words: list[Word]) -> None:
    """What stands in words fits what a report and a journal hold."""
    for word in words:
        for report in [word, *word.reports] if isinstance(word, Answer) else [word]:
            if not isinstance(report, VenueReport):
                continue
            assert report.side in (Side.BUY, Side.SELL) or report.event == Event.NOT_FOUND
            for name in VenueReport.__slots__:
                assert isinstance(getattr(report, name), int), name
                assert -(2**63) <= getattr(report, name) < 2**64, name
            if report.event == Event.FILL_PART:
                assert report.last_units > 0 and report.last_price_units > 0 and report.trade_id > 0
