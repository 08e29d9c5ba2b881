"""Venues whose snapshots come in the stream: proof, gaps, resubscription, resets, checksums."""

from __future__ import annotations

from typing import Any

import pytest

from feeds.core import FrameResult
from feeds.session import SessionSettings
from feeds.validation import Severity, ValidationSettings
from shm.enums import BookReason, RecordKind
from shm.records import MarketRecord
from tests.kit.feed_rig import SECOND, SLOT, Rig, plain
from tests.kit.stream_frames import TIME_MS, bybit, bybit_book, okx, okx_book, okx_checksum

SWAP, OTHER = "BTC-USDT-SWAP", "ETH-USDT-SWAP"
BTC = "BTCUSDT"
BIDS, ASKS = [("99.5", "2"), ("99", "1")], [("100", "3"), ("100.5", "4")]
QUIET = ValidationSettings(timestamp_severity=Severity.OFF, spread_severity=Severity.OFF)


class StreamRig(Rig):
    """A rig that notes resubscriptions."""

    def __init__(self, venue: str, symbols: tuple[str, ...], **more: Any) -> None:
        self.resubscribed: list[int] = []
        more.setdefault("settings", SessionSettings(validation=QUIET))
        more.setdefault("request_resubscribe", self.resubscribed.append)
        super().__init__([plain(s, 2, 3, venue) for s in symbols], venue=venue, **more)

    def records(self) -> list[MarketRecord]:
        found = []
        buffer = bytearray(SLOT * 256)
        for index in range(self.subscriber.poll_into(memoryview(buffer), 256)):
            record = MarketRecord()
            record.load(memoryview(buffer)[index * SLOT : (index + 1) * SLOT])
            found.append(record)
        return found

    def reason(self, symbol: str) -> BookReason:
        certificate = self.core.certificate(self.number(symbol))
        assert certificate is not None
        return BookReason(certificate.reason)

    def count(self, name: str) -> int:
        return {**self.core.statistics(), **self.session.statistics()}[name]


def okx_rig(**more: Any) -> StreamRig:
    rig = StreamRig("okx", (SWAP, OTHER), **more)
    rig.frame(whole())
    assert rig.state(SWAP) == "LIVE"
    return rig


def bybit_rig(**more: Any) -> StreamRig:
    rig = StreamRig("bybit_linear", (BTC,), **more)
    rig.frame(bybit_book(BTC, 500, BIDS, ASKS, kind="snapshot"))
    assert rig.state(BTC) == "LIVE"
    return rig


def whole(sequence: int = 100, **more: Any) -> bytes:
    return okx_book(SWAP, sequence, -1, BIDS, ASKS, action="snapshot", **more)


def best(rig: Rig, symbol: str) -> tuple[int, int]:
    bids, asks = rig.core.book(rig.number(symbol))
    return bids[0][0], asks[0][0]


# ---- proof ---------------------------------------------------------------------------------------


def test_the_snapshot_in_the_stream_proves_at_once() -> None:
    rig = StreamRig("okx", (SWAP, OTHER))
    assert rig.frame(whole()) == FrameResult.DEPTH_PENDING
    assert (rig.state(SWAP), rig.state(OTHER)) == ("LIVE", "SYNCING")
    assert (rig.requests, rig.resubscribed) == ([], [])
    assert rig.frame(okx_book(SWAP, 110, 100, [("99.6", "1")])) == FrameResult.APPLIED
    assert best(rig, SWAP) == (9960, 10000)
    assert rig.core.proven_sequence(rig.number(SWAP)) == 110


def test_an_update_before_any_snapshot_proves_nothing_and_waits_for_the_one_under_way() -> None:
    rig = StreamRig("okx", (SWAP,))
    rig.frame(okx_book(SWAP, 110, 100, [("99.6", "1")]))
    assert rig.state(SWAP) == "SYNCING"
    assert rig.resubscribed == [], "the subscription has asked for the snapshot already"


def test_a_snapshot_that_does_not_come_is_asked_for_again() -> None:
    rig = StreamRig("okx", (SWAP,))
    rig.frame(b"pong")
    for _ in range(9):
        rig.timer(SECOND)
    assert rig.resubscribed == []
    for _ in range(2):
        rig.timer(SECOND)
    assert rig.resubscribed == [rig.number(SWAP)]


def test_rest_bodies_are_for_audits_only() -> None:
    rig = okx_rig()
    book = rig.core.book(rig.number(SWAP))
    rig.snapshot(SWAP, b'{"code":"0","data":[{"asks":[],"bids":[["1","1"]],"ts":"5"}]}')
    assert rig.core.book(rig.number(SWAP)) == book
    assert rig.count("snapshots_ignored") == 1


# ---- gaps ----------------------------------------------------------------------------------------


def test_a_gap_disproves_asks_for_the_stream_anew_and_the_next_snapshot_heals() -> None:
    rig = okx_rig()
    assert rig.frame(okx_book(SWAP, 130, 120, [("99.6", "1")])) == FrameResult.GAP
    assert rig.resubscribed == [rig.number(SWAP)]
    assert rig.state(SWAP) == "SYNCING"
    assert [(g.expected, g.previous_sequence, g.last_sequence) for g in rig.session.gaps] == [(100, 120, 130)]
    rig.frame(okx_book(SWAP, 140, 130, [("99.7", "1")]))
    rig.frame(okx_book(SWAP, 160, 150, [("99.7", "1")]))
    assert len(rig.session.gaps) == 2, "a hole while it is not proven is a fact too"
    assert best(rig, SWAP) == (9950, 10000)
    rig.frame(whole(200))
    assert rig.state(SWAP) == "LIVE"
    assert rig.frame(okx_book(SWAP, 210, 200, [("99.8", "1")])) == FrameResult.APPLIED
    assert rig.count("resubscribes") == 1


def test_without_a_way_to_resubscribe_the_connection_is_made_anew() -> None:
    asked: list[int] = []
    rig = okx_rig(request_resubscribe=None, request_reconnect=asked.append)
    rig.frame(okx_book(SWAP, 130, 120))
    assert asked == [0]


def test_bybit_updates_count_by_one() -> None:
    rig = bybit_rig()
    assert rig.frame(bybit_book(BTC, 501, [("99.7", "1")])) == FrameResult.APPLIED
    assert rig.frame(bybit_book(BTC, 503, [("99.8", "1")])) == FrameResult.GAP
    assert rig.resubscribed == [rig.number(BTC)]
    assert best(rig, BTC) == (9970, 10000)


def test_a_storm_of_gaps_stays_within_the_budget() -> None:
    symbols = tuple(f"A{i}-USDT-SWAP" for i in range(20))
    settings = SessionSettings(validation=QUIET, resync_tokens=3, resync_per_second=1.0)
    rig = StreamRig("okx", symbols, settings=settings)
    for symbol in symbols:
        rig.frame(okx_book(symbol, 100, -1, BIDS, ASKS, action="snapshot"), after_ns=1000)
    for symbol in symbols:
        rig.frame(okx_book(symbol, 130, 120), after_ns=1000)
    assert len(rig.resubscribed) == 3
    for _ in range(5):
        rig.timer(SECOND)
        rig.frame(b"pong", after_ns=1000)
    assert len(rig.resubscribed) == 8
    assert len(set(rig.resubscribed)) == 8, "first come, first served"


def crowd_rig(broken: int, asked: list[int], lines: int = 1) -> StreamRig:
    """Twenty LIVE books of one stream, of which so many lose their proof where tokens are rare."""
    symbols = tuple(f"A{i}-USDT-SWAP" for i in range(20))
    settings = SessionSettings(
        validation=QUIET, resync_tokens=1, resync_per_second=1 / 24, silence_ns=0, clock_jump_ns=0,
        reconnect_silence_ns=0, snapshot_timeout_ns=0, reorder_ns=1, merges=lines > 1,
    )  # fmt: skip
    rig = StreamRig("okx", symbols, settings=settings, request_reconnect=asked.append)
    for line in range(lines):
        rig.session.add_line(line, 0)
        rig.session.on_connected(line, rig.now_ns)
        for symbol in symbols:
            rig.frame(okx_book(symbol, 100, -1, BIDS, ASKS, action="snapshot"), line)
            rig.frame(okx_book(symbol, 110, 100), line)
    for symbol in symbols[:broken]:
        for line in range(lines):
            rig.frame(okx_book(symbol, 130, 120), line)
    rig.timer(SECOND)
    return rig


def test_a_crowd_of_books_that_wait_is_mended_by_one_new_socket() -> None:
    asked: list[int] = []
    rig = crowd_rig(20, asked)
    assert (len(rig.resubscribed), rig.count("waiting_for_token")) == (1, 19)
    assert asked == [0]
    rig.session.on_disconnected(0, rig.now_ns)
    rig.session.on_connected(0, rig.now_ns)
    for row in rig.rows:
        rig.frame(okx_book(row.symbol, 200, -1, BIDS, ASKS, action="snapshot"))
    rig.timer(SECOND)
    assert {rig.state(row.symbol) for row in rig.rows} == {"LIVE"}
    assert (rig.count("waiting_for_token"), rig.count("line_renewals")) == (0, 1)
    assert (len(rig.resubscribed), asked) == (1, [0]), "nobody asked for what came by itself"


def test_a_crowd_that_a_new_socket_did_not_mend_waits_for_the_next_one() -> None:
    asked: list[int] = []
    rig = crowd_rig(20, asked)
    rig.session.on_disconnected(0, rig.now_ns)
    rig.session.on_connected(0, rig.now_ns)
    for row in rig.rows:  # each book breaks again at once
        rig.frame(okx_book(row.symbol, 200, -1, BIDS, ASKS, action="snapshot"))
        rig.frame(okx_book(row.symbol, 230, 220))
    rig.timer(19 * SECOND)
    assert asked == [0]
    rig.timer(SECOND)
    assert asked == [0, 0]


@pytest.mark.parametrize(("lines", "expected"), [(1, []), (2, [0])])
def test_a_few_that_wait_cost_the_others_nothing(lines: int, expected: list[int]) -> None:
    asked: list[int] = []
    rig = crowd_rig(5, asked, lines)
    assert rig.count("waiting_for_token") == 4
    assert asked == expected, "one line of several may go, the only one may not"
    for number in expected:
        rig.session.on_disconnected(number, rig.now_ns)
    assert [rig.state(row.symbol) for row in rig.rows[5:]] == ["LIVE"] * 15


# ---- what looks like a break and is none ---------------------------------------------------------


def test_a_heartbeat_keeps_a_book_live_and_unchanged() -> None:
    rig = okx_rig()
    book = rig.core.book(rig.number(SWAP))
    assert rig.frame(okx_book(SWAP, 100, 100, ms=TIME_MS + 60_000)) == FrameResult.APPLIED
    assert rig.core.book(rig.number(SWAP)) == book
    certificate = rig.core.certificate(rig.number(SWAP))
    assert certificate is not None
    assert certificate.data_ns == rig.now_ns


def test_a_sequence_reset_goes_on() -> None:
    rig = okx_rig()
    assert rig.frame(okx_book(SWAP, 3, 100, [("99.6", "1")])) == FrameResult.APPLIED
    assert rig.frame(okx_book(SWAP, 4, 3, [("99.7", "1")])) == FrameResult.APPLIED
    assert best(rig, SWAP) == (9970, 10000)


def test_a_second_snapshot_overwrites_a_live_book() -> None:
    rig = okx_rig()
    rig.frame(okx_book(SWAP, 110, 100, [("99.9", "5")]))
    assert rig.frame(whole(120, ms=TIME_MS + 5)) == FrameResult.APPLIED
    assert best(rig, SWAP) == (9950, 10000)
    assert rig.frame(okx_book(SWAP, 130, 120)) == FrameResult.APPLIED


def test_update_one_overwrites_a_live_book_after_a_restart() -> None:
    rig = bybit_rig()
    assert rig.frame(bybit_book(BTC, 1, [("50", "1")], [("51", "1")], kind="delta", ms=TIME_MS + 9)) == 0
    assert rig.core.book(rig.number(BTC)) == ([(5000, 1000)], [(5100, 1000)])
    assert rig.frame(bybit_book(BTC, 2, [("50.5", "1")], ms=TIME_MS + 10)) == FrameResult.APPLIED


def test_a_snapshot_of_a_line_that_lags_changes_nothing() -> None:
    rig = okx_rig()
    rig.frame(okx_book(SWAP, 110, 100, [("99.9", "5")], ms=TIME_MS + 50))
    assert rig.frame(whole(105, ms=TIME_MS + 40), connection=1) == FrameResult.DUPLICATE
    assert best(rig, SWAP) == (9990, 10000)
    assert rig.state(SWAP) == "LIVE"


def test_one_level_sent_again_and_again_stays_live() -> None:
    rig = StreamRig("bybit_spot", (BTC,))
    frame = [
        bybit_book(BTC, 7, BIDS[:1], ASKS[:1], kind="snapshot", levels=50, ms=TIME_MS + 3000 * i)
        for i in range(6)
    ]
    for one in frame:
        rig.frame(one)
    assert rig.state(BTC) == "LIVE"
    assert rig.count("rewinds") == 0


def test_a_line_that_lags_is_no_rewind_but_numbers_that_begin_anew_are() -> None:
    rig = okx_rig()
    for i in range(1, 6):
        rig.frame(okx_book(SWAP, 100 + i, 99 + i, [("99.6", str(i))], ms=TIME_MS + 10 * i))
    for i in range(1, 5):
        rig.frame(okx_book(SWAP, 100 + i, 99 + i, [("99.6", str(i))], ms=TIME_MS + 10 * i), connection=1)
    assert rig.state(SWAP) == "LIVE"
    assert rig.count("rewinds") == 0
    for i in range(1, 5):
        rig.frame(okx_book(SWAP, i, i - 1, ms=TIME_MS + 1000 + i))
    assert rig.count("rewinds") == 1
    assert rig.state(SWAP) != "LIVE"


# ---- sockets -------------------------------------------------------------------------------------


def test_a_new_socket_brings_a_new_snapshot() -> None:
    rig = okx_rig()
    rig.session.on_disconnected(0, rig.now_ns)
    assert rig.state(SWAP) == "STALE"
    rig.session.on_connected(0, rig.now_ns)
    assert rig.state(SWAP) == "STALE"
    rig.frame(whole(500))
    assert rig.state(SWAP) == "LIVE"
    rig.timer(SECOND)
    for _ in range(12):
        rig.frame(b"pong")
        rig.timer(SECOND)
    assert rig.count("snapshot_failures") == 1, "only the book whose snapshot never came"


def test_a_stale_book_whose_new_socket_brings_nothing_asks_for_another() -> None:
    asked: list[int] = []
    rig = okx_rig(request_reconnect=asked.append)
    rig.session.on_disconnected(0, rig.now_ns)
    rig.session.on_connected(0, rig.now_ns)
    for _ in range(12):
        rig.frame(b"pong")
        rig.timer(SECOND)
    assert asked == [0]


# ---- checksums -----------------------------------------------------------------------------------


def checked(
    sequence: int | None,
    previous: int | None,
    bids: list[tuple[str, str]],
    asks: list[tuple[str, str]],
    books: tuple[list[tuple[str, str]], list[tuple[str, str]]],
    **more: Any,
) -> bytes:
    """An update, or the whole book, with the checksum of `books`."""
    return okx_book(SWAP, sequence, previous, bids, asks, checksum=okx_checksum(*books), **more)


def test_a_right_checksum_is_verified_and_a_wrong_one_disproves() -> None:
    rig = StreamRig("okx", (SWAP,))
    rig.frame(checked(100, -1, BIDS, ASKS, (BIDS, ASKS), action="snapshot"))
    assert rig.state(SWAP) == "LIVE"
    bids = [("99.6", "1.5"), *BIDS]
    assert rig.frame(checked(101, 100, bids[:1], [], (bids, ASKS))) == FrameResult.APPLIED
    assert rig.count("checksums") == 2
    rig.records()
    assert rig.frame(checked(102, 101, [("99.7", "9")], [], (bids, ASKS))) == FrameResult.CHECKSUM
    assert rig.reason(SWAP) in (BookReason.CHECKSUM, BookReason.RESYNC_GRANTED)
    assert rig.resubscribed == [rig.number(SWAP)]
    assert not [r for r in rig.records() if r.kind == RecordKind.BOOK], "nobody sees the wrong book"
    assert "checksum: is not that of the book" in rig.session.rejections[-1].error
    rig.frame(checked(200, -1, BIDS, ASKS, (BIDS, ASKS), action="snapshot"))
    assert rig.state(SWAP) == "LIVE"


def test_a_snapshot_with_a_wrong_checksum_is_no_proof() -> None:
    rig = StreamRig("okx", (SWAP,))
    rig.frame(checked(100, -1, BIDS, ASKS, (BIDS, ASKS[:1]), action="snapshot"))
    assert rig.state(SWAP) == "SYNCING"
    assert rig.resubscribed == [rig.number(SWAP)]
    assert rig.count("checksum_errors") == 1


def test_a_recording_without_sequences_is_proven_by_checksums() -> None:
    rig = StreamRig("okx", (SWAP,))
    rig.frame(checked(None, None, BIDS, ASKS, (BIDS, ASKS), action="snapshot"))
    assert rig.state(SWAP) == "LIVE"
    bids = [("99.6", "1"), *BIDS]
    good = checked(None, None, bids[:1], [], (bids, ASKS), ms=TIME_MS + 1)
    assert rig.frame(good) == FrameResult.APPLIED
    assert rig.frame(good, connection=1) == FrameResult.DUPLICATE, "the same over another line"
    lost = [("99.61", "1"), *bids]
    after = [("99.62", "1"), *lost]
    assert (
        rig.frame(checked(None, None, after[:1], [], (after, ASKS), ms=TIME_MS + 3)) == FrameResult.CHECKSUM
    )


def test_a_stale_book_is_healed_only_by_an_update_whose_checksum_is_right() -> None:
    rig = StreamRig("okx", (SWAP,))
    rig.frame(checked(100, -1, BIDS, ASKS, (BIDS, ASKS), action="snapshot"))
    rig.session.on_disconnected(0, rig.now_ns)
    rig.session.on_connected(0, rig.now_ns)
    rig.frame(checked(101, 100, [("99.6", "1")], [], (BIDS, ASKS)))
    assert rig.state(SWAP) != "LIVE"
    assert rig.count("checksum_errors") == 1


# ---- tickers and the rest ------------------------------------------------------------------------


def test_marks_of_several_streams_are_merged() -> None:
    rig = okx_rig()
    rig.records()
    rig.frame(okx("mark-price", [{"instId": SWAP, "markPx": "42310.6", "ts": "5"}], instId=SWAP))
    rig.frame(
        okx("index-tickers", [{"instId": "BTC-USDT", "idxPx": "42300.1", "ts": "6"}], instId="BTC-USDT")
    )
    row = {"fundingRate": "0.0001", "fundingTime": "1700726400000", "instId": SWAP, "ts": "7"}
    rig.frame(okx("funding-rate", [row], instId=SWAP))
    marks = [r for r in rig.records() if r.kind == RecordKind.MARK]
    assert [(r.value0, r.value1, r.value2) for r in marks] == [
        (4231060000000, 0, 0),
        (4231060000000, 4230010000000, 0),
        (4231060000000, 4230010000000, 10000),
    ]
    assert marks[-1].value3 == 1700726400000 * 1_000_000


def test_an_index_is_that_of_every_instrument_that_follows_it() -> None:
    rig = StreamRig("okx", (SWAP, "BTC-USDT-261225", "BTC-USDT"))
    rig.frame(
        okx("index-tickers", [{"instId": "BTC-USDT", "idxPx": "42300.1", "ts": "6"}], instId="BTC-USDT")
    )
    marks = [r for r in rig.records() if r.kind == RecordKind.MARK]
    assert sorted(r.instrument_id for r in marks) == [0, 1], "but not of the spot pair of that name"


def test_the_best_bid_and_offer_of_ticker_deltas_is_merged() -> None:
    rig = bybit_rig()
    rig.records()
    row = {"symbol": BTC, "bid1Price": "99.5", "bid1Size": "2", "ask1Price": "100", "ask1Size": "3"}
    rig.frame(bybit(f"tickers.{BTC}", row))
    rig.frame(bybit(f"tickers.{BTC}", {"symbol": BTC, "ask1Size": "1"}, kind="delta"))
    found = [(r.value0, r.value1, r.value2, r.value3) for r in rig.records() if r.kind == RecordKind.BBO]
    assert found == [(9950, 2000, 10000, 3000), (9950, 2000, 10000, 1000)]


def test_an_update_of_one_level_is_merged_with_the_whole_one_before() -> None:
    rig = bybit_rig()
    rig.records()
    rig.frame(bybit_book(BTC, 9, [("99.5", "2")], [("100", "3")], kind="snapshot", levels=1))
    rig.frame(bybit_book(BTC, 10, [], [("100", "0"), ("100.5", "1")], levels=1))
    found = [(r.value0, r.value1, r.value2, r.value3) for r in rig.records() if r.kind == RecordKind.BBO]
    assert found == [(9950, 2000, 10000, 3000), (9950, 2000, 10050, 1000)]


def test_a_ticker_that_does_not_fit_changes_nothing() -> None:
    rig = bybit_rig()
    row = {"symbol": BTC, "bid1Price": "99.5", "bid1Size": "2", "ask1Price": "100", "ask1Size": "3"}
    rig.frame(bybit(f"tickers.{BTC}", row))
    rig.records()
    bad = {"symbol": BTC, "bid1Price": "98", "ask1Price": "100.001"}
    assert rig.frame(bybit(f"tickers.{BTC}", bad, kind="delta")) == FrameResult.REJECTED
    rig.frame(bybit(f"tickers.{BTC}", {"symbol": BTC, "bid1Size": "7"}, kind="delta"))
    found = [(r.value0, r.value1) for r in rig.records() if r.kind == RecordKind.BBO]
    assert found == [(9950, 7000)]


def test_several_trades_of_a_frame_are_published_together_or_not_at_all() -> None:
    rig = bybit_rig()
    rig.records()
    row = {"T": 5, "s": BTC, "S": "Buy", "v": "0.004", "p": "99.5", "i": "12"}
    rig.frame(bybit(f"publicTrade.{BTC}", [row, {**row, "S": "Sell", "i": "13"}]))
    found = [(r.kind, int(r.side), r.value0, r.value1, r.value2) for r in rig.records()]
    assert found == [(RecordKind.TRADE, 1, 9950, 4, 12), (RecordKind.TRADE, 2, 9950, 4, 13)]
    bad = bybit(f"publicTrade.{BTC}", [row, {**row, "p": "99.123"}])
    assert rig.frame(bad) == FrameResult.REJECTED
    assert rig.records() == []


def test_liquidations_of_other_instruments_are_passed_over() -> None:
    rig = okx_rig()
    rig.records()
    detail = {"bkPx": "99.5", "side": "sell", "sz": "13", "ts": "17"}
    rows = [
        {"instId": "XX-USDT-SWAP", "details": [{**detail, "bkPx": "0.00000001"}]},
        {"instId": SWAP, "details": [detail]},
    ]
    assert rig.frame(okx("liquidation-orders", rows, instType="SWAP")) == FrameResult.PUBLISHED
    found = [(r.kind, r.instrument_id, int(r.side), r.value0, r.value1) for r in rig.records()]
    assert found == [(RecordKind.LIQUIDATION, rig.number(SWAP), 2, 9950, 13000)]


def test_what_the_venue_says_of_itself_is_kept() -> None:
    rig = okx_rig()
    rig.frame(okx("status", [{"title": "Upgrade", "state": "scheduled", "begin": "1", "end": "2"}]))
    rig.frame(okx("instruments", [{"instId": SWAP, "state": "suspend"}], instType="SWAP"))
    rig.frame(b'{"event":"notice","code":"64008","msg":"The connection will soon be closed."}')
    assert [(n.topic, n.symbol, n.text) for n in rig.session.notices] == [
        ("status", "", "scheduled Upgrade 1 2"),
        ("instrument", SWAP, "suspend"),
        ("status", "", "The connection will soon be closed."),
    ]


@pytest.mark.parametrize("frame", [whole()[:-2], whole().replace(b'"99"', b'"99.123"')])
def test_a_snapshot_that_can_not_be_taken_leaves_a_book_as_it_was(frame: bytes) -> None:
    rig = okx_rig()
    book = rig.core.book(rig.number(SWAP))
    assert rig.frame(frame) == FrameResult.REJECTED
    assert rig.core.book(rig.number(SWAP)) == book
