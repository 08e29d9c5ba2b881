"""Prices and quantities as exact integers: text in, text out, rounding to steps, money.

A price or quantity is an int64 count of 10^-exponent, the exponent belonging to the instrument. Nothing here
touches a float, and what does not fit exactly is an error, never a rounding.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from shm.errors import UnitsError

if TYPE_CHECKING:
    from shm.instruments import Instrument

UNITS_MAX = 2**63 - 1
UNITS_MIN = -(2**63)
EXPONENT_MAX = 255
E8 = 10**8

# Longer than any number that fits 64 bits at exponent 255; bounds the work a hostile text can cause.
TEXT_MAX = 400

PLAIN = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?", re.ASCII)
SCIENTIFIC = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]{1,4}))?", re.ASCII)


def split_decimal(text: str | bytes, allow_scientific: bool = False) -> tuple[int, int]:
    """Split decimal text into an exact mantissa and the number of decimals it was written with.

    Args:
        text: ASCII decimal number, `-` allowed, no `+`, no blanks, digits on both sides of a point.
        allow_scientific: accept an `e` part too ("1e-11"), as some venues' REST answers use it.

    Returns:
        (mantissa, decimals): the value is mantissa × 10^-decimals; decimals is negative for "5e12".

    Raises:
        UnitsError: the text is not such a number.
    """
    written = text.decode("ascii", "backslashreplace") if isinstance(text, bytes) else text
    if len(written) > TEXT_MAX:
        raise UnitsError(f"{written[:40]!r}… is not a decimal number: {len(written)} characters")
    match = (SCIENTIFIC if allow_scientific else PLAIN).fullmatch(written)
    if match is None:
        raise UnitsError(f"{written!r} is not a decimal number")
    sign, whole, fraction = match.group(1), match.group(2), match.group(3) or ""
    power = int(match.group(4) or 0) if allow_scientific else 0
    mantissa = int(whole + fraction)
    return -mantissa if sign else mantissa, len(fraction) - power


def parse_units(text: str | bytes, exponent: int, *, allow_scientific: bool = False) -> int:
    """Turn decimal text into units of 10^-exponent, exactly.

    Zeros behind the last significant decimal are free: "61800.20" fits exponent 1, "61800.25" does not.

    Args:
        text: decimal number as the venue wrote it.
        exponent: units are 10^-exponent; 0 to 255.
        allow_scientific: accept "1e-11" as well.

    Returns:
        The count of units, within int64.

    Raises:
        UnitsError: the text is no number, needs more decimals than the exponent has, or does not fit 64 bits.
    """
    check_exponent(exponent)
    mantissa, decimals = split_decimal(text, allow_scientific)
    shift = exponent - decimals
    if shift >= 0:
        units = mantissa * 10**shift if mantissa else 0
    else:
        units, rest = divmod(mantissa, 10**-shift)
        if rest:
            raise UnitsError(f"{shown(text)} does not fit exponent {exponent}: it needs more decimals")
    if not UNITS_MIN <= units <= UNITS_MAX:
        raise UnitsError(f"{shown(text)} does not fit 64 bits at exponent {exponent}")
    return units


def format_units(units: int, exponent: int) -> str:
    """Write units of 10^-exponent as text with exactly `exponent` decimals, as venues do ("61800.20").

    Raises:
        UnitsError: the exponent is outside 0 to 255.
    """
    check_exponent(exponent)
    sign = "-" if units < 0 else ""
    digits = str(abs(units))
    if not exponent:
        return sign + digits
    digits = digits.rjust(exponent + 1, "0")
    return f"{sign}{digits[:-exponent]}.{digits[-exponent:]}"


def decimals_of(text: str | bytes, *, allow_scientific: bool = True) -> int:
    """Say how many decimals a number needs: the smallest exponent at which it fits ("0.0100" needs 2).

    Raises:
        UnitsError: the text is not a decimal number.
    """
    mantissa, decimals = split_decimal(text, allow_scientific)
    if not mantissa:
        return 0
    while decimals > 0 and mantissa % 10 == 0:
        mantissa //= 10
        decimals -= 1
    return max(decimals, 0)


def floor_to_step(units: int, step: int) -> int:
    """Round down (towards minus infinity) to a multiple of a tick or lot size.

    Raises:
        UnitsError: the step is not positive.
    """
    check_step(step)
    return units - units % step


def ceil_to_step(units: int, step: int) -> int:
    """Round up (towards plus infinity) to a multiple of a tick or lot size.

    Raises:
        UnitsError: the step is not positive.
    """
    check_step(step)
    return units + -units % step


def notional_exact(price_units: int, quantity_units: int, instrument: Instrument) -> tuple[int, int]:
    """Value an amount at a price, exactly, in the quote currency.

    Linear: price × quantity × multiplier, the multiplier being base currency of one quantity unit of the
    venue.
    Inverse: quantity × multiplier, the multiplier being quote currency of one contract (the price does not
    enter; the settlement currency's amount is this divided by the price).

    Returns:
        (mantissa, exponent): the value is mantissa × 10^-exponent; the sign is the quantity's.
    """
    if instrument.is_inverse:
        return (
            quantity_units * instrument.multiplier,
            instrument.quantity_exponent + instrument.multiplier_exponent,
        )
    exponent = instrument.price_exponent + instrument.quantity_exponent + instrument.multiplier_exponent
    return price_units * quantity_units * instrument.multiplier, exponent


def to_e8(mantissa: int, exponent: int) -> int:
    """Turn mantissa × 10^-exponent into units of 10^-8, a remainder rounded away from zero.

    Away from zero because limits compare with it: they must never see less than is there.
    """
    if exponent <= 8:
        factor: int = 10 ** (8 - exponent)
        return mantissa * factor
    divisor: int = 10 ** (exponent - 8)
    return -(-mantissa // divisor) if mantissa >= 0 else mantissa // divisor


def notional_e8(price_units: int, quantity_units: int, instrument: Instrument) -> int:
    """Value an amount at a price in 10^-8 of the quote currency; see `notional_exact` and `to_e8`.

    Python integers throughout, so no product overflows. The result is exact unless the product has more than
    eight decimals; sum `notional_exact` mantissas instead where many small amounts are added.
    """
    return to_e8(*notional_exact(price_units, quantity_units, instrument))


def check_exponent(exponent: int) -> None:
    """Refuse an exponent that no instrument row can hold."""
    if not 0 <= exponent <= EXPONENT_MAX:
        raise UnitsError(f"exponent {exponent} is outside 0 to {EXPONENT_MAX}")


def check_step(step: int) -> None:
    """Refuse a step that divides nothing."""
    if step <= 0:
        raise UnitsError(f"step {step} is not positive")


def shown(text: str | bytes) -> str:
    """Text as it stands in an error message."""
    return repr(text.decode("ascii", "backslashreplace") if isinstance(text, bytes) else text)
