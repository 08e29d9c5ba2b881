"""A venue session over the real protocol against a simulated venue's code, on a virtual clock."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from exec.client_ids import encode, tag_of
from exec.entries import EntryWriter
from exec.keys import Keys
from exec.oms import Oms
from exec.order import Order
from exec.order_protocol import Channel, OrderProtocol, Request
from exec.simulator.latency import Latency
from exec.venue_commands import SessionTimes
from exec.venue_session import VenueSession
from exec.venues import make_protocol
from risk.exposure import ExposureBook
from shm.enums import InstrumentKind, IntentKind, OrderFlags, OrderStatus, OrderType, Side, TimeInForce
from shm.instruments import Instrument
from shm.records import ReportRecord
from tests.exec.scene import EPOCH, MemoryJournal
from tests.kit.intents import IntentDesk
from tools.venues.protocol import HttpReply, HttpRequest, Route, Subscriber
from tools.venues.trading.accounts import Account
from tools.venues.trading.desk import TradingDesk, VenueTrading
from tools.venues.trading.exchange import Exchange
from tools.venues.trading.keys import ApiKey
from tools.venues.trading.port import QuietPort
from tools.venues.trading.terms import E8, Listing

MS, SECOND = 1_000_000, 1_000_000_000
UTC0 = 1_700_000_000 * SECOND
TAG = tag_of("pair")
ORDERS, PRIVATE, SPARE = Channel.ORDER_SOCKET, Channel.PRIVATE_STREAM, Channel.SPARE_STREAM
BUY, SELL = Side.BUY, Side.SELL
KEY = ApiKey("main", "key-of-main", "hmac", "secret-of-main", "phrase of main")


class Rows:
    """The instruments of the session: the listings, under the venue ids of the protocol."""

    def __init__(self, rows: list[Instrument]) -> None:
        self.rows = rows

    def row(self, instrument_id: int) -> Instrument:
        return self.rows[instrument_id]

    def find(self, venue_id: int, symbol: str) -> Instrument | None:
        return next((r for r in self.rows if (r.venue_id, r.symbol) == (venue_id, symbol)), None)


class Wire(Subscriber):
    """A websocket client of the venue whose frames reach the session a little later."""

    def __init__(self, pair: Pair, channel: Channel, route: Route) -> None:
        self.pair, self.channel, self.route = pair, channel, route
        self.number = next(pair.numbers)
        self.notes = {}
        self.subscriptions = {}
        self.is_open = True

    def say(self, frame: bytes) -> None:
        self.pair.after(self.pair.wire_ns, lambda: self._deliver(frame))

    def _deliver(self, frame: bytes) -> None:
        if self.is_open:
            self.pair.heard.append((self.channel, frame))
            self.pair.session.on_frame(frame, self.channel, self.pair.now_ns)

    def abort(self) -> None:
        self.pair.cut(self.channel)

    def close(self, code: int, reason: str) -> None:
        self.pair.cut(self.channel)

    def subscribe(self, names: list[str]) -> str | None:
        raise AssertionError(names)

    def unsubscribe(self, names: list[str]) -> None:
        raise AssertionError(names)


class Pair(IntentDesk):
    """OMS and session on one side, desk and exchange on the other; also the session's link."""

    wire_ns = 1 * MS

    def __init__(
        self,
        name: str,
        trading: VenueTrading,
        listings: list[Listing],
        rows: list[Instrument],
        *,
        market_http: Callable[[HttpRequest], HttpReply | None],
        times: SessionTimes | None = None,
        keys: Keys | None = None,
        balances: dict[str, int] | None = None,
        **options: Any,
    ) -> None:
        self.now_ns = 1 * SECOND
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.heard: list[tuple[Channel, bytes]] = []
        self.events: list[tuple[str, str]] = []
        self.reports: list[ReportRecord] = []
        self.paths: list[str] = []
        self.port = QuietPort()
        self.trading = trading
        self._market_http = market_http
        account = Account("main", 0, balances or {"USDT": 10**6 * E8, "BTC": 100 * E8}, 20)
        self.exchange = Exchange(
            listings, [account], self.port, trading.rules, lambda: (UTC0 + self.now_ns) // MS
        )
        self.desk = TradingDesk(
            self.exchange, trading, [KEY], Latency(), Latency(),
            now_ns=lambda: self.now_ns,
            clock_ms=lambda: (UTC0 + self.now_ns) // MS,
            wake=lambda due: self.after(max(0, due - self.now_ns), lambda: self.desk.run(self.now_ns)),
        )  # fmt: skip
        self.rows = Rows(rows)
        self.ledger = ExposureBook(self.rows.row)
        self.entries = EntryWriter(MemoryJournal())
        self.oms = Oms(EPOCH, self.ledger, self._on_report, terminal_capacity=1_000)
        self.protocol: OrderProtocol = make_protocol(
            name,
            keys or Keys(KEY.api_key, KEY.secret, KEY.passphrase),
            TAG,
            self.rows,
            order_url="ws://venue",
            private_url="ws://venue",
            **options,
        )
        self.session = VenueSession(
            self.protocol,
            self.oms,
            self,
            utc_ns=lambda: UTC0 + self.now_ns,
            venue_of=lambda i: self.rows.row(i).venue_id,
            entries=self.entries,
            times=times,
            on_event=lambda event, text: self.events.append((event, text)),
        )
        self.wires: dict[Channel, Wire] = {}
        self.numbers = itertools.count(1)
        #: How long the venue lets a private stream live, 0 = for ever.
        self.life_ns = 0
        self.may_connect = True
        self._addresses: dict[Channel, str] = {}
        self._loop = asyncio.new_event_loop()

    def _on_report(self, report: ReportRecord) -> None:
        self.reports.append(ReportRecord.from_bytes(report.to_bytes()))

    # ---- time ----

    def after(self, delay_ns: int, call: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now_ns + delay_ns, next(self._order), call))

    def run(self, for_ns: int = 100 * MS) -> None:
        end = self.now_ns + for_ns
        for _ in range(100_000):
            self.session.flush(self.now_ns)
            due = self.session.next_due_ns()
            times = [t for t in (due, self._queue[0][0] if self._queue else None) if t is not None]
            if not times or min(times) > end:
                break
            self.now_ns = max(self.now_ns, min(times))
            while self._queue and self._queue[0][0] <= self.now_ns:
                heapq.heappop(self._queue)[2]()
            self.session.on_timer(self.now_ns)
            again = self.session.next_due_ns()
            if again is not None and again <= self.now_ns:
                self.now_ns += 1_000
        else:
            raise AssertionError("the session is due for ever")
        self.now_ns = end

    def up(self) -> Pair:
        self.session.start(self.now_ns)
        self.run(2 * SECOND)
        assert self.session.is_connected, self.events
        return self

    # ---- orders ----

    def order(
        self,
        side: int,
        units: int,
        price: int = 0,
        *,
        instrument_id: int = 0,
        tif: int = TimeInForce.GTC,
        flags: int = 0,
    ) -> Order:
        """Place an order (a market order without a price) without letting time pass."""
        intent = self.intent(IntentKind.NEW, instrument_id)
        intent.order_type = int(OrderType.LIMIT if price else OrderType.MARKET)
        intent.time_in_force, intent.flags = int(tif), int(flags)
        return self.place(intent, side, units, price)

    def placed(self, *args: Any, **options: Any) -> Order:
        """Place an order and let it arrive and be answered."""
        made = self.order(*args, **options)
        self.run()
        return made

    def replace(self, order: Order, price: int, units: int) -> None:
        """Replace an order's price and total quantity."""
        self.replace_with(order, price, units)

    # ---- the session's link ----

    def connect_orders(self, url: str) -> None:
        self._connect(ORDERS, url)

    def connect_private(self, url: str) -> None:
        self._connect(PRIVATE, url)

    def _connect(self, channel: Channel, url: str) -> None:
        self._addresses[channel] = url
        if channel not in self.wires:
            self.after(2 * MS, lambda: self._stand(channel))

    def _stand(self, channel: Channel) -> None:
        if channel in self.wires or channel not in self._addresses:
            return
        if not self.may_connect:
            self.after(100 * MS, lambda: self._stand(channel))
            return
        route = self.trading.route(urlsplit(self._addresses[channel]).path)
        assert isinstance(route, Route), route
        self.wires[channel] = Wire(self, channel, route)
        wire = self.wires[channel]
        if self.life_ns:
            self.after(self.life_ns, lambda: self.cut(wire.channel) if wire.is_open else None)
        self.trading.on_join(wire)
        self.session.on_open(channel, self.now_ns)

    def drop_orders(self, reason: str) -> None:
        self.cut(ORDERS)

    def drop_private(self, reason: str) -> None:
        self.cut(PRIVATE)

    def cut(self, channel: Channel) -> None:
        """End a socket; what is on it is lost; it is opened again."""
        wire = self.wires.pop(channel, None)
        if wire is None:
            return
        wire.is_open = False
        self.trading.on_leave(wire)
        self.after(0, lambda: self.session.on_lost(channel, "cut", self.now_ns))
        self.after(50 * MS, lambda: self._stand(channel))

    def send_order(self, frame: bytes) -> bool:
        return self._send(ORDERS, frame)

    def send_private(self, frame: bytes) -> bool:
        return self._send(PRIVATE, frame)

    def open_spare(self, url: str, of: Channel) -> None:
        self._connect(of.spare, url)

    def send_spare(self, frame: bytes, of: Channel) -> bool:
        return self._send(of.spare, frame)

    def swap_spare(self, of: Channel) -> None:
        self.wires[of.spare], self.wires[of] = self.wires[of], self.wires[of.spare]
        for channel, wire in self.wires.items():
            wire.channel = channel

    def drop_spare(self, of: Channel) -> None:
        self._addresses.pop(of.spare, None)
        wire = self.wires.pop(of.spare, None)
        if wire is not None:
            wire.is_open = False
            self.trading.on_leave(wire)

    def _send(self, channel: Channel, frame: bytes) -> bool:
        wire = self.wires.get(channel)
        if wire is None:
            return False
        self.after(self.wire_ns, lambda: self.trading.on_text(wire, frame) if wire.is_open else None)
        return True

    def send_rest(self, request: Request) -> bool:
        self.after(2 * self.wire_ns, lambda: self._on_rest(request))
        return True

    def _on_rest(self, request: Request) -> None:
        parts = urlsplit(request.path)
        self.paths.append(f"{request.method} {request.path}")
        asked = HttpRequest(
            request.method,
            parts.path,
            tuple(parse_qsl(parts.query, keep_blank_values=True)),
            {name.lower(): value for name, value in request.headers},
            request.body,
            request.path,
        )
        reply = self._market_http(asked) or self._answer(asked)
        headers = {name.lower(): value for name, value in reply.headers}
        self.after(
            2 * self.wire_ns,
            lambda: self.session.on_rest(request, reply.status, headers, reply.body, self.now_ns),
        )

    def _answer(self, asked: HttpRequest) -> HttpReply:
        """What the venue answers, at once: without latency every reply is there when it is asked for."""

        async def answer() -> HttpReply:
            found = self.trading.on_http(asked)
            assert found is not None, asked
            return found if isinstance(found, HttpReply) else await found

        return self._loop.run_until_complete(answer())

    # ---- judging ----

    def book(self, key: str, bid: int, ask: int, units: int) -> None:
        """Display twenty levels a side."""
        self.port.set_book(key, [(bid - i, units) for i in range(20)], [(ask + i, units) for i in range(20)])
        self.desk.on_market()

    def agree(self) -> None:
        """Compare every order and position with the venue's own books."""
        for held in self.oms.open_orders():
            assert held.status != OrderStatus.UNKNOWN, held
        ours = {o.root_client_order_id: o for o in self.oms.open_orders()}
        theirs = self.exchange.accounts["main"].open_orders.values()
        texts = {one.terms.client_id: one for one in theirs}
        assert set(texts) == {encode(root, TAG) for root in ours}
        for root, mine in ours.items():
            one = texts[encode(root, TAG)]
            assert (mine.price_units, mine.order_units, mine.filled_units) == (
                one.price_units, one.units, one.filled,
            ), (mine, one)  # fmt: skip
        for row in self.rows.rows:
            key = next(k for k, one in self.exchange.listings.items() if one.instrument.symbol == row.symbol
                       and one.is_spot == (row.kind == InstrumentKind.SPOT))  # fmt: skip
            holding = self.exchange.accounts["main"].holdings.get(key)
            units = holding.units if holding else 0
            assert self.ledger.position_units(row.instrument_id) == units, row.symbol


POST_ONLY, REDUCE_ONLY = OrderFlags.POST_ONLY, OrderFlags.REDUCE_ONLY
