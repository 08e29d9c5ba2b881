"""What the venue says, as words: websocket API answers, the user data stream, REST answers.

Sources: "Event: Order Update", "Event: Balance and Position Update" and the response examples of the USD-M
futures documentation. The stream's AMENDMENT and the answer to a modify say the same thing twice; the session
drops the second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from exec.client_ids import decode
from exec.errors import DecodeError
from exec.foreign_fees import ForeignFees
from exec.lifecycle import Event
from exec.order_protocol import (
    Action,
    Answer,
    BalanceWord,
    ControlWord,
    Directory,
    OpenOrderWord,
    PositionWord,
    Request,
    RequestKind,
    Sign,
    Word,
)
from exec.session import VenueReport
from exec.venues.binance_usdm.errors import SECOND_NS, expired_reason, meaning, wait_of
from exec.venues.binance_usdm.orders import ORDERS_1M, ORDERS_10S, WEIGHT, read_wire_id
from exec.venues.binance_usdm.values import (
    MALFORMED,
    MS_NS,
    Json,
    average_of,
    broken,
    code_of,
    exact_e8,
    load_object,
    price_of,
    quantity_of,
    take_fee,
    utc_ns_of,
)
from shm.enums import Liquidity, Reason, Side
from shm.instruments import Instrument
from shm.units import split_decimal

_SIDE = {"BUY": int(Side.BUY), "SELL": int(Side.SELL)}
_USED = {
    ("REQUEST_WEIGHT", "MINUTE", 1): WEIGHT,
    ("ORDERS", "SECOND", 10): ORDERS_10S,
    ("ORDERS", "MINUTE", 1): ORDERS_1M,
}
_USED_HEADERS = {
    "x-mbx-used-weight-1m": WEIGHT,
    "x-mbx-order-count-10s": ORDERS_10S,
    "x-mbx-order-count-1m": ORDERS_1M,
}
#: Client order ids of orders that the venue itself places on an account.
FORCED_IDS = {
    "autoclose-": "liquidation",
    "adl_autoclose": "deleveraging",
    "settlement_autoclose-": "settlement",
    "delivery_autoclose-": "delivery",
}
_LIVE = frozenset(("NEW", "PARTIALLY_FILLED", "FILLED", "NEW_INSURANCE", "NEW_ADL"))
_EXPIRED = frozenset(("EXPIRED", "EXPIRED_IN_MATCH"))


class Listener:
    """Turns frames and bodies into words.

    Args:
        venue_id: of the instruments.
        tag: of the instance; orders of others have client order id 0.
        directory: the instruments.
    """

    def __init__(self, venue_id: int, tag: str, directory: Directory) -> None:
        self.listen_key = ""
        self.foreign_fees = ForeignFees()
        self._venue_id = venue_id
        self._tag = tag
        self._directory = directory
        self._events: dict[str, Callable[[Json], list[Word]]] = {
            "ORDER_TRADE_UPDATE": self._order_update,
            "ACCOUNT_UPDATE": self._account_update,
            "listenKeyExpired": self._key_expired,
            "MARGIN_CALL": self._margin_call,
            "serverShutdown": lambda _data: [ControlWord(Sign.CLOSING, text="server shutdown")],
        }
        self._rows: dict[RequestKind, Callable[[Request, list[Json]], list[Word]]] = {
            RequestKind.OPEN_ORDERS: self._open_orders,
            RequestKind.POSITIONS: self._positions,
            RequestKind.BALANCES: self._balances,
            RequestKind.FILLS: self._fills,
        }

    # ---- websocket API --------------------------------------------------------------------------

    def order_socket(self, frame: bytes) -> list[Word]:
        """The words of an answer, the rate limits it names first."""
        data = load_object(frame, "answer")
        if "status" not in data:
            return self._event(data)
        kind, request_id, order_id = read_wire_id(data.get("id"))
        words: list[Word] = []
        status, result = data["status"], data.get("result")
        try:
            used, limits = self._used(data.get("rateLimits"))
            if used:
                words.append(ControlWord(Sign.USED, values=used, limits=limits))
            if status != 200 or not isinstance(result, dict):
                words += self._refused(kind, request_id, order_id, status, data.get("error") or {})
            elif kind == RequestKind.LOGIN:
                words.append(
                    ControlWord(Sign.LOGGED_IN, request_id, venue_utc_ns=utc_ns_of(result, "serverTime"))
                )
            else:
                words.append(self._accepted(kind, request_id, result))
        except MALFORMED as error:
            raise broken("answer", data, error) from error
        return words

    @staticmethod
    def _used(said: object) -> tuple[dict[str, int], dict[str, int]]:
        used: dict[str, int] = {}
        limits: dict[str, int] = {}
        for row in said if isinstance(said, list) else ():
            name = _USED.get((row.get("rateLimitType"), row.get("interval"), row.get("intervalNum")))
            if name is not None and int(row.get("count", -1)) >= 0:
                used[name], limits[name] = int(row["count"]), int(row.get("limit", 0))
        return used, limits

    def _refused(
        self, kind: int, request_id: int, order_id: int, status: int, error: Mapping[str, Any]
    ) -> list[Word]:
        code, text = int(error.get("code", 0)), str(error.get("msg", ""))
        data = error.get("data")
        data = data if isinstance(data, dict) else {}
        means = meaning(code, text, status)
        if kind == RequestKind.QUERY and means.reason == Reason.VENUE_UNKNOWN_ORDER:
            return [self._not_found(request_id, order_id)]
        answer = Answer(request_id, False, means.reason, means.action, str(code), text, order_id)
        if means.action is Action.WAIT:
            until_ms, now_ms = int(data.get("retryAfter", 0)), int(data.get("serverTime", 0))
            answer.wait_ns = wait_of(text, status, 0, until_ms, now_ms * MS_NS)
        if kind == RequestKind.LOGIN:
            return [answer, ControlWord(Sign.LOGIN_REFUSED, request_id, f"{code} {text}")]
        return [answer]

    @staticmethod
    def _not_found(request_id: int, order_id: int) -> Answer:
        report = VenueReport(Event.NOT_FOUND, order_id, 0, 0)
        return Answer(request_id, True, order_id=order_id, reports=[report])

    def _accepted(self, kind: int, request_id: int, result: Json) -> Answer:
        if "orderId" not in result:
            return Answer(request_id, True)
        return self._state(kind, request_id, result)

    def _state(self, kind: int, request_id: int, data: Json) -> Answer:
        """An order as an answer describes it."""
        client_id = decode(data.get("clientOrderId", ""), self._tag)
        row = self._find(data["symbol"])
        if row is None:
            return Answer(request_id, True, order_id=client_id)
        status = data["status"]
        filled = quantity_of(row, data, "executedQty")
        event, reason = Event.ACCEPTED, Reason.NONE
        if status in _EXPIRED:
            event = Event.EXPIRED
            reason = expired_reason(status, data.get("type", ""), data.get("timeInForce", ""))
        elif status == "CANCELED":
            event = Event.CANCELED
        elif status == "REJECTED":
            event, reason = Event.REJECTED, Reason.VENUE_REJECTED
        elif status not in _LIVE:
            raise ValueError(f"status {status!r} is not known")
        elif kind == RequestKind.REPLACE:
            event = Event.REPLACED
        report = VenueReport(
            event,
            client_id,
            row.instrument_id,
            _SIDE[data["side"]],
            venue_order_id=int(data["orderId"]),
            reason=int(reason),
            price_units=price_of(row, data, "price"),
            order_units=quantity_of(row, data, "origQty"),
            venue_utc_ns=utc_ns_of(data, "updateTime"),
        )
        return Answer(request_id, True, order_id=client_id, reports=[report], filled_units=filled)

    # ---- user data stream -----------------------------------------------------------------------

    def private_stream(self, frame: bytes) -> list[Word]:
        """The words of an event."""
        return self._event(load_object(frame, "event"))

    def _event(self, data: Json) -> list[Word]:
        for wrapper in ("data", "event"):
            if isinstance(data.get(wrapper), dict):
                data = data[wrapper]
        handler = self._events.get(str(data.get("e", "")))
        if handler is None:
            return []
        try:
            return handler(data)
        except MALFORMED as error:
            raise broken(str(data["e"]), data, error) from error

    def _order_update(self, event: Json) -> list[Word]:
        data = event["o"]
        text, kind = data["c"], data["x"]
        words: list[Word] = []
        forced = next((what for start, what in FORCED_IDS.items() if text.startswith(start)), "")
        if forced or kind == "CALCULATED":
            what = forced or "liquidation"
            words.append(ControlWord(Sign.FORCED, text=f"{what}: {data['S']} {data['q']} {data['s']}"))
        row = self._find(data["s"])
        if row is None:
            return words
        report = VenueReport(
            Event.ACCEPTED,
            decode(text, self._tag),
            row.instrument_id,
            _SIDE[data["S"]],
            venue_order_id=int(data["i"]),
            venue_utc_ns=utc_ns_of(data, "T"),
        )
        if kind in ("TRADE", "CALCULATED"):
            if not int(data["t"]):
                return words  # a liquidation that only begins
            report.event = Event.FILL_PART
            report.trade_id = int(data["t"])
            report.last_units = quantity_of(row, data, "l")
            report.last_price_units = price_of(row, data, "L")
            report.liquidity = int(Liquidity.MAKER if data["m"] else Liquidity.TAKER)
            take_fee(row, report, data.get("N", ""), data.get("n", "0"), self.foreign_fees)
        elif kind in ("NEW", "AMENDMENT"):
            report.event = Event.ACCEPTED if kind == "NEW" else Event.REPLACED
            report.price_units = price_of(row, data, "p")
            report.order_units = quantity_of(row, data, "q")
        elif kind == "CANCELED":
            report.event = Event.CANCELED
        elif kind in ("EXPIRED", "TRADE_PREVENTION"):
            report.event = Event.EXPIRED
            report.reason = int(expired_reason(data["X"], data.get("o", ""), data["f"], data.get("er", "")))
        elif kind == "REJECTED":
            report.event, report.reason = Event.REJECTED, int(Reason.VENUE_REJECTED)
        else:
            raise ValueError(f"execution type x {kind!r} is not known")
        words.append(report)
        return words

    def _account_update(self, event: Json) -> list[Word]:
        data, utc_ns = event["a"], utc_ns_of(event, "T")
        words: list[Word] = [
            # What is free of it the stream does not say: what is not tied to isolated positions is the most.
            BalanceWord(row["a"], exact_e8(row["wb"]), exact_e8(row["cw"]), utc_ns)
            for row in data.get("B", ())
        ]
        for position in data.get("P", ()):
            row = self._find(position["s"])
            if row is not None and position.get("ps", "BOTH") == "BOTH":
                words.append(
                    PositionWord(
                        row.instrument_id,
                        row.symbol,
                        quantity_of(row, position, "pa"),
                        average_of(row, position["ep"]),
                        utc_ns,
                    )
                )
        return words

    def _key_expired(self, event: Json) -> list[Word]:
        key = event.get("listenKey", "")
        if key and self.listen_key and key != self.listen_key:
            return []  # an older one
        self.listen_key = ""
        return [ControlWord(Sign.LISTEN_KEY_EXPIRED)]

    @staticmethod
    def _margin_call(event: Json) -> list[Word]:
        symbols = ", ".join(str(row.get("s")) for row in event.get("p", ()))
        return [ControlWord(Sign.MARGIN_CALL, text=f"margin call: {symbols}")]

    # ---- REST -----------------------------------------------------------------------------------

    def rest(self, request: Request, status: int, headers: Mapping[str, str], body: bytes) -> list[Word]:
        """The words of a REST answer, the rate limits in its headers first."""
        words: list[Word] = []
        used = {
            name: int(headers[header])
            for header, name in _USED_HEADERS.items()
            if headers.get(header, "").isdecimal()
        }
        if used:
            words.append(ControlWord(Sign.USED, values=used))
        if not 200 <= status < 300:
            words.append(self._rest_refused(request, status, headers, body))
            return words
        try:
            data = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise DecodeError(f"REST {request.kind.name}: not JSON: {body[:80]!r}") from error
        try:
            words += self._rest_words(request, data)
        except MALFORMED as error:
            raise broken(f"REST {request.kind.name}", data, error) from error
        return words

    def _rest_refused(self, request: Request, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        try:
            data = orjson.loads(body)
        except orjson.JSONDecodeError:
            data = {}
        if not isinstance(data, dict):
            data = {}
        code, text = (
            code_of(data),
            str(data.get("msg", "")) or body[:120].decode("utf-8", "replace"),
        )
        means = meaning(code, text, status)
        order_id = request.order_ids[0] if len(request.order_ids) == 1 else 0
        if request.kind is RequestKind.QUERY and means.reason == Reason.VENUE_UNKNOWN_ORDER:
            return self._not_found(request.request_id, order_id)
        answer = Answer(
            request.request_id, False, means.reason, means.action, str(code or status), text, order_id
        )
        if means.action is Action.WAIT:
            after = headers.get("retry-after", "")
            answer.wait_ns = wait_of(text, status, int(after) * SECOND_NS if after.isdecimal() else 0, 0, 0)
        return answer

    def _rest_words(self, request: Request, data: Any) -> list[Word]:
        kind, request_id = request.kind, request.request_id
        if kind in self._rows:
            if not isinstance(data, list):
                raise TypeError(f"a list is expected, not {type(data).__name__}")
            return self._rows[kind](request, data)
        if kind is RequestKind.LISTEN_KEY:
            self.listen_key = data["listenKey"]
            return [ControlWord(Sign.LISTEN_KEY, request_id, self.listen_key), Answer(request_id, True)]
        if kind is RequestKind.SERVER_TIME:
            time = ControlWord(Sign.SERVER_TIME, request_id, venue_utc_ns=utc_ns_of(data, "serverTime"))
            return [time, Answer(request_id, True)]
        if kind is RequestKind.DEAD_MAN:
            return [
                ControlWord(Sign.DEAD_MAN, request_id, str(data.get("symbol", ""))),
                Answer(request_id, True),
            ]
        if isinstance(data, list):
            return self._items(request, data)
        if isinstance(data, dict) and "orderId" in data:
            return [self._state(kind, request_id, data)]
        return [Answer(request_id, True)]

    def _items(self, request: Request, data: list[Json]) -> list[Word]:
        """The answers to the orders of a batch, in the order they were sent."""
        answers: list[Word] = []
        for index, item in enumerate(data):
            order_id = request.order_ids[index] if index < len(request.order_ids) else 0
            if "orderId" in item:
                answer = self._state(request.kind, request.request_id, item)
            else:
                code, text = int(item.get("code", 0)), str(item.get("msg", ""))
                means = meaning(code, text)
                answer = Answer(request.request_id, False, means.reason, means.action, str(code), text)
                if means.action is Action.WAIT:
                    answer.wait_ns = wait_of(text, 0, 0, 0, 0)
            answer.order_id = answer.order_id or order_id
            answer.is_last = index == len(data) - 1
            answers.append(answer)
        return answers or [Answer(request.request_id, True)]

    def _open_orders(self, request: Request, rows: list[Json]) -> list[Word]:
        words: list[Word] = []
        for data in rows:
            row = self._find(data["symbol"])
            price, units, filled = (
                (
                    price_of(row, data, "price"),
                    quantity_of(row, data, "origQty"),
                    quantity_of(row, data, "executedQty"),
                )
                if row is not None
                else (0, 0, 0)
            )
            text = data["clientOrderId"]
            words.append(
                OpenOrderWord(
                    decode(text, self._tag),
                    -1 if row is None else row.instrument_id,
                    data["symbol"],
                    _SIDE[data["side"]],
                    price,
                    units,
                    filled,
                    str(data["orderId"]),
                    text,
                    bool(data.get("reduceOnly", False)),
                    utc_ns_of(data, "updateTime"),
                )
            )
        return [*words, ControlWord(Sign.SNAPSHOT_END, request.request_id)]

    def _positions(self, request: Request, rows: list[Json]) -> list[Word]:
        """Net positions; in hedge mode the two sides of a symbol are summed, without an average price."""
        found: dict[str, PositionWord] = {}
        for data in rows:
            row = self._find(data["symbol"])
            if row is None:
                if split_decimal(data["positionAmt"])[0]:
                    found[data["symbol"]] = PositionWord(
                        -1, data["symbol"], 0, 0, utc_ns_of(data, "updateTime")
                    )
                continue
            units, average = quantity_of(row, data, "positionAmt"), average_of(row, data["entryPrice"])
            other = found.get(row.symbol)
            if other is not None:
                units, average = units + other.position_units, 0
            found[row.symbol] = PositionWord(
                row.instrument_id, row.symbol, units, average, utc_ns_of(data, "updateTime")
            )
        return [*found.values(), ControlWord(Sign.SNAPSHOT_END, request.request_id)]

    @staticmethod
    def _balances(request: Request, rows: list[Json]) -> list[Word]:
        words: list[Word] = [
            BalanceWord(
                row["asset"],
                exact_e8(row["balance"]),
                exact_e8(row["availableBalance"]),
                utc_ns_of(row, "updateTime"),
            )
            for row in rows
        ]
        return [*words, ControlWord(Sign.SNAPSHOT_END, request.request_id)]

    def _fills(self, request: Request, rows: list[Json]) -> list[Word]:
        order_id = request.order_ids[0] if request.order_ids else 0
        reports = []
        for data in rows:
            row = self._find(data["symbol"])
            if row is None:
                continue
            report = VenueReport(
                Event.FILL_PART,
                order_id,
                row.instrument_id,
                _SIDE[data["side"]],
                venue_order_id=int(data["orderId"]),
                trade_id=int(data["id"]),
                last_units=quantity_of(row, data, "qty"),
                last_price_units=price_of(row, data, "price"),
                liquidity=int(Liquidity.MAKER if data["maker"] else Liquidity.TAKER),
                venue_utc_ns=utc_ns_of(data, "time"),
            )
            fee, asset = data.get("commission", "0"), data.get("commissionAsset", "")
            take_fee(row, report, asset, fee, self.foreign_fees)
            reports.append(report)
        request_id = request.request_id
        answer = Answer(request_id, True, order_id=order_id, reports=reports)
        return [answer, ControlWord(Sign.SNAPSHOT_END, request_id)]

    # ---- inside ---------------------------------------------------------------------------------

    def _find(self, symbol: str) -> Instrument | None:
        return self._directory.find(self._venue_id, symbol)
