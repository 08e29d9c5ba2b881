/* What the stress programs share: loud checks, records that tell when they are torn, threads, a little chance. */
#ifndef RINGLANE_STRESS_H
#define RINGLANE_STRESS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shm/native/shm_doorbell.h"
#include "shm/native/shm_ring.h"

#ifndef WORDS
#define WORDS 64u /* long enough that copies overlap */
#endif
#define RECORD_BYTES (WORDS * 8u)

typedef unsigned long long ull; /* what printf names */

#define CHECK(condition)                                                              \
    do {                                                                              \
        if (!(condition)) {                                                           \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                  \
        }                                                                             \
    } while (0)

static inline void *map(size_t bytes) {
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    return p;
}

static inline shm_ring_header *format_ring(void *at, uint32_t kind, uint64_t capacity, uint32_t slot_bytes) {
    shm_ring_header *ring = at;
    ring->kind = kind;
    ring->slot_bytes = slot_bytes;
    ring->capacity = capacity;
    return ring;
}

static inline size_t ring_bytes(uint64_t capacity, uint32_t slot_bytes) {
    return SHM_BROADCAST_SLOTS_AT + capacity * slot_bytes; /* enough for both kinds */
}

static inline shm_ring_header *make_ring(uint32_t kind, uint64_t capacity, uint32_t slot_bytes) {
    return format_ring(map(ring_bytes(capacity, slot_bytes)), kind, capacity, slot_bytes);
}

/* Every word follows from the sequence: a torn or misplaced record shows. */
static inline uint64_t word_of(uint64_t s, unsigned i) { return i == 0 ? s : s * 0x9E3779B97F4A7C15ull * i; }
static inline void fill_words(uint64_t *record, uint64_t s, unsigned words) {
    for (unsigned i = 0; i < words; i++)
        record[i] = word_of(s, i);
}
static inline int is_record(const uint64_t *record, uint64_t s, unsigned words) {
    uint64_t wrong = 0;
    for (unsigned i = 0; i < words; i++)
        wrong |= record[i] ^ word_of(s, i);
    return wrong == 0;
}
static inline void fill(uint64_t *record, uint64_t s) { fill_words(record, s, WORDS); }
static inline void check(const uint64_t *record, uint64_t s) { CHECK(is_record(record, s, WORDS)); }

static inline void start(pthread_t *thread, void *(*body)(void *), void *argument) {
    CHECK(pthread_create(thread, NULL, body, argument) == 0);
}
static inline void join(pthread_t *threads, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

/* xorshift64 after Marsaglia; the seed must not be 0. */
static inline uint64_t chance(uint64_t *random) {
    *random ^= *random << 13, *random ^= *random >> 7, *random ^= *random << 17;
    return *random;
}

/* Spins so that it looks at the very moment of a store, but gives way where both share a core. */
static inline void pause_a_little(uint64_t *spins) {
    if (++*spins % 256 == 0)
        sched_yield();
}

#endif
