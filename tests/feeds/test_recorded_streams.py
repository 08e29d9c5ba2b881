"""Real captures of OKX and Bybit: books equal to a naive rebuild, gaps reported, checksums verified."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import orjson
import pytest

from feeds.capture import CaptureLine, capture_instruments, read_capture
from feeds.routing import CaptureRouter
from feeds.session import FeedSession
from feeds.venues import get_adapters
from shm.enums import BookState
from shm.instruments import Instrument
from shm.units import format_units
from tests.kit.feed_kit import recorded
from tests.kit.feed_rig import Rig
from tests.kit.stream_frames import okx_book

OKX_FILES = ("okx/okx_v5_20220227.gz", "okx/okx_v5_20210722_three_lines.gz")
EXCERPT = "okx/okx_v5_2026_shape_excerpt.tsv"
BYBIT_FILE = "bybit/bybit_v5_20260809.gz"

Book = dict[str, dict[str, str]]  # side -> price -> quantity, texts without zeros at their ends


def plain(text: str) -> str:
    """A decimal without what does not count."""
    return text.rstrip("0").rstrip(".") if "." in text else text


class Depth(NamedTuple):
    """One depth message, read with nothing but `orjson`."""

    symbol: str
    is_whole: bool
    number: int
    previous: int | None
    sides: dict[str, list[list[str]]]
    time_ms: int


def okx_depth(frame: bytes) -> Depth | None:
    message = orjson.loads(frame)
    if "data" not in message or not message["arg"]["channel"].startswith("books"):
        return None
    row = message["data"][0]
    sides = {"bids": row["bids"], "asks": row["asks"]}
    number, previous = row.get("seqId", int(row["ts"])), row.get("prevSeqId")
    return Depth(
        message["arg"]["instId"], message["action"] == "snapshot", number, previous, sides, int(row["ts"])
    )


def bybit_depth(frame: bytes) -> Depth | None:
    message = orjson.loads(frame)
    if not message.get("topic", "").startswith("orderbook."):
        return None
    row = message["data"]
    sides = {"bids": row["b"], "asks": row["a"]}
    return Depth(row["s"], message["type"] == "snapshot", row["u"], row["u"] - 1, sides, message["ts"])


def rebuild(depths: Iterator[Depth]) -> dict[str, Book]:
    """The books of one venue: dicts of texts; what is not newer than the last is of another line."""
    books: dict[str, Book] = {}
    last: dict[str, int] = {}
    for depth in depths:
        if depth.number <= last.get(depth.symbol, -1):
            continue
        last[depth.symbol] = depth.number
        if depth.is_whole:
            books[depth.symbol] = {"bids": {}, "asks": {}}
        for side, levels in depth.sides.items():
            for price, quantity, *_ in levels:
                if plain(quantity) == "0":
                    books[depth.symbol][side].pop(plain(price), None)
                else:
                    books[depth.symbol][side][plain(price)] = plain(quantity)
    return books


def listed(book: Book) -> dict[str, list[tuple[str, str]]]:
    return {
        side: sorted(levels.items(), key=lambda x: float(x[0]), reverse=side == "bids")
        for side, levels in book.items()
    }


def result(rig: Rig, row: Instrument) -> dict[str, list[tuple[str, str]]]:
    sides = rig.core.book(row.instrument_id)
    return {
        name: [
            (plain(format_units(p, row.price_exponent)), plain(format_units(q, row.quantity_exponent)))
            for p, q in levels
        ]
        for name, levels in zip(("bids", "asks"), sides, strict=True)
    }


class Player:
    """Rigs of all venues of a capture."""

    def __init__(self, family: str, path: Any) -> None:
        self.adapters = get_adapters(family)
        self.path = path
        self.rigs = [Rig(capture_instruments(path, adapter), venue=adapter.name) for adapter in self.adapters]

    def lines(self) -> Iterator[tuple[int, int, CaptureLine]]:
        router = CaptureRouter(self.adapters)
        for line in read_capture(self.path, self.adapters[0]):
            route = router.route(line)
            if route is not None and line.kind == "ws":
                yield route.venue, route.connection, line

    def play(self, keep: Callable[[int, CaptureLine], bool] = lambda _, __: True) -> list[FeedSession]:
        for venue, connection, line in self.lines():
            if keep(venue, line):
                rig = self.rigs[venue]
                rig.now_ns = rig.core.virtual_now_ns = line.recv_ns
                rig.session.on_frame(line.payload, line.recv_ns, connection)
        return [rig.session for rig in self.rigs]

    def depths(self, venue: int, read: Callable[[bytes], Depth | None]) -> Iterator[Depth]:
        for owner, _, line in self.lines():
            if owner == venue and (depth := read(line.payload)) is not None:
                yield depth


def player(family: str, name: str) -> Player:
    path = recorded(name)
    if path is None:
        pytest.skip(f"the recording {name} is not at hand (RINGLANE_DATA)")
    return Player(family, path)


@pytest.mark.parametrize("name", OKX_FILES)
def test_okx_books_equal_the_naive_rebuild_and_every_checksum_holds(name: str) -> None:
    played = player("okx", name)
    (session,) = played.play()
    (rig,) = played.rigs
    books = rebuild(played.depths(0, okx_depth))
    assert set(session.states().values()) == {BookState.LIVE}
    assert len(books) == len(rig.rows) == 10
    for row in rig.rows:
        assert result(rig, row) == listed(books[row.symbol]), row.symbol
    counts = rig.core.statistics()
    assert counts["checksums"] == counts["books"] + counts["pending"] > 1_000
    assert (counts["checksum_errors"], counts["rejected"], len(session.gaps)) == (0, 0, 0)


def test_bybit_books_equal_the_naive_rebuild() -> None:
    played = player("bybit", BYBIT_FILE)
    sessions = played.play()
    for venue, (rig, session) in enumerate(zip(played.rigs, sessions, strict=True)):
        books = rebuild(played.depths(venue, bybit_depth))
        assert set(session.states().values()) == {BookState.LIVE}
        assert set(books) == {row.symbol for row in rig.rows}
        for row in rig.rows:
            assert result(rig, row) == listed(books[row.symbol]), row.symbol
            assert [len(side) for side in rig.core.book(row.instrument_id)] == [200, 200]
        assert (rig.core.statistics()["rejected"], len(session.gaps)) == (0, 0)
    assert [len(rig.rows) for rig in played.rigs] == [4, 2]
    assert [row.symbol for row in played.rigs[1].rows] == ["BTCUSDT", "ETHUSDT"]


def test_every_gap_made_in_the_bybit_recording_is_reported() -> None:
    played = player("bybit", BYBIT_FILE)
    seen: dict[tuple[int, str], int] = {}
    dropped: list[tuple[int, str, int]] = []

    def keep(venue: int, line: CaptureLine) -> bool:
        depth = bybit_depth(line.payload)
        if depth is None or depth.is_whole:
            return True
        key = (venue, depth.symbol)
        seen[key] = seen.get(key, 0) + 1
        if seen[key] % 37:
            return True
        dropped.append((venue, depth.symbol, depth.number))
        return False

    sessions = played.play(keep)
    found = [(v, gap.symbol, gap.expected + 1) for v, session in enumerate(sessions) for gap in session.gaps]
    assert len(dropped) > 30
    assert sorted(found) == sorted(dropped)
    states = {state for session in sessions for state in session.states().values()}
    assert BookState.LIVE not in states


def test_a_lost_update_of_the_okx_recording_breaks_the_next_checksum() -> None:
    played = player("okx", OKX_FILES[0])
    lost: set[str] = set()

    def keep(_: int, line: CaptureLine) -> bool:
        depth = okx_depth(line.payload)
        if depth is None or depth.is_whole or depth.symbol in lost or line.line < 1000:
            return True
        lost.add(depth.symbol)
        return False

    (session,) = played.play(keep)
    (rig,) = played.rigs
    books = rebuild(played.depths(0, okx_depth))
    assert len(lost) >= 8
    for row in rig.rows:
        # What was lost may have been changed back: then the book is right, and proven so.
        if session.state(row.instrument_id) == BookState.LIVE:
            assert result(rig, row) == listed(books[row.symbol]), row.symbol
    assert session.statistics()["checksum_errors"] >= 3


def test_the_shape_of_2026_chains_by_sequence() -> None:
    path = recorded(EXCERPT)
    if path is None:
        pytest.skip(f"the recording {EXCERPT} is not at hand (RINGLANE_DATA)")
    for lost, gaps in ((None, 0), (3, 1)):
        played = Player("okx", path)
        (rig,) = played.rigs
        depths = list(played.depths(0, okx_depth))
        assert len(depths) == 6
        first = depths[0]
        start = okx_book(
            first.symbol,
            first.previous,
            -1,
            [("84000", "1")],
            [("84200", "1")],
            action="snapshot",
            ms=first.time_ms - 100,
        )
        rig.frame(start)
        numbers = [depths[lost].number] if lost is not None else []
        (session,) = played.play(lambda _, line, n=numbers: _number(line) not in n)  # type: ignore[misc]
        assert len(session.gaps) == gaps
        assert (session.state(0) == BookState.LIVE) == (gaps == 0)


def _number(line: CaptureLine) -> int | None:
    depth = okx_depth(line.payload)
    return None if depth is None else depth.number
