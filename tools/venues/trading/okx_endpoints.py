"""OKX's signed REST endpoints of orders and account."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from tools.venues.trading import okx_words as words
from tools.venues.trading.desk import OTHER, Job
from tools.venues.trading.keys import ApiKey
from tools.venues.trading.okx_asks import OPS, VenueError, empty, order_job, wrong
from tools.venues.trading.terms import Fill, Listing, VenueOrder, Why

if TYPE_CHECKING:
    from tools.venues.trading.okx import OkxTrading

PAGE_MAX = 100
DEAD_MAN_S = range(10, 121)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One thing that can be asked; `limit`: requests in so many ms for an account."""

    call: Callable[[OkxTrading, object, ApiKey], object]
    limit: tuple[int, int] = (60, 2000)


def _query(asked: object) -> dict[str, str]:
    assert isinstance(asked, dict)
    return asked


def _listing(trading: OkxTrading, query: dict[str, str]) -> Listing:
    if not query.get("instId"):
        raise empty("instId")
    listing = trading.desk.exchange.listings.get(query["instId"])
    if listing is None:
        raise VenueError(*words.REFUSALS[Why.UNKNOWN_SYMBOL])
    return listing


def _number(query: dict[str, str], name: str, default: int = 0) -> int:
    text = query.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit():
        raise wrong(name)
    return int(text)


def _matches(listing: Listing, query: dict[str, str]) -> bool:
    return query.get("instType", "") in ("", listing.category) and query.get("instId", "") in (
        "",
        listing.symbol,
    )


def _at_arrival(make: Callable[[], object]) -> Job:
    """Answer with what stands when the question arrives, behind what was sent before it."""
    return Job(OTHER, "", [lambda _now_ns: make()], lambda results: results[0])


def config(trading: OkxTrading, asked: object, key: ApiKey) -> object:  # noqa: ARG001
    """GET /api/v5/account/config."""
    return [{"uid": "7", "mainUid": "7", "acctLv": "2", "posMode": "net_mode", "autoLoan": False,
             "acctStpMode": "cancel_maker", "perm": "read_only,trade", "label": key.account}]  # fmt: skip


def order(trading: OkxTrading, asked: object, key: ApiKey) -> object:
    """GET /api/v5/trade/order."""
    query = _query(asked)
    listing = _listing(trading, query)
    if not query.get("ordId") and not query.get("clOrdId"):
        raise VenueError("51003", "Either client order ID or order ID is required.")

    def make() -> object:
        found = trading.desk.exchange.find(
            key.account,
            key=listing.key,
            order_id=_number(query, "ordId"),
            client_id=query.get("clOrdId", ""),
        )
        return [words.order_row(found, listing)] if found else VenueError("51603", "Order does not exist.")

    return _at_arrival(make)


def _page(
    query: dict[str, str], rows: Iterable[VenueOrder], listings: dict[str, Listing]
) -> list[dict[str, object]]:
    limit = min(_number(query, "limit", PAGE_MAX), PAGE_MAX)
    after = _number(query, "after")
    found = (
        words.order_row(one, listings[one.terms.key])
        for one in rows
        if _matches(listings[one.terms.key], query) and (not after or one.order_id < after)
    )
    return list(islice(found, limit))


def pending(trading: OkxTrading, asked: object, key: ApiKey) -> object:
    """GET /api/v5/trade/orders-pending: newest first."""
    query, exchange = _query(asked), trading.desk.exchange

    def make() -> object:
        orders = sorted(exchange.accounts[key.account].open_orders.values(), key=lambda one: -one.order_id)
        return _page(query, orders, exchange.listings)

    return _at_arrival(make)


def history(trading: OkxTrading, asked: object, key: ApiKey) -> object:
    """GET /api/v5/trade/orders-history: what has ended, newest first."""
    query, exchange = _query(asked), trading.desk.exchange

    def make() -> object:
        ended = [one for one in reversed(exchange.history(key.account)) if not one.is_open]
        return _page(query, ended, exchange.listings)

    return _at_arrival(make)


def fills(trading: OkxTrading, asked: object, key: ApiKey) -> object:
    """GET /api/v5/trade/fills and fills-history: newest first."""
    query, exchange = _query(asked), trading.desk.exchange
    order_id, after, begin = _number(query, "ordId"), _number(query, "after"), _number(query, "begin")
    limit = min(_number(query, "limit", PAGE_MAX), PAGE_MAX)

    def is_wanted(fill: Fill) -> bool:
        return (
            _matches(exchange.listings[fill.key], query)
            and order_id in (0, fill.order_id)
            and (not after or fill.trade_id < after)
            and fill.utc_ms >= begin
        )

    def make() -> object:
        found = (fill for fill in reversed(exchange.accounts[key.account].fills) if is_wanted(fill))
        return [
            words.fill_row(fill, exchange.listings[fill.key], exchange.orders[fill.order_id].terms.client_id)
            for fill in islice(found, limit)
        ]

    return _at_arrival(make)


def positions(trading: OkxTrading, asked: object, key: ApiKey) -> object:
    """GET /api/v5/account/positions."""
    query = _query(asked)
    return _at_arrival(lambda: trading.position_rows(key.account, query.get("instId", "")))


def balance(trading: OkxTrading, asked: object, key: ApiKey) -> object:
    """GET /api/v5/account/balance."""
    wanted = [asset for asset in _query(asked).get("ccy", "").split(",") if asset]
    return _at_arrival(lambda: [trading.balance_row(key.account, wanted)])


def cancel_all_after(trading: OkxTrading, asked: object, key: ApiKey) -> object:
    """POST /api/v5/trade/cancel-all-after."""
    value = asked.get("timeOut") if isinstance(asked, dict) else None
    text = str(value) if isinstance(value, str | int) else ""
    if not text.isascii() or not text.isdigit() or (int(text) and int(text) not in DEAD_MAN_S):
        raise wrong("timeOut")
    seconds = int(text)

    def item(now_ns: int) -> object:
        trading.desk.exchange.set_dead_man(key.account, "", seconds * 1_000_000_000, now_ns)
        trading.desk.rearm()
        now_ms = trading.desk.clock_ms()
        trigger = now_ms + seconds * 1000 if seconds else 0
        return [{"triggerTime": str(trigger), "tag": "", "ts": str(now_ms)}]

    return Job(OTHER, "", [item], lambda results: results[0])


def leverage(trading: OkxTrading, asked: object, key: ApiKey) -> object:
    """POST /api/v5/account/set-leverage."""
    row = asked if isinstance(asked, dict) else {}
    listing = _listing(trading, row)
    text = row.get("lever", "")
    if not isinstance(text, str) or not text.isdigit() or not 1 <= int(text) <= 125:
        raise wrong("lever")

    def item(_now_ns: int) -> object:
        account = trading.account_of(key)
        account.leverages[listing.key] = int(text)
        account.mark(listing)
        return [
            {"instId": listing.symbol, "lever": text, "mgnMode": row.get("mgnMode", "cross"), "posSide": ""}
        ]

    return Job(OTHER, listing.key, [item], lambda results: results[0])


def position_mode(trading: OkxTrading, asked: object, key: ApiKey) -> object:  # noqa: ARG001
    """POST /api/v5/account/set-position-mode: net mode is all there is here."""
    mode = asked.get("posMode") if isinstance(asked, dict) else None
    if mode == "long_short_mode":
        raise VenueError("59000", "Your settings failed: hedge mode (long_short_mode) is not simulated.")
    if mode != "net_mode":
        raise wrong("posMode")
    return [{"posMode": mode}]


def _orders(op: str) -> Callable[[OkxTrading, object, ApiKey], object]:
    """An order operation over REST; the arguments are the body."""

    def call(trading: OkxTrading, asked: object, key: ApiKey) -> object:
        args = asked if isinstance(asked, list) else [asked]
        job = order_job(trading, key, OPS[op], args, None, by_code=False)
        trading.charge(key, op, [arg for arg in args if isinstance(arg, dict)])
        return job

    return call


#: The limits of order operations are those of `OkxTrading.charge`, shared with the websocket.
_SHARED = (1_000_000, 2000)
ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("GET", "/api/v5/account/config"): Endpoint(config, (5, 2000)),
    ("GET", "/api/v5/account/positions"): Endpoint(positions, (10, 2000)),
    ("GET", "/api/v5/account/balance"): Endpoint(balance, (10, 2000)),
    ("POST", "/api/v5/account/set-leverage"): Endpoint(leverage, (40, 2000)),
    ("POST", "/api/v5/account/set-position-mode"): Endpoint(position_mode, (5, 2000)),
    ("GET", "/api/v5/trade/order"): Endpoint(order),
    ("GET", "/api/v5/trade/orders-pending"): Endpoint(pending),
    ("GET", "/api/v5/trade/orders-history"): Endpoint(history, (40, 2000)),
    ("GET", "/api/v5/trade/fills"): Endpoint(fills),
    ("GET", "/api/v5/trade/fills-history"): Endpoint(fills, (10, 2000)),
    ("POST", "/api/v5/trade/cancel-all-after"): Endpoint(cancel_all_after, (1, 1000)),
    ("POST", "/api/v5/trade/order"): Endpoint(_orders("order"), _SHARED),
    ("POST", "/api/v5/trade/amend-order"): Endpoint(_orders("amend-order"), _SHARED),
    ("POST", "/api/v5/trade/cancel-order"): Endpoint(_orders("cancel-order"), _SHARED),
    ("POST", "/api/v5/trade/batch-orders"): Endpoint(_orders("batch-orders"), _SHARED),
    ("POST", "/api/v5/trade/amend-batch-orders"): Endpoint(_orders("batch-amend-orders"), _SHARED),
    ("POST", "/api/v5/trade/cancel-batch-orders"): Endpoint(_orders("batch-cancel-orders"), _SHARED),
}
