"""OKX's JSON of orders, fills, balances and positions, and its error codes.

Documents (OKX API v5): "WS / Order channel", "WS / Positions channel", "WS / Account channel", "GET / Order
details", "GET / Transaction details", "GET / Positions", "GET / Balance", "Error Code".
"""

from __future__ import annotations

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
    Status,
    VenueOrder,
    What,
    Why,
    is_liquidated,
    to_text,
)

Row = dict[str, object]

SIDES = {"buy": 1, "sell": 2}
SIDE_TEXTS = {number: text for text, number in SIDES.items()}
#: "WS / Place order": stpMode.
SELF_TRADES = {
    "cancel_maker": SelfTrade.EXPIRE_MAKER,
    "cancel_taker": SelfTrade.EXPIRE_TAKER,
    "cancel_both": SelfTrade.EXPIRE_BOTH,
}
SELF_TRADE_TEXTS = {int(mode): text for text, mode in SELF_TRADES.items()}
STATES = {
    Status.NEW: "live",
    Status.PARTIALLY_FILLED: "partially_filled",
    Status.FILLED: "filled",
    Status.CANCELED: "canceled",
    Status.EXPIRED: "canceled",
    Status.REJECTED: "canceled",
}
CANCEL_SOURCES = {
    Why.USER: "1",
    Why.FOK: "13",
    Why.REMAINDER: "14",
    Why.REDUCE_ONLY: "17",
    Why.LIQUIDATION: "3",
    Why.DEAD_MAN: "20",
    Why.POST_ONLY: "31",
    Why.SELF_TRADE: "32",
}
ORDER_GONE = "Order cancellation failed as the order has been filled, canceled or does not exist."
#: Why a new order is refused → (code, message).
REFUSALS: dict[Why, tuple[str, str]] = {
    Why.UNKNOWN_SYMBOL: ("51001", "Instrument ID, Instrument ID code or Spread ID doesn't exist."),
    Why.NOT_TRADING: ("51022", "Contract suspended."),
    Why.PRICE: ("51006", "Order price is not within the price limit."),
    Why.TICK: ("51150", "The precision of the number of trades or the price exceeds the limit."),
    Why.LOT: ("51121", "Order quantity must be a multiple of the lot size."),
    Why.QUANTITY: ("51020", "Your order should meet or exceed the minimum order amount."),
    Why.MAX_QUANTITY: ("51005", "Your order amount exceeds the max order amount."),
    Why.MIN_NOTIONAL: ("51020", "Your order should meet or exceed the minimum order amount."),
    Why.DUPLICATE_ID: ("51016", "Client order ID already exists."),
    Why.OPEN_ORDERS: ("51025", "Order count exceeds the limit."),
    Why.POST_ONLY: (
        "51511", "Modification failed as the order price did not meet the requirement for Post Only.",
    ),
    Why.FOK: ("51140", "Purchase failed due to insufficient sell orders, please try later."),
    Why.REDUCE_ONLY: ("51169", "Order failed because you don't have any positions in this direction."),
    Why.MARGIN: ("51008", "Order failed. Insufficient USDT margin in account"),
    Why.SELF_TRADE: ("51148", "Failed to place order. The new order may execute an own order."),
    Why.UNKNOWN_ORDER: ("51603", "Order does not exist."),
    Why.FINISHED: ("51503", "Your order has already been filled or canceled."),
    Why.UNCHANGED: ("51500", "You must enter a price, quantity, or TP/SL"),
    Why.NO_LIQUIDITY: ("51109", "No available offers."),
    Why.STORM: ("50013", "Systems are busy. Please try again later."),
    Why.RATE: ("50011", "Rate limit reached. Please refer to API documentation and throttle requests."),
}  # fmt: skip
#: What differs of an amendment and a cancel.
AMEND_REFUSALS = {Why.UNKNOWN_ORDER: ("51503", "Your order has already been filled or canceled.")}
CANCEL_REFUSALS = {Why.UNKNOWN_ORDER: ("51400", ORDER_GONE), Why.FINISHED: ("51400", ORDER_GONE)}


def refusal(why: Why, command: str) -> tuple[str, str]:
    """The code and text of a refusal of a command (new, amend, cancel)."""
    special = {"amend": AMEND_REFUSALS, "cancel": CANCEL_REFUSALS}.get(command, {})
    return special.get(why) or REFUSALS.get(why, ("51000", f"Parameter error: {why.value}"))


def order_type(order: VenueOrder) -> str:
    """The venue's word for how an order is priced and how long it rests."""
    if order.terms.order_type == MARKET:
        return "market"
    if order.terms.is_post_only:
        return "post_only"
    return {GTC: "limit", IOC: "ioc", FOK: "fok"}[order.terms.time_in_force]


def order_row(order: VenueOrder, listing: Listing) -> Row:
    """An order as questions are answered."""
    last = order.fills[-1] if order.fills else None
    average = listing.price_of(order.filled_raw, order.filled)
    fee = sum(fill.fee_e8 for fill in order.fills)
    is_spot = listing.is_spot
    return {
        "instType": listing.category, "instId": listing.symbol, "tgtCcy": "", "ccy": "",
        "ordId": str(order.order_id), "clOrdId": order.terms.client_id, "tag": "",
        "px": to_text(order.price_units, listing.price_decimals) if order.price_units else "",
        "sz": to_text(order.units, listing.quantity_decimals), "pnl": to_text(order.realized_e8, 8),
        "ordType": order_type(order), "side": SIDE_TEXTS[order.terms.side],
        "posSide": "" if is_spot else "net", "tdMode": "cash" if is_spot else "cross",
        "accFillSz": to_text(order.filled, listing.quantity_decimals),
        "fillPx": to_text(last.price_units, listing.price_decimals) if last else "",
        "tradeId": str(last.trade_id) if last else "",
        "fillSz": to_text(last.units, listing.quantity_decimals) if last else "0",
        "fillTime": str(last.utc_ms) if last else "",
        "avgPx": f"{average:.{listing.price_decimals + 4}f}" if order.filled else "",
        "state": STATES[order.status], "lever": "", "fee": to_text(-fee, 8),
        "feeCcy": last.fee_asset if last else listing.settle, "rebate": "0", "rebateCcy": listing.settle,
        "source": "", "category": "full_liquidation" if is_liquidated(order) else "normal",
        "reduceOnly": "true" if order.terms.is_reduce_only else "false",
        "cancelSource": "" if order.is_open or order.status is Status.FILLED
        else CANCEL_SOURCES.get(order.why, "0"),
        "stpMode": SELF_TRADE_TEXTS.get(order.terms.self_trade, "cancel_maker"),
        "uTime": str(order.updated_ms), "cTime": str(order.created_ms),
    }  # fmt: skip


def order_push(event: AccountEvent, listing: Listing) -> Row:
    """A row of the orders channel: the order, and what just happened to it."""
    order, fill = event.order, event.fill
    is_amended = event.what is What.AMENDED
    row = order_row(order, listing)
    row.update({
        "amendResult": "0" if is_amended else "", "amendSource": "1" if is_amended else "",
        "reqId": order.terms.notes.get("reqId", "") if is_amended else "", "code": "0", "msg": "",
        "algoClOrdId": "", "algoId": "", "lastPx": to_text(listing.mark_units, listing.price_decimals),
        "fillPx": "", "fillSz": "0", "tradeId": "", "fillTime": "", "fillFee": "0", "fillFeeCcy": "",
        "execType": "", "fillPnl": "0", "fillNotionalUsd": "", "notionalUsd": "",
    })  # fmt: skip
    if fill is not None:
        row.update(_fill_words(fill, listing))
    if not order.is_open and event.what in (What.NEW, What.TRADE, What.AMENDED) and fill is None:
        row["state"], row["cancelSource"] = "live", ""
    return row


def _fill_words(fill: Fill, listing: Listing) -> Row:
    return {
        "fillPx": to_text(fill.price_units, listing.price_decimals),
        "fillSz": to_text(fill.units, listing.quantity_decimals),
        "tradeId": str(fill.trade_id),
        "fillTime": str(fill.utc_ms),
        "fillFee": to_text(-fill.fee_e8, 8),
        "fillFeeCcy": fill.fee_asset,
        "execType": "M" if fill.is_maker else "T",
        "fillPnl": to_text(fill.realized_e8, 8),
    }


def fill_row(fill: Fill, listing: Listing, client_id: str) -> Row:
    """A fill as "GET / Transaction details" has it."""
    words = _fill_words(fill, listing)
    words["fee"], words["feeCcy"] = words.pop("fillFee"), words.pop("fillFeeCcy")
    return {
        **words,
        "instType": listing.category, "instId": listing.symbol, "ordId": str(fill.order_id),
        "clOrdId": client_id, "billId": str(fill.trade_id), "tag": "", "side": SIDE_TEXTS[fill.side],
        "posSide": "" if listing.is_spot else "net", "ts": str(fill.utc_ms),
    }  # fmt: skip


def position_row(listing: Listing, holding: Holding, leverage: int) -> Row:
    """A position of the positions channel and its query."""
    entry = listing.price_of(holding.entry_raw, abs(holding.units))
    return {
        "instType": listing.category, "instId": listing.symbol, "mgnMode": "cross", "posSide": "net",
        "posId": str(10**9 + listing.number), "pos": to_text(holding.units, listing.quantity_decimals),
        "availPos": "", "posCcy": "", "ccy": listing.settle, "lever": str(leverage),
        "avgPx": f"{entry:.{listing.price_decimals + 4}f}" if holding.units else "",
        "upl": to_text(holding.unrealized_e8(listing), 8), "realizedPnl": to_text(holding.realized_e8, 8),
        "markPx": to_text(listing.mark_units, listing.price_decimals), "liqPx": "", "adl": "0",
        "imr": to_text(holding.margin_e8(listing, leverage), 8), "mmr": "",
        "uTime": str(holding.updated_ms), "cTime": str(holding.updated_ms),
    }  # fmt: skip


def account_row(account: Account, assets: list[str], free: dict[str, int], now_ms: int) -> Row:
    """The account channel's and the balance query's one row."""
    details: list[Row] = []
    for asset in assets:
        cash = account.balances.get(asset, 0)
        left = to_text(max(0, free[asset]), 8)
        details.append({
            "ccy": asset, "cashBal": to_text(cash, 8), "eq": to_text(cash, 8), "availBal": left,
            "availEq": left, "frozenBal": to_text(max(0, cash - max(0, free[asset])), 8),
            "ordFrozen": to_text(account.locked.get(asset, 0), 8), "uTime": str(account.updated_ms or now_ms),
        })  # fmt: skip
    return {"totalEq": "", "adjEq": "", "imr": "", "mmr": "", "uTime": str(now_ms), "details": details}
