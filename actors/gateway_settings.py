"""Settings of the order gateway."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from actors.errors import SettingsError
from exec.errors import SimulatorError
from exec.simulator.latency import Latency, parse_latency
from exec.simulator.queue_model import QueueModel, parse_queue_model
from risk.errors import LimitsError
from risk.limits import Limits

BPS_E8 = 10_000
MODES = ("paper", "venue")
LATENCIES = ("entry_latency", "response_latency", "feed_latency")


@dataclass(frozen=True, slots=True)
class OrderGatewaySettings:
    """Settings of the role `order_gateway`.

    Args:
        mode: "paper" fills orders from live data in this worker, "venue" sends them to the accounts' venues.
        accounts: of mode "venue", one `actors.venue_account.VenueAccount` object each.
        maker_fee_bps: paper only; None = the instrument rows' own fee.
        taker_fee_bps: likewise.
        queue_model: paper only, as `exec.simulator.queue_model.parse_queue_model` takes it.
        entry_latency: paper only, from us to the venue, as `exec.simulator.latency.parse_latency` takes it.
        response_latency: paper only, from the venue to us, of reports.
        feed_latency: paper only, from the venue to us, of market data; a replay may take it from the stamps.
        orphan_ns: a strategy worker without heartbeat for that long has its orders canceled.
        keep_orphans: leave them for adoption instead.
        spin_ns: so long the worker looks for the next record before it parks; 0 = it parks at once.
        rehearse_ns: between two rehearsals of an order while orders are sent; 0 = none.
        journal_file_bytes: size of one journal file.
        limits: fields of `risk.limits.Limits`.
        correlation_threshold: instruments that correlate that much, either way, are one position.
        correlation_step_ns: time between two samples of the marks; 0 = correlations are not watched.
        correlation_half_life: samples after which a return counts half.
    """

    mode: str = "paper"
    accounts: list[dict[str, Any]] = field(default_factory=list)
    maker_fee_bps: float | None = None
    taker_fee_bps: float | None = None
    queue_model: str = "risk_averse"
    entry_latency: str = "0"
    response_latency: str = "0"
    feed_latency: str = "0"
    orphan_ns: int = 500_000_000
    keep_orphans: bool = False
    spin_ns: int = 0
    rehearse_ns: int = 0
    journal_file_bytes: int = 64 << 20
    limits: dict[str, int] = field(default_factory=dict)
    correlation_threshold: float = 0.8
    correlation_step_ns: int = 0
    correlation_half_life: float = 300.0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise SettingsError(f"order_gateway: mode {self.mode!r} is not known (known: {', '.join(MODES)})")
        self.make_queue_model()
        for name in LATENCIES:
            self.make_latency(name, "")
        if self.orphan_ns < 1:
            raise SettingsError("order_gateway: setting 'orphan_ns' must be positive")
        if not 0.0 < self.correlation_threshold <= 1.0:
            raise SettingsError(
                "order_gateway: setting 'correlation_threshold' must be above 0 and at most 1"
            )
        if self.correlation_step_ns < 0 or self.correlation_half_life <= 0.0:
            raise SettingsError("order_gateway: correlation step and half-life must not be negative")

    @property
    def maker_fee_e8(self) -> int | None:
        """Maker fee as a fraction of notional times 10^8."""
        return None if self.maker_fee_bps is None else round(self.maker_fee_bps * BPS_E8)

    @property
    def taker_fee_e8(self) -> int | None:
        """Taker fee as a fraction of notional times 10^8."""
        return None if self.taker_fee_bps is None else round(self.taker_fee_bps * BPS_E8)

    def make_queue_model(self) -> QueueModel:
        """How resting paper orders advance.

        Raises:
            SettingsError: the text names no model.
        """
        try:
            return parse_queue_model(self.queue_model)
        except SimulatorError as error:
            raise SettingsError(f"order_gateway: setting 'queue_model': {error}") from error

    def make_latency(self, name: str, seed: str) -> Latency:
        """One of `LATENCIES`.

        Args:
            name: of the setting.
            seed: of what is drawn.

        Raises:
            SettingsError: the text describes none, or its table can not be read.
        """
        try:
            return parse_latency(getattr(self, name), f"{seed}/{name}", with_stamps=name == "feed_latency")
        except SimulatorError as error:
            raise SettingsError(f"order_gateway: setting {name!r}: {error}") from error

    def make_limits(self) -> Limits:
        """The gate's limits.

        Raises:
            SettingsError: an unknown limit, or a value that makes no sense.
        """
        try:
            return Limits(**self.limits)
        except (TypeError, LimitsError) as error:
            raise SettingsError(f"order_gateway: limits: {error}") from error
