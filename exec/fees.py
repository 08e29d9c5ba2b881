"""Maker and taker fees, exact.

fee = notional * rate, rate in 10^-8 of the notional, result in 10^-8 of the settlement currency. The exact
rational is computed once and rounded up (towards plus infinity): a fee paid is never understated and a
rebate never overstated. Linear notional = price * quantity * multiplier; inverse = quantity * multiplier /
price, in the base currency it settles in.
"""

from __future__ import annotations

from shm.enums import Liquidity
from shm.instruments import Instrument

_TAKER = int(Liquidity.TAKER)


class FeeSchedule:
    """Fees of one instrument.

    Args:
        instrument: its terms and, unless overridden, its rates.
        maker_fee_e8, taker_fee_e8: rates that replace the instrument's, fraction of notional * 10^8.
    """

    __slots__ = ("denominator", "is_inverse", "maker_numerator", "taker_numerator")

    def __init__(
        self, instrument: Instrument, maker_fee_e8: int | None = None, taker_fee_e8: int | None = None
    ) -> None:
        self.is_inverse = bool(instrument.is_inverse)
        denominator: int = 10 ** (instrument.quantity_exponent + instrument.multiplier_exponent)
        numerator = instrument.multiplier
        if self.is_inverse:
            numerator *= 10**instrument.price_exponent
        else:
            denominator *= 10**instrument.price_exponent
        # rate is 10^-8 and the result is 10^-8: the two scales cancel.
        self.denominator = denominator
        self.maker_numerator = numerator * (instrument.maker_fee_e8 if maker_fee_e8 is None else maker_fee_e8)
        self.taker_numerator = numerator * (instrument.taker_fee_e8 if taker_fee_e8 is None else taker_fee_e8)

    def fee_e8(self, price_units: int, quantity_units: int, liquidity: int) -> int:
        """Fee of one fill; positive = paid, negative = rebate.

        Args:
            price_units: fill price, positive.
            quantity_units: filled quantity, positive.
            liquidity: `Liquidity.TAKER` pays the taker rate, everything else the maker rate.
        """
        numerator = self.taker_numerator if liquidity == _TAKER else self.maker_numerator
        if self.is_inverse:
            return -(-quantity_units * numerator // (self.denominator * price_units))
        return -(-price_units * quantity_units * numerator // self.denominator)
