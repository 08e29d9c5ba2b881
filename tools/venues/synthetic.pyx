# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True, freethreading_compatible=False
"""A seeded market of many instruments that writes the payloads of its streams.

Content depends only on (seed, number of instruments, index of the event in that instrument); times come from outside.
"""
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from tools.venues.encoding cimport Encoder, sim_best, sim_level, sim_trade
from tools.venues.fanout cimport Stream
from tools.venues.sim_book cimport (
    HALF, MASK, SPEEDS, WINDOW, BookModel, exponential, next_random, seed_random, sim_book, uniform,
)

cdef enum:
    KINDS = 14
    FILLS_MAX = 256

# Kinds of streams an instrument has; the index under which `Market.bind` takes them.
DEPTH_REALTIME = 0
DEPTH_SLOW = (1, 2, 3)
SLOW_INTERVALS_MS = (100, 250, 500)
TICKER = 4
AGGREGATE_TRADE = 5
TRADE = 6
MARK_SLOW = 7
MARK_FAST = 8
MARK_INTERVALS_MS = (3000, 1000)
LIQUIDATION = (9, 10)
STATISTICS = 11
INDEX = 12
FUNDING = 13
WINDOW_LEVELS = WINDOW

cdef int64_t[3] SLOW_MS
cdef int64_t[2] MARK_MS
SLOW_MS[0], SLOW_MS[1], SLOW_MS[2] = SLOW_INTERVALS_MS
MARK_MS[0], MARK_MS[1] = MARK_INTERVALS_MS


cdef class Market(BookModel):
    """All instruments of a synthetic venue.

    instruments: sequence of (symbol, price_decimals, quantity_decimals, tick_units, lot_units, start_ticks, mean_lots,
    category, contract_value); seed: any int; encoder: the venue's payload writer; rate_per_s: payloads a second in total on the real-time streams
    (depth, ticker, aggregate trade), whoever listens; start_ms: venue time of the first moment. ValueError on a wrong
    instrument.
    """

    def __cinit__(self, instruments, seed, Encoder encoder not None, double rate_per_s, int64_t start_ms):
        cdef Py_ssize_t i
        self.instruments = len(instruments)
        if self.instruments < 1:
            raise ValueError("a market needs at least one instrument")
        self.watched = set()
        self.tapped = []
        self.encoder = encoder
        self.start_ms = start_ms
        self.gap_ns = 1e9 / rate_per_s if rate_per_s > 0 else 1e30
        self.books = <sim_book*> calloc(self.instruments, sizeof(sim_book))
        self.weights = <double*> malloc(self.instruments * sizeof(double))
        self.scratch = <char*> malloc(WINDOW * 64 + 4096)
        if self.books == NULL or self.weights == NULL or self.scratch == NULL:
            raise MemoryError
        self.streams = [None] * (self.instruments * KINDS)
        seed_random(self.rng, <uint64_t> (seed & 0xFFFFFFFFFFFFFFFF), 0xFFFFFFFF, self.instruments)
        total = 0.0
        for i in range(self.instruments):
            total += 1.0 / (i + 1.0) ** 0.7
            self.weights[i] = total
            self._setup(i, instruments[i], <uint64_t> (seed & 0xFFFFFFFFFFFFFFFF))
        for i in range(self.instruments):
            self.weights[i] /= total
        self.next_ns = self.gap_ns

    def __dealloc__(self):
        cdef Py_ssize_t i
        cdef int k
        if self.books != NULL:
            for i in range(self.instruments):
                free(self.books[i].lots)
                free(self.books[i].orders)
                free(self.books[i].dirty)
                free(self.books[i].own)
                for k in range(SPEEDS):
                    free(self.books[i].pending[k])
        free(self.books)
        free(self.weights)
        free(self.scratch)

    def _setup(self, Py_ssize_t index, row, uint64_t seed):
        cdef sim_book* book = &self.books[index]
        cdef int k
        symbol, price_decimals, quantity_decimals, tick_units, lot_units, start_ticks, mean_lots = row[:7]
        name = symbol.encode("ascii")
        if not 1 <= len(name) <= 31:
            raise ValueError(f"symbol {symbol!r} must have 1 to 31 characters")
        if tick_units < 1 or lot_units < 1 or start_ticks < 2 * WINDOW:
            raise ValueError(f"{symbol}: tick and lot must be positive and the price at least {2 * WINDOW} ticks")
        if not 0 <= price_decimals <= 12 or not 0 <= quantity_decimals <= 12:
            raise ValueError(f"{symbol}: decimals must be 0 to 12")
        memcpy(book.info.symbol, <const char*> name, len(name))
        book.info.symbol_size = len(name)
        book.info.price_decimals = price_decimals
        book.info.quantity_decimals = quantity_decimals
        book.info.tick_units = tick_units
        book.info.lot_units = lot_units
        book.info.category, book.info.contract_value = row[7:]
        book.mean_lots = mean_lots
        seed_random(book.rng, seed, index, self.instruments)
        book.lots = <int64_t*> calloc(WINDOW, sizeof(int64_t))
        book.orders = <int32_t*> calloc(WINDOW, sizeof(int32_t))
        book.dirty = <uint8_t*> calloc(WINDOW, 1)
        book.own = <int64_t*> calloc(WINDOW, sizeof(int64_t))
        for k in range(SPEEDS):
            book.pending[k] = <int64_t*> malloc(256 * sizeof(int64_t))
            book.pending_capacity[k] = 256
            if book.pending[k] == NULL:
                raise MemoryError
        if book.lots == NULL or book.orders == NULL or book.dirty == NULL or book.own == NULL:
            raise MemoryError
        book.bid = start_ticks
        book.ask = start_ticks + 1
        book.low = start_ticks - HALF + 1
        book.flow = 1
        book.update_id = 1_000_000_000 + <uint64_t> index * 10_000_000_000
        book.trade_id = 1_000_000
        book.aggregate_id = 500_000
        book.regime_left = 2000 + next_random(book.rng) % 4000
        self.fill(book)

    def bind(self, Py_ssize_t index, int kind, Stream stream):
        """Send payloads of `kind` of instrument `index` to `stream`; IndexError when there is no such place."""
        if not 0 <= index < self.instruments or not 0 <= kind < KINDS:
            raise IndexError(f"no stream kind {kind} of instrument {index}")
        self.streams[index * KINDS + kind] = stream

    @property
    def now_ms(self):
        """Venue time now: start plus the time advanced so far."""
        return self.start_ms + <int64_t> (self.clock_ns / 1e6)

    @property
    def clock(self):
        """Nanoseconds of venue time advanced so far."""
        return <int64_t> self.clock_ns

    def set_start(self, int64_t start_ms):
        """Say what venue time the first moment has; ValueError once time has been advanced."""
        if self.clock_ns > 0:
            raise ValueError("the market has begun already")
        self.start_ms = start_ms

    def advance(self, int64_t until_ns, uint64_t update_limit=0):
        """Play all events due up to `until_ns` after the start; return the payloads made.

        update_limit stops the market for good when that many payloads were made in its life (0: never).
        """
        cdef uint64_t before = self.updates
        cdef int made
        while self.next_ns <= until_ns:
            if update_limit and self.updates >= update_limit:
                break
            if self.next_ns > self.clock_ns:
                self.clock_ns = self.next_ns
            made = self.step(self.pick())
            self.next_ns += self.gap_ns * made * exponential(self.rng)
        if until_ns > self.clock_ns:
            self.clock_ns = until_ns
        self.flush_slow(self.start_ms + <int64_t> (self.clock_ns / 1e6))
        return self.updates - before

    def generate(self, Py_ssize_t index, uint64_t events):
        """Play `events` events of one instrument now, whatever the rate; return the payloads made."""
        cdef uint64_t before = self.updates
        cdef uint64_t i
        if not 0 <= index < self.instruments:
            raise IndexError(f"no instrument {index}")
        for i in range(events):
            self.step(index)
        return self.updates - before

    def flush(self):
        """Send what the slow depth streams hold back, without waiting for their interval."""
        cdef Py_ssize_t i
        cdef int k
        cdef int64_t now_ms = self.now_ms
        for i in range(self.instruments):
            for k in range(SPEEDS):
                if self.books[i].conflating[k]:
                    self.flush_book(i, k, now_ms)

    def snapshot(self, Py_ssize_t index, int limit):
        """Return the venue's snapshot body of instrument `index` with up to `limit` levels a side."""
        cdef sim_book* book
        cdef sim_level* levels
        cdef int bids, asks
        cdef Py_ssize_t size
        if not 0 <= index < self.instruments or limit < 1:
            raise IndexError(f"no snapshot of instrument {index} with {limit} levels")
        book = &self.books[index]
        levels = <sim_level*> malloc(2 * WINDOW * sizeof(sim_level))
        if levels == NULL:
            raise MemoryError
        bids = self.collect(book, True, limit, levels)
        asks = self.collect(book, False, limit, levels + WINDOW)
        size = self.encoder.snapshot(self.scratch, &book.info, self.now_ms, book.update_id, levels, bids,
                                     levels + WINDOW, asks)
        free(levels)
        return PyBytes_FromStringAndSize(self.scratch, size)

    def state(self, Py_ssize_t index):
        """Return (events, update_id, best bid, best ask, in burst) of an instrument; prices in price_units."""
        if not 0 <= index < self.instruments:
            raise IndexError(f"no instrument {index}")
        cdef sim_book* book = &self.books[index]
        return (book.events, book.update_id, book.bid * book.info.tick_units, book.ask * book.info.tick_units,
                bool(book.burst))

    # -- orders from outside

    def watch(self, Py_ssize_t index, bint is_wanted):
        """Keep the trades of an instrument for `tapped_trades` from now on, or no more; IndexError for an unknown one."""
        self.book_of(index)
        if is_wanted:
            self.watched.add(index)
        else:
            self.watched.discard(index)

    def tapped_trades(self):
        """Return (index, price_units, quantity_units, whether the buyer came, units there before without orders from outside)
        of the trades of watched instruments since the last call, in order; those made by `take` are not among them."""
        cdef list found = self.tapped
        if found:
            self.tapped = []
        return found

    def levels(self, Py_ssize_t index, int limit):
        """Return the best `limit` levels, without orders from outside: (bids, asks) of (price_units, quantity_units)."""
        cdef sim_book* book = self.book_of(index)
        return self.foreign(book, True, limit), self.foreign(book, False, limit)

    cdef list foreign(self, sim_book* book, bint is_bid, int limit):
        cdef list found = []
        cdef int64_t price = book.bid if is_bid else book.ask
        cdef int64_t lots
        while len(found) < limit and book.low <= price < book.low + WINDOW:
            lots = book.lots[price & MASK] - book.own[price & MASK]
            if lots > 0:
                found.append((price * book.info.tick_units, lots * book.info.lot_units))
            price += -1 if is_bid else 1
        return found

    def update_id(self, Py_ssize_t index):
        """Return the number of the book's last change."""
        return self.book_of(index).update_id

    def take_from(self, Py_ssize_t index, bint buys, int64_t price_units, int64_t quantity_units):
        """Let an order from outside trade at one price: printed, and gone from the book; return what was really there."""
        cdef sim_book* book = self.book_of(index)
        cdef sim_best before
        cdef int64_t taken
        self.begin(book, &before)
        taken = self.take(book, buys, price_units // book.info.tick_units, quantity_units // book.info.lot_units)
        self.emit(index, &before)
        return taken * book.info.lot_units

    def show_in(self, Py_ssize_t index, bint is_bid, int64_t price_units, int64_t quantity_units):
        """Let an order from outside join (more than 0) or leave the queue of a price; False where it can not be shown."""
        cdef sim_book* book = self.book_of(index)
        cdef sim_best before
        self.begin(book, &before)
        if not self.show(book, is_bid, price_units // book.info.tick_units, quantity_units // book.info.lot_units):
            return False
        self.emit(index, &before)
        return True

    def forget_shown(self, Py_ssize_t index, int64_t price_units, int64_t quantity_units):
        """Take note that trades which left the book already were for an order from outside."""
        cdef sim_book* book = self.book_of(index)
        cdef int64_t price = price_units // book.info.tick_units
        if book.low <= price < book.low + WINDOW:
            book.own[price & MASK] -= min(book.own[price & MASK], quantity_units // book.info.lot_units)

    cdef sim_book* book_of(self, Py_ssize_t index) except NULL:
        if not 0 <= index < self.instruments:
            raise IndexError(f"no instrument {index}")
        return &self.books[index]

    cdef void begin(self, sim_book* book, sim_best* before) noexcept:
        self.best(book, before)
        self.bid_change_count = 0
        self.ask_change_count = 0
        self.trade_count = 0
        self.is_liquidation = False

    cdef int tap(self, Py_ssize_t index) except -1:
        cdef int i
        for i in range(self.trade_count):
            self.tapped.append((
                index, self.trades[i].price_units, self.trades[i].quantity_units, not self.trades[i].buyer_is_maker,
                self.trade_before[i] * self.books[index].info.lot_units,
            ))
        return 0

    cdef Py_ssize_t pick(self) noexcept:
        cdef Py_ssize_t low, high, middle
        cdef double u
        while True:
            u = uniform(self.rng)
            low, high = 0, self.instruments - 1
            while low < high:
                middle = (low + high) // 2
                if self.weights[middle] < u:
                    low = middle + 1
                else:
                    high = middle
            # a burst is also a burst of activity: calm instruments get a third of their chances
            if self.books[low].burst or uniform(self.rng) < 0.333:
                return low

    cdef int step(self, Py_ssize_t index) except -1:
        cdef sim_book* book = &self.books[index]
        cdef sim_best before
        self.begin(book, &before)
        self.evolve(book)
        if self.trade_count and self.watched and index in self.watched:
            self.tap(index)
        book.events += 1
        self.events += 1
        return self.emit(index, &before)

    cdef Stream stream(self, Py_ssize_t index, int kind):
        return self.streams[index * KINDS + kind]

    cdef int emit(self, Py_ssize_t index, const sim_best* before) except -1:
        cdef sim_book* book = &self.books[index]
        cdef int64_t now_ms = self.start_ms + <int64_t> (self.clock_ns / 1e6)
        cdef uint64_t previous = book.update_id
        cdef uint64_t first = previous + 1 + next_random(book.rng) % 3
        cdef int changes = self.bid_change_count + self.ask_change_count
        cdef sim_best after
        cdef Stream stream
        cdef int i, k, made
        cdef int64_t tick = book.info.tick_units
        # orders from outside make events that change no level: a trade with a queue that is gone, a cancel with nothing to cancel
        if changes:
            book.update_id = first + changes - 1
        for i in range(self.trade_count):
            stream = self.stream(index, 5)
            if stream is not None:
                stream.publish_ptr(self.scratch, self.encoder.aggregate_trade(self.scratch, &book.info, now_ms,
                                                                              &self.trades[i]))
            stream = self.stream(index, 6)
            if stream is not None and stream.subscribers:
                for k in range(self.split_fills(&self.trades[i], book.info.lot_units)):
                    stream.publish_ptr(self.scratch, self.encoder.trade(self.scratch, &book.info, now_ms, &self.fills[k]))
        self.emit_liquidation(index, now_ms)
        made = self.trade_count
        self.best(book, &after)
        if (after.bid.price_units != before.bid.price_units or after.bid.quantity_units != before.bid.quantity_units
                or after.ask.price_units != before.ask.price_units
                or after.ask.quantity_units != before.ask.quantity_units):
            made += 1
            stream = self.stream(index, 4)
            if stream is not None:
                stream.publish_ptr(self.scratch, self.encoder.ticker(self.scratch, &book.info, now_ms, book.update_id,
                                                                     &after))
        for i in range(self.bid_change_count):
            self.bid_changes[i].quantity_units = self.quantity(book, self.bid_changes[i].price_units // tick, True)
        for i in range(self.ask_change_count):
            self.ask_changes[i].quantity_units = self.quantity(book, self.ask_changes[i].price_units // tick, False)
        stream = self.stream(index, 0)
        made += 1 if changes else 0
        if stream is not None and changes:
            stream.publish_ptr(self.scratch, self.encoder.depth(
                self.scratch, &book.info, now_ms, first, book.update_id, previous, self.bid_changes,
                self.bid_change_count, self.ask_changes, self.ask_change_count))
        self.updates += made
        return made

    cdef int emit_liquidation(self, Py_ssize_t index, int64_t now_ms) except -1:
        cdef Stream stream
        cdef int kind
        if self.is_liquidation and self.trade_count:
            for kind in range(9, 11):
                stream = self.stream(index, kind)
                if stream is not None and stream.subscribers:
                    stream.publish_ptr(self.scratch, self.encoder.liquidation(
                        self.scratch, &self.books[index].info, now_ms, &self.trades[0]))
        return 0

    cdef int split_fills(self, const sim_trade* trade, int64_t lot_units) noexcept:
        # the fills of one trade at one price, with ids that end at the trade's own; sizes as even as lots allow
        cdef int count = min(trade.fills, FILLS_MAX)
        cdef int64_t lots = trade.quantity_units // lot_units
        cdef int i
        for i in range(count):
            self.fills[i] = trade[0]
            self.fills[i].fills = 1
            self.fills[i].trade_id = trade.trade_id - count + 1 + i
            self.fills[i].quantity_units = lots // count * lot_units
        self.fills[count - 1].quantity_units += lots % count * lot_units
        return count

    cdef int flush_slow(self, int64_t now_ms) except -1:
        cdef Py_ssize_t i
        cdef int k
        cdef sim_book* book
        cdef Stream stream
        for i in range(self.instruments):
            book = &self.books[i]
            for k in range(SPEEDS):
                if not book.conflating[k]:
                    stream = self.stream(i, k + 1)
                    if stream is not None and stream.subscribers:
                        # the first interval begins here: nothing older can be claimed by its first diff
                        book.conflating[k] = True
                        book.flushed_id[k] = book.update_id
                        # instruments are spread over the interval, as venues do
                        book.flush_ms[k] = now_ms + SLOW_MS[k] * (i + 1) // self.instruments
                elif now_ms >= book.flush_ms[k]:
                    self.flush_book(i, k, now_ms)
                    book.flush_ms[k] += SLOW_MS[k] * (1 + (now_ms - book.flush_ms[k]) // SLOW_MS[k])
            for k in range(2):
                if now_ms >= book.mark_ms[k]:
                    if book.mark_ms[k]:
                        self.send_mark(i, 7 + k, now_ms)
                    book.mark_ms[k] = now_ms + MARK_MS[k]
        return 0

    cdef int flush_book(self, Py_ssize_t index, int speed, int64_t now_ms) except -1:
        cdef sim_book* book = &self.books[index]
        cdef int n = book.pending_count[speed]
        cdef int i, bids, asks
        cdef int64_t price
        cdef bint is_bid
        cdef sim_level* levels
        cdef char* out
        cdef Py_ssize_t size
        cdef Stream stream = self.stream(index, speed + 1)
        if n == 0 or stream is None:
            return 0
        levels = <sim_level*> malloc(2 * n * sizeof(sim_level))
        out = <char*> malloc(n * 64 + 4096)
        if levels == NULL or out == NULL:
            free(levels)
            free(out)
            raise MemoryError
        bids = asks = 0
        for i in range(n):
            is_bid = book.pending[speed][i] & 1
            price = book.pending[speed][i] >> 1
            if is_bid:
                levels[bids].price_units = price * book.info.tick_units
                levels[bids].quantity_units = self.quantity(book, price, True)
                bids += 1
            else:
                levels[n + asks].price_units = price * book.info.tick_units
                levels[n + asks].quantity_units = self.quantity(book, price, False)
                asks += 1
            if book.low <= price < book.low + WINDOW:
                book.dirty[price & MASK] &= <uint8_t> ~(1 << (2 * speed + is_bid))
        size = self.encoder.depth(out, &book.info, now_ms, book.flushed_id[speed] + 1, book.update_id,
                                  book.flushed_id[speed], levels, bids, levels + n, asks)
        try:
            stream.publish_ptr(out, size)
        finally:
            free(levels)
            free(out)
        book.flushed_id[speed] = book.update_id
        book.pending_count[speed] = 0
        return 0

    cdef int send_mark(self, Py_ssize_t index, int kind, int64_t now_ms) except -1:
        cdef sim_book* book = &self.books[index]
        cdef Stream stream = self.stream(index, kind)
        if stream is not None and stream.subscribers:
            stream.publish_ptr(self.scratch, self.encoder.mark(
                self.scratch, &book.info, now_ms, (book.bid + book.ask) * book.info.tick_units))
        return 0
