"""Journal entries in words and as JSON: names for numbers, decimals beside units, wall time beside stamps."""

from __future__ import annotations

import datetime
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import Any

import orjson

from actors.halt_care import read_halt
from exec.checkpoint import instrument_rows
from exec.discrepancy import DiscrepancyKind, Repair
from exec.entries import read_agreed, read_discrepancy, read_intent, read_sent
from exec.lifecycle import Event
from exec.slippage import Style
from exec.slippage_entry import read_slippage
from shm.enums import (
    IntentKind,
    JournalKind,
    Liquidity,
    OrderFlags,
    OrderStatus,
    OrderType,
    Reason,
    ReportKind,
    RequestStatus,
    Side,
    TimeInForce,
    TradingState,
)
from shm.errors import JournalError, ShmError
from shm.instruments import Instrument
from shm.journal import FileView, JournalEntry
from shm.journal_checkpoint import newest_checkpoint
from shm.journal_files import FILE_NAME, map_to_read
from shm.records import ReportRecord
from shm.units import format_units

_REPORT_NAMES: dict[str, type[IntEnum]] = {
    "side": Side,
    "order_status": OrderStatus,
    "request_status": RequestStatus,
    "reason": Reason,
    "liquidity": Liquidity,
}
_REPORT_FIELDS = (
    "side", "order_status", "request_status", "reason", "liquidity", "actor_id", "instrument_id",
    "client_order_id", "orig_client_order_id", "venue_order_id", "price_units", "order_units", "filled_units",
    "leaves_units", "last_units", "last_price_units", "trade_id", "fee_units", "position_units", "decide_ns",
    "gate_ns", "send_ns", "ack_ns", "report_ns", "venue_utc_ns", "generation",
)  # fmt: skip
_INTENT_FIELDS = (
    "actor_id", "instrument_id", "client_order_id", "orig_client_order_id", "price_units", "quantity_units",
    "worker_slot", "incarnation", "frame_ns", "decide_ns", "generation",
)  # fmt: skip
_SLIPPAGE_FIELDS = (
    "decide_ns", "end_ns", "order_units", "filled_units", "twice_mid_units", "price_e8", "fee_e8",
    "missed_e8", "total_e8", "fill_ns",
)  # fmt: skip
_PRICES = frozenset(("price_units", "last_price_units"))
_QUANTITIES = {
    "order_units": "order_quantity",
    "filled_units": "filled_quantity",
    "leaves_units": "leaves_quantity",
    "last_units": "last_quantity",
    "position_units": "position",
    "quantity_units": "quantity",
    "units": "quantity",
}
#: What an entry may be called: its own kind, or what it holds.
KINDS = frozenset(
    name
    for names in (JournalKind, IntentKind, ReportKind, DiscrepancyKind, TradingState, Style)
    for name in names.__members__
) | {"DECISION", "STYLE", "ROUTE", "QUOTE"}
_ORDER_IDS = ("client_order_id", "orig_client_order_id", "new_client_order_id")


def name_of(names: type[IntEnum], number: int) -> str:
    """Name of a number, or the number itself where a newer build wrote it."""
    try:
        return names(number).name
    except ValueError:
        return str(number)


def flag_names(number: int) -> str:
    """Names of order flags, joined by |."""
    return "|".join(flag.name or "" for flag in OrderFlags if isinstance(flag, IntFlag) and flag & number)


@dataclass(slots=True)
class View:
    """Decodes the entries of one directory; keeps the instrument rows and clocks that they need.

    Args:
        directory: of the journal.
    """

    directory: Path
    _rows: dict[tuple[int, int], Instrument] = field(default_factory=dict)
    _clocks: dict[Path, int] = field(default_factory=dict)
    _epochs: set[int] = field(default_factory=set)

    def utc_ns(self, entry: JournalEntry) -> int:
        """Wall clock of an entry by its file's two stamps; 0 = the file states none."""
        offset = self._clocks.get(entry.file)
        if offset is None:
            match = FILE_NAME.fullmatch(entry.file.name)
            assert match is not None
            view = FileView(entry.file, map_to_read(entry.file), int(match[1]), int(match[2]))
            offset = view.created_utc_ns - view.created_ns if view.created_ns else 0
            self._clocks[entry.file] = offset
        return entry.append_ns + offset if offset else 0

    def row(self, epoch: int, instrument_id: int) -> Instrument | None:
        """The instrument of an id in an epoch, from the rows read so far or from a checkpoint."""
        row = self._rows.get((epoch, instrument_id))
        if row is None and epoch not in self._epochs:
            self._epochs.add(epoch)
            self.learn(epoch)
            row = self._rows.get((epoch, instrument_id))
        return row

    def learn(self, epoch: int) -> None:
        """Take the rows at the head of an epoch's first file, or of its checkpoint when that file is gone."""
        payloads: list[bytes] = []
        try:
            first = self.directory / f"journal-{epoch:06d}-000000.rlj"
            if first.exists():
                view = FileView(first, map_to_read(first), epoch, 0)
                while (batch := view.read(1)) and batch[0].kind == JournalKind.INSTRUMENT:
                    payloads.append(batch[0].payload)
            elif (checkpoint := newest_checkpoint(self.directory, epoch)) is not None:
                payloads = instrument_rows(checkpoint.content)
        except JournalError:
            return
        for payload in payloads:
            self._take_row(epoch, payload)

    def _take_row(self, epoch: int, payload: bytes) -> Instrument:
        row = Instrument.from_bytes(payload)
        self._rows[epoch, row.instrument_id] = row
        return row

    def document(self, entry: JournalEntry) -> dict[str, Any]:
        """An entry as one JSON object; a payload that can not be read is said, not raised."""
        utc_ns = self.utc_ns(entry)
        found: dict[str, Any] = {
            "time": iso(utc_ns) if utc_ns else None,
            "epoch": entry.epoch,
            "sequence": entry.sequence,
            "kind": name_of(JournalKind, entry.kind),
        }
        decode = _DECODERS.get(entry.kind)
        try:
            found |= decode(self, entry) if decode else {"payload": entry.payload.hex()}
        except (ShmError, ValueError, TypeError, struct.error) as error:
            found |= {"unreadable": str(error), "payload": entry.payload.hex()}
        instrument_id = found.get("instrument_id")
        if isinstance(instrument_id, int):
            self._name(entry.epoch, instrument_id, found)
        return found | {
            "append_ns": entry.append_ns, "utc_ns": utc_ns, "file": entry.file.name, "offset": entry.offset,
        }  # fmt: skip

    def _name(self, epoch: int, instrument_id: int, found: dict[str, Any]) -> None:
        row = self.row(epoch, instrument_id)
        if row is None:
            return
        found["instrument"] = row.canonical or row.symbol
        for key in list(found):
            if key in _PRICES and isinstance(found[key], int):
                found[key.removesuffix("_units")] = format_units(found[key], row.price_exponent)
            elif key in _QUANTITIES:
                found[_QUANTITIES[key]] = format_units(found[key], row.quantity_exponent)

    def _instrument(self, entry: JournalEntry) -> dict[str, Any]:
        row = self._take_row(entry.epoch, entry.payload)
        return {
            "instrument_id": row.instrument_id, "symbol": row.symbol, "canonical": row.canonical,
            "venue_id": row.venue_id, "price_exponent": row.price_exponent,
            "quantity_exponent": row.quantity_exponent, "tick_size": row.tick_size, "lot_size": row.lot_size,
        }  # fmt: skip

    def _intent(self, entry: JournalEntry) -> dict[str, Any]:
        intent, ring_sequence, from_slot, reason = read_intent(entry.payload)
        return {
            "what": name_of(IntentKind, intent.kind),
            "verdict": name_of(Reason, reason) if reason else "PASSED",
            "side": name_of(Side, intent.side),
            "order_type": name_of(OrderType, intent.order_type),
            "time_in_force": name_of(TimeInForce, intent.time_in_force),
            "flags": flag_names(intent.flags),
            **{name: getattr(intent, name) for name in _INTENT_FIELDS},
            "ring_sequence": ring_sequence,
            "from_slot": from_slot,
        }

    def _sent(self, entry: JournalEntry) -> dict[str, Any]:
        sent = read_sent(entry.payload)
        kind = name_of(JournalKind, entry.kind)
        return {"what": name_of(IntentKind, sent.kind), **sent._asdict(), "kind": kind}

    def _agreed(self, entry: JournalEntry) -> dict[str, Any]:
        account, venue_utc_ns = read_agreed(entry.payload)
        same = f"venue {account}: the same up to {iso(venue_utc_ns)}"
        return {"venue_id": account, "venue_utc_ns": venue_utc_ns, "text": same}

    def _report(self, entry: JournalEntry) -> dict[str, Any]:
        report = ReportRecord.from_bytes(entry.payload)
        found: dict[str, Any] = {"what": name_of(ReportKind, report.kind)}
        for name in _REPORT_FIELDS:
            value = getattr(report, name)
            names = _REPORT_NAMES.get(name)
            found[name] = value if names is None else name_of(names, value)
        return found

    def _discrepancy(self, entry: JournalEntry) -> dict[str, Any]:
        found = read_discrepancy(entry.payload)
        return {
            **found._asdict(),
            "kind": "DISCREPANCY",
            "what": name_of(DiscrepancyKind, found.kind),
            "repair": name_of(Repair, found.repair),
            "word": name_of(Event, found.word) if found.word else "",
            "side": name_of(Side, found.side),
            "liquidity": name_of(Liquidity, found.liquidity),
        }

    def _generation(self, entry: JournalEntry) -> dict[str, Any]:
        return {"generation": int.from_bytes(entry.payload, "little")}

    def _halt(self, entry: JournalEntry) -> dict[str, Any]:
        state, reason, count = read_halt(entry.payload)
        return {"what": name_of(TradingState, state), "reason": name_of(Reason, reason), "changes": count}

    def _slippage(self, entry: JournalEntry) -> dict[str, Any]:
        order, actor_id = read_slippage(entry.payload)
        return {
            "client_order_id": order.order_id, "actor_id": actor_id, "instrument_id": order.instrument_id,
            "what": order.style.name, "side": name_of(Side, order.side),
            **{name: getattr(order, name) for name in _SLIPPAGE_FIELDS},
        }  # fmt: skip

    def _note(self, entry: JournalEntry) -> dict[str, Any]:
        text = entry.payload.decode("utf-8", "replace")
        return read_decision(text) if text.startswith('{"decision":') else {"text": text}


_DECODERS: dict[int, Callable[[View, JournalEntry], dict[str, Any]]] = {
    int(JournalKind.INSTRUMENT): View._instrument,
    int(JournalKind.INTENT): View._intent,
    int(JournalKind.SENT): View._sent,
    int(JournalKind.HELD): View._sent,
    int(JournalKind.RELEASED): View._sent,
    int(JournalKind.AGREED): View._agreed,
    int(JournalKind.REPORT): View._report,
    int(JournalKind.GENERATION): View._generation,
    int(JournalKind.DISCREPANCY): View._discrepancy,
    int(JournalKind.HALT): View._halt,
    int(JournalKind.NOTE): View._note,
    int(JournalKind.SLIPPAGE): View._slippage,
}


def read_decision(text: str) -> dict[str, Any]:
    """A note of `actors.measures` about what changed an order: its amounts, and the same as words.

    Raises:
        ValueError: the text is no such note.
    """
    data = orjson.loads(text)
    found = {"kind": "DECISION", "what": data.pop("decision"), "client_order_id": data.pop("order")}
    words = (f"{name}={value}" for name, value in data.items() if value not in (None, "", 0, {}, []))
    return found | {"decision": data, "text": " ".join(words)}


def iso(utc_ns: int) -> str:
    """UTC in ISO 8601 with nanoseconds."""
    seconds, rest = divmod(utc_ns, 1_000_000_000)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


_AGO = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|m|h|d)")
_AGO_NS = {"s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000, "d": 86_400_000_000_000}


def parse_time(text: str, now_utc_ns: int) -> int:
    """Wall clock from ISO 8601 (UTC where no zone is given), or from `90s`, `10m`, `2h`, `1d` ago.

    Raises:
        ValueError: it is neither.
    """
    ago = _AGO.fullmatch(text)
    if ago:
        return now_utc_ns - round(float(ago[1]) * _AGO_NS[ago[2]])
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    since = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000


@dataclass(slots=True)
class Filter:
    """Which entries are wanted; every part that is given must fit.

    Args:
        kinds: names of journal entries or of what they hold (INTENT, FILL, CANCEL, GHOST_ORDER, …), upper
            case.
        order: an id; ids that a replace leads to count as the same order from there on.
        instrument: its number, symbol or canonical name, any case.
        since_utc_ns, until_utc_ns: wall clock, 0 = open.
    """

    kinds: frozenset[str] = frozenset()
    order: int = 0
    instrument: str = ""
    since_utc_ns: int = 0
    until_utc_ns: int = 0
    _orders: set[int] = field(default_factory=set)

    def fits(self, found: dict[str, Any], row: Instrument | None) -> bool:
        """Whether a document is wanted."""
        if self.kinds and not self.kinds & {found["kind"], found.get("what", "")}:
            return False
        utc_ns = found["utc_ns"]
        if self.since_utc_ns and utc_ns < self.since_utc_ns:
            return False
        if self.until_utc_ns and utc_ns > self.until_utc_ns:
            return False
        if self.instrument and not self._is_instrument(found, row):
            return False
        return not self.order or self._is_order(found)

    def _is_instrument(self, found: dict[str, Any], row: Instrument | None) -> bool:
        wanted = self.instrument.casefold()
        names = {str(found.get("instrument_id", ""))}
        if row is not None:
            names |= {row.symbol.casefold(), row.canonical.casefold()}
        return wanted in names

    def _is_order(self, found: dict[str, Any]) -> bool:
        self._orders.add(self.order)
        mine = {found[name] for name in _ORDER_IDS if found.get(name)}
        if not mine & self._orders:
            return False
        self._orders |= mine
        return True


def documents(view: View, entries: Iterable[JournalEntry], wanted: Filter) -> Iterator[dict[str, Any]]:
    """The documents of the entries that are wanted."""
    for entry in entries:
        found = view.document(entry)
        instrument_id = found.get("instrument_id")
        row = view.row(entry.epoch, instrument_id) if isinstance(instrument_id, int) else None
        if wanted.fits(found, row):
            yield found


def line(found: dict[str, Any]) -> str:
    """A document as one line for people: what differs between entries of a kind, and no stamps."""
    head = f"{found['time'] or '-':30} {found['epoch']}/{found['sequence']} {found['kind']}"
    words = [str(found[key]) for key in ("what", "repair", "verdict", "instrument", "side") if found.get(key)]
    if found["kind"] == "INSTRUMENT":
        words += [f"{found['instrument_id']} {found['symbol']}"]
    if found.get("client_order_id"):
        words.append(f"order={found['client_order_id']:#x}")
    for key in ("orig_client_order_id", "new_client_order_id"):
        if found.get(key):
            words.append(f"{key.partition('_')[0]}={found[key]:#x}")
    for key in (
        "price", "quantity", "order_quantity", "filled_quantity", "leaves_quantity", "last_quantity",
        "last_price", "trade_id", "position", "order_status", "reason", "liquidity", "ours", "theirs", "word",
        "asset", "generation", "total_e8", "text", "unreadable", "payload",
    ):  # fmt: skip
        value = found.get(key)
        if value not in (None, "", 0, "0", "NONE"):
            words.append(f"{key.removesuffix('_quantity')}={value}")
    return f"{head} {' '.join(words)}"
