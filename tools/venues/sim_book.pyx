# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True, freethreading_compatible=False
"""How one synthetic book evolves: queues at price levels, orders that join and leave, trades that move the price.

The model follows the zero-intelligence family (Cont, Stoikov, Talreja 2010, "A stochastic model for order book
dynamics"): limit orders and cancels arrive at a distance from the best price and relax each level to a target queue,
market orders with a persistent sign consume the queue, and regimes switch between calm and burst.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport realloc


cdef void seed_random(uint64_t* s, uint64_t seed, uint64_t stream, uint64_t total) noexcept:
    # splitmix64, as the authors of xoshiro recommend for seeding
    cdef uint64_t x = seed * <uint64_t> 0x9E3779B97F4A7C15 + stream * <uint64_t> 0xD1B54A32D192ED03 + total
    cdef uint64_t z
    cdef int i
    for i in range(4):
        x += <uint64_t> 0x9E3779B97F4A7C15
        z = x
        z = (z ^ (z >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9
        z = (z ^ (z >> 27)) * <uint64_t> 0x94D049BB133111EB
        s[i] = z ^ (z >> 31)


cdef class BookModel:
    """The rules of the synthetic market, and the changes and trades of the event in hand."""

    cdef void fill(self, sim_book* book) noexcept:
        cdef int64_t price
        cdef int i, n
        for price in range(book.low, book.low + WINDOW):
            n = 1 + <int> (next_random(book.rng) % 5)
            if price != book.bid and price != book.ask and uniform(book.rng) < 0.1:
                continue
            for i in range(n):
                book.lots[price & MASK] += 1 + <int64_t> (exponential(book.rng) * book.mean_lots)
            book.orders[price & MASK] = n

    cdef int64_t quantity(self, sim_book* book, int64_t price, bint is_bid) noexcept:
        if price < book.low or price >= book.low + WINDOW:
            return 0
        if (price > book.bid) if is_bid else (price < book.ask):
            return 0
        return book.lots[price & MASK] * book.info.lot_units

    cdef void remember(self, sim_book* book, int speed, int64_t price, bint is_bid) noexcept:
        cdef int64_t* grown
        if book.pending_count[speed] == book.pending_capacity[speed]:
            grown = <int64_t*> realloc(book.pending[speed], 2 * book.pending_capacity[speed] * sizeof(int64_t))
            if grown == NULL:
                return
            book.pending[speed] = grown
            book.pending_capacity[speed] *= 2
        book.pending[speed][book.pending_count[speed]] = price * 2 + is_bid
        book.pending_count[speed] += 1

    cdef void touch(self, sim_book* book, int64_t price, bint is_bid) noexcept:
        # notes a changed level once per event; quantities are read when the event is complete
        cdef int64_t units = price * book.info.tick_units
        cdef int k, i
        cdef uint8_t bit
        if is_bid:
            for i in range(self.bid_change_count):
                if self.bid_changes[i].price_units == units:
                    return
            if self.bid_change_count < CHANGES_MAX:
                self.bid_changes[self.bid_change_count].price_units = units
                self.bid_change_count += 1
        else:
            for i in range(self.ask_change_count):
                if self.ask_changes[i].price_units == units:
                    return
            if self.ask_change_count < CHANGES_MAX:
                self.ask_changes[self.ask_change_count].price_units = units
                self.ask_change_count += 1
        for k in range(SPEEDS):
            if book.conflating[k]:
                bit = <uint8_t> (1 << (2 * k + is_bid))
                if not book.dirty[price & MASK] & bit:
                    book.dirty[price & MASK] |= bit
                    self.remember(book, k, price, is_bid)

    cdef void place(self, sim_book* book, int64_t price, bint is_bid) noexcept:
        cdef int64_t lots = 1 + <int64_t> (exponential(book.rng) * book.mean_lots)
        if uniform(book.rng) < 0.03:
            lots *= 8
        book.lots[price & MASK] += lots
        book.orders[price & MASK] += 1
        if is_bid and price > book.bid:
            book.bid = price
        elif not is_bid and price < book.ask:
            book.ask = price
        self.touch(book, price, is_bid)

    cdef void remove_lots(self, sim_book* book, int64_t price, bint is_bid, int64_t lots) noexcept:
        cdef int64_t left = book.lots[price & MASK] - lots
        if left > 0:
            book.orders[price & MASK] = <int32_t> max(1, book.orders[price & MASK] * left // book.lots[price & MASK])
            book.lots[price & MASK] = left
        else:
            book.lots[price & MASK] = 0
            book.orders[price & MASK] = 0
            if is_bid:
                while book.bid > book.low and not book.lots[book.bid & MASK]:
                    book.bid -= 1
            else:
                while book.ask < book.low + WINDOW - 1 and not book.lots[book.ask & MASK]:
                    book.ask += 1
        self.touch(book, price, is_bid)

    cdef void cancel(self, sim_book* book, int64_t price, bint is_bid) noexcept:
        # orders from outside are canceled by their owners only
        cdef int64_t lots = book.lots[price & MASK] - book.own[price & MASK]
        cdef int32_t orders = book.orders[price & MASK]
        if lots <= 0:
            return
        self.remove_lots(book, price, is_bid, lots if orders <= 1 else max(1, lots // orders))

    cdef void regime(self, sim_book* book) noexcept:
        if book.regime_left:
            book.regime_left -= 1
            return
        book.burst = not book.burst
        if book.burst:
            book.regime_left = 200 + next_random(book.rng) % 800
            book.drift = 1 if uniform(book.rng) < 0.5 else -1
            # a walk of days must not reach zero
            if book.bid < 3 * WINDOW:
                book.drift = 1
        else:
            book.regime_left = 2000 + next_random(book.rng) % 6000

    cdef void cross(self, sim_book* book) noexcept:
        # a market order: persistent sign, size relative to the queue it meets, at most a few levels deep
        cdef double u = uniform(book.rng)
        cdef double part
        cdef int64_t left, taken, price, fills
        cdef bint buys
        if book.burst and u < 0.8:
            book.flow = book.drift
        elif u > 0.7:
            book.flow = -book.flow
        buys = book.flow > 0
        u = uniform(book.rng)
        part = u * u if u < 0.75 else u * (2.5 if book.burst else 1.5)
        left = max(1, <int64_t> (part * book.lots[(book.ask if buys else book.bid) & MASK]))
        book.aggregate_id += 1
        while left > 0 and self.trade_count < TRADES_MAX:
            price = book.ask if buys else book.bid
            taken = min(left, book.lots[price & MASK])
            left -= taken
            self.trade_before[self.trade_count] = max(0, book.lots[price & MASK] - book.own[price & MASK])
            fills = 1 + (book.orders[price & MASK] - 1) * taken // book.lots[price & MASK]
            fills = max(1, min(fills, taken))
            book.trade_id += fills
            self.trades[self.trade_count].price_units = price * book.info.tick_units
            self.trades[self.trade_count].quantity_units = taken * book.info.lot_units
            self.trades[self.trade_count].trade_id = book.trade_id
            self.trades[self.trade_count].fills = <int> fills
            self.trades[self.trade_count].aggregate_id = book.aggregate_id + self.trade_count
            self.trades[self.trade_count].buyer_is_maker = not buys
            self.trade_count += 1
            self.remove_lots(book, price, not buys, taken)
        book.aggregate_id += self.trade_count - 1
        # in a burst some of those who must trade are forced to
        self.is_liquidation = book.burst and buys == (book.drift > 0) and uniform(book.rng) < 0.02

    cdef void passive(self, sim_book* book) noexcept:
        # one order joins or leaves at some distance from its own best; the queue relaxes to its target length
        cdef bint is_bid = uniform(book.rng) < 0.5
        cdef int64_t distance, price
        cdef double target
        if uniform(book.rng) < 0.88:
            distance = <int64_t> (exponential(book.rng) * 3.0)
        else:
            distance = <int64_t> (3.0 / (uniform(book.rng) + 0.0035))
        price = book.bid - distance if is_bid else book.ask + distance
        if price <= book.low or price >= book.low + WINDOW - 1:
            price = book.bid if is_bid else book.ask
        target = 7.0 if distance == 0 else 4.0
        if book.burst and is_bid == (book.drift < 0):
            target *= 0.6
        if not book.lots[price & MASK] or uniform(book.rng) < target / (target + book.orders[price & MASK]):
            self.place(book, price, is_bid)
        else:
            self.cancel(book, price, is_bid)

    cdef void slide(self, sim_book* book) noexcept:
        # keeps the window around the mid: levels leave at one end and orders appear at the other
        cdef int64_t offset = (book.bid + book.ask) // 2 - (book.low + HALF)
        cdef int i
        cdef int64_t leaving, entering
        cdef bint up = offset > 0
        if -SLIDE_MAX <= offset <= SLIDE_MAX:
            return
        for i in range(SLIDE_MAX):
            leaving = book.low if up else book.low + WINDOW - 1
            entering = leaving + (WINDOW if up else -WINDOW)
            if book.lots[leaving & MASK]:
                self.touch(book, leaving, up)
            # the slot changes hands: what waits for the old price stays listed and will read as zero
            book.dirty[leaving & MASK] = 0
            book.lots[leaving & MASK] = 0
            book.own[leaving & MASK] = 0
            book.orders[leaving & MASK] = 0
            book.low += 1 if up else -1
            if uniform(book.rng) < 0.9:
                self.place(book, entering, not up)

    cdef void evolve(self, sim_book* book) noexcept:
        cdef bint is_bid
        self.is_liquidation = False
        self.regime(book)
        if book.ask - book.bid > 1 and uniform(book.rng) < (0.75 if book.burst else 0.9):
            is_bid = (book.flow > 0) == (uniform(book.rng) < 0.7)
            self.place(book, book.bid + 1 if is_bid else book.ask - 1, is_bid)
        elif uniform(book.rng) < (0.2 if book.burst else 0.08):
            self.cross(book)
        else:
            self.passive(book)
        self.slide(book)

    cdef void best(self, sim_book* book, sim_best* out) noexcept:
        out.bid.price_units = book.bid * book.info.tick_units
        out.bid.quantity_units = book.lots[book.bid & MASK] * book.info.lot_units
        out.ask.price_units = book.ask * book.info.tick_units
        out.ask.quantity_units = book.lots[book.ask & MASK] * book.info.lot_units

    cdef bint show(self, sim_book* book, bint is_bid, int64_t price, int64_t lots) noexcept:
        # an order from outside joins (lots > 0) or leaves the queue; False where the window or the other side ends
        cdef int64_t shown
        if not book.low <= price < book.low + WINDOW or (price >= book.ask if is_bid else price <= book.bid):
            return False
        if lots > 0:
            book.lots[price & MASK] += lots
            book.own[price & MASK] += lots
            book.orders[price & MASK] = max(1, book.orders[price & MASK])
            if is_bid and price > book.bid:
                book.bid = price
            elif not is_bid and price < book.ask:
                book.ask = price
            self.touch(book, price, is_bid)
            return True
        shown = min(-lots, book.own[price & MASK], book.lots[price & MASK])
        if shown <= 0:
            return False
        book.own[price & MASK] -= shown
        self.remove_lots(book, price, is_bid, shown)
        return True

    cdef int64_t take(self, sim_book* book, bint buys, int64_t price, int64_t lots) noexcept:
        # an order from outside trades at one price; what is not there (a book that moved on) is printed all the same
        cdef int64_t taken = 0
        if book.low <= price < book.low + WINDOW and (price >= book.ask if buys else price <= book.bid):
            taken = min(lots, book.lots[price & MASK])
        book.aggregate_id += 1
        book.trade_id += 1
        self.trades[0].price_units = price * book.info.tick_units
        self.trades[0].quantity_units = lots * book.info.lot_units
        self.trades[0].trade_id = book.trade_id
        self.trades[0].fills = 1
        self.trades[0].aggregate_id = book.aggregate_id
        self.trades[0].buyer_is_maker = not buys
        self.trade_count = 1
        if taken > 0:
            self.remove_lots(book, price, not buys, taken)
        return taken

    cdef int collect(self, sim_book* book, bint is_bid, int limit, sim_level* out) noexcept:
        # the best levels of one side, best first
        cdef int64_t price = book.bid if is_bid else book.ask
        cdef int n = 0
        while n < limit and book.low <= price < book.low + WINDOW:
            if book.lots[price & MASK]:
                out[n].price_units = price * book.info.tick_units
                out[n].quantity_units = book.lots[price & MASK] * book.info.lot_units
                out[n].orders = book.orders[price & MASK]
                n += 1
            price += -1 if is_bid else 1
        return n
