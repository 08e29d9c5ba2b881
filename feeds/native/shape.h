/* A message read by what the last one of its kind was: the same bytes, other values.
 *
 * A venue writes a message in the same way each time, so that mostly only some values differ: the symbol, numbers,
 * levels. A shape is learned from a message that was read key by key and accepted: for each of these values the text that
 * stands before it, and the text behind the last. A frame that has exactly these texts, and between them values of
 * exactly the forms below, is what reading it key by key would find: the same keys, in the same objects, and the new
 * values. For any other frame nothing is said and nothing is changed: it is read key by key, and whatever is wrong with
 * it is found there.
 */
#ifndef RINGLANE_FEED_SHAPE_H
#define RINGLANE_FEED_SHAPE_H

#include <stdint.h>
#include <string.h>

#include "feeds/native/object.h"

#define FEED_PARTS_MAX 12u
#define FEED_TEXT_WORDS 6u
#define FEED_TEXT_MAX (8 * FEED_TEXT_WORDS) /* below FEED_PADDING: a comparison may read behind the frame */
#define FEED_SHAPE_AFTER 8u /* a shape is learned anew when so many messages had another one since it fitted */

/* The forms of values. */
enum {
    FEED_S_NONE = 0,    /* a text that goes on in the next part */
    FEED_S_STRING = 1,  /* plain characters, no escape */
    FEED_S_DIGITS = 2,  /* a string of 1 to 18 digits */
    FEED_S_INTEGER = 3, /* a number of 1 to 18 digits */
    FEED_S_SIGNED = 4,  /* the same, or with a minus sign */
    FEED_S_BIDS = 5,
    FEED_S_ASKS = 6,
    FEED_S_END = 7, /* nothing follows */
};

/* A value, and where the message it is learned from has it. */
typedef struct feed_slot {
    uint32_t form;
    uint32_t number; /* the owner's, from 0: index of its value in feed_values */
    const feed_field *field;
} feed_slot;

typedef struct feed_part {
    uint64_t text[FEED_TEXT_WORDS]; /* before the value, zeros behind it */
    uint64_t mask[FEED_TEXT_WORDS];
    uint32_t bytes;
    uint32_t form;
    uint32_t number;
} feed_part;

typedef struct feed_shape {
    uint32_t count; /* parts, 0 = none learned */
    uint32_t missed;
    uint32_t has; /* bit per owner's number */
    int extra;
    feed_part part[FEED_PARTS_MAX];
} feed_shape;

typedef struct feed_values {
    int64_t number[FEED_PARTS_MAX];
    const char *text;
    uint32_t text_bytes; /* of the only STRING */
    uint32_t level_count[2];
} feed_values;

static inline int feed_part_is(const feed_part *part, const char *p) {
#ifdef __SSE2__
    __m128i differ = _mm_setzero_si128();
    for (int i = 0; i < (int)(FEED_TEXT_WORDS / 2); i++) {
        const __m128i w = _mm_loadu_si128((const __m128i *)p + i), mask = _mm_loadu_si128((const __m128i *)part->mask + i);
        differ = _mm_or_si128(differ, _mm_xor_si128(_mm_and_si128(w, mask), _mm_loadu_si128((const __m128i *)part->text + i)));
    }
    return _mm_movemask_epi8(_mm_cmpeq_epi8(differ, _mm_setzero_si128())) == 0xFFFF;
#else
    uint64_t w[FEED_TEXT_WORDS], differ = 0;
    memcpy(w, p, sizeof w);
    for (uint32_t i = 0; i < FEED_TEXT_WORDS; i++) differ |= (w[i] & part->mask[i]) ^ part->text[i];
    return differ == 0;
#endif
}

/* 1 to 18 digits, no zero before others unless `padded`; returns the position behind them or NULL. */
static inline const char *feed_shape_digits(const char *p, int padded, int64_t *out) {
    uint64_t v = 0;
    const char *end = feed_digits(p, &v);
    *out = (int64_t)v;
    return FEED_LIKELY(end > p && end - p <= 18 && (padded || *p != '0' || end - p == 1)) ? end : NULL;
}

/* Whether the frame has this shape; its values then. If not, the scanner is as it was. */
static inline int feed_shape_read(feed_shape *shape, feed_scan *s, feed_level *const *levels, feed_values *out) {
    const char *p = s->begin;
    for (const feed_part *part = shape->part;; part++) {
        if (!FEED_LIKELY(feed_part_is(part, p))) break;
        p += part->bytes;
        const char *const start = p;
        int64_t *number = &out->number[part->number];
        switch (part->form) {
        case FEED_S_NONE:
            continue;
        case FEED_S_STRING:
            p = feed_plain(p);
            out->text = start;
            out->text_bytes = (uint32_t)(p - start);
            break; /* what is no plain character is the quote, or the text behind it does not fit */
        case FEED_S_DIGITS:
            p = feed_shape_digits(p, 1, number);
            break;
        case FEED_S_INTEGER:
            p = feed_shape_digits(p, 0, number);
            break;
        case FEED_S_SIGNED:
            p = feed_shape_digits(p + (*start == '-'), 0, number);
            if (*start == '-') *number = -*number;
            break;
        case FEED_S_END:
            if (p != s->end) goto other;
            shape->missed = 0;
            return 1;
        default: {
            const int side = part->form == FEED_S_ASKS;
            p = *p == '[' ? feed_levels(s, p, levels[side], &out->level_count[side], shape->extra, "levels") : NULL;
        }
        }
        if (!FEED_LIKELY(p != NULL)) break;
    }
other:
    feed_scan_restart(s);
    return 0;
}

/* Behind a value of the learned message. */
static FEED_COLD const char *feed_shape_behind(feed_scan *s, const feed_slot *slot) {
    const char *p = s->begin + slot->field->offset;
    if (slot->form == FEED_S_STRING || slot->form == FEED_S_DIGITS) return p + slot->field->bytes;
    return feed_skip(s, p, 1, "shape");
}

static FEED_COLD int feed_shape_add(feed_shape *shape, const char *text, uint32_t bytes, uint32_t form, uint32_t number) {
    do {
        if (shape->count == FEED_PARTS_MAX) return 0;
        feed_part *part = &shape->part[shape->count++];
        const uint32_t n = bytes < FEED_TEXT_MAX ? bytes : FEED_TEXT_MAX;
        memset(part, 0, sizeof *part);
        memcpy(part->text, text, n);
        memset(part->mask, 0xFF, n);
        part->bytes = n;
        part->form = n == bytes ? form : FEED_S_NONE;
        part->number = number;
        text += n;
        bytes -= n;
    } while (shape->part[shape->count - 1].form != form);
    return 1;
}

/* Learns the shape of the message that was just read, unless one is known that fitted of late. `slots` are the values
 * that differ, in any order; those whose field was not `seen` are left out by the caller. */
static FEED_COLD void feed_shape_learn(feed_shape *shape, feed_scan *s, feed_slot *slots, uint32_t count, int extra) {
    const char *at = s->begin;
    if (shape->count && ++shape->missed < FEED_SHAPE_AFTER) return;
    shape->count = shape->missed = shape->has = 0;
    shape->extra = extra;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t first = i;
        for (uint32_t k = i + 1; k < count; k++)
            if (slots[k].field->offset < slots[first].field->offset) first = k;
        const feed_slot slot = slots[first];
        slots[first] = slots[i];
        const char *begin = s->begin + slot.field->offset;
        if (!feed_shape_add(shape, at, (uint32_t)(begin - at), slot.form, slot.number) ||
            !(at = feed_shape_behind(s, &slot))) {
            shape->count = 0;
            return;
        }
        shape->has |= 1u << slot.number;
    }
    if (!feed_shape_add(shape, at, (uint32_t)(s->end - at), FEED_S_END, 0)) shape->count = 0;
}

#endif
