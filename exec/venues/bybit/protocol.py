"""Bybit v5 as bytes: orders, questions and sessions out, its words in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar
from urllib.parse import parse_qs, quote, urlsplit

from exec.errors import DecodeError, OrderError
from exec.keys import Keys
from exec.lifecycle import Event
from exec.order import Order
from exec.order_protocol import (
    Action,
    Answer,
    Channel,
    ControlWord,
    Directory,
    Lane,
    OpenOrderWord,
    OrderProtocol,
    Request,
    RequestKind,
    Sign,
    Word,
)
from exec.session import VenueReport
from exec.signing import realtime_text
from exec.venues import reading
from exec.venues.addresses import with_path
from exec.venues.bybit import facts
from exec.venues.bybit.errors import NOT_FOUND, http_meaning, meaning
from exec.venues.bybit.requests import BybitRequests
from exec.venues.bybit.words import BybitWords, balances, used
from exec.venues.meanings import refusal
from exec.venues.order_window import ORDER_WINDOW_MS, life_s
from exec.venues.remembering import keep
from shm.enums import InstrumentKind


class Bybit(OrderProtocol):
    """Order entry at Bybit: one unified account, linear contracts in one-way mode, spot without borrowing.

    Args:
        keys: API key and secret. tag: of the instance. directory: the instruments. order_url,
        private_url: base addresses ("" = the real venue); a path behind the host is kept. symbols: what
        the run trades; nothing here is asked per symbol. settle_coins: settlement coins of linear
        contracts, which its lists are asked by. with_dcp: subscribe the topics that the venue's cancel
        on disconnect works for. An account must have been
            granted it. order_window_ms: how late a new order or an amendment may reach the venue.

    Raises:
        OrderError: no settlement coin, or a window that makes no sense.
        KeysError: keys that can not sign.
    """

    name: ClassVar[str] = facts.NAME
    venue_ids: ClassVar[tuple[int, ...]] = (facts.LINEAR.venue_id, facts.SPOT.venue_id)
    max_new_batch: ClassVar[int] = facts.SPOT.batch_max
    max_cancel_batch: ClassVar[int] = facts.SPOT.batch_max
    max_replace_batch: ClassVar[int] = facts.SPOT.batch_max
    ping_s: ClassVar[float] = facts.PING_S
    rest_url: ClassVar[str] = facts.REST_URL
    dead_man_option: ClassVar[str] = "with_dcp"
    dead_man_max_s: ClassVar[float] = facts.DCP_MAX_S

    def __init__(
        self,
        keys: Keys,
        tag: str,
        directory: Directory,
        *,
        order_url: str = "",
        private_url: str = "",
        symbols: Sequence[str] = (),
        settle_coins: Sequence[str] = ("USDT", "USDC"),
        with_dcp: bool = True,
        order_window_ms: int = ORDER_WINDOW_MS,
    ) -> None:
        del symbols
        self.request_life_s = life_s(order_window_ms)
        if not settle_coins:
            raise OrderError("settle_coins is empty: linear contracts are asked by them")
        self._requests = BybitRequests(keys, tag, directory, order_window_ms)
        self._words = BybitWords(tag, directory)
        self.foreign_fees = self._words.foreign_fees
        self._directory = directory
        self._order_url = with_path(order_url or facts.WEBSOCKET_URL, facts.TRADE_PATH)
        self._private_url = with_path(private_url or facts.WEBSOCKET_URL, facts.PRIVATE_PATH)
        self._settle_coins = tuple(settle_coins)
        self._with_dcp = with_dcp
        self._absent: dict[int, str] = {}
        self._pages: dict[int, str] = {}

    # ---- connections -------------------------------------------------------------------------------------

    def order_url(self) -> str:
        """Address of the trade socket."""
        return self._order_url

    def private_url(self) -> str:
        """Address of the private stream."""
        return self._private_url

    def opening_requests(self, first_request_id: int, utc_ns: int) -> Sequence[Request]:
        """None."""
        del first_request_id, utc_ns
        return ()

    def logins(self, channel: Channel, request_id: int, utc_ns: int) -> Sequence[bytes]:
        """The login of a connection, good for ten seconds."""
        key = "reqId" if channel == Channel.ORDER_SOCKET else "req_id"
        expires = utc_ns // 1_000_000 + facts.LOGIN_LIFE_MS
        signer = self._requests.signer
        args = f'["{signer.api_key}",{expires},"{signer.hex(realtime_text(expires).encode())}"]'
        return (f'{{"{key}":"{request_id}","op":"auth","args":{args}}}'.encode(),)

    def subscribes(self, request_id: int, utc_ns: int) -> Sequence[bytes]:
        """The topics in one frame, and those of the cancel on disconnect in another, which may be refused."""
        del utc_ns
        frames = [_subscribe(str(request_id), facts.TOPICS)]
        if self._with_dcp:
            frames.append(_subscribe(f"{request_id + 1}{facts.DCP_MARK}", facts.DCP_TOPICS))
        return frames

    def ping(self, utc_ns: int) -> bytes:
        """The application ping."""
        del utc_ns
        return facts.PING

    def keep_alive(self, request_id: int, utc_ns: int) -> Request | None:
        """None: a login lasts as long as its connection."""
        del request_id, utc_ns
        return None

    # ---- orders ------------------------------------------------------------------------------------------

    def new(self, orders: Sequence[Order], request_id: int, utc_ns: int) -> Request:
        """Place orders of one category."""
        return self._requests.op(RequestKind.NEW, Lane.NEW, orders, request_id, utc_ns)

    def cancel(
        self, orders: Sequence[Order], request_id: int, utc_ns: int, lane: Lane = Lane.CANCEL
    ) -> Request:
        """Cancel orders of one category by our id."""
        return self._requests.op(RequestKind.CANCEL, lane, orders, request_id, utc_ns)

    def replace(self, orders: Sequence[Order], request_id: int, utc_ns: int) -> Request:
        """Amend orders of one category; what is asked for is remembered, for the venue names no result."""
        request = self._requests.op(RequestKind.REPLACE, Lane.NEW, orders, request_id, utc_ns)
        for order in orders:
            self._words.amending(order.root_client_order_id, order.new_price_units, order.new_units)
        return request

    def cancel_foreign(
        self, orders: Sequence[OpenOrderWord], request_id: int, utc_ns: int
    ) -> Sequence[Request]:
        """Cancel by the venue's id; `symbol` of the words names the category before a colon."""
        requests: list[Request] = []
        for category in facts.CATEGORIES.values():
            prefix = f"{category.name}:"
            some = [word for word in orders if word.symbol.startswith(prefix)]
            for i in range(0, len(some), category.batch_max):
                words = some[i : i + category.batch_max]
                items = [
                    f'"symbol":"{word.symbol.removeprefix(prefix)}","orderId":"{word.venue_order_id}"'
                    for word in words
                ]
                ids = tuple(word.client_order_id for word in words)
                number = request_id + len(requests)
                requests.append(
                    self._requests.op_of_others(RequestKind.CANCEL, category, items, number, utc_ns, ids)
                )
        return requests

    def batch_key(self, kind: RequestKind, order: Order) -> int:
        """Orders of one category may share a request."""
        del kind
        return self._requests.category([order]).venue_id

    def has_position(self, instrument_id: int) -> bool:
        """Whether it is a contract: what is bought outright is a balance."""
        return bool(self._directory.row(instrument_id).kind != InstrumentKind.SPOT)

    def mass_cancel(self, instrument_ids: Sequence[int], request_id: int, utc_ns: int) -> Sequence[Request]:
        """Cancel all orders of instruments, or (none given) of every settlement coin and of spot."""
        bodies: list[tuple[str, str]] = []
        for instrument_id in instrument_ids:
            row = self._directory.row(instrument_id)
            category = facts.CATEGORY_OF[row.venue_id].name
            bodies.append((category, f'{{"category":"{category}","symbol":"{row.symbol}"}}'))
        if not instrument_ids:
            linear, spot = facts.LINEAR.name, facts.SPOT.name
            bodies = [
                (linear, f'{{"category":"{linear}","settleCoin":"{coin}"}}') for coin in self._settle_coins
            ]
            bodies.append((spot, f'{{"category":"{spot}"}}'))
        kind, path = RequestKind.MASS_CANCEL, facts.CANCEL_ALL_PATH
        return [
            self._requests.post(kind, request_id + i, path, body, utc_ns, category)
            for i, (category, body) in enumerate(bodies)
        ]

    # ---- questions ---------------------------------------------------------------------------------------

    def query(self, order: Order, request_id: int, utc_ns: int) -> Sequence[Request]:
        """Ask the state of one order among the recent ones.

        One that was not there is asked for in the history beside it the next time: only what is in neither
        was never there.
        """
        requests = [self._ask(RequestKind.QUERY, order, facts.REALTIME_PATH, request_id, utc_ns)]
        if order.root_client_order_id in self._absent:
            number = request_id + 1
            requests.append(self._ask(RequestKind.QUERY, order, facts.HISTORY_PATH, number, utc_ns))
        return requests

    def fills_of(self, order: Order, request_id: int, utc_ns: int) -> Sequence[Request]:
        """Ask the executions of one order; behind a full page the next call asks for the next one."""
        page = f"&limit={facts.EXECUTIONS_PAGE}"
        cursor = self._pages.get(order.root_client_order_id)
        if cursor:
            page += f"&cursor={quote(cursor, safe='%')}"
        return (self._ask(RequestKind.FILLS, order, facts.EXECUTIONS_PATH, request_id, utc_ns, page),)

    def snapshot(
        self, kind: RequestKind, request_id: int, utc_ns: int, *, since_utc_ns: int = 0, cursor: str = ""
    ) -> Sequence[Request]:
        """Ask open orders, positions, fills or balances: one request per list the venue keeps.

        Raises:
            OrderError: another kind.
        """
        if kind == RequestKind.BALANCES:
            query = "accountType=UNIFIED"
            return (self._requests.get(kind, request_id, facts.WALLET_PATH, query, utc_ns),)
        linear = [f"category={facts.LINEAR.name}&settleCoin={coin}" for coin in self._settle_coins]
        spot = f"category={facts.SPOT.name}"
        if kind == RequestKind.OPEN_ORDERS:
            path, queries = facts.REALTIME_PATH, [*linear, spot]
            page = f"&limit={facts.ORDERS_PAGE}"
        elif kind == RequestKind.POSITIONS:
            path, queries, page = facts.POSITIONS_PATH, linear, f"&limit={facts.POSITIONS_PAGE}"
        elif kind == RequestKind.FILLS:
            path, queries = facts.EXECUTIONS_PATH, [f"category={name}" for name in facts.CATEGORIES]
            begin = max(since_utc_ns, utc_ns - facts.FILLS_SPAN_NS) if since_utc_ns else 0
            page = f"&limit={facts.EXECUTIONS_PAGE}"
            page += f"&startTime={begin // 1_000_000}" if begin else ""
        else:
            raise OrderError(f"a snapshot of {kind!r} is nothing the venue has")
        if cursor:
            # Made by `_end_or_more`: the whole query of the page that comes next.
            return (self._requests.get(kind, request_id, path, cursor, utc_ns),)
        return [
            self._requests.get(kind, request_id + i, path, query + page, utc_ns)
            for i, query in enumerate(queries)
        ]

    def dead_man(self, timeout_s: float, request_id: int, utc_ns: int) -> Sequence[Request]:
        """Set the window of the cancel on disconnect: 3 to 300 s; there is no off, so 0 asks nothing."""
        if timeout_s <= 0 or not self._with_dcp:
            return ()
        seconds = min(max(round(timeout_s), facts.DCP_MIN_S), facts.DCP_MAX_S)
        kind, path = RequestKind.DEAD_MAN, facts.DCP_PATH
        return [
            self._requests.post(
                kind, request_id + i, path, f'{{"product":"{product}","timeWindow":{seconds}}}', utc_ns
            )
            for i, product in enumerate(facts.DCP_PRODUCTS)
        ]

    def server_time(self, request_id: int) -> Request:
        """Ask the venue's clock."""
        return self._requests.get(RequestKind.SERVER_TIME, request_id, facts.TIME_PATH, "")

    # ---- listening ---------------------------------------------------------------------------------------

    def decode(self, frame: bytes, channel: Channel) -> list[Word]:
        """The words of a frame."""
        return self._words.frame(frame, channel)

    def decode_rest(
        self, request: Request, status: int, headers: Mapping[str, str], body: bytes
    ) -> list[Word]:
        """The words of a REST answer."""
        if not status:
            return [_unread(request, 0, "no answer")]
        try:
            message = reading.load(body)
        except DecodeError:
            if status == 200:
                raise
            return [_unread(request, status, f"HTTP {status}")]
        words: list[Word] = []
        if request.kind == RequestKind.MASS_CANCEL:
            lower = {name.lower(): value for name, value in headers.items()}
            found = used(lower, request.rates[0][0], request.request_id)
            if found is not None:
                words.append(found)
        code = reading.code_of(message, "retCode")
        if code != "0":
            text = reading.text(message, "retMsg", "")
            if request.kind == RequestKind.QUERY and code in NOT_FOUND:
                return [self._not_there(request)]
            answer = refusal(meaning(code, request.kind), request.request_id, code, text)
            if answer.action == Action.WAIT and status == 403:
                answer.wait_ns = facts.FORBIDDEN_WAIT_NS
            return [*words, answer]
        return [*words, *self._answered(request, message)]

    def _answered(self, request: Request, message: reading.Row) -> list[Word]:
        kind, request_id = request.kind, request.request_id
        if kind in (RequestKind.DEAD_MAN, RequestKind.MASS_CANCEL):
            words: list[Word] = [Answer(request_id, True)]
            return [*words, ControlWord(Sign.DEAD_MAN, request_id)] if kind == RequestKind.DEAD_MAN else words
        result = reading.child(message, "result")
        if kind == RequestKind.SERVER_TIME:
            utc_ns = _nanoseconds(result)
            return [ControlWord(Sign.SERVER_TIME, request_id, venue_utc_ns=utc_ns), Answer(request_id, True)]
        data = reading.rows(result, "list")
        category = _category(request)
        if kind == RequestKind.QUERY:
            return [self._queried(request, data, category)]
        if kind == RequestKind.FILLS:
            return self._fills(request, result, data, category)
        if kind == RequestKind.OPEN_ORDERS:
            orders: list[Word] = [self._words.open_order(row, category) for row in data]
            return [*orders, _end_or_more(request, result, data, facts.ORDERS_PAGE)]
        if kind == RequestKind.POSITIONS:
            held = self._words.positions(data, category, "avgPrice")
            return [*held, _end_or_more(request, result, data, facts.POSITIONS_PAGE)]
        if kind == RequestKind.BALANCES:
            return [*balances(data), ControlWord(Sign.SNAPSHOT_END, request_id)]
        return []

    def _fills(
        self, request: Request, result: reading.Row, data: list[reading.Row], category: str
    ) -> list[Word]:
        """Executions, oldest first."""
        wanted = request.order_ids
        words = [word for row in reversed(data) for word in self._words.execution(row, category)]
        reports = [
            word
            for word in words
            if isinstance(word, VenueReport) and (not wanted or word.client_order_id in wanted)
        ]
        end = _end_or_more(request, result, data, facts.EXECUTIONS_PAGE)
        for order_id in wanted:
            self._pages.pop(order_id, None)
            if end.sign == Sign.MORE:
                keep(self._pages, order_id, reading.text(result, "nextPageCursor"))
        if wanted:
            end = ControlWord(Sign.SNAPSHOT_END, request.request_id)
        return [Answer(request.request_id, True, reports=reports), end]

    def _queried(self, request: Request, data: list[reading.Row], category: str) -> Word:
        if not data:
            return self._not_there(request)
        if len(data) != 1:
            raise DecodeError(f"list holds {len(data)} orders under one orderLinkId")
        answer = self._words.queried(data[0], category, request.request_id)
        if answer.order_id not in request.order_ids:
            raise DecodeError(f"an order that we did not ask for: {data[0].get('orderLinkId')!r}")
        self._absent.pop(answer.order_id, None)
        return answer

    def _not_there(self, request: Request) -> Word:
        """What is not among the recent orders may be in the history; what is not there either never was."""
        order_id = request.order_ids[0]
        if request.path.startswith(facts.REALTIME_PATH):
            keep(self._absent, order_id, "")
            return Answer(request.request_id, True, order_id=order_id)
        if order_id not in self._absent:
            # Open orders are in no history: the recent ones have it.
            return Answer(request.request_id, True, order_id=order_id)
        report = VenueReport(int(Event.NOT_FOUND), order_id, request.instrument_id, 0)
        return Answer(request.request_id, True, order_id=order_id, reports=[report], filled_units=0)

    # ---- inside ------------------------------------------------------------------------------------------

    def _ask(
        self, kind: RequestKind, order: Order, path: str, request_id: int, utc_ns: int, page: str = ""
    ) -> Request:
        category = self._requests.category([order])
        symbol, ours = self._requests.row(order).symbol, self._requests.client_id(order)
        query = f"category={category.name}&symbol={symbol}&orderLinkId={ours}{page}"
        return self._requests.get(kind, request_id, path, query, utc_ns, order)


def _subscribe(number: str, topics: Sequence[str]) -> bytes:
    args = ",".join(f'"{topic}"' for topic in topics)
    return f'{{"req_id":"{number}","op":"subscribe","args":[{args}]}}'.encode()


def _category(request: Request) -> str:
    return parse_qs(urlsplit(request.path).query).get("category", [""])[0]


def _nanoseconds(result: reading.Row) -> int:
    """The time as text of nanoseconds ("Get Bybit Server Time")."""
    digits = reading.text(result, "timeNano")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 19):
        raise DecodeError(f"timeNano is no time: {reading.shown(digits)}")
    return int(digits)


def _end_or_more(request: Request, result: reading.Row, data: list[reading.Row], page: int) -> ControlWord:
    """The end of a list, or the query of its next page; a cursor behind a page that is not full is none."""
    cursor = reading.text(result, "nextPageCursor", "")
    if not cursor or len(data) < page:
        return ControlWord(Sign.SNAPSHOT_END, request.request_id)
    # The venue's cursor is percent-encoded already ("Get Open & Closed Orders").
    query, _, _ = urlsplit(request.path).query.partition("&cursor=")
    return ControlWord(Sign.MORE, request.request_id, f"{query}&cursor={quote(cursor, safe='%')}")


def _unread(request: Request, status: int, text: str) -> Answer:
    """No answer that can be read."""
    found = http_meaning(status)
    return Answer(
        request.request_id, False, found.reason, found.action, str(status), text, wait_ns=found.wait_ns
    )
