"""Exact reading of a venue's JSON: what is not as documented is a DecodeError naming it, no guess."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson

from exec.errors import DecodeError
from exec.fees import FeeSchedule
from exec.foreign_fees import ForeignFees
from exec.order_protocol import PositionWord
from exec.session import VenueReport
from shm.enums import InstrumentKind, Liquidity, Side
from shm.errors import UnitsError
from shm.instruments import Instrument
from shm.units import UNITS_MAX, parse_units, split_decimal

Row = dict[str, Any]

_SHOWN_MAX = 80
_E8: Final = 8
#: Exponent of prices and quantities of instruments that this run does not trade.
STRANGER_EXPONENT: Final = 8
SIDES: Final = {"buy": Side.BUY, "sell": Side.SELL, "Buy": Side.BUY, "Sell": Side.SELL}


def load(frame: bytes) -> Row:
    """Parse a frame or body that must be a JSON object.

    Raises:
        DecodeError: it is none.
    """
    try:
        value = orjson.loads(frame)
    except orjson.JSONDecodeError as error:
        raise DecodeError(f"not JSON ({error}): {frame[:_SHOWN_MAX]!r}") from error
    if not isinstance(value, dict):
        raise DecodeError(f"not a JSON object: {frame[:_SHOWN_MAX]!r}")
    return value


def text(row: Row, key: str, missing: str | None = None) -> str:
    """A text field; `missing` stands in for an absent or null one.

    Raises:
        DecodeError: it is absent (and there is no stand-in) or no text.
    """
    value = row.get(key)
    if value is None:
        if missing is None:
            raise DecodeError(f"{key} is missing")
        return missing
    if not isinstance(value, str):
        raise DecodeError(f"{key} is no text: {shown(value)}")
    return value


def code_of(row: Row, key: str) -> str:
    """A code that is written as text or as a number; "" when absent.

    Raises:
        DecodeError: it is neither.
    """
    value = row.get(key)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise DecodeError(f"{key} is no code: {shown(value)}")


def child(row: Row, key: str) -> Row:
    """An object within; raises DecodeError when it is absent or none."""
    value = row.get(key)
    if not isinstance(value, dict):
        raise DecodeError(f"{key} is no object: {shown(value)}")
    return value


def rows(row: Row, key: str) -> list[Row]:
    """A list of objects within.

    Raises:
        DecodeError: it is absent or no list, or an item is no object.
    """
    value = row.get(key)
    if not isinstance(value, list):
        raise DecodeError(f"{key} is no list: {shown(value)}")
    for item in value:
        if not isinstance(item, dict):
            raise DecodeError(f"{key} holds what is no object: {shown(item)}")
    return value


def request_number(value: object) -> int:
    """A request id that we wrote as decimal digits; 0 for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 18:
        return int(value)
    return 0


def ms_to_ns(row: Row, key: str) -> int:
    """A time in milliseconds, text or number, as nanoseconds; 0 when absent or empty.

    Raises:
        DecodeError: it is no whole number of at most 15 digits.
    """
    value = row.get(key)
    if value is None or value == "":
        return 0
    digits = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(digits, str) and digits.isascii() and digits.isdecimal() and len(digits) <= 15:
        return int(digits) * 1_000_000
    raise DecodeError(f"{key} is no time in milliseconds: {shown(value)}")


def units(row: Row, key: str, exponent: int) -> int:
    """A decimal text as units of 10^-exponent, exactly; 0 for "" and absent.

    Raises:
        DecodeError: it is no number, or does not fit exactly.
    """
    value = text(row, key, "")
    if not value:
        return 0
    try:
        number: int = parse_units(value, exponent)
        return number
    except UnitsError as error:
        raise DecodeError(f"{key}: {error}") from error


def floored(row: Row, key: str, exponent: int) -> int:
    """A decimal text as units of 10^-exponent, rounded towards minus infinity; 0 for "" and absent.

    For averages and balances, which have more decimals than any unit.

    Raises:
        DecodeError: it is no number, or does not fit 64 bits.
    """
    value = text(row, key, "")
    if not value:
        return 0
    mantissa, decimals = decimal(value, key)
    number: int
    if decimals > exponent:
        number = mantissa // 10 ** (decimals - exponent)
    else:
        number = mantissa * 10 ** (exponent - decimals)
    if abs(number) > UNITS_MAX:
        raise DecodeError(f"{key}: {shown(value)} does not fit 64 bits")
    return number


def decimal(value: str, what: str) -> tuple[int, int]:
    """A decimal text as (mantissa, decimals); raises DecodeError when it is none."""
    try:
        mantissa, decimals = split_decimal(value, True)
    except UnitsError as error:
        raise DecodeError(f"{what}: {error}") from error
    if not -64 <= decimals <= 255:
        raise DecodeError(f"{what}: {shown(value)} has an exponent no money has")
    return mantissa, decimals


def side_of(row: Row, key: str = "side") -> int:
    """BUY or SELL; raises DecodeError for anything else."""
    found = SIDES.get(text(row, key))
    if found is None:
        raise DecodeError(f"{key} is no side: {shown(row.get(key))}")
    return int(found)


def positive(number: int, what: str) -> int:
    """A number that must be above 0; raises DecodeError naming it."""
    if number <= 0:
        raise DecodeError(f"{what} is not positive: {number}")
    return number


def is_true(row: Row, key: str) -> bool:
    """A flag that is written as a boolean or as "true"; absent is false.

    Raises:
        DecodeError: it is neither.
    """
    value = row.get(key)
    if isinstance(value, bool):
        return value
    if value in (None, "", "true", "false"):
        return value == "true"
    raise DecodeError(f"{key} is no flag: {shown(value)}")


def fee_e8(
    cost: str, currency: str, row: Instrument, price_units: int, last_units: int, liquidity: int
) -> int:
    """A fill's fee in 10^-8 of the settlement currency, rounded up: paid never understated.

    A fee in the base currency of a spot pair is valued at the fill's own price. A fee that is not said, or in
    a currency that is neither (a venue's token), is taken from the instrument's own rates: the books hold
    what the venue's schedule says, not nothing.

    Args:
        cost: decimal text, positive = paid; "" = not said.
        currency: of the cost; "" = settlement.
        row: the instrument.
        price_units: of the fill.
        last_units: of the fill.
        liquidity: of the fill.

    Raises:
        DecodeError: the cost is no number, or does not fit 64 bits.
    """
    is_spot = row.kind == InstrumentKind.SPOT
    in_base = is_spot and currency == row.base and row.base != row.settle
    if not cost or not (in_base or currency in ("", row.settle)):
        taker = int(Liquidity.TAKER)
        return FeeSchedule(row).fee_e8(price_units, last_units, liquidity or taker)
    mantissa, decimals = decimal(cost, "fee")
    if in_base:
        mantissa *= price_units
        decimals += row.price_exponent
    fee = scaled_up(mantissa, decimals, _E8)
    if abs(fee) > UNITS_MAX:
        raise DecodeError(f"fee {shown(cost)} does not fit 64 bits")
    return fee


def note_foreign_fee(
    fees: ForeignFees, report: VenueReport, cost: str, currency: str, row: Instrument
) -> None:
    """Keep what a fill cost in a currency that is neither the settlement's nor, of spot, the base.

    Raises:
        DecodeError: the cost is no number.
    """
    if not cost or currency in ("", row.settle) or (row.kind == InstrumentKind.SPOT and currency == row.base):
        return
    mantissa, decimals = decimal(cost, "fee")
    fees.note(report, currency, scaled_up(mantissa, decimals, _E8))


def scaled_up(mantissa: int, decimals: int, exponent: int) -> int:
    """Bring mantissa * 10^-decimals to units of 10^-exponent, rounded towards plus infinity."""
    if decimals <= exponent:
        return mantissa * int(10 ** (exponent - decimals))
    return -(-mantissa // int(10 ** (decimals - exponent)))


def negated(decimal_text: str) -> str:
    """A decimal text with the other sign; "" stays."""
    if not decimal_text:
        return ""
    return decimal_text[1:] if decimal_text.startswith("-") else f"-{decimal_text}"


def shown(value: object) -> str:
    """A value as it stands in an error message."""
    written = repr(value)
    return written if len(written) <= _SHOWN_MAX else f"{written[:_SHOWN_MAX]}…"


def order_terms(
    row: Row, instrument: Instrument | None, price_key: str, units_key: str, filled_key: str
) -> tuple[int, int, int]:
    """Price, quantity and what is filled of an order, in the units of its instrument.

    Of an instrument that this run does not trade (None) they are in 10^-`STRANGER_EXPONENT`, rounded down.

    Raises:
        DecodeError: one is no number, or does not fit exactly.
    """
    if instrument is None:
        return (
            floored(row, price_key, STRANGER_EXPONENT),
            floored(row, units_key, STRANGER_EXPONENT),
            floored(row, filled_key, STRANGER_EXPONENT),
        )
    return (
        units(row, price_key, instrument.price_exponent),
        units(row, units_key, instrument.quantity_exponent),
        units(row, filled_key, instrument.quantity_exponent),
    )


def position_terms(
    row: Row, instrument: Instrument | None, units_key: str, average_key: str
) -> tuple[int, int]:
    """Quantity and average price of a position, the average rounded down; see `order_terms`."""
    if instrument is None:
        return floored(row, units_key, STRANGER_EXPONENT), floored(row, average_key, STRANGER_EXPONENT)
    return (
        units(row, units_key, instrument.quantity_exponent),
        floored(row, average_key, instrument.price_exponent),
    )


def net_positions(
    items: list[tuple[str, int, int, int]], find: Callable[[str], Instrument | None]
) -> list[PositionWord]:
    """One word for each symbol; the sides of hedge mode are added up, and sums have no average price.

    Args:
        items: (symbol, signed units, average price, time).
        find: an instrument by its symbol.
    """
    sums: dict[str, tuple[int, int, int]] = {}
    for symbol, position, average, utc_ns in items:
        known = sums.get(symbol)
        if known is None:
            sums[symbol] = (position, average if position else 0, utc_ns)
        else:
            sums[symbol] = (known[0] + position, 0, max(known[2], utc_ns))
    words = []
    for symbol, (position, average, utc_ns) in sums.items():
        instrument = find(symbol)
        instrument_id = -1 if instrument is None else instrument.instrument_id
        words.append(PositionWord(instrument_id, symbol, position, average, utc_ns))
    return words
