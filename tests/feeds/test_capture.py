"""Captures are read exactly; damage is named with file and line."""

from __future__ import annotations

import gzip
from pathlib import Path

import orjson
import pytest

from feeds.capture import (
    capture_instruments,
    capture_venues,
    load_instruments,
    read_capture,
    scan_exponents,
    symbols_of,
)
from feeds.errors import CaptureError, ForeignCaptureError
from tests.kit.feed_rig import depth, snapshot_body, trade

FRAME = depth("BTCUSDT", 1, 2, 0)
SNAPSHOT = snapshot_body(5)


def write(path: Path, *lines: bytes, end: bytes = b"\n") -> Path:
    path.write_bytes(b"\n".join(lines) + end)
    return path


def test_the_short_form_tells_frames_from_snapshots(tmp_path: Path) -> None:
    path = write(tmp_path / "a", b"10 " + FRAME, b"20 " + SNAPSHOT, b"30 " + trade("BTCUSDT"))
    lines = list(read_capture(path, "binance_usdm"))
    assert [(x.recv_ns, x.kind, x.line) for x in lines] == [(10, "ws", 1), (20, "http", 2), (30, "ws", 3)]
    assert lines[0].payload == FRAME
    assert lines[1].payload == SNAPSHOT
    assert lines[1].path == "/fapi/v1/depth?symbol=BTCUSDT&limit=1000"


def test_a_snapshot_before_any_frame_gets_the_files_symbol(tmp_path: Path) -> None:
    path = write(tmp_path / "a", b"10 " + SNAPSHOT, b"20 " + FRAME)
    assert "symbol=BTCUSDT" in next(iter(read_capture(path))).path


def test_a_snapshot_without_symbol_in_a_file_of_two_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a", b"1 " + FRAME, b"2 " + depth("ETHUSDT", 1, 2, 0), b"3 " + SNAPSHOT)
    with pytest.raises(CaptureError, match=r"a:3: .*BTCUSDT, ETHUSDT"):
        list(read_capture(path))


def test_the_long_form(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a",
        b"1 ws1 connect wss://venue/stream?x=1",
        b"2 ws1 send {}",
        b"3 ws1 recv " + FRAME,
        b"4 http:/fapi/v1/depth?symbol=BTCUSDT&limit=5 http " + SNAPSHOT,
    )
    lines = list(read_capture(path))
    assert [(x.channel, x.kind, x.path) for x in lines] == [
        ("ws1", "connect", ""),
        ("ws1", "send", ""),
        ("ws1", "ws", ""),
        ("http:/fapi/v1/depth?symbol=BTCUSDT&limit=5", "http", "/fapi/v1/depth?symbol=BTCUSDT&limit=5"),
    ]


def test_gzip_and_plain_read_alike(tmp_path: Path) -> None:
    plain = write(tmp_path / "a", b"1 " + FRAME, b"2 " + SNAPSHOT)
    packed = tmp_path / "a.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert [x[:5] for x in read_capture(plain)] == [x[:5] for x in read_capture(packed)]


def test_files_are_merged_by_time_keeping_each_files_order(tmp_path: Path) -> None:
    one = write(tmp_path / "1", b"10 " + FRAME, b"30 " + FRAME)
    two = write(tmp_path / "2", b"20 " + FRAME, b"15 " + FRAME, b"40 " + FRAME)
    assert [x.recv_ns for x in read_capture([one, two])] == [10, 20, 15, 30, 40]


def test_a_garbage_frame_is_handed_on_as_it_stands(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a", b"1 " + FRAME, b'2 {"stream":"btcusdt@de', b"3 \xff\xfegarbage", b"4 " + FRAME
    )
    assert [x.payload for x in read_capture(path)][1:3] == [b'{"stream":"btcusdt@de', b"\xff\xfegarbage"]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"", "empty line"),
        (b"x {}", "expected a receive time"),
        (b"-5 {}", "expected a receive time"),
        (b"12345", "expected a receive time"),
        (b"99999999999999999999 {}", "expected a receive time"),
        (b"5 ", "no frame"),
    ],
)
def test_a_line_of_no_form_names_file_and_line(tmp_path: Path, line: bytes, text: str) -> None:
    path = write(tmp_path / "cap", b"1 " + FRAME, line, b"3 " + FRAME)
    reader = read_capture(path)
    assert next(reader).recv_ns == 1
    with pytest.raises(CaptureError, match=rf"cap:2: .*{text}") as caught:
        next(reader)
    assert caught.value.line == 2


def test_the_two_forms_do_not_mix(tmp_path: Path) -> None:
    path = write(tmp_path / "cap", b"1 ws1 recv " + FRAME, b"2 " + FRAME)
    with pytest.raises(CaptureError, match="cap:2: expected connection and kind"):
        list(read_capture(path))


def test_a_first_line_that_is_no_capture_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "cap", b"2024 minutes of a meeting")
    with pytest.raises(CaptureError, match="cap:1: neither JSON nor"):
        list(read_capture(path))


@pytest.mark.parametrize("cut", [1, 10, len(FRAME) - 3])
def test_a_capture_that_ends_inside_a_line_is_reported(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path / "cap", b"1 " + FRAME, b"2 " + FRAME[:-cut], end=b"")
    reader = read_capture(path)
    assert next(reader).line == 1
    with pytest.raises(CaptureError, match="cap:2: the capture ends in the middle of a line"):
        next(reader)


def test_a_last_line_that_is_whole_needs_no_newline(tmp_path: Path) -> None:
    path = write(tmp_path / "cap", b"1 " + FRAME, b"2 ws".replace(b" ws", b" ") + FRAME, end=b"")
    assert len(list(read_capture(path))) == 2


def test_a_cut_gzip_file_is_reported_after_what_it_holds(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(b"%d " % i + FRAME + b"\n" for i in range(1, 2001)))
    path = tmp_path / "cap.gz"
    path.write_bytes(whole[: len(whole) // 2])
    seen = 0
    with pytest.raises(CaptureError, match=r"cap.gz:\d+: the file ends early"):
        for _ in read_capture(path):
            seen += 1
    assert seen > 0


def test_a_cut_gzip_file_gives_what_it_holds_where_damage_is_told(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(b"%d " % i + FRAME + b"\n" for i in range(1, 2001)))
    path, told = tmp_path / "cap.gz", list[CaptureError]()
    path.write_bytes(whole[: len(whole) // 2])
    read = list(read_capture(path, None, told.append))
    assert [line.recv_ns for line in read] == list(range(1, len(read) + 1))
    assert len(read) > 10
    assert [error.text.partition(":")[0] for error in told] == ["the file ends early or is damaged"]
    path.write_bytes(whole[:12])
    with pytest.raises(CaptureError, match=r"cap.gz:1: the file ends early"):
        list(read_capture(path, None, told.append))


@pytest.mark.parametrize(
    ("head", "text"),
    [
        (b'{"version":2,"venue":"okx"}', "recorded in version 2 of the format; up to 1 can be read here"),
        (b'{"version":1,"venue":"nowhere"}', "recorded at 'nowhere'; known venues: binance_usdm, bybit_lin"),
    ],
)
def test_a_capture_that_can_not_be_judged_is_refused_whoever_hears_of_damage(
    head: bytes, text: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "cap", b"1 ringlane capture " + head, b"2 0 recv " + FRAME)
    with pytest.raises(ForeignCaptureError, match=f"cap:1: {text}"):
        list(read_capture(path, None, lambda _: None))
    with pytest.raises(ForeignCaptureError, match=f"cap:1: {text}"):
        capture_venues(path)


@pytest.mark.parametrize("head", [b"not json", b"[1]", b'{"version":"x","venue":"okx"}', b"{}"])
def test_a_damaged_first_line_is_damage_like_any_other(head: bytes, tmp_path: Path) -> None:
    path = write(tmp_path / "cap", b"1 ringlane capture " + head, b"2 0 recv " + FRAME)
    told: list[CaptureError] = []
    assert [line.recv_ns for line in read_capture(path, None, told.append)] == [2]
    assert "cap:1: not a recorder's first line" in str(told[0])
    assert capture_venues(path) == ["binance_usdm"]


def test_instrument_rows_of_no_venue_are_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "cap", b'1 ringlane instruments [{"symbol":"BTCUSDT"}]', b"2 0 recv " + FRAME)
    with pytest.raises(CaptureError, match="cap:1: instrument rows that can not be read: 'venue_id'"):
        capture_instruments(path, "binance_usdm")


def test_a_missing_file_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="nothere: can not be read: No such file"):
        list(read_capture(tmp_path / "nothere"))


def test_a_first_pass_finds_exponents_and_steps(tmp_path: Path) -> None:
    path = write(
        tmp_path / "cap",
        b"1 " + depth("BTCUSDT", 1, 2, 0, [["100.10", "1.5"]], [["100.30", "0.000"]]),
        b"2 " + trade("BTCUSDT", price="100.2", quantity="0.500"),
        b"3 {not json",
        b"4 " + snapshot_body(5, [["99.00", "2.000"]], []),
    )
    (row,) = scan_exponents(path, "binance_usdm")
    assert (row.symbol, row.canonical, row.price_exponent, row.quantity_exponent) == (
        "BTCUSDT",
        "BTC-USDT-PERP",
        2,
        3,
    )
    assert (row.tick_size, row.lot_size) == (10, 500)


def test_a_capture_without_market_data_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "cap", b'1 {"result":null,"id":1}')
    with pytest.raises(CaptureError, match="no market data of binance_usdm"):
        scan_exponents(path, "binance_usdm")


def test_an_instruments_file_of_rows(tmp_path: Path) -> None:
    capture = write(tmp_path / "cap", b"1 " + FRAME)
    rows = tmp_path / "rows.json"
    rows.write_bytes(orjson.dumps([{"symbol": "BTCUSDT", "price_exponent": 4, "quantity_exponent": 5}]))
    (row,) = capture_instruments(capture, "binance_usdm", rows)
    assert (row.price_exponent, row.quantity_exponent, row.venue_id) == (4, 5, 1)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"nonsense", "not JSON"),
        (b"{}", "not an exchangeInfo answer"),
        (b'[{"symbol": "X"}]', "missing fields"),
        (b'[{"symbol": "X", "price_exponent": 1, "quantity_exponent": 1, "prcie": 2}]', "unknown fields"),
        (b"[7]", "expected an object"),
    ],
)
def test_a_wrong_instruments_file_is_named(tmp_path: Path, content: bytes, text: str) -> None:
    rows = tmp_path / "rows.json"
    rows.write_bytes(content)
    with pytest.raises(CaptureError, match=rf"rows.json: .*{text}"):
        load_instruments(rows, "binance_usdm")


def test_an_instruments_file_that_lacks_a_symbol_of_the_capture(tmp_path: Path) -> None:
    capture = write(tmp_path / "cap", b"1 " + FRAME)
    rows = tmp_path / "rows.json"
    rows.write_bytes(orjson.dumps([{"symbol": "ETHUSDT", "price_exponent": 4, "quantity_exponent": 5}]))
    with pytest.raises(CaptureError, match=r"rows.json: .*without any symbol of the capture \(BTCUSDT\)"):
        capture_instruments(capture, "binance_usdm", rows)


def test_recorded_instrument_data_is_used(market_data: Path) -> None:
    path = market_data / "binance" / "usdm_4_symbols_20210722.gz"
    rows = capture_instruments(path, "binance_usdm")
    assert symbols_of(rows) == ["AKROUSDT", "CTKUSDT", "KEEPUSDT", "SUSHIUSDT"]
    assert [(r.price_exponent, r.tick_size, r.quantity_exponent) for r in rows] == [
        (5, 1, 0), (5, 100, 0), (4, 1, 0), (4, 10, 0),
    ]  # fmt: skip
    scanned = scan_exponents(path, "binance_usdm")
    assert [(r.symbol, r.price_exponent, r.quantity_exponent) for r in scanned] == [
        (r.symbol, r.price_exponent, r.quantity_exponent) for r in rows
    ]
    assert [r.symbol for r in load_instruments(path, "binance_usdm")][0:1] == ["BTCUSDT"]


def test_damaged_lines_can_be_told_instead_of_ending_the_reading(tmp_path: Path) -> None:
    path = write(tmp_path / "cap", b"1 " + FRAME, b"", b"x", b"4 " + FRAME, b"5 " + FRAME[:-9], end=b"")
    told: list[CaptureError] = []
    assert [x.line for x in read_capture(path, "binance_usdm", told.append)] == [1, 4]
    assert [(e.line, e.path) for e in told] == [(2, str(path)), (3, str(path)), (5, str(path))]


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"", "the file is empty"), (b"x\ny\n", "not one line of it can be read; expected a receive time")],
)
def test_a_file_without_one_good_line_is_an_error_all_the_same(
    tmp_path: Path, content: bytes, text: str
) -> None:
    (tmp_path / "cap").write_bytes(content)
    with pytest.raises(CaptureError, match=text):
        list(read_capture(tmp_path / "cap", "binance_usdm", lambda _: None))


def test_symbols_without_instrument_data_are_left_out(tmp_path: Path) -> None:
    capture = write(tmp_path / "cap", b"1 " + FRAME, b"2 " + depth("ETHUSDT", 1, 2, 0))
    rows = tmp_path / "rows.json"
    rows.write_bytes(orjson.dumps([{"symbol": "ETHUSDT", "price_exponent": 4, "quantity_exponent": 5}]))
    assert symbols_of(capture_instruments(capture, "binance_usdm", rows)) == ["ETHUSDT"]
