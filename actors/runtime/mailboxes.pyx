# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""The compiled drain: one pass over all rings of a worker.

Rings are polled in priority order with bounded work each. Within one batch of a market ring only the newest
BOOK and the newest BBO of an instrument are dispatched, each at its own place in the ring's order; every
TRADE, STATUS, MARK and LIQUIDATION is dispatched. So what survives keeps the ring's order, and a trade never arrives
after a book that was published behind it.

How much is taken at once follows from the age of the oldest record waiting, not from how many wait: while records are
young, little, so that priority 1 is looked at often; once they are old, much, so that conflation sheds what nobody needs
any more. Nothing leaves a ring uncounted: published = dispatched + conflated + lapped.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING
from libc.string cimport memset

cdef int ORDER_URGENT = 10  # up to here: reports, and market rings of priority 1
cdef int LOOK_AGAIN = 16  # records of another ring dispatched between two looks at the urgent ones
cdef int KINDS = 7
cdef int KIND_BOOK = 1
cdef int KIND_BBO = 2
cdef int KIND_TRADE = 3
cdef int KIND_STATUS = 4
cdef int KIND_MARK = 5


cdef class Route:
    """One handler of one actor, as the dispatch table holds it.

    Args:
        handler: called with the borrowed record.
        binding: given to the mailbox's on_error when the handler raises.
        name: of the handler, for faults.
        rank: routes of a record are called in ascending rank, then in order of adding.
    """

    def __init__(self, handler, binding, str name, int rank=0):
        self.rank = rank
        self.handler = handler
        self.binding = binding
        self.name = name
        self.active = False


cdef class BatchPolicy:
    """How many records to take at once, from the age of the oldest one.

    Up to `young_ns` it is `batch_min`, from `old_ns` on `batch_max`; between it grows in proportion to the age.

    Raises:
        ValueError: batch_min is not within 1 .. batch_max, or young_ns is not below old_ns.
    """

    def __init__(self, int batch_min=16, int batch_max=1024, int64_t young_ns=50_000, int64_t old_ns=1_000_000):
        if not 1 <= batch_min <= batch_max:
            raise ValueError(f"batch_min {batch_min} is not within 1 .. batch_max {batch_max}")
        if young_ns >= old_ns:
            raise ValueError(f"young_ns {young_ns} is not below old_ns {old_ns}")
        self.batch_min = batch_min
        self.batch_max = batch_max
        self.young_ns = young_ns
        self.old_ns = old_ns

    cdef int c_limit(self, int64_t age_ns) noexcept:
        if age_ns <= self.young_ns:
            return self.batch_min
        if age_ns >= self.old_ns:
            return self.batch_max
        return self.batch_min + <int>(
            (self.batch_max - self.batch_min) * (age_ns - self.young_ns) // (self.old_ns - self.young_ns)
        )

    def limit(self, int64_t age_ns):
        """The most records to take while the oldest one waiting was published `age_ns` ago."""
        return self.c_limit(age_ns)


cdef class Source:
    """One input of a mailbox; polled in ascending (order, index)."""

    cdef int poll(self, int limit) except -1:
        return 0

    cdef bint has_pending(self) noexcept:
        return False

    def poll_now(self, int limit=256):
        """Take up to `limit` records now; returns how many."""
        return self.poll(limit)

    @property
    def pending(self):
        """Whether anything waits here."""
        return self.has_pending()


cdef class MarketSource(Source):
    """A subscribed broadcast ring of market records.

    Args:
        mailbox: dispatches the records.
        subscriber: position in the ring.
        order: place among the sources (by priority of the ring).
        on_lapped: called with the number of lost records before anything of the new position is dispatched.
    """

    def __init__(self, Mailbox mailbox, Subscriber subscriber, int order, on_lapped=None):
        self.mailbox = mailbox
        self.subscriber = subscriber
        self.order = order
        self.on_lapped = on_lapped
        self.lost = subscriber.lapped
        self.batch = 0
        self.scratch_count = mailbox.policy.batch_max
        cdef Py_ssize_t keys = 2 * mailbox.moment.capacity
        self._memory = (bytearray(keys * sizeof(uint64_t)),
                        bytearray(self.scratch_count * sizeof(shm_market_record)))
        self.newest = <uint64_t*>PyByteArray_AS_STRING(self._memory[0])
        self.scratch = <shm_market_record*>PyByteArray_AS_STRING(self._memory[1])

    cdef int _conflate(self, shm_market_record* first, int count) noexcept:
        """Mark older BOOK and BBO records by kind 0; returns how many."""
        cdef int i, dropped = 0
        cdef uint64_t key
        self.batch += 1
        for i in range(count - 1, -1, -1):
            if first[i].kind != KIND_BOOK and first[i].kind != KIND_BBO:
                continue
            if first[i].instrument_id >= self.mailbox.moment.capacity:
                continue
            key = 2 * <uint64_t>first[i].instrument_id + (1 if first[i].kind == KIND_BBO else 0)
            if self.newest[key] == self.batch:
                first[i].kind = 0
                dropped += 1
            else:
                self.newest[key] = self.batch
        return dropped

    cdef int poll(self, int limit) except -1:
        cdef int count, more = 0, wanted
        cdef int64_t drain_ns, age_ns = 0
        cdef Mailbox mailbox = self.mailbox
        wanted = min(limit, mailbox.policy.batch_min)
        count = self.subscriber.poll_ptr(self.scratch, wanted)
        self.is_full = False
        if self.subscriber.lapped != self.lost:
            self._tell_lapped()
        if count <= 0:
            return 0
        drain_ns = mailbox.moment.clock.now()
        # Records that came from no feed bear no stamp; they count as young.
        if self.scratch[0].publish_ns > 0 and drain_ns > self.scratch[0].publish_ns:
            age_ns = drain_ns - self.scratch[0].publish_ns
        mailbox.age_ns.record_ns(age_ns)
        if count == wanted:
            wanted = min(limit, mailbox.policy.c_limit(age_ns))
            if wanted > count:
                more = self.subscriber.poll_ptr(self.scratch + count, wanted - count)
            self.is_full = count + more == wanted
        mailbox.batch.record_ns(count + more)
        if self.subscriber.lapped == self.lost:
            self._take(self.scratch, count + more, drain_ns)
        else:
            # Overtaken between the two polls: what was lost stood between the two parts.
            self._take(self.scratch, count, drain_ns)
            self._tell_lapped()
            if more > 0:
                self._take(self.scratch + count, more, drain_ns)
        return count + more

    cdef int _tell_lapped(self) except -1:
        lost = self.subscriber.lapped - self.lost
        self.lost = self.subscriber.lapped
        if self.on_lapped is not None:
            self.on_lapped(lost)
        return 0

    cdef int _take(self, shm_market_record* first, int count, int64_t drain_ns) except -1:
        cdef int i, since = 0
        cdef Mailbox mailbox = self.mailbox
        cdef int dropped = self._conflate(first, count)
        if dropped:
            mailbox.conflated.c_inc(dropped)
        for i in range(count):
            if first[i].kind == 0:
                continue
            if since == LOOK_AGAIN and not self.is_urgent:
                since = 0
                mailbox.look_again()
            mailbox.dispatch(&first[i], drain_ns)
            since += 1
        mailbox.moment.clear()
        mailbox.records.c_inc(count)
        return 0

    cdef bint has_pending(self) noexcept:
        return self.subscriber.has_pending()


cdef class ReportSource(Source):
    """A report ring from a gateway; its position moves on once all polled reports are delivered.

    Args:
        mailbox: whose moment is cleared before each delivery.
        consumer: end of the SPSC ring.
        order: place among the sources.
        deliver: called with the one reused ReportRecord.
    """

    def __init__(self, Mailbox mailbox, Consumer consumer, int order, deliver):
        self.mailbox = mailbox
        self.consumer = consumer
        self.order = order
        self.deliver = deliver
        self.record = ReportRecord()
        self.scratch_count = 64
        self._memory = bytearray(self.scratch_count * sizeof(shm_report_record))
        self.scratch = <shm_report_record*>PyByteArray_AS_STRING(self._memory)

    cdef int poll(self, int limit) except -1:
        cdef int i, count
        count = self.consumer.poll_ptr(self.scratch, min(limit, self.scratch_count))
        self.is_full = count == self.scratch_count
        if count <= 0:
            return 0
        self.mailbox.moment.clear()
        for i in range(count):
            self.record.from_ptr(&self.scratch[i])
            self.deliver(self.record)
        self.consumer.commit_n(count)
        return count

    cdef bint has_pending(self) noexcept:
        return self.consumer.has_pending()


cdef class IntentSource(Source):
    """An intent ring into a gateway: the shared position moves on only after the handler returned.

    Args:
        consumer: end of the SPSC ring.
        order: place among the sources.
        handler: called with (argument, sequence, the one reused IntentRecord); it journals before it returns.
        argument: passed through (the producing worker's slot).
    """

    def __init__(self, Consumer consumer, int order, handler, argument):
        self.consumer = consumer
        self.order = order
        self.handler = handler
        self.argument = argument
        self.record = IntentRecord()
        self.scratch_count = 64
        self._memory = bytearray(self.scratch_count * sizeof(shm_intent_record))
        self.scratch = <shm_intent_record*>PyByteArray_AS_STRING(self._memory)

    cdef int poll(self, int limit) except -1:
        cdef int i, count
        cdef uint64_t first
        first = self.consumer.position
        count = self.consumer.poll_ptr(self.scratch, min(limit, self.scratch_count))
        self.is_full = count == self.scratch_count
        for i in range(count):
            self.record.from_ptr(&self.scratch[i])
            self.handler(self.argument, first + <uint64_t>i + 1, self.record)
            self.consumer.commit_n(1)
        return count if count > 0 else 0

    cdef bint has_pending(self) noexcept:
        return self.consumer.has_pending()


cdef class CallSource(Source):
    """A cold-path input given by two Python callables.

    Args:
        order: place among the sources.
        call: takes the limit, returns how many records were handled.
        check: returns whether anything waits.
    """

    def __init__(self, int order, call, check):
        self.order = order
        self.call = call
        self.check = check

    cdef int poll(self, int limit) except -1:
        return self.call(limit)

    cdef bint has_pending(self) noexcept:
        return bool(self.check())


cdef class Mailbox:
    """All inputs of one worker and the dispatch table from instrument to handlers.

    A handler that raises does not stop the others: `on_error(route, error)` is called and the drain goes on. For `spin_ns`
    behind the last record its worker looks for the next one instead of parking (0 = it parks at once).

    Args:
        moment: shared with the contexts of the worker's actors.
        metrics: gives hop.decode_ns, hop.ring_ns, cycle_ns, drain.age_ns (of the oldest record of each batch), drain.batch
            (records taken at once), drain.records, drain.conflated.
        policy: how large batches are; None = the default one.
    """

    def __init__(self, Moment moment, metrics, BatchPolicy policy=None):
        self.moment = moment
        self.policy = BatchPolicy() if policy is None else policy
        self._urgent = []
        self.record = MarketRecord()
        self.sources = []
        self.routes = [[None] * moment.capacity for _ in range(KINDS)]
        self._memory = bytearray(KINDS * moment.capacity * sizeof(bint))
        self.wanted = <bint*>PyByteArray_AS_STRING(self._memory)
        self.on_error = None
        self.ring_ns = metrics.histogram("hop.ring_ns")
        self.decode_ns = metrics.histogram("hop.decode_ns")
        self.cycle_ns = metrics.histogram("cycle_ns")
        self.age_ns = metrics.histogram("drain.age_ns")
        self.batch = metrics.histogram("drain.batch")
        self.records = metrics.counter("drain.records")
        self.conflated = metrics.counter("drain.conflated")
        self.cycles = 0
        self.dispatched = 0
        self.last_cycle_ns = 0
        self.cycle_ns_max = 0

    def add_source(self, Source source):
        """Add an input; sources are polled in ascending (order, time of adding)."""
        source.index = len(self.sources)
        self.sources.append(source)
        self.sources.sort(key=lambda item: ((<Source>item).order, (<Source>item).index))
        # Intents too: what was decided on an urgent record shall not wait for the batch of another ring.
        source.is_urgent = source.order <= ORDER_URGENT or isinstance(source, IntentSource)
        self._urgent = [item for item in self.sources if (<Source>item).is_urgent]

    def add_route(self, int kind, uint32_t instrument_id, Route route):
        """Dispatch records of this kind and instrument to the route while it is active.

        Raises:
            ValueError: kind or instrument id outside the table.
        """
        if not 0 < kind < KINDS or instrument_id >= self.moment.capacity:
            raise ValueError(f"no place for record kind {kind} of instrument {instrument_id}")
        table = <list>self.routes[kind]
        existing = table[instrument_id]
        routes = [route] if existing is None else [*existing, route]
        table[instrument_id] = tuple(sorted(routes, key=lambda item: (<Route>item).rank))
        self.wanted[kind * self.moment.capacity + instrument_id] = True

    def remove_routes(self, binding):
        """Take every route of one binding out of the table."""
        cdef int kind
        cdef uint32_t i
        for kind in range(1, KINDS):
            table = <list>self.routes[kind]
            for i in range(self.moment.capacity):
                if table[i] is not None:
                    rest = tuple([r for r in table[i] if (<Route>r).binding is not binding])
                    table[i] = rest or None
                    self.wanted[kind * self.moment.capacity + i] = bool(rest)

    cdef int dispatch(self, const shm_market_record* record, int64_t drain_ns) except -1:
        cdef uint32_t instrument = record.instrument_id
        cdef int kind = record.kind
        cdef shm_certificate_ref* cited
        cdef Moment moment = self.moment
        cdef Route route
        cdef tuple routes
        if instrument >= moment.capacity or kind <= 0 or kind >= KINDS:
            return 0
        self.dispatched += 1
        if kind == KIND_BOOK or kind == KIND_STATUS:
            cited = &moment.certificates[instrument]
            cited.instrument_id = instrument
            cited.epoch = record.epoch
            cited.live_id = record.live_id
            cited.last_sequence = record.last_sequence
        if not self.wanted[kind * moment.capacity + instrument]:
            return 0
        if record.publish_ns != 0:
            self.ring_ns.record_ns(drain_ns - record.publish_ns)
            if kind == KIND_BOOK and record.frame_ns != 0:
                self.decode_ns.record_ns(record.publish_ns - record.frame_ns)
        moment.instrument_id = instrument
        moment.stamps.frame_ns = record.frame_ns
        moment.stamps.publish_ns = record.publish_ns
        moment.stamps.drain_ns = drain_ns
        self.record.from_ptr(record)
        routes = <tuple>(<list>self.routes[kind])[instrument]
        for item in routes:
            route = <Route>item
            if not route.active:
                continue
            try:
                route.handler(self.record)
            except Exception as error:
                self.on_error(route, error)
        return 0

    def deliver(self, MarketRecord record):
        """Dispatch one record that came from no ring (resync from the slab, tests)."""
        cdef shm_market_record raw
        memset(&raw, 0, sizeof(raw))
        record.to_ptr(&raw)
        self.dispatch(&raw, self.moment.clock.now())
        self.moment.clear()

    cdef int look_again(self) except -1:
        # A handler of an urgent record never gets here again: urgent sources do not look at one another.
        if self._is_looking:
            return 0
        self._is_looking = True
        try:
            for source in self._urgent:
                if (<Source>source).has_pending():
                    self._urgent_total += (<Source>source).poll(self.policy.batch_min)
        finally:
            self._is_looking = False
        return 0

    def drain(self, int limit=256):
        """One duty cycle; returns how many records were handled.

        A pass takes one batch of each source in order. Passes go on while a source had more than its batch, until
        `limit` records were handled; between two batches of lower priority the urgent sources are looked at.
        """
        cdef int total = 0, count
        cdef bint is_full = True
        cdef int64_t begin = self.moment.clock.now()
        cdef int64_t spent
        cdef Source source
        self._urgent_total = 0
        while is_full and total + self._urgent_total < limit:
            is_full = False
            for item in self.sources:
                source = <Source>item
                count = source.poll(limit)
                total += count
                is_full = is_full or source.is_full
                if count and not source.is_urgent:
                    self.look_again()
        total += self._urgent_total
        if total:
            spent = self.moment.clock.now() - begin
            self.cycles += 1
            self.last_cycle_ns = spent
            self.cycle_ns.record_ns(spent)
            if spent > self.cycle_ns_max:
                self.cycle_ns_max = spent
        return total

    def has_pending(self):
        """Whether any source has something to poll."""
        for source in self.sources:
            if (<Source>source).has_pending():
                return True
        return False

    def spin(self, int64_t until_ns):
        """Look at every source until one has something or the time is up, without a system call.

        Args:
            until_ns: monotonic time.

        Returns:
            Whether something waits.
        """
        while True:
            for source in self.sources:
                if (<Source>source).has_pending():
                    return True
            if self.moment.clock.now() >= until_ns:
                return False
