"""What order entry is counted by, each with the document it is from (USD-M futures)."""

from __future__ import annotations

from typing import Final

from shm.enums import RateScope, RateStop, RateUnit
from shm.rate_rules import NOTHING_KEPT, SECOND_NS, RateRule

VENUE_ID: Final = 1

# "General Info / Limits" and "Exchange Information": rateLimits. REQUEST_WEIGHT 2400 a minute for an address,
# over REST and websocket API together; ORDERS 300 in 10 s and 1200 a minute for one account. Windows begin
# at whole minutes and at :00, :10, :20 ("Rate limits": "a 1 MINUTE interval starts every minute").
# "New Order", "Modify Order": 1 of both ORDERS, no weight. "Place Multiple Orders": 5 of the 10 s, 1 of the
# minute, weight 5. "Cancel Order", "Cancel Multiple Orders", "Cancel All Open Orders": weight 1, no ORDERS.
# "Websocket API General Info": 300 connections in 5 minutes for one address.
RULES: Final = (
    RateRule("weight_1m", VENUE_ID, RateScope.ADDRESS, RateUnit.WEIGHT, 2400, 60 * SECOND_NS, burst=1560),
    RateRule(
        "orders_10s", VENUE_ID, RateScope.ACCOUNT, RateUnit.ORDERS, 300, 10 * SECOND_NS, kept=NOTHING_KEPT
    ),
    RateRule(
        "orders_1m", VENUE_ID, RateScope.ACCOUNT, RateUnit.ORDERS, 1200, 60 * SECOND_NS, kept=NOTHING_KEPT
    ),
    RateRule("connects", VENUE_ID, RateScope.ADDRESS, RateUnit.CONNECTS, 300, 300 * SECOND_NS, burst=60),
)
#: Counted together with market data: purpose here → purpose there.
SHARED: Final = {"weight_1m": "weight", "connects": "connects"}
#: Windows begin at whole multiples of their length on the venue's clock.
IS_ALIGNED: Final = True

# "Limits" (429 = too much, 418 = banned for going on, 403 = the firewall's limit; Retry-After says how long)
# and "Error Code": -1015 too many orders, of an account; -1003 too many requests, of an address.
STOPS: Final = {
    "418": ("weight_1m", RateStop.ADDRESS),
    "429": ("weight_1m", RateStop.ADDRESS),
    "403": ("weight_1m", RateStop.ADDRESS),
    "-1003": ("weight_1m", RateStop.ADDRESS),
    "-1015": ("orders_10s", RateStop.NEW),
}
