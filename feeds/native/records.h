/* From a decoded message to market-data records: scaling of values, and what of a ticker stands. */
#ifndef RINGLANE_FEED_RECORDS_H
#define RINGLANE_FEED_RECORDS_H

#include <stdint.h>
#include <string.h>

#include "feeds/native/scan.h"
#include "shm/native/shm_layout.h"

/* Mark and index prices and funding rates carry more decimals than the instrument's own prices, as many as the venue
 * likes: 10^-8, or finer from the first value on that needs it. Records of MARK say which. */
#define FEED_MARK_EXPONENT 8u
#define FEED_MARK_EXPONENT_MAX 18u
#define FEED_MASK_BBO 0x0Fu
#define FEED_MASK_MARK 0xF0u

/* The newest value of each place of a ticker, for streams that tell only what has changed. */
typedef struct feed_ticker {
    int64_t value[FEED_TICK_COUNT];
    uint32_t seen;
    uint32_t price_exponent; /* of mark and index */
    uint32_t rate_exponent;
} feed_ticker;

static inline void feed_ticker_init(feed_ticker *t, uint32_t price_exponent) {
    memset(t, 0, sizeof *t);
    t->price_exponent = price_exponent < FEED_MARK_EXPONENT       ? FEED_MARK_EXPONENT
                        : price_exponent > FEED_MARK_EXPONENT_MAX ? FEED_MARK_EXPONENT_MAX
                                                                  : price_exponent;
    t->rate_exponent = FEED_MARK_EXPONENT;
}

/* A decimal in units of 10^-exponent; 0 with the message's error set when it does not fit. */
static inline int feed_value_scale(feed_message *m, const feed_decimal *d, uint32_t exponent, int64_t *out) {
    *out = d->mantissa;
    if (FEED_LIKELY(feed_scale(out, d->decimals, exponent))) return 1;
    m->error.code = FEED_E_FIT;
    m->error.index = -1;
    m->error.offset = d->offset;
    m->error.field = d->field;
    return 0;
}

/* Scales price and quantity of an item in place. */
static inline int feed_item_scale(feed_message *m, feed_item *item, uint32_t price_exponent, uint32_t quantity_exponent) {
    int64_t price, quantity;
    if (!feed_value_scale(m, &item->price, price_exponent, &price) ||
        !feed_value_scale(m, &item->quantity, quantity_exponent, &quantity))
        return 0;
    item->price.mantissa = price;
    item->price.decimals = price_exponent;
    item->quantity.mantissa = quantity;
    item->quantity.decimals = quantity_exponent;
    return 1;
}

/* The only trade of a message that holds one in its values. */
static inline void feed_item_of(const feed_message *m, feed_item *item) {
    memset(item, 0, sizeof *item);
    item->side = m->side;
    item->flags = m->flags;
    item->price = m->value[0];
    item->quantity = m->value[1];
    item->trade_id = m->trade_id;
    item->venue_utc_ns = m->venue_utc_ns;
}

/* The exponent that a decimal needs, not below `least`: zeros at its end do not count. */
static inline uint32_t feed_exponent_for(const feed_decimal *d, uint32_t least) {
    uint32_t e = d->decimals;
    int64_t v = d->mantissa;
    if (v == 0) return least;
    for (; e > least && v % 10 == 0; e--) v /= 10;
    return e > least ? e : least;
}

/* Takes mark, index and rate (value[0], [1], [2]; `mask` says which are there); 0 with the message's error set, and the
 * ticker is to be thrown away then. What was known before is brought to a finer exponent when a new value needs it. */
static inline int feed_marks_take(feed_ticker *t, feed_message *m, const feed_decimal *value, uint32_t mask) {
    for (uint32_t i = 0; i < 3; i++) {
        if (!(mask >> i & 1)) continue;
        uint32_t *exponent = i == 2 ? &t->rate_exponent : &t->price_exponent;
        uint32_t needed = feed_exponent_for(&value[i], *exponent);
        if (needed > FEED_MARK_EXPONENT_MAX) needed = *exponent; /* which says why it does not fit */
        for (uint32_t k = i == 2 ? 2 : 0, end = i == 2 ? 3 : 2; k < end && needed > *exponent; k++)
            if (!feed_scale(&t->value[FEED_TICK_MARK + k], *exponent, needed)) {
                needed = *exponent; /* the other price leaves no room for so fine a one */
                break;
            }
        *exponent = needed;
        if (!feed_value_scale(m, &value[i], needed, &t->value[FEED_TICK_MARK + i])) return 0;
    }
    return 1;
}

/* Takes a ticker's values; 0 with the message's error set, and nothing has changed then. */
static inline int feed_ticker_take(feed_ticker *t, feed_message *m, uint32_t price_exponent, uint32_t quantity_exponent) {
    feed_ticker next = *t;
    for (uint32_t i = 0; i < FEED_TICK_MARK; i++)
        if (m->value_mask >> i & 1 &&
            !feed_value_scale(m, &m->value[i], i & 1 ? quantity_exponent : price_exponent, &next.value[i]))
            return 0;
    if (!feed_marks_take(&next, m, &m->value[FEED_TICK_MARK], m->value_mask >> FEED_TICK_MARK)) return 0;
    if (m->value_mask >> FEED_TICK_FUNDING & 1) next.value[FEED_TICK_FUNDING] = m->next_funding_utc_ns;
    next.seen |= m->value_mask;
    *t = next;
    return 1;
}

/* What every record of a message has. */
static inline void feed_record_begin(shm_market_record *record, const shm_certificate *c, const feed_message *m, uint16_t kind,
                                     int64_t frame_ns, int64_t publish_ns) {
    memset(record, 0, sizeof *record);
    record->kind = kind;
    record->book_state = (uint8_t)c->state;
    record->instrument_id = c->instrument_id;
    record->epoch = c->epoch;
    record->live_id = c->live_id;
    record->last_sequence = m->last_sequence;
    record->frame_ns = frame_ns;
    record->publish_ns = publish_ns;
    record->venue_utc_ns = m->venue_utc_ns;
    record->reason = c->reason;
    record->flags = m->flags;
}

static inline void feed_record_item(shm_market_record *record, const feed_item *item) {
    record->side = (uint8_t)item->side;
    record->flags = item->flags;
    record->venue_utc_ns = item->venue_utc_ns;
    record->value[0] = item->price.mantissa;
    record->value[1] = item->quantity.mantissa;
    record->value[2] = item->trade_id;
}

/* Counts of levels mean nothing here: in their places stand the exponents. */
static inline void feed_record_mark(shm_market_record *record, const feed_ticker *t) {
    for (int i = 0; i < 4; i++) record->value[i] = t->value[FEED_TICK_MARK + i];
    record->bid_count = t->price_exponent;
    record->ask_count = t->rate_exponent;
}

static inline void feed_record_bbo(shm_market_record *record, const int64_t *value) {
    for (int i = 0; i < 4; i++) record->value[i] = value[i];
    record->bid_count = value[1] != 0;
    record->ask_count = value[3] != 0;
}

#endif
