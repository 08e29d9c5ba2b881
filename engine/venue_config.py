"""The sections of a configuration that say which venues there are and how they are reached."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from engine.errors import ConfigError, Problem
from engine.toml_lines import Key
from exec.errors import SimulatorError
from exec.simulator.latency import parse_latency
from feeds.names import is_pattern

#: What a simulated venue makes at most; it refuses more itself (`tools.venues.synthetic_source`).
SIMULATED_INSTRUMENTS_MAX = 1_000
SIMULATED_RATE_MAX = 1_000_000.0
RATE_FACTOR_MAX = 1_000_000.0
#: Keys of a simulated venue that say how it trades.
TRADING_KEYS = ("balances", "leverage", "maker_fee", "taker_fee", "entry_latency", "response_latency")
#: Keys of a simulated venue that say how recorded frames are played.
CAPTURE_KEYS = ("speed", "times", "at_end")


class Section(BaseModel):
    """Base of all sections: strict types, no unknown key, immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def check_latency(text: str) -> str:
    """A latency as the simulators take it.

    Raises:
        ValueError: it is none, or its table can not be read.
    """
    try:
        parse_latency(text, "")
    except SimulatorError as error:
        raise ValueError(str(error)) from None
    return text


class SecretRef(Section):
    """Where a secret is: the name of an environment variable or the path of a file, never the secret."""

    env: str | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> SecretRef:
        if (self.env is None) == (self.file is None):
            raise ValueError('expected { env = "NAME" } or { file = "PATH" }')
        return self

    def read(self) -> str:
        """The secret itself; call it only in the process that needs it.

        Raises:
            ConfigError: the variable is not set or the file can not be read.
        """
        if self.env is not None:
            value = os.environ.get(self.env)
            if value is None:
                raise ConfigError("environment", [Problem(self.env, "is not set")])
            return value
        try:
            return Path(str(self.file)).read_text().strip()
        except OSError as error:
            raise ConfigError(str(self.file), [Problem("", error.strerror or "can not be read")]) from error


class AccountConfig(Section):
    """The account a venue's orders go to; addresses that are left out are the venue's own."""

    api_key: SecretRef
    secret: SecretRef
    passphrase: SecretRef | None = None
    kind: Literal["hmac", "ed25519"] = "hmac"
    order_url: str | None = Field(default=None, pattern=r"^wss?://")
    private_url: str | None = Field(default=None, pattern=r"^wss?://")
    rest_url: str | None = Field(default=None, pattern=r"^https?://")
    options: dict[str, Any] = Field(default_factory=dict)
    rotate_s: float = Field(default=0.0, ge=0.0)  # age of the private stream's socket; 0 = 12 h


class SimulatedConfig(Section):
    """A simulated venue on loopback, started as a child of the engine.

    Either a seeded synthetic market (`instruments`, `rate`) or recorded frames (`capture`).
    """

    instruments: int | None = Field(default=None, ge=1, le=SIMULATED_INSTRUMENTS_MAX)
    rate: float | None = Field(default=None, ge=0.0, le=SIMULATED_RATE_MAX)  # 0 is silence
    seed: int | None = Field(default=None, ge=0)
    capture: list[str] = []
    speed: Literal["original", "max"] | float = "original"
    times: Literal["shift", "original"] = "shift"
    at_end: Literal["stop", "loop", "exit"] = "stop"
    clients: int | None = Field(default=None, ge=1)
    rate_factor: float = Field(default=1.0, gt=0.0, le=RATE_FACTOR_MAX)  # of the venue's published limits
    trade: bool = True
    balances: str | None = None  # of each account, "USDT=1000000,BTC=1"
    leverage: int | None = Field(default=None, ge=1, le=125)
    maker_fee: float | None = Field(default=None, ge=-0.01, le=0.1)  # fraction of notional
    taker_fee: float | None = Field(default=None, ge=-0.01, le=0.1)
    entry_latency: str | None = None  # "250us", "lognormal:250us:0.5", "table:FILE"
    response_latency: str | None = None
    faults: str | None = None  # a fault script, or the name of its file
    tls: bool = False
    port: int = Field(default=0, ge=0, le=65_535)
    rest_port: int = Field(default=0, ge=0, le=65_535)

    @field_validator("speed")
    @classmethod
    def _speed_is_positive(cls, value: str | float) -> str | float:
        if isinstance(value, float | int) and value <= 0:
            raise ValueError('expected "original", "max" or a factor above 0')
        return value

    @field_validator("entry_latency", "response_latency")
    @classmethod
    def _is_latency(cls, value: str | None) -> str | None:
        return None if value is None else check_latency(value)

    @model_validator(mode="after")
    def _trades(self) -> SimulatedConfig:
        useless = [key for key in TRADING_KEYS if getattr(self, key) is not None]
        if self.rate_factor != 1.0:
            useless.append("rate_factor")  # the venue would hold its own limits, and the engine others
        if useless and not self.trade:
            raise ValueError(f"{', '.join(useless)}: of a venue that trades, and this one has trade = false")
        return self

    @model_validator(mode="after")
    def _one_source(self) -> SimulatedConfig:
        if self.capture and (self.instruments is not None or self.rate is not None):
            raise ValueError(
                "capture and instruments/rate exclude each other: recorded frames or a synthetic market"
            )
        defaults = type(self).model_fields
        useless = [key for key in CAPTURE_KEYS if getattr(self, key) != defaults[key].default]
        if useless and not self.capture:
            raise ValueError(f"{', '.join(useless)}: of recorded frames, and there is no capture here")
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


class QuietConfig(Section):
    """How long a book may be quiet while its connection goes on; left out = the default (`feeds.quiet`).

    `instruments` gives single ones a limit of their own, in seconds, by symbol or canonical name; 0 = none.
    """

    least_s: float | None = Field(default=None, ge=0.0)  # 0 = books are not watched
    most_s: float | None = Field(default=None, gt=0.0)
    scale: float | None = Field(default=None, gt=1.0)
    instruments: dict[str, float] = {}

    @field_validator("instruments")
    @classmethod
    def _limits_are_times(cls, value: dict[str, float]) -> dict[str, float]:
        for name, seconds in value.items():
            if seconds < 0:
                raise ValueError(f"{name}: {seconds:g} is negative; a limit is in seconds, 0 = none")
        return value


class VenueConfig(Section):
    """One venue: where it is and what to subscribe to."""

    adapter: str
    websocket_url: str | None = Field(default=None, pattern=r"^wss?://")
    rest_url: str | None = Field(default=None, pattern=r"^https?://")
    symbols: list[str] = []  # names, or patterns (`*-USDT-PERP`) that follow listings; "all" = every one
    instruments_max: int = Field(default=200, ge=1, le=2_000)  # that patterns may bring
    priority: int = Field(default=1, ge=1, le=4)
    depth_stream: str | None = None
    trade_stream: str | None = None
    connections: int | None = Field(default=None, ge=1, le=4)
    rotate_s: float = Field(default=0.0, ge=0.0)
    connects_per_s: float = Field(default=0.0, ge=0.0)
    rate_share: float = Field(default=1.0, gt=0.0, le=1.0)  # the rest is for other programs of this address
    liquidations: bool = False
    status: bool = False
    listing_s: float = Field(default=300.0, ge=0.0)
    clock_s: float = Field(default=60.0, ge=0.0)
    validation: ValidationConfig = ValidationConfig()
    audit: AuditConfig = AuditConfig()
    quiet: QuietConfig = QuietConfig()
    ca_file: str | None = None
    account: AccountConfig | None = None
    simulated: SimulatedConfig | None = None

    @field_validator("symbols", mode="before")
    @classmethod
    def _all_is_a_pattern(cls, value: object) -> object:
        return ["*"] if value == "all" else value

    @property
    def follows_listings(self) -> bool:
        """Whether instruments listed while the engine runs are taken up."""
        return any(is_pattern(name) for name in self.symbols)

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


def missing_accounts(mode: str, venues: Mapping[str, VenueConfig]) -> list[tuple[Key, str]]:
    """Venues whose orders have nowhere to go, as (key, text) of a problem."""
    if mode != "venue":
        return []
    found: list[tuple[Key, str]] = []
    for name, venue in venues.items():
        if venue.simulated is None and venue.account is None:
            text = 'orders.mode = "venue" needs an account here: api_key and secret'
            found.append((("venues", name), text))
        elif venue.simulated is not None and not venue.simulated.trade:
            found.append(
                (("venues", name, "simulated", "trade"), 'orders.mode = "venue" needs a venue that trades')
            )
    return found
