"""Bybit's words: frames of the trade socket and the private stream, and REST bodies, as our words.

States come from the topic `order`, fills from `execution`. The venue names no result of an amendment:
what was amended is remembered here, and an order pushed with those terms has been replaced.
"""

from __future__ import annotations

from typing import Final

from exec.client_ids import decode as decode_id
from exec.errors import DecodeError
from exec.foreign_fees import ForeignFees
from exec.lifecycle import Event
from exec.order_protocol import (
    Action,
    Answer,
    BalanceWord,
    Channel,
    ControlWord,
    Directory,
    OpenOrderWord,
    RequestKind,
    Sign,
    Word,
)
from exec.session import VenueReport
from exec.venues import reading
from exec.venues.bybit import facts
from exec.venues.bybit.errors import end_reason, meaning
from exec.venues.digests import digest63
from exec.venues.meanings import EXPIRES, refusal
from exec.venues.reading import Row
from shm.enums import Liquidity
from shm.instruments import Instrument

_KNOWN_STATES: Final = facts.OPEN_STATES | facts.ENDED_STATES | facts.OTHER_STATES | {facts.FILLED_STATE}
_AMENDMENTS_MAX: Final = 4096
_CATEGORY_OF_LETTER: Final = {name[0]: name for name in facts.CATEGORIES}


class BybitWords:
    """Reads what the venue says.

    Args:
        tag: of the instance: whose client order ids are ours.
        directory: the instruments.
    """

    def __init__(self, tag: str, directory: Directory) -> None:
        self.tag = tag
        self.directory = directory
        self.foreign_fees = ForeignFees()
        self._amendments: dict[int, tuple[int, int]] = {}

    def amending(self, order_id: int, price_units: int, order_units: int) -> None:
        """Remember the terms that an amendment asks for, until an order is seen with them."""
        self._amendments.pop(order_id, None)
        if len(self._amendments) >= _AMENDMENTS_MAX:
            del self._amendments[next(iter(self._amendments))]
        self._amendments[order_id] = (price_units, order_units)

    # ---- sockets -----------------------------------------------------------------------------------------

    def frame(self, frame: bytes, channel: Channel) -> list[Word]:
        """The words of a websocket frame; see `OrderProtocol.decode`."""
        del channel  # each message says what it is
        message = reading.load(frame)
        if "topic" in message:
            return self._pushed(message)
        if "op" not in message:
            return []
        op = reading.text(message, "op")
        kind = facts.KIND_OF_OP.get(op)
        if kind is not None:
            return self._answers(message, kind, is_batch=op.endswith("-batch"))
        if op in ("ping", "pong"):
            return [ControlWord(Sign.PONG, _number(message))]
        if op in ("auth", "subscribe"):
            return [*_session_word(message, is_login=op == "auth")]
        return []

    def _answers(self, message: Row, kind: RequestKind, *, is_batch: bool) -> list[Word]:
        """Answers on the trade socket ("Websocket Trade Guideline"): one code, or one for each order."""
        request_id, category = _wire_id(message)
        code = reading.code_of(message, "retCode")
        words = self._used(message, kind, category, request_id, is_batch=is_batch)
        if code != "0":
            answer = refusal(meaning(code, kind), request_id, code, reading.text(message, "retMsg", ""))
            if answer.action == Action.WAIT:
                answer.wait_ns = _wait_ns(message) or answer.wait_ns
            return [*words, answer]
        data = reading.child(message, "data")
        if not is_batch:
            return [*words, Answer(request_id, True, order_id=self._ours(data))]
        return [*words, *self._batch(message, data, kind, request_id)]

    def _batch(self, message: Row, data: Row, kind: RequestKind, request_id: int) -> list[Word]:
        """Orders in data.list, their codes in retExtInfo.list, in the same order ("Batch Place Order")."""
        items = reading.rows(data, "list")
        codes = reading.rows(reading.child(message, "retExtInfo"), "list")
        if not items or len(items) != len(codes):
            raise DecodeError(f"retExtInfo.list has {len(codes)} codes for {len(items)} orders")
        words: list[Word] = []
        for i, (item, said) in enumerate(zip(items, codes, strict=True)):
            code = reading.code_of(said, "code")
            if not code:
                raise DecodeError("code is missing in retExtInfo.list")
            order_id, is_last = self._ours(item), i == len(items) - 1
            if code == "0":
                words.append(Answer(request_id, True, order_id=order_id, is_last=is_last))
            else:
                text = reading.text(said, "msg", "")
                words.append(
                    refusal(meaning(code, kind), request_id, code, text, order_id=order_id, is_last=is_last)
                )
        return words

    @staticmethod
    def _used(
        message: Row, kind: RequestKind, category: str, request_id: int, *, is_batch: bool
    ) -> list[Word]:
        header = message.get("header")
        if not category or not isinstance(header, dict):
            return []
        name = facts.bucket(facts.PURPOSES[kind], category, is_batch=is_batch)
        found = used(
            {key.lower(): value for key, value in header.items() if isinstance(value, str)}, name, request_id
        )
        return [] if found is None else [found]

    def _pushed(self, message: Row) -> list[Word]:
        topic, _, kind = reading.text(message, "topic").partition(".")
        if kind == "fast":
            # A shorter form of executions, which we do not ask for: it says neither fee nor kind.
            return []
        words: list[Word] = []
        if topic == "order":
            seen: list[int] = []
            for row in reading.rows(message, "data"):
                words += self._order(row, seen)
            # Only now: a frame that can not be read must change nothing.
            for order_id in seen:
                self._amendments.pop(order_id, None)
        elif topic == "execution":
            for row in reading.rows(message, "data"):
                words += self.execution(row, reading.text(row, "category", ""))
        elif topic == "position":
            words = self.positions(reading.rows(message, "data"), "", "entryPrice")
        elif topic == "wallet":
            words = balances(reading.rows(message, "data"))
        return words

    # ---- orders ------------------------------------------------------------------------------------------

    def _order(self, row: Row, seen: list[int]) -> list[Word]:
        """A row of the topic `order`; appends to `seen` whose amendments are over."""
        order_id = self._ours(row)
        if not order_id:
            return []
        instrument = self._our_instrument(row, reading.text(row, "category"))
        return [*self._state(row, instrument, order_id, seen)]

    def _state(self, row: Row, instrument: Instrument, order_id: int, seen: list[int]) -> list[VenueReport]:
        state = reading.text(row, "orderStatus")
        if state not in _KNOWN_STATES:
            raise DecodeError(f"orderStatus is none we know: {reading.shown(state)}")
        if state in facts.ENDED_STATES:
            seen.append(order_id)
            return [self._end(row, instrument, order_id, state)]
        if state not in facts.OPEN_STATES:
            if state == facts.FILLED_STATE:
                seen.append(order_id)
            return []
        report = self._report(Event.ACCEPTED, row, instrument, order_id, with_terms=True)
        if self._amendments.get(order_id) == (report.price_units, report.order_units):
            seen.append(order_id)
            report.event = int(Event.REPLACED)
        return [report]

    def _end(self, row: Row, instrument: Instrument, order_id: int, state: str) -> VenueReport:
        reason = end_reason(reading.text(row, "rejectReason", ""), reading.text(row, "cancelType", ""))
        event = Event.EXPIRED if reason in EXPIRES else Event.CANCELED
        if state == "Rejected" and not reading.units(row, "cumExecQty", instrument.quantity_exponent):
            event = Event.REJECTED
        report = self._report(event, row, instrument, order_id)
        report.reason = int(reason)
        return report

    def _report(
        self, event: Event, row: Row, instrument: Instrument, order_id: int, *, with_terms: bool = False
    ) -> VenueReport:
        price = order_units = 0
        if with_terms:
            price = reading.units(row, "price", instrument.price_exponent)
            order_units = reading.positive(reading.units(row, "qty", instrument.quantity_exponent), "qty")
        return VenueReport(
            int(event),
            order_id,
            instrument.instrument_id,
            reading.side_of(row),
            venue_order_id=digest63(reading.text(row, "orderId", "")),
            price_units=price,
            order_units=order_units,
            venue_utc_ns=reading.ms_to_ns(row, "updatedTime") or reading.ms_to_ns(row, "createdTime"),
        )

    def execution(self, row: Row, category: str) -> list[Word]:
        """A row of the topic `execution`, or of "Get Trade History"; funding is no fill."""
        kind = reading.text(row, "execType")
        if kind in facts.NO_TRADES:
            return []
        order_id = self._ours(row)
        instrument = self._our_instrument(row, category) if order_id else self._instrument(row, category)
        if instrument is None:
            return []
        if kind in facts.SPLITS:
            return [ControlWord(Sign.FORCED, text=f"{kind} {instrument.symbol}")]
        if kind not in facts.TRADES and kind not in facts.FORCED:
            raise DecodeError(f"execType is none we know: {reading.shown(kind)}")
        words: list[Word] = []
        if kind in facts.FORCED:
            words.append(ControlWord(Sign.FORCED, text=f"{kind} {instrument.symbol}"))
        words.append(self._fill(row, instrument, order_id, category))
        return words

    def _fill(self, row: Row, instrument: Instrument, order_id: int, category: str) -> VenueReport:
        units = reading.positive(reading.units(row, "execQty", instrument.quantity_exponent), "execQty")
        price = reading.positive(reading.units(row, "execPrice", instrument.price_exponent), "execPrice")
        liquidity = int(Liquidity.MAKER if reading.is_true(row, "isMaker") else Liquidity.TAKER)
        side = reading.side_of(row)
        trade_id = digest63(reading.text(row, "execId"))
        if not trade_id:
            raise DecodeError("execId is empty")
        cost = reading.text(row, "execFee", "")
        currency = reading.text(row, "feeCurrency", "")
        if category == facts.SPOT.name and not currency:
            # "Fee Currency": what is received pays the fee; of a rebate it is the other way round.
            is_base = (side == reading.SIDES["Buy"]) != cost.startswith("-")
            currency = instrument.base if is_base else instrument.quote
        report = VenueReport(
            int(Event.FILL_PART),
            order_id,
            instrument.instrument_id,
            side,
            venue_order_id=digest63(reading.text(row, "orderId", "")),
            trade_id=trade_id,
            last_units=units,
            last_price_units=price,
            liquidity=liquidity,
            fee_units=reading.fee_e8(cost, currency, instrument, price, units, liquidity),
            venue_utc_ns=reading.ms_to_ns(row, "execTime"),
        )
        reading.note_foreign_fee(self.foreign_fees, report, cost, currency, instrument)
        return report

    # ---- questions ---------------------------------------------------------------------------------------

    def queried(self, row: Row, category: str, request_id: int) -> Answer:
        """The state of one order ("Get Open & Closed Orders", "Get Order History")."""
        order_id = self._ours(row)
        if not order_id:
            raise DecodeError(f"not an order that we asked for: {reading.shown(row.get('orderLinkId'))}")
        instrument = self._our_instrument(row, category)
        filled = reading.units(row, "cumExecQty", instrument.quantity_exponent)
        seen: list[int] = []
        reports = self._state(row, instrument, order_id, seen)
        if not reports and reading.text(row, "orderStatus") == facts.FILLED_STATE:
            # It ends by its fills; the question is answered all the same.
            reports = [self._report(Event.ACCEPTED, row, instrument, order_id, with_terms=True)]
        for done in seen:
            self._amendments.pop(done, None)
        return Answer(request_id, True, order_id=order_id, filled_units=filled, reports=reports)

    def open_order(self, row: Row, category: str) -> OpenOrderWord:
        """An order that rests ("Get Open & Closed Orders")."""
        instrument = self._instrument(row, category)
        price, units, filled = reading.order_terms(row, instrument, "price", "qty", "cumExecQty")
        return OpenOrderWord(
            self._ours(row),
            -1 if instrument is None else instrument.instrument_id,
            f"{category}:{reading.text(row, 'symbol')}",
            reading.side_of(row),
            price,
            units,
            filled,
            reading.text(row, "orderId"),
            reading.text(row, "orderLinkId", ""),
            reading.is_true(row, "reduceOnly"),
            reading.ms_to_ns(row, "createdTime"),
        )

    def positions(self, data: list[Row], category: str, average_key: str) -> list[Word]:
        """Positions with their side as sign; those of hedge mode are added up ("Get Position Info")."""
        found = []
        for row in data:
            name = category or reading.text(row, "category")
            symbol = reading.text(row, "symbol")
            instrument = self._instrument(row, name)
            units, average = reading.position_terms(row, instrument, "size", average_key)
            side = reading.text(row, "side", "")
            if side == "Sell":
                units = -units
            elif side != "Buy" and units:
                raise DecodeError(f"side of a position is none we know: {reading.shown(side)}")
            found.append((symbol, units, average, reading.ms_to_ns(row, "updatedTime")))
        return [*reading.net_positions(found, lambda name: self.directory.find(facts.LINEAR.venue_id, name))]

    # ---- inside ------------------------------------------------------------------------------------------

    def _instrument(self, row: Row, category: str) -> Instrument | None:
        found = facts.CATEGORIES.get(category)
        return None if found is None else self.directory.find(found.venue_id, reading.text(row, "symbol"))

    def _our_instrument(self, row: Row, category: str) -> Instrument:
        instrument = self._instrument(row, category)
        if instrument is None:
            raise DecodeError(f"our order in an instrument of no run: {category} {row.get('symbol')!r}")
        return instrument

    def _ours(self, row: Row) -> int:
        return decode_id(reading.text(row, "orderLinkId", ""), self.tag)


def _session_word(message: Row, *, is_login: bool) -> list[Word]:
    """Logins and subscriptions; the trade socket says retCode, the private stream success ("Connect")."""
    request_id = _number(message)
    code = reading.code_of(message, "retCode")
    written = message.get("req_id")
    is_dcp = isinstance(written, str) and written.endswith(facts.DCP_MARK)
    is_ok = message.get("success") is True if "success" in message else code == "0"
    if is_ok or code == "20001":
        # 20001: this connection is logged in already.
        if is_dcp:
            return [ControlWord(Sign.DEAD_MAN, text="subscribed")]
        return [ControlWord(Sign.LOGGED_IN if is_login else Sign.SUBSCRIBED, request_id)]
    text = reading.text(message, "retMsg", "") or reading.text(message, "ret_msg", "")
    if code in ("", "0"):
        # The private stream gives no code: whether it is the key or the clock only the text tells, so
        # try again.
        answer = Answer(request_id, False, action=Action.RELOGIN, text=text)
    else:
        answer = refusal(meaning(code, RequestKind.LOGIN), request_id, code, text)
    if is_dcp:
        # An account without it trades all the same, but nothing cancels for it when we are gone.
        return [ControlWord(Sign.DEAD_MAN, text=f"refused: {text}")]
    sign = Sign.LOGIN_REFUSED if is_login else Sign.SUBSCRIBE_REFUSED
    return [answer, ControlWord(sign, request_id, f"{code} {text}".strip())]


def _number(message: Row) -> int:
    return reading.request_number(message.get("reqId") or message.get("req_id"))


def _wire_id(message: Row) -> tuple[int, str]:
    """The request id and category that we wrote into reqId; (0, "") when it is none of ours."""
    written = message.get("reqId")
    if not isinstance(written, str) or not written:
        return 0, ""
    category = _CATEGORY_OF_LETTER.get(written[-1], "")
    request_id = reading.request_number(written[:-1]) if category else reading.request_number(written)
    return request_id, category if request_id else ""


def used(headers: dict[str, str], purpose: str, request_id: int) -> ControlWord | None:
    """An endpoint's limit, and how much of it is used ("Rate Limit Rules"); None = not said.

    Args:
        headers: of the answer, names in lower case.
        purpose: what the endpoint is counted by.
        request_id: of the request.
    """
    limit = reading.request_number(headers.get("x-bapi-limit", ""))
    rest = headers.get("x-bapi-limit-status", "")
    if not (limit and rest.isascii() and rest.isdecimal()):
        return None
    count = max(limit - int(rest[:18]), 0)
    return ControlWord(Sign.USED, request_id, values={purpose: count}, limits={purpose: limit})


def _wait_ns(message: Row) -> int:
    """How long until the limit is reset; 0 = not said."""
    header = message.get("header")
    if not isinstance(header, dict):
        return 0
    until = reading.request_number(header.get("X-Bapi-Limit-Reset-Timestamp"))
    now = reading.request_number(header.get("Timenow"))
    if not now or until <= now:
        return 0
    return min((until - now) * 1_000_000, facts.WAIT_MAX_NS)


def balances(data: list[Row]) -> list[Word]:
    """Wallets of coins ("Get Wallet Balance", "Private / Wallet").

    Available is what no order or position holds: availableToWithdraw is not kept for unified accounts
    any more. That nothing else is held back is *unconfirmed*.
    """
    words: list[Word] = []
    for account in data:
        for row in reading.rows(account, "coin"):
            total = reading.floored(row, "walletBalance", 8)
            held = sum(reading.floored(row, key, 8) for key in ("locked", "totalOrderIM", "totalPositionIM"))
            words.append(BalanceWord(reading.text(row, "coin"), total, max(total - held, 0)))
    return words
