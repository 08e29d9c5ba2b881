"""What order entry is counted by, each with the document it is from (OKX API v5)."""

from __future__ import annotations

from typing import Final

from shm.enums import RateScope, RateStop, RateUnit
from shm.rate_rules import NOTHING_KEPT, SECOND_NS, RateRule

VENUE_ID: Final = 2
_WINDOW_NS: Final = 2 * SECOND_NS


def _per_instrument(name: str, unit: RateUnit, limit: int) -> RateRule:
    return RateRule(name, VENUE_ID, RateScope.INSTRUMENT, unit, limit, _WINDOW_NS, kept=NOTHING_KEPT)


# "Order Book Trading / Trade": Place order, Cancel order, Amend order: 60 requests in 2 s; Place, Cancel and
# Amend multiple orders: 300 orders in 2 s; rule: user id + instrument id (of SWAP and SPOT), REST and
# websocket together, a single request and a batch apart. "Rate Limits / Sub-account rate limit": 1000 new and
# amended orders in 2 s, each order of a batch counts; cancels do not count. "Overview / WebSocket / Connect":
# 3 connection requests a second for one address. "Get order details", "Get order list", "Get transaction
# details (last 3 days)": 60 in 2 s each; "Get balance", "Get positions": 10 in 2 s each, "Get account
# configuration": 5 in 2 s; all by user id: "details" and "account" stand for the lowest of their endpoints.
# None costs more than one unit, so a share of a limit, however small, lets each of them through in its time.
# "Cancel All After": 1 request a second.
RULES: Final = (
    _per_instrument("order", RateUnit.REQUESTS, 60),
    _per_instrument("cancel", RateUnit.REQUESTS, 60),
    _per_instrument("amend", RateUnit.REQUESTS, 60),
    _per_instrument("batch_order", RateUnit.ORDERS, 300),
    _per_instrument("batch_cancel", RateUnit.ORDERS, 300),
    _per_instrument("batch_amend", RateUnit.ORDERS, 300),
    RateRule("orders", VENUE_ID, RateScope.ACCOUNT, RateUnit.ORDERS, 1000, _WINDOW_NS, kept=NOTHING_KEPT),
    RateRule("details", VENUE_ID, RateScope.ACCOUNT, RateUnit.REQUESTS, 60, _WINDOW_NS),
    RateRule("account", VENUE_ID, RateScope.ACCOUNT, RateUnit.REQUESTS, 10, _WINDOW_NS),
    RateRule("config", VENUE_ID, RateScope.ACCOUNT, RateUnit.REQUESTS, 5, _WINDOW_NS),
    RateRule("dead_man", VENUE_ID, RateScope.ACCOUNT, RateUnit.REQUESTS, 1, SECOND_NS, kept=NOTHING_KEPT),
    RateRule("connects", VENUE_ID, RateScope.ADDRESS, RateUnit.CONNECTS, 3, SECOND_NS, burst=1),
)
#: Counted together with market data: purpose here → purpose there.
SHARED: Final = {"connects": "connects"}
#: When a window of the venue begins is not told.
IS_ALIGNED: Final = False

# "Error Code": 50011 rate limit reached (of that endpoint), 50061 sub-account rate limit (new and amended
# orders); 429 without a code comes before the account is known.
STOPS: Final = {
    "429": ("connects", RateStop.ADDRESS),
    "403": ("connects", RateStop.ADDRESS),
    "50011": ("", RateStop.BUCKET),
    "50061": ("orders", RateStop.NEW),
}
