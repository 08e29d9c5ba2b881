"""What orders clients can give OKX, by websocket or REST: arguments in, jobs out."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from exec.simulator.meeting import SelfTrade
from tools.venues.trading import okx_words as words
from tools.venues.trading.asking import Arg, Item, amend, cancel_item, fails, text_of
from tools.venues.trading.desk import AMEND, CANCEL, NEW, Job
from tools.venues.trading.keys import ApiKey
from tools.venues.trading.terms import (
    FOK,
    GTC,
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
    from tools.venues.trading.okx import OkxTrading

BATCH_MAX = 20
CLIENT_ID = re.compile(r"[A-Za-z0-9]{1,32}\Z")
#: operation → (command, whether it takes several orders)
OPS: dict[str, tuple[str, bool]] = {
    "order": (NEW, False),
    "batch-orders": (NEW, True),
    "amend-order": (AMEND, False),
    "batch-amend-orders": (AMEND, True),
    "cancel-order": (CANCEL, False),
    "batch-cancel-orders": (CANCEL, True),
}
#: ordType → (order type, time in force, post-only)
TYPES: dict[str, tuple[int, int, bool]] = {
    "market": (MARKET, GTC, False),
    "optimal_limit_ioc": (MARKET, IOC, False),
    "limit": (LIMIT, GTC, False),
    "post_only": (LIMIT, GTC, True),
    "ioc": (LIMIT, IOC, False),
    "fok": (LIMIT, FOK, False),
}


class VenueError(Exception):
    """The venue says no: code, message, HTTP status."""

    def __init__(self, code: str, text: str, status: int = 200) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.status = status


def wrong(name: str) -> VenueError:
    """A parameter that can not be understood."""
    return VenueError("51000", f"Parameter {name} error", 400)


def empty(name: str) -> VenueError:
    """A parameter that must be there."""
    return VenueError("50014", f"Parameter {name} can not be empty.", 400)


def order_job(
    trading: OkxTrading,
    key: ApiKey,
    op: tuple[str, bool],
    args: list[object],
    deadline: object,
    *,
    by_code: bool,
) -> Job:
    """A job of one order operation; what is wrong with one order of a batch is its own answer.

    `by_code`: instruments are named by instIdCode (websocket), not by instId (REST).
    """
    command, is_batch = op
    if not 1 <= len(args) <= (BATCH_MAX if is_batch else 1):
        raise VenueError("51111", f"Maximum {BATCH_MAX if is_batch else 1} orders can be placed in bulk.")
    make = {NEW: _new, AMEND: _amend, CANCEL: _cancel}[command]
    items: list[Item] = []
    echoes: list[Arg] = []
    names: set[str] = set()
    due_ms = _deadline(deadline)
    for arg in args:
        if not isinstance(arg, dict):
            raise VenueError("50002", "JSON syntax error", 400)
        echoes.append(arg)
        try:
            name = "instIdCode" if by_code else "instId"
            if arg.get(name) in (None, ""):
                raise empty(name)
            listing = trading.listing_of(arg)
            if listing is None:
                raise VenueError(*words.REFUSALS[Why.UNKNOWN_SYMBOL])
            names.add(listing.key)
            items.append(_in_time(trading, due_ms, make(trading, key, listing, arg)))
        except VenueError as error:
            items.append(fails(error))

    def answer(results: list[object]) -> object:
        return [_row(trading, command, echo, result) for echo, result in zip(echoes, results, strict=True)]

    return Job(command, names.pop() if len(names) == 1 else "", items, answer)


def _deadline(value: object) -> int:
    if value is None or value == "":
        return 0
    if not isinstance(value, str) or not value.isascii() or not value.isdigit():
        raise wrong("expTime")
    return int(value)


def _in_time(trading: OkxTrading, due_ms: int, item: Item) -> Item:
    if not due_ms:
        return item

    def late(now_ns: int) -> object:
        is_late = trading.desk.clock_ms() > due_ms
        return VenueError("50037", "Order expired.") if is_late else item(now_ns)

    return late


def _row(trading: OkxTrading, command: str, echo: Arg, result: object) -> Arg:
    order = result if isinstance(result, VenueOrder) else None
    if isinstance(result, Refusal):
        order = result.order
    row: Arg = {
        "clOrdId": order.terms.client_id if order is not None else echo.get("clOrdId") or "",
        "ordId": str(order.order_id) if order is not None else echo.get("ordId") or "",
        "ts": str(trading.desk.clock_ms()),
    }
    row["reqId" if command == AMEND else "tag"] = echo.get("reqId") or "" if command == AMEND else ""
    if isinstance(result, VenueError):
        code, text = result.code, result.text
    elif isinstance(result, Refusal):
        code, text = words.refusal(result.why, command)
    else:
        code, text = "0", "Order placed" if command == NEW else ""
    return {**row, "sCode": code, "sMsg": text}


# ---- one order -----------------------------------------------------------------------------------


def _text(arg: Arg, name: str) -> str:
    return text_of(arg, name, wrong)


def _units(arg: Arg, name: str, decimals: int) -> int:
    text = _text(arg, name)
    if not text:
        raise empty(name)
    units = to_units(text, decimals)
    if units is None:
        raise VenueError(*words.REFUSALS[Why.TICK])
    return units


def _new(trading: OkxTrading, key: ApiKey, listing: Listing, arg: Arg) -> Item:
    mode = _text(arg, "tdMode")
    if not mode:
        raise empty("tdMode")
    if mode not in (("cash",) if listing.is_spot else ("cross", "isolated")):
        raise VenueError("51010", "Request unsupported under current account mode")
    side = words.SIDES.get(_text(arg, "side"))
    if side is None:
        raise wrong("side")
    kind = TYPES.get(_text(arg, "ordType"))
    if kind is None:
        raise wrong("ordType")
    if _text(arg, "posSide") not in ("", "net"):
        raise wrong("posSide")
    units = _units(arg, "sz", listing.quantity_decimals)
    terms = Terms(listing.key, side, units, order_type=kind[0], time_in_force=kind[1], is_post_only=kind[2])
    if kind[0] == LIMIT:
        terms.price_units = _units(arg, "px", listing.price_decimals)
    elif listing.is_spot and side == 1 and _text(arg, "tgtCcy") != "base_ccy":
        # The venue would take sz for quote currency; nobody here asks for that.
        raise wrong("tgtCcy")
    reduces = arg.get("reduceOnly", False)
    if reduces in (True, "true"):
        if listing.is_spot:
            raise VenueError("51139", "Reduce-only feature is unavailable for spot transactions.")
        terms.is_reduce_only = True
    elif reduces not in (False, "false", ""):
        raise wrong("reduceOnly")
    terms.self_trade = int(words.SELF_TRADES.get(_text(arg, "stpMode"), SelfTrade.EXPIRE_MAKER))
    terms.client_id = _text(arg, "clOrdId") or secrets.token_hex(11)
    if not CLIENT_ID.match(terms.client_id):
        raise wrong("clOrdId")
    return lambda now_ns: trading.desk.exchange.place(key.account, terms, now_ns)


def _find(trading: OkxTrading, key: ApiKey, listing: Listing, arg: Arg) -> VenueOrder | None:
    order_id, client_id = _text(arg, "ordId"), _text(arg, "clOrdId")
    if not order_id and not client_id:
        raise VenueError("51003", "Either client order ID or order ID is required.")
    number = int(order_id) if order_id.isascii() and order_id.isdigit() else -1 if order_id else 0
    return trading.desk.exchange.find(key.account, key=listing.key, order_id=number, client_id=client_id)


def _cancel(trading: OkxTrading, key: ApiKey, listing: Listing, arg: Arg) -> Item:
    return cancel_item(trading, lambda: _find(trading, key, listing, arg))


def _amend(trading: OkxTrading, key: ApiKey, listing: Listing, arg: Arg) -> Item:
    _find(trading, key, listing, arg)
    units = _units(arg, "newSz", listing.quantity_decimals) if _text(arg, "newSz") else 0
    price = _units(arg, "newPx", listing.price_decimals) if _text(arg, "newPx") else 0
    if not units and not price:
        raise VenueError("51500", "You must enter a price, quantity, or TP/SL")
    request_id = _text(arg, "reqId")

    def item(now_ns: int) -> object:
        order = _find(trading, key, listing, arg)
        if order is None:
            return Refusal(Why.UNKNOWN_ORDER)
        before = order.terms.notes.get("reqId", "")
        order.terms.notes["reqId"] = request_id
        result = amend(trading, order, price, units, now_ns)
        if isinstance(result, Refusal):
            order.terms.notes["reqId"] = before
        return result

    return item
