"""Halting without a sentinel: every account whose keys are here is emptied, the others are named."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from engine.venue_client import VenueClient
from engine.withdrawing import Outcome
from exec.errors import KeysError
from tools.own_sentinel import SentinelNote, act_ourselves
from tools.verbs import halt as halt_verb


def row(name: str, key: str, *, is_simulated: bool = False) -> dict[str, Any]:
    place = {"env": key}
    account: dict[str, Any] = {"name": name, "protocol": "binance_usdm", "venues": ["binance_usdm"]}
    account |= {"api_key": place, "secret": place}
    return {"account": account, "rest_url": "http://127.0.0.1:9", "is_simulated": is_simulated}


@pytest.fixture(autouse=True)
def venues(monkeypatch: pytest.MonkeyPatch) -> None:
    """Venues at which nothing rests."""

    async def withdraw(client: VenueClient, **_: Any) -> Outcome:
        return Outcome(client.name, is_empty=True)

    async def sync_time(_: VenueClient) -> None:
        return

    monkeypatch.setenv("RL_HERE", "k")
    monkeypatch.setattr("tools.own_sentinel.withdraw", withdraw)
    monkeypatch.setattr(VenueClient, "sync_time", sync_time)


def act(folder: Path, *rows: dict[str, Any]) -> list[Outcome]:
    return asyncio.run(act_ourselves(SentinelNote("x", folder, rows), flatten=False))


def test_an_account_without_keys_keeps_no_other_from_being_emptied(tmp_path: Path) -> None:
    here, lost = act(tmp_path, row("lost", "RL_NOT_HERE"), row("here", "RL_HERE"))
    assert (here.account, here.is_empty) == ("here", True)
    assert (lost.account, lost.is_empty, lost.is_gone) == ("lost", False, False)
    assert "RL_NOT_HERE is not set" in lost.error


def test_where_no_account_has_keys_that_is_the_error(tmp_path: Path) -> None:
    with pytest.raises(KeysError, match="RL_NOT_HERE is not set"):
        act(tmp_path, row("lost", "RL_NOT_HERE"), row("sim", "RL_NOT_HERE", is_simulated=True))


def test_a_simulated_account_of_a_run_that_is_over_needs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (gone,) = act(tmp_path, row("sim", "RL_NOT_HERE", is_simulated=True))
    assert gone.is_gone
    answer = {"instance": "x", "trading_state": None, "supervisor_answers": False, "acted": [gone.facts()]}
    halt_verb._print(answer, as_json=False)
    assert "sim: a simulated venue, which ended with its engine" in capsys.readouterr().out
