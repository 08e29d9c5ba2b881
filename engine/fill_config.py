"""What a simulator assumes about fills: the part that `[orders]` and `[shadow]` have in common."""

from __future__ import annotations

from pydantic import field_validator

from engine.venue_config import Section, check_latency
from exec.errors import SimulatorError
from exec.simulator.queue_model import parse_queue_model


class FillConfig(Section):
    """How orders advance in the queue, and how long their ways are; see `exec.simulator`."""

    queue_model: str = "risk_averse"
    entry_latency: str = "0"
    response_latency: str = "0"
    feed_latency: str = "0"

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
        return check_latency(value)
