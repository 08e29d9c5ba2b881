"""One instrument over all venues, seen from outside: who stands at a price, who takes no part and why."""

from __future__ import annotations

import orjson
import pytest
from rich.console import Console

from shm.book import BookSlab, Certificate, TradeTotals
from shm.enums import BookState, InstrumentStatus
from shm.instruments import InstrumentTable
from tests.tools.outside_kit import FEED, SECOND_NS, SMALL, FakeRun, instrument
from tools.live import Options, Window
from tools.outside.books import NoSuchBookError
from tools.outside.merged import MAX_SILENCE_NS, MergedReader, MergedRow
from tools.outside.merged_view import head_lines, make_show
from tools.outside.session import RunFacts, RunLook

NAME = "BTC-USDT-PERP"


class Desk:
    """A run in which two venues trade one instrument, and one of them another."""

    def __init__(self, depth: int = 5) -> None:
        self.run = FakeRun()
        self.table = InstrumentTable.create(self.run.payload("instruments"), SMALL.instruments)
        self.slab = BookSlab.attach(self.run.payload(f"books.{FEED}"))
        for row in (
            instrument("BTCUSDT", NAME, base="BTC"),
            instrument(
                "BTC-USDT-SWAP", NAME, base="BTC", venue_id=2, price_exponent=1, quantity_exponent=2,
                multiplier_exponent=2,
            ),
            instrument("ETHUSDT"),
        ):  # fmt: skip
            self.table.add(row)
        self.reader = MergedReader(self.run.view, self.run.machine, NAME.lower(), depth)
        self.store(0, [(1_000_000, 1_000)], [(1_000_010, 500)])
        self.store(1, [(100_000, 300), (99_999, 1)], [(100_002, 100)])

    def store(self, number: int, bids: list, asks: list, state: int = BookState.LIVE) -> None:  # type: ignore[type-arg]
        certificate = Certificate(state=state, live_id=3, last_sequence=9, data_ns=self.run.now_ns, stream=1)
        self.slab.store(number, certificate, TradeTotals(), bids, asks)
        self.slab.touch_stream(1, self.run.now_ns)

    def look(self) -> MergedRow:
        (row,) = self.reader.look()
        return row


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_levels_tell_who_stands_there_in_units_that_all_share(desk: Desk) -> None:
    row = desk.look()
    assert (row.instrument, row.mask, len(row.venues)) == (NAME, 0b110, 2)
    best, second = row.bids
    assert (best.price, best.quantity, best.letters, best.mask) == ("10000.00", "1.0300", "AB", 0b110)
    assert (second.price, second.quantity, second.total, second.letters) == (
        "9999.90",
        "0.0001",
        "1.0301",
        "B",
    )
    assert [level.letters for level in row.asks] == ["A", "B"]
    assert (row.legs[1].bid, row.legs[1].bid_quantity) == ("10000.00", "0.0300")
    assert row.spread_bps == pytest.approx(0.1, rel=1e-3)


def test_a_venue_that_is_not_live_or_silent_stands_there_without_a_part(desk: Desk) -> None:
    desk.store(0, [(1_000_000, 1)], [], state=BookState.DESYNC)
    row = desk.look()
    assert (row.mask, row.legs[0].state, row.legs[0].standing) == (0b100, "DESYNC", "NOT_LIVE")
    assert (row.legs[0].bid, row.legs[0].bid_quantity) == (None, None)
    desk.run.now_ns += MAX_SILENCE_NS + 1
    row = desk.look()
    assert (row.mask, row.legs[1].standing, row.bids) == (0, "SILENT", ())
    assert row.legs[1].silence_ns == MAX_SILENCE_NS + 1
    assert row.spread_bps is None


def test_venues_that_cross_are_named_and_no_error(desk: Desk) -> None:
    desk.store(1, [(100_003, 1)], [(100_004, 1)])
    row = desk.look()
    assert row.is_crossed
    assert row.spread_bps is not None
    assert row.spread_bps < 0
    assert "venues cross one another" in drawn([row])


def test_a_name_that_nobody_trades_says_which_there_are(desk: Desk) -> None:
    reader = MergedReader(desk.run.view, desk.run.machine, "BTC-USDT", 5)
    with pytest.raises(NoSuchBookError, match='no instrument is called "BTC-USDT"; there are: BTC-USDT-PERP'):
        reader.choose()
    assert reader.look() == []


def test_a_row_that_takes_the_place_of_another_is_merged_from_then_on(desk: Desk) -> None:
    desk.look()
    desk.table.set_status(1, InstrumentStatus.RETIRED)
    assert [leg.symbol for leg in desk.look().legs] == ["BTCUSDT"]
    desk.table.add(instrument("BTC-USDT-SWAP", NAME, base="BTC", venue_id=2))
    desk.store(3, [(1_000_001, 1)], [])
    assert [leg.standing for leg in desk.look().legs] == ["IN", "IN"]


def test_rows_that_are_not_one_instrument_are_a_problem_and_no_end(desk: Desk) -> None:
    desk.table.set_status(1, InstrumentStatus.RETIRED)
    desk.table.add(instrument("BTC-USDT-SWAP", NAME, base="BTC", venue_id=2, is_inverse=True))
    assert desk.reader.look() == []
    assert "can not be merged: BTC-USDT-SWAP" in desk.run.view.problems[NAME]
    assert "can not be read yet" in drawn([])


def drawn(rows: list[MergedRow]) -> str:
    facts = RunFacts("desk", 7, 1, "ACTIVE", 0, SECOND_NS, is_stopping=False)
    look = RunLook(facts, rows, [], "", 0)
    show = make_show(lambda: look, Options(1.0, once=True, json=False, count=None))
    console = Console(width=200)
    with console.capture() as capture:
        console.print(show.draw(look, Window(200)))
    text = capture.get()
    if rows:
        # What the screen reckons with must be what is drawn, else the last rows fall off it.
        assert len(text.rstrip().splitlines()) == head_lines(look) + show.row_count(look)
    document = orjson.loads(orjson.dumps(show.to_json(look)))
    assert (document["merged"] is None) == (not rows)
    return text


def test_the_picture_has_all_venues_and_levels(desk: Desk) -> None:
    text = drawn([desk.look()])
    assert "2 of 2 venues" in text
    assert "10,000.00" in text
    assert "BTC-USDT-SWAP" in text
