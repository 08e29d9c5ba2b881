"""Instruments by canonical name and by the venue's symbol: found, or refused with what was meant."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from feeds.errors import VenueError
from feeds.names import choose_instruments, choose_traded, names_beside, names_meant, resolve
from feeds.venues import get_adapter
from shm.enums import InstrumentStatus
from shm.instruments import Instrument


def row(symbol: str, canonical: str, status: InstrumentStatus = InstrumentStatus.TRADING) -> Instrument:
    return Instrument(
        venue_id=1, price_exponent=2, quantity_exponent=3, symbol=symbol, canonical=canonical, status=status
    )


ROWS = [
    row("BTCUSDT", "BTC-USDT-PERP"),
    row("BTCUSDT_260327", "BTC-USDT-260327"),
    row("1000PEPEUSDT", "PEPE-USDT-PERP"),
    row("ETHUSDT", "ETH-USDT-PERP"),
]


@pytest.mark.parametrize(
    ("text", "symbol"),
    [
        ("BTCUSDT", "BTCUSDT"),
        ("BTC-USDT-PERP", "BTCUSDT"),
        ("BTC-USDT-260327", "BTCUSDT_260327"),
        ("PEPE-USDT-PERP", "1000PEPEUSDT"),
        ("1000PEPEUSDT", "1000PEPEUSDT"),
    ],
)
def test_both_names_mean_the_instrument(text: str, symbol: str) -> None:
    assert resolve(text, ROWS, "somewhere").symbol == symbol


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("BTC-USDT", "close matches: BTC-USDT-PERP (BTCUSDT), BTC-USDT-260327 (BTCUSDT_260327)"),
        ("btcusdt", "close matches: BTC-USDT-PERP (BTCUSDT)"),
        ("ETH-USD-PERP", "ETH-USDT-PERP (ETHUSDT)"),
        ("PEPEUSDT", "PEPE-USDT-PERP (1000PEPEUSDT)"),
    ],
)
def test_an_unknown_name_is_refused_with_what_was_meant(text: str, hint: str) -> None:
    with pytest.raises(VenueError) as error:
        resolve(text, ROWS, "somewhere")
    assert str(error.value).startswith(f"somewhere: unknown instrument {text!r}; close matches: ")
    assert hint in str(error.value)


def test_a_name_without_anything_close_is_refused_plainly() -> None:
    with pytest.raises(VenueError, match=r"unknown instrument 'QQQQQQQQ'$"):
        resolve("QQQQQQQQ", ROWS, "somewhere")


def test_of_two_contracts_of_one_name_the_one_that_trades_is_meant() -> None:
    gone = row("PEPEUSDT", "PEPE-USDT-PERP", InstrumentStatus.DELISTED)
    assert resolve("PEPE-USDT-PERP", [gone, *ROWS], "x").symbol == "1000PEPEUSDT"
    both = [row("PEPEUSDT", "PEPE-USDT-PERP"), *ROWS]
    with pytest.raises(VenueError, match="several instruments, give a symbol: PEPEUSDT, 1000PEPEUSDT"):
        resolve("PEPE-USDT-PERP", both, "x")


def okx_row(symbol: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"instId": symbol, "instType": kind, "tickSz": "0.1", "lotSz": "1", "minSz": "1", "state": "live",
            "ctVal": "0.01", "ctType": "linear", "settleCcy": "USDT", "baseCcy": "BTC", "quoteCcy": "USDT",
            **more}  # fmt: skip


BODY = orjson.dumps({"code": "0", "data": [okx_row("BTC-USDT-SWAP", "SWAP"), okx_row("BTC-USDT", "SPOT")]})


def test_instrument_data_is_chosen_by_either_name_in_the_order_asked_for() -> None:
    adapter = get_adapter("okx")
    for names in (["BTC-USDT-PERP", "BTC-USDT"], ["BTC-USDT-SWAP", "BTC-USDT"]):
        assert [r.symbol for r in choose_instruments(adapter, BODY, names)] == ["BTC-USDT-SWAP", "BTC-USDT"]
    assert len(choose_instruments(adapter, BODY, [])) == 2


def test_two_names_of_one_instrument_are_refused() -> None:
    with pytest.raises(VenueError, match="'BTC-USDT-SWAP' and 'BTC-USDT-PERP' are both BTC-USDT-SWAP"):
        choose_instruments(get_adapter("okx"), BODY, ["BTC-USDT-SWAP", "BTC-USDT-PERP"])


def test_an_unknown_name_in_a_list_is_named() -> None:
    with pytest.raises(VenueError, match="unknown instrument 'BTC-USD-PERP'; close matches: BTC-USDT-PERP"):
        choose_instruments(get_adapter("okx"), BODY, ["BTC-USDT", "BTC-USD-PERP"])


def test_a_pattern_means_what_trades_and_a_name_what_it_names() -> None:
    halted = okx_row("ETH-USDT-SWAP", "SWAP", state="suspend")
    body = orjson.dumps({"data": [*orjson.loads(BODY)["data"], halted]})
    okx = get_adapter("okx")

    def chosen(*names: str) -> list[str]:
        return [row.symbol for row in choose_traded(okx, body, names)]

    assert chosen("*") == ["BTC-USDT-SWAP", "BTC-USDT"]
    assert chosen("BTC-USDT", "*-USDT-PERP") == ["BTC-USDT", "BTC-USDT-SWAP"]
    assert chosen("ETH-USDT-PERP") == ["ETH-USDT-SWAP"], "who names one that is halted means it"
    with pytest.raises(VenueError, match=r"okx: nothing that it trades is like SOL-\*"):
        chosen("SOL-*")
    with pytest.raises(VenueError, match=r"'BTC-USD-PERP'; close matches: BTC-USDT-PERP \(BTC-USDT-SWAP\)"):
        chosen("BTC-USD-PERP")


@pytest.mark.parametrize(
    ("venue", "symbol", "canonical"),
    [
        ("binance_usdm", "1000PEPEUSDT", "PEPE-USDT-PERP"),
        ("okx", "BTC-USDT-SWAP", "BTC-USDT-PERP"),
        ("bybit_linear", "BTCUSDT-26DEC25", "BTC-USDT-251226"),
        ("bybit_spot", "BTCUSDT", "BTC-USDT"),
    ],
)
def test_without_instrument_data_either_name_may_mean_the_other(
    venue: str, symbol: str, canonical: str
) -> None:
    assert names_beside(venue, [symbol, canonical, "BTC-*"], [symbol]) == []
    assert names_beside(venue, [symbol, canonical], [canonical]) == []
    assert names_beside(venue, [symbol, canonical + "X"], [symbol]) == [canonical + "X"]
    assert names_meant(venue, [symbol]) == [symbol, canonical]


@pytest.mark.parametrize("name", ["", "BTC-99FEB25", "é", "BTC-USDT-PREP"])
def test_a_name_that_is_no_symbol_means_itself_alone(name: str) -> None:
    for venue in ("binance_usdm", "okx", "bybit_linear", "bybit_spot", "nowhere"):
        assert names_beside(venue, [name], [name]) == []
        assert names_beside(venue, [name], ["ETHUSDT"]) == [name]
