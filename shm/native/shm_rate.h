/* The rate ledger: how much of a venue's rate limit the processes of a run may still use.
 *
 * Each bucket is one counting of the venue ("2400 weight a minute for one address") as a generic cell rate
 * algorithm (ITU-T I.371): the whole state is one word, the theoretical arrival time. A unit flows off in
 * `interval` ns; a take of w units is granted when, after it, no more than `burst` units stand in the bucket:
 *
 *     next = max(arrival, now) + w * interval,  granted if next <= now + burst * interval
 *
 * Why no fixed window of the venue ever counts too much, wherever it begins: let a first and a last take be
 * granted at t1 <= t2 with t2 - t1 <= window. Every take between adds its units to a word that was at least
 * t1 and is at most t2 + burst * interval, so their sum is at most burst + window / interval. `interval` is
 * the smallest with burst + floor(window / interval) <= limit, and sums are whole numbers. The venue counts
 * at arrival: `window` is its window plus the slack by which arrivals may spread against takes.
 *
 * One compare-and-exchange takes, so a taker killed at any instruction has taken or has not; what it took
 * and never used flows off like everything else. Takes never wait, refunds do not exist: a refund that comes
 * after part of it has flowed off would hand out that part twice.
 *
 * Lanes are tolerances: a lane may fill the bucket only to its own mark, the rest is kept for those before
 * it. The lane `cancel` has no mark but the burst. Correction by the venue's word is a maximum on the same
 * word: what the venue counted since the begin of its window might as well have been taken here, and then
 * the word would be at least begin + used * interval. What we took ourselves since the begin is in the word
 * already, so our own use never counts twice, and an old answer never takes anything back.
 */
#ifndef RINGLANE_SHM_RATE_H
#define RINGLANE_SHM_RATE_H

#include "shm_atomics.h"
#include "shm_enums.h"
#include "shm_layout.h"

#define SHM_RATE_NEVER ((int64_t)-1)
#define SHM_RATE_BURST_BITS 24u
#define SHM_RATE_BURST_MAX ((int64_t)(1u << SHM_RATE_BURST_BITS) - 1)
#define SHM_RATE_INTERVAL_MAX (((int64_t)1 << 39) - 1)

static inline int64_t shm_rate_interval_ns(uint64_t pace) { return (int64_t)(pace >> SHM_RATE_BURST_BITS); }
static inline int64_t shm_rate_burst(uint64_t pace) { return (int64_t)(pace & (uint64_t)SHM_RATE_BURST_MAX); }

/* The pace at which no window counts more than `limit`; 0 = there is none (1 <= burst <= limit). */
static inline uint64_t shm_rate_pace(int64_t limit, int64_t burst, int64_t window_ns) {
    if (burst < 1 || burst > limit || limit > SHM_RATE_BURST_MAX || window_ns < 1)
        return 0;
    /* floor(window / interval) <= limit - burst if and only if interval > window / (limit - burst + 1) */
    int64_t interval_ns = window_ns / (limit - burst + 1) + 1;
    if (interval_ns > SHM_RATE_INTERVAL_MAX || interval_ns > INT64_MAX / 4 / limit)
        return 0;
    return (uint64_t)interval_ns << SHM_RATE_BURST_BITS | (uint64_t)burst;
}

/* The units to which a lane may fill the bucket: at least one, so that a small burst shuts nobody out. */
static inline int64_t shm_rate_share(const shm_rate_bucket *bucket, uint64_t pace, uint32_t lane) {
    int64_t burst = shm_rate_burst(pace), kept = (burst * bucket->kept[lane] + 255) >> 8;
    return burst - kept > 1 ? burst - kept : 1;
}

/* Raise a time to `value`, never lower it; 1 if it rose. */
static inline int shm_rate_raise(shm_a64 *field, int64_t value) {
    uint64_t seen = shm_load_acquire(field);
    while ((int64_t)seen < value)
        if (atomic_compare_exchange_weak_explicit(field, &seen, (uint64_t)value, memory_order_acq_rel,
                                                  memory_order_acquire))
            return 1;
    return 0;
}

/* The time before which a lane must not ask, by the venue's refusals; may be past. */
static inline int64_t shm_rate_stop_ns(const shm_rate_bucket *bucket, const shm_rate_address *address,
                                       uint32_t lane) {
    int64_t until = (int64_t)shm_load_acquire(&address->stop_ns);
    int64_t own = (int64_t)shm_load_acquire(&bucket->stop_ns);
    if (own > until)
        until = own;
    if (lane == SHM_RATE_LANE_NEW) {
        own = (int64_t)shm_load_acquire(&bucket->stop_new_ns);
        if (own > until)
            until = own;
    }
    return until;
}

/* How long until a take would be granted if nobody else takes: 0 = now, SHM_RATE_NEVER = more than the
 * lane's share. Takes nothing. */
static inline int64_t shm_rate_wait_ns(const shm_rate_bucket *bucket, const shm_rate_address *address,
                                       uint32_t lane, int64_t weight, int64_t now_ns) {
    uint64_t pace = shm_load_relaxed(&bucket->pace);
    int64_t interval_ns = shm_rate_interval_ns(pace), share = shm_rate_share(bucket, pace, lane);
    if (weight > share)
        return SHM_RATE_NEVER;
    int64_t over_ns = shm_rate_stop_ns(bucket, address, lane) - now_ns;
    int64_t arrival_ns = (int64_t)shm_load_relaxed(&bucket->arrival_ns);
    int64_t wait_ns = arrival_ns - now_ns - (share - weight) * interval_ns;
    if (over_ns > wait_ns)
        wait_ns = over_ns;
    return wait_ns > 0 ? wait_ns : 0;
}

/* Take `weight` units for a lane: 0 = granted; else nothing was taken and it is worth asking again after so
 * many ns, or SHM_RATE_NEVER. Never blocks. The venue's stops are read first. */
static inline int64_t shm_rate_take(shm_rate_bucket *bucket, const shm_rate_address *address, uint32_t lane,
                                    int64_t weight, int64_t now_ns) {
    int64_t stop_ns = shm_rate_stop_ns(bucket, address, lane) - now_ns;
    uint64_t pace = shm_load_relaxed(&bucket->pace);
    int64_t interval_ns = shm_rate_interval_ns(pace), share = shm_rate_share(bucket, pace, lane);
    int64_t wait_ns = 0;
    uint64_t arrival_ns = shm_load_relaxed(&bucket->arrival_ns);
    if (weight > share)
        wait_ns = SHM_RATE_NEVER;
    while (wait_ns == 0) {
        int64_t from_ns = (int64_t)arrival_ns > now_ns ? (int64_t)arrival_ns : now_ns;
        wait_ns = from_ns - now_ns - (share - weight) * interval_ns;
        if (wait_ns < stop_ns)
            wait_ns = stop_ns;
        if (wait_ns > 0)
            break;
        wait_ns = 0;
        if (atomic_compare_exchange_weak_explicit(&bucket->arrival_ns, &arrival_ns,
                                                  (uint64_t)(from_ns + weight * interval_ns),
                                                  memory_order_acq_rel, memory_order_acquire)) {
            (void)atomic_fetch_add_explicit(&bucket->granted[lane], (uint64_t)weight, memory_order_relaxed);
            return 0;
        }
    }
    (void)atomic_fetch_add_explicit(&bucket->refused[lane], 1u, memory_order_relaxed);
    return wait_ns;
}

/* The venue says that it has counted `used` units since `since_ns`; 1 if that was news. No more than a
 * whole window is believed: a lane is not shut out beyond the window the venue speaks of by much. */
static inline int shm_rate_correct(shm_rate_bucket *bucket, int64_t used, int64_t since_ns) {
    int64_t limit = (int64_t)shm_load_relaxed(&bucket->limit);
    if (used <= 0)
        return 0;
    if (used > limit)
        used = limit;
    return shm_rate_raise(&bucket->arrival_ns,
                          since_ns + used * shm_rate_interval_ns(shm_load_relaxed(&bucket->pace)));
}

/* The venue has another limit from now on. A lower one empties the budget first, so that whoever is killed
 * in between leaves the old pace and a pause, never the new word with the old credit. 0 = no such pace. */
static inline int shm_rate_set_limit(shm_rate_bucket *bucket, int64_t limit, int64_t burst, int64_t now_ns) {
    uint64_t pace = shm_rate_pace(limit, burst, bucket->window_ns), before = shm_load_relaxed(&bucket->pace);
    if (pace == 0)
        return 0;
    if (pace == before)
        return 1;
    if (before != 0 && shm_rate_interval_ns(pace) > shm_rate_interval_ns(before)) {
        int64_t full = shm_rate_burst(pace) * shm_rate_interval_ns(pace);
        int64_t was = shm_rate_burst(before) * shm_rate_interval_ns(before);
        shm_rate_raise(&bucket->arrival_ns, now_ns + (full > was ? full : was));
    }
    shm_store_release(&bucket->limit, (uint64_t)limit);
    shm_store_release(&bucket->pace, pace);
    return 1;
}

/* The venue has refused: nobody whom `stop` names may ask before `until_ns`. Latest of all words wins; 1 if
 * this was one. */
static inline int shm_rate_penalize(shm_rate_bucket *bucket, shm_rate_address *address, uint32_t stop,
                                    int64_t until_ns) {
    if (stop == SHM_RATE_STOP_NEW)
        return shm_rate_raise(&bucket->stop_new_ns, until_ns);
    if (stop == SHM_RATE_STOP_BUCKET)
        return shm_rate_raise(&bucket->stop_ns, until_ns);
    shm_add(&address->stops, 1);
    return shm_rate_raise(&address->stop_ns, until_ns);
}

#endif
