# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""From a decision to an intent: the worker's clock, what it is handling right now, and the port to a gateway."""

from cpython.bytearray cimport PyByteArray_AS_STRING
from libc.string cimport memset

from shm.clock cimport c_now_ns
from shm.layout cimport shm_ring_header

from shm.enums import IntentKind

cdef extern from "shm/native/shm_ring.h" nogil:
    uint64_t shm_spsc_free(const shm_ring_header *ring)

cdef int INTENT_NEW = int(IntentKind.NEW)
cdef int INTENT_REPLACE = int(IntentKind.REPLACE)


cdef class Clock:
    """The one clock of a worker: the machine's monotonic clock, or a virtual one.

    Args:
        virtual_ns: 0 = the machine's clock; any other value is the time until it is set again.
    """

    def __init__(self, int64_t virtual_ns=0):
        self.virtual_ns = virtual_ns

    cdef int64_t now(self) noexcept nogil:
        return self.virtual_ns if self.virtual_ns != 0 else c_now_ns()

    def now_ns(self):
        """Monotonic time in ns."""
        return self.now()


cdef class Moment:
    """What the worker is handling right now, and the newest certificate seen of each instrument.

    Args:
        clock: time of this worker.
        capacity: instrument ids are below this.
    """

    def __init__(self, Clock clock, uint32_t capacity):
        self.clock = clock
        self.capacity = capacity
        self._memory = bytearray(capacity * sizeof(shm_certificate_ref))
        self.certificates = <shm_certificate_ref*>PyByteArray_AS_STRING(self._memory)
        self.clear()

    cdef void clear(self) noexcept nogil:
        self.instrument_id = 0xFFFFFFFF
        self.stamps.frame_ns = 0
        self.stamps.publish_ns = 0
        self.stamps.drain_ns = 0

    def certificate(self, uint32_t instrument_id):
        """The newest certificate seen as (epoch, live_id, last_sequence); zeros before any."""
        if instrument_id >= self.capacity:
            return (0, 0, 0)
        cdef shm_certificate_ref* c = &self.certificates[instrument_id]
        return (c.epoch, c.live_id, c.last_sequence)

    @property
    def drain_ns(self):
        """When the record being handled was drained; 0 outside of a market handler."""
        return self.stamps.drain_ns


cdef class OrderIds:
    """Client order ids of one worker incarnation: a fixed part and a 32-bit counter.

    Args:
        base: the id with counter 0 (`exec.order.make_client_order_id`).
    """

    def __init__(self, uint64_t base):
        self.base = base
        self.counter = 0

    def next(self):
        """The next id."""
        self.counter += 1
        return self.base | self.counter


cdef class IntentPort:
    """Writes the intents of one actor into the ring to its gateway.

    Each call returns the intent's client order id, or None if the ring is back-pressured (counted in
    intents.refused). An intent cites the newest certificate seen of its instrument and, if the decision was
    caused by another instrument's record, that one too; and it carries the stamps of that record.

    The last quarter of the ring is for cancels and questions: an actor that floods it with orders can not keep
    the others of its worker from withdrawing theirs.

    Args:
        producer: end of the SPSC ring.
        moment: what the worker is handling.
        ids: shared by the worker's actors.
        actor_id, worker_slot, incarnation, epoch, generation: stamped on each intent.
        metrics: gives intents, intents.refused, hop.decide_ns.
    """

    def __init__(self, Producer producer, Moment moment, OrderIds ids, metrics, *, uint32_t actor_id,
                 uint32_t worker_slot, uint32_t incarnation, uint64_t epoch, uint64_t generation):
        self.producer = producer
        self.moment = moment
        self.ids = ids
        self.sent = metrics.counter("intents")
        self.refused = metrics.counter("intents.refused")
        self.decide_ns = metrics.histogram("hop.decide_ns")
        self.generation = generation
        self.reserve = <uint64_t>producer.ring.capacity // 4
        memset(&self.intent, 0, sizeof(self.intent))
        self.intent.actor_id = actor_id
        self.intent.worker_slot = worker_slot
        self.intent.incarnation = incarnation
        self.intent.epoch = epoch

    cdef int _cite(self, object instruments, uint32_t instrument_id) except -1:
        cdef Moment moment = self.moment
        cdef int count = 0
        cdef uint32_t wanted
        memset(&self.intent.certificates[0], 0, sizeof(self.intent.certificates))
        if instruments is not None:
            for item in instruments:
                wanted = item
                if count == 4 or wanted >= moment.capacity:
                    raise ValueError("an intent cites at most 4 certificates of known instruments")
                self.intent.certificates[count] = moment.certificates[wanted]
                count += 1
        elif instrument_id < moment.capacity:
            self.intent.certificates[0] = moment.certificates[instrument_id]
            count = 1
            if moment.instrument_id != instrument_id and moment.instrument_id < moment.capacity:
                self.intent.certificates[1] = moment.certificates[moment.instrument_id]
                count = 2
        self.intent.certificate_count = count
        return 0

    cdef object _send(self):
        cdef Moment moment = self.moment
        cdef int64_t now
        cdef bint is_order = self.intent.kind == INTENT_NEW or self.intent.kind == INTENT_REPLACE
        if is_order and shm_spsc_free(self.producer.raw) <= self.reserve:
            self.refused.c_inc(1)
            return None
        now = moment.clock.now()
        self.intent.generation = self.generation
        self.intent.frame_ns = moment.stamps.frame_ns
        self.intent.publish_ns = moment.stamps.publish_ns
        self.intent.drain_ns = moment.stamps.drain_ns
        self.intent.decide_ns = now
        self.ids.counter += 1
        self.intent.client_order_id = self.ids.base | self.ids.counter
        if not self.producer.offer_ptr(&self.intent):
            self.refused.c_inc(1)
            return None
        self.sent.c_inc(1)
        if moment.stamps.drain_ns != 0:
            self.decide_ns.record_ns(now - moment.stamps.drain_ns)
        return self.intent.client_order_id

    def new_order(self, uint32_t instrument_id, int side, int64_t price_units, int64_t quantity_units,
                  int order_type=1, int time_in_force=1, int flags=0, certificates=None):
        """Offer a NEW intent."""
        self.intent.kind = INTENT_NEW
        self.intent.side = side
        self.intent.order_type = order_type
        self.intent.time_in_force = time_in_force
        self.intent.flags = flags
        self.intent.instrument_id = instrument_id
        self.intent.orig_client_order_id = 0
        self.intent.price_units = price_units
        self.intent.quantity_units = quantity_units
        self._cite(certificates, instrument_id)
        return self._send()

    def replace(self, uint64_t orig_client_order_id, uint32_t instrument_id, int side, int64_t price_units,
                int64_t quantity_units, int flags=0, certificates=None):
        """Offer a REPLACE intent; the replacing order has the returned id."""
        self.intent.kind = INTENT_REPLACE
        self.intent.side = side
        self.intent.order_type = 1
        self.intent.time_in_force = 1
        self.intent.flags = flags
        self.intent.instrument_id = instrument_id
        self.intent.orig_client_order_id = orig_client_order_id
        self.intent.price_units = price_units
        self.intent.quantity_units = quantity_units
        self._cite(certificates, instrument_id)
        return self._send()

    def command(self, int kind, uint32_t instrument_id, uint64_t orig_client_order_id=0, int flags=0):
        """Offer an intent that needs neither price nor certificate: CANCEL, MASS_CANCEL, MASS_STATUS."""
        self.intent.kind = kind
        self.intent.side = 0
        self.intent.order_type = 0
        self.intent.time_in_force = 0
        self.intent.flags = flags
        self.intent.instrument_id = instrument_id
        self.intent.orig_client_order_id = orig_client_order_id
        self.intent.price_units = 0
        self.intent.quantity_units = 0
        self.intent.certificate_count = 0
        return self._send()
