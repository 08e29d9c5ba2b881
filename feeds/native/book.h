/* The private full book of one instrument: exact, whatever prices a venue sends.
 *
 * Each side is a dense window of price steps around the best price (quantities in an array, a bitmap
 * of the occupied steps) plus a sorted overflow map for every price the window does not cover: far
 * away, off the tick grid, or with a quantity beyond 32 bits. Both are merged when levels are read, so no price is ever rounded,
 * dropped or found in two places; where a level stands is a matter of speed only.
 *
 * Both sides run the same code on keys: the price of an ask, minus the price of a bid. The best
 * level has the smallest key, so bit order is book order.
 */
#ifndef RINGLANE_FEED_BOOK_H
#define RINGLANE_FEED_BOOK_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "feeds/native/overflow.h"
#include "feeds/native/rows.h"
#include "feeds/native/scan.h"
#include "shm/native/shm_layout.h"

#define FEED_BOOK_WINDOW 16384
#define FEED_BOOK_WORDS (FEED_BOOK_WINDOW / 64)
/* The best price is put at one quarter of the window: levels stand behind it, and it may improve. */
#define FEED_BOOK_HOME (FEED_BOOK_WINDOW / 4)
#define FEED_BOOK_LOW (FEED_BOOK_WINDOW / 32)
#define FEED_BOOK_HIGH (FEED_BOOK_WINDOW * 3 / 4)

#define FEED_TOUCHED_MAX 8u

/* The keys that a message set; more than FEED_TOUCHED_MAX are counted but not kept. */
typedef struct feed_touched {
    int64_t key[FEED_TOUCHED_MAX * 2];
    uint32_t count;
} feed_touched;

typedef struct feed_side {
    int64_t base;       /* key of window index 0, a multiple of the tick */
    uint32_t *quantity; /* [FEED_BOOK_WINDOW]; a larger quantity stands in the overflow */
    int32_t best;       /* lowest occupied index, FEED_BOOK_WINDOW = none */
    uint32_t changed;   /* a level that shows in the top has changed */
    int64_t threshold;  /* a change at this key or below shows in the top */
    int64_t lowest;     /* no level below this key has changed since the top was read */
    shm_level *top;     /* [depth + FEED_ROWS_SLACK], best first */
    uint32_t top_count;
    uint32_t kept;      /* how many of its first levels the last refresh left as they were */
    uint32_t until;     /* and from which on it left them again: those between may have changed */
    feed_touched touched; /* since the top was read: keys that show in it */
    uint32_t wide;      /* the overflow may hold prices the window covers */
    feed_over over;
    uint64_t bits[FEED_BOOK_WORDS];
} feed_side;

typedef struct feed_book {
    int64_t tick;
    uint64_t magic; /* 2^64 / tick rounded up: exact quotients for 32-bit offsets */
    uint64_t span;  /* keys covered by a window */
    uint32_t depth;
    uint32_t recenters;
    feed_side side[2];
} feed_book;

static inline void feed_touch(feed_touched *t, int64_t key, int counts) {
    t->key[t->count & (FEED_TOUCHED_MAX * 2 - 1)] = key; /* no branch: which levels count can not be predicted */
    t->count += counts != 0;
}

static inline void feed_touch_all(feed_touched *t) { t->count = FEED_TOUCHED_MAX + 1; }

static inline int64_t feed_key(int side, int64_t price) { return side ? price : -price; }

/* The next key; the greatest is its own. */
static inline int64_t feed_behind(int64_t key) { return key + (key < INT64_MAX); }

static inline void feed_book_free(feed_book *b) {
    if (!b) return;
    for (int s = 0; s < 2; s++) {
        free(b->side[s].quantity);
        feed_over_free(&b->side[s].over);
        free(b->side[s].top);
    }
    free(b);
}

static inline feed_book *feed_book_create(int64_t tick, uint32_t depth) {
    feed_book *b = (feed_book *)calloc(1, sizeof *b);
    if (!b) return NULL;
    /* A tick so coarse that the window would leave the number range is no grid: every level overflows or not, exactly. */
    if (tick < 1 || tick > (INT64_C(1) << 44)) tick = 1;
    b->tick = tick;
    b->span = (uint64_t)tick * FEED_BOOK_WINDOW;
    b->magic = tick == 1 ? 0 : UINT64_MAX / (uint64_t)tick + 1;
    b->depth = depth;
    for (int s = 0; s < 2; s++) {
        feed_side *d = &b->side[s];
        d->quantity = (uint32_t *)calloc(FEED_BOOK_WINDOW, sizeof(uint32_t));
        d->top = (shm_level *)calloc(depth + FEED_ROWS_SLACK, sizeof(shm_level));
        d->best = FEED_BOOK_WINDOW;
        d->threshold = d->lowest = INT64_MAX;
        if (!d->quantity || !d->top) {
            feed_book_free(b);
            return NULL;
        }
    }
    return b;
}

/* Window index of `offset` < span, or -1 off the grid. */
static inline int32_t feed_book_index(const feed_book *b, uint64_t offset) {
    uint64_t index;
    if (b->tick == 1) return (int32_t)offset;
    if (FEED_LIKELY(b->span <= UINT32_MAX)) index = (uint64_t)(((unsigned __int128)b->magic * offset) >> 64);
    else index = offset / (uint64_t)b->tick;
    return index * (uint64_t)b->tick == offset ? (int32_t)index : -1;
}

/* Window index of the first step at or behind `offset` < span; FEED_BOOK_WINDOW when that is behind the window. */
static inline int32_t feed_book_ceiling(const feed_book *b, uint64_t offset) {
    uint64_t index;
    if (b->tick == 1) return (int32_t)offset;
    if (FEED_LIKELY(b->span <= UINT32_MAX)) index = (uint64_t)(((unsigned __int128)b->magic * offset) >> 64);
    else index = offset / (uint64_t)b->tick;
    return (int32_t)(index + (index * (uint64_t)b->tick != offset));
}

static FEED_COLD int32_t feed_side_next(const feed_side *d, int32_t from) {
    for (int32_t w = from >> 6; w < FEED_BOOK_WORDS; w++)
        if (d->bits[w]) return w * 64 + __builtin_ctzll(d->bits[w]);
    return FEED_BOOK_WINDOW;
}

/* Sets one level (0 removes). Room in the overflow must have been reserved. */
static inline void feed_book_set(feed_book *b, feed_side *d, int64_t key, int64_t quantity) {
    uint64_t offset = (uint64_t)key - (uint64_t)d->base;
    int32_t i = -1;
    if (FEED_LIKELY(offset < b->span)) i = feed_book_index(b, offset);
    if (!FEED_LIKELY(i >= 0)) {
        feed_over_set(&d->over, key, quantity);
        return;
    }
    if (!FEED_LIKELY((uint64_t)quantity <= UINT32_MAX && !d->wide)) {
        int wide = quantity > (int64_t)UINT32_MAX;
        feed_over_set(&d->over, key, wide ? quantity : 0);
        if (wide) {
            d->wide = 1;
            quantity = 0;
        }
    }
    /* No branch on the quantity: whether a level is set or removed can not be predicted. */
    uint64_t occupied = quantity != 0;
    uint64_t *word = &d->bits[i >> 6];
    d->quantity[i] = (uint32_t)quantity;
    *word = (*word & ~(1ull << (i & 63))) | occupied << (i & 63);
    if (!FEED_LIKELY(i > d->best)) d->best = occupied ? i : i == d->best ? feed_side_next(d, i) : d->best;
}

/* Key of the best level; 0 when the side is empty (then *key is untouched). */
static inline int feed_side_best(const feed_book *b, const feed_side *d, int64_t *key) {
    int found = 0;
    if (FEED_LIKELY(d->best < FEED_BOOK_WINDOW)) {
        *key = d->base + (int64_t)d->best * b->tick;
        found = 1;
    }
    if (d->over.used && (!found || d->over.low[0] < *key)) {
        *key = d->over.low[0];
        found = 1;
    }
    return found;
}

/* Up to `limit` levels whose keys are not below `from` into out, best first; returns how many. */
static inline uint32_t feed_side_read_from(const feed_book *b, const feed_side *d, int s, int64_t from, shm_level *out,
                                           uint32_t limit) {
    const int64_t sign = s ? 1 : -1;
    const feed_over *o = &d->over;
    uint32_t n = 0, at = 0, within = 0;
    int32_t first = d->best;
    if (first < FEED_BOOK_WINDOW && from > d->base + (int64_t)first * b->tick) {
        /* The first step of the window that is not below `from`. */
        uint64_t offset = (uint64_t)from - (uint64_t)d->base;
        first = offset < b->span ? feed_book_ceiling(b, offset) : FEED_BOOK_WINDOW;
    }
    int32_t w = first >> 6;
    uint64_t bits = w < FEED_BOOK_WORDS ? d->bits[w] & ~UINT64_C(0) << (first & 63) : 0;
    if (o->used && o->low[0] < from) {
        at = feed_over_position(o, from);
        within = feed_over_within(feed_over_entries(o, at), o->count[at], from);
        if (within == o->count[at]) {
            at++;
            within = 0;
        }
    }
    int64_t over = at < o->used ? feed_over_entries(o, at)[within].key : INT64_MAX;
    while (n < limit) {
        while (bits == 0 && w < FEED_BOOK_WORDS - 1) bits = d->bits[++w];
        if (FEED_LIKELY(bits != 0)) {
            int32_t i = w * 64 + __builtin_ctzll(bits);
            int64_t key = d->base + (int64_t)i * b->tick;
            if (FEED_LIKELY(key < over)) {
                out[n].price_units = sign * key;
                out[n++].quantity_units = d->quantity[i];
                bits &= bits - 1;
                continue;
            }
        } else if (at == o->used) {
            break;
        }
        out[n].price_units = sign * over;
        out[n++].quantity_units = feed_over_entries(o, at)[within].quantity;
        if (++within == o->count[at]) {
            at++;
            within = 0;
        }
        over = at < o->used ? feed_over_entries(o, at)[within].key : INT64_MAX;
    }
    return n;
}

/* Up to `limit` best levels into out, best first; returns how many. */
static inline uint32_t feed_side_read(const feed_book *b, const feed_side *d, int s, shm_level *out, uint32_t limit) {
    return feed_side_read_from(b, d, s, INT64_MIN, out, limit);
}

/* Quantity of a level; 0 = there is none. */
static inline int64_t feed_side_quantity(const feed_book *b, const feed_side *d, int64_t key) {
    uint64_t offset = (uint64_t)key - (uint64_t)d->base;
    int32_t i = offset < b->span ? feed_book_index(b, offset) : -1;
    if (i >= 0 && d->bits[i >> 6] >> (i & 63) & 1) return d->quantity[i];
    return i < 0 || d->wide ? feed_over_get(&d->over, key) : 0;
}

/* How many of the first levels of a top stand below `key`. */
static inline uint32_t feed_levels_below(const shm_level *top, uint32_t count, int s, int64_t key) {
    if (s) return feed_rows_before(&top->price_units, count, key, 0);
    return key == INT64_MIN ? 0 : feed_rows_before(&top->price_units, count, -key, 1);
}

static inline uint32_t feed_side_count(const feed_side *d) {
    uint32_t count = d->over.total;
    for (int w = 0; w < FEED_BOOK_WORDS; w++) count += (uint32_t)__builtin_popcountll(d->bits[w]);
    return count;
}

static inline void feed_side_clear(feed_side *d) {
    memset(d->bits, 0, sizeof d->bits); /* a quantity without its bit is never read */
    d->wide = 0;
    d->best = FEED_BOOK_WINDOW;
    feed_over_clear(&d->over);
    d->threshold = INT64_MAX;
    d->lowest = INT64_MIN;
    feed_touch_all(&d->touched);
    d->changed = 1;
}

static inline void feed_side_place(const feed_book *b, feed_side *d, int64_t key) {
    int64_t floor = key / b->tick * b->tick;
    if (floor > key) floor -= b->tick;
    /* Unsigned arithmetic: a price near the end of the number range must not overflow. */
    d->base = (int64_t)((uint64_t)floor - (uint64_t)b->tick * FEED_BOOK_HOME);
}

/* Puts the window around `best`; 0 when memory is out, and nothing has moved then. */
static FEED_COLD int feed_side_recenter(feed_book *b, int s, int64_t best) {
    feed_side *d = &b->side[s];
    uint32_t total = feed_side_count(d);
    shm_level *all = (shm_level *)malloc((total ? total : 1) * sizeof(shm_level));
    feed_over over;
    memset(&over, 0, sizeof over);
    /* Loaded in order, chunks are three quarters full: this is room for all of them in the worst case. */
    if (!all || !feed_over_reserve(&over, total)) {
        free(all);
        feed_over_free(&over);
        return 0;
    }
    feed_side_read(b, d, s, all, total);
    int64_t threshold = d->threshold;
    int64_t lowest = d->lowest;
    const feed_touched touched = d->touched;
    uint32_t changed = d->changed;
    feed_side_clear(d);
    d->touched = touched;
    d->threshold = threshold;
    d->lowest = lowest;
    d->changed = changed;
    feed_over_free(&d->over);
    d->over = over;
    feed_side_place(b, d, best);
    for (uint32_t i = 0; i < total; i++) feed_book_set(b, d, feed_key(s, all[i].price_units), all[i].quantity_units);
    free(all);
    feed_over_shrink(&d->over);
    b->recenters++;
    return 1;
}

/* Moves a window whose best level has left its middle part. Failing to move is harmless. */
static inline void feed_book_settle(feed_book *b) {
    for (int s = 0; s < 2; s++) {
        feed_side *d = &b->side[s];
        int64_t key;
        if (!feed_side_best(b, d, &key)) continue;
        uint64_t offset = (uint64_t)key - (uint64_t)d->base;
        if (FEED_LIKELY(offset >= (uint64_t)b->tick * FEED_BOOK_LOW && offset < (uint64_t)b->tick * FEED_BOOK_HIGH)) continue;
        feed_side_recenter(b, s, key);
    }
}

/* Puts the few levels that were touched into the top as they stand in the book now. All levels up to the threshold are
 * in the top, so that only what moves up from behind it must be looked for. */
static inline void feed_top_mend(const feed_book *b, feed_side *d, int s) {
    shm_level *top = d->top;
    uint32_t count = d->top_count, kept = count, until = 0;
    int more = d->threshold != INT64_MAX; /* levels may stand behind the last */
    for (uint32_t i = 0; i < d->touched.count; i++) {
        const int64_t key = d->touched.key[i], quantity = feed_side_quantity(b, d, key);
        const uint32_t at = feed_levels_below(top, count, s, key);
        const int there = at < count && feed_key(s, top[at].price_units) == key;
        if (!there && !quantity) continue;
        if (at < kept) kept = at;
        if (there && quantity) {
            top[at].quantity_units = quantity;
            if (at >= until) until = at + 1;
            continue;
        }
        until = b->depth; /* what stands behind moves */
        if (quantity) {
            if (count == b->depth) more = 1;
            if (at == count && more) continue; /* better ones may have been pushed out: found below, if there is room */
            if (count < b->depth) count++;
            feed_rows_open(top, at, count - 1);
            top[at].price_units = s ? key : -key;
            top[at].quantity_units = quantity;
        } else {
            feed_rows_close(top, at, --count);
        }
    }
    if (more && count < b->depth) {
        if (count < kept) kept = count;
        const int64_t from = count ? feed_behind(feed_key(s, top[count - 1].price_units)) : INT64_MIN;
        count += feed_side_read_from(b, d, s, from, top + count, b->depth - count);
    }
    d->top_count = count;
    d->kept = kept;
    d->until = until < count ? until : count;
}

/* Refreshes the top levels where a change shows; returns 1 if any side changed. */
static inline int feed_book_refresh(feed_book *b) {
    int any = 0;
    for (int s = 0; s < 2; s++) {
        feed_side *d = &b->side[s];
        d->kept = d->until = d->top_count;
        if (d->changed) {
            if (FEED_LIKELY(d->touched.count <= FEED_TOUCHED_MAX)) {
                feed_top_mend(b, d, s);
            } else {
                d->kept = feed_levels_below(d->top, d->top_count, s, d->lowest);
                d->top_count = d->kept + feed_side_read_from(b, d, s, d->lowest, d->top + d->kept, b->depth - d->kept);
                d->until = d->top_count;
            }
            d->threshold = d->top_count == b->depth && b->depth ? feed_key(s, d->top[b->depth - 1].price_units) : INT64_MAX;
            d->lowest = INT64_MAX;
            d->changed = 0;
            any = 1;
        }
        d->touched.count = 0;
    }
    return any;
}

static inline int feed_book_crossed(const feed_book *b) {
    int64_t bid, ask;
    return feed_side_best(b, &b->side[0], &bid) && feed_side_best(b, &b->side[1], &ask) && -bid >= ask;
}

/* ---- applying a message ---------------------------------------------------------------------- */

/* Turns mantissas into units; 0 with the message's error set when one does not fit. */
static inline int feed_levels_scale(feed_message *m, uint32_t price_exponent, uint32_t quantity_exponent) {
    for (int s = 0; s < 2; s++) {
        feed_level *level = m->levels[s];
        for (uint32_t i = 0, n = m->level_count[s]; i < n; i++) {
            /* No branch on the decimals: how many zeros a venue leaves out can not be predicted. */
            const uint32_t up = price_exponent - level[i].price_decimals, more = quantity_exponent - level[i].quantity_decimals;
            if (FEED_LIKELY(up <= 18 && more <= 18)) {
                int64_t price, quantity;
                if (FEED_LIKELY(!__builtin_mul_overflow(level[i].price, feed_pow10[up], &price) &
                                !__builtin_mul_overflow(level[i].quantity, feed_pow10[more], &quantity))) {
                    level[i].price = price;
                    level[i].quantity = quantity;
                    continue;
                }
            }
            if (feed_scale(&level[i].price, level[i].price_decimals, price_exponent) &&
                feed_scale(&level[i].quantity, level[i].quantity_decimals, quantity_exponent))
                continue;
            m->error.code = FEED_E_FIT;
            m->error.index = (int32_t)i;
            m->error.offset = level[i].offset;
            m->error.field = m->level_field[s];
            return 0;
        }
    }
    return 1;
}

static inline int feed_book_reserve(feed_book *b, feed_message *m) {
    for (int s = 0; s < 2; s++)
        if (!feed_over_reserve(&b->side[s].over, m->level_count[s])) {
            m->error.code = FEED_E_LEVELS;
            m->error.index = -1;
            m->error.offset = 0;
            m->error.field = m->level_field[s];
            return 0;
        }
    return 1;
}

/* Applies scaled, reserved levels. Can not fail. */
static inline void feed_book_apply(feed_book *b, const feed_message *m) {
    for (int s = 0; s < 2; s++) {
        feed_side *d = &b->side[s];
        const feed_level *level = m->levels[s];
        int64_t lowest = INT64_MAX;
        uint32_t n = m->level_count[s];
        for (uint32_t i = 0; i < n; i++) {
            int64_t key = feed_key(s, level[i].price);
            if (key < lowest) lowest = key;
            feed_touch(&d->touched, key, key <= d->threshold);
            feed_book_set(b, d, key, level[i].quantity);
        }
        d->changed |= (uint32_t)(n != 0) & (uint32_t)(lowest <= d->threshold);
        if (lowest < d->lowest) d->lowest = lowest;
    }
    feed_book_settle(b);
}

/* Replaces the whole book by scaled, reserved levels. */
static inline void feed_book_replace(feed_book *b, const feed_message *m) {
    for (int s = 0; s < 2; s++) {
        feed_side *d = &b->side[s];
        int64_t best = INT64_MAX;
        feed_side_clear(d);
        for (uint32_t i = 0; i < m->level_count[s]; i++) {
            int64_t key = feed_key(s, m->levels[s][i].price);
            if (m->levels[s][i].quantity && key < best) best = key;
        }
        if (best != INT64_MAX) feed_side_place(b, d, best);
        for (uint32_t i = 0; i < m->level_count[s]; i++)
            feed_book_set(b, d, feed_key(s, m->levels[s][i].price), m->levels[s][i].quantity);
        feed_over_shrink(&d->over);
    }
    feed_book_settle(b);
}

static inline int feed_message_crossed(const feed_message *m) {
    int64_t bid = INT64_MIN, ask = INT64_MAX;
    for (uint32_t i = 0; i < m->level_count[0]; i++)
        if (m->levels[0][i].quantity && m->levels[0][i].price > bid) bid = m->levels[0][i].price;
    for (uint32_t i = 0; i < m->level_count[1]; i++)
        if (m->levels[1][i].quantity && m->levels[1][i].price < ask) ask = m->levels[1][i].price;
    return bid >= ask;
}

/* ---- trades ---------------------------------------------------------------------------------- */

/* side: 1 buy, 2 sell. Sums wrap; a reader takes differences, which stay exact. */
static inline void feed_totals_add(shm_trade_totals *t, uint32_t side, int64_t price, int64_t quantity, int64_t trade_id) {
    uint32_t i = side == 2;
    unsigned __int128 notional = (unsigned __int128)(uint64_t)t->notional_high[i] << 64 | t->notional_low[i];
    notional += (unsigned __int128)((__int128)price * quantity);
    t->notional_high[i] = (int64_t)(uint64_t)(notional >> 64);
    t->notional_low[i] = (uint64_t)notional;
    t->count[i]++;
    t->quantity_units[i] = (int64_t)((uint64_t)t->quantity_units[i] + (uint64_t)quantity);
    t->last_trade_id = trade_id;
    t->last_price_units = price;
}

/* Bytes held by the book, for statistics. */
static inline uint64_t feed_book_bytes(const feed_book *b) {
    uint64_t bytes = sizeof *b;
    for (int s = 0; s < 2; s++)
        bytes += FEED_BOOK_WINDOW * sizeof(uint32_t) + b->side[s].over.capacity * (FEED_CHUNK * sizeof(feed_entry) + 16) + (b->depth + FEED_ROWS_SLACK) * sizeof(shm_level);
    return bytes;
}

#endif
