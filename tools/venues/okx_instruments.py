"""Instruments of the simulated OKX venue: perpetuals with contract values, spot pairs, odd ticks."""

from __future__ import annotations

import random
import zlib

from tools.venues.protocol import VenueInstrument

SPOT, SWAP = "SPOT", "SWAP"

# (instId, price decimals, quantity decimals, tick, lot, contract value, its currency, settlement, start price
# in ticks, mean order in lots); ticks, lots and contract values as the venue's "GET / Instruments" had them.
KNOWN: tuple[tuple[str, int, int, str, str, str, str, str, int, float], ...] = (
    ("BTC-USDT-SWAP", 1, 2, "0.1", "0.01", "0.01", "BTC", "USDT", 618_000, 120.0),
    ("BTC-USDT", 1, 8, "0.1", "0.00000001", "", "", "", 617_950, 9_000_000.0),
    ("ETH-USDT-SWAP", 2, 2, "0.01", "0.01", "0.1", "ETH", "USDT", 268_162, 400.0),
    ("ETH-USDT", 2, 6, "0.01", "0.000001", "", "", "", 268_150, 700_000.0),
    ("ELON-USDT", 11, 0, "0.00000000001", "1", "", "", "", 74_408, 900_000.0),
    ("BTC-USD-SWAP", 1, 0, "0.1", "1", "100", "USD", "BTC", 618_100, 90.0),
    ("PEPE-USDT-SWAP", 10, 1, "0.0000000001", "0.1", "10000000", "PEPE", "USDT", 125_000, 800.0),
    ("SOL-USDT", 2, 6, "0.01", "0.000001", "", "", "", 15_500, 4_000_000.0),
)
TICKS: tuple[tuple[int, str], ...] = (
    (2, "0.01"),
    (3, "0.001"),
    (4, "0.0001"),
    (5, "0.00001"),
    (9, "0.000000001"),
)
CONTRACTS = ("1", "10", "0.1", "100")
SPOT_LOTS: tuple[tuple[int, str, float], ...] = (
    (2, "0.01", 30_000.0),
    (4, "0.0001", 2_000_000.0),
    (6, "0.000001", 9_000_000.0),
)
LISTED_MS = 1_611_916_828_000


def make_instruments(count: int, seed: int) -> list[tuple[VenueInstrument, int, float]]:
    """Return the known instruments, then SYM000-USDT-SWAP, SYM001-USDT … drawn from the seed."""
    rows: list[tuple[VenueInstrument, int, float]] = []
    for symbol, price, quantity, tick, lot, value, currency, settle, start, mean in KNOWN[:count]:
        base, quote = symbol.split("-")[:2]
        kind = SWAP if value else SPOT
        item = VenueInstrument(
            symbol, base, quote, price, quantity, tick, lot, kind, int(kind == SWAP), settle, value, currency
        )
        rows.append((item, start, mean))
    for index in range(count - len(rows)):
        draw = random.Random(f"{seed}/{index}")
        decimals, tick = draw.choice(TICKS)
        base = f"SYM{index:03d}"
        start = draw.randrange(8_000, 60_000)
        if index % 2:
            lot_decimals, lot, mean = draw.choice(SPOT_LOTS)
            item = VenueInstrument(f"{base}-USDT", base, "USDT", decimals, lot_decimals, tick, lot, SPOT)
        else:
            value, mean = draw.choice(CONTRACTS), 300.0
            item = VenueInstrument(
                f"{base}-USDT-SWAP", base, "USDT", decimals, 1, tick, "0.1", SWAP, 1, "USDT", value, base
            )
        rows.append((item, start, mean))
    return rows


def instrument_code(symbol: str) -> int:
    """Return the number by which order requests name an instrument."""
    return zlib.crc32(symbol.encode()) & 0x3FFFFFFF or 1


def instrument_row(item: VenueInstrument, state: str, now_ms: int) -> dict[str, object]:
    """Return an instrument as "GET / Instruments" and the instruments channel have it."""
    is_swap = item.category == SWAP
    pair = item.symbol.removesuffix("-SWAP")
    return {
        "alias": "",
        "auctionEndTime": "",
        "baseCcy": "" if is_swap else item.base,
        "category": "1",
        "contTdSwTime": "",
        "ctMult": "1" if is_swap else "",
        "ctType": ("inverse" if item.quote == "USD" else "linear") if is_swap else "",
        "ctVal": item.contract_value,
        "ctValCcy": item.value_currency,
        "expTime": str(now_ms) if state == "expired" else "",
        "futureSettlement": False,
        "groupId": "1",
        "instCategory": "1",
        "instFamily": pair if is_swap else "",
        "instId": item.symbol,
        "instIdCode": instrument_code(item.symbol),
        "instType": item.category,
        "lever": "50" if is_swap else "10",
        "listTime": str(LISTED_MS),
        "lotSz": item.lot_text,
        "maxIcebergSz": "9999999999",
        "maxLmtAmt": "20000000",
        "maxLmtSz": "9999999999",
        "maxMktAmt": "1000000",
        "maxMktSz": "1000000",
        "maxStopSz": "1000000",
        "maxTriggerSz": "9999999999",
        "maxTwapSz": "9999999999",
        "minSz": item.lot_text,
        "openType": "",
        "optType": "",
        "preMktSwTime": "",
        "quoteCcy": "" if is_swap else item.quote,
        "ruleType": "normal",
        "settleCcy": item.settle,
        "state": state,
        "stk": "",
        "tickSz": item.tick_text,
        "tradeQuoteCcyList": [] if is_swap else [item.quote],
        "uly": pair if is_swap else "",
        "upcChg": [],
    }
