"""Positions of one gateway: a seqlocked value per instrument, stored before the next intent is gated."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shm.errors import RecordError
from shm.snapshot import SeqlockArray

if TYPE_CHECKING:
    from typing_extensions import Buffer

# struct shm_position of native/shm_layout.h.
VALUE = struct.Struct("<I4xqqqqQqqqqQq")
EMPTY = bytes(VALUE.size)
WORD = 1 << 64


@dataclass(frozen=True, slots=True)
class Position:
    """What the gateway holds and has working in one instrument.

    Quantities are quantity_units, prices price_units. `cost_units` is the exact sum of price_units ×
    quantity_units of the open lots, signed as the position (128 bits). Money is 10^-8 of the settlement
    currency.
    """

    instrument_id: int
    quantity_units: int = 0
    open_buy_units: int = 0
    open_sell_units: int = 0
    cost_units: int = 0
    realized_units: int = 0
    fees_units: int = 0
    mark_price_units: int = 0
    unrealized_units: int = 0
    fills: int = 0
    update_ns: int = 0

    def to_bytes(self) -> bytes:
        """The 96 bytes of this position as they stand in the table.

        Raises:
            RecordError: a number does not fit its place.
        """
        try:
            return VALUE.pack(
                self.instrument_id,
                self.quantity_units,
                self.open_buy_units,
                self.open_sell_units,
                self.cost_units // WORD,
                self.cost_units % WORD,
                self.realized_units,
                self.fees_units,
                self.mark_price_units,
                self.unrealized_units,
                self.fills,
                self.update_ns,
            )
        except struct.error as error:
            raise RecordError(f"{self} does not fit its record: {error}") from error

    @staticmethod
    def from_bytes(data: Buffer) -> Position:
        """The position that stands in 96 bytes.

        Raises:
            RecordError: there are fewer.
        """
        try:
            numbers = VALUE.unpack_from(data)
        except struct.error as error:
            raise RecordError(f"no position: {error}") from error
        instrument_id, quantity, open_buy, open_sell, high, low, *rest = numbers
        return Position(instrument_id, quantity, open_buy, open_sell, high * WORD + low, *rest)


class PositionTable:
    """The positions of one gateway in a segment payload by instrument id; one writer, any readers."""

    def __init__(self, array: SeqlockArray, capacity: int) -> None:
        """Attach; use `create` or `attach` instead."""
        self._array = array
        self._capacity = capacity

    @staticmethod
    def bytes_needed(capacity: int) -> int:
        """Say how many payload bytes a table of that many instruments takes."""
        return SeqlockArray.bytes_needed(capacity, VALUE.size)

    @classmethod
    def create(cls, buffer: Buffer, capacity: int) -> PositionTable:
        """Format a payload as a table of flat positions and attach to it.

        Raises:
            LayoutError: the payload is too small.
        """
        return cls(SeqlockArray.create(buffer, capacity, VALUE.size), capacity)

    @classmethod
    def attach(cls, buffer: Buffer, capacity: int | None = None) -> PositionTable:
        """Attach to a formatted table; without a capacity, to as many instruments as the payload holds.

        Raises:
            LayoutError: the payload is too small.
        """
        if capacity is None:
            capacity = memoryview(buffer).nbytes // cls.bytes_needed(1)
        return cls(SeqlockArray.attach(buffer, capacity, VALUE.size), capacity)

    @property
    def capacity(self) -> int:
        """Number of instrument ids."""
        return self._capacity

    def store(self, position: Position) -> None:
        """Store a position whole; the one writer only.

        Raises:
            RecordError: no such instrument, or a number does not fit; nothing is stored.
        """
        self._check(position.instrument_id)
        self._array.store(position.instrument_id, position.to_bytes())

    def load(self, instrument_id: int) -> Position | None:
        """The position in an instrument, flat if none was ever stored; None when it is BUSY.

        Raises:
            RecordError: no such instrument.
        """
        self._check(instrument_id)
        data = self._array.load(instrument_id)
        if data is None:
            return None
        return Position(instrument_id) if data[: VALUE.size] == EMPTY else Position.from_bytes(data)

    def all(self) -> list[Position]:
        """All positions that were ever stored, by instrument id; a BUSY one is left out (`load` tells)."""
        found = []
        for instrument_id in range(self._capacity):
            data = self._array.load(instrument_id)
            if data is not None and data[: VALUE.size] != EMPTY:
                found.append(Position.from_bytes(data))
        return found

    def _check(self, instrument_id: int) -> None:
        if not 0 <= instrument_id < self._capacity:
            raise RecordError(f"instrument {instrument_id} is outside a table of {self._capacity}")
