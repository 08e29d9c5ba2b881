"""OKX's words: frames of both sockets and REST bodies as our words.

"WS / Order channel", "Guidelines": a tradeId means a fill; the terminal state is said once or more; a
reqId answers an amendment. Each row gives its fill first, then what became of the order.
"""

from __future__ import annotations

from typing import Final

from exec.client_ids import decode as decode_id
from exec.errors import DecodeError
from exec.foreign_fees import ForeignFees
from exec.lifecycle import Event
from exec.order_protocol import (
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
from exec.venues.digests import number63
from exec.venues.meanings import EXPIRES, refusal
from exec.venues.okx import facts
from exec.venues.okx.errors import CANCEL_REASONS, LOGIN_CODES, meaning
from exec.venues.reading import Row
from shm.enums import Liquidity, Reason
from shm.instruments import Instrument

_LIQUIDITY: Final = {"T": Liquidity.TAKER, "M": Liquidity.MAKER, "": Liquidity.NONE}
_KNOWN_STATES: Final = facts.OPEN_STATES | facts.ENDED_STATES | {facts.FILLED_STATE}


class OkxWords:
    """Reads what the venue says; keeps nothing.

    Args:
        tag: of the instance: whose client order ids are ours.
        directory: the instruments.
    """

    def __init__(self, tag: str, directory: Directory) -> None:
        self.tag = tag
        self.directory = directory
        self.foreign_fees = ForeignFees()

    # ---- sockets -----------------------------------------------------------------------------------------

    def frame(self, frame: bytes, channel: Channel) -> list[Word]:
        """The words of a websocket frame; see `OrderProtocol.decode`."""
        del channel  # one address serves both; each message says what it is
        if frame == facts.PONG:
            return [ControlWord(Sign.PONG)]
        message = reading.load(frame)
        if "op" in message:
            return self._answers(message)
        if "event" in message:
            return self._event(message)
        if "arg" in message:
            return self._pushed(message)
        return []

    def _answers(self, message: Row) -> list[Word]:
        """Answers on the order socket: one sCode for each order ("WS / Place order")."""
        kind = facts.KIND_OF_OP.get(reading.text(message, "op"))
        if kind is None:
            return []
        return self.answers(message, kind, reading.request_number(message.get("id")))

    def answers(self, message: Row, kind: RequestKind, request_id: int) -> list[Word]:
        """Answers of an order request, by socket or REST: one for each order, or one for all."""
        code = reading.code_of(message, "code")
        items = reading.rows(message, "data") if message.get("data") is not None else []
        if not items:
            if code == "0":
                raise DecodeError("data is empty in an answer that says success")
            return [refusal(meaning(code, kind), request_id, code, reading.text(message, "msg", ""))]
        words: list[Word] = []
        for item in items:
            item_code = reading.code_of(item, "sCode")
            if not item_code:
                raise DecodeError("sCode is missing")
            order_id = self._ours(item)
            if item_code == "0":
                words.append(Answer(request_id, True, order_id=order_id, is_last=False))
            else:
                text = reading.text(item, "sMsg", "")
                words.append(
                    refusal(
                        meaning(item_code, kind),
                        request_id,
                        item_code,
                        text,
                        order_id=order_id,
                        is_last=False,
                    )
                )
        last = words[-1]
        assert isinstance(last, Answer)
        last.is_last = True
        return words

    def _event(self, message: Row) -> list[Word]:
        """Logins, subscriptions, notices ("WebSocket / Login", "Subscribe", "Notification")."""
        event = reading.text(message, "event")
        request_id = reading.request_number(message.get("id"))
        code, text = reading.code_of(message, "code"), reading.text(message, "msg", "")
        if event == "login" and code in ("", "0"):
            return [ControlWord(Sign.LOGGED_IN, request_id)]
        if event == "subscribe":
            channel = reading.text(reading.child(message, "arg"), "channel")
            return [ControlWord(Sign.SUBSCRIBED, request_id, channel)]
        if event == "notice":
            # 64008: the connection ends soon for a service upgrade.
            return [ControlWord(Sign.CLOSING, request_id, f"{code} {text}")]
        if event in ("error", "login"):
            found = meaning(code)
            answer = Answer(request_id, False, found.reason, found.action, code, text, wait_ns=found.wait_ns)
            sign = Sign.LOGIN_REFUSED if event == "login" or code in LOGIN_CODES else Sign.SUBSCRIBE_REFUSED
            return [answer, ControlWord(sign, request_id, f"{code} {text}")]
        if event == "channel-conn-count-error":
            # "WebSocket connection count limit": 30 connections of an account and channel.
            return [ControlWord(Sign.SUBSCRIBE_REFUSED, request_id, reading.text(message, "channel", ""))]
        return []

    def _pushed(self, message: Row) -> list[Word]:
        channel = reading.text(reading.child(message, "arg"), "channel")
        if channel == "orders":
            words: list[Word] = []
            for row in reading.rows(message, "data"):
                words += self._order(row)
            return words
        if channel == "positions":
            return self.positions(reading.rows(message, "data"))
        if channel == "account":
            return balances(reading.rows(message, "data"))
        return []

    # ---- orders ------------------------------------------------------------------------------------------

    def _order(self, row: Row) -> list[Word]:
        """A row of the orders channel: a fill, an amendment's result, a state, in this order."""
        order_id = self._ours(row)
        instrument = self._instrument(row)
        if instrument is None:
            if order_id:
                raise DecodeError(f"our order in an instrument of no run: {row.get('instId')!r}")
            return []
        words: list[Word] = []
        category = reading.text(row, "category", "")
        if category in facts.FORCED:
            words.append(ControlWord(Sign.FORCED, text=f"{category} {instrument.symbol}"))
        if reading.text(row, "tradeId", "") and reading.units(row, "fillSz", instrument.quantity_exponent):
            words.append(self.fill(row, instrument, order_id, fee_key="fillFee", currency_key="fillFeeCcy"))
        if order_id:
            words += self._state(row, instrument, order_id)
        return words

    def _state(self, row: Row, instrument: Instrument, order_id: int) -> list[Word]:
        state = reading.text(row, "state")
        if state not in _KNOWN_STATES:
            raise DecodeError(f"state is none we know: {reading.shown(state)}")
        amended = reading.text(row, "amendResult", "")
        words: list[Word] = []
        if amended == "0" and state in facts.OPEN_STATES:
            words.append(self._report(Event.REPLACED, row, instrument, order_id, with_terms=True))
        elif amended in ("-1", "1"):
            report = self._report(Event.REPLACE_REJECTED, row, instrument, order_id)
            report.reason = int(meaning(reading.code_of(row, "code"), RequestKind.REPLACE).reason)
            words.append(report)
        elif amended not in ("", "0", "2"):
            raise DecodeError(f"amendResult is none we know: {reading.shown(amended)}")
        if state == "live" and not words:
            words.append(self._report(Event.ACCEPTED, row, instrument, order_id, with_terms=True))
        elif state in facts.ENDED_STATES or self._is_cut(row, state):
            words.append(self._end(row, instrument, order_id))
        return words

    @staticmethod
    def _is_cut(row: Row, state: str) -> bool:
        """Whether the venue made a reduce-only order smaller and filled that: the rest of ours is nowhere."""
        return state == facts.FILLED_STATE and reading.text(row, "amendSource", "") in ("2", "3", "4")

    def _end(self, row: Row, instrument: Instrument, order_id: int) -> VenueReport:
        reason = CANCEL_REASONS.get(reading.text(row, "cancelSource", ""), Reason.VENUE_REJECTED)
        if reading.text(row, "state") == facts.FILLED_STATE:
            reason = Reason.VENUE_REDUCE_ONLY
        event = Event.EXPIRED if reason in EXPIRES else Event.CANCELED
        report = self._report(event, row, instrument, order_id)
        report.reason = int(reason)
        return report

    def _report(
        self, event: Event, row: Row, instrument: Instrument, order_id: int, *, with_terms: bool = False
    ) -> VenueReport:
        price = order_units = 0
        if with_terms:
            price = reading.units(row, "px", instrument.price_exponent)
            order_units = reading.positive(reading.units(row, "sz", instrument.quantity_exponent), "sz")
        return VenueReport(
            int(event),
            order_id,
            instrument.instrument_id,
            reading.side_of(row),
            venue_order_id=venue_number(row, "ordId"),
            price_units=price,
            order_units=order_units,
            venue_utc_ns=reading.ms_to_ns(row, "uTime"),
        )

    def fill(
        self, row: Row, instrument: Instrument, order_id: int, *, fee_key: str, currency_key: str
    ) -> VenueReport:
        """A fill of the orders channel or "GET / Transaction details"; what we pay is written negative."""
        units = reading.positive(reading.units(row, "fillSz", instrument.quantity_exponent), "fillSz")
        price = reading.positive(reading.units(row, "fillPx", instrument.price_exponent), "fillPx")
        liquidity = _LIQUIDITY.get(reading.text(row, "execType", ""))
        if liquidity is None:
            raise DecodeError(f"execType is none we know: {reading.shown(row.get('execType'))}")
        cost = reading.negated(reading.text(row, fee_key, ""))
        currency = reading.text(row, currency_key, "")
        trade_id = number63(reading.text(row, "tradeId"))
        if not trade_id:
            raise DecodeError("tradeId is empty in a fill")
        report = VenueReport(
            int(Event.FILL_PART),
            order_id,
            instrument.instrument_id,
            reading.side_of(row),
            venue_order_id=venue_number(row, "ordId"),
            trade_id=trade_id,
            last_units=units,
            last_price_units=price,
            liquidity=int(liquidity),
            fee_units=reading.fee_e8(cost, currency, instrument, price, units, int(liquidity)),
            venue_utc_ns=reading.ms_to_ns(row, "fillTime") or reading.ms_to_ns(row, "ts"),
        )
        reading.note_foreign_fee(self.foreign_fees, report, cost, currency, instrument)
        return report

    # ---- questions ---------------------------------------------------------------------------------------

    def queried(self, row: Row, request_id: int) -> Answer:
        """The state of one order ("GET / Order details"); a filled one ends by its fills."""
        order_id = self._ours(row)
        instrument = self._instrument(row)
        if not order_id or instrument is None:
            raise DecodeError(f"not an order that we asked for: {reading.shown(row.get('clOrdId'))}")
        state = reading.text(row, "state")
        filled = reading.units(row, "accFillSz", instrument.quantity_exponent)
        answer = Answer(request_id, True, order_id=order_id, filled_units=filled)
        if state in facts.OPEN_STATES or state == facts.FILLED_STATE:
            answer.reports.append(self._report(Event.ACCEPTED, row, instrument, order_id, with_terms=True))
        elif state in facts.ENDED_STATES:
            answer.reports.append(self._end(row, instrument, order_id))
        else:
            raise DecodeError(f"state is none we know: {reading.shown(state)}")
        return answer

    def fills(self, data: list[Row]) -> list[VenueReport]:
        """Fills, oldest first ("GET / Transaction details"); instruments of no run are left out."""
        reports = []
        for row in reversed(data):
            instrument = self._instrument(row)
            if instrument is not None:
                reports.append(
                    self.fill(row, instrument, self._ours(row), fee_key="fee", currency_key="feeCcy")
                )
        return reports

    def open_order(self, row: Row) -> OpenOrderWord:
        """An order that rests ("GET / Order List")."""
        instrument = self._instrument(row)
        price, units, filled = reading.order_terms(row, instrument, "px", "sz", "accFillSz")
        return OpenOrderWord(
            self._ours(row),
            -1 if instrument is None else instrument.instrument_id,
            reading.text(row, "instId"),
            reading.side_of(row),
            price,
            units,
            filled,
            reading.text(row, "ordId"),
            reading.text(row, "clOrdId", ""),
            reading.is_true(row, "reduceOnly"),
            reading.ms_to_ns(row, "cTime"),
        )

    def positions(self, data: list[Row]) -> list[Word]:
        """Positions: net ones are signed, long and short ones added up ("WS / Positions channel")."""
        found = []
        for row in data:
            symbol = reading.text(row, "instId")
            instrument = self.directory.find(facts.VENUE_ID, symbol)
            if reading.text(row, "instType", "") == "MARGIN":
                # A borrowed position in a pair's name: not the pair's own, and nothing we can trade.
                instrument, symbol = None, f"{symbol} MARGIN"
            side = reading.text(row, "posSide", "net")
            if side not in ("net", "long", "short"):
                raise DecodeError(f"posSide is none we know: {reading.shown(side)}")
            units, average = reading.position_terms(row, instrument, "pos", "avgPx")
            if side != "net":
                units = abs(units) if side == "long" else -abs(units)
            found.append((symbol, units, average, reading.ms_to_ns(row, "uTime")))
        return [*reading.net_positions(found, lambda name: self.directory.find(facts.VENUE_ID, name))]

    # ---- inside ------------------------------------------------------------------------------------------

    def _instrument(self, row: Row) -> Instrument | None:
        return self.directory.find(facts.VENUE_ID, reading.text(row, "instId"))

    def _ours(self, row: Row) -> int:
        return decode_id(reading.text(row, "clOrdId", ""), self.tag)


def balances(data: list[Row]) -> list[Word]:
    """Cash and what of it is available, never overstated ("WS / Account channel", "GET / Balance")."""
    words: list[Word] = []
    for account in data:
        for row in reading.rows(account, "details"):
            available = "availBal" if reading.text(row, "availBal", "") else "availEq"
            words.append(
                BalanceWord(
                    reading.text(row, "ccy"),
                    reading.floored(row, "cashBal", 8),
                    reading.floored(row, available, 8),
                    reading.ms_to_ns(row, "uTime"),
                )
            )
    return words


def venue_number(row: Row, key: str) -> int:
    """A venue's decimal id; 0 when absent or beyond 63 bits (then the order is known by our own id only)."""
    digits = reading.text(row, key, "")
    if digits.isascii() and digits.isdecimal() and len(digits) <= 19:
        number = int(digits)
        return number if number < 1 << 63 else 0
    return 0
