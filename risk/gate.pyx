# cython: language_level=3, cdivision=True
"""The gate: ordered pre-trade checks, cheap first; the verdict is the first failing check.

Order: kind, shape, epoch, generation, trading state, instrument, tick, lot and size, notional, intent age,
certificates cited at all, open orders, rate, duplicate id, reduce-only, position, correlated group, exposure; then, because
they read shared memory, the certificates themselves and the price band. A verdict spends a rate token only
when everything passed.

Cancels and mass cancels pass always, before anything is looked at. Reduce-only orders of halt, sentinel or
emergency pass in every trading and book state: they are checked only for a known instrument, shape, tick,
lot, and that they reduce what is held.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from risk.checks cimport (
    check_band, check_certificate, check_exposure, check_freshness, check_generation, check_intent_age,
    check_notional_min, check_open_orders, check_order_size, check_position, check_quantity, check_shape,
    check_status, check_superseded, check_tick, is_reducing,
)
from risk.exposure cimport ExposureBook, InstrumentExposure
from risk.rate cimport OrderRate
from shm.book cimport BookSlab
from shm.control cimport Control
from shm.layout cimport SHM_WORKER_SLOTS, shm_a64, shm_book_head, shm_certificate, shm_certificate_ref, shm_level
from shm.records cimport IntentRecord

from shm.enums import IntentKind, OrderFlags, OrderType, Reason, Side, TradingState
from shm.errors import InstrumentError

cdef extern from "shm/native/shm_atomics.h" nogil:
    uint64_t shm_load_acquire(const shm_a64 *field)


cdef int _NEW = int(IntentKind.NEW), _CANCEL = int(IntentKind.CANCEL), _REPLACE = int(IntentKind.REPLACE)
cdef int _MASS_CANCEL = int(IntentKind.MASS_CANCEL), _MASS_STATUS = int(IntentKind.MASS_STATUS)
cdef int _BUY = int(Side.BUY)
cdef int _MARKET = int(OrderType.MARKET)
cdef int _REDUCE_ONLY = int(OrderFlags.REDUCE_ONLY)
cdef int _FORCED = int(OrderFlags.FROM_HALT | OrderFlags.FROM_SENTINEL | OrderFlags.FROM_EMERGENCY)
cdef int _ACTIVE = int(TradingState.ACTIVE), _HALTED = int(TradingState.HALTED)
# Reason objects by number: a verdict is one of these, so that logs and tests read names.
cdef list _REASONS = [None] * (max(Reason) + 1)
for _reason in Reason:
    _REASONS[int(_reason)] = _reason
cdef int R_BAD_INTENT = int(Reason.BAD_INTENT), R_UNKNOWN_ORDER = int(Reason.UNKNOWN_ORDER)
cdef int R_ORDER_TERMINAL = int(Reason.ORDER_TERMINAL), R_WRONG_EPOCH = int(Reason.WRONG_EPOCH)
cdef int R_HALTED = int(Reason.HALTED), R_REDUCING = int(Reason.REDUCING)
cdef int R_UNKNOWN_INSTRUMENT = int(Reason.UNKNOWN_INSTRUMENT), R_PRICE_BAND = int(Reason.PRICE_BAND)
cdef int R_PRICE_TICK = int(Reason.PRICE_TICK), R_QUANTITY_LOT = int(Reason.QUANTITY_LOT)
cdef int R_QUANTITY_MIN = int(Reason.QUANTITY_MIN), R_NO_CERTIFICATE = int(Reason.NO_CERTIFICATE)
cdef int R_ORDER_RATE = int(Reason.ORDER_RATE), R_DUPLICATE_ID = int(Reason.DUPLICATE_ID)
cdef int R_REDUCE_ONLY = int(Reason.REDUCE_ONLY), R_BOOK_BUSY = int(Reason.BOOK_BUSY)
cdef int R_CORRELATION = int(Reason.CORRELATION)
cdef int R_PUBLISHER_DEAD = int(Reason.PUBLISHER_DEAD), R_INTENT_OLD = int(Reason.INTENT_OLD)


cdef class LivingWorkers:
    """Whether the worker in a slot is alive, by its state in the control segment.

    Args:
        control: worker states.
        states: the `WorkerState`s in which a worker counts as alive.

    Anything else that says so can be the gate's `is_alive`; this one it asks without a call into Python.
    """

    def __init__(self, Control control not None, states):
        self._control = control
        self._states = 0
        for state in states:
            self._states |= 1ULL << <int>state

    def __call__(self, uint64_t slot):
        """Answer for a worker slot; ValueError if there is none of that number."""
        return self.has(slot)

    cdef bint has(self, uint64_t slot) except -1:
        if slot >= SHM_WORKER_SLOTS:
            self._control.slot(slot)  # says what is wrong with it
        cdef uint64_t state = shm_load_acquire(&self._control.raw.workers[slot].state)
        return state < 64 and self._states >> state & 1


cdef class _Row:
    """Everything about one instrument that the checks need, resolved once; its status byte is read in place."""

    def __init__(
        self, instrument, const uint8_t[::1] status_view, limits, BookSlab slab, InstrumentExposure exposure
    ):
        self._status_view = status_view
        self.status_now = &self._status_view[0]
        self.slab = slab
        self.exposure = exposure
        self.status = instrument.status
        self.tick_size = instrument.tick_size
        self.lot_size = instrument.lot_size
        self.min_units = instrument.min_quantity_units
        self.max_units = instrument.max_quantity_units
        self.min_notional_e8 = instrument.min_notional_units
        self.max_order_units = limits.max_order_units
        self.max_open_orders = limits.max_open_orders
        self.max_silence_ns = limits.max_silence_ns
        self.max_data_age_ns = limits.max_data_age_ns
        self.max_intent_age_ns = limits.max_intent_age_ns
        self.price_band_bps = limits.price_band_bps
        self.max_order_notional_e8 = limits.max_order_notional_e8
        self.max_position_notional_e8 = limits.max_position_notional_e8


cdef class Gate:
    """Decides whether an intent may become an order.

    Args:
        epoch: of the run; intents of another are refused.
        control: halt word and newest generation.
        slab_of: the book slab that holds an instrument's book.
        is_alive: whether the worker in that slot (a slab's owner) is alive, as `LivingWorkers` says.
        limits: of every instrument without its own; exposure and rate come from here.
        exposures: open orders and positions, kept up to date by the owner of the gate.
        instruments: the instrument table.
        find_order: the order an id leads to, None if unknown: replaces and duplicates.
        limits_of: limits by instrument id.

    `generation` is the config generation in force in this gateway; its owner sets it. `check` raises nothing
    for a bad intent; what `slab_of`, `is_alive` or `find_order` raise passes through.
    """

    def __init__(
        self,
        *,
        epoch,
        control,
        slab_of,
        is_alive,
        limits,
        ExposureBook exposures,
        instruments,
        find_order,
        limits_of=None,
    ):
        self.epoch = epoch
        self.control = control
        self._word = control if isinstance(control, Control) else None
        self.slab_of = slab_of
        self.is_alive = is_alive
        self._living = is_alive if isinstance(is_alive, LivingWorkers) else None
        self.exposures = exposures
        self.instruments = instruments
        self.find_order = find_order
        self.generation = 0
        self._groups = {}
        self.rate = OrderRate(0, 1)
        self.set_limits(limits, limits_of)

    def set_limits(self, limits, limits_of=None):
        """Put new limits in force, at a message boundary; what was sent before still counts for the rate."""
        self.limits = limits
        self.limits_of = limits_of or {}
        spent_until_ns = self.rate.theoretical_ns
        self.rate = OrderRate(limits.orders_per_s, limits.burst)
        self.rate.theoretical_ns = spent_until_ns
        self._max_exposure_e8 = limits.max_exposure_e8
        self._max_correlated_e8 = limits.max_correlated_notional_e8
        self._rows = []

    def set_groups(self, groups):
        """Say which instruments are one position for `max_correlated_notional_e8`.

        Args:
            groups: of (instrument id, sign) each; a sign of -1 moves against the others. An instrument in
                none counts alone.
        """
        self._groups = {}
        for group in groups:
            members = [(self.exposures.row(instrument_id), sign) for instrument_id, sign in group]
            for instrument_id, sign in group:
                self._groups[instrument_id] = (sign, members)

    def check(self, IntentRecord intent not None, int64_t now_ns):
        """Judge one intent: `Reason.NONE`, or the first failing check.

        Args:
            intent: not kept and not changed.
            now_ns: monotonic time of the judgment.
        """
        return _REASONS[self._judge(intent, now_ns)]

    def rehearse(self, IntentRecord intent not None, int64_t now_ns):
        """Judge an intent that nobody sent, as `check` does, and spend nothing: it keeps the way of real ones warm."""
        cdef OrderRate rate = self.rate
        cdef int64_t spent_until_ns = rate.theoretical_ns
        reason = _REASONS[self._judge(intent, now_ns)]
        rate.theoretical_ns = spent_until_ns
        return reason

    cdef int _judge(self, IntentRecord intent, int64_t now_ns) except -1:
        cdef int kind = intent.kind
        if kind == _NEW:
            if intent.flags & _FORCED and intent.flags & _REDUCE_ONLY:
                return self._check_forced(intent)
            return self._check_order(intent, None, now_ns)
        if kind != _REPLACE:
            return 0 if kind == _CANCEL or kind == _MASS_CANCEL or kind == _MASS_STATUS else R_BAD_INTENT
        target = self.find_order(intent.orig_client_order_id)
        if target is None:
            return R_UNKNOWN_ORDER
        if target.is_terminal:
            return R_ORDER_TERMINAL
        if target.instrument_id != intent.instrument_id or target.side != intent.side:
            return R_BAD_INTENT
        if target.order_type == _MARKET or intent.order_type == _MARKET:
            return R_BAD_INTENT
        return self._check_order(intent, target, now_ns)

    cdef _Row _row(self, uint32_t instrument_id):
        """The row with the instrument's current status; None for an unknown instrument."""
        cdef _Row row
        # An order comes when the caches hold other things: what is known is found without a call into Python.
        if instrument_id < <size_t>len(self._rows):
            row = self._rows[instrument_id]
            if row is not None and row.status_now[0] == row.status:
                return row
        return self._resolve(instrument_id)

    cdef _Row _resolve(self, uint32_t instrument_id):
        """Make the row of an instrument that is new here or whose status changed; None for an unknown one."""
        cdef list rows = self._rows
        cdef object key = instrument_id
        try:
            instrument = self.instruments.get(key)
        except InstrumentError:
            return None
        cdef _Row row = _Row(
            instrument, self.instruments.status_view(key), self.limits_of.get(key, self.limits), self.slab_of(key),
            self.exposures.row(key),
        )
        rows.extend([None] * (instrument_id + 1 - len(rows)))
        rows[instrument_id] = row
        return row

    cdef bint _is_alive(self, uint64_t slot) except -1:
        return self._living.has(slot) if self._living is not None else self.is_alive(slot)

    cdef int _trading_state(self) except -1:
        if self._word is not None:
            return self._word.state_c()
        return self.control.halt_state()[0]

    cdef int _check_forced(self, IntentRecord intent) except -1:
        cdef int reason = check_shape(
            intent.side, intent.order_type, intent.time_in_force, intent.flags, intent.price_units,
            intent.quantity_units,
        )
        if reason:
            return reason
        cdef _Row row = self._row(intent.instrument_id)
        if row is None:
            return R_UNKNOWN_INSTRUMENT
        if intent.price_units % row.tick_size:
            return R_PRICE_TICK
        if intent.quantity_units % row.lot_size:
            return R_QUANTITY_LOT
        if self.find_order(intent.client_order_id) is not None:
            return R_DUPLICATE_ID
        # Open orders do not count: their cancels are on the way, and the venue clips a reduce-only order.
        if not is_reducing(intent.side, intent.quantity_units, row.exposure.position.quantity_units, 0):
            return R_REDUCE_ONLY
        return 0

    cdef int _check_order(self, IntentRecord intent, object target, int64_t now_ns) except -1:
        cdef int64_t quantity = intent.quantity_units, price = intent.price_units
        cdef int reason = check_shape(
            intent.side, intent.order_type, intent.time_in_force, intent.flags, price, quantity
        )
        if reason:
            return reason
        if intent.epoch != self.epoch:
            return R_WRONG_EPOCH
        if intent.generation != self.generation:
            reason = check_generation(intent.generation, self.generation, self.control.generation)
            if reason:
                return reason
        cdef int state = self._trading_state()
        if state == _HALTED:
            return R_HALTED
        cdef _Row row = self._row(intent.instrument_id)
        if row is None:
            return R_UNKNOWN_INSTRUMENT
        reason = check_status(row.status)
        if not reason:
            reason = check_tick(price, row.tick_size)
        if not reason:
            reason = check_quantity(quantity, row.lot_size, row.min_units, row.max_units)
        if reason:
            return reason
        cdef object value_price = price if price else row.exposure.reference()
        if not value_price:
            # A market order before the first mark: nothing to judge its money by.
            return R_PRICE_BAND
        cdef object units = quantity
        cdef object notional_e8 = row.exposure.valuation.exposure_e8(value_price * units, units)
        reason = check_notional_min(notional_e8, row.min_notional_e8)
        if not reason:
            reason = check_order_size(quantity, notional_e8, row.max_order_units, row.max_order_notional_e8)
        if not reason:
            reason = check_intent_age(now_ns, intent.decide_ns, row.max_intent_age_ns)
        if reason:
            return reason
        cdef bint raises = target is None or _raises(target, intent.side, price, quantity)
        if raises and not intent.certificate_count:
            return R_NO_CERTIFICATE
        reason = self._check_counts(intent, target, row, now_ns)
        if not reason:
            reason = self._check_money(intent, target, row, state, value_price)
        if not reason and raises:
            reason = self._check_books(intent, row, now_ns)
        if not reason:
            self.rate.spend(now_ns)
        return reason

    cdef int _check_counts(self, IntentRecord intent, object target, _Row row, int64_t now_ns) except -1:
        cdef int reason
        if target is None:
            reason = check_open_orders(row.exposure.open_orders, row.max_open_orders)
            if reason:
                return reason
        if not self.rate.conforms(now_ns):
            return R_ORDER_RATE
        return 0 if self.find_order(intent.client_order_id) is None else R_DUPLICATE_ID

    cdef int _check_money(
        self, IntentRecord intent, object target, _Row row, int state, object value_price
    ) except -1:
        cdef InstrumentExposure exposure = row.exposure
        cdef bint buys = intent.side == _BUY
        cdef object more_units = intent.quantity_units
        cdef int reason
        if target is not None:
            more_units -= target.filled_units
            if more_units <= 0:
                return R_QUANTITY_MIN
        cdef object more_product = more_units * value_price
        if target is not None:
            # Worst case of a replace: old and new terms may either be in force, so only the excess counts.
            more_units = max(0, more_units - target.reserved_units)
            more_product = max(0, more_product - target.reserved_product)
        if state != _ACTIVE or intent.flags & _REDUCE_ONLY:
            open_units = exposure.open_buy_units if buys else exposure.open_sell_units
            if not is_reducing(intent.side, more_units, exposure.position.quantity_units, open_units):
                return R_REDUCING if state != _ACTIVE else R_REDUCE_ONLY
        cdef object side_e8 = exposure.side_e8(buys, more_units, more_product)
        if more_product:
            reason = check_position(side_e8, row.max_position_notional_e8)
            if reason:
                return reason
            reason = self._check_group(intent, exposure, buys, side_e8) if self._max_correlated_e8 else 0
            if reason:
                return reason
        cdef object before = exposure.exposure_e8
        return check_exposure(
            self.exposures.total_e8, before, side_e8 if side_e8 > before else before, self._max_exposure_e8
        )

    cdef int _check_group(
        self, IntentRecord intent, InstrumentExposure exposure, bint buys, object side_e8
    ) except -1:
        """The worst case of everything that moves together, in the direction of this order, within its limit."""
        if side_e8 <= exposure.side_e8(buys):
            return 0
        cdef object found = self._groups.get(intent.instrument_id)
        if found is None:
            return 0
        cdef object total = side_e8
        cdef InstrumentExposure other
        for member, sign in found[1]:
            other = member
            if other is not exposure:
                total = total + other.side_e8(buys if sign == found[0] else not buys)
        return R_CORRELATION if total > self._max_correlated_e8 else 0

    cdef int _check_books(self, IntentRecord intent, _Row row, int64_t now_ns) except -1:
        cdef shm_certificate found
        cdef shm_certificate_ref *cited
        cdef _Row book
        cdef int index, reason
        for index in range(intent.certificate_count):
            cited = &intent.refs[index]
            book = row if cited.instrument_id == intent.instrument_id else self._row(cited.instrument_id)
            if book is None:
                return R_UNKNOWN_INSTRUMENT
            if book.slab.load_certificate_ptr(cited.instrument_id, &found):
                return R_BOOK_BUSY
            reason = check_certificate(cited.epoch, cited.live_id, found.epoch, found.live_id, found.state)
            if not reason:
                reason = check_freshness(
                    now_ns, book.slab.stream_alive_ptr(found.stream), found.data_ns, row.max_silence_ns,
                    row.max_data_age_ns,
                )
            if reason:
                return reason
            if not self._is_alive(book.slab.header.owner_slot):
                return R_PUBLISHER_DEAD
            # A worker that was stopped or far behind decides now on what was true long ago.
            if found.last_sequence != cited.last_sequence and check_superseded(
                now_ns, intent.publish_ns, row.max_intent_age_ns
            ):
                return R_INTENT_OLD
        if intent.order_type == _MARKET or not row.price_band_bps:
            return 0
        return self._check_band(intent, row)

    cdef int _check_band(self, IntentRecord intent, _Row row) except -1:
        cdef shm_book_head head
        cdef shm_level bid, ask
        if row.slab.load_ptr(intent.instrument_id, &head, &bid, 1, &ask, 1):
            return R_BOOK_BUSY
        return check_band(
            intent.side, intent.price_units, bid.price_units if head.bid_count else 0,
            ask.price_units if head.ask_count else 0, row.price_band_bps,
        )


cdef bint _raises(object target, int side, int64_t price, int64_t quantity) except -1:
    """Whether a replace can raise exposure: more quantity, or a price that fills sooner."""
    if quantity - target.filled_units > target.leaves_units:
        return True
    return price > target.price_units if side == _BUY else price < target.price_units
