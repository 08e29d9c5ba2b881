"""The scripted orders through our paper session."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from exec.lifecycle import Event as Said
from exec.order import Order
from exec.paper import PaperSession
from exec.session import VenueReport
from exec.simulator.latency import Latency
from exec.simulator.queue_model import parse_queue_model
from shm.enums import TimeInForce
from tools.bench.fills.market import BUY, VISIBLE, Market
from tools.bench.fills.script import LANES, Scripted

IOC = int(TimeInForce.IOC)


@dataclass(slots=True)
class Outcome:
    """What became of one order; times are the venue's."""

    filled: int = 0
    notional: int = 0
    last_fill_ns: int = 0
    fee_e8: int = 0


@dataclass(frozen=True, slots=True)
class Terms:
    """What both simulators are told.

    Args:
        entry_ns, response_ns: latencies.
        model: queue model, as ours is written.
        maker_e8, taker_e8: fees, fractions of the notional * 10^8.
    """

    entry_ns: int
    response_ns: int
    model: str
    maker_e8: int = 20_000
    taker_e8: int = 50_000


class Lane:
    """One paper session with at most one order out."""

    def __init__(self, market: Market, terms: Terms, outcomes: dict[int, Outcome]) -> None:
        self._response_ns = terms.response_ns
        self._outcomes = outcomes
        self.session = PaperSession(
            self._on_report,
            entry=Latency(terms.entry_ns),
            response=Latency(terms.response_ns),
            queue=parse_queue_model(terms.model),
        )
        self.session.simulator.add_instrument(
            market.instrument, VISIBLE, maker_fee_e8=terms.maker_e8, taker_fee_e8=terms.taker_e8
        )

    def _on_report(self, report: VenueReport, now_ns: int) -> None:
        if report.event != Said.FILL_PART:
            return
        outcome = self._outcomes[report.client_order_id]
        outcome.filled += report.last_units
        outcome.notional += report.last_units * report.last_price_units
        outcome.fee_e8 += report.fee_units
        outcome.last_fill_ns = now_ns - self._response_ns


def run_ours(market: Market, script: Sequence[Scripted], terms: Terms) -> dict[int, Outcome]:
    """Let every order meet the market; returns what became of each, by number."""
    outcomes = {order.number: Outcome() for order in script}
    lanes = [Lane(market, terms, outcomes) for _ in range(LANES)]
    actions: list[tuple[int, int, Scripted]] = []
    for order in script:
        actions.append((order.send_ns, 0, order))
        if order.life_ns:
            actions.append((order.send_ns + order.life_ns, 1, order))
    actions.sort(key=lambda action: action[:2])
    place, current = 0, market.books[0]
    sent: dict[int, Order] = {}
    for index, event in enumerate(market.events):
        while place < len(actions) and actions[place][0] <= event.at_ns:
            at_ns, is_cancel, order = actions[place]
            place += 1
            _until(lanes, current, at_ns)
            session = lanes[order.lane].session
            if is_cancel:
                session.cancel(sent.pop(order.number), at_ns)
                continue
            sent[order.number] = placed = Order(order.number, 0, order.side, order.price, order.units)
            placed.time_in_force = IOC if order.is_ioc else placed.time_in_force
            session.new(placed, at_ns)
        _until(lanes, current, event.at_ns)
        book = market.books[index]
        current = book or current
        for lane in lanes:
            session = lane.session
            if session.simulator.has_resting(0):
                if book is not None:
                    session.on_book(0, book[0], book[1], event.at_ns)
                else:
                    session.on_trade(0, event.price, event.quantity, event.aggressor, event.at_ns)
    assert current is not None
    _until(lanes, current, market.events[-1].at_ns + 10 * (terms.entry_ns + terms.response_ns + 1))
    return outcomes


def _until(lanes: Sequence[Lane], current: object, now_ns: int) -> None:
    """Let everything due happen at its own time, in front of the book as it is."""
    for lane in lanes:
        session = lane.session
        while (due := session.next_due_ns()) is not None and due <= now_ns:
            # As the gateway does: an arriving order meets the book of this moment, shown to it just before.
            session.simulator.on_book(0, current[0], current[1], due)  # type: ignore[index]
            session.on_timer(due)


def events_per_s(market: Market, terms: Terms) -> float:
    """How many events of the market a second one session takes, with an order that rests behind the touch."""
    lane = Lane(market, terms, {1: Outcome()})
    session = lane.session
    first = market.books[0]
    assert first is not None
    session.on_book(0, *first, market.events[0].at_ns)
    # The lowest bid that is visible: it rests all the time, unless the whole market falls by that much.
    session.new(Order(1, 0, BUY, first[0][-1][0], market.instrument.lot_size), market.events[0].at_ns)
    session.on_timer(market.events[0].at_ns + terms.entry_ns)
    began = time.perf_counter()
    for event, book in zip(market.events, market.books, strict=True):
        if book is not None:
            session.on_book(0, book[0], book[1], event.at_ns + terms.entry_ns)
        else:
            session.on_trade(0, event.price, event.quantity, event.aggressor, event.at_ns + terms.entry_ns)
    return len(market.events) / (time.perf_counter() - began)


def orders_per_s(market: Market, terms: Terms, count: int = 20_000) -> float:
    """How many orders a second are placed, acknowledged and canceled again in process."""
    lane = Lane(market, terms, {})
    session = lane.session
    first = market.books[0]
    assert first is not None
    now_ns = market.events[0].at_ns
    session.on_book(0, *first, now_ns)
    price, lot = first[0][-1][0], market.instrument.lot_size
    began = time.perf_counter()
    for number in range(1, count + 1):
        order = Order(number, 0, BUY, price, lot)
        session.new(order, now_ns)
        now_ns += terms.entry_ns + terms.response_ns
        session.on_timer(now_ns)
        session.cancel(order, now_ns)
        now_ns += terms.entry_ns + terms.response_ns
        session.on_timer(now_ns)
    return count / (time.perf_counter() - began)
