"""The clocks are the ones the rest of the machine reads."""

from __future__ import annotations

import time

from shm.clock import now_ns, utc_ns


def test_now_is_the_monotonic_clock() -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    now = now_ns()
    assert before <= now <= time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def test_utc_is_the_wall_clock() -> None:
    assert abs(utc_ns() - time.time_ns()) < 5_000_000_000
