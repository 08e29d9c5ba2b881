"""Order entry of OKX: one websocket path for orders and private channels, and signed REST.

Documents (OKX API v5): "Overview / WebSocket" (login, errors), "Order Book Trading / Trade", "REST
Authentication", "Error Code". Limits: "Place order" and the like 60 requests in 2 s for each instrument,
batches 300 orders, 1000 new and amended orders in 2 s for the account ("Sub-account rate limit").
"""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime
from urllib.parse import urlsplit

import orjson

from tools.venues.okx import conn_id
from tools.venues.okx_instruments import instrument_code
from tools.venues.protocol import HttpReply, HttpRequest, Limits, Route, Subscriber
from tools.venues.trading import okx_words as words
from tools.venues.trading.desk import Job
from tools.venues.trading.exchange import VenueRules
from tools.venues.trading.keys import ApiKey
from tools.venues.trading.okx_asks import (
    OPS,
    VenueError,
    order_job,
)
from tools.venues.trading.okx_endpoints import ENDPOINTS
from tools.venues.trading.sessions import SessionTrading
from tools.venues.trading.terms import AccountEvent, Listing, MoneyEvent, What, Why

PRIVATE_PATH = "/ws/v5/private"
CHANNELS = ("orders", "positions", "account")
LOGIN_AGE_S = REST_AGE_S = 30
WINDOW_MS = 2000
#: Header → code where it is missing.
HEADERS = (("key", "50103"), ("sign", "50106"), ("timestamp", "50107"), ("passphrase", "50104"))
REQUESTS, BATCH_ORDERS, ACCOUNT_ORDERS = 60, 300, 1000


class OkxTrading(SessionTrading):
    """OKX's order entry as a server.

    Args:
        factor: how many times the venue's limits hold here; 0 = none do.
    """

    name = "okx"
    rules = VenueRules(
        refuses_post_only=False,
        refuses_fok=False,
        ids_are_unique_for_ever=True,
        amend_cross_cancels=False,
        open_orders_max=500,
    )

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__(factor)
        self._codes: dict[int, Listing] = {}

    def listing_of(self, arg: dict[str, object]) -> Listing | None:
        """The listing an order names: by code where one is given, else by name (REST)."""
        listings = self.desk.exchange.listings
        if not self._codes:
            self._codes = {instrument_code(one.symbol): one for one in listings.values()}
        code = arg.get("instIdCode")
        if isinstance(code, int) and not isinstance(code, bool):
            return self._codes.get(code)
        name = arg.get("instId")
        return listings.get(name) if isinstance(name, str) else None

    # ---- connections ---------------------------------------------------------------------------

    def route(self, target: str) -> Route | HttpReply | None:
        """Return where the private path leads."""
        is_ours = urlsplit(target).path.rstrip("/") == PRIVATE_PATH
        return Route("private", False, is_trading=True) if is_ours else None

    def limits_of(self, route: Route, limits: Limits) -> Limits:  # noqa: ARG002
        """Return the limits of any connection: they are the same here."""
        return limits

    def addresses(self, ws: str, rest: str) -> dict[str, str]:
        """Return where orders and private channels are."""
        return {"order": f"{ws}{PRIVATE_PATH}", "private": f"{ws}{PRIVATE_PATH}", "rest": rest}

    def say_goodbye(self, client: Subscriber) -> None:
        """End a connection as when its key was changed."""
        client.close(4007, "API key has been updated or deleted. Please reconnect.")

    # ---- the websocket -------------------------------------------------------------------------

    def on_text(self, client: Subscriber, text: bytes) -> None:
        """Take a login, a subscription or an order operation."""
        if text == b"ping":
            client.say(b"pong")
            return
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError:
            request = None
        args = request.get("args") if isinstance(request, dict) else None
        if not isinstance(request, dict) or not isinstance(args, list) or not args:
            self._error(client, None, "60012", f"Invalid request: {text[:200].decode(errors='replace')}")
            return
        op, number = request.get("op"), request.get("id")
        if op == "login":
            self._login(client, args[0])
        elif op in ("subscribe", "unsubscribe"):
            for arg in args:
                self._subscribe(client, op, arg, number)
        elif isinstance(op, str) and op in OPS:
            self._operate(client, op, request, args)
        else:
            self._error(client, number, "60012", f"Invalid request: op {op}")

    @staticmethod
    def _error(client: Subscriber, number: object, code: str, text: str) -> None:
        answer: dict[str, object] = {"event": "error", "code": code, "msg": text, "connId": conn_id(client)}
        client.say(orjson.dumps({"id": number, **answer} if number is not None else answer))

    def _login(self, client: Subscriber, arg: object) -> None:
        found = self._login_error(arg) if isinstance(arg, dict) else ("60012", "Invalid request")
        if isinstance(found, tuple):
            self._error(client, None, *found)
            return
        self.log_in(client, found)
        client.say(orjson.dumps({"event": "login", "code": "0", "msg": "", "connId": conn_id(client)}))

    def _login_error(self, arg: dict[str, object]) -> ApiKey | tuple[str, str]:
        key = self.desk.keys.get(str(arg.get("apiKey", "")))
        stamp, sign = str(arg.get("timestamp", "")), str(arg.get("sign", ""))
        if key is None:
            return "60032", "API key doesn't exist."
        if not stamp.isascii() or not stamp.isdigit():
            return "60004", "Invalid timestamp"
        if abs(self.desk.clock_ms() / 1000 - int(stamp)) > LOGIN_AGE_S:
            return "60006", "Timestamp request expired"
        if arg.get("passphrase") != key.passphrase:
            return "60024", "Wrong passphrase"
        if not key.is_base64_signed(f"{stamp}GET/users/self/verify".encode(), sign):
            return "60007", "Invalid sign"
        return key

    def _subscribe(self, client: Subscriber, op: str, arg: object, number: object) -> None:
        session = self.sessions.get(client)
        if session is None:
            self._error(client, number, "60011", "Please log in")
            return
        channel = arg.get("channel") if isinstance(arg, dict) else None
        if channel not in CHANNELS or not isinstance(channel, str):
            shown = orjson.dumps(arg).decode()
            text = f"Wrong URL or {shown} doesn't exist. Please use the correct URL, channel and parameters"
            self._error(client, number, "60018", f"{text} referring to API document.")
            return
        if op == "subscribe":
            session.channels.add(channel)
        else:
            session.channels.discard(channel)
        answer: dict[str, object] = {"event": op, "arg": arg, "connId": conn_id(client)}
        client.say(orjson.dumps({"id": number, **answer} if number is not None else answer))
        if op == "subscribe" and channel != "orders":
            # "WS / Positions channel", "WS / Account channel": the present state comes first.
            self._push_state(client, session.key.account, channel)

    def _operate(self, client: Subscriber, op: str, request: dict[str, object], args: list[object]) -> None:
        number = request.get("id")
        session = self.sessions.get(client)
        if session is None:
            self._error(client, number, "60011", "Please log in")
            return
        try:
            deadline = request.get("expTime")
            job = order_job(self, session.key, OPS[op], args, deadline, by_code=True)
            self.charge(session.key, op, [arg for arg in args if isinstance(arg, dict)])
        except VenueError as error:
            client.say(
                orjson.dumps({"id": number, "op": op, "code": error.code, "msg": error.text, "data": []})
            )
            return
        answer = job.answer

        def frame(results: list[object]) -> bytes:
            rows = answer(results)
            assert isinstance(rows, list)
            return orjson.dumps({"id": number, "op": op, **self.overall(rows), "data": rows})

        job.answer = frame
        self.desk.submit(self.desk.origin_of(client), job)

    @staticmethod
    def overall(rows: list[dict[str, object]]) -> dict[str, object]:
        """Code and message over all orders of a request: 0 all, 1 none, 2 some succeeded."""
        failed = sum(row["sCode"] != "0" for row in rows)
        if not failed:
            return {"code": "0", "msg": ""}
        if failed == len(rows):
            return {"code": "1", "msg": "All operations failed" if len(rows) > 1 else "Operation failed."}
        return {"code": "2", "msg": "Bulk operation partially succeeded."}

    def charge(self, key: ApiKey, op: str, args: list[dict[str, object]]) -> None:
        """Count a request's orders against the limits of instruments and account."""
        command, is_batch = OPS[op]
        counts: dict[str, int] = {}
        for arg in args:
            listing = self.listing_of(arg)
            name = listing.key if listing is not None else ""
            counts[name] = counts.get(name, 0) + 1
        for name, orders in counts.items():
            limit = (BATCH_ORDERS, orders) if is_batch else (REQUESTS, 1)
            if self.take((op, key.account, name), limit[0], WINDOW_MS, limit[1]) is not None:
                raise VenueError("50011", words.REFUSALS[Why.RATE][1], 429)
        units = 0 if command == "cancel" else len(args)
        if self.take(("orders", key.account), ACCOUNT_ORDERS, WINDOW_MS, units) is not None:
            raise VenueError("50061", "You've reached the maximum order rate limit for this account.", 429)

    # ---- private channels ----------------------------------------------------------------------

    def on_event(self, event: AccountEvent) -> None:
        """Tell the account's listeners: the order, and after a fill its position and balances."""
        if event.what is What.SETTINGS:
            return
        listing = self.desk.exchange.listings[event.order.terms.key]
        arg = {"channel": "orders", "instType": "ANY", "uid": "7"}
        frame = orjson.dumps({"arg": arg, "data": [words.order_push(event, listing)]})
        for client in self.listeners(event.account, "orders"):
            self.desk.tell(client, frame, listing.key)
        if event.fill is None:
            return
        for channel in ("positions", "account"):
            for client in self.listeners(event.account, channel):
                self._push_state(client, event.account, channel, listing, event.fill.fee_asset)

    def on_money(self, event: MoneyEvent) -> None:
        """Tell the account's listeners of a funding payment: the balance."""
        listing = self.desk.exchange.listings[event.key]
        for client in self.listeners(event.account, "account"):
            self._push_state(client, event.account, "account", listing, event.asset)

    def _push_state(
        self,
        client: Subscriber,
        account_name: str,
        channel: str,
        listing: Listing | None = None,
        fee_asset: str = "",
    ) -> None:
        if channel == "positions":
            if listing is not None and listing.is_spot:
                return
            data: list[dict[str, object]] = self.position_rows(
                account_name, listing.key if listing is not None else ""
            )
        elif listing is None:
            data = [self.balance_row(account_name, [])]
        else:
            assets = [listing.item.base, listing.item.quote] if listing.is_spot else [listing.settle]
            data = [self.balance_row(account_name, list(dict.fromkeys([*assets, fee_asset])))]
        frame = orjson.dumps({"arg": {"channel": channel, "uid": "7"}, "data": data})
        self.desk.tell(client, frame)

    def position_rows(self, account_name: str, key: str = "") -> list[dict[str, object]]:
        """Positions of an account (at a listing, where a flat one is told too)."""
        account, listings = self.desk.exchange.accounts[account_name], self.desk.exchange.listings
        rows = []
        for name, holding in account.holdings.items():
            listing = listings[name]
            if listing.is_spot or (key and name != key) or not (key or holding.units):
                continue
            rows.append(words.position_row(listing, holding, account.leverage_of(name)))
        return rows

    def balance_row(self, account_name: str, assets: list[str]) -> dict[str, object]:
        """Balances of an account: of these assets, or of all."""
        exchange = self.desk.exchange
        account = exchange.accounts[account_name]
        wanted = assets or sorted(account.balances)
        now_ns = self.desk.now_ns()
        free = {asset: account.available_e8(asset, exchange.listings, now_ns) for asset in wanted}
        return words.account_row(account, wanted, free, self.desk.clock_ms())

    # ---- REST ----------------------------------------------------------------------------------

    def on_http(self, request: HttpRequest) -> HttpReply | Awaitable[HttpReply] | None:
        """Answer a signed request."""
        endpoint = ENDPOINTS.get((request.method, request.path))
        if endpoint is None:
            return None
        try:
            key = self._authenticate(request)
            limit, period_ms = endpoint.limit
            if self.take((request.path, key.account), limit, period_ms, 1) is not None:
                raise VenueError("50011", "Too Many Requests", 429)
            asked: object = dict(request.query)
            if request.method == "POST":
                try:
                    asked = orjson.loads(request.body)
                except orjson.JSONDecodeError:
                    raise VenueError("50002", "JSON syntax error", 400) from None
            answered = endpoint.call(self, asked, key)
        except VenueError as error:
            return rest_reply(error)
        if not isinstance(answered, Job):
            return rest_reply(answered)
        return self.later(answered, self._job_reply)

    def _job_reply(self, answer: object) -> HttpReply:
        if isinstance(answer, list) and answer and "sCode" in answer[0]:
            return HttpReply(200, orjson.dumps({**self.overall(answer), "data": answer}))
        return rest_reply(answer)

    def _authenticate(self, request: HttpRequest) -> ApiKey:
        """Check the headers as "REST Authentication" says."""
        headers = request.headers
        for name, code in (
            ("key", "50103"),
            ("sign", "50106"),
            ("timestamp", "50107"),
            ("passphrase", "50104"),
        ):
            if not headers.get(f"ok-access-{name}"):
                raise VenueError(code, f'Request header "OK-ACCESS-{name.upper()}" cannot be empty.', 401)
        stamp = headers["ok-access-timestamp"]
        age_s = self._age_s(stamp)
        if age_s is None:
            raise VenueError("50112", "Invalid OK-ACCESS-TIMESTAMP.", 401)
        if abs(age_s) > REST_AGE_S:
            raise VenueError("50102", "Timestamp request expired.", 401)
        key = self.desk.keys.get(headers["ok-access-key"])
        if key is None:
            raise VenueError("50119", "API key doesn't exist", 401)
        if headers["ok-access-passphrase"] != key.passphrase:
            raise VenueError("50105", 'Request header "OK-ACCESS-PASSPHRASE" incorrect.', 401)
        text = f"{stamp}{request.method}{request.target}".encode() + request.body
        if not key.is_base64_signed(text, headers["ok-access-sign"]):
            raise VenueError("50113", "Invalid signature.", 401)
        return key

    def _age_s(self, stamp: str) -> float | None:
        try:
            then = datetime.fromisoformat(stamp)
        except ValueError:
            return None
        return None if then.tzinfo is None else self.desk.clock_ms() / 1000 - then.timestamp()


def rest_reply(answer: object) -> HttpReply:
    """A REST body of rows, or of an error."""
    if isinstance(answer, VenueError):
        body = {"code": answer.code, "msg": answer.text, "data": []}
        return HttpReply(answer.status, orjson.dumps(body))
    return HttpReply(200, orjson.dumps({"code": "0", "msg": "", "data": answer}))
