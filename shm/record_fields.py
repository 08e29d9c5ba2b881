"""What the fields of records are called, which of them are enumerations, and a record in words.

By class of `shm.records`, in the order of `native/shm_layout.h`.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

from shm.enums import (
    BookReason,
    BookState,
    IntentKind,
    Liquidity,
    OrderFlags,
    OrderStatus,
    OrderType,
    Reason,
    RecordKind,
    ReportKind,
    RequestStatus,
    Side,
    TimeInForce,
)

# fmt: off
FIELD_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "MarketRecord": (
        "kind", "book_state", "side", "instrument_id", "epoch", "live_id", "last_sequence", "value0",
        "value1", "value2", "value3", "frame_ns", "publish_ns", "venue_utc_ns", "reason", "bid_count",
        "ask_count", "flags",
    ),
    "IntentRecord": (
        "kind", "side", "order_type", "time_in_force", "flags", "actor_id", "instrument_id", "worker_slot",
        "incarnation", "epoch", "generation", "client_order_id", "orig_client_order_id", "price_units",
        "quantity_units", "frame_ns", "publish_ns", "drain_ns", "decide_ns",
    ),
    "ReportRecord": (
        "kind", "side", "order_status", "request_status", "liquidity", "reason", "actor_id",
        "instrument_id", "client_order_id", "orig_client_order_id", "venue_order_id", "trade_id",
        "price_units", "order_units", "filled_units", "leaves_units", "last_units", "last_price_units",
        "fee_units", "position_units", "frame_ns", "decide_ns", "gate_ns", "send_ns", "ack_ns", "report_ns",
        "venue_utc_ns", "generation", "epoch",
    ),
}
FIELD_ENUMS: Final[dict[str, dict[str, type[IntEnum] | type[IntFlag]]]] = {
    "MarketRecord": {
        "kind": RecordKind, "book_state": BookState, "side": Side, "reason": BookReason,
    },
    "IntentRecord": {
        "kind": IntentKind, "side": Side, "order_type": OrderType, "time_in_force": TimeInForce,
        "flags": OrderFlags,
    },
    "ReportRecord": {
        "kind": ReportKind, "side": Side, "order_status": OrderStatus, "request_status": RequestStatus,
        "liquidity": Liquidity, "reason": Reason,
    },
}
# fmt: on


def text_of(record: object) -> str:
    """Fields that are not zero, enumerations by name."""
    kind = type(record).__name__
    enums = FIELD_ENUMS[kind]
    parts = []
    for name in FIELD_NAMES[kind]:
        value = getattr(record, name)
        if value:
            parts.append(f"{name}={_shown(enums[name], value) if name in enums else value}")
    return ", ".join(parts)


def _shown(names: type[IntEnum] | type[IntFlag], value: int) -> str:
    """Name of a number, or the number where a newer build wrote it."""
    try:
        return names(value).name or str(value)
    except ValueError:
        return str(value)
