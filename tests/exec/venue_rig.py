"""A venue session on a virtual clock, and a scripted venue that speaks the real protocol and misbehaves."""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from exec.client_ids import tag_of
from exec.entries import EntryWriter
from exec.keys import Keys
from exec.oms import Oms
from exec.order import Order
from exec.order_protocol import Channel, Request
from exec.venue_commands import NoRates, Rates, SessionTimes
from exec.venue_session import VenueSession
from exec.venues.binance_usdm.protocol import BinanceUsdm
from risk.exposure import ExposureBook
from shm.enums import IntentKind, OrderStatus, Side
from shm.instruments import Instrument
from shm.records import IntentRecord, ReportRecord
from shm.units import format_units, parse_units
from tests.exec.scene import EPOCH, MemoryJournal, linear
from tests.kit.intents import IntentDesk

MS = 1_000_000
SECOND = 1_000_000_000
TAG = tag_of("rig")
UTC0 = 1_700_000_000 * SECOND
ORDERS, PRIVATE = Channel.ORDER_SOCKET, Channel.PRIVATE_STREAM


class Rows:
    """The instruments as protocols see them."""

    def __init__(self, count: int) -> None:
        self.rows = {i: linear(i, venue_id=1) for i in range(count)}

    def row(self, instrument_id: int) -> Instrument:
        return self.rows[instrument_id]

    def find(self, venue_id: int, symbol: str) -> Instrument | None:
        return next((r for r in self.rows.values() if r.symbol == symbol and r.venue_id == venue_id), None)


@dataclass
class AtVenue:
    """An order as the venue has it."""

    symbol: str
    client_id: str
    order_id: int
    side: str
    price: int
    units: int
    type: str
    tif: str
    reduce_only: bool = False
    filled: int = 0
    status: str = "NEW"

    @property
    def is_open(self) -> bool:
        return self.status in ("NEW", "PARTIALLY_FILLED")


@dataclass
class Script:
    """What goes wrong; counts are used up."""

    answer_ns: int = 1 * MS
    stream_ns: int = 1 * MS
    rest_ns: int = 5 * MS
    lose_requests: int = 0  # commands that never arrive
    lose_answers: int = 0  # commands that are carried out without an answer
    duplicate_stream: bool = False
    mute_stream: bool = False
    refuse: list[tuple[int, int, str]] = field(
        default_factory=list
    )  # (status, code, text) for the next commands
    fill_before_ack: int = 0  # units filled at once, told before the acknowledgment
    lose_rest: int = 0
    delay_requests_ns: int = 0  # a slow way to the venue
    key_expires: bool = False


class ScriptedVenue:
    """Orders, fills and positions of one account; answers and events as scripted."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.script = Script()
        self.orders: dict[str, AtVenue] = {}
        self.trades: list[dict[str, Any]] = []
        self.positions: dict[str, int] = {}
        self.ids = itertools.count(1_000)
        self.trade_ids = itertools.count(1)
        self.methods: list[str] = []
        self.listen_keys = 0
        self.skew_ns = 0

    # ---- what arrives ----

    def on_frame(self, frame: bytes) -> None:
        data = json.loads(frame)
        method, params = data["method"], data["params"]
        self.methods.append(method)
        if method in ("order.place", "order.modify", "order.cancel") and self.script.lose_requests:
            self.script.lose_requests -= 1
            return
        self.rig.after(self.script.delay_requests_ns, lambda: self._do(data["id"], method, params))

    def _do(self, number: str, method: str, params: dict[str, Any]) -> None:
        arrived_ms = (UTC0 + self.rig.now_ns + self.skew_ns) // MS
        late = arrived_ms - params["timestamp"]
        if late > params["recvWindow"] or late < -1_000:
            return self._answer(
                number, 400, error=(-1021, "Timestamp for this request is outside of the recvWindow.")
            )
        is_command = method != "order.status"
        if is_command and self.script.refuse:
            status, code, text = self.script.refuse.pop(0)
            return self._answer(number, status, error=(code, text))
        outcome = self.execute(method, params)
        if is_command and self.script.lose_answers:
            self.script.lose_answers -= 1
            return None
        if isinstance(outcome, tuple):
            return self._answer(number, 400, error=outcome)
        return self._answer(number, 200, result=outcome)

    def _answer(
        self, number: str, status: int, *, result: Any = None, error: tuple[int, str] | None = None
    ) -> None:
        data: dict[str, Any] = {"id": number, "status": status}
        if error is not None:
            data["error"] = {"code": error[0], "msg": error[1]}
        else:
            data["result"] = result
        data["rateLimits"] = [
            {
                "rateLimitType": "REQUEST_WEIGHT",
                "interval": "MINUTE",
                "intervalNum": 1,
                "limit": 2400,
                "count": 7,
            }
        ]
        self.rig.deliver(ORDERS, data, self.script.answer_ns)

    def execute(self, method: str, params: dict[str, Any]) -> dict[str, Any] | tuple[int, str]:
        row = self.rig.rows.find(1, params["symbol"])
        assert row is not None
        if method == "order.place":
            return self._place(row, params)
        order = self.orders.get(params["origClientOrderId"])
        if order is None:
            return (
                (-2013, "Order does not exist.")
                if method != "order.cancel"
                else (-2011, "Unknown order sent.")
            )
        if method == "order.status":
            return self.state(order)
        if not order.is_open:
            return (
                (-2011, "Unknown order sent.")
                if method == "order.cancel"
                else (-2013, "Order does not exist.")
            )
        if method == "order.cancel":
            order.status = "CANCELED"
            self.tell(order, "CANCELED")
        else:
            order.price = parse_units(params["price"], row.price_exponent)
            order.units = parse_units(params["quantity"], row.quantity_exponent)
            self.tell(order, "AMENDMENT")
        return self.state(order)

    def _place(self, row: Instrument, params: dict[str, Any]) -> dict[str, Any]:
        order = AtVenue(
            row.symbol,
            params["newClientOrderId"],
            next(self.ids),
            params["side"],
            parse_units(params.get("price", "0"), row.price_exponent),
            parse_units(params["quantity"], row.quantity_exponent),
            params["type"],
            params.get("timeInForce", "GTC"),
            params.get("reduceOnly") == "true",
        )
        assert order.client_id not in self.orders, "the same order was placed twice"
        self.orders[order.client_id] = order
        answer = self.state(order)
        self.tell(order, "NEW")
        if self.script.fill_before_ack:
            self.fill(order.client_id, self.script.fill_before_ack)
        return answer

    # ---- what happens there ----

    def state(self, order: AtVenue) -> dict[str, Any]:
        row = self.rig.rows.find(1, order.symbol)
        assert row is not None
        return {
            "orderId": order.order_id,
            "symbol": order.symbol,
            "status": order.status,
            "clientOrderId": order.client_id,
            "price": format_units(order.price, row.price_exponent),
            "origQty": format_units(order.units, row.quantity_exponent),
            "executedQty": format_units(order.filled, row.quantity_exponent),
            "timeInForce": order.tif,
            "type": order.type,
            "side": order.side,
            "updateTime": (UTC0 + self.rig.now_ns) // MS,
        }

    def fill(self, client_id: str, units: int, price: int | None = None) -> None:
        order = self.orders[client_id]
        assert order.is_open
        order.filled += units
        assert order.filled <= order.units
        order.status = "FILLED" if order.filled == order.units else "PARTIALLY_FILLED"
        signed = units if order.side == "BUY" else -units
        self.positions[order.symbol] = self.positions.get(order.symbol, 0) + signed
        row = self.rig.rows.find(1, order.symbol)
        assert row is not None
        trade = {
            "symbol": order.symbol,
            "id": next(self.trade_ids),
            "orderId": order.order_id,
            "side": order.side,
            "price": format_units(order.price if price is None else price, row.price_exponent),
            "qty": format_units(units, row.quantity_exponent),
            "commission": "0.00000010",
            "commissionAsset": row.settle,
            "maker": True,
            "time": (UTC0 + self.rig.now_ns) // MS,
        }
        self.trades.append(trade)
        self.tell(order, "TRADE", trade)

    def tell(self, order: AtVenue, kind: str, trade: dict[str, Any] | None = None) -> None:
        if self.script.mute_stream:
            return
        row = self.rig.rows.find(1, order.symbol)
        assert row is not None
        body = {
            "s": order.symbol,
            "c": order.client_id,
            "S": order.side,
            "o": order.type,
            "f": order.tif,
            "q": format_units(order.units, row.quantity_exponent),
            "p": format_units(order.price, row.price_exponent),
            "x": kind,
            "X": order.status,
            "i": order.order_id,
            "l": trade["qty"] if trade else "0",
            "L": trade["price"] if trade else "0",
            "z": format_units(order.filled, row.quantity_exponent),
            "T": (UTC0 + self.rig.now_ns) // MS,
            "t": trade["id"] if trade else 0,
            "m": True,
            "n": trade["commission"] if trade else "0",
            "N": row.settle,
        }
        event = {"e": "ORDER_TRADE_UPDATE", "o": body}
        for _ in range(2 if self.script.duplicate_stream else 1):
            self.rig.deliver(PRIVATE, event, self.script.stream_ns)

    # ---- REST ----

    def on_rest(self, request: Request) -> None:
        if self.script.lose_rest:
            self.script.lose_rest -= 1
            return
        parts = urlsplit(request.path)
        params = dict(parse_qsl(parts.query))
        status, data = 200, self._rest(request.method, parts.path, params)
        if isinstance(data, tuple):
            status, data = 400, {"code": data[0], "msg": data[1]}
        body = json.dumps(data).encode()
        self.rig.answer_rest(request, status, body, self.script.rest_ns)

    def _rest(self, method: str, path: str, params: dict[str, str]) -> Any:
        self.methods.append(f"{method} {path}")
        if path == "/fapi/v1/time":
            return {"serverTime": (UTC0 + self.rig.now_ns + self.skew_ns) // MS}
        if path == "/fapi/v1/listenKey":
            if method == "PUT" and self.script.key_expires:
                self.script.key_expires = False
                return -1125, "This listenKey does not exist."
            self.listen_keys += method == "POST"
            return {"listenKey": f"key{self.listen_keys}"}
        if path == "/fapi/v1/openOrders":
            return [self.state(o) for o in self.orders.values() if o.is_open]
        if path == "/fapi/v3/positionRisk":
            return [
                {
                    "symbol": symbol,
                    "positionAmt": format_units(units, 3),
                    "entryPrice": "100.0",
                    "updateTime": 0,
                }
                for symbol, units in self.positions.items()
            ]
        if path == "/fapi/v1/userTrades":
            rows = [t for t in self.trades if t["symbol"] == params["symbol"]]
            if "orderId" in params:
                return [t for t in rows if t["orderId"] == int(params["orderId"])]
            return [t for t in rows if t["time"] >= int(params.get("startTime", "0"))]
        if path == "/fapi/v1/allOpenOrders":
            if self.script.refuse:
                _, code, text = self.script.refuse.pop(0)
                return code, text
            for order in self.orders.values():
                if order.is_open and order.symbol == params["symbol"]:
                    self.execute("order.cancel", {**params, "origClientOrderId": order.client_id})
            return {"code": 200, "msg": "done"}
        if path == "/fapi/v1/batchOrders":
            return self._batch(method, params)
        raise AssertionError(f"{method} {path}")

    def _batch(self, method: str, params: dict[str, str]) -> list[Any]:
        if "orderIdList" in params:
            names = [
                o.client_id for o in self.orders.values() if o.order_id in json.loads(params["orderIdList"])
            ]
        elif method == "DELETE":
            names = json.loads(params["origClientOrderIdList"])
        else:
            verb = "order.place" if method == "POST" else "order.modify"
            return [self._item(verb, row) for row in json.loads(params["batchOrders"])]
        return [
            self._item("order.cancel", {"symbol": params["symbol"], "origClientOrderId": name})
            for name in names
        ]

    def _item(self, verb: str, params: dict[str, Any]) -> dict[str, Any]:
        outcome = self.execute(verb, params)
        return {"code": outcome[0], "msg": outcome[1]} if isinstance(outcome, tuple) else outcome


class Rig(IntentDesk):
    """OMS, flow and one venue session wired as the gateway does it; also the session's link."""

    def __init__(
        self,
        *,
        instruments: int = 1,
        rates: Rates | None = None,
        times: SessionTimes | None = None,
        journal: MemoryJournal | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.now_ns = 1 * SECOND
        self.rows = Rows(instruments)
        self.ledger = ExposureBook(self.rows.row)
        self.reports: list[ReportRecord] = []
        self.events: list[tuple[str, str]] = []
        self.journal = journal or MemoryJournal()
        self.entries = EntryWriter(self.journal)
        self.oms = Oms(EPOCH, self.ledger, self._on_report, terminal_capacity=1_000)
        self.venue = ScriptedVenue(self)
        self.opened: dict[Channel, str] = {}
        self.stands = {ORDERS: False, PRIVATE: False}
        self.may_connect = True
        self.generation = {ORDERS: 0, PRIVATE: 0}
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.sent_frames: list[bytes] = []
        symbols = [row.symbol for row in self.rows.rows.values()]
        keys = Keys("key", "secret")
        self.protocol = BinanceUsdm(keys, TAG, self.rows, symbols=symbols, **(options or {}))
        self.session = VenueSession(
            self.protocol,
            self.oms,
            self,
            utc_ns=lambda: UTC0 + self.now_ns,
            venue_of=lambda i: self.rows.row(i).venue_id,
            entries=self.entries,
            rates=rates or NoRates(),
            times=times,
            on_event=lambda name, text: self.events.append((name, text)),
        )

    def _on_report(self, report: ReportRecord) -> None:
        self.entries.report(report, self.now_ns)
        self.reports.append(ReportRecord.from_bytes(report.to_bytes()))

    # ---- time ----

    def after(self, delay_ns: int, call: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now_ns + delay_ns, next(self._order), call))

    def run(self, for_ns: int) -> None:
        """Let that much time pass; the session's timer is served as the gateway does it."""
        end = self.now_ns + for_ns
        for _ in range(100_000):
            due = self.session.next_due_ns()
            times = [t for t in (due, self._queue[0][0] if self._queue else None) if t is not None]
            if not times or min(times) > end:
                break
            step = min(times)
            self.now_ns = max(self.now_ns, step)
            while self._queue and self._queue[0][0] <= self.now_ns:
                heapq.heappop(self._queue)[2]()
            self.session.on_timer(self.now_ns)
            self.session.flush(self.now_ns)
            again = self.session.next_due_ns()
            if again is not None and again <= self.now_ns:
                self.now_ns += 1_000
        else:
            raise AssertionError("the session is due for ever")
        self.now_ns = end

    def up(self) -> Rig:
        self.session.start(self.now_ns)
        self.run(2 * SECOND)
        assert self.session.is_connected, self.events
        return self

    # ---- the session's link ----

    def connect_orders(self, url: str) -> None:
        self._connect(ORDERS, url)

    def connect_private(self, url: str) -> None:
        if self.opened.get(PRIVATE) not in (None, url):
            self.cut(PRIVATE, "another address", reconnect=False)
        self._connect(PRIVATE, url)

    def _connect(self, channel: Channel, url: str) -> None:
        self.opened[channel] = url
        if not self.stands[channel]:
            self.after(2 * MS, lambda: self._stand(channel))

    def _stand(self, channel: Channel) -> None:
        if self.may_connect and not self.stands[channel]:
            self.stands[channel] = True
            self.session.on_open(channel, self.now_ns)
        elif not self.may_connect:
            self.after(100 * MS, lambda: self._stand(channel))

    def drop_orders(self, reason: str) -> None:
        self.cut(ORDERS, reason)

    def drop_private(self, reason: str) -> None:
        self.cut(PRIVATE, reason)

    def cut(self, channel: Channel, reason: str = "cut", *, reconnect: bool = True) -> None:
        """End a socket; what is on it is lost."""
        if not self.stands[channel]:
            return
        self.stands[channel] = False
        self.generation[channel] += 1
        self.after(0, lambda: self.session.on_lost(channel, reason, self.now_ns))
        if reconnect:
            self.after(50 * MS, lambda: self._stand(channel))

    def send_order(self, frame: bytes) -> bool:
        if not self.stands[ORDERS]:
            return False
        self.sent_frames.append(frame)
        generation = self.generation[ORDERS]
        self.after(0, lambda: self.venue.on_frame(frame) if generation == self.generation[ORDERS] else None)
        return True

    def send_private(self, frame: bytes) -> bool:
        del frame
        return self.stands[PRIVATE]

    def open_spare(self, url: str, of: Channel) -> None:
        raise AssertionError(url)  # `tests/tools/trading/test_rotation.py` has the whole venue

    def send_spare(self, frame: bytes, of: Channel) -> bool:
        raise AssertionError(frame)

    def swap_spare(self, of: Channel) -> None:
        raise AssertionError

    def drop_spare(self, of: Channel) -> None:
        raise AssertionError

    def send_rest(self, request: Request) -> bool:
        self.after(0, lambda: self.venue.on_rest(request))
        return True

    def deliver(self, channel: Channel, data: dict[str, Any], delay_ns: int) -> None:
        frame, generation = json.dumps(data).encode(), self.generation[channel]

        def arrive() -> None:
            if self.stands[channel] and generation == self.generation[channel]:
                self.session.on_frame(frame, channel, self.now_ns)

        self.after(delay_ns, arrive)

    def answer_rest(self, request: Request, status: int, body: bytes, delay_ns: int) -> None:
        self.after(delay_ns, lambda: self.session.on_rest(request, status, {}, body, self.now_ns))

    # ---- what a strategy does ----

    def process(self, intent: IntentRecord) -> None:
        self.after(0, lambda: None)  # the duty cycle ends here: what was gathered leaves
        super().process(intent)

    def buy(
        self,
        units: int = 10,
        price: int = 10_000,
        *,
        side: int = int(Side.BUY),
        instrument_id: int = 0,
        flags: int = 0,
    ) -> Order:
        intent = self.intent(IntentKind.NEW, instrument_id)
        intent.flags = flags
        return self.place(intent, side, units, price)

    def replace(self, order: Order, units: int, price: int) -> None:
        self.replace_with(order, price, units)

    # ---- what must hold ----

    def at_venue(self, order: Order) -> AtVenue:
        from exec.client_ids import encode

        return self.venue.orders[encode(order.root_client_order_id, TAG)]

    def status(self, order: Order) -> OrderStatus:
        return OrderStatus(order.status)

    def agrees(self) -> None:
        """Every order and position is what the venue has."""
        from exec.client_ids import decode

        for order in self.venue.orders.values():
            ours = self.oms.order(decode(order.client_id, TAG))
            if ours is None:
                assert not order.is_open, f"a ghost: {order}"
                continue
            assert ours.filled_units == order.filled, (ours, order)
            assert ours.is_terminal != order.is_open, (ours, order)
        for mine in self.oms.open_orders():
            assert self.at_venue(mine).is_open, mine
        for row in self.rows.rows.values():
            assert self.ledger.position_units(row.instrument_id) == self.venue.positions.get(row.symbol, 0)
