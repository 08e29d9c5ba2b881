"""Quarantine by an operator's hand: found by name, told to the feed, told again to one that came back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from engine.errors import EngineError
from engine.holds import Holds, find_instrument
from feeds.venues import get_adapter
from shm.enums import InstrumentStatus, WorkerState
from shm.instruments import Instrument, InstrumentTable

VENUES: Any = SimpleNamespace(
    venues={"bn": SimpleNamespace(adapter="binance_usdm"), "by": SimpleNamespace(adapter="bybit_linear")}
)


def table() -> InstrumentTable:
    made = InstrumentTable.create(bytearray(InstrumentTable.bytes_needed(8)), 8)
    for venue, symbol in (
        ("binance_usdm", "BTCUSDT"),
        ("bybit_linear", "BTCUSDT"),
        ("bybit_linear", "ETHUSDT"),
    ):
        row: Instrument = get_adapter(venue).plain_instrument(symbol, 2, 3, 1, 1)
        made.add(replace(row, slab=2))
    return made


class Feed:
    """A worker that answers what it is told, or not."""

    def __init__(self, *, answers: bool = True) -> None:
        self.name, self.slot, self.link = "feed", 2, self
        self.told: list[dict[str, Any]] = []
        self.answers = answers
        self.lifecycle = SimpleNamespace(state=WorkerState.RUNNING)
        self.events: list[str] = []
        self.holds = Holds(self.events.append)

    def send(self, message: dict[str, Any]) -> bool:
        self.told.append(message)
        if self.answers:
            held = {"was_held": False, "is_held": message["do"] == "quarantine", "state": "STALE"}
            answer = {"op": "operator", "number": message["number"], "result": held}
            asyncio.get_running_loop().call_soon(self.holds.on_answer, answer)
        return True

    def change(self, act: str, name: str, reason: str = "") -> dict[str, Any]:
        workers: Any = {"feed": self}
        return asyncio.run(self.holds.change(act, name, reason, table(), VENUES, workers))


def test_an_instrument_is_found_by_either_name_and_by_its_venue() -> None:
    assert find_instrument("ETH-USDT-PERP", table(), VENUES)[1].symbol == "ETHUSDT"
    assert find_instrument("by:BTCUSDT", table(), VENUES)[0] == "by"
    with pytest.raises(EngineError, match="several instruments: bn:BTCUSDT, by:BTCUSDT"):
        find_instrument("BTC-USDT-PERP", table(), VENUES)
    with pytest.raises(EngineError, match="no instrument 'bn:ETHUSDT'"):
        find_instrument("bn:ETHUSDT", table(), VENUES)
    gone = table()
    gone.set_status(2, InstrumentStatus.DELISTED)
    with pytest.raises(EngineError, match="no instrument"):
        find_instrument("ETHUSDT", gone, VENUES)


def test_a_quarantine_is_told_kept_in_the_log_and_given_to_the_next_process_before_it_begins() -> None:
    feed = Feed()
    answer = feed.change("quarantine", "ETHUSDT", "looks odd")
    assert (answer["venue"], answer["symbol"], answer["is_held"]) == ("by", "ETHUSDT", True)
    assert feed.events == ["by:ETHUSDT: quarantine by hand: looks odd"]
    (given,) = feed.holds.on_begin(feed.slot)
    assert (given["do"], given["instrument_id"], given["reason"]) == ("quarantine", 2, "looks odd")
    assert feed.holds.on_begin(feed.slot + 1) == []
    heir: Any = feed
    feed.holds.on_ready(heir)
    assert [m["do"] for m in feed.told] == ["quarantine"], "it knows already"


def test_a_release_is_not_given_to_the_next_process() -> None:
    feed = Feed()
    feed.change("quarantine", "ETHUSDT")
    feed.change("release", "ETHUSDT")
    assert feed.holds.on_begin(feed.slot) == []
    heir: Any = feed
    feed.holds.on_ready(heir)
    assert [m["do"] for m in feed.told] == ["quarantine", "release"]


def test_what_changed_while_a_process_began_is_told_when_it_is_up() -> None:
    feed = Feed()
    feed.change("quarantine", "ETHUSDT")
    feed.holds.on_begin(feed.slot)
    feed.told.clear()
    feed.lifecycle.state = WorkerState.STARTING
    for act, name in (("release", "ETHUSDT"), ("quarantine", "by:BTCUSDT")):
        with pytest.raises(EngineError, match="is not up; it will be told when it is"):
            feed.change(act, name)
    feed.answers = False
    heir: Any = feed
    feed.holds.on_ready(heir)
    assert [(m["do"], m["instrument_id"]) for m in feed.told] == [("release", 2), ("quarantine", 1)]


def test_a_feed_that_does_not_answer_or_is_not_up_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.holds.ANSWER_S", 0.01)
    with pytest.raises(EngineError, match="feed does not answer"):
        Feed(answers=False).change("quarantine", "ETHUSDT")
    feed = Feed()
    feed.lifecycle.state = WorkerState.STARTING
    with pytest.raises(EngineError, match="is not up; it will be told when it is"):
        feed.change("quarantine", "ETHUSDT")
    feed.answers = False
    heir: Any = feed
    feed.holds.on_ready(heir)
    assert [m["do"] for m in feed.told] == ["quarantine"]
