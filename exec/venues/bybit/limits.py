"""What order entry is counted by, each with the document it is from (Bybit v5)."""

from __future__ import annotations

from typing import Final

from shm.enums import RateScope, RateStop, RateUnit
from shm.rate_rules import NOTHING_KEPT, SECOND_NS, RateRule

VENUE_ID: Final = 3  # both of its symbol namespaces are one account


def _per_second(name: str, limit: int) -> RateRule:
    # Half at once, so that a batch of half the limit goes out whole; a larger one never can.
    return RateRule(
        name,
        VENUE_ID,
        RateScope.ACCOUNT,
        RateUnit.ORDERS,
        limit,
        SECOND_NS,
        burst=limit // 2,
        kept=NOTHING_KEPT,
    )


# "Rate Limit Rules / API Rate Limit Table / Trade": per second (rolling) and UID, by endpoint and category:
# create, amend, cancel, cancel-all 10 for linear; create, cancel, cancel-all 20 and amend 10 for spot. Batch
# endpoints are counted apart, by orders, at the same numbers ("Batch Place Order"); REST and socket as one.
# Reads ("realtime", "position/list", "execution/list", "wallet-balance"): 50 a second; the account's tier may
# be higher, each answer says so (X-Bapi-Limit). "IP Limit": 600 requests in 5 s over HTTP; 500 websocket
# connections in 5 minutes.
RULES: Final = (
    *(
        _per_second(f"{batch}{kind}.{category}", limit)
        for category, limits in (
            ("linear", {"order": 10, "amend": 10, "cancel": 10}),
            ("spot", {"order": 20, "amend": 10, "cancel": 20}),
        )
        for kind, limit in limits.items()
        for batch in ("", "batch_")
    ),
    _per_second("mass_cancel.linear", 10),
    _per_second("mass_cancel.spot", 20),
    RateRule("account", VENUE_ID, RateScope.ACCOUNT, RateUnit.REQUESTS, 50, SECOND_NS),
    RateRule("weight", VENUE_ID, RateScope.ADDRESS, RateUnit.REQUESTS, 600, 5 * SECOND_NS, burst=390),
    RateRule("connects", VENUE_ID, RateScope.ADDRESS, RateUnit.CONNECTS, 500, 300 * SECOND_NS, burst=100),
)
#: Counted together with market data: purpose here → purpose there.
SHARED: Final = {"weight": "weight", "connects": "connects"}
#: Windows roll: what was used was used within the last second.
IS_ALIGNED: Final = False

# What each answer says of its endpoint's limit is read by `words.used`: it names no rule.

# "Rate Limit Rules", "Error Codes": 403 access too frequent (an address, ten minutes at least), 10006 too
# many visits (an endpoint of the account), 10018 too many requests of an address; on the trade socket
# ("Websocket Trade Guideline") 10403 an address sends more than 3000 a second, 10429 too much for all.
STOPS: Final = {
    "403": ("weight", RateStop.ADDRESS),
    "429": ("weight", RateStop.ADDRESS),
    "10006": ("", RateStop.BUCKET),
    "10018": ("weight", RateStop.ADDRESS),
    "10403": ("weight", RateStop.ADDRESS),
    "10429": ("", RateStop.BUCKET),
}
