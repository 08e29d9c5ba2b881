"""What orders clients can give Binance USD-M, by websocket API or REST: parameters in, jobs out."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from tools.venues.trading import binance_usdm_words as words
from tools.venues.trading.desk import Job
from tools.venues.trading.keys import ApiKey
from tools.venues.trading.terms import (
    GTC,
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
    from tools.venues.trading.accounts import Account
    from tools.venues.trading.binance_usdm import BinanceTrading

CLIENT_ID = re.compile(r"[.A-Za-z0-9:/_-]{1,36}\Z")
BATCH_NEW_MAX, BATCH_CANCEL_MAX = 5, 10

#: A job that goes through the desk, or what is answered without.
Answered = object


class VenueError(Exception):
    """The venue says no: HTTP status, code, message; `retry_ms` when it says how long to wait."""

    def __init__(self, status: int, code: int, text: str, retry_ms: int = 0, now_ms: int = 0) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.text = text
        self.retry_ms = retry_ms
        self.now_ms = now_ms

    def envelope(self) -> dict[str, object]:
        """Its part of a websocket API answer."""
        error: dict[str, object] = {"code": self.code, "msg": self.text}
        if self.retry_ms:
            error["data"] = {"serverTime": self.now_ms, "retryAfter": self.now_ms + self.retry_ms}
        return {"status": self.status, "error": error}


def refused(why: Why, *, is_query: bool = False) -> VenueError:
    """The venue's error for a refusal of the core."""
    if is_query:
        return VenueError(400, -2013, "Order does not exist.")
    status, code, text = words.REFUSALS[why]
    return VenueError(status, code, text)


def missing(name: str) -> VenueError:
    """The venue's error for a parameter that is not there, or not understood."""
    return VenueError(400, -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


@dataclass(slots=True)
class Ask:
    """The parameters of a request, as texts."""

    values: dict[str, str]

    def text(self, name: str) -> str:
        """A parameter that must be there."""
        value = self.values.get(name, "")
        if not value:
            raise missing(name)
        return value

    def integer(self, name: str, default: int | None = None) -> int:
        """A whole number; missing is an error without a default."""
        text = self.values.get(name, "") if default is not None else self.text(name)
        if not text and default is not None:
            return default
        if not text.lstrip("-").isdigit() or not text.isascii():
            raise missing(name)
        return int(text)

    def choice(self, name: str, allowed: dict[str, int], code: int, text: str) -> int:
        """One of the venue's words."""
        found = allowed.get(self.text(name))
        if found is None:
            raise VenueError(400, code, text)
        return found

    def units(self, name: str, decimals: int) -> int:
        """A decimal number in units of 10^-decimals."""
        units = to_units(self.text(name), decimals)
        if units is None:
            raise VenueError(400, -1111, "Precision is over the maximum defined for this asset.")
        return units

    def flag(self, name: str) -> bool:
        """A true or false that may be missing."""
        text = self.values.get(name, "false").lower()
        if text not in ("true", "false"):
            raise missing(name)
        return text == "true"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One thing that can be asked.

    weight: of the address, weight_all: without a symbol; orders: counted against the order limits, for each
    of `batch`; is_signed, needs_key: what the request must carry; logs_on: the connection is the key's then.
    """

    call: Callable[[BinanceTrading, Ask, ApiKey | None], Answered]
    weight: int = 1
    orders: int = 0
    is_signed: bool = True
    needs_key: bool = True
    logs_on: bool = False
    weight_all: int = field(default=0)
    batch: str = ""

    def weigh(self, ask: Ask) -> int:
        """Weight of this request; some weigh more without a symbol."""
        return self.weight_all if self.weight_all and "symbol" not in ask.values else self.weight

    def count(self, ask: Ask) -> int:
        """Orders it counts for."""
        if self.batch and self.orders:
            return max(1, ask.values.get(self.batch, "").count("{"))
        return self.orders


# ---- what they need -----------------------------------------------------------------------------


def account_of(trading: BinanceTrading, key: ApiKey | None) -> Account:
    """The account of a key."""
    assert key is not None
    return trading.desk.exchange.accounts[key.account]


def listing_of(trading: BinanceTrading, ask: Ask) -> Listing:
    """The listing of the parameter `symbol`."""
    found = trading.desk.exchange.listings.get(ask.text("symbol"))
    if found is None:
        raise refused(Why.UNKNOWN_SYMBOL)
    return found


def _terms(trading: BinanceTrading, ask: Ask) -> Terms:
    listing = listing_of(trading, ask)
    side = ask.choice("side", words.SIDES, -1117, "Invalid side.")
    kind = ask.choice("type", {"LIMIT": LIMIT, "MARKET": MARKET}, -1116, "Invalid orderType.")
    if ask.values.get("positionSide", "BOTH") != "BOTH":
        raise VenueError(400, -4061, "Order's position side does not match user's setting.")
    terms = Terms(listing.key, side, ask.units("quantity", listing.quantity_decimals), order_type=kind)
    if kind == LIMIT:
        word = ask.text("timeInForce")
        terms.time_in_force = ask.choice("timeInForce", words.TIMES_IN_FORCE, -1115, "Invalid timeInForce.")
        terms.is_post_only = word == "GTX"
        terms.price_units = ask.units("price", listing.price_decimals)
    else:
        for name in ("price", "timeInForce"):
            if name in ask.values:
                raise VenueError(400, -1106, f"Parameter '{name}' sent when not required.")
        terms.time_in_force = GTC
    terms.is_reduce_only = ask.flag("reduceOnly")
    mode = words.SELF_TRADES.get(ask.values.get("selfTradePreventionMode", "EXPIRE_MAKER"))
    if mode is None:
        raise VenueError(400, -1138, "Invalid selfTradePreventionMode.")
    terms.self_trade = int(mode)
    terms.client_id = ask.values.get("newClientOrderId", "") or secrets.token_hex(11)
    if not CLIENT_ID.match(terms.client_id):
        raise VenueError(400, -4015, "Client order id is not valid.")
    terms.notes["response"] = ask.values.get("newOrderRespType", "ACK")
    return terms


def find_order(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> VenueOrder | None:
    """The order of `orderId` or `origClientOrderId`."""
    account = account_of(trading, key)
    listing = listing_of(trading, ask)
    order_id, client_id = ask.integer("orderId", 0), ask.values.get("origClientOrderId", "")
    if not order_id and not client_id:
        raise VenueError(
            400, -1102, "Either 'origClientOrderId' or 'orderId' must be sent, was empty/null, or malformed."
        )
    return trading.desk.exchange.find(account.name, key=listing.key, order_id=order_id, client_id=client_id)


def _result(trading: BinanceTrading, result: object) -> object:
    if isinstance(result, VenueError):
        return result
    if isinstance(result, Refusal):
        return refused(result.why)
    assert isinstance(result, VenueOrder)
    listing = trading.desk.exchange.listings[result.terms.key]
    return words.order_answer(result, listing)


def _in_batch(result: object) -> object:
    return {"code": result.code, "msg": result.text} if isinstance(result, VenueError) else result


# ---- orders --------------------------------------------------------------------------------------


def _place_item(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> tuple[str, Callable[[int], object]]:
    terms, account = _terms(trading, ask), account_of(trading, key)
    exchange = trading.desk.exchange

    def item(now_ns: int) -> object:
        result = exchange.place(account.name, terms, now_ns)
        if isinstance(result, VenueOrder) and terms.notes["response"] == "ACK":
            return words.order_answer(result, exchange.listings[terms.key], is_ack=True)
        return result

    return terms.key, item


def place(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> Answered:
    """order.place, POST /fapi/v1/order."""
    name, item = _place_item(trading, ask, key)
    return Job("new", name, [item], lambda results: _plain(trading, results[0]))


def _plain(trading: BinanceTrading, result: object) -> object:
    return result if isinstance(result, dict) else _result(trading, result)


def _amend_item(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> tuple[str, Callable[[int], object]]:
    listing = listing_of(trading, ask)
    ask.choice("side", words.SIDES, -1117, "Invalid side.")
    price = ask.units("price", listing.price_decimals)
    units = ask.units("quantity", listing.quantity_decimals)
    order = find_order(trading, ask, key)

    def item(now_ns: int) -> object:
        found = order if order is not None else find_order(trading, ask, key)
        if found is None or not found.is_open:
            return refused(Why.UNKNOWN_ORDER, is_query=True)
        return trading.desk.exchange.amend(found, price, units, now_ns)

    return listing.key, item


def amend(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> Answered:
    """order.modify, PUT /fapi/v1/order."""
    name, item = _amend_item(trading, ask, key)
    return Job("amend", name, [item], lambda results: _plain(trading, results[0]))


def _cancel_item(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> Callable[[int], object]:
    find_order(trading, ask, key)

    def item(now_ns: int) -> object:
        # looked for when it arrives: the order may be on its way before it
        order = find_order(trading, ask, key)
        return Refusal(Why.UNKNOWN_ORDER) if order is None else trading.desk.exchange.cancel(order, now_ns)

    return item


def cancel(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> Answered:
    """order.cancel, DELETE /fapi/v1/order."""
    item = _cancel_item(trading, ask, key)
    return Job("cancel", ask.values["symbol"], [item], lambda results: _plain(trading, results[0]))


def _rows(ask: Ask, name: str, most: int) -> list[dict[str, str]]:
    try:
        rows = orjson.loads(ask.text(name))
    except orjson.JSONDecodeError:
        rows = None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise missing(name)
    if not 1 <= len(rows) <= most:
        raise VenueError(400, -4082, "Invalid number of batch place orders.")
    return [
        {k: v if isinstance(v, str) else orjson.dumps(v).decode() for k, v in row.items()} for row in rows
    ]


def _batch(
    trading: BinanceTrading,
    ask: Ask,
    key: ApiKey | None,
    command: str,
    make: Callable[[BinanceTrading, Ask, ApiKey | None], tuple[str, Callable[[int], object]]],
) -> Job:
    items: list[Callable[[int], object]] = []
    names: list[str] = []
    for row in _rows(ask, "batchOrders", BATCH_NEW_MAX):
        try:
            name, item = make(trading, Ask(row), key)
        except VenueError as error:
            name, item = "", _fails(error)
        names.append(name)
        items.append(item)
    return Job(
        command,
        names[0] if len(set(names)) == 1 else "",
        items,
        lambda results: [_in_batch(_plain(trading, one)) for one in results],
    )


def _fails(error: VenueError) -> Callable[[int], object]:
    return lambda _now_ns: error


def place_batch(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> Answered:
    """POST /fapi/v1/batchOrders."""
    return _batch(trading, ask, key, "new", _place_item)


def amend_batch(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> Answered:
    """PUT /fapi/v1/batchOrders."""
    return _batch(trading, ask, key, "amend", _amend_item)


def cancel_batch(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> Answered:
    """DELETE /fapi/v1/batchOrders."""
    listing = listing_of(trading, ask)
    name = "origClientOrderIdList" if "origClientOrderIdList" in ask.values else "orderIdList"
    try:
        found = orjson.loads(ask.text(name))
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, list) or not 1 <= len(found) <= BATCH_CANCEL_MAX:
        raise missing(name)
    field_name = "origClientOrderId" if name == "origClientOrderIdList" else "orderId"
    items = [
        _cancel_item(trading, Ask({"symbol": listing.symbol, field_name: str(one)}), key) for one in found
    ]
    return Job(
        "cancel", listing.key, items, lambda results: [_in_batch(_plain(trading, one)) for one in results]
    )


def cancel_all(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> Answered:
    """DELETE /fapi/v1/allOpenOrders."""
    listing, account = listing_of(trading, ask), account_of(trading, key)

    def item(now_ns: int) -> object:
        trading.desk.exchange.cancel_all(account.name, listing.key, now_ns)
        return {"code": 200, "msg": "The operation of cancel all open order is done."}

    return Job("cancel", listing.key, [item], lambda results: _plain(trading, results[0]))


def countdown(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> Answered:
    """POST /fapi/v1/countdownCancelAll."""
    listing, account = listing_of(trading, ask), account_of(trading, key)
    time_ms = ask.integer("countdownTime")
    if time_ms < 0:
        raise VenueError(400, -4084, "Invalid countdownTime.")

    def item(now_ns: int) -> object:
        trading.desk.exchange.set_dead_man(account.name, listing.key, time_ms * 1_000_000, now_ns)
        trading.desk.rearm()
        return {"symbol": listing.symbol, "countdownTime": str(time_ms)}

    return Job("other", listing.key, [item], lambda results: results[0])
