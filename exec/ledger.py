"""What the OMS tells about quantity and money."""

from __future__ import annotations

from typing import Protocol


class Ledger(Protocol):
    """`risk.exposure.ExposureBook` has this shape."""

    def adjust(self, instrument_id: int, side: int, units: int, product: int, orders: int) -> None:
        """Change what is open on one side by signed differences."""

    def apply_fill(self, instrument_id: int, side: int, price_units: int, units: int, fee_e8: int) -> int:
        """Book a fill; returns the signed position after it."""

    def position_units(self, instrument_id: int) -> int:
        """Signed net position."""

    def reference_price_units(self, instrument_id: int) -> int:
        """Price that values an order without one."""
