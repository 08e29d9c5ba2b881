"""A venue that closes for maintenance by its own word: its books leave LIVE, and come back by its word."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from feeds.adapter import Notice, NoticePhase
from feeds.maintenance import Maintenance
from feeds.venues import get_adapter
from shm.enums import BookReason
from tests.kit.feed_rig import SECOND, Rig, plain
from tests.kit.stream_frames import bybit_book, okx_book

SYMBOL = {"okx": "BTC-USDT-SWAP", "bybit_linear": "BTCUSDT"}
END_MS = 1_700_000_500_000


def said(phase: NoticePhase | None, end_utc_ns: int = 0) -> Notice:
    return Notice("status", "", "a word", phase, end_utc_ns)


def word(venue: str, state: str, **more: Any) -> bytes:
    """The venue's status message."""
    row = {"title": "Upgrade", "state": state, "begin": "1", "end": str(END_MS), **more}
    if venue == "okx":
        return orjson.dumps({"arg": {"channel": "status"}, "data": [{"serviceType": "5", **row}]})
    return orjson.dumps({"topic": "system.status", "ts": 1, "data": [{"product": [1, 2], **row}]})


def test_it_begins_and_ends_by_the_venues_word_and_a_plan_is_no_beginning() -> None:
    one = Maintenance()
    assert not one.take(said(NoticePhase.SCHEDULED))
    assert not one.take(Notice("instrument", "BTCUSDT", "x", NoticePhase.STARTED))
    assert not one.take(said(None))
    assert one.take(said(NoticePhase.STARTED))
    assert not one.take(said(NoticePhase.STARTED)), "a longer one is the same"
    assert one.is_closed
    assert not one.on_time(10**30), "without an end of its own it waits for the word"
    assert one.take(said(NoticePhase.ENDED))
    assert (one.is_closed, one.closures) == (False, 1)


def test_the_end_that_the_venue_named_last_is_its_word_too() -> None:
    one = Maintenance()
    one.take(said(NoticePhase.STARTED, 100))
    one.take(said(NoticePhase.STARTED, 200))
    assert not one.on_time(150)
    assert one.on_time(201)
    assert not one.is_closed


@pytest.mark.parametrize(
    ("venue", "more"),
    [("okx", {"serviceType": "7"}), ("bybit_linear", {"product": [3]}), ("bybit_spot", {"product": [1, 3]})],
)
def test_what_concerns_services_that_we_do_not_use_closes_nothing(venue: str, more: dict[str, Any]) -> None:
    notice = get_adapter(venue).on_control(word(venue, "ongoing", **more)).notices[0]
    assert notice.phase is None
    ours = get_adapter(venue).on_control(word(venue, "ongoing")).notices[0]
    assert (ours.phase, ours.end_utc_ns) == (NoticePhase.STARTED, END_MS * 1_000_000)


class Stream(Rig):
    """One LIVE book of a venue whose snapshots come in the stream."""

    def __init__(self, venue: str) -> None:
        self.utc_ns = END_MS * 1_000_000 - 60 * SECOND
        symbol = SYMBOL[venue]
        super().__init__([plain(symbol, 2, 3, venue)], venue=venue, utc_ns=lambda: self.utc_ns)
        self.venue, self.symbol, self.last = venue, symbol, 10
        self.update("snapshot")
        assert self.state(symbol) == "LIVE"

    def update(self, kind: str = "update") -> None:
        self.last += 1
        sides = ([("99.00", "2.000")], [("102.00", "2.000")])
        if self.venue == "okx":
            previous = -1 if kind == "snapshot" else self.last - 1
            self.frame(okx_book(self.symbol, self.last, previous, *sides, action=kind))
        else:
            what = "delta" if kind == "update" else kind
            self.frame(bybit_book(self.symbol, self.last, *sides, kind=what))

    def reason(self) -> BookReason:
        certificate = self.core.certificate(0)
        assert certificate is not None
        return BookReason(certificate.reason)


@pytest.mark.parametrize("venue", ["okx", "bybit_linear"])
def test_books_are_not_live_from_the_word_that_it_began_to_the_word_that_it_is_over(venue: str) -> None:
    rig = Stream(venue)
    rig.frame(word(venue, "scheduled"))
    assert rig.state(rig.symbol) == "LIVE"
    rig.frame(word(venue, "ongoing"))
    assert (rig.state(rig.symbol), rig.reason()) == ("STALE", BookReason.MAINTENANCE)
    for kind in ("update", "snapshot", "update"):
        rig.update(kind)
        assert rig.state(rig.symbol) == "STALE", "data goes on, trading on it does not"
    rig.session.on_disconnected(0, rig.now_ns)
    rig.session.on_connected(0, rig.now_ns)
    rig.update("snapshot")
    assert rig.state(rig.symbol) == "STALE", "a new connection is no word"
    rig.frame(word(venue, "completed"))
    rig.update()
    assert (rig.state(rig.symbol), rig.session.statistics()["closures"]) == ("LIVE", 1)


def test_the_named_end_opens_a_venue_that_says_nothing_more() -> None:
    rig = Stream("bybit_linear")
    rig.frame(word("bybit_linear", "ongoing"))
    rig.timer(SECOND // 10)
    rig.update()
    assert rig.state(rig.symbol) == "STALE"
    rig.utc_ns += 61 * SECOND
    rig.session._clock.look(rig.now_ns)
    rig.timer(SECOND // 10)
    rig.update()
    assert rig.state(rig.symbol) == "LIVE"
