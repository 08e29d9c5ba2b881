/* Rings and doorbells under threads over one mapping, to be built with a sanitizer.
 *
 * Usage: shm_threads ROUNDS [PART]. Prints one line per thread that took something and exits 0; aborts on the
 * first bad record; a lost wake-up hangs. No Python here: what is tested is exactly what the extension modules
 * compile in.
 *
 * All payloads are atomic words, in which the thread sanitizer can see no race. So the writers also write plain
 * memory before they publish and the readers read it after they took the record: that is a race exactly if a
 * release or acquire is missing.
 */
#include "stress.h"

static uint64_t rounds;
static uint64_t *plain; /* by sequence: written before the record is published */

/* ---- broadcast: one publisher, subscribers of every temper ----------------------------------- */

#define SUBSCRIBERS 8u

typedef struct crowd {
    shm_ring_header *ring;
    shm_control *control;
    shm_a64 done; /* subscribers that have everything */
} crowd;

typedef struct member {
    crowd *all;
    unsigned slot; /* worker slot 1 .. */
    enum temper { EAGER, STALLING, PARKING, REJOINING } temper;
} member;

static void *publisher(void *argument) {
    crowd *all = argument;
    shm_ring_header *ring = all->ring;
    uint64_t batch[3 * WORDS], random = 0x5DEECE66Dull;
    for (uint64_t s = 1; s <= rounds;) {
        uint64_t count = ring->capacity >= 8 && s + 3 <= rounds && chance(&random) % 5 == 0 ? 3 : 1;
        for (uint64_t i = 0; i < count; i++) {
            fill(batch + i * WORDS, s + i);
            plain[s + i] = s + i;
        }
        if (count == 1)
            shm_broadcast_publish_one(ring, batch, RECORD_BYTES);
        else
            shm_broadcast_publish(ring, batch, count);
        shm_bell_signal(all->control, &ring->subscriber_mask);
        s += count;
        if (s % 512 == 0)
            sched_yield(); /* let the parking ones park */
    }
    return NULL;
}

static void take_bell(shm_worker_slot *worker) {
    uint64_t count;
    CHECK(read((int)worker->bell_fd, &count, 8) == 8); /* blocks: a lost wake-up hangs here */
}

/* The other way to take records: looks at them where they stand, and keeps them only if they stayed whole. */
static uint64_t look(const shm_ring_header *ring, shm_subscriber *self, uint64_t *out, uint64_t limit) {
    uint64_t first, n = shm_subscriber_borrow(ring, self, limit, &first);
    if (n == 0)
        return 0;
    shm_words_out(out, shm_broadcast_slot(ring, first), n * RECORD_BYTES); /* they stand side by side */
    return shm_subscriber_release(ring, self, first, n) ? n : 0;
}

static void *subscriber(void *argument) {
    member *me = argument;
    shm_ring_header *ring = me->all->ring;
    shm_worker_slot *own = &me->all->control->workers[me->slot];
    shm_ring_reader *cell = (shm_ring_reader *)(ring + 1) + me->slot;
    shm_subscriber self = {0, 0, 0};
    uint64_t out[4 * WORDS], taken = 0, skipped = 0, lapped = 0, laps = 0, spins = 0, parked = 0;
    uint64_t random = 88172645463325252ull + me->slot;
    shm_or(&ring->subscriber_mask, 1ull << me->slot);
    while (self.position < rounds) {
        uint64_t limit = 1 + chance(&random) % 4;
        uint64_t n = random & 256 ? shm_subscriber_poll(ring, &self, out, limit) : look(ring, &self, out, limit);
        for (uint64_t i = 0; i < n; i++) {
            uint64_t s = self.position - n + 1 + i;
            check(out + i * WORDS, s);
            CHECK(plain[s] == s);
        }
        taken += n;
        shm_subscriber_show(cell, &self);
        if (me->temper == STALLING && random % 64 == 0) {
            for (unsigned i = 0; i < 20; i++)
                sched_yield();
        } else if (me->temper == REJOINING && random % 64 == 0) {
            /* Dies and is reborn: everything private is lost, the newest or the oldest record is next. */
            uint64_t to = random & 64 ? shm_broadcast_oldest(ring) : shm_load_acquire(&ring->cursor);
            if (to < self.position)
                continue; /* intent is raised late: the oldest may stand behind what was taken */
            skipped += to - self.position;
            lapped += self.lapped;
            laps += self.laps;
            self = (shm_subscriber){to, 0, 0};
        } else if (me->temper == PARKING && n == 0 && !shm_subscriber_pending(ring, &self)) {
            shm_bell_arm(own);
            if (shm_subscriber_pending(ring, &self)) {
                shm_bell_disarm(own);
                continue;
            }
            take_bell(own);
            parked++;
        } else if (n == 0) {
            pause_a_little(&spins);
        }
    }
    lapped += self.lapped;
    CHECK(self.position == rounds);
    CHECK(taken + lapped + skipped == rounds);
    shm_add(&me->all->done, 1);
    printf("broadcast %llu: %llu taken, %llu lapped in %llu laps, %llu skipped, parked %llu times\n",
           (ull)ring->capacity, (ull)taken, (ull)lapped, (ull)(laps + self.laps), (ull)skipped, (ull)parked);
    return NULL;
}

/* An outside tool: reads cells and cursor of a running ring. */
static void *onlooker(void *argument) {
    crowd *all = argument;
    shm_ring_reader *cells = (shm_ring_reader *)(all->ring + 1);
    uint64_t last[SHM_WORKER_SLOTS] = {0}, last_cursor = 0, looks = 0;
    while (shm_load_acquire(&all->done) < SUBSCRIBERS) {
        for (unsigned slot = 1; slot <= SUBSCRIBERS; slot++) {
            uint64_t position = shm_load_acquire(&cells[slot].position);
            uint64_t cursor = shm_load_acquire(&all->ring->cursor);
            CHECK(position <= cursor || position <= rounds);
            CHECK(position >= last[slot] && cursor >= last_cursor);
            CHECK(shm_load_relaxed(&cells[slot].lapped) <= rounds);
            last[slot] = position;
            last_cursor = cursor;
        }
        looks++;
        sched_yield();
    }
    printf("onlooker: %llu looks\n", (ull)looks);
    return NULL;
}

static void broadcast_part(uint64_t capacity) {
    crowd all = {make_ring(SHM_RING_BROADCAST, capacity, RECORD_BYTES), map(sizeof(shm_control)), 0};
    member members[SUBSCRIBERS];
    pthread_t threads[SUBSCRIBERS + 2];
    plain = calloc(rounds + 1, 8);
    CHECK(plain != NULL);
    for (unsigned i = 0; i < SUBSCRIBERS; i++) {
        members[i] = (member){&all, i + 1, (enum temper)(i % 4)};
        int fd = eventfd(0, 0);
        CHECK(fd > 0);
        all.control->workers[i + 1].bell_fd = fd;
        start(&threads[i], subscriber, &members[i]);
    }
    start(&threads[SUBSCRIBERS], onlooker, &all);
    start(&threads[SUBSCRIBERS + 1], publisher, &all);
    join(threads, SUBSCRIBERS + 2);
    CHECK(shm_load_acquire(&all.ring->cursor) == rounds);
    free(plain);
}

/* ---- SPSC pairs with doorbells on both sides: nothing lost, nobody sleeps forever ------------- */

#define PAIRS 4u
#define SPSC_CAPACITY 4u

typedef struct pair {
    shm_ring_header *ring;
    shm_control *control;
    unsigned producer_slot, consumer_slot;
    uint64_t plain[SPSC_CAPACITY]; /* by slot: overwritten only after the consumer committed */
} pair;

static void *producer(void *argument) {
    pair *p = argument;
    shm_worker_slot *own = &p->control->workers[p->producer_slot];
    uint64_t records[3 * WORDS], random = 1442695040888963407ull + p->producer_slot;
    for (uint64_t s = 1; s <= rounds;) {
        uint64_t count = s + 3 <= rounds ? 1 + chance(&random) % 3 : 1;
        for (uint64_t i = 0; i < count; i++)
            fill(records + i * WORDS, s + i);
        while (!shm_spsc_reserve(p->ring, count, p->producer_slot))
            take_bell(own); /* the wake of a commit is unconditional, so no arming is needed */
        for (uint64_t i = 0; i < count; i++)
            p->plain[(s + i - 1) % SPSC_CAPACITY] = s + i;
        if (count == 1)
            shm_spsc_put_one(p->ring, records, RECORD_BYTES);
        else
            shm_spsc_put(p->ring, records, count);
        shm_bell_signal(p->control, &p->ring->subscriber_mask);
        s += count;
    }
    return NULL;
}

static void *consumer(void *argument) {
    pair *p = argument;
    shm_worker_slot *own = &p->control->workers[p->consumer_slot];
    uint64_t out[3 * WORDS], taken = 0, parked = 0;
    while (taken < rounds) {
        uint64_t n;
        if (taken % 2) {
            n = shm_spsc_poll(p->ring, &taken, out, 3);
        } else {
            n = shm_spsc_borrow(p->ring, &taken, 3);
            if (n > 0)
                shm_words_out(out, shm_spsc_slot(p->ring, taken - n + 1), n * RECORD_BYTES);
        }
        for (uint64_t i = 0; i < n; i++) {
            uint64_t s = taken - n + 1 + i;
            check(out + i * WORDS, s);
            CHECK(p->plain[(s - 1) % SPSC_CAPACITY] == s);
        }
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
        take_bell(own);
        parked++;
    }
    printf("spsc: %llu taken, parked %llu times, refused %llu\n", (ull)taken, (ull)parked,
           (ull)shm_load_relaxed(&p->ring->refused));
    return NULL;
}

static void spsc_part(void) {
    shm_control *control = map(sizeof(shm_control));
    static pair pairs[PAIRS];
    pthread_t threads[2 * PAIRS];
    for (unsigned i = 0; i < PAIRS; i++) {
        pairs[i] = (pair){make_ring(SHM_RING_SPSC, SPSC_CAPACITY, RECORD_BYTES), control, 2 * i, 2 * i + 1, {0}};
        for (unsigned slot = 2 * i; slot <= 2 * i + 1; slot++) {
            int fd = eventfd(0, 0);
            CHECK(fd > 0);
            control->workers[slot].bell_fd = fd;
        }
        shm_or(&pairs[i].ring->subscriber_mask, 1ull << pairs[i].consumer_slot);
        start(&threads[2 * i], producer, &pairs[i]);
        start(&threads[2 * i + 1], consumer, &pairs[i]);
    }
    join(threads, 2 * PAIRS);
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
    chance(random);
    for (volatile uint64_t i = 0; i < *random % 16; i++) {
    }
}

/* Two threads that share a core never run at once, and what a fence orders is never seen: one core each. */
static cpu_set_t cores;

/* On a core of its own a thread that yields would give its time to a stranger, and the meeting is over. */
static void await(uint64_t *spins) {
    if (CPU_COUNT(&cores) < 2)
        pause_a_little(spins);
}

static void take_core(int which) {
    for (int core = 0; core < CPU_SETSIZE; core++)
        if (CPU_ISSET(core, &cores) && which-- == 0) {
            cpu_set_t own;
            CPU_ZERO(&own);
            CPU_SET(core, &own);
            CHECK(sched_setaffinity(0, sizeof own, &own) == 0);
            return;
        }
}

/* The publisher's or the consumer's side. */
static void *second_side(void *argument) {
    meeting *m = argument;
    take_core(1);
    shm_worker_slot *sleeper = &m->control->workers[1];
    uint64_t random = 88172645463325252ull, record = 0, spins = 0, count;
    for (uint64_t k = 1; k <= rounds; k++) {
        while (shm_load_acquire(&m->turn) != 2 * k)
            await(&spins);
        shm_store_release(&m->turn, 2 * k + 1);
        dawdle(&random);
        if (m->ring->kind == SHM_RING_BROADCAST) {
            shm_broadcast_publish(m->ring, &record, 1);
            shm_bell_signal(m->control, &m->ring->subscriber_mask);
            m->second_saw = read((int)sleeper->bell_fd, &count, 8) == 8;
        } else {
            m->second_saw = shm_spsc_commit(m->ring, 1) != 0;
        }
        shm_store_release(&m->second_done, k);
    }
    return NULL;
}

static void meeting_part(uint32_t kind) {
    meeting m = {.ring = make_ring(kind, 2, 8), .control = map(sizeof(shm_control))};
    shm_or(&m.ring->subscriber_mask, 1ull << 1);
    shm_worker_slot *own = &m.control->workers[1];
    own->bell_fd = eventfd(0, EFD_NONBLOCK);
    CHECK(own->bell_fd > 0);
    CHECK(sched_getaffinity(0, sizeof cores, &cores) == 0);
    pthread_t thread;
    start(&thread, second_side, &m);
    take_core(0);
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
            await(&spins);
        dawdle(&random);
        if (kind == SHM_RING_BROADCAST) {
            shm_bell_arm(own);
            m.first_saw = shm_subscriber_pending(m.ring, &self);
        } else {
            m.first_saw = shm_spsc_reserve(m.ring, 1, 0);
        }
        while (shm_load_acquire(&m.second_done) != k)
            await(&spins);
        CHECK(m.first_saw || m.second_saw); /* else it would sleep with work to do */
        both += m.first_saw && m.second_saw;
    }
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(sched_setaffinity(0, sizeof cores, &cores) == 0);
    printf("meeting %s: %llu of %llu saw each other\n",
           kind == SHM_RING_BROADCAST ? "park" : "wanted", (ull)both, (ull)rounds);
}

int main(int argc, char **argv) {
    CHECK(argc == 2 || argc == 3);
    rounds = strtoull(argv[1], NULL, 10);
    CHECK(rounds > 0);
    const char *part = argc == 3 ? argv[2] : "all";
    int all = strcmp(part, "all") == 0;
    if (all || strcmp(part, "broadcast") == 0) {
        broadcast_part(2);
        broadcast_part(16);
    }
    if (all || strcmp(part, "spsc") == 0)
        spsc_part();
    if (all || strcmp(part, "park") == 0)
        meeting_part(SHM_RING_BROADCAST);
    if (all || strcmp(part, "wanted") == 0)
        meeting_part(SHM_RING_SPSC);
    return 0;
}
