/* A venue's checksum of the top of a book, over the texts the venue wrote.
 *
 * The private book holds integers. The venue's text of one follows from it: all digits up to the last that is not zero
 * behind the point. A level written with zeros at the end of a fraction is remembered in a map beside the book, which
 * is empty for streams that write none, so that the text is the venue's own in every case.
 *
 * Texts of the levels that stand are kept, and so is the whole text up to the first row that changed: a checksum renders
 * only what is new in the top, writes the text from that row on, and does nothing when nothing has changed.
 *
 * The rule is that of venues which have such checksums (their protocol module names the document): the first 25 bids and
 * asks, price:quantity, bid and ask in turn, joined by colons, CRC32 (IEEE) as a signed 32-bit number; a side that is
 * shorter is left out of the rest.
 */
#ifndef RINGLANE_FEED_CHECKSUM_H
#define RINGLANE_FEED_CHECKSUM_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "feeds/native/book.h"
#include "feeds/native/crc32.h"

#define FEED_CHECK_LEVELS 25u
#define FEED_CHECK_TEXT 80u
#define FEED_CHECK_COPY 32u /* most lines are shorter, and a copy of a fixed size is faster */
#define FEED_CHECK_DECIMALS_MAX 30u

/* ---- the venue's text of a number -------------------------------------------------------------- */

/* Writes units * 10^-exponent with `decimals` digits behind the point, or with -1 without zeros at the end. */
static inline char *feed_text(char *out, int64_t units, uint32_t exponent, int32_t decimals) {
    char digits[24];
    uint32_t n = 0;
    uint64_t v = (uint64_t)units;
    if (decimals < 0) {
        decimals = (int32_t)exponent;
        while (decimals > 0 && v % 10 == 0) {
            v /= 10;
            decimals--;
        }
    } else {
        for (; exponent > (uint32_t)decimals; exponent--) v /= 10;
    }
    uint32_t shown = (uint32_t)decimals < exponent ? (uint32_t)decimals : exponent;
    do {
        digits[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    while (n <= shown) digits[n++] = '0';
    while (n > shown) *out++ = digits[--n];
    if (decimals) *out++ = '.';
    while (n) *out++ = digits[--n];
    for (uint32_t i = shown; i < (uint32_t)decimals; i++) *out++ = '0';
    return out;
}

/* ---- the state beside a book ------------------------------------------------------------------- */

typedef struct feed_line {
    int64_t key;
    int64_t quantity;
    int64_t style;
    uint32_t bytes;
    char text[FEED_CHECK_TEXT];
} feed_line;

typedef struct feed_check {
    feed_over style[2];   /* key -> decimals written (price << 16 | quantity, plus 1 each) where zeros end a number */
    int64_t threshold[2]; /* a change at this key or below changes the checksum */
    feed_touched touched[2]; /* keys set since the lines were made that show in them */
    uint32_t active; /* the stream's snapshot had a checksum: the texts of all levels are known */
    uint32_t dirty[2];
    uint32_t count[2];
    int32_t crc;
    uint32_t used[2];                       /* bit per slot of a side that holds a line */
    uint8_t order[2][FEED_CHECK_LEVELS];    /* slots of the lines, best first */
    uint16_t row_at[FEED_CHECK_LEVELS + 1]; /* where in the text each row begins: one bid, one ask */
    feed_line line[2][FEED_CHECK_LEVELS];
    char text[2 * FEED_CHECK_LEVELS * (FEED_CHECK_TEXT + 1) + FEED_CHECK_TEXT];
} feed_check;

static inline void feed_check_free(feed_check *c) {
    if (!c) return;
    feed_over_free(&c->style[0]);
    feed_over_free(&c->style[1]);
    free(c);
}

static inline void feed_check_reset(feed_check *c) {
    for (int s = 0; s < 2; s++) {
        feed_over_clear(&c->style[s]);
        c->threshold[s] = INT64_MAX;
        feed_touch_all(&c->touched[s]);
        c->dirty[s] = 1;
    }
}

static inline feed_check *feed_check_create(void) {
    feed_check *c = (feed_check *)calloc(1, sizeof *c);
    if (c) feed_check_reset(c);
    return c;
}

/* Whether a number written with `decimals` digits behind the point ended in a zero there. */
static inline int feed_ends_in_zero(int64_t units, uint32_t decimals, uint32_t exponent) {
    if (decimals == 0) return 0;
    if (decimals > exponent) return 1;
    return exponent - decimals > 18 ? 0 : units / feed_pow10[exponent - decimals] % 10 == 0;
}

/* Makes room for the styles of a message; 0 when there is none. */
static inline int feed_check_reserve(feed_check *c, feed_message *m) {
    if (!(m->traits & FEED_TRAIT_PADDED)) return 1;
    for (int s = 0; s < 2; s++)
        if (!feed_over_reserve(&c->style[s], m->level_count[s])) {
            m->error.code = FEED_E_LEVELS;
            m->error.index = -1;
            m->error.offset = 0;
            m->error.field = m->level_field[s];
            return 0;
        }
    return 1;
}

/* Notes what a scaled, reserved, applied message changes; `whole` when it replaced the book. */
static inline void feed_check_note(feed_check *c, const feed_message *m, int whole, uint32_t price_exponent,
                                   uint32_t quantity_exponent) {
    const int padded = (m->traits & FEED_TRAIT_PADDED) != 0;
    if (whole) {
        feed_check_reset(c);
        c->active = m->traits & FEED_TRAIT_CHECKSUM;
    }
    if (!c->active) return;
    for (int s = 0; s < 2; s++) {
        const feed_level *level = m->levels[s];
        int64_t lowest = INT64_MAX;
        const int styled = padded || c->style[s].total;
        for (uint32_t i = 0, n = m->level_count[s]; i < n; i++) {
            int64_t key = feed_key(s, level[i].price), style = 0;
            if (key < lowest) lowest = key;
            feed_touch(&c->touched[s], key, key <= c->threshold[s]);
            if (FEED_LIKELY(!styled)) continue;
            if (padded && level[i].quantity &&
                (feed_ends_in_zero(level[i].price, level[i].price_decimals, price_exponent) ||
                 feed_ends_in_zero(level[i].quantity, level[i].quantity_decimals, quantity_exponent)))
                style = (int64_t)(level[i].price_decimals + 1) << 32 | (int64_t)(level[i].quantity_decimals + 1);
            feed_over_set(&c->style[s], key, style);
        }
        if (m->level_count[s] && lowest <= c->threshold[s]) c->dirty[s] = 1;
    }
}

/* Renders one level; 0 when its text can not be known. */
static inline int feed_line_render(feed_line *line, int side, uint32_t price_exponent, uint32_t quantity_exponent) {
    int32_t price_decimals = (int32_t)(line->style >> 32) - 1, quantity_decimals = (int32_t)line->style - 1;
    if (price_decimals > (int32_t)FEED_CHECK_DECIMALS_MAX || quantity_decimals > (int32_t)FEED_CHECK_DECIMALS_MAX ||
        price_exponent > FEED_CHECK_DECIMALS_MAX || quantity_exponent > FEED_CHECK_DECIMALS_MAX)
        return 0;
    char *p = feed_text(line->text, side ? line->key : -line->key, price_exponent, price_decimals);
    *p++ = ':';
    p = feed_text(p, line->quantity, quantity_exponent, quantity_decimals);
    line->bytes = (uint32_t)(p - line->text);
    return 1;
}

/* Makes the line of a level in a slot; 0 when its text is not known. */
static inline int feed_check_put(feed_check *c, int s, uint32_t slot, int64_t key, int64_t quantity, uint32_t price_exponent,
                                 uint32_t quantity_exponent) {
    feed_line *line = &c->line[s][slot];
    line->key = key;
    line->quantity = quantity;
    line->style = c->style[s].total ? feed_over_get(&c->style[s], key) : 0;
    c->used[s] |= 1u << slot;
    return feed_line_render(line, s, price_exponent, quantity_exponent);
}

/* Makes the lines behind the last from the levels behind it in the book. */
static inline int feed_check_fill(const feed_book *b, feed_check *c, int s, uint32_t price_exponent,
                                  uint32_t quantity_exponent) {
    shm_level top[FEED_CHECK_LEVELS];
    const uint32_t count = c->count[s];
    const int64_t from = count ? feed_behind(c->line[s][c->order[s][count - 1]].key) : INT64_MIN;
    const uint32_t n = feed_side_read_from(b, &b->side[s], s, from, top, FEED_CHECK_LEVELS - count);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t slot = (uint32_t)__builtin_ctz(~c->used[s]);
        c->order[s][count + i] = (uint8_t)slot;
        if (!feed_check_put(c, s, slot, feed_key(s, top[i].price_units), top[i].quantity_units, price_exponent,
                            quantity_exponent))
            return 0;
    }
    c->count[s] = count + n;
    return 1;
}

/* Brings the lines of the few levels that were touched up to date, like feed_top_mend; `*kept` says how many of the first
 * lines stand as they did. */
static inline int feed_check_mend(const feed_book *b, feed_check *c, int s, uint32_t price_exponent,
                                  uint32_t quantity_exponent, uint32_t *kept) {
    uint8_t *order = c->order[s];
    uint32_t count = c->count[s];
    int more = c->threshold[s] != INT64_MAX; /* levels may stand behind the last */
    *kept = count;
    for (uint32_t i = 0; i < c->touched[s].count; i++) {
        const int64_t key = c->touched[s].key[i], quantity = feed_side_quantity(b, &b->side[s], key);
        uint32_t at = 0;
        while (at < count && c->line[s][order[at]].key < key) at++;
        const int there = at < count && c->line[s][order[at]].key == key;
        if (at < *kept) *kept = at;
        if (!there && quantity) {
            if (count == FEED_CHECK_LEVELS) {
                more = 1;
                if (at == count) continue;
                c->used[s] &= ~(1u << order[--count]);
            }
            memmove(&order[at + 1], &order[at], count++ - at);
            order[at] = (uint8_t)__builtin_ctz(~c->used[s]);
        } else if (!quantity) {
            if (!there) continue;
            c->used[s] &= ~(1u << order[at]);
            memmove(&order[at], &order[at + 1], --count - at);
            continue;
        }
        if (!feed_check_put(c, s, order[at], key, quantity, price_exponent, quantity_exponent)) return 0;
    }
    c->count[s] = count;
    if (count < *kept) *kept = count;
    return !more || count == FEED_CHECK_LEVELS || feed_check_fill(b, c, s, price_exponent, quantity_exponent);
}

/* Brings the lines of a side up to date; 0 = a text is not known, and all are made anew next time. */
static inline int feed_check_side(const feed_book *b, feed_check *c, int s, uint32_t price_exponent,
                                  uint32_t quantity_exponent, uint32_t *kept) {
    int known;
    if (c->touched[s].count <= FEED_TOUCHED_MAX) {
        known = feed_check_mend(b, c, s, price_exponent, quantity_exponent, kept);
    } else {
        *kept = c->count[s] = c->used[s] = 0;
        known = feed_check_fill(b, c, s, price_exponent, quantity_exponent);
    }
    const uint32_t n = c->count[s];
    c->threshold[s] = known && n == FEED_CHECK_LEVELS ? c->line[s][c->order[s][n - 1]].key : INT64_MAX;
    c->touched[s].count = 0;
    c->dirty[s] = 0;
    return known;
}

/* Writes the text from `row` on and takes its checksum. */
static inline int32_t feed_check_write(feed_check *c, uint32_t row) {
    const uint32_t rows = c->count[0] > c->count[1] ? c->count[0] : c->count[1];
    char *p = c->text + (row ? c->row_at[row] : 0);
    for (; row < rows; row++) {
        c->row_at[row] = (uint16_t)(p - c->text);
        for (int s = 0; s < 2; s++) {
            if (row >= c->count[s]) continue;
            const feed_line *line = &c->line[s][c->order[s][row]];
            /* What is copied too much is written over or cut off. */
            memcpy(p, line->text, FEED_CHECK_COPY);
            if (line->bytes > FEED_CHECK_COPY)
                memcpy(p + FEED_CHECK_COPY, line->text + FEED_CHECK_COPY, FEED_CHECK_TEXT - FEED_CHECK_COPY);
            p += line->bytes;
            *p++ = ':';
        }
    }
    c->row_at[rows] = (uint16_t)(p - c->text);
    return (int32_t)feed_crc(c->text, p == c->text ? 0 : (size_t)(p - c->text) - 1);
}

/* Whether the book's checksum is `expected`. */
static inline int feed_check_holds(const feed_book *b, feed_check *c, uint32_t price_exponent, uint32_t quantity_exponent,
                                   int32_t expected) {
    if (!c->active) return 0;
    if (c->dirty[0] || c->dirty[1]) {
        uint32_t row = FEED_CHECK_LEVELS;
        for (int s = 0; s < 2; s++) {
            uint32_t kept = FEED_CHECK_LEVELS;
            if (c->dirty[s] && !feed_check_side(b, c, s, price_exponent, quantity_exponent, &kept)) {
                for (s = 0; s < 2; s++) {
                    feed_touch_all(&c->touched[s]);
                    c->dirty[s] = 1;
                }
                return 0;
            }
            if (kept < row) row = kept;
        }
        c->crc = feed_check_write(c, row);
    }
    return c->crc == expected;
}

#endif
