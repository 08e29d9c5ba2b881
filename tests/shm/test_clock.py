"""The clocks are the ones the rest of the machine reads."""

from __future__ import annotations

import time

from shm.clock import now_ns, utc_ns


def test_now_is_the_monotonic_clock() -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    now = now_ns()
    assert before <= now <= time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def test_utc_is_the_wall_clock() -> None:
    before = time.time_ns()
    now = utc_ns()
    # Somebody may set the clock meanwhile, but hardly by much.
    assert before - 1_000_000_000 <= now <= time.time_ns() + 1_000_000_000
