"""Naive rebuild of the books in captures, with json and Decimal only: what `replay --books` must equal.

Written from the venue's document alone and sharing no code with the feed: texts stay as the venue wrote them.
"""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit


def lines_of(path: Path) -> list[tuple[int, str, str]]:
    """(receive time, request path or "", JSON text) of each frame and answer, both line forms."""
    opener = gzip.open if path.read_bytes()[:2] == b"\x1f\x8b" else open
    found = []
    with opener(path, "rt", encoding="utf-8", errors="replace") as stream:
        for line in stream:
            stamp, rest = line.rstrip("\n").split(" ", 1)
            if rest.startswith("{"):
                found.append((int(stamp), "", rest))
                continue
            connection, kind, text = rest.split(" ", 2)
            if kind == "recv":
                found.append((int(stamp), "", text))
            elif kind == "http":
                found.append((int(stamp), connection.removeprefix("http:"), text))
    return found


class NaiveBook:
    """Price text → quantity text, one dict a side, keyed by value so that "7.0" and "7.00" are one price."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.sides: tuple[dict[Decimal, tuple[str, str]], dict[Decimal, tuple[str, str]]] = ({}, {})
        self.snapshot = 0
        self.last = 0  # of the newest update applied
        self.seen = 0  # of the newest update in the stream
        self.is_live = False
        self.pending: list[dict[str, Any]] = []
        self.gaps: list[tuple[int, int]] = []

    def load(self, body: dict[str, Any]) -> None:
        if self.is_live:
            return
        self.sides = ({}, {})
        self.snapshot = self.last = body["lastUpdateId"]
        self._levels(body["bids"], body["asks"])
        kept, self.pending = self.pending, []
        for diff in kept:
            self._try(diff)

    def diff(self, data: dict[str, Any]) -> None:
        if self.seen and data["u"] <= self.seen and data["pu"] != self.seen:
            return
        if self.seen and data["pu"] != self.seen:
            self.gaps.append((self.seen, data["pu"]))
            self.pending = []
            if self.is_live:
                self.is_live, self.snapshot = False, 0
        self.seen = data["u"]
        self._try(data)

    def _try(self, data: dict[str, Any]) -> None:
        if not self.is_live:
            if not self.snapshot:
                self.pending.append(data)
                return
            if data["u"] < self.snapshot:
                return
            if data["U"] > self.snapshot and data["pu"] > self.snapshot:
                self.snapshot, self.pending = 0, [data]
                return
        self._levels(data["b"], data["a"])
        self.last = data["u"]
        self.is_live = True

    def _levels(self, bids: list[list[str]], asks: list[list[str]]) -> None:
        for side, levels in zip(self.sides, (bids, asks), strict=True):
            for price, quantity in levels:
                if Decimal(quantity) == 0:
                    side.pop(Decimal(price), None)
                else:
                    side[Decimal(price)] = (price, quantity)

    def result(self, venue: str) -> dict[str, Any]:
        bids, asks = self.sides
        return {
            "venue": venue,
            "symbol": self.symbol,
            "state": "LIVE" if self.is_live else "SYNCING",
            "last_sequence": self.last,
            "bids": [list(bids[price]) for price in sorted(bids, reverse=True)],
            "asks": [list(asks[price]) for price in sorted(asks)],
        }


def rebuild_books(paths: list[Path], venue: str = "binance_usdm") -> list[NaiveBook]:
    """The books themselves, by symbol in alphabetic order."""
    books: dict[str, NaiveBook] = {}
    for path in paths:
        here: set[str] = set()
        entries = lines_of(Path(path))
        for _, _, text in entries:
            if '"depthUpdate"' in text:
                here.add(json.loads(text).get("data", json.loads(text))["s"])
                if len(here) > 1:
                    break
        for _, request, text in entries:
            if text.startswith('{"lastUpdateId"'):
                symbol = parse_qs(urlsplit(request).query)["symbol"][0] if request else next(iter(here))
                books.setdefault(symbol, NaiveBook(symbol)).load(json.loads(text))
            elif '"depthUpdate"' in text:
                message = json.loads(text)
                data = message.get("data", message)
                books.setdefault(data["s"], NaiveBook(data["s"])).diff(data)
    return [books[symbol] for symbol in sorted(books)]


def rebuild(paths: list[Path], venue: str = "binance_usdm") -> list[dict[str, Any]]:
    """Final books in the form of `replay --books`, by symbol in alphabetic order."""
    return [book.result(venue) for book in rebuild_books(paths)]
