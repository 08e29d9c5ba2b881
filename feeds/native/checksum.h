/* A venue's checksum of the top of a book, over the texts the venue wrote.
 *
 * The private book holds integers. The venue's text of one follows from it: all digits up to the last that is not zero
 * behind the point. A level written with zeros at the end of a fraction is remembered in a map beside the book, which
 * is empty for streams that write none, so that the text is the venue's own in every case.
 *
 * Of each level that shows its CRC and length are kept: a checksum renders only what is new in the top, and is put together
 * from those of the levels (crc32.h).
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
#define FEED_CHECK_TEXT 112u /* 2 colons, 19 digits and a point each, and as many decimals as there may be */
#define FEED_CHECK_DECIMALS_MAX 30u
/* The register before a colon that makes it what a CRC begins with: so each level begins with its colon, the first too. */
#define FEED_CHECK_BEGIN 0xF0958FE3u

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

/* Sixteen digits of a number below 10^16, first digit first, each in a byte of its own. */
static inline void feed_text_digits(uint64_t v, unsigned char *out) {
    const uint64_t part[2] = {v / 100000000u, v % 100000000u};
    for (int i = 0; i < 2; i++) {
        const uint64_t fours = part[i] / 10000 | (part[i] % 10000) << 32;
        const uint64_t hundreds = (fours * 10486 >> 20) & UINT64_C(0x7F0000007F);
        const uint64_t pairs = hundreds | (fours - hundreds * 100) << 16;
        const uint64_t tens = (pairs * 103 >> 10) & UINT64_C(0x000F000F000F000F);
        const uint64_t digits = tens | (pairs - tens * 10) << 8;
        memcpy(out + 8 * i, &digits, 8);
    }
}

/* The same as feed_text without zeros at the end, for common numbers: no loop, as lengths can not be predicted. Writes up
 * to 33 bytes. NULL where the number is none of them. */
static inline char *feed_text_plain(char *out, int64_t units, uint32_t exponent) {
#ifdef __SSE2__
    unsigned char digit[32] = {0};
    if ((uint64_t)units >= UINT64_C(10000000000000000) || exponent > 15) return NULL;
    feed_text_digits((uint64_t)units, digit);
    const uint32_t ones = 15 - exponent; /* place of the last digit before the point */
    const __m128i v = _mm_loadu_si128((const __m128i *)digit);
    const uint32_t shown = (~(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_setzero_si128())) & 0xFFFF) | 1u << ones;
    const uint32_t first = (uint32_t)__builtin_ctz(shown), last = 31 - (uint32_t)__builtin_clz(shown);
    _mm_storeu_si128((__m128i *)digit, _mm_or_si128(v, _mm_set1_epi8('0')));
    memcpy(out, digit + first, 16);
    out += ones + 1 - first;
    *out = '.';
    memcpy(out + 1, digit + ones + 1, 16);
    return out + (last > ones ? last - ones + 1 : 0);
#else
    (void)out, (void)units, (void)exponent;
    return NULL;
#endif
}

/* ---- the state beside a book ------------------------------------------------------------------- */

typedef struct feed_check {
    feed_over style[2];   /* key -> decimals written (price << 16 | quantity, plus 1 each) where zeros end a number */
    int64_t threshold[2]; /* a change at this key or below changes the checksum */
    feed_touched touched[2]; /* keys set since the lines were made that show in them */
    uint32_t active; /* the stream's snapshot had a checksum: the texts of all levels are known */
    uint32_t dirty[2];
    uint32_t count[2];
    int32_t crc;
    feed_piece line[2][FEED_CHECK_LEVELS + FEED_ROWS_SLACK]; /* of the levels, best first: a colon and the text */
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

/* Notes one level that was set. */
static inline void feed_check_touch(feed_check *c, int s, int64_t key) {
    const int shows = key <= c->threshold[s];
    feed_touch(&c->touched[s], key, shows);
    c->dirty[s] |= (uint32_t)shows;
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
        const int styled = padded || c->style[s].total;
        for (uint32_t i = 0, n = m->level_count[s]; i < n; i++) {
            int64_t key = feed_key(s, level[i].price), style = 0;
            feed_check_touch(c, s, key);
            if (FEED_LIKELY(!styled)) continue;
            if (padded && level[i].quantity &&
                (feed_ends_in_zero(level[i].price, level[i].price_decimals, price_exponent) ||
                 feed_ends_in_zero(level[i].quantity, level[i].quantity_decimals, quantity_exponent)))
                style = (int64_t)(level[i].price_decimals + 1) << 32 | (int64_t)(level[i].quantity_decimals + 1);
            feed_over_set(&c->style[s], key, style);
        }
    }
}

/* Makes the line of a level; 0 when its text is not known. */
static inline int feed_check_put(feed_check *c, int s, uint32_t at, int64_t key, int64_t quantity, uint32_t price_exponent,
                                 uint32_t quantity_exponent) {
    char text[FEED_CRC_PIECE + FEED_CHECK_TEXT + 34];
    const int64_t style = c->style[s].total ? feed_over_get(&c->style[s], key) : 0;
    const int32_t price_decimals = (int32_t)(style >> 32) - 1, quantity_decimals = (int32_t)style - 1;
    char *const begin = text + FEED_CRC_PIECE, *p = begin;
    memset(text, 0, FEED_CRC_PIECE);
    *p++ = ':';
    char *next = style ? NULL : feed_text_plain(p, feed_key(s, key), price_exponent);
    if (next) {
        *next = ':';
        p = next = feed_text_plain(next + 1, quantity, quantity_exponent);
    }
    if (!FEED_LIKELY(next != NULL)) {
        if (price_decimals > (int32_t)FEED_CHECK_DECIMALS_MAX || quantity_decimals > (int32_t)FEED_CHECK_DECIMALS_MAX ||
            price_exponent > FEED_CHECK_DECIMALS_MAX || quantity_exponent > FEED_CHECK_DECIMALS_MAX)
            return 0;
        p = feed_text(begin + 1, feed_key(s, key), price_exponent, price_decimals);
        *p++ = ':';
        p = feed_text(p, quantity, quantity_exponent, quantity_decimals);
    }
    feed_piece *line = &c->line[s][at];
    line->key = key;
    line->bytes = (uint32_t)(p - begin);
    line->crc = feed_crc_piece((const unsigned char *)p, line->bytes);
    return 1;
}

/* Makes the lines behind the last from the levels behind it in the book. */
static inline int feed_check_fill(const feed_book *b, feed_check *c, int s, uint32_t price_exponent,
                                  uint32_t quantity_exponent) {
    shm_level top[FEED_CHECK_LEVELS];
    const uint32_t count = c->count[s];
    const int64_t from = count ? feed_behind(c->line[s][count - 1].key) : INT64_MIN;
    const uint32_t n = feed_side_read_from(b, &b->side[s], s, from, top, FEED_CHECK_LEVELS - count);
    for (uint32_t i = 0; i < n; i++)
        if (!feed_check_put(c, s, count + i, feed_key(s, top[i].price_units), top[i].quantity_units, price_exponent,
                            quantity_exponent))
            return 0;
    c->count[s] = count + n;
    return 1;
}

/* Brings the lines of the few levels that were touched up to date, like feed_top_mend. */
static inline int feed_check_mend(const feed_book *b, feed_check *c, int s, uint32_t price_exponent,
                                  uint32_t quantity_exponent) {
    feed_piece *line = c->line[s];
    uint32_t count = c->count[s];
    int more = c->threshold[s] != INT64_MAX; /* levels may stand behind the last */
    for (uint32_t i = 0; i < c->touched[s].count; i++) {
        const int64_t key = c->touched[s].key[i], quantity = feed_side_quantity(b, &b->side[s], key);
        const uint32_t at = feed_rows_before(&line->key, count, key, 0);
        const int there = at < count && line[at].key == key;
        if (!quantity) {
            if (there) feed_rows_close(line, at, --count);
            continue;
        }
        if (!there) {
            if (count == FEED_CHECK_LEVELS) more = 1;
            if (at == count && more) continue; /* better ones may have been pushed out: found below, if there is room */
            if (count == FEED_CHECK_LEVELS) count--;
            feed_rows_open(line, at, count++);
        }
        if (!feed_check_put(c, s, at, key, quantity, price_exponent, quantity_exponent)) return 0;
    }
    c->count[s] = count;
    return !more || count == FEED_CHECK_LEVELS || feed_check_fill(b, c, s, price_exponent, quantity_exponent);
}

/* Brings the lines of a side up to date; 0 = a text is not known, and all are made anew next time. */
static inline int feed_check_side(const feed_book *b, feed_check *c, int s, uint32_t price_exponent,
                                  uint32_t quantity_exponent) {
    int known;
    if (c->touched[s].count <= FEED_TOUCHED_MAX) {
        known = feed_check_mend(b, c, s, price_exponent, quantity_exponent);
    } else {
        c->count[s] = 0;
        known = feed_check_fill(b, c, s, price_exponent, quantity_exponent);
    }
    const uint32_t n = c->count[s];
    c->threshold[s] = known && n == FEED_CHECK_LEVELS ? c->line[s][n - 1].key : INT64_MAX;
    c->touched[s].count = 0;
    c->dirty[s] = 0;
    return known;
}

/* Whether the book's checksum is `expected`. */
static inline int feed_check_holds(const feed_book *b, feed_check *c, uint32_t price_exponent, uint32_t quantity_exponent,
                                   int32_t expected) {
    if (!c->active) return 0;
    if (c->dirty[0] || c->dirty[1]) {
        for (int s = 0; s < 2; s++)
            if (c->dirty[s] && !feed_check_side(b, c, s, price_exponent, quantity_exponent)) {
                for (s = 0; s < 2; s++) {
                    feed_touch_all(&c->touched[s]);
                    c->dirty[s] = 1;
                }
                return 0;
            }
        const uint32_t crc = feed_crc_pieces(FEED_CHECK_BEGIN, c->line[0], c->count[0], c->line[1], c->count[1]);
        c->crc = c->count[0] + c->count[1] ? (int32_t)~crc : 0;
    }
    return c->crc == expected;
}

#endif
