/* The same streams over several connections ("lines"): what of a message is new, and what another line brought first.
 *
 * Depth is ordered by the venue's sequence; trades and liquidations are known by their identity, best bid and offer by
 * sequence and time, tickers by the time of each place. No I/O, no allocation.
 */
#ifndef RINGLANE_FEED_MERGE_H
#define RINGLANE_FEED_MERGE_H

#include <stdint.h>
#include <string.h>

#include "feeds/native/message.h"

#define FEED_LINES_MAX 8u
#define FEED_RECENT_MAX 2048u
#define FEED_RECENT_SLOTS 4096u
/* Numbers that are lower but come so much later are of a venue that restarted, not of a line that lags. */
#define FEED_LAG_MAX_NS 1000000000ll

/* The newest identities, the oldest forgotten first: a hash table over a circle of them. */
typedef struct feed_recent {
    uint64_t id[FEED_RECENT_MAX];
    uint16_t slot[FEED_RECENT_SLOTS]; /* position in id plus 1; 0 = free */
    uint32_t next;
    uint32_t count;
} feed_recent;

typedef struct feed_merge {
    int64_t seen[FEED_LINES_MAX]; /* newest depth sequence each line brought since it stands; 0 = none */
    int64_t base[FEED_LINES_MAX]; /* what was proven when it came up: from there on it carries the book */
    int64_t reset_utc_ns;         /* venue time of the last update whose number fell; 0 = none */
    int64_t bbo_sequence;
    int64_t bbo_utc_ns;
    int64_t mark_utc_ns;
    int64_t tick_utc_ns[FEED_TICK_COUNT];
    uint32_t rewound; /* bit per line: its numbers began anew while others went on */
    uint32_t parked;  /* updates held back by the session until the hole before them is filled */
    feed_recent recent;
} feed_merge;

static inline uint64_t feed_mix(uint64_t x) { /* finalizer of splitmix64 */
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static inline uint32_t feed_recent_home(uint64_t id) { return (uint32_t)feed_mix(id) & (FEED_RECENT_SLOTS - 1); }

static inline void feed_recent_drop(feed_recent *r, uint64_t id) {
    uint32_t mask = FEED_RECENT_SLOTS - 1, hole = feed_recent_home(id);
    while (r->slot[hole] && r->id[r->slot[hole] - 1] != id) hole = (hole + 1) & mask;
    if (!r->slot[hole]) return;
    /* Linear probing: whoever stands behind the hole and would have liked it moves up. */
    for (uint32_t i = (hole + 1) & mask; r->slot[i]; i = (i + 1) & mask) {
        uint32_t home = feed_recent_home(r->id[r->slot[i] - 1]);
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            r->slot[hole] = r->slot[i];
            hole = i;
        }
    }
    r->slot[hole] = 0;
}

/* Notes an identity; 1 = new, 0 = it was here. */
static inline int feed_recent_add(feed_recent *r, uint64_t id) {
    uint32_t mask = FEED_RECENT_SLOTS - 1, i = feed_recent_home(id);
    for (; r->slot[i]; i = (i + 1) & mask)
        if (r->id[r->slot[i] - 1] == id) return 0;
    if (r->count == FEED_RECENT_MAX) {
        feed_recent_drop(r, r->id[r->next]);
        for (i = feed_recent_home(id); r->slot[i];) i = (i + 1) & mask;
    } else {
        r->count++;
    }
    r->id[r->next] = id;
    r->slot[i] = (uint16_t)(r->next + 1);
    r->next = (r->next + 1) & (FEED_RECENT_MAX - 1);
    return 1;
}

/* Identity of a trade or liquidation: its id, or all it says where it has none. */
static inline uint64_t feed_item_identity(const feed_item *item) {
    if (item->trade_id) return (uint64_t)item->trade_id;
    uint64_t x = feed_mix((uint64_t)item->venue_utc_ns);
    x = feed_mix(x ^ (uint64_t)item->price.mantissa);
    x = feed_mix(x ^ (uint64_t)item->quantity.mantissa);
    return x ^ item->side;
}

/* Notes a depth message of a line; 1 = the line went on, 0 = it repeats what it brought before. */
static inline int feed_merge_note(feed_merge *g, uint32_t line, const feed_message *m) {
    int64_t before = g->seen[line];
    int whole = (m->traits & FEED_TRAIT_SNAPSHOT) != 0;
    if (whole || (m->previous_sequence > m->last_sequence && m->last_sequence < before)) {
        if (whole && !(m->traits & FEED_TRAIT_UNNUMBERED) && (m->last_sequence < before || m->last_sequence == 1))
            g->rewound |= 1u << line;
        g->seen[line] = m->last_sequence;
        return 1;
    }
    if (m->traits & FEED_TRAIT_UNNUMBERED ? m->last_sequence >= before : m->last_sequence > before) {
        g->seen[line] = m->last_sequence;
        return 1;
    }
    return 0;
}

/* Whether a line has shown that it brings this book's updates, in the numbers of the book. */
static inline int feed_merge_carries(const feed_merge *g, uint32_t line) {
    return g->seen[line] > 0 && g->seen[line] >= g->base[line] && !(g->rewound >> line & 1);
}

static inline int feed_merge_others(const feed_merge *g, uint32_t line) {
    for (uint32_t i = 0; i < FEED_LINES_MAX; i++)
        if (i != line && feed_merge_carries(g, i)) return 1;
    return 0;
}

/* A line stands anew or is lost: what it brought before says nothing of what it brings from now on. */
static inline void feed_merge_restart(feed_merge *g, uint32_t line, int64_t proven) {
    g->seen[line] = 0;
    g->base[line] = proven;
    g->rewound &= ~(1u << line);
}

/* The book is no longer proven: the next proof may have other numbers. */
static inline void feed_merge_forget(feed_merge *g) {
    memset(g->seen, 0, sizeof g->seen);
    memset(g->base, 0, sizeof g->base);
    g->rewound = 0;
    g->reset_utc_ns = 0;
}

enum {
    FEED_MERGE_TAKE = 0,
    FEED_MERGE_LATE = 1,   /* another line brought it, or what replaced it */
    FEED_MERGE_REPEAT = 2, /* its own line brought it before */
    FEED_MERGE_AHEAD = 3,  /* updates before it are missing */
};

/* Where a numbered update or a whole book of a LIVE book stands.
 *
 * follows: it is the next one by the venue's rule. overlaps: an update that begins before the proven number and ends
 * behind it may be applied (levels are absolute). went_on: what feed_merge_note said.
 */
static inline int feed_merge_place(feed_merge *g, uint32_t line, const feed_message *m, int64_t proven, int64_t proven_utc_ns,
                                   int follows, int overlaps, int went_on) {
    if (m->traits & FEED_TRAIT_SNAPSHOT) {
        if (m->last_sequence > proven) return m->venue_utc_ns < proven_utc_ns ? FEED_MERGE_LATE : FEED_MERGE_TAKE;
        if (!(g->rewound >> line & 1) || feed_merge_others(g, line)) return FEED_MERGE_LATE;
        g->rewound = 0; /* every line that brings this book has begun anew */
        return FEED_MERGE_TAKE;
    }
    if (follows) {
        if (m->previous_sequence > m->last_sequence) g->reset_utc_ns = m->venue_utc_ns;
        return FEED_MERGE_TAKE;
    }
    if (m->last_sequence <= proven) return went_on ? FEED_MERGE_LATE : FEED_MERGE_REPEAT;
    if (g->reset_utc_ns && m->venue_utc_ns <= g->reset_utc_ns) return FEED_MERGE_LATE;
    if (overlaps && went_on && 0 < m->previous_sequence && m->previous_sequence < proven) return FEED_MERGE_TAKE;
    return FEED_MERGE_AHEAD;
}

/* Whether a best bid and offer is older than the newest one; same: its values are those of the newest. */
static inline int feed_merge_bbo_late(feed_merge *g, const feed_message *m, int same) {
    int late;
    if (m->last_sequence && g->bbo_sequence)
        late = m->last_sequence <= g->bbo_sequence && m->venue_utc_ns <= g->bbo_utc_ns + FEED_LAG_MAX_NS &&
               !(m->last_sequence == g->bbo_sequence && m->venue_utc_ns > g->bbo_utc_ns && !same);
    else
        late = m->venue_utc_ns < g->bbo_utc_ns || (m->venue_utc_ns == g->bbo_utc_ns && same);
    if (late) return 1;
    g->bbo_sequence = m->last_sequence;
    g->bbo_utc_ns = m->venue_utc_ns;
    return 0;
}

/* Whether nothing a ticker tells is newer than what is known of its places. */
static inline int feed_merge_tick_late(feed_merge *g, const feed_message *m) {
    int late = 1;
    for (uint32_t i = 0; i < FEED_TICK_COUNT; i++)
        if (m->value_mask >> i & 1 && m->venue_utc_ns > g->tick_utc_ns[i]) {
            g->tick_utc_ns[i] = m->venue_utc_ns;
            late = 0;
        }
    return late && m->venue_utc_ns;
}

#endif
