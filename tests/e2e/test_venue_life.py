"""What a venue does while an engine runs: it lists, delists, lists again, closes; and an operator's hand."""

from __future__ import annotations

import os
import signal
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.kit.account import journal_folder
from tests.kit.engine_run import COMMAND, PATIENT, RISK, ROOT, EngineRun, engine, until
from tools.verbs.books import begin_books

pytestmark = pytest.mark.timeout(500)

CONFIG = (
    """
name = "{name}"
[engine]
{patient}
[venues.v]
adapter = "{adapter}"
websocket_url = "{ws}"
rest_url = "{rest}"
symbols = "all"
instruments_max = 20
listing_s = 1.0
status = true
connects_per_s = 50.0
[[strategies]]
name = "maker"
kind = "market_maker"
venue = "v"
instruments = "all"
"""
    + RISK
)


class Books:
    """Looks from outside: symbol → (state, reason)."""

    def __init__(self, run: EngineRun) -> None:
        self._session = begin_books(run.name, run.state, [], 1)

    def now(self) -> dict[str, tuple[str, str]]:
        return {row.symbol: (row.state, row.reason) for row in self._session.look().rows}

    def epochs(self) -> set[int | None]:
        return {row.epoch for row in self._session.look().rows}

    def states(self) -> list[str]:
        return [state for state, _ in self.now().values()]

    def reason_of(self, symbol: str) -> tuple[str, str]:
        return self.now().get(symbol, ("", ""))


@pytest.mark.parametrize(
    "adapter",
    [
        pytest.param("okx", marks=pytest.mark.prove),
        pytest.param("binance_usdm", marks=pytest.mark.soak),
        pytest.param("bybit_linear", marks=pytest.mark.soak),
    ],
)
def test_books_come_and_go_with_the_venues_list_its_word_and_an_operators_hand(
    adapter: str, tmp_path: Path
) -> None:
    argv = [*COMMAND, "venue", adapter, "--instruments", "3", "--rate", "600", "--start", "subscribed"]
    argv += ["--list-after", "6", "--delist-after", "12", "--relist-after", "20"]
    venue = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert venue.stdout is not None
        ready: dict[str, Any] = orjson.loads(venue.stdout.readline())
        name = f"life{os.getpid()}"
        config = CONFIG.format(
            name=name, patient=PATIENT, adapter=adapter, ws=ready["ws"], rest=ready["rest"]
        )
        with engine(tmp_path, config=config) as run:
            run.wait_running()
            _follow(run, Books(run), ready, adapter)
    finally:
        venue.terminate()
        venue.communicate()


def quoted(run: EngineRun) -> set[str]:
    """Instruments that an order was sent for."""
    argv = [*COMMAND, "journal", "cat", str(journal_folder(run)), "--kind", "SENT", "--json"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, check=True)
    return {orjson.loads(line)["instrument"] for line in done.stdout.splitlines()}


def _follow(run: EngineRun, books: Books, ready: dict[str, Any], adapter: str) -> None:
    # By what is told: where everything takes long, four books may not be LIVE before one of them ends.
    until(lambda: "is listed: its book begins" in run.events(), "the new listing is taken up")
    until(lambda: ("DESYNC", "DELISTED") in books.now().values(), "the delisted one's book has ended")
    for text in ("is delisted: its book ended", "is listed again"):
        until(lambda t=text: t in run.events(), text)  # type: ignore[misc]
    until(
        lambda: books.states().count("LIVE") == 4,
        "the new listing has a LIVE book, and what came back has one",
    )
    until(lambda: len(quoted(run)) == 4, "the maker quotes the new one as well")
    symbol = ready["symbols"][0]
    said = run.verb("books", "quarantine", symbol, "--reason", "looks odd").stdout
    assert f"v:{symbol} is in quarantine" in said
    until(lambda: books.reason_of(symbol) == ("STALE", "QUARANTINE"), "it is kept out of trading")
    os.kill(run.worker("feed")["pid"], signal.SIGKILL)
    until(lambda: books.epochs() == {2}, "its feed has died and come back")
    until(lambda: run.worker("feed")["state"] == "RUNNING", "it is up")
    until(lambda: books.states().count("LIVE") == 3, "the others are LIVE again")
    until(lambda: books.reason_of(symbol) == ("STALE", "QUARANTINE"), "it is still held")
    run.verb("books", "release", symbol)
    until(lambda: books.states().count("LIVE") == 4, "all are LIVE again")
    assert run.verb("books", "quarantine", "NOPE", ok=False).returncode == 1
    if adapter != "binance_usdm":  # it says nothing of that sort
        script = b"now: maintenance seconds=6 cut=0"
        request = urllib.request.Request(f"{ready['rest']}/ringlane/faults", data=script, method="POST")
        urllib.request.urlopen(request).read()
        until(lambda: set(books.now().values()) == {("STALE", "MAINTENANCE")}, "no book of it is LIVE")
        until(lambda: run.status()["venues_closed"] == ["v"], "status says why")
        until(lambda: books.states().count("LIVE") == 4, "its word has opened it")
        until(lambda: run.status()["venues_closed"] == [], "and that it is over")
    assert "looks odd" in run.events()
