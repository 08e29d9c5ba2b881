/* What a stream of tops of book and trades usually looks like, and what does not: three judges of one instrument.
 *
 * Price jump: distance of a mid or trade from a reference price that follows with a time constant, against a robust
 * recent scale of that distance. Volume spike: a time bucket's traded quantity against the mean of those before.
 * Anomaly score: a few channels (how far the mid moved, spread, sizes, imbalance, silence, rate, how far a trade stands
 * from the book), each the logarithm of a value. A channel's high quantile is tracked by stochastic approximation
 * (Robbins and Monro 1951); the mean excess over it is the slope of a Pareto tail (Hill 1975), which gives the value
 * exceeded with a wanted probability (peaks over threshold online: Siffer et al., KDD 2017). No division by a deviation
 * that may be zero, nothing to store, O(1) each; an outlier is cut to the threshold before it may teach.
 */
#ifndef RINGLANE_FEED_WATCH_H
#define RINGLANE_FEED_WATCH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "shm/native/shm_layout.h"

#define FEED_FOUND_JUMP 1u
#define FEED_FOUND_VOLUME 2u
#define FEED_FOUND_ANOMALY 4u

enum {
    FEED_CH_RETURN,    /* how far the mid moved, by the root of the time it had */
    FEED_CH_SPREAD,    /* distance of bid and ask */
    FEED_CH_SIZE,      /* larger quantity of the top */
    FEED_CH_IMBALANCE, /* share of the top's quantity on the heavier side */
    FEED_CH_GAP,       /* time since the last update */
    FEED_CH_RATE,      /* updates within the last milliseconds, decaying */
    FEED_CH_TRADE,     /* quantity of a trade */
    FEED_CH_DISTANCE,  /* how far a trade stands outside bid and ask */
    FEED_CHANNELS
};

typedef struct feed_watch_settings {
    double jump_bps;           /* no jump below this; 0 = rule off */
    double jump_scale;         /* ... and below this many usual distances */
    int64_t jump_tau_ns;       /* time constant of the reference */
    uint64_t jump_warm_up;     /* prices before the rule judges */
    double volume_ratio;       /* 0 = rule off */
    int64_t volume_bucket_ns;
    uint32_t volume_warm_up;   /* buckets with trades before the rule judges */
    double anomaly_odds;       /* natural logarithm of (tail share / wanted probability); 0 = score off */
    uint64_t anomaly_warm_up;  /* updates and trades before the score judges */
    double floor_bps;          /* moves, spreads and distances below this are no anomaly */
    int64_t floor_gap_ns;      /* nor are shorter silences */
    double floor_rate;         /* nor fewer updates within FEED_RATE_TAU_NS */
} feed_watch_settings;

typedef struct feed_channel {
    double level;  /* tracked quantile */
    double excess; /* mean of what lies above it ... */
    double square; /* ... and of its square */
    double limit;  /* the threshold's distance from the level */
    uint64_t seen;
    uint64_t tails;
} feed_channel;

typedef struct feed_watch {
    feed_channel channel[FEED_CHANNELS];
    int64_t tick;
    uint64_t live_id; /* of the book, as last seen */
    double mid, bid, ask, heavy; /* the last top; mid 0 = none since the pause */
    int64_t book_ns;
    double rate;
    double reference; /* of the jump rule; 0 = none */
    int64_t reference_ns;
    double distance; /* usual distance from it, bps */
    uint64_t prices;
    int64_t bucket_ns;
    double bucket, bucket_mean;
    uint32_t buckets, bucket_told;
    int64_t traded; /* sum of the totals last seen, modulo 2^64 */
    uint32_t has_traded;
    uint64_t judged;
    double score;     /* of the last update or trade; 1 and above is an anomaly */
    int32_t dominant; /* its channel with the largest share */
} feed_watch;

#define FEED_TAIL 0.05          /* share of values above a channel's level */
#define FEED_STEP 0.2           /* of the quantile's approximation, in mean excesses */
#define FEED_MEMORY 128.0       /* tail values the means are over */
#define FEED_TAILS_MIN 32       /* before them a tail is taken for exponential */
#define FEED_SHAPE_MIN -0.15
#define FEED_CUT 4.0            /* mean excesses at which a tail value is cut before it teaches (Huber) ... */
#define FEED_CUT_RATIO 1.13     /* ... and square of the mean by variance of an exponential tail cut there */
#define FEED_ACCEPT 0.1         /* ... of an anomaly against that of an ordinary tail value */
#define FEED_LEAST 0.25         /* smallest mean excess, in doublings ... */
#define FEED_LEAST_SIZE 0.8     /* ... and of quantities, where someone always has more */
#define FEED_FLOOR_TICKS 5.0
#define FEED_RATE_TAU_NS 10e6
#define FEED_MOVE_TAU_NS 100e6
#define FEED_DISTANCE_MEMORY 256.0

/* Binary logarithm of x >= 1, linear between powers of two: monotone and the same on every machine. */
static inline double feed_log2(double x) {
    uint64_t bits;
    if (!(x > 1.0)) return 0.0;
    memcpy(&bits, &x, sizeof bits);
    return (double)(int64_t)((bits >> 52) - 1023) + (double)(bits & 0xFFFFFFFFFFFFFull) * 0x1p-52;
}

/* Distance from the level that is exceeded with the wanted probability. */
static inline double feed_channel_limit(const feed_channel *c, double scale, double odds) {
    double variance = c->square - c->excess * c->excess, shape = 0;
    /* Moments of the generalized Pareto distribution; a tail thinner than exponential has an end. */
    if (variance > 0 && c->tails >= FEED_TAILS_MIN) shape = 0.5 * (FEED_CUT_RATIO - c->excess * c->excess / variance);
    if (shape < FEED_SHAPE_MIN) shape = FEED_SHAPE_MIN;
    if (shape > -0.01) return scale * odds;
    return scale * (1 - shape) * (1 - exp(shape * odds)) / -shape;
}

/* How far x lies on the way from the usual to the threshold (1 = there), and learns it. `least`: a channel that never
 * varies still needs a scale, in doublings. */
static inline double feed_channel_take(feed_channel *c, double x, double least, double odds) {
    if (c->seen++ == 0) {
        if (c->limit == 0) c->level = x;
        c->limit = least * odds;
    }
    double over = x - c->level, scale = c->excess > least ? c->excess : least;
    double step = (c->seen < 100 ? 20.0 / (double)c->seen : FEED_STEP) * scale;
    if (over <= 0) {
        c->level -= step * FEED_TAIL;
        return 0.0;
    }
    double limit = c->limit;
    step *= 1 - FEED_TAIL;
    if (over > limit) {
        /* What is called an anomaly teaches nothing about the scale; only if it lasts it becomes usual. */
        c->level += step * (c->tails < FEED_TAILS_MIN ? 1 : FEED_ACCEPT);
        c->tails += c->tails < FEED_TAILS_MIN;
        return over / limit;
    }
    double weight = (double)++c->tails < FEED_MEMORY ? (double)c->tails : FEED_MEMORY;
    double cut = over < FEED_CUT * scale ? over : FEED_CUT * scale;
    c->excess += (cut - c->excess) / weight;
    c->square += (cut * cut - c->square) / weight;
    c->limit = feed_channel_limit(c, c->excess > least ? c->excess : least, odds);
    c->level += step < over ? step : over;
    return over / limit;
}

typedef struct feed_sum {
    double square, largest;
    int32_t dominant;
} feed_sum;

static inline void feed_sum_add(feed_sum *s, int32_t channel, double ratio, int is_above_floor) {
    if (ratio <= 0) return;
    if (!is_above_floor && ratio > 0.5) ratio = 0.5;
    s->square += ratio * ratio;
    if (ratio > s->largest) {
        s->largest = ratio;
        s->dominant = channel;
    }
}

/* Smallest difference of prices that may be an anomaly. */
static inline double feed_watch_floor(const feed_watch *w, const feed_watch_settings *s, double mid) {
    double floor = s->floor_bps * mid / 1e4, ticks = FEED_FLOOR_TICKS * (double)w->tick;
    return floor > ticks ? floor : ticks;
}

/* A difference of prices, in eighths of the floor: what lies far below it shall not stretch the scale. */
static inline void feed_sum_price(feed_sum *sum, feed_watch *w, int32_t channel, double value, double floor, double odds) {
    feed_channel *c = &w->channel[channel];
    /* Where most differences are none, the first one may be an anomaly: the level begins at none. */
    if (c->seen == 0 && channel != FEED_CH_SPREAD) c->limit = FEED_LEAST * odds;
    double ratio = feed_channel_take(c, feed_log2(1 + 8 * value / floor), FEED_LEAST, odds);
    feed_sum_add(sum, channel, ratio, value > floor);
}

static inline uint32_t feed_watch_conclude(feed_watch *w, const feed_watch_settings *s, const feed_sum *sum) {
    w->score = sqrt(sum->square);
    w->dominant = sum->dominant;
    /* Several half-unusual channels are no anomaly: one must stand out for itself. */
    return ++w->judged > s->anomaly_warm_up && w->score >= 1.0 && sum->largest >= 0.7 ? FEED_FOUND_ANOMALY : 0;
}

/* Judges a price against the reference; `is_mid` = the reference follows it. */
static inline uint32_t feed_watch_price(feed_watch *w, const feed_watch_settings *s, double price, int64_t now_ns, int is_mid) {
    if (w->reference <= 0) {
        w->reference = price;
        w->reference_ns = now_ns;
        return 0;
    }
    double waited = (double)(now_ns - w->reference_ns), tau = (double)s->jump_tau_ns;
    if (!(waited > 0)) waited = 0;
    double distance = fabs(price - w->reference) / w->reference * 1e4;
    double limit = s->jump_scale * w->distance;
    if (limit < s->jump_bps) limit = s->jump_bps;
    limit *= sqrt(1.0 + waited / tau);
    uint32_t found = w->prices >= s->jump_warm_up && distance > limit ? FEED_FOUND_JUMP : 0;
    if (!is_mid) return found;
    double cut = 4.0 * w->distance + 1e4 * (double)w->tick / price;
    w->distance += ((distance < cut ? distance : cut) - w->distance) / FEED_DISTANCE_MEMORY;
    w->reference += (price - w->reference) * (waited / (waited + tau));
    w->reference_ns = now_ns;
    w->prices++;
    return found;
}

/* Takes a top of book, prices and quantities in units; 0 and less = the side is empty. Returns FEED_FOUND bits. */
static inline uint32_t feed_watch_book(feed_watch *w, const feed_watch_settings *s, int64_t bid, int64_t bid_quantity, int64_t ask,
                                       int64_t ask_quantity, int64_t now_ns) {
    uint32_t found = 0;
    if (bid <= 0 || ask <= bid) {
        w->mid = 0;
        return 0;
    }
    double mid = ((double)bid + (double)ask) / 2;
    double heavy = (double)(bid_quantity > ask_quantity ? bid_quantity : ask_quantity);
    if (s->jump_bps > 0) found |= feed_watch_price(w, s, mid, now_ns, 1);
    if (s->anomaly_odds > 0) {
        feed_sum sum = {0, 0, -1};
        double floor = feed_watch_floor(w, s, mid), odds = s->anomaly_odds;
        double light = (double)(bid_quantity > ask_quantity ? ask_quantity : bid_quantity);
        feed_sum_price(&sum, w, FEED_CH_SPREAD, (double)(ask - bid), floor, odds);
        if (heavy != w->heavy) /* an order that rests is judged once */
            feed_sum_add(&sum, FEED_CH_SIZE, feed_channel_take(&w->channel[FEED_CH_SIZE], feed_log2(1 + heavy), FEED_LEAST_SIZE, odds), 1);
        feed_sum_add(&sum, FEED_CH_IMBALANCE, feed_channel_take(&w->channel[FEED_CH_IMBALANCE], heavy / (heavy + light), FEED_LEAST, odds), 0);
        if (w->mid > 0) {
            double gap = now_ns > w->book_ns ? (double)(now_ns - w->book_ns) : 0;
            w->rate = w->rate / (1 + gap / FEED_RATE_TAU_NS) + 1;
            if (mid != w->mid)
                feed_sum_price(&sum, w, FEED_CH_RETURN, fabs(mid - w->mid) / sqrt(1 + gap / FEED_MOVE_TAU_NS), floor, odds);
            feed_sum_add(&sum, FEED_CH_GAP, feed_channel_take(&w->channel[FEED_CH_GAP], feed_log2(gap), FEED_LEAST, odds),
                         gap > (double)s->floor_gap_ns);
            feed_sum_add(&sum, FEED_CH_RATE, feed_channel_take(&w->channel[FEED_CH_RATE], feed_log2(w->rate), FEED_LEAST, odds),
                         w->rate > s->floor_rate);
        }
        found |= feed_watch_conclude(w, s, &sum);
    }
    w->mid = mid;
    w->heavy = heavy;
    w->bid = (double)bid;
    w->ask = (double)ask;
    w->book_ns = now_ns;
    return found;
}

static inline uint32_t feed_watch_volume(feed_watch *w, const feed_watch_settings *s, double quantity, int64_t now_ns) {
    if (now_ns - w->bucket_ns >= s->volume_bucket_ns) {
        if (w->bucket > 0) {
            /* A spike may raise the mean, but not to itself. */
            double cut = w->buckets < s->volume_warm_up ? w->bucket : fmin(w->bucket, 4 * w->bucket_mean);
            double weight = ++w->buckets < 64 ? (double)w->buckets : 64.0;
            w->bucket_mean += (cut - w->bucket_mean) / weight;
        }
        w->bucket = 0;
        w->bucket_told = 0;
        w->bucket_ns = now_ns;
    }
    w->bucket += quantity;
    if (w->bucket_told || w->buckets < s->volume_warm_up || !(w->bucket > s->volume_ratio * w->bucket_mean)) return 0;
    w->bucket_told = 1;
    return FEED_FOUND_VOLUME;
}

/* Takes trades of one message: the last price and the quantity of all, in units. Returns FEED_FOUND bits. */
static inline uint32_t feed_watch_trade(feed_watch *w, const feed_watch_settings *s, int64_t price, int64_t quantity, int64_t now_ns) {
    uint32_t found = 0;
    if (price <= 0 || quantity <= 0) return 0;
    if (s->volume_ratio > 0) found |= feed_watch_volume(w, s, (double)quantity, now_ns);
    if (s->jump_bps > 0) found |= feed_watch_price(w, s, (double)price, now_ns, 0);
    if (s->anomaly_odds > 0) {
        feed_sum sum = {0, 0, -1};
        double odds = s->anomaly_odds;
        feed_sum_add(&sum, FEED_CH_TRADE, feed_channel_take(&w->channel[FEED_CH_TRADE], feed_log2(1 + (double)quantity), FEED_LEAST_SIZE, odds), 1);
        if (w->mid > 0) {
            double outside = (double)price > w->ask ? (double)price - w->ask : w->bid - (double)price;
            if (outside > 0)
                feed_sum_price(&sum, w, FEED_CH_DISTANCE, outside, feed_watch_floor(w, s, w->mid), odds);
        }
        found |= feed_watch_conclude(w, s, &sum);
    }
    return found;
}

/* Takes what the totals of an instrument have grown by since the last call; the first call only notes them. */
static inline uint32_t feed_watch_totals(feed_watch *w, const feed_watch_settings *s, const shm_trade_totals *t, int64_t now_ns) {
    int64_t traded = (int64_t)((uint64_t)t->quantity_units[0] + (uint64_t)t->quantity_units[1]);
    int64_t grown = (int64_t)((uint64_t)traded - (uint64_t)w->traded);
    uint32_t has_traded = w->has_traded;
    w->traded = traded;
    w->has_traded = 1;
    return has_traded ? feed_watch_trade(w, s, t->last_price_units, grown, now_ns) : 0;
}

/* The stream was interrupted or the book made anew: what comes next is not compared with what was last. */
static inline void feed_watch_pause(feed_watch *w) {
    w->mid = 0;
    w->rate = 0;
    w->reference = 0;
}

#endif
