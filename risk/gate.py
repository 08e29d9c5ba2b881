"""The gate: ordered pre-trade checks, cheap first; the verdict is the first failing check.

Order: kind, shape, epoch, generation, trading state, instrument, tick, lot and size, notional, intent age,
certificates cited at all, open orders, rate, duplicate id, reduce-only, position, exposure; then, because
they read shared memory, the certificates themselves and the price band. A verdict spends a rate token only
when everything passed.

Cancels and mass cancels pass always, before anything is looked at. Reduce-only orders of halt, sentinel or
emergency pass in every trading and book state: they are checked only for a known instrument, shape, tick,
lot, and that they reduce what is held.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from risk import checks
from risk.exposure import ExposureBook, InstrumentExposure
from risk.limits import Limits
from risk.rate import OrderRate
from shm.book import BookSlab
from shm.enums import IntentKind, OrderFlags, OrderType, Reason, Side, TradingState
from shm.errors import InstrumentError
from shm.instruments import Instrument, InstrumentTable
from shm.records import IntentRecord

_NEW, _CANCEL, _REPLACE, _MASS_CANCEL, _MASS_STATUS = (
    int(IntentKind.NEW),
    int(IntentKind.CANCEL),
    int(IntentKind.REPLACE),
    int(IntentKind.MASS_CANCEL),
    int(IntentKind.MASS_STATUS),
)
_ALWAYS = frozenset((_CANCEL, _MASS_CANCEL, _MASS_STATUS))
_BUY = int(Side.BUY)
_MARKET = int(OrderType.MARKET)
_REDUCE_ONLY = int(OrderFlags.REDUCE_ONLY)
_FORCED = int(OrderFlags.FROM_HALT | OrderFlags.FROM_SENTINEL | OrderFlags.FROM_EMERGENCY)
_ACTIVE, _HALTED = int(TradingState.ACTIVE), int(TradingState.HALTED)
_NONE = Reason.NONE


class HaltWord(Protocol):
    """What the gate reads of the control segment (`shm.control.Control`)."""

    def halt_state(self) -> tuple[TradingState, int]:
        """Trading state in force, and the reason code of whoever set it."""

    @property
    def generation(self) -> int:
        """Newest config generation made."""


class WorkingOrder(Protocol):
    """What the gate needs of the order a replace names (`exec.order.Order`)."""

    instrument_id: int
    side: int
    price_units: int
    filled_units: int
    leaves_units: int
    reserved_units: int
    reserved_product: int
    order_type: int

    @property
    def is_terminal(self) -> bool:
        """Whether nothing of it can rest anywhere."""


class _Row:
    """Everything about one instrument that the checks need, resolved once."""

    __slots__ = ("exposure", "instrument", "limits", "slab")

    def __init__(
        self, instrument: Instrument, limits: Limits, slab: BookSlab, exposure: InstrumentExposure
    ) -> None:
        self.instrument = instrument
        self.limits = limits
        self.slab = slab
        self.exposure = exposure


class Gate:
    """Decides whether an intent may become an order.

    Args:
        epoch: of the run; intents of another are refused.
        control: halt word and newest generation.
        slab_of: the book slab that holds an instrument's book.
        is_alive: whether the worker in that slot (a slab's owner) is alive.
        limits: of every instrument without its own; exposure and rate come from here.
        exposures: open orders and positions, kept up to date by the owner of the gate.
        instruments: the instrument table.
        find_order: the order an id leads to, None if unknown: replaces and duplicates.
        limits_of: limits by instrument id.

    `generation` is the config generation in force in this gateway; its owner sets it. `check` raises nothing
    for a bad intent; what `slab_of`, `is_alive` or `find_order` raise passes through.
    """

    __slots__ = (
        "_ask",
        "_bid",
        "_rows",
        "control",
        "epoch",
        "exposures",
        "find_order",
        "generation",
        "instruments",
        "is_alive",
        "limits",
        "limits_of",
        "rate",
        "slab_of",
    )

    def __init__(
        self,
        *,
        epoch: int,
        control: HaltWord,
        slab_of: Callable[[int], BookSlab],
        is_alive: Callable[[int], bool],
        limits: Limits,
        exposures: ExposureBook,
        instruments: InstrumentTable,
        find_order: Callable[[int], WorkingOrder | None],
        limits_of: dict[int, Limits] | None = None,
    ) -> None:
        self.epoch = epoch
        self.control = control
        self.slab_of = slab_of
        self.is_alive = is_alive
        self.exposures = exposures
        self.instruments = instruments
        self.find_order = find_order
        self.generation = 0
        self._bid = np.zeros((1, 2), dtype=np.int64)
        self._ask = np.zeros((1, 2), dtype=np.int64)
        self.rate = OrderRate(0, 1)
        self.set_limits(limits, limits_of)

    def set_limits(self, limits: Limits, limits_of: dict[int, Limits] | None = None) -> None:
        """Put new limits in force, at a message boundary; what was sent before still counts for the rate."""
        self.limits = limits
        self.limits_of = limits_of or {}
        spent_until_ns = self.rate.theoretical_ns
        self.rate = OrderRate(limits.orders_per_s, limits.burst)
        self.rate.theoretical_ns = spent_until_ns
        self._rows: dict[int, _Row] = {}

    def check(self, intent: IntentRecord, now_ns: int) -> Reason:
        """Judge one intent: `Reason.NONE`, or the first failing check.

        Args:
            intent: not kept and not changed.
            now_ns: monotonic time of the judgment.
        """
        kind = intent.kind
        flags = intent.flags
        if kind == _NEW:
            if flags & _FORCED and flags & _REDUCE_ONLY:
                return self._check_forced(intent)
            return self._check_order(intent, None, now_ns)
        if kind != _REPLACE:
            return _NONE if kind in _ALWAYS else Reason.BAD_INTENT
        target = self.find_order(intent.orig_client_order_id)
        if target is None:
            return Reason.UNKNOWN_ORDER
        if target.is_terminal:
            return Reason.ORDER_TERMINAL
        if target.instrument_id != intent.instrument_id or target.side != intent.side:
            return Reason.BAD_INTENT
        if target.order_type == _MARKET or intent.order_type == _MARKET:
            return Reason.BAD_INTENT
        return self._check_order(intent, target, now_ns)

    def _row(self, instrument_id: int) -> _Row | None:
        """The row with the instrument's current status; None for an unknown instrument."""
        try:
            instrument = self.instruments.get(instrument_id)
        except InstrumentError:
            return None
        row = self._rows.get(instrument_id)
        if row is None or row.instrument is not instrument:
            limits = self.limits_of.get(instrument_id, self.limits)
            row = _Row(instrument, limits, self.slab_of(instrument_id), self.exposures.row(instrument_id))
            self._rows[instrument_id] = row
        return row

    def _check_forced(self, intent: IntentRecord) -> Reason:
        side, quantity, price = intent.side, intent.quantity_units, intent.price_units
        reason = checks.check_shape(
            side, intent.order_type, intent.time_in_force, intent.flags, price, quantity
        )
        if reason:
            return reason
        row = self._row(intent.instrument_id)
        if row is None:
            return Reason.UNKNOWN_INSTRUMENT
        instrument = row.instrument
        if price % instrument.tick_size:
            return Reason.PRICE_TICK
        if quantity % instrument.lot_size:
            return Reason.QUANTITY_LOT
        if self.find_order(intent.client_order_id) is not None:
            return Reason.DUPLICATE_ID
        # Open orders do not count: their cancels are on the way, and the venue clips a reduce-only order.
        if not checks.is_reducing(side, quantity, row.exposure.position.quantity_units, 0):
            return Reason.REDUCE_ONLY
        return _NONE

    def _check_order(self, intent: IntentRecord, target: WorkingOrder | None, now_ns: int) -> Reason:
        side, quantity, price = intent.side, intent.quantity_units, intent.price_units
        reason = checks.check_shape(
            side, intent.order_type, intent.time_in_force, intent.flags, price, quantity
        )
        if reason:
            return reason
        if intent.epoch != self.epoch:
            return Reason.WRONG_EPOCH
        if intent.generation != self.generation:
            reason = checks.check_generation(intent.generation, self.generation, self.control.generation)
            if reason:
                return reason
        state = self.control.halt_state()[0]
        if state == _HALTED:
            return Reason.HALTED
        row = self._row(intent.instrument_id)
        if row is None:
            return Reason.UNKNOWN_INSTRUMENT
        instrument, limits = row.instrument, row.limits
        reason = (
            checks.check_status(instrument.status)
            or checks.check_tick(price, instrument.tick_size)
            or checks.check_quantity(
                quantity, instrument.lot_size, instrument.min_quantity_units, instrument.max_quantity_units
            )
        )
        if reason:
            return reason
        value_price = price or row.exposure.reference_price_units
        if not value_price:
            # A market order before the first mark: nothing to judge its money by.
            return Reason.PRICE_BAND
        notional_e8 = row.exposure.valuation.exposure_e8(value_price * quantity, quantity)
        reason = (
            checks.check_notional_min(notional_e8, instrument.min_notional_units)
            or checks.check_order_size(
                quantity, notional_e8, limits.max_order_units, limits.max_order_notional_e8
            )
            or checks.check_intent_age(now_ns, intent.decide_ns, limits.max_intent_age_ns)
        )
        if reason:
            return reason
        raises = target is None or self._raises(target, side, price, quantity)
        if raises and not intent.certificate_count:
            return Reason.NO_CERTIFICATE
        reason = (
            (
                _NONE
                if target is not None
                else checks.check_open_orders(row.exposure.open_orders, limits.max_open_orders)
            )
            or (_NONE if self.rate.conforms(now_ns) else Reason.ORDER_RATE)
            or (_NONE if self.find_order(intent.client_order_id) is None else Reason.DUPLICATE_ID)
            or self._check_money(intent, target, row, state, value_price)
        )
        if reason:
            return reason
        if raises:
            reason = self._check_books(intent, row, now_ns)
            if reason:
                return reason
        self.rate.spend(now_ns)
        return _NONE

    @staticmethod
    def _raises(target: WorkingOrder, side: int, price: int, quantity: int) -> bool:
        """Whether a replace can raise exposure: more quantity, or a price that fills sooner."""
        if quantity - target.filled_units > target.leaves_units:
            return True
        return price > target.price_units if side == _BUY else price < target.price_units

    def _check_money(
        self, intent: IntentRecord, target: WorkingOrder | None, row: _Row, state: int, value_price: int
    ) -> Reason:
        exposure, limits = row.exposure, row.limits
        buys = intent.side == _BUY
        more_units = intent.quantity_units
        if target is not None:
            more_units -= target.filled_units
            if more_units <= 0:
                return Reason.QUANTITY_MIN
        more_product = more_units * value_price
        if target is not None:
            # Worst case of a replace: old and new terms may either be in force, so only the excess counts.
            more_units = max(0, more_units - target.reserved_units)
            more_product = max(0, more_product - target.reserved_product)
        if state != _ACTIVE or intent.flags & _REDUCE_ONLY:
            open_units = exposure.open_buy_units if buys else exposure.open_sell_units
            held = exposure.position.quantity_units
            if not checks.is_reducing(intent.side, more_units, held, open_units):
                return Reason.REDUCING if state != _ACTIVE else Reason.REDUCE_ONLY
        side_e8 = exposure.side_e8(buys, more_units, more_product)
        if more_product:
            reason = checks.check_position(side_e8, limits.max_position_notional_e8)
            if reason:
                return reason
        before = exposure.exposure_e8
        after = max(before, side_e8)
        return checks.check_exposure(self.exposures.total_e8, before, after, self.limits.max_exposure_e8)

    def _check_books(self, intent: IntentRecord, row: _Row, now_ns: int) -> Reason:
        limits = row.limits
        for index in range(intent.certificate_count):
            instrument_id, epoch, live_id, sequence = intent.certificate(index)
            cited = row if instrument_id == intent.instrument_id else self._row(instrument_id)
            if cited is None:
                return Reason.UNKNOWN_INSTRUMENT
            slab = cited.slab
            found = slab.certificate(instrument_id)
            if found is None:
                return Reason.BOOK_BUSY
            reason = checks.check_certificate(epoch, live_id, found.epoch, found.live_id, found.state)
            if reason:
                return reason
            alive_ns = slab.stream_alive_ns(found.stream)
            reason = checks.check_freshness(
                now_ns, alive_ns, found.data_ns, limits.max_silence_ns, limits.max_data_age_ns
            )
            if reason:
                return reason
            if not self.is_alive(slab.owner_slot):
                return Reason.PUBLISHER_DEAD
            # A worker that was stopped or far behind decides now on what was true long ago.
            if found.last_sequence != sequence and checks.check_superseded(
                now_ns, intent.publish_ns, limits.max_intent_age_ns
            ):
                return Reason.INTENT_OLD
        if intent.order_type == _MARKET or not limits.price_band_bps:
            return _NONE
        counts = row.slab.load_into(intent.instrument_id, self._bid, self._ask)
        if counts < 0:
            return Reason.BOOK_BUSY
        best_bid = int(self._bid[0, 0]) if counts >> 16 else 0
        best_ask = int(self._ask[0, 0]) if counts & 0xFFFF else 0
        return checks.check_band(intent.side, intent.price_units, best_bid, best_ask, limits.price_band_bps)
