/* Symbol text → instrument number: open addressing on zero-padded 32-byte keys. */
#ifndef RINGLANE_FEED_SYMBOLS_H
#define RINGLANE_FEED_SYMBOLS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "shm/native/shm_layout.h"

typedef struct feed_symbol_slot {
    uint64_t word[4];
    uint32_t value; /* number + 1, 0 = free */
    uint32_t reserved;
} feed_symbol_slot;

typedef struct feed_symbols {
    feed_symbol_slot *slot;
    uint32_t capacity; /* a power of two */
    uint32_t count;
} feed_symbols;

static inline uint64_t feed_symbol_hash(const uint64_t *w) {
    uint64_t h = w[0] * 0x9E3779B97F4A7C15ull ^ w[1] * 0xC2B2AE3D27D4EB4Full ^ w[2] * 0x165667B19E3779F9ull ^ w[3];
    return h ^ h >> 29;
}

/* `p` must be readable for 32 bytes whatever `bytes` is. */
static inline void feed_symbol_words(const char *p, uint32_t bytes, uint64_t *w) {
    memcpy(w, p, 32);
    for (uint32_t i = 0; i < 4; i++) {
        if (bytes >= 8 * i + 8) continue;
        w[i] = bytes <= 8 * i ? 0 : w[i] & ((1ull << (8 * (bytes - 8 * i))) - 1);
    }
}

/* Number of a symbol, or -1. */
static inline int64_t feed_symbols_find(const feed_symbols *t, const char *p, uint32_t bytes) {
    uint64_t w[4];
    if (bytes == 0 || bytes > 31 || t->capacity == 0) return -1;
    feed_symbol_words(p, bytes, w);
    for (uint64_t i = feed_symbol_hash(w);; i++) {
        const feed_symbol_slot *slot = &t->slot[i & (t->capacity - 1)];
        if (slot->value == 0) return -1;
        if (slot->word[0] == w[0] && slot->word[1] == w[1] && slot->word[2] == w[2] && slot->word[3] == w[3])
            return (int64_t)slot->value - 1;
    }
}

static inline void feed_symbols_put(feed_symbols *t, const uint64_t *w, uint32_t value) {
    uint64_t i = feed_symbol_hash(w);
    while (t->slot[i & (t->capacity - 1)].value) i++;
    memcpy(t->slot[i & (t->capacity - 1)].word, w, 32);
    t->slot[i & (t->capacity - 1)].value = value;
}

/* Adds a symbol that is not there yet; `text` readable for 32 bytes. 0 when memory is out. */
static inline int feed_symbols_add(feed_symbols *t, const char *text, uint32_t bytes, uint32_t number) {
    uint64_t w[4];
    if (2 * (t->count + 1) > t->capacity) {
        feed_symbols larger = {NULL, t->capacity ? 2 * t->capacity : 64, t->count};
        larger.slot = (feed_symbol_slot *)calloc(larger.capacity, sizeof(feed_symbol_slot));
        if (!larger.slot) return 0;
        for (uint32_t i = 0; i < t->capacity; i++)
            if (t->slot[i].value) feed_symbols_put(&larger, t->slot[i].word, t->slot[i].value);
        free(t->slot);
        *t = larger;
    }
    feed_symbol_words(text, bytes, w);
    feed_symbols_put(t, w, number + 1);
    t->count++;
    return 1;
}

/* Gives a symbol that may be there another number; otherwise as feed_symbols_add. */
static inline int feed_symbols_set(feed_symbols *t, const char *text, uint32_t bytes, uint32_t number) {
    uint64_t w[4];
    if (feed_symbols_find(t, text, bytes) < 0) return feed_symbols_add(t, text, bytes, number);
    feed_symbol_words(text, bytes, w);
    for (uint64_t i = feed_symbol_hash(w);; i++) {
        feed_symbol_slot *slot = &t->slot[i & (t->capacity - 1)];
        if (memcmp(slot->word, w, sizeof w) != 0) continue;
        slot->value = number + 1;
        return 1;
    }
}

#endif
