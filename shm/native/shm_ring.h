/* Broadcast and SPSC rings over one mapping: header, readers (broadcast only), `capacity` slots.
 *
 * Functions take the header; the rest follows it directly. Nothing here blocks, allocates or makes a
 * system call, and no function leaves a half-made record visible: a record exists by one release
 * store of `cursor`, so SIGKILL between any two instructions is survivable.
 *
 * Broadcast, after Agrona's broadcast transmitter/receiver ("tail intent"): the publisher raises
 * `intent` before it touches a slot, so a subscriber that copied a slot can tell whether it was
 * overwritten meanwhile.
 */
#ifndef RINGLANE_SHM_RING_H
#define RINGLANE_SHM_RING_H

#include "shm_atomics.h"

#define SHM_BROADCAST_SLOTS_AT (sizeof(shm_ring_header) + SHM_WORKER_SLOTS * sizeof(shm_ring_reader))
#define SHM_SPSC_SLOTS_AT sizeof(shm_ring_header)

static inline unsigned char *shm_ring_slot(const shm_ring_header *ring, size_t slots_at, uint64_t sequence) {
    uint64_t index = (sequence - 1) & (ring->capacity - 1);
    return (unsigned char *)(uintptr_t)ring + slots_at + index * ring->slot_bytes;
}
static inline unsigned char *shm_broadcast_slot(const shm_ring_header *ring, uint64_t sequence) {
    return shm_ring_slot(ring, SHM_BROADCAST_SLOTS_AT, sequence);
}
static inline unsigned char *shm_spsc_slot(const shm_ring_header *ring, uint64_t sequence) {
    return shm_ring_slot(ring, SHM_SPSC_SLOTS_AT, sequence);
}

/* Slots of consecutive records stand side by side up to the end of the ring, so a batch is copied in one
 * piece, or two where it wraps: `count` records from `first` on, at most `capacity`. */
static inline void shm_slots_in(const shm_ring_header *ring, size_t slots_at, uint64_t first,
                                const void *records, uint64_t count) {
    const uint64_t capacity = ring->capacity, slot_bytes = ring->slot_bytes;
    uint64_t index = (first - 1) & (capacity - 1);
    uint64_t run = capacity - index < count ? capacity - index : count;
    unsigned char *slots = (unsigned char *)(uintptr_t)ring + slots_at;
    shm_words_in(slots + index * slot_bytes, records, run * slot_bytes);
    if (run < count)
        shm_words_in(slots, (const unsigned char *)records + run * slot_bytes, (count - run) * slot_bytes);
}
static inline void shm_slots_out(const shm_ring_header *ring, size_t slots_at, uint64_t first, void *out,
                                 uint64_t count) {
    const uint64_t capacity = ring->capacity, slot_bytes = ring->slot_bytes;
    uint64_t index = (first - 1) & (capacity - 1);
    uint64_t run = capacity - index < count ? capacity - index : count;
    unsigned char *slots = (unsigned char *)(uintptr_t)ring + slots_at;
    shm_words_out(out, slots + index * slot_bytes, run * slot_bytes);
    if (run < count)
        shm_words_out((unsigned char *)out + run * slot_bytes, slots, (count - run) * slot_bytes);
}

/* How many of `count` records from `first` on stand side by side. */
static inline uint64_t shm_slots_run(const shm_ring_header *ring, uint64_t first, uint64_t count) {
    uint64_t left = ring->capacity - ((first - 1) & (ring->capacity - 1));
    return left < count ? left : count;
}

/* ---- broadcast: publisher -------------------------------------------------------------------- */

#define SHM_SLOTS_AHEAD 16u

/* Takes the lines of slots that come soon back from the subscribers' caches, for writing: else each publish
 * waits for them one after the other. A hint only; where nobody subscribed there is nothing to take back. */
static inline void shm_broadcast_fetch_ahead(const shm_ring_header *ring, uint64_t last, uint64_t count) {
    if (shm_load_relaxed(&ring->subscriber_mask) == 0)
        return;
    const uint64_t mask = ring->capacity - 1, slot_bytes = ring->slot_bytes;
    const unsigned char *slots = (const unsigned char *)ring + SHM_BROADCAST_SLOTS_AT;
    for (uint64_t index = last + SHM_SLOTS_AHEAD - count; index < last + SHM_SLOTS_AHEAD; index++)
        for (uint64_t at = 0; at < slot_bytes; at += SHM_CACHE_LINE) {
            const unsigned char *line = slots + (index & mask) * slot_bytes + at;
#if defined(__x86_64__)
            /* The compiler's own hint fetches for reading unless told of the processor. */
            __asm__ volatile("prefetchw %0" : : "m"(*line));
#else
            __builtin_prefetch(line, 1);
#endif
        }
}

/* Raises `intent` to `sequence` before the slot is written; never lowers what a killed publisher
 * left, because the slots up to there may hold half-written records. */
static inline void shm_broadcast_claim(shm_ring_header *ring, uint64_t sequence) {
    if (shm_load_relaxed(&ring->intent) < sequence)
        shm_store_relaxed(&ring->intent, sequence);
    /* SYNC POINT: slot-overwrite. Whoever sees one word of the new record also sees the intent. */
    shm_fence_release();
}

/* Publishes `count` consecutive records of slot_bytes each; returns the last sequence.
 * `count` must be <= capacity / 2 (a larger batch would lap every subscriber by itself). */
static inline uint64_t shm_broadcast_publish(shm_ring_header *ring, const void *records, uint64_t count) {
    uint64_t cursor = shm_load_relaxed(&ring->cursor);
    uint64_t last = cursor + count;
    shm_broadcast_claim(ring, last);
    shm_broadcast_fetch_ahead(ring, last, count);
    shm_slots_in(ring, SHM_BROADCAST_SLOTS_AT, cursor + 1, records, count);
    shm_store_release(&ring->cursor, last); /* SYNC POINT: ring-cursor */
    return last;
}

/* Publishes one record of `length` <= slot_bytes bytes, zero filled; returns its sequence. */
static inline uint64_t shm_broadcast_publish_one(shm_ring_header *ring, const void *record, size_t length) {
    uint64_t s = shm_load_relaxed(&ring->cursor) + 1;
    shm_broadcast_claim(ring, s);
    shm_broadcast_fetch_ahead(ring, s, 1);
    shm_words_in_padded(shm_broadcast_slot(ring, s), record, length, ring->slot_bytes);
    shm_store_release(&ring->cursor, s); /* SYNC POINT: ring-cursor */
    return s;
}

/* ---- broadcast: subscriber ------------------------------------------------------------------- */

/* What one subscriber keeps privately. */
typedef struct shm_subscriber {
    uint64_t position; /* consumed up to here */
    uint64_t lapped;   /* records lost */
    uint64_t laps;     /* times it was lapped */
} shm_subscriber;

/* The oldest position from which every record is still whole. */
static inline uint64_t shm_broadcast_oldest(const shm_ring_header *ring) {
    uint64_t intent = shm_load_acquire(&ring->intent);
    return intent > ring->capacity ? intent - ring->capacity : 0;
}

/* Counts the lost records and rejoins half a ring behind the cursor: rejoining at the oldest whole
 * record would be lapped again by the very next publish. */
static inline void shm_subscriber_rejoin(const shm_ring_header *ring, shm_subscriber *self) {
    uint64_t cursor = shm_load_acquire(&ring->cursor); /* SYNC POINT: ring-cursor */
    uint64_t half = ring->capacity / 2;
    uint64_t to = cursor > half ? cursor - half : 0;
    uint64_t oldest = shm_broadcast_oldest(ring);
    if (to < oldest)
        to = oldest;
    /* A publisher killed in a batch can leave intent beyond cursor; never rejoin in the future. */
    if (to > cursor)
        to = cursor;
    if (to > self->position) {
        self->lapped += to - self->position;
        self->laps++;
        self->position = to;
    }
}

/* Copies up to `limit` records; returns how many. Never waits. A record that may have been
 * overwritten while it was copied is not delivered: it counts as lapped. */
static inline uint64_t shm_subscriber_poll(const shm_ring_header *ring, shm_subscriber *self, void *out,
                                           uint64_t limit) {
    uint64_t capacity = ring->capacity;
    for (int attempt = 0; attempt < 4; attempt++) {
        uint64_t cursor = shm_load_acquire(&ring->cursor); /* SYNC POINT: ring-cursor */
        if (cursor <= self->position)
            return 0;
        uint64_t first = self->position + 1;
        if (shm_load_relaxed(&ring->intent) >= first + capacity) {
            shm_subscriber_rejoin(ring, self);
            continue;
        }
        uint64_t count = cursor - self->position;
        if (count > limit)
            count = limit;
        shm_slots_out(ring, SHM_BROADCAST_SLOTS_AT, first, out, count);
        /* SYNC POINT: slot-overwrite. The first record is overwritten first, so it speaks for all. */
        shm_fence_acquire();
        if (shm_load_relaxed(&ring->intent) < first + capacity) {
            self->position += count;
            return count;
        }
        shm_subscriber_rejoin(ring, self);
    }
    return 0; /* lapped again and again: let the caller do its other work first */
}

/* Shows a subscriber's state in its reader cell, for tools outside. Each word alone is right; together
 * they may be of two moments. */
static inline void shm_subscriber_show(shm_ring_reader *cell, const shm_subscriber *self) {
    shm_store_relaxed(&cell->position, self->position);
    if (shm_load_relaxed(&cell->laps) != self->laps) {
        shm_store_relaxed(&cell->lapped, self->lapped);
        shm_store_relaxed(&cell->laps, self->laps);
    }
}

/* Borrowing: the subscriber looks at the records where they stand. Begin finds up to `limit` whole records
 * that stand side by side; `*first` is the sequence of the first; nothing is consumed. Between begin and end the
 * publisher may overwrite them: whatever was read is to be thrown away if end returns 0. */
static inline uint64_t shm_subscriber_borrow(const shm_ring_header *ring, shm_subscriber *self, uint64_t limit,
                                             uint64_t *first) {
    for (int attempt = 0; attempt < 4; attempt++) {
        uint64_t cursor = shm_load_acquire(&ring->cursor); /* SYNC POINT: ring-cursor */
        if (cursor <= self->position)
            return 0;
        *first = self->position + 1;
        if (shm_load_relaxed(&ring->intent) < *first + ring->capacity) {
            uint64_t count = cursor - self->position;
            return shm_slots_run(ring, *first, count < limit ? count : limit);
        }
        shm_subscriber_rejoin(ring, self);
    }
    return 0;
}

/* Ends a borrow of `count` records from `first` on: 1 = all of them stayed whole and count as consumed; 0 = the
 * publisher came round, none of them may be used, the loss is counted and the subscriber has rejoined. */
static inline int shm_subscriber_release(const shm_ring_header *ring, shm_subscriber *self, uint64_t first,
                                         uint64_t count) {
    /* SYNC POINT: slot-overwrite. As in poll: the reads before, the intent after. */
    shm_fence_acquire();
    if (shm_load_relaxed(&ring->intent) < first + ring->capacity) {
        self->position += count;
        return 1;
    }
    shm_subscriber_rejoin(ring, self);
    return 0;
}

static inline int shm_subscriber_pending(const shm_ring_header *ring, const shm_subscriber *self) {
    return shm_load_acquire(&ring->cursor) > self->position; /* SYNC POINT: ring-cursor */
}

/* ---- SPSC: producer -------------------------------------------------------------------------- */

static inline uint64_t shm_spsc_free(const shm_ring_header *ring) {
    uint64_t position = shm_load_acquire(&ring->position); /* SYNC POINT: ring-position */
    return ring->capacity - (shm_load_relaxed(&ring->cursor) - position);
}

/* Room for `count` records? If not: registers worker slot `own_slot` as waiting for progress, counts
 * the refusal and returns 0. The second look closes the race with a consumer that made room just
 * before it could see `wanted`. */
static inline int shm_spsc_reserve(shm_ring_header *ring, uint64_t count, uint64_t own_slot) {
    if (shm_spsc_free(ring) >= count)
        return 1;
    shm_store_relaxed(&ring->wanted, own_slot + 1);
    shm_fence_full(); /* SYNC POINT: wanted-position */
    if (shm_spsc_free(ring) >= count) {
        shm_store_relaxed(&ring->wanted, 0);
        return 1;
    }
    shm_add_single_writer(&ring->refused, 1);
    return 0;
}

/* Writes `count` records of slot_bytes each; there must be room (shm_spsc_reserve). */
static inline uint64_t shm_spsc_put(shm_ring_header *ring, const void *records, uint64_t count) {
    uint64_t cursor = shm_load_relaxed(&ring->cursor);
    uint64_t last = cursor + count;
    shm_slots_in(ring, SHM_SPSC_SLOTS_AT, cursor + 1, records, count);
    shm_store_release(&ring->cursor, last); /* SYNC POINT: ring-cursor */
    return last;
}

/* The same for one record of `length` <= slot_bytes bytes, zero filled. */
static inline uint64_t shm_spsc_put_one(shm_ring_header *ring, const void *record, size_t length) {
    uint64_t s = shm_load_relaxed(&ring->cursor) + 1;
    shm_words_in_padded(shm_spsc_slot(ring, s), record, length, ring->slot_bytes);
    shm_store_release(&ring->cursor, s); /* SYNC POINT: ring-cursor */
    return s;
}

/* ---- SPSC: consumer -------------------------------------------------------------------------- */

/* Copies up to `limit` records behind `*taken` (the consumer's private read position, >= position)
 * and moves it; the slots stay occupied until shm_spsc_commit. */
static inline uint64_t shm_spsc_poll(const shm_ring_header *ring, uint64_t *taken, void *out, uint64_t limit) {
    uint64_t cursor = shm_load_acquire(&ring->cursor); /* SYNC POINT: ring-cursor */
    uint64_t count = cursor - *taken;
    if (count > limit)
        count = limit;
    shm_slots_out(ring, SHM_SPSC_SLOTS_AT, *taken + 1, out, count);
    *taken += count;
    return count;
}

/* Finds up to `limit` records behind `*taken` that stand side by side, moves it past them and returns how many:
 * a poll without the copy. The first is of sequence `*taken` + 1 - count. They stay until shm_spsc_commit. */
static inline uint64_t shm_spsc_borrow(const shm_ring_header *ring, uint64_t *taken, uint64_t limit) {
    uint64_t cursor = shm_load_acquire(&ring->cursor); /* SYNC POINT: ring-cursor */
    uint64_t count = cursor - *taken;
    count = shm_slots_run(ring, *taken + 1, count < limit ? count : limit);
    *taken += count;
    return count;
}

/* Frees `count` slots. Returns 1 + worker slot of a producer that must be signaled, or 0. */
static inline uint64_t shm_spsc_commit(shm_ring_header *ring, uint64_t count) {
    uint64_t position = shm_load_relaxed(&ring->position) + count;
    shm_store_release(&ring->position, position); /* SYNC POINT: ring-position */
    shm_fence_full();                             /* SYNC POINT: wanted-position */
    if (shm_load_relaxed(&ring->wanted) == 0)
        return 0;
    return shm_exchange(&ring->wanted, 0);
}

#endif
