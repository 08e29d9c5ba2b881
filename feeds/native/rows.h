/* Short sorted lists of rows of 16 bytes: the tops of books, the lines of their checksums. */
#ifndef RINGLANE_FEED_ROWS_H
#define RINGLANE_FEED_ROWS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FEED_ROWS_STEP 4u
#define FEED_ROWS_SLACK (2 * FEED_ROWS_STEP) /* rows that a list has room for behind its last */

/* Moves the rows from `at` to before `count` one place up or down, several at a time: mostly few are to be
 * moved, and how many can not be predicted. Up to FEED_ROWS_SLACK behind them are read and written over. */
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
