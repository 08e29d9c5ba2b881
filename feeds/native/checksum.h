/* A venue's checksum of the top of a book, over the texts the venue wrote.
 *
 * The private book holds integers. The venue's text of one follows from it: all digits up to the last that is not zero
 * behind the point. A level written with zeros at the end of a fraction is remembered in a map beside the book, which
 * is empty for streams that write none, so that the text is the venue's own in every case.
 *
 * Texts of the levels that stand are kept; a checksum renders only what changed in the top, and nothing when nothing did.
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

#define FEED_CHECK_LEVELS 25u
#define FEED_CHECK_TEXT 80u
#define FEED_CHECK_DECIMALS_MAX 30u

/* ---- CRC32, sixteen bytes at a time ------------------------------------------------------------ */

static uint32_t feed_crc_table[16][256];

static inline void feed_crc_init(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++) c = c & 1 ? 0xEDB88320u ^ c >> 1 : c >> 1;
        feed_crc_table[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int k = 1; k < 16; k++)
            feed_crc_table[k][i] = feed_crc_table[k - 1][i] >> 8 ^ feed_crc_table[0][feed_crc_table[k - 1][i] & 255];
}

static inline uint32_t feed_crc(const char *p, size_t n) {
    const unsigned char *b = (const unsigned char *)p;
    uint32_t c = 0xFFFFFFFFu;
    for (; n >= 16; n -= 16, b += 16) {
        uint32_t w[4];
        memcpy(w, b, 16);
        w[0] ^= c;
        c = 0;
        for (int k = 0; k < 4; k++) {
            const uint32_t(*t)[256] = &feed_crc_table[12 - 4 * k];
            c ^= t[3][w[k] & 255] ^ t[2][w[k] >> 8 & 255] ^ t[1][w[k] >> 16 & 255] ^ t[0][w[k] >> 24];
        }
    }
    while (n--) c = feed_crc_table[0][(c ^ *b++) & 255] ^ c >> 8;
    return ~c;
}

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
    uint32_t active; /* the stream's snapshot had a checksum: the texts of all levels are known */
    uint32_t dirty[2];
    uint32_t count[2];
    int32_t crc;
    uint32_t turn[2]; /* which of the two line arrays holds */
    feed_line line[2][2][FEED_CHECK_LEVELS];
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

static inline int feed_check_side(const feed_book *b, feed_check *c, int s, uint32_t price_exponent,
                                  uint32_t quantity_exponent) {
    shm_level top[FEED_CHECK_LEVELS];
    const feed_line *old = c->line[s][c->turn[s]];
    const uint32_t old_count = c->count[s];
    feed_line *new_ = c->line[s][c->turn[s] ^ 1];
    uint32_t n = feed_side_read(b, &b->side[s], s, top, FEED_CHECK_LEVELS), j = 0;
    for (uint32_t i = 0; i < n; i++) {
        int64_t key = feed_key(s, top[i].price_units);
        int64_t style = c->style[s].total ? feed_over_get(&c->style[s], key) : 0;
        while (j < old_count && old[j].key < key) j++;
        if (j < old_count && old[j].key == key && old[j].quantity == top[i].quantity_units && old[j].style == style) {
            memcpy(&new_[i], &old[j], sizeof(feed_line) - (FEED_CHECK_TEXT - 48));
            if (old[j].bytes > 48) memcpy(new_[i].text + 48, old[j].text + 48, FEED_CHECK_TEXT - 48);
            continue;
        }
        new_[i].key = key;
        new_[i].quantity = top[i].quantity_units;
        new_[i].style = style;
        if (!feed_line_render(&new_[i], s, price_exponent, quantity_exponent)) return 0;
    }
    c->turn[s] ^= 1;
    c->count[s] = n;
    c->threshold[s] = n == FEED_CHECK_LEVELS ? feed_key(s, top[n - 1].price_units) : INT64_MAX;
    c->dirty[s] = 0;
    return 1;
}

/* Whether the book's checksum is `expected`. */
static inline int feed_check_holds(const feed_book *b, feed_check *c, uint32_t price_exponent, uint32_t quantity_exponent,
                                   int32_t expected) {
    if (!c->active) return 0;
    if (c->dirty[0] || c->dirty[1]) {
        char text[2 * FEED_CHECK_LEVELS * (FEED_CHECK_TEXT + 1) + FEED_CHECK_TEXT];
        char *p = text;
        for (int s = 0; s < 2; s++)
            if (c->dirty[s] && !feed_check_side(b, c, s, price_exponent, quantity_exponent)) {
                c->count[s] = 0;
                return 0;
            }
        for (uint32_t i = 0; i < c->count[0] || i < c->count[1]; i++)
            for (int s = 0; s < 2; s++) {
                if (i >= c->count[s]) continue;
                const feed_line *line = &c->line[s][c->turn[s]][i];
                /* Fixed sizes copy faster; what is too much is written over or cut off. */
                memcpy(p, line->text, 48);
                if (line->bytes > 48) memcpy(p + 48, line->text + 48, FEED_CHECK_TEXT - 48);
                p += line->bytes;
                *p++ = ':';
            }
        c->crc = (int32_t)feed_crc(text, p == text ? 0 : (size_t)(p - text) - 1);
    }
    return c->crc == expected;
}

#endif
