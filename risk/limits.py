"""The numbers that checks compare with."""

from __future__ import annotations

from dataclasses import dataclass, fields

from risk.errors import LimitsError


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one instrument (or the default of all); money in 10^-8 of the quote currency.

    Zero turns a limit off, except `max_silence_ns` and `max_intent_age_ns`, which have no off: the proof
    that a book is alive and an intent fresh is not optional. `max_exposure_e8` is over all instruments of
    the gate and read from the default limits only, and so are the rate and
    `max_correlated_notional_e8`, which is over all instruments of a correlated group.

    Raises:
        LimitsError: a value is negative, not an integer, or a mandatory one is zero.
    """

    max_order_units: int = 0
    max_order_notional_e8: int = 0
    max_position_notional_e8: int = 0
    max_exposure_e8: int = 0
    orders_per_s: int = 0
    burst: int = 1
    max_open_orders: int = 0
    max_silence_ns: int = 2_000_000_000
    max_data_age_ns: int = 0
    max_intent_age_ns: int = 100_000_000
    price_band_bps: int = 0
    max_correlated_notional_e8: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise LimitsError(f"limit {field.name} must be an integer >= 0, got {value!r}")
        for name in ("max_silence_ns", "max_intent_age_ns", "burst"):
            if getattr(self, name) == 0:
                raise LimitsError(f"limit {name} must be positive")
        if self.price_band_bps >= 10_000:
            raise LimitsError(f"limit price_band_bps must be below 10000, got {self.price_band_bps}")
