"""The simulated matching: our orders against displayed books and public trades, deterministic, no clock.

"Our" orders are those of one account or of several; a position, and what is reduce-only, is an account's.

Rules (README of `exec` gives the reasons):

- Takers walk displayed opposite levels; each is consumed at most once between two book updates. GTC
  remainders rest, IOC and market remainders expire, FOK fills whole or expires, post-only that would meet the
  displayed opposite side is rejected.
- A resting order fills at its own price as maker: by a trade through its price (up to the traded quantity),
  by a trade at its price once the queue ahead is gone, or by a book that crosses its price (up to the
  displayed crossing quantity, per update).
- Of two own orders of one account that would meet the newer is rejected, or what its self-trade mode says
  happens (`meeting`); orders of different accounts trade with each other.
- Reduce-only orders are clipped to the position at each fill; what can not reduce any more is canceled.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Sequence

from exec.fees import FeeSchedule
from exec.lifecycle import Event
from exec.session import VenueReport
from exec.simulator.depth import Level
from exec.simulator.market import Market
from exec.simulator.meeting import Meeting, plan_meeting
from exec.simulator.queue_model import QueueModel
from exec.simulator.queue_position import RestingOrder
from shm.enums import Liquidity, OrderFlags, OrderType, Reason, Side, TimeInForce
from shm.instruments import Instrument

_BUY, _SELL = int(Side.BUY), int(Side.SELL)
_MARKET = int(OrderType.MARKET)
_GTC, _FOK = int(TimeInForce.GTC), int(TimeInForce.FOK)
_POST_ONLY, _REDUCE_ONLY = int(OrderFlags.POST_ONLY), int(OrderFlags.REDUCE_ONLY)
_MAKER, _TAKER = int(Liquidity.MAKER), int(Liquidity.TAKER)


def _by_rank(order: RestingOrder) -> tuple[int, int]:
    return order.rank


class Simulator:
    """The simulated venue: the orders of one account, or of several.

    Args:
        emit: called with each report and the time given to the call that caused it. If it raises, the
            simulator's state is consistent and the exception passes on; reports behind it are lost.
        first_trade_id, first_venue_order_id: the numbers to go on from (after a recovery).
        ended_capacity: how many terminal orders still answer queries.
        queue: how resting orders advance; None = risk-averse.
    """

    def __init__(
        self,
        emit: Callable[[VenueReport, int], None],
        *,
        first_trade_id: int = 1,
        first_venue_order_id: int = 1,
        ended_capacity: int = 10_000,
        queue: QueueModel | None = None,
    ) -> None:
        self.queue = queue or QueueModel()
        self.emit = emit
        self.next_trade_id = first_trade_id
        self.next_venue_order_id = first_venue_order_id
        self.voided = 0
        self._arrivals = 0
        self._markets: dict[int, Market] = {}
        self._resting: dict[int, RestingOrder] = {}
        self._ended: dict[int, tuple[RestingOrder, int, int]] = {}
        self._ended_ids: deque[int] = deque()
        self._ended_capacity = ended_capacity

    def add_instrument(
        self,
        instrument: Instrument,
        visible_levels: int,
        *,
        maker_fee_e8: int | None = None,
        taker_fee_e8: int | None = None,
    ) -> None:
        """Trade an instrument; known ones keep their orders.

        Args:
            instrument: its row.
            visible_levels: depth of the slab its books come from.
            maker_fee_e8: rate that replaces the row's.
            taker_fee_e8: rate that replaces the row's.
        """
        fees = FeeSchedule(instrument, maker_fee_e8, taker_fee_e8)
        market = self._markets.get(instrument.instrument_id)
        if market is None:
            self._markets[instrument.instrument_id] = Market(instrument, fees, visible_levels)
        else:
            market.instrument, market.fees = instrument, fees

    def instrument_ids(self) -> list[int]:
        """All instruments added."""
        return list(self._markets)

    def resting(self, instrument_id: int | None = None) -> list[RestingOrder]:
        """Our resting orders (of one instrument), best first per side."""
        ids = self._markets if instrument_id is None else (instrument_id,)
        return [order for i in ids for side in (_BUY, _SELL) for order in self._markets[i].own(side)]

    def has_resting(self, instrument_id: int) -> bool:
        """Whether market data of this instrument can change anything here."""
        market = self._markets.get(instrument_id)
        return market is not None and bool(market.buys or market.sells)

    # ---- market data -----------------------------------------------------------------------------

    def on_book(self, instrument_id: int, bids: Sequence[Level], asks: Sequence[Level], now_ns: int) -> None:
        """Take a book update: crossing fills first, then queue positions.

        Args:
            instrument_id: of an added instrument; others are ignored.
            bids: displayed levels, best first; kept by reference until the next update.
            asks: the same.
            now_ns: passed on to `emit`.
        """
        market = self._markets.get(instrument_id)
        if market is None:
            return
        depth = market.depth
        depth.update(bids, asks)
        for side in (_BUY, _SELL):
            own = market.own(side)
            if not own:
                continue
            if depth.crosses(side, own[0].price):
                self._cross(market, side, now_ns)
            for order in own:
                if depth.crosses(side, order.price):
                    order.ahead = 0
                else:
                    self.queue.show(order, depth.displayed(side, order.price))
            self.queue.keep_turns(own)

    def _cross(self, market: Market, side: int, now_ns: int) -> None:
        """Fill our orders that the opposite side now reaches, sharing what is displayed there."""
        for order in list(market.own(side)):
            plan = market.depth.walk(side, order.price, order.leaves)
            if not plan:
                break
            for price, part in plan:
                market.depth.take(side, price, part)
            self._fill(market, order, order.price, sum(part for _, part in plan), _MAKER, now_ns)

    def on_trade(self, instrument_id: int, price: int, quantity: int, aggressor: int, now_ns: int) -> None:
        """Take a public trade; it can only fill our orders opposite to the aggressor.

        Args:
            instrument_id: of an added instrument; others are ignored.
            price: in price units.
            quantity: in quantity units; 0 or less is ignored.
            aggressor: `Side` of the taker; NONE fills nothing (whose queue moved is unknown).
            now_ns: passed on to `emit`.
        """
        market = self._markets.get(instrument_id)
        if market is None or quantity <= 0 or aggressor not in (_BUY, _SELL):
            return
        side = _SELL if aggressor == _BUY else _BUY
        own = market.own(side)
        if not own:
            return
        at_price: list[RestingOrder] = []
        rest = quantity
        for order in list(own):
            if order.price == price:
                at_price.append(order)
            elif (order.price > price) if side == _BUY else (order.price < price):
                # The aggressor went through our price, so it met us before it got there.
                part = min(order.leaves, rest)
                if part:
                    rest -= self._fill(market, order, order.price, part, _MAKER, now_ns)
        if at_price and rest > 0:
            for order, part in zip(at_price, self.queue.trade(at_price, rest), strict=True):
                if part:
                    self._fill(market, order, price, part, _MAKER, now_ns)

    def on_queue(self, instrument_id: int, side: int, price: int, displayed: int) -> None:
        """Learn what is displayed at one price, without ours, between two book updates.

        Args:
            instrument_id: of an added instrument; others are ignored.
            side: whose orders at that price are concerned.
            price: in price units.
            displayed: in quantity units; no more than that can stand in front of an order there.
        """
        market = self._markets.get(instrument_id)
        if market is not None:
            for order in market.own(side):
                if order.price == price:
                    self.queue.show(order, displayed)
            self.queue.keep_turns(market.own(side))

    def void_queue(self, instrument_id: int | None = None) -> int:
        """Forget queue positions after lost market data; returns (and counts) how many.

        Each order stands behind everything displayed again, as of the next book update.
        """
        voided = 0
        for order in self._resting.values():
            if instrument_id is None or order.instrument_id == instrument_id:
                order.ahead = None
                voided += 1
        self.voided += voided
        return voided

    # ---- commands --------------------------------------------------------------------------------

    def new(self, order: RestingOrder, now_ns: int) -> None:
        """An order arrives: rejected, or accepted and then matched, rested or expired."""
        market = self._markets.get(order.instrument_id)
        reason = self._refusal(market, order)
        if reason or market is None:
            self._end(order, Event.REJECTED, reason or Reason.VENUE_REJECTED, now_ns)
            return
        limit = 0 if order.order_type == _MARKET else order.price
        plan = market.depth.walk(order.side, limit, order.leaves)
        meeting = self._meeting(market, order, limit, order.leaves, plan)
        reason = self._meeting_refusal(order, meeting)
        if reason:
            self._end(order, Event.REJECTED, reason, now_ns)
            return
        order.venue_order_id = self.next_venue_order_id
        self.next_venue_order_id += 1
        self._resting[order.client_order_id] = order
        self._say(order, Event.ACCEPTED, now_ns)
        found = sum(part for _, part in plan) if meeting is None else meeting.units
        if order.time_in_force == _FOK and found < order.leaves:
            self._end(order, Event.EXPIRED, Reason.FOK_NOT_FILLABLE, now_ns)
        elif meeting is None:
            self._enter(market, order, plan, now_ns)
        else:
            self._enter_among(market, order, meeting, now_ns)

    def cancel(self, client_order_id: int, instrument_id: int, side: int, now_ns: int) -> None:
        """A cancel arrives: CANCELED, or CANCEL_REJECTED when nothing rests under that id."""
        order = self._resting.get(client_order_id)
        if order is None:
            reason = int(Reason.VENUE_UNKNOWN_ORDER)
            report = VenueReport(Event.CANCEL_REJECTED, client_order_id, instrument_id, side, reason=reason)
            self.emit(report, now_ns)
            return
        self._end(order, Event.CANCELED, Reason.USER_CANCEL, now_ns)

    def mass_cancel(self, now_ns: int, instrument_id: int | None = None) -> None:
        """Cancel everything resting (of one instrument)."""
        for order in list(self._resting.values()):
            if instrument_id is None or order.instrument_id == instrument_id:
                self._end(order, Event.CANCELED, Reason.MASS_CANCEL, now_ns)

    def replace(
        self, client_order_id: int, instrument_id: int, side: int, price: int, units: int, now_ns: int
    ) -> None:
        """A replace arrives; `units` is the new total. Less at the same price keeps the queue position.

        Everything else gives it up and enters like a new order. A new total that is already filled cancels.
        """
        order = self._resting.get(client_order_id)
        if order is None:
            self._refuse_replace(client_order_id, instrument_id, side, Reason.VENUE_UNKNOWN_ORDER, now_ns)
            return
        market = self._markets[order.instrument_id]
        filled = order.units - order.leaves
        if units <= filled:
            self._end(order, Event.CANCELED, Reason.USER_CANCEL, now_ns)
            return
        if price == order.price and units <= order.units:
            order.units, order.leaves = units, units - filled
            self._say(order, Event.REPLACED, now_ns)
            return
        reason = market.off_grid(price, units)
        if not reason and order.flags & _POST_ONLY and market.depth.crosses(side, price):
            reason = Reason.POST_ONLY_WOULD_CROSS
        plan = market.depth.walk(side, price, units - filled)
        meeting = self._meeting(market, order, price, units - filled, plan)
        reason = reason or self._meeting_refusal(order, meeting)
        if reason:
            self._refuse_replace(client_order_id, instrument_id, side, reason, now_ns)
            return
        market.own(side).remove(order)
        order.price, order.units, order.leaves = price, units, units - filled
        self._say(order, Event.REPLACED, now_ns)
        if meeting is None:
            self._enter(market, order, plan, now_ns)
        else:
            self._enter_among(market, order, meeting, now_ns)

    def query(self, client_order_id: int, instrument_id: int, side: int, now_ns: int) -> None:
        """Say again what became of an order: its fills, then its state, or NOT_FOUND."""
        order = self._resting.get(client_order_id)
        event, reason = int(Event.ACCEPTED), 0
        if order is None:
            ended = self._ended.get(client_order_id)
            if ended is None:
                self.emit(VenueReport(Event.NOT_FOUND, client_order_id, instrument_id, side), now_ns)
                return
            order, event, reason = ended
        for fill in order.fills:
            self._say_fill(order, fill, now_ns)
        # All filled is told by its terms: a total equal to the fills.
        self._say(order, Event.ACCEPTED if event == Event.FILL_ALL else event, now_ns, reason)

    def restore(self, order: RestingOrder) -> None:
        """Rest an order again after this process restarted, its queue position void (counted).

        Its fills so far are the caller's knowledge, so a query will not repeat them.
        """
        market = self._markets[order.instrument_id]
        if not order.venue_order_id:
            order.venue_order_id = self.next_venue_order_id
        self.next_venue_order_id = max(self.next_venue_order_id, order.venue_order_id) + 1
        if not order.leaves:
            # Complete when the process died (a replace that would have added to it was on the way).
            self._keep(order, Event.FILL_ALL, 0)
            return
        self._resting[order.client_order_id] = order
        self._rest(market, order)
        order.ahead = None
        self.voided += 1

    def set_position(self, instrument_id: int, units: int, account: int = 0) -> None:
        """Set an account's position (recovery); it bounds reduce-only orders."""
        self._markets[instrument_id].positions[account] = units

    # ---- inside ----------------------------------------------------------------------------------

    def _refusal(self, market: Market | None, order: RestingOrder) -> Reason:
        if market is None or order.client_order_id in self._resting or order.client_order_id in self._ended:
            return Reason.VENUE_REJECTED
        if order.order_type == _MARKET:
            return Reason.VENUE_REJECTED if order.price or order.flags & _POST_ONLY else Reason.NONE
        reason = market.off_grid(order.price, order.leaves)
        if reason:
            return reason
        if order.flags & _POST_ONLY and market.depth.crosses(order.side, order.price):
            return Reason.POST_ONLY_WOULD_CROSS
        return Reason.NONE

    def _meeting(
        self, market: Market, order: RestingOrder, limit: int, units: int, plan: Sequence[Level]
    ) -> Meeting | None:
        """What the order does if it would reach one of ours on the other side, else None."""
        if not market.meets_own(order.side, limit, units, plan):
            return None
        opposite = market.own(_SELL if order.side == _BUY else _BUY)
        return plan_meeting(market.depth, opposite, order, limit, units)

    @staticmethod
    def _meeting_refusal(order: RestingOrder, meeting: Meeting | None) -> Reason:
        if meeting is None:
            return Reason.NONE
        if meeting.is_refused:
            return Reason.SELF_TRADE
        would_meet = order.flags & _POST_ONLY and (meeting.steps or meeting.ends_taker)
        return Reason.POST_ONLY_WOULD_CROSS if would_meet else Reason.NONE

    def _enter_among(self, market: Market, order: RestingOrder, meeting: Meeting, now_ns: int) -> None:
        """Do what was planned with displayed levels and orders of ours, then rest or expire the remainder."""
        opposite = market.own(_SELL if order.side == _BUY else _BUY)
        for step in meeting.steps:
            maker = step.maker
            if order.client_order_id not in self._resting:
                return
            if maker is None:
                done = self._fill(market, order, step.price, step.units, _TAKER, now_ns)
                market.depth.take(order.side, step.price, done)
                for one in opposite:
                    if one.price == step.price:
                        self.queue.take(one, done)
            elif step.ends_maker:
                self._end(maker, Event.EXPIRED, Reason.SELF_TRADE, now_ns)
            else:
                part = min(market.fillable(one) for one in (order, maker))
                part = min(part, step.units)
                self._fill(market, maker, step.price, part, _MAKER, now_ns)
                self._fill(market, order, step.price, part, _TAKER, now_ns)
        if meeting.ends_taker and order.client_order_id in self._resting:
            self._end(order, Event.EXPIRED, Reason.SELF_TRADE, now_ns)
            return
        self._enter(market, order, (), now_ns)

    def _enter(self, market: Market, order: RestingOrder, plan: Sequence[Level], now_ns: int) -> None:
        """Take what the plan gives, then rest or expire the remainder."""
        for price, part in plan:
            done = self._fill(market, order, price, part, _TAKER, now_ns)
            market.depth.take(order.side, price, done)
            if done < part:
                break
        if order.client_order_id not in self._resting:
            return
        if order.order_type == _MARKET or order.time_in_force != _GTC:
            self._end(order, Event.EXPIRED, Reason.IOC_REMAINDER, now_ns)
            return
        self._rest(market, order)

    def _rest(self, market: Market, order: RestingOrder) -> None:
        self._arrivals += 1
        order.set_rank(self._arrivals)
        whole_units = 10**market.instrument.quantity_exponent
        self.queue.join(order, market.depth.displayed(order.side, order.price), whole_units)
        insort(market.own(order.side), order, key=_by_rank)

    def _fill(
        self, market: Market, order: RestingOrder, price: int, units: int, liquidity: int, now_ns: int
    ) -> int:
        """Fill an order by up to `units`; returns how much (less only for reduce-only)."""
        sign = 1 if order.side == _BUY else -1
        position = market.positions.get(order.account, 0)
        if order.flags & _REDUCE_ONLY and units:
            units = min(units, max(0, -sign * position))
            if not units:
                self._end(order, Event.CANCELED, Reason.REDUCE_ONLY, now_ns)
        if not units:
            return 0
        order.leaves -= units
        market.positions[order.account] = position + sign * units
        fee = market.fees.fee_e8(price, units, liquidity)
        fill = (self.next_trade_id, price, units, liquidity, fee)
        self.next_trade_id += 1
        order.fills.append(fill)
        if not order.leaves:
            self._remove(order)
            self._keep(order, Event.FILL_ALL, 0)
        self._say_fill(order, fill, now_ns)
        return units

    def _remove(self, order: RestingOrder) -> None:
        self._resting.pop(order.client_order_id, None)
        market = self._markets.get(order.instrument_id)
        if market is not None and order in market.own(order.side):
            market.own(order.side).remove(order)

    def _keep(self, order: RestingOrder, event: int, reason: int) -> None:
        if order.client_order_id in self._ended:
            return
        self._ended[order.client_order_id] = (order, int(event), int(reason))
        self._ended_ids.append(order.client_order_id)
        if len(self._ended_ids) > self._ended_capacity:
            del self._ended[self._ended_ids.popleft()]

    def _end(self, order: RestingOrder, event: int, reason: int, now_ns: int) -> None:
        if self._resting.get(order.client_order_id) is order:
            self._remove(order)
        if order.client_order_id not in self._resting:
            self._keep(order, event, reason)
        self._say(order, event, now_ns, reason)

    def _refuse_replace(
        self, client_id: int, instrument_id: int, side: int, reason: int, now_ns: int
    ) -> None:
        report = VenueReport(Event.REPLACE_REJECTED, client_id, instrument_id, side, reason=int(reason))
        self.emit(report, now_ns)

    def _say(self, order: RestingOrder, event: int, now_ns: int, reason: int = 0) -> None:
        self.emit(
            VenueReport(
                int(event),
                order.client_order_id,
                order.instrument_id,
                order.side,
                venue_order_id=order.venue_order_id,
                reason=int(reason),
                price_units=order.price,
                order_units=order.units,
            ),
            now_ns,
        )

    def _say_fill(self, order: RestingOrder, fill: tuple[int, int, int, int, int], now_ns: int) -> None:
        trade_id, price, units, liquidity, fee = fill
        self.emit(
            VenueReport(
                Event.FILL_PART,
                order.client_order_id,
                order.instrument_id,
                order.side,
                venue_order_id=order.venue_order_id,
                trade_id=trade_id,
                last_units=units,
                last_price_units=price,
                liquidity=liquidity,
                fee_units=fee,
            ),
            now_ns,
        )
