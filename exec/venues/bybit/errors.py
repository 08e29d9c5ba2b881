"""Bybit codes: what each means for us and what follows.

Source: "Error Codes" (WS OE General code, UTA, Spot Trade), in copies of 2023 to 2025. Of codes that
share a number (10003 is an invalid key, or too many sessions of one user) the graver is taken.
"""

from __future__ import annotations

from typing import Final

from exec.order_protocol import Action, RequestKind
from exec.venues.bybit.facts import FORBIDDEN_WAIT_NS, RATE_WAIT_NS
from exec.venues.meanings import OTHER, OTHER_REFUSED, Meaning, codes, look_up
from shm.enums import Reason

_A, _R = Action, Reason


MEANINGS: Final[dict[str, Meaning]] = {
    # Timeouts, internal errors, requests that are under way twice: only a query tells.
    **codes(_R.NONE, _A.ASK, 10000, 10014, 10016, 20006, 110079, 170001, 170007, 170032, 170035, 170146),
    **codes(_R.NONE, _A.ASK, 170147, 170191, 3400214),
    # Too much, or overloaded.
    **codes(_R.VENUE_LIMIT, _A.WAIT, 10006, 10018, 10403, 10429, 20003, 170005, 170222, wait_ns=RATE_WAIT_NS),
    **codes(_R.VENUE_BUSY, _A.WAIT, 429, wait_ns=RATE_WAIT_NS),
    # The time of the request.
    **codes(_R.VENUE_CLOCK, _A.RESYNC_TIME, -1, 10002),
    # The session is over, or the service behind it restarts: another connection is served.
    **codes(_R.NONE, _A.RELOGIN, 10007, 10019),
    # Key, signature, permission, address, kind of account: nothing gets better by trying again.
    **codes(_R.VENUE_ACCESS, _A.STOP, -2015, 10003, 10004, 10005, 10008, 10009, 10010, 10024, 10027, 10028),
    **codes(_R.VENUE_ACCESS, _A.STOP, 33004, 100028, 110018, 110066, 110088),
    **codes(_R.VENUE_ACCESS, _A.REFUSED, 10029, 110067, 110068, 110069, 110080, 110102, 110104, 110105),
    **codes(_R.VENUE_ACCESS, _A.REFUSED, 110106, 110119, 170215, 170216, 170219, 170220, 3100197),
    # The request itself.
    **codes(_R.VENUE_REJECTED, _A.REFUSED, 10001, 10017, 10404, 110019, 110022, 110032, 110049, 110057),
    **codes(_R.VENUE_REJECTED, _A.REFUSED, 110063, 110071, 130000, 170105, 170115, 170116, 170117, 170130),
    **codes(_R.VENUE_REJECTED, _A.REFUSED, 110005, 110115, 110117, 170144, 170145, 170149, 170150, 170201),
    **codes(_R.VENUE_REJECTED, _A.REFUSED, 170210),
    # The instrument.
    **codes(_R.VENUE_INSTRUMENT, _A.REFUSED, 110037, 110042, 110062, 110065, 110074, 110095, 110098, 110100),
    **codes(_R.VENUE_INSTRUMENT, _A.REFUSED, 110103, 110118, 170031, 170121, 170151, 170157, 170159, 170206),
    **codes(_R.VENUE_INSTRUMENT, _A.REFUSED, 170217, 170221, 170360),
    # An order with this id exists: no other than ours can have it.
    **codes(_R.DUPLICATE_ID, _A.ASK, 110030, 110072, 170141),
    # Price and quantity.
    **codes(_R.VENUE_FILTER, _A.REFUSED, 110003, 110092, 110093, 110094, 110116, 170124, 170132, 170133),
    **codes(_R.VENUE_FILTER, _A.REFUSED, 170134, 170135, 170136, 170137, 170140, 170148, 170192, 170193),
    **codes(_R.VENUE_FILTER, _A.REFUSED, 170194, 170195, 170196, 170197, 170198, 170199, 170200, 170203),
    **codes(_R.VENUE_FILTER, _A.REFUSED, 170204),
    # Money.
    **codes(_R.VENUE_MARGIN, _A.REFUSED, 110004, 110006, 110007, 110011, 110012, 110014, 110016, 110039),
    **codes(_R.VENUE_MARGIN, _A.REFUSED, 110040, 110044, 110045, 110046, 110051, 110052, 110053, 110085),
    **codes(_R.VENUE_MARGIN, _A.REFUSED, 110086, 110087, 110089, 110090, 110101, 170033, 170034, 170036),
    **codes(_R.VENUE_MARGIN, _A.REFUSED, 170037, 170131, 170207, 170346, 3400139),
    # Too many.
    **codes(_R.VENUE_LIMIT, _A.REFUSED, 110009, 110020, 110021, 170010, 170011, 170019),
    # Reduce-only.
    **codes(_R.VENUE_REDUCE_ONLY, _A.REFUSED, 110017, 110023, 110034),
    # The other side of the book.
    **codes(_R.POST_ONLY_WOULD_CROSS, _A.REFUSED, 170218),
    # Cancel and amend against the order's end. For a cancel see ENDED.
    **codes(_R.VENUE_UNKNOWN_ORDER, _A.REFUSED, 110001, 170143, 170213),
    **codes(_R.ORDER_TERMINAL, _A.REFUSED, 110008, 110010, 170139, 170142, 170190, 170212),
    # What was wanted holds already.
    **codes(_R.NONE, _A.DONE, 20001, 34040, 110025, 110026, 110027, 110043),
}

#: What a cancel wanted holds: the order can rest no more. Whether it was filled, canceled or never
#: there, its own reports say. (170212: a cancel of it is under way.)
ENDED: Final = frozenset(
    ("110001", "110008", "110010", "170139", "170142", "170143", "170190", "170212", "170213")
)
#: The order does not exist: the answer to a query.
NOT_FOUND: Final = frozenset(("110001", "170213"))


# "Enums Definitions / cancelType". Those not listed: VENUE_REJECTED.
CANCEL_TYPES: Final[dict[str, Reason]] = {
    "CancelByUser": Reason.USER_CANCEL,
    "CancelByReduceOnly": Reason.VENUE_REDUCE_ONLY,
    "CancelByPrepareLiq": Reason.VENUE_MARGIN,
    "CancelAllBeforeLiq": Reason.VENUE_MARGIN,
    "CancelByPrepareAdl": Reason.VENUE_MARGIN,
    "CancelAllBeforeAdl": Reason.VENUE_MARGIN,
    "CancelByCannotAffordOrderCost": Reason.VENUE_MARGIN,
    "CancelByAdmin": Reason.VENUE_REJECTED,
    "CancelBySettle": Reason.VENUE_INSTRUMENT,
    "CancelByDelivery": Reason.VENUE_INSTRUMENT,
    "CancelBySmp": Reason.SELF_TRADE,
    "CancelByCrossSelfMuch": Reason.SELF_TRADE,
    "CancelByDCP": Reason.MASS_CANCEL,
}

# "Enums Definitions / rejectReason": says more than cancelType where it says anything.
REJECT_REASONS: Final[dict[str, Reason]] = {
    "EC_NoEnoughQtyToFill": Reason.FOK_NOT_FILLABLE,
    "EC_CancelForNoFullFill": Reason.IOC_REMAINDER,
    "EC_NoImmediateQtyToFill": Reason.IOC_REMAINDER,
    "EC_PerCancelRequest": Reason.USER_CANCEL,
    "EC_PostOnlyWillTakeLiquidity": Reason.POST_ONLY_WOULD_CROSS,
    "EC_BySelfMatch": Reason.SELF_TRADE,
    "EC_StopBySelfMatch": Reason.SELF_TRADE,
    "EC_DuplicatedClOrdID": Reason.DUPLICATE_ID,
    "EC_LimitOrderInvalidPrice": Reason.VENUE_FILTER,
    "EC_InvalidPriceScale": Reason.VENUE_FILTER,
    "EC_QtyCannotBeZero": Reason.VENUE_FILTER,
    "EC_EcInvalidQty": Reason.VENUE_FILTER,
    "EC_InvalidAmount": Reason.VENUE_FILTER,
    "EC_ReachRiskPriceLimit": Reason.VENUE_FILTER,
    "EC_ReachMarketPriceLimit": Reason.VENUE_FILTER,
    "EC_ReachMaxTradeNum": Reason.VENUE_LIMIT,
    "EC_InvalidSymbolStatus": Reason.VENUE_INSTRUMENT,
    "EC_InCallAuctionStatus": Reason.VENUE_INSTRUMENT,
    "EC_SecurityStatusFail": Reason.VENUE_INSTRUMENT,
}
#: Texts of rejectReason and cancelType that say nothing.
SILENT: Final = frozenset(("", "EC_NoError", "EC_Others", "UNKNOWN"))


def meaning(code: str, kind: RequestKind | None = None) -> Meaning:
    """What a code means as the answer to a request of that kind.

    A code that is not listed is a refusal where it belongs to the trade classes (110xxx, 170xxx: the
    venue looked at the order and says why not), and a question everywhere else.
    """
    is_refusal = len(code) == 6 and code[:3] in ("110", "170")
    return look_up(code, kind, MEANINGS, ENDED, is_refusal=is_refusal)


def end_reason(reject_reason: str, cancel_type: str) -> Reason:
    """Why the venue ended an order."""
    if reject_reason not in SILENT:
        return REJECT_REASONS.get(reject_reason, Reason.VENUE_REJECTED)
    if cancel_type not in SILENT:
        return CANCEL_TYPES.get(cancel_type, Reason.VENUE_REJECTED)
    return Reason.USER_CANCEL


def http_meaning(status: int) -> Meaning:
    """What an HTTP status means where the body says nothing that can be read ("Error Codes", HTTP Code)."""
    if status == 429:
        return Meaning(Reason.VENUE_LIMIT, Action.WAIT, RATE_WAIT_NS)
    if status == 403:
        return Meaning(Reason.VENUE_LIMIT, Action.WAIT, FORBIDDEN_WAIT_NS)
    if status == 401:
        return Meaning(Reason.VENUE_ACCESS, Action.STOP)
    if status in (400, 404):
        return OTHER_REFUSED
    return OTHER
