"""The merged view as anyone would write it: fractions, a dict per side, sorted when read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from shm.instruments import Instrument

Levels = Sequence[tuple[int, int]]
Merged = list[tuple[Fraction, Fraction, int]]


def price_of(row: Instrument, units: int, factor: int) -> Fraction:
    """Quote currency for one of the base."""
    return Fraction(units, 10**row.price_exponent * factor)


def quantity_of(row: Instrument, units: int, factor: int) -> Fraction:
    """Base currency; quote currency of an inverse contract."""
    one = Fraction(row.multiplier, 10 ** (row.quantity_exponent + row.multiplier_exponent))
    return units * one * (1 if row.is_inverse else factor)


def naive_side(books: Iterable[tuple[Instrument, Levels, int]], depth: int, *, is_ask: bool) -> Merged:
    """Merge one side of (row, levels, factor of a contract of 1000X) into its best `depth` levels."""
    found: dict[Fraction, tuple[Fraction, int]] = {}
    for row, levels, factor in books:
        for price_units, quantity_units in levels:
            price = price_of(row, price_units, factor)
            quantity, mask = found.get(price, (Fraction(0), 0))
            found[price] = (
                quantity + quantity_of(row, quantity_units, factor),
                mask | 1 << row.venue_id,
            )
    prices = sorted(found, reverse=not is_ask)[:depth]
    return [(price, *found[price]) for price in prices]
