"""Leaving a venue: each has requests that cancel everything, and a form for orders that close positions."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from exec.order_protocol import OpenOrderWord, OrderProtocol, PositionWord, RequestKind, Way
from exec.venues import make_protocol
from exec.withdrawal import NoDirectory, blind_cancels, cancels, closing_orders
from shm.enums import OrderFlags, Side
from shm.instruments import Instrument
from tests.exec.venues.account_scene import ROWS, TAG, UTC_NS, Rows, keys

BINANCE = Instrument(
    instrument_id=7,
    venue_id=1,
    symbol="BTCUSDT",
    price_exponent=2,
    quantity_exponent=3,
    max_quantity_units=50,
)
#: Of each protocol: an instrument it knows, and how its words name one that no run trades.
KNOWN = {
    "binance_usdm": (7, "BTCUSDT", "XYZUSDT"),
    "okx": (0, "BTC-USDT-SWAP", "XYZ-USDT"),
    "bybit": (4, "linear:BTCUSDT", "linear:XYZUSDT"),
}


class AllRows(Rows):
    """The instruments of all venues."""

    def row(self, instrument_id: int) -> Instrument:
        return {each.instrument_id: each for each in (*ROWS, BINANCE)}[instrument_id]


def protocol(name: str, directory: Any = None) -> OrderProtocol:
    return make_protocol(
        name, keys(), TAG, AllRows() if directory is None else directory, symbols=("BTCUSDT",)
    )


def row(number: int, instrument_id: int, symbol: str) -> OpenOrderWord:
    return OpenOrderWord(0, instrument_id, symbol, int(Side.BUY), 1, 1, 0, str(number), "by hand")


@pytest.mark.parametrize("name", KNOWN)
def test_what_rests_is_canceled_by_rest_alone_also_at_instruments_of_no_run(name: str) -> None:
    known, symbol, foreign = KNOWN[name]
    rows = [row(11, known, symbol), row(12, -1, foreign)]
    made = cancels(protocol(name), rows, 5, UTC_NS)
    assert made
    assert {request.way for request in made} == {Way.REST}
    assert {request.kind for request in made} <= {RequestKind.CANCEL, RequestKind.MASS_CANCEL}
    assert [request.request_id for request in made] == list(range(5, 5 + len(made)))
    sent = "".join(f"{request.path} {request.body.decode()}" for request in made)
    if name != "bybit":  # which cancels all of the account at once
        assert "XYZ" in sent
        assert "12" in sent


@pytest.mark.parametrize("name", KNOWN)
def test_nothing_rests_nothing_is_sent(name: str) -> None:
    assert cancels(protocol(name), [], 1, UTC_NS) == []


@pytest.mark.parametrize("name", KNOWN)
def test_without_any_instrument_data_everything_can_still_be_canceled(name: str) -> None:
    made = cancels(protocol(name, NoDirectory()), [row(12, -1, KNOWN[name][2])], 1, UTC_NS)
    assert made
    assert {request.way for request in made} == {Way.REST}


def test_before_the_venue_was_asked_what_is_known_to_rest_goes() -> None:
    assert [r.kind for r in blind_cancels(protocol("binance_usdm"), [7], 1, UTC_NS)] == [
        RequestKind.MASS_CANCEL
    ]
    assert blind_cancels(protocol("binance_usdm"), [], 1, UTC_NS) == []
    assert blind_cancels(protocol("okx"), [0], 1, UTC_NS) == []
    assert len(blind_cancels(protocol("bybit"), [], 1, UTC_NS)) >= 2


def test_a_position_is_closed_by_reduce_only_orders_and_one_nobody_knows_is_named() -> None:
    ids = itertools.count(100)
    held = [
        PositionWord(7, "BTCUSDT", 120, 1),
        PositionWord(4, "linear:BTCUSDT", -30, 1),
        PositionWord(5, "linear:ETHUSDT", 0, 0),
        PositionWord(-1, "XYZUSDT", 9, 1),
    ]
    orders, unknown = closing_orders(held, AllRows(), lambda: next(ids))
    assert [(o.instrument_id, o.side, o.order_units) for o in orders] == [
        (7, int(Side.SELL), 50),  # the largest order there
        (4, int(Side.BUY), 30),
    ]
    assert all(order.flags & OrderFlags.REDUCE_ONLY for order in orders)
    assert len({order.client_order_id for order in orders}) == 2
    assert [word.symbol for word in unknown] == ["XYZUSDT"]


@pytest.mark.parametrize("name", KNOWN)
def test_every_venue_has_a_form_for_the_closing_order(name: str) -> None:
    known, symbol, _ = KNOWN[name]
    made = protocol(name)
    if name == "okx":
        from tests.exec.venues.test_okx import make

        made = make()
    orders, _ = closing_orders([PositionWord(known, symbol, 3, 1)], AllRows(), lambda: 1)
    assert b"educeOnly" in made.new(orders, 1, UTC_NS).frame
