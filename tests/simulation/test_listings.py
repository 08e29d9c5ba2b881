"""Instruments that the venue lists while strategies run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from actors.errors import ActorError
from actors.runtime.context import Context
from actors.strategies.base import Strategy, choose_instruments
from shm.enums import InstrumentStatus, JournalKind, Side
from shm.instruments import Instrument
from shm.journal_reader import read_journal
from shm.records import MarketRecord
from tests.simulation.kit import MAKER, TRADE, Run

#: Steps of 10 ms between two heartbeats of the virtual workers, and some.
BEAT = 30


class Follower(Strategy):
    """Notes which instruments it was told of, and whether their records came only then."""

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        self.told: list[str] = []
        self.books: set[str] = set()

    def on_listed(self, instrument: Instrument) -> None:
        super().on_listed(instrument)
        self.told.append(instrument.symbol)

    def on_book(self, record: MarketRecord) -> None:
        self.books.add(self.instruments[record.instrument_id].symbol)


class Named(Follower):
    """Wants one pattern and one name."""

    def wanted(self) -> list[str]:
        return ["C*-USDT-PERP", "AAAUSDT"]


class Raising(Follower):
    """Does not survive a listing."""

    def on_listed(self, instrument: Instrument) -> None:
        raise ValueError(instrument.symbol)


def test_a_new_listing_is_quoted_by_a_maker_of_all() -> None:
    run = Run({"maker": MAKER})
    run.step(BEAT)
    number = run.list("CCCUSDT")
    run.step(2 * BEAT)
    assert {order.instrument_id for order in run.gateway.oms.open_orders()} == {0, 1, number}
    assert run.counters()["orders.denied"] == run.counters()["actor.errors"] == 0
    run.step(10 * BEAT)
    position = run.world.host(TRADE).positions(TRADE).load(number)
    assert position is not None and position.fills > 0


def test_an_intent_before_the_gateway_looked_finds_its_instrument_journaled(
    tmp_path: Path,
) -> None:
    run = Run({"maker": MAKER}, state_dir=str(tmp_path))
    run.step(BEAT)
    number = run.list("CCCUSDT")
    assert run.world.host(TRADE).bindings[1].context.new_order(number, Side.BUY, 5_000_000, 5)
    run.world.settle()
    entries = list(read_journal(tmp_path / f"journal-{TRADE}", 7))
    listed = [i for i, entry in enumerate(entries) if entry.kind == JournalKind.INSTRUMENT]
    assert len(listed) == 3
    assert entries[listed[-1] + 1].kind == JournalKind.INTENT
    assert run.counters()["actor.errors"] == 0


def test_patterns_and_names_are_followed_and_nothing_else() -> None:
    run = Run({"follower": Follower, "named": Named})
    run.step(BEAT)
    for symbol in ("CCCUSDT", "DDDUSDT"):
        run.list(symbol)
    run.step(2 * BEAT)
    follower, named = run.actor("follower"), run.actor("named")
    assert isinstance(follower, Follower) and isinstance(named, Named)
    assert follower.told == ["CCCUSDT", "DDDUSDT"]
    assert follower.books == {"AAAUSDT", "BBBUSDT", "CCCUSDT", "DDDUSDT"}
    assert named.told == ["CCCUSDT"]
    assert named.books == {"AAAUSDT", "CCCUSDT"}


def test_other_terms_are_another_instrument_of_the_same_name() -> None:
    run = Run({"named": Named})
    run.step(BEAT)
    table = run.world.host(TRADE).instruments
    table.retire(0)
    new = run.list("AAAUSDT", is_fed=False, tick_size=20)
    run.step(2 * BEAT, trades=False)
    named = run.actor("named")
    assert isinstance(named, Named)
    assert named.told == ["AAAUSDT"] and named.instruments[new].tick_size == 20
    context = run.world.host(TRADE).bindings[1].context
    assert [row.instrument_id for row in choose_instruments(context, None, ["AAA-USDT-PERP"])] == [new]
    assert {row.instrument_id for row in choose_instruments(context, None, "all")} == {1, new}
    assert choose_instruments(context, None, ["Z*"]) == []
    with pytest.raises(ActorError, match="unknown instrument 'Z'"):
        choose_instruments(context, None, ["Z"])


def test_one_that_comes_while_an_actor_is_suspended_is_there_when_it_is_back() -> None:
    run = Run({"raising": Raising, "follower": Follower})
    run.step(BEAT)
    run.list("CCCUSDT")
    run.step(BEAT)
    assert run.counters()["actor.errors"] == 1
    run.list("DDDUSDT", status=InstrumentStatus.TRADING)
    run.step(10 * BEAT)
    raising, follower = run.actor("raising"), run.actor("follower")
    assert isinstance(raising, Raising) and isinstance(follower, Follower)
    assert run.counters()["actor.restarts"] >= 1
    assert {"CCCUSDT", "DDDUSDT"} <= raising.books
    assert follower.told == ["CCCUSDT", "DDDUSDT"]
