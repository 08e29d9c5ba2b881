"""Settings of the order gateway."""

from __future__ import annotations

from dataclasses import dataclass, field

from actors.errors import SettingsError
from risk.errors import LimitsError
from risk.limits import Limits

BPS_E8 = 10_000


@dataclass(frozen=True, slots=True)
class OrderGatewaySettings:
    """Settings of the role `order_gateway`.

    Args:
        mode: "paper" fills orders from live data in this worker.
        maker_fee_bps: paper only; None = the instrument rows' own fee.
        taker_fee_bps: likewise.
        entry_latency_us: paper only, from us to the venue.
        response_latency_us: paper only, from the venue to us.
        orphan_ns: a strategy worker without heartbeat for that long has its orders canceled.
        keep_orphans: leave them for adoption instead.
        journal_file_bytes: size of one journal file.
        limits: fields of `risk.limits.Limits`.
    """

    mode: str = "paper"
    maker_fee_bps: float | None = None
    taker_fee_bps: float | None = None
    entry_latency_us: int = 0
    response_latency_us: int = 0
    orphan_ns: int = 500_000_000
    keep_orphans: bool = False
    journal_file_bytes: int = 64 << 20
    limits: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mode != "paper":
            raise SettingsError(f"order_gateway: mode {self.mode!r} is not known (known: paper)")
        for name in ("entry_latency_us", "response_latency_us"):
            if getattr(self, name) < 0:
                raise SettingsError(f"order_gateway: setting {name!r} must be 0 or more")
        if self.orphan_ns < 1:
            raise SettingsError("order_gateway: setting 'orphan_ns' must be positive")

    @property
    def maker_fee_e8(self) -> int | None:
        """Maker fee as a fraction of notional times 10^8."""
        return None if self.maker_fee_bps is None else round(self.maker_fee_bps * BPS_E8)

    @property
    def taker_fee_e8(self) -> int | None:
        """Taker fee as a fraction of notional times 10^8."""
        return None if self.taker_fee_bps is None else round(self.taker_fee_bps * BPS_E8)

    def make_limits(self) -> Limits:
        """The gate's limits.

        Raises:
            SettingsError: an unknown limit, or a value that makes no sense.
        """
        try:
            return Limits(**self.limits)
        except (TypeError, LimitsError) as error:
            raise SettingsError(f"order_gateway: limits: {error}") from error
