"""An independent account of what a journal proves, in fractions, and the comparison with a run report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from exec.entries import read_intent, read_sent
from shm.enums import IntentKind, JournalKind, Reason, ReportKind, Side
from shm.instruments import Instrument
from shm.journal_reader import read_journal
from shm.records import IntentRecord, ReportRecord
from tests.kit.engine_run import EngineRun

E8 = 10**8
#: Reports that say nothing of the order itself.
REFUSALS = (ReportKind.CANCEL_REJECTED, ReportKind.REPLACE_REJECTED, ReportKind.DENIED)
TOO_LATE = (Reason.UNKNOWN_ORDER, Reason.ORDER_TERMINAL)


@dataclass
class Holding:
    """One instrument by average cost, every number a fraction of the quote currency."""

    quantity: Fraction = Fraction(0)
    cost: Fraction = Fraction(0)
    cash: Fraction = Fraction(0)
    realized: Fraction = Fraction(0)
    fees: Fraction = Fraction(0)
    fills: int = 0

    def fill(self, signed: Fraction, price: Fraction, fee: Fraction) -> None:
        self.fills += 1
        self.fees += fee
        self.cash -= signed * price
        if self.quantity * signed < 0:
            average = self.cost / self.quantity
            closed = min(abs(signed), abs(self.quantity)) * (1 if signed > 0 else -1)
            self.realized -= closed * (price - average)
            self.quantity += closed
            self.cost += closed * average
            signed -= closed
        self.quantity += signed
        self.cost += signed * price


@dataclass
class Account:
    """What one epoch's journal says."""

    instruments: dict[int, Instrument] = field(default_factory=dict)
    intents: list[tuple[IntentRecord, int]] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    denied: Counter[str] = field(default_factory=Counter)
    opened: dict[int, set[int]] = field(default_factory=dict)
    sent_new: list[int] = field(default_factory=list)
    trades: list[int] = field(default_factory=list)
    filled: int = 0
    leaves: dict[int, int] = field(default_factory=dict)
    holdings: dict[str, Holding] = field(default_factory=dict)
    reports: list[ReportRecord] = field(default_factory=list)

    @property
    def open_orders(self) -> list[int]:
        """Orders that still rest where the journal ends."""
        return [order for order, units in self.leaves.items() if units]

    def report(self, report: ReportRecord) -> None:
        self.reports.append(report)
        kind = ReportKind(report.kind)
        self.kinds[kind.name] += 1
        if kind == ReportKind.NEW:
            self.opened.setdefault(report.client_order_id, set()).add(report.venue_order_id)
        elif kind == ReportKind.FILL:
            self.trades.append(report.trade_id)
            self.filled += not report.leaves_units
            self.fill(report)
        elif kind == ReportKind.REPLACED:  # a replaced order goes on under its new id
            self.leaves.pop(report.orig_client_order_id, None)
        elif kind == ReportKind.DENIED:
            self.denied[Reason(report.reason).name] += 1
        if kind not in REFUSALS and report.order_units:
            assert report.filled_units + report.leaves_units <= report.order_units
            self.leaves[report.client_order_id] = report.leaves_units

    def fill(self, report: ReportRecord) -> None:
        row = self.instruments[report.instrument_id]
        signed = Fraction(report.last_units, 10**row.quantity_exponent)
        price = Fraction(report.last_price_units, 10**row.price_exponent)
        holding = self.holdings.setdefault(row.canonical, Holding())
        sign = 1 if report.side == Side.BUY else -1
        holding.fill(sign * signed, price, Fraction(report.fee_units, E8))


def journal_folder(run: EngineRun) -> Path:
    """The gateway's journal; what strategies measured stands beside it, in `measures-*`."""
    return next((run.state / run.name).rglob("journal-*/*.rlj")).parent


def read_account(run: EngineRun, epoch: int | None = None) -> Account:
    """The account of one epoch, by default the only one."""
    account = Account()
    for entry in read_journal(journal_folder(run), epoch):
        if entry.kind == JournalKind.INSTRUMENT:
            row = Instrument.from_bytes(entry.payload)
            assert row.instrument_id not in account.instruments, "an instrument row was journaled twice"
            account.instruments[row.instrument_id] = row
        elif entry.kind == JournalKind.INTENT:
            intent, _, _, verdict = read_intent(entry.payload)
            account.intents.append((intent, verdict))
            if verdict and intent.kind == IntentKind.REPLACE and verdict not in TOO_LATE:
                account.denied[Reason(verdict).name] += 1
        elif entry.kind == JournalKind.SENT:
            command = read_sent(entry.payload)
            if command.kind == IntentKind.NEW:
                account.sent_new.append(command.client_order_id)
        elif entry.kind == JournalKind.REPORT:
            account.report(ReportRecord.from_bytes(entry.payload))
    return account


def assert_whole(account: Account, *, is_stopped: bool = True) -> None:
    """No order lost or doubled, no fill booked twice, nothing rests after an ordered stop."""
    assert account.opened, "no order was opened at all"
    twice = {order: ids for order, ids in account.opened.items() if len(ids) > 1}
    assert not twice, "an order was opened twice at the venue"
    assert len(account.sent_new) == len(set(account.sent_new)), "an order was sent twice"
    assert len(account.trades) == len(set(account.trades)), "a fill was booked twice"
    answered = {r.client_order_id for r in account.reports}
    answered |= {r.orig_client_order_id for r in account.reports}
    lost = [
        i for i, verdict in account.intents if i.kind == IntentKind.NEW and i.client_order_id not in answered
    ]
    assert not lost, "nobody ever heard of these intents"
    if is_stopped:
        assert account.open_orders == [], "orders still open after an ordered stop"


def money(text: str) -> Fraction:
    return Fraction(text)


def assert_report_true(report: dict[str, Any], account: Account) -> None:
    """Counts equal the journal's; positions, fees and PnL equal those recomputed from its fills."""
    orders, kinds = report["orders"], account.kinds
    # A recovered order is acknowledged again, maybe under the id of a replace: the venue's own id counts.
    assert orders["new"] == len({venue_id for ids in account.opened.values() for venue_id in ids})
    assert orders["fills"] == kinds["FILL"] == len(account.trades)
    assert orders["filled"] == account.filled
    assert orders["canceled"] == kinds["CANCELED"]
    assert orders["rejected"] == kinds["REJECTED"]
    assert orders["denied"] == account.denied.total()
    assert orders.get("denied_by_reason", {}) == dict(account.denied)
    rows = {row["instrument"]: row for row in report["positions"]}
    assert rows.keys() == account.holdings.keys()
    for name, holding in account.holdings.items():
        row = rows[name]
        # Closing takes its part of the cost rounded to a product of units; the rest keeps the difference.
        terms = next(i for i in account.instruments.values() if i.canonical == name)
        unit = Fraction(1, 10 ** (terms.price_exponent + terms.quantity_exponent))
        rounding = holding.fills * unit + Fraction(1, E8)
        assert row["fills"] == holding.fills
        assert money(row["quantity"]) == holding.quantity
        assert money(row["fees"]) == holding.fees
        mark = money(row["mark_price"])
        assert abs(money(row["realized"]) - holding.realized) <= rounding
        assert abs(money(row["unrealized"]) - (holding.quantity * mark - holding.cost)) <= rounding
        net = money(row["realized"]) + money(row["unrealized"])
        assert abs(net - (holding.cash + holding.quantity * mark)) <= Fraction(2, E8)
    total = sum((money(p["net"]) for p in report["pnl"].values()), Fraction(0))
    parts = sum(
        (money(r["realized"]) + money(r["unrealized"]) - money(r["fees"]) for r in report["positions"]),
        Fraction(0),
    )
    assert total == parts
