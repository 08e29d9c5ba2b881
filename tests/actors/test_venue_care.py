"""A venue's list of instruments and its clock, kept up to date over a run: pages, changes, failures."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import orjson
import pytest

from actors.venue_care import ListingOutcome, VenueClock, VenueListing, fetch_instruments
from feeds.adapter import HttpRequest
from feeds.errors import TransportError, VenueError
from feeds.transport.rest import HttpReply
from feeds.venues import get_adapter
from shm.enums import InstrumentStatus
from shm.instruments import InstrumentTable

MS = 1_000_000


def bybit_row(symbol: str, tick: str = "0.10", status: str = "Trading") -> dict[str, Any]:
    return {
        "symbol": symbol, "contractType": "LinearPerpetual", "status": status, "baseCoin": symbol[:-4],
        "quoteCoin": "USDT", "settleCoin": "USDT", "priceScale": "2", "deliveryTime": "0",
        "priceFilter": {"tickSize": tick},
        "lotSizeFilter": {"qtyStep": "0.001", "minOrderQty": "0.001", "maxOrderQty": "100"},
    }  # fmt: skip


class Venue:
    """Answers instrument requests in pages of two, and the time."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.rows = list(rows)
        self.paths: list[str] = []
        self.status = 200
        self.now_ns = 0
        self.utc_ns = 5_000 * MS
        self.ahead_ns = 250 * MS
        self.table = InstrumentTable.create(bytearray(InstrumentTable.bytes_needed(5)), 5)
        self.adapter = get_adapter("bybit_linear")

    async def get(self, request: HttpRequest) -> HttpReply:
        self.paths.append(request.path)
        if request.path == "/v5/market/time":
            self.utc_ns += 3 * MS
            result: dict[str, Any] = {"timeNano": str((self.utc_ns + self.ahead_ns) // MS * MS)}
            self.utc_ns += 3 * MS
        else:
            start = int(request.path.partition("&cursor=")[2] or 0)
            cursor = str(start + 2) if start + 2 < len(self.rows) else ""
            result = {"category": "linear", "list": self.rows[start : start + 2], "nextPageCursor": cursor}
        answer = {"retCode": 0, "result": result, "time": self.now_ns + len(self.paths)}
        return HttpReply(self.status, orjson.dumps(answer), {})

    def listing(self, *names: str) -> VenueListing:
        place = lambda row: replace(row, slab=3, priority=1)  # noqa: E731
        return VenueListing(self.adapter, self.table, self.get, list(names), place, lambda: self.now_ns)

    def look(self, listing: VenueListing) -> ListingOutcome:
        self.now_ns += 10_000 * MS
        return asyncio.run(listing.load())

    def in_table(self) -> list[tuple[str, int, str]]:
        return [(r.symbol, r.tick_size, InstrumentStatus(r.status).name) for r in self.table]


BTC, ETH, SOL = bybit_row("BTCUSDT"), bybit_row("ETHUSDT"), bybit_row("SOLUSDT")


def test_all_pages_are_asked_for() -> None:
    venue = Venue(BTC, ETH, SOL)
    body = asyncio.run(fetch_instruments(venue.adapter, venue.get))
    assert venue.adapter.listed_symbols(body) == {"BTCUSDT", "ETHUSDT", "SOLUSDT"}
    assert len(venue.paths) == 2


def test_pages_without_end_are_an_error() -> None:
    venue = Venue(*(bybit_row(f"A{n}USDT") for n in range(200)))
    with pytest.raises(VenueError, match="more than 50 pages"):
        asyncio.run(fetch_instruments(venue.adapter, venue.get))


def test_a_refusal_is_an_error_and_leaves_the_rows() -> None:
    venue = Venue(BTC, ETH)
    listing = venue.listing()
    venue.look(listing)
    venue.status = 503
    with pytest.raises(TransportError, match="status 503"):
        venue.look(listing)
    assert len(venue.in_table()) == 2


def test_rows_are_loaded_by_either_name_and_put_in_their_place() -> None:
    venue = Venue(BTC, ETH, SOL)
    assert venue.look(venue.listing("SOL-USDT-PERP", "BTCUSDT")) == ListingOutcome(False, added=2)
    assert [r.symbol for r in venue.table] == ["SOLUSDT", "BTCUSDT"]
    assert {(r.slab, r.priority) for r in venue.table} == {(3, 1)}
    with pytest.raises(VenueError, match="unknown instrument 'SOL-USDT'"):
        venue.look(venue.listing("SOL-USDT"))


def test_an_answer_like_the_last_one_is_not_read_again() -> None:
    venue = Venue(BTC, ETH)
    listing = venue.listing()
    venue.look(listing)
    assert venue.look(listing) == ListingOutcome(True)


def test_the_table_follows_the_list() -> None:
    venue = Venue(BTC, ETH, SOL)
    listing = venue.listing()
    venue.look(listing)
    venue.rows = [
        bybit_row("BTCUSDT", tick="0.50"),
        bybit_row("ETHUSDT", status="Delivering"),
        bybit_row("XRPUSDT"),
    ]
    assert venue.look(listing) == ListingOutcome(False, added=1, replaced=1, status=2)
    assert sorted(venue.in_table()) == sorted([
        ("BTCUSDT", 10, "RETIRED"), ("ETHUSDT", 10, "HALTED"), ("SOLUSDT", 10, "DELISTED"),
        ("XRPUSDT", 10, "TRADING"), ("BTCUSDT", 50, "TRADING"),
    ])  # fmt: skip
    row = venue.table.by_symbol(3, "BTCUSDT")
    assert row is not None
    assert (row.tick_size, row.slab, row.priority) == (50, 3, 1)


def test_a_wanted_instrument_that_is_gone_is_delisted_and_no_error() -> None:
    venue = Venue(BTC, ETH)
    listing = venue.listing("BTC-USDT-PERP", "ETH-USDT-PERP")
    venue.look(listing)
    venue.rows = [BTC, bybit_row("NEWUSDT")]
    assert venue.look(listing) == ListingOutcome(False, status=1)
    assert venue.in_table() == [("BTCUSDT", 10, "TRADING"), ("ETHUSDT", 10, "DELISTED")]


def test_what_does_not_fit_the_table_is_refused_by_name_and_tried_again_with_the_next_change() -> None:
    venue = Venue(*(bybit_row(f"A{n}USDT") for n in range(7)))
    outcome = venue.look(venue.listing())
    assert (outcome.added, len(outcome.refused)) == (5, 2)
    assert "A5USDT not added" in outcome.refused[0]


def test_patterns_follow_the_list_by_either_name_and_end_with_it() -> None:
    venue = Venue(BTC, ETH, bybit_row("XYZUSDT", status="Closed"))
    listing = venue.listing("E*", "BTC-USDT-PERP", "XYZ*")
    assert venue.look(listing) == ListingOutcome(False, added=2)
    venue.rows.append(bybit_row("ETCUSDT"))
    venue.rows.append(SOL)
    assert venue.look(listing) == ListingOutcome(False, added=1)
    venue.rows.remove(ETH)
    assert venue.look(listing) == ListingOutcome(False, status=1)
    venue.rows.append(ETH)
    assert venue.look(listing) == ListingOutcome(False, status=1)
    assert venue.in_table() == [
        ("BTCUSDT", 10, "TRADING"), ("ETHUSDT", 10, "TRADING"), ("ETCUSDT", 10, "TRADING"),
    ]  # fmt: skip
    assert venue.listing("E*").covers()


def test_patterns_bring_no_more_than_they_may_and_those_in_use_stay() -> None:
    venue = Venue(ETH, SOL)
    listing = VenueListing(
        venue.adapter, venue.table, venue.get, ["*"], lambda row: row, lambda: venue.now_ns, 2
    )
    venue.look(listing)
    venue.rows.append(BTC)
    outcome = venue.look(listing)
    assert (outcome.added, outcome.status) == (0, 0)
    assert outcome.refused == ("BTCUSDT is one instrument more than 2",)


def test_a_scan_each_second_asks_the_venue_every_other_time() -> None:
    venue = Venue(BTC, ETH)
    listing = venue.listing("*")
    for second in range(100):
        venue.now_ns = second * 1_000 * MS
        asyncio.run(listing.load())
    assert len(venue.paths) == 50
    assert (listing.market.requests, listing.market.hits) == (50, 50)


def test_a_restarted_writer_takes_its_rows_over() -> None:
    venue = Venue(BTC, ETH)
    assert not venue.listing("BTC-USDT-PERP").covers()
    venue.look(venue.listing("BTC-USDT-PERP"))
    again = venue.listing("BTC-USDT-PERP")
    assert again.covers()
    assert not venue.listing("BTC-USDT-PERP", "ETHUSDT").covers()
    assert venue.look(again) == ListingOutcome(False)
    assert len(venue.table) == 1


def test_the_clock_is_known_within_half_a_round_trip() -> None:
    venue = Venue()
    clock = VenueClock(venue.adapter, venue.get, lambda: venue.utc_ns)
    assert clock.estimate() is None
    for _ in range(3):
        asyncio.run(clock.ask())
    estimate = clock.estimate()
    assert estimate is not None
    assert abs(estimate.offset_ns - venue.ahead_ns) <= estimate.error_ns < 4 * MS


@pytest.mark.parametrize(
    ("venue", "body", "expected"),
    [
        ("binance_usdm", b'{"serverTime":1700000000123}', 1_700_000_000_123 * MS),
        ("okx", b'{"code":"0","msg":"","data":[{"ts":"1700000000123"}]}', 1_700_000_000_123 * MS),
        ("bybit_spot", b'{"result":{"timeNano":"1700000000123456789"}}', 1_700_000_000_123_456_789),
    ],
)  # fmt: skip
def test_each_venues_time_is_read(venue: str, body: bytes, expected: int) -> None:
    adapter = get_adapter(venue)
    assert adapter.read_time(body).venue_utc_ns == expected
    for bad in (b"", b"[]", b"{}", b'{"data":[]}', b'{"serverTime":"x"}', b'{"result":{"timeNano":null}}'):
        with pytest.raises(VenueError, match="not the venue's time"):
            adapter.read_time(bad)
