"""What every test may use: the repository root on the path, a hypothesis profile, recorded market data."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

# No deadline: a shared machine stalls, and a stall is no failure.
settings.register_profile(
    "default", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("prove", parent=settings.get_profile("default"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# What starts engines, pins cores or judges what a stall does runs one after the other.
ONE_AT_A_TIME = (
    "e2e/",
    "engine/",
    "stress/",
    "tools/test_bench_feed.py",
    "tools/test_bench_lines.py",
    "tools/test_bench_memory.py",
    "tools/test_bench_orders.py",
    "tools/test_bench_rate.py",
    "tools/test_bench_ring.py",
    "tools/test_bench_store.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests that use the whole machine to one worker of pytest-xdist, the others to the rest."""
    for item in items:
        if item.path.relative_to(ROOT / "tests").as_posix().startswith(ONE_AT_A_TIME):
            item.add_marker(pytest.mark.xdist_group("machine"))


@pytest.fixture(scope="session")
def market_data() -> Path:
    """The folder of recorded frames (`RINGLANE_DATA`); skips where there is none."""
    folder = Path(os.environ.get("RINGLANE_DATA", ROOT.parent / "shared" / "market-data"))
    if not (folder / "binance").is_dir():
        pytest.skip(f"no recorded market data in {folder} (set RINGLANE_DATA to the folder holding binance/)")
    return folder
