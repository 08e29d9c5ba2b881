"""The shadow of a run: a simulator beside orders that a simulated venue really matches."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from tests.kit.engine_run import PATIENT, PATIENT_SENTINEL, EngineRun, engine, until
from tools.notes_view import note_parts

#: So many say whether a rule is right; few leave it to chance.
QUOTES = 400
DELAY = "lognormal:250us:0.5"
CONFIG = f"""
name = "shadow{os.getpid()}"
[engine]
{PATIENT}
[run]
seed = 3
[venues.sim]
adapter = "binance_usdm"
depth_stream = "depth@0ms"
[venues.sim.simulated]
instruments = 3
rate = 1_000.0
seed = 2
rate_factor = 20.0
balances = "USDT=1000000"
leverage = 20
entry_latency = "{DELAY}"
response_latency = "{DELAY}"
[[strategies]]
name = "maker"
kind = "market_maker"
venue = "sim"
[risk]
max_exposure = 1_000_000
orders_per_s = 500
burst = 200
max_open_orders = 8
[orders]
mode = "venue"
{PATIENT_SENTINEL}[shadow]
queue_model = "{{model}}"
entry_latency = "{DELAY}"
response_latency = "{DELAY}"
latency_share = 0.9
fill_points = 8.0
pnl_bps = 2.0
"""


def enough(run: EngineRun) -> bool:
    return run.counters()["shadow.quotes"] >= QUOTES


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_the_shadow_of_a_run_agrees_with_the_venue_and_another_rule_is_found_out(tmp_path: Path) -> None:
    found = {}
    for model in ("risk_averse", "no_queue"):
        folder = tmp_path / model
        folder.mkdir()
        with engine(folder, config=CONFIG.format(model=model)) as run:
            run.wait_running()
            until(partial(enough, run), "quotes have ended in both worlds")
            run.signal(signal.SIGTERM)
            assert run.wait_ended() == 0, run.text()
        report = orjson.loads((folder / "report" / "report.json").read_bytes())
        found[model] = report["notes"]["shadow"]["shadow"]
        console = Console(width=200, record=True, file=(folder / "shown").open("w"))
        for part in note_parts(report["notes"]):
            console.print(part)
        assert "still ahead" in console.export_text()
    right, wrong = found["risk_averse"], found["no_queue"]
    assert right["quotes"] > 100 and wrong["quotes"] > 100
    assert right["is_believable"], right
    # How small the error of the right rule is, tests/exec/test_shadow.py says, over many more quotes.
    assert abs(right["fill"]["error_points"]) < abs(wrong["fill"]["error_points"])
    assert wrong["fill"]["shadow"] > wrong["fill"]["live"], "with nobody in front more is filled"
    assert "fill" in wrong["alarms"], wrong
