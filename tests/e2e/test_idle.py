"""Nobody polls: with the venue silent the strategy worker sleeps."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from tests.kit.engine_run import engine, until

pytestmark = pytest.mark.timeout(150)


def test_the_strategy_worker_uses_under_one_percent_when_the_venue_is_silent(tmp_path: Path) -> None:
    # So slow a market that next to nothing arrives in the window measured.
    with engine(tmp_path, rate=0.1) as run:
        status = run.wait_running()
        trade = next(w for w in status["workers"] if w["name"].startswith(("trade", "strategy")))
        process = psutil.Process(trade["pid"])

        def used() -> float:
            times = process.cpu_times()
            return times.user + times.system

        # The first seconds hold start-up work; wait until a whole second costs nothing measurable more.
        def settled() -> bool:
            before = used()
            time.sleep(0.5)
            return used() - before <= 0.01

        until(settled, "start-up work is done")
        cpu, switches, begin = used(), process.num_ctx_switches().voluntary, time.monotonic()
        time.sleep(5.0)
        passed = time.monotonic() - begin
        share = (used() - cpu) / passed
        wakes_per_s = (process.num_ctx_switches().voluntary - switches) / passed
        assert share < 0.01, f"{share:.2%} of a core while idle"
        # The heartbeat (10/s) is the only periodic timer; polling would show hundreds.
        assert wakes_per_s < 60, f"{wakes_per_s:.0f} wake-ups a second while idle"
