"""Where our view and the venue's word differ: named, with the repair that makes them agree. Pure; no I/O.

| kind | what | repair |
| --- | --- | --- |
| GHOST_ORDER | the venue has an order open that we do not know, or that ended with us | CANCEL it there |
| LOST_ORDER | we hold it open, the venue does not list it | ASK by its id; until the answer it is UNKNOWN |
| UNKNOWN_RESOLVED | an order in doubt, and the venue's word on it | TAKE_WORD |
| MISSED_ACK | sent, not acknowledged here, open there | TAKE_WORD |
| MISSED_END | open here, ended by the venue's answer | TAKE_WORD |
| TERMS_DRIFT | price or quantity differ, and no replace is out | TAKE_WORD |
| MISSED_FILL | the venue lists a fill that is not booked | BOOK_FILL |
| EXTERNAL_FILL | ... of an order that is not ours: traded by hand, a liquidation | BOOK_FILL |
| DUPLICATE_FILL | the venue lists a fill twice | NONE: it is booked once |
| FILL_GAP | the venue states more filled than its fills and ours show | ASK_FILLS |
| POSITION_DRIFT | positions differ once all listed fills are booked | BOOK_DRIFT, or ASK_FILLS if the list
may lack some |
| BALANCE_DRIFT | balances differ by more than the tolerance | TAKE_BALANCE |
| FOREIGN_FEE | a fee in a token that has no mark; theirs in the token | NONE: the schedule's is booked |

Nothing here turns silence into REJECTED: an order ends only by a fill or by an answer of the venue that names
it. What was sent after the venue was asked is not compared: it may be under way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from exec.lifecycle import Event
from exec.order import Order
from shm.enums import OrderStatus, Side

_UNKNOWN = int(OrderStatus.UNKNOWN)
_PENDING_NEW = int(OrderStatus.PENDING_NEW)
_BUY = int(Side.BUY)
GRACE_NS = 1_000_000_000
#: What a venue's answer about one order may be; ACCEPTED = it is open.
ANSWERS = frozenset(
    (Event.ACCEPTED, Event.REJECTED, Event.CANCELED, Event.EXPIRED, Event.FILL_ALL, Event.NOT_FOUND)
)


class DiscrepancyKind(IntEnum):
    """What differs; numbers are journaled and never reused."""

    GHOST_ORDER = 1
    LOST_ORDER = 2
    MISSED_FILL = 3
    DUPLICATE_FILL = 4
    POSITION_DRIFT = 5
    BALANCE_DRIFT = 6
    UNKNOWN_RESOLVED = 7
    MISSED_ACK = 8
    MISSED_END = 9
    TERMS_DRIFT = 10
    FILL_GAP = 11
    FOREIGN_FEE = 12
    EXTERNAL_FILL = 13


class Repair(IntEnum):
    """What is done about it; numbers are journaled and never reused."""

    NONE = 0
    BOOK_FILL = 1
    CANCEL = 2
    ASK = 3
    ASK_FILLS = 4
    TAKE_WORD = 5
    BOOK_DRIFT = 6
    TAKE_BALANCE = 7


class Discrepancy(NamedTuple):
    """One difference and its repair.

    Args:
        kind, repair: named above.
        word: the venue's word that TAKE_WORD takes, an `Event`; 0 = none.
        ours, theirs: the two values: filled or ordered units, signed position units, balance in 10^-8.
        price_units, units, trade_id, liquidity, fee_e8: of the fill or of what is booked; of TERMS_DRIFT the
            terms.
        asset: of a balance.
    """

    kind: int
    repair: int
    instrument_id: int = 0
    client_order_id: int = 0
    venue_order_id: int = 0
    side: int = 0
    word: int = 0
    ours: int = 0
    theirs: int = 0
    price_units: int = 0
    units: int = 0
    trade_id: int = 0
    liquidity: int = 0
    fee_e8: int = 0
    venue_utc_ns: int = 0
    asset: str = ""


class OurOrder(NamedTuple):
    """An order as we hold it: the id it was placed under, and in `aliases` all ids that lead to it."""

    client_order_id: int
    instrument_id: int
    side: int
    status: int
    price_units: int
    order_units: int
    filled_units: int
    is_terminal: bool = False
    is_pending_replace: bool = False
    request_ns: int = 0
    aliases: tuple[int, ...] = ()


class VenueOrder(NamedTuple):
    """An open order as the venue lists it; `client_order_id` 0 = it bears none of ours."""

    client_order_id: int
    venue_order_id: int
    instrument_id: int
    side: int
    price_units: int
    order_units: int
    filled_units: int


class VenueAnswer(NamedTuple):
    """What the venue says of one order it was asked about; `word` is one of `ANSWERS`."""

    word: int
    filled_units: int = 0
    venue_order_id: int = 0
    price_units: int = 0
    order_units: int = 0


class VenueFill(NamedTuple):
    """A fill as the venue lists it; fee in 10^-8 of settlement; `client_order_id` 0 = of no order of ours."""

    instrument_id: int
    trade_id: int
    client_order_id: int
    side: int
    price_units: int
    units: int
    fee_e8: int = 0
    liquidity: int = 0
    venue_order_id: int = 0
    venue_utc_ns: int = 0


@dataclass(slots=True)
class OurView:
    """What we hold, taken *after* the venue's view.

    Args:
        orders: open ones, and those ended ones that are still kept.
        booked: (instrument, trade id) of every fill that is booked, as far back as the venue's list goes.
        positions: signed units by instrument.
        prices: a price for valuing a drift, by instrument.
        balances: 10^-8 by asset; only assets that are to be compared.
    """

    orders: Iterable[OurOrder] = ()
    booked: set[tuple[int, int]] = field(default_factory=set)
    positions: Mapping[int, int] = field(default_factory=dict)
    prices: Mapping[int, int] = field(default_factory=dict)
    balances: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class VenueView:
    """The venue's word.

    Args:
        asked_ns: our clock when it was asked; what was sent later is not compared.
        orders: all that are open there.
        answers: of orders asked about, by the id asked with.
        fills: in the venue's order.
        has_all_fills: the list reaches back to where we last agreed; else a position drift asks for more
            first.
        positions, position_prices: signed units and entry price by instrument; None = not known now.
        balances: 10^-8 by asset.
    """

    asked_ns: int = 0
    orders: Iterable[VenueOrder] = ()
    answers: Mapping[int, VenueAnswer] = field(default_factory=dict)
    fills: Iterable[VenueFill] = ()
    has_all_fills: bool = True
    positions: Mapping[int, int] | None = None
    position_prices: Mapping[int, int] = field(default_factory=dict)
    balances: Mapping[str, int] = field(default_factory=dict)


def our_order(order: Order) -> OurOrder:
    """The row of an order of the OMS."""
    return OurOrder(
        order.root_client_order_id,
        order.instrument_id,
        order.side,
        order.status,
        order.price_units,
        order.order_units,
        order.filled_units,
        order.is_terminal,
        order.is_pending_replace,
        order.request_ns,
        tuple(order.aliases),
    )


def compare(
    ours: OurView, venue: VenueView, *, grace_ns: int = GRACE_NS, balance_tolerance_e8: int = 0
) -> list[Discrepancy]:
    """Every difference with its repair, in the order in which repairs are to be made: fills first.

    Args:
        ours: our view.
        venue: the venue's.
        grace_ns: an order whose last command went out less than that before the venue was asked is not missed
            yet: a question can overtake a command.
        balance_tolerance_e8: balances may differ by that much (funding, interest).
    """
    by_id: dict[int, OurOrder] = {}
    orders = list(ours.orders)
    for order in orders:
        for alias in (order.client_order_id, *order.aliases):
            by_id[alias] = order
    found, missed, moved = _compare_fills(ours, venue, by_id)
    listed: set[int] = set()
    for row in venue.orders:
        known = by_id.get(row.client_order_id)
        if known is not None:
            listed.add(known.client_order_id)
        found += _compare_listed(known, row, missed)
    for order in orders:
        if order.is_terminal or order.client_order_id in listed:
            continue
        if order.request_ns > venue.asked_ns - grace_ns:
            continue
        ids = (order.client_order_id, *order.aliases)
        answer = next((venue.answers[i] for i in ids if i in venue.answers), None)
        found += _compare_unlisted(order, answer, missed.get(order.client_order_id, 0))
    has_gap = any(d.kind == DiscrepancyKind.FILL_GAP for d in found)
    found += _compare_positions(ours, venue, moved, has_gap)
    for asset, amount in sorted(venue.balances.items()):
        mine = ours.balances.get(asset)
        if mine is not None and abs(mine - amount) > balance_tolerance_e8:
            kind, repair = DiscrepancyKind.BALANCE_DRIFT, Repair.TAKE_BALANCE
            found.append(Discrepancy(int(kind), int(repair), ours=mine, theirs=amount, asset=asset))
    return found


def _compare_fills(
    ours: OurView, venue: VenueView, by_id: Mapping[int, OurOrder]
) -> tuple[list[Discrepancy], dict[int, int], dict[int, int]]:
    """Differences of fills; units missed by order; signed units missed by instrument."""
    found: list[Discrepancy] = []
    missed: dict[int, int] = {}
    moved: dict[int, int] = {}
    seen: set[tuple[int, int]] = set()
    for fill in venue.fills:
        key = (fill.instrument_id, fill.trade_id)
        is_again = key in seen
        seen.add(key)
        if not is_again and key in ours.booked:
            continue
        missing = DiscrepancyKind.MISSED_FILL if fill.client_order_id else DiscrepancyKind.EXTERNAL_FILL
        kind = DiscrepancyKind.DUPLICATE_FILL if is_again else missing
        repair = Repair.NONE if is_again else Repair.BOOK_FILL
        order = by_id.get(fill.client_order_id)
        found.append(
            Discrepancy(
                int(kind), int(repair), fill.instrument_id,
                fill.client_order_id if order is None else order.client_order_id,
                fill.venue_order_id, fill.side, int(Event.FILL_PART),
                price_units=fill.price_units, units=fill.units, trade_id=fill.trade_id,
                liquidity=fill.liquidity, fee_e8=fill.fee_e8, venue_utc_ns=fill.venue_utc_ns,
            )
        )  # fmt: skip
        if is_again:
            continue
        signed = fill.units if fill.side == _BUY else -fill.units
        moved[fill.instrument_id] = moved.get(fill.instrument_id, 0) + signed
        if order is not None:
            missed[order.client_order_id] = missed.get(order.client_order_id, 0) + fill.units
    return found, missed, moved


def _compare_listed(order: OurOrder | None, row: VenueOrder, missed: Mapping[int, int]) -> list[Discrepancy]:
    """An order that the venue lists as open."""
    if order is None or order.is_terminal:
        kind, repair = DiscrepancyKind.GHOST_ORDER, Repair.CANCEL
        ours = 0 if order is None else order.filled_units
        identity = row.client_order_id if order is None else order.client_order_id
        return [
            Discrepancy(
                int(kind), int(repair), row.instrument_id, identity, row.venue_order_id, row.side,
                ours=ours, theirs=row.filled_units, price_units=row.price_units, units=row.order_units,
            )
        ]  # fmt: skip
    filled = order.filled_units + missed.get(order.client_order_id, 0)
    if row.filled_units > filled:
        return [_gap(order, filled, row.filled_units, row.venue_order_id)]
    if order.status == _UNKNOWN and order.is_pending_replace:
        return []  # it is asked about, until no replace can arrive any more
    if order.status == _UNKNOWN:
        kind = DiscrepancyKind.UNKNOWN_RESOLVED
    elif order.status == _PENDING_NEW:
        kind = DiscrepancyKind.MISSED_ACK
    elif not order.is_pending_replace and (
        (order.price_units, order.order_units) != (row.price_units, row.order_units)
    ):
        kind = DiscrepancyKind.TERMS_DRIFT
    else:
        return []
    return [
        Discrepancy(
            int(kind), int(Repair.TAKE_WORD), order.instrument_id, order.client_order_id, row.venue_order_id,
            order.side, int(Event.ACCEPTED), order.order_units, row.order_units,
            price_units=row.price_units, units=row.order_units,
        )
    ]  # fmt: skip


def _compare_unlisted(order: OurOrder, answer: VenueAnswer | None, missed: int) -> list[Discrepancy]:
    """An order that is open here and not in the venue's list."""
    filled = order.filled_units + missed
    in_doubt = order.status in (_UNKNOWN, _PENDING_NEW)
    # Silence on an order that was acknowledged, or is not in doubt yet, is doubt first: ask again.
    if answer is None or (answer.word == Event.NOT_FOUND and order.status != _UNKNOWN):
        if missed and filled >= order.order_units and not order.is_pending_replace:
            return []  # the missed fills end it
        kind, repair = DiscrepancyKind.LOST_ORDER, Repair.ASK
        return [
            Discrepancy(
                int(kind), int(repair), order.instrument_id, order.client_order_id, 0, order.side,
                ours=order.order_units - filled,
            )
        ]  # fmt: skip
    if answer.filled_units > filled:
        return [_gap(order, filled, answer.filled_units, answer.venue_order_id)]
    if answer.word == Event.FILL_ALL:
        if filled >= order.order_units:
            return []
        # Said to be complete, with less filled than we asked for: smaller terms are in force there.
        answer = answer._replace(word=Event.ACCEPTED, order_units=answer.filled_units)
    elif answer.word == Event.ACCEPTED and not in_doubt:
        return []  # open after all
    kind = DiscrepancyKind.UNKNOWN_RESOLVED if in_doubt else DiscrepancyKind.MISSED_END
    return [
        Discrepancy(
            int(kind), int(Repair.TAKE_WORD), order.instrument_id, order.client_order_id,
            answer.venue_order_id, order.side, int(answer.word), filled, answer.filled_units,
            price_units=answer.price_units, units=answer.order_units,
        )
    ]  # fmt: skip


def _gap(order: OurOrder, ours: int, theirs: int, venue_order_id: int) -> Discrepancy:
    kind, repair = DiscrepancyKind.FILL_GAP, Repair.ASK_FILLS
    return Discrepancy(
        int(kind), int(repair), order.instrument_id, order.client_order_id, venue_order_id, order.side,
        ours=ours, theirs=theirs,
    )  # fmt: skip


def _compare_positions(
    ours: OurView, venue: VenueView, moved: Mapping[int, int], has_gap: bool
) -> list[Discrepancy]:
    if venue.positions is None:
        return []
    found = []
    for instrument_id in sorted(set(ours.positions) | set(venue.positions) | set(moved)):
        mine = ours.positions.get(instrument_id, 0) + moved.get(instrument_id, 0)
        theirs = venue.positions.get(instrument_id, 0)
        if mine == theirs:
            continue
        price = venue.position_prices.get(instrument_id, 0) or ours.prices.get(instrument_id, 0)
        may_book = venue.has_all_fills and not has_gap and price > 0
        found.append(
            Discrepancy(
                int(DiscrepancyKind.POSITION_DRIFT),
                int(Repair.BOOK_DRIFT if may_book else Repair.ASK_FILLS),
                instrument_id,
                side=int(Side.BUY if theirs > mine else Side.SELL),
                ours=mine,
                theirs=theirs,
                price_units=price,
                units=abs(theirs - mine),
            )
        )
    return found
