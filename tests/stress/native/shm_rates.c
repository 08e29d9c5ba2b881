/* The rate ledger from many threads: together exactly the burst, and nobody past a stop that is known.
 *
 * Usage: shm_rates ROUNDS. Even rounds: all takers empty one bucket at one time; their sum is the burst. Odd
 * rounds: one of them is refused by the venue and says so while the others take; whoever has seen that it was
 * said gets nothing. Corrections and changes of the limit run beside the odd rounds. Prints a line per taker.
 */
#include "stress.h"

#include "shm/native/shm_rate.h"

#define TAKERS 4u
#define BURST 37
#define LIMIT 100

static shm_rate_bucket *bucket;
static shm_rate_address *address;
static shm_a64 now_ns, granted, said;
static uint64_t rounds;
static pthread_barrier_t line;

static void odd_round(unsigned me, int64_t now) {
    if (me == 0) {
        sched_yield();
        shm_rate_penalize(bucket, address, SHM_RATE_STOP_ADDRESS, now + 10);
        shm_store_release(&said, 1);
    } else if (me == 1) {
        shm_rate_correct(bucket, 5, now);
        CHECK(shm_rate_set_limit(bucket, LIMIT + 1, BURST, now) && shm_rate_set_limit(bucket, LIMIT, BURST, now));
    }
    for (int is_known = 0; !is_known;) {
        is_known = shm_load_acquire(&said) != 0;
        int64_t wait = shm_rate_take(bucket, address, me & 3u, 1, now);
        CHECK(!is_known || wait >= 10);
        if (wait > 0)
            sched_yield(); /* else it holds the core that somebody needs to say so */
    }
}

static void *taker(void *argument) {
    unsigned me = (unsigned)(uintptr_t)argument;
    uint64_t mine = 0;
    for (uint64_t round = 0; round < rounds; round++) {
        pthread_barrier_wait(&line);
        int64_t now = (int64_t)shm_load_acquire(&now_ns);
        if (round & 1) {
            odd_round(me, now);
        } else {
            while (shm_rate_take(bucket, address, SHM_RATE_LANE_CANCEL, 1, now) == 0) {
                mine++;
                shm_add(&granted, 1);
            }
        }
        pthread_barrier_wait(&line);
    }
    printf("taker %u: %llu granted\n", me, (ull)mine);
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t takers[TAKERS];
    CHECK(argc == 2);
    rounds = strtoull(argv[1], NULL, 10) / 100 + 2;
    bucket = map(sizeof *bucket);
    address = map(sizeof *address);
    bucket->window_ns = 1000000;
    CHECK(shm_rate_set_limit(bucket, LIMIT, BURST, 0));
    pthread_barrier_init(&line, NULL, TAKERS + 1);
    int64_t now = 1;
    shm_store_release(&now_ns, (uint64_t)now);
    for (unsigned i = 0; i < TAKERS; i++)
        start(&takers[i], taker, (void *)(uintptr_t)i);
    for (uint64_t round = 0; round < rounds; round++) {
        now += 10 * bucket->window_ns;
        shm_store_release(&now_ns, (uint64_t)now);
        shm_store_release(&granted, 0);
        shm_store_release(&said, 0);
        pthread_barrier_wait(&line);
        pthread_barrier_wait(&line);
        if (round & 1)
            CHECK((int64_t)shm_load_acquire(&bucket->limit) == LIMIT);
        else
            CHECK(shm_load_acquire(&granted) == BURST);
    }
    join(takers, TAKERS);
    return 0;
}
