"""The venue's error codes and expiry reasons: which reason we give, and what follows.

Source: the "Error Code" page of the USD-M futures documentation; `-1008`, `-4116`, `-5021`, `-5022`, `-5027`
and `-5028` from its change log. A code that is not listed is a refusal: the venue calls 4XX answers malformed
requests, of which nothing was done.
"""

from __future__ import annotations

import re

from exec.order_protocol import Action
from exec.venues.meanings import OTHER, OTHER_REFUSED, Meaning
from shm.enums import Reason

SECOND_NS = 1_000_000_000
#: How long to stay away where the venue says only that it is too much.
WAIT_NS = 10 * SECOND_NS
BAN_NS = 60 * SECOND_NS
TOO_MANY = frozenset((403, 418, 429))
_BANNED_UNTIL = re.compile(r"until (\d{13})")


_A, _R = Action, Reason


def _each(reason: Reason, action: Action, *codes: int) -> dict[int, Meaning]:
    return dict.fromkeys(codes, Meaning(reason, action))


MEANINGS: dict[int, Meaning] = {
    # Whether anything was done is unknown: only a query tells.
    **_each(_R.NONE, _A.ASK, -1000, -1001, -1006, -1007, -1010),
    # An order with this id exists: no other than ours can have it.
    **_each(_R.NONE, _A.ASK, -4116),
    # Too much, or overloaded: refused before the matching engine.
    **_each(_R.VENUE_LIMIT, _A.WAIT, -1003, -1015, -1034),
    **_each(_R.VENUE_BUSY, _A.WAIT, -1008, -1016),
    # The time of the request.
    **_each(_R.VENUE_CLOCK, _A.RESYNC_TIME, -1021, -4188, -5028),
    # Keys, signature, address, permission, account mode: nothing gets better by trying again.
    **_each(_R.VENUE_ACCESS, _A.STOP, -1002, -1011, -1022, -1099, -2014, -2015, -2017),
    **_each(_R.VENUE_ACCESS, _A.STOP, -4056, -4057, -4061, -4109),
    # The listen key is over.
    **_each(_R.NONE, _A.RELOGIN, -1125),
    # The request itself.
    **_each(_R.VENUE_REJECTED, _A.REFUSED, -1014, -1020, -1023, *range(-1109, -1099), -1111, -1114, -1115),
    **_each(_R.VENUE_REJECTED, _A.REFUSED, -1116, -1117, -1118, -1119, -1120, -1127, -1128, -1130, -1136),
    **_each(_R.VENUE_INSTRUMENT, _A.REFUSED, -1110, -1121, -1122, -2016, -4087, -4108, -4140, -4141),
    # The order.
    **_each(_R.VENUE_REJECTED, _A.REFUSED, -2010, -2012, -2020, -2021, -2023, -4015, -4117, -4120, -4192),
    **_each(_R.VENUE_UNKNOWN_ORDER, _A.REFUSED, -2011, -2013),
    **_each(_R.VENUE_MARGIN, _A.REFUSED, -2018, -2019, -2024, -2027, -2028, -4050, -4051),
    **_each(_R.VENUE_REDUCE_ONLY, _A.REFUSED, -2022, -2026, -4062, -4089, -4112, -4118, -4138, -4189),
    **_each(_R.VENUE_LIMIT, _A.REFUSED, -2025, -4045, -4198, -4082),
    **_each(_R.VENUE_FILTER, _A.REFUSED, -1013, *range(-4014, -3999), -4016, -4023, -4024, -4029, -4030),
    **_each(_R.VENUE_FILTER, _A.REFUSED, -4113, -4131, -4164, -4178, -4183, -4184),
    **_each(_R.VENUE_ACCESS, _A.REFUSED, -4090, -4400, -4401, -4402, -4403),
    **_each(_R.VENUE_INSTRUMENT, _A.REFUSED, -4199),
    **_each(_R.FOK_NOT_FILLABLE, _A.REFUSED, -5021),
    **_each(_R.POST_ONLY_WOULD_CROSS, _A.REFUSED, -5022),
    **_each(_R.VENUE_LIMIT, _A.REFUSED, -5026),
    # What was wanted holds already.
    **_each(_R.NONE, _A.DONE, -4046, -4059, -4197, -5027),
}


# "Event: Order Update / Expiry Reason": what ended an order that nobody canceled. 0 (none), 6 and 8
# (conditional orders, which we do not place) say nothing.
_EXPIRY_REASONS = {
    "1": Reason.SELF_TRADE,
    "2": Reason.IOC_REMAINDER,
    "3": Reason.SELF_TRADE,
    "4": Reason.VENUE_REDUCE_ONLY,
    "5": Reason.VENUE_MARGIN,
    "7": Reason.VENUE_INSTRUMENT,
    "9": Reason.IOC_REMAINDER,
}
_OF_TIME_IN_FORCE = {
    "IOC": Reason.IOC_REMAINDER,
    "FOK": Reason.FOK_NOT_FILLABLE,
    "GTX": Reason.POST_ONLY_WOULD_CROSS,
}


def meaning(code: int, text: str = "", status: int = 400) -> Meaning:
    """What a code means, beside the HTTP or websocket status it came with.

    A 5XX status without a code that says otherwise leaves the outcome unknown (the documentation: it must not
    be treated as a failure), except `Service Unavailable` and overload, which it calls failures.
    """
    if code in MEANINGS:
        return MEANINGS[code]
    if status in TOO_MANY:
        return Meaning(Reason.VENUE_LIMIT, Action.WAIT)
    if status == 503 and ("Service Unavailable" in text or "Internal error" in text):
        return Meaning(Reason.VENUE_BUSY, Action.WAIT)
    if status == 0 or status == 408 or status >= 500:
        return OTHER
    return OTHER_REFUSED


def wait_of(text: str, status: int, retry_after_ns: int, until_ms: int, utc_ns: int) -> int:
    """How long a WAIT lasts, in ns.

    Args:
        text: the venue's own, which may name the end of a ban in ms.
        status: HTTP or websocket status.
        retry_after_ns: of the header, 0 = none.
        until_ms: the end as the answer's data names it, 0 = not.
        utc_ns: the venue's time now, 0 = not known.
    """
    if retry_after_ns:
        return retry_after_ns
    found = _BANNED_UNTIL.search(text)
    end_ms = until_ms or (int(found[1]) if found else 0)
    if end_ms and utc_ns:
        return max(end_ms * 1_000_000 - utc_ns, SECOND_NS)
    return BAN_NS if status in (403, 418) else WAIT_NS


def expired_reason(status: str, order_type: str, time_in_force: str, expiry_reason: object = "") -> Reason:
    """Why an order expired; a market order is none that could rest, whatever its time in force says."""
    if status == "EXPIRED_IN_MATCH":
        return Reason.SELF_TRADE
    found = _EXPIRY_REASONS.get(str(expiry_reason))
    if found is None:
        time_in_force = "IOC" if order_type == "MARKET" else time_in_force
        found = _OF_TIME_IN_FORCE.get(time_in_force, Reason.VENUE_REJECTED)
    return found
