"""The same engine on the other venues' protocols: what it reports is what the venue's own books say."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.kit.engine_run import PATIENT, PATIENT_SENTINEL, RISK, EngineRun, engine, until
from tests.kit.trading_venue import SECRETS, TradingVenue, trading_venue

pytestmark = pytest.mark.timeout(400)

CONFIG = (
    """
name = "{name}"
[engine]
{patient}
[run]
seed = 7
[venues.one]
adapter = "{adapter}"
websocket_url = "{ready[ws]}"
rest_url = "{ready[rest]}"
symbols = {symbols}
{ca}
[venues.one.account]
api_key = {{ env = "RL_TEST_API_KEY" }}
secret = {{ env = "RL_TEST_SECRET" }}
{passphrase}
order_url = "{trading[order]}"
private_url = "{trading[private]}"
rest_url = "{trading[rest]}"
[[strategies]]
name = "maker"
kind = "market_maker"
venue = "one"
instruments = "all"
"""
    + RISK
    + """[orders]
mode = "venue"
"""
    + PATIENT_SENTINEL
)
SYMBOLS: dict[str, Callable[[str], str]] = {
    "okx": lambda name: name.replace("-PERP", "-SWAP"),
    "bybit_linear": lambda name: "linear/" + name.removesuffix("-PERP").replace("-", ""),
    "bybit_spot": lambda name: "spot/" + name.replace("-", ""),
}
CASES = [
    pytest.param("okx", False, id="okx"),
    pytest.param("bybit_linear", False, id="bybit_linear"),
    pytest.param("bybit_spot", False, id="bybit_spot"),
    pytest.param("okx", True, id="okx-tls", marks=pytest.mark.prove),
    pytest.param("bybit_linear", True, id="bybit_linear-tls", marks=pytest.mark.prove),
]


@contextmanager
def trading(
    folder: Path, monkeypatch: pytest.MonkeyPatch, at: TradingVenue, name: str
) -> Iterator[EngineRun]:
    monkeypatch.setenv("RL_TEST_API_KEY", at.keys["api_key"])
    monkeypatch.setenv("RL_TEST_SECRET", at.keys["secret"])
    monkeypatch.setenv("RL_TEST_PASSPHRASE", at.keys["passphrase"])
    text = CONFIG.format(
        name=name, patient=PATIENT, adapter=at.name, ready=at.ready, trading=at.ready["trading"],
        symbols=orjson.dumps(at.ready["symbols"]).decode(),
        ca=f'ca_file = "{at.ready["ca"]}"' if at.ready["ca"] else "",
        passphrase='passphrase = { env = "RL_TEST_PASSPHRASE" }' if at.name == "okx" else "",
    )  # fmt: skip
    with engine(folder, config=text) as run:
        run.wait_running()
        yield run


def stop(run: EngineRun) -> dict[str, Any]:
    run.signal(15)
    assert run.wait_ended() == 0, run.text()
    return run.report()


def assert_same_books(report: dict[str, Any], at: TradingVenue) -> None:
    """No order rests, and each position is the venue's."""
    assert at.ask("/sim/orders?open=1") == []
    theirs = {row["symbol"]: Decimal(row["position"]) for row in at.ask("/sim/positions")}
    symbol = SYMBOLS[at.name]
    ours = {symbol(row["instrument"]): Decimal(row["quantity"]) for row in report["positions"]}
    assert {k: v for k, v in ours.items() if v} == {k: v for k, v in theirs.items() if v}


@pytest.mark.parametrize(("adapter", "tls"), CASES)
def test_a_market_maker_trades_there_and_leaves_its_books_as_the_venue_says(
    adapter: str, tls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--instruments", "3", "--rate", "1000", "--seed", "7", "--limits", "100"]
    with trading_venue(adapter, *options, *(["--tls"] if tls else [])) as at:
        with trading(tmp_path, monkeypatch, at, f"v{os.getpid()}") as run:
            until(lambda: len(at.ask("/sim/fills")) >= 10, "ten fills")
            report = stop(run)
        assert report["orders"]["fills"] == len(at.ask("/sim/fills"))
        assert_same_books(report, at)
        hidden = [at.keys[part].encode() for part in SECRETS]
        shown = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert len(shown) > 5
        for path in shown:
            content = path.read_bytes()
            assert not any(secret in content for secret in hidden), path


TROUBLE = """
every 9 orders jitter 0.3: lost_ack
every 11 orders jitter 0.3: lost_request
every 13 orders jitter 0.3: duplicate_report
every 17 orders jitter 0.3: ack_after_fill ms=200
every 19 orders jitter 0.3: slow_cancel ms=300
every 29 orders jitter 0.3: rate_limited
"""


@pytest.mark.prove
@pytest.mark.parametrize("adapter", ["okx", "bybit_linear", "bybit_spot"])
def test_its_books_are_the_venues_whatever_goes_wrong_with_orders(
    adapter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--instruments", "3", "--rate", "1000", "--seed", "7", "--limits", "100", "--faults", TROUBLE]
    with trading_venue(adapter, *options) as at:
        with trading(tmp_path, monkeypatch, at, f"v{os.getpid()}") as run:
            until(lambda: len(at.ask("/sim/orders")) >= 60, "sixty orders")
            report = stop(run)
        assert report["orders"]["fills"] == len(at.ask("/sim/fills")) > 0
        assert_same_books(report, at)
