"""What orders clients can give Bybit, by websocket or REST: arguments in, jobs out."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from tools.venues.trading import bybit_words as words
from tools.venues.trading.asking import Arg, Item, amend, cancel_item, fails, text_of
from tools.venues.trading.desk import AMEND, CANCEL, NEW, Job
from tools.venues.trading.keys import ApiKey
from tools.venues.trading.terms import (
    IOC,
    LIMIT,
    MARKET,
    Listing,
    Refusal,
    Terms,
    VenueOrder,
    Why,
    to_units,
)

if TYPE_CHECKING:
    from tools.venues.trading.bybit import BybitTrading

BATCH_MAX = {"linear": 20, "spot": 10}
LINK_ID = re.compile(r"[A-Za-z0-9_-]{1,36}\Z")
#: operation → (command, whether it takes several orders)
OPS: dict[str, tuple[str, bool]] = {
    "order.create": (NEW, False),
    "order.create-batch": (NEW, True),
    "order.amend": (AMEND, False),
    "order.amend-batch": (AMEND, True),
    "order.cancel": (CANCEL, False),
    "order.cancel-batch": (CANCEL, True),
}


class VenueError(Exception):
    """The venue says no: code, message, HTTP status."""

    def __init__(self, code: int, text: str, status: int = 200) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.status = status


def wrong(name: str) -> VenueError:
    """A parameter that can not be understood."""
    return VenueError(10001, f"params error: {name} invalid")


def category_of(value: object) -> str:
    """A category of the account; where this process serves only one, the other one is just empty."""
    if not isinstance(value, str) or value not in BATCH_MAX:
        raise VenueError(10001, "Illegal category")
    return value


def listing_of(trading: BybitTrading, category: str, value: object) -> Listing:
    """The listing of a symbol."""
    listing = trading.desk.exchange.listings.get(f"{category}/{value}")
    if listing is None:
        code, text = words.refusal(Why.UNKNOWN_SYMBOL, is_spot=category == "spot")
        raise VenueError(code, text)
    return listing


def order_job(trading: BybitTrading, key: ApiKey, op: str, arg: Arg) -> Job:
    """A job of one order operation; its answer is (data, codes), codes being empty for a single order."""
    command, is_batch = OPS[op]
    category = category_of(arg.get("category"))
    rows = arg.get("request") if is_batch else [arg]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise wrong("request")
    if not 1 <= len(rows) <= BATCH_MAX[category]:
        raise VenueError(10001, f"the number of orders is 1 to {BATCH_MAX[category]}")
    make = {NEW: _new, AMEND: _amend, CANCEL: _cancel}[command]
    items: list[Item] = []
    names: set[str] = set()
    for row in rows:
        try:
            listing = listing_of(trading, category, row.get("symbol"))
            names.add(listing.key)
            items.append(make(trading, key, listing, row))
        except VenueError as error:
            if not is_batch:
                raise
            items.append(fails(error))

    def answer(results: list[object]) -> object:
        judged = [_judge(result, category, command) for result in results]
        if not is_batch:
            code, text, order = judged[0]
            return VenueError(code, text) if code else _names(order, rows[0])
        # Orders behind a cut have no result, and nobody sees this answer then.
        data = [
            {
                "category": category,
                "symbol": row.get("symbol", ""),
                **_names(order, row),
                **_created(order, command),
            }
            for row, (_, _, order) in zip(rows, judged, strict=False)
        ]
        return {"list": data}, [{"code": code, "msg": text or "OK"} for code, text, _ in judged]

    return Job(command, names.pop() if len(names) == 1 else "", items, answer)


def _created(order: VenueOrder | None, command: str) -> Arg:
    return {"createAt": str(order.created_ms) if order else ""} if command == NEW else {}


def _judge(result: object, category: str, command: str) -> tuple[int, str, VenueOrder | None]:
    if isinstance(result, VenueError):
        return result.code, result.text, None
    if isinstance(result, Refusal):
        code, text = words.refusal(result.why, is_spot=category == "spot")
        if command == AMEND and result.why is Why.UNKNOWN_ORDER:
            text = "order not exists or too late to replace"
        return code, text, None
    assert isinstance(result, VenueOrder)
    return 0, "", result


def _names(order: VenueOrder | None, row: Arg) -> Arg:
    if order is None:
        return {"orderId": row.get("orderId", ""), "orderLinkId": row.get("orderLinkId", "")}
    return {"orderId": words.order_uuid(order.order_id), "orderLinkId": order.terms.client_id}


# ---- one order -----------------------------------------------------------------------------------


def _text(arg: Arg, name: str) -> str:
    return text_of(arg, name, wrong)


def _units(arg: Arg, name: str, decimals: int, why: Why, *, is_spot: bool) -> int:
    text = _text(arg, name)
    if not text:
        raise wrong(name)
    units = to_units(text, decimals)
    if units is None:
        code, message = words.refusal(why, is_spot=is_spot)
        raise VenueError(code, message)
    return units


def _price(arg: Arg, listing: Listing) -> int:
    return _units(arg, "price", listing.price_decimals, Why.TICK, is_spot=listing.is_spot)


def _quantity(arg: Arg, listing: Listing) -> int:
    return _units(arg, "qty", listing.quantity_decimals, Why.LOT, is_spot=listing.is_spot)


def _new(trading: BybitTrading, key: ApiKey, listing: Listing, arg: Arg) -> Item:
    side = words.SIDES.get(_text(arg, "side"))
    if side is None:
        raise wrong("side")
    kind = {"Limit": LIMIT, "Market": MARKET}.get(_text(arg, "orderType"))
    if kind is None:
        raise wrong("orderType")
    word = _text(arg, "timeInForce") or ("GTC" if kind == LIMIT else "IOC")
    if word not in words.TIMES_IN_FORCE:
        raise wrong("timeInForce")
    if arg.get("positionIdx", 0) not in (0, "0"):
        raise VenueError(10001, "position idx not match position mode")
    terms = Terms(listing.key, side, _quantity(arg, listing), order_type=kind)
    if kind == LIMIT:
        terms.time_in_force, terms.is_post_only = words.TIMES_IN_FORCE[word], word == "PostOnly"
        terms.price_units = _price(arg, listing)
    else:
        terms.time_in_force = IOC
        if listing.is_spot and side == 1 and _text(arg, "marketUnit") != "baseCoin":
            # The venue would take qty for quote currency; nobody here asks for that.
            raise wrong("marketUnit")
    reduces = arg.get("reduceOnly", False)
    if not isinstance(reduces, bool):
        raise wrong("reduceOnly")
    terms.is_reduce_only = reduces and not listing.is_spot
    self_trade = words.SELF_TRADES.get(_text(arg, "smpType") or "None")
    if self_trade is None:
        raise wrong("smpType")
    terms.self_trade = int(self_trade)
    terms.client_id = _text(arg, "orderLinkId") or secrets.token_hex(11)
    if not LINK_ID.match(terms.client_id):
        raise wrong("orderLinkId")
    return lambda now_ns: trading.desk.exchange.place(key.account, terms, now_ns)


def find_order(trading: BybitTrading, key: ApiKey, listing: Listing, arg: Arg) -> VenueOrder | None:
    """The order of `orderId`, else of `orderLinkId`."""
    order_id, link_id = _text(arg, "orderId"), _text(arg, "orderLinkId")
    if not order_id and not link_id:
        raise VenueError(10001, "params error: OrderId or orderLinkId is required")
    number = words.order_number(order_id) if order_id else 0
    return trading.desk.exchange.find(key.account, key=listing.key, order_id=number, client_id=link_id)


def _cancel(trading: BybitTrading, key: ApiKey, listing: Listing, arg: Arg) -> Item:
    return cancel_item(trading, lambda: find_order(trading, key, listing, arg))


def _amend(trading: BybitTrading, key: ApiKey, listing: Listing, arg: Arg) -> Item:
    find_order(trading, key, listing, arg)
    units = _quantity(arg, listing) if _text(arg, "qty") else 0
    price = _price(arg, listing) if _text(arg, "price") else 0
    if not units and not price:
        raise VenueError(10001, "params error: nothing to amend")

    def item(now_ns: int) -> object:
        order = find_order(trading, key, listing, arg)
        return Refusal(Why.UNKNOWN_ORDER) if order is None else amend(trading, order, price, units, now_ns)

    return item
