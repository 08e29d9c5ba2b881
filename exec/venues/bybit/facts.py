"""Bybit v5 order entry: addresses, operations, topics, batch sizes and times, each with its document.

Documents are named by their titles ("Websocket Trade Guideline"), read in copies of 2024 to 2026. What
no document was found for is marked *unconfirmed*.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

from exec.order_protocol import RequestKind


class Category(NamedTuple):
    """A product, with the symbol namespace it is to us."""

    name: str
    venue_id: int
    family: int
    batch_max: int


# "Batch Place Order", "Batch Amend Order", "Batch Cancel Order": 20 orders of linear, 10 of spot, one
# category.
LINEAR: Final = Category("linear", 3, 0, 20)
SPOT: Final = Category("spot", 4, 1, 10)
CATEGORIES: Final = {category.name: category for category in (LINEAR, SPOT)}
CATEGORY_OF: Final = {category.venue_id: category for category in (LINEAR, SPOT)}

NAME: Final = "bybit"

# "Websocket Trade Guideline", "Websocket Stream / Connect".
WEBSOCKET_URL: Final = "wss://stream.bybit.com"
TRADE_PATH: Final = "/v5/trade"
PRIVATE_PATH: Final = "/v5/private"
REST_URL: Final = "https://api.bybit.com"
# "Connect / How to Send the Heartbeat Packet": every 20 s.
PING: Final = b'{"op":"ping"}'
PING_S: Final = 20.0
# "Connect / Authentication": HMAC-SHA256 of "GET/realtime" and the time until which it is good, as hex.
LOGIN_LIFE_MS: Final = 10_000

# "Websocket Trade Guideline": X-BAPI-TIMESTAMP must not be older than X-BAPI-RECV-WINDOW (5,000 ms if none is
# named) nor 1,000 ms ahead. New orders and amendments have their own: `exec.venues.order_window`.
RECEIVE_WINDOW_MS: Final = 2_000

OPS: Final[dict[RequestKind, tuple[str, str]]] = {
    # kind: (operation of one, operation of several)
    RequestKind.NEW: ("order.create", "order.create-batch"),
    RequestKind.REPLACE: ("order.amend", "order.amend-batch"),
    RequestKind.CANCEL: ("order.cancel", "order.cancel-batch"),
}
KIND_OF_OP: Final[dict[str, RequestKind]] = {op: kind for kind, ops in OPS.items() for op in ops}
PURPOSES: Final = {RequestKind.NEW: "order", RequestKind.REPLACE: "amend", RequestKind.CANCEL: "cancel"}

# "Private / Order", "Execution", "Position", "Wallet"; "Private / Dcp": the venue's cancel on disconnect
# works only for a connection that subscribes it.
TOPICS: Final = ("order", "execution", "position", "wallet")
DCP_TOPICS: Final = ("dcp.future", "dcp.spot")
#: Ends the req_id of that subscription, whose refusal is no reason to stop.
DCP_MARK: Final = "dcp"

# REST. "Get Open & Closed Orders" (pages of 50), "Get Order History", "Get Trade History" (pages of 100,
# seven days), "Get Position Info" (linear wants symbol or settleCoin), "Get Wallet Balance", "Cancel All
# Orders", "Set Disconnect Cancel All" (3 to 300 s; there is no off), "Get Bybit Server Time".
REALTIME_PATH: Final = "/v5/order/realtime"
HISTORY_PATH: Final = "/v5/order/history"
EXECUTIONS_PATH: Final = "/v5/execution/list"
POSITIONS_PATH: Final = "/v5/position/list"
WALLET_PATH: Final = "/v5/account/wallet-balance"
CANCEL_ALL_PATH: Final = "/v5/order/cancel-all"
DCP_PATH: Final = "/v5/order/disconnected-cancel-all"
TIME_PATH: Final = "/v5/market/time"
ORDERS_PAGE: Final = 50
EXECUTIONS_PAGE: Final = 100
POSITIONS_PAGE: Final = 200
FILLS_SPAN_NS: Final = 7 * 24 * 3600 * 1_000_000_000
DCP_MIN_S: Final = 3
DCP_MAX_S: Final = 300
DCP_PRODUCTS: Final = ("DERIVATIVES", "SPOT")

# "Enums Definitions / orderStatus". A filled order ends by its executions.
OPEN_STATES: Final = frozenset(("New", "PartiallyFilled"))
ENDED_STATES: Final = frozenset(("Cancelled", "PartiallyFilledCanceled", "Rejected", "Deactivated"))
FILLED_STATE: Final = "Filled"
#: States of conditional orders, which we do not place, and of orders on their way ("Created" is
#: *unconfirmed*).
OTHER_STATES: Final = frozenset(("Created", "Untriggered", "Triggered", "Active"))

# "Enums Definitions / execType" (splits, dividends since 2026-08-20): what changes a position; what changes
# it by more than its row says (a split settles fractions), which the comparison of positions finds; what
# only moves money.
TRADES: Final = frozenset(("Trade", "BlockTrade", "MovePosition", "FutureSpread"))
FORCED: Final = frozenset(("AdlTrade", "BustTrade", "Delivery", "Settle"))
SPLITS: Final = frozenset(("ForwardSplitSettle", "ReverseSplitSettle", "CorporateAction"))
NO_TRADES: Final = frozenset(("Funding", "Dividend", "SessionSettlePnL", "UNKNOWN"))
# "Place Order / smpType", "Self Match Prevention": without it orders of one account trade with each other.
# The newer one goes, as in our simulator.
SMP_TYPE: Final = "CancelTaker"

# "Rate Limit Rules": windows of a second; 403: ten minutes at least.
RATE_WAIT_NS: Final = 1_000_000_000
FORBIDDEN_WAIT_NS: Final = 600_000_000_000
WAIT_MAX_NS: Final = 60_000_000_000


@cache
def rates(kind: RequestKind, orders: int, category: str) -> tuple[tuple[str, int], ...]:
    """What a request costs, by the names of `limits.RULES`; "" is no category."""
    purpose = PURPOSES.get(kind)
    if purpose is not None:
        return ((bucket(purpose, category, is_batch=orders > 1), orders),)
    if kind == RequestKind.MASS_CANCEL:
        return ((f"mass_cancel.{category}", 1), ("weight", 1))
    return (("account", 1), ("weight", 1))


def bucket(purpose: str, category: str, *, is_batch: bool) -> str:
    """Name of the rule that counts an order operation."""
    return f"{'batch_' if is_batch else ''}{purpose}.{category}"
