"""Binance USD-M's JSON of orders, trades, balances and positions, and its error codes.

Documents (developers.binance.com, USD-M Futures): "New Order", "Modify Order", "Cancel Order", "Query Order",
"Account Trade List", "Position Information V3", "Futures Account Balance V3", "Event: Order Update", "Event:
Balance and Position Update", "Event: Trade Lite", "Error Codes".
"""

from __future__ import annotations

from exec.simulator.meeting import SelfTrade
from tools.venues.trading.accounts import Account, Holding, maintenance_e8
from tools.venues.trading.terms import (
    BUY,
    FOK,
    GTC,
    IOC,
    LIMIT,
    AccountEvent,
    Fill,
    Listing,
    MoneyEvent,
    Status,
    VenueOrder,
    What,
    Why,
    is_liquidated,
    to_text,
)

SIDES = {"BUY": 1, "SELL": 2}
SIDE_TEXTS = {number: text for text, number in SIDES.items()}
TIMES_IN_FORCE = {"GTC": GTC, "IOC": IOC, "FOK": FOK, "GTX": GTC}
TIME_TEXTS = {GTC: "GTC", IOC: "IOC", FOK: "FOK"}
SELF_TRADES = {
    "EXPIRE_TAKER": SelfTrade.EXPIRE_TAKER,
    "EXPIRE_MAKER": SelfTrade.EXPIRE_MAKER,
    "EXPIRE_BOTH": SelfTrade.EXPIRE_BOTH,
    "NONE": SelfTrade.ALLOW,
}
SELF_TRADE_TEXTS = {int(mode): text for text, mode in SELF_TRADES.items()}
STATUS_TEXTS = {
    Status.NEW: "NEW",
    Status.PARTIALLY_FILLED: "PARTIALLY_FILLED",
    Status.FILLED: "FILLED",
    Status.CANCELED: "CANCELED",
    Status.EXPIRED: "EXPIRED",
    Status.REJECTED: "REJECTED",
}
EXECUTIONS = {
    What.NEW: "NEW",
    What.TRADE: "TRADE",
    What.CANCELED: "CANCELED",
    What.EXPIRED: "EXPIRED",
    What.AMENDED: "AMENDMENT",
}
_NO_RECORD = "The order will not be recorded in the order history"
POST_ONLY_TEXT = (
    f"Due to the order could not be executed as maker, the Post Only order will be rejected. {_NO_RECORD}"
)
FOK_TEXT = f"Due to the order could not be filled immediately, the FOK order has been rejected. {_NO_RECORD}"
STORM_TEXT = (
    "Request throttled by system-level protection. Reduce-only/close-position orders are exempt. "
    "Please try again."
)
#: Why a command is refused → (HTTP status, code, message).
REFUSALS: dict[Why, tuple[int, int, str]] = {
    Why.UNKNOWN_SYMBOL: (400, -1121, "Invalid symbol."),
    Why.NOT_TRADING: (400, -4108, "This contract is under delivery or delivered or closed."),
    Why.PRICE: (400, -4013, "Price less than min price."),
    Why.TICK: (400, -4014, "Price not increased by tick size."),
    Why.LOT: (400, -4023, "Qty not increased by step size."),
    Why.QUANTITY: (400, -4003, "Quantity less than or equal to zero."),
    Why.MAX_QUANTITY: (400, -4005, "Quantity greater than max quantity."),
    Why.MIN_NOTIONAL: (
        400, -4164, "Order's notional must be no smaller than 5 (unless you choose reduce only).",
    ),
    Why.DUPLICATE_ID: (400, -4116, "ClientOrderId is duplicated."),
    Why.OPEN_ORDERS: (400, -2025, "Reach max open order limit."),
    Why.POST_ONLY: (400, -5022, POST_ONLY_TEXT),
    Why.FOK: (400, -5021, FOK_TEXT),
    Why.REDUCE_ONLY: (400, -2022, "ReduceOnly Order is rejected."),
    Why.MARGIN: (400, -2019, "Margin is insufficient."),
    Why.SELF_TRADE: (400, -2010, "Order would immediately trade with another order of yours."),
    Why.UNKNOWN_ORDER: (400, -2011, "Unknown order sent."),
    Why.FINISHED: (400, -2011, "Unknown order sent."),
    Why.UNCHANGED: (400, -5027, "No need to modify the order."),
    Why.NO_LIQUIDITY: (
        400, -4131,
        "The counterparty's best price does not meet the PERCENT_PRICE filter limit.",
    ),
    Why.STORM: (503, -1008, STORM_TEXT),
    Why.RATE: (429, -1015, "Too many new orders; current limit is 300 orders per TEN_SECONDS."),
}  # fmt: skip


def status_text(order: VenueOrder) -> str:
    """The venue's word for an order's status."""
    if order.status is Status.EXPIRED and order.why is Why.SELF_TRADE:
        return "EXPIRED_IN_MATCH"
    return STATUS_TEXTS[order.status]


def _average(order: VenueOrder, listing: Listing) -> str:
    return f"{listing.price_of(order.filled_raw, order.filled):.{max(2, listing.price_decimals)}f}"


def _time_in_force(order: VenueOrder) -> str:
    return "GTX" if order.terms.is_post_only else TIME_TEXTS[order.terms.time_in_force]


def order_answer(order: VenueOrder, listing: Listing, *, is_ack: bool = False) -> dict[str, object]:
    """What placing, amending or canceling returns; `is_ack`: as it was when it arrived, before any fill."""
    filled = "0" if is_ack else to_text(order.filled, listing.quantity_decimals)
    if is_ack:
        filled = to_text(0, listing.quantity_decimals)
    kind = "LIMIT" if order.terms.order_type == LIMIT else "MARKET"
    return {
        "orderId": order.order_id,
        "symbol": listing.symbol,
        "status": "NEW" if is_ack else status_text(order),
        "clientOrderId": order.terms.client_id,
        "price": to_text(order.price_units, listing.price_decimals),
        "avgPrice": f"{0:.{max(2, listing.price_decimals)}f}" if is_ack else _average(order, listing),
        "origQty": to_text(order.units, listing.quantity_decimals),
        "executedQty": filled,
        "cumQty": filled,
        "cumQuote": "0.00000" if is_ack else f"{listing.e8(order.filled_raw) / 1e8:.5f}",
        "timeInForce": _time_in_force(order),
        "type": kind,
        "reduceOnly": order.terms.is_reduce_only,
        "closePosition": False,
        "side": SIDE_TEXTS[order.terms.side],
        "positionSide": "BOTH",
        "stopPrice": to_text(0, listing.price_decimals),
        "workingType": "CONTRACT_PRICE",
        "priceProtect": False,
        "origType": kind,
        "priceMatch": "NONE",
        "selfTradePreventionMode": SELF_TRADE_TEXTS.get(order.terms.self_trade, "NONE"),
        "goodTillDate": 0,
        "updateTime": order.created_ms if is_ack else order.updated_ms,
    }


def order_row(order: VenueOrder, listing: Listing) -> dict[str, object]:
    """What a query returns of an order."""
    row = order_answer(order, listing)
    del row["cumQty"]
    row["time"] = order.created_ms
    return row


def trade_row(fill: Fill, listing: Listing) -> dict[str, object]:
    """What the trade list returns of a fill."""
    return {
        "symbol": listing.symbol,
        "id": fill.trade_id,
        "orderId": fill.order_id,
        "side": SIDE_TEXTS[fill.side],
        "price": to_text(fill.price_units, listing.price_decimals),
        "qty": to_text(fill.units, listing.quantity_decimals),
        "realizedPnl": to_text(fill.realized_e8, 8),
        "quoteQty": to_text(listing.value_e8(fill.price_units, fill.units), 8),
        "commission": to_text(fill.fee_e8, 8),
        "commissionAsset": fill.fee_asset,
        "time": fill.utc_ms,
        "positionSide": "BOTH",
        "maker": fill.is_maker,
        "buyer": fill.side == BUY,
    }


def balance_row(account: Account, asset: str, free_e8: int, unrealized_e8: int) -> dict[str, object]:
    """What the balance query returns of an asset."""
    wallet = to_text(account.balances.get(asset, 0), 8)
    return {
        "accountAlias": f"Sim{account.number:04d}",
        "asset": asset,
        "balance": wallet,
        "crossWalletBalance": wallet,
        "crossUnPnl": to_text(unrealized_e8, 8),
        "availableBalance": to_text(max(0, free_e8), 8),
        "maxWithdrawAmount": to_text(max(0, free_e8), 8),
        "marginAvailable": True,
        "updateTime": account.updated_ms,
    }


def position_row(account: Account, listing: Listing, holding: Holding) -> dict[str, object]:
    """What the position query (V3) returns of a symbol."""
    entry = listing.price_of(holding.entry_raw, abs(holding.units))
    notional = listing.value_e8(listing.mark_units, holding.units) if listing.mark_units else 0
    leverage = account.leverage_of(listing.key)
    margin = holding.margin_e8(listing, leverage)
    own = abs(notional) // leverage
    return {
        "symbol": listing.symbol,
        "positionSide": "BOTH",
        "positionAmt": to_text(holding.units, listing.quantity_decimals),
        "entryPrice": f"{entry:.{max(1, listing.price_decimals)}f}",
        "breakEvenPrice": f"{entry:.{max(1, listing.price_decimals)}f}",
        "markPrice": f"{listing.price_of(listing.raw(listing.mark_units, 1), 1):.8f}"
        if listing.mark_units
        else "0",
        "unRealizedProfit": to_text(holding.unrealized_e8(listing), 8),
        "liquidationPrice": "0",
        "isolatedMargin": "0",
        "notional": to_text(notional, 8),
        "marginAsset": listing.settle,
        "isolatedWallet": "0",
        "initialMargin": to_text(margin, 8),
        "maintMargin": to_text(maintenance_e8(listing, holding), 8),
        "positionInitialMargin": to_text(own, 8),
        "openOrderInitialMargin": to_text(max(0, margin - own), 8),
        "adl": 0,
        "bidNotional": to_text(listing.e8(holding.buy_raw), 8),
        "askNotional": to_text(listing.e8(holding.sell_raw), 8),
        "updateTime": holding.updated_ms,
    }


def order_event(event: AccountEvent, listing: Listing, holding: Holding) -> dict[str, object]:
    """ORDER_TRADE_UPDATE."""
    order, fill = event.order, event.fill
    kind = "LIMIT" if order.terms.order_type == LIMIT else "MARKET"
    status = status_text(order)
    execution = "TRADE_PREVENTION" if status == "EXPIRED_IN_MATCH" else EXECUTIONS[event.what]
    if fill is not None and is_liquidated(order):
        execution = "CALCULATED"
    zero = to_text(0, listing.quantity_decimals)
    row: dict[str, object] = {
        "s": listing.symbol, "c": order.terms.client_id, "S": SIDE_TEXTS[order.terms.side], "o": kind,
        "f": _time_in_force(order), "q": to_text(order.units, listing.quantity_decimals),
        "p": to_text(order.price_units, listing.price_decimals), "ap": _average(order, listing), "sp": "0",
        "x": execution, "X": status, "i": order.order_id,
        "l": to_text(fill.units, listing.quantity_decimals) if fill else zero,
        "z": to_text(order.filled, listing.quantity_decimals),
        "L": to_text(fill.price_units, listing.price_decimals) if fill else "0",
    }  # fmt: skip
    if fill is not None:
        row["n"], row["N"] = to_text(fill.fee_e8, 8), fill.fee_asset
    row.update({
        "T": event.utc_ms, "t": fill.trade_id if fill else 0, "b": to_text(listing.e8(holding.buy_raw), 8),
        "a": to_text(listing.e8(holding.sell_raw), 8), "m": fill.is_maker if fill else False,
        "R": order.terms.is_reduce_only, "wt": "CONTRACT_PRICE", "ot": kind, "ps": "BOTH", "cp": False,
        "rp": to_text(fill.realized_e8, 8) if fill else "0", "pP": False, "si": 0, "ss": 0,
        "V": SELF_TRADE_TEXTS.get(order.terms.self_trade, "NONE"), "pm": "NONE", "gtd": 0,
    })  # fmt: skip
    return {"e": "ORDER_TRADE_UPDATE", "T": event.utc_ms, "E": event.utc_ms, "o": row}


def trade_lite(event: AccountEvent, fill: Fill, listing: Listing) -> dict[str, object]:
    """TRADE_LITE."""
    order = event.order
    return {
        "e": "TRADE_LITE", "E": event.utc_ms, "T": event.utc_ms, "s": listing.symbol,
        "q": to_text(order.units, listing.quantity_decimals),
        "p": to_text(order.price_units, listing.price_decimals), "m": fill.is_maker,
        "c": order.terms.client_id, "S": SIDE_TEXTS[order.terms.side],
        "L": to_text(fill.price_units, listing.price_decimals),
        "l": to_text(fill.units, listing.quantity_decimals), "t": fill.trade_id, "i": order.order_id,
    }  # fmt: skip


def account_event(
    event: AccountEvent, account: Account, listing: Listing, holding: Holding
) -> dict[str, object]:
    """ACCOUNT_UPDATE after a fill."""
    wallet = to_text(account.balances.get(listing.settle, 0), 8)
    entry = listing.price_of(holding.entry_raw, abs(holding.units))
    return {
        "e": "ACCOUNT_UPDATE", "T": event.utc_ms, "E": event.utc_ms,
        "a": {
            "B": [{"a": listing.settle, "wb": wallet, "cw": wallet, "bc": "0"}],
            "P": [{
                "s": listing.symbol, "pa": to_text(holding.units, listing.quantity_decimals),
                "ep": f"{entry:.{max(5, listing.price_decimals)}f}", "cr": to_text(holding.realized_e8, 8),
                "up": to_text(holding.unrealized_e8(listing), 8), "mt": "cross", "iw": "0", "ps": "BOTH",
                "ma": listing.settle, "bep": f"{entry:.{max(5, listing.price_decimals)}f}",
            }],
            "m": "ORDER",
        },
    }  # fmt: skip


def money_event(event: MoneyEvent, account: Account) -> dict[str, object]:
    """ACCOUNT_UPDATE of a funding payment: of a crossed position it tells the balance alone."""
    wallet, change = to_text(account.balances.get(event.asset, 0), 8), to_text(event.amount_e8, 8)
    return {
        "e": "ACCOUNT_UPDATE", "T": event.utc_ms, "E": event.utc_ms,
        "a": {
            "B": [{"a": event.asset, "wb": wallet, "cw": wallet, "bc": change}], "P": [], "m": "FUNDING_FEE",
        },
    }  # fmt: skip
