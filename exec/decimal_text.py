"""Integers as decimal text for the wire: exact, no float, no checks; the units are an instrument's own."""

from __future__ import annotations


def decimal_text(units: int, exponent: int) -> str:
    """Write `units` × 10^-`exponent`, with as many decimals as the exponent ("61800.20")."""
    if not exponent:
        return str(units)
    if units < 0:
        return "-" + decimal_text(-units, exponent)
    digits = str(units)
    if len(digits) <= exponent:
        digits = digits.zfill(exponent + 1)
    return f"{digits[:-exponent]}.{digits[-exponent:]}"
