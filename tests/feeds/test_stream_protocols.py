"""What OKX and Bybit say about themselves: instruments, connections, limits, answers; whose a line is."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import orjson
import pytest

from feeds.adapter import StreamSettings, join_answers
from feeds.capture import CaptureLine, capture_instruments, read_capture
from feeds.errors import VenueError
from feeds.resync import snapshot_budget
from feeds.routing import CaptureRouter, Route
from feeds.venues import ADAPTERS, FAMILIES, VENUE_ID, get_adapter, get_adapters
from feeds.venues.bybit import protocol as bybit_protocol
from feeds.venues.okx import protocol as okx_protocol
from shm.enums import InstrumentKind, InstrumentStatus
from tests.kit.stream_frames import bybit_book, okx_book

OKX, LINEAR, SPOT = get_adapter("okx"), get_adapter("bybit_linear"), get_adapter("bybit_spot")

OKX_SPOT: dict[str, Any] = {
    "baseCcy": "ELON",
    "ctMult": "",
    "ctType": "",
    "ctVal": "",
    "instId": "ELON-USDT",
    "instType": "SPOT",
    "lotSz": "1",
    "minSz": "5000000",
    "quoteCcy": "USDT",
    "settleCcy": "",
    "state": "live",
    "tickSz": "0.00000000001",
}
OKX_LINEAR = {
    **OKX_SPOT,
    "baseCcy": "",
    "quoteCcy": "",
    "ctMult": "1",
    "ctType": "linear",
    "ctVal": "0.01",
    "instId": "BTC-USDT-SWAP",
    "instType": "SWAP",
    "lotSz": "0.01",
    "minSz": "0.01",
    "settleCcy": "USDT",
    "tickSz": "0.1",
    "maxLmtSz": "100000000",
    "state": "suspend",
}
OKX_INVERSE = {
    **OKX_LINEAR,
    "ctType": "inverse",
    "ctVal": "10",
    "instId": "UNI-USD-SWAP",
    "minSz": "1",
    "settleCcy": "UNI",
    "lotSz": "1",
}
BYBIT_LINEAR: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "contractType": "LinearPerpetual",
    "status": "Trading",
    "baseCoin": "BTC",
    "quoteCoin": "USDT",
    "deliveryTime": "0",
    "priceScale": "2",
    "priceFilter": {"tickSize": "0.10"},
    "settleCoin": "USDT",
    "lotSizeFilter": {
        "maxOrderQty": "1500.000",
        "minOrderQty": "0.001",
        "qtyStep": "0.001",
        "minNotionalValue": "5",
    },
}
BYBIT_FUTURE = {
    **BYBIT_LINEAR,
    "symbol": "BTC-26DEC25",
    "contractType": "LinearFutures",
    "quoteCoin": "USDC",
    "settleCoin": "USDC",
    "deliveryTime": "1766736000000",
    "status": "Delivering",
}
BYBIT_SPOT: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "baseCoin": "BTC",
    "quoteCoin": "USDT",
    "status": "Trading",
    "priceFilter": {"tickSize": "0.1"},
    "lotSizeFilter": {
        "basePrecision": "0.000001",
        "quotePrecision": "0.0000001",
        "minOrderQty": "0.000001",
        "minOrderAmt": "5",
        "maxLimitOrderQty": "230",
    },
}


def okx_answer(*rows: dict[str, Any]) -> bytes:
    return orjson.dumps({"code": "0", "msg": "", "data": list(rows)})


def bybit_answer(category: str, *rows: dict[str, Any], cursor: str = "") -> bytes:
    result = {"category": category, "list": list(rows), "nextPageCursor": cursor}
    return orjson.dumps({"retCode": 0, "retMsg": "OK", "result": result, "time": 1})


# ---- names ---------------------------------------------------------------------------------------


def test_every_venue_has_a_number_of_its_own_and_knows_it() -> None:
    assert set(VENUE_ID) == set(ADAPTERS)
    assert len(set(VENUE_ID.values())) == len(VENUE_ID)
    for name, number in VENUE_ID.items():
        adapter = get_adapter(name)
        assert (adapter.name, adapter.venue_id) == (name, number)


def test_a_family_names_several_venues() -> None:
    assert [a.name for a in get_adapters("bybit")] == list(FAMILIES["bybit"])
    assert [a.name for a in get_adapters("okx")] == ["okx"]
    with pytest.raises(VenueError, match="known venues: binance_usdm, bybit, bybit_linear"):
        get_adapters("kraken")


# ---- instruments ---------------------------------------------------------------------------------


def test_okx_instruments() -> None:
    body = join_answers([okx_answer(OKX_SPOT), okx_answer(OKX_LINEAR, OKX_INVERSE)])
    spot, linear, inverse = OKX.parse_instruments(body, None)
    assert (spot.kind, spot.price_exponent, spot.tick_size, spot.quantity_exponent) == (
        InstrumentKind.SPOT,
        11,
        1,
        0,
    )
    assert (spot.canonical, spot.base, spot.quote, spot.multiplier) == ("ELON-USDT", "ELON", "USDT", 1)
    assert (linear.kind, linear.canonical) == (InstrumentKind.PERPETUAL, "BTC-USDT-PERP")
    assert (linear.multiplier, linear.multiplier_exponent, linear.is_inverse) == (1, 2, False)
    assert (linear.lot_size, linear.quantity_exponent, linear.status) == (1, 2, InstrumentStatus.HALTED)
    assert (inverse.multiplier, inverse.multiplier_exponent, inverse.is_inverse) == (10, 0, True)
    assert (inverse.base, inverse.quote, inverse.settle) == ("UNI", "USD", "UNI")
    assert OKX.listed_symbols(body) == {"ELON-USDT", "BTC-USDT-SWAP", "UNI-USD-SWAP"}
    assert OKX.index_symbol(linear) == "BTC-USDT"
    assert OKX.index_symbol(spot) == ""


def test_bybit_instruments() -> None:
    body = bybit_answer(
        "linear", BYBIT_LINEAR, BYBIT_FUTURE, {**BYBIT_LINEAR, "contractType": "Other", "symbol": "X"}
    )
    perpetual, future = LINEAR.parse_instruments(body, None)
    assert (perpetual.price_exponent, perpetual.tick_size, perpetual.quantity_exponent) == (2, 10, 3)
    assert (perpetual.max_quantity_units, perpetual.min_notional_units) == (1_500_000, 500_000_000)
    assert (future.kind, future.canonical) == (InstrumentKind.FUTURE, "BTC-USDC-251226")
    assert future.status == InstrumentStatus.HALTED
    (spot,) = SPOT.parse_instruments(bybit_answer("spot", BYBIT_SPOT), ["BTCUSDT"])
    assert (spot.kind, spot.price_exponent, spot.quantity_exponent) == (InstrumentKind.SPOT, 1, 6)
    assert (spot.canonical, spot.max_quantity_units) == ("BTC-USDT", 230_000_000)


def test_a_page_of_the_other_category_has_none_of_ours() -> None:
    assert SPOT.listed_symbols(bybit_answer("linear", BYBIT_LINEAR)) == set()


def test_bybit_instruments_come_in_pages() -> None:
    first = LINEAR.instruments_request()
    more = LINEAR.next_page(first, bybit_answer("linear", BYBIT_LINEAR, cursor="first=A&b"))
    assert more is not None
    assert more.path == first.path + "&cursor=first%3DA%26b"
    assert LINEAR.next_page(more, bybit_answer("linear", BYBIT_FUTURE)) is None
    body = join_answers([bybit_answer("linear", BYBIT_LINEAR), bybit_answer("linear", BYBIT_FUTURE)])
    assert len(LINEAR.parse_instruments(body, None)) == 2
    with pytest.raises(VenueError, match="not an instruments-info answer"):
        LINEAR.next_page(first, b"[]")


@pytest.mark.parametrize("adapter", [OKX, LINEAR, SPOT], ids=["okx", "linear", "spot"])
def test_what_is_no_instrument_data_is_an_error(adapter: Any) -> None:
    for body in (b"{}", b"[1]", b"x", b'{"data":1,"result":1}'):
        with pytest.raises(VenueError, match="instrument data"):
            adapter.parse_instruments(body, None)


def test_an_unknown_symbol_is_named_with_its_likes() -> None:
    with pytest.raises(VenueError, match="unknown symbol 'BTC-USDT-SWP'; close matches: BTC-USDT-SWAP"):
        OKX.parse_instruments(okx_answer(OKX_LINEAR), ["BTC-USDT-SWP"])


@pytest.mark.parametrize("missing", ["tickSz", "lotSz", "state", "ctVal"])
def test_an_okx_row_that_lacks_something_is_an_error(missing: str) -> None:
    row = {key: value for key, value in OKX_LINEAR.items() if key != missing}
    with pytest.raises(VenueError, match="not as documented"):
        OKX.parse_instruments(okx_answer(row), None)


def test_symbols_met_without_instrument_data() -> None:
    assert OKX.plain_instrument("XMR-USDT-SWAP", 2, 0, 1, 1).canonical == "XMR-USDT-PERP"
    assert OKX.plain_instrument("TRX-USDT-210924", 5, 0, 1, 1).kind == InstrumentKind.FUTURE
    assert OKX.plain_instrument("BTC-USD-210924-66000-C", 4, 0, 1, 1).kind == InstrumentKind.OPTION
    assert LINEAR.plain_instrument("1000PEPEUSDT", 7, 0, 1, 1).canonical == "PEPE-USDT-PERP"
    assert LINEAR.plain_instrument("SHIB1000USDT", 7, 0, 1, 1).canonical == "SHIB-USDT-PERP"
    assert LINEAR.plain_instrument("BTC-26DEC25", 2, 3, 1, 1).canonical == "BTC-USDC-251226"
    assert LINEAR.plain_instrument("BTCPERP", 2, 3, 1, 1).canonical == "BTC-USDC-PERP"
    assert SPOT.plain_instrument("ETHUSDT", 2, 5, 1, 1).canonical == "ETH-USDT"


# ---- connections ---------------------------------------------------------------------------------


def test_okx_connections() -> None:
    symbols = ["BTC-USDT-SWAP", "BTC-USDT-261225", "ETH-USDT"]
    books, other, common = OKX.connections(symbols, StreamSettings(with_liquidations=True, with_status=True))
    assert (books.url_path, books.carries_depth, books.symbols) == ("/ws/v5/public", True, tuple(symbols))
    assert books.streams[:2] == ("books:BTC-USDT-SWAP", "bbo-tbt:BTC-USDT-SWAP")
    assert other.streams == (
        "trades:BTC-USDT-SWAP",
        "mark-price:BTC-USDT-SWAP",
        "index-tickers:BTC-USDT",
        "funding-rate:BTC-USDT-SWAP",
        "trades:BTC-USDT-261225",
        "mark-price:BTC-USDT-261225",
        "trades:ETH-USDT",
    )
    assert common.streams[:3] == ("liquidation-orders:SWAP", "liquidation-orders:FUTURES", "status")
    sent = orjson.loads(books.subscribe[0])
    assert sent["op"] == "subscribe"
    assert sent["args"][0] == {"channel": "books", "instId": "BTC-USDT-SWAP"}


def test_okx_all_trades_have_a_path_of_their_own() -> None:
    plans = OKX.connections(["ETH-USDT"], StreamSettings(trade_stream="trades-all"))
    assert [(p.url_path, p.streams) for p in plans] == [
        ("/ws/v5/public", ("books:ETH-USDT", "bbo-tbt:ETH-USDT")),
        ("/ws/v5/business", ("trades-all:ETH-USDT",)),
    ]


def test_bybit_connections() -> None:
    symbols = [f"A{i}USDT" for i in range(12)]
    books, other = SPOT.connections(symbols, StreamSettings(depth_stream="orderbook.200"))
    assert (books.url_path, books.carries_depth) == ("/v5/public/spot", True)
    assert books.streams[:2] == ("orderbook.200.A0USDT", "orderbook.1.A0USDT")
    assert all(len(orjson.loads(message)["args"]) <= 10 for message in books.subscribe), (
        "spot takes 10 a request"
    )
    assert sum(len(orjson.loads(message)["args"]) for message in books.subscribe) == 24
    assert set(other.streams) == {f"{t}.{s}" for s in symbols for t in ("publicTrade", "tickers")}
    plans = LINEAR.connections(symbols, StreamSettings(with_liquidations=True, with_status=True))
    assert plans[-1].url_path == "/v5/public/misc/status"
    assert "allLiquidation.A0USDT" in plans[1].streams


def test_bybit_args_of_a_connection_stay_below_their_limit() -> None:
    symbols = [f"A{i:027d}USDT" for i in range(900)]
    plans = LINEAR.connections(symbols, StreamSettings(streams_per_connection=10_000))
    for plan in plans:
        assert sum(len(name) + 3 for name in plan.streams) <= bybit_protocol.ARGS_CHARACTERS_MAX
    assert {s for plan in plans if plan.carries_depth for s in plan.symbols} == set(symbols)


@pytest.mark.parametrize("adapter", [OKX, LINEAR, SPOT], ids=["okx", "linear", "spot"])
def test_an_unknown_stream_is_an_error_that_names_those_there_are(adapter: Any) -> None:
    with pytest.raises(VenueError, match=f"no depth stream 'x'; there are {adapter.depth_streams[0]}"):
        adapter.connections(["BTC-USDT"], StreamSettings(depth_stream="x"))
    with pytest.raises(VenueError, match=f"no trade stream 'x'; there are {adapter.trade_streams[0]}"):
        adapter.connections(["BTC-USDT"], StreamSettings(trade_stream="x"))


@pytest.mark.parametrize("adapter", [OKX, LINEAR, SPOT], ids=["okx", "linear", "spot"])
def test_every_depth_stream_is_what_its_decoder_makes_books_of(adapter: Any) -> None:
    for stream in adapter.depth_streams:
        settings = StreamSettings(depth_stream=stream)
        decoder = adapter.configure(adapter.make_decoder(), settings)
        if adapter is OKX:
            frame = okx_book(
                "A-B", 5, None if stream == "books5" else -1, [("1", "1")], action="snapshot", channel=stream
            )
        else:
            levels = int(stream.partition(".")[2])
            frame = bybit_book("AB", 5, [("1", "1")], kind="snapshot", levels=levels)
        assert decoder.decode_message(frame).kind.name == "DEPTH", stream


def test_resubscribing_is_two_requests_and_stays_within_the_venues_hour() -> None:
    off, on = OKX.resubscribe("A-B", StreamSettings())
    assert [orjson.loads(m)["op"] for m in (off, on)] == ["unsubscribe", "subscribe"]
    assert orjson.loads(on)["args"] == [{"channel": "books", "instId": "A-B"}]
    off, on = SPOT.resubscribe("AB", StreamSettings(depth_stream="orderbook.200"))
    assert orjson.loads(off) == {"op": "unsubscribe", "args": ["orderbook.200.AB"]}
    depth = OKX.choose_depth(500)
    tokens, per_second = snapshot_budget(OKX.snapshot_weight_per_minute, depth.weight)
    assert 0 < depth.weight * (tokens + 3600 * per_second) < okx_protocol.REQUESTS_PER_HOUR * 0.75


# ---- requests and answers ------------------------------------------------------------------------


def test_requests() -> None:
    assert OKX.snapshot_request("BTC-USDT").path == "/api/v5/market/books?instId=BTC-USDT&sz=400"
    assert OKX.symbol_of_request("/api/v5/market/books?instId=BTC-USDT&sz=400") == "BTC-USDT"
    assert [r.path for r in OKX.instruments_requests()] == [
        "/api/v5/public/instruments?instType=SWAP",
        "/api/v5/public/instruments?instType=SPOT",
    ]
    path = LINEAR.snapshot_request("BTCUSDT").path
    assert path == "/v5/market/orderbook?category=linear&symbol=BTCUSDT&limit=500"
    assert (LINEAR.symbol_of_request(path), SPOT.symbol_of_request(path)) == ("BTCUSDT", "")
    assert LINEAR.is_instruments("/v5/market/instruments-info?&category=linear&status=Trading")
    assert not SPOT.is_instruments("/v5/market/instruments-info?category=linear")


def test_control_answers() -> None:
    assert OKX.on_control(b"pong") == (False, 0, 0, "", ())
    error = OKX.on_control(b'{"event":"error","code":"60012","msg":"Invalid request","id":"7"}')
    assert error == (True, 7, 60012, "Invalid request", ())
    assert OKX.on_control(b"[]").is_error
    assert OKX.on_control(b"{").is_error
    assert not LINEAR.on_control(b'{"success":true,"ret_msg":"pong","op":"ping"}').is_error
    refused = LINEAR.on_control(
        b'{"success":false,"ret_msg":"error:handler not found","op":"subscribe","req_id":"3"}'
    )
    assert (refused.is_error, refused.request_id, refused.text) == (True, 3, "error:handler not found")
    status = {
        "topic": "system.status",
        "ts": 1,
        "data": [{"state": "ongoing", "title": "Upgrade", "begin": "1", "end": "2"}],
    }
    assert SPOT.on_control(orjson.dumps(status)).notices[0].text == "ongoing Upgrade 1 2"


# ---- captures ------------------------------------------------------------------------------------


def capture(tmp_path: Path, *lines: tuple[str, str, bytes]) -> Path:
    path = tmp_path / "capture.gz"
    with gzip.open(path, "wb") as out:
        for number, (channel, kind, payload) in enumerate(lines, 1):
            out.write(f"{number} {channel} {kind} ".encode() + payload + b"\n")
    return path


def test_lines_belong_to_the_venue_of_their_connection(tmp_path: Path) -> None:
    linear = bybit_book("BTCUSDT", 5, [("65114.20", "6.054")], kind="snapshot")
    spot = bybit_book("BTCUSDT", 5, [("65140.4", "0.885797")], kind="snapshot")
    path = capture(
        tmp_path,
        ("http:/v5/market/instruments-info?category=spot", "http", bybit_answer("spot", BYBIT_SPOT)),
        ("http:/v5/market/instruments-info?category=linear", "http", bybit_answer("linear", BYBIT_LINEAR)),
        ("a", "connect", b"wss://stream.bybit.com/v5/public/spot"),
        ("b", "connect", b"wss://stream.bybit.com/v5/public/linear"),
        ("c", "connect", b"wss://stream.bybit.com/v5/private"),
        ("a", "recv", spot),
        ("b", "recv", linear),
        ("c", "recv", linear),
        ("b", "connect", b"wss://stream.bybit.com/v5/public/linear"),
        ("b", "recv", linear),
    )
    router = CaptureRouter(get_adapters("bybit"))
    lines: list[CaptureLine] = list(read_capture(path, LINEAR))
    assert [router.route(line) for line in lines] == [
        Route(1, 0),
        Route(0, 0),
        Route(1, 0),
        Route(0, 0),
        None,
        Route(1, 0),
        Route(0, 0),
        None,
        Route(0, 0),
        Route(0, 0),
    ]
    (row,) = capture_instruments(path, LINEAR)
    assert (row.price_exponent, row.quantity_exponent, row.tick_size) == (2, 3, 10)
    (row,) = capture_instruments(path, SPOT)
    assert (row.price_exponent, row.quantity_exponent) == (1, 6)


def test_a_capture_without_instruments_shows_their_exponents(tmp_path: Path) -> None:
    path = capture(
        tmp_path,
        ("ws1", "recv", okx_book("A-USDT", 1, -1, [("1.25", "3")], [("1.3", "0.001")], action="snapshot")),
        ("ws2", "recv", okx_book("B-USDT-SWAP", 1, -1, [("100", "3")], action="snapshot")),
    )
    a, b = capture_instruments(path, OKX)
    assert (a.symbol, a.price_exponent, a.quantity_exponent, a.tick_size) == ("A-USDT", 2, 3, 5)
    assert (b.symbol, b.price_exponent, b.kind) == ("B-USDT-SWAP", 0, InstrumentKind.PERPETUAL)
    router = CaptureRouter([OKX])
    assert [router.route(line) for line in read_capture(path, OKX)] == [Route(0, 0), Route(0, 1)]


def test_a_tab_may_stand_behind_the_time(tmp_path: Path) -> None:
    path = tmp_path / "excerpt.tsv"
    path.write_bytes(b"5\t" + okx_book("A-USDT", 1, -1, [("1.25", "3")], action="snapshot") + b"\n")
    (line,) = read_capture(path, OKX)
    assert (line.recv_ns, line.kind) == (5, "ws")
    assert line.payload.startswith(b'{"arg"')
