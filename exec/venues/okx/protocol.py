"""OKX as bytes: orders, questions and sessions out, its words in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final
from urllib.parse import quote

import orjson

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
from exec.signing import method_text
from exec.venues import reading
from exec.venues.addresses import with_path
from exec.venues.meanings import refusal
from exec.venues.okx import facts
from exec.venues.okx.errors import NOT_FOUND, http_meaning, meaning
from exec.venues.okx.requests import OkxRequests
from exec.venues.okx.words import OkxWords, balances
from exec.venues.order_window import ORDER_WINDOW_MS, life_s
from exec.venues.remembering import keep
from shm.enums import InstrumentKind, Reason
from shm.instruments import Instrument

_SPOT: Final = int(InstrumentKind.SPOT)


class Okx(OrderProtocol):
    """Order entry at OKX: one account, net positions, websocket for orders, REST for questions.

    Args:
        keys: API key, secret and passphrase.
        tag: of the instance.
        directory: the instruments.
        order_url, private_url: base addresses ("" = the real venue); a path behind the host is kept.
        symbols: what the run trades; nothing here is asked per symbol.
        td_mode: margin mode of derivatives, "cross" or "isolated".
        is_demo: mark REST requests as demo trading's.
        order_window_ms: how late a new order or an amendment may reach the venue.

    Raises:
        OrderError: a margin mode the venue does not have, or a window that makes no sense.
        KeysError: keys that are no HMAC keys.
    """

    name: ClassVar[str] = facts.NAME
    venue_ids: ClassVar[tuple[int, ...]] = (facts.VENUE_ID,)
    max_new_batch: ClassVar[int] = facts.BATCH_MAX
    max_cancel_batch: ClassVar[int] = facts.BATCH_MAX
    max_replace_batch: ClassVar[int] = facts.BATCH_MAX
    ping_s: ClassVar[float] = facts.PING_S
    subscriptions: ClassVar[int] = len(facts.CHANNELS)
    rest_url: ClassVar[str] = facts.REST_URL
    dead_man_max_s: ClassVar[float] = facts.DEAD_MAN_MAX_S

    def __init__(
        self,
        keys: Keys,
        tag: str,
        directory: Directory,
        *,
        order_url: str = "",
        private_url: str = "",
        symbols: Sequence[str] = (),
        td_mode: str = "cross",
        is_demo: bool = False,
        order_window_ms: int = ORDER_WINDOW_MS,
    ) -> None:
        del symbols
        self.request_life_s = life_s(order_window_ms)
        self._directory = directory
        self._requests = OkxRequests(
            keys, tag, directory, td_mode, is_demo=is_demo, order_window_ms=order_window_ms
        )
        self._order_url = with_path(order_url or facts.WEBSOCKET_URL, facts.PRIVATE_PATH)
        self._private_url = with_path(private_url or facts.WEBSOCKET_URL, facts.PRIVATE_PATH)
        self._words = OkxWords(tag, directory)
        self.foreign_fees = self._words.foreign_fees
        self._order_ids: dict[int, str] = {}
        self._pages: dict[int, str] = {}

    # ---- connections -------------------------------------------------------------------------------------

    def order_url(self) -> str:
        """Address of the order socket."""
        return self._order_url

    def private_url(self) -> str:
        """Address of the private channels: the same path, a connection of their own."""
        return self._private_url

    def opening_requests(self, first_request_id: int, utc_ns: int) -> Sequence[Request]:
        """Ask the instrument codes that orders by websocket need, and the account's position mode."""
        requests = [
            self._requests.get(
                RequestKind.ACCOUNT, first_request_id + i, f"{facts.INSTRUMENTS_PATH}?instType={kind}"
            )
            for i, kind in enumerate(facts.INSTRUMENT_TYPES)
        ]
        requests.append(
            self._requests.get(
                RequestKind.ACCOUNT, first_request_id + len(requests), facts.CONFIG_PATH, utc_ns
            )
        )
        return requests

    def logins(self, channel: Channel, request_id: int, utc_ns: int) -> Sequence[bytes]:
        """The login of a connection; the venue echoes no id of it."""
        del channel, request_id
        signer = self._requests.signer
        seconds = str(utc_ns // 1_000_000_000)
        sign = signer.base64(method_text(seconds, "GET", facts.LOGIN_PATH).encode())
        return (
            b'{"op":"login","args":[{"apiKey":%s,"passphrase":%s,"timestamp":"%s","sign":"%s"}]}'
            % (_json(signer.api_key), _json(signer.passphrase), seconds.encode(), sign.encode()),
        )

    def subscribes(self, request_id: int, utc_ns: int) -> Sequence[bytes]:
        """One frame for each channel: orders, positions, account."""
        del utc_ns
        frames = []
        for i, channel in enumerate(facts.CHANNELS):
            arg = ",".join(f'"{name}":"{value}"' for name, value in channel.items())
            frames.append(f'{{"id":"{request_id + i}","op":"subscribe","args":[{{{arg}}}]}}'.encode())
        return frames

    def ping(self, utc_ns: int) -> bytes:
        """The text the venue answers by "pong"."""
        del utc_ns
        return facts.PING

    def keep_alive(self, request_id: int, utc_ns: int) -> Request | None:
        """None: a login lasts as long as its connection."""
        del request_id, utc_ns
        return None

    # ---- orders ------------------------------------------------------------------------------------------

    def new(self, orders: Sequence[Order], request_id: int, utc_ns: int) -> Request:
        """Place up to 20 orders; they expire unplaced when they come too late."""
        return self._requests.op(RequestKind.NEW, Lane.NEW, orders, request_id, utc_ns)

    def cancel(
        self, orders: Sequence[Order], request_id: int, utc_ns: int, lane: Lane = Lane.CANCEL
    ) -> Request:
        """Cancel up to 20 orders by our id."""
        if not all(self._requests.is_coded(order) for order in orders):
            # Before the codes are here: REST takes instruments by name, and a cancel does not wait.
            items = (self._requests.named_arg(order) for order in orders)
            body = "[" + ",".join(items) + "]"
            ids = tuple(order.root_client_order_id for order in orders)
            kind, path = RequestKind.CANCEL, facts.CANCEL_BATCH_PATH
            return self._requests.post(kind, lane, request_id, path, body, utc_ns, order_ids=ids)
        return self._requests.op(RequestKind.CANCEL, lane, orders, request_id, utc_ns)

    def batch_key(self, kind: RequestKind, order: Order) -> int:
        """Orders of one instrument share a request: venue and request count by instrument."""
        del kind
        return order.instrument_id

    def has_position(self, instrument_id: int) -> bool:
        """Whether it is a contract: what is bought outright is a balance."""
        return bool(self._directory.row(instrument_id).kind != _SPOT)

    def replace(self, orders: Sequence[Order], request_id: int, utc_ns: int) -> Request:
        """Amend up to 20 orders; newSz is the whole quantity, what is filled included."""
        return self._requests.op(RequestKind.REPLACE, Lane.NEW, orders, request_id, utc_ns)

    def cancel_foreign(
        self, orders: Sequence[OpenOrderWord], request_id: int, utc_ns: int
    ) -> Sequence[Request]:
        """Cancel by the venue's id over REST, which takes instruments by name: also those of no run."""
        requests: list[Request] = []
        for i in range(0, len(orders), facts.BATCH_MAX):
            some = orders[i : i + facts.BATCH_MAX]
            items = (f'{{"instId":"{word.symbol}","ordId":"{word.venue_order_id}"}}' for word in some)
            requests.append(
                self._requests.post(
                    RequestKind.CANCEL,
                    Lane.CANCEL,
                    request_id + len(requests),
                    facts.CANCEL_BATCH_PATH,
                    "[" + ",".join(items) + "]",
                    utc_ns,
                    order_ids=tuple(word.client_order_id for word in some),
                )
            )
        return requests

    def mass_cancel(self, instrument_ids: Sequence[int], request_id: int, utc_ns: int) -> Sequence[Request]:
        """None: the venue cancels all at once for options only. Ask OPEN_ORDERS and cancel what it names."""
        del instrument_ids, request_id, utc_ns
        return ()

    # ---- questions ---------------------------------------------------------------------------------------

    def query(self, order: Order, request_id: int, utc_ns: int) -> Sequence[Request]:
        """Ask the state of one order by our id; its fills are asked by `fills_of` where they are missing."""
        row = self._requests.row(order)
        path = f"{facts.ORDER_PATH}?instId={row.symbol}&clOrdId={self._requests.client_id(order)}"
        return (self._requests.get(RequestKind.QUERY, request_id, path, utc_ns, Lane.RECONCILE, order),)

    def fills_of(self, order: Order, request_id: int, utc_ns: int) -> Sequence[Request]:
        """Ask an order's fills of the last three days: by the venue's id, or the instrument's newest.

        Behind a full page the next call asks for the next one.
        """
        row = self._requests.row(order)
        venue_id = self._order_ids.get(order.root_client_order_id, "") or str(order.venue_order_id or "")
        kind = "SPOT" if row.kind == _SPOT else _instrument_type(row)
        path = f"{facts.FILLS_PATH}?instType={kind}&instId={row.symbol}"
        if venue_id:
            path += f"&ordId={venue_id}"
        after = self._pages.get(order.root_client_order_id)
        if after:
            path += f"&after={after}"
        return (self._requests.get(RequestKind.FILLS, request_id, path, utc_ns, Lane.RECONCILE, order),)

    def snapshot(
        self, kind: RequestKind, request_id: int, utc_ns: int, *, since_utc_ns: int = 0, cursor: str = ""
    ) -> Sequence[Request]:
        """Ask open orders, positions, fills or balances of the whole account.

        Raises:
            OrderError: another kind.
        """
        after = f"&after={quote(cursor)}" if cursor else ""
        if kind == RequestKind.OPEN_ORDERS:
            path = f"{facts.PENDING_PATH}?limit={facts.PAGE}{after}"
        elif kind == RequestKind.POSITIONS:
            path = facts.POSITIONS_PATH
        elif kind == RequestKind.FILLS:
            begin = f"&begin={since_utc_ns // 1_000_000}" if since_utc_ns else ""
            path = f"{facts.FILLS_PATH}?limit={facts.PAGE}{begin}{after}"
        elif kind == RequestKind.BALANCES:
            path = facts.BALANCE_PATH
        else:
            raise OrderError(f"a snapshot of {kind!r} is nothing the venue has")
        return (self._requests.get(kind, request_id, path, utc_ns, Lane.RECONCILE),)

    def dead_man(self, timeout_s: float, request_id: int, utc_ns: int) -> Sequence[Request]:
        """Arm the account's timer: whole seconds, at least 10 and at most 120; 0 disarms."""
        seconds = 0
        if timeout_s > 0:
            seconds = min(max(round(timeout_s), facts.DEAD_MAN_MIN_S), facts.DEAD_MAN_MAX_S)
        body = f'{{"timeOut":"{seconds}"}}'
        kind = RequestKind.DEAD_MAN
        return (self._requests.post(kind, Lane.CANCEL, request_id, facts.DEAD_MAN_PATH, body, utc_ns),)

    def server_time(self, request_id: int) -> Request:
        """Ask the venue's clock."""
        return self._requests.get(RequestKind.SERVER_TIME, request_id, facts.TIME_PATH)

    # ---- listening ---------------------------------------------------------------------------------------

    def decode(self, frame: bytes, channel: Channel) -> list[Word]:
        """The words of a frame."""
        return self._words.frame(frame, channel)

    def decode_rest(
        self, request: Request, status: int, headers: Mapping[str, str], body: bytes
    ) -> list[Word]:
        """The words of a REST answer."""
        del headers  # the venue says nothing of rates
        if not status:
            return [_unknown(request, "0", "no answer")]
        try:
            message = reading.load(body)
        except DecodeError:
            if status == 200:
                raise
            return [_unknown(request, str(status), f"HTTP {status}", status)]
        code = reading.code_of(message, "code")
        if request.kind in (RequestKind.NEW, RequestKind.REPLACE, RequestKind.CANCEL):
            return self._words.answers(message, request.kind, request.request_id)
        if code != "0":
            if request.kind == RequestKind.QUERY and code in NOT_FOUND:
                return [self._not_found(request, code)]
            return [
                refusal(
                    meaning(code, request.kind), request.request_id, code, reading.text(message, "msg", "")
                )
            ]
        return self._answered(request, reading.rows(message, "data"))

    def _answered(self, request: Request, data: list[reading.Row]) -> list[Word]:
        kind, request_id = request.kind, request.request_id
        words: list[Word] = []
        if kind == RequestKind.QUERY:
            return [self._queried(request, data)]
        if kind == RequestKind.FILLS:
            wanted = request.order_ids
            reports = [r for r in self._words.fills(data) if not wanted or r.client_order_id in wanted]
            end = _end_or_more(request_id, data, reading.text(data[-1], "billId", "") if data else "")
            for order_id in wanted:
                self._pages.pop(order_id, None)
                if end.sign == Sign.MORE:
                    keep(self._pages, order_id, end.text)
            if wanted:
                end = ControlWord(Sign.SNAPSHOT_END, request_id)
            return [Answer(request_id, True, reports=reports), end]
        if kind == RequestKind.OPEN_ORDERS:
            words += [self._words.open_order(row) for row in data]
            words.append(_end_or_more(request_id, data, reading.text(data[-1], "ordId") if data else ""))
        elif kind == RequestKind.POSITIONS:
            words += [*self._words.positions(data), ControlWord(Sign.SNAPSHOT_END, request_id)]
        elif kind == RequestKind.BALANCES:
            words += [*balances(data), ControlWord(Sign.SNAPSHOT_END, request_id)]
        elif kind == RequestKind.SERVER_TIME:
            utc_ns = reading.ms_to_ns(_only(data), "ts")
            words.append(ControlWord(Sign.SERVER_TIME, request_id, venue_utc_ns=utc_ns))
            words.append(Answer(request_id, True))
        elif kind == RequestKind.DEAD_MAN:
            trigger = reading.text(_only(data), "triggerTime", "")
            words += [Answer(request_id, True), ControlWord(Sign.DEAD_MAN, request_id, trigger)]
        elif kind == RequestKind.ACCOUNT:
            words.append(self._account(request, data))
        return words

    def _queried(self, request: Request, data: list[reading.Row]) -> Answer:
        if not data:
            return self._not_found(request, "")
        row = _only(data)
        answer = self._words.queried(row, request.request_id)
        if answer.order_id not in request.order_ids:
            raise DecodeError(f"an order that we did not ask for: {reading.shown(row.get('clOrdId'))}")
        keep(self._order_ids, answer.order_id, reading.text(row, "ordId"))
        return answer

    def _not_found(self, request: Request, code: str) -> Answer:
        order_id = request.order_ids[0]
        report = VenueReport(int(Event.NOT_FOUND), order_id, request.instrument_id, 0)
        return Answer(
            request.request_id, True, code=code, order_id=order_id, reports=[report], filled_units=0
        )

    def _account(self, request: Request, data: list[reading.Row]) -> Answer:
        """Keep instrument codes and mode; refuse an account whose modes we do not trade in."""
        if request.path.startswith(facts.CONFIG_PATH):
            text = self._mode_refused(_only(data))
            if not text:
                return Answer(request.request_id, True)
            return Answer(request.request_id, False, Reason.VENUE_ACCESS, Action.STOP, "", text)
        codes: dict[str, int] = {}
        for row in data:
            code = row.get("instIdCode")
            if isinstance(code, int) and not isinstance(code, bool) and code > 0:
                codes[reading.text(row, "instId")] = code
        self._requests.learn(codes)
        return Answer(request.request_id, True)

    def _mode_refused(self, row: reading.Row) -> str:
        """Why the account's modes are not what we trade with; "" = they are."""
        mode, level = reading.text(row, "posMode"), reading.text(row, "acctLv")
        if mode != facts.POSITION_MODE:
            return f"the account's position mode is {mode}; it must be {facts.POSITION_MODE}"
        if level not in facts.TD_MODE_SPOT:
            known = ", ".join(facts.TD_MODE_SPOT)
            return f"the account's mode (acctLv) is {level}; it must be one of {known}"
        self._requests.take_level(level)
        return ""


def _instrument_type(row: Instrument) -> str:
    return "FUTURES" if row.kind == InstrumentKind.FUTURE else "SWAP"


def _json(value: str) -> bytes:
    return orjson.dumps(value)


def _only(data: list[reading.Row]) -> reading.Row:
    if len(data) != 1:
        raise DecodeError(f"data holds {len(data)} rows, not one")
    return data[0]


def _end_or_more(request_id: int, data: list[reading.Row], cursor: str) -> ControlWord:
    if len(data) < facts.PAGE or not cursor:
        return ControlWord(Sign.SNAPSHOT_END, request_id)
    return ControlWord(Sign.MORE, request_id, cursor)


def _unknown(request: Request, code: str, text: str, status: int = 0) -> Answer:
    """No answer that can be read."""
    found = http_meaning(status)
    return Answer(request.request_id, False, found.reason, found.action, code, text, wait_ns=found.wait_ns)
