# cython: language_level=3
"""C view of every shared layout: the structs of `shm/native/shm_layout.h`, declared once."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "shm/native/shm_layout.h" nogil:
    # Atomic fields: touch them only through the functions of shm_atomics.h.
    ctypedef struct shm_a64:
        pass
    ctypedef struct shm_a32:
        pass

    const unsigned long long SHM_MAGIC

    enum:
        SHM_LAYOUT_VERSION
        SHM_CACHE_LINE
        SHM_PAIR
        SHM_SEGMENT_HEADER_BYTES
        SHM_SEGMENT_NAME_BYTES
        SHM_RING_BROADCAST
        SHM_RING_SPSC
        SHM_WORKER_SLOTS
        SHM_ROLE_BYTES
        SHM_CERTIFICATES
        SHM_SYMBOL_BYTES
        SHM_LABEL_BYTES
        SHM_COUNTERS
        SHM_HISTOGRAMS
        SHM_FAULTS
        SHM_FAULT_TEXT_BYTES
        SHM_HISTOGRAM_SUB_BITS
        SHM_HISTOGRAM_MAX_BITS
        SHM_HISTOGRAM_BUCKETS
        SHM_JOURNAL_HEADER_BYTES
        SHM_JOURNAL_ALIGN
        SHM_RATE_LANES
        SHM_RATE_NAME_BYTES

    ctypedef struct shm_segment_header:
        uint64_t magic
        uint32_t layout_version
        uint32_t kind
        uint64_t layout_hash
        uint64_t size_bytes
        uint64_t epoch
        uint32_t creator_pid
        uint64_t created_utc_ns
        char name[SHM_SEGMENT_NAME_BYTES]
        shm_a64 ready

    ctypedef struct shm_ring_header:
        uint32_t kind
        uint32_t slot_bytes
        uint64_t capacity
        shm_a64 subscriber_mask
        shm_a64 cursor
        shm_a64 intent
        shm_a64 producer_epoch
        shm_a64 refused
        shm_a64 doorbells
        shm_a64 position
        shm_a64 consumer_epoch
        shm_a64 wanted

    ctypedef struct shm_ring_reader:
        shm_a64 position
        shm_a64 lapped
        shm_a64 laps

    ctypedef struct shm_worker_slot:
        shm_a64 parked
        shm_a64 heartbeat_ns
        shm_a64 cycles
        shm_a64 generation
        shm_a64 cycle_ns_max
        shm_a64 wakes
        shm_a64 state
        shm_a64 pid
        shm_a64 incarnation
        shm_a64 restarts
        shm_a64 started_ns
        int64_t bell_fd
        int64_t core
        char role[SHM_ROLE_BYTES]

    ctypedef struct shm_control:
        shm_a64 halt
        shm_a64 generation
        shm_a64 stopping
        shm_a64 supervisor_heartbeat_ns
        shm_a64 run_started_ns
        uint64_t epoch
        uint64_t supervisor_pid
        shm_worker_slot workers[SHM_WORKER_SLOTS]

    ctypedef struct shm_seqlock:
        shm_a64 count

    ctypedef struct shm_level:
        int64_t price_units
        int64_t quantity_units

    ctypedef struct shm_certificate:
        uint32_t instrument_id
        uint32_t state
        uint32_t epoch
        uint32_t live_id
        int64_t last_sequence
        int64_t data_ns
        int64_t venue_utc_ns
        int64_t publish_ns
        int64_t audit_ns
        uint32_t stream
        uint32_t reason
        uint64_t gaps
        uint64_t resyncs

    ctypedef struct shm_trade_totals:
        uint64_t count[2]
        int64_t quantity_units[2]
        int64_t notional_high[2]
        uint64_t notional_low[2]
        int64_t last_trade_id
        int64_t last_price_units

    ctypedef struct shm_book_head:
        shm_certificate certificate
        shm_trade_totals totals
        uint32_t bid_count
        uint32_t ask_count

    ctypedef struct shm_slab_header:
        uint32_t depth
        uint32_t capacity
        uint32_t entry_bytes
        uint32_t streams
        uint64_t owner_slot

    ctypedef struct shm_stream:
        shm_a64 alive_ns
        shm_a64 frames

    ctypedef struct shm_market_record:
        uint16_t kind
        uint8_t book_state
        uint8_t side
        uint32_t instrument_id
        uint32_t epoch
        uint32_t live_id
        int64_t last_sequence
        int64_t value[4]
        int64_t frame_ns
        int64_t publish_ns
        int64_t venue_utc_ns
        uint32_t reason
        uint32_t bid_count
        uint32_t ask_count
        uint32_t flags

    ctypedef struct shm_certificate_ref:
        uint32_t instrument_id
        uint32_t epoch
        uint32_t live_id
        int64_t last_sequence

    ctypedef struct shm_intent_record:
        uint16_t kind
        uint8_t side
        uint8_t order_type
        uint8_t time_in_force
        uint8_t certificate_count
        uint16_t flags
        uint32_t actor_id
        uint32_t instrument_id
        uint32_t worker_slot
        uint32_t incarnation
        uint64_t epoch
        uint64_t generation
        uint64_t client_order_id
        uint64_t orig_client_order_id
        int64_t price_units
        int64_t quantity_units
        int64_t frame_ns
        int64_t publish_ns
        int64_t drain_ns
        int64_t decide_ns
        shm_certificate_ref certificates[SHM_CERTIFICATES]

    ctypedef struct shm_report_record:
        uint16_t kind
        uint8_t side
        uint8_t order_status
        uint8_t request_status
        uint8_t liquidity
        uint16_t reason
        uint32_t actor_id
        uint32_t instrument_id
        uint64_t client_order_id
        uint64_t orig_client_order_id
        uint64_t venue_order_id
        uint64_t trade_id
        int64_t price_units
        int64_t order_units
        int64_t filled_units
        int64_t leaves_units
        int64_t last_units
        int64_t last_price_units
        int64_t fee_units
        int64_t position_units
        int64_t frame_ns
        int64_t decide_ns
        int64_t gate_ns
        int64_t send_ns
        int64_t ack_ns
        int64_t report_ns
        int64_t venue_utc_ns
        uint64_t generation
        uint64_t epoch

    ctypedef struct shm_position:
        uint32_t instrument_id
        int64_t quantity_units
        int64_t open_buy_units
        int64_t open_sell_units
        int64_t cost_units_high
        uint64_t cost_units_low
        int64_t realized_units
        int64_t fees_units
        int64_t mark_price_units
        int64_t unrealized_units
        uint64_t fills
        int64_t update_ns

    ctypedef struct shm_instrument:
        uint32_t instrument_id
        uint16_t venue_id
        uint8_t kind
        uint8_t status
        uint8_t price_exponent
        uint8_t quantity_exponent
        uint8_t is_inverse
        uint8_t priority
        uint8_t multiplier_exponent
        int64_t tick_size
        int64_t lot_size
        int64_t multiplier
        int64_t min_quantity_units
        int64_t max_quantity_units
        int64_t min_notional_units
        int64_t maker_fee_e8
        int64_t taker_fee_e8
        uint32_t slab
        char symbol[SHM_SYMBOL_BYTES]
        char canonical[SHM_SYMBOL_BYTES]
        char base[16]
        char quote[16]
        char settle[16]

    ctypedef struct shm_instruments_header:
        uint32_t capacity
        uint32_t row_bytes
        shm_a64 count

    ctypedef struct shm_counter:
        shm_a64 value
        char label[SHM_LABEL_BYTES]

    ctypedef struct shm_histogram:
        char label[SHM_LABEL_BYTES]
        shm_a64 count
        shm_a64 sum
        shm_a64 min
        shm_a64 max
        shm_a64 overflow
        shm_a64 buckets[SHM_HISTOGRAM_BUCKETS]

    ctypedef struct shm_fault:
        shm_a64 count
        shm_a64 first_utc_ns
        shm_a64 last_utc_ns
        uint64_t code
        char text[SHM_FAULT_TEXT_BYTES]

    ctypedef struct shm_metrics:
        uint32_t counters
        uint32_t histograms
        uint32_t faults
        uint32_t worker_slot
        shm_counter counter[SHM_COUNTERS]
        shm_fault fault[SHM_FAULTS]
        shm_histogram histogram[SHM_HISTOGRAMS]

    ctypedef struct shm_rate_bucket:
        shm_a64 arrival_ns
        shm_a64 pace
        shm_a64 stop_ns
        shm_a64 stop_new_ns
        shm_a64 limit
        int64_t window_ns
        uint32_t address
        uint32_t rule
        uint8_t kept[SHM_RATE_LANES]
        shm_a64 granted[SHM_RATE_LANES]
        shm_a64 refused[SHM_RATE_LANES]

    ctypedef struct shm_rate_address:
        shm_a64 stop_ns
        shm_a64 stops
        uint32_t venue_id
        char name[SHM_RATE_NAME_BYTES]

    ctypedef struct shm_rate_rule:
        uint32_t first
        uint32_t count
        uint32_t address
        uint16_t venue_id
        uint8_t scope
        uint8_t unit
        int64_t window_ns
        int64_t slack_ns
        char name[SHM_RATE_NAME_BYTES]

    ctypedef struct shm_rate_ledger:
        uint32_t addresses
        uint32_t rules
        uint32_t buckets

    ctypedef struct shm_journal_header:
        uint64_t magic
        uint32_t layout_version
        uint32_t file_index
        uint64_t epoch
        uint64_t size_bytes
        uint64_t first_sequence
        uint64_t created_utc_ns
        uint32_t previous_crc
        char instance[64]
        int64_t created_ns

    ctypedef struct shm_journal_record:
        shm_a32 length
        uint32_t crc
        uint64_t sequence
        int64_t append_ns
        uint16_t kind
