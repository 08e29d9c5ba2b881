"""The feed core: what each frame does to book, slab and ring, and what it does not."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from feeds.continuity import ContinuityRule
from feeds.core import MARK_EXPONENT, TRADE_NOT_MARKET, FeedCore, FrameResult
from feeds.errors import DecodeError, FeedError
from feeds.venues.binance_usdm.decode import BinanceUsdmDecoder
from shm.enums import BookReason, BookState, RecordKind, Side
from tests.kit.feed_kit import FeedBench, depth_frame, instrument, recorded, snapshot_body, trade_frame
from tests.kit.naive_book import NaiveBook

BIDS, ASKS = [(6_180_020, 5), (6_180_010, 6)], [(6_180_030, 7)]
MARK = (
    b'{"e":"markPriceUpdate","E":5,"s":"BTCUSDT","p":"11794.15000001","i":"11784.62659091",'
    b'"r":"-0.00038167","T":9}'
)


def live_bench(sequence: int = 10) -> FeedBench:
    bench = FeedBench(instrument())
    bench.go_live(snapshot_body(sequence, BIDS, ASKS))
    return bench


def everything(bench: FeedBench) -> tuple[object, ...]:
    held = bench.slab.load(1)
    return bench.core.book(1), held, bench.core.proven_sequence(1)


def test_an_update_in_sequence_reaches_book_slab_and_ring() -> None:
    bench = live_bench()
    bench.core.virtual_now_ns = 900
    assert (
        bench.core.on_frame(depth_frame(11, 15, 10, [(6_180_020, 9)], [(6_180_040, 1)]), 800)
        == FrameResult.APPLIED
    )
    assert (bench.core.instrument_id, bench.core.first_sequence, bench.core.last_sequence) == (1, 11, 15)
    held = bench.slab.load(1)
    assert held is not None
    assert (held.bids, held.asks) == (((6_180_020, 9), (6_180_010, 6)), ((6_180_030, 7), (6_180_040, 1)))
    certificate = held.certificate
    assert (certificate.state, certificate.epoch, certificate.live_id) == (BookState.LIVE, 7, 1)
    assert (certificate.last_sequence, certificate.data_ns, certificate.publish_ns) == (15, 800, 900)
    assert bench.slab.stream_alive_ns(0) == 800
    (record,) = bench.poll()
    assert (record.kind, record.book_state, record.instrument_id) == (RecordKind.BOOK, BookState.LIVE, 1)
    assert (record.value0, record.value1, record.value2, record.value3) == (6_180_020, 9, 6_180_030, 7)
    assert (record.last_sequence, record.frame_ns, record.publish_ns) == (15, 800, 900)
    assert (record.bid_count, record.ask_count, record.epoch, record.live_id) == (2, 2, 7, 1)
    assert record.venue_utc_ns == 1700000000000 * 10**6


def test_a_change_below_the_top_renews_the_certificate_only() -> None:
    bench = FeedBench(instrument(), depth=1)
    bench.go_live(snapshot_body(10, BIDS, ASKS))
    assert bench.core.on_frame(depth_frame(11, 11, 10, [(6_180_010, 1)]), 5) == FrameResult.APPLIED
    held = bench.slab.load(1)
    assert held is not None and held.certificate.last_sequence == 11 and held.bids == ((6_180_020, 5),)
    assert bench.core.book(1)[0] == [(6_180_020, 5), (6_180_010, 1)]


@pytest.mark.parametrize(
    ("frame", "result"),
    [
        (depth_frame(12, 15, 11, [(6_180_020, 9)]), FrameResult.GAP),
        (depth_frame(5, 9, 4, [(6_180_020, 9)]), FrameResult.DUPLICATE),
        (depth_frame(5, 10, 4, [(6_180_020, 9)]), FrameResult.DUPLICATE),
        (depth_frame(11, 15, 10, [(6_180_020, 9)], symbol="ETHUSDT"), FrameResult.UNKNOWN_SYMBOL),
        (b'{"result":null,"id":1}', FrameResult.CONTROL),
        (b'{"result":null,"id":1', FrameResult.REJECTED),
        (b"\x00\xff", FrameResult.REJECTED),
        (b"", FrameResult.REJECTED),
        (depth_frame(11, 15, 10, [(6_180_020, 9)]).replace(b"61800.20", b"61800.205"), FrameResult.REJECTED),
        (
            depth_frame(11, 15, 10, [(6_180_010, 9), (6_180_020, 9)]).replace(b'"0.009"]]', b'"x"]]'),
            FrameResult.REJECTED,
        ),
    ],
)
def test_a_frame_that_is_not_applied_changes_nothing(frame: bytes, result: FrameResult) -> None:
    bench = live_bench()
    before = everything(bench)
    assert bench.core.on_frame(frame, 77) == result
    assert everything(bench) == before
    assert bench.poll() == []


def test_what_does_not_fit_names_instrument_field_and_text() -> None:
    bench = live_bench()
    bench.core.on_frame(depth_frame(11, 15, 10, BIDS).replace(b"0.006", b"0.0065"), 1)
    assert bench.core.error.startswith("BTCUSDT: b[1]: does not fit the instrument's exponent")
    assert "0.0065" in bench.core.error
    bench.core.on_frame(trade_frame(1, "61800.305", "1", False), 1)
    assert bench.core.error.startswith("BTCUSDT: p: does not fit the instrument's exponent '61800.305'")
    assert bench.core.on_frame(depth_frame(11, 15, 10, symbol="NOUSDT"), 1) == FrameResult.UNKNOWN_SYMBOL
    assert "NOUSDT" in bench.core.error


def test_trailing_zeros_beyond_the_exponent_are_exact() -> None:
    bench = live_bench()
    frame = (
        depth_frame(11, 15, 10, [(6_180_020, 9)]).replace(b"61800.20", b"61800.20000").replace(b"0.009", b"1")
    )
    assert bench.core.on_frame(frame, 1) == FrameResult.APPLIED
    assert bench.core.book(1)[0][0] == (6_180_020, 1000)


def test_a_book_that_is_not_live_leaves_updates_to_the_session() -> None:
    bench = FeedBench(instrument())
    frame = depth_frame(11, 15, 10, BIDS)
    assert bench.core.on_frame(frame, 1) == FrameResult.DEPTH_PENDING
    assert (bench.core.first_sequence, bench.core.last_sequence, bench.core.previous_sequence) == (11, 15, 10)
    assert bench.core.book(1) == ([], [])
    bench.core.apply_depth(1, frame, 2)
    assert bench.core.book(1) == (BIDS, [])
    assert bench.poll() == []
    assert bench.core.set_state(1, BookState.LIVE, BookReason.PROVEN, 3) == BookState.LIVE
    assert [r.kind for r in bench.poll()] == [RecordKind.STATUS, RecordKind.BOOK]


def test_a_crossed_book_is_told_and_never_shown_as_live() -> None:
    bench = live_bench()
    assert bench.core.on_frame(depth_frame(11, 15, 10, [(6_180_030, 1)]), 1) == FrameResult.CROSSED
    held = bench.slab.load(1)
    assert held is not None and held.bids[0] == (6_180_020, 5)
    assert bench.poll() == []
    assert bench.core.is_crossed(1)
    bench.core.set_state(1, BookState.DESYNC, BookReason.CROSSED, 2)
    assert bench.core.set_state(1, BookState.LIVE, BookReason.PROVEN, 3) == BookState.DESYNC
    assert [(r.kind, r.book_state) for r in bench.poll()] == [(RecordKind.STATUS, BookState.DESYNC)] * 2


def test_each_way_into_live_makes_a_new_live_id() -> None:
    bench = live_bench()
    ids = []
    for state, reason in (
        (BookState.STALE, BookReason.SILENCE),
        (BookState.LIVE, BookReason.PROVEN),
        (BookState.DESYNC, BookReason.GAP),
        (BookState.SYNCING, BookReason.RESYNC_GRANTED),
        (BookState.LIVE, BookReason.PROVEN),
        (BookState.LIVE, BookReason.PROVEN),
    ):
        bench.core.set_state(1, state, reason, 5)
        certificate = bench.core.certificate(1)
        assert certificate is not None
        ids.append(certificate.live_id)
    assert ids == [1, 2, 2, 2, 3, 3]
    assert certificate is not None and (certificate.gaps, certificate.resyncs) == (1, 1)


def test_a_bad_snapshot_leaves_the_book_as_it_was() -> None:
    bench = live_bench()
    before = everything(bench)
    for body in (
        b"{}",
        b'{"code":-1003,"msg":"no"}',
        snapshot_body(20, [(6_180_030, 1)], [(6_180_030, 1)]),
        snapshot_body(20, BIDS, ASKS).replace(b"61800.20", b"61800.201"),
        snapshot_body(20, BIDS, ASKS)[:-3],
    ):
        with pytest.raises(DecodeError):
            bench.core.load_snapshot(1, body, 9)
    assert everything(bench) == before


def test_a_depth_frame_of_another_instrument_is_not_applied() -> None:
    bench = FeedBench(instrument(), instrument(2, "ETHUSDT"))
    for frame in (depth_frame(1, 2, 0, BIDS, symbol="ETHUSDT"), trade_frame(1, "1", "1", True)):
        with pytest.raises(DecodeError):
            bench.core.apply_depth(1, frame, 1)
    assert bench.core.book(1) == ([], [])


def test_trades_are_published_and_summed_by_aggressor() -> None:
    bench = live_bench()
    for i, maker in enumerate((False, True, True)):
        assert (
            bench.core.on_frame(trade_frame(70 + i, "61800.30", f"0.00{i + 1}", maker), 4)
            == FrameResult.PUBLISHED
        )
    records = bench.poll()
    assert [(r.kind, r.side, r.value0, r.value1, r.value2, r.flags) for r in records] == [
        (RecordKind.TRADE, Side.BUY, 6_180_030, 1, 70, 0),
        (RecordKind.TRADE, Side.SELL, 6_180_030, 2, 71, 0),
        (RecordKind.TRADE, Side.SELL, 6_180_030, 3, 72, 0),
    ]
    held = bench.slab.load(1)
    assert held is not None
    totals = held.totals
    assert (totals.buy_count, totals.sell_count) == (1, 2)
    assert (totals.buy_quantity_units, totals.sell_quantity_units) == (1, 5)
    assert (totals.buy_notional, totals.sell_notional) == (6_180_030, 5 * 6_180_030)
    assert (totals.last_trade_id, totals.last_price_units) == (72, 6_180_030)
    assert held.bids[0] == (6_180_020, 5)
    assert bench.core.on_frame(depth_frame(11, 15, 10, [(6_180_020, 9)], []), 9) == FrameResult.APPLIED
    held = bench.slab.load(1)
    assert held is not None
    assert (held.totals, held.certificate.last_sequence) == (totals, 15), "an update leaves them as they are"


def test_trades_nobody_made_are_published_but_not_summed() -> None:
    bench = live_bench()
    assert bench.core.on_frame(trade_frame(70, "0", "0", True, "NA"), 4) == FrameResult.PUBLISHED
    (record,) = bench.poll()
    assert (record.value0, record.value1, record.flags) == (0, 0, TRADE_NOT_MARKET)
    held = bench.slab.load(1)
    assert held is not None and held.totals == type(held.totals)()


def test_trades_do_not_prove_the_depth_stream_alive() -> None:
    bench = live_bench()
    bench.core.on_frame(trade_frame(70, "61800.30", "1", True), 4_000)
    assert bench.slab.stream_alive_ns(0) != 4_000


def test_notionals_beyond_64_bits_are_summed_exactly() -> None:
    bench = live_bench()
    for i in range(3):
        bench.core.on_frame(trade_frame(i, "90000000000000.00", "4000000000000.000", False), 4)
    held = bench.slab.load(1)
    assert held is not None and held.totals.buy_notional == 3 * 9 * 10**15 * 4 * 10**15


def test_ticker_and_mark_price_are_published_as_they_are() -> None:
    bench = live_bench()
    ticker = (
        b'{"e":"bookTicker","u":88,"s":"BTCUSDT","b":"61800.20","B":"2.5","a":"0.00","A":"0","T":1,"E":2}'
    )
    assert bench.core.on_frame(ticker, 4) == FrameResult.PUBLISHED
    assert bench.core.on_frame(MARK, 5) == FrameResult.PUBLISHED
    bbo, mark = bench.poll()
    assert (bbo.kind, bbo.value0, bbo.value1, bbo.value2, bbo.value3) == (
        RecordKind.BBO,
        6_180_020,
        2_500,
        0,
        0,
    )
    assert (bbo.bid_count, bbo.ask_count, bbo.last_sequence) == (1, 0, 88)
    assert MARK_EXPONENT == 8
    assert (mark.kind, mark.value0, mark.value1, mark.value2, mark.value3) == (
        RecordKind.MARK,
        1_179_415_000_001,
        1_178_462_659_091,
        -38_167,
        9_000_000,
    )


def test_a_new_publisher_takes_over_totals_and_starts_syncing() -> None:
    bench = live_bench()
    bench.core.on_frame(trade_frame(70, "61800.30", "1", True), 4)
    reborn = FeedCore(BinanceUsdmDecoder(), ContinuityRule.PREVIOUS, bench.slab, bench.publishers, 8)
    reborn.add_instrument(instrument(), 0)
    held = bench.slab.load(1)
    assert held is not None
    assert (held.certificate.state, held.certificate.epoch) == (BookState.SYNCING, 8)
    assert held.certificate.reason == BookReason.PUBLISHER_RESTART
    assert (held.totals.buy_count, held.totals.sell_count) == (0, 1)


def test_the_other_continuity_rule_counts_from_the_proven_sequence() -> None:
    bench = FeedBench(instrument(), rule=ContinuityRule.NEXT)
    bench.go_live(snapshot_body(10, BIDS, ASKS))
    assert bench.core.on_frame(depth_frame(11, 12, 0), 1) == FrameResult.APPLIED
    assert bench.core.on_frame(depth_frame(14, 15, 0), 1) == FrameResult.GAP
    assert bench.core.on_frame(depth_frame(12, 12, 0), 1) == FrameResult.DUPLICATE


def test_an_instrument_must_fit_slab_rings_and_each_other() -> None:
    bench = FeedBench(instrument())
    for bad, told in (
        (instrument(), "added before"),
        (instrument(2), "added before"),
        (instrument(99, "X"), "beyond the slab"),
        (instrument(3, "Y" * 40), "symbol"),
    ):
        with pytest.raises(FeedError, match=told):
            bench.core.add_instrument(bad, 0)
    with pytest.raises(FeedError, match="not in this feed"):
        bench.core.book(5)


def test_many_symbols_are_told_apart() -> None:
    names = [f"{a}{'X' * n}USDT" for n in range(0, 20, 4) for a in ("A", "B", "C")]
    bench = FeedBench(*(instrument(i, name) for i, name in enumerate(names)))
    for i, name in enumerate(names):
        bench.core.on_frame(depth_frame(1, 2, 0, symbol=name), 1)
        assert bench.core.instrument_id == i


def test_a_frame_may_come_in_any_buffer() -> None:
    bench = live_bench()
    frame = depth_frame(11, 15, 10, BIDS)
    assert bench.core.on_frame(memoryview(bytearray(b"xx" + frame))[2:], 1) == FrameResult.APPLIED
    assert bench.core.on_frame(bytearray(frame), 1) == FrameResult.DUPLICATE


def frames_of(path: Path) -> Iterator[bytes]:
    with gzip.open(path) as lines:
        for line in lines:
            yield line.split(b" ", 1)[1].rstrip()


@pytest.mark.parametrize(
    ("name", "symbol", "tick"),
    [("usdm_btcusdt_20240808.gz", "BTCUSDT", 10), ("usdm_ethusdt_20240808.gz", "ETHUSDT", 1)],
)
def test_recorded_books_equal_the_naive_rebuild_and_the_venue_s_own_best(
    name: str, symbol: str, tick: int
) -> None:
    path = recorded("binance/" + name)
    if path is None:
        pytest.skip("no recorded market data (set RINGLANE_DATA to the folder holding binance/)")
    bench, naive = FeedBench(instrument(symbol=symbol, tick=tick), capacity=64), NaiveBook()
    tickers: dict[int, tuple[tuple[int, int], ...]] = {}
    waiting: list[bytes] = []
    proven = compared = 0
    for frame in frames_of(path):
        if frame.startswith(b'{"lastUpdateId"'):
            proven = bench.core.load_snapshot(1, frame, 1)
            snapshot = orjson.loads(frame)
            naive.replace(units(snapshot["bids"]), units(snapshot["asks"]))
            for held in waiting:
                proven = join(bench, naive, held, proven)
            continue
        result = bench.core.on_frame(frame, 1)
        if result == FrameResult.DEPTH_PENDING:
            if proven:
                proven = join(bench, naive, frame, proven)
            else:
                waiting.append(frame)
            continue
        data = orjson.loads(frame)["data"]
        if result == FrameResult.APPLIED:
            naive.apply(units(data["b"]), units(data["a"]))
            proven = data["u"]
        else:
            assert result == FrameResult.PUBLISHED
            if data["e"] != "bookTicker":
                continue
            tickers[data["u"]] = (*units([[data["b"], data["B"]]]), *units([[data["a"], data["A"]]]))
        if (best := tickers.get(proven)) is not None and data["u"] == proven:
            book = bench.slab.load(1)
            assert book is not None
            assert (book.bids[0], book.asks[0]) == best
            compared += 1
    assert compared > 400
    assert bench.core.book(1) == (naive.bids(), naive.asks())
    statistics = bench.core.statistics()
    assert (statistics["gaps"], statistics["rejected"], statistics["crossed"]) == (0, 0, 0)
    assert bench.core.book_bytes(1) <= 350_000


def units(levels: list[list[str]]) -> list[tuple[int, int]]:
    return [(int(p.replace(".", "")), int(q.replace(".", ""))) for p, q in levels]


def join(bench: FeedBench, naive: NaiveBook, frame: bytes, proven: int) -> int:
    """Applies a buffered update after the snapshot, as the venue's document says; LIVE from the first on."""
    data = orjson.loads(frame)["data"]
    if data["u"] < proven:
        return proven
    bench.core.apply_depth(1, frame, 1)
    naive.apply(units(data["b"]), units(data["a"]))
    certificate = bench.core.certificate(1)
    if certificate is not None and certificate.state != BookState.LIVE:
        assert data["U"] <= proven <= data["u"]
        bench.core.set_state(1, BookState.LIVE, BookReason.PROVEN, 1)
    return int(data["u"])


def test_a_level_that_two_others_push_out_is_back_in_the_slab_when_one_before_it_goes() -> None:
    bench = FeedBench(instrument(), depth=4)
    bids = {i: (6_180_000 - 10 * i, 1) for i in range(2, 12, 2)}
    bench.go_live(snapshot_body(10, list(bids.values()), [(6_180_010, 1)]))
    added = [(6_180_000 - 30, 3), (6_180_000 - 50, 5)]
    changes = [*added, (bids[2][0], 0), (bids[8][0], 8)]
    assert bench.core.on_frame(depth_frame(11, 11, 10, changes), 11) == FrameResult.APPLIED
    held = bench.slab.load(1)
    assert held is not None
    assert held.bids == (added[0], bids[4], added[1], bids[6])


def test_the_slab_shows_the_best_levels_whatever_one_message_removes_and_adds() -> None:
    draw = random.Random(2)
    bench = FeedBench(instrument(), depth=4)
    price = {0: lambda i: 6_180_000 - 10 * i, 1: lambda i: 6_180_010 + 10 * i}
    bench.go_live(snapshot_body(10, *([(price[s](i), 1) for i in range(0, 24, 2)] for s in (0, 1))))
    for sequence in range(11, 400):
        bids, asks = [
            [(price[side](draw.randrange(8)), draw.randrange(3)) for _ in range(draw.randrange(9))]
            for side in (0, 1)
        ]
        frame = depth_frame(sequence, sequence, sequence - 1, bids, asks)
        assert bench.core.on_frame(frame, sequence) == FrameResult.APPLIED
        held = bench.slab.load(1)
        assert held is not None
        assert (list(held.bids), list(held.asks)) == bench.core.book(1, 4), sequence
