"""Repairs carried out: a discrepancy is journaled first, then its repair is applied to the OMS.

What has to go to the venue (CANCEL, ASK, ASK_FILLS) is not sent here: `repair` says which, and its caller
sends.
"""

from __future__ import annotations

from exec.applier import Ledger
from exec.discrepancy import Discrepancy, Repair
from exec.entries import EntryWriter
from exec.lifecycle import Event
from exec.oms import Oms
from exec.session import VenueReport
from shm.enums import OrderStatus
from shm.errors import JournalError

_UNKNOWN = int(OrderStatus.UNKNOWN)
_OUTSIDE = frozenset((Repair.CANCEL, Repair.ASK, Repair.ASK_FILLS))


def repair(discrepancy: Discrepancy, oms: Oms, entries: EntryWriter | None, now_ns: int) -> Repair:
    """Journal one discrepancy and make its repair, as far as it is ours.

    Args:
        discrepancy: from `exec.discrepancy.compare`.
        oms: orders and ledger; its reports go out as always.
        entries: the journal; None = do not journal. A full journal does not stop a repair, but for
            BOOK_DRIFT, which a restart would not know of.
        now_ns: stamps entry and reports.

    Returns:
        What the caller has to send to the venue: CANCEL, ASK, ASK_FILLS, or NONE.
    """
    what = Repair(discrepancy.repair)
    try:
        if entries is not None:
            entries.discrepancy(discrepancy, now_ns)
    except JournalError:
        oms.statistics.unjournaled += 1
        if what == Repair.BOOK_DRIFT:
            return Repair.ASK_FILLS
    if what == Repair.BOOK_FILL:
        oms.apply_report(_report(discrepancy, Event.FILL_PART), now_ns)
    elif what == Repair.TAKE_WORD:
        _doubt(discrepancy, oms, now_ns)
        oms.apply_report(_report(discrepancy, discrepancy.word), now_ns)
    elif what == Repair.ASK:
        _doubt(discrepancy, oms, now_ns)
    elif what == Repair.BOOK_DRIFT:
        book_drift(discrepancy, oms.ledger)
    return what if what in _OUTSIDE else Repair.NONE


def book_drift(discrepancy: Discrepancy, ledger: Ledger) -> int:
    """Book the difference of the positions like a fill without a fee; returns the position after it."""
    return ledger.apply_fill(
        discrepancy.instrument_id, discrepancy.side, discrepancy.price_units, discrepancy.units, 0
    )


def _doubt(discrepancy: Discrepancy, oms: Oms, now_ns: int) -> None:
    """An order whose state the venue contradicts is UNKNOWN until the venue's word is taken."""
    order = oms.order(discrepancy.client_order_id)
    if order is not None and not order.is_terminal and order.status != _UNKNOWN:
        oms.lose(order, now_ns)


def _report(discrepancy: Discrepancy, event: int) -> VenueReport:
    is_fill = event == Event.FILL_PART
    return VenueReport(
        event,
        discrepancy.client_order_id,
        discrepancy.instrument_id,
        discrepancy.side,
        venue_order_id=discrepancy.venue_order_id,
        price_units=0 if is_fill else discrepancy.price_units,
        order_units=0 if is_fill else discrepancy.units,
        trade_id=discrepancy.trade_id,
        last_units=discrepancy.units if is_fill else 0,
        last_price_units=discrepancy.price_units if is_fill else 0,
        liquidity=discrepancy.liquidity,
        fee_units=discrepancy.fee_e8,
        venue_utc_ns=discrepancy.venue_utc_ns,
    )
