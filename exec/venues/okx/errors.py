"""OKX codes: what each means for us and what follows.

Source: "Error Code" (REST: 50000 to 59999; WebSocket: 60000 to 64008), in copies of July 2026. A code
with a sub-code ("51008_1000") is looked up by what stands before the underscore. Marked *unconfirmed*:
what no document was found for, taken from reports of other programs.
"""

from __future__ import annotations

from typing import Final

from exec.order_protocol import Action, RequestKind
from exec.venues.meanings import OTHER, Meaning, codes, look_up
from exec.venues.okx.facts import BUSY_WAIT_NS, RATE_WAIT_NS
from shm.enums import Reason

_A, _R = Action, Reason
_RANGES_REFUSED: Final = ("51", "54", "59")


MEANINGS: Final[dict[str, Meaning]] = {
    # "Does not mean that the request was successful or failed, please check the request result"; all
    # operations failed without saying which and why is no better.
    **codes(_R.NONE, _A.ASK, 1, 2, 50001, 50004, 50026, 51054, 51149, 51412, 63999, 64007),
    # Overloaded: refused before the order was looked at.
    **codes(_R.VENUE_BUSY, _A.WAIT, 50013, 50046, 50062, wait_ns=BUSY_WAIT_NS),
    **codes(_R.VENUE_LIMIT, _A.WAIT, 50011, 50040, 50061, 60014, 60023, wait_ns=RATE_WAIT_NS),
    # The time of the request, or its expTime.
    **codes(_R.VENUE_CLOCK, _A.RESYNC_TIME, 50102, 50107, 50112, 60004, 60006),
    **codes(_R.VENUE_CLOCK, _A.REFUSED, 50036, 50037),
    # The session is over, or was never there.
    **codes(_R.NONE, _A.RELOGIN, 60009, 60011, 64008),
    # Key, signature, passphrase, address, permission: nothing gets better by trying again.
    **codes(_R.VENUE_ACCESS, _A.STOP, 50005, 50007, 50008, 50009, 50012, 50027, 50028, 50029, 50030, 50035),
    **codes(_R.VENUE_ACCESS, _A.STOP, 50041, 50051, 50059, 50060, 50100, 50101, *range(50103, 50107)),
    **codes(_R.VENUE_ACCESS, _A.STOP, *range(50108, 50112), 50113, 50114, 50116, 50118, 50119, 50120, 50121),
    **codes(_R.VENUE_ACCESS, _A.STOP, 60005, 60007, 60024, 60032),
    # The account's mode is not what we trade with.
    **codes(_R.VENUE_ACCESS, _A.REFUSED, 50072, 51010, 51024, 51035, 51036, 51155, 54005, 54008, 54075),
    **codes(
        _R.VENUE_ACCESS, _A.REFUSED, 50017, 50018, 50019, 50020, 50021, 50022, 50023, 50032, 50033, 50052
    ),
    # The request itself.
    **codes(_R.VENUE_REJECTED, _A.REFUSED, 50000, 50002, 50006, 50014, 50015, 50016, 50024, 50025, 50038),
    **codes(_R.VENUE_REJECTED, _A.REFUSED, 50039, 50044, 50115, 51000, 51003, 51009, 51056, 51175, 51176),
    **codes(_R.VENUE_REJECTED, _A.REFUSED, 51180, 51181, 51211, 51212, 51407, 51408, 51500, 51512, 51514),
    **codes(_R.VENUE_REJECTED, _A.REFUSED, 54000, 54004, 54036, 54047, 54048, 54070, 54071),
    **codes(_R.VENUE_REJECTED, _A.REFUSED, 60008, 60012, 60013, 60018, 60019, 60026, 60027, 60028, 60031),
    **codes(_R.VENUE_REJECTED, _A.REFUSED, 60033, 64000, 64001, 64002, 64003, 64004),
    # The instrument.
    **codes(_R.VENUE_INSTRUMENT, _A.REFUSED, 51001, 51002, 51012, 51014, 51015, 51021, 51022, 51026, 51027),
    **codes(_R.VENUE_INSTRUMENT, _A.REFUSED, 51028, 51029, 51030, 51032, 51087, 51110, 51124, 51196, 51197),
    **codes(_R.VENUE_INSTRUMENT, _A.REFUSED, 51404, 51505, 51507, 51508, 54007, 54011, 54012, 54072, 54073),
    # An order with this id exists: no other than ours can have it.
    **codes(_R.DUPLICATE_ID, _A.ASK, 50042, 50071, 51011, 51016),
    # Price and quantity.
    **codes(
        _R.VENUE_FILTER, _A.REFUSED, 50122, 51005, 51006, 51007, 51020, 51031, 51101, 51116, 51120, 51121
    ),
    **codes(
        _R.VENUE_FILTER, _A.REFUSED, 51122, 51123, 51132, 51135, 51136, 51137, 51138, 51143, 51150, 51185
    ),
    **codes(_R.VENUE_FILTER, _A.REFUSED, 51201, 51202, 51203, 51204, 51250, 51252, 54018, 54019),
    # Money.
    **codes(
        _R.VENUE_MARGIN, _A.REFUSED, 50069, 51004, 51008, 51017, 51033, 51105, 51106, 51107, 51108, 51127
    ),
    **codes(
        _R.VENUE_MARGIN, _A.REFUSED, 51128, 51129, 51131, 51186, 51187, 51502, 54006, 54024, 54025, 54030
    ),
    **codes(_R.VENUE_MARGIN, _A.REFUSED, 54031, 54035),
    # Too many.
    **codes(_R.VENUE_LIMIT, _A.REFUSED, 51025, 51034, 51071, 51102, 51103, 51104, 51111, 51117, 51174, 51182),
    **codes(_R.VENUE_LIMIT, _A.REFUSED, 51210, 51213, 51406, 51501, 51513),
    # Reduce-only.
    **codes(_R.VENUE_REDUCE_ONLY, _A.REFUSED, 51023, 51037, 51038, 51043, 51112, 51115, 51125, 51126, 51133),
    **codes(_R.VENUE_REDUCE_ONLY, _A.REFUSED, 51134, 51139, 51148, 51165, 51168, 51169, 51170, 51171, 51205),
    **codes(_R.VENUE_REDUCE_ONLY, _A.REFUSED, 51206, 51209, 51214, 51521, 51522),
    # The other side of the book.
    **codes(_R.FOK_NOT_FILLABLE, _A.REFUSED, 51109, 51140),
    **codes(_R.POST_ONLY_WOULD_CROSS, _A.REFUSED, 51511),
    # 51604 as an answer to post-only orders is *unconfirmed* (the document has another text for it).
    **codes(_R.POST_ONLY_WOULD_CROSS, _A.REFUSED, 51604),
    # Cancel and amend against the order's end. For a cancel see ENDED.
    **codes(_R.VENUE_UNKNOWN_ORDER, _A.REFUSED, 51063, 51400, 51405, 51503, 51603),
    **codes(_R.ORDER_TERMINAL, _A.REFUSED, 51401, 51402, 51410, 51509, 51510),
    **codes(_R.VENUE_REJECTED, _A.REFUSED, 51403, 51411, 51413, 51416, 51506, 51600),
}

#: What a cancel wanted holds: the order can rest no more. Whether it was filled, canceled or never
#: there, its own reports say. (51410: a cancel of it is under way.)
ENDED: Final = frozenset(("51063", "51400", "51401", "51402", "51405", "51410", "51503", "51603"))

#: The order does not exist: the answer to a query (a REJECTED or CANCELED order is still found for some
#: hours).
NOT_FOUND: Final = frozenset(("51603",))

#: Events of a connection that are about its login; the others are about a subscription or an operation.
LOGIN_CODES: Final = frozenset(
    (
        "60004",
        "60005",
        "60006",
        "60007",
        "60009",
        "60011",
        "60023",
        "60024",
        "60026",
        "60031",
        "60032",
        "63999",
    )
)


# "WS / Order channel": cancelSource, why the venue ended an order. Those not listed: VENUE_REJECTED.
CANCEL_REASONS: Final[dict[str, Reason]] = {
    "": Reason.USER_CANCEL,
    "1": Reason.USER_CANCEL,
    "2": Reason.VENUE_REDUCE_ONLY,
    "3": Reason.VENUE_MARGIN,
    "4": Reason.VENUE_MARGIN,
    "6": Reason.VENUE_MARGIN,
    "7": Reason.VENUE_INSTRUMENT,
    "9": Reason.VENUE_MARGIN,
    "13": Reason.FOK_NOT_FILLABLE,
    "14": Reason.IOC_REMAINDER,
    "15": Reason.VENUE_FILTER,
    "17": Reason.VENUE_REDUCE_ONLY,
    "20": Reason.MASS_CANCEL,
    "22": Reason.VENUE_REDUCE_ONLY,
    "23": Reason.VENUE_REDUCE_ONLY,
    "27": Reason.VENUE_FILTER,
    "31": Reason.POST_ONLY_WOULD_CROSS,
    "32": Reason.SELF_TRADE,
    "33": Reason.VENUE_LIMIT,
    "38": Reason.MASS_CANCEL,
    "39": Reason.VENUE_LIMIT,
    "43": Reason.VENUE_FILTER,
    "44": Reason.VENUE_MARGIN,
}


def meaning(code: str, kind: RequestKind | None = None) -> Meaning:
    """What a code means as the answer to a request of that kind.

    A code that is not listed is a refusal where it belongs to the trade class (51xxx, 54xxx, 59xxx: the
    venue looked at the order and says why not), and a question everywhere else.
    """
    plain = code.partition("_")[0]
    is_refusal = len(plain) == 5 and plain[:2] in _RANGES_REFUSED
    return look_up(plain, kind, MEANINGS, ENDED, is_refusal=is_refusal)


def http_meaning(status: int) -> Meaning:
    """What an HTTP status means where the body says nothing that can be read."""
    if status == 429:
        return Meaning(Reason.VENUE_LIMIT, Action.WAIT, RATE_WAIT_NS)
    if status in (401, 403):
        return Meaning(Reason.VENUE_ACCESS, Action.STOP)
    return OTHER
