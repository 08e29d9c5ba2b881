"""Values in the venue's JSON, exact: prices, quantities, fees, times; what is malformed is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from exec.errors import DecodeError
from exec.fees import FeeSchedule
from exec.foreign_fees import ForeignFees
from exec.session import VenueReport
from shm.errors import UnitsError
from shm.instruments import Instrument
from shm.units import parse_units, split_decimal

Json = dict[str, Any]
MS_NS = 1_000_000
FEE_EXPONENT = 8
#: What reading a message of another shape than it must have raises.
MALFORMED = (KeyError, TypeError, ValueError, IndexError, AttributeError, UnitsError)


def load_object(frame: bytes, what: str) -> Json:
    """A frame as a JSON object; raises DecodeError."""
    try:
        data = orjson.loads(frame)
    except orjson.JSONDecodeError as error:
        raise DecodeError(f"{what}: not JSON: {frame[:80]!r}") from error
    if not isinstance(data, dict):
        raise DecodeError(f"{what}: an object is expected, got {frame[:80]!r}")
    return data


def broken(what: str, data: object, error: Exception) -> DecodeError:
    """The error that names what is wrong with a message and shows its beginning."""
    text = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) and error.args else str(error)
    return DecodeError(f"{what}: {text} in {orjson.dumps(data)[:200].decode()}")


def utc_ns_of(data: Mapping[str, Any], name: str) -> int:
    """A time in ms as ns, 0 when it is absent."""
    return int(data.get(name, 0)) * MS_NS


def price_of(row: Instrument, data: Mapping[str, Any], name: str) -> int:
    """A price in the instrument's units; raises ValueError when it does not fit."""
    return _units(data, name, row.price_exponent)


def quantity_of(row: Instrument, data: Mapping[str, Any], name: str) -> int:
    """A quantity in the instrument's units; raises ValueError when it does not fit."""
    return _units(data, name, row.quantity_exponent)


def _units(data: Mapping[str, Any], name: str, exponent: int) -> int:
    try:
        return int(parse_units(data[name], exponent))
    except UnitsError as error:
        raise ValueError(f"{name}: {error}") from error


def average_of(row: Instrument, text: str) -> int:
    """An average price, rounded down to the instrument's units: it is shown, not computed with."""
    return _floored(text, row.price_exponent)


def _floored(text: str, exponent: int) -> int:
    try:
        mantissa, decimals = split_decimal(text)
    except UnitsError as error:
        raise ValueError(str(error)) from error
    shift = exponent - decimals
    units: int = mantissa * 10**shift if shift >= 0 else mantissa // 10**-shift
    return units


def exact_e8(text: str) -> int:
    """A decimal in 10^-8, what is finer cut off."""
    return _floored(text, FEE_EXPONENT)


def take_fee(row: Instrument, report: VenueReport, asset: str, text: str, fees: ForeignFees) -> None:
    """Book the commission of a fill in 10^-8 of settlement.

    One in another asset (a discount token) is kept apart, and the books hold the instrument's own rate. Where
    nothing was charged the stream names neither asset nor amount ("Event: Order Update").
    """
    if not asset and not split_decimal(text)[0]:
        report.fee_units = 0
        return
    if asset == row.settle:
        report.fee_units = -_floored(_negated(text), FEE_EXPONENT)
        return
    schedule = FeeSchedule(row)
    report.fee_units = schedule.fee_e8(report.last_price_units, report.last_units, report.liquidity)
    if asset:
        fees.note(report, asset, -_floored(_negated(text), FEE_EXPONENT))


def _negated(text: str) -> str:
    # A fee is rounded up: never understated.
    return text[1:] if text.startswith("-") else f"-{text}"


def code_of(data: Mapping[str, Any]) -> int:
    """The code of an error body, 0 when it has none."""
    code = data.get("code", 0)
    return code if isinstance(code, int) else 0
