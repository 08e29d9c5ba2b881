"""Instruments that end while a feed runs, and audits asked for through the feed's ports."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from actors.errors import ActorError, SettingsError
from actors.feed_care import AuditSettings, FeedCare, read_quiet, read_validation
from feeds.adapter import Notice
from feeds.validation import Severity, ValidationSettings
from feeds.venues import get_adapter
from shm.enums import BookReason, InstrumentStatus
from shm.instruments import Instrument, InstrumentTable
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
        self.begun: list[tuple[str, int | None]] = []
        self.ended: list[str] = []
        self.told: list[str] = []
        self.has_room = True
        self.care = FeedCare(
            self.session,
            self.table,
            self.rows,
            AuditSettings(),
            self._ask,
            self._look,
            follow=lambda row: row.symbol.endswith("USDT"),
            begin=self._begin,
            end=lambda row: self.ended.append(row.symbol),
            tell=self.told.append,
        )

    def _ask(self, instrument_id: int, levels: int) -> bool:
        self.asked.append((instrument_id, levels))
        return True

    def _begin(self, row: Instrument, stream: int | None) -> int:
        if not self.has_room:
            raise ActorError("no room")
        self.begun.append((row.symbol, stream))
        return stream or 0

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


def test_an_instrument_listed_while_the_feed_runs_gets_a_book_once_it_trades() -> None:
    rig = Cared("BTCUSDT")
    rig.live("BTCUSDT")
    row = replace(plain("ETHUSDT"), status=InstrumentStatus.HALTED)
    new = rig.table.add(row)
    rig.table.add(plain("ETHUSDC"))  # nobody wants it
    rig.beat()
    assert rig.begun == []
    rig.table.set_status(new, InstrumentStatus.TRADING)
    rig.beat()
    assert rig.begun == [("ETHUSDT", None)]
    assert "ETHUSDT (ETH-USDT-PERP) is listed: its book begins" in rig.told
    rig.frame(depth("ETHUSDT", 1, 5, 0))
    rig.session.on_snapshot(new, snapshot_body(5), rig.now_ns)
    assert rig.book_of(new) == ("LIVE", BookReason.PROVEN)
    assert rig.care.statistics()["listed"] == 1
    assert rig.session.statistics()["unknown_symbols"] == 0


@pytest.mark.parametrize("status", [InstrumentStatus.HALTED, InstrumentStatus.DELISTED])
def test_what_does_not_trade_when_the_feed_starts_is_taken_up_once_it_does(status: InstrumentStatus) -> None:
    rig = Cared("BTCUSDT")
    row = rig.table.add(replace(plain("ETHUSDT"), status=status))
    rig.beat()
    assert rig.begun == []
    rig.table.set_status(row, InstrumentStatus.TRADING)
    rig.beat()
    rig.beat()
    assert rig.begun == [("ETHUSDT", None)]
    assert rig.care.statistics()["listed"] == 1


def test_a_listing_that_the_slab_can_not_hold_is_told_and_ends_nothing() -> None:
    rig = Cared("BTCUSDT")  # its slab holds one more
    rig.live("BTCUSDT")
    rig.table.add(plain("ETHUSDT"))
    rig.table.add(plain("XRPUSDT"))
    rig.beat()
    assert rig.ended == ["XRPUSDT"]
    assert "XRPUSDT is listed, but not followed: XRPUSDT: instrument_id 2 is beyond" in rig.told[-1]
    assert rig.state("BTCUSDT") == "LIVE"


def test_a_listing_that_finds_no_room_is_told_and_the_others_go_on() -> None:
    rig = Cared("BTCUSDT")
    rig.live("BTCUSDT")
    rig.has_room = False
    rig.table.add(plain("ETHUSDT"))
    rig.beat()
    rig.beat()
    assert [text for text in rig.told if "no room" in text] == [
        "ETHUSDT is listed, but not followed: no room"
    ]
    assert rig.state("BTCUSDT") == "LIVE"


def test_a_delisted_instrument_returns_by_itself_on_the_same_stream() -> None:
    rig = Cared("BTCUSDT", "ETHUSDT")
    rig.live("BTCUSDT")
    rig.live("ETHUSDT")
    rig.table.set_status(0, InstrumentStatus.DELISTED)
    rig.beat()
    assert rig.ended == ["BTCUSDT"]
    assert "cancel what rests there" in rig.told[-1]
    rig.frame(depth("BTCUSDT", 101, 101, 100))
    assert rig.book_of(0) == ("DESYNC", BookReason.DELISTED)
    rig.table.set_status(0, InstrumentStatus.TRADING)
    rig.beat()
    assert rig.begun == [("BTCUSDT", 0)]
    assert rig.book_of(0)[0] == "SYNCING"
    rig.frame(depth("BTCUSDT", 201, 205, 200))
    assert rig.requests[-1] == 0
    rig.session.on_snapshot(0, snapshot_body(205), rig.now_ns)
    assert rig.book_of(0) == ("LIVE", BookReason.PROVEN)
    rig.table.set_status(0, InstrumentStatus.DELISTED)
    rig.beat()
    assert rig.book_of(0) == ("DESYNC", BookReason.DELISTED), "and may go again"


def test_a_delisted_instrument_that_returns_under_other_terms_gets_a_new_book() -> None:
    rig = Cared("BTCUSDT")
    rig.live("BTCUSDT")
    rig.table.set_status(0, InstrumentStatus.DELISTED)
    rig.beat()
    rig.table.retire(0)
    new = rig.table.add(replace(rig.rows[0], price_exponent=3, tick_size=5))
    rig.beat()
    rig.frame(depth("BTCUSDT", 101, 105, 100, [["100.005", "1.000"]], [["101.000", "1.000"]]))
    rig.session.on_snapshot(new, snapshot_body(105), rig.now_ns)
    assert rig.book_of(new) == ("LIVE", BookReason.PROVEN)
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


def test_audits_have_a_budget_of_requests_not_of_resubscriptions() -> None:
    okx, bybit = get_adapter("okx"), get_adapter("bybit_linear")
    assert AuditSettings().period_ns(okx, 100) == 60 * SECOND
    assert AuditSettings().period_ns(okx, 500) == 250 * SECOND
    assert AuditSettings().period_ns(bybit, 500) == 60 * SECOND
    for name in ("binance_usdm", "okx", "bybit_linear", "bybit_spot"):
        adapter, audits = get_adapter(name), AuditSettings()
        bucket = audits.budget(adapter)
        weight = adapter.snapshot_request("X", audits.depth(adapter).levels).weight
        taken = sum(bucket.take(now) for now in range(0, 600 * SECOND, SECOND // 20)) * weight
        assert taken <= adapter.rest_per_minute * 0.1 * 11 + weight


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


def test_limits_of_quiet_books_are_read_in_seconds_and_by_either_name() -> None:
    read = read_quiet({"least_s": 5.0, "instruments": {"BTC-USDT-PERP": 2.5}}, 7, lambda name: name[:3])
    assert (read.least_ns, read.repeat_ns, read.limits_ns) == (5 * SECOND, 7, {"BTC": 2_500_000_000})
    for bad in (
        {"least": 5.0},
        {"least_s": -1.0},
        {"instruments": 3},
        {"scale": "x"},
        {"instruments": {"X": "y"}},
    ):
        with pytest.raises(SettingsError, match=r"market_data\.quiet"):
            read_quiet(bad, 0, str)
