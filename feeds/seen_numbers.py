"""What the numbers of one symbol in a capture show: how fine they are, and which step they keep to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import gcd

DIGITS_MAX = 19  # of a number that fits 64 bits


@dataclass(slots=True)
class SeenNumbers:
    """Decimals and greatest common divisor of all that was taken."""

    decimals: list[int] = field(default_factory=lambda: [0, 0])  # of prices, of quantities
    # Greatest common divisor of all numbers seen, in units of 10^-decimals.
    step: list[int] = field(default_factory=lambda: [0, 0])

    def take(self, index: int, texts: Sequence[str]) -> None:
        """Look at prices (index 0) or quantities (1) as texts; what is no plain number is passed over."""
        for text in texts:
            whole, _, fraction = text.partition(".")
            digits = whole + fraction
            if not digits.isdigit() or len(digits) > DIGITS_MAX:
                continue
            if len(fraction) > self.decimals[index]:
                self.step[index] *= 10 ** (len(fraction) - self.decimals[index])
                self.decimals[index] = len(fraction)
            self.step[index] = gcd(
                self.step[index], int(digits) * 10 ** (self.decimals[index] - len(fraction))
            )
