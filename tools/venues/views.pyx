# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True, freethreading_compatible=False
"""A market whose streams carry the best N levels of a book: a whole book first, then what changed among those levels.

Each stream keeps what its clients hold. When its interval is over it compares that with the book and sends the difference:
levels that left the best N are removed, levels that came in are added. A client that subscribes gets what the stream's
clients hold (`welcome`), so that the next difference follows for it too. Streams without clients cost nothing.
"""
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from tools.venues.encoding cimport sim_best, sim_level, sim_stats, sim_view
from tools.venues.fanout cimport Stream
from tools.venues.sim_book cimport WINDOW, next_random, seed_random, sim_book, uniform

STATISTICS_MS = 100
MARK_MS = 200
INDEX_MS = 100
FUNDING_MS = 60_000

cdef enum:
    TRADES = 5
    FILLS = 6
    MARK = 7
    STATISTICS = 11
    INDEX = 12
    FUNDING = 13
    FUNDING_PERIOD_MS = 28800000

cdef int64_t[4] SLOW_MS
SLOW_MS[0], SLOW_MS[1], SLOW_MS[2], SLOW_MS[3] = STATISTICS_MS, MARK_MS, INDEX_MS, FUNDING_MS


cdef inline int64_t next_turn(const book_view* view, Py_ssize_t index, int64_t now_ms) noexcept:
    # instruments are spread over the interval; streams of one instrument meet, so that their numbers agree
    cdef int64_t interval = max(1, view.interval_ms)
    return now_ms + interval - (now_ms - index % interval) % interval


cdef class ViewMarket(Market):
    """All instruments of a venue that streams the best levels; made as `Market`, then `set_views` is called once."""

    def __cinit__(self, instruments, seed, *args):
        cdef Py_ssize_t n = len(instruments)
        self.slow = <slow_state*> calloc(n, sizeof(slow_state))
        self.levels = <sim_level*> malloc(4 * WINDOW * sizeof(sim_level))
        if self.slow == NULL or self.levels == NULL:
            raise MemoryError
        seed_random(self.timer_rng, <uint64_t> (seed & 0xFFFFFFFFFFFFFFFF), 0xFFFFFFFE, n)
        self.view_streams = []

    def __dealloc__(self):
        cdef Py_ssize_t i
        if self.views != NULL:
            for i in range(self.instruments * self.view_count):
                free(self.views[i].bids)
                free(self.views[i].asks)
        free(self.views)
        free(self.slow)
        free(self.levels)

    def set_views(self, views, int rest_view, bint every_change=False):
        """Say which streams of levels each instrument has: (levels, whole, interval_ms, repeat_ms) in a row.

        whole: every message says all levels; repeat_ms: after so long without a change the whole message comes again, or an
        empty difference (0: never). `rest_view` is the view whose numbers a REST book has. `every_change` sends each change
        at once, whatever the interval. ValueError when called twice or with an impossible number of levels.
        """
        cdef Py_ssize_t i
        cdef int number
        cdef book_view* view
        if self.views != NULL:
            raise ValueError("the views are set already")
        for levels, _, _, _ in views:
            if not 1 <= levels <= WINDOW:
                raise ValueError(f"a view has 1 to {WINDOW} levels, not {levels}")
        self.view_count = len(views)
        self.rest_view = rest_view
        self.views = <book_view*> calloc(max(1, self.instruments * self.view_count), sizeof(book_view))
        if self.views == NULL:
            raise MemoryError
        self.view_streams = [None] * (self.instruments * self.view_count)
        for i in range(self.instruments):
            for number in range(self.view_count):
                view = &self.views[i * self.view_count + number]
                view.head.levels, view.head.whole, view.interval_ms, view.repeat_ms = views[number]
                view.head.update = 10_000_000 + 1_000_000 * <uint64_t> number + 1000 * <uint64_t> i
                if every_change:
                    view.interval_ms = 0

    def bind_view(self, Py_ssize_t index, int number, Stream stream):
        """Send messages of view `number` of instrument `index` to `stream`; IndexError when there is none."""
        if not 0 <= index < self.instruments or not 0 <= number < self.view_count:
            raise IndexError(f"no view {number} of instrument {index}")
        self.view_streams[index * self.view_count + number] = stream

    def welcome(self, Py_ssize_t index, int number):
        """Return the whole book a client of this view gets first; what comes later on the stream follows it."""
        cdef sim_book* book
        cdef book_view* view
        cdef int64_t now_ms = self.now_ms
        if not 0 <= index < self.instruments or not 0 <= number < self.view_count:
            raise IndexError(f"no view {number} of instrument {index}")
        book = &self.books[index]
        view = &self.views[index * self.view_count + number]
        if not view.active:
            self.begin_view(book, view, now_ms)
        return PyBytes_FromStringAndSize(self.scratch, self.encoder.view(
            self.scratch, &book.info, now_ms, number, &view.head, True, view.head.bids, view.head.bid_count,
            view.head.asks, view.head.ask_count))

    def welcome_kind(self, Py_ssize_t index, int kind):
        """Return the first message of the statistics, mark price, index or funding stream; empty when there is none."""
        cdef slow_state* slow
        cdef sim_book* book
        cdef Py_ssize_t size = 0
        cdef int64_t now_ms = self.now_ms
        if not 0 <= index < self.instruments:
            raise IndexError(f"no instrument {index}")
        book = &self.books[index]
        slow = &self.slow[index]
        if not slow.is_begun:
            self.move_slow(index, now_ms)
            slow.sent = slow.now
        if kind == STATISTICS:
            size = self.encoder.statistics(self.scratch, &book.info, now_ms, &slow.sent, NULL)
        elif kind == MARK:
            size = self.encoder.mark_price(self.scratch, &book.info, now_ms, &slow.now)
        elif kind == INDEX:
            size = self.encoder.index_price(self.scratch, &book.info, now_ms, &slow.now)
        elif kind == FUNDING:
            size = self.encoder.funding(self.scratch, &book.info, now_ms, &slow.now)
        return PyBytes_FromStringAndSize(self.scratch, size)

    def snapshot(self, Py_ssize_t index, int limit):
        """Return the REST book with up to `limit` levels a side: what clients of the REST view hold, else the book now."""
        cdef sim_book* book
        cdef book_view* view
        cdef sim_view head
        cdef sim_level* bids = self.levels
        cdef sim_level* asks = self.levels + WINDOW
        if not 0 <= index < self.instruments or limit < 1:
            raise IndexError(f"no snapshot of instrument {index} with {limit} levels")
        book = &self.books[index]
        view = &self.views[index * self.view_count + self.rest_view]
        head = view.head
        limit = min(limit, WINDOW)
        if view.active and limit <= view.head.levels:
            head.bid_count, head.ask_count = min(limit, head.bid_count), min(limit, head.ask_count)
        else:
            head.bids, head.asks = bids, asks
            head.bid_count = self.collect(book, True, limit, bids)
            head.ask_count = self.collect(book, False, limit, asks)
            head.sequence = book.update_id
        return PyBytes_FromStringAndSize(self.scratch, self.encoder.view(
            self.scratch, &book.info, self.now_ms, -1, &head, True, head.bids, head.bid_count, head.asks, head.ask_count))

    def view_state(self, Py_ssize_t index, int number):
        """Return (update number, sequence, bids, asks) as clients of a view hold them; levels in units, best first."""
        cdef book_view* view
        cdef int i
        if not 0 <= index < self.instruments or not 0 <= number < self.view_count:
            raise IndexError(f"no view {number} of instrument {index}")
        view = &self.views[index * self.view_count + number]
        return (
            view.head.update, view.head.sequence,
            [(view.bids[i].price_units, view.bids[i].quantity_units) for i in range(view.head.bid_count)],
            [(view.asks[i].price_units, view.asks[i].quantity_units) for i in range(view.head.ask_count)],
        )

    def begin_again(self, Py_ssize_t index, int number):
        """Do as after a restart of the venue's service: numbers begin anew, clients get a whole book under number 1."""
        cdef book_view* view
        cdef sim_book* book
        cdef int64_t now_ms = self.now_ms
        cdef Stream stream
        if not 0 <= index < self.instruments or not 0 <= number < self.view_count:
            raise IndexError(f"no view {number} of instrument {index}")
        book = &self.books[index]
        view = &self.views[index * self.view_count + number]
        view.head.update = 0
        self.begin_view(book, view, now_ms)
        stream = self.view_streams[index * self.view_count + number]
        if stream is not None and stream.subscribers:
            stream.publish_ptr(self.scratch, self.encoder.view(
                self.scratch, &book.info, now_ms, number, &view.head, True, view.head.bids, view.head.bid_count,
                view.head.asks, view.head.ask_count))

    def flush(self):
        """Send what the views hold back, without waiting for their interval."""
        cdef Py_ssize_t i
        cdef int number
        cdef int64_t now_ms = self.now_ms
        for i in range(self.instruments):
            for number in range(self.view_count):
                if self.views[i * self.view_count + number].active:
                    self.flush_view(i, number, now_ms)

    cdef int begin_view(self, sim_book* book, book_view* view, int64_t now_ms) except -1:
        cdef Py_ssize_t size = view.head.levels * sizeof(sim_level)
        if view.bids == NULL:
            view.bids = <sim_level*> malloc(size)
            view.asks = <sim_level*> malloc(size)
            if view.bids == NULL or view.asks == NULL:
                raise MemoryError
        view.head.bids = view.bids
        view.head.asks = view.asks
        view.head.bid_count = self.collect(book, True, view.head.levels, view.bids)
        view.head.ask_count = self.collect(book, False, view.head.levels, view.asks)
        view.head.update += 1
        view.head.previous = view.head.sequence = book.update_id
        view.next_ms = next_turn(view, book - self.books, now_ms)
        view.sent_ms = now_ms
        view.dirty = False
        view.active = True
        return 0

    cdef int diff(self, const sim_level* old, int old_count, const sim_level* new, int new_count, bint is_bid,
                  sim_level* out) noexcept:
        cdef int i = 0, j = 0, n = 0
        cdef bint is_gone
        while i < old_count or j < new_count:
            if i < old_count and j < new_count and old[i].price_units == new[j].price_units:
                if old[i].quantity_units != new[j].quantity_units or old[i].orders != new[j].orders:
                    out[n] = new[j]
                    n += 1
                i += 1
                j += 1
                continue
            if j == new_count:
                is_gone = True
            elif i == old_count:
                is_gone = False
            else:
                is_gone = (old[i].price_units > new[j].price_units) == is_bid
            if is_gone:
                out[n].price_units = old[i].price_units
                out[n].quantity_units = 0
                out[n].orders = 0
                i += 1
            else:
                out[n] = new[j]
                j += 1
            n += 1
        return n

    cdef int flush_view(self, Py_ssize_t index, int number, int64_t now_ms) except -1:
        cdef sim_book* book = &self.books[index]
        cdef book_view* view = &self.views[index * self.view_count + number]
        cdef sim_level* bids = self.levels
        cdef sim_level* asks = self.levels + WINDOW
        cdef sim_level* bid_changes = self.levels + 2 * WINDOW
        cdef sim_level* ask_changes = self.levels + 3 * WINDOW
        cdef int bid_count = self.collect(book, True, view.head.levels, bids)
        cdef int ask_count = self.collect(book, False, view.head.levels, asks)
        cdef int changed_bids = self.diff(view.bids, view.head.bid_count, bids, bid_count, True, bid_changes)
        cdef int changed_asks = self.diff(view.asks, view.head.ask_count, asks, ask_count, False, ask_changes)
        cdef Stream stream
        view.dirty = False
        if not changed_bids and not changed_asks:
            return 0
        memcpy(view.bids, bids, bid_count * sizeof(sim_level))
        memcpy(view.asks, asks, ask_count * sizeof(sim_level))
        view.head.bid_count, view.head.ask_count = bid_count, ask_count
        view.head.previous = view.head.sequence
        view.head.sequence = book.update_id
        view.head.update += 1
        view.sent_ms = now_ms
        if view.head.whole:
            bid_changes, ask_changes, changed_bids, changed_asks = view.bids, view.asks, bid_count, ask_count
        stream = self.view_streams[index * self.view_count + number]
        stream.publish_ptr(self.scratch, self.encoder.view(
            self.scratch, &book.info, now_ms, number, &view.head, view.head.whole, bid_changes, changed_bids,
            ask_changes, changed_asks))
        return 0

    cdef int repeat_view(self, Py_ssize_t index, int number, int64_t now_ms) except -1:
        cdef sim_book* book = &self.books[index]
        cdef book_view* view = &self.views[index * self.view_count + number]
        cdef Stream stream = self.view_streams[index * self.view_count + number]
        cdef bint whole = view.head.whole
        view.head.previous = view.head.sequence
        view.sent_ms = now_ms
        stream.publish_ptr(self.scratch, self.encoder.view(
            self.scratch, &book.info, now_ms, number, &view.head, whole, view.bids,
            view.head.bid_count if whole else 0, view.asks, view.head.ask_count if whole else 0))
        return 0

    cdef void note(self, Py_ssize_t index) noexcept:
        # marks the views that the event in hand may have changed: a change behind the last level of a full one is none
        cdef book_view* view
        cdef int number, i
        for number in range(self.view_count):
            view = &self.views[index * self.view_count + number]
            if not view.active or view.dirty:
                continue
            view.dirty = view.head.bid_count < view.head.levels or view.head.ask_count < view.head.levels
            for i in range(self.bid_change_count):
                if view.dirty:
                    break
                view.dirty = self.bid_changes[i].price_units >= view.bids[view.head.bid_count - 1].price_units
            for i in range(self.ask_change_count):
                if view.dirty:
                    break
                view.dirty = self.ask_changes[i].price_units <= view.asks[view.head.ask_count - 1].price_units

    cdef int emit_trades(self, Py_ssize_t index, int kind, int64_t now_ms) except -1:
        cdef sim_book* book = &self.books[index]
        cdef Stream stream = self.stream(index, kind)
        cdef int i, k
        if stream is None or not stream.subscribers:
            return 0
        if kind == TRADES and self.encoder.joins_trades():
            stream.publish_ptr(self.scratch, self.encoder.trades(self.scratch, &book.info, now_ms, book.update_id,
                                                                 self.trades, self.trade_count, False))
            return 0
        for i in range(self.trade_count):
            if kind == TRADES:
                stream.publish_ptr(self.scratch, self.encoder.trades(self.scratch, &book.info, now_ms, book.update_id,
                                                                     &self.trades[i], 1, False))
                continue
            for k in range(self.split_fills(&self.trades[i], book.info.lot_units)):
                stream.publish_ptr(self.scratch, self.encoder.trades(self.scratch, &book.info, now_ms, book.update_id,
                                                                     &self.fills[k], 1, True))
        return 0

    cdef int emit(self, Py_ssize_t index, const sim_best* before) except -1:
        cdef sim_book* book = &self.books[index]
        cdef sim_stats* stats = &self.slow[index].now
        cdef int64_t now_ms = self.start_ms + <int64_t> (self.clock_ns / 1e6)
        cdef int i, number
        cdef int made = 1 + self.trade_count
        cdef int64_t price
        book.update_id += 1 + next_random(book.rng) % 3 + self.bid_change_count + self.ask_change_count
        if self.trade_count:
            for i in range(self.trade_count):
                price = self.trades[i].price_units
                stats.last_price = price
                stats.last_quantity = self.trades[i].quantity_units
                stats.is_buy = not self.trades[i].buyer_is_maker
                stats.high_price = max(stats.high_price, price)
                stats.low_price = min(stats.low_price, price) if stats.low_price else price
                stats.volume_units += self.trades[i].quantity_units
                stats.turnover += <double> price * <double> self.trades[i].quantity_units
            self.emit_trades(index, TRADES, now_ms)
            self.emit_trades(index, FILLS, now_ms)
            self.emit_liquidation(index, now_ms)
        self.best(book, &stats.best)
        made += (stats.best.bid.price_units != before.bid.price_units
                 or stats.best.bid.quantity_units != before.bid.quantity_units
                 or stats.best.ask.price_units != before.ask.price_units
                 or stats.best.ask.quantity_units != before.ask.quantity_units)
        self.note(index)
        for number in range(self.view_count):
            if self.views[index * self.view_count + number].dirty:
                if not self.views[index * self.view_count + number].interval_ms:
                    self.flush_view(index, number, now_ms)
        self.updates += made
        return made

    cdef int flush_slow(self, int64_t now_ms) except -1:
        cdef Py_ssize_t i
        cdef int number
        cdef book_view* view
        cdef Stream stream
        for i in range(self.instruments):
            for number in range(self.view_count):
                view = &self.views[i * self.view_count + number]
                if not view.active:
                    continue
                stream = self.view_streams[i * self.view_count + number]
                if stream is None or not stream.subscribers:
                    view.active = view.dirty = False
                elif view.dirty:
                    if now_ms >= view.next_ms:
                        self.flush_view(i, number, now_ms)
                        view.next_ms = next_turn(view, i, now_ms)
                elif view.repeat_ms and now_ms - view.sent_ms >= view.repeat_ms:
                    self.repeat_view(i, number, now_ms)
            self.send_slow(i, now_ms)
        return 0

    cdef void move_slow(self, Py_ssize_t index, int64_t now_ms) noexcept:
        # an index that walks around the mid within a few ticks, a mark between both, funding that follows the difference
        cdef sim_book* book = &self.books[index]
        cdef slow_state* slow = &self.slow[index]
        cdef sim_stats* now = &slow.now
        cdef int64_t tick = book.info.tick_units
        cdef int64_t middle = (book.bid + book.ask) * tick // 2
        cdef int64_t off
        if not slow.is_begun:
            slow.is_begun = True
            now.index_price = middle
            now.funding_e8 = 10_000
            now.open_price = now.last_price if now.last_price else book.bid * tick
            now.open_interest = <int64_t> (book.mean_lots * 5000) * book.info.lot_units
            self.best(book, &now.best)
            if not now.last_price:
                now.last_price = now.high_price = now.low_price = book.bid * tick
                now.last_quantity = book.info.lot_units
        off = now.index_price - middle
        if off > 8 * tick or off < -8 * tick:
            now.index_price = middle + (8 * tick if off > 0 else -8 * tick)
        elif uniform(self.timer_rng) < 0.5:
            now.index_price += tick if uniform(self.timer_rng) < 0.5 else -tick
        now.mark_price = (now.index_price + middle) // 2
        now.next_funding_ms = (now_ms // FUNDING_PERIOD_MS + 1) * FUNDING_PERIOD_MS
        now.sequence = book.update_id

    cdef int send_slow(self, Py_ssize_t index, int64_t now_ms) except -1:
        cdef sim_book* book = &self.books[index]
        cdef slow_state* slow = &self.slow[index]
        cdef Stream stream
        cdef Py_ssize_t size
        cdef int k, kind
        for k in range(4):
            if now_ms < slow.next_ms[k]:
                continue
            kind = STATISTICS if k == 0 else MARK if k == 1 else INDEX if k == 2 else FUNDING
            if not slow.next_ms[k]:
                slow.next_ms[k] = now_ms + <int64_t> (uniform(self.timer_rng) * SLOW_MS[k])
                continue
            slow.next_ms[k] = now_ms + SLOW_MS[k]
            stream = self.stream(index, kind)
            if stream is None or not stream.subscribers:
                continue
            if k < 3:
                self.move_slow(index, now_ms)
            if k == 0:
                size = self.encoder.statistics(self.scratch, &book.info, now_ms, &slow.now, &slow.sent)
                slow.sent = slow.now
            elif k == 1:
                size = self.encoder.mark_price(self.scratch, &book.info, now_ms, &slow.now)
            elif k == 2:
                size = self.encoder.index_price(self.scratch, &book.info, now_ms, &slow.now)
            else:
                slow.now.funding_e8 += <int64_t> ((uniform(self.timer_rng) - 0.5) * 2000)
                size = self.encoder.funding(self.scratch, &book.info, now_ms, &slow.now)
            if size:
                stream.publish_ptr(self.scratch, size)
        return 0
