/* One decoded venue message, before its instrument is known.
 *
 * Numbers stand as (mantissa, decimals): the exponent of the instrument is applied after the symbol
 * has been looked up, so key order in the frame does not matter. Offsets count from the first byte
 * of the frame and serve error texts only.
 */
#ifndef RINGLANE_FEED_MESSAGE_H
#define RINGLANE_FEED_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

enum {
    FEED_NONE = 0,
    FEED_DEPTH = 1,
    FEED_TRADE = 2,
    FEED_BBO = 3,
    FEED_MARK = 4,
    FEED_CONTROL = 5,
    FEED_SNAPSHOT = 6,
    FEED_TICKER = 7,      /* some of: best bid and offer, mark, index, funding; what is absent has not changed */
    FEED_LIQUIDATION = 8, /* items, each of an instrument of its own */
};

enum {
    FEED_OK = 0,
    FEED_E_TRUNCATED = 1,    /* the frame ends inside a value */
    FEED_E_SYNTAX = 2,       /* not JSON */
    FEED_E_TYPE = 3,         /* valid JSON of the wrong type */
    FEED_E_NUMBER = 4,       /* not a plain decimal */
    FEED_E_RANGE = 5,        /* a decimal too long for 64 bits */
    FEED_E_MISSING = 6,      /* a required field is absent */
    FEED_E_DUPLICATE = 7,    /* a key stands twice in one object */
    FEED_E_NESTING = 8,      /* nested too deeply */
    FEED_E_TRAILING = 9,     /* bytes after the value */
    FEED_E_SIZE = 10,        /* frame longer than FEED_FRAME_MAX */
    FEED_E_LEVELS = 11,      /* more levels than the scratch array or the book holds */
    FEED_E_UTF8 = 12,        /* a string is not UTF-8 */
    FEED_E_ESCAPE = 13,      /* an escape where plain text is required */
    FEED_E_UNRECOGNIZED = 14, /* valid JSON, no known message */
    FEED_E_SEQUENCE = 15,    /* sequences of one message contradict each other */
    FEED_E_PRICE = 16,       /* a price that must be positive is not */
    FEED_E_FIT = 17,         /* does not fit the instrument's exponent */
    FEED_E_MEMORY = 18,
    FEED_E_CROSSED = 19,     /* a snapshot whose best bid reaches its best ask */
    FEED_E_KEYS = 20,        /* more unknown keys than duplicates are checked for */
    FEED_E_CHECKSUM = 21,    /* the venue's checksum is not that of the book */
    FEED_E_SYMBOL = 22,      /* the message names two instruments */
    FEED_E_ITEMS = 23,       /* more items than one message may hold */
};

#define FEED_FRAME_MAX (4u << 20)
#define FEED_LEVELS_MAX 16384u
#define FEED_ITEMS_MAX 4096u
#define FEED_PADDING 64u

/* Trade flag: not a market trade (insurance fund, auto-deleveraging): published, not in the totals. */
#define FEED_FLAG_NOT_MARKET 1u

/* What a message is, beside its numbers. */
enum {
    FEED_TRAIT_SNAPSHOT = 1,   /* the whole book: it proves itself */
    FEED_TRAIT_CHECKSUM = 2,   /* `checksum` is that of the book once this is applied */
    FEED_TRAIT_UNNUMBERED = 4, /* no sequence of the venue: the checksum proves; last_sequence is its time in ms */
    FEED_TRAIT_PADDED = 8,     /* some number ends in zeros behind the point */
    FEED_TRAIT_INDEX = 16,     /* TICKER: the symbol is an index's */
};

/* Places of a TICKER's values; bit 1 << place of value_mask says that it is there. */
enum {
    FEED_TICK_BID = 0,
    FEED_TICK_BID_QUANTITY = 1,
    FEED_TICK_ASK = 2,
    FEED_TICK_ASK_QUANTITY = 3,
    FEED_TICK_MARK = 4,
    FEED_TICK_INDEX = 5,
    FEED_TICK_RATE = 6,
    FEED_TICK_FUNDING = 7, /* next_funding_utc_ns */
    FEED_TICK_COUNT = 8,
};

typedef struct feed_error {
    int32_t code;
    int32_t index;      /* of the level, -1 = none */
    uint32_t offset;
    const char *field;  /* static text */
} feed_error;

typedef struct feed_decimal {
    int64_t mantissa;
    uint32_t offset;
    uint32_t decimals;
    const char *field;
} feed_decimal;

typedef struct feed_level {
    int64_t price;     /* mantissa, then price_units once scaled */
    int64_t quantity;
    uint32_t offset;   /* of the price text */
    uint16_t price_decimals;
    uint16_t quantity_decimals;
} feed_level;

/* One trade or liquidation of a message that holds several. */
typedef struct feed_item {
    const char *symbol;
    uint32_t symbol_bytes;
    uint32_t side; /* 1 buy, 2 sell */
    uint32_t flags;
    uint32_t reserved;
    feed_decimal price;
    feed_decimal quantity;
    int64_t trade_id;
    int64_t venue_utc_ns;
} feed_item;

typedef struct feed_message {
    int32_t kind;
    uint32_t flags;
    const char *text; /* the frame: a padded copy owned by the decoder, valid until its next frame */
    uint32_t text_bytes;
    uint32_t symbol_bytes;
    const char *symbol;
    int64_t first_sequence;
    int64_t last_sequence;
    int64_t previous_sequence;
    int64_t venue_utc_ns;
    int64_t trade_id;
    int64_t next_funding_utc_ns;
    uint32_t side; /* aggressor: 1 buy, 2 sell */
    uint32_t value_count;
    uint32_t value_mask;  /* TICKER: which values are there */
    uint32_t item_count;  /* TRADE, LIQUIDATION: items; 0 = one trade, in value */
    feed_item *items;
    uint32_t traits;
    int32_t checksum;
    feed_decimal value[FEED_TICK_COUNT]; /* TRADE: price, quantity; BBO: bid, quantity, ask, quantity; MARK: mark, index, rate */
    feed_level *levels[2]; /* bids, asks */
    uint32_t level_count[2];
    const char *level_field[2];
    feed_error error;
} feed_message;

/* Readies a message for a new frame. Values, levels and items are read only as far as counts and masks say. */
static inline void feed_message_reset(feed_message *m) {
    m->kind = FEED_NONE;
    m->flags = 0;
    m->text = NULL;
    m->text_bytes = m->symbol_bytes = 0;
    m->first_sequence = m->last_sequence = m->previous_sequence = 0;
    m->venue_utc_ns = m->trade_id = m->next_funding_utc_ns = 0;
    m->side = m->value_count = m->value_mask = m->item_count = m->traits = 0;
    m->level_count[0] = m->level_count[1] = 0;
}

/* What a decoder owns: the padded copy of the frame, the level and item arrays. */
typedef struct feed_scratch {
    char *text;
    uint32_t text_capacity;
    feed_level *levels[2];
    feed_item *items; /* [FEED_ITEMS_MAX] once a message held one */
} feed_scratch;

#endif
