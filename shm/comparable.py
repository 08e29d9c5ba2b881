"""One instrument at several venues in units that all of them share: what merging and routing convert with.

Venues state prices and quantities in units of their own: other exponents, quantities in contracts of some
multiplier, contracts of a thousand X. Scales that are whole numbers bring all of them to the finest unit any
of them needs, so nothing is rounded, and back again by exact division.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shm.enums import InstrumentStatus
from shm.errors import InstrumentError
from shm.instruments import Instrument
from shm.units import EXPONENT_MAX, UNITS_MAX

#: A base that holds a factor: 1000SHIB, SHIB1000, 1MBABYDOGE.
FACTOR = re.compile(r"1(?:(?P<zeros>0+)|M)")
MILLION_POWER = 6


@dataclass(frozen=True, slots=True)
class SharedUnits:
    """Units that several instruments share.

    Args:
        price_exponent: prices are counts of 10^-price_exponent of the quote currency for one of the base.
        quantity_exponent: quantities are counts of 10^-quantity_exponent of the base currency; of the quote
            currency where the contracts are inverse.
        price_scales: by instrument: shared units of one of its price units.
        quantity_scales: by instrument: shared units of one of its quantity units.
    """

    price_exponent: int
    quantity_exponent: int
    price_scales: tuple[int, ...]
    quantity_scales: tuple[int, ...]


def factor_power(row: Instrument) -> int:
    """Say which power of ten of the base one unit of a price is for: 3 for a contract of 1000X, else 0.

    Raises:
        InstrumentError: the venue's base is not the base of the canonical name times a power of ten.
    """
    plain = row.canonical.partition("-")[0]
    if not row.base or not plain or row.base == plain:
        return 0
    rest = ""
    if row.base.endswith(plain):
        rest = row.base[: -len(plain)]
    elif row.base.startswith(plain):
        rest = row.base[len(plain) :]
    found = FACTOR.fullmatch(rest)
    if found is None:
        raise InstrumentError(
            f"{row.symbol}: its base {row.base!r} is no multiple of {plain!r} that is known"
        )
    return len(found["zeros"]) if found["zeros"] else MILLION_POWER


def shared_units(rows: Sequence[Instrument]) -> SharedUnits:
    """Find the units that all these rows share.

    Args:
        rows: one instrument at several venues, at least one row.

    Raises:
        InstrumentError: none were given, they are not one instrument, linear and inverse ones are mixed, or
            a scale does not fit 64 bits; the text names the row.
    """
    if not rows:
        raise InstrumentError("there is no instrument to share units with")
    first = rows[0]
    for row in rows[1:]:
        if (row.canonical, row.kind, row.is_inverse) != (first.canonical, first.kind, first.is_inverse):
            others = f"{first.symbol} ({first.canonical})"
            raise InstrumentError(f"{row.symbol} ({row.canonical}) is not the same instrument as {others}")
    powers = [factor_power(row) for row in rows]
    prices = [row.price_exponent + power for row, power in zip(rows, powers, strict=True)]
    # The quantity of an inverse contract is money: a factor of the base does not enter.
    bases = [0] * len(rows) if first.is_inverse else powers
    quantities = [
        row.quantity_exponent + row.multiplier_exponent - power
        for row, power in zip(rows, bases, strict=True)
    ]
    price_exponent, quantity_exponent = max(prices), max(0, *quantities)
    units = SharedUnits(
        price_exponent,
        quantity_exponent,
        tuple(10 ** (price_exponent - exponent) for exponent in prices),
        tuple(
            row.multiplier * 10 ** (quantity_exponent - exponent)
            for row, exponent in zip(rows, quantities, strict=True)
        ),
    )
    for row, *scales in zip(rows, units.price_scales, units.quantity_scales, strict=True):
        if max(scales) > UNITS_MAX or max(price_exponent, quantity_exponent) > EXPONENT_MAX:
            raise InstrumentError(
                f"{row.symbol} of venue {row.venue_id} shares no unit of 64 bits with the others"
            )
    return units


def rows_of(table: Iterable[Instrument], canonical: str) -> list[Instrument]:
    """Return the rows of a canonical name that are in force, in the order of their ids.

    A row that was retired has a successor of the same name, one that was delisted has no book to come.
    """
    gone = (InstrumentStatus.RETIRED, InstrumentStatus.DELISTED)
    return [row for row in table if row.canonical == canonical and row.status not in gone]
