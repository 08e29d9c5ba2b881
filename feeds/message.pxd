# cython: language_level=3
"""C view of `feeds/native`: one decoded message, the scanner, the private book, the symbol table."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from shm.layout cimport shm_certificate, shm_level, shm_market_record, shm_trade_totals


cdef extern from "feeds/native/message.h" nogil:
    enum:
        FEED_NONE
        FEED_DEPTH
        FEED_TRADE
        FEED_BBO
        FEED_MARK
        FEED_CONTROL
        FEED_SNAPSHOT
        FEED_TICKER
        FEED_LIQUIDATION
        FEED_OK
        FEED_E_TRUNCATED
        FEED_E_SYNTAX
        FEED_E_TYPE
        FEED_E_NUMBER
        FEED_E_RANGE
        FEED_E_MISSING
        FEED_E_DUPLICATE
        FEED_E_NESTING
        FEED_E_TRAILING
        FEED_E_SIZE
        FEED_E_LEVELS
        FEED_E_UTF8
        FEED_E_ESCAPE
        FEED_E_UNRECOGNIZED
        FEED_E_SEQUENCE
        FEED_E_PRICE
        FEED_E_FIT
        FEED_E_MEMORY
        FEED_E_CROSSED
        FEED_E_KEYS
        FEED_E_CHECKSUM
        FEED_E_SYMBOL
        FEED_E_ITEMS
        FEED_FRAME_MAX
        FEED_LEVELS_MAX
        FEED_ITEMS_MAX
        FEED_FLAG_NOT_MARKET
        FEED_TRAIT_SNAPSHOT
        FEED_TRAIT_CHECKSUM
        FEED_TRAIT_UNNUMBERED
        FEED_TRAIT_PADDED
        FEED_TRAIT_INDEX
        FEED_TICK_BID
        FEED_TICK_BID_QUANTITY
        FEED_TICK_ASK
        FEED_TICK_ASK_QUANTITY
        FEED_TICK_MARK
        FEED_TICK_INDEX
        FEED_TICK_RATE
        FEED_TICK_FUNDING

    ctypedef struct feed_error:
        int32_t code
        int32_t index
        uint32_t offset
        const char *field

    ctypedef struct feed_decimal:
        int64_t mantissa
        uint32_t offset
        uint32_t decimals
        const char *field

    ctypedef struct feed_level:
        int64_t price
        int64_t quantity
        uint32_t offset
        uint16_t price_decimals
        uint16_t quantity_decimals

    ctypedef struct feed_item:
        const char *symbol
        uint32_t symbol_bytes
        uint32_t side
        uint32_t flags
        feed_decimal price
        feed_decimal quantity
        int64_t trade_id
        int64_t venue_utc_ns

    ctypedef struct feed_message:
        int32_t kind
        uint32_t flags
        const char *text
        uint32_t text_bytes
        uint32_t symbol_bytes
        const char *symbol
        int64_t first_sequence
        int64_t last_sequence
        int64_t previous_sequence
        int64_t venue_utc_ns
        int64_t trade_id
        int64_t next_funding_utc_ns
        uint32_t side
        uint32_t value_count
        uint32_t value_mask
        uint32_t item_count
        feed_item *items
        uint32_t traits
        int32_t checksum
        feed_decimal value[8]
        feed_level *levels[2]
        uint32_t level_count[2]
        const char *level_field[2]
        feed_error error

    ctypedef struct feed_scratch:
        char *text
        uint32_t text_capacity
        feed_level *levels[2]
        feed_item *items

    void feed_message_reset(feed_message *m)


cdef extern from "feeds/native/fields.h" nogil:
    enum:
        FEED_FIELDS_MAX
        FEED_T_STRING
        FEED_T_INTEGER
        FEED_T_NUMBER
        FEED_T_TRUE
        FEED_T_FALSE
        FEED_T_NULL
        FEED_T_ARRAY
        FEED_T_OBJECT
        FEED_T_LEVELS

    ctypedef struct feed_scan:
        const char *begin
        const char *end
        uint32_t padded
        feed_error error

    ctypedef struct feed_field:
        uint8_t type
        uint8_t escaped
        uint32_t offset
        uint32_t bytes
        int64_t number
        feed_error error

    ctypedef struct feed_keymap:
        uint32_t count
        uint32_t level_field[2]
        uint32_t nested_field
        int extra

    ctypedef struct feed_object:
        uint64_t seen
        feed_field field[FEED_FIELDS_MAX]
        feed_level *levels[2]
        uint32_t level_count[2]

    const char *feed_fail(feed_scan *s, int code, const char *at, const char *field)
    uint32_t feed_key_add(feed_keymap *map, const char *name)
    void feed_object_reset(feed_object *o, feed_level *bids, feed_level *asks)
    int feed_read_frame(feed_scan *s, const feed_keymap *map, feed_object *o,
                        const feed_keymap *inner_map, feed_object *inner)
    int feed_has(const feed_object *o, uint32_t number)
    int feed_want(feed_scan *s, const feed_keymap *map, const feed_object *o, uint32_t number, int type)
    int feed_want_integer(feed_scan *s, const feed_keymap *map, const feed_object *o, uint32_t number, int64_t *out)
    int feed_want_ms(feed_scan *s, const feed_keymap *map, const feed_object *o, uint32_t number, int64_t *out)
    int feed_want_decimal(feed_scan *s, const feed_keymap *map, const feed_object *o, uint32_t number,
                          int is_signed, feed_decimal *out)
    int feed_want_signed(feed_scan *s, const feed_keymap *map, const feed_object *o, uint32_t number, int64_t *out)
    int feed_want_digits(feed_scan *s, const feed_keymap *map, const feed_object *o, uint32_t number, int64_t *out)
    int feed_want_ms_text(feed_scan *s, const feed_keymap *map, const feed_object *o, uint32_t number, int64_t *out)
    const char *feed_enter(feed_scan *s, const feed_keymap *map, feed_object *o, const feed_keymap *inner_map,
                           feed_object *inner, uint32_t stop, int *stopped)
    const char *feed_resume(feed_scan *s, const char *p, const feed_keymap *map, feed_object *o,
                            const feed_keymap *inner_map, feed_object *inner)
    const char *feed_read_object(feed_scan *s, const char *p, const feed_keymap *map, feed_object *o,
                                 const feed_keymap *inner_map, feed_object *inner, int nesting)
    int feed_leave(feed_scan *s, const char *p)
    const char *feed_over_value(feed_scan *s, const char *p)
    const char *feed_next_object(feed_scan *s, const char *p, int first, const feed_keymap *map, feed_object *o, int nesting,
                                 int *done)
    int feed_is_text(const feed_scan *s, const feed_field *f, const char *text)
    feed_item *feed_items(feed_scratch *scratch)
    int feed_scale(int64_t *value, uint32_t decimals, uint32_t exponent)
    int feed_begin(feed_scratch *scratch, feed_scan *s, const char *p, int64_t n)
    int feed_scratch_create(feed_scratch *scratch)
    void feed_scratch_free(feed_scratch *scratch)


cdef extern from "feeds/native/shape.h" nogil:
    enum:
        FEED_S_STRING
        FEED_S_DIGITS
        FEED_S_INTEGER
        FEED_S_SIGNED
        FEED_S_BIDS
        FEED_S_ASKS
        FEED_PARTS_MAX

    ctypedef struct feed_slot:
        uint32_t form
        uint32_t number
        const feed_field *field

    ctypedef struct feed_shape:
        uint32_t count
        uint32_t has

    ctypedef struct feed_values:
        int64_t number[FEED_PARTS_MAX]
        const char *text
        uint32_t text_bytes
        uint32_t level_count[2]

    void feed_scan_restart(feed_scan *s)
    int feed_shape_read(feed_shape *shape, feed_scan *s, feed_level **levels, feed_values *out)
    void feed_shape_learn(feed_shape *shape, feed_scan *s, feed_slot *slots, uint32_t count, int extra)


cdef extern from "feeds/native/book.h" nogil:
    enum:
        FEED_BOOK_WINDOW

    ctypedef struct feed_side:
        uint32_t changed
        shm_level *top
        uint32_t top_count
        uint32_t kept
        uint32_t until

    ctypedef struct feed_book:
        uint32_t depth
        uint32_t recenters
        feed_side side[2]

    feed_book *feed_book_create(int64_t tick, uint32_t depth)
    void feed_book_free(feed_book *b)
    int feed_levels_scale(feed_message *m, uint32_t price_exponent, uint32_t quantity_exponent)
    int feed_book_reserve(feed_book *b, feed_message *m)
    void feed_book_apply(feed_book *b, const feed_message *m)
    void feed_book_replace(feed_book *b, const feed_message *m)
    int feed_book_refresh(feed_book *b)
    int feed_book_crossed(const feed_book *b)
    int feed_message_crossed(const feed_message *m)
    uint32_t feed_side_count(const feed_side *d)
    uint32_t feed_side_read(const feed_book *b, const feed_side *d, int s, shm_level *out, uint32_t limit)
    void feed_totals_add(shm_trade_totals *t, uint32_t side, int64_t price, int64_t quantity, int64_t trade_id)
    uint64_t feed_book_bytes(const feed_book *b)


cdef extern from "feeds/native/symbols.h" nogil:
    ctypedef struct feed_symbols:
        void *slot
        uint32_t capacity
        uint32_t count

    int64_t feed_symbols_find(const feed_symbols *t, const char *p, uint32_t bytes)
    int feed_symbols_add(feed_symbols *t, const char *text, uint32_t bytes, uint32_t number)
    int feed_symbols_set(feed_symbols *t, const char *text, uint32_t bytes, uint32_t number)


cdef extern from "feeds/native/checksum.h" nogil:
    ctypedef struct feed_check:
        uint32_t active

    void feed_crc_init()
    feed_check *feed_check_create()
    void feed_check_free(feed_check *c)
    int feed_check_reserve(feed_check *c, feed_message *m)
    void feed_check_note(feed_check *c, const feed_message *m, int whole, uint32_t price_exponent, uint32_t quantity_exponent)
    int feed_check_holds(const feed_book *b, feed_check *c, uint32_t price_exponent, uint32_t quantity_exponent,
                         int32_t expected)


cdef extern from "feeds/native/records.h" nogil:
    enum:
        FEED_MARK_EXPONENT
        FEED_MASK_BBO
        FEED_MASK_MARK

    ctypedef struct feed_ticker:
        int64_t value[8]
        uint32_t seen
        uint32_t price_exponent
        uint32_t rate_exponent

    int feed_value_scale(feed_message *m, const feed_decimal *d, uint32_t exponent, int64_t *out)
    int feed_item_scale(feed_message *m, feed_item *item, uint32_t price_exponent, uint32_t quantity_exponent)
    void feed_item_of(const feed_message *m, feed_item *item)
    void feed_ticker_init(feed_ticker *t, uint32_t price_exponent)
    int feed_marks_take(feed_ticker *t, feed_message *m, const feed_decimal *value, uint32_t mask)
    int feed_ticker_take(feed_ticker *t, feed_message *m, uint32_t price_exponent, uint32_t quantity_exponent)
    void feed_record_begin(shm_market_record *record, const shm_certificate *c, const feed_message *m, uint16_t kind,
                           int64_t frame_ns, int64_t publish_ns)
    void feed_record_item(shm_market_record *record, const feed_item *item)
    void feed_record_mark(shm_market_record *record, const feed_ticker *t)
    void feed_record_bbo(shm_market_record *record, const int64_t *value)


cdef extern from "feeds/native/merge.h" nogil:
    enum:
        FEED_LINES_MAX
        FEED_MERGE_TAKE
        FEED_MERGE_LATE
        FEED_MERGE_REPEAT
        FEED_MERGE_AHEAD

    ctypedef struct feed_recent:
        uint32_t count

    ctypedef struct feed_merge:
        int64_t *seen
        int64_t *base
        int64_t mark_utc_ns
        uint32_t parked
        feed_recent recent

    int feed_recent_add(feed_recent *r, uint64_t id)
    uint64_t feed_mix(uint64_t x)
    uint64_t feed_item_identity(const feed_item *item)
    int feed_merge_note(feed_merge *g, uint32_t line, const feed_message *m)
    int feed_merge_carries(const feed_merge *g, uint32_t line)
    void feed_merge_restart(feed_merge *g, uint32_t line, int64_t proven)
    void feed_merge_forget(feed_merge *g)
    int feed_merge_place(
        feed_merge *g, uint32_t line, const feed_message *m, int64_t proven, int64_t proven_utc_ns, int follows, int overlaps,
        int went_on,
    )
    int feed_merge_bbo_late(feed_merge *g, const feed_message *m, int same)
    int feed_merge_tick_late(feed_merge *g, const feed_message *m)
