"""The section of a configuration that asks whether its back-tests may be believed: `[shadow]`."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from engine.venue_config import Section
from exec.errors import SimulatorError
from exec.simulator.latency import parse_latency
from exec.simulator.queue_model import parse_queue_model


class ShadowConfig(Section):
    """A simulator beside the orders that are really sent: what it assumes, and how far it may be off.

    Queue model, latencies and fees are what a back-test would be given; without fees of its own it takes
    the instruments'. `alpha` is the probability of a false alarm, over all time.
    """

    queue_model: str = "risk_averse"
    entry_latency: str = "0"
    response_latency: str = "0"
    feed_latency: str = "0"
    maker_fee_bps: float | None = Field(default=None, ge=-100.0, le=1_000.0)
    taker_fee_bps: float | None = Field(default=None, ge=-100.0, le=1_000.0)
    alpha: float = Field(default=0.05, gt=0.0, lt=1.0)
    fill_points: float = Field(default=3.0, ge=0.0, lt=100.0)
    latency_share: float = Field(default=0.25, ge=0.0, lt=1.0)
    pnl_bps: float = Field(default=0.5, ge=0.0, lt=10.0)
    grace_ms: int = Field(default=100, ge=1, le=60_000)
    poll_ms: int = Field(default=5, ge=1, le=1_000)

    @field_validator("queue_model")
    @classmethod
    def _is_queue_model(cls, value: str) -> str:
        try:
            parse_queue_model(value)
        except SimulatorError as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("entry_latency", "response_latency", "feed_latency")
    @classmethod
    def _is_latency(cls, value: str) -> str:
        try:
            parse_latency(value, "")
        except SimulatorError as error:
            raise ValueError(str(error)) from None
        return value


def shadow_settings(shadow: ShadowConfig) -> dict[str, Any]:
    """Settings of the actor `shadow`, but for its gateways."""
    return shadow.model_dump(exclude_none=True)
