/* Sorted map of key → quantity for the levels a book's window does not cover.
 *
 * Chunks of up to 64 entries in key order, found by binary search over their first keys and then
 * within: an insert moves at most one kilobyte, however many levels there are (a plain sorted array
 * spent 0.3 µs a frame in memmove on real BTC frames; far orders come and go all the time). Room is
 * reserved before a message is applied, so that applying can not fail halfway.
 */
#ifndef RINGLANE_FEED_OVERFLOW_H
#define RINGLANE_FEED_OVERFLOW_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FEED_CHUNK 64u
#define FEED_CHUNKS_MAX 4096u

typedef struct feed_entry {
    int64_t key;
    int64_t quantity;
} feed_entry;

typedef struct feed_over {
    feed_entry *pool;  /* [capacity * FEED_CHUNK] */
    int64_t *low;      /* first key of the chunk at each position, ascending */
    uint32_t *chunk;   /* which chunk of the pool stands at each position; behind `used`: the free ones */
    uint32_t *count;   /* its entries */
    uint32_t used;
    uint32_t capacity; /* chunks */
    uint32_t full;     /* chunks that must split before they take another entry */
    uint32_t total;    /* entries */
} feed_over;

static inline void feed_over_free(feed_over *o) {
    free(o->pool);
    free(o->low);
    free(o->chunk);
    free(o->count);
    memset(o, 0, sizeof *o);
}

static inline void feed_over_clear(feed_over *o) {
    for (uint32_t i = 0; i < o->capacity; i++) o->chunk[i] = i;
    o->used = o->full = o->total = 0;
}

static __attribute__((noinline, cold)) int feed_over_resize(feed_over *o, uint32_t capacity) {
    void *p;
    if (capacity > FEED_CHUNKS_MAX) return 0;
    if (!(p = realloc(o->pool, (size_t)capacity * FEED_CHUNK * sizeof(feed_entry)))) return 0;
    o->pool = (feed_entry *)p;
    if (!(p = realloc(o->low, capacity * sizeof(int64_t)))) return 0;
    o->low = (int64_t *)p;
    if (!(p = realloc(o->chunk, capacity * sizeof(uint32_t)))) return 0;
    o->chunk = (uint32_t *)p;
    if (!(p = realloc(o->count, capacity * sizeof(uint32_t)))) return 0;
    o->count = (uint32_t *)p;
    for (uint32_t i = o->capacity; i < capacity; i++) o->chunk[i] = i;
    o->capacity = capacity;
    return 1;
}

/* Gives back what the worst case asked for, after loading into a cleared map. Failing is harmless. */
static inline void feed_over_shrink(feed_over *o) {
    uint32_t highest = 0;
    for (uint32_t i = 0; i < o->used; i++)
        if (o->chunk[i] >= highest) highest = o->chunk[i] + 1;
    if (highest == o->used && o->capacity > o->used + 16) feed_over_resize(o, o->used + 16);
}

/* Makes room for `more` new entries wherever they fall; 0 when there would be too many or memory is out.
 * Each full chunk may have to split once, and 32 further inserts are needed to fill a half again. */
static inline int feed_over_reserve(feed_over *o, uint32_t more) {
    uint32_t needed = (more < o->full ? more : o->full) + more / (FEED_CHUNK / 4) + 2;
    if (o->capacity - o->used >= needed) return 1;
    return feed_over_resize(o, o->used + needed + 8);
}

/* Last position whose first key is <= key, 0 when there is none. */
static inline uint32_t feed_over_position(const feed_over *o, int64_t key) {
    const int64_t *at = o->low;
    uint32_t n = o->used;
    while (n > 1) {
        uint32_t half = n / 2;
        at += half & -(uint32_t)(at[half] <= key); /* no branch: it could not be predicted */
        n -= half;
    }
    return (uint32_t)(at - o->low);
}

/* First entry of a chunk whose key is >= key. */
static inline uint32_t feed_over_within(const feed_entry *entry, uint32_t count, int64_t key) {
    const feed_entry *at = entry;
    uint32_t n = count;
    while (n > 1) {
        uint32_t half = n / 2;
        at += half & -(uint32_t)(at[half - 1].key < key);
        n -= half;
    }
    return (uint32_t)(at - entry) + (uint32_t)(n == 1 && at->key < key);
}

static inline feed_entry *feed_over_entries(const feed_over *o, uint32_t position) {
    return &o->pool[(size_t)o->chunk[position] * FEED_CHUNK];
}

/* Opens position `at` with a free chunk. */
static inline void feed_over_open(feed_over *o, uint32_t at) {
    uint32_t chunk = o->chunk[o->used], behind = o->used - at;
    memmove(&o->low[at + 1], &o->low[at], behind * sizeof *o->low);
    memmove(&o->chunk[at + 1], &o->chunk[at], behind * sizeof *o->chunk);
    memmove(&o->count[at + 1], &o->count[at], behind * sizeof *o->count);
    o->chunk[at] = chunk;
    o->count[at] = 0;
    o->used++;
}

static inline void feed_over_close(feed_over *o, uint32_t at) {
    uint32_t chunk = o->chunk[at], behind = o->used - at - 1;
    memmove(&o->low[at], &o->low[at + 1], behind * sizeof *o->low);
    memmove(&o->chunk[at], &o->chunk[at + 1], behind * sizeof *o->chunk);
    memmove(&o->count[at], &o->count[at + 1], behind * sizeof *o->count);
    o->used--;
    o->chunk[o->used] = chunk;
}

static void feed_over_insert(feed_over *o, uint32_t at, uint32_t i, int64_t key, int64_t quantity) {
    feed_entry *entry = feed_over_entries(o, at);
    if (o->count[at] == FEED_CHUNK) {
        /* Entries that arrive in order leave well-filled chunks behind. */
        uint32_t kept = i == FEED_CHUNK && at + 1 == o->used ? FEED_CHUNK * 3 / 4 : FEED_CHUNK / 2;
        feed_over_open(o, at + 1);
        memcpy(feed_over_entries(o, at + 1), entry + kept, (FEED_CHUNK - kept) * sizeof *entry);
        o->count[at] = kept;
        o->count[at + 1] = FEED_CHUNK - kept;
        o->low[at + 1] = entry[kept].key;
        o->full--;
        if (i > kept) {
            at++;
            i -= kept;
            entry = feed_over_entries(o, at);
        }
    }
    memmove(entry + i + 1, entry + i, (o->count[at] - i) * sizeof *entry);
    entry[i].key = key;
    entry[i].quantity = quantity;
    if (i == 0) o->low[at] = key;
    o->full += ++o->count[at] == FEED_CHUNK;
    o->total++;
}

static void feed_over_remove(feed_over *o, uint32_t at, uint32_t i) {
    feed_entry *entry = feed_over_entries(o, at);
    o->full -= o->count[at] == FEED_CHUNK;
    o->total--;
    uint32_t count = --o->count[at];
    memmove(entry + i, entry + i + 1, (count - i) * sizeof *entry);
    if (count == 0) {
        feed_over_close(o, at);
        return;
    }
    if (i == 0) o->low[at] = entry[0].key;
    if (count >= FEED_CHUNK / 4) return;
    /* A thin chunk joins a neighbor that has room, so memory follows the number of levels. */
    uint32_t left = at > 0 && o->count[at - 1] + count <= FEED_CHUNK / 2 ? at - 1
                    : at + 1 < o->used && o->count[at + 1] + count <= FEED_CHUNK / 2 ? at : UINT32_MAX;
    if (left == UINT32_MAX) return;
    memcpy(feed_over_entries(o, left) + o->count[left], feed_over_entries(o, left + 1),
           o->count[left + 1] * sizeof *entry);
    o->count[left] += o->count[left + 1];
    feed_over_close(o, left + 1);
}

/* Quantity of a key, 0 = none. */
static inline int64_t feed_over_get(const feed_over *o, int64_t key) {
    if (o->used == 0) return 0;
    uint32_t at = feed_over_position(o, key);
    const feed_entry *entry = feed_over_entries(o, at);
    uint32_t i = feed_over_within(entry, o->count[at], key);
    return i < o->count[at] && entry[i].key == key ? entry[i].quantity : 0;
}

/* Sets the quantity of a key, 0 removes. Room must have been reserved. */
static void feed_over_set(feed_over *o, int64_t key, int64_t quantity) {
    if (o->used == 0) {
        if (quantity == 0) return;
        feed_over_open(o, 0);
        feed_over_insert(o, 0, 0, key, quantity);
        return;
    }
    uint32_t at = feed_over_position(o, key);
    feed_entry *entry = feed_over_entries(o, at);
    uint32_t i = feed_over_within(entry, o->count[at], key);
    if (i < o->count[at] && entry[i].key == key) {
        if (quantity) entry[i].quantity = quantity;
        else feed_over_remove(o, at, i);
    } else if (quantity) {
        feed_over_insert(o, at, i, key, quantity);
    }
}

#endif
