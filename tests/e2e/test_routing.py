"""Routes over three simulated venues: their market data, their order protocols, measured round trips."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import orjson
import pytest

from tests.kit.engine_run import PATIENT, PATIENT_SENTINEL, EngineRun, engine, until

VENUES = ("binance_usdm", "okx", "bybit_linear")
CONFIG = (
    """
name = "{name}"
[engine]
{patient}
[run]
seed = 5
{venues}
[[strategies]]
name = "routed"
kind = "tests.kit.strategies:Routed"
venue = "v0"
settings = {{ quantity_e8 = 600_000_000 }}
[risk]
max_correlated_notional = 100_000_000
correlation_step_ms = 200
[orders]
mode = "{mode}"
"""
    + PATIENT_SENTINEL
)


def text(mode: str) -> str:
    """Three simulated venues with one instrument each."""
    venues = "\n".join(
        f'[venues.v{i}]\nadapter = "{adapter}"\n[venues.v{i}.simulated]\ninstruments = 1\nrate = 100.0'
        for i, adapter in enumerate(VENUES)
    )
    return CONFIG.format(name=f"routing{os.getpid()}", patient=PATIENT, venues=venues, mode=mode)


def samples(run: EngineRun) -> int:
    notes = run.status().get("notes", {}).get("correlation", {})
    return int(notes.get("gateway", {}).get("samples", 0))


@pytest.mark.prove
@pytest.mark.timeout(400)
def test_routes_fill_at_simulated_venues_and_the_report_says_what_they_came_to(tmp_path: Path) -> None:
    with engine(tmp_path, config=text("venue")) as run:
        run.wait_running()
        # A route is a few orders, and each of those of a large one is filled at several levels.
        until(lambda: run.counters()["orders.filled"] > 30, "routes fill")
        until(lambda: samples(run) > 10, "correlations are sampled")
        run.signal(signal.SIGTERM)
        assert run.wait_ended() == 0, run.text()
    report = orjson.loads((tmp_path / "report" / "report.json").read_bytes())
    told = report["notes"]["routing"]["routed"]
    assert len(told["decisions"]) > 3
    assert any(len(decision["legs"]) > 1 for decision in told["decisions"])
    assert any(decision["filled_e8"] == decision["asked_e8"] for decision in told["decisions"])
    assert all(row["round_trip_ms"] > 0.0 for row in told["round_trips"].values())
    assert len(told["round_trips"]) >= 2
    assert report["notes"]["correlation"]["gateway"]["samples"] > 10
