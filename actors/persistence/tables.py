"""The tables as data: columns, keys, indexes; the databases' own definitions are made from these.

Every row but an instrument's comes from one journal entry and bears its identity: instance, gateway slot,
epoch and sequence. Numbers of 64 bits without a sign (client order ids) are stored as bigint, in two's
complement.
Money and sizes stand twice: exact decimals for people, integers in units for programs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Row = tuple[Any, ...]

TEXT, SMALL, INT, BIG, DECIMAL, TIME = "text", "small", "int", "big", "decimal", "time"
ENTRY = (
    ("instance", TEXT),
    ("gateway", SMALL),
    ("epoch", BIG),
    ("sequence", BIG),
    ("at", TIME),
)
TRADED = (("instrument_id", INT), ("venue", TEXT), ("symbol", TEXT))


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Args:
        name: of the table.
        columns: (name, type) each; the type is one of the constants above.
        key: primary key columns.
        indexes: further indexes: columns each, " desc" after a name allowed.
        is_partitioned: by `at`, where the database can.
    """

    name: str
    columns: tuple[tuple[str, str], ...]
    key: tuple[str, ...]
    indexes: tuple[tuple[str, ...], ...] = ()
    is_partitioned: bool = False
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(name for name, _ in self.columns))


INSTRUMENTS = Table(
    "instruments",
    (
        ("instance", TEXT), ("gateway", SMALL), ("epoch", BIG), *TRADED, ("canonical", TEXT), ("base", TEXT),
        ("quote", TEXT), ("settle", TEXT), ("kind", SMALL), ("is_inverse", SMALL), ("price_exponent", SMALL),
        ("quantity_exponent", SMALL), ("multiplier", BIG), ("multiplier_exponent", SMALL), ("tick_size", BIG),
        ("lot_size", BIG),
    ),
    ("instance", "gateway", "epoch", "instrument_id"),
)  # fmt: skip

INTENTS = Table(
    "intents",
    (
        *ENTRY, *TRADED, ("actor_id", INT), ("worker_slot", SMALL), ("kind", SMALL), ("reason", SMALL),
        ("side", SMALL), ("order_type", SMALL), ("time_in_force", SMALL), ("flags", INT),
        ("client_order_id", BIG), ("orig_client_order_id", BIG), ("price_units", BIG),
        ("quantity_units", BIG), ("generation", BIG),
        ("frame_ns", BIG), ("decide_ns", BIG),
    ),
    ("instance", "gateway", "epoch", "sequence", "at"),
    (("client_order_id",), ("instance", "actor_id", "at desc")),
    is_partitioned=True,
)  # fmt: skip

REPORTS = Table(
    "reports",
    (
        *ENTRY, *TRADED, ("actor_id", INT), ("kind", SMALL), ("order_status", SMALL),
        ("request_status", SMALL), ("reason", SMALL), ("side", SMALL), ("client_order_id", BIG),
        ("orig_client_order_id", BIG),
        ("venue_order_id", BIG), ("price_units", BIG), ("order_units", BIG), ("filled_units", BIG),
        ("leaves_units", BIG), ("position_units", BIG), ("generation", BIG), ("frame_ns", BIG),
        ("decide_ns", BIG), ("gate_ns", BIG), ("send_ns", BIG), ("ack_ns", BIG),
        ("report_ns", BIG), ("venue_utc_ns", BIG),
    ),
    ("instance", "gateway", "epoch", "sequence", "at"),
    (("client_order_id", "at"), ("symbol", "venue", "at desc"), ("instance", "at desc")),
    is_partitioned=True,
)  # fmt: skip

# `notional` is in the quote currency; `cash` is what the fill adds to the settlement currency, named by
# `currency`, before its fee: the sum over fills that begin and end flat is what they earned.
FILLS = Table(
    "fills",
    (
        *ENTRY, *TRADED, ("canonical", TEXT), ("actor_id", INT), ("side", SMALL), ("liquidity", SMALL),
        ("client_order_id", BIG), ("venue_order_id", BIG), ("trade_id", BIG), ("price", DECIMAL),
        ("quantity", DECIMAL), ("notional", DECIMAL), ("cash", DECIMAL), ("fee", DECIMAL),
        ("currency", TEXT), ("price_units", BIG), ("quantity_units", BIG),
        ("fee_e8", BIG), ("position_units", BIG), ("venue_utc_ns", BIG),
    ),
    ("instance", "gateway", "epoch", "sequence", "at"),
    (("symbol", "venue", "at desc"), ("client_order_id",), ("instance", "at desc")),
    is_partitioned=True,
)  # fmt: skip

DISCREPANCIES = Table(
    "discrepancies",
    (
        *ENTRY, *TRADED, ("kind", SMALL), ("repair", SMALL), ("word", SMALL), ("side", SMALL),
        ("client_order_id", BIG), ("venue_order_id", BIG), ("trade_id", BIG), ("ours", BIG), ("theirs", BIG),
        ("price_units", BIG), ("units", BIG), ("fee_e8", BIG), ("asset", TEXT), ("venue_utc_ns", BIG),
    ),
    ("instance", "gateway", "epoch", "sequence", "at"),
    (("instance", "at desc"),),
    is_partitioned=True,
)  # fmt: skip

# One row per order that a strategy worked to its end: what it cost against the mid it was decided at, in
# 10^-8 of the notional (`exec.slippage`). From the worker's journal of measurements: `gateway` is its number.
SLIPPAGE = Table(
    "slippage",
    (
        *ENTRY, *TRADED, ("actor_id", INT), ("client_order_id", BIG), ("side", SMALL), ("style", SMALL),
        ("decide_ns", BIG), ("end_ns", BIG), ("order_units", BIG), ("filled_units", BIG),
        ("twice_mid_units", BIG), ("price_e8", BIG), ("fee_e8", BIG), ("missed_e8", BIG), ("total_e8", BIG),
        ("fill_ns", BIG),
    ),
    ("instance", "gateway", "epoch", "sequence", "at"),
    (("client_order_id",), ("instance", "at desc")),
    is_partitioned=True,
)  # fmt: skip

# How far a journal has been stored; changed in the transaction that stores the rows.
CURSORS = Table(
    "cursors",
    (
        ("instance", TEXT), ("gateway", SMALL), ("epoch", BIG), ("file_index", BIG), ("byte_offset", BIG),
        ("sequence", BIG), ("chain", BIG),
    ),
    ("instance", "gateway"),
)  # fmt: skip

ROW_TABLES = (INSTRUMENTS, INTENTS, REPORTS, FILLS, DISCREPANCIES, SLIPPAGE)
TABLES = (*ROW_TABLES, CURSORS)
BY_NAME = {table.name: table for table in TABLES}
