/* SIGKILL after each single instruction of each operation on shared memory.
 *
 * Usage: shm_step_kill [SCENE]. For each scene: a child does the operation under ptrace, one instruction at a
 * time, and is killed after exactly k of them, for k = 0, 1, ... until the operation is done before it dies.
 * After each death the parent looks at the same memory with the eyes of every survivor and lets a successor go
 * on. A second pass kills the successor too. Prints per scene how many kill points there were and what they left.
 *
 * ptrace(2): a stopped tracee that gets SIGKILL executes nothing more, so k is exact.
 */
#define WORDS 8u
#include "stress.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "shm/native/shm_book.h"
#include "shm/native/shm_histogram.h"
#include "shm/native/shm_journal.h"
#include "shm/native/shm_rate.h"
#include "shm/native/shm_seqlock.h"

#define STEPS_MAX 1000000u
#define FILE_BYTES 2048u
#define DEPTH 3u
#define SLEEPER 3u

/* Everything that survives. `phase`: 1 when the operation begins, 2 when it is done. */
typedef struct area { /* each part begins on a pair of lines */
    volatile uint64_t phase;
    uint8_t pad[SHM_PAIR - 8];
    unsigned char ring[SHM_BROADCAST_SLOTS_AT + 16 * RECORD_BYTES];
    shm_control control;
    shm_histogram histogram;
    shm_seqlock lock;
    uint64_t value[WORDS];
    unsigned char book[1024];
    unsigned char file[FILE_BYTES];
    shm_rate_bucket bucket;
    shm_rate_address address;
} area;

static area *all;
static shm_ring_header *ring;
static int bell;
static uint64_t steps_taken, kills;

/* What the kill points of a scene left behind, for the summary. */
static uint64_t nothing_happened, happened, half_done, wake_owed;

static void step(pid_t child) {
    int status;
    CHECK(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) == 0);
    CHECK(waitpid(child, &status, 0) == child && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
    steps_taken++;
}

/* Runs `act` in a child that is killed after `count` of its instructions; 1 if it was done by then. */
static int run_killed(void (*act)(void), uint64_t count) {
    int status;
    all->phase = 0;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(77);
        raise(SIGSTOP);
        all->phase = 1;
        act();
        all->phase = 2;
        for (;;)
            pause();
    }
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        fprintf(stderr, "ptrace is not permitted here\n");
        exit(77);
    }
    CHECK(WIFSTOPPED(status));
    for (unsigned i = 0; all->phase == 0; i++) {
        CHECK(i < STEPS_MAX);
        step(child);
    }
    for (uint64_t i = 0; i < count && all->phase == 1; i++)
        step(child);
    int is_done = all->phase == 2;
    CHECK(kill(child, SIGKILL) == 0);
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    kills++;
    return is_done;
}

static int bell_rang(void) {
    uint64_t count;
    ssize_t got = read(bell, &count, 8);
    CHECK(got == 8 || errno == EAGAIN);
    return got == 8;
}

/* ---- broadcast ------------------------------------------------------------------------------- */

#define START 6u /* records before the operation */

static uint64_t batch, capacity;

static void publish_next(uint64_t count) {
    uint64_t records[3 * WORDS], cursor = shm_load_relaxed(&ring->cursor);
    for (uint64_t i = 0; i < count; i++)
        fill(records + i * WORDS, cursor + 1 + i);
    if (count == 1)
        shm_broadcast_publish_one(ring, records, RECORD_BYTES);
    else
        shm_broadcast_publish(ring, records, count);
}

static void prepare_ring(uint32_t kind) {
    memset(all, 0, sizeof *all);
    CHECK(ring_bytes(capacity, RECORD_BYTES) <= sizeof all->ring);
    ring = format_ring(all->ring, kind, capacity, RECORD_BYTES);
    all->control.workers[SLEEPER].bell_fd = bell;
    (void)bell_rang();
}

static void prepare_broadcast(void) {
    prepare_ring(SHM_RING_BROADCAST);
    for (uint64_t i = 0; i < START; i++)
        publish_next(1);
    shm_or(&ring->subscriber_mask, 1ull << SLEEPER);
    shm_bell_arm(&all->control.workers[SLEEPER]);
}

static void prepare_one(void) { batch = 1, capacity = 4, prepare_broadcast(); }
static void prepare_batch(void) { batch = 3, capacity = 8, prepare_broadcast(); }

static void act_publish(void) { publish_next(batch); }

/* Everything from `self` on, each record whole and in its place, every record delivered or counted. */
static void drain(shm_subscriber *self) {
    uint64_t out[3 * WORDS], begin = self->position, lapped = self->lapped, taken = 0;
    for (unsigned idle = 0; shm_subscriber_pending(ring, self); idle++) {
        CHECK(idle < 100);
        uint64_t n = shm_subscriber_poll(ring, self, out, 3);
        for (uint64_t i = 0; i < n; i++)
            check(out + i * WORDS, self->position - n + 1 + i);
        taken += n;
    }
    CHECK(self->position == shm_load_relaxed(&ring->cursor));
    CHECK(taken + self->lapped - lapped == self->position - begin);
}

static uint64_t judge_cursor(int done, int times) {
    uint64_t cursor = shm_load_relaxed(&ring->cursor);
    CHECK(cursor >= START && cursor <= START + (uint64_t)times * batch && (cursor - START) % batch == 0);
    CHECK(!done || cursor > START);
    if (cursor == START)
        nothing_happened++;
    else
        happened++;
    return cursor;
}

/* Whoever reads from wherever gets nothing torn. */
static void drain_from_everywhere(void) {
    for (uint64_t position = 0; position <= shm_load_relaxed(&ring->cursor); position++) {
        shm_subscriber late = {position, 0, 0};
        drain(&late);
    }
}

static void judge_broadcast(int done, int times) {
    uint64_t cursor = judge_cursor(done, times);
    shm_subscriber live = {START, 0, 0};
    half_done += shm_load_relaxed(&ring->intent) > cursor;
    drain_from_everywhere();
    shm_subscriber oldest = {shm_broadcast_oldest(ring), 0, 0};
    CHECK(oldest.position <= cursor);
    drain(&oldest);
    CHECK(oldest.lapped == 0);
    drain(&live);
    for (int i = 0; i < 12; i++) {
        publish_next(1);
        drain(&live);
        drain(&oldest);
        drain_from_everywhere(); /* what the dead one half overwrote stays lost */
    }
    CHECK(live.lapped == 0 && live.position == cursor + 12);
}

/* ---- the wake of a parked subscriber --------------------------------------------------------- */

static void act_publish_and_signal(void) {
    publish_next(1);
    shm_bell_signal(&all->control, &ring->subscriber_mask);
}

static void judge_wake(int done, int times) {
    uint64_t cursor = judge_cursor(done, times);
    shm_worker_slot *sleeper = &all->control.workers[SLEEPER];
    int is_parked = shm_load_relaxed(&sleeper->parked) != 0, rang = bell_rang();
    CHECK(is_parked || cursor > START); /* nobody takes `parked` before the record exists */
    CHECK(!rang || !is_parked || times > 1);
    CHECK(!done || rang);
    half_done += cursor > START && is_parked && !rang;
    wake_owed += cursor > START && !is_parked && !rang;
    /* What each writer after the first does at its first signal (Publisher, Producer). */
    shm_bell_wake(sleeper);
    CHECK(bell_rang() && shm_load_relaxed(&sleeper->parked) == 0);
    shm_subscriber self = {START, 0, 0};
    drain(&self);
    /* And from then on the ordinary way. */
    shm_bell_arm(sleeper);
    CHECK(!shm_subscriber_pending(ring, &self));
    act_publish_and_signal();
    CHECK(bell_rang());
    drain(&self);
}

/* ---- parking: the sleeper dies --------------------------------------------------------------- */

static void act_park(void) {
    shm_worker_slot *worker = &all->control.workers[SLEEPER];
    shm_subscriber self = {START, 0, 0};
    shm_bell_arm(worker);
    if (shm_subscriber_pending(ring, &self))
        abort();
    shm_bell_disarm(worker);
}

static void prepare_park(void) {
    prepare_one();
    shm_bell_disarm(&all->control.workers[SLEEPER]);
}

static void judge_park(int done, int times) {
    shm_worker_slot *worker = &all->control.workers[SLEEPER];
    (void)times;
    if (shm_load_relaxed(&worker->parked)) {
        CHECK(!done);
        half_done++;
    } else if (done)
        happened++;
    else
        nothing_happened++;
    CHECK(shm_load_relaxed(&ring->cursor) == START);
    act_publish_and_signal(); /* a spare write at most */
    (void)bell_rang();
    shm_subscriber self = {START, 0, 0}; /* the next incarnation, in the same slot */
    shm_bell_arm(worker);
    CHECK(shm_subscriber_pending(ring, &self));
    shm_bell_disarm(worker);
    drain(&self);
    shm_bell_arm(worker);
    CHECK(!shm_subscriber_pending(ring, &self));
    act_publish_and_signal();
    CHECK(bell_rang());
}

/* ---- a subscriber dies: nobody notices ------------------------------------------------------- */

static area *before;

static void act_poll(void) {
    shm_subscriber self = {0, 0, 0}; /* lapped: the longest way through the poll */
    uint64_t out[3 * WORDS];
    shm_ring_reader *cell = (shm_ring_reader *)(ring + 1) + SLEEPER;
    shm_subscriber_poll(ring, &self, out, 3);
    shm_subscriber_show(cell, &self);
    shm_subscriber_poll(ring, &self, out, 3);
    shm_subscriber_show(cell, &self);
}

static void prepare_poll(void) {
    prepare_one();
    memcpy(before, all, sizeof *all);
}

static void judge_poll(int done, int times) {
    (void)times;
    shm_ring_reader *cell = (shm_ring_reader *)(ring + 1) + SLEEPER;
    uint64_t position = shm_load_relaxed(&cell->position);
    CHECK(position <= START);
    if (done)
        happened++;
    else if (position)
        half_done++;
    else
        nothing_happened++;
    memset(cell, 0, sizeof *cell);
    before->phase = all->phase;
    CHECK(memcmp(before, all, sizeof *all) == 0); /* not one byte but its own cell */
}

/* ---- SPSC ------------------------------------------------------------------------------------ */

static uint64_t spsc_begin; /* committed before the operation */

static void prepare_spsc(uint64_t begin) {
    spsc_begin = begin;
    prepare_ring(SHM_RING_SPSC);
    uint64_t record[WORDS], taken = 0;
    for (uint64_t s = 1; s <= START; s++) {
        fill(record, s);
        if (shm_spsc_free(ring) == 0) {
            (void)shm_spsc_poll(ring, &taken, record, 1);
            CHECK(shm_spsc_commit(ring, 1) == 0);
            fill(record, s);
        }
        shm_spsc_put(ring, record, 1);
    }
    while (shm_load_relaxed(&ring->position) < begin)
        CHECK(shm_spsc_commit(ring, 1) == 0);
    shm_or(&ring->subscriber_mask, 1ull << SLEEPER);
}

static int offer_next(uint64_t count) {
    uint64_t records[3 * WORDS], cursor = shm_load_relaxed(&ring->cursor);
    for (uint64_t i = 0; i < count; i++)
        fill(records + i * WORDS, cursor + 1 + i);
    if (!shm_spsc_reserve(ring, count, SLEEPER))
        return 0;
    if (count == 1)
        shm_spsc_put_one(ring, records, RECORD_BYTES);
    else
        shm_spsc_put(ring, records, count);
    return 1;
}

/* Polls from the committed position on, as each reborn consumer does: whole, in order, no hole. */
static void consume_all(void) {
    uint64_t out[3 * WORDS], n, taken = shm_load_acquire(&ring->position);
    CHECK(shm_load_relaxed(&ring->cursor) - taken <= capacity);
    while ((n = shm_spsc_poll(ring, &taken, out, 3)) != 0)
        for (uint64_t i = 0; i < n; i++)
            check(out + i * WORDS, taken - n + 1 + i);
    CHECK(taken == shm_load_relaxed(&ring->cursor));
}

static void spsc_goes_on(void) {
    consume_all();
    uint64_t taken = shm_load_relaxed(&ring->position), out[WORDS];
    for (int i = 0; i < 12; i++) {
        while (!offer_next(1)) {
            CHECK(shm_spsc_poll(ring, &taken, out, 1) == 1);
            check(out, taken);
            CHECK(shm_spsc_commit(ring, 1) == SLEEPER + 1); /* the refused one is named */
        }
    }
    consume_all();
}

static void prepare_offer(void) { batch = 1, capacity = 4, prepare_spsc(4); }
static void prepare_offer_many(void) { batch = 3, capacity = 16, prepare_spsc(2); }
static void act_offer(void) { (void)offer_next(batch); }

static void judge_offer(int done, int times) {
    (void)judge_cursor(done, times);
    CHECK(shm_load_relaxed(&ring->position) == spsc_begin && shm_load_relaxed(&ring->refused) == 0);
    spsc_goes_on();
}

static void prepare_full(void) { batch = 1, capacity = 4, prepare_spsc(2); }

static void judge_refused(int done, int times) {
    (void)times;
    CHECK(shm_load_relaxed(&ring->cursor) == START && shm_load_relaxed(&ring->position) == 2);
    uint64_t wanted = shm_load_relaxed(&ring->wanted);
    CHECK(wanted == 0 || wanted == SLEEPER + 1);
    CHECK(!done || (wanted && shm_load_relaxed(&ring->refused) > 0));
    if (done)
        happened++;
    else if (wanted)
        half_done++;
    else
        nothing_happened++;
    CHECK(shm_spsc_commit(ring, 1) == wanted);
    spsc_goes_on();
}

static void prepare_commit(void) {
    prepare_full();
    CHECK(!shm_spsc_reserve(ring, 1, SLEEPER)); /* a producer waits for room */
}

static void act_commit(void) {
    uint64_t waiting = shm_spsc_commit(ring, 1);
    if (waiting)
        shm_bell_wake(&all->control.workers[waiting - 1]);
}

static void judge_commit(int done, int times) {
    uint64_t position = shm_load_relaxed(&ring->position), wanted = shm_load_relaxed(&ring->wanted);
    int rang = bell_rang();
    CHECK(position >= 2 && position <= 2 + (uint64_t)times);
    CHECK(!done || (position > 2 && rang));
    CHECK(wanted == 0 || wanted == SLEEPER + 1);
    CHECK(wanted || position > 2); /* taken only after there was room */
    if (position == 2)
        nothing_happened++;
    else
        happened++;
    half_done += position > 2 && wanted;
    /* `wanted` taken and the bell not written: the producer finds room when its heartbeat looks, or is
     * woken by whoever saw the consumer die (README, "SIGKILL at any instruction"). */
    wake_owed += position > 2 && !wanted && !rang;
    CHECK(position == 2 || shm_spsc_free(ring) > 0);
    CHECK(shm_spsc_commit(ring, 1) == wanted);
    spsc_goes_on();
}

/* ---- seqlock and book ------------------------------------------------------------------------ */

static void prepare_seqlock(void) {
    uint64_t value[WORDS];
    memset(all, 0, sizeof *all);
    fill(value, 7);
    shm_seqlock_store(&all->lock, value, RECORD_BYTES);
}

static void act_seqlock(void) {
    uint64_t value[WORDS];
    fill(value, 8);
    shm_seqlock_store(&all->lock, value, RECORD_BYTES);
}

static void count_version(uint64_t version, int busy, int done) {
    CHECK(busy || version == 7 || version == 8);
    CHECK(!done || (!busy && version == 8));
    if (busy)
        half_done++;
    else if (version == 7)
        nothing_happened++;
    else
        happened++;
}

static void judge_seqlock(int done, int times) {
    uint64_t value[WORDS] = {0};
    (void)times;
    int busy = shm_seqlock_load(&all->lock, value, RECORD_BYTES);
    if (!busy)
        check(value, value[0]);
    CHECK(busy == (int)(shm_load_relaxed(&all->lock.count) & 1));
    count_version(value[0], busy, done);
    fill(value, 9);
    shm_seqlock_store(&all->lock, value, RECORD_BYTES);
    CHECK(shm_seqlock_load(&all->lock, value, RECORD_BYTES) == 0);
    check(value, 9);
}

static void store_book(uint64_t version, unsigned levels) {
    shm_book_head head = {.bid_count = levels, .ask_count = levels};
    shm_level bids[DEPTH], asks[DEPTH];
    head.certificate.last_sequence = (int64_t)version;
    head.totals.last_trade_id = (int64_t)version;
    for (unsigned i = 0; i < levels; i++)
        bids[i] = asks[i] = (shm_level){(int64_t)(version * 100 + i), (int64_t)version};
    shm_book_store(all->book, DEPTH, &head, bids, asks);
}

static int load_book(uint64_t *version) {
    shm_book_head head;
    shm_level bids[DEPTH], asks[DEPTH];
    if (shm_book_load(all->book, DEPTH, &head, bids, DEPTH, asks, DEPTH))
        return SHM_BOOK_BUSY;
    *version = (uint64_t)head.certificate.last_sequence;
    CHECK(head.totals.last_trade_id == (int64_t)*version && head.bid_count == head.ask_count);
    CHECK(head.bid_count == (*version == 7 ? DEPTH : DEPTH - 1));
    for (unsigned i = 0; i < head.bid_count; i++) {
        shm_level level = {(int64_t)(*version * 100 + i), (int64_t)*version};
        CHECK(memcmp(&bids[i], &level, sizeof level) == 0 && memcmp(&asks[i], &level, sizeof level) == 0);
    }
    return SHM_BOOK_OK;
}

static void prepare_book(void) {
    memset(all, 0, sizeof *all);
    CHECK(shm_slab_entry_bytes(DEPTH) <= sizeof all->book);
    store_book(7, DEPTH);
}

static void act_book(void) { store_book(8, DEPTH - 1); }

static void judge_book(int done, int times) {
    uint64_t version = 0;
    shm_book_head head = {0};
    (void)times;
    int busy = load_book(&version);
    count_version(version, busy, done);
    if (busy)
        CHECK(shm_book_store_head(all->book, &head) == SHM_BOOK_BUSY);
    store_book(9, DEPTH - 1);
    CHECK(load_book(&version) == SHM_BOOK_OK && version == 9);
}

/* ---- journal --------------------------------------------------------------------------------- */

#define FIRST_CHAIN 77u
#define OLD_RECORDS 4u

static uint64_t due, offset;
static uint32_t chain;
static unsigned char payload[256];

static uint32_t payload_bytes(uint64_t s) { return (uint32_t)(20 + s * 29 % 60); }

/* Reads the file as a reborn writer does: whole records, then nothing. */
static void scan(void) {
    int verdict;
    due = 1, offset = 0, chain = FIRST_CHAIN;
    while ((verdict = shm_journal_check(all->file, FILE_BYTES, offset, chain, due)) == SHM_JOURNAL_GOOD) {
        const shm_journal_record *record = (const shm_journal_record *)(all->file + offset);
        CHECK(record->append_ns == (int64_t)due * 5);
        for (uint32_t i = 0; i < shm_journal_length(record); i++)
            CHECK(((const unsigned char *)(record + 1))[i] == (unsigned char)(due + i));
        chain = record->crc;
        offset += shm_journal_record_bytes(shm_journal_length(record));
        due++;
    }
    CHECK(verdict == SHM_JOURNAL_END);
    CHECK(shm_journal_successor(all->file, FILE_BYTES, offset, chain, due) == 0); /* torn is not damaged */
    for (uint32_t i = 0; i < sizeof payload; i++)
        payload[i] = (unsigned char)(due + i);
}

static uint32_t next_bytes; /* of the record to append */

static void act_append(void) {
    CHECK(shm_journal_append(all->file, FILE_BYTES, offset, &chain, due, (int64_t)due * 5, 3, payload, next_bytes));
}

static void prepare_journal(void) {
    memset(all, 0, sizeof *all);
    for (scan(); due <= OLD_RECORDS; scan()) {
        next_bytes = payload_bytes(due);
        act_append();
    }
    next_bytes = 96;
}

static void judge_journal(int done, int times) {
    scan();
    uint64_t here = due - 1 - OLD_RECORDS;
    CHECK(here <= (uint64_t)times && (!done || here > 0));
    if (here)
        happened++;
    else if (shm_journal_is_zero(all->file + offset, 128))
        nothing_happened++;
    else
        half_done++;
    /* Shorter ones over what was left, so that old bytes stand behind each new end. */
    for (uint32_t bytes = 40; bytes >= 14; bytes -= 13) {
        uint64_t expected = due + 1;
        next_bytes = bytes;
        act_append();
        scan();
        CHECK(due == expected);
    }
}

static void ready_journal(void) {
    scan();
    next_bytes = 64;
}

/* ---- histogram ------------------------------------------------------------------------------- */

static void prepare_histogram(void) {
    memset(all, 0, sizeof *all);
    shm_histogram_record(&all->histogram, 100);
}

static void act_histogram(void) { shm_histogram_record(&all->histogram, 100000); }

static void judge_histogram(int done, int times) {
    shm_histogram *h = &all->histogram;
    uint64_t count = shm_load_acquire(&h->count), sum = 0;
    for (unsigned i = 0; i < SHM_HISTOGRAM_BUCKETS; i++)
        sum += shm_load_relaxed(&h->buckets[i]);
    CHECK(count >= 1 && sum >= count && sum <= 1 + (uint64_t)times && (!done || count >= 2));
    if (count > 1)
        happened++;
    else if (sum > count)
        half_done++;
    else
        nothing_happened++;
    shm_histogram_record(h, 5);
    CHECK(shm_load_relaxed(&h->count) == count + 1 && shm_load_relaxed(&h->min) == 6);
}

/* ---- rate ledger ----------------------------------------------------------------------------- */

#define RATE_LIMIT 8
#define RATE_BURST 4
#define RATE_NOW ((int64_t)1000000)

static void prepare_rate(void) {
    memset(all, 0, sizeof *all);
    all->bucket.window_ns = 1000000;
    CHECK(shm_rate_set_limit(&all->bucket, RATE_LIMIT, RATE_BURST, 0));
}

static int64_t rate_take(void) {
    return shm_rate_take(&all->bucket, &all->address, SHM_RATE_LANE_CANCEL, 1, RATE_NOW);
}

static int64_t rate_interval(void) { return shm_rate_interval_ns(shm_load_relaxed(&all->bucket.pace)); }

static void act_rate_take(void) { (void)rate_take(); }

/* The dead have taken whole units or nothing; survivors get exactly the rest of the burst, then the rate. */
static void judge_rate_take(int done, int times) {
    int64_t arrival = (int64_t)shm_load_relaxed(&all->bucket.arrival_ns), taken = 0;
    if (arrival != 0) {
        CHECK((arrival - RATE_NOW) % rate_interval() == 0);
        taken = (arrival - RATE_NOW) / rate_interval();
    }
    CHECK(taken >= done && taken <= times);
    CHECK((int64_t)shm_load_relaxed(&all->bucket.granted[SHM_RATE_LANE_CANCEL]) <= taken);
    if (taken)
        happened++;
    else
        nothing_happened++;
    for (int64_t left = RATE_BURST - taken; left > 0; left--)
        CHECK(rate_take() == 0);
    CHECK(rate_take() == rate_interval());
}

static void act_rate_limit(void) { (void)shm_rate_set_limit(&all->bucket, RATE_LIMIT / 2, RATE_BURST / 2, RATE_NOW); }

/* The old pace, or the new one with an empty budget: never the new limit with the old one's credit. */
static void judge_rate_limit(int done, int times) {
    uint64_t pace = shm_load_relaxed(&all->bucket.pace);
    int is_new = shm_rate_burst(pace) == RATE_BURST / 2, is_empty = shm_load_relaxed(&all->bucket.arrival_ns) != 0;
    (void)times;
    CHECK(is_new || shm_rate_burst(pace) == RATE_BURST);
    CHECK((!is_new || is_empty) && (!done || is_new));
    if (is_new)
        happened++;
    else if (is_empty)
        half_done++;
    else
        nothing_happened++;
    act_rate_limit();
    CHECK(shm_rate_burst(shm_load_relaxed(&all->bucket.pace)) == RATE_BURST / 2);
    CHECK(shm_load_relaxed(&all->bucket.limit) == RATE_LIMIT / 2 && rate_take() > 0);
}

/* ---- all of them ----------------------------------------------------------------------------- */

typedef struct scene {
    const char *name;
    void (*prepare)(void);
    void (*act)(void);
    void (*judge)(int done, int times);
    void (*ready)(void); /* what a successor reads before its operation, NULL = nothing */
} scene;

static const scene scenes[] = {
    {"publish", prepare_one, act_publish, judge_broadcast, NULL},
    {"publish batch", prepare_batch, act_publish, judge_broadcast, NULL},
    {"publish and signal", prepare_one, act_publish_and_signal, judge_wake, NULL},
    {"park", prepare_park, act_park, judge_park, NULL},
    {"poll", prepare_poll, act_poll, judge_poll, NULL},
    {"offer", prepare_offer, act_offer, judge_offer, NULL},
    {"offer many", prepare_offer_many, act_offer, judge_offer, NULL},
    {"refused offer", prepare_full, act_offer, judge_refused, NULL},
    {"commit", prepare_commit, act_commit, judge_commit, NULL},
    {"seqlock store", prepare_seqlock, act_seqlock, judge_seqlock, NULL},
    {"book store", prepare_book, act_book, judge_book, NULL},
    {"journal append", prepare_journal, act_append, judge_journal, ready_journal},
    {"histogram record", prepare_histogram, act_histogram, judge_histogram, NULL},
    {"rate take", prepare_rate, act_rate_take, judge_rate_take, NULL},
    {"rate limit", prepare_rate, act_rate_limit, judge_rate_limit, NULL},
};

static void play(const scene *s) {
    nothing_happened = happened = half_done = wake_owed = 0;
    uint64_t points = 0, random = 0x9E3779B97F4A7C15ull;
    for (int done = 0; !done; points++) {
        s->prepare();
        done = run_killed(s->act, points);
        s->judge(done, 1);
    }
    printf("%s: %llu kill points, %llu before, %llu after, %llu half, %llu owe a wake\n", s->name, (ull)points,
           (ull)nothing_happened, (ull)happened, (ull)half_done, (ull)wake_owed);
    CHECK(nothing_happened > 0 && happened > 0); /* else the scene did not step through its operation */
    for (uint64_t k = 0; k < points; k++) {
        s->prepare();
        (void)run_killed(s->act, k);
        if (s->ready)
            s->ready();
        (void)run_killed(s->act, chance(&random) % points);
        s->judge(0, 2);
    }
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    all = map(sizeof *all);
    before = map(sizeof *before);
    bell = eventfd(0, EFD_NONBLOCK);
    CHECK(bell > 0);
    for (unsigned i = 0; i < sizeof scenes / sizeof *scenes; i++)
        if (argc < 2 || strcmp(argv[1], scenes[i].name) == 0)
            play(&scenes[i]);
    CHECK(kills > 0);
    printf("%llu kills in %llu steps\n", (ull)kills, (ull)steps_taken);
    return 0;
}
