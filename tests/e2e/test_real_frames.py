"""The whole engine on recorded frames of the real venue: websocket (TLS) to fills."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.kit.engine_run import PATIENT, engine, until

pytestmark = pytest.mark.timeout(400)

CAPTURE = """
name = "{name}"
[engine]
placement = "default"
{patient}
[venues.recorded]
adapter = "binance_usdm"
priority = 1
depth_stream = "depth@0ms"
trade_stream = "trade"
symbols = ["BTCUSDT", "ETHUSDT"]
[venues.recorded.simulated]
capture = ["{btc}", "{eth}"]
speed = 20.0
tls = true
[[strategies]]
name = "maker"
kind = "market_maker"
venue = "recorded"
instruments = "all"
[risk]
max_order_notional = 500_000
max_position_notional = 2_000_000
max_exposure = 8_000_000
orders_per_s = 5_000
burst = 5_000
max_open_orders = 8
[orders]
mode = "paper"
maker_fee_bps = 2.0
taker_fee_bps = 5.0
"""


def test_recorded_frames_over_tls_become_fills(tmp_path: Path, market_data: Path) -> None:
    name = f"real{os.getpid()}"
    config = CAPTURE.format(
        name=name,
        patient=PATIENT,
        btc=market_data / "binance" / "usdm_btcusdt_20240808.gz",
        eth=market_data / "binance" / "usdm_ethusdt_20240808.gz",
    )
    with engine(tmp_path, config=config) as run:
        run.wait_running()
        until(lambda: run.live() == 2, "both books proven LIVE")
        until(lambda: run.counters()["fills"] > 0, "a fill on real frames")
        until(lambda: run.counters()["feed.trades"] > 100, "trades of the capture are published")
        run.signal(signal.SIGTERM)
        assert run.wait_ended() == 0, run.text()
        report = run.report()
        assert report["market"]["gaps"] == 0
        assert report["market"]["rejected_frames"] == 0
        assert report["market"]["trades"] > 100, "the report has what was counted before it"
        assert report["orders"]["fills"] > 0
        run.assert_nothing_left()
