/* Seqlock: one writer, many readers, the value as relaxed atomic words behind an even/odd count.
 *
 * Reader and writer after Boehm, "Can seqlocks get along with programming language memory models?"
 * (MSPC 2012). Readers retry a bounded number of times and then report BUSY: a writer killed in the
 * middle leaves the count odd, and nobody may hang on that. A writer that finds an odd count just
 * rewrites the whole value.
 */
#ifndef RINGLANE_SHM_SEQLOCK_H
#define RINGLANE_SHM_SEQLOCK_H

#include "shm_atomics.h"

#define SHM_SEQLOCK_RETRIES 64 /* copies of the value before BUSY */
#define SHM_SEQLOCK_LOOKS 8192 /* looks at an odd count before BUSY: a few us behind a dead writer */

/* Opens a store: the count becomes odd. Write the words with shm_words_in, then call the end. */
static inline uint64_t shm_seqlock_store_begin(shm_seqlock *lock) {
    uint64_t count = shm_load_relaxed(&lock->count) | 1; /* an odd count stays: repair */
    shm_store_relaxed(&lock->count, count);
    shm_fence_release(); /* SYNC POINT: seqlock-odd */
    return count;
}

static inline void shm_seqlock_store_end(shm_seqlock *lock, uint64_t odd) {
    shm_store_release(&lock->count, odd + 1); /* SYNC POINT: seqlock-even */
}

/* The even count a load starts from, or an odd one: then the value is being written. */
static inline uint64_t shm_seqlock_load_begin(const shm_seqlock *lock) {
    return shm_load_acquire(&lock->count); /* SYNC POINT: seqlock-even */
}

/* The same, but waits out a store in progress while `*looks` last: an odd count costs one look, not one of
 * the few copies, so a reader gets its chance behind a writer that stores without a pause. */
static inline uint64_t shm_seqlock_load_open(const shm_seqlock *lock, int *looks) {
    uint64_t count = shm_seqlock_load_begin(lock);
    while ((count & 1) && --*looks > 0)
        count = shm_seqlock_load_begin(lock);
    return count;
}

/* 1 if nothing was written since load_begin. */
static inline int shm_seqlock_load_valid(const shm_seqlock *lock, uint64_t begin) {
    shm_fence_acquire(); /* SYNC POINT: seqlock-odd */
    return shm_load_relaxed(&lock->count) == begin;
}

static inline void shm_seqlock_store(shm_seqlock *lock, const void *value, size_t bytes) {
    uint64_t odd = shm_seqlock_store_begin(lock);
    shm_words_in(lock + 1, value, bytes);
    shm_seqlock_store_end(lock, odd);
}

static inline void shm_seqlock_store_padded(shm_seqlock *lock, const void *value, size_t length, size_t bytes) {
    uint64_t odd = shm_seqlock_store_begin(lock);
    shm_words_in_padded(lock + 1, value, length, bytes);
    shm_seqlock_store_end(lock, odd);
}

/* 0 = a coherent copy, 1 = BUSY (nothing usable in `out`). */
static inline int shm_seqlock_load(const shm_seqlock *lock, void *out, size_t bytes) {
    int looks = SHM_SEQLOCK_LOOKS;
    for (int i = 0; i < SHM_SEQLOCK_RETRIES; i++) {
        uint64_t begin = shm_seqlock_load_open(lock, &looks);
        if (begin & 1)
            break;
        shm_words_out(out, lock + 1, bytes);
        if (shm_seqlock_load_valid(lock, begin))
            return 0;
    }
    return 1;
}

#endif
