"""From journal entries to rows: pure, in order, and the same rows however the reading is cut."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from pathlib import Path

from actors.persistence import tables
from actors.persistence.tables import Row
from exec.entries import read_discrepancy, read_intent
from exec.slippage_entry import read_slippage
from feeds.errors import VenueError
from feeds.venues import VENUE_ID, venue_name
from shm.enums import JournalKind, ReportKind, Side
from shm.instruments import Instrument
from shm.journal import FileView, JournalEntry, JournalPosition
from shm.journal_files import map_to_read
from shm.records import ReportRecord
from shm.units import notional_exact

_INSTRUMENT, _INTENT, _REPORT, _DISCREPANCY, _SLIPPAGE = (
    int(JournalKind.INSTRUMENT),
    int(JournalKind.INTENT),
    int(JournalKind.REPORT),
    int(JournalKind.DISCREPANCY),
    int(JournalKind.SLIPPAGE),
)
_FILL, _BUY = int(ReportKind.FILL), int(Side.BUY)
_EXACT, _ATTO = Context(prec=80), Decimal("1e-18")
_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)
_SIGN_BIT, _RANGE = 1 << 63, 1 << 64


def signed64(number: int) -> int:
    """A 64-bit number without a sign as the bigint that holds its bits."""
    return number - _RANGE if number >= _SIGN_BIT else number


def unsigned64(number: int) -> int:
    """Back from `signed64`."""
    return number + _RANGE if number < 0 else number


def utc_time(utc_ns: int) -> datetime:
    """Nanoseconds of UTC as a time of microseconds, rounded down; exact for every year of a database."""
    return _EPOCH_START + timedelta(microseconds=utc_ns // 1000)


@dataclass(slots=True)
class Batch:
    """Rows of consecutive journal entries, by table, and the positions before and behind them."""

    instance: str
    gateway: int
    before: JournalPosition
    position: JournalPosition
    entries: int = 0
    rows: dict[str, list[Row]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Rows in all tables."""
        return sum(len(rows) for rows in self.rows.values())


class RowMaker:
    """Turns entries of one journal directory into rows.

    Args:
        instance: name of the instance.
        gateway: worker slot of the gateway that wrote them.
        instruments: rows already stored, (epoch, instrument id) → instrument: entries behind a stored
            position refer to instruments in front of it.
    """

    def __init__(
        self, instance: str, gateway: int, instruments: dict[tuple[int, int], Instrument] | None = None
    ) -> None:
        self.instance = instance
        self.gateway = gateway
        self._instruments = dict(instruments or {})
        self._utc_offset: dict[Path, int] = {}

    def make(
        self, entries: Iterable[JournalEntry], before: JournalPosition, position: JournalPosition
    ) -> Batch:
        """Rows of these entries.

        Args:
            entries: as `JournalFollower.read` returned them.
            before: the follower's position before it read them.
            position: the follower's position behind the last of them.

        Raises:
            JournalError: an entry's file can not be read any more.
        """
        batch = Batch(self.instance, self.gateway, before, position)
        for entry in entries:
            batch.entries += 1
            self._add(batch.rows, entry)
        return batch

    def _add(self, rows: dict[str, list[Row]], entry: JournalEntry) -> None:
        kind = entry.kind
        if kind == _INSTRUMENT:
            row = Instrument.from_bytes(entry.payload)
            known = self._instruments.get((entry.epoch, row.instrument_id))
            self._instruments[entry.epoch, row.instrument_id] = row
            if known is None:
                rows.setdefault("instruments", []).append(self._instrument(entry, row))
        elif kind == _INTENT:
            rows.setdefault("intents", []).append(self._intent(entry))
        elif kind == _REPORT:
            report = ReportRecord.from_bytes(entry.payload)
            rows.setdefault("reports", []).append(self._report(entry, report))
            if report.kind == _FILL:
                rows.setdefault("fills", []).append(self._fill(entry, report))
        elif kind == _DISCREPANCY:
            rows.setdefault("discrepancies", []).append(self._discrepancy(entry))
        elif kind == _SLIPPAGE:
            rows.setdefault("slippage", []).append(self._slippage(entry))

    def _key(self, entry: JournalEntry) -> Row:
        offset = self._utc_offset.get(entry.file)
        if offset is None:
            # Read it from the file: the clocks of another boot, or of another machine, are not ours.
            view = FileView(entry.file, map_to_read(entry.file), entry.epoch, _file_index(entry.file))
            offset = self._utc_offset[entry.file] = view.created_utc_ns - view.created_ns
            if len(self._utc_offset) > 64:
                del self._utc_offset[next(iter(self._utc_offset))]
        at = utc_time(entry.append_ns + offset)
        return (self.instance, self.gateway, entry.epoch, entry.sequence, at)

    def _traded(self, epoch: int, instrument_id: int) -> Row:
        row = self._instruments.get((epoch, instrument_id))
        if row is None:
            return (instrument_id if instrument_id < _SIGN_BIT >> 32 else -1, "", "")
        return (instrument_id, _venue(row.venue_id), row.symbol)

    def _instrument(self, entry: JournalEntry, row: Instrument) -> Row:
        return (
            self.instance, self.gateway, entry.epoch, row.instrument_id, _venue(row.venue_id), row.symbol,
            row.canonical, row.base, row.quote, row.settle, row.kind, int(row.is_inverse), row.price_exponent,
            row.quantity_exponent, row.multiplier, row.multiplier_exponent, row.tick_size, row.lot_size,
        )  # fmt: skip

    def _intent(self, entry: JournalEntry) -> Row:
        intent, _, slot, reason = read_intent(entry.payload)
        return (
            *self._key(entry), *self._traded(entry.epoch, intent.instrument_id), intent.actor_id, slot,
            intent.kind, reason, intent.side, intent.order_type, intent.time_in_force, intent.flags,
            signed64(intent.client_order_id), signed64(intent.orig_client_order_id), intent.price_units,
            intent.quantity_units, signed64(intent.generation), intent.frame_ns, intent.decide_ns,
        )  # fmt: skip

    def _report(self, entry: JournalEntry, report: ReportRecord) -> Row:
        return (
            *self._key(entry), *self._traded(entry.epoch, report.instrument_id), report.actor_id, report.kind,
            report.order_status, report.request_status, report.reason, report.side,
            signed64(report.client_order_id), signed64(report.orig_client_order_id),
            signed64(report.venue_order_id), report.price_units, report.order_units, report.filled_units,
            report.leaves_units, report.position_units, signed64(report.generation), report.frame_ns,
            report.decide_ns, report.gate_ns, report.send_ns, report.ack_ns, report.report_ns,
            report.venue_utc_ns,
        )  # fmt: skip

    def _fill(self, entry: JournalEntry, report: ReportRecord) -> Row:
        row = self._instruments.get((entry.epoch, report.instrument_id))
        price = Decimal(report.last_price_units).scaleb(-row.price_exponent if row is not None else 0)
        quantity = Decimal(report.last_units).scaleb(-row.quantity_exponent if row is not None else 0)
        notional, cash = _money(row, report, price)
        return (
            *self._key(entry), *self._traded(entry.epoch, report.instrument_id),
            row.canonical if row is not None else "", report.actor_id, report.side, report.liquidity,
            signed64(report.client_order_id), signed64(report.venue_order_id), signed64(report.trade_id),
            price, quantity, notional, cash, Decimal(report.fee_units).scaleb(-8),
            row.settle if row is not None else "",
            report.last_price_units, report.last_units, report.fee_units, report.position_units,
            report.venue_utc_ns,
        )  # fmt: skip

    def _discrepancy(self, entry: JournalEntry) -> Row:
        found = read_discrepancy(entry.payload)
        return (
            *self._key(entry), *self._traded(entry.epoch, found.instrument_id), found.kind, found.repair,
            found.word, found.side, signed64(found.client_order_id), signed64(found.venue_order_id),
            signed64(found.trade_id), found.ours, found.theirs, found.price_units, found.units, found.fee_e8,
            found.asset, found.venue_utc_ns,
        )  # fmt: skip

    def _slippage(self, entry: JournalEntry) -> Row:
        found, actor_id = read_slippage(entry.payload)
        return (
            *self._key(entry), *self._traded(entry.epoch, found.instrument_id), actor_id,
            signed64(found.order_id), found.side, int(found.style), found.decide_ns, found.end_ns,
            found.order_units, found.filled_units, found.twice_mid_units, found.price_e8, found.fee_e8,
            found.missed_e8, found.total_e8, found.fill_ns,
        )  # fmt: skip


def _money(row: Instrument | None, report: ReportRecord, price: Decimal) -> tuple[Decimal, Decimal]:
    """Notional in the quote currency, and the change of the settlement currency before the fee."""
    if row is None:
        return Decimal(0), Decimal(0)
    mantissa, exponent = notional_exact(report.last_price_units, report.last_units, row)
    notional = Decimal(mantissa).scaleb(-exponent, _EXACT)
    if not row.is_inverse:
        return notional, -notional if report.side == _BUY else notional
    # A buyer of inverse contracts gains the settlement currency's amount at this price, and gives it back
    # at the price he sells at; only here is a rounding, in the 19th decimal.
    amount = (notional / price).quantize(_ATTO, context=_EXACT) if price else Decimal(0)
    return notional, amount if report.side == _BUY else -amount


def instrument_of(stored: Row) -> tuple[tuple[int, int], Instrument]:
    """Back from a row of the table `instruments` to what `RowMaker` wants to know of it."""
    fields = dict(zip(tables.INSTRUMENTS.names, stored, strict=True))
    row = Instrument(
        instrument_id=fields["instrument_id"], venue_id=_venue_id(fields["venue"]),
        symbol=fields["symbol"], canonical=fields["canonical"],
        base=fields["base"], quote=fields["quote"], settle=fields["settle"],
        kind=fields["kind"], is_inverse=bool(fields["is_inverse"]), price_exponent=fields["price_exponent"],
        quantity_exponent=fields["quantity_exponent"], multiplier=fields["multiplier"],
        multiplier_exponent=fields["multiplier_exponent"], tick_size=fields["tick_size"],
        lot_size=fields["lot_size"],
    )  # fmt: skip
    return (fields["epoch"], row.instrument_id), row


def _file_index(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def _venue(venue_id: int) -> str:
    try:
        return venue_name(venue_id)
    except VenueError:
        return str(venue_id)


def _venue_id(venue: str) -> int:
    """Back from `_venue`."""
    return VENUE_ID.get(venue, int(venue) if venue.isdecimal() else 0)
