/* Seqlocks, books, histograms, counters and the journal under threads over one mapping.
 *
 * Usage: shm_values ROUNDS [PART]. One writer and several readers each; aborts on the first torn or impossible
 * value. Plain memory beside each value shows the thread sanitizer a missing release or acquire.
 */
#include "stress.h"

#include "shm/native/shm_book.h"
#include "shm/native/shm_clock.h"
#include "shm/native/shm_histogram.h"
#include "shm/native/shm_journal.h"
#include "shm/native/shm_seqlock.h"

#define READERS 3u

static uint64_t rounds;
static uint64_t *plain; /* by version: written before the value is stored */
static shm_a64 writing;

static void together(void *(*writer)(void *), void *(*reader)(void *), void *argument) {
    pthread_t threads[READERS + 1];
    plain = calloc(rounds + 2, 8);
    CHECK(plain != NULL);
    shm_store_release(&writing, 1);
    for (unsigned i = 0; i < READERS; i++)
        start(&threads[i], reader, argument);
    start(&threads[READERS], writer, argument);
    join(threads, READERS + 1);
    free(plain);
}

/* ---- seqlock ---------------------------------------------------------------------------------- */

static void *seqlock_writer(void *argument) {
    uint64_t value[WORDS];
    for (uint64_t s = 1; s <= rounds; s++) {
        fill(value, s);
        plain[s] = s;
        if (s % 3)
            shm_seqlock_store(argument, value, RECORD_BYTES);
        else
            shm_seqlock_store_padded(argument, value, RECORD_BYTES, RECORD_BYTES);
        if (s % 64 == 0)
            sched_yield();
    }
    shm_store_release(&writing, 0);
    return NULL;
}

static void *seqlock_reader(void *argument) {
    uint64_t value[WORDS], loads = 0, busy = 0, last = 0;
    int more;
    do {
        more = shm_load_acquire(&writing) != 0;
        if (shm_seqlock_load(argument, value, RECORD_BYTES)) {
            CHECK(more); /* nobody is writing: then it can not be busy */
            busy++;
            sched_yield();
            continue;
        }
        check(value, value[0]);
        CHECK(plain[value[0]] == value[0]);
        CHECK(value[0] >= last); /* never back in time */
        last = value[0];
        if (++loads % 64 == 0)
            sched_yield();
    } while (more);
    CHECK(last == rounds);
    printf("seqlock: %llu loads, %llu busy\n", (ull)loads, (ull)busy);
    return NULL;
}

static void seqlock_part(void) {
    shm_seqlock *lock = map(sizeof(shm_seqlock) + RECORD_BYTES);
    together(seqlock_writer, seqlock_reader, lock);
    /* A writer killed in the middle: BUSY, then repaired. */
    uint64_t value[WORDS];
    (void)shm_seqlock_store_begin(lock);
    CHECK(shm_seqlock_load(lock, value, RECORD_BYTES) == 1);
    fill(value, 5);
    shm_seqlock_store(lock, value, RECORD_BYTES);
    CHECK(shm_seqlock_load(lock, value, RECORD_BYTES) == 0);
    check(value, 5);
}

/* ---- books: certificate, totals and levels of one moment --------------------------------------- */

#define DEPTH 32u
#define LIMIT 20u /* readers with fewer levels than the slab has */

typedef struct book {
    void *entry;
    shm_stream *stream;
} book;

/* Everything in a book follows from its version, the number of levels too. */
static unsigned levels_of(uint64_t version, unsigned side) { return (unsigned)((version * (3 + side)) % (DEPTH + 1)); }

static void make_book(uint64_t version, shm_book_head *head, shm_level *bids, shm_level *asks) {
    memset(head, 0, sizeof *head);
    head->certificate.last_sequence = (int64_t)version;
    head->certificate.live_id = (uint32_t)(version * 7);
    head->certificate.resyncs = version * 11;
    head->totals.count[0] = version * 13;
    head->totals.last_price_units = (int64_t)(version * 17);
    head->bid_count = levels_of(version, 0);
    head->ask_count = levels_of(version, 1);
    for (unsigned i = 0; i < head->bid_count; i++)
        bids[i] = (shm_level){(int64_t)(version * 1000 - i), (int64_t)(version ^ i)};
    for (unsigned i = 0; i < head->ask_count; i++)
        asks[i] = (shm_level){(int64_t)(version * 1000 + 1 + i), (int64_t)(version + i)};
}

static void check_levels(const shm_level *got, const shm_level *want, unsigned got_count, unsigned want_count,
                         unsigned limit) {
    CHECK(got_count == (want_count < limit ? want_count : limit));
    CHECK(memcmp(got, want, got_count * sizeof *got) == 0);
}

static void *book_writer(void *argument) {
    book *b = argument;
    shm_book_head head;
    shm_level bids[DEPTH], asks[DEPTH];
    for (uint64_t version = 1; version <= rounds; version++) {
        make_book(version, &head, bids, asks);
        plain[version] = version;
        shm_book_store(b->entry, DEPTH, &head, bids, asks);
        shm_stream_touch(b->stream, (int64_t)version);
        if (version % 64 == 0)
            sched_yield();
    }
    shm_store_release(&writing, 0);
    return NULL;
}

static void *book_reader(void *argument) {
    book *b = argument;
    static _Atomic unsigned readers;
    uint32_t limit = readers++ % 2 ? LIMIT : DEPTH;
    shm_book_head head, want;
    shm_certificate certificate;
    shm_level bids[DEPTH], asks[DEPTH], want_bids[DEPTH], want_asks[DEPTH];
    uint64_t loads = 0, busy = 0, last = 0;
    int more;
    do {
        more = shm_load_acquire(&writing) != 0;
        int64_t alive = shm_stream_alive_ns(b->stream);
        if (shm_book_load_front(b->entry, &certificate, sizeof certificate) == SHM_BOOK_OK) {
            CHECK(certificate.resyncs == (uint64_t)certificate.last_sequence * 11);
            CHECK(certificate.last_sequence >= alive); /* touched after the store */
        }
        if (shm_book_load(b->entry, DEPTH, &head, bids, limit, asks, limit) == SHM_BOOK_BUSY) {
            CHECK(more);
            busy++;
            sched_yield();
            continue;
        }
        uint64_t version = (uint64_t)head.certificate.last_sequence;
        make_book(version, &want, want_bids, want_asks);
        check_levels(bids, want_bids, head.bid_count, want.bid_count, limit);
        check_levels(asks, want_asks, head.ask_count, want.ask_count, limit);
        want.bid_count = head.bid_count;
        want.ask_count = head.ask_count;
        CHECK(memcmp(&head, &want, sizeof head) == 0);
        CHECK(plain[version] == version && version >= last);
        last = version;
        if (++loads % 64 == 0)
            sched_yield();
    } while (more);
    CHECK(last == rounds);
    printf("book: %llu loads, %llu busy\n", (ull)loads, (ull)busy);
    return NULL;
}

static void book_part(void) {
    uint64_t at = shm_slab_entries_at(2);
    unsigned char *slab = map(shm_slab_bytes(DEPTH, 3, 2));
    /* The last entry: an entry that is too small writes behind the mapping's end. */
    book b = {slab + at + 2 * shm_slab_entry_bytes(DEPTH), (shm_stream *)(slab + sizeof(shm_slab_header)) + 1};
    CHECK((uintptr_t)b.entry % SHM_PAIR == 0);
    CHECK((unsigned char *)(b.stream + 1) <= slab + at);
    CHECK(shm_slab_entry_bytes(DEPTH) >= sizeof(shm_seqlock) + sizeof(shm_book_head) + 2 * DEPTH * sizeof(shm_level));
    together(book_writer, book_reader, &b);
    shm_book_head head = {0};
    (void)shm_seqlock_store_begin(b.entry);
    CHECK(shm_book_store_head(b.entry, &head) == SHM_BOOK_BUSY); /* levels may be torn: head alone repairs nothing */
}

/* ---- histogram and counter: one writer, readers that difference ------------------------------- */

static const uint64_t samples[8] = {0, 63, 64, 127, 128, 1000003, (1ull << 40) - 1, 1ull << 41};

static shm_counter counter; /* one writer: a plain add is enough */

static void *histogram_writer(void *argument) {
    shm_histogram *h = argument;
    shm_store_release(&counter.value, 0);
    for (uint64_t s = 1; s <= rounds; s++) {
        plain[s] = s;
        shm_histogram_record(h, (int64_t)samples[s % 8]);
        shm_add_single_writer(&counter.value, 3);
        if (s % 256 == 0)
            sched_yield();
    }
    shm_store_release(&writing, 0);
    return NULL;
}

static void *histogram_reader(void *argument) {
    shm_histogram *h = argument;
    uint64_t looks = 0, last = 0;
    int more;
    do {
        more = shm_load_acquire(&writing) != 0;
        uint64_t counted = shm_load_relaxed(&counter.value);
        CHECK(counted % 3 == 0 && counted <= 3 * rounds);
        uint64_t count = shm_load_acquire(&h->count), sum = 0;
        CHECK(count >= last && count <= rounds);
        CHECK(plain[count] == count);
        for (unsigned i = 0; i < SHM_HISTOGRAM_BUCKETS; i++)
            sum += shm_load_relaxed(&h->buckets[i]);
        CHECK(sum >= count && sum <= rounds); /* count is stored last */
        last = count;
        looks++;
        sched_yield();
    } while (more);
    CHECK(last == rounds);
    printf("histogram: %llu looks\n", (ull)looks);
    return NULL;
}

static void histogram_part(void) {
    for (uint32_t index = 0; index + 1 < SHM_HISTOGRAM_BUCKETS; index++) {
        CHECK(shm_histogram_index(shm_histogram_lower(index)) == index);
        CHECK(shm_histogram_index(shm_histogram_upper(index)) == index);
        CHECK(shm_histogram_upper(index) + 1 == shm_histogram_lower(index + 1));
    }
    shm_histogram *h = map(sizeof(shm_histogram));
    together(histogram_writer, histogram_reader, h);
    uint64_t total = 0, overflow = 0, buckets[SHM_HISTOGRAM_BUCKETS] = {0};
    for (uint64_t s = 1; s <= rounds; s++) {
        uint64_t value = samples[s % 8];
        total += value;
        overflow += value >> SHM_HISTOGRAM_MAX_BITS != 0;
        buckets[shm_histogram_index(value)]++;
    }
    CHECK(shm_load_relaxed(&counter.value) == 3 * rounds);
    CHECK(shm_load_relaxed(&h->sum) == total && shm_load_relaxed(&h->overflow) == overflow);
    CHECK(shm_load_relaxed(&h->min) == 1 && shm_load_relaxed(&h->max) == samples[7]);
    for (unsigned i = 0; i < SHM_HISTOGRAM_BUCKETS; i++)
        CHECK(shm_load_relaxed(&h->buckets[i]) == buckets[i]);
}

/* ---- journal: a tail that is read while it grows ----------------------------------------------- */

typedef struct journal {
    unsigned char *file;
    uint64_t size;
} journal;

#define FIRST_CHAIN 77u

static uint32_t payload_bytes(uint64_t s) { return (uint32_t)(1 + s * 37 % 200); }

static void make_payload(unsigned char *payload, uint64_t s) {
    for (uint32_t i = 0; i < payload_bytes(s); i++)
        payload[i] = (unsigned char)(s * 31 + i);
}

static void *journal_writer(void *argument) {
    journal *j = argument;
    uint64_t offset = SHM_JOURNAL_HEADER_BYTES;
    uint32_t chain = FIRST_CHAIN;
    unsigned char payload[256];
    for (uint64_t s = 1; s <= rounds; s++) {
        make_payload(payload, s);
        offset = shm_journal_append(j->file, j->size, offset, &chain, s, (int64_t)s, 3, payload, payload_bytes(s));
        CHECK(offset != 0);
        if (s % 64 == 0)
            sched_yield();
    }
    CHECK(shm_journal_append(j->file, j->size, offset, &chain, rounds + 1, 1, 3, payload, 1u << 20) == 0);
    shm_store_release(&writing, 0);
    return NULL;
}

static void *journal_reader(void *argument) {
    journal *j = argument;
    uint64_t offset = SHM_JOURNAL_HEADER_BYTES, looks = 0;
    uint32_t chain = FIRST_CHAIN;
    unsigned char payload[256];
    for (uint64_t s = 1; s <= rounds; looks++) {
        int verdict = shm_journal_check(j->file, j->size, offset, chain, s);
        CHECK(verdict != SHM_JOURNAL_BROKEN);
        if (verdict == SHM_JOURNAL_END) {
            sched_yield();
            continue;
        }
        const shm_journal_record *record = (const shm_journal_record *)(j->file + offset);
        make_payload(payload, s);
        CHECK(shm_journal_length(record) == payload_bytes(s) && record->kind == 3);
        CHECK(memcmp(record + 1, payload, payload_bytes(s)) == 0);
        chain = record->crc;
        offset += shm_journal_record_bytes(payload_bytes(s));
        s++;
    }
    CHECK(shm_journal_check(j->file, j->size, offset, chain, rounds + 1) == SHM_JOURNAL_END);
    printf("journal: %llu looks\n", (ull)looks);
    return NULL;
}

static void journal_part(void) {
    uint64_t whole = rounds;
    rounds = rounds / 4 + 1; /* a record costs more than a store elsewhere */
    journal j = {NULL, SHM_JOURNAL_HEADER_BYTES + 64};
    for (uint64_t s = 1; s <= rounds; s++)
        j.size += shm_journal_record_bytes(payload_bytes(s));
    j.file = map(j.size);
    together(journal_writer, journal_reader, &j);
    rounds = whole;
}

/* ---- copies: lengths and unaligned private buffers -------------------------------------------- */

static void copies_part(void) {
    uint64_t shared[4];
    unsigned char from[40], to[40];
    for (unsigned i = 0; i < sizeof from; i++)
        from[i] = (unsigned char)(i + 1);
    for (size_t length = 0; length <= 32; length++) {
        memset(shared, 0xFF, sizeof shared);
        shm_words_in_padded(shared, from + 1, length, 32);
        shm_words_out(to + 3, shared, 32);
        for (size_t i = 0; i < 32; i++)
            CHECK(to[3 + i] == (i < length ? from[1 + i] : 0));
    }
    CHECK(shm_now_ns() > 0 && shm_utc_ns() > 0);
    printf("copies: fine\n");
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(void);
    } parts[] = {{"copies", copies_part},       {"seqlock", seqlock_part}, {"book", book_part},
                 {"histogram", histogram_part}, {"journal", journal_part}};
    CHECK(argc == 2 || argc == 3);
    rounds = strtoull(argv[1], NULL, 10);
    CHECK(rounds > 0);
    for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++)
        if (argc == 2 || strcmp(argv[2], parts[i].name) == 0)
            parts[i].run();
    return 0;
}
