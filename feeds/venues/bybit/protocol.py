"""Bybit v5: addresses, topics, messages and limits of linear and spot, each with the document it is from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from feeds.adapter import NoticePhase
from feeds.venues.base import op_messages, split_pair


class Product(NamedTuple):
    """One of the venue's symbol namespaces."""

    name: str
    venue_id: int
    category: str  # of REST requests
    path: str  # of its public websocket
    args_per_message: int
    depth_streams: tuple[str, ...]
    book_levels: int  # of the REST order book
    fees_e8: tuple[int, int]  # maker, taker
    status_number: int  # in the `product` of "System Status" ("Enums Definitions")


# "Websocket Stream / Connect": public addresses by product; spot takes up to 10 args a request. "Websocket
# Stream / Public / Orderbook": linear 1 (10 ms), 50 (20 ms), 200 (100 ms), 1000 (200 ms; it replaced 500,
# which recordings may hold: replay takes any depth); spot 1 (10 ms), 50 (20 ms), 200 and 1000 (200 ms). 1 is
# whole books only, sent again after 3 s without a change under the same u. Others begin with a whole book;
# each update's u is the one before plus 1; u = 1 is a whole book after a restart of the service; a whole book
# may come at any time. "Get Orderbook": limit up to 500 for linear, 200 for spot. "Fee Rate": VIP 0.
LINEAR = Product(
    "bybit_linear",
    3,
    "linear",
    "/v5/public/linear",
    100,
    ("orderbook.50", "orderbook.200", "orderbook.1000", "orderbook.1"),
    500,
    (20_000, 55_000),
    1,
)
SPOT = Product(
    "bybit_spot",
    4,
    "spot",
    "/v5/public/spot",
    10,
    ("orderbook.50", "orderbook.200", "orderbook.1000", "orderbook.1"),
    200,
    (100_000, 100_000),
    2,
)

WEBSOCKET_URL = "wss://stream.bybit.com"
REST_URL = "https://api.bybit.com"
# "Websocket Stream / Connect": ping every 20 s; 500 connections in 5 minutes and 1,000 at once for one
# address; the args of all subscriptions of a connection are at most 21,000 characters.
PING = b'{"op":"ping"}'
PING_AFTER_NS = 20_000_000_000
CONNECTS_PER_SECOND = 500 / 300
CONNECT_BURST = 100  # at once: far below what five minutes allow
ARGS_CHARACTERS_MAX = 21_000
# No rate of requests on a connection is documented; we keep to this.
SUBSCRIBE_PER_SECOND = 5.0
# A resubscription is two requests. Written as request weight a minute, as resync budgets are: 20 at once,
# which take 8 s at that rate, and one in 20 s after; more books than that are mended by a new socket.
RESUBSCRIBE_WEIGHT = 2
RESUBSCRIBE_WEIGHT_PER_MINUTE = 48

BBO_STREAM = "orderbook.1"
# "Websocket Stream / Public / Trade": up to 1,024 trades a message. "Ticker": of linear a whole one, then
# what changed; of spot always whole. "All Liquidation": each 500 ms; "Liquidation" is what it replaced.
TRADE_STREAM = "publicTrade"
TICKER_STREAM = "tickers"
LIQUIDATION_STREAM = "allLiquidation"
# "System Status": an address and a topic of its own.
STATUS_PATH = "/v5/public/misc/status"
STATUS_TOPIC = "system.status"
STATUS_PHASES = {
    "scheduled": NoticePhase.SCHEDULED,
    "ongoing": NoticePhase.STARTED,
    "completed": NoticePhase.ENDED,
    "canceled": NoticePhase.ENDED,
}

# "Get Instruments Info": up to 1,000 a page, nextPageCursor; spot has no pages. "Get Bybit Server Time",
# "Get Orderbook". Rate limit of addresses: 600 requests in 5 s.
INSTRUMENTS_PATH = "/v5/market/instruments-info"
TIME_PATH = "/v5/market/time"
BOOK_PATH = "/v5/market/orderbook"
REST_LIMIT = (600, 5.0)

# One contract of 1000PEPE is a thousand PEPE; of SHIB1000 too.
THOUSANDS = re.compile(r"^10{3,}(?=[A-Z])|(?<=[A-Z])10{3,}$")
# Quote currencies, for symbols met without instrument data.
QUOTES = ("USDT", "USDC", "USDE", "USD1", "EUR", "BTC", "ETH", "DAI", "BRZ", "USD")
# "Get Instruments Info": futures are BTC-26DEC25, settled in USDC, or BTCUSDT-26DEC25.
EXPIRY = re.compile(r"-(\d{1,2}[A-Z]{3}\d{2})$")


def topic(stream: str, symbol: str) -> str:
    """Return the topic of a symbol's stream."""
    return f"{stream}.{symbol}"


def messages(op: str, topics: Sequence[str], args_per_message: int) -> tuple[bytes, ...]:
    """Return the requests that subscribe or unsubscribe these topics ("How to Subscribe to Topics")."""
    return op_messages(op, topics, args_per_message)


def expiry_of(symbol: str, delivery_ms: int = 0) -> str:
    """Return YYMMDD of a contract that expires, "" of one that does not."""
    if delivery_ms:
        return datetime.fromtimestamp(delivery_ms / 1000, UTC).strftime("%y%m%d")
    found = EXPIRY.search(symbol)
    return (
        datetime.strptime(found[1].title(), "%d%b%y").replace(tzinfo=UTC).strftime("%y%m%d") if found else ""
    )


def split_symbol(symbol: str) -> tuple[str, str]:
    """Split a symbol by the known quote currencies; BTCPERP and BTC-26DEC25 are of USDC."""
    pair = EXPIRY.sub("", symbol)
    if pair != symbol and not pair.endswith("USDT"):
        return pair, "USDC"
    if pair.endswith("PERP") and len(pair) > len("PERP"):
        return pair.removesuffix("PERP"), "USDC"
    return split_pair(pair, QUOTES)


def canonical_name(product: Product, base: str, quote: str, expiry: str) -> str:
    """Return our name: BASE-QUOTE of spot, else BASE-QUOTE-PERP or BASE-QUOTE-YYMMDD."""
    if product is SPOT:
        return f"{base}-{quote}"
    return f"{THOUSANDS.sub('', base)}-{quote}-{expiry or 'PERP'}"
