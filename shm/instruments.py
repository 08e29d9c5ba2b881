"""The instrument table: what is traded, in immutable rows that every worker reads.

One writer (the reference actor) adds rows; a row exists once the count is stored (release) and never changes
but for its status byte. A change of tick, lot or multiplier adds a new row and retires the old one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from shm.enums import InstrumentKind, InstrumentStatus
from shm.errors import InstrumentError, LayoutError
from shm.words import load_acquire, store_release

if TYPE_CHECKING:
    from typing_extensions import Buffer

# struct shm_instruments_header and struct shm_instrument of native/shm_layout.h.
HEADER = struct.Struct("<IIQ112x")
ROW = struct.Struct("<IHBBBBBBB3xqqqqqqqqI4x32s32s16s16s16s56x")
COUNT_OFFSET = 8
STATUS_OFFSET = 7
_STATUS_AT = HEADER.size + STATUS_OFFSET
_ROW_BYTES = ROW.size

CAPACITY_MAX = 1 << 20
VENUES_MAX = 32
TEXT_BYTES = {"symbol": 32, "canonical": 32, "base": 16, "quote": 16, "settle": 16}
SIGNED_FIELDS = (
    "tick_size",
    "lot_size",
    "multiplier",
    "min_quantity_units",
    "max_quantity_units",
    "min_notional_units",
    "maker_fee_e8",
    "taker_fee_e8",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One row of the instrument table; field names and units as in `shm_instrument`.

    Prices are counts of 10^-price_exponent, quantities counts of 10^-quantity_exponent in the venue's own
    unit. `multiplier` × 10^-multiplier_exponent is the base currency (linear) or quote currency (inverse) of
    one quantity unit of the venue. `max_quantity_units` 0 = no maximum. Fees are fractions of notional ×
    10^8.
    """

    instrument_id: int = 0
    venue_id: int
    kind: int = InstrumentKind.PERPETUAL
    status: int = InstrumentStatus.TRADING
    price_exponent: int
    quantity_exponent: int
    is_inverse: bool = False
    priority: int = 2
    multiplier_exponent: int = 0
    tick_size: int = 1
    lot_size: int = 1
    multiplier: int = 1
    min_quantity_units: int = 0
    max_quantity_units: int = 0
    min_notional_units: int = 0
    maker_fee_e8: int = 0
    taker_fee_e8: int = 0
    slab: int = 0
    symbol: str
    canonical: str = ""
    base: str = ""
    quote: str = ""
    settle: str = ""

    def to_bytes(self) -> bytes:
        """The 256 bytes of this row.

        Raises:
            InstrumentError: a field does not fit its place.
        """
        check_instrument(self)
        return ROW.pack(
            self.instrument_id,
            self.venue_id,
            self.kind,
            self.status,
            self.price_exponent,
            self.quantity_exponent,
            self.is_inverse,
            self.priority,
            self.multiplier_exponent,
            *(getattr(self, name) for name in SIGNED_FIELDS),
            self.slab,
            *(getattr(self, name).encode("ascii") for name in TEXT_BYTES),
        )

    @staticmethod
    def from_bytes(data: Buffer, offset: int = 0) -> Instrument:
        """The row that stands in the 256 bytes at `offset`, as in the table and in journals.

        Raises:
            InstrumentError: there are fewer bytes, or a text is not ASCII.
        """
        try:
            values = ROW.unpack_from(data, offset)
            texts = [value.split(b"\0", 1)[0].decode("ascii") for value in values[18:]]
        except (struct.error, UnicodeDecodeError) as error:
            raise InstrumentError(f"the bytes at offset {offset} are no instrument row: {error}") from error
        numbers = list(values[:18])
        numbers[6] = bool(numbers[6])
        return Instrument(**dict(zip(FIELD_NAMES, [*numbers, *texts], strict=True)))


FIELD_NAMES = tuple(field.name for field in fields(Instrument))


class InstrumentTable:
    """The instruments of a run in a segment payload; an instrument's id is its row's index.

    Rows are parsed once and kept, so `get` costs two byte reads and a dictionary-free list index.
    """

    def __init__(self, buffer: Buffer) -> None:
        """Attach; use `create` or `attach` instead."""
        self._view = memoryview(buffer).cast("B")
        if len(self._view) < HEADER.size:
            raise LayoutError(f"an instrument table needs a payload of at least {HEADER.size} bytes")
        capacity, row_bytes, _ = HEADER.unpack_from(self._view)
        self._capacity: int = capacity
        if row_bytes != ROW.size or not 1 <= self._capacity <= CAPACITY_MAX:
            raise LayoutError(f"no instrument table: {self._capacity} rows of {row_bytes} bytes")
        if len(self._view) < self.bytes_needed(self._capacity):
            raise LayoutError(
                f"a payload of {len(self._view)} bytes is too small for {self._capacity} instruments"
            )
        self._rows: list[Instrument] = []
        self._by_symbol: dict[tuple[int, str], int] = {}
        self._by_canonical: dict[str, list[int]] = {}

    @staticmethod
    def bytes_needed(capacity: int) -> int:
        """Say how many payload bytes a table of that capacity takes."""
        return HEADER.size + capacity * ROW.size

    @classmethod
    def create(cls, buffer: Buffer, capacity: int) -> InstrumentTable:
        """Format a payload as an empty table and attach to it.

        Raises:
            LayoutError: the payload is too small or the capacity out of range.
        """
        view = memoryview(buffer).cast("B")
        if not 1 <= capacity <= CAPACITY_MAX:
            raise LayoutError(f"instrument capacity {capacity} is outside 1 to {CAPACITY_MAX}")
        if len(view) < cls.bytes_needed(capacity):
            raise LayoutError(f"a payload of {len(view)} bytes is too small for {capacity} instruments")
        HEADER.pack_into(view, 0, capacity, ROW.size, 0)
        return cls(buffer)

    @classmethod
    def attach(cls, buffer: Buffer) -> InstrumentTable:
        """Attach to a formatted table.

        Raises:
            LayoutError: the payload holds no instrument table.
        """
        return cls(buffer)

    @property
    def capacity(self) -> int:
        """Most rows this table can hold."""
        return self._capacity

    def add(self, instrument: Instrument) -> int:
        """Add a row and return its id; the one writer only.

        An instrument equal to the current row of its symbol is not added again, so that a restarted writer
        may simply add what it knows; the existing id is returned.

        Args:
            instrument: the row; its `instrument_id` is assigned here.

        Raises:
            InstrumentError: a field does not fit, the table is full, or the symbol has a different row that
            is
                not retired.
        """
        current = self.by_symbol(instrument.venue_id, instrument.symbol)
        if current is not None:
            if replace(instrument, instrument_id=current.instrument_id, status=current.status) == current:
                return current.instrument_id
            raise InstrumentError(
                f"{instrument.symbol} of venue {instrument.venue_id} is row {current.instrument_id}"
                " with other terms: retire it first"
            )
        index = len(self)
        if index >= self._capacity:
            raise InstrumentError(
                f"the instrument table is full: {self._capacity} rows, {instrument.symbol} not added"
            )
        row = replace(instrument, instrument_id=index).to_bytes()
        offset = self._offset(index)
        self._view[offset : offset + ROW.size] = row
        store_release(self._view, COUNT_OFFSET, index + 1)
        return index

    def set_status(self, instrument_id: int, status: InstrumentStatus) -> None:
        """Change the one byte of a row that may change; readers see it at their next `get`.

        Raises:
            InstrumentError: there is no such row.
        """
        self._check(instrument_id)
        self._view[self._offset(instrument_id) + STATUS_OFFSET] = status

    def retire(self, instrument_id: int) -> None:
        """Mark a row as replaced: it keeps its id and terms, its symbol may be added anew.

        Raises:
            InstrumentError: there is no such row.
        """
        self.set_status(instrument_id, InstrumentStatus.RETIRED)

    def get(self, instrument_id: int) -> Instrument:
        """The row of an id.

        Raises:
            InstrumentError: there is no such row.
        """
        if not 0 <= instrument_id < len(self._rows):
            self._check(instrument_id)
            self._parse()
        row = self._rows[instrument_id]
        status = self._view[_STATUS_AT + instrument_id * _ROW_BYTES]  # asked for with every order
        if row.status != status:
            row = self._rows[instrument_id] = replace(row, status=status)
        return row

    def status_view(self, instrument_id: int) -> memoryview:
        """The one byte of a row that may change, in place and read-only: for who needs it with every order.

        Raises:
            InstrumentError: there is no such row.
        """
        self._check(instrument_id)
        at = self._offset(instrument_id) + STATUS_OFFSET
        return self._view[at : at + 1].toreadonly()

    def by_symbol(self, venue_id: int, symbol: str) -> Instrument | None:
        """The newest row of a venue's symbol that is not retired, or None."""
        self._parse()
        index = self._by_symbol.get((venue_id, symbol))
        return None if index is None else self._unless_retired(index)

    def by_canonical(self, name: str, venue_id: int | None = None) -> Instrument | None:
        """The first row of a canonical name that is not retired, of one venue or of any; or None."""
        self._parse()
        for index in self._by_canonical.get(name, ()):
            row = self._unless_retired(index)
            if row is not None and venue_id in (None, row.venue_id):
                return row
        return None

    def __len__(self) -> int:
        """Number of rows, retired ones included."""
        return min(load_acquire(self._view, COUNT_OFFSET), self._capacity)

    def __iter__(self) -> Iterator[Instrument]:
        """All rows by id, retired ones included."""
        for index in range(len(self)):
            yield self.get(index)

    def _offset(self, index: int) -> int:
        return HEADER.size + index * ROW.size

    def _check(self, instrument_id: int) -> None:
        if not 0 <= instrument_id < len(self):
            raise InstrumentError(f"instrument {instrument_id} is unknown: the table has {len(self)}")

    def _unless_retired(self, index: int) -> Instrument | None:
        row = self.get(index)
        return None if row.status == InstrumentStatus.RETIRED else row

    def _parse(self) -> None:
        for index in range(len(self._rows), len(self)):
            row = Instrument.from_bytes(self._view, self._offset(index))
            self._rows.append(row)
            self._by_symbol[(row.venue_id, row.symbol)] = index
            self._by_canonical.setdefault(row.canonical, []).append(index)


def check_instrument(instrument: Instrument) -> None:
    """Refuse an instrument that its row can not hold or that no arithmetic could use.

    Raises:
        InstrumentError: names the symbol and the field.
    """
    for name, limit in TEXT_BYTES.items():
        text = getattr(instrument, name)
        # One byte stays for the terminating zero.
        if not text.isascii() or "\0" in text or len(text) >= limit:
            raise InstrumentError(
                f"{instrument.symbol!r}: {name} {text!r} is not ASCII of at most {limit - 1} bytes"
            )
    if not instrument.symbol:
        raise InstrumentError("an instrument needs a symbol")
    for name, low, high in (
        ("instrument_id", 0, CAPACITY_MAX),
        ("venue_id", 0, VENUES_MAX - 1),
        ("kind", 1, 255),
        ("status", 1, 255),
        ("price_exponent", 0, 255),
        ("quantity_exponent", 0, 255),
        ("priority", 1, 4),
        ("multiplier_exponent", 0, 255),
        ("slab", 0, 2**32 - 1),
    ):
        check_range(instrument, name, low, high)
    for name in SIGNED_FIELDS:
        low = 1 if name in ("tick_size", "lot_size", "multiplier") else 0
        check_range(instrument, name, -(2**63) if name.endswith("_fee_e8") else low, 2**63 - 1)


def check_range(instrument: Instrument, name: str, low: int, high: int) -> None:
    """Refuse a field outside its range; InstrumentError names symbol, field and value."""
    value = getattr(instrument, name)
    if not low <= value <= high:
        raise InstrumentError(f"{instrument.symbol!r}: {name} {value} is outside {low} to {high}")
