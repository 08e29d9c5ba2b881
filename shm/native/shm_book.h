/* Book slab: per instrument one seqlocked entry of head, bids and asks, best first.
 *
 * Payload = slab header, stream table (rounded up to a pair of lines), then `capacity` entries. An
 * entry is a seqlock, shm_book_head, bids[depth], asks[depth], rounded up to a pair of lines. Only
 * the first bid_count / ask_count levels of an entry mean anything; the others keep what stood there.
 */
#ifndef RINGLANE_SHM_BOOK_H
#define RINGLANE_SHM_BOOK_H

#include "shm_atomics.h"
#include "shm_seqlock.h"

#define SHM_BOOK_BUSY 1
#define SHM_BOOK_OK 0

static inline uint64_t shm_round_pair(uint64_t bytes) {
    return (bytes + SHM_PAIR - 1u) & ~(uint64_t)(SHM_PAIR - 1u);
}

static inline uint64_t shm_slab_entry_bytes(uint32_t depth) {
    return shm_round_pair(sizeof(shm_seqlock) + sizeof(shm_book_head) + 2ull * depth * sizeof(shm_level));
}

static inline uint64_t shm_slab_entries_at(uint32_t streams) {
    return sizeof(shm_slab_header) + shm_round_pair((uint64_t)streams * sizeof(shm_stream));
}

static inline uint64_t shm_slab_bytes(uint32_t depth, uint32_t capacity, uint32_t streams) {
    return shm_slab_entries_at(streams) + (uint64_t)capacity * shm_slab_entry_bytes(depth);
}

static inline void shm_book_store(void *entry, uint32_t depth, const shm_book_head *head, const shm_level *bids,
                                  const shm_level *asks) {
    shm_seqlock *lock = (shm_seqlock *)entry;
    unsigned char *at = (unsigned char *)entry + sizeof(shm_seqlock);
    shm_book_head copy = *head;
    if (copy.bid_count > depth)
        copy.bid_count = depth;
    if (copy.ask_count > depth)
        copy.ask_count = depth;
    uint64_t odd = shm_seqlock_store_begin(lock);
    shm_words_in(at, &copy, sizeof(copy));
    at += sizeof(copy);
    shm_words_in(at, bids, (size_t)copy.bid_count * sizeof(shm_level));
    at += (size_t)depth * sizeof(shm_level);
    shm_words_in(at, asks, (size_t)copy.ask_count * sizeof(shm_level));
    shm_seqlock_store_end(lock, odd);
}

/* Rewrites the head alone. Only for a writer that knows the levels to be whole: after a crash (odd
 * count) the value must be stored completely, so an odd count is refused with SHM_BOOK_BUSY. */
static inline int shm_book_store_head(void *entry, const shm_book_head *head) {
    shm_seqlock *lock = (shm_seqlock *)entry;
    if (shm_load_relaxed(&lock->count) & 1)
        return SHM_BOOK_BUSY;
    uint64_t odd = shm_seqlock_store_begin(lock);
    shm_words_in((unsigned char *)entry + sizeof(shm_seqlock), head, sizeof(*head));
    shm_seqlock_store_end(lock, odd);
    return SHM_BOOK_OK;
}

/* Rewrites the certificate, the counts, the bids from `bid_from` to before `bid_to` and the asks likewise; the trade totals
 * and the other levels stand, and whatever lies behind the counts means nothing. For the same writer, and with the same
 * refusal, as shm_book_store_head. */
static inline int shm_book_store_update(void *entry, uint32_t depth, const shm_book_head *head, const shm_level *bids,
                                        uint32_t bid_from, uint32_t bid_to, const shm_level *asks, uint32_t ask_from,
                                        uint32_t ask_to) {
    shm_seqlock *lock = (shm_seqlock *)entry;
    unsigned char *at = (unsigned char *)entry + sizeof(shm_seqlock);
    if ((shm_load_relaxed(&lock->count) & 1) || head->bid_count > depth || head->ask_count > depth || bid_to > depth ||
        ask_to > depth)
        return SHM_BOOK_BUSY;
    uint64_t odd = shm_seqlock_store_begin(lock);
    shm_words_in(at, &head->certificate, sizeof(head->certificate));
    shm_words_in(at + offsetof(shm_book_head, bid_count), &head->bid_count, sizeof(*head) - offsetof(shm_book_head, bid_count));
    at += sizeof(*head);
    if (bid_from < bid_to)
        shm_words_in(at + (size_t)bid_from * sizeof(shm_level), bids + bid_from,
                     (size_t)(bid_to - bid_from) * sizeof(shm_level));
    at += (size_t)depth * sizeof(shm_level);
    if (ask_from < ask_to)
        shm_words_in(at + (size_t)ask_from * sizeof(shm_level), asks + ask_from,
                     (size_t)(ask_to - ask_from) * sizeof(shm_level));
    shm_seqlock_store_end(lock, odd);
    return SHM_BOOK_OK;
}

/* Loads `bytes` words of the entry's value from its start: certificate alone or the whole head. */
static inline int shm_book_load_front(const void *entry, void *out, size_t bytes) {
    return shm_seqlock_load((const shm_seqlock *)entry, out, bytes);
}

/* Loads head and the levels it counts into arrays of `bid_limit` and `ask_limit` levels. The counts
 * of a torn head are clamped before they bound a copy; what was copied then is thrown away. */
static inline int shm_book_load(const void *entry, uint32_t depth, shm_book_head *head, shm_level *bids,
                                uint32_t bid_limit, shm_level *asks, uint32_t ask_limit) {
    const shm_seqlock *lock = (const shm_seqlock *)entry;
    const unsigned char *base = (const unsigned char *)entry + sizeof(shm_seqlock);
    if (bid_limit > depth)
        bid_limit = depth;
    if (ask_limit > depth)
        ask_limit = depth;
    int looks = SHM_SEQLOCK_LOOKS;
    for (int i = 0; i < SHM_SEQLOCK_RETRIES; i++) {
        uint64_t begin = shm_seqlock_load_open(lock, &looks);
        if (begin & 1)
            break;
        shm_words_out(head, base, sizeof(*head));
        if (head->bid_count > bid_limit)
            head->bid_count = bid_limit;
        if (head->ask_count > ask_limit)
            head->ask_count = ask_limit;
        const unsigned char *at = base + sizeof(*head);
        shm_words_out(bids, at, (size_t)head->bid_count * sizeof(shm_level));
        at += (size_t)depth * sizeof(shm_level);
        shm_words_out(asks, at, (size_t)head->ask_count * sizeof(shm_level));
        if (shm_seqlock_load_valid(lock, begin))
            return SHM_BOOK_OK;
    }
    return SHM_BOOK_BUSY;
}

static inline void shm_stream_touch(shm_stream *stream, int64_t now_ns) {
    shm_store_release(&stream->alive_ns, (uint64_t)now_ns);
    shm_add_single_writer(&stream->frames, 1);
}

static inline int64_t shm_stream_alive_ns(const shm_stream *stream) {
    return (int64_t)shm_load_acquire(&stream->alive_ns);
}

#endif
