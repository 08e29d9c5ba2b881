"""The order lifecycle as a table: (status, event) -> what becomes of the status. No I/O, no order object.

Every pair is decided. Statuses are those of FIX 4.4 OrdStatus plus DENIED and UNKNOWN; precedence is our
own, simpler one (vocabulary): terminal over pending over working, because the fate of a request is kept
apart in the request status.

Rules that the table states:

- A fill is money: it is booked in every status, also before the acknowledgment and after CANCELED (then it
  is *late*: the status stays, or becomes FILLED when the order is complete).
- UNKNOWN (session lost, or a request timed out) leaves only by the venue's word: a report or the answer to a
  query. Only the venue saying it never saw the order makes it REJECTED.
- NOT_SENT is our own knowledge (journaled but never given to the session) and only legal before sending.
- A cancel's refusal never changes a terminal status; the request status tells the actor.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from shm.enums import OrderStatus


class Event(IntEnum):
    """What can happen to an order. FILL_PART leaves something open, FILL_ALL nothing."""

    ACCEPTED = 1
    REJECTED = 2
    FILL_PART = 3
    FILL_ALL = 4
    CANCEL_SENT = 5
    CANCELED = 6
    CANCEL_REJECTED = 7
    REPLACE_SENT = 8
    REPLACED = 9
    REPLACE_REJECTED = 10
    EXPIRED = 11
    DISCONNECTED = 12
    TIMED_OUT = 13
    NOT_FOUND = 14
    NOT_SENT = 15
    DENIED = 16


class Outcome(IntEnum):
    """What the table says about a pair."""

    TO = 1  # take the status named
    WORKING = 2  # take the status that the facts give (see working_status)
    SAME = 3  # the status stays, the facts (fill, request status) are booked
    LATE = 4  # a fill after the end: booked and counted, status stays
    GONE = 5  # the venue does not know it: CANCELED if it ever did, else REJECTED
    IGNORED = 6  # duplicate or overtaken: counted, nothing changes
    ILLEGAL = 7  # contradicts what is known: counted as a breach, nothing changes


class Decision(NamedTuple):
    """One cell of the table; `status` counts only for TO."""

    outcome: Outcome
    status: OrderStatus = OrderStatus.NONE


_S = OrderStatus
_WORKING, _SAME, _LATE = Decision(Outcome.WORKING), Decision(Outcome.SAME), Decision(Outcome.LATE)
_GONE, _IGNORED, _ILLEGAL = Decision(Outcome.GONE), Decision(Outcome.IGNORED), Decision(Outcome.ILLEGAL)


def _to(status: OrderStatus) -> Decision:
    return Decision(Outcome.TO, status)


_UNKNOWN, _FILLED, _CANCELED = _to(_S.UNKNOWN), _to(_S.FILLED), _to(_S.CANCELED)
_EXPIRED, _REJECTED, _DENIED = _to(_S.EXPIRED), _to(_S.REJECTED), _to(_S.DENIED)

# What holds for every order that may be at the venue, before the exceptions of each status.
_ACTIVE: dict[Event, Decision] = {
    Event.ACCEPTED: _WORKING,
    Event.REJECTED: _ILLEGAL,
    Event.FILL_PART: _WORKING,
    Event.FILL_ALL: _FILLED,
    Event.CANCEL_SENT: _WORKING,
    Event.CANCELED: _CANCELED,
    Event.CANCEL_REJECTED: _IGNORED,
    Event.REPLACE_SENT: _WORKING,
    Event.REPLACED: _ILLEGAL,
    Event.REPLACE_REJECTED: _IGNORED,
    Event.EXPIRED: _EXPIRED,
    Event.DISCONNECTED: _UNKNOWN,
    Event.TIMED_OUT: _IGNORED,
    # The venue denies an order it has acknowledged: doubt, so ask again before acting.
    Event.NOT_FOUND: _UNKNOWN,
    Event.NOT_SENT: _ILLEGAL,
    Event.DENIED: _ILLEGAL,
}

# What holds for every terminal order.
_ENDED: dict[Event, Decision] = {
    Event.ACCEPTED: _IGNORED,
    Event.REJECTED: _ILLEGAL,
    Event.FILL_PART: _LATE,
    Event.FILL_ALL: _LATE,
    Event.CANCEL_SENT: _ILLEGAL,
    Event.CANCELED: _IGNORED,
    Event.CANCEL_REJECTED: _SAME,
    Event.REPLACE_SENT: _ILLEGAL,
    Event.REPLACED: _ILLEGAL,
    Event.REPLACE_REJECTED: _SAME,
    Event.EXPIRED: _IGNORED,
    Event.DISCONNECTED: _IGNORED,
    Event.TIMED_OUT: _IGNORED,
    Event.NOT_FOUND: _IGNORED,
    Event.NOT_SENT: _ILLEGAL,
    Event.DENIED: _ILLEGAL,
}

_ROWS: dict[OrderStatus, dict[Event, Decision]] = {
    # NONE: seen by this process only now, between passing the gate and being sent.
    _S.NONE: dict.fromkeys(Event, _ILLEGAL) | {Event.DENIED: _DENIED},
    _S.PENDING_NEW: _ACTIVE
    | {
        Event.REJECTED: _REJECTED,
        Event.TIMED_OUT: _UNKNOWN,
        # A query can overtake the order on its way.
        Event.NOT_FOUND: _IGNORED,
        Event.NOT_SENT: _REJECTED,
    },
    _S.NEW: _ACTIVE | {Event.ACCEPTED: _IGNORED},
    # A fill may come before the acknowledgment, so ACCEPTED is still news here (the OMS knows which).
    _S.PARTIALLY_FILLED: _ACTIVE,
    _S.PENDING_CANCEL: _ACTIVE
    | {
        Event.REJECTED: _REJECTED,
        Event.CANCEL_SENT: _IGNORED,
        Event.CANCEL_REJECTED: _WORKING,
        Event.REPLACE_SENT: _ILLEGAL,
        # A replace sent before the cancel may be answered after it.
        Event.REPLACED: _WORKING,
        Event.REPLACE_REJECTED: _WORKING,
        Event.TIMED_OUT: _UNKNOWN,
    },
    _S.PENDING_REPLACE: _ACTIVE
    | {
        Event.REJECTED: _REJECTED,
        Event.REPLACE_SENT: _ILLEGAL,
        Event.REPLACED: _WORKING,
        Event.REPLACE_REJECTED: _WORKING,
        Event.TIMED_OUT: _UNKNOWN,
    },
    _S.UNKNOWN: _ACTIVE
    | {
        # The venue's word, but an order it once acknowledged can only have been canceled.
        Event.REJECTED: _GONE,
        # A fill proves that it lived, not that the rest still does.
        Event.FILL_PART: _SAME,
        Event.CANCEL_SENT: _SAME,
        Event.CANCEL_REJECTED: _SAME,
        Event.REPLACE_SENT: _ILLEGAL,
        Event.REPLACED: _WORKING,
        Event.REPLACE_REJECTED: _SAME,
        Event.DISCONNECTED: _IGNORED,
        Event.NOT_FOUND: _GONE,
    },
    _S.FILLED: _ENDED,
    _S.CANCELED: _ENDED | {Event.FILL_ALL: _FILLED},
    _S.EXPIRED: _ENDED | {Event.FILL_ALL: _FILLED},
    # The venue contradicts itself; the money is booked all the same.
    _S.REJECTED: _ENDED | {Event.ACCEPTED: _ILLEGAL, Event.REJECTED: _IGNORED, Event.CANCELED: _ILLEGAL},
    _S.DENIED: _ENDED | {Event.ACCEPTED: _ILLEGAL, Event.DENIED: _IGNORED, Event.CANCELED: _ILLEGAL},
}

TABLE: dict[tuple[OrderStatus, Event], Decision] = {
    (status, event): decision for status, row in _ROWS.items() for event, decision in row.items()
}


def decide(status: int, event: int) -> Decision:
    """Look up one pair; raises KeyError only for numbers that are no status or event."""
    return TABLE[status, event]  # type: ignore[index]  # an IntEnum key is found by its number


def working_status(
    *,
    acknowledged: bool,
    filled_units: int,
    leaves_units: int,
    is_pending_cancel: bool,
    is_pending_replace: bool,
) -> int:
    """The status that the facts of a non-terminal order give: pending over working.

    Nothing left but a replace outstanding is not FILLED yet: the replace may have added to it.
    """
    if leaves_units <= 0 and not is_pending_replace:
        return int(OrderStatus.FILLED)
    if is_pending_cancel:
        return int(OrderStatus.PENDING_CANCEL)
    if is_pending_replace:
        return int(OrderStatus.PENDING_REPLACE)
    if filled_units > 0:
        return int(OrderStatus.PARTIALLY_FILLED)
    return int(OrderStatus.NEW) if acknowledged else int(OrderStatus.PENDING_NEW)


def gone_status(*, acknowledged: bool, filled_units: int) -> int:
    """The status of an UNKNOWN order that the venue does not know."""
    return int(OrderStatus.CANCELED if acknowledged or filled_units else OrderStatus.REJECTED)
