"""Binance USD-M Futures: addresses, stream names, messages and limits, each with the document it is from."""

from __future__ import annotations

import re
from collections.abc import Sequence

import orjson

from feeds.venues.base import batches, split_pair

NAME = "binance_usdm"
VENUE_ID = 1

# "WebSocket Market Streams: Connect" and the change log of 2026-04-23: market data split by path, /public
# (depth, bookTicker), /market (trades, mark price, liquidations), /private (user data).
WEBSOCKET_URL = "wss://fstream.binance.com"
PUBLIC_PATH = "/public/stream"
MARKET_PATH = "/market/stream"

# "General Info".
REST_URL = "https://fapi.binance.com"
# "Order Book": weight by limit 5-50: 2, 100: 5, 500: 10, 1000: 20. Below 50 nothing gets cheaper.
DEPTH_PATH = "/fapi/v1/depth"
DEPTH_WEIGHTS = ((1000, 20), (500, 10), (100, 5), (50, 2))
# "Exchange Information", "Check Server Time".
INSTRUMENTS_PATH = "/fapi/v1/exchangeInfo"
INSTRUMENTS_WEIGHT = 1
TIME_PATH = "/fapi/v1/time"
TIME_WEIGHT = 1
# "Limits": request weight per address and minute; each answer states what was used.
WEIGHT_PER_MINUTE = 2400
REST_LIMIT = (WEIGHT_PER_MINUTE, 60.0)
USED_WEIGHT_HEADER = "x-mbx-used-weight-1m"

# "WebSocket Market Streams": 10 incoming messages a second, 1024 streams a connection, cut after 24 hours. We
# keep to half of the first, since pings count as messages. The venue pings every 3 minutes and cuts who has
# not answered for 10: the websocket client answers by itself, so there is no PING to send here.
SUBSCRIBE_PER_SECOND = 5.0
STREAMS_MAX = 1024
STREAMS_PER_MESSAGE = 200
CONNECTION_LIFE_NS = 24 * 3600 * 1_000_000_000
# "WebSocket API General Info": 300 connections in 5 minutes for one address; no number is told for the
# streams.
CONNECTS_PER_SECOND = 1.0
CONNECT_BURST = 60  # at once: far below what five minutes allow

# "Diff. Book Depth Streams", "Aggregate Trade Streams", "Individual Symbol Book Ticker Streams", "Mark Price
# Stream".
DEPTH_STREAM = "depth@100ms"
# "Partial Book Depth Streams": whole books of 5, 10 or 20 levels. depth@0ms stands in recordings of 2024.
DEPTH_STREAMS = (
    "depth@100ms", "depth", "depth@500ms", "depth@0ms",
    *(f"depth{levels}{speed}" for levels in (5, 10, 20) for speed in ("", "@100ms", "@500ms")),
)  # fmt: skip
# "Liquidation Order Streams" (at most one order per symbol and second), "Contract Info Stream" (all symbols).
LIQUIDATION_STREAM = "forceOrder"
CONTRACT_INFO_STREAM = "!contractInfo"
TRADE_STREAM = "aggTrade"
# "trade" (each fill by itself) is in no document any more and still sent.
TRADE_STREAMS = (TRADE_STREAM, "trade")
BBO_STREAM = "bookTicker"
MARK_STREAM = "markPrice@1s"
PUBLIC_STREAMS = frozenset({"depth", "bookTicker"})

# Fee schedule, regular user: maker 0.0200 %, taker 0.0500 %; an account's own rates replace them.
MAKER_FEE_E8 = 20_000
TAKER_FEE_E8 = 50_000

# "Exchange Information": contractType. An empty one belongs to contracts that do not trade yet.
PERPETUAL_TYPES = frozenset({"PERPETUAL", "TRADIFI_PERPETUAL"})
FUTURE_TYPES = frozenset({"CURRENT_MONTH", "NEXT_MONTH", "CURRENT_QUARTER", "NEXT_QUARTER"})
# Documented too, and nothing to trade: a contract on its way out, and one that has no type yet.
OTHER_TYPES = frozenset({"PERPETUAL_DELIVERING", "PERPETUAL DELIVERING", ""})

# One contract of 1000SHIB is a thousand SHIB; 1M stands for a million. 1INCH is a name.
THOUSANDS = re.compile(r"(?:1000+|1M)(?=[A-Z])")
# Quote currencies, for symbols met without instrument data.
QUOTES = ("USDT", "USDC", "BUSD", "FDUSD", "BTC", "USD1", "U")


def stream_name(symbol: str, stream: str) -> str:
    """Return the full name of a symbol's stream."""
    return f"{symbol.lower()}@{stream}"


def is_public(stream: str) -> bool:
    """Say whether a stream belongs to the /public path (else to /market)."""
    parts = stream.split("@")
    return parts[1 if len(parts) > 1 else 0].rstrip("0123456789") in PUBLIC_STREAMS


def subscribe_messages(streams: Sequence[str], first_id: int = 1) -> tuple[bytes, ...]:
    """Return the SUBSCRIBE messages for these streams ("Live Subscribing/Unsubscribing to streams")."""
    return tuple(
        orjson.dumps({"method": "SUBSCRIBE", "params": batch, "id": first_id + i})
        for i, batch in enumerate(batches(streams, STREAMS_PER_MESSAGE))
    )


def depth_path(symbol: str, limit: int) -> str:
    """Return path and query of a depth snapshot."""
    return f"{DEPTH_PATH}?symbol={symbol}&limit={limit}"


def canonical_name(base: str, quote: str, expiry: str = "") -> str:
    """Return our name of a contract: BASE-QUOTE-PERP, or BASE-QUOTE-YYMMDD when it expires."""
    return f"{THOUSANDS.sub('', base)}-{quote}-{expiry or 'PERP'}"


def split_symbol(symbol: str) -> tuple[str, str, str]:
    """Split a symbol into base, quote and expiry (YYMMDD or ""), by the known quote currencies."""
    pair, _, expiry = symbol.partition("_")
    base, quote = split_pair(pair, QUOTES)
    return base, quote, expiry
