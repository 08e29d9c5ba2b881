/* Short sorted lists of rows of 16 bytes that begin with a number: the tops of books, the lines of their checksums. */
#ifndef RINGLANE_FEED_ROWS_H
#define RINGLANE_FEED_ROWS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FEED_ROWS_STEP 4u
#define FEED_ROWS_LOOK 32u /* compared at once */
#define FEED_ROWS_SLACK FEED_ROWS_LOOK /* rows that a list has room for behind its last; what stands there is never used */

/* How many of the first rows begin with a number below `bound`, or above it where they descend. The last few tens are
 * compared all at once, in two steps: a search by halves waits for each comparison before it knows what to load next. */
static inline uint32_t feed_rows_before(const int64_t *row, uint32_t count, int64_t bound, int descends) {
#define FEED_ROW_IS_BEFORE(j) ((uint32_t)(descends ? row[2 * (j)] > bound : row[2 * (j)] < bound))
    uint32_t n = count, before = 0;
    while (n > FEED_ROWS_LOOK) {
        const uint32_t half = n / 2, step = half & -FEED_ROW_IS_BEFORE(half - 1);
        row += 2 * step;
        before += step;
        n -= half;
    }
    const uint32_t step = 8 * (((n >= 8) & FEED_ROW_IS_BEFORE(7)) + ((n >= 16) & FEED_ROW_IS_BEFORE(15)) +
                               ((n >= 24) & FEED_ROW_IS_BEFORE(23)));
    row += 2 * step;
    n -= step;
    for (uint32_t j = 0; j < 8; j++) before += (j < n) & FEED_ROW_IS_BEFORE(j);
    return before + step;
#undef FEED_ROW_IS_BEFORE
}

/* Moves the rows from `at` to before `count` one place up or down, several at a time: mostly few are to be
 * moved, and how many can not be predicted. Up to twice FEED_ROWS_STEP behind them are read and written over. */
static inline void feed_rows_open(void *rows, uint32_t at, uint32_t count) {
    unsigned char now[16 * FEED_ROWS_STEP], next[16 * FEED_ROWS_STEP], *p = (unsigned char *)rows + 16 * (size_t)at;
    memcpy(now, p, sizeof now);
    for (; at < count; at += FEED_ROWS_STEP, p += sizeof now) {
        memcpy(next, p + sizeof now, sizeof next);
        memcpy(p + 16, now, sizeof now);
        memcpy(now, next, sizeof now);
    }
}

static inline void feed_rows_close(void *rows, uint32_t at, uint32_t count) {
    unsigned char now[16 * FEED_ROWS_STEP], *p = (unsigned char *)rows + 16 * (size_t)at;
    for (; at < count; at += FEED_ROWS_STEP, p += sizeof now) {
        memcpy(now, p + 16, sizeof now);
        memcpy(p, now, sizeof now);
    }
}

#endif
