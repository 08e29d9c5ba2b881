# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""The compiled loops of `bench memory`: each step as a caller in Cython has it, and each step's floor.

A floor moves the same bytes from and to the same places with memcpy and plain stores: no atomics, no protocol.
All loops run without a call from Python inside, so the caller divides one duration by the number of steps.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from shm.book cimport BookReader, BookSlab
from shm.clock cimport c_now_ns
from shm.counters cimport Counter
from shm.histogram cimport Histogram
from shm.journal cimport Journal
from shm.layout cimport shm_book_head, shm_certificate, shm_level
from shm.ring cimport Publisher, Subscriber
from shm.spsc cimport Consumer, Producer

cdef enum:
    LEVELS_MAX = 4096


def publish_each(Publisher publisher, const uint8_t[::1] record, int64_t count) -> None:
    """Publish `count` times one record of slot_bytes, each with its own look at the sleepers."""
    cdef int64_t i
    with nogil:
        for i in range(count):
            publisher.publish_ptr(&record[0])


def publish_batches(Publisher publisher, const uint8_t[::1] records, int64_t batch, int64_t count) -> None:
    """Publish `count` batches of `batch` records of slot_bytes that stand in `records`."""
    cdef int64_t i
    with nogil:
        for i in range(count):
            publisher.publish_many_ptr(&records[0], <uint64_t>batch)


def drain(Subscriber subscriber, uint8_t[::1] out, int limit) -> int:
    """Poll in parts of `limit` until nothing is new; return how many records came."""
    cdef int64_t total = 0
    cdef int n = 1
    with nogil:
        while n > 0:
            n = subscriber.poll_ptr(&out[0], limit)
            total += n
    return total


def spin(Subscriber subscriber, uint8_t[::1] out, int limit, int64_t rounds, int64_t pace_ns=0) -> int:
    """Poll `rounds` times, one every `pace_ns` (0 = without a pause), whether something is new or not.

    Returns how many records came.
    """
    cdef int64_t i, total = 0, due = c_now_ns()
    with nogil:
        for i in range(rounds):
            if pace_ns > 0:
                due += pace_ns
                while c_now_ns() < due:
                    pass
            total += subscriber.poll_ptr(&out[0], limit)
    return total


def hand_over(Producer producer, Consumer consumer, const uint8_t[::1] records, uint8_t[::1] out, int batch,
              int64_t count) -> int:
    """Offer `batch` records, poll and commit them, `count` times; return how many records came."""
    cdef int64_t i, total = 0
    cdef int n
    with nogil:
        for i in range(count):
            if not producer.offer_many_ptr(&records[0], <uint64_t>batch):
                break
            n = consumer.poll_ptr(&out[0], batch)
            consumer.commit_n(<uint64_t>n)
            total += n
    return total


def store_books(BookSlab slab, int instrument_id, const int64_t[:, ::1] bids, const int64_t[:, ::1] asks,
                int64_t count, int64_t first, int64_t pace_ns=0) -> None:
    """Store a book `count` times, one every `pace_ns` (0 = without a pause).

    The sequence of its certificate runs from `first`, and so do the first and last quantity of each side: a
    reader can tell a mixture of two versions.
    """
    cdef int64_t due = c_now_ns()
    cdef shm_book_head head
    cdef shm_level bid[LEVELS_MAX]
    cdef shm_level ask[LEVELS_MAX]
    cdef Py_ssize_t k
    cdef int64_t i
    slab.load_head_ptr(<unsigned int>instrument_id, &head)
    head.bid_count = <unsigned int>bids.shape[0]
    head.ask_count = <unsigned int>asks.shape[0]
    for k in range(bids.shape[0]):
        bid[k].price_units = bids[k, 0]
        bid[k].quantity_units = bids[k, 1]
    for k in range(asks.shape[0]):
        ask[k].price_units = asks[k, 0]
        ask[k].quantity_units = asks[k, 1]
    with nogil:
        for i in range(first, first + count):
            head.certificate.last_sequence = i
            bid[0].quantity_units = i
            bid[head.bid_count - 1].quantity_units = i
            ask[0].quantity_units = i
            ask[head.ask_count - 1].quantity_units = i
            if pace_ns > 0:
                due += pace_ns
                while c_now_ns() < due:
                    pass
            slab.store_ptr(<unsigned int>instrument_id, &head, bid, ask)


def load_books(BookSlab slab, int instrument_id, int64_t[:, ::1] bids, int64_t[:, ::1] asks, int64_t count) -> int:
    """Load a book `count` times; return how often it came (the others were BUSY)."""
    cdef shm_book_head head
    cdef int64_t i, loaded = 0
    with nogil:
        for i in range(count):
            loaded += slab.load_ptr(<unsigned int>instrument_id, &head, <shm_level*>&bids[0, 0],
                                    <unsigned int>bids.shape[0], <shm_level*>&asks[0, 0],
                                    <unsigned int>asks.shape[0]) == 0
    return loaded


def check_books(BookReader reader, int instrument_id, int64_t count) -> tuple:
    """Load `count` times what `store_books` stores; return how often it came and how often it was a mixture."""
    cdef const shm_level* bids = <const shm_level*>reader.bid_view.buf
    cdef const shm_level* asks = <const shm_level*>reader.ask_view.buf
    cdef int64_t i, stamp, loaded = 0, torn = 0
    with nogil:
        for i in range(count):
            if reader.load_c(<unsigned int>instrument_id) != 0:
                continue
            loaded += 1
            stamp = reader.head.certificate.last_sequence
            torn += (
                bids[0].quantity_units != stamp or bids[reader.head.bid_count - 1].quantity_units != stamp
                or asks[0].quantity_units != stamp or asks[reader.head.ask_count - 1].quantity_units != stamp
            )
    return loaded, torn


def load_certificates(BookSlab slab, int instrument_id, int64_t count) -> int:
    """Load the certificate alone `count` times; return how often it came."""
    cdef shm_certificate certificate
    cdef int64_t i, loaded = 0
    with nogil:
        for i in range(count):
            loaded += slab.load_certificate_ptr(<unsigned int>instrument_id, &certificate) == 0
    return loaded


def record_values(Histogram histogram, const int64_t[::1] values, int64_t count) -> None:
    """Record `count` values, taken from `values` in turn; its length is a power of two."""
    cdef int64_t i, mask = values.shape[0] - 1
    with nogil:
        for i in range(count):
            histogram.record_ns(values[i & mask])


def increment(Counter counter, int64_t count) -> None:
    """Increment a counter `count` times."""
    cdef int64_t i
    with nogil:
        for i in range(count):
            counter.c_inc(1)


cdef extern from *:
    """
    typedef __int128 bench_int128;
    /* Keeps the compiler from moving or merging the copies of one round with those of the next. */
    #define BENCH_BARRIER() __asm__ volatile("" ::: "memory")
    """
    ctypedef long long bench_int128
    void BENCH_BARRIER() noexcept nogil


def sweep_units(const int64_t[:, ::1] levels, int64_t quantity_units) -> tuple:
    """Take a quantity from the levels, best first: take = min(left, level), cost += take × price.

    Returns:
        The cost as two words, high (signed) and low, because price × quantity may exceed 64 bits; and what
        was left.
    """
    cdef bench_int128 cost = 0
    cdef int64_t take, left = quantity_units
    cdef Py_ssize_t k
    for k in range(levels.shape[0]):
        if left == 0:
            break
        take = left if left < levels[k, 1] else levels[k, 1]
        cost += <bench_int128>take * levels[k, 0]
        left -= take
    return <int64_t>(cost >> 64), <uint64_t>cost, left


def floor_copy(uint8_t[::1] slots, const uint8_t[::1] record, int64_t count) -> None:
    """The memory movement of publishing: memcpy of one record to the next of the slots, and a store of the count."""
    cdef size_t size = <size_t>record.shape[0]
    cdef int64_t i, at = 0, end = <int64_t>(slots.shape[0] // size * size)
    cdef int64_t cursor = 0
    with nogil:
        for i in range(count):
            memcpy(&slots[at], &record[0], size)
            cursor = i
            at += size
            if at == end:
                at = 0
            BENCH_BARRIER()


def floor_publish(uint8_t[::1] shared, const uint8_t[::1] record, int64_t slots, int64_t first, int64_t count) -> None:
    """`floor_copy` to memory that another process follows: behind each copy a count in the first word.

    The slots begin at byte 4096; records are numbered from `first`.
    """
    cdef size_t size = <size_t>record.shape[0]
    cdef volatile int64_t* cursor = <volatile int64_t*>&shared[0]
    cdef int64_t i
    with nogil:
        for i in range(first, first + count):
            memcpy(&shared[4096 + (i & (slots - 1)) * <int64_t>size], &record[0], size)
            BENCH_BARRIER()
            cursor[0] = i


def floor_follow(const uint8_t[::1] shared, uint8_t[::1] out, int64_t slots, int64_t rounds) -> int:
    """Look at the count `rounds` times and copy out the newest record when it has changed; return how often."""
    cdef size_t size = <size_t>out.shape[0]
    cdef const volatile int64_t* cursor = <const volatile int64_t*>&shared[0]
    cdef int64_t i, now, seen = 0, taken = 0
    with nogil:
        for i in range(rounds):
            now = cursor[0]
            if now != seen:
                BENCH_BARRIER()
                memcpy(&out[0], &shared[4096 + (now & (slots - 1)) * <int64_t>size], size)
                seen = now
                taken += 1
    return taken


def floor_drain(const uint8_t[::1] slots, uint8_t[::1] out, int64_t part, int64_t count) -> None:
    """The memory movement of a drain: memcpy of `part` bytes of the slots in turn to `out`, `count` times."""
    cdef int64_t i, at = 0, end = slots.shape[0] // part * part
    with nogil:
        for i in range(count):
            memcpy(&out[0], &slots[at], <size_t>part)
            at += part
            if at == end:
                at = 0
            BENCH_BARRIER()


def floor_increment(int64_t[::1] cells, const int64_t[::1] places, int64_t count) -> None:
    """The memory movement of a counter or a bucket: add one to a cell, the places taken in turn."""
    cdef int64_t i, mask = places.shape[0] - 1
    with nogil:
        for i in range(count):
            cells[places[i & mask]] += 1
            BENCH_BARRIER()


def append_each(Journal journal, const uint8_t[::1] payload, int64_t[::1] costs_ns) -> int:
    """Append a payload once for each place in `costs_ns`, which gets what each took, clock included.

    Returns how many were appended: fewer when the file is full.
    """
    cdef int64_t i, begin, end, done = 0
    cdef uint32_t length = <uint32_t>payload.shape[0]
    with nogil:
        begin = c_now_ns()
        for i in range(costs_ns.shape[0]):
            if journal.append_ptr(1, &payload[0], length, begin) == 0:
                break
            end = c_now_ns()
            costs_ns[i] = end - begin
            begin = end
            done += 1
    return done


def floor_append(uint8_t[::1] file, const uint8_t[::1] payload, int64_t head_bytes, int64_t[::1] costs_ns) -> int:
    """Floor of `append_each`: memcpy of the payload to where it would stand in the mapped file, nothing else."""
    cdef int64_t i, begin, end, done = 0, at = 4096
    cdef int64_t step = (head_bytes + payload.shape[0] + 15) // 16 * 16
    with nogil:
        begin = c_now_ns()
        for i in range(costs_ns.shape[0]):
            if at + step > file.shape[0]:
                break
            memcpy(&file[at + head_bytes], &payload[0], payload.shape[0])
            at += step
            end = c_now_ns()
            costs_ns[i] = end - begin
            begin = end
            done += 1
    return done
