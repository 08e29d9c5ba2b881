/* Log-linear latency histogram after HdrHistogram (Gil Tene): one writer, relaxed atomics.
 *
 * Values below 64 have a bucket each; above, each octave has 64 equal sub-buckets, so a bucket's
 * width is at most 1/64 (1.6 %) of its values. `count` is stored last: a reader that sees it sees
 * at least nearly all of the rest, and takes the buckets' own sum as the truth.
 */
#ifndef RINGLANE_SHM_HISTOGRAM_H
#define RINGLANE_SHM_HISTOGRAM_H

#include "shm_atomics.h"

static inline uint32_t shm_histogram_index(uint64_t value) {
    if (value >> SHM_HISTOGRAM_MAX_BITS)
        return SHM_HISTOGRAM_BUCKETS - 1u;
    if (value < (1u << SHM_HISTOGRAM_SUB_BITS))
        return (uint32_t)value;
    uint32_t shift = 63u - (uint32_t)__builtin_clzll(value) - SHM_HISTOGRAM_SUB_BITS;
    /* value >> shift is 64..127: the 64 of it and the +1 octave for the linear part cancel. */
    return (shift << SHM_HISTOGRAM_SUB_BITS) + (uint32_t)(value >> shift);
}

/* Largest value that falls into a bucket. */
static inline uint64_t shm_histogram_upper(uint32_t index) {
    if (index < (2u << SHM_HISTOGRAM_SUB_BITS))
        return index;
    uint32_t shift = (index >> SHM_HISTOGRAM_SUB_BITS) - 1u;
    uint64_t mantissa = (index & ((1u << SHM_HISTOGRAM_SUB_BITS) - 1u)) + (1u << SHM_HISTOGRAM_SUB_BITS);
    return ((mantissa + 1u) << shift) - 1u;
}

/* Smallest value that falls into a bucket. */
static inline uint64_t shm_histogram_lower(uint32_t index) {
    return index ? shm_histogram_upper(index - 1u) + 1u : 0u;
}

/* A negative value (two clocks, or a stamp not taken) counts as 0. */
static inline void shm_histogram_record(shm_histogram *h, int64_t signed_value) {
    uint64_t value = signed_value < 0 ? 0u : (uint64_t)signed_value;
    shm_add_single_writer(&h->buckets[shm_histogram_index(value)], 1);
    shm_add_single_writer(&h->sum, value);
    uint64_t min = shm_load_relaxed(&h->min);
    if (value + 1u < min || min == 0)
        shm_store_relaxed(&h->min, value + 1u);
    if (value > shm_load_relaxed(&h->max))
        shm_store_relaxed(&h->max, value);
    if (value >> SHM_HISTOGRAM_MAX_BITS)
        shm_add_single_writer(&h->overflow, 1);
    shm_store_release(&h->count, shm_load_relaxed(&h->count) + 1u);
}

#endif
