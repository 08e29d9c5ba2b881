"""Order entry of Binance USD-M: the websocket API, signed REST, listen keys and user data streams.

One table of endpoints serves both ways in. Documents (developers.binance.com, USD-M Futures): "Websocket API
General Info", "General Info" (signatures, limits), "User Data Streams", "Important WebSocket Change Notice".
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

import orjson

from tools.venues.protocol import HttpReply, HttpRequest, Limits, Route, Subscriber
from tools.venues.rate_windows import FixedWindow
from tools.venues.trading import binance_usdm_words as words
from tools.venues.trading.binance_usdm_asks import (
    Answered,
    Ask,
    Endpoint,
    VenueError,
)
from tools.venues.trading.binance_usdm_endpoints import ENDPOINTS, SOCKET_METHODS
from tools.venues.trading.desk import Job, Origin, VenueTrading
from tools.venues.trading.exchange import VenueRules
from tools.venues.trading.keys import ApiKey
from tools.venues.trading.terms import AccountEvent, MoneyEvent, What

LISTEN_KEY_MS = 60 * 60 * 1000
RECV_WINDOW_MS, RECV_WINDOW_MS_MAX, AHEAD_MS_MAX = 5000, 60_000, 1000
ORDERS_10S, ORDERS_1M = 300, 1200
_KEY = re.compile(r"[A-Za-z0-9]{64}\Z")
ORDER, PRIVATE = "order", "private"


class BinanceTrading(VenueTrading):
    """Binance USD-M's order entry as a server.

    Args:
        weight: the request weight of the address, shared with market-data REST.
        factor: how many times the venue's limits hold here; 0 = none do.
    """

    name = "binance_usdm"
    rules = VenueRules()

    def __init__(self, weight: FixedWindow, factor: float = 1.0) -> None:
        self.weight = weight
        self.orders_10s = FixedWindow(round(ORDERS_10S * factor), 10.0)
        self.orders_1m = FixedWindow(round(ORDERS_1M * factor), 60.0)
        self.answered_429 = 0
        #: listen key → (account, when it ends)
        self.listen_keys: dict[str, tuple[str, int]] = {}
        self._listeners: dict[str, list[Subscriber]] = {}

    # ---- connections ---------------------------------------------------------------------------

    def route(self, target: str) -> Route | HttpReply | None:
        """Return where a path of ours leads."""
        url = urlsplit(target)
        parts = [part for part in url.path.split("/") if part]
        if parts[:1] == ["ws-fapi"]:
            return Route(ORDER, False, is_trading=True)
        query = dict(parse_qsl(url.query))
        is_private = parts[:1] == ["private"]
        mode, names = (parts[1:] if is_private else parts)[:1], (parts[1:] if is_private else parts)[1:]
        key = query.get("listenKey") or query.get("streams") or (names[0] if names else "")
        if not is_private and not _KEY.match(key):
            return None
        if mode not in (["ws"], ["stream"]):
            return HttpReply(404, b'{"code":-5000,"msg":"Path is invalid"}')
        if key and key not in self.listen_keys:
            return HttpReply(400, b'{"code":-1125,"msg":"This listenKey does not exist."}')
        return Route(PRIVATE, mode == ["stream"], is_trading=True, note=key)

    def limits_of(self, route: Route, limits: Limits) -> Limits:
        """Requests on the order socket are limited by weight, not by number."""
        return replace(limits, requests_per_s=0) if route.category == ORDER else limits

    def addresses(self, ws: str, rest: str) -> dict[str, str]:
        """Return where orders and private streams are."""
        return {"order": f"{ws}/ws-fapi/v1", "private": f"{ws}/private/ws", "rest": rest}

    def on_join(self, client: Subscriber) -> None:
        """Let a client listen to the key its path names."""
        if client.route.category == PRIVATE and client.route.note:
            self._listen(client, client.route.note)

    def on_leave(self, client: Subscriber) -> None:
        """Let a client listen no more."""
        for listeners in self._listeners.values():
            if client in listeners:
                listeners.remove(client)

    def _listen(self, client: Subscriber, key: str) -> None:
        listeners = self._listeners.setdefault(key, [])
        if client not in listeners:
            listeners.append(client)

    # ---- listen keys ---------------------------------------------------------------------------

    def make_listen_key(self, account: str) -> str:
        """Return the account's listen key, a new one if it has none, good for an hour from now."""
        key = next((key for key, (name, _) in self.listen_keys.items() if name == account), "")
        key = key or secrets.token_hex(32)
        self.listen_keys[key] = (account, self.desk.clock_ms() + LISTEN_KEY_MS)
        return key

    def keep_listen_key(self, account: str) -> str:
        """Let the account's listen key be good for another hour; "" when it has none."""
        return (
            self.make_listen_key(account) if any(n == account for n, _ in self.listen_keys.values()) else ""
        )

    def end_listen_key(self, account: str) -> None:
        """End the account's listen key; its stream falls silent."""
        for key, (name, _) in list(self.listen_keys.items()):
            if name == account:
                del self.listen_keys[key]
                self._listeners.pop(key, None)

    def expire(self, is_told: bool) -> int:
        """End all listen keys as after an hour without a sign of life."""
        keys = list(self.listen_keys)
        for key in keys:
            event = {"e": "listenKeyExpired", "E": self.desk.clock_ms(), "listenKey": key}
            frame = orjson.dumps(event)
            for client in self._listeners.get(key, ()) if is_told else ():
                client.say(self._wrapped(client, key, frame))
            self.end_listen_key(self.listen_keys[key][0])
        return len(keys)

    def on_timer(self, now_ms: int) -> None:
        """End listen keys that nobody kept."""
        if any(end_ms <= now_ms for _, end_ms in self.listen_keys.values()):
            late = {key for key, (_, end_ms) in self.listen_keys.items() if end_ms <= now_ms}
            kept = {key: value for key, value in self.listen_keys.items() if key not in late}
            listeners = {key: value for key, value in self._listeners.items() if key not in late}
            self.listen_keys = {key: value for key, value in self.listen_keys.items() if key in late}
            self.expire(is_told=True)
            self.listen_keys, self._listeners = kept, listeners

    # ---- reports -------------------------------------------------------------------------------

    def on_event(self, event: AccountEvent) -> None:
        """Tell the account's listeners."""
        if event.what is What.SETTINGS:
            return
        for key, (name, _) in self.listen_keys.items():
            listeners = self._listeners.get(key)
            if name != event.account or not listeners:
                continue
            account = self.desk.exchange.accounts[name]
            listing = self.desk.exchange.listings[event.order.terms.key]
            holding = account.holding(listing.key)
            frame = orjson.dumps(words.order_event(event, listing, holding))
            before: list[bytes] = []
            if event.fill is not None:
                before.append(orjson.dumps(words.trade_lite(event, event.fill, listing)))
                before.append(orjson.dumps(words.account_event(event, account, listing, holding)))
            for client in listeners:
                for one in before:
                    self.desk.tell(client, self._wrapped(client, key, one))
                self.desk.tell(client, self._wrapped(client, key, frame), listing.key)

    def on_money(self, event: MoneyEvent) -> None:
        """Tell the account's listeners of a funding payment."""
        account = self.desk.exchange.accounts[event.account]
        frame = orjson.dumps(words.money_event(event, account))
        for key, (name, _) in self.listen_keys.items():
            for client in self._listeners.get(key, ()) if name == event.account else ():
                self.desk.tell(client, self._wrapped(client, key, frame))

    @staticmethod
    def _wrapped(client: Subscriber, key: str, frame: bytes) -> bytes:
        if not client.route.combined:
            return frame
        return b'{"stream":"%s","data":%s}' % (key.encode(), frame)

    # ---- the websocket API ---------------------------------------------------------------------

    def on_text(self, client: Subscriber, text: bytes) -> None:
        """Take a request of the order socket, or of a user data stream."""
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError:
            request = None
        if not isinstance(request, dict):
            client.say(b'{"id":null,"status":400,"error":{"code":-1000,"msg":"Invalid JSON request."}}')
            return
        if client.route.category == PRIVATE:
            self._on_private(client, request)
            return
        number, method = request.get("id"), request.get("method")
        params = request.get("params") or {}
        try:
            if not isinstance(number, str | int | None) or isinstance(number, bool):
                raise VenueError(400, -1135, "Invalid JSON Request: id")
            if not isinstance(method, str) or method not in SOCKET_METHODS or not isinstance(params, dict):
                raise VenueError(
                    400, -1000, f"Unknown method '{method}'." if method else "Invalid JSON request."
                )
            ask = Ask({k: value if type(value) is str else _text(value) for k, value in params.items()})
            endpoint = SOCKET_METHODS[method]
            key = self._socket_key(client, endpoint, ask)
            self._charge(endpoint, ask)
            job = self._job(endpoint, ask, key, client)
        except VenueError as error:
            client.say(orjson.dumps({"id": number, **error.envelope(), "rateLimits": self._used(None)}))
            return
        answer = job.answer

        def frame(results: list[object]) -> bytes:
            body = answer(results)
            if isinstance(body, VenueError):
                return orjson.dumps({"id": number, **body.envelope(), "rateLimits": self._used(endpoint)})
            return orjson.dumps(
                {"id": number, "status": 200, "result": body, "rateLimits": self._used(endpoint)}
            )

        job.answer = frame
        self.desk.submit(self.desk.origin_of(client), job)

    def _on_private(self, client: Subscriber, request: dict[str, object]) -> None:
        method, params, number = request.get("method"), request.get("params"), request.get("id")
        if method == "SUBSCRIBE" and isinstance(params, list):
            for key in params:
                if key in self.listen_keys:
                    self._listen(client, key)
        client.say(orjson.dumps({"result": None, "id": number}))

    def _socket_key(self, client: Subscriber, endpoint: Endpoint, ask: Ask) -> ApiKey | None:
        if not endpoint.needs_key:
            return None
        logged = client.notes.get("key")
        named = ask.values.pop("apiKey", "")
        signature = ask.values.pop("signature", "")
        if not named and isinstance(logged, ApiKey):
            key = logged
        else:
            key = self._find_key(named)
            if endpoint.is_signed:
                rows = [*ask.values.items(), ("apiKey", named)]
                rows.sort()
                payload = "&".join([f"{k}={v}" for k, v in rows])
                if not key.is_hex_signed(payload.encode(), signature):
                    raise VenueError(400, -1022, "Signature for this request is not valid.")
        if endpoint.is_signed:
            self._check_time(ask)
        return key

    # ---- REST ----------------------------------------------------------------------------------

    def on_http(self, request: HttpRequest) -> HttpReply | Awaitable[HttpReply] | None:
        """Answer a signed request, or one with an API key."""
        endpoint = ENDPOINTS.get((request.method, request.path))
        if endpoint is None:
            return None
        query, body = urlsplit(request.target).query, request.body.decode("utf-8", "replace")
        ask = Ask(dict([*request.query, *parse_qsl(body, keep_blank_values=True)]))
        try:
            key = self._find_key(request.headers.get("x-mbx-apikey", ""))
            if endpoint.is_signed:
                signature = ask.values.pop("signature", "")
                if not signature:
                    raise VenueError(
                        400, -1102,
                        "Mandatory parameter 'signature' was not sent, was empty/null, or malformed.",
                    )  # fmt: skip
                if not key.is_hex_signed((_unsigned(query) + _unsigned(body)).encode(), signature):
                    raise VenueError(400, -1022, "Signature for this request is not valid.")
                self._check_time(ask)
            self._charge(endpoint, ask)
            job = self._job(endpoint, ask, key, None)
        except VenueError as error:
            return self._reply(endpoint, error)
        return self._later(endpoint, job)

    def _later(self, endpoint: Endpoint, job: Job) -> HttpReply | Awaitable[HttpReply]:
        future: asyncio.Future[HttpReply] = asyncio.get_running_loop().create_future()

        def deliver(reply: object) -> None:
            if not future.done() and isinstance(reply, HttpReply):
                future.set_result(reply)

        answer = job.answer
        job.answer = lambda results: self._reply(endpoint, answer(results))
        self.desk.submit(Origin(deliver, lambda: deliver(HttpReply(0, b""))), job)
        return future.result() if future.done() else future

    def _reply(self, endpoint: Endpoint, body: object) -> HttpReply:
        headers = [("X-MBX-USED-WEIGHT-1M", str(self.weight.used))]
        if endpoint.orders:
            headers.append(("X-MBX-ORDER-COUNT-10S", str(self.orders_10s.used)))
            headers.append(("X-MBX-ORDER-COUNT-1M", str(self.orders_1m.used)))
        if isinstance(body, VenueError):
            if body.retry_ms:
                headers.append(("Retry-After", str(-(-body.retry_ms // 1000))))
            return HttpReply(body.status, orjson.dumps({"code": body.code, "msg": body.text}), tuple(headers))
        return HttpReply(200, orjson.dumps(body), tuple(headers))

    # ---- what both share -----------------------------------------------------------------------

    def _find_key(self, api_key: str) -> ApiKey:
        key = self.desk.keys.get(api_key)
        if key is None:
            if len(api_key) < 8 or not api_key.isalnum():
                raise VenueError(401, -2014, "API-key format invalid.")
            raise VenueError(401, -2015, "Invalid API-key, IP, or permissions for action.")
        return key

    def _check_time(self, ask: Ask) -> None:
        stamp, window = ask.integer("timestamp"), ask.integer("recvWindow", RECV_WINDOW_MS)
        now_ms = self.desk.clock_ms()
        if not 0 < window <= RECV_WINDOW_MS_MAX:
            raise VenueError(400, -1131, "recvWindow must be less than 60000.")
        if stamp > now_ms + AHEAD_MS_MAX:
            raise VenueError(400, -1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        if now_ms - stamp > window:
            raise VenueError(400, -1021, "Timestamp for this request is outside of the recvWindow.")

    def _charge(self, endpoint: Endpoint, ask: Ask) -> None:
        now_ms = self.desk.clock_ms()
        weight = endpoint.weigh(ask)
        if not self.weight.take(weight, now_ms / 1000) and weight:
            self.answered_429 += 1
            wait_ms = round(self.weight.left_s(now_ms / 1000) * 1000)
            raise VenueError(
                429, -1003,
                f"Too many requests; current limit of IP is {self.weight.limit} requests per minute. "
                "Please use the websocket for live updates to avoid polling the API.",
                wait_ms, now_ms,
            )  # fmt: skip
        orders = endpoint.count(ask)
        for window, name in ((self.orders_10s, "TEN_SECONDS"), (self.orders_1m, "MINUTE")):
            if not window.take(orders, now_ms / 1000) and orders:
                self.answered_429 += 1
                wait_ms = round(window.left_s(now_ms / 1000) * 1000)
                text = f"Too many new orders; current limit is {window.limit} orders per {name}."
                raise VenueError(429, -1015, text, wait_ms, now_ms)

    def _job(self, endpoint: Endpoint, ask: Ask, key: ApiKey | None, client: Subscriber | None) -> Job:
        answered: Answered = endpoint.call(self, ask, key)
        if endpoint.logs_on and client is not None:
            client.notes["key"] = key
        return answered if isinstance(answered, Job) else Job("other", "", [], lambda _results: answered)

    def _used(self, endpoint: Endpoint | None) -> list[dict[str, object]]:
        is_free = endpoint is not None and endpoint.orders > 0
        rows: list[dict[str, object]] = [
            {
                "rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1,
                "limit": -1 if is_free else self.weight.limit, "count": -1 if is_free else self.weight.used,
            }
        ]  # fmt: skip
        if is_free:
            rows += [
                {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10,
                 "limit": self.orders_10s.limit, "count": self.orders_10s.used},
                {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1,
                 "limit": self.orders_1m.limit, "count": self.orders_1m.used},
            ]  # fmt: skip
        return rows

    def statistics(self) -> dict[str, object]:
        """Return what was used of the limits, and how often they were met."""
        return {
            "weight_1m_max": self.weight.used_max,
            "orders_10s_max": self.orders_10s.used_max,
            "orders_1m_max": self.orders_1m.used_max,
            "answered_429": self.answered_429,
            "listen_keys": len(self.listen_keys),
        }


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _unsigned(text: str) -> str:
    return "&".join(part for part in text.split("&") if part and not part.startswith("signature="))
