/* Processes over one mapping, records counted exactly, while everybody stalls, dies and is reborn.
 *
 * Usage: shm_records RECORDS KILLS SEED. Three quarters of the records go over a broadcast ring to three
 * subscribers, one quarter through an SPSC ring. The parent kills (SIGKILL) and restarts its children KILLS times,
 * spread over the run, and stops and continues them as often. Every record is checked word by word. At the end
 * each subscriber has delivered + lapped = published, and the SPSC consumer had each record exactly once.
 */
#define WORDS 8u /* 64 bytes */
#include "stress.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "shm/native/shm_clock.h"

#define SUBSCRIBERS 3u
#define CHILDREN (SUBSCRIBERS + 3u) /* and publisher, producer, consumer */
#define CAPACITY 1024u
#define BATCH 32u

/* What a child did so far, kept where a SIGKILL can not tear it: written aside, then one store says which. */
typedef struct tally {
    uint64_t position, taken, lapped, laps, sum;
} tally;

typedef struct tally_cell {
    shm_a64 which;
    tally value[2];
    uint64_t reserved[5];
} tally_cell;

typedef struct shared {
    shm_a64 goal, spsc_goal;
    tally_cell cells[CHILDREN];
} shared;

static shared *all;
static shm_ring_header *ring, *spsc;

static tally tally_load(const tally_cell *cell) { return cell->value[shm_load_acquire(&cell->which) & 1]; }
static void tally_store(tally_cell *cell, const tally *value) {
    uint64_t which = shm_load_relaxed(&cell->which) + 1;
    cell->value[which & 1] = *value;
    shm_store_release(&cell->which, which);
}

static shm_ring_reader *shown(unsigned i) { return (shm_ring_reader *)(ring + 1) + i; }

/* Whether two of three subscribers are near. The publisher waits for that most of the time, so that most
 * records are delivered and not only the stalled one is lapped; a ring itself never waits. */
static int has_company(uint64_t cursor) {
    unsigned near = 0;
    for (unsigned i = 3; i < CHILDREN; i++)
        near += cursor - shm_load_relaxed(&shown(i)->position) < CAPACITY * 3 / 4;
    return near >= SUBSCRIBERS - 1;
}

static void publisher(tally_cell *cell) {
    (void)cell;
    uint64_t records[BATCH * WORDS], goal = shm_load_relaxed(&all->goal), s, random = 0x2545F4914F6CDD1Dull;
    shm_add(&ring->producer_epoch, 1);
    while ((s = shm_load_relaxed(&ring->cursor)) < goal) {
        uint64_t count = 1 + chance(&random) % BATCH;
        if (count > goal - s)
            count = goal - s;
        if ((s >> 16) % 8 && !has_company(s)) {
            sched_yield();
            continue;
        }
        for (uint64_t i = 0; i < count; i++)
            fill(records + i * WORDS, s + 1 + i);
        if (count == 1)
            shm_broadcast_publish_one(ring, records, RECORD_BYTES);
        else
            shm_broadcast_publish(ring, records, count);
    }
}

static void subscriber(tally_cell *cell) {
    tally t = tally_load(cell);
    shm_subscriber self = {t.position, t.lapped, t.laps};
    uint64_t out[BATCH * WORDS], goal = shm_load_relaxed(&all->goal);
    while (self.position < goal) {
        uint64_t n = shm_subscriber_poll(ring, &self, out, BATCH);
        for (uint64_t i = 0; i < n; i++)
            check(out + i * WORDS, self.position - n + 1 + i);
        t = (tally){self.position, t.taken + n, self.lapped, self.laps, 0};
        tally_store(cell, &t);
        shm_subscriber_show(shown((unsigned)(cell - all->cells)), &self);
        if (n == 0)
            sched_yield();
    }
}

static void producer(tally_cell *cell) {
    (void)cell;
    uint64_t records[BATCH * WORDS], goal = shm_load_relaxed(&all->spsc_goal), s, random = 0x2545F4914F6CDD1Dull;
    shm_add(&spsc->producer_epoch, 1);
    while ((s = shm_load_relaxed(&spsc->cursor)) < goal) {
        uint64_t count = 1 + chance(&random) % BATCH;
        if (count > goal - s)
            count = goal - s;
        if (shm_spsc_free(spsc) < count) {
            sched_yield();
            continue;
        }
        for (uint64_t i = 0; i < count; i++)
            fill(records + i * WORDS, s + 1 + i);
        shm_spsc_put(spsc, records, count);
    }
}

static void consumer(tally_cell *cell) {
    tally t = tally_load(cell);
    uint64_t out[BATCH * WORDS], goal = shm_load_relaxed(&all->spsc_goal);
    uint64_t taken = shm_load_acquire(&spsc->position);
    shm_add(&spsc->consumer_epoch, 1);
    CHECK(taken <= t.position); /* nothing is committed that was not noted */
    while (t.position < goal || taken < goal) {
        uint64_t n = shm_spsc_poll(spsc, &taken, out, BATCH);
        if (n == 0) {
            sched_yield();
            continue;
        }
        for (uint64_t i = 0; i < n; i++) {
            uint64_t s = taken - n + 1 + i;
            check(out + i * WORDS, s);
            if (s <= t.position)
                continue; /* noted by the one that died before its commit */
            t.position = s;
            t.taken++;
            t.sum += s;
        }
        tally_store(cell, &t);
        (void)shm_spsc_commit(spsc, n);
    }
}

static pid_t children[CHILDREN];

static void spawn(unsigned i) {
    static void (*const roles[3])(tally_cell *) = {publisher, producer, consumer};
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        (i < 3 ? roles[i] : subscriber)(&all->cells[i]);
        _exit(0);
    }
    children[i] = child;
}

static unsigned reap(void) {
    unsigned alive = 0;
    for (unsigned i = 0; i < CHILDREN; i++) {
        int status;
        if (children[i] > 0 && waitpid(children[i], &status, WNOHANG) == children[i]) {
            CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0); /* an abort in a child fails the run */
            children[i] = 0;
        }
        alive += children[i] > 0;
    }
    return alive;
}

/* Kills one and starts it again, and stalls another for a moment. */
static int disturb(uint64_t *random) {
    unsigned victim = chance(random) % CHILDREN, staller = chance(random) % CHILDREN;
    int status, is_killed = 0;
    struct timespec moment = {0, (long)(chance(random) % 2000000)};
    if (children[staller] > 0)
        CHECK(kill(children[staller], SIGSTOP) == 0);
    nanosleep(&moment, NULL); /* the random moment itself */
    if (children[victim] > 0) {
        CHECK(kill(children[victim], SIGKILL) == 0);
        CHECK(waitpid(children[victim], &status, 0) == children[victim]);
        /* It may have been done just before. */
        is_killed = WIFSIGNALED(status);
        CHECK((is_killed && WTERMSIG(status) == SIGKILL) || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
        children[victim] = 0;
        if (is_killed)
            spawn(victim);
    }
    if (children[staller] > 0)
        CHECK(kill(children[staller], SIGCONT) == 0);
    return is_killed;
}

int main(int argc, char **argv) {
    CHECK(argc == 4);
    uint64_t records = strtoull(argv[1], NULL, 10), kills = strtoull(argv[2], NULL, 10), killed = 0;
    uint64_t random = strtoull(argv[3], NULL, 10) * 2 + 1;
    CHECK(records >= 1000);
    all = map(sizeof *all);
    ring = make_ring(SHM_RING_BROADCAST, CAPACITY, RECORD_BYTES);
    spsc = make_ring(SHM_RING_SPSC, CAPACITY, RECORD_BYTES);
    uint64_t spsc_goal = records / 4, goal = records - spsc_goal;
    shm_store_release(&all->goal, goal);
    shm_store_release(&all->spsc_goal, spsc_goal);
    int64_t begin = shm_now_ns();
    for (unsigned i = 0; i < CHILDREN; i++)
        spawn(i);
    while (reap() > 0) {
        uint64_t made = shm_load_acquire(&ring->cursor) + shm_load_acquire(&spsc->cursor);
        if (killed < kills && made / (records / (kills + 1) + 1) >= killed) {
            killed += (uint64_t)disturb(&random);
        } else {
            struct timespec pause = {0, 200000};
            nanosleep(&pause, NULL);
        }
    }
    double seconds = (double)(shm_now_ns() - begin) / 1e9;
    uint64_t delivered = 0, lapped = 0;
    CHECK(shm_load_acquire(&ring->cursor) == goal && shm_load_acquire(&spsc->cursor) == spsc_goal);
    for (unsigned i = 3; i < CHILDREN; i++) {
        tally t = tally_load(&all->cells[i]);
        CHECK(t.position == goal && t.taken + t.lapped == goal);
        delivered += t.taken;
        lapped += t.lapped;
    }
    tally t = tally_load(&all->cells[2]);
    CHECK(t.position == spsc_goal && t.taken == spsc_goal && shm_load_acquire(&spsc->position) == spsc_goal);
    CHECK(t.sum == (spsc_goal % 2 ? spsc_goal * ((spsc_goal + 1) / 2) : spsc_goal / 2 * (spsc_goal + 1)));
    printf("{\"records\": %llu, \"published\": %llu, \"delivered\": %llu, \"lapped\": %llu, \"exactly_once\": %llu, "
           "\"kills\": %llu, \"seconds\": %.3f, \"records_per_s\": %.0f}\n",
           (ull)records, (ull)goal, (ull)delivered, (ull)lapped, (ull)t.taken, (ull)killed, seconds,
           (double)records / seconds);
    return 0;
}
