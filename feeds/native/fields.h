/* The fields of an object that has been read: what must be there, of which type, within which range.
 *
 * Each function gives 1, or 0 with the first error recorded.
 */
#ifndef RINGLANE_FEED_FIELDS_H
#define RINGLANE_FEED_FIELDS_H

#include <stdint.h>

#include "feeds/native/object.h"

static inline int feed_has(const feed_object *o, uint32_t number) { return (int)(o->seen >> number & 1); }

static inline int feed_want(feed_scan *s, const feed_keymap *map, const feed_object *o, uint32_t number, int type) {
    if (!feed_has(o, number)) {
        feed_fail(s, FEED_E_MISSING, s->end, map->key[number].name);
        return 0;
    }
    const feed_field *f = &o->field[number];
    if (f->type != type) {
        if (type == FEED_T_LEVELS && f->error.code != FEED_OK && f->type == FEED_T_ARRAY) s->error = f->error;
        else feed_fail(s, FEED_E_TYPE, s->begin + f->offset, map->key[number].name);
        return 0;
    }
    if (f->type == FEED_T_STRING && f->escaped) {
        feed_fail(s, FEED_E_ESCAPE, s->begin + f->offset, map->key[number].name);
        return 0;
    }
    return 1;
}

static inline int feed_want_integer(feed_scan *s, const feed_keymap *map, const feed_object *o,
                                    uint32_t number, int64_t *out) {
    if (!feed_want(s, map, o, number, FEED_T_INTEGER)) return 0;
    *out = o->field[number].number;
    return 1;
}

/* A millisecond stamp as ns. */
static inline int feed_want_ms(feed_scan *s, const feed_keymap *map, const feed_object *o, uint32_t number,
                               int64_t *out) {
    if (!feed_want(s, map, o, number, FEED_T_INTEGER)) return 0;
    if (__builtin_mul_overflow(o->field[number].number, (int64_t)1000000, out)) {
        feed_fail(s, FEED_E_RANGE, s->begin + o->field[number].offset, map->key[number].name);
        return 0;
    }
    return 1;
}

/* An integer that may be negative, at most 18 digits. */
static inline int feed_want_signed(feed_scan *s, const feed_keymap *map, const feed_object *o, uint32_t number,
                                   int64_t *out) {
    if (feed_has(o, number) && o->field[number].type == FEED_T_NUMBER) {
        const char *start = s->begin + o->field[number].offset, *p = start + 1;
        int64_t v = 0;
        while (feed_digit(*p) && p - start <= 18) v = v * 10 + (*p++ - '0');
        if (*start != '-' || feed_digit(*p) || *p == '.' || (*p | 32) == 'e') {
            feed_fail(s, FEED_E_TYPE, start, map->key[number].name);
            return 0;
        }
        *out = -v;
        return 1;
    }
    return feed_want_integer(s, map, o, number, out);
}

/* Digits in a string. */
static inline int feed_want_digits(feed_scan *s, const feed_keymap *map, const feed_object *o, uint32_t number,
                                   int64_t *out) {
    if (!feed_want(s, map, o, number, FEED_T_STRING)) return 0;
    const feed_field *f = &o->field[number];
    const char *p = s->begin + f->offset;
    uint64_t v = 0;
    if (FEED_LIKELY(f->bytes && f->bytes <= 18)) {
        const char *end = feed_digits(p, &v);
        *out = (int64_t)v;
        return end == p + f->bytes || feed_fail(s, FEED_E_NUMBER, end, map->key[number].name) != NULL;
    }
    for (uint32_t i = 0; i < f->bytes; i++) {
        if (!feed_digit(p[i])) {
            feed_fail(s, FEED_E_NUMBER, p + i, map->key[number].name);
            return 0;
        }
        if (__builtin_mul_overflow(v, (uint64_t)10, &v) || __builtin_add_overflow(v, (uint64_t)(p[i] - '0'), &v) ||
            v > (uint64_t)INT64_MAX) {
            feed_fail(s, FEED_E_RANGE, p, map->key[number].name);
            return 0;
        }
    }
    if (!f->bytes) {
        feed_fail(s, FEED_E_NUMBER, p, map->key[number].name);
        return 0;
    }
    *out = (int64_t)v;
    return 1;
}

/* A millisecond stamp in a string, as ns. */
static inline int feed_want_ms_text(feed_scan *s, const feed_keymap *map, const feed_object *o, uint32_t number,
                                    int64_t *out) {
    if (!feed_want_digits(s, map, o, number, out)) return 0;
    if (__builtin_mul_overflow(*out, (int64_t)1000000, out)) {
        feed_fail(s, FEED_E_RANGE, s->begin + o->field[number].offset, map->key[number].name);
        return 0;
    }
    return 1;
}

/* A decimal in a string; a minus sign only where `is_signed`. */
static inline int feed_want_decimal(feed_scan *s, const feed_keymap *map, const feed_object *o,
                                    uint32_t number, int is_signed, feed_decimal *out) {
    if (!feed_want(s, map, o, number, FEED_T_STRING)) return 0;
    const feed_field *f = &o->field[number];
    const char *p = s->begin + f->offset;
    int minus = is_signed && *p == '-';
    out->offset = f->offset;
    out->field = map->key[number].name;
    if (!feed_decimal_text(s, p + minus, &out->mantissa, &out->decimals, out->field)) return 0;
    if (minus) out->mantissa = -out->mantissa;
    return 1;
}

#endif
