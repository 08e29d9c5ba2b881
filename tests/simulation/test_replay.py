"""Replay of recorded frames: books against a naive rebuild, equal hashes, gaps named, precise errors."""

from __future__ import annotations

import gzip
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from tools.cli import main
from tools.replay import Replay, ReplaySettings

VENUE = "binance_usdm"
FOUR = "usdm_4_symbols_20210722.gz"
BTC = "usdm_btcusdt_20240808.gz"


def lines_of(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """(request path or "", JSON) of every received line, read without any code of ours."""
    found = []
    with gzip.open(path, "rb") as stream:
        for line in stream:
            _, rest = line.rstrip(b"\n").split(b" ", 1)
            if rest.startswith(b"{"):
                found.append(("", orjson.loads(rest)))
                continue
            channel, kind, text = rest.split(b" ", 2)
            if kind in (b"recv", b"http"):
                found.append(
                    (channel.decode().removeprefix("http:") if kind == b"http" else "", orjson.loads(text))
                )
    return found


def naive_books(path: Path) -> dict[str, dict[str, Any]]:
    """The venue's rule with dictionaries of decimal strings: buffer, snapshot, drop u < id, then in order."""
    books: dict[str, dict[str, Any]] = {}
    buffers: dict[str, list[dict[str, Any]]] = {}
    lines = lines_of(path)
    only = {d["data"]["s"] for _, d in lines if d.get("data", {}).get("e") == "depthUpdate"}

    def apply(book: dict[str, Any], diff: dict[str, Any]) -> None:
        for side, key in (("bids", "b"), ("asks", "a")):
            for price, quantity in diff[key]:
                if Decimal(quantity):
                    book[side][price] = quantity
                else:
                    book[side].pop(price, None)
        book["last"] = diff["u"]

    for request, data in lines:
        if "lastUpdateId" in data:
            symbol = request.split("symbol=")[1].split("&")[0] if request else next(iter(only))
            book = {"bids": dict(data["bids"]), "asks": dict(data["asks"]), "last": data["lastUpdateId"]}
            for diff in buffers.pop(symbol, []):
                if diff["u"] >= data["lastUpdateId"]:
                    apply(book, diff)
            books[symbol] = book
        elif data.get("data", {}).get("e") == "depthUpdate":
            diff = data["data"]
            book = books.get(diff["s"])
            if book is not None:
                if diff["u"] >= book["last"]:  # older ones are in the snapshot already
                    apply(book, diff)
            else:
                buffers.setdefault(diff["s"], []).append(diff)
    return books


def side(levels: dict[str, str], *, best_first: bool) -> list[list[str]]:
    return [[p, q] for p, q in sorted(levels.items(), key=lambda item: Decimal(item[0]), reverse=best_first)]


@pytest.mark.parametrize("name", [FOUR, BTC])
def test_final_books_equal_a_naive_rebuild_to_the_last_digit(
    name: str, market_data: Path, tmp_path: Path
) -> None:
    path = market_data / "binance" / name
    out = tmp_path / "books.json"
    assert main(["replay", "--venue", VENUE, str(path), "--books", str(out), "--strategy", "none"]) == 0
    books = {book["symbol"]: book for book in orjson.loads(out.read_bytes())}
    naive = naive_books(path)
    assert books.keys() >= naive.keys() and naive
    for symbol, expected in naive.items():
        book = books[symbol]
        assert (book["venue"], book["state"], book["last_sequence"]) == (VENUE, "LIVE", expected["last"])
        assert book["bids"] == side(expected["bids"], best_first=True)
        assert book["asks"] == side(expected["asks"], best_first=False)


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


def cut(path: Path, target: Path, drop: int) -> tuple[str, int, int]:
    """The capture without its `drop`-th depth diff: (symbol, expected, previous found)."""
    seen = 0
    lost: dict[str, Any] | None = None
    found = ("", 0, 0)
    with gzip.open(path, "rb") as stream, target.open("wb") as out:
        for line in stream:
            text = line[line.find(b"{") :]
            data = orjson.loads(text).get("data", {}) if text.startswith(b"{") else {}
            if data.get("e") == "depthUpdate":
                seen += 1
                if seen == drop:
                    lost = data
                    continue
                if lost is not None and not found[0] and data["s"] == lost["s"]:
                    found = (data["s"], lost["pu"], data["pu"])
            out.write(line)
    return found


def test_a_gap_is_reported_with_both_sequences_and_the_book_is_not_live(
    market_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "gap.txt"
    symbol, expected, previous = cut(market_data / "binance" / FOUR, target, 300)
    assert main(["replay", "--venue", VENUE, str(target), "--json"]) == 0
    answer = orjson.loads(capsys.readouterr().out)
    (gap,) = answer["gaps"]
    assert (gap["symbol"], gap["expected"], gap["previous_sequence"]) == (symbol, expected, previous)
    assert answer["states"][symbol] != "LIVE"
    assert main(["replay", "--venue", VENUE, str(target)]) == 0
    text = capsys.readouterr().out
    assert str(expected) in text
    assert str(previous) in text


def test_garbage_frames_are_kept_and_named(market_data: Path, tmp_path: Path) -> None:
    lines = gzip.decompress((market_data / "binance" / FOUR).read_bytes()).splitlines(keepends=True)
    whole = next(line for line in lines if b'"depthUpdate"' in line)
    stamp, channel, kind, text = whole.rstrip(b"\n").split(b" ", 3)
    broken = b" ".join((stamp, channel, kind, text[: len(text) // 2])) + b"\n"
    at = len(lines) - 5
    target = tmp_path / "garbage.txt"
    target.write_bytes(b"".join([*lines[:at], broken, *lines[at:]]))
    answer = Replay(ReplaySettings(VENUE, (target,), strategy="")).run()
    assert answer.feed["rejected"] >= 1
    assert answer.rejections
    assert answer.rejections[-1].error
    assert answer.lines == sum(1 for line in lines if b" recv " in line) + 1


@pytest.mark.parametrize(("arguments", "what"), [
    (["--venue", "nowhere", "x"], "unknown venue 'nowhere'"),
    (["--venue", VENUE, "/nonexistent/file"], "/nonexistent/file"),
    (["--venue", VENUE, "FILE", "--strategy", "no_such"], "unknown role 'no_such'"),
    (["--venue", VENUE, "FILE", "--settings", '{"quantitty": "1"}'], "unknown setting 'quantitty'"),
    (["--venue", VENUE, "FILE", "--settings", "[1]"], "not a JSON object"),
    (["--venue", VENUE, "CUT"], "ends in the middle of a line"),
])  # fmt: skip
def test_a_users_mistake_is_one_precise_line(
    arguments: list[str], what: str, market_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = gzip.decompress((market_data / "binance" / FOUR).read_bytes())
    (tmp_path / "cut.txt").write_bytes(data[: data.rindex(b"\n") - 20])
    names = {"FILE": str(market_data / "binance" / FOUR), "CUT": str(tmp_path / "cut.txt")}
    assert main(["replay", *(names.get(a, a) for a in arguments)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ringlane: error: ")
    assert error.count("\n") == 1
    assert what in error


def test_the_clock_free_parts_do_not_depend_on_the_machine(market_data: Path) -> None:
    settings = ReplaySettings(VENUE, (market_data / "binance" / FOUR,), gateway={"entry_latency_us": 500})
    one, two = Replay(settings).run(), Replay(settings).run()
    assert one.digest == two.digest
    assert one.positions == two.positions
    assert one.counters["fills"] > 0
