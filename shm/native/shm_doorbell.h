/* Doorbell: wake a parked worker through its eventfd, without a lost wake-up and without a system
 * call while it is awake.
 *
 * To sleep: read the eventfd empty, parked = 1, full fence, look at every cursor once more, then wait
 * on the eventfd. To publish: release store of the cursor, full fence, look who subscribes and whether
 * they are parked; only then take `parked` (exchange) and write the eventfd. Of the two sides at least
 * one sees the other's store. The fence stands before the look at the subscribers too: one that joins in
 * that instant would else miss both the record and its bell (found by tests/models/bells.pml).
 */
#ifndef RINGLANE_SHM_DOORBELL_H
#define RINGLANE_SHM_DOORBELL_H

#include <unistd.h>

#include "shm_atomics.h"

/* Adds one to an eventfd. Never blocks: the descriptor is non-blocking, and EAGAIN means that its
 * counter is already far above zero, so the worker is awake or about to be. */
static inline void shm_bell_write(int64_t fd) {
    if (fd <= 0)
        return;
    uint64_t one = 1;
    ssize_t written = write((int)fd, &one, sizeof one);
    (void)written;
}

/* Sleeper's side. After arming look at every input again; disarm if one has something. */
static inline void shm_bell_arm(shm_worker_slot *worker) {
    shm_store_relaxed(&worker->parked, 1);
    shm_fence_full(); /* SYNC POINT: park-publish */
}
static inline void shm_bell_disarm(shm_worker_slot *worker) { shm_store_relaxed(&worker->parked, 0); }

/* Signals one worker if it is parked; returns 1 if it was. The caller has done the full fence. */
static inline unsigned shm_bell_signal_fenced(shm_worker_slot *worker) {
    if (shm_load_relaxed(&worker->parked) == 0 || shm_exchange(&worker->parked, 0) == 0)
        return 0;
    shm_bell_write(worker->bell_fd);
    return 1;
}

/* Signals the parked workers among those in `mask` (bit i = worker slot i) after something was published;
 * returns how many there were. */
static inline unsigned shm_bell_signal(shm_control *control, const shm_a64 *mask) {
    unsigned woken = 0;
    shm_fence_full(); /* SYNC POINT: park-publish */
    for (uint64_t left = shm_load_relaxed(mask); left != 0; left &= left - 1)
        woken += shm_bell_signal_fenced(&control->workers[__builtin_ctzll(left)]);
    return woken;
}

/* Reads the sleeper's eventfd empty; returns how often it was rung. Only what was rung before this call is
 * taken, so the look that follows `arm` sees what those rings were for. */
static inline uint64_t shm_bell_clear(shm_worker_slot *worker) {
    uint64_t rung = 0;
    if (worker->bell_fd <= 0 || read((int)worker->bell_fd, &rung, sizeof rung) != (ssize_t)sizeof rung)
        return 0;
    shm_add_single_writer(&worker->wakes, 1);
    return rung;
}

/* Wakes a worker whatever `parked` says: for the first publish of a writer that replaces a killed
 * one (which may have taken `parked` and died before its write), and for back-pressure. */
static inline void shm_bell_wake(shm_worker_slot *worker) {
    shm_store_relaxed(&worker->parked, 0);
    shm_bell_write(worker->bell_fd);
}

#endif
