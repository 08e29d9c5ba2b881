"""The sections [sentinel] and [halt] of a configuration."""

from __future__ import annotations

from pydantic import Field

from engine.toml_lines import Key
from engine.venue_config import Section

#: Heartbeats that must fit into the time after which a gateway is taken for hung.
BEATS = 3


class SentinelConfig(Section):
    """Who cancels everything when the engine can not; only with orders.mode = "venue".

    A gateway without heartbeat for `stall_ms`, one that is not back `restart_s` after its end, a supervisor
    that is gone or silent for `supervisor_s`, and the word HALTED make it cancel whatever rests at every
    venue, and with `flatten` close positions. The venues' own timers are set to `dead_man_s` and kept from
    running out only while all is well; 0 = they are not used. Behind an engine that ended badly it stays
    `outlive_s` at most.
    """

    enabled: bool = True
    stall_ms: int = Field(default=500, ge=100, le=60_000)
    restart_s: float = Field(default=5.0, gt=0.0, le=300.0)
    supervisor_s: float = Field(default=10.0, ge=1.0, le=300.0)
    dead_man_s: float = Field(default=30.0, ge=0.0, le=120.0)
    flatten: bool = False
    outlive_s: float = Field(default=10.0, gt=0.0, le=60.0)


class HaltConfig(Section):
    """What becomes of a halt: with `persists` a new run begins in the state this instance's last one left."""

    persists: bool = False


def sentinel_problems(sentinel: SentinelConfig, heartbeat_ms: int, mode: str) -> list[tuple[Key, str]]:
    """What is wrong between the section and the engine's heartbeat, as (key, text)."""
    if mode != "venue" or not sentinel.enabled or sentinel.stall_ms >= BEATS * heartbeat_ms:
        return []
    least = BEATS * heartbeat_ms
    text = (
        f"{sentinel.stall_ms} is less than {BEATS} heartbeats of {heartbeat_ms} ms: expected {least} or more"
    )
    return [(("sentinel", "stall_ms"), text)]
