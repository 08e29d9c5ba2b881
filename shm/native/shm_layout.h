/* Every structure that crosses a process, stated once.
 *
 * What: the fixed layouts of all Ringlane segments and of the records that travel in rings and
 * journals. `shm/layout.pxd` declares them for Cython, `shm/layout.py` computes the same offsets in
 * Python, and a test compares both with this file and with a stored golden dump.
 *
 * Rules: little endian, 64-bit, natural alignment, no implicit padding (each pad is named), hot
 * fields of different writers two cache lines apart (the prefetcher pulls lines in pairs). A field
 * is only ever added in reserved space or together with a new SHM_LAYOUT_VERSION. Fresh memory is
 * zero, so zero always means "nothing yet".
 */
#ifndef RINGLANE_SHM_LAYOUT_H
#define RINGLANE_SHM_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#define SHM_LAYOUT_VERSION 2u
#define SHM_MAGIC 0x454E414C474E4952ull /* "RINGLANE" read as a little-endian word */
#define SHM_CACHE_LINE 64u
#define SHM_PAIR 128u /* two lines: the unit the prefetcher pulls */

/* C11 atomics on fields that more than one process touches. Plain access to such a field would be
 * sequentially consistent, never a data race; the headers always name the order they need. */
typedef _Atomic(uint64_t) shm_a64;
typedef _Atomic(uint32_t) shm_a32;

/* ---- segment header: the first 256 bytes of every segment ------------------------------------ */

#define SHM_SEGMENT_HEADER_BYTES 256u
#define SHM_SEGMENT_NAME_BYTES 64u

typedef struct shm_segment_header {
    uint64_t magic;
    uint32_t layout_version;
    uint32_t kind; /* enums.SegmentKind */
    uint64_t layout_hash;
    uint64_t size_bytes; /* of the whole segment, header included */
    uint64_t epoch;      /* of the run */
    uint32_t creator_pid;
    uint32_t reserved0;
    uint64_t created_utc_ns;
    char name[SHM_SEGMENT_NAME_BYTES]; /* short name, zero terminated */
    shm_a64 ready;                     /* 1 once the creator has formatted the payload */
    uint8_t reserved1[256 - 128];
} shm_segment_header;

/* ---- rings ----------------------------------------------------------------------------------- */

#define SHM_RING_BROADCAST 1u
#define SHM_RING_SPSC 2u

/* Broadcast ring: header, one shm_ring_reader per worker slot, then `capacity` slots of `slot_bytes`.
 * A record with sequence s stands in slot (s - 1) & (capacity - 1) and exists once cursor >= s.
 * `intent` is the highest sequence whose slot the publisher may be overwriting: a copy of record s is
 * torn unless intent < s + capacity still holds after the copy. SPSC: the same header, no readers;
 * `position` belongs to the consumer. */
typedef struct shm_ring_header {
    uint32_t kind; /* SHM_RING_* */
    uint32_t slot_bytes;
    uint64_t capacity;
    shm_a64 subscriber_mask; /* bit i: worker slot i subscribes (its bell is signaled when parked) */
    uint8_t reserved0[SHM_PAIR - 24];
    /* publisher / producer pair of lines */
    shm_a64 cursor;
    shm_a64 intent;
    shm_a64 producer_epoch; /* rises with each writer that attaches */
    shm_a64 refused;        /* SPSC: offers refused because the ring was full */
    shm_a64 doorbells;      /* sleepers this writer woke: one eventfd write each */
    uint8_t reserved1[SHM_PAIR - 40];
    /* consumer pair of lines (SPSC only) */
    shm_a64 position; /* everything up to here is consumed */
    shm_a64 consumer_epoch;
    uint8_t reserved2[SHM_PAIR - 16];
    /* back-pressure pair of lines (SPSC only) */
    shm_a64 wanted; /* 1 + worker slot of a refused producer that waits for progress; 0 = nobody */
    uint8_t reserved3[SHM_PAIR - 8];
} shm_ring_header;

/* What a subscriber shows to the outside, in the cell of its worker slot; nobody's correctness depends
 * on it. Valid while the slot's bit is set in subscriber_mask. */
typedef struct shm_ring_reader {
    shm_a64 position; /* consumed up to here */
    shm_a64 lapped;   /* records lost */
    shm_a64 laps;     /* times overtaken */
    uint8_t reserved0[SHM_PAIR - 24];
} shm_ring_reader;

/* ---- control segment: one per run, written by supervisor and workers ------------------------- */

#define SHM_WORKER_SLOTS 64u
#define SHM_ROLE_BYTES 32u

typedef struct shm_worker_slot {
    /* written by the worker itself */
    shm_a64 parked; /* 1 while the worker sleeps: the publisher must write its eventfd */
    uint8_t reserved0[SHM_PAIR - 8];
    shm_a64 heartbeat_ns; /* monotonic */
    shm_a64 cycles;       /* duty cycles done */
    shm_a64 generation;   /* config generation in force in this worker */
    shm_a64 cycle_ns_max;
    shm_a64 wakes; /* times its doorbell woke it */
    uint8_t reserved1[SHM_PAIR - 40];
    /* written by the supervisor */
    shm_a64 state; /* enums.WorkerState */
    shm_a64 pid;
    shm_a64 incarnation; /* 1 for the first process in this slot, +1 for each restart */
    shm_a64 restarts;
    shm_a64 started_ns;
    int64_t bell_fd; /* eventfd number, the same in every process of the run */
    int64_t core;    /* pinned core, -1 = not pinned */
    uint64_t reserved2;
    char role[SHM_ROLE_BYTES];
    uint8_t reserved3[SHM_PAIR - 96];
} shm_worker_slot;

typedef struct shm_control {
    shm_a64 halt; /* enums.TradingState in the low 8 bits, a reason code above, a count above that */
    uint8_t reserved0[SHM_PAIR - 8];
    shm_a64 generation; /* newest config generation made by the supervisor */
    shm_a64 stopping;   /* 1 once an ordered stop began */
    shm_a64 supervisor_heartbeat_ns;
    shm_a64 run_started_ns;
    uint64_t epoch;
    uint64_t supervisor_pid;
    uint8_t reserved1[SHM_PAIR - 48];
    shm_worker_slot workers[SHM_WORKER_SLOTS];
} shm_control;

/* ---- seqlock --------------------------------------------------------------------------------- */

/* `count` is even while the value is whole. The value follows as relaxed atomic 64-bit words. */
typedef struct shm_seqlock {
    shm_a64 count;
} shm_seqlock;

/* ---- books ----------------------------------------------------------------------------------- */

typedef struct shm_level {
    int64_t price_units;
    int64_t quantity_units;
} shm_level;

/* Everything a reader must know before it may use the levels; an order cites
 * (instrument_id, epoch, live_id, last_sequence). */
typedef struct shm_certificate {
    uint32_t instrument_id;
    uint32_t state; /* enums.BookState */
    uint32_t epoch; /* rises with each publisher incarnation */
    uint32_t live_id;
    int64_t last_sequence; /* last proven venue sequence */
    int64_t data_ns;       /* last applied update, monotonic */
    int64_t venue_utc_ns;  /* of that update */
    int64_t publish_ns;
    int64_t audit_ns;    /* last audit against a snapshot, 0 = none */
    uint32_t stream;     /* index into the stream table: its alive_ns is this book's liveness */
    uint32_t reason;     /* enums.BookReason of the last change of state */
    uint64_t gaps;       /* gaps found since the publisher first started */
    uint64_t resyncs;
} shm_certificate;

typedef struct shm_trade_totals {
    uint64_t count[2]; /* by aggressor side: 0 = buy, 1 = sell */
    int64_t quantity_units[2];
    int64_t notional_high[2]; /* 128-bit price_units * quantity_units, high and low word */
    uint64_t notional_low[2];
    int64_t last_trade_id;
    int64_t last_price_units;
} shm_trade_totals;

/* One slab entry: seqlock, then this value, then bids[depth], then asks[depth], best first. */
typedef struct shm_book_head {
    shm_certificate certificate;
    shm_trade_totals totals;
    uint32_t bid_count;
    uint32_t ask_count;
} shm_book_head;

typedef struct shm_slab_header {
    uint32_t depth;    /* levels per side */
    uint32_t capacity; /* entries, indexed by instrument_id */
    uint32_t entry_bytes;
    uint32_t streams; /* entries of the stream table behind this header */
    uint64_t owner_slot; /* worker slot of the one writer */
    uint8_t reserved0[SHM_PAIR - 24];
} shm_slab_header;

/* One websocket stream group; one cache line each so that feeds never share one. */
typedef struct shm_stream {
    shm_a64 alive_ns; /* last frame of any kind on the carrying connection */
    shm_a64 frames;
    uint8_t reserved0[SHM_CACHE_LINE - 16];
} shm_stream;

/* ---- records --------------------------------------------------------------------------------- */

/* A market-data record on a broadcast ring: 128 bytes. The four value fields read by kind:
 * BOOK, BBO: bid price, bid quantity, ask price, ask quantity; TRADE: price, quantity, trade id, 0;
 * MARK: mark price, index price, funding rate, next funding venue_utc_ns; there bid_count is the exponent of both
 * prices and ask_count that of the rate. */
typedef struct shm_market_record {
    uint16_t kind; /* enums.RecordKind */
    uint8_t book_state;
    uint8_t side; /* aggressor side of a trade */
    uint32_t instrument_id;
    uint32_t epoch;
    uint32_t live_id;
    int64_t last_sequence;
    int64_t value[4];
    int64_t frame_ns;
    int64_t publish_ns;
    int64_t venue_utc_ns;
    uint32_t reason; /* enums.BookReason for STATUS records */
    uint32_t bid_count;
    uint32_t ask_count;
    uint32_t flags;
    uint64_t reserved0[4];
} shm_market_record;

typedef struct shm_certificate_ref {
    uint32_t instrument_id;
    uint32_t epoch;
    uint32_t live_id;
    uint32_t reserved0;
    int64_t last_sequence;
} shm_certificate_ref;

#define SHM_CERTIFICATES 4u

/* What a strategy wants done: 256 bytes. */
typedef struct shm_intent_record {
    uint16_t kind; /* enums.IntentKind */
    uint8_t side;
    uint8_t order_type;
    uint8_t time_in_force;
    uint8_t certificate_count;
    uint16_t flags; /* enums.OrderFlags */
    uint32_t actor_id;
    uint32_t instrument_id;
    uint32_t worker_slot;
    uint32_t incarnation;
    uint64_t epoch;
    uint64_t generation;
    uint64_t client_order_id;
    uint64_t orig_client_order_id;
    int64_t price_units;
    int64_t quantity_units;
    int64_t frame_ns; /* of the update that caused it */
    int64_t publish_ns;
    int64_t drain_ns;
    int64_t decide_ns;
    shm_certificate_ref certificates[SHM_CERTIFICATES];
    uint64_t reserved0[7];
} shm_intent_record;

/* What became of an order: 256 bytes. */
typedef struct shm_report_record {
    uint16_t kind; /* enums.ReportKind */
    uint8_t side;
    uint8_t order_status;
    uint8_t request_status;
    uint8_t liquidity;
    uint16_t reason; /* enums.Reason */
    uint32_t actor_id;
    uint32_t instrument_id;
    uint64_t client_order_id;
    uint64_t orig_client_order_id;
    uint64_t venue_order_id;
    uint64_t trade_id;
    int64_t price_units;
    int64_t order_units;
    int64_t filled_units;
    int64_t leaves_units;
    int64_t last_units;
    int64_t last_price_units;
    int64_t fee_units;      /* 10^-8 of the settlement currency, negative = rebate */
    int64_t position_units; /* signed net position after this report */
    int64_t frame_ns;
    int64_t decide_ns;
    int64_t gate_ns;
    int64_t send_ns;
    int64_t ack_ns;
    int64_t report_ns;
    int64_t venue_utc_ns;
    uint64_t generation;
    uint64_t epoch;
    uint64_t reserved0[9];
} shm_report_record;

/* ---- positions: one seqlocked value per (gateway, instrument) -------------------------------- */

typedef struct shm_position {
    uint32_t instrument_id;
    uint32_t reserved0;
    int64_t quantity_units;       /* signed */
    int64_t open_buy_units;       /* leaves of working buys */
    int64_t open_sell_units;
    int64_t cost_units_high;      /* 128-bit signed price_units * quantity_units of the open lots */
    uint64_t cost_units_low;
    int64_t realized_units;       /* 10^-8 of the settlement currency, before fees */
    int64_t fees_units;           /* 10^-8 of the settlement currency */
    int64_t mark_price_units;
    int64_t unrealized_units;     /* 10^-8 of the settlement currency, at the mark */
    uint64_t fills;
    int64_t update_ns;
} shm_position;

/* ---- instruments: immutable rows ------------------------------------------------------------- */

#define SHM_SYMBOL_BYTES 32u

typedef struct shm_instrument {
    uint32_t instrument_id;
    uint16_t venue_id;
    uint8_t kind;   /* enums.InstrumentKind */
    uint8_t status; /* enums.InstrumentStatus */
    uint8_t price_exponent;    /* price_units are 10^-price_exponent */
    uint8_t quantity_exponent; /* quantity_units are 10^-quantity_exponent */
    uint8_t is_inverse;
    uint8_t priority; /* 1 critical .. 4 experimental */
    uint8_t multiplier_exponent;
    uint8_t reserved0[3];
    int64_t tick_size; /* in price_units */
    int64_t lot_size;  /* in quantity_units */
    int64_t multiplier; /* of one quantity unit of the venue, times 10^multiplier_exponent */
    int64_t min_quantity_units;
    int64_t max_quantity_units;
    int64_t min_notional_units; /* 10^-8 of the quote currency */
    int64_t maker_fee_e8;       /* fraction of notional times 10^8, negative = rebate */
    int64_t taker_fee_e8;
    uint32_t slab; /* index of the feed worker whose slab holds the book */
    uint32_t reserved1;
    char symbol[SHM_SYMBOL_BYTES];    /* the venue's own */
    char canonical[SHM_SYMBOL_BYTES]; /* BASE-QUOTE-PERP and so on */
    char base[16];
    char quote[16];
    char settle[16];
    uint8_t reserved2[256 - 200];
} shm_instrument;

typedef struct shm_instruments_header {
    uint32_t capacity;
    uint32_t row_bytes;
    shm_a64 count; /* rows 0 .. count-1 are valid; instrument_id is the row's index */
    uint8_t reserved0[SHM_PAIR - 16];
} shm_instruments_header;

/* ---- metrics segment of one worker: counters, histograms, faults ----------------------------- */

#define SHM_LABEL_BYTES 56u
#define SHM_COUNTERS 256u
#define SHM_HISTOGRAMS 32u
#define SHM_FAULTS 64u
#define SHM_FAULT_TEXT_BYTES 200u
/* Log-linear (HdrHistogram): 64 sub-buckets an octave, values 1 .. 2^40-1 ns; error <= 1.6 %. */
#define SHM_HISTOGRAM_SUB_BITS 6u
#define SHM_HISTOGRAM_MAX_BITS 40u
#define SHM_HISTOGRAM_BUCKETS ((SHM_HISTOGRAM_MAX_BITS - SHM_HISTOGRAM_SUB_BITS + 1u) << SHM_HISTOGRAM_SUB_BITS)

typedef struct shm_counter {
    shm_a64 value;
    char label[SHM_LABEL_BYTES]; /* "name [unit]"; empty = free */
} shm_counter;

typedef struct shm_histogram {
    char label[SHM_LABEL_BYTES];
    shm_a64 count;
    shm_a64 sum;
    shm_a64 min; /* stored as value + 1, 0 = none */
    shm_a64 max;
    shm_a64 overflow; /* values >= 2^SHM_HISTOGRAM_MAX_BITS, also counted in the last bucket */
    uint64_t reserved0[4];
    shm_a64 buckets[SHM_HISTOGRAM_BUCKETS];
} shm_histogram;

typedef struct shm_fault {
    shm_a64 count;
    shm_a64 first_utc_ns;
    shm_a64 last_utc_ns;
    uint64_t code;
    char text[SHM_FAULT_TEXT_BYTES];
    uint8_t reserved0[24];
} shm_fault;

typedef struct shm_metrics {
    uint32_t counters;
    uint32_t histograms;
    uint32_t faults;
    uint32_t worker_slot;
    uint8_t reserved0[SHM_PAIR - 16];
    shm_counter counter[SHM_COUNTERS];
    shm_fault fault[SHM_FAULTS];
    shm_histogram histogram[SHM_HISTOGRAMS];
} shm_metrics;

/* ---- rate ledger: one per run, every process takes from it ----------------------------------- */

#define SHM_RATE_LANES 4u
#define SHM_RATE_NAME_BYTES 48u

/* One counting of a venue, behind its rule. All words change by single atomic operations, so whoever is
 * killed leaves nothing behind (see shm_rate.h). */
typedef struct shm_rate_bucket {
    shm_a64 arrival_ns;  /* theoretical arrival time: what is used flows off until then, monotonic */
    shm_a64 pace;        /* interval of one unit in ns << 24 | burst in units */
    shm_a64 stop_ns;     /* no lane before this time */
    shm_a64 stop_new_ns; /* the lane `new` not before this time */
    shm_a64 limit;       /* the venue's own number: for people, and for corrections */
    int64_t window_ns;   /* the venue's window and the slack of its rule */
    uint32_t address;    /* row of its shm_rate_address */
    uint32_t rule;       /* row of its shm_rate_rule */
    uint8_t kept[SHM_RATE_LANES]; /* by lane: 256ths of the burst that are kept for the lanes above it */
    uint32_t reserved0;
    shm_a64 granted[SHM_RATE_LANES]; /* units, for people */
    shm_a64 refused[SHM_RATE_LANES]; /* takes */
} shm_rate_bucket;

/* One of our addresses at a venue: what the venue stops there it stops for every bucket. */
typedef struct shm_rate_address {
    shm_a64 stop_ns; /* nobody before this time */
    shm_a64 stops;
    uint32_t venue_id;
    uint32_t reserved0;
    char name[SHM_RATE_NAME_BYTES];
    uint8_t reserved1[SHM_PAIR - 72];
} shm_rate_address;

/* What a venue grants, as its adapter declares it; one bucket, or one per instrument id. */
typedef struct shm_rate_rule {
    uint32_t first; /* its first bucket */
    uint32_t count; /* 1, or the instruments' capacity */
    uint32_t address;
    uint16_t venue_id;
    uint8_t scope; /* enums.RateScope */
    uint8_t unit;  /* enums.RateUnit */
    int64_t window_ns;
    int64_t slack_ns; /* how much later than another a request may reach the venue after its take */
    char name[SHM_RATE_NAME_BYTES];
    uint8_t reserved0[SHM_PAIR - 80];
} shm_rate_rule;

/* Behind it stand the addresses, the rules, the buckets. */
typedef struct shm_rate_ledger {
    uint32_t addresses;
    uint32_t rules;
    uint32_t buckets;
    uint32_t reserved0;
    uint8_t reserved1[SHM_PAIR - 16];
} shm_rate_ledger;

/* ---- journal file ---------------------------------------------------------------------------- */

#define SHM_JOURNAL_HEADER_BYTES 4096u
#define SHM_JOURNAL_ALIGN 16u

typedef struct shm_journal_header {
    uint64_t magic;
    uint32_t layout_version;
    uint32_t file_index;
    uint64_t epoch;
    uint64_t size_bytes;
    uint64_t first_sequence; /* of the first record in this file */
    uint64_t created_utc_ns;
    uint32_t previous_crc; /* chain value at the end of the previous file */
    uint32_t reserved0;
    char instance[64];
    int64_t created_ns; /* the same moment as created_utc_ns on the clock of append_ns, 0 = not stated */
} shm_journal_header;

/* A record exists once `length` is stored (release); everything else is written before. `crc` is
 * CRC-32C over (previous record's crc, sequence, kind, stamp, payload): a chain, so a flipped byte
 * or a missing record is named. */
typedef struct shm_journal_record {
    shm_a32 length; /* payload bytes, 0 = no record here yet */
    uint32_t crc;
    uint64_t sequence;
    int64_t append_ns;
    uint16_t kind; /* enums.JournalKind */
    uint16_t reserved0;
    uint32_t reserved1;
} shm_journal_record;

/* ---- proof of the above ---------------------------------------------------------------------- */

#define SHM_ASSERT(name, condition) _Static_assert(condition, #name)
SHM_ASSERT(segment_header_size, sizeof(shm_segment_header) == SHM_SEGMENT_HEADER_BYTES);
SHM_ASSERT(ring_header_size, sizeof(shm_ring_header) == 4 * SHM_PAIR);
SHM_ASSERT(ring_reader_size, sizeof(shm_ring_reader) == SHM_PAIR);
SHM_ASSERT(ring_cursor_line, offsetof(shm_ring_header, cursor) == SHM_PAIR);
SHM_ASSERT(ring_position_line, offsetof(shm_ring_header, position) == 2 * SHM_PAIR);
SHM_ASSERT(ring_wanted_line, offsetof(shm_ring_header, wanted) == 3 * SHM_PAIR);
SHM_ASSERT(worker_slot_size, sizeof(shm_worker_slot) == 3 * SHM_PAIR);
SHM_ASSERT(control_workers, offsetof(shm_control, workers) == 2 * SHM_PAIR);
SHM_ASSERT(certificate_size, sizeof(shm_certificate) == 80);
SHM_ASSERT(trade_totals_size, sizeof(shm_trade_totals) == 80);
SHM_ASSERT(book_head_size, sizeof(shm_book_head) == 168);
SHM_ASSERT(slab_header_size, sizeof(shm_slab_header) == SHM_PAIR);
SHM_ASSERT(stream_size, sizeof(shm_stream) == SHM_CACHE_LINE);
SHM_ASSERT(market_record_size, sizeof(shm_market_record) == 128);
SHM_ASSERT(intent_record_size, sizeof(shm_intent_record) == 256);
SHM_ASSERT(report_record_size, sizeof(shm_report_record) == 256);
SHM_ASSERT(position_size, sizeof(shm_position) == 96);
SHM_ASSERT(instrument_size, sizeof(shm_instrument) == 256);
SHM_ASSERT(instruments_header_size, sizeof(shm_instruments_header) == SHM_PAIR);
SHM_ASSERT(counter_size, sizeof(shm_counter) == SHM_CACHE_LINE);
SHM_ASSERT(fault_size, sizeof(shm_fault) == 256);
SHM_ASSERT(journal_record_size, sizeof(shm_journal_record) == 32);
SHM_ASSERT(rate_bucket_size, sizeof(shm_rate_bucket) == SHM_PAIR);
SHM_ASSERT(rate_counters_line, offsetof(shm_rate_bucket, granted) == SHM_CACHE_LINE);
SHM_ASSERT(rate_address_size, sizeof(shm_rate_address) == SHM_PAIR);
SHM_ASSERT(rate_rule_size, sizeof(shm_rate_rule) == SHM_PAIR);
SHM_ASSERT(rate_ledger_size, sizeof(shm_rate_ledger) == SHM_PAIR);
SHM_ASSERT(atomic_64_is_plain_size, sizeof(shm_a64) == 8);
SHM_ASSERT(atomic_32_is_plain_size, sizeof(shm_a32) == 4);

#endif
