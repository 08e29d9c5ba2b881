"""Order entry of Bybit v5: the trade socket, the private stream and signed REST of one unified account.

Documents (Bybit v5): "Websocket Trade Guideline", "Connect", "Integration Guidance" (signatures), "Rate Limit
Rules" (per second: linear 10, spot 20 of each order operation, batches apart and by orders), "Set Disconnect
Cancel All", "Error Codes".
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from urllib.parse import urlsplit

import orjson

from tools.venues.bybit import conn_id
from tools.venues.protocol import HttpReply, HttpRequest, Limits, Route, Subscriber
from tools.venues.trading import bybit_words as words
from tools.venues.trading.bybit_asks import OPS, VenueError, category_of, order_job
from tools.venues.trading.bybit_endpoints import ENDPOINTS
from tools.venues.trading.desk import Job
from tools.venues.trading.exchange import VenueRules
from tools.venues.trading.keys import ApiKey
from tools.venues.trading.sessions import RollingLimit, SessionTrading
from tools.venues.trading.terms import AccountEvent, Listing, MoneyEvent, What

PATHS = {"/v5/trade": "trade", "/v5/private": "private"}
TOPICS = frozenset(("order", "execution", "position", "wallet", "dcp.future", "dcp.spot"))
DCP_TOPICS = {"dcp.future": "linear", "dcp.spot": "spot"}
WINDOW_MS, WINDOW_MS_MAX, AHEAD_MS = 5_000, 60_000, 1_000
SECOND_MS = 1_000
#: Orders a second: category → command → limit; batches have the same apart.
ORDER_LIMITS = {
    "linear": {"new": 10, "amend": 10, "cancel": 10},
    "spot": {"new": 20, "amend": 10, "cancel": 20},
}
DCP_S_DEFAULT = 10
REQUEST_IDS_KEPT = 100_000


class BybitTrading(SessionTrading):
    """Bybit's order entry as a server.

    Args:
        factor: how many times the venue's limits hold here; 0 = none do.
    """

    name = "bybit"
    rules = VenueRules(
        refuses_post_only=False,
        refuses_fok=False,
        ids_are_unique_for_ever=True,
        amend_cross_cancels=False,
        open_orders_max=500,
    )

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__(factor)
        #: account → seconds after which a lost connection cancels, by category
        self.dcp_s: dict[str, dict[str, int]] = {}
        self._request_ids: dict[Subscriber, dict[str, None]] = {}

    # ---- connections ---------------------------------------------------------------------------

    def route(self, target: str) -> Route | HttpReply | None:
        """Return where the trade and private paths lead."""
        category = PATHS.get(urlsplit(target).path.rstrip("/"))
        return None if category is None else Route(category, False, is_trading=True)

    def limits_of(self, route: Route, limits: Limits) -> Limits:
        """Return the limits of a connection: batches are longer than subscriptions."""
        return replace(limits, request_bytes=256 * 1024) if route.category == "trade" else limits

    def addresses(self, ws: str, rest: str) -> dict[str, str]:
        """Return where orders and the private stream are."""
        return {"order": f"{ws}/v5/trade", "private": f"{ws}/v5/private", "rest": rest}

    def say_goodbye(self, client: Subscriber) -> None:
        """End a connection whose login has ended."""
        client.close(1008, "login expired")

    def on_leave(self, client: Subscriber) -> None:
        """Forget a connection; a listener to dcp topics that was the last one starts the countdown."""
        session = self.sessions.get(client)
        super().on_leave(client)
        self._request_ids.pop(client, None)
        if session is None:
            return
        account = session.key.account
        for topic in sorted(session.channels & DCP_TOPICS.keys()):
            if not list(self.listeners(account, topic)):
                self._count_down(account, DCP_TOPICS[topic])

    def _count_down(self, account: str, category: str) -> None:
        seconds = self.dcp_s.get(account, {}).get(category, DCP_S_DEFAULT)
        now_ns = self.desk.now_ns()
        for key in self._keys(category):
            self.desk.exchange.set_dead_man(account, key, seconds * 1_000_000_000, now_ns)
        self.desk.rearm()

    def _stop_count_down(self, account: str, category: str) -> None:
        for key in self._keys(category):
            self.desk.exchange.set_dead_man(account, key, 0, self.desk.now_ns())

    def _keys(self, category: str) -> list[str]:
        return [key for key, one in self.desk.exchange.listings.items() if one.category == category]

    # ---- websockets ----------------------------------------------------------------------------

    def on_text(self, client: Subscriber, text: bytes) -> None:
        """Take a login, a subscription, a ping or an order operation."""
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError:
            request = None
        if not isinstance(request, dict):
            self._say(client, {}, 10001, "Params Error", "")
            return
        op = request.get("op")
        if op == "ping":
            self._pong(client, request)
        elif op == "auth":
            self._login(client, request)
        elif client.route.category == "trade":
            self._operate(client, request, str(op))
        elif op in ("subscribe", "unsubscribe"):
            self._subscribe(client, request, op)
        else:
            self._say(client, request, 10001, "error:request op not found", str(op))

    def _say(self, client: Subscriber, request: dict[str, object], code: int, text: str, op: str) -> None:
        """Answer a login or subscription: the trade socket with retCode, the private stream with success."""
        if client.route.category == "trade":
            answer: dict[str, object] = {"retCode": code, "retMsg": text or "OK", "op": op}
            answer["connId"] = conn_id(client)
            if "reqId" in request:
                answer["reqId"] = request["reqId"]
        else:
            answer = {"success": not code, "ret_msg": text, "op": op, "conn_id": conn_id(client)}
            if "req_id" in request:
                answer["req_id"] = request["req_id"]
        client.say(orjson.dumps(answer))

    def _pong(self, client: Subscriber, request: dict[str, object]) -> None:
        now = str(self.desk.clock_ms())
        if client.route.category == "trade":
            answer: dict[str, object] = {"retCode": 0, "retMsg": "OK", "op": "pong", "data": [now]}
            answer["connId"] = conn_id(client)
        else:
            answer = {
                "req_id": request.get("req_id", ""),
                "op": "pong",
                "args": [now],
                "conn_id": conn_id(client),
            }
        client.say(orjson.dumps(answer))

    def _login(self, client: Subscriber, request: dict[str, object]) -> None:
        found = self._login_key(request.get("args"))
        if isinstance(found, tuple):
            self._say(client, request, found[0], found[1], "auth")
        elif client in self.sessions:
            self._say(client, request, 20001, "Repeat auth", "auth")
        else:
            self.log_in(client, found)
            self._say(client, request, 0, "", "auth")

    def _login_key(self, args: object) -> ApiKey | tuple[int, str]:
        if not isinstance(args, list) or len(args) != 3:
            return 10001, "Params Error"
        key = self.desk.keys.get(str(args[0]))
        expires = args[1] if isinstance(args[1], int) else int(args[1]) if str(args[1]).isdigit() else 0
        if key is None:
            return 10003, "API key is invalid."
        if expires <= self.desk.clock_ms():
            return 10004, "request expired"
        if not key.is_hex_signed(f"GET/realtime{args[1]}".encode(), str(args[2])):
            return 10004, "error sign"
        return key

    def _subscribe(self, client: Subscriber, request: dict[str, object], op: str) -> None:
        session = self.sessions.get(client)
        args = request.get("args")
        if session is None:
            self._say(client, request, 10007, "Request not authorized", op)
            return
        if not isinstance(args, list) or not args or not all(arg in TOPICS for arg in args):
            self._say(client, request, 10001, "error:handler not found", op)
            return
        for topic in args:
            if op == "subscribe":
                session.channels.add(topic)
            else:
                session.channels.discard(topic)
            if op == "subscribe" and topic in DCP_TOPICS:
                self._stop_count_down(session.key.account, DCP_TOPICS[topic])
        self._say(client, request, 0, "", op)

    # ---- orders --------------------------------------------------------------------------------

    def _operate(self, client: Subscriber, request: dict[str, object], op: str) -> None:
        session = self.sessions.get(client)
        args = request.get("args")
        limit: RollingLimit | None = None
        try:
            if session is None:
                raise VenueError(10007, "User not logged in.")
            if op not in OPS or not isinstance(args, list) or len(args) != 1 or not isinstance(args[0], dict):
                raise VenueError(10404 if op not in OPS else 10001, "Unknown request")
            self._check_request_id(client, request.get("reqId"))
            self._check_time(request.get("header"))
            limit = self.charge(session.key, op, args[0])
            job = order_job(self, session.key, op, args[0])
        except VenueError as error:
            client.say(orjson.dumps(self._frame(client, request, op, limit, error)))
            return
        answer = job.answer
        job.answer = lambda results: orjson.dumps(self._frame(client, request, op, limit, answer(results)))
        self.desk.submit(self.desk.origin_of(client), job)

    def _check_request_id(self, client: Subscriber, value: object) -> None:
        if value is None:
            return
        known = self._request_ids.setdefault(client, {})
        text = str(value)
        if text in known:
            raise VenueError(20006, "Duplicate reqId")
        if len(known) >= REQUEST_IDS_KEPT:
            del known[next(iter(known))]
        known[text] = None

    def _check_time(self, header: object) -> None:
        words_of = header if isinstance(header, dict) else {}
        self.check_window(
            str(words_of.get("X-BAPI-TIMESTAMP", "")), str(words_of.get("X-BAPI-RECV-WINDOW", WINDOW_MS))
        )

    def check_window(self, stamp: str, window: str) -> None:
        """Refuse a request that is too old, or of the future."""
        if not (stamp.isascii() and stamp.isdigit() and window.isascii() and window.isdigit()):
            raise VenueError(10001, "params error: X-BAPI-TIMESTAMP or X-BAPI-RECV-WINDOW invalid")
        now_ms = self.desk.clock_ms()
        if not now_ms - min(int(window), WINDOW_MS_MAX) <= int(stamp) < now_ms + AHEAD_MS:
            text = "invalid request, please check your server timestamp or recv_window param."
            text = f"{text} req_timestamp[{stamp}],server_timestamp[{now_ms}],recv_window[{window}]"
            raise VenueError(10002, text)

    def _frame(
        self,
        client: Subscriber,
        request: dict[str, object],
        op: str,
        limit: RollingLimit | None,
        answer: object,
    ) -> dict[str, object]:
        frame: dict[str, object] = {"reqId": request["reqId"]} if "reqId" in request else {}
        code, text, data, codes = unfolded(answer)
        frame.update(retCode=code, retMsg=text, op=op, data=data)
        frame["retExtInfo"] = {"list": codes} if codes else {}
        return {**frame, "header": self.limit_words(limit), "connId": conn_id(client)}

    def limit_words(self, limit: RollingLimit | None) -> dict[str, str]:
        """What an answer says of the limit it was counted by."""
        now_ms = self.desk.clock_ms()
        header = {"Traceid": "0", "Timenow": str(now_ms)}
        if limit is None or not limit.limit:
            return header
        left = max(limit.limit - limit.used, 0)
        reset = now_ms + (limit.left_ms(now_ms) if not left else 0)
        return {
            "X-Bapi-Limit": str(limit.limit),
            "X-Bapi-Limit-Status": str(left),
            "X-Bapi-Limit-Reset-Timestamp": str(reset),
            **header,
        }

    def charge(self, key: ApiKey, op: str, arg: dict[str, object]) -> RollingLimit | None:
        """Count an operation's orders; the limit that counts them."""
        category = category_of(arg.get("category"))
        command, is_batch = OPS[op]
        rows = arg.get("request")
        units = len(rows) if is_batch and isinstance(rows, list) else 1
        name = (op, key.account, category)
        if self.take(name, ORDER_LIMITS[category][command], SECOND_MS, units) is not None:
            raise VenueError(10006, "Too many visits. Exceeded the API Rate Limit.")
        return self.limit(name)

    # ---- private stream ------------------------------------------------------------------------

    def on_event(self, event: AccountEvent) -> None:
        """Tell the account's listeners: the order, and after a fill execution, position and wallet."""
        if event.what is What.SETTINGS:
            return
        listing = self.desk.exchange.listings[event.order.terms.key]
        self._push(event.account, "order", [words.order_push(event, listing)], listing.key)
        if event.fill is None:
            return
        row = words.execution_row(event.fill, listing, event.order)
        self._push(event.account, "execution", [row], listing.key)
        if not listing.is_spot:
            rows = self.position_rows(event.account, listing.category, listing.key, "entryPrice")
            self._push(event.account, "position", rows, None)
        assets = [listing.item.base, listing.item.quote] if listing.is_spot else [listing.settle]
        wanted = list(dict.fromkeys([*assets, event.fill.fee_asset]))
        self._push(event.account, "wallet", [self.wallet_row(event.account, wanted)], None)

    def on_money(self, event: MoneyEvent) -> None:
        """Tell the account's listeners of a funding payment: an execution that is no trade, the wallet."""
        listing = self.desk.exchange.listings[event.key]
        row = words.funding_row(event, listing, self.desk.exchange.next_order_id)
        self._push(event.account, "execution", [row], None)
        self._push(event.account, "wallet", [self.wallet_row(event.account, [event.asset])], None)

    def _push(self, account: str, topic: str, rows: list[dict[str, object]], key: str | None) -> None:
        clients = list(self.listeners(account, topic))
        if not clients:
            return
        now_ms = self.desk.clock_ms()
        frame = orjson.dumps({"topic": topic, "id": f"{now_ms}", "creationTime": now_ms, "data": rows})
        for client in clients:
            self.desk.tell(client, frame, key)

    def position_rows(
        self, account_name: str, category: str, key: str = "", average_name: str = "avgPrice"
    ) -> list[dict[str, object]]:
        """Positions of an account in a category (at a listing, where a flat one is told too)."""
        account, listings = self.desk.exchange.accounts[account_name], self.desk.exchange.listings
        rows = []
        for name, holding in account.holdings.items():
            listing: Listing = listings[name]
            if listing.category != category or (key and name != key) or not (key or holding.units):
                continue
            rows.append(words.position_row(listing, holding, account.leverage_of(name), average_name))
        return rows

    def wallet_row(self, account_name: str, assets: list[str]) -> dict[str, object]:
        """The wallet of an account: of these coins, or of all."""
        exchange = self.desk.exchange
        account = exchange.accounts[account_name]
        wanted = assets or sorted(account.balances)
        now_ns = self.desk.now_ns()
        free = {asset: account.available_e8(asset, exchange.listings, now_ns) for asset in wanted}
        return words.wallet_row(account, wanted, free)

    # ---- REST ----------------------------------------------------------------------------------

    def on_http(self, request: HttpRequest) -> HttpReply | Awaitable[HttpReply] | None:
        """Answer a signed request."""
        endpoint = ENDPOINTS.get((request.method, request.path))
        if endpoint is None:
            return None
        limit: RollingLimit | None = None
        try:
            key = self._authenticate(request)
            name = (request.path, key.account)
            if self.take(name, endpoint.limit, SECOND_MS, 1) is not None:
                raise VenueError(10006, "Too many visits. Exceeded the API Rate Limit.")
            limit = self.limit(name)
            asked: dict[str, object] = dict(request.query)
            if request.method == "POST":
                try:
                    asked = orjson.loads(request.body)
                except orjson.JSONDecodeError:
                    raise VenueError(10001, "Request parameter error.") from None
                if not isinstance(asked, dict):
                    raise VenueError(10001, "Request parameter error.")
            answered = endpoint.call(self, asked, key)
        except VenueError as error:
            return self._reply(error, limit)
        if not isinstance(answered, Job):
            return self._reply(answered, limit)
        return self.later(answered, lambda answer: self._reply(answer, limit))

    def _reply(self, answer: object, limit: RollingLimit | None) -> HttpReply:
        code, text, data, codes = unfolded(answer)
        body = {"retCode": code, "retMsg": text, "result": data}
        body["retExtInfo"] = {"list": codes} if codes else {}
        body["time"] = self.desk.clock_ms()
        status = answer.status if isinstance(answer, VenueError) else 200
        headers = tuple((name, value) for name, value in self.limit_words(limit).items() if name[0] == "X")
        return HttpReply(status, orjson.dumps(body), headers)

    def _authenticate(self, request: HttpRequest) -> ApiKey:
        headers = request.headers
        key = self.desk.keys.get(headers.get("x-bapi-api-key", ""))
        if key is None:
            raise VenueError(10003, "API key is invalid.")
        stamp, window = headers.get("x-bapi-timestamp", ""), headers.get("x-bapi-recv-window", str(WINDOW_MS))
        self.check_window(stamp, window)
        payload = (
            urlsplit(request.target).query
            if request.method == "GET"
            else request.body.decode("utf-8", "replace")
        )
        text = f"{stamp}{key.api_key}{window}{payload}"
        if not key.is_hex_signed(text.encode(), headers.get("x-bapi-sign", "")):
            raise VenueError(10004, f"error sign! origin_string[{text}]")
        return key


def unfolded(answer: object) -> tuple[int, str, object, list[object]]:
    """An answer as code, message, data, and codes of single orders."""
    if isinstance(answer, VenueError):
        return answer.code, answer.text, {}, []
    if isinstance(answer, tuple):
        return 0, "OK", answer[0], answer[1]
    return 0, "OK", answer, []
