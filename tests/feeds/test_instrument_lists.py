"""A list of instruments with a row that is not as documented: it is left out and named, no other changes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.capture import capture_instruments, load_instruments
from feeds.errors import CaptureError, VenueError
from feeds.names import choose_instruments, choose_traded
from feeds.venues import ADAPTERS, get_adapter
from feeds.venues.rows import Oddity, OddRow
from shm.enums import InstrumentStatus
from shm.instruments import check_instrument
from tests.kit.feed_rig import depth

Row = dict[str, Any]


def _usdm(base: str, **more: Any) -> Row:
    return {
        "symbol": f"{base}USDT", "contractType": "PERPETUAL", "status": "TRADING", "baseAsset": base,
        "quoteAsset": "USDT", "marginAsset": "USDT", "pricePrecision": 2, "quantityPrecision": 3,
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": "0.10", "minPrice": "0.1", "maxPrice": "900000"},
            {"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "0.001", "maxQty": "1000"},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
        ],
        **more,
    }  # fmt: skip


def _okx(base: str, **more: Any) -> Row:
    return {
        "instId": f"{base}-USDT-SWAP", "instType": "SWAP", "state": "live", "baseCcy": "", "quoteCcy": "",
        "settleCcy": "USDT", "ctVal": "0.01", "ctMult": "1", "ctType": "linear", "tickSz": "0.1",
        "lotSz": "0.01", "minSz": "0.01", "maxLmtSz": "100000000", **more,
    }  # fmt: skip


def _linear(base: str, **more: Any) -> Row:
    return {
        "symbol": f"{base}USDT", "contractType": "LinearPerpetual", "status": "Trading", "baseCoin": base,
        "quoteCoin": "USDT", "settleCoin": "USDT", "deliveryTime": "0", "priceScale": "2",
        "priceFilter": {"tickSize": "0.10"},
        "lotSizeFilter": {"qtyStep": "0.001", "minOrderQty": "0.001", "maxOrderQty": "1500",
                          "minNotionalValue": "5"},
        **more,
    }  # fmt: skip


def _spot(base: str, **more: Any) -> Row:
    return {
        "symbol": f"{base}USDT", "status": "Trading", "baseCoin": base, "quoteCoin": "USDT",
        "priceFilter": {"tickSize": "0.1"},
        "lotSizeFilter": {"basePrecision": "0.000001", "minOrderQty": "0.000001", "minOrderAmt": "5",
                          "maxLimitOrderQty": "230"},
        **more,
    }  # fmt: skip


ROW = {"binance_usdm": _usdm, "okx": _okx, "bybit_linear": _linear, "bybit_spot": _spot}
SYMBOL = {"okx": "instId"}
KIND = {"binance_usdm": "contractType", "okx": "instType", "bybit_linear": "contractType"}
STATUS = {"okx": "state"}
TICK = {
    "binance_usdm": "filters[PRICE_FILTER].tickSize",
    "okx": "tickSz",
    "bybit_linear": "priceFilter.tickSize",
    "bybit_spot": "priceFilter.tickSize",
}


def body(venue: str, rows: list[Any], *, code: Any = None) -> bytes:
    if venue == "binance_usdm":
        return orjson.dumps({"serverTime": 1, "symbols": rows})
    if venue == "okx":
        return orjson.dumps({"code": code or "0", "msg": "why", "data": rows})
    result = {"category": venue.removeprefix("bybit_"), "list": rows, "nextPageCursor": ""}
    return orjson.dumps({"retCode": code or 0, "retMsg": "why", "result": result})


def symbol_of(venue: str, row: Row) -> str:
    return str(row[SYMBOL.get(venue, "symbol")])


def set_tick(venue: str, row: Row, tick: Any) -> Row:
    row = copy.deepcopy(row)
    if venue == "okx":
        row["tickSz"] = tick
    elif venue == "binance_usdm":
        row["filters"][0]["tickSize"] = tick
    else:
        row["priceFilter"]["tickSize"] = tick
    return row


def three(venue: str) -> list[Row]:
    return [ROW[venue](base) for base in ("BTC", "ETH", "SOL")]


def chosen(venue: str, rows: list[Any], *names: str) -> tuple[list[str], list[OddRow]]:
    """What the names and patterns bring, and what is told of the rest."""
    told: list[OddRow] = []
    found = choose_traded(get_adapter(venue), body(venue, rows), names, told.append)
    return [row.symbol for row in found], told


venues = pytest.mark.parametrize("venue", list(ADAPTERS))


# ---- by pattern ----------------------------------------------------------------------------------


@venues
def test_a_row_of_an_unreadable_tick_is_left_out_of_a_pattern_and_named(venue: str) -> None:
    rows = three(venue)
    rows[1] = set_tick(venue, rows[1], "a lot")
    symbols, (odd,) = chosen(venue, rows, "*")
    assert symbols == [symbol_of(venue, rows[0]), symbol_of(venue, rows[2])]
    assert (odd.symbol, odd.oddity) == (symbol_of(venue, rows[1]), Oddity.UNREADABLE)
    start = f"{venue}: {odd.symbol}: instrument data is not as documented"
    assert odd.text == f"{start}: {TICK[venue]} is 'a lot', not a decimal number"


@pytest.mark.parametrize("venue", list(KIND))
def test_a_new_kind_of_contract_is_left_out_and_named_and_one_that_is_documented_is_not(venue: str) -> None:
    other = {"binance_usdm": "PERPETUAL_DELIVERING", "okx": "MARGIN", "bybit_linear": "InversePerpetual"}
    rows = [
        *three(venue),
        ROW[venue]("NEW", **{KIND[venue]: "TOKENIZED"}),
        ROW[venue]("OLD", **{KIND[venue]: other[venue]}),
    ]
    symbols, (odd,) = chosen(venue, rows, "*")
    assert len(symbols) == 3
    assert odd.oddity is Oddity.KIND
    assert odd.text == f"{venue}: {symbol_of(venue, rows[3])}: {KIND[venue]} 'TOKENIZED' is not supported"


@venues
def test_a_new_status_is_left_out_of_what_trades_and_named_and_is_halted_for_who_keeps_it(venue: str) -> None:
    key = STATUS.get(venue, "status")
    rows = [*three(venue), ROW[venue]("NEW", **{key: "AUCTION"})]
    symbols, (odd,) = chosen(venue, rows, "*")
    assert len(symbols) == 3
    assert odd.oddity is Oddity.STATUS
    new = symbol_of(venue, rows[3])
    assert odd.text == f"{venue}: {new}: {key} 'AUCTION' is not documented: taken for halted"
    (halted,) = choose_instruments(get_adapter(venue), body(venue, rows), [new])
    assert halted.status == InstrumentStatus.HALTED


@venues
def test_only_rows_that_the_pattern_may_mean_are_told(venue: str) -> None:
    rows = three(venue)
    rows[1] = set_tick(venue, rows[1], None)
    assert chosen(venue, rows, "BTC*") == ([symbol_of(venue, rows[0])], [])
    assert len(chosen(venue, rows, "BTC*", "ETH-USDT*")[1]) == 1, "by the canonical name too"
    with pytest.raises(
        VenueError, match=r"nothing that it trades is like ETH\*; 1 rows are not as documented"
    ):
        chosen(venue, rows, "ETH*")


@venues
@pytest.mark.parametrize("broken", [7, None, [], {}, "BTCUSDT"])
def test_what_is_no_row_at_all_is_told_with_its_place(venue: str, broken: Any) -> None:
    symbols, (odd,) = chosen(venue, [*three(venue), broken], "*")
    assert len(symbols) == 3
    assert (odd.symbol, odd.is_left_out) == ("", True)
    assert f"{venue}: row 3 of instrument data has no " in odd.text


@venues
def test_a_symbol_that_is_listed_twice_otherwise_is_left_out_and_twice_alike_is_one(venue: str) -> None:
    rows = three(venue)
    assert chosen(venue, [*rows, rows[0]], "*") == ([symbol_of(venue, row) for row in rows], [])
    symbols, (odd,) = chosen(venue, [*rows, set_tick(venue, rows[0], "0.5")], "*")
    assert symbols == [symbol_of(venue, row) for row in rows[1:]]
    assert odd.text.endswith(": it is listed 2 times, each time otherwise")


# ---- by name -------------------------------------------------------------------------------------


@venues
def test_by_name_such_a_row_is_refused_for_what_is_wrong_and_does_no_harm_to_others(venue: str) -> None:
    rows = three(venue)
    rows[1] = set_tick(venue, rows[1], "")
    adapter, data = get_adapter(venue), body(venue, rows)
    canonical = "ETH-USDT" if venue == "bybit_spot" else "ETH-USDT-PERP"
    for name in (symbol_of(venue, rows[1]), canonical):
        with pytest.raises(VenueError) as error:
            choose_instruments(adapter, data, [name])
        assert f"{TICK[venue]} is '', not a decimal number" in str(error.value)
    other = canonical.replace("ETH", "SOL")
    assert [row.canonical for row in choose_instruments(adapter, data, [other])] == [other]
    with pytest.raises(VenueError, match="unknown instrument"):
        choose_instruments(adapter, data, [canonical.replace("ETH", "NONE")])
    with pytest.raises(VenueError, match="not as documented"):
        choose_traded(adapter, data, [canonical, "*"])


@pytest.mark.parametrize("venue", list(KIND))
def test_by_name_a_new_kind_is_refused_with_its_value(venue: str) -> None:
    rows = [*three(venue), ROW[venue]("NEW", **{KIND[venue]: "TOKENIZED"})]
    for name in (symbol_of(venue, rows[3]), "NEW-USDT-PERP"):
        with pytest.raises(VenueError, match=f"{KIND[venue]} 'TOKENIZED' is not supported"):
            choose_instruments(get_adapter(venue), body(venue, rows), [name])


# ---- the answer as a whole -----------------------------------------------------------------------


@venues
def test_an_answer_that_is_none_is_refused_whole(venue: str) -> None:
    adapter = get_adapter(venue)
    broken = [b"", b"{", b"7", b"null", b"{}", b"[]", b'"x"', body(venue, {})]  # type: ignore[arg-type]
    if venue != "binance_usdm":
        broken.remove(b"[]")  # no page of none
    for data in broken:
        with pytest.raises(VenueError, match="instrument data is not an"):
            adapter.read_list(data)
    if venue != "binance_usdm":
        with pytest.raises(VenueError, match="code 50011: why"):
            adapter.read_list(body(venue, three(venue), code=50011))


@venues
def test_a_list_without_one_readable_row_is_refused_whole(venue: str) -> None:
    rows = [set_tick(venue, row, {}) for row in three(venue)]
    with pytest.raises(
        VenueError, match=r"BTC.*not as documented: .* is \{\}, not a text \(and 2 more rows\)"
    ):
        get_adapter(venue).read_list(body(venue, rows))


def test_an_instruments_file_with_such_a_row_serves_captures_without_it(tmp_path: Any) -> None:
    rows, path = tmp_path / "rows.json", tmp_path / "cap"
    listed = three("binance_usdm")
    listed[1] = set_tick("binance_usdm", listed[1], "x")
    rows.write_bytes(body("binance_usdm", listed))
    assert [row.symbol for row in load_instruments(rows, "binance_usdm")] == ["BTCUSDT", "SOLUSDT"]
    path.write_bytes(b"1 " + depth("BTCUSDT", 1, 2, 0) + b"\n")
    assert [row.symbol for row in capture_instruments(path, "binance_usdm", rows)] == ["BTCUSDT"]
    path.write_bytes(b"1 " + depth("BTCUSDT", 1, 2, 0) + b"\n2 " + depth("ETHUSDT", 1, 2, 0) + b"\n")
    with pytest.raises(CaptureError, match=r"rows.json: .*ETHUSDT: .*tickSize is 'x'"):
        capture_instruments(path, "binance_usdm", rows)


# ---- any mutation --------------------------------------------------------------------------------


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a row: its own first."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
    | st.text(max_size=40) | st.sampled_from(["0", "-1", "1e-300", "1e400", "9" * 60, "NaN", "é" * 40, "\0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip


def mutate(row: Row, path: tuple[Any, ...], new: Any, *, is_gone: bool) -> Any:
    if not path:
        return new
    row = copy.deepcopy(row)
    inner: Any = row
    for key in path[:-1]:
        inner = inner[key]
    if is_gone:
        del inner[path[-1]]
    else:
        inner[path[-1]] = new
    return row


def check_mutations(data: st.DataObject) -> None:
    venue = data.draw(st.sampled_from(list(ADAPTERS)))
    adapter, rows = get_adapter(venue), three(venue)
    before = adapter.read_list(body(venue, rows)).rows
    which = data.draw(st.integers(0, 2))
    path = data.draw(st.sampled_from(list(places(rows[which]))))
    mutated = mutate(rows[which], path, data.draw(JSON), is_gone=data.draw(st.booleans()))
    others = [row.symbol for index, row in enumerate(before) if index != which]
    key = SYMBOL.get(venue, "symbol")
    if isinstance(mutated, dict) and mutated.get(key) in others:
        return  # listed twice: that of the others is not to be believed either
    rows[which] = mutated
    after = adapter.read_list(body(venue, rows))
    assert [row for row in after.rows if row.symbol in others] == [r for r in before if r.symbol in others]
    own = [row for row in after.rows if row.symbol not in others]
    assert len(own) <= 1
    for row in own:
        check_instrument(row)
        assert row.tick_size > 0 < row.lot_size
    left = [odd for odd in after.odd if odd.is_left_out]
    kind = mutated.get(KIND.get(venue, "")) if isinstance(mutated, dict) else None
    is_other = venue == "binance_usdm" and kind == ""
    assert len(own) + len(left) + is_other == 1, "it is read, or named, or of a kind that is not ours"
    for odd in after.odd:
        assert odd.text.startswith(f"{venue}: ")
        if odd.symbol and odd.oddity is not Oddity.STATUS:
            with pytest.raises(VenueError) as error:  # by name it is refused in the same words
                adapter.parse_instruments(body(venue, rows), [odd.symbol])
            assert str(error.value) == odd.text


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_row_changed_anyhow_leaves_all_others_as_they_are(data: st.DataObject) -> None:
    check_mutations(data)


@pytest.mark.prove
@settings(max_examples=1000, deadline=None)
@given(st.data())
def test_a_row_changed_anyhow_leaves_all_others_as_they_are_many_times(data: st.DataObject) -> None:
    check_mutations(data)
