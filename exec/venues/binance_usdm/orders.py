"""Requests as the venue wants them: parameters of orders, signed frames, signed REST paths.

Sources: "New Order", "Modify Order", "Cancel Order", "Place Multiple Orders" and "Websocket API General Info"
of the USD-M futures documentation. REST signs parameters in the order sent, the websocket API sorted by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import orjson

from exec.client_ids import PREFIX, encode
from exec.decimal_text import decimal_text
from exec.errors import OrderError
from exec.forms import (
    NEW_PRICE,
    NEW_UNITS,
    ORDER_HEX,
    ORDER_ID,
    PRICE,
    REQUEST,
    SIGNATURE,
    TIME_MS,
    UNITS,
    Form,
)
from exec.order import Order
from exec.order_protocol import Directory, Lane, Request, RequestKind, Way
from exec.signing import Signer, query_text, sorted_text
from shm.enums import OrderFlags, OrderType, Side, TimeInForce
from shm.instruments import Instrument

Param = tuple[str, str]
#: A request is refused when it arrives later than so many ms after its timestamp.
RECV_WINDOW_MS = 2_000
#: What may raise exposure has a window of its own.
_SHORT_LIVED = frozenset((RequestKind.NEW, RequestKind.REPLACE))
_LIMIT, _MARKET = int(OrderType.LIMIT), int(OrderType.MARKET)
_POST_ONLY, _REDUCE_ONLY = int(OrderFlags.POST_ONLY), int(OrderFlags.REDUCE_ONLY)
_GTC = int(TimeInForce.GTC)
_TIME_IN_FORCE = {int(TimeInForce.GTC): "GTC", int(TimeInForce.IOC): "IOC", int(TimeInForce.FOK): "FOK"}
_SIDE = {int(Side.BUY): "BUY", int(Side.SELL): "SELL"}
_NUMBERS = frozenset(("recvWindow", "timestamp"))
_METHODS = {
    RequestKind.NEW: "order.place",
    RequestKind.REPLACE: "order.modify",
    RequestKind.CANCEL: "order.cancel",
}

#: Bucket names and weights of what a request costs (exec/venues/binance_usdm/limits.py).
Rates = tuple[tuple[str, int], ...]
WEIGHT, ORDERS_10S, ORDERS_1M = "weight_1m", "orders_10s", "orders_1m"
NEW_RATES: Rates = ((ORDERS_10S, 1), (ORDERS_1M, 1))


def weight(units: int) -> Rates:
    """What a request of that weight costs."""
    return ((WEIGHT, units),)


LIGHT = weight(1)


class OrderText:
    """Orders as parameters.

    Args:
        tag: of the instance.
        directory: the instruments.
        stp_mode: the venue's self-trade prevention for new orders; "" = as the account is set.
    """

    def __init__(self, tag: str, directory: Directory, stp_mode: str) -> None:
        self.tag = tag
        self.directory = directory
        self.stp_mode = stp_mode

    def row(self, order: Order) -> Instrument:
        """The instrument of an order; raises OrderError for one that is not of this account."""
        try:
            return self.directory.row(order.instrument_id)
        except KeyError as error:
            raise OrderError(f"{order!r}: instrument_id is not of this account") from error

    def new(self, order: Order) -> list[Param]:
        """Parameters of a new order."""
        row = self.row(order)
        params = [
            ("symbol", row.symbol),
            ("side", _side(order)),
            ("type", "LIMIT"),
            ("quantity", decimal_text(order.order_units, row.quantity_exponent)),
        ]
        if order.order_type == _MARKET:
            if order.flags & _POST_ONLY:
                raise OrderError(f"{order!r}: flags: a market order can not be post-only")
            params[2] = ("type", "MARKET")
        elif order.order_type == _LIMIT:
            params.append(("timeInForce", _time_in_force(order)))
            params.append(("price", decimal_text(order.price_units, row.price_exponent)))
        else:
            raise OrderError(f"{order!r}: order_type {order.order_type} has no form at this venue")
        if order.flags & _REDUCE_ONLY:
            params.append(("reduceOnly", "true"))
        if self.stp_mode:
            params.append(("selfTradePreventionMode", self.stp_mode))
        params.append(("newOrderRespType", "ACK"))
        params.append(("newClientOrderId", encode(order.root_client_order_id, self.tag)))
        return params

    def replace(self, order: Order) -> list[Param]:
        """Parameters of an amendment to the order's new terms."""
        row = self.row(order)
        if order.order_type != _LIMIT:
            raise OrderError(f"{order!r}: order_type: only a limit order can be amended")
        return [
            ("symbol", row.symbol),
            ("side", _side(order)),
            ("quantity", decimal_text(order.new_units, row.quantity_exponent)),
            ("price", decimal_text(order.new_price_units, row.price_exponent)),
            ("origClientOrderId", encode(order.root_client_order_id, self.tag)),
        ]

    def name(self, order: Order) -> list[Param]:
        """Parameters that name an order."""
        symbol = self.row(order).symbol
        return [("symbol", symbol), ("origClientOrderId", encode(order.root_client_order_id, self.tag))]

    def slots(self, kind: RequestKind) -> dict[str, str]:
        """The parameters of a command that differ from order to order, as slots of a form."""
        client_id = f"{PREFIX}{self.tag}{ORDER_ID}"
        if kind is RequestKind.NEW:
            return {"quantity": UNITS, "price": PRICE, "newClientOrderId": client_id}
        return {"quantity": NEW_UNITS, "price": NEW_PRICE, "origClientOrderId": client_id}

    def command(self, kind: RequestKind, order: Order) -> list[Param]:
        """Parameters of a command for one order."""
        if kind is RequestKind.NEW:
            return self.new(order)
        return self.name(order) if kind is RequestKind.CANCEL else self.replace(order)


def _side(order: Order) -> str:
    side = _SIDE.get(order.side)
    if side is None:
        raise OrderError(f"{order!r}: side {order.side} is neither BUY nor SELL")
    return side


def _time_in_force(order: Order) -> str:
    if order.flags & _POST_ONLY:
        if order.time_in_force != _GTC:
            raise OrderError(f"{order!r}: time_in_force: a post-only order is good till canceled")
        return "GTX"
    text = _TIME_IN_FORCE.get(order.time_in_force)
    if text is None:
        raise OrderError(f"{order!r}: time_in_force {order.time_in_force} has no form at this venue")
    return text


# ---- wire ids -------------------------------------------------------------------------------------------


def wire_id(kind: int, request_id: int, client_order_id: int = 0) -> str:
    """The id of a websocket request: what is needed to understand its answer without remembering it."""
    return f"{int(kind)}x{request_id}x{client_order_id:x}"


def read_wire_id(text: object) -> tuple[int, int, int]:
    """(kind, request id, client order id) of an answer's id; zeros when it is none of ours."""
    parts = text.split("x") if isinstance(text, str) else ()
    if len(parts) != 3 or not (parts[0].isdecimal() and parts[1].isdecimal()):
        return 0, 0, 0
    try:
        return int(parts[0]), int(parts[1]), int(parts[2], 16)
    except ValueError:
        return 0, 0, 0


def _json(name: str, value: str) -> str:
    if name in _NUMBERS:
        return value
    is_form = any(char < " " for char in value)
    return f'"{value}"' if is_form else orjson.dumps(value).decode()


# ---- signed requests ------------------------------------------------------------------------------------


class Signed:
    """Makes signed requests of parameters.

    Args:
        signer: of the account.
        recv_window_ms: how late a request may arrive.
        order_window_ms: how late a new order or an amendment may.
    """

    def __init__(self, signer: Signer, recv_window_ms: int, order_window_ms: int) -> None:
        self.signer = signer
        self.recv_window_ms = recv_window_ms
        self.order_window_ms = order_window_ms
        self._headers = (("X-MBX-APIKEY", signer.api_key),)

    def _window(self, kind: int) -> str:
        return str(self.order_window_ms if kind in _SHORT_LIVED else self.recv_window_ms)

    def frame(
        self, kind: int, method: str, params: Iterable[Param], request_id: int, utc_ns: int, order_id: int = 0
    ) -> bytes:
        """A frame of the websocket API.

        HMAC keys sign each request; with an Ed25519 key the connection is logged in (`session.logon`) and
        requests carry a timestamp alone.
        """
        named = dict(params)
        named["recvWindow"] = self._window(kind)
        named["timestamp"] = str(utc_ns // 1_000_000)
        if not self.signer.is_ed25519 or method == "session.logon":
            named["apiKey"] = self.signer.api_key
            named["signature"] = self.signer.hex(sorted_text(named.items()).encode())
        sent = {name: int(value) if name in _NUMBERS else value for name, value in named.items()}
        return orjson.dumps({"id": wire_id(kind, request_id, order_id), "method": method, "params": sent})

    def forms(self, kind: int, order: Order, text: OrderText) -> tuple[Form | None, Form]:
        """What is signed of a command for one order (None: nothing is) and its frame, as forms."""
        command = RequestKind(kind)
        slots = text.slots(command)
        named = {name: slots.get(name, value) for name, value in text.command(command, order)}
        named["recvWindow"] = self._window(kind)
        named["timestamp"] = TIME_MS
        if not self.signer.is_ed25519:
            named["apiKey"] = self.signer.api_key
        row = text.row(order)
        exponents = row.price_exponent, row.quantity_exponent
        signed = None if self.signer.is_ed25519 else Form(sorted_text(named.items()), *exponents)
        if signed is not None:
            named["signature"] = SIGNATURE
        params = ",".join(f'"{name}":{_json(name, value)}' for name, value in named.items())
        number = f"{kind}x{REQUEST}x{ORDER_HEX}"
        frame = f'{{"id":"{number}","method":"{_METHODS[command]}","params":{{{params}}}}}'
        return signed, Form(frame, *exponents)

    def rest(
        self,
        kind: RequestKind,
        method: str,
        path: str,
        params: Sequence[Param],
        request_id: int,
        utc_ns: int,
        *,
        lane: Lane = Lane.RECONCILE,
        order_ids: tuple[int, ...] = (),
        instrument_id: int = -1,
        rates: Rates = LIGHT,
    ) -> Request:
        """A signed REST request; all parameters stand in the query."""
        stamped = [
            *params,
            ("recvWindow", self._window(kind)),
            ("timestamp", str(utc_ns // 1_000_000)),
        ]
        query = query_text(stamped)
        signature = query_text([("signature", self.signer.hex(query.encode()))])
        return Request(
            request_id,
            kind,
            lane,
            Way.REST,
            order_ids,
            instrument_id,
            method=method,
            path=f"{path}?{query}&{signature}",
            headers=self._headers,
            rates=rates,
        )

    def keyed(self, kind: RequestKind, method: str, path: str, request_id: int) -> Request:
        """A REST request that names the key and is not signed (listen keys)."""
        return Request(
            request_id,
            kind,
            Lane.RECONCILE,
            Way.REST,
            method=method,
            path=path,
            headers=self._headers,
            rates=weight(1),
        )
