"""Exact money from integers: realized and unrealized PnL and fees in 10^-8 of the settlement currency.

Everything is kept as a *product* (a Python int, so 128 bits and more never overflow) and converted to
10^-8 once, at the end; sums of products carry no rounding.

- Linear: product = price_units * quantity_units, so PnL = exit product - entry product.
- Inverse (settled in the base currency): a contract is worth multiplier / price of the base, so
  product = -quantity_units * 10^24 / price_units (rounded half to even; the error of one fill is below
  10^-12 of 10^-8 for every real price). The sign makes PnL = exit - entry hold here too.

Formulas: the venues' own for USDT- and coin-margined futures (linear: (exit - entry) * size; inverse:
(1/entry - 1/exit) * size * multiplier).
"""

from __future__ import annotations

from shm.instruments import Instrument

INVERSE_SCALE = 10**24
_E8 = 10**8


def round_half_even(numerator: int, denominator: int) -> int:
    """Divide to the nearest integer, halves to even; `denominator` is positive."""
    quotient, remainder = divmod(numerator, denominator)
    double = remainder * 2
    if double > denominator or (double == denominator and quotient & 1):
        return quotient + 1
    return quotient


class Valuation:
    """Products and their conversion for one instrument."""

    __slots__ = (
        "is_inverse",
        "settle_denominator",
        "settle_numerator",
        "value_denominator",
        "value_numerator",
    )

    def __init__(self, instrument: Instrument) -> None:
        self.is_inverse = bool(instrument.is_inverse)
        scale: int = 10 ** (instrument.quantity_exponent + instrument.multiplier_exponent)
        price_scale: int = 10**instrument.price_exponent
        if self.is_inverse:
            # Exposure of an inverse contract is quantity * multiplier of the quote currency, at any price.
            self.value_numerator = instrument.multiplier * _E8
            self.value_denominator = scale
            self.settle_numerator = instrument.multiplier * _E8 * price_scale
            self.settle_denominator = scale * INVERSE_SCALE
        else:
            self.value_numerator = self.settle_numerator = instrument.multiplier * _E8
            self.value_denominator = self.settle_denominator = scale * price_scale

    def product(self, price_units: int, quantity_units: int) -> int:
        """Value of a signed quantity at a price, in product units of the settlement currency."""
        if self.is_inverse:
            return -round_half_even(quantity_units * INVERSE_SCALE, price_units)
        return price_units * quantity_units

    def settle_e8(self, product: int) -> int:
        """Convert a settlement product to 10^-8, rounded half to even."""
        return round_half_even(product * self.settle_numerator, self.settle_denominator)

    def exposure_e8(self, product: int, quantity_units: int) -> int:
        """Convert |price * quantity| (linear) or |quantity| (inverse) to 10^-8 of the quote, rounded up.

        Rounded up because limits are compared with it.
        """
        base = quantity_units if self.is_inverse else product
        return -(-abs(base) * self.value_numerator // self.value_denominator)


def unrealized_product(
    valuation: Valuation, quantity_units: int, cost_product: int, mark_price_units: int
) -> int:
    """PnL of the open lots at the mark, in product units; 0 when flat or unmarked."""
    if not quantity_units or mark_price_units <= 0:
        return 0
    return valuation.product(mark_price_units, quantity_units) - cost_product
