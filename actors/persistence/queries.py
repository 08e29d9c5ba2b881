"""The questions that ship: SQL that both databases answer from an index, as `EXPLAIN` in the tests shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum

from actors.persistence.store import Store
from actors.persistence.tables import Row
from exec.discrepancy import DiscrepancyKind, Repair
from exec.slippage import Style
from shm.enums import IntentKind, Liquidity, OrderStatus, Reason, ReportKind, RequestStatus, Side

_SPAN = "instance = {instance} AND at >= {since} AND at < {until}"
_NEW = int(ReportKind.NEW)


@dataclass(frozen=True, slots=True)
class Query:
    """One question.

    Args:
        name: for the command line.
        help: what it answers.
        sql: with {table names}, {words} of the database and {parameters}; a parameter named in `lists`
            becomes as many placeholders as it has values.
        columns: of the answer.
        parameters: names, in any order.
        lists: those parameters that are sequences.
        variants: the whole statement for a database, by its name, that can not say it as `sql` does.
        names: of columns whose numbers have names, their enumeration.

    Columns in units come with `price_exponent` and `quantity_exponent`, so that decimals can be made of them.
    """

    name: str
    help: str
    sql: str
    columns: tuple[str, ...]
    parameters: tuple[str, ...]
    lists: frozenset[str] = frozenset()
    variants: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, type[IntEnum]] = field(default_factory=dict)

    def bind(self, store: Store, **given: object) -> tuple[str, list[object]]:
        """The statement for a database and its arguments.

        Raises:
            ValueError: a parameter is missing, unknown, a time without a zone, or a list is empty.
        """
        if set(given) != set(self.parameters):
            raise ValueError(f"query {self.name} takes {', '.join(self.parameters)}; got {', '.join(given)}")
        arguments: list[object] = []
        places: dict[str, str] = {name: store.prefix + name for name in _TABLES} | dict(store.words)
        for name in self.parameters:
            value = given[name]
            values = list(value) if name in self.lists and isinstance(value, Sequence) else [value]
            if not values:
                raise ValueError(f"query {self.name}: {name} is empty")
            if isinstance(value, datetime) and value.tzinfo is None:
                raise ValueError(f"query {self.name}: {name} is a time without a zone")
            marks = [f"${len(arguments) + place}" for place in range(1, len(values) + 1)]
            places[name] = ", ".join(marks)
            arguments += values
        return self.variants.get(store.name, self.sql).format(**places), arguments

    async def run(self, store: Store, **given: object) -> list[Row]:
        """Ask; rows of `columns`."""
        sql, arguments = self.bind(store, **given)
        return await store.select(sql, arguments)


_TABLES = ("instruments", "intents", "reports", "fills", "discrepancies", "slippage", "cursors", "migrations")
# How many decimals prices and quantities of a row `t` have: None for an instrument that nobody knows.
_EXPONENTS = ("price_exponent", "quantity_exponent")
_SCALES = "".join(
    f", (SELECT i.{name} FROM {{instruments}} AS i WHERE i.instance = t.instance AND i.gateway = t.gateway"
    " AND i.epoch = t.epoch AND i.instrument_id = t.instrument_id)"
    for name in _EXPONENTS
)
_FILL_NAMES = {"side": Side, "liquidity": Liquidity}
_FILL_COLUMNS = (
    "at", "venue", "symbol", "side", "price", "quantity", "fee", "currency", "liquidity", "actor_id",
    "client_order_id", "trade_id",
)  # fmt: skip
# Decimals as exact text from both databases: to make numbers of them is for whoever calculates.
_DECIMALS = frozenset(("price", "quantity", "fee"))
_FILL_LIST = ", ".join(name + "{text}" if name in _DECIMALS else name for name in _FILL_COLUMNS)

RECENT_TRADES = Query(
    "recent-trades",
    "our trades in some symbols at some venues since a time, newest first",
    f"SELECT {_FILL_LIST} FROM {{fills}} WHERE symbol IN ({{symbols}}) AND venue IN ({{venues}})"
    " AND at >= {since} ORDER BY at DESC, sequence DESC LIMIT {limit}",
    _FILL_COLUMNS,
    ("symbols", "venues", "since", "limit"),
    frozenset(("symbols", "venues")),
    names=_FILL_NAMES,
)
# Many such questions as one: each market with its own beginning and its own limit, so that the server reads
# and sends no row that nobody asked for, and says by a number instead of two words which market a row is of.
# `markets` is JSON: [{"market": number, "venue", "symbol", "since", "most"}, …].
_MARKET_COLUMNS = tuple(name for name in _FILL_COLUMNS if name not in ("venue", "symbol"))
_MARKET_LIST = ", ".join(name + "{text}" if name in _DECIMALS else name for name in _MARKET_COLUMNS)
_OF_MARKET = (
    " FROM {{fills}} AS t WHERE t.symbol = {symbol} AND t.venue = {venue} AND t.at >= {since}"
    " ORDER BY t.at DESC, t.sequence DESC LIMIT {most}"
)
_FROM_RECORD = {name: f"m.{name}" for name in ("market", "venue", "symbol", "since", "most")}
_FROM_JSON = {name: f"json_extract(m.value, '$.{name}')" for name in _FROM_RECORD}
# SQLite allows no column in a LIMIT: there the largest limit is everybody's.
_FROM_JSON["most"] = "(SELECT max(json_extract(value, '$.most')) FROM json_each({markets}))"
TRADES_BY_MARKET = Query(
    "trades-by-market",
    "our newest trades in each of many markets",
    "SELECT m.market, f.* FROM json_to_recordset({markets}::json)"
    " AS m (market int, venue text, symbol text, since timestamptz, most bigint),"
    f" LATERAL (SELECT {_MARKET_LIST}" + _OF_MARKET.format(**_FROM_RECORD) + ") AS f",
    ("market", *_MARKET_COLUMNS),
    ("markets",),
    variants={
        "sqlite": f"SELECT {_FROM_JSON['market']}, {_MARKET_LIST} FROM json_each({{markets}}) AS m"
        " JOIN {fills} AS f ON f.rowid IN (SELECT rowid" + _OF_MARKET.format(**_FROM_JSON)
        + ") ORDER BY 1, f.at DESC, f.sequence DESC"
    },
)  # fmt: skip
ORDER_FILLS = Query(
    "order-fills",
    "the fills of one order",
    f"SELECT {_FILL_LIST} FROM {{fills}} WHERE client_order_id = {{order}} ORDER BY at, sequence",
    _FILL_COLUMNS,
    ("order",),
    names=_FILL_NAMES,
)
ORDER_HISTORY = Query(
    "order-history",
    "everything that a venue or the gate said of one order, in order",
    "SELECT at, kind, order_status, request_status, reason, price_units, order_units, filled_units,"
    " leaves_units" + _SCALES + " FROM {reports} AS t WHERE client_order_id = {order} ORDER BY at, sequence",
    (
        "at", "kind", "order_status", "request_status", "reason", "price_units", "order_units",
        "filled_units", "leaves_units", *_EXPONENTS,
    ),
    ("order",),
    names={
        "kind": ReportKind, "order_status": OrderStatus, "request_status": RequestStatus, "reason": Reason,
    },
)  # fmt: skip
ORDER_INTENT = Query(
    "order-intent",
    "what a strategy wanted with one order, and when it decided",
    "SELECT at, actor_id, venue, symbol, kind, reason, side, price_units, quantity_units, decide_ns"
    + _SCALES + " FROM {intents} AS t WHERE client_order_id = {order} ORDER BY at, sequence",
    (
        "at", "actor_id", "venue", "symbol", "kind", "reason", "side", "price_units", "quantity_units",
        "decide_ns", *_EXPONENTS,
    ),
    ("order",),
    names={"kind": IntentKind, "reason": Reason, "side": Side},
)  # fmt: skip
DAILY = Query(
    "daily",
    "per day, strategy and symbol: fills, volume, fees, and cash: the profit of what began and ended flat",
    "SELECT {day} AS day, actor_id, venue, symbol, currency, count(*), {sum}(notional){text},"
    " {sum}(cash){text}, {sum}(fee){text} FROM {fills} WHERE " + _SPAN
    + " GROUP BY 1, actor_id, venue, symbol, currency ORDER BY 1, actor_id, venue, symbol",
    ("day", "actor_id", "venue", "symbol", "currency", "fills", "volume", "cash", "fees"),
    ("instance", "since", "until"),
)  # fmt: skip
DISCREPANCIES = Query(
    "discrepancies",
    "where the venue and we disagreed, and the repair that was made",
    "SELECT at, venue, symbol, kind, repair, client_order_id, ours, theirs, asset" + _SCALES
    + " FROM {discrepancies} AS t WHERE " + _SPAN + " ORDER BY at DESC LIMIT {limit}",
    (
        "at", "venue", "symbol", "kind", "repair", "client_order_id", "ours_units", "theirs_units", "asset",
        *_EXPONENTS,
    ),
    ("instance", "since", "until", "limit"),
    names={"kind": DiscrepancyKind, "repair": Repair},
)  # fmt: skip


def _hop(name: str, begin: str, end: str) -> str:
    return (
        f"SELECT {{day}} AS day, '{name}' AS hop, {end} - {begin} AS ns FROM {{reports}} WHERE {_SPAN}"
        f" AND kind = {_NEW} AND {begin} > 0 AND {end} > 0"
    )


_HOPS = " UNION ALL ".join(
    (
        _hop("decide-gate", "decide_ns", "gate_ns"),
        _hop("gate-send", "gate_ns", "send_ns"),
        _hop("send-ack", "send_ns", "ack_ns"),
        _hop("frame-send", "frame_ns", "send_ns"),
    )
)
# Nearest rank, as in a histogram of recorded values; both databases know window functions.
LATENCY = Query(
    "latency",
    "per day and hop of orders that were accepted: how many, p50, p99 and the largest, in ns",
    "SELECT day, hop, max(count), max(CASE WHEN rank <= (count * 50 + 99) / 100 THEN ns END),"
    " max(CASE WHEN rank <= (count * 99 + 99) / 100 THEN ns END), max(ns) FROM (SELECT day, hop, ns,"
    " row_number() OVER (PARTITION BY day, hop ORDER BY ns) AS rank,"
    " count(*) OVER (PARTITION BY day, hop) AS count FROM (" + _HOPS + ") AS hops) AS ranked"
    " GROUP BY day, hop ORDER BY day, hop",
    ("day", "hop", "count", "p50_ns", "p99_ns", "max_ns"),
    ("instance", "since", "until"),
)  # fmt: skip
REJECTS = Query(
    "rejects",
    "per symbol and reason: orders that the gate denied or a venue rejected",
    "SELECT venue, symbol, kind, reason, count(*) FROM {reports} WHERE " + _SPAN
    + f" AND kind IN ({int(ReportKind.DENIED)}, {int(ReportKind.REJECTED)})"
    " GROUP BY venue, symbol, kind, reason ORDER BY 5 DESC",
    ("venue", "symbol", "kind", "reason", "orders"),
    ("instance", "since", "until"),
    names={"kind": ReportKind, "reason": Reason},
)  # fmt: skip

_COSTS = ("total_e8", "price_e8", "fee_e8", "missed_e8")
SLIPPAGE = Query(
    "slippage",
    "per day, symbol and style: orders and their mean cost, 10^-8 of the notional",
    "SELECT {day} AS day, venue, symbol, style, count(*), "
    + ", ".join(f"CAST(sum({name}) AS bigint) / count(*)" for name in _COSTS)
    + " FROM {slippage} WHERE " + _SPAN
    + " GROUP BY 1, venue, symbol, style ORDER BY 1, venue, symbol, style",
    ("day", "venue", "symbol", "style", "orders", *_COSTS),
    ("instance", "since", "until"),
    names={"style": Style},
)  # fmt: skip
ORDER_SLIPPAGE = Query(
    "order-slippage",
    "what one order cost against the mid it was decided at, in 10^-8 of the notional",
    "SELECT at, venue, symbol, side, style, order_units, filled_units, twice_mid_units, price_e8, fee_e8,"
    " missed_e8, total_e8, fill_ns" + _SCALES
    + " FROM {slippage} AS t WHERE client_order_id = {order} ORDER BY at, sequence",
    (
        "at", "venue", "symbol", "side", "style", "order_units", "filled_units", "twice_mid_units",
        "price_e8", "fee_e8", "missed_e8", "total_e8", "fill_ns", *_EXPONENTS,
    ),
    ("order",),
    names={"side": Side, "style": Style},
)  # fmt: skip

# What the tools ask; not for the command line.
STORED = Query(
    "stored",
    "how far each journal is stored",
    "SELECT instance, gateway, epoch, sequence FROM {cursors} ORDER BY 1, 2",
    ("instance", "gateway", "epoch", "sequence"),
    (),
)
STEPS = Query(
    "steps",
    "which steps the schema has taken",
    "SELECT version, checksum, applied_at FROM {migrations} ORDER BY 1",
    ("version", "checksum", "applied_at"),
    (),
)
INSTANCES = Query(
    "instances",
    "whose rows there are",
    "SELECT DISTINCT instance FROM {instruments} ORDER BY 1",
    ("instance",),
    (),
)
TRADE_IDS = Query(
    "trade-ids", "every fill's trade", "SELECT trade_id FROM {fills} ORDER BY trade_id", ("trade_id",), ()
)

# What is asked by name.
QUERIES: Mapping[str, Query] = {
    query.name: query
    for query in (
        RECENT_TRADES, ORDER_FILLS, ORDER_HISTORY, ORDER_INTENT, ORDER_SLIPPAGE, DAILY, LATENCY, SLIPPAGE,
        DISCREPANCIES, REJECTS,
    )
}  # fmt: skip
