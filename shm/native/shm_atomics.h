/* Atomic building blocks: loads and stores with a named order, word copies, the two fences.
 *
 * Payloads that a reader may copy while a writer overwrites them (broadcast slots, seqlocked
 * values) are copied as relaxed atomic 64-bit words: a memcpy there would be a data race. The
 * private side of each copy goes through memcpy, so callers need no alignment of their buffers.
 */
#ifndef RINGLANE_SHM_ATOMICS_H
#define RINGLANE_SHM_ATOMICS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "shm_layout.h"

#if defined(__SANITIZE_THREAD__)
#define SHM_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SHM_TSAN 1
#endif
#endif

/* The thread sanitizer does not model fences. Under it every fence is an acquire-release exchange
 * on one shared dummy word: at least as strong for the program, and visible to the tool. */
#ifdef SHM_TSAN
static _Atomic(uint64_t) shm_tsan_word;
#define SHM_FENCE(order) ((void)(order), (void)atomic_fetch_add_explicit(&shm_tsan_word, 1, memory_order_seq_cst))
#else
#define SHM_FENCE(order) atomic_thread_fence(order)
#endif

static inline void shm_fence_acquire(void) { SHM_FENCE(memory_order_acquire); }
static inline void shm_fence_release(void) { SHM_FENCE(memory_order_release); }
/* Orders an earlier store before a later load; needed only where park and publish meet. */
static inline void shm_fence_full(void) { SHM_FENCE(memory_order_seq_cst); }

static inline uint64_t shm_load_relaxed(const shm_a64 *field) {
    return atomic_load_explicit((shm_a64 *)(uintptr_t)field, memory_order_relaxed);
}
static inline uint64_t shm_load_acquire(const shm_a64 *field) {
    return atomic_load_explicit((shm_a64 *)(uintptr_t)field, memory_order_acquire);
}
static inline void shm_store_relaxed(shm_a64 *field, uint64_t value) {
    atomic_store_explicit(field, value, memory_order_relaxed);
}
static inline void shm_store_release(shm_a64 *field, uint64_t value) {
    atomic_store_explicit(field, value, memory_order_release);
}
static inline uint64_t shm_exchange(shm_a64 *field, uint64_t value) {
    return atomic_exchange_explicit(field, value, memory_order_acq_rel);
}
static inline uint64_t shm_add(shm_a64 *field, uint64_t value) {
    return atomic_fetch_add_explicit(field, value, memory_order_acq_rel);
}
/* For a field with one writer: a plain add without a locked instruction. */
static inline void shm_add_single_writer(shm_a64 *field, uint64_t value) {
    shm_store_relaxed(field, shm_load_relaxed(field) + value);
}
static inline uint64_t shm_or(shm_a64 *field, uint64_t bits) {
    return atomic_fetch_or_explicit(field, bits, memory_order_acq_rel);
}
static inline uint64_t shm_and(shm_a64 *field, uint64_t bits) {
    return atomic_fetch_and_explicit(field, bits, memory_order_acq_rel);
}
/* 1 if `field` held `expected` and now holds `desired`. */
static inline int shm_compare_exchange(shm_a64 *field, uint64_t expected, uint64_t desired) {
    return atomic_compare_exchange_strong_explicit(field, &expected, desired, memory_order_acq_rel,
                                                   memory_order_acquire);
}

/* One word each way: relaxed atomic on the shared side, memcpy (any alignment) on the private side. */
static inline void shm_word_in(shm_a64 *to, const unsigned char *from) {
    uint64_t word;
    memcpy(&word, from, 8);
    atomic_store_explicit(to, word, memory_order_relaxed);
}
static inline void shm_word_out(unsigned char *to, shm_a64 *from) {
    uint64_t word = atomic_load_explicit(from, memory_order_relaxed);
    memcpy(to, &word, 8);
}

/* Copy `bytes` (a multiple of 8) from private memory to shared words. A line at a time by hand: a compiler
 * neither unrolls nor joins atomic accesses, and the loop's own three instructions cost as much as a word. */
static inline void shm_words_in(void *shared, const void *source, size_t bytes) {
    shm_a64 *to = (shm_a64 *)shared;
    const unsigned char *from = (const unsigned char *)source;
    size_t words = bytes >> 3;
    for (; words >= 8; words -= 8, to += 8, from += 64) {
        shm_word_in(to, from);
        shm_word_in(to + 1, from + 8);
        shm_word_in(to + 2, from + 16);
        shm_word_in(to + 3, from + 24);
        shm_word_in(to + 4, from + 32);
        shm_word_in(to + 5, from + 40);
        shm_word_in(to + 6, from + 48);
        shm_word_in(to + 7, from + 56);
    }
    for (; words > 0; words--, to++, from += 8)
        shm_word_in(to, from);
}

/* Copy `bytes` (a multiple of 8) from shared words to private memory; a line at a time like shm_words_in. */
static inline void shm_words_out(void *target, const void *shared, size_t bytes) {
    shm_a64 *from = (shm_a64 *)(uintptr_t)shared;
    unsigned char *to = (unsigned char *)target;
    size_t words = bytes >> 3;
    for (; words >= 8; words -= 8, to += 64, from += 8) {
        shm_word_out(to, from);
        shm_word_out(to + 8, from + 1);
        shm_word_out(to + 16, from + 2);
        shm_word_out(to + 24, from + 3);
        shm_word_out(to + 32, from + 4);
        shm_word_out(to + 40, from + 5);
        shm_word_out(to + 48, from + 6);
        shm_word_out(to + 56, from + 7);
    }
    for (; words > 0; words--, to += 8, from++)
        shm_word_out(to, from);
}

/* Copy `length` bytes into a field of `bytes` (a multiple of 8, >= length), zero filled. */
static inline void shm_words_in_padded(void *shared, const void *source, size_t length, size_t bytes) {
    size_t whole = length & ~(size_t)7;
    shm_words_in(shared, source, whole);
    if (whole < bytes) {
        uint64_t word = 0;
        memcpy(&word, (const unsigned char *)source + whole, length - whole);
        shm_a64 *to = (shm_a64 *)shared + (whole >> 3);
        atomic_store_explicit(to, word, memory_order_relaxed);
        for (size_t i = (whole >> 3) + 1; i < (bytes >> 3); i++)
            atomic_store_explicit((shm_a64 *)shared + i, (uint64_t)0, memory_order_relaxed);
    }
}

#endif
