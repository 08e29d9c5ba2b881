"""Requests as Bybit wants them: orders as JSON text, frames of the trade socket, signed REST requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from exec.client_ids import PREFIX
from exec.client_ids import encode as encode_id
from exec.errors import OrderError
from exec.forms import NEW_PRICE, NEW_UNITS, ORDER_ID, PRICE, REQUEST, TIME_MS, UNITS, Composer, Form
from exec.keys import Keys
from exec.order import Order
from exec.order_protocol import Directory, Lane, Request, RequestKind, Way
from exec.signing import Signer, window_text
from exec.venues.bybit import facts
from exec.venues.bybit.facts import Category
from exec.venues.order_types import TypeWords, type_word
from exec.venues.order_window import ORDER_WINDOW_MS
from shm.enums import OrderFlags, OrderType, Side, TimeInForce
from shm.instruments import Instrument

_POST_ONLY, _REDUCE_ONLY = int(OrderFlags.POST_ONLY), int(OrderFlags.REDUCE_ONLY)
_MARKET, _LIMIT = int(OrderType.MARKET), int(OrderType.LIMIT)
#: "Enums Definitions / timeInForce".
_TYPE_WORDS: Final = TypeWords(
    "IOC",
    "PostOnly",
    {
        int(TimeInForce.GTC): "GTC",
        int(TimeInForce.IOC): "IOC",
        int(TimeInForce.FOK): "FOK",
    },
)
_SIDES: Final = {int(Side.BUY): "Buy", int(Side.SELL): "Sell"}
_SOCKET: Final = Way.ORDER_SOCKET


def _around(
    kind: RequestKind, category: Category, request_id: str, time_ms: str, is_batch: bool, order_window_ms: int
) -> tuple[str, str]:
    """What stands before and behind the orders of a request."""
    window_ms = facts.RECEIVE_WINDOW_MS if kind == RequestKind.CANCEL else order_window_ms
    header = f'"X-BAPI-TIMESTAMP":"{time_ms}","X-BAPI-RECV-WINDOW":"{window_ms}"'
    head = (
        f'{{"reqId":"{request_id}{category.name[0]}","header":{{{header}}},'
        f'"op":"{facts.OPS[kind][is_batch]}","args":[{{"category":"{category.name}",'
    )
    return (f'{head}"request":[{{', "}]}]}") if is_batch else (head, "}]}")


def _check_count(count: int, category: Category) -> None:
    if not 1 <= count <= category.batch_max:
        text = f"{count} orders in a request of {category.name}"
        raise OrderError(f"{text}: it takes 1 to {category.batch_max}")


class BybitRequests:
    """Makes requests of one account.

    Args:
        keys: of the account.
        tag: of the instance.
        directory: the instruments.
        order_window_ms: how late a new order or an amendment may reach the venue.
    """

    def __init__(
        self, keys: Keys, tag: str, directory: Directory, order_window_ms: int = ORDER_WINDOW_MS
    ) -> None:
        self.signer = Signer(keys)
        self._directory = directory
        self._tag = tag
        self._order_window_ms = order_window_ms
        self._composer = Composer(self._form)
        self._forms = {
            (kind, category.name, is_batch): tuple(
                map(Form, _around(kind, category, REQUEST, TIME_MS, is_batch, order_window_ms))
            )
            for kind in facts.OPS
            for category in facts.CATEGORIES.values()
            for is_batch in (False, True)
        }

    # ---- orders ------------------------------------------------------------------------------------------

    def _form(self, kind: int, order: Order) -> Form:
        """One order of a request as a form, without category and braces."""
        row = self.row(order)
        if kind == RequestKind.NEW:
            text = self._new(row, order)
        elif kind == RequestKind.REPLACE:
            text = self._replace(row, order)
        else:
            text = self._head(row)
        return Form(text, row.price_exponent, row.quantity_exponent)

    def _new(self, row: Instrument, order: Order) -> str:
        category = facts.CATEGORY_OF[row.venue_id]
        side = _SIDES.get(order.side)
        if side is None:
            raise OrderError(f"{order!r}: side {order.side} is neither BUY nor SELL")
        parts = [
            f'{self._head(row)},"side":"{side}","qty":"{UNITS}"',
            f'"orderType":"{"Market" if order.order_type == _MARKET else "Limit"}"',
            f'"timeInForce":"{type_word(order, _TYPE_WORDS)}","smpType":"{facts.SMP_TYPE}"',
        ]
        if order.order_type == _LIMIT:
            parts.append(f'"price":"{PRICE}"')
        elif category is facts.SPOT:
            # "Place Order / marketUnit": a buy's quantity would be quote currency.
            parts.append('"marketUnit":"baseCoin"')
        if category is facts.LINEAR:
            # "positionIdx": one-way mode.
            parts.append('"positionIdx":0')
        if order.flags & _REDUCE_ONLY:
            if category is facts.SPOT and order.side != Side.SELL:
                raise OrderError(f"{order!r}: flags: a spot buy reduces nothing")
            if category is facts.LINEAR:
                # Cash can not be sold short: a spot sell reduces anyway, and the venue knows no flag for it.
                parts.append('"reduceOnly":true')
        return ",".join(parts)

    def _replace(self, row: Instrument, order: Order) -> str:
        """New terms; qty is the whole quantity."""
        if order.order_type != _LIMIT:
            raise OrderError(f"{order!r}: order_type: only a limit order can be amended")
        return f'{self._head(row)},"qty":"{NEW_UNITS}","price":"{NEW_PRICE}"'

    def row(self, order: Order) -> Instrument:
        """The instrument of an order; raises OrderError for one that is not of this account."""
        try:
            row = self._directory.row(order.instrument_id)
        except KeyError as error:
            raise OrderError(f"{order!r}: instrument_id is not of this account") from error
        if row.venue_id not in facts.CATEGORY_OF:
            raise OrderError(f"{order!r}: instrument_id is not of this account")
        return row

    def category(self, orders: Sequence[Order]) -> Category:
        """The one category of the orders of a request; raises OrderError for several."""
        if len(orders) == 1:
            return facts.CATEGORY_OF[self.row(orders[0]).venue_id]
        found = {self.row(order).venue_id for order in orders}
        if len(found) != 1:
            raise OrderError(f"{len(orders)} orders of {len(found)} categories in a request: it takes one")
        return facts.CATEGORY_OF[found.pop()]

    def client_id(self, order: Order) -> str:
        """The order's client order id on the wire."""
        return encode_id(order.root_client_order_id, self._tag)

    def _head(self, row: Instrument) -> str:
        return f'"symbol":"{row.symbol}","orderLinkId":"{PREFIX}{self._tag}{ORDER_ID}"'

    # ---- requests ----------------------------------------------------------------------------------------

    def op(
        self, kind: RequestKind, lane: Lane, orders: Sequence[Order], request_id: int, utc_ns: int
    ) -> Request:
        """A frame of the trade socket for orders of one category.

        Its reqId is ours and the category's first letter, so that the answer says which limit it is about.

        Raises:
            OrderError: none, more than the category's batch, or an order the venue has no form for.
        """
        category, count = self.category(orders), len(orders)
        _check_count(count, category)
        head, tail = self._forms[kind, category.name, count > 1]
        return Request(
            request_id,
            kind,
            lane,
            _SOCKET,
            tuple([order.root_client_order_id for order in orders]),
            orders[0].instrument_id,
            self._composer.frame(kind, list(orders), head, tail, request_id, utc_ns // 1_000_000),
            rates=facts.rates(kind, count, category.name),
        )

    def op_of_others(
        self,
        kind: RequestKind,
        category: Category,
        items: Sequence[str],
        request_id: int,
        utc_ns: int,
        order_ids: tuple[int, ...],
    ) -> Request:
        """A frame of the trade socket for orders that may be anybody's, each given as text without braces."""
        _check_count(len(items), category)
        head, tail = _around(
            kind, category, str(request_id), str(utc_ns // 1_000_000), len(items) > 1, self._order_window_ms
        )
        frame = head + "},{".join(items) + tail
        return Request(
            request_id,
            kind,
            Lane.CANCEL,
            _SOCKET,
            order_ids,
            frame=frame.encode(),
            rates=facts.rates(kind, len(items), category.name),
        )

    def get(
        self,
        kind: RequestKind,
        request_id: int,
        path: str,
        query: str,
        utc_ns: int = 0,
        order: Order | None = None,
    ) -> Request:
        """A question; signed where a time is given."""
        return Request(
            request_id,
            kind,
            Lane.RECONCILE,
            Way.REST,
            () if order is None else (order.root_client_order_id,),
            -1 if order is None else order.instrument_id,
            method="GET",
            path=f"{path}?{query}" if query else path,
            headers=self._headers(query, utc_ns) if utc_ns else (),
            rates=facts.rates(kind, 1, ""),
        )

    def post(
        self, kind: RequestKind, request_id: int, path: str, body: str, utc_ns: int, category: str = ""
    ) -> Request:
        """A signed command by REST."""
        return Request(
            request_id,
            kind,
            Lane.CANCEL,
            Way.REST,
            method="POST",
            path=path,
            body=body.encode(),
            headers=self._headers(body, utc_ns),
            rates=facts.rates(kind, 1, category),
        )

    def _headers(self, payload: str, utc_ns: int) -> tuple[tuple[str, str], ...]:
        """Sign as "Integration Guidance / Authentication" says."""
        stamp, window = utc_ns // 1_000_000, facts.RECEIVE_WINDOW_MS
        key = self.signer.api_key
        return (
            ("X-BAPI-API-KEY", key),
            ("X-BAPI-TIMESTAMP", str(stamp)),
            ("X-BAPI-RECV-WINDOW", str(window)),
            ("X-BAPI-SIGN", self.signer.hex(window_text(stamp, key, window, payload).encode())),
            ("Content-Type", "application/json"),
        )
