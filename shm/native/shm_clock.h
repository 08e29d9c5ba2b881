/* The two clocks: monotonic for every `_ns`, the wall clock for `_utc_ns`. Both are vDSO calls. */
#ifndef RINGLANE_SHM_CLOCK_H
#define RINGLANE_SHM_CLOCK_H

#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#include <stdint.h>
#include <time.h>

/* Under -std=c11 a header included earlier (Python's does) may have hidden the POSIX names. */
#ifndef CLOCK_MONOTONIC
#error "clock_gettime is hidden: compile with -D_POSIX_C_SOURCE=200809L or -std=gnu11"
#endif

static inline int64_t shm_clock_read(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
static inline int64_t shm_now_ns(void) { return shm_clock_read(CLOCK_MONOTONIC); }
static inline int64_t shm_utc_ns(void) { return shm_clock_read(CLOCK_REALTIME); }

#endif
