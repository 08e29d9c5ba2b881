"""What findings do to books: four rules and four reason codes, marks that clear, quarantine and its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from feeds.errors import FeedError
from feeds.settings import SessionSettings
from feeds.validation import Severity, ValidationSettings, WatchSettings
from shm.enums import BookReason
from tests.kit.feed_rig import SECOND, Rig, depth, plain, snapshot_body, trade

MS = 1_000_000
START_MS = 1_700_000_000_000
OFF = {
    "timestamp_severity": Severity.OFF,
    "spread_severity": Severity.OFF,
    "jump_severity": Severity.OFF,
    "volume_severity": Severity.OFF,
    "anomaly_severity": Severity.OFF,
}
WATCH = WatchSettings(jump_warm_up=50, volume_warm_up=5, volume_bucket_ns=SECOND, anomaly_warm_up=300)


class Judged(Rig):
    """A LIVE book at 100.00 / 101.00 under some of the rules."""

    def __init__(self, **rules: Any) -> None:
        validation = ValidationSettings(**{**OFF, "watch": WATCH, "window": 51, "warm_up": 10, **rules})
        super().__init__([plain("BTCUSDT")], SessionSettings(validation=validation, late_ns=0))
        self.live()
        self.last, self.price, self.trades = 100, 0, 0

    def book(self, bid: str = "100.00", ask: str = "100.10", late_ms: int = 0) -> None:
        before, after = self.last, self.last + 1
        self.last = after
        levels = self.core.book(0)
        bids = [[f"{p / 100:.2f}", "0"] for p, _ in levels[0] if p != round(float(bid) * 100)] + [
            [bid, "1.000"]
        ]
        asks = [[f"{p / 100:.2f}", "0"] for p, _ in levels[1] if p != round(float(ask) * 100)] + [
            [ask, "1.000"]
        ]
        event_ms = START_MS + self.now_ns // MS - late_ms
        self.frame(depth("BTCUSDT", after, after, before, bids, asks, event_ms), after_ns=20 * MS)

    def trade(self, quantity: str = "0.010") -> None:
        self.trades += 1
        self.frame(
            trade("BTCUSDT", self.trades, "100.05", quantity, START_MS + self.now_ns // MS), after_ns=0
        )

    def calm(self, updates: int) -> None:
        for turn in range(updates):
            self.book("100.00", "100.10" if turn % 2 else "100.11")
            if turn % 3 == 0:
                self.trade()
            if turn % 10 == 0:
                self.timer(1)

    def reason(self) -> BookReason:
        certificate = self.core.certificate(0)
        assert certificate is not None
        return BookReason(certificate.reason)

    def count(self, name: str) -> int:
        return self.session.statistics().get(name, 0)


FINDINGS: dict[BookReason, tuple[str, Callable[[Judged], None]]] = {
    BookReason.TIMESTAMP: ("timestamp_severity", lambda rig: rig.book(late_ms=5_000)),
    BookReason.SPREAD: ("spread_severity", lambda rig: rig.book("90.00", "100.10")),
    BookReason.PRICE_JUMP: ("jump_severity", lambda rig: rig.book("110.00", "110.10")),
    BookReason.VOLUME_SPIKE: ("volume_severity", lambda rig: rig.trade("90.000")),
    BookReason.ANOMALY: ("anomaly_severity", lambda rig: rig.book("110.00", "110.10")),
}


@pytest.mark.parametrize("reason", list(FINDINGS))
@pytest.mark.parametrize("severity", [Severity.COUNT, Severity.STATUS, Severity.STALE])
def test_each_rule_has_its_reason_and_does_what_its_severity_says(
    reason: BookReason, severity: Severity
) -> None:
    rule, act = FINDINGS[reason]
    rig = Judged(**{rule: severity})
    rig.calm(600)
    assert rig.session.validator.totals == {}
    assert (rig.state(), rig.reason()) == ("LIVE", BookReason.PROVEN)
    act(rig)
    assert rig.count(f"suspect_{reason.name.lower()}") == 1
    expected = {
        Severity.COUNT: ("LIVE", BookReason.PROVEN),
        Severity.STATUS: ("LIVE", reason),
        Severity.STALE: ("STALE", reason),
    }
    assert (rig.state(), rig.reason()) == expected[severity]


@pytest.mark.parametrize("reason", list(FINDINGS))
def test_a_rule_that_is_off_finds_nothing(reason: BookReason) -> None:
    rig = Judged()
    rig.calm(600)
    FINDINGS[reason][1](rig)
    assert rig.session.validator.totals == {}


def test_a_mark_goes_when_nothing_renews_it() -> None:
    rig = Judged(jump_severity=Severity.STATUS)
    rig.calm(100)
    rig.book("110.00", "110.10")
    assert rig.reason() is BookReason.PRICE_JUMP
    rig.calm(1)
    rig.timer(2 * SECOND)
    assert (rig.state(), rig.reason()) == ("LIVE", BookReason.NONE)


def quarantined(**more: Any) -> Judged:
    settings = {"quarantine_findings": 2, "quarantine_window_ns": SECOND, "quarantine_calm_ns": 5 * SECOND}
    rig = Judged(jump_severity=Severity.QUARANTINE, **{**settings, **more})
    rig.calm(100)
    rig.book("110.00", "110.10")
    assert (rig.state(), rig.count("quarantines")) == ("LIVE", 0), "one finding is not enough"
    rig.book("110.00", "110.10")
    assert (rig.state(), rig.reason()) == ("STALE", BookReason.QUARANTINE)
    assert (rig.count("quarantines"), rig.count("quarantined")) == (1, 1)
    return rig


def test_a_book_in_quarantine_stays_stale_while_updates_come_and_is_released_when_calm() -> None:
    rig = quarantined()
    began, states = rig.now_ns, set()
    while rig.state() != "LIVE":
        states.add((rig.state(), rig.reason()))
        rig.calm(10)
        assert rig.now_ns - began < 20 * SECOND
    assert states == {("STALE", BookReason.QUARANTINE)}
    assert rig.now_ns - began >= 5 * SECOND
    assert rig.count("quarantined") == 0
    bids, asks = rig.core.book(0)
    assert (bids[0][0], asks[0][0]) in ((10_000, 10_010), (10_000, 10_011)), (
        "its updates were applied all the time"
    )


def test_findings_during_a_quarantine_prolong_it() -> None:
    rig = quarantined()
    began = rig.now_ns
    while rig.now_ns - began < 12 * SECOND:
        rig.calm(100)
        rig.book("130.00", "130.10")
    assert (rig.state(), rig.count("quarantines")) == ("STALE", 1)


def test_a_quarantine_without_an_end_is_ended_by_command() -> None:
    rig = quarantined(quarantine_calm_ns=0)
    rig.calm(1_000)
    assert rig.state() == "STALE"
    assert rig.session.suspects.release(0)
    assert not rig.session.suspects.release(0)
    rig.calm(1)
    assert (rig.state(), rig.reason()) == ("LIVE", BookReason.PROVEN)


def test_a_new_proof_does_not_end_a_quarantine() -> None:
    rig = quarantined(quarantine_calm_ns=0)
    rig.session.on_disconnected(0, rig.now_ns)
    rig.last += 5  # a gap: the book must be proven anew
    rig.frame(depth("BTCUSDT", rig.last + 5, rig.last + 10, rig.last + 4))
    rig.snapshot("BTCUSDT", snapshot_body(rig.last + 10))
    assert (rig.state(), rig.reason()) == ("STALE", BookReason.QUARANTINE)


def test_a_book_can_be_put_into_quarantine_by_command() -> None:
    rig = Judged()
    rig.session.suspects.quarantine(0, rig.now_ns)
    assert (rig.state(), rig.reason()) == ("STALE", BookReason.QUARANTINE)
    rig.calm(5)
    assert rig.state() == "STALE"
    with pytest.raises(FeedError, match="not in this session"):
        rig.session.suspects.quarantine(9, rig.now_ns)


def test_findings_far_apart_are_no_reason_for_a_quarantine() -> None:
    rig = Judged(jump_severity=Severity.QUARANTINE, quarantine_findings=2, quarantine_window_ns=SECOND)
    rig.calm(100)
    for _ in range(4):
        rig.book("110.00", "110.10")
        rig.calm(200)
    assert (rig.state(), rig.count("quarantines")) == ("LIVE", 0)
    assert rig.count("suspect_price_jump") >= 4


def test_what_is_held_by_hand_is_let_go_by_hand_alone() -> None:
    rig = Judged(quarantine_calm_ns=SECOND)
    rig.session.suspects.quarantine(0, rig.now_ns, by_hand=True)
    assert rig.state() == "STALE"
    for _ in range(40):
        rig.timer(SECOND // 4)
        rig.book()
        assert rig.state() == "STALE"
    assert rig.session.suspects.release(0)
    rig.book()
    assert rig.state() == "LIVE"


def test_an_operators_hand_holds_a_book_over_its_delisting_until_it_lets_go() -> None:
    rig = Judged()
    rig.session.suspects.quarantine(0, rig.now_ns, by_hand=True)
    rig.session.suspects.retire(0, rig.now_ns)
    rig.session.revive(0, rig.now_ns)
    assert rig.session.suspects.holds(0)
    rig.session.suspects.retire(0, rig.now_ns)
    assert not rig.session.suspects.release(0), "a book that has ended is in no quarantine"
    rig.session.revive(0, rig.now_ns)
    assert not rig.session.suspects.holds(0)
