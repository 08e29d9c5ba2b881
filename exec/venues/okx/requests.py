"""Requests as OKX wants them: orders as JSON text, signed REST requests, frames of the order socket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from exec.client_ids import PREFIX
from exec.client_ids import encode as encode_id
from exec.errors import OrderError
from exec.forms import LATER_MS, NEW_PRICE, NEW_UNITS, ORDER_ID, PRICE, REQUEST, UNITS, Composer, Form
from exec.keys import Keys
from exec.order import Order
from exec.order_protocol import Directory, Lane, Request, RequestKind, Way
from exec.signing import Signer, iso_ms_text, method_text
from exec.venues.okx import facts
from exec.venues.order_types import TypeWords, type_word
from exec.venues.order_window import ORDER_WINDOW_MS
from shm.enums import InstrumentKind, OrderFlags, OrderType, Side, TimeInForce
from shm.instruments import Instrument

_POST_ONLY, _REDUCE_ONLY = int(OrderFlags.POST_ONLY), int(OrderFlags.REDUCE_ONLY)
_MARKET, _LIMIT = int(OrderType.MARKET), int(OrderType.LIMIT)
#: "WS / Place order": ordType.
_TYPE_WORDS: Final = TypeWords(
    "market",
    "post_only",
    {
        int(TimeInForce.GTC): "limit",
        int(TimeInForce.IOC): "ioc",
        int(TimeInForce.FOK): "fok",
    },
)
_SIDES: Final = {int(Side.BUY): "buy", int(Side.SELL): "sell"}
_SPOT: Final = int(InstrumentKind.SPOT)


def _head_form(kind: RequestKind, op: str, order_window_ms: int) -> Form:
    # A cancel is welcome at any time.
    expiry = "" if kind == RequestKind.CANCEL else f'"expTime":"{LATER_MS}",'
    return Form(f'{{"id":"{REQUEST}","op":"{op}",{expiry}"args":[{{', later_ms=order_window_ms)


_TAIL: Final = Form("}]}")


class OkxRequests:
    """Makes requests of orders; knows the codes by which the venue wants its instruments named.

    Args:
        keys: of the account.
        tag: of the instance.
        directory: the instruments.
        td_mode: margin mode of derivatives.
        is_demo: mark REST requests as demo trading's.
        order_window_ms: how late a new order or an amendment may reach the venue.

    Raises:
        OrderError: a margin mode the venue does not have.
    """

    def __init__(
        self,
        keys: Keys,
        tag: str,
        directory: Directory,
        td_mode: str,
        *,
        is_demo: bool,
        order_window_ms: int = ORDER_WINDOW_MS,
    ) -> None:
        if td_mode not in facts.TD_MODES:
            raise OrderError(f"td_mode {td_mode!r} is none of {', '.join(facts.TD_MODES)}")
        self.signer = Signer(keys)
        self._directory = directory
        self._tag = tag
        self._td_mode = td_mode
        self._is_demo = is_demo
        self._codes: dict[str, int] = {}
        self._spot_mode = facts.TD_MODE_SPOT["2"]
        self._composer = Composer(self._form)
        # What stands before the orders of a request: of one, of several.
        self._heads = {
            kind: tuple(_head_form(kind, op, order_window_ms) for op in ops)
            for kind, ops in facts.OPS.items()
        }

    def learn(self, codes: Mapping[str, int]) -> None:
        """Take instrument codes: instId → instIdCode."""
        self._codes.update(codes)
        self._composer.book.clear()

    def take_level(self, level: str) -> None:
        """Take the account's mode, which says how pairs are traded; one of `facts.TD_MODE_SPOT`."""
        self._spot_mode = facts.TD_MODE_SPOT[level]
        self._composer.book.clear()

    # ---- orders ------------------------------------------------------------------------------------------

    def _form(self, kind: int, order: Order) -> Form:
        """One order of a request as a form, without its braces."""
        row = self.row(order)
        if kind == RequestKind.NEW:
            text = self._new(row, order)
        elif kind == RequestKind.REPLACE:
            text = self._replace(row, order)
        else:
            text = self._head(row, order)
        return Form(text, row.price_exponent, row.quantity_exponent)

    def _new(self, row: Instrument, order: Order) -> str:
        side = _SIDES.get(order.side)
        if side is None:
            raise OrderError(f"{order!r}: side {order.side} is neither BUY nor SELL")
        is_spot = row.kind == _SPOT
        parts = [
            self._head(row, order),
            f'"tdMode":"{self._spot_mode if is_spot else self._td_mode}","side":"{side}"',
            f'"ordType":"{type_word(order, _TYPE_WORDS)}","sz":"{UNITS}","stpMode":"{facts.STP_MODE}"',
        ]
        if order.order_type == _LIMIT:
            parts.append(f'"px":"{PRICE}"')
        elif is_spot:
            # "tgtCcy": a buy's size would be quote currency.
            parts.append('"tgtCcy":"base_ccy"')
        if order.flags & _REDUCE_ONLY:
            if is_spot and order.side != Side.SELL:
                raise OrderError(f"{order!r}: flags: a spot buy reduces nothing")
            if not is_spot:
                # Cash can not be sold short: a spot sell reduces anyway, and the venue knows no flag for it.
                parts.append('"reduceOnly":true')
        return ",".join(parts)

    def named_arg(self, order: Order) -> str:
        """An order to cancel over REST."""
        return f'{{"instId":"{self.row(order).symbol}","clOrdId":"{self.client_id(order)}"}}'

    def is_coded(self, order: Order) -> bool:
        """Whether the code of the order's instrument is known."""
        return self.row(order).symbol in self._codes

    def _replace(self, row: Instrument, order: Order) -> str:
        """New terms; newSz is the whole quantity, what is filled included."""
        if order.order_type != _LIMIT:
            raise OrderError(f"{order!r}: order_type: only a limit order can be amended")
        return f'{self._head(row, order)},"reqId":"{REQUEST}","newSz":"{NEW_UNITS}","newPx":"{NEW_PRICE}"'

    def row(self, order: Order) -> Instrument:
        """The instrument of an order; raises OrderError for one that is not of this account."""
        try:
            return self._directory.row(order.instrument_id)
        except KeyError as error:
            raise OrderError(f"{order!r}: instrument_id is not of this account") from error

    def client_id(self, order: Order) -> str:
        """The order's client order id on the wire."""
        return encode_id(order.root_client_order_id, self._tag)

    def _head(self, row: Instrument, order: Order) -> str:
        """What names an order's instrument and the order itself."""
        code = self._codes.get(row.symbol)
        if code is None:
            raise OrderError(f"{order!r}: the venue named no code for the instrument {row.symbol}")
        return f'"instIdCode":{code},"clOrdId":"{PREFIX}{self._tag}{ORDER_ID}"'

    def op(
        self,
        kind: RequestKind,
        lane: Lane,
        orders: Sequence[Order],
        request_id: int,
        utc_ns: int,
    ) -> Request:
        """A frame of the order socket for 1 to 20 orders; raises OrderError for more."""
        if not 1 <= len(orders) <= facts.BATCH_MAX:
            raise OrderError(f"{len(orders)} orders in a request: it takes 1 to {facts.BATCH_MAX}")
        head = self._heads[kind][len(orders) > 1]
        frame = self._composer.frame(kind, list(orders), head, _TAIL, request_id, utc_ns // 1_000_000)
        return Request(
            request_id,
            kind,
            lane,
            Way.ORDER_SOCKET,
            (orders[0].root_client_order_id,)
            if len(orders) == 1
            else tuple(order.root_client_order_id for order in orders),
            orders[0].instrument_id,
            frame,
            rates=facts.rates(kind, len(orders)),
        )

    def get(
        self,
        kind: RequestKind,
        request_id: int,
        path: str,
        utc_ns: int = 0,
        lane: Lane = Lane.RECONCILE,
        order: Order | None = None,
    ) -> Request:
        """A question; signed where a time is given."""
        return Request(
            request_id,
            kind,
            lane,
            Way.REST,
            () if order is None else (order.root_client_order_id,),
            -1 if order is None else order.instrument_id,
            method="GET",
            path=path,
            headers=self._headers("GET", path, "", utc_ns) if utc_ns else (),
            rates=facts.rates(kind, 1) if utc_ns else (),
        )

    def post(
        self,
        kind: RequestKind,
        lane: Lane,
        request_id: int,
        path: str,
        body: str,
        utc_ns: int,
        *,
        order_ids: tuple[int, ...] = (),
    ) -> Request:
        """A signed command by REST."""
        return Request(
            request_id,
            kind,
            lane,
            Way.REST,
            order_ids,
            method="POST",
            path=path,
            body=body.encode(),
            headers=self._headers("POST", path, body, utc_ns),
            rates=facts.rates(kind, max(len(order_ids), 1)),
        )

    def _headers(self, method: str, path: str, body: str, utc_ns: int) -> tuple[tuple[str, str], ...]:
        """Sign as "REST Authentication / Making Requests" says."""
        stamp = iso_ms_text(utc_ns)
        sign = self.signer.base64(method_text(stamp, method, path, body).encode())
        headers = (
            ("OK-ACCESS-KEY", self.signer.api_key),
            ("OK-ACCESS-SIGN", sign),
            ("OK-ACCESS-TIMESTAMP", stamp),
            ("OK-ACCESS-PASSPHRASE", self.signer.passphrase),
            ("Content-Type", "application/json"),
        )
        return (*headers, ("x-simulated-trading", "1")) if self._is_demo else headers
