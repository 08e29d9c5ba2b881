"""Keys of a simulated venue: given by environment or made at start; settings that can not be."""

from __future__ import annotations

import os
import subprocess
import sys

import orjson
import pytest

from tools.venues.errors import SettingsError
from tools.venues.trading.keys import KEYS_VARIABLE, make_keys, read_keys
from tools.venues.trading.settings import TradingSettings, check, parse_balances

ROW = {"account": "main", "api_key": "k" * 16, "secret": "very-secret", "passphrase": "pass"}


def start(*options: str, **environment: str) -> dict[str, object]:
    argv = [sys.executable, "-P", "-m", "tools.venues", "binance_usdm", "--rate", "0", *options]
    env = {**os.environ, **environment}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=env) as venue:
        assert venue.stdout is not None
        ready: dict[str, object] = orjson.loads(venue.stdout.readline())
        venue.terminate()
    return ready


def test_given_keys_are_accepted_and_their_secrets_not_printed() -> None:
    ready = start(**{KEYS_VARIABLE: orjson.dumps([ROW]).decode()})
    assert b"secret" not in orjson.dumps(ready)
    assert ready["trading"]["keys"] == [  # type: ignore[index]
        {"account": "main", "api_key": ROW["api_key"], "kind": "hmac"}
    ]


def test_the_command_line_says_with_which_accounts_a_venue_trades() -> None:
    ready = start("--accounts", "one,two", "--entry-latency", "1ms", "--limits", "0")
    keys = ready["trading"]["keys"]  # type: ignore[index]
    assert [key["account"] for key in keys if key["kind"] == "hmac"] == ["one", "two"]


def test_keys_do_not_show_themselves() -> None:
    keys = [
        *make_keys(("main",), with_ed25519=True),
        *read_keys({KEYS_VARIABLE: orjson.dumps([ROW]).decode()}),
    ]
    for key in keys:
        for secret in (key.secret, key.passphrase, key.private_pem):
            assert not secret or secret not in repr(key)


@pytest.mark.parametrize(
    "text",
    ["{", "[1]", '[{"api_key":"k"}]', '[{"api_key":"","secret":"s"}]', '[{"api_key":"k","kind":"rsa"}]'],
)
def test_keys_that_can_not_be_read_are_refused_without_telling_them(text: str) -> None:
    with pytest.raises(SettingsError, match=KEYS_VARIABLE) as caught:
        read_keys({KEYS_VARIABLE: text})
    assert '"s"' not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        TradingSettings(accounts=()),
        TradingSettings(accounts=("a", "a")),
        TradingSettings(leverage=0),
        TradingSettings(limits=-1),
        TradingSettings(taker_fee=0.5),
        TradingSettings(balances="USDT"),
        TradingSettings(balances="USDT=-5"),
    ],
)
def test_settings_that_can_not_be_are_refused(settings: TradingSettings) -> None:
    with pytest.raises(SettingsError):
        check(settings)


def test_balances_are_exact() -> None:
    assert parse_balances("USDT=1.5, BTC=0.00000001") == {"USDT": 150_000_000, "BTC": 1}
