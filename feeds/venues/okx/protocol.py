"""OKX: addresses, channel names, messages and limits, each with the document it is from (OKX API v5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from feeds.adapter import NoticePhase
from feeds.venues.base import op_messages

NAME = "okx"
VENUE_ID = 2

# "Overview / Production Trading Services": public channels, and those that moved to /business (trades-all).
WEBSOCKET_URL = "wss://ws.okx.com:8443"
PUBLIC_PATH = "/ws/v5/public"
BUSINESS_PATH = "/ws/v5/business"
PATHS = "/ws/v5/"
REST_URL = "https://www.okx.com"

# "Overview / WebSocket / Connect": without a message for 30 s the venue breaks the connection; the text
# "ping" is answered by the text "pong". 3 connection requests a second for one address. 480 subscribe,
# unsubscribe and login requests an hour for one connection; older documents told 3 of them a second, and we
# keep to that.
PING = b"ping"
PONG = b"pong"
PING_AFTER_NS = 20_000_000_000
CONNECTS_PER_SECOND = 3.0
REQUESTS_PER_HOUR = 480
SUBSCRIBE_PER_SECOND = 3.0
# "Overview / WebSocket / Subscribe": the channels of one request may be 64 KB long; we keep far below.
ARGS_PER_MESSAGE = 100
STREAMS_MAX = 1000

# A resubscription is two requests. 12 at once, which take 8 s at that rate, and 112 an hour after that: with
# what a start needs this stays below REQUESTS_PER_HOUR. More books than that are mended by a new socket,
# which has an hour of its own. Written as request weight a minute, as resync budgets are.
RESUBSCRIBE_WEIGHT = 2
RESUBSCRIBE_WEIGHT_PER_MINUTE = 30

# "WS / Order book channel". books: 400 levels, 100 ms, a whole book first, then updates. books5: 5 levels,
# a whole book each 100 ms when it changed. bbo-tbt: 1 level, 10 ms. books-l2-tbt (400 levels, 10 ms) and
# books50-l2-tbt need a login of a VIP level. prevSeqId is -1 in a whole book; then each update's prevSeqId
# is the seqId before; no change for about 60 s sends an update without levels whose seqId is its prevSeqId;
# maintenance may make seqId smaller than prevSeqId once. The checksum was withdrawn: since mid-2026 it is
# always 0. "Checksum": the first 25 bids and asks, price:size, in turn, joined by colons, CRC32 as a signed
# number.
DEPTH_STREAM = "books"
DEPTH_STREAMS = ("books", "books50-l2-tbt", "books-l2-tbt", "books5")
DEPTH_REPEAT_NS = dict.fromkeys(("books", "books50-l2-tbt", "books-l2-tbt"), 60_000_000_000)
BBO_STREAM = "bbo-tbt"
# "WS / Trades channel" (fills of one taker order at one price as one, with their count), "WS / All trades
# channel".
TRADE_STREAM = "trades"
ALL_TRADES_STREAM = "trades-all"
TRADE_STREAMS = (TRADE_STREAM, ALL_TRADES_STREAM)
# "WS / Mark price channel", "WS / Index tickers channel", "WS / Funding rate channel".
MARK_STREAM = "mark-price"
INDEX_STREAM = "index-tickers"
FUNDING_STREAM = "funding-rate"
# "WS / Liquidation orders channel": by instType, at most one order per contract and second.
LIQUIDATION_STREAM = "liquidation-orders"
# "WS / Status channel", "WS / Instruments channel".
STATUS_STREAM = "status"
# States of a maintenance ("Status / GET / Status"); pre_open lets orders in that rest until it ends.
STATUS_PHASES = {
    "scheduled": NoticePhase.SCHEDULED,
    "ongoing": NoticePhase.STARTED,
    "pre_open": NoticePhase.STARTED,
    "completed": NoticePhase.ENDED,
    "canceled": NoticePhase.ENDED,
}
# serviceType of what we do not use: block trading, trading bot, spread trading, copy trading.
OTHER_SERVICES = frozenset({"6", "7", "10", "11"})
INSTRUMENTS_STREAM = "instruments"
BUSINESS_STREAMS = frozenset({ALL_TRADES_STREAM})

# "GET / Instruments", "GET / System time", "GET / Order book" (sz up to 400; 40 requests in 2 s). The order
# book's answer shares no sequence that joins the stream: the whole book in the stream is the proof, this
# serves audits.
INSTRUMENTS_PATH = "/api/v5/public/instruments"
INSTRUMENT_TYPES = ("SWAP", "SPOT")
# Documented too, and nothing to trade here.
OTHER_TYPES = frozenset({"MARGIN", "EVENTS"})
TIME_PATH = "/api/v5/public/time"
BOOK_PATH = "/api/v5/market/books"
BOOK_LEVELS = 400
# Each path has a limit of its own for one address, 20 requests in 2 s ("GET / Instruments") and 40 of the
# order book; time 10. All of ours together keep to that of the order book: the others are asked for seldom.
REST_LIMIT = (40, 2.0)

# "Fees", regular user: SPOT maker 0.080 %, taker 0.100 %; SWAP and FUTURES 0.020 % and 0.050 %.
SPOT_FEES_E8 = (80_000, 100_000)
DERIVATIVE_FEES_E8 = (20_000, 50_000)


def depth_arg(symbol: str, channel: str) -> dict[str, str]:
    """Return the argument that names a channel of one instrument."""
    return {"channel": channel, "instId": symbol}


def messages(op: str, args: Sequence[dict[str, str]]) -> tuple[bytes, ...]:
    """Return the requests that subscribe or unsubscribe these channels ("WebSocket / Subscribe")."""
    return op_messages(op, args, ARGS_PER_MESSAGE)


def split_symbol(symbol: str) -> tuple[str, str, str]:
    """Split an instId into base, quote and the rest ("" for SPOT, "SWAP", "YYMMDD", "YYMMDD-<strike>-C")."""
    base, _, rest = symbol.partition("-")
    quote, _, tail = rest.partition("-")
    return base, quote, tail


def canonical_name(symbol: str) -> str:
    """Return our name: BASE-QUOTE-PERP for a SWAP, else as the venue writes it."""
    base, quote, tail = split_symbol(symbol)
    return f"{base}-{quote}-PERP" if tail == "SWAP" else symbol


def has_mark(symbol: str) -> bool:
    """Say whether an instrument has a mark price: all but SPOT."""
    return bool(split_symbol(symbol)[2])


def instrument_types(symbols: Iterable[str]) -> Iterator[str]:
    """Yield the instTypes of these symbols that have liquidations, once each."""
    tails = {split_symbol(symbol)[2] for symbol in symbols}
    if "SWAP" in tails:
        yield "SWAP"
    if any(tail.isdigit() for tail in tails):
        yield "FUTURES"
