"""OKX order entry: addresses, operations, channels, batch sizes and times, each with its document (API v5).

Documents are named by their headings ("WS / Place order"). Read in copies of 2026-06 and 2026-07; the
change log in one of 2026-03. What no document was found for is marked *unconfirmed*.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from exec.order_protocol import RequestKind

NAME: Final = "okx"
VENUE_ID: Final = 2

# "Overview / Production Trading Services". Orders and private channels share a path; we keep two
# connections, so that a burst of pushes delays no acknowledgment.
WEBSOCKET_URL: Final = "wss://ws.okx.com:8443"
PRIVATE_PATH: Final = "/ws/v5/private"
REST_URL: Final = "https://www.okx.com"

# "Overview / WebSocket / Connect": without a message for 30 s the venue breaks the connection; the text
# "ping" is answered by the text "pong".
PING: Final = b"ping"
PONG: Final = b"pong"
PING_S: Final = 20.0

# "Overview / WebSocket / Login": HMAC-SHA256 of timestamp (whole seconds) + "GET" + this path, as base64.
LOGIN_PATH: Final = "/users/self/verify"

# "WS / Place order", "WS / Place multiple orders" and so on: at most 20 orders a request, instruments
# may be mixed. "Number of modification requests in progress for an order cannot exceed 3" (51513): we
# have one.
BATCH_MAX: Final = 20
OPS: Final[dict[RequestKind, tuple[str, str]]] = {
    # kind: (operation of one, operation of several)
    RequestKind.NEW: ("order", "batch-orders"),
    RequestKind.REPLACE: ("amend-order", "batch-amend-orders"),
    RequestKind.CANCEL: ("cancel-order", "batch-cancel-orders"),
}
KIND_OF_OP: Final[dict[str, RequestKind]] = {op: kind for kind, ops in OPS.items() for op in ops}

# "WS / Place order", "WS / Amend order": expTime, the request's deadline in Unix ms; a request that
# comes later is not carried out (50036, 50037): `exec.venues.order_window`. REST requests expire 30 s after
# their timestamp ("REST Authentication", 50102).

# "WS / Order channel", "WS / Positions channel", "WS / Account channel". instType ANY is every product.
CHANNELS: Final[tuple[dict[str, str], ...]] = (
    {"channel": "orders", "instType": "ANY"},
    {"channel": "positions", "instType": "ANY"},
    {"channel": "account"},
)

# Trade mode: "WS / Place order" (tdMode), "GET / Account configuration" (acctLv): cash for SPOT in Spot and
# Futures mode (1, 2), cross in multi-currency margin (3); cross or isolated for derivatives. Portfolio margin
# (4) has no reduce-only orders, on which a halt relies: such an account is refused.
TD_MODE_SPOT: Final = {"1": "cash", "2": "cash", "3": "cross"}
TD_MODES: Final = ("cross", "isolated")
# "WS / Place order": stpMode. The newer order goes, as in our simulator, whatever the account is set to.
STP_MODE: Final = "cancel_taker"
# "GET / Account configuration": posMode; one net position per instrument is what our books hold.
POSITION_MODE: Final = "net_mode"

# REST. "GET / Instruments" (instIdCode: obligatory in websocket order requests since March 2026, "Delist
# instId request parameter in WS order operation channels"), "GET / Account configuration", "GET / Order
# details", "GET / Order List" (pages of 100, after=ordId), "GET / Transaction details (last 3 days)"
# (pages of 100, after=billId), "GET / Positions", "GET / Balance", "POST / Cancel multiple orders" (20),
# "POST / Cancel All After" (timeOut 0 or 10 to 120 s, one request a second), "GET / System time".
INSTRUMENTS_PATH: Final = "/api/v5/public/instruments"
CONFIG_PATH: Final = "/api/v5/account/config"
ORDER_PATH: Final = "/api/v5/trade/order"
PENDING_PATH: Final = "/api/v5/trade/orders-pending"
FILLS_PATH: Final = "/api/v5/trade/fills"
POSITIONS_PATH: Final = "/api/v5/account/positions"
BALANCE_PATH: Final = "/api/v5/account/balance"
CANCEL_BATCH_PATH: Final = "/api/v5/trade/cancel-batch-orders"
DEAD_MAN_PATH: Final = "/api/v5/trade/cancel-all-after"
TIME_PATH: Final = "/api/v5/public/time"
INSTRUMENT_TYPES: Final = ("SWAP", "SPOT")
PAGE: Final = 100
DEAD_MAN_MIN_S: Final = 10
DEAD_MAN_MAX_S: Final = 120

# "WS / Order channel": state. A filled order ends by its fills.
OPEN_STATES: Final = frozenset(("live", "partially_filled"))
ENDED_STATES: Final = frozenset(("canceled", "mmp_canceled"))
FILLED_STATE: Final = "filled"

# "WS / Order channel": category; what the venue does to an account by itself.
FORCED: Final = frozenset(("adl", "full_liquidation", "partial_liquidation", "delivery", "auto_conversion"))

# "GET / Account configuration" and "WS / Place order": no bucket is named in answers; 50011 and 50061
# carry no time to wait: the windows are 2 s.
RATE_WAIT_NS: Final = 2_000_000_000
BUSY_WAIT_NS: Final = 1_000_000_000

_PURPOSES: Final = {RequestKind.NEW: "order", RequestKind.REPLACE: "amend", RequestKind.CANCEL: "cancel"}
# Others than the account's; public ones ("Get system time", "Get instruments") are asked once in a while and
# counted by address: not here.
_QUESTIONS: Final[dict[RequestKind, tuple[tuple[str, int], ...]]] = {
    RequestKind.SERVER_TIME: (),
    RequestKind.DEAD_MAN: (("dead_man", 1),),
    RequestKind.QUERY: (("details", 1),),
    RequestKind.OPEN_ORDERS: (("details", 1),),
    RequestKind.FILLS: (("details", 1),),
    RequestKind.ACCOUNT: (("config", 1),),
}


@cache
def rates(kind: RequestKind, orders: int) -> tuple[tuple[str, int], ...]:
    """What a request costs, by the names of `limits.RULES`."""
    purpose = _PURPOSES.get(kind)
    if purpose is None:
        return _QUESTIONS.get(kind, (("account", 1),))
    cost = (purpose, 1) if orders == 1 else (f"batch_{purpose}", orders)
    return (cost,) if kind == RequestKind.CANCEL else (cost, ("orders", orders))
