"""The sections of a configuration that say which venues there are and how they are reached."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Section(BaseModel):
    """Base of all sections: strict types, no unknown key, immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SimulatedConfig(Section):
    """A simulated venue on loopback, started as a child of the engine.

    Either a seeded synthetic market (`instruments`, `rate`) or recorded frames (`capture`).
    """

    instruments: int | None = Field(default=None, ge=1, le=2_000)
    rate: float | None = Field(default=None, ge=0.0)  # 0 is silence
    seed: int | None = Field(default=None, ge=0)
    capture: list[str] = []
    speed: Literal["original", "max"] | float = "original"
    times: Literal["shift", "original"] = "shift"
    at_end: Literal["stop", "loop", "exit"] = "stop"
    clients: int | None = Field(default=None, ge=1)
    tls: bool = False
    port: int = Field(default=0, ge=0, le=65_535)
    rest_port: int = Field(default=0, ge=0, le=65_535)

    @field_validator("speed")
    @classmethod
    def _speed_is_positive(cls, value: str | float) -> str | float:
        if isinstance(value, float | int) and value <= 0:
            raise ValueError('expected "original", "max" or a factor above 0')
        return value

    @model_validator(mode="after")
    def _one_source(self) -> SimulatedConfig:
        if self.capture and (self.instruments is not None or self.rate is not None):
            raise ValueError(
                "capture and instruments/rate exclude each other: recorded frames or a synthetic market"
            )
        return self


Severity = Literal["off", "count", "status", "stale", "quarantine"]


class WatchConfig(Section):
    """Limits of the price, volume and anomaly rules; left out = the default (`feeds.validation`)."""

    jump_bps: float | None = Field(default=None, ge=0.0)
    jump_scale: float | None = Field(default=None, ge=0.0)
    jump_tau_ns: int | None = Field(default=None, ge=1)
    jump_warm_up: int | None = Field(default=None, ge=0)
    volume_ratio: float | None = Field(default=None, ge=0.0)
    volume_bucket_ns: int | None = Field(default=None, ge=1)
    volume_warm_up: int | None = Field(default=None, ge=0)
    anomaly_probability: float | None = Field(default=None, ge=0.0, le=0.01)
    anomaly_warm_up: int | None = Field(default=None, ge=0)
    floor_bps: float | None = Field(default=None, ge=0.0)
    floor_gap_ns: int | None = Field(default=None, ge=0)
    floor_rate: float | None = Field(default=None, ge=0.0)


class ValidationConfig(Section):
    """Rules that judge data which is in sequence and may still be wrong, and what a finding does."""

    timestamp_severity: Severity | None = None
    deviation_ns: int | None = Field(default=None, ge=1)
    spread_severity: Severity | None = None
    spread_bps: float | None = Field(default=None, gt=0.0)
    jump_severity: Severity | None = None
    volume_severity: Severity | None = None
    anomaly_severity: Severity | None = None
    quarantine_findings: int | None = Field(default=None, ge=1)
    quarantine_window_ns: int | None = Field(default=None, ge=1)
    quarantine_calm_ns: int | None = Field(default=None, ge=0)
    watch: WatchConfig | None = None


class AuditConfig(Section):
    """How often books are compared with the venue's snapshots."""

    period_s: float | None = Field(default=None, ge=0.0)
    share: float | None = Field(default=None, gt=0.0, le=1.0)
    levels: int | None = Field(default=None, ge=1)


class VenueConfig(Section):
    """One venue: where it is and what to subscribe to."""

    adapter: str
    websocket_url: str | None = Field(default=None, pattern=r"^wss?://")
    rest_url: str | None = Field(default=None, pattern=r"^https?://")
    symbols: list[str] = []
    priority: int = Field(default=1, ge=1, le=4)
    depth_stream: str | None = None
    trade_stream: str | None = None
    connections: int | None = Field(default=None, ge=1, le=4)
    rotate_s: float = Field(default=0.0, ge=0.0)
    connects_per_s: float = Field(default=0.0, ge=0.0)
    liquidations: bool = False
    status: bool = False
    listing_s: float = Field(default=300.0, ge=0.0)
    clock_s: float = Field(default=60.0, ge=0.0)
    validation: ValidationConfig = ValidationConfig()
    audit: AuditConfig = AuditConfig()
    ca_file: str | None = None
    simulated: SimulatedConfig | None = None

    @model_validator(mode="after")
    def _reachable(self) -> VenueConfig:
        if self.simulated is None:
            missing = [k for k in ("websocket_url", "rest_url") if getattr(self, k) is None]
            if missing:
                raise ValueError(f"{' and '.join(missing)} missing (or give a `simulated` table)")
            if not self.symbols:
                raise ValueError("symbols missing: a real venue needs a list of its symbols")
        elif self.websocket_url is not None or self.rest_url is not None:
            raise ValueError(
                "websocket_url and rest_url exclude `simulated`: the engine learns them from the venue"
            )
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError("symbols are listed twice")
        return self
