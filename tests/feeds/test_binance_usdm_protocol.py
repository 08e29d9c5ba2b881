"""What the adapter says about the venue: streams, requests, instrument data, control frames."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import orjson
import pytest

from feeds.adapter import HttpRequest, Notice, SnapshotDepth, StreamSettings
from feeds.errors import VenueError
from feeds.resync import snapshot_budget
from feeds.venues import VENUE_ID, get_adapter, venue_name
from feeds.venues.binance_usdm import protocol
from shm.enums import InstrumentKind, InstrumentStatus

ADAPTER = get_adapter("binance_usdm")


def entry(symbol: str = "BTCUSDT", **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "symbol": symbol, "pair": symbol, "contractType": "PERPETUAL", "status": "TRADING",
        "baseAsset": "BTC",
        "quoteAsset": "USDT", "marginAsset": "USDT", "pricePrecision": 2, "quantityPrecision": 3,
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": "0.10"},
            {"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "0.001", "maxQty": "1000"},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
        ],
    }  # fmt: skip
    return {**row, **changes}


def body(*rows: dict[str, Any]) -> bytes:
    return orjson.dumps({"symbols": list(rows)})


def test_an_unknown_venue_names_those_that_exist() -> None:
    with pytest.raises(VenueError, match="unknown venue 'nyse'; known venues: binance_usdm"):
        get_adapter("nyse")
    assert venue_name(VENUE_ID["binance_usdm"]) == "binance_usdm"
    with pytest.raises(VenueError, match="number 99"):
        venue_name(99)
    assert get_adapter("binance_usdm").venue_id == VENUE_ID["binance_usdm"] < 32


def test_streams_are_split_by_path() -> None:
    plans = ADAPTER.connections(["BTCUSDT", "ETHUSDT"], StreamSettings())
    assert [(p.url_path, p.carries_depth) for p in plans] == [
        ("/public/stream", True),
        ("/market/stream", False),
    ]
    assert plans[0].streams == (
        "btcusdt@depth@100ms", "btcusdt@bookTicker", "ethusdt@depth@100ms", "ethusdt@bookTicker",
    )  # fmt: skip
    assert plans[1].streams[:2] == ("btcusdt@aggTrade", "btcusdt@markPrice@1s")
    assert orjson.loads(plans[0].subscribe[0]) == {
        "method": "SUBSCRIBE",
        "params": list(plans[0].streams),
        "id": 1,
    }


def test_stream_names_are_settings() -> None:
    chosen = StreamSettings(depth_stream="depth@0ms", trade_stream="trade", with_bbo=False, with_mark=False)
    plans = ADAPTER.connections(["BTCUSDT"], chosen)
    assert [p.streams for p in plans] == [("btcusdt@depth@0ms",), ("btcusdt@trade",)]


def test_connections_hold_a_bounded_number_of_streams_and_keep_a_symbol_together() -> None:
    symbols = [f"S{i}USDT" for i in range(205)]
    plans = ADAPTER.connections(symbols, StreamSettings())
    assert all(len(p.streams) <= 200 for p in plans)
    assert [p.carries_depth for p in plans] == [True] * 3 + [False] * 3
    for part in (True, False):
        carried = [s for p in plans if p.carries_depth is part for s in p.symbols]
        assert carried == symbols
    assert len({stream for p in plans for stream in p.streams}) == 4 * 205


@pytest.mark.parametrize("count", [0, 1025])
def test_more_streams_than_the_venue_allows_are_refused(count: int) -> None:
    with pytest.raises(VenueError, match="1 to 1024"):
        ADAPTER.connections(["BTCUSDT"], StreamSettings(streams_per_connection=count))


@pytest.mark.parametrize(
    ("stream", "public"),
    [
        ("btcusdt@depth@0ms", True),
        ("btcusdt@depth", True),
        ("btcusdt@bookTicker", True),
        ("btcusdt@aggTrade", False),
        ("btcusdt@markPrice@1s", False),
    ],
)
def test_old_recordings_are_split_by_stream_name(stream: str, public: bool) -> None:
    assert protocol.is_public(stream) is public


@pytest.mark.parametrize(
    ("symbols", "levels", "weight"),
    [
        (1, 1000, 20),
        (54, 1000, 20),
        (55, 500, 10),
        (100, 500, 10),
        (216, 100, 5),
        (217, 50, 2),
        (5000, 50, 2),
    ],
)
def test_snapshots_are_as_deep_as_two_of_every_book_in_a_minute_allow(
    symbols: int, levels: int, weight: int
) -> None:
    assert ADAPTER.choose_depth(symbols) == (levels, weight)
    assert weight == 2 or 2 * symbols * weight < ADAPTER.snapshot_weight_per_minute


def test_a_depth_the_venue_does_not_have_is_named_with_those_it_has() -> None:
    assert ADAPTER.choose_depth(100, 1000) == (1000, 20)
    with pytest.raises(VenueError, match="no depth snapshots of 200 levels; there are 50, 100, 500, 1000"):
        ADAPTER.choose_depth(1, 200)


@pytest.mark.parametrize("depth", ADAPTER.snapshot_depths)
def test_the_worst_minute_of_snapshots_is_below_the_venues_limit(depth: SnapshotDepth) -> None:
    tokens, per_second = snapshot_budget(ADAPTER.snapshot_weight_per_minute, depth.weight)
    assert 0.9 < (tokens + 60 * per_second) * depth.weight / ADAPTER.snapshot_weight_per_minute <= 0.96


def test_requests() -> None:
    assert ADAPTER.snapshot_request("BTCUSDT", 500).path.endswith("limit=500")
    assert ADAPTER.snapshot_request("BTCUSDT") == HttpRequest(
        "GET", "/fapi/v1/depth?symbol=BTCUSDT&limit=1000", 20
    )
    assert ADAPTER.instruments_request() == HttpRequest("GET", "/fapi/v1/exchangeInfo", 1)
    assert ADAPTER.time_request().path == "/fapi/v1/time"
    assert ADAPTER.symbol_of_request("/fapi/v1/depth?limit=5&symbol=ETHUSDT") == "ETHUSDT"
    assert ADAPTER.symbol_of_request("/fapi/v1/time") == ""
    assert ADAPTER.is_instruments("/fapi/v1/exchangeInfo?x=1")


def test_recorded_instrument_data(market_data: Path) -> None:
    with gzip.open(market_data / "binance" / "usdm_4_symbols_20210722.gz", "rb") as stream:
        recorded = stream.readline().split(b" ", 3)[3]
    rows = {row.symbol: row for row in ADAPTER.parse_instruments(recorded, None)}
    assert len(rows) == 121, "the one contract without a type does not trade yet"
    btc = rows["BTCUSDT"]
    assert (btc.canonical, btc.price_exponent, btc.quantity_exponent) == ("BTC-USDT-PERP", 2, 3)
    assert (btc.tick_size, btc.lot_size, btc.min_quantity_units, btc.max_quantity_units) == (
        1,
        1,
        1,
        1_000_000,
    )
    assert btc.min_notional_units == 5 * 10**8
    future = rows["BTCUSDT_210924"]
    assert (future.canonical, future.kind) == ("BTC-USDT-210924", InstrumentKind.FUTURE)
    assert rows["1000SHIBUSDT"].canonical == "SHIB-USDT-PERP"
    assert rows["1INCHUSDT"].canonical == "1INCH-USDT-PERP"
    assert rows["CTKUSDT"].tick_size == 100


def test_exponents_grow_when_the_tick_or_lot_needs_it() -> None:
    fine = entry(filters=[
        {"filterType": "PRICE_FILTER", "tickSize": "0.00050"},
        {"filterType": "LOT_SIZE", "stepSize": "0.00001", "minQty": "0.00001", "maxQty": "9"},
    ])  # fmt: skip
    (row,) = ADAPTER.parse_instruments(body(fine), ["BTCUSDT"])
    assert (row.price_exponent, row.tick_size, row.quantity_exponent, row.lot_size) == (4, 5, 5, 1)
    assert row.min_notional_units == 0


def test_an_unknown_symbol_is_named_with_close_matches() -> None:
    rows = body(entry("BTCUSDT"), entry("BTCUSDC"), entry("ETHUSDT"))
    with pytest.raises(VenueError, match="unknown symbol 'BTCUSDTT'; close matches: BTCUSDT"):
        ADAPTER.parse_instruments(rows, ["ETHUSDT", "BTCUSDTT"])


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (b"[]", "not an exchangeInfo answer"),
        (b"{", "not an exchangeInfo answer"),
        (body(entry(filters=[])), "BTCUSDT: instrument data is not as documented"),
        (body(entry(filters=7)), "BTCUSDT: instrument data is not as documented"),
        (body(entry(pricePrecision="x")), "BTCUSDT: instrument data is not as documented"),
        (body(entry(contractType="SWAPTION")), "contractType 'SWAPTION' is not supported"),
    ],
)
def test_instrument_data_that_is_not_as_documented(given: bytes, text: str) -> None:
    with pytest.raises(VenueError, match=text):
        ADAPTER.parse_instruments(given, ["BTCUSDT"])


def test_status_of_instruments() -> None:
    rows = body(
        entry("A1USDT", status="SETTLING"), entry("B1USDT", status="CLOSE"), entry("C1USDT", status="SOON")
    )
    found = ADAPTER.parse_instruments(rows, ["A1USDT", "B1USDT", "C1USDT"])
    assert [row.status for row in found] == [
        InstrumentStatus.HALTED, InstrumentStatus.DELISTED, InstrumentStatus.HALTED,
    ]  # fmt: skip


def test_control_frames() -> None:
    assert ADAPTER.on_control(b'{"result":null,"id":3}')[:2] == (False, 3)
    for frame in (
        b'{"error":{"code":2,"msg":"Invalid request"},"id":4}',
        b'{"code":2,"msg":"Invalid request","id":4}',
    ):
        assert ADAPTER.on_control(frame) == (True, 4, 2, "Invalid request", ())
    assert ADAPTER.on_control(b"[]").is_error
    assert ADAPTER.on_control(b"{").is_error


def test_symbols_met_without_instrument_data() -> None:
    assert protocol.split_symbol("BTCUSDT") == ("BTC", "USDT", "")
    assert protocol.split_symbol("BTCUSDT_260925") == ("BTC", "USDT", "260925")
    assert protocol.split_symbol("ETHBTC") == ("ETH", "BTC", "")
    assert protocol.split_symbol("WEIRD") == ("WEIRD", "", "")
    assert ADAPTER.plain_instrument("BTCUSDT_260925", 1, 3, 1, 1).canonical == "BTC-USDT-260925"
    assert ADAPTER.plain_instrument("WEIRD", 1, 3, 1, 1).canonical == "WEIRD"


def test_liquidations_and_contract_news_are_streams_of_their_own() -> None:
    plans = ADAPTER.connections(["BTCUSDT"], StreamSettings(with_liquidations=True, with_status=True))
    assert "btcusdt@forceOrder" in plans[1].streams
    assert (plans[2].url_path, plans[2].streams) == ("/market/stream", ("!contractInfo",))
    event = ADAPTER.on_control(b'{"e":"contractInfo","E":1,"s":"IOTAUSDT","ct":"PERPETUAL","cs":"SETTLING"}')
    assert event.notices == (Notice("instrument", "IOTAUSDT", "SETTLING"),)
    assert ADAPTER.on_control(b'{"e":"serverShutdown","E":1}').notices[0].topic == "status"


def test_every_depth_stream_is_public() -> None:
    assert all(protocol.is_public(protocol.stream_name("BTCUSDT", name)) for name in ADAPTER.depth_streams)


@pytest.mark.parametrize(
    ("what", "known", "unknown"),
    [
        ("depth", "depth@100ms, depth, depth@500ms", StreamSettings(depth_stream="x")),
        ("trade", "aggTrade, trade", StreamSettings(trade_stream="x")),
    ],
    ids=["depth", "trade"],
)
def test_an_unknown_stream_is_an_error_that_names_those_there_are(
    what: str, known: str, unknown: StreamSettings
) -> None:
    with pytest.raises(VenueError, match=f"no {what} stream 'x'; there are {known}"):
        ADAPTER.connections(["BTCUSDT"], unknown)
