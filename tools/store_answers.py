"""An answer of the store as it is read: words, decimals and UTC instead of the numbers that are stored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from actors.persistence.queries import Query
from actors.persistence.rows import unsigned64
from actors.persistence.tables import Row
from exec.discrepancy import DiscrepancyKind
from shm.units import format_units
from tools.journal_view import name_of

# Stored in two's complement (`actors.persistence.tables`).
_IDS = ("client_order_id", "trade_id")
_PRICES = {"price_units": "price"}
_QUANTITIES = {
    "order_units": "order_quantity",
    "filled_units": "filled_quantity",
    "leaves_units": "leaves_quantity",
    "quantity_units": "quantity",
}
_VALUES = {"ours_units": "ours", "theirs_units": "theirs"}
# Discrepancies about money, in 10^-8; all others are about quantities.
_MONEY = frozenset((DiscrepancyKind.BALANCE_DRIFT, DiscrepancyKind.FOREIGN_FEE))
_E8_EXPONENT = 8


def utc_text(at: datetime | str) -> str:
    """A time of either database in ISO 8601, UTC with microseconds; SQLite's own times name no zone."""
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    zoned = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return f"{zoned:%Y-%m-%dT%H:%M:%S.%f}Z"


def answer_of(query: Query, row: Row, *, with_units: bool) -> dict[str, Any]:
    """One row of an answer: names for numbers, decimals for units, UTC for times.

    Args:
        query: that was asked.
        row: of its columns.
        with_units: prices and quantities stand in units too. Those of an instrument whose row is not stored
            always do, because nothing else can be said of them.
    """
    found = dict(zip(query.columns, row, strict=True))
    scales = found.pop("price_exponent", None), found.pop("quantity_exponent", None)
    is_money = query.names.get("kind") is DiscrepancyKind and found["kind"] in _MONEY
    answer: dict[str, Any] = {}
    for name, value in found.items():
        if name == "at":
            answer[name] = utc_text(value)
        elif name in query.names:
            answer[name] = name_of(query.names[name], value)
        elif name in _IDS:
            answer[name] = unsigned64(value)
        elif (decimal := _decimal_of(name, value, *scales, is_money=is_money)) is not None:
            answer |= {decimal[0]: decimal[1]} | ({name: value} if with_units else {})
        else:
            answer[name] = value
    return answer


def _decimal_of(
    name: str, value: Any, price_exponent: int | None, quantity_exponent: int | None, *, is_money: bool
) -> tuple[str, str] | None:
    """Name and text of a column in units; None = it is none, or nobody knows its decimals."""
    if is_money and name in _VALUES:
        return _VALUES[name], format_units(value, _E8_EXPONENT)
    if price_exponent is None or quantity_exponent is None:
        return None
    if name == "twice_mid_units":
        return "mid", format_units(5 * value, price_exponent + 1)
    if name in _PRICES:
        return _PRICES[name], format_units(value, price_exponent)
    if name in _QUANTITIES or name in _VALUES:
        return _QUANTITIES.get(name) or _VALUES[name], format_units(value, quantity_exponent)
    return None
