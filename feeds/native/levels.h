/* The levels of a depth message: arrays of ["price","quantity"], most of what a frame is.
 *
 * Where the processor has the instructions (looked up at run time: nothing newer than SSE2 is taken for granted) sixteen
 * bytes are read at once, without a branch on where the point stands or how long a number is: what can not be predicted
 * costs more than what is computed in vain. Elsewhere eight bytes at a time. Both read the common forms only, and give
 * whatever else there is, good or bad, to one function that says what is wrong.
 */
#ifndef RINGLANE_FEED_LEVELS_H
#define RINGLANE_FEED_LEVELS_H

#include <stdint.h>
#include <string.h>

#include "feeds/native/scan.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define FEED_WIDE 1
#include <immintrin.h>
#endif

/* One level `["price","quantity"]`, spaces allowed; up to `extra` further elements are checked and dropped. */
static FEED_COLD const char *feed_level_any(feed_scan *s, const char *p, feed_level *out, int extra, const char *field) {
    uint32_t decimals;
    if (*p != '[') return feed_fail(s, FEED_E_TYPE, p, field);
    p = feed_ws(p + 1);
    if (*p != '"') return feed_fail(s, FEED_E_TYPE, p, field);
    out->offset = (uint32_t)(p + 1 - s->begin);
    if (!(p = feed_decimal_text(s, p + 1, &out->price, &decimals, field))) return NULL;
    if (out->price == 0) return feed_fail(s, FEED_E_PRICE, s->begin + out->offset, field);
    out->price_decimals = (uint16_t)decimals;
    s->padded |= (uint32_t)(p[-1] == '0') & (uint32_t)(decimals != 0);
    p = feed_ws(p + 1);
    if (*p != ',') return feed_fail(s, FEED_E_SYNTAX, p, field);
    p = feed_ws(p + 1);
    if (*p != '"') return feed_fail(s, FEED_E_TYPE, p, field);
    if (!(p = feed_decimal_text(s, p + 1, &out->quantity, &decimals, field))) return NULL;
    out->quantity_decimals = (uint16_t)decimals;
    s->padded |= (uint32_t)(p[-1] == '0') & (uint32_t)(decimals != 0);
    p = feed_ws(p + 1);
    while (!FEED_LIKELY(*p == ']')) {
        if (*p != ',') return feed_fail(s, FEED_E_SYNTAX, p, field);
        if (extra-- <= 0) return feed_fail(s, FEED_E_TYPE, p, field);
        if (!(p = feed_skip(s, feed_ws(p + 1), 2, field))) return NULL;
        p = feed_ws(p);
    }
    return p + 1;
}

/* Whether the three bytes at `p` are those. Put together from characters: from a string a compiler makes stores. */
static inline int feed_three(const char *p, char a, char b, char c) {
    uint32_t w;
    memcpy(&w, p, 4);
    return (w & 0xFFFFFFu) == ((uint32_t)(unsigned char)c << 16 | (uint32_t)(unsigned char)b << 8 | (unsigned char)a);
}

/* The same of a level written without spaces in common numbers, as venues do; whatever is not so is read again. */
static inline const char *feed_level_one(feed_scan *s, const char *p, feed_level *out, int extra, const char *field) {
    const char *start = p;
    uint32_t decimals, dropped = 0;
    if (!FEED_LIKELY(p[0] == '[' && p[1] == '"' && (p = feed_decimal_short(p + 2, &out->price, &decimals)) && out->price))
        return feed_level_any(s, start, out, extra, field);
    uint32_t padded = (uint32_t)(p[-1] == '0') & (uint32_t)(decimals != 0);
    out->price_decimals = (uint16_t)decimals;
    if (!FEED_LIKELY(feed_three(p, '"', ',', '"') && (p = feed_decimal_short(p + 3, &out->quantity, &decimals))))
        return feed_level_any(s, start, out, extra, field);
    padded |= (uint32_t)(p[-1] == '0') & (uint32_t)(decimals != 0);
    out->quantity_decimals = (uint16_t)decimals;
    out->offset = (uint32_t)(start + 2 - s->begin);
    while (!FEED_LIKELY(p[1] == ']')) {
        if (!FEED_LIKELY(feed_three(p, '"', ',', '"') && feed_digit(p[3]) && dropped++ < (uint32_t)extra))
            return feed_level_any(s, start, out, extra, field);
        p += 4;
        while (feed_digit(*p)) p++;
        if (!FEED_LIKELY(*p == '"')) return feed_level_any(s, start, out, extra, field);
    }
    s->padded |= padded;
    return p + 2;
}

#ifdef FEED_WIDE
#define FEED_WIDE_TARGET __attribute__((target("sse4.1")))

static inline int feed_is_wide(void) { return __builtin_cpu_supports("sse4.1"); }

/* The same as feed_decimal_short, and for the same forms. */
FEED_WIDE_TARGET static inline const char *feed_decimal_wide(const char *p, int64_t *mantissa, uint32_t *decimals) {
    /* Where each of the sixteen digits is taken from, last digit last: a window on `from`, one less before the point. */
    static const uint8_t from[32] = {0xF0, 0xF0, 0xF0, 0xF0, 0xF0, 0xF0, 0xF0, 0xF0, 0xF0, 0xF0, 0xF0, 0xF0, 0xF0, 0xF0, 0xF0, 0xF0,
                                     0,    1,    2,    3,    4,    5,    6,    7,    8,    9,    10,   11,   12,   13,   14,   15};
    static const int8_t less[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
    const __m128i text = _mm_loadu_si128((const __m128i *)p);
    const __m128i digit = _mm_xor_si128(text, _mm_set1_epi8('0'));
    const uint32_t quotes = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(text, _mm_set1_epi8('"')));
    const uint32_t points = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(text, _mm_set1_epi8('.')));
    const uint32_t others = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_max_epu8(digit, _mm_set1_epi8(10)), digit));
    const uint32_t quote = quotes & -quotes, odd = others & (quote - 1);
    /* One point at most, not the first and not the last, nothing else between the digits, and some digits. */
    if (!FEED_LIKELY(quote && !((odd & ~points) | (odd & (odd - 1)) | (odd & 1) | ((odd << 1 | 1) & quote)))) return NULL;
    const uint32_t point = (uint32_t)__builtin_ctz(odd | quote), end = (uint32_t)__builtin_ctz(quote);
    const uint32_t stop = end + !odd; /* a number without a point has one in the place of its quote */
    *decimals = stop - point - 1;
    const __m128i places = _mm_add_epi8(_mm_loadu_si128((const __m128i *)(from + stop)),
                                        _mm_loadu_si128((const __m128i *)(less + *decimals)));
    const __m128i pairs = _mm_maddubs_epi16(_mm_shuffle_epi8(digit, places), _mm_set1_epi16(0x010A));
    const __m128i fours = _mm_madd_epi16(pairs, _mm_set1_epi32(0x00010064));
    const __m128i eights = _mm_madd_epi16(_mm_packus_epi32(fours, fours), _mm_set1_epi32(0x00012710));
    const uint64_t halves = (uint64_t)_mm_cvtsi128_si64(eights);
    *mantissa = (int64_t)((halves & UINT32_MAX) * 100000000u + (halves >> 32));
    return p + end;
}

/* The six bytes ","0", of an element that is "0", with the quote before and the comma behind it. */
#define FEED_ZERO_ELEMENT UINT64_C(0x2C2230222C22)

/* Reads levels without spaces in common numbers, one after the other; `p` at the first, returns the position behind the
 * last one read, or `p`. */
FEED_WIDE_TARGET static const char *feed_levels_wide(feed_scan *s, const char *p, feed_level *out, uint32_t *count, int extra) {
    const char *behind = p;
    uint32_t n = *count, decimals, padded = 0;
    for (; n < FEED_LEVELS_MAX; n++, p++) {
        feed_level *level = &out[n];
        const char *start = p;
        if (!FEED_LIKELY(p[0] == '[' && p[1] == '"' && (p = feed_decimal_wide(p + 2, &level->price, &decimals)) && level->price))
            break;
        uint32_t zeros = (uint32_t)(p[-1] == '0') & (uint32_t)(decimals != 0);
        level->price_decimals = (uint16_t)decimals;
        if (!FEED_LIKELY(feed_three(p, '"', ',', '"') && (p = feed_decimal_wide(p + 3, &level->quantity, &decimals)))) break;
        zeros |= (uint32_t)(p[-1] == '0') & (uint32_t)(decimals != 0);
        level->quantity_decimals = (uint16_t)decimals;
        level->offset = (uint32_t)(start + 2 - s->begin);
        int dropped = 0;
        if (extra > 1) { /* the first of two is mostly "0" */
            uint64_t w;
            memcpy(&w, p, 8);
            dropped = (w & UINT64_C(0xFFFFFFFFFFFF)) == FEED_ZERO_ELEMENT;
            p += 4 * dropped;
        }
        for (int i = dropped; i < extra && p[1] == ','; i++) {
            uint64_t odd;
            feed_digits_load(p + 3, &odd);
            if (!FEED_LIKELY(feed_three(p, '"', ',', '"') && odd)) break;
            p += 3 + (__builtin_ctzll(odd) >> 3);
            if (!FEED_LIKELY(*p == '"')) break;
        }
        if (!FEED_LIKELY(p[0] == '"' && p[1] == ']')) break;
        p = behind = p + 2;
        padded |= zeros;
        if (!FEED_LIKELY(p[0] == ',')) {
            n++;
            break;
        }
    }
    s->padded |= padded;
    *count = n;
    return behind;
}
#endif

/* `p` at '['. */
static inline const char *feed_levels(feed_scan *s, const char *p, feed_level *out, uint32_t *count,
                                      int extra, const char *field) {
    uint32_t n = 0;
    p = feed_ws(p + 1);
    if (*p == ']') {
        *count = 0;
        return p + 1;
    }
    for (;;) {
        const uint32_t before = n;
#ifdef FEED_WIDE
        if (FEED_LIKELY(feed_is_wide())) p = feed_levels_wide(s, p, out, &n, extra);
#endif
        if (n == before) {
            if (n == FEED_LEVELS_MAX) return feed_fail(s, FEED_E_LEVELS, p, field);
            if (!(p = feed_level_one(s, p, &out[n], extra, field))) {
                s->error.index = (int32_t)n;
                return NULL;
            }
            n++;
        }
        p = feed_ws(p);
        if (*p == ']') break;
        if (!FEED_LIKELY(*p == ',')) return feed_fail(s, FEED_E_SYNTAX, p, field);
        p = feed_ws(p + 1);
    }
    *count = n;
    return p + 1;
}

#endif
