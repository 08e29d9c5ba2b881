/* The header-only core under threads over one mapping, to be built with a sanitizer.
 *
 * Usage: shm_threads ROUNDS. Prints one line per part and exits 0; aborts on the first bad record.
 * No Python here: what is tested is exactly what the extension modules compile in.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shm/native/shm_clock.h"
#include "shm/native/shm_doorbell.h"
#include "shm/native/shm_ring.h"
#include "shm/native/shm_seqlock.h"

#define WORDS 64u /* long enough that copies overlap */
#define RECORD_BYTES (WORDS * 8u)

static uint64_t rounds;

#define CHECK(condition)                                                              \
    do {                                                                              \
        if (!(condition)) {                                                           \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                  \
        }                                                                             \
    } while (0)

static void *map(size_t bytes) {
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    return p;
}

static shm_ring_header *make_ring(uint32_t kind, uint64_t capacity) {
    shm_ring_header *ring = map(SHM_BROADCAST_SLOTS_AT + capacity * RECORD_BYTES);
    ring->kind = kind;
    ring->slot_bytes = RECORD_BYTES;
    ring->capacity = capacity;
    return ring;
}

/* Every word follows from the sequence: a torn or misplaced record shows. */
static void fill(uint64_t *record, uint64_t s) {
    for (unsigned i = 0; i < WORDS; i++)
        record[i] = i == 0 ? s : s * 0x9E3779B97F4A7C15ull * i;
}
static void check(const uint64_t *record, uint64_t s) {
    for (unsigned i = 0; i < WORDS; i++)
        CHECK(record[i] == (i == 0 ? s : s * 0x9E3779B97F4A7C15ull * i));
}

static void start(pthread_t *thread, void *(*body)(void *), void *argument) {
    CHECK(pthread_create(thread, NULL, body, argument) == 0);
}

/* ---- broadcast: one publisher, subscribers that are lapped ----------------------------------- */

static void *publisher(void *argument) {
    shm_ring_header *ring = argument;
    uint64_t batch[3 * WORDS];
    for (uint64_t s = 1; s <= rounds;) {
        uint64_t count = s % 5 == 0 && ring->capacity >= 8 ? 3 : 1;
        for (uint64_t i = 0; i < count; i++)
            fill(batch + i * WORDS, s + i);
        if (count == 1)
            shm_broadcast_publish_one(ring, batch, RECORD_BYTES);
        else
            shm_broadcast_publish(ring, batch, count);
        s += count;
    }
    return NULL;
}

/* Spins so that it looks at the very moment of a store, but gives way where both share a core. */
static void pause_a_little(uint64_t *spins) {
    if (++*spins % 256 == 0)
        sched_yield();
}

static void *subscriber(void *argument) {
    shm_ring_header *ring = argument;
    shm_subscriber self = {0, 0, 0};
    uint64_t out[4 * WORDS], taken = 0, spins = 0;
    while (self.position < rounds) {
        uint64_t n = shm_subscriber_poll(ring, &self, out, 4);
        for (uint64_t i = 0; i < n; i++)
            check(out + i * WORDS, self.position - n + 1 + i);
        taken += n;
        if (n == 0)
            pause_a_little(&spins);
    }
    CHECK(taken + self.lapped == self.position);
    printf("broadcast: %llu taken, %llu lapped in %llu laps\n", (unsigned long long)taken,
           (unsigned long long)self.lapped, (unsigned long long)self.laps);
    return NULL;
}

static void broadcast_part(uint64_t capacity) {
    shm_ring_header *ring = make_ring(SHM_RING_BROADCAST, capacity);
    pthread_t threads[3];
    start(&threads[1], subscriber, ring);
    start(&threads[2], subscriber, ring);
    start(&threads[0], publisher, ring);
    for (int i = 0; i < 3; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

/* ---- SPSC with doorbells on both sides: nothing lost, nobody sleeps forever ------------------ */

typedef struct pair {
    shm_ring_header *ring;
    shm_control *control;
} pair;

static void park(shm_worker_slot *worker) {
    uint64_t count;
    CHECK(read((int)worker->bell_fd, &count, 8) == 8); /* blocks: a lost wake-up hangs here */
}

static void *producer(void *argument) {
    pair *p = argument;
    shm_worker_slot *own = &p->control->workers[1];
    uint64_t record[WORDS];
    for (uint64_t s = 1; s <= rounds; s++) {
        fill(record, s);
        while (!shm_spsc_reserve(p->ring, 1, 1))
            park(own); /* the wake of a commit is unconditional, so no arming is needed */
        shm_spsc_put(p->ring, record, 1);
        shm_bell_signal_mask(p->control, shm_load_relaxed(&p->ring->subscriber_mask));
    }
    return NULL;
}

static void *consumer(void *argument) {
    pair *p = argument;
    shm_worker_slot *own = &p->control->workers[2];
    uint64_t out[3 * WORDS], taken = 0, parked = 0;
    while (taken < rounds) {
        uint64_t n = shm_spsc_poll(p->ring, &taken, out, 3);
        for (uint64_t i = 0; i < n; i++)
            check(out + i * WORDS, taken - n + 1 + i);
        if (n > 0) {
            uint64_t waiting = shm_spsc_commit(p->ring, n);
            if (waiting)
                shm_bell_wake(&p->control->workers[waiting - 1]);
            continue;
        }
        shm_bell_arm(own);
        if (shm_load_acquire(&p->ring->cursor) > taken) {
            shm_bell_disarm(own);
            continue;
        }
        park(own);
        parked++;
    }
    printf("spsc: %llu taken, parked %llu times, refused %llu\n", (unsigned long long)taken,
           (unsigned long long)parked, (unsigned long long)shm_load_relaxed(&p->ring->refused));
    return NULL;
}

static void spsc_part(void) {
    pair p = {make_ring(SHM_RING_SPSC, 4), map(sizeof(shm_control))};
    for (int slot = 1; slot <= 2; slot++) {
        int fd = eventfd(0, 0);
        CHECK(fd > 0);
        p.control->workers[slot].bell_fd = fd;
    }
    shm_or(&p.ring->subscriber_mask, 1ull << 2);
    pthread_t threads[2];
    start(&threads[0], producer, &p);
    start(&threads[1], consumer, &p);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

/* ---- where park and publish meet, and wanted and position: of two sides one must see the other -- */

typedef struct meeting {
    shm_ring_header *ring;
    shm_control *control;
    shm_a64 turn; /* 2k: set up for meeting k; +1: the second thread is there */
    shm_a64 second_done;
    int first_saw, second_saw;
} meeting;

static void dawdle(uint64_t *random) {
    *random ^= *random << 13, *random ^= *random >> 7, *random ^= *random << 17;
    for (volatile uint64_t i = 0; i < *random % 16; i++) {
    }
}

/* The publisher's or the consumer's side. */
static void *second_side(void *argument) {
    meeting *m = argument;
    shm_worker_slot *sleeper = &m->control->workers[1];
    uint64_t random = 88172645463325252ull, record = 0, spins = 0, count;
    for (uint64_t k = 1; k <= rounds; k++) {
        while (shm_load_acquire(&m->turn) != 2 * k)
            pause_a_little(&spins);
        shm_store_release(&m->turn, 2 * k + 1);
        dawdle(&random);
        if (m->ring->kind == SHM_RING_BROADCAST) {
            shm_broadcast_publish(m->ring, &record, 1);
            shm_bell_signal_mask(m->control, 1ull << 1);
            m->second_saw = read((int)sleeper->bell_fd, &count, 8) == 8;
        } else {
            m->second_saw = shm_spsc_commit(m->ring, 1) != 0;
        }
        shm_store_release(&m->second_done, k);
    }
    return NULL;
}

static void meeting_part(uint32_t kind) {
    meeting m = {.ring = make_ring(kind, 2), .control = map(sizeof(shm_control))};
    m.ring->slot_bytes = 8;
    shm_worker_slot *own = &m.control->workers[1];
    own->bell_fd = eventfd(0, EFD_NONBLOCK);
    CHECK(own->bell_fd > 0);
    pthread_t thread;
    start(&thread, second_side, &m);
    uint64_t random = 1181783497276652981ull, record[2] = {0, 0}, spins = 0, both = 0;
    for (uint64_t k = 1; k <= rounds; k++) {
        shm_subscriber self = {shm_load_acquire(&m.ring->cursor), 0, 0};
        if (kind == SHM_RING_SPSC) {
            shm_store_relaxed(&m.ring->wanted, 0);
            shm_spsc_put(m.ring, record, shm_spsc_free(m.ring));
        }
        shm_bell_disarm(own);
        shm_store_release(&m.turn, 2 * k);
        while (shm_load_acquire(&m.turn) != 2 * k + 1)
            pause_a_little(&spins);
        dawdle(&random);
        if (kind == SHM_RING_BROADCAST) {
            shm_bell_arm(own);
            m.first_saw = shm_subscriber_pending(m.ring, &self);
        } else {
            m.first_saw = shm_spsc_reserve(m.ring, 1, 0);
        }
        while (shm_load_acquire(&m.second_done) != k)
            pause_a_little(&spins);
        CHECK(m.first_saw || m.second_saw); /* else it would sleep with work to do */
        both += m.first_saw && m.second_saw;
    }
    CHECK(pthread_join(thread, NULL) == 0);
    printf("meeting: %llu of %llu saw each other\n", (unsigned long long)both, (unsigned long long)rounds);
}

/* ---- seqlock ---------------------------------------------------------------------------------- */

static shm_a64 writing;

static void *writer(void *argument) {
    uint64_t value[WORDS];
    for (uint64_t s = 1; s <= rounds; s++) {
        fill(value, s);
        shm_seqlock_store(argument, value, RECORD_BYTES);
        if (s % 64 == 0)
            sched_yield();
    }
    shm_store_release(&writing, 0);
    return NULL;
}

static void *reader(void *argument) {
    uint64_t value[WORDS], loads = 0, busy = 0, last = 0;
    while (shm_load_acquire(&writing)) {
        if (shm_seqlock_load(argument, value, RECORD_BYTES)) {
            busy++;
            sched_yield();
            continue;
        }
        check(value, value[0]);
        CHECK(value[0] >= last); /* never back in time */
        last = value[0];
        loads++;
    }
    CHECK(shm_seqlock_load(argument, value, RECORD_BYTES) == 0);
    CHECK(value[0] == rounds);
    printf("seqlock: %llu loads, %llu busy\n", (unsigned long long)loads, (unsigned long long)busy);
    return NULL;
}

static void seqlock_part(void) {
    shm_seqlock *lock = map(sizeof(shm_seqlock) + RECORD_BYTES);
    pthread_t threads[3];
    shm_store_release(&writing, 1);
    start(&threads[1], reader, lock);
    start(&threads[2], reader, lock);
    start(&threads[0], writer, lock);
    for (int i = 0; i < 3; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    /* A writer killed in the middle: BUSY, then repaired. */
    uint64_t value[WORDS];
    (void)shm_seqlock_store_begin(lock);
    CHECK(shm_seqlock_load(lock, value, RECORD_BYTES) == 1);
    fill(value, 5);
    shm_seqlock_store(lock, value, RECORD_BYTES);
    CHECK(shm_seqlock_load(lock, value, RECORD_BYTES) == 0);
    check(value, 5);
}

/* ---- copies: lengths and unaligned private buffers -------------------------------------------- */

static void copies_part(void) {
    uint64_t shared[4];
    unsigned char from[40], to[40];
    for (unsigned i = 0; i < sizeof from; i++)
        from[i] = (unsigned char)(i + 1);
    for (size_t length = 0; length <= 32; length++) {
        memset(shared, 0xFF, sizeof shared);
        shm_words_in_padded(shared, from + 1, length, 32);
        shm_words_out(to + 3, shared, 32);
        for (size_t i = 0; i < 32; i++)
            CHECK(to[3 + i] == (i < length ? from[1 + i] : 0));
    }
    CHECK(shm_now_ns() > 0 && shm_utc_ns() > 0);
    printf("copies: fine\n");
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    rounds = strtoull(argv[1], NULL, 10);
    CHECK(rounds > 0);
    copies_part();
    broadcast_part(2);
    broadcast_part(16);
    spsc_part();
    meeting_part(SHM_RING_BROADCAST);
    meeting_part(SHM_RING_SPSC);
    seqlock_part();
    return 0;
}
