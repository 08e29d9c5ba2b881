"""Comparing a session's orders and positions with the venue's, round by round, until both agree.

A round asks for open orders and positions, and for fills when the round before found that some may be
missing. What differs is repaired by `exec.repairs`. A position drift is booked only when two rounds in a row,
fills included, found the same two numbers: while anything trades, the two views are never of one moment.
Fills of orders that are not ours (traded by hand, liquidations) are booked at their own price and fee.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from exec.discrepancy import (
    Discrepancy,
    DiscrepancyKind,
    OurView,
    Repair,
    VenueFill,
    VenueOrder,
    VenueView,
    compare,
    our_order,
)
from exec.oms import Oms
from exec.order import Order
from exec.order_protocol import OpenOrderWord, PositionWord, RequestKind
from exec.session import VenueReport
from exec.venues.digests import number63

#: Rounds without agreement after which it is told; the session stays in SYNCING.
ROUNDS_TOLD = 5


@dataclass(slots=True)
class Outcome:
    """What a round came to.

    Args:
        found: what differed, repairs in order; a drift that is seen for the first time is left out.
        ghosts: open orders of ours at the venue that must be canceled there.
        is_agreed: nothing is left to ask or to see again.
    """

    found: list[Discrepancy] = field(default_factory=list)
    ghosts: list[OpenOrderWord] = field(default_factory=list)
    is_agreed: bool = True


class Comparison:
    """The rounds of one session.

    Args:
        oms: orders and ledger.
        owns: whether an instrument is of this account.
        has_position: whether the venue tells a position of it.
    """

    def __init__(
        self, oms: Oms, owns: Callable[[int], bool], has_position: Callable[[int], bool] = lambda _: True
    ) -> None:
        self._oms = oms
        self._has_position = has_position
        self._owns = owns
        #: Instruments of this account that had orders.
        self.instruments: set[int] = set()
        self.rounds = 0
        self.wants_fills = False
        self.agreed_utc_ns = 0
        self.foreign = 0
        self._asked_ns = 0
        self._asked_utc_ns = 0
        self._open: dict[int, RequestKind] = {}
        #: What of this round is not sent yet: the kind of list, which of its requests, from which page on.
        self.unsent: list[tuple[RequestKind, int, str]] = []
        self._orders: list[OpenOrderWord] = []
        self._positions: dict[int, PositionWord] = {}
        self._fills: list[VenueFill] = []
        self._with_fills = False
        self._drifts: dict[int, tuple[int, int]] = {}

    @property
    def is_running(self) -> bool:
        """Whether answers are awaited, or requests of the round wait for their turn."""
        return bool(self._open or self.unsent)

    def reset(self) -> None:
        """The connection is gone: what was asked will not be answered."""
        self.rounds = 0
        self.fail()

    def kinds(self) -> list[RequestKind]:
        """What the next round asks."""
        kinds = [RequestKind.OPEN_ORDERS, RequestKind.POSITIONS]
        return [RequestKind.FILLS, *kinds] if self.wants_fills else kinds

    def begin(self, requests: Iterable[tuple[int, RequestKind]], now_ns: int, utc_ns: int) -> None:
        """A round's requests were sent, by number."""
        self._open, self.unsent = dict(requests), []
        self._asked_ns, self._asked_utc_ns = now_ns, utc_ns
        self._orders, self._positions, self._fills = [], {}, []
        self._with_fills = RequestKind.FILLS in self._open.values()

    def begin_in_parts(
        self, unsent: Sequence[tuple[RequestKind, int, str]], now_ns: int, utc_ns: int
    ) -> None:
        """A round begins whose requests are sent one after the other; its views are as old as its begin."""
        self.begin((), now_ns, utc_ns)
        self.unsent = list(unsent)
        self._with_fills = any(kind is RequestKind.FILLS for kind, _, _ in unsent)

    def part_sent(self, request_id: int) -> None:
        """The first of what was not sent is, by this number."""
        self._open[request_id] = self.unsent.pop(0)[0]

    def is_asked(self, request_id: int) -> bool:
        """Whether an answer belongs to this round."""
        return request_id in self._open

    def kind_of(self, request_id: int) -> RequestKind | None:
        """What a request of this round asks for, None = it is none of them."""
        return self._open.get(request_id)

    @property
    def asked_ns(self) -> int:
        """When the round was asked for."""
        return self._asked_ns

    def open_orders(self) -> list[OpenOrderWord]:
        """Orders of ours that the venue listed as open in this round."""
        return [row for row in self._orders if row.client_order_id and row.instrument_id >= 0]

    def add(self, word: OpenOrderWord | PositionWord) -> None:
        """A row of an answer."""
        if isinstance(word, PositionWord):
            if word.instrument_id >= 0:
                self._positions[word.instrument_id] = word
        else:
            self._orders.append(word)

    def add_fill(self, report: VenueReport) -> None:
        """A fill of an answer."""
        self._fills.append(
            VenueFill(
                report.instrument_id,
                report.trade_id,
                report.client_order_id,
                report.side,
                report.last_price_units,
                report.last_units,
                report.fee_units,
                report.liquidity,
                report.venue_order_id,
                report.venue_utc_ns,
            )
        )

    def name_fills(self, roots: Mapping[int, int]) -> None:
        """Whose the listed fills are, by the venue's order id, which may have come since the list."""
        self._fills = [
            fill if fill.client_order_id else fill._replace(client_order_id=roots.get(fill.venue_order_id, 0))
            for fill in self._fills
        ]

    def more(self, request_id: int, kind: RequestKind, cursor: str) -> None:
        """An answer goes on in another request, which is to be sent."""
        del self._open[request_id]
        self.unsent.append((kind, 0, cursor))

    def end(self, request_id: int) -> bool:
        """An answer is complete; True = the round is."""
        return self._open.pop(request_id, None) is not None and not self.is_running

    def fail(self) -> None:
        """An answer will not come: the round is asked anew."""
        self._open.clear()
        self.unsent.clear()

    def judge(self) -> Outcome:
        """Compare, once a round is complete."""
        self.rounds += 1
        fills, unsure = self._certain_fills()
        ours = [row for row in self._orders if row.client_order_id]
        self.foreign = len(self._orders) - len(ours)
        venue = VenueView(
            asked_ns=self._asked_ns,
            orders=[_venue_order(row) for row in ours if row.instrument_id >= 0],
            fills=fills,
            has_all_fills=self._with_fills,
            positions={i: word.position_units for i, word in self._positions.items()},
            position_prices={i: word.avg_price_units for i, word in self._positions.items()},
        )
        outcome = Outcome(is_agreed=not unsure)
        drifts: dict[int, tuple[int, int]] = {}
        ghosts = {number63(row.venue_order_id): row for row in ours}
        for found in compare(self._view(), venue):
            repair = found.repair
            if found.kind == DiscrepancyKind.POSITION_DRIFT:
                if not self._has_position(found.instrument_id):
                    continue
                drifts[found.instrument_id] = (found.ours, found.theirs)
                if found.instrument_id in unsure:
                    continue
                if repair == Repair.BOOK_DRIFT and self._drifts.get(found.instrument_id) != (
                    found.ours,
                    found.theirs,
                ):
                    outcome.is_agreed = False
                    continue
            if repair == Repair.CANCEL and found.venue_order_id in ghosts:
                outcome.ghosts.append(ghosts[found.venue_order_id])
            if repair in (Repair.ASK, Repair.ASK_FILLS, Repair.CANCEL):
                outcome.is_agreed = False
            outcome.found.append(found)
        self._drifts = drifts
        self.wants_fills = bool(drifts or unsure) and not outcome.is_agreed
        if outcome.is_agreed:
            self.rounds = 0
            self.agreed_utc_ns = self._asked_utc_ns
        return outcome

    def _view(self) -> OurView:
        oms = self._oms
        mine = [order for order in oms.open_orders() if self._owns(order.instrument_id)]
        ids = self.instruments | set(self._positions)
        ledger = oms.ledger
        return OurView(
            orders=[our_order(order) for order in mine],
            booked=self._booked(),
            positions={i: ledger.position_units(i) for i in ids},
            prices={i: ledger.reference_price_units(i) for i in ids},
        )

    def _certain_fills(self) -> tuple[list[VenueFill], set[int]]:
        """The listed fills that are known to be ours or nobody's, and the instruments where one is not.

        A list may name an order by the venue's id only. One of ours that has none yet may be any of them.
        """
        nobodys = {f.instrument_id for f in self._fills if not f.client_order_id}
        unsure = {
            order.instrument_id
            for order in (self._oms.open_orders() if nobodys else ())
            if not order.venue_order_id and order.instrument_id in nobodys
        }
        if not unsure:
            return self._fills, unsure
        return [f for f in self._fills if f.client_order_id or f.instrument_id not in unsure], unsure

    def _booked(self) -> set[tuple[int, int]]:
        """Which of the listed fills are booked, whoever's they are."""
        booked: set[tuple[int, int]] = set()
        unnamed: set[tuple[int, int]] = set()
        for fill in self._fills:
            order: Order | None = self._oms.order(fill.client_order_id)
            key = (fill.instrument_id, fill.trade_id)
            if order is None:
                unnamed.add(key)
            elif order.trade_ids is not None and fill.trade_id in order.trade_ids:
                booked.add(key)
        if unnamed:
            booked |= unnamed & self._oms._strangers.keys()
            booked |= unnamed & {(o.instrument_id, t) for o in self._oms for t in o.trade_ids or ()}
        return booked


def _venue_order(row: OpenOrderWord) -> VenueOrder:
    return VenueOrder(
        row.client_order_id,
        number63(row.venue_order_id),
        row.instrument_id,
        row.side,
        row.price_units,
        row.order_units,
        row.filled_units,
    )
