"""The same engine on the other venues' protocols: what it reports is what the venue's own books say."""

from __future__ import annotations

import os
import secrets
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.kit.engine_run import ROOT, EngineRun, engine, until

pytestmark = pytest.mark.timeout(150)

CONFIG = """
name = "{name}"
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
[risk]
max_order_notional = 50_000
max_position_notional = 250_000
max_exposure = 2_000_000
orders_per_s = 2_000
burst = 500
max_open_orders = 8
[orders]
mode = "venue"
"""
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


class Venue:
    """A simulated venue in its own process, which outlives the engine."""

    def __init__(self, adapter: str, ready: dict[str, Any]) -> None:
        self.adapter = adapter
        self.ready = ready
        self.keys: dict[str, str] = {}

    def ask(self, path: str) -> Any:
        context = None
        if self.ready["ca"]:
            context = ssl.create_default_context(cafile=self.ready["ca"])
        with urllib.request.urlopen(f"{self.ready['rest']}{path}", timeout=10, context=context) as reply:  # noqa: S310
            return orjson.loads(reply.read())


@contextmanager
def venue(adapter: str, *options: str) -> Iterator[Venue]:
    keys = {name: secrets.token_hex(24) for name in ("api_key", "secret", "passphrase")}
    read_end, write_end = os.pipe()
    argv = [sys.executable, "-P", "-m", "tools.venues", adapter, "--ready-fd", str(write_end), *options]
    environment = dict(os.environ, RINGLANE_VENUE_KEYS=orjson.dumps([{"account": "main", **keys}]).decode())
    process = subprocess.Popen(
        argv, cwd=ROOT, pass_fds=(write_end,), env=environment,
        stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(write_end)
    try:
        with os.fdopen(read_end, "rb") as ready:
            at = Venue(adapter, orjson.loads(ready.readline()))
        at.keys = keys
        yield at
    finally:
        process.terminate()
        process.wait(timeout=20)


@contextmanager
def trading(folder: Path, monkeypatch: pytest.MonkeyPatch, at: Venue, name: str) -> Iterator[EngineRun]:
    monkeypatch.setenv("RL_TEST_API_KEY", at.keys["api_key"])
    monkeypatch.setenv("RL_TEST_SECRET", at.keys["secret"])
    monkeypatch.setenv("RL_TEST_PASSPHRASE", at.keys["passphrase"])
    text = CONFIG.format(
        name=name, adapter=at.adapter, ready=at.ready, trading=at.ready["trading"],
        symbols=orjson.dumps(at.ready["symbols"]).decode(),
        ca=f'ca_file = "{at.ready["ca"]}"' if at.ready["ca"] else "",
        passphrase='passphrase = { env = "RL_TEST_PASSPHRASE" }' if at.adapter == "okx" else "",
    )  # fmt: skip
    with engine(folder, config=text) as run:
        run.wait_running()
        yield run


def stop(run: EngineRun) -> dict[str, Any]:
    run.signal(15)
    assert run.wait_ended() == 0, run.text()
    return run.report()


def assert_same_books(report: dict[str, Any], at: Venue) -> None:
    """No order rests, and each position is the venue's."""
    assert at.ask("/sim/orders?open=1") == []
    theirs = {row["symbol"]: Decimal(row["position"]) for row in at.ask("/sim/positions")}
    symbol = SYMBOLS[at.adapter]
    ours = {symbol(row["instrument"]): Decimal(row["quantity"]) for row in report["positions"]}
    assert {k: v for k, v in ours.items() if v} == {k: v for k, v in theirs.items() if v}


@pytest.mark.parametrize(("adapter", "tls"), CASES)
def test_a_market_maker_trades_there_and_leaves_its_books_as_the_venue_says(
    adapter: str, tls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--instruments", "3", "--rate", "1000", "--seed", "7", "--limits", "100"]
    with venue(adapter, *options, *(["--tls"] if tls else [])) as at:
        with trading(tmp_path, monkeypatch, at, f"v{os.getpid()}") as run:
            until(lambda: len(at.ask("/sim/fills")) >= 10, "ten fills")
            report = stop(run)
        assert report["orders"]["fills"] == len(at.ask("/sim/fills"))
        assert_same_books(report, at)
        hidden = [key.encode() for key in at.keys.values()]
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
    with venue(adapter, *options) as at:
        with trading(tmp_path, monkeypatch, at, f"v{os.getpid()}") as run:
            until(lambda: len(at.ask("/sim/orders")) >= 60, "sixty orders", 90.0)
            report = stop(run)
        assert report["orders"]["fills"] == len(at.ask("/sim/fills")) > 0
        assert_same_books(report, at)
