"""The venue's own books for tests, under `/sim/` of its REST port: nothing of it exists at a real venue.

GET `/sim/orders`, `/sim/fills`, `/sim/positions`, `/sim/balances`, `/sim/statistics` (all take `account`
and `symbol`); POST `/sim/order` and `/sim/cancel` act as another client of the account; POST `/sim/funding`
lets positions pay funding at a `rate`; POST `/sim/faults` takes a fault script as `/ringlane/faults` does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from tools.venues.protocol import CONTROL_PATH, HttpReply, HttpRequest
from tools.venues.trading.accounts import Account
from tools.venues.trading.desk import TradingDesk
from tools.venues.trading.terms import (
    GTC,
    LIMIT,
    MARKET,
    Fill,
    Listing,
    Refusal,
    Terms,
    VenueOrder,
    short_text,
    to_units,
)

SIDES = {"buy": 1, "sell": 2}
SIDE_TEXTS = {number: text for text, number in SIDES.items()}


class _Wrong(Exception):
    """The request can not be understood; the text says what is wrong."""


class Control:
    """Answers what tests ask of a venue's own books.

    Args:
        desk: of the venue.
        on_faults: takes a request with a fault script.
    """

    def __init__(self, desk: TradingDesk, on_faults: Callable[[HttpRequest], HttpReply]) -> None:
        self._desk = desk
        self._on_faults = on_faults

    def on_http(self, request: HttpRequest) -> HttpReply:
        """Answer a request whose path begins with `/sim/`."""
        name = request.path.removeprefix(CONTROL_PATH)
        if name == "faults":
            return self._on_faults(request)
        asked: dict[str, Callable[[dict[str, str]], object]] = {
            "orders": self._orders,
            "fills": self._fills,
            "positions": self._positions,
            "balances": self._balances,
            "statistics": self._statistics,
        }
        try:
            if request.method == "POST" and name in ("order", "cancel", "funding"):
                try:
                    body = orjson.loads(request.body)
                except orjson.JSONDecodeError:
                    raise _Wrong("the body is no JSON") from None
                if not isinstance(body, dict):
                    raise _Wrong("the body is no JSON object")
                acts = {"order": self._place, "cancel": self._cancel, "funding": self._fund}
                return _reply(acts[name](body))
            if request.method != "GET" or name not in asked:
                return _reply({"error": f"there is no {request.method} {request.path}"}, 404)
            return _reply(asked[name](dict(request.query)))
        except _Wrong as error:
            return _reply({"error": str(error)}, 400)

    # ---- what there is -------------------------------------------------------------------------

    def _accounts(self, query: dict[str, str]) -> list[Account]:
        accounts = self._desk.exchange.accounts
        name = query.get("account", "")
        if name and name not in accounts:
            raise _Wrong(f"there is no account {name!r}")
        return [accounts[name]] if name else list(accounts.values())

    def _orders(self, query: dict[str, str]) -> object:
        exchange = self._desk.exchange
        names = {one.name for one in self._accounts(query)}
        is_open = query.get("open", "") in ("1", "true")
        return [
            _order_row(one, exchange.listings[one.terms.key])
            for one in exchange.orders.values()
            if one.account in names
            and query.get("symbol", one.terms.key) == one.terms.key
            and (not is_open or one.is_open)
        ]

    def _fills(self, query: dict[str, str]) -> object:
        exchange = self._desk.exchange
        return [
            {"account": account.name, **_fill_row(fill, exchange.listings[fill.key])}
            for account in self._accounts(query)
            for fill in account.fills
            if query.get("symbol", fill.key) == fill.key
        ]

    def _positions(self, query: dict[str, str]) -> object:
        exchange = self._desk.exchange
        found = []
        for account in self._accounts(query):
            for key, holding in account.holdings.items():
                if query.get("symbol", key) == key:
                    listing = exchange.listings[key]
                    found.append({
                        "account": account.name, "symbol": key,
                        "position": short_text(holding.units, listing.quantity_decimals),
                        "position_units": holding.units,
                        "entry_price": listing.price_of(holding.entry_raw, abs(holding.units)),
                        "realized": short_text(holding.realized_e8, 8),
                        "fees": short_text(holding.fees_e8, 8),
                    })  # fmt: skip
        return found

    def _balances(self, query: dict[str, str]) -> object:
        return {
            account.name: {asset: short_text(amount, 8) for asset, amount in account.balances.items()}
            for account in self._accounts(query)
        }

    def _statistics(self, query: dict[str, str]) -> object:
        return {
            "venue": self._desk.trading.name,
            "duplicates": {one.name: dict(one.reused_ids) for one in self._accounts(query)},
            **self.statistics(),
        }

    def statistics(self) -> dict[str, object]:
        """Return numbers of the venue's life."""
        exchange = self._desk.exchange
        return {
            "requests": self._desk.jobs,
            "orders": exchange.placed,
            "orders_refused": exchange.refused,
            "orders_open": sum(len(one.open_orders) for one in exchange.accounts.values()),
            "fills": exchange.fill_count,
            "duplicates_seen": sum(len(one.reused_ids) for one in exchange.accounts.values()),
            "dead_men_fired": exchange.dead_men_fired,
            "funding_payments": self._desk.upkeep.counts.funding_payments,
            "liquidations": self._desk.upkeep.counts.liquidations,
            "answer_delay": self._delay_row(),
            **self._desk.trading.statistics(),
        }

    def _delay_row(self) -> dict[str, int]:
        delay = self._desk.delay
        row = {"count": delay.count, "latency_ns_max": delay.ns_max}
        for name, q in (("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99_9", 99.9)):
            row[f"latency_ns_{name}"] = min(delay.percentile(q), delay.ns_max)
        return row

    # ---- what another client does --------------------------------------------------------------

    def _listing(self, body: dict[str, Any]) -> Listing:
        found = self._desk.exchange.listings.get(str(body.get("symbol", "")))
        if found is None:
            raise _Wrong(f"there is no symbol {body.get('symbol')!r}")
        return found

    def _place(self, body: dict[str, Any]) -> object:
        listing = self._listing(body)
        account = self._accounts({"account": str(body.get("account", ""))})[0]
        side = SIDES.get(str(body.get("side", "")).lower())
        units = to_units(str(body.get("quantity", "")), listing.quantity_decimals)
        price = to_units(str(body.get("price", "0")), listing.price_decimals)
        if side is None or units is None or price is None:
            raise _Wrong("an order has side (buy, sell), quantity, and price unless it is a market order")
        terms = Terms(
            listing.key, side, units, price, LIMIT if price else MARKET, GTC,
            is_reduce_only=bool(body.get("reduce_only", False)),
            client_id=str(body.get("client_id", "")), source="manual",
        )  # fmt: skip
        result = self._desk.exchange.place(account.name, terms, self._desk.now_ns())
        if isinstance(result, Refusal):
            raise _Wrong(f"refused: {result.why.value}")
        return _order_row(result, listing)

    def _fund(self, body: dict[str, Any]) -> object:
        rate_e8 = to_units(str(body.get("rate", "")), 8)
        key = str(body.get("symbol", ""))
        if rate_e8 is None or (key and key not in self._desk.exchange.listings):
            raise _Wrong("funding has a rate (a fraction, at most 8 decimals), and may have a symbol")
        paid = self._desk.upkeep.fund(rate_e8, self._desk.now_ns(), key)
        return [
            {
                "account": one.account,
                "symbol": one.key,
                "asset": one.asset,
                "amount": short_text(one.amount_e8, 8),
            }
            for one in paid
        ]

    def _cancel(self, body: dict[str, Any]) -> object:
        account = self._accounts({"account": str(body.get("account", ""))})[0]
        exchange, now_ns = self._desk.exchange, self._desk.now_ns()
        if "order_id" not in body:
            found = exchange.cancel_all(account.name, str(body.get("symbol", "")), now_ns)
            return {"canceled": [one.order_id for one in found]}
        order_id = body["order_id"]
        order = exchange.find(account.name, order_id=order_id) if isinstance(order_id, int) else None
        if order is None or isinstance(exchange.cancel(order, now_ns), Refusal):
            raise _Wrong(f"there is no open order {order_id!r}")
        return {"canceled": [order.order_id]}


def _order_row(order: VenueOrder, listing: Listing) -> dict[str, object]:
    return {
        "account": order.account,
        "order_id": order.order_id,
        "client_id": order.terms.client_id,
        "symbol": listing.key,
        "side": SIDE_TEXTS[order.terms.side],
        "price": short_text(order.price_units, listing.price_decimals),
        "quantity": short_text(order.units, listing.quantity_decimals),
        "filled": short_text(order.filled, listing.quantity_decimals),
        "status": order.status.value,
        "why": order.why.value,
        "is_open": order.is_open,
        "source": order.terms.source,
        "amendments": order.amendments,
        "created_ms": order.created_ms,
        "updated_ms": order.updated_ms,
        "trade_ids": [fill.trade_id for fill in order.fills],
    }


def _fill_row(fill: Fill, listing: Listing) -> dict[str, object]:
    return {
        "trade_id": fill.trade_id,
        "order_id": fill.order_id,
        "symbol": listing.key,
        "side": SIDE_TEXTS[fill.side],
        "price": short_text(fill.price_units, listing.price_decimals),
        "quantity": short_text(fill.units, listing.quantity_decimals),
        "is_maker": fill.is_maker,
        "fee": short_text(fill.fee_e8, 8),
        "fee_asset": fill.fee_asset,
        "realized": short_text(fill.realized_e8, 8),
        "utc_ms": fill.utc_ms,
    }


def _reply(body: object, status: int = 200) -> HttpReply:
    return HttpReply(status, orjson.dumps(body))
