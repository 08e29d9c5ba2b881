"""What else clients ask of Binance USD-M: questions, sessions, settings; and the table of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tools.venues.trading import binance_usdm_words as words
from tools.venues.trading.binance_usdm_asks import (
    Answered,
    Ask,
    Endpoint,
    VenueError,
    account_of,
    amend,
    amend_batch,
    cancel,
    cancel_all,
    cancel_batch,
    countdown,
    find_order,
    listing_of,
    place,
    place_batch,
    refused,
)
from tools.venues.trading.desk import Job
from tools.venues.trading.keys import ApiKey
from tools.venues.trading.terms import Why

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.venues.trading.binance_usdm import BinanceTrading

ROWS, ROWS_MAX = 500, 1000
WEEK_MS = 7 * 24 * 3600 * 1000

# ---- questions -----------------------------------------------------------------------------------


def asked(item: Callable[[], object]) -> Job:
    """A job of one question."""
    return Job("other", "", [lambda _now_ns: item()], lambda results: results[0])


def query(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> Answered:
    """order.status, GET /fapi/v1/order."""
    find_order(trading, ask, key)

    def item() -> object:
        order = find_order(trading, ask, key)
        if order is None:
            return refused(Why.UNKNOWN_ORDER, is_query=True)
        return words.order_row(order, trading.desk.exchange.listings[order.terms.key])

    return asked(item)


def open_orders(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> Answered:
    """GET /fapi/v1/openOrders."""
    wanted = listing_of(trading, ask).key if "symbol" in ask.values else ""
    account, listings = account_of(trading, key), trading.desk.exchange.listings
    return asked(lambda: [
        words.order_row(one, listings[one.terms.key])
        for one in account.open_orders.values()
        if not wanted or one.terms.key == wanted
    ])  # fmt: skip


def _span(ask: Ask) -> tuple[int, int, int]:
    start, end = ask.integer("startTime", 0), ask.integer("endTime", 1 << 60)
    if start and end < 1 << 60 and end - start > WEEK_MS:
        raise VenueError(400, -4166, "Search window is restricted to recent 7 days only.")
    limit = ask.integer("limit", ROWS)
    if not 1 <= limit <= ROWS_MAX:
        raise VenueError(400, -1130, "Data sent for parameter 'limit' is not valid.")
    return start, end, limit


def all_orders(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> Answered:
    """GET /fapi/v1/allOrders."""
    listing, account = listing_of(trading, ask), account_of(trading, key)
    (start, end, limit), first = _span(ask), ask.integer("orderId", 0)

    def item() -> object:
        found = [
            one for one in trading.desk.exchange.history(account.name, listing.key)
            if start <= one.created_ms <= end and one.order_id >= first
        ]  # fmt: skip
        return [
            words.order_row(one, listing) for one in (found[:limit] if first or start else found[-limit:])
        ]

    return asked(item)


def trades(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> Answered:
    """GET /fapi/v1/userTrades."""
    listing, account = listing_of(trading, ask), account_of(trading, key)
    (start, end, limit), first = _span(ask), ask.integer("fromId", 0)
    order_id = ask.integer("orderId", 0)

    def item() -> object:
        found = [
            one for one in account.fills
            if one.key == listing.key and start <= one.utc_ms <= end and one.trade_id >= first
            and order_id in (0, one.order_id)
        ]  # fmt: skip
        return [
            words.trade_row(one, listing) for one in (found[:limit] if first or start else found[-limit:])
        ]

    return asked(item)


def positions(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> Answered:
    """v2/account.position, GET /fapi/v3/positionRisk: symbols with a position or open orders."""
    wanted = listing_of(trading, ask).key if "symbol" in ask.values else ""
    account, listings = account_of(trading, key), trading.desk.exchange.listings
    return asked(lambda: [
        words.position_row(account, listings[name], one)
        for name, one in account.holdings.items()
        if (name == wanted if wanted else one.units or one.buy_units or one.sell_units)
    ])  # fmt: skip


def balances(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> Answered:  # noqa: ARG001
    """v2/account.balance, GET /fapi/v3/balance."""
    account, exchange = account_of(trading, key), trading.desk.exchange

    def item() -> object:
        now_ns = trading.desk.now_ns()
        return [
            words.balance_row(
                account, asset,
                account.available_e8(asset, exchange.listings, now_ns),
                account.unrealized_e8(asset, exchange.listings),
            )
            for asset in account.balances
        ]  # fmt: skip

    return asked(item)


# ---- sessions, listen keys, settings --------------------------------------------------------------


def logon(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> Answered:  # noqa: ARG001
    """session.logon: Ed25519 keys only."""
    assert key is not None
    if key.kind != "ed25519":
        raise VenueError(400, -4056, "HMAC_SHA256 API key is not supported.")
    now_ms = trading.desk.clock_ms()
    return {
        "apiKey": key.api_key, "authorizedSince": now_ms, "connectedSince": now_ms, "returnRateLimits": True,
        "serverTime": now_ms,
    }  # fmt: skip


def server_time(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> Answered:  # noqa: ARG001
    """Time."""
    return asked(lambda: {"serverTime": trading.desk.clock_ms()})


def start_stream(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> Answered:  # noqa: ARG001
    """userDataStream.start, POST /fapi/v1/listenKey."""
    return asked(lambda: {"listenKey": trading.make_listen_key(account_of(trading, key).name)})


def keep_stream(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> Answered:  # noqa: ARG001
    """userDataStream.ping, PUT /fapi/v1/listenKey."""

    def item() -> object:
        found = trading.keep_listen_key(account_of(trading, key).name)
        return {"listenKey": found} if found else VenueError(400, -1125, "This listenKey does not exist.")

    return asked(item)


def stop_stream(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> Answered:  # noqa: ARG001
    """userDataStream.stop, DELETE /fapi/v1/listenKey."""

    def item() -> object:
        trading.end_listen_key(account_of(trading, key).name)
        return {}

    return asked(item)


def leverage(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> Answered:
    """POST /fapi/v1/leverage."""
    listing, account, wanted = listing_of(trading, ask), account_of(trading, key), ask.integer("leverage")
    if not 1 <= wanted <= 125:
        raise VenueError(400, -4028, f"Leverage {wanted} is not valid")

    def item() -> object:
        account.leverages[listing.key] = wanted
        account.mark(listing)
        return {"leverage": wanted, "maxNotionalValue": "1000000000", "symbol": listing.symbol}

    return asked(item)


def position_mode(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> Answered:  # noqa: ARG001
    """POST /fapi/v1/positionSide/dual: one-way is all there is here."""
    if ask.flag("dualSidePosition"):
        raise VenueError(400, -4067, "Position side cannot be changed: hedge mode is not simulated.")
    raise VenueError(400, -4059, "No need to change position side.")


def position_mode_now(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> Answered:  # noqa: ARG001
    """GET /fapi/v1/positionSide/dual."""
    return {"dualSidePosition": False}


def margin_type(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> Answered:  # noqa: ARG001
    """POST /fapi/v1/marginType: crossed is all there is here."""
    if ask.text("marginType") == "CROSSED":
        raise VenueError(400, -4046, "No need to change margin type.")
    raise VenueError(400, -4168, "Unable to adjust to isolated-margin mode under the Multi-Assets mode.")


def commission(trading: BinanceTrading, ask: Ask, key: ApiKey | None) -> Answered:  # noqa: ARG001
    """GET /fapi/v1/commissionRate."""
    listing = listing_of(trading, ask)
    return {
        "symbol": listing.symbol,
        "makerCommissionRate": f"{listing.maker_fee_e8 / 1e8:.6f}",
        "takerCommissionRate": f"{listing.taker_fee_e8 / 1e8:.6f}",
    }


SOCKET_METHODS: dict[str, Endpoint] = {
    "session.logon": Endpoint(logon, 2, logs_on=True),
    "order.place": Endpoint(place, 0, 1),
    "order.modify": Endpoint(amend, 1, 1),
    "order.cancel": Endpoint(cancel, 1),
    "order.status": Endpoint(query, 1),
    "account.position": Endpoint(positions, 5),
    "v2/account.position": Endpoint(positions, 5),
    "account.balance": Endpoint(balances, 5),
    "v2/account.balance": Endpoint(balances, 5),
    "userDataStream.start": Endpoint(start_stream, 5, is_signed=False),
    "userDataStream.ping": Endpoint(keep_stream, 1, is_signed=False),
    "userDataStream.stop": Endpoint(stop_stream, 1, is_signed=False),
    "time": Endpoint(server_time, 1, is_signed=False, needs_key=False),
}
ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("POST", "/fapi/v1/order"): Endpoint(place, 0, 1),
    ("PUT", "/fapi/v1/order"): Endpoint(amend, 1, 1),
    ("DELETE", "/fapi/v1/order"): Endpoint(cancel, 1),
    ("GET", "/fapi/v1/order"): Endpoint(query, 1),
    ("POST", "/fapi/v1/batchOrders"): Endpoint(place_batch, 5, 1, batch="batchOrders"),
    ("PUT", "/fapi/v1/batchOrders"): Endpoint(amend_batch, 5, 1, batch="batchOrders"),
    ("DELETE", "/fapi/v1/batchOrders"): Endpoint(cancel_batch, 1),
    ("DELETE", "/fapi/v1/allOpenOrders"): Endpoint(cancel_all, 1),
    ("POST", "/fapi/v1/countdownCancelAll"): Endpoint(countdown, 10),
    ("GET", "/fapi/v1/openOrders"): Endpoint(open_orders, 1, weight_all=40),
    ("GET", "/fapi/v1/allOrders"): Endpoint(all_orders, 5),
    ("GET", "/fapi/v1/userTrades"): Endpoint(trades, 5),
    ("GET", "/fapi/v3/positionRisk"): Endpoint(positions, 5),
    ("GET", "/fapi/v2/positionRisk"): Endpoint(positions, 5),
    ("GET", "/fapi/v3/balance"): Endpoint(balances, 5),
    ("GET", "/fapi/v2/balance"): Endpoint(balances, 5),
    ("POST", "/fapi/v1/listenKey"): Endpoint(start_stream, 1, is_signed=False),
    ("PUT", "/fapi/v1/listenKey"): Endpoint(keep_stream, 1, is_signed=False),
    ("DELETE", "/fapi/v1/listenKey"): Endpoint(stop_stream, 1, is_signed=False),
    ("POST", "/fapi/v1/leverage"): Endpoint(leverage, 1),
    ("POST", "/fapi/v1/marginType"): Endpoint(margin_type, 1),
    ("POST", "/fapi/v1/positionSide/dual"): Endpoint(position_mode, 1),
    ("GET", "/fapi/v1/positionSide/dual"): Endpoint(position_mode_now, 30),
    ("GET", "/fapi/v1/commissionRate"): Endpoint(commission, 20),
}
