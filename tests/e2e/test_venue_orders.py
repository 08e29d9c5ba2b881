"""Orders through a venue's own protocol: a real engine, a simulated venue that outlives it, and its books."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.kit.engine_run import (
    COMMAND,
    PATIENCE_S,
    PATIENT,
    PATIENT_SENTINEL,
    RISK,
    ROOT,
    EngineRun,
    engine,
    until,
)
from tests.kit.trading_venue import SECRETS, TradingVenue, trading_venue

VENUE = "binance_usdm"
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
websocket_url = "{ws}"
rest_url = "{rest}"
symbols = {symbols}
[venues.one.account]
api_key = {{ env = "RL_TEST_API_KEY" }}
secret = {{ file = "{secret_file}" }}
passphrase = {{ env = "RL_TEST_PASSPHRASE" }}
rotate_s = 0.3
order_url = "{order}"
private_url = "{private}"
rest_url = "{rest}"
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


FAULTS = """
after 5 orders: lost_ack
after 15 orders: lost_request
after 25 orders: duplicate_report times=3
after 35 orders: ack_after_fill ms=300
after 45 orders: ack_disconnect
after 60 orders: reject_storm times=5
after 75 orders: slow_cancel ms=500
at 7 s: stale_listen_key told=no
at 16 s: stale_listen_key told=yes
"""


@contextmanager
def trading(
    folder: Path, monkeypatch: pytest.MonkeyPatch, at: TradingVenue, name: str
) -> Iterator[EngineRun]:
    """An engine that trades there, once it has orders."""
    secret_file = folder / "the-secret"
    secret_file.write_text(at.keys["secret"] + "\n")
    monkeypatch.setenv("RL_TEST_API_KEY", at.keys["api_key"])
    monkeypatch.setenv("RL_TEST_PASSPHRASE", at.keys["passphrase"])
    trade = at.ready["trading"]
    text = CONFIG.format(
        name=name,
        patient=PATIENT,
        adapter=at.ready["venue"],
        ws=at.ready["ws"],
        rest=at.ready["rest"],
        symbols=orjson.dumps(at.ready["symbols"]).decode(),
        secret_file=secret_file,
        order=trade["order"],
        private=trade["private"],
    )
    with engine(folder, config=text) as run:
        run.wait_running()
        yield run


def stop(run: EngineRun) -> dict[str, Any]:
    run.signal(15)
    assert run.wait_ended() == 0, run.text()
    return run.report()


def plain(name: str) -> str:
    return name.rpartition("/")[2].removesuffix("-PERP").removesuffix("-SWAP").replace("-", "")


def assert_same_books(report: dict[str, Any], at: TradingVenue) -> None:
    """No order rests, and each position is the venue's."""
    assert at.ask("/sim/orders?open=1") == []
    theirs = {
        plain(row["symbol"]): Decimal(row["position"])
        for row in at.ask("/sim/positions")
        if "-" not in row["symbol"] or row["symbol"].endswith("-SWAP")
    }
    ours = {
        plain(row["instrument"]): Decimal(row["quantity"])
        for row in report["positions"]
        if row["instrument"].endswith("-PERP")  # of spot the venue has balances
    }
    assert {k: v for k, v in ours.items() if v} == {k: v for k, v in theirs.items() if v}


def assert_nothing_wrong(report: dict[str, Any]) -> None:
    """Our orders move the venue's numbers and nothing breaks; both sockets were replaced meanwhile."""
    market = report["market"]
    assert (market["rejected_frames"], market["gaps"], market["resyncs"]) == (0, 0, 0)
    sessions = report["orders"]["venue_sessions"]
    assert sessions["rotations"] >= 1 and sessions["order_rotations"] >= 1
    assert not {"reconnects", "stale_streams", "discrepancies", "decode_errors"} & set(sessions)


def fills(at: TradingVenue) -> int:
    return len(at.ask("/sim/fills"))


def trade_on(at: TradingVenue, count: int) -> None:
    """Wait for that many more fills."""
    wanted = fills(at) + count
    until(lambda: fills(at) >= wanted, f"{count} more fills")


def rotated(run: EngineRun) -> None:
    """Wait until a private stream and an order socket were replaced."""

    def both() -> bool:
        counted = run.counters()
        return all(counted[f"orders.session_{name}"] for name in ("rotations", "order_rotations"))

    until(both, "both sockets were replaced")


def is_back(run: EngineRun, pid: int) -> bool:
    return run.worker("trade").get("pid") not in (0, pid, None)


def test_a_market_maker_trades_at_the_venue_and_leaves_its_books_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with trading_venue(VENUE, "--instruments", "3", "--rate", "1000", "--seed", "7", "--limits", "100") as at:
        with trading(tmp_path, monkeypatch, at, f"v{os.getpid()}") as run:
            until(lambda: fills(at) >= 10, "ten fills")
            rotated(run)
            report = stop(run)
        assert report["orders"]["fills"] == fills(at)
        assert_same_books(report, at)
        assert_nothing_wrong(report)
        # Nothing that was shown or kept holds a key, but the file that is the key.
        hidden = [at.keys[part].encode() for part in SECRETS]
        shown = [p for p in tmp_path.rglob("*") if p.is_file() and p.name != "the-secret"]
        assert len(shown) > 5
        for path in shown:
            content = path.read_bytes()
            assert not any(secret in content for secret in hidden), path
        check = [*COMMAND, "check", str(run.config)]
        dump = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S).stdout
        assert "RL_TEST_API_KEY" in dump and not any(secret.decode() in dump for secret in hidden)


@pytest.mark.prove
@pytest.mark.parametrize("adapter", ["okx", "bybit_linear"])
def test_the_other_venues_keep_the_same_books(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adapter: str
) -> None:
    options = ("--instruments", "2", "--rate", "500", "--seed", "7", "--limits", "100")
    with trading_venue(adapter, *options) as at:
        with trading(tmp_path, monkeypatch, at, f"v{os.getpid()}") as run:
            trade_on(at, 20)
            rotated(run)
            report = stop(run)
        assert report["orders"]["fills"] == fills(at)
        assert_same_books(report, at)
        assert_nothing_wrong(report)


@pytest.mark.prove
def test_a_gateway_killed_while_it_trades_finds_its_orders_at_the_venue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with trading_venue(VENUE, "--instruments", "3", "--rate", "1000", "--seed", "7", "--limits", "100") as at:
        with trading(tmp_path, monkeypatch, at, f"v{os.getpid()}") as run:
            for _ in range(3):
                trade_on(at, 5)
                pid = run.worker("trade")["pid"]
                os.kill(pid, signal.SIGKILL)
                until(partial(is_back, run, pid), "the gateway is back")
            trade_on(at, 5)
            report = stop(run)
        assert_same_books(report, at)
        assert at.ask("/sim/statistics")["duplicates"] == {"main": {}}


@pytest.mark.prove
def test_a_venue_that_loses_repeats_and_drops_costs_nothing_but_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = tmp_path / "faults.txt"
    faults.write_text(FAULTS)
    with trading_venue(
        VENUE,
        "--instruments",
        "3",
        "--rate",
        "1000",
        "--seed",
        "7",
        "--limits",
        "100",
        "--faults",
        str(faults),
    ) as at:
        with trading(tmp_path, monkeypatch, at, f"v{os.getpid()}") as run:
            until(lambda: len(at.ask("/sim/orders")) >= 130, "all faults were met")
            trade_on(at, 10)
            report = stop(run)
        assert_same_books(report, at)
