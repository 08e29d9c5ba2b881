"""Rows of instrument data read field by field, so that what is not as documented is named with its value."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from shm.errors import UnitsError
from shm.units import EXPONENT_MAX, decimals_of, parse_units, split_decimal

if TYPE_CHECKING:
    from shm.instruments import Instrument

SHOWN_MAX = 60


class RowError(ValueError):
    """A field of a row that is not as documented; the text names the field and its value."""


class Oddity(Enum):
    """In what a row of instrument data differs from what the venue documents."""

    UNREADABLE = auto()  # a field is missing, or not what it should be: the row is left out
    KIND = auto()  # its kind is none of those documented: the row is left out
    STATUS = auto()  # its status is none of those documented: taken for halted


class OddRow(NamedTuple):
    """A row of instrument data that is not as documented."""

    symbol: str  # "" when the row does not say it
    text: str  # names venue, symbol, field and value
    oddity: Oddity

    @property
    def is_left_out(self) -> bool:
        """Whether no instrument was made of it."""
        return self.oddity is not Oddity.STATUS


class InstrumentList(NamedTuple):
    """What a venue's instrument data says: the instruments, and the rows that are not as documented."""

    rows: list[Instrument]
    odd: list[OddRow]


def shown(value: object) -> str:
    """A value as an error shows it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"


class Fields:
    """The fields of one row, or of an object in it; each is what it should be, or a RowError that names it.

    Args:
        row: as the venue sent it.
        path: where it stands in the row, for errors.
    """

    __slots__ = ("_path", "_row")

    def __init__(self, row: Mapping[str, object], path: str = "") -> None:
        self._row, self._path = row, path

    def wrong(self, key: str, why: str) -> RowError:
        """Make the error for a field."""
        if key not in self._row:
            return RowError(f"{self._path}{key} is missing")
        return RowError(f"{self._path}{key} is {shown(self._row[key])}, {why}")

    def text(self, key: str, default: str | None = None) -> str:
        """A text; `default` stands for one that is absent.

        Raises:
            RowError: it is missing, or no text.
        """
        value = self._row.get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "not a text")
        return value

    def optional(self, key: str) -> str:
        """A text that may be absent or null, which is ""."""
        return "" if self._row.get(key) is None else self.text(key)

    def whole(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number within bounds, as a number or as its text.

        Raises:
            RowError: it is missing without a default, or no such number.
        """
        value = self._row.get(key, default)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(high)):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.wrong(key, f"not a whole number from {low} to {high}")
        return value

    def decimals(self, key: str) -> int:
        """How many decimals a number needs ("0.10" needs 1).

        Raises:
            RowError: it is missing, no decimal number, or needs more decimals than units have.
        """
        text = self.text(key)
        try:
            found = decimals_of(text)
        except UnitsError as error:
            raise self.wrong(key, "not a decimal number") from error
        if found > EXPONENT_MAX:
            raise self.wrong(key, "finer than any price or quantity")
        return found

    def step(self, key: str, exponent: int) -> int:
        """Units of a step, which is above zero.

        Raises:
            RowError: it is missing, or no such number.
        """
        units = self.units(key, exponent)
        if units < 1:
            raise self.wrong(key, "not above zero")
        return units

    def units(self, key: str, exponent: int, default: str | None = None) -> int:
        """Units of a number that is not below zero.

        Raises:
            RowError: it is missing without a default, or does not fit the units.
        """
        text = self.text(key, default)
        try:
            found = parse_units(text, exponent, allow_scientific=True)
        except UnitsError as error:
            raise self.wrong(key, f"which does not fit: {error}") from error
        if found < 0:
            raise self.wrong(key, "below zero")
        return found

    def decimal(self, key: str, default: str | None = None) -> tuple[int, int]:
        """Mantissa and decimals of a number; one that is empty is the default.

        Raises:
            RowError: it is missing without a default, or no decimal number.
        """
        text = self.text(key, default) or default or ""
        try:
            return split_decimal(text, allow_scientific=True)
        except UnitsError as error:
            raise self.wrong(key, "not a decimal number") from error

    def inner(self, key: str) -> Fields:
        """An object in the row.

        Raises:
            RowError: it is missing, or no object.
        """
        value = self._row.get(key)
        if not isinstance(value, dict):
            raise self.wrong(key, "not an object")
        return Fields(value, f"{self._path}{key}.")

    def named(self, key: str, name_key: str) -> dict[str, Fields]:
        """The objects of a list by the field that names each.

        Raises:
            RowError: it is missing, no list, or something in it is no object with a name.
        """
        value = self._row.get(key)
        if not isinstance(value, list):
            raise self.wrong(key, "not a list")
        found: dict[str, Fields] = {}
        for entry in value:
            name = entry.get(name_key) if isinstance(entry, dict) else None
            if not isinstance(name, str):
                raise RowError(f"{self._path}{key} has {shown(entry)}, not an object with {name_key}")
            found[name] = Fields(entry, f"{self._path}{key}[{name}].")
        return found

    def __contains__(self, key: str) -> bool:
        return key in self._row
