"""The venue's order entry: websocket API for single commands, REST for batches, questions, the listen key.

Sources: the USD-M futures documentation (websocket API general info, trade, account, user data streams,
general info) and its change log of 2026 (private streams under `/private`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar
from urllib.parse import parse_qsl, urlsplit

import orjson

from exec.client_ids import encode
from exec.errors import OrderError
from exec.forms import SigningComposer
from exec.keys import Keys
from exec.order import Order
from exec.order_protocol import (
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
    Way,
    Word,
)
from exec.signing import Signer
from exec.venues.binance_usdm.orders import (
    LIGHT,
    NEW_RATES,
    ORDERS_1M,
    ORDERS_10S,
    RECV_WINDOW_MS,
    OrderText,
    Rates,
    Signed,
    weight,
)
from exec.venues.binance_usdm.words import Listener
from exec.venues.order_window import ORDER_WINDOW_MS, life_s
from exec.venues.remembering import keep

VENUE_ID = 1
ORDER_URL = "wss://ws-fapi.binance.com"
PRIVATE_URL = "wss://fstream.binance.com"
NEW_BATCH, REPLACE_BATCH, CANCEL_BATCH = 5, 5, 10
#: "Account Trade List": trades in an answer at most; a question spans seven days at most.
FILLS_PAGE = 1_000
FILLS_SPAN_NS = 7 * 24 * 3600 * 1_000_000_000
#: Between a symbol and the trade that its next page of fills begins with.
PAGE_OF = " "
_SOCKET = Way.ORDER_SOCKET


class BinanceUsdm(OrderProtocol):
    """Binance USD-M Futures, one-way position mode; see `OrderProtocol`.

    Args:
        keys: HMAC or Ed25519.
        tag: of the instance.
        directory: the instruments.
        order_url, private_url: addresses, "" = the venue's; a path behind the host is kept.
        symbols: what the run trades, for fills and the countdown timer, which the venue has per symbol.
        private_path: where listen keys stand, `/private/ws/`; `/ws/` before the split of 2026.
        stp_mode: self-trade prevention of new orders; "" = as the account is set.
        recv_window_ms: how late a request may arrive at the venue.
        order_window_ms: how late a new order or an amendment may: so long "not found" is no answer.
    """

    name: ClassVar[str] = "binance_usdm"
    venue_ids: ClassVar[tuple[int, ...]] = (VENUE_ID,)
    max_new_batch: ClassVar[int] = NEW_BATCH
    max_cancel_batch: ClassVar[int] = CANCEL_BATCH
    max_replace_batch: ClassVar[int] = REPLACE_BATCH
    # Batches go by REST, through another process: single frames are faster until there are many.
    batch_from: ClassVar[int] = 6
    # A listen key lives 60 minutes.
    keep_alive_s: ClassVar[float] = 1_800.0
    rest_url: ClassVar[str] = "https://fapi.binance.com"

    def __init__(
        self,
        keys: Keys,
        tag: str,
        directory: Directory,
        *,
        order_url: str = "",
        private_url: str = "",
        symbols: Sequence[str] = (),
        private_path: str = "/private/ws/",
        stp_mode: str = "EXPIRE_TAKER",
        recv_window_ms: int = RECV_WINDOW_MS,
        order_window_ms: int = ORDER_WINDOW_MS,
    ) -> None:
        self.request_life_s = life_s(order_window_ms)
        self._order_url = (order_url or ORDER_URL).rstrip("/")
        self._private_url = (private_url or PRIVATE_URL).rstrip("/")
        self._private_path = private_path
        self._directory = directory
        self._symbols = tuple(symbols)
        self._signed = Signed(Signer(keys), recv_window_ms, order_window_ms)
        self._text = OrderText(tag, directory, stp_mode)
        self._frames = SigningComposer(
            lambda kind, order: self._signed.forms(kind, order, self._text), self._signed.signer.sign
        )
        self._listener = Listener(VENUE_ID, tag, directory)
        self.foreign_fees = self._listener.foreign_fees
        self._tag = tag
        self._pages: dict[int, str] = {}

    # ---- connections ----

    def order_url(self) -> str:
        """See `OrderProtocol`."""
        return self._order_url if urlsplit(self._order_url).path else f"{self._order_url}/ws-fapi/v1"

    def private_url(self) -> str:
        """See `OrderProtocol`; the listen key is the last part of the path."""
        if not self._listener.listen_key:
            raise OrderError("binance_usdm: there is no listen key yet")
        path = "/" if urlsplit(self._private_url).path else self._private_path
        return f"{self._private_url}{path}{self._listener.listen_key}"

    def opening_requests(self, first_request_id: int, utc_ns: int) -> Sequence[Request]:
        """Make a listen key; the venue gives back the one that is valid still, and prolongs it."""
        del utc_ns
        return [self._signed.keyed(RequestKind.LISTEN_KEY, "POST", "/fapi/v1/listenKey", first_request_id)]

    def logins(self, channel: Channel, request_id: int, utc_ns: int) -> Sequence[bytes]:
        """`session.logon` with an Ed25519 key; HMAC keys sign each request instead."""
        if channel is not Channel.ORDER_SOCKET or not self._signed.signer.is_ed25519:
            return ()
        return [self._signed.frame(RequestKind.LOGIN, "session.logon", (), request_id, utc_ns)]

    def subscribes(self, request_id: int, utc_ns: int) -> Sequence[bytes]:
        """Nothing: the listen key is the subscription."""
        del request_id, utc_ns
        return ()

    def ping(self, utc_ns: int) -> bytes:
        """Nothing: control frames suffice."""
        del utc_ns
        return b""

    def keep_alive(self, request_id: int, utc_ns: int) -> Request | None:
        """Prolong the listen key."""
        del utc_ns
        return self._signed.keyed(RequestKind.LISTEN_KEY_KEEP, "PUT", "/fapi/v1/listenKey", request_id)

    # ---- orders ----

    def new(self, orders: Sequence[Order], request_id: int, utc_ns: int) -> Request:
        """One by `order.place`, several by POST /fapi/v1/batchOrders."""
        if len(orders) == 1:
            return self._one(RequestKind.NEW, orders[0], request_id, utc_ns, NEW_RATES)
        self._check_count("new orders", orders, NEW_BATCH)
        params = [dict(self._text.new(order)) for order in orders]
        rates = ((ORDERS_10S, 5), (ORDERS_1M, 1), *weight(5))
        return self._batch(RequestKind.NEW, "POST", orders, params, request_id, utc_ns, Lane.NEW, rates)

    def cancel(
        self, orders: Sequence[Order], request_id: int, utc_ns: int, lane: Lane = Lane.CANCEL
    ) -> Request:
        """One by `order.cancel`, several of one symbol by DELETE /fapi/v1/batchOrders."""
        if len(orders) == 1:
            return self._one(RequestKind.CANCEL, orders[0], request_id, utc_ns, LIGHT, lane)
        self._check_count("cancels", orders, CANCEL_BATCH)
        symbol = self._same_symbol(orders)
        names = orjson.dumps([encode(order.root_client_order_id, self._tag) for order in orders]).decode()
        return self._signed.rest(
            RequestKind.CANCEL,
            "DELETE",
            "/fapi/v1/batchOrders",
            [("symbol", symbol), ("origClientOrderIdList", names)],
            request_id,
            utc_ns,
            lane=lane,
            order_ids=_roots(orders),
            instrument_id=orders[0].instrument_id,
        )

    def replace(self, orders: Sequence[Order], request_id: int, utc_ns: int) -> Request:
        """One by `order.modify`, several by PUT /fapi/v1/batchOrders."""
        if len(orders) == 1:
            return self._one(RequestKind.REPLACE, orders[0], request_id, utc_ns, NEW_RATES)
        self._check_count("replaces", orders, REPLACE_BATCH)
        rows = [dict(self._text.replace(order)) for order in orders]
        rates = ((ORDERS_10S, 5), (ORDERS_1M, 1), *weight(5))
        return self._batch(RequestKind.REPLACE, "PUT", orders, rows, request_id, utc_ns, Lane.NEW, rates)

    def cancel_foreign(
        self, orders: Sequence[OpenOrderWord], request_id: int, utc_ns: int
    ) -> Sequence[Request]:
        """DELETE /fapi/v1/batchOrders by the venue's ids, ten of a symbol at a time."""
        by_symbol: dict[str, list[OpenOrderWord]] = {}
        for order in orders:
            by_symbol.setdefault(order.symbol, []).append(order)
        requests: list[Request] = []
        for symbol, rows in by_symbol.items():
            for at in range(0, len(rows), CANCEL_BATCH):
                names = "[" + ",".join(row.venue_order_id for row in rows[at : at + CANCEL_BATCH]) + "]"
                requests.append(
                    self._signed.rest(
                        RequestKind.CANCEL,
                        "DELETE",
                        "/fapi/v1/batchOrders",
                        [("symbol", symbol), ("orderIdList", names)],
                        request_id + len(requests),
                        utc_ns,
                        lane=Lane.CANCEL,
                        instrument_id=rows[0].instrument_id,
                    )
                )
        return requests

    def mass_cancel(self, instrument_ids: Sequence[int], request_id: int, utc_ns: int) -> Sequence[Request]:
        """DELETE /fapi/v1/allOpenOrders of each symbol; the venue has none for the whole account."""
        return [
            self._signed.rest(
                RequestKind.MASS_CANCEL,
                "DELETE",
                "/fapi/v1/allOpenOrders",
                [("symbol", self._directory.row(instrument_id).symbol)],
                request_id + index,
                utc_ns,
                lane=Lane.CANCEL,
                instrument_id=instrument_id,
            )
            for index, instrument_id in enumerate(instrument_ids)
        ]

    def batch_key(self, kind: RequestKind, order: Order) -> int:
        """Cancels share a request when they are of one symbol; all else may be mixed."""
        return order.instrument_id if kind is RequestKind.CANCEL else 0

    # ---- questions ----

    def query(self, order: Order, request_id: int, utc_ns: int) -> Sequence[Request]:
        """`order.status`; its fills are asked (`fills_of`) when it names more than is known."""
        root = order.root_client_order_id
        params = self._text.name(order)
        return [
            Request(
                request_id,
                RequestKind.QUERY,
                Lane.RECONCILE,
                Way.ORDER_SOCKET,
                (root,),
                order.instrument_id,
                self._signed.frame(RequestKind.QUERY, "order.status", params, request_id, utc_ns, root),
                rates=weight(1),
            )
        ]

    def fills_of(self, order: Order, request_id: int, utc_ns: int) -> Sequence[Request]:
        """GET /fapi/v1/userTrades of the order; it is named by the venue's id, so there must be one.

        Behind a full page the next call asks for the next one.
        """
        if not order.venue_order_id:
            return ()
        after = self._pages.get(order.root_client_order_id)
        return [
            self._signed.rest(
                RequestKind.FILLS,
                "GET",
                "/fapi/v1/userTrades",
                [
                    ("symbol", self._text.row(order).symbol),
                    ("orderId", str(order.venue_order_id)),
                    ("limit", str(FILLS_PAGE)),
                    *([("fromId", after)] if after else []),
                ],
                request_id,
                utc_ns,
                order_ids=(order.root_client_order_id,),
                instrument_id=order.instrument_id,
                rates=weight(5),
            )
        ]

    def snapshot(
        self, kind: RequestKind, request_id: int, utc_ns: int, *, since_utc_ns: int = 0, cursor: str = ""
    ) -> Sequence[Request]:
        """Open orders, positions and balances of the account; fills of each symbol, by pages of 1,000."""
        if kind is RequestKind.FILLS and cursor:
            symbol, _, after = cursor.partition(PAGE_OF)
            query = [("symbol", symbol), ("fromId", after), ("limit", str(FILLS_PAGE))]
            return [
                self._signed.rest(
                    kind, "GET", "/fapi/v1/userTrades", query, request_id, utc_ns, rates=weight(5)
                )
            ]
        if kind is RequestKind.FILLS:
            # Of an earlier time the venue would tell the first seven days, and not the last.
            begin_ms = max(since_utc_ns, utc_ns - FILLS_SPAN_NS) // 1_000_000
            since = [("startTime", str(begin_ms))] if since_utc_ns else []
            return [
                self._signed.rest(
                    kind,
                    "GET",
                    "/fapi/v1/userTrades",
                    [("symbol", symbol), *since, ("limit", str(FILLS_PAGE))],
                    request_id + index,
                    utc_ns,
                    rates=weight(5),
                )
                for index, symbol in enumerate(self._symbols)
            ]
        path, cost = {
            RequestKind.OPEN_ORDERS: ("/fapi/v1/openOrders", 40),
            RequestKind.POSITIONS: ("/fapi/v3/positionRisk", 5),
            RequestKind.BALANCES: ("/fapi/v3/balance", 5),
        }[kind]
        return [self._signed.rest(kind, "GET", path, [], request_id, utc_ns, rates=weight(cost))]

    def dead_man(self, timeout_s: float, request_id: int, utc_ns: int) -> Sequence[Request]:
        """POST /fapi/v1/countdownCancelAll of each symbol the run trades; weight 10 each."""
        milliseconds = str(round(timeout_s * 1_000))
        return [
            self._signed.rest(
                RequestKind.DEAD_MAN,
                "POST",
                "/fapi/v1/countdownCancelAll",
                [("symbol", symbol), ("countdownTime", milliseconds)],
                request_id + index,
                utc_ns,
                lane=Lane.CANCEL,
                rates=weight(10),
            )
            for index, symbol in enumerate(self._symbols)
        ]

    def server_time(self, request_id: int) -> Request:
        """GET /fapi/v1/time."""
        return Request(
            request_id,
            RequestKind.SERVER_TIME,
            Lane.RECONCILE,
            Way.REST,
            method="GET",
            path="/fapi/v1/time",
            rates=weight(1),
        )

    # ---- listening ----

    def decode(self, frame: bytes, channel: Channel) -> list[Word]:
        """See `OrderProtocol`."""
        if channel is Channel.ORDER_SOCKET:
            return self._listener.order_socket(frame)
        return self._listener.private_stream(frame)

    def decode_rest(
        self, request: Request, status: int, headers: Mapping[str, str], body: bytes
    ) -> list[Word]:
        """See `OrderProtocol`."""
        words = self._listener.rest(request, status, headers, body)
        if request.kind is RequestKind.FILLS:
            for order_id in request.order_ids:
                ids = [r.trade_id for word in words if isinstance(word, Answer) for r in word.reports]
                self._pages.pop(order_id, None)
                if len(ids) >= FILLS_PAGE:
                    keep(self._pages, order_id, str(max(ids) + 1))
            if not request.order_ids:
                return _with_next_page(request, words)
        return words

    # ---- inside ----

    def _one(
        self,
        kind: RequestKind,
        order: Order,
        request_id: int,
        utc_ns: int,
        rates: Rates,
        lane: Lane = Lane.NEW,
    ) -> Request:
        frame = self._frames.frame(kind, order, request_id, utc_ns // 1_000_000)
        ids = (order.root_client_order_id,)
        return Request(request_id, kind, lane, _SOCKET, ids, order.instrument_id, frame, rates=rates)

    def _batch(
        self,
        kind: RequestKind,
        method: str,
        orders: Sequence[Order],
        rows: Sequence[Mapping[str, str]],
        request_id: int,
        utc_ns: int,
        lane: Lane,
        rates: Rates,
    ) -> Request:
        return self._signed.rest(
            kind,
            method,
            "/fapi/v1/batchOrders",
            [("batchOrders", orjson.dumps(rows).decode())],
            request_id,
            utc_ns,
            lane=lane,
            order_ids=_roots(orders),
            rates=rates,
        )

    @staticmethod
    def _check_count(what: str, orders: Sequence[Order], most: int) -> None:
        if not 1 <= len(orders) <= most:
            raise OrderError(f"binance_usdm: {len(orders)} {what} in one request, 1 to {most} are allowed")

    def _same_symbol(self, orders: Sequence[Order]) -> str:
        symbols = {self._text.row(order).symbol for order in orders}
        if len(symbols) != 1:
            raise OrderError(f"binance_usdm: a batch of cancels is of one symbol, not {sorted(symbols)}")
        return symbols.pop()


def _roots(orders: Sequence[Order]) -> tuple[int, ...]:
    return tuple(order.root_client_order_id for order in orders)


def _with_next_page(request: Request, words: list[Word]) -> list[Word]:
    """A full page of a symbol's fills is not the end of them: the next one begins behind its last trade."""
    ids = [report.trade_id for word in words if isinstance(word, Answer) for report in word.reports]
    if len(ids) < FILLS_PAGE:
        return words
    symbol = dict(parse_qsl(urlsplit(request.path).query))["symbol"]
    more = ControlWord(Sign.MORE, request.request_id, f"{symbol}{PAGE_OF}{max(ids) + 1}")
    return [
        more if isinstance(word, ControlWord) and word.sign is Sign.SNAPSHOT_END else word for word in words
    ]
