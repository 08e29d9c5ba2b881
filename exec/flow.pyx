# cython: language_level=3, freethreading_compatible=False
"""What the gateway does with one intent, as plain functions: journal, OMS, journal, session, in that order.

Cancels go out whatever happens to the journal; everything else is denied (JOURNAL) when it can not be
journaled first.
"""

from libc.stdint cimport int64_t

from exec.entry_writer cimport OrderEntries
from exec.oms cimport Oms
from exec.order cimport Order
from shm.records cimport IntentRecord

from shm.enums import IntentKind, Reason
from shm.errors import JournalError

cdef int _NEW = int(IntentKind.NEW)
cdef int _CANCEL = int(IntentKind.CANCEL)
cdef int _REPLACE = int(IntentKind.REPLACE)
cdef int _MASS_CANCEL = int(IntentKind.MASS_CANCEL)
cdef int _MASS_STATUS = int(IntentKind.MASS_STATUS)
cdef int _JOURNAL = int(Reason.JOURNAL)
cdef int _NOT_RECEIVED = int(Reason.NOT_RECEIVED)


def process_intent(
    IntentRecord intent not None, int reason, ring_sequence, from_slot, Oms oms not None, session,
    OrderEntries entries not None, clock, int64_t now_ns,
):
    """Carry out one intent after the gate's verdict.

    Args:
        intent: as consumed from the ring.
        reason: verdict of the gate, 0 = passed.
        ring_sequence: the intent's sequence in its ring; journaled, so that a restart skips it.
        from_slot: worker slot whose ring it came from.
        oms: orders.
        session: where commands go.
        entries: the journal.
        clock: stamps `send_ns` right after the session took the command.
        now_ns: time of the gate's verdict.

    Returns:
        The order sent or replaced, None when nothing was (or only cancels were).

    Raises:
        Nothing for a full journal or a lost session: those are reports. What `oms.on_report` raises passes.
    """
    cdef int kind = intent.kind
    cdef Order order
    try:
        entries.intent(intent, ring_sequence, from_slot, reason, now_ns)
    except JournalError:
        if kind == _NEW or kind == _REPLACE:
            reason = reason or _JOURNAL
    if reason:
        oms.deny(intent, reason, now_ns)
        return None
    if kind == _NEW:
        return send_new(intent, oms, session, entries, clock, now_ns)
    if kind == _CANCEL:
        order = oms.on_cancel(intent, now_ns)
        if order is not None:
            _send_cancel(order, oms, session, entries, clock, now_ns)
    elif kind == _MASS_CANCEL:
        cancel_orders(oms.mass_cancel_targets(intent), oms, session, entries, clock, now_ns)
    elif kind == _REPLACE:
        return send_replace(intent, oms, session, entries, clock, now_ns)
    elif kind == _MASS_STATUS:
        oms.status_reports(intent, now_ns)
    return None


cpdef Order send_new(IntentRecord intent, Oms oms, session, OrderEntries entries, clock, int64_t now_ns):
    """Make and send a new order; without a session or journal it is REJECTED, never sent."""
    cdef Order order = oms.accept_new(intent, now_ns)
    if not session.accepts(_NEW, intent.instrument_id):
        oms.not_sent(order, now_ns)
        return None
    try:
        entries.sent(_NEW, order, now_ns)
    except JournalError:
        oms.not_sent(order, now_ns, _JOURNAL)
        return None
    session.new(order, now_ns)
    oms.mark_sent(order, clock())
    return order


cpdef Order send_replace(IntentRecord intent, Oms oms, session, OrderEntries entries, clock, int64_t now_ns):
    """Send a replace of a working order; without a session or journal it is REPLACE_REJECTED."""
    cdef Order order
    if not session.accepts(_REPLACE, intent.instrument_id):
        oms.deny(intent, _NOT_RECEIVED, now_ns)
        return None
    order = oms.request_replace(intent, now_ns)
    if order is None:
        return None
    try:
        entries.sent(_REPLACE, order, now_ns)
    except JournalError:
        oms.replace_not_sent(order, _JOURNAL, now_ns)
        return None
    session.replace(order, now_ns)
    oms.mark_sent(order, clock())
    return order


def cancel_orders(orders, Oms oms not None, session, OrderEntries entries not None, clock, int64_t now_ns):
    """Send a cancel for each order that has none under way (orphans, halt, stop); returns how many.

    An UNKNOWN order would take one after the other; each costs what a question about it may cost.
    """
    cdef int count = 0
    cdef Order order
    for order in orders:
        if not order.is_pending_cancel and oms.request_cancel(order, now_ns):
            _send_cancel(order, oms, session, entries, clock, now_ns)
            count += 1
    return count


cdef int _send_cancel(Order order, Oms oms, session, OrderEntries entries, clock, int64_t now_ns) except -1:
    if not session.accepts(_CANCEL, order.instrument_id):
        oms.cancel_not_sent(order, _NOT_RECEIVED, now_ns)
        return 0
    try:
        entries.sent(_CANCEL, order, now_ns)
    except JournalError:
        # A cancel must go out; the restart will find the order and ask the venue.
        oms.statistics.unjournaled += 1
    session.cancel(order, now_ns)
    oms.mark_sent(order, clock())
    return 0
