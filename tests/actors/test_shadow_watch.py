"""The shadow's actor: journal entries and market data become quotes, in order of time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from actors.errors import SettingsError
from actors.runtime.context import Context
from actors.shadow_watch import LAG_NS, ShadowWatch
from shm.journal import JournalEntry
from tests.exec.scene import BUY, Scene

MS = 1_000_000
BIDS, ASKS = [(1000, 50), (990, 70)], [(1010, 40), (1020, 60)]


class Told:
    """What an actor without a worker may touch; keeps what it tells."""

    def __init__(self) -> None:
        self.notes: list[dict[str, Any]] = []
        self.texts: list[str] = []
        counter = SimpleNamespace(inc=lambda _n: None, set=lambda _n: None)
        self.counter = lambda _name: counter
        metrics = SimpleNamespace(fault=lambda _code, text, _utc: self.texts.append(text))
        spec = SimpleNamespace(seed=1, state_dir="")
        self.host = SimpleNamespace(
            spec=spec, metrics=metrics, notify=lambda message: self.texts.append(message["op"])
        )

    def utc_ns(self) -> int:
        """No time at all."""
        return 0

    def note(self, _name: str, data: dict[str, Any]) -> None:
        """Keep it."""
        self.notes.append(data)


def watch(**settings: Any) -> tuple[ShadowWatch, Told]:
    """The actor, following one instrument."""
    told = Told()
    made = ShadowWatch(cast(Context, told), settings)
    made._followed.add(0)
    made.shadow.add_instrument(Scene().rows[0], 5, 0, 0)
    return made, told


def test_orders_of_the_journal_meet_the_market_that_was_there_when_they_were_sent() -> None:
    scene = Scene()
    made, told = watch()
    scene.now_ns = 10 * MS
    scene.book(BIDS, ASKS)
    order = scene.new(BUY, 1000, 10)
    scene.now_ns = 30 * MS
    scene.trade(1000, 60, 2)
    scene.settle()
    assert order.is_terminal
    for entry in scene.journal.entries:
        made._take_entry(cast(JournalEntry, entry))
    # What came from the rings comes behind the journal here, and must be merged before it.
    made._put(30 * MS, "trade", 0, 1000, 60, 2, 0)
    made._put(9 * MS, "book", 0, BIDS, ASKS, 0)
    made._merge(5 * MS, 100)
    assert made.shadow.open_count == 0 and not made.meter.quotes, "nothing of it has happened yet"
    made._merge(20 * MS, 100)
    assert made.shadow.open_count == 1
    made._merge(LAG_NS, 100)
    made._tell(LAG_NS)
    (note,) = told.notes
    assert note["quotes"] == 1 and note["is_believable"]
    assert (note["fill"]["live"], note["fill"]["shadow"]) == (1.0, 1.0)
    assert note["queue"] == {"known": 1, "still_ahead": 0.0}


def test_a_replace_and_a_cancel_are_followed_and_a_denied_order_never_was() -> None:
    scene = Scene()
    made, _ = watch()
    scene.now_ns = 10 * MS
    scene.book(BIDS, ASKS)
    made._put(9 * MS, "book", 0, BIDS, ASKS, 0)
    order = scene.new(BUY, 1000, 10)
    scene.now_ns = 20 * MS
    scene.replace(order, 990, 10)
    scene.now_ns = 40 * MS
    scene.cancel(order)
    scene.process(scene.intent(price_units=1000, quantity_units=5), reason=7)
    for entry in scene.journal.entries:
        made._take_entry(cast(JournalEntry, entry))
    made._merge(LAG_NS, 100)
    assert made.meter.quotes == 2 and made.shadow.open_count == 0
    assert made.meter.fill_error_points == 0.0 and not made.shadow.excluded


def test_an_alarm_is_told_and_is_a_fault() -> None:
    scene = Scene()
    made, told = watch(queue_model="no_queue")
    made._put(1, "book", 0, BIDS, ASKS, 0)
    for number in range(40):
        scene.now_ns = (10 + 300 * number) * MS
        scene.book(BIDS, ASKS)
        order = scene.new(BUY, 1000, 10)
        made._put(scene.now_ns + 10 * MS, "trade", 0, 1000, 20, 2, 0)  # 50 are in front of the real one
        scene.now_ns += 280 * MS
        scene.cancel(order)
    for entry in scene.journal.entries:
        made._take_entry(cast(JournalEntry, entry))
    made._merge(10**12, 10_000)
    assert "fill" in made.meter.alarms
    assert told.texts[1] == "shadow" and "no_queue are not to be believed" in told.texts[0]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"queue_model": "fifo"}, "queue model 'fifo' is not known"),
        ({"entry_latency": "soon"}, "latency"),
        ({"fill_points": 100.0}, "a test needs"),
        ({"poll_ms": 0}, "'poll_ms' must be positive"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        ShadowWatch.check_settings(settings)
