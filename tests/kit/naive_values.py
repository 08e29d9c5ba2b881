"""Seqlocked values and the book slab as dictionaries: what they must do, without memory or counts.

A writer that dies in the middle of a store is played by `die_storing`: the value is BUSY (None) until
somebody stores the whole of it again.
"""

from __future__ import annotations

from shm.book import BookSnapshot, Certificate, TradeTotals

Levels = list[tuple[int, int]]


class NaiveValues:
    def __init__(self, count: int, value_bytes: int) -> None:
        self.value_bytes = value_bytes
        self.values: list[bytes | None] = [bytes(value_bytes)] * count

    def store(self, i: int, value: bytes) -> None:
        self.values[i] = value.ljust(self.value_bytes, b"\0")

    def load(self, i: int) -> bytes | None:
        return self.values[i]

    def die_storing(self, i: int) -> None:
        self.values[i] = None


class NaiveSlab:
    def __init__(self, depth: int, capacity: int) -> None:
        self.depth = depth
        empty = BookSnapshot(Certificate(), TradeTotals(), (), ())
        self.books: list[BookSnapshot | None] = [empty] * capacity

    def store(
        self, instrument_id: int, certificate: Certificate, totals: TradeTotals, bids: Levels, asks: Levels
    ) -> None:
        assert max(len(bids), len(asks)) <= self.depth
        named = certificate._replace(instrument_id=instrument_id)
        self.books[instrument_id] = BookSnapshot(named, totals, tuple(bids), tuple(asks))

    def load(self, instrument_id: int) -> BookSnapshot | None:
        return self.books[instrument_id]

    def best(self, instrument_id: int, bid_rows: int, ask_rows: int) -> tuple[Levels, Levels] | None:
        """The best levels of each side, at most so many, as `load_into` gives them; None = BUSY."""
        book = self.books[instrument_id]
        return None if book is None else (list(book.bids[:bid_rows]), list(book.asks[:ask_rows]))

    def die_storing(self, instrument_id: int) -> None:
        self.books[instrument_id] = None
