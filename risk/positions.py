"""Position from fills: signed quantity, average cost, realized PnL and fees, exact.

Average cost (not first-in first-out), as the venues show it. Closing part of a position removes the
same part of the cost, rounded down to a whole product unit; what rounding leaves stays in the cost of
the rest, so realized + unrealized always equals the cash flow to the last unit.
"""

from __future__ import annotations

from risk.pnl import Valuation, unrealized_product
from shm.enums import Side


class FillPosition:
    """Net position of one instrument, built only from fills."""

    __slots__ = ("cost_product", "fees_e8", "fills", "quantity_units", "realized_product", "valuation")

    def __init__(self, valuation: Valuation) -> None:
        self.valuation = valuation
        self.quantity_units = 0
        self.cost_product = 0
        self.realized_product = 0
        self.fees_e8 = 0
        self.fills = 0

    def apply_fill(self, side: int, price_units: int, units: int, fee_e8: int) -> int:
        """Book one fill and return the signed quantity after it.

        Args:
            side: `Side.BUY` or `Side.SELL`.
            price_units: fill price, positive.
            units: filled quantity, positive.
            fee_e8: fee paid in 10^-8 of the settlement currency, negative = rebate.
        """
        signed = units if side == Side.BUY else -units
        old = self.quantity_units
        self.fills += 1
        self.fees_e8 += fee_e8
        if old == 0 or (old > 0) == (signed > 0):
            self.cost_product += self.valuation.product(price_units, signed)
            self.quantity_units = old + signed
            return self.quantity_units
        closed = min(units, abs(old))
        removed = self.cost_product * closed // abs(old)
        # The closing trade has the opposite sign, so the closed lots leave at minus its product.
        direction = 1 if old > 0 else -1
        self.realized_product += self.valuation.product(price_units, closed * direction) - removed
        self.cost_product -= removed
        self.quantity_units = old + closed * -direction
        rest = units - closed
        if rest:
            self.quantity_units = rest * -direction
            self.cost_product = self.valuation.product(price_units, rest * -direction)
        return self.quantity_units

    @property
    def average_price_units(self) -> int:
        """Average entry price in whole price units, rounded down; 0 when flat."""
        if not self.quantity_units:
            return 0
        if self.valuation.is_inverse:
            from_cost = -self.cost_product
            return self.quantity_units * 10**24 // from_cost if from_cost else 0
        return self.cost_product // self.quantity_units

    @property
    def realized_e8(self) -> int:
        """Realized PnL before fees, 10^-8 of the settlement currency."""
        return self.valuation.settle_e8(self.realized_product)

    def unrealized_e8(self, mark_price_units: int) -> int:
        """Unrealized PnL at a mark, 10^-8 of the settlement currency; 0 without a mark."""
        product = unrealized_product(self.valuation, self.quantity_units, self.cost_product, mark_price_units)
        return self.valuation.settle_e8(product)
