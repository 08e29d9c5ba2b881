"""The exchange core: accounts and their orders over the matching of `exec.simulator`; no sockets, no clock.

Every call takes the time; what happens to an account is told to `on_event` while the call runs, in order. The
matching, queues and fills are the simulator's; here are identity, money, margin and what venues refuse.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from exec.lifecycle import Event
from exec.session import VenueReport
from exec.simulator.matcher import Simulator
from exec.simulator.queue_position import RestingOrder
from shm.enums import Liquidity, OrderFlags, Reason
from tools.venues.trading.accounts import Account
from tools.venues.trading.port import MarketPort
from tools.venues.trading.terms import (
    BUY,
    E8,
    FOK,
    MARKET,
    OPEN,
    AccountEvent,
    Fill,
    Listing,
    MoneyEvent,
    Refusal,
    Status,
    Terms,
    VenueOrder,
    What,
    Why,
)

VISIBLE_LEVELS = 64
ENDED_CAPACITY = 100_000
TAKER = int(Liquidity.TAKER)
#: A market order binds margin for the price it could reach.
MARKET_RESERVE = 1.0005

WHYS = {
    int(Reason.POST_ONLY_WOULD_CROSS): Why.POST_ONLY,
    int(Reason.FOK_NOT_FILLABLE): Why.FOK,
    int(Reason.IOC_REMAINDER): Why.REMAINDER,
    int(Reason.SELF_TRADE): Why.SELF_TRADE,
    int(Reason.REDUCE_ONLY): Why.REDUCE_ONLY,
    int(Reason.USER_CANCEL): Why.USER,
    int(Reason.MASS_CANCEL): Why.USER,
    int(Reason.VENUE_UNKNOWN_ORDER): Why.UNKNOWN_ORDER,
}


@dataclass(frozen=True, slots=True)
class VenueRules:
    """Where venues differ.

    refuses_post_only, refuses_fok: a post-only order that would cross, or a FOK that can not be filled, is
    refused (Binance) rather than accepted and then ended; ids_are_unique_for_ever: a client id can not be
    used again after its order has ended; amend_cross_cancels: a post-only order amended across the book is
    canceled; open_orders_max: of an account at one listing.
    """

    refuses_post_only: bool = True
    refuses_fok: bool = True
    ids_are_unique_for_ever: bool = False
    amend_cross_cancels: bool = True
    open_orders_max: int = 200


class Exchange:
    """All accounts and orders of one venue.

    Args:
        listings: what is traded.
        accounts: who trades.
        port: the public market.
        rules: of this venue.
        clock_ms: the venue's wall clock, for the times it tells.
        first_id: of order and trade ids; higher than those of an earlier life.
        ended_capacity: how many ended orders, and fills of an account, are still told of.
        on_event: told what happens to accounts.
    """

    def __init__(
        self,
        listings: Iterable[Listing],
        accounts: Iterable[Account],
        port: MarketPort,
        rules: VenueRules,
        clock_ms: Callable[[], int],
        *,
        first_id: int = 1,
        ended_capacity: int = ENDED_CAPACITY,
        on_event: Callable[[AccountEvent], None] = lambda _event: None,
    ) -> None:
        self.listings = {one.key: one for one in listings}
        self.accounts = {one.name: one for one in accounts}
        self.port = port
        self.rules = rules
        self.clock_ms = clock_ms
        self.on_event = on_event
        self.on_money: Callable[[MoneyEvent], None] = lambda _event: None
        self.orders: dict[int, VenueOrder] = {}
        self.placed = 0
        self.refused = 0
        self._ended: deque[VenueOrder] = deque()
        self._ended_capacity = ended_capacity
        self.fill_count = 0
        self.next_order_id = first_id
        self._simulator = Simulator(self._on_report, first_trade_id=first_id, ended_capacity=1)
        for one in self.listings.values():
            self._simulator.add_instrument(
                one.instrument, VISIBLE_LEVELS, maker_fee_e8=one.maker_fee_e8, taker_fee_e8=one.taker_fee_e8
            )
        self._verdict = Why.NONE
        self._ending = Why.USER
        self._touched: dict[int, VenueOrder] = {}
        self._turned: set[tuple[str, str]] = set()
        self._dead_men: dict[tuple[str, str], int] = {}
        self.dead_men_fired = 0

    # ---- orders --------------------------------------------------------------------------------

    def place(self, account_name: str, terms: Terms, now_ns: int) -> VenueOrder | Refusal:
        """Take a new order, or refuse it; it is matched before this returns."""
        account = self.accounts[account_name]
        listing = self.listings.get(terms.key)
        if listing is None:
            return self._refuse(Why.UNKNOWN_SYMBOL)
        self.refresh(listing, now_ns)
        why = self._check(account, listing, terms, now_ns)
        if why is not Why.NONE:
            return self._refuse(why)
        now_ms = self.clock_ms()
        order = VenueOrder(
            self.next_order_id, account.name, terms, terms.price_units, terms.units, now_ms, now_ms
        )
        self.next_order_id += 1
        self.orders[order.order_id] = order
        self._verdict = Why.NONE
        self._simulator.new(self._resting(order, account, listing), now_ns)
        self._settle()
        if self._verdict is not Why.NONE:
            del self.orders[order.order_id]
            return self._refuse(self._verdict)
        self.placed += 1
        return order

    def cancel(self, order: VenueOrder, now_ns: int) -> VenueOrder | Refusal:
        """Cancel an order; refused when it has ended."""
        if not order.is_open:
            return Refusal(Why.FINISHED, order)
        self._simulator.cancel(order.order_id, self._listing(order).number, order.terms.side, now_ns)
        self._settle()
        return order

    def amend(self, order: VenueOrder, price_units: int, units: int, now_ns: int) -> VenueOrder | Refusal:
        """Give an order a new price and a new total quantity; both refused, or both in force."""
        listing = self._listing(order)
        if not order.is_open:
            return Refusal(Why.FINISHED, order)
        why = self._grid(listing, price_units, units, order.terms.order_type)
        if why is not Why.NONE:
            return Refusal(why, order)
        if (price_units, units) == (order.price_units, order.units):
            return Refusal(Why.UNCHANGED, order)
        self.refresh(listing, now_ns)
        why = self._afford_change(order, listing, price_units, units, now_ns)
        if why is not Why.NONE:
            return Refusal(why, order)
        self._verdict = Why.NONE
        self._simulator.replace(order.order_id, listing.number, order.terms.side, price_units, units, now_ns)
        self._settle()
        if self._verdict is Why.POST_ONLY and self.rules.amend_cross_cancels:
            return self.cancel(order, now_ns)
        return order if self._verdict is Why.NONE else Refusal(self._verdict, order)

    def cancel_all(self, account_name: str, key: str, now_ns: int, why: Why = Why.USER) -> list[VenueOrder]:
        """Cancel what an account has open at a listing ("" = everywhere), whoever placed it."""
        found = [
            order for order in self.accounts[account_name].open_orders.values()
            if not key or order.terms.key == key
        ]  # fmt: skip
        self._ending = why
        for order in found:
            self._simulator.cancel(order.order_id, self._listing(order).number, order.terms.side, now_ns)
        self._ending = Why.USER
        self._settle()
        return found

    def find(
        self, account_name: str, *, key: str = "", order_id: int = 0, client_id: str = ""
    ) -> VenueOrder | None:
        """An order of an account by the venue's id, else by its client id (the newest that had it)."""
        order = self.orders.get(order_id) if order_id else None
        if order is None and not order_id and client_id:
            order = self.accounts[account_name].by_client.get(client_id)
        if order is None or order.account != account_name or (key and order.terms.key != key):
            return None
        return order

    def history(self, account_name: str, key: str = "") -> list[VenueOrder]:
        """All orders of an account (at a listing), oldest first."""
        return [
            one for one in self.orders.values()
            if one.account == account_name and (not key or one.terms.key == key)
        ]  # fmt: skip

    # ---- market and time -----------------------------------------------------------------------

    def on_market(self, now_ns: int) -> None:
        """Let public trades and books since the last call meet what rests here."""
        touched: dict[str, None] = {}
        for key, price, units, is_buy, before in self.port.trades():
            listing = self.listings[key]
            touched[key] = None
            if not listing.open_orders:
                continue
            if before >= 0:
                self._simulator.on_queue(listing.number, 2 if is_buy else BUY, price, before)
            self._simulator.on_trade(listing.number, price, units, 1 if is_buy else 2, now_ns)
        for listing in self.listings.values():
            if listing.open_orders or listing.key in touched:
                self.refresh(listing, now_ns)
        self._settle()

    def set_dead_man(self, account_name: str, key: str, timeout_ns: int, now_ns: int) -> None:
        """Cancel all of an account at a listing ("" = everywhere) unless told again in time; 0 ends that."""
        if timeout_ns > 0:
            self._dead_men[account_name, key] = now_ns + timeout_ns
        else:
            self._dead_men.pop((account_name, key), None)

    def dead_men(self) -> dict[tuple[str, str], int]:
        """(account, key) → when its timer fires."""
        return dict(self._dead_men)

    def on_timer(self, now_ns: int) -> None:
        """Let dead-man timers fire that are due."""
        for (account, key), due_ns in list(self._dead_men.items()):
            if due_ns <= now_ns:
                del self._dead_men[account, key]
                self.dead_men_fired += 1
                self.cancel_all(account, key, now_ns, Why.DEAD_MAN)

    def next_due_ns(self) -> int | None:
        """When `on_timer` has something to do; None = never."""
        return min(self._dead_men.values(), default=None)

    # ---- checks --------------------------------------------------------------------------------

    def _refuse(self, why: Why) -> Refusal:
        self.refused += 1
        return Refusal(why)

    @staticmethod
    def _grid(listing: Listing, price_units: int, units: int, order_type: int) -> Why:
        if units <= 0:
            return Why.QUANTITY
        if units > listing.max_units:
            return Why.MAX_QUANTITY
        if units % listing.lot_units:
            return Why.LOT
        if order_type == MARKET:
            return Why.NONE
        if price_units <= 0:
            return Why.PRICE
        return Why.TICK if price_units % listing.tick_units else Why.NONE

    def _check(self, account: Account, listing: Listing, terms: Terms, now_ns: int) -> Why:
        if not listing.is_trading:
            return Why.NOT_TRADING
        why = self._grid(listing, terms.price_units, terms.units, terms.order_type)
        if why is not Why.NONE:
            return why
        known = account.by_client.get(terms.client_id) if terms.client_id else None
        if known is not None and (self.rules.ids_are_unique_for_ever or known.is_open):
            return Why.DUPLICATE_ID
        price = self._reserve_price(listing, terms)
        if not price:
            return Why.NO_LIQUIDITY
        if terms.is_reduce_only:
            held = account.holding(listing.key).units
            return Why.NONE if (held < 0 if terms.side == BUY else held > 0) else Why.REDUCE_ONLY
        if listing.value_e8(price, terms.units) < listing.min_notional_e8:
            return Why.MIN_NOTIONAL
        if self._is_full(account, listing.key):
            return Why.OPEN_ORDERS
        can = account.affords(listing, terms.side, price, terms.units, self.listings, now_ns)
        return Why.NONE if can else Why.MARGIN

    def _is_full(self, account: Account, key: str) -> bool:
        most = self.rules.open_orders_max
        if len(account.open_orders) < most:
            return False
        return sum(one.terms.key == key for one in account.open_orders.values()) >= most

    def _reserve_price(self, listing: Listing, terms: Terms) -> int:
        if terms.order_type != MARKET:
            return terms.price_units
        return int(listing.mark_units * (MARKET_RESERVE if terms.side == BUY else 1))

    def _afford_change(self, order: VenueOrder, listing: Listing, price: int, units: int, now_ns: int) -> Why:
        if order.terms.is_reduce_only or units <= order.filled:
            return Why.NONE
        account = self.accounts[order.account]
        account.note_open(listing, order, -1)
        account.mark(listing)
        can = account.affords(listing, order.terms.side, price, units - order.filled, self.listings, now_ns)
        account.note_open(listing, order, 1)
        account.mark(listing)
        return Why.NONE if can else Why.MARGIN

    # ---- what the simulator says ---------------------------------------------------------------

    def _resting(self, order: VenueOrder, account: Account, listing: Listing) -> RestingOrder:
        terms = order.terms
        one = RestingOrder(order.order_id, listing.number, terms.side, terms.price_units, terms.units)
        one.order_type, one.time_in_force = terms.order_type, terms.time_in_force
        one.flags = (int(OrderFlags.POST_ONLY) if terms.is_post_only else 0) | (
            int(OrderFlags.REDUCE_ONLY) if terms.is_reduce_only else 0
        )
        one.account, one.self_trade = account.number, terms.self_trade
        return one

    def _listing(self, order: VenueOrder) -> Listing:
        return self.listings[order.terms.key]

    def refresh(self, listing: Listing, now_ns: int) -> None:
        """Let the public book of the moment meet what rests at a listing."""
        version = self.port.version(listing.key)
        if version == listing.version:
            return
        listing.version = version
        levels = self.port.levels(listing.key, VISIBLE_LEVELS)
        listing.mark_units = self.port.mid_units(listing.key) or listing.mark_units
        self._simulator.on_book(listing.number, levels.bids, levels.asks, now_ns)

    def _on_report(self, report: VenueReport, _now_ns: int) -> None:
        order = self.orders[report.client_order_id]
        self._touched[order.order_id] = order
        event = report.event
        if event == Event.FILL_PART:
            self._on_fill(order, report)
        elif event == Event.ACCEPTED:
            self._on_accepted(order)
        elif event == Event.REPLACED:
            self._on_replaced(order, report)
        elif event in (Event.CANCELED, Event.EXPIRED):
            why = WHYS.get(report.reason, Why.USER)
            self._on_end(order, event, self._ending if why is Why.USER else why)
        else:
            self._verdict = WHYS.get(report.reason, Why.PRICE)
            order.status = Status.REJECTED if event == Event.REJECTED else order.status
            if (
                event == Event.REJECTED
                and self._verdict is Why.POST_ONLY
                and not self.rules.refuses_post_only
            ):
                self._verdict = Why.NONE
                order.status = Status.NEW
                self._on_accepted(order)
                self._on_end(order, Event.CANCELED, Why.POST_ONLY)

    def _on_accepted(self, order: VenueOrder) -> None:
        account, listing = self.accounts[order.account], self._listing(order)
        client_id = order.terms.client_id
        if client_id:
            if client_id in account.by_client:
                account.reused_ids[client_id] = account.reused_ids.get(client_id, 1) + 1
            account.by_client[client_id] = order
        account.open_orders[order.order_id] = order
        account.note_open(listing, order, 1)
        account.mark(listing)
        listing.open_orders += 1
        if listing.open_orders == 1:
            self.port.watch(listing.key, True)
        if not (self.rules.refuses_fok and order.terms.time_in_force == FOK):
            self._tell(What.NEW, order)

    def _on_fill(self, order: VenueOrder, report: VenueReport) -> None:
        account, listing = self.accounts[order.account], self._listing(order)
        if not order.filled and self.rules.refuses_fok and order.terms.time_in_force == FOK:
            self._tell(What.NEW, order)
        units, price, side = report.last_units, report.last_price_units, order.terms.side
        is_maker = report.liquidity != TAKER
        fee, asset = report.fee_units, listing.settle
        if listing.is_spot and side == BUY:
            rate = listing.maker_fee_e8 if is_maker else listing.taker_fee_e8
            fee, asset = -(-listing.base_e8(units) * rate // E8), listing.item.base
        account.note_open(listing, order, -1)
        order.filled += units
        order.filled_raw += listing.raw(price, units)
        now_ms = order.updated_ms = self.clock_ms()
        fill = Fill(
            report.trade_id, order.order_id, listing.key, side, price, units, is_maker, fee, asset, 0, now_ms
        )
        held = account.holding(listing.key).units
        account.settle(listing, fill)
        if held * account.holding(listing.key).units <= 0:
            self._turned.add((account.name, listing.key))
        order.realized_e8 += fill.realized_e8
        order.fills.append(fill)
        self.fill_count += 1
        order.status = Status.FILLED if order.filled == order.units else Status.PARTIALLY_FILLED
        if order.is_open:
            account.note_open(listing, order, 1)
        else:
            self._close(account, listing, order)
        account.mark(listing)
        if not is_maker:
            self.port.take(listing.key, side == BUY, price, units)
        else:
            shown = min(units, order.shown_units)
            order.shown_units -= shown
            if shown:
                self.port.filled(listing.key, side == BUY, order.price_units, shown)
        self._tell(What.TRADE, order, fill)

    def _on_replaced(self, order: VenueOrder, report: VenueReport) -> None:
        account, listing = self.accounts[order.account], self._listing(order)
        account.note_open(listing, order, -1)
        self._show(order, listing, 0)
        order.price_units, order.units = report.price_units, report.order_units
        order.amendments += 1
        order.updated_ms = self.clock_ms()
        account.note_open(listing, order, 1)
        account.mark(listing)
        self._tell(What.AMENDED, order)

    def _on_end(self, order: VenueOrder, event: int, why: Why) -> None:
        account, listing = self.accounts[order.account], self._listing(order)
        account.note_open(listing, order, -1)
        order.status = Status.CANCELED if event == Event.CANCELED else Status.EXPIRED
        order.why = why
        order.updated_ms = self.clock_ms()
        self._close(account, listing, order)
        account.mark(listing)
        if why is Why.FOK and self.rules.refuses_fok and not order.filled:
            self._verdict = Why.FOK
            if account.by_client.get(order.terms.client_id) is order:
                del account.by_client[order.terms.client_id]
            return
        self._tell(What.CANCELED if event == Event.CANCELED else What.EXPIRED, order)

    def _close(self, account: Account, listing: Listing, order: VenueOrder) -> None:
        if account.open_orders.pop(order.order_id, None) is None:
            return
        listing.open_orders -= 1
        if not listing.open_orders:
            self.port.watch(listing.key, False)
        self._ended.append(order)
        if len(self._ended) > self._ended_capacity:
            self._forget(self._ended.popleft())
        if len(account.fills) >= 2 * self._ended_capacity:
            del account.fills[: self._ended_capacity]

    def _forget(self, order: VenueOrder) -> None:
        self.orders.pop(order.order_id, None)
        account = self.accounts[order.account]
        if account.by_client.get(order.terms.client_id) is order:
            del account.by_client[order.terms.client_id]

    def _tell(self, what: What, order: VenueOrder, fill: Fill | None = None) -> None:
        self.on_event(AccountEvent(what, order.account, order, fill, order.updated_ms))

    def _settle(self) -> None:
        """Let the public book show what rests now, once the simulator is done."""
        if not self._touched:
            return
        while self._turned:
            self._end_reduce_only(*self._turned.pop())
        for order in self._touched.values():
            listing = self._listing(order)
            self._show(order, listing, order.leaves if order.status in OPEN else 0)
        self._touched.clear()

    def _end_reduce_only(self, account_name: str, key: str) -> None:
        """Cancel reduce-only orders that have nothing left to reduce."""
        account = self.accounts[account_name]
        held = account.holding(key).units
        self._ending = Why.REDUCE_ONLY
        for order in list(account.open_orders.values()):
            side = order.terms.side
            if (
                order.terms.is_reduce_only
                and order.terms.key == key
                and (held >= 0 if side == BUY else held <= 0)
            ):
                self._simulator.cancel(order.order_id, self.listings[key].number, side, 0)
        self._ending = Why.USER

    def _show(self, order: VenueOrder, listing: Listing, units: int) -> None:
        if units != order.shown_units:
            self.port.show(listing.key, order.terms.side == BUY, order.price_units, units - order.shown_units)
            order.shown_units = units
