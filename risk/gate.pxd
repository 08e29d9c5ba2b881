# cython: language_level=3
"""C face of the gate."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from risk.exposure cimport ExposureBook, InstrumentExposure
from risk.rate cimport OrderRate
from shm.book cimport BookSlab
from shm.control cimport Control
from shm.records cimport IntentRecord


cdef class LivingWorkers:
    cdef Control _control
    cdef uint64_t _states  # bit n: WorkerState n is alive
    cdef bint has(self, uint64_t slot) except -1


cdef class _Row:
    cdef const uint8_t[::1] _status_view
    cdef const uint8_t *status_now  # in the instrument table: another than `status` means a new row here
    cdef BookSlab slab
    cdef InstrumentExposure exposure
    cdef int status
    cdef int64_t tick_size, lot_size, min_units, max_units, min_notional_e8
    # Limits of this instrument.
    cdef int64_t max_order_units, max_open_orders, max_silence_ns, max_data_age_ns, max_intent_age_ns
    cdef int64_t price_band_bps
    cdef object max_order_notional_e8, max_position_notional_e8


cdef class Gate:
    cdef public uint64_t epoch
    cdef public uint64_t generation
    cdef public object control
    cdef Control _word
    cdef public object slab_of
    cdef readonly object is_alive
    cdef LivingWorkers _living
    cdef public ExposureBook exposures
    cdef public object instruments
    cdef public object find_order
    cdef readonly object limits
    cdef readonly object limits_of
    cdef public OrderRate rate
    cdef object _max_exposure_e8
    cdef object _max_correlated_e8
    cdef dict _groups
    cdef list _rows  # by instrument id, None = not asked for yet
    cdef int _judge(self, IntentRecord intent, int64_t now_ns) except -1
    cdef _Row _row(self, uint32_t instrument_id)
    cdef _Row _resolve(self, uint32_t instrument_id)
    cdef bint _is_alive(self, uint64_t slot) except -1
    cdef int _trading_state(self) except -1
    cdef int _check_forced(self, IntentRecord intent) except -1
    cdef int _check_order(self, IntentRecord intent, object target, int64_t now_ns) except -1
    cdef int _check_counts(self, IntentRecord intent, object target, _Row row, int64_t now_ns) except -1
    cdef int _check_money(
        self, IntentRecord intent, object target, _Row row, int state, object value_price
    ) except -1
    cdef int _check_group(
        self, IntentRecord intent, InstrumentExposure exposure, bint buys, object side_e8
    ) except -1
    cdef int _check_books(self, IntentRecord intent, _Row row, int64_t now_ns) except -1
    cdef int _check_band(self, IntentRecord intent, _Row row) except -1
