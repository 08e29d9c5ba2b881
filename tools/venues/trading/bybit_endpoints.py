"""Bybit's signed REST endpoints of orders, positions and account."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tools.venues.bybit import cursor_at, cursor_place
from tools.venues.trading import bybit_words as words
from tools.venues.trading.bybit_asks import (
    OPS,
    VenueError,
    category_of,
    find_order,
    listing_of,
    order_job,
    wrong,
)
from tools.venues.trading.desk import CANCEL, OTHER, Job
from tools.venues.trading.keys import ApiKey
from tools.venues.trading.terms import VenueOrder

if TYPE_CHECKING:
    from tools.venues.trading.bybit import BybitTrading

Asked = dict[str, object]
DCP_PRODUCTS = {"DERIVATIVES": ("linear",), "SPOT": ("spot",), "OPTIONS": ()}
DCP_S = range(3, 301)
RECENT_MAX = 500


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One thing that can be asked; `limit`: requests a second for an account."""

    call: Callable[[BybitTrading, Asked, ApiKey], object]
    limit: int = 50


def _at_arrival(make: Callable[[], object]) -> Job:
    """Answer with what stands when the question arrives, behind what was sent before it."""

    def item(_now_ns: int) -> object:
        try:
            return make()
        except VenueError as error:
            return error

    return Job(OTHER, "", [item], lambda results: results[0])


def _page(asked: Asked, rows: list[dict[str, object]], most: int, default: int = 20) -> Asked:
    text = str(asked.get("limit", default))
    start = cursor_place(str(asked.get("cursor", "")).replace("=", "%3D").replace("&", "%26"))
    if not text.isdigit() or not 1 <= int(text) <= most or start is None:
        raise VenueError(10001, "params error: limit or cursor invalid")
    page = rows[start : start + int(text)]
    end = start + len(page)
    return {"list": page, "nextPageCursor": cursor_at(end) if end < len(rows) else ""}


def _chosen(trading: BybitTrading, asked: Asked, key: ApiKey, orders: list[VenueOrder]) -> list[VenueOrder]:
    """Orders of a category that match symbol, settleCoin and ids."""
    category = category_of(asked.get("category"))
    listings = trading.desk.exchange.listings
    if asked.get("orderId") or asked.get("orderLinkId"):
        keys = (
            [listing_of(trading, category, asked["symbol"])]
            if asked.get("symbol")
            else [one for one in listings.values() if one.category == category]
        )
        found = next(
            (order for one in keys if (order := find_order(trading, key, one, asked)) is not None), None
        )
        return [found] if found in orders else []
    symbol, coin = asked.get("symbol"), asked.get("settleCoin")
    if category == "linear" and not (symbol or coin or asked.get("baseCoin")):
        raise VenueError(10001, "params error: symbol, settleCoin or baseCoin is required")
    return [
        one
        for one in orders
        if (listing := listings[one.terms.key]).category == category
        and symbol in (None, "", listing.symbol)
        and coin in (None, "", listing.settle)
    ]


def _order_rows(trading: BybitTrading, orders: list[VenueOrder]) -> list[Asked]:
    listings = trading.desk.exchange.listings
    return [words.order_row(one, listings[one.terms.key]) for one in orders]


def realtime(trading: BybitTrading, asked: Asked, key: ApiKey) -> object:
    """GET /v5/order/realtime: open orders; by id also the 500 that ended last."""

    def make() -> object:
        exchange = trading.desk.exchange
        orders = sorted(exchange.accounts[key.account].open_orders.values(), key=lambda one: -one.order_id)
        if asked.get("orderId") or asked.get("orderLinkId"):
            orders += [one for one in exchange.history(key.account) if not one.is_open][-RECENT_MAX:]
        rows = _order_rows(trading, _chosen(trading, asked, key, orders))
        return {**_page(asked, rows, 50), "category": asked.get("category")}

    return _at_arrival(make)


def history(trading: BybitTrading, asked: Asked, key: ApiKey) -> object:
    """GET /v5/order/history: orders that ended, newest first."""

    def make() -> object:
        ended = [one for one in reversed(trading.desk.exchange.history(key.account)) if not one.is_open]
        query = {"settleCoin": "USDT", **asked} if "symbol" not in asked else asked
        rows = _order_rows(trading, _chosen(trading, query, key, ended))
        return {**_page(asked, rows, 50), "category": asked.get("category")}

    return _at_arrival(make)


def executions(trading: BybitTrading, asked: Asked, key: ApiKey) -> object:
    """GET /v5/execution/list: newest first."""
    category = category_of(asked.get("category"))
    start = str(asked.get("startTime", "0"))
    if not start.isdigit():
        raise wrong("startTime")

    def make() -> object:
        exchange = trading.desk.exchange
        number = words.order_number(str(asked["orderId"])) if asked.get("orderId") else 0
        rows = []
        for fill in reversed(exchange.accounts[key.account].fills):
            listing, order = exchange.listings[fill.key], exchange.orders[fill.order_id]
            if (
                listing.category == category
                and asked.get("symbol") in (None, "", listing.symbol)
                and asked.get("orderLinkId") in (None, "", order.terms.client_id)
                and number in (0, fill.order_id)
                and fill.utc_ms >= int(start)
            ):
                rows.append(words.execution_row(fill, listing, order))
        return {**_page(asked, rows, 100, 50), "category": category}

    return _at_arrival(make)


def positions(trading: BybitTrading, asked: Asked, key: ApiKey) -> object:
    """GET /v5/position/list."""
    category = category_of(asked.get("category"))
    if not (asked.get("symbol") or asked.get("settleCoin")):
        raise VenueError(10001, "params error: symbol or settleCoin is required")

    def make() -> object:
        name = f"{category}/{asked['symbol']}" if asked.get("symbol") else ""
        listings = trading.desk.exchange.listings
        rows = [
            row
            for row in trading.position_rows(key.account, category, name)
            if asked.get("settleCoin") in (None, "", listings[f"{category}/{row['symbol']}"].settle)
        ]
        return {**_page(asked, rows, 200), "category": category}

    return _at_arrival(make)


def wallet(trading: BybitTrading, asked: Asked, key: ApiKey) -> object:
    """GET /v5/account/wallet-balance."""
    if asked.get("accountType") != "UNIFIED":
        raise VenueError(10001, "accountType only support UNIFIED.")
    coins = [coin for coin in str(asked.get("coin", "")).split(",") if coin]
    return _at_arrival(lambda: {"list": [trading.wallet_row(key.account, coins)]})


def cancel_all(trading: BybitTrading, asked: Asked, key: ApiKey) -> object:
    """POST /v5/order/cancel-all."""
    category = category_of(asked.get("category"))
    symbol, coin = asked.get("symbol"), asked.get("settleCoin")
    if category == "linear" and not (symbol or coin or asked.get("baseCoin")):
        raise VenueError(10001, "params error: symbol, settleCoin or baseCoin is required")
    listing = listing_of(trading, category, symbol) if symbol else None

    def item(now_ns: int) -> object:
        exchange = trading.desk.exchange
        keys = [listing.key] if listing else [
            one.key for one in exchange.listings.values()
            if one.category == category and coin in (None, "", one.settle)
        ]  # fmt: skip
        found = [order for name in keys for order in exchange.cancel_all(key.account, name, now_ns)]
        rows = [
            {"orderId": words.order_uuid(one.order_id), "orderLinkId": one.terms.client_id} for one in found
        ]
        return {"list": rows, "success": "1"}

    return Job(CANCEL, listing.key if listing else "", [item], lambda results: results[0])


def set_dcp(trading: BybitTrading, asked: Asked, key: ApiKey) -> object:
    """POST /v5/order/disconnected-cancel-all."""
    product, seconds = asked.get("product", "OPTIONS"), asked.get("timeWindow")
    if product not in DCP_PRODUCTS or not isinstance(product, str):
        raise wrong("product")
    if not isinstance(seconds, int) or isinstance(seconds, bool) or seconds not in DCP_S:
        raise wrong("timeWindow")

    def item(_now_ns: int) -> object:
        for category in DCP_PRODUCTS[product]:
            trading.dcp_s.setdefault(key.account, {})[category] = seconds
        return {}

    return Job(OTHER, "", [item], lambda results: results[0])


def set_leverage(trading: BybitTrading, asked: Asked, key: ApiKey) -> object:
    """POST /v5/position/set-leverage."""
    listing = listing_of(trading, category_of(asked.get("category")), asked.get("symbol"))
    text = str(asked.get("buyLeverage", ""))
    if not text.isdigit() or not 1 <= int(text) <= 125:
        raise wrong("buyLeverage")

    def item(_now_ns: int) -> object:
        account = trading.account_of(key)
        if account.leverage_of(listing.key) == int(text):
            return VenueError(110043, "leverage not modified")
        account.leverages[listing.key] = int(text)
        account.mark(listing)
        return {}

    return Job(OTHER, listing.key, [item], lambda results: results[0])


def position_mode(trading: BybitTrading, asked: Asked, key: ApiKey) -> object:  # noqa: ARG001
    """POST /v5/position/switch-mode: one-way is all there is here."""
    category_of(asked.get("category"))
    mode = asked.get("mode")
    if mode == 3:
        raise VenueError(110024, "The position mode cannot be switched: hedge mode is not simulated.")
    if mode != 0:
        raise wrong("mode")
    raise VenueError(110025, "Position mode is not modified.")


def _orders(op: str) -> Callable[[BybitTrading, Asked, ApiKey], object]:
    """An order operation over REST; the argument is the body."""
    assert op in OPS

    def call(trading: BybitTrading, asked: Asked, key: ApiKey) -> object:
        trading.charge(key, op, asked)
        return order_job(trading, key, op, asked)

    return call


#: The limits of order operations are those of `BybitTrading.charge`, shared with the trade socket.
_SHARED = 1_000_000
ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("POST", "/v5/order/create"): Endpoint(_orders("order.create"), _SHARED),
    ("POST", "/v5/order/amend"): Endpoint(_orders("order.amend"), _SHARED),
    ("POST", "/v5/order/cancel"): Endpoint(_orders("order.cancel"), _SHARED),
    ("POST", "/v5/order/create-batch"): Endpoint(_orders("order.create-batch"), _SHARED),
    ("POST", "/v5/order/amend-batch"): Endpoint(_orders("order.amend-batch"), _SHARED),
    ("POST", "/v5/order/cancel-batch"): Endpoint(_orders("order.cancel-batch"), _SHARED),
    ("POST", "/v5/order/cancel-all"): Endpoint(cancel_all, 10),
    ("POST", "/v5/order/disconnected-cancel-all"): Endpoint(set_dcp, 10),
    ("GET", "/v5/order/realtime"): Endpoint(realtime),
    ("GET", "/v5/order/history"): Endpoint(history),
    ("GET", "/v5/execution/list"): Endpoint(executions),
    ("GET", "/v5/position/list"): Endpoint(positions),
    ("POST", "/v5/position/set-leverage"): Endpoint(set_leverage, 10),
    ("POST", "/v5/position/switch-mode"): Endpoint(position_mode, 10),
    ("GET", "/v5/account/wallet-balance"): Endpoint(wallet),
}
