/* Strict JSON scanner for market-data frames.
 *
 * It works on a padded copy of the frame (FEED_PADDING zero bytes behind it): a zero byte matches
 * no token, so no loop needs a bound and no load leaves the buffer. Each function takes the read
 * position and returns the position behind what it read, or NULL with the first error recorded.
 */
#ifndef RINGLANE_FEED_SCAN_H
#define RINGLANE_FEED_SCAN_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "feeds/native/message.h"

#define FEED_NESTING_MAX 24
#define FEED_DECIMALS_MAX 1000u

#if defined(__GNUC__)
#define FEED_COLD __attribute__((noinline, cold, unused))
#define FEED_LIKELY(x) __builtin_expect(!!(x), 1)
#else
#define FEED_COLD
#define FEED_LIKELY(x) (x)
#endif

typedef struct feed_scan {
    const char *begin;
    const char *end;
    uint32_t padded; /* a level's number ended in zeros behind its point */
    feed_error error;
} feed_scan;

static FEED_COLD const char *feed_fail(feed_scan *s, int code, const char *at, const char *field) {
    if (s->error.code == FEED_OK) {
        s->error.code = (at >= s->end && code != FEED_E_MISSING && code != FEED_E_UNRECOGNIZED)
                            ? FEED_E_TRUNCATED : code;
        s->error.offset = (uint32_t)(at - s->begin);
        s->error.field = field;
        s->error.index = -1;
    }
    return NULL;
}

/* As at the begin of a frame: nothing found yet. */
static inline void feed_scan_restart(feed_scan *s) {
    s->error.code = FEED_OK;
    s->error.field = "message";
    s->error.index = -1;
    s->error.offset = 0;
    s->padded = 0;
}

static inline const char *feed_ws(const char *p) {
    while (!FEED_LIKELY((unsigned char)*p > ' ') && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) p++;
    return p;
}

static inline int feed_is_hex(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* One UTF-8 sequence of two to four bytes (RFC 3629: no overlong form, no surrogate). */
static FEED_COLD const char *feed_utf8(const char *p) {
    const unsigned char *b = (const unsigned char *)p;
    unsigned low = 0x80, high = 0xBF;
    int more;
    if (b[0] >= 0xC2 && b[0] <= 0xDF) more = 1;
    else if (b[0] >= 0xE0 && b[0] <= 0xEF) more = 2;
    else if (b[0] >= 0xF0 && b[0] <= 0xF4) more = 3;
    else return NULL;
    if (b[0] == 0xE0) low = 0xA0;
    if (b[0] == 0xED) high = 0x9F;
    if (b[0] == 0xF0) low = 0x90;
    if (b[0] == 0xF4) high = 0x8F;
    if (b[1] < low || b[1] > high) return NULL;
    for (int i = 2; i <= more; i++)
        if (b[i] < 0x80 || b[i] > 0xBF) return NULL;
    return p + more + 1;
}

/* The high bit of each byte of a little-endian word that is below n (n <= 128); exact up to the first such byte. */
#define FEED_BYTES(c) (UINT64_C(0x0101010101010101) * (uint64_t)(unsigned char)(c))
static inline uint64_t feed_bytes_below(uint64_t w, unsigned n) { return (w - FEED_BYTES(n)) & ~w; }

/* Position of the first byte that is no plain character of a string: a quote, a backslash, a control, not ASCII. The
 * padding makes the loads safe, and its zeros end the search. */
static inline const char *feed_plain(const char *p) {
#ifdef __SSE2__
    for (;; p += 16) {
        const __m128i v = _mm_loadu_si128((const __m128i *)p);
        /* Signed: what is not ASCII is below the blank, as controls are. */
        const __m128i odd = _mm_or_si128(_mm_cmplt_epi8(v, _mm_set1_epi8(' ')),
                                         _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')),
                                                      _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'))));
        const uint32_t bits = (uint32_t)_mm_movemask_epi8(odd);
        if (FEED_LIKELY(bits != 0)) return p + __builtin_ctz(bits);
    }
#else
    for (;; p += 8) {
        uint64_t w, odd;
        memcpy(&w, p, 8);
        odd = feed_bytes_below(w ^ FEED_BYTES('"'), 1) | feed_bytes_below(w ^ FEED_BYTES('\\'), 1) |
              feed_bytes_below(w, 0x20) | w;
        odd &= FEED_BYTES(0x80);
        if (odd) return p + (__builtin_ctzll(odd) >> 3);
    }
#endif
}

/* `p` behind the opening quote; returns the position OF the closing quote. */
static inline const char *feed_string(feed_scan *s, const char *p, int *escaped, const char *field) {
    for (;;) {
        p = feed_plain(p);
        unsigned char c = (unsigned char)*p;
        if (c == '"') return p;
        if (c == '\\') {
            *escaped = 1;
            char e = p[1];
            if (e == 'u') {
                for (int i = 2; i < 6; i++)
                    if (!feed_is_hex(p[i])) return feed_fail(s, FEED_E_SYNTAX, p + i, field);
                p += 6;
            } else if (e && strchr("\"\\/bfnrt", e)) {
                p += 2;
            } else {
                return feed_fail(s, FEED_E_SYNTAX, p + 1, field);
            }
        } else if (c >= 0x80) {
            const char *next = feed_utf8(p);
            if (!next) return feed_fail(s, FEED_E_UTF8, p, field);
            p = next;
        } else {
            return feed_fail(s, FEED_E_SYNTAX, p, field);
        }
    }
}

static inline int feed_digit(char c) { return (unsigned char)(c - '0') <= 9; }

static const int64_t feed_pow10[19] = {
    1LL, 10LL, 100LL, 1000LL, 10000LL, 100000LL, 1000000LL, 10000000LL, 100000000LL, 1000000000LL,
    10000000000LL, 100000000000LL, 1000000000000LL, 10000000000000LL, 100000000000000LL,
    1000000000000000LL, 10000000000000000LL, 100000000000000000LL, 1000000000000000000LL};

/* ---- digits, eight at a time -------------------------------------------------------------------- */

/* Eight bytes, '0' taken off each, and the high bit of each byte that was no digit: exact up to the first such byte,
 * and up to the second where the first is below 0x80. A load needs the padding. */
static inline uint64_t feed_digits_load(const char *p, uint64_t *odd) {
    uint64_t w;
    memcpy(&w, p, 8);
    w ^= FEED_BYTES('0');
    *odd = ((w + FEED_BYTES(0x76)) | w) & FEED_BYTES(0x80);
    return w;
}

/* The number of eight digits, first digit in the lowest byte: neighbors are joined to pairs, fours, all. */
static inline uint64_t feed_digits_join(uint64_t w) {
    w = w * 10 + (w >> 8);
    return ((w & UINT64_C(0x000000FF000000FF)) * UINT64_C(0x000F424000000064) +
            (w >> 16 & UINT64_C(0x000000FF000000FF)) * UINT64_C(0x0000271000000001)) >> 32;
}

/* The number of the first n < 8 of them; 0 of none. */
static inline uint64_t feed_digits_join_first(uint64_t w, uint32_t n) { return feed_digits_join(w << (56 - 8 * n) << 8); }

/* Appends all digits at `p` to *value, which wraps when they are too many; returns the position behind them. */
static inline const char *feed_digits(const char *p, uint64_t *value) {
    for (;;) {
        uint64_t odd, w = feed_digits_load(p, &odd);
        if (FEED_LIKELY(odd != 0)) {
            uint32_t n = (uint32_t)__builtin_ctzll(odd) >> 3;
            *value = *value * (uint64_t)feed_pow10[n] + feed_digits_join_first(w, n);
            return p + n;
        }
        *value = *value * 100000000u + feed_digits_join(w);
        p += 8;
    }
}

/* A JSON number of any form; `*integer` says whether it is a non-negative integer of at most 18 digits. */
static inline const char *feed_number(feed_scan *s, const char *p, int *integer, int64_t *value,
                                      const char *field) {
    const char *start = p;
    uint64_t v = 0;
    p = feed_digits(p, &v);
    long digits = p - start;
    if (FEED_LIKELY(digits > 0 && digits <= 18 && *p != '.' && (*p | 32) != 'e' && (*start != '0' || digits == 1))) {
        *integer = 1;
        *value = (int64_t)v;
        return p;
    }
    *integer = 0;
    p = start;
    if (*p == '-') p++;
    if (*p == '0') p++;
    else if (*p >= '1' && *p <= '9') while (feed_digit(*p)) p++;
    else return feed_fail(s, FEED_E_SYNTAX, p, field);
    if (*p == '.') {
        p++;
        if (!feed_digit(*p)) return feed_fail(s, FEED_E_SYNTAX, p, field);
        while (feed_digit(*p)) p++;
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        if (*p == '+' || *p == '-') p++;
        if (!feed_digit(*p)) return feed_fail(s, FEED_E_SYNTAX, p, field);
        while (feed_digit(*p)) p++;
    }
    if (feed_digit(*p)) return feed_fail(s, FEED_E_SYNTAX, p, field); /* 01 */
    return p;
}

static FEED_COLD const char *feed_skip(feed_scan *s, const char *p, int nesting, const char *field);

static FEED_COLD const char *feed_skip_many(feed_scan *s, const char *p, int nesting, const char *field) {
    const char open = *p, close = open == '{' ? '}' : ']';
    if (nesting >= FEED_NESTING_MAX) return feed_fail(s, FEED_E_NESTING, p, field);
    p = feed_ws(p + 1);
    if (*p == close) return p + 1;
    for (;;) {
        if (open == '{') {
            int escaped = 0;
            if (*p != '"') return feed_fail(s, FEED_E_SYNTAX, p, field);
            if (!(p = feed_string(s, p + 1, &escaped, field))) return NULL;
            p = feed_ws(p + 1);
            if (*p != ':') return feed_fail(s, FEED_E_SYNTAX, p, field);
            p = feed_ws(p + 1);
        }
        if (!(p = feed_skip(s, p, nesting + 1, field))) return NULL;
        p = feed_ws(p);
        if (*p == close) return p + 1;
        if (*p != ',') return feed_fail(s, FEED_E_SYNTAX, p, field);
        p = feed_ws(p + 1);
    }
}

/* Reads over one value of any type, checking all of it. */
static FEED_COLD const char *feed_skip(feed_scan *s, const char *p, int nesting, const char *field) {
    int escaped = 0, integer;
    int64_t value;
    switch (*p) {
    case '{':
    case '[':
        return feed_skip_many(s, p, nesting, field);
    case '"':
        p = feed_string(s, p + 1, &escaped, field);
        return p ? p + 1 : NULL;
    case 't':
        return strncmp(p, "true", 4) ? feed_fail(s, FEED_E_SYNTAX, p, field) : p + 4;
    case 'f':
        return strncmp(p, "false", 5) ? feed_fail(s, FEED_E_SYNTAX, p, field) : p + 5;
    case 'n':
        return strncmp(p, "null", 4) ? feed_fail(s, FEED_E_SYNTAX, p, field) : p + 4;
    default:
        return feed_number(s, p, &integer, &value, field);
    }
}

/* ---- decimals -------------------------------------------------------------------------------- */

/* The general case: any length, zeros in front and behind do not count. */
static FEED_COLD const char *feed_decimal_long(feed_scan *s, const char *p, int64_t *mantissa,
                                               uint32_t *decimals, const char *field) {
    const char *start = p, *last = NULL;
    uint64_t v = 0;
    uint32_t fraction = 0, kept = 0;
    while (feed_digit(*p)) p++;
    if (p == start) return feed_fail(s, FEED_E_NUMBER, p, field);
    if (*p == '.') {
        const char *point = p++;
        while (feed_digit(*p)) {
            if (*p != '0') last = p;
            p++;
        }
        if (p == point + 1) return feed_fail(s, FEED_E_NUMBER, p, field);
        fraction = (uint32_t)(p - point - 1);
        kept = last ? (uint32_t)(last - point) : 0;
    }
    if (*p != '"') return feed_fail(s, FEED_E_NUMBER, p, field);
    if (fraction > FEED_DECIMALS_MAX) return feed_fail(s, FEED_E_RANGE, start, field);
    const char *stop = p - fraction + kept;
    for (const char *q = start; q < stop; q++) {
        if (*q == '.') continue;
        unsigned d = (unsigned)(*q - '0');
        if (__builtin_mul_overflow(v, (uint64_t)10, &v) || __builtin_add_overflow(v, (uint64_t)d, &v) ||
            v > (uint64_t)INT64_MAX)
            return feed_fail(s, FEED_E_RANGE, start, field);
    }
    *mantissa = (int64_t)v;
    *decimals = kept;
    return p;
}

/* The common case of a decimal: up to fifteen bytes and the closing quote; NULL for any other, good or bad. */
static inline const char *feed_decimal_short(const char *p, int64_t *mantissa, uint32_t *decimals) {
    uint64_t odd, w = feed_digits_load(p, &odd);
    const uint64_t behind = odd & (odd - 1);
    const uint32_t first = odd ? (uint32_t)__builtin_ctzll(odd) >> 3 : 0;
    if (FEED_LIKELY(p[first] == '.' && first)) {
        /* The digits behind the point move up to those before it. */
        const uint64_t whole = ((odd & -odd) >> 7) - 1;
        if (behind) {
            const uint32_t second = (uint32_t)__builtin_ctzll(behind) >> 3;
            if (!FEED_LIKELY(p[second] == '"' && second > first + 1)) return NULL;
            *mantissa = (int64_t)feed_digits_join_first((w & whole) | (w >> 8 & ~whole), second - 1);
            *decimals = second - first - 1;
            return p + second;
        }
        uint64_t far, more = feed_digits_load(p + 8, &far);
        if (!FEED_LIKELY(far != 0)) return NULL;
        const uint32_t second = (uint32_t)__builtin_ctzll(far) >> 3;
        if (!FEED_LIKELY(p[8 + second] == '"' && first < 7 + second)) return NULL;
        w = (w & whole) | ((w >> 8 | more << 56) & ~whole);
        *mantissa = (int64_t)(second ? feed_digits_join(w) * (uint64_t)feed_pow10[second - 1] +
                                           feed_digits_join_first(more >> 8, second - 1)
                                     : feed_digits_join_first(w, 7));
        *decimals = 7 + second - first;
        return p + 8 + second;
    }
    *decimals = 0;
    if (FEED_LIKELY(odd != 0)) {
        *mantissa = (int64_t)feed_digits_join_first(w, first);
        return FEED_LIKELY(p[first] == '"' && first) ? p + first : NULL;
    }
    uint64_t far, more = feed_digits_load(p + 8, &far);
    if (!FEED_LIKELY(far != 0)) return NULL;
    const uint32_t second = (uint32_t)__builtin_ctzll(far) >> 3;
    *mantissa = (int64_t)(feed_digits_join(w) * (uint64_t)feed_pow10[second] + feed_digits_join_first(more, second));
    return FEED_LIKELY(p[8 + second] == '"') ? p + 8 + second : NULL;
}

/* `p` behind the opening quote; returns the position OF the closing quote. Digits, at most one point
 * with digits on both sides, nothing else. */
static inline const char *feed_decimal_text(feed_scan *s, const char *p, int64_t *mantissa,
                                            uint32_t *decimals, const char *field) {
    const char *start = p, *end = feed_decimal_short(p, mantissa, decimals);
    uint64_t v = 0;
    uint32_t fraction = 0;
    if (FEED_LIKELY(end != NULL)) return end;
    p = feed_digits(p, &v);
    const char *point = p;
    if (*p == '.') {
        p = feed_digits(p + 1, &v);
        fraction = (uint32_t)(p - point - 1);
        if (fraction == 0) return feed_fail(s, FEED_E_NUMBER, p, field);
    }
    if (!FEED_LIKELY(*p == '"' && point != start && p - start <= 18))
        return feed_decimal_long(s, start, mantissa, decimals, field);
    *mantissa = (int64_t)v;
    *decimals = fraction;
    return p;
}

/* mantissa * 10^-decimals as a count of 10^-exponent; 0 when that is not exact or too large. */
static inline int feed_scale(int64_t *value, uint32_t decimals, uint32_t exponent) {
    if (FEED_LIKELY(decimals == exponent) || *value == 0) return 1;
    if (decimals < exponent)
        return exponent - decimals <= 18 && !__builtin_mul_overflow(*value, feed_pow10[exponent - decimals], value);
    if (decimals - exponent > 18 || *value % feed_pow10[decimals - exponent]) return 0;
    *value /= feed_pow10[decimals - exponent];
    return 1;
}

#endif
