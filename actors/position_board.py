"""The gateway's positions as everybody else sees them: stored in the position table after each change."""

from __future__ import annotations

from risk.exposure import ExposureBook, InstrumentExposure
from shm.positions import Position, PositionTable


class PositionBoard:
    """Copies the exposure book into the shared position table.

    Args:
        table: of this gateway.
        exposures: the private truth.
    """

    def __init__(self, table: PositionTable, exposures: ExposureBook) -> None:
        self._table = table
        self._exposures = exposures
        self._dirty: set[int] = set()
        self._known: set[int] = set()
        self._held: dict[int, tuple[InstrumentExposure, int]] = {}  # with the mark that was stored

    def add(self, instrument_id: int) -> None:
        """Take up an instrument of the table."""
        self._known.add(instrument_id)

    def touch(self, instrument_id: int) -> None:
        """Note a change, stored at the next flush; the scope of a mass command is no instrument."""
        if instrument_id in self._known:
            self._dirty.add(instrument_id)

    def touch_held(self) -> None:
        """Note every instrument that is held and whose mark has moved, which it does without any order."""
        for instrument_id, (row, mark) in self._held.items():
            if row.mark_price_units != mark:
                self._dirty.add(instrument_id)

    def flush(self, now_ns: int) -> None:
        """Store what changed."""
        if self._dirty:
            for instrument_id in self._dirty:
                row = self._exposures.row(instrument_id)
                self._table.store(self._position(instrument_id, row, now_ns))
                if row.position.quantity_units:
                    self._held[instrument_id] = (row, row.mark_price_units)
                else:
                    self._held.pop(instrument_id, None)
            self._dirty.clear()

    def store_all(self, now_ns: int) -> None:
        """Store every instrument that was ever traded."""
        for instrument_id, _ in self._exposures:
            self._dirty.add(instrument_id)
        self.flush(now_ns)

    @staticmethod
    def _position(instrument_id: int, row: InstrumentExposure, now_ns: int) -> Position:
        position = row.position
        return Position(
            instrument_id,
            position.quantity_units,
            row.open_buy_units,
            row.open_sell_units,
            position.cost_product,
            position.realized_e8,
            position.fees_e8,
            row.mark_price_units,
            position.unrealized_e8(row.mark_price_units),
            position.fills,
            now_ns,
        )
