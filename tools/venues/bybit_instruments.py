"""Instruments of the simulated Bybit venue, linear and spot, with odd ticks and multiplied symbols."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tools.venues.protocol import VenueInstrument

LINEAR, SPOT = "linear", "spot"

# (symbol, base, price decimals, quantity decimals, tick, step, start price in ticks, mean order in steps);
# ticks and steps as recorded instrument data of 2026 had them.
KNOWN: dict[str, tuple[tuple[str, str, int, int, str, str, int, float], ...]] = {
    LINEAR: (
        ("BTCUSDT", "BTC", 2, 3, "0.10", "0.001", 618_000, 40.0),
        ("ETHUSDT", "ETH", 2, 2, "0.01", "0.01", 268_162, 90.0),
        ("SOLUSDT", "SOL", 3, 1, "0.010", "0.1", 15_500, 900.0),
        ("DOGEUSDT", "DOGE", 5, 0, "0.00001", "1", 10_500, 9000.0),
        ("1000PEPEUSDT", "1000PEPE", 7, 0, "0.0000001", "100", 125_000, 300.0),
    ),
    SPOT: (
        ("BTCUSDT", "BTC", 1, 6, "0.1", "0.000001", 617_950, 90_000.0),
        ("ETHUSDT", "ETH", 2, 5, "0.01", "0.00001", 268_150, 70_000.0),
        ("PEPEUSDT", "PEPE", 10, 2, "0.0000000001", "0.01", 125_000, 9_000_000.0),
        ("ELONUSDT", "ELON", 11, 0, "0.00000000001", "1", 74_408, 900_000.0),
    ),
}
TICKS: tuple[tuple[int, str], ...] = (
    (2, "0.01"),
    (3, "0.001"),
    (4, "0.0001"),
    (5, "0.00001"),
    (7, "0.0000001"),
)
STEPS: tuple[tuple[int, str, float], ...] = ((0, "1", 300.0), (1, "0.1", 500.0), (2, "0.01", 800.0))


def make_instruments(
    categories: Sequence[str], count: int, seed: int
) -> list[tuple[VenueInstrument, int, float]]:
    """Return `count` instruments, the categories in turns: the known ones, then SYM000USDT … by the seed."""
    rows: list[tuple[VenueInstrument, int, float]] = []
    for index in range(count):
        category = categories[index % len(categories)]
        place = index // len(categories)
        if place < len(KNOWN[category]):
            symbol, base, price, quantity, tick, step, start, mean = KNOWN[category][place]
        else:
            draw = random.Random(f"{seed}/{category}/{place}")
            base = f"SYM{place:03d}"
            symbol = f"{base}USDT"
            price, tick = draw.choice(TICKS)
            quantity, step, mean = draw.choice(STEPS)
            start = draw.randrange(8_000, 60_000)
        item = VenueInstrument(
            symbol, base, "USDT", price, quantity, tick, step, category, int(category == LINEAR), "USDT",
            is_keyed=True,
        )  # fmt: skip
        rows.append((item, start, mean))
    return rows


def instrument_row(item: VenueInstrument, state: str, now_ms: int) -> dict[str, object]:
    """Return an instrument as "Get Instruments Info" has it."""
    number = sum(item.symbol.encode()) % 1000
    risk = {"priceLimitRatioX": "0.01", "priceLimitRatioY": "0.02"}
    if item.category == SPOT:
        return {
            "symbolId": number, "symbol": item.symbol, "baseCoin": item.base, "quoteCoin": item.quote,
            "innovation": "0", "status": state, "marginTrading": "utaOnly", "stTag": "0",
            "lotSizeFilter": {
                "basePrecision": item.lot_text, "quotePrecision": "0.0000001", "minOrderQty": item.lot_text,
                "maxOrderQty": "9000000000", "minOrderAmt": "5", "maxOrderAmt": "8000000",
                "maxLimitOrderQty": "9000000000", "maxMarketOrderQty": "4000000000",
                "postOnlyMaxLimitOrderSize": "9000000000",
            },
            "priceFilter": {"tickSize": item.tick_text},
            "riskParameters": risk, "symbolType": "", "xstockMultiplier": "1",
        }  # fmt: skip
    return {
        "symbol": item.symbol, "contractType": "LinearPerpetual", "status": state, "baseCoin": item.base,
        "quoteCoin": item.quote, "launchTime": "1584230400000",
        "deliveryTime": str(now_ms) if state in ("Delivering", "Closed") else "0", "deliveryFeeRate": "",
        "priceScale": str(item.price_decimals),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
        "priceFilter": {"minPrice": item.tick_text, "maxPrice": "1999999.80", "tickSize": item.tick_text},
        "lotSizeFilter": {
            "maxOrderQty": "43678900", "minOrderQty": item.lot_text, "qtyStep": item.lot_text,
            "postOnlyMaxOrderQty": "43678900", "maxMktOrderQty": "5991100", "minNotionalValue": "5",
        },
        "unifiedMarginTrade": True, "fundingInterval": 480, "settleCoin": item.settle, "copyTrading": "both",
        "upperFundingRate": "0.005", "lowerFundingRate": "-0.005", "isPreListing": state == "PreLaunch",
        "preListingInfo": None, "riskParameters": risk, "displayName": "", "symbolType": "",
        "forbidUplWithdrawal": False, "symbolId": number,
    }  # fmt: skip
