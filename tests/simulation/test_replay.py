"""Replay of recorded frames: books against a naive rebuild, equal hashes, gaps named, precise errors."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.kit.books import rebuild
from tools.cli import main
from tools.replay import Replay, ReplaySettings
from tools.verbs.replay import to_json

VENUE = "binance_usdm"
FOUR = "usdm_4_symbols_20210722.gz"
BTC = "usdm_btcusdt_20240808.gz"


ETH = "usdm_ethusdt_20240808.gz"


def lines_of(path: Path) -> list[bytes]:
    """Lines of a capture, without their ends."""
    return gzip.decompress(path.read_bytes()).splitlines()


def write(path: Path, lines: Iterable[bytes], end: bytes = b"\n") -> Path:
    path.write_bytes(b"\n".join(lines) + end)
    return path


def depth_of(line: bytes) -> dict[str, Any]:
    """The depth update in a line, {} if it holds none."""
    if b"depthUpdate" not in line:
        return {}
    return dict(orjson.loads(line[line.index(b"{") :])["data"])


def answer_of(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> dict[str, Any]:
    """What `replay --json` prints, its exit code checked."""
    assert main(["replay", "--venue", VENUE, "--json", *map(str, arguments)]) == code
    return dict(orjson.loads(capsys.readouterr().out))


@pytest.mark.parametrize("name", [FOUR, BTC, pytest.param(ETH, marks=pytest.mark.prove)])
def test_final_books_equal_a_naive_rebuild_to_the_last_digit(
    name: str, market_data: Path, tmp_path: Path
) -> None:
    path = market_data / "binance" / name
    out = tmp_path / "books.json"
    assert main(["replay", "--venue", VENUE, str(path), "--books", str(out), "--strategy", "none"]) == 0
    expected = rebuild([path])
    assert orjson.loads(out.read_bytes()) == expected
    assert all(book["state"] == "LIVE" and book["bids"] and book["asks"] for book in expected)


def test_an_instruments_file_gives_the_same_books(market_data: Path, tmp_path: Path) -> None:
    """Exponents from a file, the capture itself without instrument data; plain text instead of gzip."""
    path = market_data / "binance" / FOUR
    lines = lines_of(path)
    info = next(line for line in lines if b"/fapi/v1/exchangeInfo" in line[:80])
    bare = write(tmp_path / "bare.txt", [line for line in lines if line is not info])
    body = tmp_path / "info.json"
    body.write_bytes(info[info.index(b"{") :])
    out = tmp_path / "books.json"
    arguments = [str(bare), "--books", str(out), "--strategy", "none", "--instruments", str(body)]
    assert main(["replay", "--venue", VENUE, *arguments]) == 0
    assert orjson.loads(out.read_bytes()) == rebuild([path])


def test_three_replays_with_one_seed_have_one_hash(
    market_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = market_data / "binance" / FOUR
    answers = []
    for _ in range(3):
        assert main(["replay", "--venue", VENUE, str(path), "--seed", "5", "--json"]) == 0
        answers.append(orjson.loads(capsys.readouterr().out))
    assert len({answer["hash"] for answer in answers}) == 1
    answer = answers[0]
    assert answer["orders"]["fills"] > 0
    assert answer["orders"]["intents"] > answer["orders"]["fills"]
    assert answer["gaps"] == []
    assert answer["faults"] == []
    pnl = Decimal(answer["realized"]) + Decimal(answer["unrealized"]) - Decimal(answer["fees"])
    assert Decimal(answer["pnl"]) == pnl


def test_the_text_answer_shows_orders_money_and_hash(
    market_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", "--venue", VENUE, str(market_data / "binance" / FOUR)]) == 0
    text = capsys.readouterr().out
    for word in ("1535 frames", "LIVE", "gaps: 0", "rejected: 0", "PnL", "hash "):
        assert word in text


def without_diff(lines: list[bytes], number: int) -> tuple[list[bytes], str, int, int]:
    """The lines without their `number`-th depth update: (lines, symbol, expected, previous found)."""
    diffs = [(index, data) for index, line in enumerate(lines) if (data := depth_of(line))]
    at, lost = diffs[number]
    following = next(data for index, data in diffs[number + 1 :] if data["s"] == lost["s"])
    return [*lines[:at], *lines[at + 1 :]], lost["s"], lost["pu"], following["pu"]


def test_a_gap_is_reported_with_both_sequences_and_the_book_is_not_live(
    market_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines, symbol, expected, previous = without_diff(lines_of(market_data / "binance" / FOUR), 300)
    target = write(tmp_path / "gap.txt", lines)
    out = tmp_path / "books.json"
    answer = answer_of(capsys, target, "--books", out)
    (gap,) = answer["gaps"]
    assert (gap["symbol"], gap["expected"], gap["previous_sequence"]) == (symbol, expected, previous)
    assert answer["states"][symbol] != "LIVE"
    books = {book["symbol"]: book for book in orjson.loads(out.read_bytes())}
    assert books[symbol]["state"] != "LIVE"
    assert [s for s, book in books.items() if book["state"] == "LIVE"] == sorted(set(books) - {symbol})
    assert main(["replay", "--venue", VENUE, str(target)]) == 0
    text = capsys.readouterr().out
    assert f"{symbol}: gap: expected an update after {expected}, got " in text
    assert f" after {previous}" in text


def test_a_later_snapshot_proves_the_book_again(
    market_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Behind the gap the capture holds a snapshot again: LIVE at the end and equal to the naive rebuild."""
    path = market_data / "binance" / FOUR
    whole = lines_of(path)
    lines, symbol, _, _ = without_diff(whole, 300)
    middle = len(lines) - len(lines) // 4
    state = next(b for b in rebuild([write(tmp_path / "part.txt", whole[:middle])]) if b["symbol"] == symbol)
    body = {"lastUpdateId": state["last_sequence"], "bids": state["bids"], "asks": state["asks"]}
    stamp = lines[middle].split(b" ", 1)[0]
    request = f"http:/fapi/v1/depth?symbol={symbol}&limit=1000 http ".encode()
    lines.insert(middle - 1, stamp + b" " + request + orjson.dumps(body))
    target = write(tmp_path / "healed.txt", lines)
    out = tmp_path / "books.json"
    answer = answer_of(capsys, target, "--books", out, "--strategy", "none")
    assert len(answer["gaps"]) == 1
    assert answer["states"][symbol] == "LIVE"
    assert orjson.loads(out.read_bytes()) == rebuild([path])


# ---- bad input -----------------------------------------------------------------------------------


def test_symbols_without_instrument_data_are_named_with_their_counts_and_the_rest_is_replayed(
    market_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = market_data / "binance" / FOUR
    lines = lines_of(path)
    at = next(i for i, line in enumerate(lines) if b"/fapi/v1/exchangeInfo" in line[:80])
    head, _, text = lines[at].partition(b"{")
    info = orjson.loads(b"{" + text)
    books = rebuild([path])
    lost = books[1]["symbol"]
    info["symbols"] = [row for row in info["symbols"] if row["symbol"] != lost]
    lines[at] = head + orjson.dumps(info)
    count = sum(b'"s":"%s"' % lost.encode() in line and b'"e":"kline"' not in line for line in lines)
    target, out = write(tmp_path / "lacks.txt", lines), tmp_path / "books.json"
    answer = answer_of(capsys, target, "--books", out, "--strategy", "none")
    assert answer["unknown_symbols"] == {lost: count}
    assert answer["unknown_snapshots"] == {lost: 1}
    assert orjson.loads(out.read_bytes()) == [book for book in books if book["symbol"] != lost]
    assert main(["replay", "--venue", VENUE, str(target), "--strategy", "none"]) == 0
    assert f"{lost}: {count} frames, 1 snapshots" in capsys.readouterr().out
    rows = tmp_path / "rows.json"
    rows.write_bytes(orjson.dumps(info))
    again = answer_of(capsys, path, "--instruments", rows, "--strategy", "none")
    assert again["unknown_symbols"] == {lost: count}


def damaged_diff(lines: list[bytes], number: int, change: Callable[[bytes], bytes]) -> tuple[int, str]:
    """Change one depth update in place; returns its line number (from 1) and symbol."""
    at = [index for index, line in enumerate(lines) if depth_of(line)][number]
    symbol = str(depth_of(lines[at])["s"])
    lines[at] = change(lines[at])
    return at + 1, symbol


def too_fine(line: bytes) -> bytes:
    at = line.index(b'["', line.index(b"depthUpdate")) + 2
    end = line.index(b'"', at)
    return line[:end] + b"00001" + line[end:]


def test_a_level_that_does_not_fit_is_named_with_its_place_and_the_book_is_not_live(
    market_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = lines_of(market_data / "binance" / FOUR)
    number, symbol = damaged_diff(lines, 200, too_fine)
    target = write(tmp_path / "fine.txt", lines)
    answer = answer_of(capsys, target, "--strategy", "none")
    assert answer["rejected"] == 1
    (kept,) = answer["rejections"]
    assert (kept["file"], kept["line"]) == (str(target), number)
    assert symbol in kept["error"]
    assert "00001" in kept["error"]
    assert answer["feed"]["bad_levels"] == 1
    assert answer["states"][symbol] != "LIVE"
    assert sum(state == "LIVE" for state in answer["states"].values()) == 3
    assert main(["replay", "--venue", VENUE, str(target), "--strategy", "none"]) == 0
    assert f"{target}:{number}: 2021-07-2" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line[: len(line) // 2],
        lambda line: line[: line.index(b"recv ") + 5] + b"\xff\xfe\x00 garbage",
        lambda line: line.replace(b'"u":', b'"u":"x', 1),
        lambda line: line.replace(b'"b":[', b'"b":{', 1),
    ],
)
def test_a_truncated_or_garbage_update_is_kept_with_its_place_and_shows_as_a_gap(
    market_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[bytes], bytes]
) -> None:
    lines = lines_of(market_data / "binance" / FOUR)
    frames = sum(b" recv " in line for line in lines)
    number, symbol = damaged_diff(lines, 200, change)
    target = write(tmp_path / "garbage.txt", lines)
    answer = answer_of(capsys, target, "--strategy", "none")
    assert (answer["rejected"], answer["frames"]) == (1, frames)
    assert [(r["file"], r["line"]) for r in answer["rejections"]] == [(str(target), number)]
    assert [gap["symbol"] for gap in answer["gaps"]] == [symbol]
    assert answer["states"][symbol] != "LIVE"


ODD_FRAMES = [
    b'{"stream":"x@depth","data":{"e":"depthUpdate","s":7,"b":5,"a":null}}',
    b'{"data":{"lastUpdateId":1,"bids":7}}',
    b'{"lastUpdateId":1,"bids":7,"asks":[[]]}',
    b'{"data":{"e":"depthUpdate","s":"' + b"A" * 99 + b'","b":[["1","1"]],"a":[]}}',
    b'{"data":{"e":"bookTicker","s":"BTCUSDT","b":1,"B":[],"a":{},"A":null}}',
    b'{"data":{"e":"aggTrade","s":"\xc3\xa4","p":"1","q":"1"}}',
    b'{"s":"BTCU',
    b"[[[[[[",
    b"{}",
    b'{"e":"depthUpdate","s":"BTCUSDT","U":1e999,"u":-1,"pu":9223372036854775808,"b":[],"a":[]}',
]


COUNTED = ("rejected", "unknown_symbols", "control", "snapshots_ignored", "duplicates")


@pytest.fixture(scope="module")
def clean(market_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[bytes], int]:
    """Lines of a capture without instrument data, and how many of its frames are counted as odd."""
    lines = lines_of(market_data / "binance" / BTC)[:3000]
    file = write(tmp_path_factory.mktemp("clean") / "clean.txt", lines)
    result = to_json(0, Replay(ReplaySettings(VENUE, (file,), strategy="")).run(), 0.0)
    assert result["states"]["BTCUSDT"] == "LIVE"
    return lines, sum(result["feed"][name] for name in COUNTED)


@pytest.mark.parametrize("frame", ODD_FRAMES)
def test_no_frame_of_any_shape_ends_a_replay(
    clean: tuple[list[bytes], int], tmp_path: Path, capsys: pytest.CaptureFixture[str], frame: bytes
) -> None:
    """Without instrument data the first pass sees it too."""
    lines, odd = clean
    stamp = lines[2000].split(b" ", 1)[0]
    target = write(tmp_path / "odd.txt", [*lines[:2000], stamp + b" " + frame, *lines[2000:]])
    answer = answer_of(capsys, target, "--strategy", "none")
    assert answer["states"]["BTCUSDT"] == "LIVE"
    assert sum(answer["feed"][name] for name in COUNTED) == odd + 1, "never skipped silently"


def test_a_capture_that_ends_inside_a_line_is_replayed_up_to_there(
    market_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = lines_of(market_data / "binance" / FOUR)
    target = write(tmp_path / "cut.txt", [*lines[:-1], lines[-1][:-20]], end=b"")
    whole = write(tmp_path / "whole.txt", lines[:-1])
    expected = answer_of(capsys, whole)
    assert main(["replay", "--venue", VENUE, "--json", str(target)]) == 1
    said = capsys.readouterr()
    answer = orjson.loads(said.out)
    assert (answer["hash"], answer["frames"]) == (expected["hash"], expected["frames"])
    place = f"{target}:{len(lines)}: the capture ends in the middle of a line"
    assert answer["damaged_lines"] == 1
    assert answer["damage"][0].startswith(place)
    assert said.err.startswith(f"ringlane: error: damaged capture, the rest was replayed: {place}")
    assert said.err.count("\n") == 1


def test_a_compressed_capture_that_is_cut_off_is_replayed_up_to_there(
    market_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = (market_data / "binance" / FOUR).read_bytes()
    cut = tmp_path / "cut.gz"
    cut.write_bytes(packed[: len(packed) // 2])
    whole = answer_of(capsys, write(tmp_path / "whole.txt", lines_of(market_data / "binance" / FOUR)))
    assert main(["replay", "--venue", VENUE, "--json", str(cut)]) == 1
    said = capsys.readouterr()
    answer = orjson.loads(said.out)
    assert 0 < answer["frames"] < whole["frames"]
    assert answer["damaged_lines"] == 1
    assert "the file ends early or is damaged" in said.err
    assert said.err.count("\n") == 1


def test_lines_of_no_form_are_counted_and_named_and_the_rest_is_replayed(
    market_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = lines_of(market_data / "binance" / FOUR)
    expected = answer_of(capsys, write(tmp_path / "whole.txt", lines))
    for at, text in ((1200, b"0 ws1 recv {}"), (900, b"9" * 25 + b" x"), (600, b""), (300, b"\x00\xff")):
        lines.insert(at, text)
    answer = answer_of(capsys, write(tmp_path / "holes.txt", lines), code=1)
    assert (answer["hash"], answer["damaged_lines"]) == (expected["hash"], 4)
    assert [int(text.split(":")[1]) for text in answer["damage"]] == [301, 602, 903, 1204]


def test_a_pause_of_years_or_a_stamp_that_runs_backwards_does_not_hang_the_replay(
    market_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = lines_of(market_data / "binance" / FOUR)
    lines.insert(300, b"5 ws1 recv {}")
    lines.append(b"9223372036854775807 ws1 recv {}")
    answer = answer_of(capsys, write(tmp_path / "leap.txt", lines))
    assert answer["pauses"] == 1
    assert set(answer["states"].values()) == {"LIVE"}


@pytest.mark.parametrize(("arguments", "what"), [
    (["--venue", "nowhere", "x"], "unknown venue 'nowhere'"),
    (["--venue", VENUE, "/nonexistent/file"], "/nonexistent/file"),
    (["--venue", VENUE, "FILE", "--strategy", "no_such"], "unknown role 'no_such'"),
    (["--venue", VENUE, "FILE", "--settings", '{"quantitty": "1"}'], "unknown setting 'quantitty'"),
    (["--venue", VENUE, "FILE", "--settings", "[1]"], "not a JSON object"),
    (["--venue", VENUE, "EMPTY"], "empty: the file is empty"),
    (["--venue", VENUE, "BINARY"], "binary:1: no capture: not one line of it can be read"),
    (["--venue", VENUE, "FOLDER"], "is not a regular file"),
    (["--venue", VENUE, "/dev/zero"], "is not a regular file"),
    (["--venue", VENUE, "OTHER"], "no market data of binance_usdm in the capture"),
    (["--venue", VENUE, "FILE", "--instruments", "BINARY"], "not JSON, and no capture with instrument data"),
    (["--venue", VENUE, "FILE", "--instruments", "/nonexistent/rows"], "/nonexistent/rows"),
    (["--venue", VENUE, "FILE", "--instruments", "ROWS"], "instrument data without any symbol"),
    (["--venue", VENUE, "FILE", "--books", "FOLDER"], "is a folder"),
    (["--venue", VENUE, "FILE", "--books", "/nonexistent/books.json"], "no such folder"),
])  # fmt: skip
def test_a_users_mistake_is_one_precise_line(
    arguments: list[str], what: str, market_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contents = {
        "EMPTY": b"", "BINARY": bytes(range(256)) * 50,
        "OTHER": b'5 {"arg":{"channel":"books"},"data":[]}\n',
        "ROWS": b'[{"symbol":"NOPE","price_exponent":2,"quantity_exponent":3}]',
    }  # fmt: skip
    names = {"FILE": str(market_data / "binance" / FOUR), "FOLDER": str(tmp_path)}
    for name, content in contents.items():
        path = tmp_path / name.lower()
        path.write_bytes(content)
        names[name] = str(path)
    assert main(["replay", *(names.get(a, a) for a in arguments)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ringlane: error: ")
    assert error.count("\n") == 1
    assert what in error


LATE = {
    "entry_latency": "lognormal:2ms:0.8",
    "response_latency": "lognormal:1ms:0.8",
    "feed_latency": "stamps:1ms",
}


@pytest.mark.parametrize(
    "model", ["no_queue", "risk_averse", "probability:power:2", "probability:power3:3", "probability:log"]
)
def test_fills_repeat_for_a_capture_a_seed_and_a_queue_model_and_no_further(
    model: str, market_data: Path
) -> None:
    def run(seed: int = 1, gateway: dict[str, str] = LATE) -> tuple[str, bytes]:
        files = (market_data / "binance" / FOUR,)
        settings = ReplaySettings(VENUE, files, seed=seed, gateway={"queue_model": model, **gateway})
        result = Replay(settings).run()
        assert result.counters["fills"] > 0
        return result.digest, orjson.dumps(to_json(seed, result, 0.0))

    one = run()
    assert one == run()
    assert one[0] not in (run(2)[0], run(1, {})[0])


def test_an_order_fills_the_more_the_less_is_ahead_of_it(market_data: Path) -> None:
    def fills(model: str) -> int:
        files = (market_data / "binance" / FOUR,)
        return Replay(ReplaySettings(VENUE, files, gateway={"queue_model": model})).run().counters["fills"]

    assert fills("no_queue") > fills("risk_averse") > 0


def test_the_clock_free_parts_do_not_depend_on_the_machine(market_data: Path) -> None:
    settings = ReplaySettings(VENUE, (market_data / "binance" / FOUR,), gateway={"entry_latency": "500us"})
    one, two = Replay(settings).run(), Replay(settings).run()
    assert one.digest == two.digest
    assert one.positions == two.positions
    assert one.counters["fills"] > 0
