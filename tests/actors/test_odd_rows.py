"""A run's instrument table beside a venue that lists rows that are not as documented."""

from __future__ import annotations

from typing import Any

import pytest

from feeds.errors import VenueError
from tests.actors.test_venue_care import BTC, ETH, SOL, Venue, bybit_row

ODD = {**ETH, "priceFilter": {"tickSize": "auto"}}
NEW: dict[str, Any] = {**bybit_row("NEWUSDT"), "contractType": "Tokenized"}


def test_a_pattern_takes_up_the_rows_that_are_read_and_tells_the_others() -> None:
    venue = Venue(BTC, ODD, NEW, SOL)
    outcome = venue.look(venue.listing("*"))
    assert (outcome.added, outcome.refused) == (2, ())
    assert [r.symbol for r in venue.table] == ["BTCUSDT", "SOLUSDT"]
    named = {text.split(": ")[1]: text for text in outcome.odd}
    assert set(named) == {"ETHUSDT", "NEWUSDT"}
    assert "priceFilter.tickSize is 'auto'" in named["ETHUSDT"]
    assert "contractType 'Tokenized' is not supported" in named["NEWUSDT"]


@pytest.mark.parametrize("names", [("*",), ()])
def test_an_instrument_whose_row_can_not_be_read_any_more_stays_as_it_was(names: tuple[str, ...]) -> None:
    venue = Venue(BTC, ETH)
    listing = venue.listing(*names)
    assert venue.look(listing).added == 2
    venue.rows = [BTC, ODD, SOL]
    outcome = venue.look(listing)
    assert (outcome.added, outcome.replaced, outcome.status, len(outcome.odd)) == (1, 0, 0, 1)
    assert sorted(venue.in_table()) == [
        ("BTCUSDT", 10, "TRADING"), ("ETHUSDT", 10, "TRADING"), ("SOLUSDT", 10, "TRADING"),
    ]  # fmt: skip
    venue.rows = [BTC, SOL]
    assert venue.look(listing).status == 1, "one that is listed no more is gone"


def test_a_status_that_is_not_documented_halts_an_instrument_and_is_told() -> None:
    venue = Venue(BTC, ETH)
    listing = venue.listing("*")
    venue.look(listing)
    venue.rows = [BTC, {**ETH, "status": "Auction"}]
    outcome = venue.look(listing)
    assert (outcome.status, len(outcome.odd)) == (1, 1)
    assert ("ETHUSDT", 10, "HALTED") in venue.in_table()
    assert "status 'Auction' is not documented" in outcome.odd[0]


def test_by_name_such_a_row_is_refused_and_one_that_was_not_asked_for_is_not_told() -> None:
    venue = Venue(BTC, ODD, SOL)
    with pytest.raises(VenueError, match=r"ETHUSDT: .*priceFilter\.tickSize is 'auto'"):
        venue.look(venue.listing("ETH-USDT-PERP"))
    assert venue.look(venue.listing("SOL-USDT-PERP", "B*")).odd == ()
    assert [r.symbol for r in venue.table] == ["SOLUSDT", "BTCUSDT"]
