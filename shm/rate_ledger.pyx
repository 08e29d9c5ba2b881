# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""The rate ledger of a run: venues' rate limits shared by all its processes, with lanes and the venue's own word.

One bucket per rate limit of a venue (and per instrument where a venue counts instruments apart). Any number
of processes take from it by compare-and-exchange; nobody waits, nobody holds anything, so a process killed at
any instruction costs at most what it has taken, and that flows off. `native/shm_rate.h` has the algorithm
(generic cell rate) and the argument why no window of the venue, wherever it begins, counts more than its limit.

Lanes: cancel > reconcile > resync > new. Each may fill a bucket only to its mark; what is above is kept for
the lanes before it. Refusals of the venue (429, 418, 403) are written once with `penalize` and read first by
every take of every process.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from shm.layout cimport (
    SHM_RATE_LANES, SHM_RATE_NAME_BYTES, shm_a64, shm_rate_address, shm_rate_bucket, shm_rate_ledger, shm_rate_rule,
)

from typing import NamedTuple

from shm.enums import RateLane, RateScope, RateStop, RateUnit
from shm.errors import LayoutError


cdef extern from "shm/native/shm_rate.h" nogil:
    int64_t SHM_RATE_NEVER
    uint64_t shm_load_acquire(const shm_a64* field)
    int64_t shm_rate_interval_ns(uint64_t pace)
    int64_t shm_rate_burst(uint64_t pace)
    int64_t shm_rate_share(const shm_rate_bucket* bucket, uint64_t pace, uint32_t lane)
    int64_t shm_rate_stop_ns(const shm_rate_bucket* bucket, const shm_rate_address* address, uint32_t lane)
    int64_t shm_rate_wait_ns(
        const shm_rate_bucket* bucket, const shm_rate_address* address, uint32_t lane, int64_t weight, int64_t now_ns)
    int64_t shm_rate_take(
        shm_rate_bucket* bucket, const shm_rate_address* address, uint32_t lane, int64_t weight, int64_t now_ns)
    int shm_rate_correct(shm_rate_bucket* bucket, int64_t used, int64_t since_ns)
    int shm_rate_set_limit(shm_rate_bucket* bucket, int64_t limit, int64_t burst, int64_t now_ns)
    int shm_rate_penalize(shm_rate_bucket* bucket, shm_rate_address* address, uint32_t stop, int64_t until_ns)


NEVER = -1
TAKE_BUCKETS = 8
WEIGHT_MAX = (1 << 24) - 1
TIME_MAX = (1 << 62) - 1


class BucketView(NamedTuple):
    """One bucket as it stands: for people and metrics; nobody may decide by it.

    Attributes:
        bucket: its number.
        limit, burst: units a window, units at once.
        window_ns: of the venue, with the slack of the rule.
        interval_ns: in which one unit flows off.
        used: units that have not yet flowed off.
        free: by lane, units that could be taken now, stops left aside.
        shares: by lane, units to which the lane may fill the bucket.
        granted: by lane, units so far.
        refused: by lane, takes so far that got nothing.
        stop_ns: by lane, time before which the venue wants no request; may be past.
    """

    bucket: int
    limit: int
    burst: int
    window_ns: int
    interval_ns: int
    used: int
    free: tuple[int, ...]
    shares: tuple[int, ...]
    granted: tuple[int, ...]
    refused: tuple[int, ...]
    stop_ns: tuple[int, ...]


class RuleView(NamedTuple):
    """One rule of a ledger: which buckets are its own and what the venue counts in them."""

    name: str
    venue_id: int
    address: str
    scope: RateScope
    unit: RateUnit
    window_ns: int
    slack_ns: int
    first: int
    buckets: int


class AddressView(NamedTuple):
    """One of our addresses at a venue: the time before which nobody may ask, and how often it was stopped."""

    venue_id: int
    name: str
    stop_ns: int
    stops: int


cdef str text_of(const char* field):
    return (<bytes>field[:SHM_RATE_NAME_BYTES]).partition(b"\0")[0].decode("utf-8", "replace")


cdef int put_text(char* field, str text) except -1:
    cdef bytes data = text.encode()
    if len(data) >= SHM_RATE_NAME_BYTES:
        raise ValueError(f"name {text!r} is longer than {SHM_RATE_NAME_BYTES - 1} bytes")
    memset(field, 0, SHM_RATE_NAME_BYTES)
    memcpy(field, <const char*>data, len(data))
    return 0


cdef int check_take(int64_t lane, int64_t weight, int64_t now_ns) except -1:
    if not 0 <= lane < SHM_RATE_LANES:
        raise ValueError(f"no rate lane {lane}")
    if not 1 <= weight <= <int64_t>WEIGHT_MAX:
        raise ValueError(f"weight {weight} is outside 1..{WEIGHT_MAX}")
    if not 0 <= now_ns <= <int64_t>TIME_MAX:
        raise ValueError(f"time {now_ns} is not usable")
    return 0


cdef class RateLedger:
    """Typed face of the rate segment of a run; made by `create` or `attach`."""

    def __init__(self):
        raise TypeError("a RateLedger is made by create or attach")

    @staticmethod
    def bytes_needed(rules) -> int:
        """Return the payload bytes of a ledger of these rules."""
        rules = tuple(rules)
        addresses = {(rule.venue_id, rule.address) for rule in rules}
        return (
            sizeof(shm_rate_ledger)
            + len(addresses) * sizeof(shm_rate_address)
            + len(rules) * sizeof(shm_rate_rule)
            + sum(rule.count for rule in rules) * sizeof(shm_rate_bucket)
        )

    @staticmethod
    def create(buffer, rules) -> RateLedger:
        """Format a ledger: every bucket empty, nothing stopped.

        Args:
            buffer: Writable payload, kept alive.
            rules: `RateRule`s with different names; buckets are numbered in their order.

        Raises:
            LayoutError: The buffer is too small, read-only or unaligned.
            ValueError: Two rules have one name, or no pace keeps a rule's limit.
        """
        cdef const unsigned char[::1] view = buffer
        cdef shm_rate_ledger* raw
        rules = tuple(rules)
        names = [rule.name for rule in rules]
        if len(set(names)) != len(names):
            raise ValueError(f"two rate rules have one name: {sorted(names)}")
        if memoryview(buffer).readonly:
            raise LayoutError("the rate segment is mapped read-only")
        needed = RateLedger.bytes_needed(rules)
        if view.shape[0] < needed:
            raise LayoutError(f"rate segment has {view.shape[0]} bytes, needs {needed}")
        if <size_t>&view[0] & 7:
            raise LayoutError("rate segment is not aligned to 8 bytes")
        addresses = list(dict.fromkeys((rule.venue_id, rule.address) for rule in rules))
        memset(<void*>&view[0], 0, needed)
        raw = <shm_rate_ledger*><void*>&view[0]
        raw.addresses = len(addresses)
        raw.rules = len(rules)
        raw.buckets = sum(rule.count for rule in rules)
        cdef RateLedger ledger = RateLedger.attach(buffer)
        for index, (venue_id, name) in enumerate(addresses):
            ledger.addresses[<uint32_t>index].venue_id = venue_id
            put_text(ledger.addresses[<uint32_t>index].name, name)
        first = 0
        for index, rule in enumerate(rules):
            fill_rule(ledger, index, rule, first, addresses.index((rule.venue_id, rule.address)))
            first += rule.count
        ledger.read_names()
        return ledger

    @staticmethod
    def attach(buffer) -> RateLedger:
        """Attach to a ledger; a read-only buffer will do for looking.

        Raises:
            LayoutError: The buffer is too small or unaligned.
        """
        cdef RateLedger ledger = RateLedger.__new__(RateLedger)
        ledger._view = buffer
        ledger.writable = not memoryview(buffer).readonly
        cdef size_t size = <size_t>ledger._view.shape[0], needed = sizeof(shm_rate_ledger)
        if size < needed:
            raise LayoutError(f"rate segment has {size} bytes, needs {needed}")
        if <size_t>&ledger._view[0] & 7:
            raise LayoutError("rate segment is not aligned to 8 bytes")
        ledger.raw = <shm_rate_ledger*><void*>&ledger._view[0]
        needed += ledger.raw.addresses * sizeof(shm_rate_address) + ledger.raw.rules * sizeof(shm_rate_rule)
        needed += ledger.raw.buckets * sizeof(shm_rate_bucket)
        if size < needed:
            raise LayoutError(f"rate segment has {size} bytes, needs {needed}")
        ledger.addresses = <shm_rate_address*>(ledger.raw + 1)
        ledger.rules = <shm_rate_rule*>(ledger.addresses + ledger.raw.addresses)
        ledger.buckets = <shm_rate_bucket*>(ledger.rules + ledger.raw.rules)
        ledger.count = ledger.raw.buckets
        ledger.read_names()
        return ledger

    def read_names(self):
        """Learn the rules' names from the segment."""
        self._names = {text_of(self.rules[i].name): i for i in range(self.raw.rules)}

    cdef shm_rate_bucket* check(self, int64_t bucket) except NULL:
        if not 0 <= bucket < <int64_t>self.count:
            raise ValueError(f"no rate bucket {bucket}: there are {self.count}")
        return &self.buckets[<size_t>bucket]

    cdef int64_t take_ptr(self, uint32_t bucket, uint32_t lane, int64_t weight, int64_t now_ns) noexcept nogil:
        cdef shm_rate_bucket* row = &self.buckets[bucket]
        return shm_rate_take(row, &self.addresses[row.address], lane, weight, now_ns)

    cdef int64_t take_all_ptr(
        self, const uint32_t* buckets, const int64_t* weights, int count, uint32_t lane, int64_t now_ns
    ) noexcept nogil:
        # Looking first makes a take that one bucket refuses cost the others nothing, but for a race that
        # another process wins in between: then what was taken flows off unused.
        cdef shm_rate_bucket* row
        cdef int64_t wait_ns, longest = 0
        cdef int i
        for i in range(count):
            row = &self.buckets[buckets[i]]
            wait_ns = shm_rate_wait_ns(row, &self.addresses[row.address], lane, weights[i], now_ns)
            if wait_ns == SHM_RATE_NEVER:
                return wait_ns
            if wait_ns > longest:
                longest = wait_ns
        if longest:
            return longest
        for i in range(count):
            wait_ns = self.take_ptr(buckets[i], lane, weights[i], now_ns)
            if wait_ns:
                return wait_ns
        return 0

    def bucket(self, str name, int64_t instrument_id=0):
        """Return the number of a bucket.

        Args:
            name: Of its rule.
            instrument_id: Which one, where the rule has one per instrument; else not looked at.

        Raises:
            KeyError: No such rule.
            ValueError: The rule has no bucket for that instrument.
        """
        cdef size_t index = self._names[name]
        cdef shm_rate_rule* rule = &self.rules[index]
        if rule.count == 1:
            return rule.first
        if not 0 <= instrument_id < <int64_t>rule.count:
            raise ValueError(f"rate rule {name} has {rule.count} buckets, none for instrument {instrument_id}")
        return rule.first + instrument_id

    def has(self, str name):
        """Return whether there is a rule of that name."""
        return name in self._names

    def take(self, int64_t bucket, int64_t lane, int64_t weight, int64_t now_ns):
        """Take from a bucket; never waits.

        Returns:
            0 = granted; above 0 = nothing was taken, ask again after so many ns; -1 = the lane can never have
            so much at once.

        Args:
            bucket: Its number.
            lane: A `RateLane`.
            weight: Units, 1 or more.
            now_ns: Monotonic time; the request must leave within the rule's slack.

        Raises:
            ValueError: No such bucket or lane, or a weight or time out of range.
            LayoutError: The segment is mapped read-only.
        """
        self.check(bucket)
        check_take(lane, weight, now_ns)
        self.need_writable()
        return self.take_ptr(<uint32_t>bucket, <uint32_t>lane, weight, now_ns)

    def wait_ns(self, int64_t bucket, int64_t lane, int64_t weight, int64_t now_ns):
        """Return what `take` would, and take nothing; errors as `take`."""
        cdef shm_rate_bucket* row = self.check(bucket)
        check_take(lane, weight, now_ns)
        return shm_rate_wait_ns(row, &self.addresses[row.address], <uint32_t>lane, weight, now_ns)

    def correct(self, int64_t bucket, int64_t used, int64_t now_ns, since_ns=None):
        """Learn from the venue's own header how much it has counted; return whether that was news.

        Only ever lowers what is free. What this ledger has granted since `since_ns` is known to it, so the
        venue's echo of our own requests changes nothing, and neither does an older answer that comes late.

        Args:
            bucket: Its number.
            used: Units that the venue has counted in its present window, whoever sent them.
            now_ns: Monotonic time.
            since_ns: When that window began (not later than when the request was sent). None = not known:
                then the venue is taken to have counted for a whole window, and what others used shows only
                when little is left.

        Raises:
            ValueError: No such bucket, or a time out of range.
            LayoutError: The segment is mapped read-only.
        """
        cdef shm_rate_bucket* row = self.check(bucket)
        self.need_writable()
        cdef int64_t since = now_ns - row.window_ns if since_ns is None else since_ns
        if not 0 <= now_ns <= <int64_t>TIME_MAX or since > now_ns:
            raise ValueError(f"times {since} and {now_ns} are not usable")
        return bool(shm_rate_correct(row, used, since))

    def set_limit(self, int64_t bucket, int64_t limit, int64_t now_ns, int64_t burst=0):
        """Take over another limit of the venue.

        A lower one empties the budget. Windows of the venue that are open at that moment may hold what was
        used under the old limit; `correct` tells of it.

        Args:
            bucket: Its number.
            limit: Units a window.
            now_ns: Monotonic time.
            burst: Units at once; 0 = in proportion to the limit so far.

        Raises:
            ValueError: No such bucket, or no pace keeps that limit.
            LayoutError: The segment is mapped read-only.
        """
        cdef shm_rate_bucket* row = self.check(bucket)
        self.need_writable()
        cdef int64_t before = <int64_t>shm_load_acquire(&row.limit)
        if burst == 0:
            burst = max(1, shm_rate_burst(shm_load_acquire(&row.pace)) * limit // before)
        if not shm_rate_set_limit(row, limit, burst, now_ns):
            raise ValueError(f"no pace keeps {limit} in {row.window_ns} ns with a burst of {burst}")

    def penalize(self, int64_t bucket, int64_t until_ns, int64_t stop):
        """Obey a refusal of the venue: nobody whom it concerns takes before `until_ns`; the latest word wins.

        Args:
            bucket: The bucket of the refused request.
            until_ns: Monotonic time, by the venue's Retry-After.
            stop: A `RateStop`: new orders only, all that this bucket counts, or all from that address
                (cancels too: asking on makes a ban longer).

        Returns:
            Whether it is later than what was known.

        Raises:
            ValueError: No such bucket or stop, or a time out of range.
            LayoutError: The segment is mapped read-only.
        """
        cdef shm_rate_bucket* row = self.check(bucket)
        self.need_writable()
        RateStop(stop)
        if not 0 <= until_ns <= <int64_t>TIME_MAX:
            raise ValueError(f"time {until_ns} is not usable")
        return bool(shm_rate_penalize(row, &self.addresses[row.address], <uint32_t>stop, until_ns))

    def stop_ns(self, int64_t bucket, int64_t lane):
        """Return the time before which the venue wants no request of that lane; may be past, 0 = never stopped."""
        cdef shm_rate_bucket* row = self.check(bucket)
        check_take(lane, 1, 0)
        return shm_rate_stop_ns(row, &self.addresses[row.address], <uint32_t>lane)

    def view(self, int64_t bucket, int64_t now_ns):
        """Return a `BucketView` of a bucket as it stands at `now_ns`; ValueError if there is none."""
        cdef shm_rate_bucket* row = self.check(bucket)
        cdef uint64_t pace = shm_load_acquire(&row.pace)
        cdef int64_t interval = shm_rate_interval_ns(pace)
        ahead = max(<int64_t>shm_load_acquire(&row.arrival_ns) - now_ns, 0)
        shares = [shm_rate_share(row, pace, lane) for lane in range(SHM_RATE_LANES)]
        address = &self.addresses[row.address]
        return BucketView(
            bucket,
            shm_load_acquire(&row.limit),
            shm_rate_burst(pace),
            row.window_ns,
            interval,
            -(-ahead // interval),
            tuple(max((share * interval - ahead) // interval, 0) for share in shares),
            tuple(shares),
            tuple(shm_load_acquire(&row.granted[lane]) for lane in range(SHM_RATE_LANES)),
            tuple(shm_load_acquire(&row.refused[lane]) for lane in range(SHM_RATE_LANES)),
            tuple(shm_rate_stop_ns(row, address, lane) for lane in range(SHM_RATE_LANES)),
        )

    def rule_views(self):
        """Return every rule as a `RuleView`, in the order they were given."""
        return [
            RuleView(
                text_of(self.rules[i].name),
                self.rules[i].venue_id,
                text_of(self.addresses[self.rules[i].address].name),
                RateScope(self.rules[i].scope),
                RateUnit(self.rules[i].unit),
                self.rules[i].window_ns,
                self.rules[i].slack_ns,
                self.rules[i].first,
                self.rules[i].count,
            )
            for i in range(self.raw.rules)
        ]

    def address_views(self):
        """Return every address as an `AddressView`."""
        return [
            AddressView(
                self.addresses[i].venue_id,
                text_of(self.addresses[i].name),
                shm_load_acquire(&self.addresses[i].stop_ns),
                shm_load_acquire(&self.addresses[i].stops),
            )
            for i in range(self.raw.addresses)
        ]

    def need_writable(self):
        """Raise LayoutError if the segment is mapped read-only."""
        if not self.writable:
            raise LayoutError("the rate segment is mapped read-only")


cdef int fill_rule(RateLedger ledger, size_t index, rule, uint32_t first, uint32_t address) except -1:
    cdef shm_rate_rule* row = &ledger.rules[index]
    cdef shm_rate_bucket* bucket
    cdef uint32_t i
    cdef int lane
    cdef int64_t limit = rule.limit, burst = rule.burst_of(rule.limit)
    row.first = first
    row.count = rule.count
    row.address = address
    row.venue_id = rule.venue_id
    row.scope = rule.scope
    row.unit = rule.unit
    row.window_ns = rule.window_ns
    row.slack_ns = rule.slack
    put_text(row.name, rule.name)
    for i in range(rule.count):
        bucket = &ledger.buckets[first + i]
        bucket.window_ns = rule.window_ns + rule.slack
        bucket.address = address
        bucket.rule = <uint32_t>index
        for lane in range(SHM_RATE_LANES):
            bucket.kept[lane] = rule.kept[lane]
        if not shm_rate_set_limit(bucket, limit, burst, 0):
            raise ValueError(f"rate rule {rule.name}: no pace keeps {limit} in {bucket.window_ns} ns")
    return 0


cdef class RateTake:
    """What one kind of request costs at several buckets at once, for example order count and weight.

    A request of more than one bucket is taken here, all or nothing: looked at first, then taken in the given
    order. Should another process win a bucket in between, what was taken of the others flows off unused, so
    give the scarcest bucket first.

    Args:
        ledger: Its ledger.
        costs: 1 to 8 pairs of bucket number and weight.
    """

    def __init__(self, RateLedger ledger not None, costs):
        costs = tuple(costs)
        if not 1 <= len(costs) <= 8:
            raise ValueError(f"a take has 1 to 8 buckets, not {len(costs)}")
        self.ledger = ledger
        self.count = len(costs)
        for i, (bucket, weight) in enumerate(costs):
            ledger.check(bucket)
            check_take(0, weight, 0)
            self.buckets[<size_t>i] = bucket
            self.weights[<size_t>i] = weight

    cdef int64_t take_ptr(self, uint32_t lane, int64_t now_ns) noexcept nogil:
        if self.count == 1:
            return self.ledger.take_ptr(self.buckets[0], lane, self.weights[0], now_ns)
        return self.ledger.take_all_ptr(self.buckets, self.weights, self.count, lane, now_ns)

    def take(self, int64_t lane, int64_t now_ns):
        """Take the cost from every bucket or from none; returns and raises as `RateLedger.take`."""
        check_take(lane, 1, now_ns)
        self.ledger.need_writable()
        return self.take_ptr(<uint32_t>lane, now_ns)
