"""The section of a configuration that asks whether its back-tests may be believed: `[shadow]`."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from engine.fill_config import FillConfig


class ShadowConfig(FillConfig):
    """A simulator beside the orders that are really sent: what it assumes, and how far it may be off.

    Queue model, latencies and fees are what a back-test would be given; without fees of its own it takes
    the instruments'. `alpha` is the probability of a false alarm, over all time.
    """

    maker_fee_bps: float | None = Field(default=None, ge=-100.0, le=1_000.0)
    taker_fee_bps: float | None = Field(default=None, ge=-100.0, le=1_000.0)
    alpha: float = Field(default=0.05, gt=0.0, lt=1.0)
    fill_points: float = Field(default=3.0, ge=0.0, lt=100.0)
    latency_share: float = Field(default=0.25, ge=0.0, lt=1.0)
    pnl_bps: float = Field(default=0.5, ge=0.0, lt=10.0)
    grace_ms: int = Field(default=100, ge=1, le=60_000)
    poll_ms: int = Field(default=5, ge=1, le=1_000)


def shadow_settings(shadow: ShadowConfig) -> dict[str, Any]:
    """Settings of the actor `shadow`, but for its gateways."""
    return shadow.model_dump(exclude_none=True)
