"""Replay of captures of several venues: the same code, merged by receive time, books as the venues say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from feeds.adapter import VenueAdapter
from feeds.capture import read_capture
from feeds.routing import CaptureRouter
from feeds.venues import get_adapters
from tests.feeds.test_recorded_streams import bybit_depth, listed, okx_depth, plain, rebuild
from tests.kit.books import rebuild as rebuild_joined
from tools.cli import main

THREE_LINES = "okx/okx_v5_20210722_three_lines.gz"
OKX = "okx/okx_v5_20220227.gz"
BYBIT = "bybit/bybit_v5_20260809.gz"
JOINED = "binance/usdm_4_symbols_20210722.gz"


def replayed(tmp_path: Path, *arguments: object) -> list[dict[str, Any]]:
    """The final books of a replay without a strategy."""
    out = tmp_path / "books.json"
    assert main(["replay", *map(str, arguments), "--books", str(out), "--strategy", "none"]) == 0
    return list(orjson.loads(out.read_bytes()))


def answer_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert main(["replay", "--json", *map(str, arguments)]) == 0
    return dict(orjson.loads(capsys.readouterr().out))


def naive(path: Path, adapters: list[VenueAdapter]) -> dict[tuple[str, str], Any]:
    """(venue, symbol) → book of a naive rebuild, of everything in a capture."""
    router = CaptureRouter(adapters)
    depths: dict[str, list[Any]] = {adapter.name: [] for adapter in adapters}
    for line in read_capture(path, adapters[0]):
        route = router.route(line)
        if route is not None and line.kind == "ws":
            name = adapters[route.venue].name
            depth = (okx_depth if name == "okx" else bybit_depth)(line.payload)
            depths[name] += [] if depth is None else [depth]
    return {
        (name, symbol): listed(book)
        for name, found in depths.items()
        for symbol, book in rebuild(iter(found)).items()
    }


def plain_sides(book: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
    return {side: [(plain(p), plain(q)) for p, q in book[side]] for side in ("bids", "asks")}


@pytest.mark.parametrize(("name", "family"), [(THREE_LINES, "okx"), (OKX, "okx"), (BYBIT, "bybit")])
def test_final_books_equal_a_naive_rebuild(name: str, family: str, market_data: Path, tmp_path: Path) -> None:
    path = market_data / name
    books = replayed(tmp_path, path, "--venue", family)
    expected = naive(path, get_adapters(family))
    assert {(book["venue"], book["symbol"]): plain_sides(book) for book in books} == expected
    assert all(book["state"] == "LIVE" for book in books)


def test_one_subscription_on_three_lines_is_one_history_without_a_gap(
    market_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = answer_of(capsys, market_data / THREE_LINES, "--venue", "okx")
    found = answer["venues"]["okx"]
    assert answer["gaps"] == []
    assert answer["feed"]["checksum_errors"] == answer["rejected"] == answer["feed"]["resubscribes"] == 0
    assert answer["feed"]["books"] + answer["feed"]["stream_snapshots"] >= 1_494, "each distinct update, once"
    lines = found["connections"]
    assert len(lines) == 3
    assert sum(line["frames"] for line in lines) == answer["frames"] == 4_709
    assert all(line["won"] + line["late"] <= line["frames"] for line in lines)
    assert min(line["late"] for line in lines) > 0, "no line was always first"


def test_captures_of_three_venues_are_one_replay_and_the_captures_say_whose_they_are(
    market_data: Path, tmp_path: Path
) -> None:
    files = [market_data / name for name in (BYBIT, OKX, JOINED)]
    books = replayed(tmp_path, *files)
    expected = {
        **naive(files[0], get_adapters("bybit")),
        **naive(files[1], get_adapters("okx")),
        **{("binance_usdm", book["symbol"]): plain_sides(book) for book in rebuild_joined([files[2]])},
    }
    assert {(book["venue"], book["symbol"]): plain_sides(book) for book in books} == expected


def test_replays_of_several_venues_have_one_hash_and_orders_of_all(
    market_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [market_data / BYBIT, market_data / JOINED, "--venue", "bybit", "--venue", "binance_usdm"]
    one, two = answer_of(capsys, *arguments), answer_of(capsys, *arguments)
    assert one["hash"] == two["hash"]
    assert one["orders"]["fills"] > 0
    assert one["venue"] == "bybit_linear bybit_spot binance_usdm"
    assert one["frames"] == sum(found["frames"] for found in one["venues"].values())
    assert "bybit_spot:BTCUSDT" in one["states"] and "bybit_linear:BTCUSDT" in one["states"]


def test_a_capture_of_none_of_the_venues_asked_for_is_an_error(
    market_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(market_data / BYBIT), str(market_data / JOINED)]
    assert main(["replay", *files, "--venue", "okx", "--venue", "binance_usdm"]) == 2
    assert "no market data of okx, binance_usdm in the capture" in capsys.readouterr().err
