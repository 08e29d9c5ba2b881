"""Instruments that end while a feed runs, and audits asked for through the feed's ports."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from actors.errors import SettingsError
from actors.feed_care import AuditSettings, FeedCare, read_validation
from feeds.adapter import Notice
from feeds.validation import Severity, ValidationSettings
from feeds.venues import get_adapter
from shm.enums import BookReason, InstrumentStatus
from shm.instruments import InstrumentTable
from tests.kit.feed_rig import SECOND, Rig, depth, plain, snapshot_body


class Cared(Rig):
    """A rig whose instruments stand in a table, with its care."""

    def __init__(self, *symbols: str) -> None:
        super().__init__([plain(symbol) for symbol in symbols])
        self.table = InstrumentTable.create(bytearray(InstrumentTable.bytes_needed(8)), 8)
        for row in self.rows:
            self.table.add(row)
        self.asked: list[tuple[int, int]] = []
        self.looks = 0
        self.care = FeedCare(self.session, self.table, self.rows, AuditSettings(), self._ask, self._look)

    def _ask(self, instrument_id: int, levels: int) -> bool:
        self.asked.append((instrument_id, levels))
        return True

    def _look(self) -> bool:
        self.looks += 1
        return True

    def beat(self, after_ns: int = SECOND) -> None:
        self.timer(after_ns)
        self.care.on_timer(self.now_ns)

    def book_of(self, instrument_id: int) -> tuple[str, BookReason]:
        certificate = self.core.certificate(instrument_id)
        assert certificate is not None
        state = self.session.state(instrument_id)
        assert certificate.state == state
        return state.name, BookReason(certificate.reason)


def test_a_delisted_instruments_book_ends_and_nothing_makes_it_live() -> None:
    rig = Cared("BTCUSDT", "ETHUSDT")
    rig.live("BTCUSDT")
    rig.live("ETHUSDT")
    rig.table.set_status(0, InstrumentStatus.DELISTED)
    rig.beat()
    assert rig.book_of(0) == ("DESYNC", BookReason.DELISTED)
    requests = list(rig.requests)
    rig.frame(depth("BTCUSDT", 101, 101, 100))
    rig.session.on_disconnected(0, rig.now_ns)
    rig.session.on_connected(0, rig.now_ns)
    rig.frame(depth("BTCUSDT", 102, 102, 101))
    rig.snapshot("BTCUSDT", snapshot_body(102))
    rig.beat()
    assert rig.book_of(0) == ("DESYNC", BookReason.DELISTED)
    rig.frame(depth("ETHUSDT", 101, 101, 100))
    assert rig.state("ETHUSDT") == "LIVE", "the others go on"
    assert rig.requests == requests
    assert rig.care.statistics()["retired"] == 1


def test_new_terms_end_the_old_book_and_begin_a_new_one_on_the_same_stream() -> None:
    rig = Cared("BTCUSDT")
    rig.live("BTCUSDT")
    rig.table.retire(0)
    new = rig.table.add(replace(rig.rows[0], price_exponent=3, tick_size=5))
    rig.beat()
    assert rig.book_of(0) == ("DESYNC", BookReason.DELISTED)
    assert rig.book_of(new)[0] == "SYNCING"
    rig.frame(depth("BTCUSDT", 101, 105, 100, [["100.005", "1.000"]], [["101.000", "1.000"]]))
    assert rig.requests[-1] == new
    rig.session.on_snapshot(new, snapshot_body(105), rig.now_ns)
    assert rig.book_of(new) == ("LIVE", BookReason.PROVEN)
    assert rig.core.book(new)[0][0] == (100_005, 1_000)
    assert rig.book_of(0) == ("DESYNC", BookReason.DELISTED)


def test_a_notice_about_an_instrument_asks_for_a_look_at_the_list_once() -> None:
    rig = Cared("BTCUSDT")
    rig.live("BTCUSDT")
    rig.beat()
    assert rig.looks == 0
    rig.care.on_notice(Notice("status", "", "maintenance"))
    rig.beat()
    assert rig.looks == 0
    rig.care.on_notice(Notice("instrument", "BTCUSDT", "SETTLING"))
    rig.care.on_notice(Notice("instrument", "ETHUSDT", "SETTLING"))
    rig.beat()
    rig.beat()
    assert rig.looks == 1


def test_audits_ask_for_the_shallowest_snapshot_that_is_deep_enough() -> None:
    rig = Cared("BTCUSDT")
    rig.live("BTCUSDT")
    last = 100
    for _ in range(70):
        rig.beat()
        rig.frame(depth("BTCUSDT", last + 1, last + 1, last))
        last += 1
    assert rig.asked == [(0, 100)]
    adapter = get_adapter("binance_usdm")
    assert AuditSettings(levels=101).depth(adapter).levels == 500
    assert AuditSettings(levels=5000).depth(adapter).levels == 1000
    assert AuditSettings(levels=1).depth(adapter).levels == 50
    assert AuditSettings().depth(get_adapter("okx")).levels == 400


def test_a_round_over_many_books_is_as_long_as_the_budget_asks() -> None:
    adapter = get_adapter("binance_usdm")
    assert AuditSettings().period_ns(adapter, 1) == 60 * SECOND
    assert AuditSettings().period_ns(adapter, 480) == 600 * SECOND
    assert AuditSettings(period_s=0).period_ns(adapter, 480) == 0


@pytest.mark.parametrize("bad", [{"period_s": -1.0}, {"share": 0.0}, {"share": 2.0}, {"levels": 0}])
def test_unusable_settings_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="not usable"):
        AuditSettings(**bad)  # type: ignore[arg-type]


def test_validation_is_read_with_severities_by_name() -> None:
    read = read_validation(
        {"anomaly_severity": "quarantine", "quarantine_findings": 5, "watch": {"jump_bps": 50.0}}
    )
    assert read.anomaly_severity is Severity.QUARANTINE
    assert (read.quarantine_findings, read.watch.jump_bps) == (5, 50.0)
    assert read_validation({}) == ValidationSettings()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"anomaly_severity": "loud"}, "not one of off, count, status, stale, quarantine"),
        ({"anomaly_severity": 3}, "not one of"),
        ({"jump": 1}, "unknown setting 'jump'"),
        ({"watch": {"jump_bps": -1.0}}, "negative"),
        ({"watch": {"jump": 1.0}}, "unknown setting 'jump'"),
        ({"watch": 5}, "market_data.validation"),
    ],
)
def test_unusable_validation_settings_are_refused(data: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        read_validation(data)
