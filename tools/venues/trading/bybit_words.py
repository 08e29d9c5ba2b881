"""Bybit's JSON of orders, executions, positions and wallets, and its error codes.

Documents (Bybit v5): "Private / Order", "Private / Execution", "Private / Position", "Private / Wallet",
"Get Open & Closed Orders", "Get Trade History", "Get Position Info", "Get Wallet Balance", "Enums
Definitions", "Error Codes".
"""

from __future__ import annotations

import uuid

from exec.simulator.meeting import SelfTrade
from tools.venues.trading.accounts import Account, Holding
from tools.venues.trading.terms import (
    FOK,
    GTC,
    IOC,
    MARKET,
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

Row = dict[str, object]

#: Upper half of the ids made here: version 4, variant 1.
UUID_BASE = 7 << 112 | 4 << 76 | 1 << 63

SIDES = {"Buy": 1, "Sell": 2}
SIDE_TEXTS = {number: text for text, number in SIDES.items()}
TIMES_IN_FORCE = {"GTC": GTC, "IOC": IOC, "FOK": FOK, "PostOnly": GTC}
TIME_TEXTS = {GTC: "GTC", IOC: "IOC", FOK: "FOK"}
#: "Enums Definitions / smpType".
SELF_TRADES = {
    "None": SelfTrade.ALLOW,
    "CancelMaker": SelfTrade.EXPIRE_MAKER,
    "CancelTaker": SelfTrade.EXPIRE_TAKER,
    "CancelBoth": SelfTrade.EXPIRE_BOTH,
}
SELF_TRADE_TEXTS = {int(mode): text for text, mode in SELF_TRADES.items()}
#: Why an order ended → (cancelType, rejectReason).
ENDS: dict[Why, tuple[str, str]] = {
    Why.USER: ("CancelByUser", "EC_PerCancelRequest"),
    Why.FOK: ("UNKNOWN", "EC_NoEnoughQtyToFill"),
    Why.REMAINDER: ("UNKNOWN", "EC_CancelForNoFullFill"),
    Why.REDUCE_ONLY: ("CancelByReduceOnly", "EC_NoError"),
    Why.LIQUIDATION: ("CancelAllBeforeLiq", "EC_NoError"),
    Why.DEAD_MAN: ("CancelByDCP", "EC_NoError"),
    Why.DISCONNECT: ("CancelByDCP", "EC_NoError"),
    Why.POST_ONLY: ("UNKNOWN", "EC_PostOnlyWillTakeLiquidity"),
    Why.SELF_TRADE: ("CancelBySmp", "EC_NoError"),
}
#: Why a command is refused → code of linear, code of spot, message.
REFUSALS: dict[Why, tuple[int, int, str]] = {
    Why.UNKNOWN_SYMBOL: (10001, 170121, "params error: symbol invalid"),
    Why.NOT_TRADING: (110074, 170151, "This contract is not live"),
    Why.PRICE: (110003, 170133, "Order price is out of permissible range."),
    Why.TICK: (10001, 170134, "params error: price invalid"),
    Why.LOT: (10001, 170137, "Qty invalid"),
    Why.QUANTITY: (10001, 170136, "The number of contracts is below the minimum"),
    Why.MAX_QUANTITY: (10001, 170135, "The number of contracts exceeds maximum limit allowed"),
    Why.MIN_NOTIONAL: (110094, 170140, "Order does not meet minimum order value"),
    Why.DUPLICATE_ID: (110072, 170141, "OrderLinkedID is duplicate"),
    Why.OPEN_ORDERS: (110020, 170005, "You can not have more than 500 active orders"),
    Why.POST_ONLY: (110017, 170218, "Post-only orders would execute"),
    Why.FOK: (110017, 170210, "New order rejected"),
    Why.REDUCE_ONLY: (110017, 170210, "current position is zero, cannot fix reduce-only order qty"),
    Why.MARGIN: (110007, 170131, "ab not enough for new order"),
    Why.SELF_TRADE: (110017, 170210, "New order rejected"),
    Why.UNKNOWN_ORDER: (110001, 170213, "order not exists or too late to cancel"),
    Why.FINISHED: (110001, 170213, "order not exists or too late to replace"),
    Why.UNCHANGED: (10001, 170130, "params error: the order remains unchanged"),
    Why.NO_LIQUIDITY: (110118, 170193, "Unable to retrieve a price of the market order due to low liquidity"),
    Why.STORM: (10016, 10016, "Internal System Error"),
    Why.RATE: (10006, 10006, "Too many visits. Exceeded the API Rate Limit."),
}


def refusal(why: Why, *, is_spot: bool) -> tuple[int, str]:
    """The code and text of a refusal."""
    linear, spot, text = REFUSALS.get(why, (10001, 170130, why.value))
    return (spot if is_spot else linear), text


def order_uuid(order_id: int) -> str:
    """An order's id as the venue writes it: a UUID made of its number."""
    return str(uuid.UUID(int=UUID_BASE | order_id))


def order_number(text: str) -> int:
    """The number of such an id; -1 when it is none."""
    try:
        number = uuid.UUID(text).int & (1 << 63) - 1
    except ValueError:
        return -1
    return number if order_uuid(number) == text.lower() else -1


def exec_uuid(trade_id: int) -> str:
    """An execution's id."""
    return str(uuid.UUID(int=UUID_BASE | 1 << 96 | trade_id))


def status(order: VenueOrder, listing: Listing) -> str:
    """The venue's word for an order's status."""
    match order.status:
        case Status.NEW:
            return "New"
        case Status.PARTIALLY_FILLED:
            return "PartiallyFilled"
        case Status.FILLED:
            return "Filled"
        case _:
            return "PartiallyFilledCanceled" if listing.is_spot and order.filled else "Cancelled"


def order_row(order: VenueOrder, listing: Listing) -> Row:
    """An order, as questions are answered and the topic `order` tells it."""
    ended = order.status not in (Status.NEW, Status.PARTIALLY_FILLED, Status.FILLED)
    cancel_type, reject_reason = (
        ENDS.get(order.why, ("UNKNOWN", "EC_Others")) if ended else ("UNKNOWN", "EC_NoError")
    )
    average = listing.price_of(order.filled_raw, order.filled)
    fee = sum(fill.fee_e8 for fill in order.fills)
    terms = order.terms
    return {
        "symbol": listing.symbol, "orderId": order_uuid(order.order_id), "orderLinkId": terms.client_id,
        "side": SIDE_TEXTS[terms.side], "orderType": "Market" if terms.order_type == MARKET else "Limit",
        "cancelType": cancel_type, "rejectReason": reject_reason,
        "price": to_text(order.price_units, listing.price_decimals),
        "qty": to_text(order.units, listing.quantity_decimals),
        "timeInForce": "PostOnly" if terms.is_post_only else TIME_TEXTS[terms.time_in_force],
        "orderStatus": status(order, listing), "reduceOnly": terms.is_reduce_only,
        "leavesQty": to_text(order.leaves, listing.quantity_decimals),
        "cumExecQty": to_text(order.filled, listing.quantity_decimals),
        "cumExecValue": to_text(listing.e8(order.filled_raw), 8), "cumExecFee": to_text(fee, 8),
        "avgPrice": f"{average:.{listing.price_decimals + 4}f}" if order.filled else "",
        "positionIdx": 0, "blockTradeId": "", "orderIv": "", "stopOrderType": "", "triggerPrice": "",
        "takeProfit": "", "stopLoss": "", "closeOnTrigger": False, "smpGroup": 0, "smpOrderId": "",
        "smpType": SELF_TRADE_TEXTS.get(terms.self_trade, "None"),
        "isLeverage": "0" if listing.is_spot else "",
        "createType": "CreateByLiq" if is_liquidated(order) else "CreateByUser",
        "createdTime": str(order.created_ms), "updatedTime": str(order.updated_ms),
    }  # fmt: skip


def order_push(event: AccountEvent, listing: Listing) -> Row:
    """A row of the topic `order`."""
    row = {"category": listing.category, **order_row(event.order, listing)}
    if event.what is What.NEW:
        row.update(orderStatus="New", cancelType="UNKNOWN", rejectReason="EC_NoError")
    return row


def execution_row(fill: Fill, listing: Listing, order: VenueOrder) -> Row:
    """An execution, as the topic `execution` tells it and "Get Trade History" lists it."""
    return {
        "category": listing.category, "symbol": listing.symbol, "orderId": order_uuid(fill.order_id),
        "orderLinkId": order.terms.client_id, "side": SIDE_TEXTS[fill.side],
        "orderPrice": to_text(order.price_units, listing.price_decimals),
        "orderQty": to_text(order.units, listing.quantity_decimals),
        "leavesQty": to_text(max(order.units - order.filled, 0), listing.quantity_decimals),
        "orderType": "Market" if order.terms.order_type == MARKET else "Limit", "stopOrderType": "",
        "execFee": to_text(fill.fee_e8, 8), "execId": exec_uuid(fill.trade_id),
        "execPrice": to_text(fill.price_units, listing.price_decimals),
        "execQty": to_text(fill.units, listing.quantity_decimals),
        "execType": "BustTrade" if is_liquidated(order) else "Trade",
        "execValue": to_text(listing.value_e8(fill.price_units, fill.units), 8),
        "execTime": str(fill.utc_ms), "feeCurrency": fill.fee_asset if listing.is_spot else "",
        "isMaker": fill.is_maker, "feeRate": "", "markPrice": "", "isLeverage": "0", "blockTradeId": "",
        "closedSize": "", "seq": fill.trade_id,
    }  # fmt: skip


def funding_row(event: MoneyEvent, listing: Listing, number: int) -> Row:
    """A funding payment as the topic `execution` tells it: its fee is what was paid."""
    size = to_text(abs(event.units), listing.quantity_decimals)
    return {
        "category": listing.category, "symbol": listing.symbol, "orderId": order_uuid(number),
        "orderLinkId": "", "side": "Buy" if event.units > 0 else "Sell", "orderPrice": "0", "orderQty": "0",
        "leavesQty": "0", "orderType": "UNKNOWN", "stopOrderType": "UNKNOWN",
        "execFee": to_text(-event.amount_e8, 8), "execId": str(uuid.uuid4()),
        "execPrice": to_text(listing.mark_units, listing.price_decimals), "execQty": size,
        "execType": "Funding",
        "execValue": to_text(listing.value_e8(listing.mark_units, abs(event.units)), 8),
        "execTime": str(event.utc_ms), "feeCurrency": "", "isMaker": False,
        "feeRate": to_text(event.rate_e8, 8), "markPrice": "", "isLeverage": "0", "blockTradeId": "",
        "closedSize": "", "seq": number,
    }  # fmt: skip


def position_row(listing: Listing, holding: Holding, leverage: int, average_name: str) -> Row:
    """A position; `average_name`: entryPrice of the topic, avgPrice of the query."""
    entry = listing.price_of(holding.entry_raw, abs(holding.units))
    side = "" if not holding.units else "Buy" if holding.units > 0 else "Sell"
    return {
        "category": listing.category, "symbol": listing.symbol, "positionIdx": 0, "side": side,
        "size": to_text(abs(holding.units), listing.quantity_decimals),
        average_name: f"{entry:.{listing.price_decimals + 4}f}" if holding.units else "0",
        "leverage": str(leverage), "markPrice": to_text(listing.mark_units, listing.price_decimals),
        "positionValue": to_text(listing.value_e8(listing.mark_units, abs(holding.units)), 8),
        "positionIM": to_text(holding.margin_e8(listing, leverage), 8), "positionMM": "",
        "unrealisedPnl": to_text(holding.unrealized_e8(listing), 8),
        "cumRealisedPnl": to_text(holding.realized_e8, 8), "positionStatus": "Normal", "liqPrice": "",
        "tradeMode": 0, "createdTime": str(holding.updated_ms), "updatedTime": str(holding.updated_ms),
        "seq": holding.updated_ms,
    }  # fmt: skip


def wallet_row(account: Account, assets: list[str], free: dict[str, int]) -> Row:
    """The unified account with its coins; what is not free is told as margin, of spot orders as locked."""
    coins: list[Row] = []
    for asset in assets:
        total = account.balances.get(asset, 0)
        locked = account.locked.get(asset, 0)
        margin = max(0, total - locked - max(0, free[asset]))
        coins.append({
            "coin": asset, "equity": to_text(total, 8), "walletBalance": to_text(total, 8),
            "locked": to_text(locked, 8), "totalPositionIM": to_text(margin, 8), "totalOrderIM": "0",
            "availableToWithdraw": "", "borrowAmount": "0", "unrealisedPnl": "0", "cumRealisedPnl": "0",
        })  # fmt: skip
    return {"accountType": "UNIFIED", "totalEquity": "", "totalWalletBalance": "", "coin": coins}
