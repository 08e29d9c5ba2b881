/* Whole objects: wanted keys into fields, everything else checked and read over.
 *
 * What a field means is decided after the object has been read, so keys may come in any order. A key
 * given twice is an error, wanted or not: which of the two would count?
 */
#ifndef RINGLANE_FEED_OBJECT_H
#define RINGLANE_FEED_OBJECT_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "feeds/native/levels.h"

#define FEED_UNKNOWN_MAX 64
#define FEED_FIELDS_MAX 40

/* ---- objects --------------------------------------------------------------------------------- */

enum {
    FEED_T_ABSENT = 0,
    FEED_T_STRING = 1,
    FEED_T_INTEGER = 2, /* non-negative, at most 18 digits */
    FEED_T_NUMBER = 3,  /* any other number */
    FEED_T_TRUE = 4,
    FEED_T_FALSE = 5,
    FEED_T_NULL = 6,
    FEED_T_ARRAY = 7,
    FEED_T_OBJECT = 8,
    FEED_T_LEVELS = 9,
};

typedef struct feed_field {
    uint8_t type;
    uint8_t escaped; /* the string holds an escape */
    uint32_t offset; /* of the content (behind the quote of a string) */
    uint32_t bytes;
    int64_t number;
    feed_error error; /* of an array that is no level array */
} feed_field;

typedef struct feed_name {
    const char *name;
    uint32_t bytes;
    uint64_t word; /* its first eight bytes, zeros behind its end */
    uint64_t quoted[2]; /* the name in its quotes and the colon, zeros behind them */
    uint64_t mask[2];   /* their bytes; of a name that is longer than 13 none, and `quoted` matches nothing */
} feed_name;

/* Which keys of an object are wanted. Field numbers start at 1; 0 is "unknown". */
typedef struct feed_keymap {
    uint32_t count;
    feed_name key[FEED_FIELDS_MAX];
    uint8_t letter[128];    /* field number of a one-letter key */
    uint32_t level_field[2]; /* numbers of the fields that hold levels */
    uint32_t nested_field;  /* number of the field that holds the wrapped object */
    int extra;              /* further elements of a level that are read over */
} feed_keymap;

typedef struct feed_object {
    uint64_t seen; /* bit per field number */
    uint8_t next[FEED_FIELDS_MAX]; /* the wanted field that stood behind this one last time, 0 = the first */
    feed_field field[FEED_FIELDS_MAX];
    uint32_t unknown_count;
    uint32_t unknown_offset[FEED_UNKNOWN_MAX];
    uint32_t unknown_bytes[FEED_UNKNOWN_MAX];
    feed_level *levels[2];
    uint32_t level_count[2];
} feed_object;

static inline void feed_object_reset(feed_object *o, feed_level *bids, feed_level *asks) {
    o->seen = 0;
    o->unknown_count = 0;
    o->levels[0] = bids;
    o->levels[1] = asks;
    o->level_count[0] = o->level_count[1] = 0;
}

static inline uint32_t feed_key_add(feed_keymap *map, const char *name) {
    uint32_t number = ++map->count;
    map->key[number].name = name;
    map->key[number].bytes = (uint32_t)strlen(name);
    map->key[number].word = 0;
    memcpy(&map->key[number].word, name, map->key[number].bytes < 8 ? map->key[number].bytes : 8);
    if (number == 1)
        for (uint32_t i = 0; i < FEED_FIELDS_MAX; i++) map->key[i].quoted[0] = 1; /* what an unset one is not */
    if (map->key[number].bytes <= 13) {
        char quoted[16] = {'"'};
        memcpy(quoted + 1, name, map->key[number].bytes);
        memcpy(quoted + 1 + map->key[number].bytes, "\":", 2);
        memcpy(map->key[number].quoted, quoted, 16);
        memset(quoted, 0xFF, map->key[number].bytes + 3);
        memcpy(map->key[number].mask, quoted, 16);
    }
    if (map->key[number].bytes == 1) map->letter[(unsigned char)name[0] & 127] = (uint8_t)number;
    return number;
}

static inline uint32_t feed_key_find(const feed_keymap *map, const char *p, uint32_t bytes) {
    uint64_t word;
    memcpy(&word, p, 8);
    if (bytes < 8) word &= bytes ? ~UINT64_C(0) >> (64 - 8 * bytes) : 0;
    for (uint32_t i = 1; i <= map->count; i++)
        if (map->key[i].word == word && map->key[i].bytes == bytes &&
            (bytes <= 8 || memcmp(map->key[i].name + 8, p + 8, bytes - 8) == 0))
            return i;
    return 0;
}

/* Whether what stands at `p` is this key in its quotes and the colon. A venue writes its keys in the same order each
 * time, so that one look mostly does instead of a search. */
static inline int feed_key_is(const feed_name *name, const char *p) {
    uint64_t w[2];
    memcpy(w, p, 16);
    return !(((w[0] & name->mask[0]) ^ name->quoted[0]) | ((w[1] & name->mask[1]) ^ name->quoted[1]));
}

/* Remembers an unknown key so that a second one is noticed. */
static FEED_COLD int feed_unknown(feed_scan *s, feed_object *o, const char *p, uint32_t bytes) {
    for (uint32_t i = 0; i < o->unknown_count; i++)
        if (o->unknown_bytes[i] == bytes && memcmp(s->begin + o->unknown_offset[i], p, bytes) == 0) {
            feed_fail(s, FEED_E_DUPLICATE, p, "key");
            return 0;
        }
    if (o->unknown_count == FEED_UNKNOWN_MAX) {
        feed_fail(s, FEED_E_KEYS, p, "key");
        return 0;
    }
    o->unknown_offset[o->unknown_count] = (uint32_t)(p - s->begin);
    o->unknown_bytes[o->unknown_count++] = bytes;
    return 1;
}

/* Reads the value of a wanted field that is no string and no number, or says what is wrong with it. */
static const char *feed_value_other(feed_scan *s, const char *p, const feed_keymap *map, uint32_t number, feed_object *o,
                                    int nesting) {
    feed_field *f = &o->field[number];
    const char *name = map->key[number].name;
    switch (*p) {
    case '[': {
        int side = number == map->level_field[0] ? 0 : number == map->level_field[1] ? 1 : -1;
        f->type = FEED_T_ARRAY;
        f->error.code = FEED_OK;
        if (side >= 0) {
            const char *q = feed_levels(s, p, o->levels[side], &o->level_count[side], map->extra, name);
            if (FEED_LIKELY(q != NULL)) {
                f->type = FEED_T_LEVELS;
                return q;
            }
            /* An error only if the message turns out to be one with levels here. */
            f->error = s->error;
            s->error.code = FEED_OK;
        }
        break;
    }
    case '{':
        f->type = FEED_T_OBJECT;
        break;
    case 't':
        f->type = FEED_T_TRUE;
        break;
    case 'f':
        f->type = FEED_T_FALSE;
        break;
    default: /* null, or nothing that a value begins with */
        f->type = FEED_T_NULL;
    }
    return feed_skip(s, p, nesting, name);
}

/* Reads the value of a wanted field. */
static inline const char *feed_value(feed_scan *s, const char *p, const feed_keymap *map, uint32_t number,
                                     feed_object *o, int nesting) {
    feed_field *f = &o->field[number];
    const char *name = map->key[number].name;
    f->escaped = 0;
    f->offset = (uint32_t)(p - s->begin);
    if (*p == '"') {
        int escaped = 0;
        const char *q = feed_string(s, p + 1, &escaped, name);
        if (!q) return NULL;
        f->type = FEED_T_STRING;
        f->escaped = (uint8_t)escaped;
        f->offset++;
        f->bytes = (uint32_t)(q - p - 1);
        return q + 1;
    }
    if (feed_digit(*p) || *p == '-') {
        int integer;
        p = feed_number(s, p, &integer, &f->number, name);
        f->type = integer ? FEED_T_INTEGER : FEED_T_NUMBER;
        return p;
    }
    return feed_value_other(s, p, map, number, o, nesting);
}

static const char *feed_read_object(feed_scan *s, const char *p, const feed_keymap *map, feed_object *o,
                                    const feed_keymap *inner_map, feed_object *inner, int nesting);

/* Reads the key at `p` that was not the expected one, and the colon; returns the position of the value. */
static FEED_COLD const char *feed_key_any(feed_scan *s, const char *p, const feed_keymap *map, feed_object *o, uint32_t last,
                                          uint32_t *number) {
    int escaped = 0;
    if (*p != '"') return feed_fail(s, FEED_E_SYNTAX, p, "key");
    const char *key = p + 1;
    if (!(p = feed_string(s, key, &escaped, "key"))) return NULL;
    if (escaped) return feed_fail(s, FEED_E_ESCAPE, key, "key");
    *number = feed_key_find(map, key, (uint32_t)(p - key));
    o->next[last] = (uint8_t)*number;
    if (*number == 0) {
        if (!feed_unknown(s, o, key, (uint32_t)(p - key))) return NULL;
    } else if (o->seen & (1ull << *number)) {
        return feed_fail(s, FEED_E_DUPLICATE, key, map->key[*number].name);
    }
    p = feed_ws(p + 1);
    if (*p != ':') return feed_fail(s, FEED_E_SYNTAX, p, "key");
    return feed_ws(p + 1);
}

/* Reads the members from the key at `p` to the closing brace; `inner` receives the object of map->nested_field.
 *
 * At the value of field `stop` it returns early: `*stopped` is set and the position is that of the value. What the
 * value means is then known from the members before it; `feed_resume` goes on behind it. */
static const char *feed_members(feed_scan *s, const char *p, const feed_keymap *map, feed_object *o,
                                const feed_keymap *inner_map, feed_object *inner, int nesting, uint32_t stop,
                                int *stopped) {
    for (uint32_t last = 0;;) {
        uint32_t number = o->next[last];
        if (FEED_LIKELY(feed_key_is(&map->key[number], p) && !(o->seen >> number & 1))) p = feed_ws(p + map->key[number].bytes + 3);
        else if (!(p = feed_key_any(s, p, map, o, last, &number))) return NULL;
        if (!FEED_LIKELY(number)) {
            p = feed_skip(s, p, nesting + 1, "unknown key");
        } else {
            last = number;
            o->seen |= 1ull << number;
            if (number == stop) {
                o->field[number].offset = (uint32_t)(p - s->begin);
                *stopped = 1;
                return p;
            }
            if (number == map->nested_field && inner && *p == '{') {
                o->field[number].type = FEED_T_OBJECT;
                p = feed_read_object(s, p, inner_map, inner, NULL, NULL, nesting + 1);
            } else {
                p = feed_value(s, p, map, number, o, nesting + 1);
            }
        }
        if (!p) return NULL;
        p = feed_ws(p);
        if (*p == '}') return p + 1;
        if (*p != ',') return feed_fail(s, FEED_E_SYNTAX, p, "message");
        p = feed_ws(p + 1);
    }
}

/* Reads the object at `p`. `inner` receives the object of map->nested_field. */
static const char *feed_read_object(feed_scan *s, const char *p, const feed_keymap *map, feed_object *o,
                                    const feed_keymap *inner_map, feed_object *inner, int nesting) {
    int stopped = 0;
    if (*p != '{') return feed_fail(s, FEED_E_TYPE, p, "message");
    p = feed_ws(p + 1);
    if (*p == '}') return p + 1;
    return feed_members(s, p, map, o, inner_map, inner, nesting, 0, &stopped);
}

/* Begins a frame that is one object and stops at the value of field `stop`; without that field it reads all of it. */
static inline const char *feed_enter(feed_scan *s, const feed_keymap *map, feed_object *o, const feed_keymap *inner_map,
                                     feed_object *inner, uint32_t stop, int *stopped) {
    const char *p = feed_ws(s->begin);
    *stopped = 0;
    if (p >= s->end) return feed_fail(s, FEED_E_TRUNCATED, p, "message");
    if (*p != '{') return feed_fail(s, FEED_E_TYPE, p, "message");
    p = feed_ws(p + 1);
    if (*p == '}') return p + 1;
    return feed_members(s, p, map, o, inner_map, inner, 0, stop, stopped);
}

/* Goes on behind the value that `feed_enter` stopped at, to the end of the object. */
static inline const char *feed_resume(feed_scan *s, const char *p, const feed_keymap *map, feed_object *o,
                                      const feed_keymap *inner_map, feed_object *inner) {
    int stopped = 0;
    p = feed_ws(p);
    if (*p == '}') return p + 1;
    if (*p != ',') return feed_fail(s, FEED_E_SYNTAX, p, "message");
    return feed_members(s, feed_ws(p + 1), map, o, inner_map, inner, 0, 0, &stopped);
}

/* Whether nothing stands behind the frame's object. */
static inline int feed_leave(feed_scan *s, const char *p) {
    p = feed_ws(p);
    if (p == s->end) return 1;
    feed_fail(s, FEED_E_TRAILING, p, "message");
    return 0;
}

/* Reads over the value at `p`, checking all of it. */
static inline const char *feed_over_value(feed_scan *s, const char *p) { return feed_skip(s, p, 1, "data"); }

/* The next object of the list at `p` ('[' or behind an object): reset and filled, `*done` set at the end instead. */
static inline const char *feed_next_object(feed_scan *s, const char *p, int first, const feed_keymap *map, feed_object *o,
                                           int nesting, int *done) {
    *done = 0;
    if (first) {
        if (*p != '[') return feed_fail(s, FEED_E_TYPE, p, "data");
        p = feed_ws(p + 1);
    } else {
        p = feed_ws(p);
        if (*p == ',') {
            p = feed_ws(p + 1);
            first = 2;
        }
    }
    if (first != 2 && *p == ']') {
        *done = 1;
        return p + 1;
    }
    if (!first) return feed_fail(s, FEED_E_SYNTAX, p, "data");
    feed_object_reset(o, o->levels[0], o->levels[1]);
    return feed_read_object(s, p, map, o, NULL, NULL, nesting);
}

/* Reads a whole frame that is one object, nothing behind it. */
static inline int feed_read_frame(feed_scan *s, const feed_keymap *map, feed_object *o,
                                  const feed_keymap *inner_map, feed_object *inner) {
    const char *p = feed_ws(s->begin);
    if (p >= s->end) return feed_fail(s, FEED_E_TRUNCATED, p, "message") != NULL;
    if (!(p = feed_read_object(s, p, map, o, inner_map, inner, 0))) return 0;
    p = feed_ws(p);
    if (p != s->end) {
        feed_fail(s, FEED_E_TRAILING, p, "message");
        return 0;
    }
    return 1;
}

/* ---- scratch --------------------------------------------------------------------------------- */

/* Copies a frame into the padded buffer and readies the scanner; 0 with an error set when it can not. */
static inline int feed_begin(feed_scratch *scratch, feed_scan *s, const char *p, int64_t n) {
    feed_scan_restart(s);
    s->begin = s->end = NULL;
    if (n < 0 || n > (int64_t)FEED_FRAME_MAX) {
        s->error.code = FEED_E_SIZE;
        return 0;
    }
    if (!scratch->text || (uint32_t)n + FEED_PADDING > scratch->text_capacity) {
        uint32_t capacity = 65536;
        while (capacity < (uint32_t)n + FEED_PADDING) capacity *= 2;
        char *text = (char *)realloc(scratch->text, capacity);
        if (!text) {
            s->error.code = FEED_E_MEMORY;
            return 0;
        }
        scratch->text = text;
        scratch->text_capacity = capacity;
    }
    memcpy(scratch->text, p, (size_t)n);
    memset(scratch->text + n, 0, FEED_PADDING);
    s->begin = scratch->text;
    s->end = scratch->text + n;
    return 1;
}

/* The item array, made when a message holds items for the first time; NULL when memory is out. */
static inline feed_item *feed_items(feed_scratch *scratch) {
    if (!scratch->items) scratch->items = (feed_item *)malloc(FEED_ITEMS_MAX * sizeof(feed_item));
    return scratch->items;
}

/* Whether the text of a field is exactly `text`. */
static inline int feed_is_text(const feed_scan *s, const feed_field *f, const char *text) {
    size_t n = strlen(text);
    return f->bytes == n && memcmp(s->begin + f->offset, text, n) == 0;
}

static inline int feed_scratch_create(feed_scratch *scratch) {
    memset(scratch, 0, sizeof *scratch);
    for (int i = 0; i < 2; i++) {
        scratch->levels[i] = (feed_level *)malloc(FEED_LEVELS_MAX * sizeof(feed_level));
        if (!scratch->levels[i]) return 0;
    }
    return 1;
}

static inline void feed_scratch_free(feed_scratch *scratch) {
    free(scratch->text);
    free(scratch->levels[0]);
    free(scratch->levels[1]);
    free(scratch->items);
    memset(scratch, 0, sizeof *scratch);
}

#endif
