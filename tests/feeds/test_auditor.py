"""Audits of a session's books: a corrupt level is found within one period, and nothing else is."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from feeds.auditor import Auditor
from feeds.settings import SessionSettings
from feeds.validation import Severity, ValidationSettings
from shm.dtypes import record_dtype
from shm.enums import BookReason
from tests.kit.feed_rig import SLOT, Rig, depth, plain, snapshot_body
from tests.kit.stream_frames import Levels, bybit_book, okx_book

SECOND = 1_000_000_000
PERIOD = 60 * SECOND
BIDS, ASKS = [["99.00", "2.000"], ["98.00", "1.000"]], [["102.00", "2.000"], ["103.00", "5.000"]]


class Audited(Rig):
    """A rig with an auditor, whose snapshot requests are answered by the test."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.asked: list[int] = []
        self.accepts = True
        self.auditor = Auditor(self.session, self.rows, request=self._ask, period_ns=PERIOD)

    def _ask(self, instrument_id: int) -> bool:
        self.asked.append(instrument_id)
        return self.accepts

    def prove(self, symbol: str, at: int = 100) -> None:
        self.frame(depth(symbol, at - 5, at, at - 6, [], []))
        self.snapshot(symbol, snapshot_body(at, BIDS, ASKS))
        assert self.state(symbol) == "LIVE"

    def tick(self, after_ns: int = SECOND // 4) -> None:
        self.timer(after_ns)
        self.auditor.on_timer(self.now_ns)

    def reasons(self) -> list[int]:
        """Reasons of the records published since the last call."""
        buffer = bytearray(SLOT * 1024)
        count = self.subscriber.poll_into(buffer, 1024)
        return np.frombuffer(buffer, record_dtype("shm_market_record"), count)["reason"].tolist()  # type: ignore[no-any-return]

    def count(self, name: str) -> int:
        return self.auditor.statistics()[f"audit_{name}"]


def proven(rig: Audited) -> int:
    return rig.core.proven_sequence(0)


def next_update(rig: Audited, bids: list[list[str]], asks: list[list[str]] | None = None) -> None:
    last = proven(rig)
    rig.frame(depth("BTCUSDT", last + 1, last + 1, last, bids, asks or []))


def fresh() -> Audited:
    """A LIVE book whose audit has just begun."""
    rig = Audited(instruments=[plain("BTCUSDT")])
    rig.prove("BTCUSDT")
    for _ in range(300):
        rig.tick()
        if rig.asked:
            break
        next_update(rig, [["50.00", "1.000"]])
    assert rig.asked == [0]
    assert rig.state() == "LIVE"
    return rig


def test_a_book_that_equals_the_snapshot_gets_its_audit_stamp() -> None:
    rig = fresh()
    assert rig.auditor.on_answer(0, snapshot_body(proven(rig), BIDS, ASKS), rig.now_ns)
    certificate = rig.core.certificate(0)
    assert certificate is not None
    assert certificate.audit_ns == rig.now_ns
    assert (rig.state(), rig.count("equal"), rig.count("different")) == ("LIVE", 1, 0)


def test_a_corrupt_level_is_found_within_one_period_and_the_book_disproved() -> None:
    rig = fresh()
    next_update(rig, [["98.00", "7.000"]])  # what the venue never sent
    rig.auditor.on_answer(0, snapshot_body(proven(rig), BIDS, ASKS), rig.now_ns)
    assert rig.count("equal") == 1, "it was touched while the snapshot was under way: nothing is known of it"
    began = rig.now_ns
    while len(rig.asked) < 2:
        rig.tick()
        next_update(rig, [["50.00", "1.000"]])
    assert rig.now_ns - began <= PERIOD + SECOND
    rig.auditor.on_answer(0, snapshot_body(proven(rig), BIDS, ASKS), rig.now_ns)
    assert rig.state() == "SYNCING", "disproved, and on its way to a new proof"
    assert BookReason.AUDIT in rig.reasons()
    assert str(rig.auditor.findings[0]) == (
        "BTCUSDT: 1 levels differ, the first bid 9800: 7000 here, 1000 at the venue (units)"
    )


def test_the_audit_waits_for_the_stream_to_reach_the_snapshot() -> None:
    rig = fresh()
    ahead = proven(rig) + 1
    rig.auditor.on_answer(0, snapshot_body(ahead, [["99.00", "3.000"], BIDS[1]], ASKS), rig.now_ns)
    assert rig.count("equal") == rig.count("different") == 0
    next_update(rig, [["99.00", "3.000"]])
    rig.tick()
    assert rig.count("equal") == 1


def test_an_old_snapshot_says_nothing_and_another_is_asked_for() -> None:
    rig = fresh()
    rig.auditor.on_answer(0, snapshot_body(proven(rig) - 1, [["1.00", "1.000"]], ASKS), rig.now_ns)
    assert (rig.state(), rig.count("not_comparable"), rig.asked) == ("LIVE", 1, [0, 0])


def test_a_book_that_is_not_live_any_more_is_not_judged() -> None:
    rig = fresh()
    rig.session.on_disconnected(0, rig.now_ns)
    rig.auditor.on_answer(0, snapshot_body(proven(rig), [["1.00", "1.000"]], ASKS), rig.now_ns)
    assert (rig.state(), rig.count("not_comparable"), len(rig.asked)) == ("STALE", 1, 1)


def test_answers_nobody_asked_for_and_broken_bodies_are_no_audits() -> None:
    rig = fresh()
    assert rig.auditor.on_answer(0, b'{"lastUpdateId":', rig.now_ns)
    assert rig.count("failed") == 1
    assert not rig.auditor.on_answer(0, snapshot_body(proven(rig), BIDS, ASKS), rig.now_ns)
    assert not rig.auditor.on_failed(0, rig.now_ns)
    assert rig.state() == "LIVE"


def test_a_request_that_is_refused_is_left_for_the_next_round() -> None:
    rig = Audited(instruments=[plain("BTCUSDT")])
    rig.accepts = False
    rig.prove("BTCUSDT")
    for _ in range(300):
        rig.tick()
        next_update(rig, [["50.00", "1.000"]])
    assert rig.count("audits") == 0
    assert rig.count("failed") == len(rig.asked) == 1


def test_books_have_their_turn_one_after_the_other() -> None:
    rows = [plain(symbol) for symbol in ("AUSDT", "BUSDT", "CUSDT")]
    rig = Audited(instruments=rows)
    last = {}
    for row in rows:
        rig.prove(row.symbol)
        last[row.symbol] = 100
    for _ in range(300):
        rig.tick()
        for row in rows:
            at = last[row.symbol]
            rig.frame(depth(row.symbol, at + 1, at + 1, at, [["50.00", "1.000"]], []), after_ns=1)
            last[row.symbol] = at + 1
        for number in list(rig.asked[rig.count("equal") :]):
            rig.auditor.on_answer(number, snapshot_body(last[rows[number].symbol], BIDS, ASKS), rig.now_ns)
    assert rig.asked == [0, 1, 2]
    assert rig.count("equal") == 3
    rig.auditor.remove(0)
    assert [row.symbol for row in rig.auditor._round] == ["BUSDT", "CUSDT"]


# ---- venues whose answers do not share a sequence with the stream: placed by time ------------------------


class StreamAudited(Audited):
    """A book of a venue whose snapshots come in the stream, audited."""

    def __init__(self, venue: str, symbol: str) -> None:
        quiet = ValidationSettings(timestamp_severity=Severity.OFF)
        settings = SessionSettings(validation=quiet)
        super().__init__(instruments=[plain(symbol, 2, 3, venue)], venue=venue, settings=settings)
        self.symbol, self.number_of = symbol, 1
        self.is_okx = venue == "okx"
        self.send("snapshot", [("99.00", "2.000"), ("98.00", "1.000")], [("102.00", "2.000")])
        for _ in range(300):
            self.tick()
            if self.asked:
                return
            self.send("update", [("50.00", "1.000")])
        raise AssertionError("no audit within a round")

    @property
    def ms(self) -> int:
        return self.now_ns // 1_000_000

    def send(self, kind: str, bids: Levels = (), asks: Levels = ()) -> None:
        self.number_of += 1
        if self.is_okx:
            previous = -1 if kind == "snapshot" else self.number_of - 1
            self.frame(okx_book(self.symbol, self.number_of, previous, bids, asks, action=kind, ms=self.ms))
        else:
            what = "delta" if kind == "update" else kind
            self.frame(bybit_book(self.symbol, self.number_of, bids, asks, kind=what, ms=self.ms))
        assert self.state(self.symbol) == "LIVE"

    def answer(self, bids: Levels, asks: Levels = (("102.00", "2.000"),)) -> None:
        ms = self.ms
        if self.is_okx:
            rows = [
                {
                    "bids": [[*b, "0", "1"] for b in bids],
                    "asks": [[*a, "0", "1"] for a in asks],
                    "ts": str(ms),
                }
            ]
            body: dict[str, Any] = {"code": "0", "msg": "", "data": rows}
        else:
            result = {"s": self.symbol, "b": bids, "a": asks, "ts": ms, "u": 5, "seq": 7}
            body = {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": ms}
        assert self.auditor.on_answer(0, orjson.dumps(body), self.now_ns)
        self.now_ns += 5_000_000
        self.send("update", [("50.00", "1.000")])  # the stream goes beyond the snapshot
        self.tick(1)


STREAMS = [("okx", "BTC-USDT-SWAP"), ("bybit_linear", "BTCUSDT"), ("bybit_spot", "BTCUSDT")]


@pytest.mark.parametrize(("venue", "symbol"), STREAMS)
def test_an_equal_answer_without_sequence_is_placed_by_its_time(venue: str, symbol: str) -> None:
    rig = StreamAudited(venue, symbol)
    rig.answer([("99.00", "2.000"), ("98.00", "1.000")])
    assert (rig.count("equal"), rig.count("suspected")) == (1, 0)


@pytest.mark.parametrize(("venue", "symbol"), STREAMS)
def test_a_difference_without_sequence_must_be_found_twice(venue: str, symbol: str) -> None:
    rig = StreamAudited(venue, symbol)
    rig.answer([("99.00", "2.000"), ("98.00", "9.000")])
    assert (rig.state(symbol), rig.count("suspected"), rig.asked) == ("LIVE", 1, [0, 0])
    rig.answer([("99.00", "2.000"), ("98.00", "9.000")])
    assert rig.state(symbol) != "LIVE"
    assert rig.count("different") == 1
    assert BookReason.AUDIT in rig.reasons()


@pytest.mark.parametrize(("venue", "symbol"), STREAMS)
def test_a_difference_that_is_not_found_again_was_none(venue: str, symbol: str) -> None:
    rig = StreamAudited(venue, symbol)
    rig.answer([("99.00", "2.000"), ("98.00", "9.000")])
    rig.answer([("99.00", "2.000"), ("98.00", "1.000")])
    assert (rig.state(symbol), rig.count("equal"), rig.count("different")) == ("LIVE", 1, 0)
