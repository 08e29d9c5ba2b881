"""Books as they are seen from outside: which ones, in the venue's decimals, how old, and BUSY."""

from __future__ import annotations

import pytest
from rich.console import Console

from shm.book import BookSlab, Certificate, TradeTotals
from shm.enums import BookReason, BookState, InstrumentStatus
from shm.instruments import Instrument, InstrumentTable
from shm.layout import STRUCTS
from shm.words import load_acquire, store_release
from tests.tools.outside_kit import FEED, SECOND_NS, SMALL, FakeRun, instrument
from tools.live import Options, Window
from tools.outside.books import (
    BookReader,
    BookRow,
    NoSuchBookError,
    choose,
    side_totals,
    sort_books,
    spread_bps,
    stores_of,
)
from tools.outside.session import RunFacts, RunLook
from tools.verbs.books import COLUMNS, book_line, make_show

# One cache line each, rounded up to a pair.
ENTRIES_AT = STRUCTS["shm_slab_header"].size_bytes + 256


class Books:
    """A fake run with two books and a reader over them."""

    def __init__(self, *patterns: str, depth: int = 5) -> None:
        self.run = FakeRun()
        self.table = InstrumentTable.create(self.run.payload("instruments"), SMALL.instruments)
        self.slab = BookSlab.attach(self.run.payload(f"books.{FEED}"))
        for row in (instrument("BTCUSDT"), instrument("ETHUSDT", price_exponent=4, quantity_exponent=0)):
            self.table.add(row)
        self.reader = BookReader(self.run.view, self.run.rates, self.run.machine, patterns, depth)

    def store(self, number: int, *, state: int = BookState.LIVE, totals: TradeTotals | None = None) -> None:
        certificate = Certificate(
            state=state, epoch=2, live_id=3, last_sequence=77, data_ns=self.run.now_ns, stream=1,
            reason=BookReason.PROVEN, gaps=4, resyncs=5,
        )  # fmt: skip
        bids = [(1_000_050 - level, 1_000 + level) for level in range(3)]
        asks = [(1_000_150 + level, 2_000) for level in range(4)]
        self.slab.store(number, certificate, totals or TradeTotals(), bids, asks)

    def look(self) -> list[BookRow]:
        return self.reader.look()


@pytest.fixture
def books() -> Books:
    return Books()


def test_a_book_stands_in_the_decimals_of_its_own_instrument(books: Books) -> None:
    books.store(0)
    books.store(1)
    btc, eth = books.look()
    assert (btc.instrument, btc.venue, btc.symbol) == ("BTC-USDT-PERP", "binance_usdm", "BTCUSDT")
    assert (btc.bid, btc.bid_quantity, btc.ask, btc.ask_quantity) == (
        "10000.50",
        "1.000",
        "10001.50",
        "2.000",
    )
    assert (eth.bid, eth.bid_quantity) == ("100.0050", "1000")
    assert (btc.state, btc.reason) == ("LIVE", "PROVEN")
    assert (btc.epoch, btc.live_id, btc.last_sequence, btc.gaps, btc.resyncs) == (2, 3, 77, 4, 5)
    assert btc.spread_bps == pytest.approx(0.9999, abs=1e-3)


def test_ages_are_of_the_last_update_and_of_the_stream_that_carries_it(books: Books) -> None:
    books.store(0)
    assert books.look()[0].silence_ns is None  # no frame yet on that stream
    books.slab.touch_stream(1, books.run.now_ns)
    books.run.now_ns += 400
    row = books.look()[0]
    assert (row.data_age_ns, row.silence_ns) == (400, 400)
    books.slab.touch_stream(1, books.run.now_ns)
    assert books.look()[0].silence_ns == 0


def test_updates_and_trades_are_counted_between_looks(books: Books) -> None:
    books.store(0)
    books.look()
    for count in range(1, 7):
        books.store(0, totals=TradeTotals(buy_count=count, sell_count=1))
    books.run.now_ns += 2 * SECOND_NS
    row = books.look()[0]
    assert (row.updates_per_s, row.trades_per_s) == (3.0, 3.5)


def test_the_place_of_a_books_seqlock_agrees_with_the_slab(books: Books) -> None:
    payload = books.run.payload(f"books.{FEED}")
    for number in range(SMALL.instruments):
        for _ in range(number + 1):
            books.slab.store(number, Certificate(), TradeTotals(), [], [])
    stores = [stores_of(payload, books.slab, number) for number in range(SMALL.instruments)]
    assert stores == [1, 2, 3, 4]


def test_a_book_whose_writer_died_in_the_middle_is_busy_and_no_error(books: Books) -> None:
    books.store(0)
    books.store(1)
    payload = books.run.payload(f"books.{FEED}")
    store_release(payload, ENTRIES_AT, load_acquire(payload, ENTRIES_AT) + 1)
    busy, other = books.look()
    assert (busy.state, busy.bid, busy.data_age_ns) == ("BUSY", None, None)
    assert other.state == "LIVE"
    assert len(book_line(busy)) == len(COLUMNS)


def test_an_entry_never_stored_has_no_numbers(books: Books) -> None:
    row = books.look()[0]
    assert (row.state, row.bid, row.spread_bps, row.data_age_ns, row.last_price) == (
        "NONE",
        None,
        None,
        None,
        None,
    )
    assert len(book_line(row)) == len(COLUMNS)


def test_a_ladder_has_running_totals_and_no_more_levels_than_asked_for() -> None:
    books = Books("BTCUSDT", depth=2)
    books.store(0)
    (row,) = books.look()
    assert [(level.price, level.quantity, level.total) for level in row.bids] == [
        ("10000.50", "1.000", "1.000"),
        ("10000.49", "1.001", "2.001"),
    ]
    assert sum(level.share for level in row.asks) == 1.0


def test_trade_totals_are_exact_per_side(books: Books) -> None:
    totals = TradeTotals(2, 3, 5_000, 7_000, 5_000 * 1_000_000, 2**70, last_price_units=1_000_001)
    books.store(0, totals=totals)
    row = books.look()[0]
    assert row.buys is not None
    assert (row.buys.count, row.buys.quantity, row.buys.notional) == (2, "5.000", "50000.00000")
    assert row.sells is not None
    assert row.sells.notional == "11805916207174113.03424"
    assert row.last_price == "10000.01"


def test_the_notional_of_an_inverse_contract_is_its_multiplier_times_the_quantity() -> None:
    row = instrument("BTCUSD_P", is_inverse=True, multiplier=100, quantity_exponent=0)
    assert side_totals(1, 7, 123456, row).notional == "700"


def test_spread_of_a_crossed_book_is_negative_and_of_no_mid_none() -> None:
    assert spread_bps(101, 99) == -200.0
    assert spread_bps(-1, 1) is None


def test_a_row_added_while_looking_is_seen_and_a_retired_one_is_not(books: Books) -> None:
    assert len(books.look()) == 2
    books.table.add(instrument("SOLUSDT"))
    assert [row.instrument_id for row in books.look()] == [0, 1, 2]
    books.table.set_status(0, InstrumentStatus.RETIRED)
    assert [row.instrument_id for row in books.look()] == [1, 2]


ROWS = [
    instrument("BTCUSDT", instrument_id=0),
    instrument("BTCUSDC", "BTC-USDC-PERP", instrument_id=1),
    instrument("ETHUSDT", instrument_id=2),
    instrument("ETHUSDT", instrument_id=3, venue_id=9),
]


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        ([], [0, 1, 2, 3]),
        (["btcusdt"], [0]),
        (["BTC"], [0, 1]),
        (["*-USDT-*"], [0, 2, 3]),
        (["binance_usdm:ETH"], [2]),
        (["venue-9:*"], [3]),
        (["BTCUSDC", "ETH-USDT-PERP"], [1, 2, 3]),
    ],
)
def test_patterns_choose_books(patterns: list[str], found: list[int]) -> None:
    assert [row.instrument_id for row in choose(ROWS, patterns)] == found


def test_a_pattern_that_fits_nothing_names_what_there_is() -> None:
    with pytest.raises(NoSuchBookError, match='no book fits "DOGE"; there are: BTC-USDT-PERP, BTC-USDC-PERP'):
        choose(ROWS, ["BTC", "DOGE"])
    with pytest.raises(NoSuchBookError, match="none yet"):
        choose([], ["BTC"])


def test_a_later_run_without_the_book_shows_none(books: Books) -> None:
    reader = BookReader(books.run.view, books.run.rates, books.run.machine, ["DOGE"], 5)
    assert reader.look() == []


def test_books_are_sorted_and_those_not_live_can_come_first(books: Books) -> None:
    books.store(0)
    books.store(1, state=BookState.DESYNC)
    rows = books.look()
    assert [row.instrument_id for row in sort_books(rows, "state")] == [1, 0]
    assert [row.instrument_id for row in sort_books(rows, "name")] == [0, 1]
    assert [row.instrument_id for row in sort_books(rows, "spread")] == [0, 1]


def test_one_named_book_is_drawn_as_a_ladder_and_several_as_a_table() -> None:
    books = Books(depth=3)
    books.store(0)
    books.store(1)
    rows = books.look()
    facts = RunFacts("desk", 7, 1, "ACTIVE", 0, SECOND_NS, is_stopping=False)
    options = Options(1.0, once=True, json=False, count=None)

    def text(chosen: list[BookRow], *, as_ladder: bool) -> str:
        look = RunLook(facts, chosen, ["segment x: broken"], "", 0)
        show = make_show(lambda: look, options, "name", as_ladder=as_ladder)
        console = Console(width=200)
        with console.capture() as capture:
            console.print(show.draw(look, Window(200)))
        drawn = capture.get()
        lines = drawn.rstrip().splitlines()
        # What the screen reckons with must be what is drawn, else the last rows fall off it.
        assert len(lines) == show.head_lines(look) + show.row_count(look)
        return drawn

    table = text(rows, as_ladder=True)
    assert "BTC-USDT-PERP" in table
    assert "ETH-USDT-PERP" in table
    ladder = text(rows[:1], as_ladder=True)
    assert "10,000.49" in ladder
    assert "bought 0 trades" in ladder
    assert "segment x: broken" in ladder
    assert "10,000.49" not in text(rows[:1], as_ladder=False)


def test_instruments_know_only_their_own_slab() -> None:
    lost = Instrument(venue_id=1, price_exponent=0, quantity_exponent=0, symbol="X", slab=9)
    books = Books()
    books.table.add(lost)
    rows = books.look()
    assert [row.instrument_id for row in rows] == [0, 1]
    assert list(books.run.view.problems) == ["books.9"]
